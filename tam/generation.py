"""Ask the model: batched greedy generation, and the few logits that the maps are computed from.

A hook keeps the last layer's normalised states (what the output head reads), one vector a position. The head is then
applied to the positions that are read, a block of rows at a time, and only the classes that occur are kept.
"""

import contextlib
import copy
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

import tam
from tam.cache import OK, TRUNCATED, VERSION, Candidates, Generation
from tam.errors import InputError, ModelError, NotFiniteError, TamError
from tam.families import family_of
from tam.families.checkpoint import (
    config_of,
    device_of,
    dtype_of,
    fingerprint_of_file,
    fingerprint_of_model,
    load,
    load_from,
    locate,
)
from tam.families.interface import Family
from tam.families.pieces import piece_of
from tam.families.prompt import Prepared, prepare
from tam.manifest import Sample, Shard, read
from tam.media import open_media
from tam.store import Store

__all__ = ["explain_sample", "generate", "load"]

logger = logging.getLogger(__name__)

CANDIDATES = 5

# Largest piece of the full logits that exists at a time. A sample of Qwen2-VL-2B has 0.5 GB of them.
BLOCK_BYTES = 64 * 2**20

# ---- generation


@dataclass(frozen=True)
class Answer:
    """What generation leaves of one sample.

    Attributes:
        ids: int32 [answer], with the end token if there is one.
        ended: whether there is one.
        states: [prompt + answer - 1, width], what the head reads at every position but the last.
        candidates: of the rows that predict the answer.
    """

    ids: np.ndarray
    ended: bool
    states: torch.Tensor
    candidates: Candidates


@torch.inference_mode()
def answer_batch(model, processor, prepared: Sequence[Prepared], max_new_tokens: int) -> list[Answer]:
    """Greedy answers to several prompts at once, padded on the left.

    Only sampling is switched off: what else the checkpoint's generation config says (end tokens, a repetition
    penalty) holds, as it does in the published code.
    """
    inputs = {name: value.to(model.device) for name, value in _collate(prepared, _padding(processor)).items()}
    config = copy.deepcopy(model.generation_config)
    config.update(
        do_sample=False, num_beams=1, temperature=1.0, top_p=1.0, top_k=50, return_dict_in_generate=False,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    with _recording(model) as (states, best):
        sequences = model.generate(**inputs, generation_config=config)
    length = inputs["input_ids"].shape[1]
    states = torch.cat(states, dim=1)
    best = [torch.stack(steps, dim=1) for steps in zip(*best, strict=True)]
    answers = []
    for index, sample in enumerate(prepared):
        ids = sequences[index, length:].cpu().numpy().astype(np.int32)
        stops = np.flatnonzero(np.isin(ids, _end_ids(config)))
        ids = ids[: stops[0] + 1] if len(stops) else ids
        start = length - len(sample.tokens)
        answers.append(
            Answer(
                ids=ids,
                ended=bool(len(stops)),
                states=states[index, start : length + len(ids) - 1],
                candidates=_candidates(*(part[index, : len(ids)] for part in best)),
            )
        )
    return answers


@torch.inference_mode()
def given_answer(model, family: Family, prepared: Prepared, ids: Sequence[int]) -> Answer:
    """An answer that somebody else gave: one forward pass over the prompt and the answer, of at least one token."""
    ids, length, inputs = np.asarray(ids, np.int32), len(prepared.tokens), {}
    more = {"input_ids": torch.from_numpy(ids).long(), "attention_mask": 1, "token_type_ids": family.answer_type}
    for name, value in prepared.inputs.items():
        if value.shape == (1, length):
            value = torch.nn.functional.pad(value, (0, len(ids)))
            value[0, length:] = more.get(name, 0)
        inputs[name] = value.to(model.device)
    with _recording(model) as (states, _):
        model(**inputs, use_cache=False, logits_to_keep=1)
    states = states[0][0, :-1]
    return Answer(ids, True, states, _best_rows(model.get_output_embeddings(), states[length - 1 :]))


def answer_ids(model, processor, family: Family, text: str) -> list[int]:
    """The tokens of a given answer, with the end token that a whole answer has.

    Raises:
        InputError: the text holds a token that stands for vision.
    """
    ids, ends = processor.tokenizer(text, add_special_tokens=False)["input_ids"], _end_ids(model.generation_config)
    if family.vision_ids(model.config).intersection(ids):
        raise InputError("the answer holds a vision token", got=repr(text), cure="take it out of the answer")
    return ids if len(ends) == 0 or (ids and ids[-1] in ends) else [*ids, int(ends[0])]


def _end_ids(config) -> np.ndarray:
    return np.atleast_1d([] if config.eos_token_id is None else config.eos_token_id)


def _padding(processor) -> int:
    return processor.tokenizer.pad_token_id or 0  # never attended to


def _collate(prepared: Sequence[Prepared], padding: int) -> dict[str, torch.Tensor]:
    """One batch of several samples' inputs: those that run along the tokens are padded on the left, the others joined.

    What differs in another length than the first (tiles of a picture, sides of a padded one) is filled up with zeros
    at its end, as processors do it in a batch of their own.
    """
    longest = max(len(sample.tokens) for sample in prepared)
    batch = {}
    for name in dict.fromkeys(name for sample in prepared for name in sample.inputs):
        values = [(sample.inputs[name], len(sample.tokens)) for sample in prepared if name in sample.inputs]
        if all(value.shape == (1, length) for value, length in values):
            fill = padding if name == "input_ids" else 0
            values = [
                (torch.nn.functional.pad(value, (longest - length, 0), value=fill), length) for value, length in values
            ]
        largest = np.max([value.shape[1:] for value, _ in values], axis=0)
        batch[name] = torch.cat([_filled(value, largest) for value, _ in values])
    return batch


def _filled(value: torch.Tensor, shape: np.ndarray) -> torch.Tensor:
    """Zeros at the end of each dimension but the first, up to ``shape``."""
    missing = np.asarray(shape, int) - value.shape[1:]
    return torch.nn.functional.pad(value, [part for length in missing[::-1].tolist() for part in (0, length)])


@contextlib.contextmanager
def _recording(model) -> Iterator[tuple[list[torch.Tensor], list[tuple[torch.Tensor, ...]]]]:
    """Keep what the head reads, at every position, and the best of what it says, step by step.

    Generation applies the head to the last position only, so the states of the prompt are taken where they leave the
    base model. ``output_hidden_states`` would keep every layer's.
    """
    states, best = [], []

    def keep_states(module, inputs, output):
        states.append(output.last_hidden_state)

    def keep_best(module, inputs, output):
        if not best and not torch.equal(inputs[0][:, -1].nan_to_num(), states[0][:, -1].nan_to_num()):
            raise ModelError(
                "the output head does not read the last states of the base model", where=type(model).__name__,
                cure="the family needs a hook of its own",
            )  # fmt: skip
        best.append(_best(output[:, -1]))

    handles = [
        model.base_model.register_forward_hook(keep_states),
        model.get_output_embeddings().register_forward_hook(keep_best),
    ]
    try:
        yield states, best
    finally:
        for handle in handles:
            handle.remove()


def _best(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids and logits [row, k] of the best classes of each row of ``logits`` [row, vocabulary], and logsumexp [row]."""
    values, ids = logits.topk(min(CANDIDATES, logits.shape[-1]))
    return ids, values.float(), logits.float().logsumexp(-1)


def _best_rows(head: torch.nn.Module, states: torch.Tensor) -> Candidates:
    """The best classes of each of ``states`` [row, width], of at least one row."""
    return _candidates(*map(torch.cat, zip(*map(_best, _blocks(head, states)), strict=True)))


def _candidates(ids: torch.Tensor, values: torch.Tensor, logsumexp: torch.Tensor) -> Candidates:
    """Of equal classes the smaller id comes first, as for argmax."""
    ids, values = ids.cpu().numpy().astype(np.int32), values.cpu().numpy()
    order = np.lexsort((ids, -values))
    return Candidates(
        np.take_along_axis(ids, order, -1), np.take_along_axis(values, order, -1), logsumexp.cpu().numpy()
    )


def _joined(first: Candidates, second: Candidates) -> Candidates:
    pairs = ((getattr(first, name), getattr(second, name)) for name in ("ids", "logits", "logsumexp"))
    return Candidates(*map(np.concatenate, pairs))


# ---- selection


@torch.inference_mode()
def select(model, processor, sample: Sample, prepared: Prepared, answer: Answer) -> Generation:
    """Keep of an answer what the maps need.

    Raises:
        NotFiniteError: the model's logits are NaN or infinite.
    """
    layout, tokenizer, head = prepared.layout, processor.tokenizer, model.get_output_embeddings()
    tokens = np.concatenate([prepared.tokens, answer.ids]).astype(np.int32)
    candidates = answer.candidates
    if len(layout.prompt):
        candidates = _joined(_best_rows(head, answer.states[layout.prompt]), candidates)
    likely = candidates.ids[: min(1, len(layout.prompt)), 0]
    last = tokens[layout.answer - 1 : layout.answer]
    classes = np.unique(np.concatenate([tokens[layout.prompt], answer.ids, last, likely]))
    rows = np.concatenate([layout.vision, layout.prompt, np.arange(layout.answer - 1, len(tokens) - 1)])
    wanted = torch.from_numpy(classes.astype(np.int64)).to(answer.states.device)
    logits = torch.cat([block[:, wanted] for block in _blocks(head, answer.states[rows])]).float().cpu().numpy()
    if not (np.isfinite(logits).all() and np.isfinite(candidates.logsumexp).all()):
        raise NotFiniteError("logits are NaN or infinite", where=sample.id, cure="try another dtype, such as float32")
    retokenised = [_retokenised(tokenizer, ids) for ids in (tokens[layout.prompt], answer.ids)]
    occurring = np.unique(np.concatenate([classes, candidates.ids.ravel(), *retokenised]))
    return Generation(
        id=sample.id,
        status=OK if answer.ended else TRUNCATED,
        prompt=sample.prompt,
        answer=tokenizer.decode(answer.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        answer_with_special=_decoded(tokenizer, answer.ids),
        tokens=tokens,
        layout=layout,
        classes=classes.astype(np.int32),
        logits=logits,
        dtype=str(answer.states.dtype).removeprefix("torch."),
        candidates=candidates,
        retokenised_prompt=retokenised[0],
        retokenised_answer=retokenised[1],
        vocabulary={int(id): piece_of(tokenizer, id) for id in occurring},
        end_tokens=frozenset(answer.ids.tolist())
        & {*tokenizer.all_special_ids, *_end_ids(model.generation_config).tolist()},
    )


def _blocks(head: torch.nn.Module, states: torch.Tensor) -> Iterator[torch.Tensor]:
    """The full logits of ``states`` [row, width], some rows at a time: [rows of the block, vocabulary].

    A product with the occurring classes' weights alone would be faster, but rounds differently: how a matrix product
    is summed depends on its shape. The whole head costs a few per cent of what it takes to read the prompt.
    """
    rows = max(1, BLOCK_BYTES // (head.weight.shape[0] * states.element_size()))
    return (head(block) for block in states.split(rows) if len(block))


def _decoded(tokenizer, ids: np.ndarray) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _retokenised(tokenizer, ids: np.ndarray) -> np.ndarray:
    pieces = tokenizer.tokenize(_decoded(tokenizer, ids)) if len(ids) else []
    return np.array(tokenizer.convert_tokens_to_ids(pieces), np.int32)


# ---- one sample


def explain_sample(
    model, processor, family: Family, sample: Sample, folder: Path = Path(), *, max_new_tokens: int = 256,
    answer: str | None = None,
) -> Generation:  # fmt: skip
    """Ask about one sample; its media paths are relative to ``folder``. Errors are raised, not recorded.

    Args:
        answer: explain this text, whoever wrote it, instead of what the model would answer.
    """
    prepared = prepare(family, model.config, processor, open_media(sample, folder), sample.prompt, sample.turns)
    if answer is None:
        (made,) = answer_batch(model, processor, [prepared], max_new_tokens)
    elif ids := answer_ids(model, processor, family, answer):
        made = given_answer(model, family, prepared, ids)
    else:
        raise InputError("the answer is empty", where=sample.id)
    return select(model, processor, sample, prepared, made)


# ---- one shard


def generate(
    manifest: Path, shard: Shard, model: str, out: Path, *, max_new_tokens: int = 256, batch_size: int = 8,
    revision: str | None = None, device: str = "auto", dtype: str = "auto",
) -> Counter[str]:  # fmt: skip
    """Answer all the samples of a shard, write them to ``out`` and count them by status ("failed" without its why).

    Finished batches are kept beside ``out`` until the shard is whole, and a restart goes on after them. A sample that
    cannot be answered is recorded as such and stops no other. The model is loaded only if something is left to do.

    Raises:
        InputError: a wrong manifest or option.
        ModelError: a checkpoint that cannot be used.
    """
    for name, number in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if number < 1:
            raise InputError("wrong number", where=name, got=number, expected="1 or more")
    rows = read(manifest)
    samples = {row: rows[row] for row in shard.rows(len(rows))}
    checkpoint = locate(model, revision)
    config = config_of(checkpoint)
    compute = device_of(device)
    run = {
        "model": model,
        "revision": None if Path(model).is_dir() else checkpoint.name,
        "weights": fingerprint_of_model(checkpoint),
        "family": family_of(config).name,
        "dtype": str(dtype_of(config, compute, dtype)).removeprefix("torch."),
        "max_new_tokens": max_new_tokens,
        "tam": tam.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    fingerprint = fingerprint_of(run, samples, manifest.parent)
    store = Store(out, fingerprint, shard, run)
    done = store.finished()
    if done is not None and done.keys() == samples.keys():
        logger.info("generate %s: %d samples are there already", shard, len(done))
        store.clear()
        return _counts(done)
    done = store.resume()
    if done:
        logger.info("generate %s: resume: %d of %d samples are there", shard, len(done), len(samples))
    if len(done) < len(samples):
        loaded = load_from(checkpoint, compute, dtype)
        started, already = time.monotonic(), len(done)
        for batch in _batches(samples, done, manifest.parent, batch_size):
            generations = _answer(*loaded, batch, manifest.parent, max_new_tokens)
            store.add(generations)
            done |= {row: generation.status for row, generation in generations.items()}
            rate = (len(done) - already) / (time.monotonic() - started)
            logger.info(
                "generate %s: %d/%d samples, %.1f samples/s, ETA %.0f s",
                shard, len(done), len(samples), rate, (len(samples) - len(done)) / rate,
            )  # fmt: skip
    store.finish()
    return _counts(done)


def _counts(statuses: dict[int, str]) -> Counter[str]:
    return Counter(status.split(":")[0] for status in statuses.values())


def _batches(samples: dict[int, Sample], done: dict, folder: Path, size: int) -> Iterator[dict[int, Sample]]:
    """Samples of similar length together. Batches are cut before the finished ones are left out: a restart must not
    put other samples side by side, because padding changes the last bit of a result."""
    order = sorted(samples, key=lambda row: (_length(samples[row], folder), row))
    for start in range(0, len(order), size):
        if batch := {row: samples[row] for row in order[start : start + size] if row not in done}:
            yield batch


def _length(sample: Sample, folder: Path) -> int:
    """About how long a sample is: its pixels (for a video file, its bytes). Unreadable media count nothing."""
    total = 0
    for path in sample.media:
        try:
            with Image.open(folder / path) as picture:
                total += picture.width * picture.height
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            total += (folder / path).stat().st_size if sample.kind == "video" and (folder / path).is_file() else 0
    return total


def _answer(
    model, processor, family: Family, samples: dict[int, Sample], folder: Path, max_new_tokens: int
) -> dict[int, Generation]:
    """Answer a batch. Whatever goes wrong with one sample is recorded for it, and the others go on."""
    generations, prepared = {}, {}
    for row, sample in samples.items():
        try:
            media = open_media(sample, folder)
            prepared[row] = prepare(family, model.config, processor, media, sample.prompt, sample.turns)
        except (ModelError, ImportError):  # nothing that another sample would not meet
            raise
        except Exception as error:  # a processor may raise anything
            generations[row] = _failure(sample, error)
    for row, answer in _answers(model, processor, prepared, max_new_tokens).items():
        if isinstance(answer, Exception):
            generations[row] = _failure(samples[row], answer)
            continue
        try:
            generations[row] = select(model, processor, samples[row], prepared[row], answer)
        except (NotFiniteError, RuntimeError) as error:
            generations[row] = _failure(samples[row], error)
    return dict(sorted(generations.items()))


def _answers(model, processor, prepared: dict[int, Prepared], max_new_tokens: int) -> dict[int, Answer | Exception]:
    """Answers by row. A batch that breaks (too little memory, a sample the model cannot take) is tried in halves."""
    if not prepared:
        return {}
    try:
        answers = answer_batch(model, processor, list(prepared.values()), max_new_tokens)
        return dict(zip(prepared, answers, strict=True))
    except (RuntimeError, ValueError, IndexError) as error:
        if len(prepared) == 1:
            return dict.fromkeys(prepared, error.with_traceback(None))  # a traceback would keep its tensors
        logger.warning("a batch of %d broke and is tried in halves: %s", len(prepared), error)
    rows = list(prepared)
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    return {
        row: answer
        for half in halves
        for row, answer in _answers(model, processor, {row: prepared[row] for row in half}, max_new_tokens).items()
    }


def _failure(sample: Sample, error: Exception) -> Generation:
    why = error if isinstance(error, TamError) else f"{type(error).__name__}: {error}"
    logger.warning("%s failed: %s", sample.id, why)
    return Generation.failure(sample.id, sample.prompt, why)


# ---- fingerprints


def fingerprint_of(run: dict, samples: dict[int, Sample], folder: Path) -> str:
    """What determines a shard's file: weights and processor, the samples' media and prompts, dtype, limit, version.

    How fast it is computed (device, batch size) does not belong to it, nor what only later stages read.
    """
    rows = [
        [
            row,
            sample.id,
            sample.kind,
            sample.turns,
            sample.prompt,
            [fingerprint_of_file(folder / path) for path in sample.media],
        ]
        for row, sample in samples.items()
    ]
    content = {key: run[key] for key in ("weights", "dtype", "max_new_tokens")} | {"cache": VERSION, "rows": rows}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
