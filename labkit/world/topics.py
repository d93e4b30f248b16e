"""Text whose only secret is a topic: the engine under news, abstracts, app descriptions and intents.

A text is a pattern with slots. Each slot of a *kind* (agent, thing, verb, …) is filled, independently of the others,
with a word of the text's topic, or with probability `leak` of one of the topic's neighbours. Words that a topic shares
with another, and words that leak, are what makes the topic uncertain. The process is known, so the probability of each
topic given the words is exact (naive Bayes is here not an approximation but the truth).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.world.settings import World, zipf_choice

SLOT = re.compile(r"\{(\w+)\}")
VOWEL = re.compile(r"\ba (?=[aeiou])")
Chosen = list[tuple[str, str]]  # (kind, word) in the order of drawing: the evidence of a text


def words_of(entry: str | Sequence[str]) -> tuple[str, ...]:
    """A lexicon entry as words: a string is cut at spaces, a list is taken as it stands."""
    return tuple(entry.split()) if isinstance(entry, str) else tuple(entry)


def fill(pattern: str, word: Callable[[str], str]) -> str:
    """The pattern with `word(slot)` in each of its slots, drawn from left to right.

    >>> fill("the {agent} {verb} it .", str.upper)
    'the AGENT VERB it .'
    """
    return SLOT.sub(lambda slot: word(slot[1]), pattern)


@dataclass(frozen=True)
class Topics:
    """Topics with their words; `likelihood[kind][topic]` maps each word to its probability (sums to 1)."""

    names: tuple[str, ...]
    likelihood: Mapping[str, tuple[Mapping[str, float], ...]]

    @classmethod
    def build(cls, entries: Mapping[str, Mapping[str, Any]], kinds: Sequence[str], tail: float, leak: float) -> Topics:
        """From a lexicon `{topic: {kind: words, "near": topics}}`; word weights fall as `1 / (rank + 2) ** tail`."""
        names = tuple(entries)
        own = {kind: {name: _zipf(words_of(entries[name][kind]), tail) for name in names} for kind in kinds}
        near = {name: words_of(entries[name].get("near", "")) for name in names}
        mixed = {kind: tuple(_mix(own[kind], name, near[name], leak) for name in names) for kind in kinds}
        return cls(names, mixed)

    def draw(self, topic: int, kind: str, rng: random.Random, chosen: Chosen) -> str:
        """A word of `kind` under `topic` that is not among `chosen` yet; it is appended there."""
        table = self.likelihood[kind][topic]
        word = rng.choices(list(table), list(table.values()))[0]
        if (kind, word) in chosen:
            left = {word: mass for word, mass in table.items() if (kind, word) not in chosen}
            word = rng.choices(list(left), list(left.values()))[0]
        chosen.append((kind, word))
        return word

    def fill(
        self, pattern: str, topic: int, rng: random.Random, chosen: Chosen, shared: Mapping[str, Sequence[str]]
    ) -> str:
        """The pattern with its slots filled: those of a kind from the topic, the others evenly from `shared`."""

        def word(slot: str) -> str:
            return self.draw(topic, slot, rng, chosen) if slot in self.likelihood else rng.choice(shared[slot])

        return fill(pattern, word)

    def posterior(self, chosen: Chosen) -> list[float]:
        """The probability of each topic given the words of a text, all topics being equally frequent.

        A word is never drawn twice, so each draw is from what the earlier ones of its kind left.
        """
        scores = [
            _probability(chosen, {kind: tables[topic] for kind, tables in self.likelihood.items()})
            for topic in range(len(self.names))
        ]
        total = sum(scores)
        return [score / total for score in scores]


def _zipf(words: Sequence[str], tail: float) -> dict[str, float]:
    weights = [1.0 / (rank + 2) ** tail for rank in range(len(words))]
    return {word: weight / sum(weights) for word, weight in zip(words, weights, strict=True)}


def _mix(own: Mapping[str, Mapping[str, float]], name: str, near: Sequence[str], leak: float) -> dict[str, float]:
    """The topic's own distribution, with `leak` of its mass spread evenly over those of its neighbours."""
    leak = leak if near else 0.0
    mixed = {word: weight * (1 - leak) for word, weight in own[name].items()}
    for other in near if leak else ():
        for word, weight in own[other].items():
            mixed[word] = mixed.get(word, 0.0) + weight * leak / len(near)
    return mixed


def _probability(chosen: Chosen, tables: Mapping[str, Mapping[str, float]]) -> float:
    """The chance that one topic draws these words in this order, without drawing any twice."""
    chance, used = 1.0, dict.fromkeys(tables, 0.0)
    for kind, word in chosen:
        mass = tables[kind].get(word, 0.0)
        if not mass:
            return 0.0
        chance *= mass / (1.0 - used[kind])
        used[kind] += mass
    return chance


def tidy(text: str, language: str) -> str:
    """The text with "an" where English wants it.

    >>> tidy("a actor met a dog", "en")
    'an actor met a dog'
    """
    return VOWEL.sub("an ", text) if language == "en" else text


def topic_leak(world: World) -> float:
    """How often a slot of a topical text takes a neighbour's word: twice the world's label noise, at most 0.8."""
    return min(0.8, 2 * world.label_noise)


def topic_name(rng: random.Random, names: Sequence[str], tail: float) -> str:
    """One of the words that name a topic, the first most often."""
    return zipf_choice(rng, list(names), max(tail, 1.0))
