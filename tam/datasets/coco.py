"""COCO captions with label maps, in the formatted layout of the paper's COCO14 set.

annotations/instances_*.json   images and categories (the first file by name is read)
annotations/captions_*.json    captions
image/<file_name>              pictures; the name may have folders
seg_label/<file_name>.png      category id a pixel, 0 = background; .png instead of the picture's ending
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tam import manifest
from tam.datasets import entries
from tam.errors import InputError
from tam.manifest import Sample

logger = logging.getLogger(__name__)

PROMPT = "Write a one-sentence caption for this image:"

# The published evaluation calls two categories by their last word.
PAPER_NAMES = {"sports ball": "ball", "wine glass": "glass"}

LARGEST_ID = (1 << 63) - 1

Entry = dict[str, Any]  # an object of COCO's JSON


def write(root: Path, out: Path, *, prompt: str = PROMPT, limit: int | None = None) -> int:
    """Write the manifest of the folder ``root`` to ``out``, images in the order of their ids.

    Returns:
        the number of samples. A wrong entry is a sample that is refused; a picture or mask that is missing is left to
        the stage that opens it, which records it with the sample.

    Raises:
        InputError: no such layout, broken JSON, no category or no sample that can be used.
    """
    annotations = read(_find(root, "instances"), _find(root, "captions"))
    return entries.write(_samples(annotations, root, out, prompt), out, root, limit)


def _samples(annotations: "Annotations", root: Path, out: Path, prompt: str) -> Iterator[Sample]:
    for image in annotations.images:
        id = str(Path(image.name).with_suffix(""))
        try:
            annotations.check(image)
            yield Sample(
                id=id,
                media=[manifest.relative(root / "image" / image.name, out)],
                prompt=prompt,
                references=annotations.captions[image.id],
                mask=manifest.relative(root / "seg_label" / f"{id}.png", out),
                categories=annotations.categories,
            )
        except InputError as error:
            yield entries.refused(id, prompt, error)
    for id, problem in annotations.refused.items():
        yield entries.refused(id, prompt, problem)


@dataclass(frozen=True)
class Image:
    """An entry of ``images``; ``where`` names file and entry, height and width are 0 where they are not given.

    ``name`` is a path in the folder of the pictures.
    """

    id: int
    name: str
    height: int
    width: int
    where: str


@dataclass(frozen=True)
class Annotations:
    """What COCO's two files say.

    Attributes:
        images: by id.
        refused: entries of ``images`` that cannot be used, by a name for their samples.
        captions: by image id.
        categories: name -> id, names as in the published evaluation.
        objects: the entries of ``annotations`` with their places in the file, by image id.
        problems: what is wrong with an entry that belongs to an image, by image id.
    """

    images: list[Image]
    refused: dict[str, InputError]
    captions: dict[int, list[str]]
    categories: dict[str, int]
    objects: dict[int, list[tuple[str, Entry]]]
    problems: dict[int, InputError]

    def check(self, image: Image) -> None:
        """InputError if something that belongs to the image is wrong."""
        if image.id in self.problems:
            raise self.problems[image.id]


def read(instances: Path, captions: Path, only: frozenset[int] | None = None) -> Annotations:
    """Read COCO's instances and captions.

    Args:
        only: ids of the images that are wanted; None for all.

    Raises:
        InputError: broken JSON, a missing list, no category that can be used.
    """
    content = lists(instances, ("images", "categories"))
    found = with_images(content, instances.name, only)
    images = {image.id for image in found.images}
    known, lost = frozenset(found.categories.values()), 0
    for where, value in numbered(entries.entry_list(content.get("annotations", []), instances), instances.name):
        owner, entry = owned(value)
        lost += owner is None
        if owner in images:
            found.objects[owner].append((where, entry))
            category = entry.get("category_id")
            if type(category) is not int or category not in known:
                found.problems.setdefault(owner, InputError("unknown category", where=where, got=repr(category)[:80]))
    if lost:
        logger.warning("%s: %d objects say no image_id, or are no objects", instances.name, lost)
    add_captions(found, captions)
    return found


def with_images(content: Entry, file: str, only: frozenset[int] | None) -> Annotations:
    """The images and categories of a file in COCO's layout, without objects and captions."""
    categories = _categories(content["categories"], file)
    images: dict[int, Image] = {}
    refused: dict[str, InputError] = {}
    for index, (where, entry) in enumerate(numbered(content["images"], file, "images")):
        try:
            image = _image(entry, where)
            if image.id in images:
                raise InputError("image id occurs twice", where=where, got=image.id, expected=images[image.id].where)
        except InputError as error:
            refused[f"images-{index}"] = error
            continue
        if only is None or image.id in only:
            images[image.id] = image
    ordered = [images[id] for id in sorted(images)]
    return Annotations(ordered, refused, defaultdict(list), categories, defaultdict(list), {})


def add_captions(found: Annotations, captions: Path) -> None:
    """The captions of a file in COCO's layout; a wrong one is a problem of its image."""
    images, others = {image.id for image in found.images}, 0
    for where, value in numbered(lists(captions, ("annotations",))["annotations"], captions.name):
        owner, entry = owned(value)
        if owner not in images:
            others += 1
            continue
        try:
            found.captions[owner].append(entries.text(entry.get("caption"), where))
        except InputError as error:
            found.problems.setdefault(owner, error)
    if others:
        logger.info("%s: %d captions belong to none of the %d images", captions.name, others, len(images))


def _find(root: Path, kind: str) -> Path:
    files = sorted(root.glob(f"annotations/{kind}_*.json"), key=lambda path: entries.by_number(path.name))
    if not files:
        raise InputError(
            "not a formatted COCO folder",
            where=root,
            expected=f"annotations/{kind}_*.json, image/, seg_label/",
            got=", ".join(sorted(path.name for path in root.iterdir())[:8]) if root.is_dir() else "no such folder",
        )
    if files[1:]:
        logger.warning("%s is read, and not %s", files[0], ", ".join(path.name for path in files[1:]))
    return files[0]


def lists(path: Path, keys: tuple[str, ...]) -> Entry:
    """The content of a file with lists under all of ``keys``."""
    content = entries.read_json(path)
    found = content if isinstance(content, dict) else {}
    for key in keys:
        entries.entry_list(found.get(key), f"{path}, {key!r}")
    return found


def numbered(values: list[object], file: str, key: str = "annotations") -> Iterator[tuple[str, object]]:
    return ((f"{file}, {key}[{index}]", value) for index, value in enumerate(values))


def _image(entry: object, where: str) -> Image:
    if not isinstance(entry, dict) or type(entry.get("id")) is not int or abs(entry["id"]) > LARGEST_ID:
        raise InputError("not an image entry", where=where, got=repr(entry)[:80], expected="id and file_name")
    name = str(entries.inside(Path("image"), entry.get("file_name"), where).relative_to("image"))
    height, width = (size if type(size := entry.get(key)) is int else 0 for key in ("height", "width"))
    return Image(entry["id"], name, height, width, where)


def owned(value: object) -> tuple[int | None, Entry]:
    """The image an entry belongs to, and the entry; one that does not say so can be charged to none."""
    if isinstance(value, dict) and type(owner := value.get("image_id")) is int:
        return owner, value
    return None, {}


def _categories(values: list[object], file: str) -> dict[str, int]:
    """Name -> id of the categories that can be used; objects of the others cost their images."""
    found: dict[str, int] = {}
    problems = []
    for where, entry in numbered(values, file, "categories"):
        try:
            if not isinstance(entry, dict) or not {"id", "name"} <= entry.keys():
                raise InputError("entry is incomplete", where=where, got=repr(entry)[:80], expected="id and name")
            name = entries.text(entry["name"], where)
            name = PAPER_NAMES.get(name, name)
            checked = entries.categories({name: entry["id"]}, where)
            if name in found or entry["id"] in found.values():
                raise InputError("category occurs twice", where=where, got=f"{entry['id']!r}, {name!r}")
            found |= checked
        except InputError as error:
            problems.append(error)
    if problems and not found:
        raise problems[0]
    if problems:
        logger.warning("%d of %d categories are left out: %s", len(problems), len(values), problems[0])
    return found
