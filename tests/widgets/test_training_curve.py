"""The moving average against one written by hand, the axes, the picture and the controls."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import UsageError
from labkit.training.history import History
from labkit.widgets import training_curve
from labkit.widgets.training_curve import axes_of, compute, draw, smoothed, spread

FULL = History(losses=[4.0, 2.0, 1.0, 1.0], steps=4, seconds=8.0, tokens=400)


def test_smoothing_is_the_bias_corrected_average_written_by_hand():
    # β = .5: m1 = .5·4 = 2, m2 = .5·2 + .5·2 = 2, m3 = 1 + .5 = 1.5; divided by 1 − β^t = .5, .75, .875
    assert smoothed([4.0, 2.0, 1.0], 0.5).tolist() == pytest.approx([2 / 0.5, 2 / 0.75, 1.5 / 0.875])
    losses = np.random.default_rng(0).random(50)
    weights = 0.9 ** np.arange(50)[::-1]  # the last loss weighs most
    assert smoothed(losses, 0.9)[-1] == pytest.approx((weights * losses).sum() / weights.sum())
    assert smoothed([4.0, 2.0, 1.0], 0).tolist() == [4.0, 2.0, 1.0]
    assert smoothed([3.0] * 5, 0.99) == pytest.approx([3.0] * 5)  # from the first step on


@pytest.mark.parametrize("weight", [-0.1, 1.0, float("nan")])
def test_smoothing_must_be_below_one(weight):
    with pytest.raises(UsageError, match="smoothing"):
        smoothed([1.0], weight)


@pytest.mark.parametrize(
    ("axis", "x"), [("steps", [1, 2, 3, 4]), ("tokens", [100, 200, 300, 400]), ("seconds", [2, 4, 6, 8])]
)
def test_a_run_against_each_axis(axis, x):
    (curve,) = compute({"run": FULL}, axis, 0)
    assert curve.x.tolist() == x and curve.raw.tolist() == FULL.losses == curve.smooth.tolist()


def test_only_axes_that_every_run_has_are_offered():
    assert axes_of({"a": FULL}) == ["steps", "tokens", "seconds"]
    assert axes_of({"a": FULL, "b": [1.0, 2.0]}) == ["steps"]
    with pytest.raises(UsageError, match="'b' counted no tokens"):
        compute({"a": FULL, "b": [1.0]}, "tokens")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({}, "0 runs"),
        ({"a": []}, "'a'"),
        ({"a": [1.0, float("nan")]}, "finite"),
        ({str(n): [1.0] for n in range(13)}, "13"),
    ],
)
def test_what_is_no_run_is_refused(runs, message):
    with pytest.raises(UsageError, match=message):
        training_curve(runs)


def test_the_picture_says_in_words_what_it_shows():
    plot = draw(compute({"PET": FULL, "head $x$": [5.0, 3.0]}, "steps", 0), "steps", log=True)
    assert plot.alt == (
        "Line plot of the smoothed loss (nats), log scale, against step: PET from 4 to 1 in 4 steps, lowest 1 at "
        "step 3; head $x$ from 5 to 3 in 2 steps, lowest 3 at step 2."
    )
    (axes,) = plot.figure.axes
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "step" and axes.get_ylabel().startswith("loss (nats)")
    assert {text.get_text() for text in axes.texts} == {"PET 1", "head $x$ 3"}
    styles = {(line.get_linestyle(), line.get_color()) for line in axes.lines if line.get_linewidth() == 2}
    assert len(styles) == 2 and len({style for style, _ in styles}) == 2  # they differ besides their colour


def test_one_spike_does_not_flatten_the_rest():
    (axes,) = draw(compute({"a": [1.0] * 500 + [1e6] + [1.0] * 500}, smoothing=0)).figure.axes
    assert axes.get_ylim()[1] >= 1e6  # without smoothing the spike itself is the curve
    losses = [1.0] * 500 + [50.0] + [1.0] * 500
    (axes,) = draw(compute({"a": losses}, smoothing=0.99)).figure.axes
    assert axes.get_ylim()[1] < 3


def test_a_logarithmic_axis_needs_losses_above_zero():
    shown = training_curve({"a": [1.0, 0.0, 0.0]}, smoothing=0.0)
    before = shown.view.value
    shown.log.value = True
    assert "above 0" in shown.message.value and shown.view.value == before


def test_names_are_pushed_apart_but_stay_in_order():
    places = spread([0.1, 0.11, 0.12, 0.9], 0.1)
    assert places == pytest.approx([0.01, 0.11, 0.21, 0.9])
    assert spread([0.2, 0.5], 0.1) == [0.2, 0.5]


def test_every_control_changes_the_picture():
    shown = training_curve({"a": FULL, "b": FULL}, smoothing=0.0)
    pictures = {shown.view.value}
    for control, value in ((shown.smoothing, 0.7), (shown.axis, "tokens"), (shown.log, True)):
        control.value = value
        pictures.add(shown.view.value)
    assert len(pictures) == 4 and shown.message.value == ""
    assert 'alt="Line plot' in shown.view.value and "against tokens trained on" in repr(shown)
