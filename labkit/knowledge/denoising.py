"""Which labels to trust: a generator picks them against a discriminator, as in DSGAN (Qin, Xu & Wang 2018).

Both are first taught, for one relation, to tell labelled texts from others. Then, in each round, the generator draws
the labels that it takes for right. A discriminator that starts each round anew is told that just these are wrong, and
the rest right. It believes longest in labels that are like many others; the generator is rewarded for picking these.

Two things differ from the paper. Its networks are convolutions with position embeddings; here n-grams are weighed,
which takes seconds. It gives all labels of a bag their mean reward; here each label has its own, because with the mean
the precision did not rise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.config import AMOUNT, COUNT, RATE, SEED, check
from labkit.errors import UsageError
from labkit.knowledge.distant import Label
from labkit.lab import generator

LONGEST = 3  # words of an n-gram
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DenoiseSettings:
    """`steps` teach both before the game at the rate `lr`; then come `rounds` of bags of `bag` labels. `drop_weight` is
    the weight of the second reward, for negative texts that the discriminator comes to believe in.
    """

    steps: Annotated[int, COUNT] = 60
    lr: Annotated[float, RATE] = 0.05
    rounds: Annotated[int, COUNT] = 60
    bag: Annotated[int, COUNT] = 32
    discriminator_lr: Annotated[float, AMOUNT] = 2.0
    drop_weight: Annotated[float, AMOUNT] = 1.0
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check(self)


def picking_loss(picked: Tensor, believed: Tensor, bonus: float) -> Tensor:
    """The generator's loss: −Σ log p · (believed − ½ + bonus) over the labels that it drew, with its probabilities
    `picked` (n,) and the discriminator's `believed` (n,), which is no path of the gradient (REINFORCE).
    """
    return -(picked.log() * (believed.detach() - 0.5 + bonus)).sum()


def features(labels: Sequence[Label]) -> Tensor:
    """Rows of length 1 with a place for each n-gram, up to `LONGEST`, of any of the texts: (labels, n-grams)."""
    known: dict[tuple[str, ...], int] = {}
    rows = [
        [
            known.setdefault(words[at : at + n], len(known))
            for n in range(1, LONGEST + 1)
            for at in range(len(words) - n + 1)
        ]
        for words in (("^", *label.tokens) for label in labels)
    ]
    table = torch.zeros(len(rows), len(known))
    for row, places in enumerate(rows):
        table[row, places] = 1
    return F.normalize(table, dim=1)


def taught(positive: Tensor, negative: Tensor, settings: DenoiseSettings) -> Tensor:
    """Weights (n-grams,) whose sign tells positive from negative rows: logistic regression that starts at 0."""
    weights = torch.zeros(positive.shape[1], requires_grad=True)
    rows, wanted = torch.cat([positive, negative]), torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))])
    optimizer = torch.optim.Adam([weights], settings.lr)
    for _ in range(settings.steps):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(rows @ weights, wanted).backward()
        optimizer.step()
    return weights.detach()


def denoise(
    given: Sequence[Label],
    other: Sequence[Label],
    settings: DenoiseSettings = DenoiseSettings(),  # noqa: B008  frozen
    loss: Loss = picking_loss,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the labels of one relation, (given,) each, kept where above 0: after teaching, and after the game.

    `other` are texts of the same pairs of types without the label: one half teaches the generator, one the
    discriminator. UsageError where there are too few.
    """
    if not given or len(other) < 2:
        raise UsageError(f"{len(given)} labels and {len(other)} negative texts: give one label and two texts at least")
    table = features([*given, *other])
    positive, negatives = table[: len(given)], table[len(given) :].chunk(2)
    first = taught(positive, negatives[0], settings)
    return (positive @ first).numpy(), (positive @ _played(first, positive, negatives[1], settings, loss)).numpy()


def _played(first: Tensor, positive: Tensor, negative: Tensor, settings: DenoiseSettings, loss: Loss) -> Tensor:
    """The generator's weights after the round in which the discriminator was most misled about negative texts."""
    draws, start = generator(settings.seed), taught(positive, negative, settings)
    weights = first.clone().requires_grad_()
    optimizer, best, most = torch.optim.Adam([weights], settings.lr), first, None
    for _ in range(settings.rounds):
        judge, drawn = start.clone(), []
        for bag in torch.randperm(len(positive), generator=draws).split(settings.bag):
            share = (positive[bag] @ weights).sigmoid().clamp(1e-6, 1 - 1e-6)
            picks = torch.bernoulli(share.detach(), generator=draws).bool()
            judge += settings.discriminator_lr * _slope(judge, positive[bag], ~picks)
            drawn.append((share[picks], (positive[bag][picks] @ judge).sigmoid()))
        misled = float((negative @ judge).sigmoid().mean())
        bonus = 0.0 if most is None else settings.drop_weight * (misled - most)
        if most is None or misled >= most:
            best, most = weights.detach().clone(), misled
        optimizer.zero_grad()
        (sum(loss(*pair, bonus) for pair in drawn) / len(positive)).backward()
        optimizer.step()
    return best


def _slope(weights: Tensor, rows: Tensor, wanted: Tensor) -> Tensor:
    """Minus the gradient of the mean cross-entropy of logistic regression, (n-grams,)."""
    return (wanted.float() - (rows @ weights).sigmoid()) @ rows / len(rows)
