"""Right and wrong answers to the exercises of lesson 01/06."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch
from torch.nn import functional as F

from labkit.foundations.generation import Steered, filtered


def nucleus(shares, p):
    return filtered(shares.log(), p=p).softmax(-1)


def grams(words, n):
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


# Right, in several styles


def shares_by_rows(logits, temperature):
    rows = []
    for row in logits.tolist():
        top = max(row)
        powers = [math.exp((value - top) / temperature) for value in row]
        rows.append([power / sum(powers) for power in powers])
    return torch.tensor(rows)


def shares_in_numpy(logits, temperature):
    z = logits.numpy() / temperature
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return torch.from_numpy(powers / powers.sum(axis=-1, keepdims=True))


def nucleus_by_loops(shares, p):
    found = torch.zeros_like(shares)
    for row, values in enumerate(shares.tolist()):
        total = 0.0
        for place in sorted(range(len(values)), key=lambda one: -values[one]):
            if total >= p:
                break
            found[row, place] = values[place]
            total += values[place]
        found[row] /= found[row].sum()
    return found


def nucleus_by_sorting_back(shares, p):
    down, order = torch.sort(shares, dim=-1, descending=True)
    gone = (F.pad(down.cumsum(-1), (1, 0))[..., :-1] >= p).gather(-1, order.argsort(-1))
    return F.normalize(shares.masked_fill(gone, 0.0), p=1, dim=-1)


def nucleus_in_numpy(shares, p):
    a = shares.numpy()
    order = np.argsort(-a, axis=1, kind="stable")
    down = np.take_along_axis(a, order, axis=1)
    down = np.where(np.cumsum(down, axis=1) - down < p, down, 0)
    found = np.zeros_like(a)
    np.put_along_axis(found, order, down / down.sum(axis=1, keepdims=True), axis=1)
    return torch.from_numpy(found)


def step_by_loops(logits, score, count):
    found = [(score[beam].item() + row.log_softmax(0)[token].item(), beam, token)
             for beam, row in enumerate(logits) for token in range(len(row))]  # fmt: skip
    found.sort(reverse=True)
    return tuple(torch.tensor([one[part] for one in found[:count]]) for part in range(3))


def step_by_divmod(logits, score, count):
    longer = (logits - logits.logsumexp(1, keepdim=True) + score[:, None]).reshape(-1)
    order = longer.argsort(descending=True)[:count]
    return [longer[order], torch.div(order, logits.size(1), rounding_mode="floor"), order.remainder(logits.size(1))]


def step_by_unravelling(logits, score, count):
    best, place = torch.topk((F.log_softmax(logits, 1) + score.unsqueeze(1)).flatten(), count)
    return best, *torch.unravel_index(place, logits.shape)


def matches_by_removing(candidate, reference, n):
    left, count = grams(reference, n), 0
    for gram in grams(candidate, n):
        if gram in left:
            left.remove(gram)
            count += 1
    return [count, len(grams(candidate, n))]


def matches_by_minimum(candidate, reference, n):
    mine, theirs = grams(candidate, n), grams(reference, n)
    return sum(min(mine.count(g), theirs.count(g)) for g in set(mine)), len(mine)


def matches_by_counters(candidate, reference, n):
    mine, theirs = (Counter(zip(*(ws[i:] for i in range(n)), strict=False)) for ws in (candidate, reference))
    return np.int64((mine & theirs).total()), mine.total()


def text(models, alpha, temperature, p, most, draw, *, mix=None, shares=None, reads=(0, 1, 2), end=None):
    """The right text, but for what is given instead."""
    written = []
    for _ in range(most):
        z, plus, minus = (one.logits for one in models)
        logits = mix(z, plus, minus, alpha) if mix else z + alpha * (plus - minus)
        written.append(
            draw(shares(logits, temperature, p) if shares else nucleus((logits / temperature).softmax(-1), p))
        )
        for one in reads:
            models[one].advance(written[-1])
    return end(written) if end else torch.stack(written, dim=1)


def text_by_columns(models, alpha, temperature, p, most, draw):
    base, expert, anti = models
    found = torch.zeros(len(base.logits), most, dtype=torch.long)
    for place in range(most):
        if place:
            for one in models:
                one.advance(found[:, place - 1])
        logits = (1 + 0 * alpha) * base.logits + alpha * expert.logits - alpha * anti.logits
        found[:, place] = draw(nucleus_by_loops(shares_by_rows(logits, temperature), p))
    return found


def text_by_the_library(models, alpha, temperature, p, most, draw):
    steps, found = Steered(*models, alpha), []
    while len(found) < most:
        found.append(draw(filtered(steps.logits, temperature=temperature, p=p).softmax(-1)))
        steps.advance(found[-1])
    return torch.cat([one[:, None] for one in found], 1)


RIGHT = {
    "next_shares": [shares_by_rows, shares_in_numpy, lambda z, t: F.normalize(z.softmax(-1) ** (1 / t), p=1, dim=1)
                    if z.abs().max() < 50 else (z / t).softmax(1)],
    "nucleus": [nucleus_by_loops, nucleus_by_sorting_back, nucleus_in_numpy],
    "beam_step": [step_by_loops, step_by_divmod, step_by_unravelling],
    "clipped_matches": [matches_by_removing, matches_by_minimum, matches_by_counters],
    "steered_text": [text, text_by_columns, text_by_the_library],
}  # fmt: skip


# Wrong


def cut(rule, *, back=True, normal=True):
    """A nucleus whose kept places are rule(probabilities before, probability, p), all in sorted order."""

    def wrong(shares, p):
        down, order = shares.sort(-1, descending=True)
        down = torch.where(rule(down.cumsum(-1) - down, down, p), down, 0)
        found = torch.zeros_like(shares).scatter(1, order, down) if back else down
        return found / found.sum(-1, keepdim=True) if normal else found

    return wrong


def by_value(shares, p):
    """Keeps every token that is as likely as the least likely one of the nucleus."""
    least = nucleus_by_loops(shares, p).masked_fill(nucleus_by_loops(shares, p) == 0, 2).argmin(-1, keepdim=True)
    return F.normalize(torch.where(shares >= shares.gather(1, least), shares, 0), p=1, dim=-1)


def step(longer, *, places=lambda i, v: (i // v, i % v)):
    def wrong(logits, score, count):
        best, place = longer(logits, score).flatten().topk(count)
        return best, *places(place, logits.shape[1])

    return wrong


def right_sums(logits, score):
    return score[:, None] + logits.log_softmax(-1)


def each_beams_best(logits, score, count):
    best = right_sums(logits, score).topk(2)
    order = best.values.flatten().argsort(descending=True)[:count]
    return best.values.flatten()[order], order // 2, best.indices.flatten()[order]


def mixed(rule):
    return lambda *given: text(*given, mix=rule)


def shared(rule):
    return lambda *given: text(*given, shares=rule)


WRONG = {
    "next_shares": [
        (lambda z, t: z.softmax(-1), "not used"),
        (lambda z, t: (z * t).softmax(-1), "multiplied by the temperature"),
        (lambda z, t: z.softmax(-1) / t, "sums to 2"),
        (lambda z, t: z.softmax(-1) ** (1 / t), "by their sum again"),
        (lambda z, t: (z / t).softmax(0), "each column sums to 1"),
        (lambda z, t: (z / t).log_softmax(-1), "log-probabilities"),
        (lambda z, t: (z / t).exp(), "do not sum to 1"),
        (lambda z, t: z / t, "still logits"),
        (lambda z, t: (z / t).exp() / (z / t).exp().sum(-1, keepdim=True), "holds NaN: exp of a large number"),
        (lambda z, t: (z / 0.5).softmax(-1), "but not for temperature 1.5"),
        (lambda z, t: z.div_(t).softmax(-1), "changed `logits`"),
        (lambda z, t: (z / t).softmax(-1).argmax(-1), r"shape \(3,\)"),
    ],
    "nucleus": [
        (cut(lambda b, s, p: b < p, normal=False), "do not sum to 1 any more"),
        (cut(lambda b, s, p: b < p, back=False), "in sorted order"),
        (cut(lambda b, s, p: b + s <= p), "holds NaN: did you divide by a sum of 0"),
        (cut(lambda b, s, p: (b + s <= p) | (b == 0)), "wanted: per row, the fewest"),
        (cut(lambda b, s, p: b <= p), "one token too many"),
        (lambda x, p: F.normalize(torch.where(x >= 1 - p, x, 0), p=1, dim=-1), "limit of 1 − p"),
        (cut(lambda b, s, p: b >= p), "what should go"),
        (lambda x, p: x.clone(), "nothing was left out"),
        (lambda x, p: (nucleus(x, p) > 0).float(), "these are ones"),
        (by_value, "two: choose by place in the order"),
        (lambda x, p: nucleus(x, 0.75), "with p = 1 nothing is left out"),
        (lambda x, p: nucleus(x, p).argmax(-1), r"shape \(3,\)"),
    ],
    "beam_step": [
        (step(lambda z, s: s[:, None] + z), "sums of logits"),
        (step(lambda z, s: s[:, None] + z.softmax(-1)), "added probabilities"),
        (step(lambda z, s: s[:, None] * z.log_softmax(-1)), "you multiplied"),
        (step(lambda z, s: z.log_softmax(-1)), "so far is missing"),
        (step(lambda z, s: s[:, None] + z.log_softmax(0)), "ran over the beams"),
        (step(lambda z, s: s[:, None] + z.flatten().log_softmax(0).view_as(z)), "one softmax ran over all beams"),
        (lambda z, s, n: tuple(one.flip(0) for one in step(right_sums)(z, s, n)), "the smallest stands first"),
        (each_beams_best, "the best of each beam"),
        (step(right_sums, places=lambda i, v: (i % v, i // v)), "exchanged"),
        (step(right_sums, places=lambda i, v: (i // 3, i % v)), "not the parents"),
        (step(right_sums, places=lambda i, v: (i // v, i)), "not the tokens"),
        (lambda z, s, n: right_sums(z, s).flatten().topk(n), "3 results are wanted"),
        (lambda z, s, n: step(right_sums)(z, s, 4) if len(z) > 1 else step(right_sums)(z, s, 1), r"shape \(2,\), not of"),
    ],
    "clipped_matches": [
        (lambda c, r, n: (sum(g in grams(r, n) for g in grams(c, n)), len(grams(c, n))), "at most as often as it stands"),
        (lambda c, r, n: (len({*grams(c, n)} & {*grams(r, n)}), len(grams(c, n))), "n = 1: an n-gram that stands twice"),
        (lambda c, r, n: (matches_by_minimum(c, r, n)[0], len(grams(r, n))), "would make it recall"),
        (lambda c, r, n: (matches_by_minimum(c, r, n)[0], len(c)), "n-grams, 6 of them, not words"),
        (lambda c, r, n: matches_by_minimum(c, r, n)[::-1], "the two are exchanged"),
        (lambda c, r, n: matches_by_minimum(c, r, 1), "n is not used"),
        (lambda c, r, n: (matches_by_minimum(c, r, n)[0], len(c) - n + 1), "the total is 0"),
        (lambda c, r, n: matches_by_minimum(c, r, n)[0], "2 results are wanted"),
        (lambda c, r, n: (0, 0), "3 of 6 n-grams match, you have 0 of 0"),
        (lambda c, r, n: (matches_by_minimum(c, r, n)[0] / len(c), len(c)), "whole number"),
    ],
    "steered_text": [
        (mixed(lambda z, a, b, w: z), "are not used"),
        (mixed(lambda z, a, b, w: z + w * (b - a)), "exchanged"),
        (mixed(lambda z, a, b, w: w * (a - b)), "base model is missing"),
        (mixed(lambda z, a, b, w: z + w * (a + b)), "must be subtracted"),
        (mixed(lambda z, a, b, w: z + w * a - b), "weighs the anti-expert too"),
        (mixed(lambda z, a, b, w: z + a - b), "alpha is not used"),
        (mixed(lambda z, a, b, w: z + 1.5 * (a - b)), "not with alpha = 0"),
        (shared(lambda z, t, p: nucleus(z.softmax(-1), p)), "temperature is not used"),
        (shared(lambda z, t, p: (z / t).softmax(-1)), "nucleus is not used"),
        (shared(lambda z, t, p: nucleus((z / 0.7).softmax(-1), p)), "not with temperature = 2"),
        (lambda *given: text(*given, reads=(0, 1)), "anti model never advances"),
        (lambda *given: text(*given, reads=(0, 1, 2, 2)), "advance once by it"),
        (lambda *given: text(*given, end=lambda some: torch.stack(some)), r"shape \(4, 2\)"),
        (lambda *given: text(*given, end=lambda some: some), "torch tensor, not list"),
        (lambda m, w, t, p, n, draw: text(m, w, t, p, n - 1, draw), "called 3 times"),
        (lambda m, w, t, p, n, draw: torch.zeros(2, n), "never called"),
    ],
}  # fmt: skip
