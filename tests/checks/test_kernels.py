"""Checks of lesson 06/02: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import math
import re

import pytest
import torch

from labkit.checks import exercises, kernels
from labkit.parallel.kernels import access
from labkit.parallel.kernels.fusion import Chain, Shape, Step, layernorm_chain
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("06_parallel/02_kernels")


@pytest.mark.parametrize("name", exercises("06/02"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(kernels, name)(SHOWN[name])
    assert verdict.passed, verdict


def right_moved(steps, sizes, kept):
    return SHOWN["bytes_moved"](steps, sizes, kept)


def unfused(steps, sizes, kept):
    return right_moved(steps, sizes, kept)[0]


def inputs(steps):
    made = {name for _, writes in steps for name in writes}
    return {name for reads, _ in steps for name in reads} - made


def total(names, sizes):
    return sum(sizes[name] for name in names)


def every(steps):
    return {name for reads, writes in steps for name in (*reads, *writes)}


def made(steps):
    return {name for _, writes in steps for name in writes}


def online(scale=lambda old, new: math.exp(old - new), top=max, values=lambda x, old, new: (x - new).exp().sum()):
    """An online update with one part exchanged."""

    def step(most, so_far, x):
        new = top(most, float(x.max()))
        return new, so_far * scale(most, new) + float(values(x, most, new))

    return step


MISTAKES = {
    "warp_sectors": [
        (lambda stride, size: 32, "a sector a lane"),
        (lambda stride, size: 32 * stride * size if stride else 4, "these are bytes"),
        (lambda stride, size: max(1, 32 * stride * size // 128), "one line of 128 bytes"),
        (lambda stride, size: 31 * stride * size // 32, "last sector is missing"),
        (lambda stride, size: 32 * stride * size // 32 + 1 and 1 + math.ceil(32 * stride * size / 32), "one too many|32 neighbours"),
        (lambda stride, size: min(32, 4 * stride), "size of an element has no effect"),
        (lambda stride, size: size, "stride has no effect|counted only the bytes asked"),
        (lambda stride, size: max(1, stride * size), "sectors between them are left alone"),
        (lambda stride, size: min(32, stride * size), "stride 0"),
        (lambda stride, size: 32 * stride * size / 33, "a whole number is wanted"),
        (lambda stride, size: None, "not attempted"),
        (lambda stride, size: "four", "one number is wanted, not str"),
    ],
    "bank_passes": [
        (lambda stride: 32 // math.gcd(stride, 32), "banks in use"),
        (lambda stride: stride, "right only where it divides 32"),
        (lambda stride: 2 - stride % 2 if stride == 2 else 1 + (stride == 33), "gcd of the wrong pair"),
        (lambda stride: 3 if stride == 3 else math.gcd(stride, 32), r"^the stride itself is right only where it divides 32$"),
        (lambda stride: math.gcd(stride, 32), "do not queue"),
        (lambda stride: math.gcd(stride, 32) if stride % 8 else min(stride, 32), "one pass is needed"),
        (lambda stride: 1 if stride % 2 else math.gcd(stride, 16), "for strides 1, 2, 32, 33"),
        (lambda stride: stride if stride == 12 else math.gcd(stride, 32), "lanes 0, 8, 16, 24"),
    ],
    "bytes_moved": [
        (lambda s, z, k: (sum(total(r, z) for r, _ in s), 0), "these are the reads alone"),
        (lambda s, z, k: (sum(total(w, z) for _, w in s), 0), "these are the writes alone"),
        (lambda s, z, k: (total(every(s), z), 0), "each tensor counts once"),
        (lambda s, z, k: (unfused(s, z, k), unfused(s, z, k)), "the same as unfused"),
        (lambda s, z, k: (unfused(s, z, k), total(every(s), z)), "what lies between steps is still counted"),
        (lambda s, z, k: (unfused(s, z, k), total(inputs(s) | {"y"}, z)), "only the last result"),
        (lambda s, z, k: (unfused(s, z, k), total(inputs(s), z)), "these are the reads: the results"),
        (lambda s, z, k: (unfused(s, z, k), total(k, z)), "these are the writes: what comes"),
        (lambda s, z, k: (unfused(s, z, k), total(k, z) + 1020 + 1000), "you counted it twice"),
        (lambda s, z, k: (unfused(s, z, k), 7), "what no step makes is read once"),
        (lambda s, z, k: unfused(s, z, k), "two numbers are wanted"),
    ],
    "online": [
        (lambda m, t, x: (m, t + float((x - m).exp().sum())), "did not move"),
        (online(scale=lambda old, new: 1.0), "multiply it by exp"),
        (online(scale=lambda old, new: math.exp(new - old) if old > -math.inf else 0), "sign is turned round"),
        (online(scale=lambda old, new: 0.0), "the old sum is lost"),
        (online(lambda o, n: 1.0, values=lambda x, old, new: (x - old).exp().sum()), "relative to the old maximum: that"),
        (online(values=lambda x, old, new: x.exp().sum()), "take the new maximum from"),
        (online(top=lambda old, new: new), "the old one may be larger"),
        (lambda m, t, x: 5.0, "two numbers are wanted"),
        (lambda m, t, x: (max(m, float(x.max())), math.nan), "the sum holds NaN"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(kernels, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(kernels, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    for stride in range(40):
        assert SHOWN["bank_passes"](stride) == access.conflict(stride)
        for size in (2, 4, 8, 16):
            assert SHOWN["warp_sectors"](stride, size) == access.sectors(access.Access(stride, size))
    chain = layernorm_chain(Shape(5, 16))
    steps = [(step.reads, step.writes) for step in chain.steps]
    assert SHOWN["bytes_moved"](steps, chain.sizes, set(chain.results)) == (chain.eager, chain.fused)
    assert Chain((Step("a", ("p",), ("q",)),), {"p": 1, "q": 2}, ("q",)).fused == 3
    most, total = SHOWN["online"](-math.inf, 0.0, torch.tensor([0.0, 1.0]))
    assert most + math.log(total) == pytest.approx(math.log(1 + math.e))
