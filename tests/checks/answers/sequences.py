"""Right and wrong answers to the exercises of lesson 01/02."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def one_label_at_a_time(values, labels):
    losses = [row.logsumexp(0) - row[label] for row, label in zip(values, labels, strict=True)]
    return sum(losses) / len(losses)


def gradient(rows, labels, weights, loss=functional.cross_entropy):
    weights = weights.detach().requires_grad_()
    return torch.autograd.grad(loss(rows @ weights, labels), weights)[0]


def by_optimizer(rows, labels, weights):
    weights = torch.nn.Parameter(weights.clone())
    functional.cross_entropy(rows @ weights, labels).backward()
    torch.optim.SGD([weights], lr=1.0).step()
    return weights.detach()


def in_numpy(rows, labels, weights):
    x, w = rows.numpy(), weights.numpy()
    powers = np.exp(x @ w)
    error = powers / powers.sum(1, keepdims=True) - np.eye(w.shape[1])[labels.numpy()]
    return torch.from_numpy(w - x.T @ error / len(x))


RIGHT = {
    "first_step": [
        lambda x: torch.stack([row.softmax(0) for row in x]),
        lambda x: x.log_softmax(1).exp(),
        lambda x: functional.softmax(x, dim=-1),
    ],
    "second_step": [
        one_label_at_a_time,
        lambda x, y: -x.log_softmax(1)[torch.arange(len(y)), y].mean(),
        lambda x, y: -(functional.one_hot(y, x.shape[1]) * x.log_softmax(1)).sum() / len(x),
    ],
    "all_together": [lambda x, y, w: w - gradient(x, y, w), by_optimizer, in_numpy],
}

WRONG = {
    "first_step": [
        (lambda x: x.softmax(0), "runs over the batch"),
        (lambda x: x.log_softmax(-1), "log-probabilities"),
        (lambda x: x.sigmoid(), "one value at a time"),
        (lambda x: x.exp(), "do not sum to 1"),
        (lambda x: x.exp() / x.exp().sum(-1, keepdim=True), "subtract each row's largest value"),
        (lambda x: x.softmax(-1).detach(), "no gradient"),
    ],
    "second_step": [
        (lambda x, y: -functional.cross_entropy(x, y), "minus sign"),
        (lambda x, y: functional.cross_entropy(x, y, reduction="sum"), "take the mean"),
        (lambda x, y: -x.log_softmax(-1).mean(), "only each row's own label"),
        (lambda x, y: -x.softmax(-1)[torch.arange(len(y)), y].mean(), "the logarithm is missing"),
        (lambda x, y: -x[torch.arange(len(y)), y].mean(), "the values themselves"),
        (lambda x, y: functional.cross_entropy(x, y).item(), "a torch tensor, not float"),
    ],
    "all_together": [
        (lambda x, y, w: w, "what they were"),
        (lambda x, y, w: -gradient(x, y, w), "this is the step alone"),
        (lambda x, y, w: w + gradient(x, y, w), "the loss grows"),
        (lambda x, y, w: w - len(x) * gradient(x, y, w), "their mean is wanted"),
        (lambda x, y, w: w - gradient(x, y, w, functional.nll_loss), "wanted: weights"),
        (lambda x, y, w: w.sub_(gradient(x, y, w)), "changed `weights`"),
    ],
}
