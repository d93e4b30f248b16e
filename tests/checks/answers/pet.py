"""Right and wrong answers to the exercises of lesson 03/02."""

from __future__ import annotations

import numpy as np
import torch


def one_by_one(z, w):
    """PET's probabilities, a row and a class at a time."""
    rows = []
    for row in z:
        powers = [torch.exp(row[i] - row[w].max()) for i in w]
        rows.append(torch.stack([power / sum(powers) for power in powers]))
    return torch.stack(rows)


def in_numpy(z, w):
    picked = z.numpy()[:, w.numpy()]
    powers = np.exp(picked - picked.max(1, keepdims=True))
    return torch.from_numpy(powers / powers.sum(1, keepdims=True))


def by_ratio(z, w):
    """1 / Σ e^(z' − z): every class beside every other."""
    picked = z.gather(1, w.expand(len(z), -1))
    return 1 / (picked[:, None, :] - picked[:, :, None]).exp().sum(2)


def sums_of_classes(z, w):
    p = torch.softmax(z, dim=-1)
    mass = torch.stack([sum(p[:, word] for word in own) for own in w], 1)
    return mass / mass.sum(1)[:, None]


def fuzzy_in_numpy(z, w):
    p = np.exp(z.numpy() - z.numpy().max(1, keepdims=True))
    mass = p[:, w.numpy()].sum(2)
    return torch.from_numpy(mass / mass.sum(1, keepdims=True))


def model_by_model(s, w, t):
    total = torch.zeros_like(s[0])
    for score, weight in zip(s, w, strict=True):
        total = total + weight * score
    return torch.nn.functional.softmax(total / sum(w) / t, dim=1)


def by_sorting(p, k):
    rows = sorted(((float(p[r].max()), r, int(p[r].argmax())) for r in range(len(p))), key=lambda one: -one[0])
    return [(r, c) for label in range(p.shape[1]) for _, r, c in [one for one in rows if one[2] == label][:k]]


def by_hiding(p, k):
    """The surest of each class by topk, the rows of other classes hidden."""
    chosen, answers = [], p.argmax(1)
    for c in range(p.shape[1]):
        own = torch.where(answers == c, p[:, c], torch.tensor(-1.0))
        value, row = own.topk(min(k, len(p)))
        chosen += [(r, c) for v, r in zip(value.tolist(), row.tolist(), strict=True) if v >= 0]
    return chosen


def by_numpy(p, k):
    p = p.numpy()
    own = [np.flatnonzero(p.argmax(1) == c) for c in range(p.shape[1])]
    return [(row, c) for c, rows in enumerate(own) for row in rows[np.argsort(-p[rows, c])][:k]]


def vote(scores):
    return scores.mean(0).softmax(-1)


def without(scores, own):
    return torch.cat([scores[:own], scores[own + 1 :]])


def generation_in_one(s, k):
    return [by_sorting(vote(without(s, own)), k) for own in range(len(s))]


def by_subtraction(s, k):
    """The others' sum is the sum of all less the own."""
    total = s.sum(0)
    return [by_hiding(torch.softmax((total - own) / (len(s) - 1), 1), k) for own in s]


def generation_with_loops(s, k):
    taught = ()
    for own in range(len(s)):
        mean = sum(s[other] for other in range(len(s)) if other != own) / (len(s) - 1)
        taught = (*taught, by_numpy(mean.exp() / mean.exp().sum(1, keepdim=True), k))
    return taught


RIGHT = {
    "label_probabilities": [one_by_one, by_ratio, lambda z, w: z.index_select(1, w).log_softmax(-1).exp()],
    "fuzzy_probabilities": [sums_of_classes, fuzzy_in_numpy, lambda z, w: z.log_softmax(-1)[:, w].logsumexp(2).softmax(1)],
    "soft_labels": [
        model_by_model,
        lambda s, w, t: torch.einsum("m,mbc->bc", w / w.sum(), s).div(t).softmax(-1),
        lambda s, w, t: torch.softmax(torch.tensordot(w, s, 1) / (w.sum() * t), 1),
    ],
    "most_confident": [by_sorting, by_hiding, by_numpy],
    "generation": [generation_in_one, by_subtraction, generation_with_loops],
}  # fmt: skip


def chosen_by(rows_of):
    """A wrong `most_confident` from a function that gives the pairs."""
    return lambda p, k: [(int(r), int(c)) for r, c in rows_of(p, k)]


def by_column(p, k):
    return [(row, label) for label in range(3) for row in p[:, label].argsort(descending=True)[:k]]


def of_all(p, k):
    return [(row, p[row].argmax()) for row in p.amax(1).argsort(descending=True)[: 3 * k]]


WRONG = {
    "label_probabilities": [
        (lambda z, w: z.softmax(1)[:, w], "whole vocabulary"),
        (lambda z, w: z[:, w].softmax(0), "over the batch"),
        (lambda z, w: z[:, w], "softmax over the classes is still missing"),
        (lambda z, w: z[:, w].log_softmax(1), "log-probabilities"),
        (lambda z, w: z[:, w].sigmoid(), "sigmoid looks at one class"),
        (lambda z, w: z[:, w.sort().values].softmax(1), "do not sort"),
        (lambda z, w: z[:, w].softmax(1).T, r"shape \(3, 5\)"),
        (lambda z, w: z[:, w].exp() / z[:, w].exp().sum(1, keepdim=True), "NaN|overflow"),
        (lambda z, w: z[:, w + 20].softmax(1), "stopped with IndexError"),
        (lambda z, w: z[:, w].flip(1).softmax(1), "to other values"),
        (lambda z, w: z[:, w].relu(), "must sum to 1"),
        (lambda z, w: z[:, w].softmax(1).detach(), "gradient"),
        (in_numpy, r"Can't call numpy\(\)"),
    ],
    "fuzzy_probabilities": [
        (lambda z, w: z.softmax(1)[:, w].sum(2), "divide each class's sum"),
        (lambda z, w: z[:, w].sum(2).softmax(1), "added the words' logits"),
        (lambda z, w: z[:, w].mean(2).softmax(1), "averaged the words' logits"),
        (lambda z, w: z[:, w].softmax(1).mean(2), "every set of words"),
        (lambda z, w: z[:, w].amax(2).softmax(1), "likeliest word"),
        (lambda z, w: z[:, w[:, 0]].softmax(1), "only the first word"),
        (lambda z, w: z.softmax(1)[:, w].sum(2).softmax(1), "flattens them"),
        (lambda z, w: z.softmax(1)[:, w].sum(1), r"shape \(4, 3\)"),
    ],
    "soft_labels": [
        (lambda s, w, t: ((w[:, None, None] * s).sum(0) / t).softmax(1), "do not sum to 1"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * s.softmax(2)).sum(0), "at T = 1"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * (s / t).softmax(2)).sum(0), "the models' probabilities"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * s).sum(0).mul(t).softmax(1), "multiplied by the temperature"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * s).sum(0).softmax(1), "temperature is missing"),
        (lambda s, w, t: (s.mean(0) / t).softmax(1), "same say"),
        (lambda s, w, t: (((w / w.sum())[:, None, None] * s).sum(0) / t).softmax(0), "over the rows of the batch"),
    ],
    "most_confident": [
        (chosen_by(by_column), "do not believe in"),
        (chosen_by(of_all), "surest rows of all"),
        (chosen_by(lambda p, k: [(6, 0), (7, 0), (3, 1), (4, 1)]), "least sure"),
        (chosen_by(lambda p, k: [(2, 0), (5, 0), (4, 2)]), "likeliest class is 1"),
        (chosen_by(lambda p, k: [(r, p[r].argmax()) for r in range(8)]), "too many rows"),
        (chosen_by(lambda p, k: [(0, 5)]), "out of range"),
        (chosen_by(lambda p, k: [(5, 0), (5, 0)]), "twice"),
        (chosen_by(lambda p, k: [(2, 0), (3, 0), (0, 1), (1, 1)]), "places among"),
        (lambda p, k: p.argmax(1).tolist(), "list of pairs"),
        (chosen_by(lambda p, k: [(5, 0), (0, 0), (3, 1), (4, 1)]), "highest probability"),
    ],
    "generation": [
        (lambda s, k: [by_sorting(vote(s), k) for _ in s], "itself included"),
        (lambda s, k: [by_sorting(own.softmax(1), k) for own in s], "that is self-training"),
        (lambda s, k: [by_sorting(without(s, own).softmax(2).mean(0), k) for own in range(len(s))], "average their scores"),
        (lambda s, k: [by_sorting(without(s, own)[0].softmax(1), k) for own in range(len(s))], "only one of the other models"),
        (lambda s, k: [by_sorting((without(s, own).mean(0) / 2).softmax(1), k) for own in range(len(s))], "here T is 1"),
        (lambda s, k: dict(enumerate(by_subtraction(s, k))), "list of pairs"),
        (lambda s, k: [by_sorting(vote(without(s, own)), k + 1) for own in range(len(s))], "model 0 should learn"),
        (lambda s, k: [by_sorting(vote(without(s, own)), 2) for own in range(len(s))], "wrong for two models"),
        (lambda s, k: by_subtraction(s, k)[:-1], "one entry for each of the 3"),
    ],
}  # fmt: skip
