"""The maps of one answer as named NumPy arrays, which need nothing of ours to be read; docs/reference/export.md."""

from collections.abc import Mapping
from typing import IO

import numpy as np

from tam.layout import Layout
from tam.records import Generation, Maps, SampleMaps
from tam.words import spoken

NOT_A_FRAME = -1
PARTS = ("prompt", "answer")
SIGN = "grid_frames.npy"  # stands in an archive of ours, as the name of one of its files


def arrays(generation: Generation, maps: Mapping[str, Maps | SampleMaps]) -> dict[str, np.ndarray]:
    """Name -> array. N methods (those of ``maps``, none of which failed), T tokens (of the user's words, then of the
    answer), W words, V vision tokens, G grids, M pictures (a video is one).

    Returns:
        ``maps`` float32 [N, T, V], ``word_maps`` float32 [N, W, V] (the mean of a word's tokens), ``explained`` bool
        [N, T], ``methods``; of tokens ``tokens``, ``token_ids``, ``token_words`` (-1: none), ``token_parts``; of words
        ``words``, ``word_parts``; of vision tokens ``cells`` float32 [V, 4] (left, top, right, bottom in pixels of the
        upright picture), ``cell_grids``; of grids ``grids`` int32 [G, 3] (picture, rows, columns), ``grid_frames``
        int32 [G, frames] (-1: no more); ``sizes`` int32 [M, 2] (width, height); ``id``, ``status``, ``prompt``,
        ``answer``. Texts are NumPy's unicode.
    """
    layout, ids = generation.layout, np.concatenate([generation.prompt_ids, generation.answer_ids])
    words = spoken(generation)
    of_words = np.full(len(ids), -1, np.int32)
    for number, (_, tokens) in enumerate(words):
        of_words[list(tokens)] = number
    prompt = len(generation.prompt_ids)
    parts = np.repeat(PARTS, [prompt, len(ids) - prompt])
    stacked = np.stack([one.maps.astype(np.float32) for one in maps.values()])
    explained = [np.ones(len(ids), bool) if one.explained is None else one.explained for one in maps.values()]
    means = [stacked[:, list(tokens)].mean(1) for _, tokens in words]
    return {
        "id": np.array(generation.id),
        "status": np.array(generation.status),
        "prompt": np.array(generation.prompt),
        "answer": np.array(generation.answer),
        "methods": np.array([*maps], str),
        "maps": stacked,
        "explained": np.stack(explained),
        "tokens": np.array([generation.vocabulary[id].text for id in ids.tolist()], str),
        "token_ids": ids.astype(np.int32),
        "token_parts": parts,
        "token_words": of_words,
        "words": np.array([text for text, _ in words], str),
        "word_parts": np.array([parts[tokens[0]] for _, tokens in words], str),
        "word_maps": np.stack(means, 1) if means else stacked[:, :0],
        **_places(layout),
    }


def _places(layout: Layout) -> dict[str, np.ndarray]:
    most = max(len(grid.frames) for grid in layout.grids)
    frames = [[*grid.frames, *[NOT_A_FRAME] * (most - len(grid.frames))] for grid in layout.grids]
    boxes = []
    for grid in layout.grids:
        left, top, right, bottom = grid.box
        x, y = np.linspace(left, right, grid.columns + 1), np.linspace(top, bottom, grid.rows + 1)
        corners = [*np.meshgrid(x[:-1], y[:-1]), *np.meshgrid(x[1:], y[1:])]
        boxes.append(np.stack([one.ravel() for one in corners], 1))
    return {
        "cells": np.concatenate(boxes).astype(np.float32),
        "cell_grids": np.repeat(np.arange(len(boxes), dtype=np.int32), [len(one) for one in boxes]),
        "grids": np.array([(grid.medium, grid.rows, grid.columns) for grid in layout.grids], np.int32),
        "grid_frames": np.array(frames, np.int32),
        "sizes": np.array(layout.sizes, np.int32),
    }


def write_npz(file: IO[bytes], generation: Generation, maps: Mapping[str, Maps | SampleMaps]) -> None:
    """One NumPy archive, compressed, without pickles."""
    np.savez_compressed(file, allow_pickle=False, **arrays(generation, maps))
