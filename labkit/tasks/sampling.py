"""Fewer rows: k of each label, or at most so many in all. A seed means the same rows everywhere, and 4 shots are part
of 16.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from labkit.config import SOME
from labkit.errors import DataError, UsageError
from labkit.tasks.rows import Row, join_notes, text_key

Task = TypeVar("Task")  # a labkit.tasks.Task, whose methods these are


def few_shot(task: Task, shots: int, seed: int, dev: bool = True) -> Task:
    """See `Task.few_shot`. A text that occurs twice counts once, so train, dev and unlabelled share no text; one that
    occurs under two labels is an example of neither.
    """
    if type(shots) is not int or shots < 1:
        raise UsageError(f"shots must be a whole number of 1 or more, not {shots!r}")
    if type(seed) is not int:
        raise UsageError(f"seed must be a whole number, not {seed!r}")
    pools, doubtful = _pools(task, "train", seed)
    _enough(task, pools, shots, "train")
    chosen = _interleave([pool[:shots] for pool in pools])
    splits, notes = dict(task.splits), [task.note, f"{shots} of each label, seed {seed}"]
    if doubtful:
        notes.append(f"{doubtful} texts of train stand under two labels: none of them is an example")
    splits["train"] = chosen
    splits.pop("dev", None)
    taken = {text_key(row, task.fields) for row in chosen}
    if dev:
        splits["dev"], note = _dev_rows(task, pools, shots, seed, taken)
        notes.append(note)
        taken |= {text_key(row, task.fields) for row in splits["dev"]}
    rest = [*task.splits.get("unlabelled", []), *map(_without_label, task.splits["train"])]
    splits["unlabelled"] = [row for row in rest if text_key(row, task.fields) not in taken]
    return replace(task, splits=splits, note=join_notes(notes))


def limited(task: Task, split: str, most: int) -> Task:
    """See `Task.limited`."""
    SOME.check(most, f"the limit of {split!r}")
    rows = task.splits[split]
    if len(rows) <= most:
        return task
    labels = [row.get("label") if task.answer == "class" else None for row in rows]
    kept = [rows[number] for number in spread(labels, most)]
    return replace(task, splits={**task.splits, split: kept}).with_note(
        f"{most} of the {len(rows)} {split} rows are used, drawn by a fixed seed, each label in its share"
    )


def spread(labels: Sequence[Any], most: int) -> list[int]:
    """The numbers of `most` of the rows with these labels, in their order: each label in its share, and, if `most`
    allows, with one row at least.

    >>> [sum(number >= 75 for number in spread([0] * 75 + [1] * 25, most)) for most in (4, 20)]
    [1, 5]
    """
    places: dict[Any, list[int]] = {}
    for number, label in enumerate(labels):
        places.setdefault(label, []).append(number)
    ranked = []
    for at, numbers in enumerate(places.values()):
        random.Random(f"spread/{at}").shuffle(numbers)
        ranked += [(rank / len(numbers), at, number) for rank, number in enumerate(numbers)]
    return sorted(number for _, _, number in sorted(ranked)[:most])


def _pools(task: Task, split: str, seed: int) -> tuple[list[list[Row]], int]:
    """The distinct rows of each label in an order that the seed alone decides, and how many texts have two labels."""
    first: dict[Any, Row] = {}
    doubtful = set()
    for row in task.splits.get(split, []):
        if row.get("label") is not None:
            key = text_key(row, task.fields)
            if first.setdefault(key, row)["label"] != row["label"]:
                doubtful.add(key)
    pools: list[list[Row]] = [[] for _ in task.labels]
    for row in first.values():
        pools[row["label"]].append(row)
    for label, pool in enumerate(pools):
        random.Random(f"{split}/{seed}/{label}").shuffle(pool)
    return [[row for row in pool if text_key(row, task.fields) not in doubtful] for pool in pools], len(doubtful)


def _enough(task: Task, pools: list[list[Row]], needed: int, split: str, mend: str = "") -> None:
    poorest = min(range(len(pools)), key=lambda label: len(pools[label]))
    have = len(pools[poorest])
    if have < needed:
        mend = mend or ("; " + (f"ask for {have} shots or fewer, or add rows" if have else "add rows with that label"))
        raise DataError(
            f"task {task.name}: label {task.labels[poorest]!r} has {have} distinct rows in {split!r}, "
            f"{needed} are needed{mend}"
        )


def _dev_rows(task: Task, pools: list[list[Row]], shots: int, seed: int, taken: set) -> tuple[list[Row], str]:
    """`shots` rows a label from the far end of the train pools, else from the "dev" split; and what to say of it."""
    if all(len(pool) >= 2 * shots for pool in pools):
        return _interleave([pool[-shots:] for pool in pools]), ""
    if "dev" not in task.splits:
        both = f" for {shots} to train on and {shots} for dev"
        _enough(task, pools, 2 * shots, "train", f"{both}; ask for fewer shots, add a dev split, or pass dev=False")
    fresh = [[row for row in pool if text_key(row, task.fields) not in taken] for pool in _pools(task, "dev", seed)[0]]
    _enough(task, fresh, shots, "dev")
    rows = _interleave([pool[:shots] for pool in fresh])
    tested = {text_key(row, task.fields) for row in task.splits.get("test", [])}
    shared = sum(text_key(row, task.fields) in tested for row in rows)
    return rows, f"{shared} of the {len(rows)} dev rows are test rows too: choose nothing by them" if shared else ""


def _interleave(groups: list[list[Row]]) -> list[Row]:
    """One row of each label, then the next of each: any prefix is as balanced as can be."""
    return [row for together in zip(*groups, strict=True) for row in together]


def _without_label(row: Row) -> Row:
    # "raw" holds the original row, and the answer with it
    return {**{key: value for key, value in row.items() if key != "raw"}, "label": None}
