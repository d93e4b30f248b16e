"""Pictures of what ranks keep: measured bars beside the formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labkit.errors import UsageError
from labkit.parallel.data_parallel.accounting import bytes_a_parameter, dtypes
from labkit.report import Plot
from labkit.report.figure import COLOURS

HATCHES = ("", "///", "...")
KINDS = ("parameters", "gradients", "optimizer")


def kept(found: Mapping[int, Mapping[int, Mapping[str, Any]]], precision: str = "bf16") -> Plot:
    """Bytes a parameter that rank 0 kept, stacked by kind, a bar for each stage and world; the formula as a line.

    `found` is {ranks: {stage: what zero.train returned on rank 0}}. UsageError where there is nothing to draw.
    """
    if not found or not all(found.values()):
        raise UsageError("a picture of what ranks keep needs at least one run")
    from matplotlib.figure import Figure

    bars = [(world, stage, _each(one, precision)) for world, runs in found.items() for stage, one in runs.items()]
    figure = Figure(figsize=(1.6 + 0.85 * len(bars), 3.8), layout="constrained")
    axes = figure.subplots()
    for place, (world, stage, each) in enumerate(bars):
        bottom = 0.0
        for kind, colour, hatch in zip(KINDS, COLOURS, HATCHES, strict=False):
            label = kind if place == 0 else None
            axes.bar(place, each[kind], 0.62, bottom, color=colour, hatch=hatch, edgecolor="white", label=label)
            bottom += each[kind]
        theory = sum(bytes_a_parameter(stage, world, precision).values())
        axes.hlines(theory, place - 0.42, place + 0.42, color="black", lw=2, label=None if place else "formula")
        axes.text(place, max(theory, bottom) + 0.25, f"{bottom:.2f}", ha="center", fontsize=9)
    axes.set_xticks(range(len(bars)), [f"ZeRO-{stage}\n{world} ranks" for world, stage, _ in bars], fontsize=9)
    axes.set_ylabel("bytes per parameter on rank 0")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1.1 * max(sum(each.values()) for *_, each in bars))
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return Plot(figure, _alt(bars, precision))


def _each(one: Mapping[str, Any], precision: str) -> dict[str, float]:
    numbers = one["size"] / dtypes(precision)[0].itemsize
    return {kind: one["held"][kind] / numbers for kind in KINDS}


def _alt(bars: list[tuple[int, int, dict[str, float]]], precision: str) -> str:
    parts = []
    for world, stage, each in bars:
        theory = sum(bytes_a_parameter(stage, world, precision).values())
        kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in each.items())
        parts.append(f"ZeRO-{stage}, {world} ranks: {kinds}, together {sum(each.values()):.2f} (formula {theory:.2f})")
    return f"Stacked bars of bytes a parameter on rank 0. {'; '.join(parts)}."
