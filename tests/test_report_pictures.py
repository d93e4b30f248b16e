"""Lines over a quantity, the accuracy of the surest rows, and the results that come with labkit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import Report
from labkit.errors import UsageError
from labkit.report import accuracy_of_the_surest, against, coverage, results, scatter
from labkit.report.trade_off import front, points, trade_off


def test_lines_say_every_mean_in_words():
    report = Report()
    for shots, values in ((1, (0.5, 0.7)), (16, (0.8, 0.9))):
        for seed, value in enumerate(values):
            report.add(f"PET, {shots}-shot", "world/reviews", value, seed=seed, shots=shots)
    report.add("head", "world/reviews", 0.6)  # without the column: not drawn
    plot = report.lines("shots", label="examples")
    assert "PET: 60.0 at 1, 85.0 at 16" in plot.alt and "head" not in plot.alt
    (axes,) = plot.figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "16"] and axes.get_xlabel() == "examples"
    with pytest.raises(UsageError, match="no row has the column 'depth'"):
        report.lines("depth")


def test_a_picture_of_two_measures_has_each_point_with_its_setting():
    plot = against({"steered": {"α = 0": (3, 50), "α = 1": (30, 90)}, "free": {"": (4.04, 70)}}, "perplexity", "good")
    assert plot.alt == "good against perplexity. steered: α = 0 3 and 50, α = 1 30 and 90; free: 4.04 and 70."
    (axes,) = plot.figure.axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[3, 50], [30, 90]], [[4.04, 70]]]
    assert [text.get_text() for text in axes.texts] == ["α = 0", "α = 1", ""] and axes.get_xscale() == "log"


def test_a_scatter_says_how_well_the_order_of_one_measure_is_that_of_the_other():
    plot = scatter({"up": [(1, 10), (2, 20), (3, 40)], "bent": [(1, 1), (2, 3), (3, 2)]}, "dose", "effect", "Drug")
    assert plot.alt.startswith("Drug. effect against dose. up: 3 points, 1 to 3 and 10 to 40, rank correlation 1.00; ")
    assert plot.alt.endswith("bent: 3 points, 1 to 3 and 1 to 3, rank correlation 0.50.")
    (axes,) = plot.figure.axes
    assert [len(some.get_offsets()) for some in axes.collections] == [3, 3] and axes.get_ylabel() == "effect"


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(0, 99))
def test_the_surest_are_as_right_as_brute_force_says(count, seed):
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.ones(3), count).round(1), rng.integers(3, size=count)
    found = accuracy_of_the_surest(probabilities, labels)
    order = sorted(range(count), key=lambda row: (-max(probabilities[row]), row))
    for k in range(count):
        right = [probabilities[row].argmax() == labels[row] for row in order[: k + 1]]
        assert found[k] == pytest.approx(sum(right) / (k + 1))


def test_coverage_draws_and_says_it():
    plot = coverage(np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55], [0.8, 0.2]]), [0, 1, 0, 0], "Sure and right")
    assert plot.alt.startswith("Sure and right.") and "75.0 % of the surest 100 %" in plot.alt
    with pytest.raises(UsageError, match="0 rows of probabilities for 1 labels"):
        coverage(np.zeros((0, 2)), [1])


def test_results_come_with_their_command():
    assert "benchmarks/pet.py" in results("pet_reviews").command
    with pytest.raises(UsageError, match="pet_reviews"):
        results("pet_review")


POINT = st.tuples(st.integers(0, 6), st.integers(0, 6))


@settings(deadline=None, max_examples=100)
@given(st.lists(POINT, min_size=1, max_size=8))
def test_the_front_is_what_no_other_beats(drawn):
    some = {str(number): point for number, point in enumerate(drawn)}
    found = front(some)
    for name, (trained, accuracy) in some.items():
        better = [n for n, (t, a) in some.items() if (t < trained and a >= accuracy) or (t <= trained and a > accuracy)]
        assert (name in found) is not bool(better)
    assert [some[name][0] for name in found] == sorted(some[name][0] for name in found)


def test_points_are_means_over_seeds():
    report = Report()
    for seed, value in enumerate((0.7, 0.8)):
        report.add("LoRA", "a task", value, seed=seed, trainable=100)
    report.add("untrained", "a task", 0.5)
    assert points(report.rows) == {"LoRA": (100, pytest.approx(75)), "untrained": (0, 50)}


def test_a_trade_off_shows_the_front_and_the_own_point():
    some = {"untrained": (0, 50.0), "few": (10, 70.0), "worse": (100, 60.0), "all": (1000, 80.0), "mine": (4, 71.5)}
    plot = trade_off({"a model": some, "another": {"head": (5, 40.0)}}, own=("mine",))
    assert "mine 4 numbers, 71.5 %, on the front; few 10 numbers, 70.0 %; worse" in plot.alt
    axes, other = plot.figure.axes
    assert [axes.get_title(), other.get_title()] == ["a model", "another"] and axes.get_xscale() == "log"
    marks = {tuple(line.get_xydata()[0]): line.get_marker() for line in axes.lines if len(line.get_xydata()) == 1}
    assert marks == {(10, 70): "x", (100, 60): "x", (1000, 80): "o", (4, 71.5): "*"}
    assert max(axes.lines, key=lambda line: len(line.get_xydata())).get_xydata().tolist()[0] == [4, 71.5]
    assert {"few", "worse", "all", "mine", "untrained 50.0"} <= {text.get_text() for text in axes.texts}
