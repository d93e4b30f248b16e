"""What ranks run in the tests of `labkit.parallel.processes`."""

import os
import signal
import time

import torch
import torch.distributed as dist

from labkit.errors import UsageError
from labkit.parallel.processes import joined


def add_up(here, factor):
    """The sum over the ranks, times `factor`; and how many threads a rank has."""
    total = torch.full((3,), float(here.rank + 1))
    dist.all_reduce(total)
    return total * factor, torch.get_num_threads(), os.getpid()


def one_goes_wrong(here, how):
    """Rank 1 goes wrong in the way named, the others wait for it."""
    if here.rank == 1:
        WAYS[how]()
    here.beat(waiting=True)
    dist.barrier()


def never_meets(here):
    """All ranks wait, each for something that no one sends."""
    here.beat(waiting=True)
    dist.recv(torch.empty(1), src=(here.rank + 1) % here.world)


class Endless:
    """What takes for ever to read, as an answer does whose rank was stopped in the middle of it."""

    def __reduce__(self):
        return time.sleep, (600,)


def answers_without_end(here):
    """Rank 1's answer does not come to its end."""
    return Endless() if here.rank == 1 else None


def _refuse():
    raise UsageError("7 rows do not divide by 2")


WAYS = {
    "dies": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hangs": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "raises": lambda: {}["no such key"],
    "refuses": _refuse,
    "leaves": lambda: os._exit(3),
    "sleeps": lambda: time.sleep(600),
}

if __name__ == "__main__":
    with joined() as here:
        total, *_ = add_up(here, 1.0)
        if here.rank == 0:
            print(f"{here.world} ranks, total {total[0]:g}")
