"""Token Activation Maps: the image or video evidence behind every token that a multimodal LLM generates.

``tam.explain`` asks a model that is loaded and gives a ``tam.Explanation``. Both are in ``tam.explanation``, imported
when they are first asked for: it needs torch and transformers.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tam.explanation import Explanation, explain

__version__ = "0.1.0"
__all__ = ["Explanation", "explain"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tam import explanation

    return getattr(explanation, name)
