"""Archives from elsewhere, unpacked safely: nothing outside the folder, no links, no devices, no bombs."""

import bz2
import gzip
import io
import logging
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tqdm import tqdm

from tam.datasets.entries import inside, is_text
from tam.errors import DiskError, InputError
from tam.system.atomic import FULL

logger = logging.getLogger(__name__)

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

# Pictures hardly shrink in an archive, label maps and JSON to a fifth or a tenth. What grows more than this is a bomb.
MOST_GROWTH = 100
SMALL = 64 << 20  # bytes that any archive may unpack to
MOST_ENTRIES = 250_000  # files and folders; all of COCO's train2014 with label maps are 166,000
LARGEST_READ = 32 << 20  # bytes; only a header asks for more at a time than the copying below
CHUNK = 1 << 20

COMPRESSED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others a small piece may unpack to anything at once
# What the libraries raise of bytes that are no archive. An OSError with a number is the disk's.
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, LookupError,
    struct.error, OverflowError, MemoryError,
)  # fmt: skip


def is_archive(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def most_bytes(files: Iterable[Path]) -> int:
    """How many bytes files may unpack to."""
    return max(SMALL, MOST_GROWTH * sum(file.stat().st_size for file in files))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack ``archive`` to ``folder``, which appears whole or not at all. Files whose names are no UTF-8 are left out.

    Raises:
        InputError: a name that is absolute or climbs, or is there twice, a link or device, too many entries or bytes,
            a damaged archive.
        DiskError: the disk is full.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    left, unnamed = most_bytes([archive]), 0
    try:
        with _entries(archive, left) as found, tqdm(desc=f"unpack {archive.name}", unit="entry") as progress:
            for number, (name, content) in enumerate(found):
                if number >= MOST_ENTRIES:
                    raise InputError("too many files and folders", where=archive, expected=f"up to {MOST_ENTRIES}")
                progress.update()
                if not is_text(name):
                    unnamed += 1
                elif content is not None:
                    left -= _copy(content, inside(temporary, name, str(archive)), left, archive)
        temporary.mkdir(parents=True, exist_ok=True)
        temporary.rename(folder)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError("a name is there twice", where=archive, got=Path(str(error.filename)).name) from error
    except OSError as error:
        if error.errno in FULL:
            raise DiskError("disk full", where=folder, cure="make room and run it again") from error
        if error.errno is not None:
            raise
        raise _damaged(archive, error) from error
    except DAMAGE as error:
        raise _damaged(archive, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if unnamed:
        logger.warning("%s: %d files whose names are no UTF-8 are left out", archive, unnamed)


def _damaged(archive: Path, error: Exception) -> InputError:
    got = " ".join(str(error).split()) or type(error).__name__
    cure = "delete it, so that it is downloaded again"
    return InputError("not an archive that can be unpacked", where=archive, got=got, cure=cure)


class _Limited(io.RawIOBase):
    """What an archive is read from. No header may ask for much at once, nor all of it unpack to too many bytes."""

    def __init__(self, file: Any, most: int, archive: Path):
        super().__init__()
        self._file, self._most, self._archive = file, most, archive

    def read(self, size: int = -1) -> bytes:
        content = b"" if size > LARGEST_READ else self._file.read(size if size >= 0 else LARGEST_READ + 1)
        if max(size, len(content)) > LARGEST_READ:
            raise InputError("a header too long", where=self._archive, expected=f"at most {LARGEST_READ} bytes")
        if self._file.tell() > self._most:
            raise _too_many_bytes(self._archive)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < 0:  # the system's error would look like the disk's
            raise ValueError("a header names a place before the archive")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


Entry = tuple[str, IO[bytes] | None]
"""Name and content; None for a folder."""


@contextmanager
def _entries(archive: Path, most: int) -> Iterator[Iterator[Entry]]:
    """An archive's files and folders, one after the other."""
    if archive.name.lower().endswith(".zip"):
        with archive.open("rb") as file:
            yield _zipped(zipfile.ZipFile(cast(IO[bytes], _Limited(file, most, archive))), archive)
    else:
        with opened_tar(archive, most) as tarred:
            yield _tarred(tarred, archive)


@contextmanager
def opened_tar(archive: Path, most: int) -> Iterator[tarfile.TarFile]:
    """A tar archive, compressed or not, of which at most so many bytes are read; what it raises is in ``DAMAGE``."""
    with archive.open("rb") as file:
        magic = file.read(8)
    opened = next((how for sign, how in COMPRESSED if magic.startswith(sign)), Path.open)
    with opened(archive, "rb") as plain:
        limited = cast(IO[bytes], _Limited(plain, most, archive))
        with tarfile.open(fileobj=limited, mode="r:") as tarred:
            yield tarred


def _zipped(file: zipfile.ZipFile, archive: Path) -> Iterator[Entry]:
    for member in file.infolist():
        kind = member.external_attr >> 16 & 0o170000
        if kind not in (0, 0o100000, 0o040000):
            raise InputError("link or device in an archive", where=archive, got=repr(member.filename)[:80])
        if member.compress_type not in ZIP_METHODS:
            raise InputError("unknown compression", where=archive, got=member.compress_type, cure="pack it as usual")
        if member.is_dir():
            yield member.filename, None
        else:
            with file.open(member) as content:
                yield member.filename, content


def _tarred(file: tarfile.TarFile, archive: Path) -> Iterator[Entry]:
    while (member := file.next()) is not None:
        file.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
        if member.isdir():
            yield member.name, None
        elif member.isreg() and (content := file.extractfile(member)):
            yield member.name, content
        else:
            raise InputError("link or device in an archive", where=archive, got=repr(member.name)[:80])


def _copy(content: IO[bytes], path: Path, most: int, archive: Path) -> int:
    """Write a file and return its bytes, which are counted because an archive can lie about them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("xb") as file:
        while chunk := content.read(CHUNK):
            size += len(chunk)
            if size > most:
                raise _too_many_bytes(archive)
            file.write(chunk)
    return size


def _too_many_bytes(archive: Path) -> InputError:
    expected = f"up to {MOST_GROWTH} times its own size"
    return InputError("unpacks to too many bytes", where=archive, expected=expected)
