"""Vectors of words, and what can be asked of them: near words, and analogies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.errors import UsageError
from labkit.foundations.words.text import Vocabulary

Near = list[tuple[str, float]]


def nearest(vectors: Tensor, query: Tensor, count: int, without: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """The rows of `vectors` (words, d) with the largest cosine to `query` (d,): their numbers and cosines, (count,)
    each, the nearest first. Rows in `without` are left out; a row of zeros is as far as one at a right angle.
    """
    cosines = F.normalize(vectors, dim=1) @ F.normalize(query, dim=0)  # (words,)
    cosines[list(without)] = -torch.inf
    found = cosines.topk(min(count, len(vectors) - len(set(without))))
    return found.indices, found.values


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A vector for each word of a vocabulary: `vectors` (words, d) float32."""

    vocabulary: Vocabulary
    vectors: Tensor

    def __getitem__(self, word: str) -> Tensor:
        """The vector of a word (d,); UsageError, which offers the nearest spelling, for an unknown word."""
        return self.vectors[self.vocabulary.number(word)]

    def neighbours(self, word: str, count: int = 10) -> Near:
        """The words with the most similar vectors, with their cosines; not the word itself."""
        return self._named(self[word], count, [word])

    def analogy(self, a: str, b: str, c: str, count: int = 5) -> Near:
        """What is to `c` as `b` is to `a`: the words nearest to b − a + c, of vectors of length 1; none of the three.

        (Mikolov, Yih & Zweig 2013, "Linguistic regularities in continuous space word representations", §4.)
        """
        start, end, other = (F.normalize(self[word], dim=0) for word in (a, b, c))
        return self._named(end - start + other, count, [a, b, c])

    def _named(self, query: Tensor, count: int, words: Sequence[str]) -> Near:
        if count < 1:
            raise UsageError(f"count={count}: ask for 1 neighbour or more")
        numbers, cosines = nearest(self.vectors, query, count, [self.vocabulary.number(word) for word in words])
        names = [self.vocabulary.words[number] for number in numbers.tolist()]
        return list(zip(names, cosines.tolist(), strict=True))


def same_kind(vectors: Tensor, kinds: Sequence[str | None], count: int = 5) -> float:
    """The share, in [0, 1], of the `count` nearest words that are of the word's own kind: of all words with a kind.

    vectors (words, d), and the kind of each, None where it has none.
    """
    asked = [row for row, kind in enumerate(kinds) if kind is not None]
    if not asked:
        raise UsageError("no word has a kind: give the kinds of some of them")
    unit, rows = F.normalize(vectors, dim=1), torch.tensor(asked)
    cosines = unit[rows] @ unit.T  # (asked, words)
    cosines[torch.arange(len(rows)), rows] = -torch.inf
    near = cosines.topk(count).indices.tolist()
    return sum(kinds[b] == kinds[a] for a, some in zip(asked, near, strict=True) for b in some) / (count * len(asked))
