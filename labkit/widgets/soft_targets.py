"""What a teacher's distribution asks of a student: temperature and share change it; the push on each logit says how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ipywidgets import Dropdown, FloatSlider

from labkit.config import positive
from labkit.errors import UsageError
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, look


@dataclass(frozen=True)
class Example:
    """A text that teacher and student have answered: its label, and the logits of both, (classes,) each."""

    text: str
    label: int
    teacher: np.ndarray
    student: np.ndarray


@dataclass(frozen=True)
class Push:
    """Both distributions at temperature T, and minus the gradient at the student's logits, (classes,) each.

    `soft` is the teacher's part, α·T·(q_teacher − q_student), `hard` the label's, (1−α)·(y − p_student).
    """

    teacher: np.ndarray
    student: np.ndarray
    soft: np.ndarray
    hard: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Where the logits are pushed, (classes,)."""
        return self.soft + self.hard


def compute(one: Example, temperature: float, alpha: float) -> Push:
    """UsageError for logits of other shapes, a temperature that is not above 0, an alpha outside [0, 1]."""
    positive("temperature", temperature)
    teacher, student = (np.asarray(logits, float) for logits in (one.teacher, one.student))
    if teacher.ndim != 1 or teacher.shape != student.shape or not 0 <= one.label < len(teacher) or not 0 <= alpha <= 1:
        given = f"logits {teacher.shape} and {student.shape}, label {one.label}, alpha {alpha}"
        raise UsageError(f"{given}: one number per class for each, a label among them, and an alpha in [0, 1]")
    q_teacher, q_student = _softmax(teacher / temperature), _softmax(student / temperature)
    truth = np.eye(len(teacher))[one.label]
    soft = alpha * temperature * (q_teacher - q_student)
    return Push(q_teacher, q_student, soft, (1 - alpha) * (truth - _softmax(student)))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def draw(one: Example, labels: Sequence[str], temperature: float, alpha: float) -> Picture:
    """The two distributions as bars, and the pushes as signed numbers; their size below, also without the T²."""
    push = compute(one, temperature, alpha)
    rows = [
        (f"{boxes.escape(name)}{' ◀ label' if number == one.label else ''}",
         *(_share(shares[number], place) for place, shares in enumerate((push.teacher, push.student))),
         *(_signed(part[number]) for part in (push.soft, push.hard, push.total)))
        for number, name in enumerate(labels)
    ]  # fmt: skip
    size = float(np.linalg.norm(push.soft))
    sizes = f"size of the teacher's push: {size:.3f}; without the factor T²: {size / temperature**2:.3f}"
    head = (
        "class",
        f"teacher, T = {temperature:g}",
        f"student, T = {temperature:g}",
        "teacher's push",
        "label's push",
        "sum",
    )
    html = boxes.frame(boxes.escape(one.text), boxes.table(head, rows), sizes)
    told = (f"{name}: teacher {boxes.percent(push.teacher[n])}, student {boxes.percent(push.student[n])}, pushes "
            f"{_signed(push.soft[n])} and {_signed(push.hard[n])}" for n, name in enumerate(labels))  # fmt: skip
    return Picture(html, f"“{one.text}”, T = {temperature:g}, alpha = {alpha:g}. {'; '.join(told)}; {sizes}.")


def _share(share: float, number: int) -> str:
    """A bar with its share in per cent behind it."""
    bar = boxes.bar([(share, boxes.colour(number))], 130)
    return f'<div style="display:inline-block;vertical-align:middle">{bar}</div> {boxes.percent(share)}'


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def soft_targets(
    examples: Sequence[Example], labels: Sequence[str], temperature: float = 1.0, alpha: float = 0.5
) -> Shown:
    """A widget of texts with two sliders, T and α. UsageError without examples, and as `compute`."""
    if not examples:
        raise UsageError("no examples: give at least one text that teacher and student have answered")
    texts: Mapping[str, Example] = {one.text: one for one in examples}
    return Explorer(
        lambda text, temperature, alpha: draw(texts[text], labels, temperature, alpha),
        text=Dropdown(options=list(texts), description="text", **look(40, 620)),
        temperature=FloatSlider(temperature, min=0.5, max=10, step=0.5, description="T", **look(40, 320)),
        alpha=FloatSlider(alpha, min=0, max=1, step=0.05, description="alpha", **look(40, 320)),
    )
