"""A model that was loaded, with its processor and its family: what everybody asks of it, in one place."""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tam.errors import InputError, ModelError
from tam.families import family_of
from tam.families.interface import Family
from tam.model.collate import collate
from tam.model.generation_config import honoured
from tam.model.prompt import Prepared, Prompter


@dataclass(frozen=True)
class Loaded:
    """A model of transformers, unwrapped, the processor of its checkpoint, and the family that both belong to."""

    model: Any
    processor: Any
    family: Family
    max_pixels: int | None = None
    template: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls, model: Any, processor: Any, max_pixels: int | None = None, template: Mapping[str, Any] | None = None
    ) -> "Loaded":
        """What a person has loaded; the model may be compiled, or hold the adapters of PEFT.

        Raises:
            ModelError: of an unsupported kind, wrapped so that the wrapper has a part in the answer, or no processor.
        """
        model = unwrapped(model)
        family = family_of(model.config)
        if not hasattr(processor, "tokenizer"):
            raise ModelError(
                "not a processor of pictures and text",
                got=type(processor).__name__,
                expected="what AutoProcessor gives",
            )
        return cls(model, processor, family, max_pixels, template)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def prompter(self) -> Prompter:
        """What makes prompts; it does not hold the weights."""
        return Prompter(self.family, self.config, self.processor, self.max_pixels, self.template)

    @property
    def head(self) -> Any:
        """The output embedding: last normalised states -> logits."""
        return self.model.get_output_embeddings()

    @property
    def decoder(self) -> Any:
        """The language model without its head."""
        found = self.model.get_decoder()
        return getattr(found, "model", found)  # Llama 4's has a head

    @property
    def norm(self) -> Any:
        """The decoder's last norm, which the head reads; None if none is known."""
        return getattr(self.decoder, "norm", getattr(self.decoder, "embedding_norm", None))  # LFM2's

    @property
    def base(self) -> Any:
        """All but the head; where a model's own parts lie beside its head (Llama 4), the language model."""
        base = self.model.base_model
        return self.decoder if base is self.model else base

    @property
    def device(self) -> torch.device:
        """Where the token ids go: the input embedding's, also one that accelerate moves there when it is called."""
        embedding = self.model.get_input_embeddings()
        moved = getattr(getattr(embedding, "_hf_hook", None), "execution_device", None)
        return embedding.weight.device if moved is None else torch.device(moved)

    @property
    def quantised(self) -> bool:
        """Whether weights are held in fewer bits than they were trained in."""
        return getattr(self.config, "quantization_config", None) is not None

    @property
    def ends(self) -> np.ndarray:
        """int64 [end], the ids that end an answer."""
        ids = self.honoured["eos_token_id"]
        return np.atleast_1d(np.array([] if ids is None else ids, np.int64))

    @property
    def honoured(self) -> dict[str, Any]:
        """What holds of the generation config. Raises: ModelError, a broken entry."""
        return honoured(self.model.generation_config, self.config.get_text_config().vocab_size, self.vision_ids)

    @property
    def padding(self) -> int:
        """The id that fills up a batch; nothing attends to it, but it must have a row."""
        id = self.tokenizer.pad_token_id or 0
        return id if id < self.rows else 0

    @property
    def rows(self) -> int:
        """So many ids the embedding has rows for."""
        embedding = self.model.get_input_embeddings()
        return getattr(embedding, "num_embeddings", len(embedding.weight))

    @property
    def vision_ids(self) -> set[int]:
        """The ids that stand for vision tokens."""
        return self.family.vision_ids(self.config)

    @property
    def most_tokens(self) -> float:
        """So many positions the language model has, for prompt and answer together.

        Of stretched ones, the number before it times the factor: some configs (DeepSeek-V3, Kimi) give the product as
        ``max_position_embeddings`` and say the number before, most give that number alone.
        """
        text = self.config.get_text_config()
        rope, said = getattr(text, "rope_parameters", None) or {}, getattr(text, "max_position_embeddings", None)
        if not said or rope.get("rope_type") not in ("linear", "dynamic", "yarn"):
            return said or math.inf
        return max(said, (rope.get("original_max_position_embeddings") or said) * (rope.get("factor") or 1))

    @property
    def borrowing(self) -> int:
        """So many of the last layers read keys and values of earlier ones (Gemma 3n, Gemma 4)."""
        return getattr(self.config.get_text_config(), "num_kv_shared_layers", None) or 0

    @property
    def weights(self) -> str:
        """A short digest that tells checkpoints apart, also of one name: names and first numbers of all weights."""
        digest = hashlib.sha256()
        for name, weight in self.model.named_parameters():
            # those that accelerate keeps elsewhere have no numbers here
            first = [] if weight.is_meta else weight.detach()[(slice(1),) * weight.ndim].flatten().tolist()
            digest.update(f"{name} {[*weight.shape]} {weight.dtype} {first}\n".encode())
        return digest.hexdigest()[:16]

    def batch(self, prepared: Sequence[Prepared], left: bool = True) -> dict[str, Any]:
        """One batch of several samples, padded on one side.

        Layers that share the keys and values of earlier ones (Gemma 4) are run for the last position alone, if a number
        of logits is asked for; as positions, they are run for all.
        """
        inputs: dict[str, Any] = collate(prepared, self.padding, left, self.family.packed, self.family.counting)
        for name, value in inputs.items():
            if value.dtype == torch.bfloat16:  # some processors (Llama 4) round for models that do not convert
                inputs[name] = value.to(self.model.dtype)
        if self.borrowing:
            inputs["logits_to_keep"] = torch.tensor([-1], device=inputs["input_ids"].device)
        return inputs if self.family.encoded is None else self.family.encoded(self.model, inputs)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """No dropout; afterwards each module is in the mode that it was in."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def check(self, tokens: np.ndarray, more: int = 0) -> None:
        """Whether the model can read ``tokens`` [sequence] and ``more`` behind them.

        Raises:
            InputError: there are more than it has positions for, or one has no row in its embedding.
        """
        if len(tokens) + more > self.most_tokens:
            raise InputError(
                "the context overflows the model", got=f"{len(tokens) + more} tokens",
                expected=f"at most {self.most_tokens:g}",
                cure="show fewer, or smaller, pictures or frames (max_pixels), or give a shorter text",
            )  # fmt: skip
        # A vision token's row is never read, and some kinds have none for it.
        foreign = tokens[(tokens >= self.rows) & ~np.isin(tokens, sorted(self.vision_ids))]
        if len(foreign):
            id = int(foreign[0])
            raise InputError(
                "a token has no row in the model's embedding",
                got=f"{self.tokenizer.convert_ids_to_tokens(id)} ({id})", expected=f"ids below {self.rows}",
                cure="resize the embedding (resize_token_embeddings), or leave the token out of the text",
            )  # fmt: skip

    def check_classes(self, ids: np.ndarray) -> None:
        """Whether the head has a class for each token that is explained, ``ids`` [token]. Molmo 2's has none for the
        tokens around pictures.

        Raises:
            InputError: it has none for one.
        """
        classes = self.head.out_features
        if len(ids) and (id := int(ids.max())) >= classes:
            raise InputError(
                "a token has no class in the model's head", got=f"{self.tokenizer.convert_ids_to_tokens(id)} ({id})",
                expected=f"ids below {classes}", cure="leave the token out of the text",
            )  # fmt: skip


def unwrapped(model: Any) -> Any:
    """The model of transformers inside ``torch.compile``'s wrapper and PEFT's; adapter layers stay where they are.

    Raises:
        ModelError: PEFT keeps the model itself untouched (prompt tuning), so that without it another one answers.
    """
    while True:
        if "_orig_mod" in getattr(model, "_modules", {}):
            model = model._orig_mod
        elif hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
            inner = model.get_base_model()
            if inner is model.base_model:
                raise ModelError(
                    "an adapter that lies outside of the model's layers", got=type(model).__name__,
                    expected="one inside of them, such as LoRA", cure="merge it, or explain the model without it",
                )  # fmt: skip
            model = inner
        else:
            return model
