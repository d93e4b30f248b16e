"""Something small to train on many ranks: a transformer, and batches that are a function of (seed, step).

So every rank can make any step's batch by itself and take its own rows of it, and one process that takes all of them
sees the same examples.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.config import SEED
from labkit.errors import UsageError

Batch = dict[str, Tensor]


class Block(nn.Module):
    """Attention to the left, then a feed-forward network, each behind a norm and beside a shortcut: 12·d² weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) → the same."""
        parts = self.into(self.before(x)).unflatten(-1, (3, self.heads, -1))  # (batch, tokens, 3, heads, d_head)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)  # (batch, heads, tokens, d_head)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.between(x))))


class Transformer(nn.Module):
    """A small language model: the next of `vocabulary` tokens from those before it."""

    def __init__(
        self, width: int = 32, layers: int = 4, heads: int = 2, vocabulary: int = 31, tokens: int = 16
    ) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(tokens, width)
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, tokens) → logits (batch, tokens, vocabulary)."""
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def new_model(seed: int = 0, dtype: torch.dtype = torch.float64, **sizes: int) -> Transformer:
    """A transformer with the weights of `seed`; `sizes` are its arguments."""
    SEED.check(seed, "seed")
    torch.manual_seed(seed)
    return Transformer(**sizes).to(dtype)


def batch_of(seed: int, step: int, rows: int = 8, tokens: int = 8, vocabulary: int = 31) -> Batch:
    """The batch of a step: ids and their successors, (rows, tokens); a token is twice the one before, plus 0 or 1."""
    SEED.check(seed, "seed")
    draw = torch.Generator().manual_seed(1_000_003 * seed + step)
    ids = torch.randint(vocabulary, (rows, tokens + 1), generator=draw)
    for place in range(tokens):
        ids[:, place + 1] = (2 * ids[:, place] + ids[:, place + 1] % 2) % vocabulary
    return {"input_ids": ids[:, :-1].contiguous(), "labels": ids[:, 1:].contiguous()}


def part_of(batch: Mapping[str, Tensor], rank: int, world: int) -> Batch:
    """The rows of `rank`: 1/world of the batch, so that the mean over the ranks' means is the batch's mean.

    UsageError where `world` does not divide the rows: ranks with fewer rows would weigh each of theirs more.
    """
    rows = len(next(iter(batch.values())))
    if rows % world:
        near = rows // world * world
        raise UsageError(
            f"a batch of {rows} rows cannot be shared equally by {world} ranks: take {f'{near} or ' if near else ''}"
            f"{near + world} rows"
        )
    own = rows // world
    return {name: tensor[rank * own : (rank + 1) * own] for name, tensor in batch.items()}


def loss_of(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean cross-entropy of the next token, in nats."""
    return F.cross_entropy(model(batch["input_ids"]).flatten(0, 1), batch["labels"].flatten())
