"""The solutions of lesson 06/01 compute what labkit computes."""

from __future__ import annotations

import pytest
import torch

from labkit.parallel.memory.anatomy import layer_activations
from labkit.parallel.memory.model import Layer
from labkit.parallel.memory.peaks import Techniques, peak
from labkit.parallel.memory.shape import ModelShape, preset
from tests.checks.solutions import solutions

SHOWN = solutions("06_parallel/01_memory")


def test_the_numbers_of_a_layer_are_its_activations():
    numbers = SHOWN["kept_numbers"](2, 128, 768, 12)
    assert 4 * numbers == pytest.approx(layer_activations(preset("bert-base"), 2, 128, "fp32"), rel=0.01)


def test_the_plan_is_the_library_s_prediction():
    shape = ModelShape(6, 64, 4, 512, 64)
    for rows in (2, 16):
        for every in (0, 1):
            said, wanted = (
                SHOWN["planned_peak"](shape, rows, 64, bool(every)),
                peak(shape, rows, 64, Techniques(every=every)),
            )
            assert said == pytest.approx(wanted.total, rel=0.04)


def test_the_second_run_gives_the_gradients_of_the_first():
    torch.manual_seed(0)
    layer, x = Layer(ModelShape(1, 8, 2, 9, 5)), torch.randn(2, 5, 8, requires_grad=True)
    out = layer(x)
    wanted = torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])
    found = SHOWN["again"](layer, x, 2 * out.detach())
    assert torch.equal(found, wanted[0]) and x.grad is None
    assert all(torch.equal(p.grad, w) for p, w in zip(layer.parameters(), wanted[1:], strict=True))
