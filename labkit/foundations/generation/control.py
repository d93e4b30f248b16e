"""Steering what is written by two more models: an expert of wanted text, an anti-expert of unwanted text (DExperts, Liu
et al. 2021, §2). Where they agree nothing changes; where they differ the base is moved, z + α (z⁺ − z⁻).
"""

from __future__ import annotations

import math

from torch import Tensor

from labkit.errors import UsageError
from labkit.foundations.generation.decoding import Stepping


class Steered:
    """Three models as one, for any decoder: logits `base + alpha * (expert - anti)`; with alpha 0 it is the base.

    All read one vocabulary; each may have prompts of its own, as many as the others. UsageError where they do not fit
    together, or alpha is no number.
    """

    def __init__(self, base: Stepping, expert: Stepping, anti: Stepping, alpha: float) -> None:
        shapes = [tuple(one.logits.shape) for one in (base, expert, anti)]
        if len(set(shapes)) > 1 or not math.isfinite(alpha):
            raise UsageError(f"alpha={alpha}, logits of shapes {shapes}: a number and one vocabulary are needed")
        self.parts, self.alpha = (base, expert, anti), alpha

    @property
    def room(self) -> float:
        """How many tokens may be written."""
        return min(one.room for one in self.parts)

    @property
    def logits(self) -> Tensor:
        """Of the next token: (rows, vocabulary)."""
        base, expert, anti = (one.logits for one in self.parts)
        return base + self.alpha * (expert - anti)

    def advance(self, tokens: Tensor) -> None:
        """All go on after these tokens (rows,)."""
        for one in self.parts:
            one.advance(tokens)

    def keep(self, rows: Tensor) -> None:
        """In all, row i goes on from what was row rows[i]."""
        for one in self.parts:
            one.keep(rows)
