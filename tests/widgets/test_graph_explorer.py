"""The neighbourhood against the graph's own, the picture's words and lines, and the controls."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import UsageError
from labkit.knowledge.graph import Splits, graph_of, world_splits
from labkit.widgets import graph_explorer
from labkit.widgets.graph_explorer import compute, draw, places
from labkit.world import World

FACTS = [("anna", "born_in", "rome"), ("rome", "in", "italy"), ("anna", "likes", "soup"), ("bob", "likes", "soup"),
         ("bob", "born_in", "rome"), ("<b>$x$", "in", "italy")]  # fmt: skip


def splits():
    whole = graph_of(FACTS, types=("person", "city", "country", "dish", "person", "city"))
    told = graph_of(FACTS[:4], entities=whole.entities, relations=whole.relations, types=whole.types)
    return Splits(told, whole.triples[:0], whole.triples[4:])


def test_one_fact_away_and_two():
    view = compute(splits(), "anna")
    assert view.names == ("anna", "rome", "soup") and view.distances == (0, 1, 1) and view.left_out == 0
    assert {fact[1:] for fact in view.facts} == {("born_in", 1, "stated"), ("likes", 2, "stated")}
    view = compute(splits(), "rome", 2, known=lambda facts: [head == 4 for head, _, _ in facts])
    named = {(view.names[h], r, view.names[t], kind) for h, r, t, kind in view.facts}
    assert ("bob", "born_in", "rome", "held out, known") in named and len(named) == len(FACTS)
    assert ("rome", "in", "italy", "stated, not known") in named
    assert view.distances[view.names.index("soup")] == view.distances[view.names.index("<b>$x$")] == 2


def test_only_the_best_known_neighbours_are_shown():
    world = world_splits(World(entities=200, facts=900))
    view = compute(world, world.graph.entities[0], 2, 6)
    whole = graph_of(map(world.graph.named, world.true))
    assert len(view.names) == 7 and view.left_out == len(whole.around(view.names[0], 2).distance) - 7
    near = {whole.entities[one] for one in whole.around(view.names[0], 1).distance}
    assert {name for name, far in zip(view.names, view.distances, strict=True) if far == 1} <= near
    points = places(view)
    assert np.allclose(np.linalg.norm(points, axis=1), view.distances) and len(np.unique(points.round(6), axis=0)) == 7


def test_the_picture_says_what_it_shows():
    plot = draw(compute(splits(), "rome", 2))
    assert (
        "anna born_in rome (stated)" in plot.alt and "bob born_in rome (held out)" in plot.alt and "<b>$x$" in plot.alt
    )
    (axes,) = plot.figure.axes
    assert {"anna", "bob", "<b>$x$", "born_in"} <= {text.get_text() for text in axes.texts}
    styles = [line.get_linestyle() for line in axes.lines if len(line.get_xdata())]
    assert styles.count("--") == 2 and styles.count("-") == 4
    assert plot.png()[:4] == b"\x89PNG"


def test_controls_change_the_picture_and_a_wrong_name_does_not():
    shown = graph_explorer(splits(), "anna")
    first = repr(shown)
    shown.hops.value = 2
    assert repr(shown) != first and "italy" in repr(shown)
    shown.entity.value = " soup "
    assert "around 'soup'" in repr(shown)
    last = repr(shown)
    shown.entity.value = "sop"
    assert "did you mean &#x27;soup&#x27;" in shown.message.value and repr(shown) == last
    with pytest.raises(UsageError, match="unknown entity"):
        graph_explorer(splits(), "nobody")
