"""Runs that are killed for real, for tests/test_checkpoints.py.

    python tests/killed_runs.py resume|writer FOLDER TRIALS SEED

One program imports torch once and forks a child a run; SIGKILL strikes the child at a random moment. Prints a line of
JSON a trial. A failed assertion ends it with a traceback and a nonzero status.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo
import torch._inductor.utils  # both are imported by a first optimizer step: here, once, before the forks
from torch import nn

from labkit import checkpoints
from labkit.files import sha256
from labkit.training import Batches, fit

STEPS = 40


def train(folder: Path) -> None:
    """Dropout, shuffling, epochs of 7 batches, 2 of them a step: 40 steps."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    model = nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.3), nn.Linear(32, 5))

    def collate(rows, rng):
        return {"x": torch.from_numpy(rng.integers(0, 50, (len(rows), 4))), "y": torch.tensor(rows) % 5}

    def objective(model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

    batches = Batches(range(27), collate, 4)
    fit(model, objective, batches, folder=folder, resume=True, steps=STEPS, accumulate=2, save_every=1, lr=1e-2)


def write(folder: Path, pipe: int) -> None:
    """Checkpoints without end; the number of each goes into the pipe when it is there."""
    step = 0
    while True:
        step += 1
        tensors = {"w": torch.full((200, 500), float(step))}
        checkpoints.save(folder, checkpoints.Snapshot(step, tensors, tensors, tensors, {"n": step}))
        os.write(pipe, f"{step}\n".encode())


def forked(work: Callable[[], None], seconds: float | None) -> int:
    """Run `work` in a child, killed after `seconds`; the status that it ended with."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def digests(folder: Path) -> list[str]:
    last = checkpoints.steps(folder)[0]
    assert last.name == f"step-{STEPS:06d}", last
    return [sha256(last / f"{name}.safetensors") for name in checkpoints.TENSORS]


def resume_trials(folder: Path, trials: int, dice: random.Random) -> None:
    began = time.perf_counter()
    assert forked(lambda: train(folder / "whole"), None) == 0
    whole = time.perf_counter() - began
    for trial in range(trials):
        place, stops = folder / f"run-{trial}", []
        for _ in range(2):  # a second resume too
            status = forked(lambda place=place: train(place), dice.uniform(0.05, 0.7) * whole)
            there = checkpoints.steps(place)
            stops.append((status, there[0].name if there else None))
        assert forked(lambda place=place: train(place), None) == 0
        assert digests(place) == digests(folder / "whole"), stops
        assert not list(place.glob(".step-*")), "a killed writer's remains were not swept up"
        print(json.dumps({"stops": stops}), flush=True)


def writer_trials(folder: Path, trials: int, dice: random.Random) -> None:
    for trial in range(trials):
        place = folder / f"run-{trial}"
        read, pipe = os.pipe()
        forked(lambda place=place, pipe=pipe: write(place, pipe), dice.uniform(0.0, 0.25))
        told = os.read(read, 1 << 16).split() if select.select([read], [], [], 0)[0] else []
        os.close(read), os.close(pipe)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = checkpoints.load(place)
        last = int(told[-1]) if told else 0
        step = found[1].step if found else 0
        assert last <= step <= last + 1, (last, step)
        assert found is None or all((part["w"] == step).all() for part in (found[1].model, found[1].state))
        print(json.dumps({"told": last, "found": step}), flush=True)


if __name__ == "__main__":
    which, where, count, seed = sys.argv[1:]
    {"resume": resume_trials, "writer": writer_trials}[which](Path(where), int(count), random.Random(int(seed)))
