"""Greedy decoding, handed to the library through its own door (``generate(custom_generate=...)``).

To see whether an answer has ended, the host must wait until the device has caught up. So what is said goes into buffers
that exist from the start, and the host looks every ``LOOK`` steps.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList
from transformers.cache_utils import DynamicCache

from tam.errors import ModelError
from tam.model.graph import Replayed, roomy
from tam.model.head import CANDIDATES, best_of
from tam.model.kv_cache import CACHE, GrowingCache
from tam.model.recording import Recording

LOOK = 8  # steps
FEWEST = 8  # samples: a step of fewer is hardly faster, since the weights are read in any case

# What the library makes longer at each step; in all of it samples are the last dimension but one.
GROWING = ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class Decoded:
    """What was said; behind a sample's end it is noise.

    Attributes:
        ids: int64 [batch, answer].
        states: [batch, prompt + answer - 1, width], what the head reads.
        inner: as ``states``, of the chosen layer, before the final norm; None where no layer is chosen.
        best: what ``best_of`` gives, each [batch, answer, ...].
    """

    ids: torch.Tensor
    states: torch.Tensor
    inner: torch.Tensor | None
    best: tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def decode(
    last: Recording, ends: np.ndarray, most: np.ndarray, model: Any, input_ids: torch.Tensor, *,
    logits_processor: LogitsProcessorList, generation_config: object, stopping_criteria: object,
    graphed: bool = False, **inputs: Any,
) -> Decoded:  # fmt: skip
    """Answer a batch. Samples that have ended leave it whenever it can be halved: the others go on without them.

    Args:
        last: of the model, which runs inside its ``recording``.
        ends: the ids that end an answer.
        most: int [batch], how long the answer to each sample may be.
        model, ...: as ``generate`` hands them over. When to stop is up to ``ends`` and ``most`` alone.
        graphed: replay a step that was captured, where the model's cache allows it; on a CUDA device.

    Raises:
        ModelError: the model decodes in another way.
    """
    (batch, length), limit, device = input_ids.shape, int(most.max()), input_ids.device
    cache, wide = inputs.get(CACHE), None
    if type(cache) is DynamicCache:
        wide = roomy(model, length + limit) if graphed else None
        cache = inputs[CACHE] = wide or GrowingCache(model.config)
    outputs = model(**model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **inputs))
    if outputs.get(CACHE) is None:
        raise decodes_otherwise(model)
    if isinstance(cache, GrowingCache):
        cache.padded = inputs.get("attention_mask") is not None
    ids = torch.cat([input_ids, input_ids.new_zeros(batch, limit)], dim=1)
    states = _longer(last.states, limit - 1)
    inner = None if last.inner is None else _longer(last.inner, limit - 1)
    best = _places_for_best(last.logits, limit)
    scores = torch.empty_like(outputs.logits[:, -1], dtype=torch.float32, device=device)
    rows, left, going = torch.arange(batch, device=device), np.arange(batch), np.full(batch, True)
    replayed: Replayed | None = None
    with model._optimize_model_for_decode():
        for step in range(limit):
            here = length + step
            if step:
                said = ids[:, :here].index_select(0, rows)
                if wide is not None:
                    replayed = replayed or Replayed(model, inputs)
                    outputs = replayed(said)
                else:
                    outputs = model(**model.prepare_inputs_for_generation(said, next_sequence_length=1, **inputs))
                _put(last.states[:, -1], states[:, here - 1], rows)
                if inner is not None and last.inner is not None:
                    _put(last.inner[:, -1], inner[:, here - 1], rows)
            inputs = model._update_model_kwargs_for_generation(outputs, inputs)
            logits = outputs.logits[:, -1].to(device, torch.float32)
            if logits_processor:  # some of them know the prompts of the whole batch
                _put(logits, scores, rows)
                logits = logits_processor(ids[:, :here], scores).index_select(0, rows)
            _put(logits.argmax(-1), ids[:, here], rows)
            for part, whole in zip(best_of(last.logits), best, strict=True):
                _put(part, whole[:, step], rows)
            if (step + 1) % LOOK == 0 and step + 1 < limit:
                ended = np.isin(ids[:, here + 1 - LOOK : here + 1].cpu().numpy(), ends).any(axis=1)
                going &= ~ended & (step + 1 < most)
                if not going.any():
                    break
                staying = _staying(going[left])
                if len(staying) < len(left):
                    left, places = left[staying], torch.from_numpy(staying).to(device)
                    rows, inputs = rows.index_select(0, places), _only(inputs, places)
                    replayed = None
    return Decoded(
        ids[:, length : here + 1], states[:, :here], None if inner is None else inner[:, :here],
        (best[0][:, : step + 1], best[1][:, : step + 1], best[2][:, : step + 1]),
    )  # fmt: skip


def decodes_otherwise(model: object) -> ModelError:
    """Of a model whose own code answers in its own way, or keeps no keys and values."""
    return ModelError(
        "the model does not run once over the prompt and once a token", where=type(model).__name__,
        cure="take a checkpoint whose code leaves decoding to the library",
    )  # fmt: skip


def _longer(states: torch.Tensor, more: int) -> torch.Tensor:
    """With room for ``more`` positions behind them."""
    batch, length, width = states.shape
    made = states.new_empty(batch, length + more, width)
    made[:, :length] = states
    return made


def _places_for_best(logits: torch.Tensor, limit: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shape = len(logits), limit, min(CANDIDATES, logits.shape[-1])
    new = functools.partial(torch.empty, device=logits.device)
    return new(shape, dtype=torch.int64), new(shape), new(shape[:2])


def _put(part: torch.Tensor, whole: torch.Tensor, rows: torch.Tensor) -> None:
    """``whole[rows] = part``, without a copy of either."""
    whole.index_copy_(0, rows.to(whole.device), part)


def _staying(going: np.ndarray) -> np.ndarray:
    """Which of the samples in the batch stay: all, or if half of them is enough, those that go on and some more to be
    ``FEWEST``; int64, ascending."""
    wanted = max(FEWEST, int(going.sum()))
    first = len(going) if 2 * wanted > len(going) else wanted
    return np.sort(np.argsort(~going, kind="stable")[:first])


def _only(inputs: dict[str, Any], places: torch.Tensor) -> dict[str, Any]:
    """The inputs of some samples of the batch."""
    inputs[CACHE].reorder_cache(places)
    its = {name: inputs[name] for name in GROWING if inputs.get(name) is not None}
    return inputs | {name: value.index_select(-2, places) for name, value in its.items()}
