"""Rows of a task, and what the loaders say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]


def text_key(row: Row, fields: Iterable[str]) -> tuple[str, ...]:
    """The texts of a row, by which two rows are the same example."""
    return tuple(row[name] for name in fields)


def join_notes(notes: Iterable[str]) -> str:
    """Sentences as one note, empty ones left out."""
    return "; ".join(note for note in notes if note)


def finish_splits(splits: Mapping[str, list[Row]], fields: tuple[str, ...]) -> tuple[dict[str, list[Row]], list[str]]:
    """The splits, "dev" standing in for a missing "test", and what is to be said of them: that, and repeated rows."""
    done, notes = dict(splits), []
    if "dev" in done and "test" not in done:
        done["test"] = list(done["dev"])
        notes.append("test is a copy of dev: there was no test split")
    if "train" in done and "test" in done:
        seen = {text_key(row, fields) for row in done["train"]}
        repeated = sum(text_key(row, fields) in seen for row in done["test"])
        if repeated:
            notes.append(f"{repeated} of {len(done['test'])} test rows also stand in train")
    return done, notes


def majority(rows: Iterable[Row]) -> float | None:
    """The accuracy of always answering the commonest label, in [0, 1]; None without labelled rows."""
    counts = Counter(row["label"] for row in rows if row.get("label") is not None)
    return max(counts.values()) / counts.total() if counts else None
