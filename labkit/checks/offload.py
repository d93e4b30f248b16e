"""Checks of lesson 06/06, offload: `from labkit.checks import offload as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from labkit.checks.exercise import Mistake, exercise

LESSON = "06/06"


@exercise(LESSON)
def spread(function: Callable[[int, int], Sequence[int]]) -> None:
    """(layers, moving) → the numbers of the moving layers, as evenly spread as whole numbers allow."""
    places = _places(function(12, 4), 12, 4)
    if places == [8, 9, 10, 11] or places == [0, 1, 2, 3]:
        raise Mistake("these stand in a row: the device would wait for one after the other. Leave equal gaps")
    if _gaps(places, 12) != [3, 3, 3, 3]:
        wrap = (
            " (and from the last over the end to the first: passes repeat)"
            if len(set(_gaps(places, 12)[:-1])) == 1
            else ""
        )
        raise Mistake(f"4 of 12 layers should stand 3 apart{wrap}; your gaps are {_gaps(places, 12)}")
    for layers, moving in ((10, 4), (11, 3), (7, 5), (8, 8), (5, 1)):
        gaps = _gaps(_places(function(layers, moving), layers, moving), layers)
        if max(gaps) - min(gaps) > 1:
            raise Mistake(
                f"for {moving} of {layers} your gaps are {gaps}: they should differ by one at most. Round each place "
                "down by itself, number · layers // moving, rather than one gap for all"
            )


@exercise(LESSON)
def pass_time(function: Callable[[int, int, float, float], float]) -> None:
    """(layers, moving, compute, load) → seconds of a steady pass with evenly spread moving layers."""
    cases = ((12, 4, 1.0, 2.0), (12, 4, 1.0, 5.0), (24, 6, 0.5, 1.0), (10, 8, 0.2, 3.0))
    right = [max(n * c, k * x) for n, k, c, x in cases]
    found = [_number(function(*case)) for case in cases]
    mistakes = [
        ([n * c + k * x for n, k, c, x in cases], "you added computing and loading: they go on at the same time, so the longer one counts"),
        ([n * max(c, x) for n, k, c, x in cases], "only the moving layers are loaded: k · load, not n · load"),
        ([max(n * c, n * x) for n, k, c, x in cases], "only the moving layers are loaded: k · load, not n · load"),
        ([(n - k) * c + k * max(c, x) for n, k, c, x in cases], "a load may take as long as all layers between two moving ones, not only one: compare the sums over a whole pass"),
        ([max((n - k) * c, k * x) for n, k, c, x in cases], "moving layers are computed too, once they are there: n · compute"),
        ([n * c for n, k, c, x in cases], "this is computing alone; where loading takes longer, the device waits"),
        ([k * x for n, k, c, x in cases], "this is loading alone; where computing takes longer, the link waits"),
        ([min(n * c, k * x) for n, k, c, x in cases], "the longer of the two decides, not the shorter"),
    ]  # fmt: skip
    _expect(found, right, "the longer of n · compute and k · load was expected", mistakes)


@exercise(LESSON)
def lru_faults(function: Callable[[int, int, int], int]) -> None:
    """(layers, frames, passes) → faults of all passes under LRU, at first nothing being in memory."""
    cases = ((6, 4, 3), (6, 5, 2), (6, 6, 4), (3, 8, 5), (9, 2, 1))
    right = [n * p if n > f else n for n, f, p in cases]
    found = [_number(function(*case)) for case in cases]
    mistakes = [
        ([n + max(n - f, 0) * (p - 1) for n, f, p in cases], "you count n - frames faults a pass: but the layer that LRU throws out is the one needed next, and then the next"),
        ([n * p for n, f, p in cases], "where all layers fit, only the first pass faults"),
        ([n * p if n >= f else n for n, f, p in cases], "with exactly as many frames as layers nothing is thrown out"),
        ([n * p if n > f else 0 for n, f, p in cases], "the first pass faults always: at the start nothing is in memory"),
        ([max(n - f, 0) * p for n, f, p in cases], "at the start nothing is in memory, and LRU throws out just what comes next: count again"),
        ([n if n > f else 0 for n, f, p in cases], "these are the faults of one pass: all of them are asked for"),
    ]  # fmt: skip
    _expect(found, right, "n faults in the first pass; afterwards none where all fit, else n in each", mistakes)


def _expect(found: list[float], right: list[float], message: str, mistakes: Sequence[tuple[list[float], str]]) -> None:
    """Mistake unless all cases agree, with the text of the mistake that they all agree with."""
    if _close(found, right):
        return
    for wrong, text in mistakes:
        if _close(found, wrong):
            raise Mistake(text)
    raise Mistake(message)


def _close(found: list[float], right: list[float]) -> bool:
    return all(abs(a - b) < 1e-6 for a, b in zip(found, right, strict=True))


def _number(value: Any) -> float:
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Mistake(f"one number is wanted, not {type(value).__name__}") from error


def _places(value: Any, layers: int, moving: int) -> list[int]:
    """The learner's places, in order; Mistake where they are none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        places = [int(place) for place in value]
        whole = all(place == number for place, number in zip(value, places, strict=True))
    except (TypeError, ValueError) as error:
        raise Mistake("a list of layer numbers is wanted") from error
    if not whole:
        raise Mistake("layers have whole numbers: use //, not /")
    if len(places) != moving or len(set(places)) != moving:
        raise Mistake(f"{moving} of {layers} layers were to move, and you gave {places}")
    if not all(0 <= place < layers for place in places):
        raise Mistake(f"layers are numbered 0 to {layers - 1}; you gave {places}")
    return sorted(places)


def _gaps(places: list[int], layers: int) -> list[int]:
    """Distances from each place to the next, the last over the end to the first."""
    return [(b - a - 1) % layers + 1 for a, b in zip(places, [*places[1:], places[0]], strict=True)]
