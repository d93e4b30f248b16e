"""CAP: what a pruned model should stay close to (Xu et al. 2022, From dense to sparse: contrastive pruning, §3).

A model that is pruned on one task forgets the rest. CAP keeps its features near three others' of the same text, and far
from theirs of other texts: the pre-trained model's (what is general), the fine-tuned one's (the task), and those of its
own earlier, less pruned states. To the latter two the texts of the same label are near as well.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.compression.pruning.masks import finish
from labkit.compression.tinybert import bert_encoder
from labkit.config import positive
from labkit.foundations.encoder import labels_of, mean_state, model_inputs, unwrapped


def contrast(mine: Tensor, theirs: Tensor, labels: Tensor | None = None, temperature: float = 0.1) -> Tensor:
    """−log of the share of the near ones among all, by exp(cosine / temperature): features (batch, d) to a scalar.

    Near is the other model's feature of the same text; with `labels` (batch,), of every text of its label, as a mean of
    the logarithms.
    """
    positive("temperature", temperature)
    scores = F.normalize(mine, dim=1) @ F.normalize(theirs, dim=1).T / temperature  # (batch, batch)
    near = torch.eye(len(mine), device=mine.device) if labels is None else (labels[:, None] == labels).float()
    return -((scores.log_softmax(1) * near).sum(1) / near.sum(1)).mean()


class CAP:
    """A method's loss, and `weight` times the contrasts with a pre-trained model, a fine-tuned one, and snapshots.

    >>> # cap = CAP(method, pretrained, finetuned)
    >>> # fit(model, cap, batches, on_step=gradually(model, .9, 100, 800))     # cap.snapshot(model) now and then
    """

    def __init__(
        self, method: Any, pretrained: nn.Module | None, finetuned: nn.Module | None, *, weight: float = 0.1,
        temperature: float = 0.1,
    ) -> None:  # fmt: skip
        self.method, self.weight, self.temperature = method, weight, positive("temperature", temperature)
        self.pretrained = None if pretrained is None else pretrained.eval()
        self.tuned = [] if finetuned is None else [finetuned.eval()]

    def snapshot(self, model: nn.Module) -> None:
        """From now on also near to the model as it is, with its masks."""
        self.tuned.append(finish(copy.deepcopy(model)).eval())

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """A scalar."""
        states: list[Tensor] = []  # of the one pass that the loss needs anyway
        seen = bert_encoder(model).register_forward_hook(lambda _, __, output: states.append(output[0]))
        try:
            loss = self.method.loss(model, batch)
        finally:
            seen.remove()
        pooling = getattr(unwrapped(model), "pooling", "cls")
        mine = pooled(states[-1], batch, pooling)
        with torch.no_grad():
            general = None if self.pretrained is None else feature(self.pretrained, batch, pooling)
            tuned = [feature(one, batch, pooling) for one in self.tuned]
        parts = [] if general is None else [contrast(mine, general, temperature=self.temperature)]
        for theirs in tuned:
            parts += [contrast(mine, theirs, labels, self.temperature) for labels in (None, labels_of(batch))]
        return loss + self.weight * sum(parts)


def feature(model: nn.Module, batch: Mapping[str, Tensor], pooling: str = "cls") -> Tensor:
    """The vector of each text that a head reads, (batch, d)."""
    encoder = bert_encoder(model)
    return pooled(encoder(**model_inputs(encoder, batch))[0], batch, pooling)


def pooled(states: Tensor, batch: Mapping[str, Tensor], pooling: str) -> Tensor:
    """States (batch, tokens, d) to (batch, d): the mean where the head takes the mean, else the first token's."""
    return mean_state(states, batch.get("attention_mask")) if pooling == "mean" else states[:, 0]
