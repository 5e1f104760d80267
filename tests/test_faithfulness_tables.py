"""Faithfulness in tables and figures: a difference of equals is 0, chance is checked, agreement is by rank."""

import csv

import pandas as pd
import pytest

from tam.figures.curves import faithfulness_curves
from tam.tables.ablation import run_table, write_tables
from tam.tables.agreement import warnings
from tam.tables.formats import markdown
from tam.tables.summary import summarise
from tests.test_tables import metrics_file, run

GAINS = {"a": [0.5], "b": [0.1, 0.3], "c": [0.9]}


def samples(shift: float = 0.0, sign: float = 1.0) -> dict:
    """Gain and deletion of the words of three samples, with Obj-IoU in the opposite order."""
    return {
        id: ("ok", [pair for gain in values for pair in (
            ("gain_blur", sign * (gain + shift)), ("deletion_blur", 0.2), ("obj_iou", 1 - gain), ("pxap", gain),
            ("image_use_blur", 2.5), ("deletion_blur@0.5", gain),
        )])
        for id, values in GAINS.items()
    }  # fmt: skip


@pytest.fixture
def summary(tmp_path):
    """TAM, a copy of it, and a control that gains nothing in the mean."""
    control = samples() | {
        id: ("ok", [("gain_blur", value)]) for id, value in zip("abc", (0.1, -0.1, 0.0), strict=True)
    }
    path = metrics_file(tmp_path / "d/m/metrics/0.parquet", {"tam": samples(), "eci": samples(), "random": control})
    return summarise(run(path)), path


def test_methods_with_equal_maps_differ_by_exactly_nothing_and_images_are_drawn(summary):
    found, _ = summary
    assert found.differences["eci"]["gain_blur"] == (0.0, (0.0, 0.0))
    tam = found.methods["tam"]
    assert tam.means["gain_blur"] == pytest.approx(0.45) and tam.intervals["gain_blur"] == pytest.approx((0.2, 0.9))


def test_only_what_was_measured_stands_in_the_tables_with_direction_and_chance(summary, tmp_path):
    found, path = summary
    text = markdown([run_table(found)])
    assert "Faithfulness (blur), 95 % intervals" in text and "Faithfulness (mean)" not in text
    assert "Image use, nats, 95 % intervals" in text and "2.50 [2.50, 2.50]" in text and "@" not in text
    assert "lower: Entropy, Deletion (blur)" in text and "0 (Gain (blur))" in text
    write_tables(run(path), tmp_path / "tables")
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "tables/ablation.csv").open())}
    assert float(rows["TAM"]["gain_blur"]) == 45 and float(rows["TAM"]["image_use_blur"]) == 2.5
    assert "loo_blur" not in rows["TAM"] and "@" not in (tmp_path / "tables/statuses.csv").read_text()


def test_agreement_with_localisation_is_by_rank(summary):
    text = markdown([run_table(summary[0])])
    lines = {
        line.split("|")[1].strip(): line.split("|")[2:5] for line in text.splitlines() if line.startswith("| words, ")
    }
    assert [cell.strip() for cell in lines["words, TAM"]] == ["−1.00", "+1.00", "3"]
    assert [cell.strip() for cell in lines["words, Random map"]] == ["–", "–", "0"]


@pytest.mark.parametrize("gain", [0.0, 0.4], ids=["within", "without"])
def test_a_random_order_that_gains_is_a_warning(tmp_path, gain):
    control = {id: ("ok", [("gain_blur", gain + off)]) for id, off in zip("abc", (0.1, -0.1, 0.05), strict=True)}
    path = metrics_file(tmp_path / "d/m/metrics/0.parquet", {"tam": samples(), "random": control})
    said = warnings(summarise(run(path)))
    assert bool(said) == bool(gain) and all(
        line.startswith("WARNING: the gain of random (blur) is 41.67 [") for line in said
    )
    alone = metrics_file(tmp_path / "d/n/metrics/0.parquet", {"tam": samples()})
    assert warnings(summarise(run(alone)))[0].startswith("Warning: without the method random")


def test_curves_of_what_is_taken_away_and_put_back_have_bands_over_images():
    rows = [
        (id, method, f"{name}_blur@{at:g}", value + (0.1 if id == "b" else 0), "ok")
        for id in "ab"
        for method, shift in (("random", 0.2), ("tam", 0.0))
        for name in ("deletion", "insertion")
        for at, value in ((0, 0.8), (0.5, 0.4 + shift), (1, 0.1))
    ]
    table = pd.DataFrame(rows, columns=["sample", "method", "metric", "value", "status"])
    figure = faithfulness_curves(table, {"random": "Random map", "tam": "TAM"}, "tam", "blur")
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("Deletion (blur)", "Insertion (blur)")
    assert [line.get_label() for line in left.get_lines()] == ["TAM", "Random map"]
    assert left.get_lines()[0].get_xydata() == pytest.approx(
        pd.DataFrame([(0, 0.85), (0.5, 0.45), (1, 0.15)]).to_numpy()
    )
    assert len(left.collections) == 2
    assert faithfulness_curves(table, {"tam": "TAM"}, "tam", "mean") is None
