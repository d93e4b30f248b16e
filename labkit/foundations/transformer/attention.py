"""Attention: each token takes a weighted mean over tokens, with weights that the tokens themselves decide.

    weights = softmax(q kᵀ / √d_head)        (…, queries, keys), each row sums to 1
    mixed   = weights v                      (…, queries, d_head)

(Vaswani et al. 2017, §3.2.1.) A query says what a token looks for, a key what a token offers, a value what is passed
on. The product of two vectors of d_head independent numbers has a spread of √d_head; divided by it, the softmax stays
soft and its gradient large. Several *heads* do this side by side, each in d / heads of the d dimensions (§3.2.2).

A mask is True where a query may look.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from labkit.errors import UsageError


class Sight(NamedTuple):
    """What queries may see of keys, and how positions show in it."""

    seen: Tensor | None = None  # (…, queries, keys) bool, or what broadcasts to it
    bias: Tensor | None = None  # (heads, queries, keys), added to the scores
    between: Tensor | None = None  # (queries, keys, d_head), added to keys and to values, for each query its own


ALL = Sight()


def attention(q: Tensor, k: Tensor, v: Tensor, sight: Sight = ALL, scaled: bool = True) -> tuple[Tensor, Tensor]:
    """Queries (…, queries, d_head), keys and values (…, keys, d_head) to (mixed values, weights).

    `scaled=False` leaves the scores as they are, as T5 does. A query that may see nothing gets 0, and weights of 0.
    """
    seen, bias, between = sight
    scores = q @ k.mT  # (…, queries, keys)
    if between is not None:
        scores = scores + torch.einsum("...qd,qkd->...qk", q, between)
    if scaled:
        scores = scores / q.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    if seen is not None:
        weights = weights.masked_fill(~seen, 0)  # where nothing is seen, all scores were equal
    mixed = weights @ v
    if between is not None:
        mixed = mixed + torch.einsum("...qk,qkd->...qd", weights, between)
    return mixed, weights


def causal_mask(tokens: int, device: torch.device | None = None) -> Tensor:
    """(tokens, tokens): query i may see keys 0 … i."""
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()


def padding_mask(attention_mask: Tensor) -> Tensor:
    """(batch, tokens), 1 at real tokens, to (batch, 1, 1, keys): every query of every head may see the real keys."""
    return attention_mask[:, None, None, :].bool()


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, tokens, d) to (batch, heads, tokens, d_head); UsageError where d is no multiple of `heads`."""
    if heads < 1 or x.shape[-1] % heads:
        raise UsageError(f"d={x.shape[-1]}, heads={heads}: the width must be a multiple of the number of heads")
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(batch, heads, tokens, d_head) to (batch, tokens, d): `split_heads` undone."""
    return x.transpose(1, 2).flatten(2)


class MultiHead(nn.Module):
    """Attention in `heads` heads, between linear maps: to queries, keys and values, and from all heads together."""

    def __init__(self, d: int, heads: int, bias: bool = True, scaled: bool = True) -> None:
        super().__init__()
        self.heads, self.scaled = heads, scaled
        self.query, self.key, self.value, self.out = (nn.Linear(d, d, bias=bias) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, sight: Sight) -> Tensor:
        """Queries from `x` (batch, tokens, d), keys and values from `memory`, which may be `x`, to the shape of `x`."""
        q = split_heads(self.query(x), self.heads)  # (batch, heads, tokens, d_head)
        k, v = (split_heads(part(memory), self.heads) for part in (self.key, self.value))
        return self.out(join_heads(attention(q, k, v, sight, self.scaled)[0]))
