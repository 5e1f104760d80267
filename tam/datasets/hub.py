"""The paper's formatted data from a dataset repository of the Hugging Face hub, at one commit.

What the repository holds is not documented: its files are listed, those of one dataset downloaded, archives unpacked,
and the dataset's folder is found by its layout. Everything lies in one folder a commit:

<downloads>/<owner>--<name>/<commit>/checksums.json   sha256 of every downloaded file
                                     files/           the repository's files
                                     unpacked/        its archives, each in a folder of its name

A transfer that is interrupted, or hangs, goes on where it was: at once, a few times, and on the next start. Of an
interrupted transfer ``hf_hub_download`` keeps nothing, so files are fetched by the function beneath it.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from httpx2 import InvalidURL
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers, paginate
from huggingface_hub.utils.tqdm import silent_tqdm
from tqdm import tqdm

from tam.datasets import archives, entries
from tam.errors import InputError
from tam.system.atomic import atomic

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without an answer to a question; of transfers, HF_HUB_DOWNLOAD_TIMEOUT (10) decides
TRANSFERS = 8  # at a time
PROXY_ERRORS = (ImportError, InvalidURL)  # a SOCKS proxy without its package, an address of a proxy that is none
CHUNK = 1 << 20
LARGE = 16 << 20  # bytes from which a file has a progress bar of its own
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Wanted:
    """How to recognise a dataset in a repository.

    Attributes:
        title: what people call it.
        word: part of the path of its files, or of its archive's name; lower case.
        marker: glob of a file in its folder, ``depth`` folders below it.
        alone: whether the marker belongs to no other dataset, so that the folder may have any name.
    """

    title: str
    word: str
    marker: str
    depth: int = 0
    alone: bool = False


WANTED = {
    "coco": Wanted("COCO14", "coco", "annotations/instances_*.json", depth=1, alone=True),
    "grandf": Wanted("GranDf", "grandf", "anno.json"),
    "openpsg": Wanted("OpenPSG", "psg", "anno.json"),
}


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository: ``checksum`` is "sha256:..." of large files, "git:..." (blob id) of others."""

    path: str
    size: int
    checksum: str


def fetch(repo: str, revision: str | None, downloads: Path, wanted: Wanted, endpoint: str | None = None) -> Path:
    """The folder of a dataset, after downloading and unpacking what is missing.

    Args:
        revision: branch, tag or commit; None for the newest. The commit is part of the folder's path.
        endpoint: address of the hub; None for HF_ENDPOINT of the environment, else the hub's own.

    Raises:
        InputError: no such repository or file, a network that fails or hangs, a wrong checksum, an archive that is not
            safe, no such dataset in the repository (the message says what was found).
    """
    with _opened(repo, revision, downloads, endpoint) as download:
        return download.dataset(wanted)


def fetch_files(
    repo: str, revision: str | None, downloads: Path, pattern: str, endpoint: str | None = None
) -> tuple[Path, list[Path]]:
    """The folder of a dataset repository's files on this machine, and those that ``pattern`` matches (``chosen``),
    after downloading what is missing.

    Raises:
        InputError: as ``fetch``; no file of the repository matches.
    """
    with _opened(repo, revision, downloads, endpoint) as download:
        return download.folder / "files", download.files(pattern)


def chosen(paths: Iterable[str], pattern: str) -> list[str]:
    """Those of a folder's files, with "/" between their parts, that a pattern matches, in whose ``*`` "/" may be.

    >>> chosen(["data/val-10.parquet", "data/val-9.parquet", "README.md"], "*val-*.parquet")
    ['data/val-9.parquet', 'data/val-10.parquet']
    """
    return sorted((path for path in paths if fnmatchcase(path, pattern)), key=entries.by_number)


@contextmanager
def _opened(repo: str, revision: str | None, downloads: Path, endpoint: str | None) -> "Iterator[_Download]":
    """A commit of a repository, which nobody else downloads meanwhile."""
    api = HfApi(endpoint=endpoint)
    try:
        commit = api.dataset_info(repo, revision=revision, timeout=TIMEOUT).sha or ""
        if not COMMIT.fullmatch(commit):
            raise ValueError(f"not a commit: {commit!r}")
    except (HTTPError, OSError, ValueError, *PROXY_ERRORS) as error:
        raise _network(error, f"{repo} at {revision or 'its newest revision'}") from error
    logger.info("%s: commit %s%s", repo, commit, "" if revision == commit else ": set it as the revision to pin it")
    folder = downloads / repo.replace("/", "--") / commit
    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder / ".lock"):
        yield _Download(api.endpoint, repo, commit, folder)


class _Download:
    """One commit of a repository, and where it lies on this machine."""

    def __init__(self, endpoint: str, repo: str, commit: str, folder: Path):
        self.endpoint, self.repo, self.commit, self.folder = endpoint, repo, commit, folder
        self.checksums = folder / "checksums.json"

    def dataset(self, wanted: Wanted) -> Path:
        listed = self._list()
        named = [file for file in listed if wanted.word in file.path.lower()]
        others = {other.word for other in WANTED.values()} - {wanted.word}
        shared = [file for file in listed if not any(word in file.path.lower() for word in others)]
        for chosen in (named, shared):  # an archive of all datasets bears no dataset's name
            self._get(chosen)
            if found := self._find(chosen, wanted):
                return found
        raise InputError(
            f"no folder of {wanted.title} in the dataset repository",
            where=f"{self.repo} at {self.commit}",
            expected=f"{wanted.marker} in a folder or archive" + ("" if wanted.alone else f" named *{wanted.word}*"),
            got=_summary(listed, self.folder),
        )

    def files(self, pattern: str) -> list[Path]:
        listed = self._list()
        names = chosen((file.path for file in listed), pattern)
        if not names:
            raise InputError(
                "no such files in the dataset repository", where=f"{self.repo} at {self.commit}",
                got=_summary(listed, self.folder), expected=pattern,
            )  # fmt: skip
        self._get([file for file in listed if file.path in {*names}])
        return [self.folder / "files" / name for name in names]

    def _list(self) -> list[RemoteFile]:
        """Every file of the commit."""
        address = f"{self.endpoint}/api/datasets/{self.repo}/tree/{self.commit}"
        try:
            pages = paginate(address, params={"recursive": True}, headers=build_hf_headers(), timeout=TIMEOUT)
            files = (_remote(entry) for entry in pages if entry["type"] == "file")
            listed = list(islice(files, archives.MOST_ENTRIES + 1))
        except (HTTPError, OSError, ValueError, LookupError, TypeError) as error:
            raise _network(error, address) from error
        if len(listed) > archives.MOST_ENTRIES:
            raise InputError("too many files", where=address, expected=f"up to {archives.MOST_ENTRIES}")
        return listed

    def _get(self, files: list[RemoteFile]) -> None:
        """Have ``files`` here, whole and as the hub has them, and write down their checksums."""
        known = self._known()
        got = dict(known)
        try:
            with ThreadPoolExecutor(TRANSFERS) as pool, tqdm(total=len(files), desc=self.repo, unit="file") as progress:
                jobs = {file.path: pool.submit(self._fetch, file, known.get(file.path)) for file in files}
                try:
                    for path, job in jobs.items():
                        got[path] = job.result()
                        progress.update()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:
            if got != known:
                content = {"repo": self.repo, "commit": self.commit, "files": dict(sorted(got.items()))}
                with atomic(self.checksums) as temporary:
                    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _known(self) -> dict[str, str]:
        """What was written down of earlier downloads."""
        if not self.checksums.is_file():
            return {}
        content = entries.read_json(self.checksums)
        files = content.get("files") if isinstance(content, dict) else None
        if not isinstance(files, dict):
            cure = "delete it: every file is compared with the hub's own checksum all the same"
            raise InputError("no checksums", where=self.checksums, got=repr(content)[:80], cure=cure)
        return files

    def _fetch(self, file: RemoteFile, known: str | None) -> str:
        """Download a file unless it is here; its sha256."""
        target = entries.inside(self.folder / "files", file.path, self.repo)
        if target.is_file():
            sha256, seen = checksums(target)
            if file.checksum not in seen or known not in (None, sha256):
                raise InputError(
                    "the file was changed after it was downloaded", where=target, got=sha256,
                    expected=known or file.checksum, cure="delete it, and it is downloaded again",
                )  # fmt: skip
            return sha256
        part = target.with_name(f".{target.name}.{file.checksum[-12:]}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        self._transfer(file, part)
        sha256, seen = checksums(part)
        if file.checksum not in seen:
            part.unlink()
            raise InputError(
                "wrong checksum after the download", where=f"{self.repo}, {file.path}", got=", ".join(sorted(seen)),
                expected=file.checksum, cure="start again; if it stays wrong, the server or a proxy changes the file",
            )  # fmt: skip
        part.rename(target)
        return sha256

    def _transfer(self, file: RemoteFile, part: Path) -> None:
        address = hf_hub_url(
            self.repo, file.path, repo_type="dataset", revision=self.commit, endpoint=self.endpoint
        )  # fmt: skip
        with part.open("ab") as content:
            if content.tell() > file.size:
                content.truncate(0)
            start = content.seek(0, os.SEEK_END)
            if start:
                logger.info("%s: goes on at byte %d of %d", file.path, start, file.size)
            try:
                http_get(
                    address, content, resume_size=start, expected_size=file.size, headers=build_hf_headers(),
                    tqdm_class=None if file.size > LARGE else silent_tqdm,  # type: ignore[arg-type]  # its own, no tqdm
                )  # fmt: skip
            except (HTTPError, OSError, ValueError) as error:
                raise _network(error, f"{self.repo}, {file.path}") from error

    def _find(self, files: Iterable[RemoteFile], wanted: Wanted) -> Path | None:
        """Unpack the archives among ``files`` and look for the dataset in them and beside them."""
        for file in files:
            if archives.is_archive(file.path):
                folder = self.folder / "unpacked" / file.path
                if not folder.is_dir():
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    archives.unpack(self.folder / "files" / file.path, folder)
        markers = [path for path in self.folder.rglob(wanted.marker) if "__MACOSX" not in path.parts]
        named = [path for path in markers if wanted.word in path.relative_to(self.folder).as_posix().lower()]
        found = sorted({path.parents[wanted.depth] for path in named or (markers if wanted.alone else [])})
        if len(found) > 1:
            got = ", ".join(path.relative_to(self.folder).as_posix() for path in found)
            raise InputError(f"more than one folder of {wanted.title}", where=self.repo, got=got, cure="give its root")
        return found[0] if found else None


def checksums(path: Path) -> tuple[str, set[str]]:
    """sha256 of a file, and every checksum that the hub may know it by."""
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    return sha256.hexdigest(), {f"sha256:{sha256.hexdigest()}", f"git:{git.hexdigest()}"}


def _remote(entry: dict[str, Any]) -> RemoteFile:
    large, path, size = entry.get("lfs"), entry["path"], entry["size"]
    if not isinstance(path, str) or not path.strip("/") or type(size) is not int or size < 0:
        raise ValueError(f"no file: {repr(entry)[:200]}")
    return RemoteFile(path, size, f"sha256:{large['oid']}" if large else f"git:{entry['oid']}")


def _network(error: Exception, where: str) -> InputError:
    got = f"{type(error).__name__}: {' '.join(str(error).split())}"
    cure = "check name, revision and network (HF_ENDPOINT, HF_TOKEN), start again: what was transferred is kept"
    return InputError("the hub does not deliver", where=where, got=got[:500], cure=cure)


def _summary(listed: list[RemoteFile], folder: Path) -> str:
    """What a repository holds, for people."""
    tops = sorted({PurePosixPath(file.path).parts[0] for file in listed})
    unpacked = sorted({path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.json")} - {"."})
    shown = [f"{len(listed)} files: {', '.join(tops[:12]) or 'none'}"]
    shown += [f"JSON files in {', '.join(unpacked[:12])}"] if unpacked else []
    return "; ".join(shown)
