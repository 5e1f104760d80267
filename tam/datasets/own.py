"""One's own pictures and videos: all of a folder, or those that a CSV file lists."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from tam import manifest
from tam.datasets import entries
from tam.errors import InputError
from tam.manifest import Sample
from tam.media import PICTURES

VIDEOS = {".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
CAPTIONS = "captions.txt"
COLUMNS = ("media", "id", "prompt", "captions", "mask", "categories")
SEVERAL = "|"


def write_folder(root: Path, out: Path, *, prompt: str, limit: int | None = None) -> int:
    """Write the manifest of a folder: each picture and each video in it is a sample, each folder of pictures a video.

    ``captions.txt``, if it is there, has a line ``name<TAB>caption`` for each caption; name is that of the file or
    folder. An id is the name without its ending, or with it where two differ in nothing else.

    Returns:
        the number of samples; a caption of a name that is not there is one that is refused.

    Raises:
        InputError: no such folder, nothing in it to show.
    """
    if not root.is_dir():
        raise InputError("no such folder", where=root)
    found = {path.name: media for path in sorted(root.iterdir()) if (media := _media(path))}
    captions, problems = _captions(root / CAPTIONS, found)
    stems = [Path(name).stem for name in found]

    def samples() -> Iterator[Sample]:
        for name, (kind, paths) in found.items():
            yield Sample(
                id=Path(name).stem if stems.count(Path(name).stem) == 1 else name,
                kind=kind,
                media=[manifest.relative(path, out) for path in paths],
                prompt=prompt,
                references=captions[name],
            )
        for number, problem in problems.items():
            yield entries.refused(f"caption-{number}", prompt, problem)

    return entries.write(samples(), out, root, limit)


def write_csv(root: Path, out: Path, *, prompt: str, limit: int | None = None) -> int:
    """Write the manifest of the CSV file ``root`` (UTF-8, a header, the columns of ``COLUMNS``; docs/datasets.md).

    Returns:
        the number of samples; a wrong row is a sample that is refused.

    Raises:
        InputError: no such file, columns that are unknown or missing, no row that can be used.
    """
    try:
        with root.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            if "media" not in names or not set(names) <= set(COLUMNS):
                raise InputError("wrong columns", where=root, got=", ".join(names), expected=", ".join(COLUMNS))
            rows = [(f"{root.name}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("not a CSV file that can be read", where=root, got=error) from error
    return entries.write(_csv_samples(rows, root.parent, out, prompt), out, root, limit)


def _csv_samples(rows: list[tuple[str, dict[str, str]]], folder: Path, out: Path, prompt: str) -> Iterator[Sample]:
    first: dict[str, str] = {}
    for where, row in rows:
        try:
            sample = _csv_sample(row, where, folder, out, prompt)
            if (other := first.setdefault(sample.id, where)) != where:
                raise InputError("id occurs twice", where=where, got=repr(sample.id), expected=f"only {other}")
        except InputError as error:
            sample = entries.refused(where.rpartition(", ")[2].replace(" ", "-"), prompt, error)
        yield sample


def _csv_sample(row: dict[str, str], where: str, folder: Path, out: Path, prompt: str) -> Sample:
    if None in row or None in row.values():
        raise InputError("another number of fields than the header", where=where)
    cells = {name: row.get(name, "").strip() for name in COLUMNS}
    named = [entries.inside(folder, name, where) for name in _split(cells["media"])]
    if not named:
        raise InputError("no media", where=where, expected="paths in the column media")
    if len(named) == 1:
        kind, paths = _media(named[0]) or ("images", named)
    else:
        kind, paths = "images", named
    return Sample(
        id=cells["id"] or named[0].stem,
        kind=kind,
        media=[manifest.relative(path, out) for path in paths],
        prompt=cells["prompt"] or prompt,
        references=_split(cells["captions"]),
        mask=manifest.relative(entries.inside(folder, cells["mask"], where), out) if cells["mask"] else None,
        categories=entries.categories(dict(_category(pair, where) for pair in _split(cells["categories"])), where),
    )


def _category(pair: str, where: str) -> tuple[str, int]:
    name, equals, id = pair.rpartition("=")
    if not equals or not id.strip().isdecimal():
        raise InputError("not a category", where=where, got=repr(pair), expected="name=id")
    return name.strip(), int(id)


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(SEVERAL) if part.strip()]


def _media(path: Path) -> tuple[str, list[Path]] | None:
    """Kind and files of what a path shows; None if it shows nothing."""
    if path.name.startswith("."):
        return None
    if path.is_dir():
        frames = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
        return ("video", frames) if frames else None
    if path.suffix.lower() in PICTURES:
        return "images", [path]
    return ("video", [path]) if path.suffix.lower() in VIDEOS else None


def _captions(path: Path, names: Iterable[str]) -> tuple[dict[str, list[str]], dict[int, InputError]]:
    """Captions by name, and what is wrong by line."""
    captions: dict[str, list[str]] = {name: [] for name in names}
    problems: dict[int, InputError] = {}
    if not path.is_file():
        return captions, problems
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", where=path, got=error) from error
    for number, line in enumerate(lines, 1):
        name, tab, caption = line.partition("\t")
        if not line.strip():
            continue
        if not tab:
            problems[number] = InputError("no tab", where=f"{path.name}, line {number}", got=repr(line)[:80])
        elif name not in captions:
            problems[number] = InputError(
                "caption without picture", where=f"{path.name}, line {number}", got=repr(name)
            )
        else:
            captions[name].append(caption.strip())
    return captions, problems
