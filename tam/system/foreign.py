"""Code that is not ours: what processors, tokenizers and models raise, as errors for people."""

import contextlib
from collections.abc import Iterator

import torch

from tam.errors import DiskError, InputError, ModelError, TamError

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")

# Every other sample would meet these, too.
NO_SAMPLES = (ModelError, DiskError, OSError)


def told(error: Exception, what: str = "the model cannot take this", size: str | None = None) -> TamError | OSError:
    """Anything that was raised, as one line; an error of the disk is passed on as it is.

    Args:
        what: happened, where nothing better is known.
        size: of what was asked for, for who hears that it is too large.
    """
    if isinstance(error, TamError) or (isinstance(error, OSError) and error.errno is not None):
        return error
    got = _one_line(error)
    if out_of_memory(error):
        return InputError("out of memory", got=size or got, cure="smaller pictures, or more memory")
    if isinstance(error, torch.AcceleratorError):
        return ModelError("the device is of no use any more", got=got, cure="run it again, or on another device")
    if isinstance(error, ImportError):
        return ModelError("the model or its processor needs a package", got=got, cure="install it")
    return InputError(what, got=got)


@contextlib.contextmanager
def foreign(what: str, size: str | None = None) -> Iterator[None]:
    """Around code that is not ours: what it raises is what ``told`` makes of it."""
    try:
        yield
    except TamError:
        raise
    except Exception as error:  # nobody lists what it may raise
        raise told(error, what, size) from error


def out_of_memory(error: Exception) -> bool:
    """Whether a device or the host had too little memory."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(sign in str(error) for sign in OUT_OF_MEMORY)


def _one_line(error: Exception, most: int = 400) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return text if len(text) <= most else f"{text[:most]}…"
