"""Ternary weights: each is −α, 0 or α, so it needs two bits (TernaryBERT, Zhang et al. 2020, §3.1).

Which α, and which weights become 0? TWN takes a threshold that is a share of the mean |w| (Li et al. 2016, Ternary
weight networks, §2.2). The loss-aware way weighs each weight's error by how much the loss minds it, √v of Adam (Hou &
Kwok 2018, §3). `nearest` finds the best of all ternary matrices, which neither promises.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.compression import stored
from labkit.compression.packed import PackedEmbedding, PackedLinear, pack
from labkit.compression.stored import Form

THRESHOLD = 0.7  # of the mean |w|: nearly the best for normal weights
Codes = tuple[Tensor, Tensor]  # int8 (rows, columns) of −1, 0, 1; scale (rows, 1) or (1, 1), in the weight's type


def twn(weight: Tensor, rows: bool = False) -> Codes:
    """Zero below 0.7 · mean |w|; α is the mean of what is left, the best for these zeros. With `rows`, row by row."""
    size = sharing(weight, rows).abs()
    return _with_best_scale(weight, rows, size > THRESHOLD * size.mean(1, keepdim=True))


def nearest(weight: Tensor, rows: bool = False) -> Codes:
    """The ternary matrix with the smallest Σ (w − αb)² of all.

    For k weights that are not 0, the k largest are best and α is their mean, which lowers the error by (Σ |w|)² / k; so
    one pass over the sorted weights finds the best k.
    """
    size = sharing(weight, rows).abs()
    down, order = size.double().sort(1, descending=True)
    count = torch.arange(1, down.shape[1] + 1, device=down.device)
    best = (down.cumsum(1).square() / count).argmax(1, keepdim=True)  # (rows, 1), from 0
    kept = torch.zeros_like(size, dtype=torch.bool).scatter(1, order, count[None] <= best + 1)
    return _with_best_scale(weight, rows, kept & (size > 0))


def loss_aware(weight: Tensor, curvature: Tensor, rows: bool = False, rounds: int = 10) -> Codes:
    """Lower Σ d (w − αb)² in turns: the best α for b, then the best b for α; `curvature` d is of the weight's shape.

    It begins at `twn` and never gets worse.
    """
    w, d = sharing(weight, rows), sharing(curvature, rows)
    codes, scale = twn(weight, rows)
    b = sharing(codes, rows).to(w)
    for _ in range(rounds):
        total = (b.abs() * d).sum(1, keepdim=True)
        scale = torch.where(total > 0, (b * d * w).sum(1, keepdim=True) / total.clamp(min=1e-30), scale)
        again = (w / scale.clamp(min=1e-30)).round().clamp(-1, 1) * (scale > 0)
        if torch.equal(again, b):
            break
        b = again
    return b.view_as(weight).to(torch.int8), scale


def sharing(x: Tensor, rows: bool) -> Tensor:
    """What shares a scale, as the rows of a matrix: its own rows, or all of it as one."""
    return x if rows else x.reshape(1, -1)


def _with_best_scale(weight: Tensor, rows: bool, kept: Tensor) -> Codes:
    w = sharing(weight, rows)
    scale = (w.abs() * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
    return (w.sign() * kept).view_as(weight).to(torch.int8), scale


class TernaryLinear(PackedLinear):
    """nn.Linear with two bits per weight."""

    BITS = 2


class TernaryEmbedding(PackedEmbedding):
    """nn.Embedding with two bits per weight."""

    BITS = 2


def encode(weight: Tensor, rows: bool) -> dict[str, Tensor]:
    """The buffers of a matrix (rows, columns), by `twn`; what is ternary already stays as it is."""
    codes, scale = twn(weight, rows)
    return {"packed": pack(codes, TernaryLinear.BITS), "scale": scale}


TERNARY = Form("ternary", TernaryLinear, TernaryEmbedding, encode)
apply, save, load, undo = TERNARY.apply, TERNARY.save, TERNARY.load, stored.undo
