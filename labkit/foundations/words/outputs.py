"""Three ways to say how well a word fits a vector: full softmax, negative sampling, hierarchical softmax.

Each names, with `rows`, the rows of its table (of `size`) that words (n,) need: (n, m), or (1, m) where all need the
same. Its `loss` is the mean over pairs, a scalar in nats, of scores (pairs, m), which are products of these rows with
inputs, of the words to be said (pairs,), and of their rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.foundations.words.huffman import huffman_codes, paths

Loss = Callable[[Tensor, Tensor], Tensor]
HIDDEN = -50.0  # the score of noise that is the right word itself: it costs nothing and moves nothing


def negative_sampling_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """−log σ(positive) − Σ log σ(−negative), the mean over pairs, a scalar (Mikolov et al. 2013, eq. 4).

    `positive` (pairs,) are scores of words that do stand beside the input, `negative` (pairs, k) of words drawn.
    """
    return (F.softplus(-positive) + F.softplus(negative).sum(1)).mean()


class NegativeSampling:
    """The right word against `negatives` words drawn from `noise` (words,): 1 + k rows a word.

    All inputs of a window meet the same drawn words, so that their scores are one product of matrices (Ji et al. 2016,
    "Parallelizing word2vec in shared and distributed memory", §3).
    """

    def __init__(
        self, noise: np.ndarray, negatives: int, generator: torch.Generator, loss: Loss = negative_sampling_loss
    ) -> None:
        self.size, self.negatives, self.generator, self.pair_loss = len(noise), negatives, generator, loss
        self.bounds = torch.from_numpy(np.cumsum(noise))  # a number below bounds[i], and not below bounds[i − 1]: i

    def rows(self, words: Tensor) -> Tensor:
        """The word itself, then the noise: (n, 1 + k)."""
        drawn = torch.rand(len(words), self.negatives, generator=self.generator, dtype=torch.float64)
        noise = torch.searchsorted(self.bounds, drawn, right=True).clamp(max=self.size - 1)
        return torch.cat([words[:, None], noise], 1)

    def loss(self, scores: Tensor, words: Tensor, rows: Tensor) -> Tensor:
        """Of scores (pairs, 1 + k); see `negative_sampling_loss`."""
        negative = scores[:, 1:].masked_fill(rows[:, 1:] == words[:, None], HIDDEN)
        return self.pair_loss(scores[:, 0], negative)


class HierarchicalSoftmax:
    """A decision at each inner node of the words' Huffman tree: as many rows as the longest path has nodes."""

    def __init__(self, counts: np.ndarray, codes: Callable[[np.ndarray], list[str]] = huffman_codes) -> None:
        self.nodes, self.way = map(torch.from_numpy, paths(codes(counts)))  # (words, longest) each
        self.size = int(self.nodes.max()) + 1  # words − 1, of a tree in which no branch is missing

    def rows(self, words: Tensor) -> Tensor:
        """The nodes on the words' paths, (n, longest)."""
        return self.nodes[words]

    def loss(self, scores: Tensor, words: Tensor, rows: Tensor) -> Tensor:
        """−log p(word) = −Σ log σ(±score) over its path."""
        way = self.way[words]  # (pairs, longest)
        return (F.softplus(-way * scores) * way.abs()).sum(1).mean()


class FullSoftmax:
    """Every word against every other: the probability is exact, and each step changes the whole table."""

    def __init__(self, size: int) -> None:
        self.size = size

    def rows(self, words: Tensor) -> Tensor:
        """All of them: (1, words)."""
        return torch.arange(self.size)[None]

    def loss(self, scores: Tensor, words: Tensor, rows: Tensor) -> Tensor:
        """−log softmax(scores)[word], of scores (pairs, words)."""
        return F.cross_entropy(scores, words)


Output = NegativeSampling | HierarchicalSoftmax | FullSoftmax
