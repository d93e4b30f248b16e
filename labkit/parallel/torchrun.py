"""`torchrun` from Python: several processes of one command, their output caught, none left over.

For lessons and tests. What they start is what one types: `torchrun --standalone --nproc_per_node 2 -m labkit train …`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from labkit import checkpoints
from labkit.errors import TrainingError, UsageError


@dataclass(frozen=True)
class Finished:
    """How it ended: exit code, and what it said."""

    code: int
    out: str
    err: str


def torchrun(
    command: Sequence[str],
    ranks: int,
    *,
    restarts: int = 0,
    seconds: float = 120.0,
    meanwhile: Callable[[dict[int, int]], bool] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Finished:
    """Run `python -m COMMAND…` as `ranks` ranks on this machine; a group that loses one starts again up to `restarts`
    times. `folder` is where it runs, and so where `python -m` finds a program of one's own.

    `meanwhile(pids)` is called many times a second with the process of each rank, until it returns True. A port is
    chosen by the system. Raises TrainingError, with the end of what was said, after `seconds`: then all are killed.
    """
    if ranks < 1 or restarts < 0:
        raise UsageError(f"ranks={ranks}, restarts={restarts}: at least 1 and 0 are needed")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}",
                f"--max-restarts={restarts}", "--monitor-interval=0.1", "-m", *command]  # fmt: skip
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        agent = subprocess.Popen(
            launcher,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=folder,
        )
        try:
            while agent.poll() is None:
                if time.monotonic() - began > seconds:
                    raise TrainingError(f"not done after {seconds:g} s, and ended; its last words: {_text(err)[-800:]}")
                if meanwhile is not None and meanwhile(workers(agent.pid)):
                    meanwhile = None
                time.sleep(0.1 if meanwhile is None else 0.02)
        finally:
            _end(agent)
        return Finished(agent.returncode, _text(out), _text(err))


def workers(agent: int) -> dict[int, int]:
    """Process by rank of what the launcher with process number `agent` has started and is running."""
    found = {}
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(agent).children():
            with contextlib.suppress(psutil.Error):
                found[int(child.environ().get("RANK", "-1"))] = child.pid
    return {rank: process for rank, process in found.items() if rank >= 0}


def kill_when(folder: str | os.PathLike[str], rank: int = 1) -> Callable[[dict[int, int]], bool]:
    """For `meanwhile`: kill -9 the process of `rank`, once, as soon as there is a checkpoint in `folder`."""

    def look(pids: dict[int, int]) -> bool:
        if rank not in pids or not checkpoints.steps(folder):
            return False
        os.kill(pids[rank], signal.SIGKILL)
        return True

    return look


def _end(agent: subprocess.Popen) -> None:
    """Kill the launcher and every process below it; each is by then in a session of its own."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(agent.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
    agent.kill()
    agent.wait()


def _text(stream: object) -> str:
    stream.seek(0)  # type: ignore[attr-defined]
    return stream.read()  # type: ignore[attr-defined]
