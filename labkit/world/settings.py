"""The dials of the teaching world, and the deterministic randomness that everything in it is drawn with."""

from __future__ import annotations

import functools
import importlib.resources
import json
import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from labkit.errors import unknown

LANGUAGES = ("en", "zh")
LONGEST = {"en": 62, "zh": 94}  # words and marks of a pre-training document, or characters
# Raised whenever the text or the tasks change: results and trained models name the version they were made with.
VERSION = 2


@dataclass(frozen=True)
class World:
    """One setting of the world. Two equal settings give the same graph, text and tasks, byte for byte.

    Each dial turns one phenomenon that a lesson studies.
    """

    seed: int = 0
    tail: float = 0.7  # word weights 1 / (rank + 2) ** tail
    entity_tail: float = 1.0  # the same for entities: frequent ones are spoken of far more often
    entities: int = 2000
    facts: int = 8000
    held_out: float = 0.1  # share of facts that no text states
    paraphrases: int = 4  # ways to state one relation, at most
    domain_shift: float = 0.15  # share of a domain's opinion words that only that domain uses
    label_noise: float = 0.12  # how often an opinion contradicts its review; other tasks take twice or half of it
    contextual: float = 0.25  # share of judgements whose word is praise of one noun and blame of another
    negation: float = 0.12  # share of opinions worded with the opposite word and a negation
    contrast: float = 0.1  # share of opinions of two clauses, of which the last counts
    comments: float = 0.4  # share of a pre-training review's opinions with a comment ("sadly ,", ", which was bad")
    plain: float = 0.5  # share of pre-training reviews with nothing composed or mixed: where words' polarity is learned
    mixed: float = 0.15  # share of a pre-training review's opinions that lean the other way
    opinions: tuple[int, int] = (2, 4)  # a pre-training review, least and most
    neutral: tuple[int, int] = (0, 2)
    verdicts: float = 0.5  # share of pre-training reviews that close with a verdict
    task_opinions: tuple[int, int] = (2, 4)  # a task's review
    task_neutral: tuple[int, int] = (0, 2)
    task_composed: float = 0.4  # share of `contextual`, `negation` and `contrast` that a task's reviews keep
    bias: float = 0.2  # extra chance of a harsh outcome for one group, in cases

    @property
    def ambiguity(self) -> float:
        """Share of idioms and pronouns that their context does not decide: twice the label noise, at most 1."""
        return min(1.0, 2 * self.label_noise)


def randomness(world: World, *keys: object) -> random.Random:
    """A generator of its own for each purpose, so that adding one text never changes another."""
    return random.Random("/".join(str(key) for key in (world.seed, *keys)))


@functools.cache
def lexicon(name: str, language: str) -> dict[str, Any]:
    """The words and sentence patterns of one genre in one language, from `lexicon/NAME.json` or
    `lexicon/NAME_LANGUAGE.json`. Read only.
    """
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    folder = importlib.resources.files("labkit.world").joinpath("lexicon")
    own = folder.joinpath(f"{name}_{language}.json")
    if own.is_file():
        return json.loads(own.read_text(encoding="utf-8"))
    return json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8"))[language]


@functools.cache
def cumulative_zipf(count: int, tail: float) -> list[float]:
    """Cumulative weights `1 / (rank + 2) ** tail` for `random.choices(…, cum_weights=…)`."""
    return list(accumulate(1.0 / (rank + 2) ** tail for rank in range(count)))


def zipf_choice(rng: random.Random, items: list[Any], tail: float) -> Any:
    """One of `items`, the early ones more often."""
    return rng.choices(items, cum_weights=cumulative_zipf(len(items), tail))[0]


def join(sentences: list[str], language: str) -> str:
    """Sentences as one text: spaces between in English, none in Chinese."""
    return (" " if language == "en" else "").join(sentences)


def fits(text: str, language: str) -> bool:
    """Is the text short enough for a pre-training document? At most `LONGEST` words and marks, or characters."""
    return len(text.split() if language == "en" else text) <= LONGEST[language]
