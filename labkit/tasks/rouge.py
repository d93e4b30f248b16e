"""ROUGE: how much of a reference a written text shares (Lin 2004, §2 and §3), as F1.

Words are letters and digits between anything else, in lower case; each Chinese character is a word of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u9fff\uf900-\ufaff]+")


def words_of(text: str) -> list[str]:
    """The words that ROUGE compares.

    >>> words_of("GPT-2读新闻。")
    ['gpt', '2', '读', '新', '闻']
    """
    return WORD.findall(text.lower())


def rouge_n(reference: Sequence[str], candidate: Sequence[str], n: int) -> float:
    """F1 of the runs of `n` words that both have, each as often as it stands in both, in [0, 1]."""
    wanted, given = (
        Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1)) for words in (reference, candidate)
    )
    return _f1((wanted & given).total(), wanted.total(), given.total())


def rouge_l(reference: Sequence[str], candidate: Sequence[str]) -> float:
    """F1 of the longest sequence of words that both have in this order, gaps allowed, in [0, 1]."""
    best = [0] * (len(candidate) + 1)  # best[j]: of the reference so far and the candidate's first j words
    for word in reference:
        before = 0  # the row above, one to the left
        for j, other in enumerate(candidate, start=1):
            before, best[j] = best[j], before + 1 if word == other else max(best[j], best[j - 1])
    return _f1(best[-1], len(reference), len(candidate))


def rouge(references: Sequence[str], candidates: Sequence[str]) -> dict[str, float]:
    """{"rouge_1", "rouge_2", "rouge_l"}: the means over pairs of texts, in [0, 1]. Two texts alike have 1 in each."""
    pairs = [(words_of(one), words_of(other)) for one, other in zip(references, candidates, strict=True)]
    found = [
        (1.0, 1.0, 1.0) if one == other else (rouge_n(one, other, 1), rouge_n(one, other, 2), rouge_l(one, other))
        for one, other in pairs
    ]
    names = ("rouge_1", "rouge_2", "rouge_l")
    return {name: sum(values) / len(pairs) for name, values in zip(names, zip(*found, strict=True), strict=True)}


def _f1(shared: int, wanted: int, given: int) -> float:
    return 2 * shared / (wanted + given) if wanted + given else 0.0
