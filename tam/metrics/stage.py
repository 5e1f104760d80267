"""The stage: one shard's generation, maps and manifest -> the metrics file of all methods, a sample at a time."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from tam import manifest, rows, tagging
from tam.cache import read_header
from tam.cell_sets import Cells
from tam.errors import InputError, SchemaError
from tam.label_map import read_label_maps
from tam.layout import Layout
from tam.manifest import Sample
from tam.maps import MapsHeader, read_maps_header
from tam.metrics.catalogue import FOCUS_METRICS, FUNCTION_METRICS, MAP_METRICS, OBJECT_METRICS
from tam.metrics.faithfulness import Memo, faithfulness, forwards, image_use
from tam.metrics.focus import focus
from tam.metrics.grounding import CHAIR_S, PARTLY, grounding, map_grounding, truth
from tam.metrics.language import LANGUAGE_METRICS, NO_CAPTION, language
from tam.metrics.localisation import is_noun, localise
from tam.metrics.names import NAME_METRICS, names
from tam.metrics.phrases import localise_phrases, refused
from tam.metrics.phrases import said as phrases_of
from tam.metrics.picture import Box, Picture, find_targets
from tam.perturbed import CURE as PERTURB_AGAIN
from tam.perturbed import Perturbed, PerturbedHeader, maps_of_answer, read_perturbed, read_perturbed_header
from tam.picture_grid import PictureGrid, picture_grid
from tam.protocol import FIXED, Protocol
from tam.records import Generation, SampleMaps, unexplained
from tam.rows import NOT_EXPLAINED, Row, RowsHeader, missing, whole
from tam.run import read_pairs
from tam.thoughts import caption_of, caption_starts
from tam.words import FUNCTION, Word, answer_words, probed

ANSWER = ""
"""Stands for the method in rows about the answer itself."""


def write_metrics(
    generation_path: Path,
    maps_path: Path,
    manifest_path: Path,
    out_path: Path,
    protocol: Protocol,
    *,
    sentences: bool = False,
    grounded: bool = False,
    perturbed: Sequence[Path] = (),
) -> dict[str, int]:
    """Score every sample with the maps of all methods and write ``out_path`` (``tam.rows``), atomically.

    With ``sentences`` words are tagged in the context of their sentence; with ``grounded`` there are rows about each
    noun's evidence (``grounding.py``), too.

    Args:
        perturbed: memos of log p without parts of the pictures, one a baseline.

    Returns:
        the number of samples by kind of status: "ok", "truncated", "failed", "no mask", "not a single image", ...;
        and of those on which a method failed, by "failed NAME".

    Raises:
        InputError: the manifest lacks a sample, has a category id outside 1..255, the maps follow another protocol, or
            the protocol tags each word alone.
        SchemaError: the files do not belong together.
    """
    samples = {sample.id: sample for sample in manifest.read(manifest_path)}
    _check_categories(samples.values(), manifest_path)
    header = read_maps_header(maps_path)
    from_scores = header.scores.methods if header.scores else ()
    if header.protocol != protocol.name:
        raise InputError("maps of another protocol", where=maps_path, got=header.protocol, expected=protocol.name)
    if sentences and protocol.words_tagged_alone:
        raise InputError("this protocol tags each word alone", got="sentences", cure="use protocol fixed")
    cv2.setNumThreads(1)  # a job has one core; threads that wait for another cost more than they give
    judge = tagging.choose(sentences=sentences)
    made = f"{header.scores.sign}, {header.scores.scope}" if header.scores else ""
    about = RowsHeader(header.fingerprint, header.samples, header.methods, protocol.name, judge.name, made)
    counts: Counter[str] = Counter()
    memos = [_memo(path, header) for path in perturbed]
    layer = read_header(generation_path)["run"].get("layer")
    with rows.written(out_path, about) as writer:
        pairs = tqdm(read_pairs(generation_path, maps_path), total=header.samples, desc="metrics", unit="sample")
        for generation, maps in pairs:
            if generation.id not in samples:
                raise InputError("sample is not in the manifest", where=manifest_path, got=repr(generation.id))
            sample = samples[generation.id]
            status, scored = score_sample(sample, generation, maps, manifest_path, judge, protocol, from_scores)
            counts[status.partition(":")[0]] += 1
            if not generation.failed:
                counts.update(f"failed {method}" for method, one in maps.items() if one.failed)
            for known, reader in memos:
                for method, found in _faithful(generation, maps, samples[generation.id], judge, known, reader).items():
                    scored[method] += found
            for method, found in scored.items():
                writer.add(generation.id, method, found)
            if grounded and not generation.failed:
                for method, found in ground_sample(sample, generation, maps, manifest_path, judge, layer).items():
                    writer.add(generation.id, method, found)
    return dict(counts)


def _memo(path: Path, header: MapsHeader) -> tuple[PerturbedHeader, Iterator[tuple[int, Perturbed]]]:
    """A memo with its reader; SchemaError: of another generation. InputError: it wants a method that has no maps."""
    found = read_perturbed_header(path)
    if found.fingerprint != header.fingerprint:
        raise SchemaError(
            "scores of another generation", where=path, got=found.fingerprint, expected=header.fingerprint,
            cure=PERTURB_AGAIN,
        )  # fmt: skip
    if unknown := [name for name in found.asked.methods if name not in header.methods]:
        raise InputError("no maps of a method that was scored", where=path, got=unknown[0], cure=PERTURB_AGAIN)
    return found, read_perturbed(path)


def _faithful(
    generation: Generation,
    maps: Mapping[str, SampleMaps],
    sample: Sample,
    judge: tagging.Language,
    header: PerturbedHeader,
    reader: Iterator[tuple[int, Perturbed]],
) -> dict[str, list[Row]]:
    """Rows of the reader's next sample by method, and by ANSWER those that have no map in them.

    Words and maps are the model's own whatever the protocol: the published code measures no such thing.
    """
    row, one = next(reader, (-1, None))
    if one is None or (row, one.id) != (generation.row, generation.id):
        raise SchemaError("samples are missing", where="scores without parts of the picture", cure=PERTURB_AGAIN)
    if generation.failed:
        return {}
    words = answer_words(generation, generation.answer_ids, sample.categories, judge, FIXED)
    asked, cells = header.asked, Cells.of(generation.layout)
    memo = Memo(generation.id, cells, probed(words, asked.words == "content"), one, header.baseline, asked)
    answer = len(generation.answer_ids)
    chosen = {name: maps[name] for name in asked.methods}
    of_maps = {name: one.status if one.failed else maps_of_answer(one, cells, answer) for name, one in chosen.items()}
    return faithfulness(memo, of_maps) | {ANSWER: image_use(memo, words) + forwards(memo)}


def score_sample(
    sample: Sample,
    generation: Generation,
    maps: Mapping[str, SampleMaps],
    manifest_path: Path,
    judge: tagging.Language,
    protocol: Protocol,
    from_scores: Collection[str] = (),
) -> tuple[str, dict[str, list[Row]]]:
    """The sample's status, and its rows by method; first those about the answer itself, by ANSWER.

    Where all methods lack maps that can be scored, or one does, it has one row a metric of maps, which says why.

    Args:
        from_scores: methods whose maps were made of scores: no quirk of the published code's maps concerns them.
    """
    count = len(generation.answer_ids)
    if generation.failed:
        return generation.status, {ANSWER: [Row(-1, "", 0, "answer", np.nan, generation.status)]}
    about = [Row(-1, generation.answer, 0, "answer", count, generation.status)]
    start: int | None = 0
    caption: str | None = generation.answer
    if not protocol.thoughts_are_scored:
        start, caption = caption_starts(generation), caption_of(generation)
    spoken = language(caption, sample.references, judge.wordnet, blank_scored=protocol.blank_texts_are_scored)
    phrases = phrases_of(generation, sample.phrases)
    ids = generation.retokenised_answer if protocol.retokenised_pieces else generation.answer_ids
    if len(ids) != count:
        problem = f"pieces differ: {len(ids)} after decoding and tokenising again, {count} maps"
        about += [whole(metric, problem) for metric in NAME_METRICS]
        if protocol.unequal_lengths_dropped_silently:
            about += [whole(metric, problem) for metric in LANGUAGE_METRICS]
        else:
            about += spoken
        return problem, {ANSWER: about} | {method: _unscored(problem, phrases) for method in maps}

    words = answer_words(generation, ids, sample.categories, judge, protocol)
    label_maps, problem = read_label_maps(sample, generation.layout, manifest_path, any_size=protocol.mask_of_any_size)
    grids, unscorable = _scored_grids(sample, generation.layout, list(label_maps), protocol)
    problem = unscorable or problem
    if start is None:
        about += names([], (), (), NO_CAPTION)
    else:
        said = [word for word in words if word.tokens[-1] >= start]
        about += names(said, label_maps.values(), sample.categories.values(), problem)
    about += spoken
    pictures = place([*words, *phrases], list(label_maps.values()), problem, grids, protocol) if grids else []
    scored = {ANSWER: about}
    for method, one in maps.items():
        if one.failed or not pictures:
            scored[method] = _unscored(one.status if one.failed else problem, phrases)
        else:
            its = replace(protocol, first_answer_map_is_first_prompt_map=False) if method in from_scores else protocol
            uint8, floats = _on_grids(one, generation, grids, its)
            known, silent = _explained(words, one, len(generation.prompt_ids))
            found = localise(known, uint8, floats, pictures, its)
            scored[method] = found.rows + focus(known, counting(floats, pictures)) + silent
            if phrases:
                own = _on_grids(one, generation, grids, FIXED)
                unsaid = frozenset(token - len(generation.prompt_ids) for token in unexplained(one))
                scored[method] += localise_phrases(phrases, *own, pictures, unsaid)
    return problem or generation.status, scored


def _on_grids(
    maps: SampleMaps, generation: Generation, grids: Sequence[PictureGrid], protocol: Protocol
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The answer's maps in bytes and as numbers, [answer, rows, columns] on each picture."""
    uint8, floats = (
        [grid.read(answer_maps(values, generation, protocol)) for grid in grids] for values in (maps.uint8, maps.maps)
    )
    return uint8, floats


def ground_sample(
    sample: Sample, generation: Generation, maps: Mapping[str, SampleMaps], manifest_path: Path,
    judge: tagging.Language, layer: int | None,
) -> dict[str, list[Row]]:  # fmt: skip
    """Rows about the evidence of its nouns, by method; those that need no map by ANSWER. What the model said is the
    same by both protocols, and so are these."""
    if (start := caption_starts(generation)) is None:
        return {ANSWER: [whole(CHAIR_S, NO_CAPTION)]}
    words = answer_words(generation, generation.answer_ids, sample.categories, judge, FIXED)
    words = [word for word in words if word.tokens[-1] >= start]
    label_maps, problem = read_label_maps(sample, generation.layout, manifest_path)
    shown = {(grid.medium, frame) for grid in generation.layout.grids for frame in grid.frames}
    seen = truth(label_maps, shown, sample.categories.values())
    found = {ANSWER: grounding(generation, words, seen, problem or PARTLY, layer)}
    if seen is not None:
        answer = len(generation.answer_ids)
        found |= {method: map_grounding(words, one, answer) for method, one in maps.items() if not one.failed}
    return found


def _scored_grids(
    sample: Sample, layout: Layout, masked: list[tuple[int, int]], protocol: Protocol
) -> tuple[list[PictureGrid], str]:
    """The pictures or frames that are scored, those with a mask, or a single picture without one; or why there is none.

    Args:
        masked: medium and frame of each label map.
    """
    several = sample.kind == "video" or len(layout.sizes) > 1
    if protocol.one_grid_a_picture and several:
        return [], "not a single image"
    if protocol.one_grid_a_picture and len(layout.grids) > 1:
        return [], f"not a single grid: the picture was shown as {len(layout.grids)}"
    return [picture_grid(layout, *place) for place in masked or [(0, 0)] * (not several)], ""


def counting(maps: Sequence[np.ndarray], pictures: Sequence[Picture]) -> np.ndarray:
    """Of [answer, rows, columns] of each picture, the cells of which some counts: [answer, cell]."""
    return np.concatenate(
        [
            np.compress(picture.shown.ravel() > 0, values.reshape(len(values), -1), axis=1)
            for values, picture in zip(maps, pictures, strict=True)
        ],
        axis=1,
    )


def _explained(words: Sequence[Word], maps: SampleMaps, prompt: int) -> tuple[Sequence[Word], list[Row]]:
    """The words whose tokens a method explains all, and rows that say so of the others."""
    tokens = {token - prompt for token in unexplained(maps)}
    if not any(map(tokens.intersection, (word.tokens for word in words))):
        return words, []
    silent = [word for word in words if tokens.intersection(word.tokens)]
    rows = [missing(word, metric, NOT_EXPLAINED) for word in silent for metric in _metrics_of(word)]
    return [word for word in words if word not in silent], rows


def _metrics_of(word: Word) -> list[str]:
    of_kind = OBJECT_METRICS if is_noun(word) else FUNCTION_METRICS if word.label == FUNCTION else []
    return [*of_kind, *FOCUS_METRICS]


def _unscored(why: str, phrases: Sequence[Word]) -> list[Row]:
    return [whole(metric, why) for metric in MAP_METRICS] + [row for phrase in phrases for row in refused(phrase, why)]


def place(
    words: Sequence[Word],
    label_maps: Sequence[np.ndarray],
    missing: str,
    grids: Sequence[PictureGrid],
    protocol: Protocol,
) -> list[Picture]:
    """Where the maps lie on each picture, and what the words name there.

    Args:
        label_maps: one a grid, or none at all, and ``missing`` says why.
    """
    targets = find_targets(label_maps, {word.label for word in words if word.label > 0}) or [{}] * len(grids)
    sizes = [label_map.shape[::-1] for label_map in label_maps] or [
        _size_without_mask(grid, protocol) for grid in grids
    ]
    return [
        Picture(_box(grid, size, protocol), found, missing, grid.shown)
        for grid, size, found in zip(grids, sizes, targets, strict=True)
    ]


def _size_without_mask(grid: PictureGrid, protocol: Protocol) -> tuple[int, int]:
    return (grid.columns, grid.rows) if protocol.missing_mask_has_map_size else grid.size


def _box(grid: PictureGrid, size: tuple[int, int], protocol: Protocol) -> Box:
    """Where the cells lie on a mask of a size (width, height)."""
    if protocol.map_stretched_over_picture:
        return 0, 0, *size
    x, y = size[0] / grid.size[0], size[1] / grid.size[1]
    left, top, right, bottom = grid.box
    return round(left * x), round(top * y), round(right * x), round(bottom * y)


def answer_maps(maps: np.ndarray, generation: Generation, protocol: Protocol) -> np.ndarray:
    """[token, vision] of prompt and answer -> [answer, vision]."""
    count = len(generation.answer_ids)
    answer = maps[len(maps) - count :]
    if protocol.first_answer_map_is_first_prompt_map:
        answer = np.concatenate([maps[:1], answer[1:]])
    return answer


def _check_categories(samples: Iterable[Sample], path: Path) -> None:
    for sample in samples:
        named = (*sample.categories.items(), *sample.phrases.items())
        wrong = {name: id for name, id in named if not 1 <= id <= 255}
        if wrong:
            raise InputError("category id out of range", where=f"{path}, {sample.id}", got=wrong, expected="1..255")
