"""Offloaded training and scheduled inference are the resident ones bit for bit; events, budgets and errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labkit.errors import TrainingError, UsageError
from labkit.parallel.memory.model import Layer, Transformer
from labkit.parallel.memory.precision import LossScaler, MixedPrecision
from labkit.parallel.memory.shape import ModelShape
from labkit.parallel.offload.link import Budget, CudaLink, SlowLink
from labkit.parallel.offload.optimizer import OffloadedOptimizer, overlapped
from labkit.parallel.offload.schedule import clumped
from labkit.parallel.offload.scheduler import LayerScheduler, layer_bytes
from labkit.parallel.trace import Event, Trace

SHAPE = ModelShape(2, 32, 2, 60, 16)
FAST = 1e9


def adam(tensors):
    return torch.optim.Adam(tensors, lr=1e-2)


def batches():
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(60, (4, 16), generator=draw) for _ in range(6)]


def trained(kind, dtype, scaler, **more):
    model = Transformer(SHAPE)
    optimizer = kind(model, adam, dtype=dtype, scaler=scaler, **more)
    stepped = []
    for ids in batches():
        for part, last in ((ids[:2], False), (ids[2:], True)):  # two micro-batches a step
            loss = model(part, part) / 2
            optimizer.backward(loss, last) if kind is OffloadedOptimizer else optimizer.backward(loss)
        stepped.append(optimizer.step())
    return [p.detach() for p in model.parameters()], optimizer.masters, stepped


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_offloaded_training_is_the_resident_bit_for_bit(dtype):
    def scaler():
        return LossScaler(2.0**24, interval=3) if dtype == torch.float16 else None

    resident = trained(MixedPrecision, dtype, scaler())
    for overlap in (True, False):
        with SlowLink(FAST) as link:
            offloaded = trained(OffloadedOptimizer, dtype, scaler(), link=link, overlap=overlap)
        assert resident[2] == offloaded[2]
        assert all(torch.equal(a, b) for a, b in zip(resident[0], offloaded[0], strict=True))
        if dtype != torch.float32:
            assert all(torch.equal(a, b) for a, b in zip(resident[1], offloaded[1], strict=True))
    if dtype == torch.float16:
        assert False in resident[2] and True in resident[2]  # an overflow was met, and got over


def test_four_bytes_a_weight_cross_the_link_and_overlap_shows():
    shares = []
    for overlap in (False, True):
        trace = Trace()
        model = nn.Sequential(*(nn.Linear(200, 200) for _ in range(6)))
        with SlowLink(4e7, trace=trace) as link:
            optimizer = OffloadedOptimizer(model, adam, link, torch.bfloat16, overlap=overlap, trace=trace)
            optimizer.backward(model(torch.randn(8, 200, dtype=torch.bfloat16)).float().square().mean())
            optimizer.step()
        sent = sum(event.bytes for event in trace.events if event.lane == "link")
        assert sent == 4 * sum(p.numel() for p in model.parameters())
        assert {event.lane for event in trace.events} == {"device", "link", "host"}
        shares.append(overlapped(trace.events))
        (backward,) = [event for event in trace.events if event.name == "backward"]
        early = [e for e in trace.events if e.name == "gradient" and e.start < backward.end]
        assert bool(early) == overlap
    assert shares[0] == 0


def test_what_overlap_counts():
    link, device = Event(0, "link", "load", 0, 4), Event(0, "device", "compute", 1, 2)
    assert overlapped([link, device]) == pytest.approx(0.25) and overlapped([device]) == 0


def test_an_overflow_without_a_scaler_names_the_weight():
    model = nn.Sequential(nn.Linear(3, 1))
    with SlowLink(FAST) as link:
        optimizer = OffloadedOptimizer(model, adam, link, torch.float16)
        optimizer.backward(model(torch.full((1, 3), 200.0, dtype=torch.float16)).float().sum() * 1e6)
        with pytest.raises(TrainingError, match=r"the gradient of 0\.\w+ is not finite"):
            optimizer.step()


def layers(number=7):
    torch.manual_seed(0)
    return [Layer(SHAPE) for _ in range(number)]


@pytest.mark.parametrize("room", [2, 3, 4, 6, 7, 9])
@pytest.mark.parametrize("place", [None, clumped, lambda n, k: tuple(range(n))[::-1][:k][::-1]])
def test_the_scheduled_model_is_the_resident_one_bit_for_bit(room, place):
    stack, x = layers(), torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = nn.Sequential(*stack)(x)
    trace, each = Trace(), layer_bytes(stack[0])
    budget = room * each + 10
    with SlowLink(FAST, trace=trace) as link:
        model = LayerScheduler(stack, budget, link, trace=trace, **({"place": place} if place else {}))
        assert all(torch.equal(model(x), wanted) for _ in range(3))
        model.wait()
    held = [*model.pinned.values(), *model.slots]
    assert sum(map(layer_bytes, held)) == model.budget.used <= budget
    computed = [event.name for event in trace.events if event.name.startswith("compute")]
    assert computed == [f"compute {number}" for number in range(7)] * 3
    moving = max(7 - (room - 2), 0) if room < 7 else 0
    loads = {event.name for event in trace.events if event.lane == "link"}
    assert len(loads) == moving == len(model.moving)
    sent = sum(event.bytes for event in trace.events if event.lane == "link")
    assert sent == (3 * moving + 2) * each * bool(moving)  # the two that wait for the next pass too


def test_bad_input():
    stack = layers(4)
    each = layer_bytes(stack[0])
    with SlowLink(FAST) as link:
        with pytest.raises(UsageError, match=f"budget of {2 * each - 1:,} bytes is too small.*need {2 * each:,} bytes"):
            LayerScheduler(stack, 2 * each - 1, link)
        with pytest.raises(UsageError, match="layer 1 has other tensors than layer 0"):
            LayerScheduler([nn.Linear(2, 2), nn.Linear(2, 3)], 1000, link)
        with pytest.raises(UsageError, match="no layers to schedule"):
            LayerScheduler([], 1000, link)
        with pytest.raises(UsageError, match=r"place\(\) gave \(0,\): 3 different layers of 4 must move"):
            LayerScheduler(stack, 3 * each, link, place=lambda n, k: (0,))
        source, small = torch.zeros(3), torch.zeros(2)
        with pytest.raises(RuntimeError, match="size"):
            link.copy(source, small).result()
    with pytest.raises(UsageError, match="bandwidth above 0"):
        SlowLink(0)
    budget = Budget(10)
    budget.take(8, "one")
    with pytest.raises(UsageError, match="two needs 3 bytes, and 2 of the device's 10 are left"):
        budget.take(3, "two")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="torch sees no GPU here; use SlowLink"):
            CudaLink()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_scheduled_model_is_the_resident_one():
    stack = layers()
    x = torch.randn(2, 16, 32, device="cuda")
    with torch.no_grad():
        wanted = nn.Sequential(*[layer.cuda() for layer in layers()])(x)
    model = LayerScheduler(stack, 4 * layer_bytes(stack[0]), CudaLink(), device="cuda")
    assert all(torch.equal(model(x), wanted) for _ in range(3))
