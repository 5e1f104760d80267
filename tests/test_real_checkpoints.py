"""The real files of public checkpoints with small random weights: loaded as they are, and asked."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import tam
from tam.check.asked import film, pictures
from tam.errors import InputError, ModelError
from tam.media import Media
from tam.model.checkpoint import load
from tam.model.loaded import Loaded
from tam.model.probe import probe
from tam.model.prompt import prepare
from tests.shared import shared
from tests.vocabularies import write_vocabulary

PHOTO, PORTRAIT, PANORAMA, FRAME = (80, 60), (50, 70), (160, 40), (84, 56)
WORDS = "What is in it?"
Grids = list[tuple[int, int]]


class Expected(NamedTuple):
    """End tokens of the generation config, and grids of each picture and of three frames; None: no video."""

    ends: list[int]
    photo: Grids
    portrait: Grids
    panorama: Grids
    film: Grids | None


SETS = {
    "llava-1.5-7b": Expected([2], *[[(24, 24)]] * 3, None),
    "llava-v1.6-mistral-7b": Expected([2], [(24, 24), (24, 32)], [(24, 24), (24, 18)], [(24, 24), (12, 48)], None),
    "qwen2.5-vl-7b": Expected([151645, 151643], [(2, 3)], [(2, 2)], [(1, 6)], [(2, 3)] * 2),
    "qwen3-vl-8b": Expected([151645], [(2, 2)], [(2, 2)], [(1, 5)], [(2, 3)] * 2),
    "smolvlm-256m": Expected([49279], [(8, 8)] * 13, [(8, 8)] * 13, [(8, 8)] * 5, None),
    "paligemma-3b-448": Expected([1], *[[(32, 32)]] * 3, None),
    "qwen3.5": Expected([248046, 248044], [(7, 10)], [(10, 7)], [(4, 16)], [(2, 3)] * 2),
    "gemma-4-e2b": Expected([1, 106, 50], [(14, 19)], [(19, 14)], [(8, 33)], [(6, 10)] * 3),
    "minicpm-v-4.6": Expected([248044, 248046], [(7, 9)], [(9, 7)], [(4, 16)], [(7, 10)] * 3),
}
LARGE = {
    "qwen2-vl-2b": Expected([151645, 151643], [(2, 3)], [(2, 2)], [(1, 6)], [(2, 3)] * 2),
    "glm-4.1v-9b": Expected([151329, 151336, 151338], [(3, 4)], [(4, 3)], [(2, 6)], [(2, 3)] * 2),
    "gemma-3-4b-it": Expected([1, 106], *[[(16, 16)]] * 3, None),
    "internvl3-1b-hf": Expected([151645], *[[(16, 16)] * 13] * 2, [(16, 16)] * 5, [(16, 16)] * 3),
    "llava-onevision-7b": Expected(
        [151645], [(27, 27), (21, 27)], [(27, 27), (27, 19)], [(27, 27), (7, 27)], [(14, 14)] * 3
    ),
}
"""Those that take their time: `make test-real` runs them, too."""


def material(name: str, folder: Path) -> Path:
    """A copy of a set with a tokenizer, and small random weights."""
    source = shared("data", "skeletons", name)
    folder = Path(shutil.copytree(source, folder / name))
    write_vocabulary(folder)
    spec = importlib.util.spec_from_file_location("shrink", source.parent / "shrink.py")
    assert spec is not None and spec.loader is not None
    shrink = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shrink)
    shrink.main(folder)
    return folder


@pytest.fixture(scope="module", params=[*SETS, *(pytest.param(name, marks=pytest.mark.real) for name in LARGE)])
def real(request, tmp_path_factory) -> Iterator[tuple[Expected, Loaded, str]]:
    if request.param == "smolvlm-256m":
        pytest.importorskip("num2words", reason="SmolVLM's processor needs it")
    folder = material(request.param, tmp_path_factory.mktemp("real"))
    if request.param == "qwen3.5":  # the published fine-tune cannot be used as it is, with transformers alone neither
        with pytest.raises(ModelError, match=r"got 14 pixels .* expected 16 pixels .*processor_config.json is read"):
            load(str(folder), device="cpu")
        (folder / "processor_config.json").unlink()
    yield (SETS | LARGE)[request.param], load(str(folder), device="cpu"), request.param
    shutil.rmtree(folder)


def shapes(loaded: Loaded, media: Media) -> Grids:
    """Of the grids, which account for all vision tokens; the words are the person's."""
    made = prepare(loaded.prompter, media, WORDS)
    assert loaded.tokenizer.decode(made.tokens[made.layout.prompt]).strip() == WORDS
    assert len(made.layout.vision) == sum(grid.cells for grid in made.layout.grids)
    return [(grid.rows, grid.columns) for grid in made.layout.grids]


def test_photo_portrait_panorama_and_film_have_the_grids_of_the_real_patches(real):
    """Whatever truncation was saved with the files: PaliGemma's at 50 tokens, LLaVA's at 1024."""
    expected, loaded, _ = real
    for size, grids in ((PHOTO, expected.photo), (PORTRAIT, expected.portrait), (PANORAMA, expected.panorama)):
        assert shapes(loaded, pictures(size)) == grids
    if expected.film is None:
        with pytest.raises(InputError, match="takes no video"):
            shapes(loaded, film(FRAME))
    else:
        assert shapes(loaded, film(FRAME)) == expected.film


def test_two_pictures_are_explained_with_all_their_words_and_tokens(real):
    expected, loaded, name = real
    shown = pictures(PHOTO, PORTRAIT)
    made = tam.explain(loaded.model, loaded.processor, list(shown.pictures), WORDS, max_new_tokens=2)
    layout = made.generation.layout
    assert {grid.medium for grid in layout.grids} == {0, 1}
    if name != "llava-onevision-7b":  # which tiles a single picture alone
        assert [(grid.rows, grid.columns) for grid in layout.grids] == expected.photo + expected.portrait
    assert loaded.tokenizer.decode(made.generation.prompt_ids).strip() == WORDS
    assert np.isfinite(made.maps).all() and made.maps.max() > 0


def test_a_film_is_explained_with_all_its_words_and_frames(real):
    expected, loaded, _ = real
    if expected.film is None:
        pytest.skip("it takes no video")
    frames = list(film(FRAME).pictures)
    made = tam.explain(loaded.model, loaded.processor, prompt=WORDS, video=frames, max_new_tokens=2)
    assert [(grid.rows, grid.columns) for grid in made.generation.layout.grids] == expected.film
    assert loaded.tokenizer.decode(made.generation.prompt_ids).strip() == WORDS
    assert np.isfinite(made.maps).all() and made.maps.max() > 0


def test_an_answer_ends_as_the_generation_config_says(real):
    expected, loaded, _ = real
    assert loaded.ends.tolist() == expected.ends
    given = tam.explain(loaded.model, loaded.processor, list(pictures(PHOTO).pictures), "What?", answer="a cat")
    assert given.generation.answer_ids[-1] in expected.ends


def test_painting_a_part_moves_its_own_token(real):
    _, loaded, name = real
    if name == "smolvlm-256m":
        pytest.skip("thirteen grids: a minute")
    found = [ok for ok, _ in probe(loaded, pictures((320, 240)), 4)]
    assert sum(found) >= 0.75 * len(found)
