"""The table ``grounding``: can the evidence of a noun tell whether what it names is in the picture?

grounding.csv / .md / .tex   a row a number, and a row a regression and way of folding
grounding_words.csv          every noun with its numbers
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tam.metrics.grounding import CHAIR_S, OF_MAP, OF_WORD, PRESENT, TOKENS
from tam.records import MAIN
from tam.rows import OK, opened
from tam.run import RunFiles
from tam.tables.formats import Cell, Panel, Table, markdown
from tam.tables.latex import latex
from tam.tables.notes import counted
from tam.tables.numbers import NO_VALUE, to_csv
from tam.tables.ranking import auroc, folds, held_out
from tam.tables.statistics import RESAMPLES, drawn, interval, ratio

LEAST = 10
"""Fewer absent (or present) nouns say nothing."""
TOO_FEW = "too few"
RAW = "activation"
SEED = 0
REPEATS = 5
"""Ways of folding: what is said of a noun is the mean over them, as one way alone moves the AUROC by a hundredth."""
TITLES = {
    TOKENS: "number of tokens", "logprob": "log P of the word", "peak": "peak of the raw logits",
    "margin": "peak minus mean",
    "scale": "scale of interference", "spread": "1 - entropy of the map", "mass": "mass of the map",
    "image_use_blur": "log P, picture minus blur", "image_use_mean": "log P, picture minus mean colour",
}  # fmt: skip
BY_IMAGE, BY_WORD = "by image", "by word"
ALIKE = "words of as many tokens"
PROBABILITY, MAP, BOTH, ADDED = "log P", "the map", "log P and the map", "the map adds"

Score = tuple[str, str]
"""Metric, and the method that it is of; "" where it needs no map."""


@dataclass(frozen=True)
class Nouns:
    """The nouns of a run that name a category, whose truth is known, in the order of sample and token.

    Attributes:
        samples, words, labels: of each noun. tokens: its first one in the answer.
        present: bool [noun].
        scores: float64 [noun] each; NaN where a noun has none.
        statuses: metric -> how many nouns have no value, and why.
        answers: how many answers have a truth. wrong: how many of them name something that is not in the picture.
        without: why others have no truth, and how many.
    """

    samples: list[str]
    words: list[str]
    labels: np.ndarray
    tokens: list[int]
    present: np.ndarray
    scores: dict[Score, np.ndarray]
    statuses: dict[str, Counter[str]]
    answers: int
    wrong: int
    without: Counter[str]

    @cached_property
    def images(self) -> np.ndarray:
        """int [noun], the number of its image among those with a noun."""
        return np.unique(self.samples, return_inverse=True)[1]

    @property
    def absent(self) -> int:
        return int((~self.present).sum())

    @property
    def enough(self) -> bool:
        return min(self.absent, int(self.present.sum())) >= LEAST

    def having(self, scores: Sequence[Score]) -> np.ndarray:
        """bool [noun]: those that have all of the scores."""
        return np.all([np.isfinite(self.scores[score]) for score in scores], axis=0)


@dataclass(frozen=True)
class Judged:
    """One line: the AUROC (or a difference of two) with its interval.

    Attributes:
        folds: of a regression; of a number, ALIKE where only words of as many tokens are compared, else "".
        present, absent: nouns that it is of. status: "ok", or why there is no value.
    """

    score: str
    method: str
    folds: str
    value: float
    limits: tuple[float, float]
    present: int
    absent: int
    status: str = OK


def grounding_files(run: RunFiles, titles: dict[str, str]) -> dict[str, str]:
    """Name of each file -> its text.

    Args:
        titles: method -> title, of those that are shown.
    """
    nouns = read_nouns(run, [*titles])
    alone, joined = judge(nouns), judge_together(nouns)
    table = _table(run, nouns, alone, joined, titles)
    return {
        "grounding.csv": _csv(run, nouns, [*alone, *joined]),
        "grounding.md": markdown([table]),
        "grounding.tex": latex([table]),
        "grounding_words.csv": _words(run, nouns),
    }


def read_nouns(run: RunFiles, methods: Sequence[str]) -> Nouns:
    """What a run's metrics files say of nouns; SchemaError as ``rows.opened``."""
    wanted = pa.array([PRESENT, CHAIR_S, *TITLES])
    columns = ["sample", "method", "token", "word", "label", "metric", "value", "status"]
    found: dict[tuple[str, int], dict[Score, float]] = {}
    about: dict[tuple[str, int], tuple[str, int]] = {}
    chair: dict[str, float | str] = {}
    statuses: dict[str, Counter[str]] = {}
    for path in run.metrics:
        with opened(path) as (_, file):
            for batch in file.iter_batches(columns=columns):
                rows = batch.filter(pc.is_in(batch["metric"], wanted))
                listed = zip(*(column.to_pylist() for column in rows.columns), strict=True)
                for sample, method, token, word, label, metric, value, status in listed:
                    if metric == CHAIR_S:
                        chair[sample] = value if status == OK else status
                    elif status == OK and method in ("", *methods):
                        found.setdefault((sample, token), {})[metric, method] = value
                        if metric == PRESENT:
                            about[sample, token] = word, label
                    elif method in ("", *methods):
                        statuses.setdefault(metric, Counter())[status.partition(":")[0]] += 1
    keys = sorted(key for key, values in found.items() if (PRESENT, "") in values)
    known = {score for key in keys for score in found[key]}
    order = [(metric, method) for metric in TITLES for method in ("", *methods) if (metric, method) in known]
    truths = [value for value in chair.values() if not isinstance(value, str)]
    return Nouns(
        samples=[sample for sample, _ in keys],
        words=[about[key][0] for key in keys],
        labels=np.array([about[key][1] for key in keys], int),
        tokens=[token for _, token in keys],
        present=np.array([found[key][PRESENT, ""] for key in keys]) > 0,
        scores={score: np.array([found[key].get(score, math.nan) for key in keys]) for score in order},
        statuses=statuses,
        answers=len(truths),
        wrong=int(sum(truths)),
        without=Counter(value.partition(":")[0] for value in chair.values() if isinstance(value, str)),
    )


# ---- what is asked of them


def judge(nouns: Nouns) -> list[Judged]:
    """Each number alone, over the nouns that have it; a higher one is taken to mean present.

    Numbers of words of one token and of several are not alike (``peak`` is a mean, ``logprob`` a sum), and which words
    have several is the vocabulary's: so each is judged among words of as many tokens, too.
    """
    lines = []
    for (metric, method), values in nouns.scores.items():
        kept = np.isfinite(values)
        ways = {"": None, ALIKE: nouns.scores[TOKENS, ""][kept]}
        lines += [_judged(nouns, metric, method, way, kept, [values], kind) for way, kind in ways.items()]
    return lines


def judge_together(nouns: Nouns) -> list[Judged]:
    """Regressions on log P, on the map's numbers and on both, over the nouns that have all of them, and what the map
    adds: nouns of the part that is predicted had no say in the weights. All know the number of tokens."""
    of_map = [score for score in nouns.scores if score[0] in OF_WORD[1:] + OF_MAP and score[1] in ("", MAIN, RAW)]
    probability = [score for score in nouns.scores if score[0] == OF_WORD[0]]
    if not probability or not of_map:
        return []
    kept = nouns.having([*probability, *of_map])
    lines = []
    for way, groups in ((BY_IMAGE, nouns.images[kept]), (BY_WORD, nouns.labels[kept])):
        parts = [folds(groups, seed) for seed in range(REPEATS)]
        said = {}
        for name, scores in ((PROBABILITY, probability), (MAP, of_map), (BOTH, [*probability, *of_map])):
            said[name] = np.full(len(kept), math.nan)
            numbers = np.stack([nouns.scores[score][kept] for score in ((TOKENS, ""), *scores)], 1)
            said[name][kept] = np.mean([held_out(numbers, nouns.present[kept], part) for part in parts], axis=0)
            lines.append(_judged(nouns, name, "", way, kept, [said[name]]))
        lines.append(_judged(nouns, ADDED, "", way, kept, [said[BOTH], said[PROBABILITY]]))
    return lines


def _judged(
    nouns: Nouns, score: str, method: str, way: str, kept: np.ndarray, values: Sequence[np.ndarray],
    kind: np.ndarray | None = None,
) -> Judged:  # fmt: skip
    """Of one score, or of the first minus the second: on the same images in every draw. ``kind``: as ``auroc``."""
    present, images = nouns.present[kept], nouns.images[kept]
    counts = int(present.sum()), int((~present).sum())
    unknown = not all(np.isfinite(value[kept]).all() for value in values)
    whole = [auroc(value[kept], present, kind=kind)[0] for value in values]
    if min(counts) < LEAST or unknown or np.isnan(whole).any():
        return Judged(score, method, way, math.nan, (math.nan, math.nan), *counts, TOO_FEW)
    draws = np.concatenate([
        _minus([auroc(value[kept], present, weights[:, images], kind) for value in values])
        for weights in drawn(int(nouns.images.max()) + 1, SEED, RESAMPLES)
    ])  # fmt: skip
    low, high = interval(draws[:, None])[:, 0].tolist()
    return Judged(score, method, way, float(_minus(whole)), (low, high), *counts)


def _minus(values: Sequence[np.ndarray]) -> np.ndarray:
    return values[0] if len(values) == 1 else values[0] - values[1]


# ---- how they are told


def _table(
    run: RunFiles, nouns: Nouns, alone: Sequence[Judged], joined: Sequence[Judged], titles: dict[str, str]
) -> Table:
    def named(line: Judged) -> str:
        return f"{TITLES[line.score]}{f', {titles[line.method]}' if line.method else ''}"

    among = {(line.score, line.method): line for line in alone if line.folds == ALIKE}
    panels = [
        Panel(
            "AUROC of one number, present against absent nouns, 95 % intervals",
            ["", "AUROC", f"among {ALIKE}", "present", "absent"],
            [
                [named(line), _cell(line), _cell(among[line.score, line.method]), str(line.present), str(line.absent)]
                for line in alone
                if not line.folds
            ],
        )
    ]
    if joined:
        ways = list(dict.fromkeys(line.folds for line in joined))
        names = list(dict.fromkeys(line.score for line in joined))
        by_name = {(line.score, line.folds): line for line in joined}
        panels.append(
            Panel(
                "AUROC of a logistic regression on words that it has not seen, 95 % intervals",
                ["", *(f"folds {way}" for way in ways)],
                [[name, *(_cell(by_name[name, way]) for way in ways)] for name in names],
            )
        )
    return Table(f"{run.name}: is what a noun names in the picture?", panels, _notes(nouns))


def _notes(nouns: Nouns) -> list[str]:
    count, absent = len(nouns.present), nouns.absent
    without = f" ({counted(nouns.without)})" if nouns.without else ""
    notes = [
        f"{nouns.answers} answers with a truth{without}; {count} nouns that name a category, {count - absent} present, "
        f"{absent} absent. CHAIR_i {_number(float(ratio(np.array(absent), np.array(count))))}, "
        f"CHAIR_s {_number(float(ratio(np.array(nouns.wrong), np.array(nouns.answers))))}.",
        "Evidence, not truth: 0.5 is chance, below it the number is higher for absent nouns. Ties count half. "
        f"Intervals: bootstrap over images, {RESAMPLES} draws, seed {SEED}; the difference from paired draws.",
        f"Regressions: five folds, in which no image, or no category, is both learned from and asked, drawn {REPEATS} "
        "times; numbers standardised, a penalty of 1 on the squared weights. All know the number of tokens. The map: "
        "peak, margin, and scale, spread and mass of TAM and CAM. Weights are of this run: signs turn between "
        "kinds of error.",
    ]
    if not nouns.enough:
        notes.append(f"{TOO_FEW}: a value needs {LEAST} absent and {LEAST} present nouns.")
    none = [f"{TITLES[metric]}: {counted(counts)}" for metric, counts in nouns.statuses.items() if metric in TITLES]
    return [*notes, *([f"Without a value: {'; '.join(none)}."] if none else [])]


def _cell(line: Judged) -> Cell:
    if line.status != OK:
        return Cell(line.status)
    sign = "+" if line.score == ADDED else ""
    return Cell(_number(line.value, sign), f"[{', '.join(_number(limit, sign) for limit in line.limits)}]")


def _number(value: float, sign: str = "") -> str:
    return NO_VALUE if math.isnan(value) else f"{value:{sign}.3f}".replace("-", "−")


def _csv(run: RunFiles, nouns: Nouns, lines: Sequence[Judged]) -> str:
    images = len(set(nouns.samples))
    return to_csv(
        ["dataset", "model", "score", "method", "folds", "auroc", "low", "high", "present", "absent", "images",
         "chair_i", "chair_s", "status"],
        (
            [run.dataset, run.model, line.score, line.method, line.folds, line.value, *line.limits, line.present,
             line.absent, images, float(ratio(np.array(nouns.absent), np.array(len(nouns.present)))),
             float(ratio(np.array(nouns.wrong), np.array(nouns.answers))), line.status]
            for line in lines
        ),
    )  # fmt: skip


def _words(run: RunFiles, nouns: Nouns) -> str:
    heads = [f"{metric}_{method}" if method else metric for metric, method in nouns.scores]
    rows = zip(
        nouns.samples, nouns.tokens, nouns.words, nouns.labels.tolist(), nouns.present.astype(int).tolist(),
        *(values.tolist() for values in nouns.scores.values()), strict=True,
    )  # fmt: skip
    return to_csv(
        ["dataset", "model", "sample", "token", "word", "label", PRESENT, *heads],
        ([run.dataset, run.model, *row] for row in rows),
    )
