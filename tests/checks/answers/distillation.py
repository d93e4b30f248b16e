"""Right and wrong answers to the exercises of lesson 04/01."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from labkit.checks.distillation import _hidden_loss, _kd_gradient, _kd_loss, _layers_loss, _soften
from labkit.compression import distill, tinybert

# Right


def soften_by_loops(logits, temperature):
    rows = []
    for row in logits.tolist():
        powers = [np.exp((one - max(row)) / temperature) for one in row]
        rows.append([one / sum(powers) for one in powers])
    return torch.tensor(rows)


def soften_in_numpy(logits, temperature):
    z = logits.numpy() / temperature
    z = np.exp(z - z.max(1, keepdims=True))
    return torch.from_numpy(z / z.sum(1, keepdims=True))


def soften_by_log(logits, temperature):
    z = logits / temperature
    return (z - z.logsumexp(1, keepdim=True)).exp()


def kd_by_the_library(student, teacher, labels, temperature, alpha):
    return distill.kd_loss(student, teacher, labels, temperature, alpha)


def kd_by_torch(student, teacher, labels, temperature, alpha):
    soft = F.kl_div(F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1), reduction="batchmean")
    return alpha * temperature**2 * soft + (F.cross_entropy(student, labels) * (1 - alpha) if alpha < 1 else 0)


def kd_by_loops(student, teacher, labels, temperature, alpha):
    losses = []
    for z, v, y in zip(student, teacher, labels.tolist(), strict=True):
        q, p = (v / temperature).softmax(0), (z / temperature).log_softmax(0)
        one = alpha * temperature**2 * sum(q[i] * (q[i].log() - p[i]) for i in range(len(z)))
        losses.append(one - (1 - alpha) * z.log_softmax(0)[y] if y >= 0 else one)
    return torch.stack(losses).mean()


def gradient_by_autograd(student, teacher, temperature):
    z = student.clone().requires_grad_()
    (temperature**2 * distill.soft_divergence(z, teacher, temperature)).sum().backward()
    return z.grad


def gradient_by_loops(student, teacher, temperature):
    pairs = zip(soften_by_loops(student, temperature), soften_by_loops(teacher, temperature), strict=True)
    return torch.stack([temperature * (mine - theirs) for mine, theirs in pairs])


def gradient_in_numpy(student, teacher, temperature):
    mine, theirs = (soften_in_numpy(one, temperature).numpy() for one in (student, teacher))
    return torch.from_numpy(temperature * mine - temperature * theirs)


def hidden_by_loops(student, teacher, mask, weight):
    losses = []
    for s, t, m in zip(student, teacher, mask, strict=True):
        errors = [((s[at] @ weight - t[at]) ** 2).mean() for at in range(len(m)) if m[at]]
        losses.append(sum(errors) / len(errors))
    return torch.stack(losses)


def hidden_by_einsum(student, teacher, mask, weight):
    error = torch.einsum("btd,de->bte", student, weight) - teacher
    return torch.einsum("bte,bte,bt->b", error, error, mask / mask.sum(1, keepdim=True)) / teacher.shape[-1]


def hidden_by_the_library(student, teacher, mask, weight):
    return tinybert.hidden_loss(student, teacher, mask, lambda states: states @ weight)


def layers_by_the_map(student, teacher, mask, weight):
    chosen = (0, *tinybert.uniform_map(len(student) - 1, len(teacher) - 1))
    losses = [_hidden_loss(s, teacher[g], mask, weight) for s, g in zip(student, chosen, strict=True)]
    return torch.stack(losses).sum(0).mean()


def layers_by_a_slice(student, teacher, mask, weight):
    every = teacher[:: (len(teacher) - 1) // (len(student) - 1)]
    return sum(hidden_by_loops(s, t, mask, weight).mean() for s, t in zip(student, every, strict=True))


def layers_by_while(student, teacher, mask, weight):
    total, m = 0, 0
    while m < len(student):
        at = round(m * (len(teacher) - 1) / (len(student) - 1))
        total, m = total + hidden_by_einsum(student[m], teacher[at], mask, weight).mean(), m + 1
    return total


RIGHT = {
    "soften": [soften_by_loops, soften_in_numpy, soften_by_log],
    "kd_loss": [kd_by_the_library, kd_by_torch, kd_by_loops],
    "kd_gradient": [gradient_by_autograd, gradient_by_loops, gradient_in_numpy],
    "hidden_loss": [hidden_by_loops, hidden_by_einsum, hidden_by_the_library],
    "layers_loss": [layers_by_the_map, layers_by_a_slice, layers_by_while],
}

# Wrong


def kd(soft=lambda z, v, T: T**2 * kl(z, v, T), hard=F.cross_entropy, share=lambda a: (a, 1 - a)):
    """The loss with another teacher's part, labels' part, or shares."""

    def found(z, v, y, T, a):
        first, second = share(a)
        return first * soft(z, v, T) + (second * hard(z, y) if a < 1 else 0)

    return found


def kl(z, v, T, reduction="batchmean"):
    return F.kl_div((z / T).log_softmax(-1), (v / T).softmax(-1), reduction=reduction)


def layers(choose, first=0, mean=1):
    """The sum with other layers of the teacher, from `first`, divided by `mean`."""

    def found(s, t, m, w):
        pairs = list(zip(s, choose(s, t), strict=False))[first:]
        return sum(_hidden_loss(a, b, m, w).mean() for a, b in pairs) / mean

    return found


def every(s, t):
    return t[:: (len(t) - 1) // (len(s) - 1)]


WRONG = {
    "soften": [
        (lambda z, T: z.softmax(-1), "temperature is not used"),
        (lambda z, T: (z * T).softmax(-1), "multiplied by the temperature"),
        (lambda z, T: z.softmax(-1) / T, "no longer add up to 1"),
        (lambda z, T: z / T, "these are the logits"),
        (lambda z, T: (z / T).softmax(0), "over the batch"),
        (lambda z, T: (z / T).log_softmax(-1), "these are logarithms"),
        (lambda z, T: (z / T).sigmoid(), "a sigmoid looks at each class alone"),
        (lambda z, T: (z / T).exp() / (z / T).exp().sum(-1, keepdim=True), "holds NaN"),
        (lambda z, T: _soften(z, 2.5), "but not for large ones and T = 0.5"),
        (lambda z, T: _soften(z, T).tolist(), "torch tensor, not list"),
        (lambda z, T: _soften(z, T)[0], "has shape"),
    ],
    "kd_loss": [
        (kd(kl), "factor T² is missing"),
        (kd(lambda z, v, T: T * kl(z, v, T)), "multiplied by T: it should be T²"),
        (kd(share=lambda a: (1 - a, a)), "alpha and 1 − alpha are exchanged"),
        (kd(share=lambda a: (1, 1)), "alpha is missing"),
        (kd(share=lambda a: (a, 1)), "^wanted: alpha"),
        (kd(lambda z, v, T: T**2 * kl(v, z, T)), "the wrong way round"),
        (kd(lambda z, v, T: -(T**2) * (_soften(v, T) * (z / T).log_softmax(-1)).sum(-1).mean()), "soft cross-entropy"),
        (kd(lambda z, v, T: T**2 * kl(z, v, T, "sum")), "sum over the rows"),
        (kd(lambda z, v, T: T**2 * kl(z, v, T, "none").mean()), "divided by the number of classes too"),
        (kd(hard=lambda z, y: F.cross_entropy(z / 2.5, y)), "softened too"),
        (kd(lambda z, v, T: T**2 * kl(z, v, 1)), "distributions are not softened"),
        (kd(hard=lambda z, y: 0), "labels' part is missing"),
        (
            lambda z, v, y, T, a: F.cross_entropy(v, y) * (1 - a) + a * T**2 * kl(z, v, T),
            "the teacher's: it is the student",
        ),
        (
            lambda z, v, y, T, a: a * T**2 * kl(z, v, T) + (1 - a) * F.cross_entropy(z, y),
            "loss holds NaN: with alpha = 1",
        ),
        (lambda z, v, y, T, a: _kd_loss(z.detach(), v, y, T, a), "carries no gradient"),
        (lambda z, v, y, T, a: _kd_loss(z, v, y, T, a).item(), "a plain number"),
        (lambda z, v, y, T, a: _kd_loss(z, v, y, T, a) + (z - z.detach()).sum(), "not the gradient of student"),
        (lambda z, v, y, T, a: _kd_loss(z, v, y, T, a or 0.25), "with alpha = 0"),
    ],
    "kd_gradient": [
        (lambda z, v, T: -_kd_gradient(z, v, T), "sign is the wrong way round"),
        (lambda z, v, T: _kd_gradient(z, v, T) / T, "factor T is missing"),
        (lambda z, v, T: _kd_gradient(z, v, T) * T, "the factor is T² here"),
        (lambda z, v, T: _kd_gradient(z, v, T) / T**2, "without the factor T² of the loss"),
        (lambda z, v, T: z.softmax(-1) - v.softmax(-1), "not softened and the factor is missing"),
        (lambda z, v, T: T * (z.softmax(-1) - v.softmax(-1)), "not softened: divide"),
        (lambda z, v, T: z - v, "difference of the logits"),
        (lambda z, v, T: T * (_soften(z, T) - F.one_hot(v.argmax(-1), 3)), "taken as a label"),
        (lambda z, v, T: _kd_gradient(z, v, 4.0), "not for T = 0.5"),
        (lambda z, v, T: _kd_gradient(z, v, T).mean(0), "has shape"),
    ],
    "hidden_loss": [
        (lambda s, t, m, w: (s @ w - t).square().mean((1, 2)), "padding counts too"),
        (lambda s, t, m, w: ((s @ w - t).square() * m[..., None]).mean((1, 2)), "number of all tokens"),
        (lambda s, t, m, w: _hidden_loss(s, t, m, w) * t.shape[-1], "features are added up"),
        (lambda s, t, m, w: ((s @ w - t).square() * m[..., None]).sum((1, 2)), "sum over tokens and features"),
        (lambda s, t, m, w: _hidden_loss(s, t, m, w).sqrt(), "a root is not asked for"),
        (lambda s, t, m, w: ((s @ w - t).abs().mean(-1) * m).sum(1) / m.sum(1), "absolute differences"),
        (lambda s, t, m, w: (s @ w - t)[:, 0].square().mean(-1), "first token alone"),
        (lambda s, t, m, w: _hidden_loss(s, t, m, w).mean(), "no mean over the batch"),
        (lambda s, t, m, w: _hidden_loss(s, t, m, w.detach()), "gradient of W"),
        (lambda s, t, m, w: _hidden_loss(s.detach(), t, m, w), "gradient of student"),
        (lambda s, t, m, w: _hidden_loss(s, t, m, w).tolist(), "torch tensor, not list"),
    ],
    "layers_loss": [
        (layers(lambda s, t: t), "one in the middle"),
        (layers(lambda s, t: t[-len(s) :]), "the teacher's last ones"),
        (layers(every, first=1), "embeddings are left out"),
        (layers(lambda s, t: every(s, t)[:-1]), "last layer is left out"),
        (layers(lambda s, t: t[:1]), "embeddings alone"),
        (layers(lambda s, t: t[:: len(t) // len(s)]), "k is 2 here"),
        (layers(every, mean=3), "mean over the layers"),
        (lambda s, t, m, w: 3 * _layers_loss(s, t, m, w), "losses of the texts are added up"),
        (lambda s, t, m, w: _layers_loss(s, t, m, w.detach()), "carries no gradient"),
        (layers(lambda s, t: t[::3] if len(t) > 5 else t[::2]), "not for 4 and 4"),
        (lambda s, t, m, w: _layers_loss(s, t, m, w).item(), "a plain number"),
    ],
}
