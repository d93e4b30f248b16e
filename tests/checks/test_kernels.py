"""Checks of lesson 06/02 beside the library; right and wrong answers are in `answers/kernels.py`."""

from __future__ import annotations

import re
import time

import pytest

from labkit.checks import kernels
from labkit.checks.limit import TimeUp, paused, time_limit
from labkit.parallel.kernels import access
from labkit.parallel.kernels.fusion import Chain, Shape, Step, layernorm_chain
from tests.checks.solutions import TEXTS, solutions

SHOWN = solutions("06_parallel/02_kernels")


def test_the_lessons_functions_agree_with_labkit():
    for stride in range(40):
        assert SHOWN["bank_passes"](stride) == access.passes([4 * lane * stride for lane in range(32)])
        for size in (1, 2, 4, 8, 16):
            assert SHOWN["warp_sectors"](stride, size) == len(access.sectors_touched(access.Access(stride, size)))
    chain = layernorm_chain(Shape(5, 16))
    steps = [(step.reads, step.writes) for step in chain.steps]
    assert SHOWN["bytes_moved"](steps, chain.sizes, set(chain.results)) == (chain.eager, chain.fused)
    assert Chain((Step("a", ("p",), ("q",)),), {"p": 1, "q": 2}, ("q",)).fused == 3


def test_the_kernel_to_complete_is_the_solution_with_gaps():
    """Each line of the kernel that the text shows with gaps stands in the solution, in the same order."""
    text = re.sub(r"^# ?", "", (TEXTS / "06_parallel/02_kernels.py").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (shown,) = re.findall(r"```cpp\n(.*?)```", text, re.DOTALL)
    lines = [line.partition("//")[0].strip() for line in shown.splitlines()]
    solved = iter([line.partition("//")[0].strip() for line in SHOWN["softmax_kernel"]().splitlines()])
    assert all(line in solved for line in lines if line)


def test_the_clock_stands_still_where_a_limit_of_its_own_holds():
    with time_limit(0.1):
        with paused():
            time.sleep(0.2)
    with pytest.raises(TimeUp), time_limit(0.1):
        with paused():
            pass
        time.sleep(1)
    with paused():  # outside of any limit
        pass


def test_line_numbers_of_the_broken_kernel_are_those_that_the_text_speaks_of():
    lines = kernels.BROKEN.splitlines()
    assert "__syncthreads" in lines[5] and "tile[threadIdx.y][threadIdx.x] =" in lines[4] and "= tile" in lines[8]
