"""The tables as LaTeX: both engines set them with booktabs and graphicx alone, and all that is in them can be read."""

import re
import shutil

import pytest
import yaml

from tam.run import runs_of
from tam.tables.ablation import write_tables
from tam.tables.formats import Cell, Panel, Table
from tam.tables.latex import ROWS, latex
from tam.tables.overview import write_overview
from tests.compiled import ENGINES, compiled
from tests.test_overview import ENTRY
from tests.test_tables import TITLES, A, B, metrics_file

NAME = r"a_b %c#d$e&f{g}~h^i\j[k] <l>|é−–“”…×†ß 猫"
METHODS = ["random", "centre", "permuted", "activation", "eci", "rgf", *(f"rival-{i}" for i in range(18)), "tam"]
LINE, LEAST = 345.0, 0.75  # an article's line in points; how small a table may become to fit on it


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """25 methods, each with failures of its own, on two datasets by two models; a published number for one of them."""
    folder = tmp_path_factory.mktemp("latex")
    values = [("obj_iou", 0.1), ("obj_iou", 0.3), ("func_iou", 0.5), ("recall", 0.7), ("gini", 0.5)]
    titles = {name: f"Their attribution no. {name[6:]}" for name in METHODS if name.startswith("rival")}
    methods = {}
    for number, name in enumerate(METHODS):
        broken = [(metric, f"failed: reason {number}") for metric, _ in values]
        methods[name] = {"a": A, "b": B, "c": ("ok", broken), "d": ("ok", [(m, v + number / 100) for m, v in values])}
    published = folder / "published.yaml"
    published.write_text(yaml.safe_dump([ENTRY | {"dataset": "coco14", "model": "qwen2-vl-2b"}]))
    paths = [
        folder / f"results/{run}/metrics/0.parquet" for run in ("coco14/qwen2-vl-2b", f"coco14/{NAME[:9]}", "e_2/m")
    ]
    for path in paths:
        metrics_file(
            path,
            methods,
            tagger="50 % of_it & more #1",
            titles=TITLES | titles | {"rival-0": NAME[:22], "rival-1": NAME[22:]},
        )
    runs = runs_of(metrics=paths)
    write_overview(runs, published, folder / "tables")
    for number, run in enumerate(runs):
        write_tables(run, folder / f"tables/{number}")
    return sorted(folder.rglob("*.tex"))


@pytest.mark.parametrize("engine", ENGINES)
def test_tables_of_25_methods_compile_fit_the_page_and_can_be_read(written, tmp_path, engine):
    if shutil.which(engine) is None:
        pytest.skip(f"no {engine} on this machine")
    found = compiled(written, tmp_path / "tables.pdf", engine)
    assert not found.faults, found.faults
    floats = sum(path.read_text().count(r"\begin{table}") for path in written)
    assert floats / 3 < found.pages <= floats
    assert max(found.widths) < LINE / LEAST


def test_a_float_has_one_table_with_caption_and_label_of_its_own(written):
    text = "".join(path.read_text() for path in written)
    parts = re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)
    assert len(parts) == text.count(r"\begin{tabular}")
    for part in parts:
        assert part.count(r"\begin{tabular}") == part.count(r"\caption{") == part.count(r"\label{tab:") == 1
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(set(labels)) == len(labels)
    assert "\N{MINUS SIGN}" not in text and "$-$" in text and text.isascii() is False  # é is a letter of both


def test_many_rows_go_on_in_a_float_of_their_own():
    rows = [[f"method {number}", Cell("1.00", "", number == 0)] for number in range(ROWS + 1)]
    text = latex([Table("T", [Panel("P", ["Method", "x"], rows)], [])], "C.")
    assert [text.count(r"\caption{T: P (2 of 2). C.}"), text.count(r"\begin{table}")] == [1, 2]
    assert text.count(r"\textbf{1.00}") == 1 and r"method 36 & 1.00 \\" in text.partition("(2 of 2)")[2]


def test_a_letter_that_a_font_of_either_engine_lacks_is_named():
    text = latex([Table("猫 é −1", [Panel("", ["x"], [["y"]])], [])])
    assert r"\caption{{[}U+732B{]} é $-$1.}" in text
