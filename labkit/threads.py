"""How threads wait for one another, decided before torch starts any.

torch's OpenMP (libgomp) has a thread that is done early spin at the barrier, some milliseconds long, before it sleeps.
On a quiet machine that is a sixth faster. Where others compute it takes the core away from the very thread that is
waited for, and a training can be many times slower. The library reads OMP_WAIT_POLICY once, when it is loaded, which is
when torch is imported: afterwards it is too late.

`within` is for waiting that may have no end.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

POLICY = "OMP_WAIT_POLICY"
OTHERS = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # say the same thing, to GNU's library and to Intel's and LLVM's
Found = TypeVar("Found")
BUSY = 0.5  # of the cores taken by others, over the last minute


@dataclass(frozen=True)
class Waiting:
    """What is set ("passive", or "" for the library's own way, to spin for a while), why, and what to do about it."""

    policy: str
    why: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.policy or 'spin a while'}: {self.why}"


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float:
    """Processes that have been computing over the last minute, on average; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def waiting(environment: MutableMapping[str, str] = os.environ) -> Waiting:
    """How threads wait here: as the user or who started this process has set it, else by how busy the machine is.

    Changes nothing; `choose` does.
    """
    for name in (POLICY, *OTHERS):
        if name in environment:
            return Waiting(environment[name], f"{name} is set")
    now, count = load(), cores()
    where = f"load {now:.1f} on {count} core{'s' * (count > 1)}"
    if now < BUSY * count:
        return Waiting("", f"the machine is quiet ({where})")
    if "torch" in sys.modules:
        why = f"the machine is busy ({where}), but torch was imported before anyone chose"
        return Waiting("", why, f"set {POLICY}=passive before Python starts")
    return Waiting("passive", f"the machine is busy ({where})")


def choose(environment: MutableMapping[str, str] = os.environ) -> Waiting:
    """Set what `waiting` says, for this process and those that it starts. A user's own setting stays."""
    found = waiting(environment)
    if found.policy == "passive":
        environment.setdefault(POLICY, found.policy)
    return found


def within(seconds: float, call: Callable[..., Found], *arguments: Any) -> Found:
    """What `call` returns or raises; TimeoutError where that takes more than `seconds`.

    For what waits for another process, which may be frozen. The call is then left to a thread that ends with this one.
    """
    ended: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((True, call(*arguments)))
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised where it is waited for
            ended.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        returned, found = ended.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if not returned:
        raise found
    return found
