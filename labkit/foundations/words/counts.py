"""Words as rows of counts: co-occurrence, positive pointwise mutual information, truncated SVD.

"You shall know a word by the company it keeps" (Firth 1957). The table counts that company, PPMI says which of it is
more than chance (Church & Hanks 1990; Levy & Goldberg 2014, §3), and SVD writes each row with few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from labkit.errors import DataError, UsageError
from labkit.foundations.words.text import Vocabulary

MOST = 20_000  # words whose table fits memory: 1.6 GB


def cooccurrence(texts: Sequence[str], vocabulary: Vocabulary, window: int = 2) -> Tensor:
    """How often each word stands at most `window` words from each other one, in the same text.

    (words, words) float32, symmetric. UsageError for a window below 1, DataError for more words than memory holds.
    """
    size = len(vocabulary.words)
    if window < 1:
        raise UsageError(f"window={window}: it must reach at least 1 word to each side")
    if size > MOST:
        raise DataError(f"a table of {size} × {size} words does not fit memory: raise min_count ({MOST} words at most)")
    ids, place = vocabulary.encode(texts)
    table = np.zeros((size, size), dtype=np.float32)
    for step in range(1, window + 1):
        same = place[step:] == place[:-step]
        np.add.at(table, (ids[:-step][same], ids[step:][same]), 1.0)
    return torch.from_numpy(table + table.T)


def ppmi(table: Tensor) -> Tensor:
    """Positive pointwise mutual information of a table of counts, same shape: max(0, log p(w, c) / (p(w) p(c))).

    Natural logarithm; 0 where the words never meet.
    """
    expected = table.sum(1, keepdim=True) * table.sum(0) / table.sum()  # the count, if words met by chance alone
    return torch.where(table > 0, (table / expected.clamp(min=1e-30)).log(), 0.0).clamp(min=0)


def truncated_svd(table: Tensor, dimension: int) -> Tensor:
    """Rows of `table` (words, contexts) in `dimension` numbers each: U·√S of its largest singular values.

    (words, dimension) float32, largest first; the sign of a column is such that its largest entry is positive. The root
    weighs the directions more evenly than S itself (Levy, Goldberg & Dagan 2015, §3.3).
    """
    from scipy.sparse.linalg import svds

    if not 0 < dimension < min(table.shape):
        raise UsageError(f"dimension={dimension}: a table of {tuple(table.shape)} needs 1 to {min(table.shape) - 1}")
    u, s, _ = svds(table.double().numpy(), k=dimension, rng=np.random.default_rng(0))
    vectors = (u * np.sqrt(s))[:, ::-1]  # (words, dimension): svds gives the smallest first
    largest = np.abs(vectors).argmax(0), np.arange(dimension)
    return torch.from_numpy((vectors * np.where(vectors[largest] < 0, -1, 1)).astype(np.float32))
