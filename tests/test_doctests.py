"""The examples in docstrings of ``tam/`` say what is true."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "tam").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_say(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


def test_examples_are_looked_for_in_every_module():
    assert {"tam.layout", "tam.manifest", "tam.media"} <= set(WITH_EXAMPLES)


def test_a_wrong_example_fails(monkeypatch):
    monkeypatch.setattr("tam.media.FRAMES_A_SECOND", 1.0)
    with pytest.raises(AssertionError):
        test_examples_give_what_they_say("tam.media")
