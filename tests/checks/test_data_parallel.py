"""What lesson 06/03 shows as solutions is what labkit computes."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import torch

from labkit.parallel.data_parallel import accounting, ring
from tests.checks.solutions import solutions

SHOWN = solutions("06_parallel/03_data_parallel")


def test_the_bytes_of_the_lesson_are_the_library_s():
    for stage in range(4):
        for ranks in (1, 3, 8):
            wanted = sum(accounting.bytes_a_parameter(stage, ranks).values())
            assert abs(SHOWN["bytes_per_parameter"](stage, ranks) - wanted) < 1e-12


def test_the_loops_of_the_lesson_are_the_library_s():
    """In a ring of threads: what is shown, labkit's own, and the sum."""
    every = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(0))
    for reduce, gather in ((SHOWN["ring_reduce"], SHOWN["ring_gather"]), (ring.ring_reduce, ring.ring_gather)):
        found = in_threads(3, lambda group, r=reduce, g=gather: g(r(list(every[group.rank]), group), group))
        assert all(torch.allclose(torch.stack(one), every.sum(0), atol=1e-6) for one in found)


def test_zero_1_is_a_step_of_one_process():
    weights, gradients = torch.linspace(0, 1, 8).double(), torch.randn(4, 8).double()
    for step in (SHOWN["zero1_step"], ring.zero1_step):
        found = in_threads(4, lambda g, s=step: s(weights, gradients[g.rank], g, lambda part, grad: part - 0.1 * grad))
        assert all(torch.allclose(one, weights - 0.1 * gradients.mean(0), atol=1e-12) for one in found)


def in_threads(world, program):
    """What `program(group)` gives on each rank of a ring of threads."""
    lines = [queue.Queue() for _ in range(world)]  # what waits for each rank

    def place(rank):
        def shift(tensor):
            lines[(rank + 1) % world].put(tensor)
            return lines[rank].get(timeout=10)

        return SimpleNamespace(rank=rank, world=world, shift=shift)

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(lambda rank: program(place(rank)), range(world)))
