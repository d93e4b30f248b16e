"""A teacher's logits beside the labels of a training table: in a column of it, or in a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labkit.compression.distill import Distill, join_teacher
from labkit.errors import DataError, UsageError
from labkit.fewshot.methods import Adapted
from labkit.tasks import Task
from labkit.tasks.text import read_lines

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Teacher:
    """Logits to learn from (Hinton et al. 2015), and how."""

    column: str = "logits"
    file: str | None = None  # a line of numbers, commas between, for each row of the table
    temperature: float = 1.0
    alpha: float = 0.5  # the teacher's share of the loss

    @contextlib.contextmanager
    def taught(self, adapted: Adapted, task: Task, out: Path, world: int) -> Iterator[tuple[Adapted, Rows]]:
        """Inside: the method that also learns from the teacher's logits, and the training rows with theirs.

        DataError for logits that are not there, no numbers, or not one for each label and row.
        """
        rows = task.splits["train"]
        if task.answer != "class":
            raise UsageError("a teacher's logits are of classes: distil text_classify or text_match")
        if self.file is not None:
            cells, where = [line.split("\t")[0] for line in read_lines(self.file)], f"{self.file}: line"
            if len(cells) != len(rows):
                raise DataError(f"{self.file}: {len(cells)} lines for {len(rows)} training rows: it must hold the "
                                "teacher's answers to them, in their order; predict the table again")  # fmt: skip
        elif self.column in rows[0]:
            cells, where = [row[self.column] for row in rows], f"{task.name}: row"
        else:
            raise DataError(f"{task.name}: no column {self.column!r} of the teacher's logits; add it to the schema, "
                            f"as {self.column}:float:{len(task.labels)}, or name a file")  # fmt: skip
        logits = [_numbers(cell, len(task.labels), f"{where} {at}") for at, cell in enumerate(cells, start=1)]
        method = Distill(adapted.method, temperature=self.temperature, alpha=self.alpha)
        yield Adapted(adapted.model, method), join_teacher(rows, np.asarray(logits, np.float32))


def _numbers(cell: Any, count: int, where: str) -> list[float]:
    """The logits of a cell: numbers by the table's schema, or a text with commas between them."""
    try:
        found = [float(part) for part in (cell.split(",") if isinstance(cell, str) else cell)]
    except (TypeError, ValueError):
        found = []
    if len(found) != count:
        raise DataError(f"{where}: {count} logits are expected, one a label, commas between, not {cell!r:.60}")
    return found
