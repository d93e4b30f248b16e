"""Right and wrong answers to the exercises of lesson 02/04."""

from __future__ import annotations

import torch

from labkit.knowledge.kgbert import aggregate, margin_loss, match, visible

# Right


def dense(nodes, edges, *, loops=1.0, scale=lambda degree: torch.diag(degree**-0.5), both=True, twice=True):
    adjacency = torch.zeros(len(nodes), len(nodes))
    for a, b in edges.tolist():
        adjacency[b, a] = adjacency[b, a] + 1 if twice else 1
        if both:
            adjacency[a, b] = adjacency[a, b] + 1 if twice else 1
    adjacency = adjacency + loops * torch.eye(len(nodes))
    d = scale(adjacency.sum(1))
    return d @ adjacency @ d @ nodes


def by_edges(nodes, edges):
    degree = 1 + torch.bincount(edges.flatten(), minlength=len(nodes))
    scaled = nodes / degree.sqrt()[:, None]
    total = scaled.clone()
    total = total.index_add(0, edges[:, 1], scaled[edges[:, 0]]).index_add(0, edges[:, 0], scaled[edges[:, 1]])
    return total / degree.sqrt()[:, None]


def node_by_node(nodes, edges):
    near = [[node] for node in range(len(nodes))]
    for a, b in edges.tolist():
        near[a].append(b)
        near[b].append(a)
    return torch.stack([
        sum(nodes[other] / (len(some) * len(near[other])) ** 0.5 for other in some) for some in near
    ])  # fmt: skip


def visible_by_loops(owner, gates):
    rows = []
    for gate in gates:
        rows.append(torch.stack([
            torch.stack([
                gate[j] if i == -1 and j != -1 else torch.tensor(1.0 if j in (-1, i) else 0.0) for j in owner.tolist()
            ]) for i in owner.tolist()
        ]))  # fmt: skip
    return torch.stack(rows)


def visible_by_sums(owner, gates):
    text, same = (owner == -1).float(), (owner[:, None] == owner).float()
    paid = torch.nn.functional.pad(gates, (0, 1))[:, owner]  # −1 finds the 0 at the end
    inside = same * (1 - text[:, None]) * (1 - text)
    return text.expand(len(owner), -1) + inside + text[:, None] * paid[:, None]


def visible_by_index(owner, gates):
    found = ((owner[:, None] == owner) | (owner == -1)).float().repeat(len(gates), 1, 1)
    for fact in range(gates.shape[1]):
        rows, columns = owner == -1, owner == fact
        found = torch.where(rows[:, None] & columns, gates[:, fact, None, None], found)
    return found


def gain_by_words(without, given, gates, price):
    worth = without.detach() - given
    return price * gates.sum() / len(gates) - worth


def gain_by_loops(without, given, gates, price):
    cost = sum(sum(row) for row in gates) / gates.shape[0]
    return -(float(without) - given) + price * cost


def gain_by_means(without, given, gates, price):
    return (given - without.data) + price * gates.shape[1] * gates.mean()


def margin_by_loops(scores, related, real, margin):
    terms = []
    for s, r, e in zip(scores, related, real, strict=True):
        terms += [torch.relu(margin - s[i] + s[j]) for i in range(len(s)) for j in range(len(s))
                  if e[i] and e[j] and r[i] and not r[j]]  # fmt: skip
    return torch.stack(terms).mean() if terms else scores.sum() * 0


def margin_by_pairs(scores, related, real, margin):
    row, i, j = torch.nonzero((related & real)[:, :, None] & (~related & real)[:, None], as_tuple=True)
    apart = torch.relu(margin - scores[row, i] + scores[row, j])
    return apart.sum() / max(1, len(row))


def margin_by_weights(scores, related, real, margin):
    positive, negative = (related * real).float(), (~related * real).float()
    pairs = positive.unsqueeze(2) * negative.unsqueeze(1)
    apart = (margin - scores.unsqueeze(2) + scores.unsqueeze(1)).clamp_min(0)
    return torch.einsum("bij,bij->", apart, pairs) / pairs.sum().clamp_min(1)


RIGHT = {
    "aggregate": [dense, by_edges, node_by_node],
    "match": [
        lambda q, t: torch.einsum("bd,bkd->bk", q, t) / q.shape[1] ** 0.5,
        lambda q, t: torch.stack([facts @ own for own, facts in zip(q, t, strict=True)]) / t.size(-1) ** 0.5,
        lambda q, t: (q[:, None] * t).sum(-1) / torch.tensor(float(t.shape[-1])).sqrt(),
    ],
    "visible": [visible_by_loops, visible_by_sums, visible_by_index],
    "gain": [gain_by_words, gain_by_loops, gain_by_means],
    "margin": [margin_by_loops, margin_by_pairs, margin_by_weights],
}

# Wrong


def reading(change):
    def found(owner, gates):
        text, same = owner == -1, owner[:, None] == owner
        column = gates[:, owner.clamp(min=0)][:, None].expand(-1, len(owner), -1)
        return change(visible(owner, gates), text, same, column)

    return found


def hinge(change):
    def found(scores, related, real, margin):
        apart = margin - scores[:, :, None] + scores[:, None]
        return change(apart, (related & real)[:, :, None] & (real & ~related)[:, None])

    return found


def across(scores, related, real, margin):
    return torch.relu(margin - scores[related & real][:, None] + scores[real & ~related]).mean()


def mean_of_means(scores, related, real, margin):
    some = [margin_by_loops(scores[i : i + 1], related[i : i + 1], real[i : i + 1], margin) for i in range(2)]
    return sum(some) / 2


def in_place(owner, gates):
    found = visible(owner, gates)
    owner.clamp_(min=0)
    return found


ONE = torch.ones(())
WRONG = {
    "aggregate": [
        (lambda x, e: dense(x, e, scale=lambda d: torch.eye(len(d))), "not scaled"),
        (lambda x, e: aggregate(torch.ones_like(x), e) * x.mean(), "wanted: D"),
        (lambda x, e: dense(x, e, loops=0.0, scale=lambda d: torch.diag(d.clamp(min=1) ** -0.5)), "forgets itself"),
        (lambda x, e: dense(x, e, both=False), "in one direction only"),
        (lambda x, e: dense(x, e, twice=False), "count both"),
        (lambda x, e: dense(x, e, loops=0.0), "divided by 0"),
        (lambda x, e: aggregate(x.detach(), e), "carries no gradient"),
        (lambda x, e: aggregate(x, e).T, r"shape \(3, 5\)"),
    ],
    "match": [
        (lambda q, t: match(q, t) * q.shape[1] ** 0.5, "longer vectors have larger products"),
        (lambda q, t: match(q, t) / q.shape[1] ** 0.5, "not by d"),
        (lambda q, t: match(q, t).sigmoid(), "the sigmoid is taken later"),
        (lambda q, t: match(q, t).softmax(-1), "no softmax"),
        (lambda q, t: torch.cosine_similarity(q[:, None], t, dim=-1), "this is the cosine"),
        (lambda q, t: match(q.flip(0), t), "row b with row b"),
        (lambda q, t: match(q.detach(), t), "gradient with respect to the sentences"),
        (lambda q, t: {}.get(0), "did you forget `return`"),
    ],
    "visible": [
        (lambda o, g: visible(o, g).mT, "rows and columns are exchanged"),
        (reading(lambda v, t, s, c: torch.where(t, ONE, c)), "only the sentence's rows have gates"),
        (reading(lambda v, t, s, c: torch.where((s & ~t) | t, ONE, c)), "should not read another fact"),
        (reading(lambda v, t, s, c: torch.where(t[:, None] | t | s, ONE, 0 * c)), "the gates are missing"),
        (reading(lambda v, t, s, c: torch.where(s, ONE, torch.where(t[:, None], c, 0 * c))), "read the sentence too"),
        (reading(lambda v, t, s, c: torch.where(t & ~t[:, None], c.mT, v)), "no gate in that direction"),
        (reading(lambda v, t, s, c: torch.where(t[:, None] & ~t, c, torch.where(t, ONE, 0 * c))), "read itself"),
        (reading(lambda v, t, s, c: torch.where(t[:, None] & ~t, (c > 0.5).float() + 0 * c, v)), "not all or nothing"),
        (in_place, "your function changed `owner`"),
        (lambda o, g: visible(o, g.detach()), "carries no gradient"),
    ],
    "gain": [
        (lambda a, b, g, p: a.detach() - b + p * g.sum(1).mean(), "a loss falls as the gain grows"),
        (lambda a, b, g, p: a.detach() - b - p * g.sum(1).mean(), "a loss is minus that"),
        (lambda a, b, g, p: b - a.detach() + 0 * g.sum(), "the price is missing"),
        (lambda a, b, g, p: b - a.detach() - p * g.sum(1).mean(), "the price has the wrong sign"),
        (lambda a, b, g, p: b - a.detach() + p * g.sum(), "not the sum over all gates"),
        (lambda a, b, g, p: b - a.detach() + p * g.mean(), "the mean over the sentences only"),
        (lambda a, b, g, p: b + p * g.sum(1).mean(), "the loss without the facts is missing"),
        (lambda a, b, g, p: b - a + p * g.sum(1).mean(), "detach L_without"),
        (lambda a, b, g, p: b.detach() - a.detach() + p * g.sum(1).mean(), "gradient with respect to `given`"),
        (lambda a, b, g, p: (b - a.detach()).clamp(max=0) + p * g.sum(1).mean(), "not where they harm"),
    ],
    "margin": [
        (hinge(lambda a, p: a[p].mean()), "adds nothing"),
        (lambda s, r, e, m: margin_loss(s, r, torch.ones_like(e), m), "places without a fact"),
        (across, "pairs are of one sentence"),
        (hinge(lambda a, p: a[p].clamp(min=0).sum()), "sum over the pairs"),
        (mean_of_means, "a mean of the sentences' means"),
        (lambda s, r, e, m: margin_loss(s, r, e, 0), "the margin is missing"),
        (lambda s, r, e, m: margin_loss(-s, r, e, m), "the signs are exchanged"),
        (hinge(lambda a, p: (a.clamp(min=0) * p).mean()), "not over all places"),
        (hinge(lambda a, p: a[p].clamp(min=0).mean()), "divide by at least 1"),
        (lambda s, r, e, m: margin_loss(s.detach(), r, e, m), "carries no gradient"),
    ],
}
