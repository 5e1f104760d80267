"""The stage: one shard's generation, maps and manifest -> one parquet table of rows, a sample at a time."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tam import cache, manifest, tagging
from tam.errors import InputError, SchemaError
from tam.layout import Layout
from tam.manifest import Sample
from tam.maps import SampleMaps, read_maps_header, read_pairs
from tam.media import picture_size
from tam.metrics.focus import FOCUS_METRICS, focus
from tam.metrics.language import LANGUAGE_METRICS, language
from tam.metrics.localisation import OBJECT_METRICS, localise, names
from tam.metrics.pointing import Box
from tam.metrics.rows import Row, whole
from tam.protocol import Protocol
from tam.records import FAILED, Generation
from tam.system.atomic import atomic
from tam.words import Word, read_words

SCHEMA = pa.schema(
    [
        ("sample", pa.string()),
        ("token", pa.int32()),
        ("word", pa.string()),
        ("label", pa.int32()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("status", pa.string()),
    ]
)
ROWS_AT_A_TIME = 1 << 14
MAP_METRICS = (*OBJECT_METRICS, "func_iou", *FOCUS_METRICS)
NAME_METRICS = ("name_precision", "name_recall")


def write_metrics(
    generation: Path, maps: Path, manifest_path: Path, out: Path, protocol: Protocol, *, sentences: bool = False
) -> dict[str, int]:
    """Score every sample of ``generation`` with its maps and write ``out`` (parquet, columns as in ``SCHEMA``).

    The file's metadata, key ``tam``, say how: protocol, method, tagger. With ``sentences`` words are tagged in the
    context of their sentence.

    Returns:
        the number of samples by kind of status: "ok", "truncated", "failed", "no mask", "not a single image", ...

    Raises:
        InputError: the manifest lacks a sample, has a category id outside 1..255, the maps follow another protocol, or
            the protocol tags each word alone.
        SchemaError: the files do not belong together.
    """
    samples = {sample.id: sample for sample in manifest.read(manifest_path)}
    _check_categories(samples, manifest_path)
    method, count = _check_headers(generation, maps, protocol)
    if sentences and protocol.words_tagged_alone:
        raise InputError("this protocol tags each word alone", got="sentences", cure="use protocol fixed")
    judge = tagging.choose(sentences=sentences)
    how = json.dumps({"protocol": protocol.name, "method": method, "tagger": judge.name})
    counts: Counter[str] = Counter()
    columns: list[tuple] = []
    with (
        atomic(out) as temporary,
        pq.ParquetWriter(temporary, SCHEMA.with_metadata({"tam": how})) as writer,
        tqdm(total=count, desc="metrics", unit="sample") as progress,
    ):
        for answer, sample_maps in read_pairs(generation, maps):
            if answer.id not in samples:
                raise InputError("sample is not in the manifest", where=manifest_path, got=repr(answer.id))
            status, rows = score_sample(samples[answer.id], answer, sample_maps, manifest_path, judge, protocol)
            counts[status.partition(":")[0]] += 1
            columns += [(answer.id, *row) for row in rows]
            if len(columns) >= ROWS_AT_A_TIME:
                _flush(writer, columns)
            progress.update()
        _flush(writer, columns)
    return dict(counts)


def score_sample(
    sample: Sample,
    generation: Generation,
    maps: SampleMaps,
    manifest_path: Path,
    judge: tagging.Language,
    protocol: Protocol,
) -> tuple[str, list[Row]]:
    """Rows of one sample, the first of them about the answer itself, and the sample's status."""
    failure = next((status for status in (generation.status, maps.status) if status.startswith(FAILED)), None)
    if failure:
        return failure, [Row(-1, "", 0, "answer", np.nan, failure)]
    status = generation.status
    count = len(generation.answer_ids)
    rows = [Row(-1, generation.answer, 0, "answer", count, status)]

    ids = generation.retokenised_answer if protocol.retokenised_pieces else generation.answer_ids
    if len(ids) != count:
        problem = f"pieces differ: {len(ids)} after decoding and tokenising again, {count} maps"
        dropped = (*MAP_METRICS, *NAME_METRICS)
        if protocol.unequal_lengths_dropped_silently:
            dropped += LANGUAGE_METRICS
        else:
            rows += language(generation.answer, sample.references, judge.wordnet)
        return problem, rows + [whole(metric, problem) for metric in dropped]

    words = answer_words(generation, ids, sample.categories, judge, protocol)
    mask, problem = read_mask(sample, generation.layout, manifest_path, protocol)
    single = sample.kind == "images" and len(generation.layout.grids) == 1
    if single:
        uint8, floats = (answer_maps(values, generation, protocol) for values in (maps.uint8, maps.maps))
        unmasked = None if protocol.missing_mask_has_map_size else generation.layout.sizes[0]
        size = unmasked if mask is None else mask.shape[::-1]
        box = None if size is None or protocol.map_stretched_over_picture else _box(generation.layout, size)
        rows += localise(words, uint8, floats, mask, protocol, size=size, box=box, missing_mask=problem).rows
        rows += focus(words, floats)
    else:
        problem = "not a single image"
        rows += [whole(metric, problem) for metric in MAP_METRICS]
    rows += names(words, mask, set(sample.categories.values()), problem)
    rows += language(generation.answer, sample.references, judge.wordnet)
    return (problem or status), rows


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


def read_mask(sample: Sample, layout: Layout, manifest_path: Path, protocol: Protocol) -> tuple[np.ndarray | None, str]:
    """uint8 [height, width] of category ids and "", or None and why there is none."""
    if sample.mask is None:
        return None, "no mask"
    path = manifest.resolve(sample.mask, manifest_path)
    if not path.is_file():
        return None, "no mask: the file is missing"
    try:
        picture_size(path)  # before its pixels take memory
    except InputError:
        return None, "unreadable mask"
    data = np.frombuffer(path.read_bytes(), np.uint8)
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if mask is None:
        return None, "unreadable mask"
    if mask.ndim != 2 or mask.dtype != np.uint8:
        return None, "unreadable mask: not 8-bit grey"
    expected = layout.sizes[0]
    if mask.shape[::-1] != tuple(expected) and not protocol.mask_of_any_size:
        return None, f"mask of another size: {mask.shape[1]}x{mask.shape[0]}, picture {expected[0]}x{expected[1]}"
    return mask, ""


def _box(layout: Layout, size: tuple[int, int]) -> Box:
    """The part of a mask of ``size`` (width, height) that the only grid covers, in whole pixels."""
    (width, height), (left, top, right, bottom) = layout.sizes[0], layout.grids[0].box
    x, y = size[0] / width, size[1] / height
    return round(left * x), round(top * y), round(right * x), round(bottom * y)


def _flush(writer: pq.ParquetWriter, columns: list[tuple]) -> None:
    if columns:
        writer.write_table(pa.table([list(column) for column in zip(*columns, strict=True)], schema=writer.schema))
        columns.clear()


def _check_categories(samples: dict[str, Sample], path: Path) -> None:
    for sample in samples.values():
        wrong = {name: id for name, id in sample.categories.items() if not 1 <= id <= 255}
        if wrong:
            raise InputError("category id out of range", where=f"{path}, {sample.id}", got=wrong, expected="1..255")


def _check_headers(generation: Path, maps: Path, protocol: Protocol) -> tuple[str, int]:
    """The maps' method and the number of samples."""
    known, header = cache.read_header(generation), read_maps_header(maps)
    for key, what in (("fingerprint", "maps of another generation"), ("samples", "samples are missing")):
        if header[key] != known[key]:
            raise SchemaError(what, where=maps, got=header[key], expected=known[key], cure="run `tam maps` again")
    if header["protocol"] != protocol.name:
        raise InputError("maps of another protocol", where=maps, got=header["protocol"], expected=protocol.name)
    return header["method"], header["samples"]
