"""k rows of each label, drawn so that a seed means the same rows everywhere and 4 shots are part of 16."""

from __future__ import annotations

import random
from dataclasses import replace

from labkit.errors import DataError, UsageError
from labkit.tasks.task import Row, Task, join_notes, text_key


def few_shot(task: Task, shots: int, seed: int, dev: bool = True) -> Task:
    """See `Task.few_shot`. A text that occurs twice counts once, so train, dev and unlabelled share no text."""
    if type(shots) is not int or shots < 1:
        raise UsageError(f"shots must be a whole number of 1 or more, not {shots!r}")
    if type(seed) is not int:
        raise UsageError(f"seed must be a whole number, not {seed!r}")
    pools = _pools(task, "train", seed)
    _enough(task, pools, shots, "train")
    chosen = _interleave([pool[:shots] for pool in pools])
    splits, notes = dict(task.splits), [task.note, f"{shots} of each label, seed {seed}"]
    splits["train"] = chosen
    splits.pop("dev", None)
    taken = {text_key(row, task.fields) for row in chosen}
    if dev:
        splits["dev"], note = _dev_rows(task, pools, shots, seed, taken)
        notes.append(note)
        taken |= {text_key(row, task.fields) for row in splits["dev"]}
    rest = [_without_label(row) for row in task.splits["train"] if text_key(row, task.fields) not in taken]
    splits["unlabelled"] = [*task.splits.get("unlabelled", []), *rest]
    return replace(task, splits=splits, note=join_notes(notes))


def _pools(task: Task, split: str, seed: int) -> list[list[Row]]:
    """The distinct rows of each label in an order that the seed alone decides."""
    pools: list[list[Row]] = [[] for _ in task.labels]
    seen = set()
    for row in task.splits.get(split, []):
        key = text_key(row, task.fields)
        if row.get("label") is not None and key not in seen:
            seen.add(key)
            pools[row["label"]].append(row)
    for label, pool in enumerate(pools):
        random.Random(f"{split}/{seed}/{label}").shuffle(pool)
    return pools


def _enough(task: Task, pools: list[list[Row]], shots: int, split: str) -> None:
    poorest = min(range(len(pools)), key=lambda label: len(pools[label]))
    have = len(pools[poorest])
    if have < shots:
        mend = f"ask for {have} shots or fewer, or add rows" if have else "add rows with that label"
        raise DataError(
            f"task {task.name}: label {task.labels[poorest]!r} has {have} distinct rows in {split!r}, "
            f"{shots} are needed; {mend}"
        )


def _dev_rows(task: Task, pools: list[list[Row]], shots: int, seed: int, taken: set) -> tuple[list[Row], str]:
    """`shots` rows a label from the far end of the train pools, else from the "dev" split; and what to say of it."""
    if all(len(pool) >= 2 * shots for pool in pools):
        return _interleave([pool[-shots:] for pool in pools]), ""
    if "dev" not in task.splits:
        poorest = min(range(len(pools)), key=lambda label: len(pools[label]))
        raise DataError(
            f"task {task.name}: label {task.labels[poorest]!r} has {len(pools[poorest])} distinct rows in 'train', "
            f"{2 * shots} are needed for {shots} to train on and {shots} for dev; "
            "ask for fewer shots, add a dev split, or pass dev=False"
        )
    fresh = [[row for row in pool if text_key(row, task.fields) not in taken] for pool in _pools(task, "dev", seed)]
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
