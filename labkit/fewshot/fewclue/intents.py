"""What does the customer want? Intents from a few dozen sentences: where the authors put their system to use.

The world has two such tasks, "world/intents" and "world/intents-zh", with twelve intents. ATIS (Hemphill et al. 1990),
questions to an airline, is real: each part is a folder with `seq.in`, a question a line, and `label`.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from labkit.errors import DataError, UsageError
from labkit.tasks.task import Task
from labkit.tasks.text import read_lines

PARTS = {"train": "train", "valid": "dev", "test": "test"}
PREFIX = "atis_"


def atis_task(folder: str | os.PathLike[str], least: int = 40) -> Task:
    """ATIS as a task: the intents with at least `least` training questions, and the questions that have just one.

    Label words are the intents' names; the metric is macro-F1, as three questions of four ask for a flight. Raises
    DataError naming the file and line where questions and labels do not match, UsageError where fewer than two intents
    are left.
    """
    parts = {ours: _part(Path(folder) / part) for part, ours in PARTS.items()}
    counts = Counter(label for _, label in parts["train"])
    labels = tuple(sorted(label for label, count in counts.items() if count >= least and "#" not in label))
    if len(labels) < 2:
        raise UsageError(f"{folder}: least={least} leaves {len(labels)} intents: ask for fewer questions an intent")
    rows = {
        part: [{"text": text, "label": labels.index(label)} for text, label in some if label in labels]
        for part, some in parts.items()
    }
    left = sum(len(some) for some in parts.values()) - sum(len(some) for some in rows.values())
    return Task(
        name="atis", fields=("text",), labels=labels, splits=rows, metric="macro_f1",
        patterns=("{text} . the customer is asking about {mask} .",), words={label: (label,) for label in labels},
        note=f"{left} questions of rarer or several intents left out",
    )  # fmt: skip


def _part(folder: Path) -> list[tuple[str, str]]:
    """(question, intent) of one part."""
    texts, labels = read_lines(folder / "seq.in"), read_lines(folder / "label")
    if len(texts) != len(labels):
        shorter = "label" if len(labels) < len(texts) else "seq.in"
        missing = min(len(texts), len(labels)) + 1
        raise DataError(
            f"{folder / shorter}: line {missing} is missing: seq.in has {len(texts)} lines and label {len(labels)}; "
            "give every question its intent"
        )
    return [(text, label.removeprefix(PREFIX).replace("_", " ")) for text, label in zip(texts, labels, strict=True)]
