"""Who gets which GPU, on a machine that is said to have two."""

import subprocess
import sys
import tempfile

import pytest
import torch

from tam.system import gpus


@pytest.fixture(autouse=True)
def two(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(gpus, "_name", str)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_each_process_gets_a_free_one_and_it_is_free_again_after_it():
    with gpus.claim("auto") as one:
        with gpus.claim("auto") as other:
            assert (one, other) == ("cuda:0", "cuda:1")
        with gpus.claim("auto") as another:
            assert another == "cuda:1"


def test_where_all_are_claimed_one_is_shared():
    with gpus.claim("auto"), gpus.claim("auto"), gpus.claim("auto") as shared:
        assert shared in ("cuda:0", "cuda:1")


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_was_named_is_that_device(name):
    with gpus.claim(name) as device:
        assert device == name


def test_with_one_gpu_or_none_nothing_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with gpus.claim("auto") as device:
        assert device == "auto" and not list(tmp_path.iterdir())


def test_memory_is_taken_in_segments_that_grow_unless_somebody_chose_otherwise(monkeypatch):
    for name in gpus.ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    with gpus.claim("cpu"):
        assert gpus.os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    with gpus.claim("cpu"):
        assert "PYTORCH_ALLOC_CONF" not in gpus.os.environ


def test_a_killed_process_gives_its_gpu_back(tmp_path):
    code = (
        "import sys, tempfile, contextlib, os, signal; from tam.system import gpus; tempfile.tempdir = sys.argv[1];"
        "held = contextlib.ExitStack(); assert gpus._lock('0', held); print(flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    with gpus.claim("auto") as device:
        assert device == "cuda:1"
    process.kill()
    process.communicate()
    with gpus.claim("auto") as device:
        assert device == "cuda:0"
