# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     lesson: 03/02
#     points: 28
#     by_hand: 4
# ---

# %% [markdown]
# # Assignment 03: few examples, by hand
#
# You know from lesson 03/02 how PET turns classification into a cloze, why one word a class is a gamble, and how an
# ensemble teaches a classifier; from 03/04 how contrast does without label words; from 03/06 how a small change of a
# large layer is learned and merged. Here you build seven parts of these machines, each a little different from the
# lessons', and read what they measure. Problems 1 to 6 need lesson 03/02 alone.
#
# | problem | what you write | points |
# |---|---|---|
# | 1 | `fit_row`: a row into a pattern, within a budget of tokens | 3 |
# | 2 | `label_scores`: from the blank's logits to classes with different numbers of words | 4 |
# | 3 | `fuzzy_loss`, `fuzzy_gradient`: training on several sets of words, and its slope by formula | 4 |
# | 4 | `pseudo_labels`: which answers of an ensemble to believe | 3 |
# | 5 | `word_pairs`: measure what the choice of words does | 2 |
# | 6 | read your table, in words (graded by hand) | 4 |
# | 7 | `pair_loss`, `pair_slope`: CP-Tuning's contrast with stored examples, and its slope | 4 |
# | 8 | `merged`, `one_adapter`: several LoRA adapters in one layer, or in one adapter | 4 |
#
# **How it is graded.** Write between the lines of each answer cell; the cells marked *test* must stay as they are.
# A test that finds a mistake stops with a sentence that names it. Each test cell counts for itself, so a problem that
# is half right gets half its points. Besides the tests you see, there are hidden ones: their first line says what they
# ask. Problems do not build on one another. A cell may take 60 seconds; the reference takes less than 15 for
# everything.
#
# Write your own code from the formulas. You may use all of Python and torch, but nothing of `labkit` beyond what the
# cells import.

# %% locked="setup"
import copy
import math
import warnings

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

import labkit

lab = labkit.setup()
warnings.simplefilter("ignore")  # the grader takes anything on standard error for a failure, a warning too

# %% [markdown]
# ## Problem 1: a row into a pattern (3 points)
#
# A pattern is a list of tokens. `"{mask}"` is the blank, any other token in braces is a field of the row, and all the
# rest are the pattern's own words:
#
# `["{premise}", "?", "{mask}", ",", "{hypothesis}"]`
#
# Write `fit_row(pattern, row, budget)`. `row` maps each field to its list of tokens. It returns `(tokens, blank)`: at
# most `budget` tokens, and the position among them of the blank, which is written `"[MASK]"`.
#
# - The pattern's own words and the blank are never cut.
# - As long as there are too many tokens, the text that is **longest at that moment** loses **its first** token: reviews
#   pass their verdict at the end. Of equally long texts, the one that stands later in the pattern loses first.
# - What is in a row is text: a token `"[MASK]"` in it is not your blank.
# - `ValueError` if the pattern does not have exactly one blank, if the row lacks a field, or if the pattern's own
#   tokens alone are more than `budget`. `row` stays as it was.


# %% answer="fit_row"
def fit_row(pattern, row, budget):
    """Fill the row into the pattern: (tokens, position of the blank)."""
    ### BEGIN SOLUTION
    names = [part[1:-1] for part in pattern if part.startswith("{") and part != "{mask}"]
    if pattern.count("{mask}") != 1:
        raise ValueError("a pattern has exactly one {mask}")
    if any(name not in row for name in names):
        raise ValueError(f"the row lacks one of the fields {names}")
    own = len(pattern) - len(names)
    if own > budget:
        raise ValueError(f"the pattern alone takes {own} of {budget} tokens")
    sizes = [len(row[name]) for name in names]
    while own + sum(sizes) > budget:
        longest = max(range(len(sizes)), key=lambda number: (sizes[number], number))
        sizes[longest] -= 1
    kept = {name: row[name][len(row[name]) - size :] for name, size in zip(names, sizes, strict=True)}
    tokens, blank = [], None
    for part in pattern:
        if part == "{mask}":
            blank = len(tokens)
            tokens.append("[MASK]")
        elif part.startswith("{"):
            tokens += kept[part[1:-1]]
        else:
            tokens.append(part)
    return tokens, blank
    ### END SOLUTION


# %% test="fit_row_visible" points=1
# Test (1 point): nothing to cut; one text too long; the longer of two loses first.
pattern = ["{premise}", "?", "{mask}", ",", "{hypothesis}"]
row = {"premise": ["the", "cat", "sat", "down"], "hypothesis": ["a", "cat"]}
answer = fit_row(pattern, row, 20)
assert answer is not None, "fit_row returns None: is the `return` missing?"
assert isinstance(answer, tuple) and len(answer) == 2, "return two things: the tokens, and the position of the blank"
assert "{mask}" not in answer[0], "the blank should be written [MASK] in the result"
assert answer[0] == ["the", "cat", "sat", "down", "?", "[MASK]", ",", "a", "cat"], f"nothing to cut here: {answer[0]}"
assert answer[1] == 5, f"the blank stands at position 5 (counted from 0), not {answer[1]}"
tokens, blank = fit_row(pattern, row, 8)
assert len(tokens) <= 8, f"{len(tokens)} tokens for a budget of 8: the pattern's own tokens count too"
assert tokens[:3] != ["the", "cat", "sat"], "you cut the end of the text: here a text loses its first tokens"
assert tokens[:3] == ["cat", "sat", "down"], f"one token too many: the premise, being longer, loses 'the'; got {tokens}"
assert blank == 4 and tokens[blank] == "[MASK]", "the blank moves when a text before it is cut: find it after cutting"

# %% test="fit_row_cuts" points=1
# Hidden test (1 point): texts of equal length, texts cut to nothing or empty, "[MASK]" inside a text, row unchanged.
### BEGIN HIDDEN TESTS
pattern = ["{premise}", "?", "{mask}", ",", "{hypothesis}"]
row = {"premise": ["p1", "p2", "p3"], "hypothesis": ["h1", "h2", "h3"]}
before = copy.deepcopy(row)
tokens, blank = fit_row(pattern, row, 8)
assert tokens == ["p1", "p2", "p3", "?", "[MASK]", ",", "h2", "h3"], "of equals, the later text loses first"
tokens, blank = fit_row(pattern, row, 7)
assert tokens == ["p2", "p3", "?", "[MASK]", ",", "h2", "h3"], "after one cut the other text is the longer one"
assert row == before, "the row that was given has been changed: cut a copy"
tokens, blank = fit_row(pattern, row, 3)
assert tokens == ["?", "[MASK]", ","] and blank == 1, "a text of no tokens: x[-0:] is all of x, not nothing"
tokens, blank = fit_row(pattern, {"premise": [], "hypothesis": ["h1"]}, 10)
assert tokens == ["?", "[MASK]", ",", "h1"] and blank == 1, "an empty text is a text"
tokens, blank = fit_row(["{a}", "it", "was", "{mask}"], {"a": ["so", "[MASK]", "!"]}, 10)
assert blank == 5, "the blank is the pattern's, not a [MASK] that the text brought along"
tokens, blank = fit_row(["{mask}", ":", "{a}"], {"a": list("abcdef")}, 5)
assert tokens == ["[MASK]", ":", "d", "e", "f"] and blank == 0, "a blank before the text stays where it is"
### END HIDDEN TESTS

# %% test="fit_row_refuses" points=1
# Hidden test (1 point): no blank, two blanks, a field that the row lacks, a budget below the pattern's own tokens.
### BEGIN HIDDEN TESTS
for pattern, row, budget, what in [
    (["{a}", "is", "it"], {"a": ["x"]}, 9, "a pattern without a blank"),
    (["{a}", "{mask}", "{mask}"], {"a": ["x"]}, 9, "a pattern with two blanks"),
    (["{a}", "{mask}"], {"b": ["x"]}, 9, "a row without the field"),
    (["{a}", "it", "was", "{mask}", "."], {"a": ["x"]}, 3, "a budget below the pattern's own tokens"),
]:
    try:
        fit_row(pattern, row, budget)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
assert fit_row(["{a}", "it", "was", "{mask}", "."], {"a": ["x"]}, 4)[0] == ["it", "was", "[MASK]", "."]
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2: from the blank to the classes (4 points)
#
# Let $p(w)$ be the softmax of the blank's logits over the **whole vocabulary**, and $V_c$ the words of class $c$; classes
# may have different numbers of words. Three ways to score a class:
#
# $$s_c^{\text{sum}} = \sum_{w \in V_c} p(w) \qquad s_c^{\text{mean}} = \frac{1}{|V_c|} \sum_{w \in V_c} p(w) \qquad
# s_c^{\text{max}} = \max_{w \in V_c} p(w)$$
#
# and then $P(c) = s_c / \sum_{c'} s_{c'}$. The **mass** $M = \sum_c \sum_{w \in V_c} p(w)$ says how much the model thinks of
# your label words at all.
#
# Write `label_scores(logits, words, how)`: `logits` is a tensor (batch, vocabulary), `words` a list with a list of word
# ids for each class, `how` is `"sum"`, `"mean"` or `"max"`. It returns `(log P, log M)`: tensors (batch, classes) and
# (batch,). Logits can be as large as ±10 000, so stay in logarithms: $\log \sum_i e^{x_i} = m + \log \sum_i e^{x_i - m}$
# with $m = \max_i x_i$, which is `torch.logsumexp`.
#
# `ValueError` for another `how`, for a class without words, and for a word that stands twice.


# %% answer="label_scores"
def label_scores(logits, words, how="sum"):
    """Log-probabilities of the classes (batch, classes), and the log of the label words' mass (batch,)."""
    ### BEGIN SOLUTION
    if how not in ("sum", "mean", "max"):
        raise ValueError(f"how is sum, mean or max, not {how!r}")
    every = [word for some in words for word in some]
    if not words or not all(len(some) for some in words):
        raise ValueError("each class needs a word")
    if len(set(every)) < len(every):
        raise ValueError("a word stands twice")
    log_p = logits.log_softmax(1)
    scores = []
    for some in words:
        own = log_p[:, list(some)]
        if how == "max":
            scores.append(own.amax(1))
        else:
            scores.append(own.logsumexp(1) - (math.log(len(some)) if how == "mean" else 0.0))
    return torch.stack(scores, 1).log_softmax(1), log_p[:, every].logsumexp(1)
    ### END SOLUTION


# %% test="label_scores_visible" points=1
# Test (1 point): the sum, on a vocabulary of five words with probabilities that you can check by hand.
logits = torch.tensor([[0.10, 0.20, 0.30, 0.15, 0.25], [0.40, 0.10, 0.10, 0.20, 0.20]]).log()
answer = label_scores(logits.clone(), [[0, 1], [2]], "sum")
assert answer is not None, "label_scores returns None: is the `return` missing?"
assert isinstance(answer, tuple) and len(answer) == 2, "return two things: log P (batch, classes) and log M (batch,)"
found, mass = answer
assert tuple(found.shape) == (2, 2), f"log P should have the shape (batch, classes) = (2, 2), not {tuple(found.shape)}"
assert tuple(mass.shape) == (2,), f"log M should have the shape (batch,) = (2,), not {tuple(mass.shape)}"
right = torch.tensor([[0.30, 0.30], [0.50, 0.10]])
assert not torch.allclose(found, right / right.sum(1, keepdim=True)), (
    "these are probabilities: their logarithm is wanted"
)
assert not torch.allclose(found, right.log()), "the classes do not sum to 1 yet: divide by the sum over the classes"
assert torch.allclose(found, torch.tensor([[0.5, 0.5], [5 / 6, 1 / 6]]).log(), atol=1e-5), (
    "add the probabilities of a class's words; adding (or averaging) their logits multiplies the probabilities"
)
assert torch.allclose(mass, torch.tensor([0.6, 0.6]).log(), atol=1e-5), "M: the sum of p(w) over all label words"

# %% test="label_scores_kinds" points=1
# Test (1 point): mean and max, which differ from the sum where classes have different numbers of words.
logits = torch.tensor([[0.10, 0.20, 0.30, 0.15, 0.25]]).log()
mean, mean_mass = label_scores(logits.clone(), [[0, 1], [2]], "mean")
assert not torch.allclose(mean.exp(), torch.tensor([[0.5, 0.5]])), (
    "mean: divide each class's sum by its number of words"
)
assert torch.allclose(mean.exp(), torch.tensor([[1 / 3, 2 / 3]]), atol=1e-5), "mean: .15 against .30 here"
most, _ = label_scores(logits.clone(), [[0, 1], [2]], "max")
assert torch.allclose(most.exp(), torch.tensor([[0.4, 0.6]]), atol=1e-5), "max: .20 against .30 here"
assert torch.allclose(mean_mass.exp(), torch.tensor([0.6]), atol=1e-5), "M is the sum of p(w), whatever `how` is"

# %% test="label_scores_stable" points=1
# Hidden test (1 point): huge logits, logits that all grow by one number, other sizes, gradients.
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(1)
logits, words = torch.randn(4, 30, generator=generator), [[3, 7, 11], [2], [29, 0]]


def close(a, b, tolerance=1e-4):
    return (
        a.shape == b.shape
        and max(abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) < tolerance
    )


assert not close(torch.zeros(2), torch.ones(2)) and not torch.allclose(torch.zeros(2), torch.ones(2)), (
    "the comparison itself has been changed"
)
p = logits.double().softmax(1)
for how, score in {"sum": lambda x: x.sum(1), "mean": lambda x: x.mean(1), "max": lambda x: x.amax(1)}.items():
    plain = torch.stack([score(p[:, some]) for some in words], 1)
    found, mass = label_scores(logits.clone(), words, how)
    assert close(found.double().exp(), plain / plain.sum(1, keepdim=True)), (
        f"{how}: wrong for classes of 3, 1 and 2 words"
    )
    assert close(mass.double().exp(), p[:, [3, 7, 11, 2, 29, 0]].sum(1)), f"{how}: wrong mass"
    shifted, shifted_mass = label_scores(logits + 1000.0, words, how)
    assert close(shifted, found, 1e-2) and close(shifted_mass, mass, 1e-2), (
        "a number added to all logits changes nothing"
    )
    large, large_mass = label_scores(logits * 5000, words, how)
    assert bool(large.isfinite().all() and large_mass.isfinite().all()), "NaN or infinity at large logits: stay in logs"
    assert close(large.exp().sum(1), torch.ones(4)), "the classes should sum to 1 at large logits too"
tracked = logits.clone().requires_grad_()
label_scores(tracked, words, "sum")[0][0, 0].backward()
assert tracked.grad is not None and bool(tracked.grad.isfinite().all()), "no gradient comes through: do not detach"
### END HIDDEN TESTS

# %% test="label_scores_refuses" points=1
# Hidden test (1 point): another `how`, a class without words, a word twice in one class or in two.
### BEGIN HIDDEN TESTS
logits = torch.zeros(1, 6)
for words, how, what in [
    ([[0], [1]], "median", "how='median'"),
    ([[0], []], "sum", "a class without words"),
    ([[0, 1], [1]], "sum", "a word of two classes"),
    ([[0, 0], [1]], "max", "a word that stands twice in a class"),
]:
    try:
        label_scores(logits, words, how)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3: Fuzzy-PET's loss, and its slope (4 points)
#
# Fuzzy-PET trains each example with several sets of label words. Set $s$ has one word $w_{s,c}$ for each class, and here a
# weight $\omega_s \ge 0$; with $\tilde\omega_s = \omega_s / \sum_{s'} \omega_{s'}$ and blank logits $z_b$ of example $b$ with
# label $y_b$, of $B$ examples:
#
# $$p_{s,b}(c) = \frac{e^{z_{b,\,w_{s,c}}}}{\sum_{c'} e^{z_{b,\,w_{s,c'}}}} \qquad
# L = - \frac{1}{B} \sum_b \sum_s \tilde\omega_s \log p_{s,b}(y_b) \qquad
# \frac{\partial L}{\partial z_{b,v}} = \frac{1}{B} \sum_s \tilde\omega_s \sum_c [v = w_{s,c}]\,\bigl(p_{s,b}(c) - [c = y_b]\bigr)$$
#
# Write `fuzzy_loss(logits, labels, sets, weights)`, a scalar tensor, and `fuzzy_gradient` with the same arguments: the
# slope (batch, vocabulary) **by the formula**, without autograd. `logits` is (batch, vocabulary), `labels` a tensor of
# class numbers (batch,), `sets` a list of lists of word ids, one a class; a word may stand in several sets.
#
# Both: `ValueError` unless there is one weight a set, none negative and not all 0, and each set has as many words as
# the first.


# %% answer="fuzzy_loss"
def fuzzy_loss(logits, labels, sets, weights):
    """The weighted mean over the sets of PET's cross-entropy: a scalar tensor."""
    ### BEGIN SOLUTION
    if len(weights) != len(sets) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError("one weight a set is needed, none negative, not all 0")
    if any(len(words) != len(sets[0]) for words in sets):
        raise ValueError("each set needs a word for each class")
    losses = [F.cross_entropy(logits[:, words], labels) for words in sets]
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)
    ### END SOLUTION


# %% answer="fuzzy_gradient"
def fuzzy_gradient(logits, labels, sets, weights):
    """The slope of fuzzy_loss in the logits, by the formula: (batch, vocabulary)."""
    ### BEGIN SOLUTION
    if len(weights) != len(sets) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError("one weight a set is needed, none negative, not all 0")
    if any(len(words) != len(sets[0]) for words in sets):
        raise ValueError("each set needs a word for each class")
    slope = torch.zeros_like(logits)
    for weight, words in zip(weights, sets, strict=True):
        error = logits[:, words].softmax(1) - F.one_hot(labels, len(words))
        slope.index_add_(1, torch.tensor(words), error.to(slope.dtype) * weight / (sum(weights) * len(logits)))
    return slope
    ### END SOLUTION


# %% test="fuzzy_loss_visible" points=1
# Test (1 point): one set is PET; weights count as shares; the loss of two sets lies between theirs.
logits = torch.tensor([[1.0, 2.0, 0.5, -1.0, 0.0], [0.3, -0.2, 1.5, 0.7, 0.1]])
labels = torch.tensor([1, 0])
one = fuzzy_loss(logits.clone(), labels, [[0, 2]], [1.0])
assert one is not None, "fuzzy_loss returns None: is the `return` missing?"
assert torch.is_tensor(one) and one.ndim == 0, "the loss should be a scalar tensor"
by_hand = -(logits[0, [0, 2]].log_softmax(0)[1] + logits[1, [0, 2]].log_softmax(0)[0]) / 2
assert not torch.allclose(one, 2 * by_hand), "you summed over the examples: take the mean"
assert torch.allclose(one, by_hand), f"one set is PET, whose loss is {float(by_hand):.4f} here; got {float(one):.4f}"
other = fuzzy_loss(logits.clone(), labels, [[1, 3]], [1.0])
both = fuzzy_loss(logits.clone(), labels, [[0, 2], [1, 3]], [3.0, 1.0])
assert not torch.allclose(both, 3 * one + other), "divide by the sum of the weights"
assert not torch.allclose(both, (one + other) / 2), "the weights are not used"
assert torch.allclose(both, (3 * one + other) / 4), (
    "weights 3 and 1: three quarters of the first loss, one of the second"
)

# %% test="fuzzy_gradient_visible" points=1
# Test (1 point): the slope against finite differences, for two sets without common words; 0 for all other words.
logits = torch.tensor([[1.0, 2.0, 0.5, -1.0, 0.0], [0.3, -0.2, 1.5, 0.7, 0.1]], dtype=torch.float64)
labels, sets, weights = torch.tensor([1, 0]), [[0, 2], [1, 3]], [3.0, 1.0]


def reference_loss(z):
    parts = [torch.stack([z[b, words].log_softmax(0)[labels[b]] for b in range(len(z))]).mean() for words in sets]
    return -(3.0 * parts[0] + 1.0 * parts[1]) / 4.0


slope = torch.zeros_like(logits)
for b in range(2):
    for v in range(5):
        step = torch.zeros_like(logits)
        step[b, v] = 1e-5
        slope[b, v] = (reference_loss(logits + step) - reference_loss(logits - step)) / 2e-5
with torch.inference_mode():
    try:
        found = fuzzy_gradient(logits.clone(), labels, sets, weights)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        raise AssertionError(f"is this autograd? Write the formula instead ({error})") from error
assert found is not None, "fuzzy_gradient returns None: is the `return` missing?"
assert tuple(found.shape) == (2, 5), f"a slope for each logit: (batch, vocabulary) = (2, 5), not {tuple(found.shape)}"
assert not torch.allclose(found, -slope, atol=1e-6), "the sign is wrong: p - [c = y], not [c = y] - p"
assert not torch.allclose(found, 2 * slope, atol=1e-6), "the mean over the batch divides the slope, too, by its size"
assert float(found[:, 4].abs().max()) == 0, "a word in no set does not touch the loss: its slope is 0"
assert torch.allclose(found, slope, atol=1e-6), "the slope differs from finite differences"

# %% test="fuzzy_shared_words" points=1
# Hidden test (1 point): a word in several sets, more classes, a set of weight 0, steps along the slope.
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(2)
logits = torch.randn(6, 12, generator=generator, dtype=torch.float64)
labels, sets, weights = torch.tensor([0, 1, 2, 2, 1, 0]), [[0, 1, 2], [0, 4, 5], [6, 1, 0], [7, 8, 9]], [1, 2, 1.5, 0]


def independent_loss(z):
    shares = [weight / 4.5 for weight in weights]
    rows = torch.arange(6)
    return -sum(
        share * z[:, words].log_softmax(1)[rows, labels].mean() for share, words in zip(shares, sets, strict=True)
    )


tracked = logits.clone().requires_grad_()
expected = independent_loss(tracked)
expected.backward()
with torch.inference_mode():
    found = fuzzy_gradient(logits.clone(), labels, sets, weights)
    loss = fuzzy_loss(logits.clone(), labels, sets, weights)
difference = max(abs(a - b) for a, b in zip(found.flatten().tolist(), tracked.grad.flatten().tolist(), strict=True))
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
assert abs(float(loss) - float(expected)) < 1e-6, "the loss is wrong for three classes and four sets"
assert difference < 1e-6, "a word that stands in several sets gets the slopes of all: add them up, do not overwrite"
assert max(abs(value) for value in found.sum(1).tolist()) < 1e-6, "the slopes of an example sum to 0"
assert independent_loss(logits - 0.1 * found) < independent_loss(logits), "a step against the slope lowers the loss"
### END HIDDEN TESTS

# %% test="fuzzy_refuses" points=1
# Hidden test (1 point): too few or too many weights, negative ones, all 0, sets of different lengths.
### BEGIN HIDDEN TESTS
logits, labels = torch.zeros(2, 6), torch.tensor([0, 1])
for function in (fuzzy_loss, fuzzy_gradient):
    for sets, weights, what in [
        ([[0, 1], [2, 3]], [1.0], "one weight for two sets"),
        ([[0, 1]], [1.0, 1.0], "two weights for one set"),
        ([[0, 1], [2, 3]], [1.0, -0.5], "a negative weight"),
        ([[0, 1], [2, 3]], [0.0, 0.0], "weights that are all 0"),
        ([[0, 1], [2, 3, 4]], [1.0, 1.0], "a set with more words than the first"),
    ]:
        try:
            function(logits, labels, sets, weights)
        except ValueError:
            continue
        raise AssertionError(f"{function.__name__}: {what} should be a ValueError")
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4: which answers to believe (3 points)
#
# Models $m$ of an ensemble give scores $s_m$ (log-probabilities) for rows without labels. Their softened, weighted **mean of
# probabilities** is
#
# $$q = \sum_m \tilde\omega_m \, \mathrm{softmax}(s_m / T), \qquad \tilde\omega_m = \omega_m / \sum_{m'} \omega_{m'}$$
#
# (the lesson averaged the scores before the softmax; here the softmax comes first).
#
# Write `pseudo_labels(rows, scores, weights, temperature, per_class)`. `rows` is a list of $n$ dictionaries, `scores` a
# tensor (models, n, classes). It returns a list of **new** dictionaries: the row with `"label"` (the class number) and
# `"confidence"` (its $q$, a float), class by class, the most confident first.
#
# - A row's class is the one with the highest $q$. If two classes share the highest $q$ (to within 1e-6) the ensemble does not
#   know: the row is no candidate.
# - **Balance**: each class gives its most confident candidates, as many as the class with the fewest, and at most
#   `per_class`. Classes without a candidate do not count in this, and give none.
# - Of equally confident candidates, the earlier row comes first.
# - A `"label"` that a row brings is not read, and the rows stay as they were.
# - `ValueError` unless there is one weight a model, none negative and not all 0, one score row a row, `temperature` > 0
#   and `per_class` ≥ 1.


# %% answer="pseudo_labels"
def pseudo_labels(rows, scores, weights, temperature, per_class):
    """The rows that the ensemble is surest of, as new dictionaries with "label" and "confidence", classes balanced."""
    ### BEGIN SOLUTION
    if len(weights) != len(scores) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError("one weight a model is needed, none negative, not all 0")
    if scores.shape[1] != len(rows):
        raise ValueError("each row needs its scores")
    if temperature <= 0 or per_class < 1:
        raise ValueError("temperature must be above 0, per_class at least 1")
    share = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    q = (share[:, None, None] * (scores.double() / temperature).softmax(2)).sum(0)
    best, second = q.topk(2, dim=1).values.unbind(1)
    own = {label: [] for label in range(q.shape[1])}
    for number in range(len(rows)):
        if best[number] - second[number] > 1e-6:
            own[int(q[number].argmax())].append((-float(best[number]), number))
    count = min([per_class, *(len(found) for found in own.values() if found)])
    return [
        {**rows[number], "label": label, "confidence": -minus}
        for label, found in own.items()
        for minus, number in sorted(found)[:count]
    ]
    ### END SOLUTION


# %% test="pseudo_labels_visible" points=1
# Test (1 point): two models, six rows, two classes; the labels that the rows bring are wrong on purpose.
given = torch.tensor(
    [
        [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.95, 0.05], [0.3, 0.7]],
        [[0.8, 0.2], [0.1, 0.9], [0.6, 0.4], [0.3, 0.7], [0.05, 0.95], [0.4, 0.6]],
    ]
).log()
rows = [{"text": f"row {number}", "label": 1 - number % 2} for number in range(6)]
answer = pseudo_labels(rows, given.clone(), [3.0, 1.0], 1.0, 2)
assert answer is not None, "pseudo_labels returns None: is the `return` missing?"
assert all(isinstance(row, dict) and {"text", "label", "confidence"} <= set(row) for row in answer), (
    'each result is the row with "label" and "confidence"'
)
found = [(int(row["text"][4:]), row["label"]) for row in answer]
assert [label for _, label in found] == [0, 0, 1, 1], f"two rows of class 0, then two of class 1 are wanted: {found}"
assert found != [(0, 0), (2, 0), (1, 1), (3, 1)], "the models have the same say in your mean: use the weights"
assert found == [(0, 0), (4, 0), (1, 1), (5, 1)], f"rows 0 (q = .875), 4 (.725), 1 (.825), 5 (.675) are wanted: {found}"
sure = answer[0]["confidence"]
assert abs(sure - 3.5) > 1e-3, "divide by the sum of the weights"
assert abs(sure - 0.88022) > 1e-4, "you averaged the scores: here each model's softmax comes first, then the mean"
assert abs(sure - 0.875) < 1e-4, f"q of row 0 is .875, not {sure:.4f}"
soft = pseudo_labels(rows, given.clone(), [3.0, 1.0], 2.0, 2)[0]["confidence"]
assert soft < 0.875, "a temperature above 1 makes answers less sure: divide the scores by it, before the softmax"
assert abs(soft - 0.729167) < 1e-4, (
    f"T = 2: q of row 0 is .7292, not {soft:.4f} (soften each model, then take the mean)"
)

# %% test="pseudo_labels_balance" points=1
# Hidden test (1 point): equal confidences, two classes with the same q, too few candidates, a class without any.
### BEGIN HIDDEN TESTS


def ask(q, per_class):
    rows = [{"text": str(number)} for number in range(len(q))]
    found = pseudo_labels(rows, torch.tensor([q]).log(), [1.0], 1.0, per_class)
    return [(int(row["text"]), row["label"]) for row in found]


assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
q = [
    [0.6, 0.3, 0.1],
    [0.6, 0.3, 0.1],
    [0.1, 0.8, 0.1],
    [0.2, 0.7, 0.1],
    [0.6, 0.3, 0.1],
    [0.1, 0.2, 0.7],
    [0.1, 0.1, 0.8],
]
assert ask(q, 2) == [(0, 0), (1, 0), (2, 1), (3, 1), (6, 2), (5, 2)], "of equal confidence, the earlier row first"
assert ask(q, 5) == [(0, 0), (1, 0), (2, 1), (3, 1), (6, 2), (5, 2)], "as many of each class as the rarest has: two"
assert ask(q, 1) == [(0, 0), (2, 1), (6, 2)], "at most per_class of each class"
assert ask([[0.5, 0.5], [0.5, 0.5], [0.3, 0.7]], 3) == [(2, 1)], (
    "two classes with the same q: the ensemble does not know"
)
assert ask([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], 3) == [(0, 0), (2, 1)], (
    "a class without any gives none"
)
assert ask([[0.5, 0.5]], 1) == [], "no candidates: an empty list"
### END HIDDEN TESTS

# %% test="pseudo_labels_refuses" points=1
# Hidden test (1 point): rows unchanged, rows without a label, bad weights, temperature, numbers of rows.
### BEGIN HIDDEN TESTS
scores = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
rows = [{"text": "a", "label": 1, "domain": "films"}, {"text": "b"}]
before = copy.deepcopy(rows)
found = pseudo_labels(rows, scores, [2.0], 1.0, 1)
assert rows == before and all(new is not old for new in found for old in rows), (
    "the rows have been changed: make new ones"
)
assert [row["label"] for row in found] == [0, 1], "the label that a row brings is not read"
assert found[0]["domain"] == "films", "what else a row holds should come along"
for weights, temperature, per_class, some, what in [
    ([1.0, 1.0], 1.0, 1, rows, "two weights for one model"),
    ([-1.0], 1.0, 1, rows, "a negative weight"),
    ([0.0], 1.0, 1, rows, "weights that are all 0"),
    ([1.0], 0.0, 1, rows, "temperature 0"),
    ([1.0], 1.0, 0, rows, "per_class 0"),
    ([1.0], 1.0, 1, rows[:1], "fewer rows than scores"),
]:
    try:
        pseudo_labels(some, scores, weights, temperature, per_class)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5: what the choice of words does (2 points)
#
# Now measure. `model` and `tokenizer` are the course's micro BERT, not trained on any label; `reviews` are 200 of the
# world's reviews, each `{"text": …, "label": 0 or 1}`, 1 = positive.
#
# Write `word_pairs(pairs, rows, model, tokenizer)`. For each pair (word for class 0, word for class 1) it fills every text
# into `"{text} it was [MASK] ."`, asks the model which of the two words it finds likelier in the blank, and returns a
# table: a list of dictionaries, the most accurate pair first,
#
# - `"pair"`: the pair as given, `"accuracy"`: the share of right answers in [0, 1], `"positive"`: the share of rows that are
#   answered with class 1.
#
# The blank's place differs from row to row in a padded batch. No gradients are needed (`torch.no_grad()`), and the model
# stays as it was. `ValueError` for no rows, and for a word that is not exactly one known token (`tokenizer.unk_token_id`
# stands for all unknown words). It should take a few seconds.

# %% locked="model"
model, tokenizer = labkit.load_model("micro-bert-en", head="mlm")
reviews = labkit.load_task("world/reviews").splits["test"][:200]
print(reviews[0]["text"], "->", reviews[0]["label"])


# %% answer="word_pairs"
def word_pairs(pairs, rows, model, tokenizer):
    """Zero-shot accuracy and share of positive answers of each pair of label words, the most accurate first."""
    ### BEGIN SOLUTION
    if not rows:
        raise ValueError("no rows")
    ids = []
    for pair in pairs:
        found = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in pair]
        if any(len(pieces) != 1 or pieces[0] == tokenizer.unk_token_id for pieces in found):
            raise ValueError(f"{pair}: each word must be one known token")
        ids.append([pieces[0] for pieces in found])
    texts = [f"{row['text']} it was {tokenizer.mask_token} ." for row in rows]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
    labels = torch.tensor([row["label"] for row in rows])
    table = []
    for pair, (negative, positive) in zip(pairs, ids, strict=True):
        answers = (logits[:, positive] > logits[:, negative]).long()
        accuracy = (answers == labels).double().mean().item()
        table.append({"pair": pair, "accuracy": accuracy, "positive": answers.double().mean().item()})
    return sorted(table, key=lambda line: -line["accuracy"])
    ### END SOLUTION


# %% test="word_pairs_visible" points=1
# Test (1 point): the table of three pairs: what it holds, its order, and a pair against the same pair swapped.
table = word_pairs([("monday", "friday"), ("bad", "great"), ("great", "bad")], reviews, model, tokenizer)
assert table is not None, "word_pairs returns None: is the `return` missing?"
assert [set(line) for line in table] == [{"pair", "accuracy", "positive"}] * 3, "each line: pair, accuracy, positive"
assert all(0 <= line["accuracy"] <= 1 and 0 <= line["positive"] <= 1 for line in table), "shares lie in [0, 1]"
accuracies = [line["accuracy"] for line in table]
assert accuracies == sorted(accuracies, reverse=True), "the most accurate pair should come first"
by_pair = {tuple(line["pair"]): line for line in table}
good, swapped = by_pair[("bad", "great")], by_pair[("great", "bad")]
assert abs(good["accuracy"] + swapped["accuracy"] - 1) < 0.02, "swapping the words should swap right and wrong"
assert good["accuracy"] > 0.5, "bad / great below chance: is the first word of a pair the one for class 0?"
assert good["accuracy"] > 0.75, "bad / great should do better: is it the blank's own logits that you read in each row?"

# %% test="word_pairs_holds" points=1
# Hidden test (1 point): rows one by one, other labels, the model left as it was, unknown words, no rows.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
some = sorted(reviews[:24], key=lambda row: len(row["text"]))
weights = [parameter.clone() for parameter in model.parameters()]
model.eval()
whole = word_pairs([("bad", "great")], some, model, tokenizer)[0]
singly = [word_pairs([("bad", "great")], [row], model, tokenizer)[0] for row in some]
for what in ("accuracy", "positive"):
    mean = sum(line[what] for line in singly) / len(some)
    assert abs(whole[what] - mean) < 1e-6, "rows together and one by one should agree: padding moves the blank"
turned = word_pairs([("bad", "great")], [{**row, "label": 1 - row["label"]} for row in some], model, tokenizer)[0]
assert abs(turned["accuracy"] + whole["accuracy"] - 1) < 1e-6, "turned labels should turn right and wrong"
assert turned["positive"] == whole["positive"], "the answers should not depend on the labels"
assert all((a == b).all() for a, b in zip(weights, model.parameters(), strict=True)), (
    "the model's weights have been changed"
)
assert not model.training and all(parameter.grad is None for parameter in model.parameters()), (
    "the model has been changed"
)
days = word_pairs([("monday", "friday")], reviews, model, tokenizer)[0]
assert 0.3 < days["accuracy"] < 0.7, "monday / friday should be near chance"
for pairs, rows, what in [
    ([("bad", "qwertyuiop")], some, "an unknown word"),
    ([("bad", "very good")], some, "two words in place of one"),
    ([("bad", "great")], [], "no rows"),
]:
    try:
        word_pairs(pairs, rows, model, tokenizer)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 6: read your table (4 points, graded by hand)
#
# The next cell asks your `word_pairs` about six pairs and draws the answer.

# %% locked="figure"
from labkit.report import Plot

PAIRS = [("bad", "great"), ("terrible", "good"), ("tedious", "polished"), ("bad", "sublime"), ("tokyo", "moscow"), ("monday", "friday")]  # fmt: skip


def draw(table):
    """Accuracy and share of positive answers of each pair, as dots on one line a pair."""
    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    names = [" / ".join(line["pair"]) for line in table]
    axis.plot([100 * line["accuracy"] for line in table], names, "o", color="#0072B2", label="accuracy")
    axis.plot(
        [100 * line["positive"] for line in table], names, "D", mfc="none", color="#D55E00", label="answers “positive”"
    )
    axis.axvline(50, color="0.6", linewidth=1)
    axis.set(xlim=(0, 100), xlabel="per cent of 200 reviews (half of them positive)")
    axis.invert_yaxis()
    axis.legend()
    plt.close(figure)
    words = [
        f"{n}: accuracy {line['accuracy']:.1%}, positive {line['positive']:.1%}"
        for n, line in zip(names, table, strict=True)
    ]
    return Plot(figure, "Six pairs of label words on 200 reviews. " + "; ".join(words))


try:
    picture = draw(word_pairs(PAIRS, reviews, model, tokenizer))
except Exception as error:  # noqa: BLE001  whatever is wrong with the function
    picture = f"finish problem 5 first ({type(error).__name__})"
picture

# %% [markdown]
# Answer in 8 to 12 sentences, with numbers from your figure:
#
# 1. Three pairs are nearly equal. Is the best of them better than the third? Give the standard error of an accuracy over
#    200 reviews, and say why the pairs must be compared review by review.
# 2. `bad / sublime` has one word of blame and one of praise, and yet it does much worse than `bad / great`. What do its two marks
#    together say about the kind of its mistakes?
# 3. `monday / friday` answers always with one class and `tokyo / moscow` does not, yet both are near 50 %. Why does
#    that follow?
# 4. Name one remedy for `bad / sublime` that needs no labels, and say what it can do for `tokyo / moscow`.

# %% [markdown] manual="reading" points=4
# The three pairs have 84 to 85.5 %. Over 200 reviews such an accuracy has a standard error of √(.85 · .15 / 200) ≈ 2.5
# points, so 1.5 points show nothing. They answer the same reviews and mostly agree: only the reviews on which two of them
# differ (5 to 17 of 200) tell them apart, so the difference must be counted review by review. `bad / great` and `terrible / good`
# differ on five; the one has four of them right and the other has one: chance does that often.
#
# `bad / sublime` answers "positive" in 8.5 % of the reviews although half of them are, and is right in 57.5 %: nearly all its
# mistakes must be positive reviews that it calls negative (84 of 85). "sublime" is rare, so it is far less likely in a blank
# than "bad", whatever the review says: the threshold is wrong, not only the order.
#
# Whoever always gives one class is right on that class's half: 50 %. Whoever answers by something that has nothing to do
# with the verdict is right half the time in each class: 50 % as well. A share near 100 % or near 50 % says how the answers
# are spread, not whether they follow the reviews.
#
# Divide each word's probability by its mean over reviews without labels (contextual calibration). For `bad / sublime` this
# moves the threshold: more positive answers, and a much higher accuracy (83 % when measured). `tokyo / moscow` stays at
# chance: calibration mends a threshold, it brings no information that words lack.

# %% [markdown]
# ## Problem 7: contrast in place of label words (4 points)
#
# CP-Tuning (lesson 03/04) asks for no words: it compares the vector at a text's blank with those of other examples. Here a
# batch of texts meets a store of examples. Let $s_{ij}$ be the similarity of text $i$, of class $y_i$, to stored example
# $j$, of class $t_j$; $P$ the pairs $(i, j)$ with $y_i = t_j$, and $N$ all other pairs. With a margin $m$ and a sharpness
# $\gamma$,
#
# $$L = \log\Bigl(1 + \sum_{N} e^{\gamma\, a^-_{ij} (s_{ij} - m)} \cdot \sum_{P} e^{-\gamma\, a^+_{ij} (s_{ij} - (1 - m))}\Bigr)
# \qquad a^-_{ij} = \max(0,\; s_{ij} + m) \qquad a^+_{ij} = \max(0,\; 1 + m - s_{ij})$$
#
# The costs $a$ make a pair count for more the farther it is from where it should be. They are **constants**: no slope goes
# through them. Where $P$ or $N$ is empty its sum is 0, so $L$ is 0.
#
# Write `pair_loss(similarity, labels, stored, margin, gamma)`, a scalar tensor whose autograd slope is right, and
# `pair_slope` with the same arguments: $\partial L / \partial s_{ij}$, of the shape of `similarity`, **by a formula that you
# derive**, without autograd. `similarity` is (texts, examples), `labels` (texts,) and `stored` (examples,) are tensors of
# class numbers. With $\gamma$ in the thousands the exponents reach thousands too, so stay in logarithms: $L$ is a softplus
# of a sum of two `torch.logsumexp`. Their slopes have names that you know.
#
# Both: `ValueError` unless `similarity` has a row a text and a column an example, $\gamma > 0$ and $0 \le m < 1$.


# %% answer="pair_loss"
def pair_loss(similarity, labels, stored, margin, gamma):
    """The pair-wise cost-sensitive contrastive loss of texts against stored examples: a scalar tensor."""
    ### BEGIN SOLUTION
    if tuple(similarity.shape) != (len(labels), len(stored)):
        raise ValueError("a row for each text and a column for each example are needed")
    if gamma <= 0 or not 0 <= margin < 1:
        raise ValueError("gamma must be above 0, the margin in [0, 1)")
    same, fixed = labels[:, None] == stored[None], similarity.detach()
    push = (gamma * (fixed + margin).clamp(min=0) * (similarity - margin))[~same]
    pull = (-gamma * (1 + margin - fixed).clamp(min=0) * (similarity - (1 - margin)))[same]
    if not len(push) or not len(pull):
        return 0.0 * similarity.sum()
    return F.softplus(push.logsumexp(0) + pull.logsumexp(0))
    ### END SOLUTION


# %% answer="pair_slope"
def pair_slope(similarity, labels, stored, margin, gamma):
    """The slope of pair_loss in the similarities, by formula: (texts, examples)."""
    ### BEGIN SOLUTION
    if tuple(similarity.shape) != (len(labels), len(stored)):
        raise ValueError("a row for each text and a column for each example are needed")
    if gamma <= 0 or not 0 <= margin < 1:
        raise ValueError("gamma must be above 0, the margin in [0, 1)")
    same, slope = labels[:, None] == stored[None], torch.zeros_like(similarity)
    if bool(same.all()) or not bool(same.any()):
        return slope
    near, far = similarity[~same], similarity[same]
    steep, rise = gamma * (near + margin).clamp(min=0), gamma * (1 + margin - far).clamp(min=0)
    push, pull = steep * (near - margin), -rise * (far - (1 - margin))
    strength = (push.logsumexp(0) + pull.logsumexp(0)).sigmoid()
    slope[~same] = strength * push.softmax(0) * steep
    slope[same] = -strength * pull.softmax(0) * rise
    return slope
    ### END SOLUTION


# %% test="pair_loss_visible" points=1
# Test (1 point): two texts against three examples, with γ = 2 and m = .4; and one pair of each kind.
similarity = torch.tensor([[0.8, 0.1, 0.3], [0.5, 0.6, 0.2]], dtype=torch.float64)
labels, stored = torch.tensor([0, 1]), torch.tensor([0, 1, 1])
answer = pair_loss(similarity.clone(), labels, stored, 0.4, 2.0)
assert answer is not None, "pair_loss returns None: is the `return` missing?"
assert torch.is_tensor(answer) and answer.ndim == 0, "the loss should be a scalar tensor"
found = float(answer)
assert abs(found - 2.231380) > 1e-4, "the margin of the pairs of one class is 1 - m, not m"
assert abs(found - 2.405698) > 1e-4, "each pair's cost multiplies its exponent: where are the a?"
assert abs(found - 2.191848) > 1e-4, "the costs are exchanged: a- is that of pairs of two classes"
assert abs(found - 0.863725) > 1e-4, "sums of exponentials are wanted, you took means"
assert abs(found - 2.513480) > 1e-4, "this is the logarithm of the product: add 1 to the product first (softplus)"
assert abs(found - 3.023033) > 1e-4, "these are two losses added up: the two sums are multiplied, inside one logarithm"
assert abs(found - 2.104831) > 1e-4, "all exponentials in one sum: the two sums are multiplied"
assert abs(found - 2.591354) < 1e-4, f"the loss is 2.5914 here, not {found:.4f}"
pair = pair_loss(torch.tensor([[0.6, 0.4]]), torch.tensor([0]), torch.tensor([0, 1]), 0.4, 64.0)
assert abs(float(pair) - math.log(2)) < 1e-4, "similarities at their margins: e^0 · e^0, so L = log 2 whatever γ"

# %% test="pair_slope_visible" points=1
# Test (1 point): the slope for the same two texts; pairs of one class are drawn together, others pushed apart.
similarity = torch.tensor([[0.8, 0.1, 0.3], [0.5, 0.6, 0.2]], dtype=torch.float64)
labels, stored = torch.tensor([0, 1]), torch.tensor([0, 1, 1])
with torch.inference_mode():
    try:
        found = pair_slope(similarity.clone(), labels, stored, 0.4, 2.0)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        raise AssertionError(f"is this autograd? Write the formula instead ({error})") from error
assert found is not None, "pair_slope returns None: is the `return` missing?"
assert tuple(found.shape) == (2, 3), (
    f"a slope for each similarity: (texts, examples) = (2, 3), not {tuple(found.shape)}"
)
right = torch.tensor([[-0.1985, 0.2441, 0.4011], [0.7101, -0.3365, -1.3183]], dtype=torch.float64)
through = torch.tensor([[-0.1324, 0.0976, 0.3438], [0.7890, -0.3365, -1.7578]], dtype=torch.float64)
assert not torch.allclose(found, -right, atol=1e-3), (
    "the sign is wrong: a step against the slope draws a class together"
)
assert not torch.allclose(found, through, atol=1e-3), "you took the slope of the costs as well: they are constants"
assert not torch.allclose(found / 0.92508, right, atol=1e-3), "the factor σ stands there twice"
assert not torch.allclose(found * 0.92508, right, atol=1e-3), "the slope of softplus, σ of its argument, is missing"
assert torch.allclose(found, right, atol=1e-3), f"wrong slope:\n{found}\nThe right one:\n{right}"

# %% test="pair_large" points=1
# Hidden test (1 point): more texts, examples and classes, autograd through pair_loss, γ = 5000, only pairs of one kind.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(3)
texts, examples = (torch.randn(count, 6, generator=generator, dtype=torch.float64) for count in (5, 7))
similarity = F.normalize(texts, dim=1) @ F.normalize(examples, dim=1).T
labels, stored = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([0, 0, 1, 2, 2, 1, 3])


def pairs_by_hand(table, margin, gamma):
    apart = together = 0.0
    terms = {}
    for i, own in enumerate(labels.tolist()):
        for j, other in enumerate(stored.tolist()):
            s = table[i][j]
            cost = max(0.0, 1 + margin - s) if own == other else max(0.0, s + margin)
            value = math.exp(-gamma * cost * (s - 1 + margin) if own == other else gamma * cost * (s - margin))
            together, apart = together + value * (own == other), apart + value * (own != other)
            terms[i, j] = (own == other, gamma * cost, value)
    share = apart * together / (1 + apart * together)
    slopes = {at: share * (-g * v / together if one else g * v / apart) for at, (one, g, v) in terms.items()}
    return math.log1p(apart * together), slopes


for margin, gamma in [(0.4, 3.0), (0.0, 8.0), (0.25, 16.0)]:
    by_hand, slopes = pairs_by_hand(similarity.tolist(), margin, gamma)
    tracked = similarity.clone().requires_grad_()
    loss = pair_loss(tracked, labels, stored, margin, gamma)
    assert abs(float(loss) - by_hand) < 1e-6, f"wrong loss for four classes, m = {margin}, γ = {gamma}"
    loss.backward()
    with torch.inference_mode():
        found = pair_slope(similarity.clone(), labels, stored, margin, gamma).tolist()
    for (i, j), value in slopes.items():
        assert abs(found[i][j] - value) < 1e-6, f"wrong slope for four classes, m = {margin}, γ = {gamma}"
        assert abs(float(tracked.grad[i, j]) - value) < 1e-6, (
            "autograd goes through the costs of pair_loss: detach them"
        )
large, steep = (function(similarity, labels, stored, 0.4, 5000.0) for function in (pair_loss, pair_slope))
assert bool(large.isfinite()) and bool(steep.isfinite().all()), "NaN or infinity at γ = 5000: stay in logarithms"
push = max(5000 * max(0.0, s + 0.4) * (s - 0.4) for s in similarity[labels[:, None] != stored].tolist())
pull = max(-5000 * max(0.0, 1.4 - s) * (s - 0.6) for s in similarity[labels[:, None] == stored].tolist())
assert abs(float(large) - push - pull) < 4, "at γ = 5000 the farthest pair of each kind makes up the loss"
for some, what in [([0, 0], "without pairs of two classes"), ([1, 2], "without pairs of one class")]:
    alone = similarity[:2, :2].clone().requires_grad_()
    loss = pair_loss(alone, torch.tensor([0, 0]), torch.tensor(some), 0.4, 8.0)
    assert float(loss) == 0, f"{what} one of the sums is empty: the loss is log 1"
    flat = pair_slope(alone.detach(), torch.tensor([0, 0]), torch.tensor(some), 0.4, 8.0)
    assert tuple(flat.shape) == (2, 2) and float(flat.abs().max()) == 0, f"{what} the slope is 0 everywhere"
### END HIDDEN TESTS

# %% test="pair_refuses" points=1
# Hidden test (1 point): labels or stored classes that do not fit the table, γ of 0 or less, margins outside [0, 1).
### BEGIN HIDDEN TESTS
table, two, three = torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([0, 1, 1])
for function in (pair_loss, pair_slope):
    for labels, stored, margin, gamma, what in [
        (three, two, 0.4, 8.0, "labels and stored classes exchanged"),
        (two, two, 0.4, 8.0, "fewer stored classes than columns"),
        (three, three, 0.4, 8.0, "more labels than rows"),
        (two, three, 0.4, 0.0, "γ = 0"),
        (two, three, 0.4, -1.0, "a negative γ"),
        (two, three, 1.0, 8.0, "a margin of 1"),
        (two, three, -0.1, 8.0, "a negative margin"),
    ]:
        try:
            function(table, labels, stored, margin, gamma)
        except ValueError:
            continue
        raise AssertionError(f"{function.__name__}: {what} should be a ValueError")
    assert function(table, two, three, 0.0, 8.0).isfinite().all(), "a margin of 0 is allowed"
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 8: several LoRA adapters, one layer (4 points)
#
# LoRA (lesson 03/06) leaves a linear layer's weight $W$ $(d_{out}, d_{in})$ alone and learns a product of low rank beside
# it. Here several tasks have each left an adapter $t$: a dictionary with `"A"` $(r_t, d_{in})$, `"B"` $(d_{out}, r_t)$ and
# `"alpha"`, a number. With a share $\lambda_t$ for each, which may be negative (to *un*learn a task),
#
# $$W' = W + \sum_t \lambda_t \frac{\alpha_t}{r_t} B_t A_t$$
#
# Write two functions:
#
# - `merged(layer, adapters, shares)`: a **new** `torch.nn.Linear` with the weight $W'$ and the layer's bias, if it has one,
#   on the layer's device and in its type. The given layer stays as it was and shares no memory with the new one. In
#   half precision rounding would eat small updates one by one: sum everything in float32, round once. No adapters: a copy.
# - `one_adapter(adapters, shares)`: **one** adapter that does to any layer what all of them do together, with
#   $r = \sum_t r_t$ and `"alpha"` $= r$. It must never compute a matrix of the size of $W$, which may be huge.
#   Hint: a sum of products $\sum_t B_t A_t$ is a product of two larger matrices.
#
# Both: `ValueError` unless there is one share an adapter, and the sizes of all A and B fit together (and, in `merged`, the
# layer); `one_adapter` also for no adapters.


# %% answer="merged"
def merged(layer, adapters, shares):
    """A new linear layer with all adapters in its weight."""
    ### BEGIN SOLUTION
    if len(shares) != len(adapters):
        raise ValueError("one share an adapter is needed")
    total = layer.weight.detach().float().clone()
    for adapter, share in zip(adapters, shares, strict=True):
        a, b = adapter["A"].detach().float(), adapter["B"].detach().float()
        if len(a) != b.shape[1] or (b.shape[0], a.shape[1]) != tuple(total.shape):
            raise ValueError("an adapter does not fit the layer")
        total += share * adapter["alpha"] / len(a) * (b @ a)
    new = copy.deepcopy(layer)
    new.weight = torch.nn.Parameter(total.to(layer.weight.dtype))
    return new
    ### END SOLUTION


# %% answer="one_adapter"
def one_adapter(adapters, shares):
    """One adapter that does what all of them do: {"A", "B", "alpha"}, its rank the sum of theirs."""
    ### BEGIN SOLUTION
    if not adapters or len(shares) != len(adapters):
        raise ValueError("adapters are needed, and one share for each")
    if any(len(one["A"]) != one["B"].shape[1] for one in adapters):
        raise ValueError("A and B of an adapter do not fit each other")
    if len({(len(one["B"]), one["A"].shape[1]) for one in adapters}) > 1:
        raise ValueError("the adapters belong to layers of different sizes")
    above = torch.cat([one["A"] for one in adapters])
    scales = [share * one["alpha"] / len(one["A"]) for one, share in zip(adapters, shares, strict=True)]
    beside = torch.cat([scale * one["B"] for scale, one in zip(scales, adapters, strict=True)], 1)
    return {"A": above, "B": beside, "alpha": len(above)}
    ### END SOLUTION


# %% test="merged_visible" points=1
# Test (1 point): one adapter of rank 2 on a layer from 3 to 2, then two of different ranks.
layer = torch.nn.Linear(3, 2)
with torch.no_grad():
    layer.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]))
    layer.bias.copy_(torch.tensor([5.0, 6.0]))
first = {
    "A": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    "B": torch.tensor([[1.0, 0.0], [1.0, 2.0]]),
    "alpha": 4.0,
}
second = {"A": torch.tensor([[0.0, 1.0, 1.0]]), "B": torch.tensor([[1.0], [-1.0]]), "alpha": 3.0}
answer = merged(layer, [first], [1.0])
assert answer is not None, "merged returns None: is the `return` missing?"
assert isinstance(answer, torch.nn.Linear), "a torch.nn.Linear is wanted"
product = torch.tensor([[1.0, 0.0, 1.0], [1.0, 2.0, 1.0]])  # B A, by hand
assert not torch.allclose(answer.weight - layer.weight, torch.zeros(2, 3)), "W' is W: you changed the layer, or nothing"
assert not torch.allclose(answer.weight - layer.weight, 4 * product), "α / r: divide by the rank, 2 here"
assert not torch.allclose(answer.weight - layer.weight, product), "α / r, 2 here, scales the product"
assert torch.allclose(answer.weight - layer.weight, 2 * product), (
    f"W' - W should be 2 B A, not {answer.weight - layer.weight}"
)
assert torch.allclose(answer.bias, torch.tensor([5.0, 6.0])), "the bias goes with the weight, as it is"
both = merged(layer, [first, second], [0.5, -2.0]).weight - layer.weight
assert not torch.allclose(both, 2 * product + 3 * torch.tensor([[0.0, 1.0, 1.0], [0.0, -1.0, -1.0]])), (
    "where are the shares?"
)
assert torch.allclose(both, product - 6 * torch.tensor([[0.0, 1.0, 1.0], [0.0, -1.0, -1.0]])), (
    "each adapter has its own α / r"
)

# %% test="one_adapter_visible" points=1
# Test (1 point): one adapter in place of two.
first = {
    "A": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    "B": torch.tensor([[1.0, 0.0], [1.0, 2.0]]),
    "alpha": 4.0,
}
second = {"A": torch.tensor([[0.0, 1.0, 1.0]]), "B": torch.tensor([[1.0], [-1.0]]), "alpha": 3.0}
answer = one_adapter([first, second], [0.5, -2.0])
assert answer is not None, "one_adapter returns None: is the `return` missing?"
assert set(answer) == {"A", "B", "alpha"}, 'an adapter is a dictionary with "A", "B" and "alpha"'
assert tuple(answer["A"].shape) == (3, 3) and tuple(answer["B"].shape) == (2, 3), (
    f"ranks 2 and 1 make 3: A (3, 3), B (2, 3), not {tuple(answer['A'].shape)}, {tuple(answer['B'].shape)}"
)
assert answer["alpha"] == 3, "alpha should be the rank, so that alpha / r is 1"
effect = answer["B"] @ answer["A"]
wanted = torch.tensor([[1.0, -6.0, -5.0], [1.0, 8.0, 7.0]])
assert not torch.allclose(effect, torch.tensor([[0.5, -2.0, -1.5], [0.5, 3.0, 2.5]])), "each adapter's α / r is missing"
assert not torch.allclose(effect, torch.tensor([[2.0, 3.0, 5.0], [2.0, 1.0, -1.0]])), "where are the shares?"
assert torch.allclose(effect, wanted), f"B A should be the weighted sum of the two products,\n{wanted}, not\n{effect}"

# %% test="lora_holds" points=1
# Hidden test (1 point): both agree, half precision is rounded once, nothing given is changed or shared, no large matrix.
### BEGIN HIDDEN TESTS
from torch.utils._python_dispatch import TorchDispatchMode


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that is made inside."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            self.numbers = max(self.numbers, one.numel() if torch.is_tensor(one) else 0)
        return made


def exactly(w, adapters, shares):
    total = w.double().clone()
    for one, share in zip(adapters, shares, strict=True):
        total += share * one["alpha"] / one["A"].shape[0] * one["B"].double() @ one["A"].double()
    return total


def gap(a, b):
    return max(abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))


assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
assert gap(torch.zeros(2), torch.ones(2)) == 1, "the comparison itself has been changed"
generator = torch.Generator().manual_seed(4)
adapters = [
    {"A": torch.randn(r, 7, generator=generator), "B": torch.randn(5, r, generator=generator), "alpha": alpha}
    for r, alpha in ((1, 8), (4, 2.0), (2, 16.0))
]
shares = [0.3, -1.0, 0.25]
before, layer = copy.deepcopy(adapters), torch.nn.Linear(7, 5, bias=False)
weight = layer.weight.detach().clone()
found, single = merged(layer, adapters, shares), one_adapter(adapters, shares)
assert found.bias is None, "a layer without a bias gives one without"
assert gap(found.weight, exactly(weight, adapters, shares)) < 1e-4, "wrong for three adapters of ranks 1, 4 and 2"
assert gap(merged(layer, [single], [1.0]).weight, found.weight) < 1e-4, "one_adapter and merged do not agree"
undone = merged(found, adapters, [-share for share in shares])
assert gap(undone.weight, weight) < 1e-4, "the same adapters with the opposite shares should give W back"
same = merged(layer, [], [])
assert gap(same.weight, weight) == 0, "without adapters: a copy"
for new in (found, same):
    with torch.no_grad():
        new.weight.add_(1.0)
assert gap(layer.weight, weight) == 0, "the given layer has been changed, or shares its memory with the new one"
with_bias = torch.nn.Linear(7, 5)
bias = with_bias.bias.detach().clone()
with torch.no_grad():
    merged(with_bias, adapters, shares).bias.add_(1.0)
assert gap(with_bias.bias, bias) == 0, "the bias of the new layer is the old one itself, not a copy"
for one, old in zip(adapters, before, strict=True):
    assert gap(one["A"], old["A"]) == gap(one["B"], old["B"]) == 0, "the adapters have been changed"
tiny = [{"A": torch.full((1, 7), 0.001), "B": torch.ones(5, 1), "alpha": 1.0}] * 8
half = torch.nn.Linear(7, 5).to(torch.bfloat16)
with torch.no_grad():
    half.weight.fill_(1.0)
rounded = merged(half, tiny, [1.0] * 8)
assert rounded.weight.dtype == torch.bfloat16 and rounded.bias.dtype == torch.bfloat16, "the layer's type is to be kept"
assert gap(rounded.weight.float(), torch.full((5, 7), 1.0078125)) == 0, (
    "eight updates of .001 to bfloat16 ones: each alone rounds to nothing; sum in float32, round once"
)
long = [{"A": torch.ones(2, 300), "B": torch.ones(400, 2), "alpha": 2.0}] * 3
with Largest() as seen:
    one_adapter(long, [1.0, 2.0, 3.0])
assert 0 < seen.numbers <= 6 * 400, (
    "one_adapter makes a matrix as large as the layer's weight: put A and B together as they are"
)
### END HIDDEN TESTS

# %% test="lora_refuses" points=1
# Hidden test (1 point): shares that are too few or too many, A and B of different ranks, layers of other sizes, nothing.
### BEGIN HIDDEN TESTS


def zeros(d_out, d_in, r, other=None):
    return {"A": torch.zeros(r, d_in), "B": torch.zeros(d_out, other or r), "alpha": 1.0}


layer = torch.nn.Linear(3, 2)
for adapters, shares, what in [
    ([zeros(2, 3, 1)] * 2, [1.0], "one share for two adapters"),
    ([zeros(2, 3, 1)], [1.0, 1.0], "two shares for one adapter"),
    ([zeros(2, 3, 2, 1)], [1.0], "A of rank 2 with B of rank 1"),
    ([zeros(2, 3, 1), zeros(2, 4, 1)], [1.0, 1.0], "adapters with different d_in"),
    ([zeros(2, 3, 1), zeros(1, 3, 1)], [1.0, 1.0], "adapters with different d_out"),
]:
    for name, call in (("merged", lambda a, s: merged(layer, a, s)), ("one_adapter", one_adapter)):
        try:
            call(adapters, shares)
        except ValueError:
            continue
        raise AssertionError(f"{name}: {what} should be a ValueError")
for name, call in (
    ("merged: an adapter of a layer with another d_in", lambda: merged(layer, [zeros(2, 4, 1)], [1.0])),
    ("merged: an adapter of a layer with d_out = 1", lambda: merged(layer, [zeros(1, 3, 1)], [1.0])),
    ("one_adapter: no adapters", lambda: one_adapter([], [])),
):
    try:
        call()
    except ValueError:
        continue
    raise AssertionError(f"{name} should be a ValueError")
### END HIDDEN TESTS
