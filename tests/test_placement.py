"""How weights are held: on which device, spread over several, in fewer bits; and what a system without a card lacks."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.integrations import accelerate

import tam
from tam.attribution.methods import Settings
from tam.attribution.stage import write_attribution
from tam.cache import read_generations, read_header
from tam.errors import InputError, ModelError
from tam.generation.again import again
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.model import placement
from tam.model.checkpoint import load
from tam.model.placement import device_of, placed
from tam.sanity.parts import parts_of
from tests import tiny

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (84, 56, 3), dtype=np.uint8))
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("tiny"))


# ---- devices


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_a_gpu_also_apples(cuda, mps, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    for name in ("auto", "auto-map"):
        assert placed(name).device == device_of("auto") == torch.device(expected)
    assert placed("auto-map").spread and not placed("auto").spread


@pytest.mark.parametrize("memory", [700_000, 200_000], ids=["memory and disk", "disk"])
def test_a_model_that_is_dealt_out_over_memory_and_disk_says_the_same(folder, memory, monkeypatch):
    plain = load(str(folder), device="cpu")
    expected = tam.explain(plain.model, plain.processor, PICTURE, "What?", max_new_tokens=8)
    monkeypatch.setattr(accelerate, "get_max_memory", lambda given=None: {"cpu": memory})
    loaded = load(str(folder), device="auto-map")
    places = {*loaded.model.hf_device_map.values()}
    assert places == ({"cpu", "disk"} if memory == 700_000 else {"disk"})
    found = tam.explain(loaded.model, loaded.processor, PICTURE, "What?", max_new_tokens=8)
    assert found.generation.tokens.tolist() == expected.generation.tokens.tolist()
    assert np.allclose(found.maps, expected.maps, atol=1e-4)


def test_weights_that_are_on_disk_are_not_drawn_anew(folder, monkeypatch):
    monkeypatch.setattr(accelerate, "get_max_memory", lambda given=None: {"cpu": 200_000})
    with pytest.raises(ModelError, match="weights cannot be drawn anew that are quantised, or not held in memory"):
        parts_of(load(str(folder), device="auto-map"))


# ---- bits


def test_what_cannot_be_loaded_in_fewer_bits_is_said_in_one_line(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="unknown load; got '3bit'; expected 8bit or 4bit"):
        placed(load="3bit")
    with pytest.raises(InputError, match="the model is loaded already; got '4bit'; cure: give its name alone"):
        tam.explain(tiny.model(), tiny.processor(), PICTURE, load="4bit")
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    for options in ({"load": "4bit"}, {"device": "auto-map"}):
        with pytest.raises(
            ModelError, match=r'is not installed, .*; cure: pip install "token-activation-maps\[quant\]"'
        ):
            load(str(folder), **{"device": "cpu"} | options)


def quantised_by(folder: Path, to: Path, **entries) -> Path:
    """A copy whose config says that its weights are quantised."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | {"quantization_config": entries}))
    return to


@pytest.mark.parametrize(
    ("package", "entries"),
    [
        ("compressed-tensors", {"quant_method": "compressed-tensors", "format": "pack-quantized"}),
        ("optimum", {"quant_method": "gptq", "bits": 4}),
        ("gptqmodel", {"quant_method": "awq", "bits": 4}),
    ],
)
def test_a_quantised_checkpoint_whose_package_is_missing_is_one_line_that_names_it(folder, tmp_path, package, entries):
    with pytest.raises(ModelError, match=f"the checkpoint needs a package that is not installed; got .*{package}") as e:
        load(str(quantised_by(folder, tmp_path / "quantised", **entries)), device="cpu")
    assert "\n" not in str(e.value)
    with pytest.raises(ModelError, match="load: the checkpoint is quantised already; got 4bit; cure: leave `load` out"):
        load(str(tmp_path / "quantised"), device="cpu", load="4bit")


@pytest.mark.parametrize(("kind", "package"), [("gemma3n", "timm"), ("smolvlm", "num2words")])
def test_a_missing_package_of_a_kind_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch, kind, package):
    tiny.checkpoint(tmp_path, kind)

    def absent(*args, **kwargs):
        raise ImportError(f"it requires\n{package}")

    monkeypatch.setattr("tam.model.checkpoint.AutoProcessor.from_pretrained", absent)
    said = f'got it requires {package}; cure: pip install "token-activation-maps[{kind}]"'
    with pytest.raises(ModelError, match=re.escape(said)):
        load(str(tmp_path), device="cpu")


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A checkpoint whose layers are as wide as 4 bits want them on a processor, and a manifest."""
    pytest.importorskip("bitsandbytes", reason="fewer bits need the extra quant")
    folder, made = tmp_path_factory.mktemp("wide"), tiny.model()
    made.config.text_config.intermediate_size, made.config.vision_config.embed_dim = 128, 64
    torch.manual_seed(0)
    transformers.Qwen2VLForConditionalGeneration(made.config).save_pretrained(folder / "stored")
    made.generation_config.save_pretrained(folder / "stored")
    tiny.processor().save_pretrained(folder / "stored")
    PICTURE.save(folder / "a.png")
    write([Sample("a", ["a.png"], "a cat")], folder / "manifest.jsonl")
    return folder


@pytest.mark.parametrize(("bits", "layer", "alike"), [("8bit", "Linear8bitLt", 0.98), ("4bit", "Linear4bit", 0.7)])
def test_a_cache_says_in_how_many_bits_it_was_made_and_is_taken_up_again_in_them(wide, bits, layer, alike):
    """What is cached is near to what the stored weights say, of a prompt that is the same."""
    made = {}
    for load_as in (None, bits):
        out = wide / f"{load_as}.h5"
        counts = generate(
            wide / "manifest.jsonl",
            Shard(0, 1),
            str(wide / "stored"),
            out,
            max_new_tokens=3,
            device="cpu",
            load=load_as,
        )
        (made[load_as],) = read_generations(out)
        assert counts.total() == 1 and not made[load_as].failed
    plain, quantised = (read_header(wide / f"{load_as}.h5") for load_as in (None, bits))
    assert quantised["run"]["load"] == bits and "load" not in plain["run"]
    assert quantised["fingerprint"] != plain["fingerprint"] and quantised["run"]["weights"] == plain["run"]["weights"]
    seen = [one.logits[: len(one.layout.vision), [one.column(id) for id in plain_ids]] for one in made.values()
            for plain_ids in [made[None].prompt_ids]]  # fmt: skip
    assert np.corrcoef(*map(np.ravel, seen))[0, 1] > alike

    found = again(wide / f"{bits}.h5", wide / "manifest.jsonl", str(wide / "stored"), device="cpu")
    assert {layer} <= {type(module).__name__ for module in found.load().model.modules()}
    files = wide / f"{bits}.h5", wide / "manifest.jsonl"
    statuses, failures = write_attribution(
        *files, str(wide / "stored"), wide / f"scores-{bits}.h5", ["gradcam", "attention"], Settings(), device="cpu"
    )
    assert statuses.total() == 1 and not failures


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_checkpoint_that_was_saved_quantised_says_what_it_said_before(wide, tmp_path, bits):
    expected = load(str(wide / "stored"), device="cpu", load=bits)
    expected.model.save_pretrained(tmp_path)
    expected.processor.save_pretrained(tmp_path)
    saved = load(str(tmp_path), device="cpu")
    assert saved.quantised and not load(str(wide / "stored"), device="cpu").quantised
    with pytest.raises(ModelError, match="weights cannot be drawn anew that are quantised"):
        parts_of(saved)
    said = [tam.explain(one.model, one.processor, PICTURE, "What?", max_new_tokens=8) for one in (expected, saved)]
    assert said[0].generation.tokens.tolist() == said[1].generation.tokens.tolist()


def test_layers_that_are_too_narrow_for_four_bits_on_a_processor_are_named(folder):
    pytest.importorskip("bitsandbytes", reason="fewer bits need the extra quant")
    with pytest.raises(
        ModelError, match=r"blocks.0.attn.qkv: bitsandbytes cannot compute .*; got 32 inputs; expected a"
    ):
        load(str(folder), device="cpu", load="4bit")


# ---- without a card


def test_nothing_is_imported_or_called_that_other_systems_lack(folder, tmp_path):
    """macOS has no ``sched_getaffinity``, Windows no ``fcntl``; every module is imported, and a picture explained."""
    code = (
        "import importlib, os, pkgutil, sys; sys.modules['fcntl'] = None; del os.sched_getaffinity; import tam;"
        "found = [one.name for one in pkgutil.walk_packages(tam.__path__, 'tam.') if one.name != 'tam.__main__'];"
        "[importlib.import_module(name) for name in found];"
        "import torch; from tam.shard.prefetch import workers_for; assert workers_for(torch.device('mps')) >= 1;"
        "from tam.cli import main; main()"
    )
    PICTURE.save(tmp_path / "a.png")
    command = [sys.executable, "-c", code, "explain", tmp_path / "a.png", "--model", folder, "--device", "cpu"]
    command += ["--max-new-tokens", "3", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/a/index.html").is_file()
