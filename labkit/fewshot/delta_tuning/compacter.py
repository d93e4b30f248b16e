"""Compacter: adapters whose matrices are sums of Kronecker products (Mahabadi et al. 2021, §4).

A weight W (d_in, d_out) is written as Σᵢ Aᵢ ⊗ Bᵢ, i = 1 … n, with small Aᵢ (n, n) that **all** adapters share and Bᵢ
(d_in/n, d_out/n) of rank k, Bᵢ = sᵢ tᵢ (parametrised hypercomplex multiplication: with n = 4 and fixed Aᵢ it would be
the product of quaternions). The product x W is computed in the factors; W itself is never made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning.adapters import Adapter, Serial
from labkit.fewshot.delta_tuning.places import positive


class KroneckerLinear(nn.Module):
    """x (…, d_in) → x·Σᵢ Aᵢ ⊗ (sᵢ tᵢ) + b: (…, d_out); k·(d_in + d_out) + d_out weights besides the shared A."""

    def __init__(self, d_in: int, d_out: int, shared: nn.Parameter, rank: int = 1) -> None:
        super().__init__()
        n = len(shared)  # (n, n, n)
        if d_in % n or d_out % n:
            raise UsageError(
                f"Compacter: {n} Kronecker factors do not divide a layer from {d_in} to {d_out}: choose factors and "
                "bottleneck so that they do"
            )
        self.in_features, self.out_features, self.a = d_in, d_out, shared
        self.s = nn.Parameter(torch.empty(n, d_in // n, rank))
        self.t = nn.Parameter(torch.empty(n, rank, d_out // n))
        self.bias = nn.Parameter(torch.zeros(d_out))
        nn.init.normal_(self.s, std=(d_in // n) ** -0.5)
        nn.init.normal_(self.t, std=rank**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_out)."""
        n = len(self.a)
        parts = x.unflatten(-1, (n, -1))  # (…, n, d_in/n): row-major, as ⊗ counts
        inner = torch.einsum("...pq,iqk->...pik", parts, self.s)
        mixed = torch.einsum("...pik,ipr->...rik", inner, self.a)
        return torch.einsum("...rik,iko->...ro", mixed, self.t).flatten(-2) + self.bias


@dataclass(frozen=True, kw_only=True)
class Compacter(Serial):
    """Serial adapters in Kronecker form: `factors` n, `rank` k of each Bᵢ.

    n³ + Σ over adapters of k·(d_in + r + r + d_out) + r + d_out weights.
    """

    factors: int = 4
    rank: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "factors", "rank")

    def maker(self) -> Callable[[int, int], Adapter]:
        """The function (d_in, d_out) → a new adapter; all share one A, and `up` starts at zero through its s."""
        shared = nn.Parameter(torch.empty(self.factors, self.factors, self.factors).normal_(std=self.factors**-0.5))

        def make(d_in: int, d_out: int) -> Adapter:
            down = KroneckerLinear(d_in, self.bottleneck, shared, self.rank)
            up = KroneckerLinear(self.bottleneck, d_out, shared, self.rank)
            nn.init.zeros_(up.s)
            return Adapter(down, up, self.activation, self.scale)

        return make
