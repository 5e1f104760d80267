"""The stage: one shard's generation -> raw scores of all rivals, a sample at a time, resumed where it was stopped."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

import tam
from tam.attribution.files import scores_files
from tam.attribution.methods import Settings, check
from tam.attribution.task import AttributionTask, in_float16
from tam.errors import InputError, SchemaError
from tam.generation.again import Again, again
from tam.methods.rivals import RIVALS
from tam.scores import VERSION, ScoresHeader, read_scores_header, read_statuses
from tam.shard.runner import run_shard
from tam.shard.store import Store, whole_of

logger = logging.getLogger(__name__)


def write_attribution(
    generation: Path, manifest: Path, model: str, out: Path, methods: Sequence[str], settings: Settings, *,
    revision: str | None = None, device: str = "auto", trust_remote_code: bool = False, store: Path | None = None,
) -> tuple[Counter[str], Counter[str]]:  # fmt: skip
    """Compute the scores of a shard's answers by all methods and write them to ``out``.

    Methods that the finished shard has already, with these settings, are not computed again. What cannot be computed
    of one answer is its status, of the method or of all, and stops no other.

    Args:
        methods: names of rivals (``tam.methods.rivals``).

    Returns:
        the number of answers by kind of status; and of those of which a method has no scores, by its name.

    Raises:
        InputError: an unknown method, another manifest than the answers', maps of another layer than the last, layers
            that the model does not have.
        ModelError: another checkpoint. SchemaError: not a generation file.
    """
    if unknown := [name for name in methods if name not in RIVALS]:
        raise InputError("no method that needs scores", got=repr(unknown[0]), expected=" or ".join(RIVALS))
    taken = again(generation, manifest, model, revision, device, trust_remote_code)
    if taken.run.get("layer") is not None:
        raise InputError(
            "answers whose maps are of another layer than the last", where=generation, got=taken.run["layer"],
            cure="generate without a layer, or leave out " + ", ".join(methods),
        )  # fmt: skip
    wanted = {name: settings_of(name, settings) for name in methods}
    folder_of = hashlib.sha256(f"{taken.fingerprint} {VERSION}".encode()).hexdigest()[:32]
    whole = whole_of(out, folder_of, store)
    known = _methods_of(whole)
    missing = [name for name, its in wanted.items() if known.get(name) != its]
    header = _header(taken, known | wanted)
    kept = Store(out, folder_of, scores_files(header, missing or wanted, whole if known else None), store)

    def load() -> AttributionTask:
        loaded = taken.load()
        refused = in_float16(missing) if loaded.model.dtype == torch.float16 else {}
        check(loaded, [name for name in missing if name not in refused], settings)
        return AttributionTask(loaded, taken, missing, settings, refused)

    run_shard(f"attribute {out.stem}", taken.samples, taken.folder, kept, load, taken.device, batch_size=1)
    statuses = read_statuses(out).values()
    failures = Counter(name for _, its in statuses for name in wanted if its.get(name, "ok") != "ok")
    return Counter(status.partition(":")[0] for status, _ in statuses), failures


def settings_of(name: str, settings: Settings) -> dict[str, object]:
    """Those that a method's scores depend on, as JSON has them."""
    return json.loads(json.dumps({key: getattr(settings, key) for key in RIVALS[name].settings}))


def _header(taken: Again, methods: dict[str, dict[str, object]]) -> ScoresHeader:
    run = {key: taken.run[key] for key in ("model", "revision", "weights", "family", "dtype")}
    run |= {"tam": tam.__version__, "torch": torch.__version__, "transformers": version("transformers")}
    return ScoresHeader(taken.fingerprint, len(taken.generations), methods, run)


def _methods_of(whole: Path) -> dict[str, dict[str, object]]:
    """Methods and settings of a finished shard of the same generation; none where there is none, or it is damaged."""
    if not whole.exists():
        return {}
    try:
        return read_scores_header(whole).methods
    except SchemaError as error:
        logger.warning("%s; all methods will be computed again", error)
        return {}
