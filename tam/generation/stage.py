"""The stage: one shard of the manifest -> its cache file, in batches, resumed where it was stopped."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import tam
from tam.cache import VERSION
from tam.errors import InputError
from tam.families import family_of
from tam.families.interface import Family
from tam.generation.files import cache_files
from tam.generation.given_answers import read_given_answers
from tam.generation.task import GenerationTask
from tam.manifest import Sample, Shard, read
from tam.model.checkpoint import (
    Checkpoint,
    config_of,
    fingerprint_of_file,
    fingerprint_of_model,
    load_from,
    locate,
)
from tam.model.head import CANDIDATES
from tam.model.placement import dtype_of, placed
from tam.model.prompt import check_template
from tam.model.recording import check_layer
from tam.records import GivenAnswer
from tam.shard.runner import run_shard
from tam.shard.store import Store


def generate(
    manifest: Path, shard: Shard, model: str, out: Path, *, max_new_tokens: int = 256, batch_size: int | None = None,
    revision: str | None = None, device: str = "auto", dtype: str = "auto", answers: Path | None = None,
    layer: int | None = None, trust_remote_code: bool = False, max_pixels: int | None = None,
    template: Mapping[str, Any] | None = None, one_tile: bool = False, load: str | None = None,
    store: Path | None = None, candidates: int = 3,
) -> Counter[str]:  # fmt: skip
    """Answer all the samples of a shard, write them to ``out`` and count them by status ("failed" without its why).

    Finished batches are kept beside ``out``, or in ``store``, until the shard is whole, and a restart goes on after
    them. A sample that cannot be answered is recorded as such and stops no other. The model is loaded only if something
    is left to do.

    Args:
        batch_size: samples at a time; None: as many as the device has memory for.
        max_pixels: of a picture or frame; a larger one is shown smaller.
        template: options of the chat template's own, such as ``enable_thinking``.
        one_tile: whether a picture is shown as one tile, by a family that would cut it into several.
        load: "8bit" or "4bit": quantise the weights when they are loaded; None: take them as they are stored.
        candidates: so many of the likeliest classes of each row of an answer have their logits kept, too.
        answers: a file of texts (``given_answers.py``) to explain instead of the model's own answers.

    Raises:
        InputError: a wrong manifest, file of answers or option.
        ModelError: a checkpoint that cannot be used.
    """
    _check_numbers(max_new_tokens=max_new_tokens, batch_size=batch_size, max_pixels=max_pixels)
    if not 0 <= candidates <= CANDIDATES:
        raise InputError("wrong number", where="candidates", got=candidates, expected=f"0 to {CANDIDATES}")
    rows = read(manifest)
    samples = {row: rows[row] for row in shard.rows(len(rows))}
    texts = None if answers is None else read_given_answers(answers, [sample.id for sample in rows])
    checkpoint = locate(model, revision, trust_remote_code)
    config, placement = config_of(checkpoint.folder, trust_remote_code), placed(device, dtype, load)
    family = family_of(config, one_tile)
    run = _described(model, checkpoint, family, trust_remote_code) | {
        "dtype": str(dtype_of(config, placement.device, dtype)).removeprefix("torch."),
        "max_new_tokens": max_new_tokens,
        "layer": layer,
        "max_pixels": max_pixels,
        "one_tile": one_tile,
        "answers": None if answers is None else fingerprint_of_file(answers),
    }
    run |= ({"template": dict(template)} if template else {}) | ({"load": load} if load else {})
    run |= {"candidates": candidates} if candidates else {}
    fingerprint = fingerprint_of(run, samples, manifest.parent, texts)

    def task() -> GenerationTask:
        loaded = load_from(checkpoint, placement, trust_remote_code)
        loaded = replace(loaded, family=family, max_pixels=max_pixels, template=template)
        check_layer(loaded, layer)
        check_template(loaded.prompter)
        return GenerationTask(loaded, samples, manifest.parent, max_new_tokens, texts, layer, candidates)

    kept = Store(out, fingerprint, cache_files(run, fingerprint), store)
    statuses = run_shard(f"generate {shard}", samples, manifest.parent, kept, task, placement.device, batch_size)
    return Counter(status.split(":")[0] for status in statuses.values())


def _described(model: str, checkpoint: Checkpoint, family: Family, trust_remote_code: bool) -> dict[str, Any]:
    """The checkpoint and the versions, for the header of the file."""
    return {
        "model": model,
        "revision": None if Path(model).is_dir() else checkpoint.asked.name,
        "weights": fingerprint_of_model(checkpoint, trust_remote_code),
        "family": family.name,
        "tam": tam.__version__,
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


def _check_numbers(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise InputError("wrong number", where=name, got=number, expected="1 or more")


def fingerprint_of(
    run: Mapping[str, object], samples: dict[int, Sample], folder: Path, texts: Mapping[str, GivenAnswer] | None = None
) -> str:
    """What determines a shard's file: weights and processor, the samples' media and prompts, dtype, limit, version; and
    the answers of its samples, where they are given.

    How fast it is computed (device, batch size) does not belong to it, nor what only later stages read.
    """
    rows = [
        [
            row,
            sample.id,
            sample.kind,
            sample.turns,
            sample.prompt,
            [fingerprint_of_file(folder / path) for path in sample.media],
        ]
        for row, sample in samples.items()
    ]
    content = {key: run[key] for key in ("weights", "dtype", "max_new_tokens", "layer")}
    content |= {"cache": VERSION, "rows": rows}
    if run.get("max_pixels") is not None:
        content["max_pixels"] = run["max_pixels"]
    content |= {key: run[key] for key in ("template", "load", "candidates") if key in run}
    if run.get("one_tile"):
        content["one_tile"] = True
    if texts is not None:
        given = [texts.get(sample.id) for sample in samples.values()]
        content["answers"] = [one and [one.text, one.ids, one.ended, *filter(None, [one.failed])] for one in given]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
