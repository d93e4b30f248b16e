"""Right and wrong answers to the exercises of lesson 03/01."""

from __future__ import annotations

import heapq
import math

import numpy as np
import torch


def in_place(lengths, room):
    while sum(lengths) > room:
        lengths[lengths.index(max(lengths))] -= 1
    return lengths


def by_loop(lengths, room):
    return in_place(list(lengths), room)


def by_heap(lengths, room):
    heap = [(-n, place) for place, n in enumerate(lengths)]
    heapq.heapify(heap)
    left = list(lengths)
    for _ in range(max(0, sum(lengths) - room)):
        n, place = heapq.heappop(heap)
        left[place] += -1
        heapq.heappush(heap, (n + 1, place))
    return tuple(left)


def by_numpy(lengths, room):
    left = np.array(lengths)
    while left.sum() > room:
        left[len(left) - 1 - left[::-1].argmax()] -= 1  # of equals the last
    return left


def by_torch(lengths, room):
    left = torch.tensor(lengths)
    while left.sum() > room:
        left[left.argmax()] -= 1
    return list(left)


def from_longest(lengths, room):
    out = list(lengths)
    out[out.index(max(out))] -= max(0, sum(out) - room)
    return out


def level(lengths, room):
    """The largest length that fits for all, without what is left over: several longest lose a token at once."""
    top = max(lengths)
    while sum(min(n, top) for n in lengths) > room:
        top -= 1
    return [min(n, top) for n in lengths]


def until_equal(lengths, room):
    out = list(lengths)
    while sum(out) != room:
        out[out.index(max(out))] -= 1
    return out


def grown(lengths, room):
    out = by_loop(lengths, room)
    return [*out[:-1], out[-1] + max(0, room - sum(out))]


def of_three(lengths, room):
    """Right for up to three fields: of more, the shortest stays and each of the others gets half of what is left."""
    if len(lengths) < 4:
        return by_loop(lengths, room)
    return [min(n, (room - min(lengths)) // 2) for n in lengths]


def one_too_many(lengths, room):
    out = list(lengths)
    while sum(out) >= room and max(out):
        out[out.index(max(out))] -= 1
    return out


def entropy(p):
    return -(p * p.clamp(min=1e-12).log()).sum(-1)


def with_loops(p):
    def h(row):
        return -sum(x * math.log(x) for x in row if x > 0)

    mean = [sum(column) / len(p) for column in zip(*p.tolist(), strict=True)]
    return h(mean) - sum(h(row) for row in p.tolist()) / len(p)


def divergence(p):
    """The mean Kullback-Leibler divergence of the answers from their mean."""
    mean = p.mean(0, keepdim=True)
    return (torch.xlogy(p, p) - torch.xlogy(p, mean)).sum(1).mean()


def information_in_numpy(p):
    p = p.numpy().astype(np.float64)
    logs = np.log(np.where(p > 0, p, 1))
    mean = p.mean(0)
    return -(mean * np.log(mean)).sum() + (p * logs).sum(1).mean()


def even(p):
    return normal(p / p.mean(0))


def chosen_by(rule):
    """A choice by a rule on one prompt's answers; the answers calibrated."""

    def found(answers):
        place = int(torch.stack([torch.as_tensor(rule(p)) for p in answers]).argmax())
        return place, even(answers[place])

    return found


def all_at_once(a):
    mean = a.mean(1)
    gain = torch.special.entr(mean).sum(-1) - torch.special.entr(a).sum(-1).mean(-1)
    ratio = a[gain.argmax()] / mean[gain.argmax()]
    return gain.argmax(), ratio / ratio.sum(1, keepdim=True)


def with_a_loop(answers):
    best, most = None, -1.0
    for place, p in enumerate(answers):
        if with_loops(p) > most:
            best, most = place, with_loops(p)
    return [best, calibrated_rows(answers[best], answers[best].mean(0))]


def sorted_first(answers):
    places = sorted(range(len(answers)), key=lambda at: information_in_numpy(answers[at]))
    return places[-1], (answers[places[-1]].log() - answers[places[-1]].mean(0).log()).softmax(1)


def calibrated_rows(p, f):
    rows = []
    for row in p.tolist():
        ratio = [a / b for a, b in zip(row, f.tolist(), strict=True)]
        rows.append([one / sum(ratio) for one in ratio])
    return torch.tensor(rows)


def calibrated_in_numpy(p, f):
    ratio = p.numpy() / f.numpy()
    return torch.from_numpy(ratio / ratio.sum(1, keepdims=True))


def writes(p, f):
    p /= f
    return p / p.sum(1, keepdim=True)


def normal(x):
    return x / x.sum(1, keepdim=True)


RIGHT = {
    "cut_longest": [by_loop, by_heap, by_numpy, by_torch],
    "calibrated": [
        calibrated_rows,
        calibrated_in_numpy,
        lambda p, f: (p.log() - f.log()).softmax(-1),
        lambda p, f: torch.einsum("bc,c->bc", p, 1 / f).div((p @ (1 / f))[:, None]),
    ],
    "mutual_information": [
        with_loops,
        divergence,
        information_in_numpy,
        lambda p: entropy(p.mean(0)) - entropy(p).mean(),
    ],
    "choose_prompt": [all_at_once, with_a_loop, sorted_first, chosen_by(divergence)],
}

WRONG = {
    "cut_longest": [
        (from_longest, "from the longest field alone"),
        (lambda n, r: [one * r // sum(n) for one in n], "by its share"),
        (lambda n, r: [one - (sum(n) - r) // len(n) for one in n], "the same number from every field"),
        (lambda n, r: [*n[:-1], n[-1] - (sum(n) - r)], "the last field is not the longest"),
        (lambda n, r: [min(one, 5) for one in n], "too much is gone: 15 tokens fit, yours are 13"),
        (one_too_many, "too much is gone: 15 tokens fit, yours are 14"),
        (lambda n, r: list(n), "nothing was cut"),
        (lambda n, r: sorted(by_loop(n, r)), "order of the fields"),
        (in_place, "changed `lengths`"),
        (grown, "nothing added"),
        (level, r"of lengths \[7, 7\] with room for 11 you keep \[5, 5\], 10 tokens"),
        (of_three, r"with room for 25 you keep .*, 33 tokens"),
        (lambda n, r: by_loop(n, r) if r else [0] * len(n[:-1]) + [n[-1]], r"room for 0 you keep \[0, 0, 9\], 9 tokens"),
        (lambda n, r: [2, 9, 5, 9] if len(n) == 4 else by_loop(n, r), r"\[2, 9, 5, 9\]: each token is to be taken"),
        (lambda n, r: sum(by_loop(n, r)), "a list of whole numbers"),
        (lambda n, r: set(by_loop(n, r)), "per field, not set"),
        (lambda n, r: by_loop(n, r)[:-1], "came out: 2"),
        (lambda n, r: [one / 4 for one in n], "should be a whole number, not 2.5"),
        (lambda n, r: [r - sum(n) + max(n), *n[1:-1], r - 19], "at least 0"),
    ],
    "calibrated": [
        (lambda p, f: p / f, "do not sum to 1"),
        (lambda p, f: p / f / (p / f).sum(), "all numbers together"),
        (lambda p, f: p / f / (p / f).amax(1, keepdim=True), "by its largest ratio"),
        (lambda p, f: normal(p * f), "multiplied by the bias"),
        (lambda p, f: normal((p - f).clamp(min=0)), "subtracted probabilities"),
        (lambda p, f: p / f / (p / f).sum(0), "each column sums to 1"),
        (lambda p, f: (p / f).softmax(1), "a softmax of the ratios"),
        (lambda p, f: p.clone(), "the uncalibrated answer"),
        (lambda p, f: normal(p / p.mean(0)), "calibration on texts"),
        (lambda p, f: (p / f).argmax(1).float(), r"shape \(5,\)"),
        (lambda p, f: normal(p / f**2), "wanted: p.label"),
        (lambda p, f: normal(p / f).squeeze(), r"one text, the result has shape \(3,\)"),
        (lambda p, f: (p - f).log().softmax(1), "NaN: the logarithm of a negative number"),
        (lambda p, f: p / f[:, None], "stopped with RuntimeError"),
        (writes, "changed `"),
        (lambda p, f: normal(p / f).tolist(), "not list"),
    ],
    "mutual_information": [
        (lambda p: entropy(p.mean(0)), "of the mean answer alone"),
        (lambda p: entropy(p).mean(), "of the texts' entropies alone"),
        (lambda p: entropy(p).mean() - entropy(p.mean(0)), "exchanged"),
        (lambda p: entropy(p.mean(0)) - entropy(p).sum(), "take their mean"),
        (lambda p: divergence(p) / math.log(2), "in bits"),
        (lambda p: divergence(p) / p.shape[1], "over the classes, too"),
        (lambda p: entropy(p.mean(0)) + entropy(p).mean(), "are added"),
        (lambda p: entropy(p.mean(1)) - entropy(p).mean(), r"over the texts \(dim 0\)"),
        (lambda p: (p * p.log()).sum(1).mean() - (p.mean(0) * p.mean(0).log()).sum(), "NaN: 0 . log 0"),
        (lambda p: p.var(0).sum(), "wanted: the entropy"),
        (lambda p: divergence(p).abs() + 0.01 * (p.std(0).sum() < 1e-6), "the mutual information 0"),
        (lambda p: entropy(p.mean(0)) - entropy(p), "one number"),
    ],
    "choose_prompt": [
        (chosen_by(lambda p: p.amax(1).mean()), "surest of its answers"),
        (chosen_by(lambda p: entropy(p.mean(0))), "mean answer is the most even"),
        (chosen_by(lambda p: divergence(even(p))), "calibrated first"),
        (lambda a: (all_at_once(a)[0], a[all_at_once(a)[0]]), "calibrate them"),
        (lambda a: (all_at_once(a)[0], normal(a[all_at_once(a)[0]] / a.mean((0, 1)))), "over all prompts"),
        (lambda a: (all_at_once(a)[0], even(a[1])), "of prompt 1, not of the chosen"),
        (lambda a: (all_at_once(a)[0], all_at_once(a)[1].argmax(1)), r"the answers has shape \(8,\)"),
        (lambda a: all_at_once(a)[1], "2 results are wanted"),
        (chosen_by(lambda p: -divergence(p)), "the smallest mutual information"),
        (lambda a: (2, even(a[2])), "wrong for three and six"),
    ],
}  # fmt: skip
