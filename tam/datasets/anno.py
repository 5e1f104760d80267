"""GranDf and OpenPSG in the paper's formatted layout.

anno.json   a list of [picture, description, label map, {category: id}], paths relative to its folder
image/, seg_label/
"""

from collections.abc import Iterator
from pathlib import Path

from tam import manifest
from tam.datasets import entries
from tam.errors import InputError
from tam.manifest import Sample

PROMPTS = {
    "grandf": "Write a description for this image using around two sentences:",
    "openpsg": "Write a description for this image using around three sentences:",
}
FILE = "anno.json"


def write(root: Path, out: Path, *, prompt: str, limit: int | None = None) -> int:
    """Write the manifest of the folder ``root`` to ``out``, in the order of the file.

    An id is the picture's name; a picture that comes again, with another description or label map, is a sample of its
    own, ``name-2``: the published evaluation counts every entry.

    Returns:
        the number of samples; a wrong entry, or one that repeats another, is a sample that is refused.

    Raises:
        InputError: no such layout, broken JSON, no sample that can be used.
    """
    if not (root / FILE).is_file():
        got = ", ".join(sorted(path.name for path in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise InputError("not a formatted folder", where=root, got=got, expected=f"{FILE}, image/, seg_label/")
    rows = entries.entry_list(entries.read_json(root / FILE), root / FILE)
    return entries.write(_samples(rows, root, out, prompt), out, root, limit)


def _samples(rows: list[object], root: Path, out: Path, prompt: str) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    names = entries.Names()
    for index, row in enumerate(rows):
        where = f"{FILE}, entry {index}"
        try:
            if (first := seen.setdefault(repr(row), index)) != index:
                raise InputError("entry occurs twice", where=where, got=repr(row)[:80], expected=f"only entry {first}")
            sample = _sample(row, where, root, out, prompt, names)
        except InputError as error:
            sample = entries.refused(f"entry-{index}", prompt, error)
        yield sample


def _sample(row: object, where: str, root: Path, out: Path, prompt: str, names: entries.Names) -> Sample:
    if not isinstance(row, list) or len(row) != 4:
        expected = "[picture, description, label map, {category: id}]"
        raise InputError("not such an entry", where=where, got=repr(row)[:80], expected=expected)
    picture, description, mask, categories = row
    picture, mask = entries.inside(root, picture, where), entries.inside(root, mask, where)
    checked = entries.text(description, where), entries.categories(categories, where)
    return Sample(
        id=names.free(picture.stem),
        media=[manifest.relative(picture, out)],
        prompt=prompt,
        references=[checked[0]],
        mask=manifest.relative(mask, out),
        categories=checked[1],
    )
