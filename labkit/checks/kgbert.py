"""Checks of lesson 02/04, KGBERT: `from labkit.checks import kgbert as check`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from labkit.checks.exercise import asked, exercise, expect, learns, loss, tensor
from labkit.knowledge.kgbert import aggregate as convolve
from labkit.knowledge.kgbert import gain_loss, margin_loss
from labkit.knowledge.kgbert import match as product
from labkit.knowledge.kgbert import visible as read_by

LESSON = "02/04"


def _random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@exercise(LESSON, convolve)
def aggregate(function: Callable[..., Tensor]) -> None:
    """Nodes (n, d), edges (m, 2) → D^-½ (A + I) D^-½ X."""
    nodes, edges = _random(5, 3), torch.tensor([[0, 1], [2, 0], [0, 3], [3, 2], [0, 3]])  # node 4 has no edge
    start = nodes.clone().requires_grad_()
    value = asked(function, nodes=start, edges=edges)
    found, right = tensor(value, (5, 3), nan="is a node without an edge divided by 0? Its loop counts", gradient=True), convolve(nodes, edges)  # fmt: skip
    one_way = torch.zeros(5, 5).index_put_((edges[:, 1], edges[:, 0]), torch.ones(5), accumulate=True)
    both, loops = one_way + one_way.T, torch.eye(5)
    once = (both > 0).float()

    def scaled(weights: Tensor, degree: Tensor) -> Tensor:
        return weights * (degree.rsqrt()[:, None] * degree.rsqrt())

    degree, bare = (both + loops).sum(1), both.sum(1).clamp(min=1)
    expect(found, right, "wanted: D^-½ (A + I) D^-½ X, with an edge counted both ways and the loop in D", [
        ((both + loops) @ nodes, "neighbours are added up, but not scaled: each counts 1 / √(degree · degree)"),
        (((both + loops) / degree[:, None]) @ nodes, "this is the mean over neighbours, D⁻¹ (A + I) X: scale by both ends' degrees, each to the power −½"),
        (scaled(both, degree) @ nodes, "a node forgets itself: add I, the loop of each node"),
        (scaled(both, bare) @ nodes, "a node forgets itself: add I, the loop of each node"),
        (scaled(both + loops, both.sum(1) + 1e-9).nan_to_num() @ nodes, "the degrees should count the loop too: D is of A + I"),
        (scaled(one_way + loops, degree) @ nodes, "edges carry in one direction only: each is meant both ways"),
        (scaled(one_way.T + loops, degree) @ nodes, "edges carry in one direction only: each is meant both ways"),
        (scaled(one_way + loops, (one_way + loops).sum(1)) @ nodes, "edges carry in one direction only: each is meant both ways"),
        (scaled(once + loops, (once + loops).sum(1)) @ nodes, "two facts between the same entities are two edges: count both (index_put_ and A[i, j] = 1 keep one)"),
    ])  # fmt: skip
    learns(value, convolve(start, edges), {"nodes": start}, "the values are right, but not their gradient with respect to the {}")  # fmt: skip
    alone = tensor(function(nodes[:2], edges[:0]), (2, 3), "for a graph without edges, the result")
    expect(alone, nodes[:2], "without an edge each node should stay as it is")


@exercise(LESSON, product)
def match(function: Callable[..., Tensor]) -> None:
    """Sentences (b, d), facts (b, k, d) → q · t / √d, (b, k)."""
    given = {"sentences": _random(2, 4).requires_grad_(), "facts": _random(2, 3, 4, seed=2).requires_grad_()}
    value = asked(function, **given)
    found, right = tensor(value, (2, 3), gradient=True), product(*given.values())
    expect(found, right.detach(), "wanted: the product of each sentence with its own facts, divided by √d", [
        (right * 2, "divide by √d: longer vectors have larger products"),
        (right / 2, "divide by √d, not by d"),
        (right.sigmoid(), "the sigmoid is taken later: the score is wanted"),
        (right.softmax(1), "no softmax: facts do not compete, each has a gate of its own"),
        (product(given["sentences"].flip(0), given["facts"]), "each sentence goes with its own facts: row b with row b"),
        (torch.nn.functional.cosine_similarity(given["sentences"][:, None], given["facts"], dim=-1), "this is the cosine: divide by √d, not by the lengths"),
    ])  # fmt: skip
    learns(value, right, given, "the scores are right, but not their gradient with respect to the {}")
    other = _random(3, 9, seed=3), _random(3, 1, 9, seed=4)
    expect(tensor(function(*other), (3, 1), "for three sentences with a fact each, the result"), product(*other),
           "right for two sentences with three facts, but not for three with one")  # fmt: skip


@exercise(LESSON, read_by)
def visible(function: Callable[..., Tensor]) -> None:
    """Owner (n,), gates (b, k) → what each token may read, (b, n, n)."""
    owner, gates = torch.tensor([-1, -1, -1, 0, 0, 1, 2, 2]), torch.tensor([[0.3, 0.75, 0.0], [0.6, 0.2, 1.0]])
    start = gates.clone().requires_grad_()
    value = asked(function, owner=owner, gates=start)
    found, right = tensor(value, (2, 8, 8), gradient=True), read_by(owner, gates)
    column = gates[:, owner.clamp(min=0)][:, None].expand(2, 8, 8)
    text, same = owner == -1, owner[:, None] == owner
    gated = torch.where(text, torch.ones(()), column)  # whoever reads
    expect(found, right, "wanted: 1 where a token reads the sentence or its own fact, the gate where the sentence reads a fact, else 0", [
        (right.mT, "rows and columns are exchanged: the row is who reads"),
        (gated, "a fact reads itself wholly and no other fact: only the sentence's rows have gates"),
        (torch.where(same & ~text, torch.ones(()), gated), "a fact should not read another fact: 0 there"),
        (torch.where(text[:, None] | text | same, torch.ones(()), torch.zeros(())).expand(2, 8, 8), "the gates are missing: the sentence reads fact i as far as gate i is open"),
        (torch.where(same, torch.ones(()), torch.where(text[:, None], column, torch.zeros(()))), "facts should read the sentence too: 1 in its columns"),
        (torch.where(text & ~text[:, None], column.mT, right), "a fact reads the whole sentence: no gate in that direction"),
        (torch.where(text[:, None] & ~text, column, torch.where(text, 1.0, 0.0)), "a fact should read itself: 1 there"),
        (torch.where(text[:, None] & ~text, (column > 0.5).float(), right), "a gate lets through its value, not all or nothing"),
    ])  # fmt: skip
    learns(value, read_by(owner, start), {"gates": start}, "the values are right, but not their gradient with respect to the {}")  # fmt: skip
    small = torch.tensor([-1, 0]), torch.tensor([[0.5]])
    expect(tensor(function(*small), (1, 2, 2), "for one word and a fact of one word, the result"), read_by(*small),
           "right for eight tokens, but not for two")  # fmt: skip


@exercise(LESSON, gain_loss)
def gain(function: Callable[..., Tensor]) -> None:
    """The loss without and with facts, gates (b, k), the price → minus the gain, plus what it cost."""
    given = {"without": torch.tensor(2.0), "given": torch.tensor(1.25), "gates": torch.tensor([[0.5, 0.25, 0.0], [1.0, 0.0, 0.25]])}  # fmt: skip
    given = {name: part.requires_grad_() for name, part in given.items()}
    value = asked(function, **given, price=0.1)
    found, right = loss(value), gain_loss(*given.values(), price=0.1).detach()
    expect(found, right, "wanted: L_with − L_without + price · (sum of a sentence's gates, a mean over the sentences)", [
        (torch.tensor(0.75 + 0.1), "a loss falls as the gain grows: minus the gain, so L_with − L_without"),
        (torch.tensor(0.75 - 0.1), "this is the gain less its cost, which should grow: a loss is minus that"),
        (torch.tensor(-0.75), "the price is missing: each open gate costs"),
        (torch.tensor(-0.75 - 0.1), "the price has the wrong sign: open gates should make the loss larger"),
        (torch.tensor(-0.75 + 0.2), "a mean over the sentences is wanted, not the sum over all gates"),
        (torch.tensor(-0.75 + 0.1 / 3), "sum a sentence's gates, and take the mean over the sentences only"),
        (torch.tensor(1.25 + 0.1), "the loss without the facts is missing: what is gained is the difference"),
        (torch.tensor(-0.75 + 1.0), "multiply the gates by the price"),
    ])  # fmt: skip
    cut = torch.autograd.grad(value, given["without"], retain_graph=True, allow_unused=True)[0]
    expect(torch.zeros(()) if cut is None else cut, torch.zeros(()), "the value is right, but the model would be taught to be bad without facts, since that makes the gain larger: detach L_without")  # fmt: skip
    rest = {name: given[name] for name in ("given", "gates")}
    learns(value, gain_loss(*given.values(), 0.1), rest, "the value is right, but not its gradient with respect to `{}`")  # fmt: skip
    other = torch.tensor(1.0), torch.tensor(1.5), torch.tensor([[0.5]]), 2.0
    expect(loss(function(*other), gradient=False), gain_loss(*other), "right where facts help, but not where they harm")


@exercise(LESSON, margin_loss)
def margin(function: Callable[..., Tensor]) -> None:
    """Scores, related, real, each (b, k), and the margin → the mean of [margin − s⁺ + s⁻]₊ over pairs."""
    start = torch.tensor([[2.0, 0.5, 1.75, -1.0], [0.5, 0.25, 3.0, 9.0], [1.0, 4.0, 0.0, 0.0]]).requires_grad_()
    related = torch.tensor([[True, True, False, False], [True, False, False, False], [False] * 4])
    real = torch.tensor([[True] * 4, [True, True, True, False], [True, True, False, False]])
    value = asked(function, scores=start, related=related, real=real, margin=1.0)
    found, right = loss(value), margin_loss(start, related, real, 1.0).detach()
    scores = start.detach()
    apart = 1 - scores[:, :, None] + scores[:, None]
    pairs = (related & real)[:, :, None] & (real & ~related)[:, None]
    own = [apart[row][pairs[row]].clamp(min=0).mean() for row in (0, 1)]
    across = (1 - scores[related & real][:, None] + scores[real & ~related]).clamp(min=0)
    expect(found, right, "wanted: [margin − s⁺ + s⁻]₊ for all pairs of a related and an unrelated fact of one sentence, and the mean over the pairs", [
        (apart[pairs].mean(), "[x]₊ is x where it is above 0, else 0: a pair that is far enough apart adds nothing"),
        (margin_loss(scores, related, torch.ones_like(real), 1.0), "places without a fact (`real` is False) were counted"),
        (across.mean(), "related facts are compared with those of other sentences: pairs are of one sentence"),
        (apart[pairs].clamp(min=0).sum(), "this is the sum over the pairs: take the mean"),
        (sum(own) / 2, "this is a mean of the sentences' means: take one mean over all pairs"),
        (margin_loss(scores, related, real, 0.0), "the margin is missing"),
        ((2 - apart)[pairs].clamp(min=0).mean(), "the signs are exchanged: the loss falls as s⁺ grows"),
        ((apart.clamp(min=0) * pairs).mean(), "the mean is over the pairs, not over all places: divide by how many pairs there are"),
    ])  # fmt: skip
    learns(value, margin_loss(start, related, real, 1.0), {"scores": start}, "the loss is right, but not its gradient with respect to the {}")  # fmt: skip
    none = loss(function(start[:1], ~real[:1], real[:1], 1.0), "without a pair: divide by at least 1", gradient=False)
    expect(none, torch.zeros(()), "without a pair the loss should be 0")
