"""Texts of any length, a window at a time: what a window holds, and which one answers for a token.

A model reads so many tokens and no more. A longer text is read in windows that overlap (Devlin et al. 2019, in the code
for SQuAD); a token of two windows is answered for by the one that shows more around it. So each token has exactly one
*owner*, in training and in answering. Where a token's characters are, the tokenizer's offsets say, whatever its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.foundations.encoder import padding, to_batch
from labkit.training.batches import count_rows, split

IGNORE = -100  # the label of a token that is not asked
MOST = 256  # windows that a model reads at once: one text may be a book


@dataclass(frozen=True)
class Pieces:
    """A text's tokens without special ones, and the characters of each, `text[start:stop]`: (tokens,) each."""

    ids: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def first_of(self, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The first token that reads into each stretch of characters `begins[i]:ends[i]`; −1 where none does."""
        found = np.searchsorted(self.stops, begins, side="right")  # the first that ends after the beginning
        inside = (found < len(self.ids)) & (begins < ends)
        inside[inside] = self.starts[found[inside]] < ends[inside]
        return np.where(inside, found, -1)

    def last_of(self, ends: np.ndarray) -> np.ndarray:
        """The last token that begins before each place."""
        return np.searchsorted(self.starts, ends, side="left") - 1


def read_pieces(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Pieces]:
    """The tokens of each text, in which "[MASK]" is plain text. UsageError for a tokenizer without offsets."""
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise UsageError(f"{kind} does not say where in a text its tokens stand; take a model with a fast tokenizer")
    found = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    pieces = []
    for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True):
        places = np.array(offsets, dtype=np.int64).reshape(-1, 2)
        pieces.append(Pieces(np.array(ids, dtype=np.int64), places[:, 0], places[:, 1]))
    return pieces


@dataclass(frozen=True)
class Window:
    """Tokens `start:stop` of row `row`'s text, of which it answers for `own:own_stop`; the first stands at `at` in the
    input.
    """

    row: int
    start: int
    stop: int
    own: int
    own_stop: int
    at: int

    @property
    def places(self) -> slice:
        """Where in the input the text's tokens stand."""
        return slice(self.at, self.at + self.stop - self.start)


def overlapping(length: int, room: int, step: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop, own, own_stop) of the windows of `room` tokens, one every `step`, that cover `length` tokens.

    An overlap is owned by halves. A text of no tokens has one window.

    >>> list(overlapping(10, 6, 3))
    [(0, 6, 0, 4), (3, 9, 4, 7), (6, 10, 7, 10)]
    """
    starts = range(0, max(length - room, 0) + step, step)
    own = 0
    for start in starts:
        stop = min(start + room, length)
        own_stop = length if start == starts[-1] else (start + step + stop) // 2
        yield start, stop, own, own_stop
        own = own_stop


class Frame:
    """A tokenizer's special tokens around one text or two, as its own template puts them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: int) -> None:
        found = tokenizer(*["a"] * texts)
        kinds = found.sequence_ids(0)
        types = found.get("token_type_ids", [0] * len(kinds))
        self.pad, self.typed = padding(tokenizer), "token_type_ids" in found
        self.parts: list[list[int]] = [[] for _ in range(texts + 1)]  # before the first text, …, after the last
        self.part_types: list[list[int]] = [[] for _ in self.parts]
        self.text_types, seen = [0] * texts, 0
        for token, kind, which in zip(found["input_ids"], kinds, types, strict=True):
            if kind is None:
                self.parts[seen].append(token)
                self.part_types[seen].append(which)
            else:
                self.text_types[kind], seen = which, kind + 1

    @property
    def size(self) -> int:
        """How many special tokens there are."""
        return sum(map(len, self.parts))

    def around(self, texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
        """The ids and types of an input, and where its last text begins."""
        ids, types = [self.parts[0]], [self.part_types[0]]
        for number, text in enumerate(texts):
            ids += [text, self.parts[number + 1]]
            types += [np.full(len(text), self.text_types[number]), self.part_types[number + 1]]
        at = sum(map(len, ids[:-2]))
        return *(np.concatenate(some).astype(np.int64) for some in (ids, types)), at


def windowed(
    frame: Frame, texts: Sequence[Pieces], length: int, step: int = 0, before: Sequence[np.ndarray] = ()
) -> tuple[dict[str, Tensor], list[Window]]:
    """The texts in windows of `length` tokens at most, each behind its `before` (a question), one every `step` tokens,
    or every half window where that is less or `step` is 0: so what is no longer than a half stands whole in one.

    `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer has them, (windows, tokens), `row` (windows,);
    and the windows.
    """
    windows, ids, types = [], [], []
    for row, text in enumerate(texts):
        first = [before[row]] if before else []
        room = max(1, length - frame.size - sum(map(len, first)))
        for start, stop, own, own_stop in overlapping(len(text.ids), room, min(step or room, -(-room // 2))):
            one, kinds, at = frame.around([*first, text.ids[start:stop]])
            ids.append(one)
            types.append(kinds)
            windows.append(Window(row, start, stop, own, own_stop, at))
    batch = to_batch(ids, frame.pad)
    if frame.typed:
        batch["token_type_ids"] = to_batch(types, 0)["input_ids"]
    batch["row"] = np.array([window.row for window in windows], dtype=np.int64)
    return {name: torch.from_numpy(value) for name, value in batch.items()}, windows


def few_at_once(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A batch of windows as batches of at most MOST: a text may have any number."""
    return split(dict(batch), -(-count_rows(batch) // MOST))
