"""From tokens to text on a page: display units, what is shown for what cannot be seen, and where every segment stands.

All lengths are pixels of the finished picture. Both back ends draw the same layout.
"""

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import fontTools.unicodedata as scripts
import numpy as np
import regex

from tam.render import fonts
from tam.render.colors import BLACK, JET, LATER, NOTE, WHITE, colored, for_text

MARGIN, FOOT = 8, 15
LARGE, SMALL, MANY = 25, 14, 120  # text sizes, and the number of tokens above which the small one is used
ASCENT, DESCENT, LEADING, SPACE = 0.88, 0.28, 1.25, 0.28  # of the text size
LABEL, LABEL_SIDES = 0.6, 0.66  # boxed labels: text size, and padding with frame in em of that size
CHUNK, CHUNK_EM, CLUSTERS, MARKS, CLUSTER = 12, 16, 160, 4, 12
TOP = 3

SHOWN = {
    "\n": "↵",
    "\t": "⇥",
    " ": "␣",
    "\x7f": "␡",
    **{chr(c): chr(0x2400 + c) for c in range(32) if c not in (9, 10)},
}
# Hangul fillers, Braille blank and an empty notehead have glyphs without ink
BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159")
# format characters that do show: signs that span the digits after them
SIGNS = frozenset(map(chr, [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD]))
JOINERS = "".join(map(chr, sorted(fonts.DROPPABLE)))
SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮーゝゞヽヾ々")
SPACELESS = ("Thai", "Laoo", "Khmr", "Mymr")  # scripts without spaces between words; the wide ones are told by width
# Arabic letters that do not join to the next one
RIGHT_JOINING = frozenset(map(chr, [
    0x621, *range(0x622, 0x626), 0x627, 0x629, *range(0x62F, 0x633), 0x648, *range(0x671, 0x678), *range(0x688, 0x69A),
    *range(0x6C0, 0x6CC), 0x6CD, 0x6CF, 0x6D2, 0x6D3, 0x6D5, 0x6EE, 0x6EF,
]))  # fmt: skip


@dataclass(frozen=True)
class TokenText:
    """A token's bytes; ``label`` is shown in a box instead of them (end of sequence)."""

    bytes: bytes
    label: str | None = None


@dataclass(frozen=True)
class GlyphRun:
    """Text in one face; without a face it is a boxed label."""

    text: str
    face: fonts.Face | None = None


@dataclass(frozen=True)
class Shaped:
    """A text made visible: clusters of runs; ``space``: one leading space, set as glue; ``newline``: ends the line."""

    clusters: tuple[tuple[GlyphRun, ...], ...]
    space: bool = False
    newline: bool = False
    lost: tuple[str, ...] = ()  # characters that no font has, shown as hex labels


@dataclass(frozen=True)
class Unit:
    """Tokens that can only be shown together (their bytes share a grapheme cluster)."""

    tokens: tuple[int, ...]
    text: str
    shaped: Shaped


@dataclass(frozen=True)
class Segment:
    """Runs at a place: left edge ``x``, baseline ``y``. ``unit`` indexes the colours of a page."""

    runs: tuple[GlyphRun, ...]
    unit: int
    size: int
    width: float
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class TextLayout:
    """Where the text of one sample stands; the same for each of its pages, so that the picture does not jump."""

    width: int
    height: int
    units: tuple[Unit, ...]
    segments: tuple[Segment, ...]
    foot: float  # baseline of the candidates

    def unit_of(self, token: int) -> int:
        return next(number for number, unit in enumerate(self.units) if token in unit.tokens)

    @property
    def lost(self) -> list[str]:
        return [character for unit in self.units for character in unit.shaped.lost]


@dataclass(frozen=True)
class Page:
    """One explained token: ``colors`` uint8 [units + 2, 3]; the last two are black and grey, for the foot."""

    layout: TextLayout
    current: int | None
    colors: np.ndarray
    foot: tuple[Segment, ...]


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _hex(text: str) -> GlyphRun:
    """Surrogate escapes are bytes that are no UTF-8."""
    return GlyphRun("".join(f"{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else f"{ord(c):X}" for c in text))


def _is_hidden(character: str) -> bool:
    category, code = unicodedata.category(character), ord(character)
    if character in SIGNS or code in fonts.DROPPABLE:
        return False
    invisible = category in ("Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp") or character in BLANK
    return invisible or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code < 0xFDF0  # the last two are no characters


def _faces(text: str) -> tuple[list[GlyphRun], list[str]]:
    """Runs for one cluster: in one font if any has it all, else a font a character, else a label."""
    if (chosen := fonts.choose(text)) is not None:
        return [GlyphRun(*chosen)], []
    if len(text) > 1:
        parts = [_faces(c) for c in text if ord(c) not in fonts.DROPPABLE] or [([_hex(text)], [])]
        return [run for runs, _ in parts for run in runs], [c for _, lost in parts for c in lost]
    return [_hex(text)], [text]


def _cluster(cluster: str) -> tuple[list[GlyphRun], list[str]]:
    if cluster == "\r\n":
        return _faces(SHOWN["\r"] + SHOWN["\n"])
    if cluster in SHOWN:
        runs, lost = _faces(SHOWN[cluster])
        return (runs, lost) if not lost else ([_hex(cluster)], [])
    if _is_hidden(cluster[0]) or all(ord(c) in fonts.DROPPABLE for c in cluster):
        rest = cluster[1:]
        runs, lost = _cluster(rest) if rest else ([], [])
        return [_hex(cluster[0]), *runs], lost
    marks = [i for i, c in enumerate(cluster) if fonts.is_mark(c) and ord(c) not in fonts.DROPPABLE]
    kept = cluster[: marks[MARKS]] if len(marks) > MARKS else cluster[:CLUSTER]
    hidden = len(cluster) - len(kept)
    bare = kept.lstrip(JOINERS)
    runs, lost = _faces("◌" + bare if fonts.is_mark(bare[0]) else kept)
    if not any(run_width(run, 1) for run in runs):  # marks that Unicode counts as symbols
        runs, lost = _faces("◌" + bare)
    return [*runs, GlyphRun(f"+{hidden}")] if hidden else runs, lost


@lru_cache(maxsize=50_000)
def shape(text: str) -> Shaped:
    """Make a text (surrogate escapes for bytes that are no UTF-8) visible; never empty."""
    space = text.startswith(" ") and text != " "
    # consecutive bytes that are no UTF-8 share one label
    clusters = regex.findall(r"[\udc80-\udcff]+|\X", text[space:])
    shown: list[tuple[GlyphRun, ...]] = []
    lost: list[str] = []
    for cluster in clusters[:CLUSTERS]:
        if "\udc80" <= cluster[0] <= "\udcff":
            shown.append((_hex(cluster[:CLUSTER]),))
            continue
        runs, missing = _cluster(cluster)
        shown.append(tuple(runs))
        lost += missing
    if len(clusters) > CLUSTERS:
        shown.append(tuple(_faces("…")[0]))
    return Shaped(tuple(shown) or ((GlyphRun("empty"),),), space, text.endswith(("\n", "\r")), tuple(lost))


def units(tokens: Sequence[TokenText], barriers: Sequence[int] = ()) -> list[Unit]:
    """Group tokens into display units. No unit reaches over a barrier (index of the first token behind it)."""
    groups: list[Unit] = []
    edges = {0, len(tokens), *barriers}
    for index, token in enumerate(tokens):
        if token.label is not None:
            edges |= {index, index + 1}
    for start, end in itertools.pairwise(sorted(edges)):
        if (label := tokens[start].label) is not None:
            groups.append(Unit((start,), "", Shaped(((GlyphRun(label),),))))
        else:
            groups += _merged(tokens[start:end], start)
    return groups


def _merged(tokens: Sequence[TokenText], first: int) -> Iterator[Unit]:
    """A unit ends where the end of a token is also the end of a grapheme cluster."""
    text = b"".join(token.bytes for token in tokens).decode("utf-8", "surrogateescape")
    ends, total = {0: 0}, 0  # byte offset -> character offset of each cluster's end
    for match in regex.finditer(r"\X", text):
        total += len(match.group().encode("utf-8", "surrogateescape"))
        ends[total] = match.end()
    offset, since, begin = 0, 0, 0
    for index, token in enumerate(tokens):
        offset += len(token.bytes)
        if offset in ends:
            shown = text[begin : ends[offset]]
            yield Unit(tuple(range(first + since, first + index + 1)), shown, shape(shown))
            since, begin = index + 1, ends[offset]


# ---- where it stands -------------------------------------------------------------------------------------------------


def run_width(run: GlyphRun, size: float) -> float:
    if run.face is None:
        return size * LABEL * (fonts.width(run.text, fonts.label_face()) + LABEL_SIDES)
    return size * fonts.width(run.text, run.face)


def join(clusters: Sequence[tuple[GlyphRun, ...]]) -> tuple[GlyphRun, ...]:
    """Runs of the same face become one, so that letters are shaped together."""
    runs = itertools.chain.from_iterable(clusters)
    return tuple(
        itertools.chain.from_iterable(
            part if face is None else (GlyphRun("".join(run.text for run in part), face),)
            for face, part in ((face, list(part)) for face, part in itertools.groupby(runs, lambda run: run.face))
        )
    )


def _segment(clusters: Sequence[tuple[GlyphRun, ...]], unit: int, size: int) -> Segment:
    runs = join(clusters)
    if sum(_is_rtl(run.text) for run in runs) > 1:
        runs = runs[::-1]
    return Segment(runs, unit, size, sum(run_width(run, size) for run in runs))


def _segments(shaped: Shaped, unit: int, size: int) -> list[Segment]:
    """Cut a unit where a line may break if it must."""

    def cut(clusters: Sequence[tuple[GlyphRun, ...]]) -> list[Segment]:
        segment = _segment(clusters, unit, size)
        if len(clusters) == 1 or (len(clusters) <= CHUNK and segment.width <= CHUNK_EM * size):
            return [segment]
        middle = CHUNK if len(clusters) > CHUNK else len(clusters) // 2
        return cut(clusters[:middle]) + cut(clusters[middle:])

    return cut(shaped.clusters)


def _is_rtl(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)


def _is_ltr(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("L", "EN") for c in text)


def _may_break(before: str, after: str) -> bool:
    """Between these two characters a line may break without a space (a small part of UAX 14)."""
    wide = [unicodedata.east_asian_width(c) in "WF" for c in (before, after)]
    spaceless = [scripts.script(c) in SPACELESS for c in (before, after)]
    closing = unicodedata.category(after) in ("Pe", "Pf", "Po") or after in SMALL_KANA or fonts.is_mark(after)
    opening = unicodedata.category(before) in ("Ps", "Pi")
    return (any(wide) or all(spaceless)) and not closing and not opening


def _joins(before: str, after: str) -> bool:
    """Whether an Arabic letter joins to the next one."""
    letters = all(scripts.script(c) == "Arab" and unicodedata.category(c) in ("Lo", "Lm") for c in (before, after))
    return letters and before not in RIGHT_JOINING and after != "\u0621"


def _keep_joined(segments: list[Segment], glued: list[bool]) -> list[Segment]:
    """Zero-width joiners on both sides of a cut keep the letters' joined shapes."""
    segments = list(segments)
    for i in range(1, len(segments)):
        (*head, left), (right, *tail) = segments[i - 1].runs, segments[i].runs
        if not glued[i] or left.face is None or left.face != right.face or not fonts.has(left.face, "\u200d"):
            continue
        if _joins(left.text[-1], right.text[0]):
            segments[i - 1] = replace(segments[i - 1], runs=(*head, replace(left, text=left.text + "\u200d")))
            segments[i] = replace(segments[i], runs=(replace(right, text="\u200d" + right.text), *tail))
    return [replace(segment, width=sum(run_width(run, segment.size) for run in segment.runs)) for segment in segments]


def _mirrored(line: list[Segment]) -> list[Segment]:
    """Runs of right-to-left segments change order about their middle; neutral ones between them go along.

    A simple part of UAX 9: paragraphs stay left to right, brackets are not paired.
    """
    texts = ["".join(run.text for run in segment.runs if run.face) for segment in line]
    kinds = ["R" if _is_rtl(text) else "L" if _is_ltr(text) or not text else "N" for text in texts]
    line = list(line)
    for match in regex.finditer("R(?:N*R)*", "".join(kinds)):
        part = range(*match.span())
        ends = line[part[0]].x + line[part[-1]].x + line[part[-1]].width
        for i in part:
            line[i] = replace(line[i], x=ends - line[i].x - line[i].width)
    return line


def _lines(segments: list[Segment], before: list[str], room: float, space: float) -> Iterator[list[Segment]]:
    """Greedy line breaking. ``before`` says for each segment: "space", "free", "none" or "break" (it starts a line)."""
    line: list[Segment] = []
    x = 0.0
    starts = [i for i, kind in enumerate(before) if kind != "none" or i == 0] + [len(segments)]
    for start, end in itertools.pairwise(starts):
        gap = space if before[start] == "space" and line else 0.0
        group = segments[start:end]
        width = sum(segment.width for segment in group)
        if line and (before[start] == "break" or (x + gap + width > room and width <= room)):
            yield line
            line, x, gap = [], 0.0, 0.0
        for segment in group:
            if line and x + gap + segment.width > room:  # a group wider than a line breaks where it must
                yield line
                line, x, gap = [], 0.0, 0.0
            line.append(replace(segment, x=MARGIN + x + gap))
            x, gap = x + gap + segment.width, 0.0
    if line:
        yield line


def _break_before(unit: Unit, previous: Unit | None, answer: int) -> str:
    if previous is None or previous.shaped.newline or unit.tokens[0] == answer:
        return "break"
    if unit.shaped.space:
        return "space"
    # boxed labels are no letters: a line may break beside them
    free = not previous.text or not unit.text or _may_break(previous.text[-1], unit.text[0])
    return "free" if free else "none"


def lay_out(tokens: Sequence[TokenText], prompt_count: int, width: int = 500) -> TextLayout:
    """Place the text of a sample on a page ``width`` pixels wide; prompt and answer start a line each."""
    size = LARGE if len(tokens) <= MANY else SMALL
    shown = units(tokens, [prompt_count] if 0 < prompt_count < len(tokens) else [])
    segments, before = [], []
    for number, (previous, unit) in enumerate(zip([None, *shown], shown, strict=False)):
        parts = _segments(unit.shaped, number, size)
        segments += parts
        before += [_break_before(unit, previous, prompt_count)] + ["none"] * (len(parts) - 1)
    segments = _keep_joined(segments, [kind == "none" for kind in before])
    placed: list[Segment] = []
    y = MARGIN + ASCENT * size
    for line in _lines(segments, before, width - 2 * MARGIN, SPACE * size):
        if placed:
            answer_starts = shown[line[0].unit].tokens[0] == prompt_count and placed[-1].unit != line[0].unit
            y += (LEADING + 0.3 * answer_starts) * size
        placed += [replace(segment, y=y) for segment in _mirrored(line)]
    foot = y + DESCENT * size + 0.9 * FOOT + ASCENT * FOOT
    height = int(np.ceil(foot + DESCENT * FOOT + MARGIN))
    return TextLayout(width, height, tuple(shown), tuple(placed), foot)


# ---- one page --------------------------------------------------------------------------------------------------------


def fitting(clusters: Sequence[tuple[GlyphRun, ...]], unit: int, size: int, room: float) -> Segment:
    """As many clusters as fit, with an ellipsis if not all do."""
    segment, end = _segment(clusters, unit, size), len(clusters)
    while segment.width > room and end > 1:
        end -= 1
        segment = _segment([*clusters[:end], tuple(_faces("…")[0])], unit, size)
    return segment


def note(text: str, unit: int, size: int) -> Segment:
    """A short ASCII text of ours."""
    return _segment([(GlyphRun(text, fonts.label_face()),)], unit, size)


def percent(probability: float) -> str:
    return "<1%" if probability < 0.005 else f"{probability:.0%}"


def _foot(candidates: Sequence[tuple[TokenText, float]], heading: str, layout: TextLayout) -> Iterator[Segment]:
    """The candidates in a row: heading in grey, then each text in black with its probability in grey."""
    black, grey = len(layout.units), len(layout.units) + 1
    shown = []
    for token, _ in candidates:
        made = shape(token.bytes.decode("utf-8", "surrogateescape"))
        shown.append(((GlyphRun(token.label),),) if token.label is not None else made.clusters)
    for i, (token, _) in enumerate(candidates):  # " dog" and "dog" must not look alike
        if token.bytes.startswith(b" ") and shown.count(shown[i]) > 1:
            shown[i] = (tuple(_faces(SHOWN[" "])[0]), *shown[i])
    title = note(heading, grey, FOOT)
    column = (layout.width - 2 * MARGIN - title.width - FOOT) / TOP
    yield replace(title, x=MARGIN, y=layout.foot)
    x = MARGIN + title.width + FOOT
    for clusters, (_, probability) in zip(shown, candidates, strict=True):
        number = note(percent(probability), grey, FOOT)
        text = fitting(clusters, black, FOOT, column - number.width - 1.35 * FOOT)
        yield replace(text, x=x, y=layout.foot)
        yield replace(number, x=x + text.width + 0.35 * FOOT, y=layout.foot)
        x += text.width + number.width + 1.35 * FOOT


def page(
    layout: TextLayout, token: int, relevance: np.ndarray | None, candidates: Sequence[tuple[TokenText, float]],
    heading: str = "", table: np.ndarray = JET,
) -> Page:  # fmt: skip
    """The page that explains a token: earlier units coloured by relevance [tokens], it in white, later ones grey; all
    grey without relevance, of a token that is not explained.

    Raises nothing for odd values: relevance outside [0, 1] is clipped, NaN counts as 0.
    """
    values = None if relevance is None else np.nan_to_num(np.asarray(relevance, dtype=np.float64))
    colors, inks = np.empty((len(layout.units) + 2, 3), np.uint8), for_text(table)
    for number, unit in enumerate(layout.units):
        if token in unit.tokens:
            colors[number] = WHITE
        elif values is None or unit.tokens[0] > token:
            colors[number] = LATER
        else:
            colors[number] = colored(values[list(unit.tokens)].max(), inks)
    colors[-2:] = BLACK, NOTE
    foot = tuple(_foot(candidates[:TOP], heading, layout)) if candidates else ()
    return Page(layout, layout.unit_of(token), colors, foot)
