"""The methods: what ours compute, and how ours and those of one's own are found."""

import subprocess
import sys

import numpy as np
import pytest

from tam.errors import InputError
from tam.methods.registry import METHODS
from tam.protocol import FIXED, REFERENCE
from tests.test_maps import PROMPT, made, mapped


def test_methods_are_the_paper_s_with_and_without_its_parts():
    sample = made()
    maps = {name: mapped(name, sample) for name in ("activation", "eci", "rgf", "tam")}
    column = [sample.column(cls) for cls in (10, 11, 20, 21, 7)]
    raw = np.maximum(sample.logits[:3, column].T, 0)
    context = np.tril(np.maximum(sample.logits[3:, column].T, 0), -1)
    top = np.maximum(raw.max(1), context.max(1))[:, None]
    low = np.minimum(raw.min(1), np.where(np.tri(5, k=-1, dtype=bool), context, np.inf).min(1))[:, None]
    assert maps["activation"].maps == pytest.approx((raw - low) / (top - low), abs=1e-6)
    for name, removed in {"activation": False, "eci": True, "rgf": False, "tam": True}.items():
        assert np.isnan(maps[name].scale).all() == (not removed)
        assert maps[name].maps.shape == maps[name].uint8.shape == (5, 3)
    assert not np.array_equal(maps["rgf"].maps, maps["activation"].maps)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_title_and_maps_every_token_into_0_to_1(name):
    maps = mapped(name, made())
    assert maps.maps.shape == maps.uint8.shape == (5, 3) and maps.relevance.shape == (5, 5)
    assert maps.maps.dtype == np.float32 and maps.scale.shape == (5,)
    assert (maps.maps >= 0).all() and (maps.maps <= 1).all()
    assert np.array_equal(maps.uint8, (maps.maps * 255).astype(np.uint8))
    assert METHODS[name].name == name != METHODS[name].title


def test_the_first_answer_class_differs_between_the_protocols():
    sample = made()
    fixed, published = (mapped("activation", sample, protocol) for protocol in (FIXED, REFERENCE))
    assert not np.array_equal(fixed.maps[PROMPT], published.maps[PROMPT])
    assert np.array_equal(fixed.maps[PROMPT + 1 :], published.maps[PROMPT + 1 :])


@pytest.mark.parametrize("pieces", [[], [8], [8, 9, 40]])
def test_maps_stay_one_a_token_where_tokenising_again_changed_the_prompt(pieces):
    retokenised = np.array(pieces, np.int32)
    sample = made(classes=(4, 6, 10, 11, 20, 21, 7, 30), retokenised_prompt=retokenised)
    maps = mapped("tam", sample, REFERENCE, exact=True)
    assert maps.maps.shape == maps.uint8.shape == (5, 3) and maps.relevance.shape == (5, 5)
    missing = range(len(pieces), PROMPT)
    assert not maps.maps[missing].any() and np.isnan(maps.scale[missing]).all()
    assert not np.isnan(maps.scale[-2:]).any()


def test_a_class_that_was_not_kept_is_named():
    with pytest.raises(InputError, match="a: class not in the cache; got 21"):
        mapped("tam", made(classes=(6, 10, 11, 20, 7, 30)))


def test_the_stage_imports_only_what_it_uses():
    """OpenCV where a filter of its is asked for, Parquet where metrics are read: each doubles what a job costs to start."""
    unused = {"cv2", "nltk", "pyarrow", "torch", "transformers"}
    code = f"import sys, tam.cli, tam.run, tam.methods.stage; sys.exit(str({unused} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"
