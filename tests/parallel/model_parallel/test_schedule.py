"""Schedules against their dependencies and closed forms, for all sizes that hypothesis thinks of."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import TrainingError, UsageError
from labkit.parallel.model_parallel.schedule import (
    SCHEDULES,
    Action,
    actions_of,
    bubble,
    bubble_in_theory,
    gpipe,
    live,
    needs,
    one_forward_one_backward,
    schedule,
    simulate,
)
from labkit.parallel.trace import Event

stages, micros = st.integers(1, 7), st.integers(1, 12)
names = st.sampled_from(sorted(SCHEDULES))


def written(text):
    return [Action(word[0], int(word[1:])) for word in text.split()]


def test_the_schedules_of_the_papers_figures():
    assert gpipe(2, 3) == [written("F0 F1 F2 B2 B1 B0")] * 2
    assert one_forward_one_backward(4, 5) == [
        written("F0 F1 F2 F3 B0 F4 B1 B2 B3 B4"),
        written("F0 F1 F2 B0 F3 B1 F4 B2 B3 B4"),
        written("F0 F1 B0 F2 B1 F3 B2 F4 B3 B4"),
        written("F0 B0 F1 B1 F2 B2 F3 B3 F4 B4"),
    ]


@given(names, stages, micros)
def test_each_micro_batch_once_forward_and_once_backward_on_every_stage(name, p, m):
    plan = schedule(name, p, m)
    every = sorted(Action(kind, micro) for kind in "FB" for micro in range(m))
    assert len(plan) == p and all(sorted(actions) == every for actions in plan)


@settings(deadline=None)
@given(names, stages, micros, st.integers(1, 5), st.integers(1, 5))
def test_on_a_clock_nothing_starts_before_what_it_needs_and_no_stage_does_two_things(name, p, m, forward, backward):
    plan = schedule(name, p, m)
    events = simulate(plan, forward, backward)
    end = {(event.rank, event.name): event.end for event in events}
    assert len(events) == len(end) == 2 * p * m
    for event in events:
        word, _, micro = event.name.partition(" ")
        before = needs(p, event.rank, Action(word[0].upper(), int(micro)))
        assert all(end[stage, action.name] <= event.start for stage, action in before)
    for stage in range(p):
        own = [event for event in events if event.rank == stage]
        assert [event.name for event in own] == [action.name for action in plan[stage]]
        assert all(a.end <= b.start for a, b in zip(own, own[1:], strict=False))


@settings(deadline=None)
@given(names, stages, micros, st.integers(1, 5), st.integers(1, 5))
def test_the_bubble_is_the_closed_form_whatever_the_ratio(name, p, m, forward, backward):
    events = simulate(schedule(name, p, m), forward, backward)
    assert max(event.end for event in events) == (m + p - 1) * (forward + backward)
    assert bubble(events, p) == pytest.approx(float(Fraction(p - 1, m + p - 1)), abs=1e-12)
    assert bubble_in_theory(p, m) == float(Fraction(p - 1, m + p - 1))


@given(stages, micros)
def test_gpipe_holds_every_micro_batch_and_1f1b_no_more_than_there_are_stages_to_come(p, m):
    assert [live(actions) for actions in gpipe(p, m)] == [m] * p
    assert [live(actions) for actions in one_forward_one_backward(p, m)] == [min(m, p - s) for s in range(p)]


def test_a_schedule_that_cannot_go_on_says_where():
    upside_down = [written("F0 F1 B0 B1"), written("F1 F0 B1 B0")]
    assert len(simulate(upside_down)) == 8  # stage 1 prefers another order: slower, not stuck
    with pytest.raises(TrainingError, match="stage 0 waits at B0 for F0 of stage 0 and B0 of stage 1"):
        simulate([written("B0 F0"), written("F0 B0")])
    crossed = [written("F0 B0 F1 B1"), written("F1 F0 B1 B0")]
    with pytest.raises(TrainingError, match="the schedule stands still: stage 0 waits at B0"):
        simulate(crossed)
    with pytest.raises(TrainingError, match="stage 1 waits at F1 for F1 of stage 0"):
        simulate([written("F0 B0"), written("F0 B0 F1 B1")])


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda: gpipe(0, 3), "whole number of stages, 1 or more, not 0"),
        (lambda: one_forward_one_backward(2, 0), "micro-batches, 1 or more, not 0"),
        (lambda: gpipe(2, 2.0), "micro-batches, 1 or more, not 2.0"),
        (lambda: bubble_in_theory(True, 2), "stages, 1 or more, not True"),
        (lambda: schedule("1f2b", 2, 2), "did you mean '1f1b'"),
        (lambda: simulate(gpipe(1, 1), forward=0), "must take some time; forward=0"),
        (lambda: bubble([Event(0, "communicate", "send", 0, 1)], 1), "no events of the lane 'compute'"),
    ],
)
def test_what_makes_no_sense_is_refused(do, message):
    with pytest.raises(UsageError, match=message):
        do()


def test_an_order_is_a_name_or_a_function():
    for name in ("gpipe", "1f1b"):
        plan = schedule(name, 3, 5)
        for stage in range(3):
            pairs = [tuple(action) for action in plan[stage]]
            assert actions_of(name, stage, 3, 5) == plan[stage]
            assert actions_of(lambda s, p, m, plan=pairs: plan, stage, 3, 5) == plan[stage]
