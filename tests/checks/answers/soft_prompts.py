"""Right and wrong answers to the exercises of lesson 03/03."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch.nn import functional as F


def put(place, rows=lambda p: p):
    """A `splice` with the prompt at `place`."""

    def splice(w, p):
        return torch.cat([w[:, :place], rows(p).expand(len(w), -1, -1), w[:, place:]], 1)

    return splice


def row_by_row(w, p):
    return torch.stack([torch.cat([row[:1], p, row[1:]]) for row in w])


def into_empty(w, p):
    out = torch.empty(w.shape[0], w.shape[1] + p.shape[0], w.shape[2])
    out[:, 0], out[:, 1 : 1 + len(p)], out[:, 1 + len(p) :] = w[:, 0], p, w[:, 1:]
    return out


def by_numbers(w, p):
    """The prompt behind the words, then all vectors in another order."""
    tokens, n = w.shape[1], len(p)
    order = [0, *range(tokens, tokens + n), *range(1, tokens)]
    return torch.cat([w, p.repeat(len(w), 1, 1)], dim=1)[:, order]


def first_row_trains(w, p):
    rows = p.expand(len(w), -1, -1).clone()
    return torch.cat([w[:, :1], torch.cat([rows[:1], rows[1:].detach()]), w[:, 1:]], 1)


def half_empty(w, p):
    return torch.cat([w[:, :1], p.expand(len(w), -1, -1), w[:, 1:] * torch.nan], 1)


def attend(q, k, v, scale=None, dim=1):
    return (q @ k.T / (scale or q.shape[1] ** 0.5)).softmax(dim) @ v


def cat(a, b):
    return torch.cat([a, b])


def by_hand(q, k, v, a, b):
    """Query by query, with the largest score taken off."""
    out = []
    for one in q:
        scores = torch.stack([(one * key).sum() for key in (*a, *k)]) / len(one) ** 0.5
        weights = torch.exp(scores - scores.max())
        out.append(sum(w * value for w, value in zip(weights, (*b, *v), strict=True)) / weights.sum())
    return torch.stack(out)


def mixture(q, k, v, a, b):
    """(1 − λ) · attention to the text + λ · attention to the prefix, λ from the two sums."""
    own, other = (torch.logsumexp(q @ keys.T / np.sqrt(q.shape[1]), 1) for keys in (k, a))
    share = torch.sigmoid(other - own)[:, None]
    return (1 - share) * attend(q, k, v) + share * attend(q, a, b)


def causal(q, k, v, a, b):
    scores = q @ cat(a, k).T / q.shape[1] ** 0.5
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(len(a) + 1)
    return scores.masked_fill(hidden, -1e9).softmax(1) @ cat(b, v)


def exponents(q, k, v, a, b):
    weights = (q @ cat(a, k).T / q.shape[1] ** 0.5).exp()
    return weights / weights.sum(1, keepdim=True) @ cat(b, v)


def in_place(q, k, v, a, b):
    q /= q.shape[1] ** 0.5
    return (q @ cat(a, k).T).softmax(1) @ cat(b, v)


def counts(prompt=None, prefix=None, warp=None):
    """A `trained_weights` with one wrong formula."""

    def right(n, layers, d, c):
        formulas = (prompt, prefix, warp)
        values = (n * d, 2 * layers * n * d, (n + c) * d)
        found = [f(n, layers, d, c) if f else value for f, value in zip(formulas, values, strict=True)]
        return dict(zip(("prompt tuning", "prefix", "WARP"), found, strict=True))

    return right


def counted(n, layers, d, c):
    """The numbers of tensors of these shapes."""
    shapes = {"prompt tuning": [(n, d)], "prefix": [(2, n, d)] * layers, "WARP": [(n, d), (c, d)]}
    return OrderedDict((name, sum(torch.zeros(shape).numel() for shape in some)) for name, some in shapes.items())


def in_numpy(n, layers, d, c):
    return {
        "WARP": np.int64(d) * (n + c),
        "prefix": torch.tensor(2.0 * n * d) * layers,
        "prompt tuning": np.prod([n, d]),
    }


class Own(torch.nn.Module):
    """A prompt made by `call` from `numbers`, which train, and `fixed`, which do not."""

    def __init__(self, call, numbers, **fixed):
        super().__init__()
        self.call, self.numbers = call, torch.nn.Parameter(numbers)
        for name, value in fixed.items():
            self.register_buffer(name, value)

    def forward(self):
        return self.call(self)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def scaled_words(w):
    """One number for each of ten words."""
    return Own(lambda m: m.numbers[:, None] * m.words, torch.ones(10), words=w[:10].clone())


def subspace(w):
    """θ₀ + P z, with z = 0 at the start."""
    return Own(
        lambda m: m.start + (m.basis @ m.numbers).view(5, -1),
        torch.zeros(20),
        start=w[:5].clone(),
        basis=noise(5 * w.shape[1], 20),
    )


def softmax_of_words(w):
    return Own(lambda m: m.numbers.softmax(1) @ m.words, noise(2, 30), words=w[5:35].clone())


class Factors(torch.nn.Module):
    """A vector as a product of small ones, one of which starts at 0."""

    def __init__(self, w):
        super().__init__()
        wide = 8
        self.left, self.right = torch.nn.Parameter(noise(wide)), torch.nn.Parameter(torch.zeros(w.shape[1] // wide))
        self.register_buffer("start", w.mean(0))

    def forward(self):
        return (self.start + torch.outer(self.left, self.right).flatten())[None]


class Both0(Factors):
    def __init__(self, w):
        super().__init__(w)
        self.left.data.zero_()


class InAList(torch.nn.Module):
    def __init__(self, w):
        super().__init__()
        self.numbers, self.words = [noise(2, 4).requires_grad_()], w[:4].clone()

    def forward(self):
        return self.numbers[0] @ self.words


class Once(torch.nn.Module):
    """The prompt is computed in __init__."""

    def __init__(self, w):
        super().__init__()
        self.numbers = torch.nn.Parameter(noise(2, 4))
        self.prompt = self.numbers @ w[:4]

    def forward(self):
        return self.prompt


class Idle(Factors):
    def __init__(self, w):
        super().__init__(w)
        self.idle = torch.nn.Parameter(torch.zeros(3))


def shortens(w):
    w /= 2
    return scaled_words(w)


RIGHT = {
    "splice": [row_by_row, into_empty, by_numbers, lambda w, p: torch.hstack([w[:, [0]], torch.stack([p] * len(w)), w[:, 1:]])],
    "prefix_attention": [
        by_hand,
        mixture,
        lambda q, k, v, a, b: attend(q, cat(k, a), cat(v, b)),
        lambda q, k, v, a, b: F.scaled_dot_product_attention(q[None], cat(a, k)[None], cat(b, v)[None])[0],
    ],
    "trained_weights": [counts(), counted, in_numpy],
    "own_prompt": [scaled_words, subspace, softmax_of_words, Factors],
}  # fmt: skip

WRONG = {
    "splice": [
        (put(0), r"before \[CLS\]"),
        (put(5), "at the end"),
        (put(4), "before the last token"),
        (put(1, lambda p: p.flip(0)), "reverse order"),
        (put(1, torch.zeros_like), "zeros stand there"),
        (put(1, lambda p: p.detach()), "carries no gradient"),
        (put(1, lambda p: torch.nn.Parameter(p)), "no gradient reaches the prompt"),
        (first_row_trains, "the prompt itself must stand in every row"),
        (put(2), "first token, the prompt, the other tokens"),
        (put(1, lambda p: torch.cat([p[:2], p[2:].flip(0)])), "prompt of 4: take the numbers"),
        (put(1, lambda p: p[:2]), r"one text of 3 tokens and a prompt of 4, the result has shape \(1, 5, 6\)"),
        (half_empty, "NaN: a place of torch.empty"),
        (lambda w, p: w + p.mean(0), "as many tokens as before"),
        (lambda w, p: torch.cat([w[0, :1], p, w[0, 1:]]), r"shape \(7, 4\)"),
        (lambda w, p: torch.cat([put(1)(w, p), w[:, :1]], 1), r"shape \(3, 8, 4\)"),
        (lambda w, p: torch.cat([w[:, :1], p, w[:, 1:]], 1), "stopped with RuntimeError: Tensors"),
        (lambda w, p: torch.from_numpy(put(1)(w, p.numpy())), "RuntimeError: Can't call numpy"),
    ],
    "prefix_attention": [
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b, v), 1.0), "not divided by √d"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b, v), q.shape[1]), "divided by d: the square root"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b, v), len(q) ** 0.5), "number of tokens"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b, v), dim=0), "over the queries"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b, v), 2.0), "wrong for d = 9"),
        (lambda q, k, v, a, b: attend(q, k, v), "without the prefix"),
        (lambda q, k, v, a, b: attend(q, a, b), "only the prefix is seen"),
        (lambda q, k, v, a, b: attend(q, k, v) + attend(q, a, b), "you added two attentions"),
        (lambda q, k, v, a, b: (attend(q, k, v) + attend(q, a, b)) / 2, "you averaged two"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(v, b)), "same order"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b * 0, v)), "its values are missing"),
        (lambda q, k, v, a, b: attend(cat(a, q), cat(a, k), cat(b, v)), r"shape \(8, 4\)"),
        (lambda q, k, v, a, b: attend(q, cat(a.detach(), k), cat(b, v)), "reaches the prefix keys"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b.data, v)), "reaches the prefix values"),
        (lambda q, k, v, a, b: attend(q, cat(a, k), cat(b, v)).detach(), "carries no gradient"),
        (causal, "you hid the later tokens"),
        (exponents, "large scores, the result holds NaN"),
        (in_place, "RuntimeError: a leaf Variable"),
        (lambda q, k, v, a, b: v * 1.0, "wanted: softmax"),
    ],
    "trained_weights": [
        (counts(prompt=lambda n, m, d, c: n * m * d), "before the first layer only"),
        (counts(prompt=lambda n, m, d, c: n), "each token is a vector of d numbers"),
        (counts(prompt=lambda n, m, d, c: (n + c) * d), "no vectors for the classes"),
        (counts(prefix=lambda n, m, d, c: m * n * d), r"keys \*and\* values"),
        (counts(prefix=lambda n, m, d, c: 2 * n * d), "every layer has a prefix of its own$"),
        (counts(prefix=lambda n, m, d, c: n * d), "of its own, with keys and values"),
        (counts(prefix=lambda n, m, d, c: 3 * m * n * d), "no queries"),
        (counts(prefix=lambda n, m, d, c: 2 * n * m), "each key and each value"),
        (counts(warp=lambda n, m, d, c: n * d), "each class has a trained vector"),
        (counts(warp=lambda n, m, d, c: c * d), "prompt's vectors train too"),
        (counts(warp=lambda n, m, d, c: n * c * d), "do not multiply"),
        (counts(warp=lambda n, m, d, c: n * d + c), "a class's vector has d numbers"),
        (counts(warp=lambda n, m, d, c: 2 * m * 16), "WARP with n = 4.*count the vectors"),
        (counts(warp=lambda n, m, d, c: None), 'under "WARP" is None'),
        (counts(prompt=lambda n, m, d, c: n * d + 0.5), "should be a whole number"),
        (lambda n, m, d, c: n * d, "a dictionary"),
    ],
    "own_prompt": [
        (lambda w: w[:4].clone().requires_grad_(), "torch.nn.Module is wanted"),
        (lambda w: Own(lambda m: None, noise(3)), "when it is called is None"),
        (lambda w: Own(lambda m: m.numbers * w[0], noise(1)), r"shape \(160,\)"),
        (lambda w: Own(lambda m: m.numbers * w[None, :4], noise(1)), r"shape \(1, 4, 160\)"),
        (lambda w: Own(lambda m: m.numbers * w[:, :9].T, noise(1)), r"shape \(9, 300\)"),
        (lambda w: Own(lambda m: m.numbers * w[:20], noise(1)), "has 20 vectors"),
        (lambda w: Own(lambda m: m.numbers, noise(4, w.shape[1])), "it trains 640 numbers"),
        (lambda w: Own(lambda m: m.numbers[:1], w.clone()), "it trains 48000 numbers"),
        (InAList, "nothing trains"),
        (lambda w: Own(lambda m: m.numbers.detach() * w[:2], noise(1)), "carries no gradient"),
        (lambda w: Own(lambda m: m.numbers * torch.randn(2, w.shape[1]), noise(1)), "two calls give two answers"),
        (Idle, "they count, but change nothing"),
        (Both0, "every gradient is 0"),
        (Once, "compute with them in forward"),
        (shortens, "changed `words`"),
        (lambda w: Own(lambda m: m.numbers / 0 * w[:2], torch.zeros(1)), "NaN: a place of torch.empty"),
    ],
}  # fmt: skip
