"""How fast answers are made: ``python -m tests.bench.generate FOLDER [--device cuda]``.

Beside a plain loop, in turns: one sample at a time, the hidden states of every layer kept, the full logits of every
position computed. That is what the published code does before it makes maps, in our own words. Ours goes all the way
from picture files to written parts. End-of-sequence is suppressed, so that every answer has the same length. The loop
that decodes stands beside the library's own, too: the same batch, answers all as long, or the longest twice the mean.

On a GPU: random bfloat16 weights of the full size of three published models, and pictures of COCO's size. On a CPU: the
embedded model and its emoji scenes. Needs torch, transformers, h5py, numpy, pillow and opencv alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from tam.cache import write_generations
from tam.datasets import coco
from tam.datasets.emoji import scenes
from tam.embedded import CHECKPOINT
from tam.generation.kept import in_words, keep
from tam.generation.task import GenerationTask
from tam.manifest import Sample, read
from tam.model.checkpoint import load
from tam.model.collate import collate
from tam.model.decoding import answer_batch
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.shard.background import in_background
from tam.shard.batches import batches
from tam.shard.journal import Journal
from tam.shard.memory import MOST, ON_CPU, Budget
from tam.shard.prefetch import prefetched, workers_for
from tests import tiny
from tests.bench import result
from tests.bench.loops import loops
from tests.bench.result import NONE

LENGTHS = (20, 60, 120)
WORDS = "Write a one-sentence caption for this image:"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Bench:
    """A loaded model, and samples for it: so many for the plain way in a round, all for ours.

    Attributes:
        batch: what its parts are measured on, and its floor is computed for.
    """

    name: str
    loaded: Loaded
    folder: Path
    samples: dict[int, Sample]
    plainly: int
    batch: int

    @property
    def device(self) -> torch.device:
        return self.loaded.device

    @property
    def model(self):
        return self.loaded.model

    def task(self, length: int) -> GenerationTask:
        return GenerationTask(self.loaded, self.samples, self.folder, length)

    def ready(self, count: int) -> list[Prepared]:
        return [made for _, made in prefetched(self.task(1).prepare, list(self.samples)[:count], 0, False)]

    def seconds(self, work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
        self.wait()
        start = clock()
        work()
        self.wait()
        return clock() - start

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


# ---- models


def qwen2_vl(text: dict, **more) -> transformers.Qwen2VLConfig:
    words = tiny.tokenizer("qwen2_vl")
    token = words.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    vision = {
        "depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "hidden_size": text["hidden_size"],
    }  # fmt: skip
    return transformers.Qwen2VLConfig(
        text_config=text | {"num_hidden_layers": 28, "rope_parameters": rope, "max_position_embeddings": 32768},
        vision_config=vision, image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"), **more,
    )  # fmt: skip


def qwen2_vl_2b() -> transformers.Qwen2VLConfig:
    text = {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2}
    return qwen2_vl(text | {"vocab_size": 151_936, "tie_word_embeddings": True}, tie_word_embeddings=True)


def qwen2_vl_7b() -> transformers.Qwen2VLConfig:
    text = {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4}
    return qwen2_vl(text | {"vocab_size": 152_064, "tie_word_embeddings": False}, tie_word_embeddings=False)


def llava_7b() -> transformers.LlavaConfig:
    text = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064, "max_position_embeddings": 4096,
    }  # fmt: skip
    vision = {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768,
    }  # fmt: skip
    image = tiny.tokenizer("llava").convert_tokens_to_ids("<image>")
    return transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_id=image)


def qwen2_vl_processor() -> transformers.Qwen2VLProcessor:
    return transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(), video_processor=transformers.Qwen2VLVideoProcessor(),
        tokenizer=tiny.tokenizer("qwen2_vl"), chat_template=tiny.TEMPLATES["qwen2_vl"],
    )  # fmt: skip


def llava_processor() -> transformers.LlavaProcessor:
    crop = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    return transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(**crop), tokenizer=tiny.tokenizer("llava"), patch_size=14,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tiny.TEMPLATES["llava"],
    )  # fmt: skip


PUBLISHED = {
    "Qwen2-VL-2B": (qwen2_vl_2b, qwen2_vl_processor, MOST),
    "Qwen2-VL-7B": (qwen2_vl_7b, qwen2_vl_processor, MOST),
    "LLaVA-1.5-7B": (llava_7b, llava_processor, MOST // 2),
}


def benches(device: torch.device, folder: Path, samples: int) -> Iterator[Bench]:
    """One model at a time; it must be let go before the next is asked for."""
    if device.type == "cpu":
        scenes.write(folder, n=min(samples, 64))
        coco.write(folder, folder / "manifest.jsonl", prompt=coco.PROMPT)
        loaded = load(str(CHECKPOINT), device="cpu")
        _never_ending(loaded.model)
        shown = dict(enumerate(read(folder / "manifest.jsonl")))
        yield Bench("embedded", loaded, folder, shown, len(shown) // 4, ON_CPU)
        return
    random = np.random.default_rng(0)
    for index in range(32):
        coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        coarse.resize((640, 480) if index % 3 else (480, 640)).save(folder / f"{index}.jpg")
    shown = {row: Sample(f"s{row}", [f"{row % 32}.jpg"], WORDS) for row in range(samples)}
    for name, (config, processor, batch) in PUBLISHED.items():
        torch.manual_seed(0)
        with device:
            model = transformers.AutoModelForImageTextToText.from_config(config(), dtype=torch.bfloat16).eval()
        _never_ending(model)
        yield Bench(name, Loaded.of(model, processor()), folder, shown, 6, batch)
        del model
        torch.cuda.empty_cache()


def _never_ending(model) -> None:
    model.generation_config.update(eos_token_id=None, pad_token_id=0, do_sample=False, max_new_tokens=None)


# ---- the two ways


@torch.inference_mode()
def plain(bench: Bench, length: int) -> None:
    """One sample at a time, all layers' states, all positions' full logits."""
    for one in bench.ready(bench.plainly):
        inputs = {name: value.to(bench.device) for name, value in one.inputs.items()}
        made = bench.model.generate(
            **inputs, max_new_tokens=length, output_hidden_states=True, return_dict_in_generate=True
        )
        [bench.model.lm_head(states[-1]) for states in made.hidden_states]


def ours(bench: Bench, length: int, size: int | None = None) -> None:
    """From picture files to written parts, as the stage does it."""
    task, budget, device = bench.task(length), Budget(bench.device, size), bench.device
    with tempfile.TemporaryDirectory() as folder:

        def keep(batch: dict) -> None:
            made = task.finish(batch)
            failed = [one.status for one in made.values() if one.failed]
            if failed:
                raise RuntimeError(failed[0])
            write_generations(Path(folder, f"{min(made)}.h5"), made, {}, "")
            journal.remove(batch)

        journal, gpu = Journal(Path(folder), task.pack, task.unpack), device.type == "cuda"
        with in_background(keep) as keep_behind:
            for batch in batches(task, bench.samples, bench.folder, set(), budget, workers_for(device), gpu):
                journal.write(batch)
                keep_behind(batch)


# ---- what else is measured


def parts(bench: Bench, length: int) -> dict[str, float]:
    """Milliseconds a sample of each part of our way, one after another."""
    count = min(bench.batch, len(bench.samples))
    found, ready = {}, bench.ready(count)
    found["processing"] = bench.seconds(lambda: bench.ready(count))
    found["copy"] = bench.seconds(lambda: [[v.to(bench.device) for v in one.inputs.values()] for one in ready])
    one = bench.seconds(lambda: answer_batch(bench.loaded, ready, 1))
    answers = []
    whole = bench.seconds(lambda: answers.extend(answer_batch(bench.loaded, ready, length)))
    found |= {"prefill": one - found["copy"], "decode": whole - one}
    asked, kept = list(bench.samples.values()), []

    def columns() -> None:
        kept.extend(keep(bench.loaded, asked[:count], ready, answers))

    found["columns"] = bench.seconds(columns)
    with tempfile.TemporaryDirectory() as folder:
        task = bench.task(length)
        journal = Journal(Path(folder), task.pack, task.unpack)
        found["journal"] = bench.seconds(lambda: journal.write(dict(enumerate(kept))))

        def write() -> None:
            made = [in_words(bench.loaded.tokenizer, np.zeros(0, int), each) for each in kept]
            write_generations(Path(folder, "0.h5"), dict(enumerate(made)), {}, "")

        found["write"] = bench.seconds(write)
    return {name: 1000 * value / count for name, value in found.items()}


def memory_over_plain(bench: Bench, length: int) -> float:
    """Peak of answering and selecting over that of plain ``generate`` of the same batch, weights included."""
    ready, peaks = bench.ready(bench.batch), []

    def plainly() -> None:
        inputs = {name: v.to(bench.device) for name, v in collate(ready, bench.loaded.padding).items()}
        with torch.inference_mode():
            bench.model.generate(**inputs, max_new_tokens=length)

    def selecting() -> None:
        keep(bench.loaded, list(bench.samples.values())[: len(ready)], ready, answer_batch(bench.loaded, ready, length))

    for way in (plainly, selecting):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        way()
        peaks.append(torch.cuda.max_memory_allocated())
    return peaks[1] / peaks[0]


def idle(bench: Bench, length: int) -> float:
    """Share of the time in which the GPU runs nothing, in batches of full size."""
    few = Bench(**vars(bench) | {"samples": dict(list(bench.samples.items())[: 3 * bench.batch])})
    with profile(activities=[ProfilerActivity.CUDA]) as made:
        ours(few, length, bench.batch)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in made.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    busy, end = 0, spans[0][0]
    for start, stop in spans:
        busy += max(0, stop - max(start, end))
        end = max(end, stop)
    return 1 - busy / (end - spans[0][0])


def speeds(bench: Bench) -> tuple[float, float]:
    """Bytes a second of a copy (read and written) and operations a second of a matrix product, at their best."""
    size = 8192 if bench.device.type == "cuda" else 2048
    some = torch.randn(size, size, device=bench.device, dtype=bench.model.dtype)
    other = torch.empty_like(some)
    copy = min(bench.seconds(lambda: other.copy_(some)) for _ in range(10))
    product = min(bench.seconds(lambda: torch.matmul(some, some, out=other)) for _ in range(10))
    return 2 * some.nbytes / copy, 2 * size**3 / product


def floor(bench: Bench, length: int, bandwidth: float, rate: float) -> float:
    """Milliseconds a sample: the operations of the prefill, and what is read: at each step the decoder's weights, once
    for the batch, and the sample's own keys and values."""
    (one,) = bench.ready(1)
    with torch.inference_mode(), FlopCounterMode(display=False) as counted:
        inputs = {name: value.to(bench.device) for name, value in one.inputs.items()}
        cache = bench.model(**inputs, logits_to_keep=1, use_cache=True).past_key_values
    read = {weight for module in (bench.loaded.decoder, bench.loaded.head) for weight in module.parameters()}
    unread = bench.model.get_input_embeddings().weight  # looked up, unless the head shares it
    weights = sum(weight.nbytes for weight in read if weight is not unread or unread is bench.model.lm_head.weight)
    token = sum(part.nbytes for keys, values, *_ in cache for part in (keys, values)) / len(one.tokens)
    known = len(one.tokens) + length / 2  # tokens, in the mean over the steps
    step = weights / bench.batch + known * token
    return 1000 * (counted.get_total_flops() / rate + (length - 1) * step / bandwidth)


def measure(bench: Bench, length: int, rounds: int, bandwidth: float, rate: float, clock) -> dict[str, object]:
    """One line of the table."""
    plain(bench, 2), answer_batch(bench.loaded, bench.ready(2), 2)  # libraries into memory
    rates = {"plain": [], "ours": []}
    for _ in range(rounds):
        rates["plain"].append(bench.plainly / bench.seconds(lambda: plain(bench, length), clock))
        rates["ours"].append(len(bench.samples) / bench.seconds(lambda: ours(bench, length), clock))
    made, gpu = statistics.median(rates["ours"]), bench.device.type == "cuda"
    lowest = floor(bench, length, bandwidth, rate)

    def fastest(work: Callable[[], object]) -> float:
        return min(bench.seconds(work, clock) for _ in range(rounds))

    return {
        "model": bench.name,
        "tokens": length,
        "plain, samples/s": statistics.median(rates["plain"]),
        "ours, samples/s": made,
        "times as fast": statistics.median(o / p for o, p in zip(rates["ours"], rates["plain"], strict=True)),
        "floor, ms": lowest,
        "ours / floor": 1000 / made / lowest,
        **loops(bench.loaded, bench.ready(min(bench.batch, len(bench.samples))), length, fastest),
        "memory over plain generate": memory_over_plain(bench, length) if gpu else NONE,
        "GPU idle": idle(bench, length) if gpu else NONE,
        **{f"{name}, ms": value for name, value in parts(bench, length).items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of generation beside a plain loop.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--samples", type=int, help="samples of our way a round; 64 on a CPU, 1,000 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others use the machine too")
    options = parser.parse_args()
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for bench in benches(device, Path(folder), options.samples or (1000 if gpu else 64)):
            bandwidth, rate = speeds(bench)
            for length in LENGTHS:
                rows.append(measure(bench, length, options.rounds, bandwidth, rate, CLOCKS[options.clock]))
                print(rows[-1], flush=True)
            del bench
    what = torch.cuda.get_device_name(device) if gpu else "CPU"
    notes = (
        f"{what}: {bandwidth / 1e9:.0f} GB/s copied, {rate / 1e12:.3g} TFLOP/s."
        f" Samples/s by the {options.clock} clock; medians over {options.rounds} rounds,"
        f" both ways in turns. Parts: one after another, a sample of a batch. {NONE}: only on a GPU."
    )
    result.write(options.folder, "generate", rows, notes)


if __name__ == "__main__":
    main()
