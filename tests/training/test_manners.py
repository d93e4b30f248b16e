from __future__ import annotations

import random
import signal
import threading

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from labkit import checkpoints
from labkit.errors import CheckpointError
from labkit.training import fit
from tests.training.toy import (
    assert_same,
    draws,
    new_batches,
    new_model,
    objective,
    state,
)


def test_a_run_leaves_the_process_as_it_was(capsys):
    model = new_model()
    model.eval()
    model[2].train()
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    expected = draws()
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fit(model, objective, new_batches(), steps=3)
    assert draws() == expected
    assert [module.training for module in model] == [False, False, True, False, False, False] and not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    assert capsys.readouterr() == ("", "")


def test_runs_of_several_precisions_in_one_process_and_the_callers_accelerator():
    mine = Accelerator(mixed_precision="bf16", cpu=True)
    try:
        losses = [
            fit(new_model(0.0), objective, new_batches(), steps=2, precision=p).losses for p in ("fp32", "bf16", "fp32")
        ]
        assert losses[0] == losses[2] != losses[1]
        torch.testing.assert_close(losses[0], losses[1], rtol=0.05, atol=0.05)
        assert AcceleratorState().mixed_precision == "bf16" == mine.mixed_precision
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    fit(new_model(), objective, new_batches(), steps=1)
    assert not AcceleratorState._shared_state and not PartialState._shared_state


def test_seed_decides_dropout_and_nothing_else_does():
    models = []
    for noise, seed in ((1, 5), (2, 5), (1, 6)):
        models.append(new_model())
        torch.manual_seed(noise)
        fit(models[-1], objective, new_batches(), steps=3, seed=seed)
    assert_same(models[0], models[1])
    assert not torch.equal(models[0][2].weight, models[2][2].weight)


def test_whoever_looks_on_changes_nothing():
    def nosy(step, loss):
        draws()
        watched.eval()

    plain, watched = new_model(), new_model()
    fit(plain, objective, new_batches(), steps=5)
    seen = fit(watched, objective, new_batches(), steps=5, on_step=nosy)
    assert_same(plain, watched)
    stopped = fit(new_model(), objective, new_batches(), steps=5, on_step=lambda step, loss: step == 2)
    assert stopped.steps == 2 and stopped.losses == seen.losses[:2]


def test_progress_goes_to_standard_error_and_only_when_asked(capsys):
    fit(new_model(), objective, new_batches(), steps=3)
    assert capsys.readouterr() == ("", "")
    fit(new_model(), objective, new_batches(), steps=3, progress=True)
    out, err = capsys.readouterr()
    assert not out and "3/3" in err and "loss" in err and "tokens/s" in err


def test_training_in_a_thread_needs_no_signals(tmp_path):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(fit(new_model(), objective, new_batches(), steps=2, folder=tmp_path))
    )
    thread.start()
    thread.join()
    assert found[0].steps == 2 and checkpoints.load(tmp_path)[1].step == 2


class Plain:
    """The three verbs of an engine and no more."""

    def __init__(self, model):
        self.model, self.calls = model, ""
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def forward(self, batch):
        self.calls += "f"
        return objective(self.model, batch)

    def backward(self, loss):
        self.calls += "b"
        loss.backward()

    def step(self):
        self.calls += "s"
        self.optimizer.step()
        self.optimizer.zero_grad()


def test_an_engine_needs_three_verbs(tmp_path):
    model, expected = new_model(0.0), new_model(0.0)
    engine, optimizer = Plain(model), torch.optim.SGD(expected.parameters(), lr=0.1)
    history = fit(model, None, new_batches(), engine=engine, steps=3, accumulate=2, folder=tmp_path)
    assert engine.calls == "fbfbs" * 3 and history.steps == 3
    stream = new_batches().stream(0, 6)
    for pair in zip(stream, stream, strict=True):
        optimizer.zero_grad()
        total = sum(len(batch["labels"]) for batch in pair)
        sum(objective(expected, batch) * len(batch["labels"]) / total for batch in pair).backward()
        optimizer.step()
    torch.testing.assert_close(state(model), state(expected))
    with pytest.raises(CheckpointError, match="no load_state_dict"):
        fit(model, None, new_batches(), engine=engine, steps=3, accumulate=2, folder=tmp_path, resume=True)
