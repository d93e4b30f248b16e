"""Right and wrong answers to the exercises of lesson 04/02."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch.nn import functional as F

from labkit.checks.meta_kd import _cosines, _expertise, _meta_distillation, _prototype_scores, _with_own

# Right


def scores_by_loops(features, domains, labels):
    groups = defaultdict(list)
    for e, domain, label in zip(features, domains.tolist(), labels.tolist(), strict=True):
        groups[domain, label].append(e)
    centroids = {key: sum(some) / len(some) for key, some in groups.items()}
    scores = []
    for e, domain, label in zip(features, domains.tolist(), labels.tolist(), strict=True):
        others = [one for (d, y), one in centroids.items() if y == label and d != domain]
        mean = sum(others) / len(others)
        scores.append(F.cosine_similarity(e, centroids[domain, label], 0) / 2 + F.cosine_similarity(e, mean, 0) / 2)
    return torch.stack(scores)


def scores_by_matrices(features, domains, labels):
    keys = torch.stack([domains, labels], 1)
    groups, place = keys.unique(dim=0, return_inverse=True)
    member = F.one_hot(place, len(groups)).float()
    centroids = (member.T @ features) / member.sum(0)[:, None]
    alike = (groups[:, 1] == labels[:, None]) & (groups[:, 0] != domains[:, None])
    others = alike.float() @ centroids / alike.sum(1, keepdim=True)
    return (F.cosine_similarity(features, centroids[place]) + F.cosine_similarity(features, others)) / 2


def scores_in_numpy(features, domains, labels):
    x, d, y = features.numpy().astype(np.float64), domains.numpy(), labels.numpy()

    def cos(a, b):
        return a @ b / np.sqrt((a @ a) * (b @ b))

    found = []
    for i in range(len(x)):
        means = {k: x[(d == k) & (y == y[i])].mean(0) for k in set(d[y == y[i]])}
        own = means.pop(d[i])
        found.append(0.5 * cos(x[i], own) + 0.5 * cos(x[i], np.mean(list(means.values()), 0)))
    return torch.tensor(np.array(found), dtype=torch.float32)


def teacher_by_loops(answers, labels, domains, wrong, typical, corruption):
    total = 0
    for i in range(len(labels)):
        answer = torch.logsumexp(answers[i], 0) - answers[i][labels[i]]
        domain = torch.logsumexp(domains[i], 0) - domains[i][wrong[i]]
        total = total + typical[i] * (answer + corruption * domain)
    return total / len(labels)


def teacher_by_gather(answers, labels, domains, wrong, typical, corruption):
    rows = torch.arange(len(labels))
    one, two = -answers.log_softmax(1)[rows, labels], -domains.log_softmax(1)[rows, wrong]
    return typical @ (one + corruption * two) / len(rows)


def teacher_in_two_means(answers, labels, domains, wrong, typical, corruption):
    one = F.nll_loss(answers.log_softmax(1), labels, reduction="none")
    two = F.nll_loss(domains.log_softmax(1), wrong, reduction="none")
    return torch.mean(typical * one) + corruption * torch.mean(typical * two)


def weights_by_loops(typical, sure):
    pairs = zip(typical.tolist(), sure.tolist(), strict=True)
    return torch.tensor([(1 + t) / (1 + np.exp((p - 1) ** 2)) for t, p in pairs], dtype=torch.float32)


def weights_by_sigmoid(typical, sure):
    return (1 + typical) * torch.sigmoid(-((1 - sure) ** 2))


def weights_by_steps(typical, sure):
    miss = torch.pow(1 - sure, 2)
    return torch.add(typical, 1).div(torch.exp(miss).add(1))


def student_by_loops(losses, typical, logits, labels):
    total = 0
    for i, label in enumerate(labels):
        p = torch.softmax(logits[i], 0)[label]
        total = total + _expertise(typical[i], p) * sum(kind[i] for kind in losses)
    return total / len(labels)


def student_by_products(losses, typical, logits, labels):
    sure = (logits.softmax(1) * F.one_hot(labels, logits.shape[1])).sum(1)
    return (losses @ _expertise(typical, sure)).sum() / len(labels)


def student_by_cross_entropy(losses, typical, logits, labels):
    sure = (-F.cross_entropy(logits, labels, reduction="none")).exp()
    return torch.mean(_expertise(typical, sure) * losses.sum(0))


RIGHT = {
    "prototype_scores": [scores_by_loops, scores_by_matrices, scores_in_numpy],
    "meta_teacher_loss": [teacher_by_loops, teacher_by_gather, teacher_in_two_means],
    "expertise": [weights_by_loops, weights_by_sigmoid, weights_by_steps],
    "meta_distillation": [student_by_loops, student_by_products, student_by_cross_entropy],
}


# Wrong


def teacher(rule):
    """A rule of the two cross-entropies, (batch,) each, how typical the texts are, and λ."""

    def found(answers, labels, domains, wrong, typical, corruption):
        one = F.cross_entropy(answers, labels, reduction="none")
        return rule(one, F.cross_entropy(domains, wrong, reduction="none"), typical, corruption)

    return found


def student(rule, sure=lambda logits, labels: logits.softmax(1).gather(1, labels[:, None])[:, 0]):
    """A rule of the losses and the weights, which come from what `sure` takes of the teacher's logits."""
    return lambda losses, typical, logits, labels: rule(losses, _expertise(typical, sure(logits, labels)))


def weighted(losses, weight):
    return (weight * losses).mean(1).sum()


WRONG = {
    "prototype_scores": [
        (lambda e, d, y: 2 * _prototype_scores(e, d, y), "sum of the two cosines"),
        (lambda e, d, y: _cosines(e, d, y)[0], "own centroid alone"),
        (lambda e, d, y: _cosines(e, d, y)[1], "other domains alone"),
        (lambda e, d, y: _prototype_scores(e, d, 0 * y), "of a domain \\*and\\* a label"),
        (lambda e, d, y: (_cosines(e, d, y)[0] + _cosines(e, d, y, pool=True)[1]) / 2, "thrown together"),
        (lambda e, d, y: (_cosines(e, d, y)[0] + _with_own(e, d, y)) / 2, "the own centroid is among the others"),
        (lambda e, d, y: 1 - _prototype_scores(e, d, y), "these are distances"),
        (lambda e, d, y: _prototype_scores(e, d, y).tolist(), "torch tensor, not list"),
        (lambda e, d, y: _prototype_scores(e, d, y)[:3], r"shape \(3,\)"),
        (lambda e, d, y: _prototype_scores(e + 1, d, y), "wanted: half the cosine"),
        (lambda e, d, y: _prototype_scores(e, d, y) * (len(d.unique()) == 3), "do not count on three domains"),
        (lambda e, d, y: _prototype_scores(e.sub_(1), d, y), "your function changed `features`"),
    ],
    "meta_teacher_loss": [
        (teacher(lambda a, d, t, k: (t * (a + k * d)).sum()), "sum over the texts"),
        (teacher(lambda a, d, t, k: t.mean() * (a + k * d).mean()), "mean times mean"),
        (teacher(lambda a, d, t, k: (a + k * d).mean()), "`typical` is not used"),
        (teacher(lambda a, d, t, k: (t * a).mean() + k * d.mean()), "only the answer's loss is weighted"),
        (teacher(lambda a, d, t, k: (t * (a + k * d)).sum() / t.sum()), "sum of the weights"),
        (teacher(lambda a, d, t, k: (t * (a - k * d)).mean()), "subtracted"),
        (teacher(lambda a, d, t, k: (t * (a + d)).mean()), "`corruption` is not used"),
        (teacher(lambda a, d, t, k: (t * a).mean()), "domain's loss is missing"),
        (teacher(lambda a, d, t, k: (t * (k * a + d)).mean()), "λ is at the wrong place"),
        (teacher(lambda a, d, t, k: (t * (a + k * d)).mean().item()), "a plain number"),
        (teacher(lambda a, d, t, k: t * (a + k * d)), "is the mean missing"),
        (teacher(lambda a, d, t, k: (t * (a + k * d.detach())).mean()), "not its gradient with respect to the domain"),
        (teacher(lambda a, d, t, k: (t * (a + (k or 1) * d)).mean()), "but not for 0"),
        (teacher(lambda a, d, t, k: (t**2 * (a + k * d)).mean()), "wanted: each text's two cross-entropies"),
    ],
    "expertise": [
        (lambda t, p: (1 + t) / (1 + (p - 1).exp()), "square is missing"),
        (lambda t, p: (1 + t) / (1 + p.square().exp()), "sure of the smallest"),
        (lambda t, p: _expertise(0 * t, p), "prototype score is missing"),
        (lambda t, p: _expertise(t - 1, p), "the numerator is 1 \\+ t"),
        (lambda t, p: (1 + t) / (p - 1).square().exp(), "the 1 in the denominator"),
        (lambda t, p: (1 + t) * (1 + (p - 1).square().exp()), "do not multiply"),
        (lambda t, p: 1 + t / (1 + (p - 1).square().exp()), "brackets"),
        (lambda t, p: _expertise(t, p) / _expertise(t, p).sum(), "need not add up to 1"),
        (lambda t, p: _expertise(t, p).mean().expand(5), "keep each one's own"),
        (lambda t, p: _expertise(t, p).mean(), r"shape \(\)"),
        (lambda t, p: (1 + t) / (1 + (2 * (p - 1) ** 2).exp()), "wanted: \\(1 \\+ t\\)"),
    ],
    "meta_distillation": [
        (student(lambda x, w: w.mean() * x.mean(1).sum()), "mean times mean"),
        (student(lambda x, w: x.mean(1).sum()), "not weighted"),
        (student(lambda x, w: (w * x).mean()), "mean over the kinds"),
        (student(lambda x, w: (w * x).sum()), "sum over the texts"),
        (student(lambda x, w: (w * x[1]).mean()), "only one kind of loss"),
        (student(lambda x, w: 3 * weighted(x, w) / w.sum()), "sum of the weights"),
        (student(weighted, lambda z, y: z.softmax(1).amax(1)), "largest probability"),
        (student(weighted, lambda z, y: z.gather(1, y[:, None])[:, 0]), "these are logits"),
        (student(weighted, lambda z, y: z.softmax(1)[:, 0]), "of the first class"),
        (student(weighted, lambda z, y: -F.cross_entropy(z, y, reduction="none")), "log-probabilities"),
        (student(lambda x, w: weighted(x, w).item()), "a plain number"),
        (student(lambda x, w: weighted(x.detach(), w)), "carries no gradient"),
        (student(lambda x, w: (w * x[0]).mean() + (w * x[1].detach()).mean()), "not its gradient"),
        (student(lambda x, w: weighted(x[:2], w)), "but not for three"),
        (lambda x, t, z, y: _meta_distillation(x, t, 2 * z, y), "wanted: the weight of each text"),
    ],
}
