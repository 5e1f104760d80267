"""What passes from stage to stage: an answer with the logits that its maps need, scores, and the maps."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from tam.layout import Layout

OK = "ok"
TRUNCATED = "truncated"
FAILED = "failed: "

MAIN = "tam"  # the method that stands first where one is shown


@dataclass(frozen=True)
class Piece:
    """A vocabulary entry.

    Attributes:
        piece: the tokenizer's own string.
        text: decoded; part of a character is U+FFFD.
        bytes: what it stands for.
    """

    piece: str
    text: str
    bytes: bytes


@dataclass(frozen=True)
class GivenAnswer:
    """An answer that somebody else wrote.

    Attributes:
        text: as it is read.
        ids: its tokens, which are taken as they are; None where the text is all that is known.
        ended: whether it came to its end; None where nobody says: a text did, and ids did if they end so.
        prompt_tokens: how many tokens of the prompt whoever answered saw; None where nobody says.
        failed: why there is no answer, or None.
    """

    text: str
    ids: tuple[int, ...] | None = None
    ended: bool | None = None
    prompt_tokens: int | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Candidates:
    """The k most likely classes of a row, best first, for the rows of the prompt's words and of the answer.

    Attributes:
        ids: int32 [prompt + answer, k].
        logits: float32 [prompt + answer, k].
        logsumexp: float32 [prompt + answer], over the whole vocabulary: probability = exp(logit - logsumexp).
    """

    ids: np.ndarray
    logits: np.ndarray
    logsumexp: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """float64 [prompt + answer, k], over the whole vocabulary."""
        return np.exp(np.float64(self.logits) - self.logsumexp[:, None])


@dataclass(frozen=True)
class Generation:
    """One sample's answer, and the logits that its maps need.

    Attributes:
        id: the sample's.
        status: "ok", "truncated" (no end token within the limit) or "failed: why"; then every array is empty.
        prompt: the user's words.
        answer: decoded without special tokens; ``answer_with_special`` keeps them.
        tokens: int32 [sequence], prompt and answer without padding.
        layout: where its tokens are, in the sequence and on the pixels.
        classes: int32 [class], ascending vocabulary ids: those of the prompt's words, of the answer, of the last token
            of the prompt sequence, the most likely one at the first word of the prompt, and candidates of the answer.
        logits: float32 [vision + prompt + answer, class]. An answer's row is the state that predicts its token.
        candidates: what the model considered, by token.
        dtype: what the model computed the logits in, and what they are stored as: float32, float16 or bfloat16.
        retokenised_prompt, retokenised_answer: int32, the ids after decoding and tokenising once more.
        vocabulary: id -> piece, for every id that occurs above.
        end_tokens: ids of the answer that are special, such as the end of the sequence.
        row: the sample's row in the manifest.
    """

    id: str
    status: str
    prompt: str
    answer: str
    tokens: np.ndarray
    layout: Layout
    classes: np.ndarray
    logits: np.ndarray
    candidates: Candidates
    retokenised_prompt: np.ndarray
    retokenised_answer: np.ndarray
    vocabulary: dict[int, Piece]
    end_tokens: frozenset[int]
    answer_with_special: str = ""
    dtype: str = "float32"
    row: int = 0

    @classmethod
    def failure(cls, id: str, prompt: str, why: object, row: int = 0) -> "Generation":
        """A sample without an answer; ``why`` becomes its status, on one line."""
        none = np.zeros(0, np.int32)
        rows = np.zeros((0, 0), np.float32)
        return cls(
            id=id, status=FAILED + _line(why), prompt=prompt, answer="", tokens=none,
            layout=Layout(none, none, 0, (), ()), classes=none, logits=rows,
            candidates=Candidates(rows.astype(np.int32), rows, np.zeros(0, np.float32)),
            retokenised_prompt=none, retokenised_answer=none, vocabulary={}, end_tokens=frozenset(), row=row,
        )  # fmt: skip

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return self.status.startswith(FAILED)

    @property
    def prompt_ids(self) -> np.ndarray:
        """int32 [prompt], the ids of the user's words."""
        return self.tokens[self.layout.prompt]

    @property
    def answer_ids(self) -> np.ndarray:
        """int32 [answer], the generated ids with the end token."""
        return self.tokens[self.layout.answer :]

    @property
    def explained(self) -> int:
        """How many tokens have a map: those of the user's words, and of the answer."""
        return len(self.prompt_ids) + len(self.answer_ids)

    @cached_property
    def _columns(self) -> dict[int, int]:
        return {int(cls): index for index, cls in enumerate(self.classes)}

    def column(self, cls: int) -> int:
        """The column of ``logits`` that holds vocabulary id ``cls``; KeyError if it was not kept."""
        return self._columns[int(cls)]


@dataclass(frozen=True)
class Scores:
    """What a method says of one answer. Tokens: those of the user's words, then of the answer.

    Attributes:
        image: float32 [token, vision], signed; 0 of a token that is not explained.
        text: float32 [token, token], how much an earlier token (second axis) speaks for a later one; None: the method
            says nothing of text.
        explained: bool [token].
    """

    image: np.ndarray
    text: np.ndarray | None
    explained: np.ndarray


@dataclass(frozen=True)
class Maps:
    """Where one sample's tokens come from.

    Attributes:
        maps: float32 (float64 if exact) [token, vision], in [0, 1].
        uint8: [token, vision], ``maps`` x 255 without its fraction.
        relevance: float32 [token, row], how much an earlier token speaks for this one, on the scale of the image
            scores before the filter; 0 for the token itself and later ones.
        scale: float64 [token], the factor of the interference that was subtracted; NaN where none was.
        explained: bool [token]; of the others the method says nothing, and their maps are 0. None: all are.
    """

    maps: np.ndarray
    uint8: np.ndarray
    relevance: np.ndarray
    scale: np.ndarray
    explained: np.ndarray | None = None

    @classmethod
    def plain(cls, maps: np.ndarray, rows: int) -> "Maps":
        """Maps alone, float [token, vision] in [0, 1]: nothing was subtracted, and no word speaks for another."""
        maps = maps.astype(np.float32)
        none = np.zeros((len(maps), rows), np.float32), np.full(len(maps), np.nan)
        return cls(maps, (maps * 255).astype(np.uint8), *none)


@dataclass(frozen=True)
class SampleMaps:
    """One method's maps of one sample, as they are stored; every array is empty where the status is "failed: why".

    Attributes:
        id: the sample's.
        status: that of the answer, or "failed: why".
        maps: float16 [token, vision]; uint8, relevance, scale, explained: as in ``Maps``.
    """

    id: str
    status: str
    maps: np.ndarray
    uint8: np.ndarray
    relevance: np.ndarray
    scale: np.ndarray
    explained: np.ndarray | None = None

    @property
    def failed(self) -> bool:
        """Whether there are no maps."""
        return self.status.startswith(FAILED)


class SaysWhat(Protocol):
    """``Maps`` or ``SampleMaps``."""

    @property
    def explained(self) -> np.ndarray | None: ...


def unexplained(maps: SaysWhat) -> list[int]:
    """The tokens of which a method says nothing."""
    return [] if maps.explained is None else np.flatnonzero(~maps.explained).tolist()


def _line(why: object) -> str:
    """On one line, and in UTF-8 whatever the names of files are in."""
    return " ".join(str(why).split()).encode("utf-8", "backslashreplace").decode()
