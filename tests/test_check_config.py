"""`tam check`: what a config asks for is there, or can be had, or is said to be missing."""

import json
import struct
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from tam import config as configs
from tam.check import before as check
from tam.check.before import Weights, before
from tests.hub import REPO, Repository, serve


def found(tmp_path, asked, files=None):
    """What is said of each thing, by its name."""
    configs.check(asked)
    with serve(Repository(files or {})) as address:
        return {one.about: one for one in before(asked, tmp_path, address)}


def ask(**changes):
    return {"datasets": {"d": {"kind": "emoji"}}, "models": {"m": {"model": "embedded"}}, "shards": 1} | changes


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No GPU, and an empty cache of the hub."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_the_embedded_default_can_run(tmp_path):
    said = found(tmp_path, ask())
    assert all(one.good for one in said.values())
    assert list(said) == ["dataset d", "model m", "GPU", "disk", "TeX", "NLTK"]
    assert str(said["dataset d"]) == "ok    dataset d: its files are there" and "login node" in said["GPU"].said


def test_data_and_checkpoints_are_there_or_can_be_downloaded_or_fail(tmp_path):
    datasets = {
        "hub": {"kind": "coco", "hub": REPO}, "gone": {"kind": "coco", "hub": "someone/else"},
        "there": {"kind": "folder", "root": "."}, "missing": {"kind": "folder", "root": "nowhere"},
    }  # fmt: skip
    models = {"hub": {"model": REPO}, "gone": {"model": "someone/else"}, "empty": {"model": str(tmp_path)}}
    said = found(tmp_path, ask(datasets=datasets, models=models), {"model.safetensors": bytes(2000)})
    good = {name: one.good for name, one in said.items()}
    assert [good[f"dataset {name}"] for name in datasets] == [True, False, True, False]
    assert [good[f"model {name}"] for name in models] == [True, False, False]
    assert "no such file or folder: nowhere" in said["dataset missing"].said
    assert "can be downloaded, 0.0 GB" in said["model hub"].said


def test_weights_are_counted_in_the_headers_and_missing_files_are_said(tmp_path):
    header = json.dumps({"__metadata__": {}, "a": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]}}).encode()
    (tmp_path / "1.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(30))
    assert check._stored(tmp_path) == Weights(15, 8 + len(header) + 30)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "2.safetensors"}}))
    said = found(tmp_path, ask(models={"m": {"model": str(tmp_path)}}))
    assert not said["model m"].good and "weights are missing; got no 2.safetensors" in said["model m"].said
    (tmp_path / "1.safetensors").write_bytes(b"version https://git-lfs")
    (tmp_path / "model.safetensors.index.json").unlink()
    assert "not a safetensors file" in found(tmp_path, ask(models={"m": {"model": str(tmp_path)}}))["model m"].said


def test_memory_is_that_of_the_dtype_and_a_gpu_that_is_too_small_fails(tmp_path, monkeypatch):
    assert check._memory(Weights(10**9, 2 * 10**9), "auto") == pytest.approx(4.4e9)
    assert check._memory(Weights(10**9, 2 * 10**9), "float32") == pytest.approx(6.8e9)
    assert check._memory(Weights(10**9, 2 * 10**9), "4bit") == pytest.approx(2.6e9)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 8000\necho 16000\n")
    program.chmod(0o755)
    assert check._gpu(16e9).good and not check._gpu(17e9).good
    assert "17 GB, and the largest model takes about 18 GB" in check._gpu(18e9).said


def test_disk_is_estimated_from_the_manifest(tmp_path, monkeypatch):
    (tmp_path / "data/d").mkdir(parents=True)
    (tmp_path / "data/d/manifest.jsonl").write_text("{}\n" * 1000)
    asked = ask(
        methods=["tam", "eci"], models={"m": {"model": "embedded"}, "n": {"model": "embedded"}}, render={"samples": []}
    )
    said = found(tmp_path, asked)["disk"]
    assert said.good and "1.2 GB are written for 2000 answers" in said.said  # 2000 * (0.5 + 2 * 0.05) MB
    monkeypatch.setattr(check.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert not found(tmp_path, asked)["disk"].good


def test_nltk_is_in_its_folder_or_will_be_downloaded_or_fails(tmp_path):
    assert "will be downloaded" in found(tmp_path, ask(nltk_data="download"))["NLTK"].said
    assert not found(tmp_path, ask(nltk_data="nowhere"))["NLTK"].good
