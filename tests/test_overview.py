"""Tables over all runs: published numbers beside ours, and a page that a phone shows."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tam.errors import SchemaError
from tam.run import runs_of
from tam.system.mark import FILE
from tam.tables.formats import Cell, Panel, Table
from tam.tables.latex import latex
from tam.tables.numbers import marks
from tam.tables.overview import write_overview
from tam.tables.published import read_published
from tests.browser import Browser
from tests.test_tables import TITLES, A, B, metrics_file

CHECKOUT = Path(__file__).resolve().parents[1]
ENTRY = {"dataset": "d", "model": "m", "source": "Someone 2025 <&>", "found": "there", "hand": "second",
         "values": {"tam": {"obj_iou": 41.5}, "eci": {"obj_iou": 30}}}  # fmt: skip
METHODS = ("random", "eci", "gaussian-3", "rgf-5", "mine", "tam")


def _published(path, *entries):
    path.write_text(yaml.safe_dump(list(entries), sort_keys=False))
    return path


@pytest.fixture
def written(tmp_path):
    """Two datasets and a model of ours; published numbers for one of them, for another model, and one apart."""
    others = ENTRY | {"model": "other", "hand": "first", "note": "a note"}
    apart = ENTRY | {"comparable": False, "values": {"Their <method>": {"obj_iou": 12.34}}}
    published = _published(tmp_path / "published.yaml", ENTRY, others, apart)
    runs = [_run(tmp_path, dataset, METHODS, tagger="50 % of_it & <more> #1") for dataset in ("d", "e_2")]
    write_overview(runs, published, tmp_path / "out", report=tmp_path / "report/index.html")
    return tmp_path / "out"


def _run(folder, dataset, methods, *, model="m", **how):
    path = folder / "results" / dataset / model / "metrics/0-of-1.parquet"
    titles = {**TITLES, "mine": "My method", "gaussian-3": "Gaussian 3x3", "rgf-5": "Rank Gaussian 5x5"}
    metrics_file(path, {method: {"a": A, "b": B} for method in methods}, titles=titles, **how)
    return runs_of(metrics=[path])[0]


def test_published_numbers_stand_beside_ours_with_difference_and_source(written):
    table = pd.read_csv(written / "components.csv").set_index(["dataset", "model", "method", "metric"])
    row = table.loc[("d", "m", "tam", "obj_iou")]
    assert (row.value, row.published, row.difference) == (40.0, 41.5, -1.5)
    assert (row.source, row.found, row.hand, row.images) == ("Someone 2025 <&>", "there", "second", 2)
    assert pd.isna(table.loc[("e_2", "m", "tam", "obj_iou"), "published"])
    text = (written / "components.md").read_text()
    assert "40.00 [20.00, 80.00] |     41.50 |     −1.50† |" in text
    assert "- † not comparable: d, m: protocol fixed." in text
    assert "Published, d, m: Someone 2025 <&>; second-hand, from there." in text
    assert "d, m: images 2 (1 ok, 1 truncated); Obj-IoU 3 (1 merged, 1 not in image); Func-IoU 1." in text


def test_what_lies_in_the_interval_of_the_best_is_underlined_and_what_was_not_run_has_no_column(written):
    page, tex = ((written / f"components.{kind}").read_text() for kind in ("md", "tex"))
    heads = re.findall(r"^\| M.*$", page, re.MULTILINE)
    assert " ".join(heads[-1].split()) == "| Method | Obj-IoU, published |" and "not run" not in page
    values = [0.5, 0.4, 0.1, float("nan")]
    assert marks(values, [(0.3, 0.6), (0.3, 0.5), (0, 1), (0, 1)], "obj_iou") == [
        (True, False), (False, True), (False, False), (False, False)
    ]  # fmt: skip
    shown = latex([Table("T", [Panel("", ["x"], [["y", Cell("1", "", near=True)]])], [])])
    assert r"\underline{1}" in shown and "underlined: in the interval of the best" in " ".join(tex.split())


def test_a_cell_stands_in_a_table_once(written):
    for path in written.glob("*.csv"):
        table = pd.read_csv(path)
        assert not table.duplicated(["dataset", "model", "method", "metric"]).any(), path.name


def test_an_ablation_in_print_is_shown_without_ours(written):
    table = pd.read_csv(written / "components.csv").set_index(["dataset", "model", "method", "metric"])
    row = table.loc[("d", "other", "eci", "obj_iou")]
    assert pd.isna(row.value) and row.published == 30 and pd.isna(row.difference) and row.note == "a note"


def test_every_table_of_the_paper_is_there(written):
    assert sorted(path.name for path in written.iterdir()) == sorted(
        [FILE, "index.html", *(f"{name}.{kind}" for name in ("components", "methods", "filters", "models")
                         for kind in ("csv", "md", "tex"))]
    )  # fmt: skip
    methods = pd.read_csv(written / "methods.csv")
    assert set(methods.dataset) == {"d", "e_2"}
    assert list(dict.fromkeys(methods.method)) == ["random", "eci", "mine", "tam"]  # the order of the files
    models = pd.read_csv(written / "models.csv")
    assert set(models.model) == {"m", "other"} and list(dict.fromkeys(models.method)) == ["tam", "random", "mine"]


def test_the_papers_filter_stands_among_the_filters_where_only_tam_was_computed(written):
    filters = pd.read_csv(written / "filters.csv").query("dataset == 'd' and metric == 'obj_iou'")
    assert filters.method.tolist() == ["random", "eci", "gaussian-3", "rgf-5", "mine", "rgf-3"]
    assert filters.value.tolist()[-1] == 40.0
    text = (written / "filters.md").read_text()
    assert "| Rank Gaussian 3x3 " in text and "| No filter " in text and "| TAM " not in text
    assert "rgf-3" not in "".join(path.read_text() for path in written.glob("[cm]*"))  # no other table


def test_a_method_of_ones_own_is_in_every_table_by_its_title(written):
    for name in ("components", "methods", "filters"):
        assert "| My method " in (written / f"{name}.md").read_text()
    assert "| m, My method " in (written / "models.md").read_text()


def test_methods_in_print_only_stand_below_ours(tmp_path):
    entry = ENTRY | {"values": {"activation": {"obj_iou": 20}, "tam": {"obj_iou": 41.5}, "Theirs": {"obj_iou": 9}}}
    write_overview([_run(tmp_path, "d", ["tam"])], _published(tmp_path / "p.yaml", entry), tmp_path / "out")
    methods, components = (pd.read_csv(tmp_path / f"out/{name}.csv") for name in ("methods", "components"))
    assert methods.query("metric == 'obj_iou'").method.tolist() == ["tam", "activation", "Theirs"]
    assert methods.query("metric == 'obj_iou'").images.tolist() == [2, 0, 0]
    assert components.query("metric == 'obj_iou'").method.tolist() == ["tam", "activation"]


def test_methods_are_those_asked_for_in_their_order(tmp_path):
    write_overview([_run(tmp_path, "d", METHODS)], None, tmp_path / "out", ["tam", "random"])
    assert list(dict.fromkeys(pd.read_csv(tmp_path / "out/methods.csv").method)) == ["tam", "random"]
    assert not list((tmp_path / "out").glob("filters*"))


def test_a_difference_over_other_pictures_or_under_another_protocol_is_marked_with_its_reason(tmp_path):
    published = _published(tmp_path / "p.yaml", ENTRY | {"images": 5000}, ENTRY | {"dataset": "e", "images": 2},
                           ENTRY | {"dataset": "f"})  # fmt: skip
    runs = [_run(tmp_path, dataset, ["tam"], protocol="reference") for dataset in "de"]
    runs.append(_run(tmp_path, "f", ["tam"], protocol="fixed"))
    write_overview(runs, published, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/components.csv").query("method == 'tam' and metric == 'obj_iou'")
    apart = ["2 pictures, in print 5,000", "", "protocol fixed"]
    assert table.not_comparable.fillna("").tolist() == apart
    text = (tmp_path / "out/components.md").read_text()
    assert text.count("−1.50† |") == 2 and text.count("−1.50 |") == 1
    assert "† not comparable: d, m: 2 pictures, in print 5,000; f, m: protocol fixed." in text


def test_columns_of_print_stand_only_where_there_is_a_published_number(tmp_path):
    published = _published(tmp_path / "p.yaml", ENTRY | {"values": {"tam": {"obj_iou": 41.5}}})
    write_overview([_run(tmp_path, dataset, ["tam"]) for dataset in "de"], published, tmp_path / "out")
    heads = re.findall(r"^\| M.*$", (tmp_path / "out/methods.md").read_text(), re.MULTILINE)
    assert [" ".join(head.split()) for head in heads] == [
        "| Method | d | published | difference | e |", "| Method | d | e |", "| Method | d | e |"
    ]  # fmt: skip


def test_rows_and_columns_stand_in_the_order_of_the_runs_and_of_the_methods(tmp_path):
    paths = [_run(tmp_path, dataset, METHODS, model=model).metrics for dataset in "zy" for model in ("n", "m")]
    runs = runs_of(metrics=[path for pair in paths for path in pair])
    write_overview(runs, None, tmp_path / "out", ["tam", "random", "eci"])
    lines = (tmp_path / "out/models.md").read_text().splitlines()
    assert " ".join(lines[4].split()) == "| Model | z | y |"
    assert [line.split("|")[1].strip() for line in lines[6:10]] == [
        "n, TAM",
        "n, Random map",
        "m, TAM",
        "m, Random map",
    ]
    lines = (tmp_path / "out/methods.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[6:9]] == ["TAM", "Random map", "+ ECI"]


def test_a_cell_without_a_value_says_why(tmp_path):
    path = tmp_path / "results/e/m/metrics/0-of-1.parquet"
    metrics_file(path, {"tam": {"a": ("ok", [("obj_iou", "not a single image"), ("func_iou", 0.5)])}})
    write_overview([_run(tmp_path, "d", ["tam", "eci"]), *runs_of(metrics=[path])], None, tmp_path / "out")
    text = (tmp_path / "out/methods.md").read_text()
    assert re.search(r"\| TAM +\| 40.00 \[20.00, 80.00\] \| – not a single image \|", text)
    assert re.search(r"\| \+ ECI +\| 40.00 \[20.00, 80.00\] \| +– not run \|", text)
    tidy = pd.read_csv(tmp_path / "out/methods.csv").set_index(["dataset", "method", "metric"]).why
    assert tidy["e", "tam", "obj_iou"] == tidy["e", "tam", "f1_iou"] == "not a single image"


def test_the_protocol_of_each_run_and_what_chance_has_stand_below(tmp_path):
    runs = [_run(tmp_path, "d", ["tam"]), _run(tmp_path, "e", ["tam"], protocol="reference")]
    write_overview(runs, None, tmp_path / "out")
    text = (tmp_path / "out/models.md").read_text()
    assert "- d, m: protocol fixed; " in text and "- e, m: protocol reference; " in text
    assert text.count("Higher is better. Chance: the object's share of the picture (Precision).") == 1


def test_without_filters_and_published_numbers_there_is_less(tmp_path):
    write_overview([_run(tmp_path, "d", ["tam"])], None, tmp_path / "out")
    assert not list((tmp_path / "out").glob("filters*"))
    assert pd.read_csv(tmp_path / "out" / "models.csv").published.isna().all()


def test_a_file_that_is_named_from_its_own_folder_is_one_of_its_run(tmp_path, monkeypatch):
    (metrics,) = _run(tmp_path, "d", ["tam"]).metrics
    monkeypatch.chdir(metrics.parent)
    write_overview(runs_of(metrics=[Path(metrics.name)]), None, tmp_path / "out")
    assert os.path.relpath(metrics.parents[1] / "tables/samples.csv", tmp_path / "out") in (
        tmp_path / "out/index.html"
    ).read_text("utf-8")


def test_the_page_needs_nothing_else_and_fits_a_phone(written):
    browser = Browser()
    try:
        browser.protocol("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=2, mobile=True)
        browser.requests()
        browser.open(written / "index.html")
        assert browser.requests() == [(written / "index.html").as_uri()]
        assert browser.run("return document.documentElement.scrollWidth") == 390
        headings = browser.run("return [...document.querySelectorAll('h2')].map(e => e.textContent)")
        assert headings == ["Component ablation", "Methods and datasets", "Filters", "Models and datasets",
                            "d, m", "e_2, m", "In print, measured otherwise"]  # fmt: skip
        assert browser.run("return document.body.textContent.includes('Their <method>')")
        links = browser.run("return [...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
        places = browser.run("return [...document.querySelectorAll('section')].map(e => '#' + e.id)")
        assert links[: len(headings)] == places and len({*places}) == len(headings)
        assert links[-1] == "../results/e_2/m/tables/samples.csv" and "../report/index.html" in links
        first = "document.querySelector('#methods-and-datasets table')"
        browser.run(f"{first}.tHead.rows[0].cells[1].firstElementChild.click()")
        column = f"return [...{first}.tBodies[0].rows].map(row => parseFloat(row.cells[1].textContent))"
        falling = browser.run(column)
        browser.run(f"{first}.tHead.rows[0].cells[1].firstElementChild.click()")
        assert falling == sorted(falling, reverse=True) and browser.run(column) == sorted(falling)
        assert browser.run(f"return {first}.tHead.rows[0].cells[1].getAttribute('aria-sort')") == "ascending"
        assert browser.run("return document.querySelector('table').getBoundingClientRect().top") < 300
        colours = set()
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.protocol("Emulation.setEmulatedMedia", features=[feature])
            colours.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2
        assert browser.complaints() == []
    finally:
        browser.close()


def test_the_papers_numbers_are_ours_to_compare_with():
    """F1-IoU of each row of the paper's ablation is the harmonic mean of the two others."""
    found = read_published(CHECKOUT / "config/published.yaml")
    rows = {}
    for one in found:
        if one.source.comparable and one.source.model == "qwen2-vl-2b":
            rows.setdefault(one.method, {})[one.metric] = one.value
    assert list(rows) == ["activation", "eci", "rgf", "tam"]
    for row in rows.values():
        expected = 2 * row["obj_iou"] * row["func_iou"] / (row["obj_iou"] + row["func_iou"])
        assert row["f1_iou"] == pytest.approx(expected, abs=1.1e-4)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{**ENTRY, "sauce": 1}], "keys of a published number"),
        ([{key: ENTRY[key] for key in ENTRY if key != "source"}], "keys of a published number"),
        ([ENTRY | {"hand": "third"}], "hand of a published number"),
        ([ENTRY | {"values": {"tam": {"iou": 1}}}], "unknown metric"),
        ([ENTRY | {"values": {"tam": {"obj_iou": 141}}}], "not a percentage"),
        ([ENTRY | {"values": {"tam": 41}}], "values of a published number"),
        ([ENTRY | {"values": [41]}], "values of a published number"),
        ([ENTRY | {"model": 7}], "model of a published number"),
        ([ENTRY | {"comparable": "no"}], "comparable of a published number"),
        ([ENTRY, ENTRY], "published twice"),
        ("text", "keys of a published number"),
    ],
)
def test_a_published_number_that_is_not_one_is_refused(tmp_path, entries, message):
    with pytest.raises(SchemaError, match=message):
        read_published(_published(tmp_path / "p.yaml", *entries))


def test_a_file_that_is_no_list_is_refused(tmp_path):
    (tmp_path / "p.yaml").write_text("a: 1")
    with pytest.raises(SchemaError, match="not a list"):
        read_published(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text("a: [")
    with pytest.raises(SchemaError, match="no published numbers"):
        read_published(tmp_path / "p.yaml")
