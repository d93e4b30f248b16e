"""What each rank did, and when: events that tables are counted from and time lines drawn from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Something that rank `rank` did in `lane` ("compute", "communicate", …) from `start` to `end`.

    Seconds of the machine's monotonic clock, so that events of several processes can be laid side by side; `bytes` is
    what the rank sent or moved.
    """

    rank: int
    lane: str
    name: str
    start: float
    end: float
    bytes: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass
class Trace:
    """The events of one rank, in the order in which they ended."""

    rank: int = 0
    events: list[Event] = field(default_factory=list)

    @contextlib.contextmanager
    def span(self, name: str, lane: str = "compute") -> Iterator[None]:
        """Record what happens inside as one event."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.add(name, start, time.monotonic(), lane)

    def add(self, name: str, start: float, end: float, lane: str = "compute", bytes: int = 0) -> None:
        """Record an event whose times are known."""
        self.events.append(Event(self.rank, lane, name, start, end, bytes))


def busy(events: list[Event]) -> float:
    """Seconds in which at least one of the events was going on: overlaps count once."""
    total, until = 0.0, float("-inf")
    for event in sorted(events, key=lambda event: event.start):
        total += max(0.0, event.end - max(event.start, until))
        until = max(until, event.end)
    return total
