"""The stage: answers and their maps -> a folder of NumPy archives, or of COCO's results, for other programs."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from tam import manifest, tagging
from tam.errors import InputError
from tam.export.arrays import write_npz
from tam.maps import read_maps_header
from tam.metrics.phrases import said
from tam.protocol import FIXED
from tam.records import Generation, SampleMaps, unexplained
from tam.render.names import safe_id
from tam.run import RunFiles, read_pairs, sample_of
from tam.system.atomic import atomic_folder
from tam.words import answer_words, named, spoken

Form = Literal["npz", "coco"]
KIND = "export"
LISTED = "samples.jsonl"
MOST_DIGITS = 18  # of an image_id that is a number: those of COCO have 64 bits


def form_of(text: str) -> Form:
    """InputError: no such form."""
    for known in get_args(Form):
        if text == known:
            return known
    raise InputError("unknown form", got=repr(text), expected=" or ".join(get_args(Form)))


def export(run: RunFiles, out: Path, form: Form, methods: Sequence[str] | None = None) -> dict[str, int]:
    """Write the maps of a run into the folder ``out``, which is replaced as a whole if it is such a folder.

    npz: a file an answer (``arrays.py``). coco: METHOD.json, a list of {image_id, word, segmentation, score}; with a
    manifest only words that name a category, and its phrases, with their category_id. Both: ``samples.jsonl``, a line
    an answer with its id, its status, and the file of its maps where there is one.

    Args:
        methods: only these, in this order; None: all.

    Returns:
        the number of samples by kind of status.

    Raises:
        InputError: answers without maps, files of different methods. SchemaError: as ``run.read_pairs``.
        DiskError: something else lies at ``out``.
    """
    if len(run.generation) != len(run.maps) or not run.maps:
        got = f"{len(run.generation)} and {len(run.maps)}"
        raise InputError("answers and maps of each shard are needed", where=run.name, got=got)
    known = [*dict.fromkeys(methods or read_maps_header(run.maps[0]).methods)]  # a file each
    counts: Counter[str] = Counter()
    mark = {"kind": KIND, "of": [run.dataset, run.model], "form": form}
    with (
        atomic_folder(out, mark) as folder,
        (folder / LISTED).open("w", encoding="utf-8") as listed,
        _npz(folder) if form == "npz" else _coco(folder, run, known) as write,
    ):
        for generation, maps in _pairs(run, known):
            there = {name: one for name, one in maps.items() if not one.failed}
            line: dict[str, object] = {"id": generation.id, "status": generation.status}
            line["failed"] = {name: one.status for name, one in maps.items() if one.failed}
            line |= write(generation, there) if there else {}
            listed.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts[generation.status.partition(":")[0]] += 1
    return dict(counts)


def _pairs(run: RunFiles, methods: Sequence[str]) -> Iterator[tuple[Generation, dict[str, SampleMaps]]]:
    for generation, maps in zip(run.generation, run.maps, strict=True):
        yield from tqdm(read_pairs(generation, maps, methods), desc=f"export {maps.name}", unit="sample")


Writer = Callable[[Generation, Mapping[str, SampleMaps]], dict[str, object]]
"""What writes an answer's maps, and says what else is to be listed of it."""


@contextmanager
def _npz(folder: Path) -> Iterator[Writer]:
    def write(generation: Generation, maps: Mapping[str, SampleMaps]) -> dict[str, object]:
        name = f"{safe_id(generation.id)}.npz"
        with (folder / name).open("wb") as file:
            write_npz(file, generation, maps)
        return {"file": name}

    yield write


@contextmanager
def _coco(folder: Path, run: RunFiles, methods: Sequence[str]) -> Iterator[Writer]:
    from tam.export.regions import regions, shown  # needs pycocotools

    words = _words_of(run)
    with ExitStack() as stack:
        files = {name: stack.enter_context(_json_list(folder / f"{safe_id(name)}.json")) for name in methods}

        def write(generation: Generation, maps: Mapping[str, SampleMaps]) -> dict[str, object]:
            several = len(shown(generation.layout)) > 1
            chosen = list(words(generation))
            for name, one in maps.items():
                silent = {*unexplained(one)}
                for word, tokens, category in chosen:
                    for region in regions(generation.layout, one.uint8, tokens) if not silent & {*tokens} else ():
                        files[name](
                            {"image_id": _image_id(generation.id)}
                            | ({"picture": region.medium, "frame": region.frame} if several else {})
                            | {"word": word, "token": tokens[0] - len(generation.prompt_ids)}
                            | ({} if category is None else {"category_id": category})
                            | {"segmentation": region.segmentation, "score": region.score}
                        )
            return {}

        yield write


def _image_id(id: str) -> int | str:
    return int(id) if id.isascii() and id.isdecimal() and len(id) <= MOST_DIGITS else id


@contextmanager
def _json_list(path: Path) -> Iterator[Callable[[object], None]]:
    """What appends to a list in a file."""
    with path.open("w", encoding="utf-8") as file:
        before = "["

        def append(entry: object) -> None:
            nonlocal before
            file.write(f"{before}\n{json.dumps(entry, ensure_ascii=False)}")
            before = ","

        yield append
        file.write("\n]\n" if before == "," else "[]\n")


Spoken = tuple[str, tuple[int, ...], int | None]
"""A word or phrase of the answer, its tokens among all that are explained, and its category."""


def _words_of(run: RunFiles) -> Callable[[Generation], Iterator[Spoken]]:
    """All words of answers; with a manifest those that name a category, then its phrases that are said."""
    if run.manifest is None:
        return _all_words
    path, listed, judge = run.manifest, manifest.read(run.manifest), tagging.choose()

    def words(generation: Generation) -> Iterator[Spoken]:
        sample, prompt = sample_of(generation, listed, path), len(generation.prompt_ids)
        nouns = named(answer_words(generation, generation.answer_ids, sample.categories, judge, FIXED))
        for word in (*nouns, *said(generation, sample.phrases)):
            if word.tokens:
                yield word.text, tuple(prompt + token for token in word.tokens), word.label

    return words


def _all_words(generation: Generation) -> Iterator[Spoken]:
    for text, tokens in spoken(generation):
        if tokens[0] >= len(generation.prompt_ids):
            yield text, tokens, None
