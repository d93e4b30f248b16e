"""Number ranges in closed form, the scaler against torch's, masters against fp32 training."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import TrainingError, UsageError
from labkit.parallel.memory.precision import LossScaler, MixedPrecision


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_the_scale_goes_as_torchs(steps, interval):
    mine = LossScaler(2.0**50, interval)
    torchs = torch.amp.GradScaler("cpu", 2.0**50, growth_interval=interval)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for finite in steps:
        torchs.scale(weight.sum())  # the scaler makes its tensor on the first use
        weight.grad = torch.tensor([1.0 if finite else float("inf")])
        torchs.step(optimizer)
        torchs.update()
        mine.update(finite)
        assert mine.scale == torchs.get_scale()
    assert mine.skipped == steps.count(False)


def model(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)).to(dtype)


def adam(tensors):
    return torch.optim.Adam(tensors, lr=1e-2)


def test_in_fp32_it_is_adam_bit_for_bit():
    mine, plain = model(), model()
    trained, optimizer = MixedPrecision(mine, adam, torch.float32), adam(plain.parameters())
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(5):
        trained.backward(mine(x).square().mean())
        trained.step()
        optimizer.zero_grad()
        plain(x).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), plain.parameters(), strict=True))
    assert not trained.masters


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masters_follow_adam_on_the_same_gradients(dtype):
    """The masters are what Adam makes in fp32 of the 16-bit gradients; the weights are the masters, rounded."""
    mine = model()
    copies = [p.detach().clone() for p in mine.parameters()]
    trained, plain = MixedPrecision(mine, adam, dtype, LossScaler(2.0**10)), adam(copies)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    for _ in range(4):
        trained.backward(mine(x).float().square().mean())
        for copy, p in zip(copies, mine.parameters(), strict=True):
            copy.grad = p.grad.float() / 2.0**10
        plain.step()
        assert trained.step()
    assert all(torch.equal(a, b) for a, b in zip(trained.masters, copies, strict=True))
    assert all(torch.equal(p, m.to(dtype)) for p, m in zip(mine.parameters(), trained.masters, strict=True))


def test_small_updates_need_masters():
    weight = torch.ones((), dtype=torch.float16)
    master = torch.ones(())
    for _ in range(1000):
        weight -= torch.tensor(1e-4, dtype=torch.float16)
        master -= 1e-4
    assert weight == 1 and float(master) == pytest.approx(0.9, abs=1e-3)


def test_a_scale_saves_small_gradients():
    """A gradient of 2e-8 is zero in fp16; with a scale it arrives."""
    for scale, arrives in ((1.0, False), (2.0**10, True)):
        one = torch.nn.Linear(1, 1, bias=False)
        scaler = LossScaler(scale, interval=0)
        trained = MixedPrecision(one, lambda t: torch.optim.SGD(t, lr=1e7), torch.float16, scaler)
        before = trained.masters[0].clone()
        trained.backward(one(torch.full((1, 1), 2e-4, dtype=torch.float16)).float().sum() * 1e-4)
        trained.step()
        moved = float((before - trained.masters[0]).detach())
        assert moved == pytest.approx(0.2 if arrives else 0.0, rel=0.05)


def test_an_overflow_skips_the_step_and_halves_the_scale():
    mine = model()
    trained = MixedPrecision(mine, adam, torch.float16, LossScaler(2.0**16, interval=2))
    x = torch.full((4, 6), 30.0, dtype=torch.float16)
    before = [p.clone() for p in mine.parameters()]
    trained.backward(mine(x).float().square().sum() * 100)
    assert not trained.step() and trained.scale == 2.0**15 and trained.scaler.skipped == 1
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters(), strict=True))
    assert all(bool((p.grad == 0).all()) for p in mine.parameters())
    for _ in range(2):
        trained.backward(mine(x / 100).float().mean())
        assert trained.step()
    assert trained.scale == 2.0**16


def test_bad_input():
    broken = model()
    trained = MixedPrecision(broken, adam, torch.float16)
    broken[2].weight.grad = torch.full_like(broken[2].weight, float("nan"))
    with pytest.raises(TrainingError, match=r"the gradient of 2\.weight is not finite; in fp16 give a LossScaler"):
        trained.step()
    scaler = LossScaler(2.0)
    scaler.update(False)
    with pytest.raises(TrainingError, match="not finite although the loss scale is down to 1"):
        scaler.update(False)
    with pytest.raises(UsageError, match=r"loss scale 0, interval 2000: above 0 and 0 \(fixed\) or more are needed"):
        LossScaler(0)
    with pytest.raises(UsageError, match="nothing to train"):
        MixedPrecision(model().requires_grad_(False), adam)
