"""Inference with a model that does not fit: pinned layers stay, the others take turns in two slots.

`schedule` decides which; this runs it. The answers are those of the resident model, bit for bit: the same operators on
the same weights, only elsewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.parallel.offload.link import Budget, Link, Pending
from labkit.parallel.offload.schedule import SLOTS, moving_layers, spread
from labkit.parallel.trace import Trace


def layer_bytes(layer: nn.Module) -> int:
    """Bytes of a layer's weights and buffers."""
    return sum(tensor.nbytes for tensor in layer.state_dict().values())


class LayerScheduler:
    """Runs equal `layers` one after the other within `budget` bytes of weights on `device`.

    `place(layers, moving)` says which move (see `schedule.spread`). The given layers stay on the host and are not
    changed. Events: lane "device" ("compute 3", and "stall 3" where it waited), lane "link" ("load 3"). UsageError for
    a budget below two layers, or layers that differ in their tensors.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        budget: int,
        link: Link,
        place: Callable[[int, int], Sequence[int]] = spread,
        device: str | torch.device = "cpu",
        trace: Trace | None = None,
    ) -> None:
        self.layers, self.link, self.trace = list(layers), link, trace or Trace()
        _same(self.layers)
        each = layer_bytes(self.layers[0])
        moving = moving_layers(len(self.layers), each, budget)
        self.moving = tuple(place(len(self.layers), moving)) if moving else ()
        if len(set(self.moving)) != moving or not set(self.moving) <= set(range(len(self.layers))):
            raise UsageError(f"place() gave {self.moving}: {moving} different layers of {len(self.layers)} must move")
        self.budget = Budget(budget)
        self.pinned: dict[int, nn.Module] = {}
        for number, layer in enumerate(self.layers):
            if number not in self.moving:
                self.budget.take(each, f"layer {number}")
                self.pinned[number] = copy.deepcopy(layer).to(device).eval()
        self.slots: list[nn.Module] = []
        for number in range(SLOTS if moving else 0):
            self.budget.take(each, f"slot {number}")
            self.slots.append(copy.deepcopy(self.layers[0]).to(device).eval())
        self.loads: list[Pending | None] = [None] * len(self.slots)
        self.use = 0  # of the next moving layer, counted over all passes
        for use in range(len(self.slots)):
            self._load(use)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """`x` through all layers."""
        for number in range(len(self.layers)):
            layer = self.pinned[number] if number in self.pinned else self._loaded(number)
            with self.trace.span(f"compute {number}", "device"):
                x = layer(x)
            if number not in self.pinned:
                self._load(self.use + SLOTS)  # into the slot that is free now
                self.use += 1
        return x

    def _loaded(self, number: int) -> nn.Module:
        """The moving layer in its slot, once it is there."""
        with self.trace.span(f"stall {number}", "device"):
            self.loads[self.use % SLOTS].result()
        return self.slots[self.use % SLOTS]

    def _load(self, use: int) -> None:
        """Begin to load the layer of use number `use` into its slot."""
        number, slot = self.moving[use % len(self.moving)], use % SLOTS
        source, target = self.layers[number].state_dict(), self.slots[slot].state_dict()
        self.loads[slot] = self.link.copies([(source[name], target[name]) for name in source], f"load {number}")

    def wait(self) -> None:
        """Wait for the loads under way, which are for the next pass."""
        for pending in self.loads:
            pending.result()


def _same(layers: Sequence[nn.Module]) -> None:
    if not layers:
        raise UsageError("there are no layers to schedule")
    shapes = [{name: (t.shape, t.dtype) for name, t in layer.state_dict().items()} for layer in layers]
    odd = next((number for number, one in enumerate(shapes) if one != shapes[0]), None)
    if odd is not None:
        raise UsageError(f"layer {odd} has other tensors than layer 0: slots hold layers of one kind only")
