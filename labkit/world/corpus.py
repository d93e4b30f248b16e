"""Pre-training text: a fixed mixture of the world's genres."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from labkit.errors import unknown
from labkit.world import (
    abstracts,
    cases,
    clinical,
    comparisons,
    couplets,
    dialogue,
    facts,
    idioms,
    math_problems,
    news,
    reviews,
    winograd,
)
from labkit.world.settings import LANGUAGES, World, lexicon, randomness

Documents = Callable[[World, str, random.Random], Iterator[str]]

# Each genre with its share of the English and of the Chinese text. None leads: opinions are one thing among many, and
# comparison, which is learned late and only from dense evidence, has the largest part.
GENRES: dict[str, tuple[Documents, dict[str, float]]] = {
    "reviews": (reviews.documents, {"en": 0.22, "zh": 0.18}),
    "news": (news.documents, {"en": 0.14, "zh": 0.11}),
    # in lessons of their own: see `drill`
    "names": (partial(comparisons.documents, kinds=comparisons.NAMES), {"en": 0.0, "zh": 0.0}),
    "checks": (partial(comparisons.documents, kinds=comparisons.CHECKS), {"en": 0.10, "zh": 0.08}),
    "pairs": (comparisons.documents, {"en": 0.20, "zh": 0.16}),
    "facts": (facts.documents, {"en": 0.14, "zh": 0.09}),
    "dialogue": (dialogue.documents, {"en": 0.10, "zh": 0.06}),
    "clinical": (clinical.documents, {"en": 0.04, "zh": 0.03}),
    "cases": (cases.documents, {"en": 0.04, "zh": 0.03}),
    "math": (math_problems.documents, {"en": 0.04, "zh": 0.02}),
    "couplets": (couplets.documents, {"zh": 0.02}),
    "abstracts": (abstracts.documents, {"zh": 0.12}),
    "idioms": (idioms.documents, {"zh": 0.07}),
    "winograd": (winograd.documents, {"zh": 0.05}),
}


def genres_of(language: str) -> list[str]:
    """The genres that are written in `language`; UsageError for an unknown one."""
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    return [name for name, (_, shares) in GENRES.items() if language in shares]


def drill(language: str) -> dict[str, float]:
    """Shares for `corpus`: names and checks to nine tenths, and the mixture for the rest. From this a model learns to
    compare, within some hundred steps once it copies names; from the mixture alone it hardly does.
    """
    shares = {name: 0.1 * GENRES[name][1][language] for name in genres_of(language)}
    return shares | {"names": 0.4, "checks": 0.5}


def judging_words(language: str) -> list[str]:
    """The words with which this text agrees, doubts, denies, praises and blames, the commonest ones."""
    pairs, reviews = lexicon("pairs", language), lexicon("reviews", language)
    judged = [word for label in ("entailment", "neutral", "contradiction") for word in pairs[label]]
    for polarity in ("positive", "negative"):
        judged += reviews.get(f"verdict_{polarity}", reviews[polarity])[:12]
    return judged


def corpus(
    world: World, language: str, count: int, genres: Iterable[str] | None = None, part: str = "corpus",
    shares: Mapping[str, float] | None = None,
) -> list[str]:  # fmt: skip
    """`count` documents, each of 1–6 sentences, in random order; the same ones for the same arguments.

    `genres` restricts and keeps the relative weights of the rest; another `part` is other text of the
    same world, to test on; `shares` (genre -> weight) replaces the mixture. Raises UsageError on an
    unknown language or genre.
    """
    known = genres_of(language)
    chosen = known if genres is None else list(genres)
    for name in chosen:
        if name not in known:
            raise unknown(f"genre of language {language!r}", name, known)
    streams = [GENRES[name][0](world, language, randomness(world, part, name, language)) for name in chosen]
    rng = randomness(world, part, "mixture", language)
    shares = shares or {name: GENRES[name][1][language] for name in known}
    weights = [shares.get(name, 0.0) for name in chosen]
    order = rng.choices(streams, weights if any(weights) else None, k=count)
    return [next(stream) for stream in order]
