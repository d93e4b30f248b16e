"""Right and wrong answers to the exercises of lesson 02/01."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

# Right, in several styles


def margin_by_loops(positive, negative, margin):
    losses = []
    for near, some in zip(positive, negative, strict=True):
        losses += [torch.clamp(margin + near - far, min=0) for far in some]
    return torch.stack(losses).mean()


def margin_by_library(positive, negative, margin):
    return F.margin_ranking_loss(negative, positive[:, None].expand_as(negative), torch.ones_like(negative), margin)


def margin_by_maximum(positive, negative, margin):
    return torch.maximum(torch.zeros(()), margin + positive.unsqueeze(1) - negative).mean()


def corrupt_by_loops(triples, column, entities, known, rng):
    made = []
    for triple, at in zip(triples.tolist(), column, strict=True):
        while tuple(triple) in known:
            triple[at] = int(rng.integers(entities))
        made.append(triple)
    return np.array(made)


def corrupt_by_choice(triples, column, entities, known, rng):
    made = triples.copy()
    for row, at in enumerate(column):
        h, r, t = triples[row].tolist()
        free = [e for e in range(entities) if ((e, r, t) if at == 0 else (h, r, e)) not in known]
        made[row, at] = rng.choice(free)
    return made


def corrupt_all_at_once(triples, column, entities, known, rng):
    made, bad = triples.copy(), np.ones(len(triples), bool)
    while bad.any():
        made[bad, column[bad]] = rng.integers(entities, size=bad.sum())
        bad = np.array([tuple(map(int, row)) in known for row in made])
    return made


def rank_by_sorting(distances, answer, others):
    kept = sorted(float(d) for i, d in enumerate(distances) if i not in others)
    own = float(distances[answer])
    return (kept.index(own) + 1 + len(kept) - kept[::-1].index(own)) / 2


def rank_by_loops(distances, answer, others):
    rank = 1.0
    for entity, distance in enumerate(distances.tolist()):
        if entity != answer and entity not in others:
            rank += (distance < distances[answer].item()) + (distance == distances[answer].item()) / 2
    return rank


def rank_by_infinity(distances, answer, others):
    rest = distances.clone()
    rest[list(others)] = torch.inf
    own = distances[answer]
    return (rest < own).sum() + ((rest == own).sum() + 1) / 2


def labels_by_loops(entities, facts):
    found = []
    for head, relation, tail in facts:
        if head in entities and tail in entities:
            found.append((head, relation, tail))
    return found


def labels_by_filter(entities, facts):
    return set(filter(lambda fact: {fact[0], fact[2]} <= set(entities), facts))


def labels_by_pairs(entities, facts):
    pairs = {(a, b) for a in entities for b in entities}
    return {fact for fact in facts if (fact[0], fact[2]) in pairs}


def picking_by_loops(picked, believed, bonus):
    total = 0 * picked.sum()
    for p, b in zip(picked, believed.detach(), strict=True):
        total = total - torch.log(p) * (b - 0.5 + bonus)
    return total


def picking_without_gradient(picked, believed, bonus):
    with torch.no_grad():
        reward = believed - 0.5 + bonus
    return (-torch.log(picked) * reward).sum()


def picking_by_product(picked, believed, bonus):
    return -torch.dot(picked.log(), believed.detach() + (bonus - 0.5))


RIGHT = {
    "margin_loss": [margin_by_loops, margin_by_library, margin_by_maximum],
    "corrupt": [corrupt_by_loops, corrupt_by_choice, corrupt_all_at_once],
    "filtered_rank": [rank_by_sorting, rank_by_loops, rank_by_infinity],
    "distant_labels": [labels_by_loops, labels_by_filter, labels_by_pairs],
    "picking_loss": [picking_by_loops, picking_without_gradient, picking_by_product],
}


# Wrong


def room(p, n, margin):
    return margin + p[:, None] - n


def drawn(triples, column, entities, known, rng, low=0, high=None, known_too=False):
    """Negatives with some of the ways to draw them wrong."""
    made = triples.copy()
    for row, at in enumerate(column):
        while True:
            made[row, at] = rng.integers(low, entities if high is None else high)
            if known_too or tuple(map(int, made[row])) not in known:
                break
    return made


def relation_too(t, c, e, k, rng):
    made = drawn(t, c, e, k, rng)
    made[:, 1] = 0
    return made


def answers(distances, answer, others, start=1.0, tie=0.5, own=0.0, filtered=True, largest=False):
    """A rank with some of the ways to count it wrong."""
    rest = [d for e, d in enumerate(distances.tolist()) if e != answer and not (filtered and e in others)]
    mine = distances[answer].item()
    better = sum(d > mine if largest else d < mine for d in rest)
    return start + better + tie * sum(d == mine for d in rest) + own


def reward(p, b, bonus):
    return p.log() * (b.detach() - 0.5 + bonus)


WRONG = {
    "margin_loss": [
        (lambda p, n, m: room(p, n, m).mean(), "cut at 0"),
        (lambda p, n, m: room(p, n, m).relu().sum(), "this is the sum: take the mean"),
        (lambda p, n, m: room(p, n, m).relu().sum(1).mean(), "a sum over the negatives"),
        (lambda p, n, m: (m - p[:, None] + n).relu().mean(), "signs are exchanged"),
        (lambda p, n, m: (p[:, None] - n).relu().mean(), "the margin is missing"),
        (lambda p, n, m: (p[:, None] - n).relu().mean() + m, "the margin belongs inside"),
        (lambda p, n, m: (m + p - n.mean(1)).relu().mean(), "not with their mean distance"),
        (lambda p, n, m: room(p, n, m).abs().mean(), "absolute value"),
        (lambda p, n, m: room(p, n, m).relu().square().mean(), "squared"),
        (lambda p, n, m: room(p, n, m).relu(), r"one number is wanted, .* shape \(3, 2\)"),
        (lambda p, n, m: room(p, n, m).relu().mean().item(), "plain number"),
        (lambda p, n, m: room(p, n.detach(), m).relu().mean(), "gradient with respect to negative"),
        (lambda p, n, m: room(p, n, 0.5).relu().mean(), "not for margin 2"),
        (lambda p, n, m: room(p, n, m).relu().mean() * 3, r"wanted: the mean over all negatives"),
    ],
    "corrupt": [
        (lambda t, c, e, k, rng: t, "the facts themselves"),
        (lambda t, c, e, k, rng: drawn(t, c, e, k, rng, known_too=True), "is a known fact"),
        (lambda t, c, e, k, rng: drawn(t, 2 - c, e, k, rng), "the wrong end was replaced"),
        (relation_too, "the relation was changed"),
        (lambda t, c, e, k, rng: drawn(t, c, e, k, rng, high=9), "no such entity"),
        (lambda t, c, e, k, rng: drawn(t, c, e, k, rng, low=3), "never drawn"),
        (lambda t, c, e, k, rng: drawn(t, c, e, k, np.random.default_rng(5)), "another `rng` gives the same"),
        (lambda t, c, e, k, rng: drawn(t, c, e, k, rng)[:5], r"shape \(5, 3\)"),
        (lambda t, c, e, k, rng: drawn(t, c, e, k, rng).astype(float), "whole numbers"),
    ],
    "filtered_rank": [
        (lambda d, a, o: answers(d, a, o, filtered=False), "the other true answers still count"),
        (lambda d, a, o: answers(d, a, o, tie=0), "none is first"),
        (lambda d, a, o: answers(d, a, o, tie=1), "none is last"),
        (lambda d, a, o: answers(d, a, o, own=0.5), "not tie with itself"),
        (lambda d, a, o: answers(d, a, o, tie=0.25), "push the answer down by 1.5"),
        (lambda d, a, o: answers(d, a, o, start=0), "counts from 0"),
        (lambda d, a, o: answers(d, a, o, largest=True), "the nearest comes first"),
        (lambda d, a, o: 4, "should be 4.5, not 4"),
        (lambda d, a, o: torch.ones(2), "one number"),
    ],
    "distant_labels": [
        (lambda e, f: {one for one in f if one[0] in e or one[2] in e}, "only one of its ends"),
        (lambda e, f: {one for one in f if one[2] in e}, r"\(7, 0, 1\) is labelled"),
        (lambda e, f: {one for one in f if one[0] not in e and one[2] not in e}, "neither of its ends"),
        (lambda e, f: {(h, r, t) for h, r, t in f if {h, t} <= e and h != t}, "an entity may also be both"),
        (lambda e, f: {(h, r, t) for h, r, t in f if {h, t} <= e and h < t}, r"\(2, 0, 1\) is missing"),
        (lambda e, f: {(t, r, h) for h, r, t in f if {h, t} <= e}, "is no fact of the graph"),
        (lambda e, f: {(h, t) for h, r, t in f if {h, t} <= e}, "is no fact of the graph"),
        (lambda e, f: 2 * labels_by_loops(e, f), "stands twice"),
        (lambda e, f: len(labels_by_loops(e, f)), "a set of facts is wanted"),
    ],
    "picking_loss": [
        (lambda p, b, bonus: reward(p, b, bonus).sum(), "the sign is the wrong way round"),
        (lambda p, b, bonus: -reward(p, b, bonus).mean(), "take the sum"),
        (lambda p, b, bonus: -reward(p, b, 0).sum(), "the bonus is missing"),
        (lambda p, b, bonus: -reward(p, b, 0.5 + bonus).sum(), "½ is missing"),
        (lambda p, b, bonus: -reward(p, b, 0).sum() - bonus, "the bonus belongs to the reward"),
        (lambda p, b, bonus: -(p * (b.detach() - 0.5 + bonus)).sum(), "the logarithm of the picked"),
        (lambda p, b, bonus: -reward(p, b, -bonus).sum(), "the bonus is subtracted"),
        (lambda p, b, bonus: -p.log().sum() * (b.detach() - 0.5 + bonus).sum(), "label by label"),
        (lambda p, b, bonus: -(p.log() * (b - 0.5 + bonus)).sum(), "a gradient reaches `believed`"),
        (lambda p, b, bonus: -reward(p, b, bonus), "one number is wanted"),
        (lambda p, b, bonus: -reward(p.detach(), b, bonus).sum(), "carries no gradient"),
        (lambda p, b, bonus: -reward(p, b, bonus).sum() * 2, "wanted: −Σ log p"),
    ],
}  # fmt: skip
