"""The untrained parts of the embedded model: a tokenizer for the grammar, Qwen2-VL's processor, and a tiny Qwen2-VL."""

import re

from tokenizers import pre_tokenizers
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from tam.datasets.emoji import grammar
from tam.datasets.emoji.sprites import NAMES

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Words of several tokens, as real vocabularies have them, so that everything downstream meets them.
SPLITS = {
    "giraffe": ("gir", "affe"),
    "umbrella": ("um", "brella"),
    "elephant": ("ele", "phant"),
    "motorcycle": ("motor", "cycle"),
    "backpack": ("back", "pack"),
    "airplane": ("air", "plane"),
}
PATCH = 8  # pixels; two by two patches make one token of 16 x 16 pixels
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pieces() -> list[str]:
    """The tokens of the grammar, words of a sentence with their space; plural endings are tokens of their own."""
    found: dict[str, None] = {}
    for name in NAMES:
        for word in name.split():
            first, *rest = SPLITS.get(word, (word,))
            found.update(dict.fromkeys([f" {first}", *rest]))
    plurals = {grammar.phrase(name, 2).split()[-1] for name in NAMES} - {"sheep"}
    plain = {word.lower() for word in grammar.words() if word.isalpha()} - plurals - set(SPLITS)
    found.update(dict.fromkeys(f" {word}" for word in sorted(plain)))
    prompts = [grammar.CAPTION, grammar.QUESTION, grammar.VIDEO, grammar.PAIR, "You are a helpful assistant."]
    starts = ["A", "An", "There", "Two", "Three", "The", "system", "user", "assistant", "es"]
    found.update(dict.fromkeys(sorted({word for text in prompts for word in re.findall(r"[ -]?[A-Za-z]+", text)})))
    found.update(dict.fromkeys(starts))
    return sorted(found, key=lambda piece: not piece.startswith(" "))


def tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE whose merges spell each piece from left to right; nothing is learned, so nothing can shift.

    Pieces that begin with a space come first in rank: a word is read from its start before any later part of it.
    """
    vocabulary = {token: number for number, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: dict[tuple[str, str], None] = {}
    for piece in pieces():
        spelled = piece.replace(" ", "Ġ")
        for end in range(1, len(spelled)):
            merges[spelled[:end], spelled[end]] = None
            vocabulary.setdefault(spelled[: end + 1], len(vocabulary))
    made = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=list(merges),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIALS),
        padding_side="left",
        model_max_length=4096,
    )
    made.chat_template = CHAT_TEMPLATE
    return made


def processor() -> Qwen2VLProcessor:
    """Qwen2-VL's own processor: pictures of any size, shrunk to the 14 x 14 tokens trained on."""
    sizes = {
        "patch_size": PATCH,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": MEAN,
        "image_std": STD,
        "size": {"shortest_edge": 4 * 16**2, "longest_edge": 14**2 * 16**2},
    }
    videos = Qwen2VLVideoProcessor(**sizes, cap_pixels_per_frame=False)
    return Qwen2VLProcessor(Qwen2VLImageProcessor(**sizes), tokenizer(), videos, chat_template=CHAT_TEMPLATE)


def tag_words() -> list[str]:
    """The words that the vision tower learns to find: those of the categories, then the places."""
    return list(dict.fromkeys(word for name in NAMES for word in name.split())) + list(grammar.PLACES)


def tag_ids(tokens: Qwen2Tokenizer) -> list[int]:
    """The first token of each tag word."""
    return [tokens(f" {word}").input_ids[0] for word in tag_words()]


def model(tokens: Qwen2Tokenizer) -> Qwen2VLForConditionalGeneration:
    """A randomly initialised Qwen2-VL for this vocabulary; seed torch first."""
    special = {
        name: tokens.convert_tokens_to_ids(f"<|{name}|>")
        for name in (
            "endoftext",
            "im_end",
            "vision_start",
            "vision_end",
            "image_pad",
            "video_pad",
        )
    }
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokens),
            "hidden_size": 160,
            "intermediate_size": 448,
            "num_hidden_layers": 4,
            "num_attention_heads": 5,
            "num_key_value_heads": 5,
            "max_position_embeddings": 4096,
            # positions stay small, and a base of 1e6 would leave the width axis nearly constant in so small a head
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": None,
            "eos_token_id": special["im_end"],
            "pad_token_id": special["endoftext"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 3,
            "embed_dim": 96,
            "hidden_size": 160,
            "num_heads": 3,
            "mlp_ratio": 2,
            "patch_size": PATCH,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        image_token_id=special["image_pad"],
        video_token_id=special["video_pad"],
        vision_start_token_id=special["vision_start"],
        vision_end_token_id=special["vision_end"],
        tie_word_embeddings=True,
    )
    made = Qwen2VLForConditionalGeneration(config)
    made.generation_config = GenerationConfig(
        eos_token_id=special["im_end"], pad_token_id=special["endoftext"], do_sample=False, max_new_tokens=48
    )
    return made
