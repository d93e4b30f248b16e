"""Checks of lesson 03/04, CP-Tuning: `from labkit.checks import cp_tuning as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, exercise, expect, same, tensor

LESSON = "03/04"
MARGIN, K = 0.4, 2.0


# Pairs


@exercise(LESSON)
def pair_similarities(function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Vectors (batch, d), of any length, and labels (batch,) → similarities of the like pairs, of the unlike pairs."""
    generator = torch.Generator().manual_seed(4)
    vectors, labels = torch.randn(6, 5, generator=generator) * 3, torch.tensor([0, 0, 1, 2, 1, 0])
    given = vectors.clone().requires_grad_()
    like, unlike = _two(function(given, labels.clone()), "like pairs, unlike pairs")
    if (len(like), len(unlike)) != (4, 11):
        raise Mistake(_miscounted(len(like), len(unlike)))
    wanted = _pairs(F.normalize(vectors, dim=1), labels)
    mistakes = [
        (_pairs(vectors, labels), "the similarities are not those of vectors of length 1: divide each vector by its length first, F.normalize(vectors, dim=1)"),
        (_pairs(F.normalize(vectors, dim=0), labels), "you normalised the columns (dim 0), over the batch: each row, a text's vector, must have length 1"),
        (_pairs(vectors.softmax(1), labels), "a softmax makes the entries sum to 1; wanted is a length of 1, F.normalize(vectors, dim=1)"),
        (_pairs(F.normalize(vectors, p=1, dim=1), labels), "the entries' absolute values sum to 1 (p = 1); the length is the root of the sum of squares (p = 2)"),
    ]  # fmt: skip
    for found, place in ((like, 0), (unlike, 1)):
        wrong = [(values[place].sort().values, text) for values, text in mistakes]
        expect(found.sort().values, wanted[place].sort().values, f"the {('like', 'unlike')[place]} pairs have other similarities: the product of two vectors of length 1, for each pair once", wrong)  # fmt: skip
    if not like.requires_grad:
        raise Mistake("the numbers are right, but cut off from the vectors, so that nothing can learn from them: index the matrix of similarities instead of building new tensors from numbers")  # fmt: skip
    alone = _two(function(vectors[:3], torch.zeros(3, dtype=torch.long)), "like pairs, unlike pairs")
    if (len(alone[0]), len(alone[1])) != (3, 0):
        raise Mistake("with a single class in the batch there are no unlike pairs: an empty tensor is wanted for them")


def _pairs(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Products of the like and of the unlike pairs."""
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    products, like = (vectors[first] * vectors[second]).sum(1), labels[first] == labels[second]
    return products[like], products[~like]


def _miscounted(like: int, unlike: int) -> str:
    """What six texts of classes 0 0 1 2 1 0 give, and what went wrong."""
    named = {
        (10, 11): "every text is paired with itself, whose similarity is always 1: leave out the diagonal, triu(diagonal=1)",
        (14, 22): "every text is paired with itself, and each other pair counts twice: take what lies above the diagonal, triu(diagonal=1)",
        (8, 22): "each pair counts twice, as (i, j) and as (j, i): take what lies above the diagonal, triu(diagonal=1)",
        (11, 4): "the two are exchanged: like pairs (one label) come first, unlike pairs second",
        (4, 17): "every text stands among the unlike pairs with itself: `~same.triu(1)` also turns the lower half and the diagonal to True; write `(~same).triu(1)`",
        (4, 32): "`~same.triu(1)` turns the lower half and the diagonal to True as well: write `(~same).triu(1)`",
    }  # fmt: skip
    plain = f"six texts of classes 0, 0, 1, 2, 1, 0 have 4 like and 11 unlike pairs; you gave {like} and {unlike}"
    return named.get((like, unlike), plain)


# The loss


@exercise(LESSON)
def pair_weights(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Similarities of like pairs (p,) and unlike pairs (n,), m, k → the weights a_p (p,) and a_n (n,), as constants."""
    like, unlike = torch.tensor([-0.3, 0.5, 0.95]), torch.tensor([-0.9, -0.1, 0.4, 0.8])
    given = like.clone().requires_grad_(), unlike.clone().requires_grad_()
    pulls, pushes = _two(function(*given, MARGIN, K), "a_p, a_n", (3, 4))
    expect(pulls, (1 + MARGIN - like) / K, "a_p should be [1 + m − s_p]₊ / k", [
        (1 + MARGIN - like, "a_p is not divided by k"),
        ((1 + MARGIN - like) * K, "a_p is multiplied by k: it is divided by it"),
        ((1 - MARGIN - like).clamp(min=0) / K, "the margin of a_p is on the wrong side: [1 − m − s_p]₊ is 0 for pairs that are near, so they would not be held; it is 1 + m"),
        ((1 - MARGIN - like) / K, "the margin of a_p is on the wrong side: 1 + m, not 1 − m"),
        ((like - 1 - MARGIN).clamp(min=0) / K, "a_p is 0 for every pair: the sign is the wrong way round, the weight grows as s_p falls"),
        ((like + MARGIN) / K, "a_p grows with the similarity: a like pair weighs more the farther apart it is, [1 + m − s_p]₊"),
        (torch.ones(3) / K, "a_p is the same for all pairs: it should grow as s_p falls"),
    ])  # fmt: skip
    expect(pushes, (unlike + MARGIN).clamp(min=0), "a_n should be [s_n + m]₊", [
        (unlike + MARGIN, "a_n is negative for a pair that is far apart already, which would pull it together: cut it off at 0, clamp(min=0)"),
        ((unlike + MARGIN).clamp(min=0) / K, "a_n is divided by k: only the like pairs' cost is"),
        ((unlike - MARGIN).clamp(min=0), "the margin of a_n is on the wrong side: with [s_n − m]₊ unlike pairs would be left alone at a similarity of m; it is s_n + m"),
        ((unlike + MARGIN).abs(), "a_n is an absolute value: pairs that are far apart already would weigh again; cut it off at 0, clamp(min=0)"),
    ])  # fmt: skip
    if pulls.requires_grad or pushes.requires_grad:
        which = "both weights let" if pulls.requires_grad and pushes.requires_grad else "one of the weights lets"
        raise Mistake(f"the values are right, but {which} the gradient through: they are costs, taken as they stand, so .detach() the similarities")  # fmt: skip


@exercise(LESSON)
def contrastive_loss(function: Callable[..., Tensor]) -> None:
    """Similarities of like pairs (p,) and unlike pairs (n,), m, γ, k → the loss, a number."""
    like, unlike, gamma = torch.tensor([0.1, 0.5, 0.75]), torch.tensor([-0.7, -0.1, 0.3, 0.55]), 3.0
    found = tensor(function(like.clone(), unlike.clone(), MARGIN, gamma, K), (), "the loss")
    expect(found, _loss(like, unlike, gamma), "wanted: softplus(logsumexp of γ·a_n·(s_n − m) + logsumexp of −γ·a_p·(s_p − (1 − m)))", _wrong_losses(like, unlike, gamma))  # fmt: skip
    far = torch.tensor([-1.0, 0.2]), torch.tensor([1.0, 0.4])
    large = function(*far, MARGIN, 64.0, 1.0)
    if not torch.isfinite(torch.as_tensor(large)) or not same(large, _loss(*far, 64.0, 1.0), 1e-4):
        raise Mistake("for γ = 64 and pairs that are far off the loss breaks: exp overflows, so leave exp and log to torch.logsumexp and F.softplus")  # fmt: skip
    given = like.clone().requires_grad_(), unlike.clone().requires_grad_()
    loss = function(*given, MARGIN, gamma, K)
    if not loss.requires_grad:
        raise Mistake("no gradient comes through: detach only the similarities inside the weights, not those in (s_n − m) and (s_p − (1 − m))")  # fmt: skip
    _same_gradient(torch.autograd.grad(loss, given, allow_unused=True), like, unlike, gamma)


def _same_gradient(found: Sequence[Tensor | None], like: Tensor, unlike: Tensor, gamma: float) -> None:
    """Mistake unless the gradients are those with the weights held fixed."""
    names = ("like", "unlike")
    for flows, text in ((False, ""), (True, "the loss is right, but its gradient also runs through the weights a_p and a_n: .detach() the similarities inside them")):  # fmt: skip
        given = like.clone().requires_grad_(), unlike.clone().requires_grad_()
        wanted = torch.autograd.grad(_loss(*given, gamma, flows=flows), given)
        if all(one is not None and same(one, right) for one, right in zip(found, wanted, strict=True)):
            if text:
                raise Mistake(text)
            return
    silent = [name for name, one in zip(names, found, strict=True) if one is None or not one.any()]
    if silent:
        raise Mistake(f"the loss is right, but no gradient reaches the {' and the '.join(silent)} pairs: only the weights are detached")  # fmt: skip
    raise Mistake("the loss is right, but its gradient is not: both weights are held fixed, everything else is not")


def _weights(like: Tensor, unlike: Tensor, k: float = K) -> tuple[Tensor, Tensor]:
    return (1 + MARGIN - like).clamp(min=0) / k, (unlike + MARGIN).clamp(min=0)


def _terms(like: Tensor, unlike: Tensor, gamma: float, k: float = K, flows: bool = False) -> tuple[Tensor, Tensor]:
    """The exponents of the like and of the unlike pairs."""
    pulls, pushes = _weights(*(side if flows else side.detach() for side in (like, unlike)), k)
    return -gamma * pulls * (like - (1 - MARGIN)), gamma * pushes * (unlike - MARGIN)


def _loss(like: Tensor, unlike: Tensor, gamma: float, k: float = K, flows: bool = False) -> Tensor:
    pull, push = _terms(like, unlike, gamma, k, flows)
    return F.softplus(pull.logsumexp(0) + push.logsumexp(0))


def _wrong_losses(like: Tensor, unlike: Tensor, gamma: float) -> list[tuple[Any, str]]:
    pull, push = _terms(like, unlike, gamma)
    (pulls, pushes), both = _weights(like, unlike), pull.logsumexp(0) + push.logsumexp(0)

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
        (loss(-gamma * pulls * (like - MARGIN), gamma * pushes * (unlike - (1 - MARGIN))), "the two targets are exchanged: unlike pairs are compared with m, like pairs with 1 − m"),
        (loss(-gamma * pulls * (like - 1 - MARGIN), gamma * pushes * (unlike + MARGIN)), "the margin is on the wrong side in the brackets: s_n − m and s_p − (1 − m); + m and 1 + m belong into the weights"),
        (loss(pull, gamma * pushes * (unlike + MARGIN)), "the margin of the unlike pairs is on the wrong side: their bracket is s_n − m (the weight has + m)"),
        (loss(-gamma * pulls * (like - 1 - MARGIN), push), "the margin of the like pairs is on the wrong side: their bracket is s_p − (1 − m) (the weight has 1 + m)"),
        (loss(-gamma * (like - (1 - MARGIN)), gamma * (unlike - MARGIN)), "the weights a_p and a_n are missing: without them every pair is pulled alike"),
        (loss(pull * K, push), "k is missing: a_p is divided by it"),
        (loss(pull * K**2, push), "k multiplies a_p: it divides it"),
        (loss(pull, push / K), "k divides a_n too: it is the cost of the like pairs alone"),
        (loss(pull, gamma * (unlike + MARGIN) * (unlike - MARGIN)), "a_n is not cut off at 0: unlike pairs that are far apart already would be weighed again"),
    ]  # fmt: skip


# The answer


@exercise(LESSON)
def class_scores(function: Callable[..., Tensor]) -> None:
    """Texts (batch, d), support (n, d), its labels (n,), a number of classes → scores (batch, classes)."""
    generator = torch.Generator().manual_seed(7)
    texts, support = (F.normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (5, 7))
    labels = torch.tensor([2, 0, 1, 0, 2, 1, 0])
    found = tensor(function(texts.clone(), support.clone(), labels.clone(), 3), (5, 3))
    near = texts @ support.T  # (batch, n)
    split = [near[:, labels == number] for number in range(3)]
    means = torch.stack([support[labels == number].mean(0) for number in range(3)])
    best = torch.stack([some.amax(1) for some in split], 1)
    mistakes = [
        (torch.stack([some.mean(1) for some in split], 1), "you averaged over each class's support: its *nearest* text counts, the largest similarity"),
        (torch.stack([some.sum(1) for some in split], 1), "you added up each class's similarities: its *nearest* text counts, the largest one"),
        (torch.stack([some.amin(1) for some in split], 1), "you took each class's farthest text: the largest similarity is the nearest"),
        (texts @ F.normalize(means, dim=1).T, "this is the similarity to each class's mean: the other rule; here the nearest text of the class counts"),
        (near[:, :3], "the first three support texts are not the three classes: look at `labels`"),
        (near[:, labels.argsort()][:, :3], "the three columns are support texts, not classes: take the largest similarity within each class"),
        (torch.stack([torch.cdist(texts, support[labels == number]).amin(1) for number in range(3)], 1), "these are distances: the nearest would get the lowest score; take similarities"),
        (-torch.stack([torch.cdist(texts, support[labels == number]).amin(1) for number in range(3)], 1), "minus the distance gives the same answers; the score asked for is the similarity itself, texts @ support.T"),
        (best.clamp(min=0), "a similarity below 0 became 0: mask the other classes with −inf, not by a product with 0"),
        (best.softmax(1), "a softmax of the scores is not asked for: give the similarities"),
        (F.one_hot(labels[near.argmax(1)], 3).float(), "these are answers, 0 or 1: give each class's largest similarity, so that a margin can be seen"),
    ]  # fmt: skip
    expect(found, best, "column c should hold the similarity to the nearest support text of class c", mistakes)


# What the learner gave


def _two(value: Any, names: str, sizes: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
    """The learner's two tensors (one dimension each), with their gradients; Mistake where they are none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    if torch.is_tensor(value) or not isinstance(value, tuple | list) or len(value) != 2:
        raise Mistake(f"two tensors are wanted, `return {names}`; you gave {_named(value)}")
    for one, name, size in zip(value, names.split(", "), sizes or (None, None), strict=True):
        if torch.is_tensor(one) and one.ndim == 2 and size is None:
            raise Mistake(f"{name}: a list of numbers is wanted, one for each pair, not a matrix: index the matrix with a mask, similarities[mask]")  # fmt: skip
        tensor(one, (len(one) if size is None and torch.is_tensor(one) and one.ndim else size or 0,), name)
    return value[0], value[1]


def _named(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if torch.is_tensor(value) else f"a {type(value).__name__}"
