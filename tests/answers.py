"""Hand-made answers with pictures, for the tests of what is drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tam.layout import Grid, Layout
from tam.manifest import Sample
from tam.records import Candidates, Generation, Piece
from tam.render import xelatex

needs_tex = pytest.mark.skipif(not xelatex.available(), reason="no xelatex on PATH")
END = b"<|im_end|>"


def generation(
    id: str,
    prompt: list[bytes],
    answer: list[bytes],
    grids: tuple[Grid, ...] = (Grid(0, (0,), 3, 4, (0, 0, 40, 30)),),
    sizes: tuple[tuple[int, int], ...] = ((40, 30),),
    row: int = 0,
) -> Generation:
    """Random logits of a seed; the likeliest candidate of every answer token is the token, at 50 %."""
    texts = [*prompt, *answer]
    ids = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    vision = sum(grid.cells for grid in grids)
    tokens = [ids[text] for text in texts]
    chance = np.random.default_rng(len(texts))
    candidates = np.array([[token, (token + 1) % len(ids), (token + 2) % len(ids)] for token in tokens], np.int32)
    text_places = vision + np.arange(len(prompt), dtype=np.int32)
    logits = np.tile(np.log(np.float32([0.5, 0.25, 0.001])), (len(texts), 1))
    return Generation(
        id=id, status="ok", prompt="".join(map(_text, prompt)), answer="".join(map(_text, answer)),
        tokens=np.array([0] * vision + tokens, np.int32),
        layout=Layout(np.arange(vision, dtype=np.int32), text_places, vision + len(prompt), grids, sizes),
        classes=np.arange(len(ids), dtype=np.int32),
        logits=chance.normal(size=(vision + len(texts), len(ids))).astype(np.float32),
        candidates=Candidates(candidates, logits, np.zeros(len(texts), np.float32)),
        retokenised_prompt=np.array(tokens[: len(prompt)], np.int32),
        retokenised_answer=np.array(tokens[len(prompt) :], np.int32),
        vocabulary={index: Piece(_text(text), _text(text), text) for text, index in ids.items()},
        end_tokens=frozenset({ids[END]} if END in ids else ()), row=row,
    )  # fmt: skip


def _text(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def picture(path: Path, size: tuple[int, int] = (40, 30), color: tuple[int, int, int] = (90, 140, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def sample(id: str, media: list[str], kind: str = "images", **more) -> Sample:
    return Sample(id=id, media=media, prompt="What?", kind=kind, **more)
