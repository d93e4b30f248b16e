"""The same gradients bit for bit, with dropout too; the same memory as torch's own; accumulation as the big batch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint as torchs

from labkit.errors import DataError, UsageError
from labkit.measure import peak_memory
from labkit.parallel.memory.accumulation import accumulate, mean_of_means
from labkit.parallel.memory.checkpointing import checkpoint, in_segments
from labkit.parallel.memory.model import Transformer
from labkit.parallel.memory.shape import ModelShape

SHAPE = ModelShape(5, 32, 2, 50, 16)
IDS = torch.randint(50, (3, 16), generator=torch.Generator().manual_seed(0))


def gradients(every, dtype=torch.float32):
    model = Transformer(SHAPE, every=every).to(dtype)
    loss = model(IDS, IDS)
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("every", [1, 2, 3, 5, 9])
def test_the_same_gradients_bit_for_bit(every):
    for dtype in (torch.float32, torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(gradients(0, dtype), gradients(every, dtype), strict=True))


def layers():
    torch.manual_seed(0)
    return nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.5)) for _ in range(4))


def with_dropout(run):
    stack, x = layers(), torch.ones(6, 8, requires_grad=True)
    torch.manual_seed(7)
    run(stack, x).sum().backward()
    return [x.grad, *(p.grad for p in stack.parameters()), torch.rand(3)]  # and what is drawn next


def by_torch(stack, x, use_reentrant=False):
    for layer in stack:
        x = torchs(layer, x, use_reentrant=use_reentrant)
    return x


reentrant = partial(by_torch, use_reentrant=True)


def test_dropout_drops_the_same_numbers_again_and_the_generator_goes_on():
    plain = with_dropout(lambda stack, x: in_segments(stack, x, 0))
    for run in (
        lambda stack, x: in_segments(stack, x, 1),
        lambda stack, x: in_segments(stack, x, 3),
        by_torch,
        reentrant,
    ):
        assert all(torch.equal(a, b) for a, b in zip(plain, with_dropout(run), strict=True))


def test_the_memory_is_that_of_torchs_checkpoint():
    x = torch.ones(4000, 8, requires_grad=True)
    peaks = [
        peak_memory(lambda run=run: run(layers(), x).sum().backward())
        for run in (lambda s, x: in_segments(s, x, 0), lambda s, x: in_segments(s, x, 1), reentrant, by_torch)
    ]
    assert peaks[1] < 0.75 * peaks[0] and peaks[1] == pytest.approx(peaks[2], rel=0.01)
    assert peaks[1] - peaks[3] <= 4 * x.numel()  # torch's newer kind lets a segment's output go


def test_autocast_and_other_inputs_are_kept():
    layer, x = nn.Linear(8, 8), torch.ones(2, 8, requires_grad=True)
    seen = []

    def run(x, factor, nothing):
        seen.append(layer(x).dtype)
        return layer(x).float() * factor

    with torch.autocast("cpu", torch.bfloat16):
        out = checkpoint(run, x, 3.0, None)
    out.sum().backward()
    assert seen == [torch.bfloat16, torch.bfloat16] and x.grad is not None


def test_without_gradients_nothing_is_kept_and_a_dead_segment_is_refused():
    with torch.no_grad():
        assert torch.equal(checkpoint(nn.Identity(), torch.ones(2)), torch.ones(2))
    with pytest.raises(UsageError, match="no input requires a gradient, so the weights inside would get none"):
        checkpoint(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(UsageError, match="checkpoints every -2 layers"):
        in_segments([], torch.ones(1), -2)


def loss_sum(model):
    return lambda part: model(part[0], part[1], reduction="sum")


def count(part):
    return int((part[1] != -100).sum())


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 4), st.floats(0.1, 0.9), st.integers(0, 5))
def test_accumulation_is_the_big_batch(parts, share, seed):
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(50, (4, 8), generator=draw)
    labels = ids.where(torch.rand(ids.shape, generator=draw) < share, -100)
    labels[0, 0] = ids[0, 0]
    model = Transformer(ModelShape(1, 16, 2, 50, 8)).double()
    whole = model(ids, labels)
    wanted = torch.autograd.grad(whole, list(model.parameters()))
    batches = list(zip(ids.tensor_split(parts), labels.tensor_split(parts), strict=True))
    value = accumulate(loss_sum(model), count, batches)
    assert value == pytest.approx(whole.item(), abs=1e-12)
    assert all((p.grad - g).abs().max() < 1e-12 for p, g in zip(model.parameters(), wanted, strict=True))


def test_the_mean_of_means_is_another_loss():
    model = Transformer(ModelShape(1, 16, 2, 50, 8)).double()
    ids = torch.arange(16).view(2, 8)
    few, many = ids[:1].where(torch.arange(8) < 1, -100), ids[1:]
    parts = [(ids[:1], few), (ids[1:], many)]
    right = accumulate(loss_sum(model), count, parts)
    wrong = mean_of_means(loss_sum(model), count, parts)
    means = [float(model(*part).detach()) for part in parts]
    assert wrong == pytest.approx(sum(means) / 2, abs=1e-12)
    assert right == pytest.approx((means[0] + 8 * means[1]) / 9, abs=1e-12) and abs(right - wrong) > 1e-3
    with pytest.raises(DataError, match="none of the 1 micro-batches has a target"):
        accumulate(loss_sum(model), count, [(ids[:1], torch.full((1, 8), -100))])
