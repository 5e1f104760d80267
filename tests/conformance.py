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
from tam.attribution.conservation import conserved
from tam.attribution.forced import forced
from tam.attribution.lrp import Course
from tam.cache import read_generations, write_generations
from tam.errors import InputError
from tam.generation.kept import generation_of
from tam.layout import Layout
from tam.manifest import Sample
from tam.maps import read_maps
from tam.media import Media
from tam.methods.cached import Cached
from tam.methods.registry import METHODS
from tam.methods.stage import write_maps
from tam.metrics.stage import score_sample
from tam.model.checkpoint import load
from tam.model.collate import with_answer
from tam.model.decoding import answer_batch
from tam.model.forced import forced_batch
from tam.model.loaded import Loaded
from tam.model.probe import paint, probe, vision_embeddings
from tam.model.prompt import Prepared, prepare
from tam.model.question import Question
from tam.protocol import FIXED
from tam.records import Generation, Maps, Piece, SampleMaps
from tests import tiny

DOCUMENT = Path(__file__).parents[1] / "docs/explained/families.md"
NOUNS = tagging.Language(lambda word: "NN", str, None, "all words are nouns")
WORDS, LIMIT, TOLERANCE = "What is in the image?", 6, 1e-4


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Blocks of noise: resizing leaves something of them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height))


def pictures(*sizes: tuple[int, int]) -> Media:
    return Media(False, tuple(picture(*size, seed) for seed, size in enumerate(sizes)), (0,) * len(sizes))


def film(size: tuple[int, int]) -> Media:
    return Media(True, tuple(picture(*size, seed) for seed in range(3)), (0, 5, 10))


# Two samples of different sizes each: one wide and one tall picture, and so on.
INPUTS: dict[str, tuple[Media, Media]] = {
    "one image": (pictures((168, 112)), pictures((90, 211))),
    "several images": (pictures((168, 112), (60, 90)), pictures((50, 60), (131, 300), (56, 56))),
    "video": (film((84, 56)), film((60, 120))),
}


@dataclass(frozen=True)
class Case:
    """A model, and two samples that it was asked about, together and one by one."""

    kind: str
    media: tuple[Media, Media]
    folder: Path

    @cached_property
    def loaded(self) -> Loaded:
        return tiny.loaded(self.kind)

    @cached_property
    def prepared(self) -> list[Prepared]:
        return [prepare(self.loaded.prompter, media, WORDS) for media in self.media]

    @cached_property
    def alone(self) -> list[Generation]:
        return [self.kept(one, answer_batch(self.loaded, [one], LIMIT)[0]) for one in self.prepared]

    def kept(self, prepared: Prepared, answer) -> Generation:
        return generation_of(self.loaded, Sample("s", [], WORDS), prepared, answer)


def maps_of(generation: Generation) -> np.ndarray:
    return METHODS["tam"].maps(Cached(generation)).maps


def same(one: Generation, other: Generation) -> None:
    """The same tokens, and logits and maps within the tolerance."""
    assert one.tokens.tolist() == other.tokens.tolist()
    assert np.abs(one.logits - other.logits).max() < TOLERANCE
    assert np.abs(maps_of(one) - maps_of(other)).max() < TOLERANCE


# ---- the checks


def words_are_found(case: Case) -> None:
    """The span of the prompt is the person's words."""
    for one in case.prepared:
        assert case.loaded.tokenizer.decode(one.tokens[one.layout.prompt]) == WORDS


def head_of_a_state_is_the_logits(case: Case) -> None:
    """What is kept of the states gives the model's own logits: of the prompt, and of every step."""
    for one in case.prepared:
        (answer,) = answer_batch(case.loaded, [one], LIMIT)
        inputs, length, head = one.inputs, len(one.tokens), case.loaded.head
        with torch.no_grad():
            assert torch.equal(head(answer.states[:length]), case.loaded.model(**inputs).logits[0])
            steps = case.loaded.model.generate(
                **inputs, max_new_tokens=LIMIT, do_sample=False, output_logits=True, return_dict_in_generate=True
            ).logits
            for state, logits in zip(answer.states[length - 1 :], steps, strict=True):
                assert torch.equal(head(state[None, None])[:, -1], logits)
        assert answer.candidates.ids[:, 0].tolist() == answer.ids.tolist()


def batch_is_one_by_one(case: Case) -> None:
    """Samples of different sizes, padded on the left, get what they get alone."""
    answers = answer_batch(case.loaded, case.prepared, LIMIT)
    for one, answer, alone in zip(case.prepared, answers, case.alone, strict=True):
        same(case.kept(one, answer), alone)


def eager_is_sdpa(case: Case) -> None:
    """Both implementations of attention give the same maps."""
    eager = tiny.loaded(case.kind, tiny.model(case.kind, attention="eager"))
    assert {eager.config.text_config._attn_implementation, case.loaded.config.text_config._attn_implementation} == {
        "eager", "sdpa",
    }  # fmt: skip
    for one, alone in zip(case.prepared, case.alone, strict=True):
        same(case.kept(one, answer_batch(eager, [one], LIMIT)[0]), alone)


def given_is_generated(case: Case) -> None:
    """An answer that is handed over is explained as one that was generated."""
    ids = [alone.answer_ids for alone in case.alone]
    given = forced_batch(case.loaded, case.prepared, ids)
    for one, answer, alone in zip(case.prepared, given, case.alone, strict=True):
        same(case.kept(one, answer), alone)


def last_layer_is_the_default(case: Case) -> None:
    """Layers are found: the last one gives what no choice gives, another one other logits to the same answer."""
    one, alone, last = case.prepared[0], case.alone[0], len(case.loaded.decoder.layers)
    same(case.kept(one, answer_batch(case.loaded, [one], LIMIT, last)[0]), alone)
    for answer in (
        answer_batch(case.loaded, [one], LIMIT, 1)[0],
        forced_batch(case.loaded, [one], [alone.answer_ids], 1)[0],
    ):
        inner = case.kept(one, answer)
        assert inner.tokens.tolist() == alone.tokens.tolist() and np.abs(inner.logits - alone.logits).max() > 0.1
        assert np.abs(inner.candidates.logits - alone.candidates.logits).max() < TOLERANCE
    for wrong in (0, last + 1):
        with pytest.raises(InputError, match=f"no such layer; got {wrong}; expected 1 to {last}"):
            forced_batch(case.loaded, [one], [alone.answer_ids], wrong)


def maps_survive_the_files(case: Case) -> None:
    """Maps are finite, say something, and are the same after cache and maps were written and read."""
    write_generations(case.folder / "0.h5", dict(enumerate(case.alone)), {}, "f00d")
    write_maps(case.folder / "0.h5", case.folder / "maps.h5", ["tam"], FIXED)
    read = [maps["tam"] for maps in read_maps(case.folder / "maps.h5")]
    for alone, cached, maps in zip(case.alone, read_generations(case.folder / "0.h5"), read, strict=True):
        same(cached, alone)
        assert np.isfinite(maps.maps).all() and np.ptp(maps.maps) > 0.1
        assert np.abs(maps.maps - maps_of(alone)).max() < 1e-3  # stored in half precision


def checkpoint_is_read_back(case: Case) -> None:
    """``save_pretrained``, then tam's own loading, gives the same answers."""
    case.loaded.model.save_pretrained(case.folder / "checkpoint")
    case.loaded.processor.save_pretrained(case.folder / "checkpoint")
    loaded = load(str(case.folder / "checkpoint"), device="cpu")
    assert loaded.family is case.loaded.family
    for media, alone in zip(case.media, case.alone, strict=True):
        one = prepare(loaded.prompter, media, WORDS)
        same(case.kept(one, answer_batch(loaded, [one], LIMIT)[0]), alone)


def painting_moves_the_right_token(case: Case) -> None:
    """The self-check: of a grid's tokens, that of a painted cell moves most."""
    for media in case.media:
        found = list(probe(case.loaded, media, 3))
        assert len(found) >= 2 and all(right for right, _ in found), [what for right, what in found if not right]


def taps_are_exact(case: Case) -> None:
    """The tap changes no logit; attention is what an eager model gives out; Grad-CAM is the cached logits."""
    eager = tiny.model(case.kind, attention="eager")
    for one, alone in zip(case.prepared, case.alone, strict=True):
        made = forced(case.loaded, Question(one, alone.answer_ids.astype(np.int32)), means=True, course=Course())
        ids = [alone.column(id) for id in np.concatenate([alone.prompt_ids, alone.answer_ids])]
        states, vision = made.states[0].detach(), made.places.vision
        found = gradcam(states, made.weights)[:, torch.cat([vision, made.places.states])]
        assert np.abs(found.numpy() - alone.logits[:, ids].T).max() < TOLERANCE
        with torch.no_grad():
            whole = with_answer(one, alone.answer_ids, case.loaded.family.answer_type).inputs
            given = eager(**whole, output_attentions=True).attentions
        for layer, attention in enumerate(given):
            assert (made.tap.all_means[layer] - attention[0].mean(0)).abs().max() < 1e-5
            assert (made.tap.row_means[layer] - attention[0].mean(0)[made.places.predicting]).abs().max() < 1e-5


def cp_lrp_conserves(case: Case) -> None:
    """The relevance of all that enters the decoder, biases and later injections counted, is the logit to 1e-4."""
    biases = [weight for name, weight in case.loaded.decoder.named_parameters() if name.endswith("bias")]
    for one, alone in zip(case.prepared, case.alone, strict=True):
        with torch.no_grad():  # they start at 0
            for number, bias in enumerate(biases):
                bias.copy_(torch.linspace(-0.3, 0.3, len(bias)).roll(number))
        found = conserved(case.loaded, Question(one, alone.answer_ids.astype(np.int32)))
        with torch.no_grad():
            for bias in biases:
                bias.zero_()
        assert abs(float(found.relevance.sum()) / found.logit - 1) < 1e-4


def painted_object_scores(case: Case) -> None:
    """A painted object's word map scores on it: what moves, as the map of a word, points at it, by the metrics."""
    for media, prepared, alone in zip(case.media, case.prepared, case.alone, strict=True):
        box = upper_right(prepared.layout)
        grid = prepared.layout.grids[-1]
        painted = prepare(case.loaded.prompter, paint(media, grid, box), WORDS)
        moved = np.linalg.norm(
            vision_embeddings(case.loaded, painted) - vision_embeddings(case.loaded, prepared), axis=1
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
    """Half of the last grid's rows and columns, in whole cells, on its picture."""
    grid = layout.grids[-1]
    left, top, right, bottom = grid.box
    width, height = layout.sizes[grid.medium]
    start = right - (right - left) * (grid.columns // 2) / grid.columns
    end = top + (bottom - top) * (grid.rows // 2) / grid.rows
    return round(start), round(max(top, 0)), round(min(right, width)), round(min(end, height))


CHECKS: list[Callable[[Case], None]] = [
    words_are_found, head_of_a_state_is_the_logits, batch_is_one_by_one, eager_is_sdpa, given_is_generated,
    last_layer_is_the_default, maps_survive_the_files, checkpoint_is_read_back, painting_moves_the_right_token,
    taps_are_exact, cp_lrp_conserves,
    painted_object_scores,
]  # fmt: skip


@cache
def verdict(kind: str, shown: str) -> str:
    """Yes after all checks have passed, no if the family refuses the input."""
    with TemporaryDirectory() as folder:
        case = Case(kind, INPUTS[shown], Path(folder))
        try:
            case.prepared  # noqa: B018
        except InputError:
            return "no"
        for check in CHECKS:
            check(case)
    return "yes"


# ---- the table


def table() -> str:
    lines = ["| model_type | transformers class | " + " | ".join(INPUTS) + " |", "|---" * (2 + len(INPUTS)) + "|"]
    for kind in tiny.KINDS:
        type_ = "llava (Pixtral's vision tower)" if kind == "pixtral" else kind
        cells = " | ".join(verdict(kind, shown) for shown in INPUTS)
        lines.append(f"| {type_} | `{tiny.CLASS[kind]}ForConditionalGeneration` | {cells} |")
    checks = [f"* {check.__name__.replace('_', ' ')}: {check.__doc__}" for check in CHECKS]
    return "\n".join([*lines, "", "A yes stands for these checks:", "", *checks])


def documented(text: str, made: str) -> str:
    """``text`` with what stands between the marks of the table replaced."""
    return re.sub(r"(?s)(<!-- support -->\n).*(\n<!-- /support -->)", lambda marks: marks[1] + made + marks[2], text)


if __name__ == "__main__":
    DOCUMENT.write_text(documented(DOCUMENT.read_text(encoding="utf-8"), table()), encoding="utf-8")
