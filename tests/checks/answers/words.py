"""Right and wrong answers to the exercises of lesson 01/01."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch
from torch.nn import functional as F

# Right, in several styles


def ppmi_by_loops(table):
    total, found = table.sum().item(), torch.zeros_like(table)
    for i, row in enumerate(table.tolist()):
        for j, count in enumerate(row):
            if count:
                chance = sum(row) * table[:, j].sum().item() / total
                found[i, j] = max(0.0, math.log(count / chance))
    return found


def ppmi_in_numpy(table):
    p = table.numpy() / table.numpy().sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(p / (p.sum(1, keepdims=True) * p.sum(0)))
    return torch.from_numpy(np.maximum(np.nan_to_num(pmi, neginf=0.0, posinf=0.0), 0.0))


def ppmi_by_logs(table):
    logs = table.log() + table.sum().log() - table.sum(1).log()[:, None] - table.sum(0).log()
    return logs.nan_to_num(nan=0.0, neginf=0.0, posinf=0.0).relu()


def nearest_by_sorting(vectors, row, count):
    cosines = {i: float(torch.cosine_similarity(v, vectors[row], dim=0)) for i, v in enumerate(vectors) if i != row}
    return sorted(cosines, key=cosines.get, reverse=True)[:count]


def nearest_in_numpy(vectors, row, count):
    unit = vectors.numpy() / np.linalg.norm(vectors.numpy(), axis=1, keepdims=True)
    cosines = unit @ unit[row]
    cosines[row] = -2
    return np.argsort(-cosines)[:count]


def nearest_by_topk(vectors, row, count):
    cosines = F.cosine_similarity(vectors, vectors[row : row + 1])
    return cosines.index_fill(0, torch.tensor([row]), -9.0).topk(count).indices


def keep_one_by_one(counts, threshold):
    return [min(1.0, math.sqrt(threshold / (count / sum(counts)))) for count in counts]


def keep_from_discard(counts, threshold):
    return 1 - np.maximum(0, 1 - np.sqrt(threshold * counts.sum() / counts))


def keep_in_torch(counts, threshold):
    counts = torch.from_numpy(counts).double()
    return (threshold / (counts / counts.sum())).sqrt().clamp(max=1)


def loss_by_loops(positive, negative):
    losses = []
    for right, drawn in zip(positive, negative, strict=True):
        losses.append(-F.logsigmoid(right) - sum(F.logsigmoid(-one) for one in drawn))
    return torch.stack(losses).mean()


def loss_by_targets(positive, negative):
    scores = torch.cat([positive[:, None], negative], 1)
    targets = torch.zeros_like(scores)
    targets[:, 0] = 1
    return F.binary_cross_entropy_with_logits(scores, targets, reduction="sum") / len(scores)


def loss_by_logaddexp(positive, negative):
    zero = torch.zeros(())
    return (torch.logaddexp(zero, -positive) + torch.logaddexp(zero, negative).sum(-1)).mean()


def path_by_loops(scores, code):
    probability = 1.0
    for score, bit in zip(scores.tolist(), code, strict=True):
        left = 1 / (1 + math.exp(-score))
        probability *= left if bit == "0" else 1 - left
    return probability


def path_by_logs(scores, code):
    signs = torch.tensor([1 - 2 * int(bit) for bit in code])
    return F.logsigmoid(signs * scores).sum().exp()


def path_in_numpy(scores, code):
    left = 1 / (1 + np.exp(-scores.numpy()))
    return np.where(np.array(list(code)) == "0", left, 1 - left).prod()


def same_by_loops(vectors, kinds, count, near=nearest_by_sorting):
    hits, asked = 0, 0
    for row, kind in enumerate(kinds):
        if kind is None:
            continue
        for other in near(vectors, row, count):
            hits, asked = hits + (kinds[int(other)] == kind), asked + 1
    return hits / asked


def same_by_mean(vectors, kinds, count):
    shares = [
        np.mean([kinds[other] == kind for other in nearest_in_numpy(vectors, row, count)])
        for row, kind in enumerate(kinds)
        if kind
    ]
    return np.mean(shares)


def same_by_counter(vectors, kinds, count):
    seen = Counter(
        kinds[row] == kinds[other]
        for row in range(len(kinds))
        if kinds[row] is not None
        for other in nearest_by_topk(vectors, row, count).tolist()
    )
    return torch.tensor(seen[True] / seen.total() if hasattr(seen, "total") else seen[True] / sum(seen.values()))


RIGHT = {
    "ppmi": [ppmi_by_loops, ppmi_in_numpy, ppmi_by_logs],
    "nearest": [nearest_by_sorting, nearest_in_numpy, nearest_by_topk],
    "keep_probability": [keep_one_by_one, keep_from_discard, keep_in_torch],
    "negative_sampling_loss": [loss_by_loops, loss_by_targets, loss_by_logaddexp],
    "path_probability": [path_by_loops, path_by_logs, path_in_numpy],
    "same_kind": [same_by_loops, same_by_mean, same_by_counter],
}


# Wrong


def ratio(t):
    return t * t.sum() / (t.sum(1, keepdim=True) * t.sum(0))


def ranked(values, largest=True):
    """Neighbours by other values than the cosine, the row itself left out."""

    def rule(vectors, row, count):
        order = values(vectors, row).argsort(descending=largest).tolist()
        return [one for one in order if one != row][:count]

    return rule


def cosines(vectors, row):
    return F.normalize(vectors, dim=1) @ F.normalize(vectors[row], dim=0)


def share(counts):
    return counts / counts.sum()


def right_loss(p, n):
    return loss_by_logaddexp(p, n)


def decisions(scores, code):
    return [score.sigmoid() if bit == "0" else (-score).sigmoid() for score, bit in zip(scores, code, strict=True)]


def counted(vectors, kinds, count, *, everyone=False, none=True, own=False):
    """(hits, neighbours looked at), with some of the ways to miscount."""
    hits = looked = 0
    for row, kind in enumerate(kinds):
        if kind is None and not everyone:
            continue
        near = nearest_by_sorting(vectors, row, count)
        near = [row, *near] if own else near
        near = near if none else [other for other in near if kinds[other] is not None]
        hits, looked = hits + sum(kinds[other] == kind for other in near), looked + len(near)
    return hits, looked


WRONG = {
    "ppmi": [
        (lambda t: torch.where(t > 0, ratio(t).log(), 0.0), "values below 0 are still there"),
        (lambda t: ratio(t).log(), "log 0 is −∞: words that never meet"),
        (lambda t: torch.where(t > 0, ratio(t).log(), 0.0).abs(), "absolute value"),
        (lambda t: ratio(t).log2().clamp(min=0), "base 2"),
        (lambda t: ratio(t), "logarithm is missing"),
        (lambda t: torch.log1p(ratio(t)), r"log\(1 \+ ratio\)"),
        (lambda t: (t / t.sum(1, keepdim=True)).log().clamp(min=0), "0 everywhere"),
        (lambda t: torch.ones_like(t), r"wanted: max\(0"),
        (lambda t: ppmi_by_loops(t).T, r"shape \(4, 3\)"),
        (lambda t: t.mul_(2), "changed `table`"),
        (lambda t: (ratio(t).log() * (t > 0)).clamp(min=0), "0 · −∞"),
        (lambda t: ratio(t).log().clamp(min=0), "a row of zeros is 0 divided by 0"),
    ],
    "nearest": [
        (lambda v, r, c: cosines(v, r).topk(c).indices, "the word itself is among"),
        (lambda v, r, c: cosines(v, r).topk(c).indices[1:], "one neighbour too few"),
        (lambda v, r, c: cosines(v, r).topk(c + 2).indices[1:], "one neighbour too many"),
        (lambda v, r, c: nearest_by_sorting(v, r, c)[::-1], "the nearest comes first"),
        (ranked(cosines, largest=False), "farthest"),
        (ranked(lambda v, r: v @ v[r]), "long vectors win"),
        (ranked(lambda v, r: (v - v[r]).norm(dim=1), largest=False), "smallest distance"),
        (lambda v, r, c: cosines(v, r).argsort(descending=True, stable=True)[1 : c + 1], "rows 1, 2 and 4"),
        (lambda v, r, c: [float(one) + 0.5 for one in nearest_by_sorting(v, r, c)], "whole number"),
        (lambda v, r, c: list(range(c)), "the 3 largest cosines"),
        (lambda v, r, c: 3, "list of row numbers"),
    ],
    "keep_probability": [
        (lambda n, t: np.sqrt(t / share(n)), "above 1"),
        (lambda n, t: 1 - np.sqrt(t / share(n)), "below 0 for rare"),
        (lambda n, t: (1 - np.sqrt(t / share(n))).clip(min=0), "how likely a word is left out: asked for"),
        (lambda n, t: (t / share(n)).clip(max=1), "square root is missing"),
        (lambda n, t: np.sqrt(share(n) / t).clip(max=1), "exchanged"),
        (lambda n, t: np.sqrt(t / n).clip(max=1), "not a count"),
        (lambda n, t: ((np.sqrt(share(n) / t) + 1) * t / share(n)).clip(max=1), "authors' program"),
        (lambda n, t: np.sqrt(t * n.max() / n).clip(max=1), "not by the largest"),
        (lambda n, t: keep_from_discard(n, 0.02), "use the argument `threshold`"),
        (lambda n, t: keep_from_discard(n, t).sum(), r"shape \(5,\)"),
        (lambda n, t: np.ones(len(n)), "wanted: min"),
    ],
    "negative_sampling_loss": [
        (lambda p, n: -right_loss(p, n), "sign is the wrong way round: log"),
        (lambda p, n: right_loss(p, n) * len(p), "take their mean"),
        (lambda p, n: (F.softplus(-p) + F.softplus(n).mean(1)).mean(), "averaged over the drawn words"),
        (lambda p, n: torch.cat([F.softplus(-p), F.softplus(n).flatten()]).mean(), "averaged over all scores"),
        (lambda p, n: F.softplus(-p).mean() + 0 * n.sum(), "drawn words are missing"),
        (lambda p, n: F.softplus(n).sum(1).mean() + 0 * p.sum(), "right words are missing"),
        (lambda p, n: (F.softplus(-p) + F.softplus(-n).sum(1)).mean(), "pulled near as well"),
        (lambda p, n: (F.softplus(p) + F.softplus(-n).sum(1)).mean(), "right and drawn words are exchanged"),
        (lambda p, n: (F.softplus(-p) - F.softplus(n).sum(1)).mean(), "both parts are minus"),
        (lambda p, n: -(p.sigmoid() + (-n).sigmoid().sum(1)).mean(), "the logarithm is missing"),
        (lambda p, n: (n.sum(1) - p).mean(), "σ and the logarithm"),
        (lambda p, n: -torch.cat([p[:, None], n], 1).log_softmax(1)[:, 0].mean(), "a softmax over"),
        (lambda p, n: -(p.sigmoid().log() + (1 - n.sigmoid()).log().sum(1)).mean(), "for scores of −200 and 200"),
        (lambda p, n: right_loss(p, n.detach()), "no gradient reaches `negative`"),
        (lambda p, n: right_loss(p.detach(), n), "no gradient reaches `positive`"),
        (lambda p, n: right_loss(p, n).item(), "plain number"),
        (lambda p, n: F.softplus(-p) + F.softplus(n).sum(1), "is the mean missing"),
        (lambda p, n: right_loss(p, n) + 1, "wanted: −log"),
        (lambda p, n: right_loss(p.clamp(-50, 50), n.clamp(-50, 50)), "right for small scores"),
    ],
    "path_probability": [
        (lambda s, c: path_by_loops(-s, c), "left and right are exchanged"),
        (lambda s, c: s.sigmoid().prod(), "every decision goes left"),
        (lambda s, c: sum(decisions(s, c)), "multiply"),
        (lambda s, c: sum(one.log() for one in decisions(s, c)), "this is the logarithm"),
        (lambda s, c: -sum(one.log() for one in decisions(s, c)), "minus the logarithm"),
        (lambda s, c: path_by_loops(s, c[::-1]), "read from its end"),
        (lambda s, c: path_by_loops(s, "011"[: len(c)]), "but not for \"1\""),
        (lambda s, c: torch.stack(decisions(s, c)), "one number"),
        (lambda s, c: 0.5, "wanted: the product"),
    ],
    "same_kind": [
        (lambda v, k, c: np.divide(*counted(v, k, c, everyone=True)), "asked about too"),
        (lambda v, k, c: counted(v, k, c)[0] / (len(k) * c), "divided by all words"),
        (lambda v, k, c: counted(v, k, c)[0] / sum(one is not None for one in k), "not by that of their neighbours"),
        (lambda v, k, c: counted(v, k, c)[0], "a number of neighbours"),
        (lambda v, k, c: 100 * same_by_loops(v, k, c), "per cent"),
        (lambda v, k, c: counted(v, k, c, own=True)[0] / counted(v, k, c)[1], "its own neighbour"),
        (lambda v, k, c: np.divide(*counted(v, k, c, none=False)), "neighbours without a kind"),
        (lambda v, k, c: same_by_loops(v, k, 2), "but not for count = 1"),
        (lambda v, k, c: 0.25, "wanted: of the 2 nearest"),
    ],
}  # fmt: skip
