"""Text as word numbers, and the windows that words stand in: what every method of this package counts or learns from.

word2vec's two dials on the text are here too (Mikolov et al. 2013, "Distributed representations of words and phrases
and their compositionality"): commonest words are read less often (§2.3), near words count more than far ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labkit.errors import DataError, UsageError, unknown


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words, the most frequent first, and how often each occurs, (words,) int64."""

    words: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str], min_count: int = 1) -> Vocabulary:
        """The words, separated by spaces, that occur at least `min_count` times; DataError for fewer than two."""
        found = Counter(word for text in texts for word in text.split())
        kept = [(word, count) for word, count in found.most_common() if count >= min_count]
        if len(kept) < 2:
            mend = "give more text, or lower min_count"
            raise DataError(f"{len(kept)} words occur {min_count} times or more in the texts, 2 are needed: {mend}")
        return cls(tuple(word for word, _ in kept), np.array([count for _, count in kept]))

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Word → its place in `words`."""
        return {word: number for number, word in enumerate(self.words)}

    def number(self, word: str) -> int:
        """The place of a word; UsageError, which offers the nearest one, for a word that is not there."""
        if word not in self.numbers:
            raise unknown("word", word, self.words)
        return self.numbers[word]

    def encode(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """All texts in one row: the words' numbers (n,) and the number of the text that each stands in (n,).

        Words that are not in the vocabulary are left out, so that their neighbours move together.
        """
        numbers, ids, places = self.numbers, [], []
        for place, text in enumerate(texts):
            known = [numbers[word] for word in text.split() if word in numbers]
            ids += known
            places += [place] * len(known)
        return np.array(ids, dtype=np.int64), np.array(places, dtype=np.int64)


def keep_probability(counts: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    """How likely an occurrence of each word is to be read, (words,): 1 − p with p = 1 − √(t / f) (§2.3, eq. 5).

    f is the word's share of the text and t the threshold; words that are rarer than it are always read.
    """
    return np.minimum(1.0, np.sqrt(threshold * counts.sum() / counts))


def noise_distribution(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    """The probability with which negative sampling draws each word, (words,) ∝ count^power (§2.2)."""
    weights = counts.astype(np.float64) ** power
    return weights / weights.sum()


def windows(ids: np.ndarray, texts: np.ndarray, at: np.ndarray, reach: np.ndarray, none: int = -1) -> np.ndarray:
    """The words around the places `at` (n,) of a row, at most `reach` (n,) away and in the same text.

    Ids (n, 2·max(reach)), from left to right, `none` where there is no such word. UsageError for a reach below 1.
    """
    if reach.min(initial=1) < 1:
        raise UsageError(f"a window of {reach.min()} words: it must reach at least 1 word to each side")
    most = int(reach.max(initial=1))
    steps = np.concatenate([np.arange(-most, 0), np.arange(1, most + 1)])
    there = at[:, None] + steps  # (n, 2·most)
    inside = np.clip(there, 0, len(ids) - 1)
    words = (there == inside) & (texts[inside] == texts[at][:, None]) & (np.abs(steps) <= reach[:, None])
    return np.where(words, ids[inside], none)
