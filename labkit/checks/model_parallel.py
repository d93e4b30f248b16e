"""Checks of lesson 06/04, model parallelism: `from labkit.checks import model_parallel as check`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu

from labkit.checks.exercise import Mistake, exercise, expect, given, learns, number, same, tensor, whole

LESSON = "06/04"
Actions = list[tuple[str, int]]


def _term(x: Tensor, a: Tensor, b: Tensor, rank: int, ranks: int) -> Tensor:
    return gelu(x @ a.chunk(ranks, 1)[rank]) @ b.chunk(ranks, 0)[rank]


def _pairs(a: Tensor, b: Tensor, ranks: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(a.chunk(ranks, 1), b.chunk(ranks, 0), strict=True))


@exercise(LESSON, _term)
def term(function: Callable[[Tensor, Tensor, Tensor, int, int], Tensor]) -> None:
    """X (n, d), A (d, 4 d), B (4 d, d), a rank, the number of ranks → what it computes before the sum, (n, d)."""
    draw = torch.Generator().manual_seed(2)
    x, a, b = (torch.randn(size, generator=draw).requires_grad_() for size in ((5, 6), (6, 24), (24, 6)))
    for ranks in (2, 3):
        found = [function(x, a, b, rank, ranks) for rank in range(ranks)]
        _values([tensor(one, (5, 6), f"the term of rank {rank}", gradient=True) for rank, one in enumerate(found)],
                *(one.detach() for one in (x, a, b)))  # fmt: skip
        learns(sum(found), gelu(x @ a) @ b, {"X": x, "A": a, "B": b},
               "the values are right, but the gradient of {} is not: .detach(), .data or torch.tensor(…) cuts it off")  # fmt: skip


def _values(found: list[Tensor], x: Tensor, a: Tensor, b: Tensor) -> None:
    ranks, full = len(found), gelu(x @ a) @ b
    if all(same(one, full) for one in found):
        raise Mistake("every rank has the whole result: then each holds all of A and B, and nothing was split")
    pairs = _pairs(a, b, ranks)
    mistakes = [
        (x @ a @ b, "the gelu is missing between the two products"),
        (sum(gelu(gelu(x @ p) @ q) for p, q in pairs), "a gelu comes after A only, not after B"),
        (sum(gelu(x @ p @ q) for p, q in pairs), "the gelu stands after B: it belongs between the products, where each rank has whole columns of X A"),
        (sum(gelu(x @ p) @ q for (p, _), (_, q) in zip(pairs, reversed(pairs), strict=True)), "the parts of B are in the wrong order: rank i needs the rows of B that belong to its columns of A"),
        (torch.relu(x @ a) @ b, "this is a relu: φ is a gelu here"),
        (gelu(x @ a, approximate="tanh") @ b, "this is the tanh approximation of the gelu: take torch.nn.functional.gelu as it is"),
        (full / ranks, "the terms are averaged: they add up to the result, so none is divided"),
    ]  # fmt: skip
    expect(sum(found), full, "the terms do not add up to gelu(X A) B: cut A by columns (dim 1) and B by rows (dim 0)", mistakes)  # fmt: skip
    if same(torch.stack(found), full.expand(ranks, 5, 6) / ranks):
        raise Mistake("every rank computed the whole and took a share of it: nothing was saved. Rank i needs only its columns of A")  # fmt: skip
    own = [gelu(x @ p) @ q for p, q in pairs]
    strided = [gelu(x @ a[:, rank::ranks]) @ b[rank::ranks] for rank in range(ranks)]
    if not any(same(torch.stack(found), torch.stack(right)) for right in (own, strided)):
        raise Mistake("the sum is right, but the terms are not those of equal parts in rank order")


def _rank_of(pipe: int, data: int, model: int, sizes: Sequence[int]) -> int:
    return (pipe * sizes[1] + data) * sizes[2] + model


@exercise(LESSON, _rank_of)
def rank_of(function: Callable[[int, int, int, tuple[int, int, int]], int]) -> None:
    """A place (pipe, data, model) and the sizes of the grid, in the same order → the rank."""
    for sizes in ((4, 2, 4), (2, 3, 5), (3, 1, 2), (2, 4, 1)):
        places = list(itertools.product(*map(range, sizes)))
        found = [whole(function(*place, sizes), "a rank") for place in places]
        right, (p, d, m) = list(range(len(places))), sizes
        mistakes = [
            ([i + p * (j + d * k) for i, j, k in places], "your first axis moves fastest: neighbours along `model` must have neighbouring ranks"),
            ([i * d * m + k * d + j for i, j, k in places], "data moves fastest in yours: the order is pipe, data, model, and the last moves fastest"),
            ([(i * p + j) * d + k for i, j, k in places], "you multiply by the sizes of the wrong axes: a step along `data` passes over all of `model`, so it is worth sizes[2]"),
            ([i * p * m + j * m + k for i, j, k in places], "you multiply by the sizes of the wrong axes: a step along `pipe` passes over sizes[1] · sizes[2] ranks"),
            ([i * d + j * m + k for i, j, k in places], "a step along `pipe` passes over whole grids of data × model: it is worth sizes[1] · sizes[2], not sizes[1]"),
            ([(i * d + j) * p + k for i, j, k in places], "you take the sizes from the wrong end: they come as (pipe, data, model), so `model` has sizes[2]"),
            ([i + j + k for i, j, k in places], "the coordinates are only added: a step along an axis passes over all ranks of the axes after it"),
            ([rank + 1 for rank in right], "ranks are counted from 0"),
        ]  # fmt: skip
        place, mine, rank = next((one for one in zip(places, found, right, strict=True) if one[1] != one[2]), (0, 0, 0))
        expect(found, right, f"in a grid of {sizes}, {place} is rank {rank}; you gave {mine}", mistakes, 0)


def _one_f_one_b(stage: int, stages: int, micro_batches: int) -> Actions:
    return _schedule(stages - stage - 1, micro_batches)


def _schedule(ahead: int, micros: int) -> Actions:
    """`ahead` forwards first, then forward and backward in turn, then what is left."""
    ahead = max(0, min(ahead, micros))
    turns = [pair for micro in range(micros - ahead) for pair in (("F", ahead + micro), ("B", micro))]
    return [("F", micro) for micro in range(ahead)] + turns + [("B", micro) for micro in range(micros - ahead, micros)]


@exercise(LESSON, _one_f_one_b)
def one_f_one_b(function: Callable[[int, int, int], Actions]) -> None:
    """A stage, the number of stages and of micro-batches → its actions in order: [("F", 0), …, ("B", 0), …]."""
    for stages, micros in ((4, 6), (4, 2), (4, 3), (1, 3), (2, 1)):
        for stage in range(stages):
            found, right = _actions(function(stage, stages, micros)), _one_f_one_b(stage, stages, micros)
            if found != right:
                where = f"stage {stage} of {stages}, {micros} micro-batches: "
                raise Mistake(where + (_wrong_actions(found, right) or _wrong_order(found, right, stage, stages)))


def _actions(value: Any) -> Actions:
    given(value)
    try:
        pairs = [(kind, micro) for kind, micro in value]
    except (TypeError, ValueError) as error:
        raise Mistake('the result should be a list of pairs such as ("F", 0)') from error
    if any(isinstance(micro, str) for _, micro in pairs):
        raise Mistake('a pair is a letter and a number, ("F", 0), no text such as "F0"')
    if any(kind not in ("F", "B") for kind, _ in pairs):
        raise Mistake('the first of a pair is "F" or "B"')
    return [(kind, whole(micro, "a micro-batch")) for kind, micro in pairs]


def _wrong_actions(found: Actions, right: Actions) -> str | None:
    """What is missing or too many."""
    strange = [pair for pair in found if pair not in right]
    twice = [pair for pair in right if found.count(pair) > 1]
    missing = [pair for pair in right if pair not in found]
    if strange:
        return f"{_said(strange[:1])} is of no micro-batch here: they are {_said(right[:1])} to F{len(right) // 2 - 1}. With few micro-batches there are fewer forwards to begin with: min(p − s − 1, m)"  # fmt: skip
    if twice:
        return f"{_said(twice)} twice: every micro-batch goes forward once and back once"
    if missing:
        return f"missing: {_said(missing)}. Every micro-batch goes forward once and back once; are the last backwards there?"  # fmt: skip
    return None


def _wrong_order(found: Actions, right: Actions, stage: int, stages: int) -> str:
    """What is wrong with a list that holds each action once."""
    micros = range(len(right) // 2)
    if any(found.index(("B", micro)) < found.index(("F", micro)) for micro in micros):
        return "a micro-batch goes back before it has gone forward"
    if [micro for kind, micro in found if kind == "B"] != list(micros):
        return "backwards come in the order of the micro-batches, the oldest first: only then is its memory freed early"
    if found == [(kind, micro) for kind in "FB" for micro in micros]:
        return "all forwards come first, so all micro-batches are kept at once: go back as soon as you can"
    named = [
        (stages - 1, "every stage starts with as many forwards as the first: the later a stage, the sooner a gradient comes back to it"),
        (stages - stage, "the first backward comes one forward too late: p − s − 1 forwards, and then a forward and a backward in turn"),
        (stages - stage - 2, "the first backward comes one forward too early: after p − s − 1 forwards each turn is a forward, then a backward"),
        (stage, "the stages are counted from the wrong end: the first stage waits longest for a gradient, the last not at all"),
    ]  # fmt: skip
    for ahead, text in named:
        if found == _schedule(ahead, len(micros)):
            return text
    return f"{_said(right)} is wanted"


def _said(actions: Actions) -> str:
    return " ".join(kind + str(micro) for kind, micro in actions)


def _bubble(events: Sequence[Any], stages: int) -> float:
    span = max(event.end for event in events) - min(event.start for event in events)
    return 1 - sum(event.end - event.start for event in events) / (stages * span)


@exercise(LESSON, _bubble)
def bubble(function: Callable[[Sequence[Any], int], float]) -> None:
    """Events (with .rank, .start, .end in seconds) and the number of stages → the share of the time that is idle."""
    from labkit.parallel.model_parallel.schedule import bubble_in_theory, gpipe, simulate
    from labkit.parallel.trace import Event

    clock = simulate(gpipe(3, 4), 1.0, 2.0)
    even = [Event(e.rank, e.lane, e.name, e.start + 100, e.end + 100) for e in clock]
    even.sort(key=lambda event: event.rank)  # as they are recorded: rank after rank
    _one_bubble(function, even, 3, "wanted: 1 − (sum of all durations) / (stages · (last end − first start))")
    times = [(0, 51, 52.5), (0, 52.5, 53), (0, 55, 55.5), (0, 56, 57), (1, 50.5, 51), (1, 53, 54.5), (1, 54.5, 55), (1, 57, 58.5)]  # fmt: skip
    uneven = [Event(rank, "compute", "forward", start, end) for rank, start, end in times]
    closed = bubble_in_theory(2, 2), "the closed form holds for stages that take equally long; here measured events are given, so measure"  # fmt: skip
    _one_bubble(function, uneven, 2, "for stages that do not take equally long: the first start is the least of all events' starts, the last end the greatest of all ends", closed)  # fmt: skip
    counted = _bubble(uneven, 2), "there are 3 stages here, and one of them did nothing at all: its time counts, so use `stages`"  # fmt: skip
    _one_bubble(function, uneven, 3, "the time of all stages is `stages` times the span", counted)


def _one_bubble(
    function: Callable[..., Any], events: list[Any], stages: int, message: str, *more: tuple[float, str]
) -> None:
    found, right = number(function(list(events), stages)), _bubble(events, stages)
    busy, last = sum(event.seconds for event in events), max(event.end for event in events)
    span = last - min(event.start for event in events)
    each = [[event for event in events if event.rank == stage] for stage in range(stages)]
    own = sum(max(e.end for e in some) - min(e.start for e in some) for some in each if some)
    mistakes = [
        *more,
        (busy / (stages * span), "this is the share of the time in which the stages work: the bubble is the rest"),
        (1 - busy / (stages * last), "the clock does not start at 0: the span runs from the first start to the last end"),
        (1 - busy / own, "each stage is measured from its own first start to its own last end: waiting before and after is bubble as well"),
        (1 - busy / (stages * (events[-1].end - events[0].start)), "the first and the last of the list are not the first and the last on the clock: take min of all starts, max of all ends"),
        (1 - busy / span, "the time of all stages is their number times the span"),
        ((stages * span - busy) / busy, "idle time against working time: divide by all of the time instead"),
        (stages * span - busy, "these are seconds: divide by the time of all stages"),
        (100 * right, "a share is wanted, between 0 and 1, not per cent"),
    ]  # fmt: skip
    expect(found, right, message, mistakes)
