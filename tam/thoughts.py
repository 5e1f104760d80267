"""What a model thinks before it answers, between ``<think>`` and ``</think>``: shown and mapped, but no caption."""

import numpy as np

from tam.records import Generation

OPENS, CLOSES = "<think>", "</think>"
MARKS = (OPENS, CLOSES)


def caption_starts(generation: Generation) -> int | None:
    """Index in the answer of the first token behind the thoughts, 0 where there are none; None: they never end.

    The chat template may have opened them, and closed them, behind the user's words.
    """
    opens, closes = ([id for id, piece in generation.vocabulary.items() if piece.text == mark] for mark in MARKS)
    words = generation.layout.prompt
    marks = np.flatnonzero(np.isin(generation.tokens, opens + closes))
    marks = marks[marks > (words[-1] if len(words) else -1)]
    if not len(marks):
        return 0
    if generation.tokens[marks[-1]] in opens:
        return None
    return max(0, int(marks[-1]) + 1 - generation.layout.answer)


def caption_of(generation: Generation) -> str | None:
    """The answer without its thoughts and special tokens; None where they never end."""
    start = caption_starts(generation)
    if not start:
        return None if start is None else generation.answer
    said = [id for id in generation.answer_ids[start:].tolist() if id not in generation.end_tokens]
    return b"".join(generation.vocabulary[id].bytes for id in said).decode("utf-8", "replace").lstrip()
