"""From media and a person's words to a model's inputs, and to where the tokens of both lie. No family's own."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from tam.errors import InputError, LayoutError, ModelError
from tam.families.interface import Block, Family, Processed
from tam.layout import Grid, Layout
from tam.media import Media
from tam.model.video import video_options
from tam.system.foreign import foreign

# Stands for the person's words in the chat template: a private-use character, so that no template holds it.
PLACE = "\ue000"

# What processors give besides a model's inputs.
UNREAD = {"labels", "num_crops", "num_patches", "video_metadata"}


@dataclass(frozen=True)
class Prompter:
    """What makes prompts for a checkpoint. It has no weights, so that other processes can be given it.

    Attributes:
        max_pixels: of a picture or frame; a larger one is made smaller before the processor sees it.
        template: options of the chat template's own, by name.
    """

    family: Family
    config: Any
    processor: Any
    max_pixels: int | None = None
    template: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Prepared:
    """One sample, ready for the model.

    Attributes:
        inputs: the processor's outputs for a batch of this one sample.
        tokens: int64 [prompt sequence].
        layout: where its tokens are; the answer will start at its end.
    """

    inputs: dict[str, torch.Tensor]
    tokens: np.ndarray
    layout: Layout

    def to(self, device: torch.device) -> "Prepared":
        return replace(self, inputs={name: value.to(device, non_blocking=True) for name, value in self.inputs.items()})

    def pin_memory(self) -> "Prepared":
        """In memory that a GPU copies from while it computes; a ``DataLoader`` asks for it by this name."""
        return replace(self, inputs={name: value.pin_memory() for name, value in self.inputs.items()})


@foreign("the processor cannot take this")
def prepare(prompter: Prompter, media: Media, words: str, turns: Sequence[Sequence[str]] = ()) -> Prepared:
    """Ask about ``media`` with ``words``, in the processor's own chat template.

    Args:
        turns: (the user's words, the answer) of each earlier turn of the conversation.

    Raises:
        InputError: the words hold a token that stands for vision; a video for a model that takes none; whatever the
            processor raises.
        LayoutError: the family does not account for all the vision tokens.
        ModelError: there is no chat template, or tokenizer or template do not show where the words are.
    """
    family, processor = prompter.family, prompter.processor
    whole, media = media, bounded(media, prompter.max_pixels)
    if PLACE in words:
        raise InputError("the prompt holds a private-use character", got=f"U+{ord(PLACE):X}", cure="take it out")
    if media.video and not family.video:
        raise InputError("the model takes no video", got=family.name, cure="show frames as several pictures")
    if not processor.tokenizer.is_fast:
        raise ModelError("the tokenizer does not say where its tokens are in the text", got=type(processor.tokenizer))
    before, after = render(prompter, media, PLACE, turns).split(PLACE)
    text = render(prompter, media, words, turns)
    if not (text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)):
        raise ModelError("the chat template changes with the words", got=repr(text), cure="report the checkpoint")
    options = dict(family.options)
    bos = processor.tokenizer.bos_token
    if bos is not None and text.startswith(bos):
        options["add_special_tokens"] = False  # as transformers does: the template has written it already
    if media.video:
        options["videos_kwargs"] = options.get("videos_kwargs", {}) | video_options(media)
    outputs = processor(
        text=[text],
        truncation=False,  # whatever a fine-tune was saved with
        padding=False,
        images=None if media.video else [list(media.pictures)],
        videos=[np.stack([np.asarray(picture) for picture in media.pictures])] if media.video else None,
        return_tensors="pt",
        return_offsets_mapping=True,
        return_text_replacement_offsets=True,
        **options,
    )
    offsets = outputs.pop("offset_mapping")[0].numpy()
    if "text_replacement_offsets" not in outputs:
        raise ModelError("the processor does not say what it writes for a picture", got=type(processor).__name__)
    written = tuple(place["replacement"] for place in outputs.pop("text_replacement_offsets")[0])
    if len(written) != len(media.sizes):
        raise InputError("the prompt holds a vision token", got=repr(words), cure="take it out of the prompt")
    for name in UNREAD & outputs.keys():
        outputs.pop(name)
    tokens = outputs["input_ids"][0].numpy()
    # Pictures stand before the words and make the text longer there, so the words are counted from its end.
    end = offsets[:, 1].max() - len(after) - len(family.appended)
    prompt = spanning(offsets, end - (len(text) - len(before) - len(after)), end)
    blocks = tuple(family.blocks(Processed(prompter.config, processor, outputs, media, written)))
    vision = np.flatnonzero(np.isin(tokens, sorted(family.vision_ids(prompter.config))))
    if np.isin(prompt, vision).any():
        raise InputError("the prompt holds a vision token", got=repr(words), cure="take it out of the prompt")
    layout = Layout(
        vision=vision[showing(blocks, len(vision))].astype(np.int32),
        prompt=prompt,
        answer=len(tokens),
        grids=tuple(_scaled(block.grid, media, whole) for block in blocks),
        sizes=whole.sizes,
    )
    return Prepared({name: _tensor(value) for name, value in outputs.items()}, tokens, layout)


def render(prompter: Prompter, media: Media, words: str, turns: Sequence[Sequence[str]] = ()) -> str:
    """The whole prompt as text: media first, then earlier turns and the words, then the start of the answer."""
    family, processor = prompter.family, prompter.processor
    check_template(prompter)
    if family.template is not None:
        if turns:
            raise InputError("the model takes no conversation", got=family.name, cure="ask one question")
        return family.template(processor, len(media.pictures), words)
    template = template_of(processor)
    shown = [{"type": "video"}] if media.video else [{"type": "image"}] * len(media.pictures)
    if any(isinstance(turn, str) or len(turn) != 2 for turn in turns):
        raise InputError("a turn is not the user's words and the answer", got=turns, expected="pairs of texts")
    said = [text for turn in turns for text in turn] + [words]
    conversation = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in zip(itertools.cycle(("user", "assistant")), said, strict=False)
    ]
    conversation[0]["content"] = [*shown, *conversation[0]["content"]]
    text = processor.apply_chat_template(
        conversation, chat_template=template, tokenize=False, add_generation_prompt=True, **prompter.template or {}
    )
    if words == PLACE and text.count(PLACE) != 1:
        raise ModelError("the chat template does not show the words once", got=f"{text.count(PLACE)} times")
    return text


def check_template(prompter: Prompter) -> None:
    """InputError: an option that the chat template does not know; a template would pass over it."""
    text = template_of(prompter.processor) if prompter.template and prompter.family.template is None else ""
    for name in prompter.template or {}:
        if not re.search(rf"\b{re.escape(name)}\b", text):
            raise InputError("the chat template has no such option", got=name, cure="see the template for its names")


def bounded(media: Media, most: int | None) -> Media:
    """The media in their shapes, with at most so many pixels a picture or frame."""
    if most is None:
        return media
    return replace(media, pictures=tuple(_shrunk(picture, most) for picture in media.pictures))


def _shrunk(picture: Image.Image, most: int) -> Image.Image:
    width, height = picture.size
    if width * height <= most:
        return picture
    part = math.sqrt(most / (width * height))
    return picture.resize((max(1, int(width * part)), max(1, int(height * part))), Image.Resampling.BICUBIC)


def _scaled(grid: Grid, shown: Media, whole: Media) -> Grid:
    """A grid on the pixels of the medium itself, of one on those that were shown."""
    if shown is whole:
        return grid
    x, y = (one / other for one, other in zip(whole.sizes[grid.medium], shown.sizes[grid.medium], strict=True))
    left, top, right, bottom = grid.box
    return replace(grid, box=(left * x, top * y, right * x, bottom * y))


def template_of(processor: Any) -> str:
    """The chat template: the processor's, or else its tokenizer's; of several by name, the default one.

    Raises:
        ModelError: there is none.
    """
    for part in (processor, processor.tokenizer):
        found = getattr(part, "chat_template", None)
        if isinstance(found, dict):
            found = found.get("default")
        if found is not None:
            return found
    raise ModelError(
        "the checkpoint has no chat template", got=type(processor).__name__,
        cure="take a chat model, or copy chat_template.jinja of the checkpoint that it was tuned from",
    )  # fmt: skip


def showing(blocks: Sequence[Block], count: int) -> np.ndarray:
    """Which of the ``count`` tokens with a vision token's id show something: bool [count]; LayoutError if not all are
    accounted for."""
    parts = [
        np.append(np.tile([True] * block.grid.columns + [False] * block.row_end, block.grid.rows), [False] * block.end)
        for block in blocks
    ]
    shown = np.concatenate(parts).astype(bool)
    if len(shown) != count:
        shapes = " + ".join(f"{block.grid.rows}x{block.grid.columns}" for block in blocks)
        raise LayoutError(
            "grid cells and vision tokens differ", got=f"{count} vision tokens", expected=f"{len(shown)} ({shapes})",
            cure="check the family's rule for this processor",
        )  # fmt: skip
    return shown


def spanning(offsets: np.ndarray, start: int, end: int) -> np.ndarray:
    """Positions of the tokens that hold characters ``start`` to ``end``: int32, without gaps.

    Args:
        offsets: [sequence, 2], first character of each token and the one after its last.
    """
    inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > offsets[:, 0]))
    return (
        np.arange(inside[0], inside[-1] + 1, dtype=np.int32) if len(inside) and end > start else np.zeros(0, np.int32)
    )


def _tensor(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.tensor(value)
