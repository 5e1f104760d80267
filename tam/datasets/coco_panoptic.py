"""COCO's panoptic segmentation: things and stuff, each pixel in one segment or in none.

A JSON file names images, categories and, of each image, a PNG file and its segments {id, category_id}. A pixel of the
PNG file holds the id of its segment, red + 256 green + 65536 blue; 0 is void. Things and stuff both become categories
of the label map (``isthing`` is not asked for). The PNG lies on the pixels as the picture's file stores them, the label
map on the picture as it is shown, upright.

Kirillov, He, Girshick, Rother, Dollár: Panoptic Segmentation, CVPR 2019; https://cocodataset.org/#format-data
"""

import logging
from pathlib import Path

import numpy as np

from tam.datasets import coco, coco_original, entries
from tam.datasets.coco import Entry, Image
from tam.errors import InputError
from tam.label_map import COLOR, read_png

logger = logging.getLogger(__name__)

VOID = 0


def write(
    images: Path, panoptic: Path, segments: Path, out: Path, *, captions: Path | None = None, ids: Path | None = None,
    prompt: str = coco.PROMPT, limit: int | None = None,
) -> int:  # fmt: skip
    """Write label maps into ``seg_label/`` beside the manifest ``out``, and the manifest, images by id.

    Args:
        images: folder of the pictures.
        panoptic: panoptic_val2017.json. segments: folder of its PNG files.
        captions: captions_val2017.json; None: there are none.
        ids: as ``coco_original.write``.

    Returns:
        the number of samples; one whose PNG file and segments do not agree is refused, as is what
        ``coco_original.write`` refuses.

    Raises:
        InputError: broken JSON, no category or no sample that can be used, ``ids`` that are none.
    """
    wanted = coco_original.read_ids(ids)
    content = coco.lists(panoptic, ("images", "categories", "annotations"))
    annotations = coco.with_images(content, panoptic.name, wanted)
    for where, value in coco.numbered(content["annotations"], panoptic.name):
        owner, entry = coco.owned(value)
        if owner is not None:
            annotations.objects[owner].append((where, entry))
    if captions is not None:
        coco.add_captions(annotations, captions)
    coco_original.refuse_missing(annotations, wanted, panoptic)
    known = frozenset(annotations.categories.values())

    def png(image: Image) -> Path:
        where, entry = _only(annotations.objects[image.id], image)
        return entries.inside(segments, entry.get("file_name"), where)

    def draw(image: Image) -> np.ndarray:
        where, entry = _only(annotations.objects[image.id], image)
        return label_map(png(image), (image.width, image.height), entry.get("segments_info"), known, where)

    made = coco_original.samples(
        annotations, images, out, prompt, made_of=lambda image: [panoptic, png(image)], draw=draw
    )  # fmt: skip
    return entries.write(made, out, panoptic, limit)


def _only(found: list[tuple[str, Entry]], image: Image) -> tuple[str, Entry]:
    if len(found) != 1:
        raise InputError("not one entry of segments", where=image.where, got=len(found))
    return found[0]


def label_map(
    path: Path, size: tuple[int, int], segments: object, known: frozenset[int], where: str
) -> np.ndarray:  # fmt: skip
    """Category id a pixel, as the PNG file stores its pixels, 0 = void: uint8 [height, width].

    Args:
        size: (width, height) of the image. segments: of its entry. known: ids of categories.

    Raises:
        InputError: a file that is no such PNG, or of another size; segments that are none, of an unknown category, or
            twice; a segment without an entry, or without a pixel: nobody knows which of the two is wrong.
    """
    categories: dict[int, int] = {}
    for segment in entries.entry_list(segments, where):
        id, category = (segment.get(key) if isinstance(segment, dict) else None for key in ("id", "category_id"))
        if type(id) is not int or not VOID < id < 1 << 24 or id in categories:
            raise InputError("not a segment, or its id is there twice", where=where, got=repr(segment)[:80])
        if type(category) is not int or category not in known:
            raise InputError("unknown category", where=where, got=repr(category)[:80])
        categories[id] = category
    if not path.is_file():
        raise InputError("no such file of segments", where=path)
    pixels, problem = read_png(path, COLOR, size)
    if pixels is None:
        raise InputError(problem, where=path)
    ids, places = np.unique(pixels.astype(np.int32) @ np.array([1, 256, 65536], np.int32), return_inverse=True)
    there = {*ids.tolist()} - {VOID}
    if unknown := sorted(there - categories.keys()):
        raise InputError("a segment without an entry", where=f"{where}, {path.name}", got=unknown[0])
    if missing := sorted(categories.keys() - there):
        raise InputError("a segment without a pixel", where=f"{where}, {path.name}", got=missing[0])
    labels = np.array([categories.get(id, 0) for id in ids.tolist()], np.uint8)
    return labels[places].reshape(pixels.shape[:2])
