"""The stage: one shard's generation, maps and manifest -> the metrics file of all methods, a sample at a time."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from tam import manifest, rows, tagging
from tam.errors import InputError
from tam.label_map import read_label_map
from tam.layout import Layout
from tam.manifest import Sample
from tam.maps import read_maps_header
from tam.metrics.catalogue import MAP_METRICS
from tam.metrics.focus import focus
from tam.metrics.language import LANGUAGE_METRICS, NO_CAPTION, language
from tam.metrics.localisation import localise
from tam.metrics.names import NAME_METRICS, names
from tam.metrics.picture import Picture, find_targets
from tam.protocol import Protocol
from tam.records import Generation, SampleMaps
from tam.rows import Row, RowsHeader, whole
from tam.run import read_pairs
from tam.thoughts import caption_of, caption_starts
from tam.words import Word, read_words

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
) -> dict[str, int]:
    """Score every sample with the maps of all methods and write ``out_path`` (``tam.rows``), atomically.

    With ``sentences`` words are tagged in the context of their sentence.

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
    if header.protocol != protocol.name:
        raise InputError("maps of another protocol", where=maps_path, got=header.protocol, expected=protocol.name)
    if sentences and protocol.words_tagged_alone:
        raise InputError("this protocol tags each word alone", got="sentences", cure="use protocol fixed")
    cv2.setNumThreads(1)  # a job has one core; threads that wait for another cost more than they give
    judge = tagging.choose(sentences=sentences)
    about = RowsHeader(header.fingerprint, header.samples, header.methods, protocol.name, judge.name)
    counts: Counter[str] = Counter()
    with rows.written(out_path, about) as writer:
        pairs = tqdm(read_pairs(generation_path, maps_path), total=header.samples, desc="metrics", unit="sample")
        for generation, maps in pairs:
            if generation.id not in samples:
                raise InputError("sample is not in the manifest", where=manifest_path, got=repr(generation.id))
            status, scored = score_sample(samples[generation.id], generation, maps, manifest_path, judge, protocol)
            counts[status.partition(":")[0]] += 1
            if not generation.failed:
                counts.update(f"failed {method}" for method, one in maps.items() if one.failed)
            for method, found in scored.items():
                writer.add(generation.id, method, found)
    return dict(counts)


def score_sample(
    sample: Sample,
    generation: Generation,
    maps: Mapping[str, SampleMaps],
    manifest_path: Path,
    judge: tagging.Language,
    protocol: Protocol,
) -> tuple[str, dict[str, list[Row]]]:
    """The sample's status, and its rows by method; first those about the answer itself, by ANSWER.

    Where all methods lack maps that can be scored, or one does, it has one row a metric of maps, which says why.
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
    ids = generation.retokenised_answer if protocol.retokenised_pieces else generation.answer_ids
    if len(ids) != count:
        problem = f"pieces differ: {len(ids)} after decoding and tokenising again, {count} maps"
        about += [whole(metric, problem) for metric in NAME_METRICS]
        if protocol.unequal_lengths_dropped_silently:
            about += [whole(metric, problem) for metric in LANGUAGE_METRICS]
        else:
            about += spoken
        return problem, {ANSWER: about} | {method: _unscored(problem) for method in maps}

    words = answer_words(generation, ids, sample.categories, judge, protocol)
    size = generation.layout.sizes[0]
    label_map, problem = read_label_map(sample, size, manifest_path, any_size=protocol.mask_of_any_size)
    picture = None
    if sample.kind == "images" and len(generation.layout.grids) == 1:
        picture = place(words, label_map, problem, generation.layout, protocol)
    else:
        problem = "not a single image"
    if start is None:
        about += names([], None, (), NO_CAPTION)
    else:
        said = [word for word in words if word.tokens[-1] >= start]
        about += names(said, label_map, sample.categories.values(), problem)
    about += spoken
    scored = {ANSWER: about}
    for method, one in maps.items():
        if one.failed or picture is None:
            scored[method] = _unscored(one.status if one.failed else problem)
        else:
            uint8, floats = (answer_maps(values, generation, protocol) for values in (one.uint8, one.maps))
            scored[method] = localise(words, uint8, floats, picture, protocol).rows + focus(words, floats)
    return problem or generation.status, scored


def _unscored(why: str) -> list[Row]:
    return [whole(metric, why) for metric in MAP_METRICS]


def place(
    words: Sequence[Word], label_map: np.ndarray | None, missing: str, layout: Layout, protocol: Protocol
) -> Picture:
    """Where the maps of a sample with one grid lie, and what the words name there."""
    (grid,), size = layout.grids, layout.sizes[0]
    targets = {}
    if label_map is not None:
        size = label_map.shape[1], label_map.shape[0]
        targets = find_targets(label_map, {word.label for word in words if word.label > 0})
    elif protocol.missing_mask_has_map_size:
        size = grid.columns, grid.rows
    box = (0, 0, *size)
    if not protocol.map_stretched_over_picture:
        x, y = size[0] / layout.sizes[0][0], size[1] / layout.sizes[0][1]
        left, top, right, bottom = grid.box
        box = round(left * x), round(top * y), round(right * x), round(bottom * y)
    return Picture(box, targets, missing)


def answer_words(
    generation: Generation,
    ids: np.ndarray,
    categories: dict[str, int],
    judge: tagging.Language,
    protocol: Protocol,
) -> list[Word]:
    """Words of the answer with tags and labels; ``ids`` are the answer's tokens, one a map."""
    ends = frozenset(index for index, id in enumerate(ids) if int(id) in generation.end_tokens)
    return read_words(
        [generation.vocabulary[int(id)] for id in ids],
        categories,
        judge.tag,
        judge.lemmatise,
        published_grouping=protocol.words_from_decoded_pieces,
        left_out=frozenset() if protocol.end_token_joined_to_last_word else ends,
        tag_sentence=judge.tag_sentence,
        last_category=protocol.last_category_with_the_word,
    )


def answer_maps(maps: np.ndarray, generation: Generation, protocol: Protocol) -> np.ndarray:
    """[token, vision] of prompt and answer -> [answer, rows, columns] of a sample with one grid."""
    count = len(generation.answer_ids)
    answer = maps[len(maps) - count :]
    if protocol.first_answer_map_is_first_prompt_map:
        answer = np.concatenate([maps[:1], answer[1:]])
    return generation.layout.split(answer)[0]


def _check_categories(samples: Iterable[Sample], path: Path) -> None:
    for sample in samples:
        wrong = {name: id for name, id in sample.categories.items() if not 1 <= id <= 255}
        if wrong:
            raise InputError("category id out of range", where=f"{path}, {sample.id}", got=wrong, expected="1..255")
