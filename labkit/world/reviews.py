"""Reviews in twenty-four domains: the text in which polarity is learned, and the sentiment and subjectivity tasks.

Pre-training reviews are dense: most of their opinions agree, some carry a comment, and half of them close with a
verdict ("all in all it was great ."), which follows the majority, or the last word where there is none. A task's review
has no verdict and no comment: a few opinions, each of which contradicts the label with probability `label_noise`, among
events of one day, and some of them to be composed (`labkit.world.review_text`). The label is therefore never the
loudest thing in the text, and the best possible reader is known exactly: with `a` opinions for a label and `b` against
it, the odds are `((1-ε)/ε)^(a-b)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from labkit.world.examples import WITH_UNLABELLED, Row, collect, finish_task
from labkit.world.review_text import OPPOSITE, POLARITY, Writer, stance_remark
from labkit.world.settings import World, fits, join, lexicon, randomness

STANCE_RATE = 0.12  # share of pre-training documents that are about stance (opinion or fact) rather than polarity
STANCE_NOISE = 0.15  # chance that a sentence of the subjectivity task is of the other kind
STANCE_SENTENCES = (2, 4)


def domains(language: str) -> tuple[str, ...]:
    """The names of the twenty-four domains."""
    return tuple(lexicon("reviews", language)["domains"])


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Pre-training reviews, without end: polarity is learned where all opinions agree in plain words (those about a
    story's characters apart), and read off composed ones afterwards.
    """
    plain = replace(
        world, contextual=0.0, negation=0.0, contrast=0.0, mixed=0.0, domain_shift=0.0, opinions=(3, 5), neutral=(0, 1)
    )
    while True:
        write = _stance_document if rng.random() < STANCE_RATE else _review_document
        dials = plain if rng.random() < world.plain else world
        text = write(Writer(dials, language, rng, rng.choice(domains(language))))
        if fits(text, language):
            yield text


def _review_document(writer: Writer) -> str:
    """A review whose opinions mostly agree; its verdict, if any, is that of most of them, or of the last."""
    rng, world = writer.rng, writer.world
    leaning = rng.choice(POLARITY)
    polarities = [
        OPPOSITE[leaning] if rng.random() < world.mixed else leaning for _ in range(rng.randint(*world.opinions))
    ]
    closing = rng.random() < world.verdicts
    return writer.review(polarities, rng.randint(*world.neutral), True, majority(polarities) if closing else "")


def majority(polarities: Sequence[str]) -> str:
    """The polarity of most, or of the last where both are equally frequent.

    >>> majority(["positive", "negative", "positive"]), majority(["positive", "negative"])
    ('positive', 'negative')
    """
    return max(reversed(polarities), key=polarities.count)


def _stance_document(writer: Writer) -> str:
    """One passage or two, of opinions, of a story or of events, each with a remark that says which it is."""
    rng, language = writer.rng, writer.language
    kinds = ["subjective", "plot" if writer.own.get("story") else "objective"]
    rng.shuffle(kinds)
    told = []
    for kind in kinds[: rng.randint(1, 2)]:
        place = rng.choice(("before", "after", "after"))
        remark = stance_remark(kind, language, rng, place, item=writer.scene["item"])
        passage = writer.passage(kind, rng.randint(1, 3))
        told += [remark, *passage] if place == "before" else [*passage, remark]
    return join(told, language)


def posterior(agree: int, against: int, noise: float) -> float:
    """The probability of the likelier of two equally frequent labels, given noisy votes, in [0.5, 1].

    >>> posterior(2, 2, 0.1), round(posterior(3, 0, 0.1), 4)
    (0.5, 0.9986)
    """
    if noise == 0:
        return 1.0 if agree != against else 0.5
    odds = ((1 - noise) / noise) ** abs(agree - against)
    return odds / (1 + odds)


def task_rows(
    world: World, language: str, count: int, rng: random.Random, within: Sequence[str] = (),
    opinions: tuple[int, int] | None = None,
) -> list[Row]:  # fmt: skip
    """`count` rows `{text, label, domain, posterior}`, labels (an index into POLARITY) in turn, no text twice.

    They are reviews of the domains `within`, or of all, with so many `opinions` or as many as the world says.
    """
    composed = {dial: world.task_composed * getattr(world, dial) for dial in ("contextual", "negation", "contrast")}
    dials = replace(world, **composed)

    def one(number: int) -> Row | None:
        label, domain = number % 2, rng.choice(within or domains(language))
        flips = [rng.random() < world.label_noise for _ in range(rng.randint(*(opinions or world.task_opinions)))]
        events = rng.randint(*world.task_neutral)
        text = Writer(dials, language, rng, domain).review([POLARITY[label ^ flip] for flip in flips], events)
        best = posterior(len(flips) - sum(flips), sum(flips), world.label_noise)
        return {"text": text, "label": label, "domain": domain, "posterior": best} if fits(text, language) else None

    return collect(count, one, ("text",))


def sentiment(
    world: World, key: str, language: str = "en", within: Sequence[str] = (), opinions: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Reviews by polarity, as the fields of a `labkit.tasks.Task`; arguments as in `task_rows`."""
    count, rng = sum(WITH_UNLABELLED.values()), randomness(world, "task", key, language)
    label_words = lexicon("reviews", language)
    patterns = {
        "en": ("{text} it was {mask} .", "{text} all in all it was {mask} .", "{text} overall , {mask} ."),
        "zh": ("{text}总之很{mask}。", "{text}整体很{mask}。", "{text}一句话，很{mask}。"),
    }[language]
    return finish_task(
        task_rows(world, language, count, rng, within, opinions), POLARITY, language=language, patterns=patterns,
        words={p: tuple(label_words.get(f"verdict_{p}", label_words[p])[:6]) for p in POLARITY},
        note=f"each opinion contradicts its label with probability {world.label_noise:g}; exact posterior, averaged",
    )  # fmt: skip


def subjectivity_rows(world: World, count: int, rng: random.Random) -> list[Row]:
    """Rows about films, label 1 when most of what its writer meant to say is opinion rather than story."""

    def one(number: int) -> Row | None:
        label, writer = number % 2, Writer(world, "en", rng, "film")
        kinds = [label ^ (rng.random() < STANCE_NOISE) for _ in range(rng.randint(*STANCE_SENTENCES))]
        told = [writer.passage("subjective" if kind else "plot", 1)[0] for kind in kinds]
        text, agree = join(told, "en"), sum(kind == label for kind in kinds)
        best = posterior(agree, len(kinds) - agree, STANCE_NOISE)
        return {"text": text, "label": label, "posterior": best} if fits(text, "en") else None

    return collect(count, one, ("text",))


def subjectivity(world: World) -> dict[str, Any]:
    """SUBJ's shape: is the passage opinion or description?"""
    rows = subjectivity_rows(world, sum(WITH_UNLABELLED.values()), randomness(world, "task", "subj"))
    words = lexicon("reviews", "en")["stance"]["words"]
    patterns = ("{text} that is {mask} .", "{text} this is pure {mask} .", "{text} it is all a matter of {mask} .")
    note = f"each sentence is of the other kind with probability {STANCE_NOISE:g}; exact posterior, averaged"
    labels = {"objective": tuple(words["plot"]), "subjective": tuple(words["subjective"])}
    return finish_task(rows, tuple(labels), note=note, language="en", patterns=patterns, words=labels)


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "reviews": partial(sentiment, key="reviews"),
    "reviews-zh": partial(sentiment, key="reviews", language="zh"),
    "amazon": partial(sentiment, key="amazon", within=("books", "dvd", "electronics", "kitchen")),
    "sst2": partial(sentiment, key="sst2", within=("film",)),
    "mr": partial(sentiment, key="mr", within=("film",), opinions=(3, 5)),
    "cr": partial(sentiment, key="cr", within=("electronics", "kitchen", "phone", "clothes", "toys")),
    "subj": subjectivity,
}
