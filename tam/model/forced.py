"""Answers that are given, whoever wrote them: one pass over prompt and answer, in which every token is forced."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tam.errors import InputError
from tam.model.attention import fused_without_plans, joined_pictures
from tam.model.collate import with_answer
from tam.model.decoding import Answer
from tam.model.head import best_rows, candidates_of, on_host
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.model.recording import read_of, recording
from tam.records import GivenAnswer


@torch.inference_mode()
def forced_batch(
    loaded: Loaded, prepared: Sequence[Prepared], answers: Sequence[np.ndarray], layer: int | None = None
) -> list[Answer]:
    """Answers that are given, int32 ids of at least one token each: one forward pass over prompts and answers.

    Padded on the right, behind everything that is read: every token has the position that it has alone.
    """
    placed = [one.to(loaded.device) for one in prepared]
    whole = [with_answer(one, ids, loaded.family.answer_type) for one, ids in zip(placed, answers, strict=True)]
    with fused_without_plans(), joined_pictures(loaded), recording(loaded, layer) as last:
        loaded.model(**{"logits_to_keep": 1} | loaded.batch(whole, left=False), use_cache=False)
    states, read = last.states, read_of(loaded, last.states, last.inner)
    spans = [(len(one.tokens), len(one.tokens) + len(ids) - 1) for one, ids in zip(prepared, answers, strict=True)]
    rows = torch.cat([states[index, first - 1 : end] for index, (first, end) in enumerate(spans)])
    best = on_host(*best_rows(loaded.head, rows))
    made, start = [], 0
    for index, (ids, (_, end)) in enumerate(zip(answers, spans, strict=True)):
        its, candidates = states[index, :end], candidates_of(*(part[start : start + len(ids)] for part in best))
        made.append(Answer(ids, True, its, candidates, its if layer is None else read[index, :end]))
        start += len(ids)
    return made


def given_ids(loaded: Loaded, given: GivenAnswer) -> tuple[np.ndarray, bool, bool]:
    """int32, the tokens of an answer; whether they end; and whether an end token, as a whole answer has it, was added.

    Raises:
        InputError: the answer is empty, or holds a token that stands for vision.
    """
    if given.ids is None:
        ids = loaded.tokenizer(given.text, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    else:
        ids = list(given.ids)
    if loaded.vision_ids.intersection(ids):
        raise InputError("the answer holds a vision token", got=repr(given.text), cure="take it out of the answer")
    closed = len(loaded.ends) == 0 or (len(ids) > 0 and ids[-1] in loaded.ends)
    ended = (given.ids is None or closed) if given.ended is None else given.ended
    added = ended and not closed
    if not ids and not added:
        raise InputError("the answer is empty")
    return np.array([*ids, loaded.ends[0]] if added else ids, np.int32), ended, added


@torch.inference_mode()
def with_likeliest_end(loaded: Loaded, answer: Answer) -> Answer:
    """With the end token, of all that there are, that the model finds likeliest behind the text.

    No state is read behind it, so that any other can take its place.
    """
    ends = loaded.ends
    logits = loaded.head(answer.states[-1:])[0, torch.from_numpy(ends).to(answer.states.device)]
    return replace(answer, ids=np.append(answer.ids[:-1], np.int32(ends[int(logits.argmax())])))
