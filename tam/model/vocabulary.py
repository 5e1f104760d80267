"""What a vocabulary id stands for, whatever the tokenizer."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tam.records import Piece


def piece_of(tokenizer: Any, id: int) -> Piece:
    """A vocabulary id as piece, text and bytes.

    Joining the bytes of an answer's tokens gives its text in UTF-8, also where one character has several tokens.
    """
    id = int(id)
    text = tokenizer.decode([id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    piece = tokenizer.convert_ids_to_tokens(id)
    if piece is None:  # a row of the head beyond the tokenizer's vocabulary
        return Piece("", "", b"")
    return Piece(piece, text, _bytes(tokenizer, id, piece, text))


def ids_of(tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """int32, the ids of those texts that are one token."""
    found = ((text, tokenizer.convert_tokens_to_ids(text)) for text in texts)
    known = [id for text, id in found if id is not None and tokenizer.convert_ids_to_tokens(id) == text]
    return np.array(known, np.int32)


def _bytes(tokenizer: Any, id: int, piece: str, text: str) -> bytes:
    added, byte_level = _kind_of(tokenizer, len(tokenizer))
    if id in added:
        return text.encode()
    if byte_level:
        return bytes(BYTES[character] for character in piece)
    return sentencepiece_bytes(piece)


@functools.lru_cache(maxsize=1)
def _kind_of(tokenizer: Any, size: int) -> tuple[frozenset[int], bool]:
    """Ids that were added to the vocabulary, and whether it is one of bytes. Asked once
    for each size of the vocabulary: 6,400 added ids take 8 ms."""
    return frozenset(tokenizer.added_tokens_decoder), "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)


def sentencepiece_bytes(piece: str) -> bytes:
    """What a piece of a SentencePiece vocabulary stands for: ``▁`` is a space, ``<0x0A>`` a byte."""
    if match := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):
        return bytes.fromhex(match[1])
    return piece.replace("▁", " ").encode()


def _byte_alphabet() -> dict[str, int]:
    """The alphabet of byte-level BPE (GPT-2's): printable bytes are themselves, the others follow from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


BYTES = _byte_alphabet()
