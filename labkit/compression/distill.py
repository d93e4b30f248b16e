"""Knowledge distillation: a small student learns what a large teacher says.

The student matches the teacher's distribution over the classes, softened by a temperature T (Hinton, Vinyals & Dean
2015); the loss is multiplied by T², because the soft targets' gradients shrink as 1/T² (§2.1). The teacher's logits are
computed once and joined to the rows, so that training costs the student's pass alone, and the two may read the same
rows in different ways: a teacher with a cloze prompt, a student with a classification head.

TinyBERT's losses and the making of a student stand in files of their own, `tinybert.py` and `shrink.py`; their names
can be had from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.compression.shrink import shrink
from labkit.compression.tinybert import TinyBert, soft_cross_entropy, uniform_map
from labkit.errors import UsageError

__all__ = [
    "Distill",
    "TinyBert",
    "join_teacher",
    "kd_loss",
    "shrink",
    "soft_cross_entropy",
    "soft_divergence",
    "teacher_logits",
    "uniform_map",
]

NO_LABEL = -100


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(teacher/T) ‖ softmax(student/T)): logits (batch, classes) to (batch,), in nats."""
    log_student, log_teacher = (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    return F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None = None,
    temperature: float = 1.0,
    alpha: float = 1.0,
) -> Tensor:
    """α T² · mean KL + (1−α) · mean CE, a scalar (Hinton et al. 2015, §2).

    Logits are (batch, classes). `labels` (batch,) may hold −100 for rows without one: these enter the first mean alone,
    and where there is no label at all the second term is zero.
    """
    loss = alpha * temperature**2 * soft_divergence(student_logits, teacher_logits, temperature).mean()
    if labels is None or alpha == 1 or not (labels != NO_LABEL).any():
        return loss
    return loss + (1 - alpha) * F.cross_entropy(student_logits, labels, ignore_index=NO_LABEL)


@torch.no_grad()
def teacher_logits(
    model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], batch_size: int = 64
) -> np.ndarray:
    """The teacher's logits for `rows`, in their order: (rows, classes) float32. The model's mode is left as it was."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    was_training, parts = model.training, []
    model.eval()
    try:
        for start in range(0, len(rows), batch_size):
            batch = method.collate(rows[start : start + batch_size], None)
            parts.append(method.logits(model, _to(batch, device)).float().cpu().numpy())
    finally:
        model.train(was_training)
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def join_teacher(rows: Sequence[Mapping[str, Any]], logits: np.ndarray) -> list[dict[str, Any]]:
    """Copies of `rows`, each with its "teacher_logits" (classes,). UsageError unless there is one line a row."""
    if len(rows) != len(logits):
        raise UsageError(f"{len(logits)} lines of teacher logits, {len(rows)} rows: compute them for these very rows")
    return [{**row, "teacher_logits": line} for row, line in zip(rows, logits, strict=True)]


@dataclass(frozen=True)
class Distill:
    """A method like `method`, trained on the teacher's logits that its rows carry: collate, logits, and the KD loss.

    >>> # rows = join_teacher(rows, teacher_logits(teacher, PET(...), rows))
    >>> # distil = Distill(HeadClassifier(...), temperature=4, alpha=.9)
    >>> # fit(student, distil, Batches(rows, distil.collate, 32))
    """

    method: Any
    temperature: float = 1.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and 0 <= self.alpha <= 1):
            raise UsageError(f"temperature must be > 0 and alpha in [0, 1], not {self.temperature} and {self.alpha}")

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The method's own batch, with "teacher_logits" (batch, classes) and "labels" (batch,), −100 where unknown."""
        if any("teacher_logits" not in row for row in rows):
            raise UsageError("a row has no teacher_logits: join them first, join_teacher(rows, teacher_logits(…))")
        batch = dict(self.method.collate(rows, rng))
        batch["teacher_logits"] = torch.from_numpy(np.stack([row["teacher_logits"] for row in rows]))
        labels = [row.get("label") for row in rows]
        batch["labels"] = torch.tensor([NO_LABEL if label is None else label for label in labels])
        return batch

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The student's logits, (batch, classes)."""
        return self.method.logits(model, batch)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The KD loss, a scalar."""
        logits = self.method.logits(model, batch)
        return kd_loss(logits, batch["teacher_logits"], batch.get("labels"), self.temperature, self.alpha)

    __call__ = loss


def _to(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
