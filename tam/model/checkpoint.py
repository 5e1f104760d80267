"""Checkpoints: where their files are, what tells two of them apart, and how to load one.

Weights are read from safetensors alone: a pickle can run any code. Code that comes with a checkpoint runs only where
``trust_remote_code`` says so.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from httpx2 import InvalidURL
from huggingface_hub import get_session, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, StrictDataclassError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText, AutoProcessor

from tam.errors import ModelError
from tam.families import family_of, unsupported
from tam.model.generation_config import honoured
from tam.model.loaded import Loaded
from tam.model.placement import Placement, check_widths, placed
from tam.model.probe import believe

WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.ttf"]  # ERNIE's processor draws text
ADAPTER = "adapter_config.json"
POINTER = b"version https://git-lfs"
CODE_FILES = ["*.py"]  # wanted only where the checkpoint's code is trusted

LOADED_AS = "AutoModelForImageTextToText"  # the class that a checkpoint's own code must offer

# Kinds that only their checkpoints' own code knows -> which checkpoint of the same model, or a later one, needs none.
WITHOUT_CODE = {
    "internvl_chat": "one whose name ends in -hf, such as OpenGVLab/InternVL3-1B-hf",
    "llava_llama": "one of llava-hf, such as llava-hf/llava-1.5-7b-hf",
    "llava_mistral": "one of llava-hf, such as llava-hf/llava-v1.6-mistral-7b-hf",
    "llava_qwen": "one of llava-hf, such as llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "minicpmv": "a later one, such as openbmb/MiniCPM-V-4.6",
    "molmo": "a later one, such as allenai/Molmo2-8B",
    "videollama3_qwen2": "one whose name ends in -HF, such as lkhl/VideoLLaMA3-2B-Image-HF",
}

# What transformers raises when a checkpoint's files are not what they should be.
LOAD_ERRORS = (
    ImportError, OSError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, SafetensorError,
    StrictDataclassError,
)  # fmt: skip
PROXY_ERRORS = (ImportError, InvalidURL)  # a SOCKS proxy without its package, an address of a proxy that is none
PATIENCE = 60.0  # seconds without an answer of the hub


@dataclass(frozen=True)
class Checkpoint:
    """The folder of a model, and that of an adapter on top of it, which may be the same."""

    folder: Path
    adapter: Path | None = None

    @property
    def asked(self) -> Path:
        """The folder that was asked for."""
        return self.adapter or self.folder


def locate(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Checkpoint:
    """A checkpoint: ``model`` itself, or where the hub's files are after downloading what is missing.

    A folder that holds an adapter alone stands on the model that its config names.

    Raises:
        ModelError: neither a folder nor a model of the hub, or one without safetensors weights; an adapter without
            PEFT, or without its model.
    """
    folder = _fetched(model, revision, trust_remote_code)
    _check_pointers(folder)
    if not (folder / ADAPTER).is_file():
        _check_weights(folder)
        return Checkpoint(folder)
    if find_spec("peft") is None:
        raise ModelError(
            "the checkpoint holds an adapter", where=folder / ADAPTER,
            cure='install PEFT (pip install "token-activation-maps[peft]"), or merge the adapter (merge_and_unload) and'
            " save the model",
        )  # fmt: skip
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError("the adapter has no safetensors weights", where=folder, expected="adapter_model.safetensors")
    if any(not path.name.startswith("adapter_") for path in folder.glob("*.safetensors")):
        _check_weights(folder)
        return Checkpoint(folder, folder)
    try:
        base = _fetched(*_base(folder), trust_remote_code)
        _check_pointers(base)
        _check_weights(base)
        if (base / ADAPTER).is_file():
            raise ModelError("it holds an adapter itself", where=base, cure="merge that one (merge_and_unload) first")
    except ModelError as error:
        raise ModelError("the model below an adapter cannot be used", where=folder / ADAPTER, got=error) from error
    return Checkpoint(base, folder)


def _base(folder: Path) -> tuple[str, str | None]:
    """The model that an adapter is for, and its revision."""
    try:
        found = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
        base, revision = found.get("base_model_name_or_path"), found.get("revision")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError("a broken config of an adapter", got=error) from error
    if not isinstance(base, str) or not base:
        raise ModelError("no base_model_name_or_path", got=base, expected="a folder, or a name on the hub")
    return base, None if Path(base).is_dir() else revision


def _fetched(model: str, revision: str | None, trust_remote_code: bool) -> Path:
    """``model`` as a folder, or the folder of the hub's files."""
    folder = Path(model)
    if not folder.is_dir():
        try:
            if _be_patient not in (hooks := get_session().event_hooks["request"]):
                hooks.append(_be_patient)
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=_wanted(trust_remote_code)))
        except (OSError, ValueError, HfHubHTTPError, *PROXY_ERRORS) as error:
            raise ModelError(
                "no such model", got=repr(model), expected="a folder, or the name of a model on the Hugging Face hub",
                cure=f"check the name and the network ({' '.join(str(error).split())})",
            ) from error  # fmt: skip
    elif revision is not None:
        raise ModelError("a folder has no revision", where=model, got=repr(revision), cure="leave the revision out")
    return folder


def _check_weights(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        pickles = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "none"
        raise ModelError(
            "no safetensors weights", where=folder, got=f"pickle weights: {pickles}",
            cure="pickles can run any code and are refused; convert them with save_pretrained",
        )  # fmt: skip
    _check_index(folder)


def _check_pointers(folder: Path) -> None:
    """Git leaves a few lines in place of a large file that was not fetched."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise ModelError("a Git LFS pointer in place of the file", where=path, cure="run git lfs pull there")


def _wanted(trust_remote_code: bool) -> list[str]:
    return WANTED_FILES + CODE_FILES * trust_remote_code


def _check_index(folder: Path) -> None:
    """An index names the files of split weights; what it names must be safetensors of the same folder."""
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    try:
        named = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        wrong = sorted(name for name in named if Path(name).name != name or not name.endswith(".safetensors"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError("a broken index of weights", where=path, got=error) from error
    if wrong:
        raise ModelError("no safetensors weights", where=path, got=wrong[0], expected="a file of the checkpoint")


def _be_patient(request: Any) -> None:
    """The hub's client waits for ever for some of its answers; not so here."""
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {name: PATIENCE if limit is None else limit for name, limit in limits.items()}


def load(
    model: str,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    load: str | None = None,
) -> Loaded:
    """Load a checkpoint once.

    Args:
        model: a folder, or the name of a model on the hub, taken at ``revision``.
        device: as torch names it; "auto" is a GPU if there is one; "auto-map" as many devices as it takes.
        dtype, load: as those of ``Placement``.
        trust_remote_code: run the Python files that come with the checkpoint.

    Raises:
        InputError: no such device, dtype or number of bits.
        ModelError: no such model, an unsupported family, weights that are not safetensors, a broken generation config,
            a package that is missing.
    """
    placement = placed(device, dtype, load)
    return load_from(locate(model, revision, trust_remote_code), placement, trust_remote_code)


def load_from(checkpoint: Checkpoint, placement: Placement, trust_remote_code: bool = False) -> Loaded:
    """``load`` for a checkpoint that was located."""
    folder, adapter = checkpoint.folder, checkpoint.adapter
    config = config_of(folder, trust_remote_code)
    options = placement.options(config)
    placement.open()
    family = family_of(config)
    try:
        own = adapter is not None and any(adapter.glob("*processor_config.json"))
        processor = AutoProcessor.from_pretrained(adapter if own else folder, trust_remote_code=trust_remote_code)
        found: Any = AutoModelForImageTextToText.from_pretrained(
            folder, **options, use_safetensors=True, output_loading_info=True, trust_remote_code=trust_remote_code,
            adapter_kwargs={"subfolder": "none"},  # which is loaded below
            ignore_mismatched_sizes=True,  # they are named here
        )  # fmt: skip
        model, report = found
        _check_sizes(report["mismatched_keys"], folder)
        absent, foreign = set(report["missing_keys"]), set()
        if adapter is not None:
            fitted = model.load_adapter(str(adapter))
            absent, foreign = absent | set(fitted.missing_keys), set(fitted.unexpected_keys)
        model = (model if "device_map" in options else model.to(placement.device)).eval()
    except ImportError as error:
        raise ModelError(
            "the checkpoint needs a package that is not installed", where=folder, got=" ".join(str(error).split()),
            cure=f'pip install "token-activation-maps[{family.extra}]"' if family.extra else "install it",
        ) from error  # fmt: skip
    except LOAD_ERRORS as error:
        raise ModelError("the checkpoint cannot be loaded", where=folder, got=error) from error
    _check_patches(config, processor, folder)
    if not processor.tokenizer.encode("a", add_special_tokens=False):  # transformers makes an empty one
        raise ModelError("no tokenizer", where=folder, expected="tokenizer.json, or what it is made of")
    if absent:  # transformers would fill them with random numbers
        got = f"none for {len(absent)}: {', '.join(sorted(absent)[:3])}"
        raise ModelError("weights are missing", where=checkpoint.asked, got=got)
    if foreign:
        raise ModelError(
            "the adapter's weights do not fit the model below it", where=adapter,
            got=f"{len(foreign)} without a layer: {', '.join(sorted(foreign)[:3])}",
            cure="take the model that the adapter was trained on, as transformers has it",
        )  # fmt: skip
    check_widths(model)
    honoured(model.generation_config, config.get_text_config().vocab_size, family.vision_ids(config))
    loaded = Loaded(model, processor, family)
    believe(loaded)
    return loaded


def _check_sizes(mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]], folder: Path) -> None:
    """``mismatched``: name, size as stored, size by the config."""
    if mismatched:
        name, stored, wanted = min(mismatched)
        raise ModelError(
            "weights have other sizes than the config says", where=folder, got=f"{[*stored]} for {name}",
            expected=f"{[*wanted]}, and so for {len(mismatched)} in all", cure="take the config.json of these weights",
        )  # fmt: skip


def _check_patches(config: Any, processor: Any, folder: Path) -> None:
    """The processor cuts patches as large as the model takes them, where both say how large that is."""
    wanted = getattr(getattr(config, "vision_config", None), "patch_size", None)
    for part in (processor, getattr(processor, "image_processor", None), getattr(processor, "video_processor", None)):
        found = getattr(part, "patch_size", None)
        if isinstance(found, int) and isinstance(wanted, int) and found != wanted:
            raise ModelError(
                "the processor's patches are not the model's", where=folder,
                got=f"{found} pixels ({type(part).__name__})", expected=f"{wanted} pixels (config.json)",
                cure="processor_config.json is read instead of preprocessor_config.json, which says more: remove it"
                if (folder / "preprocessor_config.json").is_file() and (folder / "processor_config.json").is_file()
                else "take the processor's files of the model's own checkpoint",
            )  # fmt: skip


def config_of(folder: Path, trust_remote_code: bool = False) -> Any:
    """A checkpoint's config; ModelError if it has none, a broken one, one of a kind that transformers does not know, or
    one that wants to run code which is not trusted."""
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kind, code = found.get("model_type"), found.get("auto_map")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError("no config, or a broken one", where=path, got=error) from error
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except LOAD_ERRORS as error:
        if code and not trust_remote_code:
            raise _own_code(folder, kind, code) from error
        if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
            raise unsupported(kind) from error
        raise ModelError("a broken config", where=path, got=error) from error


def _own_code(folder: Path, kind: object, code: object) -> ModelError:
    """Of a kind that only the checkpoint's own code knows: whether trusting it would help, or what to take instead."""
    if kind in WITHOUT_CODE:
        cure = f"take a checkpoint that needs no code of its own: {WITHOUT_CODE[str(kind)]}"
        return ModelError("only the checkpoint's own code knows this kind of model", where=folder, got=kind, cure=cure)
    if not (isinstance(code, dict) and LOADED_AS in code):
        return ModelError(
            "the checkpoint's own code could not be used if it were trusted", where=folder, got=f"{kind}: {code}",
            expected=f"code for {LOADED_AS}", cure="take a checkpoint that was converted for transformers",
        )  # fmt: skip
    return ModelError(
        "the checkpoint wants to run its own code", where=folder, got=code,
        cure="read that code; if you trust it, say trust_remote_code: true for this model in the config",
    )  # fmt: skip


def fingerprint_of_model(checkpoint: Checkpoint, trust_remote_code: bool = False) -> str:
    """Of all the files that loading reads: config, processor, tokenizer, chat template, weights and trusted code."""
    folders = sorted({checkpoint.folder, checkpoint.asked})
    patterns = _wanted(trust_remote_code)
    files = sorted({path for folder in folders for pattern in patterns for path in folder.glob(pattern)})
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
