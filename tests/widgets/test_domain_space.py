"""The picture of domains: its number against brute force, its points, its words."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import UsageError
from labkit.widgets.domain_space import domain_space, neighbours, plane

rng = np.random.default_rng(0)
DOMAINS = ["film", "hotel", "film", "books", "hotel", "books", "film", "film"]


def test_neighbours_by_brute_force():
    features, right = rng.normal(size=(8, 3)), 0
    for i, one in enumerate(features):
        cosines = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in features]
        nearest = max((j for j in range(8) if j != i), key=cosines.__getitem__)
        right += DOMAINS[i] == DOMAINS[nearest]
    assert neighbours(features, DOMAINS) == right / 8
    assert neighbours(features * rng.uniform(1, 9, (8, 1)), DOMAINS) == right / 8  # lengths do not count


def test_the_plane_keeps_what_lies_in_it():
    flat = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 5)) + 3
    points, kept = plane(flat)
    assert kept == pytest.approx(1)
    apart = np.linalg.norm(points[0] - points[1])
    assert apart == pytest.approx(np.linalg.norm(flat[0] - flat[1]))
    assert plane(np.eye(6))[1] < 0.5


def test_a_panel_for_each_state_with_every_point_and_its_number():
    states = {"before": rng.normal(size=(8, 3)), "after": rng.normal(size=(8, 3))}
    plot = domain_space(states, DOMAINS)
    assert [axes.get_title().split("\n")[0] for axes in plot.figure.axes] == list(states)
    for axes, features in zip(plot.figure.axes, states.values(), strict=True):
        assert sum(len(dots.get_offsets()) for dots in axes.collections) == 8
        name, share = axes.get_title().split("\n")[0], f"{neighbours(features, DOMAINS):.0%}"
        assert share in axes.get_title() and f"{name}: {share} of the nearest neighbours" in plot.alt
    assert [text.get_text() for text in plot.figure.legends[0].texts] == ["books", "film", "hotel"]


def test_what_is_refused():
    with pytest.raises(UsageError, match="1 domains: 2 to 7"):
        domain_space({"a": np.ones((2, 3))}, ["film", "film"])
    with pytest.raises(UsageError, match=r"features \(7, 3\) for 8 texts"):
        domain_space({"a": np.ones((7, 3))}, DOMAINS)
