"""Tables: pooled means, intervals over images, counts of everything that was not scored."""

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam.errors import DiskError, InputError, SchemaError
from tam.metrics.catalogue import ANSWER, shown
from tam.rows import RowsHeader, missing, whole, written
from tam.run import RunFiles
from tam.tables import statistics, totals
from tam.tables.ablation import write_tables
from tam.tables.numbers import to_csv
from tam.tables.overview import write_overview
from tam.tables.summary import difference, summarise
from tam.words import Word

ROOT = Path(__file__).parents[1]
TITLES = {"activation": "CAM (raw activation)", "eci": "+ ECI", "random": "Random map", "tam": "TAM"}


def metrics_file(path, methods, *, protocol="fixed", tagger="a fake tagger", titles=TITLES):
    """``methods``: name -> sample -> (status, [(metric, value or status), ...]).

    What is about the answer is the first method's. A status "failed: why" of another is its own."""
    answers = next(iter(methods.values()))
    header = RowsHeader(str(path), len(answers), {name: titles.get(name, name) for name in methods}, protocol, tagger)
    with written(path, header) as writer:
        for id, (status, values) in answers.items():
            answer = whole("answer", 3.0)._replace(word=f"answer of {id}", status=status)
            writer.add(id, "", [answer, *(whole(metric, value) for metric, value in values if metric in ANSWER)])
            for name, samples in methods.items():
                writer.add(id, name, [_row(*pair) for pair in samples[id][1] if pair[0] not in ANSWER])
    return path


def _row(metric, value):
    word = Word("w", (0,), "NN", 1)
    return missing(word, metric, value) if isinstance(value, str) else whole(metric, value)._replace(token=0, word="w")


def run(*paths):
    return RunFiles("d", "m", None, (), (), tuple(paths))


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


@pytest.fixture
def shards(tmp_path):
    """Two shards of two methods with the same values."""
    folder = tmp_path / "results/d/m/metrics"
    parts = {"0-of-2": {"a": A, "b": B}, "1-of-2": {"c": C}}
    methods = ("tam", "activation")
    return [metrics_file(folder / f"{name}.parquet", dict.fromkeys(methods, part)) for name, part in parts.items()]


@pytest.fixture
def tables(shards, tmp_path):
    write_tables(run(*shards), tmp_path / "out")
    return tmp_path / "out"


def test_means_are_over_words_not_over_images(tmp_path):
    found = summarise(run(metrics_file(tmp_path / "x.parquet", {"tam": {"a": A, "b": B}}))).methods["tam"]
    assert found.means["obj_iou"] == pytest.approx(1.2 / 3)
    assert found.means["func_iou"] == 0.5
    assert found.means["f1_iou"] == pytest.approx(2 * 0.4 * 0.5 / 0.9)
    assert found.means["rouge_l"] == pytest.approx(0.3)
    assert np.isnan(found.means["meteor"])
    assert found.values["obj_iou"] == 3 and "f1_iou" not in found.values


def test_the_papers_table_has_its_names_order_and_percentages(tables):
    table = pd.read_csv(tables / "ablation.csv")
    assert table.name.tolist() == ["TAM", "CAM (raw activation)"]  # the order of the files
    assert table.obj_iou.tolist() == [40.0, 40.0] and table.f1_iou.tolist() == [44.44, 44.44]
    assert table.images.tolist() == [3, 3] and table.obj_iou_n.tolist() == [3, 3]
    text = (tables / "ablation.md").read_text()
    assert "| TAM " in text and "44.44" in text
    for note in (
        "images 3 (1 ok, 1 failed [no picture], 1 truncated)",
        "Obj-IoU 3 (1 merged, 1 not in image);",
        "Recall 0 (1 not in image);",
        "METEOR 0 (1 unavailable [no WordNet])",
        "protocol fixed; a fake tagger",
    ):
        assert note in text


def test_methods_stand_in_the_order_asked_for_and_no_others(shards, tmp_path):
    write_tables(run(*shards), tmp_path / "out", ["activation", "tam"])
    assert pd.read_csv(tmp_path / "out/ablation.csv").method.tolist() == ["activation", "tam"]
    write_tables(run(*shards), tmp_path / "out", ["activation"])
    for name in ("ablation", "summary", "statuses", "samples"):
        assert set(pd.read_csv(tmp_path / f"out/{name}.csv").method) == {"activation"}
    with pytest.raises(
        InputError, match=r"0-of-2.*no metrics of this method; got 'rgf'; expected tam or activation; cure"
    ):
        write_tables(run(*shards), tmp_path / "out", ["tam", "rgf"])


def test_only_the_given_files_are_read(shards, tmp_path):
    metrics_file(shards[0].with_name("0-of-1.parquet"), {"tam": {"of an earlier config": A}})
    write_tables(run(*shards), tmp_path / "out")
    assert set(pd.read_csv(tmp_path / "out/samples.csv")["sample"]) == {"a", "b", "c"}


def test_intervals_are_in_csv_and_markdown(tables):
    table = pd.read_csv(tables / "ablation.csv")
    assert (table.obj_iou_low < table.obj_iou).all() and (table.obj_iou < table.obj_iou_high).all()
    assert "40.00 [20.00, 80.00]" in (tables / "ablation.md").read_text()
    assert (
        table[["func_iou_low", "f1_iou_low"]].isna().all(axis=None)
    )  # function words of a single image have no spread


def test_the_tidy_tables_hold_the_same_numbers(tables):
    summary = pd.read_csv(tables / "summary.csv").set_index(["method", "metric"])
    assert summary.loc[("tam", "obj_iou"), "mean"] == pytest.approx(0.4)
    assert summary.loc[("tam", "obj_iou"), "values"] == 3
    assert len(summary) == 2 * len(shown(()))
    statuses = pd.read_csv(tables / "statuses.csv").set_index(["method", "metric", "status"])["count"]
    assert statuses["tam", "answer", "failed"] == 1
    assert statuses["tam", "obj_iou", "ok"] == 3
    assert statuses["tam", "meteor", "unavailable"] == 1


def test_every_sample_is_listed_with_its_own_means(tables):
    samples = pd.read_csv(tables / "samples.csv").query("method == 'tam'").set_index("sample")
    assert samples.status.tolist() == ["ok", "truncated", "failed: no picture"]
    assert samples.loc["a", "answer"] == "answer of a" and samples.loc["a", "tokens"] == 3
    assert samples.loc["a", "f1_iou"] == pytest.approx(2 * 0.2 * 0.5 / 0.7)
    assert samples.loc["b", "obj_iou"] == 0.8 and np.isnan(samples.loc["b", "f1_iou"])
    assert samples.objects.tolist() == [2, 1, 0]


def test_a_sample_on_which_a_method_failed_is_said_to_be_so_for_that_method(tmp_path):
    broken = {"a": ("ok", [("obj_iou", "failed: one class"), ("recall", "failed: one class")])}
    path = metrics_file(tmp_path / "x.parquet", {"tam": {"a": A}, "random": broken})
    write_tables(run(path), tmp_path / "out")
    samples = pd.read_csv(tmp_path / "out/samples.csv").set_index("method")
    assert samples.status.to_dict() == {"tam": "ok", "random": "failed: one class"}
    assert samples.rouge_l.to_dict() == {"tam": 0.2, "random": 0.2}
    assert pd.read_csv(tmp_path / "out/ablation.csv").status.tolist() == ["1 ok", "1 failed [one class]"]
    text = (tmp_path / "out/ablation.md").read_text()
    assert "- Random map: images 1 (1 failed [one class]); Obj-IoU, Recall 0 (1 failed [one class]);" in text


def test_a_published_nan_poisons_its_mean_only(tmp_path):
    nan = {"a": ("ok", [("precision", np.nan), ("recall", 0.5)]), "b": A}
    means = summarise(run(metrics_file(tmp_path / "x.parquet", {"tam": nan}))).methods["tam"].means
    assert np.isnan(means["precision"]) and means["recall"] == 0.5 and means["obj_iou"] == pytest.approx(0.2)


def test_files_made_in_different_ways_are_refused(tmp_path):
    first = metrics_file(tmp_path / "1.parquet", {"tam": {"a": A}})
    summarise(run(first, metrics_file(tmp_path / "2.parquet", {"tam": {"b": B}})))  # of another generation
    for other in (
        metrics_file(tmp_path / "3.parquet", {"tam": {"b": B}}, protocol="reference"),
        metrics_file(tmp_path / "4.parquet", {"tam": {"b": B}}, tagger="another"),
        metrics_file(tmp_path / "5.parquet", {"tam": {"b": B}}, titles={"tam": "Another"}),
        metrics_file(tmp_path / "6.parquet", {"tam": {"b": B}, "eci": {"b": B}}),
    ):
        with pytest.raises(InputError, match=r"different ways.*cure: run `tam metrics` again"):
            summarise(run(first, other))
    assert summarise(run(first, other), ["tam"]).answers.keys() == {"a", "b"}  # what is not asked for may differ


def test_files_that_do_not_fit_are_refused(tmp_path):
    first = metrics_file(tmp_path / "1.parquet", {"tam": {"a": A}})
    with pytest.raises(InputError, match="occurs twice; got 'a'"):
        write_tables(run(first, first), tmp_path / "out")
    (tmp_path / "3.parquet").write_text("no table")
    with pytest.raises(SchemaError, match="not a metrics file"):
        write_tables(run(tmp_path / "3.parquet"), tmp_path / "out")
    with pytest.raises(SchemaError, match="no such metrics file"):
        write_tables(run(tmp_path / "nowhere"), tmp_path / "out")
    with pytest.raises(InputError, match="d, m: no samples"):
        write_tables(run(metrics_file(tmp_path / "4.parquet", {"tam": {}})), tmp_path / "out")


def test_a_file_that_lacks_an_answer_is_damaged(tmp_path):
    header = RowsHeader("f", 2, {"tam": "TAM"}, "fixed", "a tagger")
    with written(tmp_path / "x.parquet", header) as writer:
        writer.add("a", "", [whole("answer", 3.0)])
        writer.add("b", "tam", [whole("obj_iou", 0.5)])
    with pytest.raises(SchemaError, match="1 answers of 2 samples"):
        summarise(run(tmp_path / "x.parquet"))


def test_tables_are_written_into_no_folder_of_somebody_else(tmp_path):
    files = run(metrics_file(tmp_path / "x.parquet", {"tam": {"c": C}}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/summary.csv").write_text("mine")
    for made in (lambda out: write_tables(files, out), lambda out: write_overview([files], None, out)):
        with pytest.raises(DiskError, match=r"out: only a result of ours is replaced; got 'summary\.csv' without"):
            made(tmp_path / "out")
    assert (tmp_path / "out/summary.csv").read_text() == "mine"


def test_a_run_of_failures_only_gives_a_table_without_numbers(tmp_path):
    write_tables(run(metrics_file(tmp_path / "x.parquet", {"tam": {"c": C}})), tmp_path / "out")
    assert "images 1 (1 failed [no picture])" in (tmp_path / "out" / "ablation.md").read_text()


def test_differences_are_paired(tmp_path):
    """What two methods share cancels out: a constant gap has no spread, though both means have."""
    gap = {f"{i}": ("ok", [("obj_iou", 0.1 * i + 0.05)]) for i in range(1, 8)}
    low = {id: (status, [(metric, value - 0.05) for metric, value in rows]) for id, (status, rows) in gap.items()}
    methods = summarise(run(metrics_file(tmp_path / "x.parquet", {"tam": gap, "eci": low}))).methods
    found = difference(methods["tam"], methods["eci"])
    assert found["obj_iou"] == (pytest.approx(0.05), (pytest.approx(0.05), pytest.approx(0.05)))
    assert np.diff(methods["tam"].intervals["obj_iou"]) > 0.1
    assert difference(methods["eci"], methods["tam"])["obj_iou"][0] == pytest.approx(-0.05)
    assert np.isnan(found["func_iou"][0])


def test_a_difference_has_an_interval_where_both_have_values_of_two_images(tmp_path):
    first = {"a": ("ok", [("recall", 0.1)]), "b": ("ok", [("recall", 0.3)]), "c": ("ok", [("recall", "no")])}
    second = {"a": ("ok", [("recall", "no")]), "b": ("ok", [("recall", 0.1)]), "c": ("ok", [("recall", 0.1)])}
    methods = summarise(run(metrics_file(tmp_path / "x.parquet", {"tam": first, "eci": second}))).methods
    assert not np.isnan([method.intervals["recall"] for method in methods.values()]).any()
    mean, limits = difference(methods["tam"], methods["eci"])["recall"]
    assert mean == pytest.approx(0.1) and np.isnan(limits).all()


def test_differences_are_in_csv_and_markdown(tmp_path):
    better = ("ok", [("obj_iou", 0.9), ("obj_iou", 0.5), ("func_iou", 0.5)])
    methods = {"activation": {"a": A, "b": B, "c": C}, "tam": {"a": better, "b": B, "c": C}}
    write_tables(run(metrics_file(tmp_path / "x.parquet", methods)), tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "differences.csv").set_index(["base", "method", "metric"])
    row = table.loc[("tam", "activation", "obj_iou")]
    assert (row.difference, row.images) == (33.33, 3)  # (0.9 + 0.5 + 0.8) / 3 minus (0.1 + 0.3 + 0.8) / 3
    assert row.low == 0 and row.high == 50  # b alone, a alone
    assert "+33.33 [+0.00, +50.00]" in (tmp_path / "out" / "ablation.md").read_text()
    assert "meteor" not in table.index.get_level_values("metric")


def test_without_tam_there_are_no_differences(tmp_path):
    write_tables(run(metrics_file(tmp_path / "x.parquet", {"eci": {"a": A}})), tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "differences.csv").empty


def test_what_a_method_does_not_change_is_said_once(tables):
    assert "| all methods | 30.00 [20.00, 40.00] |" in (tables / "ablation.md").read_text()
    rouge = pd.read_csv(tables / "summary.csv").query("metric == 'rouge_l'")
    assert rouge["mean"].tolist() == pytest.approx([0.3, 0.3]) and rouge["values"].tolist() == [2, 2]


def test_which_way_is_better_and_what_chance_has_is_said_once(tables):
    text, tex = ((tables / f"ablation.{kind}").read_text() for kind in ("md", "tex"))
    assert text.count("Higher is better; lower: Entropy. Chance: the object's share of the picture (Precision, ") == 1
    assert tex.count("share of the picture (Precision).") == 2  # each float says its own: of means, of differences
    assert "Entropy" not in tex  # of which nothing was measured


def test_of_focus_nothing_is_the_best(tmp_path):
    high, low = ({"a": ("ok", [("obj_iou", value), ("gini", value)])} for value in (0.5, 0.4))
    write_tables(run(metrics_file(tmp_path / "x.parquet", {"eci": low, "tam": high})), tmp_path / "out")
    text = (tmp_path / "out/ablation.md").read_text()
    assert text.count("**50.00**") == 1 and "**40.00**" not in text and text.count("50.00") > 1
    assert r"\textbf{50.00}" in (tmp_path / "out/ablation.tex").read_text()


def test_a_file_is_read_in_parts_without_changing_the_sums(tmp_path, monkeypatch):
    samples = {f"{i:02d}": ("ok", [("obj_iou", i / 40), ("obj_iou", "merged")] * 3) for i in range(40)}
    path = metrics_file(tmp_path / "x.parquet", {"tam": samples, "eci": samples})
    whole = summarise(run(path))
    monkeypatch.setattr(totals, "ROWS_AT_A_TIME", 7)
    parts = summarise(run(path))
    for name, method in parts.methods.items():
        np.testing.assert_allclose(method.sums, whole.methods[name].sums, rtol=1e-12)
        assert (method.counts == whole.methods[name].counts).all()
        assert method.statuses == whole.methods[name].statuses
        assert method.own_means["obj_iou"][39] == pytest.approx(39 / 40)


def test_images_are_drawn_only_for_intervals_and_once_for_all_methods(shards, tmp_path, monkeypatch):
    drawn = []
    draw = statistics.bootstrap_means
    monkeypatch.setattr(statistics, "bootstrap_means", lambda *sums, **more: drawn.append(1) or draw(*sums, **more))
    tam = summarise(run(*shards)).methods["tam"]
    assert tam.means["obj_iou"] == pytest.approx(0.4) and tam.own_means["obj_iou"][1] == 0.8 and not drawn
    write_tables(run(*shards), tmp_path / "out")
    assert len(drawn) == 1


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_samples_does_not_matter(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    samples = {"a": A, "b": B, "c": ("ok", [("obj_iou", 0.9), ("func_iou", 0.1)])}
    one = summarise(run(metrics_file(folder / "1.parquet", {"tam": samples})))
    two = summarise(run(metrics_file(folder / "2.parquet", {"tam": {id: samples[id] for id in order}})))
    assert list(one.answers) == list(two.answers)
    one, two = one.methods["tam"], two.methods["tam"]
    np.testing.assert_allclose(list(one.means.values()), list(two.means.values()), rtol=1e-12)
    np.testing.assert_allclose(list(one.intervals.values()), list(two.intervals.values()), rtol=1e-12)


def _tam(*arguments):
    return subprocess.run([sys.executable, "-m", "tam", *map(str, arguments)], capture_output=True, text=True)


def test_tables_are_of_one_run(shards, tmp_path):
    other = metrics_file(tmp_path / "results/d/n/metrics/0-of-1.parquet", {"tam": {"a": A}})
    done = _tam("tables", "--metrics", shards[0], "--metrics", other, "--out", tmp_path / "out")
    assert done.returncode == 1 and "several runs; got d, m and d, n; cure: use `tam overview`" in done.stderr


def test_damaged_metrics_are_set_aside(shards, tmp_path):
    damaged = bytearray(shards[1].read_bytes())
    damaged[20] ^= 1
    shards[1].write_bytes(damaged)
    for stage in ("tables", "overview"):
        files = [option for path in shards for option in ("--metrics", path)]
        done = _tam(stage, *files, "--out", tmp_path / stage)
        assert done.returncode == 1 and "1-of-2.parquet: damaged, renamed to *.corrupt" in done.stderr
        assert sorted(path.name for path in shards[0].parent.iterdir()) == ["0-of-2.parquet", "1-of-2.parquet.corrupt"]
        shards[1].with_name("1-of-2.parquet.corrupt").rename(shards[1])


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


def test_the_harmonic_mean_is_the_papers_f1():
    assert round(100 * float(statistics.harmonic_mean(0.2737, 0.6844)), 2) == 39.10
    assert statistics.harmonic_mean(0.0, 0.0) == 0
    assert np.isnan(statistics.harmonic_mean(np.nan, 0.5))


@given(st.text(alphabet="'=+-@\t\r\n,\"a1", max_size=6))
def test_no_text_of_a_csv_file_is_a_formula_and_each_can_be_had_back(text):
    """By the expression of docs/explained/evaluation.md; numbers stay numbers."""
    ((cell, number),) = list(csv.reader(io.StringIO(to_csv(["text", "number"], [[text, -0.5]]), newline="")))[1:]
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) and number == "-0.5"
    (expression,) = re.findall(
        r're\.sub\(r"(.*?)", "", text\)', (ROOT / "docs/explained/evaluation.md").read_text(encoding="utf-8")
    )
    assert re.sub(expression, "", cell) == text
