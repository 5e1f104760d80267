"""Tokens -> display units -> places on a page."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam.model.vocabulary import sentencepiece_bytes
from tam.render import fonts, tokens
from tam.render.colors import BLACK, COLORMAPS, JET, LATER, WHITE, colored, for_text, table
from tam.render.tokens import TokenText, lay_out, page, shape, units
from tests.shared import shared


def shown(text: str) -> list[str]:
    """Clusters as text; labels in brackets."""
    clusters = shape(text).clusters
    return ["".join(run.text if run.face else f"[{run.text}]" for run in cluster) for cluster in clusters]


def bytes_of(*texts: str) -> list[TokenText]:
    return [TokenText(text.encode()) for text in texts]


def test_jet_is_the_table_of_the_published_pictures():
    assert JET[[0, 128, 255]].tolist() == [[0, 0, 128], [130, 255, 126], [128, 0, 0]]
    assert colored(np.array([-1.0, 2.0])).tolist() == [[0, 0, 128], [128, 0, 0]]


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("dog", ["d", "o", "g"]), (" dog", ["d", "o", "g"]), (" ", ["␣"]), ("  x", ["␣", "x"]),
        ("a b", ["a", "␣", "b"]),
        ("\n", ["↵"]), ("\r\n", ["␍↵"]), ("\t", ["⇥"]), ("\x07", ["␇"]), ("\x7f", ["␡"]), ("\x85", ["[85]"]),
        ("\u200b", ["[200B]"]), ("\u202e", ["[202E]"]), ("\xad", ["[AD]"]), ("\u00a0", ["[A0]"]),
        ("\u3000", ["[3000]"]),
        ("\ue000", ["[E000]"]), ("\uffff", ["[FFFF]"]), ("\u3164", ["[3164]"]), ("", ["[empty]"]),
        ("\u200d", ["[200D]"]),
        ("\udce4\udcb8", ["[E4B8]"]), ("\u0303", ["◌\u0303"]), ("x" + "\u0301" * 7, ["x" + "\u0301" * 4 + "[+3]"]),
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_shown(text, clusters):
    assert shown(text) == clusters


def test_one_leading_space_is_glue_and_a_newline_ends_the_line():
    assert shape(" dog").space and not shape(" ").space and not shape("dog").space
    assert shape("\n\n").newline and len(shape("\n\n").clusters) == 2


def test_a_long_token_is_cut():
    assert len(shape("x" * 5000).clusters) == tokens.CLUSTERS + 1
    assert shown("x" * 5000)[-1] == "…"


def test_tokens_that_share_a_character_become_one_unit():
    """中 is E4 B8 AD: split over two tokens it can only be shown as one."""
    made = units([TokenText(b" a"), TokenText(b"\xe4\xb8"), TokenText(b"\xad"), TokenText(b"b")])
    assert [unit.tokens for unit in made] == [(0,), (1, 2), (3,)]
    assert made[1].text == "中"


def test_byte_pieces_of_sentencepiece_are_joined_or_shown_as_bytes():
    """A dog's face in four pieces, a newline, and a byte that no character follows from."""
    pieces = ["▁A", "▁▁", "<0xF0>", "<0x9F>", "<0x90>", "<0xB6>", "<0x0A>", "<0xE4>", "▁dog"]
    made = units([TokenText(sentencepiece_bytes(piece)) for piece in pieces])
    assert [unit.text for unit in made] == [" A", "  ", "🐶", "\n", "\udce4", " dog"]
    assert made[2].tokens == (2, 3, 4, 5)
    assert ["".join(run.text for cluster in unit.shaped.clusters for run in cluster) for unit in made[3:]] == [
        "↵", "E4", "dog",
    ]  # fmt: skip


def test_bytes_that_never_become_a_character_stay_with_their_tokens():
    made = units([TokenText(b"\xe4\xb8"), TokenText(b"\xff"), TokenText(b"x")])
    assert [unit.tokens for unit in made] == [(0,), (1,), (2,)]
    assert [unit.shaped.clusters[0][0].text for unit in made] == ["E4B8", "FF", "x"]


def test_no_unit_reaches_from_the_prompt_into_the_answer():
    made = units([TokenText(b"e"), TokenText("\u0301".encode())], barriers=[1])
    assert [unit.tokens for unit in made] == [(0,), (1,)]


def test_a_labelled_token_stands_alone():
    made = units([TokenText(b"."), TokenText(b"<|im_end|>", "end")])
    assert made[1].shaped.clusters[0][0].text == "end" and made[1].shaped.clusters[0][0].face is None


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=12), st.integers(0, 12))
def test_every_token_is_in_exactly_one_unit_and_every_unit_shows_something(texts, barrier):
    made = units([TokenText(text) for text in texts], [barrier] if 0 < barrier < len(texts) else [])
    assert [token for unit in made for token in unit.tokens] == list(range(len(texts)))
    assert all(unit.shaped.clusters and all(unit.shaped.clusters) for unit in made)


@given(st.lists(st.text(max_size=9), min_size=1, max_size=12), st.integers(0, 3))
def test_nothing_leaves_the_page(texts, prompt):
    layout = lay_out(bytes_of(*texts), min(prompt, len(texts)))
    for piece in layout.segments:
        assert piece.x >= tokens.MARGIN - 0.01
        assert piece.x + piece.width <= 500 - tokens.MARGIN + 0.01
        assert 0 < piece.y < layout.foot < layout.height


def test_sub_words_join_and_spaces_part():
    layout = lay_out(bytes_of("A", " bro", "ccoli", "."), 0)
    a, bro, ccoli, stop = layout.segments
    assert bro.x - (a.x + a.width) == pytest.approx(tokens.SPACE * tokens.LARGE)
    assert ccoli.x == pytest.approx(bro.x + bro.width) and stop.x == pytest.approx(ccoli.x + ccoli.width)


def test_prompt_and_answer_start_a_line_each_and_a_newline_breaks():
    layout = lay_out(bytes_of("Why", "?", "So", "\n", "that"), 2)
    assert [piece.x for piece in layout.segments if piece.unit in (0, 2, 4)] == [tokens.MARGIN] * 3
    assert len({piece.y for piece in layout.segments}) == 3


def test_a_word_moves_to_the_next_line_as_a_whole():
    layout = lay_out(bytes_of(*[" word"] * 5, " bro", "cc", "oli"), 0, width=400)
    last = layout.segments[-3:]
    assert len({piece.y for piece in last}) == 1
    assert last[0].y > layout.segments[0].y and last[0].x == tokens.MARGIN


def test_a_word_wider_than_the_line_breaks_where_it_must():
    layout = lay_out(bytes_of("https://" + "a" * 140), 0)
    assert len({piece.y for piece in layout.segments}) > 2


def test_chinese_breaks_between_characters_but_not_before_a_full_stop():
    layout = lay_out(bytes_of(*"中" * 19 + "。"), 0)
    lines = {}
    for piece in layout.segments:
        lines.setdefault(piece.y, []).append(layout.units[piece.unit].text)
    assert len(lines) > 1 and all(line[0] != "。" for line in lines.values())


def test_right_to_left_words_change_order():
    layout = lay_out(bytes_of("a", " שלום", " עולם", " b"), 0)
    x = [piece.x for piece in layout.segments]
    assert x[0] < x[2] < x[1] < x[3]


def test_a_cut_between_joining_arabic_letters_keeps_them_joined():
    if not fonts.choose("م")[1].script:
        pytest.skip("no Arabic font")
    left, right = lay_out(bytes_of("مر", "حبا"), 0).segments, lay_out(bytes_of("سم", "يع"), 0).segments
    assert "\u200d" not in left[0].runs[0].text  # reh does not join to the next letter
    assert sorted(run.text.strip("سميع") for piece in right for run in piece.runs) == ["\u200d", "\u200d"]


def test_256_tokens_fit_below_a_picture():
    layout = lay_out(bytes_of(*[" broccoli", " and", " a", " bowl"] * 64), 9)
    assert layout.height < 500


def test_colours_of_a_page():
    layout = lay_out(bytes_of("What", "?", "A", " dog", " runs"), 2)
    made = page(layout, 3, np.array([0.0, np.nan, 1.0, 0.5, 0.5]), [(TokenText(b" dog"), 0.9)], "top 3")
    assert made.current == 3
    assert made.colors[:5].tolist() == [[0, 0, 128], [0, 0, 128], [128, 0, 0], list(WHITE), list(LATER)]
    assert made.colors[5].tolist() == list(BLACK)


@pytest.mark.parametrize("name", COLORMAPS)
def test_letters_of_every_colour_can_be_read_on_white(name):
    """A contrast of 4.5 (WCAG 2), computed here anew; what is dark enough stays as it is."""
    letters = for_text(table(name))
    linear = np.where(letters <= 10, letters / 255 / 12.92, ((letters / 255 + 0.055) / 1.055) ** 2.4)
    light = linear @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (light + 0.05)).min() >= 4.5 and 1.05 / (light.max() + 0.05) < 4.6
    changed = (letters != table(name)).any(1)
    assert changed.any() and not changed.all() and (letters.max(1)[changed] < table(name).max(1)[changed]).all()
    layout = lay_out(bytes_of("A", " dog"), 1)
    for value in range(256):
        drawn = page(layout, 1, np.array([value / 255, 0]), [], table=table(name)).colors[0]
        assert drawn.tolist() == letters[value].tolist()


def test_a_merged_unit_takes_the_largest_relevance():
    layout = lay_out([TokenText(b"\xe4\xb8"), TokenText(b"\xad"), TokenText(b"x")], 0)
    assert page(layout, 2, np.array([0.0, 1.0, 0.0]), []).colors[0].tolist() == [128, 0, 0]


def foot_text(candidates) -> list[str]:
    made = page(lay_out(bytes_of("a"), 0), 0, np.zeros(1), candidates, "top 3")
    return ["".join(run.text for run in piece.runs) for piece in made.foot]


def test_candidates_with_probabilities():
    found = foot_text(
        [(TokenText(b" dog"), 0.904), (TokenText(b","), 0.05), (TokenText(b"\n"), 0.0001), (TokenText(b"no"), 0.0)]
    )
    assert found == ["top 3", "dog", "90%", ",", "5%", "↵", "<1%"]


def test_candidates_that_differ_by_a_space_look_different():
    assert foot_text([(TokenText(b" dog"), 0.6), (TokenText(b"dog"), 0.3)]) == ["top 3", "␣dog", "60%", "dog", "30%"]


def test_long_candidates_stay_on_the_page():
    made = page(lay_out(bytes_of("a"), 0), 0, np.zeros(1), [(TokenText(b"W" * 60), 0.3)] * 3, "top 3")
    assert max(piece.x + piece.width for piece in made.foot) <= 500 - tokens.MARGIN
    assert made.foot[1].runs[-1].text.endswith("…")


def test_nasty_strings_are_laid_out():
    texts = json.loads(shared("data", "nasty_strings.json").read_text())
    layout = lay_out([TokenText(text.encode("utf-8", "surrogatepass")) for text in texts], 0)
    assert sum(len(unit.tokens) for unit in layout.units) == len(texts)
