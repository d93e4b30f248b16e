"""How threads wait for one another, decided before torch starts any.

torch's OpenMP (libgomp) has a thread that is done early spin at the barrier, some milliseconds long, before it sleeps.
On a quiet machine that is a sixth faster. Where others compute it takes the core away from the very thread that is
waited for, and a training can be many times slower. The library reads OMP_WAIT_POLICY once, when it is loaded, which is
when torch is imported: afterwards it is too late.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass

POLICY = "OMP_WAIT_POLICY"
OTHERS = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # say the same thing, to GNU's library and to Intel's and LLVM's
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
