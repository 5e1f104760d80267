"""NumPy or torch: arrays are computed by the library they come from, where they are."""

import sys
from typing import Any

import numpy as np

Array = Any
"""A NumPy array or a torch tensor; what comes out is what went in."""


def namespace(array: Array) -> Any:
    """The library of ``array``; torch is not imported for those who do not use it."""
    return sys.modules["torch"] if type(array).__module__.partition(".")[0] == "torch" else np


def to_numpy(array: Array) -> np.ndarray:
    return np.asarray(array) if namespace(array) is np else array.detach().cpu().numpy()
