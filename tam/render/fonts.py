"""Which font draws a grapheme cluster, chosen by the fonts' own character maps, and how wide text is in it.

XeLaTeX and Pillow take the same font file for the same cluster, so both show the same text at the same place.
"""

import importlib.util
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import fontTools.unicodedata as scripts
from fontTools.ttLib import TTFont
from PIL import ImageFont, features

# variation selectors, joiners and tags shape their neighbours; a font without them loses nothing visible
DROPPABLE = frozenset([0xFE0E, 0xFE0F, 0x200C, 0x200D, *range(0xE0020, 0xE0080)])
GENERAL = (
    "notosans",
    "notosanscjk",
    "notosansmath",
    "notosanssymbols2",
    "notosanssymbols",
    "notomusic",
    "symbola",
    "dejavusans",
    "unifont",
    "unifontupper",
)
NAMES = {"symbolahint": "symbola"}
CJK = ("Hani", "Hira", "Kana", "Hang", "Bopo")
RAQM = features.check("raqm")
EM = 256  # size at which widths are measured: large, so that hinting does not round them


@dataclass(frozen=True)
class Face:
    """A font file, the index in its collection, and the OpenType script tag to shape with ("" for none)."""

    path: str
    index: int = 0
    script: str = ""


def _folders() -> list[Path]:
    home = Path.home()
    folders = [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        Path(sys.prefix, "share/fonts"),
        Path("/Library/Fonts"),
        home / ".local/share/fonts",
        home / ".fonts",
        home / "Library/Fonts",
    ]
    spec = importlib.util.find_spec("matplotlib")  # its DejaVu Sans is there even where no font is installed
    places = (spec.submodule_search_locations if spec else None) or []
    return [*folders, *(Path(place, "mpl-data/fonts/ttf") for place in places)]


@cache
def installed() -> dict[str, str]:
    """Font files that we know how to use: simplified family name -> path, the bold cut before the regular one."""
    found: dict[str, str] = {}
    for folder in _folders():
        for path in sorted(folder.rglob("*.[ot]t[fc]")):
            family, _, style = path.stem.partition("-")
            family = "".join(filter(str.isalnum, family)).lower()
            family = NAMES.get(family, family)
            if style not in ("Bold", "Regular", "") or not family.startswith(
                ("noto", "symbola", "dejavusans", "unifont")
            ):
                continue
            if family not in found or (style == "Bold" and "-Bold" not in found[family]):
                found[family] = str(path)
    return found


@cache
def _coverage(path: str, index: int) -> frozenset[int]:
    font = TTFont(path, fontNumber=index, lazy=True)
    font.setGlyphOrder(range(font["maxp"].numGlyphs))  # their names, which take long to read, are not needed
    return frozenset(font.getBestCmap())


def _families(cluster: str) -> tuple[str, list[str]]:
    """The script of a cluster, and the families to try for it."""
    script = next((s for s in map(scripts.script, cluster) if s not in ("Zyyy", "Zinh", "Zzzz")), "Zyyy")
    own = [script] if script != "Zyyy" else sorted(scripts.script_extension(cluster[0]) - {"Zyyy", "Zinh"})
    names = [
        family + "".join(filter(str.isalnum, scripts.script_name(name))).lower()
        for name in own
        for family in ("notosans", "notoserif")
    ]
    if script in CJK:
        names.insert(0, "notosanscjk")
    return script, [*names, *GENERAL] if script not in ("Zyyy", "Latn") else [*GENERAL[:-4], *names, *GENERAL[-4:]]


@lru_cache(maxsize=100_000)
def choose(cluster: str) -> tuple[str, Face] | None:
    """The text to draw and the face that has all of it; None if no single font has."""
    needed = {ord(character) for character in cluster} - DROPPABLE
    script, families = _families(cluster)
    for family in families:
        path, index = installed().get(family), 2 if family == "notosanscjk" else 0  # in the collection: JP, KR, SC
        if needed and path is not None and needed <= _coverage(path, index):
            tag = "" if script == "Zyyy" else scripts.ot_tags_from_script(script)[0].strip()
            return "".join(c for c in cluster if ord(c) in _coverage(path, index)), Face(path, index, tag)
    return None


def has(face: Face, character: str) -> bool:
    return ord(character) in _coverage(face.path, face.index)


@cache
def label_face() -> Face:
    """The face of our own ASCII notes; fonts.choose cannot fail on it, as matplotlib brings one."""
    found = choose("0")
    assert found
    return found[1]


@cache
def pillow_font(face: Face, size: int) -> ImageFont.FreeTypeFont:
    engine = ImageFont.Layout.RAQM if RAQM else ImageFont.Layout.BASIC
    return ImageFont.truetype(face.path, size, index=face.index, layout_engine=engine)


# no ligatures across the letters of a token: what the token is must stay readable
LIGATURES_OFF = ["-liga", "-clig"] if RAQM else None


@lru_cache(maxsize=100_000)
def width(text: str, face: Face) -> float:
    """Advance of shaped text, in em."""
    return pillow_font(face, EM).getlength(text, features=LIGATURES_OFF) / EM


def is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
