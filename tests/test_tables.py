"""Tables: pooled means, intervals over images, counts of everything that was not scored."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam.errors import InputError, SchemaError
from tam.metrics.stage import SCHEMA
from tam.tables import statistics
from tam.tables.ablation import write_tables
from tam.tables.summary import METRICS, Run, difference, find_runs, summarise

HOW = {"protocol": "fixed", "method": "tam", "tagger": "a fake tagger"}


def _file(path, samples, how=HOW):
    """``samples``: id -> (status, [(metric, value or status), ...])."""
    rows = []
    for id, (status, values) in samples.items():
        rows.append((id, -1, f"answer of {id}", 0, "answer", 3.0, status))
        for metric, value in values:
            ok = not isinstance(value, str)
            rows.append((id, 0, "w", 1, metric, value if ok else np.nan, "ok" if ok else value))
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, schema=SCHEMA.with_metadata({"tam": json.dumps(how)})), path)
    return path


A = (
    "ok",
    [
        ("obj_iou", 0.1),
        ("obj_iou", 0.3),
        ("func_iou", 0.5),
        ("rouge_l", 0.2),
        ("obj_iou", "not in image"),
        ("recall", "not in image"),
    ],
)
B = ("truncated", [("obj_iou", 0.8), ("obj_iou", "merged"), ("rouge_l", 0.4), ("meteor", "unavailable: no WordNet")])
C = ("failed: no picture", [])


def _folder(tmp_path, model="m", methods=("tam", "activation"), samples=None):
    for method in methods:
        folder = tmp_path / "results" / "d" / model / "metrics" / method
        _file(folder / "0-of-2.parquet", samples or {"a": A, "b": B})
        _file(folder / "1-of-2.parquet", {"c": C})
    return tmp_path / "results" / "d" / model / "metrics"


def test_means_are_over_words_not_over_images(tmp_path):
    summary = summarise(Run("d", "m", "tam", [_file(tmp_path / "x.parquet", {"a": A, "b": B})]))
    found = dict(zip(METRICS, summary.means, strict=True))
    assert found["obj_iou"] == pytest.approx(1.2 / 3)
    assert found["func_iou"] == 0.5
    assert found["f1_iou"] == pytest.approx(2 * 0.4 * 0.5 / 0.9)
    assert found["rouge_l"] == pytest.approx(0.3)
    assert np.isnan(found["meteor"])
    assert summary.values["obj_iou"] == 3


def test_the_papers_table_has_its_names_order_and_percentages(tmp_path):
    write_tables(_folder(tmp_path), tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "ablation.csv")
    assert table.name.tolist() == ["CAM (raw activation)", "TAM"]
    assert table.obj_iou.tolist() == [40.0, 40.0] and table.f1_iou.tolist() == [44.44, 44.44]
    assert table.images.tolist() == [3, 3] and table.obj_iou_n.tolist() == [3, 3]
    text = (tmp_path / "out" / "ablation.md").read_text()
    assert "| TAM " in text and "44.44" in text
    for note in (
        "images 3 (1 ok, 1 failed, 1 truncated)",
        "Obj-IoU 3 (1 merged, 1 not in image);",
        "Recall 0 (1 not in image);",
        "METEOR 0 (1 unavailable)",
        "protocol fixed; a fake tagger",
    ):
        assert note in text


def test_intervals_are_in_csv_and_markdown(tmp_path):
    write_tables(_folder(tmp_path), tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "ablation.csv")
    assert (table.obj_iou_low < table.obj_iou).all() and (table.obj_iou < table.obj_iou_high).all()
    assert "40.00 [20.00, 80.00]" in (tmp_path / "out" / "ablation.md").read_text()
    assert (
        table[["func_iou_low", "f1_iou_low"]].isna().all(axis=None)
    )  # function words of a single image have no spread


def test_the_tidy_tables_hold_the_same_numbers(tmp_path):
    write_tables(_folder(tmp_path), tmp_path / "out")
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").set_index(["method", "metric"])
    assert summary.loc[("tam", "obj_iou"), "mean"] == pytest.approx(0.4)
    assert summary.loc[("tam", "obj_iou"), "values"] == 3
    assert len(summary) == 2 * len(METRICS)
    statuses = pd.read_csv(tmp_path / "out" / "statuses.csv").set_index(["method", "metric", "status"])["count"]
    assert statuses["tam", "answer", "failed"] == 1
    assert statuses["tam", "obj_iou", "ok"] == 3


def test_every_sample_is_listed_with_its_own_means(tmp_path):
    write_tables(_folder(tmp_path, methods=["tam"]), tmp_path / "out")
    samples = pd.read_csv(tmp_path / "out" / "samples.csv").set_index("sample")
    assert samples.status.tolist() == ["ok", "truncated", "failed: no picture"]
    assert samples.loc["a", "answer"] == "answer of a"
    assert samples.loc["a", "f1_iou"] == pytest.approx(2 * 0.2 * 0.5 / 0.7)
    assert samples.loc["b", "obj_iou"] == 0.8 and np.isnan(samples.loc["b", "f1_iou"])
    assert samples.objects.tolist() == [2, 1, 0]


def test_runs_are_found_by_their_folders(tmp_path):
    metrics = _folder(tmp_path)
    for folder in (metrics, tmp_path / "results", tmp_path):
        runs = find_runs(folder)
        assert sorted(run[:3] for run in runs) == [("d", "m", "activation"), ("d", "m", "tam")]
        assert all(len(run.paths) == 2 for run in runs)


def test_a_published_nan_poisons_its_mean_only(tmp_path):
    path = _file(tmp_path / "x.parquet", {"a": ("ok", [("precision", np.nan), ("recall", 0.5)]), "b": A})
    summary = summarise(Run("d", "m", "tam", [path]))
    found = dict(zip(METRICS, summary.means, strict=True))
    assert np.isnan(found["precision"]) and found["recall"] == 0.5 and found["obj_iou"] == pytest.approx(0.2)


def test_files_that_do_not_fit_are_refused(tmp_path):
    first = _file(tmp_path / "1.parquet", {"a": A})
    with pytest.raises(InputError, match="occurs twice"):
        write_tables([Run("d", "m", "tam", [first, first])], tmp_path / "out")
    other = _file(tmp_path / "2.parquet", {"b": A}, how=HOW | {"protocol": "reference"})
    with pytest.raises(InputError, match="different ways"):
        write_tables([Run("d", "m", "tam", [first, other])], tmp_path / "out")
    (tmp_path / "3.parquet").write_text("no table")
    with pytest.raises(SchemaError, match="not a metrics table"):
        write_tables([Run("d", "m", "tam", [tmp_path / "3.parquet"])], tmp_path / "out")
    with pytest.raises(InputError, match="no metrics"):
        write_tables(tmp_path / "nowhere", tmp_path / "out")


def test_a_run_of_failures_only_gives_a_table_without_numbers(tmp_path):
    write_tables([Run("d", "m", "tam", [_file(tmp_path / "x.parquet", {"c": C})])], tmp_path / "out")
    assert "images 1 (1 failed)" in (tmp_path / "out" / "ablation.md").read_text()


@pytest.mark.skipif(shutil.which("xelatex") is None, reason="no xelatex")
def test_latex_compiles_with_every_special_character(tmp_path):
    path = _file(tmp_path / "x.parquet", {"a": A, "b": B}, how=HOW | {"tagger": "50 % of_it & more #1"})
    name = r"a_b %c#d$e&f{g}~h^i\j[k] <l>|é"
    write_tables(
        [
            Run(name, "Qwen/Qwen2_VL", "tam", [path]),
            Run("d", "m", "activation", [path]),
            Run("d", "m", "my_method", [path]),
        ],
        tmp_path / "out",
    )
    document = tmp_path / "document.tex"
    document.write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n\\input{out/ablation.tex}\\end{document}\n"
    )
    done = subprocess.run(
        ["xelatex", "-interaction=nonstopmode", "-halt-on-error", document.name],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_differences_are_paired(tmp_path):
    """What two methods share cancels out: a constant gap has no spread, though both means have."""
    gap = {f"{i}": ("ok", [("obj_iou", 0.1 * i + 0.05)]) for i in range(1, 8)}
    low = {id: (status, [(metric, value - 0.05) for metric, value in rows]) for id, (status, rows) in gap.items()}
    base = summarise(Run("d", "m", "tam", [_file(tmp_path / "1.parquet", gap)]))
    other = summarise(Run("d", "m", "eci", [_file(tmp_path / "2.parquet", low)]))
    found, place = difference(base, other), list(METRICS).index("obj_iou")
    assert found.means[place] == pytest.approx(0.05) and found.intervals[:, place] == pytest.approx([0.05, 0.05])
    assert np.diff(base.intervals[:, place]) > 0.1
    assert difference(other, base).means[place] == pytest.approx(-0.05)
    assert np.isnan(found.means[list(METRICS).index("func_iou")])


def test_differences_are_over_the_images_of_both(tmp_path):
    base = summarise(Run("d", "m", "tam", [_file(tmp_path / "1.parquet", {"a": A, "b": B})]))
    more = {"a": A, "b": B, "x": ("ok", [("obj_iou", 1.0)])}
    other = summarise(Run("d", "m", "eci", [_file(tmp_path / "2.parquet", more)]))
    for one in (difference(base, other), difference(other, base)):
        assert one.images == 2
        assert one.means[0] == 0 and (one.intervals[:, 0] == 0).all()


def test_differences_are_in_csv_and_markdown(tmp_path):
    better = ("ok", [("obj_iou", 0.9), ("obj_iou", 0.5), ("func_iou", 0.5)])
    metrics = _folder(tmp_path, methods=["activation"])
    _file(metrics / "tam" / "0-of-1.parquet", {"a": better, "b": B, "c": C})
    write_tables(metrics, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "differences.csv").set_index(["base", "method", "metric"])
    row = table.loc[("tam", "activation", "obj_iou")]
    assert (row.difference, row.images) == (33.33, 3)  # (0.9 + 0.5 + 0.8) / 3 minus (0.1 + 0.3 + 0.8) / 3
    assert row.low == 0 and row.high == 50  # b alone, a alone
    assert "+33.33 [+0.00, +50.00]" in (tmp_path / "out" / "ablation.md").read_text()
    assert "meteor" not in table.index.get_level_values("metric")


def test_without_tam_there_are_no_differences(tmp_path):
    write_tables(_folder(tmp_path, methods=["eci"]), tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "differences.csv").empty


def test_what_a_method_does_not_change_is_said_once(tmp_path):
    write_tables(_folder(tmp_path), tmp_path / "out")
    assert "| all methods | 30.00 [20.00, 40.00] |" in (tmp_path / "out" / "ablation.md").read_text()


def test_a_file_is_read_in_parts_without_changing_the_sums(tmp_path, monkeypatch):
    samples = {f"{i:02d}": ("ok", [("obj_iou", i / 40), ("obj_iou", "merged")] * 3) for i in range(40)}
    path = _file(tmp_path / "x.parquet", samples)
    whole = summarise(Run("d", "m", "tam", [path]))
    batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda file, **more: batches(file, batch_size=7, **more))
    parts = summarise(Run("d", "m", "tam", [path]))
    np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-12)
    assert (parts.counts == whole.counts).all() and parts.statuses == whole.statuses


def test_a_run_without_samples_is_refused(tmp_path):
    empty = pa.table({name: [] for name in SCHEMA.names}, schema=SCHEMA.with_metadata({"tam": json.dumps(HOW)}))
    pq.write_table(empty, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no samples"):
        write_tables([Run("d", "m", "tam", [tmp_path / "x.parquet"])], tmp_path / "out")


images = st.lists(
    st.tuples(st.integers(0, 5), st.floats(0, 1)).map(lambda pair: (pair[0], pair[0] * pair[1])),
    min_size=1,
    max_size=30,
)


@given(images)
def test_the_interval_holds_the_mean_and_stays_within_the_images_means(pairs):
    counts, sums = (np.array(column, float)[:, None] for column in zip(*pairs, strict=True))
    mean = statistics.pooled_means(sums, counts)[0]
    low, high = statistics.interval(statistics.bootstrap_means(sums, counts, resamples=500))[:, 0]
    if not counts.any():
        assert np.isnan([mean, low, high]).all()
        return
    own = sums[counts > 0] / counts[counts > 0]
    assert own.min() - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= own.max() + 1e-9


def test_the_bootstrap_is_seeded_and_draws_images():
    sums, counts = np.array([[0.0], [5.0]]), np.array([[1.0], [5.0]])
    first, second = (statistics.bootstrap_means(sums, counts, resamples=400) for _ in range(2))
    assert (first == second).all()
    assert set(first.ravel().round(6)) == {0.0, round(5 / 6, 6), 1.0}  # both images, or one of them twice
    assert (first != statistics.bootstrap_means(sums, counts, resamples=400, seed=1)).any()


def test_the_bootstrap_agrees_with_the_standard_error():
    values = np.random.default_rng(5).random((400, 1))
    spread = statistics.bootstrap_means(values, np.ones_like(values)).std()
    assert spread == pytest.approx(values.std() / 20, rel=0.1)


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_samples_does_not_matter(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    samples = {"a": A, "b": B, "c": ("ok", [("obj_iou", 0.9), ("func_iou", 0.1)])}
    one = summarise(Run("d", "m", "tam", [_file(folder / "1.parquet", samples)]))
    two = summarise(Run("d", "m", "tam", [_file(folder / "2.parquet", {id: samples[id] for id in order})]))
    np.testing.assert_allclose(one.means, two.means, rtol=1e-12)
    np.testing.assert_allclose(one.intervals, two.intervals, rtol=1e-12)


def test_the_harmonic_mean_is_the_papers_f1():
    assert round(100 * float(statistics.harmonic_mean(0.2737, 0.6844)), 2) == 39.10
    assert statistics.harmonic_mean(0.0, 0.0) == 0
    assert np.isnan(statistics.harmonic_mean(np.nan, 0.5))
