"""Checks of lesson 04/07, from a large model to a small service: `from labkit.checks import landing as check`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, items, whole

LESSON = "04/07"
CODES = 2  # the rank of what stores weights as codes
Ranks = Sequence[int | None]


# Order


def _misplaced(ranks: Ranks) -> int | None:
    highest = -1
    for place, rank in enumerate(ranks):
        if highest == CODES or (rank is not None and rank < highest):
            return place
        highest = highest if rank is None else rank
    return None


@exercise(LESSON, _misplaced)
def misplaced(function: Callable[..., Any]) -> None:
    """Ranks of passes, None for training → the place of the first that cannot stand there, or None."""
    for ranks, said in (
        ([0, None, 1, None, 2], "this order is fine"),
        ([1, 0], "the sizes (0) come after the single weights (1)"),
        ([0, 2, None], "training (None) comes after the codes (2), and codes do not train"),
        ([0, 2, 2], "nothing may come after the codes (2), not even codes"),
        ([0, 1, 1, None, 1], "the same rank again is fine below 2"),
        ([1, None, 0, 2], "training between two passes does not mend their order: 0 still comes after 1"),
        ([None, 0, None], "training may come first, and last"),
        ([2, 0, 1, None], "the first that cannot stand is wanted, not the last"),
        ([1, 1, 0, 0], "the first that cannot stand is wanted"),
        ([], "with no pass nothing is misplaced"),
    ):
        _place_of(function, ranks, said)
    rng = random.Random(1)
    for _ in range(30):
        _place_of(function, rng.choices([None, 0, 1, 2], k=rng.randint(1, 6)), "compare each rank with the highest so far")


def _place_of(function: Callable[..., Any], ranks: list[int | None], said: str) -> None:
    right, before = _misplaced(ranks), list(ranks)
    found = function(ranks)
    if ranks != before:
        raise Mistake("your function changed `ranks`, which it was given: leave it as it is")
    if found is not None:
        found = whole(found, f"for {before} the result")
    if found is None and right is not None:
        raise Mistake(f"for {before} you gave None, and place {right} is wrong: {said} (or did you forget `return`?)")
    if found != right:
        raise Mistake(f"for {before} you gave {found}; {right} is wanted: {said}")


# Bytes


def _packed_bytes(rows: int, columns: int, bits: int, scales: int) -> int:
    return rows * -(-columns * bits // 8) + 4 * scales


@exercise(LESSON, _packed_bytes)
def packed_bytes(function: Callable[..., Any]) -> None:
    """Rows, columns, bits per weight, number of scales → bytes in the file."""
    for rows, columns, bits, scales in ((3, 10, 2, 2), (3, 8, 1, 3), (5, 7, 8, 5), (4, 6, 32, 0), (7, 9, 1, 1), (160, 448, 2, 1)):  # fmt: skip
        case = f"{rows} rows of {columns} weights of {bits} bits, {scales} scales"
        found = whole(asked(function, rows=rows, columns=columns, bits=bits, scales=scales), f"{case}: the result")
        right, whole_bytes = _packed_bytes(rows, columns, bits, scales), rows * columns * bits
        expect(found, right, f"{case}: {right} bytes are wanted, not {found}: each row is filled up to whole bytes, and a scale is a float32", [
            (-(-whole_bytes // 8) + 4 * scales, f"{case}: every row begins with a new byte, so round up row by row, not once for the matrix"),
            (rows * (columns * bits // 8) + 4 * scales, f"{case}: a byte that is begun counts whole: round up, not down"),
            (right - 4 * scales, f"{case}: the scales are missing, 4 bytes each"),
            (right - 3 * scales, f"{case}: a scale is a float32 of 4 bytes, not of one"),
            (rows * columns * bits + 32 * scales, f"{case}: these are bits: 8 of them are a byte"),
        ])  # fmt: skip


# The front


def _front(models: Sequence[tuple[float, float]]) -> list[int]:
    return [
        place
        for place, (size, score) in enumerate(models)
        if not any(s <= size and a >= score and (s, a) != (size, score) for s, a in models)
    ]


@exercise(LESSON, _front)
def front(function: Callable[..., Any]) -> None:
    """(bytes, accuracy) of each model → places of those that no other beats, ascending."""
    for models, said in (
        ([(100, 0.9), (50, 0.8), (60, 0.7)], "the third is larger than the second and less accurate"),
        ([(100, 0.9), (100, 0.8)], "of the same size, the less accurate one is beaten"),
        ([(100, 0.9), (80, 0.9)], "with the same accuracy, the larger one is beaten"),
        ([(100, 0.9), (100, 0.9), (200, 0.95)], "two equal ones do not beat each other: both stay"),
        ([(10, 0.5), (20, 0.6), (30, 0.7)], "each is the most accurate of its size or smaller: all stay"),
        ([(30, 0.5), (20, 0.6), (10, 0.7)], "the last is smaller and more accurate than all others"),
        ([(7, 0.1)], "one alone is beaten by nobody"),
        ([(20, 0.6), (10, 0.7), (30, 0.9), (30, 0.8)], "places are wanted in the order of the list"),
    ):
        _front_of(function, models, said)
    rng = random.Random(2)
    for _ in range(20):
        models = [(rng.randint(1, 6), rng.randint(1, 6) / 10) for _ in range(rng.randint(1, 7))]
        _front_of(function, models, "a model is beaten by one that is as small and as accurate, and better in one of the two")


def _front_of(function: Callable[..., Any], models: list[tuple[float, float]], said: str) -> None:
    found = [whole(one, "a place") for one in items(asked(function, models=models), "a list of places is wanted")]
    right = _front(models)
    if found != right:
        order = "; the places are right, but not in ascending order" if sorted(found) == right else ""
        raise Mistake(f"for {models} you gave {found}, and {right} is wanted: {said}{order}")


# Together


def _land(lines: Sequence[str], ranks: Callable[[str], Ranks], run: Callable[[str], Any], limit: float) -> str | None:
    tried = [line for line in lines if _misplaced(ranks(line)) is None]
    models = [run(line) for line in tried]
    fit = [place for place in _front(models) if models[place][0] <= limit]
    return tried[max(fit, key=lambda place: models[place][1])] if fit else None


@exercise(LESSON, _land)
def land(function: Callable[..., Any]) -> None:
    """Lines of passes, their ranks, what runs one, a limit in bytes → the line to serve, or None."""
    ranks = {"a": [0, None], "b": [0, 2], "c": [2, None], "d": [0, 1, 2], "e": [1, 0], "f": [0, None, 2]}
    made = {"a": (90, 0.9), "b": (40, 0.8), "c": (1, 1.0), "d": (40, 0.85), "e": (2, 1.0), "f": (30, 0.85)}
    for lines, limit, said in (
        ("abcdef", 100, "the most accurate one that fits"),
        ("abcdef", 90, "a model of exactly the limit fits"),
        ("abcdef", 50, "of two with the same accuracy the smaller one"),
        ("fdb", 50, "of two with the same accuracy the smaller one, whichever comes first"),
        ("ab", 39, "nothing fits: None is wanted"),
        ("ce", 100, "no line may run: None is wanted"),
    ):
        asked_for: list[str] = []

        def run(line: str, asked_for: list[str] = asked_for) -> tuple[float, float]:
            asked_for.append(line)
            return made[line]

        right = _land(list(lines), ranks.__getitem__, made.__getitem__, limit)
        found = function(list(lines), ranks.__getitem__, run, limit)
        where = f"lines {', '.join(lines)}, limit {limit}"
        if wrong := [line for line in asked_for if _misplaced(ranks[line]) is not None]:
            raise Mistake(f"{where}: {wrong[0]!r} was run, though its order {ranks[wrong[0]]} makes no sense: leave such lines out first")  # fmt: skip
        if len(asked_for) != len(set(asked_for)):
            raise Mistake(f"{where}: a line was run twice: a run may take minutes, so keep what it gave")
        if right is not None:
            given(found, f"{where}: the result")
        if found != right:
            raise Mistake(f"{where}: you gave {found!r}, and {right!r} is wanted: {said}")
