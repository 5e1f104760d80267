"""What is kept of an answer as JSON and arrays, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tam.cache import DTYPES, layout_meta, narrow, read_layout, widen
from tam.generation.kept import KeptAnswer
from tam.manifest import Sample
from tam.records import Candidates

INTS = ("vision", "prompt", "ids", "tokens", "classes", "candidates/ids")


def pack(kept: KeptAnswer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    meta = {"ended": kept.ended, "dtype": kept.dtype} | layout_meta(kept.layout)
    return meta, {
        "vision": kept.layout.vision,
        "prompt": kept.layout.prompt,
        "ids": kept.ids,
        "tokens": kept.tokens,
        "classes": kept.classes,
        "candidates/ids": kept.candidates.ids,
        "candidates/logits": kept.candidates.logits,
        "candidates/logsumexp": kept.candidates.logsumexp,
        "logits": narrow(kept.logits, kept.dtype),
    }


def unpack(sample: Sample, meta: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> KeptAnswer:
    """Raises:
    ValueError, KeyError, TypeError: the parts do not belong together.
    """
    _check(arrays, DTYPES[meta["dtype"]])
    return KeptAnswer(
        sample=sample, layout=read_layout(meta, arrays), ids=arrays["ids"], ended=meta["ended"],
        tokens=arrays["tokens"], classes=arrays["classes"], logits=widen(arrays["logits"], meta["dtype"]),
        dtype=meta["dtype"],
        candidates=Candidates(arrays["candidates/ids"], arrays["candidates/logits"], arrays["candidates/logsumexp"]),
    )  # fmt: skip


def _check(arrays: Mapping[str, np.ndarray], dtype: type) -> None:
    rows = len(arrays["prompt"]) + len(arrays["ids"])
    shapes = {name: (len(arrays[name]),) for name in INTS[:-1]} | {
        "candidates/ids": (rows, *arrays["candidates/ids"].shape[1:2]),
        "candidates/logits": arrays["candidates/ids"].shape,
        "candidates/logsumexp": (rows,),
        "logits": (len(arrays["vision"]) + rows, len(arrays["classes"])),
    }
    for name, array in arrays.items():
        kind = np.int32 if name in INTS else dtype if name == "logits" else np.float32
        if array.dtype != kind or array.shape != shapes[name] or (name in INTS and (array < 0).any()):
            raise ValueError(f"{name}: {array.dtype} {array.shape}")
    for name in ("vision", "prompt"):
        if (arrays[name] >= len(arrays["tokens"]) - len(arrays["ids"])).any():
            raise ValueError(f"{name}: a position outside the prompt")
