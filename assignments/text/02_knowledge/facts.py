# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     lesson: 02/05
#     points: 25
#     by_hand: 4
# ---

# %% [markdown]
# # Assignment 02: facts, by hand
#
# You know from lesson 02/01 how a graph's facts become vectors, from 02/03 how facts are put into a model, from 02/05 how a
# search finds a page and how a ranking is measured. Here you build the four machines behind these lessons, each a step
# further than there.
#
# | problem | what you write | lesson | points |
# |---|---|---|---|
# | 1 | `transe_loss`, `transe_slopes`, `link_rank`: TransE's margin loss, its gradient, and the filtered rank | 02/01 | 6 |
# | 2 | `bm25_index`, `search`: BM25 in an inverted index, and a search that adds up its lists | 02/05 | 5 |
# | 3 | `inject`, `decoding_loss`: DKPLM's pseudo tokens, and the loss of a fact that is said token by token | 02/03 | 5 |
# | 4 | `ndcg`, `tied_ndcg`: NDCG@k with grades, also where passages have equal scores | 02/05 | 5 |
# | 5 | read what they do, in words (graded by hand) | all | 4 |
#
# **How it is graded.** Write between the lines of each answer cell; the cells marked *test* must stay as they are. A test
# that finds a mistake stops with a sentence that names it. Each test cell counts for itself, so a problem that is half right
# gets half its points. Besides the tests you see, there are hidden ones: their first line says what they ask. Problems do
# not build on one another. A cell may take 60 seconds; the reference takes less than 5 for everything.
#
# Write your own code from the formulas. You may use all of Python and torch, but nothing of `labkit` beyond what the cells
# import, and **autograd** (`backward`, `torch.autograd`, `torch.func`) in no problem. No function changes what it is given.

# %% locked="setup"
import itertools
import math
import random
import warnings
from collections import Counter, defaultdict

import torch
from torch.nn import functional as F

import labkit

lab = labkit.setup()
warnings.simplefilter("ignore")  # the grader takes anything on standard error for a failure, a warning too
torch.set_num_threads(1)

# %% [markdown]
# ## Problem 1: a fact is nearer than a wrong one (6 points)
#
# > A head at (0, 0), a relation (1, 1) and a tail at (0.7, 0.6): head + relation − tail = (0.3, 0.4), which is 0.5 long.
# > With a wrong tail at (0.2, 0.4) it is (0.8, 0.6), which is 1 long. The fact should be nearer by a margin of 1, and is
# > nearer by 0.5: the loss is 1 + 0.5 − 1 = 0.5. With another wrong tail the distance is 5: that is enough, the loss is 0,
# > and not −3.5. The mean of the two is 0.25.
#
# `entities` (entities, d) and `relations` (relations, d) hold the vectors. `facts` (n, 3) has a row *head, relation, tail*
# for each fact, and `corrupted` (n, k, 3) the $k$ corrupted triples of each. With the distance
# $d(h, r, t) = \lVert e_h + r - e_t \rVert$ in the norm 1 (the sum of sizes) or 2 (the root of the sum of squares):
#
# $$\text{loss} = \frac{1}{n k} \sum_{i=1}^{n} \sum_{j=1}^{k} \big[\, \gamma + d(\text{fact}_i) - d(\text{corrupted}_{ij})\,\big]_+
# \qquad [x]_+ = \max(0, x)$$
#
# `transe_slopes` gets the same arguments and returns two tensors: the gradient with respect to `entities` and that with
# respect to `relations`. **Derive it.** An entity stands in many triples, and its slopes add up. Where a distance is 0 it
# has no slope: take 0. So it is with one number of $e_h + r - e_t$ that is 0, in the norm 1.
#
# `link_rank(entities, relations, fact, column, known, norm)` replaces the fact's head (`column` 0) or its tail (`column` 2)
# by every entity, and returns the place of the right one by distance, the nearest first, counted from 1. `known` is a set of
# triples that are true, the fact itself among them or not. Other entities that make a known triple **in this place** are
# left out (*filtered*). Entities at the same distance share their places: of two that tie for the first, each has the rank
# 1.5.
#
# All three raise `ValueError` for a norm other than 1 and 2, and for a number that is no entity or no relation (−1 is none).
# The first two also raise it where there is no fact or no corrupted triple, where the shapes are not (n, 3) and (n, k, 3),
# and for γ below 0; the last for another column.


# %% answer="transe_loss"
def transe_loss(entities, relations, facts, corrupted, margin=1.0, norm=2):
    """Vectors (entities, d) and (relations, d), triples (n, 3) and (n, k, 3) -> the loss, a tensor of one number."""
    ### BEGIN SOLUTION
    fit = facts.ndim == 2 and corrupted.ndim == 3 and corrupted.shape[::2] == facts.shape and facts.shape[1] == 3
    if not fit or not corrupted.numel() or margin < 0 or norm not in (1, 2):
        raise ValueError("facts (n, 3), corrupted triples (n, k, 3), a margin of at least 0 and a norm are needed")

    def distance(triples):
        numbers = triples.reshape(-1, 3)
        if (numbers < 0).any() or (numbers >= torch.tensor([len(entities), len(relations), len(entities)])).any():
            raise ValueError("a number is no entity or no relation")
        head, relation, tail = triples.unbind(-1)
        return (entities[head] + relations[relation] - entities[tail]).norm(norm, dim=-1)

    return (margin + distance(facts)[:, None] - distance(corrupted)).clamp(min=0).mean()
    ### END SOLUTION


# %% answer="transe_slopes"
def transe_slopes(entities, relations, facts, corrupted, margin=1.0, norm=2):
    """The gradients of transe_loss with respect to the entities, (entities, d), and to the relations, (relations, d)."""
    ### BEGIN SOLUTION
    fit = facts.ndim == 2 and corrupted.ndim == 3 and corrupted.shape[::2] == facts.shape and facts.shape[1] == 3
    if not fit or not corrupted.numel() or margin < 0 or norm not in (1, 2):
        raise ValueError("facts (n, 3), corrupted triples (n, k, 3), a margin of at least 0 and a norm are needed")
    every = torch.cat([facts[:, None], corrupted], 1)  # (n, 1 + k, 3), the fact first
    numbers = every.reshape(-1, 3)
    if (numbers < 0).any() or (numbers >= torch.tensor([len(entities), len(relations), len(entities)])).any():
        raise ValueError("a number is no entity or no relation")
    head, relation, tail = every.unbind(-1)
    apart = entities[head] + relations[relation] - entities[tail]  # (n, 1 + k, d)
    distance = apart.norm(norm, dim=-1)
    direction = apart.sign() if norm == 1 else apart / torch.where(distance > 0, distance, 1.0)[..., None]
    active = (margin + distance[:, :1] - distance[:, 1:] > 0).to(apart.dtype) / corrupted[..., 0].numel()
    weight = torch.cat([active.sum(1, keepdim=True), -active], 1)  # what each distance counts
    slope = (weight[..., None] * direction).flatten(0, 1)
    of_entities = torch.zeros_like(entities).index_add(0, head.flatten(), slope)
    of_entities = of_entities.index_add(0, tail.flatten(), -slope)
    return of_entities, torch.zeros_like(relations).index_add(0, relation.flatten(), slope)
    ### END SOLUTION


# %% answer="link_rank"
def link_rank(entities, relations, fact, column, known, norm=2):
    """The filtered rank of a fact's head (column 0) or tail (column 2) among all entities, from 1; ties share places."""
    ### BEGIN SOLUTION
    limits = (len(entities), len(relations), len(entities))
    if column not in (0, 2) or norm not in (1, 2) or not all(0 <= a < b for a, b in zip(fact, limits, strict=True)):
        raise ValueError("a column of 0 or 2, a norm of 1 or 2 and numbers that are known are needed")
    head, relation, tail = fact
    if column == 2:
        apart = entities[head] + relations[relation] - entities
    else:
        apart = entities + relations[relation] - entities[tail]
    distances = apart.norm(norm, dim=-1).tolist()
    rank, own = 1.0, distances[fact[column]]
    for number, distance in enumerate(distances):
        other = list(fact)
        other[column] = number
        if number != fact[column] and tuple(other) not in known:
            rank += 1.0 if distance < own else 0.5 if distance == own else 0.0
    return rank
    ### END SOLUTION


# %% test="transe_loss_visible" points=1
# Test (1 point): two facts with two corrupted triples each; the four terms are 0.5, 0, 0.6153 and 0.3292 in the norm 2.
entities = torch.tensor([[0.0, 0.0], [0.7, 0.6], [0.2, 0.4], [-2.0, -3.0]])
relations = torch.tensor([[1.0, 1.0], [0.6, 0.0]])
facts = torch.tensor([[0, 0, 1], [2, 1, 1]])
corrupted = torch.tensor([[[0, 0, 2], [0, 0, 3]], [[0, 1, 1], [2, 1, 0]]])
loss = transe_loss(entities, relations, facts, corrupted, 1.0, 2)
assert loss is not None, "transe_loss returns None: is the `return` missing?"
assert torch.is_tensor(loss) and loss.ndim == 0, "a tensor of one number is wanted"
loss, right = loss.item(), (0.5 + 0.6153 + 0.3292) / 4
for wrong, why in [
    (4 * right, "the mean over all pairs: you summed"),
    (2 * right, "the mean over all pairs, n · k: you summed over one of the two"),
    (4 * right / 3, "the pairs whose loss is 0 count in the mean too"),
    (-0.5139, "a pair that is far enough apart has the loss 0: [x]₊ = max(0, x)"),
    (0.0, "[x]₊ is taken of each pair, before the mean"),
    (0.25, "norm=2: the root of the sum of squares; yours is the sum of sizes"),
    (0.2950, "the distance is the root of the sum of squares: the root is missing"),
    (2.5139, "the fact should be nearer, not farther: margin + d(fact) - d(corrupted)"),
    (1.2069, "the distance is that of head + relation - tail: where does your relation lead?"),
]:
    assert abs(loss - wrong) > 1e-3, why
assert abs(loss - right) < 1e-3, f"(0.5 + 0 + 0.6153 + 0.3292) / 4 = {right:.4f} is wanted, not {loss:.4f}"
loss = transe_loss(entities, relations, facts, corrupted, 1.0, 1).item()
assert abs(loss - 0.25) < 1e-3, f"norm=1: (0.3 + 0 + 0.6 + 0.1) / 4 = 0.25 is wanted, not {loss:.4f}"
loss = transe_loss(entities, relations, facts, corrupted, 0.6, 1).item()
assert abs(loss - 0.05) < 1e-3, f"margin 0.6, norm 1: (0 + 0 + 0.2 + 0) / 4 = 0.05 is wanted, not {loss:.4f}"

# %% test="transe_slopes_visible" points=1
# Test (1 point): the same, in the norm 2 and in the norm 1.
entities = torch.tensor([[0.0, 0.0], [0.7, 0.6], [0.2, 0.4], [-2.0, -3.0]])
relations = torch.tensor([[1.0, 1.0], [0.6, 0.0]])
facts = torch.tensor([[0, 0, 1], [2, 1, 1]])
corrupted = torch.tensor([[[0, 0, 2], [0, 0, 3]], [[0, 1, 1], [2, 1, 0]]])
with torch.inference_mode():
    try:
        given = [one.clone() for one in (entities, relations, facts, corrupted)]
        answer = transe_slopes(*given, 1.0, 2)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        raise AssertionError(f"is this autograd? Write the formula instead ({error})") from error
assert isinstance(answer, (tuple, list)) and len(answer) == 2, "two gradients are wanted: is the `return` missing?"
assert [tuple(one.shape) for one in answer] == [(4, 2), (2, 2)], "a slope for each number of entities and relations"
found = torch.cat(list(answer))
right = torch.tensor([[0.2147, 0.4084], [-0.4147, 0.0006], [0.2, -0.409], [0.0, 0.0], [-0.05, 0.05], [0.0411, -0.3124]])
no_hinge = torch.tensor(
    [[0.2147, 0.4084], [-0.5647, -0.1994], [0.2, -0.409], [0.15, 0.2], [-0.05, 0.05], [0.0411, -0.3124]]
)
once = torch.tensor(
    [[0.2647, 0.3584], [-0.0411, -0.2466], [-0.0236, 0.0382], [0.0, 0.0], [0.0, 0.0], [-0.2236, -0.1118]]
)
for wrong, why in [
    (4 * right, "the loss is a mean over n · k pairs: divide by 4 here"),
    (2 * right, "the loss is a mean over n · k pairs: divide by n and by k"),
    (-right, "the sign is wrong: these are the slopes of the negative loss"),
    (no_hinge, "a pair whose loss is 0 has no slope: (0, 0, 3) is far enough away"),
    (once, "an entity that stands in many triples gets all their slopes: `slopes[numbers] += …` takes one of them"),
]:
    assert not torch.allclose(found, wrong, atol=1e-3), why
assert not torch.allclose(found[4:], 0 * right[4:], atol=1e-3), "the relations have slopes too"
assert not torch.allclose(found[:4], right[:4].abs(), atol=1e-3), "the tail's slope has the other sign than the head's"
assert torch.allclose(found[:4], right[:4], atol=1e-3), (
    f"entities, norm 2: {right[:4]} is wanted, not {found[:4]}: do the slopes of one that stands in many triples add up?"
)
assert torch.allclose(found[4:], right[4:], atol=1e-3), f"relations, norm 2: {right[4:]} is wanted, not {found[4:]}"
found = torch.cat(list(transe_slopes(entities, relations, facts, corrupted, 1.0, 1)))
right = torch.tensor([[0.5, 0.5], [-1.0, 0.0], [0.5, -0.5], [0.0, 0.0], [0.0, 0.0], [0.5, -0.5]])
assert torch.allclose(found, right, atol=1e-3), (
    f"norm 1: the slope of a size is its sign; {right} is wanted, not {found}"
)

# %% test="rank_visible" points=1
# Test (1 point): the distances from (0, 0) + (1, 0) are 1, 0.5, 0.2, 0.5, 0.1, 2; entity 1 is right, entity 2 is true too.
entities = torch.tensor([[0.0, 0.0], [1.0, 0.5], [1.0, 0.2], [1.0, -0.5], [1.0, 0.1], [3.0, 0.0]])
relations = torch.tensor([[1.0, 0.0], [1.5, 0.0]])
known = {(0, 0, 1), (0, 0, 2), (0, 1, 4), (5, 0, 4), (2, 1, 5), (3, 0, 5)}
rank = link_rank(entities, relations, (0, 0, 1), 2, known)
assert rank is not None, "link_rank returns None: is the `return` missing?"
rank = float(rank)
for wrong, why in [
    (1.5, "count from 1; or did you leave out entity 4, which makes no known triple with head 0 and relation 0?"),
    (3.5, "(0, 0, 2) is known: entity 2 is left out"),
    (2.0, "entity 3 is as far as the right one: they share places 2 and 3"),
    (3.0, "entity 3 is as far as the right one: they share places 2 and 3; the right one does not tie with itself"),
    (5.0, "the right entity itself stays, though its triple is known"),
    (6.0, "the right entity itself stays, though its triple is known"),
]:
    assert rank != wrong, f"the rank is 2.5, not {wrong}: {why}"
assert rank == 2.5, f"entity 4 is nearer, entity 3 as far: 1 + 1 + 0.5 = 2.5 is wanted, not {rank}"
rank = float(link_rank(entities, relations, (0, 1, 5), 0, known))
assert rank == 4.5, (
    f"heads of (?, 1, 5): distances 1.5, 0.71, 0.54 (known), 0.71, 0.51, 1.5: the rank of entity 0 is 4.5, not {rank}"
)

# %% test="transe_holds" points=1
# Hidden test (1 point): other sizes, against autograd; distances of 0, loops, a relation that is not used; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
generator = torch.Generator().manual_seed(1)


def by_autograd(entities, relations, facts, corrupted, margin, norm):
    """The loss in float64, and its gradients."""
    given = [one.detach().clone().requires_grad_() for one in (entities, relations)]

    def distance(triples):
        return torch.linalg.vector_norm(
            given[0][triples[..., 0]] + given[1][triples[..., 1]] - given[0][triples[..., 2]], norm, dim=-1
        )

    loss = F.relu(margin + distance(facts)[:, None] - distance(corrupted)).mean()
    return loss.item(), torch.autograd.grad(loss, given)


for number, (n, k, size, d) in enumerate([(1, 1, 2, 1), (5, 3, 4, 6), (9, 1, 30, 3), (4, 7, 6, 2)]):
    for norm, margin in itertools.product((1, 2), (0.3, 2.0)):
        case = f"{n} facts, {k} corrupted triples each, norm {norm}, margin {margin}"
        e = torch.randn(size, d, generator=generator, dtype=torch.float64)
        r = torch.randn(3, d, generator=generator, dtype=torch.float64)

        def draw(*shape, size=size):
            columns = [torch.randint(top, shape, generator=generator) for top in (size, 2, size)]
            return torch.stack(columns, -1)

        facts, corrupted = draw(n), draw(n, k)
        if number == 3:  # distances of exactly 0, and a loop whose relation is 0 in one number
            e[1], r[0, 0] = e[0] + r[1], 0.0
            facts[0] = corrupted[2, 0] = torch.tensor([0, 1, 1])
            facts[1] = torch.tensor([2, 0, 2])
        given = (e, r, facts, corrupted)
        before = [one.tolist() for one in given]
        right, slopes = by_autograd(*given, margin, norm)
        found = transe_loss(*given, margin, norm).item()
        assert abs(found - right) < 1e-9, f"{case}: the loss is {right:.4f}, not {found:.4f}"
        answer = transe_slopes(*given, margin, norm)
        for one, wanted, what in zip(answer, slopes, ("entities", "relations"), strict=True):
            assert bool(one.isfinite().all()), f"{case}: a slope is not finite: a distance of 0 has the slope 0"
            assert one.shape == wanted.shape, f"{case}: slopes of all {what} are wanted, also of those in no triple"
            assert abs(one - wanted).max().item() < 1e-9, f"{case}: the slopes of the {what} are others"
        assert [one.tolist() for one in given] == before, f"{case}: a tensor that was given has been changed"
### END HIDDEN TESTS

# %% test="rank_holds" points=1
# Hidden test (1 point): both columns and norms, many ties, facts that are in `known` or not; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
generator = torch.Generator().manual_seed(2)
for size in (1, 2, 5, 20):
    entities = torch.randint(-2, 3, (size, 2), generator=generator).double() / 2
    relations = torch.randint(-2, 3, (2, 2), generator=generator).double() / 2
    everything = list(itertools.product(range(size), range(2), range(size)))
    picks = torch.rand(len(everything), generator=generator)
    known = {triple for triple, pick in zip(everything, picks.tolist(), strict=True) if pick < 0.3}
    before = (entities.tolist(), relations.tolist(), set(known))
    for fact in everything[:: max(len(everything) // 25, 1)]:
        for column, norm in itertools.product((0, 2), (1, 2)):
            case = f"{size} entities, fact {fact}, column {column}, norm {norm}"
            apart = []
            for number in range(size):
                head, relation, tail = (number if place == column else part for place, part in enumerate(fact))
                if number == fact[column] or (head, relation, tail) not in known:
                    one = (entities[head] + relations[relation] - entities[tail]).tolist()
                    apart.append((number, sum(abs(x) ** norm for x in one)))
            own = dict(apart)[fact[column]]
            nearer, same = (sum(test(one, own) for _, one in apart) for test in (float.__lt__, float.__eq__))
            right = nearer + (1 + same) / 2
            found = float(link_rank(entities, relations, fact, column, set(known), norm))
            assert abs(found - right) < 1e-9, f"{case}: the rank is {right}, not {found}"
    assert (entities.tolist(), relations.tolist(), known) == before, "what was given has been changed"
### END HIDDEN TESTS

# %% test="transe_refuses" points=1
# Hidden test (1 point): what does not fit is a ValueError, in all three functions.
### BEGIN HIDDEN TESTS
fits = {"entities": torch.ones(3, 2), "relations": torch.ones(2, 2), "facts": torch.tensor([[0, 1, 2]])}
fits |= {"corrupted": torch.tensor([[[0, 1, 1], [2, 1, 2]]]), "margin": 1.0, "norm": 2}
for name, value, what in [
    ("norm", 3, "a norm of 3"),
    ("norm", 0, "a norm of 0"),
    ("margin", -0.5, "a margin below 0"),
    ("facts", torch.tensor([[0, 1, 3]]), "a tail that is no entity"),
    ("facts", torch.tensor([[-1, 1, 2]]), "a head of -1"),
    ("facts", torch.tensor([[0, 2, 2]]), "a relation that is none"),
    ("corrupted", torch.tensor([[[0, -1, 1]]]), "a relation of -1"),
    ("corrupted", torch.tensor([[[3, 1, 1]]]), "a corrupted head that is no entity"),
    ("corrupted", torch.tensor([[0, 1, 1]]), "corrupted triples (n, 3)"),
    ("corrupted", torch.zeros(2, 1, 3, dtype=torch.long), "corrupted triples of two facts for one"),
    ("corrupted", torch.zeros(1, 0, 3, dtype=torch.long), "no corrupted triple"),
]:
    for function in (transe_loss, transe_slopes):
        try:
            function(**(fits | {name: value}))
        except ValueError:
            continue
        raise AssertionError(f"{what} should be a ValueError in {function.__name__}")
assert transe_loss(**fits).ndim == 0 and len(transe_slopes(**fits)) == 2
e, r = fits["entities"], fits["relations"]
for given, what in [
    (((0, 1, 2), 1, set()), "column 1"),
    (((0, 1, 2), -1, set()), "column -1"),
    (((0, 1, 2), 2, set(), 3), "a norm of 3"),
    (((3, 1, 2), 2, set()), "a head that is no entity"),
    (((0, 1, -1), 0, set()), "a tail of -1"),
    (((0, -1, 2), 0, set()), "a relation of -1"),
    (((0, 2, 2), 2, set()), "a relation that is none"),
]:
    try:
        link_rank(e, r, *given)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError in link_rank")
assert 1 <= float(link_rank(e, r, (0, 1, 2), 2, set())) <= 3
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2: a search by words (5 points)
#
# > Three passages: *red fox*, *red red hen hut*, *old fox den*: 2, 4 and 3 terms, 3 in the mean. *red* stands in 2 of the 3
# > passages, so its idf is ln(1 + (3 − 2 + 0.5) / (2 + 0.5)) = ln 1.6 = 0.470. In the second passage it stands twice, and
# > the passage is 4/3 as long as the mean: 1 − 0.75 + 0.75 · 4/3 = 1.25. So *red* adds 0.470 · 2 / (2 + 1.5 · 1.25) = 0.470
# > · 0.516 = 0.243 to its score. In the first passage it adds 0.470 · 1 / (1 + 1.5 · 0.75) = 0.221, nearly as much for once,
# > since that passage is short.
#
# For $N$ passages of which $n_t$ hold the term $t$, with $f$ = how often $t$ stands in the passage $p$, and $|p|$ its number
# of terms (a term that stands twice counts twice), Lucene's variant of BM25 is
#
# $$w(t, p) = \ln\Big(1 + \frac{N - n_t + \frac12}{n_t + \frac12}\Big) \cdot \frac{f}{f + k_1 \big(1 - b + b\, |p| / \text{mean length}\big)}
# \qquad \text{score}(q, p) = \sum_{t \in q} w(t, p)$$
#
# `bm25_index(passages, k1, b)` gets a list of passages, each a list of terms, and returns a dictionary: for each term a
# dictionary from the numbers of the passages that hold it (from 0) to $w(t, p)$. A passage may be empty: it counts in $N$
# and in the mean length.
#
# `search(index, query, k)` gets such an index and a query, a list of terms, and returns the $k$ best passages as a list of
# (number, score), the best first; of equal scores the lower number comes first. A term that stands twice in the query counts
# twice; one that the index lacks adds nothing. A passage without a term of the query is never returned, so there may be
# fewer than $k$.
#
# `ValueError` for no passages, for $k_1 < 0$, for $b$ outside $[0, 1]$, for $k < 1$, and where a passage or the query is a
# string and not a list of terms.


# %% answer="bm25_index"
def bm25_index(passages, k1=1.5, b=0.75):
    """Passages, lists of terms -> {term: {number of a passage that holds it: what it adds to that passage's score}}."""
    ### BEGIN SOLUTION
    if not len(passages) or k1 < 0 or not 0 <= b <= 1 or any(isinstance(one, str) for one in passages):
        raise ValueError("passages that are lists of terms, k1 of at least 0 and b in [0, 1] are needed")
    mean = sum(map(len, passages)) / len(passages)
    index = defaultdict(dict)
    for number, passage in enumerate(passages):
        for term, often in Counter(passage).items():
            index[term][number] = often / (often + k1 * (1 - b + b * len(passage) / mean))
    for weights in index.values():
        idf = math.log(1 + (len(passages) - len(weights) + 0.5) / (len(weights) + 0.5))
        for number in weights:
            weights[number] *= idf
    return dict(index)
    ### END SOLUTION


# %% answer="search"
def search(index, query, k=10):
    """The k best passages of a query, a list of terms: a list of (number, score), the best first."""
    ### BEGIN SOLUTION
    if k < 1 or isinstance(query, str):
        raise ValueError("a k of at least 1 and a query that is a list of terms are needed")
    scores = defaultdict(float)
    for term in query:
        for number, weight in index.get(term, {}).items():
            scores[number] += weight
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:k]
    ### END SOLUTION


# %% test="bm25_visible" points=1
# Test (1 point): the three passages above.
passages = [["red", "fox"], ["red", "red", "hen", "hut"], ["old", "fox", "den"]]
index = bm25_index(passages)
assert index is not None, "bm25_index returns None: is the `return` missing?"
assert set(index) == {"red", "fox", "hen", "hut", "old", "den"}, f"six terms are wanted, not {sorted(index)}"
assert sorted(index["red"]) == [0, 1], f"red stands in passages 0 and 1, not in {sorted(index['red'])}"
found, idf = float(index["red"][1]), math.log(1.6)
right = idf * 2 / 3.875
for wrong, why in [
    (math.log(0.6) * 2 / 3.875, "idf: the 1 within the logarithm is missing (it keeps the idf above 0)"),
    (2.5 * right, "there is no factor k1 + 1: that is another variant"),
    (
        math.log(1 + 0.5 / 3.5) * 2 / 3.875,
        "idf: n counts the passages that hold the term, 2, not how often it stands there",
    ),
    (math.log(1.5) * 2 / 3.875, "idf: yours is the logarithm of N / n; see the formula"),
    (math.log2(1.6) * 2 / 3.875, "idf: the natural logarithm is wanted"),
    (math.log10(1.6) * 2 / 3.875, "idf: the natural logarithm is wanted"),
    (2 / 3.875, "the idf is missing"),
    (idf / 2.875, "f is how often the term stands in the passage: 2 here"),
    (idf * 2 / (2 + 1.5 * (0.75 + 0.25 * 4 / 3)), "b and 1 - b are exchanged"),
    (idf * 2 / (2 + 1.5 * (0.25 + 0.75 * 3 / 4)), "the length is divided by the mean length, not the other way round"),
    (
        idf * 2 / (2 + 1.5 * (0.25 + 0.75 * 9 / 8)),
        "the length counts a term that stands twice twice: 4, not 3 different ones",
    ),
    (idf * 2 / 3.5, "a passage that is longer than the mean gets less: b is not used"),
    (idf * 2 / (2 + 1.5 * (0.25 + 0.75 * 4)), "the length is to be divided by the mean length, 3"),
]:
    assert abs(found - wrong) > 1e-4, why
assert abs(found - right) < 1e-4, f"red in passage 1: 0.470 · 2 / 3.875 = {right:.4f} is wanted, not {found:.4f}"
for term, number, right in [
    ("red", 0, idf / 2.125),
    ("hut", 1, math.log(8 / 3) / 2.875),
    ("old", 2, math.log(8 / 3) / 2.5),
]:
    found = float(index[term][number])
    assert abs(found - right) < 1e-4, f"{term} in passage {number}: {right:.4f} is wanted, not {found:.4f}"
found, right = float(bm25_index(passages, k1=1.0, b=0.0)["red"][1]), idf * 2 / 3
assert abs(found - right) < 1e-4, f"red in passage 1, k1 = 1 and b = 0: {right:.4f} is wanted, not {found:.4f}"

# %% test="search_visible" points=1
# Test (1 point): an index with weights of eighths, made by hand.
index = {"fox": {0: 0.5, 2: 0.25, 5: 0.75}, "red": {2: 0.25, 4: 0.125}, "hut": {1: 1.0}}
answer = search(index, ["fox", "red"], 3)
assert answer is not None, "search returns None: is the `return` missing?"
found = [(int(number), float(score)) for number, score in answer]
for wrong, why in [
    ([(5, 0.75), (0, 0.5), (2, 0.25)], "passage 2 holds both terms: its weights add up"),
    ([(5, 0.75), (2, 0.5), (0, 0.5)], "passages 0 and 2 both have 0.5: the lower number comes first"),
    ([(4, 0.125), (0, 0.5), (2, 0.5)], "the best comes first"),
    ([(2, 0.5)], "a passage need not hold all terms of the query"),
    ([(5, 0.75), (0, 0.5), (2, 0.5), (4, 0.125)], "only the k best are wanted"),
    ([(5, 0.375), (0, 0.25), (2, 0.25)], "the weights are added, not averaged"),
]:
    assert found != wrong, why
assert found == [(5, 0.75), (0, 0.5), (2, 0.5)], f"[(5, 0.75), (0, 0.5), (2, 0.5)] is wanted, not {found}"
found = [(int(number), float(score)) for number, score in search(index, ["red", "red", "cat"])]
assert found != [(2, 0.25), (4, 0.125)], "a term that stands twice in the query counts twice"
assert len(found) < 3, f"a passage without a term of the query is never returned: {found}"
assert found == [(2, 0.5), (4, 0.25)], f"red twice, and a strange word: [(2, 0.5), (4, 0.25)] is wanted, not {found}"
assert list(search(index, ["cat"])) == [], "nothing is found for a strange word"

# %% test="bm25_holds" points=1
# Hidden test (1 point): 60 passages, some of them empty; k1 and b at their limits; only empty passages; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
draws = random.Random(3)
for size, words in ((1, 3), (7, 5), (60, 12)):
    passages = [[f"w{int(draws.random() ** 2 * words)}" for _ in range(draws.randrange(1, 15))] for _ in range(size)]
    if size > 1:
        passages[2] = []
    before = [list(one) for one in passages]
    for k1, b in [(1.5, 0.75), (0.0, 0.5), (1.2, 0.0), (2.0, 1.0), (0.0, 0.0)]:
        case = f"{size} passages, k1 = {k1}, b = {b}"
        index = bm25_index(passages, k1, b)
        assert passages == before, f"{case}: the passages have been changed"
        assert set(index) == {term for one in passages for term in one}, f"{case}: other terms than the passages have"
        mean = sum(len(one) for one in passages) / size
        for term, weights in index.items():
            holding = [number for number, one in enumerate(passages) if term in one]
            assert sorted(weights) == holding, f"{case}: {term} stands in other passages"
            rare = math.log1p((size - len(holding) + 0.5) / (len(holding) + 0.5))
            for number in holding:
                often = passages[number].count(term)
                right = rare * often / (often + k1 * (1 - b + b * len(passages[number]) / mean))
                found = float(weights[number])
                assert abs(found - right) < 1e-5, (
                    f"{case}: {term} adds {right:.4f} to passage {number}, not {found:.4f}; empty passages count in N and in the mean"
                )
assert len(bm25_index([[], []])) == 0, "passages without a term have an index without a term"
### END HIDDEN TESTS

# %% test="search_holds" points=1
# Hidden test (1 point): drawn indices with many equal scores, any k, queries with terms many times; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
draws = random.Random(4)
for size in (1, 3, 12, 80):
    numbers = list(range(size))
    index = {}
    for term in "abcdef":
        draws.shuffle(numbers)
        index[term] = {number: draws.choice((0.25, 0.5, 1.0)) for number in numbers[: draws.randrange(1, size + 1)]}
    before = {term: dict(weights) for term, weights in index.items()}
    for _ in range(20):
        query = [draws.choice("abcdefgh") for _ in range(draws.randrange(5))]
        scores = [sum(index.get(term, {}).get(number, 0) for term in query) for number in range(size)]
        right = sorted((-score, number) for number, score in enumerate(scores) if score)
        for k in (1, 2, 7, 1000):
            found = [(int(number), float(score)) for number, score in search(index, list(query), k)]
            wanted = [(number, -score) for score, number in right[:k]]
            assert found == wanted, f"query {query}, {size} passages, k = {k}: {wanted} is wanted, not {found}"
        assert index == before, (
            "the index has been changed (by a look-up in a defaultdict, or by adding into its lists?)"
        )
### END HIDDEN TESTS

# %% test="bm25_refuses" points=1
# Hidden test (1 point): what does not fit is a ValueError.
### BEGIN HIDDEN TESTS
texts = [["red", "fox"], ["old", "hen"]]
for function, given, what in [
    (bm25_index, ([],), "no passages"),
    (bm25_index, (texts, -0.1), "k1 below 0"),
    (bm25_index, (texts, 1.5, 1.1), "b above 1"),
    (bm25_index, (texts, 1.5, -0.1), "b below 0"),
    (bm25_index, ([["red", "fox"], "old hen"],), "a passage that is a string"),
    (search, ({"red": {0: 1.0}}, ["red"], 0), "k = 0"),
    (search, ({"red": {0: 1.0}}, ["red"], -2), "k = -2"),
    (search, ({"red": {0: 1.0}}, "red", 2), "a query that is a string"),
]:
    try:
        function(*given)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError in {function.__name__}")
assert len(bm25_index(texts)) == 4 and len(search({"red": {0: 1.0}}, ["red"], 1)) == 1
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3: a fact that a model reads, and a fact that it says (5 points)
#
# > A tail at $e_t = (0.75, 0.5)$ and a relation $r = (0.5, 0.25)$: the head of this fact is near $e_t - r = (0.25, 0.25)$.
# > And a tail whose head is at $e_h = (0.25, 0.5)$ is near $e_h + r = (0.75, 0.75)$. Such a vector can stand for a name in a
# > sentence.
#
# `inject(words, spans, facts, entities, relations, project)` returns a sentence's word vectors (tokens, d) with pseudo
# tokens in it. Each span (start, stop) is a mention: the tokens from `start` to before `stop`. Its fact (other, relation,
# is_head) names the **other** entity's row in `entities` (…, k), the relation's row in `relations` (…, k), and whether the
# mention is the fact's head. All tokens of the mention get the same vector, `project` of $e_t - r$ where the mention is the
# head, of $e_h + r$ where it is the tail; `project` makes of vectors (…, k) vectors (…, d), and need not be linear.
#
# > The state of a mention is $h_0 = (1, 2)$, the relation that is asked for is $r = (1, 0)$, and $W$ exchanges the two
# > numbers: $h_1 = \tanh(W (h_0 \odot r)) = (\tanh 0, \tanh 1) = (0, 0.762)$. Three words with the vectors (1, 0), (0, 1),
# > (1, 1) have the scores 0, 0.762 and 0.762 there. Word 1 is right. Drawn against it were words 0 and 2, whose chances are
# > 0.5 and 0.2: of $q = 2$ draws, word 0 is expected 2 · 0.5 = 1 time, word 2 0.4 times, so word 2 stands for two and a half
# > of its kind. The loss is
# > $\ln(e^{0.762} + e^{0} / 1 + e^{0.762} / 0.4) - 0.762 = 1.378$.
#
# `decoding_loss(mentions, relations, wanted, W, words, chances, draws)` is the loss of the other entities' names. Mentions
# and relations are (n, d), and `wanted` (n, m) holds the words of each name, −100 behind a shorter one. With $W$ (d, d), the
# vectors `words` (vocabulary, d), the chance $p_j$ of each word, and $q$ draws:
#
# $$h_i = \tanh\big(W (h_{i-1} \odot r)\big) \qquad s_{iv} = h_i \cdot \text{word}_v \qquad
# L_i = \ln\Big(e^{s_{iw}} + \sum_{j \,\in\, \text{draws},\ j \ne w} \frac{e^{s_{ij}}}{q\, p_j}\Big) - s_{iw}$$
#
# where $w$ is the word wanted at place $i$; the first is said from $h_1$. A word that was drawn twice counts twice, a draw
# that is the word wanted is left out ($q$ stays). The result is the mean of $L_i$ **over all words wanted** of all names, a
# tensor through which gradients flow to the vectors and to $W$ (one learns with it). Scores may be as large as 1 000.
#
# `ValueError` for spans that are empty, overlap, or lie outside the sentence; where there is not one fact a span, or a
# number in a fact is no row (−1 is none); for a word wanted that is not in the vocabulary and not −100, and where none is
# wanted; for no draws, and for a draw that is no word or has the chance 0.


# %% answer="inject"
def inject(words, spans, facts, entities, relations, project):
    """Word vectors (tokens, d), spans (start, stop), a fact (other, relation, is_head) each -> (tokens, d)."""
    ### BEGIN SOLUTION
    if len(spans) != len(facts):
        raise ValueError("one fact a span is needed")
    before = 0
    for start, stop in sorted(spans):
        if not before <= start < stop <= len(words):
            raise ValueError(f"the span ({start}, {stop}) is empty, overlaps another or lies outside the sentence")
        before = stop
    read = words.clone()
    for (start, stop), (other, relation, is_head) in zip(spans, facts, strict=True):
        if not (0 <= other < len(entities) and 0 <= relation < len(relations)):
            raise ValueError("a number is no entity or no relation")
        turned = -relations[relation] if is_head else relations[relation]
        read[start:stop] = project(entities[other] + turned)
    return read
    ### END SOLUTION


# %% answer="decoding_loss"
def decoding_loss(mentions, relations, wanted, W, words, chances, draws):
    """Mentions and relations (n, d), wanted (n, m), W (d, d), words (v, d), chances (v,), draws (q,) -> a number."""
    ### BEGIN SOLUTION
    asked = wanted != -100
    strange = ((wanted < 0) | (wanted >= len(words))) & asked
    if strange.any() or not asked.any():
        raise ValueError("words of the vocabulary are needed, at least one")
    if not len(draws) or (draws < 0).any() or (draws >= len(words)).any() or not (chances[draws] > 0).all():
        raise ValueError("draws that are words with a chance above 0 are needed")
    state, states = mentions, []
    for _ in range(wanted.shape[1]):
        state = torch.tanh((state * relations) @ W.T)
        states.append(state)
    right = wanted[asked][:, None]
    scores = torch.stack(states, 1)[asked] @ words.T
    own = scores.gather(1, right)
    others = scores[:, draws] - (len(draws) * chances[draws]).log()
    others = others.masked_fill(draws == right, -math.inf)
    return (torch.cat([own, others], 1).logsumexp(1) - own[:, 0]).mean()
    ### END SOLUTION


# %% test="pseudo_visible" points=1
# Test (1 point): a sentence of five tokens, with a mention of two that is a head, and one that is a tail.
entities, relations = torch.tensor([[0.75, 0.5], [0.25, 0.5]]), torch.tensor([[0.0, 2.0], [0.5, 0.25]])
project = lambda x: 2 * x + 1  # noqa: E731
words = torch.arange(10.0).reshape(5, 2) - 20
found = inject(words.clone(), [(1, 3), (4, 5)], [(0, 1, True), (1, 1, False)], entities, relations, project)
assert found is not None, "inject returns None: is the `return` missing?"
assert tuple(found.shape) == (5, 2), f"the sentence keeps its five tokens: (5, 2), not {tuple(found.shape)}"
head, tail = torch.tensor([1.5, 1.5]), torch.tensor([2.5, 2.5])
first, second, last = found[1], found[2], found[4]
for one, wrong, why in [
    (first, words[1], "the mention's own vectors are still there"),
    (first, torch.tensor([3.5, 2.5]), "the mention is the head, so the other is the tail: e_t - r, not e_t + r"),
    (first, torch.tensor([-0.5, 0.5]), "e_t - r, not r - e_t"),
    (first, torch.tensor([0.25, 0.25]), "project is missing"),
    (first, torch.tensor([0.5, 0.5]), "project e_t - r, and not e_t and r each for itself"),
    (first, torch.tensor([2.5, 1.0]), "e_t - r: the relation is missing, or the wrong row of `relations`"),
    (second, words[2], "all tokens of the mention get the vector, not the first alone"),
    (last, torch.tensor([0.5, 1.5]), "here the mention is the tail: e_h + r, not e_h - r"),
    (last, torch.tensor([3.5, 3.5]), "project e_h + r, and not e_h and r each for itself"),
    (found[3], head, "`stop` is the first token after the mention: it stays"),
]:
    assert not torch.allclose(one, wrong), why
assert torch.equal(found[[0, 3]], words[[0, 3]]), "the tokens outside the mentions stay as they are"
assert torch.allclose(found[1:3], head), f"2 · (0.25, 0.25) + 1 = (1.5, 1.5) is wanted twice, not {found[1:3].tolist()}"
assert torch.allclose(last, tail), f"2 · (0.75, 0.75) + 1 = (2.5, 2.5) is wanted, not {last.tolist()}"

# %% test="decoding_visible" points=1
# Test (1 point): the example above; then two names, of two words and of one.
mention, relation, exchange = (
    torch.tensor([[1.0, 2.0]]),
    torch.tensor([[1.0, 0.0]]),
    torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
)
words, chances = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0.5, 0.3, 0.2])
loss = decoding_loss(mention, relation, torch.tensor([[1]]), exchange, words, chances, torch.tensor([0, 2]))
assert loss is not None, "decoding_loss returns None: is the `return` missing?"
assert torch.is_tensor(loss) and loss.ndim == 0, "a tensor of one number is wanted"
loss = loss.item()
for wrong, why in [
    (1.0875, "the word wanted stands in the sum too"),
    (0.9030, "1 / (q p) is missing: a word that is drawn often stands for fewer"),
    (0.6243, "divide by q · p: the logarithm is taken from the score, not added"),
    (1.9364, "1 / (q p), not 1 / p: q is the number of draws, 2"),
    (1.3527, "tanh is missing"),
    (2.1466, "the mention and the relation are multiplied, number by number"),
    (2.0997, "the first word is said from h_1, not from the mention itself"),
    (2.3202, "W is applied to the product of state and relation, not to the state alone"),
]:
    assert abs(loss - wrong) > 1e-3, why
assert abs(loss - 1.3780) < 1e-3, f"ln(e^0.762 + 1 + e^0.762 / 0.4) - 0.762 = 1.3780 is wanted, not {loss:.4f}"
mentions, relations = torch.tensor([[1.0, -2.0], [-1.0, 0.5]]), torch.tensor([[0.5, 1.0], [2.0, 1.0]])
wanted, W = torch.tensor([[1, 2], [0, -100]]), torch.tensor([[0.5, 1.0], [-1.0, 0.0]])
loss = decoding_loss(mentions, relations, wanted, W, words, chances, torch.tensor([0, 2, 2])).item()
for wrong, why in [
    (1.1899, "W (state · relation), a matrix times a vector: yours is that of the transposed matrix"),
    (3.6320, "the mean over the words: you summed"),
    (1.4771, "the mean over all three words, not the mean over the names of their means"),
    (1.8160, "divide by the number of words, 3, not by that of the names"),
    (0.9080, "-100 is no word: divide by 3, not by 4 places"),
    (1.1839, "the relation multiplies every state, not the mention alone"),
    (1.3321, "the second word is said from h_2, which is made of h_1"),
    (1.6339, "a draw that is the word wanted is left out"),
    (0.9209, "word 2 was drawn twice: it counts twice"),
    (1.4912, "q counts all draws, also those that are left out"),
    (1.9160, "the first word is said from h_1, not from the mention itself"),
]:
    assert abs(loss - wrong) > 1e-3, why
assert abs(loss - 1.2107) < 1e-3, f"the three words cost 0.998, 0.358, 2.276: the mean is 1.2107, not {loss:.4f}"

# %% test="pseudo_holds" points=1
# Hidden test (1 point): spans in any order, side by side and over the whole sentence, none at all; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
generator = torch.Generator().manual_seed(5)
entities, relations = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (6, 4))
layer = torch.randn(5, 3, generator=generator, dtype=torch.float64)
for tokens, spans in [
    (4, []),
    (1, [(0, 1)]),
    (6, [(0, 6)]),
    (8, [(5, 7), (0, 2), (2, 5)]),
    (9, [(8, 9), (3, 4), (0, 1), (4, 6)]),
]:
    case = f"{tokens} tokens, spans {spans}"
    words = torch.randn(tokens, 5, generator=generator, dtype=torch.float64)
    facts = [((3 * at + tokens) % 6, (at + tokens) % 4, at % 2 == tokens % 2) for at in range(len(spans))]
    given = (words, entities, relations)
    before = ([one.tolist() for one in given], list(spans), list(facts))
    project = lambda x: torch.tanh(x @ layer.T + 0.5)  # noqa: E731
    found = inject(words, spans, facts, entities, relations, project)
    assert ([one.tolist() for one in given], spans, facts) == before, f"{case}: what was given has been changed"
    wanted = [list(row) for row in words.tolist()]
    for (start, stop), (other, relation, is_head) in zip(spans, facts, strict=True):
        sign = -1 if is_head else 1
        for at in range(start, stop):
            wanted[at] = project(entities[other] + sign * relations[relation]).tolist()
    assert found.shape == words.shape, f"{case}: the shape should stay {tuple(words.shape)}"
    gap = abs(found - torch.tensor(wanted, dtype=torch.float64)).max().item()
    assert gap < 1e-9, f"{case}: other vectors; does each span get its own fact?"
    found.fill_(0.5)
    assert words.tolist() == before[0][0], f"{case}: a new tensor is wanted; yours shares its memory with the given one"
### END HIDDEN TESTS

# %% test="decoding_holds" points=1
# Hidden test (1 point): drawn names against sums of exponentials, and their gradients; draws that are wanted; scores of 1 000.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
generator = torch.Generator().manual_seed(6)


def word_by_word(mentions, relations, wanted, W, words, chances, draws):
    """The mean over the words, one after the other, with logarithms of sums."""
    total = []
    for state, relation, name in zip(mentions, relations, wanted.tolist(), strict=True):
        for word in name:
            state = torch.tanh(W @ (state * relation))
            if word != -100:
                scores = words @ state
                parts = [scores[word]]
                parts += [scores[j] - torch.log(len(draws) * chances[j]) for j in draws.tolist() if j != word]
                total.append(torch.logsumexp(torch.stack(parts), 0) - scores[word])
    return torch.stack(total).mean()


for n, m, d, vocabulary, q, size in [(1, 1, 2, 3, 1, 1), (4, 3, 5, 9, 6, 1), (6, 2, 3, 4, 20, 1), (3, 4, 4, 7, 5, 500)]:
    case = f"{n} names of up to {m} words, {vocabulary} words, {q} draws, scores about {size}"
    mentions, relations, W, words = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((n, d), (n, d), (d, d), (vocabulary, d))
    )
    words, chances = words * size, torch.rand(vocabulary, generator=generator, dtype=torch.float64) + 0.1
    chances = chances / chances.sum()
    wanted = torch.randint(vocabulary, (n, m), generator=generator)
    for row in range(n):
        wanted[row, m - row % m :] = -100
    draws = torch.randint(vocabulary, (q,), generator=generator)
    draws[0] = wanted[0, 0]
    vectors = (mentions, relations, W, words)
    before = [one.tolist() for one in (*vectors, wanted, chances, draws)]
    results = []
    for function in (word_by_word, decoding_loss):
        one = [vector.clone().requires_grad_() for vector in vectors]
        loss = function(one[0], one[1], wanted, one[2], one[3], chances, draws)
        assert loss.requires_grad, f"{case}: no gradient flows through the loss: is it made of Python's numbers?"
        results.append((loss.item(), torch.autograd.grad(loss, one)))
    (right, slopes), (found, given) = results
    assert math.isfinite(found), f"{case}: the loss is {found}: stay in logarithms"
    assert abs(found - right) < 1e-6 * max(1.0, right), f"{case}: {right:.4f} is wanted, not {found:.4f}"
    for slope, wished, what in zip(given, slopes, ("mentions", "relations", "W", "words"), strict=True):
        assert bool(slope.isfinite().all()), f"{case}: the gradient of {what} is not finite"
        assert torch.allclose(slope, wished, atol=1e-6, rtol=1e-5), f"{case}: the gradient of {what} is another"
    decoding_loss(mentions, relations, wanted, W, words, chances, draws)
    assert [one.tolist() for one in (*vectors, wanted, chances, draws)] == before, (
        "a tensor that was given has been changed"
    )
### END HIDDEN TESTS

# %% test="dkplm_refuses" points=1
# Hidden test (1 point): what does not fit is a ValueError.
### BEGIN HIDDEN TESTS
words, three = torch.ones(5, 2), torch.ones(3, 2)
for spans, facts, what in [
    ([(1, 1)], [(0, 0, True)], "an empty span"),
    ([(3, 2)], [(0, 0, True)], "a span that ends before it begins"),
    ([(4, 6)], [(0, 0, True)], "a span that ends outside the sentence"),
    ([(-1, 1)], [(0, 0, True)], "a span that begins at -1"),
    ([(2, 4), (0, 3)], [(0, 0, True), (1, 0, True)], "spans that overlap"),
    ([(0, 1), (2, 3)], [(0, 0, True)], "one fact for two spans"),
    ([(0, 1)], [(0, 0, True), (1, 0, True)], "two facts for one span"),
    ([(0, 1)], [(3, 0, True)], "an entity without a row"),
    ([(0, 1)], [(-1, 0, True)], "entity -1"),
    ([(0, 1)], [(0, 3, False)], "a relation without a row"),
    ([(0, 1)], [(0, -1, False)], "relation -1"),
]:
    try:
        inject(words.clone(), spans, facts, three, three, lambda x: x)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError in inject")
fits = {
    "mentions": three,
    "relations": three,
    "wanted": torch.tensor([[0, 1], [2, -100], [3, 0]]),
    "W": torch.ones(2, 2),
}
fits |= {"words": torch.ones(4, 2), "chances": torch.tensor([0.5, 0.5, 0.0, 0.0]), "draws": torch.tensor([0, 1, 1])}
for name, value, what in [
    ("wanted", torch.tensor([[0, 1], [2, -1], [3, 0]]), "a word of -1"),
    ("wanted", torch.tensor([[0, 4], [2, -100], [3, 0]]), "a word that is none"),
    ("wanted", torch.full((3, 2), -100), "no word wanted"),
    ("draws", torch.tensor([], dtype=torch.long), "no draws"),
    ("draws", torch.tensor([0, 4]), "a draw that is no word"),
    ("draws", torch.tensor([0, -1]), "a draw of -1"),
    ("draws", torch.tensor([0, 2]), "a draw of a word with the chance 0"),
]:
    try:
        decoding_loss(**(fits | {name: value}))
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError in decoding_loss")
assert decoding_loss(**fits).ndim == 0 and len(inject(words, [(0, 1)], [(0, 0, True)], three, three, lambda x: x)) == 5
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4: how good is a ranking? (5 points)
#
# > Four pages were judged for a query: *a* 3 (answers it), *d* 2, *b* 1, *e* 0 (does not). A search finds *b*, *a*, *c*;
# > nobody has judged *c*, so it counts as 0. A page counts less the later it comes: place 1 counts 1 / log₂ 2 = 1, place 2 1
# > / log₂ 3 = 0.631, place 3 1 / log₂ 4 = 0.5. The search gains 1 · 1 + 3 · 0.631 + 0 · 0.5 = 2.893. The best ranking of all
# > judged pages, *a*, *d*, *b*, gains 3 + 2 · 0.631 + 1 · 0.5 = 4.762. So NDCG@3 = 2.893 / 4.762 = 0.607.
#
# `ndcg(ranking, grades, k, gain)` gets a list of pages, the best first, and a dictionary page → grade. With $g_i$, the grade
# of the page at place $i$:
#
# $$\text{DCG@}k = \sum_{i=1}^{k} \frac{\text{gain}(g_i)}{\log_2 (1 + i)} \qquad
# \text{NDCG@}k = \frac{\text{DCG@}k \text{ of the ranking}}{\text{DCG@}k \text{ of the best ranking of all judged pages}}$$
#
# A ranking may be shorter than $k$. `gain` is a function of a grade, the grade itself if none is given; others take $2^g -
# 1$. It is 0 for 0, never falls, and is above 0 for a grade above 0.
#
# > Now a search gives scores: *b* 2.0, *a* 2.0, *c* 1.0. Is *a* first or second? Nobody knows. In the order *b*, *a*, *c*
# > the search gains 2.893; in the order *a*, *b*, *c* it gains 3 + 1 · 0.631 = 3.631. The mean is 3.262: each of the two
# > places has the mean gain, 2 · 1 + 2 · 0.631.
#
# `tied_ndcg(scores, grades, k, gain)` gets a dictionary page → score and returns the mean of NDCG@$k$ over **all orders** of
# pages with equal scores. **Derive it** without trying the orders: 2 000 pages may have one score. A group of equal pages
# may begin before place $k$ and end behind it.
#
# Both return a number, and raise `ValueError` for $k < 1$, for a grade below 0, and where no judged page has a grade above 0
# (every ranking is as good as another). So does `ndcg` for a page that the ranking holds twice, and `tied_ndcg` for a score
# that is NaN.


# %% answer="ndcg"
def ndcg(ranking, grades, k=10, gain=lambda grade: grade):
    """Pages, the best first, and {page: grade} -> NDCG@k, a number in [0, 1]."""
    ### BEGIN SOLUTION
    if k < 1 or min(grades.values(), default=0) < 0 or max(grades.values(), default=0) <= 0:
        raise ValueError("a k of at least 1 and grades of at least 0, one of them above, are needed")
    if len(set(ranking)) < len(ranking):
        raise ValueError("the ranking holds a page twice")
    found = [grades.get(page, 0) for page in ranking]
    found, best = (
        sum(gain(grade) / math.log2(1 + place) for place, grade in enumerate(some[:k], start=1))
        for some in (found, sorted(grades.values(), reverse=True))
    )
    return found / best
    ### END SOLUTION


# %% answer="tied_ndcg"
def tied_ndcg(scores, grades, k=10, gain=lambda grade: grade):
    """{page: score} and {page: grade} -> the mean of NDCG@k over all orders of pages with equal scores."""
    ### BEGIN SOLUTION
    if k < 1 or min(grades.values(), default=0) < 0 or max(grades.values(), default=0) <= 0:
        raise ValueError("a k of at least 1 and grades of at least 0, one of them above, are needed")
    if any(math.isnan(score) for score in scores.values()):
        raise ValueError("a score is NaN")
    groups = defaultdict(list)
    for page, score in scores.items():
        groups[score].append(gain(grades.get(page, 0)))
    gains = [sum(groups[score]) / len(groups[score]) for score in sorted(groups, reverse=True) for _ in groups[score]]
    best = [gain(grade) for grade in sorted(grades.values(), reverse=True)]
    found, best = (sum(one / math.log2(1 + at) for at, one in enumerate(some[:k], start=1)) for some in (gains, best))
    return found / best
    ### END SOLUTION


# %% test="ndcg_visible" points=1
# Test (1 point): the ranking above, at k = 3 and 2, with the grade and with 2^g - 1 as gain.
grades, second = {"a": 3, "d": 2, "b": 1, "e": 0}, 1 / math.log2(3)
found = ndcg(["b", "a", "c"], grades, 3)
assert found is not None, "ndcg returns None: is the `return` missing?"
found, best = float(found), 3 + 2 * second + 0.5
dcg = 1 + 3 * second
for wrong, why in [
    (dcg, "this is the DCG: divide by that of the best ranking"),
    (dcg / (3 + second), "the best ranking has all judged pages, also d, which was not found"),
    (dcg / 3, "the best ranking's gains are discounted too"),
    (dcg / 6, "the best ranking's gains are discounted too"),
    ((1 + second) / (1 + second + 0.5), "the grades are not used: a gains 3, b gains 1"),
    ((1 + 7 * second) / (7 + 3 * second + 0.5), "the gain is the grade itself if no other is given"),
    ((1 + 3 / 2) / (3 + 2 / 2 + 1 / 3), "the discount is 1 / log₂(1 + place), not 1 / place"),
    (
        (second + 3 / 2) / (3 * second + 2 / 2 + 1 / math.log2(5)),
        "place 1 counts 1 / log₂ 2 = 1: the places begin with 1",
    ),
    ((1 + 3) / (3 + 2 + 1 / math.log2(3)), "the discount of place 2 is 1 / log₂ 3, not 1 / log₂ 2"),
    (4 / 6, "the discount is missing"),
]:
    assert abs(found - wrong) > 1e-4, why
assert abs(found - dcg / best) < 1e-4, f"2.893 / 4.762 = {dcg / best:.4f} is wanted, not {found:.4f}"
found = float(ndcg(["b", "a", "c"], grades, 2))
assert abs(found - dcg / best) > 1e-4, "k = 2: the best ranking ends at place 2 as well"
assert abs(found - dcg / (3 + 2 * second)) < 1e-4, f"k = 2: {dcg / (3 + 2 * second):.4f} is wanted, not {found:.4f}"
found = float(ndcg(["b", "a", "c"], grades, 1))
assert abs(found - 1 / 3) < 1e-4, f"k = 1: b gains 1 of 3, not {found:.4f}"
found, right = float(ndcg(["b", "a", "c"], grades, 3, lambda g: 2**g - 1)), (1 + 7 * second) / (7 + 3 * second + 0.5)
assert abs(found - (1 + 7 * second) / best) > 1e-4, "the gain is taken of the best ranking's grades too"
assert abs(found - right) < 1e-4, (
    f"gain 2^g - 1: (1 + 7 · 0.631) / (7 + 3 · 0.631 + 0.5) = {right:.4f}, not {found:.4f}"
)

# %% test="ties_visible" points=1
# Test (1 point): b and a have equal scores, c comes behind; then a group that begins before place k and ends behind it.
grades, second = {"a": 3, "d": 2, "b": 1, "e": 0}, 1 / math.log2(3)
found = tied_ndcg({"b": 2.0, "a": 2.0, "c": 1.0}, grades, 3)
assert found is not None, "tied_ndcg returns None: is the `return` missing?"
found, best = float(found), 3 + 2 * second + 0.5
for wrong, why in [
    ((1 + 3 * second) / best, "this is one order, b before a, and not the mean over both"),
    ((3 + second) / best, "this is one order, a before b, and not the mean over both"),
    ((4 + 4 * second) / best, "each of the two places has the mean gain, 2, and not the sum"),
    ((0 + 2 * second + 2 * 0.5) / best, "the highest score comes first"),
    ((2 + 2 * second) / (3 + second), "the best ranking has all judged pages, also d, which was not found"),
]:
    assert abs(found - wrong) > 1e-4, why
right = (2 + 2 * second) / best
assert abs(found - right) < 1e-4, f"(2 · 1 + 2 · 0.631) / 4.762 = {right:.4f} is wanted, not {found:.4f}"
found = float(tied_ndcg({"d": 0.5, "b": 0.1, "a": 0.1, "c": 0.1}, grades, 2))
for wrong, why in [
    (
        (2 + 2 * second) / (3 + 2 * second),
        "c belongs to the group too, though only one of its pages has a place: the mean gain is 4/3",
    ),
    (
        (2 + second) / (3 + 2 * second),
        "the group's first page of `scores` took its place: the mean gain of the group is wanted",
    ),
    ((2 + 4 / 3 * (second + 0.5 + 1 / math.log2(5))) / (3 + 2 * second), "places behind k gain nothing"),
    ((2 + 0 * second) / (3 + 2 * second), "a group that does not fit into k places still has a share of them"),
]:
    assert abs(found - wrong) > 1e-4, why
right = (2 + 4 / 3 * second) / (3 + 2 * second)
assert abs(found - right) < 1e-4, f"d, then one of b, a, c: (2 + 4/3 · 0.631) / 4.262 = {right:.4f}, not {found:.4f}"
found, right = float(tied_ndcg({"a": 1, "b": 1}, grades, 1, lambda g: 2**g - 1)), 4 / 7
assert abs(found - 3 / 7) > 1e-4, "gain 2^g - 1: the mean of the gains, (7 + 1) / 2, and not the gain of the mean grade"
assert abs(found - right) < 1e-4, f"gain 2^g - 1: (7 + 1) / 2 / 7 = {right:.4f} is wanted, not {found:.4f}"

# %% test="ndcg_holds" points=1
# Hidden test (1 point): drawn rankings, shorter and longer than k, pages of any kind, grades in parts; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
draws = random.Random(7)
for size in (1, 2, 6, 40):
    for _ in range(10):
        pages = [draws.choice((number, f"page {number}", (number, "x"))) for number in range(size)]
        grades = {page: draws.choice((0, 0, 1, 2, 3, 0.5)) for page in pages if draws.random() < 0.7} | {"not found": 1}
        ranking = draws.sample(pages, draws.randrange(size + 1))
        before = (dict(grades), list(ranking))
        for k, gain in itertools.product((1, 3, 10, 100), (None, lambda g: 2**g - 1, lambda g: g * g)):
            take = gain or (lambda g: g)
            gains = [take(grades.get(page, 0)) for page in ranking][:k]
            best = sorted((take(grade) for grade in grades.values()), reverse=True)[:k]
            right, most = (sum(one / math.log2(at + 2) for at, one in enumerate(some)) for some in (gains, best))
            found = float(ndcg(ranking, grades, k, gain) if gain else ndcg(ranking, grades, k))
            assert abs(found - right / most) < 1e-6, (
                f"{ranking}, {grades}, k = {k}: {right / most:.4f} is wanted, not {found:.4f}"
            )
        assert (grades, ranking) == before, "what was given has been changed"
found = float(ndcg([], {"a": 1}, 5))
assert found == 0.0, f"an empty ranking gains 0, not {found}"
### END HIDDEN TESTS

# %% test="ties_holds" points=1
# Hidden test (1 point): drawn scores against the mean over all orders; 2 000 pages with one score; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)) and abs(1 - 2) == 1, "the comparison itself has been changed"
draws = random.Random(8)
for case in range(40):
    size = 1 + case % 6
    scores = {f"p{number}": draws.choice((-1, 0, 0.5, 2)) for number in range(size)}
    grades = {page: draws.choice((0, 1, 2, 3)) for page in scores if draws.random() < 0.7} | {"not found": 2}
    before = (dict(scores), dict(grades))
    for k, gain in itertools.product((1, 2, 4, 10), (None, lambda g: 2**g - 1)):
        take, values = gain or (lambda g: g), []
        for order in itertools.permutations(scores):
            if all(scores[one] >= scores[next_] for one, next_ in itertools.pairwise(order)):
                values.append(sum(take(grades.get(page, 0)) / math.log2(at + 2) for at, page in enumerate(order[:k])))
        best = sorted((take(grade) for grade in grades.values()), reverse=True)[:k]
        right = sum(values) / len(values) / sum(one / math.log2(at + 2) for at, one in enumerate(best))
        found = float(tied_ndcg(scores, grades, k, gain) if gain else tied_ndcg(scores, grades, k))
        assert abs(found - right) < 1e-6, (
            f"scores {scores}, grades {grades}, k = {k}: {right:.4f} is wanted, not {found:.4f}"
        )
    assert (scores, grades) == before, "what was given has been changed"
many = dict.fromkeys(range(2000), 1.0)
found, right = float(tied_ndcg(many, {3: 1, 5: 3}, 10)), 4 / 2000 * sum(1 / math.log2(at + 2) for at in range(10))
right /= 3 + 1 / math.log2(3)
assert abs(found - right) < 1e-6, f"2 000 pages with one score: {right:.6f} is wanted, not {found:.6f}"
assert float(tied_ndcg({}, {"a": 1}, 5)) == 0.0, "without pages the gain is 0"
### END HIDDEN TESTS

# %% test="ndcg_refuses" points=1
# Hidden test (1 point): what does not fit is a ValueError.
### BEGIN HIDDEN TESTS
grades = {"a": 1, "b": 0}
for function, given, what in [
    (ndcg, (["a"], grades, 0), "k = 0"),
    (ndcg, (["a"], grades, -1), "k = -1"),
    (ndcg, (["a", "b", "a"], grades, 2), "a page that stands twice"),
    (ndcg, (["a"], {"a": 0, "b": 0}), "no grade above 0"),
    (ndcg, (["a"], {}), "no judged page"),
    (ndcg, (["a"], {"a": 2, "b": -1}), "a grade below 0"),
    (tied_ndcg, ({"a": 1.0}, grades, 0), "k = 0"),
    (tied_ndcg, ({"a": 1.0}, {"a": 0}), "no grade above 0"),
    (tied_ndcg, ({"a": 1.0}, {}), "no judged page"),
    (tied_ndcg, ({"a": 1.0}, {"a": 2, "b": -1}), "a grade below 0"),
    (tied_ndcg, ({"a": 1.0, "b": math.nan}, grades), "a score that is NaN"),
]:
    try:
        function(*given)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError in {function.__name__}")
assert float(ndcg(["a", "b"], grades, 2)) == 1.0 and float(tied_ndcg({"a": 1.0, "b": 0.0}, grades, 2)) == 1.0
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5: what it costs (4 points, graded by hand)
#
# Answer in one to three sentences each, with numbers.
#
# 1. A city has 40 inhabitants in the graph, and a perfect TransE puts all 40 at the same distance from the point where the
#    inhabitants should be, nearer than all others. Which rank has each of them as the answer to "who lives there?",
#    filtered, and which without the filter? Which vector must the relation *is married to* have, if (a, r, b) and (b, r, a)
#    both have the distance 0, and what follows for the two?
# 2. BM25 with $k_1 = 1.5$, $b = 0.75$: the second factor of $w(t, p)$ for a term that stands 1, 2 and 10 times in a passage
#    of the mean length, and once in one that is twice as long? What is the idf of a word that stands in all of 1 000
#    passages, and what would it be without the 1 in the logarithm: what would a passage gain by such a word?
# 3. A vocabulary of 30 000 words, 256 draws: how many scores does a decoded word need in place of 30 000? By what is $e^s$
#    multiplied for a drawn word of chance 0.05, and of chance 10⁻⁵, and what would happen without it? Which of the machines
#    of problem 3 does a DKPLM need when it answers?
# 4. A search gives the same score to *a* 3, *b* 1 and *e* 0 of problem 4, and does not find *d* 2. What is its NDCG@3 if the
#    pages are sorted in the luckiest order, in the unluckiest, and in the mean over all? What does this say of a table in
#    which one search has many equal scores?

# %% [markdown] manual="reading" points=4
# 1. Filtered: 1 each. Without the filter they share the places 1 to 40: 20.5 each, a perfect model with a bad mean rank. The
#    relation must be 0 (a + r = b and b + r = a give 2r = 0), and so a = b: TransE cannot tell the two apart.
# 2. 1/2.5 = 0.40, 2/3.5 = 0.57, 10/11.5 = 0.87; twice as long: 1/(1 + 1.5 · 1.75) = 0.28. ln(1 + 0.5/1000.5) = 0.0005,
#    nearly nothing; without the 1: ln(0.5/1000.5) = −7.6, so a passage would lose by a word that was asked for.
# 3. 257, about 117 times fewer. 1/(256 · 0.05) = 0.078 and 1/(256 · 10⁻⁵) = 391. Without it frequent words, which are drawn
#    often, would be pushed down more than rare ones. None: injection, projection, decoder and graph are of the training;
#    what is served is a plain BERT.
# 4. Luckiest a, b, e: (3 + 0.631)/4.762 = 0.762; unluckiest e, b, a: (0.631 + 3 · 0.5)/4.762 = 0.448; mean:
#    4/3 · 2.131/4.762 = 0.597. A sort that happens to keep one order or another decides up to 0.31: how ties are broken must
#    be told, or their mean taken.
