"""Draw every token of a vocabulary and count what goes wrong: python tests/check_vocabulary.py FILE [--fuzz N].

FILE is a JSON list of base64 byte strings (told by whether all entries decode), or of token strings as a tokenizer
spells them: SentencePiece's (``▁dog``, ``<0x0A>``) and byte-level BPE's (``Ġdog``) are undone. Every token is set by
XeLaTeX (if installed) and by Pillow. Exit code 1 if TeX complains, or if a token leaves no ink on the page.
"""

import argparse
import base64
import binascii
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import fontTools.unicodedata as scripts
import numpy as np

from tam.errors import RenderError
from tam.model.vocabulary import BYTES, sentencepiece_bytes
from tam.render import pillow, xelatex
from tam.render.colors import BLACK
from tam.render.tokens import Page, TokenText, lay_out

PER_PAGE, PAGES = 400, 100


def read_tokens(path: Path) -> list[bytes]:
    """The bytes that each entry stands for in a text."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    try:
        return [base64.b64decode(entry, validate=True) for entry in entries]
    except (binascii.Error, ValueError):
        pass
    known = set(entries)
    if "\u0120the" in known:
        return [bytes(map(BYTES.get, entry)) if set(entry) <= BYTES.keys() else entry.encode() for entry in entries]
    if "<0x0A>" in known or "\u2581the" in known:
        return [sentencepiece_bytes(entry) for entry in entries]
    return [entry.encode("utf-8", "surrogatepass") for entry in entries]


def fuzz(count: int, nasty: Sequence[bytes], seed: int = 11) -> list[bytes]:
    """Random strings of the kinds that have broken escapers."""
    chance = random.Random(seed)
    primitives = [
        "input",
        "write18",
        "special",
        "openin",
        "read",
        "catcode",
        "csname",
        "end",
        "char",
        "H",
        "Faaa",
        "def",
    ]
    marks = [
        *range(0x300, 0x370),
        0x200B,
        0x200C,
        0x200D,
        0x202A,
        0x202E,
        0x2066,
        0xFE0F,
        0x1F3FB,
        0x1F1E6,
        0x20E3,
        0x627,
        0x94D,
    ]

    def one() -> bytes:
        kind, length = chance.randrange(6), chance.randint(1, 12)
        if kind == 0:
            return bytes(chance.randint(32, 126) for _ in range(length))
        if kind == 1:
            return chance.randbytes(length)
        if kind == 2:
            codes = (chance.randrange(0x110000) for _ in range(length))
            return "".join(map(chr, codes)).encode("utf-8", "surrogatepass")
        if kind == 3:
            return "".join(chance.choices("\\{}$&#^_~%\"'`-<>?!\n \t", k=length)).encode()
        if kind == 4:
            return "".join(map(chr, chance.choices(marks, k=length))).encode()
        tail = "".join(chr(chance.randint(32, 126)) for _ in range(length)).encode()
        return (
            b"\\"
            + chance.choice(primitives).encode()
            + chance.choice([b"{", b" ", b'"', b"="])
            + tail
            + chance.choice(nasty or [b""])
        )

    return [one() for _ in range(count)]


def pages_of(tokens: Sequence[bytes]) -> Iterator[Page]:
    """Pages of some hundred tokens, with a label between them, so that each is a display unit of its own."""
    for start in range(0, len(tokens), PER_PAGE):
        shown = [part for text in tokens[start : start + PER_PAGE] for part in (TokenText(text), TokenText(b"", "i"))]
        layout = lay_out(shown, 0, width=700)
        yield Page(layout, None, np.tile(np.uint8(BLACK), (len(layout.units) + 2, 1)), ())


def without_ink(page: Page, picture: np.ndarray) -> list[str]:
    """Units that left no mark."""
    owners = pillow.owners(page.layout.segments, picture.shape[:2], grow=3)
    inked = set(np.unique(owners[picture.min(axis=-1) < 200]) - 1)
    return [unit.text for number, unit in enumerate(page.layout.units) if number not in inked]


def script_of(text: str) -> str:
    if any(0xDC80 <= ord(c) <= 0xDCFF for c in text):
        return "(no UTF-8)"
    return next((s for s in map(scripts.script, text) if s not in ("Zyyy", "Zinh", "Zzzz")), "Zyyy")


def check(tokens: Sequence[bytes], by_tex: bool) -> dict:
    """Counts of one back end."""
    found = {"tokens": len(tokens), "pages": 0, "TeX errors": 0, "missing glyphs": 0, "without ink": []}
    started, cpu = time.time(), time.process_time()
    made = list(pages_of(tokens))
    found["pages"] = len(made)
    if by_tex:
        for start in range(0, len(made), PAGES):
            part = made[start : start + PAGES]
            try:
                pdf = xelatex.compile_pdf(xelatex.document([[page] for page in part]), len(part))
            except RenderError as error:
                found["missing glyphs" if "Missing character" in str(error) else "TeX errors"] += 1
                print(error)
                continue
            for page, picture in zip(part, xelatex.rasters(pdf), strict=True):
                found["without ink"] += without_ink(page, picture)
    else:
        for page in made:
            found["without ink"] += without_ink(page, next(pillow.draw(page.layout, [page])))
    found["seconds"], found["own CPU"] = round(time.time() - started, 1), round(time.process_time() - cpu, 1)
    found["replaced"] = Counter(f"U+{ord(c):04X}" for page in made for c in page.layout.lost)
    found["scripts"] = Counter(script_of(unit.text) for page in made for unit in page.layout.units[::2])
    found["hidden"] = Counter(
        script_of(unit.text)
        for page in made
        for unit in page.layout.units[::2]
        if any(run.face is None for cluster in unit.shaped.clusters for run in cluster)
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="also N random strings")
    options = parser.parse_args()
    tokens = read_tokens(options.file)
    tokens += fuzz(options.fuzz, tokens[:500])
    failed = False
    for name, by_tex in (("XeLaTeX", True), ("Pillow", False)):
        if by_tex and not xelatex.available():
            print("XeLaTeX: not on PATH, skipped")
            continue
        found = check(tokens, by_tex)
        blank, replaced = found.pop("without ink"), found.pop("replaced")
        by_script, hidden = found.pop("scripts"), found.pop("hidden")
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()), end="")
        print(f", without ink {len(blank)} {[ascii(text) for text in blank[:10]]}")
        print(f"  no font, shown as hex: {sum(replaced.values())} {dict(replaced.most_common(20))}")
        failed |= bool(blank or found["TeX errors"] or found["missing glyphs"])
    print("script: tokens, of these with a hex label (bytes, invisible characters, no font)")
    for script, count in by_script.most_common():
        print(f"  {script}: {count}, {hidden[script]}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
