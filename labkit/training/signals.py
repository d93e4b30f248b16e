"""Ctrl-C and SIGTERM, held back until a training step is whole.

A signal that strikes in the middle of an optimizer step would leave half-updated weights. Here it only raises a flag;
the loop looks at it between two steps, where a checkpoint can be written. A second Ctrl-C does not wait.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Signals:
    """Context manager: takes over SIGINT and SIGTERM in the main thread and gives them back on leaving.

    Ignored signals stay ignored, and other threads get no handlers (Python allows none there).
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if self.enabled and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received != signal.SIGTERM:
            self.received = number


def leave(number: int | None) -> None:
    """Raise what the signal asks for: KeyboardInterrupt, or SystemExit(143) for SIGTERM; nothing for None."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number is not None:
        raise SystemExit(128 + number)


def agreed(codes: int) -> int:
    """The signal for all ranks, from the sum of what each received: SIGTERM where any might have got it."""
    return signal.SIGINT if codes == signal.SIGINT else signal.SIGTERM
