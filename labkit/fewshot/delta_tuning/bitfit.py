"""BitFit: train the biases and nothing else (Ben Zaken et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning.base import Delta
from labkit.foundations.encoder import backbone


@dataclass(frozen=True, kw_only=True)
class BitFit(Delta):
    """The biases of the encoder, LayerNorms' included, or those of `targets` and below. It adds no weight.

    Merging keeps the trained biases, detaching brings the old ones back.
    """

    MERGES: ClassVar[bool] = True

    def places(self, model: nn.Module) -> list[str]:
        """The modules whose own bias trains."""
        body = backbone(model)
        roots = [body] if self.targets is None else [model.get_submodule(name) for name in super().places(model)]
        below = {id(module) for root in roots for module in root.modules()}
        found = [n for n, m in model.named_modules() if id(m) in below and isinstance(_bias(m), nn.Parameter)]
        if not found:
            raise UsageError(f"BitFit: {type(model).__name__} has no bias there to train; choose other targets")
        return found

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        return [_bias(model.get_submodule(name)) for name in self.places(model)]


def _bias(module: nn.Module) -> nn.Parameter | None:
    return module._parameters.get("bias")
