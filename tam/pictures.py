"""Pictures as people hold them: files, PIL's, arrays, tensors, bytes, addresses on the web."""

from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from tam.errors import InputError
from tam.media import open_picture, upright

Picture: TypeAlias = Any
"""A path, ``PIL.Image``, an array or tensor [height, width, 3] or [height, width] (uint8, or 0 to 1), a tensor
[3, height, width], the bytes of a file, an open file, or a http(s) address."""

LARGEST = 64 << 20  # bytes that are fetched
PATIENCE = 60.0  # seconds without an answer


def is_address(given: object) -> bool:
    return isinstance(given, str) and urlsplit(given).scheme in ("http", "https")


def opened(given: Picture) -> Path | Image.Image:
    """What ``media.open_pictures`` takes.

    Raises:
        InputError: no picture, numbers of an unknown range, nothing at an address or too much.
    """
    if isinstance(given, Image.Image | Path):
        return given
    if isinstance(given, str):
        return _decoded(fetched(given), given) if is_address(given) else Path(given)
    if isinstance(given, bytes | bytearray | memoryview):
        return _decoded(bytes(given), "bytes")
    if hasattr(given, "read"):
        return _decoded(given.read(), "a file object")
    if hasattr(given, "detach"):
        given = given.detach().cpu().float().numpy() if given.is_floating_point() else given.detach().cpu().numpy()
    return _of_array(np.asarray(given))


def fetched(address: str) -> bytes:
    """The bytes at an address; InputError: it cannot be reached, or has more than ``LARGEST``."""
    import httpx2

    try:
        with httpx2.stream("GET", address, follow_redirects=True, timeout=PATIENCE) as answer:
            answer.raise_for_status()
            made = bytearray()
            for part in answer.iter_bytes():
                made += part
                if len(made) > LARGEST:
                    raise InputError("too large a picture", where=address, expected=f"at most {LARGEST >> 20} MB")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise InputError("no picture there", where=address, got=" ".join(str(error).split())) from error
    return bytes(made)


def _decoded(data: bytes, where: str) -> Image.Image:
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="tam-") as file:  # one reader of pictures judges all of them
        file.write(data)
        file.flush()
        try:
            return open_picture(Path(file.name))
        except InputError as error:
            raise InputError(str(error).replace(file.name, where)) from error


def _of_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype.kind == "f" and shaped and array.size and array.min() >= 0 and array.max() <= 1:
        array = np.rint(array * 255).astype(np.uint8)
    if not shaped or not array.size or array.dtype != np.uint8:
        raise InputError(
            "not an array of a picture", got=f"{array.dtype} {array.shape}",
            expected="[height, width, 3] of uint8, or of numbers from 0 to 1", cure="scale it, or save it as a file",
        )  # fmt: skip
    return upright(Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))
