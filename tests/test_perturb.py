"""The stage: what a model says without cells, scored once, resumed, and only if it says what it said."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tam import cli
from tam.cache import read_generations
from tam.cell_sets import Cells
from tam.errors import InputError, SchemaError
from tam.generation.again import Again, check_logits
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.media import Media
from tam.methods.stage import write_maps
from tam.metrics.stage import write_metrics
from tam.model.prompt import prepare
from tam.perturb import Request, estimate, perturb, score, stage
from tam.perturb.score import Perturbations, forward, scored
from tam.perturbed import NOT_DRAWN, Asked, read_perturbed, read_perturbed_header
from tam.protocol import FIXED
from tam.rows import opened
from tam.run import RunFiles
from tam.shard.memory import Budget
from tam.shard.store import Store
from tam.tables.ablation import run_table
from tam.tables.agreement import cost
from tam.tables.summary import summarise
from tests import tiny
from tests.asked import WORDS, asked

TEXTS = {"a": "a cat and two dogs", "b": "a dog", "c": "a umbrella"}
ASKED = Asked(("activation",), (1 / 16, 1 / 2), blocks=4, sets=2, samples=None)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Given answers of three samples, with maps; the second has a picture that must be resized, "d" none."""
    folder = tmp_path_factory.mktemp("perturb")
    tiny.checkpoint(folder / "checkpoint", "qwen2_vl")
    for name, size in (("a", (84, 112)), ("b", (90, 61)), ("c", (84, 84))):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    categories = {"cat": 1, "dog": 2}
    samples = [Sample(name, [f"{name}.png"], "What is it?", categories=categories) for name in "abcd"]
    write(samples, folder / "manifest.jsonl")
    (folder / "answers").write_text(
        "".join(json.dumps({"id": id, "answer": text}) + "\n" for id, text in TEXTS.items())
    )
    generate(
        folder / "manifest.jsonl", Shard(0, 1), str(folder / "checkpoint"), folder / "generation.h5", device="cpu",
        answers=folder / "answers",
    )  # fmt: skip
    write_maps(folder / "generation.h5", folder / "maps.h5", ["activation", "tam", "random"], FIXED)
    return folder


def run(folder: Path, out: Path, asked: Asked = ASKED, batch_size: int = 16, baseline="mean") -> dict[str, int]:
    request = Request(folder / "generation.h5", folder / "maps.h5", folder / "manifest.jsonl", baseline, asked)
    return perturb(request, str(folder / "checkpoint"), out, device="cpu", batch_size=batch_size)


@pytest.fixture
def forwards(monkeypatch) -> list[int]:
    """How many pictures each pass of the model had."""
    found: list[int] = []

    def counting(loaded, prompts, ids):
        found.append(len(prompts))
        return forward(loaded, prompts, ids)

    monkeypatch.setattr(score, "forward", counting)
    return found


def content(path: Path) -> dict:
    return {row: (one.status, one.sets.tolist(), one.best.tolist()) for row, one in read_perturbed(path)}


def logprob(path: Path) -> np.ndarray:
    return np.concatenate([one.logprob.ravel() for _, one in read_perturbed(path)])


# ---- the scorer


@pytest.fixture(scope="module")
def question(made):
    """A loaded model, its answer to "a", and the prompt without some sets of cells."""
    loaded = tiny.loaded()
    picture = Image.open(made / "a.png").convert("RGB")
    media = Media(False, (picture,), (0,))
    generation = next(read_generations(made / "generation.h5"))
    prompt = prepare(loaded.prompter, media, "What is it?")
    cells = len(generation.layout.vision)
    sets = np.array([np.zeros(cells, bool), np.ones(cells, bool), np.arange(cells) < 5])
    return loaded, generation, Perturbations.of(loaded.prompter, media, "What is it?", (), "mean", sets, prompt)


def test_a_batch_says_what_each_picture_says_alone_and_the_whole_picture_what_the_cache_says(question):
    loaded, generation, prompts = question
    ids = generation.answer_ids
    together = scored(loaded, map(prompts, range(3)), ids, Budget(torch.device("cpu"), 16))
    alone = scored(loaded, map(prompts, range(3)), ids, Budget(torch.device("cpu"), 1))
    assert together.logprob == pytest.approx(alone.logprob, abs=1e-5) and (together.best == alone.best).all()
    first = len(generation.logits) - len(ids)
    own = generation.logits[np.arange(first, first + len(ids)), [generation.column(id) for id in ids]]
    cached = own - generation.candidates.logsumexp[-len(ids) :]
    assert together.logprob[0] == pytest.approx(cached, abs=1e-4) and together.logits[0] == pytest.approx(own, abs=1e-4)
    assert (together.best[0] == (generation.candidates.ids[-len(ids) :, 0] == ids)).all()
    assert np.abs(together.logprob[1] - together.logprob[0]).max() > 1e-3


def test_only_the_answers_rows_go_through_the_head(question):
    loaded, generation, prompts = question
    seen = []
    handle = loaded.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[:-1].numel()))
    forward(loaded, [prompts(0), prompts(1)], generation.answer_ids)
    handle.remove()
    assert sum(seen) == 2 * len(generation.answer_ids) + 2  # and the last state of each, which the model asks for


def test_cells_are_mixed_behind_the_processor_only_where_that_is_the_same_to_the_bit(question, made):
    loaded, _, prompts = question
    assert prompts.fast is not None
    for some in prompts.sets:
        slow = prompts.through_processor(some).inputs["pixel_values"]
        assert torch.equal(slow, prompts(int(np.flatnonzero((prompts.sets == some).all(1))[0])).inputs["pixel_values"])
    picture = Image.open(made / "b.png").convert("RGB")
    media = Media(False, (picture,), (0,))
    prompt = prepare(loaded.prompter, media, "What is it?")
    resized = Perturbations.of(
        loaded.prompter, media, "What is it?", (), "mean", prompts.sets[:, : len(prompt.layout.vision)], prompt
    )
    assert resized.fast is None


def test_a_picture_that_gets_other_tokens_costs_its_sample(question):
    _, _, prompts = question
    other = replace(prompts, original=replace(prompts.original, tokens=prompts.original.tokens[:-1]))
    with pytest.raises(InputError, match="grid changes"):
        other.through_processor(prompts.sets[0])


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_cells_of_every_family_are_taken_away_tiles_too(kind):
    loaded, asking, generation, media = asked(kind)
    cells = Cells.of(asking.prepared.layout).count
    sets = np.array([np.zeros(cells, bool), np.ones(cells, bool), np.arange(cells) < cells // 2])
    prompts = Perturbations.of(loaded.prompter, media, WORDS, (), "mean", sets, asking.prepared)
    found = scored(loaded, map(prompts, range(3)), generation.answer_ids, Budget(torch.device("cpu"), 3))
    check_logits(generation, found.logits[0])
    assert (np.abs(found.logprob[1:] - found.logprob[0]).max(1) > 1e-3).all()


def test_too_large_a_batch_is_halved(question, monkeypatch):
    loaded, generation, prompts = question

    def short_of_memory(loaded, part, ids):
        if len(part) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return forward(loaded, part, ids)

    monkeypatch.setattr(score, "forward", short_of_memory)
    found = scored(loaded, map(prompts, range(3)), generation.answer_ids, Budget(torch.device("cpu"), 16))
    assert found.logprob.shape == (3, len(generation.answer_ids))


# ---- the stage


def test_every_set_is_scored_once_and_the_estimate_says_how_many(made, tmp_path, forwards):
    request = Request(made / "generation.h5", made / "maps.h5", made / "manifest.jsonl", "mean", ASKED)
    said = estimate(request)
    assert run(made, tmp_path / "0.h5") == {"ok": 3, "failed": 1}
    found = dict(read_perturbed(tmp_path / "0.h5"))
    assert sum(forwards) == sum(len(one.sets) for one in found.values())
    assert said == f"3 samples, 3 words: {sum(forwards)} forwards, {sum(forwards) / 3:.0f} a sample"
    assert len(found[2].sets) == 2  # no word of a category: only the picture and its baseline
    assert found[3].status.startswith("failed: ") and "no such picture" in found[3].status
    assert run(made, tmp_path / "0.h5") == {"ok": 3, "failed": 1} and sum(forwards) == sum(
        len(one.sets) for one in found.values()
    )


def test_another_method_fraction_or_sample_scores_only_what_is_not_there(made, tmp_path, forwards, monkeypatch):
    run(made, tmp_path / "0.h5", replace(ASKED, samples=2))
    first = content(tmp_path / "0.h5")
    assert [status for status, *_ in first.values()].count(NOT_DRAWN) == 2
    (tmp_path / "0.h5").unlink()  # as Snakemake does before it runs a job again
    more = replace(ASKED, methods=("activation", "tam", "random"), fractions=(1 / 16, 1 / 4, 1 / 2), words="content")
    before = len(forwards), sum(forwards)
    run(made, tmp_path / "0.h5", more, batch_size=5)
    there = sum(len(sets) for _, sets, _ in first.values())
    assert sum(forwards) - before[1] == sum(len(sets) for _, sets, _ in content(tmp_path / "0.h5").values()) - there > 0
    (tmp_path / "fresh").mkdir()
    run(made, tmp_path / "fresh/0.h5", more)
    assert content(tmp_path / "0.h5") == content(tmp_path / "fresh/0.h5")
    assert logprob(tmp_path / "0.h5") == pytest.approx(logprob(tmp_path / "fresh/0.h5"), abs=1e-5)
    assert read_perturbed_header(tmp_path / "0.h5").asked == more
    done = sum(forwards)
    monkeypatch.setattr(Again, "load", lambda self: pytest.fail("the model is loaded"))
    run(made, tmp_path / "0.h5", ASKED)  # fewer: nothing is lost, and the model is not loaded
    assert sum(forwards) == done and read_perturbed_header(tmp_path / "0.h5").asked == ASKED
    assert content(tmp_path / "0.h5") == content(tmp_path / "fresh/0.h5")


def test_a_killed_job_goes_on_after_its_parts_and_a_damaged_one_is_scored_again(made, tmp_path, forwards, monkeypatch):
    run(made, tmp_path / "whole.h5")
    total, add = sum(forwards), Store.add

    def dies(self, rows):
        add(self, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "0.h5")
    monkeypatch.setattr(Store, "add", add)
    (part,) = tmp_path.glob(".parts/*/0/part-*.h5")
    for path in tmp_path.glob(".parts/*/0/batch-*.journal"):
        path.unlink()
    kept = sum(len(one.sets) for _, one in read_perturbed(part))
    before = sum(forwards)
    run(made, tmp_path / "0.h5")
    assert sum(forwards) - before == total - kept
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    for damaged in (tmp_path / "0.h5", *tmp_path.glob(".parts/*/0/whole.h5")):
        damaged.write_bytes(damaged.read_bytes()[:-100])
    before = sum(forwards)
    run(made, tmp_path / "0.h5")
    assert sum(forwards) - before == total and (tmp_path / "0.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_journal_of_another_request_is_not_taken_for_done(made, tmp_path, monkeypatch):
    add = Store.add
    monkeypatch.setattr(Store, "add", lambda self, rows: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "0.h5")
    assert [*tmp_path.glob(".parts/*/0/batch-*.journal")]
    monkeypatch.setattr(Store, "add", add)
    run(made, tmp_path / "0.h5", replace(ASKED, methods=("tam",)))
    (tmp_path / "fresh").mkdir()
    run(made, tmp_path / "fresh/0.h5", replace(ASKED, methods=("tam",)))
    assert content(tmp_path / "0.h5") == content(tmp_path / "fresh/0.h5")


def test_another_picture_of_the_same_size_costs_its_sample(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    Image.new("RGB", (84, 112), (200, 10, 10)).save(tmp_path / "copy/a.png")
    assert run(tmp_path / "copy", tmp_path / "0.h5") == {"ok": 2, "failed": 2}
    assert "does not say what it said" in dict(read_perturbed(tmp_path / "0.h5"))[0].status


def test_a_picture_that_changes_between_two_requests_costs_its_sample(made, tmp_path, forwards):
    """What was scored of the picture before says nothing of it."""
    shutil.copytree(made, tmp_path / "copy")
    run(tmp_path / "copy", tmp_path / "0.h5")
    Image.new("RGB", (84, 112), (200, 10, 10)).save(tmp_path / "copy/a.png")
    more = replace(ASKED, methods=("activation", "tam"))
    for _ in range(2):
        assert run(tmp_path / "copy", tmp_path / "0.h5", more) == {"ok": 2, "failed": 2}
        found, done = dict(read_perturbed(tmp_path / "0.h5")), len(forwards)
        assert "does not say what it said" in found[0].status
    assert len(forwards) == done


def test_answers_of_another_layer_are_refused(made, tmp_path, monkeypatch):
    header = stage.read_header(made / "generation.h5")
    monkeypatch.setattr(stage, "read_header", lambda path: header | {"run": header["run"] | {"layer": 1}})
    with pytest.raises(InputError, match=r"another layer than the last; .*got 1"):
        run(made, tmp_path / "0.h5")


# ---- to the rows


def test_metrics_have_the_rows_of_both_baselines_and_say_what_is_missing(made, tmp_path):
    asked = replace(ASKED, methods=("activation", "random"), samples=3)
    for kind in ("blur", "mean"):
        run(made, tmp_path / f"{kind}.h5", asked, baseline=kind)
    files = made / "generation.h5", made / "maps.h5", made / "manifest.jsonl", tmp_path / "rows.parquet", FIXED
    write_metrics(*files, perturbed=[tmp_path / "blur.h5", tmp_path / "mean.h5"])
    with opened(tmp_path / "rows.parquet") as (_, file):
        table = file.read().to_pandas()
    gains = table[(table.metric == "gain_blur") & (table.status == "ok")]
    assert set(gains.method) == {"activation", "random"} and gains.value.between(-1, 1).all()
    drawn = {id for id, row in zip("abcd", range(4), strict=True) if row in asked.drawn(4)}
    assert set(gains["sample"]) == drawn & {"a", "b"}
    ends = (
        table[table.metric.isin(["deletion_mean@0", "insertion_mean@1"])].groupby(["sample", "token"]).value.nunique()
    )
    assert (ends == 1).all()
    assert set(table[table.metric == "image_use_function_mean"].word) <= {"and", "a", "two"}
    passes = [sum(len(one.sets) for _, one in read_perturbed(tmp_path / f"{kind}.h5")) for kind in ("blur", "mean")]
    said = [
        f"{total} ({kind}; 3 images, {total / 3:.0f} each)"
        for total, kind in zip(passes, ("blur", "mean"), strict=True)
    ]
    summary = summarise(RunFiles("d", "m", None, (), (), (tmp_path / "rows.parquet",)))
    assert cost(summary) == [f"Forward passes without cells of the picture: {', '.join(said)}."]
    assert run_table(summary).notes.count(cost(summary)[0]) == 1
    write_metrics(*files)  # as without
    with opened(tmp_path / "rows.parquet") as (_, file):
        assert not file.read().to_pandas().metric.str.contains("_blur|_mean").any()
    write_maps(
        made / "generation.h5", tmp_path / "maps.h5", ["random", "activation", "eci"], FIXED, exact=True, eci_cap=0.5
    )
    run(made, tmp_path / "few.h5", replace(asked, methods=("random",)))
    shutil.copy(made / "generation.h5", tmp_path / "generation.h5")
    header = read_perturbed_header(tmp_path / "few.h5")
    stage.write_perturbed(tmp_path / "few.h5", dict(read_perturbed(tmp_path / "few.h5")), replace(header, asked=asked))
    with pytest.raises(SchemaError, match=r"a set of cells was not scored.*run `tam perturb` again"):
        write_metrics(*files, perturbed=[tmp_path / "few.h5"])


def test_the_command_estimates_scores_and_feeds_the_metrics(made, tmp_path):
    files = ["--generation", made / "generation.h5", "--maps", made / "maps.h5", "--manifest", made / "manifest.jsonl"]
    options = [
        "--method",
        "random",
        "--fraction",
        "0.25",
        "--blocks",
        "0",
        "--sets",
        "0",
        "--model",
        made / "checkpoint",
    ]
    options += ["--baseline", "mean", "--device", "cpu", "--out", tmp_path / "0.h5"]
    said = CliRunner().invoke(cli.app, [str(text) for text in ["perturb", *files, *options, "--estimate"]])
    assert said.exit_code == 0 and "3 samples, 3 words: " in said.output and not (tmp_path / "0.h5").exists()
    done = CliRunner().invoke(cli.app, [str(text) for text in ["perturb", *files, *options]])
    assert done.exit_code == 0 and "3 ok, 1 failed" in done.output
    metrics = ["metrics", *files, "--perturb", tmp_path / "0.h5", "--out", tmp_path / "0.parquet"]
    assert CliRunner().invoke(cli.app, [str(text) for text in metrics]).exit_code == 0
