"""NLTK's data that the metrics use: the part-of-speech tagger and WordNet, downloaded or copied from a folder."""

import shutil
import tempfile
import zipfile
from pathlib import Path

from nltk.downloader import Downloader

from tam.datasets.archives import DAMAGE
from tam.errors import InputError

WANTED = {"averaged_perceptron_tagger_eng": "taggers", "wordnet": "corpora"}


def write(out: Path, source: Path | None = None) -> list[Path]:
    """Have the tagger and WordNet in ``out``, a folder for NLTK_DATA; what is there already, and whole, is kept.

    Args:
        source: another such folder to copy from; None downloads with NLTK's downloader, which checks its checksums.

    Returns:
        where the two lie: folders, or archives that NLTK reads as they are.

    Raises:
        InputError: the source lacks one of them, or the download failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    return [
        find(name, out) or (_download(name, out) if source is None else _copy(name, source, out)) for name in WANTED
    ]


def find(name: str, folder: Path) -> Path | None:
    """The folder or archive of one of ``WANTED`` in ``folder``, if it is whole."""
    place, archive = _places(name, folder)
    packed = _packed(archive, name)
    if (
        place.is_dir()
        and any(place.iterdir())
        and all(_size(place.parent / file) == size for file, size in packed.items())
    ):
        return place
    return archive if packed else None


def _places(name: str, folder: Path) -> tuple[Path, Path]:
    place = folder / WANTED[name] / name
    return place, place.with_name(f"{name}.zip")


def _packed(archive: Path, name: str) -> dict[str, int]:
    """Files of an archive and their sizes; none if it is damaged, or does not hold what it is called."""
    try:
        with zipfile.ZipFile(archive) as file:
            sizes = {member.filename: member.file_size for member in file.infolist() if not member.is_dir()}
            whole = file.testzip() is None and all(member.startswith(f"{name}/") for member in sizes)
            return sizes if whole else {}
    except (FileNotFoundError, *DAMAGE):
        return {}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _copy(name: str, source: Path, out: Path) -> Path:
    if (found := find(name, source)) is None:
        expected = f"{WANTED[name]}/{name} or {WANTED[name]}/{name}.zip, whole"
        raise InputError(
            "not in this folder", where=source, expected=expected, cure="leave the source out to download it"
        )
    with tempfile.TemporaryDirectory(dir=out, prefix=".copying-") as folder:
        copied = Path(folder, found.name)
        shutil.copytree(found, copied) if found.is_dir() else shutil.copyfile(found, copied)
        return _put(copied, name, out)


def _download(name: str, out: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=out, prefix=".downloading-") as folder:
        try:
            Downloader().download(name, download_dir=folder, quiet=True, raise_on_error=True, extract=True)
        except (OSError, ValueError) as error:
            got = " ".join(str(error).split())
            cure = "check the network, or copy from a folder with --from"
            where = Downloader.DEFAULT_URL
            raise InputError(f"NLTK's {name} cannot be downloaded", where=where, got=got, cure=cure) from error
        if found := find(name, Path(folder)):
            return _put(found, name, out)
    raise InputError(f"NLTK's {name} is not there after its download", where=out)


def _put(found: Path, name: str, out: Path) -> Path:
    """Put what is whole in the place of what is not."""
    place, archive = _places(name, out)
    place.parent.mkdir(exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    archive.unlink(missing_ok=True)
    return found.rename(place.with_name(found.name))
