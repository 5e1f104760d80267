"""Numbers of another implementation of LRP for three tiny decoders, and how they were made.

LXT 2.1 (``lxt.efficient``) does not import with the library of this project, so its numbers are frozen in
``golden_lrp.json``. They were made in an environment of its own:

    pip install transformers==4.52.4 lxt==2.1 torch
    python golden_lrp.py

Weights and inputs are drawn by the names of the weights, so any version of the library draws the same.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).with_suffix(".json")
LENGTH, WIDTH, CLASSES = 7, 16, 11
SIZES = {
    "vocab_size": CLASSES, "hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "tie_word_embeddings": False,
}  # fmt: skip
KINDS = {"llama": "Llama", "qwen2": "Qwen2", "gemma3": "Gemma3"}


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """float32, normal, of a spread that keeps states near 1; norms lie around 1."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape) * 0.4
    return torch.from_numpy((values + ("norm" in name)).astype(np.float32))


def weighed(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(drawn(name, tuple(weight.shape)))
    return model.eval()


def embeddings() -> torch.Tensor:
    """float32 [1, sequence, width]"""
    return drawn("inputs", (1, LENGTH, WIDTH)) * 2.5


def relevance(kind: str, rules: str) -> list[float]:
    """By LXT: of the largest logit at the last position, a number a position."""
    import importlib

    import transformers
    from lxt.efficient import monkey_patch

    modeling = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
    rules_of_kind = getattr(importlib.import_module(f"lxt.efficient.models.{kind}"), rules)
    monkey_patch(modeling, patch_map=rules_of_kind)
    more = {
        "gemma3": {"rope_theta": 100.0, "rope_local_base_freq": 100.0, "sliding_window": 4, "sliding_window_pattern": 2}
    }.get(kind, {"rope_theta": 100.0})
    config = getattr(transformers, KINDS[kind] + {"gemma3": "TextConfig"}.get(kind, "Config"))(**SIZES, **more)
    config._attn_implementation = "eager"
    given = embeddings().requires_grad_()
    logits = weighed(getattr(modeling, KINDS[kind] + "ForCausalLM")(config))(
        inputs_embeds=given, use_cache=False
    ).logits
    logits[0, -1].max().backward()
    return [float(logits[0, -1].max().detach()), *(given * given.grad).sum(-1)[0].tolist()]


if __name__ == "__main__":
    import subprocess
    import sys

    if len(sys.argv) > 1:  # patches stay, so each in a process of its own
        print(json.dumps(relevance(*sys.argv[1:])))
    else:
        made = {}
        for kind in KINDS:
            for name, rules in (("cp-lrp", "cp_LRP"), ("attnlrp", "attnLRP")):
                said = subprocess.run(
                    [sys.executable, __file__, kind, rules], capture_output=True, text=True, check=True
                )
                logit, *found = json.loads(said.stdout.splitlines()[-1])
                made.setdefault(kind, {"logit": logit})[name] = found
        FILE.write_text(json.dumps(made, indent=1) + "\n")
