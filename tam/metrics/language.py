"""How near is the answer to the reference captions? ROUGE-L and METEOR as the published evaluation computes them."""

from collections.abc import Sequence

from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.translate.meteor_score import meteor_score
from rouge import Rouge

from tam.metrics.rows import Row, whole

NO_WORDNET = "unavailable: no WordNet"
_ROUGE = Rouge(metrics=["rouge-l"], stats=["f"])


def language(answer: str, references: Sequence[str], wordnet: WordNetCorpusReader | None) -> list[Row]:
    """rouge_l and meteor of an answer without special tokens; a status where the published code raises."""
    problem = ""
    if not references:
        problem = "no reference"
    elif not answer.strip("."):
        problem = "empty answer"
    elif not all(reference.strip(".") for reference in references):
        problem = "empty reference"
    if problem:
        return [whole("rouge_l", problem), whole("meteor", problem)]
    return [
        whole("rouge_l", rouge_l(answer, references)),
        whole("meteor", NO_WORDNET if wordnet is None else meteor(answer, references, wordnet)),
    ]


def rouge_l(answer: str, references: Sequence[str]) -> float | str:
    """F of package ``rouge`` (summary level, case matters, full stops end sentences), the best of the references.

    Google's ``rouge-score`` is another measure with other numbers; never put the two in one column.
    """
    try:
        return max(_ROUGE.get_scores(answer, reference)[0]["rouge-l"]["f"] for reference in references)
    except RecursionError:  # the package walks the alignment recursively, a word a step
        return "too long for ROUGE-L"


def meteor(answer: str, references: Sequence[str], wordnet: WordNetCorpusReader) -> float:
    """METEOR of NLTK over lower-case words split at white space, so punctuation stays attached."""
    return meteor_score(
        [reference.lower().split() for reference in references], answer.lower().split(), wordnet=wordnet
    )
