"""Lines over a quantity, the accuracy of the surest rows, and the results that come with labkit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import Report
from labkit.errors import UsageError
from labkit.report import accuracy_of_the_surest, against, coverage, results, scatter


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
