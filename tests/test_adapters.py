"""A folder with an adapter in it: the adapter is used, or it is said why not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tam
from tam.errors import ModelError
from tam.model import checkpoint as checkpoints
from tam.model.checkpoint import fingerprint_of_model, load, locate
from tests import tiny

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (84, 56, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("base"))


def add_adapter(folder: Path, base: object) -> Path:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    weights = {}
    for layer in range(2):
        for name, rows in (("q_proj", 64), ("v_proj", 32)):
            at = f"base_model.model.model.language_model.layers.{layer}.self_attn.{name}."
            weights |= {at + "lora_A.weight": torch.randn(4, 64), at + "lora_B.weight": torch.randn(rows, 4)}
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 4, "lora_alpha": 8,
              "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(params=["beside its model", "alone"])
def adapter(request, base, tmp_path) -> Path:
    if request.param == "alone":
        return add_adapter(tmp_path / "adapter", str(base))
    return add_adapter(shutil.copytree(base, tmp_path / "both"), str(base))


@pytest.fixture
def peft_is_there(monkeypatch):
    """As far as finding the files goes."""
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: name)


def test_an_adapter_without_peft_is_named_with_the_cure(adapter, monkeypatch):
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
    said = r"adapter_config.json: the checkpoint holds an adapter; cure: install PEFT .*or merge the adapter"
    with pytest.raises(ModelError, match=said):
        locate(str(adapter))


def test_an_adapter_is_used(adapter, base):
    pytest.importorskip("peft", reason="adapters need the extra peft")
    said = []
    for folder in (base, adapter):
        loaded = load(str(folder), device="cpu")
        said.append(tam.explain(loaded.model, loaded.processor, PICTURE, "A cat.", answer="a cat sits").generation)
    assert said[0].tokens.tolist() == said[1].tokens.tolist()
    assert np.abs(said[0].logits - said[1].logits).max() > 0.1


def test_an_adapter_stands_on_its_own_folders_model_or_on_the_one_that_it_names(adapter, base, peft_is_there):
    found = locate(str(adapter))
    assert found.adapter == found.asked == adapter
    assert found.folder == (base if adapter.name == "adapter" else adapter)


def test_another_adapter_is_another_model(base, tmp_path, peft_is_there):
    folder = add_adapter(tmp_path / "adapter", str(base))
    before = fingerprint_of_model(locate(str(folder)))
    assert before != fingerprint_of_model(locate(str(base)))
    save_file({"a": torch.zeros(1)}, folder / "adapter_model.safetensors")
    assert fingerprint_of_model(locate(str(folder))) != before


@pytest.mark.parametrize("name", ["/nowhere/at/all", None, 7, ""])
def test_a_model_below_an_adapter_that_is_not_there_is_one_line(tmp_path, peft_is_there, name):
    folder = add_adapter(tmp_path / "adapter", name)
    with pytest.raises(ModelError, match=r"adapter_config.json: the model below an adapter cannot be found") as found:
        locate(str(folder))
    assert "\n" not in str(found.value)


def test_pickle_weights_of_an_adapter_are_refused(base, tmp_path, peft_is_there):
    folder = add_adapter(tmp_path / "adapter", str(base))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="the adapter has no safetensors weights"):
        locate(str(folder))
