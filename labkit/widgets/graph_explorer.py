"""What lies around an entity of a graph: its neighbours within one or two facts, what is stated, held out, and known.

Neighbours stand on circles, those of one type together; those two facts away stand behind the neighbour that leads to
them. Where there are more than can be read, the ones with the most facts are shown, and how many are not is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ipywidgets import IntSlider, Text

from labkit.knowledge.graph import KnowledgeGraph, Splits
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS
from labkit.report.fonts import drawable, family
from labkit.widgets.shown import Explorer, Shown, bounded, look

LEAST, MOST = 4, 24  # neighbours in the picture
PAPER = {"fc": "white", "ec": "none", "pad": 0.5, "alpha": 0.8}  # behind words
Known = Callable[[np.ndarray], Sequence[bool]]


@dataclass(frozen=True)
class View:
    """Entities with their type and distance, the middle first; facts as (head, relation, tail, kind), by the entities'
    places in `names`; how many neighbours are left out. A kind is "stated" or "held out", with ", known" or ", not
    known" where a model was asked.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    distances: tuple[int, ...]
    facts: tuple[tuple[int, str, int, str], ...]
    left_out: int


def compute(splits: Splits, entity: str, hops: int = 1, most: int = 12, known: Known | None = None) -> View:
    """The `most` neighbours with the most facts, near ones first. UsageError for an unknown entity."""
    graph = splits.graph
    whole = KnowledgeGraph(graph.entities, graph.relations, splits.true, graph.types)
    around = whole.around(entity, hops)
    order = sorted(around.distance, key=lambda one: (around.distance[one], -len(whole.rows(one))))
    kept = {number: place for place, number in enumerate(order[: most + 1])}
    facts = np.array([one for one in around.triples.tolist() if one[0] in kept and one[2] in kept]).reshape(-1, 3)
    stated = set(map(tuple, graph.triples.tolist()))
    kinds = ["stated" if tuple(fact) in stated else "held out" for fact in facts.tolist()]
    if known is not None and len(facts):
        kinds = [f"{kind}, {'' if ok else 'not '}known" for kind, ok in zip(kinds, known(facts), strict=True)]
    told = [(kept[h], graph.relations[r], kept[t], kind) for (h, r, t), kind in zip(facts.tolist(), kinds, strict=True)]
    types = tuple(graph.types[one] if graph.types else "entity" for one in kept)
    names, far = tuple(graph.entities[one] for one in kept), tuple(around.distance[one] for one in kept)
    return View(names, types, far, tuple(told), len(order) - len(kept))


def places(view: View) -> np.ndarray:
    """Where to draw each entity, (entities, 2): the middle at 0, then a circle for each distance."""
    angle, points = np.zeros(len(view.names)), np.zeros((len(view.names), 2))
    leads = {}  # entity -> the neighbour that is nearer to the middle
    for head, _, tail, _ in view.facts:
        for one, other in ((head, tail), (tail, head)):
            if view.distances[one] == view.distances[other] + 1:
                leads.setdefault(one, other)
    for far in range(1, max(view.distances, default=0) + 1):
        ring = [one for one, distance in enumerate(view.distances) if distance == far]
        ring.sort(key=lambda one: (angle[leads[one]], view.types[one], view.names[one]))
        for at, one in enumerate(ring):
            angle[one] = 2 * np.pi * (at + 0.5 * (far == 2)) / len(ring)
            points[one] = far * np.cos(angle[one]), far * np.sin(angle[one])
    return points


def draw(view: View) -> Plot:
    """The picture: a mark for each type, a full line for what is stated, a dashed one for what is held out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 7.2), layout="constrained")
    axes, points = figure.subplots(), places(view)
    _lines(axes, view, points)
    for number, kind in enumerate(dict.fromkeys(view.types)):
        at = [one for one, own in enumerate(view.types) if own == kind]
        mark = MARKS[(number + number // len(COLOURS)) % len(MARKS)]
        axes.scatter(*points[at].T, s=70, zorder=3, label=kind, color=COLOURS[number % len(COLOURS)], marker=mark)
    names = [drawable(name, f"entity {at}") for at, name in enumerate(view.names)]
    fonts: dict[str, Any] = {"fontfamily": family("".join(names)), "parse_math": False, "bbox": PAPER}
    for at, (x, y) in enumerate(points):
        side, weight = (-1, "top") if y < 0 else (1, "bottom"), "normal" if at else "bold"
        axes.annotate(names[at], (x, y), (0, 8 * side[0]), textcoords="offset points", ha="center", va=side[1],
                      fontsize=9, weight=weight, zorder=2, **fonts)  # fmt: skip
    axes.margins(0.16)
    axes.set_axis_off()
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return Plot(figure, _said(view))


def _lines(axes: Any, view: View, points: np.ndarray) -> None:
    """A line for each fact, with its relation where that can be read; facts between the same two share a line."""
    near, met = max(view.distances, default=0) < 2, Counter[frozenset[int]]()
    for head, relation, tail, kind in view.facts:
        colour = COLOURS[1] if "not known" in kind else COLOURS[0] if "known" in kind else "#666666"
        line = {"color": colour, "ls": "--" if "held out" in kind else "-"}
        axes.plot(*points[[head, tail]].T, lw=1.3, zorder=1, **line)
        if near or 0 in (head, tail):
            x, y = points[[head, tail]].mean(0) - [0, 0.09 * met[frozenset((head, tail))]]
            mark = " ✗" if "not known" in kind else " ✓" if "known" in kind else ""
            axes.text(x, y, relation + mark, fontsize=8, ha="center", va="center", color=colour, bbox=PAPER)
        met[frozenset((head, tail))] += 1
        if kind not in axes.get_legend_handles_labels()[1]:
            axes.plot([], [], label=kind, **line)


def _said(view: View) -> str:
    """The picture in words."""
    facts = "; ".join(f"{view.names[h]} {r} {view.names[t]} ({kind})" for h, r, t, kind in view.facts)
    more = f" {view.left_out} more neighbours are left out." if view.left_out else ""
    return f"Graph around {view.names[0]!r}, {len(view.names) - 1} neighbours: {facts}.{more}"


def graph_explorer(splits: Splits, entity: str, known: Known | None = None) -> Shown:
    """A widget with the facts around an entity, first of `entity`: name, hops and the number of neighbours can be set.

    `known` says of facts (n, 3) which of them a model knows. UsageError for an unknown entity.
    """
    return Explorer(
        lambda entity, hops, most: draw(compute(splits, bounded(entity.strip(), "entity", 60), hops, most, known)),
        entity=Text(entity, description="entity", continuous_update=False, **look(50, 300)),
        hops=IntSlider(1, min=1, max=2, description="hops", continuous_update=False, **look(45, 220)),
        most=IntSlider(12, min=LEAST, max=MOST, description="neighbours", continuous_update=False, **look(80, 300)),
    )
