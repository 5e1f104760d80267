"""What a picture without some cells costs: ``python -m tests.bench.perturb FOLDER``.

The embedded model on its own scene, an answer of 20 tokens, CPU time of one thread, the best of three. Plain: the model
alone on the same batch, which is collated before. The others: the scorer, from the picture in pixels to log p, with
cells mixed behind the processor and with every picture through it.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from tam.cell_sets import Cells
from tam.datasets.emoji import scenes
from tam.embedded import CHECKPOINT
from tam.media import Media
from tam.model.checkpoint import load
from tam.model.collate import collate, with_answer
from tam.model.prompt import prepare
from tam.perturb.score import Perturbations, scored
from tam.shard.memory import Budget
from tests.bench import result

WORDS, ANSWER = "Write a one-sentence caption for this image:", 20
BATCHES, PICTURES = (1, 4, 16), 16


def best(work: Callable[[], object]) -> float:
    """Seconds of CPU."""
    took = []
    for _ in range(3):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return min(took)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    loaded = load(str(CHECKPOINT), None, "cpu", "float32")
    with TemporaryDirectory() as scratch:
        scenes.write(Path(scratch), n=1, seed=0)
        picture = Image.open(next(Path(scratch).glob("image/**/*.*"))).convert("RGB")
    media, ids = Media(False, (picture,), (0,)), np.arange(100, 100 + ANSWER, dtype=np.int32)
    prompt = prepare(loaded.prompter, media, WORDS)
    cells = Cells.of(prompt.layout).count
    sets = np.random.default_rng(0).random((PICTURES, cells)) < 0.5
    fast = Perturbations.of(loaded.prompter, media, WORDS, (), "blur", sets, prompt)
    slow = replace(fast, fast=None)
    rows = []
    for size in BATCHES:
        whole = [with_answer(fast(place), ids, loaded.family.answer_type) for place in range(size)]
        batch = collate(whole, loaded.padding, left=False)

        def plain(batch: dict = batch, size: int = size) -> None:
            with torch.inference_mode():
                for _ in range(PICTURES // size):
                    loaded.model(**batch, use_cache=False, logits_to_keep=1)

        plain()
        seconds = {"plain forward": best(plain)}
        for name, made in (("mixed behind the processor", fast), ("through the processor", slow)):
            seconds[name] = best(
                lambda made=made, size=size: scored(
                    loaded, map(made, range(PICTURES)), ids, Budget(loaded.device, size)
                )
            )
        rows += [
            {"batch": size, "way": name, "ms of CPU a forward": 1000 * took / PICTURES, "forwards/s": PICTURES / took,
             "x plain": took / seconds["plain forward"]}
            for name, took in seconds.items()
        ]  # fmt: skip
    result.write(
        folder, "perturb", rows, f"{cells} cells, {len(prompt.tokens) + ANSWER} tokens, fast: {fast.fast is not None}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
