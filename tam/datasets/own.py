"""One's own pictures and videos: all of a folder, or those that a CSV file lists."""

import csv
import logging
import re
import unicodedata
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tam import manifest
from tam.datasets import entries
from tam.errors import InputError
from tam.manifest import Sample
from tam.media import PICTURES, VIDEOS, is_video

logger = logging.getLogger(__name__)

CAPTIONS = "captions.txt"
COLUMNS = ("media", "id", "prompt", "captions", "mask", "categories")
SEVERAL = "|"
MOST_DIGITS = 9
ONLY = ""


def write_folder(root: Path, out: Path, *, prompt: str, limit: int | None = None) -> int:
    """Write the manifest of a folder: each picture and each video in it is a sample, each folder of pictures a video.

    ``captions.txt``, if it is there, has a line ``name<TAB>caption`` for each caption; name is that of the file or
    folder. An id is the name without its ending, or with it where two differ in nothing else. Numbers in names count
    as numbers: frame2 comes before frame10.

    Returns:
        the number of samples; a caption of a name that is not there, and a name that is no UTF-8, is one that is
        refused. What is no picture and no video is left out and counted in the log.

    Raises:
        InputError: no such folder, nothing in it to show.
    """
    if not root.is_dir():
        raise InputError("no such folder", where=root)
    shown = [path for path in _listed(root) if path.name != CAPTIONS]
    found = {path.name: media for path in shown if (media := _media(path))}
    beside = [file for path in shown if path.name in found and path.is_dir() for file in _listed(path)]
    _tell(root, [path for path in shown if path.name not in found] + [file for file in beside if not _is_picture(file)])
    captions, problems = _captions(root / CAPTIONS, found)
    stems = Counter(Path(name).stem for name in found)
    names = entries.Names()

    def samples() -> Iterator[Sample]:
        for name, (kind, paths) in found.items():
            id = names.free(Path(name).stem if stems[Path(name).stem] == 1 else name)
            try:
                media = [manifest.relative(path, out) for path in paths]
                yield Sample(id=id, kind=kind, media=media, prompt=prompt, references=captions[name])
            except InputError as error:
                yield entries.refused(id, prompt, error)
        for number, problem in problems.items():
            yield entries.refused(f"caption-{number}", prompt, problem)

    return entries.write(samples(), out, root, limit)


def write_csv(root: Path, out: Path, *, prompt: str, limit: int | None = None) -> int:
    """Write the manifest of the CSV file ``root`` (UTF-8, a header, columns as ``COLUMNS``; docs/howto/datasets.md).

    An id is the column's, or the name of the first file; a second question about a file is ``name-2``.

    Returns:
        the number of samples; a wrong row, or one that repeats another, is a sample that is refused.

    Raises:
        InputError: no such file, columns that are unknown or missing, no row that can be used.
    """
    if not root.is_file():
        raise InputError("no such file", where=root)
    try:
        # what is no UTF-8 shows in its row, as half a surrogate
        with root.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            if "media" not in names or not set(names) <= set(COLUMNS) or len(names) > len(set(names)):
                raise InputError("wrong columns", where=root, got=", ".join(names), expected=", ".join(COLUMNS))
            rows = list(_rows(reader, root.name))
    except (OSError, csv.Error) as error:
        raise InputError("not a CSV file that can be read", where=root, got=error) from error
    return entries.write(_csv_samples(rows, root.parent, out, prompt), out, root, limit)


Row = dict[str, str]


def _rows(reader: "csv.DictReader[str]", file: str) -> Iterator[tuple[str, Row | InputError]]:
    """Each row, or what is wrong with it, with its place."""
    while True:
        try:
            row: Row | InputError = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = InputError("not a row", where=f"{file}, line {reader.reader.line_num}", got=error)
        yield f"{file}, line {reader.reader.line_num}", row


def _csv_samples(rows: list[tuple[str, Row | InputError]], folder: Path, out: Path, prompt: str) -> Iterator[Sample]:
    first: dict[str, str] = {}
    seen: dict[tuple[str, ...], str] = {}
    names = entries.Names()
    for where, row in rows:
        try:
            if isinstance(row, InputError):
                raise row
            sample = _csv_sample(row, where, folder, out, prompt)
            if (other := seen.setdefault(tuple(row.values()), where)) != where:
                raise InputError("row occurs twice", where=where, expected=f"only {other}")
            if row.get("id", "").strip() in names.taken:
                only = f"only {first[sample.id]}"
                raise InputError("id occurs twice", where=where, got=repr(sample.id), expected=only)
            sample = replace(sample, id=names.free(sample.id))
            first[sample.id] = where
        except InputError as error:
            sample = entries.refused(where.rpartition(", ")[2].replace(" ", "-"), prompt, error)
        yield sample


def _csv_sample(row: Row, where: str, folder: Path, out: Path, prompt: str) -> Sample:
    if None in row or None in row.values():
        raise InputError("another number of fields than the header", where=where)
    cells = {name: entries.text(row.get(name, ""), where).strip() for name in COLUMNS}
    named = [entries.inside(folder, name, where) for name in _split(cells["media"])]
    if not named:
        raise InputError("no media", where=where, expected="paths in the column media")
    if len(named) == 1:
        kind, paths = _media(named[0]) or ("images", named)
    else:
        kind, paths = "images", named
    masks = {
        place: manifest.relative(entries.inside(folder, path, where), out)
        for place, path in _masks(cells["mask"], kind, len(paths), where).items()
    }
    return Sample(
        id=cells["id"] or named[0].stem,
        kind=kind,
        media=[manifest.relative(path, out) for path in paths],
        prompt=cells["prompt"] or prompt,
        references=_split(cells["captions"]),
        masks=masks if set(masks) - {ONLY} else {},
        mask=masks[ONLY] if set(masks) == {ONLY} else None,
        categories=_categories(cells["categories"], where),
    )


def _masks(cell: str, kind: str, pictures: int, where: str) -> dict[str, str]:
    """Paths of label maps: ONLY's, where there is one for all; of several pictures in their order, each may lack; of a
    video by frame, ``number=path``."""
    parts = [part.strip() for part in cell.split(SEVERAL)]
    pairs = [part.partition("=") for part in parts]
    if kind == "video" and all(equals and number.strip().isdecimal() for number, equals, _ in pairs):
        return {str(int(number)): path.strip() for number, _, path in pairs}
    if len(parts) > (1 if kind == "video" else pictures):
        expected = "frame=path" if kind == "video" else f"at most {pictures}, one a picture"
        raise InputError("label maps of what", where=where, got=repr(cell)[:80], expected=expected)
    if len(parts) == 1:
        return {ONLY: cell} if cell else {}
    return {str(place): path for place, path in enumerate(parts) if path}


def _categories(cell: str, where: str) -> dict[str, int]:
    pairs = [_category(pair, where) for pair in _split(cell)]
    found = entries.categories(dict(pairs), where)
    if len(found) < len(pairs):
        raise InputError("category occurs twice", where=where, got=repr(cell)[:80])
    return found


def _category(pair: str, where: str) -> tuple[str, int]:
    name, equals, id = pair.rpartition("=")
    if not equals or not id.strip().isdecimal() or len(id) > MOST_DIGITS:
        raise InputError("not a category", where=where, got=repr(pair)[:80], expected="name=id")
    return name.strip(), int(id)


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(SEVERAL) if part.strip()]


def _media(path: Path) -> tuple[str, list[Path]] | None:
    """Kind and files of what a path shows; None if it shows nothing."""
    ending = path.suffix.lower()
    if path.is_dir():
        frames = [file for file in _listed(path) if _is_picture(file)]
        return ("video", frames) if frames else None
    if ending in VIDEOS or (ending == ".gif" and is_video(path)):
        return "video", [path]
    return ("images", [path]) if ending == ".gif" or _is_picture(path) else None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, by name."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(paths, key=lambda path: entries.by_number(path.name))


def _tell(root: Path, left_out: list[Path]) -> None:
    """Say what a folder holds that is not shown."""
    endings = Counter("folders" if path.is_dir() else path.suffix.lower() or "no ending" for path in left_out)
    if endings:
        few = ", ".join(f"{count} {ending[:20]!r}" for ending, count in endings.most_common(8))
        logger.warning("%s: %d entries are no pictures and no videos, and left out: %s", root, len(left_out), few)


def _captions(path: Path, names: Iterable[str]) -> tuple[dict[str, list[str]], dict[int, InputError]]:
    """Captions by name, and what is wrong by line. A name means the file, however its accents are composed."""
    captions: dict[str, list[str]] = {name: [] for name in names}
    problems: dict[int, InputError] = {}
    if not path.is_file():
        return captions, problems
    composed = {unicodedata.normalize("NFC", name): name for name in captions}
    for number, raw in enumerate(re.split(rb"\r\n|\r|\n", path.read_bytes().removeprefix(BOM_UTF8)), 1):
        try:
            line = raw.decode("utf-8")
            name, tab, caption = line.partition("\t")
            if not line.strip():
                continue
            if not tab:
                raise InputError("no tab", where=f"{path.name}, line {number}", got=repr(line)[:80])
            meant = name if name in captions else composed.get(unicodedata.normalize("NFC", name))
            if meant is None:
                raise InputError("caption without picture", where=f"{path.name}, line {number}", got=repr(name)[:80])
            captions[meant].append(caption.strip())
        except UnicodeDecodeError as error:
            problems[number] = InputError("not UTF-8", where=f"{path.name}, line {number}", got=error.reason)
        except InputError as error:
            problems[number] = error
    return captions, problems
