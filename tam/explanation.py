"""One question about one's own pictures or video: asked, mapped, and shown. ``tam.explain`` is the function here."""

import hashlib
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from tam.errors import InputError
from tam.evidence import Evidence, evidence_of
from tam.layout import Layout
from tam.manifest import Sample
from tam.media import Media, film_of, open_pictures, read_video
from tam.methods.cached import Cached
from tam.methods.candidates import candidate_maps, contrast
from tam.methods.core import check_cap
from tam.methods.method import Function, Method
from tam.methods.registry import find_all
from tam.methods.rivals import RIVALS
from tam.pictures import Picture, is_address, opened
from tam.protocol import FIXED
from tam.records import Generation, Maps, Scores, unexplained
from tam.selection import Place, Pooling, Selection, Wanted, check_pooling, places, pooled
from tam.system.mark import check_kind, free_name
from tam.words import groups

if TYPE_CHECKING:
    from tam.figures.explained import Arrangement, Drawing
    from tam.render.overlay import Panel

Part = Literal["prompt", "answer"]
PARTS: tuple[Part, ...] = get_args(Part)
Asked = str | Function | Method
KIND = "explanation"
BROKEN = "\ufffd"  # part of a character
PROMPT = "Write a one-sentence caption for this image:"


class _Look(NamedTuple):
    """How maps are drawn: colours uint8 [256, 3], their share, whether with an edge."""

    colors: np.ndarray
    share: float
    outline: bool


class Token(NamedTuple):
    """A token that is explained.

    Attributes:
        text: what it says, with its space; part of a character is U+FFFD.
        id: of the vocabulary.
        position: in the sequence.
        part: "prompt" (the person's words) or "answer".
        probability: that the model gave it where it was said; None in the prompt, which it did not say.
    """

    text: str
    id: int
    position: int
    part: Part
    probability: float | None


class Word(NamedTuple):
    """A word.

    Attributes:
        text: without white space.
        tokens: indices of its tokens (in ``Explanation.tokens``).
        part: "prompt" or "answer".
        evidence: how likely the model found it, and how much the picture speaks for it: evidence, not truth
            (docs/explained/grounding.md). None in the prompt, which the model did not say.
    """

    text: str
    tokens: tuple[int, ...]
    part: Part
    evidence: Evidence | None


Chosen = Wanted | Word | Selection
"""What can be shown: what is selected, a word of the explanation, or what was selected already."""


class Candidate(NamedTuple):
    """A token that the model considered.

    Attributes:
        text: what it says, with its space.
        id: of the vocabulary.
        probability: that the model gave it, over the whole vocabulary.
    """

    text: str
    id: int
    probability: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where each token of a question's words and of its answer comes from. Tokens: the prompt's, then the answer's.

    What it says of maps is of one method; ``of`` gives the same explanation by another.

    Attributes:
        generation: the answer, and the logits that maps are computed from.
        by_method: the maps of each method that was asked for.
        titles: method -> what people read.
        media: what the model was shown; of a video, the frames that were sampled.
        chances: float32 [answer], the probability of each token of the answer.
        model: the name of the model's class.
        method: whose maps are shown.
        asked: what was asked of which model, as JSON has it: tells this explanation from others.
        layer: of the decoder, from 1, whose states are mapped; None: the last.
        eci_cap: the most that the scale of interference may be; None: no limit.
    """

    generation: Generation
    by_method: Mapping[str, Maps]
    titles: Mapping[str, str]
    media: Media
    chances: np.ndarray
    model: str
    method: str
    asked: Mapping[str, object]
    layer: int | None = None
    eci_cap: float | None = None

    def of(self, method: str) -> "Explanation":
        """The same, shown by another of its methods; InputError: there is none of this name."""
        if method not in self.by_method:
            raise InputError("not a method of this explanation", got=repr(method), expected=" or ".join(self.by_method))
        return replace(self, method=method)

    @property
    def prompt(self) -> str:
        """The person's words."""
        return self.generation.prompt

    @property
    def answer(self) -> str:
        """Decoded, without special tokens."""
        return self.generation.answer

    @property
    def status(self) -> str:
        """ "ok", or "truncated": the answer has no end within the limit."""
        return self.generation.status

    @property
    def layout(self) -> Layout:
        """Where vision tokens are in the sequence, and on the pixels."""
        return self.generation.layout

    @property
    def maps(self) -> np.ndarray:
        """float32 [token, vision], in [0, 1]."""
        return self.by_method[self.method].maps

    @property
    def grids(self) -> list[np.ndarray]:
        """``maps``, cut into one float32 [token, rows, columns] for each grid of the layout."""
        return self.layout.split(self.maps)

    @property
    def relevance(self) -> np.ndarray:
        """float32 [token, token]: how much an earlier token (second axis) speaks for a later one."""
        return self.by_method[self.method].relevance

    @property
    def scale(self) -> np.ndarray:
        """float64 [token]: the factor of the interference that was subtracted; NaN where none was."""
        return self.by_method[self.method].scale

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """In the order of the rows of ``maps``: of the prompt's words, then of the answer with its end tokens."""
        made, prompt = self.generation, len(self.generation.prompt_ids)
        ids = np.concatenate([made.prompt_ids, made.answer_ids]).tolist()
        places = [*made.layout.prompt.tolist(), *range(made.layout.answer, len(made.tokens))]
        chances = [None] * prompt + self.chances.tolist()
        parts: list[Part] = ["prompt" if index < prompt else "answer" for index in range(len(ids))]
        texts = [made.vocabulary[id].text for id in ids]
        return tuple(map(Token, texts, ids, places, parts, chances))

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """Of the prompt, then of the answer; end tokens are in no word."""
        return tuple(
            Word(text, tokens, part, self._evidence(tokens) if part == "answer" else None)
            for part in PARTS
            for text, tokens in self._grouped(part)
        )

    @cached_property
    def candidates(self) -> tuple[tuple[Candidate, ...], ...]:
        """For each token, the likeliest, best first: of the answer, what was considered in its place; of the prompt,
        what was expected after it. They are those of the model's own output, whichever layer is mapped."""
        rows, vocabulary = self.generation.candidates, self.generation.vocabulary
        return tuple(
            tuple(Candidate(vocabulary[id].text, id, chance) for id, chance in zip(*row, strict=True))
            for row in zip(rows.ids.tolist(), rows.probabilities.tolist(), strict=True)
        )

    def select(self, what: Wanted | Word = None, pooling: Pooling = "mean") -> Selection:
        """Pool the maps of a token, a word, a phrase, what an expression matches, or the whole answer.

        All places that match are pooled together. They are sought in the answer, and only if there is none in the
        words of the prompt.

        Args:
            what: index of a token (from the end if negative); a word or phrase, in any case, that begins and ends with
                words; one of ``words``; a compiled expression, which is searched for in the text; None: all words of
                the answer.
            pooling: of the tokens' maps, "mean"; "max", at each vision token; "probability", a mean weighted by the
                probabilities of the tokens (equally where they have none: in the prompt).

        Raises:
            InputError: nothing matches, the method does not explain it, or an unknown pooling.
        """
        check_pooling(pooling)
        found = self._found(what)
        tokens = sorted({token for _, members in found for token in members})
        if silent := {*tokens} & {*unexplained(self.by_method[self.method])}:
            got = ", ".join(repr(self.tokens[token].text) for token in sorted(silent))
            raise InputError(
                "the method does not explain this", where=self.method, got=got, expected="a token of the answer"
            )
        map_ = pooled(self.maps[tokens], [self.tokens[token].probability for token in tokens], pooling)
        return Selection(tuple(text for text, _ in found), tuple(tokens), map_, tuple(self.layout.split(map_)))

    def candidate_map(self, token: Wanted, candidate: str) -> Selection:
        """The map of what the model considered in the place of a token of its answer, and did not say.

        It is what this method's map would be of that class at that place, with the interference of the same earlier
        tokens removed (docs/explained/candidates.md): by "tam", "eci", "rgf" and "activation".

        Args:
            token: as ``select`` takes it, at one place; of a word of several tokens, the first that had this candidate.
            candidate: its text, with or without white space around it, in any case: one of ``candidates``.

        Raises:
            InputError: several places, no such candidate there (it names those), or another method.
        """
        index, _, found = self._considered(token, candidate)
        (map_,) = candidate_maps(self._cached, [index], [found.id], self.method)
        return Selection((found.text.strip(),), (index,), map_, tuple(self.layout.split(map_)))

    def contrast(self, token: Wanted, candidate: str) -> Selection:
        """Where more speaks for what was said than for a candidate in its place (above 0), and where less (below 0).

        Both are on one scale, and from both the interference of the same earlier tokens is removed. Arguments and
        errors as ``candidate_map``.

        Returns:
            a signed selection, which ``overlay`` and ``figure`` draw in red and blue.
        """
        index, said, found = self._considered(token, candidate)
        map_ = contrast(self._cached, index, found.id, self.method)
        return Selection(
            (f"{said.strip()} less {found.text.strip()}",), (index,), map_, tuple(self.layout.split(map_)), signed=True
        )

    def overlay(
        self, what: Chosen = None, pooling: Pooling = "mean", *, colormap: str = "jet", alpha: float = 0.5,
        width: int | None = None, outline: bool = False,
    ) -> Image.Image:  # fmt: skip
        """The map of ``select`` over the media: one picture, with several pictures or frames beside each other.

        Args:
            what: as ``select`` takes it, or what ``candidate_map`` and ``contrast`` gave.
            colormap: "jet", "viridis", "magma" or "cividis". alpha: share of its colours, 0 to 1.
            width: mean width of a picture in pixels; None: its own.
            outline: draw the edge of what is above Otsu's threshold, which Obj-IoU counts; a difference has none.

        Raises:
            InputError: as ``select``; an unknown colour map, a share or a width that cannot be.
        """
        chosen = what if isinstance(what, Selection) else self.select(what, pooling)
        return Image.fromarray(self._drawn(chosen, self._look(colormap, alpha, outline), width, _peak([chosen])))

    def figure(
        self, words: Sequence[Chosen] | Chosen = None, methods: Sequence[str] | str | None = None, *,
        layout: "Arrangement" = "across", colormap: str = "jet", width: int = 1800, alpha: float = 0.5,
        prompt: bool = False, outline: bool = False,
    ) -> "Drawing":  # fmt: skip
        """A figure for a paper or a talk: what was shown, words under their maps, the answer in colours, a scale.

        Args:
            words: one or several, as ``select`` takes them, or what ``candidate_map`` and ``contrast`` gave, beside
                words of the one method that is shown; None: those of the answer with the highest peaks (``Evidence``),
                at most four, and no mark alone.
            methods: of ``by_method``, a row each; None: the one that is shown.
            layout: words "across", a row a method; or "down", a row a word with a column a method.
            width: in pixels, of a PNG. PDF and SVG hold the photo at its own resolution.
            prompt: whether the question stands above the answer. outline: as of ``overlay``.

        Returns:
            what has ``save(path)`` (.pdf, .svg, .png, .jpg, .webp) and shows itself in a notebook.

        Raises:
            InputError: as ``select`` and ``of``; an option that cannot be.
        """
        from tam.figures.explained import ARRANGEMENTS, Cell, explained_figure
        from tam.render.overlay import mosaic

        if layout not in ARRANGEMENTS:
            raise InputError("unknown layout", got=repr(layout), expected=" or ".join(ARRANGEMENTS))
        look = self._look(colormap, alpha, outline)
        shown = [self.of(name) for name in ([methods] if isinstance(methods, str) else methods or [self.method])]
        wanted: list[Any] = self._strongest(4) if words is None else [words]
        if isinstance(words, list | tuple) and not isinstance(words, Word):
            wanted = [*words]
        if len(shown) > 1 and any(isinstance(what, Selection) for what in wanted):
            raise InputError("maps of candidates are of one method", got=" and ".join(one.method for one in shown))
        chosen = [[what if isinstance(what, Selection) else one.select(what) for what in wanted] for one in shown]
        texts = [_title(one.texts) for one in chosen[0]]
        peak = _peak(chosen[0])
        over = [[one._drawn(its, look, 0, peak) for its in row] for one, row in zip(shown, chosen, strict=True)]
        titles = [self.titles[one.method] for one in shown]
        if layout == "across":
            several = len(shown) > 1
            rows = [
                (titles[row] if several else "", [Cell(*pair) for pair in zip(drawn, texts, strict=True)])
                for row, drawn in enumerate(over)
            ]
        else:
            rows = [
                (text, [Cell(drawn[column], titles[row]) for row, drawn in enumerate(over)])
                for column, text in enumerate(texts)
            ]
        said = [(word.text, self._rise(word)) for word in self.words if word.part == "answer"]
        question: list[tuple[str, float | None]] = [(text, None) for text in self.prompt.split()]
        picture = mosaic([panel.picture for panel in self._panels(0)])
        return explained_figure(picture, rows, [question, said] if prompt else [said], look.colors, width, peak)

    def _word_pictures(self, look: _Look, width: int) -> list[tuple[str, np.ndarray]]:
        """(word, RGB) of each word of the answer that the method explains."""
        own = int(np.mean([size[0] for size in self.layout.sizes]))
        return [
            (word.text, self._over(self.layout.split(self.maps[list(word.tokens)].mean(0)), look, min(width, own)))
            for word in self.words
            if word.part == "answer" and self._rise(word) is not None
        ]

    def _strongest(self, count: int) -> list[Chosen]:
        """The words of the answer with the highest peaks, in its order, each once; marks where it has nothing else."""
        first = {word.text.lower(): word for word in reversed(self.words) if word.part == "answer"}
        spoken = [word for word in first.values() if any(map(str.isalnum, word.text))]
        # Maps do not compare words: each is stretched on its own.
        peaks = {
            word.text: word.evidence.peak if word.evidence and self._rise(word) is not None else 0
            for word in spoken or first.values()
        }
        chosen = sorted(peaks, key=lambda text: -peaks[text])[:count]
        # A text with part of a character finds nothing, so that the word itself is taken.
        return [
            first[text.lower()] if BROKEN in text else text
            for text in dict.fromkeys(word.text for word in self.words)
            if text in chosen
        ]

    def _rise(self, word: Word) -> float | None:
        """The highest value of a word's map, the mean of its tokens'; None where the method does not explain it."""
        if {*word.tokens} & {*unexplained(self.by_method[self.method])}:
            return None
        return float(self.maps[list(word.tokens)].mean(0).max())

    def _look(self, colormap: str, alpha: float, outline: bool) -> _Look:
        from tam.render.colors import table

        if not 0 <= alpha <= 1:
            raise InputError("wrong share of colours", where="alpha", got=alpha, expected="0 to 1")
        return _Look(table(colormap), alpha, outline)

    def _panels(self, width: int | None) -> "list[Panel]":
        from tam.render.overlay import WIDEST, panels

        if width is not None and not 0 <= width <= WIDEST:
            raise InputError("wrong number", where="width", got=width, expected=f"at most {WIDEST} pixels")
        return panels(self.layout, self.media, width or 0)

    def _drawn(
        self, chosen: Selection, look: _Look, width: int | None, peak: float
    ) -> np.ndarray:  # fmt: skip
        from tam.render.overlay import difference, mosaic

        if not chosen.signed:
            return self._over(chosen.grids, look, width)
        return mosaic([difference(panel, chosen.grids, peak, look.share) for panel in self._panels(width)])

    def _over(self, grids: Sequence[np.ndarray], look: _Look, width: int | None) -> np.ndarray:
        from tam.render.overlay import above, mosaic, outlined, overlay

        panels = self._panels(width)
        over = [overlay(panel, grids, look.colors, look.share) for panel in panels]
        if look.outline:
            over = [outlined(*pair) for pair in zip(over, above(panels, grids), strict=True)]
        return mosaic(over)

    def __repr__(self) -> str:
        sizes = " + ".join(f"{width} x {height}" for width, height in self.layout.sizes)
        return (
            f"<Explanation of {self.answer[:60]!r} ({self.status}) by {self.titles[self.method]}:"
            f" {len(self.tokens)} tokens, {'video' if self.media.video else 'pictures'} of {sizes}, {self.model}>"
        )

    def _repr_png_(self) -> bytes:
        return self.figure()._repr_png_()

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which needs no server. Where scripts are not run, ``_repr_png_`` is shown."""
        page = html.escape(self.to_html())
        rights, style = "allow-scripts allow-downloads", "width:100%;height:720px;border:0"
        return f'<iframe srcdoc="{page}" sandbox="{rights}" style="{style}"></iframe>'

    def show(self) -> None:
        """Open the page in a browser."""
        import tempfile
        import webbrowser

        path = Path(tempfile.mkdtemp(prefix="tam-")) / "index.html"
        path.write_text(self.to_html(), encoding="utf-8")
        webbrowser.open(path.as_uri())

    def save(
        self, folder: Path | str, *, tokens: bool = False, colormap: str = "jet", width: int = 1200,
        outline: bool = False,
    ) -> Path:  # fmt: skip
        """Write ``sheet.png``, a picture a word of the answer, and the page ``index.html``, which has the maps of all
        methods.

        Args:
            tokens: a picture a token instead, of the question's words, too, and with TeX ``tokens.pdf``.
            colormap: of the pictures: "jet", "viridis", "magma" or "cividis".
            width: in pixels, of a picture under a word's map; a smaller one keeps its own.
            outline: of a word's map, as of ``overlay``.

        Returns:
            the folder of this explanation in ``folder``, named after the first file that was shown. An earlier one of
            the same question, model, answer and methods is replaced as a whole; beside another one its name gets a
            digest behind it.

        Raises:
            DiskError: a folder of that name is none of ours, or the disk is full.
        """
        from tam.render.folder import draw
        from tam.render.names import safe_id
        from tam.render.sample import Look

        said = {"answer": self.generation.answer_ids.tolist(), "methods": [self.method, *self.by_method]}
        mark = {"kind": KIND, **self.asked, **said}
        drawn = free_name(Path(folder), safe_id(self.generation.id), mark)
        words = None if tokens else self._word_pictures(self._look(colormap, 0.5, outline), width)
        draw(
            self.generation, self.by_method[self.method], self.media, drawn, mark, self.to_html(), Look(colormap), words
        )
        return drawn

    def to_npz(self, path: Path | str) -> None:
        """Write the maps of all methods, words and where vision tokens lie, as NumPy arrays
        (``docs/reference/export.md``). DiskError: another file lies there."""
        from tam.export.arrays import SIGN, write_npz
        from tam.system.atomic import atomic
        from tam.system.mark import check_file

        check_file(Path(path), SIGN)
        with atomic(Path(path)) as temporary, temporary.open("wb") as file:
            write_npz(file, self.generation, self.by_method)

    def to_html(self) -> str:
        """A page to hover over and to switch methods on, in one file that needs nothing beside it."""
        from tam import __version__
        from tam.page.single import single_page

        versions = {"tam": __version__, "torch": version("torch"), "transformers": version("transformers")}
        made = {**self.asked, "layer": self.layer, "dtype": self.generation.dtype, **versions}
        return single_page(self.generation, self.by_method, self.titles, self.media, self.method, made, FIXED.name)

    # ---- what a selection means

    def _span(self, part: Part) -> list[int]:
        """Indices of the tokens of a part but its end tokens."""
        return [
            index for index, token in enumerate(self.tokens)
            if token.part == part and token.id not in self.generation.end_tokens
        ]  # fmt: skip

    @property
    def _cached(self) -> Cached:
        return Cached(self.generation, FIXED, eci_cap=self.eci_cap)

    def _considered(self, what: Wanted, name: str) -> tuple[int, str, Candidate]:
        """A token of the answer, the text that it is part of, and what was considered in its place under this name."""
        found = self._found(what)
        if len(found) != 1:
            numbers = " or ".join(str(tokens[0]) for _, tokens in found)
            raise InputError(
                "several places",
                got=repr(getattr(what, "pattern", what)),
                expected=f"one token, by its number: {numbers}",
            )
        prompt, ((text, tokens),) = len(self.generation.prompt_ids), found
        if tokens[0] < prompt:
            raise InputError("what was considered is known of tokens of the answer", got=repr(text))
        kept = {index: [one for one in self.candidates[index] if one.id in self.generation.classes] for index in tokens}
        for index, known in kept.items():
            named = [one for one in known if one.text.strip().casefold() == str(name).strip().casefold()]
            if named:
                return index, text, next((one for one in named if one.text == name), named[0])
        expected = " or ".join(dict.fromkeys(repr(one.text.strip()) for known in kept.values() for one in known))
        raise InputError("no candidate here", where=repr(text), got=repr(name), expected=expected)

    def _evidence(self, tokens: Sequence[int]) -> Evidence:
        prompt = len(self.generation.prompt_ids)
        return evidence_of(self.generation, [token - prompt for token in tokens], self.layer)

    def _grouped(self, part: Part) -> Iterator[tuple[str, tuple[int, ...]]]:
        span = self._span(part)
        for text, members in groups([self.generation.vocabulary[self.tokens[index].id] for index in span]):
            yield text, tuple(span[member] for member in members)

    def _found(self, what: Wanted | Word) -> list[Place]:
        """(text, tokens) of each place that matches."""
        if isinstance(what, Word):
            return [(what.text, what.tokens)]
        if isinstance(what, Integral):
            what = int(what)
            count = len(self.tokens)
            if not -count <= what < count:
                raise InputError("no such token", got=what, expected=f"{-count} to {count - 1}")
            return [(self.tokens[what].text, (what % count,))]
        if not isinstance(what, str | re.Pattern | None):
            expected = "a word or phrase, a Word, the index of a token, or a compiled expression"
            raise InputError("this selects nothing", got=repr(what), expected=expected)
        said = re.compile(r"(?s).*\S") if what is None else what
        found = self._places("answer", said) or self._places("prompt", said)
        if not found:
            answer, prompt = (" ".join(text for text, _ in self._grouped(part)) for part in ("answer", "prompt"))
            raise InputError(
                "nothing matches", got=repr(getattr(what, "pattern", what)),
                expected=f"words of the answer: {answer} (or of the prompt: {prompt})",
            )  # fmt: skip
        return found

    def _places(self, part: Part, what: str | re.Pattern[str]) -> list[Place]:
        span = self._span(part)
        number = {index: place for place, index in enumerate(span)}
        pieces = [self.generation.vocabulary[self.tokens[index].id].bytes for index in span]
        words = [[number[index] for index in tokens] for _, tokens in self._grouped(part)]
        return [(text, tuple(span[place] for place in members)) for text, members in places(pieces, words, what)]


def _peak(chosen: Sequence[Selection]) -> float:
    """The greatest difference of those that are signed; 0 where none is."""
    return max((float(np.abs(one.map).max()) or 1.0 for one in chosen if one.signed), default=0.0)


def _title(texts: Sequence[str]) -> str:
    """What was selected, each text once."""
    return ", ".join(dict.fromkeys(texts))


def explain(
    model: Any, processor: Any = None, images: Sequence[Picture] | Picture = (), prompt: str = PROMPT, *,
    video: Path | str | Sequence[Picture] | None = None, answer: str | None = None,
    method: Asked | Sequence[Asked] = "tam", layer: int | None = None, eci_cap: float | None = None,
    max_new_tokens: int = 256, turns: Sequence[Sequence[str]] = (), max_pixels: int | None = None,
    template: Mapping[str, Any] | None = None, load: str | None = None,
) -> Explanation:  # fmt: skip
    """Ask a loaded model about pictures or a video, and map every token of its answer (and of the question).

    The answer is greedy. Nothing is kept between calls; hooks, the model's mode and its configs are left as they were.

    Args:
        model: of transformers, of a supported family (``docs/explained/families.md``), on any device, in any dtype. Or
            a name alone: "embedded", a folder, a model of the hub, which is loaded for this one question.
        processor: the model's; None where the model is a name.
        images: one picture or several, in the order in which they are shown: files, PIL's, arrays, tensors, bytes, or
            http(s) addresses, which are fetched.
        prompt: the person's words.
        video: in place of images: a file, sampled as the processor does, or its frames, which are shown as they are.
        answer: explain this text, whoever wrote it, instead of what the model would answer.
        method: by which tokens are explained: a name ("tam", "eci", "activation", ...;
            ``docs/explained/evaluation.md``), one of one's own by its place ("my_methods.py:inverse"), a function or a
            ``tam.Method``; or several of them, whose first is shown first.
        layer: of the decoder, from 1, whose states (through the final norm) are mapped; None: the last, as the paper.
        eci_cap: the most that the scale of subtracted interference may be: 0 subtracts nothing; None: no limit, as in
            the paper.
        max_new_tokens: the longest answer; a longer one is "truncated".
        turns: (the person's words, the answer) of each earlier turn of the conversation.
        max_pixels: of a picture or frame; a larger one is shown smaller.
        template: options of the chat template's own, such as ``{"enable_thinking": False}``.
        load: of a model that is named: "8bit" or "4bit", which bitsandbytes makes of its weights.

    Raises:
        InputError: media, texts or numbers that cannot be used. ModelError: a model of an unsupported kind.
        UnicodeEncodeError: half a pair of surrogates in a text.
        LayoutError: vision tokens are not where the family says. NotFiniteError: logits are NaN or infinite.
    """
    methods = find_all([method] if isinstance(method, str | Method) or callable(method) else method)
    check_cap(eci_cap, FIXED)
    check_layer_of(methods, layer)
    if not methods:
        raise InputError("no method", cure="leave it out, and it is TAM")
    if max_new_tokens < 1:
        raise InputError("wrong number", where="max_new_tokens", got=max_new_tokens, expected="1 or more")
    if max_pixels is not None and max_pixels < 1:
        raise InputError("wrong number", where="max_pixels", got=max_pixels, expected="1 or more, or None")
    _check_texts(prompt, "" if answer is None else answer, turns)
    if video is not None and not isinstance(video, str | Path):
        video = _frames(video)
    # with torch and the families, which somebody who only looks for a name here does without
    from tam.generation.answer import ask
    from tam.model.loaded import Loaded

    if isinstance(model, str | Path):
        model, processor = _loaded(str(model), load)
    elif load is not None:
        raise InputError("the model is loaded already", where="load", got=repr(load), cure="give its name alone")
    loaded = Loaded.of(model, processor, max_pixels, template)
    images = list(images) if isinstance(images, list | tuple) else [images]
    media, sample = (
        _media(images, video, processor),
        Sample(_name(images, video), [], prompt, turns=[list(turn) for turn in turns]),
    )
    generation, chances = ask(loaded, sample, media, max_new_tokens=max_new_tokens, answer=answer, layer=layer)
    scores: dict[str, Scores] = {}
    if rivals := [one.name for one in methods if one.name in RIVALS]:
        from tam.attribution.answer import scores_for

        scores = scores_for(loaded, sample, media, generation, rivals)
    cached = Cached(generation, FIXED, eci_cap=eci_cap, scores=scores)
    maps = {one.name: one.maps(cached) for one in methods}
    titles = {one.name: one.title for one in methods}
    asked = {
        "pictures": [_digest(picture) for picture in media.pictures], "prompt": prompt, "turns": sample.turns,
        "model": str(loaded.config.name_or_path), "weights": loaded.weights,
        "layer": layer and int(layer), "eci_cap": eci_cap and float(eci_cap),
    } | ({"template": dict(template)} if template else {})  # fmt: skip
    name = type(loaded.model).__name__
    return Explanation(generation, maps, titles, media, chances, name, methods[0].name, asked, layer, eci_cap)


def _check_texts(prompt: object, answer: object, turns: object) -> None:
    """Raises: InputError: no texts. UnicodeEncodeError: half a pair of surrogates, of which tokenizers say only that it
    is no text."""
    texts = [("prompt", prompt), ("answer", answer)]
    for turn in turns if isinstance(turns, list | tuple) else [turns]:
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            raise InputError("a turn is not the user's words and the answer", got=turns, expected="pairs of texts")
        texts += [("turns", part) for part in turn]
    for where, text in texts:
        if not isinstance(text, str):
            raise InputError("not a text", where=where, got=repr(text), expected="str")
        text.encode("utf-8")


def _frames(video: Any) -> list[Picture]:
    """Pictures in a list, or in an array or tensor [frame, height, width, 3]; InputError: another thing."""
    shape = getattr(video, "shape", None)
    if not isinstance(video, list | tuple) and len(shape or ()) != 4:
        got = type(video).__name__ if shape is None else f"{type(video).__name__} {tuple(shape)}"
        expected = "a file, a list of pictures, or an array [frame, height, width, 3]"
        raise InputError("not a video", where="video", got=got, expected=expected)
    return list(video)


def _loaded(name: str, bits: str | None) -> tuple[Any, Any]:
    from tam.embedded import CHECKPOINT
    from tam.model.checkpoint import load

    loaded = load(str(CHECKPOINT) if name == "embedded" else name, load=bits)
    return loaded.model, loaded.processor


def check_layer_of(methods: Sequence[Method], layer: int | None) -> None:
    """Raises: InputError: a method that needs scores, which are of the last layer, and another layer."""
    scored = [one.name for one in methods if one.needs == "scores"]
    if scored and layer is not None:
        raise InputError("these methods explain the last layer", got=" and ".join(scored), cure="leave out the layer")


def check_folder(folder: Path, first: Path) -> None:
    """Whether ``save`` can write an explanation of this file, the first that is shown, into ``folder``.

    Raises:
        DiskError: a folder of its name is none of ours.
    """
    from tam.render.names import safe_id

    check_kind(folder / safe_id(first.stem), KIND)


def _media(images: Sequence[Picture], video: Path | str | Sequence[Picture] | None, processor: Any) -> Media:
    if bool(images) == (video is not None):
        got = "both" if images else "neither"
        raise InputError("a question needs pictures or a video", got=got, expected="images=[...] or video=...")
    if video is None:
        return Media(False, open_pictures([opened(image) for image in images]), (0,) * len(images))
    if isinstance(video, str | Path):
        from tam.model.video import sampling_of

        return read_video(Path(video), sampling_of(processor))
    if not video:
        raise InputError("a video without frames")
    return film_of(open_pictures([opened(frame) for frame in video]))


def _digest(picture: Image.Image) -> str:
    return hashlib.sha256(f"{picture.mode} {picture.size}".encode() + picture.tobytes()).hexdigest()[:16]


def _name(images: Sequence[Picture], video: Path | str | Sequence[Picture] | None) -> str:
    first = video if isinstance(video, str | Path) else [*images, *(video or ())][0]
    if not isinstance(first, str | Path):
        return KIND
    return Path(urlsplit(str(first)).path if is_address(first) else first).stem or KIND
