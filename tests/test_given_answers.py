"""Texts from elsewhere: what a file of them may hold, and that a wrong line costs its own sample."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam.errors import InputError
from tam.generation.given_answers import read_given_answers
from tam.records import GivenAnswer


def line(**fields) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def test_texts_are_read_with_what_else_is_known_of_them(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + line(id="a", answer="a cat", by="me") + b"\r\n  \n"
        + line(id="b", answer="ein H\u00fcndchen\u2028", ids=[3, 0, 151645], ended=False)
        + line(id="c", answer="", ids=None, ended=True)
    )  # fmt: skip
    assert read_given_answers(path, ["a", "b", "c", "d"]) == {
        "a": GivenAnswer("a cat"),
        "b": GivenAnswer("ein H\u00fcndchen\u2028", (3, 0, 151645), False),
        "c": GivenAnswer("", None, True),
    }
    assert read_given_answers(path, ["a"]) == {"a": GivenAnswer("a cat")}


WRONG = [
    (b"a,a cat\n", "not a line of JSON"),
    (b'{"id": "b", "answer": "caf\xe9"}\n', "not a line of JSON; got 'utf-8' codec"),
    (b"[" * 100_000 + b"\n", "not a line of JSON; got maximum recursion"),
    (b'{"id": "b", "answer": "a", "ids": [' + b"9" * 5000 + b"]}\n", "not a line of JSON"),
    (line(id="b"), "not an answer"),
    (line(id="b", answer=3), "not an answer"),
    (line(id="b", answer="half \ud800"), "not an answer"),
    (b'["b", "a cat"]\n', "not an answer"),
    (line(id="b", answer="a", ids=[]), "not an answer"),
    (line(id="b", answer="a", ids="12"), "not an answer"),
    (line(id="b", answer="a", ids=[1.5]), "not an answer"),
    (line(id="b", answer="a", ids=[True]), "not an answer"),
    (line(id="b", answer="a", ids=[-1]), "not an answer"),
    (line(id="b", answer="a", ids=[1 << 31]), "not an answer"),
    (line(id="b", answer="a", ended="yes"), "not an answer"),
    (line(id="a", answer="another"), "id occurs twice; got 'a'"),
]


@pytest.mark.parametrize(("wrong", "problem"), WRONG)
def test_a_wrong_line_costs_its_own_sample_and_is_said(tmp_path, caplog, wrong, problem):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(line(id="a", answer="a cat") + wrong + line(id="c", answer="a dog"))
    assert read_given_answers(path, ["a", "b", "c"]) == {"a": GivenAnswer("a cat"), "c": GivenAnswer("a dog")}
    (said,) = caplog.messages
    assert "1 lines cannot be used, and their samples have no answer" in said and f"line 2: {problem}" in said
    assert len(said) < 1000


def test_a_file_of_wrong_lines_only_is_an_error(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("a,a cat\nb,a dog\n")
    with pytest.raises(InputError, match="line 1: not a line of JSON"):
        read_given_answers(path, ["a", "b"])
    with pytest.raises(InputError, match="no such file of answers"):
        read_given_answers(tmp_path / "none.jsonl", [])


def test_answers_of_other_datasets_are_counted(tmp_path, caplog):
    """COCO, GranDf and OpenPSG may share a file, and a shard of each reads it."""
    caplog.set_level("INFO")
    path = tmp_path / "answers.jsonl"
    path.write_bytes(line(id="a", answer="a cat") + line(id="x", answer="a") + line(id="y", answer="a"))
    assert read_given_answers(path, ["a", "b"]) == {"a": GivenAnswer("a cat")}
    assert caplog.messages == [f"{path}: 2 answers belong to none of the 2 samples"]
    assert read_given_answers(path, ["b"]) == {}


@given(lines=st.lists(st.binary(max_size=20) | st.sampled_from([wrong for wrong, _ in WRONG[:4]]), max_size=4))
def test_whatever_else_the_lines_are_the_right_one_is_read(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("a") / "answers.jsonl"
    path.write_bytes(b"\n".join([*lines, line(id="a", answer="a cat"), *lines]))
    assert read_given_answers(path, ["a"]) == {"a": GivenAnswer("a cat")}
