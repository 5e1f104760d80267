"""How near is the answer to the reference captions? ROUGE-L and METEOR as the published evaluation computes them.

ROUGE-L exists in two kinds with other numbers, so it has two names: ``rouge_l`` is what was published with, and
``rouge_l_standard`` what the rest of the field means.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import whitespace
from types import SimpleNamespace

from rouge import Rouge

from tam.rows import Row, whole
from tam.tagging import CACHED_WORDS
from tam.wordnet import WordNet

LANGUAGE_METRICS = ("rouge_l", "rouge_l_standard", "meteor")
NO_CAPTION = "never left its thoughts"
NO_LATIN = "no Latin letters"
NO_WORDNET = "unavailable: no WordNet"
_ROUGE = Rouge(metrics=["rouge-l"], stats=["f"])


def language(
    answer: str | None, references: Sequence[str], wordnet: WordNet | None, *, blank_scored: bool = False
) -> list[Row]:
    """Three rows about an answer without special tokens; a status where there is nothing to compare, or no answer.

    Args:
        blank_scored: texts of full stops and white space have scores; only those of full stops alone, for which the
            published code raises, have a status.
    """
    blank = "." if blank_scored else f".{whitespace}"
    problem = ""
    if answer is None:
        return [whole(metric, NO_CAPTION) for metric in LANGUAGE_METRICS]
    if not references:
        problem = "no reference"
    elif not answer.strip(blank):
        problem = "empty answer"
    elif not all(reference.strip(blank) for reference in references):
        problem = "empty reference"
    if problem:
        return [whole(metric, problem) for metric in LANGUAGE_METRICS]
    return [
        whole("rouge_l", rouge_l(answer, references)),
        whole("rouge_l_standard", rouge_l_standard(answer, references)),
        whole("meteor", NO_WORDNET if wordnet is None else meteor(answer, references, wordnet)),
    ]


def rouge_l(answer: str, references: Sequence[str]) -> float | str:
    """F of package ``rouge`` (summary level, case matters, full stops end sentences), the best of the references."""
    try:
        return max(_ROUGE.get_scores(answer, reference)[0]["rouge-l"]["f"] for reference in references)
    except RecursionError:  # the package walks the alignment recursively, a word a step
        return "too long for ROUGE-L"


def rouge_l_standard(answer: str, references: Sequence[str]) -> float | str:
    """F1 of the longest common subsequence of words, the best of the references.

    Lin: ROUGE, ACL Workshop 2004, as Google's ``rouge-score`` computes ``rougeL`` without stemming: words are runs of
    a-z and 0-9 in lower case. A status where the answer, or every reference, has no such word: texts in other scripts
    cannot be compared so.
    """
    said, expected = words(answer), [*filter(None, map(words, references))]
    if not said or not expected:
        return NO_LATIN
    # = 2PR / (P + R)
    return max(2 * longest_common_subsequence(said, one) / (len(said) + len(one)) for one in expected)


def words(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length."""
    lengths = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for index, other in enumerate(second, 1):
            above = lengths[index]
            lengths[index] = diagonal + 1 if word == other else max(above, lengths[index - 1])
            diagonal = above
    return lengths[-1]


def meteor(answer: str, references: Sequence[str], wordnet: WordNet) -> float:
    """METEOR of NLTK over lower-case words split at white space, so punctuation stays attached."""
    score, tools = _nltk_meteor(wordnet)
    return score([reference.lower().split() for reference in references], answer.lower().split(), **tools)


@lru_cache(1)
def _nltk_meteor(wordnet: WordNet) -> tuple[Callable[..., float], dict[str, object]]:
    """NLTK's function, and what it asks for stems and synonyms, each word once: captions share their words."""
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    cached = lru_cache(CACHED_WORDS)
    synsets = cached(lambda word: [_Synset([_Lemma(name) for name in names]) for names in wordnet.synonyms(word)])
    return meteor_score, {
        "stemmer": SimpleNamespace(stem=cached(PorterStemmer().stem)),
        "wordnet": SimpleNamespace(synsets=synsets),
    }


@dataclass(frozen=True)
class _Lemma:
    """What METEOR asks of NLTK's."""

    text: str

    def name(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Synset:
    """What METEOR asks of NLTK's."""

    words: list[_Lemma]

    def lemmas(self) -> list[_Lemma]:
        return self.words
