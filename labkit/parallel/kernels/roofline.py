"""How fast can a kernel be? The roofline: bounded by arithmetic, or by the bytes that it moves.

A kernel of F operations on B bytes has the arithmetic intensity F / B. A device of P operations and W bytes a second
runs it at min(P, W F / B) operations a second at best (Williams, Waterman & Patterson 2009, Roofline, section 3). Below
the ridge P / W it is bound by memory, and only moving fewer bytes makes it faster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from labkit.errors import UsageError, unknown
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Device:
    """Peak operations a second, and bytes a second between chip and memory."""

    name: str
    flops: float
    bandwidth: float

    @property
    def ridge(self) -> float:
        """Operations a byte from which on arithmetic is the bound."""
        return self.flops / self.bandwidth

    def attainable(self, intensity: float) -> float:
        """The most operations a second at that intensity."""
        return min(self.flops, self.bandwidth * intensity)


# From NVIDIA's data sheets: 16-bit tensor cores without sparsity, and memory bandwidth.
DEVICES = {
    "T4": Device("T4", 65e12, 320e9),
    "V100": Device("V100 SXM2", 125e12, 900e9),
    "A100": Device("A100 SXM 80 GB", 312e12, 2039e9),
    "H200": Device("H200 SXM", 989e12, 4.8e12),
}


def device(name: str) -> Device:
    """A device by its short name. UsageError for an unknown one."""
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return DEVICES[name]


@dataclass(frozen=True)
class Work:
    """What a kernel does: operations and bytes of global memory."""

    name: str
    flops: float
    bytes: float

    def __post_init__(self) -> None:
        if self.flops <= 0 or self.bytes <= 0:
            raise UsageError(f"{self.name}: operations and bytes are positive, not {self.flops:g} and {self.bytes:g}")

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.flops / self.bytes

    def seconds(self, on: Device) -> float:
        """The least time on a device."""
        return max(self.flops / on.flops, self.bytes / on.bandwidth)

    def share(self, on: Device) -> float:
        """Share of the device's arithmetic that is in use at best, in (0, 1]."""
        return on.attainable(self.intensity) / on.flops


def product(m: int, n: int, k: int, each: int = 2) -> Work:
    """A matrix product (m, k) @ (k, n) of numbers of `each` bytes, every matrix moved once."""
    return Work(f"product {m:,} × {n:,} × {k:,}", 2.0 * m * n * k, float(each) * (m * k + k * n + m * n))


def measured(where: torch.device | str = "cpu") -> Device:
    """What this machine reaches now: a large matrix product and a large copy, float32, the best of three."""
    length = 512 if torch.device(where).type == "cpu" else 8192
    a, b = torch.ones(length, length, device=where), torch.ones(16 * 2**20, device=where)
    c = torch.empty_like(b)
    flops = 2 * length**3 / seconds_of(lambda: a @ a)
    return Device("this machine", flops, 2 * b.nbytes / seconds_of(lambda: c.copy_(b)))


def seconds_of(function: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    found = []
    for _ in range(times + 1):
        began = _now()
        function()
        found.append(_now() - began)
    return min(found[1:])


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def plot(on: Device, works: Sequence[Work]) -> Plot:
    """The roof of a device, and where each kernel stands on it at best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    axes = figure.subplots()
    ends = (min(0.05, *(w.intensity / 2 for w in works)), max(20 * on.ridge, *(2 * w.intensity for w in works)))
    _roof(axes, on, ends)
    for rank, place in enumerate(sorted(range(len(works)), key=lambda place: works[place].intensity)):
        _point(axes, on, works[place], place, rank)
    axes.set_xlabel("arithmetic intensity (operations a byte)")
    axes.set_ylabel("operations a second")
    title = f"{on.name}: bound by memory left of {_digits(on.ridge)} operations a byte; shares are of the peak"
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    return Plot(figure, _alt(on, works))


def _roof(axes: Axes, on: Device, ends: tuple[float, float]) -> None:
    corners = [ends[0], on.ridge, ends[1]]
    axes.loglog(corners, [on.attainable(x) for x in corners], color="#222222", lw=1.6)
    axes.fill_between(corners[:2], [on.attainable(x) for x in corners[:2]], on.flops, color="#888888", alpha=0.12, lw=0)
    axes.set_xlim(*ends)
    axes.set_ylim(0.7 * on.attainable(ends[0]), 3 * on.flops)
    axes.annotate("out of reach: too many bytes", (ends[0], on.flops), (6, -14), textcoords="offset points", fontsize=9)
    axes.axvline(on.ridge, color="#888888", lw=0.8, ls=":")


def _point(axes: Axes, on: Device, work: Work, place: int, rank: int) -> None:
    """A mark on the roof, with its name; `rank` counts from the left."""
    height, colour = on.attainable(work.intensity), COLOURS[place % 6]
    axes.plot([work.intensity], [height], color=colour, marker=MARKS[place % len(MARKS)], ls="none", ms=8)
    said = f"at most {_digits(100 * work.share(on))} %"
    look = {"va": "center", "fontsize": 9, "bbox": {"fc": "white", "ec": "none", "pad": 0.8}}
    left, right = axes.get_xlim()
    along = math.log(work.intensity / left) / math.log(right / left)
    where: dict[str, Any]
    if along > 0.8:
        where = {"xytext": (8, 15), "textcoords": "offset points", "ha": "right"}
    elif along > 0.5:
        where = {"xytext": (4, -18), "textcoords": "offset points"}
    else:
        line = {"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkB": 4, "relpos": (0, 0.5)}
        where = {"xytext": (0.5, 0.04 + 0.06 * rank), "textcoords": "axes fraction", "arrowprops": line}
    axes.annotate(f"{work.name}: {said}", (work.intensity, height), **where, **look)


def _digits(value: float) -> str:
    """Two digits, all before the point, without an exponent: 0.11, 2.5, 153."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _alt(on: Device, works: Sequence[Work]) -> str:
    def one(work: Work) -> str:
        most = f"at most {_digits(100 * work.share(on))} % of the peak"
        return f"{work.name} at {_digits(work.intensity)} operations a byte, {most}"

    parts = "; ".join(map(one, works))
    return f"Roofline of {on.name}, ridge at {_digits(on.ridge)} operations a byte. {parts}."
