"""Every metric: what it is called, what it is of, which way is better, and what chance has.

Tables, figures and pages take names, titles, groups and their order from here; ``docs/evaluation.md`` defines each.
"""

from dataclasses import dataclass
from typing import Literal

Of = Literal["noun", "function word", "word", "answer", "run"]

PUBLISHED, PLAIN, FOCUS, ABOUT_ANSWER = (
    "As published", "Without Otsu's threshold", "Focus of all words' maps", "The answer"
)  # fmt: skip
OBJECT_SHARE = "the object's share of the picture"


@dataclass(frozen=True)
class Metric:
    """One metric; its values are from 0 to 1.

    Attributes:
        name: in files. title: for people, in tables.
        group: the title of the group that it stands in.
        unit: what tables print it in: "%", hundredths.
        direction: which values are better, or, of a measure of focus, more focused: "higher" or "lower".
        chance: what a map has in the mean that knows nothing of the picture; None where there is no such level.
        of: what has a value: a noun whose category is in the image, a function word, any word, an answer; or only the
            run as a whole, from the means of others.
    """

    name: str
    title: str
    group: str
    unit: str
    direction: Literal["higher", "lower"]
    chance: str | None
    of: Of


def _all(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


CATALOGUE: dict[str, Metric] = _all(
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
    Metric("entropy", "Entropy", FOCUS, "%", "lower", None, "word"),
    Metric("gini", "Gini", FOCUS, "%", "higher", None, "word"),
    Metric("top20_mass", "Top-20 % mass", FOCUS, "%", "higher", None, "word"),
    Metric("rouge_l", "ROUGE-L (rouge)", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("rouge_l_standard", "ROUGE-L (standard)", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("meteor", "METEOR", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("name_precision", "Name prec.", ABOUT_ANSWER, "%", "higher", None, "answer"),
    Metric("name_recall", "Name rec.", ABOUT_ANSWER, "%", "higher", None, "answer"),
)
"""In the order of the tables."""

GROUPS: dict[str, list[str]] = {
    group: [metric.name for metric in CATALOGUE.values() if metric.group == group]
    for group in (PUBLISHED, PLAIN, FOCUS, ABOUT_ANSWER)
}
"""Names by what they are about."""

ANSWER: list[str] = GROUPS[ABOUT_ANSWER]
"""They do not depend on the method."""

OBJECT_METRICS, FUNCTION_METRICS, FOCUS_METRICS = (
    [metric.name for metric in CATALOGUE.values() if metric.of == kind] for kind in ("noun", "function word", "word")
)
MAP_METRICS: list[str] = [*OBJECT_METRICS, *FUNCTION_METRICS, *FOCUS_METRICS]
"""What is measured of maps."""

POOLED: list[str] = [metric.name for metric in CATALOGUE.values() if metric.of != "run"]
"""Those with rows; the rest is computed from their means."""
