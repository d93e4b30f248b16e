"""News in fifteen topics (TNEWS's) and five genres, in English and Chinese, and the two topic tasks.

A text tells one event: who did what, where and when, what it is about, how people took it. The topic decides who, what
and about what (`KINDS`), each as a whole phrase, so that every choice fits every other; the genre decides how it is
put. Part of the pre-training text says its topic ("this is news about sports ."), which is the evidence that a cloze
draws on; the rows of the tasks never do, and some of their phrases are those of a neighbouring topic.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from labkit.world.examples import TOPICAL, Row, collect, finish_task
from labkit.world.review_text import stance_remark
from labkit.world.settings import World, fits, join, lexicon, randomness
from labkit.world.topics import Chosen, Topics, tidy, topic_leak, topic_name, words_of

GENRES = ("headline", "report", "interview", "bulletin", "blog")
KINDS = ("agent", "event", "thing")
STATED = 0.6  # share of pre-training documents that name their topic
EARLIER, REACTION = 0.5, 0.7  # share of documents that tell what was before, and how it was taken
AGAIN, STANCE = 0.12, 0.06  # share that say the event again in other words, and that call themselves facts
PARTS = {"more": 0.6, "earlier": 0.2, "reaction": 0.5}  # the same for the rows of the tasks


@functools.cache
def topics(world: World, language: str, leak: float) -> Topics:
    """The fifteen topics with the probability of each of their phrases."""
    return Topics.build(lexicon("news", language)["topics"], KINDS, world.tail, leak)


@functools.cache
def names(language: str) -> tuple[tuple[str, ...], ...]:
    """The words that name each topic, the usual one first."""
    return tuple(words_of(entry["names"]) for entry in lexicon("news", language)["topics"].values())


class Reporter:
    """Tells one event: its place, its day and its person stay the same in all sentences."""

    def __init__(self, model: Topics, language: str, topic: int, rng: random.Random) -> None:
        self.words, self.genre = lexicon("news", language), rng.choice(GENRES)
        self.model, self.language, self.topic, self.rng = model, language, topic, rng
        self.chosen: Chosen = []  # the phrases that tell the topic
        self.used: list[str] = []  # patterns: none twice
        person = {slot: (word,) for slot, word in rng.choice(self.words["persons"]).items()}
        self.shared = {slot: (rng.choice(words_of(self.words[slot])),) for slot in ("place", "day")} | person

    def tell(self, part: str) -> str:
        """A sentence: "open" and "more" in the manner of the genre, "earlier" and "reaction" in any."""
        patterns = self.words["genres"][self.genre].get(part) or self.words[part]
        self.used.append(self.rng.choice([one for one in patterns if one not in self.used]))
        filled = self.model.fill(self.used[-1], self.topic, self.rng, self.chosen, self.shared)
        return tidy(filled, self.language)

    def again(self) -> str:
        """The event of the opening once more, in other words."""
        told = dict(reversed(self.chosen))  # the first of each kind
        words = told | {slot: one[0] for slot, one in self.shared.items()}
        return tidy(self.rng.choice(self.words["again"]).format(**words), self.language)


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Pre-training news, each of one event and often with its topic in words, without end."""
    words, titles, model = lexicon("news", language), names(language), topics(world, language, 0.0)
    while True:
        reporter = Reporter(model, language, rng.randrange(len(titles)), rng)
        parts = ["open", *(["earlier"] if rng.random() < EARLIER else []), *["more"] * rng.randint(1, 3)]
        parts += ["reaction"] if rng.random() < REACTION else []
        text = [reporter.tell(part) for part in parts]
        if rng.random() < AGAIN:
            text.insert(1, reporter.again())
        if reporter.genre != "blog" and rng.random() < STANCE:
            text.append(stance_remark("objective", language, rng))
        if rng.random() < STATED:
            first = rng.random() < 0.4
            topic = topic_name(rng, titles[reporter.topic], world.tail)
            text.insert(
                0 if first else len(text), rng.choice(words["before" if first else "after"]).format(topic=topic)
            )
        told = join(text, language)
        if fits(told, language):
            yield told


def rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, keywords, genre, label, posterior}`, topics in turn, no text twice.

    `keywords` are the nouns that tell the topic, parted by commas; `posterior` is the best reader's chance to be right.
    """
    model = topics(world, language, topic_leak(world))

    def make(number: int) -> Row:
        label = number % len(model.names)
        reporter = Reporter(model, language, label, rng)
        parts = ["open", *(part for part, share in PARTS.items() if rng.random() < share)]
        text = join([reporter.tell(part) for part in parts], language)
        keywords = ",".join(word for kind, word in reporter.chosen if kind != "event")
        best = max(model.posterior(reporter.chosen))
        return {"text": text, "keywords": keywords, "genre": reporter.genre, "label": label, "posterior": best}

    return collect(count, make, ("text",))


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
        rows(world, language, sum(TOPICAL.values()), randomness(world, "task", key)), labels, TOPICAL,
        language=language, patterns=patterns,
        words=dict(zip(labels, names(language), strict=True)),
        note=f"a telling phrase is another topic's with probability {topic_leak(world):g}; exact posterior, averaged",
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "news": lambda world: task(world, "en", "news"),
    "tnews": lambda world: task(world, "zh", "tnews"),
}
