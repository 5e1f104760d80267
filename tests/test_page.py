"""The page: its data files hold every sample, escaped and small; and in a real browser it shows them."""

import base64
import html
import io
import json
import math
import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tam import manifest
from tam.cache import write_generations
from tam.embedded import CHECKPOINT
from tam.errors import DiskError, InputError, SchemaError
from tam.evidence import token_evidence
from tam.layout import Grid, Layout
from tam.manifest import Sample
from tam.maps import read_maps
from tam.media import Media, open_media
from tam.methods.cached import Cached
from tam.methods.candidates import candidate_maps
from tam.methods.rivals import notes_on
from tam.methods.scored import maps_of
from tam.methods.stage import write_maps
from tam.metrics.catalogue import CATALOGUE
from tam.metrics.stage import write_metrics
from tam.page.considered import considered
from tam.page.facts import checkpoint_name, facts, grouped, meets_photo
from tam.page.sample import STEPS, by_word, card, describe, runs
from tam.page.scores import RunScores
from tam.page.scripts import literal
from tam.page.single import single_page
from tam.page.stage import write_page
from tam.protocol import FIXED, REFERENCE
from tam.records import Candidates, Generation, Maps, Piece, SampleMaps
from tam.render.colors import colored
from tam.render.overlay import heat, panels
from tam.render.tokens import TokenText, shape, units
from tam.rows import Row, RowsHeader
from tam.rows import written as rows_written
from tam.run import RunFiles, runs_of
from tests.answers import generation as written_by_hand
from tests.browser import END, ENTER, ESCAPE, HOME, LEFT, RIGHT, TAB, Browser
from tests.shared import shared
from tests.test_maps import scores_of

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u2028"
PROMPT = [b"What", b" is", b" it", b"?"]
ANSWER = [b"A", b" ze", b"bra", b" on", b" a", b" field", b" \xe7\x8c", b"\xab", HOSTILE.encode(), b".\n"]
PICTURE, FILM, PAIR, CUT, LOST, GONE = range(6)
SAMPLES = [
    Sample("picture", ["picture.png"], "", mask="mask.png", categories={"zebra": 24}),
    Sample("film", [f"frame{number}.png" for number in range(4)], "", kind="video"),
    Sample(HOSTILE, ["picture.png", "wide.png"], ""),
    Sample("cut", ["wide.png"], ""),
    Sample("lost", ["nowhere.png"], ""),
    Sample("gone", ["gone.png"], ""),
]


def answered(row: int, grids: list[Grid], sizes: list[tuple[int, int]], status: str = "ok") -> Generation:
    """An answer of ANSWER to PROMPT, with random logits; token n has the vocabulary id n."""
    rng = np.random.default_rng(row)
    texts = [*PROMPT, *ANSWER, b""]
    vision, end = sum(grid.cells for grid in grids), len(texts) - 1
    start = vision + len(PROMPT)
    ids = np.arange(len(texts), dtype=np.int32)
    chances = np.sort(rng.normal(0, 3, (len(texts), 5)).astype(np.float32))[:, ::-1]
    return Generation(
        id=SAMPLES[row].id, status=status, prompt=b"".join(PROMPT).decode(),
        answer=b"".join(ANSWER).decode("utf-8"),
        tokens=np.concatenate([np.full(vision, end, np.int32), ids]),
        layout=Layout(np.arange(vision, dtype=np.int32), np.arange(vision, start, dtype=np.int32), start,
                      tuple(grids), tuple(sizes)),
        classes=ids,
        logits=rng.normal(1, 3, (vision + len(texts), len(texts))).astype(np.float32),
        candidates=Candidates(rng.permuted(np.tile(ids, (len(ids), 1)), axis=1)[:, :5], chances,
                              np.logaddexp.reduce(chances, axis=1) + np.float32(0.1)),
        retokenised_prompt=ids[:4], retokenised_answer=ids[4:],
        vocabulary={id: Piece(text.decode("utf-8", "replace"), text.decode("utf-8", "replace"), text)
                    for id, text in enumerate(texts)},
        end_tokens=frozenset([end]), row=row,
    )  # fmt: skip


def grid(medium=0, rows=4, columns=4, frames=(0,), box=(0.0, 0.0, 64.0, 64.0)) -> Grid:
    return Grid(medium, frames, rows, columns, box)


GENERATIONS = {
    PICTURE: answered(PICTURE, [grid()], [(64, 64)]),
    FILM: answered(FILM, [grid(frames=(0, 1)), grid(frames=(2, 3))], [(64, 64)]),
    PAIR: answered(
        PAIR,
        [grid(), grid(1, 2, 3, box=(0.0, 0.0, 96.0, 48.0)), grid(1, 2, 2, box=(48.0, -8.0, 112.0, 56.0))],
        [(64, 64), (96, 48)],
    ),
    CUT: answered(CUT, [grid(0, 2, 4, box=(0.0, 0.0, 96.0, 48.0))], [(96, 48)], "truncated"),
    LOST: Generation.failure("lost", "What is it?", f"no picture {HOSTILE}", LOST),
    GONE: answered(GONE, [grid()], [(64, 64)]),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFiles:
    """A run as the stages leave it: two shards, two methods."""
    folder = tmp_path_factory.mktemp("a run")
    data, results = folder / "data/things", folder / "results/things/tiny"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in {"picture": (64, 64), "wide": (48, 96)}.items():
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(data / f"{name}.png")
    for number in range(4):
        Image.new("RGB", (64, 64), (60 * number, 90, 120)).save(data / f"frame{number}.png")
    Image.fromarray(np.kron(np.array([[24, 0], [0, 0]], np.uint8), np.ones((32, 32), np.uint8))).save(data / "mask.png")
    manifest.write(SAMPLES, data / "manifest.jsonl")
    for shard, rows in {"0-of-2": (0, 1, 2), "1-of-2": (3, 4, 5)}.items():
        store(results, shard, [GENERATIONS[row] for row in rows], data / "manifest.jsonl")
    return files_of(results, data / "manifest.jsonl")


def store(
    results: Path, shard: str, made: list[Generation], manifest_path: Path, methods=("activation", "tam")
) -> None:
    """The files of a shard, by the stages themselves."""
    answers, maps = results / f"generate/{shard}.h5", results / f"maps/{shard}.h5"
    answers.parent.mkdir(parents=True, exist_ok=True)
    write_generations(answers, {one.row: one for one in made}, {}, shard)
    write_maps(answers, maps, methods, FIXED)
    write_metrics(answers, maps, manifest_path, results / f"metrics/{shard}.parquet", FIXED)


def files_of(results: Path, manifest_path: Path) -> RunFiles:
    kinds = {"generation": "generate", "maps": "maps", "metrics": "metrics"}
    files = {kind: sorted((results / stage).iterdir()) for kind, stage in kinds.items()}
    return runs_of(manifests=[manifest_path], **files)[0]


@pytest.fixture(scope="module")
def page(run) -> Path:
    out = run.samples_file.parents[2] / "report"
    assert write_page([run], out) == {"ok": 4, "truncated": 1, "failed": 1}
    return out / "index.html"


def said(path: Path) -> list:
    """What a data file says: the JSON between the brackets of its only call."""
    arguments = re.fullmatch(r"\w+\((.*)\);\n", path.read_text(encoding="ascii")).group(1)
    return json.loads(f"[{arguments}]")


def gallery_of(index: Path) -> dict:
    (told,) = said(index.parent / "page/gallery.js")
    return told


def sample_of(index: Path, row: int) -> tuple[dict, np.ndarray, list[bytes]]:
    """What the file of a sample says: its text, the numbers of its maps, its pictures."""
    text, values, pictures = said(index.parent / f"page/0/{row:08d}.js")
    return json.loads(unpack(text).tobytes()), unpack(values), [base64.b64decode(picture) for picture in pictures]


def unpack(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


# ---- the data files --------------------------------------------------------------------------------------------------


def test_every_sample_and_every_status_is_in_the_gallery(page):
    lines = gallery_of(page)["samples"]
    assert [line["id"] for line in lines] == [sample.id for sample in SAMPLES]
    assert [line["kind"] for line in lines] == ["ok", "ok", "ok", "truncated", "failed", "ok"]
    assert lines[LOST]["status"] == GENERATIONS[LOST].status
    assert [line["picture"] for line in lines] == [True, True, True, True, False, False]
    for line in lines:
        assert (page.parent / f"page/{line['run']}/{line['name']}.js").is_file()


def test_the_maps_are_those_of_the_maps_file(page, run):
    (by_method, *_) = read_maps(run.maps[0])
    data, values, _ = sample_of(page, PICTURE)
    tokens, cells = len(data["tokens"]), data["vision"]
    maps, relevance, _ = np.split(values, np.cumsum([2 * tokens * cells, 2 * tokens * tokens]))
    for method, name in enumerate(("activation", "tam")):
        picture, own = by_method[name], np.split(maps, 2)[method]
        np.testing.assert_allclose(own / STEPS, picture.uint8.ravel() / 255, atol=0.5 / STEPS + 1e-6)
        own = np.split(relevance, 2)[method]
        np.testing.assert_allclose(own / 255, picture.relevance.ravel(), atol=0.5 / 255 + 1e-6)


def test_likely_candidates_of_the_answer_have_maps_where_the_cache_has_their_logits(page):
    made = GENERATIONS[PICTURE]
    data, values, _ = sample_of(page, PICTURE)
    rows, prompt, said = made.candidates, len(made.prompt_ids), [*made.prompt_ids, *made.answer_ids]
    likely = [
        [token, place]
        for token, place in np.ndindex(rows.ids.shape)
        if token >= prompt and rows.probabilities[token, place] >= 0.01 and rows.ids[token, place] != said[token]
    ]
    assert data["considered"] == likely and len(likely) > 5
    maps = candidate_maps(
        Cached(made), [token for token, _ in likely], [rows.ids[token, place] for token, place in likely]
    )
    stored = values[-maps.size :].reshape(maps.shape)
    np.testing.assert_allclose(stored / STEPS, maps, atol=1 / 255 + 0.5 / STEPS)
    one = likely[0][0], likely[0][1]
    without = np.setdiff1d(made.classes, rows.ids[one])
    fewer = replace(made, classes=without, logits=made.logits[:, np.isin(made.classes, without)])
    assert [*one] not in considered(fewer, FIXED, None)[0]
    assert considered(made, REFERENCE, None)[0] == considered(GENERATIONS[LOST], FIXED, None)[0] == []


def test_rivals_bring_what_a_reader_has_to_know_of_them_and_what_they_do_not_explain():
    made = GENERATIONS[PICTURE]
    stored = [
        SampleMaps(made.id, made.status, **vars(maps_of(scores_of(made, silent=silent)))) for silent in (2, 0)
    ]  # fmt: skip
    some, none = describe(made, stored, [])["methods"]
    assert some["unexplained"] == [0, 1] and "unexplained" not in none
    assert notes_on(["tam", "eci"]) == [] and "is not public" in notes_on(["tam", "gae"])[0]


def test_each_token_of_the_answer_has_its_evidence(page):
    data, *_ = sample_of(page, PICTURE)
    expected = token_evidence(GENERATIONS[PICTURE])[:, :2]
    np.testing.assert_allclose(data["evidence"], expected, atol=1e-4)
    assert sample_of(page, LOST)[0]["evidence"] == []


def test_a_picture_that_is_gone_is_said_and_its_text_is_shown(page):
    data, *_ = sample_of(page, GONE)
    assert "gone.png" in data["problem"]
    assert len(data["units"]) > len(PROMPT)


def test_tokens_that_share_a_character_are_one_unit_and_words_keep_their_parts_together(page):
    data, *_ = sample_of(page, PICTURE)
    shown = [unit["runs"] for unit in data["units"]]
    assert shown[4:7] == [["A"], ["ze"], ["bra"]]
    assert {"tokens": [10, 11], "runs": ["猫"], "space": True} in data["units"]
    assert [5, 6] in data["words"]


def test_scores_name_the_value_or_the_reason_of_each_method(page):
    rows = sample_of(page, PICTURE)[0]["scores"]
    zebra = next(row for row in rows if row["metric"] == "obj_iou" and row["token"] == 1)
    assert all(0 <= value <= 1 for value in zebra["values"]) and len(zebra["values"]) == 2
    film = sample_of(page, FILM)[0]["scores"]
    assert ["no mask"] * 2 in [row["values"] for row in film]


def test_scores_of_the_answer_itself_stand_once(page):
    rows = sample_of(page, PICTURE)[0]["scores"]
    assert {row["metric"] for row in rows if len(row["values"]) == 1} >= {"name_precision", "name_recall", "meteor"}
    assert all(row["token"] == -1 for row in rows if len(row["values"]) == 1)


def test_the_mean_of_a_sample_is_over_its_words_with_a_value_and_f1_joins_two_means():
    scores = RunScores(["cam", "tam"])
    for method, values in (("cam", (0.5, 0.7)), ("tam", (0.2, 0.4))):
        for token, value in enumerate(values):
            scores.add("a", method, token, "obj_iou", value, "ok")
        scores.add("a", method, 2, "obj_iou", math.nan, "not in image")
        scores.add("a", method, 3, "func_iou", 0.6, "ok")
    scores.add("a", "", -1, "meteor", 0.25, "ok")
    listed = dict(zip(CATALOGUE, zip(*scores.means("a"), strict=True), strict=True))
    assert listed["obj_iou"] == (0.6, 0.3) and listed["f1_iou"] == (0.6, 0.4) and listed["meteor"] == (0.25, 0.25)
    assert listed["recall"] == (None, None) and scores.means("b") == [[None] * len(CATALOGUE)] * 2
    assert scores.of("a")[2] == {"token": 2, "metric": "obj_iou", "values": ["not in image", "not in image"]}


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_a_literal_is_the_same_value_again_and_cannot_end_its_script(value):
    text = literal(value)
    assert json.loads(text) == value
    assert text.isascii() and "<" not in text and "\n" not in text


def test_characters_without_a_font_here_are_left_to_the_browser():
    character = "\U00013456"  # a hieroglyph; where a font has it, it is text at once
    assert runs(shape(character)) == [character]
    assert runs(shape("a\x00b\u200b")) == ["a␀b", ["200B"]]
    assert runs(shape(b"\xe7\x8c".decode("utf-8", "surrogateescape"))) == [["E78C"]]


def test_a_unit_in_no_word_stands_alone():
    shown = units([TokenText(b"ze"), TokenText(b"bra"), TokenText(b"\n"), TokenText(b"", "end")])
    assert by_word(shown, [(0, 1)]) == [[0, 1], [2], [3]]


def test_the_folder_is_replaced_and_nothing_beside_it_is_touched(page, run):
    stale, own = page.parent / "page/0/99999999.js", page.parent / "notes.txt"
    stale.touch()
    own.touch()
    write_page([run], page.parent)
    assert not stale.exists() and own.exists()
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", "notes.txt", "page"]


def test_a_folder_named_page_that_is_not_ours_is_not_touched(run, tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page/notes.txt").touch()
    with pytest.raises(DiskError, match="page: only a result of ours is replaced"):
        write_page([run], tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["notes.txt"]


def test_an_index_that_is_not_ours_is_not_touched(run, tmp_path):
    (tmp_path / "index.html").write_text("<p>my page</p>")
    with pytest.raises(
        DiskError,
        match=r"index\.html: only a file of ours is replaced; got .*; cure: move it away",
    ):
        write_page([run], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "<p>my page</p>"


def test_a_full_disk_is_said_and_leaves_no_half_page(run, small_disk):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 20_000))
    with pytest.raises(DiskError, match="page: disk full; cure: make room"):
        write_page([run], small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_two_runs_stand_side_by_side(run, tmp_path):
    write_page([run, replace(run, model="other")], tmp_path)
    data = gallery_of(tmp_path / "index.html")
    assert len(data["runs"]) == 2 and len(data["samples"]) == 2 * len(SAMPLES)


def test_what_is_missing_or_does_not_fit_is_an_error_and_leaves_nothing_behind(run, tmp_path):
    with pytest.raises(InputError, match="no runs"):
        write_page([], tmp_path)
    with pytest.raises(InputError, match="things, tiny: answers, maps and metrics of each shard are needed"):
        write_page([replace(run, maps=())], tmp_path / "out")
    with pytest.raises(SchemaError, match="maps of another generation"):
        write_page([replace(run, maps=run.maps[::-1])], tmp_path / "out")
    manifest.write(SAMPLES[1:], tmp_path / "manifest.jsonl")
    with pytest.raises(InputError, match="sample 1: sample is not in the manifest; got 'picture'"):
        write_page([replace(run, manifest=tmp_path / "manifest.jsonl")], tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_only_the_methods_that_are_wanted_are_shown_in_their_order(run, tmp_path):
    write_page([run], tmp_path, methods=["tam"])
    (about,) = gallery_of(tmp_path / "index.html")["runs"]
    assert (about["methods"], about["main"]) == (["TAM"], 0)
    assert len(sample_of(tmp_path / "index.html", PICTURE)[0]["methods"]) == 1
    with pytest.raises(InputError, match="no such method; got eci"):
        write_page([run], tmp_path, methods=["eci"])


def test_a_title_is_that_of_the_files(run, tmp_path):
    own = tmp_path / "0-of-2.parquet"
    fingerprints = ("0-of-2", "1-of-2")
    renamed = []
    for fingerprint in fingerprints:
        path = own.with_name(f"{fingerprint}.parquet")
        with rows_written(path, RowsHeader(fingerprint, 3, {"tam": "Mine <b>"}, "fixed", "none")) as writer:
            writer.add("picture", "tam", [Row(1, "zebra", 24, "obj_iou", 0.5)])
        renamed.append(path)
    write_page([replace(run, metrics=tuple(renamed))], tmp_path / "out")
    assert gallery_of(tmp_path / "out/index.html")["runs"][0]["methods"] == ["Mine <b>"]


def written(folder: Path, samples: list[Sample], made: list[Generation], methods=("activation", "tam")) -> Path:
    """The page of a run of one shard."""
    data, results = folder / "data/manifest.jsonl", folder / "results/data/tiny"
    manifest.write(samples, data)
    store(results, "0-of-1", made, data, methods)
    write_page([files_of(results, data)], folder / "report")
    return folder / "report/index.html"


def test_fifty_samples_of_photographs_stay_below_five_megabytes(tmp_path):
    """The default's methods, captions of 25 tokens, 17 x 23 cells over 640 x 480 photographs: 5 samples, ten times.

    The logits are smooth with noise upon them, which packs worse than those of a model.
    """
    chance, photos = np.random.default_rng(0), sorted(shared("data", "coco2014", "image").glob("*.jpg"))
    whole, samples, made = grid(rows=17, columns=23, box=(0.0, 0.0, 640.0, 480.0)), [], []
    (tmp_path / "data").mkdir()
    for row, path in enumerate(photos):
        with Image.open(path) as photo:
            photo.convert("RGB").resize((640, 480)).save(tmp_path / f"data/{row}.jpg", quality=90)
        samples.append(Sample(str(row), [f"{row}.jpg"], ""))
        one = written_by_hand(str(row), [b"a"] * 8, [b" word%d" % n for n in range(25)], (whole,), ((640, 480),), row)
        noise = chance.normal(size=(17, 23, one.logits.shape[1])).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 2.2) * 8 + noise / 2
        one.logits[: whole.cells] = 2 * smooth.reshape(whole.cells, -1) + 0.5
        made.append(one)
    default = yaml.safe_load((Path(__file__).parents[1] / "config/config.yaml").read_text())
    index = written(tmp_path, samples, made, default["methods"])
    sizes = {path: path.stat().st_size for path in index.parent.rglob("*") if path.is_file()}
    of_samples = sum(size for path, size in sizes.items() if path.parent.name == "0")
    assert len(samples) == 5
    assert sum(sizes.values()) + 9 * of_samples < 5_000_000


def test_of_a_large_run_the_first_samples_are_shown_and_the_gallery_says_so(run, tmp_path):
    write_page([run], tmp_path, most=1)
    told = gallery_of(tmp_path / "index.html")
    total = len(manifest.read(run.samples_file))
    assert total > 1 and [line["name"] for line in told["samples"]] == ["00000000"]
    assert told["runs"][0]["of"] == total and len(list((tmp_path / "page/0").glob("*.js"))) == 1


def test_tam_is_shown_first_wherever_it_stands_among_the_methods(page, run):
    assert gallery_of(page)["runs"][0]["main"] == 1


def test_a_card_is_a_small_picture_and_the_picture_itself_where_that_is_small():
    large, small = (np.zeros((side, 2 * side, 3), np.uint8) for side in (240, 120))
    assert Image.open(io.BytesIO(card(large, b"large"))).size == (240, 120)
    assert card(small, b"small") == b"small"


def test_methods_stand_in_groups_and_an_unknown_one_is_ones_own():
    names = ["random", "gae", "eci", "mine", "tam", "median-3"]
    assert grouped(names) == [
        ("Ours", [4]), ("Your own", [3]), ("Ablation", [2]), ("Ablation: filters", [5]), ("Rivals", [1]),
        ("Controls", [0]),
    ]  # fmt: skip


def test_facts_name_checkpoint_layer_protocol_versions_and_date():
    run = {"model": "Qwen/Qwen2-VL-2B-Instruct", "revision": "aba1", "layer": 20, "tam": "1", "torch": "2"}
    assert facts(run, "fixed")[:-1] == [
        ("Checkpoint", "Qwen/Qwen2-VL-2B-Instruct @ aba1"), ("Layer", "20"), ("Protocol", "fixed"),
        ("Versions", "tam 1, torch 2"),
    ]  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", dict(facts({}, "fixed"))["Page made"])
    assert checkpoint_name({"model": "/home/somebody/models/mine"}) == "mine"  # nobody's folders are sent along
    assert checkpoint_name({"model": str(CHECKPOINT)}) == "embedded"


def test_a_note_stands_where_the_embedded_model_meets_a_photo():
    scene, photo = GENERATIONS[PICTURE].layout, GENERATIONS[CUT].layout
    scene = replace(scene, sizes=((224, 224),))
    assert meets_photo(str(CHECKPOINT), photo) and not meets_photo(str(CHECKPOINT), scene)
    assert not meets_photo("Qwen/Qwen2-VL-2B-Instruct", photo)


# ---- in a browser ----------------------------------------------------------------------------------------------------

CHOOSE = """
    const chosen = document.getElementById(arguments[0]);
    chosen.value = arguments[1];
    for (const kind of ["input", "change"]) chosen.dispatchEvent(new Event(kind, {bubbles: true}));
"""
PLACE = "return document.querySelector('#place').textContent"
CELLS = """
    const shown = [...document.querySelectorAll(".cell:not([hidden])")];
    return shown.map(({style}) => [style.left, style.top, style.width, style.height]);
"""
CANVAS = "document.querySelector('#pictures canvas')"
PIXELS = f"return {CANVAS}.toDataURL()"
SELECTED = "return document.querySelector('#text [aria-selected=true]').textContent"
OUTLINED = """
    const focused = document.activeElement; // of a radio button the text beside it is outlined
    const shown = focused.type === "radio" ? focused.nextElementSibling : focused;
    return focused === document.body || getComputedStyle(shown).outlineStyle !== "none";
"""
READY = "!document.querySelector('#sample').hidden && document.querySelector('#text [aria-selected=true]')"


@pytest.fixture(scope="module")
def chromium():
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def browser(chromium):
    """Whatever a test does, the console stays silent and nothing but files is asked for."""
    chromium.complaints()
    chromium.requests()
    yield chromium
    assert chromium.complaints() == []
    asked = chromium.requests()
    assert asked and all(url.startswith(("file:", "data:", "about:")) for url in asked), asked


def open_sample(browser: Browser, page: Path, row: int) -> None:
    browser.open(page, f"#0/{row:08d}")
    browser.until(READY)


def single_file(folder: Path, made: Generation, maps: Maps) -> Path:
    """The page of one sample in one file."""
    picture = Media(False, (Image.new("RGB", (64, 64), (90, 140, 60)),), (0,))
    about = {"model": "tiny", "layer": None}
    path = folder / "single.html"
    path.write_text(single_page(made, {"gae": maps}, {"gae": "GAE"}, picture, "gae", about, "fixed"), encoding="utf-8")
    return path


def span(browser: Browser, text: str) -> str:
    """A selector of the word with this text."""
    find = "return [...document.querySelectorAll('.word')].find(w => w.textContent === arguments[0]).dataset.span"
    return f".word[data-span='{browser.run(find, text)}']"


def test_the_gallery_lists_filters_and_sorts(browser, page):
    browser.open(page)
    browser.until("document.querySelector('#cards li')")
    ids = "return [...document.querySelectorAll('#cards .id')].map(e => e.textContent)"
    assert browser.run(ids) == [sample.id for sample in SAMPLES]
    browser.run(CHOOSE, "status", "failed")
    assert browser.run(ids) == ["lost"]
    assert browser.run("return document.querySelector('#count').textContent") == "1 of 6 samples"
    browser.run(CHOOSE, "status", "")
    browser.run(CHOOSE, "search", "FIL")
    assert browser.run(ids) == ["film"]
    browser.run(CHOOSE, "search", "")
    browser.run(CHOOSE, "order", "lowest")
    assert browser.run(ids)[0] == "picture"  # the only one with a score
    browser.run(CHOOSE, "least", "0.01")
    browser.run(CHOOSE, "most", "1")
    assert set(browser.run(ids)) <= {"picture"}


def test_where_no_sample_matches_a_button_clears_the_filters(browser, page):
    browser.open(page)
    browser.until("document.querySelector('#cards li')")
    hidden, count = (
        "return document.querySelector('#no-match').hidden",
        "return document.querySelectorAll('#cards li').length",
    )
    browser.run(CHOOSE, "search", "no such word")
    browser.run(CHOOSE, "order", "lowest")
    assert not browser.run(hidden) and browser.run(count) == 0
    browser.click("#clear")
    assert browser.run(hidden) and browser.run(count) == len(SAMPLES)


def test_a_status_says_what_it_is_of(browser, page):
    for row, text in ((PICTURE, "answered"), (CUT, "answer cut off")):
        open_sample(browser, page, row)
        assert browser.run("return document.querySelector('#sample-status').textContent") == text
    browser.open(page)
    browser.until("document.querySelector('#cards li')")
    offered = browser.run("return [...document.querySelectorAll('#status option')].map(e => e.textContent)")
    assert offered == ["all (6)", "answered (4)", "answer cut off (1)", "not answered (1)"]


def test_a_sample_opens_on_the_word_with_the_highest_peak(browser, page):
    open_sample(browser, page, FILM)
    peaks = token_evidence(GENERATIONS[FILM])[:, 1]
    first = len(GENERATIONS[FILM].prompt_ids)
    words = {"A": [4], "zebra": [5, 6], "on": [7], "a": [8], "field": [9], "猫": [10, 11], HOSTILE: [12]}
    heights = {text: np.mean([peaks[token - first] for token in tokens]) for text, tokens in words.items()}
    assert browser.run(SELECTED) == max(heights, key=heights.__getitem__)


# ---- pins, addresses, places -----------------------------------------------------------------------------------------

ADDRESS = "return location.hash"
COLORS = "return [...document.querySelectorAll('.word')].map(word => word.style.backgroundColor)"


def test_a_click_pins_a_word_and_escape_frees_it(browser, page):
    open_sample(browser, page, PICTURE)
    browser.click(span(browser, "field"))
    browser.point(span(browser, "on"))
    assert browser.run(SELECTED) == "field" and browser.run(ADDRESS) == "#0/00000000?words=9"
    browser.click(span(browser, "on"))  # another word is pinned in its place
    browser.point(span(browser, "field"))
    assert browser.run(SELECTED) == "on"
    browser.run("document.querySelector('#save-svg').focus()")  # from wherever the keyboard is
    browser.press(ESCAPE)
    assert browser.run(ADDRESS) == "#0/00000000"
    browser.point(span(browser, "zebra"))
    assert browser.run(SELECTED) == "zebra"


def test_a_word_is_pinned_by_the_keyboard_and_the_pin_goes_along_with_the_arrows(browser, page):
    open_sample(browser, page, PICTURE)
    browser.point(span(browser, "on"))
    browser.press(LEFT)
    browser.press(ENTER)
    assert browser.run(ADDRESS) == "#0/00000000?words=5-6"
    assert browser.run("return document.querySelector('#said').textContent").startswith("zebra, pinned")
    browser.press(RIGHT)
    assert browser.run(ADDRESS) == "#0/00000000?words=7"


def test_an_address_opens_the_view_that_it_was_taken_of(browser, page):
    """Sample, word, methods, place, scale and frame: seen again in a browser that knows nothing of it."""
    open_sample(browser, page, FILM)
    browser.run("const e = document.querySelector('#frame'); e.value = 2; e.dispatchEvent(new Event('input'))")
    browser.run(CHOOSE, "method", "activation")
    browser.run(CHOOSE, "beside", "tam")
    browser.run(CHOOSE, "scale-of", "word")
    browser.click(span(browser, "zebra"))
    browser.click("#pictures .panel")
    address, before = browser.run(ADDRESS), [browser.run(script) for script in (PIXELS, SELECTED, COLORS, PLACE)]
    assert address.startswith("#0/00000001?words=5-6&method=activation&beside=tam&place=")
    assert address.endswith("&scale=word&frame=2")
    browser.open(page, address)
    browser.until(READY)
    assert [browser.run(script) for script in (PIXELS, SELECTED, COLORS, PLACE)] == before
    assert browser.run(ADDRESS) == address
    browser.open(page, "#0/00000000?words=5&method=nobody&beside=tam&place=99999&scale=word&frame=7")
    browser.until(READY)  # a token that is no word is shown among tokens; what there is not is left out
    assert browser.run(SELECTED) == "ze" and browser.run(ADDRESS) == "#0/00000000?words=5&scale=word"


def test_a_place_colours_every_word_by_its_map_there_and_names_those_that_use_it(browser, page, run):
    open_sample(browser, page, PICTURE)
    by_method, *_ = read_maps(run.maps[0])
    browser.run(CHOOSE, "beside", "activation")
    browser.point("#pictures .panel")  # one of the four cells in the middle
    text = browser.run(PLACE)
    row, column = map(int, re.match(r"Row ([23]), column ([23]): ", text).groups())
    cell = 4 * (row - 1) + column - 1
    steps = {name: np.rint(by_method[name].uint8[:, cell] * (STEPS / 255)) for name in ("tam", "activation")}
    values = {name: np.rint(one * (255 / STEPS)) for name, one in steps.items()}
    words = {"A": [4], "zebra": [5, 6], "on": [7], "a": [8], "field": [9], "猫": [10, 11], HOSTILE: [12]}
    here = {word: values["tam"][tokens].mean() for word, tokens in words.items()}
    best = max(here, key=here.__getitem__)
    assert f"Used most by {best} {here[best] / 255:.2f}" in text
    title = browser.run("return document.querySelector(arguments[0]).title", span(browser, "zebra"))
    assert title == f"value here {here['zebra'] / 255:.2f}"
    assert all(browser.run(COLORS))
    shown = words[browser.run(SELECTED)]
    under = browser.run("return [...document.querySelectorAll('#pictures .value')].map(e => e.textContent)")
    assert under == [f"{values[name][shown].mean() / 255:.2f}" for name in ("tam", "activation")]
    frames = browser.run(CELLS)
    left, top = 25 * (column - 1), 25 * (row - 1)
    assert frames == [[f"{left}%", f"{top}%", "25%", "25%"]] * 2  # one pointer in both pictures
    browser.point("#sample-title")
    assert browser.run(CELLS) == [] and not all(browser.run(COLORS))


def test_a_click_keeps_a_place_while_words_are_read_and_escape_frees_the_place_before_the_word(browser, page):
    open_sample(browser, page, PICTURE)
    browser.click(span(browser, "field"))
    browser.click("#pictures .panel")
    browser.point("#sample-title")
    assert "?words=9&place=" in browser.run(ADDRESS) and len(browser.run(CELLS)) == 1
    browser.press(ESCAPE)
    assert browser.run(ADDRESS) == "#0/00000000?words=9" and browser.run(CELLS) == []
    browser.point("#pictures .panel", touch=True)
    browser.until("location.hash.includes('place=')")
    browser.point("#pictures .panel", touch=True)  # where nothing hovers, the second touch takes it away
    browser.until("location.hash === '#0/00000000?words=9' && !document.querySelector('.cell:not([hidden])')")


def test_the_keyboard_goes_from_place_to_place_and_says_the_words(browser, page):
    open_sample(browser, page, PAIR)
    browser.run("document.querySelectorAll('.panel')[1].focus()")
    browser.press(RIGHT)
    first = browser.run("return document.querySelector('#said').textContent")
    browser.press(RIGHT)
    second = browser.run("return document.querySelector('#said').textContent")
    assert first.startswith("Row 2, column 2: ") and second.startswith("Row 2, column 3: ")
    browser.press(ENTER)
    assert "place=" in browser.run(ADDRESS)
    browser.press(ESCAPE)
    assert "place=" not in browser.run(ADDRESS)


def test_each_word_has_a_scale_of_its_own_on_request_but_a_nearly_empty_map_stays_empty(browser, tmp_path):
    made = GENERATIONS[PICTURE]
    maps = maps_of(scores_of(made, silent=0))
    values = np.zeros_like(maps.uint8)
    values[7], values[9] = 20, 128  # " on": hardly anything; " field": half
    values[7:, 0] = values[9:, 1] = 0
    maps = replace(maps, maps=values / np.float32(255), uint8=values)
    single = single_file(tmp_path, made, maps)
    browser.open(single)
    browser.until(READY)
    end, empty = (
        f"return document.querySelector('{place}').textContent" for place in ("#scale-end", "#pictures .empty")
    )
    for scale, of_field in (("all", "1"), ("word", "0.51")):
        browser.run(CHOOSE, "scale-of", scale)
        browser.point(span(browser, "on"))
        assert browser.run(end) == "1" and browser.run(empty) == "nearly empty: 0.08 at most"
        browser.point(span(browser, "field"))
        assert browser.run(end) == of_field and not browser.run(empty)
    last_color = f"const c = {CANVAS}; return [...c.getContext('2d').getImageData(60, 60, 1, 1).data]"
    assert browser.run(last_color)[:3] == colored(np.ones((1, 1)))[0, 0].tolist()


def test_a_view_is_saved_as_svg_with_real_text_and_as_png_with_the_photo(browser, page):
    """From a page on disk: the photo is in the page's data, since a browser gives away no pixels of other files."""
    open_sample(browser, page, PICTURE)
    browser.run(CHOOSE, "beside", "activation")
    browser.click(span(browser, "zebra"))
    drawn = ElementTree.fromstring(browser.run("return viewAsSvg().text"))
    found = {tag: list(drawn.iter(f"{{http://www.w3.org/2000/svg}}{tag}")) for tag in ("text", "image")}
    texts = ["".join(text.itertext()) for text in found["text"]]
    assert {"zebra", "field", "TAM", "CAM (raw activation)"} <= {*texts}
    assert "<script>document.title='owned'</script>" in "".join(texts)
    assert [image.get("href").split(";")[0] for image in found["image"][:4:2]] == ["data:image/webp"] * 2
    size = browser.run(
        "return viewAsPng().then(async blob => { const {width, height} = await createImageBitmap(blob);"
        "return [blob.type, width, height]; })"
    )
    assert size == ["image/png", 3 * int(drawn.get("width")), 3 * int(drawn.get("height"))]
    browser.run("document.body.dataset.saved = ''; HTMLAnchorElement.prototype.click = function () {"
                " document.body.dataset.saved += this.download + ' '; }")  # fmt: skip
    browser.click("#save-svg")
    browser.click("#save-png")
    browser.until("document.body.dataset.saved === 'picture-zebra.svg picture-zebra.png '")


def test_methods_are_chosen_by_groups_and_facts_of_the_run_stand_below(browser, page):
    open_sample(browser, page, PICTURE)
    groups = "return [...document.querySelectorAll('#method optgroup')].map(g => [g.label, g.textContent])"
    assert browser.run(groups) == [["Ours", "TAM"], ["Ablation", "CAM (raw activation)"]]
    assert "Protocol" in browser.run("return document.querySelector('#facts').textContent")


def test_a_page_in_a_frame_without_rights_of_its_own_works(browser, tmp_path):
    """As a notebook shows it: an address cannot be sent from there, but it costs nothing."""
    single = single_file(tmp_path, GENERATIONS[PICTURE], maps_of(scores_of(GENERATIONS[PICTURE], silent=0)))
    outer = tmp_path / "outer.html"
    inside = html.escape(single.read_text(encoding="utf-8"))
    outer.write_text(f'<iframe srcdoc="{inside}" sandbox="allow-scripts allow-downloads"></iframe>', encoding="utf-8")
    browser.open(outer)
    browser.into("iframe")
    browser.until(READY)
    browser.click(span(browser, "field"))
    assert browser.run(SELECTED) == "field" and browser.run(ADDRESS) == "#0/0?words=9"
    browser.into(None)


# ---- words, methods, keys --------------------------------------------------------------------------------------------


def test_hovering_over_a_word_changes_map_relevance_candidates_and_scores(browser, page):
    open_sample(browser, page, PICTURE)
    browser.point(span(browser, "zebra"))
    assert browser.run(SELECTED) == "zebra"
    before = browser.run(PIXELS)
    candidates = browser.run("return document.querySelector('#candidates').textContent")
    assert "Obj-IoU" in browser.run("return document.querySelector('#scores').textContent")
    browser.point(span(browser, "field"))
    assert browser.run(SELECTED) == "field"
    assert browser.run(PIXELS) != before
    assert browser.run("return document.querySelector('#candidates').textContent") != candidates
    color = "return document.querySelector(arguments[0]).style.backgroundColor"
    assert browser.run(color, span(browser, "zebra")).startswith("rgb(")
    assert not browser.run(color, span(browser, "end"))  # a later word
    assert browser.run("return document.querySelector('#said').textContent").startswith("field: most related to ")


def test_a_click_on_a_candidate_shows_its_map_until_the_next_click_or_word(browser, page):
    open_sample(browser, page, PICTURE)
    browser.click(span(browser, "field"))
    own, button = browser.run(PIXELS), "#candidates button"
    pressed = "return document.querySelectorAll('#candidates [aria-pressed=true]').length"
    caption = "return document.querySelector('figcaption').textContent"
    assert browser.run(f"return document.querySelectorAll('{button}').length") and not browser.run(pressed)
    browser.click(button)
    assert browser.run(PIXELS) != own and browser.run(pressed) == 1
    name = browser.run(f"return document.querySelector('{button} bdi').textContent").replace("␣", "")
    assert f"“{name}”, considered and not said, by TAM" in browser.run(caption)
    browser.click(button)
    assert browser.run(PIXELS) == own and not browser.run(pressed)
    browser.click(button)
    browser.click(span(browser, "zebra"))
    assert not browser.run(pressed) and "considered" not in browser.run(caption)


def test_the_evidence_of_a_word_is_said_in_words_and_marked_under_it(browser, page):
    open_sample(browser, page, PICTURE)
    browser.point(span(browser, "zebra"))
    logprob, peak, _ = token_evidence(GENERATIONS[PICTURE])[1:3].T  # " ze", "bra"
    text = browser.run("return document.querySelector('#evidence .fact').textContent")
    chance = np.exp(logprob.sum())
    assert f"the model gave the word {'<1' if chance < 0.005 else round(100 * chance)} %" in text
    assert f"its peak in the picture is {peak.mean():.1f} (the highest of this answer: " in text
    assert "not truth" in browser.run("return document.querySelector('#evidence .note').textContent")
    shares = browser.run(
        "return [...document.querySelectorAll('#answer .word')].map(word => +word.style.getPropertyValue('--evidence'))"
    )
    assert max(shares) == 1 and 0 <= min(shares) < 1
    browser.point(span(browser, "What"))
    assert browser.run("return document.querySelector('#evidence').hidden")


def test_a_word_that_a_method_does_not_explain_has_no_map_and_says_so(browser, tmp_path):
    """Neither blue pictures nor blue words: they would look like evidence."""
    made, silent = GENERATIONS[PICTURE], len(PROMPT) + 1
    maps = maps_of(scores_of(made, silent=silent))
    single = single_file(tmp_path, made, maps)
    browser.open(single, "#0/0")
    browser.until(READY)
    empty = "return document.querySelector('#pictures .empty').textContent"
    painted = (
        f"const drawn = {CANVAS}, clear = document.createElement('canvas');"
        "[clear.width, clear.height] = [drawn.width, drawn.height]; return drawn.toDataURL() !== clear.toDataURL()"
    )
    colored = "return [...document.querySelectorAll('.word')].some(word => word.style.backgroundColor)"
    browser.point(span(browser, "field"))
    assert browser.run(painted) and browser.run(colored) and not browser.run(empty)
    for word in ("What", "A"):
        browser.point(span(browser, word))
        assert browser.run(empty) == "not explained by this method"
        assert not browser.run(painted) and not browser.run(colored)
    assert "wrong place to rank methods" in browser.run("return document.querySelector('#methods-note').textContent")


def test_a_map_is_drawn_as_the_overlay_draws_it(browser, page, run):
    """Interpolated, averaged where grids overlap, then coloured; OpenCV's table and ours may round one step apart."""
    open_sample(browser, page, PAIR)
    token = 7  # " on"
    browser.point(span(browser, "on"))
    layout = GENERATIONS[PAIR].layout
    *_, maps = (one["tam"] for one in read_maps(run.maps[0]))
    shown = panels(layout, open_media(SAMPLES[PAIR], run.samples_file.parent), 80)
    drawn = browser.run(
        "return [...document.querySelectorAll('#pictures canvas')].map("
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data])"
    )
    for panel, pixels in zip(shown, drawn, strict=True):
        values, covered = heat(panel, layout.split(np.rint(maps.uint8[token] * (STEPS / 255)) / STEPS))
        found = np.reshape(pixels, (*values.shape, 4))
        assert covered.all() and (found[..., 3] == 255).all()
        assert np.abs(found[..., :3].astype(int) - colored(values)).max() <= 8  # two steps of a steep colour map


def test_a_cell_that_the_picture_ends_within_is_framed_where_it_lies_on_it(browser, page):
    """The upper right one of a grid that reaches 8 pixels above the picture and 16 beyond its right side."""
    browser.open(page, f"#0/{PAIR:08d}?place=23")
    browser.until(READY)
    cell, picture = browser.run(
        "const cell = document.querySelector('.cell:not([hidden])'), canvas = cell.previousElementSibling;"
        "return [cell, canvas].map(e => e.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
    )
    left, top, right, bottom = picture
    width, height = right - left, bottom - top
    assert cell == pytest.approx([left + width * 80 / 96, top, right, top + height * 24 / 48], abs=2)


def test_arrow_keys_go_from_word_to_word(browser, page):
    open_sample(browser, page, PICTURE)
    browser.point(span(browser, "zebra"))
    before = browser.run(PIXELS)
    browser.press(RIGHT)
    assert browser.run(SELECTED) == "on"
    assert browser.run("return document.activeElement.textContent") == "on"
    assert browser.run(PIXELS) != before
    browser.press(LEFT)
    assert browser.run(SELECTED) == "zebra" and browser.run(PIXELS) == before
    browser.press(HOME)
    assert browser.run(SELECTED) == "What"
    browser.press(END)
    assert browser.run(SELECTED) == "end"
    browser.press(ESCAPE)
    browser.until("!document.querySelector('#gallery').hidden")
    browser.until("document.activeElement.hash === '#0/00000000'")


def test_a_finger_shows_a_word(browser, page):
    open_sample(browser, page, PICTURE)
    browser.point(span(browser, "field"), touch=True)
    browser.until("document.querySelector('#text [aria-selected=true]').textContent === 'field'")


def test_tokens_methods_opacity_and_colours_can_be_switched(browser, page):
    open_sample(browser, page, PICTURE)
    browser.point(span(browser, "zebra"))
    browser.point("#sample-title")
    before = browser.run(PIXELS)
    browser.run("document.querySelector('#grain [value=units]').click()")
    assert browser.run(SELECTED) == "ze"
    browser.run("document.querySelector('#grain [value=words]').click()")
    assert browser.run(SELECTED) == "zebra" and browser.run(PIXELS) == before
    browser.run(CHOOSE, "method", "activation")
    assert browser.run(PIXELS) != before
    for beside in ("tam", "*"):
        browser.run(CHOOSE, "beside", beside)
        assert browser.run("return document.querySelectorAll('#pictures canvas').length") == 2
    browser.run(CHOOSE, "opacity", 80)
    assert browser.run(f"return getComputedStyle({CANVAS}).opacity") == "0.8"
    in_jet = browser.run(PIXELS)
    browser.run(CHOOSE, "colors", "viridis")
    assert browser.run(PIXELS) != in_jet


def test_a_video_has_a_frame_slider_and_several_pictures_stand_side_by_side(browser, page):
    open_sample(browser, page, FILM)
    picture = "return sample.pictures.indexOf(document.querySelector('#pictures img').src)"
    assert browser.run(picture) == 0
    before = browser.run(PIXELS)
    browser.run("const e = document.querySelector('#frame'); e.focus()")
    browser.press(RIGHT)
    assert browser.run(picture) == 1 and browser.run(PIXELS) == before  # of the same temporal patch
    browser.press(RIGHT)
    assert browser.run(picture) == 2 and browser.run(PIXELS) != before
    assert browser.run("return document.querySelector('#frame-name').textContent") == "2"
    open_sample(browser, page, PAIR)
    assert browser.run("return document.querySelector('#frame-field').hidden")
    tops = browser.run("return [...document.querySelectorAll('#pictures img')].map(e => e.getBoundingClientRect().top)")
    assert len(tops) == 2 and tops[0] == tops[1]


def test_what_models_and_datasets_wrote_stays_text(browser, page):
    for row in (None, PICTURE, PAIR):
        if row is None:
            browser.open(page)
            browser.until("document.querySelector('#cards li')")
        else:
            open_sample(browser, page, row)
        assert "<script>document.title" in browser.run("return document.body.textContent")
        assert browser.run("return document.title") != "owned"
        assert browser.run("return document.querySelectorAll('main script, main img[src=x]').length") == 0


def test_a_failed_sample_says_why(browser, page):
    browser.open(page, f"#0/{LOST:08d}")
    browser.until("!document.querySelector('#problem').hidden")
    assert "no picture <script>" in browser.run("return document.querySelector('#problem').textContent")
    assert browser.run("return document.querySelector('#explorer').hidden")


def test_everything_that_can_be_used_has_a_name_and_can_be_reached(browser, page):
    open_sample(browser, page, FILM)
    nodes = browser.protocol("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "link", "radio", "slider", "option", "combobox", "textbox", "searchbox", "spinbutton", "listbox"}
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert {"radio", "slider", "option", "combobox", "listbox", "link"} <= {role for role, _ in found}
    assert [role for role, name in found if role in used and not name] == []
    reached = set()
    for _ in range(25):
        browser.press(TAB)
        reached.add(browser.run("const e = document.activeElement; return e.id || e.className || e.name || e.tagName"))
        assert browser.run(OUTLINED)
    controls = {"method", "beside", "frame", "opacity", "colors", "scale-of", "save-png", "save-svg", "grain"}
    assert {"back", "panel", "word"} | controls <= reached


@pytest.mark.parametrize("row", [PICTURE, FILM, PAIR])
def test_a_phone_needs_no_sideways_scrolling_and_shows_words_below_the_picture(browser, page, row):
    browser.protocol("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    try:
        browser.open(page)
        browser.until("document.querySelector('#cards li')")
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        for place in ("", "?beside=activation&place=1"):
            browser.open(page, f"#0/{row:08d}{place}")
            browser.until(READY)
            assert browser.run("return document.documentElement.scrollWidth") <= 390
            edge = "return document.querySelector('#answer .word').getBoundingClientRect().bottom"
            assert browser.run(edge) < 844
    finally:
        browser.protocol("Emulation.clearDeviceMetricsOverride")


# ---- long answers, other scripts ----------------------------------------------------------------------------------

HEBREW = [" חתול".encode(), " שחור".encode(), " על".encode(), " ה".encode(), "שולחן".encode(), b" (cat)", b"."]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """An answer of 256 tokens, with a line of one long word, and one from right to left."""
    folder = tmp_path_factory.mktemp("texts")
    answers = [[*[b" broccoli", b" and", b" a", b" bowl"] * 63, b"\n", b"x" * 300, b" end", b"."], HEBREW]
    made = [written_by_hand(str(row), [b"What", b"?"], answer, row=row) for row, answer in enumerate(answers)]
    (folder / "data").mkdir()
    Image.new("RGB", (40, 30), (90, 140, 60)).save(folder / "data/a.png")
    return written(folder, [Sample(one.id, ["a.png"], "") for one in made], made)


@pytest.mark.parametrize("width", [390, 1280])
def test_256_tokens_fit_and_the_word_of_the_keyboard_stays_in_sight(browser, texts, width):
    browser.protocol("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
    try:
        open_sample(browser, texts, 0)
        assert browser.run("return document.querySelectorAll('#answer .word').length") == 256
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.press(RIGHT)
        browser.press(END)
        assert browser.run(SELECTED) == "."
        top, bottom, high = browser.run(
            "const b = document.querySelector('[aria-selected=true]').getBoundingClientRect();"
            "return [b.top, b.bottom, innerHeight]"
        )
        assert 0 <= top < bottom <= high
        pictures = browser.run("return document.querySelector('#pictures').getBoundingClientRect().bottom")
        assert pictures > 0  # the map is seen beside the word
    finally:
        browser.protocol("Emulation.clearDeviceMetricsOverride")


def test_words_from_right_to_left_stand_from_right_to_left_and_arrows_follow_the_text(browser, texts):
    open_sample(browser, texts, 1)
    edges = "return document.querySelector(arguments[0]).getBoundingClientRect().left"
    first, second = (browser.run(edges, span(browser, text)) for text in ("חתול", "שחור"))
    assert first > second
    browser.point(span(browser, "חתול"))
    browser.press(RIGHT)
    assert browser.run(SELECTED) == "שחור"
    assert browser.run("return document.querySelector('#cards .answer[dir=auto]') !== null")
