"""How long the maps of a sample take: ``tam`` beside a plain loop, ``python -m tests.bench.maps FOLDER``.

The plain loop makes one map at a time and handles every window in Python; for every map it searches the markers,
tokenises all text again, joins the logits of all steps, converts the picture and looks up three candidates. That
is what the published code does, in our own words and without its search for the scale (the closed form is cheaper).
Both start from the full logits of every step, on one thread, in turns; the least CPU time of all rounds counts. The
plain loop's maps must equal the exact ones to the bit, or the benchmark fails.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tam.methods.core import token_activation_maps
from tam.methods.plan import plan
from tam.protocol import REFERENCE
from tests.bench import result
from tests.published_code import find_spans, locate

VOCABULARY = 151_936
TEXT = (
    "Write a one-sentence caption for this image: A brown dog and a small grey cat are sitting next to each other on a "
    "wooden bench in front of an old red brick house, while two people walk along the sunny street behind them. "
)
PROMPT_TOKENS = 12
VISION_START, VISION_END, TURN_END = VOCABULARY - 3, VOCABULARY - 2, VOCABULARY - 1
SPECIAL_IDS = {
    "img_id": [VISION_START, VISION_END],
    "prompt_id": [VISION_END, [TURN_END, 1]],
    "answer_id": [[TURN_END, 1, 2], -1],
}
MODES = {"fast": False, "exact": True}


@dataclass(frozen=True)
class Workload:
    """A grid or a video, and how many tokens are generated."""

    name: str
    shape: tuple[int, ...]
    tokens: int
    target: dict[str, int]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        *frames, rows, columns = self.shape
        return [(rows, columns)] * (frames[0] if frames else 1)


WORKLOADS = (
    Workload("18x24, 20 tokens", (18, 24), 20, {}),
    Workload("18x24, 120 tokens", (18, 24), 120, {"fast": 300, "exact": 120}),
    Workload("24x32, 120 tokens", (24, 32), 120, {"fast": 300, "exact": 120}),
    Workload("video 8x13x18, 60 tokens", (8, 13, 18), 60, {"fast": 200}),
)


@dataclass(frozen=True)
class Given:
    """What both start from: the logits of every step, as a generation returns them, the ids and the picture."""

    tokens: list[int]
    logits: list[torch.Tensor]
    tokenizer: PreTrainedTokenizerFast
    picture: np.ndarray


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of the benchmark's own text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=400, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def give(work: Workload, seed: int = 0) -> Given:
    random, tokenizer = np.random.default_rng(seed), byte_tokenizer()
    ids = tokenizer(TEXT * 4)["input_ids"]
    prompt, answer = ids[:PROMPT_TOKENS], ids[PROMPT_TOKENS : PROMPT_TOKENS + work.tokens]
    vision = int(np.prod(work.shape))
    before = [0] * 14 + [VISION_START] + [3] * vision + [VISION_END] + prompt + [TURN_END, 1, 2]
    hidden = torch.from_numpy(random.normal(size=(len(before) + work.tokens - 1, 24)).astype(np.float32))
    head = torch.from_numpy(random.normal(size=(VOCABULARY, 24)).astype(np.float32))
    first, *later = hidden.split([len(before)] + [1] * (work.tokens - 1))
    picture = random.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return Given(before + answer, [(rows @ head.T)[None] for rows in (first, *later)], tokenizer, picture)


# ---- the plain loop


def plain_maps(given: Given, work: Workload) -> np.ndarray:
    """uint8 [token, vision]"""
    raw: list[np.ndarray] = []
    steps = [(0, index) for index in range(PROMPT_TOKENS + 1)]
    steps += [(step, PROMPT_TOKENS + step) for step in range(1, len(given.logits))]
    return np.stack([_plain_map(given, work, step, index, raw) for step, index in steps])


def _plain_map(given: Given, work: Workload, step: int, index: int, raw: list[np.ndarray]) -> np.ndarray:
    tokens, tokenizer = given.tokens, given.tokenizer
    prompt_length = given.logits[0].shape[1]
    vision = slice(locate(tokens, VISION_START) + 1, locate(tokens, VISION_END))
    prompt = slice(locate(tokens, VISION_END) + 1, locate(tokens, SPECIAL_IDS["prompt_id"][1]))
    answer = slice(locate(tokens, SPECIAL_IDS["answer_id"][0], last=True) + 1, None)
    said = [piece for part in (prompt, answer) for piece in tokenizer.tokenize(tokenizer.decode(tokens[part]))]
    cv2.cvtColor(np.array(given.picture), cv2.COLOR_RGB2BGR)

    if step:
        cls, row = tokens[answer.start + step], given.logits[step][0, -1]
    elif index == PROMPT_TOKENS:
        cls, row = tokens[prompt_length - 1], given.logits[0][0, -1]
    else:
        row = given.logits[0][0, prompt.start + index]
        cls = tokens[prompt.start + index] if index else int(row.argmax())
    best = row.topk(3)
    best.values.softmax(0)
    [tokenizer.decode([cls]) for cls in best.indices.tolist()]

    scores = torch.cat([logits[0, :, cls] for logits in given.logits[: step + 1]]).clip(min=0).float().numpy()
    image = scores[vision]
    text = np.concatenate([scores[prompt], scores[prompt_length - 1 : prompt_length], scores[answer]])
    raw.append(image)
    if len(raw) > 1:
        kept = [earlier for earlier in range(index) if said[earlier] != said[index]]
        weights = text[kept] / (text[kept].sum() + np.float32(1e-8))
        interference = np.sum(np.stack([raw[i] for i in kept]) * weights[:, None], axis=0).astype(np.float64)
        scale = (image * interference).sum() / max((interference * interference).sum(), 1e-300)
        image = np.maximum(image - interference * scale, 0)
    joint = np.concatenate([image, text[:-1]])
    joint = (joint - joint.min()) / (joint.max() - joint.min())
    frames = joint[: len(image)].reshape(-1, *work.shapes[0])
    return np.concatenate([(_plain_filter(frame) * 255).astype(np.uint8).ravel() for frame in frames])


def _plain_filter(grid: np.ndarray) -> np.ndarray:
    padded, filtered = np.pad(grid, 1, mode="reflect"), np.zeros_like(grid)
    distances = np.arange(9) - 4
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1]):
            window = np.sort(padded[row : row + 3, column : column + 3].ravel())
            mean, deviation = window.mean(), window.std()
            if mean > 0 and deviation > 0:
                kernel = np.exp(-(distances**2) / (2 * (deviation / mean) ** 2))
                filtered[row, column] = (window * (kernel / kernel.sum())).sum()
    return filtered


# ---- ours


def our_maps(given: Given, work: Workload, exact: bool) -> np.ndarray:
    """uint8 [token, vision]: spans and text once, the classes that occur at the positions that are read, the method."""
    first, *later = (logits.numpy()[0] for logits in given.logits)
    spans = find_spans(given.tokens, SPECIAL_IDS, len(first))
    prompt = range(spans.prompt.start, spans.prompt.stop)
    pieces = [
        given.tokenizer.tokenize(given.tokenizer.decode(given.tokens[part])) for part in (spans.prompt, spans.answer)
    ]
    best = int(first[prompt[0]].argmax())
    steps = plan(given.tokens, prompt, spans.answer.start, *pieces, best, REFERENCE)

    classes, column = np.unique(steps.classes, return_inverse=True)
    rows = [first[part, classes] for part in (spans.vision, spans.prompt, slice(-1, None))]
    scores = np.concatenate([*rows, *(row[:, classes] for row in later)]).T[column]
    vision = spans.vision.stop - spans.vision.start
    return token_activation_maps(
        scores[:, :vision], scores[:, vision:], steps.pieces, steps.prompt_count, work.shapes,
        protocol=REFERENCE, exact=exact,
    ).uint8  # fmt: skip


# ---- the measurement


def measure(work: Workload, rounds: int = 3, repeats: int = 30) -> dict:
    given = give(work)
    seconds: dict[str, float] = dict.fromkeys(("plain", *MODES), np.inf)
    for _ in range(rounds):
        plain = _timed(seconds, "plain", plain_maps, given, work)
        for mode, exact in MODES.items():
            for _ in range(repeats):
                ours = _timed(seconds, mode, our_maps, given, work, exact)
            apart = np.abs(ours.astype(int) - plain)
            if apart.max() > (0 if exact else 1) or (apart > 0).mean() > 1e-4:
                sys.exit(f"{work.name}, {mode}: {(apart > 0).sum()} of {apart.size} pixels differ, up to {apart.max()}")
    ratios = {mode: seconds["plain"] / seconds[mode] for mode in MODES}
    return {
        "workload": work.name,
        "maps": len(plain),
        "milliseconds": {name: 1000 * value for name, value in seconds.items()},
        "times_as_fast": ratios,
        "targets": work.target,
    }


def _timed(seconds: dict[str, float], name: str, function, *arguments) -> np.ndarray:
    start = time.process_time()
    result = function(*arguments)
    seconds[name] = min(seconds[name], time.process_time() - start)
    return result


def row(measured: dict) -> dict:
    """One line of the table."""
    spent, ratios = measured["milliseconds"], measured["times_as_fast"]
    cells = {"sample": measured["workload"], "maps": measured["maps"], "plain loop, ms": spent["plain"]}
    for mode in MODES:
        cells |= {f"{mode}, ms": spent[mode], f"{mode}: times as fast": ratios[mode]}
        cells[f"{mode}: goal"] = measured["targets"].get(mode, "")
    return cells


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    result.write(folder, "maps", [row(measure(work)) for work in WORKLOADS], "CPU time, least of all rounds.")


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when NumPy and torch are loaded, so start again with it
        command = [sys.executable, "-m", "tests.bench.maps", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"OMP_NUM_THREADS": "1"})
    main(Path(sys.argv[1]))
