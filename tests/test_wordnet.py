"""WordNet read a word at a time finds what NLTK's reader finds, which reads it whole."""

import random
import shutil
import warnings
import zipfile

import nltk
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.translate.meteor_score import meteor_score

from tam import tagging
from tam.errors import InputError
from tam.metrics.language import meteor
from tam.wordnet import FILES, WordNet

ENDINGS = ("s", "es", "ies", "ves", "men", "ed", "ing", "er", "est")
NONSENSE = ("", " ", "s", "ses", "men", "zyx", "a b", "  1", "\n", "\0", "zzzzzz", "\u732b", "dog\n", "Dog", "DOGS")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Debian's files, and two more that NLTK's reader wants: names of topics, and an index that may be empty."""
    if not (tagging.DEBIAN_WORDNET / "data.noun").is_file():
        pytest.skip("no Debian wordnet-base")
    root = tmp_path_factory.mktemp("nltk_data") / "corpora" / "wordnet"
    shutil.copytree(tagging.DEBIAN_WORDNET, root)
    (root / "lexnames").write_text("".join(f"{index:02d} topic{index} 0\n" for index in range(45)))
    (root / "index.sense").touch()
    return root


@pytest.fixture(scope="module")
def whole(folder):
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has no other languages
        patch.setattr(nltk.data, "path", [str(folder.parents[1])])
        yield WordNetCorpusReader(str(folder), None)


@pytest.fixture(scope="module")
def words(folder, whole):
    """A seeded sample of lemmas, all exceptions, some with endings, some that are none."""
    chance = random.Random(0)
    lemmas = chance.sample(sorted(whole.all_lemma_names()), 2000)
    lemmas += [sorted(whole.all_lemma_names(part))[place] for part in FILES for place in (0, 1, -2, -1)]
    exceptions = [line.split()[0] for path in folder.glob("*.exc") for line in path.read_text().splitlines()]
    inflected = [word + ending for word in lemmas[::4] for ending in ENDINGS]
    return [*lemmas, *chance.sample(exceptions, 1000), *inflected, *NONSENSE]


def test_synonyms_and_lemmas_are_those_of_nltks_reader(folder, whole, words):
    wordnet = WordNet(folder)
    for word in words:
        assert wordnet.synonyms(word) == [synset.lemma_names() for synset in whole.synsets(word)], word
        assert wordnet.lemma(word) == min(whole._morphy(word, "n"), key=len, default=word), word


def test_meteor_is_that_of_nltks_reader(folder, whole, words):
    wordnet, chance = WordNet(folder), random.Random(0)
    plain = [word for word in words if word.isalpha()]
    for _ in range(30):
        said = chance.sample(plain, 8)
        synonyms = [
            chance.choice([name for names in wordnet.synonyms(word) for name in names] or [word]) for word in said
        ]
        references = [" ".join(chance.sample(synonyms, 6)), " ".join(said[2:])]
        expected = meteor_score([text.lower().split() for text in references], said, wordnet=whole)
        assert meteor(" ".join(said), references, wordnet) == expected > 0


def test_wordnet_is_read_from_nltks_folder_and_archive_and_from_debian(folder, tmp_path, monkeypatch):
    archive = tmp_path / "corpora" / "wordnet.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.iterdir():
            file.write(path, f"wordnet/{path.name}")
    for root, source in ((folder.parents[1], "NLTK's data"), (tmp_path, "NLTK's data"), (tmp_path / "no", "Debian")):
        monkeypatch.setattr(nltk.data, "path", [str(root)])
        judge = tagging.choose()
        assert judge.name.endswith(f"WordNet 3.0 of {source}")
        assert judge.lemmatise("women") == "woman" and ["barrow", "garden_cart", "lawn_cart", "wheelbarrow"] in (
            judge.wordnet.synonyms("barrows")
        )


def test_a_cut_off_archive_is_an_error_of_one_line(tmp_path, monkeypatch):
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "wordnet.zip").write_bytes(b"PK\3\4")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(InputError, match=r"wordnet\.zip: a damaged archive.*cure: remove it"):
        tagging.choose()


def test_an_index_of_other_data_is_noticed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "w")
    (tmp_path / "w" / "data.noun").write_bytes(b" " + (folder / "data.noun").read_bytes())
    with pytest.raises(InputError, match="do not belong together"):
        WordNet(tmp_path / "w").synonyms("dog")
