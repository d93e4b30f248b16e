"""Checks of lesson 04/02, Meta-KD: `from labkit.checks import meta_kd as check`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import asked, exercise, expect, learns, loss, tensor
from labkit.compression import meta_kd

LESSON = "04/02"
NAN = "the mean of no texts at all? Every label here stands in every domain"
CUT = "the loss is right, but not its gradient with respect to {}: detach nothing"


# How typical a text is


def _prototype_scores(features: Tensor, domains: Tensor, labels: Tensor) -> Tensor:
    return meta_kd.prototype_scores(features, domains.tolist(), labels.tolist())


def _cosines(features: Tensor, domains: Tensor, labels: Tensor, pool: bool = False) -> tuple[Tensor, Tensor]:
    """The cosine with the own centroid, and with the others' mean or, pooled, with the mean of all their texts."""
    pairs = []
    for e, domain, label in zip(features, domains, labels, strict=True):
        of = {int(d): features[(domains == d) & (labels == label)] for d in domains[labels == label]}
        own = of.pop(int(domain)).mean(0)
        others = torch.cat(list(of.values())) if pool else torch.stack([texts.mean(0) for texts in of.values()])
        pairs.append(torch.stack([F.cosine_similarity(e, one, dim=0) for one in (own, others.mean(0))]))
    return torch.stack(pairs).unbind(1)


@exercise(LESSON, _prototype_scores)
def prototype_scores(function: Callable[..., Tensor]) -> None:
    """Features (n, d), domains (n,), labels (n,) → (n,): ½ cos(e, own centroid) + ½ cos(e, mean of the others)."""
    draw = torch.Generator().manual_seed(4)
    domains, labels = torch.tensor([2, 0, 1, 2, 0, 1, 0, 2, 1, 0]), torch.tensor([0, 1, 0, 1, 0, 1, 0, 0, 1, 1])
    features = torch.randn(10, 3, generator=draw) + 2 * torch.eye(3)[domains]
    found = tensor(asked(function, features=features, domains=domains, labels=labels), (10,), nan=NAN)
    right, same = _prototype_scores(features, domains, labels), torch.zeros_like(labels)
    own, others = _cosines(features, domains, labels)
    pooled = _cosines(features, domains, labels, pool=True)[1]
    expect(found, right, "wanted: half the cosine with the text's own centroid, and half that with the mean of the other domains' centroids, all of the text's own label", [
        (2 * right, "this is the sum of the two cosines: take half of each"),
        (own, "this is the own centroid alone: the other domains' make the other half"),
        (others, "these are the other domains alone: the own centroid makes the other half"),
        (_prototype_scores(features, domains, same), "texts of all labels are in one centroid: a centroid is of a domain *and* a label"),
        ((own + pooled) / 2, "the other domains' texts are thrown together, so a domain with many texts counts more: take the mean of their centroids"),
        ((own + _with_own(features, domains, labels)) / 2, "the own centroid is among the others: leave it out there"),
        (1 - right, "these are distances: a typical text should score high"),
    ])  # fmt: skip
    few = tensor(function(features[:6], domains[:6].clamp(max=1), same[:6]), (6,), "for six texts of two domains, the result", NAN)  # fmt: skip
    expect(few, _prototype_scores(features[:6], domains[:6].clamp(max=1), same[:6]), "right for ten texts, but not for six of two domains and one label: do not count on three domains")  # fmt: skip


def _with_own(features: Tensor, domains: Tensor, labels: Tensor) -> Tensor:
    """The cosine with the mean of all domains' centroids of the text's label."""
    found = []
    for e, label in zip(features, labels, strict=True):
        texts = [features[(domains == d) & (labels == label)] for d in domains.unique()]
        found.append(F.cosine_similarity(e, torch.stack([one.mean(0) for one in texts if len(one)]).mean(0), dim=0))
    return torch.stack(found)


# The meta-teacher


def _meta_teacher_loss(
    answers: Tensor, labels: Tensor, domains: Tensor, wrong: Tensor, typical: Tensor, corruption: float
) -> Tensor:
    answer, domain = (F.cross_entropy(*one, reduction="none") for one in ((answers, labels), (domains, wrong)))
    return (typical * (answer + corruption * domain)).mean()


@exercise(LESSON, _meta_teacher_loss)
def meta_teacher_loss(function: Callable[..., Tensor]) -> None:
    """Answers (batch, classes), labels, domain logits (batch, domains), wrong domains, typical (batch,), λ → loss."""
    draw = torch.Generator().manual_seed(6)
    start = {"answers": torch.randn(4, 3, generator=draw), "domains": torch.randn(4, 5, generator=draw)}
    labels, wrong, typical = torch.tensor([2, 0, 1, 0]), torch.tensor([4, 0, 2, 1]), torch.tensor([0.9, 0.2, -0.1, 0.6])
    answers, domains = (one.requires_grad_() for one in start.values())
    given = {"answers": answers, "labels": labels, "domains": domains, "wrong": wrong, "typical": typical}
    value = asked(function, **given, corruption=0.5)
    found, right = loss(value), _meta_teacher_loss(*given.values(), 0.5)
    one, two = (F.cross_entropy(*pair, reduction="none") for pair in ((answers, labels), (domains, wrong)))
    expect(found, right, "wanted: each text's two cross-entropies, the domain's times λ, together times how typical the text is; then the mean", [
        (4 * right, "this is the sum over the texts: take the mean"),
        (typical.mean() * (one + 0.5 * two).mean(), "mean times mean: every text has the batch's mean weight here; multiply text by text (reduction=\"none\"), then take the mean"),
        ((one + 0.5 * two).mean(), "`typical` is not used: multiply each text's losses by it"),
        ((typical * one).mean() + 0.5 * two.mean(), "only the answer's loss is weighted: the domain's loss is too"),
        (right * 4 / typical.sum(), "you divided by the sum of the weights: divide by the number of texts"),
        (_meta_teacher_loss(*given.values(), -0.5), "the domain's loss is subtracted: the domains are wrong ones already, so it is added"),
        (_meta_teacher_loss(*given.values(), 1.0), "`corruption` is not used: multiply the domain's loss by it"),
        ((typical * one).mean(), "the domain's loss is missing"),
        ((typical * (0.5 * one + two)).mean(), "λ is at the wrong place: it weighs the domain's loss"),
    ])  # fmt: skip
    learns(value, right, {"the answers": answers, "the domain logits": domains}, CUT)
    none = function(answers, labels, domains, wrong, typical, 0.0)
    expect(loss(none), _meta_teacher_loss(*given.values(), 0.0), "right for λ = 0.5, but not for 0")


# The student


def _expertise(typical: Tensor, sure: Tensor) -> Tensor:
    return meta_kd.expertise(typical, sure)


@exercise(LESSON, _expertise)
def expertise(function: Callable[..., Tensor]) -> None:
    """Prototype scores (batch,) and the teacher's probabilities of the right labels (batch,) → weights (batch,)."""
    typical, sure = torch.tensor([0.0, 0.5, -0.4, 0.9, 1.0]), torch.tensor([1.0, 0.2, 0.7, 0.0, 0.6])
    found = tensor(asked(function, typical=typical, sure=sure), (5,))
    right = (1 + typical) / (1 + (sure - 1).square().exp())
    expect(found, right, "wanted: (1 + t) / (1 + exp((p − 1)²)), text by text", [
        ((1 + typical) / (1 + (sure - 1).exp()), "the square is missing: exp((p − 1)²)"),
        ((1 + typical) / (1 + sure.square().exp()), "exp(p²) makes the weight of what the teacher is sure of the smallest: take exp((p − 1)²)"),
        (1 / (1 + (sure - 1).square().exp()), "the prototype score is missing: the numerator is 1 + t"),
        (typical / (1 + (sure - 1).square().exp()), "the numerator is 1 + t: with t alone a text of score 0 would not count"),
        ((1 + typical) / (sure - 1).square().exp(), "the 1 in the denominator is missing: 1 + exp(…)"),
        ((1 + typical) * (1 + (sure - 1).square().exp()), "divide by 1 + exp(…), do not multiply"),
        (1 + typical / (1 + (sure - 1).square().exp()), "brackets: (1 + t) / (…), not 1 + t / (…)"),
        (right / right.sum(), "the weights need not add up to 1: leave them as they are"),
        (right.mean().expand(5), "every text has the mean weight: keep each one's own"),
    ])  # fmt: skip


def _meta_distillation(losses: Tensor, typical: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    weight = meta_kd.expertise(typical, logits.softmax(-1).gather(1, labels[:, None])[:, 0])
    return (weight * losses).mean(1).sum()


@exercise(LESSON, _meta_distillation)
def meta_distillation(function: Callable[..., Tensor]) -> None:
    """Losses (kinds, batch), typical (batch,), the teacher's logits (batch, classes), labels (batch,) → loss."""
    typical, labels = torch.tensor([0.9, -0.3, 0.4]), torch.tensor([1, 0, 1])
    logits = torch.tensor([[0.0, 3.0, 1.0], [-1.0, 0.5, 2.0], [1.0, 0.2, -2.0]])
    losses = torch.tensor([[0.3, 2.0, 0.7], [1.5, 0.1, 0.9]], requires_grad=True)
    value = asked(function, losses=losses, typical=typical, logits=logits, labels=labels)
    found, right = loss(value), _meta_distillation(losses, typical, logits, labels)

    def with_sure(sure: Tensor) -> Tensor:
        return (meta_kd.expertise(typical, sure) * losses).mean(1).sum()

    shares = logits.softmax(-1)
    weight = meta_kd.expertise(typical, shares.gather(1, labels[:, None])[:, 0])
    expect(found, right, "wanted: the weight of each text from `expertise`, times each of its losses; the mean over the texts, the sum over the kinds", [
        (weight.mean() * losses.mean(1).sum(), "mean times mean: every text has the batch's mean weight, as in the authors' program; multiply first, then take the mean"),
        (losses.mean(1).sum(), "the losses are not weighted"),
        (right / 2, "this is the mean over the kinds of loss too: add these up"),
        (3 * right, "this is the sum over the texts: take their mean"),
        ((weight * losses[-1]).mean(), "only one kind of loss is there: add up all of them"),
        ((weight * losses[0]).mean(), "only one kind of loss is there: add up all of them"),
        (right * 3 / weight.sum(), "you divided by the sum of the weights: divide by the number of texts"),
        (with_sure(shares.amax(1)), "this is the teacher's largest probability: take that of the right label"),
        (with_sure(logits.gather(1, labels[:, None])[:, 0]), "these are logits: a softmax makes probabilities of them"),
        (with_sure(shares[:, 0]), "this is the probability of the first class: take that of each text's label"),
        (with_sure(shares[torch.arange(3), labels].log()), "these are log-probabilities: expertise takes probabilities"),
    ])  # fmt: skip
    learns(value, right, {"the losses": losses}, CUT)
    three = torch.cat([losses, torch.tensor([[1.0, 2.0, 3.0]])])
    expect(loss(function(three, typical, logits, labels)), _meta_distillation(three, typical, logits, labels), "right for two kinds of loss, but not for three")  # fmt: skip
