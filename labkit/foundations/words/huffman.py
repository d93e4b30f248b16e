"""Huffman's code (Huffman 1952): frequent words get short paths from the root of a binary tree, rare ones long paths.

Hierarchical softmax (Morin & Bengio 2005; Mikolov et al. 2013, §2.1) makes a word's probability a product of decisions,
left or right, along its path: log₂(words) of them, instead of a sum over all words.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from labkit.errors import UsageError


def huffman_codes(counts: Sequence[int] | np.ndarray) -> list[str]:
    """The code of each word, "0" for left and "1" for right from the root; none begins another.

    Σ count · length is the least that any such code can reach. UsageError for fewer than two words, or a count below 0.
    """
    if len(counts) < 2 or min(counts) < 0:
        raise UsageError(f"{len(counts)} words: a code needs 2 at least, with counts of 0 or more")
    codes = [""] * len(counts)
    heap = [(int(count), number, [number]) for number, count in enumerate(counts)]  # count, for ties, words below
    heapq.heapify(heap)
    while len(heap) > 1:
        (few, _, left), (more, tie, right) = heapq.heappop(heap), heapq.heappop(heap)
        for bit, below in (("0", left), ("1", right)):
            for word in below:
                codes[word] = bit + codes[word]
        heapq.heappush(heap, (few + more, tie, left + right))
    return codes


def paths(codes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The inner nodes that each code passes, from the root, (words, longest), and which way it goes there.

    The way is +1 for "0" and −1 for "1" (float32), 0 beyond the end of the code, where the node is 0, the root.
    """
    nodes: dict[str, int] = {"": 0}  # beginning of a code → its node
    longest = max(map(len, codes))
    passed, way = np.zeros((len(codes), longest), dtype=np.int64), np.zeros((len(codes), longest), dtype=np.float32)
    for word, code in enumerate(codes):
        for depth, bit in enumerate(code):
            passed[word, depth] = nodes.setdefault(code[:depth], len(nodes))
            way[word, depth] = 1 if bit == "0" else -1
    return passed, way
