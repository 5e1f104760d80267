from dataclasses import fields
from pathlib import Path

import pytest

from tam.errors import InputError
from tam.protocol import FIXED, REFERENCE, Protocol, protocol

QUIRKS = [field.name for field in fields(Protocol) if field.name != "name"]
CHECKOUT = Path(__file__).resolve().parents[1]


def test_the_protocols_differ_in_every_quirk():
    assert all(getattr(REFERENCE, quirk) and not getattr(FIXED, quirk) for quirk in QUIRKS)
    assert protocol("fixed") is FIXED and protocol("reference") is REFERENCE


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="got 'paper'; expected fixed or reference"):
        protocol("paper")


def test_the_table_has_a_row_for_each_quirk():
    table = [
        line.split("|")[1].strip()
        for line in (CHECKOUT / "docs/explained/protocol.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert [name.strip("`") for name in table] == QUIRKS


@pytest.mark.parametrize("quirk", QUIRKS)
def test_every_quirk_is_asked_for(quirk):
    source = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "tam").rglob("*.py"))
    assert f"protocol.{quirk}" in source
