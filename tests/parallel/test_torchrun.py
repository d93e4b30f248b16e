from __future__ import annotations

import sys
import time

import psutil
import pytest

from labkit.errors import TrainingError, UsageError
from labkit.parallel.torchrun import kill_when, torchrun, workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo")


def mine(word):
    return [one for one in psutil.process_iter(["cmdline"]) if word in " ".join(one.info["cmdline"] or [])]


def test_ranks_run_are_seen_and_nobody_is_left_after_a_time_out():
    seen = {}

    def look(pids):
        seen.update(pids)
        return False

    word = f"labkit-sleeper-{time.monotonic_ns()}"
    # `timeit` sleeps as long as its statement does: a module that every Python has.
    with pytest.raises(TrainingError, match="not done after .* s, and ended"):
        torchrun(["timeit", "-n", "1", "-r", "1", f"'{word}'; import time; time.sleep(600)"], 2, seconds=15,
                 meanwhile=look)  # fmt: skip
    assert set(seen) <= {0, 1} and not mine(word)


def test_a_program_of_ones_own_runs_in_its_folder(tmp_path):
    (tmp_path / "mine.py").write_text("import os\nopen('rank' + os.environ['RANK'], 'w').close()\n")
    assert torchrun(["mine"], 2, folder=tmp_path).code == 0
    assert (tmp_path / "rank0").is_file() and (tmp_path / "rank1").is_file()


def test_what_cannot_be():
    with pytest.raises(UsageError, match="ranks=0, restarts=0: at least 1 and 0 are needed"):
        torchrun(["timeit"], 0)
    assert workers(2**30) == {} and not kill_when("nowhere")({1: 10**9})
