"""NumPy or torch: arrays are computed by the library they come from, where they are."""

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")
"""A NumPy array or a torch tensor; what comes out is what went in."""


def namespace(array: object) -> Any:
    """The library of ``array``; torch is not imported for those who do not use it."""
    return sys.modules["torch"] if type(array).__module__.partition(".")[0] == "torch" else np


def to_numpy(array: Any) -> np.ndarray:
    """On the CPU, as NumPy's; what is neither is made an array."""
    return np.asarray(array) if namespace(array) is np else array.detach().cpu().numpy()
