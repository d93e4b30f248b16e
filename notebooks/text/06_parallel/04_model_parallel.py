# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One model over many devices
#
# Data parallelism gives every device a copy of the model. What if no device can hold one? A model of 175 billion weights
# takes 16 bytes per weight to train, 2.8 TB; an accelerator has some 80 GB. A talk of the Noah's Ark Lab compares the growth
# of both: within a few years models became a thousand times larger, the memory of a card five times. So the model itself is
# cut: **its layers**, laid out over devices like stations of a production line, and **its operators**, each matrix shared
# by several devices.
#
# **After this lesson you can**
#
# - cut a layer over devices by columns and by rows, say where they must communicate, and count the bytes;
# - write the schedules GPipe and 1F1B, predict their idle time and memory, and read both off a recorded time line;
# - find a rank's place in a 3-D grid, and its three groups;
# - train on a 2 × 2 × 2 grid of processes and get the losses of one process, to twelve digits.
#
# **55 minutes.** Before it: [data parallelism](03_data_parallel.ipynb), where all-reduce comes from. You need Python and a
# little PyTorch. Everything runs on the processor: a *rank* here is a process, with messages that really are sent.

# %%
import labkit

lab = labkit.setup(lesson="06/04")

# %% [markdown]
# The sizes of everything below. A grid of `PIPE` × `DATA` × `MODEL` needs one process per place; try 4, 1, 2 or 1, 2, 4.

# %%
STAGES = 4  # @param {type:"integer"}
MICRO_BATCHES = 8  # @param {type:"integer"}
PIPE = 2  # @param {type:"integer"}
DATA = 2  # @param {type:"integer"}
MODEL = 2  # @param {type:"integer"}
STEPS = 4  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Cutting an operator: tensor parallelism
#
# A transformer's feed-forward network is $Y = \varphi(X A)\,B$, with $X$ of shape $(n, d)$ for $n$ tokens, $A$
# $(d, 4d)$, $B$ $(4d, d)$, and $\varphi$ a GELU, applied to each number. Cut $A$ by **columns** into
# $[A_1 \dots A_t]$. Each rank can then compute $X A_i$ and also $\varphi(X A_i)$, since GELU looks at one number at a time.
# Cut $B$ by **rows** to match:
#
# $$\varphi(X A)\,B \;=\; [\varphi(X A_1) \dots \varphi(X A_t)] \begin{bmatrix} B_1 \\ \vdots \\ B_t \end{bmatrix}
# \;=\; \sum_{i=1}^{t} \varphi(X A_i)\, B_i .$$
#
# Every rank computes one term, alone, with $1/t$ of the weights and $1/t$ of the work. One all-reduce adds up the terms
# (Shoeybi et al. 2019, [*Megatron-LM*](https://arxiv.org/abs/1909.08053), §3). Cut the other way round, $A$ by rows, and
# you would need a sum *before* the GELU as well: $\varphi(u + v) \ne \varphi(u) + \varphi(v)$.

# %% tags=["nbval-check-output"]
import torch
from torch.nn.functional import gelu

torch.manual_seed(0)
x, a = torch.randn(3, 4), torch.randn(4, 16)
whole = gelu(x @ a)
by_columns = torch.cat([gelu(x @ a[:, :8]), gelu(x @ a[:, 8:])], 1)  # rank 0's, rank 1's
by_rows = gelu(x[:, :2] @ a[:2]) + gelu(x[:, 2:] @ a[2:])
print("A by columns, each rank alone:", torch.allclose(by_columns, whole, atol=1e-6))
print("A by rows, summed after GELU: ", torch.allclose(by_rows, whole, atol=1e-6))

# %% [markdown]
# ### Your turn: the terms
#
# *●●○ · 5 minutes*
#
# Given $X$, $A$, $B$ and a number of ranks, return the list of what each rank computes before the sum, $(n, d)$ each. The
# layer will be trained, so the terms must carry gradients. For example, with one token and $d = 1$:
#
# ```python
# x, a, b = torch.tensor([[1.0]]), torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.ones(4, 1)
# terms(x, a, b, 2)  # → [tensor([[0.8413]]), tensor([[4.9504]])], which is [gelu(0) + gelu(1), gelu(2) + gelu(3)]
# ```

# %%
from labkit.checks import model_parallel as check


def terms(x, a, b, ranks): ...  # your turn


terms = check.terms(terms)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Rank $i$ needs columns of $A$ and the rows of $B$ with the same numbers, and all of $X$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `a.chunk(ranks, dim)` gives a tuple of `ranks` parts. Columns are dimension 1, rows dimension 0.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Go through both tuples with `zip`; for each pair `gelu(x @ a_part) @ b_part`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def terms(x, a, b, ranks):
#     parts = zip(a.chunk(ranks, 1), b.chunk(ranks, 0))
#     return [torch.nn.functional.gelu(x @ a_part) @ b_part for a_part, b_part in parts]
# ```
# </details>
#
# ### The way back
#
# Going backward, every rank knows the gradient of $Y$ and can compute those of its $A_i$ and $B_i$. But $X$ was read by all
# ranks, so each rank has only a part of its gradient:

# %% tags=["nbval-check-output"]
b = torch.randn(16, 4)
x.requires_grad_()
y = gelu(x @ a) @ b
(right,) = torch.autograd.grad(y.sum(), x)
own = [torch.autograd.grad(terms(x, a, b, 2)[rank].sum(), x)[0] for rank in range(2)]
print("forward, the two terms add up to Y:    ", torch.allclose(sum(terms(x, a, b, 2)), y, atol=1e-5))
print("backward, rank 0 has the gradient of X:", torch.allclose(own[0], right, atol=1e-5))
print("backward, both ranks' sum is it:       ", torch.allclose(own[0] + own[1], right, atol=1e-5))

# %% [markdown]
# The sum is a second all-reduce. Two small functions hold all communication of such a layer, and each is the other's
# gradient: one does nothing forward and adds up backward, the other adds up forward and does nothing backward. The paper
# calls them $f$ and $g$.

# %%
import inspect

from labkit.parallel.model_parallel.tensor_parallel import ColumnLinear, RowLinear, Spread, Sum


def body(function):
    """A function's source without its docstring."""
    head, _, rest = inspect.getsource(function).partition('"""')
    return head.rstrip() + rest.partition('"""')[2].rstrip()


for part in (Spread, Sum):
    print(f"{part.__name__}\n{body(part.forward)}\n{body(part.backward)}\n")
for part in (ColumnLinear, RowLinear):
    print(f"{part.__name__}\n{body(part.forward)}\n")

# %% [markdown]
# With these, whole models are cut. Attention goes by **heads**: the matrix of queries, keys and values by columns (whole heads at a
# time), the output matrix by rows. So a block needs two sums forward and two backward, however many ranks there are. The
# vocabulary is cut too: a rank owns the vectors of some words, and contributes zeros for the others. In the picture
# matrices stand as in the formula, inputs downwards, outputs to the right; a number is the rank that holds the piece.

# %%
from labkit.parallel.model_parallel.model import Shape
from labkit.parallel.model_parallel.picture import who_holds
from labkit.parallel.model_parallel.topology import Topology

who_holds(Shape(layers=1), Topology(pipe=1, data=1, model=4))

# %% [markdown]
# What is not drawn (norms, position vectors, the biases added after a sum) is small, and whole on every rank. Now with
# real processes: a language model of four blocks in float64, split over 2 and over 4 ranks, one forward and backward pass.

# %%
from labkit.parallel.model_parallel.model import batch, build
from labkit.parallel.model_parallel.tensor_parallel import bytes_sent, loss_and_bytes
from labkit.parallel.processes import launch
from labkit.report import Table

shape, rows = Shape(), 4
tokens = rows * shape.positions
whole = build(shape)
loss = whole(*batch(shape, rows, step=0)).item()
weights = sum(weight.numel() for weight in whole.parameters())

lines = [("1", "0", f"{weights:,}", "0", "0", f"{loss:.12f}")]
checks = []
for world in (2, 4):
    closed = bytes_sent(shape.layers, tokens, shape.width, world)
    for rank, (found, held, sent) in enumerate(launch(loss_and_bytes, world, shape, rows)):
        lines.append(
            (str(world), str(rank), f"{held:,}", f"{sent:,}", f"{closed:,}", f"{found:.12f}")
        )
        checks.append((abs(found - loss) < 1e-9, sent == closed))
Table(("ranks", "rank", "weights held", "bytes sent", "closed form", "loss"), tuple(lines))

# %% tags=["nbval-check-output"]
print("the loss of one process, to 1e-9, on every rank:", all(same for same, _ in checks))
print("bytes sent equal the closed form on every rank: ", all(equal for _, equal in checks))

# %% [markdown]
# The closed form: a ring all-reduce of $\Psi$ bytes makes each of $t$ ranks send $2\frac{t-1}{t}\Psi$. With $L$ blocks of width
# $d$ and $n$ tokens, $\Psi = 8nd$ bytes in float64, there are
#
# - $4L$ all-reduces of $\Psi$ in the blocks, one more for the embedding (forward), one for the output layer (backward);
# - for the loss, three numbers per token: the largest logit (all-gathered), the sum of exponentials and the logit of the target
#   (all-reduced). The logits themselves, one for each word of the vocabulary, never travel: softmax needs only their sum.
#
# How much is that at scale? GPT-3 has 96 blocks 12 288 wide. One text of 2 048 tokens, in 16 bit, on 8 ranks:

# %% tags=["nbval-check-output"]
inside = bytes_sent(96, 2048, 12288, 8, ends=False, itemsize=2)
between = 2 * 2048 * 12288 * 2  # hidden vectors forward, their gradient back
print(f"tensor parallel over 8: {inside / 1e9:.1f} GB sent by each rank, for one text")
print(f"between two stages, both ways:   {between / 1e9:.1f} GB, for the same text")

# %% [markdown]
# With tensor parallelism all ranks send in every block and wait for one another, so it belongs **inside** a machine, where
# links are fastest. Between machines one would rather hand over the hidden vectors once, at a layer's end. That is the
# second cut.
#
# ## 2 · Cutting between layers: the pipeline
#
# Stage $s$ of $p$ holds layers $sL/p$ to $(s+1)L/p$, and hands on what comes out. One batch alone would keep one stage busy at a time.
# So the batch is cut into $m$ **micro-batches**, which follow one another through the stages; their gradients add up to those of the
# batch. At both ends of a step some stages still wait: the **bubble**. If all stages take equally long, its share of the
# time is
#
# $$\frac{p-1}{m+p-1},$$
#
# because a step takes as long as $m + p - 1$ micro-batches need on one stage, and each stage computes only $m$ (Huang et al. 2019,
# [*GPipe*](https://arxiv.org/abs/1811.06965), §2.3). **GPipe** runs all forwards, then all backwards. **1F1B** goes back as
# soon as it can, one forward and one backward in turn (Narayanan et al. 2019 and
# [2021](https://arxiv.org/abs/2104.04473)). Play with both:
#
# 1. Four stages: how many micro-batches until the bubble is below a fifth?
# 2. Change the ratio of backward to forward. Does the bubble's share change?
# 3. Look at the right edge: how many micro-batches does a stage *keep*, whose activations wait for their backward? Double the
#    micro-batches.

# %%
from labkit.widgets import pipeline_schedule

pipeline_schedule(stages=STAGES, micro_batches=MICRO_BATCHES)

# %% [markdown]
# Both schedules have the same bubble. They differ in memory: GPipe keeps all $m$ micro-batches, 1F1B at most $p - s$ on stage
# $s$. So with 1F1B one can take $m$ large, which makes the bubble small, and needs no more memory for it. (GPipe's authors also
# drop activations and compute them again, as in [06/01](01_memory.ipynb).)
#
# ### Your turn: 1F1B
#
# *●●● · 10 minutes*
#
# Return the actions of one stage, in order, as pairs `("F", micro)` and `("B", micro)`. Stage $s$ of $p$ begins with $p - s - 1$
# forwards; then forward and backward in turn; then the backwards that are left. For example, stage 1 of 3 begins with one
# forward:
#
# ```python
# one_f_one_b(1, 3, 4)
# # → [("F", 0), ("F", 1), ("B", 0), ("F", 2), ("B", 1), ("F", 3), ("B", 2), ("B", 3)]
# ```


# %%
def one_f_one_b(stage, stages, micro_batches): ...  # your turn


one_f_one_b = check.one_f_one_b(one_f_one_b)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The last stage has no forwards to begin with: F0 B0 F1 B1 … With fewer micro-batches than stages, there may not be
# $p - s - 1$ of them: use `min`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# With `ahead` forwards done, the turn number `i` is forward of `ahead + i`, backward of `i`; there are
# `micro_batches - ahead` turns.
# </details>
#
# <details><summary>Hint 3</summary>
#
# After the turns, backwards `micro_batches - ahead` to `micro_batches - 1` are left.
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

# %% tags=["nbval-check-output"]
from labkit.parallel.model_parallel.schedule import Action, bubble_in_theory, simulate

plan = []
for stage in range(STAGES):
    actions = one_f_one_b(stage, STAGES, MICRO_BATCHES)
    plan.append([Action(kind, int(micro)) for kind, micro in actions])
    print(f"stage {stage}:", *plan[stage])

# %% [markdown]
# ### On a clock
#
# We run both schedules: one process per stage, messages between them, and a record of who did what when. To see the time line
# of `STAGES` devices on a machine with fewer cores, these stages **sleep** instead of computing, 60 ms for a forward and
# 90 ms for a backward, because processes that sleep do not take the cores from one another. All else is as in training: the
# schedule, the messages, the waiting.

# %%
from labkit.parallel.model_parallel.pipeline import sleeping
from labkit.report.timeline import timeline

ranks = launch(sleeping, STAGES, ("gpipe", "1f1b"), MICRO_BATCHES, 0.06, 0.09)
recorded = {}  # schedule -> the events of all ranks
for name in ranks[0]:
    events = [event for rank in ranks for event in rank[name][0]]
    recorded[name] = [event for event in events if event.lane == "compute"]

COLOURS = {"forward": "#0072B2", "backward": "#E69F00"}
timeline(recorded["gpipe"], "GPipe, recorded: stages that sleep 60 and 90 ms", colours=COLOURS)

# %%
timeline(recorded["1f1b"], "1F1B, recorded: stages that sleep 60 and 90 ms", colours=COLOURS)

# %% [markdown]
# ### Your turn: the bubble, from events
#
# *●●○ · 5 minutes*
#
# Each event has `.rank` (the stage), `.start` and `.end` in seconds; they come rank after rank, and the clock does not start
# at 0. Return the share of all stages' time, from the first start to the last end, in which they did nothing. A stage without
# events did nothing all the time.
#
# For example, stage 0 works from 10 s to 12 s, and stage 1 from 12 s to 14 s. The two stages have 2 · 4 s of time and work for
# 4 s of them, so the bubble is 0.5.


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
closed = bubble_in_theory(STAGES, MICRO_BATCHES)
measured = {f"{name}, recorded": events for name, events in recorded.items()}
measured["1f1b, simulated"] = simulate(plan, 0.06, 0.09)
Table(
    ("schedule", "bubble", "closed form"),
    tuple(
        (name, f"{100 * bubble(events, STAGES):.1f} %", f"{100 * closed:.1f} %")
        for name, events in measured.items()
    ),
)

# %% [markdown]
# For the last line, the lists of `one_f_one_b` were put on a clock on which messages take no time, so their bubble is exactly
# the formula's. The recorded bubbles are usually a little larger: messages take time, and a process that sleeps wakes late,
# above all on a busy machine. Here is the same over the number of micro-batches, with longer sleeps, the mean of three runs
# (`python benchmarks/pipeline.py`; [its rows](../../labkit/results/pipeline.json)):

# %%
from labkit.report import results

results("pipeline").lines(
    "micro_batches", label="micro-batches in a step", title="Bubble of four stages"
)

# %% [markdown]
# And the memory? Here stages compute again: a language model, one block per stage, one step of training with each schedule.
# Every stage counts the bytes that autograd keeps for backward passes still to come.

# %%
from dataclasses import replace

from labkit.parallel.model_parallel.three_d import Run, alone, train, train_each

deep = Run(Shape(layers=STAGES), rows=MICRO_BATCHES, micro_batches=MICRO_BATCHES, steps=1)
single = alone(deep)[0]
names = ("gpipe", "1f1b")
runs = [replace(deep, schedule=name) for name in names]
ranks = launch(train_each, STAGES, Topology(pipe=STAGES), runs)

lines = []
for number, name in enumerate(names):
    for stage, accounts in enumerate(ranks):
        one = accounts[number]
        numbers = (stage, one.most_live, one.most_bytes, one.sent["pipe"])
        lines.append((name, *(f"{number:,}" for number in numbers)))
Table(
    ("schedule", "stage", "micro-batches kept", "bytes of activations", "bytes sent"), tuple(lines)
)

# %% tags=["nbval-check-output"]
for number, name in enumerate(names):
    kept = [accounts[number].most_live for accounts in ranks]
    same = abs(ranks[-1][number].losses[0] - single[0]) < 1e-9
    print(f"{name:<5} keeps {kept} micro-batches; the loss of one process, to 1e-9: {same}")

# %% [markdown]
# GPipe's memory grows with the number of micro-batches; 1F1B's is bounded by the number of stages. (The last stage keeps
# logits as well, which is why a micro-batch costs it more.)
#
# ## 3 · Three axes
#
# Data, layers, operators: three independent cuts, so a rank has three coordinates, (pipe, data, model). The talk prints this table
# for 4 × 2 × 4 devices; the map below is the same, with machines added. Ranks that send each other most should be nearest: so
# `model` moves fastest, its groups are neighbours, and machines are filled in the order of ranks.
#
# 1. With 4 ranks per machine, along which axis do messages never leave a machine? With 8? With 2?
# 2. Suppose 8 ranks fit in a machine: which grids of 32 ranks keep both model *and* data within it?

# %%
from labkit.widgets import rank_map

rank_map(4, 2, 4, per_machine=4, rank=6)

# %% [markdown]
# ### Your turn: the rank of a place
#
# *●○○ · 3 minutes*
#
# Return the rank at a place of the grid. `sizes` are those of the grid, in the same order (pipe, data, model). For example, in
# the talk's grid, `rank_of(2, 1, 3, (4, 2, 4))` → `23`.


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
# A step along `data` passes over a whole run of `model`: `sizes[2]` ranks. A step along `pipe` passes over
# `sizes[1] * sizes[2]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# In the talk's grid: (2, 1, 3) is 2 · 8 + 1 · 4 + 3.
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
# A group of an axis holds the ranks that differ in that coordinate only. These are the three groups of the rank at (0, 1, 2):

# %% tags=["nbval-check-output"]
sizes = (4, 2, 4)
print("rank :", int(rank_of(0, 1, 2, sizes)))
print("pipe :", [int(rank_of(pipe, 1, 2, sizes)) for pipe in range(4)])
print("data :", [int(rank_of(0, data, 2, sizes)) for data in range(2)])
print("model:", [int(rank_of(0, 1, model, sizes)) for model in range(4)])

# %% [markdown]
# ### Eight processes train as one
#
# Now all three cuts together. A rank takes its replica's rows of the batch, its stage's layers, and of each layer its part. In a
# step it runs its schedule (it sends along `model` in every block, along `pipe` between blocks); then gradients are averaged
# along `data`. One thing is left: this model's embedding and output layer are **one** matrix, and now its first use is on the
# first stage and its second on the last. Each has a part of the gradient, so the two add their parts, in a fourth group.

# %%
from labkit.parallel.model_parallel.three_d import combine

print(inspect.getsource(combine))

# %%
grid = Topology(PIPE, DATA, MODEL)
run = Run(Shape(layers=max(2, PIPE)), rows=4 * DATA, micro_batches=2, steps=STEPS)
losses, weights_alone = alone(run)
ranks = launch(train, grid.world, grid, run)
together = ranks[-1].losses

Table(
    ("step", f"{grid.world} processes", "one process", "difference"),
    tuple(
        (str(step), f"{ours:.12f}", f"{one:.12f}", f"{ours - one:+.0e}")
        for step, (ours, one) in enumerate(zip(together, losses, strict=True))
    ),
)

# %% tags=["nbval-check-output"]
from labkit.parallel.model_parallel.three_d import whole_state

joined = whole_state(grid, [rank.state for rank in ranks])
furthest = max((joined[name] - weight).abs().max().item() for name, weight in weights_alone.items())
apart = max(abs(ours - one) for ours, one in zip(together, losses, strict=True))
print(f"{grid.world} processes, {STEPS} steps of AdamW")
print("losses equal to 1e-9: ", apart < 1e-9)
print("weights equal to 1e-9:", furthest < 1e-9 and set(joined) == set(weights_alone))

# %% [markdown]
# (Where the last digits differ, the cause is rounding: the ranks take a sum in another order.) The second check joined all
# shares into one set of weights. That is also how a checkpoint moves to another grid: join, then cut anew.
#
# What each rank held and sent:

# %% tags=["nbval-check-output"]
groups = ("model", "pipe", "data", "tied")
lines = [
    (str(number), str(tuple(place)), f"{rank.parameters:,}")
    + tuple(f"{rank.sent.get(group, 0):,}" for group in groups)
    for number, (place, rank) in enumerate(zip(grid, ranks, strict=True))
]
total = sum(weight.numel() for weight in build(run.shape).parameters())
print(f"the whole model has {total:,} weights; bytes sent in {STEPS} steps:")
Table(("rank", "(pipe, data, model)", "weights held", *groups), tuple(lines))

# %%
who_holds(run.shape, grid)

# %% [markdown]
# The `model` column is the largest, although the groups have only two ranks: four sums per block, for every micro-batch. Of
# the three axes `pipe` sends least. Along `data` a rank sends its share of the gradients once per step; that grows with the
# weights, not with the text, and it can be sent while the backward pass still runs ([06/03](03_data_parallel.ipynb)).
#
# On a cluster the same programs start with `torchrun`:
#
# ```bash
# torchrun --nproc_per_node 4 -m labkit.parallel.model_parallel.tensor_parallel --rows 4
# torchrun --nproc_per_node 4 -m labkit.parallel.model_parallel.pipeline --micro-batches 8
# torchrun --nproc_per_node 8 -m labkit.parallel.model_parallel.three_d --pipe 2 --model 2
# ```
#
# ## 4 · Further: PanGu-α's partition
#
# In PanGu-α (200 billion weights, 2 048 Ascend processors) a compiler does the cutting: every operator gets a layout, and the
# messages follow from it. Figure 6 of [its paper](https://arxiv.org/abs/2104.12369), shown in the talk, has parameters cut along rows
# and columns, and **the input cut along its rows as well**. For the pair $\varphi(XA)B$ on a grid of `data` × `model` ranks,
# that is:
#
# ```python
# x = X.chunk(data, 0)[place.data]                  # some rows of the input
# a = A.chunk(model, 1)[place.model]                # some columns of the first matrix
# b = B.chunk(model, 0)[place.model]                # some rows of the second
# y = Sum.apply(gelu(Spread.apply(x, over_model) @ a) @ b, over_model)
# (y.square().sum() / 2).backward()
# for weight in (a, b):
#     over_data.all_reduce(weight.grad)             # each saw only its rows
# ```
#
# So a compiler can choose among layouts for the same arithmetic. Here are four ranks and a layer 32 wide. **Predict** before you
# run the cell: which layout sends least for few tokens, and which for many?

# %% tags=["nbval-check-output"]
from labkit.parallel.model_parallel.partition import on_layouts, partition_bytes

width = 32
layouts = [(data, 4 // data, tokens) for tokens in (32, 128, 512) for data in (4, 2, 1)]
found = launch(on_layouts, 4, layouts, width)[0]  # each rank sends as much as rank 0
for (data, model, tokens), (_, _, sent) in zip(layouts, found, strict=True):
    closed = "as in" if sent == partition_bytes(data, model, tokens, width) else "not"
    counted = f"{sum(sent.values()):>7,} bytes sent by each rank, {closed} the closed form"
    print(f"{tokens:>3} tokens, data {data} × model {model}: {counted}")

# %% [markdown]
# With 32 tokens the gradients of the parameters are larger than the activations, so it is cheapest to cut the parameters only
# (model 4). With 512 tokens the activations are larger, so it is cheapest to cut the input only (data 4). With 128 tokens
# it is cheapest to cut both. The best layout depends on batch, width and links; lesson 06/08 looks for it.
#
# ## Read on
#
# - Shoeybi et al. 2019, [*Megatron-LM*](https://arxiv.org/abs/1909.08053) (§3, the cuts); Narayanan et al. 2021, [*Efficient
#   large-scale language model training on GPU clusters*](https://arxiv.org/abs/2104.04473) (§2 schedules and the three axes together);
#   Huang et al. 2019, [*GPipe*](https://arxiv.org/abs/1811.06965).
# - `labkit/parallel/model_parallel/`: [`tensor_parallel.py`](../../labkit/parallel/model_parallel/tensor_parallel.py),
#   [`schedule.py`](../../labkit/parallel/model_parallel/schedule.py),
#   [`pipeline.py`](../../labkit/parallel/model_parallel/pipeline.py),
#   [`topology.py`](../../labkit/parallel/model_parallel/topology.py),
#   [`three_d.py`](../../labkit/parallel/model_parallel/three_d.py).
# - Next: [offloading](06_offload.ipynb), for a model that is larger than the one device you have; and
#   [DeepSpeed](07_deepspeed.ipynb), which brings these cuts as a library.
