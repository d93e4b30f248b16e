"""Saving what ZeRO's ranks keep, each its own part, and taking it up again in as many ranks as there are now.

    FOLDER/rank-0-of-2/step-000010/…    a checkpoint of `labkit.checkpoints`: whole or absent, checked, safetensors
    FOLDER/rank-1-of-2/step-000010/…

No rank ever has the whole state. A unit's row of numbers is the same for every number of ranks but for its padding, so
a rank of another world reads, from each old part, the numbers that are now its own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labkit import checkpoints
from labkit.checkpoints import Snapshot
from labkit.errors import CheckpointError
from labkit.parallel.data_parallel.units import Unit

PART = re.compile(r"rank-(\d+)-of-(\d+)")
KINDS = ("master", "mean", "square")


def save(zero: Any, folder: str | os.PathLike[str]) -> Path:
    """Write this rank's part of a `Zero` for step `zero.steps`, and wait for the others; all ranks must call it."""
    rank, world = (zero.rank, zero.world) if zero.stage else (0, 1)  # under stage 0 all have the same: one writes it
    target = Path(folder) / f"rank-{rank}-of-{world}"
    if zero.stage or zero.rank == 0:
        optimizer = {f"{kind}:{unit.name}": getattr(unit.state, kind).clone() for unit in zero.units for kind in KINDS}
        checkpoints.save(target, Snapshot(zero.steps, {}, optimizer, facts={"layout": _layout(zero)}), keep=2)
    zero.group.barrier()
    return target


def load(zero: Any, folder: str | os.PathLike[str]) -> int | None:
    """Take up the newest step of which every part is there, of any number of ranks; its number, None for no checkpoint.

    CheckpointError where parts are missing or damaged, and where they are of another model.
    """
    found = _complete(Path(folder))
    if found is None:
        return None
    step, paths = found
    fresh = {(unit.name, kind): torch.zeros_like(getattr(unit.state, kind)) for unit in zero.units for kind in KINDS}
    for place, path in enumerate(paths):  # one old part in memory at a time
        snapshot = checkpoints.read(path)
        _same_model(zero, snapshot, path)
        for unit in zero.units:
            for kind in KINDS:
                old = snapshot.optimizer[f"{kind}:{unit.name}"]
                _copy_common(unit, fresh[unit.name, kind], old, place * len(old))
    for unit in zero.units:
        for kind in KINDS:
            getattr(unit.state, kind).copy_(fresh[unit.name, kind])
        zero.publish(unit)
    zero.steps = step
    return step


def _copy_common(unit: Unit, new: Tensor, old: Tensor, start: int) -> None:
    """Copy the numbers that `old`, which begins at number `start` of the unit's row, shares with the own part."""
    first, last = max(start, unit.part.start), min(start + len(old), unit.part.stop, unit.size)
    if first < last:
        new[first - unit.part.start : last - unit.part.start].copy_(old[first - start : last - start])


def _complete(folder: Path) -> tuple[int, list[Path]] | None:
    """The newest step that all ranks of some world have, and their checkpoints in rank order."""
    worlds: dict[int, dict[int, set[str]]] = {}
    for path in folder.glob("rank-*-of-*"):
        if match := PART.fullmatch(path.name):
            rank, world = int(match[1]), int(match[2])
            worlds.setdefault(world, {})[rank] = {step.name for step in checkpoints.steps(path)}
    whole = []
    for world, parts in worlds.items():
        common = set.intersection(*parts.values()) if len(parts) == world else set()
        whole += [(int(name.removeprefix("step-")), world, name) for name in common]
    if whole:
        step, world, name = max(whole)
        return step, [folder / f"rank-{rank}-of-{world}" / name for rank in range(world)]
    if worlds:
        there = ", ".join(sorted(path.name for path in folder.glob("rank-*-of-*")))
        raise CheckpointError(f"{folder}: no step has the parts of all its ranks (there: {there})")
    return None


def _layout(zero: Any) -> dict[str, dict[str, list[int]]]:
    """Unit -> parameter -> shape, as JSON has it."""
    return {unit.name: {name: list(shape) for name, shape in unit.shapes.items()} for unit in zero.units}


def _same_model(zero: Any, snapshot: Snapshot, path: Path) -> None:
    there, here = snapshot.facts.get("layout"), _layout(zero)
    if there == here:
        return
    flat_there = {name: shape for unit in (there or {}).values() for name, shape in unit.items()}
    flat_here = {name: shape for unit in here.values() for name, shape in unit.items()}
    for name in sorted(flat_there.keys() | flat_here.keys()):
        if flat_there.get(name) != flat_here.get(name):
            shapes = [str(tuple(one[name])) if name in one else "absent" for one in (flat_there, flat_here)]
            raise CheckpointError(
                f"{path}: of another model: parameter {name!r} is {shapes[0]} in it, {shapes[1]} here"
            )
    raise CheckpointError(
        f"{path}: the same parameters, cut into other layers: give `Zero` the layers it was saved with"
    )
