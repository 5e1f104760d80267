"""Why this word and not that one: maps of what the model considered, by hand and beside its own."""

from dataclasses import replace

import numpy as np
import pytest

from tam.errors import InputError
from tam.methods.cached import Cached
from tam.methods.candidates import STEPS, candidate_maps, contrast
from tam.methods.registry import METHODS
from tam.protocol import REFERENCE
from tests.test_maps import made

CLASSES = (10, 11, 20, 21, 7, 30)
TOKEN = 3  # "21", after the prompt's 10 and 11 and the answer's 20


def by_hand() -> Cached:
    """Of three vision tokens and five text rows; what is left out is negative, and counts as nothing."""
    logits = {
        10: [4, 0, 0], 11: [-1, 0, -2], 20: [0, 2, 0, 0, 4, 0, 0, 0], 7: [0, 0, 9],
        21: [1, 1.5, 4, 1, -5, 3, 70, 80], 30: [2, 3, 5, 10, 0, 0, 90, 60],
    }  # fmt: skip
    sample = made(classes=CLASSES)
    table = np.full(sample.logits.shape, -1, np.float32)
    for cls, column in logits.items():
        table[: len(column), sample.column(cls)] = column
    return Cached(replace(sample, logits=table))


def test_the_candidate_that_was_said_has_the_methods_own_map():
    cached = Cached(made(row=5), eci_cap=0.4)
    said = [10, 11, 20, 21, 7]
    for method in STEPS:
        own = METHODS[method].maps(cached).maps
        assert own.any() and np.allclose(candidate_maps(cached, range(5), said, method), own, atol=1e-6)


def test_a_candidate_loses_the_interference_of_the_place_at_a_scale_of_its_own():
    """The token's weights are 1, 0 and 3 quarters, so E = (1, 1.5, 0), and 2 E leaves least of (2, 3, 5). The greatest
    of the scores that are seen is 10, of the text; later rows (90) do not take part."""
    found = candidate_maps(by_hand(), [TOKEN], [30], "eci")
    assert found.dtype == np.float32 and found.tolist() == [[0, 0, 0.5]]
    assert np.allclose(candidate_maps(by_hand(), [TOKEN], [30], "activation"), [[0.2, 0.3, 0.5]])


def test_an_earlier_token_that_says_the_candidate_is_no_context_of_it():
    """Without 20, only 10 is left of the context, and it explains nothing of what speaks for 20."""
    assert candidate_maps(by_hand(), [TOKEN], [20], "eci").tolist() == [[0, 0.5, 0]]


def test_a_contrast_is_of_two_classes_on_one_scale():
    """Without interference (0, 0, 4) speak for what was said and (0, 0, 5) for the other; the greatest score is 10."""
    assert np.allclose(contrast(by_hand(), TOKEN, 30, "eci"), [0, 0, -0.1])
    assert not contrast(by_hand(), TOKEN, 21, "tam").any()
    assert np.abs(contrast(Cached(made(row=5)), TOKEN, 30)).max() > 0.1


def test_what_has_no_maps_of_candidates_is_refused():
    for cached, cls, method, problem in (
        (by_hand(), 30, "centre", "no maps of candidates by this method; got 'centre'; expected activation or eci"),
        (by_hand(), 31, "tam", "class not in the cache; got 31"),
        (replace(by_hand(), protocol=REFERENCE), 30, "tam", "maps of candidates are of protocol fixed; got reference"),
    ):
        with pytest.raises(InputError, match=problem):
            candidate_maps(cached, [TOKEN], [cls], method)
        with pytest.raises(InputError, match=problem):
            contrast(cached, TOKEN, cls, method)
