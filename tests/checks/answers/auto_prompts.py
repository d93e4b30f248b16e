"""Right and wrong answers to the exercises of lesson 03/05."""

from __future__ import annotations

import heapq
import itertools
import math

import numpy as np
import torch


def right(scores, gains):
    return scores[:, None] + gains.sum(1)


def beam(total, largest=True):
    """A `beam_step` that takes the best of `total(scores, gains)`, (beams, vocabulary)."""

    def step(scores, gains, width):
        values, place = total(scores, gains).flatten().topk(width, largest=largest)
        return values, place // gains.shape[2], place % gains.shape[2]

    return step


def changed(change):
    """The right step with its result changed."""
    return lambda s, g, k: change(*beam(right)(s, g, k))


def by_heap(scores, gains, width):
    every = []
    for parent, score in enumerate(scores.tolist()):
        for word in range(gains.shape[2]):
            every.append((score + sum(row[word].item() for row in gains[parent]), parent, word))
    best = heapq.nlargest(width, every)
    return [torch.tensor(column) for column in zip(*best, strict=True)]


def by_numpy(scores, gains, width):
    total = scores.numpy()[:, None] + gains.numpy().sum(1)
    order = np.argsort(-total, axis=None)[:width]
    parents, words = np.unravel_index(order, total.shape)
    return tuple(torch.from_numpy(one) for one in (total[parents, words], parents, words))


def beam_by_beam(scores, gains, width):
    """The best few of each beam first, then the best of all these."""
    few = min(width, gains.shape[2])
    values, words = (scores.view(-1, 1) + gains.sum(dim=1)).sort(dim=1, descending=True)
    parents = torch.arange(len(scores)).repeat_interleave(few)
    values, order = values[:, :few].reshape(-1).sort(descending=True)
    return values[:width], parents[order][:width].int(), words[:, :few].reshape(-1)[order][:width].int()


def one_each(scores, gains, width):
    values, words = right(scores, gains).max(1)
    return values, torch.arange(width), words


def as_many_as_beams(scores, gains, width):
    return beam(right)(scores, gains, len(scores))


def a_word_each(scores, gains, width):
    """The best of all for which no parent has more than two words."""
    total = right(scores, gains)
    second = total.topk(2, 1).values[:, 1:]
    return beam(lambda s, g: torch.where(total < second, total - 100, total))(scores, gains, width)


def by_value(scores, gains, width):
    total = right(scores, gains)
    values = total.flatten().sort(descending=True).values[:width]
    places = [(total == value).nonzero()[0] for value in values]
    return values, torch.stack([p[0] for p in places]), torch.stack([p[1] for p in places])


def adds_in_place(scores, gains, width):
    gains[:, 0] += scores[:, None]
    values, place = gains.sum(1).flatten().topk(width)
    return values, place // gains.shape[2], place % gains.shape[2]


def ranked(value):
    """A `rank_words` that sorts by `value(rows of the class)`."""
    return lambda s, y, k: torch.stack([value(s[y == c]).topk(k).indices for c in range(int(y.max()) + 1)])


words = ranked(lambda rows: rows.sum(0))


def by_indicator(s, y, k):
    members = torch.nn.functional.one_hot(y).to(s.dtype)  # (rows, classes)
    return (members.T @ s).argsort(1, descending=True)[:, :k]


def row_after_row(s, y, k):
    sums = torch.zeros(len(set(y.tolist())), s.shape[1]).index_add(0, y, s)
    return torch.tensor([sorted(range(len(one)), key=lambda word: -one[word])[:k] for one in sums])


def means_in_numpy(s, y, k):
    s, y = s.numpy(), y.numpy()
    return torch.from_numpy(np.stack([np.argsort(-s[y == c].mean(0))[:k].astype(np.int32) for c in np.unique(y)]))


def words_by_value(s, y, k):
    found = []
    for c in range(int(y.max()) + 1):
        sums = s[y == c].sum(0)
        found.append(torch.stack([(sums == value).nonzero()[0, 0] for value in sums.topk(k).values]))
    return torch.stack(found)


def step_by_step(g, e, n):
    slope = sum(g)
    return torch.stack([(word - e[n]) @ slope for word in e])


def subtracts_in_place(g, e, n):
    e -= e[n].clone()
    return e @ g.sum(0)


def pair_by_loop(s, y, k):
    best, most = None, -1.0
    for a in words(s, y, k)[0].tolist():
        for b in words(s, y, k)[1].tolist():
            share = sum(int(bool(row[b] > row[a]) == bool(label)) for row, label in zip(s, y, strict=True)) / len(y)
            if share > most:
                best, most = torch.tensor([a, b]), share
    return best, most


def pair_by_product(s, y, k):
    pairs = torch.cartesian_prod(*words(s, y, k))
    shares = (s[:, pairs].argmax(2) == y[:, None]).double().mean(0)
    return pairs[shares.argmax()], shares.max()


def pair_in_numpy(s, y, k):
    a, b = (one.numpy() for one in words(s, y, k))
    gap = s.numpy()[:, b][:, None, :] - s.numpy()[:, a][:, :, None]
    shares = ((gap > 0) == y.numpy().astype(bool)[:, None, None]).mean(0)
    i, j = np.unravel_index(shares.argmax(), shares.shape)
    return [torch.tensor([int(a[i]), int(b[j])]), shares[i, j]]


def told(change):
    """The right pair with its result changed."""
    return lambda s, y, k: change(s, y, k, *pair_by_product(s, y, k))


def worst_pair(s, y, k):
    pairs = torch.cartesian_prod(*words(s, y, k))
    shares = (s[:, pairs].argmax(2) == y[:, None]).double().mean(0)
    return pairs[shares.argmin()], shares.min()


def likeliest(s, y, k):
    pair = words(s, y, k)[:, 0]
    return pair, (s[:, pair].argmax(1) == y).float().mean()


def cumulated(m, p):
    terms = [math.comb(m, b) * p**b * (1 - p) ** (m - b) for b in range(m + 1)]
    return list(itertools.accumulate(terms))


def by_definition(n, m, p):
    """Σ b · P(the best has b right rows) / m."""
    upto = [0.0, *(one**n for one in cumulated(m, p))]
    return sum(b * (upto[b + 1] - upto[b]) for b in range(m + 1)) / m


def best_in_numpy(n, m, p):
    return (1 - np.array(cumulated(m, p))[:m] ** n).sum() / m


def best_in_torch(n, m, p):
    row = torch.distributions.Binomial(m, torch.tensor(p, dtype=torch.float64))
    below = row.log_prob(torch.arange(m, dtype=torch.float64)).exp().cumsum(0)
    return float((1 - below**n).mean())


unit = torch.nn.functional.normalize

RIGHT = {
    "beam_step": [by_heap, by_numpy, beam_by_beam],
    "rank_words": [by_indicator, row_after_row, means_in_numpy],
    "best_pair": [pair_by_loop, pair_by_product, pair_in_numpy],
    "expected_best": [by_definition, best_in_numpy, best_in_torch],
    "first_order": [
        step_by_step,
        lambda g, e, n: (g @ e.T).sum(0) - (g @ e[n]).sum(),
        lambda g, e, n: torch.einsum("wd,rd->w", e - e[n], g),
        lambda g, e, n: torch.from_numpy((e.numpy() - e.numpy()[n]) @ g.numpy().sum(0)),
    ],
}

WRONG = {
    "beam_step": [
        (beam(lambda s, g: g.sum(1)), "scores so far are missing"),
        (beam(lambda s, g: s[:, None] + g.mean(1)), "averaged over the rows"),
        (beam(lambda s, g: s[:, None] + g[:, 0]), "only the first row"),
        (beam(lambda s, g: s[:, None] * g.sum(1)), "multiplied scores"),
        (beam(lambda s, g: s[:, None] + g.exp().sum(1).log()), "fits some row"),
        (beam(lambda s, g: s[:, None] + g.exp().sum(1)), "sums of probabilities"),
        (beam(right, largest=False), "worst continuations"),
        (one_each, "its own best word"),
        (as_many_as_beams, r"a width of 5, with beams so far: 1, scores has shape \(1,\)"),
        (a_word_each, "wrong for 1 with a width of 5"),
        (by_value, "one stands in the result twice"),
        (adds_in_place, "changed `"),
        (changed(lambda v, p, w: (v.flip(0), p.flip(0), w.flip(0))), "in another order"),
        (changed(lambda v, p, w: (v, w, p)), "exchanged"),
        (changed(lambda v, p, w: (v, p, p * 7 + w)), "parents or words are not"),
        (changed(lambda v, p, w: v), "three tensors"),
        (changed(lambda v, p, w: (v, p.float(), w)), "whole numbers"),
        (changed(lambda v, p, w: (v, p.tolist(), w)), "parents should be a torch tensor, not list"),
        (changed(lambda v, p, w: (v, p, None)), "words is None"),
        (changed(lambda v, p, w: (v + 1, p, w)), "3 largest"),
    ],
    "rank_words": [
        (lambda s, y, k: s.sum(0).topk(k).indices.expand(3, k), "same words"),
        (lambda s, y, k: torch.stack([s[y != c].sum(0).topk(k).indices for c in range(3)]), "not !="),
        (ranked(lambda rows: rows.exp().sum(0)), "added probabilities"),
        (ranked(lambda rows: rows.amax(0)), "best row"),
        (ranked(lambda rows: rows[0]), "only the first row"),
        (ranked(lambda rows: -rows.sum(0)), "least likely"),
        (ranked(lambda rows: rows.exp().prod(0)), "a product of so many probabilities"),
        (lambda s, y, k: words(s, y, k).flip(1), "low to high"),
        (lambda s, y, k: words(s, y, k).sort(1).values, "sorted by number"),
        (lambda s, y, k: words(s, y, k)[list(dict.fromkeys(y.tolist()))], "order in which the labels name them"),
        (words_by_value, "stands in a row twice"),
        (lambda s, y, k: torch.stack([s[y == c].sum(0).topk(k).values for c in range(3)]), "whole numbers"),
        (lambda s, y, k: words(s, y, k).T, r"shape \(4, 3\)"),
        (lambda s, y, k: words(s, y, k) + 50, "word ids run from 0"),
        (lambda s, y, k: words(s, y, k).tolist(), "not list: torch.stack"),
        (ranked(lambda rows: rows.sum(0).roll(1)), "row c should hold"),
        (lambda s, y, k: words(s.sub_(1), y, k), "changed `"),
    ],
    "first_order": [
        (lambda g, e, n: -((e - e[n]) @ g.sum(0)), "sign is wrong"),
        (lambda g, e, n: e @ g.sum(0), "stands there now is missing"),
        (lambda g, e, n: (e - e[n]) @ g.mean(0), "averaged the gradients"),
        (lambda g, e, n: (e - e[n]) @ g[0], "only the first row"),
        (lambda g, e, n: (e + e[n]) @ g.sum(0), "not the sum"),
        (lambda g, e, n: torch.cosine_similarity(e, g.sum(0)[None]), "this is a cosine"),
        (lambda g, e, n: (e - e[n]) @ unit(g.sum(0), dim=0), "divided the gradient by its length"),
        (lambda g, e, n: (e - e[n]).abs() @ g.sum(0).abs(), "lose the direction"),
        (lambda g, e, n: (e - e.mean(0)) @ g.sum(0), "the mean embedding"),
        (lambda g, e, n: (e - e[3]) @ g.sum(0), "another word in place"),
        (lambda g, e, n: (e - e[n]) @ g.T, r"shape \(9, 5\)"),
        (lambda g, e, n: (e - e[n]) @ g.mean(0) * 5, "wrong for one"),
        (lambda g, e, n: (e - e[n]) / (e - e[n]).norm(dim=1, keepdim=True) @ g.sum(0), "NaN: 0 divided by 0, where the step"),
        (subtracts_in_place, "changed `"),
        (lambda g, e, n: (e - e[n]) @ g.sum(0) + 1, "for each word w"),
    ],
    "best_pair": [
        (likeliest, "the likeliest words of both classes"),
        (worst_pair, "another pair does better"),
        (told(lambda s, y, k, pair, share: (pair.flip(0), share)), "classes exchanged"),
        (told(lambda s, y, k, pair, share: (pair, share * len(y))), "the number of right rows"),
        (told(lambda s, y, k, pair, share: (pair, 100 * share)), "in per cent"),
        (told(lambda s, y, k, pair, share: (pair, 1 - share)), "share of wrong rows"),
        (told(lambda s, y, k, pair, share: (pair, share / 2)), "of the rows, not in"),
        (told(lambda s, y, k, pair, share: (pair + 100, share)), "not places in the lists"),
        (told(lambda s, y, k, pair, share: (pair.tolist(), share)), "the pair should be a torch tensor"),
        (told(lambda s, y, k, pair, share: pair), "the pair has shape"),
        (lambda s, y, k: pair_by_product(s, y, 4), "wrong for 9 rows and k = 6"),
    ],
    "expected_best": [
        (lambda n, m, p: p, "what each is worth"),
        (lambda n, m, p: by_definition(n, m, p) * m, "a number of rows"),
        (lambda n, m, p: sum(1 - one**n for one in [0, *cumulated(m, p)][:m]) / m, "is not P"),
        (lambda n, m, p: 1 - (1 - p) ** n, "on a single row"),
        (lambda n, m, p: sum(1 - (1 - one) ** n for one in cumulated(m, p)[:m]) / m, "worst of n"),
        (lambda n, m, p: sum(1 - n * one for one in cumulated(m, p)[:m]) / m, "not n times P"),
        (lambda n, m, p: by_definition(n, m, p) + 0.01, "should score 0.3000, not 0.3100"),
        (lambda n, m, p: [by_definition(n, m, p)] * 2, "one number, not list"),
    ],
}  # fmt: skip
