"""Right and wrong answers to the exercises of lesson 04/05."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from labkit.checks.elastic import _importance, _latency_weights, _rewired, _search, _sizes_loss

# Right


def importance_by_autograd(states, gradients, groups):
    mask = torch.ones(groups, requires_grad=True)
    masked = states * mask.repeat_interleave(states.shape[-1] // groups)
    (masked * gradients).sum().backward()
    return mask.grad.abs()


def importance_by_loops(states, gradients, groups):
    size = states.shape[-1] // groups
    product = (states * gradients).flatten(0, 1).sum(0)
    return torch.stack([sum(product[g * size : (g + 1) * size]).abs() for g in range(groups)])


def importance_by_einsum(states, gradients, groups):
    return torch.einsum("btn,btn->n", states, gradients).view(groups, -1).sum(1).abs()


def rewired_by_sorting(inner, bias, outer, scores):
    order = sorted(range(len(scores)), key=lambda n: -float(scores[n]))
    return torch.stack([inner[n] for n in order]), bias[order], torch.stack([outer[:, n] for n in order], 1)


def rewired_by_a_permutation(inner, bias, outer, scores):
    turn = F.one_hot(scores.sort(descending=True).indices, len(scores)).float()
    return [turn @ inner, turn @ bias, outer @ turn.T]


def rewired_in_numpy(inner, bias, outer, scores):
    order = torch.from_numpy(np.argsort(-scores.numpy()).copy())
    return inner.index_select(0, order), bias.index_select(0, order), outer.index_select(1, order)


def loss_by_loops(logits, target):
    total = 0.0
    for one in logits:
        for row, told in zip(one.log_softmax(-1), target.softmax(-1), strict=True):
            total = total - (row * told).sum()
    return total / len(logits) / len(target)


def loss_by_the_library(logits, target):
    return sum(F.cross_entropy(one, target.softmax(1)) for one in logits) / len(logits)


def loss_stacked(logits, target):
    return -(logits.log_softmax(-1) * target.softmax(-1)).sum(-1).mean()


def weights_by_normal_equations(features, ms):
    return np.linalg.solve(features.T @ features, features.T @ ms)


def weights_in_torch(features, ms):
    return torch.linalg.lstsq(torch.tensor(features), torch.tensor(ms)[:, None]).solution[:, 0]


def weights_by_the_pseudoinverse(features, ms):
    return (np.linalg.pinv(features) @ ms).tolist()


def search_by_lists(first, children, score, seconds, limit, rounds, keep):
    found = []
    pool = list(first)
    for number in range(rounds + 1):
        for one in pool:
            if seconds(one) <= limit and one not in [other for _, other in found]:
                found.append((score(one), one))
        found.sort(reverse=True)
        if number < rounds:
            pool = children([one for _, one in found[:keep]])
    return found[0][1]


def search_that_keeps_only_the_best(first, children, score, seconds, limit, rounds, keep):
    seen, best = {}, []
    new = first
    for step in range(rounds + 1):
        new = [one for one in new if one not in seen and seconds(one) <= limit]
        for one in new:
            if one not in seen:
                seen[one] = score(one)
        best = sorted({*best, *new}, key=seen.get)[-keep:]
        new = children(best) if step < rounds else []
    return max(seen, key=seen.get)


def search_with_a_memory(first, children, score, seconds, limit, rounds, keep):
    memory = {}

    def value(one):
        if one not in memory:
            memory[one] = score(one) if seconds(one) <= limit else float("-inf")
        return memory[one]

    pool = set(first)
    for _ in range(rounds):
        parents = [one for one in sorted(pool, key=value, reverse=True) if value(one) > float("-inf")][:keep]
        pool |= set(children(parents))
    return max(pool, key=value)


RIGHT = {
    "importance": [importance_by_autograd, importance_by_loops, importance_by_einsum],
    "rewired": [rewired_by_sorting, rewired_by_a_permutation, rewired_in_numpy],
    "sizes_loss": [loss_by_loops, loss_by_the_library, loss_stacked],
    "latency_weights": [weights_by_normal_equations, weights_in_torch, weights_by_the_pseudoinverse],
    "search": [search_by_lists, search_that_keeps_only_the_best, search_with_a_memory],
}


# Wrong


def grouped(rule):
    """A rule of states times gradients in their groups, (batch, tokens, groups, size)."""
    return lambda states, gradients, groups: rule((states * gradients).unflatten(-1, (groups, -1)))


def moved(inner=True, bias=True, outer=True, order=lambda scores: scores.argsort(descending=True)):
    def found(w_in, b, w_out, scores):
        new = order(scores)
        return w_in[new] if inner else w_in, b[new] if bias else b, w_out[:, new] if outer else w_out

    return found


def hunt(of_first=True, of_children=True, within=lambda a, b: a <= b, more=0, best=max, memory=True, cut=True):
    def found(first, children, score, seconds, limit, rounds, keep):
        scores = {one: score(one) for one in first if not of_first or within(seconds(one), limit)}
        start = dict(scores)
        for _ in range(rounds + more):
            parents = sorted(scores, key=scores.get, reverse=True)[: keep if cut else None]
            new = [one for one in children(parents) if not of_children or within(seconds(one), limit)]
            for one in new:
                if not memory or one not in scores:
                    scores[one] = score(one)
        return best(scores if rounds + more > 0 else start, key=scores.get)

    return found


def last_generation(first, children, score, seconds, limit, rounds, keep):
    scores, pool = {}, first
    for number in range(rounds + 1):
        pool = [one for one in dict.fromkeys(pool) if seconds(one) <= limit]
        scores |= {one: score(one) for one in pool if one not in scores}
        if number < rounds:
            pool = children(sorted(pool, key=scores.get, reverse=True)[:keep])
    return max(pool, key=scores.get)


def scored_before_asked(first, children, score, seconds, limit, rounds, keep):
    def both(one):
        return score(one) if score(one) is not None and seconds(one) <= limit else float("-inf")

    return _search(first, children, both, lambda one: 0.0, limit, rounds, keep)


WRONG = {
    "importance": [
        (grouped(lambda p: p.abs().sum((0, 1, 3))), r"\|…\| comes before the sum"),
        (grouped(lambda p: p.sum((0, 1, 3))), "the sign is still there"),
        (grouped(lambda p: p.mean((0, 1, 3)).abs()), "this is a mean"),
        (grouped(lambda p: p.sum((1, 3)).abs().sum(0)), "wanted: states times gradients"),
        (lambda s, g, n: _importance(torch.ones_like(s), g, n), "the states are missing"),
        (lambda s, g, n: _importance(s, torch.ones_like(g), n), "the gradients are missing"),
        (lambda s, g, n: (s * g).unflatten(-1, (-1, n)).sum((0, 1, 2)).abs(), "the groups are mixed"),
        (lambda s, g, n: (s * g).sum((0, 1)).abs(), r"shape \(6,\)"),
        (lambda s, g, n: _importance(s, g, n).tolist(), "torch tensor, not list"),
        (lambda s, g, n: _importance(s, g, n) * (n < 5), "right for three groups, but not"),
    ],
    "rewired": [
        (moved(order=lambda s: s.argsort()), "the least important neuron comes first"),
        (moved(order=lambda s: s.argsort(descending=True).argsort()), "ranks, used as their places"),
        (moved(outer=False), "outer is as it was"),
        (moved(bias=False), "bias is as it was"),
        (moved(inner=False), "inner is as it was"),
        (lambda w, b, o, s: (*_rewired(w, b, o, s)[:2], o[s.argsort(descending=True)]), "outer: the other dimension"),
        (lambda w, b, o, s: (w[:, s.argsort(descending=True)], *_rewired(w, b, o, s)[1:]), "inner: the other dimension"),
        (lambda w, b, o, s: _rewired(w, b, o, s)[:2], "3 results are wanted"),
        (lambda w, b, o, s: _rewired(w, b, o, s)[::-1], r"inner: the neurons should stand"),
        (lambda w, b, o, s: (w[:2], b[:2], o[:, :2]), r"inner has shape \(2, 5\)"),
    ],
    "sizes_loss": [
        (lambda z, t: _sizes_loss(z, t) * len(z), "sum over the sizes"),
        (lambda z, t: -_sizes_loss(z, t), "sign is the wrong way round"),
        (lambda z, t: _sizes_loss(z[:1], t), "first size alone"),
        (lambda z, t: _sizes_loss(z[-1:], t), "last size alone"),
        (lambda z, t: -sum((t.softmax(1) * one.log_softmax(1)).mean() for one in z) / len(z), "over the classes too"),
        (lambda z, t: _sizes_loss(z, t) * len(t), "sum over the texts"),
        (lambda z, t: sum(F.cross_entropy(one, t.argmax(1)) for one in z) / len(z), "as a hard label"),
        (lambda z, t: sum(F.cross_entropy(one, t) for one in z) / len(z), "logits are no shares"),
        (
            lambda z, t: sum(F.kl_div(one.log_softmax(1), t.softmax(1), reduction="batchmean") for one in z) / len(z),
            "without the teacher's own entropy",
        ),
        (lambda z, t: _sizes_loss(z.detach(), t), "carries no gradient"),
        (lambda z, t: _sizes_loss(torch.cat([z[:1], z[1:].detach()]), t), "every size learns"),
        (lambda z, t: -(t.softmax(1) * z.log_softmax(1)).sum(2).mean(), "runs over the texts"),
        (lambda z, t: _sizes_loss(z, t).item(), "a plain number"),
        (lambda z, t: torch.stack([F.cross_entropy(one, t.softmax(1)) for one in z]), "is the mean missing"),
    ],
    "latency_weights": [
        (lambda x, ms: np.linalg.solve(x[: x.shape[1]], ms[: x.shape[1]]), "only the first 3 networks are used"),
        (lambda x, ms: np.linalg.lstsq(x, ms, rcond=None), "4 weights for 2 columns"),
        (lambda x, ms: _latency_weights(x[:, 1:], ms), "1 weights for 2 columns"),
        (lambda x, ms: x @ _latency_weights(x, ms), "3 weights for 2 columns"),
        (lambda x, ms: _latency_weights(x, ms)[::-1], "three networks on one line: your weights miss"),
        (lambda x, ms: np.append(np.median(ms - x[:, 1:] @ (w := _latency_weights(x, ms)[1:])), w), "with noise: your weights miss"),
        (lambda x, ms: float(ms.mean()), "one for each column"),
    ],
    "search": [
        (hunt(of_first=False), "of the first networks too"),
        (hunt(of_children=False), "takes 12 seconds, and the limit is 10"),
        (hunt(within=lambda a, b: a < b), "<=, not <"),
        (hunt(best=min), "it is the worst"),
        (hunt(more=-5), "no child was taken"),
        (last_generation, "keep what was found before"),
        (hunt(memory=False), "scored 2 times"),
        (hunt(cut=False), "only the best 2 should be"),
        (scored_before_asked, "though it takes longer than the limit"),
        (hunt(more=1), "fewer|more than three rounds lead|called 6 times in 5"),
        (lambda *given: [_search(*given)], "one network is wanted"),
    ],
}  # fmt: skip
