import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tam.datasets import archives
from tam.errors import InputError


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


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    with pytest.raises(InputError, match="too many files"):
        archives.unpack(make(tmp_path / "a.zip", {str(n): b"" for n in range(4)}), tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("damage", ["cut", "no archive"])
def test_a_damaged_archive_is_named(tmp_path, name, damage):
    archive = make(tmp_path / name, {"a": os.urandom(5000), "b": os.urandom(5000)})
    archive.write_bytes(archive.read_bytes()[:4000] if damage == "cut" else b"no archive")
    with pytest.raises(InputError, match=f"{name}: not an archive that can be unpacked"):
        archives.unpack(archive, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]
