"""DeepSpeed's stages side by side: the same training at each, its losses and its bytes a rank."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

from labkit.parallel.deepspeed import DeepSpeedEngine, deepspeed_config, parse_name
from labkit.parallel.processes import Here
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.training import Batches, Training, fit
from labkit.training.engine import Objective


@dataclass(frozen=True)
class Stage:
    """One training at one stage, as rank 0 saw it. Bytes are of live tensors (`DeepSpeedEngine.held`)."""

    name: str
    ranks: int
    losses: list[float]
    parameters: int
    gradients: int
    optimizer: int

    @property
    def bytes(self) -> int:
        """All that ZeRO can shard, on one rank."""
        return self.parameters + self.gradients + self.optimizer


def stages(
    here: Here, model: nn.Module, objective: Objective, batches: Batches, settings: dict[str, Any], names: list[str]
) -> list[Stage]:
    """Train a copy of `model` at each of `names` ("zero2"), one after the other: the program of a rank."""
    return [_stage(here, copy.deepcopy(model), objective, batches, settings, name) for name in names]


def _stage(
    here: Here, model: nn.Module, objective: Objective, batches: Batches, settings: dict[str, Any], name: str
) -> Stage:
    chosen, held = Training(**settings), {}
    config = deepspeed_config(chosen, *parse_name(name), rows=batches.batch_size, world=here.world)
    engine = DeepSpeedEngine(model, objective, chosen, config)

    def look(step: int, loss: float) -> None:
        held.update(engine.held())
        here.beat()

    history = fit(model, objective, batches, engine=engine, on_step=look, **settings)
    return Stage(name, here.world, history.losses, **held)


def plot(found: list[Stage], alone: list[float]) -> Plot:
    """Losses of all stages over those of one process, and each stage's bytes on rank 0."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(range(1, len(alone) + 1), alone, color="#BBBBBB", linewidth=7, label="one process")
    for one, colour, style in zip(found, COLOURS, ("-", "--", "-.", ":"), strict=False):
        left.plot(range(1, len(alone) + 1), one.losses, style, color=colour, label=f"{one.name}, {one.ranks} ranks")
    left.set(xlabel="step", ylabel="loss", title="The same losses")
    bottom = [0.0] * len(found)
    for part, colour, hatch in zip(("parameters", "gradients", "optimizer"), COLOURS, ("", "///", "..."), strict=False):
        sizes = [getattr(one, part) / 1e6 for one in found]
        names = [one.name for one in found]
        right.bar(names, sizes, bottom=bottom, color=colour, hatch=hatch, edgecolor="white", label=part)
        bottom = [a + b for a, b in zip(bottom, sizes, strict=True)]
    right.set(ylabel="MB on rank 0", title="Fewer bytes")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    sizes = ", ".join(f"{one.name} {one.bytes / 1e6:.1f} MB" for one in found)
    alt = "Left: the losses of all ZeRO stages lie on those of one process. Right: bytes of rank 0, by stage: "
    return Plot(figure, alt + sizes + ".")
