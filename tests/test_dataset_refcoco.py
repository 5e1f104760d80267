"""Phrases and what they refer to: the public layout, rows of one's own, and pickles that are more than data."""

import json
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from tam import manifest
from tam.datasets import phrases, pickled, refcoco
from tam.datasets.emoji.scenes import run_lengths
from tam.errors import InputError
from tam.generation.given_answers import read_given_answers
from tam.label_map import read_label_map
from tam.manifest import Sample
from tam.media import open_media

MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:6] = True
POLYGON = [[2, 1, 6, 1, 6, 3, 2, 3]]
INSTANCES = {
    "images": [{"id": id, "file_name": f"{id}.jpg", "height": 4, "width": 6} for id in (7, 8)],
    "categories": [{"id": 17, "name": "cat"}],
    "annotations": [
        {"id": 70, "image_id": 7, "category_id": 17, "segmentation": POLYGON},
        {"id": 80, "image_id": 8, "category_id": 17, "segmentation": run_lengths(MASK)},
        {"id": 81, "image_id": 8, "category_id": 17, "segmentation": []},
        {"id": 82, "image_id": 9, "category_id": 17, "segmentation": POLYGON},
    ],
}
REFS = [
    {"ref_id": 1, "ann_id": 70, "image_id": 7, "split": "val", "file_name": "COCO_train2014_7_1.jpg", "category_id": 17,
     "sentences": [{"sent": "the cat on  the left", "sent_id": 5, "raw": "The cat", "tokens": []}, {"sent": "cat"}]},
    {"ref_id": 2, "ann_id": 80, "image_id": 8, "split": "testA", "sentences": [{"sent": "right cat"}]},
]  # fmt: skip


def write(
    tmp_path: Path, refs: object, name: str = "refs.json", instances: dict | None = INSTANCES, turn: int = 1, **options
) -> list[Sample]:
    """The samples of references in a file of this name, on two pictures of which the first has this turn."""
    (tmp_path / "train2014").mkdir(exist_ok=True)
    for id in (7, 8):
        exif = Image.Exif()
        exif[Base.Orientation] = turn if id == 7 else 1
        Image.new("RGB", (6, 4)).save(tmp_path / f"train2014/{id}.jpg", exif=exif)
    path = tmp_path / name
    path.write_bytes(refs if isinstance(refs, bytes) else json.dumps(refs).encode())
    if instances is not None:
        (tmp_path / "instances.json").write_text(json.dumps(instances))
        options["instances"] = tmp_path / "instances.json"
    refcoco.write(tmp_path / "train2014", path, tmp_path / "out/manifest.jsonl", **options)
    return manifest.read(tmp_path / "out/manifest.jsonl")


def mask(sample: Sample, tmp_path: Path) -> np.ndarray:
    shown = open_media(sample, tmp_path / "out").pictures[0]
    found, problem = read_label_map(sample, shown.size, tmp_path / "out/manifest.jsonl")
    assert not problem
    return found


@pytest.mark.parametrize("name", ["refs.json", "refs(unc).p"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_each_sentence_is_a_sample_with_its_phrase_and_its_mask(tmp_path, name, protocol):
    refs = pickle.dumps(REFS, protocol) if name.endswith("p") else REFS
    first, second, third = write(tmp_path, refs, name)
    assert (first.id, first.phrases, first.categories) == ("1-0", {"the cat on the left": 1}, {})
    assert (second.id, second.phrases, second.mask) == ("1-1", {"cat": 1}, first.mask)
    assert (third.id, third.media) == ("2-0", ["../train2014/8.jpg"])
    for sample in (first, second, third):
        assert (mask(sample, tmp_path) == MASK).all()


def test_a_pickle_of_python_2_is_read(tmp_path):
    """Its texts are bytes there: protocol 2 with BINSTRING, as refs(unc).p was written."""
    python2 = pickle.dumps(REFS, 2)
    for text in (b"sent", b"cat"):
        python2 = python2.replace(b"X" + len(text).to_bytes(4, "little") + text, b"U%c" % len(text) + text)
    assert b"U\x04sent" in python2
    (tmp_path / "refs.p").write_bytes(python2)
    assert pickled.read(tmp_path / "refs.p") == REFS


@pytest.mark.parametrize("turn", range(2, 9))
def test_a_mask_lies_on_the_upright_picture(tmp_path, turn):
    first = write(tmp_path, REFS, turn=turn)[0]
    stored = Image.fromarray(MASK.astype(np.uint8))
    stored.getexif()[Base.Orientation] = turn
    assert (mask(first, tmp_path) == np.asarray(ImageOps.exif_transpose(stored))).all()


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        ({"ann_id": 99}, "no such object; got 99"),
        ({"ann_id": [1]}, "no such object"),
        ({"image_id": 8}, r"annotations\[0\]: no such image of the object; got 8"),
        ({"ann_id": 82, "image_id": 9}, "no such image of the object; got 9"),
        ({"ann_id": 81, "image_id": 8}, r"refs\.json, entry 0; instances\.json, annotations\[2\]: not a shape"),
        ({"sentences": []}, "a reference without a phrase"),
        ({"ref_id": None}, "not a reference"),
        ({"sentences": None}, "entries are missing"),
        ({"sentences": [{"sent": " "}]}, "a phrase without words"),
        ({"sentences": [{"sent": 4}]}, "not a text"),
        ({"sentences": [{"sent": "half \ud800"}]}, "not a text"),
        ({"sentences": [None]}, "not a text"),
    ],
)
def test_a_wrong_reference_costs_itself(tmp_path, ref, problem):
    wrong = REFS[0] | {"sentences": REFS[0]["sentences"][:1]} | ref
    samples = write(tmp_path, [wrong, REFS[1]])
    with pytest.raises(InputError, match=problem):
        raise InputError(samples[0].problem)
    assert samples[1].id == "2-0" and samples[1].problem is None


def test_a_split_and_a_limit_choose_phrases(tmp_path):
    assert [sample.id for sample in write(tmp_path, REFS, split="testA")] == ["2-0"]
    assert [sample.id for sample in write(tmp_path, REFS, limit=1)] == ["1-0"]
    with pytest.raises(InputError, match="no sample can be used; got no entries"):
        write(tmp_path, REFS, split="train")


def test_rows_of_ones_own_have_their_shapes(tmp_path):
    rows = [
        {"image": "7.jpg", "phrase": "the cat", "segmentation": POLYGON},
        {"image": "7.jpg", "phrase": "a dog", "segmentation": run_lengths(MASK), "split": "val"},
        {"image": "8.jpg", "phrase": "left", "segmentation": POLYGON, "id": 5, "split": "val"},
    ]
    samples = write(tmp_path, rows, instances=None)
    assert [sample.id for sample in samples] == ["7", "7-2", "5"]
    assert all((mask(sample, tmp_path) == MASK).all() for sample in samples)
    assert [sample.id for sample in write(tmp_path, rows, instances=None, split="val")] == ["7", "5"]
    unnamed = [row | {"id": id} for row, id in zip(rows, (None, "", None), strict=True)]
    assert [sample.id for sample in write(tmp_path, unnamed, instances=None)] == ["7", "7-2", "8"]
    lines = b"\n".join(
        [json.dumps(rows[0]).encode(), b"{", b'{"phrase": "caf\xe9"}', b"", json.dumps(rows[1]).encode()]
    )
    first, broken, latin, last = write(tmp_path, lines, "rows.jsonl", instances=None)
    assert (first.problem, last.problem, last.id) == (None, None, "7-2")
    assert broken.problem.startswith("rows.jsonl, line 2: not a line of JSON") and "line 3" in latin.problem


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"image": "../7.jpg"}, "not a path in its folder"),
        ({"image": "/etc/passwd"}, "not a path in its folder"),
        ({"image": "9.jpg"}, "no such picture"),
        ({"phrase": ""}, "a phrase without words"),
        ({"segmentation": {"size": [6, 4], "counts": [24]}}, "not a shape; got runs of 24 pixels"),
        ({"segmentation": [[0, 0, 1, 1, 2, float("nan")]]}, "not a shape"),
        ({"id": "a\0b"}, "wrong value"),
        ({"id": 1.5}, "row 0, id: not a text; got 1.5"),
        ({"id": True}, "not a text; got True"),
    ],
)
def test_a_wrong_row_costs_itself(tmp_path, row, problem):
    good = {"image": "7.jpg", "phrase": "the cat", "segmentation": POLYGON}
    wrong, last = write(tmp_path, [good | row, good], instances=None)
    assert problem in wrong.problem and last.problem is None


def test_a_picture_of_another_size_than_its_entry_says_is_refused(tmp_path):
    images = [INSTANCES["images"][0] | {"width": 5}, INSTANCES["images"][1]]
    samples = write(tmp_path, REFS, instances=INSTANCES | {"images": images})
    assert ["picture of another size" in (sample.problem or "") for sample in samples] == [True, True, False]


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched-by-a-pickle"),))


def itself() -> list:
    made: list = []
    made.append(made)
    return made


def doubled() -> list:
    made: list = []
    for _ in range(60):
        made = [made, made]
    return made


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()), pickle.dumps([REFS, Evil()], 0), b"cos\nsystem\n(S'true'\ntR.", b"",
        b"\x80\x02", b"no pickle",
        pickle.dumps({1, 2}), pickle.dumps(b"bytes"), pickle.dumps(itself()), pickle.dumps(doubled()),
        b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".",  # a bytearray of a terabyte
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a place of two billions in the memo
        b"\x80\x04\x8d" + (1 << 60).to_bytes(8, "little") + b".",
        pickle.dumps(REFS)[:-20],
        b"]" * 2000 + b"a" * 1999 + b".",  # lists in lists, deeper than their text can be made
        b"})\x85K\x01s.",  # a tuple as a key: of one in another, and so on, the hash would end the process
        b"\x86.",
    ],
    ids=lambda content: content[:12].hex(),
)  # fmt: skip
def test_a_pickle_that_is_more_than_plain_data_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refs.p").write_bytes(content)
    if content == b"\x80\x02]r\xff\xff\xff\x7f.":
        assert pickled.read(tmp_path / "refs.p") == []
    else:
        with pytest.raises(InputError, match="not a pickle of plain data"):
            pickled.read(tmp_path / "refs.p")
    assert [path.name for path in tmp_path.iterdir()] == ["refs.p"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples()
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner)
        | st.tuples(inner, inner, inner, inner)
    ),
)


def listed(value: object) -> object:
    """Tuples as lists."""
    if isinstance(value, dict):
        return {key: listed(inner) for key, inner in value.items()}
    return [*map(listed, value)] if isinstance(value, list | tuple) else value


@given(value=PLAIN, protocol=st.integers(0, 5), cut=st.integers(0, 60), byte=st.binary(min_size=1, max_size=3))
def test_plain_data_is_read_and_any_change_of_it_is_data_or_an_error(tmp_path_factory, value, protocol, cut, byte):
    path = tmp_path_factory.mktemp("p") / "a.p"
    content = pickle.dumps(value, protocol)
    path.write_bytes(content)
    assert pickled.read(path) == listed(value)
    path.write_bytes(content[:cut] + byte + content[cut + 1 :])
    try:
        pickled.read(path)
    except InputError:
        return
    read = {op.name for op, *_ in pickletools.genops(path.read_bytes())}
    assert not read & {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "BUILD", "NEWOBJ"}


def test_phrases_are_texts_to_explain(tmp_path):
    samples = write(tmp_path, REFS)
    out = tmp_path / "out/phrases.jsonl"
    assert phrases.write(tmp_path / "out/manifest.jsonl", out) == {"written": 3}
    answers = read_given_answers(out, [sample.id for sample in samples])
    assert {id: answer.text for id, answer in answers.items()} == {
        "1-0": "the cat on the left", "1-1": "cat", "2-0": "right cat",
    }  # fmt: skip
    manifest.write([Sample("a", [], "p"), Sample("b", [], "p", phrases={"x": 1, "y": 2})], tmp_path / "m.jsonl")
    assert phrases.write(tmp_path / "m.jsonl", out) == {"written": 1, "no phrase": 1}
    assert json.loads(out.read_text()) == {"id": "b", "answer": "x, y", "by": "token-activation-maps"}
