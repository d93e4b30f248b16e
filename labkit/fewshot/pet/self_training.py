"""Learning from one's own answers: PET's ensemble and its final classifier, iPET, and self-training.

A few models, each with its own pattern, label many texts without labels; a classifier learns from those *soft* labels
(Schick & Schütze 2021, "Exploiting cloze questions", §3.4). iPET lets the models teach one another first, in
generations whose training sets grow (§3.5). Plain self-training is the same with one model that teaches itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.config import positive
from labkit.errors import UsageError
from labkit.evaluation import predict

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Member:
    """One model of an ensemble with the method that reads it; `weight` is its share of the vote."""

    model: nn.Module
    method: Any
    weight: float = 1.0


def soft_labels(members: Sequence[Member], rows: Rows, temperature: float = 2.0) -> np.ndarray:
    """What an ensemble says of each row: (n, classes) probabilities, float64.

    softmax(Σ_m w_m · s_m / (Z·T)) with the members' label scores s_m, which are log-probabilities here: a number added
    to all scores of a row changes nothing. Z = Σ w; T > 1 flattens. Raises UsageError for no members or no weight.
    """
    total = sum(member.weight for member in members)
    if not members or total <= 0 or min(member.weight for member in members) < 0:
        raise UsageError("an ensemble needs members, with weights of at least 0 that are not all 0")
    positive("temperature", temperature)
    scores = sum(
        member.weight / total * np.log(predict(member.model, member.method, rows, progress=False).clip(1e-12))
        for member in members
    )
    return torch.from_numpy(np.asarray(scores, np.float64) / temperature).softmax(1).numpy()


def most_confident(probabilities: np.ndarray, counts: Sequence[int]) -> list[tuple[int, int]]:
    """(row, class) of the `counts[c]` rows that are most surely of class c, among those for which c is likeliest.

    The surest come first; of equals, the earlier row. A class for which too few rows are likeliest gets fewer, never
    rows that the ensemble would call by another name.
    """
    answers = probabilities.argmax(1)
    chosen = []
    for label, count in enumerate(counts):
        own = np.flatnonzero(answers == label)
        order = own[np.argsort(-probabilities[own, label], kind="stable")]
        chosen += [(int(row), label) for row in order[:count]]
    return chosen


def pseudo_labelled(rows: Rows, probabilities: np.ndarray, counts: Sequence[int]) -> list[dict[str, Any]]:
    """The most confident rows with the ensemble's answer as their label; a label they bring is not read."""
    return [{**rows[row], "label": label} for row, label in most_confident(probabilities, counts)]


def self_training(
    train: Callable[[Rows], Member],
    labelled: Rows,
    unlabelled: Rows,
    classes: int,
    *,
    rounds: int = 2,
    growth: int = 4,
) -> Member:
    """One model that teaches itself: train, label the unlabelled, train anew on the surest answers too; `rounds` times.

    Round r trains on the labelled rows and `growth**r − 1` times as many pseudo-labelled ones, classes in the
    proportion of the labelled. `train(rows)` gives a model that was trained from the start on `rows`.
    """
    member = train(labelled)
    for number in range(1, rounds + 1):
        counts = (growth**number - 1) * _counts(labelled, classes)
        found = soft_labels([member], unlabelled, temperature=1.0)
        member = train([*labelled, *pseudo_labelled(unlabelled, found, counts)])
    return member


def ipet(
    trainers: Sequence[Callable[[Rows], Member]],
    labelled: Rows,
    unlabelled: Rows,
    classes: int,
    *,
    generations: int = 2,
    growth: int = 5,
    share: float = 0.5,
    seed: int = 0,
) -> list[Member]:
    """iPET (§3.5): each generation, every model is trained anew on what a random part of the *others* is sure of.

    `trainers`, one a pattern, each train a model from the start on the rows they are given; `share` of the other
    models, at least one, speak. Generation g trains on `growth**g` times as many rows as are labelled. Returns the last
    generation. Raises UsageError for fewer than two trainers: then it would be self-training.
    """
    if len(trainers) < 2:
        raise UsageError(f"iPET needs at least two patterns, that teach one another, not {len(trainers)}")
    rng = np.random.default_rng(seed)
    members = [train(labelled) for train in trainers]
    for number in range(1, generations + 1):
        counts = (growth**number - 1) * _counts(labelled, classes)
        taught = []
        for own, train in enumerate(trainers):
            others = [member for index, member in enumerate(members) if index != own]
            heard = rng.choice(len(others), size=max(1, round(share * len(others))), replace=False)
            found = soft_labels([others[index] for index in heard], unlabelled, temperature=1.0)
            taught.append(train([*labelled, *pseudo_labelled(unlabelled, found, counts)]))
        members = taught
    return members


def _counts(labelled: Rows, classes: int) -> np.ndarray:
    """Labelled rows of each class, at least one each: a class that nobody has seen may still be found."""
    return np.bincount([row["label"] for row in labelled], minlength=classes).clip(1)


class SoftTargets:
    """A method, trained on soft labels: rows bring "target", a probability for each class.

    L = T² · CE(target, softmax(logits / T)) in nats (Hinton et al. 2015, §2): T² keeps the gradient's size. Answers are
    the method's own.
    """

    def __init__(self, method: Any, temperature: float = 2.0) -> None:
        self.method, self.temperature = method, positive("temperature", temperature)

    def collate(self, rows: Rows, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The method's batch, with "targets" (batch, classes) where every row has a target."""
        batch = self.method.collate(rows, rng)
        if rows and all("target" in row for row in rows):
            batch["targets"] = torch.tensor(np.stack([row["target"] for row in rows]), dtype=torch.float32)
        return batch

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(batch, classes), as the method gives them."""
        return self.method.logits(model, batch)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """See the class: a scalar."""
        if "targets" not in batch:
            raise UsageError(
                "a row of this batch has no target: give each row the ensemble's probabilities as 'target'"
            )
        logits = self.method.logits(model, batch).float() / self.temperature
        if logits.shape != batch["targets"].shape:
            found = f"{tuple(batch['targets'].shape)} for answers {tuple(logits.shape)}"
            raise UsageError(f"targets {found}: teachers and student must have the same classes, in the same order")
        return self.temperature**2 * F.cross_entropy(logits, batch["targets"])

    __call__ = loss


def with_targets(rows: Rows, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """The rows with the ensemble's probabilities as "target", and without any label they bring."""
    return [
        {**{key: value for key, value in row.items() if key != "label"}, "target": target}
        for row, target in zip(rows, probabilities, strict=True)
    ]
