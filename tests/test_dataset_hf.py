"""Rows of Parquet files and of webdataset's archives, on this machine and on a hub that is this machine."""

import io
import json
import os
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tam import manifest
from tam.datasets import archives, hf, parquet, webdataset
from tam.datasets.hub import fetch_files
from tam.errors import InputError
from tam.manifest import Sample, Shard
from tests.hub import COMMIT, REPO, Repository, serve

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as the library `datasets` stores its Image


def png(number: int = 0, size: tuple[int, int] = (6, 4)) -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", size, (number, 0, 0)).save(data, "PNG")
    return data.getvalue()


def jpeg(number: int = 0) -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", (6, 4), (number, 0, 0)).save(data, "JPEG")
    return data.getvalue()


def table(rows: list[dict], image: pa.DataType = IMAGE) -> pa.Table:
    known = {"image": image, "picture": image, "mask": image, "bytes": pa.binary()}
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows], known.get(name)) for name in names})


def stored(path: Path, rows: list[dict] | pa.Table, group: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows if isinstance(rows, pa.Table) else table(rows), path, row_group_size=group)
    return path


def packed(path: Path, files: list[tuple[str | bytes, bytes | None]]) -> Path:
    """A tar archive; a file without content is a link."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files:
            member = tarfile.TarInfo(os.fsdecode(name))
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return path


def read(tmp_path: Path, root: Path, pattern: str | None = None, **options) -> list[Sample]:
    folder, files = hf.find(root, pattern)
    out = tmp_path / "out/manifest.jsonl"
    columns = options.pop("columns", {})
    hf.write(folder, files, out, columns=columns, prompt="What?", **options)
    return manifest.read(out)


def problems(samples: list[Sample]) -> list[str | None]:
    return [sample.problem for sample in samples]


def test_a_row_is_a_sample_and_its_picture_is_written_byte_for_byte(tmp_path):
    rows = [
        {"image": {"bytes": jpeg(), "path": "../../a.jpg"}, "caption": ["A cat.", " A dog. "], "question": "Which?"},
        {"image": {"bytes": png(), "path": None}, "caption": ["A cow."], "mask": {"bytes": png(1), "path": None}},
    ]
    (tmp_path / "names.json").write_text('{"cat": 17}')
    root = stored(tmp_path / "mine.parquet", rows)
    first, second = read(tmp_path, root, categories=tmp_path / "names.json")
    assert (first.id, first.prompt, first.references, first.mask) == ("mine-0", "Which?", ["A cat.", "A dog."], None)
    assert (second.id, second.prompt, second.references) == ("mine-1", "What?", ["A cow."])
    assert first.categories == second.categories == {"cat": 17}
    for path, content in ((first.media[0], jpeg()), (second.media[0], png()), (second.mask, png(1))):
        assert (tmp_path / "out" / path).read_bytes() == content
    assert Path(first.media[0]).suffix == ".jpg" and Path(first.media[0]).parts[0] == "image"
    assert not list(tmp_path.parent.glob("a.jpg"))


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        (IMAGE, {"bytes": None, "path": "pictures/a.png"}), (pa.string(), "pictures/a.png"), (pa.binary(), png()),
        (pa.large_binary(), png()), (pa.list_(IMAGE), [{"bytes": png(), "path": None}]),
        (pa.struct([("bytes", pa.binary())]), {"bytes": png()}), (pa.binary_view(), png()),
        (pa.binary(len(png())), png()), (pa.dictionary(pa.int32(), pa.string()), "pictures/a.png"),
        (pa.string_view(), "pictures/a.png"), (pa.list_(pa.binary(), 1), [png()]),
        (pa.large_list(IMAGE), [{"bytes": png(), "path": None}]),
    ],
    ids=str,
)  # fmt: skip
def test_a_picture_is_a_struct_or_bytes_or_a_path(tmp_path, kind, cell):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(png())
    (sample,) = read(tmp_path, stored(tmp_path / "a.parquet", table([{"image": cell}], kind)))
    assert (tmp_path / "out" / sample.media[0]).read_bytes() == png()


def test_a_row_of_several_pictures_has_a_label_map_each_or_none(tmp_path):
    images = [{"bytes": png(number), "path": None} for number in range(2)]
    rows = {"image": pa.array([images], pa.list_(IMAGE)), "mask": pa.array([[None, images[0]]], pa.list_(IMAGE))}
    (sample,) = read(tmp_path, stored(tmp_path / "a.parquet", pa.table(rows)))
    assert len(sample.media) == 2 and sample.mask is None and sample.masks.keys() == {"1"}


def test_columns_may_have_other_names_and_a_picture_of_two_questions_is_written_once(tmp_path):
    rows = [
        {"picture": {"bytes": png(), "path": None}, "ask": text, "key": 7 + len(text)} for text in ("Who?", "Why?!")
    ]
    columns = {"image": "picture", "question": "ask", "id": "key"}
    samples = read(tmp_path, stored(tmp_path / "a.parquet", rows), columns=columns)
    assert [(sample.id, sample.prompt) for sample in samples] == [("11", "Who?"), ("12", "Why?!")]
    assert len(list((tmp_path / "out/image").glob("*/*"))) == 1
    for columns, got in (({"image": "pixels"}, "pixels"), ({}, "image")):
        said = rf"got a\.parquet: no such column; got {got}; expected picture, ask, key$"
        with pytest.raises(InputError, match=said):
            read(tmp_path, tmp_path / "a.parquet", columns=columns)


def test_a_picture_that_is_its_own_mask_is_written_as_both(tmp_path):
    row = {"image": {"bytes": png(), "path": None}, "mask": {"bytes": png(), "path": None}}
    (sample,) = read(tmp_path, stored(tmp_path / "a.parquet", [row]))
    assert sample.mask != sample.media[0]
    assert (tmp_path / "out" / sample.mask).read_bytes() == (tmp_path / "out" / sample.media[0]).read_bytes() == png()


def test_two_columns_of_one_name_are_named(tmp_path):
    twice = pa.Table.from_arrays([pa.array([png()], pa.binary())] * 2, names=["image", "image"])
    with pytest.raises(InputError, match="two columns of one name; got image"):
        read(tmp_path, stored(tmp_path / "a.parquet", twice))


def test_a_file_without_the_column_is_one_sample_however_many_parts_there_are(tmp_path):
    root = tmp_path / "data"
    stored(root / "0.parquet", [{"image": {"bytes": png(), "path": None}}])
    stored(root / "1.parquet", pa.table({"caption": ["A cat."] * 4}))
    stored(root / "2.parquet", [{"image": {"bytes": png(), "path": None}}] * 3)
    whole = [sample.id for sample in read(tmp_path, root)]
    assert whole == ["0-0", "1.parquet", "2-0", "2-1", "2-2"]
    parts = [[sample.id for sample in read(tmp_path, root, part=Shard(index, 2))] for index in range(2)]
    assert [id for part in parts for id in part] == whole


def test_an_id_that_is_none_and_a_caption_that_is_none_are_named_by_their_columns(tmp_path):
    rows = [{"image": {"bytes": png(), "path": None}, "id": id} for id in (1.5, None, 7.0)]  # 7.0: pandas beside a gap
    wrong, *good = read(tmp_path, stored(tmp_path / "a.parquet", rows))
    assert wrong.problem.startswith("a.parquet, row 0, id: not a text; got 1.5")
    assert [sample.id for sample in good] == ["a-1", "7"]


WRONG = [
    ({"image": {"bytes": b"", "path": None}}, "no picture"),
    ({"image": None}, "no picture"),
    ({"image": {"bytes": None, "path": "../a.png"}}, "not a path in its folder; got '../a.png'"),
    ({"image": {"bytes": None, "path": "/etc/passwd"}}, "not a path in its folder"),
    ({"image": {"bytes": None, "path": "a\0.png"}}, "not a path in its folder"),
    ({"image": {"bytes": b"%!PS-Adobe", "path": "a.eps"}}, "not a picture; got bytes that begin with b'%!PS-Adobe'"),
    ({"image": {"bytes": png(), "path": None}, "mask": {"bytes": b"[]", "path": None}}, "mask: not a picture"),
    ({"image": {"bytes": png(), "path": None}, "id": "a\0b"}, "wrong value"),
    ({"image": {"bytes": png(), "path": None}, "id": "first"}, "id occurs twice"),
]


@pytest.mark.parametrize(("row", "problem"), WRONG)
def test_a_wrong_row_costs_itself(tmp_path, row, problem):
    rows = [{"image": {"bytes": png(), "path": None}, "id": id} for id in ("first", "last")]
    first, wrong, last = read(tmp_path, stored(tmp_path / "a.parquet", [rows[0], row, rows[1]]))
    assert (first.id, first.problem, last.id, last.problem) == ("first", None, "last", None)
    assert problem in wrong.problem


def test_captions_of_numbers_nan_and_no_text_cost_their_rows(tmp_path):
    """Text that is no UTF-8 can stand in a column of text."""
    images = pa.array([png(), png()], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(np.int32([0, 1, 2])), pa.py_buffer(b"a\xe9")])
    good, bad = read(tmp_path, stored(tmp_path / "a.parquet", pa.table({"image": images, "caption": broken})))
    assert good.references == ["a"] and bad.problem == "a.parquet, row 1: not a text; got b'\\xe9'; expected UTF-8"
    numbers = pa.table({"image": images, "caption": pa.array([float("nan"), None])})
    nan, none = read(tmp_path, stored(tmp_path / "b.parquet", numbers))
    assert "not a text; got nan" in nan.problem and (none.problem, none.references) == (None, [])
    with pytest.raises(InputError, match="column image: no pictures; got double"):
        read(tmp_path, stored(tmp_path / "c.parquet", pa.table({"image": [1.0]})))


def test_a_damaged_file_costs_itself_and_a_damaged_group_its_rows(tmp_path):
    root = tmp_path / "data"
    rows = [{"image": {"bytes": png(number), "path": None}} for number in range(6)]
    for number in range(4):
        stored(root / f"{number}.parquet", rows)
    whole = (root / "1.parquet").read_bytes()
    (root / "1.parquet").write_bytes(whole[: len(whole) // 2])
    (root / "2.parquet").write_bytes(b"")
    place = pq.ParquetFile(root / "3.parquet").metadata.row_group(1).column(0).dictionary_page_offset
    damaged = bytearray((root / "3.parquet").read_bytes())
    damaged[place : place + 40] = bytes(40)
    (root / "3.parquet").write_bytes(damaged)
    samples = read(tmp_path, root)
    said = [bool(sample.problem) for sample in samples]
    assert said == [False] * 6 + [True] * 2 + [False, False, True, True, False, False]
    assert [sample.id for sample in samples if not sample.problem] == [
        *(f"0-{n}" for n in range(6)),
        "3-0",
        "3-1",
        "3-4",
        "3-5",
    ]
    assert samples[6].problem.startswith("1.parquet: ") and "not a Parquet file that can be read" in samples[6].problem


def test_a_group_that_says_to_be_huge_is_not_read_and_no_more_is_written_than_files_can_hold(tmp_path, monkeypatch):
    rows = [{"image": {"bytes": png(number), "path": None}} for number in range(4)]
    path = stored(tmp_path / "a.parquet", rows)
    monkeypatch.setattr(archives, "SMALL", 0)
    monkeypatch.setattr(archives, "MOST_GROWTH", len(png()) * 2.5 / path.stat().st_size)
    samples = read(tmp_path, path)
    assert [bool(sample.problem) for sample in samples] == [False, False, True, True]
    assert "pictures of too many bytes" in samples[2].problem and len(list((tmp_path / "out/image").glob("*/*"))) == 2
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 100)
    with pytest.raises(InputError, match="a group of rows too large"):
        read(tmp_path, path)
    monkeypatch.setattr(parquet, "MOST_ROWS", 3)
    with pytest.raises(InputError, match="more rows than are read; got 4; expected up to 3"):
        read(tmp_path, path)


def test_a_slice_has_the_ids_of_the_whole_and_reads_no_other_group(tmp_path, monkeypatch):
    root = tmp_path / "data"
    for shard, count in (("9", 5), ("10", 3)):
        rows = [{"image": {"bytes": png(number), "path": None}} for number in range(count)]
        stored(root / f"train-{shard}.parquet", rows)
    stored(root / "test-0.parquet", rows)
    whole = [sample.id for sample in read(tmp_path, root, "train-*")]
    assert whole == [*(f"train-9-{number}" for number in range(5)), *(f"train-10-{number}" for number in range(3))]
    read_groups, group = [], parquet._group
    monkeypatch.setattr(
        parquet, "_group", lambda file, number, *more: read_groups.append(number) or group(file, number, *more)
    )
    parts = [[sample.id for sample in read(tmp_path, root, "train-*", part=Shard(index, 4))] for index in range(4)]
    assert [id for part in parts for id in part] == whole and [len(part) for part in parts] == [2] * 4
    assert read_groups == [0, 1, 2, 0, 0, 1]
    read_groups.clear()
    assert len(read(tmp_path, root, "train-*", limit=1)) == 1 and read_groups == [0]


def test_memory_does_not_grow_with_the_dataset(tmp_path, monkeypatch):
    """The most that Arrow and Python hold while 120 rows are read is what they hold for 20."""
    made = np.random.default_rng(0)
    held: list[int] = []
    put = hf._Store.put

    def counted(*args):
        held.append(pa.total_allocated_bytes() + tracemalloc.get_traced_memory()[0])
        return put(*args)

    monkeypatch.setattr(hf._Store, "put", counted)
    most = []
    for count in (20, 120):
        rows = [{"image": {"bytes": png() + made.bytes(50_000), "path": None}} for _ in range(count)]
        path = stored(tmp_path / f"{count}.parquet", rows, group=10)
        del rows
        held.clear()
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        assert len(read(tmp_path, path)) == len(held) == count
        most.append(max(held) - before)
        tracemalloc.stop()
    assert most[1] < most[0] + 500_000  # as many bytes as a group has; a hundred rows more have ten times as many


def test_files_that_stand_under_one_key_are_a_row(tmp_path):
    files = [
        ("shard/a.jpg", jpeg()), ("shard/a.txt", "Ein Kätzchen.".encode()), ("shard/a.mask.png", png(1)),
        ("shard/b.json", b'{"caption": ["A dog.", "A hound."], "question": "Who?", "id": 4, "image": "x"}'),
        ("shard/b.PNG", png()), ("shard/b.depth.png", png(2)), ("shard/b.cls", b"4"),
    ]  # fmt: skip
    first, second = read(tmp_path, packed(tmp_path / "x-000.tar", files))
    assert (first.id, first.prompt, first.references) == ("x-000-shard/a", "What?", ["Ein Kätzchen."])
    assert (second.id, second.prompt, second.references) == ("4", "Who?", ["A dog.", "A hound."])
    for path, content in ((first.media[0], jpeg()), (second.media[0], png()), (first.mask, png(1))):
        assert (tmp_path / "out" / path).read_bytes() == content
    deep = read(tmp_path, tmp_path / "x-000.tar", columns={"image": "depth.png", "caption": "cls"})
    assert deep[0].problem.endswith("no picture; got jpg, txt, mask.png; expected depth.png")
    assert deep[1].references == ["4"]
    assert (tmp_path / "out" / deep[1].media[0]).read_bytes() == png(2)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([("b.jpg", None)], "link or device"),
        ([("b.jpg", jpeg()), ("b.png", png())], "two files for one column"),
        ([("b.jpg", jpeg()), ("b.txt", b"caf\xe9")], "not a text"),
        ([("b.jpg", jpeg()), ("b.json", b"{")], "broken JSON"),
        ([("b.jpg", jpeg()), ("b.json", b"[1]")], "no values by name"),
        ([("b.jpg", jpeg()), ("b.json", b'{"caption": NaN}')], "not a text; got nan"),
        ([("b.txt", b"A cat.")], "no picture"),
        ([("b.jpg", b"")], "no picture"),
        ([("b.jpg", b"PK")], "not a picture"),
        ([("b.json", b'{"image": "../a.jpg"}')], "not a path in its folder"),
        ([("a.jpg", jpeg())], "id occurs twice"),
    ],
)
def test_a_wrong_row_of_an_archive_costs_itself(tmp_path, files, problem):
    around = [("a.jpg", jpeg()), ("a.txt", b"A cat.")], [("c.jpg", jpeg())]
    between = [("z.jpg", jpeg())] if files[0][0].startswith("a") else []
    path = packed(tmp_path / "x.tar", [*around[0], *between, *files, *around[1]])
    first, *others, last = read(tmp_path, path)
    assert (first.id, first.problem, last.id, last.problem) == ("x-a", None, "x-c", None)
    assert problem in others[-1].problem


def test_names_in_an_archive_are_no_names_of_files(tmp_path):
    names = ["../../up.jpg", "/etc/abs.jpg", b"caf\xe9.jpg", "a\\..\\b.jpg", ".hidden.jpg", "x" * 300 + ".jpg"]
    samples = read(tmp_path, packed(tmp_path / "x.tar", [(name, jpeg(n)) for n, name in enumerate(names)]))
    assert [bool(problem) for problem in problems(samples)] == [False, False, False, True, True, False]
    assert samples[2].id == "x-row-2" and samples[0].id == "x-../../up"
    assert {Path(path).parts[0] for sample in samples for path in sample.media} == {"image"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.tar"]


def test_a_column_that_no_row_of_an_archive_has_is_an_error_and_one_that_some_have_is_none(tmp_path):
    path = packed(tmp_path / "x.tar", [("a.jpg", jpeg()), ("b.jpg", jpeg(1)), ("b.seg.png", png())])
    bare, masked = read(tmp_path, path, columns={"mask": "seg.png"})
    assert bare.mask is None and masked.mask
    with pytest.raises(InputError, match=r"no row has this column; got seg; expected files KEY\.seg, or a key of KEY"):
        read(tmp_path, path, columns={"mask": "seg"})
    assert len(read(tmp_path, path, columns={"mask": "seg"}, part=Shard(0, 2))) == 1  # another part may have it


def test_an_archive_behind_another_is_not_lost_silently(tmp_path):
    path = packed(tmp_path / "x.tar", [("a.jpg", jpeg()), ("b.jpg", jpeg(1))])
    path.write_bytes(path.read_bytes() * 2)
    good, last = read(tmp_path, path)
    assert good.problem is None and "more behind its end: b'a.jpg" in last.problem


@pytest.mark.parametrize("cut", [700, 1024, 1536, 2060, 2600])
def test_a_truncated_archive_costs_what_is_missing_and_says_so(tmp_path, cut):
    path = packed(tmp_path / "x.tar", [(f"{number}.jpg", jpeg(number)[:500]) for number in range(4)])
    path.write_bytes(path.read_bytes()[:cut])
    if cut < 1536:  # nothing says that the first row is whole
        with pytest.raises(InputError, match=r"no sample can be used.*not a tar archive that can be read"):
            read(tmp_path, path)
        return
    *whole, last = read(tmp_path, path)
    assert len(whole) >= 1 and problems(whole) == [None] * len(whole)
    assert "not a tar archive that can be read" in last.problem
    assert len(read(tmp_path, path, part=Shard(0, 1))) == len(whole) + 1


def test_a_file_that_is_too_large_in_an_archive_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset, "LARGEST_FILE", 700)
    path = packed(tmp_path / "x.tar", [("a.jpg", jpeg() + bytes(700)), ("b.jpg", jpeg())])
    large, good = read(tmp_path, path)
    assert "a file too large" in large.problem and good.problem is None


def test_nothing_to_read_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such folder"):
        hf.find(tmp_path / "none", None)
    with pytest.raises(InputError, match="no such files; got an empty folder"):
        hf.find(tmp_path, None)
    path = stored(tmp_path / "a.parquet", table([{"image": None}]).slice(0, 0))
    with pytest.raises(InputError, match=r"no such files; got a\.parquet; expected \*\.tar"):
        hf.find(tmp_path, "*.tar")
    with pytest.raises(InputError, match="no sample can be used; got no entries"):
        read(tmp_path, path)
    monkeypatch.setattr(hf, "MOST_FILES", 0)
    with pytest.raises(InputError, match="too many files"):
        hf.find(tmp_path, None)


def test_files_of_the_hub_are_those_that_the_pattern_names_at_one_commit(tmp_path):
    rows = [{"image": {"bytes": png(number), "path": None}, "caption": "A cat."} for number in range(3)]
    content = stored(tmp_path / "a.parquet", rows).read_bytes()
    files = {f"data/{name}-0000{number}-of-00002.parquet": content for name in ("val", "train") for number in (0, 1)}
    repository = Repository(files | {"README.md": b"a" * 10})
    with serve(repository) as endpoint:
        folder, found = fetch_files(REPO, None, tmp_path / "hub", "data/val-*", endpoint)
        with pytest.raises(InputError, match=r"no such files in the dataset repository; got 5 files: README\.md, data"):
            fetch_files(REPO, COMMIT, tmp_path / "hub", "*.tar", endpoint)
    assert COMMIT in str(folder) and {name for name, _ in repository.asked} == {*list(files)[:2]}
    out = tmp_path / "out/manifest.jsonl"
    hf.write(folder, found, out, columns={}, prompt="p")
    assert [sample.id for sample in manifest.read(out)][2:4] == [
        "data/val-00000-of-00002-2",
        "data/val-00001-of-00002-0",
    ]
    assert json.loads((folder.parent / "checksums.json").read_text())["commit"] == COMMIT
