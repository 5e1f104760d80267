"""Before anything runs: are data, checkpoints, memory, disk and programs there that a config asks for? A line each.

What a run takes is estimated from the files' headers and sizes, and said to be so.
"""

import json
import math
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HTTPError

from tam import tagging
from tam.datasets import nltk_data
from tam.embedded import CHECKPOINT
from tam.errors import InputError
from tam.pin import Entry, about, on_hub

LOCAL = ("root", "images", "instances", "captions", "ids", "categories", "panoptic", "segments", "refs")
"""Keys of a dataset that name files."""
WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2, "8bit": 1, "4bit": 0.5}  # bytes
# Measured with Qwen2-VL-2B's shapes: a sample's logits at most, and a method's maps of it; besides the weights a batch
# takes a fifth of them and two gigabytes.
CACHE, MAPS, BESIDE, FIXED = 0.5e6, 0.05e6, 1.2, 2e9
MOST_HEADER = 1 << 26


class Finding(NamedTuple):
    """Attributes: good: what is asked for can run."""

    good: bool
    about: str
    said: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'FAIL'}  {self.about}: {self.said}"


class Weights(NamedTuple):
    """Of a checkpoint: numbers, and bytes as they are stored."""

    numbers: int
    bytes: int


def before(config: dict[str, Any], home: Path = Path(), endpoint: str | None = None) -> Iterator[Finding]:
    """Everything that can be known without running.

    Args:
        config: with its defaults. home: where it will run, and relative paths begin. endpoint: as for ``pin``.
    """
    api, hub = HfApi(endpoint=endpoint), {entry.name: entry for entry in on_hub(config)}
    samples: list[int] = []
    for name, dataset in config["datasets"].items():
        count = _lines(home / "data" / name / "manifest.jsonl")
        samples += [] if count is None else [count]
        yield _dataset(name, dataset, count, home, hub.get(f"datasets.{name}"), api)
    needs: list[float] = []
    for name, model in config["models"].items():
        try:
            weights, said = _weights(model["model"], hub.get(f"models.{name}"), api)
        except InputError as error:
            yield Finding(False, f"model {name}", str(error))
            continue
        if model.get("device") != "auto-map":  # which goes on where a card is full
            needs.append(_memory(weights, model.get("load") or model.get("dtype", "auto")))
        yield Finding(True, f"model {name}", f"{said}, {weights.numbers / 1e9:.1f} billion numbers")
    if needs:
        yield _gpu(max(needs))
    yield _disk(config, samples, home)
    yield _tex(bool(config["render"]["samples"]))
    yield _nltk(config["nltk_data"], home)


def _dataset(
    name: str, dataset: dict[str, Any], count: int | None, home: Path, remote: Entry | None, api: HfApi
) -> Finding:
    subject = f"dataset {name}"
    if count is not None:
        return Finding(True, subject, f"{count} samples in its manifest")
    if remote:
        try:
            return Finding(True, subject, f"can be downloaded, {remote.repo} at {about(api, remote).sha}")
        except InputError as error:
            return Finding(False, subject, str(error))
    missing = [dataset[key] for key in LOCAL if dataset.get(key) and not (home / dataset[key]).exists()]
    return Finding(not missing, subject, f"no such file or folder: {missing[0]}" if missing else "its files are there")


def _weights(model: str, remote: Entry | None, api: HfApi) -> tuple[Weights, str]:
    if remote is None:
        return _stored(CHECKPOINT if model == "embedded" else Path(model)), "is there"
    try:
        folder = snapshot_download(remote.repo, revision=remote.revision, local_files_only=True)
        return _stored(Path(folder)), "is in the hub's cache"
    except (OSError, ValueError, HTTPError, InputError):  # not there, or not all of it
        found = about(api, remote)
    files = [file for file in found.siblings or () if file.rfilename.endswith(".safetensors")]
    if not files:
        raise InputError("no safetensors weights", where=remote.repo)
    size = sum(file.size or 0 for file in files)
    numbers = found.safetensors.total if found.safetensors else size // 2
    return Weights(numbers, size), f"can be downloaded, {size / 1e9:.1f} GB"


def _stored(folder: Path) -> Weights:
    """Of a folder's safetensors files, by their headers."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError("no safetensors weights", where=folder)
    index = folder / "model.safetensors.index.json"
    named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values() if index.is_file() else ()
    if missing := sorted({*named} - {path.name for path in files}):
        raise InputError("weights are missing", where=folder, got=f"no {missing[0]}")
    numbers = 0
    for path in files:
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, MOST_HEADER)))
            numbers += sum(math.prod(part["shape"]) for name, part in header.items() if name != "__metadata__")
        except (ValueError, struct.error, AttributeError, LookupError, TypeError) as error:
            raise InputError("not a safetensors file", where=path, got=error) from error
    return Weights(numbers, sum(path.stat().st_size for path in files))


def _memory(weights: Weights, dtype: str) -> float:
    """Bytes that a model takes while it answers in this dtype, or these bits: an estimate."""
    return BESIDE * (weights.numbers * WIDTH[dtype] if dtype in WIDTH else weights.bytes) + FIXED


def _gpu(need: float) -> Finding:
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
        largest = max(float(line) * 2**20 for line in listed.split("\n") if line.strip())
    except (OSError, subprocess.SubprocessError, ValueError):
        return Finding(True, "GPU", f"none here, as on a login node; the largest model takes about {need / 1e9:.0f} GB")
    said = f"{largest / 1e9:.0f} GB, and the largest model takes about {need / 1e9:.0f} GB"
    return Finding(largest >= need, "GPU", said)


def _disk(config: dict[str, Any], samples: list[int], home: Path) -> Finding:
    answers = sum(samples) * len(config["models"])
    need, free = answers * (CACHE + MAPS * len(config["methods"])), shutil.disk_usage(home).free
    unknown = len(config["datasets"]) - len(samples)
    more = f", and of {unknown} datasets that have no manifest yet it is not known" if unknown else ""
    said = (
        f"{free / 1e9:.0f} GB are free, and at most about {need / 1e9:.1f} GB are written for {answers} answers{more}"
    )
    return Finding(free >= need, "disk", f"{said}; the hub's cache is {constants.HF_HUB_CACHE}")


def _tex(asked: bool) -> Finding:
    there = shutil.which("xelatex") is not None
    without = "no xelatex: the text of tokens is drawn with Pillow" if asked else "no xelatex, and none is needed"
    return Finding(True, "TeX", "xelatex is there" if there else without)


def _nltk(asked: str | None, home: Path) -> Finding:
    if asked is None:
        return Finding(True, "NLTK", f"as this machine has it: {tagging.choose().name}")
    folder = home / ("downloads/nltk_data" if asked == "download" else asked)
    missing = [name for name in nltk_data.WANTED if nltk_data.find(name, folder) is None]
    if not missing:
        return Finding(True, "NLTK", f"tagger and WordNet are in {folder}")
    if asked == "download":
        return Finding(True, "NLTK", f"{' and '.join(missing)} will be downloaded: a machine with a network must do it")
    return Finding(False, "NLTK", f"{' and '.join(missing)} not in {os.fspath(folder)}")


def _lines(path: Path) -> int | None:
    return sum(1 for _ in path.open("rb")) if path.is_file() else None
