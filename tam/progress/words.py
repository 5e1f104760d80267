"""A survey in words: what `tam status` says."""

from collections.abc import Iterator, Sequence

from tam.progress.survey import Cost, Left, Progress, Survey, Unfinished
from tam.shard.folder import FOLDER


def describe(survey: Survey) -> str:
    blocks = [*map(_of_run, survey.runs), _of_all(survey)] if survey.runs else [["no runs here"]]
    return "\n\n".join("\n".join(block) for block in blocks)


def _of_run(run: Progress) -> Iterator[str]:
    of = "?" if run.shards is None else run.shards
    yield run.name
    finished = sum(run.statuses.values())
    samples = finished + sum(one.samples for one in run.unfinished)
    yield _row(
        "generate",
        f"{run.done['generate']} of {of} shards, {samples} of {'?' if run.samples is None else run.samples} samples",
        _ahead(run, samples),
    )
    for one in run.unfinished:
        yield _row("", *_unfinished(one))
    for stage in ("attribute", "maps", "perturb/blur", "perturb/mean", "metrics"):
        if stage in run.done:
            name, _, baseline = stage.partition("/")
            yield _row(name, f"{baseline} {run.done[stage]} of {of} shards".lstrip(), run.forwards if baseline else "")
    yield _ends(run.ends)
    if finished:
        yield _row("samples", ", ".join(f"{number} {status}" for status, number in run.statuses.most_common()))
    sizes = [f"{stage} {_bytes(size)}" for stage, size in run.sizes.items() if size]
    if run.unused:
        sizes.append(f"{_bytes(run.unused)} in {FOLDER} that no output refers to")
    if sizes:
        yield _row("on disk", ", ".join(sizes))
    yield from _left(run.left)
    yield from _costs(run.costs)


def _of_all(survey: Survey) -> Iterator[str]:
    yield "all runs"
    yield _ends(survey.ends)
    yield from _left(survey.left)
    yield from _costs(survey.costs)


def _unfinished(one: Unfinished) -> list[str]:
    amount = f"{one.shard}: {one.samples} of {'?' if one.total is None else one.total} samples"
    if one.owner is None:
        return [amount, "nobody is at work: the next start goes on"]
    if one.stale:
        return [amount, f"{one.owner} is gone ({_time(one.silent)} without a sign): the next start takes over"]
    return [amount, *([f"{one.rate:.1f} samples/s"] if one.rate else []), str(one.owner)]


def _ahead(run: Progress, samples: int) -> str:
    """How long all that is at work will take; empty where that is not known."""
    rate = sum(one.rate or 0 for one in run.unfinished if not one.stale)
    if not rate or run.samples is None:
        return ""
    return f"{rate:.1f} samples/s, ETA {_time((run.samples - samples) / rate)}"


def _ends(ends: dict[str, bool | None]) -> str:
    words = {True: "done", False: "not yet", None: "not asked for"}
    return _row("then", ", ".join(f"{end} {words[there]}" for end, there in ends.items()))


def _left(left: Sequence[Left]) -> Iterator[str]:
    if left:
        things = ", ".join(f"{one.what} ({one.files} files, {_bytes(one.bytes)})" for one in left)
        yield _row("left over", f"{things}: of an earlier config, neither read nor deleted")


def _costs(costs: Sequence[Cost]) -> Iterator[str]:
    for number, cost in enumerate(costs):
        many = f"{cost.jobs} jobs of {_time(cost.median)} (median), {_time(cost.seconds)} in all"
        took = f"{many}, the longest {_time(cost.longest)}" if cost.jobs > 1 else f"1 job, {_time(cost.seconds)}"
        yield _row("it took" if number == 0 else "", f"{cost.rule}: {took}", f"up to {cost.megabytes:,.0f} MB")


def _row(name: str, *parts: str) -> str:
    return f"  {name:<9} {', '.join(part for part in parts if part)}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
