import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from tam.datasets.emoji import grammar
from tam.datasets.emoji import scenes as emoji
from tam.embedded import CHECKPOINT, LEXICON, model, train

MICRO = train.Scenes(1, 64, 4, train.ONE)


@pytest.fixture(scope="module")
def trainer():
    return train.Trainer(torch.device("cpu"))


@pytest.fixture(scope="module")
def shipped():
    return AutoProcessor.from_pretrained(CHECKPOINT), AutoModelForImageTextToText.from_pretrained(
        CHECKPOINT, dtype=torch.float32
    )


def examples(kind):
    rng = emoji.generator(0, emoji.TRAINING, 99)
    make = {
        "image": lambda: train.example(rng, MICRO), "pair": lambda: train.pair_example(rng),
        "video": lambda: train.video_example(rng),
    }[kind]  # fmt: skip
    return [make() for _ in range(3)]


@pytest.mark.parametrize("kind", ["image", "pair", "video"])
def test_a_batch_is_what_the_processor_makes_of_each_conversation(trainer, kind):
    batch = examples(kind)
    inputs = train.encode(trainer.processor, batch)
    patches = "pixel_values_videos" if kind == "video" else "pixel_values"
    per_example = len(inputs[patches]) // len(batch)
    for row, item in enumerate(batch):
        content = [{"type": "text", "text": item.prompt}]
        if kind == "video":
            content.insert(0, {"type": "video", "video": np.stack(item.media).transpose(0, 3, 1, 2)})
        else:
            content[:0] = [{"type": "image", "image": picture.transpose(2, 0, 1)} for picture in item.media]
        conversation = [{"role": "user", "content": content}]
        alone = trainer.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
        prompt = alone["input_ids"][0]
        answer = trainer.processor.tokenizer(f"{item.answer}<|im_end|>", return_tensors="pt").input_ids[0]
        real = inputs["attention_mask"][row].bool()
        assert torch.equal(inputs["input_ids"][row][real], torch.cat([prompt, answer]))
        assert torch.equal(inputs[patches][row * per_example : (row + 1) * per_example], alone[patches])
        where = train.answers(inputs["input_ids"], inputs["attention_mask"], trainer.processor.tokenizer)[row]
        assert torch.equal(inputs["input_ids"][row][where], answer)


@pytest.mark.parametrize("kind", ["image", "pair", "video"])
def test_positions_are_the_librarys(trainer, kind):
    inputs = train.encode(trainer.processor, examples(kind))
    named = {
        name: value
        for name, value in inputs.items()
        if name in ("input_ids", "mm_token_type_ids", "attention_mask", "image_grid_thw", "video_grid_thw")
    }
    theirs, _ = trainer.model.model.get_rope_index(**named)
    real = inputs["attention_mask"].bool()
    assert torch.equal(trainer.positions(inputs)[:, real], theirs[:, real])


@pytest.mark.parametrize("kind", ["image", "pair", "video"])
def test_vision_tokens_are_the_librarys(trainer, kind):
    inputs = train.encode(trainer.processor, examples(kind))
    patches = inputs["pixel_values_videos" if kind == "video" else "pixel_values"]
    grids = inputs["video_grid_thw" if kind == "video" else "image_grid_thw"]
    with torch.no_grad():
        ours = train.vision_tokens(trainer.model.model.visual, patches, grids).flatten(0, 1)
        theirs = trainer.model.model.visual(patches, grid_thw=grids).pooler_output
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_training_scenes_come_from_the_training_split(monkeypatch):
    splits = []
    real = emoji.generator

    def noted(seed, split, *index):
        splits.append(split)
        return real(seed, split, *index)

    monkeypatch.setattr(emoji, "generator", noted)
    for number, stage in enumerate(train.STAGES):
        small = tuple(dataclasses.replace(scenes, pixels=64, batch=1, mix=train.ONE) for scenes in stage.scenes)
        list(train.batches(dataclasses.replace(stage, steps=3, scenes=small), number))
    assert set(splits) == {emoji.TRAINING}


def test_the_last_caption_size_mixes_in_videos_and_pairs():
    small = tuple(train.Scenes(until, 64, 1, train.ONE) for until in (0.1, 1))
    stage = dataclasses.replace(train.STAGES[-1], steps=40, scenes=small)
    prompts = {batch[0].prompt for batch in train.batches(stage, 0)}
    assert {grammar.VIDEO, grammar.PAIR} <= prompts


def test_words_of_an_example_are_tags_of_its_caption():
    for kind in ("image", "video"):
        for item in examples(kind):
            assert item.words <= set(model.tag_words())
            assert all(word in item.answer for word in item.words if item.prompt != grammar.QUESTION)


def test_first_tokens_of_the_tags_are_distinct(trainer):
    ids = model.tag_ids(trainer.processor.tokenizer)
    assert len(set(ids)) == len(ids) == 39


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (" two giraffes", [" two", " gir", "affe", "s"]), (" an umbrella", [" an", " um", "brella"]),
        (" traffic lights", [" traffic", " light", "s"]), (" buses", [" bus", "es"]), (" sheep.", [" sheep", "."]),
        ("There are", ["There", " are"]), ("Zoë", ["Z", "o", "\ufffd", "\ufffd"]),
    ],
)  # fmt: skip
def test_pieces(trainer, text, pieces):
    tokens = trainer.processor.tokenizer
    ids = tokens(text).input_ids
    assert [tokens.decode([number]) for number in ids] == pieces
    assert tokens.decode(ids) == text


def test_every_sentence_is_made_of_known_pieces(trainer):
    known = set(model.pieces()) | {".", ",", "s"}
    for index in range(30):
        for caption in emoji.scene(4, index).captions:
            ids = trainer.processor.tokenizer(caption).input_ids
            assert {trainer.processor.tokenizer.decode([number]) for number in ids} <= known


def test_absent_words_are_punished_and_present_words_rewarded():
    present = torch.tensor([[True, False]])
    logits = torch.zeros(1, 16, 2)
    better, worse = logits.clone(), logits.clone()
    better[0, :6] = torch.tensor([4.0, -4.0])
    worse[0, :6] = torch.tensor([-4.0, 4.0])
    losses = [train.vision_loss(each, present, top=6).item() for each in (better, logits, worse)]
    assert losses == sorted(losses)


def test_the_anchor_is_smallest_where_both_see_the_same_word():
    tags, present = torch.tensor([[6.0, -9.0]]), torch.tensor([[True, True]])
    logits = torch.tensor([[0.0, 5.0, 0.0], [5.0, 0.0, 0.0]])
    losses = [train.anchor_loss(row[None], tags, present, torch.tensor([1, 2])).item() for row in logits]
    assert losses[0] < 0.1 < losses[1]


def test_a_spread_anchor_keeps_other_words_from_falling_without_end():
    tags, present, ids = torch.tensor([[6.0, -9.0]]), torch.tensor([[True, False]]), torch.tensor([1, 2])
    near, far = torch.tensor([[0.0, 6.0, 0.0]]), torch.tensor([[-60.0, 6.0, -60.0]])
    plain = [train.anchor_loss(row, tags, present, ids).item() for row in (near, far)]
    spread = [train.anchor_loss(row, tags, present, ids, spread=0.1).item() for row in (near, far)]
    assert plain[1] < plain[0]
    assert spread[0] < spread[1]


@pytest.mark.parametrize("anchor", [None, 1.0])
def test_steps_on_one_batch_lower_the_loss(anchor):
    trainer = train.Trainer(torch.device("cpu"))
    trainer.anchor = trainer.model.get_input_embeddings().weight[trainer.ids].detach().clone()
    stage = train.Stage("micro", 6, 1e-3, (MICRO,), top=3, anchor=anchor, words=2.0)
    batch = examples("image")
    optimiser = torch.optim.AdamW(trainer.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        random = torch.Generator().manual_seed(0)
        made = trainer.vision_step(stage, batch) if anchor is None else trainer.caption_step(stage, batch, random)
        optimiser.zero_grad()
        made["loss"].backward()
        optimiser.step()
        losses.append(made["loss"].item())
    assert losses[-1] < losses[0]


def test_all_stages_run_and_finished_ones_are_not_repeated(tmp_path, monkeypatch):
    small = (dataclasses.replace(MICRO, until=0.5), MICRO)
    stages = tuple(dataclasses.replace(stage, steps=2, scenes=small) for stage in train.STAGES)
    monkeypatch.setattr(train, "STAGES", stages)
    train.main(tmp_path)
    AutoProcessor.from_pretrained(tmp_path / "checkpoint")
    first = AutoModelForImageTextToText.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
    (tmp_path / "soft2.pt").unlink()
    ran, real = [], train.Trainer.run

    def noted(self, stage, number):
        ran.append(stage.name)
        real(self, stage, number)

    monkeypatch.setattr(train.Trainer, "run", noted)
    train.main(tmp_path)
    assert ran == ["soft2"]
    second = AutoModelForImageTextToText.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_the_shipped_checkpoint_is_small(shipped):
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= 6_000_000
    assert sum(parameter.numel() for parameter in shipped[1].parameters()) <= 3_000_000


def test_the_shipped_checkpoint_has_the_tokenizer_of_this_code(shipped, trainer):
    ours, theirs = (each.tokenizer.backend_tokenizer.to_str() for each in (trainer.processor, shipped[0]))
    assert json.loads(ours)["model"] == json.loads(theirs)["model"]


def caption(shipped, drawn: emoji.Scene) -> str:
    processor, made = shipped
    content = [{"type": "image", "image": drawn.image}, {"type": "text", "text": grammar.CAPTION}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip
    answer = made.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
    return processor.decode(answer, skip_special_tokens=True)


def test_the_shipped_checkpoint_names_the_object_of_a_simple_scene(shipped):
    scenes = [emoji.draw(emoji.generator(21, emoji.EVALUATION, index), mix=train.ONE) for index in range(24)]
    assert sum(bool(re.search(rf"\b{drawn.names[0]}(s|es)?\b", caption(shipped, drawn))) for drawn in scenes) >= 22


def test_the_shipped_checkpoint_counts_right_more_often_than_not(shipped):
    scenes = [emoji.draw(emoji.generator(22, emoji.EVALUATION, index), mix=((1, 2), (1, 3))) for index in range(24)]
    right = sum(grammar.phrase(*drawn.groups[0]) in caption(shipped, drawn).lower() for drawn in scenes)
    assert right > len(scenes) / 2


def test_the_processor_takes_pictures_of_any_size(shipped):
    processor, _ = shipped
    for height, width, rows, columns in ((224, 224, 14, 14), (480, 640, 12, 16), (33, 70, 2, 4)):
        picture = np.zeros((height, width, 3), np.uint8)
        grid = processor.image_processor(images=[picture], return_tensors="pt")["image_grid_thw"][0] // 2
        assert grid[1:].tolist() == [rows, columns]


def test_the_lexicon_has_every_word_of_the_grammar():
    lexicon = json.loads(LEXICON.read_text(encoding="utf-8"))
    assert set(lexicon) == {word.lower() for word in grammar.words()}
    assert (lexicon["cat"], lexicon["cats"], lexicon["and"], lexicon["there"]) == ("NN", "NNS", "CC", "EX")
