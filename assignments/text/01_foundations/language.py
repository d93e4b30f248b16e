# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     lesson: 01/03
#     points: 24
#     by_hand: 4
# ---

# %% [markdown]
# # Assignment 01: four machines of a language model, by hand
#
# You know from lesson 01/01 how word vectors learn from drawn words, from 01/03 how a text falls into pieces and how
# attention mixes them, from 01/06 how a text is written word by word. Here you build the four machines behind these
# lessons, each one step further than there: two of them with their gradients.
#
# | problem | what you write | lesson | points |
# |---|---|---|---|
# | 1 | `attention`, `attention_slopes`: attention in which a query may see nothing, and its gradient | 01/03 | 5 |
# | 2 | `learn_merges`, `spell`: pieces of words from counts, with a rule for ties | 01/03 | 5 |
# | 3 | `sampling_loss`, `sampling_slopes`: negative sampling on whole tables, and its gradient | 01/01 | 5 |
# | 4 | `beam`: the best text under a table of probabilities | 01/06 | 5 |
# | 5 | read what they do, in words (graded by hand) | all | 4 |
#
# **How it is graded.** Write between the lines of each answer cell; the cells marked *test* must stay as they are.
# A test that finds a mistake stops with a sentence that names it. Each test cell counts for itself, so a problem that
# is half right gets half its points. Besides the tests you see, there are hidden ones: their first line says what they
# ask. Problems do not build on one another. A cell may take 60 seconds; the reference takes less than 5 for everything.
#
# Write your own code from the formulas. You may use all of Python and torch, but **no autograd** (`backward`,
# `torch.autograd`, `torch.func`), no `scaled_dot_product_attention`, and nothing of `labkit` beyond what the cells import.

# %% locked="setup"
import math
import warnings
from collections import Counter

import torch
from torch.nn import functional as F

import labkit

lab = labkit.setup()
warnings.simplefilter("ignore")  # the grader takes anything on standard error for a failure, a warning too
torch.set_num_threads(1)

# %% [markdown]
# ## Problem 1: attention that may see nothing (5 points)
#
# Queries $q$ (…, n, d), keys $k$ (…, m, d) and values $v$ (…, m, c), with the same dimensions in front; a mask `seen`, of
# booleans, True where a query may look. The mask has the shape (n, m), or one that broadcasts to (…, n, m).
#
# $$S = \frac{q k^\top}{\sqrt d} \qquad A_{ij} = \frac{e^{S_{ij}}}{\sum_{l \text{ seen by } i} e^{S_{il}}}
# \;\text{ if } i \text{ sees } j, \text{ else } 0 \qquad O = A v$$
#
# **A query that sees no key gets zeros.** In real batches this happens: a row of nothing but padding. Scores may be as
# large as $10^4$.
#
# `attention_slopes(q, k, v, seen, g)` gets besides the gradient $g$ of a loss with respect to $O$, (…, n, c), and returns that
# with respect to $q$, $k$ and $v$. With $\circ$ for the product number by number:
#
# $$\bar v = A^\top g \qquad \bar A = g v^\top \qquad \bar S = A \circ \Bigl(\bar A - \sum_l A_{\cdot l} \bar A_{\cdot l}\Bigr) \qquad
# \bar q = \frac{\bar S k}{\sqrt d} \qquad \bar k = \frac{\bar S^\top q}{\sqrt d}$$
#
# The sum is over the keys of each query. A query that sees nothing has no part in any gradient.
#
# Both raise `ValueError` where $q$ and $k$ differ in $d$, where $k$ and $v$ differ in $m$, where the mask is not of booleans, and
# where its last two dimensions are not (n, m).


# %% answer="attention"
def attention(q, k, v, seen):
    """Queries (…, n, d), keys (…, m, d), values (…, m, c) and a mask (n, m) -> (…, n, c)."""
    ### BEGIN SOLUTION
    return _weights(q, k, v, seen) @ v


def _weights(q, k, v, seen):
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("the sizes of queries, keys and values do not fit together")
    if seen.dtype != torch.bool or seen.shape[-2:] != (q.shape[-2], k.shape[-2]):
        raise ValueError(f"the mask must be of booleans, {(q.shape[-2], k.shape[-2])} in its last dimensions")
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~seen, -math.inf)
    # A row of -inf alone has a softmax of NaN: there is nothing to weigh.
    return scores.softmax(-1).masked_fill(~seen, 0.0)
    ### END SOLUTION


# %% answer="attention_slopes"
def attention_slopes(q, k, v, seen, g):
    """The gradients with respect to q, k and v, where that with respect to the result is g (…, n, c)."""
    ### BEGIN SOLUTION
    root = math.sqrt(q.shape[-1])
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("the sizes of queries, keys and values do not fit together")
    if seen.dtype != torch.bool or seen.shape[-2:] != (q.shape[-2], k.shape[-2]):
        raise ValueError(f"the mask must be of booleans, {(q.shape[-2], k.shape[-2])} in its last dimensions")
    weights = (q @ k.mT / root).masked_fill(~seen, -math.inf).softmax(-1).masked_fill(~seen, 0.0)
    slope = g @ v.mT
    slope = weights * (slope - (weights * slope).sum(-1, keepdim=True)) / root
    return slope @ k, slope.mT @ q, weights.mT @ g
    ### END SOLUTION


# %% test="attention_visible" points=1
# Test (1 point): two queries and three keys; the first query sees two keys, the second all.
q = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
k = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0]])
v = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
seen = torch.tensor([[True, True, False], [True, True, True]])
found = attention(q, k, v, seen)
assert torch.is_tensor(found), "attention returns no tensor: is the `return` missing?"
assert found.shape == (2, 2), f"the shape should be (2, 2), not {tuple(found.shape)}"
scores = q @ k.mT
assert not torch.allclose(found, scores.masked_fill(~seen, -math.inf).softmax(-1) @ v, atol=1e-4), "divide by the root of d"
assert not torch.allclose(found, (scores / 4).masked_fill(~seen, -math.inf).softmax(-1) @ v, atol=1e-4), (
    "the scores are divided by d: it is the root of d"
)
assert not torch.allclose(found, (scores / 2).softmax(-1) @ v, atol=1e-4), "the mask is not used"
assert not torch.allclose(found, ((scores / 2).softmax(-1) * seen) @ v, atol=1e-4), (
    "the mask comes after the softmax, so that the weights of a query no longer sum to 1"
)
assert torch.allclose(found[0], torch.tensor([0.7311, 0.2689]), atol=1e-4), f"the first query: {found[0].tolist()}"
assert torch.allclose(found[1], torch.tensor([4.2610, 4.3332]), atol=1e-3), f"the second query: {found[1].tolist()}"

# %% test="attention_slopes_visible" points=1
# Test (1 point): the same; the loss is the sum of the result, weighted by g.
g = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
slopes = attention_slopes(q, k, v, seen, g)
assert isinstance(slopes, tuple) and len(slopes) == 3, "three gradients are wanted: those of q, of k and of v"
assert [one.shape for one in slopes] == [q.shape, k.shape, v.shape], "each gradient has the shape of what it is of"
inputs = [one.double().requires_grad_() for one in (q, k, v)]
free = (inputs[0] @ inputs[1].mT / 2).masked_fill(~seen, -math.inf).softmax(-1) @ inputs[2]
wanted = torch.autograd.grad((free * g).sum(), inputs)
assert torch.allclose(slopes[2].double(), wanted[2], atol=1e-4), f"v: {wanted[2].tolist()}, not {slopes[2].tolist()}"
assert not torch.allclose(slopes[0].double(), wanted[0] * 2, atol=1e-4), "q: the root of d is missing"
weights = (q @ k.mT / 2).masked_fill(~seen, -math.inf).softmax(-1)
assert not torch.allclose(slopes[0], weights * (g @ v.mT) @ k / 2, atol=1e-4), (
    "the softmax's own slope: from each query's row the sum of A times its gradient is taken away"
)
for name, one, right in zip("qkv", slopes, wanted, strict=True):
    assert torch.allclose(one.double(), right, atol=1e-4), f"{name}: {right.tolist()}, not {one.tolist()}"

# %% test="attention_blind" points=1
# Hidden test (1 point): queries that see no key: zeros, and no part in any gradient; nothing is NaN.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(1)
q, k, v, g = (torch.randn(3, n, 4, generator=generator, dtype=torch.float64) for n in (5, 6, 6, 5))
seen = torch.rand(3, 5, 6, generator=generator) < 0.5
seen[0, 2], seen[2] = False, False
found = attention(q, k, v, seen)
assert bool(found.isfinite().all()), "NaN or infinity: a softmax over -inf alone has no value; put zeros there"
blind = ~seen.any(-1)
assert not found[blind].any(), f"a query that sees nothing should get zeros, not {found[blind][0].tolist()}"
slopes = attention_slopes(q, k, v, seen, g)
assert all(bool(one.isfinite().all()) for one in slopes), "NaN or infinity in a gradient, where a query sees nothing"
assert not slopes[0][blind].any(), "the gradient of a query that sees nothing should be 0"
for row in range(3):
    keep = ~blind[row]
    inputs = [one.clone().requires_grad_() for one in (q[row][keep], k[row], v[row])]
    right = (inputs[0] @ inputs[1].mT / 2).masked_fill(~seen[row][keep], -math.inf).softmax(-1) @ inputs[2]
    assert not (abs(found[row][keep] - right) > 1e-9).any(), "the other queries: a wrong value"
    wanted = torch.autograd.grad((right * g[row][keep]).sum(), inputs)
    for one, given in zip(wanted[1:], (slopes[1][row], slopes[2][row]), strict=True):
        assert not (abs(one - given) > 1e-9).any(), "blind queries have changed the gradient of keys or values"
### END HIDDEN TESTS

# %% test="attention_shapes" points=1
# Hidden test (1 point): more dimensions in front, one key, c different from d, masks that broadcast, scores of 10 000.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(2)
for front, n, m, d, c, mask in (
    ((), 4, 4, 3, 3, (4, 4)), ((2,), 3, 5, 4, 2, (3, 5)), ((2, 3), 4, 4, 2, 5, (4, 4)), ((2, 3), 2, 6, 4, 1, (2, 1, 2, 6)),
    ((1,), 1, 1, 1, 1, (1, 1)), ((3,), 5, 2, 4, 4, (3, 5, 2)),
):  # fmt: skip
    for size in (1.0, 100.0):
        q, k, v, g = (
            torch.randn(*front, rows, width, generator=generator, dtype=torch.float64) * size**power
            for rows, width, power in ((n, d, 1), (m, d, 1), (m, c, 0), (n, c, 0))
        )
        seen = torch.ones(mask).tril().bool() if n == m else torch.rand(mask, generator=generator) < 0.7
        seen = seen | (torch.arange(m) == 0)
        inputs = [one.clone().requires_grad_() for one in (q, k, v)]
        right = (inputs[0] @ inputs[1].mT / math.sqrt(d)).masked_fill(~seen, -math.inf).softmax(-1) @ inputs[2]
        case = f"queries {tuple(q.shape)}, keys {tuple(k.shape)}, values {tuple(v.shape)}, mask {mask}"
        found = attention(q, k, v, seen)
        assert found.shape == right.shape, f"{case}: the shape should be {tuple(right.shape)}, not {tuple(found.shape)}"
        assert bool(found.isfinite().all()), f"{case}: overflow: let softmax subtract the largest score"
        assert not (abs(found - right) > 1e-6).any(), f"{case}: a wrong value"
        wanted = torch.autograd.grad((right * g).sum(), inputs)
        for name, one, given in zip("qkv", wanted, attention_slopes(q, k, v, seen, g), strict=True):
            assert given.shape == one.shape, f"{case}: the gradient of {name} has another shape"
            assert not (abs(given - one) > 1e-6 * size).any(), f"{case}: the gradient of {name} is wrong"
### END HIDDEN TESTS

# %% test="attention_refuses" points=1
# Hidden test (1 point): sizes and masks that do not fit are a ValueError, in both functions.
### BEGIN HIDDEN TESTS
fits = {"q": torch.ones(2, 3), "k": torch.ones(4, 3), "v": torch.ones(4, 5), "seen": torch.ones(2, 4).bool()}
for name, value, what in [
    ("q", torch.ones(2, 4), "queries and keys of different d"),
    ("v", torch.ones(3, 5), "more keys than values"),
    ("seen", torch.ones(2, 4), "a mask of numbers"),
    ("seen", torch.ones(4, 2).bool(), "a mask (m, n)"),
    ("seen", torch.ones(2, 1).bool(), "a mask for one key"),
]:
    for function, more in ((attention, {}), (attention_slopes, {"g": torch.ones(2, 5)})):
        try:
            function(**(fits | {name: value}), **more)
        except ValueError:
            continue
        raise AssertionError(f"{what} should be a ValueError in {function.__name__}")
assert attention(**fits).shape == (2, 5)
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2: pieces of words, and ties (5 points)
#
# Write `learn_merges(counts, merges, least=1)`. `counts` has words, and how often each occurs: `{"low": 5, "lower": 2}`.
#
# - A word begins as single characters, with ▁ before the first: `low` is ▁ l o w.
# - In each round count all pairs of neighbours: in a word that occurs 5 times a pair counts 5 times, and so it does for every
#   place where it stands in the word. Join the most frequent pair, in all words, from left to right: with (a, a),
#   a a a becomes aa a.
# - **Ties.** Pieces have numbers: first all characters of the words (▁ too) by their code point, `ord`, then the joined
#   pieces in the order in which they arise. A piece that arises again from another pair keeps its number. Of equally
#   frequent pairs take the one whose *first* piece has the smaller number, then the one whose second piece has.
# - Stop after `merges` joins, or where no pair occurs at least `least` times.
#
# It returns the pairs in their order: `[("l", "o"), ("lo", "w"), …]`. (This is the order of the library `tokenizers`. Without a
# rule for ties, two programs learn different pieces from the same text, and a model's numbers mean something else.)
#
# Write `spell(word, merges)` too: the pieces of a word. Begin as above; of the pairs that stand in the word join the one that
# was learnt first, at its leftmost place; go on until no learnt pair is left. A character that was never seen stays a piece.


# %% answer="learn_merges"
def learn_merges(counts, merges, least=1):
    """Words with their counts -> the pairs of pieces to join, in order."""
    ### BEGIN SOLUTION
    spelled = {word: ["▁", *word] for word in counts}
    numbers = {piece: n for n, piece in enumerate(sorted({piece for some in spelled.values() for piece in some}))}
    found = []
    while len(found) < merges:
        pairs = Counter()
        for word, pieces in spelled.items():
            for pair in zip(pieces, pieces[1:], strict=False):
                pairs[pair] += counts[word]
        pairs = {pair: count for pair, count in pairs.items() if count >= max(least, 1)}
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], numbers[pair[0]], numbers[pair[1]]))
        numbers.setdefault("".join(best), len(numbers))
        found.append(best)
        for word, pieces in spelled.items():
            done = []
            for piece in pieces:
                if done and (done[-1], piece) == best:
                    done[-1] += piece
                else:
                    done.append(piece)
            spelled[word] = done
    return found
    ### END SOLUTION


# %% answer="spell"
def spell(word, merges):
    """A word and the learnt pairs -> its pieces."""
    ### BEGIN SOLUTION
    pieces, order = ["▁", *word], {}
    for number, pair in enumerate(merges):
        order.setdefault(tuple(pair), number)
    while True:
        there = [(order[pair], at) for at, pair in enumerate(zip(pieces, pieces[1:], strict=False)) if pair in order]
        if not there:
            return pieces
        _, at = min(there)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    ### END SOLUTION


# %% test="merges_visible" points=1
# Test (1 point): four words, and the first four joins; three of them are chosen among pairs of the same count.
counts = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
found = learn_merges(counts, 4)
assert isinstance(found, list), "learn_merges returns no list: is the `return` missing?"
assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in found), f"pairs of pieces are wanted, not {found}"
assert found[:1] != [("l", "o")], "a pair counts once for each occurrence of its word: (e, s) stands in 6 + 3"
assert found[:1] != [("s", "t")], "(e, s) and (s, t) are equally frequent, and e has the smaller number"
assert found[3:] != [("lo", "w")], "(▁, lo) and (lo, w) are equally frequent: ▁ is a character, and comes before lo"
assert found == [("e", "s"), ("es", "t"), ("l", "o"), ("▁", "lo")], f"the first four joins: {found}"
assert counts == {"low": 5, "lower": 2, "newest": 6, "widest": 3}, "the counts have been changed"

# %% test="spell_visible" points=1
# Test (1 point): words in pieces.
merges = [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w"), ("▁", "low")]
assert spell("low", merges) is not None, "spell returns None: is the `return` missing?"
assert spell("low", merges) == ["▁low"], f"low: {spell('low', merges)}"
assert spell("lowest", merges) == ["▁low", "est"], f"lowest: {spell('lowest', merges)}"
assert spell("x", merges) == ["▁", "x"], f"x: {spell('x', merges)}"
for merges, wanted in (
    ([("b", "e"), ("e", "s"), ("es", "t")], ["▁", "be", "s", "t"]),
    ([("e", "s"), ("es", "t"), ("b", "e")], ["▁", "b", "est"]),
):
    assert spell("best", merges) == wanted, f"best, where {merges[0]} was learnt first: {spell('best', merges)}"

# %% test="merges_ties" points=1
# Hidden test (1 point): ties between characters and joined pieces, on words of few letters.
### BEGIN HIDDEN TESTS
import random

from labkit.foundations.transformer.tokenization import BPE

assert [1] != [2], "the comparison itself has been changed"
draw = random.Random(3)
for letters, count in (("ab", 6), ("abc", 12), ("zyx", 9), ("aéz", 10), ("abcdefgh", 40)):
    for _ in range(8):
        words = ["".join(draw.choices(letters, k=draw.randint(1, 7))) for _ in range(count)]
        counts = {word: draw.randint(1, 3) for word in words}
        learnt = BPE.learn([" ".join([word] * many) for word, many in counts.items()], 40).merges
        found = [tuple(pair) for pair in learn_merges(dict(counts), 40)]
        place = next((n for n, (a, b) in enumerate(zip(found, learnt, strict=False)) if a != b), min(len(found), len(learnt)))
        assert found == learnt, (
            f"{counts}: join {place + 1} should be {learnt[place : place + 1]}, not {found[place : place + 1]}"
        )
### END HIDDEN TESTS

# %% test="merges_stop" points=1
# Hidden test (1 point): pairs that overlap, pairs below `least`, words of one letter, nothing to join, no join at all.
### BEGIN HIDDEN TESTS
assert [1] != [2], "the comparison itself has been changed"
assert learn_merges({"aaaa": 1}, 1) == [("a", "a")], "aaaa: (a, a) stands there three times"
assert learn_merges({"aaaa": 1}, 9) == [("a", "a"), ("▁", "aa"), ("▁aa", "aa")], "aaaa: ▁ aa aa, ▁aa aa, ▁aaaa"
assert learn_merges({"aaa": 2, "b": 3}, 2) == [("a", "a"), ("▁", "b")], "two times aaa have four (a, a)"
assert learn_merges({"aaa": 2, "b": 3}, 9, least=3) == [("a", "a"), ("▁", "b")], "no pair is left that occurs 3 times"
assert learn_merges({"ab": 2}, 9, least=3) == [], "no pair occurs 3 times"
assert learn_merges({"ab": 2}, 9, least=2) == [("a", "b"), ("▁", "ab")], "each pair occurs just 2 times"
assert learn_merges({"ab": 1}, 0) == [], "no join was asked for"
assert learn_merges({}, 5) == [], "without words there is nothing to join"
assert learn_merges({"a": 0, "b": 1}, 5) == [("▁", "b")], "a word that occurs 0 times has no pairs"
### END HIDDEN TESTS

# %% test="spell_order" points=1
# Hidden test (1 point): the order of learning decides, not the word's; unknown characters; as the course's own BPE.
### BEGIN HIDDEN TESTS
import random

from labkit.foundations.transformer.tokenization import BPE

assert [1] != [2], "the comparison itself has been changed"
assert spell("abc", [("b", "c"), ("a", "b")]) == ["▁", "a", "bc"], "(b, c) was learnt before (a, b)"
assert spell("aaaa", [("a", "a")]) == ["▁", "aa", "aa"], "aaaa: the leftmost place first"
assert spell("aaa", [("a", "a"), ("▁", "aa")]) == ["▁aa", "a"], "aaa"
assert spell("", [("a", "a")]) == ["▁"], "an empty word is ▁"
assert spell("aba", []) == ["▁", "a", "b", "a"], "without joins there are only characters"
draw = random.Random(4)
for letters in ("ab", "abc", "aeiou"):
    text = " ".join("".join(draw.choices(letters, k=draw.randint(1, 8))) for _ in range(60))
    own = BPE.learn([text], 30)
    for _ in range(40):
        word = "".join(draw.choices(letters, k=draw.randint(1, 12)))
        given = list(own.merges)
        found = spell(word, given)
        assert given == own.merges, "the list of joins has been changed"
        assert list(found) == own.spell("▁" + word), f"{word}: {own.spell('▁' + word)}, not {found}"
assert spell("aße", [("a", "e"), ("▁", "a")]) == ["▁a", "ß", "e"], "an unknown character stays a piece"
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3: negative sampling on whole tables (5 points)
#
# Two tables of vectors, $U$ for words that are read (`inputs`) and $W$ for words that are said (`outputs`), both (words, d).
# There are $n$ pairs: pair $i$ reads word `center[i]` and should say word `right[i]`; `drawn[i]` are $k$ drawn words. With
# $s_i = U_{\text{center}_i} \cdot W_{\text{right}_i}$ and $t_{ij} = U_{\text{center}_i} \cdot W_{\text{drawn}_{ij}}$:
#
# $$L = \frac1n \sum_{i=1}^n \Bigl( -\log \sigma(s_i) - \sum_{j \,:\, \text{drawn}_{ij} \ne \text{right}_i} \log \sigma(-t_{ij}) \Bigr)$$
#
# A drawn word that is the right word itself is left out: it costs nothing, and moves nothing. Scores may be as far from 0
# as 200 in float32: $-\log \sigma(-200)$ is 200, not infinite.
#
# `sampling_loss(inputs, outputs, center, right, drawn)` returns $L$, a tensor of one number, and `sampling_slopes(…)`, with the
# same arguments, the gradients of $L$ with respect to both tables, each (words, d). With $\sigma$ for the logistic function,
#
# $$\frac{\partial L}{\partial s_i} = -\frac{\sigma(-s_i)}{n} \qquad \frac{\partial L}{\partial t_{ij}} = \frac{\sigma(t_{ij})}{n}
# \text{ (or 0 where left out)},$$
#
# and each score's slope goes to the two vectors that made it. A word may stand in many places, as read, right and drawn:
# then its slopes add up. (In torch `table[rows] += slopes` takes *one* of the slopes of a row that stands twice.)
#
# `ValueError` where there is no pair, where `center`, `right` and `drawn` are not of $n$ rows each, and where the number of a
# word is below 0 or has no row.


# %% answer="sampling_loss"
def sampling_loss(inputs, outputs, center, right, drawn):
    """Tables (words, d), numbers of words (n,), (n,) and (n, k) -> the mean loss of a pair, one number."""
    ### BEGIN SOLUTION
    _pairs_fit(inputs, outputs, center, right, drawn)
    read = inputs[center]
    said = (read * outputs[right]).sum(-1)
    noise = torch.einsum("nd,nkd->nk", read, outputs[drawn])
    counted = (drawn != right[:, None]).to(noise.dtype)
    return (F.softplus(-said) + (F.softplus(noise) * counted).sum(1)).mean()


def _pairs_fit(inputs, outputs, center, right, drawn):
    if not len(center) or not len(center) == len(right) == len(drawn):
        raise ValueError(f"{len(center)} words read, {len(right)} right, {len(drawn)} rows of drawn words")
    for numbers, table in ((center, inputs), (right, outputs), (drawn, outputs)):
        if ((numbers < 0) | (numbers >= len(table))).any():
            raise ValueError(f"a word's number has no row among {len(table)}")
    ### END SOLUTION


# %% answer="sampling_slopes"
def sampling_slopes(inputs, outputs, center, right, drawn):
    """The gradients of `sampling_loss` with respect to both tables: two tensors (words, d)."""
    ### BEGIN SOLUTION
    if not len(center) or not len(center) == len(right) == len(drawn):
        raise ValueError(f"{len(center)} words read, {len(right)} right, {len(drawn)} rows of drawn words")
    for numbers, table in ((center, inputs), (right, outputs), (drawn, outputs)):
        if ((numbers < 0) | (numbers >= len(table))).any():
            raise ValueError(f"a word's number has no row among {len(table)}")
    words = torch.cat([right[:, None], drawn], 1)  # (n, 1 + k)
    read, said = inputs[center], outputs[words]
    scores = torch.einsum("nd,nkd->nk", read, said)
    slopes = torch.sigmoid(scores) * (words != right[:, None])
    slopes[:, 0] = -torch.sigmoid(-scores[:, 0])
    slopes = slopes / len(center)
    of_inputs = torch.zeros_like(inputs).index_add(0, center, torch.einsum("nk,nkd->nd", slopes, said))
    moved = slopes[..., None] * read[:, None]
    of_outputs = torch.zeros_like(outputs).index_add(0, words.flatten(), moved.flatten(0, 1))
    return of_inputs, of_outputs
    ### END SOLUTION


# %% locked="by_autograd"
def by_autograd(inputs, outputs, center, right, drawn):
    """The loss in float64, and the gradients that autograd finds."""
    tables = [one.detach().double().requires_grad_() for one in (inputs, outputs)]
    read = tables[0][center][:, None]
    said, noise = (read * tables[1][right][:, None]).sum(-1), (read * tables[1][drawn]).sum(-1)
    noise = F.logsigmoid(-noise).masked_fill(drawn == right[:, None], 0.0)
    loss = -(F.logsigmoid(said).sum() + noise.sum()) / len(center)
    return loss.detach(), torch.autograd.grad(loss, tables)


# %% test="sampling_loss_visible" points=1
# Test (1 point): one pair with two drawn words, then a drawn word that is the right one.
inputs = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
outputs = torch.tensor([[0.5, 0.5], [1.0, -1.0], [0.0, 1.0]])
one = torch.tensor([0]), torch.tensor([1]), torch.tensor([[0, 2]])
loss = sampling_loss(inputs, outputs, *one)
assert loss is not None, "sampling_loss returns None: is the `return` missing?"
assert torch.is_tensor(loss) and loss.ndim == 0, "a tensor of one number is wanted"
parts = [-math.log(1 / (1 + math.exp(-s))) for s in (1.0, -0.5, 0.0)]
assert abs(loss.item() - parts[0]) > 1e-3, "the drawn words cost nothing here: add theirs"
assert abs(loss.item() - (parts[0] + sum(parts[1:]) / 2)) > 1e-3, "the drawn words' costs are summed, not averaged"
assert abs(loss.item() + sum(parts)) > 1e-3, "the sign is wrong: a loss is above 0"
assert abs(loss.item() - sum(parts)) < 1e-3, f"{sum(parts):.4f} is wanted, not {loss.item():.4f}"
same = sampling_loss(inputs, outputs, one[0], one[1], torch.tensor([[0, 1]]))
assert abs(same.item() - (parts[0] + parts[1])) < 1e-3, "the drawn word 1 is the right word itself: leave it out"
two = [torch.cat([part, part]) for part in one]
assert abs(sampling_loss(inputs, outputs, *two).item() - sum(parts)) < 1e-3, "the mean over pairs: the same pair twice"

# %% test="sampling_slopes_visible" points=1
# Test (1 point): two pairs in which no word stands twice.
five = torch.Generator().manual_seed(5)
inputs, outputs = (torch.randn(8, 3, generator=five) for _ in range(2))
pairs = torch.tensor([0, 3]), torch.tensor([1, 4]), torch.tensor([[2, 5], [6, 7]])
slopes = sampling_slopes(inputs, outputs, *pairs)
assert isinstance(slopes, tuple) and len(slopes) == 2, "two gradients are wanted, one of each table"
assert [one.shape for one in slopes] == [inputs.shape, outputs.shape], "each gradient has the shape of its table"
_, wanted = by_autograd(inputs, outputs, *pairs)
assert not any(torch.allclose(one.double(), 2 * right, atol=1e-5) for one, right in zip(slopes, wanted, strict=True)), (
    "the loss is a mean over pairs: divide the slopes by n"
)
assert not torch.allclose(slopes[1].double(), -wanted[1], atol=1e-5), "the sign is wrong: these go downhill"
for name, one, right in zip(("inputs", "outputs"), slopes, wanted, strict=True):
    rows = (~torch.isclose(one.double(), right, atol=1e-5)).any(1).nonzero().flatten().tolist()
    assert not rows, f"the gradient of `{name}` is wrong in rows {rows}"

# %% test="sampling_repeats" points=1
# Hidden test (1 point): words that stand in many places, the right word among the drawn, one drawn word, none.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(6)
for words, n, k, d in ((3, 20, 4, 5), (5, 7, 1, 2), (4, 6, 0, 3), (2, 30, 3, 1), (9, 1, 12, 4)):
    inputs, outputs = (torch.randn(words, d, generator=generator, dtype=torch.float64) for _ in range(2))
    center, right = (torch.randint(words, (n,), generator=generator) for _ in range(2))
    drawn = torch.randint(words, (n, k), generator=generator)
    before = [one.tolist() for one in (inputs, outputs)]
    loss, wanted = by_autograd(inputs, outputs, center, right, drawn)
    case = f"{words} words, {n} pairs, {k} drawn"
    assert abs(sampling_loss(inputs, outputs, center, right, drawn) - loss).item() < 1e-9, f"{case}: a wrong loss"
    for name, one, given in zip(("inputs", "outputs"), wanted, sampling_slopes(inputs, outputs, center, right, drawn), strict=True):
        assert not (abs(one - given) > 1e-9).any(), (
            f"{case}: the gradient of `{name}` is wrong: do the slopes of a word that stands twice add up?"
        )
    assert [one.tolist() for one in (inputs, outputs)] == before, "a table has been changed"
### END HIDDEN TESTS

# %% test="sampling_large" points=1
# Hidden test (1 point): scores as far from 0 as 200, in float32.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
inputs, outputs = torch.tensor([[1.0], [-1.0]]), torch.tensor([[200.0], [-200.0], [0.5]])
for center, right, drawn in (([0], [0], [[1]]), ([0], [1], [[0]]), ([1], [0], [[1]]), ([1], [1], [[0]]), ([0], [2], [[0]])):
    given = torch.tensor(center), torch.tensor(right), torch.tensor(drawn)
    loss, wanted = by_autograd(inputs, outputs, *given)
    found = sampling_loss(inputs, outputs, *given)
    assert bool(found.isfinite()), "the loss is not finite: log of a sigmoid that is 0? F.softplus stays in range"
    assert abs(found.item() - loss.item()) < 1e-3, f"{loss.item():.3f} is wanted, not {found.item():.3f}"
    for one, slope in zip(wanted, sampling_slopes(inputs, outputs, *given), strict=True):
        assert bool(slope.isfinite().all()), "a gradient is not finite"
        assert not (abs(slope.double() - one) > 1e-3).any(), "a gradient is wrong where scores are far from 0"
### END HIDDEN TESTS

# %% test="sampling_refuses" points=1
# Hidden test (1 point): pairs that do not fit are a ValueError, in both functions.
### BEGIN HIDDEN TESTS
tables = torch.ones(3, 2), torch.ones(4, 2)
number = torch.tensor
for given, what in [
    ((number([0, 1]), number([0]), number([[1]])), "two words read, one right"),
    ((number([0]), number([0]), number([[1], [2]])), "two rows of drawn words for one pair"),
    ((number([3]), number([0]), number([[1]])), "a word read that has no row"),
    ((number([0]), number([4]), number([[1]])), "a right word that has no row"),
    ((number([0]), number([0]), number([[-1]])), "a drawn word below 0"),
    ((number([], dtype=torch.long), number([], dtype=torch.long), torch.zeros(0, 2, dtype=torch.long)), "no pair"),
]:
    for function in (sampling_loss, sampling_slopes):
        try:
            function(*tables, *given)
        except ValueError:
            continue
        raise AssertionError(f"{what} should be a ValueError in {function.__name__}")
assert sampling_loss(*tables, number([2]), number([3]), number([[0]])).item() > 0
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4: the best text (5 points)
#
# `table[a][b]` is the probability that token $b$ comes after token $a$: lists of lists, every row of the table sums to 1.
# Token 0 begins a text (it stands before the first token and is not written) and ends it (it is written). A text is *over*
# when it ends in 0, or has `most` tokens. Its score is
#
# $$\frac{\log p(\text{text})}{\text{length}^{\,\alpha}}, \qquad \log p = \sum \log \text{table}[\text{token before}][\text{token}],$$
#
# where the length counts all its tokens, the 0 at its end included.
#
# Write `beam(table, beams, most, alpha)`, which returns the best text that it finds, a list of tokens, and its score. Start with
# the empty beginning. Then, up to `most` times:
#
# - Continue every beginning with every token whose probability is above 0.
# - Every text that is over goes to a pool, whatever its rank. It takes no place in the beam.
# - Of the others the `beams` with the highest $\log p$ (without the penalty: they have one length) go on.
#
# At the end the text with the highest score in the pool is returned; of equal ones the smaller list. `ValueError` for `beams` or
# `most` below 1, for a table that is not square, and where no text is possible at all.


# %% answer="beam"
def beam(table, beams, most, alpha=1.0):
    """A table of probabilities (tokens, tokens) -> the best text that a beam finds, and its score."""
    ### BEGIN SOLUTION
    if beams < 1 or most < 1 or not len(table) or any(len(row) != len(table) for row in table):
        raise ValueError("beams and most must be 1 at least, and the table square")
    going, pool = [(0.0, [])], []
    for length in range(1, most + 1):
        longer = [
            (logp + math.log(share), [*text, token])
            for logp, text in going
            for token, share in enumerate(table[text[-1] if text else 0])
            if share > 0
        ]
        over = [one for one in longer if one[1][-1] == 0 or length == most]
        pool += [(logp / length**alpha, text) for logp, text in over]
        going = [one for one in longer if one[1][-1] != 0 and length < most]
        going = sorted(going, key=lambda one: (-one[0], one[1]))[:beams]
    if not pool:
        raise ValueError("no text is possible: the table's first row is 0")
    score, text = min(pool, key=lambda one: (-one[0], one[1]))
    return text, score
    ### END SOLUTION


# %% test="beam_visible" points=1
# Test (1 point): the likeliest first token leads to a worse text.
table = [
    [0.0, 0.55, 0.45, 0.0],
    [0.35, 0.1, 0.3, 0.25],
    [0.9, 0.05, 0.05, 0.0],
    [1.0, 0.0, 0.0, 0.0],
]
answer = beam(table, 2, 4, 0.0)
assert isinstance(answer, tuple) and len(answer) == 2, "a text and its score are wanted"
text, score = answer
assert isinstance(text, list), f"the text is a list of tokens, not {text!r}"
assert text[:1] != [0], "token 0 before the first is not written"
assert text != [2], "the 0 at the end is written too, and has its probability"
assert text[:1] != [1], f"this goes on with the likeliest token: {text}; the beam keeps two beginnings"
assert text == [2, 0], f"[2, 0] is wanted, not {text}"
assert abs(score - math.log(0.45 * 0.9)) < 1e-9, f"its score is log 0.405 = {math.log(0.405):.4f}, not {score}"
text, score = beam(table, 1, 4, 0.0)
assert text == [1, 0], f"with one beam the beginning [1] alone goes on: [1, 0], not {text}"
assert abs(score - math.log(0.55 * 0.35)) < 1e-9

# %% test="beam_penalty_visible" points=1
# Test (1 point): the penalty: with alpha = 1 a longer text wins.
table = [[0.0, 1.0, 0.0], [0.3, 0.0, 0.7], [0.1, 0.9, 0.0]]
text, score = beam(table, 2, 6, 0.0)
assert text == [1, 0], f"without a penalty [1, 0] is the best, not {text}"
text, score = beam(table, 2, 6, 1.0)
assert text != [1, 0], "alpha is not used: divide log p by length ** alpha"
wanted = [1, 2, 1, 2, 1, 2]
assert text == wanted, f"{wanted} is wanted, not {text}: a text of `most` tokens is over, also without a 0"
logp = 2 * math.log(0.9) + 3 * math.log(0.7)
assert abs(score - logp / 5) > 1e-9, "the length counts all tokens of the text"
assert abs(score - logp / 6) < 1e-9, f"log p / 6 = {logp / 6:.4f}, not {score}"

# %% test="beam_brute" points=1
# Hidden test (1 point): a beam wide enough for everything finds the best of all texts.
### BEGIN HIDDEN TESTS
import itertools
import random


def best_of_all(table, most, alpha):
    """The best of all texts, one by one: its text and its score."""
    found = []
    for length in range(1, most + 1):
        for text in itertools.product(range(len(table)), repeat=length):
            if 0 in text[:-1] or (text[-1] != 0 and length < most):
                continue
            shares = [table[a][b] for a, b in zip((0, *text), text, strict=False)]
            if all(shares):
                found.append((sum(map(math.log, shares)) / length**alpha, list(text)))
    return max(found, key=lambda one: one[0])


assert [1] != [2], "the comparison itself has been changed"
draw = random.Random(7)
for tokens, most in ((2, 1), (2, 4), (3, 4), (4, 5), (5, 4)):
    for alpha in (0.0, 0.6, 1.0, 2.0):
        table = [[draw.random() * (draw.random() < 0.8) for _ in range(tokens)] for _ in range(tokens)]
        table = [[share / (sum(row) or 1.0) for share in row] for row in table]
        table[0] = [1 / tokens] * tokens if not any(table[0]) else table[0]
        table = [row if any(row) else [1.0] + [0.0] * (tokens - 1) for row in table]
        score, text = best_of_all(table, most, alpha)
        found, value = beam([list(row) for row in table], tokens**most, most, alpha)
        case = f"{tokens} tokens, at most {most}, alpha = {alpha}"
        assert abs(value - score) < 1e-9, f"{case}: the best of all texts has the score {score:.4f}, yours {value:.4f}"
        assert found == text or abs(best_of_all(table, most, alpha)[0] - value) < 1e-12, f"{case}: {text}, not {found}"
### END HIDDEN TESTS

# %% test="beam_narrow" points=1
# Hidden test (1 point): narrow beams: what goes on is chosen by log p, and what is over takes no place.
### BEGIN HIDDEN TESTS
import random

assert [1] != [2], "the comparison itself has been changed"


def by_rules(table, beams, most, alpha):
    """The rules once more, with a table of all beginnings."""
    going, pool = {(): 0.0}, {}
    for _ in range(most):
        longer = {}
        for text, logp in going.items():
            for token, share in enumerate(table[text[-1] if text else 0]):
                if share > 0:
                    longer[(*text, token)] = logp + math.log(share)
        ended = {text for text in longer if text[-1] == 0 or len(text) == most}
        pool |= {text: longer[text] / len(text) ** alpha for text in ended}
        alive = sorted((text for text in longer if text not in ended), key=lambda text: -longer[text])
        going = {text: longer[text] for text in alive[:beams]}
    return max(pool, key=pool.get), max(pool.values())


draw = random.Random(8)
for tokens, beams, most in ((3, 1, 5), (4, 2, 6), (6, 2, 4), (6, 3, 7), (8, 4, 5), (5, 1, 1)):
    for alpha in (0.0, 0.7, 1.0):
        for _ in range(6):
            table = [[draw.random() ** 2 for _ in range(tokens)] for _ in range(tokens)]
            table = [[share / sum(row) for share in row] for row in table]
            text, score = by_rules(table, beams, most, alpha)
            found, value = beam([list(row) for row in table], beams, most, alpha)
            case = f"{tokens} tokens, {beams} beams, at most {most}, alpha = {alpha}"
            assert abs(value - score) < 1e-9, f"{case}: score {score:.4f} is wanted, not {value:.4f}"
            assert tuple(found) == text, f"{case}: {list(text)} is wanted, not {found}"
### END HIDDEN TESTS

# %% test="beam_refuses" points=1
# Hidden test (1 point): numbers below 1, a table that is not square, no possible text; a beam wider than all texts.
### BEGIN HIDDEN TESTS
good = [[0.5, 0.5], [1.0, 0.0]]
for given, what in [
    ((good, 0, 3, 1.0), "0 beams"),
    ((good, 2, 0, 1.0), "0 tokens"),
    (([[0.5, 0.5]], 2, 3, 1.0), "a table of one row and two columns"),
    (([[0.5, 0.5], [1.0]], 2, 3, 1.0), "a row that is too short"),
    (([[0.0, 0.0], [1.0, 0.0]], 2, 3, 1.0), "a table by which no text can begin"),
    (([], 2, 3, 1.0), "an empty table"),
]:
    try:
        beam(*given)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
text, score = beam(good, 1000, 3, 1.0)
assert text == [1, 0] and abs(score - math.log(0.5) / 2) < 1e-9, "1000 beams are as good as all"
text, score = beam([[0.0, 1.0], [0.0, 1.0]], 2, 3, 0.0)
assert text == [1, 1, 1] and score == 0.0, "a text that never ends is over at `most` tokens"
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5: what they do (4 points, graded by hand)
#
# Answer in one to three sentences each, with numbers.
#
# 1. Queries and keys have independent numbers with mean 0 and variance 1. What is the variance of one score before it is divided
#    by $\sqrt d$, for $d = 64$, and after? What would the softmax of 10 such scores look like without the division, and what would
#    its gradient?
# 2. In problem 2, which pairs can be in a tie, and why does it matter that every program breaks it in the same way? Name a rule
#    that would look as natural, and a pair of `{"low": 5, "lower": 2, "newest": 6, "widest": 3}` for which it decides otherwise.
# 3. A vocabulary of 30 000 words, $d = 100$, $k = 5$. How many rows of $W$ does one pair change with negative sampling, and how
#    many with the full softmax? What does the model no longer know for that?
# 4. Use your own `beam` on the table of the second visible test of problem 4, with `most` = 6 and `alpha` = 0, 0.5 and 1. What
#    wins, and why? Why is log p alone unfair to long texts, and what goes wrong for a large alpha?

# %% [markdown] manual="reading" points=4
# 1. 64, and 1 after division. With a deviation of 8 the largest of ten scores usually leads by several units, so one weight is
#    nearly 1 and the others nearly 0; the slope A (1 - A) is then nearly 0 everywhere, and nothing is learned.
# 2. Pairs of the same count, mostly rare ones, of which there are many. A model's embeddings belong to the numbers of the pieces:
#    with another order the same text has other numbers. The pair that was met first, say: then (s, t) and (e, s), both 9 times,
#    would be decided by the text's order, or the last in the alphabet: (s, t) before (e, s).
# 3. 6 of 30 000, against all 30 000. The scores are no longer probabilities: they tell the right word from noise, and do not
#    sum to 1 over the vocabulary.
# 4. 0: [1, 0], log p -1.20 against -1.28; 0.5 and 1: [1, 2, 1, 2, 1, 2], -0.52 against -0.85, -0.21 against -0.60. Each further token multiplies by a number below 1, so log p alone prefers short texts.
#    For a large alpha the longest text wins whatever it says: the beam never ends before `most`.
