"""Is what a noun names in the picture, and what says the cache of it? Rows that the table ``grounding`` is made of.

Truth is the label map, in the sense of CHAIR (Rohrbach et al., EMNLP 2018), per noun said. Evidence is of the cache and
of the maps alone; whether one tells the other is asked of all nouns of a run together (``tables/grounding.py``).
"""

from collections.abc import Collection, Mapping, Sequence, Set

import numpy as np

from tam.evidence import evidence_of
from tam.metrics.focus import ZERO, entropy
from tam.records import Generation, SampleMaps
from tam.rows import Row, missing, whole
from tam.words import Word, named

PRESENT, CHAIR_S, TOKENS = "present", "chair_s", "tokens"
OF_WORD, OF_MAP = ("logprob", "peak", "margin"), ("scale", "spread", "mass")
OTHER_LAYER = "logits of another layer"
PARTLY = "not every picture has a mask"
KEPT = "nothing subtracted"


def grounding(
    generation: Generation, words: Sequence[Word], seen: Set[int] | None, problem: str, layer: int | None = None
) -> list[Row]:
    """What is said of the answer itself: ``chair_s`` (1 where it names a category that is not in the picture), and of
    each noun that names a category ``present`` (1 or 0), its number of ``tokens`` and its evidence.

    Args:
        seen: the categories in the picture; None: not known, because of ``problem``.
        layer: as ``evidence_of``.
    """
    if seen is None:
        return [whole(CHAIR_S, problem)]
    nouns = named(words)
    rows = [whole(CHAIR_S, float(any(noun.label not in seen for noun in nouns)))]
    for noun in nouns:
        found = {PRESENT: float(noun.label in seen), TOKENS: float(len(noun.tokens))}
        found |= evidence_of(generation, noun.tokens, layer)._asdict()
        rows += [
            missing(noun, metric, OTHER_LAYER)
            if value is None
            else Row(noun.tokens[0], noun.text, noun.label, metric, value)
            for metric, value in found.items()
        ]
    return rows


def map_grounding(words: Sequence[Word], maps: SampleMaps, answer: int) -> list[Row]:
    """What a method's maps say of each noun that names a category: ``scale``, the factor of the interference that was
    subtracted, where the method subtracts any; ``spread``, 1 - entropy: how much of the map is in few cells; ``mass``,
    the mean of the map.

    Means over the noun's tokens; of ``spread`` over those whose map is not 0 everywhere.

    Args:
        answer: tokens of the answer, whose maps are the last ones.
    """
    scale = maps.scale[-answer:]
    values = maps.maps[-answer:].astype(np.float64)
    subtracts = bool(np.isfinite(scale).any())
    rows = []
    for noun in named(words):
        tokens = list(noun.tokens)
        lit = values[tokens][values[tokens].max(1) > 0]
        found = {"scale": (scale[tokens][np.isfinite(scale[tokens])], KEPT)} if subtracts else {}
        found |= {"spread": (1 - entropy(lit) if len(lit) else lit, ZERO), "mass": (values[tokens].mean(1), ZERO)}
        rows += [
            Row(noun.tokens[0], noun.text, noun.label, metric, float(numbers.mean()))
            if len(numbers)
            else missing(noun, metric, why)
            for metric, (numbers, why) in found.items()
        ]
    return rows


def truth(
    label_maps: Mapping[tuple[int, int], np.ndarray], shown: Collection[tuple[int, int]], categories: Collection[int]
) -> Set[int] | None:
    """The categories that occur in the label maps; None unless every picture and frame that is shown has one.

    Args:
        label_maps: medium and frame -> category ids. shown: medium and frame.
        categories: the ids that have a name.
    """
    if not set(shown) <= label_maps.keys():
        return None
    return {id for one in label_maps.values() for id in np.unique(one).tolist()} & set(categories)
