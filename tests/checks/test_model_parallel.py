"""What lesson 06/04 shows as solutions is what labkit computes."""

from __future__ import annotations

import pytest

from labkit.parallel.model_parallel.schedule import bubble, one_forward_one_backward, simulate
from labkit.parallel.model_parallel.topology import Topology
from tests.checks.solutions import solutions

SHOWN = solutions("06_parallel/04_model_parallel")


def test_the_ranks_of_the_lesson_are_the_library_s():
    grid = Topology(3, 2, 5)
    assert [SHOWN["rank_of"](*place, grid.sizes) for place in grid] == list(range(30))


@pytest.mark.parametrize(("stages", "micros"), [(3, 7), (5, 2)])
def test_the_schedule_and_the_bubble_of_the_lesson_are_the_library_s(stages, micros):
    plan = one_forward_one_backward(stages, micros)
    assert [SHOWN["one_f_one_b"](stage, stages, micros) for stage in range(stages)] == plan
    events = simulate(plan)
    assert SHOWN["bubble"](events, stages) == pytest.approx(bubble(events, stages))
