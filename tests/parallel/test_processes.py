import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from labkit.errors import TrainingError, UsageError
from labkit.parallel.processes import launch
from tests.parallel import programs

ROOT = Path(__file__).parents[2]


def test_ranks_meet_and_answer_in_their_order():
    results = launch(programs.add_up, 3, 10.0)
    assert [total.tolist() for total, _, _ in results] == [[60.0] * 3] * 3
    assert [threads for _, threads, _ in results] == [1] * 3
    assert not any(map(psutil.pid_exists, (pid for *_, pid in results)))


def test_one_rank_needs_no_other():
    ((total, _, _),) = launch(programs.add_up, 1, 2.0)
    assert torch.equal(total, torch.full((3,), 2.0))


@pytest.mark.parametrize(
    "how, error, message",
    [
        ("dies", TrainingError, r"rank 1 died \(killed by SIGKILL\); the other ranks were ended"),
        ("leaves", TrainingError, r"rank 1 died \(exit code 3\)"),
        ("hangs", TrainingError, r"rank 1 has not answered for 2 s; the other ranks waited for it"),
        ("raises", TrainingError, r"(?s)rank 1 failed; the other ranks were ended.*KeyError: 'no such key'"),
        ("refuses", UsageError, "rank 1: 7 rows do not divide by 2"),
    ],
)
def test_a_rank_that_goes_wrong_is_named_and_the_others_end(how, error, message):
    began = time.monotonic()
    with pytest.raises(error, match=message):
        launch(programs.one_goes_wrong, 3, how, seconds=2.0)
    assert time.monotonic() - began < 60  # that is before gloo's own time-out
    assert not _ranks(os.getpid())


def test_ranks_that_wait_for_one_another_are_told_from_one_that_hangs():
    with pytest.raises(TrainingError, match=r"all ranks left \(0, 1\) have waited for one another for 1 s"):
        launch(programs.never_meets, 2, seconds=1.0)


def test_an_answer_that_does_not_end_is_not_waited_for():
    with pytest.raises(TrainingError, match="rank 1 has not answered for 1 s"):
        launch(programs.answers_without_end, 2, seconds=1.0)


@pytest.mark.parametrize("world", [0, -1, 2.0, True, "2"])
def test_a_world_is_a_whole_number_of_ranks(world):
    with pytest.raises(UsageError, match="whole number of ranks"):
        launch(programs.add_up, world, 1.0)


def test_no_rank_outlives_a_launcher_that_is_killed():
    code = (
        "from tests.parallel import programs; from labkit.parallel.processes import launch; print(1, flush=True);"
        "launch(programs.one_goes_wrong, 2, 'sleeps', seconds=600.0)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert launcher.stdout.readline()
    _until(lambda: len(_ranks(launcher.pid)) == 2)
    ranks = _ranks(launcher.pid)
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    _until(lambda: not any(map(_alive, ranks)))


def test_the_same_program_runs_under_torchrun():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.parallel.programs"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 ranks, total 3"


def _ranks(launcher: int) -> list[psutil.Process]:
    """What the servers that a process started have forked, and is alive."""
    return [rank for server in psutil.Process(launcher).children() for rank in _children(server) if _alive(rank)]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


NOTEBOOK = """
import torch
from labkit.parallel.processes import launch

FACTOR = 3

def helper(x):
    return [FACTOR * y for y in x]

def program(here, more):
    return more(helper(torch.tensor([here.rank, 1]).tolist()))

print(launch(program, 2, lambda x: [helper(x), "sent"]))
"""


def test_functions_of_a_notebook_arrive_with_what_they_name():
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[[[0, 9], 'sent'], [[9, 9], 'sent']]\n"
