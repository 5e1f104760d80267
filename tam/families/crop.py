"""Which part of a picture an image processor shows to the model: squashed, padded to a square, or a centre crop."""

from typing import Any

Box = tuple[float, float, float, float]


def seen_box(image_processor: Any, size: tuple[int, int]) -> Box:
    """Left, top, right, bottom in pixels of what ``image_processor`` shows of a picture of ``size`` (width, height).

    Follows the order of transformers' image processors: pad, resize, crop. What was padded on lies outside of the
    picture, so the box can reach beyond it.
    """
    whole = 0.0, 0.0, float(size[0]), float(size[1])
    box = square_around(size) if getattr(image_processor, "do_pad", None) else whole
    if not getattr(image_processor, "do_center_crop", None):
        return box
    width, height = _resized(image_processor, (box[2] - box[0], box[3] - box[1]))
    crop = image_processor.crop_size
    x, y = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    left, top = _start(width, crop.width), _start(height, crop.height)
    return (
        box[0] + left * x, box[1] + top * y, box[0] + (left + crop.width) * x, box[1] + (top + crop.height) * y,
    )  # fmt: skip


def square_around(size: tuple[int, int]) -> Box:
    """The smallest square with the picture in its middle, as padding makes it."""
    width, height = size
    side = max(size)
    left, top = -((side - width) // 2), -((side - height) // 2)
    return float(left), float(top), float(left + side), float(top + side)


def _resized(image_processor: Any, size: tuple[float, float]) -> tuple[int, int]:
    """(width, height) after resizing: to a given size, or so that the shorter side has a given length."""
    wanted = image_processor.size
    if not image_processor.do_resize:
        return int(size[0]), int(size[1])
    if not wanted.shortest_edge:
        return wanted.width, wanted.height
    scaled = int(wanted.shortest_edge * max(size) / min(size))
    return (wanted.shortest_edge, scaled) if size[0] <= size[1] else (scaled, wanted.shortest_edge)


def _start(length: int, wanted: int) -> int:
    return (length - wanted) // 2 if length >= wanted else -((wanted - length) // 2)
