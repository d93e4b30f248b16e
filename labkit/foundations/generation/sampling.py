"""Sampling: a token drawn from the model's distribution, sharpened or cut off before.

Temperature divides the logits; top-k keeps the k likeliest tokens (Fan et al. 2018, §5.1); the nucleus is the smallest
set of likeliest tokens that have the probability p together (Holtzman et al. 2020, §3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.config import SEED
from labkit.errors import UsageError
from labkit.foundations.generation.decoding import Stepping, decode

FEW = 1024  # where a nucleus is looked for first: to sort a vocabulary of 262 144 takes as long as to run Gemma 270M


def filtered(logits: Tensor, *, temperature: float = 1.0, k: int | None = None, p: float = 1.0) -> Tensor:
    """Logits (rows, vocabulary) divided by the temperature, −∞ for what is refused: first all but the `k` likeliest,
    then what is not in the nucleus of the rest. The softmax of the result is what is drawn from.

    UsageError for a temperature or k that is not above 0, or a p outside (0, 1].
    """
    if not 0 < temperature < float("inf"):
        raise UsageError(f"temperature={temperature}: it must be above 0; near 0 is greedy choice")
    if k is not None and k < 1:
        raise UsageError(f"k={k}: at least one token must be kept")
    if not 0 < p <= 1:
        raise UsageError(f"p={p}: the nucleus has a probability above 0 and at most 1")
    logits = logits / temperature
    if k is None and p == 1:
        return logits
    best, tokens = logits.topk(min(k or FEW, logits.shape[-1]))  # (rows, k), the likeliest first
    shares = best.softmax(-1) if k else logits.softmax(-1).gather(-1, tokens)
    if k is None and (shares.sum(-1) < p).any():  # the nucleus is larger
        best, tokens = logits.sort(descending=True)
        shares = best.softmax(-1)
    before = shares.cumsum(-1) - shares  # what the likelier ones have together
    before[..., 0] = 0.0  # exactly: one token is always kept
    if p < 1:
        best = best.masked_fill(before >= p, -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, best)


class Sampler:
    """For `decode`: draws the next token of each row, from `filtered` logits; the same texts for the same seed."""

    def __init__(self, *, temperature: float = 1.0, k: int | None = None, p: float = 1.0, seed: int = 0) -> None:
        SEED.check(seed, "seed")
        self.options, self.seed = {"temperature": temperature, "k": k, "p": p}, seed
        filtered(torch.zeros(1, 2), **self.options)  # what is wrong is said before the model runs
        self.generator: torch.Generator | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (rows, vocabulary) → tokens (rows,)."""
        self.generator = self.generator or torch.Generator(logits.device).manual_seed(self.seed)
        shares = filtered(logits, **self.options).softmax(-1)
        return torch.multinomial(shares, 1, generator=self.generator)[:, 0]


@dataclass(frozen=True)
class Choice:
    """One step of one row: the likeliest `tokens` (n,), their probability by the model (`before`) and as it was drawn
    from (`after`, 0 for what was refused), how many tokens were `kept`, the `chosen` token and its probability.
    """

    tokens: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    kept: int
    chosen: int
    probability: float


def trace(
    steps: Stepping, most: int, sampler: Sampler, *, eos: int | None = None, shown: int = 8
) -> list[Choice]:  # fmt: skip
    """What `sampler` writes after a prompt of one row, choice by choice. UsageError for more rows; else as `decode`."""
    if len(steps.logits) != 1:
        raise UsageError(f"{len(steps.logits)} rows: a trace is of one text")
    choices: list[Choice] = []

    def choose(logits: Tensor) -> Tensor:
        token = sampler(logits)
        before, after = logits[0].softmax(0), filtered(logits, **sampler.options)[0].softmax(0)
        best = before.topk(min(shown, len(before))).indices
        choices.append(Choice(
            tuple(best.tolist()), tuple(before[best].tolist()), tuple(after[best].tolist()),
            int((after > 0).sum()), int(token), float(before[token[0]]),
        ))  # fmt: skip
        return token

    decode(steps, choose, most, eos=eos)
    return choices
