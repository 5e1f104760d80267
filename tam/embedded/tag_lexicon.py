"""Tag the words of the grammar: ``python -m tam.embedded.tag_lexicon``, with NLTK's tagger among NLTK's data.

Needed once, or when the grammar changes, so that the default run needs no tagger.
"""

import json

import nltk

from tam.datasets.emoji import grammar
from tam.embedded import LEXICON
from tam.system.atomic import atomic


def lexicon() -> dict[str, str]:
    """Lower-case word -> Penn Treebank tag of the word alone, in the case in which the grammar writes it.

    A word that occurs in both cases is tagged in lower case; "There" occurs at the start of a sentence only.
    """
    ordered = sorted(grammar.words(), key=str.islower)
    return dict(sorted((word.lower(), nltk.pos_tag([word])[0][1]) for word in ordered))


if __name__ == "__main__":
    with atomic(LEXICON) as temporary:
        temporary.write_text(json.dumps(lexicon(), indent=0) + "\n", encoding="utf-8")
