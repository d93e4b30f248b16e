"""A small causal language model in plain PyTorch, on which every way of splitting a model is tried.

Pre-norm transformer blocks as in GPT-2 (Radford et al. 2019, §2.3). Two things make it easy to cut and join exactly.
The rows of `qkv` stand head by head (query, key, value of head 0, then of head 1, …), so that a slice of its rows is a
set of whole heads. And blocks are named by their number in the whole model, so that a stage's weights keep their names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.errors import UsageError
from labkit.lab import seeded


@dataclass(frozen=True)
class Shape:
    """Sizes of a `LanguageModel`: words known, longest text, width, attention heads, blocks; `tied` shares the
    embedding's matrix with the output layer.
    """

    vocabulary: int = 64
    positions: int = 16
    width: int = 32
    heads: int = 4
    layers: int = 4
    tied: bool = True

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "width", "heads", "layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.width % self.heads:
            raise UsageError(f"width {self.width} must be a multiple of the number of heads, {self.heads}")


class Attention(nn.Module):
    """Causal self-attention: (batch, tokens, width) → the same. It may hold only some of the heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.d_head = shape.width // shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """What the heads at hand read."""
        batch, tokens, _ = hidden.shape
        heads = self.qkv(hidden).view(batch, tokens, -1, 3, self.d_head)  # as many heads as are here
        q, k, v = heads.permute(3, 0, 2, 1, 4)  # each (batch, heads, tokens, d_head)
        read = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(read.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a two-layer network four times as wide inside; each reads a normalised copy and adds to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attention = Attention(shape)
        self.up, self.down = nn.Linear(shape.width, 4 * shape.width), nn.Linear(4 * shape.width, shape.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, tokens, width) → the same."""
        hidden = hidden + self.attention(self.norm1(hidden))
        return hidden + self.down(functional.gelu(self.up(self.norm2(hidden))))


class Embedding(nn.Module):
    """Word and position vectors, added."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.places = nn.Embedding(shape.positions, shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (batch, tokens) → (batch, tokens, width)."""
        return self.words(tokens) + self.places.weight[: tokens.shape[1]]


class CrossEntropy(nn.Module):
    """Mean cross-entropy of logits (…, vocabulary) and targets (…)."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss, a number."""
        return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


class Head(nn.Module):
    """The last norm, the output layer and the loss."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.width)
        self.output = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.loss = CrossEntropy()

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Hidden vectors (batch, tokens, width) and next tokens (batch, tokens) → the mean loss."""
        return self.loss(self.output(self.norm(hidden)), targets)


class LanguageModel(nn.Module):
    """Embedding, blocks, head; a pipeline stage is the same with some of them missing (see `pipeline.stage_of`)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding: Embedding | None = Embedding(shape)
        self.blocks = nn.ModuleDict({str(number): Block(shape) for number in range(shape.layers)})
        self.head: Head | None = Head(shape)
        if shape.tied:
            self.head.output.weight = self.embedding.words.weight
        for name, weight in self.named_parameters():
            if "norm" not in name:
                nn.init.normal_(weight, std=0.2)  # biases too: one added on every rank would not show if it were zero

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Token ids, or what the stage before gave → the loss, or what the next stage takes."""
        if self.embedding is not None:
            hidden = self.embedding(hidden)
        for block in self.blocks.values():
            hidden = block(hidden)
        return hidden if self.head is None else self.head(hidden, targets)


def build(shape: Shape) -> LanguageModel:
    """The model in float64, with the same weights on every rank."""
    with seeded(0):
        return LanguageModel(shape).double()


def batch(shape: Shape, rows: int, step: int) -> tuple[Tensor, Tensor]:
    """Tokens and next tokens of a step, (rows, positions) each, a function of the step alone.

    Word w is followed by 3w + 1 modulo the vocabulary, three times in four, else by any word: something to learn.
    """
    generator = torch.Generator().manual_seed(step)
    words = torch.randint(shape.vocabulary, (rows, shape.positions + 1), generator=generator)
    chance = torch.rand(words.shape, generator=generator)
    for place in range(1, shape.positions + 1):
        follows = (3 * words[:, place - 1] + 1) % shape.vocabulary
        words[:, place] = torch.where(chance[:, place] < 0.75, follows, words[:, place])
    return words[:, :-1].contiguous(), words[:, 1:].contiguous()
