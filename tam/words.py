"""Tokens of an answer -> words -> noun, function word or other -> category."""

import codecs
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np

from tam.protocol import Protocol
from tam.records import Generation, Piece
from tam.tagging import Language, Lemmatiser, SentenceTagger, Tagger

NO_CATEGORY, FUNCTION, OTHER = -1, -2, -3
"""Labels of words that are no category: a noun, a function word, anything else."""

NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
# As published: prepositions (IN) and numbers (CD) are left out on purpose.
FUNCTION_TAGS = frozenset({"CC", "DT", "EX", "MD", "POS", "PRP", "PRP$", "UH", "WDT", "WP", "WP$", "WRB"})

CONTENT_TAGS = ("NN", "VB", "JJ", "RB")
"""Starts of the tags of nouns, verbs, adjectives and adverbs."""

# Punctuation that holds together what stands on its two sides: "t-shirt", "man's".
JOINERS = frozenset("-'\u2019\u2010\u2011")

HYPHENS = re.compile(r"[-\u2010\u2011]")
UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphens, spaces and joiners without width
# WordNet knows these plurals as words of their own, too, and NLTK leaves them as they are.
PLURALS = {"men": "man", "teeth": "tooth"}
CACHED_LISTS = 256  # of categories; most datasets have one


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
    last_category: bool = False,
) -> list[Word]:
    """Words of an answer with tags and labels.

    Args:
        pieces: the answer's tokens.
        categories: name -> id.
        published_grouping: group by each piece's own text, as the published code does; else by the joined bytes.
        left_out: indices of tokens that belong to no word: end tokens.
        tag_sentence: tags all words together, instead of ``tag``, which tags each alone.
        last_category: as ``label``.
    """
    group = published_groups if published_grouping else groups
    kept = [index for index in range(len(pieces)) if index not in left_out]
    grouped = group([pieces[index] for index in kept])
    texts = [text for text, _ in grouped]
    words = []
    for (text, members), found in zip(grouped, tag_sentence(texts) if tag_sentence else map(tag, texts), strict=True):
        tokens = tuple(kept[member] for member in members)
        words.append(Word(text, tokens, found, label(text, found, categories, lemmatise, last_category=last_category)))
    return words


def answer_words(
    generation: Generation,
    ids: np.ndarray,
    categories: dict[str, int],
    judge: Language,
    protocol: Protocol,
) -> list[Word]:
    """Words of the answer with tags and labels; ``ids`` are the answer's tokens, one a map."""
    ends = frozenset(index for index, id in enumerate(ids) if int(id) in generation.end_tokens)
    return read_words(
        [generation.vocabulary[int(id)] for id in ids],
        categories,
        judge.tag,
        judge.lemmatise,
        published_grouping=protocol.words_from_decoded_pieces,
        left_out=frozenset() if protocol.end_token_joined_to_last_word else ends,
        tag_sentence=judge.tag_sentence,
        last_category=protocol.last_category_with_the_word,
    )


def spoken(generation: Generation) -> list[tuple[str, tuple[int, ...]]]:
    """Words of the prompt, then of the answer: (text, indices of their tokens among all that are explained); end tokens
    are in no word."""
    found, start = [], 0
    for ids in (generation.prompt_ids.tolist(), generation.answer_ids.tolist()):
        kept = [index for index, id in enumerate(ids) if id not in generation.end_tokens]
        for text, members in groups([generation.vocabulary[ids[index]] for index in kept]):
            found.append((text, tuple(start + kept[member] for member in members)))
        start += len(ids)
    return found


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

    >>> groups([Piece(text, text, text.encode()) for text in ("A", " gir", "affe", ",", " t", "-", "shirt")])
    [('A', [0]), ('giraffe', [1, 2]), (',', [3]), ('t', [4]), ('-shirt', [5, 6])]
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


def label(
    word: str, tag: str, categories: Mapping[str, int], lemmatise: Lemmatiser, *, last_category: bool = False
) -> int:
    """Category of a noun: the one that it is called, else the last, in the dataset's order, whose name it is a part of.

    Words and names are compared in lower case, composed (NFC), without hyphens, in the singular. "shirt" is a part of
    "t-shirt", as it is of "red shirt".

    Args:
        last_category: the last category whose name has the word between white space, as published: a "dog" is a "hot
            dog" where that comes later.
    """
    if tag in FUNCTION_TAGS:
        return FUNCTION
    if tag not in NOUN_TAGS:
        return OTHER
    known = _by_word(tuple(categories.items()), lemmatise, last_category)
    word = _plain(word)
    if last_category:
        return known.get(lemmatise(_joined(word)), NO_CATEGORY)
    return known.get(_joined(word), known.get(_singular(word, lemmatise), NO_CATEGORY))


def named(words: Sequence[Word]) -> list[Word]:
    """The nouns that name a category; neighbours with one label are one ("traffic light")."""
    found = []
    for label, group in groupby(words, lambda word: word.label):
        if label > 0:
            members = [*group]
            tokens = tuple(token for word in members for token in word.tokens)
            found.append(Word(" ".join(word.text for word in members), tokens, members[0].tag, label))
    return found


def probed(words: Sequence[Word], content: bool = False) -> list[Word]:
    """The words of an answer whose probability is probed: those that name a category; with ``content``, for pictures
    without categories, all nouns, verbs, adjectives and adverbs."""
    others = [word for word in words if content and word.label <= 0 and word.tag.startswith(CONTENT_TAGS)]
    return sorted([*named(words), *others], key=lambda word: word.tokens)


def is_nameable(name: str) -> bool:
    """Whether any noun can be called so: nouns have letters, or are pictures such as emoji."""
    return any(sign.isalpha() or unicodedata.category(sign) == "So" for sign in name)


@lru_cache(CACHED_LISTS)
def _by_word(categories: tuple[tuple[str, int], ...], lemmatise: Lemmatiser, last_category: bool) -> dict[str, int]:
    """Word, in the form in which it is compared -> category."""
    names = [(_plain(name).split(), number) for name, number in categories]
    if last_category:
        return {lemmatise(_joined(word)): number for words, number in names for word in words}
    alone = [(words[0], number) for words, number in names if len(words) == 1]
    parts = ((part, number) for words, number in names for word in words for part in (*_parts(word), word))
    return {
        **{_singular(part, lemmatise): number for part, number in parts},
        **{_singular(word, lemmatise): number for word, number in alone},
        **{_joined(word): number for word, number in alone},
    }


def _plain(text: str) -> str:
    return UNSEEN.sub("", unicodedata.normalize("NFC", text.lower()))


def _joined(word: str) -> str:
    return HYPHENS.sub("", word)


def _singular(word: str, lemmatise: Lemmatiser) -> str:
    """Without hyphens; of a compound the last part has the ending of the plural."""
    *before, last = [part for part in HYPHENS.split(word) if part] or [""]
    lemma = lemmatise(last)
    return "".join([*before, PLURALS.get(lemma, lemma)])


def _parts(word: str) -> list[str]:
    """What stands between the signs of a compound ("tree-merged", "baseball_bat"): words of their own."""
    return "".join(" " if _is_punctuation(sign) and sign not in "'\u2019" else sign for sign in word).split()


def _is_cjk(text: str) -> bool:
    return any("CJK" in unicodedata.name(character, "") for character in text if character > "\u2e7f")


def _is_punctuation(text: str) -> bool:
    bare = text.strip()
    return bool(bare) and all(c in string.punctuation or unicodedata.category(c)[0] == "P" for c in bare)
