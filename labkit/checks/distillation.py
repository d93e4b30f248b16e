"""Checks of lesson 04/01, distillation: `from labkit.checks import distillation as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, learns, loss, number, tensor

LESSON = "04/01"
OVERFLOW = "exp of a large logit is infinite, and infinite divided by infinite is NaN: softmax and log_softmax guard against it"  # fmt: skip
T = 2.5  # neither the number of classes nor that of rows, so that no two mistakes give one number
CUT = "the loss is right, but not the gradient of {}: a part of the way to it is cut off"


def _logits(seed: int, rows: int = 4, classes: int = 3) -> Tensor:
    return 2 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


# Soft targets


def _soften(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).softmax(-1)


@exercise(LESSON, _soften)
def soften(function: Callable[[Tensor, float], Tensor]) -> None:
    """Logits (batch, classes) and a temperature → shares (batch, classes), each row of sum 1."""
    z = _logits(1)
    found = tensor(asked(function, logits=z, temperature=2.5), (4, 3), nan=OVERFLOW)
    expect(found, _soften(z, 2.5), "wanted: the softmax over the classes of logits / temperature", [
        (z.softmax(-1), "the temperature is not used: divide the logits by it"),
        (_soften(z, 1 / 2.5), "the logits are multiplied by the temperature: divide them, so that a high one makes the shares more alike"),
        (z.softmax(-1) / 2.5, "the shares are divided by the temperature, so they no longer add up to 1: divide the logits before the softmax"),
        (z / 2.5, "these are the logits: a softmax over the classes is missing"),
        ((z / 2.5).softmax(0), "the softmax runs over the batch (dim 0): each *row* must add up to 1"),
        ((z / 2.5).log_softmax(-1), "these are logarithms of the shares: softmax, not log_softmax"),
        ((z / 2.5).sigmoid(), "a sigmoid looks at each class alone: a softmax makes each row add up to 1"),
    ])  # fmt: skip
    far = tensor(function(z + 300, 0.5), (4, 3), "for logits of some hundreds, the result", nan=OVERFLOW)
    expect(far, _soften(z + 300, 0.5), f"right for small logits and T = 2.5, but not for large ones and T = 0.5: {OVERFLOW}")  # fmt: skip


# The loss


def _kd_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float) -> Tensor:
    soft = temperature**2 * _divergence(student, teacher, temperature)
    return soft if alpha == 1 else alpha * soft + (1 - alpha) * F.cross_entropy(student, labels)


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The mean over the rows of the KL divergence between the softened shares."""
    logs = ((one / temperature).log_softmax(-1) for one in (student, teacher))
    return F.kl_div(*logs, log_target=True, reduction="batchmean")


@exercise(LESSON, _kd_loss)
def kd_loss(function: Callable[..., Tensor]) -> None:
    """Logits of student and teacher (batch, classes), labels (batch,), T, alpha → the loss, a number."""
    z, v, labels, unknown = _logits(2), _logits(3), torch.tensor([2, 0, 1, 1]), torch.full((4,), -100)
    start = z.clone().requires_grad_()
    found = asked(function, student=start, teacher=v, labels=labels, temperature=T, alpha=0.25)
    soft, hard = _divergence(z, v, T), F.cross_entropy(z, labels)
    cross = -(_soften(v, T) * (z / T).log_softmax(-1)).sum(-1).mean()
    expect(loss(found, nan=OVERFLOW), _kd_loss(z, v, labels, T, 0.25), "wanted: alpha · T² · mean KL(teacher ‖ student), both softened, + (1 − alpha) · cross-entropy with the labels", [
        (0.25 * soft + 0.75 * hard, "the factor T² is missing: a high temperature would make the teacher's part vanish"),
        (0.25 * T * soft + 0.75 * hard, "the teacher's part is multiplied by T: it should be T²"),
        (0.75 * T**2 * soft + 0.25 * hard, "alpha and 1 − alpha are exchanged: alpha is the teacher's share"),
        (T**2 * soft + hard, "alpha is missing: alpha · teacher's part + (1 − alpha) · labels' part"),
        (0.25 * T**2 * _divergence(v, z, T) + 0.75 * hard, "the divergence is the wrong way round: the teacher's shares weigh the logarithms, KL(teacher ‖ student)"),
        (0.25 * T**2 * cross + 0.75 * hard, "this is the soft cross-entropy: its gradient is the same, but it is not 0 where both agree; the divergence also has + Σ q log q of the teacher"),
        (0.25 * T**2 * _divergence(z, v, T) * 4 + 0.75 * hard, "the divergence is a sum over the rows: take the mean (reduction=\"batchmean\")"),
        (0.25 * T**2 * _divergence(z, v, T) / 3 + 0.75 * hard, "the divergence is divided by the number of classes too: sum over the classes, mean over the rows (reduction=\"batchmean\")"),
        (0.25 * T**2 * soft + 0.75 * F.cross_entropy(z / T, labels), "the labels' part is softened too: the cross-entropy takes the student's logits as they are"),
        (0.25 * T**2 * soft + 0.75 * F.cross_entropy(v, labels), "the cross-entropy is the teacher's: it is the student who learns"),
        (0.25 * T**2 * _divergence(z, v, 1) + 0.75 * hard, "the distributions are not softened: divide both logits by T"),
        (0.25 * T**2 * soft, "the labels' part is missing: + (1 − alpha) · cross-entropy"),
    ])  # fmt: skip
    learns(found, _kd_loss(start, v, labels, T, 0.25), {"student": start}, CUT)
    expect(loss(function(start, v, labels, 2.0, 0.0)), hard, "right for alpha = 0.25, but with alpha = 0 the cross-entropy alone should be left")  # fmt: skip
    alone = loss(function(start, v, unknown, 1.0, 1.0), nan="with alpha = 1 the rows need no label, and here none has one (all are −100): the cross-entropy of nothing is NaN, and 0 · NaN is NaN; leave it out")  # fmt: skip
    expect(alone, _divergence(z, v, 1), "with alpha = 1 and T = 1 the divergence alone should be left")


# Its gradient


def _kd_gradient(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return temperature * (_soften(student, temperature) - _soften(teacher, temperature))


@exercise(LESSON, _kd_gradient)
def kd_gradient(function: Callable[..., Tensor]) -> None:
    """Logits of student and teacher (batch, classes), T → the gradient of T²·KL at the student's, (batch, classes)."""
    z, v = _logits(4), _logits(5)
    found = tensor(asked(function, student=z, teacher=v, temperature=4.0), (4, 3), nan=OVERFLOW)
    right = _kd_gradient(z, v, 4)
    expect(found, right, "wanted: T · (student's softened shares − teacher's softened shares), for each row", [
        (-right, "the sign is the wrong way round: where the student says too much, its logit must fall, so the gradient is positive"),
        (right / 4, "the factor T is missing: T² from the loss, and 1/T because the logits are divided by T"),
        (right * 4, "the factor is T² here: the logits are divided by T, which gives one 1/T back"),
        (right / 16, "without the factor T² of the loss the gradient is (q_student − q_teacher) / T: the loss has it"),
        (_kd_gradient(z, v, 1), "the shares are not softened and the factor is missing: both are of logits / T"),
        (4 * (z.softmax(-1) - v.softmax(-1)), "the shares are not softened: divide the logits by T first"),
        (z - v, "this is the difference of the logits, which is the limit for high T only (divided by the number of classes)"),
        (4 * (_soften(z, 4) - F.one_hot(v.argmax(-1), 3)), "the teacher's answer is taken as a label, 0 or 1: take its softened shares"),
    ])  # fmt: skip
    expect(tensor(function(z[:2], v[:2], 0.5), (2, 3)), _kd_gradient(z[:2], v[:2], 0.5), "right for T = 4, but not for T = 0.5: use the argument")  # fmt: skip


# Layers


def _hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    error = (student @ weight - teacher).square().mean(-1)
    return (error * mask).sum(1) / mask.sum(1)


def _states(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])


@exercise(LESSON, _hidden_loss)
def hidden_loss(function: Callable[..., Tensor]) -> None:
    """States (batch, tokens, d′) and (batch, tokens, d), mask (batch, tokens), W (d′, d) → loss (batch,)."""
    s, t, w = (_states(6, 3, 4, 2), _states(7, 3, 4, 5), _states(8, 2, 5))
    own, weight = s.clone().requires_grad_(), w.clone().requires_grad_()
    found = asked(function, student=own, teacher=t, mask=MASK, weight=weight)
    if torch.is_tensor(found) and found.ndim == 0:
        raise Mistake("one number for each text is wanted, (batch,), so that texts can be weighed later: no mean over the batch")  # fmt: skip
    error, real = (s @ w - t).square(), MASK[..., None]
    expect(tensor(found, (3,), gradient=True), _hidden_loss(s, t, MASK, w), "wanted: for each text the mean of (student @ W − teacher)², over features and real tokens", [
        (error.mean((1, 2)), "padding counts too: only tokens of mask 1 do"),
        ((error * real).mean((1, 2)), "padding is left out of the sum, but divided by the number of all tokens: divide by the real ones, mask.sum(1)"),
        ((error * real).sum((1, 2)) / MASK.sum(1), "the features are added up: take their mean"),
        ((error * real).sum((1, 2)), "this is a sum over tokens and features: take means"),
        (((error.mean(-1) * MASK).sum(1) / MASK.sum(1)).sqrt(), "a root is not asked for: the mean square"),
        (((s @ w - t).abs() * real).sum((1, 2)) / MASK.sum(1) / 5, "these are absolute differences: square them"),
        (error[:, 0].mean(-1), "this is the first token alone: the mean over all real tokens is wanted"),
    ])  # fmt: skip
    learns(found, _hidden_loss(own, t, MASK, weight), {"student": own, "W": weight}, CUT)


def _layers_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor, weight: Tensor) -> Tensor:
    step = (len(teacher) - 1) // (len(student) - 1)
    return _summed(student, [teacher[step * m] for m in range(len(student))], mask, weight)


def _summed(student: Sequence[Tensor], chosen: Sequence[Tensor], mask: Tensor, weight: Tensor) -> Tensor:
    """The mean over texts of the hidden losses, added up over the pairs of layers."""
    return sum(_hidden_loss(s, t, mask, weight).mean() for s, t in zip(student, chosen, strict=False))  # type: ignore[return-value]


@exercise(LESSON, _layers_loss)
def layers_loss(function: Callable[..., Tensor]) -> None:
    """Lists of states, [0] the embeddings, [m] layer m's; mask, W → the loss, a number."""
    w = _states(9, 2, 5).requires_grad_()
    s, t = [_states(10 + m, 3, 4, 2) for m in range(3)], [_states(20 + m, 3, 4, 5) for m in range(7)]
    found = function(s, t, MASK, w)
    right = _layers_loss(s, t, MASK, w)
    expect(loss(found), right.detach(), "wanted: the sum over m = 0 … M of hidden_loss(student[m], teacher[k · m]), each as the mean over the texts", [
        (_summed(s, t, MASK, w), "layer m learns from the teacher's layer m, so the last of the student's from one in the middle: take teacher[k * m] with k = layers of the teacher / layers of the student"),
        (_summed(s, t[-3:], MASK, w), "the student's layers learn from the teacher's last ones: take every k-th, teacher[k * m]"),
        (_summed(s[1:], [t[3], t[6]], MASK, w), "the embeddings are left out: m starts with 0"),
        (_summed(s[:2], [t[0], t[3]], MASK, w), "the last layer is left out: m goes up to M"),
        (_summed(s[:1], [t[0]], MASK, w), "these are the embeddings alone: all layers count"),
        (_summed(s, [t[0], t[2], t[4]], MASK, w), "k is 2 here, and 6 layers / 2 layers are 3: the lists hold the embeddings too, so len(teacher) − 1 is the number of layers"),
        (right / 3, "this is the mean over the layers: the paper adds them up"),
        (right * 3, "the losses of the texts are added up: take their mean"),
    ])  # fmt: skip
    learns(found, right, {"W": w}, CUT)
    more = [s[0], s[1], s[2], s[0] + s[1], s[2] - s[1]]
    expect(number(function(more, t[:5], MASK, w.detach())), _layers_loss(more, t[:5], MASK, w.detach()), "right for 2 layers and 6, but not for 4 and 4: find k from the lengths of the two lists")  # fmt: skip
