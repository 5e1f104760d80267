"""What the page shows of one sample: its text, its maps, its pictures."""

import io
import itertools
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from PIL import Image

from tam.errors import TamError
from tam.evidence import token_evidence
from tam.media import Media
from tam.methods.core import to_uint8
from tam.records import Generation, SampleMaps, unexplained
from tam.render import answer
from tam.render.overlay import Panel, panels
from tam.render.tokens import Shaped, TokenText, Unit, shape, units
from tam.system.atomic import of_disk

ONE, SEVERAL, QUALITY = 480, 320, 75  # largest mean width of one picture, and of several, in pixels; of WebP
CARD, CARD_QUALITY = 240, 60  # the same of a picture of the gallery
DIGITS = 4
STEPS = 63  # a map's values on the page: 64 of them, which nobody tells from 256, and which take a quarter less


def describe(
    generation: Generation, maps: Iterable[SampleMaps], scores: list[dict[str, object]], layer: int | None = None,
    considered: Sequence[Sequence[int]] = (),
) -> dict[str, object]:  # fmt: skip
    """All that the page shows of a sample but its pictures.

    Args:
        maps: of each method.
        layer: that the logits are of; None: the last.
        considered: which candidates have maps, as ``considered.considered`` says.

    ``units`` are tokens that can only be shown together, ``words`` lists of units; ``pieces`` are the vocabulary
    entries that ``tokens`` and ``candidates`` point to. ``vision``: how many vision tokens there are; ``mapped``:
    whether ``numbers`` has a method's maps; ``unexplained`` are the tokens of which it says nothing. ``evidence``:
    log p and peak of each token of the answer.
    """
    ids = [int(id) for id in (*generation.prompt_ids, *generation.answer_ids)]
    start = len(generation.prompt_ids)
    shown = units([answer.token(generation, id) for id in ids], [start] if 0 < start < len(ids) else [])
    rows = generation.candidates
    place = {id: number for number, id in enumerate(dict.fromkeys([*ids, *rows.ids.ravel().tolist()]))}
    return {
        "prompt": start,
        "vision": len(generation.layout.vision),
        "units": [_unit(unit) for unit in shown],
        "words": by_word(shown, answer.word_tokens(generation)),
        "tokens": [place[id] for id in ids],
        "pieces": [_piece(answer.token(generation, id)) for id in place],
        "candidates": [
            [[place[id], round(chance, DIGITS)] for id, chance in zip(*row, strict=True)]
            for row in zip(rows.ids.tolist(), rows.probabilities.tolist(), strict=True)
        ],
        "methods": [
            {"status": one.status, "mapped": not one.failed}
            | ({"unexplained": silent} if (silent := unexplained(one)) else {})
            for one in maps
        ],
        "considered": [*considered],
        "scores": scores,
        "evidence": [] if generation.failed else _evidence(generation, layer),
    }


def numbers(maps: Iterable[SampleMaps], considered: np.ndarray) -> np.ndarray:
    """uint8, all in a row: of each method that has maps, these [token, vision] from 0 to STEPS; then, of each again,
    the relevance [token, token] from 0 to 255; then the maps of candidates [candidate, vision], given in [0, 1]."""
    made = [one for one in maps if not one.failed]
    parts = [
        *(_steps(one.uint8) for one in made),
        *(_bytes(one.relevance) for one in made),
        _steps(to_uint8(considered)),
    ]
    return np.concatenate([np.zeros(0, np.uint8), *(part.ravel() for part in parts)])


def _evidence(generation: Generation, layer: int | None) -> list[list[float | None]]:
    """Of each token of the answer log p, None where the logits are of another layer, and the highest logit."""
    return [
        [None if layer else round(logprob, DIGITS), round(peak, DIGITS)]
        for logprob, peak, _ in token_evidence(generation).tolist()
    ]


def by_word(shown: Sequence[Unit], words: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of units, a list a word. A unit belongs to the word of its first token; one in no word stands alone."""
    owner = {token: number for number, tokens in enumerate(words) for token in tokens}
    keys = [owner.get(unit.tokens[0], -1 - index) for index, unit in enumerate(shown)]
    return [list(members) for _, members in itertools.groupby(range(len(shown)), keys.__getitem__)]


def _unit(unit: Unit) -> dict[str, object]:
    flags: dict[str, object] = {name: True for name in ("space", "newline") if getattr(unit.shaped, name)}
    return {"tokens": unit.tokens, "runs": runs(unit.shaped)} | flags


def _piece(token: TokenText) -> dict[str, object]:
    if token.label is not None:
        return {"runs": [[token.label]]}
    shaped = shape(token.bytes.decode("utf-8", "surrogateescape"))
    return {"runs": runs(shaped)} | ({"space": True} if shaped.space else {})


def runs(shaped: Shaped) -> list[str | list[str]]:
    """Visible text: a string is text, a list of one string a boxed label.

    Characters that no font of this machine has are given as they are: the browser has fonts of its own.
    """
    restored = {f"{ord(character):X}": character for character in shaped.lost}
    flat = [
        restored.get(run.text, [run.text]) if run.face is None else run.text
        for run in itertools.chain.from_iterable(shaped.clusters)
    ]
    joined: list[str | list[str]] = []
    for run in flat:
        if isinstance(run, str) and joined and isinstance(joined[-1], str):
            joined[-1] += run
        else:
            joined.append(run)
    return joined


def pictures(
    generation: Generation, video: bool, opened: Callable[[], Media]
) -> tuple[dict[str, object], list[np.ndarray]]:
    """Sizes of the pictures, and where the grids lie on them in pixels; and the pictures, uint8 [height, width, 3]."""
    nothing: dict[str, object] = {"video": video, "panels": [], "grids": []}
    if generation.failed:
        return nothing, []
    layout = generation.layout
    several = len({(grid.medium, frame) for grid in layout.grids for frame in grid.frames}) > 1
    width = min(SEVERAL if several else ONE, round(np.mean([width for width, _ in layout.sizes])))
    try:
        shown = panels(layout, opened(), width)
    except (TamError, OSError, ValueError, cv2.error) as error:
        if of_disk(error):
            raise
        return nothing | {"problem": " ".join(str(error).split())}, []
    starts = [0, *np.cumsum([grid.cells for grid in layout.grids]).tolist()]
    grids = [
        {
            "panel": number, "box": box, "start": starts[index],
            "rows": layout.grids[index].rows, "columns": layout.grids[index].columns,
        }
        for number, panel in enumerate(shown)
        for index, box in panel.grids
    ]  # fmt: skip
    described = nothing | {"panels": [_panel(panel) for panel in shown], "grids": grids}
    return described, [panel.picture for panel in shown]


def webp(picture: np.ndarray) -> bytes:
    return _webp(Image.fromarray(picture), QUALITY, 5)


def card(picture: np.ndarray, whole: bytes) -> bytes:
    """A small WebP for the gallery; ``whole``, that of the picture, if it is small already."""
    if max(picture.shape) <= CARD:
        return whole
    made = Image.fromarray(picture)
    made.thumbnail((CARD, CARD), reducing_gap=2)
    return _webp(made, CARD_QUALITY, 2)


def _webp(picture: Image.Image, quality: int, effort: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "webp", quality=quality, method=effort)
    return file.getvalue()


def _panel(panel: Panel) -> dict[str, object]:
    height, width = panel.picture.shape[:2]
    return {"width": width, "height": height, "frame": panel.frame}


def _steps(values: np.ndarray) -> np.ndarray:
    """uint8 values from 0 to 255 in even steps from 0 to STEPS."""
    return np.rint(values.astype(np.float32) * (STEPS / 255)).astype(np.uint8)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)


def kind(status: str) -> str:
    """A status without its details."""
    return status.partition(":")[0]
