"""A tokenised corpus in one array: rows as a list has them, at the cost of their numbers alone.

A dict with an array of its own costs 300 bytes and more besides its tokens; half a million documents of them do not
fit beside a model. Here a row is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, np.ndarray]


class TokenRows(Sequence[Row]):
    """Rows `{"input_ids": int32 (tokens,)}` of one array `ids` (all tokens,), cut at `starts` (rows + 1,).

    Two bytes a token and eight a row where ids fit into 16 bits, else four. A row is a copy: whoever changes it changes
    nothing here. A slice is rows of the same kind, and shares the tokens where its step is 1.
    """

    def __init__(self, ids: np.ndarray, starts: np.ndarray) -> None:
        self.ids, self.starts = ids, starts

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | np.ndarray]) -> TokenRows:
        """From token ids (tokens,) of each row."""
        parts = [np.asarray(one, dtype=np.int32) for one in sequences]
        ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
        if not len(ids) or (ids.min() >= 0 and ids.max() < 1 << 16):
            ids = ids.astype(np.uint16)
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]))

    @classmethod
    def joined(cls, parts: Sequence[TokenRows]) -> TokenRows:
        """The rows of all parts, in their order."""
        ids = np.concatenate([part.ids for part in parts]) if parts else np.zeros(0, np.uint16)
        lengths = np.concatenate([[0], *(part.lengths for part in parts)])
        return cls(ids, np.cumsum(lengths))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row: (rows,)."""
        return np.diff(self.starts)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take."""
        return self.ids.nbytes + self.starts.nbytes

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, which: Any) -> Any:
        if not isinstance(which, slice):
            number = range(len(self))[which]  # an IndexError, and a count from the end, as a list has them
            return {"input_ids": self.ids[self.starts[number] : self.starts[number + 1]].astype(np.int32)}
        numbers = range(len(self))[which]
        if numbers.step != 1 or not numbers:
            return TokenRows.of(self[number]["input_ids"] for number in numbers)
        starts = self.starts[numbers.start : numbers.stop + 1]
        return TokenRows(self.ids[starts[0] : starts[-1]], starts - starts[0])

    def __repr__(self) -> str:
        return f"TokenRows({len(self):,} rows, {len(self.ids):,} tokens, {self.nbytes:,} bytes)"
