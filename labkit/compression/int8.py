"""Int8 by rows: a quarter of the bytes, and integer arithmetic instead of floating point.

A weight row w is stored as round(w / s) with s = ‖w‖∞/127, and each token's activation x is rounded in the same way as
it arrives, so nothing has to be calibrated (row-wise absmax as in BMInf, Han et al. 2022; vector-wise quantisation in
Dettmers et al. 2022, §2.1). The products are summed exactly in int32 and multiplied by both scales at the end. Rounding
moves each weight by at most s_w/2 and each activation by at most s_x/2, which bounds an output's error by

    ‖x‖∞‖w‖₁/254 + ‖w‖∞‖x‖₁/254 + n‖x‖∞‖w‖∞/254²        (n = input features)

One huge activation makes ‖x‖∞ huge, and with it the step of all others of its token. So the few columns that hold such
outliers can be left out of the rounding (`keep_outliers`, LLM.int8: Dettmers et al. 2022, §3).

Notable: whether the machine's int8 kernel is exact, and faster than floats, is *tried*, not assumed: without VNNI such
kernels add pairs in 16 bits and saturate in silence, or are plain loops. Where it is not, the same integers are
multiplied in floats wide enough to hold them.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from labkit.compression import stored
from labkit.compression.stored import Form, Stored, StoredEmbedding
from labkit.config import positive
from labkit.errors import UsageError

LEVELS = 127  # symmetric: −128 is never used, so that −q is as exact as q
TINY = torch.finfo(torch.float32).tiny  # smaller divisors are subnormal and would push quotients past 127


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of `x` (…, n) to integers in −127…127: (int8 of x's shape, float32 scale (…, 1)).

    x ≈ q · scale, off by at most scale/2. A row of zeros gets scale 0; a row that holds NaN or infinity gets that
    scale, so that what it multiplies is NaN rather than a wrong number.
    """
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True).div_(LEVELS)  # (…, 1)
    q = x.div(scale.clamp(min=TINY)).round_()  # within ±127 without clamping: |x| ≤ 127 · scale up to one rounding
    return q.nan_to_num_(0.0).to(torch.int8), scale


def int8_matmul(a: Tensor, b: Tensor) -> Tensor:
    """a (m, k) int8 times the transpose of b (n, k) int8, summed exactly: (m, n) int32.

    Uses the int8 kernel where it exists, allows the shape and has proved exact and fast on this machine; else floats: a
    product is at most 127², so float32 holds every partial sum while k·127² < 2²⁴, and float64 holds the rest.
    """
    return torch._int_mm(a, b.t()) if _kernel_allows(a, b) else _by_floats(a, b)


def _by_floats(a: Tensor, b: Tensor) -> Tensor:
    wide = torch.float32 if a.device.type == "cpu" and a.shape[1] * LEVELS**2 < 2**24 else torch.float64
    return (a.to(wide) @ b.to(wide).t()).to(torch.int32)


def _kernel_allows(a: Tensor, b: Tensor) -> bool:
    rows, inner = a.shape
    if a.device.type == "cuda":  # cuBLASLt's conditions
        return rows > 16 and inner % 8 == 0 and b.shape[0] % 8 == 0
    # with one input feature the CPU kernel of torch 2.13 misreads the transposed weight
    return a.device.type == "cpu" and inner > 1 and rows > 0 and _kernel_is_exact() and _kernel_is_fast()


@functools.cache
def _kernel_is_exact() -> bool:
    """Whether this CPU's int8 kernel sums the largest products exactly (it saturates where VNNI is missing)."""
    try:
        for rows, inner, columns in ((1, 64, 16), (33, 130, 48)):
            signs = 1 - 2 * (torch.arange(columns) % 2)  # (columns,) alternating ±1: the largest sums of both signs
            a = torch.full((rows, inner), LEVELS, dtype=torch.int8)
            b = (LEVELS * signs).to(torch.int8)[:, None].expand(columns, inner).contiguous()
            if not torch.equal(torch._int_mm(a, b.t()), (signs * LEVELS**2 * inner).int().expand(rows, columns)):
                return False
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    return True


@functools.cache
def _kernel_is_fast() -> bool:
    """Whether this CPU's int8 kernel, which is there, is faster than floats, on a layer of 256 × 256."""
    a, b = (torch.ones(rows, 256, dtype=torch.int8) for rows in (128, 256))

    def seconds(product: Callable[[], Tensor]) -> float:
        times = []
        for _ in range(4):
            began = time.perf_counter()
            product()
            times.append(time.perf_counter() - began)
        return min(times)

    return seconds(lambda: torch._int_mm(a, b.t())) < seconds(lambda: _by_floats(a, b))


class _Int8Product(torch.autograd.Function):
    """x (tokens, in) times the transpose of weight · scale (out, in): rounded, multiplied as integers, scaled back.

    Backward as if the de-quantised weight had been used (straight-through).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        q, s = quantise(x)  # (tokens, in), (tokens, 1)
        return int8_matmul(q, weight).float().mul_(scale.t()).mul_(s).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return grads[0] @ (weight.float() * scale).to(grads[0].dtype), None, None


class Int8Linear(Stored):
    """nn.Linear with int8 weights (out, in) and activations rounded per token; bias stays as it was.

    Gradients reach the input and the bias (straight-through), so that a delta may be trained on an int8 backbone.
    """

    FLOAT = nn.Linear
    limit: float = math.inf  # columns of x in which some token reaches it are not rounded

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) to (…, out) in x's type; a token that holds NaN or infinity comes out as NaN."""
        tokens = x.reshape(-1, self.in_features)
        kept = outliers(tokens.detach(), self.limit) if self.limit < math.inf else tokens.new_empty(0, dtype=torch.long)
        out = _Int8Product.apply(tokens.index_fill(1, kept, 0) if len(kept) else tokens, self.integers, self.scale)
        if len(kept):
            out = out + tokens[:, kept] @ (self.integers[:, kept].float() * self.scale).to(x.dtype).t()
        out = out.view(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def outliers(x: Tensor, limit: float) -> Tensor:
    """Numbers of the columns of x (tokens, n) in which some |x| is `limit` or more: (found,)."""
    return (x.abs() >= limit).any(0).nonzero()[:, 0]


def keep_outliers(model: nn.Module, limit: float = 6.0) -> nn.Module:
    """From now on the int8 layers of `model` multiply outlier columns of their inputs in floating point, by what the
    codes of these columns stand for. A setting of the run: no file keeps it. UsageError where no layer is int8.
    """
    positive("limit", limit)
    layers = [module for module in model.modules() if isinstance(module, Int8Linear)]
    if not layers:
        raise UsageError("the model has no int8 layer: int8.apply(model) first")
    for layer in layers:
        layer.limit, layer.held = limit, (*dict.fromkeys((*layer.held, "limit")),)  # `undo` removes what is held
    return model


class Int8Embedding(StoredEmbedding):
    """nn.Embedding with int8 rows."""


def encode(weight: Tensor, rows: bool = True) -> dict[str, Tensor]:
    """The buffers of a matrix (rows, columns); every row has its own scale, whether asked for or not."""
    return dict(zip(("integers", "scale"), quantise(weight), strict=True))


INT8 = Form("int8", Int8Linear, Int8Embedding, encode)
apply, save, load, undo = INT8.apply, INT8.save, INT8.load, stored.undo
