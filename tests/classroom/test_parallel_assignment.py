"""Assignment 06_parallel, ranks: each mistake is named, run here without nbgrader."""

from __future__ import annotations

import pytest
import torch

from labkit.cuda.build import find_cxx
from tests.classroom.attempts import Attempts

pytest.importorskip("nbformat", reason="needs labkit[classroom]")
RANKS = Attempts("06_parallel")
REFERENCE, PLANTED = RANKS.planted["reference"].answers, RANKS.planted
needs_cxx = pytest.mark.skipif(find_cxx() is None, reason="the emulator needs g++, which is not here")

# planted submission -> test cell -> part of what the student is told
TOLD = {
    "slips": {
        "all_reduce_uneven": "a wrong sum",
        "all_reduce_clean": "the given tensor has been changed",
        "zero1_clips": "the norm is that of the whole gradient",
        "zero1_mixed": "its neighbours have stepped",
        "schedule_budget": "stage 1: 3 alive",
        "finish_refuses": "a backward before its forward",
        "kernel_lengths": "y behind it should be 0",
        "kernel_races": "a __syncthreads() is missing",
    },
    "first_draft": {
        "all_reduce_counts": "each rank sends whole tensors",
        "all_reduce_clean": "disagree in the last bits",
        "zero1_visible": "divide m by 1 - 0.9^t",
        "zero1_mixed": "work piece by piece",
        "schedule_visible": "fills with p - s = 3 forwards",
        "finish_visible": "within a stage nothing hops",
        "kernel_visible": "the third row has length 3",
        "kernel_large": "subtract the row's maximum",
    },
}


@needs_cxx
@pytest.mark.parametrize("name", [name for name in PLANTED if name != "untouched"])
def test_planted_submissions_lose_what_they_should(name):
    RANKS.check_planted(name, TOLD.get(name, {}))


def test_an_untouched_answer_is_told_to_be_one():
    RANKS.check_untouched()


def test_points_add_up():
    RANKS.check_points(20)


RING = REFERENCE["all_reduce"]
STEP, PLAN, CLOCK, KERNEL = (REFERENCE[name] for name in ("zero1_step", "one_f_one_b", "finish", "softmax_kernel"))


def but(code, *changes):
    """The reference with some of its text exchanged, each of which must be there."""
    for old, new in changes:
        assert old in code, old
        code = code.replace(old, new)
    return code


MISTAKES = [
    ("all_reduce", "def all_reduce(rank, world, tensor): return tensor", "all_reduce_visible", "is no generator"),
    ("all_reduce", but(RING, ("    return torch.cat", "    torch.cat")), "all_reduce_visible", "`return` missing"),
    (
        "all_reduce",
        but(RING, ("rank + 1 - step", "rank - step"), ("(rank - step) % world] = ", "(rank - step - 1) % world] = ")),
        "all_reduce_visible",
        "which chunk is complete on rank r",
    ),
    (
        "all_reduce",
        but(RING, ("torch.cat(chunks)", "(torch.cat(chunks) / world)")),
        "all_reduce_visible",
        "this is the mean",
    ),
    (
        "all_reduce",
        but(RING, ("    for step in range(world - 1):  # the chunk", "    for step in range(0):  # the chunk")),
        "all_reduce_counts",
        "one half",
    ),
    (
        "all_reduce",
        but(RING, ("[chunk.clone() for chunk in ", "list("), ("tensor_split(world)]", "tensor_split(world))")),
        "all_reduce_clean",
        "the given tensor has been changed",
    ),
    ("zero1_step", but(STEP, (" / len(gradients) for", " for")), "zero1_visible", "take their mean"),
    (
        "zero1_step",
        but(STEP, ("for rank in weights:", "for rank in weights[:1]:")),
        "zero1_visible",
        "different weights",
    ),
    ("zero1_step", but(STEP, ("rank[piece] =", "_ =")), "zero1_visible", "gather the new masters"),
    ("zero1_step", but(STEP, ("    return True", "    pass")), "zero1_visible", "True is wanted"),
    ("zero1_step", but(STEP, ("mean * factor", "mean")), "zero1_clips", "should be scaled by"),
    (
        "zero1_step",
        but(STEP, ('shard["v"].mul_(0.999).addcmul_(g, g', 'shard["v"].mul_(0.999).addcmul_(mean, mean')),
        "zero1_clips",
        "v is of the clipped gradient",
    ),
    ("zero1_step", but(STEP, (" if norm else 1.0", "")), "zero1_clips", "ZeroDivisionError"),
    (
        "zero1_step",
        but(
            STEP,
            (
                "        for rank in weights:",
                '        shard["master"].copy_(shard["master"].bfloat16())\n        for rank in weights:',
            ),
        ),
        "zero1_mixed",
        "masters stay in float32",
    ),
    (
        "one_f_one_b",
        "def one_f_one_b(p, m, most=None):\n    return [[(k, i) for k in 'FB' for i in range(m)] for _ in range(p)]",
        "schedule_visible",
        "that is GPipe",
    ),
    ("one_f_one_b", but(PLAN, ("most or micro", "micro")), "schedule_budget", "alive"),
    (
        "finish",
        "def finish(plan, forward=1.0, backward=2.0, hop=0.0):\n    return 3.0 * max(map(len, plan)) / 2",
        "finish_visible",
        "it also waits",
    ),
    (
        "finish",
        but(CLOCK, ('"F", i, hop', '"F", i, 0.0'), ('"B", i, hop', '"B", i, 0.0')),
        "finish_visible",
        "the hop is not used",
    ),
]
KERNELS = [
    (but(KERNEL, (" / sum : 0.0f", " : 0.0f")), "kernel_visible", "not divided by their sum"),
    (
        but(KERNEL, ("column < width; column += threads) {", "column < length; column += threads) {")),
        "kernel_visible",
        "behind the length was not written",
    ),
    (but(KERNEL, ("column += threads", "column += 32")), "kernel_sizes", "64 threads"),
    (but(KERNEL, ("y[start + column] =", "y[start + column + 1] =")), "kernel_visible", "wrote outside of y"),
    (
        but(
            KERNEL,
            (
                "scratch[me] = fmaxf(scratch[me], scratch[me + half]);\n    __syncthreads();",
                "{ scratch[me] = fmaxf(scratch[me], scratch[me + half]); __syncthreads(); }",
            ),
        ),
        "kernel_visible",
        "wait at different __syncthreads",
    ),
    (but(KERNEL, ("float sum = 0.0f;", "float sum = 0.0f")), "kernel_visible", "could not compile"),
]


@pytest.mark.parametrize(("name", "answer", "test", "words"), MISTAKES)
def test_likely_mistakes_are_named(name, answer, test, words):
    assert words in RANKS.run(REFERENCE | {name: answer}, only=(test,))[test]


@needs_cxx
@pytest.mark.parametrize(("text", "test", "words"), KERNELS)
def test_likely_mistakes_of_a_kernel_are_named(text, test, words):
    assert words in RANKS.run(REFERENCE | {"softmax_kernel": text}, only=(test,))[test]


def test_overwriting_a_function_of_torch_wins_nothing(monkeypatch):
    for name in ("equal", "allclose"):
        monkeypatch.setattr(torch, name, getattr(torch, name))  # put back afterwards
    code = "torch.equal = torch.allclose = lambda *a, **k: True\n"
    code += "def all_reduce(rank, world, tensor):\n    for _ in range(2 * (world - 1)):\n"
    code += "        yield tensor.flatten()[: tensor.numel() // world]\n    return tensor"
    told = RANKS.run(REFERENCE | {"all_reduce": code}, only=("all_reduce",))
    assert "the comparison itself has been changed" in told["all_reduce_uneven"]
    assert "the comparison itself has been changed" in told["all_reduce_clean"]
