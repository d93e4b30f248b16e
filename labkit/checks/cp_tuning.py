"""Checks of lesson 03/04, CP-Tuning: `from labkit.checks import cp_tuning as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, learns, number, same, tensor

LESSON = "03/04"
M, K = 0.4, 2.0
PAIRS, COSTS = ("the tensor of like pairs", "the tensor of unlike pairs"), ("a_p", "a_n")
OVERFLOW = "exp overflows where a pair is far off. Leave exp and log to torch.logsumexp and F.softplus"


# The answer


def _class_scores(texts: Tensor, support: Tensor, labels: Tensor, classes: int) -> Tensor:
    near = texts @ support.T
    return torch.stack([near[:, labels == c].amax(1) for c in range(classes)], 1)


@exercise(LESSON, _class_scores)
def class_scores(function: Callable[..., Tensor]) -> None:
    """Texts (batch, d), support (n, d), its labels (n,), a number of classes → scores (batch, classes)."""
    generator = torch.Generator().manual_seed(7)
    texts, support = (F.normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (5, 7))
    labels = torch.tensor([2, 0, 1, 0, 2, 1, 0])
    found = tensor(asked(function, texts=texts, support=support, labels=labels, classes=3), (5, 3))
    near = texts @ support.T  # (batch, n)
    split = [near[:, labels == c] for c in range(3)]
    means = torch.stack([support[labels == c].mean(0) for c in range(3)])
    far = torch.stack([torch.cdist(texts, support[labels == c]).amin(1) for c in range(3)], 1)
    best = torch.stack([some.amax(1) for some in split], 1)
    mistakes = [
        (torch.stack([some.mean(1) for some in split], 1), "you averaged over each class's support: its *nearest* text counts, the largest similarity"),
        (torch.stack([some.sum(1) for some in split], 1), "you added up each class's similarities: its *nearest* text counts, the largest one"),
        (torch.stack([some.amin(1) for some in split], 1), "you took each class's farthest text: the largest similarity is the nearest"),
        (torch.stack([some[:, 0] for some in split], 1), "you took the first text of each class: its *nearest* text counts, the largest similarity"),
        (texts @ F.normalize(means, dim=1).T, "this is the similarity to each class's mean: the other rule; here the nearest text of the class counts"),
        (near[:, :3], "the first three support texts are not the three classes: look at `labels`"),
        (near[:, labels.argsort()][:, :3], "the three columns are support texts, not classes: take the largest similarity within each class"),
        (far, "these are distances: the nearest would get the lowest score; take similarities"),
        (-far, "minus the distance gives the same answers; the score asked for is the similarity itself, texts @ support.T"),
        (best.clamp(min=0), "a similarity below 0 became 0: mask the other classes with −inf, not by a product with 0"),
        (best.softmax(1), "a softmax of the scores is not asked for: give the similarities"),
        (F.one_hot(labels[near.argmax(1)], 3).float(), "these are answers, 0 or 1: give each class's largest similarity, so that a margin can be seen"),
    ]  # fmt: skip
    expect(found, best, "column c should hold the similarity to the nearest support text of class c", mistakes)
    two = labels.clamp(max=1)
    few = tensor(function(texts[:1], support, two, 2), (1, 2), "for one text and two classes, the result")
    expect(few, _class_scores(texts[:1], support, two, 2), "right for five texts and three classes, but not for one text and two classes")  # fmt: skip


# Pairs


# Numbers of like and unlike pairs of six texts of classes 0, 0, 1, 2, 1, 0, and what went wrong.
MISCOUNTED = [
    ([10, 11], "every text is paired with itself, whose similarity is always 1: leave out the diagonal, triu(diagonal=1)"),
    ([14, 22], "every text is paired with itself, and each other pair counts twice: take what lies above the diagonal, triu(diagonal=1)"),
    ([8, 22], "each pair counts twice, as (i, j) and as (j, i): take what lies above the diagonal, triu(diagonal=1)"),
    ([11, 4], "the two are exchanged: like pairs (one label) come first, unlike pairs second"),
    ([4, 32], "`~same.triu(1)` turns the lower half and the diagonal to True as well: write `(~same).triu(1)`"),
]  # fmt: skip


def _pair_similarities(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return _products(F.normalize(vectors, dim=1), labels)


@exercise(LESSON, _pair_similarities)
def pair_similarities(function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Vectors (batch, d), of any length, and labels (batch,) → similarities of the like pairs, of the unlike pairs."""
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(4)) * 3
    labels = torch.tensor([0, 0, 1, 2, 1, 0])
    start = vectors.clone().requires_grad_()
    pairs = _two(asked(function, vectors=start, labels=labels), PAIRS)
    like, unlike = map(len, pairs)
    expect([like, unlike], [4, 11], f"six texts of classes 0, 0, 1, 2, 1, 0 have 4 like and 11 unlike pairs; you gave {like} and {unlike}", MISCOUNTED)  # fmt: skip
    wanted = _pair_similarities(vectors, labels)
    mistakes = [
        (_products(vectors, labels), "the similarities are not those of vectors of length 1: divide each vector by its length first, F.normalize(vectors, dim=1)"),
        (_products(F.normalize(vectors, dim=0), labels), "you normalised the columns (dim 0), over the batch: each row, a text's vector, must have length 1"),
        (_products(vectors.softmax(1), labels), "a softmax makes the entries sum to 1; wanted is a length of 1, F.normalize(vectors, dim=1)"),
        (_products(F.normalize(vectors, p=1, dim=1), labels), "the entries' absolute values sum to 1 (p = 1); the length is the root of the sum of squares (p = 2)"),
    ]  # fmt: skip
    for place, what in enumerate(PAIRS):
        found = tensor(pairs[place], (len(pairs[place]),), what, gradient=True).sort().values
        wrong = [(values[place].sort().values, text) for values, text in mistakes]
        expect(found, wanted[place].sort().values, f"{what} holds other values: wanted is the product of two vectors of length 1, for each pair once", wrong)  # fmt: skip
    squares = [sum((one**2).sum() for one in two) for two in (pairs, _pair_similarities(start, labels))]
    learns(*squares, {"vectors": start}, "the similarities are right, but not their gradient: a vector's length changes with the vector too, so detach neither")  # fmt: skip
    twins = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]).requires_grad_()
    like, unlike = _two(function(twins, torch.tensor([1, 1, 0, 1])), PAIRS)
    if not (same(like.sort().values, [0, 0, 1]) and same(unlike.sort().values, [0, 0, 1])):
        raise Mistake("texts with the same vector are pairs like all others, of similarity 1: find pairs by their places, not by their values")  # fmt: skip


def _products(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Products of the like and of the unlike pairs."""
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    products, like = (vectors[first] * vectors[second]).sum(1), labels[first] == labels[second]
    return products[like], products[~like]


# The loss


def _pair_weights(like: Tensor, unlike: Tensor, m: float, k: float) -> tuple[Tensor, Tensor]:
    return (1 + m - like.detach()).clamp(min=0) / k, (unlike.detach() + m).clamp(min=0)


@exercise(LESSON, _pair_weights)
def pair_weights(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Similarities of like pairs (p,) and unlike pairs (n,), m, k → the costs a_p (p,) and a_n (n,), as constants."""
    like, unlike = torch.tensor([-0.3, 0.5, 0.95]), torch.tensor([-0.9, -0.1, 0.4, 0.8])
    start = like.clone().requires_grad_(), unlike.clone().requires_grad_()
    costs = _two(asked(function, like=start[0], unlike=start[1], m=M, k=K), COSTS)
    if [len(one) for one in costs] == [4, 3]:
        raise Mistake("the two are exchanged: a_p, of the like pairs, comes first")
    pulls, pushes = (tensor(one, side.shape, what) for one, side, what in zip(costs, (like, unlike), COSTS, strict=True))  # fmt: skip
    expect(pulls, (1 + M - like) / K, "a_p should be [1 + m − s_p]₊ / k", [
        (1 + M - like, "a_p is not divided by k"),
        ((1 + M - like) * K, "a_p is multiplied by k: it is divided by it"),
        ((1 - M - like).clamp(min=0) / K, "the margin of a_p is on the wrong side: [1 − m − s_p]₊ is 0 for pairs that are near, so they would not be held; it is 1 + m"),
        ((1 - M - like) / K, "the margin of a_p is on the wrong side: 1 + m, not 1 − m"),
        (torch.zeros(3), "a_p is 0 for every pair: is a sign the wrong way round? The cost grows as s_p falls"),
        ((like + M) / K, "a_p grows with the similarity: a like pair costs more the farther apart it is, [1 + m − s_p]₊"),
        (torch.ones(3) / K, "a_p is the same for all pairs: it should grow as s_p falls"),
    ])  # fmt: skip
    expect(pushes, (unlike + M).clamp(min=0), "a_n should be [s_n + m]₊", [
        (unlike + M, "a_n is negative for a pair that is far apart already, which would pull it together: cut it off at 0, clamp(min=0)"),
        ((unlike + M).clamp(min=0) / K, "a_n is divided by k: only the like pairs' cost is"),
        ((unlike - M).clamp(min=0), "the margin of a_n is on the wrong side: with [s_n − m]₊ unlike pairs would be left alone at a similarity of m; it is s_n + m"),
        (unlike.clamp(min=0) + M, "s_n is cut off before m is added: cut off the sum, (s_n + m).clamp(min=0)"),
        ((unlike + M).abs(), "a_n is an absolute value: pairs that are far apart already would cost again; cut it off at 0, clamp(min=0)"),
    ])  # fmt: skip
    flowing = [name for name, one in zip(COSTS, costs, strict=True) if one.requires_grad]
    if flowing:
        raise Mistake(f"the values are right, but the gradient runs through {' and '.join(flowing)}: costs are constants, so .detach() the similarities")  # fmt: skip
    for one, right, what in zip(_two(function(like, unlike, 0.1, 0.5), COSTS), _pair_weights(like, unlike, 0.1, 0.5), COSTS, strict=True):  # fmt: skip
        expect(one, right, f"{what} is right for m = 0.4, k = 2, but not for m = 0.1, k = 0.5: use the arguments m and k")


def _contrastive_loss(
    like: Tensor, unlike: Tensor, m: float, gamma: float, k: float, flows: bool = False
) -> Tensor:
    pull, push = _terms(like, unlike, m, gamma, k, flows)
    return F.softplus(pull.logsumexp(0) + push.logsumexp(0))


@exercise(LESSON, _contrastive_loss)
def contrastive_loss(function: Callable[..., Tensor]) -> None:
    """Similarities of like pairs (p,) and unlike pairs (n,), m, γ, k → the loss, a number."""
    like, unlike, gamma = torch.tensor([0.1, 0.5, 0.75]), torch.tensor([-0.7, -0.1, 0.3, 0.55]), 3.0
    start = like.clone().requires_grad_(), unlike.clone().requires_grad_()
    loss = asked(function, like=start[0], unlike=start[1], m=M, gamma=gamma, k=K)
    found = tensor(loss, (), "the loss", OVERFLOW, gradient=True)
    expect(found, _contrastive_loss(like, unlike, M, gamma, K), "wanted: softplus(logsumexp of γ·a_n·(s_n − m) + logsumexp of −γ·a_p·(s_p − (1 − m)))", _wrong_losses(like, unlike, gamma))  # fmt: skip
    _same_gradient(torch.autograd.grad(loss, start, allow_unused=True), start, gamma)
    far = torch.tensor([-1.0, 0.2]).requires_grad_(), torch.tensor([1.0, 0.4]).requires_grad_()
    large = function(*far, 0.25, 64.0, 1.0)
    if not torch.isfinite(tensor(large, (), "the loss for γ = 64", OVERFLOW)):
        raise Mistake(f"for γ = 64 the loss is infinite: {OVERFLOW}")
    expect(large, _contrastive_loss(*far, 0.25, 64.0, 1.0), "right for m = 0.4, γ = 3, k = 2, but not for m = 0.25, γ = 64, k = 1: use the arguments", tolerance=1e-4)  # fmt: skip


def _same_gradient(found: Sequence[Tensor | None], start: tuple[Tensor, Tensor], gamma: float) -> None:
    """Mistake unless the gradients are those with the costs held fixed."""
    for flows in (False, True):
        wanted = torch.autograd.grad(_contrastive_loss(*start, M, gamma, K, flows), start)
        if all(one is not None and same(one, right, 1e-4) for one, right in zip(found, wanted, strict=True)):
            if flows:
                raise Mistake("the loss is right, but its gradient also runs through the costs a_p and a_n: .detach() the similarities inside them")  # fmt: skip
            return
    silent = [name for name, one in zip(("like", "unlike"), found, strict=True) if one is None or not one.any()]
    if silent:
        raise Mistake(f"the loss is right, but no gradient reaches the {' and the '.join(silent)} pairs: only the costs are constants")  # fmt: skip
    raise Mistake("the loss is right, but its gradient is not: both costs are held fixed, everything else is not")


def _terms(
    like: Tensor, unlike: Tensor, m: float, gamma: float, k: float, flows: bool = False
) -> tuple[Tensor, Tensor]:
    """The exponents of the like and of the unlike pairs; the gradient `flows` through the costs, or does not."""
    a_p, a_n = (1 + m - like).clamp(min=0) / k, (unlike + m).clamp(min=0)
    a_p, a_n = (a_p, a_n) if flows else (a_p.detach(), a_n.detach())
    return -gamma * a_p * (like - (1 - m)), gamma * a_n * (unlike - m)


def _wrong_losses(like: Tensor, unlike: Tensor, gamma: float) -> list[tuple[Any, str]]:
    pull, push = _terms(like, unlike, M, gamma, K)
    (pulls, pushes), both = _pair_weights(like, unlike, M, K), pull.logsumexp(0) + push.logsumexp(0)

    def loss(pull: Tensor, push: Tensor) -> Tensor:
        return F.softplus(pull.logsumexp(0) + push.logsumexp(0))

    return [
        (both, "the softplus around the whole is missing"),
        (F.softplus(pull.mean() + push.mean()), "you averaged the pairs: with logsumexp instead of mean the hardest pairs count most"),
        (F.softplus(pull.sum() + push.sum()), "you added the pairs' exponents: it is the logsumexp over the pairs, once for the like and once for the unlike ones"),
        (F.softplus(pull.amax() + push.amax()), "only the hardest pair of each kind counts here: logsumexp is a soft maximum, not the maximum"),
        (F.softplus(torch.cat([pull, push]).logsumexp(0)), "like and unlike pairs stand in one logsumexp: take one for each kind, and add the two"),
        (F.softplus(pull.logsumexp(0)) + F.softplus(push.logsumexp(0)), "two softplus, one for each kind: add the two logsumexp first, then take one softplus, so that a like and an unlike pair are compared"),
        (F.softplus((pull[:, None] + push).mean()), "you averaged over the pairs of pairs: take logsumexp over each kind"),
        (F.softplus(pull[:, None] + push).mean(), "you averaged the softplus of every pair of pairs: the logsumexp are inside the softplus"),
        (loss(pull / gamma, push / gamma), "γ is missing: it multiplies both exponents"),
        (loss(pull, push / gamma), "γ is missing in the exponent of the unlike pairs"),
        (loss(pull / gamma, push), "γ is missing in the exponent of the like pairs"),
        (loss(-pull, push), "the sign of the like pairs is the wrong way round: their exponent is −γ·a_p·(s_p − (1 − m)), or like pairs are pushed apart"),
        (loss(pull, -push), "the sign of the unlike pairs is the wrong way round: their exponent is +γ·a_n·(s_n − m)"),
        (loss(-gamma * pulls * (like - M), gamma * pushes * (unlike - (1 - M))), "the two targets are exchanged: unlike pairs are compared with m, like pairs with 1 − m"),
        (loss(-gamma * pulls * (like - 1 - M), gamma * pushes * (unlike + M)), "the margin is on the wrong side in the brackets: s_n − m and s_p − (1 − m); + m and 1 + m belong into the costs"),
        (loss(pull, gamma * pushes * (unlike + M)), "the margin of the unlike pairs is on the wrong side: their bracket is s_n − m (the cost has + m)"),
        (loss(-gamma * pulls * (like - 1 - M), push), "the margin of the like pairs is on the wrong side: their bracket is s_p − (1 − m) (the cost has 1 + m)"),
        (loss(-gamma * (like - (1 - M)), gamma * (unlike - M)), "the costs a_p and a_n are missing: without them every pair is pulled alike"),
        (loss(pull * K, push), "k is missing: a_p is divided by it"),
        (loss(pull * K**2, push), "k multiplies a_p: it divides it"),
        (loss(pull, push / K), "k divides a_n too: it is the cost of the like pairs alone"),
        (loss(pull, gamma * (unlike + M) * (unlike - M)), "a_n is not cut off at 0: unlike pairs that are far apart already would be weighed again"),
    ]  # fmt: skip


# Together


def _training_loss(vectors: Tensor, labels: Tensor) -> Tensor:
    return _contrastive_loss(*_pair_similarities(vectors, labels), M, 64.0, 1.0)


@exercise(LESSON, _training_loss)
def training_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Vectors (batch, d), of any length, and labels (batch,) → the loss with m = 0.4, γ = 64, k = 1."""
    vectors = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)) + 1
    labels = torch.tensor([1, 0, 1, 0, 1])
    start = vectors.clone().requires_grad_()
    loss = asked(function, vectors=start, labels=labels)
    found = tensor(loss, (), "the loss", OVERFLOW, gradient=True)
    like, unlike = _pair_similarities(vectors, labels)
    expect(found, _training_loss(vectors, labels), "wanted: contrastive_loss of the like and unlike pairs, with m = 0.4, γ = 64, k = 1", [
        (_contrastive_loss(unlike, like, M, 64, 1), "the two kinds of pairs are exchanged: like pairs come first, or texts of one class are pushed apart"),
        (_contrastive_loss(*_products(vectors, labels), M, 64, 1), "the vectors are not brought to length 1: take the pairs by pair_similarities"),
        (_contrastive_loss(like, unlike, M, 1, 64), "γ and k are exchanged: the order is (like, unlike, m, gamma, k)"),
        (_contrastive_loss(like, unlike, 64, M, 1), "m and γ are exchanged: the order is (like, unlike, m, gamma, k)"),
        (_contrastive_loss(like, unlike, M, 1, 1), "γ is 1 here: it should be 64"),
        (_contrastive_loss(like, unlike, 0, 64, 1), "m is 0 here: it should be 0.4"),
    ], tolerance=1e-4)  # fmt: skip
    learns(loss, _training_loss(start, labels), {"vectors": start}, "the loss is right, but its gradient is not: nothing is detached but the costs")  # fmt: skip
    three = torch.tensor([[5.0, 0.0], [0.0, 3.0], [0.0, 2.0]]), torch.tensor([7, 7, 2])
    expect(number(function(*three)), _training_loss(*three), "right for five texts of classes 0 and 1, but not for three of classes 7, 7 and 2", tolerance=1e-4)  # fmt: skip


# What the learner gave


def _two(value: Any, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """The learner's two tensors of one dimension each, with their gradients; Mistake where they are none."""
    given(value)
    if torch.is_tensor(value) or not isinstance(value, tuple | list) or len(value) != 2:
        what = f"a tensor of shape {tuple(value.shape)}" if torch.is_tensor(value) else f"a {type(value).__name__}"
        raise Mistake(f"two results are wanted, {names[0]} and {names[1]}, as in `return a, b`; you gave {what}")
    for one, name in zip(value, names, strict=True):
        if torch.is_tensor(one) and one.ndim != 1:
            raise Mistake(f"{name} should have one dimension, a number for each pair, not shape {tuple(one.shape)}: of a matrix, a mask picks them, similarities[mask]")  # fmt: skip
        tensor(one, one.shape if torch.is_tensor(one) else (), name)
    return value[0], value[1]
