"""Checks of lesson 06/01: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import exercises, memory
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("06_parallel/01_memory")


@pytest.mark.parametrize("name", exercises("06/01"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(memory, name)(SHOWN[name])
    assert verdict.passed, verdict


def scaled(finite_scale, finite_good, full, lost):
    """A `next_scale` from its four cases: what a good step gives, a completed interval, an overflow."""

    def next_scale(scale, good, finite, interval):
        if not finite:
            return lost(scale, good)
        return full(scale, good) if good + 1 == interval else (finite_scale(scale), finite_good(good))

    return next_scale


def ratio(w, r):
    return w.norm() / r.norm()


MISTAKES = {
    "kept_numbers": [
        (lambda b, s, d, h: b * s * 16 * d, "attention shares are missing"),
        (lambda b, s, d, h: b * s * (16 * d + s), "each of the heads"),
        (lambda b, s, d, h: b * s * 16 * d + h * s * s, "every text of the batch"),
        (lambda b, s, d, h: b * s * (7 * d + h * s), "inputs of the linear layers alone"),
        (lambda b, s, d, h: b * s * (10 * d + h * s), "four times as wide"),
        (lambda b, s, d, h: b * s * (12 * d + h * s), "MLP's middle is kept twice: before"),
        (lambda b, s, d, h: 4 * b * s * (16 * d + h * s), "bytes in fp32"),
        (lambda b, s, d, h: 2 * b * s * (16 * d + h * s), "bytes in 16 bits"),
        (lambda b, s, d, h: 3 * 40 * (16 * 24 + 6 * 40), "wrong for another"),
        (lambda b, s, d, h: [b], "one number is wanted, not list"),
        (lambda b, s, d, h: b, "add up the table's rows"),
    ],
    "batch_loss": [
        (lambda x, n: (x / n.clamp(min=1)).mean(), "mean of the parts' means"),
        (lambda x, n: (x / n).mean(), "do not divide by its own count"),
        (lambda x, n: (x / n)[n > 0].mean(), "leaving out the empty part"),
        (lambda x, n: x.mean(), "number of parts"),
        (lambda x, n: x.sum(), "this is the sum"),
        (lambda x, n: (x / n.clamp(min=1)).sum(), "added up the parts' means"),
        (lambda x, n: x.sum() / 7, "number of all targets was expected"),
        (lambda x, n: x.add_(1) and None, "one number|stopped with|None"),
    ],
    "next_scale": [
        (lambda s, g, f, i: s, "two values"),
        (lambda s, g, f, i: (2 * s, g), "must fall"),
        (lambda s, g, f, i: (s, g + 1), "must be halved"),
        (lambda s, g, f, i: (s / 2, g), "ends the row"),
        (lambda s, g, f, i: (s / 4, 0), r"\(512.0, 0\) is wanted"),
        (scaled(lambda s: 2 * s, lambda g: 0, lambda s, g: (2 * s, 0), lambda s, g: (s / 2, 0)), "does not yet complete"),
        (scaled(lambda s: s, lambda g: g + 1, lambda s, g: (s, g + 1), lambda s, g: (s / 2, 0)), "not one step later"),
        (scaled(lambda s: s, lambda g: g + 1, lambda s, g: (2 * s, g + 1), lambda s, g: (s / 2, 0)), "starts again at 0"),
        (scaled(lambda s: s, lambda g: g + 1, lambda s, g: (s + 1, 0), lambda s, g: (s / 2, 0)), r"\(2048.0, 0\) is wanted"),
        (lambda s, g, f, i: (2 * s, 0) if g + 1 == i else (s, g + 1) if f else (s / 2, 0), "is no good step"),
    ],
    "lamb_step": [
        (lambda w, r, lr: w - lr * r, "this is Adam"),
        (lambda w, r, lr: w - lr / ratio(w, r) * r, "stands on its head"),
        (lambda w, r, lr: w + lr * ratio(w, r) * r, "uphill"),
        (lambda w, r, lr: w - lr * w.norm() * r, "update's own length"),
        (lambda w, r, lr: w - lr * r / r.norm(), "multiply by the weight's length"),
        (lambda w, r, lr: w - lr * w.abs().sum() / r.abs().sum() * r, "absolute values"),
        (lambda w, r, lr: w - lr * w.abs() / r.abs() * r, "for each element"),
        (lambda w, r, lr: -lr * ratio(w, r) * r, "step alone"),
        (lambda w, r, lr: w.sub_(lr * ratio(w, r) * r), "changed the weight"),
        (lambda w, r, lr: w - lr * ratio(w, r) * r, "stay zero for ever"),
        (lambda w, r, lr: w - lr * (ratio(w, r) if w.norm() else 1) * r, "0 divided by 0"),
        (lambda w, r, lr: w - 2 * lr * ratio(w, r) * r, "was expected"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(memory, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(memory, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    from labkit.parallel.memory.anatomy import layer_activations
    from labkit.parallel.memory.lamb import LAMB
    from labkit.parallel.memory.precision import LossScaler
    from labkit.parallel.memory.shape import preset

    numbers = SHOWN["kept_numbers"](2, 128, 768, 12)
    assert 4 * numbers == pytest.approx(layer_activations(preset("bert-base"), 2, 128, "fp32"), rel=0.01)
    scaler, state = LossScaler(1024.0, interval=3), (1024.0, 0)
    for finite in (True, True, True, False, True, False, True, True, True):
        scaler.update(finite)
        state = SHOWN["next_scale"](*state, finite, 3)
        assert state == (scaler.scale, scaler.good)
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    weight.grad = torch.tensor([0.3, 0.4])
    optimizer = LAMB([weight], lr=0.1, eps=1e-12)
    wanted = SHOWN["lamb_step"](weight.detach().clone(), weight.grad.sign(), 0.1)
    optimizer.step()
    assert torch.allclose(weight.detach(), wanted)
