# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Many copies, one model: what must they send, what must each keep?
#
# One device is too slow, so several train together: each has a copy of the model, and works on its own part of every batch. How many
# bytes must they send to stay **one** model? And does each of them have to keep what all the others keep too?
#
# **After this lesson you can** write the ring that adds up gradients, and a step of ZeRO-1; have real processes train with them; and
# predict the bytes that a rank sends and keeps.
#
# **50 minutes.** Before it: [06/01](01_memory.ipynb), where the 16 bytes per weight come from.

# %%
import labkit

lab = labkit.setup(lesson="06/03")

# %%
RANKS = 4  # @param {type:"integer"}
WIDTH = 32  # @param {type:"integer"}
LAYERS = 2  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Four processes, four models
#
# A process that works with others is called a [*rank*](../glossary.ipynb#rank). `launch` starts `RANKS` of them on this machine and
# runs `train` in each: the same model, a small Transformer, each batch of 8 rows cut into equal parts. What to do with the gradients
# is left open (`share`). At first the ranks do nothing with them.

# %% tags=["idea"]
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.processes import launch

SIZES = {"width": WIDTH, "layers": LAYERS}


def train(here, share, steps=10):
    """Losses of this rank's rows, one weight at the end, and the bytes that it has sent."""
    group, model, losses = Communicator(here), new_model(seed=0, **SIZES), []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        loss = loss_of(model, part_of(batch_of(seed=0, step=step, rows=8), group.rank, group.world))
        optimizer.zero_grad()
        loss.backward()
        share(model, group)
        optimizer.step()
        losses.append(loss.item())
    return losses, model.head.bias[0].item(), group.sent


def nothing(model, group):
    """Every rank keeps its own gradients."""


for rank, (losses, weight, _) in enumerate(launch(train, RANKS, nothing)):
    print(f"rank {rank}: a weight after {len(losses)} steps is {weight:+.6f}")

# %% [markdown]
# They began alike and are now four different models, because each has followed its own rows. What should they have followed?
#
# Two rows have the gradients 2 and 6. The gradient of their mean loss is the mean of the two, 4. So two ranks with one row each must
# both make a step with 4. For $N$ ranks with equally many of the $B$ rows:
#
# $$\frac{1}{B}\sum_{i=1}^{B} \nabla \ell_i = \frac{1}{N}\sum_{r=1}^{N} \Big( \frac{N}{B}\sum_{i \in \text{rows of } r} \nabla \ell_i \Big) .$$
#
# Each rank computes what is in the large brackets. Then all need the **sum** over the ranks, which is called an
# [*all-reduce*](../glossary.ipynb#all-reduce). But how do they add up?
#
# The obvious way: all send their gradient to rank 0, which adds up, makes the step, and hands out the new weights. Such a rank is called a
# *parameter server*. **Predict** before you run the next cell: with 4 ranks and $\Psi$ bytes of weights, how many bytes does rank 0
# send in a step? How many would you expect where all share the work equally?

# %% tags=["nbval-check-output"]
from labkit.parallel.data_parallel import programs

size = 8 * sum(p.numel() for p in new_model(**SIZES).parameters())  # Ψ: everything has 64 bits here
for way in ("parameter server", "ring all-reduce"):
    sent = [rank["a step"][way] for rank in launch(programs.beside_each_other, RANKS, SIZES)]
    print(f"{way:<17} each rank sends", *(f"{one / size:.2f} Ψ" for one in sent))

# %% [markdown]
# The server sends $(N - 1)\,\Psi$, the others $\Psi$. All together send the same in both lines, but in the first line they wait for one
# rank. With a *ring* (Patarasuk & Yuan 2009) no rank sends more than $2\,\Psi$, however many there are. You will now write it.
#
# ## 2 · The ring
#
# Here are three ranks with three chunks each. Every rank sends only to its right neighbour (rank 2 to rank 0), one chunk in
# each step, and adds what comes from the left to its own.
#
# | | rank 0 | rank 1 | rank 2 |
# |---|---|---|---|
# | at first | 1 2 3 | 10 20 30 | 100 200 300 |
# | step 0 sends | chunk 2: 3 | chunk 0: 10 | chunk 1: 200 |
# | comes in, own added | chunk 1: 200 + 2 | chunk 2: 3 + 30 | chunk 0: 10 + 100 |
# | step 1 sends | chunk 1: 202 | chunk 2: 33 | chunk 0: 110 |
# | comes in, own added | chunk 0: **111** | chunk 1: **222** | chunk 2: **333** |
#
# After $N - 1$ steps rank $r$ has the complete sum of chunk $r$. This half is called [*reduce-scatter*](../glossary.ipynb#reduce-scatter).
# In general, in step $s$ rank $r$ sends chunk $(r - 1 - s) \bmod N$, and chunk $(r - 2 - s) \bmod N$ comes in. Play it step by step: who holds
# what after the first half, and what moves in the second?

# %%
from labkit.widgets import collectives

collectives("all-reduce", ranks=4, step=2)

# %% [markdown]
# ### Exercise 1: add up
#
# *●●○ · 9 minutes*
#
# You write the side of **one** rank. Its list of chunks and its `group` in; its own chunk, summed over all ranks, out. The group has
# `group.rank`, `group.world` ($N$), and `group.shift(tensor)`, which sends a tensor to the right neighbour and returns what has
# come from the left one.
#
# ```python
# # rank 0 of the table: two shifts, of 3 and of 202
# ring_reduce([torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([3.0])], group)  # tensor([111.])
# ```

# %%
from labkit.checks import data_parallel as check


def ring_reduce(chunks, group): ...  # your turn


ring_reduce = check.ring_reduce(ring_reduce)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with the chunk that leaves first: `partial = chunks[group.rank - 1]` (Python's -1 is the last one).
# </details>
#
# <details><summary>Hint 2</summary>
#
# A step is one line: what comes in, plus the rank's own chunk of the same number.
# </details>
#
# <details><summary>Hint 3</summary>
#
# In step `s` that number is `(group.rank - s - 2) % group.world`. The sum is what leaves in the next step.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def ring_reduce(chunks, group):
#     partial = chunks[group.rank - 1]
#     for step in range(group.world - 1):
#         partial = group.shift(partial) + chunks[(group.rank - step - 2) % group.world]
#     return partial
# ```
# </details>
#
# ### Exercise 2: pass on
#
# *●●○ · 7 minutes*
#
# Now the complete chunks go round once: the [*all-gather*](../glossary.ipynb#all-gather). Rank $r$'s chunk and its group in; the list of all
# ranks' chunks, rank 0's first, out. In every step a rank passes on what has come in the step before.
#
# ```python
# # rank 0 of the table sends 111 and then 333
# ring_gather(torch.tensor([111.0]), group)  # [tensor([111.]), tensor([222.]), tensor([333.])]
# ```


# %%
def ring_gather(chunk, group): ...  # your turn


ring_gather = check.ring_gather(ring_gather)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `chunks = [chunk] * group.world` makes room; then fill the other places.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `chunk = group.shift(chunk)`, $N - 1$ times: what has come is what leaves next.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The first that comes is the left neighbour's, number `(group.rank - 1) % group.world`; the next is from one further to the left.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def ring_gather(chunk, group):
#     chunks = [chunk] * group.world
#     for step in range(1, group.world):
#         chunk = group.shift(chunk)
#         chunks[(group.rank - step) % group.world] = chunk
#     return chunks
# ```
# </details>
#
# Both loops together are an all-reduce. Now real processes train with **your** loops. `padded` adds zeros at the end of the row of all
# gradients, so that $N$ divides it.


# %%
def padded(tensors, ranks):
    row = parameters_to_vector(tensors).detach()
    return torch.nn.functional.pad(row, (0, -len(row) % ranks))


def averaged(model, group):
    """The gradients become the mean over the ranks, by your ring."""
    gradients = [p.grad for p in model.parameters()]
    own = ring_reduce(list(padded(gradients, group.world).chunk(group.world)), group) / group.world
    vector_to_parameters(torch.cat(ring_gather(own, group)), gradients)


found = launch(train, RANKS, averaged)
for rank, (_, weight, sent) in enumerate(found):
    print(f"rank {rank}: a weight is {weight:+.6f}, sent per step {sent / 10 / size:.3f} Ψ")

# %% tags=["nbval-check-output"]
alone = programs.alone(10, rows=8, sizes=SIZES)  # plain PyTorch, one process, all 8 rows
together = [sum(losses) / RANKS for losses in zip(*(rank[0] for rank in found), strict=True)]
print("all ranks have the same weight, bit for bit:", len({weight for _, weight, _ in found}) == 1)
print("the losses of one process, to 1e-9:", max(abs(a - b) for a, b in zip(alone, together, strict=True)) < 1e-9)
closed = 2 * (RANKS - 1) / RANKS
print(f"sent: 2 (N − 1)/N = {closed} Ψ, to 0.1 %:", all(abs(rank[2] / 10 / size / closed - 1) < 1e-3 for rank in found))

# %% [markdown]
# Your processes are one model. In each of the $2\,(N - 1)$ shifts a rank sends $\Psi / N$ bytes:
#
# $$\underbrace{\tfrac{N-1}{N}\,\Psi}_{\text{add up}} + \underbrace{\tfrac{N-1}{N}\,\Psi}_{\text{pass on}} = 2\,\tfrac{N-1}{N}\,\Psi \;<\; 2\,\Psi .$$
#
# This is [data parallelism](../glossary.ipynb#data-parallelism) as PyTorch's *DDP* does it (Li et al. 2020, [*PyTorch
# distributed*](https://arxiv.org/abs/2006.15704)). DDP adds one thing: it sends the last layers' gradients while the backward pass
# still computes those of the first ones ([`ddp.py`](../../labkit/parallel/data_parallel/ddp.py)).
#
# ## 3 · Why keep everything N times?
#
# Every rank keeps all 16 bytes per weight: 2 for the weight, 2 for the gradient, 12 for the optimizer. But the optimizer of one rank computes
# exactly what all the others compute. *ZeRO* (Rajbhandari et al. 2020, [*Memory
# optimizations*](https://arxiv.org/abs/1910.02054), §5) lets each rank keep its $N$-th part, in three stages. With two ranks:
#
# | stage | cut into parts | weight | gradient | optimizer | bytes per weight |
# |---|---|---|---|---|---|
# | 0 (DDP) | nothing | 2 | 2 | 12 | 16 |
# | 1 | the optimizer | 2 | 2 | 6 | 10 |
# | 2 | … and the gradients | 2 | 1 | 6 | 9 |
# | 3 | … and the weights | 1 | 1 | 6 | 8 |
#
# ### Exercise 3: bytes per weight
#
# *●○○ · 4 minutes*
#
# A stage from 0 to 3 and the number of ranks in; the bytes that one rank keeps per weight out. `bytes_per_parameter(1, 2)` → `10.0`,
# and with three ranks `bytes_per_parameter(1, 3)` → `8.0`.


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
# The article on EasyTexMiner says: 4 times less memory in stage 1, 8 times in stage 2, in stage 3 as many times as there are devices. **Predict**:
# with how many ranks are the 4 and the 8 reached?

# %% tags=["nbval-check-output"]
for ranks in (2, 8, 64, 1024):
    less = [16 / float(bytes_per_parameter(stage, ranks)) for stage in (1, 2, 3)]
    print(f"{ranks:>5} ranks:", ", ".join(f"stage {stage} {times:,.2f} ×" for stage, times in enumerate(less, 1)))

# %% [markdown]
# Never quite: 4 and 8 are limits, because the 4 or 2 bytes that are not cut stay with every rank. Stage 3 saves exactly $N$ times.
#
# ## 4 · A step of ZeRO-1
#
# Does it cost more bytes to send? Look at your ring again: after `ring_reduce`, rank $r$ has the sum of part $r$ of the gradient. That is
# all that it needs to update part $r$ of the weights. So it makes its step **between** the two loops, and `ring_gather` then passes on new weights
# where it has passed on gradients.
#
# Two ranks have the weights (1, 2), their gradients are (0, 2) and (2, 4), and the optimizer subtracts the mean gradient, (1, 3). Rank 0
# computes 1 − 1 = 0, rank 1 computes 2 − 3 = −1. After the gather both have (0, −1).
#
# ### Exercise 4: ZeRO-1
#
# *●●● · 10 minutes*
#
# One rank's side again: all weights and the rank's own gradient, both (numbers,), where $N$ divides the numbers; its group; and
# `update(part, gradient)`, its optimizer, which takes its part of the weights and of the *mean* gradient and returns the new part. Return all
# new weights. Both of your loops are useful.
#
# ```python
# # rank 0 of the example; rank 1's part of the sum comes from the left
# zero1_step(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]), group, lambda part, g: part - g)  # tensor([0., -1.])
# ```


# %%
def zero1_step(weights, gradient, group, update): ...  # your turn


zero1_step = check.zero1_step(zero1_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three moves: `ring_reduce` the gradient's chunks, update, `ring_gather` the new part.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `list(gradient.chunk(group.world))` are the chunks. `ring_reduce` gives a sum: divide by `group.world`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The rank's part of the weights is `weights.chunk(group.world)[group.rank]`; `torch.cat` joins the gathered list.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def zero1_step(weights, gradient, group, update):
#     mean = ring_reduce(list(gradient.chunk(group.world)), group) / group.world
#     part = update(weights.chunk(group.world)[group.rank], mean)
#     return torch.cat(ring_gather(part, group))
# ```
# </details>
#
# Now the processes train with your step. Each has an Adam for its own part alone, so its two averages are an $N$-th as long.


# %% tags=["idea"]
def train_zero1(here, steps=10):
    group, model, losses = Communicator(here), new_model(seed=0, **SIZES), []
    row = padded(model.parameters(), group.world)
    own = torch.nn.Parameter(row.chunk(group.world)[group.rank].clone())
    adam = torch.optim.Adam([own], lr=1e-3)

    def update(part, gradient):
        own.data, own.grad = part.clone(), gradient
        adam.step()
        return own.detach()

    for step in range(steps):
        loss = loss_of(model, part_of(batch_of(seed=0, step=step, rows=8), group.rank, group.world))
        model.zero_grad()
        loss.backward()
        row = zero1_step(row, padded([p.grad for p in model.parameters()], group.world), group, update)
        vector_to_parameters(row, model.parameters())
        losses.append(loss.item())
    averages = sum(state[name].nbytes for state in adam.state.values() for name in ("exp_avg", "exp_avg_sq"))
    return losses, averages, group.sent


# %% tags=["nbval-check-output"]
found = launch(train_zero1, RANKS)
together = [sum(losses) / RANKS for losses in zip(*(rank[0] for rank in found), strict=True)]
print("the losses of one process, to 1e-9:", max(abs(a - b) for a, b in zip(alone, together, strict=True)) < 1e-9)
print(f"Adam's averages on a rank: {found[0][1] / (2 * size):.3f} of what DDP keeps")
print(f"sent by a rank per step: {found[0][2] / 10 / size:.3f} Ψ; by DDP {closed:.3f} Ψ")

# %% [markdown]
# The same losses, a quarter of the optimizer, and not a byte more on the way. That is why stage 1 is nearly always worth it.
#
# ## 5 · All stages, measured
#
# Stage 2 sends each gradient to its owner as soon as it is there, and lets go of it. Stage 3 keeps no whole weights either: it gathers
# those of one layer before the layer computes, forward and once more backward, so it sends $3\,\frac{N-1}{N}\,\Psi$ instead of
# 2. labkit's [`Zero`](../../labkit/parallel/data_parallel/zero.py) does all of this. Real processes again, mixed precision, and each adds up the
# tensors that it holds after the backward pass. The black lines are the formula that you wrote.

# %%
from labkit.parallel.data_parallel.picture import kept

runs = {ranks: launch(programs.stages, ranks, 2, "bf16", SIZES) for ranks in (2, 4)}
kept({ranks: found[0] for ranks, found in runs.items()})

# %% tags=["nbval-check-output"]
close, sends = True, True
for ranks, found in runs.items():
    for stage, run in found[0].items():
        each = sum(run["held"].values()) / (run["size"] / 2)  # 2 bytes per weight
        close &= abs(each / float(bytes_per_parameter(stage, ranks)) - 1) < 1e-3
        sends &= sum(run["sent"].values()) / run["steps"] == (3 if stage == 3 else 2) * run["size"] * (ranks - 1) // ranks
print("every rank keeps what your bytes_per_parameter says, to 0.1 %:", close)
print("every rank sends 2 (N − 1)/N Ψ per step, and 3 (N − 1)/N Ψ in stage 3:", sends)

# %% [markdown]
# Look at one colour at a time. The optimizer's part falls in stage 1, the gradients' in stage 2, the weights' in stage 3. The formula
# leaves out what a rank holds for a moment only: activations, and in stage 3 the layer that is gathered just now.
#
# *DeepSpeed* is where ZeRO comes from. [Beside it](../../docs/results.md#zero) ours keeps the same bytes in every stage. In stages 1 and
# 2 DeepSpeed sends half as much again, because by default it all-reduces the gradients and then drops what is not its own. It is the faster of
# the two on four processes, because its messages are sent from C++ and ours from Python.
#
# ## 6 · So, what must they send, what must each keep?
#
# **Send**: the gradients to be added up, and something that is passed on: $2\,\frac{N-1}{N}\,\Psi$ bytes per step, nearly the same for any number of
# ranks. **Keep**: as little as an $N$-th of the 16 bytes per weight. The optimizer's 12 can be shared out without
# sending more (stage 1). Sharing out the weights costs half as many bytes again (stage 3).
#
# ## Read on
#
# - Rajbhandari et al. 2020, linked above: §5 for the stages, §7 for the traffic.
# - A rank saves its own part, and a checkpoint of 2 ranks can be taken up by 4:
#   [`zero_state.py`](../../labkit/parallel/data_parallel/zero_state.py).
# - [`ring.py`](../../labkit/parallel/data_parallel/ring.py) is what you wrote;
#   [`collectives.py`](../../labkit/parallel/data_parallel/collectives.py) has the five collectives. Both run under `torchrun`:
#   `torchrun --nproc_per_node 2 -m labkit.parallel.data_parallel.zero --stage 2`.
# - Next, [06/04](04_model_parallel.ipynb): what if even one copy does not fit on a device? And [06/07](07_deepspeed.ipynb): the real
#   DeepSpeed behind `labkit.fit`.
