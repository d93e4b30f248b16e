"""Right and wrong answers to the exercises of lesson 03/01."""

from __future__ import annotations

import heapq

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


def unit(p):
    return p / p.norm(dim=0)


def like(p, o, n, how=unit):
    alike = how(p).T @ how(p)[:, n]
    return alike, alike[torch.arange(len(o)), o]


def wrong(above):
    """A relevance from a function of likeness to all labels, and to the own."""
    return lambda p, o, n: above(*like(p, o, n))


def relevance_of(how):
    def found(p, o, n):
        alike, own = like(p, o, n, how)
        return own * (len(n) - 1) / (alike.sum(1) - own)

    return found


def word_by_word(p, o, n):
    found = []
    for word, own in enumerate(o.tolist()):
        alike = [torch.cosine_similarity(p[:, word], p[:, name], dim=0) for name in n]
        others = [a for label, a in enumerate(alike) if label != own]
        found.append(alike[own] / (sum(others) / len(others)))
    return torch.stack(found)


def relevance_in_numpy(p, o, n):
    p, o, n = p.numpy().astype(np.float64), o.numpy(), n.numpy()
    alike = (p.T @ p[:, n]) / np.outer(np.linalg.norm(p, axis=0), np.linalg.norm(p[:, n], axis=0))
    own = np.eye(len(n), dtype=bool)[o]
    return torch.from_numpy(alike[own] / alike[~own].reshape(len(o), -1).mean(1))


def by_mask(p, o, n):
    alike = torch.nn.functional.normalize(p, dim=0).T @ torch.nn.functional.normalize(p[:, n], dim=0)
    own = torch.nn.functional.one_hot(o, len(n)).bool()
    return alike[own] * (len(n) - 1) / alike.masked_fill(own, 0).sum(1)


def by_value(p, o, n):
    """The other labels are those whose cosine differs from the own one."""
    alike, own = like(p, o, n)
    others = (alike - own[:, None]).abs() > 1e-7
    return own * (len(n) - 1) / (alike * others).sum(1)


def overwrites(p, o, n):
    p /= p.norm(dim=0)
    return relevance_of(lambda q: q)(p, o, n)


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
    "relevance": [word_by_word, relevance_in_numpy, by_mask],
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
    "relevance": [
        (wrong(lambda a, own: own / (a.sum(1) - own)), "− 1 is missing"),
        (wrong(lambda a, own: own), "own label alone"),
        (wrong(lambda a, own: own * 2 / a.sum(1)), "leave the word's own out"),
        (wrong(lambda a, own: own * 3 / (a.sum(1) - own)), r"not \|Y\|"),
        (wrong(lambda a, own: (a.sum(1) - own) / 2 / own), "1 / R"),
        (wrong(lambda a, own: a), r"shape \(7, 3\)"),
        (wrong(lambda a, own: own * 2 / (a.sum(1) - own)), "right for three labels only"),
        (relevance_of(lambda p: p), "scalar products"),
        (relevance_of(lambda p: p / p.norm(dim=1, keepdim=True)), r"a \*column\*"),
        (relevance_of(lambda p: unit(p - p.mean(0))), "that is a correlation"),
        (lambda p, o, n: relevance_of(unit)(p, o, torch.stack([(o == c).nonzero()[0, 0] for c in range(len(n))])), "first word of each class"),
        (by_value, "not by its value"),
        (relevance_of(lambda p: p / p.norm(dim=0).clamp(min=0.1)), "add nothing to a length"),
        (overwrites, "changed `"),
    ],
}  # fmt: skip
