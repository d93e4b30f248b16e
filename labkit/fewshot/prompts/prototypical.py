"""ProtoVerb: a class is a point among the vectors at the blank, its *prototype*, learned by contrast.

No label word is chosen and none is trained: examples of one class are pulled together, those of others pushed apart,
and each class's prototype is drawn to the middle of its own (Cui et al. 2022, "Prototypical verbalizer for prompt-based
few-shot tuning", §3). With S the cosine similarity of projected vectors v = W h and N·K examples of N classes:

    L_ins   = − 1/(N²K²) Σ_n Σ_ij  log( exp S(v_i^n, v_j^n) / Σ_n'j' exp S(v_i^n, v_j'^n') )
    L_proto = − 1/(N²K)  Σ_n Σ_i   log( exp S(v_i^n, c_n)   / Σ_n'   exp S(v_i^n, c_n')   )

Ours are means over the pairs of one class, and over examples: the same but for a constant. The paper's prototypes start
at random, ours at the mean of their examples, so that the method is a nearest-mean classifier before its first step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import over_rows
from labkit.fewshot.prompts.at_the_blank import SHARPNESS, AtTheBlank, described, states_at_the_blank
from labkit.fewshot.prompts.template import Template
from labkit.foundations.encoder import labels_of, unwrapped
from labkit.lab import generator

NAME = "prototypes"  # of the module that `attach` gives the model


class Prototypes(nn.Module):
    """The projection W (size, d) and the classes' prototypes (classes, size)."""

    def __init__(self, projection: Tensor, points: Tensor) -> None:
        super().__init__()
        self.projection, self.points = nn.Parameter(projection.clone()), nn.Parameter(points.clone())

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (batch, d) to projections (batch, size), and the prototypes (classes, size); all of length 1."""
        return F.normalize(states @ self.projection.t(), dim=1), F.normalize(self.points, dim=1)


class ProtoVerb(AtTheBlank):
    """The method. `attach(model, rows)` gives the model projection and prototypes, which train with it; `fitted` takes
    them off again and keeps them.

    `size` is the projection's width. Raises UsageError for a template without exactly one blank.
    """

    def __init__(
        self,
        template: Template | str,
        labels: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int = 128,
        *,
        size: int = 64,
    ) -> None:
        super().__init__(template, labels, tokenizer, max_length)
        self.size = size
        self.kept: tuple[Tensor, Tensor] | None = None  # (size, d) and (classes, size), by `fitted`

    def attach(self, model: nn.Module, rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> nn.Module:
        """Give the model, in place, a random projection and the mean of each class's projected examples.

        DataError where a class has no example; UsageError for a model that has prototypes already.
        """
        bare = unwrapped(model)
        if hasattr(bare, NAME):
            raise UsageError("the model has prototypes already: take them off with detach(model)")
        labels = self.labels_of_all(rows, "a prototype is learned from at least one")
        states = over_rows(model, rows, self.collate, states_at_the_blank)  # (rows, d)
        drawn = torch.randn(self.size, states.shape[1], generator=generator(seed))
        projection = drawn.to(states) * states.shape[1] ** -0.5
        projected = F.normalize(states @ projection.t(), dim=1)
        points = torch.stack([projected[labels == number].mean(0) for number in range(len(self.labels))])
        setattr(bare, NAME, Prototypes(projection, points).to(next(model.parameters()).device))
        return model

    @staticmethod
    def detach(model: nn.Module) -> nn.Module:
        """The model, in place, without prototypes."""
        if not hasattr(unwrapped(model), NAME):
            raise UsageError("the model has no prototypes: give it some with attach(model, rows)")
        delattr(unwrapped(model), NAME)
        return model

    def fitted(self, model: nn.Module, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take projection and prototypes off the model and keep them; rows are not read."""
        found = getattr(unwrapped(model), NAME, None)
        if found is None:
            raise UsageError("the model has no prototypes: attach(model, rows) before training, fitted(model) after")
        self.kept = found.projection.detach().float().cpu(), found.points.detach().float().cpu()
        self.detach(model)

    def _pass(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Projected vectors (batch, size) and prototypes (classes, size), all of length 1."""
        states, found = states_at_the_blank(model, batch), getattr(unwrapped(model), NAME, None)
        if found is None:
            if self.kept is None:
                raise UsageError("no prototypes: call attach(model, rows) before training")
            found = Prototypes(*self.kept).to(states)
        return found(states)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cosine to each class's prototype, times a constant: (batch, classes)."""
        vectors, points = self._pass(model, batch)
        return SHARPNESS * vectors @ points.t()

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """L_ins + L_proto: a scalar in nats."""
        vectors, points = self._pass(model, batch)
        return contrast(vectors, points, labels_of(batch))

    __call__ = loss

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs to answer as this does: plain JSON values."""
        projection, points = ([], []) if self.kept is None else (value.tolist() for value in self.kept)
        return self.known() | {"projection": projection, "points": points}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> ProtoVerb:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        values, (projection, points) = described(description, ("projection", "points"))
        how = cls(values["template"], values["labels"], tokenizer, values["max_length"])
        if projection.numel():
            if projection.ndim != 2 or points.shape != (len(how.labels), len(projection)):
                raise UsageError("a method's description: one point of the projection's width is needed for each label")
            how.kept, how.size = (projection, points), len(projection)
        return how


def contrast(vectors: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """L_ins + L_proto of vectors (batch, size) with labels (batch,) and prototypes (classes, size), of length 1."""
    between = (vectors @ vectors.t()).log_softmax(1)  # (batch, batch): log of example j's share for example i
    pairs = labels[:, None] == labels[None, :]
    return -between[pairs].mean() + F.cross_entropy(vectors @ points.t(), labels)
