import contextlib
import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tam.datasets import archives
from tam.errors import DiskError, InputError, TamError


def make(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:" + path.suffix[1:].replace("tar", "").replace("t", "")) as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_what_was_packed_is_unpacked(tmp_path, name):
    files = {"x/1.png": b"one", "x/y/2 ü.png": b"", "3": b"three"}
    assert archives.is_archive(name)
    archives.unpack(make(tmp_path / name, files), tmp_path / "out")
    assert contents(tmp_path / "out") == files


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..\\x", "\\x", "..", "."])
def test_no_path_leaves_the_folder_and_nothing_is_kept(tmp_path, kind, name):
    archive = make(tmp_path / kind, {"good.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="not a path in its folder"):
        archives.unpack(archive, tmp_path / "out" / "unpacked")
    assert list(tmp_path.rglob("*")) in ([archive], [archive, tmp_path / "out"], [tmp_path / "out", archive])


@given(name=st.text(st.sampled_from("./\\ab\0"), min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_whatever_a_member_is_called_it_stays_inside(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("a")
    archive = make(folder / "a.tar", {name: b"1"})
    try:
        archives.unpack(archive, folder / "in" / "out")
    except InputError:
        assert not list((folder / "in").rglob("*"))
    assert all(path == archive or folder / "in" / "out" in path.parents for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match=r"a\.tar: link or device in an archive; got 'link'"):
        archives.unpack(tmp_path / "a.tar", tmp_path / "out")


def test_links_of_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(InputError, match=r"a\.zip: link or device"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_bomb_ends_at_the_limit(tmp_path, monkeypatch, name):
    """Bytes are counted as they come: 8 MiB of zeros are a thousandth in the archive."""
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    archive = make(tmp_path / name, {"zeros": bytes(8 << 20)})
    with pytest.raises(InputError, match="unpacks to too many bytes"):
        archives.unpack(archive, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


def folders(path: Path, count: int) -> Path:
    """An archive of empty folders."""
    if path.suffix == ".zip":
        return make(path, {f"{number}/": b"" for number in range(count)})
    with tarfile.open(path, "w:gz") as archive:
        for number in range(count):
            member = tarfile.TarInfo(str(number))
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("kind", ["files", "folders"])
def test_too_many_entries_of_any_kind_are_refused(tmp_path, monkeypatch, name, kind):
    monkeypatch.setattr(archives, "MOST_ENTRIES", 3)
    pack = folders if kind == "folders" else lambda path, count: make(path, {str(n): b"" for n in range(count)})
    archives.unpack(pack(tmp_path / f"few-{name}", 3), tmp_path / "few")
    with pytest.raises(InputError, match="too many files and folders; expected up to 3"):
        archives.unpack(pack(tmp_path / name, 4), tmp_path / "out")


def test_headers_count_as_bytes(tmp_path, monkeypatch):
    """Folders have no content: 4,000 of them are 2 MB of headers, and 20 kB in the archive."""
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    monkeypatch.setattr(archives, "MOST_GROWTH", 10)
    with pytest.raises(InputError, match=r"a\.tar\.gz: unpacks to too many bytes"):
        archives.unpack(folders(tmp_path / "a.tar.gz", 4000), tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_long_header_of_a_tar_takes_no_memory(tmp_path, kind):
    """Of 40 MB, which take 40 kB in the archive: the library would read a header of any length at once."""
    header = tarfile.TarInfo("name")
    header.type, header.size = kind, 40 << 20
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(header.tobuf())
        for _ in range(40):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.tar\.gz: a header too long; expected at most 33554432 bytes"):
            archives.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


def test_a_zip_of_too_many_names_is_not_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_READ", 100_000)
    with pytest.raises(InputError, match=r"a\.zip: a header too long"):
        archives.unpack(folders(tmp_path / "a.zip", 2000), tmp_path / "out")


def test_a_method_that_unpacks_to_anything_at_once_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("zeros", bytes(1000))
    with pytest.raises(InputError, match=r"a\.zip: unknown compression; got 12"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep")])
def test_what_an_archive_makes_of_memory_is_its_own_fault(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(archives, "_copy", fails)
    with pytest.raises(InputError, match=f"not an archive that can be unpacked; got {str(error) or 'MemoryError'}"):
        archives.unpack(make(tmp_path / "a.zip", {"a": b""}), tmp_path / "out")


def test_a_full_disk_is_no_damage_of_an_archive(small_disk, tmp_path):
    archive = make(tmp_path / "a.zip", {"a": os.urandom(2 << 20)})
    with pytest.raises(DiskError, match="disk full"):
        archives.unpack(archive, small_disk / "out")
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
@pytest.mark.parametrize("names", [("x", "x"), ("x", "x/y"), ("x/y", "x")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_named(tmp_path, kind, names):
    files = dict.fromkeys(names, b"")
    archive = make(tmp_path / kind, files)
    if len(files) == 1 and kind == "a.zip":
        with zipfile.ZipFile(archive, "a") as more:
            more.writestr("x", b"")
    elif len(files) == 1:
        with tarfile.open(archive, "a") as more:
            more.addfile(tarfile.TarInfo("x"))
    with pytest.raises(InputError, match=f"{kind}: a name is there twice; got x"):
        archives.unpack(archive, tmp_path / "out")


def test_a_file_whose_name_is_no_utf_8_is_left_out_and_counted(tmp_path, caplog):
    archives.unpack(make(tmp_path / "a.tar", {"caf\udce9": b"1", "good": b"2"}), tmp_path / "out")
    assert contents(tmp_path / "out") == {"good": b"2"}
    assert "a.tar: 1 files whose names are no UTF-8 are left out" in caplog.text


CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=8)), min_size=1, max_size=4)


def test_a_place_before_the_archive_is_its_damage(tmp_path):
    data = bytearray(make(tmp_path / "a.zip", {"a": b"1"}).read_bytes())
    place = data.rindex(b"PK\5\6") + 16  # of the list of files
    data[place : place + 4] = (int.from_bytes(data[place : place + 4], "little") + 500).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.zip: not an archive that can be unpacked"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


@given(kind=st.sampled_from(["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"]), changes=CHANGES)
@settings(deadline=None, max_examples=200)
def test_changed_bytes_of_an_archive_are_an_error_of_ours_or_unpacked(tmp_path_factory, kind, changes):
    folder = tmp_path_factory.mktemp("a")
    archive = make(folder / kind, {"a/b": b"1" * 2000, "c": b"2", "x" * 200: b"3"})
    data = archive.read_bytes()
    for place, content in changes:  # put in, or cut off
        start = int(place * len(data))
        data = data[:start] + content + data[start + len(content) :] if content else data[:start]
    archive.write_bytes(data)
    with contextlib.suppress(TamError):
        archives.unpack(archive, folder / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("damage", ["cut", "no archive"])
def test_a_damaged_archive_is_named(tmp_path, name, damage):
    archive = make(tmp_path / name, {"a": os.urandom(5000), "b": os.urandom(5000)})
    archive.write_bytes(archive.read_bytes()[:4000] if damage == "cut" else b"no archive")
    with pytest.raises(InputError, match=f"{name}: not an archive that can be unpacked"):
        archives.unpack(archive, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]
