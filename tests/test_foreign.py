"""Whatever a processor, a tokenizer or a model raises is one line, and its own sample's status."""

import contextlib
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tam
from tam.cache import read_generations
from tam.errors import DiskError, InputError, ModelError, TamError
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.model import question as answering
from tam.model import samples as preparing
from tam.model.checkpoint import load
from tam.model.placement import device_of
from tam.system.foreign import NO_SAMPLES, foreign, told
from tests import tiny

RAISED = [
    ValueError("absolute aspect ratio\nmust be smaller"), TypeError("int // NoneType"), AttributeError("patch_size"),
    KeyError("pixel_values"), AssertionError(), ZeroDivisionError(), NotImplementedError("no video"), StopIteration(),
    RuntimeError("shapes"), OSError("no errno"), ExceptionGroup("several", [ValueError("a")]),
]  # fmt: skip
NOT_THE_SAMPLES = [
    (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left"),
    (OSError(errno.EIO, "Input/output error", "a.png"), OSError, "a.png"),
    (DiskError("the disk is full"), DiskError, "the disk is full"),
    (ModelError("the checkpoint has no chat template"), ModelError, "chat template"),
    (ImportError("num2words is needed"), ModelError, "num2words"),
    (torch.AcceleratorError("CUDA error: device-side assert triggered"), ModelError, "device-side"),
]


def picture(width: int = 56, height: int = 56) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_anything_that_is_raised_is_an_error_of_the_input_in_one_line(error):
    said = f"^the model cannot take it; got {type(error).__name__}"
    with pytest.raises(InputError, match=said) as found, foreign("the model cannot take it"):
        raise error
    assert "\n" not in str(found.value) and found.value.__cause__ is error


@given(st.text())
def test_a_message_is_one_short_line_whatever_it_says(text):
    line = str(told(ValueError(text)))
    assert len(line.splitlines()) == 1 and len(line) < 500


@pytest.mark.parametrize(("error", "kind", "says"), NOT_THE_SAMPLES, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_of_the_disk_the_device_or_the_checkpoint_is_no_samples(error, kind, says):
    found = told(error)
    assert isinstance(found, kind) and isinstance(found, NO_SAMPLES) and says in str(found)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_too_little_memory_says_how_large_it_was(error):
    assert str(told(error, size="9 x 9 pixels")).startswith("out of memory; got 9 x 9 pixels; cure: smaller pictures")


# ---- in the stage


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("checkpoint"))


def answered(folder: Path, checkpoint: Path) -> list[str]:
    for name, size in (("a", (56, 56)), ("b", (84, 56))):
        picture(*size).save(folder / f"{name}.png")
    write([Sample(name, [f"{name}.png"], "a cat") for name in "ab"], folder / "manifest.jsonl")
    generate(folder / "manifest.jsonl", Shard(0, 1), str(checkpoint), folder / "g.h5", max_new_tokens=2, device="cpu")
    return [one.status for one in read_generations(folder / "g.h5")]


def breaking(honest, error: Exception):
    """Raises at pictures of 84 pixels."""

    def broken(first, shown, *others):
        asked = [one.layout.sizes for one in shown] if isinstance(shown, list) else [shown.sizes]
        if ((84, 56),) in asked:
            raise error
        return honest(first, shown, *others)

    return broken


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_a_model_that_raises_anything_costs_its_own_sample(checkpoint, tmp_path, monkeypatch, error):
    monkeypatch.setattr(answering, "answer_batch", breaking(answering.answer_batch, error))
    sound, failed = answered(tmp_path, checkpoint)
    assert sound == "truncated" and failed.startswith("failed: the model cannot take this; got ")


@pytest.mark.parametrize(("error", "kind", "says"), NOT_THE_SAMPLES, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("where", ["prepare", "answer_batch"])
def test_an_error_of_all_samples_stops_the_stage(checkpoint, tmp_path, monkeypatch, where, error, kind, says):
    room = preparing if where == "prepare" else answering
    monkeypatch.setattr(room, where, breaking(getattr(room, where), error))
    with pytest.raises(kind, match=says):
        answered(tmp_path, checkpoint)
    assert not (tmp_path / "g.h5").exists()


# ---- real ones


def test_a_picture_that_the_processor_refuses_is_one_line():
    loaded = tiny.loaded()
    with pytest.raises(InputError, match="the processor cannot take this; got ValueError: absolute aspect ratio"):
        tam.explain(loaded.model, loaded.processor, picture(300, 1), "a cat", max_new_tokens=2)


def test_a_video_of_one_frame_is_answered_or_refused_in_one_line():
    for kind in ("qwen2_vl", "qwen3_vl", "glm4v", "internvl", "llava_onevision"):
        loaded = tiny.loaded(kind)
        with contextlib.suppress(TamError):
            tam.explain(loaded.model, loaded.processor, video=[picture()], prompt="a cat", max_new_tokens=2)


def test_a_processor_without_a_field_that_it_needs_is_one_line(tmp_path):
    path = tiny.checkpoint(tmp_path, "llava") / "processor_config.json"
    config = json.loads(path.read_text())
    config.pop("patch_size")
    path.write_text(json.dumps(config))
    loaded = load(str(tmp_path), device="cpu")
    with pytest.raises(InputError, match="the processor cannot take this; got TypeError"):
        tam.explain(loaded.model, loaded.processor, picture(), "a cat", max_new_tokens=2)


@pytest.mark.parametrize("name", ["cuda", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=f"no such GPU here; got '{name}'.*cure: say auto, or cpu"):
        device_of(name)
