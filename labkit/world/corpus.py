"""Pre-training text: a fixed mixture of the world's genres."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from labkit.errors import unknown
from labkit.world import reviews
from labkit.world.settings import LANGUAGES, World, randomness

Documents = Callable[[World, str, random.Random], Iterator[str]]

# Reviews lead: polarity is learned abruptly and late, and only from dense evidence.
GENRES: dict[str, tuple[Documents, float]] = {
    "reviews": (reviews.documents, 0.6),
}


def corpus(world: World, language: str, count: int, genres: Iterable[str] | None = None) -> list[str]:
    """`count` documents, each of 1–6 sentences, in random order; the same ones for the same arguments.

    `genres` restricts and keeps the relative weights of the rest. Raises UsageError on an unknown language or genre.
    """
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    chosen = list(GENRES) if genres is None else list(genres)
    for name in chosen:
        if name not in GENRES:
            raise unknown("genre", name, GENRES)
    streams = [GENRES[name][0](world, language, randomness(world, "corpus", name, language)) for name in chosen]
    rng = randomness(world, "mixture", language)
    order = rng.choices(streams, weights=[GENRES[name][1] for name in chosen], k=count)
    return [next(stream) for stream in order]
