"""A folder with an adapter in it: the adapter is used, or it is said why not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name: name.replace("language_model", "text_model"), "weights are missing; got none for 8"),
        (lambda name: name.replace("layers.1.", "layers.7."), "weights are missing; got none for 4"),
        (None, "do not fit the model below it; got 8 without a layer: .*layers.7"),
    ],
    ids=["none fits", "some do not", "too many"],
)
def test_an_adapter_whose_weights_fit_nothing_is_not_the_model_without_it(adapter, change, said):
    pytest.importorskip("peft", reason="adapters need the extra peft")
    weights = load_file(adapter / "adapter_model.safetensors")
    if change is None:
        weights |= {
            name.replace("layers.1.", f"layers.{n}."): its.clone()
            for n in (7, 8)
            for name, its in weights.items()
            if "layers.1." in name
        }
    else:
        weights = {change(name): its for name, its in weights.items()}
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=said):
        load(str(adapter), device="cpu")


def test_weights_that_the_model_below_lacks_are_told_with_an_adapter_beside_it_too(base, tmp_path):
    pytest.importorskip("peft", reason="adapters need the extra peft")
    folder = add_adapter(shutil.copytree(base, tmp_path / "both"), str(base))
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "layers.1" in name and "mlp" in name))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing; got none for 1: .*mlp"):
        load(str(folder), device="cpu")


def test_an_adapter_on_a_model_that_holds_one_itself_is_one_line(base, tmp_path, peft_is_there):
    below = add_adapter(shutil.copytree(base, tmp_path / "both"), str(base))
    with pytest.raises(ModelError, match=r"cannot be used; got .*both: it holds an adapter itself"):
        locate(str(add_adapter(tmp_path / "adapter", str(below))))


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
    with pytest.raises(ModelError, match=r"adapter_config.json: the model below an adapter cannot be used") as found:
        locate(str(folder))
    assert "\n" not in str(found.value)


def test_pickle_weights_of_an_adapter_are_refused(base, tmp_path, peft_is_there):
    folder = add_adapter(tmp_path / "adapter", str(base))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="the adapter has no safetensors weights"):
        locate(str(folder))
