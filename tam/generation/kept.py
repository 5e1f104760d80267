"""Keep of an answer what the maps need: the logits of the classes that occur, at the positions that are read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tam.errors import NotFiniteError
from tam.layout import Layout
from tam.manifest import Sample
from tam.model.decoding import Answer
from tam.model.head import best_rows, blocks, joined
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.model.vocabulary import piece_of
from tam.records import OK, TRUNCATED, Candidates, Generation


@dataclass(frozen=True)
class KeptAnswer:
    """What is kept of an answer, in numbers only; the arrays are those of ``Generation``."""

    sample: Sample
    layout: Layout
    ids: np.ndarray
    ended: bool
    tokens: np.ndarray
    classes: np.ndarray
    logits: np.ndarray
    candidates: Candidates
    dtype: str


def generation_of(loaded: Loaded, sample: Sample, prepared: Prepared, answer: Answer) -> Generation:
    """What is kept of an answer, with its words.

    Raises:
        NotFiniteError: the model's logits are NaN or infinite.
    """
    kept = keep(loaded, sample, prepared, answer)
    return in_words(loaded.tokenizer, loaded.ends, kept)


@torch.inference_mode()
def keep(loaded: Loaded, sample: Sample, prepared: Prepared, answer: Answer) -> KeptAnswer:
    """The part of ``generation_of`` that needs the model; ``in_words`` is the rest."""
    layout, head = prepared.layout, loaded.head
    tokens = np.concatenate([prepared.tokens, answer.ids]).astype(np.int32)
    candidates = answer.candidates
    if len(layout.prompt):
        candidates = joined(best_rows(head, answer.states[layout.prompt]), candidates)
    likely = candidates.ids[: min(1, len(layout.prompt)), 0]
    last = tokens[layout.answer - 1 : layout.answer]
    classes = np.unique(np.concatenate([tokens[layout.prompt], answer.ids, last, likely]))
    rows = np.concatenate([layout.vision, layout.prompt, np.arange(layout.answer - 1, len(tokens) - 1)])
    wanted = torch.from_numpy(classes.astype(np.int64))
    columns = torch.cat([block[:, wanted.to(block.device)] for block in blocks(head, answer.read[rows])])
    logits = columns.float().cpu().numpy()
    if not (np.isfinite(logits).all() and np.isfinite(candidates.logsumexp).all()):
        raise NotFiniteError("logits are NaN or infinite", where=sample.id, cure="try another dtype, such as float32")
    dtype = str(answer.states.dtype).removeprefix("torch.")
    classes = classes.astype(np.int32)
    return KeptAnswer(sample, layout, answer.ids, answer.ended, tokens, classes, logits, candidates, dtype)


def in_words(tokenizer: Any, ends: np.ndarray, kept: KeptAnswer) -> Generation:
    """What was kept, with what its ids stand for.

    Args:
        ends: the ids that end an answer.
    """
    retokenised = [_retokenised(tokenizer, ids) for ids in (kept.tokens[kept.layout.prompt], kept.ids)]
    occurring = np.unique(np.concatenate([kept.classes, kept.candidates.ids.ravel(), *retokenised]))
    return Generation(
        id=kept.sample.id,
        status=OK if kept.ended else TRUNCATED,
        prompt=kept.sample.prompt,
        answer=tokenizer.decode(kept.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        answer_with_special=_decoded(tokenizer, kept.ids),
        tokens=kept.tokens,
        layout=kept.layout,
        classes=kept.classes,
        logits=kept.logits,
        dtype=kept.dtype,
        candidates=kept.candidates,
        retokenised_prompt=retokenised[0],
        retokenised_answer=retokenised[1],
        vocabulary={int(id): piece_of(tokenizer, id) for id in occurring},
        end_tokens=frozenset(kept.ids.tolist()) & {*tokenizer.all_special_ids, *ends.tolist()},
    )


def _decoded(tokenizer: Any, ids: np.ndarray) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _retokenised(tokenizer: Any, ids: np.ndarray) -> np.ndarray:
    pieces = tokenizer.tokenize(_decoded(tokenizer, ids)) if len(ids) else []
    return np.array(tokenizer.convert_tokens_to_ids(pieces), np.int32)
