"""Which rank holds what, as a picture: every large matrix of the model, cut where the ranks' shares are cut.

A matrix is drawn as it stands in the formula y = x A, inputs downwards and outputs to the right, so that a cut by
columns is an upright line. (PyTorch keeps the transpose.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import UsageError
from labkit.parallel.model_parallel.model import LanguageModel, Shape
from labkit.parallel.model_parallel.pipeline import stage_of
from labkit.parallel.model_parallel.tensor_parallel import PLAN, cut_dimension
from labkit.parallel.model_parallel.topology import Topology
from labkit.report import Plot
from labkit.report.figure import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.35  # between matrices, in widths of the model


@dataclass(frozen=True)
class Piece:
    """A part of the matrix `name`: rows and columns as (first, end) of the drawn matrix, and the ranks that hold it."""

    name: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    ranks: tuple[int, ...]
    share: int  # the number of the (pipe, model) cell it belongs to


def pieces(shape: Shape, grid: Topology) -> list[Piece]:
    """Every cut matrix of the model as laid out by `stage_of` and `cut_dimension`, in the order of the layers."""
    found = []
    model = LanguageModel(shape)
    for pipe in range(grid.pipe):
        for name, weight in stage_of(model, pipe, grid.pipe).state_dict().items():
            module = name.split(".")[-2]
            if module not in PLAN or not name.endswith("weight"):
                continue
            sizes, along = list(weight.shape), cut_dimension(name)
            if module != "words":  # a table whose rows are the inputs is kept as it is drawn
                sizes, along = sizes[::-1], None if along is None else 1 - along
            for part in range(grid.model):
                ranks = tuple(grid.rank(pipe, data, part) for data in range(grid.data))
                spans = [(0, size) for size in sizes]
                if along is not None:
                    each = sizes[along] // grid.model
                    spans[along] = (part * each, (part + 1) * each)
                found.append(Piece(name.removesuffix(".weight"), *spans, ranks, pipe * grid.model + part))
    return found


def who_holds(shape: Shape, grid: Topology) -> Plot:
    """The picture: numbers are ranks, one colour a share. UsageError for more than 4 blocks or 16 shares."""
    if shape.layers > 4 or grid.pipe * grid.model > 16:
        raise UsageError("at most 4 blocks and 16 shares can be read in this picture; give it a smaller shape or grid")
    from matplotlib.figure import Figure

    found = pieces(shape, grid)
    places, width, height = _places(found, shape)
    scale = min(10.5 / width, 0.8)  # inches
    figure = Figure(figsize=(max(scale * width, 4), scale * height), layout="constrained")
    axes = figure.subplots()
    for piece in found:
        _draw(axes, piece, *places[piece.name], shape.width)
    for name, (left, top) in places.items():
        axes.text(left, top - 0.08, name.rpartition(".")[2], fontsize=8, va="bottom")
        if name.endswith("qkv"):
            axes.text(left, top - 0.55, f"block {name.split('.')[1]}", fontsize=9, va="bottom", weight="bold")
    axes.set_xlim(-0.1, width)
    axes.set_ylim(height - 0.9, -1)
    axes.set_aspect("equal")
    axes.axis("off")
    return Plot(figure, _in_words(found, grid))


def _places(found: list[Piece], shape: Shape) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Top left corner of every matrix, in widths of the model; the width and height of the whole."""
    places: dict[str, tuple[float, float]] = {}
    left, tall = 0.0, shape.vocabulary / shape.width
    for name in dict.fromkeys(piece.name for piece in found):
        kind = name.rpartition(".")[2]
        if kind == "words":
            places[name], left = (left, 0.0), left + 1 + GAP
        elif kind == "output":
            places[name], left = (left, 0.0), left + tall + GAP
        else:  # qkv and out in a row; below them up, and down on its right
            corner = {"qkv": (0, 0), "out": (3 + GAP, 0), "up": (0, 1.6), "down": (4 + GAP, 1.6)}[kind]
            places[name] = (left + corner[0], corner[1])
            left += 5 + 2 * GAP if kind == "down" else 0
    return places, left, max(7.0, tall + 1.4)


def _draw(axes: Axes, piece: Piece, left: float, top: float, unit: int) -> None:
    from matplotlib.patches import Rectangle

    (first, end), (start, stop) = piece.rows, piece.columns
    corner, size = (left + start / unit, top + first / unit), ((stop - start) / unit, (end - first) / unit)
    fill = COLOURS[piece.share % (len(COLOURS) - 1)]
    hatch = ("", "//", "..")[piece.share // (len(COLOURS) - 1)]
    axes.add_patch(Rectangle(corner, *size, facecolor=fill, alpha=0.45, hatch=hatch, lw=0))
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", lw=1.5))
    middle = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
    turn = 90 if size[1] > 1.2 * size[0] and len(piece.ranks) > 1 else 0
    axes.text(*middle, ",".join(map(str, piece.ranks)), ha="center", va="center", fontsize=8, rotation=turn)


def _in_words(found: list[Piece], grid: Topology) -> str:
    """Each matrix with the ranks of its pieces."""
    parts = []
    for name in dict.fromkeys(piece.name for piece in found):
        own = [piece for piece in found if piece.name == name]
        cut = (
            "by columns" if own[0].columns != own[-1].columns else "by rows" if own[0].rows != own[-1].rows else "whole"
        )
        parts.append(f"{name} {cut}: ranks " + " | ".join(",".join(map(str, piece.ranks)) for piece in own))
    return (
        f"Matrices of the model on pipe {grid.pipe} × data {grid.data} × model {grid.model} ranks. "
        + "; ".join(parts)
        + "."
    )
