"""The two protocols, and every difference between them by name.

``reference`` computes what the published code computes, ``fixed`` what the paper means. Code asks for a named quirk
(``protocol.retokenised_pieces``), never for a protocol's name.
"""

from dataclasses import dataclass, fields

from tam.errors import InputError


@dataclass(frozen=True)
class Protocol:
    """Named differences; True is the behaviour of the published code. ``docs/explained/protocol.md`` explains each."""

    name: str
    # which token, which class
    retokenised_pieces: bool
    first_answer_class_is_last_prompt_token: bool
    first_prompt_class_is_argmax: bool
    first_answer_map_is_first_prompt_map: bool
    # the arithmetic of a map
    scale_is_searched: bool
    later_prompt_in_normalisation: bool
    empty_context_is_an_error: bool
    constant_window_is_zero: bool
    # the evaluation
    end_token_joined_to_last_word: bool
    words_from_decoded_pieces: bool
    one_grid_a_picture: bool
    map_stretched_over_picture: bool
    mask_of_any_size: bool
    missing_mask_has_map_size: bool
    last_category_with_the_word: bool
    merge_across_absent_labels: bool
    undefined_precision_in_means: bool
    unequal_lengths_dropped_silently: bool
    blank_texts_are_scored: bool
    thoughts_are_scored: bool
    words_tagged_alone: bool


def _all(name: str, value: bool) -> Protocol:
    return Protocol(name, **{field.name: value for field in fields(Protocol) if field.name != "name"})


REFERENCE = _all("reference", True)
FIXED = _all("fixed", False)
PROTOCOLS = {protocol.name: protocol for protocol in (FIXED, REFERENCE)}


def protocol(name: str) -> Protocol:
    """Look a protocol up by name; InputError lists the known ones."""
    if name not in PROTOCOLS:
        raise InputError("unknown protocol", got=repr(name), expected=" or ".join(PROTOCOLS))
    return PROTOCOLS[name]
