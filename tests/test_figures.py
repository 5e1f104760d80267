"""Figures of a run: what they choose, that they are the same each time, and that odd words do not break them."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends import backend_pdf
from PIL import Image

from tam import manifest
from tam.cache import read_generations, read_header, write_generations
from tam.errors import DiskError, InputError, SchemaError
from tam.figures import data, drawing
from tam.figures.canvas import Canvas, Room
from tam.figures.files import save, save_svg
from tam.figures.stage import write_comparison, write_figures
from tam.layout import Grid
from tam.methods.registry import METHODS
from tam.methods.rivals import RIVALS
from tam.methods.stage import write_maps
from tam.protocol import FIXED
from tam.records import Generation
from tam.rows import SCHEMA, Row, RowsHeader, opened, written
from tam.run import RunFiles, main_method, runs_of, titles
from tam.scores import SampleScores, ScoresHeader, write_scores
from tests.answers import END, generation, picture, sample
from tests.test_maps import scores_of

TITLES = {"activation": "CAM (raw activation)", "tam": "TAM"}
WORDS = ((0, "A", -2), (1, "dog", 2), (2, "$x_1$", 3), (3, "中国", -1))
ANSWER = [b"A", b" dog", b" $x_1$", " 中国".encode(), END]
KINDS = (".pdf", ".png", ".svg")


def rows(sample_id: str, method: str, score: float) -> list[tuple]:
    """(sample, method, *Row), as in a metrics file."""
    made = [(sample_id, "", *Row(-1, "A dog", 0, "answer", 5.0))]
    for token, word, label in WORDS:
        if label > 0:
            scored = [Row(token, word, label, metric, score / token) for metric in ("obj_iou", "precision", "recall")]
        elif label == -2:
            scored = [Row(token, word, label, "func_iou", 0.9)]
        else:
            scored = [Row(token, word, label, "obj_iou", np.nan, "no category")]
        made += [(sample_id, method, *row) for row in scored]
    return made


def table(*parts: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part], columns=SCHEMA.names)


def store_rows(path: Path, fingerprint: str, found: pd.DataFrame, titles=TITLES) -> None:
    """The metrics file of a shard with one sample."""
    with written(path, RowsHeader(fingerprint, 1, titles, "fixed", "none")) as writer:
        for (sample_id, method), part in found.groupby(["sample", "method"], sort=False):
            writer.add(sample_id, method, map(Row._make, part[[*Row._fields]].itertuples(index=False)))


def files_of(folder: Path, manifest_path: Path) -> RunFiles:
    kinds = {"generation": "generate", "maps": "maps", "metrics": "metrics"}
    files = {kind: sorted((folder / stage).iterdir()) for kind, stage in kinds.items()}
    return runs_of(manifests=[manifest_path], **files)[0]


@pytest.fixture
def run(tmp_path) -> RunFiles:
    """Two samples in two shards, two methods; the second sample scores lower."""
    data, results = tmp_path / "data/things", tmp_path / "results/things/tiny"
    picture(data / "a.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 5:20], mask[20:28, 20:38] = 2, 3
    Image.fromarray(mask).save(data / "mask.png")
    ids = ("high", "low$id$")
    samples = [sample(id, ["a.png"], mask="mask.png", categories={"dog": 2, "x": 3}) for id in ids]
    manifest.write(samples, data / "manifest.jsonl")
    for row, (id, score) in enumerate(zip(ids, (0.8, 0.2), strict=True)):
        answers = results / f"generate/{row}-of-2.h5"
        answers.parent.mkdir(parents=True, exist_ok=True)
        write_generations(answers, {row: generation(id, [b"What", b"?"], ANSWER, row=row)}, {}, str(row))
        write_maps(answers, results / f"maps/{row}-of-2.h5", [*TITLES], FIXED)
        found = table(rows(id, "activation", score), rows(id, "tam", score + 0.1)[1:])
        store_rows(results / f"metrics/{row}-of-2.parquet", str(row), found)
    return files_of(results, data / "manifest.jsonl")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "figures"


def test_all_figures_in_three_formats_and_the_same_bytes_each_time(run, out):
    made = write_figures(run, out)
    assert sorted(path.name for path in made) == sorted(
        name + kind for name in ("correlation", "failures", "methods", "scores", "tokens") for kind in KINDS
    )
    first = {path: path.read_bytes() for path in made}
    write_figures(run, out)
    assert first == {path: path.read_bytes() for path in made}
    assert not any(b"CreationDate" in data or b"<dc:date>" in data for data in first.values())


def test_what_saving_changes_of_other_libraries_is_put_back_when_threads_save(tmp_path):
    """The second would begin inside of the first, and end after it."""
    before, first_in, second_in, first_out = (Image.SAVE["PNG"], dict(matplotlib.rcParams)), Event(), Event(), Event()

    def put(file, format):
        if format == "png":
            Image.new("RGB", (1, 1)).save(file, "PNG")

    class First:
        def savefig(self, file, format=None, **_):
            first_in.set()
            second_in.wait(0.1)
            put(file, format)

    class Second:
        def savefig(self, file, format=None, **_):
            second_in.set()
            first_out.wait(5)
            put(file, format)

    with ThreadPoolExecutor(2) as threads:
        saved = threads.submit(save_svg, First(), tmp_path / "1.svg")
        first_in.wait(5)
        threads.submit(save_svg, Second(), tmp_path / "2.svg")
        saved.result()
        first_out.set()
    assert (Image.SAVE["PNG"], dict(matplotlib.rcParams)) == before


@pytest.mark.parametrize(
    ("name", "marks"),
    [("methods", ["IoU", "Outlined"]), ("failures", ["IoU", "Outlined"]), ("correlation", ["Hatched"]),
     ("scores", ["Dot", "Box", "Lines", "Diamond", "Orange"])],
)  # fmt: skip
def test_what_the_marks_of_a_figure_mean_stands_below_it(run, out, name, marks):
    write_figures(run, out)
    said = " ".join(re.findall("<!-- (.*?) -->", (out / f"{name}.svg").read_text(), re.DOTALL))
    assert all(f"{mark}: " in said for mark in marks)
    assert name != "methods" or not re.search(r"<!-- 0\.\d\d -->", (out / "methods.svg").read_text())


def test_pictures_keep_their_colours_and_no_process_wide_setting(run, out):
    """A palette is dithered, which is seen; and matplotlib's own writer of PDF is left as it is."""
    usual = backend_pdf.PdfFile._writeImg
    write_figures(run, out)
    assert Image.open(out / "methods.png").mode == "RGB" and backend_pdf.PdfFile._writeImg is usual


def test_no_text_is_cut_off_at_the_edge(run, out):
    write_figures(run, out)
    for path in out.glob("*.png"):
        pixels = matplotlib.image.imread(path)[..., :3]
        edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
        assert all((edge == 1).all() for edge in edges), path.name


def test_samples_of_the_lowest_mean_come_first_with_their_lowest_word():
    words = data.scored_words(table(rows("a", "tam", 0.6), rows("b", "tam", 0.2)), ["tam"])
    found = data.lowest(words)
    assert found["sample"].tolist() == ["b", "a"] and found.word.tolist() == ["$x_1$"] * 2
    assert found["mean"].tolist() == pytest.approx([0.15, 0.45]) and found.value.tolist() == pytest.approx([0.1, 0.3])


def test_nouns_of_a_category_are_chosen_first_then_other_nouns_then_function_words():
    chosen = data.chosen_words(table(rows("a", "tam", 0.5)), 4)
    assert chosen.word.tolist() == ["dog", "$x_1$", "中国", "A"]
    assert data.chosen_words(table(rows("a", "tam", 0.5)), 2).word.tolist() == ["dog", "$x_1$"]


def test_methods_are_compared_by_two_nouns_and_a_function_word_behind_them():
    words = [(0, "A", -2), (1, "dog", 2), (2, "and", -2), (3, "dog", 2), (4, "x", 3), (5, "of", -2), (6, "sky", -1)]

    def chosen(*tokens: int) -> list[int]:
        made = [("a", "tam", *Row(*words[token], "obj_iou", 0.5)) for token in tokens]
        return data.compared_words(table(made)).token.tolist()

    assert chosen(*range(7)) == [1, 4, 2], "of two categories"
    assert chosen(0, 1, 3) == [1, 3, 0] and chosen(0, 1, 6) == [1, 6, 0]
    assert chosen(1, 3, 4, 6) == [1, 3, 4] and chosen(0, 2) == [0, 2]


EXAMPLES = (("good", 0.9, 2), ("rich", 0.1, 99), ("also rich", 0.9, 99))


def test_the_example_is_the_sample_with_the_most_nouns_whatever_its_score():
    found = table(*(rows(id, "tam", score)[:many] for id, score, many in EXAMPLES))
    samples = {id: sample(id, []) for id in ("good", "rich", "also rich")}
    assert data.example(found, samples) == "rich"


def test_correlations_are_pearsons_and_a_flat_map_has_none():
    found = data.correlations(np.array([[0, 1, 2, 3], [0, 2, 4, 6], [3, 2, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]]))
    assert found[0, :3].tolist() == pytest.approx([1, 1, -1]) and found[0, 4] == pytest.approx(0)
    assert np.isnan(found[3]).all() and np.isnan(found[:, 3]).all()


def test_tam_is_the_main_method_wherever_it_stands():
    assert main_method(["activation", "tam", "random"]) == "tam"
    assert main_method(["activation", "eci"]) == "eci"


def test_a_video_and_several_pictures_have_a_figure_with_a_column_each(tmp_path, out):
    """Their words have no scores: the answer's rows alone say that there is one."""
    folder, results = tmp_path / "data/things", tmp_path / "results/things/tiny"
    for number in range(4):
        picture(folder / f"{number}.png", color=(60 * number, 90, 120))
    names = [f"{number}.png" for number in range(4)]
    samples = [sample("film", names, "video"), sample("pair", names[:2]), sample("gone", ["no.png"], "video")]
    manifest.write(samples, folder / "manifest.jsonl")
    film = tuple(Grid(0, (2 * i, 2 * i + 1), 3, 4, (0, 0, 40, 30)) for i in range(2))
    pair = tuple(Grid(i, (0,), 3, 4, (0, 0, 40, 30)) for i in range(2))
    made = [generation("film", [b"What"], ANSWER, film), generation("pair", [b"What"], ANSWER, pair, ((40, 30),) * 2)]
    answers = results / "generate/0-of-1.h5"
    answers.parent.mkdir(parents=True)
    write_generations(answers, dict(enumerate(made)), {}, "x")
    write_maps(answers, results / "maps/0-of-1.h5", ["tam"], FIXED)
    found = table(*(rows(one.id, "tam", 0.5)[:1] for one in made))
    store_rows(results / "metrics/0-of-1.parquet", "x", found, {"tam": "TAM"})
    made = write_figures(files_of(results, folder / "manifest.jsonl"), out)
    assert {"video", "images", "correlation"} <= {path.stem for path in made}
    text = (out / "video.svg").read_text()
    assert "frame 0" in text and "frame 2" in text and "frame 1" not in text


def test_a_folder_of_figures_is_replaced_as_a_whole_and_no_other(run, out):
    out.mkdir()
    (out / "tokens.png").write_bytes(b"mine")
    for write in (lambda: write_figures(run, out), lambda: write_comparison([run], out)):
        with pytest.raises(DiskError, match="figures: only a result of ours is replaced"):
            write()
    (out / "tokens.png").unlink()
    write_figures(run, out)
    (out / "video.png").touch()  # of an earlier run
    write_figures(run, out)
    assert (out / "tokens.png").exists() and not (out / "video.png").exists()


def test_a_full_disk_is_said_and_leaves_no_half_figures(run, small_disk):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 50_000))
    with pytest.raises(DiskError, match="disk full; cure: make room"):
        write_figures(run, small_disk / "figures")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_models_are_compared_on_a_sample_that_all_name_alike(run, out, caplog):
    (folder,) = {path.parents[1] for path in run.generation}
    shutil.copytree(folder, folder.with_name("other"))
    other = files_of(folder.with_name("other"), run.manifest)
    made = write_comparison([run, other], out)
    assert sorted(path.name for path in made) == ["models.pdf", "models.png", "models.svg"]
    first = [path.read_bytes() for path in made]
    assert [path.read_bytes() for path in write_comparison([run, other], out)] == first
    text = (out / "models.svg").read_text()
    assert all(name in text for name in ("tiny", "other", "dog"))
    for row, (answers, maps) in enumerate(zip(other.generation, other.maps, strict=True)):
        write_generations(
            answers, {row: Generation.failure(("high", "low$id$")[row], "What?", "lost", row)}, {}, str(row)
        )
        write_maps(answers, maps, [*TITLES], FIXED)
    assert write_comparison([run, other], out) == []
    assert "no sample has maps from all models" in caplog.text
    with pytest.raises(InputError, match="of one dataset"):
        write_comparison([run, replace(other, dataset="another")], out)


def test_many_methods_stand_in_bands_and_what_is_not_explained_or_failed_says_so(run, out):
    titles = {name: method.title for name, method in METHODS.items() if method.needs == "logits"} | {
        name: RIVALS[name].title for name in ("occlusion", "gae")
    }
    answer = next(read_generations(run.generation[0]))
    scores = {"occlusion": scores_of(answer, silent=answer.explained), "gae": "failed: out of memory"}
    header = read_header(run.generation[0])
    write_scores(
        out.with_name("scores.h5"), {0: SampleScores("high", "ok", scores)},
        ScoresHeader(header["fingerprint"], 1, {name: {} for name in scores}, {}),
    )  # fmt: skip
    write_maps(run.generation[0], run.maps[0], [*titles], FIXED, scores_path=out.with_name("scores.h5"))
    store_rows(run.metrics[0], "0", table(rows("high", "tam", 0.8)), titles)
    one = replace(run, generation=run.generation[:1], maps=run.maps[:1], metrics=run.metrics[:1])
    write_figures(one, out)
    text = (out / "methods.svg").read_text()
    assert text.count("picture -->") == 4 and text.count("not explained -->") == text.count("failed -->") == 3
    assert all(f"<!-- {title} -->" in text for title in ("TAM", "Occlusion", "GAE (Chefer)"))
    width, height = Image.open(out / "methods.png").size
    assert width < 2300 and height > width


def test_a_named_word_without_a_score_is_not_scored_and_only_what_is_not_named_is_not_named(run, out, tmp_path):
    (folder,) = {path.parents[1] for path in run.generation}
    for name, kept in (("unscored", lambda found: found.token < 0), ("silent", lambda found: found.label != 2)):
        shutil.copytree(folder, folder.with_name(name))
        for path in (folder.with_name(name) / "metrics").iterdir():
            with opened(path) as (about, file):
                found = file.read().to_pandas()
            store_rows(path, about.fingerprint, found[kept(found)])
    unscored, silent = (files_of(folder.with_name(name), run.manifest) for name in ("unscored", "silent"))
    write_comparison([run, unscored], out)
    text = (out / "models.svg").read_text()
    assert text.count("<!-- not scored -->") == 1 and text.count("<!-- not named -->") == 1  # dog, and x, which is not
    assert text.count("<!-- IoU 0.") == 2
    write_comparison([run, silent], out)
    assert (out / "models.svg").read_text().count("<!-- not named -->") == 1


def test_a_long_answer_goes_on_in_lines_that_fit_and_a_very_long_one_is_cut():
    lines = drawing._wrapped("word " * 300, 5)
    assert len(lines) == drawing.LINES and lines[0].startswith("“word") and lines[-1].endswith(" …")
    assert max(map(len, lines)) <= 70 and drawing._wrapped("Short.", 5) == ["“Short.”"]


def test_pictures_in_rows_are_as_high_as_their_row_and_fill_its_width():
    room = Room(0, 0, 0, 0, gap=0.1, between=0.1)
    canvas, places = Canvas.in_rows([[(100, 200), (100, 100)], [(50, 310)]], 3.1, room)
    assert [(round(place.width, 2), round(place.height, 2)) for place in places] == [
        (1.99, 0.99),
        (0.99, 0.99),
        (3.09, 0.5),
    ]
    assert [(round(place.left, 2), round(place.bottom, 2)) for place in places] == [
        (0.01, 0.61),
        (2.1, 0.61),
        (0.01, 0.01),
    ]
    assert canvas.figure.get_size_inches() == pytest.approx((3.1, 1.6), abs=0.02)


def test_a_run_of_many_methods_and_words_has_figures_of_at_most_five_megabytes(tmp_path):
    """Photographs are JPEG inside vectors, matrices one picture, many dots one layer; text stays text."""
    random = np.random.default_rng(0)
    blurred = Image.fromarray((random.random((12, 16, 3)) * 255).astype(np.uint8)).resize((320, 240), Image.BICUBIC)
    photo = random.normal(blurred, 4).clip(0, 255).astype(np.uint8)
    canvas, places = Canvas.of(photo.shape, 4, 26, 45, Room(left=1, top=0.3, right=0.4))
    for place in places.ravel():
        canvas.show(place, photo)
    canvas.title(places[0, 0], "picture")
    pdf, svg, png = save(canvas.figure, tmp_path / "methods")
    words = pd.DataFrame(
        [
            (m, metric, value, i)
            for m in range(25)
            for metric in data.METRICS
            for i, value in enumerate(random.random(200))
        ],
        columns=["method", "metric", "value", "token"],
    )
    scores = save(
        drawing.distributions(words, {m: f"Method {m}" for m in range(25)}, 0), tmp_path / "scores", drawing.CLOUD
    )
    assert b"/DCTDecode" in pdf.read_bytes() and b"/Font" in pdf.read_bytes()
    assert "data:image/jpeg;base64," in svg.read_text() and "<!-- picture -->" in svg.read_text()
    assert sum(path.stat().st_size for path in (pdf, svg, png, *scores)) < 4_500_000


def test_methods_and_their_order_are_those_of_the_files_or_those_that_are_wanted(run):
    assert titles(run) == TITLES and [*titles(run, ["tam", "activation"])] == ["tam", "activation"]
    with pytest.raises(InputError, match="things, tiny: no such method; got eci; expected activation or tam; cure"):
        titles(run, ["tam", "eci"])


def test_files_of_a_run_that_do_not_belong_together_are_refused(run):
    with pytest.raises(InputError, match="got 2 generation, 1 maps and 2 metrics files"):
        titles(replace(run, maps=run.maps[:1]))
    with pytest.raises(SchemaError, match="metrics of another generation"):
        titles(replace(run, metrics=run.metrics[::-1]))
    store_rows(run.metrics[1], "1", table(rows("low$id$", "tam", 0.2)), {"tam": "TAM"})
    with pytest.raises(InputError, match="metrics made in different ways"):
        titles(run)


def test_without_scored_words_the_rest_is_still_drawn_and_it_is_said(run, out, caplog):
    for row, path in enumerate(run.metrics):
        with opened(path) as (_, file):
            found = file.read().to_pandas()
        store_rows(path, str(row), found[found.token < 0])
    write_figures(run, out)
    assert "no figure 'scores': there is no scored word for it" in [record.message for record in caplog.records]


def test_a_picture_that_is_gone_costs_its_own_figures_and_is_said(run, out, caplog):
    (run.samples_file.parent / "a.png").unlink()
    assert {path.stem for path in write_figures(run, out)} == {"scores"}
    assert "'high': not drawn: " in caplog.text and "a.png: no such picture" in caplog.text
