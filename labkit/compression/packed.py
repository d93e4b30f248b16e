"""Codes of one or two bits, packed into bytes, and layers that compute with them in integers.

An activation is rounded to 256 steps between the smallest and the largest of its token (min-max, Zhang et al. 2020,
§3.2): x ≈ s (q + 128) + low. With codes b and scale α the product is α (s Σ qb + (128 s + low) Σ b): one integer
product, and one sum of codes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.compression.int8 import TINY, int8_matmul
from labkit.compression.stored import Stored, StoredEmbedding
from labkit.errors import UsageError

STEPS, MIDDLE = 255, 128


def pack(codes: Tensor, bits: int) -> Tensor:
    """codes (…, n) int8, −1, 0 or 1 with two bits, −1 or 1 with one, to uint8 (…, ⌈n · bits / 8⌉), first code lowest.

    UsageError for another number of bits, or for another code.
    """
    _check(bits)
    known = codes.abs() == 1 if bits == 1 else codes.abs() <= 1
    if not known.all():
        raise UsageError(f"in {bits} bits there is no place for the code {int(codes[~known][0])}")
    numbers = (codes + 1) // (3 - bits)  # from 0
    per = 8 // bits
    numbers = F.pad(numbers.to(torch.uint8), (0, -codes.shape[-1] % per)).unflatten(-1, (-1, per))
    return (numbers << _shifts(bits, codes.device)).sum(-1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` codes of each row: uint8 (…, bytes) to int8 (…, count)."""
    _check(bits)
    numbers = ((packed[..., None] >> _shifts(bits, packed.device)) & (2**bits - 1)).flatten(-2)[..., :count]
    return numbers.to(torch.int8) - 1 if bits == 2 else 2 * numbers.to(torch.int8) - 1


def _check(bits: int) -> None:
    if bits not in (1, 2):
        raise UsageError(f"bits={bits}: codes are packed in 1 or 2 bits")


def _shifts(bits: int, device: torch.device) -> Tensor:
    return bits * torch.arange(8 // bits, dtype=torch.uint8, device=device)


def minmax(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x (…, n) to int8 (…, n) with step and lowest value (…, 1): x ≈ step · (q + 128) + lowest, off by step/2."""
    x = x.float()
    low = x.amin(-1, keepdim=True)
    step = (x.amax(-1, keepdim=True) - low) / STEPS
    q = ((x - low) / step.clamp(min=TINY)).round().clamp(0, STEPS) - MIDDLE
    return q.nan_to_num(0.0).to(torch.int8), step, low


def rounded(x: Tensor) -> Tensor:
    """x as `minmax` leaves it, in its own type; the gradient passes as if nothing had been done (straight-through)."""
    q, step, low = minmax(x.detach())
    return x + (step * (q.float() + MIDDLE) + low - x.detach()).to(x.dtype)


class _Packed(Stored):
    """A matrix as the buffer `packed`, uint8 (rows, bytes)."""

    packed: Tensor
    BITS: ClassVar[int]
    CODES = "packed"

    @property
    def integers(self) -> Tensor:  # type: ignore[override]
        """The codes, int8 (rows, columns): unpacked anew each time."""
        return unpack(self.packed, self.BITS, self.columns)

    @property
    def columns(self) -> int:
        """Of the matrix."""
        raise NotImplementedError


class PackedLinear(_Packed):
    """nn.Linear over codes; activations are rounded per token. Gradients reach the input and the bias."""

    FLOAT = nn.Linear

    @property
    def columns(self) -> int:  # noqa: D102
        return self.in_features

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) to (…, out) in x's type; a token that holds NaN or infinity comes out as NaN."""
        codes = self.integers  # (out, in)
        q, step, low = minmax(x.detach().reshape(-1, self.in_features))
        whole = codes.sum(1, dtype=torch.float32)  # (out,)
        out = (int8_matmul(q, codes).float() * step + (MIDDLE * step + low) * whole) * self.scale.t()
        out = out.view(*x.shape[:-1], self.out_features).to(x.dtype)
        if torch.is_grad_enabled() and x.requires_grad:
            soft = F.linear(x, (codes.float() * self.scale).to(x.dtype))
            out = out + (soft - soft.detach())
        return out if self.bias is None else out + self.bias


class PackedEmbedding(_Packed, StoredEmbedding):
    """nn.Embedding over codes: only the rows that are asked for are unpacked."""

    @property
    def columns(self) -> int:  # noqa: D102
        return self.embedding_dim

    def rows(self, ids: Tensor) -> Tensor:
        """The codes of some rows, (…, d)."""
        return unpack(F.embedding(ids, self.packed), self.BITS, self.columns)
