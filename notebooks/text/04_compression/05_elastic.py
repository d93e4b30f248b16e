# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One model, many sizes
#
# A server, a laptop and a phone need models of different sizes, and a phone with an empty battery needs a smaller one than
# the same phone at the charger. It takes long to train, test and store a model for each. Can *one* set of weights be
# several models, and which of its many sizes is the best for a limit of time?
#
# **After this lesson you can** put the heads and neurons of a network in the order of their importance; train it at all
# its sizes together; predict how long a size takes; and search for the best size under a limit of time.
#
# **50 minutes.** Before it: [one body, many heads](../01_foundations/05_finetuning.ipynb), and what a teacher and a
# student are, lesson [04/01](01_distillation.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="04/05")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/qnli"  # @param {type:"string"}

# %% [markdown]
# ## 1 · One network at two sizes
#
# The task: does the sentence answer the question? A network of four layers, each with five [heads](../glossary.ipynb#attention)
# and 448 neurons in its feed-forward part, is [fine-tuned](../glossary.ipynb#fine-tuning) on it.

# %%
from labkit.compression.elastic import extract, full_shape, rewire, shape_of, shaped
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches

body, tokenizer = labkit.load_model(MODEL)
task = labkit.load_task(TASK)
method = HeadClassifier(tokenizer, task.fields)
rows = method.read(task.splits["train"])
teacher = add_head(body, task.labels, "mean", seed=0).eval()
history = labkit.fit(teacher, method.loss, Batches(rows, method.collate, 32, seed=0), steps=120, lr=5e-4, seed=0,
                     progress=lab.progress)  # fmt: skip

# %% [markdown]
# Now the same network answers at two sizes: whole, and with only the *first* head and the *first* 112 neurons of each layer,
# a quarter of its *width*. (In this lesson, width means heads and neurons; the states keep their 160 numbers. The example is
# chosen: the whole is sure and right, the quarter is wrong.) `shaped` makes a network run at a size for as long as the `with` lasts.

# %%
import numpy as np

test = method.read(task.splits["test"][:400])
labels = [row["label"] for row in test]
SIZES = {"whole": full_shape(teacher), "a quarter": shape_of(teacher, width=0.25)}


def answers(network, shape, rows=test):
    with shaped(network, shape):
        return labkit.predict(network, method, rows)  # (rows, classes), shares


def right(network, shape, rows=test):
    return float((answers(network, shape, rows).argmax(1) == [row["label"] for row in rows]).mean())


# %%
sure, unsure = (answers(teacher, shape)[range(len(test)), labels] for shape in SIZES.values())
example = test[np.where(unsure < 0.5, sure, 0).argmax()]


def show(network, row=example):
    print(f"question: {row['text_a']}\nsentence: {row['text_b']}   ({task.labels[row['label']]})")
    for name, shape in SIZES.items():
        said = answers(network, shape, [row])[0]
        score = right(network, shape)
        print(f"{name:<10} {task.labels[said.argmax()]:<15} {said.max():.0%} sure; right in {score:.1%} of 400 rows")


show(teacher)

# %% [markdown]
# The whole network has learned the task. A quarter of it guesses (with two labels, [chance](../glossary.ipynb#chance) is 50 %),
# because these heads and neurons have never run without the others. Keep this output in mind: the same call comes twice more.
#
# ## 2 · A size is a prefix
#
# Here is a feed-forward part with three neurons, by hand. A neuron has a row of the *inner* matrix, with which it reads the
# state, and a column of the *outer* one, with which it writes. The state is $x = (1, 2)$; a negative sum becomes 0.
#
# | neuron | row of inner | it reads | column of outer | it writes |
# |---|---|---|---|---|
# | 0 | (1, 0) | 1 | (1, 0) | (1, 0) |
# | 1 | (0, 1) | 2 | (0, 1) | (0, 2) |
# | 2 | (1, −1) | −1, so 0 | (2, 2) | (0, 0) |
#
# All three together write $(1, 2)$. The first neuron alone writes $(1, 0)$. There are two ways to get this: *cut* the other
# rows and columns off, or *mask*, that is, multiply what the neurons read by $m = (1, 0, 0)$:
#
# $$y = W_{\text{outer}} \big( m \odot f(W_{\text{inner}}\, x + b) \big).$$
#
# A head is the same thing, only thicker: it has 32 rows of the query, key and value matrices and 32 columns of the matrix behind
# them. So the first $h$ heads and the first $n$ neurons of some layers are a network of their own, a
# [prefix](../glossary.ipynb#elastic-network) of the large one. To mask costs the full time; to cut saves it. Do they agree?

# %% tags=["nbval-check-output"]
import torch

small = extract(teacher, SIZES["a quarter"])  # cut, a model of its own
batch = method.collate(test[:64])
with torch.no_grad(), shaped(teacher, SIZES["a quarter"]):
    difference = (method.logits(teacher, batch) - method.logits(small, batch)).abs().max()
print("same answers to 1e-5:", bool(difference < 1e-5))
print("weights:", sum(p.numel() for p in teacher.parameters()), "whole,", sum(p.numel() for p in small.parameters()), "cut")

# %% [markdown]
# (457,760 of the weights are word vectors, which every size needs.)
#
# ## 3 · The important ones first
#
# Whether a prefix is any good depends on what stands in it. Which heads and neurons matter most? Take the mask of a neuron as a
# number $m = 1$ and ask how the loss would change if it were a little less: $\partial L / \partial m$. By the chain rule this
# is the neuron's state times the gradient of the loss with respect to that state, summed over all tokens of all texts.
# Two tokens: states 1 and 2, gradients 0.5 and −0.5. Then $\partial L / \partial m = 1 \cdot 0.5 + 2 \cdot (-0.5) = -0.5$.
# Only the size counts, so the importance is 0.5. A head's mask multiplies all its numbers, so the sum runs over these too:
#
# $$I_g = \Big| \frac{\partial L}{\partial m_g} \Big| = \Big| \sum_{\text{texts, tokens}} \; \sum_{j \in g} h_j \,
# \frac{\partial L}{\partial h_j} \Big| .$$
#
# (Hou et al. 2020, [*DynaBERT*](https://arxiv.org/abs/2004.04037).)
#
# ### Exercise 1: importance
#
# *●●○ · 7 minutes*
#
# States and their gradients, both (batch, tokens, n), and the number of groups in; the importance of each group, (groups,), out. The
# numbers of a group stand together: with 2 groups of 4 numbers, the first two are group 0.
#
# ```python
# states = torch.tensor([[[1.0, 0.0, 3.0, 1.0], [2.0, 1.0, 1.0, 1.0]]])  # one text, two tokens, n = 4
# gradients = torch.tensor([[[0.5, 1.0, 1.0, 0.0], [-0.5, 0.0, 1.0, 2.0]]])
# importance(states, gradients, 4)  # [0.5, 0, 4, 2]
# importance(states, gradients, 2)  # [0.5, 6]
# ```

# %%
from labkit.checks import elastic as check


def importance(states, gradients, groups): ...  # your turn


importance = check.importance(importance)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `(states * gradients).sum((0, 1))` has the shape (n,).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `x.view(groups, -1)` puts each group in a row.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.abs()` comes last, after both sums.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def importance(states, gradients, groups):
#     return (states * gradients).sum((0, 1)).view(groups, -1).sum(1).abs()
# ```
# </details>
#
# Your function runs on 16 batches of training rows. A [hook](../glossary.ipynb#hook) keeps what the heads and neurons of each layer
# say, and PyTorch keeps its gradient. **Predict**: will the first head of each layer be the most important one?

# %%
layers = teacher.base_model.encoder.layer
PARTS = [part for layer in layers for part in (layer.attention.self, layer.intermediate)]
GROUPS = [5, 448] * len(layers)


def keep(_, __, output):
    kept.append(output[0] if isinstance(output, tuple) else output)
    kept[-1].retain_grad()


hooks = [part.register_forward_hook(keep) for part in PARTS]
scores = [torch.zeros(groups) for groups in GROUPS]
for start in range(0, 512, 32):
    kept = []
    method.loss(teacher, method.collate(rows[start : start + 32])).backward()
    for total, states, groups in zip(scores, kept, GROUPS, strict=True):
        total += importance(states.detach(), states.grad, groups)
for hook in hooks:
    hook.remove()

# %%
head_scores, neuron_scores = scores[::2], scores[1::2]
for number, heads in enumerate(head_scores, start=1):
    print(f"layer {number}: heads from the most to the least important {heads.argsort(descending=True).tolist()}")

# %% [markdown]
# It would be chance if it were: during training no place was better than another.
#
# Now the neurons change places. If the rows of the inner matrix, its bias and the columns of the outer one are put in the same
# new order, the layer writes the same sum in another order: nothing changes for the whole network. The paper calls this
# **network rewiring**. In the table of section 2, the scores $(0.1, 0.9, 0.5)$ give the order 1, 2, 0; inner
# becomes $(0, 1), (1, -1), (1, 0)$.
#
# ### Exercise 2: rewiring
#
# *●○○ · 5 minutes*
#
# `inner` (n, d), its bias (n,), `outer` (d, n) and the scores (n,) in; the three in the order of the scores, the highest first, out.
#
# ```python
# inner, bias = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]), torch.tensor([0.0, 1.0, 2.0])
# outer = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]])
# rewired(inner, bias, outer, torch.tensor([0.1, 0.9, 0.5]))
# # [[0, 1], [1, -1], [1, 0]],  [1, 2, 0],  [[0, 2, 1], [1, 2, 0]]
# ```


# %%
def rewired(inner, bias, outer, scores): ...  # your turn


rewired = check.rewired(rewired)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `scores.argsort(descending=True)` gives the neurons in their new order.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Rows: `inner[order]`. Columns: `outer[:, order]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The bias belongs to the rows of `inner`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def rewired(inner, bias, outer, scores):
#     order = scores.argsort(descending=True)
#     return inner[order], bias[order], outer[:, order]
# ```
# </details>
#
# Your function rewires the neurons of a copy. `rewire` of labkit does the same with the heads (equal scores leave the neurons
# where they are).

# %%
import copy

network = copy.deepcopy(teacher)
for layer, neurons in zip(network.base_model.encoder.layer, neuron_scores, strict=True):
    inner, outer = layer.intermediate.dense, layer.output.dense
    new = rewired(inner.weight.data, inner.bias.data, outer.weight.data, neurons)
    inner.weight.data, inner.bias.data, outer.weight.data = (one.contiguous() for one in new)
rewire(network, head_scores, [torch.zeros(448)] * 4)
show(network)

# %% tags=["nbval-check-output"]
TWO_ERRORS = 2 * (2 * 0.25 / len(test)) ** 0.5  # of a difference between two scores, at most

with torch.no_grad():
    difference = (method.logits(teacher, batch) - method.logits(network, batch)).abs().max()
print("the whole network answers as before:", bool(difference < 1e-4))
ordered = right(network, SIZES["a quarter"])
gain = ordered - right(teacher, SIZES["a quarter"])
print("a quarter gained more than two standard errors:", gain > TWO_ERRORS)

# %% [markdown]
# No weight was trained. The numbers only changed places, and a quarter of the network does not guess any more, because the
# heads and neurons that do most of the work are now in it. It is still behind the whole: it has never run without the rest.
#
# ## 4 · All sizes learn together
#
# So let it run without the rest, in training. Each step draws some sizes, gives all of them the same texts, and takes the mean of
# their losses. The right answer is not the label but the [soft label](../glossary.ipynb#soft-label) of the fine-tuned
# network, the [teacher](../glossary.ipynb#distillation), because it tells the small sizes how sure they should be. One text:
# the teacher's shares are $(0.9, 0.1)$, one size says $(0.8, 0.2)$, another $(0.5, 0.5)$.
#
# - The first size loses $-(0.9 \ln 0.8 + 0.1 \ln 0.2) = 0.362$.
# - The second loses $-(0.9 \ln 0.5 + 0.1 \ln 0.5) = 0.693$. The mean is $0.527$.
#
# With the shares $p_c$ of the teacher and $q_c^{(s)}$ of size $s$, both by a [softmax](../glossary.ipynb#softmax) of logits:
#
# $$L = \frac{1}{S} \sum_s \; \Big( - \sum_c p_c \log q_c^{(s)} \Big), \quad \text{a mean over the texts.}$$
#
# (DynaBERT's loss also compares hidden states.)
#
# ### Exercise 3: the loss of all sizes
#
# *●●○ · 6 minutes*
#
# Logits (sizes, batch, classes) and the teacher's logits (batch, classes) in; the loss, one number, out. The sizes learn through
# it, so the logits keep their gradient.
#
# ```python
# logits = torch.tensor([[[0.8, 0.2]], [[0.5, 0.5]]]).log()  # two sizes, one text
# sizes_loss(logits, torch.tensor([[0.9, 0.1]]).log())  # 0.527
# ```


# %%
def sizes_loss(logits, target): ...  # your turn


sizes_loss = check.sizes_loss(sizes_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `target.softmax(-1)` are the teacher's shares, `logits.log_softmax(-1)` the logarithms of the sizes'.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The product of both has the shape (sizes, batch, classes), because the teacher's shares serve each size.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Sum over the classes, the last dimension; then `.mean()` over what is left.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def sizes_loss(logits, target):
#     return -(target.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
# ```
# </details>
#
# Train the rewired network with it. `sandwich` draws the sizes of a step: the whole, the smallest of all, and two at random, in which
# *each layer* has its own number of heads and neurons, or is left out. (DynaBERT trains twelve sizes, first the widths, then the
# depths; random sizes are AutoTinyBERT's way, which section 7 needs.)

# %%
from labkit.compression.searching import sandwich

draw = sandwich(full_shape(network), between=2, seed=0)


def objective(model, batch):
    with torch.no_grad():
        target, logits = method.logits(teacher, batch), []
    for shape in draw():
        with shaped(model, shape):
            logits.append(method.logits(model, batch))
    return sizes_loss(torch.stack(logits), target)


labkit.fit(network, objective, Batches(rows, method.collate, 32, seed=0), steps=80, lr=5e-4, seed=0,
           progress=lab.progress)  # fmt: skip
show(network)

# %% [markdown]
# One set of weights, two models that both answer. What does it cost to be elastic? The table has DynaBERT's twelve sizes, trained
# longer and on 1 000 test rows ([the numbers](../../docs/results.md#one-network-of-twelve-sizes)). *Depth* is the share of the layers that
# run. In each cell stand the elastic network, then a network of that size that was trained alone on the labels, then the paper's
# elastic BERT on the real QNLI.

# %%
from labkit.report import Table
from labkit.report.pages import page

cells = page("elastic")
value = {(row.method, row.metric): row.value for row in cells.report.rows if row.seed == 0}
lines = []
for width in (1, 0.75, 0.5, 0.25):
    names = [f"width {width:g}, depth {depth:g}" for depth in (1, 0.75, 0.5)]
    shown = [f"{100 * value[n, 'elastic']:.1f} · {100 * value[n, 'alone']:.1f} · {cells.paper[n]}" for n in names]
    lines.append((f"width {width:g}", *shown))
Table(("elastic · alone · paper", "depth 1", "depth 0.75", "depth 0.5"), tuple(lines))

# %% tags=["nbval-check-output"]
sizes = list(dict.fromkeys(name for name, _ in value))
for one, other in (("elastic", "alone"), ("elastic", "elastic, not rewired"),
                   ("elastic, a fifth", "elastic, a fifth, not rewired"), ("cut", "cut, not rewired")):  # fmt: skip
    apart = [100 * (value[size, one] - value[size, other]) for size in sizes]
    print(f"{one} minus {other}: {sum(apart) / 12:+.1f} points, mean of 12 sizes; the smallest {apart[-1]:+.1f}")

# %% [markdown]
# Look at the first two numbers of each cell, then at the verdicts below the table. One elastic network is, on the mean, not worse
# than twelve networks that were trained one by one, but a little better (one seed; a cell's
# [standard error](../glossary.ipynb#standard-error) is 1.3 points). It has two advantages: it begins with the fine-tuned weights, and
# the teacher's soft labels teach it. The smallest sizes have no advantage.
#
# And rewiring? After the whole training it makes no difference on the mean, although it meant so much in section 3; after a fifth of the
# steps it is ahead by less than a point. A likely reason: with enough steps at a high rate, whatever stands first learns to do the work.
# The paper reports a gain; its network is larger and changes less in training.
#
# ## 5 · Width or depth?
#
# Move the sliders: each size is cut out of your network and measured when you first ask for it. **The question**: if you halve the
# width, or halve the depth, which saves more time, and which costs more right answers?

# %%
from labkit.widgets import elastic_sizes

elastic_sizes(network, method, test, width=0.5)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Both take about half of the time, but half the depth costs more right answers. A layer builds on what the layer before it has found,
# and with two layers there are fewer such steps; in half the width each step is only coarser.
# </details>
#
# ## 6 · How long will a size take?
#
# Twelve sizes can be tried one by one. But if each of the four layers may have 1 to 5 heads, one of four numbers of neurons, or be left
# out, there are $21^4 - 1 = 194\,480$ sizes. To time them all would take hours, so AutoTinyBERT times a few and *predicts* the
# others (Yin et al. 2021, [*AutoTinyBERT*](https://arxiv.org/abs/2107.13686)). Three networks took 3, 5 and 7 ms with 1, 2
# and 3 layers: each layer costs 2 ms, and 1 ms is there without any. With noise no such line goes through all points,
# and the best one has the smallest sum of squares:
#
# $$\hat t = w_0 + w_1 \cdot \text{layers} + w_2 \cdot \text{heads} + w_3 \cdot \text{neurons}, \qquad
# w = \arg\min_w \sum_i \big( \hat t_i - t_i \big)^2 .$$
#
# ### Exercise 4: a latency predictor
#
# *●○○ · 5 minutes*
#
# Features (networks, k), whose first column is 1, and measured milliseconds (networks,), both numpy arrays, in; the k weights out.
#
# ```python
# latency_weights(np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), np.array([3.0, 5.0, 7.0]))  # [1, 2]
# ```

# %%
def latency_weights(features, ms): ...  # your turn


latency_weights = check.latency_weights(latency_weights)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `np.linalg.lstsq(a, b, rcond=None)` solves exactly this.
# </details>
#
# <details><summary>Hint 2</summary>
#
# It returns four things; the weights are the first.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Use all networks, not only as many as there are weights.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def latency_weights(features, ms):
#     return np.linalg.lstsq(features, ms, rcond=None)[0]
# ```
# </details>
#
# Forty random sizes are timed in turns. Your predictor learns from 20 of them, and is tried on the others. A search needs no more than
# the right *order*, which the [rank correlation](../glossary.ipynb#rank-correlation) measures: 1 if predicted and measured times
# put the networks in the same order, 0 if the orders have nothing to do with each other.

# %%
import random

from scipy.stats import spearmanr

from labkit.compression.searching import features, latencies, random_shape

whole, rng = full_shape(network), random.Random(1)
shapes = [random_shape(whole, rng) for _ in range(40)]
measured = np.array(latencies(network, method, test[:32], shapes))
weights = latency_weights(features(shapes[:20]), measured[:20])


def milliseconds(shape):
    return float(features([shape])[0] @ weights)


predicted = [milliseconds(shape) for shape in shapes[20:]]
print("ms for a batch of 32: constant {:.2f}, per layer {:.2f}, per head {:.3f}, per neuron {:.4f}".format(*weights))
print(f"rank correlation with the measured times: {spearmanr(predicted, measured[20:]).statistic:.3f}")

# %% [markdown]
# ## 7 · The best size for a limit
#
# To judge a size costs no training, because the network has been trained at all of them: run it at this size on rows of the dev split.
# But 194 480 times is too often. **Evolution** looks at a few hundred: begin with random sizes that are fast enough; then, round by
# round, take the best as *parents*, change some of their layers at random (*mutation*) or take each layer from one of two parents
# (*crossover*), and judge the children that are fast enough. By hand, with numbers for networks: a number takes as many
# milliseconds as it is large, the limit is 10, the larger the better, and the children of $n$ are $n + 1$ and $n + 2$. From
# $\{1, 2, 30\}$ the slow 30 is dropped. The two best, 2 and 1, have the children 3 and 4 (and 2 again); then 4 and 3 have
# 5 and 6; then come 7 and 8, then 9 and 10, and no child of these is fast enough.
#
# ### Exercise 5: the search
#
# *●●● · 10 minutes*
#
# The first networks, a function that makes a list of children of a list of parents, a function for the score and one for the time,
# the limit, the number of rounds, and how many of the best are parents, in; the best network found, out. Networks can be keys of a
# dict. A score is slow, so score no network twice, and none that is too slow.
#
# ```python
# children = lambda parents: [child for n in parents for child in (n + 1, n + 2)]
# search([1, 2, 30], children, score=float, seconds=float, limit=10, rounds=5, keep=2)  # 10
# ```


# %%
def search(first, children, score, seconds, limit, rounds, keep): ...  # your turn


search = check.search(search)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with `scores = {one: score(one) for one in first if seconds(one) <= limit}`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `sorted(scores, key=scores.get, reverse=True)[:keep]` are the parents of a round.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A child is scored if it is not in `scores` and `seconds(child) <= limit`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def search(first, children, score, seconds, limit, rounds, keep):
#     scores = {one: score(one) for one in first if seconds(one) <= limit}
#     for _ in range(rounds):
#         parents = sorted(scores, key=scores.get, reverse=True)[:keep]
#         for child in children(parents):
#             if child not in scores and seconds(child) <= limit:
#                 scores[child] = score(child)
#     return max(scores, key=scores.get)
# ```
# </details>
#
# Everything that you wrote now works together. The limit is the time of a network made by hand, half as wide and half as deep; the
# search begins with it and with random sizes. The score is the mean [log-probability](../glossary.ipynb#log-probability) of the
# right label, which is finer than the share of right answers.

# %%
from labkit.compression.searching import crossed, mutated

dev = method.read(task.splits["dev"][:300])


def score(shape):
    shares = answers(network, shape, dev)
    return float(np.log(shares[range(len(dev)), [row["label"] for row in dev]]).mean())


def children(parents):
    found = [mutated(rng.choice(parents), whole, rng) for _ in range(12)]
    return found + [crossed(rng.choice(parents), rng.choice(parents), rng) for _ in range(12)]


hand = shape_of(network, width=0.5, depth=0.5)
first = [hand, *(random_shape(whole, rng) for _ in range(100))]
found = search(first, children, score, milliseconds, milliseconds(hand), rounds=10, keep=8)
print(found)

# %% [markdown]
# Does it keep the limit when it is timed, and is it better than the network made by hand?

# %%
timed = latencies(network, method, test[:32], [hand, found], turns=15)
for name, shape, ms in zip(("hand-made", "found"), (hand, found), timed, strict=True):
    print(f"{name:<10} predicted {milliseconds(shape):.2f} ms, measured {ms:.2f} ms; score {score(shape):.3f}; "
          f"right in {right(network, shape):.1%} of 400 test rows")  # fmt: skip

# %% [markdown]
# The search chose the best score of some hundred on 300 rows, so a part of what it gained there is luck, the [winner's
# curse](../glossary.ipynb#winners-curse); the test rows show what is left. (Two standard errors of a difference there are up to 7 points.)
#
# A limit may be too strict for any size. labkit's search says so instead of giving the network that is least bad:

# %%
from labkit.compression.searching import search as labkit_search
from labkit.errors import UsageError

try:
    labkit_search(whole, score, milliseconds, limit=0.01)
except UsageError as error:
    print(error)

# %% [markdown]
# ## 8 · So, one model of many sizes?
#
# **Yes.** One file that was trained once answers at twelve sizes and many more, and on the mean of the twelve it is no worse than
# twelve networks that were trained one by one. Its price is a step of training that runs several sizes instead of one.
#
# - The *order* of heads and neurons decides what a network is worth that is cut and not trained any more.
# - *Training at a size* is what makes that size good, and after enough of it the order matters little.
# - For a limit of time, a line through 20 measured times puts sizes that were never timed in nearly the right order, and the shared
#   weights judge a size without training it. What the search finds keeps the limit; whether it beats a sensible size
#   made by hand depends on how well the score tells two good networks apart.
#
# AutoTinyBERT goes one step further: what was found is cut out and trained on as a network of its own (`extract`, then `fit`).
#
# ## Read on
#
# - Hou et al. 2020 and Yin et al. 2021, linked above. AutoTinyBERT's
#   [model zoo](https://github.com/huawei-noah/Pretrained-Language-Model/tree/master/AutoTinyBERT) reaches 81.2 on GLUE at 4.6 times
#   BERT-base's speed, and 73.5 at 17 times.
# - [`elastic.py`](../../labkit/compression/elastic.py) and [`searching.py`](../../labkit/compression/searching.py), which are short.
# - Next, [04/07](07_landing.ipynb): several compressions, one after the other.
