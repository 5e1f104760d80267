"""The stage: some answers of a generation file -> how far their maps change with the weights, a table and a figure."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tam.errors import InputError
from tam.generation.again import again
from tam.methods.registry import find_all
from tam.sanity.parts import ORDERS
from tam.sanity.record import VERSION, read_sanity, sanity_files
from tam.sanity.report import check_beside, write_report
from tam.sanity.task import SanityTask
from tam.shard.runner import run_shard
from tam.shard.store import Store


def sanity(
    generation: Path, manifest: Path, model: str, out: Path, *, methods: Sequence[str], samples: int,
    orders: Sequence[str], seeds: Sequence[int], revision: str | None = None, device: str = "auto",
    trust_remote_code: bool = False, store: Path | None = None,
) -> Counter[str]:  # fmt: skip
    """Compare the maps of ``samples`` answers, drawn by seed 0 from those that are there, in models of random weights.

    Writes ``out`` (HDF5), and beside it, under its name, table and figure: ``.csv``, ``.md``, ``.tex``, ``.png``,
    ``.pdf``, ``.svg``. Resumes where it was stopped.

    Returns:
        the number of samples by kind of status.

    Raises:
        InputError: an unknown method or order, no seeds, or logits of another layer than the last.
        InputError, ModelError, SchemaError: as ``again``.
        DiskError: a table or figure of somebody else has the name of ours.
    """
    chosen = find_all(methods)
    if unknown := [order for order in orders if order not in ORDERS]:
        raise InputError("unknown order", got=repr(unknown[0]), expected=" or ".join(ORDERS))
    if scored := [method.name for method in chosen if method.needs == "scores"]:
        raise InputError("a method that needs scores of `tam attribute`", got=scored[0], cure="leave it out")
    if not orders or not seeds or not chosen:
        raise InputError("nothing to compare", expected="a method, an order and a seed at least")
    check_beside(out)
    found = again(generation, manifest, model, revision, device, trust_remote_code)
    if found.run.get("layer") is not None:
        raise InputError("random weights are looked through from the last layer", got=f"layer {found.run['layer']}")
    answered = [row for row, made in found.generations.items() if not made.failed]
    rows = sorted(np.random.default_rng(0).permutation(answered)[:samples].tolist())
    titles = {method.name: method.title for method in chosen}
    said = [VERSION, found.fingerprint, rows, [*orders], [*seeds], titles]
    fingerprint = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]
    kept = Store(out, fingerprint, sanity_files(titles, fingerprint), store)

    def load() -> SanityTask:
        return SanityTask(found.load(), found, chosen, orders, seeds)

    taken = {row: found.samples[row] for row in rows}
    statuses = run_shard("sanity", taken, found.folder, kept, load, found.device)
    write_report(*read_sanity(out), out)
    return Counter(status.partition(":")[0] for status in statuses.values())
