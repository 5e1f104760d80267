"""Tiny models with a question and an answer that is given, for the tests of attribution."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import torch

from tam.check.asked import pictures
from tam.families.generic import FAMILY
from tam.generation.kept import generation_of
from tam.layout import Layout
from tam.manifest import Sample
from tam.media import Media
from tam.model.forced import forced_batch
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, prepare
from tam.model.question import Question
from tam.records import Generation
from tests import tiny

WORDS, ANSWER = "What is in the image?", "a cat sits on the mat"


@cache
def asked(kind: str = "qwen2_vl") -> tuple[Loaded, Question, Generation, Media]:
    """A model of a kind, a question with an answer of some tokens, what is kept of it, and what was shown."""
    return about(tiny.loaded(kind))


def about(loaded: Loaded, answer: str = ANSWER) -> tuple[Loaded, Question, Generation, Media]:
    media = pictures((112, 84))
    prepared = prepare(loaded.prompter, media, WORDS)
    ids = np.array(loaded.tokenizer(answer, add_special_tokens=False)["input_ids"], np.int32)
    (made,) = forced_batch(loaded, [prepared], [ids])
    return loaded, Question(prepared, ids), generation_of(loaded, Sample("s", [], WORDS), prepared, made), media


def text_only(model: torch.nn.Module, embeddings: torch.Tensor, id: int) -> tuple[Loaded, Question]:
    """A language model without pictures, and embeddings [1, sequence, width] that are answered by one token."""
    length, none = embeddings.shape[1], np.zeros(0, np.int32)
    processor = SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=0))
    whole = torch.cat([embeddings, torch.ones_like(embeddings[:, :1])], 1)
    prepared = Prepared({"inputs_embeds": whole}, np.zeros(length, np.int64), Layout(none, none, length, (), ()))
    return Loaded(model, processor, FAMILY), Question(prepared, np.array([id], np.int32))
