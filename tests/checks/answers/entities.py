"""Right and wrong answers to the exercises of lesson 02/02."""

from __future__ import annotations

import numpy as np
import torch

from labkit.knowledge.bert_mk import adjacency
from labkit.knowledge.ernie import disturbed, fused
from labkit.knowledge.wklm import exchanged

# Right


def fuse_by_linear(h, e, w_t, w_e, b, act):
    return act(torch.nn.functional.linear(h, w_t, b) + torch.nn.functional.linear(e, w_e))


def fuse_by_one_matrix(h, e, w_t, w_e, b, act):
    return act(torch.cat([h, e], -1) @ torch.cat([w_t, w_e], 1).T + b)


def fuse_by_einsum(h, e, w_t, w_e, b, act):
    return act(torch.einsum("fd,...d->...f", w_t, h) + torch.einsum("fk,...k->...f", w_e, e) + b)


def disturb_by_loop(entities, number, rng, wrong=0.05, hidden=0.15):
    found = []
    for entity in entities:
        fate = rng.random()
        if fate < wrong:
            found.append(rng.choice([one for one in range(number) if one != entity]))
        else:
            found.append(-1 if fate < wrong + hidden else entity)
    return found


def disturb_by_choice(entities, number, rng, wrong=0.05, hidden=0.15):
    fate = rng.choice(3, size=len(entities), p=[wrong, hidden, 1 - wrong - hidden])
    others = rng.integers(number - 1, size=len(entities))
    others += others >= entities
    return np.choose(fate, [others, np.full(len(entities), -1), entities])


def disturb_from_above(entities, number, rng, wrong=0.05, hidden=0.15):
    found, fate = np.array(entities), rng.random(len(entities))
    found[fate >= 1 - hidden] = -1
    swap = fate < wrong
    found[swap] = (found[swap] + rng.integers(1, number, size=swap.sum())) % number
    return found


def exchange_by_flag(entities, types, rng, share):
    found, last = [], False
    for entity in entities:
        others = [one for one in range(len(types)) if types[one] == types[entity] and one != entity]
        last = bool(others) and not last and rng.random() < share
        found.append(others[rng.integers(len(others))] if last else entity)
    return found


def exchange_in_place(entities, types, rng, share):
    found, place = list(entities), 0
    while place < len(found):
        others = [one for one, kind in enumerate(types) if kind == types[found[place]] and one != found[place]]
        if others and rng.random() < share:
            found[place] = int(rng.choice(others))
            place += 1
        place += 1
    return found


def exchange_in_numpy(entities, types, rng, share):
    kinds, found = np.array(types), np.array(entities, int)
    for place, entity in enumerate(entities):
        others = np.setdiff1d(np.flatnonzero(kinds == kinds[entity]), [entity])
        free = place == 0 or found[place - 1] == entities[place - 1]
        if len(others) and free and rng.random() < share:
            found[place] = rng.choice(others)
    return found


def mask_by_lists(triples, nodes):
    joined = {pair for h, r, t in triples for pair in ((h, r), (r, h), (r, t), (t, r))}
    return np.array([[a == b or (a, b) in joined for b in range(nodes)] for a in range(nodes)])


def mask_in_torch(triples, nodes):
    found = torch.eye(nodes, dtype=torch.bool)
    for h, r, t in triples:
        found[h, r] = found[r, h] = found[t, r] = found[r, t] = True
    return found


def mask_by_sum(triples, nodes):
    found = np.zeros((nodes, nodes), int)
    for h, r, t in triples:
        found[h, r] += 1
        found[r, t] += 1
    return (found + found.T + np.eye(nodes)) > 0


RIGHT = {
    "fuse": [fuse_by_linear, fuse_by_one_matrix, fuse_by_einsum],
    "disturb": [disturb_by_loop, disturb_by_choice, disturb_from_above],
    "exchange": [exchange_by_flag, exchange_in_place, exchange_in_numpy],
    "mask": [mask_by_lists, mask_in_torch, mask_by_sum],
}


# Wrong


def then(entities, number, rng, wrong=0.05, hidden=0.15):
    """Hides a share of those left, after the others are exchanged."""
    found = disturbed(entities, number, rng, wrong, 0.0)
    return np.where((rng.random(len(found)) < hidden) & (found == entities), -1, found)


def with_itself(entities, number, rng, wrong=0.05, hidden=0.15):
    fate = rng.random(len(entities))
    drawn = rng.integers(number, size=len(entities))
    return np.where(fate < wrong, drawn, np.where(fate < wrong + hidden, -1, entities))


def next_one(entities, number, rng, wrong=0.05, hidden=0.15):
    fate = rng.random(len(entities))
    return np.where(fate < wrong, (entities + 1) % number, np.where(fate < wrong + hidden, -1, entities))


def drawn(others, apart=True):
    def found(entities, types, rng, share):
        made, last = [], False
        for entity in entities:
            some = others(entity, types)
            last = bool(some) and not (apart and last) and rng.random() < share
            made.append(some[rng.integers(len(some))] if last else entity)
        return made

    return found


def of_type(entity, types):
    return [one for one, kind in enumerate(types) if kind == types[entity] and one != entity]


def direct(triples, nodes):
    found = adjacency(triples, nodes)
    for h, _, t in triples:
        found[h, t] = found[t, h] = True
    return found


def ends_alone(triples, nodes):
    found = np.eye(nodes, dtype=bool)
    for h, _, t in triples:
        found[h, t] = found[t, h] = True
    return found


def one_way(triples, nodes):
    found = np.eye(nodes, dtype=bool)
    for h, r, t in triples:
        found[h, r] = found[r, t] = True
    return found


WRONG = {
    "fuse": [
        (lambda h, e, w, v, b, act: h @ w.T + e @ v.T + b, "the activation is missing"),
        (lambda h, e, w, v, b, act: act(h @ w.T + b), "the entities are left out"),
        (lambda h, e, w, v, b, act: act(e @ v.T + b), "the tokens are left out"),
        (lambda h, e, w, v, b, act: act(h @ w.T + e @ v.T), "the bias b is missing"),
        (lambda h, e, w, v, b, act: act(h @ w.T + b) + act(e @ v.T), "of the sum, not of each part"),
        (lambda h, e, w, v, b, act: (h @ w.T + e @ v.T + b).relu(), "the activation that is given"),
        (lambda h, e, w, v, b, act: fused(h, e.detach(), w, v, b, act), "gradient with respect to e"),
        (lambda h, e, w, v, b, act: fused(h, e, w, v, b, act).detach(), "carries no gradient"),
    ],
    "disturb": [
        (lambda x, n, rng, w=0.05, p=0.15: x, "nothing is disturbed"),
        (then, "look like a share of those left"),
        (with_itself, "may be the entity itself"),
        (next_one, "any other should be as likely"),
        (lambda x, n, rng, w=0.05, p=0.15: disturbed(x, n, rng, p, w), "are hidden, 30 % are wanted"),
        (lambda x, n, rng, w=0.05, p=0.15: disturbed(x, n, np.random.default_rng(3), w, p), "another `rng`"),
        (lambda x, n, rng, w=0.05, p=0.15: disturbed(x, n, rng, w, p)[:5], "one for each"),
    ],
    "exchange": [
        (lambda x, types, rng, share: list(x), "nothing is ever exchanged"),
        (drawn(lambda one, types: [other for other in range(len(types)) if other != one]), "the type must stay"),
        (drawn(of_type, apart=False), "two neighbours are exchanged"),
        (drawn(lambda one, types: of_type(one, types)[:1]), "every other should be as likely"),
        (drawn(lambda one, types: [*of_type(one, types), one]), "the entity itself is among those drawn"),
        (lambda x, types, rng, share: exchanged(x, types, rng, share / 2), "of the first mentions are exchanged"),
        (lambda x, types, rng, share: exchanged(x, types, rng, share)[:1], "one for each"),
    ],
    "mask": [
        (lambda t, n: adjacency(t, n) & ~np.eye(n, dtype=bool), "every node attends to itself"),
        (direct, "joined directly"),
        (ends_alone, "a relation is a node"),
        (one_way, "this goes one way: a tail attends"),
        (lambda t, n: one_way(t, n).T, "this goes one way: a head attends"),
        (lambda t, n: ~adjacency(t, n), "true and false are exchanged"),
        (lambda t, n: np.ones((n, n), bool), "everyone attend to everyone"),
        (lambda t, n: adjacency(t, n).astype(float), "bool is wanted"),
        (lambda t, n: adjacency(t, n)[:1], r"shape \(1, 7\)"),
    ],
}
