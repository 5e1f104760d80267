"""What is said about a scene: names and counts in, sentences out."""

import re
from collections.abc import Sequence

from tam.datasets.emoji.sprites import NAMES

CAPTION = "Write a one-sentence caption for this image:"
QUESTION = "What is in the image?"
VIDEO = "Describe this video."
PAIR = "Describe the two images."

PLACES = {
    "field": "in a field",
    "beach": "on a beach",
    "snow": "in the snow",
    "street": "on a street",
    "floor": "on the floor",
    "sky": "in the sky",
}
NUMBERS = {2: "two", 3: "three"}
PLURALS = {"sheep": "sheep", "bus": "buses"}
SINGULAR_ONLY = ("person",)  # "people" shares no stem with the name of its category

Groups = Sequence[tuple[str, int]]  # (category name, how many), the largest area first


def phrase(name: str, count: int) -> str:
    """ "an apple", "two cats"."""
    if count == 1:
        return ("an " if name[0] in "aeiou" else "a ") + name
    return f"{NUMBERS[count]} {PLURALS.get(name, name + 's')}"


def captions(groups: Groups, place: str) -> list[str]:
    """Every sentence of the grammar that is true of a scene with one to three kinds of object."""
    things = [phrase(*group) for group in groups]
    where = PLACES[place]
    if len(things) == 1:
        bodies = things
    elif len(things) == 2:
        bodies = [f"{things[0]} {joint} {things[1]}" for joint in ("and", "next to", "with")]
    else:
        first, second, third = things
        bodies = [
            f"{first}, {second} and {third}",
            f"{first} and {second} next to {third}",
            f"{first} with {second} and {third}",
        ]
    return [_sentence(f"{body} {where}") for body in bodies] + [_sentence(f"{there(groups)} {where}")]


def answer(groups: Groups) -> str:
    """The answer to ``QUESTION``."""
    return _sentence(there(groups))


def there(groups: Groups) -> str:
    *most, last = [phrase(*group) for group in groups]
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"there {'is' if groups[0][1] == 1 else 'are'} {listed}"


def video_caption(mover: str, passed: str | None, place: str) -> str:
    past = f" past {phrase(passed, 1)}" if passed else ""
    return _sentence(f"{phrase(mover, 1)} moving{past} {PLACES[place]}")


def pair_caption(first: Groups, second: Groups) -> str:
    return _sentence(f"the first image shows {phrase(*first[0])} and the second image shows {phrase(*second[0])}")


def words() -> list[str]:
    """Every word and punctuation mark that a sentence of the grammar can hold, as it is written there, sorted."""
    counts = {name: (1,) if name in SINGULAR_ONLY else (1, 2, 3) for name in NAMES}
    sentences = [
        sentence
        for name in NAMES
        for count in counts[name]
        for place in PLACES
        for others in ([], [("cat", 1)], [("cat", 1), ("dog", 1)])
        for sentence in captions([(name, count), *others], place)
    ]
    sentences += [video_caption("cat", "dog", "sky"), pair_caption([("cat", 1)], [("dog", 1)])]
    sentences += [answer([("cat", 1), ("dog", 2), ("car", 3)])]
    return sorted({word for sentence in sentences for word in re.findall(r"\w+|[^\w\s]", sentence)})


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
