"""Tiny Qwen2-VL and Qwen2.5-VL checkpoints with random weights, made from the real classes, without a network."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip

# The template of Qwen2-VL-Instruct.
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}"
    "<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture "
    "{{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' "
    "or 'video' in content %}{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video "
    "{{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}"
    "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% endif %}"
)

CORPUS = [
    "Write a one-sentence caption for this image: a cat sits on the mat, and two dogs run past a red umbrella.",
    "You are a helpful assistant. system user assistant Describe the video. What is in the image?",
    "The first image shows a giraffe and the second image shows an elephant near the traffic light.",
] * 4

CLASSES = {"qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor),
           "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor)}  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of about 400 entries, as Qwen's, with Qwen2-VL's special tokens."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=SPECIAL
    )


def processor(model_type: str = "qwen2_vl"):
    size = {"shortest_edge": 2 * 28 * 28, "longest_edge": 48 * 28 * 28}
    return CLASSES[model_type][2](
        Qwen2VLImageProcessor(size=size), tokenizer(), Qwen2VLVideoProcessor(size=size), chat_template=CHAT_TEMPLATE
    )


def model(model_type: str = "qwen2_vl", seed: int = 0, attention: str = "sdpa", vocabulary: int = 0):
    """Random weights, large enough that logits differ clearly between classes and positions.

    Args:
        vocabulary: rows of the head, if there shall be more than the tokenizer has.
    """
    words = tokenizer()
    ids = {text: words.convert_tokens_to_ids(text) for text in SPECIAL}
    text = {
        "vocab_size": max(len(words), vocabulary), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 3, 3]},
        "bos_token_id": None, "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"],
        "initializer_range": 0.3,
    }  # fmt: skip
    vision = {
        "depth": 2,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": 0.1,
    }
    if model_type == "qwen2_vl":
        vision |= {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    else:
        vision |= {
            "hidden_size": 32,
            "out_hidden_size": 64,
            "intermediate_size": 48,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        }
    config_class, model_class, _ = CLASSES[model_type]
    config = config_class(
        text_config=text, vision_config=vision, image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=False,
    )  # fmt: skip
    config._attn_implementation = attention
    torch.manual_seed(seed)
    made = model_class(config).eval()
    with torch.no_grad():
        made.base_model.language_model.norm.weight.uniform_(0.5, 1.5)  # so that a second norm would show
    made.generation_config = GenerationConfig(
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]], pad_token_id=ids["<|endoftext|>"], do_sample=True,
        temperature=0.01, top_k=1, top_p=0.001,
    )  # fmt: skip
    return made


def checkpoint(folder: Path, model_type: str = "qwen2_vl", seed: int = 0) -> Path:
    """Save both; returns the folder."""
    model(model_type, seed).save_pretrained(folder)
    processor(model_type).save_pretrained(folder)
    return folder
