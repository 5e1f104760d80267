"""What stands under a table: how to read it, how many values there are, what has none and why, how it was made."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tam.metrics.catalogue import CATALOGUE, MEASURED_ON_DEMAND
from tam.records import OK
from tam.tables.statistics import RESAMPLES
from tam.tables.summary import SEED, MethodSummary, Summary
from tam.tables.totals import kind

REASONS = 3  # that are named of a status

CAPTION = (
    "Percent; in small print the interval, or why there is no value. Bold: best of its column; underlined: in the"
    " interval of the best."
)
HOW_TO_READ = (
    "Percent (image use: nats); means over all words of all images (ROUGE-L, METEOR and names: over images). F1-IoU is "
    "the harmonic mean of the two means. "
    f"Intervals: 95 %, bootstrap over images, {RESAMPLES} draws, seed {SEED}; those of differences from paired draws, "
    "the same images for both methods. The lists give the number of values of each metric, and in brackets what has no "
    "value and why."
)


def notes(summary: Summary, methods: Iterable[str], metrics: Iterable[str]) -> list[str]:
    """Of methods of a run: how many images and values of ``metrics``, what has no value and why, how it was done."""
    alike, wanted = defaultdict(list), set(metrics)
    for method in methods:
        alike[_numbers(summary.methods[method], wanted)].append(summary.methods[method].title)
    numbers = [text if len(alike) == 1 else f"{', '.join(titles)}: {text}" for text, titles in alike.items()]
    how = [f"protocol {summary.protocol}", summary.tagger]
    how += [f"maps of scores: {summary.scores}"] if summary.scores else []
    return [f"{text}." for text in ("; ".join(how), *numbers)]


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
    """Numbers by kind of status, "ok" first, with the most frequent reasons of each.

    >>> counted({"ok": 5, "failed: no picture": 2, "failed: out of memory": 1, "truncated": 4})
    '5 ok, 4 truncated, 3 failed [2 no picture, 1 out of memory]'
    """
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for status, number in counts.items():
        reasons[kind(status)][status.partition(": ")[2]] += number
    by_number = sorted(reasons.items(), key=lambda item: (item[0] != OK, -item[1].total(), item[0]))
    return ", ".join(f"{number.total()} {status}{_reasons(number)}" for status, number in by_number)


def by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    """Numbers by kind of status, in the kinds' alphabetical order."""
    found: Counter[str] = Counter()
    for status, number in counts.items():
        found[kind(status)] += number
    return dict(sorted(found.items()))


def _reasons(numbers: Counter[str]) -> str:
    named = {reason: number for reason, number in numbers.most_common() if reason}
    if len(named) < 2:
        return "".join(f" [{reason}]" for reason in named)
    shown = [f"{number} {reason}" for reason, number in named.items()][:REASONS]
    return f" [{', '.join(shown)}{', ...' if len(named) > REASONS else ''}]"


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
