"""Several deltas on one model, trained together (the combinations of Ding et al. 2023, §"Combinations")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning.base import Delta


@dataclass(frozen=True, kw_only=True)
class Combined(Delta):
    """`deltas` as one, at most one of a kind: `Combined(deltas=(LoRA(rank=4), BitFit()))`.

    `targets` are the parts' own; `also` and `seed` are this one's.
    """

    deltas: tuple[Delta, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "deltas", tuple(self.deltas))
        kinds = [type(delta).__name__ for delta in self.deltas]
        if not kinds or not all(isinstance(delta, Delta) for delta in self.deltas):
            raise UsageError("Combined needs deltas: Combined(deltas=(LoRA(rank=4), BitFit()))")
        if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
            raise UsageError(f"Combined has {twice} twice: give one {twice} all the targets")
        if self.targets is not None:
            raise UsageError("Combined has no targets of its own: give each of its deltas its targets")

    def places(self, model: nn.Module) -> list[str]:
        """The places of all, each once."""
        return list(dict.fromkeys(place for delta in self.deltas for place in delta.places(model)))

    def spelled_out(self, model: nn.Module) -> Combined:
        """The same with names for regular expressions."""
        return replace(super().spelled_out(model), deltas=tuple(delta.spelled_out(model) for delta in self.deltas))

    def check_merges(self, model: nn.Module) -> None:
        """UsageError unless every part can be merged."""
        for delta in self.deltas:
            delta.check_merges(model)

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        return [parameter for delta in self.deltas for parameter in delta._insert(model)]

    def _remove(self, model: nn.Module) -> None:
        for delta in reversed(self.deltas):
            delta._remove(model)

    def _merge(self, model: nn.Module) -> None:
        for delta in self.deltas:  # the inner one first: what stands on it is applied to the sum
            delta._merge(model)
