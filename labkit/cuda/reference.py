"""Every operation of the kernels in plain PyTorch: what they are tested against, and what runs without a GPU.

Half-precision tensors are computed in float32 and rounded once, where a kernel would store; float64 stays float64, so
the formulas can be checked by `gradcheck`. Arguments and results are those of `kernels.py`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 7
_WORD = 0xFFFFFFFF


def accumulate(tensor: Tensor) -> Tensor:
    """The tensor in the type that sums are made in: float64 stays, all else is float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _added(x: Tensor, bias: Tensor | None) -> Tensor:
    return accumulate(x) if bias is None else accumulate(x) + accumulate(bias)


# Dropout


def philox(seed: Tensor, row: Tensor, group: Tensor) -> list[Tensor]:
    """Philox-4x32 with 7 rounds (Salmon et al. 2011): four 32-bit numbers for each (seed, row, group of 4 columns).

    Arguments are int64 tensors that broadcast; the results are int64 in [0, 2^32).
    """
    key0, key1 = seed & _WORD, (seed >> 32) & _WORD
    x = [group & _WORD, row & _WORD, (row >> 32) & _WORD, torch.zeros_like(row)]
    for _ in range(ROUNDS):
        # A product of two 32-bit words wraps around in int64, but its 64 bits are right.
        first, second = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        high0, high1 = (first >> 32) & _WORD, (second >> 32) & _WORD
        x = [high1 ^ x[1] ^ key0, second & _WORD, high0 ^ x[3] ^ key1, first & _WORD]
        key0, key1 = (key0 + 0x9E3779B9) & _WORD, (key1 + 0xBB67AE85) & _WORD
    return list(torch.broadcast_tensors(*x))


def threshold(p: float) -> int:
    """A 32-bit number below this drops its element."""
    return min(int(p * 2**32), _WORD)


def keep_mask(seed: Tensor, rows: int, width: int, p: float) -> Tensor:
    """(rows, width) bool, True where dropout keeps: the mask of the kernels, bit for bit. `seed` is int64 [1]."""
    if threshold(p) == 0:
        return torch.ones(rows, width, dtype=torch.bool, device=seed.device)
    row = torch.arange(rows, device=seed.device)[:, None]
    group = torch.arange(math.ceil(width / 4), device=seed.device)[None, :]
    numbers = torch.stack(philox(seed, row, group), dim=-1).flatten(1)[:, :width]
    return numbers >= threshold(p)


# Bias + dropout + residual + LayerNorm


def layernorm_forward(
    x: Tensor, bias: Tensor | None, residual: Tensor, weight: Tensor, shift: Tensor, p: float, seed: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, z = residual + dropout(x + bias), and the mean and 1/sqrt(variance + eps) of each row of z."""
    rows, width = x.shape
    kept = keep_mask(seed, rows, width, p)
    z = (accumulate(residual) + torch.where(kept, _added(x, bias) / (1 - p), 0.0)).to(x.dtype)
    whole = accumulate(z)
    mean = whole.mean(1)
    rstd = ((whole - mean[:, None]).square().mean(1) + eps).rsqrt()
    normal = (whole - mean[:, None]) * rstd[:, None]
    return (normal * accumulate(weight) + accumulate(shift)).to(x.dtype), z, mean, rstd


def layernorm_backward(
    dy: Tensor, dz: Tensor | None, z: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, p: float, seed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of residual and x, and (3, width) those of bias, weight and shift, summed over the rows.

    `dz` is z's own gradient, or None. Without dropout x's gradient is residual's, and comes back empty.
    """
    upper, rows = accumulate(dy), z.shape[0]
    normal = (accumulate(z) - mean[:, None]) * rstd[:, None]
    g = upper * accumulate(weight)
    down = rstd[:, None] * (g - g.mean(1, keepdim=True) - normal * (g * normal).mean(1, keepdim=True))
    down = down if dz is None else down + accumulate(dz)
    dx = torch.where(keep_mask(seed, rows, z.shape[1], p), down / (1 - p), 0.0)
    sums = torch.stack([dx.sum(0), (upper * normal).sum(0), upper.sum(0)])
    return down.to(z.dtype), dx.to(z.dtype) if threshold(p) else dx.new_empty(0, dtype=z.dtype), sums


# Bias + GELU


def gelu_forward(x: Tensor, bias: Tensor | None) -> Tensor:
    """gelu(x + bias)."""
    return F.gelu(_added(x, bias)).to(x.dtype)


def gelu_backward(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the bias (empty without one)."""
    dx = torch.ops.aten.gelu_backward(accumulate(dy), _added(x, bias))
    return dx.to(x.dtype), dx.new_empty(0) if bias is None else dx.sum(0)


# Scale + mask + softmax


def softmax_forward(x: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(scale * x + mask) of (a, b, c, width); a row that is masked whole gives zeros."""
    scores = accumulate(x) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + accumulate(mask)
    empty = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0.0).softmax(-1).masked_fill(empty, 0.0).to(x.dtype)


def softmax_backward(dy: Tensor, y: Tensor, scale: float) -> Tensor:
    """Gradient of x: scale * y * (dy - sum(dy * y))."""
    upper, share = accumulate(dy), accumulate(y)
    return (scale * share * (upper - (upper * share).sum(-1, keepdim=True))).to(y.dtype)


# Eight-bit integers


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, width) int8 and (rows,) float32: x ≈ q * scale, scale = largest |x| of the row / 127.

    A row of zeros has scale 0; a row with NaN or infinity has scale NaN and q = 0, so that it cannot pass unseen.
    """
    whole = x.float()
    largest = whole.abs().amax(1) if x.shape[1] else whole.new_zeros(x.shape[0])
    sound = largest.isfinite()
    most = torch.full_like(largest, 127.0)  # a tensor: PyTorch divides by a plain number in another way
    factor = torch.where(sound & (largest > 0), most / largest, 0.0)
    q = (whole * factor[:, None]).nan_to_num(0.0).round().clamp(-127, 127).to(torch.int8)
    return q, torch.where(sound, largest / most, math.nan)


def int8_matmul(
    q: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """(q @ weightᵀ) * scale * weight_scale + bias, the product in exact integers."""
    # float64 holds every sum of up to 2^38 such products exactly, and has a fast matrix product on any device.
    product = (q.double() @ weight.double().T).float()
    out = product * (scale[:, None] * weight_scale[None, :])
    return (out if bias is None else out + bias.float()).to(dtype)


def int8_linear(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """x, quantised row by row, times an int8 weight."""
    return int8_matmul(*quantise_rows(x), weight, weight_scale, bias, x.dtype)


# Cross-entropy


def cross_entropy_forward(logits: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Loss and log-sum-exp of each row: 0 where the target is ignored, NaN where it is outside the vocabulary."""
    whole = accumulate(logits)
    lse = whole.logsumexp(1)
    safe, inside = _targets(targets, logits.shape[1])
    loss = torch.where(inside, lse - whole.gather(1, safe[:, None])[:, 0], math.nan)
    return loss.masked_fill(targets == ignore_index, 0.0), lse


def cross_entropy_backward(dloss: Tensor, logits: Tensor, targets: Tensor, lse: Tensor, ignore_index: int) -> Tensor:
    """Gradient of the logits: (softmax - one-hot) * dloss; 0 for ignored rows."""
    safe, inside = _targets(targets, logits.shape[1])
    share = (accumulate(logits) - lse[:, None]).exp()
    share = share - F.one_hot(safe, logits.shape[1])
    gradient = torch.where(inside[:, None], share * dloss[:, None], math.nan)
    return gradient.masked_fill((targets == ignore_index)[:, None], 0.0).to(logits.dtype)


def _targets(targets: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    inside = (targets >= 0) & (targets < vocabulary)
    return targets.where(inside, 0), inside


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """x[index], rows."""
    return x[index]


def scatter_rows(dy: Tensor, index: Tensor, rows: int) -> Tensor:
    """The gradient of `gather_rows`: row i of `dy` at row index[i] of `rows`, zeros elsewhere; no index twice."""
    return dy.new_zeros(rows, dy.shape[1]).index_copy(0, index, dy)
