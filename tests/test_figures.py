"""Figures of a run: what they choose, that they are the same each time, and that odd words do not break them."""

import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tam import figures, manifest
from tam.cache import write_generations
from tam.errors import InputError
from tam.figures import data
from tam.layout import Grid
from tam.maps import write_maps
from tam.methods.registry import rank
from tam.metrics import write_metrics
from tam.protocol import FIXED
from tests.answers import END, generation, picture, sample

METHODS = ("activation", "tam")
WORDS = ((0, "A", -2), (1, "dog", 2), (2, "$x_1$", 3), (3, "中国", -1))
ANSWER = [b"A", b" dog", b" $x_1$", " 中国".encode(), END]
COLUMNS = ("sample", "token", "word", "label", "metric", "value", "status")
KINDS = (".pdf", ".png", ".svg")


def rows(sample_id: str, score: float) -> list[dict]:
    def row(token, word, label, metric, value, status="ok"):
        values = (sample_id, token, word, label, metric, value, status)
        return dict(zip(COLUMNS, values, strict=True))

    made = [row(-1, "A dog", 0, "answer", 5.0)]
    for token, word, label in WORDS:
        if label > 0:
            made += [row(token, word, label, metric, score / token) for metric in ("obj_iou", "precision", "recall")]
        elif label == -2:
            made.append(row(token, word, label, "func_iou", 0.9))
        else:
            made.append(row(token, word, label, "obj_iou", np.nan, "no category"))
    return made


@pytest.fixture
def run(tmp_path) -> Path:
    """Two samples in two shards, two methods; the second sample scores lower."""
    picture(tmp_path / "a.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 5:20], mask[20:28, 20:38] = 2, 3
    Image.fromarray(mask).save(tmp_path / "mask.png")
    ids = ("high", "low$id$")
    samples = [sample(id, ["a.png"], mask="mask.png", categories={"dog": 2, "x": 3}) for id in ids]
    manifest.write(samples, tmp_path / "manifest.jsonl")
    for row, (id, score) in enumerate(zip(ids, (0.8, 0.2), strict=True)):
        shard = f"{row}-of-2"
        (tmp_path / "generate").mkdir(exist_ok=True)
        write_generations(
            tmp_path / f"generate/{shard}.h5", {row: generation(id, [b"What", b"?"], ANSWER)}, {}, str(row)
        )
        for method in METHODS:
            write_maps(tmp_path / f"generate/{shard}.h5", tmp_path / f"maps/{method}/{shard}.h5", method, FIXED)
            (tmp_path / "metrics" / method).mkdir(parents=True, exist_ok=True)
            better = score + 0.1 * (method == "tam")
            pd.DataFrame(rows(id, better)).to_parquet(tmp_path / f"metrics/{method}/{shard}.parquet")
    return tmp_path


def test_all_figures_in_three_formats_and_the_same_bytes_each_time(run):
    written = figures.write_figures(run, run / "manifest.jsonl", run / "figures")
    assert sorted(path.name for path in written) == sorted(
        name + kind for name in ("correlation", "failures", "methods", "scores", "tokens") for kind in KINDS
    )
    first = {path: path.read_bytes() for path in written}
    figures.write_figures(run, run / "manifest.jsonl", run / "figures")
    assert first == {path: path.read_bytes() for path in written}
    assert not any(b"CreationDate" in data or b"<dc:date>" in data for data in first.values())


def test_no_text_is_cut_off_at_the_edge(run):
    figures.write_figures(run, run / "manifest.jsonl", run / "figures")
    for path in (run / "figures").glob("*.png"):
        pixels = matplotlib.image.imread(path)[..., :3]
        edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
        assert all((edge == 1).all() for edge in edges), path.name


def test_samples_of_the_lowest_mean_come_first_with_their_lowest_word():
    words = data.scored_words(pd.DataFrame(rows("a", 0.6) + rows("b", 0.2)))
    found = data.lowest(words)
    assert found["sample"].tolist() == ["b", "a"] and found.word.tolist() == ["$x_1$"] * 2
    assert found["mean"].tolist() == pytest.approx([0.15, 0.45]) and found.value.tolist() == pytest.approx([0.1, 0.3])


def test_nouns_of_a_category_are_chosen_first_then_other_nouns_then_function_words():
    chosen = data.chosen_words(pd.DataFrame(rows("a", 0.5)), 4)
    assert chosen.word.tolist() == ["dog", "$x_1$", "中国", "A"]
    assert data.chosen_words(pd.DataFrame(rows("a", 0.5)), 2).word.tolist() == ["dog", "$x_1$"]


def test_the_example_is_the_sample_with_the_most_nouns_whatever_its_score():
    table = pd.DataFrame(rows("good", 0.9)[:2] + rows("rich", 0.1) + rows("also rich", 0.9))
    samples = {id: sample(id, []) for id in ("good", "rich", "also rich")}
    assert data.example(table, samples) == "rich"


def test_correlations_are_pearsons_and_a_flat_map_has_none():
    found = data.correlations(np.array([[0, 1, 2, 3], [0, 2, 4, 6], [3, 2, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]]))
    assert found[0, :3].tolist() == pytest.approx([1, 1, -1]) and found[0, 4] == pytest.approx(0)
    assert np.isnan(found[3]).all() and np.isnan(found[:, 3]).all()


def test_tam_is_the_main_method_wherever_it_stands():
    assert data.main_method(["activation", "tam", "random"]) == "tam"
    assert (data.main_method(["activation", "eci"]), data.main_method([])) == ("eci", "")


def test_a_video_and_several_pictures_have_a_figure_with_a_column_each(tmp_path):
    for number in range(4):
        picture(tmp_path / f"{number}.png", color=(60 * number, 90, 120))
    names = [f"{number}.png" for number in range(4)]
    samples = [sample("film", names, "video"), sample("pair", names[:2]), sample("gone", ["no.png"], "video")]
    manifest.write(samples, tmp_path / "manifest.jsonl")
    film = tuple(Grid(0, (2 * i, 2 * i + 1), 3, 4, (0, 0, 40, 30)) for i in range(2))
    pair = tuple(Grid(i, (0,), 3, 4, (0, 0, 40, 30)) for i in range(2))
    made = [generation("film", [b"What"], ANSWER, film), generation("pair", [b"What"], ANSWER, pair, ((40, 30),) * 2)]
    answers = tmp_path / "generate/0-of-1.h5"
    write_generations(answers, dict(enumerate(made)), {}, "x")
    write_maps(answers, tmp_path / "maps/tam/0-of-1.h5", "tam", FIXED)
    write_metrics(
        answers, tmp_path / "maps/tam/0-of-1.h5", tmp_path / "manifest.jsonl",
        tmp_path / "metrics/tam/0-of-1.parquet", FIXED,
    )  # fmt: skip
    written = figures.write_figures(tmp_path, tmp_path / "manifest.jsonl", tmp_path / "figures")
    names = {path.stem for path in written}
    assert {"video", "images", "correlation"} <= names
    text = (tmp_path / "figures/video.svg").read_text()
    assert "frame 0" in text and "frame 2" in text and "frame 1" not in text


def test_models_are_compared_on_a_sample_that_all_name_alike(run, caplog):
    other = run.parent / "other"
    shutil.copytree(run, other)
    written = figures.write_comparison([run, other], run / "manifest.jsonl", run / "comparison")
    assert sorted(path.name for path in written) == ["models.pdf", "models.png", "models.svg"]
    first = [path.read_bytes() for path in written]
    again = figures.write_comparison([run, other], run / "manifest.jsonl", run / "comparison")
    assert [path.read_bytes() for path in again] == first
    text = (run / "comparison/models.svg").read_text()
    assert all(name in text for name in (run.name, "other", "dog"))
    shutil.rmtree(other / "maps")
    assert figures.write_comparison([run, other], run / "manifest.jsonl", run / "comparison") == []
    assert "no sample has maps from all models" in caplog.text


def test_methods_stand_in_the_order_of_the_ablation():
    assert sorted(["tam", "zz", "rgf", "activation", "eci", "aa"], key=rank) == [
        "activation", "eci", "rgf", "tam", "aa", "zz",
    ]  # fmt: skip


def test_without_scored_words_the_rest_is_still_drawn_and_it_is_said(run, caplog):
    for path in (run / "metrics").rglob("*.parquet"):
        table = pd.read_parquet(path)
        table[table.token < 0].to_parquet(path)
    figures.write_figures(run, run / "manifest.jsonl", run / "figures")
    assert "no figure 'scores': there is no scored word for it" in [record.message for record in caplog.records]


def test_a_run_without_metrics_is_an_error(tmp_path):
    manifest.write([], tmp_path / "manifest.jsonl")
    with pytest.raises(InputError, match="no metrics"):
        figures.write_figures(tmp_path, tmp_path / "manifest.jsonl", tmp_path / "figures")
