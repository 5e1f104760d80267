"""Time token text: one XeLaTeX document for many tokens, beside one XeLaTeX run a token.

``python -m tests.bench.render FOLDER``

The plain way is a standalone document a token, 500 dpi, through a PNG, shrunk to 500 pixels: the published settings. It
is timed on a few evenly spaced tokens of each round. Ratios are of the same round, so other load on the machine weighs
on both; medians over the rounds are printed.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pypdfium2

from tam.render import fonts, pillow, tokens, xelatex
from tam.render.colors import colored
from tests.bench import result

TEXT = """
The picture shows a large plate of bro ccoli and car rots on a wooden table , next to two glass es of water and an
old red book with gold en letter s . In the back ground some people are talking to each other near the window .
"""
WORDS = TEXT.split()
TIMED_TOKENS = 4
ROUNDS = 3
CASES = ((1, 20), (1, 100), (1, 256), (10, 100), (50, 20))


def answer(count: int) -> list[tokens.TokenText]:
    return [tokens.TokenText(b" " + WORDS[i % len(WORDS)].encode()) for i in range(count)]


def plain_way(shown: Sequence[tokens.TokenText], token: int, relevance: np.ndarray) -> np.ndarray:
    """One token's picture as the published code makes it, with a font that is installed."""
    parts = []
    for number, other in enumerate(shown):
        word = other.bytes.decode().strip().replace("$", r"\$")
        if number < token:
            red, green, blue = colored(relevance[number]) / 255
            parts.append(rf"\textcolor[rgb]{{{red:.3f},{green:.3f},{blue:.3f}}}{{{word}}}")
        elif number == token:
            parts.append(rf"\colorbox{{black}}{{\textcolor{{white}}{{{word}}}}}")
        else:
            parts.append(rf"\textcolor[gray]{{.784}}{{{word}}}")
    face = fonts.choose("a")[1]
    source = (
        r"\documentclass[border=6pt]{standalone}\usepackage{xcolor}\usepackage{fontspec}"
        rf"\setmainfont{{{Path(face.path).name}}}[Path={Path(face.path).parent}/]"
        r"\begin{document}\parbox{345pt}{\fontsize{18}{21}\selectfont\bfseries\raggedright "
        + " ".join(parts) + r"\par}\end{document}"
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "token.tex").write_text(source, encoding="utf-8")
        command = ["xelatex", "-interaction=batchmode", "token.tex"]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        page = pypdfium2.PdfDocument(Path(folder, "token.pdf").read_bytes())[0]
        cv2.imwrite(f"{folder}/token.png", page.render(scale=500 / 72).to_numpy())
        picture = cv2.imread(f"{folder}/token.png")
    return cv2.resize(picture, (500, round(picture.shape[0] * 500 / picture.shape[1])))


def pages(shown: Sequence[tokens.TokenText], relevance: np.ndarray) -> list[tokens.Page]:
    layout = tokens.lay_out(shown, 0)
    candidates = [(shown[0], 0.7), (shown[1], 0.2), (shown[2], 0.1)]
    return [tokens.page(layout, token, relevance, candidates, "top 3") for token in range(len(shown))]


def by_document(answers: int, count: int, relevance: np.ndarray) -> None:
    made = [pages(answer(count), relevance) for _ in range(answers)]
    for _ in xelatex.rasters(xelatex.compile_pdf(xelatex.document(made), answers * count)):
        pass


def by_pillow(answers: int, count: int, relevance: np.ndarray) -> None:
    for _ in range(answers):
        made = pages(answer(count), relevance)
        for _ in pillow.draw(made[0].layout, made):
            pass


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, with child processes."""

    def cpu() -> float:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(part.ru_utime + part.ru_stime for part in usage)

    for cached in (tokens.shape, fonts.choose, fonts.width, fonts.pillow_font):  # no run profits from an earlier one
        cached.cache_clear()
    wall, before = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - wall, cpu() - before


def one_round(answers: int, count: int, relevance: np.ndarray) -> dict[str, tuple[float, float]]:
    """Seconds a token, wall and CPU, of each way."""
    shown = answer(count)
    sampled = np.linspace(0, count - 1, TIMED_TOKENS).astype(int)
    plain = timed(lambda: [plain_way(shown, int(token), relevance) for token in sampled])
    total = answers * count
    found = {"plain": tuple(value / TIMED_TOKENS for value in plain)}
    for name, way in (("document", by_document), ("pillow", by_pillow)):
        found[name] = tuple(value / total for value in timed(lambda way=way: way(answers, count, relevance)))
    return found


def row(answers: int, count: int, rounds: list[dict], clock: int) -> dict:
    """One line of the table: medians over the rounds, by the wall clock (0) or by CPU time (1)."""
    cells = {"answers x tokens": f"{answers} x {count}", "clock": ("wall", "CPU")[clock]}
    for way, name in (("plain", "one run a token"), ("document", "one document"), ("pillow", "Pillow")):
        cells[f"{name}, ms a token"] = 1000 * statistics.median(found[way][clock] for found in rounds)
        if way != "plain":
            cells[f"{name}: times as fast"] = statistics.median(f["plain"][clock] / f[way][clock] for f in rounds)
    return cells


def main(folder: Path) -> None:
    relevance = np.random.default_rng(0).random(256)
    one_round(1, 20, relevance)  # fonts and libraries into memory
    rows = []
    for answers, count in CASES:
        rounds = [one_round(answers, count, relevance) for _ in range(ROUNDS)]
        rows += [row(answers, count, rounds, clock) for clock in (0, 1)]
    result.write(folder, "render", rows, f"Ratios are of the same round, medians over {ROUNDS} rounds.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
