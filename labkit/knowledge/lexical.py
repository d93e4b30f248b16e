"""Finding passages by their words: TF-IDF and BM25 over an inverted index.

An inverted index holds for each term the passages that it stands in. Nothing of a score depends on the query but
which terms it has, so what a term adds to a passage is computed once, when the index is built ("eager", Lù 2024,
*BM25S*, §2): a search only adds up a few lists.

    BM25(q, p) = Σ_{t in q} idf(t) · tf(t, p) / (tf(t, p) + k1 (1 − b + b |p| / mean length))

with idf(t) = ln(1 + (N − n_t + ½) / (n_t + ½)), for N passages of which n_t hold t: Lucene's variant. The others differ
in the idf, or give a term that is there a bonus δ (Kamphuis et al. 2020, *Which BM25 Do You Mean?*, Table 1). BM25L and
BM25+ also give a score to terms that are *not* there; it is kept once per term, and added to all passages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from labkit.errors import DataError, UsageError, unknown

Array = np.ndarray
Query = str | Mapping[str, float]  # a text, or terms with weights
IDEOGRAPH = "\u3400-\u9fff"
HAN = re.compile(f"[{IDEOGRAPH}]")
TERM = re.compile(f"[{IDEOGRAPH}]|[^\\W_{IDEOGRAPH}]+")


def terms(text: str) -> list[str]:
    """The text's words in small letters, and each Chinese character alone; marks are left out."""
    return TERM.findall(text.lower())


def best(scores: Array, k: int) -> Array:
    """The places of the k highest scores (n,), the highest first; of equal ones the first comes first. (min(k, n),)"""
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        some = np.flatnonzero(scores >= least)
    else:
        some = np.arange(len(scores))
    return some[np.argsort(-scores[some], kind="stable")][:k]


@dataclass(frozen=True, eq=False)
class Inverted:
    """For each term the passages that hold it, in order, and what it adds to the score of each."""

    vocabulary: Mapping[str, int]  # term -> its number
    starts: Array  # (terms + 1,): where the list of each term begins
    passages: Array  # (postings,) int32
    weights: Array  # (postings,) float32
    size: int  # passages
    absent: Array  # (terms,) float32: what a term adds to a passage that lacks it

    def known(self, query: Query) -> dict[int, float]:
        """The query's terms that the index knows, by number, each with its weight: how often it stands there."""
        if isinstance(query, str):
            query = Counter(terms(query))
        return {self.vocabulary[term]: weight for term, weight in query.items() if term in self.vocabulary}

    def scores(self, query: Query) -> Array:
        """The score of every passage for a query: (passages,) float32."""
        scores = np.zeros(self.size, np.float32)
        for term, weight in self.known(query).items():
            start, stop = self.starts[term], self.starts[term + 1]
            # no passage stands twice in one list
            scores[self.passages[start:stop]] += np.float32(weight) * (self.weights[start:stop] - self.absent[term])
        return scores

    def rankings(self, queries: Sequence[Query], k: int = 50) -> list[list[int]]:
        """The k best passages of each query, those first that stand first where all scores are equal."""
        return [best(self.scores(query), k).tolist() for query in queries]

    def search(self, query: Query, k: int = 10) -> tuple[Array, Array]:
        """The k best passages that share a term with the query, and their scores; fewer where fewer do.

        Raises UsageError for a query without a word, or without one that stands in a passage.
        """
        if not (known := self.known(query)):
            raise UsageError(self._strange(query))
        scores = self.scores(query)
        found = best(scores, k)
        found = found[scores[found] > 0]
        return found, scores[found] + sum(weight * self.absent[term] for term, weight in known.items())

    def fired(self, query: Query, passage: int) -> dict[str, float]:
        """The query's terms that stand in the passage, with what each adds to its score, the greatest first."""
        names, adds = {number: term for term, number in self.vocabulary.items()}, {}
        for term, weight in self.known(query).items():
            start, stop = self.starts[term], self.starts[term + 1]
            place = start + np.searchsorted(self.passages[start:stop], passage)
            if place < stop and self.passages[place] == passage:
                adds[names[term]] = float(weight * self.weights[place])
        return dict(sorted(adds.items(), key=lambda one: -one[1]))

    def _strange(self, query: Query) -> str:
        """Why nothing can be found."""
        asked = terms(query) if isinstance(query, str) else list(query)
        if not asked:
            return "the query is empty: type at least one word"
        other, own = (["English", "Chinese"][any(map(HAN.match, some))] for some in (asked, self.vocabulary))
        if other != own:
            return f"the query is in {other} and the passages are in {own}: ask in {own}"
        return f"no passage holds a word of the query {str(query)[:60]!r}: ask in other words"


def inverted(vocabulary: Mapping[str, int], vectors: sparse.spmatrix) -> Inverted:
    """The index of sparse vectors (passages, terms), one a passage."""
    columns = sparse.csc_matrix(vectors)
    columns.sort_indices()
    return Inverted(vocabulary, columns.indptr, columns.indices, columns.data.astype(np.float32),
                    vectors.shape[0], np.zeros(vectors.shape[1], np.float32))  # fmt: skip


@dataclass(frozen=True)
class _Counted:
    """How often each term stands in each passage: one number a posting, by term and then by passage."""

    vocabulary: dict[str, int]
    starts: Array  # (terms + 1,)
    passages: Array  # (postings,) int32
    often: Array  # (postings,) float64
    lengths: Array  # (passages,) terms of each passage

    @property
    def holding(self) -> Array:
        """In how many passages each term stands: (terms,)."""
        return np.diff(self.starts)

    def index(self, weights: Array, absent: Array | None = None) -> Inverted:
        """The index with these weights (postings,), and what each term adds where it is absent (terms,)."""
        nothing = np.zeros(len(self.vocabulary)) if absent is None else absent
        return Inverted(self.vocabulary, self.starts, self.passages, weights.astype(np.float32),
                        len(self.lengths), nothing.astype(np.float32))  # fmt: skip


def _counted(passages: Sequence[str]) -> _Counted:
    if not len(passages):
        raise DataError("there are no passages to index: give at least one")
    vocabulary: dict[str, int] = {}
    numbers = [
        np.array([vocabulary.setdefault(term, len(vocabulary)) for term in terms(one)], np.int64) for one in passages
    ]
    if not vocabulary:
        raise DataError("no passage holds a word: give passages of text")
    lengths = np.array([len(some) for some in numbers])
    places = np.concatenate(numbers) * len(passages) + np.repeat(np.arange(len(passages)), lengths)
    places, often = np.unique(places, return_counts=True)
    found, where = np.divmod(places, len(passages))
    starts = np.searchsorted(found, np.arange(len(vocabulary) + 1))
    return _Counted(vocabulary, starts, where.astype(np.int32), often.astype(float), lengths)


# How rare: N passages, n of them with the term.
IDF: dict[str, Callable[[int, Array], Array]] = {
    "lucene": lambda N, n: np.log1p((N - n + 0.5) / (n + 0.5)),
    "robertson": lambda N, n: np.log(np.maximum((N - n + 0.5) / (n + 0.5), 1)),
    "atire": lambda N, n: np.log(N / n),
    "bm25l": lambda N, n: np.log((N + 1) / (n + 0.5)),
    "bm25+": lambda N, n: np.log((N + 1) / n),
}
# How often: f times in a passage with the length factor s = 1 − b + b |p| / mean length.
TF: dict[str, Callable[[Array, Array, float, float], Array]] = {
    "lucene": lambda f, s, k1, delta: f / (f + k1 * s),
    "robertson": lambda f, s, k1, delta: f / (f + k1 * s),
    "atire": lambda f, s, k1, delta: (k1 + 1) * f / (f + k1 * s),
    "bm25l": lambda f, s, k1, delta: (k1 + 1) * (f / s + delta) / (k1 + f / s + delta),
    "bm25+": lambda f, s, k1, delta: (k1 + 1) * f / (f + k1 * s) + delta,
}


def bm25(
    passages: Sequence[str], variant: str = "lucene", k1: float = 1.5, b: float = 0.75, delta: float = 0.5
) -> Inverted:
    """The index of some passages with BM25's scores, of the variant that is named; `delta` counts in BM25L and BM25+.

    Raises DataError for no passages or none with a word, UsageError for an unknown variant, k1 < 0 or b outside [0, 1].
    """
    if variant not in IDF:
        raise unknown("variant of BM25", variant, IDF)
    if k1 < 0 or not 0 <= b <= 1:
        raise UsageError(f"k1={k1}, b={b}: k1 of at least 0 and b from 0 to 1 are needed")
    counted = _counted(passages)
    idf = IDF[variant](len(passages), counted.holding)
    longer = 1 - b + b * counted.lengths / counted.lengths.mean()  # (passages,)
    often = TF[variant](counted.often, longer[counted.passages], k1, delta)
    absent = TF[variant](np.zeros(1), np.ones(1), k1, delta) if k1 else np.zeros(1)
    return counted.index(np.repeat(idf, counted.holding) * often, idf * absent)


def eager(passages: Sequence[str], weight: Callable[[Array, Array, Array, float, int], Array]) -> Inverted:
    """The index with a weight of one's own, which is given arrays (postings,), and gives one.

    Its arguments: how often the term stands in the passage, how many passages hold it, how many terms the passage has,
    their mean over the passages, and the number of passages. Raises DataError as `bm25`.
    """
    counted = _counted(passages)
    holding = np.repeat(counted.holding, counted.holding)
    lengths = counted.lengths[counted.passages]
    weights = weight(counted.often, holding, lengths, float(counted.lengths.mean()), len(passages))
    return counted.index(np.asarray(weights))


def tf_idf(passages: Sequence[str]) -> Inverted:
    """The index of some passages with TF-IDF: the product of query and passage vectors, the passage's of length 1.

    A vector has tf · idf at each term, with idf = 1 + ln((1 + N) / (1 + n)). The query's length is left out: it changes
    no order. Raises DataError as `bm25`.
    """
    counted = _counted(passages)
    idf = np.repeat(1 + np.log((1 + len(passages)) / (1 + counted.holding)), counted.holding)
    squares = np.bincount(counted.passages, (counted.often * idf) ** 2, len(passages))
    return counted.index(counted.often * idf**2 / np.sqrt(squares)[counted.passages])
