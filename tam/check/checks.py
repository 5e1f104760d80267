"""What every model has to get right, whatever its weights are: each check raises ModelError where it does not hold."""

from collections.abc import Callable

import numpy as np
import torch

from tam.check.asked import LIMIT, WORDS, Asked
from tam.errors import ModelError
from tam.methods.cached import Cached
from tam.methods.registry import METHODS
from tam.model.collate import with_answer
from tam.model.decoding import answer_batch
from tam.model.forced import forced_batch
from tam.model.probe import probe
from tam.records import Generation

CELLS = 3  # of each grid that are painted
OTHER = 0.1  # logits of an inner layer are farther away than that


def words_are_found(asked: Asked) -> None:
    """The span of the prompt is the person's words."""
    for one in asked.prepared:
        found = asked.loaded.tokenizer.decode(one.tokens[one.layout.prompt]).strip()
        if found != WORDS:
            raise ModelError("other words than the person's", got=repr(found), expected=repr(WORDS))


@torch.no_grad()
def head_of_a_state_is_the_logits(asked: Asked) -> None:
    """What is kept of the states gives the model's own logits: of the prompt, and of every step."""
    loaded = asked.loaded
    cap = getattr(loaded.config.get_text_config(), "final_logit_softcapping", None)
    for one in asked.prepared:
        (answer,) = answer_batch(loaded, [one], LIMIT)
        whole = with_answer(one, answer.ids, loaded.family.answer_type).to(loaded.device)
        expected = loaded.model(**whole.inputs, use_cache=False).logits[0, :-1].float()
        found = loaded.head(answer.states).float()
        if cap is not None:
            found = cap * torch.tanh(found / cap)
        _near("logits of the head", float((found - expected).abs().max()), asked.tolerance)
        if answer.candidates.ids[:, 0].tolist() != answer.ids.tolist() and not _penalised(asked):
            raise ModelError("the likeliest token is not the answer's", got=answer.candidates.ids[:, 0])


def batch_is_one_by_one(asked: Asked) -> None:
    """Samples of different sizes, padded on the left, get what they get alone."""
    _all_same(asked, asked.all_kept(answer_batch(asked.loaded, asked.prepared, LIMIT)))


def given_is_generated(asked: Asked) -> None:
    """An answer that is handed over is explained as one that was generated."""
    ids = [alone.answer_ids for alone in asked.alone]
    _all_same(asked, asked.all_kept(forced_batch(asked.loaded, asked.prepared, ids)))


def last_layer_is_the_default(asked: Asked) -> None:
    """Layers are found: the last one gives what no choice gives, another one other logits to the same answer."""
    loaded, one, alone = asked.loaded, asked.prepared[0], asked.alone[0]
    last = answer_batch(loaded, [one], LIMIT, len(loaded.decoder.layers))[0]
    same(asked.kept(one, last), alone, asked.tolerance)
    inner = asked.kept(one, forced_batch(loaded, [one], [alone.answer_ids], 1)[0])
    if np.abs(inner.logits - alone.logits).max() <= OTHER:
        raise ModelError("the first layer's logits are the last one's")
    _near("candidates", np.abs(inner.candidates.logits - alone.candidates.logits).max(), asked.tolerance)


def maps_say_something(asked: Asked) -> None:
    """Maps are finite, and not the same everywhere."""
    for alone in asked.alone:
        made = maps_of(alone)
        if not np.isfinite(made).all() or np.ptp(made) <= 0.1:
            raise ModelError("maps without numbers, or the same everywhere", got=f"{made.min():g} to {made.max():g}")


def painting_moves_the_right_token(asked: Asked) -> None:
    """The self-check: of a grid's tokens, that of a painted cell moves most."""
    for media in asked.media:
        found = list(probe(asked.loaded, media, CELLS))
        wrong = [said for right, said in found if not right]
        if len(found) < 2 or len(found) - len(wrong) < asked.enough * len(found):
            got = f"{len(wrong)} of {len(found)}: {'; '.join(wrong[:3])}"
            raise ModelError("tokens do not lie where the family says", where=asked.loaded.family.name, got=got)


CHECKS: tuple[Callable[[Asked], None], ...] = (
    words_are_found, head_of_a_state_is_the_logits, batch_is_one_by_one, given_is_generated,
    last_layer_is_the_default, maps_say_something, painting_moves_the_right_token,
)  # fmt: skip


def maps_of(generation: Generation) -> np.ndarray:
    return METHODS["tam"].maps(Cached(generation)).maps


def same(one: Generation, other: Generation, tolerance: float) -> None:
    """The same tokens, and logits and maps within the tolerance. Of two tokens that are as likely as each other within
    it, rounding may choose either one; what comes after that is not compared.

    Raises:
        ModelError: they are not.
    """
    ids, others = one.answer_ids, other.answer_ids
    shorter = min(len(ids), len(others))
    apart = np.flatnonzero(ids[:shorter] != others[:shorter])
    if len(apart):
        best = other.candidates.logits[len(other.candidates.logits) - len(others) + apart[0]]
        if best[0] - best[1] > tolerance:
            raise ModelError("another answer", got=repr(one.answer), expected=repr(other.answer))
        return
    if one.tokens.tolist() != other.tokens.tolist():
        raise ModelError("another length", got=len(one.tokens), expected=len(other.tokens))
    _near("logits", np.abs(one.logits - other.logits).max(), tolerance)
    _near("maps", np.abs(maps_of(one) - maps_of(other)).max(), tolerance)


def _all_same(asked: Asked, made: list[Generation]) -> None:
    for one, alone in zip(made, asked.alone, strict=True):
        same(one, alone, asked.tolerance)


def _near(what: str, off: float, tolerance: float) -> None:
    if not off <= tolerance:
        raise ModelError(f"{what} differ", got=f"{off:.2g}", expected=f"at most {tolerance:g}")


def _penalised(asked: Asked) -> bool:
    """Whether the generation config moves logits before a token is chosen."""
    entries = {name: value for name, value in asked.loaded.honoured.items() if not name.endswith("token_id")}
    return any(value not in (None, 1.0) for value in entries.values())
