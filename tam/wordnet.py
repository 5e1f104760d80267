"""WordNet's database files, read a word at a time: base forms and synonyms.

NLTK's reader takes one or two seconds to read the index files whole, and a shard asks for some hundred words. The files
are sorted, so a word is found by bisection. What is found is what NLTK finds.
"""

import re
import zipfile
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from tam.errors import InputError

FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
"""Parts of speech, in the order in which NLTK looks."""

ENDINGS = {
    "n": (
        ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
        ("men", "man"), ("ies", "y"),
    ),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}  # fmt: skip
"""What Morphy takes off a word, and puts there."""


class WordNet:
    """The files of a folder, or of an archive as NLTK's downloader leaves it."""

    def __init__(self, folder: Path | zipfile.Path):
        self._folder = folder
        self._bytes = cache(lambda name: (folder / name).read_bytes())
        self._exceptions = cache(self._read_exceptions)

    @cached_property
    def version(self) -> str:
        found = re.search(rb"Word[nN]et (\d+(?:\.\d+)?) Copyright", self._bytes("data.adj")[:4096])
        return found[1].decode() if found else "of unknown version"

    def lemma(self, noun: str) -> str:
        """The shortest base form of a lower-case noun, the first of equals; the word itself where there is none."""
        return min(self._forms(noun, "n"), key=len, default=noun)

    def synonyms(self, word: str) -> list[list[str]]:
        """The words of each sense of a word, in the order of NLTK's ``synsets``; several words are joined by "_".

        Raises:
            InputError: the files do not belong together.
        """
        word = word.lower()
        return [
            self._names(part, offset)
            for part in FILES
            for form in self._forms(word, part)
            for offset in self._offsets(form, part)
        ]

    def _forms(self, word: str, part: str) -> list[str]:
        """Morphy: the word and its base forms, as far as they are in the index."""
        bases = self._exceptions(part).get(word)
        if bases is None:
            bases = [word[: -len(old)] + new for old, new in ENDINGS[part] if word.endswith(old)]
        return [form for form in dict.fromkeys([word, *bases]) if any(self._offsets(form, part))]

    def _read_exceptions(self, part: str) -> dict[str, list[str]]:
        lines = self._bytes(f"{FILES[part]}.exc").decode().splitlines()
        return {word: bases for word, *bases in map(str.split, lines)}

    def _offsets(self, form: str, part: str) -> Iterator[int]:
        """Where the senses of a base form stand in the data file; nothing for one that is not in the index."""
        index, wanted = self._bytes(f"index.{FILES[part]}"), form.encode()

        def line(offset: int) -> int:
            """Where the first line after an offset begins."""
            return index.find(b"\n", offset) + 1

        def word(offset: int) -> bytes:
            """The first word of that line; b"" in the licence, whose lines begin with a space."""
            return index[line(offset) : index.find(b" ", line(offset))]

        last = index.rfind(b"\n", 0, -1)
        found = bisect_left(range(last), wanted, key=word)
        if wanted and word(found) == wanted:
            _, _, count, *others = index[line(found) : index.find(b"\n", line(found))].split()
            yield from map(int, others[-int(count) :])

    def _names(self, part: str, offset: int) -> list[str]:
        """The words of the sense at an offset, without the marks of adjectives: "galore(ip)"."""
        data = self._bytes(f"data.{FILES[part]}")
        place, _, _, count, *others = data[offset : data.find(b"\n", offset)].split(b"|")[0].split() or [b""] * 4
        if place != b"%08d" % offset:
            raise InputError("WordNet's files do not belong together", where=self._folder, got=f"{part}, {offset}")
        names = others[: 2 * int(count, 16) : 2]
        return [re.sub(r"\([^()]*\)$", "", name.decode()) for name in names]
