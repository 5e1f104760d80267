"""The stage of the rivals: who is refused, what costs a sample or a method, and what is computed again."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tam.attribution import task
from tam.attribution.methods import METHODS as COMPUTED
from tam.attribution.methods import Attributed, Settings
from tam.attribution.stage import write_attribution
from tam.cache import read_generations
from tam.errors import InputError, ModelError
from tam.generation.again import Again
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.methods.rivals import RIVALS
from tam.records import Scores
from tam.scores import read_scores, read_scores_header
from tests import tiny

ROLLOUT, GAE = "rollout", "gae"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A generation of three samples, of which the last has no picture, and the checkpoint that made it."""
    folder = tmp_path_factory.mktemp("attribution")
    tiny.checkpoint(folder / "checkpoint", "qwen2_vl")
    for name, size in (("a.png", (84, 56)), ("b.png", (56, 56))):
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    samples = [Sample("a", ["a.png"], "a cat"), Sample("b", ["b.png"], "a dog"), Sample("c", ["none.png"], "a cow")]
    write(samples, folder / "manifest.jsonl")
    generate(
        folder / "manifest.jsonl", Shard(0, 1), str(folder / "checkpoint"), folder / "0.h5", max_new_tokens=4,
        device="cpu",
    )  # fmt: skip
    return folder


class Fake:
    """In place of the computations: says what the cache says, and scores of the number of the method."""

    def __init__(self, off: float = 0, most: int = 9, **instead: object):
        self.off, self.most, self.instead = off, most, instead
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, loaded, question, generation, methods: Sequence[str], settings, media=None) -> Attributed:
        if len(self.asked) == self.most:
            raise KeyboardInterrupt
        self.asked.append((generation.id, [*methods]))
        columns = [generation.column(id) for id in generation.answer_ids]
        rows = np.arange(len(generation.logits) - len(columns), len(generation.logits))
        logits = generation.logits[rows, columns] + np.float32(self.off)
        return Attributed(logits, {name: self.instead.get(name, self.scores(generation, name)) for name in methods})

    def scores(self, generation, name: str) -> Scores:
        shape = generation.explained, len(generation.layout.vision)
        return Scores(np.full(shape, [*RIVALS].index(name), np.float32), None, np.ones(shape[0], bool))


@pytest.fixture
def fake(monkeypatch):
    def put(**options) -> Fake:
        computed = Fake(**options)
        monkeypatch.setattr(task, "attribute", computed)
        return computed

    return put


def run(folder: Path, methods: Sequence[str] = (ROLLOUT,), out: Path | None = None, **options):
    settings = Settings(**options)
    return write_attribution(
        folder / "0.h5", folder / "manifest.jsonl", str(folder / "checkpoint"), out or folder / "s.h5", methods,
        settings, device="cpu",
    )  # fmt: skip


def read(path: Path) -> dict[str, dict[str, Scores | str]]:
    return {sample.id: dict(sample.methods) for _, sample in read_scores(path)}


def test_the_names_of_the_rivals_are_those_that_are_computed():
    assert list(RIVALS) == list(COMPUTED)


def test_a_failed_answer_is_passed_on_and_a_method_s_failure_is_its_own(made, tmp_path, fake):
    nan = Scores(np.full((6, 6), np.nan, np.float32), None, np.ones(6, bool))
    fake(gae="out of\nmemory", occlusion=nan)
    statuses, failures = run(made, [ROLLOUT, GAE, "occlusion"], tmp_path / "s.h5")
    assert (statuses["failed"], statuses.total(), failures) == (1, 3, {GAE: 2, "occlusion": 2})
    found = read(tmp_path / "s.h5")
    assert found["c"] == {}
    for id in ("a", "b"):
        assert found[id][GAE] == "failed: out of memory"
        assert found[id]["occlusion"] == "failed: a score is NaN or infinite"
        assert (found[id][ROLLOUT].image == [*RIVALS].index(ROLLOUT)).all()


def test_a_method_that_is_added_is_computed_alone(made, tmp_path, fake):
    computed, out = fake(), tmp_path / "s.h5"
    run(made, [ROLLOUT, "attention"], out)
    run(made, ["attention", GAE], out)
    run(made, [ROLLOUT, GAE], out)
    assert computed.asked == [(id, [*m]) for m in ([ROLLOUT, "attention"], [GAE]) for id in ("a", "b")]
    assert list(read_scores_header(out).methods) == [ROLLOUT, "attention", GAE]
    assert {name: one.image[0, 0] for name, one in read(out)["b"].items()} == {ROLLOUT: 4, "attention": 3, GAE: 6}
    run(made, [ROLLOUT, GAE, "attention"], out, attention_layers=(1, 2), prompt=True)
    assert computed.asked[4:] == [(id, [GAE, "attention"]) for id in ("a", "b")], "those whose settings changed"
    assert read_scores_header(out).methods == {
        ROLLOUT: {}, "attention": {"attention_layers": [1, 2]}, GAE: {"prompt": True}
    }  # fmt: skip
    out.unlink()
    run(made, ["attention"], out, attention_layers=(1, 2))
    assert len(computed.asked) == 6 and out.exists(), "the finished shard is named again"


def test_a_shard_that_was_stopped_goes_on_after_its_samples(made, tmp_path, fake):
    computed, out = fake(most=1), tmp_path / "s.h5"
    with pytest.raises(KeyboardInterrupt):
        run(made, [ROLLOUT, GAE], out)
    assert not out.exists()
    rest = fake()
    run(made, [ROLLOUT, GAE], out)
    assert sorted(computed.asked + rest.asked) == [(id, [ROLLOUT, GAE]) for id in ("a", "b")]
    assert sorted(read(out)) == ["a", "b", "c"]


def test_a_batch_of_other_methods_in_the_journal_is_made_again():
    task_ = task.AttributionTask(None, None, [ROLLOUT, GAE], Settings())
    record = {ROLLOUT: Scores(np.ones((2, 3), np.float32), None, np.ones(2, bool)), GAE: "failed: why"}
    meta, arrays = task_.pack(record)
    found = task_.unpack(0, meta, arrays)
    assert found[GAE] == "failed: why" and (found[ROLLOUT].image == 1).all() and found[ROLLOUT].text is None
    with pytest.raises(ValueError, match="scores of other methods"):
        task.AttributionTask(None, None, [GAE], Settings()).unpack(0, meta, arrays)


def test_another_picture_or_other_logits_cost_the_sample(made, tmp_path, fake):
    shutil.copytree(made, tmp_path / "copy")
    Image.new("RGB", (112, 84)).save(tmp_path / "copy/a.png")
    fake(off=0.1)
    run(tmp_path / "copy", [ROLLOUT, GAE])
    found = read(tmp_path / "copy/s.h5")
    for name in (ROLLOUT, GAE):
        assert found["a"][name].startswith("failed: the prompt is not the one that was answered; got ")
        assert found["b"][name].startswith("failed: the model does not say what it said: the picture has changed")


def test_float16_has_no_gradients(made, tmp_path, fake, monkeypatch):
    computed = fake()
    monkeypatch.setattr(Again, "load", lambda taken: tiny.loaded("qwen2_vl", tiny.model("qwen2_vl").half()))
    run(made, [ROLLOUT, "attnlrp"], tmp_path / "s.h5")
    assert computed.asked == [("a", [ROLLOUT]), ("b", [ROLLOUT])]
    assert read(tmp_path / "s.h5")["b"]["attnlrp"].startswith("failed: gradients underflow in float16: let the model")


def test_what_cannot_be_for_any_sample_is_one_line(made, tmp_path, fake):
    computed = fake()
    with pytest.raises(InputError, match="no method that needs scores; got 'tam'; expected gradcam or"):
        run(made, ["tam"])
    with pytest.raises(InputError, match="surgery_layers: no such number of layers; got 9; expected 1 to 2"):
        run(made, ["archi-surgery"], tmp_path / "s.h5", surgery_layers=9)
    with pytest.raises(InputError, match=r"attention_layers: no such layer; got \(1, 99\); expected 1 to 2"):
        run(made, ["attention"], tmp_path / "s.h5", attention_layers=(1, 99))
    with pytest.raises(InputError, match="answer_layer: wrong depth; got 0; expected a share of the layers"):
        run(made, ["llava-cam"], tmp_path / "s.h5", answer_layer=0)
    assert not computed.asked
    other = tiny.checkpoint(tmp_path / "other", "qwen2_vl", seed=1)
    with pytest.raises(ModelError, match="not the checkpoint that answered"):
        write_attribution(
            made / "0.h5", made / "manifest.jsonl", str(other), tmp_path / "s.h5", [ROLLOUT], Settings(), device="cpu"
        )
    shutil.copytree(made, tmp_path / "layer")
    generate(
        made / "manifest.jsonl", Shard(0, 1), str(made / "checkpoint"), tmp_path / "layer/0.h5", max_new_tokens=2,
        device="cpu", layer=1,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"maps are of another layer than the last; got 1; cure: .* leave out rollout"):
        run(tmp_path / "layer")
    assert not (tmp_path / "layer/s.h5").exists()


def test_a_model_that_does_not_conserve_has_no_lrp_and_all_the_rest(made, tmp_path, fake, monkeypatch):
    """Tried on the first answer of a run, and said of every one."""
    computed, tried = fake(), []

    def refuse(loaded, question) -> None:
        tried.append(question)
        raise ModelError("LRP does not conserve the logit, because of Experts", cure="leave out cp-lrp and attnlrp")

    monkeypatch.setattr(task, "check_conservation", refuse)
    _, failures = run(made, ["cp-lrp", ROLLOUT, "attnlrp", GAE], tmp_path / "s.h5")
    assert computed.asked == [("a", [ROLLOUT, GAE]), ("b", [ROLLOUT, GAE])] and len(tried) == 1
    assert failures == {"cp-lrp": 2, "attnlrp": 2}
    assert read(tmp_path / "s.h5")["b"]["attnlrp"].startswith("failed: LRP does not conserve the logit, because of Exp")
    run(made, [ROLLOUT, GAE], tmp_path / "without.h5")
    assert len(tried) == 1


def test_one_pass_of_a_real_model_gives_all_rivals(made, tmp_path):
    _, failures = run(made, list(RIVALS), tmp_path / "s.h5", occlusion_cells=1, occlusion_step=1)
    assert not failures
    found, generations = read(tmp_path / "s.h5"), {one.id: one for one in read_generations(made / "0.h5")}
    for id in ("a", "b"):
        answer, prompt = generations[id], len(generations[id].prompt_ids)
        cam = found[id]["gradcam"]
        columns = [answer.column(cls) for cls in (*answer.prompt_ids, *answer.answer_ids)]
        logits = answer.logits[: len(answer.layout.vision), columns].T
        assert np.abs(cam.image - logits).max() < 1e-2, "at the last states Grad-CAM is CAM"
        for name, scores in found[id].items():
            assert scores.image.shape == (answer.explained, len(answer.layout.vision))
            silent = RIVALS[name].gradient or name == "occlusion"
            assert scores.explained.tolist() == [not silent] * prompt + [True] * (answer.explained - prompt), name
            assert (scores.text is None) == (name == "occlusion")
