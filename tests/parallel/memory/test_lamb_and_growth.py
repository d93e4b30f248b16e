"""LAMB against its algorithm by hand and against AdamW; grown models against the ones they grew from."""

from __future__ import annotations

import pytest
import torch

from labkit.errors import UsageError
from labkit.parallel.memory import lamb
from labkit.parallel.memory.growth import deepen, widen
from labkit.parallel.memory.lamb import LAMB, trust_ratio
from labkit.parallel.memory.model import Transformer
from labkit.parallel.memory.shape import ModelShape


def by_hand(weight, gradients, lr, betas, eps, decay):
    """Algorithm 2 of the paper, on Python lists."""
    m, v = [0.0] * len(weight), [0.0] * len(weight)
    for t, gradient in enumerate(gradients, 1):
        m = [betas[0] * a + (1 - betas[0]) * g for a, g in zip(m, gradient, strict=True)]
        v = [betas[1] * a + (1 - betas[1]) * g * g for a, g in zip(v, gradient, strict=True)]
        r = [
            a / (1 - betas[0] ** t) / ((b / (1 - betas[1] ** t)) ** 0.5 + eps) + decay * w
            for a, b, w in zip(m, v, weight, strict=True)
        ]
        norm, length = sum(w * w for w in weight) ** 0.5, sum(x * x for x in r) ** 0.5
        ratio = norm / length if norm and length else 1.0
        weight = [w - lr * ratio * x for w, x in zip(weight, r, strict=True)]
    return weight, ratio


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_the_papers_algorithm(decay):
    draw = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(6, generator=draw).double(), torch.randn(20, 6, generator=draw).double()
    weight = start.clone().requires_grad_()
    optimizer = LAMB([weight], lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=decay)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    wanted, ratio = by_hand(start.tolist(), gradients.tolist(), 0.02, (0.8, 0.95), 1e-6, decay)
    assert weight.tolist() == pytest.approx(wanted, abs=1e-12)
    assert float(optimizer.state[weight]["ratio"]) == pytest.approx(ratio, abs=1e-6)


def test_at_trust_ratio_one_it_is_adamw(monkeypatch):
    monkeypatch.setattr(lamb, "trust_ratio", lambda weight, update: weight.new_ones(()))
    weights = [torch.linspace(-1, 1, 8).double().requires_grad_() for _ in range(2)]
    settings = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1}
    optimizers = [LAMB([weights[0]], **settings), torch.optim.AdamW([weights[1]], **settings)]
    for _ in range(30):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            optimizer.zero_grad()
            (weight.sin().square().sum()).backward()
            optimizer.step()
    assert (weights[0] - weights[1]).abs().max() < 1e-12


def test_a_step_is_a_share_of_the_weights_own_length_and_zero_weights_move():
    weight = torch.full((4,), 100.0, requires_grad=True)
    zero = torch.zeros(4, requires_grad=True)
    optimizer = LAMB([weight, zero], lr=0.05)
    weight.grad, zero.grad = torch.ones(4), torch.ones(4)
    optimizer.step()
    assert float((weight.detach() - 100).norm() / 200) == pytest.approx(0.05, rel=1e-5)
    assert zero.detach().tolist() == pytest.approx([-0.05] * 4, rel=1e-4)
    assert trust_ratio(torch.ones(2), torch.zeros(2)) == 1
    assert optimizer.step(lambda: 3) == 3
    with pytest.raises(UsageError, match="rates must be above 0, betas in"):
        LAMB([zero], lr=0)


SHAPE = ModelShape(2, 16, 2, 40, 8)
IDS = torch.randint(40, (3, 8), generator=torch.Generator().manual_seed(0))


def trained():
    model = Transformer(SHAPE).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):  # so that no bias is zero and no norm is one
        optimizer.zero_grad()
        model(IDS, IDS.roll(1)).backward()
        optimizer.step()
    return model


GROWN = [widen, lambda m: widen(m, 3, seed=4), deepen, lambda m: deepen(widen(m)), lambda m: widen(m, 1)]


@pytest.mark.parametrize("grow", GROWN)
def test_a_grown_model_computes_the_same(grow):
    small = trained()
    large = grow(small)
    assert (large(IDS, IDS.roll(1)) - small(IDS, IDS.roll(1))).abs() < 1e-12
    assert large.shape.parameters == sum(p.numel() for p in large.parameters())


def test_the_copies_do_not_stay_equal():
    large = widen(trained(), 2)
    large(IDS, IDS.roll(1)).backward()
    first, second = large.layers[0].up.weight.grad.chunk(2)
    assert not torch.allclose(first, second)
    deep = deepen(trained())
    deep(IDS, IDS.roll(1)).backward()
    assert deep.layers[1].down.weight.grad.abs().max() > 0
    with pytest.raises(UsageError, match="whole factor of 1 or more, not 0"):
        widen(trained(), 0)
