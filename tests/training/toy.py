"""A model, data and an objective small enough to train in milliseconds."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn

from labkit.training import Batches, fit

ROWS, SIZE = 22, 4  # six batches an epoch, the last of two rows


def new_model(dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Embedding(50, 8), nn.Flatten(), nn.Linear(32, 16), nn.LayerNorm(16), nn.Dropout(dropout), nn.Linear(16, 5)
    )


def collate(rows, rng):
    return {"input_ids": torch.from_numpy(rng.integers(0, 50, (len(rows), 4))), "labels": torch.tensor(rows) % 5}


def objective(model, batch):
    return nn.functional.cross_entropy(model(batch["input_ids"]), batch["labels"])


def new_batches(**options) -> Batches:
    return Batches(range(ROWS), collate, SIZE, **options)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(one, other) -> None:
    one, other = (state(x) if isinstance(x, nn.Module) else x for x in (one, other))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def draws() -> tuple:
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)


def fixed(rows, rng):
    """Without the generator, which is each rank's own."""
    rows = torch.tensor(rows)
    return {"input_ids": (rows[:, None] * torch.tensor([1, 3, 7, 9])) % 50, "labels": rows % 5}


def run(folder=None, stop=None, resume=True, **more):
    """12 steps of 2 micro-batches, 6 micro-batches an epoch: steps 3, 6, 9 and 12 end an epoch."""
    model = new_model()
    options = {"steps": 12, "accumulate": 2, "lr": 0.01, **more}
    history = fit(model, objective, new_batches(seed=4), folder=folder, resume=resume, on_step=stop, **options)
    return model, history


def interrupt_at(*steps):
    def stop(step, loss):
        if step in steps:
            raise KeyboardInterrupt

    return stop
