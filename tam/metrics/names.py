"""Does the answer name what is in the image? Sets of categories, our own; no map is looked at."""

from collections.abc import Collection, Sequence

import numpy as np

from tam.rows import Row, whole
from tam.words import Word

NAME_METRICS = ("name_precision", "name_recall")


def names(
    words: Sequence[Word], label_maps: Collection[np.ndarray], categories: Collection[int], missing: str = "no mask"
) -> list[Row]:
    """Two rows over the set of categories that the answer's nouns name.

    name_precision: share of the named categories that occur in the label maps; name_recall: share of those in the label
    maps that are named.

    Args:
        label_maps: uint8 [height, width] of category ids, of each picture; without any no values, status ``missing``.
        categories: the ids that have a name; pixels of others are background.
    """
    if not label_maps:
        return [whole(metric, missing) for metric in NAME_METRICS]
    named = {word.label for word in words if word.label > 0}
    seen = set().union(*map(_ids, label_maps)) & set(categories)
    right = len(named & seen)
    return [
        whole("name_precision", right / len(named) if named else "no category named"),
        whole("name_recall", right / len(seen) if seen else "no category in image"),
    ]


def _ids(label_map: np.ndarray) -> set[int]:
    """What occurs occurs first, or after something else; a histogram of long runs is slow."""
    flat = label_map.ravel()
    return {*flat[:1].tolist(), *flat[1:][flat[1:] != flat[:-1]].tolist()}
