"""COCO14 from COCO's own files: pictures as they are, label maps made from the polygons and runs of the instances.

Where objects overlap the smaller one lies on top (``area`` of the annotation). Of the orders that were tried it is the
only one that gives the label maps of the paper's formatted set, to the pixel (docs/datasets.md).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as runs

from tam import manifest
from tam.datasets import coco, entries
from tam.datasets.coco import Entry, Image
from tam.errors import InputError
from tam.manifest import Sample
from tam.system.atomic import atomic

# Points this many times the image's size away are no drawing: pycocotools walks every pixel on the way to them.
FAR = 10
MOST_PIXELS = 1 << 28


def write(
    images: Path, instances: Path, captions: Path, out: Path, *, ids: Path | None = None, prompt: str = coco.PROMPT,
    limit: int | None = None,
) -> int:  # fmt: skip
    """Write label maps into ``seg_label/`` beside the manifest ``out``, and the manifest, images by id.

    Args:
        images: folder of the pictures (val2014).
        instances, captions: COCO's instances_val2014.json and captions_val2014.json.
        ids: which images: a JSON list of ids, a JSON file with ``images`` (instances_minival2014.json), or text with an
            id a line; None for all.

    Returns:
        the number of samples. A wrong entry is a sample that is refused. A label map that is newer than ``instances``
        is kept, so a stopped run goes on.

    Raises:
        InputError: broken JSON, wrong categories, ids that the instances do not have, no sample that can be used.
    """
    wanted = None if ids is None else _ids(ids)
    annotations = coco.read(instances, captions, wanted)
    if missing := (wanted or frozenset()) - {image.id for image in annotations.images}:
        got = f"{len(missing)} of them: {', '.join(map(str, sorted(missing)[:5]))}"
        raise InputError("no such images in the instances", where=f"{ids}, {instances.name}", got=got)
    return entries.write(_samples(annotations, images, instances, out, prompt), out, instances, limit)


def _samples(annotations: coco.Annotations, images: Path, instances: Path, out: Path, prompt: str) -> Iterator[Sample]:
    for image in annotations.images:
        id = f"{image.id:012d}"
        mask = out.parent / "seg_label" / f"{id}.png"
        try:
            annotations.check(image)
            if not mask.is_file() or mask.stat().st_mtime <= instances.stat().st_mtime:
                _write_png(label_map(image, annotations.objects[image.id]), mask)
        except InputError as error:
            yield entries.refused(id, prompt, error)
            continue
        yield Sample(
            id=id,
            media=[manifest.relative(images / image.name, out)],
            prompt=prompt,
            references=annotations.captions[image.id],
            mask=manifest.relative(mask, out),
            categories=annotations.categories,
        )
    for id, problem in annotations.refused.items():
        yield entries.refused(id, prompt, problem)


def label_map(image: Image, objects: list[tuple[str, Entry]]) -> np.ndarray:
    """Category id a pixel, 0 = background: uint8 [height, width].

    Args:
        objects: COCO's annotations, each with its place in the file. Crowds are drawn as the objects they are.

    Raises:
        InputError: an image without size, an annotation without area or a shape that fits the image.
    """
    if min(image.height, image.width) < 1 or image.height * image.width > MOST_PIXELS:
        expected = f"height and width, up to {MOST_PIXELS} pixels"
        raise InputError(
            "no size of an image", where=image.where, got=f"{image.height}, {image.width}", expected=expected
        )
    labels = np.zeros((image.height, image.width), np.uint8)
    for where, entry in sorted(objects, key=_area, reverse=True):
        labels[_region(entry.get("segmentation"), image, where)] = entry["category_id"]
    return labels


def _area(place: tuple[str, Entry]) -> float:
    where, entry = place
    if not isinstance(area := entry.get("area"), int | float):
        raise InputError("no area", where=where, got=repr(area)[:80], expected="a number, which orders overlaps")
    return area


def _region(shape: Any, image: Image, where: str) -> np.ndarray:
    """bool [height, width] of polygons or of a run-length encoding."""
    size = [image.height, image.width]
    try:
        if isinstance(shape, list):
            if not shape or any(len(polygon) < 6 or len(polygon) % 2 for polygon in shape):
                raise ValueError("a polygon needs three points or more")
            if not all(abs(x) <= FAR * max(size) for polygon in shape for x in polygon):
                raise ValueError("a point far outside the image")
            encoded = runs.merge(runs.frPyObjects(shape, *size))
        else:
            if shape["size"] != size or sum(shape["counts"]) != image.height * image.width or min(shape["counts"]) < 0:
                raise ValueError(f"runs of {sum(shape['counts'])} pixels, size {shape['size']}, in an image of {size}")
            encoded = runs.frPyObjects(shape, *size)
        return runs.decode(encoded).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("not a shape", where=where, got=error, expected="polygons or uncompressed runs") from error


def _write_png(labels: np.ndarray, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", labels)[1].tobytes())


def _ids(path: Path) -> frozenset[int]:
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError("cannot be read", where=path, got=error.strerror) from error
    try:
        if content.lstrip()[:1] not in ("[", "{"):
            return frozenset(int(line) for line in content.split())
        found = json.loads(content)
        return frozenset(int(entry) for entry in (found if isinstance(found, list) else map(_id, found["images"])))
    except (ValueError, TypeError, KeyError) as error:
        expected = "a list of ids, or images with ids"
        raise InputError("not ids of images", where=path, got=repr(error), expected=expected) from error


def _id(entry: Entry) -> int:
    return entry["id"]
