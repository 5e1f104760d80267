"""Every metric: what it is called, what it is of, which way is better, and what chance has.

Tables, figures and pages take names, titles, groups and their order from here; ``docs/explained/evaluation.md`` defines
each.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tam.perturbed import BASELINES, Baseline

Of = Literal["noun", "function word", "word", "phrase", "probed word", "answer", "run"]

PUBLISHED, PLAIN, FOCUS, ABOUT_ANSWER = (
    "As published", "Without Otsu's threshold", "Focus of all words' maps", "The answer"
)  # fmt: skip
FAITHFULNESS = {baseline: f"Faithfulness ({baseline})" for baseline in BASELINES}
IMAGE_USE = "Image use"
PHRASES, PHRASE = "Phrases", "phrase_"
"""Group of what is measured of phrases; what the names of these begin with."""
MEASURED_ON_DEMAND = {PHRASES, *FAITHFULNESS.values(), IMAGE_USE}
"""Groups that stand in tables only where some of their metrics have rows."""
POINT = "@"
"""Between a curve's name and the fraction of one of its points, in rows that only figures read."""
OBJECT_SHARE = "the object's share of the picture"


@dataclass(frozen=True)
class Metric:
    """One metric; its values are from 0 to 1, differences and correlations from -1 to 1, those in nats of any size.

    Attributes:
        name: in files. title: for people, in tables.
        group: the title of the group that it stands in.
        unit: what tables print it in: "%", hundredths, or nats.
        direction: which values are better, or, of a measure of focus, more focused: "higher" or "lower".
        chance: what a map has in the mean that knows nothing of the picture; None where there is no such level.
        of: what has a value: a noun whose category is in the image, a function word, any word, a phrase of a sample, a
            word whose probability was probed, an answer; or only the run as a whole, from the means of others.
    """

    name: str
    title: str
    group: str
    unit: Literal["%", "nats"]
    direction: Literal["higher", "lower"]
    chance: str | None
    of: Of

    @property
    def times(self) -> float:
        """By how much tables multiply its values."""
        return 100.0 if self.unit == "%" else 1.0


def _faithfulness(baseline: Baseline) -> list[Metric]:
    """What is measured with one of the baselines; ``docs/explained/faithfulness.md`` defines it."""
    named: list[tuple[str, str, Literal["higher", "lower"], str | None]] = [
        ("gain", "Gain", "higher", "0"),
        ("deletion", "Deletion", "lower", None),
        ("insertion", "Insertion", "higher", None),
        ("gain_log", "Gain of log P", "higher", "0"),
        ("drop16", "Drop at 1/16", "higher", "that of random"),
        ("flip", "Flip at 1/8", "higher", "that of random"),
        ("loo", "Leave-one-out", "higher", "0"),
        ("specific", "Specificity", "higher", "0"),
        ("faith_corr", "Faithfulness corr.", "higher", "0"),
    ]
    group = FAITHFULNESS[baseline]
    return [
        Metric(f"{name}_{baseline}", f"{title} ({baseline})", group, "%", direction, chance, "probed word")
        for name, title, direction, chance in named
    ]


def _image_use(baseline: str) -> list[Metric]:
    return [
        Metric(f"image_use_{baseline}", f"Nouns ({baseline})", IMAGE_USE, "nats", "higher", None, "probed word"),
        Metric(f"image_use_function_{baseline}", f"Function words ({baseline})", IMAGE_USE, "nats", "lower", None,
               "function word"),
    ]  # fmt: skip


def _of_phrases(measured: Sequence[Metric]) -> list[Metric]:
    """What is measured of nouns, of phrases."""
    return [
        replace(metric, name=f"{PHRASE}{metric.name}", title=f"{metric.title} (phrase)", group=PHRASES, of="phrase")
        for metric in measured
        if metric.of == "noun"
    ]


def _all(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


OF_OBJECTS = (
    Metric("obj_iou", "Obj-IoU", PUBLISHED, "%", "higher", None, "noun"),
    Metric("func_iou", "Func-IoU", PUBLISHED, "%", "higher", None, "function word"),
    Metric("f1_iou", "F1-IoU", PUBLISHED, "%", "higher", None, "run"),
    Metric("precision", "Precision", PUBLISHED, "%", "higher", OBJECT_SHARE, "noun"),
    Metric("recall", "Recall", PUBLISHED, "%", "higher", None, "noun"),
    Metric("pointing", "Pointing", PLAIN, "%", "higher", OBJECT_SHARE, "noun"),
    Metric("pointing_box", "Pointing (box)", PLAIN, "%", "higher", "the share of its boxes", "noun"),
    Metric("relevance_mass", "Mass accuracy", PLAIN, "%", "higher", OBJECT_SHARE, "noun"),
    Metric("relevance_rank", "Rank accuracy", PLAIN, "%", "higher", OBJECT_SHARE, "noun"),
    Metric("pxap", "PxAP", PLAIN, "%", "higher", OBJECT_SHARE, "noun"),
)
"""A map against a mask."""

CATALOGUE: dict[str, Metric] = _all(
    *OF_OBJECTS,
    Metric("entropy", "Entropy", FOCUS, "%", "lower", None, "word"),
    Metric("gini", "Gini", FOCUS, "%", "higher", None, "word"),
    Metric("top20_mass", "Top-20 % mass", FOCUS, "%", "higher", None, "word"),
    Metric("rouge_l", "ROUGE-L (rouge)", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("rouge_l_standard", "ROUGE-L (standard)", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("meteor", "METEOR", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("name_precision", "Name prec.", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("name_recall", "Name rec.", ABOUT_ANSWER, "%", "higher", None, "answer"),
    *_of_phrases(OF_OBJECTS),
    *(metric for baseline in FAITHFULNESS for metric in _faithfulness(baseline)),
    *(metric for baseline in FAITHFULNESS for metric in _image_use(baseline)),
)
"""In the order of the tables."""

GROUPS: dict[str, list[str]] = {
    group: [metric.name for metric in CATALOGUE.values() if metric.group == group]
    for group in (PUBLISHED, PLAIN, FOCUS, ABOUT_ANSWER, PHRASES, *FAITHFULNESS.values(), IMAGE_USE)
}
"""Names by what they are about."""

ANSWER: list[str] = [*GROUPS[ABOUT_ANSWER], *GROUPS[IMAGE_USE]]
"""They do not depend on the method."""

OBJECT_METRICS, FUNCTION_METRICS, FOCUS_METRICS = (
    [metric.name for metric in CATALOGUE.values() if metric.of == kind and metric.group not in MEASURED_ON_DEMAND]
    for kind in ("noun", "function word", "word")
)
PHRASE_METRICS: list[str] = GROUPS[PHRASES]
MAP_METRICS: list[str] = [*OBJECT_METRICS, *FUNCTION_METRICS, *FOCUS_METRICS]
"""What is measured of all maps."""

POOLED: list[str] = [metric.name for metric in CATALOGUE.values() if metric.of != "run"]
"""Those with rows; the rest is computed from their means."""


def shown(measured: Collection[str]) -> list[str]:
    """The metrics that tables show, in their order, where ``measured`` have rows."""
    return [name for name, metric in CATALOGUE.items() if metric.group not in MEASURED_ON_DEMAND or name in measured]
