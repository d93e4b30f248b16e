from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from labkit import checkpoints
from labkit.training import Batches, fit
from tests.training.toy import (
    ROWS,
    SIZE,
    fixed,
    new_model,
    objective,
    state,
)

RANKS = Path(__file__).with_name("ranks.py")


def on_ranks(world: int, folder: Path, stop: int, status: int = 0) -> list[dict]:
    port = random.SystemRandom().randrange(20000, 60000)
    common = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "PYTHONPATH": str(Path(__file__).parents[2])}
    running = []
    for rank in range(world):
        env = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, str(RANKS), str(folder), str(stop)]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    results = []
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, err
        results += [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return results


@pytest.mark.skipif(sys.platform == "win32", reason="gloo")
def test_two_ranks_are_one_and_one_goes_on_from_two(tmp_path):
    model = new_model(0.0)
    alone = fit(model, objective, Batches(range(ROWS), fixed, SIZE, seed=4), steps=12, accumulate=2, lr=0.01)
    two = on_ranks(2, tmp_path, 7)
    assert two[0] == two[1]
    resumed = new_model(0.0)
    with pytest.warns(RuntimeWarning, match="made by 2 ranks, going on with 1: same data order"):
        history = fit(resumed, objective, Batches(range(ROWS), fixed, SIZE, seed=4), steps=12, accumulate=2, lr=0.01,
                      folder=tmp_path, resume=True)  # fmt: skip
    assert history.resumed == 7 and history.tokens == alone.tokens
    torch.testing.assert_close(two[0]["losses"], alone.losses[:7], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(history.losses, alone.losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state(resumed), state(model), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_sigterm_to_one_rank_stops_all_at_the_same_step(tmp_path):
    assert on_ranks(2, tmp_path, -4, status=143) == []
    assert checkpoints.load(tmp_path)[1].step == 4
    first, second, third = on_ranks(3, tmp_path, 12)
    assert first["sum"] == second["sum"] == third["sum"] and len(first["losses"]) == 12
    assert "made by 2 ranks, going on with 3" in first["said"][0] and not second["said"]


@pytest.mark.skipif(sys.platform == "win32", reason="gloo")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("hang", "rank 1 has died, or not answered for 6 s; it was last seen at step 3"),
        ("loop", "rank 1 has not answered for 6 s; it was last seen at step 3"),
        ("raise", r"rank 1 failed: row 7 of the data is no row \(at step 3\); rank 0 stopped at step 4"),
        pytest.param(
            "freeze",
            "rank 0, which keeps .*, has died, or not answered for 6 s; rank 1 stopped at step 4",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_others_name_a_rank_that_hangs_or_fails(tmp_path, how, message):
    said = misbehaving(tmp_path, how)
    assert re.search(f"labkit.errors.TrainingError: {message}", said), said[-2000:]


def misbehaving(folder: Path, how: str) -> str:
    """What one rank of two says when the other misbehaves after step 3; nobody is left over."""
    port = random.SystemRandom().randrange(20000, 60000)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
           "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "PYTHONPATH": str(Path(__file__).parents[2])}  # fmt: skip
    command = [sys.executable, str(RANKS), str(folder), "3", how]
    ranks = [
        subprocess.Popen(command, env={**env, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    sound, other = reversed(ranks) if how == "freeze" else ranks
    try:
        said = sound.communicate(timeout=120)[1]
        assert sound.returncode != 0
        return said
    finally:
        for rank in (other, sound):
            rank.kill()
            rank.communicate()
