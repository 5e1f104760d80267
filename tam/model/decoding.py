"""Batched greedy decoding: several prompts answered at once, with the states that the answers were read from."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from tam.errors import ModelError
from tam.model.collate import collate
from tam.model.head import candidates_of
from tam.model.kv_cache import growing_kv_cache
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.model.recording import recording, states_of
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
    published code. All else would sample, or run the model otherwise than once over the prompt and once a token, or say
    nothing.

    Args:
        layer: of the decoder, from 1, whose states ``Answer.read`` holds; None: the last.

    Raises:
        ModelError: the model ran in another way all the same, and its states are not those of the tokens; a broken
            generation config.
    """
    inputs = collate([sample.to(loaded.device) for sample in prepared], loaded.padding)
    config = _greedy(loaded, max_new_tokens)
    with _configured(loaded.model, config), recording(loaded, layer) as made, growing_kv_cache(loaded.decoder):
        sequences = loaded.model.generate(**inputs)
    length = inputs["input_ids"].shape[1]
    steps = [each.shape[1] for each in made.states]
    if steps != [length] + [1] * (sequences.shape[1] - length - 1) or len(made.best) != len(steps):
        raise ModelError(
            "the model does not run once over the prompt and once a token", where=type(loaded.model).__name__,
            got=f"positions {steps[:5]}", expected=f"{[length]} and 1 each", cure="see its generation config",
        )  # fmt: skip
    states, read = states_of(loaded, made, layer)
    best = [torch.stack(each, dim=1).cpu() for each in zip(*made.best, strict=True)]
    generated = sequences[:, length:].cpu().numpy().astype(np.int32)
    answers = []
    for index, (sample, ids) in enumerate(zip(prepared, generated, strict=True)):
        most = int(min(loaded.most_tokens - len(sample.tokens), max_new_tokens))  # what is said beyond is noise
        stops = np.flatnonzero(np.isin(ids, loaded.ends))
        end = stops[0] + 1 if len(stops) else len(ids)
        ids, ended = ids[: min(end, most)], len(stops) > 0 and bool(end <= most)
        shown = slice(length - len(sample.tokens), length + len(ids) - 1)
        answers.append(
            Answer(
                ids=ids,
                ended=ended,
                states=states[index, shown],
                read=read[index, shown],
                candidates=candidates_of(*(part[index, : len(ids)] for part in best)),
            )
        )
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
