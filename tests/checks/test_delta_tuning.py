"""Checks of lesson 03/06: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import delta_tuning, exercises
from labkit.fewshot.delta import LoRA, trained_tensors
from labkit.measure import parameters, trainable
from tests.checks.solutions import solutions
from tests.fewshot.delta_models import make, train


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/06_delta_tuning")


@pytest.mark.parametrize("name", exercises("03/06"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(delta_tuning, name)(SHOWN[name])
    assert verdict.passed, verdict


def kron(a, b):
    return sum(torch.kron(one, other) for one, other in zip(a, b, strict=True))


def count(model, of=lambda p: p.requires_grad):
    return sum(p.numel() for p in model.parameters() if of(p))


def in_place(w, a, b, alpha):
    w += alpha / len(a) * b @ a
    return w


def every(_):
    return True


MISTAKES = {
    "lora_forward": [
        (lambda x, w, a, b, s: x @ w.T, "frozen layer alone"),
        (lambda x, w, a, b, s: s / len(a) * x @ a.T @ b.T, "update alone"),
        (lambda x, w, a, b, s: x @ w.T + x @ a.T @ b.T, "not scaled"),
        (lambda x, w, a, b, s: x @ w.T + s * x @ a.T @ b.T, "scaled by α: divide"),
        (lambda x, w, a, b, s: x @ w.T + x @ a.T @ b.T / s, "divided by α"),
        (lambda x, w, a, b, s: x @ w.T + len(a) / s * x @ a.T @ b.T, "upside down"),
        (lambda x, w, a, b, s: x @ w.T + s / a.shape[1] * x @ a.T @ b.T, "divided by d_in"),
        (lambda x, w, a, b, s: s / len(a) * (x @ w.T + x @ a.T @ b.T), "frozen part is scaled"),
        (lambda x, w, a, b, s: w @ x, "stopped with RuntimeError"),
        (lambda x, w, a, b, s: (x @ w.T).T, r"shape \(5, 4\)"),
        (lambda x, w, a, b, s: x @ w.T - s / len(a) * x @ a.T @ b.T, "other values"),
        (lambda x, w, a, b, s: x @ w.T + s / len(a) * x @ a.T @ b.T + (b == 0).all(), "with B = 0"),
    ],
    "merge_lora": [
        (lambda w, a, b, s: s / len(a) * b @ a, "update alone: add"),
        (lambda w, a, b, s: w, "this is W itself"),
        (lambda w, a, b, s: w + b @ a, "would do less"),
        (lambda w, a, b, s: w + s * b @ a, "α alone"),
        (lambda w, a, b, s: w + s / len(a) * a.T @ b.T, "transposed"),
        (lambda w, a, b, s: w - s / len(a) * b @ a, "subtracted"),
        (lambda w, a, b, s: w + a @ b, "stopped with RuntimeError"),
        (lambda w, a, b, s: w + 2 * s * b @ a, "other values"),
        (in_place, "changed the W"),
    ],
    "kronecker_layer": [
        (lambda x, a, b: x @ torch.kron(a[0], b[0]), "only the first"),
        (lambda x, a, b: x @ torch.kron(a.sum(0), b.sum(0)), "product of sums"),
        (lambda x, a, b: x @ kron(a, b) / len(a), "averaged"),
        (lambda x, a, b: x @ kron(b, a), "swapped"),
        (lambda x, a, b: x @ kron(a, b).T, "transposed"),
        (lambda x, a, b: x @ kron(a, b) + 1, "other values"),
        (lambda x, a, b: x @ kron(a, b).reshape(x.shape[1], x.shape[1]), "stopped with RuntimeError"),
        (lambda x, a, b: kron(a, b), r"shape \(8, 8\)"),
        (lambda x, a, b: x @ kron(a, b) * (1 if a.shape[1] == a.shape[2] else 2), "square factors only"),
    ],
    "trained_share": [
        (count, "a number of weights"),
        (lambda m: 100 * count(m) / count(m, every), "per cent"),
        (lambda m: 1 - count(m) / count(m, every), "frozen share"),
        (lambda m: count(m) / (count(m, every) - count(m)), "by the frozen weights"),
        (lambda m: count(m) / sum(t.numel() for t in m.state_dict().values()), "counted twice"),
        (lambda m: sum(p.requires_grad for p in m.parameters()) / len(list(m.parameters())), "counted tensors"),
        (lambda m: 1.0, "everything counts"),
        (lambda m: [0.3], "one number, not list"),
        (lambda m: count(m) / count(m, every) if count(m) else 0.5, "of a frozen model"),
        (lambda m: 0.9, "divided by the sum over all"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(delta_tuning, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(delta_tuning, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    model = train(LoRA(rank=2).attach(make()))
    assert SHOWN["trained_share"](model) == trainable(model) / parameters(model)
    layer = model.bert.encoder.layer[0].attention.self.query
    values, x = trained_tensors(layer), torch.randn(4, 32)
    a, b = values["lora_A.lora.weight"], values["lora_B.lora.weight"]
    with torch.no_grad():
        merged = SHOWN["merge_lora"](layer.base_layer.weight, a, b, 16.0)
        mine = SHOWN["lora_forward"](x, layer.base_layer.weight, a, b, 16.0)
        torch.testing.assert_close(mine + layer.base_layer.bias, layer(x))
        torch.testing.assert_close(x @ merged.T, mine, rtol=1e-4, atol=1e-5)
