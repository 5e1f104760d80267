"""The catalogue of metrics is what is measured, and what the documentation defines."""

import re
from pathlib import Path

from tam.metrics.catalogue import (
    ANSWER,
    CATALOGUE,
    FAITHFULNESS,
    GROUPS,
    IMAGE_USE,
    MAP_METRICS,
    OBJECT_METRICS,
    PHRASE_METRICS,
    POOLED,
    shown,
)
from tam.metrics.language import LANGUAGE_METRICS
from tam.metrics.names import NAME_METRICS

DOCS = Path(__file__).parents[1] / "docs/explained/evaluation.md"


def test_the_documentation_defines_every_metric_in_the_order_of_the_tables():
    table = DOCS.read_text(encoding="utf-8").partition("| metric | of |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert [name for cell in first for name in re.findall("`(.+?)`", cell)] == list(CATALOGUE)


def test_groups_and_kinds_hold_every_metric_once():
    assert [name for names in GROUPS.values() for name in names] == list(CATALOGUE)
    assert all(name == metric.name for name, metric in CATALOGUE.items())
    assert len({metric.title for metric in CATALOGUE.values()}) == len(CATALOGUE)
    always, faithful = shown(()), [name for group in FAITHFULNESS.values() for name in GROUPS[group]]
    assert sorted([*MAP_METRICS, *ANSWER, "f1_iou"]) == sorted([*always, *GROUPS[IMAGE_USE]])
    assert shown(["loo_blur"]) == [*always, "loo_blur"] and shown(CATALOGUE) == list(CATALOGUE)
    assert sorted([*always, *PHRASE_METRICS, *faithful, *GROUPS[IMAGE_USE]]) == sorted(CATALOGUE)
    assert [f"phrase_{name}" for name in OBJECT_METRICS] == PHRASE_METRICS
    assert [name for name in CATALOGUE if name != "f1_iou"] == POOLED
    assert [*LANGUAGE_METRICS, *NAME_METRICS, *GROUPS[IMAGE_USE]] == ANSWER
