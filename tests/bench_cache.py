"""What the cache costs: ``python -m tests.bench_cache`` prints bytes on disk a sample, and generation's peak memory.

Shapes of Qwen2-VL-2B on a 24 x 32 grid: 12 words of the prompt, 60 answer tokens, 151,936 vocabulary entries. Memory is
measured in a process each, with a narrow model (so that logits dominate): plain ``generate``, our generation and
selection, and the published way (every layer's states, then the head over the whole sequence).
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VOCABULARY, ROWS, COLUMNS, ANSWER = 151_936, 24, 32, 60
BATCH = 4


def disk() -> None:
    from tam.cache import read_generations, write_generations
    from tests.test_cache import made

    for dtype in ("float32", "bfloat16"):
        sample = made(grid=(ROWS, COLUMNS), prompt=12, answer=ANSWER, classes=74, dtype=dtype, vocabulary=VOCABULARY)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "0.h5")
            started = time.perf_counter()
            write_generations(path, {0: sample}, {}, "")
            written = time.perf_counter()
            list(read_generations(path))
            read = time.perf_counter()
            size = path.stat().st_size
        full = (ROWS * COLUMNS + 12 + ANSWER) * VOCABULARY * (4 if dtype == "float32" else 2)
        print(
            f"{dtype}: {size / 1e3:.0f} kB a sample, 1/{full / size:.0f} of the full logits; "
            f"written in {(written - started) * 1e3:.0f} ms, read in {(read - written) * 1e3:.0f} ms"
        )


def peak(way: str) -> None:
    """Generate in this process in one of three ways, and print the peak of its memory in MB."""
    import torch

    from tests import tiny

    model, processor, batch = wide_model(tiny, torch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    WAYS[way](model, processor, batch, torch)
    seconds = time.perf_counter() - started
    print(f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} {seconds:.1f}")


def wide_model(tiny, torch):
    """A tiny model with the head of a large one, and a batch of pictures that fill the grid."""
    import numpy as np
    from PIL import Image

    from tam.families import FAMILIES
    from tam.families.prompt import prepare
    from tam.media import Media

    processor = tiny.processor()
    processor.image_processor.size.longest_edge = ROWS * COLUMNS * 28 * 28
    model = tiny.model(vocabulary=VOCABULARY)
    model.generation_config.eos_token_id = None
    picture = Image.fromarray(np.zeros((ROWS * 28, COLUMNS * 28, 3), np.uint8))
    words = "Write a one-sentence caption for this image:"
    media = Media(False, (picture,), (0,))
    prepared = prepare(FAMILIES["qwen2_vl"], model.config, processor, media, words)
    return model, processor, [prepared] * BATCH


def plain(model, processor, batch, torch) -> None:
    from tam.generation import _collate

    model.generate(**_collate(batch, 0), max_new_tokens=ANSWER, do_sample=False)


def ours(model, processor, batch, torch) -> None:
    from tam.generation import answer_batch, select
    from tam.manifest import Sample

    for prepared, answer in zip(batch, answer_batch(model, processor, batch, ANSWER), strict=True):
        select(model, processor, Sample("a", ["a"], ""), prepared, answer)


def published(model, processor, batch, torch) -> None:
    from tam.generation import _collate

    for prepared in batch:  # one by one, as the published code does
        made = model.generate(
            **_collate([prepared], 0), max_new_tokens=ANSWER, do_sample=False, output_hidden_states=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        with torch.no_grad():
            [model.lm_head(states[-1]) for states in made.hidden_states]


WAYS = {"plain": plain, "ours": ours, "published": published}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(sys.argv[1])
    else:
        disk()
        for way in WAYS:
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench_cache", way], check=True, capture_output=True, text=True
            )
            memory, seconds = done.stdout.split()
            print(f"{way}: {memory} MB above the loaded model, {seconds} s for {BATCH} samples")
