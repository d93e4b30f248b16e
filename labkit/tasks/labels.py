"""What a label cell is: the one place that decides it, for tables, FewCLUE's files and the hub's data sets alike.

What nobody sees is not part of a label: space around it, characters of no width, the way an accent is composed. Of two
spellings that differ only in case one is the class, unless the caller names both. A cell may hold none: it is empty,
null, or not a number.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labkit.errors import DataError, unknown

Labels = Sequence[str] | Mapping[Any, str] | None
# Zero-width space, word joiner, byte order mark, soft hyphen: a cell copied from a page has them. The joiners of
# Persian and of emoji are spelling, except at the ends.
WIDTHLESS = re.compile("[\u200b\u2060\ufeff\u00ad]|^[\u200c-\u200f]+|[\u200c-\u200f]+$")
WHOLE = re.compile("-?[0-9]{1,18}")  # longer ones are codes, and may be too long for an int


def label_name(value: Any) -> str | None:
    """The label that a cell holds, as a text, or None where it holds none; whole numbers are written without ".0".

    Raises DataError for a list or an object.

    >>> label_name(" good\\u200b "), label_name(1.0), label_name(float("nan"))
    ('good', '1', None)
    """
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, str | int | float | None):
        raise DataError(f"a label is a text or a number, not {value!r:.40}")
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(WIDTHLESS.sub("", unicodedata.normalize("NFC", str(value)).strip()).split()) or None


class LabelIndex:
    """The label names of a task, and the index of each cell.

    Without `labels`, those that occur in `values`: whole numbers by size, otherwise by spelling, and of several cases
    of one word the commonest. `labels` names them in their order; a mapping also renames them.
    """

    def __init__(self, values: Iterable[Any], labels: Labels = None) -> None:
        if labels is None:
            found = _commonest(values)
            whole = all(WHOLE.fullmatch(name) for name in found)
            labels = sorted(found, key=lambda name: (int(name), name) if whole else (0, name))
        self.names: tuple[str, ...] = tuple(labels.values()) if isinstance(labels, Mapping) else tuple(map(str, labels))
        self.at = {label_name(name) or "": at for at, name in enumerate(labels)}
        folded = Counter(name.casefold() for name in self.at)
        self.folded = {name.casefold(): at for name, at in self.at.items() if folded[name.casefold()] == 1}
        self.other: Counter[str] = Counter()  # cells that are spelt in another case than their class

    def __contains__(self, value: Any) -> bool:
        name = label_name(value)
        return name is not None and (name in self.at or name.casefold() in self.folded)

    def index(self, value: Any, where: str) -> int | None:
        """The index of a cell's label, or None where it holds none; DataError beginning with `where` for any other."""
        try:
            name = label_name(value)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if name is None or name in self.at:
            return self.at.get(name)
        if name.casefold() not in self.folded:
            raise DataError(f"{where}: {unknown('label', name, self.at)}")
        self.other[name] += 1
        return self.folded[name.casefold()]

    def required(self, value: Any, where: str) -> int:
        """`index`, where a row without a label is an error."""
        found = self.index(value, where)
        if found is None:
            raise DataError(f"{where}: the label is empty; rows without one belong in unlabelled='FILE'")
        return found

    def note(self) -> str:
        """What is to be said of the cells that were read, or nothing."""
        spelt = ", ".join(f"{name!r} as {self.names[self.folded[name.casefold()]]!r}" for name in list(self.other)[:3])
        more = ", …" if len(self.other) > 3 else ""
        told = f"{sum(self.other.values())} labels are read in another case: {spelt}{more}; labels= keeps them apart"
        return told if self.other else ""


def _commonest(values: Iterable[Any]) -> list[str]:
    """The labels that occur, one a word: its commonest spelling."""
    cases: dict[str, Counter[str]] = {}
    for value in values:
        if (name := label_name(value)) is not None:
            cases.setdefault(name.casefold(), Counter())[name] += 1
    return [max(sorted(spelt), key=spelt.__getitem__) for spelt in cases.values()]
