"""Checks of lesson 02/02, entities: `from labkit.checks import entities as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, items, learns, tensor, whole
from labkit.knowledge.bert_mk import adjacency
from labkit.knowledge.ernie import disturbed, fused
from labkit.knowledge.wklm import exchanged

LESSON = "02/02"


@exercise(LESSON, fused)
def fuse(function: Callable[..., Tensor]) -> None:
    """Tokens (…, d), entities (…, k), W_t (f, d), W_e (f, k), b (f,), σ → σ(W_t h + W_e e + b), (…, f)."""
    draw = torch.Generator().manual_seed(1)
    h, e, w_t, w_e, b = (torch.randn(*size, generator=draw) for size in ((2, 3, 4), (2, 3, 5), (6, 4), (6, 5), (6,)))
    given = {"h": h.requires_grad_(), "e": e.requires_grad_(), "w_t": w_t.requires_grad_(), "w_e": w_e.requires_grad_(),
             "b": b.requires_grad_()}  # fmt: skip
    value = asked(function, **given, act=torch.tanh)
    found, right = tensor(value, (2, 3, 6), gradient=True), fused(*given.values(), torch.tanh)
    tokens, entities = h @ w_t.T, e @ w_e.T
    expect(found, right, "wanted: act(h @ w_t.T + e @ w_e.T + b)", [
        (tokens + entities + b, "the activation is missing: give the whole sum to `act`"),
        (torch.tanh(tokens + b), "the entities are left out: add e @ w_e.T"),
        (torch.tanh(entities + b), "the tokens are left out: add h @ w_t.T"),
        (torch.tanh(tokens + entities), "the bias b is missing"),
        (torch.tanh(tokens) + torch.tanh(entities) + b, "σ is taken of the sum, not of each part"),
        (torch.tanh(tokens + b) + torch.tanh(entities), "σ is taken of the sum, not of each part"),
        ((tokens + entities + b).relu(), "use the activation that is given, `act`"),
        (torch.nn.functional.gelu(tokens + entities + b), "use the activation that is given, `act`"),
    ])  # fmt: skip
    learns(value, right, given, "the values are right, but not their gradient with respect to {}: detach nothing")
    flat = tensor(function(h[0], e[0], w_t, w_e, b, torch.tanh), (3, 6), "for tokens (n, d), the result")
    expect(flat, right[0], "right for (batch, tokens, d), but not for (n, d)")


@exercise(LESSON, disturbed)
def disturb(function: Callable[..., Any]) -> None:
    """Entities (n,), how many there are, rng, the shares of wrong and hidden ones → what the model is told, (n,)."""
    entities = np.arange(6000) % 5
    told = _numbers(asked(lambda *some: function(*some[:2], np.random.default_rng(0), *some[2:]),
                          entities=entities, number=5, wrong=0.2, hidden=0.3), len(entities))  # fmt: skip
    if told.min() < -1 or told.max() > 4:
        raise Mistake("an entity is numbered from 0 to number − 1, and −1 means none")
    hidden, wrong = float((told == -1).mean()), float(((told != entities) & (told != -1)).mean())
    if (told == entities).all():
        raise Mistake("nothing is disturbed: some entities become another one, and some −1")
    if abs(hidden - 0.3) > 0.03:
        kind = "of those left" if abs(hidden - 0.24) < 0.03 else "of all"
        raise Mistake(f"{hidden:.0%} are hidden, 30 % are wanted, of all of them (these look like a share {kind}): one number per entity, rng.random(n), decides its fate")  # fmt: skip
    if abs(wrong - 0.2) > 0.025:
        own = " (a draw among all may be the entity itself)" if abs(wrong - 0.16) < 0.025 else ""
        raise Mistake(f"{wrong:.0%} have a wrong entity, 20 % are wanted{own}")
    for entity in range(5):
        some = told[(entities == entity) & (told != entity) & (told != -1)]
        if len(set(some.tolist())) < 4:
            raise Mistake(f"entity {entity} is replaced by {sorted(set(some.tolist()))} only: any other should be as likely")  # fmt: skip
    again = _numbers(function(entities, 5, np.random.default_rng(1), 0.2, 0.3), len(entities))
    if (again == told).all():
        raise Mistake("another `rng` gives the same: draw with the generator that you were given")


@exercise(LESSON, exchanged)
def exchange(function: Callable[..., Any]) -> None:
    """A text's entities, all types, rng, share → the entities, some exchanged for others of their type."""
    types, rng = ["a", "b", "a", "c", "a", "b"], np.random.default_rng(0)
    seen: dict[int, set[int]] = {}
    first = []
    for text in ([0, 1, 2, 5], [3, 0], [4, 4, 1], [3], []) * 200:
        made = _list(
            asked(lambda *some: function(*some[:2], rng, some[2]), entities=text, types=types, share=0.5), text
        )
        changed = [new != old for old, new in zip(text, made, strict=True)]
        for old, new in zip(text, made, strict=True):
            if not 0 <= new < len(types) or types[new] != types[old]:
                raise Mistake(f"entity {old} of type {types[old]!r} became {new}: the type must stay")
            seen.setdefault(old, set()).add(new)
        if any(a and b for a, b in zip(changed, changed[1:], strict=False)):
            raise Mistake(f"{text} became {made}: two neighbours are exchanged, so neither could be told by the other")
        first += changed[:1] if text and text[0] != 3 else []
    if not any(first):
        raise Mistake("nothing is ever exchanged")
    for old, others in ((0, {2, 4}), (1, {5}), (4, {0, 2})):
        if missing := others - seen[old]:
            raise Mistake(f"entity {old} never became {min(missing)}, which is of its type: every other should be as likely")  # fmt: skip
    if abs(np.mean(first) - 0.5) > 0.07:
        low = ": the entity itself is among those drawn, leave it out" if np.mean(first) < 0.43 else ""
        raise Mistake(f"with the share 0.5, {np.mean(first):.0%} of the first mentions are exchanged{low}")
    sure = [_list(function([0, 2, 4, 0], types, np.random.default_rng(seed), 1.0), [0] * 4) for seed in range(5)]
    if any([a != b for a, b in zip(one, [0, 2, 4, 0], strict=True)] != [True, False, True, False] for one in sure):
        raise Mistake("with the share 1, every second mention of [0, 2, 4, 0] is exchanged, the first one first")


@exercise(LESSON, adjacency)
def mask(function: Callable[..., Any]) -> None:
    """Triples of places, how many nodes → who attends to whom, (nodes, nodes) bool."""
    triples = [(0, 1, 2), (3, 4, 0), (0, 5, 5)]
    value = asked(function, triples=triples, nodes=7)
    found, right = _square(value, 7), adjacency(triples, 7)
    ends, one_way = right.copy(), np.eye(7, dtype=bool)
    for head, relation, tail in triples:
        ends[head, tail] = ends[tail, head] = True
        one_way[head, relation] = one_way[relation, tail] = True
    direct = np.eye(7, dtype=bool)
    for head, _, tail in triples:
        direct[head, tail] = direct[tail, head] = True
    expect(found, right, "wanted: true for every node and itself, and both ways for a relation and each of its ends", [
        (right & ~np.eye(7, dtype=bool), "every node attends to itself too: the diagonal is true"),
        (ends, "head and tail are joined directly: they meet at their relation only"),
        (direct, "head and tail are joined, and the relation is left out: a relation is a node"),
        (one_way, "this goes one way: a tail attends to its relation, and the relation to its head, too"),
        (one_way.T, "this goes one way: a head attends to its relation, and the relation to its tail, too"),
        (~right, "true and false are exchanged: true means that it may attend"),
        (np.ones((7, 7)), "this lets everyone attend to everyone"),
    ])  # fmt: skip
    expect(_square(function([], 2), 2), np.eye(2), "without triples each node still attends to itself")


def _square(value: Any, nodes: int) -> np.ndarray:
    rows = items(value, f"a square array of {nodes} × {nodes} is wanted")
    found = np.asarray(value if isinstance(value, np.ndarray | Tensor) else rows)
    if found.shape != (nodes, nodes):
        raise Mistake(f"the result has shape {found.shape}; ({nodes}, {nodes}) is wanted")
    if found.dtype != bool:
        raise Mistake(f"the result is of {found.dtype}; bool is wanted, because it is a mask")
    return found


def _numbers(value: Any, count: int) -> np.ndarray:
    return np.array(_list(value, range(count)))


def _list(value: Any, like: Sequence[int]) -> list[int]:
    found = [whole(one, "an entity") for one in items(value, "a list or an array of entities is wanted")]
    if len(found) != len(like):
        raise Mistake(f"{len(found)} entities came back for {len(like)}: one for each")
    return found
