"""Controls: the same each time, and what they claim to be."""

from dataclasses import replace

import numpy as np
import pytest

from tam.errors import InputError
from tam.layout import Grid, Layout
from tam.methods import controls
from tam.methods.cached import Cached
from tam.protocol import FIXED, REFERENCE
from tests.test_maps import TOKENS, made, mapped


def test_noise_is_a_samples_and_a_tokens_own_and_comes_again():
    first, again, other = (controls.random(Cached(made(id))) for id in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert len({row.tobytes() for row in np.concatenate([first, other])}) == len(first) + len(other)


def test_noise_does_not_depend_on_the_tokens_that_follow():
    longer, shorter = (controls.random(Cached(made(tokens=tokens))) for tokens in (TOKENS, TOKENS[:-1]))
    assert np.array_equal(longer[:-1], shorter)


def test_the_centre_is_the_middle_of_every_grid():
    """Of 1x3 and 2x1 cells, a third of the width and half of the height apart."""
    grids = (Grid(0, (0,), 1, 3, (0, 0, 9, 3)), Grid(1, (0,), 2, 1, (0, 0, 4, 4)))
    layout = Layout(np.arange(5), np.arange(5, 7), 10, grids, ((9, 3), (4, 4)))
    maps = controls.centre(Cached(replace(made(), layout=layout)))
    side, half = np.exp(-((1 / 3) ** 2) / (2 * 0.25**2)), np.exp(-((1 / 4) ** 2) / (2 * 0.25**2))
    assert maps[0] == pytest.approx([side, 1, side, half, half])
    assert (maps == maps[0]).all()


@pytest.mark.parametrize("protocol", [FIXED, REFERENCE])
def test_permuted_explains_every_token_of_the_answer_as_another_of_its_classes(protocol):
    sample = made()
    exchanged = controls.other_classes(sample)
    answer = {sample.column(cls) for cls in sample.answer_ids}
    for column in range(len(sample.classes)):
        sources = [
            other
            for other in range(len(sample.classes))
            if np.array_equal(exchanged.logits[:, column], sample.logits[:, other])
        ]
        assert sources != [column] if column in answer else sources == [column]
        assert set(sources) <= (answer if column in answer else {column})
    found = mapped("permuted", sample, protocol)
    assert np.array_equal(found.maps, mapped("tam", exchanged, protocol).maps)
    assert np.array_equal(found.maps, mapped("permuted", made(), protocol).maps)


def test_an_answer_of_one_class_cannot_be_permuted():
    with pytest.raises(InputError, match="a: an answer of one class"):
        mapped("permuted", made(tokens=np.array([*TOKENS[:10], 20, 20], np.int32)))
