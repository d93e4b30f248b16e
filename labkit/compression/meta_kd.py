"""Meta-KD: one teacher for many domains, and a student that trusts it where it is an expert (Pan et al. 2021).

A *meta-teacher* reads the training text of all domains, with more weight on texts that are typical across domains, and
is kept from sorting its features by domain. Its student, for one domain, learns as TinyBERT's does, with one more
feature, and each text's losses have a weight of their own: how typical it is, and how sure the teacher is of its label.
(In the authors' program the losses are averaged before they are weighted, so each text has the mean of the weights.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.compression.tinybert import Read, TinyBert, bert_encoder, capture
from labkit.errors import UsageError
from labkit.evaluation import evaluating
from labkit.foundations.encoder import labels_of, mean_state
from labkit.foundations.quantised import keep_float
from labkit.lab import seeded
from labkit.training.batches import to_device, uncounted

TYPICAL, DOMAIN = "typical", "domain_number"  # of a row: its prototype score, and its domain's number
READER = "domain_reader"  # the name under which a model carries what reads its domain


def prototype_scores(features: Tensor, domains: Sequence[Any], labels: Sequence[int]) -> Tensor:
    """How typical each text is, (n,) in [−1, 1]: ½ cos(e, own centroid) + ½ cos(e, mean of the others) (§3.2).

    `features` (n, d); a centroid is the mean of a domain's texts of one label, and the others are those of that label
    in the other domains. UsageError where a label stands in one domain only.
    """
    groups: dict[tuple[Any, int], list[int]] = {}
    for place, key in enumerate(zip(domains, labels, strict=True)):
        groups.setdefault(key, []).append(place)
    centroids = {key: features[places].mean(0) for key, places in groups.items()}
    scores = torch.empty(len(features), dtype=features.dtype)
    for (domain, label), places in groups.items():
        others = [one for (where, what), one in centroids.items() if what == label and where != domain]
        if not others:
            raise UsageError(f"label {label} stands only in domain {domain!r}: give rows of two domains at least")
        both = torch.stack([centroids[domain, label], torch.stack(others).mean(0)])  # (2, d)
        scores[places] = F.cosine_similarity(features[places, None], both, dim=-1).mean(1)
    return scores


def expertise(typical: Tensor, sure: Tensor) -> Tensor:
    """w = (1 + t) / (1 + exp((p − 1)²)), (batch,); `sure` is p, the teacher's probability of the right label (§3.3)."""
    return (1 + typical) / (1 + (sure - 1).square().exp())


def wrong_domains(domains: Tensor, count: int) -> Tensor:
    """For each number (batch,) another one of `count`, all equally likely."""
    return (domains + torch.randint(1, count, domains.shape, device=domains.device)) % count


class DomainReader(nn.Module):
    """A feature of a text in its domain, tanh(W (mean state + the domain's vector)), and the domain read from it."""

    def __init__(self, hidden: int, domains: int, seed: int = 0) -> None:
        super().__init__()
        with seeded(seed):
            self.domains, self.dense = nn.Embedding(domains, hidden), nn.Linear(hidden, hidden)
            self.out = nn.Linear(hidden, domains)

    def forward(self, states: Tensor, mask: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """states (batch, tokens, d), mask (batch, tokens), domains (batch,): (batch, d) and (batch, domains)."""
        feature = torch.tanh(self.dense(mean_state(states, mask) + self.domains(domains)))
        return feature, self.out(feature)


def mean_states(model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], batch_size: int = 64) -> Tensor:
    """The mean of each text's last states, (n, d), on the CPU; the model's mode is left as it was."""
    features = []
    with evaluating(model):
        device = next(model.parameters()).device
        for start in range(0, len(rows), batch_size):
            batch = to_device(uncounted(method.collate(rows[start : start + batch_size], None)), device)
            with capture(model) as read:
                method.logits(model, batch)
            features.append(mean_state(read.last, batch["attention_mask"]).float().cpu())
    return torch.cat(features)


def described(
    model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], batch_size: int = 64, field: str = "domain"
) -> list[dict[str, Any]]:
    """Copies of `rows`, each with its prototype score by the `mean_states` of `model`, and its domain's number.

    UsageError for a row without the field, or without a label.
    """
    for number, row in enumerate(rows, start=1):
        if row.get(field) is None or row.get("label") is None:
            raise UsageError(f"row {number}: Meta-KD needs the fields {field!r} and 'label' of every row")
    domains = [row[field] for row in rows]
    numbers = {domain: number for number, domain in enumerate(sorted(set(domains)))}
    features = mean_states(model, method, rows, batch_size)
    scores = prototype_scores(features, domains, [row["label"] for row in rows]).tolist()
    return [
        {**row, TYPICAL: score, DOMAIN: numbers[row[field]]} for row, score in zip(rows, scores, strict=True)
    ]  # fmt: skip


class MetaRows:
    """A method's batches with the two things that Meta-KD says of each row."""

    method: Any

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The method's batch, with both (batch,)."""
        if any(TYPICAL not in row for row in rows):
            raise UsageError("a row has no prototype score: described(model, method, rows) first")
        batch = dict(self.method.collate(rows, rng))
        batch[TYPICAL] = torch.tensor([row[TYPICAL] for row in rows])
        batch[DOMAIN] = torch.tensor([row[DOMAIN] for row in rows])
        return batch


class MetaTeacher(MetaRows):
    """The meta-teacher's objective: t · (CE + λ · CE of a *wrong* domain), a mean over texts (§3.2).

    Asked for wrong domains, the features lose what tells domains apart. Train inside `attached(model)`.
    """

    def __init__(self, method: Any, domains: int, corruption: float = 0.5) -> None:
        if domains < 2 or corruption < 0:
            raise UsageError(f"{domains} domains, corruption {corruption}: two at least, and a weight of at least 0")
        self.method, self.domains, self.corruption = method, domains, corruption

    @contextlib.contextmanager
    def attached(self, model: nn.Module) -> Iterator[DomainReader]:
        """Hang a reader of domains on `model`; it stays there, because the student learns its feature."""
        if not hasattr(model, READER):
            reader = DomainReader(bert_encoder(model).config.hidden_size, self.domains)
            keep_float(reader.modules())
            setattr(model, READER, reader.to(next(model.parameters()).device))
        yield getattr(model, READER)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of the answer (batch, classes), and of the domain (batch, domains)."""
        with capture(model) as read:
            answer = self.method.logits(model, batch)
        return answer, getattr(model, READER)(read.last, batch["attention_mask"], batch[DOMAIN])[1]

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The two cross-entropies, (batch,) each."""
        answer, domain = self.logits(model, batch)
        wrong = wrong_domains(batch[DOMAIN], self.domains)
        return tuple(F.cross_entropy(*one, reduction="none") for one in ((answer, labels_of(batch)), (domain, wrong)))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """A scalar."""
        answer, domain = self.losses(model, batch)
        return (batch[TYPICAL] * (answer + self.corruption * domain)).mean()

    __call__ = loss


class MetaDistill(MetaRows, TinyBert):
    """The student's objective: TinyBERT's losses and the transferable feature's, each text by its own `expertise`.

    Its rows carry the meta-teacher's prototype scores; train inside `attached(student)`. `weigh` makes the weights
    (batch,) from prototype scores and the teacher's probabilities of the right labels, (batch,) each.
    """

    def __init__(
        self, method: Any, teacher: nn.Module, *, transfer: float = 1.0,
        weigh: Callable[[Tensor, Tensor], Tensor] = expertise, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(method, teacher, **options)
        if not hasattr(teacher, READER):
            raise UsageError("the teacher reads no domains: train it with MetaTeacher first")
        getattr(teacher, READER).requires_grad_(False)
        self.weights["transfer"], self.weigh = transfer, weigh

    def told(self, student: nn.Module, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The losses as in `losses`, (batch,) each, and the teacher's logits (batch, classes)."""
        mine, theirs = self._read(student, batch)
        return self._losses(mine, theirs, batch), theirs[0]

    def loss(self, student: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """A scalar."""
        losses, logits = self.told(student, batch)
        weight = self.weigh(batch[TYPICAL], logits.softmax(-1).gather(1, labels_of(batch)[:, None])[:, 0])
        return sum(self.weights[name] * (weight * loss).mean() for name, loss in losses.items())  # type: ignore

    __call__ = loss

    def _losses(self, student: Read, teacher: Read, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found, mask = super()._losses(student, teacher, batch), batch["attention_mask"]
        if self.weights["transfer"]:
            states = self.projection(student[1].last), teacher[1].last
            mine, theirs = (getattr(self.teacher, READER)(one, mask, batch[DOMAIN])[0] for one in states)
            found["transfer"] = (mine - theirs).square().mean(-1)
        return found

    def _run(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return self.method.logits(model, batch)  # also without a prediction loss: the weights need the teacher's
