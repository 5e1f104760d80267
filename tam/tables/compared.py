"""Numbers of ours beside those in print, cell by cell, for tables over several runs."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from tam.methods.registry import METHODS
from tam.protocol import REFERENCE
from tam.tables.published import Published, Source
from tam.tables.summary import BASE, Limits, Summary

Run = tuple[str, str]
"""Dataset and model."""

NOT_RUN = "not run"

PAPERS_FILTER = "rgf-3"
"""The filter of TAM itself, by its name among the filters."""


@dataclass(frozen=True)
class Compared:
    """A cell: ours, the published one, or both; from 0 to 1.

    Attributes:
        value, limits, images: NaN and 0 where there is none of ours.
        why: there is no value of ours; "" where there is one.
        published: NaN, and no source, where there is none in print.
        apart: why the two cannot be compared; "" where they can.
    """

    dataset: str
    model: str
    method: str
    metric: str
    value: float
    limits: Limits
    images: int
    why: str
    published: float
    source: Source | None
    apart: str

    @property
    def difference(self) -> float:
        return self.value - self.published


class Numbers:
    """Summaries of our runs and the comparable numbers in print."""

    def __init__(self, summaries: Iterable[Summary], published: Iterable[Published]):
        self.ours: dict[Run, Summary] = {(each.dataset, each.model): _among_filters(each) for each in summaries}
        self.printed: dict[Run, dict[str, dict[str, Published]]] = {}
        for one in published:
            if one.source.comparable:
                methods = self.printed.setdefault((one.source.dataset, one.source.model), {})
                methods.setdefault(one.method, {})[one.metric] = one

    def get(self, run: Run, method: str, metric: str) -> Compared | None:
        """A cell; None where it has neither."""
        summary = self.ours.get(run)
        ours = summary.methods.get(method) if summary else None
        printed = self.printed.get(run, {}).get(method, {}).get(metric)
        if not ours and not printed:
            return None
        value = ours.means[metric] if ours else math.nan
        return Compared(
            *run, method, metric,
            value=value,
            limits=ours.intervals[metric] if ours else (math.nan, math.nan),
            images=len(ours.samples) if ours else 0,
            why=NOT_RUN if not ours else ours.why(metric) if math.isnan(value) else "",
            published=printed.value if printed else math.nan,
            source=printed.source if printed else None,
            apart=_apart(summary, printed.source) if summary and ours and printed else "",
        )  # fmt: skip

    def methods(self, runs: Sequence[Run], groups: Collection[str], *others: str) -> list[str]:
        """Those of some groups, and ``others``, that runs have: ours in their order, then those in print only."""
        ours = [name for run in runs if run in self.ours for name in self.ours[run].methods]
        printed = [name for run in runs for name in self.printed.get(run, ())]
        return [name for name in dict.fromkeys([*ours, *printed]) if name in others or self.group(name) in groups]

    def group(self, method: str) -> str:
        """As in the registry, "own" for others of our runs, and "rival" for what only print has."""
        known = any(method in summary.methods for summary in self.ours.values())
        return METHODS[method].group if method in METHODS else "own" if known else "rival"

    def title(self, method: str) -> str:
        """As our runs call it; a name that we do not have is shown as it is."""
        ours = (summary.methods[method].title for summary in self.ours.values() if method in summary.methods)
        return next(ours, title(method))


def _apart(ours: Summary, printed: Source) -> str:
    """Why numbers of ours cannot be compared with those in print; "" where they can."""
    reasons = [] if ours.protocol == REFERENCE.name else [f"protocol {ours.protocol}"]
    if printed.images not in (None, len(ours.answers)):
        reasons.append(f"{len(ours.answers):,} pictures, in print {printed.images:,}")
    return ", ".join(reasons)


def is_filter(method: str) -> bool:
    return method in METHODS and METHODS[method].group == "filter"


def title(method: str) -> str:
    return METHODS[method].title if method in METHODS else method


def _among_filters(summary: Summary) -> Summary:
    """TAM is ECI with the rank Gaussian filter of 3x3: where filters are compared it stands among them by that name."""
    methods = summary.methods
    if BASE not in methods or PAPERS_FILTER in methods or not any(map(is_filter, methods)):
        return summary
    return replace(summary, methods=methods | {PAPERS_FILTER: replace(methods[BASE], title=title(PAPERS_FILTER))})
