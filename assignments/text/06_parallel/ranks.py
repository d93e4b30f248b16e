# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     lesson: 06/03
#     points: 24
#     by_hand: 4
# ---

# %% [markdown]
# # Assignment 06: many ranks, by hand
#
# You know from lesson 06/03 how a ring sums gradients and how ZeRO shares an optimizer out, from 06/04 how a pipeline is
# kept busy, from 06/02 how the threads of a block work together. Here you build four such machines yourself, each a
# little different from the lessons', and read what they cost.
#
# | problem | what you write | lesson | points |
# |---|---|---|---|
# | 1 | `all_reduce`: a ring, as a program that each rank runs | 06/03 | 4 |
# | 2 | `zero1_step`: Adam with its states shared out, clipped, in mixed precision | 06/03 | 5 |
# | 3 | `one_f_one_b`, `finish`: a pipeline's schedule within a budget of memory, and how long it takes | 06/04 | 6 |
# | 4 | `softmax_kernel`: a CUDA kernel with a reduction over a block | 06/02 | 5 |
# | 5 | read what these cost, in words (graded by hand) | all | 4 |
#
# **How it is graded.** Write between the lines of each answer cell; the cells marked *test* must stay as they are.
# A test that finds a mistake stops with a sentence that names it. Each test cell counts for itself, so a problem that
# is half right gets half its points. Besides the tests you see, there are hidden ones: their first line says what they
# ask. Problems do not build on one another. A cell may take 60 seconds; the reference takes less than 30 for
# everything, most of them in the C++ compiler.
#
# Write your own code from the formulas. You may use all of Python and torch, but no `torch.distributed`, no optimizer of
# `torch.optim`, and nothing of `labkit` beyond what the cells import.

# %% locked="setup"
import math
import warnings

import torch

import labkit
from labkit.cuda import compile_source

lab = labkit.setup()
warnings.simplefilter("ignore")  # the grader takes anything on standard error for a failure, a warning too
torch.set_num_threads(1)

# %% [markdown]
# ## Problem 1: a ring of ranks (4 points)
#
# There are $N$ ranks in a ring. In each round every rank sends one tensor to the next rank (rank $N-1$ to rank 0) and gets
# one from the rank before it. A rank is a **generator**, which stops at every `yield`: `received = yield message` sends
# `message`, and goes on when `received` has come. What it `return`s is its result. For example, a program by which each
# rank finds the largest of all first numbers:
#
# ```python
# def largest(rank, world, tensor):
#     most = tensor[:1].clone()
#     for _ in range(world - 1):
#         received = yield most
#         most = torch.maximum(most, received)
#     return most
# ```
#
# `run(program, tensors)` below runs it on one rank for each tensor. It returns the results, how many numbers each rank
# has sent, and the number of rounds.
#
# Write `all_reduce(rank, world, tensor)`: every rank returns the sum of all ranks' tensors (same shape, same type).
#
# - First **reduce-scatter**: cut the tensor into `world` chunks; chunks travel around the ring and grow, until each rank has
#   one that is complete. Then **all-gather**: the complete chunks travel around once more. This takes $2(N-1)$ rounds.
# - Each round moves every chunk once: $n$ numbers over all ranks, so $2(N-1)\,n$ in all, and no rank sends more than
#   $2(N-1)\lceil n/N\rceil$. $n$ need not be divisible by $N$: nothing is padded, and chunks may be empty
#   (`torch.tensor_split` cuts like that).
# - The given tensor stays as it was.


# %% locked="run"
def run(program, tensors):
    """One rank for each tensor, in lockstep: (results, numbers sent by each rank, rounds)."""
    world, rounds = len(tensors), 0
    ranks = [program(rank, world, tensor) for rank, tensor in enumerate(tensors)]
    if not all(hasattr(rank, "send") for rank in ranks):
        raise TypeError(f"{program.__name__} is no generator: it must send by `received = yield message`")
    sent, inbox = [0] * world, [None] * world
    while True:
        outbox, results = [], []
        for rank, message in zip(ranks, inbox, strict=True):
            try:
                outbox.append(rank.send(message))
            except StopIteration as end:
                results.append(end.value)
        if results and outbox:
            raise RuntimeError(f"after {rounds} rounds some ranks have returned, and others still send")
        if results:
            return results, sent, rounds
        if not all(torch.is_tensor(message) for message in outbox):
            raise TypeError("a message must be a tensor")
        sent = [count + message.numel() for count, message in zip(sent, outbox, strict=True)]
        inbox, rounds = [outbox[rank - 1].clone() for rank in range(world)], rounds + 1
        if rounds > 4 * world:
            raise RuntimeError(f"{world} ranks still send after {rounds} rounds")


# %% answer="all_reduce"
def all_reduce(rank, world, tensor):
    """A rank's program: the sum of all ranks' tensors, by reduce-scatter and all-gather around the ring."""
    ### BEGIN SOLUTION
    chunks = [chunk.clone() for chunk in tensor.flatten().tensor_split(world)]
    for step in range(world - 1):  # the chunk that this rank sends now came in the round before
        received = yield chunks[(rank - step) % world]
        chunks[(rank - step - 1) % world] += received
    for step in range(world - 1):  # complete here: chunk rank + 1
        received = yield chunks[(rank + 1 - step) % world]
        chunks[(rank - step) % world] = received
    return torch.cat(chunks).reshape(tensor.shape)
    ### END SOLUTION


# %% test="all_reduce_visible" points=1
# Test (1 point): four ranks with eight numbers each; the sum on every rank.
given = [torch.arange(8.0) * 10.0**rank for rank in range(4)]
results, sent, rounds = run(all_reduce, [one.clone() for one in given])
whole = sum(given)
assert all(torch.is_tensor(one) for one in results), "a rank returns no tensor: is the `return` missing?"
assert all(one.shape == whole.shape for one in results), f"the shape should be (8,), not {tuple(results[0].shape)}"
assert not any(torch.equal(one, own) for one, own in zip(results, given, strict=True)), "a rank has got its own tensor"
assert not all(torch.equal(one, whole / 4) for one in results), "this is the mean: the sum is wanted"
wrong = [rank for rank, one in enumerate(results) if not torch.equal(one, whole)]
assert len(wrong) < 4 or not all((one == whole).any() for one in results), (
    "each rank has some chunks complete and others not: which chunk is complete on rank r after N - 1 rounds?"
)
assert not wrong, f"ranks {wrong} have another sum than {whole.tolist()}"

# %% test="all_reduce_counts" points=1
# Test (1 point): what is sent: 2 (N - 1) rounds, of n / N numbers a rank.
for world, n in ((4, 8), (5, 20), (2, 6)):
    results, sent, rounds = run(all_reduce, [torch.full((n,), float(rank)) for rank in range(world)])
    assert world == 2 or sent != [(world - 1) * n] * world, (
        "each rank sends whole tensors: cut them into chunks, and send one chunk a round"
    )
    assert rounds != world - 1, "N - 1 rounds are one half: reduce-scatter, or all-gather?"
    assert rounds == 2 * (world - 1), f"{rounds} rounds for {world} ranks: 2 (N - 1) are wanted"
    assert sent == [2 * (world - 1) * n // world] * world, (
        f"{world} ranks, {n} numbers: 2 (N - 1) n / N are to be sent, not {sent}"
    )

# %% test="all_reduce_uneven" points=1
# Hidden test (1 point): lengths that N does not divide, fewer numbers than ranks, none, one rank, matrices, other types.
### BEGIN HIDDEN TESTS
assert not torch.equal(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(6)
for world, shape in ((3, (7,)), (4, (2, 3)), (5, (3,)), (6, (13,)), (2, (1,)), (3, (0,)), (1, (4,)), (7, (3, 5))):
    for dtype in (torch.int64, torch.float64):
        given = [torch.randint(-99, 99, shape, generator=generator).to(dtype) for _ in range(world)]
        results, sent, rounds = run(all_reduce, [one.clone() for one in given])
        n, case = given[0].numel(), f"{world} ranks, shape {shape}, {dtype}"
        assert all(one.shape == shape and one.dtype == dtype for one in results), f"{case}: another shape or type"
        assert all(one.tolist() == sum(given).tolist() for one in results), f"{case}: a wrong sum"
        assert rounds == 2 * (world - 1), f"{case}: {rounds} rounds"
        assert sum(sent) == 2 * (world - 1) * n, f"{case}: {sum(sent)} numbers were sent in all: do not pad"
        assert max(sent) <= 2 * (world - 1) * -(-n // world), f"{case}: one rank sends too many: {sent}"
### END HIDDEN TESTS

# %% test="all_reduce_clean" points=1
# Hidden test (1 point): the given tensors are unchanged, results are their own memory and the same bits on all ranks.
### BEGIN HIDDEN TESTS
assert not torch.equal(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(7)
for world, n in ((5, 33), (2, 4), (1, 3)):
    given = [torch.randn(n, generator=generator) for _ in range(world)]
    before = [one.tolist() for one in given]
    results, _, _ = run(all_reduce, given)
    assert [one.tolist() for one in given] == before, "the given tensor has been changed: add into copies of its chunks"
    assert all(one.tolist() == results[0].tolist() for one in results), (
        "the ranks disagree in the last bits: each chunk is to be summed once, and its sum handed on"
    )
    assert max(abs(a - b) for a, b in zip(results[0].tolist(), sum(given).tolist(), strict=True)) < 1e-4, "a wrong sum"
    for one in results:
        one.fill_(-1.0)
    assert [one.tolist() for one in given] == before, "the result shares its memory with the given tensor: copy"
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2: one step of ZeRO stage 1 (5 points)
#
# $N$ ranks train one model in mixed precision. Every rank has all weights in 16 bits and its own gradient of them, but of
# Adam's states (fp32 masters $w$, averages $m$ and $v$) only a **shard**. Here all ranks live in one process, in lists:
#
# - `weights`: $N$ equal tensors of $n$ numbers; `gradients`: $N$ different ones; both of the same type, often bfloat16.
# - `shards`: $N$ dictionaries with `"start"` and the float32 tensors `"master"`, `"m"`, `"v"` of one length $k_r$: rank $r$
#   owns the numbers from `start` to `start + k_r`. Shards stand in order and tile the $n$ numbers; lengths may differ.
#
# Write `zero1_step(weights, gradients, shards, t, lr, clip)`, step number $t = 1, 2, \dots$:
#
# 1. **Reduce-scatter**: each rank gets its piece of the **mean** gradient $g$ over the ranks, in float32.
# 2. **Agree**: if any number of the mean gradient is not finite, on whichever rank, no rank does anything: return `False`.
# 3. **Clip**: the norm of the *whole* mean gradient, $\lVert g \rVert = \sqrt{\sum_r \lVert g_r \rVert^2}$; all of $g$ is multiplied
#    by $\min(1, \text{clip} / \lVert g \rVert)$.
# 4. **Adam** on each shard, with $\beta_1 = 0.9$, $\beta_2 = 0.999$, $\epsilon = 10^{-8}$:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2 \qquad
# w \leftarrow w - \text{lr} \cdot \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$
#
# 5. **All-gather**: every rank gets all new masters, in its weights' type. Return `True`.
#
# Weights and shards are changed in place, gradients are not. The point of ZeRO is memory: make **no float32 or float64
# tensor with more numbers than the largest shard** (so add up a piece rank by rank, rather than stack the pieces).
# `ValueError` if there is not one shard, one weights tensor and one gradient a rank, or if the shards do not tile the $n$
# numbers.


# %% answer="zero1_step"
def zero1_step(weights, gradients, shards, t, lr=1e-3, clip=1.0):
    """One step on all ranks, in place: True, or False where a gradient is not finite and nothing was done."""
    ### BEGIN SOLUTION
    if not len(weights) == len(gradients) == len(shards):
        raise ValueError("one shard, one weights tensor and one gradient a rank are needed")
    pieces, end = [], 0
    for shard in shards:
        if shard["start"] != end:
            raise ValueError(f"a shard should start at {end}, not at {shard['start']}")
        end += len(shard["master"])
        pieces.append(slice(shard["start"], end))
    if end != len(weights[0]):
        raise ValueError(f"the shards hold {end} numbers, the model has {len(weights[0])}")
    means = [sum(gradient[piece].float() for gradient in gradients) / len(gradients) for piece in pieces]
    if not all(bool(mean.isfinite().all()) for mean in means):
        return False
    norm = math.sqrt(sum(float(mean.double().square().sum()) for mean in means))
    factor = min(1.0, clip / norm) if norm else 1.0
    for shard, mean, piece in zip(shards, means, pieces, strict=True):
        g = mean * factor
        shard["m"].mul_(0.9).add_(g, alpha=0.1)
        shard["v"].mul_(0.999).addcmul_(g, g, value=0.001)
        root = (shard["v"] / (1 - 0.999**t)).sqrt() + 1e-8
        shard["master"].sub_(lr * shard["m"] / (1 - 0.9**t) / root)
        for rank in weights:
            rank[piece] = shard["master"].to(rank.dtype)
    return True
    ### END SOLUTION


# %% locked="share_out"
def share_out(model, sizes):
    """Shards of these sizes for a flat float32 tensor: masters are its numbers, averages are 0."""
    starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
    return [
        {
            "start": start,
            "master": model[start : start + size].clone(),
            "m": torch.zeros(size),
            "v": torch.zeros(size),
        }
        for start, size in zip(starts, sizes, strict=True)
    ]


# %% test="zero1_visible" points=1
# Test (1 point): two ranks, four weights, the first step: Adam's first step is lr times the gradient's sign.
model = torch.tensor([1.0, 2.0, 3.0, 4.0])
weights, shards = [model.clone(), model.clone()], share_out(model, [2, 2])
gradients = [torch.tensor([0.3, -0.1, 0.0, 0.2]), torch.tensor([-0.1, -0.1, 0.0, 0.2])]
answer = zero1_step(weights, gradients, shards, 1, 0.5, 100.0)
assert answer is not None, "zero1_step returns None: True is wanted where the step was done"
assert answer is True, f"the gradients are finite: True is wanted, not {answer!r}"
assert not torch.equal(weights[0], model) or torch.equal(shards[0]["master"], model[:2]), (
    "the masters have moved, the weights not: gather the new masters into every rank's weights"
)
assert torch.equal(weights[0], weights[1]), (
    "the ranks have different weights: every rank needs all shards' new masters, and the same gradient: the mean"
)
moved = model - weights[0]
assert not torch.allclose(moved, torch.tensor([1.58, -1.58, 0.0, 1.58]), atol=0.02), (
    "the first step is 3.16 times too long: divide m by 1 - 0.9^t, and v by 1 - 0.999^t"
)
assert torch.allclose(moved, torch.tensor([0.5, -0.5, 0.0, 0.5]), atol=1e-4), f"lr · sign(g) is wanted, not {moved}"
assert not torch.allclose(shards[0]["m"], torch.tensor([0.02, -0.02])), "you summed the gradients: take their mean"
assert torch.allclose(shards[0]["m"], torch.tensor([0.01, -0.01])), "m should be 0.1 g after the first step"
assert torch.allclose(shards[1]["v"], torch.tensor([0.0, 4e-5])), "v should be 0.001 g² after the first step"

# %% test="zero1_adam" points=1
# Test (1 point): ten steps on three ranks with shards of 5, 3 and 2 numbers, against Adam on one rank.
generator = torch.Generator().manual_seed(2)
model = torch.randn(10, generator=generator)
weights, shards = [model.clone() for _ in range(3)], share_out(model, [5, 3, 2])
alone = torch.nn.Parameter(model.clone())
adam = torch.optim.Adam([alone], lr=0.05)
for t in range(1, 11):
    gradients = [torch.randn(10, generator=generator) for _ in range(3)]
    before = [one.clone() for one in gradients]
    assert zero1_step(weights, gradients, shards, t, 0.05, 1e9) is True, "True is wanted where the step was done"
    assert all(torch.equal(one, old) for one, old in zip(gradients, before, strict=True)), "the gradients were changed"
    alone.grad = sum(before) / 3
    adam.step()
    apart = max(float((one - alone.detach()).abs().max()) for one in weights)
    assert apart < 1e-5, f"after step {t} the weights differ from Adam's by {apart:.2g}"

# %% test="zero1_clips" points=1
# Hidden test (1 point): clipping by the norm of the whole gradient, on all ranks by the same factor; gradients of 0.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
model = torch.zeros(5)
for clip in (1.0, 2.5, 10.0):
    weights, shards = [model.clone(), model.clone()], share_out(model, [1, 4])
    gradients = [torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0]), torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0])]
    zero1_step(weights, gradients, shards, 1, 0.1, clip)
    factor = min(1.0, clip / 5)
    found = [shards[0]["m"][0].item() / 0.1, shards[1]["m"][1].item() / 0.1]
    own = [3 * min(1.0, clip / 3), 4 * min(1.0, clip / 4)]
    assert clip == 10.0 or max(abs(a - b) for a, b in zip(found, own, strict=True)) > 1e-3, (
        "each shard is clipped by its own norm: the norm is that of the whole gradient, over all shards"
    )
    assert max(abs(a - b) for a, b in zip(found, [3 * factor, 4 * factor], strict=True)) < 1e-4, (
        f"clip = {clip}: the gradient of norm 5 should be scaled by {factor}; the second average needs it too"
    )
    squares = [shards[0]["v"][0].item() * 1000, shards[1]["v"][1].item() * 1000]
    wanted = [(3 * factor) ** 2, (4 * factor) ** 2]
    assert max(abs(a - b) for a, b in zip(squares, wanted, strict=True)) < 1e-2, "v is of the clipped gradient"
weights, shards = [torch.ones(2), torch.ones(2)], share_out(torch.ones(2), [1, 1])
assert zero1_step(weights, [torch.tensor([1.0, -2.0]), torch.tensor([-1.0, 2.0])], shards, 1, 0.1, 1.0) is True
assert weights[0].tolist() == [1.0, 1.0], "gradients that cancel: nothing moves, and nothing is divided by a norm of 0"
### END HIDDEN TESTS

# %% test="zero1_mixed" points=1
# Hidden test (1 point): bfloat16 weights, masters that remember small updates, no large float32 tensor, overflow.
### BEGIN HIDDEN TESTS
from torch.utils._python_dispatch import TorchDispatchMode


class Largest(TorchDispatchMode):
    """Numbers in the largest float32 or float64 tensor that is made inside."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if torch.is_tensor(one) and one.dtype in (torch.float32, torch.float64):
                self.numbers = max(self.numbers, one.numel())
        return made


def flat(tensors):
    return [one.tolist() for one in tensors]


assert not torch.equal(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
sizes, n = [40, 30, 30, 20], 120
generator = torch.Generator().manual_seed(3)
model = torch.ones(n)
weights, shards = [model.bfloat16() for _ in sizes], share_out(model, sizes)
gradients = [torch.rand(n, generator=generator).bfloat16() + 1 for _ in sizes]
with Largest() as seen:
    for t in range(1, 9):
        zero1_step(weights, gradients, shards, t, 0.001, 1.0)
assert 0 < seen.numbers <= 40, (
    f"a float32 tensor of {seen.numbers} numbers was made; the largest shard has 40: work piece by piece"
)
masters = [number for shard in shards for number in shard["master"].tolist()]
assert all(abs(number - 0.992) < 1e-4 for number in masters), "eight steps of .001 from 1: masters stay in float32"
assert all(one.dtype == torch.bfloat16 for one in weights), "the weights keep their type"
assert all(one.tolist() == torch.tensor(masters).bfloat16().tolist() for one in weights), (
    "the weights should be the masters, rounded to bfloat16; sums that start from the rounded weights lose small updates"
)
for bad in (float("inf"), float("nan")):
    for rank in range(4):
        before = flat(weights), [flat([shard[name] for name in ("master", "m", "v")]) for shard in shards]
        broken = [one.clone() for one in gradients]
        broken[rank][119] = bad  # in the last rank's shard
        assert zero1_step(weights, broken, shards, 9, 0.001, 1.0) is False, f"{bad} on rank {rank}: False is wanted"
        after = flat(weights), [flat([shard[name] for name in ("master", "m", "v")]) for shard in shards]
        assert after == before, f"{bad} in one shard: no rank may do anything; its neighbours have stepped"
### END HIDDEN TESTS

# %% test="zero1_refuses" points=1
# Hidden test (1 point): shards with a gap, an overlap, too short, too long; lists of different lengths.
### BEGIN HIDDEN TESTS
model = torch.zeros(6)


def shards_at(*pairs):
    return [
        {"start": start, "master": torch.zeros(size), "m": torch.zeros(size), "v": torch.zeros(size)}
        for start, size in pairs
    ]


two = [model.clone(), model.clone()]
for weights, gradients, shards, what in [
    (two, two, shards_at((0, 2), (3, 3)), "a gap between shards"),
    (two, two, shards_at((0, 4), (3, 3)), "shards that overlap"),
    (two, two, shards_at((0, 3), (3, 2)), "shards shorter than the model"),
    (two, two, shards_at((0, 3), (3, 4)), "shards longer than the model"),
    (two, two, shards_at((0, 6)), "one shard for two ranks"),
    (two, two[:1], shards_at((0, 3), (3, 3)), "one gradient for two ranks"),
    (two[:1], two, shards_at((0, 3), (3, 3)), "one rank's weights for two ranks"),
]:
    try:
        zero1_step(weights, gradients, shards, 1, 0.1, 1.0)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
assert zero1_step([model.clone()], [model.clone()], shards_at((0, 6)), 1, 0.1, 1.0) is True, "one rank alone is allowed"
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3: a pipeline within a budget (6 points)
#
# A pipeline has $p$ stages, a step $m$ micro-batches. A schedule is a list with one list for each stage, of the actions
# `("F", i)` (forward of micro-batch $i$) and `("B", i)` (its backward) in the order in which the stage does them.
# A forward needs that of the stage before; a backward needs the stage's own forward, and the backward of the stage after.
# Between its forward and the end of its backward a micro-batch is **alive** on a stage: its activations take memory.
#
# Write `one_f_one_b(stages, micro, most=None)`: the 1F1B schedule. Stage $s$ (from 0) first does forwards until
# $w_s = \min(p - s, m)$ are alive, and then by turns the oldest micro-batch's backward and the next forward, as long as
# there are forwards left; last the remaining backwards. With `most`, a budget, at most `most` may be alive on any stage:
# $w_s = \min(p - s, m, \text{most})$. `ValueError` for numbers below 1.
#
# Write `finish(schedule, forward=1.0, backward=2.0, hop=0.0)`: when the last action of any such schedule ends, if each
# starts as soon as its stage is free and what it needs has been done. What another stage has computed comes `hop` seconds
# after it was done. `ValueError` for a schedule in which an action stands twice on a stage, or waits for ever.


# %% answer="one_f_one_b"
def one_f_one_b(stages, micro, most=None):
    """A list of ("F" or "B", micro-batch) for each stage; at most `most` micro-batches are alive on a stage."""
    ### BEGIN SOLUTION
    if stages < 1 or micro < 1 or (most is not None and most < 1):
        raise ValueError("stages, micro-batches and budget are 1 or more")
    schedule = []
    for stage in range(stages):
        ahead = min(stages - stage, micro, most or micro)
        actions = [("F", i) for i in range(ahead)]
        for i in range(micro):
            actions.append(("B", i))
            if i + ahead < micro:
                actions.append(("F", i + ahead))
        schedule.append(actions)
    return schedule
    ### END SOLUTION


# %% answer="finish"
def finish(schedule, forward=1.0, backward=2.0, hop=0.0):
    """The end of the last action."""
    ### BEGIN SOLUTION
    if any(len(set(actions)) < len(actions) for actions in schedule):
        raise ValueError("an action stands twice")
    last, done = len(schedule) - 1, {}
    place, free = [0] * len(schedule), [0.0] * len(schedule)
    moved = True
    while moved:
        moved = False
        for stage, actions in enumerate(schedule):
            if place[stage] == len(actions):
                continue
            kind, i = actions[place[stage]]
            if kind == "F":
                needs = [(stage - 1, "F", i, hop)] if stage else []
            else:
                needs = [(stage, "F", i, 0.0)] + ([(stage + 1, "B", i, hop)] if stage < last else [])
            if all(need[:3] in done for need in needs):
                start = max([free[stage], *(done[need[:3]] + need[3] for need in needs)])
                free[stage] = done[stage, kind, i] = start + (forward if kind == "F" else backward)
                place[stage] += 1
                moved = True
    if any(at < len(actions) for at, actions in zip(place, schedule, strict=True)):
        raise ValueError("the stages wait for one another for ever")
    return max(free)
    ### END SOLUTION


# %% test="schedule_visible" points=1
# Test (1 point): three stages, four micro-batches, action by action.
answer = one_f_one_b(3, 4)
assert answer is not None, "one_f_one_b returns None: is the `return` missing?"
assert len(answer) == 3, f"one list a stage, 3 in all, not {len(answer)}"
lines = [" ".join(f"{kind}{i}" for kind, i in actions) for actions in answer]
assert not lines[2].startswith("F0 F1 F2 F3"), "all forwards first: that is GPipe"
assert not lines[0].startswith("F0 F1 B0"), "the first stage fills with p - s = 3 forwards, not with p - s - 1"
assert lines[2] == "F0 B0 F1 B1 F2 B2 F3 B3", f"the last stage goes back at once: {lines[2]}"
assert lines[0] == "F0 F1 F2 B0 F3 B1 B2 B3", f"the first stage: {lines[0]}"
assert lines[1] == "F0 F1 B0 F2 B1 F3 B2 B3", f"the stage between: {lines[1]}"

# %% test="schedule_holds" points=1
# Hidden test (1 point): other sizes, fewer micro-batches than stages: everything once, in order, few alive, no waiting.
### BEGIN HIDDEN TESTS


def alive(actions):
    most = now = 0
    for kind, _ in actions:
        now += 1 if kind == "F" else -1
        most = max(most, now)
    return most


def ends(schedule, forward, backward, hop):
    """By going back from each action to what it needs; a RecursionError where that never ends."""
    known = {}

    def end(stage, at):
        if (stage, at) not in known:
            kind, i = schedule[stage][at]
            starts = [end(stage, at - 1)] if at else [0.0]
            if kind == "F" and stage:
                starts.append(hop + end(stage - 1, schedule[stage - 1].index(("F", i))))
            if kind == "B":
                starts.append(end(stage, schedule[stage].index(("F", i))))
            if kind == "B" and stage + 1 < len(schedule):
                starts.append(hop + end(stage + 1, schedule[stage + 1].index(("B", i))))
            known[stage, at] = max(starts) + (forward if kind == "F" else backward)
        return known[stage, at]

    return max(end(stage, at) for stage, actions in enumerate(schedule) for at in range(len(actions)))


for p in (1, 2, 3, 5, 8):
    for m in (1, 2, 3, 7, 16):
        found = one_f_one_b(p, m)
        for stage, actions in enumerate(found):
            everything = sorted([(kind, i) for kind in "FB" for i in range(m)])
            assert sorted(actions) == everything, (
                f"{p} stages, {m} micro-batches: each F and each B once, on each stage"
            )
            assert alive(actions) == min(p - stage, m), (
                f"{p} stages, {m} micro-batches, stage {stage}: {alive(actions)} are alive at most, not min(p - s, m)"
            )
        whole = ends(found, 1.0, 2.0, 0.0)
        assert whole == 3 * (m + p - 1), f"{p} stages, {m} micro-batches: {whole} long, not (m + p - 1)(f + b)"
### END HIDDEN TESTS

# %% test="schedule_budget" points=1
# Hidden test (1 point): a budget that binds, one that does not, the time it costs; numbers below 1.
### BEGIN HIDDEN TESTS
for p, m, most in ((4, 8, 2), (4, 8, 1), (5, 6, 3), (3, 2, 1), (4, 8, 4), (4, 8, 100)):
    found, case = one_f_one_b(p, m, most), f"{p} stages, {m} micro-batches, at most {most}"
    for stage, actions in enumerate(found):
        level, peak = 0, 0
        for kind, _ in actions:
            level += 1 if kind == "F" else -1
            peak = max(peak, level)
        assert peak == min(p - stage, m, most), f"{case}, stage {stage}: {peak} alive"
        assert sorted(actions) == sorted([(kind, i) for kind in "FB" for i in range(m)]), (
            f"{case}: not each action once"
        )
        turns = [kind for kind, _ in actions[peak - 1 : 2 * m - peak + 1]]
        assert turns == ["F", "B"] * (len(turns) // 2), f"{case}, stage {stage}: forward and backward do not take turns"
        assert [i for kind, i in actions if kind == "B"] == list(range(m)), f"{case}: the oldest goes back first"
assert one_f_one_b(4, 8, 4) == one_f_one_b(4, 8), "a budget of p changes nothing"
for numbers in ((0, 4), (4, 0), (4, 4, 0), (-1, 4), (4, 4, -2)):
    try:
        one_f_one_b(*numbers)
    except ValueError:
        continue
    raise AssertionError(f"one_f_one_b{numbers} should be a ValueError")
### END HIDDEN TESTS

# %% test="finish_visible" points=1
# Test (1 point): two stages and two micro-batches, with and without a hop.
plan = [[("F", 0), ("F", 1), ("B", 0), ("B", 1)], [("F", 0), ("B", 0), ("F", 1), ("B", 1)]]
answer = finish(plan)
assert answer is not None, "finish returns None: is the `return` missing?"
assert answer != 6, "6 is the work of one stage: it also waits"
assert answer != 12, "12 is as if one action ran at a time: stages work at the same time"
assert answer == 9, f"(m + p - 1)(f + b) = 9 for this schedule, not {answer}"
assert finish(plan, 1.0, 1.0) == 6, "with backwards as short as forwards: 6"
late = finish(plan, 1.0, 2.0, 0.5)
assert late != 9, "the hop is not used"
assert late != 11, "within a stage nothing hops: a backward needs the stage's own forward at once"
assert late == 10, f"the first forward hops, and the last backward: 10, not {late}"

# %% test="finish_holds" points=1
# Hidden test (1 point): GPipe, schedules with a budget, backwards in another order, random ones; hops.
### BEGIN HIDDEN TESTS
import random


def latest(schedule, forward, backward, hop):
    """Ends by repeated passes until nothing changes."""
    end = {(s, a): 0.0 for s, actions in enumerate(schedule) for a in actions}
    for _ in range(len(end) + 1):
        for s, actions in enumerate(schedule):
            for at, (kind, i) in enumerate(actions):
                start = end[s, actions[at - 1]] if at else 0.0
                if kind == "F" and s:
                    start = max(start, end[s - 1, ("F", i)] + hop)
                if kind == "B":
                    start = max(start, end[s, ("F", i)])
                if kind == "B" and s + 1 < len(schedule):
                    start = max(start, end[s + 1, ("B", i)] + hop)
                end[s, (kind, i)] = start + (forward if kind == "F" else backward)
    return max(end.values())


def turns(p, m, most):
    """1F1B with at most `most` alive."""
    found = []
    for s in range(p):
        w = min(p - s, m, most)
        order = [("F", i) for i in range(w)]
        for i in range(m):
            order += [("B", i)] + ([("F", i + w)] if i + w < m else [])
        found.append(order)
    return found


draw = random.Random(5)
for p, m in ((1, 1), (1, 5), (2, 3), (4, 8), (5, 3), (3, 6)):
    backs = list(range(m))
    draw.shuffle(backs)
    gpipe = [[("F", i) for i in range(m)] + [("B", i) for i in backs] for _ in range(p)]
    for plan in (gpipe, turns(p, m, 1), turns(p, m, 2), turns(p, m, 99)):
        for forward, backward, hop in ((1.0, 2.0, 0.0), (1.0, 2.0, 0.25), (3.0, 1.0, 2.0), (0.5, 0.5, 10.0)):
            found, wanted = finish(plan, forward, backward, hop), latest(plan, forward, backward, hop)
            assert abs(found - wanted) < 1e-9, (
                f"{p} stages, {m} micro-batches, f = {forward}, b = {backward}, hop = {hop}: {found}, not {wanted}"
            )
### END HIDDEN TESTS

# %% test="finish_refuses" points=1
# Hidden test (1 point): actions that wait for each other, for something that no stage does, or stand twice.
### BEGIN HIDDEN TESTS
for plan, what in [
    ([[("B", 0), ("F", 0)]], "a backward before its forward"),
    (
        [[("F", 0), ("B", 0), ("F", 1), ("B", 1)], [("F", 0), ("F", 1), ("B", 0), ("B", 1)]],
        "two stages that wait for ever",
    ),
    ([[("F", 0), ("B", 0)], [("F", 0), ("B", 0), ("F", 1), ("B", 1)]], "a forward that the first stage never does"),
    ([[("F", 0), ("B", 0)], [("F", 0)]], "a backward that the last stage never does"),
    ([[("F", 0), ("B", 0), ("F", 0), ("B", 0)]], "an action that stands twice"),
    ([[("F", 0), ("F", 0), ("B", 0)]], "a forward that stands twice"),
]:
    try:
        finish([list(actions) for actions in plan])
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
assert finish([[("F", 0), ("B", 0)]]) == 3.0
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4: softmax in a kernel (5 points)
#
# Write the CUDA C++ text of one kernel; `softmax_kernel()` returns it as a string. The cell below compiles it with the
# course's emulator, by `g++`, so no GPU is needed (but a C++ compiler is: Linux, WSL and Colab have it).
#
# ```cpp
# __global__ void softmax_rows(const float* x, const int64_t* lengths, float* y, float* lse, int64_t width) { … }
# ```
#
# `x` and `y` are (rows, width), contiguous. There is **one block a row**: row `blockIdx.x`; its `blockDim.x` threads, a power
# of two from 32 to 256, share the columns. Of row $r$ only the first $\ell_r$ = `lengths[r]` columns count:
#
# $$y_{rc} = \frac{e^{x_{rc} - M_r}}{S_r} \;\; (c < \ell_r), \quad y_{rc} = 0 \;\; (c \ge \ell_r), \qquad
# M_r = \max_{c < \ell_r} x_{rc}, \quad S_r = \sum_{c < \ell_r} e^{x_{rc} - M_r}, \qquad \text{lse}_r = M_r + \log S_r$$
#
# A row of length 0 gives zeros, and lse $-\infty$. What stands in `x` behind the length may be anything, even NaN.
#
# - Both reductions over the block go through shared memory, declared as `SHARED(float, scratch, [256]);`. Each reduction is
#   a tree of $\log_2$ `blockDim.x` steps, or shuffles (`__shfl_xor_sync`) and then shared memory.
# - `__syncthreads()` lets no thread on before all have come. It must stand between a write and another thread's read,
#   **and between a read and the next write** to the same place. All threads must reach the same ones.
# - You may use `threadIdx`, `blockIdx`, `blockDim`, `fmaxf`, `expf`, `logf`, `INFINITY`.
#
# The emulator runs the threads of a block one after another, up to each barrier, rising or falling: without a barrier
# one of the two gives wrong numbers. It does not catch addresses: a write far outside ends this notebook's kernel.

# %% locked="softmax"
LAUNCHER = """
extern "C" const char* softmax_launch(const void* x, const void* lengths, void* y, void* lse, int64_t rows,
                                      int64_t width, int64_t threads, void* stream) {
  LAUNCH(softmax_rows, dim3(rows), dim3(threads), 0, stream)
  (static_cast<const float*>(x), static_cast<const int64_t*>(lengths), static_cast<float*>(y),
   static_cast<float*>(lse), width);
  return finished();
}
"""
GUARD = 1024  # numbers before and behind a result that must stay as they are


def softmax(text, x, lengths, threads=128, falling=False):
    """Run a kernel's text on x (rows, width): (y, lse, barriers a row)."""
    library = compile_source('#include "common.cuh"\n' + text + LAUNCHER, emulate=True, name="softmax_rows")
    (rows, width), before = x.shape, library.counts()["barriers"]
    results = [torch.full((numbers + 2 * GUARD,), float("nan")) for numbers in (x.numel(), rows)]
    for one in results:
        one[:GUARD] = one[-GUARD:] = 77.0
    y, lse = (one[GUARD:-GUARD] for one in results)
    arguments = x.contiguous(), torch.tensor(lengths), y, lse, rows, width, threads
    library("softmax_launch", *arguments, falling=falling)
    if any((one[side] != 77.0).any() for one in results for side in (slice(GUARD), slice(-GUARD, None))):
        raise RuntimeError("the kernel wrote outside of y or lse")
    return y.reshape(rows, width), lse, (library.counts()["barriers"] - before) / rows


# %% answer="softmax_kernel"
def softmax_kernel():
    """The CUDA C++ text of softmax_rows."""
    ### BEGIN SOLUTION
    return r"""
__global__ void softmax_rows(const float* x, const int64_t* lengths, float* y, float* lse, int64_t width) {
  SHARED(float, scratch, [256]);
  const int me = threadIdx.x, threads = blockDim.x;
  const int64_t length = lengths[blockIdx.x], start = blockIdx.x * width;
  float most = -INFINITY;
  for (int64_t column = me; column < length; column += threads) most = fmaxf(most, x[start + column]);
  scratch[me] = most;
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (me < half) scratch[me] = fmaxf(scratch[me], scratch[me + half]);
    __syncthreads();
  }
  most = scratch[0];
  __syncthreads();  // all have read the maximum before its place is written again
  float sum = 0.0f;
  for (int64_t column = me; column < length; column += threads) sum += expf(x[start + column] - most);
  scratch[me] = sum;
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (me < half) scratch[me] += scratch[me + half];
    __syncthreads();
  }
  sum = scratch[0];
  for (int64_t column = me; column < width; column += threads) {
    y[start + column] = column < length ? expf(x[start + column] - most) / sum : 0.0f;
  }
  if (me == 0) lse[blockIdx.x] = length ? most + logf(sum) : -INFINITY;
}
"""
    ### END SOLUTION


# %% test="kernel_visible" points=1
# Test (1 point): three rows of five columns, 32 threads.
text = softmax_kernel()
assert isinstance(text, str), "softmax_kernel returns the kernel's text, a string"
x = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0, 1.0], [5.0, 0.0, -5.0, 9.0, 9.0]])
y, lse, barriers = softmax(text, x, [5, 5, 3], 32)
assert not y[0].isnan().any(), f"columns of y were not written, or are NaN: {y[0].tolist()}"
assert not torch.allclose(y[0], (x[0] - 4).exp()), "the rows are not divided by their sum yet"
assert torch.allclose(y[:2], x[:2].softmax(1), atol=1e-5), f"the whole rows: {x[:2].softmax(1)}, not {y[:2]}"
assert not y[2].isnan().any(), "a column behind the length was not written: it should be 0"
assert not torch.allclose(y[2], x[2].softmax(0), atol=1e-5), "the third row has length 3: what is behind does not count"
assert torch.allclose(y[2], torch.cat([x[2, :3].softmax(0), torch.zeros(2)]), atol=1e-5), f"the third row: {y[2]}"
assert torch.allclose(lse[:2], x[:2].logsumexp(1), atol=1e-5), f"lse: {x[:2].logsumexp(1)}, not {lse[:2]}"
assert barriers > 0, "no barrier: does one thread do everything? The threads of the block share the columns"

# %% test="kernel_sizes" points=1
# Hidden test (1 point): rows shorter and longer than the block, odd widths, one column, 32 to 256 threads.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator, text = torch.Generator().manual_seed(8), softmax_kernel()
for width, threads in ((1, 32), (31, 32), (33, 32), (100, 64), (255, 256), (257, 64), (1025, 256), (600, 128)):
    x = torch.randn(3, width, generator=generator) * 3
    y, lse, barriers = softmax(text, x, [width] * 3, threads)
    exact = x.double().softmax(1)
    gap = (y.double() - exact).abs().max().item()
    assert gap < 1e-5, f"width {width}, {threads} threads: y is wrong by {gap:.2g}"  # also False for NaN
    assert abs(lse.double() - x.double().logsumexp(1)).max().item() < 1e-4, f"width {width}, {threads} threads: lse"
    assert 0 < barriers <= 64, f"width {width}, {threads} threads: {barriers:g} barriers a row"
### END HIDDEN TESTS

# %% test="kernel_lengths" points=1
# Hidden test (1 point): lengths from 0 to the width, with NaN and infinity behind them.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator, text = torch.Generator().manual_seed(9), softmax_kernel()
lengths = [0, 1, 5, 64, 70, 99]
x = torch.randn(len(lengths), 99, generator=generator)
for row, length in enumerate(lengths):
    x[row, length:] = (float("nan"), float("inf"), 1e30)[row % 3]
y, lse, _ = softmax(text, x, lengths, 64)
for row, length in enumerate(lengths):
    assert y[row, length:].tolist() == [0.0] * (99 - length), f"length {length}: y behind it should be 0"
    gap = (y[row, :length] - x[row, :length].softmax(0)).abs().tolist()
    assert all(number < 1e-5 for number in gap), f"length {length}: y is wrong"
    wanted = x[row, :length].logsumexp(0).item() if length else -math.inf
    assert lse[row].item() == wanted or abs(lse[row].item() - wanted) < 1e-5, f"length {length}: lse {lse[row].item()}"
### END HIDDEN TESTS

# %% test="kernel_large" points=1
# Hidden test (1 point): numbers of ten thousands, which overflow unless the maximum is subtracted; the same with +c.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator, text = torch.Generator().manual_seed(10), softmax_kernel()
for shift in (0.0, 5000.0, -5000.0):
    x = torch.randn(2, 150, generator=generator) * 30 + shift
    y, lse, _ = softmax(text, x, [150, 150], 64)
    assert bool(y.isfinite().all() and lse.isfinite().all()), "NaN or infinity: subtract the row's maximum before expf"
    assert (y.double() - x.double().softmax(1)).abs().max().item() < 1e-5, f"y is wrong for numbers around {shift:g}"
    assert (lse.double() - x.double().logsumexp(1)).abs().max().item() < 1e-2, f"lse is wrong around {shift:g}"
### END HIDDEN TESTS

# %% test="kernel_races" points=1
# Hidden test (1 point): threads run from the last to the first: every barrier is where it must be.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator, text = torch.Generator().manual_seed(11), softmax_kernel()
for width, threads in ((40, 32), (200, 64), (1000, 256)):
    x = torch.randn(2, width, generator=generator) * 2
    both = [softmax(text, x, [width] * 2, threads, falling) for falling in (False, True)]
    gaps = [(y.double() - x.double().softmax(1)).abs().max().item() for y, *_ in both]
    right = [gap < 1e-5 for gap in gaps]  # False for NaN too
    assert any(right), f"{threads} threads: wrong in either order of the threads"
    assert all(right), (
        f"{threads} threads: wrong in one order of the threads: a __syncthreads() is missing, between a write and a read, "
        "or between a read and the next write"
    )
    assert both[0][0].tolist() == both[1][0].tolist(), "the result depends on the order of the threads"
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5: what it costs (4 points, graded by hand)
#
# Answer in one to three sentences each, with numbers.
#
# 1. All-reduce of $\Psi$ numbers over $N$ ranks: how many does a rank send for $N = 8$, and for $N = 64$? Why does a
#    step on 64 ranks nevertheless take longer for a *small* model?
# 2. Adam in mixed precision: how many bytes a weight stay on a rank without ZeRO, and with stage 1 on 8 ranks? Why does
#    stage 1 send no more than plain data parallelism?
# 3. Use your own `finish` and `one_f_one_b` for 4 stages and 8 micro-batches (forward 1, backward 2): how long is the step,
#    which share of a stage's time is idle, and how does that change with a budget of 2? What is the budget good for?
# 4. Your kernel reads and writes how many bytes of the GPU's memory for each number of `x`, if nothing stays in a cache?
#    And if a row stays in registers or shared memory after it was read once? Which of the two limits a GPU here, bytes or
#    `expf`?

# %% [markdown] manual="reading" points=4
# 1. 2 (N − 1)/N · Ψ: 1.75 Ψ for 8 ranks, 1.97 Ψ for 64, nearly the same. But the ring takes 2 (N − 1) rounds, 14 against
#    126, and every round costs a latency; small messages are all latency.
# 2. 16 bytes against 4 + 12/8 = 5.5. An all-reduce is a reduce-scatter and an all-gather; stage 1 does the same two, the
#    first on gradients and the second on weights: 2 (N − 1)/N · Ψ.
# 3. 33 = 3 · (8 + 4 − 1), idle (33 − 24)/33 = 27 % = 3/11. With a budget of 2 it takes 69, idle 65 %: the first stage may
#    begin a micro-batch only when an earlier one has come back through all stages. What is gained: the activations of 2
#    instead of 4 micro-batches on the first stage.
# 4. Three reads and a write of 4 bytes: 16. Read once: 8. Bytes: a GPU does thousands of operations in the time that a
#    number takes to come from memory, and there are two exponentials for 16 bytes.
