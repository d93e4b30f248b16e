"""Checks of lesson 02/01, facts as a graph: `from labkit.checks import knowledge_graphs as check`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, items, learns, loss, number
from labkit.knowledge import denoising, distant, links, transe

LESSON = "02/01"
HEAD, TAIL = transe.HEAD, transe.TAIL


@exercise(LESSON, transe.margin_loss)
def margin_loss(function: Callable[..., Tensor]) -> None:
    """Distances of facts (n,) and of their negatives (n, k), the margin → the mean of [margin + d − d']₊."""
    positive = torch.tensor([1.0, 3.0, 0.5], requires_grad=True)
    negative = torch.tensor([[1.25, 3.0], [2.0, 9.0], [0.8, 4.0]], requires_grad=True)
    value = asked(function, positive=positive, negative=negative, margin=0.5)
    p, n = positive.detach()[:, None], negative.detach()
    room, right = 0.5 + p - n, transe.margin_loss(positive, negative, 0.5)
    expect(loss(value), right, "wanted: the mean over all negatives of max(0, margin + d(fact) − d(negative))", [
        (room.mean(), "negatives that are far enough count below 0 here: cut at 0, so that they ask for nothing"),
        (room.relu().sum(), "this is the sum: take the mean"),
        (room.relu().sum(1).mean(), "this is a sum over the negatives of a fact: take the mean over all of them"),
        ((0.5 - p + n).relu().mean(), "the signs are exchanged: the fact's distance should fall, the negative's grow"),
        ((p - n).relu().mean(), "the margin is missing"),
        ((p - n).relu().mean() + 0.5, "the margin belongs inside: it is added before the cut at 0"),
        ((0.5 + p[:, 0] - n.mean(1)).relu().mean(), "compare the fact with each negative, not with their mean distance"),
        (room.abs().mean(), "this is the absolute value: below 0 it should be 0"),
        (room.relu().square().mean(), "this is squared: the paper's loss is not"),
    ])  # fmt: skip
    learns(value, right, {"positive": positive, "negative": negative}, "the loss is right, but not its gradient with respect to {}")  # fmt: skip
    one = torch.tensor([2.0]), torch.tensor([[1.0]])
    expect(
        loss(function(*one, 2.0), gradient=False), 3.0, "right for margin 0.5, but not for margin 2: use the argument"
    )


@exercise(LESSON, transe.corrupt)
def corrupt(function: Callable[..., Any]) -> None:
    """Triples (n, 3), the column to replace (n,), the number of entities, known facts, a generator → negatives."""
    triples = np.array([[0, 0, 1], [1, 0, 2], [3, 1, 0], [2, 1, 3]] * 60)
    column = np.array([HEAD, TAIL, TAIL, HEAD] * 60)
    known = {(0, 0, 1), (1, 0, 2), (3, 1, 0), (2, 1, 3), (1, 0, 0), (3, 1, 2), (4, 0, 1)}
    rng = np.random.default_rng(0)  # drawing changes it, which is allowed
    given = {"triples": triples, "column": column, "entities": 6, "known": known}
    made = _triples(asked(lambda *values: function(*values, rng), **given), len(triples))
    if (made == triples).all():
        raise Mistake("these are the facts themselves: replace the end that `column` names")
    rows, other = np.arange(len(triples)), np.where(column == HEAD, TAIL, HEAD)
    if (made[:, 1] != triples[:, 1]).any():
        raise Mistake("the relation was changed: only the head (column 0) or the tail (column 2) is replaced")
    if (made[rows, other] != triples[rows, other]).any():
        raise Mistake("the wrong end was replaced: column[i] is 0 where the head of triple i is replaced, 2 where the tail is")  # fmt: skip
    drawn = made[rows, column]
    if drawn.min() < 0 or drawn.max() >= 6:
        raise Mistake("there is no such entity: they are numbered from 0 to entities − 1")
    if false := next((tuple(map(int, one)) for one in made if tuple(map(int, one)) in known), None):
        raise Mistake(f"{false} is a known fact, not a negative: draw again until none is in `known`")
    for at in range(4):
        free = {new for new in range(6) if tuple(np.where(np.arange(3) == column[at], new, triples[at])) not in known}
        if missing := free - set(drawn[at::4].tolist()):
            raise Mistake(f"entity {min(missing)} was never drawn in the place of {tuple(map(int, triples[at]))}, column {column[at]}, in 60 draws: every entity that makes no fact should be as likely")  # fmt: skip
    again = _triples(function(*given.values(), np.random.default_rng(1)), len(triples))
    if (again == made).all():
        raise Mistake("another `rng` gives the same negatives: draw with the generator that you were given")


def _triples(value: Any, rows: int) -> np.ndarray:
    """`value` as an array of whole numbers (rows, 3)."""
    try:
        made = np.asarray(value)
    except ValueError as error:
        raise Mistake(f"an array of shape ({rows}, 3) is wanted") from error
    if made.shape != (rows, 3):
        raise Mistake(f"the result has shape {made.shape}; ({rows}, 3) is wanted")
    if made.dtype.kind not in "iu":
        raise Mistake(f"the result is of {made.dtype}; whole numbers are wanted")
    return made


@exercise(LESSON, links.filtered_rank)
def filtered_rank(function: Callable[[Tensor, int, Collection[int]], Any]) -> None:
    """Distances (entities,), the answer, the other true answers → its filtered rank, ties shared."""
    distances = torch.tensor([0.9, 0.2, 0.4, 0.7, 0.4, 0.1, 0.7, 0.7, 1.5, 0.7])
    _rank(function, distances, 3, {1, 5}, "distances {d}, answer 3, others {{1, 5}}", [
        (6.5, "the other true answers still count: leave out `others`, they are no mistakes"),
        (3.0, "of entities at the same distance none is first: give the answer the middle of their places (here 3 to 6)"),
        (6.0, "of entities at the same distance none is last: give the answer the middle of their places (here 3 to 6)"),
        (5.0, "half of the entities that tie with it, but not of itself: it does not tie with itself"),
        (3.75, "count half of each other entity at the same distance: three of them push the answer down by 1.5"),
        (3.5, "this counts from 0: the best rank is 1"),
    ])  # fmt: skip
    _rank(function, distances, 8, set(), "the answer is the farthest of ten", [(1.0, "small distances are good: the nearest comes first")])  # fmt: skip
    _rank(
        function,
        distances,
        5,
        {2, 3},
        "the answer is nearest of all",
        [(0.0, "this counts from 0: the best rank is 1")],
    )
    _rank(function, distances, 2, {4}, "the only entity at the same distance is another true answer")
    _rank(function, torch.ones(4), 1, {0}, "all distances are the same, and one other answer is true")


def _rank(
    function: Callable[[Tensor, int, Collection[int]], Any], distances: Tensor, answer: int, others: set[int], case: str,
    mistakes: Iterable[tuple[float, str]] = (),
) -> None:  # fmt: skip
    shown = case.format(d=[round(float(one), 1) for one in distances])
    found = number(asked(function, distances=distances, answer=answer, others=others), "the rank")
    right = links.filtered_rank(distances, answer, others)
    told = [(value, f"{shown}: {text}") for value, text in mistakes]
    expect(found, right, f"{shown}: the rank should be {right:g}, not {found:g}", told)


@exercise(LESSON, distant.distant_labels)
def distant_labels(function: Callable[[Collection[int], Iterable[Any]], Any]) -> None:
    """The entities that a text names, facts (head, relation, tail) → those of which both ends are named."""
    facts = {(1, 0, 2), (2, 0, 1), (1, 3, 2), (2, 1, 5), (7, 0, 1), (4, 2, 4), (8, 2, 9)}
    for entities, case in (
        ({1, 2, 4, 6}, "entities {1, 2, 4, 6}"),
        ({9}, "entities {9}"),
        (set(), "a text without names"),
    ):
        right = distant.distant_labels(entities, facts)
        found = items(asked(function, entities=entities, facts=facts), "a set of facts is wanted")
        try:
            told = [tuple(int(one) for one in fact) for fact in found]
        except (TypeError, ValueError) as error:
            raise Mistake("each label is a fact, three numbers (head, relation, tail)") from error
        if len(told) != len(set(told)):
            raise Mistake(f"{case}: a fact stands twice: give each once")
        _labels(case, set(told), right, entities, facts)


def _labels(case: str, told: set[Any], right: set[Any], entities: set[int], facts: set[Any]) -> None:
    """Mistake, which names the kind, unless the labels are right."""
    if strange := told - facts:
        raise Mistake(f"{case}: {min(strange)} is no fact of the graph: labels are taken from `facts`, as they stand")
    if wrong := told - right:
        fact = min(wrong)
        inside = "only one of its ends" if entities & {fact[0], fact[2]} else "neither of its ends"
        raise Mistake(f"{case}: {fact} is labelled, but the text names {inside}: both must be among `entities`")
    if missing := right - told:
        raise Mistake(f"{case}: {min(missing)} is missing: the text names both ends of it (an entity may also be both)")


@exercise(LESSON, denoising.picking_loss)
def picking_loss(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """p of the picked labels (n,), what the discriminator believes (n,), the bonus → −Σ log p · (believed − ½ + bonus)."""
    picked = torch.tensor([0.8, 0.6, 0.3], requires_grad=True)
    believed = torch.tensor([0.9, 0.3, 0.7], requires_grad=True)
    value = asked(function, picked=picked, believed=believed, bonus=0.1)
    p, b = picked.detach(), believed.detach()
    right = denoising.picking_loss(picked, believed, 0.1)
    expect(loss(value, "the logarithm of a number below 0?"), right, "wanted: −Σ log p · (believed − ½ + bonus)", [
        (-right, "the sign is the wrong way round: training makes a loss small, and the reward should grow"),
        (right / 3, "this is the mean over the labels: take the sum"),
        (-(p.log() * (b - 0.5)).sum(), "the bonus is missing"),
        (-(p.log() * (b + 0.1)).sum(), "½ is missing: a label that the discriminator doubts should be picked less"),
        (-(p.log() * (b - 0.5)).sum() - 0.1, "the bonus belongs to the reward of each label: add it before you multiply"),
        (-(p * (b - 0.5 + 0.1)).sum(), "the logarithm of the picked probabilities is missing"),
        (-(p.log() * (b - 0.5 - 0.1)).sum(), "the bonus is subtracted: it should be added"),
        (-(p.log().sum() * (b - 0.5 + 0.1).sum()), "multiply label by label, then add up"),
    ])  # fmt: skip
    slope = torch.autograd.grad(value, believed, allow_unused=True, retain_graph=True)[0]
    if slope is not None and slope.abs().sum() > 0:
        raise Mistake("a gradient reaches `believed`: the reward is a number that the discriminator gave, so detach it")
    learns(value, right, {"picked": picked}, "the loss is right, but not its gradient with respect to {}")
    none = function(torch.empty(0, requires_grad=True), torch.empty(0), 0.1)
    expect(loss(none, "a mean over no labels?", gradient=False), 0.0, "where nothing is picked, the loss is 0")
