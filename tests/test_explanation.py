"""``tam.explain``: one question to a loaded model, what can be selected of it, and what is left of it on disk."""

import base64
import copy
import json
import re
import shutil
import subprocess
import sys
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import tam
from tam.datasets.emoji import scenes as emoji
from tam.embedded import CHECKPOINT
from tam.errors import DiskError, InputError, ModelError
from tam.layout import Grid, Layout
from tam.manifest import Sample
from tam.media import Media
from tam.methods.cached import Cached
from tam.methods.candidates import candidate_maps, contrast
from tam.methods.registry import METHODS
from tam.model.checkpoint import load
from tam.model.loaded import Loaded
from tam.records import Candidates, Generation, Maps, Piece
from tests import tiny
from tests.browser import Browser
from tests.test_generation import explained

SAID = "Two dogs run past a red umbrella, and a cat sits."
ASKED = "What is in the image?"
LIMIT = 6


def picture(width: int = 112, height: int = 84, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model(processor):
    made = tiny.model()
    made.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return made


@pytest.fixture(scope="module")
def processor():
    return tiny.processor()


@pytest.fixture(scope="module")
def browser():
    made = Browser()
    yield made
    made.close()


@pytest.fixture(scope="module")
def said(model, processor) -> "tam.Explanation":
    """An answer of known words, about two pictures."""
    return tam.explain(model, processor, images=[picture(), picture(56, 140, 1)], prompt=ASKED, answer=SAID)


# ---- what it holds


def test_importing_the_package_is_light():
    program = (
        "import sys, tam; assert 'explain' in tam.__all__ and tam.explain and tam.Explanation;"
        "assert not {'torch', 'transformers', 'matplotlib', 'pandas', 'nltk'} & {*sys.modules}; tam.nothing"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "module 'tam' has no attribute 'nothing'" in done.stderr


def test_arrays_of_somebody_else_are_not_replaced(said, tmp_path):
    np.savez(tmp_path / "a.npz", maps=np.zeros(3))
    theirs = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(DiskError, match="only a file of ours is replaced"):
        said.to_npz(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == theirs


def test_its_arrays_are_its_maps_words_and_tokens(said, tmp_path):
    for _ in range(2):  # an earlier one is replaced
        said.to_npz(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert (file["maps"][0] == said.maps).all() and file["methods"].tolist() == ["tam"]
        assert file["tokens"].tolist() == [token.text for token in said.tokens]
        assert file["words"].tolist() == [word.text for word in said.words]
        for number, word in enumerate(said.words):
            assert np.flatnonzero(file["token_words"] == number).tolist() == [*word.tokens]
        assert file["sizes"].tolist() == [[112, 84], [56, 140]]


def test_tokens_words_and_maps_belong_together(said):
    prompt, answer = ([token for token in said.tokens if token.part == part] for part in ("prompt", "answer"))
    assert "".join(token.text for token in prompt) == said.prompt == ASKED
    assert "".join(token.text for token in answer) == f"{SAID}<|im_end|>" and said.answer == SAID
    assert [said.generation.tokens[token.position] for token in said.tokens] == [token.id for token in said.tokens]
    assert [word.text for word in said.words if word.part == "answer"] == re.findall(r"\w+|[^\w\s]", SAID)
    for word in said.words:
        assert "".join(said.tokens[index].text for index in word.tokens).strip() == word.text
    count, vision = len(said.tokens), len(said.layout.vision)
    assert said.maps.shape == (count, vision) and said.relevance.shape == (count, count) == (*said.scale.shape * 2,)
    assert [grid.shape for grid in said.grids] == [(count, 3, 4), (count, 5, 2)] and said.status == "ok"
    assert np.array_equal(said.maps, METHODS["tam"].maps(Cached(said.generation)).maps)
    assert len(said.candidates) == count and said.media.sizes == ((112, 84), (56, 140))


def test_rivals_explain_the_same_answer_and_say_what_they_do_not_explain(model, processor, said):
    hooks = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())
    found = tam.explain(
        model, processor, [picture(), picture(56, 140, 1)], ASKED, answer=SAID, method=["attnlrp", "gradcam", "tam"]
    )
    assert hooks == sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())
    assert [*found.titles.values()] == ["Attn-LRP", "Grad-CAM", "TAM"]
    raw = METHODS["activation"].maps(Cached(found.generation)).maps
    assert np.abs(found.of("gradcam").maps - raw).max() < 1e-3
    assert np.array_equal(found.of("tam").maps, said.maps)
    assert found.select("umbrella").map.any() and found.overlay(-2).size == found.of("tam").overlay(-2).size
    with pytest.raises(InputError, match="attnlrp: the method does not explain this; got 'Wh'"):
        found.select(0)
    with pytest.raises(InputError, match="these methods explain the last layer; got attnlrp"):
        tam.explain(model, processor, picture(), ASKED, method=["tam", "attnlrp"], layer=1)


def test_probabilities_are_the_models_own(model, processor, said):
    """Of each token of a given answer, also where it is not among the best candidates."""
    answer = [token for token in said.tokens if token.part == "answer"]
    images = [[picture(), picture(56, 140, 1)]]
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": ASKED}]}],
        add_generation_prompt=True,
    )
    inputs = processor(text=[f"{text}{SAID}<|im_end|>"], images=images, return_tensors="pt")
    with torch.no_grad():
        chances = model(**inputs).logits[0].softmax(-1)
    expected = [chances[token.position - 1, token.id].item() for token in answer]
    assert np.allclose([token.probability for token in answer], expected, rtol=1e-4)
    assert all(token.probability is None for token in said.tokens if token.part == "prompt")
    best = said.candidates[-1][0]
    assert best.probability == pytest.approx(chances[answer[-1].position - 1].max().item(), rel=1e-4)


def test_words_of_the_answer_have_evidence(model, processor, said):
    """The probability is that of its tokens together; with the logits of another layer there is none."""
    start = len(said.generation.prompt_ids)
    for word in said.words:
        if word.part == "prompt":
            assert word.evidence is None
            continue
        logits = said.generation.logits[: len(said.layout.vision)]
        seen = logits[:, [said.generation.column(said.tokens[token].id) for token in word.tokens]]
        assert word.evidence.probability == pytest.approx(
            np.prod([said.chances[t - start] for t in word.tokens]), rel=1e-3
        )
        assert word.evidence.peak == pytest.approx(seen.max(0).clip(min=0).mean())
    inner = tam.explain(model, processor, picture(), ASKED, answer="a cat", layer=1)
    assert [word.evidence.logprob for word in inner.words if word.part == "answer"] == [None, None]
    shown = [re.search(r'embedSample\("0/0","([^"]+)"', one.to_html())[1] for one in (inner, said)]
    unknown = [b"[null," in zlib.decompress(base64.b64decode(text)) for text in shown]
    assert unknown == [True, False]


def test_an_answer_of_its_own_is_that_of_the_stage(model, processor, tmp_path):
    """Picture in memory or on disk, by the front door or by the stage: the same tokens and logits."""
    picture().save(tmp_path / "0.png")
    expected = explained(Loaded.of(model, processor), Sample("0", ["0.png"], ASKED), tmp_path, LIMIT)
    for images in ([picture()], [tmp_path / "0.png"], str(tmp_path / "0.png")):
        made = tam.explain(model, processor, images=images, prompt=ASKED, max_new_tokens=LIMIT)
        assert made.generation.tokens.tolist() == expected.tokens.tolist() and made.status == "truncated"
        assert np.allclose(made.generation.logits, expected.logits, atol=1e-5)
    assert made.generation.id == "0"


def test_earlier_turns_are_context(model, processor):
    plain = tam.explain(model, processor, picture(), ASKED, answer="a cat")
    later = tam.explain(model, processor, picture(), ASKED, answer="a cat", turns=[("Describe the image.", "two dogs")])
    assert len(later.tokens) == len(plain.tokens) and later.layout.answer > plain.layout.answer
    assert np.abs(later.maps - plain.maps).max() > 1e-3


def test_frames_in_memory_are_a_video(model, processor):
    made = tam.explain(model, processor, video=[picture(seed=seed) for seed in range(4)], prompt=ASKED, answer="a cat")
    assert made.media.video and [grid.frames for grid in made.layout.grids] == [(0, 1), (2, 3)]


def test_a_layer_and_a_cap_change_maps_but_not_what_was_said(model, processor):
    plain, inner, capped, none = (
        tam.explain(model, processor, picture(), ASKED, max_new_tokens=LIMIT, **options)
        for options in ({}, {"layer": 1}, {"eci_cap": 0.1}, {"eci_cap": 0})
    )
    for other in (inner, capped):
        assert [token[:4] for token in other.tokens] == [token[:4] for token in plain.tokens]
        assert np.allclose([token.probability for token in other.tokens[-LIMIT:]], plain.chances, rtol=1e-4)
        assert np.abs(other.maps - plain.maps).max() > 1e-3
    assert np.nanmax(plain.scale) > 0.2 and np.nanmax(capped.scale) == np.float32(0.1)
    assert np.array_equal(none.maps, METHODS["rgf"].maps(Cached(none.generation)).maps)


# ---- by which methods


def inverse(cached: Cached) -> np.ndarray:
    """A method of one's own: where TAM sees least."""
    return 1 - cached.tam.maps


@pytest.fixture(scope="module")
def thrice(model, processor) -> "tam.Explanation":
    """An explanation by three methods."""
    return tam.explain(model, processor, picture(), ASKED, answer=SAID, method=["activation", "tam", inverse])


def test_several_methods_explain_one_answer_and_the_first_is_shown(thrice):
    assert thrice.titles == {"activation": "CAM (raw activation)", "tam": "TAM", "inverse": "inverse"}
    assert thrice.method == "activation" and [*thrice.by_method] == [*thrice.titles]
    for name in ("activation", "tam"):
        made = METHODS[name].maps(Cached(thrice.generation))
        assert np.array_equal(thrice.of(name).maps, made.maps) and np.array_equal(
            thrice.of(name).scale, made.scale, True
        )
    assert np.allclose(thrice.of("inverse").maps, 1 - thrice.of("tam").maps)
    assert np.allclose(thrice.of("inverse").select("dogs").map, 1 - thrice.of("tam").select("dogs").map, atol=1e-6)
    assert thrice.of("tam").of("activation").tokens == thrice.tokens
    with pytest.raises(InputError, match="got 'eci'; expected activation or tam or inverse"):
        thrice.of("eci")


def test_a_method_is_a_name_a_place_a_function_or_an_entry(model, processor, tmp_path):
    (tmp_path / "mine.py").write_text("def flat(cached):\n    return 0 * cached.tam.maps + 0.5\n")
    entry = tam.Method("upside-down", "Upside down", inverse)
    for method, name in (
        ("eci", "eci"),
        (f"{tmp_path}/mine.py:flat", "flat"),
        (inverse, "inverse"),
        (entry, entry.name),
    ):
        made = tam.explain(model, processor, picture(), ASKED, answer="a cat", method=method)
        assert (made.method, [*made.by_method]) == (name, [name])
    assert made.titles == {"upside-down": "Upside down"}


@pytest.mark.parametrize(
    ("method", "message"),
    [("cam", "unknown method"), (["tam", "tam"], "two methods of one name"), ([], "no method"),
     (lambda cached: 0, "a name that a method of one's own cannot have")],
)  # fmt: skip
def test_a_method_that_is_not_there_is_refused_before_the_model_is_touched(method, message):
    with pytest.raises(InputError, match=message):
        tam.explain(None, None, picture(), ASKED, method=method)
    with pytest.raises(InputError, match="wrong cap"):
        tam.explain(None, None, picture(), ASKED, eci_cap=-1)


def test_a_folder_has_the_pictures_of_the_first_method_and_a_page_of_all(thrice, tmp_path):
    folder = thrice.of("tam").save(tmp_path)
    page = (folder / "index.html").read_text(encoding="utf-8")
    (gallery,) = re.findall(r"showGallery\((.*)\);", page)
    (run,) = json.loads(gallery)["runs"]
    assert (run["methods"], run["main"]) == (["CAM (raw activation)", "TAM", "inverse"], 1)
    by_tam, by_first = (Image.open(path / "sheet.png") for path in (folder, thrice.save(tmp_path / "first")))
    assert by_tam.size == by_first.size and by_tam.tobytes() != by_first.tobytes()


def test_the_page_switches_between_methods(browser, thrice, tmp_path):
    (tmp_path / "page.html").write_text(thrice.to_html(), encoding="utf-8")
    browser.open(tmp_path / "page.html")
    browser.until("document.querySelectorAll('#pictures canvas').length")
    switch = "return [...document.querySelectorAll('#method option')].map(option => option.textContent)"
    assert sorted(browser.run(switch)) == sorted(thrice.titles.values())
    drawn = "return document.querySelector('#pictures canvas').toDataURL()"
    before = browser.run(drawn)
    choose = "const e = document.querySelector('#method'); e.value = 'inverse'; e.dispatchEvent(new Event('change'))"
    browser.run(choose)
    assert browser.run(drawn) != before and browser.complaints() == []


# ---- the model is left as it was


def state_of(model) -> tuple:
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    modes = [module.training for module in model.modules()]
    return hooks, modes, copy.deepcopy(model.config.to_dict()), copy.deepcopy(model.generation_config.to_dict())


@pytest.mark.parametrize("layer", [None, 1])
def test_the_model_is_left_as_it_was_also_after_an_error(processor, layer, monkeypatch):
    model = tiny.model()
    model.train()
    model.model.visual.eval()
    expected = tam.explain(tiny.model(), processor, picture(), ASKED, max_new_tokens=LIMIT, layer=layer)
    before = state_of(model)
    for _ in range(2):
        made = tam.explain(model, processor, picture(), ASKED, max_new_tokens=LIMIT, layer=layer)
        assert np.array_equal(made.maps, expected.maps) and state_of(model) == before
    for broken in (model.model, model.lm_head):
        with monkeypatch.context() as patched:
            patched.setattr(broken, "forward", lambda *_, **__: 1 / 0)
            with pytest.raises(InputError, match="division by zero"):
                tam.explain(model, processor, picture(), ASKED, layer=layer)
        assert state_of(model) == before


def test_models_in_half_precision_and_quantised_ones_are_explained(processor):
    half = tam.explain(tiny.model().to(torch.bfloat16), processor, picture(), ASKED, answer=SAID)
    assert half.generation.dtype == "bfloat16" and np.isfinite(half.maps).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(tiny.model(), {torch.nn.Linear})
    made = tam.explain(quantised, processor, picture(), ASKED, answer=SAID, layer=2)
    whole = tam.explain(tiny.model(), processor, picture(), ASKED, answer=SAID)
    assert type(quantised.lm_head) is not torch.nn.Linear
    assert np.corrcoef(made.maps.ravel(), whole.maps.ravel())[0, 1] > 0.8


# ---- selections


def tokens_of(said, *words: str, part: str = "answer") -> list[int]:
    return [index for word in said.words if word.part == part and word.text in words for index in word.tokens]


@pytest.mark.parametrize(
    ("what", "texts", "words"),
    [
        ("dogs", ["dogs"], ["dogs"]), ("RED", ["red"], ["red"]), ("run  past", ["run past"], ["run", "past"]),
        ("umbrella, and", ["umbrella, and"], ["umbrella", ",", "and"]), ("a", ["a", "a"], ["a"]),
        (re.compile(r"\b[dc]\w+"), ["dogs", "cat"], ["dogs", "cat"]), (re.compile("mbrel"), ["mbrel"], ["umbrella"]),
        (SAID, [SAID], re.findall(r"\w+|\W", SAID)), (None, [SAID], re.findall(r"\w+|\W", SAID)),
    ],
)  # fmt: skip
def test_all_places_that_match_are_selected(said, what, texts, words):
    selection = said.select(what)
    assert list(selection.texts) == texts
    expected = tokens_of(said, *words)
    if isinstance(what, re.Pattern) and what.pattern == "mbrel":  # only the tokens that it touches
        assert set(selection.tokens) <= set(expected)
    else:
        assert list(selection.tokens) == expected
    assert np.allclose(selection.map, said.maps[list(selection.tokens)].mean(0))
    assert [grid.shape for grid in selection.grids] == [(3, 4), (5, 2)]


def test_what_was_not_said_has_a_map_under_its_name(thrice):
    """Also in another case and without its space; what was said has its own map, and differs from itself nowhere."""
    said = thrice.of("tam")
    (token,) = said.select("cat").tokens
    other = next(one for one in said.candidates[token] if one.id != said.tokens[token].id and one.text.strip())
    found, difference = said.candidate_map("cat", other.text.strip().upper()), said.contrast(token, other.text)
    assert found.texts == (other.text.strip(),) and found.tokens == difference.tokens == (token,)
    assert np.allclose(found.map, candidate_maps(Cached(said.generation), [token], [other.id])[0])
    assert [grid.shape for grid in found.grids] == [grid.shape for grid in difference.grids] == [(3, 4)]
    assert difference.signed and np.allclose(difference.map, contrast(Cached(said.generation), token, other.id))
    raw = thrice.of("activation").candidate_map(token, other.text)
    assert np.allclose(raw.map, candidate_maps(Cached(said.generation), [token], [other.id], "activation")[0])


def test_what_was_no_candidate_is_told_those_that_were(thrice):
    said = thrice.of("tam")
    (token,) = said.select("cat").tokens
    names = " or ".join(
        re.escape(repr(text)) for text in dict.fromkeys(one.text.strip() for one in said.candidates[token])
    )
    with pytest.raises(InputError, match=f"' cat': no candidate here; got 'x'; expected {names}$"):
        said.candidate_map(token, "x")
    with pytest.raises(InputError, match=r"several places; got 'd\|c'; expected one token, by its number: \d+ or "):
        said.contrast(re.compile("d|c"), "x")
    with pytest.raises(InputError, match="known of tokens of the answer; got 'image'"):
        said.candidate_map("image", "x")
    with pytest.raises(InputError, match="no maps of candidates by this method; got 'inverse'"):
        thrice.of("inverse").candidate_map(token, said.candidates[token][0].text)


def test_a_difference_is_drawn_in_two_colours_on_one_scale(thrice):
    """Red where more speaks for what was said, blue where less; the picture itself where nothing differs."""
    said = thrice.of("tam")
    (token,) = said.select("cat").tokens
    drawn = said.contrast(token, said.candidates[token][0].text)
    flat = replace(drawn, map=np.zeros(12, np.float32), grids=(np.zeros((3, 4), np.float32),))
    assert np.array_equal(np.asarray(said.overlay(flat)), np.asarray(picture()))
    sides = np.repeat(np.float32([[1, 1, -1, -1]]), 3, 0)
    change = np.asarray(said.overlay(replace(flat, map=sides.ravel(), grids=(sides,)), alpha=1)).astype(int)
    assert (change[:, 0, 0] > change[:, 0, 2]).all() and (change[:, -1, 0] < change[:, -1, 2]).all()
    figure = said.figure(["cat", drawn]).figure
    assert len(figure.axes[0].images) == 3 + 2  # two scales
    assert f"+{np.abs(drawn.map).max():.2f}" in [text.get_text() for text in figure.axes[0].texts]
    with pytest.raises(InputError, match="maps of candidates are of one method; got tam and activation"):
        said.figure([drawn], ["tam", "activation"])


def test_the_prompt_is_searched_where_the_answer_has_nothing(said):
    assert list(said.select("image").tokens) == tokens_of(said, "image", part="prompt")
    assert list(said.select(ASKED).tokens) == [
        index for index, token in enumerate(said.tokens) if token.part == "prompt"
    ]


def test_a_token_is_selected_by_its_number(said):
    end = said.select(-1)
    assert end.texts == ("<|im_end|>",) and end.tokens == (len(said.tokens) - 1,)
    assert np.array_equal(end.map, said.maps[-1])


def test_characters_of_several_tokens_and_of_none_are_found(model, processor):
    made = tam.explain(model, processor, picture(), ASKED, answer="a 猫 and 🐈.")
    assert made.select("猫").texts == ("猫",) and len(made.select("猫").tokens) > 1
    assert made.select(re.compile("🐈")).tokens == made.select("🐈").tokens
    broken = [index for index, token in enumerate(made.tokens) if token.text == "\ufffd"]
    assert set(made.select("猫").tokens) & set(broken)


@pytest.mark.parametrize("what", ["dog", "umbrella red", "", " ", re.compile("zebra"), re.compile("")])
def test_what_is_not_there_is_refused_with_the_words_that_are(said, what):
    with pytest.raises(
        InputError, match=r"nothing matches; .*Two dogs run past a red umbrella , .*What is in the image"
    ):
        said.select(what)


def test_a_token_or_pooling_that_is_not_there_is_refused(said):
    count = len(said.tokens)
    with pytest.raises(InputError, match=f"no such token; got {count}; expected -{count} to {count - 1}"):
        said.overlay(count)
    with pytest.raises(InputError, match="got 'sum'; expected mean, max or probability"):
        said.select("dogs", "sum")


def hand_made(layout: Layout | None = None) -> "tam.Explanation":
    """Tokens p, q | x, y of one 1 x 2 grid, with maps and probabilities that can be computed with by hand."""
    ids = np.arange(4, dtype=np.int32)
    vocabulary = {id: Piece(text, text, text.encode()) for id, text in enumerate(("p", " q", "x", " y"))}
    one = (Grid(0, (0,), 1, 2, (0, 0, 20, 10)),)
    layout = layout or Layout(np.arange(2), np.arange(2, 4), 4, one, ((20, 10),))
    none = np.zeros((4, 1), np.float32)
    generation = Generation(
        "h", "ok", "p q", "x y", np.array([9, 9, *ids]), layout, ids, none, Candidates(ids[:, None], none, none[:, 0]),
        ids[:2], ids[2:], vocabulary, frozenset(),
    )  # fmt: skip
    maps = np.array([[0.0, 1.0], [0.5, 0.0], [1.0, 0.0], [0.2, 0.4]], np.float32)
    computed = Maps(maps, (maps * 255).astype(np.uint8), np.zeros((4, 4), np.float32), np.zeros(4))
    media = Media(False, (picture(20, 10),), (0,))
    return tam.Explanation(
        generation, {"tam": computed}, {"tam": "TAM"}, media, np.array([0.9, 0.1], np.float32), "hand", "tam", {}
    )


@pytest.mark.parametrize(
    ("what", "pooling", "expected"),
    [
        ("x y", "mean", [0.6, 0.2]), ("x y", "max", [1.0, 0.4]), ("x y", "probability", [0.92, 0.04]),
        ("p q", "mean", [0.25, 0.5]), ("p q", "probability", [0.25, 0.5]), ("y", "probability", [0.2, 0.4]),
    ],
)  # fmt: skip
def test_poolings_by_hand(what, pooling, expected):
    assert np.allclose(hand_made().select(what, pooling).map, expected)


# ---- what it draws


def test_the_overlay_of_a_word_is_its_map_on_all_pictures(said):
    drawn = said.overlay("dogs")
    assert isinstance(drawn, Image.Image) and drawn.mode == "RGB"
    assert np.array_equal(drawn, said.overlay(re.compile("dogs"))) and not np.array_equal(drawn, said.overlay("cat"))


def test_a_folder_holds_pictures_sheet_and_page(said, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    folder = said.save(tmp_path)
    assert folder == tmp_path / "explanation" and (tmp_path / "kept.txt").exists()
    names = {path.name for path in folder.iterdir()}
    words = [word for word in said.words if word.part == "answer"]
    assert {"sheet.png", "index.html", "001_dogs.png"} <= names
    assert sum(name.endswith(".png") for name in names) == len(words) + 1
    assert said.save(str(tmp_path), tokens=True) == folder
    assert sum(path.suffix == ".png" for path in folder.iterdir()) == len(said.tokens) + 1


def test_a_full_disk_leaves_no_half_explanation(said, small_disk):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 50_000))
    with pytest.raises(DiskError, match="explanation: disk full; cure: make room"):
        said.save(small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_two_explanations_never_share_a_folder_and_the_same_one_keeps_its_own(model, processor, tmp_path):
    """Other pixels under one name, another question, answer, model, layer or method; each is asked twice."""
    for folder, seed in (("A", 0), ("B", 1)):
        (tmp_path / folder).mkdir()
        picture(seed=seed).save(tmp_path / folder / "img.png")
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(iter(other.get_decoder().parameters()))[0] += 1
    first = {"images": tmp_path / "A/img.png", "prompt": ASKED, "answer": "A dog."}
    asked = [
        (model, first), (model, first | {"images": tmp_path / "B/img.png"}), (model, first | {"prompt": "What?"}),
        (model, first | {"answer": "A cat."}), (other, first), (model, first | {"layer": 1}),
        (model, first | {"method": "eci"}), (model, first | {"eci_cap": 0}),
    ]  # fmt: skip
    for _ in range(2):
        made = [tam.explain(which, processor, **options).save(tmp_path / "out") for which, options in asked]
        assert made[0] == tmp_path / "out/img" and len({*made}) == len(asked) == len([*(tmp_path / "out").iterdir()])


def test_the_page_is_one_file_that_allows_nothing_but_its_own_scripts(said):
    page = said.to_html()
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    policy = re.search(r'content="(default-src[^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-") and "unsafe" not in policy
    assert policy.count("sha256-") == page.count("<script>") + page.count("<style>")


def test_the_page_shows_pictures_and_maps_in_a_browser(browser, model, processor, tmp_path):
    """Hostile text is text; pictures are there; a map is painted; nothing is asked for but the page itself."""
    hostile = "</script><script>document.title='owned'</script> dogs"
    for name, shown in {"pictures": {"images": [picture(), picture(56, 140, 1)]},
                        "video": {"video": [picture(seed=seed) for seed in range(4)]}}.items():  # fmt: skip
        page = tmp_path / f"{name}.html"
        made = tam.explain(model, processor, prompt=ASKED, answer=hostile, **shown)
        page.write_text(made.to_html(), encoding="utf-8")
        browser.requests(), browser.complaints()
        browser.open(page)
        browser.until("document.querySelectorAll('#pictures canvas').length")
        browser.until("[...document.images].every(image => image.complete && image.naturalWidth)")
        assert browser.complaints() == [] and [r for r in browser.requests() if r.startswith("http")] == []
        assert "owned" not in browser.run("return document.title")
        assert "document.title='owned'" in browser.run("return document.getElementById('answer').textContent")
        assert browser.run("return document.querySelectorAll('#pictures img').length") == (
            2 if name == "pictures" else 1
        )
        assert browser.run("return document.getElementById('frame').max") == ("3" if name == "video" else "1")
        painted = browser.run(
            "explain(spans.length - 3); const c = document.querySelector('#pictures canvas');"
            "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean)"
        )
        assert painted
        assert browser.run("return getComputedStyle(document.querySelector('#sample nav')).display") == "none"


# ---- bad input


def text_only():
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=500
    )
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs pictures or a video; got neither"), ({"images": []}, "got neither"),
        ({"images": [picture()], "video": "a.mp4"}, "got both"), ({"video": []}, "a video without frames"),
        ({"images": [Image.new("RGB", (0, 4))]}, "a picture without pixels; got 0 x 4"),
        ({"images": ["none.png"]}, "no such picture"), ({"video": "none.mp4"}, "no such video"),
        ({"images": [picture()], "layer": 3}, "no such layer; got 3; expected 1 to 2"),
        ({"images": [picture()], "layer": 0}, "no such layer; got 0"),
        ({"images": [picture()], "eci_cap": -1.0}, "wrong cap on the scale of interference; got -1.0"),
        ({"images": [picture()], "max_new_tokens": 0}, "max_new_tokens: wrong number; got 0"),
        ({"images": [picture()], "answer": "a <|image_pad|>"}, "the answer holds a vision token"),
        ({"images": [picture()], "prompt": "\ue000"}, "private-use"),
        ({"images": [picture()], "turns": ["what"]}, "a turn is not"),
        ({"video": [picture(), picture(56, 56)]}, "frames of different sizes"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(model, processor, options, message):
    with pytest.raises(InputError, match=message):
        tam.explain(model, processor, **{"prompt": ASKED} | options)


def test_an_empty_answer_without_an_end_token_is_refused(processor):
    model = tiny.model()
    model.generation_config.eos_token_id = None
    with pytest.raises(InputError, match="the answer is empty"):
        tam.explain(model, processor, picture(), ASKED, answer="")


def test_a_model_that_sees_nothing_is_refused(model, processor):
    with pytest.raises(ModelError, match=r"the model has no vision tower; got 'llama'; expected .* or gemma3 or"):
        tam.explain(text_only(), processor.tokenizer, picture(), ASKED)
    with pytest.raises(ModelError, match="not a processor of pictures and text"):
        tam.explain(model, processor.tokenizer, picture(), ASKED)


def test_a_context_that_overflows_the_model_is_refused(processor):
    """A question of n tokens needs room for one more; a given answer for all of its own; a free one is cut off."""
    model = tiny.model()
    prompt = tam.explain(model, processor, picture(), ASKED, max_new_tokens=1).layout.answer
    text = model.config.get_text_config()
    text.max_position_embeddings = prompt
    with pytest.raises(InputError, match=f"overflows the model; got {prompt + 1} tokens; expected at most {prompt}"):
        tam.explain(model, processor, picture(), ASKED)
    text.max_position_embeddings = prompt + 3
    with pytest.raises(InputError, match="overflows the model"):
        tam.explain(model, processor, picture(), ASKED, answer=SAID)
    cut = tam.explain(model, processor, picture(), ASKED, max_new_tokens=LIMIT)
    assert len(cut.generation.answer_ids) == 3 and cut.status == "truncated"
    text.rope_parameters = text.rope_parameters | {"rope_type": "yarn", "factor": 2.0}
    assert tam.explain(model, processor, picture(), ASKED, answer=SAID).status == "ok"


# ---- the embedded model


@pytest.fixture(scope="module")
def embedded():
    loaded = load(str(CHECKPOINT), device="cpu")
    return loaded.model, loaded.processor


def scene(folder: Path) -> Path:
    path = folder / "scene.png"
    Image.fromarray(emoji.scene(5, 3).image).save(path)  # two motorcycles and a bear
    return path


def test_a_word_of_the_embedded_model_lies_on_its_object(embedded, tmp_path):
    made = tam.explain(*embedded, images=scene(tmp_path), prompt=ASKED)
    assert made.answer == "There are two motorcycles and a bear."
    row, column = np.unravel_index(made.select("bear").map.argmax(), (14, 14))
    assert row >= 9 and column >= 8  # the bear is at the bottom right
    assert made.model == "Qwen2VLForConditionalGeneration"
