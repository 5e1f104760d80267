"""Tokens -> words -> noun, function word, other -> category."""

import json
import shutil

import nltk
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tam import tagging
from tam.errors import InputError
from tam.records import Piece
from tam.words import FUNCTION, NO_CATEGORY, OTHER, groups, is_nameable, label, published_groups, read_words
from tests.shared import shared

TAGS = {"A": "DT", "a": "DT", "and": "CC", "on": "IN", "dog": "NN", "dogs": "NNS", "bench": "NN", "runs": "VBZ"}
CATEGORIES = {"person": 1, "dog": 18, "hot dog": 58, "teddy bear": 88}


def _pieces(*texts):
    """Byte-level pieces; a bytes argument is a fragment of a character."""
    raw = [text if isinstance(text, bytes) else text.encode() for text in texts]
    return [Piece("Ġ".join(r.decode("latin-1").split(" ")), r.decode("utf-8", "replace"), r) for r in raw]


def _texts(found):
    return [text for text, _ in found]


def test_a_piece_with_a_space_or_of_punctuation_starts_a_word_in_both_groupings():
    pieces = _pieces("A", " gir", "affe", ",", " a", " teddy", "-", "bear", ".")
    expected = [("A", [0]), ("giraffe", [1, 2]), (",", [3]), ("a", [4]), ("teddy", [5]), ("-bear", [6, 7]), (".", [8])]
    assert published_groups(pieces) == expected
    assert groups(pieces) == expected


def test_the_published_grouping_joins_new_lines_end_tokens_and_what_follows_a_bracket():
    pieces = _pieces("dog", ".", "\n", "A", " (", "wow", ")", "<|im_end|>")
    assert _texts(published_groups(pieces)) == ["dog", ".\nA", "(wow", ")<|im_end|>"]


def test_white_space_and_signs_separate_words():
    pieces = _pieces(
        "dog", ".", "\n", "A", " (", "wow", ")", " \n\n", "\n", "cat", "'s", " \u201c", "It", "\u2019", "s"
    )
    assert groups(pieces) == [
        ("dog", [0]), (".", [1]), ("A", [3]), ("(", [4]), ("wow", [5]), (")", [6]), ("cat's", [9, 10]),
        ("\u201c", [11]), ("It", [12]), ("\u2019s", [13, 14]),
    ]  # fmt: skip


def test_published_empty_pieces_are_words_and_ours_belong_to_none():
    pieces = _pieces("a", "", " dog")
    assert published_groups(pieces) == [("a", [0]), ("", [1]), ("dog", [2])]
    assert groups(pieces) == [("a", [0]), ("dog", [2])]


def test_sentencepiece_marks_start_words():
    pieces = [Piece("▁A", "A", b" A"), Piece("▁man", "man", b" man"), Piece("'", "'", b"'"), Piece("s", "s", b"s")]
    assert _texts(published_groups(pieces)) == ["A", "man", "'s"]
    assert _texts(groups(pieces)) == ["A", "man", "'s"]


def test_bytes_of_a_character_are_joined():
    cat = "猫".encode()
    pieces = _pieces(
        "a", b" " + cat[:1], cat[1:2], cat[2:], "狗", "b", " é"[:1].encode() + "é".encode()[:1], "é".encode()[1:]
    )
    assert groups(pieces) == [("a", [0]), ("猫", [1, 2, 3]), ("狗", [4]), ("b", [5]), ("é", [6, 7])]
    assert "�" in "".join(_texts(published_groups(pieces)))


def test_an_unfinished_character_stays_visible():
    assert groups(_pieces(" dog", b" " + "猫".encode()[:2])) == [("dog", [0]), ("�", [1])]


@given(st.lists(st.sampled_from(["a", " b", "\n", ".", "-", " ", "", "猫", " (", "é"]), max_size=12), st.randoms())
def test_every_visible_byte_is_in_one_word_however_it_is_cut(texts, random):
    data = "".join(texts).encode()
    cuts = sorted(random.sample(range(len(data) + 1), min(3, len(data) + 1)))
    raw = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    pieces = [Piece("", r.decode("utf-8", "replace"), r) for r in raw]
    found = groups(pieces)
    assert "".join(_texts(found)) == "".join("".join(texts).split())
    members = [index for _, tokens in found for index in tokens]
    assert members == sorted(set(members))
    assert all(not raw[index].strip() for index in set(range(len(raw))) - set(members))


def test_left_out_tokens_are_in_no_word_and_indices_stay_those_of_the_answer():
    pieces = _pieces("A", " dog", "<|im_end|>")
    words = read_words(
        pieces, CATEGORIES, lambda w: TAGS.get(w, ""), str, published_grouping=False, left_out=frozenset({2})
    )
    assert [(word.text, word.tokens, word.tag, word.label) for word in words] == [
        ("A", (0,), "DT", FUNCTION),
        ("dog", (1,), "NN", 18),
    ]


@pytest.mark.parametrize(
    ("word", "tag", "expected"),
    [
        ("dog", "NN", 18),
        ("Person", "NNP", 1),
        ("bear", "NN", 88),  # a part of a name
        ("-bears", "NNS", 88),
        ("man", "NN", NO_CATEGORY),
        ("dog", "VB", OTHER),
        ("the", "DT", FUNCTION),
        ("on", "IN", OTHER),
        ("two", "CD", OTHER),
        ("who", "WP", FUNCTION),
        ("xyz", "", OTHER),
    ],
)
def test_labels(word, tag, expected):
    assert label(word, tag, CATEGORIES, tagging.rule_lemma) == expected


@pytest.mark.parametrize("last_category", [False, True])
@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Dogs", "Dog"), ("T-shirt", "t-shirt"), ("tree", "trees"), ("skis", "skis"), ("women", "women"),
        ("glasses", "glasses"), ("cafe\u0301", "caf\u00e9"), ("dog", "guide\u00a0dog"), ("dog", "big\tdogs"),
        ("ele\u00adphant", "elephants"), ("dog", "\ufeffdog"), ("Straße", "straße"), ("狗", "狗"), ("🐶", "🐶"),
    ],
)  # fmt: skip
def test_words_and_names_are_compared_in_the_same_form(word, name, last_category):
    assert label(word, "NN", {name: 7}, tagging.rule_lemma, last_category=last_category) == 7


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("t-shirts", "t-shirt"), ("shirt", "t\u2011shirts"), ("men", "man"), ("bat", "baseball_bat"),
        ("tree", "tree-merged"), ("-bears", "teddy-bear"), ("book", "children's/book"), ("dog", "(dog)"),
    ],
)  # fmt: skip
def test_parts_of_compounds_are_words_of_their_own_and_the_last_has_the_plural(word, name):
    """ "men" and "t-shirts" are their own singular to NLTK's WordNet."""
    singulars = {"shirts": "shirt", "bears": "bear"}

    def lemmatise(word):
        return singulars.get(word, word)

    assert label(word, "NN", {name: 7}, lemmatise) == 7
    assert label(word, "NN", {name: 7}, lemmatise, last_category=True) == NO_CATEGORY


def test_a_noun_is_the_category_that_it_is_called_else_the_last_whose_name_has_it():
    categories = {"glass": 1, "glasses": 2, "wine glass": 3, "hot dog": 4, "guide dog": 5, "teddy": 6}

    def found(last_category):
        words = ("glass", "glasses", "dogs", "teddy", "wine")
        return [label(word, "NN", categories, tagging.rule_lemma, last_category=last_category) for word in words]

    assert found(False) == [1, 2, 5, 6, 3]
    assert found(True) == [3, 3, 5, 6, 3]


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3), st.booleans())
@example(["-", "-\u2010a-"], False)
def test_any_name_of_one_word_is_found_by_itself(names, last_category):
    """Whatever the signs: both sides go the same way."""
    categories = {name: number for number, name in enumerate(names, 1)}
    for name in names:
        found = label(name, "NN", categories, tagging.rule_lemma, last_category=last_category)
        assert found > 0 or [name] != name.split() or not is_nameable(name)


def test_names_that_no_noun_can_have_are_known():
    assert [is_nameable(name) for name in ("dog", "Häuser", "狗", "🐶", "C++", "4x4")] == [True] * 6
    assert [is_nameable(name) for name in ("", " ", "17", "---", "\u200b", "§ 1", "_")] == [False] * 7


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("dogs", "dog"), ("buses", "bus"), ("bus", "bus"), ("grass", "grass"), ("glasses", "glass"), ("boxes", "box"),
        ("benches", "bench"), ("babies", "baby"), ("horses", "horse"), ("people", "person"), ("men", "man"),
        ("knives", "knife"), ("giraffes", "giraffe"), ("skis", "skis"), ("gas", "gas"), ("potatoes", "potato"),
    ],
)  # fmt: skip
def test_rule_lemmas(plural, singular):
    assert tagging.rule_lemma(plural) == singular


def test_a_known_word_decides_between_two_singulars():
    assert tagging.rule_lemma("ties") == "ty"
    assert tagging.rule_lemma("ties", {"tie"}) == "tie"


def test_the_lexicon_knows_signs_and_numbers_and_says_when_it_does_not_know():
    lexicon = {"dog": "NN"}
    assert [tagging.lexicon_tag(w, lexicon) for w in ("Dog", "(dog", ".", "3", "1,000", "zyx")] == [
        "NN", "NN", "SYM", "CD", "CD", ""
    ]  # fmt: skip


@pytest.fixture
def no_nltk_data(monkeypatch):
    """A machine without NLTK's data."""
    monkeypatch.setattr(nltk.data, "path", [])


def test_without_nltk_data_the_lexicon_and_rules_are_used_and_named(no_nltk_data, tmp_path):
    lexicon = tmp_path / "lexicon.json"
    with pytest.raises(InputError, match="NLTK_DATA"):
        tagging.choose(lexicon, debian=tmp_path)
    lexicon.write_text(json.dumps({"dog": "NN", "dogs": "NNS"}))
    judge = tagging.choose(lexicon, debian=tmp_path)
    assert judge.wordnet is None
    assert judge.name == "tags of the embedded lexicon; lemmas by rules, no WordNet"
    assert (judge.tag("Dogs"), judge.lemmatise("dogs")) == ("NNS", "dog")


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_a_damaged_tagger_is_one_line(monkeypatch, tmp_path, kind):
    place = tmp_path / "taggers/averaged_perceptron_tagger_eng"
    if kind == "folder":
        shutil.copytree(shared("data", "nltk_data") / "taggers" / place.name, place)
        weights = next(place.glob("*weights.json"))
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        place.parent.mkdir()
        place.with_name(f"{place.name}.zip").write_bytes(b"no archive")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(InputError, match=r"NLTK's tagger is damaged; .*tam dataset nltk"):
        tagging.choose(debian=tmp_path)


def test_the_lexicon_has_no_sentence_context_and_says_so(no_nltk_data, tmp_path):
    judge = tagging.choose(debian=tmp_path, sentences=True)
    assert judge.tag_sentence is None
    assert judge.name.startswith("tags of the embedded lexicon (words alone: it knows no sentence context)")


def test_in_its_sentence_a_word_has_the_tag_of_its_place(monkeypatch):
    """ "rides" alone is a noun; after a man it is a verb. Every sentence is tagged on its own."""
    monkeypatch.setattr(nltk.data, "path", [str(shared("data", "nltk_data"))])
    alone, judge = tagging.choose(), tagging.choose(sentences=True)
    assert alone.tag_sentence is None and judge.name == alone.name.replace("tagger;", "tagger in sentence context;")
    pieces = _pieces("A", " man", " rides", " a", " horse", ".", " Rides", " are", " fun", "!")
    tags = [word.tag for word in read_words(pieces, {}, judge.tag, str, published_grouping=False)]
    assert (tags[2], tags[6]) == ("NNS", "NNS")
    words = read_words(pieces, {}, judge.tag, str, published_grouping=False, tag_sentence=judge.tag_sentence)
    assert [word.tag for word in words][:6] == ["DT", "NN", "VBZ", "DT", "NN", "."]
    assert [word.tag for word in words][6:] == judge.tag_sentence(["Rides", "are", "fun", "!"])
    assert words[2].label == OTHER
    assert judge.tag_sentence([]) == []


@pytest.mark.skipif(not (tagging.DEBIAN_WORDNET / "data.noun").is_file(), reason="no Debian wordnet-base")
def test_debians_wordnet_is_read_where_nltk_has_none(no_nltk_data, tmp_path):
    lexicon = tmp_path / "lexicon.json"
    lexicon.write_text('{"dog": "NN"}')
    judge = tagging.choose(lexicon)
    assert judge.name.endswith("WordNet 3.0 of Debian")
    assert [judge.lemmatise(word) for word in ("women", "buses", "zyxes")] == ["woman", "bus", "zyxes"]
    assert ["pawl", "detent", "click", "dog"] in judge.wordnet.synonyms("dog")
