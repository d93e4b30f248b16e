"""Talk: service dialogues with twelve intents, small talk between persons, and the task of telling the intent."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from labkit.world.settings import World, lexicon, randomness
from labkit.world.topics import Chosen, Topics, distinct_rows, finish_task, pieces, topic_leak, topic_name, words_of

KINDS = ("ask", "thing")
SMALL_TALK = 0.3  # share of documents in which nobody wants a service
STATED = 0.6  # share of service dialogues that say what they are about


@functools.cache
def intents(world: World, language: str) -> Topics:
    """The twelve intents with the probability of each of their words and phrases."""
    return Topics.build(lexicon("dialogue", language)["intents"], KINDS, world.tail, topic_leak(world))


@functools.cache
def names(language: str) -> tuple[tuple[str, ...], ...]:
    """The words that name each intent, the usual one first."""
    return tuple(words_of(entry["names"]) for entry in lexicon("dialogue", language)["intents"].values())


@functools.cache
def _shared(language: str) -> dict[str, tuple[str, ...]]:
    return {slot: words_of(words) for slot, words in lexicon("dialogue", language)["shared"].items()}


def _fill(text: str, language: str, rng: random.Random) -> str:
    """Fill the slots that say nothing about an intent."""
    parts, slots = pieces(text)
    shared = _shared(language)
    return parts[0] + "".join(rng.choice(shared[slot]) + part for slot, part in zip(slots, parts[1:], strict=True))


def utterance(world: World, language: str, intent: int, rng: random.Random, chosen: Chosen) -> str:
    """What a customer says who has this intent; the telling phrases are appended to `chosen`."""
    pattern = rng.choice(lexicon("dialogue", language)["utterances"])
    text = intents(world, language).fill(pattern, intent, rng, chosen, _shared(language))
    return _fill(text, language, rng) if "{" in text else text


def small_talk(language: str, rng: random.Random) -> str:
    """Four turns of two persons who speak of their work, pastimes and pets; nobody changes their mind."""
    pattern, shared = rng.choice(lexicon("dialogue", language)["persona"]), _shared(language)
    pairs = {slot: rng.sample(shared[slot], 2) for slot in ("job", "hobby", "pet")}
    fixed = {slot: words[0] for slot, words in pairs.items()} | {slot + "2": words[1] for slot, words in pairs.items()}
    return pattern.format(**fixed, **{slot: rng.choice(shared[slot]) for slot in ("a", "b", "city", "day")})


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Pre-training dialogues of two to five turns, without end."""
    words, titles = lexicon("dialogue", language), names(language)
    answers = [entry["answer"] for entry in words["intents"].values()]
    while True:
        if rng.random() < SMALL_TALK:
            yield small_talk(language, rng)
            continue
        intent = rng.randrange(len(titles))
        text = utterance(world, language, intent, rng, [])
        talk = rng.choice(words["turns"]).format(text=text, answer=_fill(answers[intent], language, rng))
        if rng.random() < STATED:
            stated = rng.choice(words["stated"]).replace("{topic}", topic_name(rng, titles[intent], world.tail))
            talk = f"{talk} {stated}" if language == "en" else talk + stated
        yield talk


def rows(world: World, language: str, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Rows `{text, label, posterior}`: two sentences of a customer, intents in turn, no text twice."""
    model = intents(world, language)

    def make(label: int) -> dict[str, Any]:
        chosen: Chosen = []
        said = [utterance(world, language, label, rng, chosen) for _ in range(1 + (rng.random() < 0.5))]
        text = (" " if language == "en" else "").join(said)
        return {"text": text, "label": label, "posterior": max(model.posterior(chosen))}

    return distinct_rows(make, len(model.names), count, lambda row: row["text"])


def task(world: World, language: str, key: str) -> dict[str, Any]:
    """The intent of what a customer says, as the fields of a Task."""
    labels = intents(world, language).names
    patterns = {
        "en": ("{text} the customer is asking about {mask} .", "{text} in other words , it is about {mask} ."),
        "zh": ("{text}客户问的是{mask*2}。", "{text}也就是说，这是{mask*2}问题。"),
    }[language]
    return finish_task(
        rows(world, language, 8500, randomness(world, "task", key)), labels, language=language, patterns=patterns,
        words=dict(zip(labels, names(language), strict=True)),
        note=f"a telling phrase is of a like intent with probability {topic_leak(world):g}; exact posterior, averaged",
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "intents": lambda world: task(world, "en", "intents"),
    "intents-zh": lambda world: task(world, "zh", "intents-zh"),
}
