"""The real files of public checkpoints with small random weights: loaded as they are, and asked."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tam
from tam.model.checkpoint import load
from tam.model.loaded import Loaded
from tam.model.probe import probe
from tests.shared import shared
from tests.test_real_files import pictures

# name -> end tokens, grids of a picture of 80 x 60 pixels, of one of 50 x 70
SETS = {
    "llava-1.5-7b": ([2], [(24, 24)], [(24, 24)]),
    "llava-v1.6-mistral-7b": ([2], [(24, 24), (24, 32)], [(24, 24), (24, 18)]),
    "qwen2.5-vl-7b": ([151645, 151643], [(2, 3)], [(2, 2)]),
    "qwen3-vl-8b": ([151645], [(2, 2)], [(2, 2)]),
    "smolvlm-256m": ([49279], [(8, 8)] * 13, [(8, 8)] * 13),
    "paligemma-3b-448": ([1], [(32, 32)], [(32, 32)]),
}


def gemma_vocabulary(folder: Path) -> None:
    """Llama's pieces with Gemma's special tokens at their ids; its own file was too large to keep."""
    words = json.loads(shared("data", "skeletons", "llava-1.5-7b", "tokenizer.json").read_text())
    pieces = dict(zip(words["model"]["vocab"].values(), words["model"]["vocab"], strict=True))
    pieces |= {number: f"<unused{number}>" for number in range(len(pieces), 256000)}
    pieces |= {256000 + number: f"<loc{number:04d}>" for number in range(1024)}
    pieces |= {257024 + number: f"<seg{number:03d}>" for number in range(128)}
    pieces |= {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 108: "\n", 257152: "<image>"}
    words["model"]["vocab"] = {piece: number for number, piece in pieces.items()}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    words["added_tokens"] = [
        {"id": number, "content": pieces[number], "special": True, **flags} for number in (0, 1, 2, 3, 257152)
    ]
    words["post_processor"] = None  # which names Llama's
    (folder / "tokenizer.json").write_text(json.dumps(words))


@pytest.fixture(scope="module", params=SETS)
def real(request, tmp_path_factory) -> tuple[str, Loaded]:
    source = shared("data", "skeletons", request.param)
    folder = Path(shutil.copytree(source, tmp_path_factory.mktemp("real") / request.param))
    if request.param == "paligemma-3b-448":
        gemma_vocabulary(folder)
    if request.param == "smolvlm-256m":
        pytest.importorskip("num2words", reason="SmolVLM's processor needs it")
    spec = importlib.util.spec_from_file_location("shrink", source.parent / "shrink.py")
    shrink = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shrink)
    shrink.main(folder)
    yield request.param, load(str(folder), device="cpu")
    shutil.rmtree(folder)


def test_a_picture_and_two_are_explained_with_all_their_words_and_tokens(real):
    """Whatever truncation was saved with the files: PaliGemma's at 50 tokens, LLaVA's at 1024."""
    name, loaded = real
    _, first, second = SETS[name]
    for media, grids in ((pictures((80, 60)), first), (pictures((80, 60), (50, 70)), first + second)):
        made = tam.explain(loaded.model, loaded.processor, list(media.pictures), "What is in it?", max_new_tokens=2)
        layout, prompt = made.generation.layout, made.generation.prompt_ids
        assert [(grid.rows, grid.columns) for grid in layout.grids] == grids
        assert len(layout.vision) == sum(rows * columns for rows, columns in grids)
        assert loaded.tokenizer.decode(prompt).strip() == "What is in it?"
        assert np.isfinite(made.maps).all() and made.maps.max() > 0


def test_an_answer_ends_as_the_generation_config_says(real):
    name, loaded = real
    assert loaded.ends.tolist() == SETS[name][0]
    given = tam.explain(loaded.model, loaded.processor, list(pictures((80, 60)).pictures), "What?", answer="a cat")
    assert given.generation.answer_ids[-1] in SETS[name][0]


def test_painting_a_part_moves_its_own_token(real):
    name, loaded = real
    if name == "smolvlm-256m":
        pytest.skip("thirteen grids: a minute")
    found = [ok for ok, _ in probe(loaded, pictures((320, 240)), 4)]
    assert sum(found) >= 0.75 * len(found)
