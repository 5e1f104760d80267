"""Where parts of speech, noun lemmas and synonyms come from: NLTK's data, else the lexicon that comes along.

Nothing is ever downloaded. What was chosen has a name, which goes into the metrics file and under every table.
"""

import importlib.resources
import json
import string
import zipfile
import zlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from tam.errors import InputError
from tam.wordnet import WordNet

if TYPE_CHECKING:  # NLTK takes a quarter of a second to import
    from nltk.tag.perceptron import PerceptronTagger

Tagger = Callable[[str], str]
"""Word on its own -> Penn Treebank tag; "" where the tagger does not know the word."""

SentenceTagger = Callable[[Sequence[str]], list[str]]
"""The words of an answer -> their tags."""

Lemmatiser = Callable[[str], str]
"""Lower-case noun -> its singular, or the word itself."""

DEBIAN_WORDNET = Path("/usr/share/wordnet")
LEXICON = importlib.resources.files("tam.embedded") / "lexicon.json"
CACHED_WORDS = 1 << 16

# Plurals that no rule below gets right.
IRREGULAR = {
    "buses": "bus", "calves": "calf", "canoes": "canoe", "children": "child", "elves": "elf", "feet": "foot",
    "firemen": "fireman", "geese": "goose", "halves": "half", "hooves": "hoof", "knives": "knife", "leaves": "leaf",
    "lives": "life", "loaves": "loaf", "men": "man", "mice": "mouse", "oxen": "ox", "people": "person", "policemen":
    "policeman", "scarves": "scarf", "shelves": "shelf", "shoes": "shoe", "snowmen": "snowman", "teeth": "tooth",
    "thieves": "thief", "toes": "toe", "wives": "wife", "wolves": "wolf", "women": "woman",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """What the words of an answer are judged with.

    Attributes:
        tag, lemmatise: see Tagger and Lemmatiser.
        wordnet: which METEOR needs; None where there is none.
        name: what they are, for people.
        tag_sentence: tags words by their neighbours; None where each word is tagged alone.
    """

    tag: Tagger
    lemmatise: Lemmatiser
    wordnet: WordNet | None
    name: str
    tag_sentence: SentenceTagger | None = None


def choose(lexicon: Traversable = LEXICON, debian: Path = DEBIAN_WORDNET, *, sentences: bool = False) -> Language:
    """The best of what this machine has.

    With ``sentences`` words are tagged in the context of their sentence, where NLTK's tagger is; the lexicon has no
    context, and the name says so.

    Tags: NLTK's perceptron tagger, else ``lexicon`` (JSON, lower-case word -> tag). Lemmas: WordNet from NLTK's data,
    else from ``debian`` (the folder of Debian's wordnet-base), else rules.

    Raises:
        InputError: neither the tagger nor the lexicon is there, or NLTK's tagger or WordNet's archive is damaged.
    """
    from nltk.tag.perceptron import PerceptronTagger

    wordnet, source = _wordnet(debian)
    words = json.loads(lexicon.read_text(encoding="utf-8")) if lexicon.is_file() else {}
    if wordnet is None:
        lemmatise, lemmas = lambda word: rule_lemma(word, words), "lemmas by rules, no WordNet"
    else:
        lemmatise, lemmas = wordnet.lemma, f"WordNet {wordnet.version} of {source}"
    try:
        perceptron = PerceptronTagger()
    except LookupError:
        if not words:
            raise InputError(
                "neither NLTK's tagger nor the lexicon is there",
                where=lexicon,
                cure="set NLTK_DATA to a folder with taggers/averaged_perceptron_tagger_eng",
            ) from None
        tag, tags = lambda word: lexicon_tag(word, words), "tags of the embedded lexicon"
        tag_sentence = None
        if sentences:
            tags += " (words alone: it knows no sentence context)"
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        cure = "run `tam dataset nltk` again, into an empty folder"
        raise InputError("NLTK's tagger is damaged", got=error, cure=cure) from error
    else:
        tag, tags = lambda word: perceptron.tag([word])[0][1], "NLTK perceptron tagger"
        tag_sentence = (lambda answer: tag_sentences(answer, perceptron)) if sentences else None
        if sentences:
            tags += " in sentence context"
    cached = lru_cache(CACHED_WORDS)
    return Language(cached(tag), cached(lemmatise), wordnet, f"{tags}; {lemmas}", tag_sentence)


def tag_sentences(words: Sequence[str], tagger: "PerceptronTagger") -> list[str]:
    """Tags of the words of an answer, sentence by sentence; a word of full stops, "!" or "?" ends one."""
    tags, sentence = [], []
    for word in words:
        sentence.append(word)
        if not word.strip(".!?"):
            tags += tagger.tag(sentence)
            sentence = []
    return [tag for _, tag in tags + (tagger.tag(sentence) if sentence else [])]


def _wordnet(debian: Path) -> tuple[WordNet | None, str]:
    """The first of the places where NLTK looks for its data, else ``debian``; and whose it is."""
    import nltk.data

    for root in nltk.data.path:
        folder = Path(root, "corpora", "wordnet")
        archive = folder.with_name("wordnet.zip")
        if (folder / "data.noun").is_file():
            return WordNet(folder), "NLTK's data"
        if archive.is_file():
            try:
                return WordNet(zipfile.Path(archive, "wordnet/")), "NLTK's data"
            except zipfile.BadZipFile as error:
                cure = "remove it, and run `tam dataset nltk` again"
                raise InputError("a damaged archive", where=archive, got=error, cure=cure) from error
    return (WordNet(debian), "Debian") if (debian / "data.noun").is_file() else (None, "")


def rule_lemma(word: str, known: Container[str] = ()) -> str:
    """Singular of a lower-case English noun by its ending; of two possible singulars a ``known`` word comes first."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    candidates = [word[:-1]]
    if word.endswith("ies"):
        candidates.insert(0, word[:-3] + "y")
    elif word.endswith(("sses", "xes", "zzes", "ches", "shes", "oes")):
        candidates.insert(0, word[:-2])
    return next((candidate for candidate in candidates if candidate in known), candidates[0])


def lexicon_tag(word: str, lexicon: dict[str, str]) -> str:
    """Tag by look-up, without regard to case and outer punctuation; signs and numbers need no entry."""
    bare = word.strip(string.punctuation)
    if not any(character.isalnum() for character in bare):
        return "SYM"
    if all(character.isdigit() or character in ".,:" for character in bare):
        return "CD"
    return lexicon.get(bare.lower(), "")
