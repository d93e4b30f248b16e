# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One model over many devices: where to cut it?
#
# To train GPT-3 takes 2.8 TB, and a device has some 80 GB. So the model itself is cut, in two ways: **inside** the layers, so that each
# matrix is shared by several devices, and **between** the layers, so that the devices stand like the stations of a production line. What does
# each cut cost?
#
# **After this lesson you can** cut a layer and say what its ranks must send; write the order of work of a pipeline, and predict its idle
# time and its memory; and train on a 2 × 2 × 2 grid of processes in your own order.
#
# **55 minutes.** Before it: [data parallelism](03_data_parallel.ipynb), where [ranks](../glossary.ipynb#rank) and
# [all-reduce](../glossary.ipynb#all-reduce) come from.

# %%
import labkit

lab = labkit.setup(lesson="06/04")

# %%
STAGES = 4  # @param {type:"integer"}
MICRO_BATCHES = 8  # @param {type:"integer"}
STEPS = 4  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Half a layer each
#
# The feed-forward part of a Transformer is $Y = \varphi(X A)\,B$. $X$ has a row of $d$ numbers for each token, $A$ is $(d, 4d)$, $B$ is
# $(4d, d)$, and $\varphi$ is a GELU, a non-linear function of each number. Two processes have half of the columns of $A$ and half of the rows of
# $B$ each, and compute with these alone:

# %% tags=["nbval-check-output"]
import torch
from torch.nn.functional import gelu

from labkit.parallel.processes import launch

torch.manual_seed(0)
X, A, B = torch.randn(3, 4), torch.randn(4, 16), torch.randn(16, 4)


def half(here, x, a, b):
    own = slice(8 * here.rank, 8 * here.rank + 8)
    return gelu(x @ a[:, own]) @ b[own]


parts = launch(half, 2, X, A, B)
for name, y in (("rank 0", parts[0]), ("rank 1", parts[1]), ("their sum", sum(parts)), ("one process", gelu(X @ A) @ B)):
    print(f"{name:<11}  first token: {y[0].numpy().round(3)}")

# %% [markdown]
# Neither rank is right, and their sum is. Why?
#
# Take one token and $d = 1$: $X = 1$, $A = (0, 1, 2, 3)$, and $B$ is four ones. The whole layer gives
# $\varphi(0) + \varphi(1) + \varphi(2) + \varphi(3)$. Rank 0 has the first two columns and computes
# $\varphi(0) + \varphi(1) = 0.841$; rank 1 computes $\varphi(2) + \varphi(3) = 4.950$. GELU looks at one number at a time, so a rank can apply
# it to its own columns. With $t$ ranks:
#
# $$\varphi(X A)\,B \;=\; [\varphi(X A_1) \dots \varphi(X A_t)] \begin{bmatrix} B_1 \\ \vdots \\ B_t \end{bmatrix}
# \;=\; \sum_{i=1}^{t} \varphi(X A_i)\, B_i .$$
#
# Every rank has $1/t$ of the weights and does $1/t$ of the work, and **one** all-reduce adds up the terms. This is
# [*tensor parallelism*](../glossary.ipynb#tensor-parallelism) (Shoeybi et al. 2019, [*Megatron-LM*](https://arxiv.org/abs/1909.08053), §3). With
# $A$ cut by rows the ranks would have to add up before the GELU as well, because $\varphi(u + v) \ne \varphi(u) + \varphi(v)$.
#
# ### Exercise 1: a rank's term
#
# *●●○ · 6 minutes*
#
# $X$, $A$, $B$, a rank and the number of ranks in; what this rank computes before the sum, $(n, d)$, out. The layer will be trained, so the
# term keeps its gradient.
#
# ```python
# x, a, b = torch.tensor([[1.0]]), torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.ones(4, 1)
# term(x, a, b, rank=0, ranks=2)  # tensor([[0.8413]])
# term(x, a, b, rank=1, ranks=2)  # tensor([[4.9504]])
# ```

# %%
from labkit.checks import model_parallel as check


def term(x, a, b, rank, ranks): ...  # your turn


term = check.term(term)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Rank $i$ needs columns of $A$ and the rows of $B$ with the same numbers, and all of $X$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `a.chunk(ranks, 1)` are the parts by columns, `b.chunk(ranks, 0)` those by rows.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `gelu(x @ …) @ …`; GELU is `torch.nn.functional.gelu`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def term(x, a, b, rank, ranks):
#     columns, rows = a.chunk(ranks, 1)[rank], b.chunk(ranks, 0)[rank]
#     return torch.nn.functional.gelu(x @ columns) @ rows
# ```
# </details>
#
# Now going backward. $X$ has been read by all ranks, and each knows only what *its* term does with it. So each has a part of the gradient of
# $X$, and a second all-reduce adds these up. Two small functions hold all that such a layer sends: `Sum` adds up forward and does nothing
# backward; `Spread` does nothing forward and adds up backward. **Predict**: what does a rank send for a layer of $\Psi$ bytes of
# activations, forward and backward, with 2 ranks and with 4?

# %% tags=["nbval-check-output"]
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.model_parallel.tensor_parallel import Spread, Sum


def layer(here, x, a, b):
    group, x = Communicator(here, name="model"), x.clone().requires_grad_()
    y = Sum.apply(term(Spread.apply(x, group), a, b, group.rank, group.world), group)
    y.square().sum().backward()
    return y.detach(), x.grad, group.sent


y = gelu((x := X.clone().requires_grad_()) @ A) @ B
y.square().sum().backward()
for ranks in (2, 4):
    found = launch(layer, ranks, X, A, B)
    right = all(torch.allclose(one, y, atol=1e-4) and torch.allclose(g, x.grad, rtol=1e-4, atol=1e-3) for one, g, _ in found)
    print(f"{ranks} ranks: result and gradient of one process: {right}; sent {[size / X.nbytes for _, _, size in found]} Ψ")

# %% [markdown]
# Your term runs in every process. Each of the two all-reduces makes a rank send $2\,\frac{t-1}{t}\,\Psi$ bytes. A block of a Transformer has
# two such layers (attention is cut by heads), so it needs four all-reduces. Is that much? GPT-3 has 96 blocks that are 12 288 wide.
# One text of 2 048 tokens in 16 bits, over 8 ranks, beside the other cut, *between* two blocks:

# %% tags=["nbval-check-output"]
from labkit.parallel.model_parallel.tensor_parallel import bytes_sent

inside = bytes_sent(96, 2048, 12288, 8, ends=False, itemsize=2)
between = 2 * 2048 * 12288 * 2  # the states forward, their gradients back
print(f"cut inside the blocks: {inside / 1e9:.1f} GB are sent by each rank for one text; between two blocks: {between / 1e9:.1f} GB")

# %% [markdown]
# So a cut inside the layers belongs inside a machine, where the links are fastest. Between machines one would rather hand over the states
# once. That is the second cut, the [*pipeline*](../glossary.ipynb#pipeline-parallelism).
#
# ## 2 · The production line
#
# Let stage 0 hold the first half of the layers and stage 1 the second. One batch goes forward through both and back through both:
# stage 0 waits while stage 1 works, and the other way round. Each is idle for half of the time. Now cut the batch into three
# [*micro-batches*](../glossary.ipynb#micro-batch), and let stage 0 begin the second one while stage 1 has the first:
#
# ```text
# time      1   2   3   4   5   6   7   8
# stage 0   F0  F1  ·   B0  F2  B1  ·   B2
# stage 1   ·   F0  B0  F1  B1  F2  B2  ·
# ```
#
# F0 is the forward pass of micro-batch 0, B0 its backward pass. Each stage is idle for 2 of 8 places, a quarter. This share is called the
# [*bubble*](../glossary.ipynb#pipeline-bubble). With $p$ stages and $m$ micro-batches it is
#
# $$\frac{p-1}{m+p-1} ,$$
#
# because a step takes as long as $m + p - 1$ micro-batches need on one stage, which computes only $m$ (Huang et al. 2019,
# [*GPipe*](https://arxiv.org/abs/1811.06965), §2.3). There are two orders of work. **GPipe** runs all forward passes, then all backward
# passes. **1F1B** goes back as soon as it can: one forward, one backward in turn (Narayanan et al.
# [2021](https://arxiv.org/abs/2104.04473)). The table shows 1F1B. Play with both:
#
# 1. Four stages: how many micro-batches until the bubble is below a fifth?
# 2. At the right edge: how many micro-batches does a stage *keep*, whose activations wait for their backward pass? What happens when there are twice as
#    many micro-batches?

# %%
from labkit.widgets import pipeline_schedule

pipeline_schedule(stages=STAGES, micro_batches=MICRO_BATCHES)

# %% [markdown]
# ### Exercise 2: 1F1B
#
# *●●● · 10 minutes*
#
# A stage, the number of stages and of micro-batches in; the stage's actions in order out, pairs `("F", micro)` and `("B", micro)`. Stage $s$ of
# $p$ begins with $p - s - 1$ forwards, or with all of them if there are fewer; then forward and backward in turn; then the backwards
# that are left.
#
# ```python
# one_f_one_b(0, 2, 3)  # [("F", 0), ("F", 1), ("B", 0), ("F", 2), ("B", 1), ("B", 2)], as in the table
# one_f_one_b(1, 2, 3)  # [("F", 0), ("B", 0), ("F", 1), ("B", 1), ("F", 2), ("B", 2)]
# ```


# %%
def one_f_one_b(stage, stages, micro_batches): ...  # your turn


one_f_one_b = check.one_f_one_b(one_f_one_b)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `ahead = min(stages - stage - 1, micro_batches)` is the number of forwards at the beginning.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Turn number `i` is forward of `ahead + i`, then backward of `i`; there are `micro_batches - ahead` turns.
# </details>
#
# <details><summary>Hint 3</summary>
#
# After the turns, the backwards `micro_batches - ahead` to `micro_batches - 1` are left.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def one_f_one_b(stage, stages, micro_batches):
#     ahead = min(stages - stage - 1, micro_batches)
#     actions = [("F", micro) for micro in range(ahead)]
#     for turn in range(micro_batches - ahead):
#         actions += [("F", ahead + turn), ("B", turn)]
#     return actions + [("B", micro) for micro in range(micro_batches - ahead, micro_batches)]
# ```
# </details>
#
# Now one process for each stage runs **your** order, and GPipe's beside it. They send real messages, and record who did what when. To see four
# devices on a machine with fewer cores, these stages *sleep* instead of computing, 60 ms for a forward and 90 ms for a backward pass, because
# sleeping processes do not take the cores from one another.

# %%
from labkit.parallel.model_parallel.pipeline import sleeping
from labkit.report.timeline import timeline


def gpipe(stage, stages, micro_batches):
    return [(kind, micro) for kind in "FB" for micro in range(micro_batches)]


def both_orders(here, micro_batches):
    return sleeping(here, (gpipe, one_f_one_b), micro_batches, 0.06, 0.09)


recorded = {}  # order -> the events of all stages
for rank in launch(both_orders, STAGES, MICRO_BATCHES):
    for number, (events, _) in enumerate(rank.values()):
        recorded.setdefault(number, []).extend(event for event in events if event.lane == "compute")
COLOURS = {"forward": "#0072B2", "backward": "#E69F00"}
timeline(recorded[0], "GPipe, recorded", colours=COLOURS)

# %%
timeline(recorded[1], "1F1B in your order, recorded", colours=COLOURS)

# %% [markdown]
# Look at the white places. In both pictures the stages wait at the beginning and at the end, and with 1F1B also in between: the gaps are in other
# places. Are they less?
#
# ### Exercise 3: the bubble, from events
#
# *●●○ · 6 minutes*
#
# A list of events and the number of stages in; out the share of all stages' time, from the first start to the last end, in which they did nothing.
# An event has `.rank` (the stage), `.start` and `.end` in seconds. The events come stage after stage, and the clock does not start at 0.
#
# ```python
# # stage 0 works from 10 s to 12 s, stage 1 from 12 s to 14 s: 4 s of work in 2 · 4 s
# bubble(events, 2)  # 0.5
# ```


# %%
def bubble(events, stages): ...  # your turn


bubble = check.bubble(bubble)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The step takes from `min` of all starts to `max` of all ends. All stages together have `stages` times that.
# </details>
#
# <details><summary>Hint 2</summary>
#
# They worked for the sum of all durations.
# </details>
#
# <details><summary>Hint 3</summary>
#
# What is left, divided by all of the time. Waiting before a stage's first action counts, too.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bubble(events, stages):
#     span = max(event.end for event in events) - min(event.start for event in events)
#     return 1 - sum(event.end - event.start for event in events) / (stages * span)
# ```
# </details>

# %%
closed = (STAGES - 1) / (MICRO_BATCHES + STAGES - 1)
for number, name in enumerate(("GPipe", "1F1B")):
    print(f"{name}: bubble {100 * bubble(recorded[number], STAGES):.1f} %, by the formula {100 * closed:.1f} %")

# %% [markdown]
# The bubbles are alike, and a little above the formula's: messages take time, and a process that sleeps wakes late on a busy machine ([on a quiet
# one, over the number of micro-batches](../../docs/results.md#the-bubble-of-a-pipeline)). So why 1F1B? Now the stages compute: a language model
# of one block per stage makes a training step with each order. **Predict**: how many micro-batches does each stage keep at most, with GPipe and with
# 1F1B?

# %% tags=["nbval-check-output"]
from dataclasses import replace

from labkit.parallel.model_parallel.model import Shape
from labkit.parallel.model_parallel.three_d import Run, alone, train
from labkit.parallel.model_parallel.topology import Topology


def step_of_each(here, grid, run):
    return [train(here, grid, replace(run, schedule=order)) for order in (gpipe, one_f_one_b)]


deep = Run(Shape(layers=STAGES), rows=MICRO_BATCHES, micro_batches=MICRO_BATCHES, steps=1)
loss, ranks = alone(deep)[0][0], launch(step_of_each, STAGES, Topology(pipe=STAGES), deep, seconds=300)
for number, name in enumerate(("GPipe", "1F1B")):
    same = abs(ranks[-1][number].losses[0] - loss) < 1e-9
    print(f"{name} keeps {[rank[number].most_live for rank in ranks]} micro-batches; the loss of one process, to 1e-9: {same}")

# %% [markdown]
# The same loss, and the same bubble, but not the same memory. GPipe keeps all micro-batches, 1F1B at most $p - s$ on stage $s$. So with
# 1F1B one can take $m$ large, which makes the bubble small, and needs no more memory for it.
#
# ## 3 · Three axes
#
# Layers, batch and operators are cut independently, so a rank has three coordinates, (pipe, data, model). Ranks that send each other most should be
# neighbours. So `model` moves fastest: in a grid of 2 × 2 × 4, (0, 0, 0) to (0, 0, 3) are ranks 0 to 3, (0, 1, 0) is rank 4, and
# (1, 0, 0) is rank 8. The map shows this grid on machines of four. With 4 ranks per machine, along which axis do messages never leave a
# machine? With 8? With 2?

# %%
from labkit.widgets import rank_map

rank_map(2, 2, 4, per_machine=4, rank=6)

# %% [markdown]
# ### Exercise 4: the rank of a place
#
# *●○○ · 4 minutes*
#
# A place and the sizes of the grid, both in the order (pipe, data, model), in; the rank out. The example is from a talk of the Noah's Ark
# Lab, which has a grid of 4 × 2 × 4.
#
# ```python
# rank_of(2, 1, 3, (4, 2, 4))  # 23
# ```


# %%
def rank_of(pipe, data, model, sizes): ...  # your turn


rank_of = check.rank_of(rank_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# It is a number with three digits, whose last digit runs from 0 to `sizes[2] - 1`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A step along `data` passes over `sizes[2]` ranks, a step along `pipe` over `sizes[1] * sizes[2]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# In the talk's grid (2, 1, 3) is 2 · 8 + 1 · 4 + 3.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def rank_of(pipe, data, model, sizes):
#     return (pipe * sizes[1] + data) * sizes[2] + model
# ```
# </details>
#
# Now all cuts together: eight processes in a grid of 2 × 2 × 2, each stage in your order. A rank takes its replica's rows, its stage's
# layers, and of each layer its part. It sends along `model` in every block and along `pipe` between blocks, and at the end of a step the
# gradients are averaged along `data`. (The embedding and the output layer are one matrix, whose two gradients are added up in a fourth group.)
# In the picture a number is the rank that holds the piece.

# %%
from labkit.parallel.model_parallel.picture import who_holds

SIZES = (2, 2, 2)
grid, run = Topology(*SIZES), Run(Shape(layers=2), rows=8, micro_batches=2, steps=STEPS)
who_holds(run.shape, grid)


# %% tags=["nbval-check-output"]
def in_your_order(here, grid, run):
    return train(here, grid, replace(run, schedule=one_f_one_b))


losses, _ = alone(run)
ranks = launch(in_your_order, grid.world, grid, run, seconds=300)
last = ranks[int(rank_of(1, 0, 0, SIZES))]  # the last stage knows the losses
apart = max(abs(a - b) for a, b in zip(last.losses, losses, strict=True))
print(f"8 processes, {STEPS} steps of AdamW: the losses of one process, to 1e-9: {apart < 1e-9}")
for axis in ("model", "pipe", "data"):
    print(f"rank {rank_of(0, 0, 0, SIZES)} sent {ranks[0].sent[axis]:>7,} bytes along {axis}")

# %% [markdown]
# Eight processes train as one, each stage in your order. Of what a rank sends, most goes along `model`, although these groups have
# only two ranks: four sums in every block, for every micro-batch. Least goes along `pipe`.
#
# ## 4 · So, where to cut?
#
# - **Inside** the layers where links are fastest: no rank waits for another's layer, but four all-reduces per block are sent.
# - **Between** the layers where links are slow: only states are handed on, but stages are idle for $(p-1)/(m+p-1)$ of the time. 1F1B
#   lets $m$ be large, because it keeps at most $p$ micro-batches.
# - **The batch** wherever devices are left: gradients once per step.
#
# ## Read on
#
# - Shoeybi et al. 2019 and Narayanan et al. 2021 (§2, the three axes together), linked above.
# - A compiler can do the cutting. [`partition.py`](../../labkit/parallel/model_parallel/partition.py) has PanGu-α's, in which the input is cut along
#   its rows as well ([paper](https://arxiv.org/abs/2104.12369), figure 6), and counts which layout sends least.
# - On a cluster: `torchrun --nproc_per_node 8 -m labkit.parallel.model_parallel.three_d --pipe 2 --model 2`.
# - Next, [06/06](06_offload.ipynb): a model that is larger than the one device you have. And [06/07](07_deepspeed.ipynb): these cuts as
#   a library.
