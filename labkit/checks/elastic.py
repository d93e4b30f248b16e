"""Checks of lesson 04/05, one model of many sizes: `from labkit.checks import elastic as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, items, learns, loss, parts, same, tensor
from labkit.compression.tinybert import soft_cross_entropy

LESSON = "04/05"


# Importance


def _importance(states: Tensor, gradients: Tensor, groups: int) -> Tensor:
    return (states * gradients).unflatten(-1, (groups, -1)).sum((0, 1, 3)).abs()


@exercise(LESSON, _importance)
def importance(function: Callable[..., Tensor]) -> None:
    """States and their gradients (batch, tokens, n), the number of groups → |∂L/∂m| of each group's mask, (groups,)."""
    draw = torch.Generator().manual_seed(4)
    states, gradients = (torch.randn(3, 5, 6, generator=draw) for _ in range(2))
    for groups, case in ((3, "for three groups of two: "), (6, "right for three groups, but not where each number is its own: ")):  # fmt: skip
        found = tensor(asked(function, states=states, gradients=gradients, groups=groups), (groups,))
        product = (states * gradients).unflatten(-1, (groups, -1))  # (batch, tokens, groups, size)
        right = _importance(states, gradients, groups)
        expect(found, right, f"{case}wanted: states times gradients, summed over texts, tokens and the group, then |…|", [
            (product.abs().sum((0, 1, 3)), f"{case}|…| comes before the sum: the mask is one number for all texts and tokens, so its gradient is the sum with signs, and |…| comes last"),
            (product.sum((0, 1, 3)), f"{case}the sign is still there: a part that matters may have a gradient of either sign, so take |…|"),
            (product.mean((0, 1, 3)).abs(), f"{case}this is a mean: the gradient of a number that is used many times is a sum"),
            (product.sum(1).abs().sum((0, 2)), f"{case}|…| is taken per text: sum over texts, tokens and the group first"),
            (gradients.unflatten(-1, (groups, -1)).sum((0, 1, 3)).abs(), f"{case}the states are missing: by the chain rule ∂L/∂m is the sum of state times gradient"),
            (states.unflatten(-1, (groups, -1)).sum((0, 1, 3)).abs(), f"{case}the gradients are missing: by the chain rule ∂L/∂m is the sum of state times gradient"),
            ((states * gradients).unflatten(-1, (-1, groups)).sum((0, 1, 2)).abs(), f"{case}the groups are mixed: group 0 is the first {6 // groups} numbers, not every {groups}th one"),
        ])  # fmt: skip


# Rewiring


def _rewired(inner: Tensor, bias: Tensor, outer: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    order = scores.argsort(descending=True)
    return inner[order], bias[order], outer[:, order]


@exercise(LESSON, _rewired)
def rewired(function: Callable[..., Any]) -> None:
    """Inner (n, d), its bias (n,), outer (d, n), scores (n,) → the three with the neurons in the order of scores."""
    draw = torch.Generator().manual_seed(5)
    inner, bias, outer = (torch.randn(*size, generator=draw) for size in ((5, 5), (5,), (5, 5)))
    scores = torch.tensor([0.3, 2.0, 0.1, 1.0, 0.5])
    names = ("inner", "bias", "outer")
    found = parts(asked(function, inner=inner, bias=bias, outer=outer, scores=scores), names)
    right, order = _rewired(inner, bias, outer, scores), scores.argsort(descending=True)
    upward, ranks = scores.argsort(), order.argsort()
    for name, value, wanted, dim in zip(names, found, right, (0, 0, 1), strict=True):
        whole = {"inner": inner, "bias": bias, "outer": outer}[name]
        mistakes = [
            (whole.index_select(dim, upward), f"{name}: the least important neuron comes first: descending=True"),
            (whole.index_select(dim, ranks), f"{name}: these are the neurons' ranks, used as their places: index with scores.argsort(descending=True), once"),
            (whole, f"{name} is as it was, but all three must move alike, or the layer computes something else"),
        ]  # fmt: skip
        if whole.ndim == 2:
            mistakes.append((whole.index_select(1 - dim, order), f"{name}: the other dimension moved: neurons are the rows of inner and the columns of outer"))  # fmt: skip
        expect(tensor(value, whole.shape, name), wanted, f"{name}: the neurons should stand in the order 1, 3, 4, 0, 2 for the scores {scores.tolist()}", mistakes)  # fmt: skip


# Training together


def _sizes_loss(logits: Tensor, target: Tensor) -> Tensor:
    return torch.stack([soft_cross_entropy(one, target).mean() for one in logits]).mean()


@exercise(LESSON, _sizes_loss)
def sizes_loss(function: Callable[..., Tensor]) -> None:
    """Logits (sizes, batch, classes) and the teacher's (batch, classes) → the loss, one number."""
    draw = torch.Generator().manual_seed(6)
    target, logits = (scale * torch.randn(*size, generator=draw) for scale, size in ((2, (4, 3)), (1, (5, 4, 3))))
    start = logits.clone().requires_grad_()
    value = asked(function, logits=start, target=target)
    found, right = loss(value, "exp overflows for large logits; leave it to log_softmax"), _sizes_loss(logits, target)
    shares, logs = target.softmax(1), logits.log_softmax(2)
    each = -(shares * logs).sum(2).mean(1)  # (sizes,)
    entropy = -(shares * shares.log()).sum(1).mean()
    expect(found, right, "wanted: −Σ (teacher's share · log of the size's share) over the classes, a mean over the texts and over the sizes", [
        (each.sum(), "this is the sum over the sizes: take the mean, or more sizes would mean larger steps"),
        (-each.mean(), "the sign is the wrong way round: the loss would fall as the answers move apart"),
        (each[0], "this is the loss of the first size alone"),
        (each[-1], "this is the loss of the last size alone"),
        (each.mean() / 3, "the mean runs over the classes too: sum over the classes, mean over the texts"),
        (each.mean() * 4, "this is the sum over the texts: take the mean"),
        (-logs.gather(2, target.argmax(1).expand(5, 4)[..., None]).mean(), "the teacher's answer is used as a hard label: use all its shares, target.softmax(1)"),
        (-(target * logs).sum(2).mean(), "the teacher's logits are no shares: target.softmax(1)"),
        (-(shares * logits.log_softmax(1)).sum(2).mean(), "the softmax of the sizes runs over the texts: it should run over the classes, the last dimension"),
        (each.mean() - entropy, "this is the divergence, without the teacher's own entropy: its gradient is right; the cross-entropy is asked for"),
    ])  # fmt: skip
    learns(value, _sizes_loss(start, target), {"logits": start}, "the loss is right, but not its gradient with respect to the {}: every size learns, so detach none")  # fmt: skip
    one = logits[:1, :2]
    expect(tensor(function(one, target[:2]), (), "for one size and two texts, the loss"), _sizes_loss(one, target[:2]), "right for five sizes of four texts, but not for one size of two")  # fmt: skip


# Latency


def _latency_weights(features: np.ndarray, ms: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(features, ms, rcond=None)[0]


@exercise(LESSON, _latency_weights)
def latency_weights(function: Callable[..., Any]) -> None:
    """Features (networks, k) and measured milliseconds (networks,) → the k weights of the least-squares fit."""
    rng = np.random.default_rng(7)
    exact = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), np.array([3.0, 5.0, 7.0])
    features = np.column_stack([np.ones(12), rng.integers(1, 5, 12), rng.integers(1, 9, 12)]).astype(float)
    noisy = features, features @ [2.0, 3.0, 0.5] + rng.normal(0, 0.4, 12)
    for (x, ms), case in ((exact, "three networks on one line: "), (noisy, "twelve networks with noise: ")):
        found = items(asked(function, features=x, ms=ms), f"{x.shape[1]} weights are wanted, one for each column")
        if len(found) != x.shape[1]:
            raise Mistake(f"{case}{len(found)} weights for {x.shape[1]} columns: return the weights alone (lstsq gives more than them)")  # fmt: skip
        right = _latency_weights(x, ms)
        least = float(np.square(x @ right - ms).mean())
        try:
            weights = np.array([float(one) for one in found])
        except (TypeError, ValueError) as error:
            raise Mistake(f"{case}the weights should be {x.shape[1]} numbers: lstsq gives them first, and more after them") from error  # fmt: skip
        k = x.shape[1]
        first = np.linalg.lstsq(x[:k], ms[:k], rcond=None)[0]
        expect(weights, right, f"{case}your weights miss the times by {np.square(x @ weights - ms).mean():.3g} (mean square), the best ones by {least:.3g}", [
            (first, f"{case}only the first {k} networks are used: fit all of them, no line goes through every one"),
            (np.linalg.lstsq(x[:, 1:], ms, rcond=None)[0], f"{case}the constant is left out"),
        ], 1e-4)  # fmt: skip


# Search


def _search(
    first: Sequence[Any], children: Callable[..., Any], score: Callable[[Any], float],
    seconds: Callable[[Any], float], limit: float, rounds: int, keep: int,
) -> Any:  # fmt: skip
    scores = {one: score(one) for one in dict.fromkeys(first) if seconds(one) <= limit}
    for _ in range(rounds):
        parents = sorted(scores, key=lambda one: scores[one], reverse=True)[:keep]
        for child in children(parents):
            if child not in scores and seconds(child) <= limit:
                scores[child] = score(child)
    return max(scores, key=lambda one: scores[one])


@exercise(LESSON, _search)
def search(function: Callable[..., Any]) -> None:
    """First networks, children(parents), score, seconds, limit, rounds, keep → the best network within the limit."""
    _hunt(function, [1, 2, 30], lambda one: float(one), 10, 5, 2, "the score grows with the number, limit 10: ", {
        30: "it is the best of all, but takes 30 seconds: ask seconds(one) <= limit of the first networks too",
        12: "it takes 12 seconds, and the limit is 10: ask seconds(child) <= limit",
        9: "its seconds are below the limit, but 10 seconds are within it: <=, not <",
        2: "it is the best of the first networks: no child was taken",
        1: "it is the worst: the highest score is wanted",
    })  # fmt: skip
    _hunt(function, [1, 7], lambda one: -abs(one - 7.0), 100, 2, 1, "the best network is among the first: ", dict.fromkeys((8, 9), "it comes from 7 and is worse: keep what was found before, and return the best of all"))  # fmt: skip
    _hunt(function, [1], lambda one: float(one), 100, 3, 1, "three rounds from 1, each adding at most 2: ", {
        one: f"that is where {'fewer' if one < 7 else 'more'} than three rounds lead" for one in (1, 3, 5, 9, 11)
    })  # fmt: skip


def _hunt(
    function: Callable[..., Any], first: list[int], score: Callable[[int], float], limit: float, rounds: int,
    keep: int, case: str, told: dict[int, str],
) -> None:  # fmt: skip
    """Mistake unless the function finds what `_search` does among whole numbers, of which n takes n seconds."""
    scored: list[int] = []
    parents: list[list[int]] = []

    def counted(one: int) -> float:
        scored.append(one)
        return score(one)

    def children(some: Any) -> list[int]:
        parents.append(items(some, "children() takes a list of parents"))
        return [child for parent in parents[-1] for child in (parent + 1, parent + 2)]

    found = function(list(first), children, counted, float, limit, rounds, keep)
    given(found)
    right = _search(first, lambda some: [c for p in some for c in (p + 1, p + 2)], score, float, limit, rounds, keep)
    if isinstance(found, list | tuple):
        raise Mistake(f"{case}one network is wanted, not {found!r}")
    if not same(found, right):
        raise Mistake(f"{case}{found!r} was found, {right} is wanted" + (f"; {told[found]}" if found in told else ""))
    if slow := [one for one in scored if one > limit]:
        raise Mistake(f"{case}{slow[0]} was scored, though it takes longer than the limit: a score is slow, so ask seconds() first")  # fmt: skip
    if len(set(scored)) < len(scored):
        again = next(one for one in scored if scored.count(one) > 1)
        raise Mistake(f"{case}{again} was scored {scored.count(again)} times: keep the scores, for example in a dict")
    if len(parents) != rounds:
        raise Mistake(f"{case}children() was called {len(parents)} times in {rounds} rounds: once per round")
    if any(len(some) > keep for some in parents):
        raise Mistake(f"{case}{max(map(len, parents))} parents were given to children(), only the best {keep} should be")  # fmt: skip
