"""The inputs of several samples as one batch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import pad

from tam.model.prompt import Prepared


def collate(
    prepared: Sequence[Prepared], padding: int, left: bool = True, packed: Collection[str] = (),
    counting: Mapping[str, str] | None = None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """One batch of several samples' inputs: those that run along the tokens are padded on one side, the others joined.

    What differs in another length than the first (tiles of a picture, sides of a padded one) is filled up with zeros
    at its end, as processors do it in a batch of their own. ``packed`` ones go on in their last dimension, and those
    that are ``counting`` another one's patches go on where the sample before ends.
    """
    longest = max(len(sample.tokens) for sample in prepared)
    batch = {}
    for name in dict.fromkeys(name for sample in prepared for name in sample.inputs):
        having = [sample for sample in prepared if name in sample.inputs]
        values, lengths = [sample.inputs[name] for sample in having], [len(sample.tokens) for sample in having]
        if all(value.shape == (1, length) for value, length in zip(values, lengths, strict=True)):
            fill = padding if name == "input_ids" else 0
            sides = [(longest - length, 0) if left else (0, longest - length) for length in lengths]
            values = [pad(value, side, value=fill) for value, side in zip(values, sides, strict=True)]
        if counting and name in counting:
            values = _counted_on(values, [sample.inputs[counting[name]] for sample in having])
        if name in packed:
            batch[name] = torch.cat(values, dim=-1)
            continue
        largest = np.max([value.shape[1:] for value in values], axis=0)
        batch[name] = torch.cat([_filled(value, largest) for value in values])
    return batch


def with_answer(prepared: Prepared, ids: np.ndarray, token_type: int) -> Prepared:
    """The inputs of a prompt with the ``ids`` of its answer behind it, which have this token type."""
    length, inputs = len(prepared.tokens), dict(prepared.inputs)
    more: dict[str, torch.Tensor | int] = {
        "input_ids": torch.from_numpy(ids).long(),
        "attention_mask": 1,
        "token_type_ids": token_type,
    }
    for name, value in inputs.items():
        if value.shape == (1, length):
            inputs[name] = pad(value, (0, len(ids)))
            inputs[name][0, length:] = more.get(name, 0)
    return replace(prepared, inputs=inputs, tokens=np.concatenate([prepared.tokens, ids]))


def _counted_on(values: Sequence[torch.Tensor], counted: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Numbers of patches, each sample's from 0, as those of all samples' patches, [picture, patch, ...] each; -1 is
    none."""
    starts = np.cumsum([0, *(one.shape[0] * one.shape[1] for one in counted)]).tolist()
    return [torch.where(value < 0, value, value + start) for value, start in zip(values, starts, strict=False)]


def _filled(value: torch.Tensor, shape: np.ndarray) -> torch.Tensor:
    """Zeros at the end of each dimension but the first, up to ``shape``."""
    missing = np.asarray(shape, int) - value.shape[1:]
    return pad(value, [part for length in missing[::-1].tolist() for part in (0, length)])
