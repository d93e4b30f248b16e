"""Which rank is it? When a collective fails or waits too long, the others say how far each rank came.

gloo says "connection closed by peer" or "timed out", and never which rank is to blame. So each rank writes its step
into torchrun's store, with a pulse once in a while from a thread of its own, and reads the others' when it is left
waiting: a rank whose pulse has stopped is dead or frozen; one that lags behind with a pulse hangs in its own code.
The store is kept by torchrun, or without it by rank 0, and may be frozen itself: nothing waits for it without an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from labkit.errors import TrainingError
from labkit.threads import within

BROKEN = re.compile(r"timed? ?out|connection (was )?(closed|reset)|broken pipe|gloo|nccl", re.IGNORECASE)
PULSE = 0.5  # seconds between two pulses
ANSWER = 10.0  # seconds within which a store that is alive answers


def under_torchrun() -> bool:
    """Whether torchrun's variables say which rank this process is."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def join(backend: str, timeout: float) -> None:
    """Become a rank of the group that torchrun's variables describe; a collective fails after `timeout` seconds.

    `init_process_group` alone will not do where torchrun restarts a group: both attempts share one store, and gloo
    would find in it the addresses of the dead. TrainingError where the ranks do not meet within `timeout` seconds.
    """
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    patience = timedelta(seconds=timeout)

    def meet() -> None:
        shared = _store(patience, server=rank == 0 and _holder() == "rank 0")
        dist.init_process_group(backend, store=shared, rank=rank, world_size=world, timeout=patience)

    try:
        within(timeout + ANSWER, meet)  # the store's own time-out comes first, where it has one
    except (TimeoutError, dist.DistError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}, where {_holder()} should answer"
        raise TrainingError(f"the ranks did not meet at {where}: {str(error).splitlines()[0]}") from error


def _holder() -> str:
    """Who keeps the store that the ranks share."""
    return "torchrun's agent" if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else "rank 0"


def _store(patience: timedelta, server: bool = False) -> dist.Store:
    """What the ranks of this attempt share: keys and values, kept by torchrun or by rank 0."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    shared = dist.TCPStore(address, port, is_master=server, timeout=patience, multi_tenant=server)
    return dist.PrefixStore(f"labkit/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", shared)


class Watch:
    """Context manager around a run of several ranks: a failed collective becomes a TrainingError naming the rank.

    `timeout` is only quoted: the process group has its own. Where there is no store (MASTER_ADDR and MASTER_PORT are
    not set) or no other rank, it does nothing.
    """

    def __init__(self, rank: int, world: int, timeout: float) -> None:
        self.rank, self.world, self.timeout = rank, world, timeout
        self.step, self.pulses = 0, 0
        self.store: dist.Store | None = None
        self.over = threading.Event()

    def __enter__(self) -> Watch:
        if self.world > 1 and {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            # without a store the run goes on, and errors stay as gloo has them
            with contextlib.suppress(RuntimeError, TimeoutError):
                self.store = dist.PrefixStore("watch", within(2 * ANSWER, _store, timedelta(seconds=ANSWER)))
                threading.Thread(target=self._beat, daemon=True).start()
        return self

    def reached(self, step: int) -> None:
        """This rank begins step `step` (counted from 0)."""
        self.step = step
        if self.store is not None:
            self._write()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self.over.set()
        if self.store is None or error is None:
            return
        if isinstance(error, RuntimeError) and BROKEN.search(str(error)):
            raise TrainingError(self._blame()) from error
        if isinstance(error, Exception):
            self._write(f"failed: {str(error).splitlines()[0] if str(error) else kind.__name__}")  # type: ignore[union-attr]

    # The store

    def _beat(self) -> None:
        while not self.over.wait(PULSE) and self._write():
            self.pulses += 1

    def _write(self, end: str = "") -> bool:
        """Put down where this rank is; False where the store is gone."""
        assert self.store is not None
        try:
            self.store.set(str(self.rank), json.dumps([self.step, self.pulses, end]))
        except RuntimeError:
            return False
        return True

    def _read(self) -> dict[int, tuple[int, int, str]]:
        """(step, pulses, end) of every other rank; step -1 for one that never wrote."""
        found: dict[int, Any] = {}
        for rank in range(self.world):
            if rank != self.rank and self.store is not None:
                there = self.store.check([str(rank)])
                found[rank] = tuple(json.loads(self.store.get(str(rank)))) if there else (-1, 0, "")
        return found

    def _blame(self) -> str:
        """The sentence that names the rank."""
        try:
            before = within(ANSWER, self._read)
            time.sleep(4 * PULSE)
            after = within(ANSWER, self._read)
        except TimeoutError:
            what = "which keeps the ranks' meeting point, has died, or not answered"
            return f"{_holder()}, {what} for {self.timeout:g} s; rank {self.rank} stopped at step {self.step + 1}"
        except RuntimeError:
            return f"step {self.step + 1}: the ranks' meeting point is gone, and with it the rank or agent that held it"
        for rank, (step, _, end) in after.items():
            if end:
                return f"rank {rank} {end} (at step {step + 1}); rank {self.rank} stopped at step {self.step + 1}"
        still = [rank for rank, seen in after.items() if seen[1] == before[rank][1]]
        behind = [rank for rank, (step, _, _) in after.items() if step < self.step]
        if still or behind:
            rank = (still or behind)[0]
            what = "has died, or not answered" if still else "has not answered"
            seen = f"it was last seen at step {after[rank][0] + 1}"
            return f"rank {rank} {what} for {self.timeout:g} s; {seen}"
        return f"step {self.step + 1}: the ranks lost one another, though all are alive: is the network to blame?"
