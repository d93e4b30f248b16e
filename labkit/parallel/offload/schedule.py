"""Which layers stay on the device, and how long it waits for the others: BMInf's plan and its arithmetic.

Han et al. 2022 (BMInf, section 3.2). Where `room` layers fit, room - 2 are pinned, and the others take turns in two
slots: one is computed with while the other is loaded. The moving layers should stand as far apart as they can, so that
between two of them there is time to load.

The model: a layer takes `compute` seconds, a load `load`; loads follow one another on one link; the load for a slot
begins when the layer in it has been computed. A pass over all n layers, k of them moving, then takes at least
max(n · compute, k · load). Once passes repeat, evenly spread layers reach that, except where n < 2k and a load takes
little longer than computing: there no placement does (`best` tries them all).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from labkit.errors import UsageError
from labkit.parallel.trace import Event

SLOTS = 2


def spread(layers: int, moving: int) -> tuple[int, ...]:
    """The places of `moving` layers among `layers`, as evenly as whole numbers allow."""
    return tuple(number * layers // moving for number in range(moving))


def clumped(layers: int, moving: int) -> tuple[int, ...]:
    """The places where all moving layers come last, one after the other."""
    return tuple(range(layers - moving, layers))


def moving_layers(layers: int, layer_bytes: int, budget: int) -> int:
    """How many of `layers` equal layers must move: 0 where all fit, else all but the pinned room - 2.

    UsageError where the budget does not hold two layers: one to compute with, one to load.
    """
    if layers < 1 or layer_bytes < 1:
        raise UsageError(f"{layers} layers of {layer_bytes} bytes: both must be 1 or more")
    room = budget // layer_bytes
    if room >= layers:
        return 0
    if room < SLOTS:
        raise UsageError(
            f"the memory budget of {budget:,} bytes is too small: two layers, one to compute with and one to load, "
            f"need {SLOTS * layer_bytes:,} bytes; raise the budget, or use smaller weights (8-bit)"
        )
    return layers - (room - SLOTS)


@dataclass(frozen=True)
class Timing:
    """What the model gives for one steady pass: seconds in all, and of them seconds of waiting."""

    total: float
    stall: float


def steady_pass(layers: int, moving: Sequence[int], compute: float, load: float) -> Timing:
    """One pass of many, by going through the events until passes repeat."""
    uses = len(moving)
    if uses <= SLOTS:  # whatever fits into the slots stays there
        return Timing(layers * compute, 0.0)
    ends: dict[int, float] = {}
    for number, event in _events(layers, moving, compute, load, _settled(uses)):
        if event.lane == "device":
            ends[number] = event.end
    last = max(ends)
    total = (ends[last] - ends[last - uses]) / uses  # the period may be several passes long, at most one a use
    return Timing(total, max(0.0, total - layers * compute))


def steady_events(layers: int, moving: Sequence[int], compute: float, load: float) -> list[Event]:
    """What device and link do in one of the last passes, its start being 0; loads may reach beyond both its ends.

    Names are "compute 3", "stall 3", "load 3"; lanes "device" and "link".
    """
    last = _settled(len(moving)) - 2
    found = list(_events(layers, moving if len(moving) > SLOTS else (), compute, load, last + 2))
    own = [event for number, event in found if number == last and event.lane == "device"]
    start, end = own[0].start, own[-1].end
    links = [event for _, event in found if event.lane == "link" and event.start < end and event.end > start]
    return [replace(event, start=event.start - start, end=event.end - start) for event in (*own, *links)]


def _settled(uses: int) -> int:
    """Passes after which two slots and one link repeat themselves."""
    return 4 * uses + 8


def _events(
    layers: int, moving: Sequence[int], compute: float, load: float, passes: int
) -> Iterator[tuple[int, Event]]:
    """(pass, event) from the start, where the first two moving layers are there already."""
    order, now, free, use = list(moving), 0.0, 0.0, 0
    loaded = [0.0] * SLOTS  # when each slot's next layer is there
    for number in range(passes):
        for layer in range(layers):
            if layer in moving:
                slot = use % SLOTS
                if loaded[slot] > now:
                    yield number, Event(0, "device", f"stall {layer}", now, loaded[slot])
                now = max(now, loaded[slot])
            yield number, Event(0, "device", f"compute {layer}", now, now + compute)
            now += compute
            if layer in moving:
                begin = max(free, now)
                free = loaded[slot] = begin + load  # the link fetches what this slot holds next
                yield number, Event(0, "link", f"load {order[(use + SLOTS) % len(order)]}", begin, free)
                use += 1


def best(layers: int, moving: int, compute: float, load: float) -> tuple[float, list[tuple[int, ...]]]:
    """The shortest steady pass over all placements, and the placements that reach it, by trying every one."""
    times = {places: steady_pass(layers, places, compute, load).total for places in combinations(range(layers), moving)}
    shortest = min(times.values())
    return shortest, [places for places, time in times.items() if time <= shortest * (1 + 1e-9)]
