"""How good a written text is: beside references (BLEU, NIST, METEOR; ROUGE is `labkit.tasks.rouge`), and by itself.

Texts are lists of words, so that nothing is hidden in a tokenizer. BLEU is written out; NIST and METEOR are NLTK's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

from torch import nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import answers
from labkit.foundations.language import LanguageModel

Words = Sequence[str]


def _grams(words: Words, n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def clipped_matches(candidate: Words, references: Sequence[Words], n: int) -> tuple[int, int]:
    """How many of the candidate's n-grams stand in a reference, and how many it has.

    One counts at most as often as in the reference that has it most often: "the the the" earns no three. (Papineni et
    al. 2002, §2.1)
    """
    allowed: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        allowed |= Counter(_grams(reference, n))  # the larger count of each
    given = Counter(_grams(candidate, n))
    return (given & allowed).total(), given.total()


def bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], n: int = 4) -> float:
    """BLEU of a corpus, in [0, 1]: the geometric mean of the clipped precisions of 1 to n words, times the brevity
    penalty exp(1 − r / c) where the candidates (c words) are shorter than the references nearest in length (r words).

    `references[i]` are those of candidate i, one at least. Nothing is smoothed: 0 where no n-gram matches. (Papineni et
    al. 2002, §2.3)
    """
    _paired(candidates, references)
    pairs, logs = list(zip(candidates, references, strict=True)), 0.0
    for size in range(1, n + 1):
        matches, total = map(sum, zip(*(clipped_matches(*pair, size) for pair in pairs), strict=True))
        if not matches:
            return 0.0
        logs += math.log(matches / total) / n
    near = sum(min((abs(len(ref) - len(one)), len(ref)) for ref in refs)[1] for one, refs in pairs)
    return math.exp(logs + min(0.0, 1 - near / sum(map(len, candidates))))


def _paired(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    if not candidates or len(candidates) != len(references) or not all(references):
        raise UsageError(f"{len(candidates)} candidates and references for {len(references)}: each needs one at least")


def nist(candidates: Sequence[Words], references: Sequence[Sequence[Words]], n: int = 5) -> float:
    """NIST (Doddington 2002): as BLEU, but an n-gram counts the more the rarer its last word is after the others; 0 and
    up. n is lowered to the longest candidate.
    """
    from nltk.translate.nist_score import corpus_nist

    _paired(candidates, references)
    if not any(candidates) or not any(map(any, references)):
        return 0.0  # where no text has a word
    n = min(n, max(map(len, candidates)))
    return float(corpus_nist([list(refs) for refs in references], list(candidates), n))


def meteor(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """METEOR (Banerjee and Lavie 2005) in [0, 1], the mean over texts: words are matched as they are and by their stem.
    WordNet's synonyms, a third kind of match, are left out: they would have to be downloaded.
    """
    from nltk.translate.meteor_score import meteor_score

    _paired(candidates, references)
    nothing = SimpleNamespace(synsets=lambda word: [])
    pairs = zip(references, candidates, strict=True)
    return sum(meteor_score(list(refs), list(one), wordnet=nothing) for refs, one in pairs) / len(candidates)


def distinct(texts: Sequence[Words], n: int = 2) -> float:
    """Distinct-n: different n-grams in all texts per n-gram, in [0, 1]; 0 where there is none. (Li et al. 2016, §5)"""
    grams = [gram for text in texts for gram in _grams(text, n)]
    return len(set(grams)) / max(len(grams), 1)


def repetition(texts: Sequence[Words], n: int = 4) -> float:
    """The share of n-grams that stood in the same text before, the mean over texts, in [0, 1]: seq-rep-n of Welleck et
    al. 2020, §3.1. A text without an n-gram repeats nothing.
    """
    shares = [1 - distinct([text], n) if len(text) >= n else 0.0 for text in texts]
    return sum(shares) / max(len(shares), 1)


def perplexity(model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Of the texts together under a model that reads left to right, from 1 on: the less, the likelier."""
    method = LanguageModel(tokenizer, causal=True)
    rows = [{"text": text} for text in texts]
    return method.score(rows, answers(model, method, rows))["perplexity"]
