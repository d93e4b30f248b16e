"""Knowledge distillation: a small student learns what a large teacher says.

The student matches the teacher's distribution over the classes, softened by a temperature T (Hinton, Vinyals & Dean
2015); the loss is multiplied by T², because the soft targets' gradients shrink as 1/T² (§2.1). The teacher's logits are
computed once and joined to the rows, so that training costs the student's pass alone. Nothing but these distributions
over the labels passes between the two, so they may read the same rows in different ways: a teacher with a cloze prompt,
a student with a classification head, another tokenizer, another architecture.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.checkpoints import load_tensors, save_tensors
from labkit.compression.tinybert import check_logits
from labkit.config import positive
from labkit.errors import CheckpointError, UsageError
from labkit.evaluation import evaluating, numbers_only
from labkit.lab import Bar
from labkit.training.batches import to_device, uncounted, weight_of
from labkit.training.identity import content

NO_LABEL = -100
CHUNK = 512  # rows that a teacher answers between two savings
MEND = "delete the file"


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(teacher/T) ‖ softmax(student/T)): logits (batch, classes) to (batch,), in nats.

    UsageError for another number of classes, or a temperature that is not above 0.
    """
    check_logits(student, teacher, temperature)
    log_student, log_teacher = (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    return F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None = None,
    temperature: float = 1.0,
    alpha: float = 1.0,
    weight: float = 1.0,
) -> Tensor:
    """α T² · mean KL + (1−α) · mean CE, a scalar (Hinton et al. 2015, §2).

    Logits are (batch, classes). `labels` (batch,) may hold −100 for rows without one: these enter the first mean alone,
    and where there is no label at all the second term is zero. `weight` multiplies that term, where the rows are a part
    of a larger batch in which other shares of them have labels (see `fit`). UsageError for a temperature that is not
    above 0, an alpha outside [0, 1], or logits and labels that do not fit each other.
    """
    check_alpha(alpha)
    if labels is not None and labels.shape != student_logits.shape[:1]:
        raise UsageError(f"labels {tuple(labels.shape)} for logits {tuple(student_logits.shape)}: one a row is needed")
    divergence = soft_divergence(student_logits, teacher_logits, temperature).mean()
    loss = alpha * temperature**2 * divergence
    if labels is None or alpha == 1 or not (labels != NO_LABEL).any():
        return loss
    return loss + weight * (1 - alpha) * F.cross_entropy(student_logits, labels, ignore_index=NO_LABEL)


def check_alpha(alpha: float) -> None:
    """UsageError for a share that is none."""
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha={alpha}: the teacher's share of the loss must lie in [0, 1]")


def teacher_logits(
    model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], batch_size: int = 64, *,
    keep: str | os.PathLike[str] | None = None, progress: bool = False,
) -> np.ndarray:  # fmt: skip
    """The teacher's logits for `rows`, in their order: (rows, classes) float32. The model's mode is left as it was.

    With `keep`, a safetensors file, the answers are saved every CHUNK rows, and those that it holds already are not
    asked for again: a large teacher takes minutes. CheckpointError where the file is damaged, or holds the answers to
    other rows, or of another teacher.
    """
    origin = "" if keep is None else content([rows, model.state_dict(), method])
    found = np.zeros((0, 0), np.float32)
    if keep is not None and Path(keep).exists():
        tensors, notes = load_tensors(keep, MEND)
        if notes.get("origin") != origin:
            raise CheckpointError(f"{keep}: the teacher's answers are of other rows or another teacher; {MEND}")
        found = tensors["answers"].numpy()
    with evaluating(model), Bar(len(rows), progress, initial=len(found)) as bar:
        for start in range(len(found), len(rows), CHUNK):
            answers = _answers(model, method, rows[start : start + CHUNK], batch_size, start)
            found = np.concatenate([found, answers]) if len(found) else answers
            if keep is not None:
                save_tensors(keep, {"answers": torch.from_numpy(found)}, origin=origin)
            bar.update(len(answers))
    return found


def _answers(
    model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], batch_size: int, first: int
) -> np.ndarray:
    """(rows, classes) in the order of `rows`, which are computed in the order of their lengths."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    order = sorted(range(len(rows)), key=lambda number: -len(str(rows[number])))
    parts = []
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = uncounted(method.collate([rows[number] for number in chosen], None))
        answers = method.logits(model, to_device(batch, device)).float().cpu().numpy()
        parts.append(numbers_only(answers, model, np.add(chosen, first)))
    return np.concatenate(parts)[np.argsort(order)]


def join_teacher(rows: Sequence[Mapping[str, Any]], logits: np.ndarray) -> list[dict[str, Any]]:
    """Copies of `rows`, each with its "teacher_logits" (classes,). UsageError unless there is one line of numbers a
    row, of two classes at least.
    """
    logits = np.asarray(logits)
    if len(rows) != len(logits):
        raise UsageError(f"{len(logits)} lines of teacher logits, {len(rows)} rows: compute them for these very rows")
    if len(rows) and (logits.ndim != 2 or logits.shape[1] < 2):
        raise UsageError(f"teacher logits must be (rows, classes), two classes at least, not {logits.shape}")
    numbers = logits < np.inf
    if not numbers.all():
        bad = numbers.all(1).argmin() + 1
        raise UsageError(f"the teacher's logits of row {bad} are no numbers: mend the teacher, ask it again")
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
        positive("temperature", self.temperature)
        check_alpha(self.alpha)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The method's own batch, with "teacher_logits" (batch, classes) and "labels" (batch,), −100 where unknown."""
        if any("teacher_logits" not in row for row in rows):
            raise UsageError("a row has no teacher_logits: join them first, join_teacher(rows, teacher_logits(…))")
        lines, labels = [row["teacher_logits"] for row in rows], [row.get("label") for row in rows]
        classes = {len(line) for line in lines}
        if len(classes) > 1 or any(label is not None and label >= min(classes) for label in labels):
            found, most = ", ".join(map(str, sorted(classes))), max(filter(None, labels), default=0)
            what = f"teacher logits of {found} classes for labels up to {most}"
            raise UsageError(f"{what}: teacher and task must have the same classes")
        batch = dict(self.method.collate(rows, rng))
        batch["teacher_logits"] = torch.from_numpy(np.stack(lines))
        batch["labels"] = torch.tensor([NO_LABEL if label is None else label for label in labels])
        batch["count:labels"] = (batch["labels"] != NO_LABEL).long()
        return batch

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The student's logits, (batch, classes)."""
        return self.method.logits(model, batch)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The KD loss, a scalar."""
        logits = self.method.logits(model, batch)
        answers, weight = (batch["teacher_logits"], batch.get("labels")), weight_of(batch, "labels")
        return kd_loss(logits, *answers, self.temperature, self.alpha, weight)

    __call__ = loss
