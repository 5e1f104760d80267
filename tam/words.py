"""Tokens of an answer -> words -> noun, function word or other -> category."""

import codecs
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tam.tagging import Lemmatiser, SentenceTagger, Tagger

NO_CATEGORY, FUNCTION, OTHER = -1, -2, -3
"""Labels of words that are no category: a noun, a function word, anything else."""

NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
# As published: prepositions (IN) and numbers (CD) are left out on purpose.
FUNCTION_TAGS = frozenset({"CC", "DT", "EX", "MD", "POS", "PRP", "PRP$", "UH", "WDT", "WP", "WP$", "WRB"})

# Punctuation that holds together what stands on its two sides: "t-shirt", "man's".
JOINERS = frozenset("-'\u2019\u2010\u2011")


class Piece(Protocol):
    """What is read of a vocabulary entry (tam.cache.Piece)."""

    piece: str
    text: str
    bytes: bytes


@dataclass(frozen=True)
class Word:
    """A word of the answer.

    Attributes:
        text: without white space.
        tokens: indices of its tokens in the answer, ascending.
        tag: Penn Treebank tag; "" if the tagger does not know it.
        label: category id (> 0), or NO_CATEGORY, FUNCTION, OTHER.
    """

    text: str
    tokens: tuple[int, ...]
    tag: str = ""
    label: int = OTHER


def read_words(
    pieces: Sequence[Piece],
    categories: Mapping[str, int],
    tag: Tagger,
    lemmatise: Lemmatiser,
    *,
    published_grouping: bool,
    left_out: frozenset[int] = frozenset(),
    tag_sentence: SentenceTagger | None = None,
) -> list[Word]:
    """Words of an answer with tags and labels.

    Args:
        pieces: the answer's tokens.
        categories: name -> id.
        published_grouping: group by each piece's own text, as the published code does; else by the joined bytes.
        left_out: indices of tokens that belong to no word: end tokens.
        tag_sentence: tags all words together, instead of ``tag``, which tags each alone.
    """
    group = published_groups if published_grouping else groups
    kept = [index for index in range(len(pieces)) if index not in left_out]
    grouped = group([pieces[index] for index in kept])
    texts = [text for text, _ in grouped]
    words = []
    for (text, members), found in zip(grouped, tag_sentence(texts) if tag_sentence else map(tag, texts), strict=True):
        tokens = tuple(kept[member] for member in members)
        words.append(Word(text, tokens, found, label(text, found, categories, lemmatise)))
    return words


def published_groups(pieces: Sequence[Piece]) -> list[tuple[str, list[int]]]:
    """Words as the published evaluation groups them: (text, indices), every piece in a word.

    A piece is judged by its own decoded text, so a byte fragment is U+FFFD, an empty piece counts as punctuation,
    and what follows without a space (a new line, an end token) is joined to the word before.
    """
    found: list[tuple[str, list[int]]] = []
    for index, piece in enumerate(pieces):
        text = piece.text
        starts = text in string.punctuation or _is_cjk(text) or text.startswith(" ") or piece.piece.startswith("▁")
        if index == 0 or starts:
            found.append(("", []))
        word, members = found[-1]
        found[-1] = (word + text.replace(" ", ""), [*members, index])
    return found


def groups(pieces: Sequence[Piece]) -> list[tuple[str, list[int]]]:
    """Words by the joined bytes of the pieces: (text, indices); pieces of white space alone are in no word.

    White space of any kind separates; punctuation starts a word of its own, which a hyphen or an apostrophe carries
    on into what follows; a piece with a CJK ideograph is a word.
    """
    found: list[tuple[str, list[int]]] = []
    before = " "
    for text, members in _characters(pieces):
        bare = "".join(text.split())
        if not bare:
            before = " "
            continue
        separated = text[0].isspace() or before[-1].isspace()
        after_sign = _is_punctuation(before) and before.strip() not in JOINERS
        if separated or after_sign or _is_punctuation(bare) or _is_cjk(text) or _is_cjk(before):
            found.append(("", []))
        word, earlier = found[-1]
        found[-1] = (word + bare, earlier + members)
        before = text
    return found


def _characters(pieces: Sequence[Piece]) -> list[tuple[str, list[int]]]:
    """Join pieces until their bytes are whole UTF-8 characters: (text, indices), nearly always one piece each."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    units, text, members = [], "", []
    for index, piece in enumerate(pieces):
        text += decoder.decode(piece.bytes)
        members.append(index)
        if not decoder.getstate()[0]:
            units.append((text, members))
            text, members = "", []
    if members:
        units.append((text + decoder.decode(b"", final=True), members))
    return units


def label(word: str, tag: str, categories: Mapping[str, int], lemmatise: Lemmatiser) -> int:
    """Category of a noun by its lemma: the last one, in the dataset's order, that has it among its name's words."""
    if tag in FUNCTION_TAGS:
        return FUNCTION
    if tag not in NOUN_TAGS:
        return OTHER
    lemma = lemmatise(word.lower().replace("-", ""))
    matches = [number for name, number in categories.items() if lemma in name.split(" ")]
    return matches[-1] if matches else NO_CATEGORY


def _is_cjk(text: str) -> bool:
    return any("CJK" in unicodedata.name(character, "") for character in text if character > "\u2e7f")


def _is_punctuation(text: str) -> bool:
    bare = text.strip()
    return bool(bare) and all(c in string.punctuation or unicodedata.category(c)[0] == "P" for c in bare)
