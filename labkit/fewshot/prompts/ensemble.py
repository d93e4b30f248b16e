"""Template ensembles: one model asked in several ways, and the answers averaged.

Nobody knows beforehand which template a model likes; the mean of their log-probabilities is close to the best of them
without a choice (Jiang et al. 2020, "How can we know what language models know?", §4.2). Weights by accuracy on a few
labelled rows trust the better ones more. Several *models* with a template each are `self_training.soft_labels`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.fewshot.pet import PET
from labkit.foundations.encoder import labels_of, with_labels
from labkit.foundations.heads import checked


class TemplateEnsemble:
    """The method: clozes of the same labels on one model. Σ_m w_m log q_m(label | row), the weights made to sum to 1.

    The loss is the mean of the members' own, so that all templates are trained. Raises UsageError for no members,
    members of other labels, or weights that are negative or all 0.
    """

    def __init__(self, members: Sequence[PET], weights: Sequence[float] | None = None) -> None:
        self.members = tuple(members)
        if len({member.verbalizer.labels for member in self.members}) != 1:
            raise UsageError(f"a template ensemble needs members with the same labels; it has {len(self.members)}")
        weights = tuple(float(w) for w in weights) if weights is not None else (1.0,) * len(self.members)
        if len(weights) != len(self.members) or min(weights) < 0 or not sum(weights) > 0:
            what = "one of at least 0 a member is needed, and not all 0"
            raise UsageError(f"weights {weights} of a template ensemble of {len(self.members)}: {what}")
        self.weights = weights

    @classmethod
    def for_task(cls, task: Any, tokenizer: PreTrainedTokenizerBase, **options: Any) -> TemplateEnsemble:
        """All of the task's own patterns; options are those of `PET.for_task`."""
        return cls([PET.for_task(task, tokenizer, number, **options) for number in range(len(task.patterns))])

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Each member's batch under names that begin with "number:", and "labels" (batch,)."""
        batch: dict[str, Tensor] = {}
        for number, member in enumerate(self.members):
            batch |= {f"{number}:{name}": value for name, value in member.collate(rows, rng).items()}
        return with_labels(batch, rows)

    def _scores(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """log q of every member: (members, batch, classes)."""
        found = []
        for number, member in enumerate(self.members):
            start = f"{number}:"
            part = {name.removeprefix(start): value for name, value in batch.items() if name.startswith(start)}
            found.append(member.logits(model, part).log_softmax(-1))
        return torch.stack(found)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Weighted mean log-probabilities: (batch, classes); their softmax is the answer."""
        scores = self._scores(model, batch)
        share = scores.new_tensor(self.weights) / sum(self.weights)
        return torch.einsum("m,mbc->bc", share, scores)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the members, a scalar in nats."""
        labels = labels_of(batch)
        return torch.stack([F.nll_loss(one, labels) for one in self._scores(model, batch)]).mean()

    __call__ = loss

    def weighted(self, model: nn.Module, rows: Sequence[Mapping[str, Any]]) -> TemplateEnsemble:
        """The same with each member's accuracy on `rows` as its weight (equal weights where all are wrong)."""
        labels = [row.get("label") for row in rows]
        if not labels or None in labels:
            raise DataError("weights need labelled rows, at least one")
        found = [predict(model, member, rows, progress=False).argmax(1) == labels for member in self.members]
        right = [float(np.mean(one)) for one in found]
        weighted = copy.copy(self)
        weighted.weights = tuple(right) if sum(right) else (1.0,) * len(right)
        return weighted

    def calibrated(self, model: nn.Module, rows: Sequence[Mapping[str, Any]]) -> TemplateEnsemble:
        """The same with every member calibrated on `rows`; see `PET.calibrated`."""
        return TemplateEnsemble([member.calibrated(model, rows) for member in self.members], self.weights)

    def describe(self) -> dict[str, Any]:
        """The members' descriptions and the weights, in plain JSON values."""
        return {"members": [member.describe() for member in self.members], "weights": list(self.weights)}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> TemplateEnsemble:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        values = checked(description, {"members": list, "weights": list})
        members = [PET.from_description(one, tokenizer) for one in values.get("members", [])]
        return cls(members, values.get("weights"))
