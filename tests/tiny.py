"""Tiny checkpoints of every family with random weights, made from the real classes, without a network."""

import json
from functools import cache
from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

QWEN = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
SPECIAL = [
    *QWEN, "<s>", "</s>", "<image>", "<video>", "<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>",
    "<|begin_of_video|>", "<|end_of_video|>", "<img>", "</img>", "<IMG_CONTEXT>", "<start_of_image>",
    "<image_soft_token>", "<end_of_image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "[IMG]",
    "[IMG_BREAK]", "[IMG_END]", *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
]  # fmt: skip

CORPUS = [
    "Write a one-sentence caption for this image: a cat sits on the mat, and two dogs run past a red umbrella.",
    "You are a helpful assistant. system user assistant Describe the video. What is in the image?",
    "The first image shows a giraffe and the second image shows an elephant near the traffic light.",
] * 4


def _chat(user: str, image: str, video: str, end: str, assistant: str, start: str = "", text: str = "") -> str:
    """A chat template: media and words of the user in their order, then the start of the assistant's turn."""
    return (
        f"{start}{{% for message in messages %}}"
        f"{{% if message['role'] == 'user' %}}{user}{{% else %}}{assistant}{{% endif %}}"
        f"{{% for content in message['content'] %}}"
        f"{{% if content['type'] == 'image' %}}{image}{{% elif content['type'] == 'video' %}}{video}"
        f"{{% else %}}{{{{ content['text']{text} }}}}{{% endif %}}{{% endfor %}}{end}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{assistant}{{% endif %}}"
    )


def _chatml(image: str, video: str, start: str = "") -> str:
    return _chat("<|im_start|>user\n", image, video, "<|im_end|>\n", "<|im_start|>assistant\n", start)


CHAT_TEMPLATE = _chatml(
    "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
)  # fmt: skip
QWEN3 = _chatml("<|vision_start|><|image_pad|><|vision_end|>", "<|video_pad|>")
GLM = _chat(
    "<|user|>\n", "<|begin_of_image|><|image|><|end_of_image|>", "<|begin_of_video|><|video|><|end_of_video|>", "",
    "<|assistant|>\n", "[gMASK]<sop>",
)  # fmt: skip
GEMMA4 = _chat(
    "<|turn>user\n", "\n\n<|image|>\n\n", "\n\n<|video|>\n\n", "<turn|>\n", "<|turn>model\n", "<s>", " | trim"
)
LLAVA = _chat("USER: ", "<image>\n", "", " ", "ASSISTANT:")
TEMPLATES = {
    "qwen2_vl": CHAT_TEMPLATE, "qwen2_5_vl": CHAT_TEMPLATE,
    "qwen2_5_omni_thinker": CHAT_TEMPLATE,
    "qwen3_vl": QWEN3,
    "qwen3_vl_moe": QWEN3, "qwen3_5": QWEN3, "qwen3_5_moe": QWEN3,
    "glm4v": GLM, "glm4v_moe": GLM, "glm46v": GLM,
    "paddleocr_vl": _chat(
        "User: ", "<|vision_start|><|image_pad|><|vision_end|>", "", "\n", "Assistant: ", "<s>"
    ),
    "llama4": _chat("<|start|>user\n", "<|image|>", "", "<|end|>", "<|start|>assistant\n", "<s>"),
    "llava": LLAVA, "llava_next": _chat("<s>[INST] ", "<image>\n", "", " [/INST]", ""),
    "llava_onevision": _chatml("<image>\n", "<video>\n"),
    "internvl": _chatml("<IMG_CONTEXT>\n", "<video>\n"),
    "gemma3": _chat("<start_of_turn>user\n", "<start_of_image>", "", "<end_of_turn>\n", "<start_of_turn>model\n",
                    "<s>", " | trim"),
    "gemma3n": _chat("<start_of_turn>user\n", "<image_soft_token>", "", "<end_of_turn>\n", "<start_of_turn>model\n",
                     "<s>", " | trim"),
    "idefics3": _chat("User:", "<image>", "", "<end_of_utterance>\n", "Assistant:", "<|im_start|>"),
    "smolvlm": _chat("User:", "<image>", "<video>", "<end_of_utterance>\n", "Assistant:", "<|im_start|>"),
    "gemma4": GEMMA4, "gemma4_unified": GEMMA4,
    "minicpmv4_6": _chatml("<|image_pad|>", "<|video_pad|>"), "minicpmv4_7": _chatml("<|image_pad|>", "<|video_pad|>"),
    "paligemma": None,
    "lfm2_vl": _chatml("<image>", "", "<s>"),
    "ovis2": _chatml("<image>\n", ""),
    "molmo2": _chatml("<|image|>", "<|video|>"),
    "ernie4_5_vl_moe": _chat(
        "User: ", "Picture 1:<|image_start|><|image|><|image_end|>",
        "Video 1:<|video_start|><|video|><|video_end|>", "\n", "Assistant: ", "<s>",
    ),
    "kimi_k25": _chat(
        "<|im_user|>user<|im_middle|>", "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>\n",
        "<|kimi_k25_video_placeholder|>\n", "<|im_end|>", "<|im_assistant|>assistant<|im_middle|><think></think>",
    ),
    "mistral3": _chat("[INST]", "[IMG]", "", "[/INST]", "", "<s>"),
    "pixtral": _chat("[INST]", "[IMG]", "", "[/INST]", "", "<s>"),
}  # fmt: skip
# transformers 5.24: the class reads a field of its output that is not there, and fails on every question.
BROKEN = {"llama4"} if transformers.__version__.startswith("5.24.") else set()
KINDS = [kind for kind in TEMPLATES if kind not in BROKEN]  # "pixtral" is Pixtral's vision tower in a LLaVA
SENTENCEPIECE = {"llava", "llava_next", "gemma3", "gemma3n", "gemma4", "gemma4_unified", "paligemma"}
OF_GEMMA4 = {
    "boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>", "boa_token": "<|audio>",
    "eoa_token": "<audio|>", "audio_token": "<|audio|>",
}  # fmt: skip
OF_MINICPM = {
    "image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "image_start_token": "<image>",
    "image_end_token": "</image>", "slice_start_token": "<slice>", "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>",
}  # fmt: skip
NAMED = {
    "gemma3": {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
    "gemma3n": {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>",
                "boa_token": "<start_of_audio>", "audio_token": "<audio_soft_token>", "eoa_token": "<end_of_audio>"},
    "gemma4": OF_GEMMA4, "gemma4_unified": OF_GEMMA4, "minicpmv4_6": OF_MINICPM, "minicpmv4_7": OF_MINICPM,
    "paddleocr_vl": {"image_token": "<|image_pad|>"},
    "llama4": {"patch": "<|patch|>", "start": "<|image_start|>", "end": "<|image_end|>", "x": "<|tile_x_separator|>",
               "y": "<|tile_y_separator|>"},
    "qwen2_5_omni_thinker": {
        "image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "audio_token": "<|AUDIO|>",
        "vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>",
        "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
    },
    "ernie4_5_vl_moe": {
        "image_token": "<|image|>", "image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>",
        "video_token": "<|video|>", "video_start_token": "<|video_start|>", "video_end_token": "<|video_end|>",
    },
    "kimi_k25": {"image_token": "<|media_pad|>", "video_token": "<|kimi_k25_video_placeholder|>"},
    "ovis2": {name: f"<IMG_{name.upper()}>" for name in ("atom", "start", "grid", "col", "row", "end")},
    "molmo2": {name: f"<{name}>" for name in (
        "im_patch", "im_col", "im_start", "low_res_im_start", "frame_start", "im_end", "frame_end", "im_low")},
    "internvl": {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
                 "video_token": "<video>"},
}  # fmt: skip
LIKE = {
    "qwen2_5_vl": "qwen2_vl", "qwen2_5_omni_thinker": "qwen2_vl", "qwen3_vl_moe": "qwen3_vl", "qwen3_5": "qwen3_vl",
    "qwen3_5_moe": "qwen3_vl",
    "glm4v_moe": "glm4v", "minicpmv4_7": "minicpmv4_6",
}  # fmt: skip
"""Kind -> the one whose image and video processors it has."""
IMAGE = {
    **dict.fromkeys(("glm4v", "glm4v_moe", "glm46v", "gemma4", "gemma4_unified"), "<|image|>"),
    **dict.fromkeys(("minicpmv4_6", "minicpmv4_7"), "<|image_pad|>"), "gemma3": "<image_soft_token>",
    "gemma3n": "<image_soft_token>",
    "paddleocr_vl": "<|image_pad|>", "llama4": "<|patch|>", "ovis2": "<IMG_ATOM>", "molmo2": "<im_patch>",
    "ernie4_5_vl_moe": "<|image|>", "kimi_k25": "<|media_pad|>",
    "internvl": "<IMG_CONTEXT>", "mistral3": "[IMG]", "pixtral": "[IMG]",
    **{kind: "<|image_pad|>" for kind in KINDS if kind.startswith("qwen")},
}  # fmt: skip
CLASS = {
    "qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL", "glm4v": "Glm4v", "llava": "Llava",
    "llava_next": "LlavaNext", "llava_onevision": "LlavaOnevision", "internvl": "InternVL", "gemma3": "Gemma3",
    "idefics3": "Idefics3", "smolvlm": "SmolVLM", "paligemma": "PaliGemma", "mistral3": "Mistral3", "pixtral": "Llava",
    "qwen3_vl_moe": "Qwen3VLMoe", "qwen3_5": "Qwen3_5", "qwen3_5_moe": "Qwen3_5Moe", "glm4v_moe": "Glm4vMoe",
    "glm46v": "Glm46V", "gemma4": "Gemma4", "gemma4_unified": "Gemma4Unified", "minicpmv4_6": "MiniCPMV4_6",
    "minicpmv4_7": "MiniCPMV4_7", "paddleocr_vl": "PaddleOCRVL", "llama4": "Llama4",
    "qwen2_5_omni_thinker": "Qwen2_5OmniThinker", "lfm2_vl": "Lfm2Vl", "ovis2": "Ovis2", "molmo2": "Molmo2",
    "ernie4_5_vl_moe": "Ernie4_5_VLMoe", "kimi_k25": "Kimi_K25", "gemma3n": "Gemma3n",
}  # fmt: skip
SOUND = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "output_dim": 64,
}  # fmt: skip
SHAPES = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3), (2, 3), (3, 2)]
PINPOINTS = [[56 * down, 56 * across] for down, across in SHAPES]
# Four patches of 14 pixels leave some of 60 pixels unseen, as those of SigLIP's 384 pixels do.
UNEVEN = [[60 * down, 60 * across] for down, across in SHAPES]


def tokenizer(kind: str = "qwen2_vl") -> PreTrainedTokenizerFast:
    """BPE of about 400 entries with every family's special tokens: of bytes, or of words with their space before."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend(kind in SENTENCEPIECE)),
        bos_token=None if kind.startswith("qwen") else "<s>", eos_token="<|im_end|>", pad_token="<|endoftext|>",
        unk_token="<unk>" if kind in SENTENCEPIECE else None,
        additional_special_tokens=SPECIAL, extra_special_tokens=NAMED.get(kind, {}),
    )  # fmt: skip


@cache
def _backend(sentencepiece: bool) -> str:
    if sentencepiece:  # as Llama's: spaces are written U+2581, also before the first word; unknown bytes are tokens
        backend = Tokenizer(models.BPE(unk_token="<unk>"))
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        backend.decoder = decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
        ])  # fmt: skip
        alphabet = []
    else:
        backend = Tokenizer(models.BPE())
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    if sentencepiece:
        trained = json.loads(backend.to_str())["model"]
        pieces = [*trained["vocab"], "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        merges = [tuple(pair) for pair in trained["merges"]]
        backend.model = models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>")
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return backend.to_str()


def processor(kind: str = "qwen2_vl"):
    if kind == "smolvlm":
        import pytest  # the benchmarks run without it

        pytest.importorskip("num2words", reason="SmolVLM's processor needs it")
    words, alike = tokenizer(kind), LIKE.get(kind, kind)
    make = getattr(transformers, CLASS[kind].removesuffix("Thinker") + "Processor", None)
    if make is None and alike != kind:
        make = getattr(transformers, CLASS[alike] + "Processor")
    dynamic = {"size": {"shortest_edge": 2 * 28 * 28, "longest_edge": 48 * 28 * 28}}
    square = {"size": {"height": 56, "width": 56}}
    crop = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    images, videos, more = {
        "qwen2_vl": ("Qwen2VL", dynamic, {}),
        "qwen3_vl": ("Qwen2VL", dynamic | {"patch_size": 16}, {}),
        "glm4v": ("Glm4v", dynamic, {}),
        "glm46v": ("Glm46V", dynamic, {}),
        "llava": ("CLIP", crop, {"patch_size": 14, "vision_feature_select_strategy": "default",
                                 "num_additional_image_tokens": 1}),
        "llava_next": ("LlavaNext", crop | {"image_grid_pinpoints": PINPOINTS}, {
            "patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}),
        "llava_onevision": ("LlavaOnevision", {"size": {"height": 60, "width": 60}, "image_grid_pinpoints": UNEVEN}, {
            "num_image_tokens": 16, "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_4"}),
        "internvl": ("GotOcr2", square, {"image_seq_length": 4}),
        "gemma3": ("Gemma3", {"size": {"height": 112, "width": 112}}, {"image_seq_length": 16}),
        "gemma3n": ("Siglip", {"size": {"height": 128, "width": 128}, "do_normalize": False}, {"image_seq_length": 16}),
        "paddleocr_vl": ("PaddleOCRVL", dynamic, {}),
        "lfm2_vl": ("Lfm2Vl", {"tile_size": 64, "min_image_tokens": 2, "max_image_tokens": 8}, {}),
        "ernie4_5_vl_moe": ("Ernie4_5_VLMoe", dynamic, {}),
        "kimi_k25": ("Kimi_K25", {"max_patches": 80}, {}),
        "ovis2": ("Ovis2", square | {"max_patches": 6}, {"image_seq_length": 4}),
        # Seven patches a side end within a token, of two, or in a frame three; a crop shares two with each neighbour.
        "molmo2": ("Molmo2", {"size": {"height": 98, "width": 98}, "max_crops": 6, "overlap_margins": [2, 2]}, {}),
        "llama4": ("Llama4", square, {"patch_size": 14}),
        "gemma4": ("Gemma4", {"max_soft_tokens": 70}, {}),
        "gemma4_unified": ("Gemma4Unified", {"max_soft_tokens": 70}, {}),
        "minicpmv4_6": ("MiniCPMV4_6", {"scale_resolution": 112, "patch_size": 14}, {}),
        "idefics3": ("Idefics3", {"size": {"longest_edge": 168}, "max_image_size": {"longest_edge": 56}},
                     {"image_seq_len": 4}),
        "smolvlm": ("SmolVLM", {"size": {"longest_edge": 168}, "max_image_size": {"longest_edge": 56}},
                    {"image_seq_len": 4}),
        "paligemma": ("Siglip", square, {}),
        "mistral3": ("Pixtral", {"size": {"longest_edge": 168}, "patch_size": 14},
                     {"patch_size": 14, "spatial_merge_size": 2}),
        "pixtral": ("Pixtral", {"size": {"longest_edge": 112}, "patch_size": 14}, {"patch_size": 14}),
    }[alike]  # fmt: skip
    image_processor = getattr(transformers, images + "ImageProcessor")(**videos)
    if kind == "paligemma":
        image_processor.image_seq_length = 16
    parts = {"image_processor": image_processor, "tokenizer": words, "chat_template": TEMPLATES[kind], **more}
    if kind in ("mistral3", "pixtral"):
        make = transformers.PixtralProcessor
    sized = {
        "smolvlm": {"num_frames": 8, "fps": 1, **videos},
        "molmo2": {name: value for name, value in videos.items() if name == "size"},
        "ernie4_5_vl_moe": videos | {"draw_on_frames": False},  # the time; with a font that is not ours to hand on
        "kimi_k25": videos | {"temporal_patch_size": 2},  # the last of three frames is seen alone
    }.get(kind, videos)
    if "video_processor" in make.get_attributes():
        name = CLASS[alike] + "VideoProcessor"
        sized = {key: value for key, value in sized.items() if key != "image_grid_pinpoints"}
        parts["video_processor"] = getattr(transformers, name)(**sized)
    if "feature_extractor" in make.get_attributes():  # of sounds
        of = "Whisper" if kind == "qwen2_5_omni_thinker" else CLASS[kind] + "Audio"
        parts["feature_extractor"] = getattr(transformers, of + "FeatureExtractor")()
    return make(**parts)


def _vision(kind: str) -> dict:
    """The vision tower's config: two layers on pictures of 56 x 56 pixels, or of any size."""
    plain = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
        "patch_size": 14,
    }  # fmt: skip
    dynamic = {
        "depth": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
        "initializer_range": 0.1, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48,
    }  # fmt: skip
    large = {"patch_size": 16, "num_position_embeddings": 16}
    deep = dynamic | large | {"deepstack_visual_indexes": [0]}
    return {
        "qwen2_vl": dynamic | {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
        "qwen2_5_vl": dynamic | {"window_size": 56, "fullatt_block_indexes": [1]},
        "qwen2_5_omni_thinker": dynamic | {"window_size": 56, "fullatt_block_indexes": [1]},
        "lfm2_vl": plain
        | {"model_type": "siglip2_vision_model", "vision_use_head": False, "patch_size": 16, "num_patches": 64},
        "ernie4_5_vl_moe": {key: value for key, value in dynamic.items() if key != "out_hidden_size"},
        "molmo2": plain | {"image_size": [98, 98], "num_key_value_heads": 2, "head_dim": 16},
        "kimi_k25": plain | {"pos_emb_height": 8, "pos_emb_width": 8},
        "ovis2": plain | {"hidden_stride": 2, "vocab_size": 64},
        "qwen3_vl": deep,
        "qwen3_vl_moe": deep,
        "qwen3_5": dynamic | large,
        "qwen3_5_moe": dynamic | large,
        "glm4v": dynamic | {"image_size": 56},
        "glm4v_moe": dynamic | {"image_size": 56},
        "glm46v": dynamic | {"image_size": 56, "model_type": "glm4v_vision"},
        "llava": plain | {"model_type": "clip_vision_model"},
        "llava_next": plain | {"model_type": "clip_vision_model"},
        "llava_onevision": plain | {"model_type": "siglip_vision_model", "vision_use_head": False, "image_size": 60},
        "internvl": plain | {"image_size": [56, 56], "patch_size": [14, 14]},
        "gemma3": plain | {"model_type": "siglip_vision_model", "vision_use_head": False, "image_size": 112},
        "gemma3n": {"model_args": {"channel_multiplier": 0.01, "msfa_output_resolution": 4}},  # all 84 blocks, thin
        "paligemma": plain | {"model_type": "siglip_vision_model", "vision_use_head": False, "projection_dim": 64},
        "gemma4": plain | {"patch_size": 16, "num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 256},
        "paddleocr_vl": plain,
        "llama4": plain
        | {"intermediate_size": 128, "vision_output_dim": 64, "projector_input_dim": 64, "projector_output_dim": 64},
        "gemma4_unified": {"patch_size": 16, "mm_embed_dim": 48, "output_proj_dims": 48},
        "minicpmv4_6": plain | {"image_size": 224},
        "minicpmv4_7": plain | {"image_size": 224},
        "mistral3": plain | {"model_type": "pixtral", "image_size": 168},
        "pixtral": plain | {"model_type": "pixtral", "image_size": 168},
    }.get(kind, plain)


def _text(kind: str, words, vocabulary: int) -> dict:
    """The language model's config, large enough that logits differ clearly between classes and positions."""
    rope, rows = {"rope_type": "default", "rope_theta": 100.0}, max(len(words), vocabulary)
    text = {
        "vocab_size": rows, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False, "rope_parameters": rope,
        "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
        "initializer_range": 0.3,
    }  # fmt: skip
    sections = {"mrope_section": [2, 3, 3]}
    glm = {"rope_parameters": rope | sections | {"partial_rotary_factor": 1.0}}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    gemma4 = {
        "head_dim": 16, "global_head_dim": 32, "sliding_window": 64, "final_logit_softcapping": 30.0,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": rope, "full_attention": rope},
    }  # fmt: skip
    gemma3n = gemma4 | {
        "num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8, "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0], "laurel_rank": 8,
        "vocab_size_per_layer_input": words.convert_tokens_to_ids("<image_soft_token>"),
    }  # fmt: skip
    hybrid = {
        "head_dim": 32, "rope_parameters": rope | sections | {"partial_rotary_factor": 0.5}, "linear_key_head_dim": 16,
        "linear_value_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "layer_types": ["linear_attention", "full_attention"], "initializer_range": 0.15,
    }  # fmt: skip
    return text | {
        "qwen2_vl": {"rope_parameters": rope | sections}, "qwen2_5_vl": {"rope_parameters": rope | sections},
        "qwen2_5_omni_thinker": {"rope_parameters": rope | sections},
        "lfm2_vl": {"model_type": "lfm2", "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
        "ernie4_5_vl_moe": {"rope_parameters": rope | {"mrope_section": [3, 3, 2]}, "moe_num_experts": 4, "moe_k": 2,
                            "moe_num_shared_experts": 1, "moe_intermediate_size": [32, 16]},
        "kimi_k25": {
            "model_type": "deepseek_v3", "num_key_value_heads": 4, "moe_intermediate_size": 32, "n_routed_experts": 4,
            "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": 32,
            "kv_lora_rank": 24, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 16,
        },
        "ovis2": {"model_type": "qwen2"},
        "molmo2": {
            "vocab_size": rows - len(NAMED["molmo2"]), "additional_vocab_size": len(NAMED["molmo2"]), "head_dim": 16,
        },
        "qwen3_vl": {"rope_parameters": rope | sections, "head_dim": 16},
        "qwen3_vl_moe": {"rope_parameters": rope | sections, "head_dim": 16} | experts,
        "qwen3_5": hybrid, "qwen3_5_moe": hybrid | experts | {"shared_expert_intermediate_size": 32},
        "glm4v": glm, "glm46v": glm | {"model_type": "glm4v_text"},
        "glm4v_moe": glm | experts | {"n_routed_experts": 4},
        "llava": {"model_type": "llama"}, "llava_next": {"model_type": "mistral"},
        "llava_onevision": {"model_type": "qwen2"}, "internvl": {"model_type": "qwen2"},
        "gemma3": {"head_dim": 16, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"],
                   "rope_parameters": {"sliding_attention": rope, "full_attention": rope}},
        "gemma3n": gemma3n,
        "gemma4": gemma4 | {
            "num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": rows,
        },
        "gemma4_unified": gemma4,
        "paddleocr_vl": {"rope_parameters": rope | sections, "head_dim": 16},
        "llama4": {
            "head_dim": 16, "intermediate_size_mlp": 96, "num_local_experts": 4, "attention_chunk_size": 4096,
            "layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0],
        },
        "minicpmv4_6": hybrid | {"model_type": "qwen3_5_text"}, "minicpmv4_7": hybrid | {"model_type": "qwen3_5_text"},
        "idefics3": {"model_type": "llama"}, "smolvlm": {"model_type": "llama"},
        "paligemma": {"model_type": "gemma", "head_dim": 16},
        "mistral3": {"model_type": "mistral", "head_dim": 16}, "pixtral": {"model_type": "mistral", "head_dim": 16},
    }[kind]  # fmt: skip


def model(kind: str = "qwen2_vl", seed: int = 0, attention: str = "sdpa", vocabulary: int = 0):
    """Random weights.

    Args:
        vocabulary: rows of the head, if there shall be more than the tokenizer has.
    """
    words = processor(kind).tokenizer  # some processors add tokens
    token = words.convert_tokens_to_ids
    special = {"image_token_id": token(IMAGE.get(kind, "<image>"))}
    if kind.startswith(("qwen", "paddle")):
        special |= {f"{name}_token_id": token(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    if kind.startswith("glm"):
        ends = {"begin": "start", "end": "end"}
        special |= {
            f"{name}_{ends[end]}_token_id": token(f"<|{end}_of_{name}|>") for name in ("image", "video") for end in ends
        }
        special["video_token_id"] = token("<|video|>")
    gemma4 = {
        "video_token_id": token("<|video|>"), "audio_token_id": token("<|audio|>"),
        "boi_token_id": token("<|image>"), "eoi_token_id": token("<image|>"),
    }  # fmt: skip
    gemma3n = {
        "boi_token_id": token("<start_of_image>"), "eoi_token_id": token("<end_of_image>"),
        "boa_token_id": token("<start_of_audio>"), "eoa_token_id": token("<end_of_audio>"),
        "audio_token_id": token("<audio_soft_token>"), "vision_soft_tokens_per_image": 16, "audio_config": {
            "hidden_size": 16, "conf_num_hidden_layers": 1, "conf_num_attention_heads": 2,
        },
    }  # fmt: skip
    minicpm = {"video_token_id": token("<|video_pad|>"), "insert_layer_id": 0}
    special |= {
        "llava_onevision": {"video_token_id": token("<video>"), "image_grid_pinpoints": UNEVEN,
                            "vision_feature_layer": -1, "vision_aspect_ratio": "anyres_max_4",
                            "vision_feature_select_strategy": "full"},
        "qwen2_5_omni_thinker": {"video_token_id": token("<|video_pad|>"), "audio_token_id": token("<|AUDIO|>"),
                                 "audio_config": SOUND},
        "lfm2_vl": {"projector_hidden_size": 64},
        "ernie4_5_vl_moe": {
            f"{name}_token_id": token(f"<|{name}|>")
            for name in ("image_start", "image_end", "video_start", "video_end", "video")
        },
        "kimi_k25": {"video_token_id": token("<|kimi_k25_video_placeholder|>"), "projection_hidden_size": 32},
        "ovis2": {"hidden_size": 64, "vocab_size": max(len(words), vocabulary), "visual_indicator_token_ids": [
            token(f"<IMG_{name}>") for name in ("START", "END", "GRID", "COL", "ROW")]},
        "molmo2": {
            "image_patch_id": special["image_token_id"], "image_start_token_id": token("<im_start>"),
            "image_end_token_id": token("<im_end>"), "low_res_image_start_token_id": token("<low_res_im_start>"),
            "frame_start_token_id": token("<frame_start>"), "frame_end_token_id": token("<frame_end>"),
            "adapter_config": {
                "vision_feature_layer": [1, 0], "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2,
                "num_key_value_heads": 2, "head_dim": 16, "text_hidden_size": 64, "initializer_range": 0.1,
                "hidden_act": "sigmoid",  # a random gate would make some cells ten times as loud as others
            },
        },
        "llava_next": {"image_grid_pinpoints": PINPOINTS},
        "gemma3": {"mm_tokens_per_image": 16, "boi_token_id": token("<start_of_image>"),
                   "eoi_token_id": token("<end_of_image>")},
        "gemma3n": gemma3n,
        "gemma4": gemma4, "gemma4_unified": gemma4, "minicpmv4_6": minicpm, "minicpmv4_7": minicpm | {
            "image_start_id": token("<image>"), "image_end_id": token("</image>"),
            "slice_start_id": token("<slice>"), "slice_end_id": token("</slice>"), "newline_id": token("Ċ"),
        },
        "idefics3": {"scale_factor": 2}, "smolvlm": {"scale_factor": 2},
        "paligemma": {"projection_dim": 64},
        "mistral3": {"vision_feature_layer": -1}, "pixtral": {
            "vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
    }.get(kind, {"video_token_id": token("<|video_pad|>")} if kind.startswith("qwen") else {})  # fmt: skip
    config = getattr(transformers, CLASS[kind] + "Config")(
        text_config=_text(kind, words, vocabulary), vision_config=_vision(kind), tie_word_embeddings=False, **special
    )
    if kind == "gemma3n":  # ids of pictures, and behind them of sounds, are read from tables of their own
        text, seen, heard = config.text_config, config.vision_config, config.audio_config
        seen.vocab_offset, heard.vocab_offset = config.image_token_id, config.audio_token_id
        seen.vocab_size, heard.vocab_size = heard.vocab_offset - seen.vocab_offset, text.vocab_size - heard.vocab_offset
    config._attn_implementation = attention
    torch.manual_seed(seed)
    made = getattr(transformers, CLASS[kind] + "ForConditionalGeneration")(config).eval()
    with torch.no_grad():
        decoder = getattr(made.get_decoder(), "model", made.get_decoder())
        norm = decoder.embedding_norm if kind == "lfm2_vl" else decoder.norm
        norm.weight.uniform_(0.5, 1.5)  # so that a second norm would show
        for name, weight in made.named_parameters():  # SigLIP's random attention would mix all patches
            if "vision" in name and name.endswith("out_proj.weight"):
                weight.mul_(0.1)
        if kind == "gemma3n":  # random windows of 5 x 5 would mix all patches, and AltUp's scale would be zero
            for part in made.model.vision_tower.modules():
                if isinstance(part, torch.nn.Conv2d):
                    centre = torch.zeros(part.kernel_size)
                    centre[part.kernel_size[0] // 2, part.kernel_size[1] // 2] = 1
                    part.weight.mul_(centre)
            for layer in decoder.layers:
                layer.altup.correct_output_scale.uniform_(0.5, 1.5)
        if kind == "gemma3":  # would be zero
            made.model.multi_modal_projector.mm_input_projection_weight.normal_(0, 0.1)
    made.generation_config = GenerationConfig(
        eos_token_id=[words.eos_token_id, words.pad_token_id], pad_token_id=words.pad_token_id, do_sample=True,
        temperature=0.01, top_k=1, top_p=0.001,
    )  # fmt: skip
    return made


def checkpoint(folder: Path, kind: str = "qwen2_vl", seed: int = 0) -> Path:
    """Save both; returns the folder."""
    model(kind, seed).save_pretrained(folder)
    processor(kind).save_pretrained(folder)
    return folder


def loaded(kind: str = "qwen2_vl", of: object | None = None):
    """A model of a kind, or one that is given, with its processor and family."""
    from tam.model.loaded import Loaded

    return Loaded.of(model(kind) if of is None else of, processor(kind))
