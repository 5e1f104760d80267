"""Train the embedded model: ``python -m tam.embedded.train --out DIR``, about 45 minutes on two CPU cores.

Four stages, all counted in steps and seeded:

* ``V1``, ``V2``: the vision tower alone learns to say at every token which words of the scene it shows, from the list
  of words of the whole picture; first on close-ups of parts of one object, then on whole scenes.
* ``soft``, ``soft2``: the language model learns captions on the frozen tower. A small second loss, the anchor, keeps
  its output at vision positions on those words; without it nothing ties the maps of so small a model to the picture.
  In ``soft2`` it also gives a little to every word of the vocabulary: a loss that only says which word is right drives
  the logits of all others below zero in the end; the maps of the prompt, on which the estimate of interference rests,
  are then empty, and nothing is left to subtract.

No mask enters any loss. A stage that has left ``DIR/STAGE.pt`` is not repeated.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import BatchFeature, Qwen2Tokenizer, Qwen2VLProcessor
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
from transformers.vision_utils import get_vision_position_ids

from tam.datasets.emoji import grammar
from tam.datasets.emoji import scenes as emoji
from tam.datasets.emoji.sprites import NAMES
from tam.embedded import model

SEED = 1
ONE = ((1, 1),)
FEW = ((1, 1), (1, 2), (1, 3), (2, 2), (2, 2))
MANY = ((1, 1), (1, 2), (1, 2), (1, 3), (2, 2), (2, 2), (2, 3), (2, 3), (3, 3), (3, 3), (3, 3))


@dataclass(frozen=True)
class Scenes:
    """What a batch is drawn from: pictures of ``pixels``, up to the share ``until`` of the stage's steps."""

    until: float
    pixels: int
    batch: int
    mix: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes:
        top: tokens that must show a word of the picture (vision stages).
        anchor: weight of the anchor (caption stages; None in vision stages).
        spread: share of the anchor's target that goes to the whole vocabulary evenly.
        words: weight in the cross-entropy of the tokens that carry the content: objects, places, numbers, endings.
    """

    name: str
    steps: int
    rate: float
    scenes: tuple[Scenes, ...]
    top: int = 0
    anchor: float | None = None
    words: float = 1.0
    spread: float = 0.0


STAGES = (
    Stage("V1", 1000, 1.5e-3, (Scenes(1, 64, 64, ONE),), top=3),
    Stage("V2", 800, 8e-4, (Scenes(0.7, 128, 24, FEW), Scenes(1, 224, 10, MANY)), top=6),
    Stage(
        "soft",
        2000,
        1.5e-3,
        (Scenes(0.08, 96, 40, ONE), Scenes(0.6, 128, 24, FEW), Scenes(1, 224, 12, MANY)),
        anchor=1.0,
        words=2.0,
    ),
    Stage(
        "soft2",
        900,
        1.1e-3,
        (Scenes(0.35, 160, 22, MANY), Scenes(1, 224, 14, MANY)),
        anchor=0.7,
        words=3.0,
        spread=0.004,
    ),
)


@dataclass(frozen=True)
class Example:
    """One conversation: pictures or the frames of one video (uint8 RGB), the prompt, the answer, words it shows."""

    media: list[np.ndarray]
    prompt: str
    answer: str
    words: frozenset[str]
    video: bool = False


def example(rng: np.random.Generator, scenes: Scenes) -> Example:
    """A scene with its caption, or with the question what it shows (one in five)."""
    made = emoji.draw(rng, scenes.pixels, scenes.mix)
    words = frozenset(word for name in made.names for word in name.split()) | {made.place}
    if rng.random() < 0.2:
        return Example([made.image], grammar.QUESTION, grammar.answer(made.groups), words)
    return Example([made.image], grammar.CAPTION, str(rng.choice(made.captions)), words)


def video_example(rng: np.random.Generator) -> Example:
    frames, _, caption = emoji.clip(rng)
    return Example(frames, grammar.VIDEO, caption, _words_in(caption), video=True)


def pair_example(rng: np.random.Generator) -> Example:
    first, second = emoji.draw(rng, 128, ONE), emoji.draw(rng, 128, ONE)
    caption = grammar.pair_caption(first.groups, second.groups)
    words = _words_in(caption) | {first.place, second.place}
    return Example([first.image, second.image], grammar.PAIR, caption, words)


def close_up(rng: np.random.Generator, scenes: Scenes) -> Example:
    """A picture in which a part of one object is seen, so that every part becomes recognisable."""
    size, name, place = scenes.pixels, str(rng.choice(NAMES)), str(rng.choice(list(grammar.PLACES)))
    picture, objects = emoji.background(rng, place, size), np.zeros((size, size), np.uint8)
    item = emoji.figure(rng, name, rng.uniform(36, 112))
    middle = rng.uniform(0.2, 0.8, 2) * size
    corner = int(middle[0] - item.shape[0] / 2), int(middle[1] - item.shape[1] / 2)
    emoji.paste(picture, objects, item, corner, 1)
    return Example([picture], grammar.CAPTION, "", frozenset(name.split()) | {place})


def _words_in(caption: str) -> frozenset[str]:
    return frozenset(caption.rstrip(".").split()) & frozenset(model.tag_words())


def batches(stage: Stage, number: int) -> Iterator[list[Example]]:
    """The batches of a stage. Each step has random numbers of its own, from the training split of the seed tree."""
    for step in range(stage.steps):
        rng = emoji.generator(SEED, emoji.TRAINING, number, step)
        size = next(index for index, scenes in enumerate(stage.scenes) if step < scenes.until * stage.steps)
        make, chance = (close_up if stage.name == "V1" else example), rng.random()
        if stage.anchor is not None and size == len(stage.scenes) - 1:
            if chance < 0.12:
                other = video_example if chance < 0.06 else pair_example
                yield [other(rng) for _ in range(14)]
                continue
            if chance < 0.4:  # smaller pictures are not to be forgotten
                size = int(rng.integers(size))
        scenes = stage.scenes[size]
        yield [make(rng, scenes) for _ in range(scenes.batch)]


def encode(processor: Qwen2VLProcessor, examples: list[Example]) -> BatchFeature:
    """What Qwen2-VL's processor makes of a batch, answers included, padded on the right."""
    texts = []
    for item in examples:
        kinds = ["video"] if item.video else ["image"] * len(item.media)
        content = [{"type": kind} for kind in kinds] + [{"type": "text", "text": item.prompt}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        texts.append(f"{prompt}{item.answer}<|im_end|>")
    media = [[torch.from_numpy(picture).permute(2, 0, 1) for picture in item.media] for item in examples]
    named = {"videos": [torch.stack(frames) for frames in media]} if examples[0].video else {"images": media}
    return processor(text=texts, **named, padding=True, padding_side="right", return_tensors="pt")


def answers(ids: Tensor, attention: Tensor, tokens: Qwen2Tokenizer) -> Tensor:
    """Where the answers are, with their end tokens; all three [batch, length]."""
    turn = (ids == tokens.convert_tokens_to_ids("<|im_start|>")).cumsum(1)
    assistant = (turn == 3) & (attention > 0)  # after system and user
    return assistant & (assistant.cumsum(1) > 3)  # after <|im_start|>, "assistant", line break


def vision_tokens(visual: Qwen2VisionTransformerPretrainedModel, patches: Tensor, grids: Tensor) -> Tensor:
    """The vision tower on equally large pictures at once, where the library goes picture by picture.

    Args:
        patches: [pictures * patches, values], grids: [pictures, 3], all rows equal.
    Returns:
        [pictures, tokens, hidden]
    """
    frames = int(grids[:, 0].sum())  # attention stays inside a frame
    # a convolution whose stride is its kernel is a matrix product, and much faster as one
    state = functional.linear(patches, visual.patch_embed.proj.weight.flatten(1))
    state = state.view(frames, -1, visual.config.embed_dim)
    positions = get_vision_position_ids(grids[:1] * grids.new_tensor([0, 1, 1]) + grids.new_tensor([1, 0, 0]), 2)
    cos, sin = visual.rotary_pos_emb(state, positions)
    for block in visual.blocks:
        heads = block.attn.qkv(block.norm1(state)).unflatten(-1, (3, block.attn.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        query, key = _turn(query, cos, sin), _turn(key, cos, sin)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        state = state + block.attn.proj(mixed.transpose(1, 2).flatten(2))
        state = state + block.mlp(block.norm2(state))
    return visual.merger(state).view(len(grids), -1, visual.config.hidden_size)


def _turn(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = heads.chunk(2, -1)
    return (heads * cos + torch.cat([-second, first], -1) * sin).to(heads.dtype)


def tag_logits(vision: Tensor, embeddings: Tensor) -> Tensor:
    """[..., hidden] and [tags, hidden] -> [..., tags]: which words a vision token shows, before any language model."""
    return functional.rms_norm(vision.float(), vision.shape[-1:]) @ embeddings.float().T


def vision_loss(logits: Tensor, present: Tensor, top: int) -> Tensor:
    """[pictures, tokens, tags] and bool [pictures, tags]: absent words nowhere, present words on ``top`` tokens."""
    whole = logits.logsumexp(1) - math.log(4)
    several = logits.topk(top, 1).values.mean(1)
    weight = torch.tensor(3.0, device=logits.device)
    every = functional.binary_cross_entropy_with_logits(whole, present.float(), pos_weight=weight)
    return every + 1.5 * functional.softplus(-several[present]).mean()


def anchor_loss(logits: Tensor, tags: Tensor, present: Tensor, ids: Tensor, spread: float = 0.0) -> Tensor:
    """Cross-entropy of the whole vocabulary at vision positions against the words that the tower sees there.

    Args:
        logits: [positions, vocabulary], tags: [positions, tags] of the tower, present: bool [positions, tags],
        ids: [tags] token of each tag, spread: share of the target that goes to the whole vocabulary.
    """
    target = torch.sigmoid(tags + 2) * present
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-6)
    chances = logits.float().log_softmax(-1)
    return -((1 - spread) * (target * chances[:, ids]).sum(-1) + spread * chances.mean(-1)).mean()


class Trainer:
    """The model and everything that a step needs."""

    def __init__(self, device: torch.device):
        torch.manual_seed(SEED)
        self.device = device
        self.processor = model.processor()
        self.model = model.model(self.processor.tokenizer).to(device)
        # plain matrix products are faster than fused attention at these lengths
        self.model.set_attn_implementation("eager")
        self.tags = model.tag_words()
        self.ids = torch.tensor(model.tag_ids(self.processor.tokenizer), device=device)
        self.anchor: Tensor  # [tags, hidden], the embeddings as the tower was trained with: of caption stages

    def present(self, examples: list[Example]) -> Tensor:
        """bool [examples, tags]"""
        rows = [[word in item.words for word in self.tags] for item in examples]
        return torch.tensor(rows, device=self.device)

    def weights(self, words: float) -> Tensor:
        """[vocabulary], weight of each token in the cross-entropy."""
        tokens = self.processor.tokenizer
        heavy = [piece for word in self.tags for piece in tokens(f" {word}").input_ids]
        heavy += [tokens(text).input_ids[0] for text in (" two", " three", "Two", "Three", "s", "es")]
        weight = torch.ones(len(tokens), device=self.device)
        weight[heavy] = words
        return weight

    def vision_step(self, stage: Stage, examples: list[Example]) -> dict[str, Tensor]:
        pictures = [torch.from_numpy(item.media[0]).permute(2, 0, 1) for item in examples]
        inputs = self.processor.image_processor(images=pictures, return_tensors="pt").to(self.device)
        state = vision_tokens(self.model.model.visual, inputs["pixel_values"], inputs["image_grid_thw"])
        logits = tag_logits(state, self.model.get_input_embeddings().weight[self.ids])
        return {"loss": vision_loss(logits, self.present(examples), stage.top)}

    def caption_step(self, stage: Stage, examples: list[Example], random: torch.Generator) -> dict[str, Tensor]:
        assert stage.anchor is not None, "a caption stage"
        inputs = encode(self.processor, examples).to(self.device)
        ids, vision = inputs["input_ids"], inputs["mm_token_type_ids"] > 0
        kind = "video" if examples[0].video else "image"
        patches = inputs["pixel_values_videos" if kind == "video" else "pixel_values"]
        with torch.no_grad():
            seen = vision_tokens(self.model.model.visual, patches, inputs[f"{kind}_grid_thw"])
            seen = seen.view(len(examples), -1, seen.shape[-1])  # [examples, vision, hidden]
            tags = tag_logits(seen, self.anchor)
        embedded = self.model.get_input_embeddings()(ids)
        embedded = embedded.masked_scatter(vision[..., None], seen.to(embedded.dtype))
        state = self.model.model.language_model(
            inputs_embeds=embedded, position_ids=self.positions(inputs), use_cache=False
        ).last_hidden_state

        answer = answers(ids, inputs["attention_mask"], self.processor.tokenizer)
        logits, right = self.model.lm_head(state[:, :-1][answer[:, 1:]]).float(), ids[:, 1:][answer[:, 1:]]
        weight = self.weights(stage.words)[right]
        words = (functional.cross_entropy(logits, right, reduction="none") * weight).sum() / weight.sum()

        rows = torch.randperm(tags.shape[0] * tags.shape[1], generator=random)[:1200].to(self.device)
        present = self.present(examples)[:, None].expand_as(tags)
        anchor = anchor_loss(
            self.model.lm_head(state[vision][rows]),
            tags.flatten(0, 1)[rows],
            present.flatten(0, 1)[rows],
            self.ids,
            stage.spread,
        )
        return {"loss": words + stage.anchor * anchor, "words": words, "anchor": anchor}

    def positions(self, inputs: BatchFeature) -> Tensor:
        """[3, batch, length], the library's; rows differ only in padding, so the first is everybody's."""
        row = {"input_ids": inputs["input_ids"][:1], "mm_token_type_ids": inputs["mm_token_type_ids"][:1]}
        for name in ("image_grid_thw", "video_grid_thw"):
            if name in inputs:
                row[name] = inputs[name][: len(inputs[name]) // len(inputs["input_ids"])]
        positions, _ = self.model.model.get_rope_index(**row)
        return positions.expand(-1, len(inputs["input_ids"]), -1)

    def run(self, stage: Stage, number: int) -> None:
        """All steps of one stage."""
        if stage.anchor is not None:
            self.model.model.visual.requires_grad_(False)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": 0.02},
            {"params": [parameter for parameter in trained if parameter.ndim == 1], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_at(step, stage.steps))
        random = torch.Generator().manual_seed(SEED + number)
        begin, cpu = time.perf_counter(), time.process_time()
        mean: dict[str, float] = {}
        progress = tqdm(batches(stage, number), total=stage.steps, desc=stage.name, mininterval=5)
        for examples in progress:
            with torch.autocast(self.device.type, torch.bfloat16):
                if stage.anchor is None:
                    losses = self.vision_step(stage, examples)
                else:
                    losses = self.caption_step(stage, examples, random)
            optimiser.zero_grad()
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            schedule.step()
            mean = {name: 0.98 * mean.get(name, value.item()) + 0.02 * value.item() for name, value in losses.items()}
            progress.set_postfix({name: f"{value:.3f}" for name, value in mean.items()}, refresh=False)
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
        print(f"{stage.name}: {wall:.0f} s, {cpu:.0f} s of CPU, {mean}", flush=True)

    def save(self, folder: Path) -> None:
        """The checkpoint as the library reads it, in half precision."""
        self.model.set_attn_implementation("sdpa")
        self.model.half().save_pretrained(folder)
        self.processor.save_pretrained(folder)


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate: a short rise, then half a cosine down to a fiftieth."""
    rise = min(1.0, (step + 1) / 40)
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def main(out: Annotated[Path, typer.Option(help="folder for the stages and the checkpoint")]) -> None:
    cv2.setNumThreads(0)  # its pool would fight with torch's
    trainer = Trainer(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    out.mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(STAGES):
        kept = out / f"{stage.name}.pt"
        if kept.exists():
            trainer.model.load_state_dict(torch.load(kept, map_location=trainer.device))
        else:
            trainer.run(stage, number)
            torch.save(trainer.model.state_dict(), kept)
        if stage.name == "V2":
            trainer.anchor = trainer.model.get_input_embeddings().weight[trainer.ids].detach().clone()
    trainer.save(out / "checkpoint")


if __name__ == "__main__":
    typer.run(main)
