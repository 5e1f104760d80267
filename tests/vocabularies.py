"""Tokenizers for the real file sets whose own were too large to keep: real pieces, and the special tokens at their ids.

Every id that has no piece gets an unused one, as published vocabularies have them.
"""

import json
from pathlib import Path

from tests.shared import shared

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
GLM = [
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|image|>",
    "<|video|>",
]  # fmt: skip
SLICES = ["<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>"]
GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
SOUNDS = {256000: "<|audio>", 258881: "<|audio|>", 258883: "<audio|>"}


def _from(start: int, tokens: list[str]) -> dict[int, str]:
    return dict(enumerate(tokens, start))


QWEN3_5 = _from(248044, CHATML) | _from(248053, ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"])
QWEN3_5 |= {248056: "<|image_pad|>", 248057: "<|video_pad|>"}
SPECIAL = {
    "qwen2-vl-2b": _from(151643, CHATML)
    | _from(151652, ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]),
    "llava-onevision-7b": _from(151643, [*CHATML, "<image>", "<video>"]),
    "internvl3-1b-hf": _from(151643, CHATML)
    | _from(151665, ["<img>", "</img>", "<IMG_CONTEXT>"])
    | {151674: "<video>"},
    "glm-4.1v-9b": _from(151329, GLM),
    "qwen3.5": QWEN3_5,
    "minicpm-v-4.6": QWEN3_5 | _from(248078, SLICES),
    "paligemma-3b-448": _from(0, GEMMA[:4]) | {257152: "<image>"},
    "gemma-3-4b-it": _from(0, GEMMA)
    | {105: "<start_of_turn>", 106: "<end_of_turn>", 255999: "<start_of_image>", 256000: "<end_of_image>"}
    | {262144: "<image_soft_token>"},
    "gemma-4-e2b": _from(0, GEMMA)
    | {105: "<|turn>", 106: "<turn|>", 255999: "<|image>", 258880: "<|image|>", 258882: "<image|>", 258884: "<|video|>"}
    | SOUNDS,
}
"""Set -> id -> special token."""

LOCATIONS = {108: "\n"} | {256000 + number: f"<loc{number:04d}>" for number in range(1024)}
SENTENCEPIECE = {"paligemma-3b-448": LOCATIONS, "gemma-3-4b-it": {108: "\n"}, "gemma-4-e2b": {108: "\n"}}
"""Set -> id -> piece that Llama has not there; the others have Qwen2's pieces."""


def write_vocabulary(folder: Path) -> None:
    """``tokenizer.json`` for the set of that name; a set that has one keeps it."""
    name = folder.name
    if name not in SPECIAL:
        return
    words = _llama() if name in SENTENCEPIECE else _qwen2()
    pieces = {number: piece for piece, number in words["model"]["vocab"].items()}
    special = SPECIAL[name]
    pieces |= SENTENCEPIECE.get(name, {}) | special
    pieces |= {number: f"<unused{number}>" for number in range(max(pieces)) if number not in pieces}
    words["model"]["vocab"] = {piece: number for number, piece in sorted(pieces.items())}
    if name not in SENTENCEPIECE:  # a merge needs its parts, some of which made room
        vocabulary = words["model"]["vocab"]
        words["model"]["merges"] = [
            pair for pair in words["model"]["merges"] if {*pair, "".join(pair)} <= vocabulary.keys()
        ]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    words["added_tokens"] = [{"id": number, "content": special[number], "special": True, **flags} for number in special]
    words["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")


def _llama() -> dict:
    return json.loads(shared("data", "skeletons", "llava-1.5-7b", "tokenizer.json").read_text(encoding="utf-8"))


def _qwen2() -> dict:
    folder = shared("data", "skeletons", "qwen2.5-vl-7b")
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": {"type": "NFC"}, "pre_tokenizer": bytes_,
        "decoder": bytes_, "model": {
            "type": "BPE", "vocab": json.loads((folder / "vocab.json").read_text(encoding="utf-8")),
            "merges": [line.split(" ") for line in merges if line and not line.startswith("#version")],
        },
    }  # fmt: skip
