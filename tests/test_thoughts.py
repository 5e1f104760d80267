"""Options of the chat template, and answers of models that think before they speak."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tam import tagging
from tam.cache import read_generations, read_header
from tam.errors import InputError
from tam.explanation import explain
from tam.generation.again import again, same_question
from tam.generation.kept import generation_of
from tam.generation.stage import fingerprint_of, generate
from tam.manifest import Sample, Shard, write
from tam.metrics.language import LANGUAGE_METRICS, NO_CAPTION
from tam.metrics.stage import ANSWER, ground_sample, score_sample
from tam.model.prompt import prepare
from tam.model.question import answers_to, question
from tam.protocol import FIXED, REFERENCE
from tam.records import GivenAnswer
from tam.thoughts import caption_of, caption_starts
from tests import tiny
from tests.answers import END, generation
from tests.test_families import picture, pictures

OPTION = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>{% endif %}"
)
SIZE = (84, 56)


@pytest.fixture(scope="module")
def processor():
    """Of a model whose template opens its thoughts, or closes them where it is told to."""
    made = tiny.processor()
    made.tokenizer.add_tokens(["<think>", "</think>"])  # as Qwen's: added, not special
    made.chat_template += OPTION
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory, processor) -> Path:
    made = tmp_path_factory.mktemp("thinking")
    tiny.model(vocabulary=480).save_pretrained(made / "checkpoint")
    processor.save_pretrained(made / "checkpoint")
    picture(*SIZE).save(made / "a.png")
    write([Sample("a", ["a.png"], "a cat")], made / "manifest.jsonl")
    return made


def made(folder: Path, out: str, template: Mapping[str, object] | None):
    generate(
        folder / "manifest.jsonl", Shard(0, 1), str(folder / "checkpoint"), folder / out, max_new_tokens=3,
        device="cpu", template=template,
    )  # fmt: skip
    (found,) = read_generations(folder / out)
    return found, read_header(folder / out)


# ---- options of the template


def test_options_reach_the_template_are_kept_in_the_run_and_taken_up_again(folder, processor):
    (free, plain), (told, header) = (
        made(folder, *each) for each in (("free.h5", None), ("told.h5", {"enable_thinking": False}))
    )
    ends = [processor.tokenizer.decode(one.tokens[: one.layout.answer])[-40:] for one in (free, told)]
    assert ends[0].endswith("assistant\n<think>") and ends[1].endswith("assistant\n<think>\n\n</think>\n\n")
    assert header["run"]["template"] == {"enable_thinking": False} and "template" not in plain["run"]
    assert header["fingerprint"] != plain["fingerprint"]
    found = again(folder / "told.h5", folder / "manifest.jsonl", str(folder / "checkpoint"), device="cpu")
    same_question(told, found.prepare(found.load())(0))


def test_a_run_without_options_has_the_fingerprint_that_it_had():
    run = {"weights": "w", "dtype": "float32", "max_new_tokens": 6, "layer": None}
    assert fingerprint_of(run, {}, Path()) == "85f933694f8054f756a534c592d94c0f"
    assert fingerprint_of(run | {"template": {"a": 1}}, {}, Path()) != fingerprint_of(run, {}, Path())


def test_an_option_that_the_template_does_not_know_ends_the_stage(folder):
    with pytest.raises(InputError, match="the chat template has no such option; got enable_dreaming"):
        made(folder, "none.h5", {"enable_dreaming": True})
    with pytest.raises(InputError, match="no such option"):
        prepare(replace(tiny.loaded("paligemma").prompter, template={"a": 1}), pictures((56, 56)), "a cat")


def test_an_explanation_takes_options_too(processor):
    model, shown = tiny.model(vocabulary=480), picture(*SIZE)
    free, told = (
        explain(model, processor, shown, "a cat", max_new_tokens=2, template=template)
        for template in (None, {"enable_thinking": False})
    )
    assert told.generation.layout.answer > free.generation.layout.answer
    assert told.asked["template"] == {"enable_thinking": False} and "template" not in free.asked


# ---- where thoughts end

THINK, DONE = b"<think>", b"</think>"


@pytest.mark.parametrize(
    ("template", "answer", "start", "caption"),
    [
        ([b":"], [b" a", b" cat", END], 0, " a cat<|im_end|>"),
        ([b":"], [THINK, b"hm", DONE, b"\n\n", b" a", b" cat", END], 3, "a cat"),
        ([b":", THINK], [b"hm", DONE, b" a", b" cat"], 2, "a cat"),
        ([b":", THINK, DONE], [b" a", b" cat"], 0, " a cat"),
        ([b":", THINK], [b"hm", b" cat"], None, None),
        ([b":"], [THINK, b"hm"], None, None),
        ([b":"], [b" a", THINK, b"hm", DONE, b" cat", THINK, b"hm", DONE, b" dog"], 8, "dog"),
        ([b":", THINK], [b"hm", DONE, END], 2, ""),
    ],
)
def test_a_caption_is_what_stands_behind_the_thoughts(template, answer, start, caption):
    assert (caption_starts(thinking(template, answer)), caption_of(thinking(template, answer))) == (start, caption)


def thinking(template: list[bytes], answer: list[bytes]):
    """The user says "what", and the template the rest of the prompt."""
    whole = generation("a", [b"what", *template], answer)
    return replace(whole, layout=replace(whole.layout, prompt=whole.layout.prompt[:1]))


def test_a_word_of_the_user_opens_no_thoughts():
    assert caption_starts(generation("a", [b"what", THINK], [b" a", b" cat"])) == 0


def test_the_marks_of_the_template_are_in_the_vocabulary_of_the_cache(processor):
    loaded = replace(tiny.loaded(of=tiny.model(vocabulary=480)), processor=processor)
    prepared = prepare(loaded.prompter, pictures(SIZE), "a cat")
    (answer,) = answers_to(loaded, [question(loaded, prepared, GivenAnswer("a cat"))], 1)
    kept = generation_of(loaded, Sample("a", [], "a cat"), prepared, answer)
    assert "<think>" in {piece.text for piece in kept.vocabulary.values()} and caption_of(kept) is None


# ---- what is scored


def scored(answer: list[bytes], protocol) -> dict[str, object]:
    sample = Sample("a", ["a.png"], "what", references=["a cat"])
    _, rows = score_sample(sample, thinking([b":"], answer), {}, Path("m"), tagging.choose(sentences=False), protocol)
    return {row.metric: row.value if row.status == "ok" else row.status for row in rows[ANSWER]}


def test_thoughts_are_no_part_of_a_caption_and_lost_ones_are_counted_by_their_status():
    thoughtful = [THINK, b" a", b" horse", b" I", b" think", DONE, b" a", b" cat"]
    assert scored(thoughtful, FIXED)["rouge_l_standard"] == 1
    assert scored(thoughtful, REFERENCE)["rouge_l_standard"] < 1
    lost = scored([THINK, b" a", b" cat"], FIXED)
    assert [lost[metric] for metric in (*LANGUAGE_METRICS, "name_precision", "name_recall")] == [NO_CAPTION] * 5


def test_objects_that_were_only_thought_of_are_not_named(tmp_path):
    categories = {"horse": 1, "cat": 2}
    mask = np.full((30, 40), 2, np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    sample = Sample("a", ["a.png"], "what", mask="mask.png", categories=categories)
    thoughtful = thinking([b":"], [THINK, b" horse", b"\n", DONE, b" cat"])
    for protocol, precision in ((FIXED, 1), (replace(FIXED, thoughts_are_scored=True), 0.5)):
        _, rows = score_sample(sample, thoughtful, {}, tmp_path / "m", tagging.choose(sentences=False), protocol)
        assert [row.value for row in rows[ANSWER] if row.metric == "name_precision"] == [precision]


def test_what_was_only_thought_of_is_not_asked_for_its_truth(tmp_path):
    Image.fromarray(np.full((30, 40), 17, np.uint8)).save(tmp_path / "mask.png")
    sample = Sample("a", ["a.png"], "what", mask="mask.png", categories={"cat": 17, "dog": 18})
    judge = tagging.choose(sentences=False)
    rows = [
        ground_sample(sample, thinking([b":"], answer), {}, tmp_path / "m", judge, None)[ANSWER]
        for answer in ([THINK, b" dog", DONE, b" a", b" cat"], [THINK, b" dog"])
    ]
    assert [row.word for row in rows[0] if row.metric == "present"] == ["cat"] and rows[0][0].value == 0
    assert [row.status for row in rows[1]] == [NO_CAPTION]


def test_what_the_command_line_says_is_json_or_text():
    from tam.cli.options import chat_template

    assert chat_template(["enable_thinking=false", "level=high", 'a={"b": 1}', "n=2"]) == {
        "enable_thinking": False, "level": "high", "a": {"b": 1}, "n": 2,
    }  # fmt: skip
    assert chat_template([]) is None and chat_template(None) is None
    for wrong in ("enable_thinking", "=1"):
        with pytest.raises(InputError, match="no option of a chat template"):
            chat_template([wrong])
