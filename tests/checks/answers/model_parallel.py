"""Right and wrong answers to the exercises of lesson 06/04."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn.functional import gelu, relu

from labkit.parallel.model_parallel.schedule import one_forward_one_backward
from labkit.parallel.model_parallel.topology import Topology


def own_term(x, a, b, r, n):
    return gelu(x @ a.chunk(n, 1)[r]) @ b.chunk(n)[r]


def sliced(x, a, b, r, n):
    size = a.shape[1] // n
    return gelu(x @ a[:, r * size : (r + 1) * size]) @ b[r * size : (r + 1) * size]


def gelu_by_hand(x, a, b, r, n):
    h = torch.matmul(x, a.tensor_split(n, 1)[r])
    return torch.matmul(0.5 * h * (1 + torch.erf(h / math.sqrt(2))), b.tensor_split(n)[r])


def masked(x, a, b, r, n):
    """All columns, of which those of other ranks are zero; gelu(0) is 0."""
    own = torch.arange(a.shape[1]) // (a.shape[1] // n) == r
    return gelu(x @ (a * own)) @ b


def as_digits(i, j, k, s):
    rank = 0
    for digit, size in zip((i, j, k), s, strict=True):
        rank = rank * size + digit
    return rank


def in_turn(ahead):
    """A schedule with `ahead(stage, stages)` forwards at the start."""

    def actions(s, p, m):
        w = min(max(ahead(s, p), 0), m)
        turns = [pair for i in range(m - w) for pair in (("F", w + i), ("B", i))]
        return [("F", i) for i in range(w)] + turns + [("B", i) for i in range(m - w, m)]

    return actions


def by_counting(s, p, m):
    """Forward while fewer than p − s micro-batches are alive, else backward."""
    actions, forward, back = [], 0, 0
    while back < m:
        if forward < m and forward - back < p - s:
            actions.append(("F", forward))
            forward += 1
        else:
            actions.append(("B", back))
            back += 1
    return actions


def by_places(s, p, m):
    """Every action has its place on a line of 2 (m + p − s − 1): backwards lag behind by p − s − 1 turns."""
    w = p - s - 1
    line = [(2 * i - (i < w) * 2 * w, "F", i) for i in range(m)] + [(2 * (i + w) + 1, "B", i) for i in range(m)]
    return tuple((kind, np.int64(i)) for _, kind, i in sorted(line))


def all_forward(s, p, m):
    return [("F", i) for i in range(m)] + [("B", i) for i in range(m)]


def newest_first(s, p, m):
    return [("F", i) for i in range(m)] + [("B", i) for i in reversed(range(m))]


def without_the_last(s, p, m):
    w = min(p - s - 1, m)
    return [("F", i) for i in range(w)] + [pair for i in range(m - w) for pair in (("F", w + i), ("B", i))]


def too_long_a_start(s, p, m):
    w = p - s - 1
    turns = [pair for i in range(m - w) for pair in (("F", w + i), ("B", i))]
    return [("F", i) for i in range(w)] + turns + [("B", i) for i in range(max(m - w, 0), m)]


def span(events):
    return max(e.end for e in events) - min(e.start for e in events)


def busy(events):
    return sum(e.end - e.start for e in events)


def own_spans(events, p):
    return sum(span([e for e in events if e.rank == s]) for s in {e.rank for e in events})


def by_gaps(events, p):
    """Idle time, stage by stage and gap by gap."""
    first, last, idle = min(e.start for e in events), max(e.end for e in events), 0.0
    for stage in range(p):
        now = first
        for event in sorted((e for e in events if e.rank == stage), key=lambda e: e.start):
            idle, now = idle + event.start - now, event.end
        idle += last - now
    return idle / (p * (last - first))


def in_numpy(events, p):
    start, end = np.array([[e.start, e.end] for e in events]).T
    return 1 - (end - start).sum() / (p * (end.max() - start.min()))


RIGHT = {
    "term": [own_term, sliced, gelu_by_hand, masked, lambda x, a, b, r, n: gelu(x @ a[:, r::n]) @ b[r::n]],
    "rank_of": [
        as_digits,
        lambda i, j, k, s: np.ravel_multi_index((i, j, k), s),
        lambda i, j, k, s: torch.arange(math.prod(s)).view(*s)[i, j, k],
        lambda i, j, k, s: Topology(*s).rank(i, j, k),
    ],
    "one_f_one_b": [
        in_turn(lambda s, p: p - s - 1),
        by_counting,
        by_places,
        lambda s, p, m: one_forward_one_backward(p, m)[s],
    ],
    "bubble": [by_gaps, in_numpy, lambda e, p: torch.tensor(1 - busy(e) / p / span(e), dtype=torch.float64)],
}

WRONG = {
    "term": [
        (lambda x, a, b, r, n: gelu(x @ a) @ b, "nothing was split"),
        (lambda x, a, b, r, n: gelu(x @ a) @ b / n, "took a share of it"),
        (lambda x, a, b, r, n: own_term(x, a, b, r, n) / n, "the terms are averaged"),
        (lambda x, a, b, r, n: x @ a.chunk(n, 1)[r] @ b.chunk(n)[r], "gelu is missing"),
        (lambda x, a, b, r, n: gelu(x @ a.chunk(n, 1)[r] @ b.chunk(n)[r]), "stands after B"),
        (lambda x, a, b, r, n: gelu(own_term(x, a, b, r, n)), "not after B"),
        (lambda x, a, b, r, n: relu(x @ a.chunk(n, 1)[r]) @ b.chunk(n)[r], "this is a relu"),
        (lambda x, a, b, r, n: gelu(x @ a.chunk(n, 1)[r], approximate="tanh") @ b.chunk(n)[r], "tanh approximation"),
        (lambda x, a, b, r, n: gelu(x @ a.chunk(n, 1)[r]) @ b.chunk(n)[n - 1 - r], "wrong order"),
        (lambda x, a, b, r, n: gelu(x @ a.chunk(n, 0)[r]) @ b.chunk(n, 1)[r], "stopped with RuntimeError"),
        (lambda x, a, b, r, n: gelu(x @ a.chunk(n, 1)[r]), r"shape \(5, 12\)"),
        (lambda x, a, b, r, n: own_term(x, a, b, n - 1 - r, n), "equal parts in rank order"),
        (lambda x, a, b, r, n: 2 * own_term(x, a, b, r, n), "do not add up to gelu"),
        (lambda x, a, b, r, n: own_term(x, a, b, r, n).detach(), "carries no gradient"),
        (lambda x, a, b, r, n: own_term(x.detach(), a, b, r, n), "the gradient of X is not"),
        (lambda x, a, b, r, n: own_term(x, a.data, b, r, n), "the gradient of A is not"),
        (lambda x, a, b, r, n: [own_term(x, a, b, rank, n) for rank in range(n)], "torch tensor, not list"),
    ],
    "rank_of": [
        (lambda i, j, k, s: i + s[0] * (j + s[1] * k), "first axis moves fastest"),
        (lambda i, j, k, s: i * s[1] * s[2] + k * s[1] + j, "data moves fastest"),
        (lambda i, j, k, s: (i * s[0] + j) * s[1] + k, "a step along `data`"),
        (lambda i, j, k, s: i * s[0] * s[2] + j * s[2] + k, "a step along `pipe` passes over sizes"),
        (lambda i, j, k, s: i * s[1] + j * s[2] + k, "whole grids of data × model"),
        (lambda i, j, k, s: (i * s[1] + j) * s[0] + k, "from the wrong end"),
        (lambda i, j, k, s: i + j + k, "only added"),
        (lambda i, j, k, s: (i * s[1] + j) * s[2] + k + 1, "counted from 0"),
        (lambda i, j, k, s: (i * s[1] + j) * s[2] + k + 0.5, "a whole number, not 0.5"),
        (lambda i, j, k, s: (i, j, k), "one number, not tuple"),
        (lambda i, j, k, s: i * 8 + j * 4 + k, r"in a grid of \(2, 3, 5\), \(0, 1, 0\) is rank 5; you gave 4"),
    ],
    "one_f_one_b": [
        (all_forward, "all forwards come first"),
        (newest_first, "the oldest first"),
        (without_the_last, "missing: B3 B4 B5"),
        (too_long_a_start, r"F2 is of no micro-batch here: they are F0 to F1.*min\(p − s − 1, m\)"),
        (lambda s, p, m: [*by_counting(s, p, m), ("B", m - 1)], "B5 twice"),
        (in_turn(lambda s, p: p - s), "one forward too late"),
        (in_turn(lambda s, p: p - s - 2), "one forward too early"),
        (in_turn(lambda s, p: p - 1), "as many forwards as the first"),
        (in_turn(lambda s, p: s), "counted from the wrong end"),
        (lambda s, p, m: [("B", i) for i in range(m)] + [("F", i) for i in range(m)], "before it has gone forward"),
        (lambda s, p, m: [f"F{i}" for i in range(m)], 'no text such as "F0"'),
        (lambda s, p, m: list(range(m)), "a list of pairs"),
        (lambda s, p, m: [("f", 0)], '"F" or "B"'),
        (lambda s, p, m: [("F", 0.5)], "should be a whole number"),
        (in_turn(lambda s, p: 1), "F0 F1 F2 F3 B0 F4 B1 F5 B2 B3 B4 B5 is wanted"),
    ],
    "bubble": [
        (lambda e, p: busy(e) / (p * span(e)), "the bubble is the rest"),
        (lambda e, p: 1 - busy(e) / (p * max(x.end for x in e)), "does not start at 0"),
        (lambda e, p: 1 - busy(e) / own_spans(e, p), "its own first start"),
        (lambda e, p: 1 - busy(e) / (p * (e[-1].end - e[0].start)), "not the first and the last on the clock"),
        (lambda e, p: 1 - busy(e) / span(e), "their number times the span"),
        (lambda e, p: (p * span(e) - busy(e)) / busy(e), "idle time against working time"),
        (lambda e, p: p * span(e) - busy(e), "these are seconds"),
        (lambda e, p: 100 * (1 - busy(e) / (p * span(e))), "not per cent"),
        (lambda e, p: (p - 1) / (len(e) // (2 * p) + p - 1), "so measure"),
        (lambda e, p: 1 - busy(e) / (p * span([x for x in e if x.rank == 0])), "the least of all events' starts"),
        (lambda e, p: 1 - busy(e) / (len({x.rank for x in e}) * span(e)), "one of them did nothing at all"),
        (lambda e, p: "a third", "not str"),
        (lambda e, p: 0.25, "wanted: 1"),
    ],
}  # fmt: skip
