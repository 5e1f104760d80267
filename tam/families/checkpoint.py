"""Checkpoints: where their files are, what tells two of them apart, and how to load one."""

import hashlib
import json
from pathlib import Path

import torch
from huggingface_hub import get_session, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from tam.errors import InputError, ModelError
from tam.families import family_of, generic, unsupported

WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
PATIENCE = 60.0  # seconds without an answer of the hub


def locate(model: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint: ``model`` itself, or where the hub's files are after downloading what is missing.

    Raises:
        ModelError: neither a folder nor a model of the hub, or one without safetensors weights.
    """
    folder = Path(model)
    if not folder.is_dir():
        if _be_patient not in (hooks := get_session().event_hooks["request"]):
            hooks.append(_be_patient)
        try:
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=WANTED_FILES))
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise ModelError(
                "no such model", got=repr(model), expected="a folder, or the name of a model on the Hugging Face hub",
                cure=f"check the name and the network ({' '.join(str(error).split())})",
            ) from error  # fmt: skip
    elif revision is not None:
        raise ModelError("a folder has no revision", where=model, got=repr(revision), cure="leave the revision out")
    if not any(folder.glob("*.safetensors")):
        pickles = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "none"
        raise ModelError(
            "no safetensors weights", where=folder, got=f"pickle weights: {pickles}",
            cure="pickles can run any code and are refused; convert them with save_pretrained",
        )  # fmt: skip
    return folder


def _be_patient(request) -> None:
    """The hub's client waits for ever for some of its answers; not so here."""
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {name: PATIENCE if limit is None else limit for name, limit in limits.items()}


def load(model: str, revision: str | None = None, device: str = "auto", dtype: str = "auto"):
    """Load a checkpoint once: (model, processor, family).

    Args:
        model: a folder, or the name of a model on the hub, taken at ``revision``.
        device: as torch names it; "auto" is a GPU if there is one.
        dtype: as torch names it; "auto" is what the checkpoint was saved in (float32 on a CPU instead of float16).

    Raises:
        ModelError: no such model, an unsupported family, weights that are not safetensors.
    """
    return load_from(locate(model, revision), device_of(device), dtype)


def load_from(folder: Path, device: torch.device, dtype: str):
    """``load`` for a checkpoint that was located."""
    config = config_of(folder)
    family = family_of(config)
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype_of(config, device, dtype), use_safetensors=True, trust_remote_code=False
        )
    except (ImportError, OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError("the checkpoint cannot be loaded", where=folder, got=error) from error
    model = model.to(device).eval()
    if family is generic.FAMILY:
        generic.believe(model, processor, family)
    return model, processor, family


def config_of(folder: Path):
    """A checkpoint's config; ModelError if it has none, or is of a kind that transformers does not know."""
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:  # a model_type that transformers does not know either
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        raise unsupported(found) from error
    except OSError as error:
        raise ModelError("no config", where=folder, got=error) from error


def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU if there is one."""
    try:
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise InputError("unknown device", got=repr(name), expected="auto, cpu, cuda or cuda:1") from error


def dtype_of(config, device: torch.device, name: str) -> torch.dtype:
    """The dtype of a name; "auto" as in ``load``."""
    if name != "auto":
        found = getattr(torch, name, None)
        if not (isinstance(found, torch.dtype) and found.is_floating_point and found.itemsize in (2, 4)):
            raise InputError("unknown dtype", got=repr(name), expected="auto, float32, bfloat16 or float16")
        return found
    saved = config.dtype or getattr(config.get_text_config(), "dtype", None) or torch.float32
    # A CPU computes float16 slowly and overflows in it; every float16 number is a float32 number.
    return torch.float32 if saved == torch.float16 and device.type == "cpu" else saved


def fingerprint_of_model(folder: Path) -> str:
    """Of all the files that loading reads: config, processor, tokenizer, chat template and weights."""
    files = sorted({path for pattern in WANTED_FILES for path in folder.glob(pattern)})
    content = [[path.name, fingerprint_of_file(path)] for path in files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def fingerprint_of_file(path: Path, block: int = 2**20, blocks: int = 64) -> str:
    """Size and SHA-256: of all of a file up to 64 MB, of 64 evenly spaced blocks of a larger one."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for index in range(blocks):
            if size > block * blocks:
                file.seek((size - block) * index // (blocks - 1))
            digest.update(file.read(block))
    return digest.hexdigest()
