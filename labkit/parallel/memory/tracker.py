"""Every tensor's life: when it appeared, when it went, how many bytes it had, and what it was for.

`labkit.measure.peak_memory` gives one number; this keeps the whole course, counted in the same way: storages, as
operators return them, until they are freed. The clock is the number of operators that have run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.measure import _key, _Storages

KINDS = ("weights", "gradients", "optimizer", "activations")


@dataclass
class Life:
    """A storage: bytes, the operators after which it appeared and went (None: still there), the phase it began in."""

    bytes: int
    born: int
    died: int | None
    phase: str
    kind: str = "activations"


class LiveTensors(_Storages):
    """A context in which every new tensor is watched; `lives` holds them all, `peak` the most bytes at once.

    Call `name` before the end, so that weights, gradients and optimizer states are told from activations, which here
    means all the rest: what the backward pass needs, and scratch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.part = 0, ""
        self.lives: list[Life] = []
        self.open: dict[int, Life] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.clock += 1
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for key in reversed(self.alive):  # in order of birth, so the new ones come first
            if key in self.open:
                break
            size = self.alive[key].peek()[2][1]  # what will be passed to _freed
            self.open[key] = Life(size, self.clock, None, self.part)
            self.lives.append(self.open[key])
        return out

    def _freed(self, key: int, size: int) -> None:
        super()._freed(key, size)
        if (life := self.open.pop(key, None)) is not None:
            life.died = self.clock

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tensors made inside belong to this part of the step ("forward", "backward", "step")."""
        before, self.part = self.part, name
        try:
            yield
        finally:
            self.part = before

    def name(self, model: nn.Module, optimizers: Iterable[torch.optim.Optimizer] = (), others: Any = ()) -> None:
        """Say of the storages alive now which are the model's weights, their gradients, the optimizers' states.

        `others` are further tensors of the optimizer's, as fp32 masters.
        """
        slots = [v for one in optimizers for s in one.state.values() for v in s.values() if isinstance(v, Tensor)]
        weights = list(model.parameters()) + list(model.buffers())
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        for kind, tensors in zip(KINDS, (weights, gradients, [*slots, *others]), strict=False):
            for tensor in tensors:
                if (life := self.open.get(_key(tensor))) is not None:
                    life.kind = kind

    def course(self) -> list[dict[str, int]]:
        """Bytes alive by kind after each operator, from the first to the last."""
        change = [dict.fromkeys(KINDS, 0) for _ in range(self.clock + 2)]
        for life in self.lives:
            change[life.born][life.kind] += life.bytes
            # freed once operator `died` had run: it was still there while that operator did
            end = self.clock + 1 if life.died is None else life.died + 1
            change[end][life.kind] -= life.bytes
        now, found = dict.fromkeys(KINDS, 0), []
        for step in change[1 : self.clock + 1]:
            now = {kind: now[kind] + step[kind] for kind in KINDS}
            found.append(now)
        return found
