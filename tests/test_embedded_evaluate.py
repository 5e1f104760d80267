"""How the embedded model's answers about pairs and clips are judged, by hand."""

import numpy as np

from tam.embedded.evaluate import SIZE, cells, named, table
from tam.layout import Grid, Layout
from tests.test_explanation import hand_made


def test_a_cell_counts_where_it_holds_a_pixel_of_the_object_in_either_frame():
    box = (0.0, 0.0, float(SIZE), float(SIZE))
    grids = (Grid(0, (0, 1), 2, 2, box), Grid(0, (2, 3), 2, 2, box))
    made = hand_made(Layout(np.arange(8), np.zeros(0, int), 8, grids, ((SIZE, SIZE),)))
    masks = {(0, frame): np.zeros((SIZE, SIZE), bool) for frame in range(4)}
    masks[0, 0][0, 0] = masks[0, 1][SIZE - 1, SIZE // 2] = masks[0, 3][SIZE // 2 - 1, SIZE - 1] = True
    assert cells(made, masks).tolist() == [True, False, False, True, False, True, False, False]
    assert cells(made, {}).tolist() == [False] * 8


def test_names_are_whole_words_and_means_say_of_how_many():
    assert named("A hot dog in the snow.", "hot dog") and named("a dog.", "dog") and not named("A hotdog.", "dog")
    assert table([("right", True), ("other", 0.25), ("right", False)]) == [
        "| right | 50.0 | 2 |",
        "| other | 25.0 | 1 |",
    ]
