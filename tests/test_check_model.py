"""`tam check MODEL`: what is read rightly passes, and a family that is wrong does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tam.check import model as check
from tam.check.asked import INPUTS
from tam.check.checks import same
from tam.cli import workflow
from tam.embedded import CHECKPOINT
from tam.errors import InputError, ModelError
from tam.families import FAMILIES
from tam.model.checkpoint import load
from tam.records import Candidates
from tests import tiny


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(check, "SCALE", 1)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return str(tiny.checkpoint(tmp_path_factory.mktemp("llava"), "llava"))


def checked(model: str, capsys) -> list[str]:
    workflow.check(model, device="cpu")
    return capsys.readouterr().out.splitlines()


def test_the_embedded_model_is_read_rightly_and_says_its_row(capsys):
    said = checked(str(CHECKPOINT), capsys)
    assert said[-3:-1] == [check.HEAD, check.RULE]
    assert said[-1] == "| qwen2_vl | `Qwen2VLForConditionalGeneration` | yes | yes | yes | yes |"


def test_a_checkpoint_on_disk_is_checked_and_what_it_does_not_take_is_no_fault(llava, capsys):
    said = checked(llava, capsys)
    assert said[-1] == "| llava | `LlavaForConditionalGeneration` | yes | yes | no | yes |"
    assert any(line.startswith("ok    video: refused: the model takes no video") for line in said)


def test_a_model_is_checked_in_the_bits_it_is_loaded_in(monkeypatch, capsys):
    pytest.importorskip("bitsandbytes", reason="fewer bits need the extra quant")
    seen, check_model = [], check.check_model
    monkeypatch.setattr(check, "inputs", lambda scale=1: {"one image": INPUTS["one image"]})
    monkeypatch.setattr(check, "check_model", lambda loaded: seen.append(loaded) or check_model(loaded))
    workflow.check(str(CHECKPOINT), device="cpu", load="8bit")
    assert seen[0].quantised and "ForConditionalGeneration` | yes |" in capsys.readouterr().out


def uncropped(grid, size):
    return replace(grid, box=(0.0, 0.0, *map(float, size)))


def transposed(grid, size):
    return replace(grid, rows=grid.columns, columns=grid.rows)


@pytest.mark.parametrize(("kind", "wrong"), [("llava", uncropped), ("qwen2_vl", transposed)])
def test_a_family_whose_grids_lie_elsewhere_fails(kind, wrong, llava, monkeypatch, capsys):
    family = FAMILIES[kind]

    def blocks(sample):
        for block in family.blocks(sample):
            yield replace(block, grid=wrong(block.grid, sample.media.sizes[block.grid.medium]))

    monkeypatch.setitem(FAMILIES, kind, replace(family, blocks=blocks))
    with pytest.raises(InputError, match="not read rightly; got one image"):
        workflow.check(llava if kind == "llava" else str(CHECKPOINT), device="cpu")
    said = capsys.readouterr().out
    assert "FAIL  one image: painting moves the right token: does not hold" in said and "| FAILS |" in said


def test_a_model_that_heeds_its_padding_fails():
    """What is at the end of a sample's attention is seen, whoever it belongs to."""
    loaded = load(str(CHECKPOINT), device="cpu")
    forward = loaded.model.forward

    def blind(*positional, **named):
        if named.get("attention_mask") is not None:
            named["attention_mask"] = torch.ones_like(named["attention_mask"])
        return forward(*positional, **named)

    loaded.model.forward = blind
    said = [finding for finding in check.check_model(loaded) if not finding.good]
    assert any("batch is one by one: does not hold" in finding.said for finding in said)


def test_two_tokens_that_are_as_likely_may_be_exchanged_but_no_others():
    made = next(iter(check.inputs(1).values()))
    one = check.Asked(tiny.loaded(), made, 1e-4).alone[0]
    ids = one.answer_ids.copy()
    ids[2] += 1
    other = replace(one, tokens=np.concatenate([one.tokens[: one.layout.answer], ids]))
    with pytest.raises(ModelError, match="another answer"):
        same(other, one, 1e-4)
    logits = one.candidates.logits.copy()
    logits[-len(ids) + 2, :2] = logits[-len(ids) + 2, 0]
    same(other, replace(one, candidates=Candidates(one.candidates.ids, logits, one.candidates.logsumexp)), 1e-4)


def test_a_model_or_a_config_is_checked_and_not_both(tmp_path):
    for model, config in ((None, None), ("embedded", tmp_path / "c.yaml")):
        with pytest.raises(InputError, match="one thing is checked"):
            workflow.check(model, config)
