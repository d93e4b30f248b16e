"""News in fifteen topics (TNEWS's) and five genres, in English and Chinese, and the two topic tasks.

The topic decides the words, the genre how they are put. Part of the pre-training text says its topic ("this is news
about sports ."), which is the evidence that a cloze draws on; the rows of the tasks never do.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from labkit.world.settings import World, join, lexicon, randomness
from labkit.world.topics import Chosen, Topics, distinct_rows, finish_task, topic_leak, topic_name, words_of

GENRES = ("headline", "report", "interview", "bulletin", "blog")
KINDS = ("agent", "thing", "verb")
STATED = 0.6  # share of pre-training documents that name their topic
SECOND = 0.35  # share of task rows with a second sentence


@functools.cache
def topics(world: World, language: str) -> Topics:
    """The fifteen topics with the probability of each of their words."""
    return Topics.build(lexicon("news", language)["topics"], KINDS, world.tail, topic_leak(world))


@functools.cache
def names(language: str) -> tuple[tuple[str, ...], ...]:
    """The words that name each topic, the usual one first."""
    return tuple(words_of(entry["names"]) for entry in lexicon("news", language)["topics"].values())


@functools.cache
def _shared(language: str) -> dict[str, tuple[str, ...]]:
    words = lexicon("news", language)
    return {"place": words_of(words["place"]), "day": words_of(words["day"])}


def sentence(world: World, language: str, topic: int, genre: str, rng: random.Random, chosen: Chosen) -> str:
    """One sentence about `topic` in the manner of `genre`; the words that tell the topic are appended to `chosen`."""
    pattern = rng.choice(lexicon("news", language)["genres"][genre])
    return topics(world, language).fill(pattern, topic, rng, chosen, _shared(language))


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Pre-training news of one to three sentences and often its topic in words, without end."""
    words, titles = lexicon("news", language), names(language)
    while True:
        topic, genre, chosen = rng.randrange(len(titles)), rng.choice(GENRES), []
        text = [sentence(world, language, topic, genre, rng, chosen) for _ in range(rng.randint(1, 3))]
        if rng.random() < STATED:
            first = rng.random() < 0.4
            pattern = rng.choice(words["before" if first else "after"])
            text.insert(
                0 if first else len(text), pattern.replace("{topic}", topic_name(rng, titles[topic], world.tail))
            )
        yield join(text, language)


def rows(world: World, language: str, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Rows `{text, keywords, genre, label, posterior}`, topics in turn, no text twice.

    `keywords` are the nouns that tell the topic, parted by commas; `posterior` is the best reader's chance to be right.
    """
    model = topics(world, language)

    def make(label: int) -> dict[str, Any]:
        chosen: Chosen = []
        genre = rng.choice(GENRES)
        count = 1 + (rng.random() < SECOND)
        text = join([sentence(world, language, label, genre, rng, chosen) for _ in range(count)], language)
        keywords = ",".join(word for kind, word in chosen if kind != "verb")
        best = max(model.posterior(chosen))
        return {"text": text, "keywords": keywords, "genre": genre, "label": label, "posterior": best}

    return distinct_rows(make, len(model.names), count, lambda row: row["text"])


def task(world: World, language: str, key: str) -> dict[str, Any]:
    """News by topic as the fields of a `labkit.tasks.Task`; labels are the topics' usual names."""
    labels = tuple(group[0] for group in names(language))
    patterns = {
        "en": (
            "{text} this is news about {mask} .",
            "{mask} news : {text}",
            "{text} in other words , this is {mask} news .",
        ),
        "zh": ("{text}这则新闻属于{mask*2}。", "这是一则{mask*2}新闻：{text}", "{text}也就是说，这是{mask*2}新闻。"),
    }[language]
    return finish_task(
        rows(world, language, 8500, randomness(world, "task", key)), labels, language=language, patterns=patterns,
        words=dict(zip(labels, names(language), strict=True)),
        note=f"a telling word is another topic's with probability {topic_leak(world):g}; exact posterior, averaged",
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "news": lambda world: task(world, "en", "news"),
    "tnews": lambda world: task(world, "zh", "tnews"),
}
