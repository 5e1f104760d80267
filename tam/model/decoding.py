"""Ask the model: batched greedy generation, or one pass over a given answer.

A hook keeps the last layer's normalised states (what the output head reads), one vector a position; another, where
another layer is asked for, that layer's.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tam.errors import InputError, ModelError
from tam.families.interface import Family
from tam.model.head import best_of, best_rows, candidates_of
from tam.model.kv_cache import growing
from tam.model.prompt import Prepared, room_of
from tam.records import Candidates


@dataclass(frozen=True)
class Answer:
    """What generation leaves of one sample.

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
    model, processor, prepared: Sequence[Prepared], max_new_tokens: int, layer: int | None = None
) -> list[Answer]:
    """Greedy answers to several prompts at once, padded on the left.

    Only sampling is switched off, and what runs the model otherwise than once over the prompt and once a token: what
    else the checkpoint's generation config says (end tokens, a repetition penalty) holds, as in the published code.

    Args:
        layer: of the decoder, from 1, whose states ``Answer.read`` holds; None: the last.

    Raises:
        ModelError: the model ran in another way all the same, and its states are not those of the tokens.
    """
    inputs = collate([_on(model.device, sample) for sample in prepared], padding_of(processor))
    config = copy.deepcopy(model.generation_config)
    config.update(
        do_sample=False, num_beams=1, temperature=1.0, top_p=1.0, top_k=50, return_dict_in_generate=False,
        max_new_tokens=max_new_tokens, use_cache=True, num_return_sequences=1, prompt_lookup_num_tokens=None,
        prefill_chunk_size=None, penalty_alpha=None, guidance_scale=None,
    )  # fmt: skip
    with _configured(model, config), _recording(model, layer) as (states, best, inner), growing(model.get_decoder()):
        sequences = model.generate(**inputs)
    length = inputs["input_ids"].shape[1]
    steps, states = [each.shape[1] for each in states], torch.cat(states, dim=1)
    if steps != [length] + [1] * (sequences.shape[1] - length - 1) or len(best) != len(steps):
        raise ModelError(
            "the model does not run once over the prompt and once a token", where=type(model).__name__,
            got=f"positions {steps[:5]}", expected=f"{[length]} and 1 each", cure="see its generation config",
        )  # fmt: skip
    read = states if layer is None else normalised(model, inner)
    best = [torch.stack(steps, dim=1).cpu() for steps in zip(*best, strict=True)]
    generated = sequences[:, length:].cpu().numpy().astype(np.int32)
    answers = []
    for index, (sample, ids) in enumerate(zip(prepared, generated, strict=True)):
        most = int(min(room_of(model.config) - len(sample.tokens), max_new_tokens))  # what is said beyond is noise
        stops = np.flatnonzero(np.isin(ids, end_ids(config)))
        end = stops[0] + 1 if len(stops) else len(ids)
        ids, ended = ids[: min(end, most)], len(stops) > 0 and bool(end <= most)
        start = length - len(sample.tokens)
        shown = slice(start, length + len(ids) - 1)
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


@torch.inference_mode()
def given_answers(
    model, processor, family: Family, prepared: Sequence[Prepared], answers: Sequence[Sequence[int]],
    layer: int | None = None,
) -> list[Answer]:  # fmt: skip
    """Answers that somebody else gave, of at least one token each: one forward pass over prompts and answers.

    Padded on the right, behind everything that is read: every token has the position that it has alone.
    """
    answers = [np.asarray(ids, np.int32) for ids in answers]
    whole = [_answered(family, _on(model.device, one), ids) for one, ids in zip(prepared, answers, strict=True)]
    with _recording(model, layer) as (states, _, inner):
        model(**collate(whole, padding_of(processor), left=False), use_cache=False, logits_to_keep=1)
    read = states[0] if layer is None else normalised(model, inner)
    made = []
    for index, (sample, ids) in enumerate(zip(prepared, answers, strict=True)):
        length = len(sample.tokens)
        its, read_of_it = (kept[index, : length + len(ids) - 1] for kept in (states[0], read))
        made.append(Answer(ids, True, its, best_rows(model.get_output_embeddings(), its[length - 1 :]), read_of_it))
    return made


def _answered(family: Family, prepared: Prepared, ids: np.ndarray) -> Prepared:
    """The inputs of a prompt with its answer behind it."""
    length, inputs = len(prepared.tokens), dict(prepared.inputs)
    more = {"input_ids": torch.from_numpy(ids).long(), "attention_mask": 1, "token_type_ids": family.answer_type}
    for name, value in inputs.items():
        if value.shape == (1, length):
            inputs[name] = torch.nn.functional.pad(value, (0, len(ids)))
            inputs[name][0, length:] = more.get(name, 0)
    return replace(prepared, inputs=inputs, tokens=np.concatenate([prepared.tokens, ids]))


def _on(device: torch.device, prepared: Prepared) -> Prepared:
    inputs = {name: value.to(device, non_blocking=True) for name, value in prepared.inputs.items()}
    return replace(prepared, inputs=inputs)


def answer_ids(model, processor, family: Family, text: str) -> list[int]:
    """The tokens of a given answer, with the end token that a whole answer has.

    Raises:
        InputError: the text is empty, or holds a token that stands for vision.
    """
    ids, ends = processor.tokenizer(text, add_special_tokens=False)["input_ids"], end_ids(model.generation_config)
    if family.vision_ids(model.config).intersection(ids):
        raise InputError("the answer holds a vision token", got=repr(text), cure="take it out of the answer")
    if not ids and len(ends) == 0:
        raise InputError("the answer is empty")
    return ids if len(ends) == 0 or (ids and ids[-1] in ends) else [*ids, int(ends[0])]


def end_ids(config) -> np.ndarray:
    return np.atleast_1d([] if config.eos_token_id is None else config.eos_token_id)


def padding_of(processor) -> int:
    return processor.tokenizer.pad_token_id or 0  # never attended to


def collate(prepared: Sequence[Prepared], padding: int, left: bool = True) -> dict[str, torch.Tensor]:
    """One batch of several samples' inputs: those that run along the tokens are padded on one side, the others joined.

    What differs in another length than the first (tiles of a picture, sides of a padded one) is filled up with zeros
    at its end, as processors do it in a batch of their own.
    """
    longest = max(len(sample.tokens) for sample in prepared)
    batch = {}
    for name in dict.fromkeys(name for sample in prepared for name in sample.inputs):
        values = [(sample.inputs[name], len(sample.tokens)) for sample in prepared if name in sample.inputs]
        if all(value.shape == (1, length) for value, length in values):
            fill = padding if name == "input_ids" else 0
            room = [((longest - length, 0) if left else (0, longest - length)) for _, length in values]
            values = [
                (torch.nn.functional.pad(value, sides, value=fill), length)
                for (value, length), sides in zip(values, room, strict=True)
            ]
        largest = np.max([value.shape[1:] for value, _ in values], axis=0)
        batch[name] = torch.cat([_filled(value, largest) for value, _ in values])
    return batch


def _filled(value: torch.Tensor, shape: np.ndarray) -> torch.Tensor:
    """Zeros at the end of each dimension but the first, up to ``shape``."""
    missing = np.asarray(shape, int) - value.shape[1:]
    return torch.nn.functional.pad(value, [part for length in missing[::-1].tolist() for part in (0, length)])


def check_layer(model, layer: int | None) -> None:
    """Raises:
    InputError: the decoder has no such layer. ModelError: it is not a list of layers with a norm behind them.
    """
    if layer is None:
        return
    decoder = model.get_decoder()
    if not (hasattr(decoder, "layers") and hasattr(decoder, "norm")):
        raise ModelError("no list of layers and final norm is known of this model", got=type(decoder).__name__)
    if not 1 <= layer <= len(decoder.layers):
        raise InputError("no such layer", got=layer, expected=f"1 to {len(decoder.layers)}, the last")


def normalised(model, inner: Sequence[torch.Tensor]) -> torch.Tensor:
    """States of a layer, step by step [batch, position, width], as the head would read them if it were the last."""
    return model.get_decoder().norm(torch.cat(list(inner), dim=1))


@contextlib.contextmanager
def _configured(model, config) -> Iterator[None]:
    """Given to ``generate``, what is None in a config would be taken from the model's own."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


Kept = tuple[list[torch.Tensor], list[tuple[torch.Tensor, ...]], list[torch.Tensor]]


@contextlib.contextmanager
def _recording(model, layer: int | None = None) -> Iterator[Kept]:
    """Keep what the head reads, at every position, the best of what it says, and the states of ``layer``, step by step.

    Generation applies the head to the last position only, so the states of the prompt are taken where they leave the
    base model. ``output_hidden_states`` would keep every layer's. Those of a layer are taken where the next one (or the
    final norm) reads them, so that what a model adds in between (Qwen3-VL: features of the picture) is in them.
    """
    check_layer(model, layer)
    states, best, inner = [], [], []

    def keep_states(module, inputs, output):
        states.append(output.last_hidden_state)

    def keep_best(module, inputs, output):
        if not best and not torch.equal(inputs[0][:, -1].nan_to_num(), states[0][:, -1].nan_to_num()):
            raise ModelError(
                "the output head does not read the last states of the base model", where=type(model).__name__,
                cure="the family needs a hook of its own",
            )  # fmt: skip
        best.append(best_of(output[:, -1]))

    def keep_inner(module, positional, named):
        inner.append(positional[0] if positional else named["hidden_states"])

    handles = [
        model.base_model.register_forward_hook(keep_states),
        model.get_output_embeddings().register_forward_hook(keep_best),
    ]
    if layer is not None:
        decoder = model.get_decoder()
        reader = decoder.layers[layer] if layer < len(decoder.layers) else decoder.norm
        handles.append(reader.register_forward_pre_hook(keep_inner, with_kwargs=True))
    try:
        yield states, best, inner
    finally:
        for handle in handles:
            handle.remove()
