"""A time limit on code that somebody else wrote: an endless loop ends in an exception."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

AGAIN = 0.5  # seconds until the exception comes again, where code caught it and went on


class TimeUp(BaseException):
    """The time is over. No Exception, so that `except Exception` in a loop does not swallow it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """TimeUp inside the block once it has taken `seconds`.

    In the main thread a signal interrupts whatever runs; in another thread, and on Windows, the exception comes with
    the next line of Python.
    """
    with _by_signal(seconds) if _signals() else _by_thread(seconds):
        yield


@contextmanager
def paused() -> Iterator[None]:
    """The clock stands still inside the block: for what has a limit of its own, such as a compiler."""
    left = signal.setitimer(signal.ITIMER_REAL, 0)[0] if _signals() else 0.0
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, AGAIN)


def _signals() -> bool:
    """Whether a signal can interrupt this thread."""
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _time_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _time_up(*_: Any) -> None:
    raise TimeUp


@contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    own, over = ctypes.c_ulong(threading.get_ident()), threading.Event()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(own, ctypes.py_object(TimeUp))
            wait = AGAIN

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(own, None)  # one that was on its way
