"""Many samples through a model: budget on the device, work ahead of it and behind it, texts from elsewhere."""

import contextlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data._utils.pin_memory import pin_memory

from tam.cache import read_generations
from tam.embedded import CHECKPOINT
from tam.errors import InputError, ModelError
from tam.generation.stage import generate
from tam.generation.task import GenerationTask
from tam.manifest import Sample, Shard, write
from tam.methods.cached import Cached
from tam.methods.registry import METHODS
from tam.model import question as answering
from tam.model import samples as preparing
from tam.model.prompt import Prepared
from tam.model.samples import PrepareSample
from tam.records import Generation, GivenAnswer
from tam.shard import prefetch, runner
from tam.shard.background import in_background
from tam.shard.batches import batches
from tam.shard.memory import FIRST, MOST, ON_CPU, SHARE, Budget
from tam.shard.prefetch import prefetched
from tam.system.foreign import out_of_memory
from tests import tiny
from tests.test_cache import assert_same

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
WORDS = ["What is in the image?", "a cat", "Describe the image."]


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Seven samples of different sizes with their pictures; the manifest that lists them is written too."""
    rng = np.random.default_rng(0)
    for index, (width, height) in enumerate([(84, 84), (56, 112), (168, 84), (56, 56), (90, 140), (100, 60), (84, 56)]):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    made = [Sample(f"s{index}", [f"{index}.png"], WORDS[index % len(WORDS)]) for index in range(7)]
    write(made, tmp_path / "manifest.jsonl")
    return made


def prepare(samples: list[Sample], folder: Path) -> PrepareSample:
    return PrepareSample(dict(enumerate(samples)), folder, tiny.loaded().prompter)


# ---- memory


def test_a_cpu_takes_a_fixed_number_and_so_does_who_names_one():
    for budget, number in ((Budget(CPU), ON_CPU), (Budget(CPU, 3), 3), (Budget(CUDA, 5), 5)):
        assert budget.holds([1000] * number) and not budget.holds([1000] * (number + 1))


@pytest.fixture
def card(monkeypatch):
    """A card of 10,000 bytes: 2,000 are weights, 1,000 lie in torch's own reserve, 500 belong to others."""

    class Card:
        taken = 0  # by the batch under way, at most

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2000)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2000 + Card.taken)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000 - 3000 - 500, 10_000))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return Card


def test_a_gpu_starts_small_and_doubles_while_the_measured_need_fits(card):
    budget, taken = Budget(CUDA), []
    for _ in range(5):
        count = max(number for number in range(1, MOST + 1) if budget.holds([10] * number))
        taken.append(count)
        with budget.measured([10] * count):
            card.taken = 10 * 10 * count  # ten bytes a padded token, a hundred a sample
    free = 10_000 - 2000 - 500
    assert taken == [FIRST, 2 * FIRST, 4 * FIRST, int(SHARE * free / 100), int(SHARE * free / 100)]
    assert budget.holds([5] * 2 * taken[-1]) == (2 * taken[-1] <= MOST)  # half as long: twice as many
    assert not budget.holds([5] * 60 + [10])  # one long sample pads all the others


def test_of_the_gpus_that_a_model_lies_on_the_one_with_the_least_room_decides(card, monkeypatch):
    """A third has none of it: it is not asked, which would open it."""
    asked, held = [], {0: 2000, 1: 5000, 2: 0}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: held[device.index])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held[device.index] + 800)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: held[device.index])

    def free(device: torch.device) -> tuple[int, int]:
        asked.append(device.index)
        return 9_500 - held[device.index], 10_000

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    budget = Budget(CUDA)
    with budget.measured([10] * 8):
        pass
    most = int(SHARE * (9_500 - 5_000) / 100)
    assert budget.holds([10] * 16) and most > 16 and asked == [0, 1]
    budget._samples = MOST
    assert budget.holds([10] * most) and not budget.holds([10] * (most + 1))


def test_a_gpu_with_much_memory_stops_at_the_most(card):
    budget = Budget(CUDA)
    for _ in range(20):
        count = max(number for number in range(1, 2 * MOST) if budget.holds([10] * number))
        with budget.measured([10] * count):
            card.taken = 1
    assert count == MOST


def test_after_too_little_memory_half_is_the_most_also_if_more_seems_to_fit(card):
    budget = Budget(CUDA)
    budget.too_small([10] * 8)
    assert budget.holds([10] * 4) and not budget.holds([10] * 5)
    with budget.measured([10] * 4):
        card.taken = 1
    assert budget.holds([10] * 4) and not budget.holds([10] * 5) and budget.holds([5] * 8)


def test_a_single_sample_is_always_tried(card):
    budget = Budget(CUDA)
    budget.too_small([10])
    assert budget.holds([10**9]) and not budget.holds([10, 10])


def test_a_batch_that_fails_teaches_nothing(card):
    budget = Budget(CUDA)
    with pytest.raises(ValueError, match="broken"), budget.measured([10] * 8):
        raise ValueError("broken")
    assert budget.holds([10] * FIRST) and not budget.holds([10] * 2 * FIRST)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_too_little_memory_is_told_from_other_errors(error, expected):
    assert out_of_memory(error) == expected


def test_on_a_gpu_memory_decides_and_the_samples_are_cut_by_their_lengths(samples, tmp_path, card):
    """The loop that runs on a GPU, with a model on the CPU: two of the longest fit, then more of the shorter."""
    task, budget = GenerationTask(tiny.loaded(), dict(enumerate(samples)), tmp_path, 2), Budget(CUDA)
    budget.too_small([60] * 4)  # 120 padded tokens are the most
    made = list(batches(task, task.samples, tmp_path, set(), budget))
    lengths = [[len(kept.tokens) - len(kept.ids) for kept in batch.values()] for batch in made]
    assert sum(map(len, lengths)) == 7 and len(lengths) > 2
    assert all(len(batch) * max(batch) <= 120 for batch in lengths)
    rest = list(batches(task, task.samples, tmp_path, set(range(5)), budget))
    assert sorted(row for batch in rest for row in batch) == [5, 6]


# ---- prefetch


def test_workers_give_what_is_made_here_in_order_and_failures_too(samples, tmp_path):
    (tmp_path / "3.png").write_bytes(b"no picture")
    rows = [5, 3, 0, 6, 1, 2, 4]
    here, there = (list(prefetched(prepare(samples, tmp_path), rows, workers, False)) for workers in (0, 2))
    assert [row for row, _ in here] == [row for row, _ in there] == rows
    for (row, one), (_, other) in zip(here, there, strict=True):
        if row == 3:
            assert isinstance(one, InputError) and isinstance(other, InputError) and str(one) == str(other)
            continue
        assert isinstance(other, Prepared) and np.array_equal(one.tokens, other.tokens)
        assert one.layout.grids == other.layout.grids and one.inputs.keys() == other.inputs.keys()
        assert all(torch.equal(value, other.inputs[name]) for name, value in one.inputs.items())


def test_a_prompt_is_pinned_as_a_whole_by_what_loads_it(samples, tmp_path, monkeypatch):
    """A ``DataLoader`` looks into no class of ours, but asks it."""
    made = prepare(samples, tmp_path)(0)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda value, *_: value + 1000)
    row, pinned = pin_memory((0, made))
    assert row == 0 and isinstance(pinned, Prepared) and pinned.inputs.keys() == made.inputs.keys()
    assert all(torch.equal(pinned.inputs[name], value + 1000) for name, value in made.inputs.items())


def test_what_every_sample_would_meet_stops_the_stage(samples, tmp_path, monkeypatch):
    def unusable(*_):
        raise ModelError("the checkpoint has no chat template")

    monkeypatch.setattr(preparing, "prepare", unusable)
    for workers in (0, 1):
        with pytest.raises(ModelError, match=r"^the checkpoint has no chat template$"):
            list(prefetched(prepare(samples, tmp_path), [0, 1], workers, False))


def test_a_shard_made_with_workers_is_the_same_shard(samples, tmp_path, monkeypatch):
    checkpoint = tiny.checkpoint(tmp_path / "checkpoint")
    made = []
    for workers in (0, 2):
        monkeypatch.setattr(runner, "workers_for", lambda device, workers=workers: workers)
        out = tmp_path / f"{workers}.h5"
        generate(tmp_path / "manifest.jsonl", Shard(0, 1), str(checkpoint), out, max_new_tokens=4, device="cpu")
        made.append(list(read_generations(out)))
    for one, other in zip(*made, strict=True):
        assert_same(one, other)


def test_workers_are_left_to_a_gpu(monkeypatch):
    monkeypatch.setattr(prefetch.os, "sched_getaffinity", lambda pid: range(6))
    assert prefetch.workers_for(CPU) == 0 and prefetch.workers_for(CUDA) == 5


# ---- background


def test_work_behind_is_in_order_in_another_thread_and_done_when_the_block_is_left():
    seen = []
    with in_background(lambda item: seen.append((item, threading.current_thread()))) as hand_over:
        for item in range(20):
            hand_over(item)
    assert [item for item, _ in seen] == list(range(20))
    assert {thread is threading.main_thread() for _, thread in seen} == {False}


def test_an_item_waits_until_the_one_before_is_done():
    go, handed = threading.Event(), []

    def run():
        with in_background(lambda item: go.wait(60)) as hand_over:
            for item in range(4):
                hand_over(item)
                handed.append(item)
                reached.release()

    reached = threading.Semaphore(0)
    other = threading.Thread(target=run)
    other.start()
    assert reached.acquire(timeout=60)
    assert not reached.acquire(timeout=0.2) and handed == [0]  # the second waits for the first
    go.set()
    other.join(60)
    assert handed == [0, 1, 2, 3]


def test_an_error_behind_surfaces_at_the_latest_when_the_block_is_left():
    def full(item):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"), in_background(full) as hand_over:
        hand_over(0)


def test_what_was_handed_over_is_done_when_an_error_leaves_the_block():
    seen = []
    with contextlib.suppress(KeyboardInterrupt), in_background(seen.append) as hand_over:
        hand_over(0)
        hand_over(1)
        raise KeyboardInterrupt
    assert seen == [0, 1]


# ---- texts from elsewhere


def answers_to(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": id, "answer": text}) + "\n" for id, text in texts.items()))
    return path


def test_a_shard_of_given_answers(samples, tmp_path):
    """One sample has no text, one has a text that stands for vision: two failures beside five explanations."""
    checkpoint = tiny.checkpoint(tmp_path / "checkpoint")
    texts = {f"s{index}": f"a cat {'sits ' * index}on the mat" for index in range(6)} | {"s2": "a <|image_pad|>"}
    answers = answers_to(tmp_path / "answers.jsonl", texts)

    def run(out: str = "0.h5"):
        where = (tmp_path / "manifest.jsonl", Shard(0, 1), str(checkpoint), tmp_path / out)
        return generate(*where, max_new_tokens=2, device="cpu", answers=answers)

    assert run() == {"ok": 5, "failed": 2}
    made = {one.id: one for one in read_generations(tmp_path / "0.h5")}
    assert {id: one.answer for id, one in made.items() if not one.failed} == {
        id: texts[id] for id in ("s0", "s1", "s3", "s4", "s5")
    }
    assert made["s6"].status == "failed: no answer is given for this sample"
    assert "the answer holds a vision token" in made["s2"].status
    before = (tmp_path / "0.h5").stat().st_mtime_ns
    run()
    assert (tmp_path / "0.h5").stat().st_mtime_ns == before
    answers_to(answers, texts | {"s6": "a dog"})
    assert run() == {"ok": 6, "failed": 1}  # the texts determine the file


def test_generated_texts_given_back_to_the_embedded_model_have_the_same_maps(tmp_path):
    from tam.datasets import coco
    from tam.datasets.emoji import scenes

    scenes.write(tmp_path, n=6, seed=3)
    manifest = tmp_path / "manifest.jsonl"
    coco.write(tmp_path, manifest, prompt=coco.PROMPT)
    generate(manifest, Shard(0, 1), str(CHECKPOINT), tmp_path / "own.h5", device="cpu")
    own = list(read_generations(tmp_path / "own.h5"))
    answers = answers_to(tmp_path / "answers.jsonl", {one.id: one.answer for one in own})
    generate(manifest, Shard(0, 1), str(CHECKPOINT), tmp_path / "given.h5", device="cpu", answers=answers)
    for one, other in zip(own, read_generations(tmp_path / "given.h5"), strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("kind", ["qwen2_vl", "llava", "gemma3"])
def test_generated_texts_given_back_have_the_same_maps(kind, penalty, samples, tmp_path):
    """Answers of words, as a trained model gives them: forced by a head that always wants the next of them."""
    loaded = tiny.loaded(kind)
    loaded.model.generation_config.repetition_penalty = penalty
    loaded.model.generation_config.eos_token_id = loaded.tokenizer.eos_token_id
    ids = loaded.tokenizer("a cat sits on the mat, and the dogs run", add_special_tokens=False)["input_ids"]
    ids.append(loaded.tokenizer.eos_token_id)

    def run(texts=None) -> list[Generation]:
        task = GenerationTask(loaded, dict(enumerate(samples[:3])), tmp_path, 30, texts)
        kept = batches(task, task.samples, tmp_path, set(), Budget(CPU))
        return [one for batch in kept for one in task.finish(batch).values()]

    wanted = iter(ids)

    def prefer(module, inputs, output):
        if output.shape[1] == 1:  # a step of generation
            output[..., next(wanted, ids[-1])] += 1000
        return output

    handle = loaded.head.register_forward_hook(prefer)
    own = run()
    handle.remove()
    assert all(one.answer_ids.tolist() == ids and one.status == "ok" for one in own)
    for one, other in zip(own, run({one.id: GivenAnswer(one.answer) for one in own}), strict=True):
        assert_alike(one, other)


def assert_alike(one: Generation, other: Generation) -> None:
    """The same tokens, and logits, candidates and maps within what another order of sums makes."""
    assert one.id == other.id and one.status == other.status == "ok"
    assert one.tokens.tolist() == other.tokens.tolist() and one.classes.tolist() == other.classes.tolist()
    assert np.allclose(one.logits, other.logits, atol=1e-4)
    maps, expected = (METHODS["tam"].maps(Cached(each)).maps for each in (one, other))
    assert np.allclose(maps, expected, atol=1e-4)


def test_too_little_memory_for_a_sample_says_how_large_it_is(samples, tmp_path, monkeypatch):
    """A model that cannot take the largest picture, and answers the others in the same run."""
    honest = answering.answer_batch

    def small(loaded, prepared, limit, layer):
        if any(one.layout.sizes == ((168, 84),) for one in prepared):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(loaded, prepared, limit, layer)

    monkeypatch.setattr(answering, "answer_batch", small)
    task, made = GenerationTask(tiny.loaded(), dict(enumerate(samples)), tmp_path, 2), {}
    for batch in batches(task, task.samples, tmp_path, set(), Budget(CPU)):
        made |= task.finish(batch)
    assert [row for row, one in made.items() if one.failed] == [2]
    assert made[2].status.startswith("failed: out of memory; got 168 x 84 pixels, ")
    assert made[2].status.endswith(" tokens; cure: smaller pictures, or more memory")
