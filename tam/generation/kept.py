"""Keep of an answer what the maps need: the logits of the classes that occur, at the positions that are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tam.errors import NotFiniteError
from tam.layout import Layout
from tam.manifest import Sample
from tam.model.decoding import Answer
from tam.model.head import best_rows, candidates_of, columns, joined, likeliest, on_host
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.model.vocabulary import ids_of, piece_of
from tam.records import OK, TRUNCATED, Candidates, Generation
from tam.thoughts import MARKS


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


def generation_of(
    loaded: Loaded, sample: Sample, prepared: Prepared, answer: Answer, candidates: int = 0
) -> Generation:
    """What is kept of an answer, with its words; arguments as ``keep``.

    Raises:
        NotFiniteError: the model's logits are NaN or infinite.
    """
    (kept,) = keep(loaded, [sample], [prepared], [answer], candidates)
    if isinstance(kept, NotFiniteError):
        raise kept
    return in_words(loaded.tokenizer, loaded.ends, kept)


@torch.inference_mode()
def keep(
    loaded: Loaded, samples: Sequence[Sample], prepared: Sequence[Prepared], answers: Sequence[Answer],
    candidates: int = 0,
) -> list[KeptAnswer | NotFiniteError]:  # fmt: skip
    """The part of ``generation_of`` that needs the model, for a whole batch; ``in_words`` is the rest.

    The rows of all samples go through the head together, and what is kept of them comes to the host at once: a device
    is asked no more often for many samples than for one.

    Args:
        candidates: so many of the likeliest classes of each row of an answer are kept, too.
    """
    layouts = [one.layout for one in prepared]
    tokens = [np.append(one.tokens, its.ids).astype(np.int32) for one, its in zip(prepared, answers, strict=True)]
    known = [
        np.unique(np.concatenate([its[layout.prompt], its[layout.answer - 1 :], best[:, :candidates].ravel()]))
        for its, layout, best in zip(tokens, layouts, (its.candidates.ids for its in answers), strict=True)
    ]
    rows = [
        np.concatenate([layout.vision, layout.prompt, np.arange(layout.answer - 1, len(its) - 1)])
        for its, layout in zip(tokens, layouts, strict=True)
    ]
    logits, in_prompts = _through_head(loaded.head, answers, rows, [layout.prompt for layout in layouts], known)
    made: list[KeptAnswer | NotFiniteError] = []
    for index, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
        its = joined(in_prompts[index], answer.candidates)
        likely = in_prompts[index].ids[:1, 0]
        classes, first = np.unique(np.append(known[index], likely), return_index=True)
        places = np.where(first == len(known[index]), -1, first)
        made.append(
            _finite(
                KeptAnswer(
                    sample, layouts[index], answer.ids, answer.ended, tokens[index], classes.astype(np.int32),
                    np.take(logits[index], places, axis=1), its, str(answer.states.dtype).removeprefix("torch."),
                )
            )
        )  # fmt: skip
    return made


def _through_head(
    head: torch.nn.Linear, answers: Sequence[Answer], rows: Sequence[np.ndarray], prompts: Sequence[np.ndarray],
    known: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], list[Candidates]]:  # fmt: skip
    """Of all samples at once: float32 [row, class] at ``rows``, and the candidates at ``prompts``.

    The classes are those that are ``known``, filled up to the same number, and in the last column the likeliest one at
    the first word, which only the device knows by then.
    """
    device, starts = answers[0].states.device, np.cumsum([0, *(len(answer.states) for answer in answers)])

    def there(indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(indices.astype(np.int64)).to(device)

    def of_all(parts: Sequence[np.ndarray]) -> torch.Tensor:
        return there(np.concatenate([start + part for start, part in zip(starts, parts, strict=False)]))

    states = torch.cat([answer.states for answer in answers])
    read = states if answers[0].read is answers[0].states else torch.cat([answer.read for answer in answers])
    most = max(map(len, known)) + 1
    classes = there(np.stack([np.resize(its, most) for its in known]))
    worded = np.flatnonzero([len(prompt) for prompt in prompts])
    best = best_rows(head, states[of_all(prompts)])
    if len(worded):
        first = there(np.cumsum([0, *map(len, prompts)])[worded])
        classes[there(worded), -1] = likeliest(best[0][first], best[1][first]).to(device)
    owner = there(np.repeat(np.arange(len(rows)), [*map(len, rows)]))
    logits, *parts = on_host(columns(head, read[of_all(rows)], classes, owner), *best)
    by_sample = zip(*(_split(part, prompts) for part in parts), strict=True)
    return _split(logits, rows), [candidates_of(*each) for each in by_sample]


def _split(array: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(array, np.cumsum([*map(len, parts)])[:-1])


def _finite(kept: KeptAnswer) -> KeptAnswer | NotFiniteError:
    if np.isfinite(kept.logits).all() and np.isfinite(kept.candidates.logsumexp).all():
        return kept
    cure = "try another dtype, such as float32"
    return NotFiniteError("logits are NaN or infinite", where=kept.sample.id, cure=cure)


def in_words(tokenizer: Any, ends: np.ndarray, kept: KeptAnswer) -> Generation:
    """What was kept, with what its ids stand for.

    Args:
        ends: the ids that end an answer.
    """
    retokenised = [_retokenised(tokenizer, ids) for ids in (kept.tokens[kept.layout.prompt], kept.ids)]
    thoughts = np.intersect1d(kept.tokens, ids_of(tokenizer, MARKS))
    occurring = np.unique(np.concatenate([kept.classes, kept.candidates.ids.ravel(), thoughts, *retokenised]))
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
