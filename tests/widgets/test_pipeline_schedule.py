"""The drawn schedule against the library's, its words, its controls."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.parallel.model_parallel.schedule import bubble_in_theory, schedule
from labkit.widgets import pipeline_schedule
from labkit.widgets.pipeline_schedule import compute, draw


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_what_is_computed_is_the_schedule_on_a_clock(name, ratio):
    plan = compute(name, 3, 5, ratio)
    orders = [[event.name for event in plan.events if event.rank == stage] for stage in range(3)]
    assert orders == [[action.name for action in own] for own in schedule(name, 3, 5)]
    assert plan.length == (5 + 3 - 1) * (1 + ratio)
    assert plan.bubble == pytest.approx(plan.theory) and plan.theory == bubble_in_theory(3, 5)
    assert plan.kept == ((5, 5, 5) if name == "gpipe" else (3, 2, 1))


def test_the_picture_has_a_box_an_action_and_says_all_in_words():
    plan = compute("1f1b", 2, 3, 2.0)
    plot = draw([plan])
    (axes,) = plot.figure.axes
    assert len(axes.patches) == 2 * 2 * 3 + 1  # and the frame of the whole
    assert sorted(text.get_text() for text in axes.texts) == sorted("012" * 4)
    assert "bubble 25.0 % = 1/4" in axes.get_title(loc="left")
    assert "1F1B with 2 stages and 3 micro-batches" in plot.alt and "stages keep 2, 1 micro-batches" in plot.alt
    assert "stage 0: F0 F1 B0 F2 B1 B2; stage 1: F0 B0 F1 B1 F2 B2." in plot.alt


def test_the_controls():
    shown = pipeline_schedule(stages=2, micro_batches=3)
    assert "GPipe with 2 stages" in repr(shown) and "1F1B with 2 stages" in repr(shown)
    shown.name.value = "gpipe"
    assert "1F1B" not in repr(shown) and "GPipe with 2 stages" in repr(shown)
    shown.micro_batches.value = 4
    assert "2 stages and 4 micro-batches" in repr(shown) and "bubble 20.0 %" in repr(shown)
    before = shown.view.value
    shown.ratio.value = 1.0
    assert "backward 1 times" in repr(shown) and shown.view.value != before
    shown.stages.value = 1
    assert "bubble 0.0 %" in repr(shown) and not shown.message.value


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": 9}, "at most 8 stages and 16 micro-batches can be read here, not 9 and 8"),
        ({"micro_batches": 0}, "micro-batches, 1 or more, not 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        pipeline_schedule(**settings)
