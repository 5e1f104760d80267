"""What maps, metrics and tables cost at a dataset's size, ``python -m tests.bench.scale FOLDER``.

Synthetic caches of Qwen2-VL-2B's shapes: 18x24 vision tokens, 10 tokens of the user's words, 20 of an answer with three
objects, five captions, a label map of 640x480. Every stage is a process of its own on one thread, so its CPU time and
peak memory are its own; the rate per sample is the slope between the sizes, without what a process costs to start.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from tam import manifest
from tam.cache import write_generations
from tam.layout import Grid, Layout
from tam.records import Candidates, Generation, Piece

SIZES = (500, 1000, 2000, 5000)
ROWS, COLUMNS, WIDTH, HEIGHT = 18, 24, 640, 480
PROMPT = ["Write", "a", "one", "-", "sentence", "caption", "for", "this", "image", ":"]
ANSWER = [
    "A", "brown", "dog", "and", "a", "small", "cat", "are", "sitting", "next", "to", "a", "wooden", "bench", "in",
    "front", "of", "the", "house", ".",
]  # fmt: skip
CAPTIONS = (
    "A dog and a cat sit on a bench in the park.", "Two animals are next to a wooden bench outside.",
    "A small cat next to a dog in front of a house.", "There is a brown dog sitting beside a cat on a bench.",
    "Animals resting together near a bench in the sun.",
)  # fmt: skip
CATEGORIES = {"person": 1, "bench": 15, "cat": 17, "dog": 18}
END = 1000
STAGES = ("maps", "metrics", "tables")
GOAL = 50


def sample(row: int) -> Generation:
    """A generation whose logits look like a model's: a smooth bump for every class, and noise."""
    random = np.random.default_rng(row)
    words = list(dict.fromkeys(PROMPT + ANSWER))
    prompt, answer = ([words.index(word) for word in text] for text in (PROMPT, ANSWER))
    answer.append(END)
    vision = ROWS * COLUMNS
    classes = np.array([*range(len(words)), END], np.int32)
    states = vision + len(prompt) + len(answer)
    logits = random.normal(0, 2, (states, len(classes))).astype(np.float32)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    for column in range(len(classes)):
        centre = random.random(2) * (ROWS, COLUMNS)
        bump = 12 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 18)
        logits[:vision, column] += bump.ravel().astype(np.float32)
    tokens = np.array([END] * 14 + [0] * vision + prompt + [END] * 5 + answer, np.int32)
    start = 14 + vision
    rows = len(prompt) + len(answer)
    return Generation(
        id=f"{row:012d}", status="ok", prompt=" ".join(PROMPT), answer=" ".join(ANSWER), row=row, tokens=tokens,
        layout=Layout(
            np.arange(14, start), np.arange(start, start + len(prompt)), start + len(prompt) + 5,
            (Grid(0, (0,), ROWS, COLUMNS, (0.0, 0.0, float(WIDTH), float(HEIGHT))),), ((WIDTH, HEIGHT),),
        ),
        classes=classes, logits=logits, dtype="bfloat16",
        candidates=Candidates(
            np.zeros((rows, 5), np.int32), np.zeros((rows, 5), np.float32), np.zeros(rows, np.float32)
        ),
        retokenised_prompt=np.array(prompt, np.int32), retokenised_answer=np.array(answer, np.int32),
        vocabulary={
            **{id: Piece("Ġ" + word, " " + word, (" " + word).encode()) for id, word in enumerate(words)},
            END: Piece("<|im_end|>", "<|im_end|>", b"<|im_end|>"),
        },
        end_tokens=frozenset({END}),
    )  # fmt: skip


def mask(row: int) -> np.ndarray:
    """A label map with an ellipse for each category."""
    random = np.random.default_rng([row, 1])
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    for category in CATEGORIES.values():
        centre = [int(random.integers(80, size - 80)) for size in (WIDTH, HEIGHT)]
        axes = [int(length) for length in random.integers(20, 160, 2)]
        cv2.ellipse(canvas, centre, axes, int(random.integers(180)), 0, 360, int(category), -1)
    return canvas


def give(folder: Path, count: int) -> None:
    """A cache, masks and a manifest of ``count`` samples; the first 100 repeat, which costs the stages the same."""
    (folder / "masks").mkdir(parents=True)
    for row in range(min(count, 100)):
        cv2.imwrite(str(folder / "masks" / f"{row}.png"), mask(row))
    common = {"media": ["none.jpg"], "prompt": " ".join(PROMPT), "references": CAPTIONS, "categories": CATEGORIES}
    samples = (manifest.Sample(f"{row:012d}", mask=f"masks/{row % 100}.png", **common) for row in range(count))
    manifest.write(samples, folder / "manifest.jsonl")
    write_generations(folder / "generation.h5", _Samples(count), {}, "f")


class _Samples:
    """A mapping that makes its values when they are asked for."""

    def __init__(self, count: int):
        self.count = count

    def items(self):
        return ((row, sample(row)) for row in range(self.count))


def stage(name: str, folder: Path) -> None:
    """Run one stage here; the measuring process calls this in a process of its own."""
    if name == "maps":
        from tam.methods.stage import write_maps
        from tam.protocol import FIXED

        write_maps(folder / "generation.h5", folder / "maps.h5", ["tam"], FIXED)
    elif name == "metrics":
        from tam.metrics.stage import write_metrics
        from tam.protocol import FIXED

        files = (folder / file for file in ("generation.h5", "maps.h5", "manifest.jsonl", "metrics.parquet"))
        write_metrics(*files, FIXED)
    else:
        from tam.run import RunFiles
        from tam.tables.ablation import write_tables

        run = RunFiles("coco", "synthetic", None, (), (), (folder / "metrics.parquet",))
        write_tables(run, folder / "tables")


def measure(name: str, folder: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB of a stage in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.scale", "--stage", name, str(folder)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


def main(folder: Path) -> None:
    from tests.bench import result  # imports torch, which the stages do without

    rows = []
    for count in SIZES:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name) / "data"
            give(place, count)
            spent = {stage: measure(stage, place) for stage in STAGES}
        row: dict[str, object] = {"samples": count}
        for stage, (seconds, memory) in spent.items():
            row |= {f"{stage}, s": seconds, f"{stage}, MiB": memory}
        rows.append(row)
        before = rows[-2] if len(rows) > 1 else dict.fromkeys(row, 0.0)
        more = sum(row[f"{stage}, s"] - before[f"{stage}, s"] for stage in ("maps", "metrics"))
        row["samples/s/core, maps + metrics"] = (count - before["samples"]) / more
        row["goal"] = GOAL
    result.write(
        folder, "scale", rows, "CPU time of one core; the rate is that of the samples added to the row before."
    )


if __name__ == "__main__":
    if sys.argv[1] == "--stage":
        stage(sys.argv[2], Path(sys.argv[3]))
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(time.process_time(), int(status["VmHWM"].split()[0]) / 1024)
    else:
        main(Path(sys.argv[1]))
