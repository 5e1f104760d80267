"""Phrases and the objects that they refer to: RefCOCO, RefCOCO+ and RefCOCOg, or rows of one's own.

refs         the public layout: a list of {ref_id, image_id, ann_id, split, sentences: [{sent}]}, JSON or the pickle
             refs(unc).p, whose shapes stand in instances.json; without it rows, a list of JSON or JSON Lines:
             {image, phrase, segmentation}, if need be with id and split
images       folder of the pictures, COCO's train2014
seg_label/   made here: a label map an object, in which the object is 1

Each phrase is a sample. Its label map is that of the phrase alone, not of a category: other objects of the same kind
may be in the picture.

Yu et al.: Modeling Context in Referring Expressions, ECCV 2016; https://github.com/lichengunc/refer
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tam import manifest
from tam.datasets import coco, coco_original, entries, pickled
from tam.datasets.coco import Image
from tam.errors import InputError
from tam.manifest import Sample
from tam.media import stored_size, turned

logger = logging.getLogger(__name__)

OBJECT = 1  # the id of what a phrase refers to
LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Reference:
    """A phrase and a shape.

    Attributes:
        image: of the shape; its height and width are 0 where nobody says them.
        shape: polygons or runs. where: the shape stands, for people.
    """

    id: str
    phrase: str
    image: Image
    shape: object
    where: str


Found = Reference | tuple[str, InputError]
"""A reference, or the name of its sample and what is wrong with it."""


def write(
    images: Path, refs: Path, out: Path, *, instances: Path | None = None, split: str | None = None,
    prompt: str = coco.PROMPT, limit: int | None = None,
) -> int:  # fmt: skip
    """Write label maps into ``seg_label/`` beside the manifest ``out``, and the manifest, phrases in their order.

    Args:
        refs: phrases; with ``instances`` in the public layout, without it rows with their shapes.
        split: only those of this split ("val", "testA", ...); None: all.

    Returns:
        the number of samples. A wrong entry is a sample that is refused, and so is a picture that is missing or has
        another size than its shape.

    Raises:
        InputError: a file that cannot be read, no phrase that can be used.
    """
    found = _rows(refs, split) if instances is None else _references(refs, instances, split)
    return entries.write(_samples(found, images, out, prompt), out, refs, limit)


def _samples(found: Iterator[Found], images: Path, out: Path, prompt: str) -> Iterator[Sample]:
    for one in found:
        if isinstance(one, tuple):
            id, problem = one
            yield entries.refused(id, prompt, problem)
            continue
        try:
            picture = images / one.image.name
            mask = _mask(one, picture, out)
            media, path = (manifest.relative(place, out) for place in (picture, mask))
            yield Sample(id=one.id, media=[media], prompt=prompt, mask=path, phrases={one.phrase: OBJECT})
        except InputError as error:
            yield entries.refused(one.id, prompt, error)


def _mask(one: Reference, picture: Path, out: Path) -> Path:
    """Where the object's label map lies, after drawing it. Phrases about one object share it."""
    (width, height), turn = stored_size(picture)
    image = one.image
    if (image.height, image.width) not in ((0, 0), (height, width)):
        coco_original.check_size(image, picture)
    said = json.dumps([image.name, width, height, turn, one.shape], sort_keys=True)
    digest = hashlib.sha256(said.encode()).hexdigest()
    path = out.parent / "seg_label" / digest[:2] / f"{digest}.png"
    if not path.is_file():
        sized = Image(image.id, image.name, height, width, image.where)
        pixels = coco_original.region(one.shape, sized, one.where)
        coco_original.write_png(turned(pixels.astype(np.uint8) * OBJECT, turn), path)
    return path


def _phrase(value: object, where: str) -> str:
    said = " ".join(entries.text(value, where).split())
    if not said:
        raise InputError("a phrase without words", where=where, got=repr(value))
    return said


def _rows(path: Path, split: str | None) -> Iterator[Found]:
    names = entries.Names()
    for where, row in _listed(path):
        id = where.rpartition(", ")[2].replace(" ", "-")
        try:
            if isinstance(row, InputError):
                raise row
            if not isinstance(row, dict) or not {"image", "phrase", "segmentation"} <= row.keys():
                raise InputError("not a row", where=where, got=repr(row)[:80], expected="image, phrase, segmentation")
            if split is not None and row.get("split") != split:
                continue
            name = str(entries.inside(Path("images"), row["image"], where).relative_to("images"))
            phrase = _phrase(row["phrase"], where)
            id = _id(row.get("id"), where) or names.free(Path(name).stem)
            yield Reference(id, phrase, Image(0, name, 0, 0, where), row["segmentation"], where)
        except InputError as error:
            yield id, error


def _id(value: object, where: str) -> str:
    """ "" where there is none."""
    return "" if value is None else str(value) if type(value) is int else entries.text(value, f"{where}, id").strip()


def _listed(path: Path) -> Iterator[tuple[str, object]]:
    """Rows with their places; of JSON Lines, what is wrong with one."""
    if path.suffix not in LINES:
        for index, row in enumerate(entries.entry_list(entries.read_json(path), path)):
            yield f"{path.name}, row {index}", row
        return
    if not path.is_file():
        raise InputError("no such file", where=path)
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(manifest.LONGEST_LINE + 1), b""), 1):
            where = f"{path.name}, line {number}"
            if len(line) > manifest.LONGEST_LINE:
                raise InputError("a line too long", where=where, expected=f"at most {manifest.LONGEST_LINE} bytes")
            if line.strip():
                try:
                    yield where, json.loads(line.decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    yield where, InputError("not a line of JSON", where=where, got=str(error)[:80])


def _references(path: Path, instances: Path, split: str | None) -> Iterator[Found]:
    content = coco.lists(instances, ("images", "annotations", "categories"))
    annotations = coco.with_images(content, instances.name, None)
    images = {image.id: image for image in annotations.images}
    shapes = {
        entry["id"]: (where, entry)
        for where, entry in coco.numbered(content["annotations"], instances.name)
        if isinstance(entry, dict) and type(entry.get("id")) is int
    }
    read = pickled.read(path) if path.suffix in (".p", ".pkl", ".pickle") else entries.read_json(path)
    for index, ref in enumerate(entries.entry_list(read, path)):
        where = f"{path.name}, entry {index}"
        try:
            if not isinstance(ref, dict) or type(ref.get("ref_id")) is not int:
                raise InputError("not a reference", where=where, got=repr(ref)[:80], expected="ref_id, ann_id, ...")
            if split is not None and ref.get("split") != split:
                continue
            image, shape, place = _object(ref, images, shapes, where)
            if not (sentences := entries.entry_list(ref.get("sentences"), where)):
                raise InputError("a reference without a phrase", where=where)
        except InputError as error:
            yield f"entry-{index}", error
            continue
        for number, sentence in enumerate(sentences):
            id = f"{ref['ref_id']}-{number}"
            try:
                text = sentence.get("sent") if isinstance(sentence, dict) else sentence
                yield Reference(id, _phrase(text, where), image, shape, place)
            except InputError as error:
                yield id, error


def _object(
    ref: Mapping[str, Any], images: Mapping[int, Image], shapes: Mapping[int, tuple[str, Any]], where: str
) -> tuple[Image, object, str]:
    """The image and the shape that a reference is about, and where the shape stands."""
    id, owner = ref.get("ann_id"), ref.get("image_id")
    if type(id) is not int or id not in shapes:
        raise InputError("no such object", where=where, got=repr(id)[:80], expected="the id of an annotation")
    place, entry = shapes[id]
    if type(owner) is not int or entry.get("image_id") != owner or owner not in images:
        raise InputError("no such image of the object", where=f"{where}; {place}", got=repr(owner)[:80])
    return images[owner], entry.get("segmentation"), f"{where}; {place}"
