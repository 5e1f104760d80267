"""Batched greedy decoding: several prompts answered at once, with the states that the answers were read from."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from tam.model.attention import fused_without_plans, joined_pictures
from tam.model.head import candidates_of, on_host
from tam.model.loaded import Loaded
from tam.model.loop import Decoded, decode, decodes_otherwise
from tam.model.prompt import Prepared
from tam.model.recording import read_of, recording
from tam.records import Candidates


@dataclass(frozen=True)
class Answer:
    """What the model leaves of one sample.

    Attributes:
        ids: int32 [answer], with the end token if there is one.
        ended: whether there is one.
        states: [prompt + answer - 1, width], what the head reads at every position but the last.
        candidates: of the rows that predict the answer.
        read: as ``states``, those that maps are read from: of the chosen layer through the final norm, else the same.
    """

    ids: np.ndarray
    ended: bool
    states: torch.Tensor
    candidates: Candidates
    read: torch.Tensor


@torch.inference_mode()
def answer_batch(
    loaded: Loaded, prepared: Sequence[Prepared], max_new_tokens: int, layer: int | None = None
) -> list[Answer]:
    """Greedy answers to several prompts at once, padded on the left.

    Of the checkpoint's generation config, what is ``honoured`` holds (end tokens, a repetition penalty), as in the
    published code. All else would sample, or is a matter of how the library's own loop runs, or says nothing.

    Args:
        layer: of the decoder, from 1, whose states ``Answer.read`` holds; None: the last.

    Raises:
        ModelError: the model decodes in another way all the same, and its states would not be those of the tokens; a
            broken generation config.
    """
    inputs = loaded.batch([sample.to(loaded.device) for sample in prepared])
    room = [min(loaded.most_tokens - len(sample.tokens), max_new_tokens) for sample in prepared]
    most = np.array(room, np.int64)  # what is said beyond is noise
    with (
        _configured(loaded.model, _greedy(loaded, max_new_tokens)), fused_without_plans(), joined_pictures(loaded),
        recording(loaded, layer) as last,
    ):  # fmt: skip
        made = loaded.model.generate(**inputs, custom_generate=partial(decode, last, loaded.ends, most))
    if not isinstance(made, Decoded):
        raise decodes_otherwise(loaded.model)
    read = read_of(loaded, made.states, made.inner)
    generated, *best = on_host(made.ids, *made.best)
    length = inputs["input_ids"].shape[1]
    answers = []
    for index, (sample, ids) in enumerate(zip(prepared, generated.astype(np.int32), strict=True)):
        stops = np.flatnonzero(np.isin(ids[: most[index]], loaded.ends))
        ended = len(stops) > 0
        ids = ids[: stops[0] + 1 if ended else most[index]]
        shown = slice(length - len(sample.tokens), length + len(ids) - 1)
        its = made.states[index, shown]
        candidates = candidates_of(*(part[index, : len(ids)] for part in best))
        answers.append(Answer(ids, ended, its, candidates, its if layer is None else read[index, shown]))
    return answers


def _greedy(loaded: Loaded, max_new_tokens: int) -> GenerationConfig:
    entries = loaded.honoured | {"pad_token_id": loaded.padding, "max_new_tokens": max_new_tokens}
    return GenerationConfig(**entries, do_sample=False, use_cache=True)


@contextlib.contextmanager
def _configured(model: Any, config: Any) -> Iterator[None]:
    """Given to ``generate``, what is None in a config would be taken from the model's own."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own
