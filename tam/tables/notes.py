"""What stands under a table: how to read it, how many values there are, what has none and why, how it was made."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from tam.metrics.catalogue import CATALOGUE, MEASURED_ON_DEMAND
from tam.records import OK
from tam.tables.statistics import RESAMPLES
from tam.tables.summary import SEED, MethodSummary, Summary

HOW_TO_READ = (
    "Percent; means over all words of all images (ROUGE-L, METEOR and names: over images). F1-IoU is the harmonic mean "
    f"of the two means. Intervals: 95 %, bootstrap over images, {RESAMPLES} draws, seed {SEED}; those of differences "
    "from paired draws, the same images for both methods. The lists give the number of values of each metric, and in "
    "brackets what has no value and why."
)


def notes(summary: Summary, methods: Iterable[str], metrics: Iterable[str]) -> list[str]:
    """Of methods of a run: how many images and values of ``metrics``, what has no value and why, how it was done."""
    alike, wanted = defaultdict(list), set(metrics)
    for method in methods:
        alike[_numbers(summary.methods[method], wanted)].append(summary.methods[method].title)
    numbers = [text if len(alike) == 1 else f"{', '.join(titles)}: {text}" for text, titles in alike.items()]
    return [f"{text}." for text in (*numbers, f"protocol {summary.protocol}; {summary.tagger}")]


def _numbers(method: MethodSummary, metrics: set[str]) -> str:
    """How many images and values; metrics with the same numbers share them."""
    alike = defaultdict(list)
    for metric, number in method.values.items():
        if metric in metrics and (metric in method.statuses or CATALOGUE[metric].group not in MEASURED_ON_DEMAND):
            others = {status: count for status, count in method.statuses.get(metric, {}).items() if status != OK}
            alike[f"{number}" + (f" ({counted(others)})" if others else "")].append(CATALOGUE[metric].title)
    images = f"images {len(method.samples)} ({counted(method.statuses['answer'])})"
    unknown = [counted(method.statuses["word"])] if "word" in method.statuses else []
    return "; ".join([images, *(f"{', '.join(names)} {number}" for number, names in alike.items()), *unknown])


def counted(counts: Mapping[str, int]) -> str:
    """Numbers by status, "ok" first."""
    by_number = sorted(counts.items(), key=lambda item: (item[0] != OK, -item[1], item[0]))
    return ", ".join(f"{number} {status}" for status, number in by_number)


def direction(metrics: Iterable[str]) -> str:
    """Which values are better, and what a map has that knows nothing of the picture."""
    chosen = [CATALOGUE[metric] for metric in metrics]
    lower = [metric.title for metric in chosen if metric.direction == "lower"]
    chance = defaultdict(list)
    for metric in chosen:
        if metric.chance:
            chance[metric.chance].append(metric.title)
    texts = ["Higher is better" + (f"; lower: {', '.join(lower)}" if lower else "")]
    if chance:
        texts.append("Chance: " + ", ".join(f"{level} ({', '.join(names)})" for level, names in chance.items()))
    return ". ".join(texts) + "."
