# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Many copies, one model: collectives, DDP and ZeRO
#
# One device is too slow, so we take several: each has a copy of the model and works on its own part of every batch. Two
# questions follow. How do the copies stay one model, and how many bytes must they send for that? And does every device
# have to store what all the others store too?
#
# **After this lesson you can**
#
# - say what the five collectives do, build all-reduce as a ring, and count the bytes that each rank sends;
# - train on several ranks and get the losses of one process, and see in a time line how ranks send during backward;
# - say what a rank keeps under ZeRO 1, 2 and 3 and what it sends for it, and confirm both by measurement;
# - take up a sharded checkpoint with another number of ranks.
#
# **50 minutes.** Before it: [06/01](01_memory.ipynb), where the 16 bytes per parameter of mixed-precision Adam come from. You
# need Python and a little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="06/03")

# %% [markdown]
# The ranks of this lesson are real processes on your machine, which talk through gloo. Choose how many, and how large the
# model is, and run all cells again.

# %%
RANKS = 4  # @param {type:"integer"}
WIDTH = 32  # @param {type:"integer"}
LAYERS = 2  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A mean of means
#
# The gradient of a mean loss is the mean of the rows' gradients. So let $N$ ranks take $B/N$ rows each:
#
# $$\frac{1}{B}\sum_{i=1}^{B} \nabla \ell_i = \frac{1}{N}\sum_{r=1}^{N} \Big( \frac{N}{B}\sum_{i \in \text{rows of } r} \nabla \ell_i \Big) .$$
#
# Each rank computes what is in the large brackets, all take the mean, and every copy makes the same step. Both sides are
# equal for any model, so we can test it: in double precision, up to rounding.

# %% tags=["nbval-check-output"]
import torch

from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of

sizes = {"width": WIDTH, "layers": LAYERS}
model, batch = new_model(**sizes), batch_of(seed=0, step=0, rows=8)


def gradient(rows):
    """The gradient of the mean loss over `rows`, as one long vector."""
    model.zero_grad()
    loss_of(model, rows).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


whole = gradient(batch)
parts = [gradient(part_of(batch, rank, RANKS)) for rank in range(RANKS)]
print(
    "mean of the ranks' gradients = gradient of the batch:",
    torch.allclose(sum(parts) / RANKS, whole, atol=1e-12),
)

# %% [markdown]
# This holds for parts of *equal* size. If one rank had fewer rows, each of its rows would count more in the mean. So a
# batch that cannot be shared equally is refused:

# %% tags=["nbval-check-output"]
from labkit.errors import LabkitError

try:
    part_of(batch, rank=0, world=3)
except LabkitError as error:
    print(error)

# %% [markdown]
# ## 2 · Five collectives
#
# Data parallelism is written with a few operations that all ranks do together. $x_r$ is the tensor of rank $r$:
#
# | collective | before | after |
# |---|---|---|
# | broadcast | rank 0 has $x_0$ | all have $x_0$ |
# | reduce | all have their $x_r$ | rank 0 has $\sum_r x_r$ |
# | all-reduce | all have their $x_r$ | all have $\sum_r x_r$ |
# | reduce-scatter | all have their $x_r$ | rank $r$ has part $r$ of the sum |
# | all-gather | rank $r$ has part $r$ | all have all parts |
#
# Note that **all-reduce = reduce-scatter, then all-gather**. ZeRO (section 5) does something between the two.
#
# How would you do an all-reduce? If all send everything to rank 0 and it sends the sum back, rank 0 sends and receives $N-1$
# tensors. In the *ring* (Patarasuk & Yuan 2009) all ranks send equally much. Each tensor of $\Psi$ bytes is cut into $N$ chunks.
# In each of $N-1$ steps, every rank sends one chunk to its right neighbour, which adds it: then chunk $r$ is complete on
# rank $r$. In $N-1$ more steps the complete chunks go round. In every step each rank sends $\Psi/N$ bytes:
#
# $$\underbrace{\tfrac{N-1}{N}\,\Psi}_{\text{reduce-scatter}} + \underbrace{\tfrac{N-1}{N}\,\Psi}_{\text{all-gather}} = 2\,\tfrac{N-1}{N}\,\Psi \;<\; 2\Psi \quad\text{for any number of ranks.}$$
#
# Play it step by step. Where is the sum of chunk 0 complete for the first time? How much has each rank sent by the end of
# an all-reduce, and who sends nothing in a broadcast?

# %%
from labkit.widgets import collectives

collectives("all-reduce", ranks=4, step=2)

# %% [markdown]
# ### Your turn: one step of the ring
#
# *●●○ · 8 minutes*
#
# Here ranks are entries of a list: `chunks[r][c]` is what rank `r` has of chunk `c`. In step $s$ (from 0), rank $r$ sends
# chunk $(r - 1 - s) \bmod N$ to rank $r + 1$, which adds it to its own. Return the lists after that step, and leave those
# you were given as they are.
#
# For example, with two ranks whose chunks are one number each, in step 0: rank 0 sends its chunk 1 (the 2) to rank 1, and
# rank 1 sends its chunk 0 (the 10) to rank 0:
#
# ```python
# ring_step([[1, 2], [10, 20]], 0)  # → [[11, 2], [10, 22]]
# ```

# %%
from labkit.checks import data_parallel as check


def ring_step(chunks, step): ...  # your turn


ring_step = check.ring_step(ring_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with a copy of the lists, `after = [list(row) for row in chunks]`, and read only from `chunks`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# For each rank: which chunk leaves, and to whom? The last rank's neighbour is rank 0: `(r + 1) % n`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `after[to][c] = chunks[to][c] + chunks[r][c]` makes a new tensor; `+=` would change the one you were given.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def ring_step(chunks, step):
#     n, after = len(chunks), [list(row) for row in chunks]
#     for r in range(n):
#         c, to = (r - 1 - step) % n, (r + 1) % n
#         after[to][c] = chunks[to][c] + chunks[r][c]
#     return after
# ```
# </details>

# %% tags=["nbval-check-output"]
# Rank r begins with 10 to the power of r in every chunk, so the digits of a sum say whose numbers are in it.
chunks = [[torch.full((2,), 10.0**rank) for _ in range(RANKS)] for rank in range(RANKS)]
for step in range(RANKS - 1):
    chunks = ring_step(chunks, step)
for rank in range(RANKS):
    print(f"rank {rank}:", *(f"{int(chunk[0]):>{RANKS}}" for chunk in chunks[rank]))

# %% [markdown]
# After $N-1$ steps each rank has exactly one complete sum, with a digit of every rank: chunk $r$ on rank $r$. The other
# chunks hold parts of a sum, which an all-gather would now overwrite.
#
# The library does the same with messages between processes. A `Communicator` uses two operations of PyTorch, `isend`
# and `irecv`, builds all five collectives from them, and counts what it sends.

# %%
import inspect

from labkit.parallel.data_parallel.collectives import Communicator

print(inspect.getsource(Communicator._ring_reduce))
print(inspect.getsource(Communicator.all_reduce))

# %% [markdown]
# `launch` starts a program on as many processes as you say and returns what each rank returned. The program here runs each
# collective once, on 1,200 numbers of 8 bytes, and compares every rank's result with the right one.

# %% tags=["nbval-check-output"]
from labkit.parallel.data_parallel import programs
from labkit.parallel.processes import launch
from labkit.report import Table

numbers = 1_200
psi = 8 * numbers
ring = psi * (RANKS - 1) // RANKS
theory = {
    "broadcast": [psi] * (RANKS - 1) + [0],
    "reduce": [0] + [psi] * (RANKS - 1),
    "reduce-scatter": [ring] * RANKS,
    "all-gather": [ring] * RANKS,
    "all-reduce": [2 * ring] * RANKS,
}
found = launch(programs.collectives, RANKS, numbers)
lines = []
for name, expected in theory.items():
    right = all(rank[name][0] for rank in found)
    sent = [rank[name][1] for rank in found]
    lines.append(
        (name, "yes" if right else "no", " ".join(map(str, sent)), " ".join(map(str, expected)))
    )
Table(("collective", "right", "bytes sent by each rank", "formula"), tuple(lines))

# %% [markdown]
# ## 3 · Without a ring
#
# Compare the ring with two older ways.
#
# A **parameter server** collects every rank's gradients, makes the step, and hands out the new weights. The result is the
# same, but everything passes through one rank: it sends $(N-1)\Psi$ bytes per step and receives as many.
#
# A model may also be **cut by layers**, so that a layer's owner hands it to everyone when it is needed. *BMTrain* (and ZeRO-3
# below) instead cuts *every* layer into $N$ equal parts in one flat buffer, and all-gathers it. In total the same bytes are
# sent, but by $N$ ranks at once.
#
# **Predict** before you run the next cell: with `RANKS` ranks, how many times as many bytes does the server send as a rank of
# the ring?

# %% tags=["nbval-check-output"]
found = launch(programs.beside_each_other, RANKS, sizes)
lines = []
for what in ("a step", "one layer"):
    for name in found[0][what]:
        sent = [rank[what][name] for rank in found]
        lines.append((f"{what}: {name}", f"{max(sent):,}", f"{sum(sent):,}"))
Table(("bytes until all have", "sent by the busiest rank", "sent by all"), tuple(lines))

# %% [markdown]
# Compare the lines in pairs. In each pair all ranks together send the same, but the busiest rank does not: the server sends
# $N/2$ times as much as a rank of the ring, and the owner of a layer $N$ times as much as a rank of the all-gather. The
# others wait for the busiest rank, so a step takes as long as that rank needs.
#
# ## 4 · DDP from its parts
#
# *Distributed data parallel* (Li et al. 2020, [*PyTorch distributed*](https://arxiv.org/abs/2006.15704)) has four parts:
#
# 1. **Broadcast** rank 0's weights, so that the copies begin alike.
# 2. **Buckets**: many small messages cost more than a few large ones, so gradients are sent in groups, called buckets: the
#    last layers first, because backward finishes those first.
# 3. **Hooks**: `register_post_accumulate_grad_hook` calls us as soon as a gradient is whole. When a bucket is full, its
#    all-reduce starts in a second thread, while backward goes on with the layers before.
# 4. The **same optimizer step** on every rank.

# %%
from labkit.parallel.data_parallel.ddp import DataParallel

for part in (DataParallel._arrived, DataParallel._start, DataParallel._average):
    print(inspect.getsource(part))

# %% [markdown]
# Do the two really happen at the same time? The ranks record when each thing began and ended, on a common clock. This is
# the second of two steps of a larger model, on two ranks.

# %%
from labkit.report.timeline import timeline

wide = {"width": 160, "layers": 4}
found = launch(programs.overlapped, 2, 2, 48, wide, 2_000_000)
timeline(
    [event for rank in found for event in rank["events"]],
    title=f"one step of DDP, {found[0]['buckets']} buckets",
)

# %% [markdown]
# The lane *communicate* begins while *backward* is still going on: the first buckets are sent while earlier layers are
# computed. A bar there also contains the time in which a rank waits for the other one. After backward a rank still has to
# *wait* for the buckets that have not arrived: the last can only start when backward is finished. (If your processor is
# busy, sending and computing take turns, and the picture is less clear.)
#
# And the losses are those of one process:

# %% tags=["nbval-check-output"]
alone = programs.alone(2, 48, 1e-2, wide)
off = max(abs(a - b) for a, b in zip(found[0]["losses"], alone, strict=True))
print("two ranks = one process, to 1e-9:", off < 1e-9)

# %% [markdown]
# ## 5 · ZeRO: why keep everything N times?
#
# In DDP every rank keeps all 16 bytes per parameter: weight 2, gradient 2, optimizer 12 (the fp32 master weight and
# Adam's two means). But each rank's optimizer computes exactly what all the others compute. *ZeRO* (Rajbhandari et al. 2020,
# [*Memory optimizations toward training trillion parameter models*](https://arxiv.org/abs/1910.02054), §5) lets each rank keep
# its *part*:
#
# | stage | cut into N parts | bytes per parameter on each rank | bytes sent by each rank per step |
# |---|---|---|---|
# | 0 (DDP) | nothing | $16$ | $2\Psi \cdot \frac{N-1}{N}$ |
# | 1 | optimizer | $4 + 12/N$ | $2\Psi \cdot \frac{N-1}{N}$ |
# | 2 | … and gradients | $2 + 14/N$ | $2\Psi \cdot \frac{N-1}{N}$ |
# | 3 | … and weights | $16/N$ | $3\Psi \cdot \frac{N-1}{N}$ |
#
# where $\Psi$ is the size of the weights in bytes as they are sent (2 each). Stages 1 and 2 send *no more* than DDP: its
# all-reduce already is a reduce-scatter and an all-gather, and the step goes between the two. After the reduce-scatter a rank has
# the mean gradient of its part; it updates its part of the weights; the all-gather gives the new weights to all. Stage 3
# sends half as much again: no rank has the weights, so they are gathered before forward, and once more before backward.
#
# ### Your turn: bytes per parameter
#
# *●○○ · 3 minutes*
#
# For a stage from 0 to 3 and a number of ranks, return the bytes that one rank keeps per parameter. For example,
# `bytes_per_parameter(1, 3)` → `8.0`: weight 2, gradient 2, and a third of the optimizer's 12.


# %%
def bytes_per_parameter(stage, ranks): ...  # your turn


bytes_per_parameter = check.bytes_per_parameter(bytes_per_parameter)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with three numbers: 2, 2 and 12.
# </details>
#
# <details><summary>Hint 2</summary>
#
# From stage 1 on the 12 are divided by the ranks, from stage 2 on the gradient's 2 too, in stage 3 the weight's 2 as well.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A comparison is a condition: `12 / ranks if stage >= 1 else 12`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bytes_per_parameter(stage, ranks):
#     optimizer = 12 / ranks if stage >= 1 else 12
#     gradient = 2 / ranks if stage >= 2 else 2
#     weight = 2 / ranks if stage >= 3 else 2
#     return weight + gradient + optimizer
# ```
# </details>
#
# The article on EasyTexMiner says: 4 times less memory for stage 1, 8 times for stage 2, linear in the number of devices for
# stage 3. These are the *limits* for many ranks, $16/4$ and $16/2$. How soon are they reached?

# %% tags=["nbval-check-output"]
lines = []
for ranks in (2, 4, 8, 64, 1024):
    less = [16 / float(bytes_per_parameter(stage, ranks)) for stage in (1, 2, 3)]
    lines.append((f"{ranks:,}", *(f"{times:,.2f} ×" for times in less)))
Table(("ranks", "stage 1", "stage 2", "stage 3"), tuple(lines), (("limit", "4 ×", "8 ×", "N ×"),))

# %% [markdown]
# Stage 3 saves exactly $N$ times. Stages 1 and 2 come near their limits only with dozens of ranks, because the 4 or 2 bytes
# that are not cut stay with every rank.
#
# ### Your turn: a rank's part
#
# *●○○ · 5 minutes*
#
# Which part belongs to which rank? Parameters have all shapes, and few of their sizes are multiples of $N$. So a layer's
# parameters are laid end to end in one row of numbers, the row is padded with zeros to a multiple of $N$, and rank $r$ owns
# the $r$-th of $N$ equal parts, wherever parameters begin and end. Return that part, in the row's dtype. For example:
#
# ```python
# row = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
# shard(row, 0, 2)  # → tensor([1., 2., 3.])
# shard(row, 1, 2)  # → tensor([4., 5., 0.])
# ```


# %%
def shard(numbers, rank, ranks): ...  # your turn


shard = check.shard(shard)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The length of a part is the length of the row divided by the ranks, rounded *up*.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Rounding up with whole numbers: `-(-len(numbers) // ranks)`. `numbers.new_zeros(n)` makes `n` zeros of the same kind.
# </details>
#
# <details><summary>Hint 3</summary>
#
# With the padded row (`torch.cat`), the part is `[rank * size : (rank + 1) * size]`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def shard(numbers, rank, ranks):
#     size = -(-len(numbers) // ranks)
#     padded = torch.cat([numbers, numbers.new_zeros(size * ranks - len(numbers))])
#     return padded[rank * size : (rank + 1) * size]
# ```
# </details>
#
# ### Your turn: a step of ZeRO-1
#
# *●●○ · 8 minutes*
#
# Ranks are list entries again. `weights[r]` are rank $r$'s weights (alike everywhere), `gradients[r]` its own gradient; $N$
# divides their length. `update(part, gradient, rank)` is the rank's optimizer: it takes the rank's part of the weights and of
# the *mean* gradient, and returns the new part. Return every rank's new weights.
#
# For example, two ranks have the weights [1, 2] and the gradients [0, 2] and [2, 4], and `update` returns `part - gradient`.
# The mean gradient is [1, 3]. Rank 0 computes 1 − 1 = 0, rank 1 computes 2 − 3 = −1, and both end with [0, −1].


# %%
def zero1_step(weights, gradients, update): ...  # your turn


zero1_step = check.zero1_step(zero1_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three moves: reduce-scatter the gradients, update, all-gather the weights.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.chunk(tensor, n)` gives the $n$ parts. The mean gradient is `sum(gradients) / n`; rank $r$ needs its part of it only.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Every rank ends with the same: `torch.cat` of all new parts, in the order of the ranks.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def zero1_step(weights, gradients, update):
#     n = len(weights)
#     means = torch.chunk(sum(gradients) / n, n)
#     parts = [update(torch.chunk(weights[r], n)[r], means[r], r) for r in range(n)]
#     return [torch.cat(parts) for _ in range(n)]
# ```
# </details>
#
# Now both functions together, on the model and the gradients of section 1, with a step of gradient descent as the optimizer:


# %% tags=["nbval-check-output"]
def padded(row):
    """All ranks' parts of a row, one after the other: the row with zeros at its end."""
    return torch.cat([shard(row, rank, RANKS) for rank in range(RANKS)])


row = padded(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
after = zero1_step(
    [row.clone() for _ in range(RANKS)],
    [padded(part) for part in parts],
    lambda part, gradient, rank: part - 0.1 * gradient,
)
by_one = row - 0.1 * padded(whole)
print(
    f"a step on {RANKS} ranks = a step of one process:",
    all(torch.allclose(one, by_one, atol=1e-12) for one in after),
)

# %% [markdown]
# ## 6 · Measured
#
# `Zero` trains a model under any stage, on real processes. We run it with bf16 weights and fp32 master weights, on 2 ranks and
# on 4. Each rank adds up the tensors that it holds at the end of backward, and counts what it sends.

# %%
from labkit.parallel.data_parallel.picture import kept

runs = {ranks: launch(programs.stages, ranks, 2, "bf16", sizes) for ranks in (2, 4)}
kept({ranks: found[0] for ranks, found in runs.items()})

# %% tags=["nbval-check-output"]
from labkit.measure import parameters

lines = []
for ranks, found in runs.items():
    for stage, run in found[0].items():
        each = sum(run["held"].values()) / parameters(model)
        formula = float(bytes_per_parameter(stage, ranks))
        sent = sum(run["sent"].values()) / run["steps"]
        times = (3 if stage == 3 else 2) * (ranks - 1) / ranks
        share = f"{100 * (each / formula - 1):.2f} %"
        lines.append(
            (
                f"ZeRO-{stage}, {ranks} ranks",
                f"{each:.3f}",
                f"{formula:.3f}",
                share,
                f"{sent:,.0f}",
                f"{times * 2 * parameters(model):,.0f}",
            )
        )
Table(
    ("", "kept, bytes per parameter", "formula", "off by", "sent, bytes per step", "formula"),
    tuple(lines),
)

# %% [markdown]
# Measured and computed numbers agree but for the padding, fewer than $N$ numbers for each layer. (`Zero.size` is $\Psi$ with the
# padding; with that they agree to the byte.) The formula leaves out what a rank holds for a *moment* only: activations, and
# in stage 3 the weights that are gathered just now. Stage 3 holds two units whole at once, a layer and what is outside all
# layers (embeddings and head). In a model with many layers that is a small share.
#
# How are a layer's weights gathered and freed? Hooks on each layer gather them before forward and free them after it. For
# backward there is a difficulty: autograd *keeps* the weights that it will need, and what is kept is not freed. So autograd is
# given a note in place of the weights, "this stretch of that layer", and they are gathered again when it reads the note:

# %%
from labkit.parallel.data_parallel.zero import Zero

for part in (Zero._pack, Zero._unpack, Zero._gather):
    print(inspect.getsource(part))

# %% [markdown]
# ## 7 · The same model?
#
# Cutting and sending must not change any number. In double precision, five steps under each stage on two ranks have the
# losses of one process:

# %% tags=["nbval-check-output"]
alone = programs.alone(5, sizes=sizes)
found = launch(programs.stages, 2, 5, "fp64", sizes)
for stage, run in found[0].items():
    off = max(abs(a - b) for a, b in zip(run["losses"], alone, strict=True))
    print(f"ZeRO-{stage}: equal to one process, to 1e-9:", off < 1e-9)

# %% [markdown]
# ### Another number of ranks
#
# Each rank saves its own part, and none needs the whole model for it. What if tomorrow there are fewer devices, or more? A
# layer's row of numbers is the same for any $N$ but for its padding, so a new rank reads, from each old part, the numbers that
# are now its own. Here is one run in three pieces: 2 ranks under stage 3, then 1 under stage 0, then 4 under stage 1. In the
# second cell a checkpoint of another model is refused.

# %% tags=["nbval-check-output"]
import tempfile

folder, losses = tempfile.mkdtemp(), []
for ranks, stage, until in ((2, 3, 2), (1, 0, 3), (4, 1, 5)):
    losses += launch(programs.resumed, ranks, folder, stage, until, sizes)[0]
off = max(abs(a - b) for a, b in zip(losses, alone, strict=True))
print("2 → 1 → 4 ranks, the losses of one process without a stop:", off < 1e-9)

# %% tags=["nbval-check-output"]
from labkit.parallel.data_parallel.zero_state import load
from labkit.parallel.processes import Here

deeper = new_model(width=WIDTH, layers=LAYERS + 1)
try:
    load(Zero(deeper, loss_of, Communicator(Here(rank=0, world=1)), precision="fp64"), folder)
except LabkitError as error:
    print(str(error).replace(folder, "FOLDER"))

# %% [markdown]
# ## 8 · Beside DeepSpeed
#
# *DeepSpeed* is where ZeRO comes from. Here are both in one run (`python benchmarks/zero.py`): a small transformer, bf16, on CPU
# ranks. *Sent* is what the operating system counted on a rank's connections, so both engines are measured in the same way.

# %%
import statistics

from labkit.report import results

measured = {}
for row in results("zero").rows:
    measured.setdefault((row.task, row.method, row.metric), []).append(row.value)
median = {key: statistics.median(values) for key, values in measured.items()}
lines = []
for task, engine, metric in median:
    if metric == "steps/s":
        both = [
            f"{median[task, engine, what]:.2f} ({median[task, 'theory', what]:.2f})"
            for what in ("bytes a parameter", "bytes sent, × Ψ")
        ]
        slow, *_, fast = sorted(measured[task, engine, metric])
        lines.append((f"{task}, {engine}", *both, f"{slow:.1f} … {fast:.1f}"))
Table(
    ("", "bytes per parameter (formula)", "bytes sent, × Ψ (formula)", "steps/s, slowest … fastest"),
    tuple(lines),
)

# %% [markdown]
# Look at the columns one by one. Both engines keep what the formula says, to 0.01 bytes per parameter, in every stage. Ours
# sends what the formula says, but for gloo's headers. DeepSpeed sends half as much again in stages 1 and 2. The cause is not
# ZeRO: by default (`use_multi_rank_bucket_allreduce`) DeepSpeed all-reduces the gradients and then drops what is not its own,
# and with the all-gather that makes $3\Psi \cdot \frac{N-1}{N}$.
#
# The speeds: on two ranks DeepSpeed is somewhat faster in stage 1 and ours in stage 3; in stage 2 their ranges overlap. On
# four ranks DeepSpeed is about twice as fast in every stage, although in stages 1 and 2 it sends more. A likely reason: ours
# sends every chunk from Python, step by step of the ring, and four processes share two cores; gloo's own collectives stay in
# C++. The speed of a small model on CPU ranks does not say how fast either engine is on GPUs. The bytes are the same there.
#
# ## Read on
#
# - Rajbhandari et al. 2020, [*ZeRO*](https://arxiv.org/abs/1910.02054): §5 for the stages, §7 for the traffic. Li et al. 2020,
#   [*PyTorch distributed*](https://arxiv.org/abs/2006.15704): how DDP is built, and why.
# - `labkit/parallel/data_parallel/`: [`collectives.py`](../../labkit/parallel/data_parallel/collectives.py),
#   [`ddp.py`](../../labkit/parallel/data_parallel/ddp.py), [`zero.py`](../../labkit/parallel/data_parallel/zero.py). Each runs by
#   itself: `torchrun --nproc_per_node 2 -m labkit.parallel.data_parallel.zero --stage 2`.
# - Next, [06/04](04_model_parallel.ipynb): what to do when even one layer, or one row of a batch, is too much for a device. And
#   [06/07](07_deepspeed.ipynb): the real DeepSpeed behind `labkit.fit`.
