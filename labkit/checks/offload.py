"""Checks of lesson 06/06, offload: `from labkit.checks import offload as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from labkit.checks.exercise import Mistake, exercise, expect, items, number, parts, whole
from labkit.parallel.offload import paging, schedule

LESSON = "06/06"


def _card_plan(layers: int, card: int, each: int, working: int) -> tuple[int, int, int] | None:
    room = (card - working) // each
    if room >= layers:
        return layers, 0, layers * each + working
    return (room - 2, layers - (room - 2), room * each + working) if room >= 2 else None


@exercise(LESSON, _card_plan)
def card_plan(function: Callable[[int, int, int, int], Any]) -> None:
    """(layers, card, each, working), bytes → (pinned layers, moving layers, peak in bytes), or None: it cannot run."""
    found = _plan(function(12, 1025, 100, 30))
    mistakes = [
        ((8, 4, 1030), "room is counted without the working memory, so the peak is above what the card has: (card − working) // each"),
        ((9, 3, 930), "all places are pinned: two of them must stay free as slots for the layers that move"),
        ((8, 4, 930), "one slot is left: two are needed, one to compute with and one to load"),
        ((7, 3, 930), "layers that are not pinned must all move: layers − pinned, here 12 − 7"),
        ((7, 5, 730), "the peak has no slots: they hold layers too"),
        ((7, 5, 900), "the working memory is missing in the peak"),
        ((7, 5, 1025), "the peak is what is used, not all that the card has"),
        ((7, 5, 1230), "the peak has all layers, and only those that fit are on the card: pinned and two slots"),
    ]  # fmt: skip
    expect(found, (7, 5, 930), f"12 layers of 100 bytes, a card of 1025, 30 to work with: room for 9, so (7, 5, 930), not {found}", mistakes)  # fmt: skip
    for card in (1230, 1999):
        fits = _plan(function(12, card, 100, 30))
        small = "the peak is what is used, not all that the card has"
        slots = [((10, 2, 1230), "where all layers fit, none moves: are the cases `room > layers` and `room >= layers` mixed up?"), ((12, 0, card), small)]  # fmt: skip
        expect(fits, (12, 0, 1230), f"a card of {card} bytes holds all 12 layers: (12, 0, 1230) is wanted, not {fits}", slots)  # fmt: skip
    least = _plan(function(12, 230, 100, 30))
    expect(least, (0, 12, 230), f"a card of 230 bytes has room for just two layers, which is enough: (0, 12, 230), not {least}")  # fmt: skip
    if function(12, 229, 100, 30) is not None:
        raise Mistake("a card of 229 bytes has room for one layer only, and two are needed: return None")
    expect(_plan(function(5, 700, 150, 60)), (2, 3, 660), "right for 12 layers and wrong for 5: use all four arguments")


def _plan(value: Any) -> tuple[int, ...]:
    """The learner's three numbers; Mistake where they are none."""
    names = ("pinned", "moving", "peak")
    return tuple(whole(one, name) for one, name in zip(parts(value, names), names, strict=True))


@exercise(LESSON, schedule.spread)
def spread(function: Callable[[int, int], Sequence[int]]) -> None:
    """(layers, moving) → the numbers of the moving layers, as evenly spread as whole numbers allow."""
    gaps = _gaps(_places(function(12, 4), 12, 4), 12)
    if gaps.count(1) == 3:
        raise Mistake("these stand in a row: the device would wait for one after the other. Leave equal gaps")
    if gaps != [3, 3, 3, 3]:
        raise Mistake(f"4 of 12 layers should stand 3 apart, also from the last over the end to the first, because the next pass starts again at layer 0; your gaps are {gaps}")  # fmt: skip
    for layers, moving in ((10, 4), (11, 3), (7, 5), (6, 4), (8, 8), (5, 1)):
        places = _places(function(layers, moving), layers, moving)
        gaps = _gaps(places, layers)
        told = f"for {moving} of {layers} your gaps are {gaps}: "
        if max(gaps) - min(gaps) > 1:
            raise Mistake(told + "they should differ by one at most. Round each place down by itself, number · layers // moving, rather than one gap for all")  # fmt: skip
        if _seconds(layers, places) > _seconds(layers, schedule.spread(layers, moving)) + 1e-9:
            raise Mistake(told + "more short ones follow one another than need to, and there the device waits. Let long and short gaps alternate as evenly as they can: round each place down by itself")  # fmt: skip


def _pass_time(layers: int, moving: int, compute: float, load: float) -> float:
    return max(layers * compute, moving * load)


@exercise(LESSON, _pass_time)
def pass_time(function: Callable[[int, int, float, float], float]) -> None:
    """(layers, moving, compute, load) → seconds of a steady pass with evenly spread moving layers."""
    cases = ((12, 4, 1.0, 2.0), (12, 4, 1.0, 5.0), (24, 6, 0.5, 1.0), (10, 8, 0.2, 3.0), (7, 3, 0.3, 0.9))
    found = [number(function(*case)) for case in cases]
    wrong: list[tuple[Callable[[int, int, float, float], float], str]] = [
        (lambda n, k, c, x: n * c + k * x, "you added computing and loading: they go on at the same time, so the longer one counts"),
        (lambda n, k, c, x: n * max(c, x), "only the moving layers are loaded: k · load, not n · load"),
        (lambda n, k, c, x: (n - k) * c + k * max(c, x), "a load may take as long as all layers between two moving ones, not only one: compare the sums over a whole pass"),
        (lambda n, k, c, x: n * c + max(0, k * x - (n - k) * c), "a load goes on while a moving layer computes, too: it has the other slot. Compare k · load with n · compute"),
        (lambda n, k, c, x: n * c + (k - 2) * max(0, x - c), "this is the time with the moving layers in a row: here they are evenly spread"),
        (lambda n, k, c, x: max((n - k) * c, k * x), "moving layers are computed too, once they are there: n · compute"),
        (lambda n, k, c, x: n * c, "this is computing alone; where loading takes longer, the device waits"),
        (lambda n, k, c, x: k * x, "this is loading alone; where computing takes longer, the link waits"),
        (lambda n, k, c, x: min(n * c, k * x), "the longer of the two decides, not the shorter"),
        (lambda n, k, c, x: int(max(n * c, k * x)), "you rounded the seconds: 3 loads of 0.9 s are 2.7 s"),
        (lambda n, k, c, x: round(max(n * c, k * x)), "you rounded the seconds: 3 loads of 0.9 s are 2.7 s"),
    ]  # fmt: skip
    _every(found, cases, _pass_time, "the longer of n · compute and k · load was expected", wrong)


def _lru_faults(layers: int, frames: int, passes: int) -> int:
    return layers if frames >= layers else layers * passes


@exercise(LESSON, _lru_faults)
def lru_faults(function: Callable[[int, int, int], int]) -> None:
    """(layers, frames, passes) → faults of all passes under LRU, at first nothing being in memory."""
    cases = ((6, 4, 5), (6, 5, 2), (6, 6, 4), (3, 8, 5), (9, 2, 1))
    found = [number(function(*case)) for case in cases]
    wrong: list[tuple[Callable[[int, int, int], int], str]] = [
        (lambda n, f, p: n + max(n - f, 0) * (p - 1), "you count n - frames faults per pass: but the layer that LRU throws out is the one needed next, and then the next"),
        (lambda n, f, p: sum(paging.best_faults(n, f, p)), "you throw out the layer that is needed latest, which is the best choice: LRU throws out the one that was used longest ago"),
        (lambda n, f, p: n * p, "where all layers fit, only the first pass faults"),
        (lambda n, f, p: n * p if n >= f else n, "with exactly as many frames as layers nothing is thrown out"),
        (lambda n, f, p: n * p if n > f else 0, "the first pass faults always: at the start nothing is in memory"),
        (lambda n, f, p: n * (p - 1) if n > f else 0, "the first pass faults always: add its n fetches"),
        (lambda n, f, p: max(n - f, 0) * p, "at the start nothing is in memory, and LRU throws out just what comes next: count again"),
        (lambda n, f, p: n if n > f else 0, "these are the faults of one pass: all of them are asked for"),
        (lambda n, f, p: n, "these are the faults of the first pass: where not all layers fit, the later ones fault too"),
    ]  # fmt: skip
    _every(found, cases, _lru_faults, "n faults in the first pass; afterwards none where all fit, else n in each", wrong)  # fmt: skip


def _every(
    found: list[float],
    cases: Sequence[tuple[Any, ...]],
    right: Callable[..., float],
    message: str,
    mistakes: Sequence[tuple[Callable[..., float], str]],
) -> None:
    """Mistake unless all cases are right, with the text of the mistake that they all agree with."""
    named = [([wrong(*case) for case in cases], text) for wrong, text in mistakes]
    expect(found, [right(*case) for case in cases], message, named)


def _places(value: Any, layers: int, moving: int) -> list[int]:
    """The learner's places, in order; Mistake where they are none."""
    numbers = items(value, f"a list of layer numbers is wanted, not {type(value).__name__}")
    places = sorted(whole(place, "a layer's number") for place in numbers)
    if len(places) != moving or len(set(places)) != moving:
        raise Mistake(f"{moving} different layers of {layers} were to move, and you gave {places}")
    if not all(0 <= place < layers for place in places):
        raise Mistake(f"layers are numbered 0 to {layers - 1}; you gave {places}")
    return places


def _gaps(places: Sequence[int], layers: int) -> list[int]:
    """Distances from each place to the next, the last over the end to the first."""
    return [(b - a - 1) % layers + 1 for a, b in zip(places, [*places[1:], places[0]], strict=True)]


def _seconds(layers: int, places: Sequence[int]) -> float:
    """A steady pass in which a load takes half as long again as a layer computes."""
    return schedule.steady_pass(layers, places, 1.0, 1.5).total
