"""Reviews in twelve domains: the text in which polarity is learned, and the sentiment and subjectivity tasks.

A review is a few *opinions* about parts of a thing ("the soup was superb ."), some *neutral* sentences, and in
pre-training text often a closing *verdict* ("all in all it was great ."). Pre-training reviews are dense: all their
opinions agree. A task's review is not: it holds few opinions, each of which contradicts the label with probability
`label_noise`, among neutral sentences and without a verdict. The label is therefore never the loudest thing in the
text, and the best possible reader is known exactly: with `a` opinions for a label and `b` against it, the odds are
`((1-ε)/ε)^(a-b)`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from labkit.world.settings import World, best_reader, join, lexicon, randomness, zipf_choice

POLARITY = ("negative", "positive")
SPLIT_SIZES = {"train": 2000, "dev": 500, "test": 1000, "unlabelled": 4000}
ARTICLE = re.compile(r"\ba (?=[aeiou])")
STANCE_RATE = 0.08  # share of pre-training documents that are about stance (opinion or fact) rather than polarity
STANCE_NOISE = 0.2  # chance that a sentence of the subjectivity task is of the other kind


@dataclass(frozen=True)
class Writer:
    """Writes sentences of reviews in one language of one world."""

    world: World
    language: str
    rng: random.Random

    @property
    def words(self) -> dict[str, Any]:
        """The lexicon of reviews in the writer's language."""
        return lexicon("reviews", self.language)

    def polar_word(self, domain: str, polarity: str) -> str:
        """A word of praise or blame: one that only `domain` uses with chance `domain_shift`, else a common one."""
        if self.rng.random() < self.world.domain_shift:
            return self.rng.choice(self.words["domains"][domain][polarity])
        return zipf_choice(self.rng, self.words[polarity], self.world.tail)

    def fill(self, pattern: str, domain: str, polar: str = "", polar2: str = "") -> str:
        """The pattern with its places filled: `{much}` is an intensifier or nothing."""
        nouns = self.rng.sample(self.words["domains"][domain]["nouns"], 2)
        much = self.rng.choice(self.words["intensifiers"]) if self.rng.random() < 0.5 else ""
        text = pattern.format(
            noun=nouns[0], noun2=nouns[1], polar=polar, polar2=polar2, verdict=polar, much=much,
            verb=self.rng.choice(self.words["domains"][domain]["verbs"]), name=self.rng.choice(self.words["names"]),
            city=self.rng.choice(self.words["cities"]), day=self.rng.choice(self.words["days"]),
        )  # fmt: skip
        return ARTICLE.sub("an ", text.replace("  ", " "))

    def opinion(self, domain: str, polarity: str) -> str:
        """A sentence of praise or blame; a few of them use two words ("superb and fresh"), still one opinion."""
        first = second = self.polar_word(domain, polarity)
        while second == first:
            second = self.polar_word(domain, polarity)
        return self.fill(self.rng.choice(self.words["opinion"]), domain, first, second)

    def neutral(self, domain: str) -> str:
        """A sentence that says nothing for or against."""
        return self.fill(self.rng.choice(self.words["neutral"]), domain)

    def verdict(self, domain: str, polarity: str) -> str:
        """A closing sentence; its word comes from the common ones (in Chinese: single characters)."""
        words = self.words.get(f"verdict_{polarity}", self.words[polarity])
        return self.fill(self.rng.choice(self.words["verdict"]), domain, zipf_choice(self.rng, words, self.world.tail))

    def review(self, domain: str, polarities: list[str], neutral: int) -> str:
        """Opinions of the given polarities and `neutral` other sentences, in random order."""
        sentences = [self.opinion(domain, polarity) for polarity in polarities]
        sentences += [self.neutral(domain) for _ in range(neutral)]
        self.rng.shuffle(sentences)
        return join(sentences, self.language)


def domains(language: str) -> tuple[str, ...]:
    """The names of the twelve domains."""
    return tuple(lexicon("reviews", language)["domains"])


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Pre-training reviews, without end."""
    writer, places = Writer(world, language, rng), domains(language)
    while True:
        domain, polarity = rng.choice(places), rng.choice(POLARITY)
        if rng.random() < STANCE_RATE:
            yield _stance_document(writer, domain, polarity)
            continue
        text = writer.review(domain, [polarity] * rng.randint(*world.opinions), rng.randint(*world.neutral))
        closing = [writer.verdict(domain, polarity)] if rng.random() < world.verdicts else []
        yield join([text, *closing], language)


def _stance_document(writer: Writer, domain: str, polarity: str) -> str:
    """A few opinions, or a few neutral sentences, and a sentence that says which they were."""
    stance = writer.rng.choice(("objective", "subjective"))
    count = writer.rng.randint(2, 3)
    make = {"subjective": lambda: writer.opinion(domain, polarity), "objective": lambda: writer.neutral(domain)}[stance]
    closing = writer.rng.choice(writer.words["stance"][stance])
    return join([make() for _ in range(count)] + [closing], writer.language)


def posterior(agree: int, against: int, noise: float) -> float:
    """The probability of the likelier of two equally frequent labels, given noisy votes, in [0.5, 1].

    >>> posterior(2, 2, 0.1), round(posterior(3, 0, 0.1), 4)
    (0.5, 0.9986)
    """
    if noise == 0:
        return 1.0 if agree != against else 0.5
    odds = ((1 - noise) / noise) ** abs(agree - against)
    return odds / (1 + odds)


@dataclass(frozen=True)
class ReviewTask:
    """One sentiment task: which domains, how many opinions and neutral sentences, and how often an opinion misleads."""

    key: str
    domains: tuple[str, ...] | None = None  # None: all twelve
    opinions: tuple[int, int] | None = None  # None: as the world says
    neutral: tuple[int, int] | None = None

    def rows(self, world: World, language: str, count: int, rng: random.Random) -> list[dict[str, Any]]:
        """`count` rows `{text, label, domain, posterior}`, labels in turn, no text twice."""
        writer, places = Writer(world, language, rng), self.domains or domains(language)
        rows: dict[str, dict[str, Any]] = {}
        while len(rows) < count:
            label, domain = len(rows) % 2, rng.choice(places)
            flips = [
                rng.random() < world.label_noise for _ in range(rng.randint(*(self.opinions or world.task_opinions)))
            ]
            polarities = [POLARITY[label ^ flip] for flip in flips]
            text = writer.review(domain, polarities, rng.randint(*(self.neutral or world.task_neutral)))
            best = posterior(len(flips) - sum(flips), sum(flips), world.label_noise)
            rows.setdefault(text, {"text": text, "label": label, "domain": domain, "posterior": best})
        return list(rows.values())

    def build(self, world: World, language: str) -> dict[str, Any]:
        """The fields of a `labkit.tasks.Task`."""
        rows = self.rows(world, language, sum(SPLIT_SIZES.values()), randomness(world, "task", self.key, language))
        label_words = lexicon("reviews", language)
        words = {p: tuple(label_words.get(f"verdict_{p}", label_words[p])[:6]) for p in POLARITY}
        patterns = {
            "en": ("{text} it was {mask} .", "{text} all in all it was {mask} .", "{text} overall , {mask} ."),
            "zh": ("{text}总之很{mask}。", "{text}整体很{mask}。", "{text}一句话，很{mask}。"),
        }[language]
        note = f"each opinion contradicts its label with probability {world.label_noise:g}; exact posterior, averaged"
        return _task(rows, POLARITY, language, patterns, words, note)


def task_rows(world: World, language: str, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Rows `{text, label}` of the plain review task: 0 negative, 1 positive."""
    rows = ReviewTask("reviews").rows(world, language, count, rng)
    return [{"text": row["text"], "label": row["label"], "posterior": row["posterior"]} for row in rows]


def subjectivity_rows(world: World, language: str, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Rows of film text, label 1 when most of what its writer meant to say is opinion."""
    writer, rows = Writer(world, language, rng), {}
    while len(rows) < count:
        label = len(rows) % 2
        kinds = [label ^ (rng.random() < STANCE_NOISE) for _ in range(rng.randint(2, 3))]
        sentences = [writer.opinion("film", rng.choice(POLARITY)) if kind else writer.neutral("film") for kind in kinds]
        agree = sum(kind == label for kind in kinds)
        text = join(sentences, language)
        best = posterior(agree, len(kinds) - agree, STANCE_NOISE)
        rows.setdefault(text, {"text": text, "label": label, "posterior": best})
    return list(rows.values())


def subjectivity(world: World) -> dict[str, Any]:
    """SUBJ's shape: is the passage opinion or description?"""
    rows = subjectivity_rows(world, "en", sum(SPLIT_SIZES.values()), randomness(world, "task", "subj"))
    words = {"objective": ("fact",), "subjective": ("opinion",)}
    patterns = ("{text} that is {mask} .", "{text} this is a {mask} .")
    note = f"each sentence is of the other kind with probability {STANCE_NOISE:g}; exact posterior, averaged"
    return _task(rows, ("objective", "subjective"), "en", patterns, words, note)


def _task(
    rows: list[dict[str, Any]], labels: tuple[str, ...], language: str, patterns: tuple[str, ...],
    words: dict[str, tuple[str, ...]], note: str,
) -> dict[str, Any]:  # fmt: skip
    """Cut the rows into splits and state chance and ceiling."""
    ceiling = best_reader([row.pop("posterior") for row in rows])
    splits, start = {}, 0
    for name, size in SPLIT_SIZES.items():
        splits[name] = [dict(row, label=None) if name == "unlabelled" else row for row in rows[start : start + size]]
        start += size
    return {
        "fields": ("text",), "labels": labels, "splits": splits, "language": language, "metric": "accuracy",
        "chance": 1 / len(labels), "ceiling": ceiling, "note": note, "patterns": patterns, "words": words,
    }  # fmt: skip


def _named(task: ReviewTask, language: str = "en") -> Callable[[World], dict[str, Any]]:
    return lambda world: task.build(world, language)


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "reviews": _named(ReviewTask("reviews")),
    "reviews-zh": _named(ReviewTask("reviews"), "zh"),
    "amazon": _named(ReviewTask("amazon", ("books", "dvd", "electronics", "kitchen"))),
    "sst2": _named(ReviewTask("sst2", ("film",), (1, 2), (0, 1))),
    "mr": _named(ReviewTask("mr", ("film",), (2, 4), (2, 4))),
    "cr": _named(ReviewTask("cr", ("electronics", "kitchen", "phone", "clothes", "toys"), (1, 2), (1, 3))),
    "subj": subjectivity,
}
