"""Two towers: one encoder reads each text alone, and the cosine of their mean states says whether they match.

Unlike a pair read together, a text's vector can be kept and compared with a million others (Reimers & Gurevych 2019,
Sentence-BERT, §3). Two losses, each on a whole batch with a margin m and a scale γ. The hinge, smoothed, asks that each
match be closer by m than each pair that is none,

    1/γ log(1 + Σ_n Σ_p exp(γ (s_n − s_p + m))),

which is max(0, s_n − s_p + m) of the worst two for a large γ (Sun et al. 2020, Circle Loss, eq. 1). The contrast asks
that a match's own second text, less m, be the closest of all second texts in the batch: a cross-entropy of γ times the
cosines (Yang et al. 2019, additive margin softmax).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn import metrics
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError, unknown
from labkit.evaluation import evaluating, numbers_only
from labkit.foundations.encoder import labels_of, mean_state, model_inputs, padding, unwrapped, with_labels
from labkit.foundations.heads import Described, HeadClassifier
from labkit.training.batches import to_device

FITTED = 5000  # rows that decide on the threshold, at most
Row = Mapping[str, Any]


def hinge(cosines: Tensor, labels: Tensor, margin: float, gamma: float) -> Tensor:
    """The smoothed hinge of the pairs' `cosines` (batch,): a scalar, 0 where the batch has one label only."""
    worst_match = (-gamma * cosines[labels == 1]).logsumexp(0)
    worst_other = (gamma * cosines[labels == 0]).logsumexp(0)
    return F.softplus(worst_match + worst_other + gamma * margin) / gamma


def contrast(firsts: Tensor, seconds: Tensor, labels: Tensor, margin: float, gamma: float) -> Tensor:
    """The contrast of matches, vectors (batch, d) of length 1 each: a scalar, 0 where the batch has no match.

    A second text that is the same as a match's own is no wrong answer, and left out.
    """
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    cosines = firsts @ seconds.T  # (first, second)
    same = (seconds @ seconds.T > 1 - 1e-5) & ~own
    scores = (gamma * (cosines - margin * own)).masked_fill(same, -torch.inf)[labels == 1]
    wanted = torch.arange(len(labels), device=labels.device)[labels == 1]
    return F.cross_entropy(scores, wanted) if len(wanted) else cosines.sum() * 0


class TwoTower(Described):
    """The method of matching by two towers, for any encoder; the second of two labels is the match.

    The probability of a match is σ(γ (cosine − threshold)); `fitted` sets the threshold to what is most accurate on the
    training rows. `loss_type` is "hinge_loss" or "contrastive".
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str] = ("text_a", "text_b"), max_length: int = 128,
        loss_type: str = "hinge_loss", margin: float = 0.45, gamma: float = 32.0, threshold: float = 0.5,
    ) -> None:  # fmt: skip
        if len(fields) != 2:
            raise UsageError(f"two towers read two texts, not {len(fields)}: name a first and a second sequence")
        if loss_type not in (known := ("hinge_loss", "contrastive")):
            raise unknown("loss_type", loss_type, known)
        if gamma <= 0 or not 0 <= margin <= 2:
            raise UsageError(f"margin={margin}, gamma={gamma}: a margin from 0 to 2 and a gamma above 0 are needed")
        self.tokenizer, self.fields = tokenizer, tuple(fields)
        self.towers = [HeadClassifier(tokenizer, [field], max_length) for field in fields]
        self.max_length, self.loss_type = self.towers[0].max_length, loss_type
        self.margin, self.gamma, self.threshold = float(margin), float(gamma), float(threshold)

    def collate(self, rows: Sequence[Row], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` and their like, (batch, 2, tokens), of first and second texts; `labels`."""
        bare = [{**row, "label": None} for row in rows]
        parts = [tower.collate(bare, rng) for tower in self.towers]
        width = max(part["input_ids"].shape[1] for part in parts)
        batch = {}
        for name in parts[0]:
            fill = padding(self.tokenizer) if name == "input_ids" else 0
            batch[name] = torch.stack([F.pad(p[name], (0, width - p[name].shape[1]), value=fill) for p in parts], dim=1)
        return with_labels(batch, rows)

    def vectors(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The texts' mean states, of length 1: (batch, 2, d)."""
        flat = {name: value.flatten(0, 1) for name, value in batch.items() if name != "labels"}  # (2 · batch, tokens)
        states = getattr(model(**model_inputs(model, flat)), "last_hidden_state", None)
        if states is None:
            raise UsageError(f"a {type(unwrapped(model)).__name__} gives no states: load the model with head=None")
        mean = mean_state(states.float(), flat["attention_mask"])
        return F.normalize(mean, dim=-1).unflatten(0, (-1, 2))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The hinge or the contrast, a scalar. UsageError where a row has no label."""
        vectors, labels = self.vectors(model, batch), labels_of(batch)
        firsts, seconds = vectors.unbind(1)
        if self.loss_type == "hinge_loss":
            return hinge((firsts * seconds).sum(-1), labels, self.margin, self.gamma)
        return contrast(firsts, seconds, labels, self.margin, self.gamma)

    __call__ = loss

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(batch, 2): 0 for no match, γ (cosine − threshold) for a match."""
        score = self.gamma * (self.vectors(model, batch).prod(1).sum(-1) - self.threshold)
        return torch.stack([torch.zeros_like(score), score], dim=-1)

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Row]) -> list[np.ndarray]:
        """The probabilities of no match and a match, (2,), one a row; TrainingError where they are no numbers."""
        return list(numbers_only(self.logits(model, batch).softmax(-1).cpu().numpy(), model, np.arange(len(rows))))

    def score(self, rows: Sequence[Row], answers: Sequence[np.ndarray]) -> dict[str, float]:
        """`accuracy`, and the match's `f1`, each in [0, 1]."""
        wanted, given = [row["label"] for row in rows], [int(answer.argmax()) for answer in answers]
        f1 = metrics.f1_score(wanted, given, zero_division=0.0)
        return {"accuracy": float(metrics.accuracy_score(wanted, given)), "f1": float(f1)}

    def fitted(self, model: nn.Module, rows: Sequence[Row], batch_size: int = 64) -> TwoTower:
        """Choose the threshold on labelled rows, at most FITTED of them; returns self. DataError without a label."""
        some = [rows[at] for at in range(0, len(rows), -(-len(rows) // FITTED))]
        labels, cosines = [row.get("label") for row in some], []
        if not some or None in labels:
            raise DataError("the threshold of a match is chosen on labelled rows: give every row its label")
        device = next(model.parameters()).device
        with evaluating(model):
            for start in range(0, len(some), batch_size):
                batch = to_device(self.collate(some[start : start + batch_size]), device)
                cosines.append(self.vectors(model, batch).prod(1).sum(-1).cpu().numpy())
        self.threshold = best_threshold(np.concatenate(cosines), np.asarray(labels))
        return self

def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold above which "match" is most often right; the middle between the scores beside it.

    `scores` and `labels`, 0 or 1, are (n,); of several that are as good, the middle one.
    """
    order = np.argsort(scores, kind="stable")
    scores, labels = scores[order].astype(float), labels[order]
    below = np.concatenate([[0], np.cumsum(labels == 0)])  # how many of the first k are no match
    right = below + np.concatenate(
        [np.cumsum((labels == 1)[::-1])[::-1], [0]]
    )  # right where the first k are said not to
    edges = np.concatenate([[scores[0] - 1e-3], (scores[:-1] + scores[1:]) / 2, [scores[-1] + 1e-3]])
    right[1:-1][scores[:-1] == scores[1:]] = -1  # no threshold parts equal scores
    best = np.flatnonzero(right == right.max())
    return float(edges[best[len(best) // 2]])
