"""What the methods that need the model cost: ``python -m tests.bench.attribution FOLDER [--device cuda]``.

In plain forward passes of the same sample (prompt and answer at once, vision tower included, attention as the library
has it), by the median over samples of the least of all rounds. On a CPU: the embedded model, the default scenes and its
own answers, CPU time of one thread. On a GPU: Qwen2-VL-2B's size with random weights in bfloat16, a picture of
640 x 480, 20 tokens, wall time. Needs what the benchmark of generation needs.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

from tam.attribution.methods import METHODS, Settings, attribute
from tam.attribution.occlusion import Shown
from tam.datasets import coco
from tam.datasets.emoji import scenes
from tam.embedded import CHECKPOINT
from tam.generation.kept import generation_of
from tam.manifest import Sample, read
from tam.media import Media, open_media
from tam.model.checkpoint import load
from tam.model.collate import collate, with_answer
from tam.model.decoding import answer_batch
from tam.model.forced import forced_batch
from tam.model.loaded import Loaded
from tam.model.prompt import prepare
from tam.model.question import Question
from tests.bench import result
from tests.bench.generate import WORDS, qwen2_vl_2b, qwen2_vl_processor

FORWARD = ("gradcam", "gradcam++", "layercam", "attention", "rollout", "archi-surgery")
GRADIENT = ("gradrollout", "gae", "inputxgradient", "llava-cam")
GROUPS: dict[str, tuple[tuple[str, ...], float | None]] = {
    "attention and head types": (FORWARD, 1.5),
    "gradrollout": (("gradrollout",), 7.5),
    "gradrollout, gae, inputxgradient, llava-cam": (GRADIENT, None),
    "cp-lrp": (("cp-lrp",), 3.5),
    "attnlrp": (("attnlrp",), 6.0),
    "all but occlusion": (tuple(name for name in METHODS if name != "occlusion"), 12.0),
    "occlusion": (("occlusion",), None),
}
"""What is asked for at once, and how many forward passes it may cost on a CPU."""


def emoji(folder: Path, count: int) -> tuple[Loaded, list[tuple[Media, Sample, np.ndarray | None]]]:
    """The embedded model and scenes, which it answers itself."""
    scenes.write(folder, n=count)
    coco.write(folder, folder / "manifest.jsonl", prompt=coco.PROMPT)
    shown = read(folder / "manifest.jsonl")
    return load(str(CHECKPOINT), device="cpu"), [(open_media(one, folder), one, None) for one in shown]


def qwen(device: torch.device) -> tuple[Loaded, list[tuple[Media, Sample, np.ndarray | None]]]:
    """Full size, random weights, and an answer of 20 tokens."""
    torch.manual_seed(0)
    with device:
        model = transformers.AutoModelForImageTextToText.from_config(qwen2_vl_2b(), dtype=torch.bfloat16).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    media = Media(False, (Image.fromarray(pixels).resize((640, 480)),), (0,))
    return Loaded.of(model, qwen2_vl_processor()), [(media, Sample("s", [], WORDS), np.arange(20, 40, dtype=np.int32))]


def seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """The least of all rounds."""
    clock, found = (time.perf_counter if device.type == "cuda" else time.process_time), []
    for _ in range(rounds):
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(clock() - start)
    return min(found)


def costs(loaded: Loaded, media: Media, sample: Sample, ids: np.ndarray | None, rounds: int) -> dict[str, float]:
    """Seconds of a plain pass, and of each group."""
    device = loaded.device
    prepared = prepare(loaded.prompter, media, sample.prompt)
    (answer,) = answer_batch(loaded, [prepared], 48) if ids is None else forced_batch(loaded, [prepared], [ids])
    generation = generation_of(loaded, sample, prepared, answer)
    question = Question(prepared, generation.answer_ids.astype(np.int32))
    whole = collate(
        [with_answer(prepared.to(device), question.text, loaded.family.answer_type)], loaded.padding, left=False
    )

    @torch.inference_mode()
    def plain() -> None:
        loaded.model(**whole, use_cache=False)

    def group(names: tuple[str, ...]) -> None:
        made = attribute(loaded, question, generation, names, Settings(), Shown(media, sample.prompt))
        if failed := {name: why for name, why in made.scores.items() if isinstance(why, str)}:
            raise RuntimeError(failed)

    plain()
    return {"tokens": len(question.text), "plain": seconds(plain, device, 3 * rounds)} | {
        name: seconds(lambda names=names: group(names), device, 1 if name == "occlusion" else rounds)
        for name, (names, _) in GROUPS.items()
    }


def main(folder: Path, device: torch.device, count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        loaded, samples = emoji(Path(place), count) if device.type == "cpu" else qwen(device)
        found = [costs(loaded, *sample, rounds) for sample in samples]
    rows = [
        {
            "at once": name, "of a plain pass": statistics.median(one[name] / one["plain"] for one in found),
            "goal on a CPU": goal or "", "seconds": statistics.median(one[name] for one in found),
        }
        for name, (_, goal) in GROUPS.items()
    ]  # fmt: skip
    tokens = statistics.median(one["tokens"] for one in found)
    plain = statistics.median(one["plain"] for one in found)
    peak = f" Peak of memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB." if device.type == "cuda" else ""
    about = f"{len(found)} samples, {tokens:g} tokens (median); a plain forward pass takes {plain:.3g} s.{peak}"
    result.write(folder, f"attribution-{device.type}", rows, about)


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when NumPy and torch are loaded, so start again with it
        command = [sys.executable, "-m", "tests.bench.attribution", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"OMP_NUM_THREADS": "1"})
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--rounds", type=int, help="One on a CPU without it, where samples are many; three on a GPU.")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    main(asked.folder, device, asked.samples, asked.rounds or (1 if device.type == "cpu" else 3))
