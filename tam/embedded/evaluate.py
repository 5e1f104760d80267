"""What the embedded model reaches on two pictures and on clips: ``python -m tam.embedded.evaluate`` prints a table.

Fresh scenes of the evaluated split, drawn as those that it was trained on; nothing is chosen by them.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from tam.datasets.emoji import grammar
from tam.datasets.emoji import scenes as emoji
from tam.embedded import CHECKPOINT
from tam.explanation import Explanation, explain
from tam.model.checkpoint import load
from tam.model.loaded import Loaded

ONE = ((1, 1),)
SIZE = 128  # pixels, as in training
PAIRS, CLIPS = range(2)  # branches of the seed tree

Values = Iterator[tuple[str, float]]


def pair(loaded: Loaded, rng: np.random.Generator) -> Values:
    """Two pictures of one object each: what was said, and where the words for the objects point."""
    scenes = [emoji.draw(rng, SIZE, ONE) for _ in range(2)]
    names = [scene.names[0] for scene in scenes]
    images = [Image.fromarray(scene.image) for scene in scenes]
    made = explain(loaded.model, loaded.processor, images=images, prompt=grammar.PAIR)
    first, _, second = made.answer.partition(" and the second image ")
    right = [named(part, name) for part, name in zip((first, second), names, strict=True)]
    yield "the whole sentence is right", made.answer == grammar.pair_caption(*(scene.groups for scene in scenes))
    yield "the first object is named first", right[0]
    yield "the second object is named second", right[1]
    if names[0] == names[1]:  # the two words could not be told apart
        return
    for number, (name, scene) in enumerate(zip(names, scenes, strict=True)):
        if right[number]:
            held = cells(made, {(number, 0): scene.objects > 0})
            best = int(made.select(name).map.argmax())
            start = sum(grid.cells for grid in made.layout.grids[:number])
            yield "its word points into its picture", start <= best < start + made.layout.grids[number].cells
            yield "its word points at the object", held[best]
            yield "by chance", held.mean()


def clip(loaded: Loaded, rng: np.random.Generator) -> Values:
    """Four frames in which one object moves."""
    frames, masks, caption = emoji.clip(rng, size=SIZE)
    video = [Image.fromarray(frame) for frame in frames]
    made = explain(loaded.model, loaded.processor, video=video, prompt=grammar.VIDEO)
    said, meant = (text.rstrip(".").split(" moving")[0].split(" ", 1)[-1] for text in (made.answer, caption))
    yield "the whole sentence is right", made.answer == caption
    yield "the moving object is named first", said == meant
    yield "the place is right", any(made.answer.endswith(where + ".") and where in caption for where in PLACES)
    yield "it is said whether another one is passed", (" past " in made.answer) == (" past " in caption)
    held = cells(made, {(0, frame): mask for frame, mask in enumerate(masks)})
    if said == meant:
        yield "its word points at it", held[int(made.select(meant).map.argmax())]
    given = explain(loaded.model, loaded.processor, video=video, prompt=grammar.VIDEO, answer=caption)
    yield "its word in the true sentence, given, points at it", held[int(given.select(meant).map.argmax())]
    yield "by chance", held.mean()


PLACES = tuple(grammar.PLACES.values())


def named(text: str, name: str) -> bool:
    return f" {name} " in f" {text.rstrip('.')} "


def cells(made: Explanation, masks: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """bool [vision]: which cells hold a pixel of an object.

    Args:
        masks: (medium, frame) -> bool [height, width].
    """
    held = []
    for grid in made.layout.grids:
        seen = [masks[grid.medium, frame] for frame in grid.frames if (grid.medium, frame) in masks]
        whole = np.any(seen, axis=0) if seen else np.zeros((SIZE, SIZE), bool)
        rows, columns = (np.linspace(0, SIZE, count + 1).round().astype(int) for count in (grid.rows, grid.columns))
        held += [
            whole[top:bottom, left:right].any()
            for top, bottom in itertools.pairwise(rows)
            for left, right in itertools.pairwise(columns)
        ]
    return np.array(held)


def table(values: Sequence[tuple[str, float]]) -> list[str]:
    names = dict.fromkeys(name for name, _ in values)
    found = {name: [value for other, value in values if other == name] for name in names}
    return [f"| {name} | {100 * np.mean(its):.1f} | {len(its)} |" for name, its in found.items()]


def main(
    seed: Annotated[int, typer.Option(help="Of the scenes.")] = 90210,
    count: Annotated[int, typer.Option(min=1, help="Of pairs, and of clips.")] = 100,
) -> None:
    loaded = load(str(CHECKPOINT), device="cpu")
    for title, measure, branch in (("two pictures", pair, PAIRS), ("clips", clip, CLIPS)):
        values: list[tuple[str, float]] = []
        for index in tqdm(range(count), desc=title, unit="sample"):
            values += measure(loaded, emoji.generator(seed, emoji.EVALUATION, index, branch))
        print(f"\n| {title}, {count} of seed {seed} | % | of |\n|---|---|---|", *table(values), sep="\n")


if __name__ == "__main__":
    typer.run(main)
