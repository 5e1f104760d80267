"""From cache and maps files to a folder of pictures for each sample."""

import errno
import shutil
from pathlib import Path

import cv2
import numpy as np
import pypdfium2
import pytest
from PIL import Image

from tam import manifest
from tam.cache import write_generations
from tam.errors import DiskError, InputError, RenderError, SchemaError
from tam.layout import Grid
from tam.media import Media, open_media
from tam.methods import scored
from tam.methods.cached import Cached
from tam.methods.registry import METHODS
from tam.methods.stage import write_maps
from tam.protocol import FIXED
from tam.records import Generation, Maps
from tam.render import stage, xelatex
from tam.render.colors import LATER, table
from tam.render.folder import WITHOUT_TEX, draw
from tam.render.names import safe_id, safe_word
from tam.render.sample import MOVING, UNKNOWN, Look, prepare
from tam.render.sheet import CAPTION, SCALE
from tam.render.stage import render
from tam.system.mark import FILE
from tests.answers import END, generation, needs_tex, picture, sample
from tests.test_maps import scores_of

PROMPT = [b"What", b" is", b" it", b"?"]
ANSWER = [b"A", b" bro", b"ccoli", b" \xe4\xb8", b"\xad", b".", END]
NAMES = [
    "000_What.png", "001_is.png", "002_it.png", "003_question_mark.png", "004_A.png", "005_bro.png", "006_ccoli.png",
    "007_中.png", "008_中.png", "009_full_stop.png", "010_end.png", "sheet.png",
]  # fmt: skip


def run(folder: Path, generations: list[Generation], **media: list[str]) -> dict:
    """Write the files of a run; a sample's media default to one picture."""
    picture(folder / "a.png")
    samples = [sample(made.id, media.get(made.id, ["a.png"])) for made in generations]
    manifest.write(samples, folder / "manifest.jsonl")
    write_generations(folder / "g.h5", dict(enumerate(generations)), {}, "f")
    write_maps(folder / "g.h5", folder / "m.h5", ["activation", "tam"], FIXED)
    files = {"generation": [folder / "g.h5"], "maps": [folder / "m.h5"]}
    return files | {"method": "tam", "manifest_path": folder / "manifest.jsonl"}


def maps_of(made: Generation) -> Maps:
    return METHODS["tam"].maps(Cached(made))


def drawn(made: Generation, media: Media, folder: Path) -> Path:
    draw(made, maps_of(made), media, folder / "out", {"kind": "sample"}, None, Look())
    return folder / "out"


def rendered(folder: Path, files: dict, samples=None) -> dict[str, int]:
    return render(**files, samples=samples, out=folder / "out")


@pytest.fixture
def without_tex(monkeypatch):
    """Hide xelatex, as on a machine that lacks it."""
    monkeypatch.setenv("PATH", "/nonexistent")


def test_without_tex_pillow_draws_every_token_and_one_line_says_so(tmp_path, without_tex, caplog):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER), generation("two", PROMPT, ANSWER)])
    assert rendered(tmp_path, files) == {"ok": 2}
    assert sorted(path.name for path in (tmp_path / "out/one").iterdir()) == [FILE, *NAMES]
    assert [record.message for record in caplog.records] == [WITHOUT_TEX]


@needs_tex
def test_with_tex_there_is_also_a_pdf_of_the_same_pages(tmp_path):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER), generation("two", PROMPT, ANSWER[:2])])
    assert rendered(tmp_path, files) == {"ok": 2}
    assert sorted(path.name for path in (tmp_path / "out/one").iterdir()) == [FILE, *NAMES, "tokens.pdf"]
    assert len(pypdfium2.PdfDocument(tmp_path / "out/two/tokens.pdf")) == 6


def test_an_overlay_stands_above_the_text(tmp_path, without_tex):
    rendered(tmp_path, run(tmp_path, [generation("one", PROMPT, ANSWER)]))
    shown = cv2.imread(str(tmp_path / "out/one/006_ccoli.png"))
    assert shown.shape[1] == 500 + SCALE and shown.shape[0] > 375
    assert (shown[376:383] == 255).all()  # the margin of the text


def test_one_bad_sample_does_not_cost_the_others(tmp_path, without_tex, caplog):
    broken = generation("broken", PROMPT, ANSWER, sizes=((41, 30),))
    failed = Generation.failure("failed", "What?", "out of memory")
    files = run(
        tmp_path,
        [broken, generation("good", PROMPT, ANSWER), failed, generation("gone", PROMPT, ANSWER)],
        gone=["no.png"],
    )
    assert rendered(tmp_path, files) == {"ok": 1, "failed": 3}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]
    assert all(
        any(text in record.message for record in caplog.records) for text in ("has changed", "out of memory", "no.png")
    )


@needs_tex
def test_a_sample_that_tex_refuses_is_drawn_by_pillow_and_the_others_by_tex(tmp_path, monkeypatch, caplog):
    made, good = xelatex.tex_of, [generation(f"good{number}", PROMPT, ANSWER) for number in range(3)]

    def refuse(runs, size, names):
        if any(run.text == "evil" for run in runs):
            raise RenderError("XeLaTeX failed")
        return made(runs, size, names)

    monkeypatch.setattr(xelatex, "tex_of", refuse)
    files = run(tmp_path, [*good[:2], generation("bad", PROMPT, [b"evil"]), good[2]])
    assert rendered(tmp_path, files) == {"ok": 3, "ok, text by Pillow": 1}
    assert (tmp_path / "out/bad/004_evil.png").is_file() and not (tmp_path / "out/bad/tokens.pdf").exists()
    assert all((tmp_path / f"out/good{number}/tokens.pdf").is_file() for number in range(3))
    assert "'bad': text of 5 of 5 pages by Pillow: XeLaTeX failed" in [record.message for record in caplog.records]


def test_only_the_chosen_samples_are_drawn_and_unknown_ones_refused(tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER), generation("two", PROMPT, ANSWER)])
    assert rendered(tmp_path, files, ["two"]) == {"ok": 1}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two"]
    with pytest.raises(InputError, match="not in the manifest"):
        rendered(tmp_path, files, ["three"])


def test_the_method_that_is_named_is_drawn(tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])
    shown = {}
    for method in ("tam", "activation"):
        render(**files | {"method": method}, samples=None, out=tmp_path / method)
        shown[method] = cv2.imread(str(tmp_path / method / "one/004_A.png"))
    assert (shown["tam"] != shown["activation"]).any()
    with pytest.raises(InputError, match="no maps of this method; got eci; expected activation or tam"):
        render(**files | {"method": "eci"}, samples=None, out=tmp_path / "eci")


def test_maps_of_another_generation_are_refused(tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])
    write_generations(tmp_path / "g.h5", {0: generation("one", PROMPT, ANSWER)}, {}, "another")
    with pytest.raises(SchemaError, match="maps of another generation"):
        rendered(tmp_path, files)


def test_a_manifest_with_another_sample_in_the_row_is_refused(tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER), generation("two", PROMPT, ANSWER)])
    manifest.write([sample("two", ["a.png"])], tmp_path / "manifest.jsonl")
    with pytest.raises(InputError, match="sample 1: sample is not in the manifest; got 'one'"):
        rendered(tmp_path, files)


def test_a_token_that_is_not_explained_has_its_picture_without_a_map_and_grey_text(tmp_path, without_tex):
    made = generation("one", PROMPT, ANSWER)
    maps, picture_ = scored.maps_of(scores_of(made, silent=2)), Image.new("RGB", (40, 30), (90, 140, 60))
    media = Media(False, (picture_,), (0,))
    prepared = prepare(made, maps, media, Look())
    plain = prepared.overlays.media()
    assert np.array_equal(prepared.overlays.picture(1), plain) and not np.array_equal(
        prepared.overlays.picture(2), plain
    )
    assert (prepared.pages[1].colors[0] == LATER).all() and not (prepared.pages[2].colors[0] == LATER).all()
    draw(made, maps, media, tmp_path / "out", {"kind": "sample"}, None, Look())
    said, other = (cv2.imread(str(tmp_path / "out" / name)) for name in ("001_is.png", "002_it.png"))
    assert said.shape[0] == other.shape[0] + CAPTION


OF_DISK = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO]


@pytest.mark.parametrize(
    ("place", "number"),
    [*(("open_shown", number) for number in OF_DISK), *(("write", number) for number in (*OF_DISK, errno.EACCES))],
)
def test_an_error_of_the_disk_is_no_samples_failure(tmp_path, without_tex, monkeypatch, place, number):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])

    def fail(*_):
        raise OSError(number, "of the disk")

    monkeypatch.setattr(stage, place, fail)
    with pytest.raises(OSError, match="of the disk"):
        rendered(tmp_path, files)


def test_a_full_disk_ends_the_stage_and_is_said(small_disk, tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 100_000))
    with pytest.raises(DiskError, match="disk full; cure: make room"):
        render(**files, samples=None, out=small_disk / "out")
    assert not any((small_disk / "out").iterdir())


def test_media_that_cannot_be_read_are_their_samples_failure(tmp_path, without_tex, monkeypatch):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])

    def fail(*_):
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr(stage, "open_shown", fail)
    assert rendered(tmp_path, files) == {"failed": 1}


def test_hostile_ids_and_words_stay_in_their_folder(tmp_path, without_tex):
    ids = ["../up", "a/b", "a_b", ".hidden", "x" * 300, "\n", "CON con"]
    made = [generation(id, [b"?"], [b"../../x", b"\x00", b" /", b"."]) for id in ids]
    assert rendered(tmp_path, run(tmp_path, made)) == {"ok": len(ids)}
    folders = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(folders) == len(ids) and not any(name.startswith(".") for name in folders)
    names = {path.name for path in (tmp_path / "out" / safe_id("../up")).iterdir()}
    assert names == {
        FILE,
        "000_question_mark.png",
        "001_x.png",
        "002_token.png",
        "003_solidus.png",
        "004_full_stop.png",
        "sheet.png",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "g.h5", "m.h5", "manifest.jsonl", "out"]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (" Dog's", "Dogs"), ("ﬁ", "fi"), (" ", "space"), ("\n\n", "newline"), ("$", "dollar_sign"), ("नमस्ते", "नमस्ते"),
        ("\udce4", "token"), ("中" * 30, "中" * 13),
    ],
)  # fmt: skip
def test_safe_words(word, name):
    assert safe_word(word) == name


def test_plain_ids_stay_as_they_are():
    assert safe_id("COCO_val2014_000000000042.jpg") == "COCO_val2014_000000000042.jpg"


def test_letters_that_no_file_may_have_here_are_named(monkeypatch):
    monkeypatch.setattr("os.fsencode", lambda name: name.encode("latin-1"))  # as in such a locale
    assert [safe_word(text) for text in (" Bär", "中文", "a中")] == [
        "Bär",
        "cjk_unified_ideograph_4e2d",
        "latin_small_letter_a",
    ]


def test_an_earlier_folder_is_replaced_as_a_whole(tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])
    rendered(tmp_path, files)
    (tmp_path / "out/one/old.png").touch()
    rendered(tmp_path, files)
    assert sorted(path.name for path in (tmp_path / "out/one").iterdir()) == [FILE, *NAMES]


@pytest.mark.parametrize("other", ["picture", "model", "method"])
def test_a_sample_of_another_dataset_model_or_method_is_not_replaced(tmp_path, other, without_tex):
    made = [generation("one", PROMPT, ANSWER)]
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first, second = run(tmp_path / "1", made), run(tmp_path / "1", made)
    if other == "picture":
        second = run(tmp_path / "2", made)
        Image.new("RGB", Image.open(tmp_path / "2/a.png").size, "red").save(tmp_path / "2/a.png")
    elif other == "model":
        second["generation"] = [tmp_path / "2/g.h5"]
        write_generations(tmp_path / "2/g.h5", {0: made[0]}, {"weights": "another"}, "f")
    else:
        second["method"] = "activation"
    render(**first, samples=None, out=tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out/one").iterdir()}
    with pytest.raises(DiskError, match="out/one: another result lies there; got another sample"):
        render(**second, samples=None, out=tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/one").iterdir()} == before
    assert render(**first, samples=None, out=tmp_path / "out") == {"ok": 1}


def test_a_folder_in_the_place_of_a_sample_that_is_not_ours_stops_all_before_anything_is_drawn(tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER), generation("two", PROMPT, ANSWER)])
    (tmp_path / "out/two").mkdir(parents=True)
    (tmp_path / "out/two/mine.txt").write_text("mine")
    with pytest.raises(DiskError, match="out/two: only a result of ours is replaced"):
        rendered(tmp_path, files)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["mine.txt", "two"]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])
    rendered(tmp_path, files)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out/one").iterdir()}
    rendered(tmp_path, files)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out/one").iterdir()}


def test_one_explanation_in_memory(tmp_path, without_tex):
    grids = (Grid(0, (0,), 3, 4, (0, 0, 40, 30)), Grid(1, (0,), 2, 2, (0, 0, 20, 20)))
    made = generation("two pictures", PROMPT, ANSWER, grids, ((40, 30), (20, 20)))
    media = [str(picture(tmp_path / "a.png")), str(picture(tmp_path / "b.png", (20, 20)))]
    shown = open_media(sample("two pictures", media), tmp_path)
    folder = drawn(made, shown, tmp_path)
    assert (folder / "sheet.png").is_file() and len(list(folder.iterdir())) == 1 + len(NAMES)


def test_a_video_is_drawn_as_a_strip_of_frames(tmp_path, without_tex):
    grids = tuple(Grid(0, (2 * i, 2 * i + 1), 3, 4, (0, 0, 40, 30)) for i in range(3))
    frames = [str(picture(tmp_path / f"{i}.png")) for i in range(6)]
    media = open_media(sample("clip", frames, "video"), tmp_path)
    made = generation("clip", PROMPT, ANSWER, grids)
    folder = drawn(made, media, tmp_path)
    shown = cv2.imread(str(folder / "004_A.png"))
    assert shown.shape[1] == 3 * 260 + 2 * 6 + SCALE  # two rows of three
    assert (np.ptp(shown[100, 260:266], axis=0) == 0).all()  # the white gap


def test_each_token_of_an_answer_about_a_video_is_also_animated(tmp_path, without_tex):
    """All frames, endlessly; nothing says how long a frame lasts, so each is half a second."""
    grids = tuple(Grid(0, (2 * i, 2 * i + 1), 3, 4, (0, 0, 40, 30)) for i in range(3))
    frames = [str(picture(tmp_path / f"{i}.png", color=(40 * i, 20, 50))) for i in range(6)]
    made = generation("clip", PROMPT, ANSWER, grids)
    media = open_media(sample("clip", frames, "video"), tmp_path)
    folder = drawn(made, media, tmp_path)
    assert sorted(path.stem for path in folder.glob("*.webp")) == [name[:-4] for name in NAMES[4:-1]]
    with Image.open(folder / "004_A.webp") as moving:
        assert (moving.n_frames, moving.info["loop"]) == (6, 0)
        moving.load()
        assert moving.info["duration"] == UNKNOWN
        assert moving.size == (500 + SCALE, 375 + CAPTION)


def test_a_long_video_is_thinned_evenly(tmp_path, without_tex):
    grids = tuple(Grid(0, (i,), 3, 4, (0, 0, 40, 30)) for i in range(60))
    frames = [str(picture(tmp_path / f"{i}.png")) for i in range(60)]
    made = generation("clip", [b"?"], [b"A"], grids)
    media = open_media(sample("clip", frames, "video"), tmp_path)
    folder = drawn(made, media, tmp_path)
    strip = cv2.imread(str(folder / "001_A.png"))
    assert strip.shape[1] == 4 * 260 + 3 * 6 + SCALE and strip.shape[0] < 4 * 201 + 200
    with Image.open(folder / "001_A.webp") as moving:
        assert moving.n_frames <= MOVING


@pytest.mark.parametrize("colormap", ["viridis", "magma", "cividis"])
def test_map_text_and_scale_take_the_colours_that_are_asked_for(tmp_path, without_tex, colormap):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])
    render(**files, samples=None, out=tmp_path / "out", look=Look(colormap))
    shown = cv2.imread(str(tmp_path / "out/one/006_ccoli.png"))[..., ::-1]
    assert shown[0, 515].tolist() == table(colormap)[255].tolist()
    assert shown[374, 515].tolist() == table(colormap)[0].tolist()
    rendered(tmp_path, files)
    assert (cv2.imread(str(tmp_path / "out/one/006_ccoli.png"))[:375, :500, ::-1] != shown[:375, :500]).any()


def test_an_unknown_colour_map_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown colour map"):
        render(**run(tmp_path, []), samples=None, out=tmp_path / "out", look=Look("hsv"))


def test_objects_of_the_mask_are_outlined_where_that_is_asked_for(tmp_path, without_tex):
    files = run(tmp_path, [generation("one", PROMPT, ANSWER)])
    mask = np.zeros((30, 40), np.uint8)
    mask[10:20, 10:30] = 7
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    manifest.write([sample("one", ["a.png"], mask="mask.png", categories={"x": 7})], tmp_path / "manifest.jsonl")
    shown = []
    for name, look in (("plain", Look()), ("outlined", Look(outline=True))):
        render(**files, samples=None, out=tmp_path / name, look=look)
        shown.append(cv2.imread(str(tmp_path / name / "one/004_A.png")))
    plain, outlined = shown
    changed = np.argwhere((plain != outlined).any(axis=2))
    assert np.abs(changed.min(0) - [125, 125]).max() <= 4 and np.abs(changed.max(0) - [250, 375]).max() <= 4
    assert outlined[125, 250].min() > 200
    assert (plain[140:235, 140:360] == outlined[140:235, 140:360]).all()


@needs_tex
def test_a_page_that_tex_refuses_is_drawn_by_pillow_and_the_others_of_its_sample_by_tex(tmp_path, monkeypatch, caplog):
    document = xelatex.document
    bad = generation("bad", PROMPT, ANSWER)

    def refuse(samples):
        if any(page.foot and page.current == 6 for pages in samples for page in pages):
            raise RenderError("XeLaTeX failed")
        return document(samples)

    monkeypatch.setattr(xelatex, "document", refuse)
    assert rendered(tmp_path, run(tmp_path, [bad])) == {"ok, text by Pillow": 1}
    assert len(pypdfium2.PdfDocument(tmp_path / "out/bad/tokens.pdf")) == len(PROMPT + ANSWER) - 1
    assert sorted(path.name for path in (tmp_path / "out/bad").iterdir()) == [FILE, *NAMES, "tokens.pdf"]
    assert "'bad': text of 1 of 11 pages by Pillow: XeLaTeX failed" in [record.message for record in caplog.records]


def test_maps_of_another_number_of_tokens_are_refused(tmp_path):
    made = generation("one", PROMPT, ANSWER)
    maps = maps_of(generation("one", PROMPT, ANSWER[:3]))
    shown = open_media(sample("one", [str(picture(tmp_path / "a.png"))]), tmp_path)
    with pytest.raises(RenderError, match="maps and tokens differ"):
        draw(made, maps, shown, tmp_path / "out", {"kind": "sample"}, None, Look())
