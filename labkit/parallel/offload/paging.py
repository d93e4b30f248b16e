"""Layers fetched when they are touched, as unified memory does, against a plan that knows the order.

A model's layers are touched in the same order again and again. The least recently used layer is then the one that is
needed next: with one frame too few, LRU throws out every layer just before its turn, and every touch is a fault.
"""

from __future__ import annotations

from collections import OrderedDict

from labkit.errors import UsageError
from labkit.parallel.offload.schedule import SLOTS


def lru_faults(layers: int, frames: int, passes: int) -> list[int]:
    """Faults of each pass over layers 0 … layers - 1, with `frames` of them in memory, by simulation."""
    _check(layers, frames)
    memory: OrderedDict[int, None] = OrderedDict()
    found = []
    for _ in range(passes):
        faults = 0
        for layer in range(layers):
            if layer in memory:
                memory.move_to_end(layer)
                continue
            faults += 1
            if len(memory) == frames:
                memory.popitem(last=False)
            memory[layer] = None
        found.append(faults)
    return found


def lru_closed_form(layers: int, frames: int, passes: int) -> list[int]:
    """The same: every layer at first; afterwards none where all fit, else every layer in every pass."""
    _check(layers, frames)
    return [layers if number == 0 or layers > frames else 0 for number in range(passes)]


def best_faults(layers: int, frames: int, passes: int) -> list[int]:
    """Faults where the layer that is needed latest goes (Belady 1966), which needs to know the order."""
    _check(layers, frames)
    memory: set[int] = set()
    found = []
    for _ in range(passes):
        faults = 0
        for layer in range(layers):
            if layer in memory:
                continue
            faults += 1
            if len(memory) == frames:
                memory.remove(max(memory, key=lambda other: (other - layer) % layers))
            memory.add(layer)
        found.append(faults)
    return found


def scheduled_loads(layers: int, frames: int) -> int:
    """Loads of a steady pass with frames - 2 pinned layers and two slots; they run while the device computes."""
    _check(layers, frames)
    return 0 if frames >= layers else layers - (frames - SLOTS)


def _check(layers: int, frames: int) -> None:
    if layers < 1 or frames < SLOTS:
        raise UsageError(f"{layers} layers in {frames} frames: needed are 1 layer or more, and {SLOTS} frames or more")
