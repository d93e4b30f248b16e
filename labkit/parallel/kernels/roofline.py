"""How fast can a kernel be? The roofline: bounded by arithmetic, or by the bytes that it moves.

A kernel of F operations on B bytes has the arithmetic intensity F / B. A device of P operations and W bytes per second
runs it at min(P, W F / B) operations per second at best (Williams, Waterman & Patterson 2009, Roofline, section 3).
Below the ridge P / W it is bound by memory, and only moving fewer bytes makes it faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from labkit.errors import UsageError
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Device:
    """Peak operations per second, and bytes per second between chip and memory."""

    name: str
    flops: float
    bandwidth: float

    @property
    def ridge(self) -> float:
        """Operations per byte from which on arithmetic is the bound."""
        return self.flops / self.bandwidth

    def attainable(self, intensity: float) -> float:
        """The most operations per second at that intensity."""
        return min(self.flops, self.bandwidth * intensity)


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
        """Operations per byte."""
        return self.flops / self.bytes


def product(m: int, n: int, k: int, each: int = 2) -> Work:
    """A matrix product (m, k) @ (k, n) of numbers of `each` bytes, every matrix moved once."""
    return Work(f"product {m:,} × {n:,} × {k:,}", 2.0 * m * n * k, float(each) * (m * k + k * n + m * n))


def measured() -> Device:
    """What this machine's processor reaches now in float32: a large product; the faster of a large copy and a sum."""
    a, b = torch.ones(512, 512), torch.ones(16 * 2**20)
    c = torch.empty_like(b)
    bandwidth = max(2 * b.nbytes / seconds_of(c.copy_, b), b.nbytes / seconds_of(b.sum))
    return Device("this machine", 2 * 512**3 / seconds_of(torch.mm, a, a), bandwidth)


def seconds_of(function: Callable[..., object], *arguments: Any) -> float:
    """Seconds of the fastest of three runs, after one that does not count."""
    found = []
    for _ in range(4):
        began = time.perf_counter()
        function(*arguments)
        found.append(time.perf_counter() - began)
    return min(found[1:])


def plot(on: Device, seconds: Mapping[Work, float]) -> Plot:
    """The roof of a device, and for each kernel what its bytes allow (hollow) and what it reached (filled)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    axes = figure.subplots()
    works = sorted(seconds, key=lambda work: work.intensity)
    _roof(axes, on, (works[0].intensity / 2, max(20 * on.ridge, 3 * works[-1].intensity)))
    by_height = sorted(works, key=lambda work: work.flops / seconds[work])  # so that few lines to the names cross
    lowest = by_height[0].flops / seconds[by_height[0]]
    axes.set_ylim(0.2 * min(lowest, on.attainable(works[0].intensity)), 3 * on.flops)
    for rank, work in enumerate(by_height):
        _point(axes, on, work, seconds[work], rank)
    axes.set_xlabel("arithmetic intensity (operations per byte)")
    axes.set_ylabel("operations per second")
    title = "Hollow: the most that its bytes allow, computed. Filled: measured. Shares are of the hollow mark"
    axes.set_title(f"{on.name.capitalize()}. {title}", loc="left", fontsize=10)
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    return Plot(figure, _alt(on, works, seconds))


def _roof(axes: Axes, on: Device, ends: tuple[float, float]) -> None:
    corners = [ends[0], on.ridge, ends[1]]
    axes.loglog(corners, [on.attainable(x) for x in corners], color="#222222", lw=1.6)
    axes.fill_between(corners[:2], [on.attainable(x) for x in corners[:2]], on.flops, color="#888888", alpha=0.12, lw=0)
    axes.set_xlim(*ends)
    axes.annotate("out of reach: too many bytes", (ends[0], on.flops), (6, -14), textcoords="offset points", fontsize=9)
    axes.axvline(on.ridge, color="#888888", lw=0.8, ls=":")
    ridge = f"ridge: {_digits(on.ridge)} operations per byte"
    axes.annotate(ridge, (on.ridge, 1.7 * on.flops), (-6, 0), textcoords="offset points", fontsize=9, ha="right")


def _point(axes: Axes, on: Device, work: Work, seconds: float, rank: int) -> None:
    """The two marks of a kernel, and its name at the end of a line; `rank` counts from below."""
    most, reached = on.attainable(work.intensity), work.flops / seconds
    look = {"color": COLOURS[rank % 6], "marker": MARKS[rank % len(MARKS)], "ms": 8}
    axes.plot([work.intensity] * 2, [most, reached], color=look["color"], lw=0.8)
    axes.plot([work.intensity], [most], ls="none", markerfacecolor="white", **look)
    axes.plot([work.intensity], [reached], ls="none", **look)
    line = {"arrowstyle": "-", "color": look["color"], "lw": 0.8, "shrinkB": 5, "relpos": (0, 0.5)}
    said, box = f"{work.name}: {_digits(100 * reached / most)} %", {"fc": "white", "ec": "none", "pad": 0.8}
    place = {"xytext": (0.56, 0.05 + 0.085 * rank), "textcoords": "axes fraction", "va": "center", "fontsize": 9}
    axes.annotate(said, (work.intensity, reached), arrowprops=line, bbox=box, **place)


def _digits(value: float) -> str:
    """Two digits, all before the point, without an exponent: 0.11, 2.5, 153."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _alt(on: Device, works: Sequence[Work], seconds: Mapping[Work, float]) -> str:
    def one(work: Work) -> str:
        share = _digits(100 * work.flops / seconds[work] / on.attainable(work.intensity))
        return f"{work.name} at {_digits(work.intensity)} operations per byte, {share} % of what its bytes allow"

    parts = "; ".join(map(one, works))
    return f"Roofline of {on.name}, ridge at {_digits(on.ridge)} operations per byte. {parts}."
