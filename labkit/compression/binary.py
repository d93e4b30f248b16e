"""Binary weights, −α or α, and the way there that does not lose the model: ternary weight splitting (BinaryBERT, Bai et
al. 2021, §3.1).

A binary network is hard to train from the start. But each ternary matrix is the *sum* of two binary ones, and the full
weights behind it can be split so that both agree: w₁ + w₂ = w and bin(w₁) + bin(w₂) = tern(w). So the binary network
begins with the ternary one's answers, and trains on.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from labkit.checkpoints import load_tensors
from labkit.compression import stored
from labkit.compression.packed import PackedEmbedding, PackedLinear, pack
from labkit.compression.stored import Form
from labkit.compression.ternary import Codes, sharing, twn
from labkit.errors import UsageError


def bwn(weight: Tensor, rows: bool = False) -> Codes:
    """b is the sign (of 0: 1) and α the mean |w|: the nearest binary matrix (Rastegari et al. 2016, §3.1)."""
    codes = torch.where(weight >= 0, 1, -1).to(torch.int8)
    return codes, sharing(weight, rows).abs().mean(1, keepdim=True)


def split(weight: Tensor, rows: bool = False) -> tuple[Tensor, Tensor]:
    """w₁ and w₂ of the weight's shape (eqs. 6 to 9), for the ternary codes of `twn`.

    Where the code is not 0, a share `a` goes to w₁ and the rest to w₂; where it is 0, a large `b` is added to one and
    subtracted from the other, so that their signs differ. `a` and `b` are such that both halves have the scale α / 2.
    A row of zeros stays one. UsageError where a row (or the matrix) has no code 0 or nothing else, or where `a` is not
    between 0 and 1: then there is no split.
    """
    w = sharing(weight, rows)
    codes, alpha = twn(weight, rows)
    kept, size = sharing(codes, rows) != 0, w.abs()
    up, down = ~kept & (w > 0), ~kept & (w <= 0)
    inside = (size * kept).sum(1, keepdim=True)
    a = (inside + (size * down).sum(1, keepdim=True) - (size * up).sum(1, keepdim=True)) / (2 * inside)
    alpha = inside / kept.sum(1, keepdim=True)
    b = (w.shape[1] * alpha - size.sum(1, keepdim=True)) / (2 * (~kept).sum(1, keepdim=True))
    nothing = inside == 0
    a, b = a.masked_fill(nothing, 0.5), b.masked_fill(nothing, 0.0)
    if not ((a > 0) & (a < 1) & b.isfinite()).all():
        raise UsageError("a matrix of which no ternary code is 0, or nearly all are, cannot be split: train it further")
    first = torch.where(kept, a * w, torch.where(up, w + b, b.expand_as(w)))
    second = torch.where(kept, (1 - a) * w, torch.where(up, -b, w - b))
    return first.view_as(weight), second.view_as(weight)


def left_over(weight: Tensor, rows: bool = False) -> tuple[Tensor, Tensor]:
    """The weight, and what its binary form leaves over: two binary matrices without the way by a ternary one (greedy
    residuals: Guo et al. 2017, Network sketching, §3.1).
    """
    codes, scale = bwn(weight, rows)
    return weight, weight - codes * scale


Halve = Callable[[Tensor, bool], tuple[Tensor, Tensor]]  # (weight (rows, columns), whether each row has a scale)


class Split(nn.Module):
    """Two layers of one shape whose outputs are added; `first` has the bias, if there is one."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """What the two give together."""
        return self.first(x) + self.second(x)

    @property
    def weight(self) -> Tensor:
        """The sum of both matrices."""
        return self.first.weight + self.second.weight


def split_layers(model: nn.Module, names: Sequence[str], halve: Halve = split) -> nn.Module:
    """Put a `Split` in place of the named linear layers and tables of embeddings, halves of their full weights.

    `halve` is `split`, or `left_over`. UsageError where a matrix cannot be split; nothing is changed then.
    """
    halves = {name: halve(model.get_submodule(name).weight.detach(), _is_table(model, name)) for name in names}
    for name, values in halves.items():
        both = _doubled(model, name)
        for half, value in zip((both.first, both.second), values, strict=True):
            half.weight.data.copy_(value)
    return model


def _doubled(model: nn.Module, name: str) -> Split:
    """The named layer beside a copy of itself without a bias."""
    parent, _, last = name.rpartition(".")
    first = model.get_submodule(name)
    second = copy.deepcopy(first)
    if getattr(second, "bias", None) is not None:
        second.register_parameter("bias", None)
    both = Split(first, second)
    setattr(model.get_submodule(parent), last, both)
    return both


def _is_table(model: nn.Module, name: str) -> bool:
    return isinstance(model.get_submodule(name), nn.Embedding)


class BinaryLinear(PackedLinear):
    """nn.Linear with one bit per weight."""

    BITS = 1


class BinaryEmbedding(PackedEmbedding):
    """nn.Embedding with one bit per weight."""

    BITS = 1


def encode(weight: Tensor, rows: bool) -> dict[str, Tensor]:
    """The buffers of a matrix (rows, columns), by `bwn`; what is binary already stays as it is."""
    codes, scale = bwn(weight, rows)
    return {"packed": pack(codes, BinaryLinear.BITS), "scale": scale}


BINARY = Form("binary", BinaryLinear, BinaryEmbedding, encode)
apply, save, undo = BINARY.apply, BINARY.save, stored.undo


def load(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Fill the float32 skeleton `model`, whose layers are split as the file's are. CheckpointError as `Form.load`."""
    names = {name.removesuffix(".packed") for name in load_tensors(path, "save the model again")[0]}
    for name in [name.removesuffix(".second") for name in names if name.endswith(".second")]:
        _doubled(model, name)
    return BINARY.load(model, path)
