"""The solutions of lesson 06/01 compute what labkit computes."""

from __future__ import annotations

import pytest
import torch

from labkit.parallel.memory.anatomy import layer_activations
from labkit.parallel.memory.lamb import LAMB
from labkit.parallel.memory.precision import LossScaler
from labkit.parallel.memory.shape import preset
from tests.checks.solutions import solutions

SHOWN = solutions("06_parallel/01_memory")


def test_the_numbers_of_a_layer_are_its_activations():
    numbers = SHOWN["kept_numbers"](2, 128, 768, 12)
    assert 4 * numbers == pytest.approx(layer_activations(preset("bert-base"), 2, 128, "fp32"), rel=0.01)


def test_the_scale_goes_the_way_of_the_loss_scaler():
    scaler, state = LossScaler(1024.0, interval=3), (1024.0, 0)
    for finite in (True, True, True, False, True, False, True, True, True):
        scaler.update(finite)
        state = SHOWN["next_scale"](*state, finite, 3)
        assert state == (scaler.scale, scaler.good)


def test_the_step_is_that_of_the_optimizer():
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    weight.grad = torch.tensor([0.3, 0.4])
    optimizer = LAMB([weight], lr=0.1, eps=1e-12)
    wanted = SHOWN["lamb_step"](weight.detach().clone(), weight.grad.sign(), 0.1)
    optimizer.step()
    assert torch.allclose(weight.detach(), wanted)
