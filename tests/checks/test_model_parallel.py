"""Checks of lesson 06/04: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn.functional import gelu

from labkit.checks import exercises, model_parallel
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("06_parallel/04_model_parallel")


@pytest.mark.parametrize("name", exercises("06/04"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(model_parallel, name)(SHOWN[name])
    assert verdict.passed, verdict


def pairs(a, b, n):
    return zip(a.chunk(n, 1), b.chunk(n), strict=True)


def in_turn(ahead):
    """A schedule with `ahead(stage, stages)` forwards at the start."""

    def actions(s, p, m):
        w = min(max(ahead(s, p), 0), m)
        turns = [pair for i in range(m - w) for pair in (("F", w + i), ("B", i))]
        return [("F", i) for i in range(w)] + turns + [("B", i) for i in range(m - w, m)]

    return actions


def all_forward(s, p, m):
    return [("F", i) for i in range(m)] + [("B", i) for i in range(m)]


def newest_first(s, p, m):
    return [("F", i) for i in range(m)] + [("B", i) for i in reversed(range(m))]


def without_the_last(s, p, m):
    w = min(p - s - 1, m)
    return [("F", i) for i in range(w)] + [pair for i in range(m - w) for pair in (("F", w + i), ("B", i))]


def span(events):
    return max(e.end for e in events) - min(e.start for e in events)


def busy(events):
    return sum(e.end - e.start for e in events)


def own_spans(events, p):
    return sum(span([e for e in events if e.rank == s]) for s in range(p))


MISTAKES = {
    "terms": [
        (lambda x, a, b, n: None, "not attempted"),
        (lambda x, a, b, n: gelu(x @ a) @ b, "not Tensor"),
        (lambda x, a, b, n: [gelu(x @ p) @ q for p, q in pairs(a, b, n)][:-1], "your list has 1"),
        (lambda x, a, b, n: [gelu(x @ a) @ b] * n, "nothing was split"),
        (lambda x, a, b, n: [gelu(x @ a) @ b / n] * n, "took a share of it"),
        (lambda x, a, b, n: [x @ p @ q for p, q in pairs(a, b, n)], "gelu is missing"),
        (lambda x, a, b, n: [gelu(x @ p @ q) for p, q in pairs(a, b, n)], "stands after B"),
        (lambda x, a, b, n: [gelu(gelu(x @ p) @ q) for p, q in pairs(a, b, n)], "not after B"),
        (lambda x, a, b, n: [gelu(x @ p) @ q for p, q in zip(a.chunk(n, 1), b.chunk(n)[::-1], strict=True)], "wrong order"),
        (lambda x, a, b, n: [gelu(x @ p) @ q for p, q in zip(a.chunk(n, 0), b.chunk(n, 1), strict=True)], "stopped with RuntimeError"),
        (lambda x, a, b, n: [gelu(x @ p) for p in a.chunk(n, 1)], r"shape \(5, 12\)"),
        (lambda x, a, b, n: [gelu(x @ p) @ q for p, q in pairs(a, b, n)][::-1], "equal parts in rank order"),
        (lambda x, a, b, n: [2 * gelu(x @ p) @ q for p, q in pairs(a, b, n)], "do not add up"),
    ],
    "rank_of": [
        (lambda i, j, k, s: i + s[0] * (j + s[1] * k), "first axis moves fastest"),
        (lambda i, j, k, s: i * s[1] * s[2] + k * s[1] + j, "data moves fastest"),
        (lambda i, j, k, s: (i * s[0] + j) * s[1] + k, "a step along `data`"),
        (lambda i, j, k, s: i * s[0] * s[2] + j * s[2] + k, "a step along `pipe`"),
        (lambda i, j, k, s: i + j + k, "only added"),
        (lambda i, j, k, s: (i * s[1] + j) * s[2] + k + 1, "counted from 0"),
        (lambda i, j, k, s: (i * s[1] + j) * s[2] / 1 + k, "not float"),
        (lambda i, j, k, s: print(end=""), "None: did you forget"),
        (lambda i, j, k, s: i * 8 + j * 4 + k, r"in a grid of \(2, 3, 5\), \(0, 1, 0\) is rank 5; you gave 4"),
    ],
    "one_f_one_b": [
        (all_forward, "all forwards come first"),
        (newest_first, "the oldest first"),
        (without_the_last, "missing: B3 B4 B5"),
        (in_turn(lambda s, p: p - s), "one forward too many"),
        (in_turn(lambda s, p: p - s - 2), "one forward too few"),
        (in_turn(lambda s, p: p - 1), "as many forwards as the first"),
        (in_turn(lambda s, p: s), "counted from the wrong end"),
        (lambda s, p, m: [("B", i) for i in range(m)] + [("F", i) for i in range(m)], "before it has gone forward"),
        (lambda s, p, m: [f"F{i}" for i in range(m)], "missing|pairs"),
        (lambda s, p, m: [("f", 0)], '"F" or "B"'),
        (lambda s, p, m: print(end=""), "None: did you forget"),
        (in_turn(lambda s, p: 1), "F0 F1 F2 F3 B0 F4 B1 F5 B2 B3 B4 B5 is wanted"),
    ],
    "bubble": [
        (lambda e, p: busy(e) / (p * span(e)), "the bubble is the rest"),
        (lambda e, p: 1 - busy(e) / (p * max(x.end for x in e)), "does not start at 0"),
        (lambda e, p: 1 - busy(e) / own_spans(e, p), "its own first start"),
        (lambda e, p: 1 - busy(e) / span(e), "their number times the span"),
        (lambda e, p: (p * span(e) - busy(e)) / busy(e), "idle time against working time"),
        (lambda e, p: p * span(e) - busy(e), "these are seconds"),
        (lambda e, p: 100 * (1 - busy(e) / (p * span(e))), "not per cent"),
        (lambda e, p: 2 / 6, "so measure"),
        (lambda e, p: "a third", "not str"),
        (lambda e, p: print(end=""), "None: did you forget"),
        (lambda e, p: 0.25, "wanted: 1"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(model_parallel, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(model_parallel, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_columns_may_also_be_dealt_out_like_cards():
    dealt = model_parallel.terms(lambda x, a, b, n: [gelu(x @ a[:, r::n]) @ b[r::n] for r in range(n)])
    assert dealt.passed, dealt


def test_the_lessons_functions_agree_with_labkit():
    from labkit.parallel.model_parallel.schedule import bubble, one_forward_one_backward, simulate
    from labkit.parallel.model_parallel.topology import Topology

    grid = Topology(3, 2, 5)
    assert [SHOWN["rank_of"](*place, grid.sizes) for place in grid] == list(range(30))
    for p, m in ((3, 7), (5, 2)):
        assert [SHOWN["one_f_one_b"](s, p, m) for s in range(p)] == one_forward_one_backward(p, m)
        events = simulate(one_forward_one_backward(p, m))
        assert SHOWN["bubble"](events, p) == pytest.approx(bubble(events, p))
    x, a, b = (torch.randn(size) for size in ((2, 4), (4, 16), (16, 4)))
    assert torch.allclose(sum(SHOWN["terms"](x, a, b, 4)), gelu(x @ a) @ b, atol=1e-5)
