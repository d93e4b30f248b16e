"""Right and wrong answers to the exercises of lesson 03/04."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch.nn import functional as F

from labkit.fewshot.cp_tuning import pccl


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


# Right, in several styles


def nearest_by_loops(texts, support, labels, classes):
    rows = []
    for text in texts:
        best = [-2.0] * classes
        for one, label in zip(support, labels.tolist(), strict=True):
            best[label] = max(best[label], float(text @ one))
        rows.append(best)
    return torch.tensor(rows)


def nearest_in_numpy(texts, support, labels, classes):
    near, labels = texts.numpy() @ support.numpy().T, labels.numpy()
    return torch.from_numpy(np.stack([near[:, labels == c].max(axis=1) for c in range(classes)], axis=1))


def nearest_by_scatter(texts, support, labels, classes):
    near = torch.einsum("bd,nd->bn", texts, support)
    start = torch.full((len(texts), classes), -math.inf)
    return start.scatter_reduce(1, labels.expand(len(texts), -1), near, "amax")


def pairs_by_loops(vectors, labels):
    like, unlike = [], []
    for i in range(len(labels)):
        for j in range(i):
            s = torch.cosine_similarity(vectors[i], vectors[j], dim=0)
            (like if labels[i] == labels[j] else unlike).append(s)
    return [torch.stack(like), torch.stack(unlike)]


def pairs_by_combinations(vectors, labels):
    f = vectors / vectors.pow(2).sum(1).sqrt()[:, None]
    i, j = zip(*itertools.combinations(range(len(f)), 2), strict=True)
    s, same = (f[list(i)] * f[list(j)]).sum(-1), labels[list(i)] == labels[list(j)]
    return s.masked_select(same), s.masked_select(~same)


def pairs_below_the_diagonal(v, y):
    s, lower = F.cosine_similarity(v[:, None], v[None], dim=2), torch.ones(len(v), len(v)).tril(-1)
    same = (y.unsqueeze(0) == y.unsqueeze(1)).float()
    return s[(same * lower).bool()], s[((1 - same) * lower).nonzero(as_tuple=True)]


def costs_without_history(p, n, m, k):
    with torch.no_grad():
        return [F.relu(1 + m - p) / k, F.relu(n + m)]


def costs_in_numpy(p, n, m, k):
    p, n = p.detach().numpy(), n.detach().numpy()
    return torch.from_numpy(np.maximum(1 + m - p, 0) / k), torch.from_numpy(np.maximum(n + m, 0))


def costs_one_by_one(p, n, m, k):
    return torch.tensor([(1 + m - s) / k for s in p.tolist()]), torch.tensor([max(0.0, s + m) for s in n.tolist()])


def loss_by_hand(like, unlike, m, gamma, k):
    """The largest exponent of each kind is taken out, as logsumexp does."""
    sums = []
    for exponents in (
        [gamma * max(s.item() + m, 0) * (s - m) for s in unlike],
        [-gamma * (1 + m - s.item()) / k * (s - 1 + m) for s in like],
    ):
        top = max(e.item() for e in exponents)
        sums.append(top + torch.log(sum(torch.exp(e - top) for e in exponents)))
    z = sums[0] + sums[1]
    return z.clamp(min=0) + torch.log1p(torch.exp(-z.abs()))


def loss_by_logaddexp(p, n, m, g, k):
    a_p, a_n = costs_without_history(p, n, m, k)
    z = torch.logsumexp(g * a_n * (n - m), 0) - -torch.logsumexp(g * a_p * (1 - m - p), 0)
    return torch.logaddexp(torch.zeros_like(z), z)


def loss_of_pairs_of_pairs(p, n, m, g, k):
    """log Σ exp over all (unlike, like) of the two exponents' sum is the same, and so is softplus with a 0 among them."""
    a_p, a_n = costs(p, n, m, k)
    both = g * a_n * (n - m) - (g * a_p * (p - 1 + m))[:, None]
    return torch.cat([both.flatten(), torch.zeros(1)]).logsumexp(0)


def together(v, y):
    return loss(*pairs(unit(v), y), 0.4, 64, 1)


def together_by_the_library(v, y):
    return pccl(F.normalize(v, dim=-1), y)


RIGHT = {
    "class_scores": [nearest_by_loops, nearest_in_numpy, nearest_by_scatter],
    "pair_similarities": [pairs_by_loops, pairs_by_combinations, pairs_below_the_diagonal],
    "pair_weights": [costs_without_history, costs_in_numpy, costs_one_by_one],
    "contrastive_loss": [loss_by_hand, loss_by_logaddexp, loss_of_pairs_of_pairs],
    "training_loss": [
        together,
        together_by_the_library,
        lambda v, y: loss_by_hand(*pairs_by_loops(v, y), m=0.4, gamma=64.0, k=1.0),
    ],
}


# Wrong


WRONG = {
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
        (lambda v, y: pairs(v / v.norm(dim=1, keepdim=True).detach(), y), "detach neither"),
        (lambda v, y: (pairs(unit(v), y)[0], pairs(unit(v), y)[1].detach()), "of unlike pairs carries no gradient"),
        (lambda v, y: tuple(torch.tensor(some.tolist()) for some in pairs(unit(v), y)), "of like pairs carries no gradient"),
        (lambda v, y: tuple(some[some < 0.9999] for some in pairs(unit(v), y)), "not by their values"),
        (lambda v, y: tuple(some.tolist() for some in pairs(unit(v), y)), "torch tensor, not list"),
        (lambda v, y: pairs(unit(v), y, lambda s: s.triu(2)), "you gave"),
        (lambda v, y: unit(v) @ unit(v).T, r"two results are wanted.*shape \(6, 6\)"),
        (lambda v, y: (unit(v) @ unit(v).T, unit(v) @ unit(v).T), "should have one dimension"),
        (lambda v, y: tuple(-some for some in pairs(unit(v), y)), "other values"),
    ],
    "pair_weights": [
        (lambda p, n, m, k: (costs(p, n, m, 1)), "a_p is not divided"),
        (lambda p, n, m, k: (costs(p, n, m, 1 / k)), "a_p is multiplied"),
        (lambda p, n, m, k: ((1 - m - p).clamp(min=0) / k, costs(p, n, m, k)[1]), r"\[1 − m − s_p\]₊ is 0"),
        (lambda p, n, m, k: ((1 - m - p) / k, costs(p, n, m, k)[1]), "1 \\+ m, not 1 − m"),
        (lambda p, n, m, k: ((p - 1 - m).clamp(min=0) / k, costs(p, n, m, k)[1]), "a_p is 0 for every pair"),
        (lambda p, n, m, k: ((p + m) / k, costs(p, n, m, k)[1]), "a_p grows"),
        (lambda p, n, m, k: (torch.ones(3) / k, costs(p, n, m, k)[1]), "a_p is the same"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], n + m), "a_n is negative"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], costs(p, n, m, k)[1] / k), "a_n is divided by k"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], (n - m).clamp(min=0)), "margin of a_n is on the wrong side"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], (n + m).abs()), "absolute value"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], n * 3), r"a_n should be"),
        (lambda p, n, m, k: (p * 3, n * 3), r"a_p should be"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], n.clamp(min=0) + m), "before m is added"),
        (lambda p, n, m, k: costs(p, n, m, k, flows=True), "runs through a_p and a_n"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], costs(p, n, m, k, flows=True)[1]), "runs through a_n:"),
        (lambda p, n, m, k: costs(p, n, m, k)[0], "two results are wanted"),
        (lambda p, n, m, k: costs(p, n, m, k)[::-1], "the two are exchanged"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], n.detach().add_(m).clamp_(min=0)), "changed `"),
        (lambda p, n, m, k: costs(p, n, 0.4, k), "a_p is right for m = 0.4"),
        (lambda p, n, m, k: (costs(p, n, m, k)[0], costs(p, n, 0.4, k)[1]), "a_n is right for m = 0.4"),
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
        (planted(a=lambda m, g, k: lambda p, n, *_: (torch.ones(3), torch.ones(4))), "costs a_p and a_n are missing"),
        (lambda p, n, m, g, k: loss(p, n, m, g, 1), "k is missing"),
        (lambda p, n, m, g, k: loss(p, n, m, g, 1 / k), "k multiplies a_p"),
        (planted(push=lambda m, g, k: lambda s, c: g * c / k * (s - m)), "k divides a_n too"),
        (planted(a=lambda m, g, k: lambda p, n, *_: ((1 + m - p).detach() / k, (n + m).detach())), "a_n is not cut off"),
        (planted(a=lambda m, g, k: lambda p, n, *_: costs(p, n, m, k, flows=True)), "also runs through the costs"),
        (planted(pull=lambda m, g, k: lambda s, c: -g * c * (s.detach() - 1 + m)), "no gradient reaches the like pairs"),
        (planted(a=lambda m, g, k: lambda p, n, *_: (costs(p, n, m, k, flows=True)[0], costs(p, n, m, k)[1])), "its gradient is not: both costs"),
        (lambda p, n, m, g, k: loss(p.detach(), n.detach(), m, g, k), "carries no gradient"),
        (planted(end=lambda m, g, k: lambda x, y: torch.log1p(x.exp().sum() * y.exp().sum())), "exp overflows"),
        (lambda p, n, m, g, k: loss(p, n, 0.4, g, k), "but not for m = 0.25"),
        (lambda p, n, m, g, k: loss(p, n.detach().sub_(0) * 1, m, g, k), "no gradient reaches the unlike pairs"),
        (lambda p, n, m, g, k: loss(p, n, m, g, k).item(), "torch tensor, not float"),
        (lambda p, n, m, g, k: loss(p, n, m, g, k) + 0 * n.detach().add_(m).sum(), "changed `"),
        (planted(end=lambda m, g, k: lambda x, y: x), r"shape \(3,\)"),
        (planted(end=lambda m, g, k: lambda x, y: x.sum() * 0), "wanted: softplus"),
    ],
    "class_scores": [
        (scores(lambda near: near.mean(1)), "you averaged over each class"),
        (scores(lambda near: near.sum(1)), "you added up"),
        (scores(lambda near: near.amin(1)), "farthest"),
        (scores(lambda near: near[:, 0]), "first text of each class"),
        (lambda x, s, y, c: F.pad(nearest_by_loops(x, s, y, c), (0, 3 - c)), r"two classes, the result has shape \(1, 3\)"),
        (lambda x, s, y, c: scores(lambda near: near.argmax(1))(x, s, y, c), "floating-point"),
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
    "training_loss": [
        (lambda v, y: loss(*pairs(unit(v), y)[::-1], 0.4, 64, 1), "kinds of pairs are exchanged"),
        (lambda v, y: loss(*pairs(v, y), 0.4, 64, 1), "length 1"),
        (lambda v, y: loss(*pairs(unit(v), y), 0.4, 1, 64), "γ and k are exchanged"),
        (lambda v, y: loss(*pairs(unit(v), y), 64, 0.4, 1), "m and γ are exchanged"),
        (lambda v, y: loss(*pairs(unit(v), y), 0.4, 1, 1), "γ is 1 here"),
        (lambda v, y: loss(*pairs(unit(v), y), 0.0, 64, 1), "m is 0 here"),
        (lambda v, y: loss(*pairs(unit(v), y), 0.4, 64, 2), "wanted: contrastive_loss"),
        (lambda v, y: loss(*pairs(unit(v), y), 0.4, 64, 1).item(), "not float"),
        (lambda v, y: loss(*pairs(unit(v.detach()), y), 0.4, 64, 1), "carries no gradient"),
        (lambda v, y: loss(*pairs(v / v.norm(dim=1, keepdim=True).detach(), y), 0.4, 64, 1), "its gradient is not"),
        (lambda v, y: loss(*pairs(unit(v), y.clamp(max=1)), 0.4, 64, 1), "classes 7, 7 and 2"),
        (lambda v, y: pairs(unit(v), y), "torch tensor, not tuple"),
    ],
}  # fmt: skip
