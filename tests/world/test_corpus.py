"""The corpus: the same bytes for the same dials, whatever the hash seed; quick enough; every genre and task
reachable.
"""

import hashlib
import os
import subprocess
import sys
import time

import pytest

from labkit.errors import UsageError
from labkit.world import LANGUAGES, TASKS, World, corpus, task
from labkit.world.corpus import genres_of

DIGEST = (
    "import hashlib; from labkit.world import World, corpus;"
    "print(hashlib.sha256('\\n'.join(corpus(World(), '{}', 400)).encode()).hexdigest())"
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_corpus_does_not_depend_on_the_hash_seed(language):
    code = DIGEST.format(language)
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = hashlib.sha256("\n".join(corpus(World(), language, 400)).encode()).hexdigest()
    assert digests == {here + "\n"}


@pytest.mark.parametrize(("language", "genre"), [(lang, genre) for lang in LANGUAGES for genre in genres_of(lang)])
def test_every_genre_writes_short_documents(language, genre):
    texts = corpus(World(), language, 200, [genre])
    assert all(texts) and max(map(len, texts)) < 700
    assert len(set(texts)) > 100
    if language == "en":
        assert all(text == text.lower() and "  " not in text for text in texts)


def test_dials_change_the_text():
    plain = corpus(World(), "en", 50, ["reviews"])
    assert corpus(World(), "en", 50, ["reviews"]) == plain
    assert corpus(World(opinions=(1, 1)), "en", 50, ["reviews"]) != plain
    assert corpus(World(seed=9), "en", 50, ["reviews"]) != plain


def test_one_hundred_thousand_sentences(record_property):
    """Prints the time; DESIGN asks for under 20 s, which only a broken generator would miss by the factor allowed
    here.
    """
    began, sentences = time.perf_counter(), 0
    texts = corpus(World(), "en", 25_000)
    sentences = sum(text.count(" .") + text.count(" ?") for text in texts)
    seconds = time.perf_counter() - began
    record_property("sentences_per_second", sentences / seconds)
    print(f"{sentences} sentences in {seconds:.1f} s")
    assert sentences > 50_000


def test_unknown_names_offer_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'reviews'"):
        corpus(World(), "en", 1, ["review"])
    with pytest.raises(UsageError, match="did you mean 'en'"):
        corpus(World(), "eng", 1)
    with pytest.raises(UsageError, match="did you mean 'reviews"):
        task("reviewz")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_whole(name):
    built = task(name)
    assert {"train", "dev", "test"} <= set(built["splits"])
    for rows in built["splits"].values():
        assert rows and all(isinstance(row[field], str) and row[field] for row in rows for field in built["fields"])
    if built.get("ceiling") is None:
        assert built["note"], "a task without a ceiling says why"
    else:
        assert built["chance"] < built["ceiling"] <= 1
