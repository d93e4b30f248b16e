"""What the tasks share: collecting different rows, label noise with an exact ceiling, and the fields of a `Task`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labkit.errors import UsageError

Row = dict[str, Any]
SPLITS = {"train": 2000, "dev": 500, "test": 1000}
WITH_UNLABELLED = SPLITS | {"unlabelled": 4000}
TOPICAL = WITH_UNLABELLED | {"train": 3000}
FEWCLUE = {"train": 2400, "dev": 500, "test": 1000, "unlabelled": 2000}
PATIENCE = 3000  # rows drawn in vain, one after another, before a world counts as too small


def collect(count: int, make: Callable[[int], Row | None], fields: Sequence[str]) -> list[Row]:
    """`count` rows `make(number)` whose texts all differ; a None is drawn again.

    Raises UsageError where the world is too small or too uniform to have so many.
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
                f"this world has only about {before} different examples of {count}: raise its entities and facts, or "
                "lower its tail"
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
    return round(max(1 - noise, noise / (labels - 1)), 6)


def cut(rows: list[Row], sizes: Mapping[str, int]) -> dict[str, list[Row]]:
    """The rows in splits, in order; those of "unlabelled" lose their label."""
    splits, start = {}, 0
    for name, size in sizes.items():
        splits[name] = rows[start : start + size]
        start += size
    if "unlabelled" in splits:
        splits["unlabelled"] = [dict(row, label=None) for row in splits["unlabelled"]]
    return splits


def best_reader(posteriors: Sequence[float]) -> float:
    """The ceiling of a task: the mean probability of the likeliest label under the process that made the text, in
    [0, 1].
    """
    return sum(posteriors) / len(posteriors)


def finish_task(
    rows: list[Row], labels: Sequence[str], sizes: Mapping[str, int] = WITH_UNLABELLED, *, note: str, **fields: Any
) -> dict[str, Any]:
    """The fields of a Task of these rows, cut into splits; `fields` are further ones, or stand instead.

    The ceiling is the mean of the rows' `posterior` (the chance that the best reader is right; 1 where a row has none),
    which is taken out of them.
    """
    ceiling = best_reader([row.pop("posterior", 1.0) for row in rows])
    task = {"fields": ("text",), "labels": tuple(labels), "splits": cut(rows, sizes), "metric": "accuracy"}
    return task | {"chance": 1 / len(labels), "ceiling": ceiling, "note": note} | fields
