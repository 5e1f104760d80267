"""A finished generation is taken up again only with its own checkpoint, manifest, pictures and words."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tam.errors import InputError, ModelError
from tam.generation.again import Again, again, check_logits, same_question
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.model.collate import collate, with_answer
from tests import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A generation of two samples, the second of which has no picture, and the checkpoint that made it."""
    folder = tmp_path_factory.mktemp("again")
    tiny.checkpoint(folder / "checkpoint", "qwen2_vl")
    pixels = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    write([Sample("a", ["a.png"], "a cat"), Sample("b", ["none.png"], "a dog")], folder / "manifest.jsonl")
    generate(
        folder / "manifest.jsonl", Shard(0, 1), str(folder / "checkpoint"), folder / "0.h5", max_new_tokens=5,
        device="cpu",
    )  # fmt: skip
    return folder


def taken_up(folder: Path, manifest: str = "manifest.jsonl", checkpoint: Path | None = None) -> Again:
    return again(folder / "0.h5", folder / manifest, str(checkpoint or folder / "checkpoint"), device="cpu")


def test_the_same_model_says_the_same_logits_again(made):
    found = taken_up(made)
    loaded = found.load()
    prepare = found.prepare(loaded)
    asked = same_question(found.generations[0], prepare(0))
    whole = with_answer(asked.prepared, asked.text, loaded.family.answer_type)
    with torch.inference_mode():
        logits = loaded.model(**collate([whole], loaded.padding, left=False)).logits[0].float().numpy()
    answer = found.generations[0].layout.answer
    rows = np.arange(answer - 1, answer - 1 + len(asked.text))
    check_logits(found.generations[0], logits[rows, asked.text])
    with pytest.raises(InputError, match=r"does not say what it said.*a logit 1 off"):
        check_logits(found.generations[0], logits[rows, asked.text] + np.float32(1))
    with pytest.raises(InputError, match=r"none\.png"):
        prepare(1)


def test_a_picture_that_was_shown_in_one_tile_is_so_again(made, tmp_path):
    folder = tiny.checkpoint(tmp_path / "checkpoint", "internvl")
    options = {"max_new_tokens": 2, "device": "cpu"}
    files = [made / "manifest.jsonl", Shard(0, 1), str(folder)]
    for name, one_tile in (("tiles", False), ("one", True)):
        generate(*files, tmp_path / f"{name}.h5", **options, one_tile=one_tile)
    found = [again(tmp_path / f"{name}.h5", files[0], files[2], device="cpu") for name in ("tiles", "one")]
    assert [len(one.generations[0].layout.grids) for one in found] == [7, 1]
    assert found[0].fingerprint != found[1].fingerprint
    for one in found:
        same_question(one.generations[0], one.prepare(one.load())(0))
    with pytest.raises(InputError, match="one tile cannot be asked for; got qwen2_vl; expected internvl"):
        generate(*files[:2], str(made / "checkpoint"), tmp_path / "no.h5", **options, one_tile=True)


def test_another_checkpoint_or_manifest_is_refused(made, tmp_path):
    other = tiny.checkpoint(tmp_path / "other", "qwen2_vl")
    config = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps(config | {"note": "another"}))
    with pytest.raises(ModelError, match="not the checkpoint that answered"):
        taken_up(made, checkpoint=other)
    write([Sample("c", ["a.png"], "a cat")], made / "other.jsonl")
    with pytest.raises(InputError, match="not in the manifest"):
        taken_up(made, "other.jsonl")


@pytest.mark.parametrize(
    ("sample", "size", "why"),
    [
        (Sample("a", ["b.png"], "a dog"), (84, 56), "the prompt is not the one"),
        (Sample("a", ["b.png"], "a cat"), (112, 84), "the prompt is not the one"),
        (Sample("a", ["b.png"], "a cat"), (85, 56), "the pictures are not those"),
    ],
    ids=["words", "more tokens", "another size"],
)
def test_another_question_costs_its_sample(made, tmp_path, sample, size, why):
    shutil.copytree(made, tmp_path / "copy")
    Image.new("RGB", size).save(tmp_path / "copy/b.png")
    found = taken_up(tmp_path / "copy")
    found = replace(found, samples={0: sample})
    with pytest.raises(InputError, match=why):
        same_question(found.generations[0], found.prepare(found.load())(0))


def test_an_answer_that_holds_a_vision_token_costs_its_sample(made):
    found = taken_up(made)
    loaded, one = found.load(), found.generations[0]
    picture, video = one.tokens[one.layout.vision[0]], loaded.config.video_token_id
    for token, refused in ((picture, True), (video, False)):
        tokens = np.append(one.tokens[:-1], token)
        with pytest.raises(InputError, match="the answer holds a vision token") if refused else nullcontext():
            asked = same_question(replace(one, tokens=tokens), found.prepare(loaded)(0))
    whole = with_answer(asked.prepared, asked.text, loaded.family.answer_type)
    loaded.model(**collate([whole], loaded.padding, left=False))  # without a video its token is one like others
