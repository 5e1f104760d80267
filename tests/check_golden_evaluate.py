"""Compare the reference protocol's evaluation with outputs of the published code, ``evaluate.h5``."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
from transformers import PreTrainedTokenizerFast

from tam import tagging
from tam.metrics.language import language
from tam.metrics.localisation import localise
from tam.metrics.picture import Picture, find_targets
from tam.protocol import REFERENCE
from tam.rows import OK
from tam.words import FUNCTION, NO_CATEGORY, read_words

TOLERANCE = 1e-6
RESULTS = ("obj_iou", "func_iou", "rouge_l", "meteor", "precision", "recall")


def check_evaluate(path: Path) -> tuple[int, list[str]]:
    """Evaluate every case of ``evaluate.h5`` (or of the folder that holds it).

    Returns:
        the number of cases, and a line for every difference. Without WordNet on this machine METEOR is compared with
        nothing and lemmas come from rules.
    """
    path = path / "evaluate.h5" if path.is_dir() else path
    tokenizers: dict[str, PreTrainedTokenizerFast] = {}
    judge = tagging.choose()
    mismatches = []
    with h5py.File(path) as file:
        for name, case in file.items():
            meta, out = json.loads(case.attrs["meta"]), json.loads(case.attrs["out"])
            if meta["tokenizer"] not in tokenizers:
                source = next((path.parent / "tokenizers").glob(f"{Path(meta['tokenizer']).stem}.json"))
                tokenizers[meta["tokenizer"]] = PreTrainedTokenizerFast(tokenizer_file=str(source))
            mask = case["mask"][()] if "mask" in case else None
            found = _evaluate(
                case["maps"][()], case["tokens"][()].tolist(), mask, meta, out, tokenizers[meta["tokenizer"]], judge
            )
            mismatches += [f"{name}: {line}" for line in _differences(found, out, judge)]
        return len(file), mismatches


def _evaluate(maps, ids, mask, meta, out, tokenizer, judge) -> SimpleNamespace:
    pieces = tokenizer.tokenize(tokenizer.batch_decode([ids])[0])
    vocabulary = [
        SimpleNamespace(piece=piece, text=tokenizer.decode([tokenizer.convert_tokens_to_ids(piece)]), bytes=b"")
        for piece in pieces
    ]
    answer = tokenizer.decode(ids, skip_special_tokens=True)
    tags = iter(out.get("pos_tags", ()))
    words = read_words(
        vocabulary,
        meta["category"],
        (lambda _: next(tags, "")) if "pos_tags" in out else judge.tag,
        judge.lemmatise,
        published_grouping=REFERENCE.words_from_decoded_pieces,
        last_category=REFERENCE.last_category_with_the_word,
    )
    if len(pieces) != len(maps):
        return SimpleNamespace(words=words, answer=answer, rows=[], thresholds=[], typed=[])
    height, width = maps.shape[1:] if mask is None else mask.shape
    (targets,) = [{}] if mask is None else find_targets([mask], {word.label for word in words if word.label > 0})
    picture = Picture((0, 0, width, height), targets, "no mask" if mask is None else "", np.ones(maps.shape[1:]))
    placed = localise(words, [maps], [maps], [picture], REFERENCE)
    spoken = language(answer, meta["captions"], judge.wordnet)
    return SimpleNamespace(
        words=words, answer=answer, rows=placed.rows + spoken, thresholds=placed.thresholds, typed=words
    )


def _differences(found: SimpleNamespace, out: dict, judge: tagging.Language) -> Iterator[str]:
    kinds = {NO_CATEGORY: "noun", FUNCTION: "function"}
    pairs = {
        "words": [word.text for word in found.words],
        "word_tokens": [list(word.tokens) for word in found.words],
        "word_types": [kinds.get(word.label, "noun" if word.label > 0 else "others") for word in found.typed],
        "hyp_text": found.answer,
        "otsu": found.thresholds,
    }
    for key, value in pairs.items():
        if key in out and out[key] is not None and value != out[key]:
            yield f"{key}: got {value}, expected {out[key]}"
    if "result" not in out:
        if all(row.status == OK for row in found.rows if row.metric in ("rouge_l", "meteor")):
            yield f"{out['exc']}: got numbers, expected a status"
        return
    for metric, expected in zip(RESULTS, out["result"], strict=True):
        if metric == "meteor" and judge.wordnet is None:
            continue
        got = [row.value for row in found.rows if row.metric == metric and row.status == OK]
        same = len(got) == len(expected) and np.allclose(got, expected, rtol=0, atol=TOLERANCE, equal_nan=True)
        if not same:
            yield f"{metric}: got {got}, expected {expected}"
