"""The stage: one shard of the manifest -> its cache file, in batches, resumed where it was stopped."""

import copy
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

import tam
from tam.cache import VERSION
from tam.errors import InputError
from tam.families import family_of
from tam.generation.given_answers import read_answers
from tam.generation.kept import Selected
from tam.manifest import Sample, Shard, read
from tam.model.checkpoint import (
    config_of,
    device_of,
    dtype_of,
    fingerprint_of_file,
    fingerprint_of_model,
    load_from,
    locate,
)
from tam.model.decoding import check_layer
from tam.records import Generation
from tam.shard.background import behind
from tam.shard.batches import Work
from tam.shard.journal import Journal
from tam.shard.memory import Room
from tam.shard.prefetch import workers_for
from tam.shard.store import Store
from tam.system import stop

logger = logging.getLogger(__name__)


def generate(
    manifest: Path, shard: Shard, model: str, out: Path, *, max_new_tokens: int = 256, batch_size: int | None = None,
    revision: str | None = None, device: str = "auto", dtype: str = "auto", answers: Path | None = None,
    layer: int | None = None, trust_remote_code: bool = False,
) -> Counter[str]:  # fmt: skip
    """Answer all the samples of a shard, write them to ``out`` and count them by status ("failed" without its why).

    Finished batches are kept beside ``out`` until the shard is whole, and a restart goes on after them. A sample that
    cannot be answered is recorded as such and stops no other. The model is loaded only if something is left to do.

    Args:
        batch_size: samples at a time; None: as many as the device has memory for.
        answers: a file of texts (``given.py``) to explain instead of the model's own answers.

    Raises:
        InputError: a wrong manifest, file of answers or option.
        ModelError: a checkpoint that cannot be used.
    """
    for name, number in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise InputError("wrong number", where=name, got=number, expected="1 or more")
    rows = read(manifest)
    samples = {row: rows[row] for row in shard.rows(len(rows))}
    texts = None if answers is None else read_answers(answers, [sample.id for sample in rows])
    checkpoint = locate(model, revision, trust_remote_code)
    config = config_of(checkpoint, trust_remote_code)
    compute = device_of(device)
    run = {
        "model": model,
        "revision": None if Path(model).is_dir() else checkpoint.name,
        "weights": fingerprint_of_model(checkpoint, trust_remote_code),
        "family": family_of(config).name,
        "dtype": str(dtype_of(config, compute, dtype)).removeprefix("torch."),
        "max_new_tokens": max_new_tokens,
        "layer": layer,
        "answers": None if answers is None else fingerprint_of_file(answers),
        "tam": tam.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    fingerprint = fingerprint_of(run, samples, manifest.parent, texts)
    store = Store(out, fingerprint, run)
    done = store.finished()
    if done is not None and done.keys() == samples.keys():
        logger.info("generate %s: %d samples are there already", shard, len(done))
        store.clear()
        return _counts(done)
    done = store.resume()
    if done:
        logger.info("generate %s: resume: %d of %d samples are there", shard, len(done), len(samples))
    if len(done) < len(samples):
        loaded = load_from(checkpoint, compute, dtype, trust_remote_code)
        check_layer(loaded[0], layer)
        work, journal = Work(*loaded, manifest.parent, max_new_tokens, texts, layer), Journal(store.folder)
        words = copy.deepcopy(work.processor.tokenizer)  # a tokenizer must not be used by two threads at once

        def keep(batch: dict[int, Selected | Generation]) -> None:
            generations = work.in_words(words, batch)
            store.add(generations)
            journal.remove(batch)
            done.update({row: generation.status for row, generation in generations.items()})

        for batch in journal.left(samples):
            keep(batch)
        started, already = time.monotonic(), len(done)

        def keep_and_tell(batch: dict[int, Selected | Generation]) -> None:
            keep(batch)
            rate = (len(done) - already) / (time.monotonic() - started)
            logger.info(
                "generate %s: %d/%d samples, %.1f samples/s, ETA %.0f s",
                shard, len(done), len(samples), rate, (len(samples) - len(done)) / rate,
            )  # fmt: skip

        with behind(keep_and_tell) as keep_behind:
            for batch in work.batches(samples, set(done), Room(compute, batch_size), workers_for(compute)):
                journal.write(batch)
                keep_behind(batch)
                stop.check()
    store.finish(samples.keys())
    return _counts(done)


def _counts(statuses: dict[int, str]) -> Counter[str]:
    return Counter(status.split(":")[0] for status in statuses.values())


# ---- fingerprints


def fingerprint_of(run: dict, samples: dict[int, Sample], folder: Path, texts: Mapping[str, str] | None = None) -> str:
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
    if texts is not None:
        content["answers"] = [texts.get(sample.id) for sample in samples.values()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
