"""The stage: one shard of the manifest -> its cache file, in batches, resumed where it was stopped."""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from PIL import Image

import tam
from tam.cache import VERSION, Generation
from tam.errors import InputError, ModelError, NotFiniteError, TamError
from tam.families import family_of
from tam.families.checkpoint import (
    config_of,
    device_of,
    dtype_of,
    fingerprint_of_file,
    fingerprint_of_model,
    load_from,
    locate,
)
from tam.families.interface import Family
from tam.families.prompt import Prepared, prepare
from tam.families.video import sampling_of
from tam.generation.answer import Answer, answer_batch, check_layer
from tam.generation.select import select
from tam.manifest import Sample, Shard, read
from tam.media import open_media
from tam.store import Store

logger = logging.getLogger(__name__)


def generate(
    manifest: Path, shard: Shard, model: str, out: Path, *, max_new_tokens: int = 256, batch_size: int = 8,
    revision: str | None = None, device: str = "auto", dtype: str = "auto", layer: int | None = None,
) -> Counter[str]:  # fmt: skip
    """Answer all the samples of a shard, write them to ``out`` and count them by status ("failed" without its why).

    Finished batches are kept beside ``out`` until the shard is whole, and a restart goes on after them. A sample that
    cannot be answered is recorded as such and stops no other. The model is loaded only if something is left to do.

    Raises:
        InputError: a wrong manifest or option.
        ModelError: a checkpoint that cannot be used.
    """
    for name, number in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if number < 1:
            raise InputError("wrong number", where=name, got=number, expected="1 or more")
    rows = read(manifest)
    samples = {row: rows[row] for row in shard.rows(len(rows))}
    checkpoint = locate(model, revision)
    config = config_of(checkpoint)
    compute = device_of(device)
    run = {
        "model": model,
        "revision": None if Path(model).is_dir() else checkpoint.name,
        "weights": fingerprint_of_model(checkpoint),
        "family": family_of(config).name,
        "dtype": str(dtype_of(config, compute, dtype)).removeprefix("torch."),
        "max_new_tokens": max_new_tokens,
        "layer": layer,
        "tam": tam.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    fingerprint = fingerprint_of(run, samples, manifest.parent)
    store = Store(out, fingerprint, shard, run)
    done = store.finished()
    if done is not None and done.keys() == samples.keys():
        logger.info("generate %s: %d samples are there already", shard, len(done))
        store.clear()
        return _counts(done)
    done = store.resume()
    if done:
        logger.info("generate %s: resume: %d of %d samples are there", shard, len(done), len(samples))
    if len(done) < len(samples):
        loaded = load_from(checkpoint, compute, dtype)
        check_layer(loaded[0], layer)
        started, already = time.monotonic(), len(done)
        for batch in _batches(samples, done, manifest.parent, batch_size):
            generations = _answer(*loaded, batch, manifest.parent, max_new_tokens, layer)
            store.add(generations)
            done |= {row: generation.status for row, generation in generations.items()}
            rate = (len(done) - already) / (time.monotonic() - started)
            logger.info(
                "generate %s: %d/%d samples, %.1f samples/s, ETA %.0f s",
                shard, len(done), len(samples), rate, (len(samples) - len(done)) / rate,
            )  # fmt: skip
    store.finish()
    return _counts(done)


def _counts(statuses: dict[int, str]) -> Counter[str]:
    return Counter(status.split(":")[0] for status in statuses.values())


def _batches(samples: dict[int, Sample], done: dict, folder: Path, size: int) -> Iterator[dict[int, Sample]]:
    """Samples of similar length together. Batches are cut before the finished ones are left out: a restart must not
    put other samples side by side, because padding changes the last bit of a result."""
    order = sorted(samples, key=lambda row: (_length(samples[row], folder), row))
    for start in range(0, len(order), size):
        if batch := {row: samples[row] for row in order[start : start + size] if row not in done}:
            yield batch


def _length(sample: Sample, folder: Path) -> int:
    """About how long a sample is: its pixels (for a video file, its bytes). Unreadable media count nothing."""
    total = 0
    for path in sample.media:
        try:
            with Image.open(folder / path) as picture:
                total += picture.width * picture.height
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            total += (folder / path).stat().st_size if sample.kind == "video" and (folder / path).is_file() else 0
    return total


def _answer(
    model, processor, family: Family, samples: dict[int, Sample], folder: Path, max_new_tokens: int, layer: int | None
) -> dict[int, Generation]:
    """Answer a batch. Whatever goes wrong with one sample is recorded for it, and the others go on."""
    generations, prepared = {}, {}
    for row, sample in samples.items():
        try:
            media = open_media(sample, folder, sampling_of(processor))
            prepared[row] = prepare(family, model.config, processor, media, sample.prompt, sample.turns)
        except (ModelError, ImportError):  # nothing that another sample would not meet
            raise
        except Exception as error:  # a processor may raise anything
            generations[row] = _failure(sample, error)
    for row, answer in _answers(model, processor, prepared, max_new_tokens, layer).items():
        if isinstance(answer, Exception):
            generations[row] = _failure(samples[row], answer)
            continue
        try:
            generations[row] = select(model, processor, samples[row], prepared[row], answer)
        except (NotFiniteError, RuntimeError) as error:
            generations[row] = _failure(samples[row], error)
    return dict(sorted(generations.items()))


def _answers(
    model, processor, prepared: dict[int, Prepared], max_new_tokens: int, layer: int | None
) -> dict[int, Answer | Exception]:
    """Answers by row. A batch that breaks (too little memory, a sample the model cannot take) is tried in halves."""
    if not prepared:
        return {}
    try:
        answers = answer_batch(model, processor, list(prepared.values()), max_new_tokens, layer)
        return dict(zip(prepared, answers, strict=True))
    except (RuntimeError, ValueError, IndexError) as error:
        if len(prepared) == 1:
            return dict.fromkeys(prepared, error.with_traceback(None))  # a traceback would keep its tensors
        logger.warning("a batch of %d broke and is tried in halves: %s", len(prepared), error)
    rows = list(prepared)
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    parts = ({row: prepared[row] for row in half} for half in halves)
    return {
        row: answer for part in parts for row, answer in _answers(model, processor, part, max_new_tokens, layer).items()
    }


def _failure(sample: Sample, error: Exception) -> Generation:
    why = error if isinstance(error, TamError) else f"{type(error).__name__}: {error}"
    logger.warning("%s failed: %s", sample.id, why)
    return Generation.failure(sample.id, sample.prompt, why)


# ---- fingerprints


def fingerprint_of(run: dict, samples: dict[int, Sample], folder: Path) -> str:
    """What determines a shard's file: weights and processor, the samples' media and prompts, dtype, limit, version.

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
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
