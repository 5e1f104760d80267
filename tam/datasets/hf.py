"""A dataset of the Hugging Face hub, or one kept like it in a folder: rows of Parquet files or of tar archives.

A row has a picture or several, captions, a question, a label map; what the columns are called is the user's to say.
Its pictures are written beside the manifest, byte for byte as they stand in the row, under the sha256 of their bytes: a
name in a row never becomes the name of a file, and a picture of many questions is written once.

image/xx/<sha256>.<ending>   pictures; xx are the first two of its digits, so that no folder has very many files
mask/xx/<sha256>.png         label maps
"""

import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tam import manifest
from tam.datasets import archives, entries, parquet, webdataset
from tam.datasets.hub import chosen
from tam.datasets.row import COLUMNS, Row
from tam.errors import InputError
from tam.manifest import Sample, Shard
from tam.system.atomic import atomic

logger = logging.getLogger(__name__)

MOST_FILES = 100_000
SIGNS = (
    (0, b"\xff\xd8\xff", ".jpg"), (0, b"\x89PNG\r\n\x1a\n", ".png"), (8, b"WEBP", ".webp"), (0, b"GIF8", ".gif"),
    (0, b"BM", ".bmp"), (0, b"II*\0", ".tiff"), (0, b"MM\0*", ".tiff"), (4, b"ftypavi", ".avif"),
    *((0, b"P%d" % kind, ".ppm") for kind in range(1, 7)),
)  # fmt: skip
"""What pictures begin with (place, sign), and how their names end."""


def find(root: Path, pattern: str | None) -> tuple[Path, list[Path]]:
    """The folder of a dataset, and its files: those of the folder ``root`` that ``pattern`` matches (``hub.chosen``),
    without it all Parquet files or, where there is none, all tar archives; or the one file ``root``.

    Raises:
        InputError: there is none.
    """
    if root.is_file():
        return root.parent, [root]
    if not root.is_dir():
        raise InputError("no such folder", where=root)
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    names = [*itertools.islice(found, MOST_FILES + 1)]
    if len(names) > MOST_FILES:
        raise InputError("too many files", where=root, expected=f"up to {MOST_FILES}", cure="name a smaller folder")
    patterns = ["*.parquet", *(f"*{ending}" for ending in archives.ENDINGS if ".t" in ending)]
    for wanted in ([pattern],) if pattern else (patterns[:1], patterns[1:]):
        if files := sorted({name for one in wanted for name in chosen(names, one)}, key=entries.by_number):
            return root, [root / name for name in files]
    got = ", ".join(sorted(names)[:8]) or "an empty folder"
    raise InputError("no such files", where=root, got=got, expected=pattern or "*.parquet, or *.tar")


def write(
    folder: Path, files: Sequence[Path], out: Path, *, columns: Mapping[str, str], categories: Path | None = None,
    part: Shard | None = None, prompt: str, limit: int | None = None,
) -> int:  # fmt: skip
    """Write the manifest of some files' rows to ``out``, and beside it their pictures.

    Args:
        folder: that the files lie in; paths in rows are relative to that of their file and stay in it.
        columns: of ``row.COLUMNS``, what another column holds than that of the same name.
        categories: a JSON file, {name: id}, of the label maps.
        part: a slice of all rows; None: all of them.

    Returns:
        the number of samples; a wrong row, and a damaged file or group of rows, is one that is refused.

    Raises:
        InputError: no row that can be used, categories that are none, a column that was named and is in no row.
    """
    known = {} if categories is None else entries.categories(entries.read_json(categories), str(categories))
    store = _Store(out, archives.most_bytes(files))
    named = frozenset(columns)
    wanted = {name: columns.get(name, name) for name in COLUMNS}

    def samples() -> Iterator[Sample]:
        seen: set[str] = set()
        for row, file in _rows(folder, files, wanted, named, part):
            try:
                yield _sample(row, file.parent, out, prompt, known, store)
            except InputError as error:
                yield entries.refused(row.id, prompt, error)
            if not isinstance(row.cells, InputError):
                seen |= row.cells.keys()
        if part is None and seen and (unseen := [columns[what] for what in sorted(named - seen)]):
            expected = f"files KEY.{unseen[0]}, or a key of KEY.json"
            raise InputError("no row has this column", where=folder, got=unseen[0], expected=expected)

    return entries.write(samples(), out, folder, limit)


def _rows(
    folder: Path, files: Sequence[Path], columns: Mapping[str, str], named: frozenset[str], part: Shard | None
) -> Iterator[tuple[Row, Path]]:
    """The rows of the slice, each with its file. A file that cannot be read is one row, in the slice of its first."""
    counts = [1] * len(files)
    if part is not None:
        counts = [_count(path) for path in files]
    first, start = part.rows(sum(counts)) if part else range(0), 0
    for path, count in zip(files, counts, strict=True):
        span = range(first.start - start, first.stop - start) if part else range(parquet.MOST_ROWS)
        start += count
        if part and (span.stop <= 0 or span.start >= count):
            continue
        name = path.relative_to(folder).as_posix()
        try:
            for row in _reader(path).rows(path, name, columns, named, span):
                yield row, path
        except InputError as error:
            if 0 in span:
                yield Row(name, name, error), path


def _count(path: Path) -> int:
    try:
        return _reader(path).count(path)
    except InputError:
        return 1


def _reader(path: Path) -> ModuleType:
    return webdataset if archives.is_archive(path.name) else parquet


@dataclass
class _Store:
    """Where pictures are written.

    Attributes:
        out: the manifest. left: how many bytes may still be written: rows can name one picture without end.
    """

    out: Path
    left: int
    _written: set[Path] = field(default_factory=set)

    def put(self, kind: str, content: bytes, ending: str) -> Path:
        digest = hashlib.sha256(content).hexdigest()
        path = self.out.parent / kind / digest[:2] / f"{digest}{ending}"
        if path not in self._written:
            if len(content) > self.left:
                expected = f"up to {archives.MOST_GROWTH} times as many as the files have"
                raise InputError("pictures of too many bytes", where=self.out.parent, expected=expected)
            self.left -= len(content)
            if not path.is_file() or path.stat().st_size != len(content):
                with atomic(path) as temporary:
                    temporary.write_bytes(content)
            self._written.add(path)
        return path


def _sample(
    row: Row, beside: Path, out: Path, prompt: str, categories: dict[str, int], store: _Store
) -> Sample:  # fmt: skip
    if isinstance(row.cells, InputError):
        raise InputError(str(row.cells), where=row.where)
    cells = row.cells
    pictures = [_file("image", one, beside, row.where, store) for one in _listed(cells.get("image"))]
    if not pictures or None in pictures:
        raise InputError("no picture", where=row.where)
    masks = [_file("mask", one, beside, row.where, store) for one in _listed(cells.get("mask"))]
    if len(masks) > len(pictures):
        raise InputError("more label maps than pictures", where=row.where, got=len(masks), expected=len(pictures))
    places = {str(place): manifest.relative(path, out) for place, path in enumerate(masks) if path is not None}
    question = _texts("question", row, cells)
    return Sample(
        id=_id(cells.get("id"), row),
        media=[manifest.relative(path, out) for path in pictures if path is not None],
        prompt="\n".join(question) or prompt,
        references=_texts("caption", row, cells),
        mask=places.get("0") if len(pictures) == 1 else None,
        masks=places if len(pictures) > 1 else {},
        categories=categories,
    )


def _listed(cell: object) -> list[object]:
    return cell if isinstance(cell, list) else [] if cell is None else [cell]


def _file(kind: str, cell: object, beside: Path, where: str, store: _Store) -> Path | None:
    """Where a picture lies, after writing the bytes of one that is in the row; None where there is none."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes):
        if not content:
            return None
        signs = (ending for start, sign, ending in SIGNS if content.startswith(sign, start))
        if (ending := next(signs, None)) is None:
            raise InputError("not a picture", where=f"{where}, {kind}", got=f"bytes that begin with {content[:12]!r}")
        return store.put(kind, content, ending)
    path = cell.get("path") if isinstance(cell, dict) else cell
    return None if path is None or path == "" else entries.inside(beside, path, where)


def _text(cell: object, where: str) -> str:
    if isinstance(cell, bytes):
        try:
            cell = cell.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError("not a text", where=where, got=repr(cell)[:80], expected="UTF-8") from error
    return "" if cell is None else entries.text(cell, where).strip()


def _texts(what: str, row: Row, cells: Mapping[str, object]) -> list[str]:
    """The texts of a column that are not blank."""
    return [said for one in _listed(cells.get(what)) if (said := _text(one, f"{row.where}, {what}"))]


def _id(cell: object, row: Row) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # as pandas writes numbers of which one is missing
    if type(cell) is int:
        return str(cell)
    return _text(cell, f"{row.where}, id") or row.id
