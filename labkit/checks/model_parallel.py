"""Checks of lesson 06/04, model parallelism: `from labkit.checks import model_parallel as check`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from labkit.checks.exercise import Mistake, exercise, expect, same, tensor

LESSON = "06/04"


@exercise(LESSON)
def terms(function: Callable[[Tensor, Tensor, Tensor, int], list[Tensor]]) -> None:
    """X (n, d), A (d, 4 d), B (4 d, d), a number of ranks → what each rank computes before the sum, (n, d) each."""
    generator = torch.Generator().manual_seed(2)
    x, a, b = (torch.randn(size, generator=generator) for size in ((5, 6), (6, 24), (24, 6)))
    for ranks in (2, 4):
        _terms(function(x.clone(), a.clone(), b.clone(), ranks), (x, a, b), ranks)


def _terms(found: Any, given: tuple[Tensor, Tensor, Tensor], ranks: int) -> None:
    x, a, b = given
    if not isinstance(found, list | tuple):
        raise Mistake(
            f"a list with one tensor a rank is wanted, not {type(found).__name__}: the sum is the all-reduce's work"
        )
    if len(found) != ranks:
        raise Mistake(f"{ranks} ranks compute {ranks} terms; your list has {len(found)}")
    found = [tensor(one, (5, 6), f"the term of rank {rank}") for rank, one in enumerate(found)]
    whole, linear = functional.gelu(x @ a) @ b, x @ a @ b
    total = sum(found)
    if all(same(one, whole) for one in found):
        raise Mistake("every rank has the whole result: then each holds all of A and B, and nothing was split")
    mistakes = [
        (linear, "the gelu is missing between the two products"),
        (sum(functional.gelu(functional.gelu(x @ p) @ q) for p, q in _pairs(a, b, ranks)), "a gelu comes after A only, not after B"),
        (sum(functional.gelu(x @ p @ q) for p, q in _pairs(a, b, ranks)), "the gelu stands after B: it belongs between the products, where each rank has whole columns of X A"),
        (sum(functional.gelu(x @ p) @ q for p, q in zip(a.chunk(ranks, 1), reversed(b.chunk(ranks, 0)), strict=True)), "the parts of B are in the wrong order: rank i needs the rows of B that belong to its columns of A"),
    ]  # fmt: skip
    expect(
        total, whole, "the terms do not add up to gelu(X A) B: cut A by columns (dim 1) and B by rows (dim 0)", mistakes
    )
    own = [functional.gelu(x @ p) @ q for p, q in _pairs(a, b, ranks)]
    strided = [functional.gelu(x @ a[:, rank::ranks]) @ b[rank::ranks] for rank in range(ranks)]
    if same(torch.stack(found), whole.expand(ranks, 5, 6) / ranks):
        raise Mistake(
            "every rank computed the whole and took a share of it: nothing was saved. Rank i needs only its columns of A"
        )
    if not any(same(torch.stack(found), torch.stack(right)) for right in (own, strided)):
        raise Mistake("the sum is right, but the terms are not those of equal parts in rank order")


def _pairs(a: Tensor, b: Tensor, ranks: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(a.chunk(ranks, 1), b.chunk(ranks, 0), strict=True))


@exercise(LESSON)
def rank_of(function: Callable[[int, int, int, tuple[int, int, int]], int]) -> None:
    """A place (pipe, data, model) and the sizes of the grid, in the same order → the rank."""
    for sizes in ((4, 2, 4), (2, 3, 5)):
        places = list(itertools.product(*map(range, sizes)))
        found = [_whole(function(*place, sizes)) for place in places]
        p, d, m = sizes
        mistakes = [
            ([i + p * (j + d * k) for i, j, k in places], "your first axis moves fastest: neighbours along `model` must have neighbouring ranks"),
            ([i * d * m + k * d + j for i, j, k in places], "data moves fastest in yours: the order is pipe, data, model, and the last moves fastest"),
            ([(i * p + j) * d + k for i, j, k in places], "you multiply by the sizes of the wrong axes: a step along `data` passes over all of `model`, so it is worth sizes[2]"),
            ([i * p * m + j * m + k for i, j, k in places], "you multiply by the sizes of the wrong axes: a step along `pipe` passes over sizes[1] · sizes[2] ranks"),
            ([i + j + k for i, j, k in places], "the coordinates are only added: a step along an axis passes over all ranks of the axes after it"),
            ([number + 1 for number in range(len(places))], "ranks are counted from 0"),
        ]  # fmt: skip
        for wrong, text in mistakes:
            if found == wrong and wrong != list(range(len(places))):
                raise Mistake(text)
        for place, mine, right in zip(places, found, range(len(places)), strict=True):
            if mine != right:
                raise Mistake(f"in a grid of {sizes}, {place} is rank {right}; you gave {mine}")


def _whole(value: Any) -> int:
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    if isinstance(value, bool) or not isinstance(value, int):
        raise Mistake(f"a rank is a whole number, not {type(value).__name__}")
    return value


@exercise(LESSON)
def one_f_one_b(function: Callable[[int, int, int], list[tuple[str, int]]]) -> None:
    """A stage, the number of stages and of micro-batches → its actions in order: [("F", 0), …, ("B", 0), …]."""
    for stages, micros in ((4, 6), (4, 2), (1, 3)):
        for stage in range(stages):
            found = _actions(function(stage, stages, micros))
            _one_stage(found, stage, stages, micros)


def _actions(value: Any) -> list[tuple[str, int]]:
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        found = [(kind, int(micro)) for kind, micro in value]
    except (TypeError, ValueError) as error:
        raise Mistake('the result should be a list of pairs such as ("F", 0)') from error
    if any(kind not in ("F", "B") for kind, _ in found):
        raise Mistake('the first of a pair is "F" or "B"')
    return found


def _one_stage(found: list[tuple[str, int]], stage: int, stages: int, micros: int) -> None:
    where = f"stage {stage} of {stages}, {micros} micro-batches: "
    right = _schedule(stages - stage - 1, micros)
    if found == right:
        return
    if sorted(found) != sorted(right):
        missing = [kind + str(micro) for kind, micro in right if (kind, micro) not in found]
        more = (
            f"missing: {' '.join(missing)}" if missing else "something is done twice, or for a micro-batch there is not"
        )
        raise Mistake(
            where
            + f"every micro-batch goes forward once and back once; {more}. Are the last backwards there? Is a warm-up longer than there are micro-batches?"
        )
    if any(found.index(("B", micro)) < found.index(("F", micro)) for micro in range(micros)):
        raise Mistake(where + "a micro-batch goes back before it has gone forward")
    if [micro for kind, micro in found if kind == "B"] != list(range(micros)):
        raise Mistake(
            where
            + "backwards come in the order of the micro-batches, the oldest first: only then is its memory freed early"
        )
    if found == [("F", micro) for micro in range(micros)] + [("B", micro) for micro in range(micros)]:
        raise Mistake(
            where + "all forwards come first, so all micro-batches are kept at once: go back as soon as you can"
        )
    named = [
        (stages - 1, "every stage starts with as many forwards as the first: the later a stage, the sooner a gradient comes back to it"),
        (stages - stage, "one forward too many at the start: p − s − 1, and then a forward and a backward in turn"),
        (stages - stage - 2, "one forward too few at the start: the stages after this one have nothing to do yet"),
        (stage, "the stages are counted from the wrong end: the first stage waits longest for a gradient, the last not at all"),
    ]  # fmt: skip
    for ahead, text in named:
        if found == _schedule(max(ahead, 0), micros):
            raise Mistake(where + text)
    raise Mistake(where + f"{' '.join(kind + str(micro) for kind, micro in right)} is wanted")


def _schedule(ahead: int, micros: int) -> list[tuple[str, int]]:
    """`ahead` forwards first, then forward and backward in turn, then what is left."""
    ahead = min(ahead, micros)
    turns = [pair for micro in range(micros - ahead) for pair in (("F", ahead + micro), ("B", micro))]
    return [("F", micro) for micro in range(ahead)] + turns + [("B", micro) for micro in range(micros - ahead, micros)]


@exercise(LESSON)
def bubble(function: Callable[[Sequence[Any], int], float]) -> None:
    """Events (with .rank, .start, .end in seconds) and the number of stages → the share of the time that is idle."""
    from labkit.parallel.model_parallel.schedule import gpipe, simulate
    from labkit.parallel.trace import Event

    stages, zero = 3, 100.0
    events = [Event(e.rank, e.lane, e.name, e.start + zero, e.end + zero) for e in simulate(gpipe(stages, 4), 1.0, 2.0)]
    found = function(list(events), stages)
    if found is None:
        raise Mistake("the result is None: did you forget `return`?")
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise Mistake(f"a number is wanted, not {type(found).__name__}")
    busy, span = sum(event.seconds for event in events), 18.0
    each = [[event for event in events if event.rank == stage] for stage in range(stages)]
    own = sum(max(e.end for e in some) - min(e.start for e in some) for some in each)
    mistakes = [
        (busy / (stages * span), "this is the share of the time in which the stages work: the bubble is the rest"),
        (1 - busy / (stages * (span + zero)), "the clock does not start at 0: the span runs from the first start to the last end"),
        (1 - busy / own, "each stage is measured from its own first start to its own last end: waiting before and after is bubble as well"),
        (1 - busy / span, "the time of all stages is their number times the span"),
        ((stages * span - busy) / busy, "idle time against working time: divide by all of the time instead"),
        (stages * span - busy, "these are seconds: divide by the time of all stages"),
        (100 * (1 - busy / (stages * span)), "a share is wanted, between 0 and 1, not per cent"),
    ]  # fmt: skip
    expect(
        found,
        1 - busy / (stages * span),
        "wanted: 1 − (sum of all durations) / (stages · (last end − first start))",
        mistakes,
    )
    longer = [Event(e.rank, e.lane, e.name, 3 * e.start, 3 * e.end + e.rank) for e in simulate(gpipe(2, 3), 1.0, 1.0)]
    time = max(e.end for e in longer) - min(e.start for e in longer)
    expect(
        function(longer, 2),
        1 - sum(e.seconds for e in longer) / (2 * time),
        "the closed form holds for stages that take equally long; here measured events are given, so measure",
    )
