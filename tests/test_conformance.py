"""Every family, with every input: see ``conformance.py`` for what is checked."""

import pytest

from tam.check.asked import INPUTS
from tests import conformance, tiny


@pytest.mark.parametrize("shown", INPUTS)
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_family_conforms(kind, shown):
    assert conformance.verdict(kind, shown) in ("yes", "no")


@pytest.mark.skipif(bool(tiny.BROKEN), reason="this release of transformers breaks a family, which keeps its row")
def test_the_documents_table_is_what_the_checks_say():
    text = conformance.DOCUMENT.read_text(encoding="utf-8")
    assert conformance.documented(text, conformance.table()) == text, "run python -m tests.conformance"
