"""The front against its definition, the picture's words, and the controls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.report import Report
from labkit.widgets import accuracy_front
from labkit.widgets.accuracy_front import compute, draw, tasks_of

ROWS = {"all": (600_000, (0.8, 0.82)), "LoRA": (8_000, (0.79, 0.83)), "wide": (20_000, (0.7, 0.74)),
        "bias": (2_500, (0.75, 0.75)), "frozen": (0, (0.5, 0.5))}  # fmt: skip


def report():
    made = Report()
    for method, (weights, values) in ROWS.items():
        for seed, value in enumerate(values):
            made.add(method, "news", value, seed=seed, trainable=weights)
    made.add("LoRA", "reviews", 0.9, trainable=8_000)
    made.add("LoRA", "unknown size", 0.9)
    made.bounds["news"] = ("accuracy", 0.07, 0.95)
    return made


def test_means_spreads_and_the_front():
    front = compute(report(), "news")
    points = {point.method: point for point in front.points}
    assert points["LoRA"].mean == pytest.approx(81) and points["LoRA"].spread == pytest.approx(2.828, abs=1e-3)
    assert {name for name, point in points.items() if point.front} == {"LoRA", "bias", "frozen"}  # "all" ties, for more
    assert [point.mean for point in front.points] == sorted((point.mean for point in front.points), reverse=True)
    assert (front.chance, front.ceiling) == (pytest.approx(7), pytest.approx(95))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10)), min_size=1, max_size=8))
def test_the_front_is_what_no_other_beats(points):
    made = Report()
    for number, (weights, value) in enumerate(points):
        made.add(f"m{number}", "t", value / 10, trainable=weights)
    found = {point.method: point.front for point in compute(made, "t").points}
    for number, (weights, value) in enumerate(points):
        beaten = any((w <= weights and v > value) or (w < weights and v >= value) for w, v in points)
        assert found[f"m{number}"] != beaten
    assert any(found.values())


def test_the_picture_says_what_it_shows():
    plot = draw(compute(report(), "news"))
    assert "LoRA 81.0 ± 2.8 with 8,000 (on the front)" in plot.alt and "all 81.0 ± 1.4 with 600,000;" in plot.alt
    axes = plot.figure.axes[0]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "trained weights, log scale"
    names = [text.get_text() for text in plot.figure.legends[0].get_texts()]
    assert {name.split(":")[0] for name in names} == set(ROWS) and "bias: 75.0, 2.5k" in names
    assert plot.png()[:4] == b"\x89PNG"


def test_the_controls():
    shown = accuracy_front(report())
    assert shown.task.options == ("news", "reviews") and tasks_of(report()) == ["news", "reviews"]
    first = shown.view.value
    shown.spread.value = False
    assert shown.view.value != first
    shown.task.value = "reviews"
    assert "reviews: LoRA 90.0" in shown.view.value and not shown.message.value
    assert accuracy_front(report(), task="reviews").task.value == "reviews"
    with pytest.raises(UsageError, match="unknown task with trained weights 'newz': did you mean 'news'"):
        accuracy_front(report(), task="newz")
    with pytest.raises(UsageError, match="no row of this report says how many weights were trained"):
        accuracy_front(Report())
    nothing = Report()
    nothing.add("frozen", "news", 0.5, trainable=0)
    with pytest.raises(UsageError, match="no method trains anything"):
        accuracy_front(nothing)
