"""A plain pre-LayerNorm Transformer, in which one can say of every tensor why it is kept."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.config import SEED
from labkit.parallel.memory.checkpointing import in_segments
from labkit.parallel.memory.shape import ModelShape


class Layer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)). Shapes (batch, length, width)."""

    def __init__(self, shape: ModelShape, attention: str = "explicit") -> None:
        super().__init__()
        self.heads, self.attention = shape.heads, attention
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv, self.out = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.up, self.down = nn.Linear(shape.width, shape.inner), nn.Linear(shape.inner, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        x = x + self.out(self.mix(self.qkv(self.norm1(x))))
        return x + self.down(F.gelu(self.up(self.norm2(x))))

    def mix(self, qkv: Tensor) -> Tensor:
        """Attention among the tokens: (batch, length, 3 · width) to (batch, length, width)."""
        batch, length, wide = qkv.shape
        q, k, v = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (batch, heads, length, d)
        if self.attention == "fused":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q / math.sqrt(q.shape[-1]) @ k.transpose(-1, -2)).softmax(-1) @ v
        return mixed.transpose(1, 2).reshape(batch, length, wide // 3)


class Transformer(nn.Module):
    """Embeddings, layers, a last LayerNorm, an output tied to the embeddings; the mean loss of predicting `labels`.

    `every` layers stand between two activation checkpoints (0: none).
    """

    def __init__(self, shape: ModelShape, *, attention: str = "explicit", every: int = 0, seed: int = 0) -> None:
        super().__init__()
        SEED.check(seed, "seed")
        torch.manual_seed(seed)
        self.shape, self.every = shape, every
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.places = nn.Embedding(shape.positions, shape.width)
        self.layers = nn.ModuleList(Layer(shape, attention) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """The cross-entropy over the labels that are not -100, (batch, length) both: a scalar, in fp32 at least."""
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        x = self.norm(in_segments(self.layers, x, self.every))
        logits = F.linear(x, self.words.weight).flatten(0, 1)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return F.cross_entropy(logits, labels.flatten(), reduction=reduction)
