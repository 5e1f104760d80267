"""How a checkpoint's weights are held: on which device, in which dtype, in how many bits."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from tam.errors import InputError, ModelError

AUTO_MAP = "auto-map"
LOADS = ("8bit", "4bit")
BLOCK = 64  # numbers that share a scale in 4 bits


@dataclass(frozen=True)
class Placement:
    """Where and how.

    Attributes:
        device: of the inputs.
        dtype: as torch names it; "auto" is what the checkpoint was saved in (float32 on a CPU instead of float16).
        load: "8bit" (LLM.int8) or "4bit" (NF4 of QLoRA), which bitsandbytes makes of the weights; None: as stored.
        spread: over all GPUs, then the host's memory, then the disk, as accelerate deals layers out.
    """

    device: torch.device
    dtype: str = "auto"
    load: str | None = None
    spread: bool = False

    def options(self, config: Any) -> dict[str, Any]:
        """For ``from_pretrained`` of a checkpoint with this config.

        Raises:
            InputError: an unknown dtype. ModelError: a package is missing, or the checkpoint is quantised already.
        """
        dtype = dtype_of(config, self.device, self.dtype)
        made: dict[str, Any] = {"dtype": dtype}
        stored = getattr(config, "quantization_config", None)
        if self.load is not None:
            if stored is not None:
                raise ModelError(
                    "the checkpoint is quantised already", where="load", got=self.load, cure="leave `load` out"
                )
            _need("bitsandbytes", f"to load in {self.load}")
            made["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=self.load == "8bit", load_in_4bit=self.load == "4bit", bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=dtype,
            )  # fmt: skip
        if self.spread:
            made["device_map"] = "auto"
        elif self.load is not None or stored is not None:
            made["device_map"] = {"": self.device}  # what is quantised cannot be moved afterwards
        if self.load is not None or stored is not None:  # it warns at every product of every layer
            logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        if "device_map" in made:
            _need("accelerate", "to spread or quantise weights")
        return made

    def open(self) -> None:
        """Make a GPU that is named the current one: whatever pins memory would open the first one, too."""
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)


def check_widths(model: torch.nn.Module) -> None:
    """Raises:
    ModelError: layers in 4 bits that bitsandbytes has no product for on a processor.
    """
    for name, layer in model.named_modules():
        if type(layer).__name__ == "Linear4bit" and layer.weight.device.type == "cpu" and layer.in_features % BLOCK:
            raise ModelError(
                "bitsandbytes cannot compute with this layer in 4 bits on a processor", where=name,
                got=f"{layer.in_features} inputs", expected=f"a multiple of {BLOCK}", cure="load: 8bit, or a GPU",
            )  # fmt: skip


def placed(device: str = "auto", dtype: str = "auto", load: str | None = None) -> Placement:
    """A placement in words, as options and config have them.

    Raises:
        InputError: no such device, or number of bits.
    """
    if load not in (None, *LOADS):
        raise InputError("unknown load", got=repr(load), expected=" or ".join(LOADS))
    spread = device == AUTO_MAP
    return Placement(device_of("auto" if spread else device), dtype, load, spread)


def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU if there is one, also Apple's. InputError: no such device."""
    try:
        device = torch.device(_best() if name == "auto" else name)
    except RuntimeError as error:
        raise InputError(
            "unknown device", got=repr(name), expected=f"auto, cpu, cuda, cuda:1, mps or {AUTO_MAP}"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise InputError("no such GPU here", got=repr(name), expected=f"one of {count}", cure="say auto, or cpu")
    return device


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_of(config: Any, device: torch.device, name: str) -> torch.dtype:
    """The dtype of a name; "auto" as in ``Placement``."""
    if name != "auto":
        found = getattr(torch, name, None)
        if not (isinstance(found, torch.dtype) and found.is_floating_point and found.itemsize in (2, 4)):
            raise InputError("unknown dtype", got=repr(name), expected="auto, float32, bfloat16 or float16")
        return found
    saved = config.dtype or getattr(config.get_text_config(), "dtype", None) or torch.float32
    # A CPU computes float16 slowly and overflows in it; every float16 number is a float32 number.
    return torch.float32 if saved == torch.float16 and device.type == "cpu" else saved


def _need(package: str, why: str) -> None:
    if find_spec(package) is None:
        raise ModelError(
            f"{package} is not installed, which it takes {why}", cure='pip install "token-activation-maps[quant]"'
        )
