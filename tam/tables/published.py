"""Numbers in print, to stand beside ours: ``config/published.yaml``, whose head says what its keys mean."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from tam.errors import SchemaError
from tam.metrics.catalogue import CATALOGUE

REQUIRED = {"dataset", "model", "source", "found", "hand", "values"}
OPTIONAL = {"note", "comparable", "images"}


@dataclass(frozen=True)
class Source:
    """Who measured, and how we know: ``hand`` is "first" or "second". ``images``: over how many, if known."""

    dataset: str
    model: str
    source: str
    found: str
    hand: str
    note: str = ""
    comparable: bool = True
    images: int | None = None

    def __str__(self) -> str:
        texts = [self.source, f"{self.hand}-hand, from {self.found}", self.note]
        return f"{self.dataset}, {self.model}: " + "; ".join(filter(None, texts))


@dataclass(frozen=True)
class Published:
    """A published number, from 0 to 1."""

    source: Source
    method: str
    metric: str
    value: float


def read_published(path: Path) -> list[Published]:
    """All published numbers of a file.

    Raises:
        SchemaError: not YAML, an entry with missing or unknown keys, an unknown metric, a value outside 0..100, or two
            comparable numbers for one cell.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SchemaError("no published numbers", where=path, got=error, expected="a YAML list") from error
    if not isinstance(entries, list):
        raise SchemaError("not a list of published numbers", where=path, got=type(entries).__name__)
    found: list[Published] = []
    for number, entry in enumerate(entries, 1):
        found += _read(entry, f"{path}, entry {number}")
    cells = set()
    for one in found:
        cell = (one.source.dataset, one.source.model, one.method, one.metric)
        if one.source.comparable and cell in cells:
            raise SchemaError("published twice", where=path, got=cell, cure="comparable: false for one of them")
        if one.source.comparable:
            cells.add(cell)
    return found


def _read(entry: object, where: str) -> list[Published]:
    if not isinstance(entry, dict) or not REQUIRED <= set(entry) <= REQUIRED | OPTIONAL:
        got = sorted(map(str, entry)) if isinstance(entry, dict) else entry
        raise SchemaError("keys of a published number", where=where, got=got, expected=sorted(REQUIRED))
    values, about = entry["values"], {key: value for key, value in entry.items() if key != "values"}
    for key, value in about.items():
        kind = {"comparable": bool, "images": int}.get(key, str)
        if type(value) is not kind:
            raise SchemaError(f"{key} of a published number", where=where, got=repr(value), expected=kind.__name__)
    if about["hand"] not in ("first", "second"):
        raise SchemaError("hand of a published number", where=where, got=about["hand"], expected="first or second")
    if not isinstance(values, dict) or not all(isinstance(by_metric, dict) for by_metric in values.values()):
        raise SchemaError("values of a published number", where=where, got=values, expected="method: {metric: value}")
    found, source = [], Source(**about)
    for method, by_metric in values.items():
        for metric, value in by_metric.items():
            if metric not in CATALOGUE:
                raise SchemaError("unknown metric", where=where, got=metric, expected=", ".join(CATALOGUE))
            if not isinstance(value, int | float) or not 0 <= value <= 100:
                raise SchemaError("not a percentage", where=where, got=value, expected="0..100")
            found.append(Published(source, str(method), metric, value / 100))
    return found
