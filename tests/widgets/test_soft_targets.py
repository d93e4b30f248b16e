"""The pushes are minus the gradient of the KD loss; the picture says them; the sliders change it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.compression.distill import kd_loss
from labkit.errors import UsageError
from labkit.widgets.soft_targets import Example, compute, draw, soft_targets

LABELS = ("no", "yes", "maybe")
ONE = Example("a <b> text", 1, np.array([2.0, 1.0, -1.0]), np.array([0.5, -0.5, 0.0]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=6, max_size=6), st.integers(0, 2), st.floats(0.5, 10), st.floats(0, 1))
def test_the_push_is_minus_the_gradient_of_the_loss(logits, label, temperature, alpha):
    one = Example("", label, np.array(logits[:3]), np.array(logits[3:]))
    student = torch.tensor(logits[3:], dtype=torch.float64)[None].requires_grad_()
    teacher = torch.tensor(logits[:3], dtype=torch.float64)[None]
    kd_loss(student, teacher, torch.tensor([label]), temperature, alpha).backward()
    push = compute(one, temperature, alpha)
    np.testing.assert_allclose(push.total, -student.grad[0].numpy(), atol=1e-9)
    for part in (push.teacher, push.student):
        assert part.sum() == pytest.approx(1)


def test_the_picture_shows_what_was_computed():
    picture = draw(ONE, LABELS, 2.0, 0.5)
    push = compute(ONE, 2.0, 0.5)
    assert "a &lt;b&gt; text" in picture.html and "<b> text" not in picture.html
    assert f"no: teacher {100 * push.teacher[0]:.1f}" in picture.alt and "T = 2, alpha = 0.5" in picture.alt
    assert (
        f"{np.linalg.norm(push.soft):.3f}; without the factor T²: {np.linalg.norm(push.soft) / 4:.3f}" in picture.html
    )
    assert picture.html.count("◀ label") == 1 and f"{push.hard[1]:+.3f}" in picture.html


def test_sliders_move_it():
    shown = soft_targets([ONE, Example("other", 0, ONE.student, ONE.student)], LABELS)
    first = shown.view.value
    shown.temperature.value = 4.0
    assert shown.view.value != first and "T = 4" in repr(shown)
    shown.alpha.value = 0.0
    assert "pushes +0.000" in repr(shown).replace("−0.000", "+0.000")
    shown.text.value = "other"
    assert "size of the teacher's push: 0.000" in repr(shown)


@pytest.mark.parametrize("wrong", [(ONE, 0.0, 0.5), (ONE, 1.0, 1.5), (Example("", 3, ONE.teacher, ONE.student), 1, 0.5),
                                   (Example("", 0, ONE.teacher, ONE.student[:2]), 1.0, 0.5)])  # fmt: skip
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError):
        compute(*wrong)


def test_no_examples_are_refused():
    with pytest.raises(UsageError, match="at least one text"):
        soft_targets([], LABELS)
