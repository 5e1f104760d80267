"""Random weights: what is drawn anew, that it is restored to the bit, and how maps are compared."""

import csv
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tam import tagging
from tam.errors import InputError, ModelError, SchemaError
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.model.loaded import Loaded
from tam.sanity import stage, task
from tam.sanity.parts import BOTTOM_UP, INDEPENDENT, ORDERS, TOP_DOWN, parts_of, redrawn, sequence, untied
from tam.sanity.record import MEASURES, ORIGINAL, read_sanity
from tam.sanity.similarity import ranks, spearman, ssim, top_overlap
from tam.tagging import Language
from tests import tiny


def loaded(kind: str = "qwen2_vl") -> Loaded:
    return Loaded.of(tiny.model(kind), tiny.processor(kind))


def digest(model) -> dict[str, str]:
    return {
        name: hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest()
        for name, weight in model.named_parameters(remove_duplicate=False)
    }


# ---- weights

NO_TOWER = "gemma4_unified"  # its patches enter the decoder


def test_a_model_without_a_tower_is_refused():
    with pytest.raises(ModelError, match="no layers of a tower"):
        parts_of(loaded(NO_TOWER))


@pytest.mark.parametrize("kind", sorted({*tiny.KINDS} - {NO_TOWER}))
def test_every_family_has_a_tower_a_projector_a_decoder_and_a_head(kind):
    """Each matrix is in one part, but for the word embedding."""
    one = loaded(kind)
    parts, layers, blocks = parts_of(one), len(one.decoder.layers), 4 if kind == "gemma3n" else 2
    decoder = [f"decoder {number}/{layers}" for number in range(1, layers + 1)]
    tower = [f"tower {number}/{blocks}" for number in range(1, blocks + 1)]
    assert [part.name for part in parts] == [*tower, "projector", *decoder, "head"]
    names = [name for part in parts for name in part.matrices]
    words = {id(part.weight) for part in one.decoder.modules() if isinstance(part, torch.nn.Embedding)}
    assert sorted(names) == sorted(
        name for name, weight in one.model.named_parameters() if weight.ndim > 1 and id(weight) not in words
    )
    by_part = {part.name: [*part.matrices] for part in parts}
    assert all(by_part.values()) and len(by_part["head"]) == 1
    assert any("patch" in name or "stem" in name for name in by_part[tower[0]])
    wanted = ("merger", "project", "connector", "linear")
    assert any(word in name for name in by_part["projector"] for word in wanted), by_part["projector"]
    assert not any("patch_embed" in name for name in by_part["projector"])


def test_a_random_part_keeps_norms_and_spread_and_is_restored_to_the_bit():
    one = loaded()
    before = digest(one.model)
    for part in parts_of(one):
        with redrawn(part, 0):
            changed = {name for name, text in digest(one.model).items() if text != before[name]}
            assert changed == set(part.matrices)
        assert digest(one.model) == before
    with pytest.raises(RuntimeError), redrawn(part, 0):
        raise RuntimeError
    assert digest(one.model) == before


def test_a_draw_has_the_standard_deviation_of_its_matrix_and_depends_on_seed_and_name_alone():
    decoder = next(part for part in parts_of(loaded()) if part.name == "decoder 1/2")
    name, weight = next(iter(decoder.matrices.items()))
    known = float(weight.detach().std())
    with redrawn(decoder, 3):
        first = weight.detach().clone()
        assert abs(float(first.detach().std()) / known - 1) < 0.1
    with redrawn(replace(decoder, matrices={name: weight}), 3):
        assert torch.equal(weight, first)
    with redrawn(decoder, 4):
        assert not torch.equal(weight, first)


def test_a_tied_head_is_untied_first_so_that_word_embeddings_stay():
    one = loaded()
    one.model.lm_head.weight = one.model.get_input_embeddings().weight
    with pytest.raises(Exception, match="the head is the word embedding"):
        parts_of(one)
    before = digest(one.model)
    with untied(one):
        head = parts_of(one)[-1]
        with redrawn(head, 0):
            words = one.model.get_input_embeddings().weight
            assert not torch.equal(one.head.weight, words)
            assert hashlib.sha256(words.detach().numpy().tobytes()).hexdigest() == before["lm_head.weight"]
        assert torch.equal(one.head.weight, words) and one.head.weight is not words
    assert one.head.weight is words and digest(one.model) == before


def test_orders_go_from_the_picture_up_or_from_the_answer_down():
    parts = parts_of(loaded())
    assert sequence(parts, TOP_DOWN) == sequence(parts, BOTTOM_UP)[::-1] and sequence(parts, INDEPENDENT) == parts


# ---- similarities

MAPS = st.lists(st.integers(0, 5), min_size=12, max_size=12).filter(lambda values: max(values) > min(values))


@given(MAPS, MAPS)
def test_a_map_is_exactly_like_itself_and_similarities_are_symmetric(a, b):
    one, other = (np.array(values) / 7 for values in (a, b))
    for measure in (spearman, top_overlap, lambda *maps: ssim(*maps, [(3, 4)])):
        assert measure(one, one) == measure(one, one.copy()) == 1
        assert measure(one, other) == pytest.approx(measure(other, one))
        assert measure(one, other) <= 1 + 1e-12


def test_similarities_by_hand():
    assert ranks(np.array([5, 1, 5, 7])).tolist() == [2.5, 1, 2.5, 4]
    assert spearman(np.array([1, 2, 3]), np.array([9, 4, 1])) == -1
    assert spearman(np.array([1.0, 2, 3]), np.array([2.0, 2, 2])) != spearman(np.array([1]), np.array([1]))  # NaN
    assert spearman(np.array([1, 2, 3, 4]), np.array([1, 3, 2, 4])) == 0.8  # 1 - 6 x 2 / (4 x 15)
    ten = np.arange(20.0)
    assert top_overlap(ten, ten[::-1]) == 0 and top_overlap(ten, np.roll(ten, 1)) == 0.5
    assert top_overlap(ten, np.zeros(20)) == pytest.approx(0.1)  # ties: as many as on average
    step = np.repeat([0.0, 1.0], 6)
    assert ssim(step, 3 * step, [(3, 4)]) == 1  # by their maximum
    assert ssim(step, 1 - step, [(3, 4)]) < 0


def test_a_constant_map_is_counted_and_has_no_similarity():
    original, flat = np.array([0, 1, 0, 0.0]), np.full(4, 0.5)
    found = dict(zip(MEASURES, task.compared(original, flat, [(2, 2)]), strict=True))
    assert found["constant"] == 1 and np.isnan([found["spearman"], found["ssim"], found["top10"]]).all()
    assert np.isnan(task.compared(flat, original, [(2, 2)])).all()


# ---- the stage

TAGS = {"a": "DT", "cat": "NN", "dogs": "NNS", "umbrella": "NN"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two given answers with nouns, and one sample without a picture."""
    folder = tmp_path_factory.mktemp("sanity")
    tiny.checkpoint(folder / "checkpoint", "qwen2_vl")
    pixels = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    samples = [Sample(id, [f"{id[0]}.png"], "What?", categories={"cat": 1}) for id in ("a", "none", "a2")]
    write(samples, folder / "manifest.jsonl")
    lines = ['{"id": "a", "answer": "a cat and dogs"}', '{"id": "a2", "answer": "a red umbrella"}']
    (folder / "answers.jsonl").write_text("\n".join(lines))
    generate(
        folder / "manifest.jsonl", Shard(0, 1), str(folder / "checkpoint"), folder / "g.h5", device="cpu",
        answers=folder / "answers.jsonl",
    )  # fmt: skip
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    monkeypatch.setattr(tagging, "choose", lambda: Language(lambda word: TAGS.get(word, ""), str, None, "by hand"))

    def do(out: Path = tmp_path / "s/sanity.h5", **more):
        options = {"methods": ["centre", "tam"], "samples": 8, "orders": ORDERS, "seeds": [0]}
        return stage.sanity(
            made / "g.h5", made / "manifest.jsonl", str(made / "checkpoint"), out, device="cpu", **options | more
        )

    return do


def test_maps_change_with_the_weights_and_are_the_same_again_at_the_end(run, tmp_path):
    assert run() == {"ok": 2}
    methods, answers = read_sanity(tmp_path / "s/sanity.h5")
    assert [*methods] == ["centre", "tam"] and [answers[row].words for row in answers] == [
        ["cat", "dogs"],
        ["umbrella"],
    ]
    one = answers[0]
    centre, tam = np.moveaxis(one.values, 1, 0)
    assert (centre[..., 0] == 1).all()  # it knows no weights
    assert one.states[-1].order == ORIGINAL and (tam[-1, :, :3] == 1).all()
    assert np.nanmax(tam[:-1, :, 0]) < 1
    place = {state: number for number, state in enumerate(one.states)}
    whole = [tam[place[BOTTOM_UP, "head", 0]], tam[place[TOP_DOWN, "tower 1/2", 0]]]
    np.testing.assert_array_equal(*whole)  # all is random, in whichever order
    np.testing.assert_array_equal(tam[place[TOP_DOWN, "head", 0]], tam[place[INDEPENDENT, "head", 0]])
    assert one.pairs.shape == (2, 1, 3) and answers[2].pairs.shape == (2, 0, 3)


def test_the_table_has_every_order_the_reference_and_the_share_of_constant_maps(run, tmp_path):
    run(orders=[BOTTOM_UP], seeds=[0, 1])
    folder = tmp_path / "s"
    rows = {(row["order"], row["part"], row["method"]): row for row in csv.DictReader((folder / "sanity.csv").open())}
    assert len(rows) == (6 + 1 + 1) * 2
    last = rows[ORIGINAL, "none, at the end", "tam"]
    assert (last["spearman"], last["ssim"], last["top10"], last["constant"], last["spearman_n"]) == (
        "1.0",
        "1.0",
        "1.0",
        "0.0",
        "3",
    )
    assert rows[BOTTOM_UP, "head", "tam"]["constant_n"] == "6"  # three nouns, two seeds
    assert rows["reference", "two nouns of one answer", "tam"]["spearman_n"] == "1"
    text = (folder / "sanity.md").read_text()
    assert "share of constant maps" in text and "3 nouns; seeds: 2" in text
    assert all((folder / f"sanity.{kind}").stat().st_size for kind in ("tex", "png", "pdf", "svg"))


def test_a_finished_file_is_given_again_without_the_model_and_other_settings_are_computed(run, tmp_path, monkeypatch):
    run(orders=[INDEPENDENT])
    with monkeypatch.context() as patch:
        patch.setattr(stage, "SanityTask", lambda *_: pytest.fail("the model is asked again"))
        assert run(orders=[INDEPENDENT]) == {"ok": 2}
    assert run(orders=[INDEPENDENT], samples=1) == {"ok": 1}
    (tmp_path / "s/sanity.h5").write_bytes((tmp_path / "s/sanity.h5").read_bytes()[:-40])
    with pytest.raises(SchemaError):
        read_sanity(tmp_path / "s/sanity.h5")


def test_weights_are_restored_and_the_sample_fails_where_a_map_cannot_be_made(made, monkeypatch):
    """An error amid random weights leaves the model as it was."""
    from tam.generation.again import again
    from tam.methods.registry import find_all

    found = again(made / "g.h5", made / "manifest.jsonl", str(made / "checkpoint"), device="cpu")
    judge = Language(lambda word: TAGS.get(word, ""), str, None, "by hand")
    one = task.SanityTask(found.load(), found, find_all(["tam"]), [BOTTOM_UP], [0], judge)
    before = digest(one.loaded.model)
    asked = {0: one.ready(0, one.prepare(0))}
    calls = []

    def broken(*_):
        calls.append(0)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return task.np.full((1, 2, 5), 0, np.float32)

    monkeypatch.setattr(one, "_compared", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        one.run(asked)
    assert digest(one.loaded.model) == before


def test_a_picture_that_has_changed_since_costs_its_sample(made, run, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(made, copied)
    Image.new("RGB", (112, 84)).save(copied / "a.png")
    counts = stage.sanity(
        copied / "g.h5", copied / "manifest.jsonl", str(copied / "checkpoint"), copied / "s/sanity.h5", device="cpu",
        methods=["tam"], samples=1, orders=[INDEPENDENT], seeds=[0],
    )  # fmt: skip
    assert counts == {"failed": 1}
    assert (copied / "s/sanity.csv").is_file()


def test_what_cannot_be_asked_is_said_before_the_model_is_loaded(run):
    with pytest.raises(InputError, match="unknown order; got 'sideways'"):
        run(orders=["sideways"])
    with pytest.raises(InputError, match="needs scores of `tam attribute`; got rollout"):
        run(methods=["tam", "rollout"])
    with pytest.raises(InputError, match="nothing to compare"):
        run(seeds=[])
