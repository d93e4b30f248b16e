"""The solutions of lesson 06/06 compute what labkit computes."""

from __future__ import annotations

import pytest

from labkit.parallel.offload.schedule import spread, steady_pass
from tests.checks.answers.offload import faults_by_simulation
from tests.checks.solutions import solutions

SHOWN = solutions("06_parallel/06_offload")


def test_the_lessons_functions_agree_with_labkit():
    for layers, moving in ((12, 4), (10, 3), (9, 9)):
        assert list(SHOWN["spread"](layers, moving)) == list(spread(layers, moving))
    assert SHOWN["lru_faults"](7, 5, 4) == faults_by_simulation(7, 5, 4)
    assert SHOWN["pass_time"](12, 4, 1.0, 5.0) == pytest.approx(steady_pass(12, spread(12, 4), 1.0, 5.0).total)
