"""What of a generation is shown: its tokens, the words that they make up, and the candidates beside them."""

from tam.records import Generation
from tam.render.tokens import TokenText
from tam.words import groups


def token(generation: Generation, id: int) -> TokenText:
    """A vocabulary entry; special ones, such as the end of the answer, are shown as a label."""
    return TokenText(generation.vocabulary[id].bytes, "end" if id in generation.end_tokens else None)


def candidates(generation: Generation, row: int) -> list[tuple[TokenText, float]]:
    """The likeliest tokens of a row of prompt and answer, with their probabilities over the whole vocabulary."""
    rows = generation.candidates
    chances = rows.probabilities[row]
    return [(token(generation, int(id)), float(chance)) for id, chance in zip(rows.ids[row], chances, strict=True)]


def word_tokens(generation: Generation) -> list[list[int]]:
    """Tokens of each word of the prompt and of the answer, counted from the prompt's first; end tokens are in none."""
    found, start = [], 0
    for ids in (generation.prompt_ids, generation.answer_ids):
        kept = [index for index, id in enumerate(ids) if int(id) not in generation.end_tokens]
        pieces = [generation.vocabulary[int(ids[index])] for index in kept]
        found += [[start + kept[member] for member in members] for _, members in groups(pieces)]
        start += len(ids)
    return found
