"""Checks of lesson 03/04: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional as F

from labkit.checks import cp_tuning, exercises
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/04_cp_tuning")


@pytest.mark.parametrize("name", exercises("03/04"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(cp_tuning, name)(SHOWN[name])
    assert verdict.passed, verdict


def test_every_exercise_has_its_solution():
    assert set(exercises("03/04")) == set(SHOWN) == set(MISTAKES)


def pairs(vectors, labels, like=None, unlike=None):
    """Like and unlike pairs of the vectors as they are; `like` and `unlike` change the table of same labels."""
    same, products = labels[:, None] == labels, vectors @ vectors.T
    like, unlike = like or (lambda s: s.triu(1)), unlike or (lambda s: (~s).triu(1))
    return products[like(same)], products[unlike(same)]


def unit(vectors):
    return F.normalize(vectors, dim=1)


def costs(p, n, m, k, flows=False):
    p, n = (p, n) if flows else (p.detach(), n.detach())
    return (1 + m - p).clamp(min=0) / k, (n + m).clamp(min=0)


def loss(p, n, m, g, k, *, a=costs, pull=None, push=None, end=None):
    """The right loss, but for what is given instead."""
    a_p, a_n = a(p, n, m, k)
    x = (pull or (lambda s, c: -g * c * (s - (1 - m))))(p, a_p)
    y = (push or (lambda s, c: g * c * (s - m)))(n, a_n)
    return (end or (lambda x, y: F.softplus(x.logsumexp(0) + y.logsumexp(0))))(x, y)


def planted(**wrong):
    """A loss with the parts of `wrong`, each a function of (m, γ, k) that gives the part."""
    return lambda p, n, m, g, k: loss(p, n, m, g, k, **{name: make(m, g, k) for name, make in wrong.items()})


def scores(rule):
    return lambda x, s, y, c: torch.stack([rule(x @ s[y == n].T) for n in range(c)], 1)


MISTAKES = {
    "pair_similarities": [
        (lambda v, y: pairs(v, y), "vectors of length 1"),
        (lambda v, y: pairs(F.normalize(v, dim=0), y), r"columns \(dim 0\)"),
        (lambda v, y: pairs(v.softmax(1), y), "softmax"),
        (lambda v, y: pairs(F.normalize(v, p=1, dim=1), y), r"p = 1"),
        (lambda v, y: pairs(unit(v), y, lambda s: s.triu()), "paired with itself, whose"),
        (lambda v, y: pairs(unit(v), y, lambda s: s, lambda s: ~s), "paired with itself, and each other"),
        (lambda v, y: pairs(unit(v), y, lambda s: s & ~torch.eye(len(y)).bool(), lambda s: ~s), "each pair counts twice"),
        (lambda v, y: pairs(unit(v), y)[::-1], "exchanged"),
        (lambda v, y: pairs(unit(v), y, None, lambda s: ~s.triu(1)), "lower half"),
        (lambda v, y: pairs(unit(v), y, lambda s: s.triu(2)), "you gave"),
        (lambda v, y: unit(v) @ unit(v).T, r"two tensors are wanted.*shape \(6, 6\)"),
        (lambda v, y: (unit(v) @ unit(v).T, unit(v) @ unit(v).T), "not a matrix"),
        (lambda v, y: tuple(some.detach() for some in pairs(unit(v), y)), "cut off from the vectors"),
        (lambda v, y: tuple(-some for some in pairs(unit(v), y)), "other similarities"),
        (lambda v, y: tuple(torch.stack(list(some)) for some in pairs(unit(v), y)), "stopped with RuntimeError"),
        (lambda v, y: None, "not attempted"),
    ],
    "pair_weights": [
        (lambda p, n, m, k: (costs(p, n, m, 1)), "a_p is not divided"),
        (lambda p, n, m, k: (costs(p, n, m, 1 / k)), "a_p is multiplied"),
        (lambda p, n, m, k: ((1 - m - p).clamp(min=0) / k, costs(p, n, m, k)[1]), r"\[1 − m − s_p\]₊ is 0"),
        (lambda p, n, m, k: ((1 - m - p) / k, costs(p, n, m, k)[1]), "1 \\+ m, not 1 − m"),
        (lambda p, n, m, k: ((p - 1 - m).clamp(min=0) / k, costs(p, n, m, k)[1]), "a_p is 0 for every pair"),
        (lambda p, n, m, k: ((p + m) / k, costs(p, n, m, k)[1]), "a_p grows"),
        (lambda p, n, m, k: (torch.ones(3) / k, costs(p, n, m, k)[1]), "a_p is the same"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], n + m), "cut it off at 0, clamp|negative"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], costs(p, n, m, k)[1] / k), "a_n is divided by k"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], (n - m).clamp(min=0)), "margin of a_n is on the wrong side"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], (n + m).abs()), "absolute value"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], n * 3), r"a_n should be"),
        (lambda p, n, m, k: (p * 3, n * 3), r"a_p should be"),
        (lambda p, n, m, k: costs(p, n, m, k, flows=True), "both weights let the gradient"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], costs(p, n, m, k, flows=True)[1]), "one of the weights lets"),
        (lambda p, n, m, k: costs(p, n, m, k)[0], "two tensors are wanted"),
    ],
    "contrastive_loss": [
        (planted(end=lambda m, g, k: lambda x, y: x.logsumexp(0) + y.logsumexp(0)), "softplus around the whole"),
        (planted(end=lambda m, g, k: lambda x, y: F.softplus(x.mean() + y.mean())), "you averaged the pairs:"),
        (planted(end=lambda m, g, k: lambda x, y: F.softplus(x.sum() + y.sum())), "you added the pairs' exponents"),
        (planted(end=lambda m, g, k: lambda x, y: F.softplus(x.amax() + y.amax())), "only the hardest pair"),
        (planted(end=lambda m, g, k: lambda x, y: F.softplus(torch.cat([x, y]).logsumexp(0))), "one logsumexp"),
        (planted(end=lambda m, g, k: lambda x, y: F.softplus(x.logsumexp(0)) + F.softplus(y.logsumexp(0))), "two softplus"),
        (planted(end=lambda m, g, k: lambda x, y: F.softplus(x[:, None] + y).mean()), "averaged the softplus"),
        (lambda p, n, m, g, k: loss(p, n, m, 1, k), "γ is missing: it multiplies both"),
        (planted(push=lambda m, g, k: lambda s, c: c * (s - m)), "γ is missing in the exponent of the unlike"),
        (planted(pull=lambda m, g, k: lambda s, c: -c * (s - 1 + m)), "γ is missing in the exponent of the like"),
        (planted(pull=lambda m, g, k: lambda s, c: g * c * (s - 1 + m)), "sign of the like pairs"),
        (planted(push=lambda m, g, k: lambda s, c: -g * c * (s - m)), "sign of the unlike pairs"),
        (planted(pull=lambda m, g, k: lambda s, c: -g * c * (s - m), push=lambda m, g, k: lambda s, c: g * c * (s - 1 + m)), "two targets are exchanged"),
        (planted(pull=lambda m, g, k: lambda s, c: -g * c * (s - 1 - m), push=lambda m, g, k: lambda s, c: g * c * (s + m)), "wrong side in the brackets"),
        (planted(push=lambda m, g, k: lambda s, c: g * c * (s + m)), "margin of the unlike pairs is on the wrong side"),
        (planted(pull=lambda m, g, k: lambda s, c: -g * c * (s - 1 - m)), "margin of the like pairs is on the wrong side"),
        (planted(a=lambda m, g, k: lambda p, n, *_: (torch.ones(3), torch.ones(4))), "weights a_p and a_n are missing"),
        (lambda p, n, m, g, k: loss(p, n, m, g, 1), "k is missing"),
        (lambda p, n, m, g, k: loss(p, n, m, g, 1 / k), "k multiplies a_p"),
        (planted(push=lambda m, g, k: lambda s, c: g * c / k * (s - m)), "k divides a_n too"),
        (planted(a=lambda m, g, k: lambda p, n, *_: ((1 + m - p).detach() / k, (n + m).detach())), "a_n is not cut off"),
        (planted(a=lambda m, g, k: lambda p, n, *_: costs(p, n, m, k, flows=True)), "also runs through the weights"),
        (planted(pull=lambda m, g, k: lambda s, c: -g * c * (s.detach() - 1 + m)), "no gradient reaches the like pairs"),
        (planted(a=lambda m, g, k: lambda p, n, *_: (costs(p, n, m, k, flows=True)[0], costs(p, n, m, k)[1])), "its gradient is not: both weights"),
        (lambda p, n, m, g, k: loss(p.detach(), n.detach(), m, g, k), "no gradient comes through"),
        (planted(end=lambda m, g, k: lambda x, y: torch.log1p(x.exp().sum() * y.exp().sum())), "exp overflows"),
        (planted(end=lambda m, g, k: lambda x, y: x), r"shape \(3,\)"),
        (planted(end=lambda m, g, k: lambda x, y: x.sum() * 0), "wanted: softplus"),
    ],
    "class_scores": [
        (scores(lambda near: near.mean(1)), "you averaged over each class"),
        (scores(lambda near: near.sum(1)), "you added up"),
        (scores(lambda near: near.amin(1)), "farthest"),
        (lambda x, s, y, c: x @ unit(torch.stack([s[y == n].mean(0) for n in range(c)])).T, "each class's mean"),
        (lambda x, s, y, c: (x @ s.T)[:, :c], "first three support texts"),
        (lambda x, s, y, c: torch.stack([torch.cdist(x, s[y == n]).amin(1) for n in range(c)], 1), "these are distances"),
        (lambda x, s, y, c: -torch.stack([torch.cdist(x, s[y == n]).amin(1) for n in range(c)], 1), "minus the distance"),
        (lambda x, s, y, c: scores(lambda near: near.amax(1))(x, s, y, c).softmax(1), "a softmax of the scores"),
        (lambda x, s, y, c: F.one_hot(y[(x @ s.T).argmax(1)], c).float(), "answers, 0 or 1"),
        (lambda x, s, y, c: (x @ s.T), r"shape \(5, 7\)"),
        (lambda x, s, y, c: y[(x @ s.T).argmax(1)], r"shape \(5,\)"),
        (lambda x, s, y, c: torch.stack([((x @ s.T) * (y == n)).amax(1) for n in range(c)], 1), "below 0 became 0"),
        (lambda x, s, y, c: torch.zeros(len(x), c), "column c should hold"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(cp_tuning, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(cp_tuning, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_loops_and_lists_are_fine_too():
    def by_loops(vectors, labels):
        like, unlike = [], []
        for i in range(len(labels)):
            for j in range(i):
                s = torch.cosine_similarity(vectors[i], vectors[j], dim=0)
                (like if labels[i] == labels[j] else unlike).append(s)
        return [torch.stack(some) if some else torch.empty(0) for some in (like, unlike)]

    assert cp_tuning.pair_similarities(by_loops).passed


def test_the_lessons_functions_agree_with_labkit():
    """Pairs, loss with its gradient, and answers that learners write are those of the library."""
    from labkit.fewshot.cp_tuning import pccl, similarities

    generator = torch.Generator().manual_seed(1)
    vectors, labels = torch.randn(9, 6, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])
    gradients = []
    for ours in (True, False):
        given = vectors.clone().requires_grad_()
        if ours:
            found = SHOWN["contrastive_loss"](*SHOWN["pair_similarities"](given, labels), 0.3, 20.0, 2.0)
        else:
            found = pccl(F.normalize(given, dim=1), labels, margin=0.3, gamma=20.0, k=2.0)
        gradients.append((found.detach(), torch.autograd.grad(found, given)[0]))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    texts = unit(torch.randn(5, 6, generator=generator))
    shown = SHOWN["class_scores"](texts, unit(vectors), labels, 3)
    assert torch.allclose(shown, similarities(texts, unit(vectors), labels, 3, "nearest"), atol=1e-6)
