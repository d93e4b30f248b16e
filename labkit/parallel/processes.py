"""Several processes as the ranks of one program: started, watched, ended.

`launch(program, world)` runs `program(here, …)` in `world` processes of this machine and returns what each returned.
`joined()` gives the same `here` to a process that `torchrun` started. No rank outlives its launcher: one that raises,
dies or stands still ends the others and is named. The ranks meet in a file, so that no port has to be free.
"""

from __future__ import annotations

import contextlib
import datetime
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from types import FunctionType
from typing import Any

import dill
import torch
import torch.distributed as dist

from labkit.errors import LabkitError, TrainingError, UsageError
from labkit.parallel.trace import Trace
from labkit.threads import within

Program = Callable[..., Any]
# One server process imports these once and forks every rank from there: a start takes a tenth of a second, not three.
PRELOAD = ["torch.distributed", "transformers.models.bert.modeling_bert", "labkit.parallel.processes"]
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
MOVED, WAITS, DONE = 0, 1, 2  # a rank's row on the board: when it last moved, whether it waits for others, is it done
ROW = 3
GRACE = 1.0  # seconds after a first failure in which others may say theirs: the cause need not speak first


@dataclass
class Here:
    """Where a program runs: rank `rank` of `world`, on `device`; `trace` takes what it does."""

    rank: int
    world: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    trace: Trace = field(default_factory=Trace)
    board: Any = None  # shared by the launcher and its ranks; see `beat`

    def beat(self, waiting: bool = False) -> None:
        """Tell the launcher that this rank is alive, and whether it now waits for another rank."""
        if self.board is not None:
            self.board[self.rank * ROW + MOVED] = time.monotonic()
            self.board[self.rank * ROW + WAITS] = float(waiting)


def launch(program: Program, world: int, *arguments: Any, seconds: float = 60.0) -> list[Any]:
    """Run `program(here, *arguments)` in `world` processes and return their results in rank order.

    `program` is a top-level function of a module, or one that was written in a notebook, and so may be arguments; all
    other arguments and the results are plain Python, numpy arrays or CPU tensors. Every rank computes with one thread
    and finds the default process group (gloo) ready. UsageError for `world` below 1. A LabkitError of a rank is raised
    again with the rank named; TrainingError for any other end: an exception, a signal, or `seconds` in which no rank
    moved (`Here.beat`).
    """
    if isinstance(world, bool) or not isinstance(world, int) or world < 1:
        raise UsageError(f"world must be a whole number of ranks, 1 or more, not {world!r}")
    program, *given = (_ByValue(one) if _in_main(one) else one for one in (program, *arguments))
    context = multiprocessing.get_context("forkserver" if FORKS else "spawn")
    if FORKS:
        context.set_forkserver_preload(PRELOAD)
    board = context.Array("d", world * ROW, lock=False)
    with contextlib.ExitStack() as stack:
        store = os.path.join(stack.enter_context(tempfile.TemporaryDirectory(prefix="labkit-ranks-")), "store")
        ranks = []
        for rank in range(world):
            ours, theirs = context.Pipe()
            here = Here(rank, world, trace=Trace(rank), board=board)
            what = (program, here, store, theirs, seconds, given)
            process = context.Process(target=_rank, args=what, name=f"rank {rank}", daemon=True)
            process.start()
            board[rank * ROW + MOVED] = time.monotonic()
            theirs.close()  # ours then sees the end of the pipe when the rank ends
            ranks.append((process, ours))
            stack.callback(_end, process, ours)
        return _results(ranks, board, seconds)


class _ByValue:
    """A function that no rank can import: it travels as its code, with what that names, and arrives as itself."""

    def __init__(self, function: Program) -> None:
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        return dill.loads, (dill.dumps(self.function, recurse=True),)


def _in_main(one: Any) -> bool:
    return isinstance(one, FunctionType) and one.__module__ == "__main__"


def _end(process: Any, pipe: Any) -> None:
    """End a rank, if it has not ended: by SIGKILL, which a stopped one hears too."""
    if process.is_alive():
        process.kill()
    process.join()
    pipe.close()


# The launcher's side


def _results(ranks: list[tuple[Any, Any]], board: Any, seconds: float) -> list[Any]:
    answers: dict[int, tuple[str, Any]] = {}
    waiting = {pipe: rank for rank, (_, pipe) in enumerate(ranks)}
    end = float("inf")
    while waiting and time.monotonic() < end:
        for pipe in connection.wait(list(waiting), timeout=min(0.2, seconds / 4)):
            rank = waiting.pop(pipe)
            try:
                answers[rank] = within(seconds, _answer, *ranks[rank])
            except TimeoutError as error:
                raise TrainingError(_stuck(board, [rank], seconds)) from error
            board[rank * ROW + DONE] = 1.0
            if answers[rank][0] != "result":
                end = min(end, time.monotonic() + GRACE)
        moved = max(board[rank * ROW + MOVED] for rank in range(len(ranks)))
        if waiting and end == float("inf") and time.monotonic() - moved > seconds:
            left = [rank for rank in range(len(ranks)) if not board[rank * ROW + DONE]]
            raise TrainingError(_stuck(board, left, seconds))
    _raise_the_cause({rank: answer for rank, answer in answers.items() if answer[0] != "result"}, board)
    return [answers[rank][1] for rank in range(len(ranks))]


def _answer(process: Any, pipe: Any) -> tuple[str, Any]:
    """What the rank sent ("result", "refused" or "failed", with content), or how it "died"."""
    try:
        answer = pipe.recv()
    except EOFError:
        process.join()
        code = process.exitcode
        return "died", f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    pipe.send("received")
    return answer


def _raise_the_cause(failures: dict[int, tuple[str, Any]], board: Any) -> None:
    """Of several ranks that did not come to their end, name the first cause: who merely waited for another is last."""

    def order(rank: int) -> tuple[bool, bool, int]:
        died = failures[rank][0] == "died"
        return not died, not died and bool(board[rank * ROW + WAITS]), rank

    for rank in sorted(failures, key=order):
        kind, content = failures[rank]
        if kind == "refused":
            error, message = content
            raise error(f"rank {rank}: {message}")
        if kind == "died":
            raise TrainingError(f"rank {rank} died ({content}); the other ranks were ended")
        raise TrainingError(f"rank {rank} failed; the other ranks were ended\n{content}")


def _stuck(board: Any, left: list[int], seconds: float) -> str:
    """Ranks that wait are victims; the one they wait for is among those of `left` that do not."""
    silent = [rank for rank in left if not board[rank * ROW + WAITS]]
    if silent:
        who = "rank " + " and rank ".join(map(str, silent))
        return f"{who} has not answered for {seconds:g} s; the other ranks waited for it and were ended"
    return f"all ranks left ({', '.join(map(str, left))}) have waited for one another for {seconds:g} s and were ended"


# A rank's side


def _rank(program: Program, here: Here, store: str, pipe: Any, seconds: float, arguments: list[Any]) -> None:
    _end_with_launcher()
    torch.set_num_threads(1)
    try:
        if sys.platform == "linux":  # the ranks are neighbours: no look-up of the machine's name, no network
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        patience = datetime.timedelta(seconds=2 * seconds + 60)  # the launcher's watch comes first
        shared = dist.FileStore(store, here.world)
        dist.init_process_group("gloo", store=shared, rank=here.rank, world_size=here.world, timeout=patience)
        here.beat()
        answer = ("result", program(here, *arguments))
        here.beat()
    except LabkitError as error:
        answer = ("refused", (type(error), str(error)))
    except Exception:  # noqa: BLE001  whatever it is, the launcher shows it
        answer = ("failed", traceback.format_exc())
    with contextlib.suppress(BrokenPipeError, EOFError):
        pipe.send(answer)
        pipe.recv()  # its tensors are in memory shared with the launcher, until that has taken them
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may still hold finished collectives, and abort an interpreter that shuts down


def _end_with_launcher() -> None:
    """End this process as soon as the one that launched it is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# Under torchrun


@contextlib.contextmanager
def joined(seconds: float = 600.0) -> Iterator[Here]:
    """The process group that torchrun's variables describe, for as long as the block runs; alone without torchrun.

    nccl with one GPU a rank where there are GPUs, else gloo. A collective that waits longer than `seconds` fails;
    TrainingError where the ranks do not meet within that time.
    """
    device = torch.device("cpu")
    if "RANK" not in os.environ:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    else:
        from labkit.training.watch import join  # here, so that a forked rank need not load it

        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        join("gloo" if device.type == "cpu" else "nccl", seconds)
    try:
        rank = dist.get_rank()
        yield Here(rank, dist.get_world_size(), device, Trace(rank))
    finally:
        dist.destroy_process_group()
