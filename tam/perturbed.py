"""The memo of a shard: what every answer token's probability is without some cells of the picture.

It knows no method: (sample, baseline, set of cells) -> log p of each token; ``docs/reference/perturbed.md`` describes
it. The file's seal is checked before HDF5 reads a byte of it, and each sample has a digest of its own.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from tam import cell_sets
from tam.cell_sets import Cells
from tam.errors import InputError
from tam.records import FAILED, OK, SampleMaps, unexplained
from tam.system import hdf5
from tam.words import Word

KIND, VERSION = "perturb", 1
CURE = "run `tam perturb` again"
NOT_DRAWN = "not drawn"
BITS = [np.dtype(np.uint8)]
DROP, FLIP = 1 / 16, 1 / 8
"""Fractions at which single steps are read, whatever the others are."""

Baseline = Literal["blur", "mean"]
BASELINES: tuple[Baseline, ...] = ("blur", "mean")
Which = Literal["nouns", "content"]
KINDS: tuple[Which, ...] = ("nouns", "content")


def baseline_of(name: str) -> Baseline:
    """Raises: InputError: no such baseline."""
    for one in BASELINES:
        if one == name:
            return one
    raise InputError("no such baseline", got=repr(name), expected=" or ".join(BASELINES))


def words_of(name: str) -> Which:
    """Raises: InputError: no such words."""
    for one in KINDS:
        if one == name:
            return one
    raise InputError("no such words", got=repr(name), expected=" or ".join(KINDS))


@dataclass(frozen=True)
class Asked:
    """Which sets were wanted last; whoever looks them up builds the same.

    Attributes:
        methods: names, in order. fractions: up to a half, see ``cell_sets.counts``.
        ordered: whether cells are taken in the order of maps at all; else only the sets that all methods share.
        blocks: at least so many; 0: none. sets: random sets of half of them.
        words: nouns that name a category, or all content words. sentences: tagged in their sentence.
        samples: how many of the dataset; None: all. seed: of the draw.
    """

    methods: tuple[str, ...]
    fractions: tuple[float, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
    ordered: bool = True
    blocks: int = 49
    sets: int = 32
    words: Which = "nouns"
    sentences: bool = False
    samples: int | None = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """InputError: what cannot be meant."""
        if not self.fractions or not all(0 < fraction <= 0.5 for fraction in self.fractions):
            raise InputError("wrong fractions", got=self.fractions, expected="above 0, up to 0.5: the rest is mirrored")
        if self.sets and not self.blocks:
            raise InputError("random sets are of blocks", got=f"{self.sets} sets, no blocks", expected="0 sets")

    @property
    def points(self) -> list[float]:
        """The fractions with their mirror images and both ends, ascending."""
        return sorted({0.0, 1.0, *self.fractions, *(1 - fraction for fraction in self.fractions)})

    def drawn(self, total: int) -> set[int]:
        """The rows of a manifest that are scored: the first ones of a permutation of the whole dataset."""
        return set(np.random.default_rng(self.seed).permutation(total)[: self.samples].tolist())

    def shared(self, cells: Cells, id: str) -> np.ndarray:
        """bool [set, cell]: none, all, and what every method and word shares."""
        sets = [np.zeros((1, cells.count), bool), np.ones((1, cells.count), bool)]
        if self.blocks:
            block = self.block(cells)
            sets += [cell_sets.of_blocks(block), cell_sets.halves(block, self.sets, id)]
        return np.concatenate(sets)

    def block(self, cells: Cells) -> np.ndarray:
        """int64 [cell], each cell's block."""
        return cell_sets.blocks(cells.shapes, self.blocks)

    def of_map(self, values: np.ndarray, id: str, token: int) -> np.ndarray:
        """bool [set, cell]: what is taken in the order of a word's map, float [cell], and put back."""
        if not self.ordered or np.isnan(values).any():
            return np.zeros((0, len(values)), bool)
        order = cell_sets.descending(values, id, token)
        steps = cell_sets.counts(len(values), self.fractions)
        single = [cell_sets.count(len(values), fraction) for fraction in (DROP, FLIP)]
        inner = cell_sets.taken(order, steps[1:-1])
        return np.concatenate([inner, ~inner, cell_sets.taken(order, single)])

    def wanted(self, cells: Cells, id: str, words: Sequence[Word], maps: Iterable[np.ndarray]) -> np.ndarray:
        """``packed`` sets of a sample: uint8 [set, bytes].

        Args:
            words: those that are probed. maps: of each method, float [answer, cell].
        """
        if not words:
            return cell_sets.packed(np.array([[False], [True]]).repeat(cells.count, 1))
        of_maps = [self.of_map(word_map(word, one), id, word.tokens[0]) for one in maps for word in words]
        return cell_sets.packed(np.concatenate([self.shared(cells, id), *of_maps]))


def forwards_said(asked: Mapping[str, Any]) -> str:
    """What a memo costs a sample and baseline, in words, by the config's `faithfulness` alone.

    Of a map, cells are taken away and put back at each fraction and its mirror image, and taken at two more; the
    picture, its baseline, blocks (as few as are asked for) and random sets are the same for all words and methods.
    Equal sets are scored once; ``tam perturb --estimate`` counts them.
    """
    shared = 2 + (asked["blocks"] and asked["blocks"] + asked["sets"])
    steps = {*asked["fractions"], *(1 - fraction for fraction in asked["fractions"])}
    of_map = 2 * len(steps) + len({DROP, FLIP} - steps) if asked["ordered"] else 0
    word = of_map * len(asked["methods"])
    more = " (more on some grids)" if asked["blocks"] else ""
    total = shared + 3 * word
    return f"about {shared} forward passes a sample{more}, at most {word} more a word of it: {total} with three"


def maps_of_answer(maps: SampleMaps, cells: Cells, answer: int) -> np.ndarray:
    """float [answer, cell], the maps of the answer's last ``answer`` tokens; NaN of those that are not explained."""
    first = len(maps.maps) - answer
    values = cells.read(maps.maps[first:]).astype(np.float32)
    values[[token - first for token in unexplained(maps) if token >= first]] = np.nan
    return values


def word_map(word: Word, maps: np.ndarray) -> np.ndarray:
    """float64 [cell]: the mean of the maps of a word's tokens, NaN where one is not explained; ``maps``: float [answer,
    cell]."""
    return maps[list(word.tokens)].astype(np.float64).mean(0)


@dataclass(frozen=True)
class Perturbed:
    """What was scored of one sample.

    Attributes:
        id: the sample's.
        status: "ok", "not drawn" or "failed: why"; of what is not "ok" there
            may be sets that an earlier request wanted.
        media: a digest of the pictures' files.
        sets: uint8 [set, bytes], packed cells that are replaced; sorted, each once.
        logprob: float32 [set, answer], log p of each token of the answer.
        best: bool [set, answer], whether the token is the most likely one.
    """

    id: str
    status: str
    media: str
    sets: np.ndarray
    logprob: np.ndarray
    best: np.ndarray

    @classmethod
    def without(cls, id: str, status: str) -> "Perturbed":
        """A sample that was not scored."""
        none = np.zeros((0, 0))
        return cls(id, status, "", none.astype(np.uint8), none.astype(np.float32), none.astype(bool))

    @property
    def failed(self) -> bool:
        """Whether it could not be scored."""
        return self.status.startswith(FAILED)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {one.tobytes(): place for place, one in enumerate(self.sets)}

    def rows(self, sets: np.ndarray) -> list[int]:
        """Where sets, bool [set, cell], stand; KeyError: one was not scored."""
        return [self._places[one.tobytes()] for one in np.packbits(sets, axis=1)]

    def lacks(self, wanted: np.ndarray) -> np.ndarray:
        """Of packed sets, uint8 [set, bytes], those that were not scored."""
        new = [one.tobytes() not in self._places for one in wanted]
        return wanted[np.array(new, bool)]

    def joined(self, other: "Perturbed") -> "Perturbed":
        """With the sets of a later memo of the same sample, or why it failed. Sets of other pictures are dropped."""
        if not len(other.sets):
            return replace(self, status=other.status) if other.failed else self
        if self.media != other.media:
            return other
        sets, first = np.unique(np.concatenate([self.sets, other.sets]), axis=0, return_index=True)
        logprob, best = (
            np.concatenate(pair)[first] for pair in ((self.logprob, other.logprob), (self.best, other.best))
        )
        return Perturbed(self.id, self.status, self.media, sets, logprob, best)


@dataclass(frozen=True)
class PerturbedHeader:
    """How a memo was made.

    Attributes:
        fingerprint: of the generation whose answers were scored.
        run: versions, for people.
    """

    fingerprint: str
    baseline: Baseline
    asked: Asked
    run: dict[str, str]


def write_perturbed(path: Path, rows: Mapping[int, Perturbed], header: PerturbedHeader) -> None:
    """Write one file, atomically; ``rows``: by row of the manifest. Raises: DiskError: the disk is full."""
    about = {"fingerprint": header.fingerprint, "baseline": header.baseline, "asked": json.dumps(asdict(header.asked))}
    about |= {"run": json.dumps(header.run, sort_keys=True)}
    with hdf5.written(path) as file:
        file.attrs.update({"format": f"tam-{KIND}", "version": VERSION} | about)
        for row, one in sorted(rows.items()):
            group = file.create_group(f"{row:08d}")
            group["meta"] = json.dumps({"id": one.id, "status": one.status, "media": one.media})
            for name, array in _arrays(one).items() if len(one.sets) else ():
                hdf5.store(group, name, array)
            group.attrs["digest"] = _digest(group.name, one)
            file.check()


def read_perturbed_header(path: Path) -> PerturbedHeader:
    """Raises: SchemaError: not such a file, of an unknown version, or damaged."""
    with hdf5.opened(path, KIND, VERSION, "perturb", sealed=True) as file:
        return _header(file, path)


def read_perturbed(path: Path) -> Iterator[tuple[int, Perturbed]]:
    """Row of the manifest and what was scored of it in the file ``path``, in the manifest's order; SchemaError: as the
    header."""
    with hdf5.opened(path, KIND, VERSION, "perturb", sealed=True) as file:
        with hdf5.damage_in(path, CURE):
            names = list(file)
        for name in names:
            with hdf5.damage_in(f"{path}, sample {name}", CURE):
                row, one = int(name), _read(hdf5.member(file, name))
            yield row, one


def _header(file: h5py.File, path: Path) -> PerturbedHeader:
    with hdf5.damage_in(path, CURE):
        asked = json.loads(hdf5.attribute(file, "asked", str))
        asked |= {key: tuple(asked[key]) for key in ("methods", "fractions")}
        return PerturbedHeader(
            fingerprint=hdf5.attribute(file, "fingerprint", str),
            baseline=baseline_of(hdf5.attribute(file, "baseline", str)),
            asked=Asked(**asked),
            run=json.loads(hdf5.attribute(file, "run", str)),
        )


def _read(group: h5py.Group) -> Perturbed:
    meta = json.loads(hdf5.text(group, "meta"))
    id, status, media = (meta[key] for key in ("id", "status", "media"))
    if not all(isinstance(text, str) for text in (id, status, media)):
        raise TypeError(f"{meta!r:.200} instead of texts")
    if not (status in (OK, NOT_DRAWN) or status.startswith(FAILED)):
        raise ValueError(f"unknown status {status!r}")
    one = Perturbed.without(id, status)
    if "sets" in group:
        sets = hdf5.array(group, "sets", BITS, (None, None))
        logprob = hdf5.array(group, "logprob", [np.dtype(np.float32)], (len(sets), None))
        answer = logprob.shape[1]
        best = hdf5.array(group, "best", BITS, (len(sets), -(-answer // 8)))
        one = Perturbed(id, status, media, sets, logprob, np.unpackbits(best, axis=1, count=answer).astype(bool))
    if not np.isfinite(one.logprob).all():
        raise ValueError("a log p that is no number")
    if _digest(group.name, one) != hdf5.attribute(group, "digest", str):
        raise ValueError("checksum differs")
    return one


def _arrays(one: Perturbed) -> dict[str, np.ndarray]:
    return {"sets": one.sets, "logprob": one.logprob, "best": np.packbits(one.best, axis=1)}


def _digest(name: str, one: Perturbed) -> str:
    """What a sample says about its own row and content, so that a damaged byte is noticed."""
    digest = hashlib.sha256(f"{name}\n{json.dumps([one.id, one.status, one.media])}".encode())
    for key, array in _arrays(one).items() if len(one.sets) else ():
        digest.update(f"\n{key} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
