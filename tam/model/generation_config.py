"""What of a checkpoint's generation config holds: an allow list, each entry with what it must be."""

import math
from collections.abc import Callable, Collection
from typing import Any

from tam.errors import ModelError


def _id(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _ids(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_id, value))


def _factor(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


def _biases(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and _ids(pair[0]) and _bias(pair[1]) for pair in value
    )


def _bias(value: Any) -> bool:
    return type(value) is float and not math.isnan(value)


def _decay(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and type(value[0]) is int and _factor(value[1])


Entry = tuple[Callable[[Any], bool], str]
END: Entry = (lambda value: _id(value) or _ids(value), "an id, or a list of ids")
COUNT: Entry = (_id, "a whole number")
FACTOR: Entry = (_factor, "a number above 0")
SOME: Entry = (_ids, "a list of ids")
# Which tokens end an answer, and what forbids or disfavours tokens. All else is off.
HONOURED = {
    "eos_token_id": END, "bos_token_id": END, "repetition_penalty": FACTOR, "encoder_repetition_penalty": FACTOR,
    "no_repeat_ngram_size": COUNT, "encoder_no_repeat_ngram_size": COUNT, "suppress_tokens": SOME,
    "begin_suppress_tokens": SOME, "min_length": COUNT, "min_new_tokens": COUNT,
    "bad_words_ids": (lambda value: isinstance(value, list) and all(map(_ids, value)), "a list of lists of ids"),
    "sequence_bias": (_biases, "a list of [ids, bias], each bias with a point (1.0)"),
    "exponential_decay_length_penalty": (_decay, "[a number of tokens, a factor above 0]"),
}  # fmt: skip


# Those that look up each token of the prompt among the classes -> the value that changes nothing.
REPETITION = {
    "repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
}  # fmt: skip


def honoured(config: Any, vocabulary: int, vision: Collection[int] = ()) -> dict[str, Any]:
    """The entries of a generation config that decide what is answered.

    Args:
        vocabulary: ids of the words that are forbidden or disfavoured are below it.
        vision: ids of vision tokens.

    Raises:
        ModelError: an entry is not what it must be, or looks up vision tokens for which there is no class.
    """
    found: dict[str, Any] = {}
    for name, (fits, expected) in HONOURED.items():
        value: Any = getattr(config, name, None)
        if value == []:
            value = None
        if value is not None and not fits(value):
            raise _broken(name, value, expected)
        found[name] = float(value) if value is not None and HONOURED[name] is FACTOR else value
    for name, nothing in REPETITION.items():
        if found[name] not in (None, nothing) and any(id >= vocabulary for id in vision):
            raise ModelError(
                "an entry of the generation config looks up the prompt's tokens, and vision tokens have no class",
                where=name, got=found[name], expected=nothing, cure="leave the entry out of generation_config.json",
            )  # fmt: skip
    sequences = [*(found["bad_words_ids"] or []), *(ids for ids, _ in found["sequence_bias"] or [])]
    for ids in sequences:
        if not all(0 <= id < vocabulary for id in ids):
            raise _broken("bad_words_ids or sequence_bias", ids, f"ids from 0 to {vocabulary - 1}")
    if found["eos_token_id"] is None:  # which it makes likelier
        found["exponential_decay_length_penalty"] = None
    return found


def _broken(name: str, value: object, expected: str) -> ModelError:
    return ModelError(
        "a broken entry of the generation config", where=name, got=repr(value)[:80], expected=expected,
        cure="mend generation_config.json, or leave the entry out",
    )  # fmt: skip
