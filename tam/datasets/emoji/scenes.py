"""Emoji scenes with exact masks, in the layout of the paper's formatted COCO set.

A scene depends on ``(seed, split, index)`` alone: not on how many are made, nor on the order. Evaluation and training
draw from different splits of NumPy's seed tree, so that no training scene has the seed of an evaluated one.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from tam.datasets.emoji import grammar
from tam.datasets.emoji.sprites import NAMES, sprites
from tam.system.atomic import atomic_folder

SIZE = 224
EVALUATION, TRAINING = 0, 1  # splits of the seed tree
MIX = ((1, 1), (1, 2), (1, 3), (2, 2), (2, 2), (2, 3), (3, 3), (3, 3))  # (kinds, objects), each as likely
GAP = 3  # pixels between the boxes of two objects
# Only those that are drawn: nouns take the last category that has them in its name, and a dog is no hot dog here.
CATEGORIES = json.loads((Path(__file__).parent / "coco_categories.json").read_text(encoding="utf-8"))
IDS = {category["name"]: category["id"] for category in CATEGORIES}


@dataclass(frozen=True)
class Scene:
    """A picture and everything that is true of it.

    Attributes:
        image: uint8 RGB [size, size, 3].
        objects: uint8 [size, size], number of the object at each pixel, counted from 1; 0 is background.
        names: category of object 1, 2, ...
        place: kind of background, a key of ``grammar.PLACES``.
    """

    image: np.ndarray
    objects: np.ndarray
    names: tuple[str, ...]
    place: str

    @property
    def label_map(self) -> np.ndarray:
        """uint8 [size, size], COCO category id of each pixel, 0 is background."""
        return np.array([0, *(IDS[name] for name in self.names)], np.uint8)[self.objects]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(category, how many), the category with the largest area first."""
        areas = np.bincount(self.objects.ravel(), minlength=len(self.names) + 1)[1:]
        total: Counter[str] = Counter()
        for name, area in zip(self.names, areas, strict=True):
            total[name] += int(area)
        return [(name, self.names.count(name)) for name, _ in total.most_common()]

    @property
    def captions(self) -> list[str]:
        return grammar.captions(self.groups, self.place)


def generator(seed: int, split: int, index: int, *more: int) -> np.random.Generator:
    """The random numbers of one scene."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split, index, *more)))


def scene(seed: int, index: int) -> Scene:
    """The ``index``-th evaluated scene of a seed."""
    return draw(generator(seed, EVALUATION, index))


def draw(rng: np.random.Generator, size: int = SIZE, mix: tuple[tuple[int, int], ...] = MIX) -> Scene:
    """A scene of ``size`` pixels with as many kinds and objects as one entry of ``mix`` says; boxes never overlap."""
    kinds, total = mix[rng.integers(len(mix))]
    names = _names(rng, kinds, total)
    place = str(rng.choice(list(grammar.PLACES)))
    picture = background(rng, place, size)
    low, high = (0.214 * size, 0.464 * size) if size > 160 else (40, min(88, 0.92 * size))
    while True:
        figures = [figure(rng, name, rng.uniform(low, high)) for name in names]
        corners = _places(rng, [item.shape[:2] for item in figures], size)
        if corners:
            break
        low, high = 0.92 * low, 0.92 * high
    objects = np.zeros((size, size), np.uint8)
    for number, (item, corner) in enumerate(zip(figures, corners, strict=True), 1):
        paste(picture, objects, item, corner, number)
    return Scene(picture, objects, names, place)


def clip(rng: np.random.Generator, frames: int = 4, size: int = 128) -> tuple[list[np.ndarray], np.ndarray, str]:
    """Frames (uint8 RGB) in which one object moves straight, its masks bool [frames, size, size], and a caption."""
    mover, passed = rng.choice(NAMES, 2, replace=False).tolist()
    place = str(rng.choice(list(grammar.PLACES)))
    ground = background(rng, place, size)
    still = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        paste(ground, still, figure(rng, passed, rng.uniform(32, 44)), (4, int(rng.integers(4, size - 50))), 1)
    else:
        passed = None
    item = figure(rng, mover, rng.uniform(36, 52))
    top, room = int(rng.integers(56, size - item.shape[0])), size - item.shape[1]
    way = np.linspace(0, room, frames)[:: rng.choice((-1, 1))]
    pictures, masks = [], []
    for left in way:
        picture, objects = ground.copy(), np.zeros((size, size), np.uint8)
        paste(picture, objects, item, (top, int(left)), 1)
        pictures.append(picture)
        masks.append(objects == 1)
    return pictures, np.stack(masks), grammar.video_caption(mover, passed, place)


def figure(rng: np.random.Generator, name: str, length: float) -> np.ndarray:
    """One glyph of a category, ``length`` pixels long, turned, flipped and recoloured a little.

    Returns uint8 RGBA [height, width, 4], colours multiplied by alpha, cut to what is visible.
    """
    glyphs = sprites()[name]
    glyph = glyphs[rng.integers(len(glyphs))]
    hue = rng.integers(-7, 8)
    saturation, value = rng.uniform(0.85, 1.1, 2)
    steps = np.arange(256)
    tables = np.stack([(steps + hue) % 180, np.minimum(steps * saturation, 255), np.minimum(steps * value, 255)], -1)
    colours = cv2.cvtColor(np.ascontiguousarray(glyph[..., :3]), cv2.COLOR_RGB2HSV)
    colours = cv2.cvtColor(cv2.LUT(colours, tables[None].astype(np.uint8)), cv2.COLOR_HSV2RGB)
    alpha = glyph[..., 3:]
    item = np.concatenate([(colours * (alpha / np.float32(255)) + 0.5).astype(np.uint8), alpha], -1)
    if rng.random() < 0.5:
        item = item[:, ::-1]
    height, width = item.shape[:2]
    scale = length / max(height, width)
    if scale < 0.6:  # linear sampling alone would alias
        item = cv2.blur(item, (round(1 / scale),) * 2, borderType=cv2.BORDER_CONSTANT)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-14, 14), scale)
    across = math.ceil(abs(turn[0, 0]) * width + abs(turn[0, 1]) * height) + 2
    down = math.ceil(abs(turn[0, 1]) * width + abs(turn[0, 0]) * height) + 2
    turn[:, 2] += (across - width) / 2, (down - height) / 2
    item = cv2.warpAffine(np.ascontiguousarray(item), turn, (across, down), flags=cv2.INTER_LINEAR)
    rows, columns = (item[..., 3] > 8).any(1).nonzero()[0], (item[..., 3] > 8).any(0).nonzero()[0]
    return item[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def paste(picture: np.ndarray, objects: np.ndarray, item: np.ndarray, corner: tuple[int, int], number: int) -> None:
    """Blend a figure into a picture and note its pixels (alpha > 127), in place; it may reach over the edges."""
    size = picture.shape[0]
    top, left = max(corner[0], 0), max(corner[1], 0)
    bottom, right = min(corner[0] + item.shape[0], size), min(corner[1] + item.shape[1], size)
    item = item[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]]
    under = picture[top:bottom, left:right]
    clear = (255 - item[..., 3:]).astype(np.uint16)
    under[:] = np.minimum(item[..., :3] + (under * clear + 127) // 255, 255)
    objects[top:bottom, left:right][item[..., 3] > 127] = number


def background(rng: np.random.Generator, place: str, size: int) -> np.ndarray:
    """A textured background, uint8 RGB [size, size, 3]."""
    if place == "sky":
        picture = _sky(rng, size)
    elif place == "floor":
        picture = _floor(rng, size)
    else:
        picture = _ground(rng, place, size)
    y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    picture *= (1 - rng.uniform(0, 0.12) * (x * x + y * y))[..., None].astype(np.float32)
    picture += rng.standard_normal((size, size, 1), np.float32) * np.float32(rng.uniform(1, 5))
    return picture.clip(0, 255).astype(np.uint8)


def _sky(rng: np.random.Generator, size: int) -> np.ndarray:
    picture = _gradient(_tint(rng, (70, 140, 220), 18), _tint(rng, (185, 220, 245), 10), size)
    clouds = 0.65 * _noise(rng, size, 8, 5) + 0.35 * _noise(rng, size, 22, 12)
    return _mix(picture, _tint(rng, (250, 250, 252), 4), np.clip((clouds - rng.uniform(0.5, 0.6)) * 5, 0, 0.95))


def _floor(rng: np.random.Generator, size: int) -> np.ndarray:
    wood = _tint(rng, (172, 118, 72), 22)
    board = int(rng.uniform(0.09, 0.16) * size)
    shades = rng.uniform(-16, 16, size // board + 2).astype(np.float32)
    rows = np.arange(size) + rng.integers(board)
    grain = 22 * (_noise(rng, size, 40, 3) - 0.5) + 10 * (_noise(rng, size, 90, 9) - 0.5)
    picture = wood + (grain + shades[rows // board][:, None])[..., None]
    picture[rows % board < max(1, size // 110)] *= 0.62
    return picture


def _ground(rng: np.random.Generator, place: str, size: int) -> np.ndarray:
    """Sky above a horizon, and the ground of a field, a beach, a street or of snow below it."""
    horizon = int(rng.uniform(0.14, 0.42) * size)
    picture = np.empty((size, size, 3), np.float32)
    above = _gradient(_tint(rng, (120, 175, 230), 20), _tint(rng, (205, 228, 245), 8), size)
    if place == "snow":
        above = _gradient(_tint(rng, (165, 180, 200), 12), _tint(rng, (215, 222, 232), 6), size)
    picture[:horizon] = above[size - horizon :]
    below = picture[horizon:]
    shape = (size - horizon, size)
    fine = _noise(rng, size, size // 3, size // 3)[: shape[0]] - 0.5
    broad = _noise(rng, size, 5, 5)[: shape[0]] - 0.5
    if place == "field":
        blades = _noise(rng, size, size // 8, size // 2)[: shape[0]] - 0.5
        near, far = _tint(rng, (72, 142, 52), 16), _tint(rng, (128, 178, 88), 14)
        below[:] = _gradient(far, near, size)[: shape[0]] + (34 * blades + 26 * broad)[..., None]
    elif place == "beach":
        shore = int(rng.uniform(0.12, 0.3) * shape[0])
        below[:] = _tint(rng, (226, 200, 148), 12) + (20 * fine + 18 * broad)[..., None]
        waves = _noise(rng, size, size // 6, 6)[:shore] - 0.5
        below[:shore] = _tint(rng, (45, 125, 180), 16) + (50 * waves)[..., None]
        below[shore : shore + max(1, size // 75)] = 246
    elif place == "snow":
        below[:] = _tint(rng, (236, 241, 250), 5) + (26 * broad + 8 * fine)[..., None]
        flakes = rng.integers(0, size, (2, size // 4))
        picture[flakes[0], flakes[1]] = 255
    else:
        walls = np.repeat(rng.uniform(-30, 30, 8).astype(np.float32), math.ceil(size / 8))[:size]
        roof = int(horizon * rng.uniform(0.2, 0.7))
        picture[roof:horizon] = _tint(rng, (166, 132, 118), 18) + walls[None, :, None]
        below[:] = _tint(rng, (96, 98, 104), 12) + (22 * fine + 14 * broad)[..., None]
        kerb = max(2, size // 28)
        below[:kerb] = _tint(rng, (178, 176, 172), 10)
        lane, dash = kerb + int(rng.uniform(0.3, 0.7) * (shape[0] - kerb)), size // 7
        marks = (np.arange(size) + rng.integers(dash)) % (2 * dash) < dash
        below[lane : lane + max(2, size // 45), marks] = _tint(rng, (238, 228, 190), 12)
    return picture


def _noise(rng: np.random.Generator, size: int, down: int, across: int) -> np.ndarray:
    """Smooth noise of about 0 to 1, float32 [size, size], with ``down`` x ``across`` bumps."""
    return cv2.resize(rng.random((down, across), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def _tint(rng: np.random.Generator, colour: tuple[int, int, int], spread: float) -> np.ndarray:
    return (np.array(colour) + rng.uniform(-spread, spread, 3)).astype(np.float32)


def _gradient(top: np.ndarray, bottom: np.ndarray, size: int) -> np.ndarray:
    weight = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top * (1 - weight) + bottom * weight, (size, size, 3)).copy()


def _mix(picture: np.ndarray, colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return picture + (colour - picture) * weight[..., None].astype(np.float32)


def _names(rng: np.random.Generator, kinds: int, total: int) -> tuple[str, ...]:
    """``total`` names of ``kinds`` categories."""
    while True:
        names = rng.choice(NAMES, kinds, replace=False).tolist()
        repeated = names[0]
        if total == kinds or repeated not in grammar.SINGULAR_ONLY:
            return (*names, *[repeated] * (total - kinds))


def _places(rng: np.random.Generator, shapes: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Corners (top, left) at which boxes of these shapes keep ``GAP`` from each other; empty if none were found."""
    corners: list[tuple[int, int]] = []
    for height, width in shapes:
        if max(height, width) > size - 2:
            return []
        for _ in range(24):
            top, left = int(rng.integers(1, size - height)), int(rng.integers(1, size - width))
            if all(
                top >= t + h + GAP or t >= top + height + GAP or left >= x + w + GAP or x >= left + width + GAP
                for (t, x), (h, w) in zip(corners, shapes, strict=False)
            ):
                corners.append((top, left))
                break
        else:
            return []
    return corners


def write(folder: Path, n: int = 48, seed: int = 0) -> None:
    """Write ``n`` scenes in COCO's layout; the folder appears whole or not at all, and replaces older scenes.

    Raises:
        DiskError: something else lies there, or the disk is full.
    """
    with atomic_folder(folder, {"kind": "emoji scenes"}) as part:
        for name in ("annotations", "image", "seg_label"):
            (part / name).mkdir()
        _fill(part, n, seed)


def _fill(folder: Path, n: int, seed: int) -> None:
    images: list[dict[str, object]] = []
    instances: list[dict[str, object]] = []
    sentences: list[dict[str, object]] = []
    for index in tqdm(range(n), desc="emoji scenes", unit="scene"):
        made, number = scene(seed, index), index + 1
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(made.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        # OpenCV's own writer says nothing of a full disk
        (folder / "image" / f"{number:012d}.jpg").write_bytes(jpeg.tobytes())
        png = cv2.imencode(".png", made.label_map)[1]
        (folder / "seg_label" / f"{number:012d}.png").write_bytes(png.tobytes())
        images.append(
            {
                "license": 1,
                "url": "",
                "file_name": f"{number:012d}.jpg",
                "height": SIZE,
                "width": SIZE,
                "date_captured": "2025-01-01 00:00:00",
                "id": number,
            }
        )
        for position, name in enumerate(made.names, 1):
            mask = made.objects == position
            instances.append(
                {
                    "segmentation": run_lengths(mask),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "image_id": number,
                    "bbox": _box(mask),
                    "category_id": IDS[name],
                    "id": len(instances) + 1,
                }
            )
        sentences += [{"image_id": number, "caption": caption} for caption in made.captions]
    for position, sentence in enumerate(sentences, 1):
        sentence["id"] = position
    head = {
        "info": {
            "description": f"Emoji scenes, seed {seed}",
            "url": "",
            "version": "1.0",
            "year": 2025,
            "contributor": "tam",
            "date_created": "2025-01-01 00:00:00",
        },
        "images": images,
        "licenses": [{"url": "https://opensource.org/license/mit", "id": 1, "name": "MIT License"}],
    }
    files = {
        "instances_minival2014.json": head | {"annotations": instances, "categories": CATEGORIES},
        "captions_val2014.json": head | {"annotations": sentences},
    }
    for name, content in files.items():
        (folder / "annotations" / name).write_text(json.dumps(content), encoding="utf-8")


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths of a mask: column by column, beginning with the zeros."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    ends = turns if mask.size in turns[-1:] else np.append(turns, mask.size)
    return {"size": list(mask.shape), "counts": np.diff(ends, prepend=0).tolist()}


def _box(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    left, top = int(columns.min()), int(rows.min())
    return [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
