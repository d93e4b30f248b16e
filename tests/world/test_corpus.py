"""The corpus: the same bytes for the same dials, whatever the hash seed; quick enough; every genre and task
reachable.
"""

import functools
import os
import subprocess
import sys
from collections import Counter

import pytest

from labkit.errors import UsageError
from labkit.tasks import Task
from labkit.world import LANGUAGES, TASKS, World, corpus
from labkit.world.corpus import genres_of
from labkit.world.settings import LONGEST

DIGEST = """
import hashlib, tempfile
from labkit.world import LANGUAGES, TASKS, World, corpus, drill
from labkit.world.fewclue import write_fewclue
text = [corpus(World(), language, 400, shares=shares) for language in LANGUAGES for shares in (None, drill(language))]
for name in ("subj", "mrpc", "news", "intents", "reading", "retrieval", "ner", "data_to_text", "triage", "charges-zh"):
    text.append(TASKS[name](World()))
with tempfile.TemporaryDirectory() as place:
    for folder in write_fewclue(place).values():
        text += [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
print(hashlib.sha256(repr(text).encode()).hexdigest())
"""


def test_text_and_tasks_do_not_depend_on_the_hash_seed():
    """Sets hash texts differently in each process: nothing may depend on their order."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(("language", "genre"), [(lang, genre) for lang in LANGUAGES for genre in genres_of(lang)])
def test_every_genre_writes_short_documents(language, genre):
    texts = corpus(World(), language, 200, [genre])
    assert all(texts) and not any("{" in text for text in texts) and len(set(texts)) > 100
    assert max(len(text.split() if language == "en" else text) for text in texts) <= LONGEST[language]
    if language == "en":
        assert all(text == text.lower() and "  " not in text for text in texts)


def test_dials_change_the_text():
    plain = corpus(World(), "en", 50, ["reviews"])
    assert corpus(World(), "en", 50, ["reviews"]) == plain
    assert corpus(World(opinions=(1, 1)), "en", 50, ["reviews"]) != plain
    assert corpus(World(seed=9), "en", 50, ["reviews"]) != plain


def test_unknown_names_offer_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'reviews'"):
        corpus(World(), "en", 1, ["review"])
    with pytest.raises(UsageError, match="did you mean 'en'"):
        corpus(World(), "eng", 1)


@functools.cache
def built_once(name):
    return TASKS[name](World())


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_whole_and_no_text_stands_twice(name):
    made = Task(f"world/{name}", **built_once(name))
    assert {"train", "dev", "test"} <= set(made.splits)
    texts = [tuple(row[field] for field in made.fields) for rows in made.splits.values() for row in rows]
    assert all(all(some) and "{" not in "".join(some) for some in texts) and len(set(texts)) == len(texts)
    assert all(row["label"] is None for row in made.splits.get("unlabelled", []))
    assert set(made.words) <= set(made.labels) and all("{mask" in pattern for pattern in made.patterns)
    if made.ceiling is None:
        assert made.note, "a task without a ceiling says why"
    else:
        assert made.chance < made.ceiling and (made.ceiling == 1 or 0.8 < made.ceiling < 0.98)


@pytest.mark.parametrize("name", [name for name in TASKS if "charges" not in name])  # which follow Zipf's law
def test_labels_are_balanced_in_every_split(name):
    built = built_once(name)
    for split in ("train", "dev", "test"):
        counts = Counter(row["label"] for row in built["splits"][split])
        assert max(counts.values()) - min(counts.values()) <= 1
    if None not in counts:
        assert len(counts) == len(built["labels"]) and built["chance"] == pytest.approx(1 / len(counts))
