"""Checks of lesson 06/03: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import data_parallel, exercises
from labkit.parallel.data_parallel import accounting
from labkit.parallel.data_parallel.units import units_of
from labkit.parallel.data_parallel.workload import new_model
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("06_parallel/03_data_parallel")


@pytest.mark.parametrize("name", exercises("06/03"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(data_parallel, name)(SHOWN[name])
    assert verdict.passed, verdict


def ring(chunk=lambda r, s, n: (r - 1 - s) % n, to=lambda r, n: (r + 1) % n, adds=True, copies=True, ranks=None):
    def step(chunks, s):
        n = ranks or len(chunks)
        after = [list(row) for row in chunks]
        for r in range(n):
            c, t = chunk(r, s, n), to(r, n)
            if copies:
                after[t][c] = chunks[t][c] + chunks[r][c] if adds else chunks[r][c]
            else:
                chunks[t][c] += chunks[r][c]
        return after if copies else chunks

    return step


def padded(row, n, fill=None):
    more = -len(row) % n
    return torch.cat([row, row.new_zeros(more) if fill is None else fill(row, more)])


def cut(row, rank, n):
    size = len(row) // n
    return row[rank * size : (rank + 1) * size]


def zero(mean=True, own=False, gather=True, update_all=False, twice=False, order=1):
    def step(weights, gradients, update):
        n = len(weights)
        total = sum(gradients) / (n if mean else 1)
        parts = []
        for r in range(n):
            g = gradients[r] if own else total
            if update_all:
                parts.append(torch.chunk(update(weights[r], g, r), n)[r])
                continue
            part, piece = torch.chunk(weights[r], n)[r], torch.chunk(g, n)[r]
            parts.append(update(part, piece, r))
            if twice:
                update(part, piece, r)
        if gather:
            return [torch.cat(parts[::order]) for _ in range(n)]
        alone = [list(torch.chunk(weights[r], n)) for r in range(n)]
        for r in range(n):
            alone[r][r] = parts[r]
        return [torch.cat(row) for row in alone]

    return step


def formula(weight=2, gradient=2, optimizer=12, cuts=(3, 2, 1)):
    def each(stage, n):
        return sum(
            size / (n if stage >= needed else 1)
            for size, needed in zip((weight, gradient, optimizer), cuts, strict=True)
        )

    return each


MISTAKES = {
    "ring_step": [
        (lambda chunks, s: chunks, "nothing has moved"),
        (ring(adds=False), "replaces what the neighbour had"),
        (ring(to=lambda r, n: (r - 1) % n), "you sent to the left"),
        (ring(chunk=lambda r, s, n: (r - s) % n), "one too far"),
        (ring(chunk=lambda r, s, n: (r - 1) % n), "every step moves the same"),
        (ring(chunk=lambda r, s, n: (r - 1 + s) % n), "go up with the step"),
        (ring(chunk=lambda r, s, n: 0), "other values in step 0"),
        (ring(copies=False), "changed the chunks it was given"),
        (lambda chunks, s: chunks[0], "a list with a list of chunks|a chunk"),
        (lambda chunks, s: chunks[:2], "should be 4 lists of 4 chunks"),
        (lambda chunks, s: ring()(chunks, s) if len(chunks) == 4 else chunks, "with 3 ranks, after"),
    ],
    "shard": [
        (lambda row, r, n: padded(row, n)[r::n], "like cards"),
        (lambda row, r, n: cut(padded(row.flip(0), n).flip(0), r, n), "at the end, not at the beginning"),
        (lambda row, r, n: cut(padded(row, n).flip(0), r, n), "run from the end"),
        (lambda row, r, n: cut(padded(row, n, lambda x, more: x[:more]), r, n), "with numbers of the row"),
        (lambda row, r, n: cut(padded(row, n, lambda x, more: x[-1:].repeat(more)), r, n), "with the last number"),
        (lambda row, r, n: cut(row, r, n), "rounded 10/4 down"),
        (lambda row, r, n: row.split(-(-len(row) // n))[r], "the last rank's part is shorter"),
        (lambda row, r, n: padded(row, n), "the whole row"),
        (lambda row, r, n: row[2 * r : 2 * r + 3], "other values"),
        (lambda row, r, n: cut(padded(row, n) if n == 4 else torch.cat([row, row.new_zeros(2)]), r, n), "part of rank 1 has shape"),
    ],
    "zero1_step": [
        (lambda w, g, u: w, "never called"),
        (zero(update_all=True), "all 6 weights"),
        (zero(twice=True), "called 6 times"),
        (lambda w, g, u: [u(w[0][:2], g[0][:2], 0)] * 3, r"by ranks \[0\]"),
        (lambda w, g, u: [u(w[0][:2], g[0], 0)] * 3, "2 weights and 6 gradients"),
        (zero(mean=False), "divide by the number of ranks"),
        (zero(own=True), "its own gradient only"),
        (zero(gather=False), "has the others' old ones"),
        (zero(order=-1), "other values on rank 0"),
        (lambda w, g, u: zero()(w, g, u) and w, "nothing was updated"),
        (lambda w, g, u: zero()(w, g, u)[0], "a list of 3 tensors"),
    ],
    "bytes_a_parameter": [
        (formula(optimizer=4), "has 4 bytes"),
        (formula(optimizer=8), "has 8 bytes"),
        (formula(cuts=(0, 0, 0)), "everything is cut in every stage"),
        (formula(cuts=(3, 3, 1)), "stage 2 cuts the gradients too"),
        (formula(cuts=(9, 2, 1)), "stage 3 cuts the weights too"),
        (formula(cuts=(2, 1, 1)), "one stage ahead"),
        (lambda stage, n: [16, 4, 2, 16 / n][stage], "are the limits"),
        (lambda stage, n: 16, "plays no part"),
        (lambda stage, n: 15, "should keep 16, 7, 5.5, 4 bytes"),
        (lambda stage, n: [16], "one number, not list"),
        (lambda stage, n: 16 if stage == 0 else None, "every stage from 0 to 3"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(data_parallel, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_the_lessons_functions_agree_with_labkit():
    for stage in range(4):
        for ranks in (1, 3, 8):
            wanted = sum(accounting.bytes_a_parameter(stage, ranks).values())
            assert abs(SHOWN["bytes_a_parameter"](stage, ranks) - wanted) < 1e-12
    for rank in range(3):
        unit = units_of(new_model(width=8, layers=1), (), 3, rank)[0]
        row = torch.cat([parameter.detach().reshape(-1) for parameter in unit.parameters.values()])
        unit.lay_out()
        assert torch.equal(SHOWN["shard"](row, rank, 3), unit.weights[unit.part])
