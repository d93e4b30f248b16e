"""Talk: service dialogues with twelve intents, small talk between persons, and the task of telling the intent.

A customer has a wish and a reason, which tell the intent (`KINDS`); in pre-training text the agent's answer and the
outcome go with them. In the task either may be that of a like intent, among remarks that tell nothing.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from labkit.world.examples import TOPICAL, Row, collect, finish_task
from labkit.world.settings import World, fits, join, lexicon, randomness
from labkit.world.topics import Chosen, Topics, fill, tidy, topic_leak, topic_name, words_of

KINDS = ("ask", "reason")
SMALL_TALK = 0.3  # share of documents in which nobody wants a service
STATED = 0.6  # share of service dialogues that say what they are about
ENDED = 0.4  # share that tell what came of it
REASONS = (1, 2)  # reasons of a customer in the task


@functools.cache
def intents(world: World, language: str, leak: float | None = None) -> Topics:
    """The twelve intents with the probability of each of their phrases; `leak` is `topic_leak` where not given."""
    leak = topic_leak(world) if leak is None else leak
    return Topics.build(lexicon("dialogue", language)["intents"], KINDS, world.tail, leak)


@functools.cache
def names(language: str) -> tuple[tuple[str, ...], ...]:
    """The words that name each intent, the usual one first."""
    return tuple(words_of(entry["names"]) for entry in lexicon("dialogue", language)["intents"].values())


@functools.cache
def _shared(language: str) -> dict[str, tuple[str, ...]]:
    return {slot: words_of(words) for slot, words in lexicon("dialogue", language)["shared"].items()}


def _fill(text: str, language: str, rng: random.Random, **given: str) -> str:
    """Fill the slots with what is given, and those that say nothing about an intent."""
    return fill(text, lambda slot: given.get(slot) or rng.choice(_shared(language)[slot]))


def utterance(model: Topics, language: str, kind: str, intent: int, rng: random.Random, chosen: Chosen) -> str:
    """A sentence of a customer: a "wishes", a "reasons" or a "remarks"; telling phrases are appended to `chosen`."""
    pattern = rng.choice(lexicon("dialogue", language)[kind])
    return _fill(model.fill(pattern, intent, rng, chosen, _shared(language)), language, rng)


def small_talk(language: str, rng: random.Random) -> str:
    """A few turns of two persons who speak of their work, pastimes and pets; nobody changes their mind."""
    pattern, shared = rng.choice(lexicon("dialogue", language)["persona"]), _shared(language)
    pairs = {slot: rng.sample(shared[slot], 2) for slot in ("job", "hobby", "pet")}
    fixed = {slot: words[0] for slot, words in pairs.items()} | {slot + "2": words[1] for slot, words in pairs.items()}
    fixed |= {slot: rng.choice(shared[slot]) for slot in ("a", "b", "city", "day")}
    return tidy(pattern.format(**fixed), language)


def service(world: World, language: str, rng: random.Random) -> str:
    """A dialogue in which wish, reason, answer and outcome are of one intent, often with its name."""
    words, model, titles = lexicon("dialogue", language), intents(world, language, 0.0), names(language)
    intent = rng.randrange(len(titles))
    own = words["intents"][model.names[intent]]
    wish, reason = (utterance(model, language, kind, intent, rng, []) for kind in ("wishes", "reasons"))
    answer = _fill(rng.choice(own["answer"]), language, rng)
    told = [_fill(rng.choice(words["turns"]), language, rng, wish=wish, reason=reason, answer=answer)]
    if rng.random() < ENDED:
        told.append(_fill(rng.choice(words["ends"]).format(outcome=rng.choice(own["outcome"])), language, rng))
    if rng.random() < STATED:
        told.append(rng.choice(words["stated"]).format(topic=topic_name(rng, titles[intent], world.tail)))
    return join(told, language)


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Dialogues without end: most with a service, the others small talk."""
    while True:
        text = small_talk(language, rng) if rng.random() < SMALL_TALK else service(world, language, rng)
        if fits(text, language):
            yield text


def rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, label, posterior}`: what a customer says, intents in turn, no text twice."""
    model = intents(world, language)

    def make(number: int) -> Row:
        label, chosen = number % len(model.names), []
        kinds = ["wishes", *["reasons"] * rng.randint(*REASONS), *(["remarks"] if rng.random() < 0.7 else [])]
        rng.shuffle(kinds)
        text = join([utterance(model, language, kind, label, rng, chosen) for kind in kinds], language)
        return {"text": text, "label": label, "posterior": max(model.posterior(chosen))}

    return collect(count, make, ("text",))


def task(world: World, language: str, key: str) -> dict[str, Any]:
    """The intent of what a customer says, as the fields of a Task."""
    labels = intents(world, language).names
    patterns = {
        "en": ("{text} the customer is asking about {mask} .", "{text} in other words , it is about {mask} ."),
        "zh": ("{text}客户问的是{mask*2}。", "{text}也就是说，这是{mask*2}问题。"),
    }[language]
    return finish_task(
        rows(world, language, sum(TOPICAL.values()), randomness(world, "task", key)), labels, TOPICAL,
        language=language, patterns=patterns,
        words=dict(zip(labels, names(language), strict=True)),
        note=f"a telling phrase is of a like intent with probability {topic_leak(world):g}; exact posterior, averaged",
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "intents": lambda world: task(world, "en", "intents"),
    "intents-zh": lambda world: task(world, "zh", "intents-zh"),
}
