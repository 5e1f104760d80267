"""What every family has to get right, on tiny random models of the real classes; ``docs/explained/families.md``.

``python -m tests.conformance`` writes its table anew.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from PIL import Image

from tam import tagging
from tam.attribution.cams import gradcam
from tam.attribution.conservation import check_conservation, conserved
from tam.attribution.forced import forced
from tam.attribution.lrp import Course
from tam.cache import read_generations, write_generations
from tam.check.asked import INPUTS, LIMIT, WORDS, Asked
from tam.check.checks import CHECKS, maps_of, same
from tam.check.model import HEAD, RULE, row
from tam.errors import InputError, ModelError
from tam.layout import Layout
from tam.manifest import Sample
from tam.maps import read_maps
from tam.media import Media
from tam.methods.stage import write_maps
from tam.metrics.stage import score_sample
from tam.model.checkpoint import load
from tam.model.collate import with_answer
from tam.model.decoding import answer_batch
from tam.model.forced import forced_batch
from tam.model.probe import paint, vision_embeddings
from tam.model.prompt import prepare
from tam.model.question import Question
from tam.protocol import FIXED
from tam.records import Generation, Maps, Piece, SampleMaps
from tests import tiny

DOCUMENT = Path(__file__).parents[1] / "docs/explained/families.md"
NOUNS = tagging.Language(lambda word: "NN", str, None, "all words are nouns")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """A tiny model of a kind, and two samples that it was asked about."""

    kind: str
    media: tuple[Media, Media]
    folder: Path

    @cached_property
    def asked(self) -> Asked:
        return Asked(tiny.loaded(self.kind), self.media, TOLERANCE)


def alike(one: Generation, other: Generation) -> None:
    same(one, other, TOLERANCE)


# ---- checks that take tiny models; those of any model are in tam/check/checks.py


@torch.no_grad()
def steps_are_the_librarys(case: Case) -> None:
    """Every step's logits are those of the library's own loop."""
    for one in case.asked.prepared:
        loaded, (answer,) = case.asked.loaded, answer_batch(case.asked.loaded, [one], LIMIT)
        steps = loaded.model.generate(
            **loaded.batch([one]), max_new_tokens=LIMIT, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        ).logits  # fmt: skip
        cap = loaded.config.get_text_config().to_dict().get("final_logit_softcapping")
        for state, logits in zip(answer.states[len(one.tokens) - 1 :], steps, strict=True):
            found = loaded.head(state)
            found = found if cap is None else cap * torch.tanh(found / cap)
            assert (found - logits[0]).abs().max() < TOLERANCE


def layers_that_are_none_are_refused(case: Case) -> None:
    """A layer that there is not is refused."""
    loaded, last = case.asked.loaded, len(case.asked.loaded.decoder.layers)
    for wrong in (0, last + 1):
        with pytest.raises(InputError, match=f"no such layer; got {wrong}; expected 1 to {last}"):
            forced_batch(loaded, case.asked.prepared[:1], [case.asked.alone[0].answer_ids], wrong)


def eager_is_sdpa(case: Case) -> None:
    """Both implementations of attention give the same maps."""
    eager = tiny.loaded(case.kind, tiny.model(case.kind, attention="eager"))
    configs = [one.config.text_config for one in (eager, case.asked.loaded)]
    assert [config._attn_implementation for config in configs] == ["eager", "sdpa"]
    for one, alone in zip(case.asked.prepared, case.asked.alone, strict=True):
        alike(case.asked.kept(one, answer_batch(eager, [one], LIMIT)[0]), alone)


def maps_survive_the_files(case: Case) -> None:
    """Maps are the same after cache and maps were written and read."""
    write_generations(case.folder / "0.h5", dict(enumerate(case.asked.alone)), {}, "f00d")
    write_maps(case.folder / "0.h5", case.folder / "maps.h5", ["tam"], FIXED)
    read = [maps["tam"] for maps in read_maps(case.folder / "maps.h5")]
    for alone, cached, maps in zip(case.asked.alone, read_generations(case.folder / "0.h5"), read, strict=True):
        alike(cached, alone)
        assert np.isfinite(maps.maps).all()
        assert np.abs(maps.maps - maps_of(alone)).max() < 1e-3  # stored in half precision


def checkpoint_is_read_back(case: Case) -> None:
    """``save_pretrained``, then tam's own loading, gives the same answers."""
    case.asked.loaded.model.save_pretrained(case.folder / "checkpoint")
    case.asked.loaded.processor.save_pretrained(case.folder / "checkpoint")
    loaded = load(str(case.folder / "checkpoint"), device="cpu")
    assert loaded.family is case.asked.loaded.family
    for media, alone in zip(case.media, case.asked.alone, strict=True):
        one = prepare(loaded.prompter, media, WORDS)
        alike(case.asked.kept(one, answer_batch(loaded, [one], LIMIT)[0]), alone)


def taps_are_exact(case: Case) -> None:
    """The tap changes no logit; attention is what an eager model gives out; Grad-CAM is the cached logits."""
    eager = tiny.model(case.kind, attention="eager")
    for one, alone in zip(case.asked.prepared, case.asked.alone, strict=True):
        made = forced(case.asked.loaded, Question(one, alone.answer_ids.astype(np.int32)), means=True, course=Course())
        ids = [alone.column(id) for id in np.concatenate([alone.prompt_ids, alone.answer_ids])]
        states, vision = made.states[0].detach(), made.places.vision
        found = gradcam(states, made.weights)[:, torch.cat([vision, made.places.states])]
        assert np.abs(found.numpy() - alone.logits[:, ids].T).max() < TOLERANCE
        with torch.no_grad():
            whole = with_answer(one, alone.answer_ids, case.asked.loaded.family.answer_type).inputs
            given = eager(**whole, output_attentions=True).attentions
        for layer, attention in zip(sorted(made.tap.all_means), given, strict=True):
            assert (made.tap.all_means[layer] - attention[0].mean(0)).abs().max() < 1e-5
            assert (made.tap.row_means[layer] - attention[0].mean(0)[made.places.predicting]).abs().max() < 1e-5


def cp_lrp_conserves_or_is_refused(case: Case) -> None:
    """CP-LRP: the relevance of all that enters the decoder, biases and later injections counted, is the logit to 1e-4;
    where it is not, it is refused."""
    try:
        conserves(case)
    except AssertionError:
        question = Question(case.asked.prepared[0], case.asked.alone[0].answer_ids.astype(np.int32))
        with pytest.raises(ModelError, match="does not conserve the logit, because of"):
            check_conservation(case.asked.loaded, question)


def conserves(case: Case) -> None:
    biases = [weight for name, weight in case.asked.loaded.decoder.named_parameters() if name.endswith("bias")]
    for one, alone in zip(case.asked.prepared, case.asked.alone, strict=True):
        with torch.no_grad():  # they start at 0
            before = [bias.clone() for bias in biases]
            for number, bias in enumerate(biases):
                bias.copy_(torch.linspace(-0.3, 0.3, len(bias)).roll(number))
        found = conserved(case.asked.loaded, Question(one, alone.answer_ids.astype(np.int32)))
        with torch.no_grad():
            for bias, its in zip(biases, before, strict=True):
                bias.copy_(its)
        assert abs(float(found.relevance.sum()) / found.logit - 1) < 1e-4


def painted_object_scores(case: Case) -> None:
    """A painted object's word map scores on it: what moves, as the map of a word, points at it, by the metrics."""
    ids = np.array(case.asked.loaded.tokenizer("two dogs", add_special_tokens=False)["input_ids"], np.int32)
    for media, prepared in zip(case.media, case.asked.prepared, strict=True):
        alone = case.asked.kept(prepared, *forced_batch(case.asked.loaded, [prepared], [ids]))
        box = upper_right(prepared.layout)
        grid = prepared.layout.grids[-1]
        painted = prepare(case.asked.loaded.prompter, paint(media, grid, box), WORDS)
        moved = np.linalg.norm(
            vision_embeddings(case.asked.loaded, painted) - vision_embeddings(case.asked.loaded, prepared), axis=1
        )
        width, height = prepared.layout.sizes[grid.medium]
        mask = np.zeros((height, width), np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = 1
        Image.fromarray(mask).save(case.folder / "mask.png")
        said = replace(alone, vocabulary=dict.fromkeys(alone.vocabulary, Piece(" cat", " cat", b" cat")))
        map_ = Maps.plain(np.tile(moved / moved.max(), (alone.explained, 1)), 0)
        maps = SampleMaps("s", "ok", map_.maps, map_.uint8, map_.relevance, map_.scale)
        place = str(grid.frames[0] if media.video else grid.medium)
        sample = Sample(
            "s", [], WORDS, kind="video" if media.video else "images", masks={place: "mask.png"}, categories={"cat": 1}
        )
        _, scored = score_sample(sample, said, {"moved": maps}, case.folder / "manifest.jsonl", NOUNS, FIXED)
        values = {row.metric: row.value for row in scored["moved"] if row.status == "ok"}
        assert values["pointing"] == 1 and min(values["obj_iou"], values["relevance_mass"]) > mask.mean()


def upper_right(layout: Layout) -> tuple[int, int, int, int]:
    """Half of the last grid's rows and columns, in whole cells and at least one, on its picture."""
    grid = layout.grids[-1]
    left, top, right, bottom = grid.box
    width, height = layout.sizes[grid.medium]
    start = right - (right - left) * max(grid.columns // 2, 1) / grid.columns
    end = top + (bottom - top) * max(grid.rows // 2, 1) / grid.rows
    return round(start), round(max(top, 0)), round(min(right, width)), round(min(end, height))


OF_TINY: list[Callable[[Case], None]] = [
    steps_are_the_librarys, layers_that_are_none_are_refused, eager_is_sdpa, maps_survive_the_files,
    checkpoint_is_read_back, taps_are_exact, cp_lrp_conserves_or_is_refused, painted_object_scores,
]  # fmt: skip


@cache
def verdict(kind: str, shown: str) -> str:
    """Yes after all checks have passed, no if the family refuses the input."""
    with TemporaryDirectory() as folder:
        case = Case(kind, INPUTS[shown], Path(folder))
        try:
            case.asked.prepared  # noqa: B018
        except InputError:
            return "no"
        for check in CHECKS:
            check(case.asked)
        for check_of_tiny in OF_TINY:
            check_of_tiny(case)
    return "yes"


# ---- the table


@cache
def has_lrp(kind: str) -> str:
    with TemporaryDirectory() as folder:
        try:
            conserves(Case(kind, INPUTS["one image"], Path(folder)))
        except AssertionError:
            return "no"
    return "yes"


def table() -> str:
    lines = [HEAD, RULE]
    for kind in tiny.KINDS:
        made = row(tiny.loaded(kind), [*(verdict(kind, shown) for shown in INPUTS), has_lrp(kind)])
        lines.append(made.replace("| llava |", "| llava (Pixtral's vision tower) |") if kind == "pixtral" else made)
    named = [*CHECKS, *OF_TINY]
    checks = [f"* {check.__name__.replace('_', ' ')}: {' '.join((check.__doc__ or '').split())}" for check in named]
    return "\n".join([*lines, "", "A yes stands for these checks:", "", *checks])


def documented(text: str, made: str) -> str:
    """``text`` with what stands between the marks of the table replaced."""
    return re.sub(r"(?s)(<!-- support -->\n).*(\n<!-- /support -->)", lambda marks: marks[1] + made + marks[2], text)


if __name__ == "__main__":
    DOCUMENT.write_text(documented(DOCUMENT.read_text(encoding="utf-8"), table()), encoding="utf-8")
