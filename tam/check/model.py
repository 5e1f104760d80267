"""`tam check MODEL`: whether a checkpoint behaves as its family should, by what it says about noise.

No check looks at what the answers mean: a checkpoint that passes is read rightly, whatever it is worth.
"""

from collections.abc import Iterator

import torch

from tam.attribution.conservation import check_conservation
from tam.check.asked import Asked, inputs
from tam.check.before import Finding
from tam.check.checks import CHECKS
from tam.errors import InputError, TamError
from tam.generation.again import QUANTISED
from tam.model.loaded import Loaded
from tam.model.probe import ENOUGH
from tam.model.question import Question

SCALE = 4  # a cell of real tiles is some pixels wide then
TOLERANCE = {torch.float32: 1e-2, torch.float16: 0.25, torch.bfloat16: 1.0}
"""Logits of two runs may be so far apart: what rounding leaves of a few tens."""

HEAD = "| model_type | transformers class | one image | several images | video | LRP |"
RULE = "|---" * HEAD.count(" | ") + "|---|"

# What a model and a processor raise when they are asked in a way that is not theirs.
FOREIGN = (TamError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def check_model(loaded: Loaded) -> Iterator[Finding]:
    """A line for each input and check, then the model's row of the table in docs/explained/families.md."""
    cells = []
    for shown, media in inputs(SCALE).items():
        found = [*_of_input(Asked(loaded, media, _tolerance(loaded), ENOUGH), shown)]
        yield from found
        cells.append("no" if len(found) == 1 else "yes" if all(one.good for one in found) else "FAILS")
    lrp = _lrp(loaded)
    yield lrp
    cells.append("yes" if lrp.said == "conserves" else "no")
    table = "\n".join(["", HEAD, RULE, row(loaded, cells)])
    yield Finding("FAILS" not in cells and cells[0] == "yes", "row of the table in the documents", table)


def _tolerance(loaded: Loaded) -> float:
    return QUANTISED if loaded.quantised else TOLERANCE[loaded.model.dtype]


def row(loaded: Loaded, cells: list[str]) -> str:
    return f"| {loaded.config.model_type} | `{type(loaded.model).__name__}` | {' | '.join(cells)} |"


def _of_input(asked: Asked, shown: str) -> Iterator[Finding]:
    try:
        tokens = sum(len(one.layout.vision) for one in asked.prepared)
    except InputError as error:  # one that it does not take
        yield Finding(shown != "one image", shown, f"refused: {error}")
        return
    except FOREIGN as error:
        yield Finding(False, shown, f"{type(error).__name__}: {error}")
        return
    yield Finding(True, shown, f"{tokens} vision tokens")
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check(asked)
        except FOREIGN as error:
            yield Finding(False, shown, f"{name}: does not hold: {' '.join(str(error).split())}")
        else:
            yield Finding(True, shown, name)


def _lrp(loaded: Loaded) -> Finding:
    """Whether CP-LRP and AttnLRP have rules for the model; that they do not is no fault."""
    asked = Asked(loaded, inputs()["one image"], _tolerance(loaded))
    if loaded.model.dtype == torch.float16:
        return Finding(True, "LRP", "not in float16, in which gradients underflow")
    try:
        check_conservation(loaded, Question(asked.prepared[0], asked.alone[0].answer_ids))
    except FOREIGN as error:
        return Finding(True, "LRP", " ".join(str(error).split()))
    return Finding(True, "LRP", "conserves")
