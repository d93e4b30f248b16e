"""The memory of a training run on one GPU as stacked bars, a bar for each stage of ZeRO, beside the card's memory.

The bytes are closed forms (`labkit.parallel.memory.plan`): what stays from step to step, and the activations of one
micro-batch at their fullest.
"""

from __future__ import annotations

from dataclasses import dataclass

from ipywidgets import Checkbox, Dropdown, Layout, SelectionSlider

from labkit.errors import UsageError
from labkit.parallel.memory.anatomy import PRECISIONS, STAGES
from labkit.parallel.memory.plan import Plan
from labkit.parallel.memory.shape import PRESETS, preset
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.shown import Explorer, Shown, look

GB = 1e9
PARTS = ("weights", "gradients", "optimizer", "activations", "buffers")
HATCHES = ("", "///", "...", "xx", "\\\\\\")
CARDS = (16, 24, 32, 40, 80)
RANKS = tuple(2**power for power in range(11))


@dataclass(frozen=True)
class Bars:
    """Bytes of each part (in the order of PARTS) on the fullest rank under ZeRO stages 0, 1, 2, 3, and the card's."""

    title: str
    parts: tuple[tuple[float, ...], ...]
    card: float

    @property
    def totals(self) -> tuple[float, ...]:
        """Bytes in all, a stage."""
        return tuple(map(sum, self.parts))


def compute(
    model: str, *, ranks: int = 8, dtype: str = "bf16", checkpoints: bool = False, rows: int = 1, card: float = 32
) -> Bars:
    """A preset's memory on each of `ranks` data-parallel ranks of `card` GB, `rows` sequences of its full length each.

    `checkpoints` keeps nothing of a layer but its input. UsageError for an unknown model or precision.
    """
    shape = preset(model)
    found = []
    for stage in STAGES:
        one = Plan(shape, card * GB, rows * ranks, shape.positions, data=ranks, stage=stage, dtype=dtype, rows=rows,
                   every=int(checkpoints))  # fmt: skip
        found.append(tuple(one.parts[part] for part in PARTS))
    kept = "checkpoints before every layer" if checkpoints else "no checkpoints"
    tokens = f"{rows} × {shape.positions:,} tokens a GPU"
    ends = f"{ranks} GPU{'s' * (ranks > 1)}, {dtype}, {tokens}, {kept}"
    return Bars(f"{model}, {shape.parameters / 1e9:.3g} billion weights: {ends}", tuple(found), card * GB)


def draw(bars: Bars) -> Plot:
    """The picture: four stacked bars in GB, the card's memory as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.3), layout="constrained")
    axes = figure.subplots()
    scale, most = max(*bars.totals, bars.card), max(bars.totals)
    for row, parts in enumerate(bars.parts):
        left = 0.0
        for part, size in enumerate(parts):
            label = PARTS[part] if row == 0 else None
            look = {"color": COLOURS[part], "hatch": HATCHES[part], "edgecolor": "white", "linewidth": 0.5}
            axes.barh(row, size / GB, left=left / GB, height=0.66, label=label, **look)
            left += size
        fits = "fits" if left <= bars.card else "too much"
        axes.annotate(f"{_short(left)}, {fits}", (left / GB, row), (4, 0), textcoords="offset points", va="center")
    axes.axvline(bars.card / GB, color="#222222", ls="--", lw=1.2)
    side = {"ha": "right", "xytext": (-4, 3)} if bars.card > 0.6 * scale else {"ha": "left", "xytext": (4, 3)}
    axes.annotate(f"the card: {bars.card / GB:g} GB", (bars.card / GB, 1), xycoords=axes.get_xaxis_transform(),
                  textcoords="offset points", fontsize=9, **side)  # fmt: skip
    axes.set_yticks(range(len(STAGES)), ["no ZeRO", "ZeRO 1", "ZeRO 2", "ZeRO 3"])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(scale, most) / GB)
    axes.set_xlabel("GB on each GPU")
    axes.set_title(bars.title, loc="left", fontsize=10, pad=18, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(PARTS), frameon=False, fontsize=9)
    return Plot(figure, _alt(bars))


def _short(size: float) -> str:
    return f"{size / GB:,.3g} GB" if size < 1e12 else f"{size / GB:,.0f} GB"


def _alt(bars: Bars) -> str:
    def one(stage: int) -> str:
        sizes = ", ".join(f"{part} {_short(size)}" for part, size in zip(PARTS, bars.parts[stage], strict=True) if size)
        return f"ZeRO {stage}: {_short(bars.totals[stage])} ({sizes})"

    return f"Memory of {bars.title}. {'; '.join(map(one, STAGES))}. The card has {_short(bars.card)}."


def memory_bar(model: str = "fewclue-1.2b", *, ranks: int = 8, card: int = 32) -> Shown:
    """A widget of a preset model's memory under ZeRO 0 to 3 on `ranks` GPUs of `card` GB.

    UsageError for an unknown model, ranks that are no power of two up to 1,024, or another card.
    """
    preset(model)
    if ranks not in RANKS or card not in CARDS:
        raise UsageError(f"{ranks} GPUs of {card} GB: choose 1, 2, 4, … 1024 GPUs, and a card of {CARDS} GB")
    wide, narrow = look(60, 240), look(60, 170)
    return Explorer(
        lambda **chosen: draw(compute(**chosen)),
        model=Dropdown(options=list(PRESETS), value=model, description="model", **wide),
        ranks=SelectionSlider(options=RANKS, value=ranks, description="GPUs", **wide),
        card=Dropdown(options=CARDS, value=card, description="card, GB", **narrow),
        dtype=Dropdown(options=list(PRECISIONS), value="bf16", description="numbers", **narrow),
        rows=SelectionSlider(options=RANKS[:7], value=1, description="rows", **wide),
        checkpoints=Checkbox(False, description="checkpoints", indent=False, layout=Layout(width="120px")),
    )
