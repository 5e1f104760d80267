"""COCO14 from COCO's own files: pictures as they are, label maps made from the polygons and runs of the instances.

Where objects overlap the smaller one lies on top (``area`` of the annotation). Of the orders that were tried it is the
only one that gives the label maps of the paper's formatted set, to the pixel (docs/howto/datasets.md). Shapes lie on
the pixels as the picture's file stores them, label maps on the picture as it is shown, upright.
"""

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as polygons

from tam import manifest
from tam.datasets import coco, entries
from tam.datasets.coco import Entry, Image
from tam.errors import InputError
from tam.manifest import Sample
from tam.media import MOST_PIXELS, stored_size, turned
from tam.system.atomic import atomic
from tam.system.mark import add_to

logger = logging.getLogger(__name__)

# pycocotools walks every pixel on the way from point to point. Points this many times the image's size away are no
# drawing, nor are lines this many times as long as all its pixels in a row.
FAR = 10
LONG, SHORT = 4, 1 << 20
MOST_POLYGONS = 10_000  # of an object
FEWEST = 6  # numbers of a polygon: three points


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
        the number of samples. A wrong entry is a sample that is refused, and so is a picture that is missing or of
        another size than its annotation says: nobody knows where its objects are. A label map that is newer than
        ``instances`` and the picture is kept, so a stopped run goes on.

    Raises:
        InputError: broken JSON, no category or no sample that can be used, ``ids`` that are none.
    """
    wanted = read_ids(ids)
    annotations = coco.read(instances, captions, wanted)
    refuse_missing(annotations, wanted, instances)
    _tell(annotations)
    made = samples(
        annotations, images, out, prompt, made_of=lambda image: [instances],
        draw=lambda image: label_map(image, annotations.objects[image.id]),
    )  # fmt: skip
    return entries.write(made, out, instances, limit)


def refuse_missing(annotations: coco.Annotations, wanted: frozenset[int] | None, file: Path) -> None:
    """Each wanted image that the file lacks is a sample that is refused."""
    for id in sorted((wanted or frozenset()) - {image.id for image in annotations.images}):
        annotations.refused[f"{id:012d}"] = InputError("no such image", where=file.name, got=id)


def _tell(annotations: coco.Annotations) -> None:
    shapes = [entry for objects in annotations.objects.values() for _, entry in objects]
    if crowds := sum(entry.get("iscrowd") == 1 for entry in shapes):
        logger.info("%d crowds are drawn as the objects they are", crowds)
    lines = (line for entry in shapes if isinstance(shape := entry.get("segmentation"), list) for line in shape)
    if thin := sum(isinstance(line, list) and len(line) < FEWEST for line in lines):
        logger.warning("%d polygons of less than three points cover no pixel", thin)


def samples(
    annotations: coco.Annotations, images: Path, out: Path, prompt: str, *, made_of: Callable[[Image], list[Path]],
    draw: Callable[[Image], np.ndarray],
) -> Iterator[Sample]:  # fmt: skip
    """A sample an image, after writing its label map.

    Args:
        made_of: files that a label map is made of, besides the picture; one that is newer than all is kept.
        draw: the label map on the pixels as they are stored.

    Raises:
        DiskError: ``seg_label`` is a folder of somebody else.
    """
    add_to(out.parent / "seg_label", {"kind": "label maps"})
    for image in annotations.images:
        id = f"{image.id:012d}"
        picture, mask = images / image.name, out.parent / "seg_label" / f"{id}.png"
        try:
            annotations.check(image)
            turn = check_size(image, picture)
            sources = [path for path in (picture, *made_of(image)) if path.is_file()]
            if not mask.is_file() or mask.stat().st_mtime <= max(path.stat().st_mtime for path in sources):
                write_png(turned(draw(image), turn), mask)
            yield Sample(
                id=id,
                media=[manifest.relative(picture, out)],
                prompt=prompt,
                references=annotations.captions[image.id],
                mask=manifest.relative(mask, out),
                categories=annotations.categories,
            )
        except InputError as error:
            yield entries.refused(id, prompt, error)
    for id, problem in annotations.refused.items():
        yield entries.refused(id, prompt, problem)


def check_size(image: Image, picture: Path) -> int:
    """How a picture is turned to be shown (EXIF's 1 to 8); InputError: it has another size than its entry says."""
    size, turn = stored_size(picture)
    if size != (image.width, image.height):
        got, expected = ("{} x {}".format(*pair) for pair in (size, (image.width, image.height)))
        raise InputError("picture of another size", where=f"{image.where}, {picture}", got=got, expected=expected)
    return turn


def label_map(image: Image, objects: list[tuple[str, Entry]]) -> np.ndarray:
    """Category id a pixel, as the picture's pixels are stored, 0 = background: uint8 [height, width].

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
        labels[region(entry.get("segmentation"), image, where)] = entry["category_id"]
    return labels


def _area(place: tuple[str, Entry]) -> float:
    where, entry = place
    if not isinstance(area := entry.get("area"), int | float) or not math.isfinite(area):
        raise InputError("no area", where=where, got=repr(area)[:80], expected="a number, which orders overlaps")
    return area


def region(shape: Any, image: Image, where: str) -> np.ndarray:
    """bool [height, width] of polygons or of run lengths, as numbers or compressed to text."""
    try:
        return _inside(shape, image) if isinstance(shape, list) else _runs(shape, image)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        expected = "polygons or runs; a box has no shape"
        raise InputError("not a shape", where=where, got=error, expected=expected) from error


def _inside(shape: list[Any], image: Image) -> np.ndarray:
    lines = [np.array(line, float) for line in shape]
    if any(line.ndim != 1 or len(line) % 2 for line in lines) or len(lines) > MOST_POLYGONS:
        raise ValueError(f"no list of up to {MOST_POLYGONS} polygons x, y, x, y, ...")
    lines = [line for line in lines if len(line) >= FEWEST]
    if not lines:
        raise ValueError("a polygon needs three points or more")
    if not all((np.abs(line) <= FAR * max(image.height, image.width)).all() for line in lines):
        raise ValueError("a point far outside the image")
    points = [line.reshape(-1, 2) for line in lines]
    way = sum(np.abs(line - np.roll(line, 1, axis=0)).max(axis=1).sum() for line in points)
    if way > max(LONG * image.height * image.width, SHORT):
        raise ValueError("lines many times as long as the image has pixels")
    encoded = polygons.merge(polygons.frPyObjects([line.tolist() for line in lines], image.height, image.width))
    return polygons.decode(encoded).astype(bool)


def _runs(shape: dict[str, Any], image: Image) -> np.ndarray:
    """Run lengths are drawn here: pycocotools writes as many pixels as they say."""
    size, counts = [image.height, image.width], shape["counts"]
    counts = _uncompressed(counts) if isinstance(counts, str) else counts
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("runs that are no numbers of pixels")
    if shape["size"] != size or sum(counts) != image.height * image.width:
        raise ValueError(f"runs of {sum(counts)} pixels, size {str(shape['size'])[:40]}, in an image of {size}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size, order="F")


def _uncompressed(text: str) -> list[int]:
    """COCO's compressed runs: numbers of five bits a character, the low ones first, as differences to the last but one.

    The first three are no differences (pycocotools, maskApi.c).
    """
    counts: list[int] = []
    value = shift = 0
    for bits in (ord(sign) - 48 for sign in text):
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("no compressed runs")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def write_png(labels: np.ndarray, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", labels)[1].tobytes())


def read_ids(path: Path | None) -> frozenset[int] | None:
    """Images of a file that has them: those whose entry cannot be used are the instances' to tell of. None: all."""
    if path is None:
        return None
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read", where=path, got=error) from error
    if content.lstrip()[:1] not in ("[", "{"):
        return frozenset(_id(line, path) for line in content.split())
    found = entries.read_json(path)
    if isinstance(found, dict):
        images = entries.entry_list(found.get("images"), f"{path}, 'images'")
        found = [entry["id"] for entry in images if isinstance(entry, dict) and type(entry.get("id")) is int]
    return frozenset(_id(value, path) for value in entries.entry_list(found, path))


def _id(value: object, path: Path) -> int:
    if type(value) is int and abs(value) <= coco.LARGEST_ID:
        return value
    if not isinstance(value, str) or not value.isdecimal() or len(value) > len(str(coco.LARGEST_ID)):
        raise InputError("not the id of an image", where=path, got=repr(value)[:80], expected="a number")
    return int(value)
