"""What the cache costs: ``python -m tests.bench.cache FOLDER``.

Shapes of Qwen2-VL-2B: a 24 x 32 grid, the paper's question, 60 answer tokens, 151,936 vocabulary entries.

Disk: one sample of incompressible logits. Memory: what the tensors of a generation take at most, besides the weights,
counted operation by operation, so that the figures do not depend on the allocator. The model has the 2B's widths but
two layers of each kind, so that a pass takes seconds; the published way keeps every layer's states, so with all 28
layers it takes more.
"""

import itertools
import sys
import tempfile
import weakref
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from tam.cache import write_generations
from tam.generation.kept import generation_of
from tam.manifest import Sample
from tam.media import Media
from tam.model.collate import collate
from tam.model.decoding import answer_batch
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, prepare
from tests import tiny
from tests.bench import result
from tests.test_cache import made

VOCABULARY, ROWS, COLUMNS, ANSWER = 151_936, 24, 32, 60
CLASSES = {0: 74, 3: 194}  # candidates -> at most
WIDTHS = (("float32", 4), ("bfloat16", 2))
WORDS = "Write a one-sentence caption for this image:"
MB = 2**20


def disk() -> list[dict]:
    rows = []
    for (dtype, width), (candidates, classes) in itertools.product(WIDTHS, CLASSES.items()):
        sample = made("a", (ROWS, COLUMNS), 12, ANSWER, classes, dtype=dtype, vocabulary=VOCABULARY)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "0.h5")
            write_generations(path, {0: sample}, {}, "")
            size = path.stat().st_size
        full = (ROWS * COLUMNS + 12 + ANSWER) * VOCABULARY * width
        rows.append(
            {
                "logits": dtype,
                "candidates": candidates,
                "MB a sample": size / 1e6,
                "full logits, MB": full / 1e6,
                "times smaller": full / size,
            }
        )
    return rows


class Peak(TorchDispatchMode):
    """Bytes of all live tensors that were made inside, at most."""

    def __init__(self, given: list[torch.Tensor]):
        super().__init__()
        self.given = [tensor.untyped_storage() for tensor in given]  # kept, so that no new one gets their address
        self.known = {storage._cdata for storage in self.given}
        self.live = self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self.known.add(key)
        self.live += size
        self.most = max(self.most, self.live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def model_and_batch(batch: int) -> tuple[Loaded, list[Prepared]]:
    """Random weights of the 2B's widths, and a picture that fills the grid."""
    small = tiny.model().config
    text = small.text_config.to_dict() | {
        "vocab_size": VOCABULARY, "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
        "num_key_value_heads": 2, "tie_word_embeddings": True, "initializer_range": 0.02,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    vision = small.vision_config.to_dict() | {"embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "mlp_ratio": 4}
    config = Qwen2VLConfig(
        text_config={key: value for key, value in text.items() if key not in ("head_dim", "layer_types")},
        vision_config=vision, image_token_id=small.image_token_id, video_token_id=small.video_token_id,
        vision_start_token_id=small.vision_start_token_id, vision_end_token_id=small.vision_end_token_id,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config).eval()
    model.generation_config.update(eos_token_id=None, do_sample=False, pad_token_id=0)
    processor = tiny.processor()
    processor.image_processor.size.longest_edge = ROWS * COLUMNS * 28 * 28
    pixels = np.random.default_rng(0).integers(0, 255, (ROWS * 28, COLUMNS * 28, 3), dtype=np.uint8)
    media = Media(False, (Image.fromarray(pixels),), (0,))
    loaded = Loaded.of(model, processor)
    return loaded, [prepare(loaded.prompter, media, WORDS)] * batch


def plain(loaded: Loaded, batch: list[Prepared]) -> None:
    loaded.model.generate(**collate(batch, 0), max_new_tokens=ANSWER)


def ours(loaded: Loaded, batch: list[Prepared]) -> None:
    for prepared, answer in zip(batch, answer_batch(loaded, batch, ANSWER), strict=True):
        generation_of(loaded, Sample("a", ["a"], WORDS), prepared, answer)


def published(loaded: Loaded, batch: list[Prepared]) -> None:
    made = loaded.model.generate(
        **collate(batch, 0), max_new_tokens=ANSWER, output_hidden_states=True, return_dict_in_generate=True
    )
    [loaded.head(states[-1]) for states in made.hidden_states]


def memory() -> list[dict]:
    rows = []
    for batch in (1, 2):
        loaded, asked = model_and_batch(batch)
        base = None
        for way in (plain, ours, published):
            with torch.inference_mode(), Peak([*loaded.model.parameters(), *loaded.model.buffers()]) as peak:
                way(loaded, asked)
            base = base or peak.most
            rows.append({"batch": batch, "way": way.__name__, "peak, MB": peak.most / MB})
            rows[-1]["over plain, MB"] = (peak.most - base) / MB
            rows[-1]["final states of a sample, MB"] = (len(asked[0].tokens) + ANSWER) * 1536 * 4 / MB
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    result.write(Path(sys.argv[1]), "cache_disk", disk(), "One sample; its logits are random and do not compress.")
    result.write(Path(sys.argv[1]), "cache_memory", memory(), "float32, besides the weights.")
