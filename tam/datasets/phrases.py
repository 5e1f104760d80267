"""Phrases as texts to explain: what an answer of the phrase alone looks at.

The result is a file of given answers (``generation/given_answers.py``), as ``swapped.py`` writes one. A model that
answers freely hardly ever says a phrase in these words, and what it does not say has no map.
"""

import json
from pathlib import Path

from tam import manifest
from tam.system.atomic import atomic
from tam.system.mark import MAKER


def write(manifest_path: Path, out: Path) -> dict[str, int]:
    """Write a line for each sample that has phrases: the phrase, or all of them with commas between.

    Returns:
        the number of samples by what became of them; only "written" ones have a line.

    Raises:
        InputError: as ``manifest.read``.
    """
    counts = {"written": 0, "no phrase": 0}
    with atomic(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for sample in manifest.read(manifest_path):
            if sample.phrases:
                line = {"id": sample.id, "answer": ", ".join(sample.phrases), "by": MAKER}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts["written" if sample.phrases else "no phrase"] += 1
    return {kind: count for kind, count in counts.items() if count}
