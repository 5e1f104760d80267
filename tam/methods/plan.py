"""Which tokens are explained, as which classes, in which order; in both protocols."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from tam.errors import InputError
from tam.protocol import Protocol


@dataclass(frozen=True)
class Plan:
    """The maps of a sample, in order: those of the prompt, then one a token of the answer.

    Attributes:
        classes: vocabulary id whose logits make each map.
        rows: position whose candidates belong to each map.
        pieces: what each token says; of another length than ``classes`` where tokenising again changed it.
        prompt_count: how many of the maps are the prompt's.
    """

    classes: list[int]
    rows: list[int]
    pieces: list[Hashable]
    prompt_count: int


def plan(
    tokens: Sequence[int],
    prompt: Sequence[int],
    answer: int,
    retokenised_prompt: Sequence[Hashable],
    retokenised_answer: Sequence[Hashable],
    first_candidate: int,
    protocol: Protocol,
) -> Plan:
    """Plan all maps of a complete sample.

    Args:
        tokens: the whole sequence.
        prompt: positions of the user's words.
        answer: position of the answer's first token.
        retokenised_prompt, retokenised_answer: pieces (ids or strings) after decoding and tokenising again.
        first_candidate: the most likely class at the first of the user's words.

    Raises:
        InputError: tokenising again made so many pieces that the published code runs out of tokens.
    """
    said_in_prompt: list[Hashable] = [tokens[position] for position in prompt]
    said_in_answer: list[Hashable] = list(tokens[answer:])
    if protocol.retokenised_pieces:
        said_in_prompt, said_in_answer = list(retokenised_prompt), list(retokenised_answer)
    count, rounds = len(said_in_prompt), len(tokens) - answer
    # Where there are more pieces than tokens, the published code runs on into the template.
    positions = [*prompt, *range(prompt[-1] + 1 if len(prompt) else answer, len(tokens))]
    steps = [(0, index) for index in range(count + 1)] + [(step, count + step) for step in range(1, rounds)]
    try:
        explained = [class_and_row(tokens, positions, answer, answer - 1, count, *step, protocol) for step in steps]
    except IndexError as error:
        raise InputError("more pieces than tokens", got=f"{count} pieces of the prompt") from error
    classes = [first_candidate if cls is None else cls for cls, _ in explained]
    return Plan(classes, [row for _, row in explained], said_in_prompt + said_in_answer, count)


def class_and_row(
    tokens: Sequence[int],
    prompt: Sequence[int],
    answer: int,
    last: int,
    count: int,
    step: int,
    index: int,
    protocol: Protocol,
) -> tuple[int | None, int]:
    """Class and row of one map; class None stands for the most likely one in that row.

    Args:
        prompt: positions of the prompt's words and of what follows them.
        answer: position of the answer's first token; ``last``, that of the prompt sequence's last token.
        count: pieces of the prompt.
        step: of the generation; 0 for the maps of the prompt and of the answer's first token.
        index: of the piece.
    """
    if step:
        return tokens[answer + step], last + step
    if index == count:
        return tokens[last if protocol.first_answer_class_is_last_prompt_token else last + 1], last
    position = prompt[index]
    if index == 0 and protocol.first_prompt_class_is_argmax:
        return None, position
    return tokens[position], position
