"""Captions with one noun exchanged for what is not in the picture."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tam import manifest, tagging
from tam.datasets import swapped
from tam.datasets.swapped import SWAPPED
from tam.generation.given_answers import read_given_answers
from tam.manifest import Sample
from tam.tagging import Language, rule_lemma

TAGS = {"a": "DT", "an": "DT", "two": "CD", "on": "IN", "sits": "VBZ", "and": "CC", "grass": "NN"}
JUDGE = Language(lambda word: TAGS.get(word.lower(), "NN"), rule_lemma, None, "by hand")
CATEGORIES = {"cat": 17, "traffic light": 10, "apple": 53, "person": 1}


def sample(*captions: str, categories: dict[str, int] = CATEGORIES) -> Sample:
    return Sample("a", ["a.png"], "What?", references=[*captions], categories=categories)


@pytest.mark.parametrize(
    ("caption", "seen", "others", "expected"),
    [
        ("A cat sits on grass.", {17}, {"apple": 53}, "An apple sits on grass."),
        ("A cat sits on grass.", {17}, {"traffic light": 10}, "A traffic light sits on grass."),
        ("two cats, and grass", {17}, {"person": 1}, "two people, and grass"),
        ("Traffic lights on grass", {10}, {"cat": 17}, "Cats on grass"),
        ("an apple and a cat", {53}, {"person": 1}, "a person and a cat"),
    ],
)
def test_a_noun_is_exchanged_in_its_number_with_its_article(caption, seen, others, expected):
    named = {name: id for name, id in CATEGORIES.items() if id in seen or name in caption} | others
    assert swapped.swapped(sample(caption, categories=named), seen, JUDGE, 0) == (expected, SWAPPED)


def test_what_comes_in_is_neither_in_the_picture_nor_said_already():
    one = sample("A person and a cat and an apple")
    assert {swapped.swapped(one, {1, 17}, JUDGE, seed) for seed in range(20)} == {
        ("A traffic light and a cat and an apple", SWAPPED), ("A person and a traffic light and an apple", SWAPPED),
    }  # fmt: skip


def test_the_first_caption_that_names_what_is_there_is_taken():
    one = sample("grass", "an apple", "a cat")
    text, _ = swapped.swapped(one, {17, 10, 1}, JUDGE, 0)
    assert text == "an apple"


def test_nothing_is_exchanged_where_nothing_that_is_there_is_said():
    assert swapped.swapped(sample("grass", "an apple"), {17}, JUDGE, 0) == (None, swapped.NOTHING)
    every = set(CATEGORIES.values())
    assert swapped.swapped(sample("a cat"), every, JUDGE, 0) == (None, swapped.NO_OTHER)


def test_the_file_is_one_of_given_answers_and_depends_on_no_other_sample(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tagging, "choose", lambda: JUDGE)
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((4, 4), 17, np.uint8))
    samples = [
        Sample(id, ["a.png"], "What?", references=["a cat"], categories=CATEGORIES, mask="mask.png") for id in "abc"
    ]
    texts = []
    two = Sample("d", ["a.png", "b.png"], "What?", references=["a cat"], categories=CATEGORIES, mask="mask.png")
    samples[1] = replace(samples[1], mask=None, masks={"0": "mask.png"})
    for name, rows in {"all": [*samples, two], "last": samples[2:]}.items():
        manifest.write(rows, tmp_path / f"{name}.jsonl")
        counts = swapped.write(tmp_path / f"{name}.jsonl", tmp_path / f"{name}-out.jsonl", seed=1)
        texts.append(read_given_answers(tmp_path / f"{name}-out.jsonl", "abcd"))
    assert counts == {"swapped": 1} and [*texts[0]] == ["a", "b", "c"]
    assert texts[0]["c"] == texts[1]["c"] and "cat" not in texts[0]["c"].text
