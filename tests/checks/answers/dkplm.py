"""Right and wrong answers to the exercises of lesson 02/03."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from labkit.knowledge.dkplm import decoded, pseudo_token, relational_loss, sampled_loss

NEVER = -torch.inf

# Right


def klt_by_if(frequency, importance, connections, below):
    if frequency >= below:
        return 0
    return importance * connections


def klt_by_product(frequency, importance, connections, below):
    return int(frequency < below) * importance * connections


def klt_in_numpy(frequency, importance, connections, below):
    return np.where(frequency < below, np.float64(importance) * connections, 0)


def pseudo_by_loops(other, relation, is_head):
    return torch.stack([o - r if head else o + r for o, r, head in zip(other, relation, is_head, strict=True)])


def pseudo_by_sign(other, relation, is_head):
    return other + (1 - 2 * is_head.float())[:, None] * relation


def pseudo_by_index(other, relation, is_head):
    found = other + relation
    found[is_head] = other[is_head] - relation[is_head]
    return found


def decode_by_list(mentions, relations, step, tokens):
    states = [mentions]
    for _ in range(tokens):
        states.append(step(states[-1] * relations).tanh())
    return torch.stack(states[1:], dim=1)


def decode_one_by_one(mentions, relations, step, tokens):
    rows = []
    for state, relation in zip(mentions, relations, strict=True):
        row = []
        for _ in range(tokens):
            state = torch.tanh(step((state * relation)[None]))[0]
            row.append(state)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def decode_by_recursion(mentions, relations, step, tokens):
    if not tokens:
        return mentions[:, :0, None] * mentions[:, None]
    first = torch.tanh(step(mentions * relations))
    return torch.cat([first[:, None], decode_by_recursion(first, relations, step, tokens - 1)], 1)


def sampled_by_loops(scores, wanted, chances, draws):
    losses = []
    for row, word in zip(scores, wanted, strict=True):
        some = [row[word], *[row[d] - torch.log(len(draws) * chances[d]) for d in draws if d != word]]
        losses.append(torch.logsumexp(torch.stack(some), 0) - row[word])
    return sum(losses) / len(losses)


def sampled_by_cross_entropy(scores, wanted, chances, draws):
    wrong = scores[:, draws] - torch.log(len(draws) * chances[draws])
    wrong = torch.where(draws == wanted[:, None], torch.tensor(NEVER), wrong)
    both = torch.cat([scores[torch.arange(len(wanted)), wanted][:, None], wrong], 1)
    return F.cross_entropy(both, torch.zeros(len(wanted), dtype=torch.long))


def sampled_by_log_add(scores, wanted, chances, draws):
    right = scores.gather(1, wanted[:, None])[:, 0]
    wrong = (scores[:, draws] - (chances[draws] * draws.numel()).log()).masked_fill(draws == wanted[:, None], NEVER)
    return -(right - torch.logaddexp(right, wrong.logsumexp(1))).mean()


def relational_by_parts(mentions, relations, wanted, step, say, chances, draws):
    states = decode_by_list(mentions, relations, step, wanted.shape[1])
    rows, columns = torch.nonzero(wanted != -100, as_tuple=True)
    return sampled_by_cross_entropy(say(states[rows, columns]), wanted[rows, columns], chances, draws)


def relational_flat(mentions, relations, wanted, step, say, chances, draws):
    scores = say(decode_by_recursion(mentions, relations, step, wanted.size(1))).flatten(0, 1)
    words = wanted.flatten()
    return sampled_by_loops(scores[words >= 0], words[words >= 0], chances, draws)


def relational_by_names(mentions, relations, wanted, step, say, chances, draws):
    states = decode_one_by_one(mentions, relations, step, wanted.shape[1])
    kept = [(state, word) for name, ids in zip(states, wanted, strict=True)
            for state, word in zip(name, ids, strict=True) if word != -100]  # fmt: skip
    words = torch.stack([word for _, word in kept])
    return sampled_by_log_add(say(torch.stack([state for state, _ in kept])), words, chances, draws)


RIGHT = {
    "klt": [klt_by_if, klt_by_product, klt_in_numpy],
    "pseudo": [pseudo_by_loops, pseudo_by_sign, pseudo_by_index],
    "decode": [decode_by_list, decode_one_by_one, decode_by_recursion],
    "sampled": [sampled_by_loops, sampled_by_cross_entropy, sampled_by_log_add],
    "relational": [relational_by_parts, relational_flat, relational_by_names],
}


# Wrong


def chain(how, skip=False):
    def found(mentions, relations, step, tokens):
        state, states = mentions, []
        for _ in range(tokens):
            state = how(state, relations, step, mentions)
            states.append(state)
        return torch.stack(states, 1)

    return found


def against(correct=lambda q, p: (q * p).log(), drop=True, reduce=lambda x: x.mean()):
    def found(scores, wanted, chances, draws):
        right = scores.gather(1, wanted[:, None])
        wrong = scores[:, draws] - correct(len(draws), chances[draws])
        wrong = wrong.masked_fill(draws == wanted[:, None], NEVER) if drop else wrong
        return reduce(torch.cat([right, wrong], 1).logsumexp(1) - right[:, 0])

    return found


def changed(other, relation, is_head):
    relation[is_head] *= -1
    return other + relation


def first_only(mentions, relations, wanted, step, say, chances, draws):
    return sampled_loss(say(decoded(mentions, relations, step, 1)[:, 0]), wanted[:, 0], chances, draws)


def per_token(scale):
    def found(mentions, relations, wanted, step, say, chances, draws):
        states, total = decoded(mentions, relations, step, wanted.shape[1]), 0
        for i in range(wanted.shape[1]):
            asked = wanted[:, i] != -100
            total = total + sampled_loss(say(states[asked, i]), wanted[asked, i], chances, draws)
        return total * scale

    return found


def no_choice(mentions, relations, wanted, step, say, chances, draws):
    states = decoded(mentions, relations, step, wanted.shape[1])
    return sampled_loss(say(states.flatten(0, 1)), wanted.flatten(), chances, draws)


def full(mentions, relations, wanted, step, say, chances, draws):
    return F.cross_entropy(say(decoded(mentions, relations, step, wanted.shape[1])).transpose(1, 2), wanted)


WRONG = {
    "klt": [
        (lambda f, s, k, r: s * k if f <= r else 0, "< is meant, not <="),
        (lambda f, s, k, r: s * k, "an entity that is not rare has KLT 0"),
        (lambda f, s, k, r: s * k if f > r else 0, "is the comparison the wrong way round"),
        (lambda f, s, k, r: f * s * k, "not the frequency itself"),
        (lambda f, s, k, r: s + k if f < r else 0, "multiplied, not added"),
        (lambda f, s, k, r: k / s if f < r else 0, "multiply by it"),
        (lambda f, s, k, r: {}.get(f), "did you forget `return`"),
    ],
    "pseudo": [
        (lambda o, r, h: pseudo_token(o, r, ~h), "the signs are exchanged"),
        (lambda o, r, h: o + r, "right for tails alone"),
        (lambda o, r, h: o - r, "right for heads alone"),
        (lambda o, r, h: torch.where(h[:, None], r - o, r + o), "the other way round"),
        (lambda o, r, h: o, "this is the other entity itself"),
        (changed, "your function changed `relation`"),
        (lambda o, r, h: pseudo_token(o, r, h).tolist(), "torch tensor, not list"),
        (lambda o, r, h: pseudo_token(o, r, h)[:, :1], r"shape \(4, 1\)"),
    ],
    "decode": [
        (lambda m, r, s, n: torch.tanh(s(m * r))[:, None].expand(-1, n, -1), "all states are the first one"),
        (
            lambda m, r, s, n: decoded(m * r, torch.ones_like(r), s, n) + 0 * r[:, None],
            "the relation is multiplied in once",
        ),
        (chain(lambda h, r, s, m: torch.tanh(s(h + r))), "multiply them, element by element"),
        (chain(lambda h, r, s, m: s(h * r)), "the tanh is missing"),
        (chain(lambda h, r, s, m: torch.tanh(s(h)) * r), "the relation comes after the step"),
        (lambda m, r, s, n: torch.cat([m[:, None], decoded(m, r, s, n)[:, :-1]], 1), "not the mention itself"),
        (lambda m, r, s, n: decoded(m, r, s, n).transpose(0, 1), "tokens and mentions are exchanged"),
        (lambda m, r, s, n: decoded(m.detach(), r, s, n), "not their gradient with respect to the mentions"),
        (lambda m, r, s, n: decoded(m, r, s, n).detach(), "carries no gradient"),
        (lambda m, r, s, n: decoded(m, r, s, 3), r"\(1, 3, 4\)"),
    ],
    "sampled": [
        (lambda s, w, c, d: F.cross_entropy(s, w), "softmax over all words"),
        (against(correct=lambda q, p: 0 * p), "is not made up for"),
        (against(drop=False), "counted twice"),
        (against(correct=lambda q, p: p.log()), "q the number of draws"),
        (against(correct=lambda q, p: -(q * p).log()), "the correction has the wrong sign"),
        (against(reduce=lambda x: x.sum()), "this is the sum over the n words"),
        (against(reduce=lambda x: -x.mean()), "the sign is the wrong way round"),
        (against(reduce=lambda x: x), "one number is wanted"),
        (lambda s, w, c, d: sampled_loss(s.detach(), w, c, d), "carries no gradient"),
        (lambda s, w, c, d: sampled_loss(s, w, c, d) + (s - s.detach()).sum(), "its gradient is not"),
    ],
    "relational": [
        (first_only, "only the first token"),
        (per_token(1), "adds the means"),
        (per_token(0.5), "a mean of means"),
        (full, "softmax over all words"),
        (no_choice, "−100 is no word"),
        (lambda *given: relational_loss(*given) * 5, "this is a sum over the tokens"),
        (lambda m, r, *rest: relational_loss(m.detach(), r, *rest), "gradient with respect to the mentions"),
        (lambda *given: relational_loss(*given).item(), "a plain number"),
    ],
}
