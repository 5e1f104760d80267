"""What people's checkpoints hold besides weights: truncations, templates in other places, pointers, patch sizes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from transformers import AutoConfig, AutoProcessor, MllamaConfig, Qwen2_5OmniConfig

from tam.errors import ModelError
from tam.families import family_of
from tam.generation.stage import fingerprint_of
from tam.media import Media
from tam.model import question as question_room
from tam.model.checkpoint import config_of, load, locate
from tam.model.prompt import Prompter, prepare
from tests import tiny
from tests.shared import shared


def pictures(*sizes: tuple[int, int]) -> Media:
    rng = np.random.default_rng(0)
    made = [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]
    return Media(False, tuple(made), (0,) * len(made))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def checkpoint(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "checkpoint"))


# ---- truncation


@pytest.mark.parametrize("kind", ["qwen2_vl", "llava", "paligemma"])
def test_a_truncation_of_the_tokenizer_cuts_no_prompt(kind):
    prompter = tiny.loaded(kind).prompter
    whole = prepare(prompter, pictures((56, 56)), "two dogs run past")
    tokenizer = prompter.processor.tokenizer
    tokenizer.init_kwargs |= {"max_length": 20, "truncation": True}
    tokenizer.model_max_length = 20
    tokenizer.backend_tokenizer.enable_truncation(20)
    tokenizer.backend_tokenizer.enable_padding(length=99)
    assert prepare(prompter, pictures((56, 56)), "two dogs run past").tokens.tolist() == whole.tokens.tolist()


def test_a_real_tokenizer_that_truncates_cuts_no_prompt():
    """LLaVA-1.5's was saved with a truncation at 1024 tokens, and two pictures have 1152."""
    folder = shared("data", "skeletons", "llava-1.5-7b")
    config = AutoConfig.from_pretrained(folder)
    prompter = Prompter(family_of(config), config, AutoProcessor.from_pretrained(folder))
    made = prepare(prompter, pictures((336, 336), (500, 400)), "What is in the pictures?")
    assert [grid.cells for grid in made.layout.grids] == [576, 576] and len(made.layout.vision) == 1152
    words = prompter.processor.tokenizer.decode(made.tokens[made.layout.prompt])
    assert words.strip() == "What is in the pictures?"


# ---- templates


def move_template(folder: Path, place: str) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    if place == "chat_template.json":
        (folder / place).write_text(json.dumps({"chat_template": template}))
        return
    path = folder / "tokenizer_config.json"
    named = [{"name": "other", "template": "{{ 1 }}"}, {"name": "default", "template": template}]
    found = named if place == "several by name" else template
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": found}))


@pytest.mark.parametrize("place", ["tokenizer_config.json", "several by name", "chat_template.json"])
def test_a_chat_template_is_taken_from_wherever_it_is(checkpoint, place):
    asked = pictures((56, 56)), "a cat"
    expected = prepare(load(str(checkpoint), device="cpu").prompter, *asked)
    move_template(checkpoint, place)
    found = prepare(load(str(checkpoint), device="cpu").prompter, *asked)
    assert found.tokens.tolist() == expected.tokens.tolist()


# ---- files that are not what they seem


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json"])
def test_a_git_lfs_pointer_in_place_of_a_file_is_named(checkpoint, name):
    (checkpoint / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(ModelError, match=rf"{name}: a Git LFS pointer.*cure: run git lfs pull"):
        locate(str(checkpoint))


def test_a_processor_whose_patches_are_not_the_models_is_named(checkpoint):
    path = checkpoint / "processor_config.json"
    config = json.loads(path.read_text())
    config["image_processor"]["patch_size"] = 16
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"patches are not the model's; got 16 pixels \(.*\); expected 14 pixels"):
        load(str(checkpoint), device="cpu")


# ---- kinds that only run code of their own


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("internvl_chat", {"AutoConfig": "a.A", "AutoModel": "a.B"}, "needs no code of its own: one .*InternVL3-1B-hf"),
        ("videollama3_qwen2", {"AutoModelForCausalLM": "a.B"}, "no code of its own: one .*VideoLLaMA3-2B-Image-HF"),
        ("minicpmv", {"AutoModel": "a.B"}, "needs no code of its own: a later one, such as openbmb/MiniCPM-V-4.6"),
        ("molmo", {"AutoModelForCausalLM": "a.B"}, "needs no code of its own: a later one, such as allenai/Molmo2-8B"),
        ("andesvl", {"AutoModel": "a.B"}, "could not be used if it were trusted.*converted for transformers"),
        ("emu3", {"AutoModelForCausalLM": "a.B"}, "could not be used if it were trusted.*AutoModelForImageTextToText"),
        ("own", {"AutoModelForImageTextToText": "a.B"}, "wants to run its own code.*trust_remote_code: true"),
    ],
)
def test_trust_is_asked_for_only_where_it_would_help(checkpoint, kind, code, said):
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": kind, "auto_map": code}))
    with pytest.raises(ModelError, match=said):
        config_of(checkpoint)


def test_a_model_that_sees_is_not_said_to_see_nothing():
    for name in ("vision_config", "mm_vision_tower", "visual", "image_size"):
        config = SimpleNamespace(model_type="strange", **{name: 1})
        with pytest.raises(ModelError, match="unsupported kind of model; got 'strange'"):
            family_of(config)
    with pytest.raises(ModelError, match=r"pictures enter by cross-attention.*got 'mllama'"):
        family_of(MllamaConfig())
    with pytest.raises(ModelError, match=r"its thinker; got 'qwen2_5_omni'"):
        family_of(Qwen2_5OmniConfig())
    with pytest.raises(ModelError, match="has no vision tower"):
        family_of(SimpleNamespace(model_type="llama", hidden_size=1))


# ---- large pictures


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_bound_on_pixels_shows_less_and_lays_it_on_the_whole_picture(kind):
    prompter, media = tiny.loaded(kind).prompter, pictures((224, 168))
    free = prepare(replace(prompter, max_pixels=224 * 168), media, "a cat").layout
    assert free.grids == prepare(prompter, media, "a cat").layout.grids
    made = prepare(replace(prompter, max_pixels=112 * 84), media, "a cat").layout
    small = prepare(prompter, pictures((112, 84)), "a cat").layout
    assert made.sizes == ((224, 168),) and len(made.vision) == len(small.vision)
    assert [grid.box for grid in made.grids] == [tuple(2 * side for side in grid.box) for grid in small.grids]


def test_a_bound_on_pixels_determines_the_answers():
    run = {"weights": "w", "dtype": "float32", "max_new_tokens": 2, "layer": None}
    made = {fingerprint_of(run | {"max_pixels": most}, {}, Path()) for most in (None, 100, 200)}
    assert len(made) == 3


def test_a_picture_of_very_many_tokens_is_said_with_its_number_and_the_option(caplog, monkeypatch):
    monkeypatch.setattr(question_room, "MANY", 5)
    loaded = tiny.loaded()
    prepared = prepare(loaded.prompter, pictures((112, 168)), "a cat")
    question_room.question(loaded, prepared)
    assert caplog.messages == ["112 x 168 pixels become 24 vision tokens; max_pixels bounds them"]


def test_weights_of_other_sizes_than_the_configs_are_named_with_both(checkpoint):
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["intermediate_size"] = 48
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"other sizes.*got \[64, 96\] for .*mlp.*; expected \[64, 48\], and so for 6"):
        load(str(checkpoint), device="cpu")
