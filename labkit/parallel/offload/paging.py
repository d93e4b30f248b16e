"""Layers fetched when they are touched, as unified memory does, against a plan that knows the order.

A model's layers are touched in the same order again and again. The least recently used layer is then the one that is
needed next: with one frame too few, LRU throws out every layer just before its turn, and every touch is a fault. (That
simulation is an exercise of lesson 06/06.)
"""

from __future__ import annotations

from labkit.errors import UsageError
from labkit.parallel.offload.schedule import SLOTS


def best_faults(layers: int, frames: int, passes: int) -> list[int]:
    """Faults of each pass over layers 0 … layers - 1, with `frames` of them in memory; UsageError for fewer than two.

    The layer that is needed latest goes (Belady 1966), which needs to know the order.
    """
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


def _check(layers: int, frames: int) -> None:
    if layers < 1 or frames < SLOTS:
        raise UsageError(f"{layers} layers in {frames} frames: needed are 1 layer or more, and {SLOTS} frames or more")
