"""What the fuzz asks of label maps, names of categories and generation configs: more than not to die.

A label map holds the ids that were stored, or has a status. A word that is a category's name has that category, however
both are written. Of a generation config the allow list alone changes an answer, and what is broken is one line.
"""

import io
import json
import shutil
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tam import tagging
from tam.errors import InputError, ModelError, SchemaError
from tam.label_map import read_label_map
from tam.manifest import Sample
from tam.words import is_nameable, label
from tests import flips


def write_json(path: Path, case: object) -> None:
    path.write_text(json.dumps(case))


# ---- label maps

SIZE = (9, 7)
KINDS = [b"tRNS", b"PLTE", b"eXIf", b"acTL", b"fcTL", b"sBIT", b"gAMA", b"iCCP", b"tEXt", b"bKGD", b"hIST", b"IDAT"]
TURN = [Image.Exif() for _ in range(9)]
for turn, exif in enumerate(TURN):
    exif[0x0112] = turn
payloads = st.one_of(st.binary(max_size=24), st.sampled_from([exif.tobytes()[6:] for exif in TURN]))
chunks = st.lists(st.tuples(st.sampled_from(KINDS), payloads), max_size=2)
label_maps = st.fixed_dictionaries(
    {
        "header": st.one_of(
            st.just((8, 0, 0)),
            st.tuples(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([0, 2, 3, 4, 6]), st.integers(0, 1)),
        ),
        "size": st.sampled_from([SIZE, SIZE, SIZE[::-1], (3, 3), (1 << 30, 1 << 30)]),
        "before": chunks, "after": chunks, "seed": st.integers(0, 99),
        "kind": st.sampled_from(["", "", "", "", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PNG"]),
        "turn": st.sampled_from([0, 0, 1, 3, 6]),
    }
)  # fmt: skip


def ids_of(case: dict) -> np.ndarray:
    return np.random.default_rng(case["seed"]).integers(0, 91, SIZE[::-1], dtype=np.uint8)


def label_map(case: dict) -> bytes:
    """A file as a program may write it: of any bits, colours and chunks, turned, or of another format."""
    ids = ids_of(case)
    if case["kind"]:
        data = io.BytesIO()
        more = {"exif": TURN[case["turn"]]} if case["kind"] not in ("BMP", "GIF") and case["turn"] else {}
        Image.fromarray(ids).save(data, case["kind"], **more)
        return data.getvalue()
    (bits, color, interlaced), (width, height) = case["header"], case["size"]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    rows = [
        b"\0" + np.resize(row, -(-min(width, 99) * bits * channels // 8)).tobytes()
        for row in np.resize(ids, (min(height, 99), SIZE[0]))
    ]
    content = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)), *case["before"]]
    content += [(b"IDAT", zlib.compress(b"".join(rows))), *case["after"], (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in content
    )


def write_label_map(path: Path, case: dict) -> None:
    np.save(path.with_suffix(".npy"), ids_of(case))
    path.write_bytes(label_map(case))


def read_ids(path: Path) -> list[list[int]]:
    found, problem = read_label_map(Sample("s", [], "", mask=path.name), SIZE, path.parent / "m.jsonl")
    if found is None:
        raise InputError(problem)
    return found.tolist()


def check_label_map(path: Path) -> None:
    assert read_ids(path) == np.load(path.with_suffix(".npy")).tolist(), "silently other ids"


def stored_label_map(folder: Path) -> tuple[Path, Callable]:
    path = folder / "bits.png"
    Image.fromarray(np.arange(63, dtype=np.uint8).reshape(SIZE[::-1])).save(path, exif=TURN[1])
    return path, read_ids


# ---- journals


def journal(folder: Path) -> tuple[Path, Callable]:
    """What is on disk of a batch before it is in a part of its shard."""
    from tests.test_journal import SAMPLES, journal_in, kept_answer

    kept = journal_in(folder)
    kept.write({row: kept_answer(row) for row in SAMPLES})
    (path,) = folder.glob("batch-*.journal")

    def read(changed: Path) -> object:
        with tempfile.TemporaryDirectory() as place:
            shutil.copy(changed, Path(place, path.name))
            read = list(journal_in(Path(place)).left(SAMPLES.keys()))
        if not read:
            raise SchemaError("removed")
        return flips.plain(read)

    return path, read


# ---- names of categories

signs = st.one_of(
    st.sampled_from([*"aeistßéÉİ狗🐶\u0301", *"-\u2010\u2011\u00ad\u200b\ufeff'’_/.()", *" \u00a0\t"]),
    st.characters(codec="utf-8"),
)  # fmt: skip
names = st.one_of(
    st.text(signs, min_size=1, max_size=12), st.sampled_from(["hot dog", "skis", "T-shirt", "teddy bear"])
)
FORMS = {
    "as it is": str, "lower": str.lower, "upper": str.upper, "title": str.title,
    "NFC": lambda name: unicodedata.normalize("NFC", name), "NFD": lambda name: unicodedata.normalize("NFD", name),
}  # fmt: skip
named = st.fixed_dictionaries(
    {"names": st.lists(names, min_size=1, max_size=3), "form": st.sampled_from(sorted(FORMS))}
)


def check_names(path: Path) -> None:
    case = json.loads(path.read_text())
    categories = {name: number for number, name in enumerate(case["names"], 1)}
    for name in categories:
        word = FORMS[case["form"]](name)
        found = [label(word, "NN", categories, tagging.rule_lemma, last_category=last) for last in (False, True)]
        assert all(each in (-1, *categories.values()) for each in found)
        alone = label(word, "NN", {name: 7}, tagging.rule_lemma)
        same = unicodedata.normalize("NFC", word.lower()) == unicodedata.normalize("NFC", name.lower())
        if is_nameable(name) and name.split() == [name] and same:
            assert alone == 7, f"{word!r} is not a {name!r}"
            assert found[0] > 0, "another category took the name away"
        elif alone != 7:
            raise InputError("no word has this name")


# ---- generation configs


def _configs() -> st.SearchStrategy:
    from tests import test_generation_config as known  # which loads a model

    others = st.dictionaries(st.sampled_from(known.OTHERS), known.anything, max_size=4)
    broken = st.dictionaries(st.sampled_from(sorted(known.HONOURED)), known.anything, max_size=2)
    return st.tuples(others, st.just({}) | broken | st.fixed_dictionaries({}, optional=known.VALUES))


generation_configs = st.deferred(_configs)


def check_generation_config(path: Path) -> None:
    """As a checkpoint's is loaded, and one question asked."""
    from transformers import GenerationConfig

    from tam.model.checkpoint import LOAD_ERRORS
    from tam.model.decoding import answer_batch
    from tests import test_generation_config as known

    others, honoured = json.loads(path.read_text())
    content = {"eos_token_id": known.OWN["eos_token_id"]} | others | honoured
    (path.parent / "generation_config.json").write_text(json.dumps(content))
    try:
        config = GenerationConfig.from_pretrained(path.parent)
    except LOAD_ERRORS as error:
        raise ModelError("the checkpoint cannot be loaded", got=error) from error
    own, known.LOADED.model.generation_config = known.LOADED.model.generation_config, config
    try:
        (answer,) = answer_batch(known.LOADED, [known.PREPARED], known.LIMIT)
    finally:
        known.LOADED.model.generation_config = own
    if not honoured:
        plain = known.answered({"eos_token_id": known.OWN["eos_token_id"]})
        assert answer.ids.tolist() == plain.ids.tolist(), "an entry that is not honoured changed the answer"
