"""Generation with tiny random models: exact states, batches, failures, and a shard that is killed and resumed."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tam.cache import read_generations, read_header
from tam.errors import InputError, ModelError, NotFiniteError
from tam.families import FAMILIES
from tam.generation import stage
from tam.generation.answer import ask
from tam.generation.kept import generation_of
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.media import open_media
from tam.methods.cached import Cached
from tam.methods.registry import METHODS
from tam.model import head, loop
from tam.model import question as answering
from tam.model import samples as preparing
from tam.model.checkpoint import fingerprint_of_file, load, load_from, locate
from tam.model.decoding import answer_batch
from tam.model.loaded import Loaded
from tam.model.placement import Placement, dtype_of
from tam.model.prompt import prepare
from tam.model.question import answers_to, question
from tam.records import GivenAnswer
from tam.shard.store import Store
from tests import tiny
from tests.test_cache import assert_same

KINDS = ["qwen2_vl", "qwen2_5_vl"]
WORDS = ["Describe the image.", "What is in the image?", "a cat", "Write a one-sentence caption for this image:"]
SIZES = [(112, 168), (56, 56), (200, 90), (140, 84), (84, 84), (168, 112)]


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A folder of random pictures 0.png, 1.png, ... of different sizes."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    for index, (width, height) in enumerate(SIZES):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: tiny.checkpoint(folder / kind, kind) for kind in KINDS}


def sample(index: int, **changes) -> Sample:
    made = {"id": f"s{index}", "media": [f"{index % len(SIZES)}.png"], "prompt": WORDS[index % len(WORDS)]}
    return Sample(**made | changes)


# Not as the text of these tokens would be cut: letter by letter.
IDS = tuple(tiny.tokenizer().convert_tokens_to_ids(list("acatsits")))
END, IMAGE = tiny.tokenizer().convert_tokens_to_ids(["<|im_end|>", "<|image_pad|>"])

VIDEO = sample(4, media=["4.png"] * 3, kind="video")
TWO = sample(2, media=["2.png", "1.png"])


def ready(loaded: Loaded, sample: Sample, folder: Path):
    return prepare(loaded.prompter, open_media(sample, folder), sample.prompt)


def explained(loaded: Loaded, sample: Sample, folder: Path, limit: int = 8, answer: str | None = None):
    media = open_media(sample, folder)
    return ask(loaded, sample, media, max_new_tokens=limit, answer=answer)[0]


# ---- states and columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shown", [sample(0), TWO, VIDEO], ids=["picture", "two", "video"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_head_of_a_state_is_the_logits_at_prefill_and_at_every_step(kind, shown, dtype, media):
    loaded = tiny.loaded(kind, tiny.model(kind).to(dtype))
    prepared = ready(loaded, shown, media)
    (answer,) = answer_batch(loaded, [prepared], 8)
    inputs = prepared.inputs
    length = len(prepared.tokens)
    with torch.no_grad():
        whole = loaded.model(**inputs).logits[0]
        assert torch.equal(loaded.head(answer.states[:length]), whole)
        steps = loaded.model.generate(
            **inputs, max_new_tokens=8, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        for step, logits in enumerate(steps.logits):
            state = answer.states[None, None, length - 1 + step]
            assert torch.equal(loaded.head(state)[:, -1].float(), logits)
    assert steps.sequences[0, length:].tolist() == answer.ids.tolist()
    assert answer.candidates.ids[:, 0].tolist() == answer.ids.tolist()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_kept_columns_are_those_of_the_whole_head_bit_for_bit(kind, dtype, media):
    loaded = tiny.loaded(kind, tiny.model(kind).to(getattr(torch, dtype)))
    shown = sample(0)
    prepared = ready(loaded, shown, media)
    (answer,) = answer_batch(loaded, [prepared], 8)
    made = generation_of(loaded, shown, prepared, answer)
    start, steps = made.layout.answer, len(made.answer_ids)
    rows = [*made.layout.vision, *made.layout.prompt, *range(start - 1, start - 1 + steps)]
    with torch.no_grad():
        whole = loaded.head(answer.states[rows]).float().numpy()
    assert made.dtype == dtype and made.logits.dtype == np.float32
    assert np.array_equal(made.logits, whole[:, made.classes])
    best = whole[len(made.layout.vision) :].max(axis=1)
    tolerance = 0 if dtype == "float32" else 0.02  # one row or many: the sums are ordered otherwise
    assert np.allclose(made.candidates.logits[:, 0], best, rtol=tolerance, atol=1e-5)


def test_blocks_of_the_head_are_bounded_and_in_order(media, monkeypatch):
    loaded = tiny.loaded()
    one = explained(loaded, sample(0), media)
    seen = []
    handle = loaded.model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[0]))
    monkeypatch.setattr(head, "BLOCK_BYTES", 5 * loaded.model.config.get_text_config().vocab_size * 4)
    few = explained(loaded, sample(0), media)
    handle.remove()
    assert max(seen) == 5
    assert np.allclose(one.logits, few.logits, atol=1e-5)
    assert np.array_equal(one.candidates.ids, few.candidates.ids)


def test_the_classes_are_those_that_the_maps_read(media):
    loaded = tiny.loaded()
    prepared = ready(loaded, sample(0), media)
    (answer,) = answer_batch(loaded, [prepared], 8)
    made, more = (generation_of(loaded, sample(0), prepared, answer, candidates) for candidates in (0, 2))
    likely = made.candidates.ids[0, 0]
    expected = {*made.prompt_ids, *made.answer_ids, made.tokens[made.layout.answer - 1], likely}
    assert made.classes.tolist() == sorted(expected)
    assert {*more.classes} == expected | {*answer.candidates.ids[:, :2].ravel()} != expected
    assert np.array_equal(more.logits[:, np.isin(more.classes, made.classes)], made.logits)
    assert made.logits.shape == (24 + len(made.prompt_ids) + len(made.answer_ids), len(expected))
    known = {*made.classes, *made.candidates.ids.ravel(), *made.retokenised_prompt, *made.retokenised_answer}
    assert known == set(made.vocabulary)
    probability = np.exp(made.candidates.logits - made.candidates.logsumexp[:, None])
    assert (probability.sum(axis=1) <= 1 + 1e-6).all() and (np.diff(made.candidates.logits) <= 0).all()


def test_retokenised_ids_are_those_of_the_decoded_text(media):
    loaded = tiny.loaded()
    made = explained(loaded, sample(0), media, limit=20)
    again = loaded.tokenizer(loaded.tokenizer.decode(made.answer_ids))["input_ids"]
    assert made.retokenised_answer.tolist() == again
    assert made.retokenised_prompt.tolist() == made.prompt_ids.tolist()
    assert made.answer_with_special == loaded.tokenizer.decode(made.answer_ids)


@pytest.mark.parametrize("kind", KINDS)
def test_eager_and_sdpa_attention_agree(kind, media):
    one, other = (
        explained(tiny.loaded(kind, tiny.model(kind, attention=name)), TWO, media) for name in ("eager", "sdpa")
    )
    assert np.array_equal(one.tokens, other.tokens)
    assert np.allclose(one.logits, other.logits, atol=1e-4)


# ---- given answers


def test_a_given_answer_is_explained_with_its_end(media):
    loaded = tiny.loaded()
    loaded.model.generation_config.eos_token_id = loaded.tokenizer.eos_token_id
    made = explained(loaded, TWO, media, answer="a cat sits")
    end = loaded.tokenizer.eos_token_id
    assert made.status == "ok" and made.answer == "a cat sits" and made.end_tokens == {end}
    assert made.answer_ids.tolist() == [*loaded.tokenizer("a cat sits")["input_ids"], end]
    assert np.isfinite(made.logits).all() and len(made.candidates.ids) == len(made.layout.prompt) + len(made.answer_ids)
    again = explained(loaded, TWO, media, answer="a cat sits<|im_end|>")
    assert again.answer_ids.tolist() == made.answer_ids.tolist()


def test_the_text_of_ones_own_answer_is_explained_as_the_answer_was(media):
    """An answer of words, as a trained model gives it: forced by a head that always wants the next of them."""
    loaded = tiny.loaded()
    loaded.model.generation_config.eos_token_id = loaded.tokenizer.eos_token_id
    words = loaded.tokenizer("two dogs run past<|im_end|>")["input_ids"]
    prepared = ready(loaded, TWO, media)
    wanted = iter(words)

    def prefer(module, inputs, output):
        if output.shape[1] == 1:  # a step of generation
            output[..., next(wanted, words[-1])] += 1000
        return output

    handle = loaded.model.lm_head.register_forward_hook(prefer, prepend=True)
    (answer,) = answer_batch(loaded, [prepared], 20)
    handle.remove()
    assert answer.ids.tolist() == words and answer.ended
    own = generation_of(loaded, TWO, prepared, answer)
    given = explained(loaded, TWO, media, answer=own.answer)
    same = given.logits[:, np.isin(given.classes, own.classes)]  # the candidates were forced
    assert given.tokens.tolist() == own.tokens.tolist() and np.allclose(same, own.logits, atol=1e-4)
    maps, expected = (METHODS["tam"].maps(Cached(one)).maps for one in (given, own))
    assert np.allclose(maps, expected, atol=1e-4)


def test_a_given_answer_ends_as_the_model_would_end_it(media):
    """Of several end tokens (Gemma 3 and GLM-4V have them), the first need not be the one that ends an answer."""
    loaded = tiny.loaded()
    free = explained(loaded, TWO, media, limit=4).answer_ids.tolist()
    other = next(id for id in range(20) if id not in free)
    loaded.model.generation_config.eos_token_id = [other, free[2]]
    own = explained(loaded, TWO, media)
    text = loaded.tokenizer.decode(own.answer_ids[:-1])
    assert own.answer_ids.tolist() == free[:3]
    read = explained(loaded, TWO, media, answer=text)
    assert read.answer_ids.tolist() == own.answer_ids.tolist() and read.end_tokens == {free[2]}
    assert np.allclose(read.logits, own.logits, atol=1e-4)
    end = loaded.tokenizer.convert_ids_to_tokens(other)  # but a text that says how it ends is taken at its word
    assert explained(loaded, TWO, media, answer=text + end).answer_ids.tolist() == [*free[:2], other]


@pytest.mark.parametrize(
    ("given", "added", "status"),
    [
        (GivenAnswer("a cat sits"), True, "ok"),
        (GivenAnswer("a cat sits", ended=True), True, "ok"),
        (GivenAnswer("a cat sits", ended=False), False, "truncated"),
        (GivenAnswer("no such words", IDS), False, "truncated"),
        (GivenAnswer("no such words", IDS, ended=False), False, "truncated"),
        (GivenAnswer("no such words", IDS, ended=True), True, "ok"),
        (GivenAnswer("no such words", (*IDS, END)), False, "ok"),
    ],
)
def test_ids_are_taken_as_they_are_and_what_was_cut_off_gets_no_end(media, given, added, status):
    loaded = tiny.loaded()
    loaded.model.generation_config.eos_token_id = END
    prepared = ready(loaded, TWO, media)
    asked = question(loaded, prepared, given)
    (made,) = answers_to(loaded, [asked], 8)
    kept = generation_of(loaded, TWO, prepared, made)
    ids = [*(given.ids or loaded.tokenizer(given.text)["input_ids"]), *[END] * added]
    assert kept.answer_ids.tolist() == ids and kept.status == status
    assert np.isfinite(kept.logits).all() and len(made.states) == len(prepared.tokens) + len(ids) - 1


@pytest.mark.parametrize(
    ("ids", "message"), [((5, 10**6), "no row in the model's embedding"), ((5, IMAGE), "holds a vision token")]
)
def test_given_ids_are_checked_against_the_embedding(media, ids, message):
    loaded = tiny.loaded()
    with pytest.raises(InputError, match=message):
        question(loaded, ready(loaded, TWO, media), GivenAnswer("a", ids))


def test_an_answer_that_cannot_be_given_is_refused(media):
    loaded = tiny.loaded()
    with pytest.raises(InputError, match="the answer holds a vision token"):
        explained(loaded, TWO, media, answer="a <|image_pad|>")
    loaded.model.generation_config.eos_token_id = None
    with pytest.raises(InputError, match="the answer is empty"):
        explained(loaded, TWO, media, answer="")


# ---- batches


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_its_samples_give_one_by_one(kind, media):
    """Different sizes, so that all but the longest are padded; pictures, several pictures and a video together."""
    loaded = tiny.loaded(kind)
    shown = [sample(0), TWO, VIDEO, sample(1)]
    prepared = [ready(loaded, one, media) for one in shown]
    answers = answer_batch(loaded, prepared, 8)
    for one, its, answer in zip(shown, prepared, answers, strict=True):
        together = generation_of(loaded, one, its, answer, head.CANDIDATES)
        alone = explained(loaded, one, media)
        assert np.array_equal(together.tokens, alone.tokens)
        assert np.array_equal(together.classes, alone.classes)
        assert np.allclose(together.logits, alone.logits, atol=1e-4)
        assert np.array_equal(together.candidates.ids, alone.candidates.ids)


def test_answers_of_a_batch_end_at_their_own_end_token(media):
    loaded = tiny.loaded()
    shown = [sample(0), sample(1)]
    free = [explained(loaded, one, media).answer_ids for one in shown]
    end = next(id for id in free[0] if id not in free[1])
    loaded.model.generation_config.eos_token_id = [int(end)]
    answers = answer_batch(loaded, [ready(loaded, one, media) for one in shown], 8)
    stop = free[0].tolist().index(end) + 1
    assert answers[0].ended and answers[0].ids.tolist() == free[0][:stop].tolist()
    assert not answers[1].ended and answers[1].ids.tolist() == free[1].tolist()
    assert len(answers[0].candidates.ids) == stop
    ok = explained(loaded, shown[0], media)
    assert ok.status == "ok" and ok.end_tokens == {end} and ok.answer_ids[-1] == end
    assert explained(loaded, shown[1], media).status == "truncated"


def test_generation_is_greedy_whatever_the_checkpoint_says(media):
    loaded = tiny.loaded()
    expected = explained(loaded, sample(0), media).tokens
    loaded.model.generation_config.update(do_sample=True, temperature=100.0, top_k=0, top_p=1.0, num_beams=3)
    assert np.array_equal(explained(loaded, sample(0), media).tokens, expected)


@pytest.mark.parametrize(
    "other",
    [
        {"use_cache": False},
        {"prompt_lookup_num_tokens": 3},
        {"prefill_chunk_size": 16},
        {"guidance_scale": 1.5},
        {"num_return_sequences": 2, "do_sample": True},
        {"penalty_alpha": 0.6, "top_k": 4},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_checkpoints_other_ways_of_decoding_are_switched_off(media, other):
    """They run the model over other positions than the prompt's once and each token's once."""
    loaded = tiny.loaded()
    expected = explained(loaded, sample(0), media)
    loaded.model.generation_config.update(**other)
    assert_same(explained(loaded, sample(0), media), expected)


def test_states_that_are_not_those_of_the_tokens_are_refused(media):
    """Whatever else a checkpoint's own code may do at each step."""
    loaded = tiny.loaded()
    honest = loaded.model.generate
    for other in ({"use_cache": False}, {"custom_generate": None}):
        loaded.model.generate = lambda other=other, **named: honest(**named | other)
        with pytest.raises(ModelError, match="does not run once over the prompt and once a token"):
            explained(loaded, sample(0), media)


def test_hooks_are_removed_also_after_an_error(media, monkeypatch):
    loaded = tiny.loaded()
    prepared = ready(loaded, sample(0), media)
    answer_batch(loaded, [prepared], 2)
    monkeypatch.setattr(loaded.model, "generate", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answer_batch(loaded, [prepared], 2)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.model.modules())


def test_a_head_that_reads_something_else_is_refused(media):
    loaded = tiny.loaded()
    loaded.model.lm_head.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    with pytest.raises(ModelError, match="does not read the last states"):
        explained(loaded, sample(0), media)


def test_logits_that_are_not_finite_are_refused(media):
    loaded = tiny.loaded()
    with torch.no_grad():
        loaded.model.lm_head.weight[7] = float("nan")
    with pytest.raises(NotFiniteError, match="s0: logits are NaN or infinite"):
        explained(loaded, sample(0), media)


# ---- checkpoints


def test_load_gives_model_processor_and_family(checkpoints):
    loaded = load(str(checkpoints["qwen2_5_vl"]), device="cpu", dtype="bfloat16")
    assert loaded.model.dtype == torch.bfloat16 and not loaded.model.training
    assert loaded.family is FAMILIES["qwen2_5_vl"] and type(loaded.processor).__name__ == "Qwen2_5_VLProcessor"


def test_nothing_but_the_gpu_that_was_named_is_opened(checkpoints, monkeypatch):
    """Here there is none: the weights cannot be moved there."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("cuda:1", "cuda"):
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_from(locate(str(checkpoints["qwen2_vl"])), Placement(torch.device(name), "float32"))
    assert chosen == [torch.device("cuda:1")]


def test_float16_checkpoints_are_computed_in_float32_on_a_cpu():
    config = tiny.model().config
    for saved, device, expected in (
        ("float16", "cpu", "float32"),
        ("float16", "cuda", "float16"),
        ("bfloat16", "cpu", "bfloat16"),
    ):
        config.dtype = getattr(torch, saved)
        assert dtype_of(config, torch.device(device), "auto") == getattr(torch, expected)
    with pytest.raises(InputError, match="unknown dtype; got 'int8'"):
        dtype_of(config, torch.device("cpu"), "int8")


def test_pickled_weights_are_refused(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["qwen2_vl"], tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no safetensors weights; got pickle weights: pytorch_model\.bin; cure"):
        load(str(folder))


def test_an_unsupported_kind_of_model_is_refused_with_the_known_ones(checkpoints, tmp_path):
    """One that transformers does not know either, and one that has no id for image tokens."""
    for name in ("something_new", "bert"):
        folder = shutil.copytree(checkpoints["qwen2_vl"], tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        config.pop("image_token_id")
        (folder / "config.json").write_text(json.dumps(config | {"model_type": name}))
        match = f"got '{name}'; expected .*gemma3 or .*Add your model.*docs/explained/families.md"
        with pytest.raises(ModelError, match=match):
            load(str(folder))


def test_a_damaged_checkpoint_is_refused(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["qwen2_vl"], tmp_path / "damaged")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(folder))


def test_a_revision_of_a_folder_and_an_unknown_device_are_refused(checkpoints):
    with pytest.raises(ModelError, match="a folder has no revision"):
        load(str(checkpoints["qwen2_vl"]), revision="main")
    with pytest.raises(InputError, match="unknown device"):
        load(str(checkpoints["qwen2_vl"]), device="abacus")


def test_a_change_anywhere_in_a_large_file_of_weights_is_likely_seen(tmp_path):
    """A file above 64 blocks is sampled: its size, both ends and blocks in between count."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(1000))
    other.write_bytes(bytes(999) + b"x")
    assert fingerprint_of_file(one, block=4) != fingerprint_of_file(other, block=4)
    other.write_bytes(bytes(1001))
    assert fingerprint_of_file(one, block=4) != fingerprint_of_file(other, block=4)
    assert fingerprint_of_file(tmp_path / "none") == "missing"


# ---- shards


@pytest.fixture
def shard(media, checkpoints, tmp_path):
    """A manifest of 12 samples with its media, and what runs it."""
    shutil.copytree(media, tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.jsonl"
    write([sample(index) for index in range(12)], manifest)

    def run(out: str = "0.h5", **options):
        options = {"max_new_tokens": 6, "batch_size": 2, "device": "cpu"} | options
        return generate(manifest, Shard(0, 1), str(checkpoints["qwen2_vl"]), tmp_path / out, **options)

    run.manifest, run.folder, run.checkpoint = manifest, tmp_path, checkpoints["qwen2_vl"]
    return run


def test_a_shard_is_written_in_the_manifests_order_whatever_the_batches(shard, caplog):
    caplog.set_level(logging.INFO, "tam")
    assert shard() == {"truncated": 12}
    made = list(read_generations(shard.folder / "0.h5"))
    assert [one.id for one in made] == [f"s{index}" for index in range(12)]
    assert [one.layout.sizes for one in made] == [(SIZES[index % len(SIZES)],) for index in range(12)]
    run = read_header(shard.folder / "0.h5")["run"]
    assert (run["family"], run["dtype"], run["max_new_tokens"]) == ("Qwen2-VL", "float32", 6)
    lines = [record.message for record in caplog.records if "samples/s" in record.message]
    assert (
        len(lines) == 6 and lines[-1].startswith("generate 0-of-1: 12/12 samples, ") and lines[-1].endswith("ETA 0 s")
    )
    assert not list(shard.folder.rglob("part-*"))


def test_a_finished_shard_is_left_alone_and_the_model_is_not_loaded(shard, monkeypatch):
    shard()
    before = (shard.folder / "0.h5").stat().st_mtime_ns
    monkeypatch.setattr(stage, "load_from", lambda *_: pytest.fail("the model was loaded"))
    assert shard(batch_size=5) == {"truncated": 12}  # how fast it is made does not belong to the fingerprint
    assert (shard.folder / "0.h5").stat().st_mtime_ns == before


def test_what_determines_the_answers_determines_the_fingerprint(shard):
    def fingerprint(samples, run=None, folder=shard.manifest.parent):
        run = {"weights": "w", "dtype": "float32", "max_new_tokens": 6, "layer": None, "tam": "1"} | (run or {})
        return stage.fingerprint_of(run, samples, folder)

    plain = fingerprint({0: sample(0)})
    assert plain == fingerprint({0: sample(0, references=["a cat"], mask="m.png", categories={"cat": 1})})
    assert plain == fingerprint({0: sample(0)}, {"tam": "2"})
    others = [
        fingerprint({1: sample(0)}),
        fingerprint({0: sample(0, prompt="Which?")}),
        fingerprint({0: sample(0, media=["1.png"])}),
        fingerprint({0: sample(0, turns=[["Who?", "a cat"]])}),
        *(
            fingerprint({0: sample(0)}, change)
            for change in (
                {"weights": "x"},
                {"dtype": "bfloat16"},
                {"max_new_tokens": 7},
                {"layer": 2},
                {"candidates": 3},
            )
        ),
    ]
    shutil.copy(shard.manifest.parent / "1.png", shard.manifest.parent / "0.png")
    others.append(fingerprint({0: sample(0)}))
    assert len({plain, *others}) == len(others)  # another content under the same name is as good as another name


def test_a_sample_that_fails_is_recorded_and_the_others_go_on(shard, monkeypatch):
    """Unreadable, missing, a prompt that the processor refuses, NaN pixels beside sound ones: four of twelve."""
    folder = shard.manifest.parent
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:200])
    broken = {
        1: {"media": ["broken.png"]}, 4: {"media": ["none.png"]}, 5: {"prompt": "what is <|image_pad|>?"},
    }  # fmt: skip
    write([sample(index, **broken.get(index, {})) for index in range(12)], shard.manifest)
    honest = preparing.prepare

    def poisoned(prompter, media, words, turns):
        prepared = honest(prompter, media, words, turns)
        if media.sizes == (SIZES[2],) and words == WORDS[2]:  # sample 2
            prepared.inputs["pixel_values"].fill_(float("nan"))
        return prepared

    monkeypatch.setattr(preparing, "prepare", poisoned)
    assert shard(batch_size=4) == {"truncated": 8, "failed": 4}
    made = {one.row: one for one in read_generations(shard.folder / "0.h5")}
    assert {row for row, one in made.items() if one.failed} == {1, 2, 4, 5}
    assert "not a picture that can be read" in made[1].status and "no such picture" in made[4].status
    assert "<|image_pad|>" in made[5].status and "NaN" in made[2].status
    assert made[3].answer_ids.size == 6


def test_what_a_model_cannot_take_is_recorded_beside_what_it_can(shard, tmp_path):
    """No picture, one without pixels, a text too long for the model's positions: three of twelve."""
    short = shutil.copytree(shard.checkpoint, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 120
    (short / "config.json").write_text(json.dumps(config))
    (shard.manifest.parent / "empty.bmp").write_bytes(
        b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\0\0\0\0\x04\0\0\0\x01\0\x18\0" + bytes(24)
    )
    wrong = {2: {"media": []}, 3: {"media": ["empty.bmp"]}, 7: {"prompt": "two dogs and a cat " * 60}}
    write([sample(index, **wrong.get(index, {})) for index in range(12)], shard.manifest)
    out = shard.folder / "short.h5"
    assert generate(shard.manifest, Shard(0, 1), str(short), out, max_new_tokens=4, device="cpu") == {
        "truncated": 9, "failed": 3,
    }  # fmt: skip
    made = list(read_generations(out))
    assert "no picture and no video" in made[2].status
    assert "a picture without pixels" in made[3].status or "not a picture that can be read" in made[3].status
    assert re.search(r"the context overflows the model; got \d+ tokens; expected at most 120", made[7].status)


def test_a_token_without_a_row_fails_its_own_sample(shard, tmp_path):
    larger = shutil.copytree(shard.checkpoint, tmp_path / "larger")
    processor = tiny.processor()
    processor.tokenizer.add_tokens(["<obj>"])
    processor.save_pretrained(larger)
    write([sample(0, prompt="Find <obj> here."), sample(1)], shard.manifest)
    out = shard.folder / "larger.h5"
    assert generate(shard.manifest, Shard(0, 1), str(larger), out, max_new_tokens=2, device="cpu").total() == 2
    statuses = [one.status for one in read_generations(out)]
    assert "a token has no row in the model's embedding; got <obj>" in statuses[0] and statuses[1] == "truncated"


def test_a_layer_is_kept_in_the_run_and_changes_the_logits_alone(shard):
    shard("last.h5")
    shard("first.h5", layer=1)
    assert [read_header(shard.folder / name)["run"]["layer"] for name in ("last.h5", "first.h5")] == [None, 1]
    pairs = zip(*(read_generations(shard.folder / name) for name in ("last.h5", "first.h5")), strict=True)
    for last, first in pairs:
        assert np.array_equal(last.tokens, first.tokens) and np.array_equal(last.candidates.ids, first.candidates.ids)
        assert np.abs(last.logits - first.logits).max() > 0.1
    with pytest.raises(InputError, match="no such layer; got 3; expected 1 to 2"):
        shard("none.h5", layer=3)


def test_a_batch_that_does_not_fit_is_halved_and_the_size_that_fits_is_remembered(shard, monkeypatch):
    write([sample(0, id=f"s{index}") for index in range(12)], shard.manifest)  # all of one length
    sizes, honest = [], answering.answer_batch

    def small(loaded, prepared, limit, layer):
        sizes.append(len(prepared))
        if len(prepared) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return honest(loaded, prepared, limit, layer)

    monkeypatch.setattr(answering, "answer_batch", small)
    assert shard(batch_size=5) == {"truncated": 12}
    assert sizes == [5, 2, 2, 1, 2, 2, 1, 2]


def test_a_sample_that_the_model_cannot_take_is_found_in_its_batch(shard, monkeypatch):
    """Not a matter of memory: the size of later batches stays."""
    sizes, honest = [], answering.answer_batch

    def picky(loaded, prepared, limit, layer):
        sizes.append(len(prepared))
        if any(one.layout.sizes == (SIZES[1],) and len(one.tokens) == 37 for one in prepared):
            raise IndexError("no such position")
        return honest(loaded, prepared, limit, layer)

    monkeypatch.setattr(answering, "answer_batch", picky)
    assert shard(batch_size=12) == {"truncated": 11, "failed": 1}
    assert sizes == [12, 6, 6, 3, 3, 1, 2, 1, 1]
    (failed,) = (one for one in read_generations(shard.folder / "0.h5") if one.failed)
    assert (failed.id, failed.status) == ("s1", "failed: the model cannot take this; got IndexError: no such position")


def test_a_device_that_is_lost_stops_the_stage(shard, monkeypatch):
    def lost(*_):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(answering, "answer_batch", lost)
    with pytest.raises(ModelError, match="the device is of no use any more; got AcceleratorError: CUDA error"):
        shard()
    assert not (shard.folder / "0.h5").exists()


def breaking_within(monkeypatch, error: Exception, when) -> None:
    """Raise in the midst of decoding, where ``when(samples, step)``; what was on before is so again afterwards."""
    steps, honest = Counter(), loop.best_of

    def best_of(logits):
        steps[len(logits)] += 1
        if when(len(logits), steps[len(logits)]):
            raise error
        return honest(logits)

    monkeypatch.setattr(loop, "best_of", best_of)


def test_memory_that_runs_out_in_the_midst_of_answers_halves_the_batch(shard, monkeypatch):
    write([sample(0, id=f"s{index}") for index in range(12)], shard.manifest)  # all of one length
    shard("undisturbed.h5")
    breaking_within(
        monkeypatch, torch.OutOfMemoryError("out of memory"), lambda samples, step: samples > 2 and step > 3
    )
    assert shard(batch_size=12) == {"truncated": 12}
    files = shard.folder / "0.h5", shard.folder / "undisturbed.h5"
    for halved, undisturbed in zip(*map(read_generations, files), strict=True):
        assert np.array_equal(halved.tokens, undisturbed.tokens)
        assert np.allclose(halved.logits, undisturbed.logits, atol=1e-4)


def test_after_a_device_was_lost_in_the_midst_of_answers_the_next_start_goes_on(shard, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tam")
    with monkeypatch.context() as lost:
        breaking_within(
            lost, torch.AcceleratorError("CUDA error"), lambda samples, step: step > 15
        )  # in the third batch
        with pytest.raises(ModelError, match="the device is of no use any more"):
            shard()
    assert shard() == {"truncated": 12} and "resume: 4 of 12 samples are there" in caplog.text


def test_a_batch_of_one_that_breaks_is_a_failed_sample(shard, monkeypatch):
    def broken(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(answering, "answer_batch", broken)
    assert shard() == {"failed": 12}
    assert next(read_generations(shard.folder / "0.h5")).status == (
        "failed: out of memory; got 112 x 168 pixels, 55 tokens; cure: smaller pictures, or more memory"
    )


def test_wrong_numbers_are_refused(shard):
    for name in ("max_new_tokens", "batch_size"):
        with pytest.raises(InputError, match=f"{name}: wrong number; got 0"):
            shard(**{name: 0})


def test_an_empty_shard_is_an_empty_file(shard):
    out = shard.folder / "none.h5"
    assert generate(shard.manifest, Shard(0, 13), str(shard.checkpoint), out) == {}
    assert list(read_generations(out)) == []


# ---- killed and resumed

PROGRAM = """
import sys
from pathlib import Path
from tam.generation.stage import generate
from tam.manifest import Shard
generate(Path(sys.argv[1]), Shard(0, 1), sys.argv[2], Path(sys.argv[3]), max_new_tokens=60, batch_size=2, device="cpu")
"""


def test_what_was_answered_but_is_in_no_part_is_not_asked_again(shard, monkeypatch):
    """The parts of the second batch and of those behind it fail, while the next batch is in the model."""
    shard("undisturbed/0.h5")
    asked, honest, add = [], answering.answer_batch, Store.add

    def counted(loaded, prepared, *options):
        asked.append(len(prepared))
        return honest(loaded, prepared, *options)

    def broken(store, generations):
        if len(store.resume()):
            raise OSError("gone")
        add(store, generations)

    monkeypatch.setattr(answering, "answer_batch", counted)
    with monkeypatch.context() as failing:
        failing.setattr(Store, "add", broken)
        with pytest.raises(OSError, match="gone"):
            shard()
    assert (
        sum(asked) == 6
    )  # three batches: one is a part, one is in the thread, and one came out of the model meanwhile
    assert len(list(shard.folder.rglob("part-*.h5"))) == 1 and len(list(shard.folder.rglob("batch-*.journal"))) == 2
    assert shard() == {"truncated": 12} and sum(asked) == 12
    files = shard.folder / "0.h5", shard.folder / "undisturbed/0.h5"
    for resumed, undisturbed in zip(*map(read_generations, files), strict=True):
        assert_same(resumed, undisturbed)
    assert not list(shard.folder.rglob("batch-*"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the processes that the tests start: how a sum is cut among threads decides its last bits."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


def test_a_killed_shard_goes_on_and_ends_as_if_nothing_had_happened(shard, caplog, one_thread):
    """A real process, SIGKILL after its second part; then one of the parts is damaged as well."""
    caplog.set_level(logging.INFO, "tam")
    shard("undisturbed/0.h5", max_new_tokens=60)
    command = [sys.executable, "-c", PROGRAM, str(shard.manifest), str(shard.checkpoint), str(shard.folder / "0.h5")]
    environment = os.environ | {"PYTHONPATH": str(Path(stage.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(parts := sorted((shard.folder / ".parts").rglob("part-*.h5"))) < 3:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (shard.folder / "0.h5").exists()
    parts = sorted((shard.folder / ".parts").rglob("part-*.h5"))
    assert 3 <= len(parts) < 6
    parts[0].write_bytes(parts[0].read_bytes()[:-500])
    assert shard(max_new_tokens=60).total() == 12
    assert f"generate 0-of-1: resume: {2 * len(parts) - 2} of 12 samples are there" in caplog.text
    assert "part-" in caplog.text and "will be made again" in caplog.text
    assert read_header(shard.folder / "0.h5") == read_header(shard.folder / "undisturbed/0.h5")
    files = shard.folder / "0.h5", shard.folder / "undisturbed/0.h5"
    for resumed, undisturbed in zip(*map(read_generations, files), strict=True):
        assert_same(resumed, undisturbed)
