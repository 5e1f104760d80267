"""Does the map of a phrase lie on what the phrase refers to?

The map is the one that ``--select`` draws of it: the mean of the maps of its tokens, wherever the answer says it. It is
measured as that of a noun is (``localisation.py``), against the pixels of the phrase's own id in the label map.

Phrases and what they refer to: Kazemzadeh et al., ReferItGame, EMNLP 2014; Yu et al., Modeling Context in Referring
Expressions, ECCV 2016 (RefCOCO). There a model draws a mask; here the maps of what it says are judged.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tam.metrics.catalogue import PHRASE, PHRASE_METRICS
from tam.metrics.localisation import localise
from tam.metrics.picture import Picture
from tam.protocol import FIXED
from tam.records import Generation
from tam.rows import NOT_EXPLAINED, Row, missing
from tam.selection import places, pooled
from tam.thoughts import caption_starts
from tam.words import Word, groups

NOT_SAID = "phrase not in the answer"


def said(generation: Generation, phrases: Mapping[str, int]) -> list[Word]:
    """Each phrase with the tokens of the answer that say it, behind the model's thoughts; none where it is not said."""
    start = caption_starts(generation)
    ids = generation.answer_ids.tolist()
    kept = [
        index for index in range(len(ids) if start is None else start, len(ids))
        if ids[index] not in generation.end_tokens
    ]  # fmt: skip
    pieces = [generation.vocabulary[ids[index]] for index in kept]
    words = [members for _, members in groups(pieces)]
    found = []
    for phrase, label in phrases.items():
        where = places([piece.bytes for piece in pieces], words, phrase)
        tokens = sorted({kept[token] for _, tokens in where for token in tokens})
        found.append(Word(phrase, tuple(tokens), label=label))
    return found


def localise_phrases(
    phrases: Sequence[Word],
    uint8: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    pictures: Sequence[Picture],
    silent: frozenset[int],
) -> list[Row]:
    """Rows of the phrases of one sample.

    Args:
        phrases: as ``said`` gives them.
        uint8, maps: as ``localisation.localise``.
        silent: tokens of the answer of which the method says nothing.
    """
    rows: list[Row] = []
    for phrase in phrases:
        if not phrase.tokens:
            rows += refused(phrase, NOT_SAID)
        elif silent.intersection(phrase.tokens):
            rows += refused(phrase, NOT_EXPLAINED)
        else:
            alone = Word(phrase.text, (0,), phrase.tag, phrase.label)
            coarse, fine = ([_mean(one, phrase.tokens) for one in values] for values in (uint8, maps))
            found = localise([alone], coarse, fine, pictures, FIXED).rows
            rows += [row._replace(token=phrase.tokens[0], metric=f"{PHRASE}{row.metric}") for row in found]
    return rows


def refused(phrase: Word, status: str) -> list[Row]:
    """Rows that say why a phrase is not scored; token -1 where the answer does not say it."""
    word = phrase if phrase.tokens else Word(phrase.text, (-1,), phrase.tag, phrase.label)
    return [missing(word, metric, status) for metric in PHRASE_METRICS]


def _mean(maps: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    """[1, rows, columns] of maps [answer, rows, columns]; of bytes without its fraction, as bytes of maps are."""
    chosen = maps[list(tokens)].reshape(len(tokens), -1)
    return pooled(chosen, [None] * len(tokens), "mean").astype(maps.dtype).reshape(1, *maps.shape[1:])
