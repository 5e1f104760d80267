"""What a picture without some cells costs: ``python -m tests.bench.perturb FOLDER [--device cuda]``.

Plain: the model alone on the same batch, which is collated before. The others: the scorer, from the picture in
pixels to log p, with cells mixed behind the processor, where that is exact, and with every picture through it, on
workers beside a GPU as in the stage. The best of three. On a CPU: the embedded model, its own scene, an answer of
20 tokens, CPU time of one thread. On a GPU: Qwen2-VL-2B's size with random weights in bfloat16, a picture of 640 x
480, wall time. Needs what the benchmark of generation needs.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tam.cell_sets import Cells
from tam.model.collate import collate, with_answer
from tam.model.prompt import Prepared, prepare
from tam.perturb.score import Perturbations, scored
from tam.shard.memory import Budget
from tam.shard.prefetch import prefetched, workers_for
from tests.bench import result
from tests.bench.attribution import emoji, qwen, seconds

ANSWER, ROUNDS = 20, 3
BATCHES = {"cpu": (1, 4, 16), "cuda": (1, 8, 32)}
PICTURES = {"cpu": 16, "cuda": 256}
GOAL = 1.3


def main(folder: Path, device: torch.device) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        loaded, ((media, sample, _),) = emoji(Path(place), 1) if device.type == "cpu" else qwen(device)
    ids, pictures = np.arange(100, 100 + ANSWER, dtype=np.int32), PICTURES[device.type]
    prompt = prepare(loaded.prompter, media, sample.prompt)
    cells = Cells.of(prompt.layout).count
    sets = np.random.default_rng(0).random((pictures, cells)) < 0.5
    first = Perturbations.of(loaded.prompter, media, sample.prompt, (), "blur", sets, prompt)
    ways = {"mixed behind the processor": first} if first.fast else {}
    ways["through the processor"] = replace(first, fast=None)

    def made(way: Perturbations) -> Iterator[Prepared]:
        workers = 0 if way.fast else workers_for(device)
        return (one for _, one in prefetched(way, range(pictures), workers, pinned=False))

    rows = []
    for size in BATCHES[device.type]:
        whole = [with_answer(first(place).to(device), ids, loaded.family.answer_type) for place in range(size)]
        batch = collate(whole, loaded.padding, left=False)

        def plain(batch: dict = batch, size: int = size) -> None:
            with torch.inference_mode():
                for _ in range(pictures // size):
                    loaded.model(**batch, use_cache=False, logits_to_keep=1)

        plain()
        took = {"plain forward": seconds(plain, device, ROUNDS)}
        for name, way in ways.items():
            took[name] = seconds(
                lambda way=way, size=size: scored(loaded, made(way), ids, Budget(device, size)), device, ROUNDS
            )
        rows += [
            {"batch": size, "way": name, "ms a forward": 1000 * found / pictures, "forwards/s": pictures / found,
             "x plain": found / took["plain forward"], "goal on a GPU": GOAL}
            for name, found in took.items()
        ]  # fmt: skip
    result.write(folder, f"perturb-{device.type}", rows, f"{cells} cells, {len(prompt.tokens) + ANSWER} tokens.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    main(asked.folder, torch.device(asked.device))
