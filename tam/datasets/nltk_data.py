"""NLTK's data that the metrics use: the part-of-speech tagger and WordNet, downloaded or copied from a folder."""

import shutil
from pathlib import Path

from nltk.downloader import Downloader

from tam.errors import InputError

WANTED = {"averaged_perceptron_tagger_eng": "taggers", "wordnet": "corpora"}


def write(out: Path, source: Path | None = None) -> list[Path]:
    """Have the tagger and WordNet in ``out``, a folder for NLTK_DATA; what is there already is kept.

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
    """The folder or archive of one of ``WANTED`` in ``folder``."""
    place = folder / WANTED[name] / name
    return next((path for path in (place, place.with_name(f"{name}.zip")) if path.exists()), None)


def _copy(name: str, source: Path, out: Path) -> Path:
    found, kind = find(name, source), WANTED[name]
    if found is None:
        cure = "leave the source out to download it"
        raise InputError("not in this folder", where=source, expected=f"{kind}/{name} or {kind}/{name}.zip", cure=cure)
    (out / kind).mkdir(parents=True, exist_ok=True)
    temporary = out / kind / f".{found.name}.copying"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(found, temporary) if found.is_dir() else shutil.copyfile(found, temporary)
    return temporary.rename(out / kind / found.name)


def _download(name: str, out: Path) -> Path:
    try:
        Downloader().download(name, download_dir=str(out), quiet=True, raise_on_error=True, extract=True)
    except (OSError, ValueError) as error:
        got = " ".join(str(error).split())
        cure = "check the network, or copy from a folder with --from"
        where = Downloader.DEFAULT_URL
        raise InputError(f"NLTK's {name} cannot be downloaded", where=where, got=got, cure=cure) from error
    if found := find(name, out):
        return found
    raise InputError(f"NLTK's {name} is not there after its download", where=out)
