"""Captions with one noun exchanged: texts to explain, in which it is known what is not in the picture.

One noun of a caption that names what is in the picture becomes a category of the dataset that is not; the others stay.
The result is a file of given answers (``generation/given_answers.py``).
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tam import manifest, tagging
from tam.label_map import read_label_map
from tam.manifest import Sample
from tam.records import Piece
from tam.system.atomic import atomic
from tam.system.mark import MAKER
from tam.tagging import IRREGULAR, Language
from tam.words import Word, named, read_words

PLURALS = {singular: plural for plural, singular in IRREGULAR.items()} | {"sheep": "sheep"}
SWAPPED, NOTHING, NO_OTHER = "swapped", "no caption names what is in the picture", "no other category can be said"


def write(manifest_path: Path, out: Path, seed: int = 0) -> dict[str, int]:
    """Write a line for each sample whose captions name something in its label map.

    Returns:
        the number of samples by what became of them; only "swapped" ones have a line.

    Raises:
        InputError: as ``manifest.read`` and ``tagging.choose``.
    """
    judge = tagging.choose()
    counts: Counter[str] = Counter()
    with atomic(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for sample in manifest.read(manifest_path):
            text, label_map, problem = None, None, "not a single image"
            if sample.kind == "images" and len(sample.media) == 1:
                masked = replace(sample, mask=sample.mask or sample.masks.get("0"))
                label_map, problem = read_label_map(masked, (0, 0), manifest_path, any_size=True)
            if label_map is not None:
                text, problem = swapped(sample, set(np.unique(label_map).tolist()), judge, seed)
            counts[problem.partition(":")[0]] += 1
            if text is not None:
                file.write(json.dumps({"id": sample.id, "answer": text, "by": MAKER}, ensure_ascii=False) + "\n")
    return dict(counts)


def swapped(sample: Sample, seen: set[int], judge: Language, seed: int) -> tuple[str | None, str]:
    """The first caption that names something in ``seen``, with one such noun exchanged; and "swapped", or why there is
    none. It depends on the sample's id and ``seed``, on no other sample."""
    digest = hashlib.sha256(f"{seed} {sample.id}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    found = NOTHING
    for caption in sample.references:
        pieces, nouns = _read(caption, sample.categories, judge)
        places = [place for place, noun in enumerate(nouns) if noun.label in seen]
        if not places:
            continue
        place = int(random.choice(places))
        taken = seen | {noun.label for noun in nouns}
        others = [(name, id) for name, id in sample.categories.items() if id not in taken]
        for index in random.permutation(len(others)).tolist():
            name, id = others[index]
            text = _exchanged(pieces, nouns[place], name, judge)
            labels = [noun.label for noun in nouns]
            labels[place] = id
            if [noun.label for noun in _read(text, sample.categories, judge)[1]] == labels:  # as the metrics will read
                return text, SWAPPED
        found = NO_OTHER
    return None, found


def _read(caption: str, categories: Mapping[str, int], judge: Language) -> tuple[list[str], list[Word]]:
    """A caption in pieces, and its nouns that name a category; their tokens are pieces."""
    pieces = re.findall(r"\s*(?:[\w'’-]+|\S)", caption)
    known = [Piece(text, text, text.encode()) for text in pieces]
    return pieces, named(read_words(known, categories, judge.tag, judge.lemmatise, published_grouping=False))


def _exchanged(pieces: Sequence[str], noun: Word, name: str, judge: Language) -> str:
    """The caption with another name in place of a noun, in its number, and with the article that goes with it."""
    first, last = noun.tokens[0], noun.tokens[-1]
    word = pieces[last].strip().lower()
    said = plural(name) if judge.lemmatise(word) != word else name
    before = [*pieces[:first]]
    if before and before[-1].strip().lower() in ("a", "an"):
        space = before[-1][: -len(before[-1].lstrip())]
        before[-1] = f"{space}{before[-1].lstrip()[0]}{'n' if said[0].lower() in 'aeiou' else ''}"
    space = pieces[first][: -len(pieces[first].lstrip())]
    upper = pieces[first].strip()[0].isupper()
    return "".join([*before, space, said[0].upper() + said[1:] if upper else said, *pieces[last + 1 :]]).strip()


def plural(name: str) -> str:
    """Of an English name, by the ending of its last word; what ends in one "s" stays ("scissors").

    >>> [plural(name) for name in ("traffic light", "bus", "person", "bench", "teddy bear", "skis", "butterfly")]
    ['traffic lights', 'buses', 'people', 'benches', 'teddy bears', 'skis', 'butterflies']
    """
    *before, last = name.split(" ")
    if last in PLURALS:
        last = PLURALS[last]
    elif re.search(r"(ss|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    elif not last.endswith("s"):
        last += "s"
    return " ".join([*before, last])
