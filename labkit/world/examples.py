"""What the tasks about facts share: collecting different rows, splits, and label noise with an exact ceiling."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from labkit.errors import UsageError
from labkit.world.settings import best_reader

Row = dict[str, Any]
SPLITS = {"train": 2000, "dev": 500, "test": 1000}
UNLABELLED = {"unlabelled": 4000}
PATIENCE = 3000  # rows drawn in vain, one after another, before a world counts as too small


def collect(count: int, make: Callable[[int], Row | None], fields: Sequence[str]) -> list[Row]:
    """`count` rows `make(number)` whose texts all differ; a None is drawn again.

    Raises UsageError where the world is too small to have so many.
    """
    rows: dict[tuple[str, ...], Row] = {}
    vain = 0
    while len(rows) < count:
        row, before = make(len(rows)), len(rows)
        if row is not None:
            rows.setdefault(tuple(row[name] for name in fields), row)
        vain = 0 if len(rows) > before else vain + 1
        if vain > PATIENCE:
            raise UsageError(
                f"this world has only about {before} different examples of {count}: raise its entities and facts"
            )
    return list(rows.values())


def behind(shown: int, labels: int, noise: float, rng: random.Random) -> int:
    """The true label behind a shown one: another with probability `noise`, all others alike.

    Drawing the truth from the shown label keeps the shown labels exactly balanced.
    """
    if rng.random() >= noise:
        return shown
    return (shown + rng.randrange(1, labels)) % labels


def kept(labels: int, noise: float) -> float:
    """The probability that the likeliest label is shown, for a reader who sees the truth, in [1 / labels, 1].

    >>> kept(2, 0.06), kept(3, 0.9)
    (0.94, 0.45)
    """
    return max(1 - noise, noise / (labels - 1))


def cut(rows: list[Row], sizes: dict[str, int]) -> dict[str, list[Row]]:
    """The rows in splits, in order; those of "unlabelled" lose their label."""
    splits, start = {}, 0
    for name, size in sizes.items():
        splits[name] = rows[start : start + size]
        start += size
    if "unlabelled" in splits:
        splits["unlabelled"] = [dict(row, label=None) for row in splits["unlabelled"]]
    return splits


def pop_ceiling(rows: list[Row]) -> float:
    """The best reader's expected accuracy, from the rows' "posterior", which is taken out of them."""
    return round(best_reader([row.pop("posterior") for row in rows]), 6)
