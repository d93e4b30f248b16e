"""What lesson 06/03 shows as solutions is what labkit computes."""

from __future__ import annotations

import torch

from labkit.parallel.data_parallel import accounting
from labkit.parallel.data_parallel.units import units_of
from labkit.parallel.data_parallel.workload import new_model
from tests.checks.solutions import solutions

SHOWN = solutions("06_parallel/03_data_parallel")


def test_the_bytes_of_the_lesson_are_the_library_s():
    for stage in range(4):
        for ranks in (1, 3, 8):
            wanted = sum(accounting.bytes_a_parameter(stage, ranks).values())
            assert abs(SHOWN["bytes_per_parameter"](stage, ranks) - wanted) < 1e-12


def test_the_parts_of_the_lesson_are_the_library_s():
    for rank in range(3):
        unit = units_of(new_model(width=8, layers=1), (), 3, rank)[0]
        row = torch.cat([parameter.detach().reshape(-1) for parameter in unit.parameters.values()])
        unit.lay_out()
        assert torch.equal(SHOWN["shard"](row, rank, 3), unit.weights[unit.part])
