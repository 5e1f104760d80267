"""Token Activation Maps: the image or video evidence behind every token that a multimodal LLM generates.

``tam.explain`` asks a model that is loaded and gives a ``tam.Explanation``; a ``tam.Method`` is a method of one's own.
Each is imported when it is first asked for: ``tam.explanation`` needs torch and transformers.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tam.explanation import Explanation, explain
    from tam.methods.method import Method

__version__ = "0.1.0"
__all__ = ["Explanation", "Method", "explain"]

_PLACES = {"Explanation": "tam.explanation", "explain": "tam.explanation", "Method": "tam.methods.method"}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
