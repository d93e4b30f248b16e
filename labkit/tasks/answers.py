"""A label's cell of a table, for each kind of answer (`labkit.tasks.task.ANSWERS`): how it is read, and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.tasks.labels import LabelIndex, Labels, label_name

PARTED = {"classes": ",", "tags": " "}  # what stands between the labels of one cell


@dataclass(frozen=True)
class Cells:
    """The label column of a table. `kind` None: there is none. Of a span, `start` is the column of its place."""

    kind: str | None
    label: str
    start: str
    index: LabelIndex | None = None  # of the kinds that have label names

    @classmethod
    def of(cls, kind: str | None, label: str, start: str, rows: Iterable[Mapping[str, Any]], labels: Labels) -> Cells:
        """Those of `rows`, whose labels are all that there are, unless `labels` names them; of tags, O comes first.
        UsageError for `labels` where there are none.
        """
        if kind == "class":
            return cls(kind, label, start, LabelIndex((row[label] for row in rows), labels))
        if kind not in PARTED:
            if labels is not None:
                raise UsageError(f"label names are of classes and tags; the answers here are {kind or 'not read'}")
            return cls(kind, label, start)
        index = LabelIndex((name for row in rows for name in _parts(row[label], kind)), labels)
        if labels is None and kind == "tags" and "O" in index.names:
            index = LabelIndex((), ["O", *(name for name in index.names if name != "O")])
        return cls(kind, label, start, index)

    def read(self, values: Mapping[str, Any], text: str, where: str) -> Any:
        """What the row's cell says of `text`, as `Task.answer` has it. DataError beginning with `where`."""
        if self.kind is None:
            return None
        cell, where = values[self.label], f"{where}, field {self.label!r}"
        if self.kind == "text":
            return str(cell)
        if self.kind == "span":
            return _span(str(cell), text, values.get(self.start), where)
        if self.kind == "class":
            return self.index.required(cell, where)
        found = [self.index.required(part, where) for part in _parts(cell, self.kind)]
        if self.kind == "classes":
            return list(dict.fromkeys(found))
        words = len(text.split(" "))
        if len(found) != words:
            raise DataError(f"{where}: {len(found)} labels for {words} words: one a word is needed, parted by blanks")
        return found

    def written(self, label: Any, names: Sequence[str]) -> dict[str, str]:
        """The cells from which `read` makes `label`."""
        if self.kind is None:
            return {}
        if self.kind == "span":
            return {self.label: label["text"], self.start: str(label["start"])}
        if self.kind in PARTED:
            return {self.label: PARTED[self.kind].join(names[one] for one in label)}
        return {self.label: label if self.kind == "text" else names[label]}


def _parts(cell: Any, kind: str) -> list[str]:
    return [name for part in str(cell).split(PARTED[kind]) if (name := label_name(part)) is not None]


def _span(cell: str, text: str, start: Any, where: str) -> dict[str, Any]:
    """The answer and its place: as the table says, else where it occurs first."""
    if not cell:
        return {"text": "", "start": -1}
    try:
        place = text.find(cell) if start in (None, "") else int(start)
    except ValueError:
        raise DataError(f"{where}: its place must be a whole number, not {start!r:.60}") from None
    if place < 0 or not text.startswith(cell, place):
        at = "" if start in (None, "") else f" at {place}"
        raise DataError(f"{where}: {cell[:60]!r} does not stand in the text{at}")
    return {"text": cell, "start": place}
