# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Memory: can you predict how much a training step needs?
#
# A model's file is small, and its training runs out of memory. Which numbers fill the memory, and how many bytes are there at the
# fullest moment? If you can say that **before** the run, you can also say what makes it fit.
#
# **After this lesson you can** say what a [weight](../glossary.ipynb#weight) and a token cost in training; predict the peak of a
# step to within 5 %; and lower it by computing [activations](../glossary.ipynb#activation) again and by taking a batch in parts.
#
# **45 minutes.** Before it: what a Transformer layer consists of, [lesson 01/03](../01_foundations/03_transformer.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="06/01")

# %%
LAYERS = 8  # @param {type:"integer"}
WIDTH = 64  # @param {type:"integer"}
CARD = 16e6  # @param {type:"number"}

# %% [markdown]
# ## 1 · A small model that does not fit
#
# Here is a language model of eight layers, and a card with 16 MB of memory. (Real ones have a thousand times as much, and so have
# real models.) `peak_memory` and `watched` count the bytes of all tensors that are alive, and give the most that there were at once.

# %% tags=["nbval-check-output"]
import torch

from labkit.measure import peak_memory
from labkit.parallel.memory.model import Layer, Transformer
from labkit.parallel.memory.peaks import watched
from labkit.parallel.memory.shape import PRESETS, ModelShape

shape = ModelShape(layers=LAYERS, width=WIDTH, heads=4, vocabulary=512, positions=64)
ids = torch.randint(512, (8, 64), generator=torch.Generator().manual_seed(0))  # 8 texts of 64 tokens
model = Transformer(shape)
with torch.no_grad():
    answering = 4 * shape.parameters + peak_memory(lambda: model(ids, ids))
training = watched(lambda: Transformer(shape), lambda loss_of: loss_of(ids).backward())
for what, size in (("weights", 4 * shape.parameters), ("answering", answering), ("training", training.peak)):
    print(f"{what:<10} {size / 1e6:5.1f} MB   fits on the card: {size <= CARD}")

# %% [markdown]
# Answering fits, training does not. What is all this? The next picture shows one training step. Every
# operator that runs (a product of matrices, a sum) moves us one place to the right.

# %%
from labkit.parallel.memory.picture import course_plot

course_plot({"a training step": training})

# %% [markdown]
# Look at the colours from the bottom to the top. Weights, gradients and optimizer states keep one height, because they stay from
# step to step. [Activations](../glossary.ipynb#activation) grow through the [forward pass](../glossary.ipynb#forward-pass), layer by
# layer, and are given back in the [backward pass](../glossary.ipynb#backward-pass). The peak is where the backward pass begins. So
# there are two questions: what does a weight cost, and what does a token cost?
#
# ## 2 · Sixteen bytes per weight
#
# A matrix of 2 × 3 has 6 weights of 4 bytes, 24 bytes. Its gradient takes 24 bytes more. The [optimizer](../glossary.ipynb#adam)
# Adam keeps two averages for each weight, of its gradient and of the gradient's square: 48 bytes. Together that is 96 bytes,
# $4 + 4 + 8 = 16$ per weight.
#
# In [mixed precision](../glossary.ipynb#mixed-precision) the weight and its gradient take 2 bytes each, and the optimizer 12: that is
# $2 + 2 + 12 = 16$ again. The model computes in 16 bits, but the optimizer keeps a 32-bit copy of each weight beside its averages, because
# many small steps would be rounded away in 16 bits. So these bytes only change places. (Rajbhandari et al. 2020,
# [*ZeRO*](https://arxiv.org/abs/1910.02054), §3.1.)

# %% tags=["nbval-check-output"]
from labkit.report import Table

lines = []
for name in ("bert-base", "gpt2-xl", "fewclue-1.2b", "gpt3-175b"):
    weights = PRESETS[name].parameters
    lines.append((name, f"{weights / 1e9:,.2f} billion", f"{2 * weights / 1e9:,.1f} GB", f"{16 * weights / 1e9:,.1f} GB"))
Table(("model", "weights", "to answer, in 16 bits", "to train, without activations"), tuple(lines))

# %% [markdown]
# Training needs eight times the memory of answering, before the first token has been read. (`fewclue-1.2b` is the shape on which
# the FewCLUE article measured how its training scales. It does not fit on a card of 16 GB, although the model is an eighth of that.)
#
# ## 3 · What a token costs
#
# The backward pass needs what the forward pass has computed. The gradient of a matrix needs the matrix's input; the derivative of a
# non-linear function needs the function's input; softmax needs its own output. PyTorch calls a [hook](../glossary.ipynb#hook) with
# every tensor that it keeps. Here is a small case: 2 texts of 3 tokens, states of 4 numbers, 2 heads.

# %% tags=["nbval-check-output"]
tiny, kept = Layer(ModelShape(layers=1, width=4, heads=2, vocabulary=9, positions=3)), {}


def note(tensor):
    if not isinstance(tensor, torch.nn.Parameter) and tensor.untyped_storage().nbytes() > 4 * 6:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # each memory once
    return tensor


with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
    tiny(torch.randn(2, 3, 4, requires_grad=True))
weights = {p.untyped_storage().data_ptr() for p in tiny.parameters()}
sizes = [tensor.untyped_storage().nbytes() // 4 for place, tensor in kept.items() if place not in weights]
print(f"{len(sizes)} tensors of {sorted(sizes)} numbers, {sum(sizes)} in all")

# %% [markdown]
# The states of 6 tokens are 6 · 4 = 24 numbers: these eight are LayerNorms' inputs and outputs, the queries, the keys, the values and the
# heads' joined output. The 36 are the heads' shares (2 texts, 2 heads, each with a table of 3 × 3). The two 96 are the middle of the
# [MLP](../glossary.ipynb#mlp), which is four times as wide. (A few small numbers of LayerNorm are left out.) With a width $d$:
#
# | kept for each token | numbers |
# |---|---|
# | inputs and outputs of both LayerNorms | $4\,d$ |
# | queries, keys, values, the heads' joined output | $4\,d$ |
# | the MLP's middle, before and after the non-linear function | $2 \cdot 4\,d$ |
# | attention shares: one row for each head | heads · length |
#
# Korthikanti et al. (2022, [*Reducing activation recomputation*](https://arxiv.org/abs/2205.05198), §4.1) have the same table with
# dropout.
#
# ### Exercise 1: the numbers of a layer
#
# *●○○ · 5 minutes*
#
# How many numbers does one layer keep for all tokens of a batch? Above: `kept_numbers(2, 3, 4, 2)` → `420`.
# For one text it is 210.

# %%
from labkit.checks import memory as check


def kept_numbers(batch, length, width, heads): ...  # your turn


kept_numbers = check.kept_numbers(kept_numbers)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Add up the table's right column: it is what one token costs.
# </details>
#
# <details><summary>Hint 2</summary>
#
# 4 d + 4 d + 8 d, and the shares.
# </details>
#
# <details><summary>Hint 3</summary>
#
# There are `batch * length` tokens.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def kept_numbers(batch, length, width, heads):
#     return batch * length * (16 * width + heads * length)
# ```
# </details>
#
# ## 4 · The peak
#
# At the peak the backward pass begins: all layers still have what they keep, and the **loss** has its own tensors. The model gives a
# score to every word of the vocabulary for every token, the *logits*. Three tensors of their size are alive at once: the
# logarithms of the shares, and the gradients before and after them. With the states of section 2:
#
# $$\text{peak} = 16 \cdot \text{weights} + 4 \,( \text{layers} \cdot \text{kept} + 3 \cdot \text{logits} ) \;\text{ bytes.}$$
#
# ### Exercise 2: predict the peak
#
# *●○○ · 4 minutes*
#
# The number of weights, of layers, of the numbers that one layer keeps and of the logits in; bytes out, everything in 32 bits.
# With 100 weights, 2 layers that keep 210 numbers and 27 logits: 1 600 bytes for the weights, 4 · (420 + 81) = 2 004 for the tokens.
#
# ```python
# peak_bytes(100, 2, 210, 27)  # 3604
# ```


# %%
def peak_bytes(weights, layers, kept, logits): ...  # your turn


peak_bytes = check.peak_bytes(peak_bytes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The first part is 16 bytes per weight.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Activations are 32-bit numbers: 4 bytes each.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `layers * kept + 3 * logits` are the numbers.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def peak_bytes(weights, layers, kept, logits):
#     return 16 * weights + 4 * (layers * kept + 3 * logits)
# ```
# </details>
#
# **Predict** before you run the next cell: if the batch has twice as many texts, is the peak twice as high?

# %% tags=["nbval-check-output"]
def predicted(batch, length=64):
    kept = kept_numbers(batch, length, shape.width, shape.heads)
    return peak_bytes(shape.parameters, shape.layers, kept, batch * length * shape.vocabulary)


for batch in (4, 8, 16):
    texts = ids.repeat(2, 1)[:batch]
    found = watched(lambda: Transformer(shape), lambda loss_of, texts=texts: loss_of(texts).backward()).peak
    said = predicted(batch)
    print(f"{batch:>2} texts: predicted {said / 1e6:4.1f} MB, off by less than 5 %: {abs(said / found - 1) < 0.05}")

# %% [markdown]
# It is less than twice as high, because the 16 bytes per weight do not depend on the batch. The small rest is what the formula leaves
# out, such as LayerNorm's few numbers. So on the card of 16 MB not even 4 texts fit. The next two sections make the second part smaller.
#
# ## 5 · Forget, and compute again
#
# A layer need not keep its inside. It can keep its input only, and compute the inside once more when the backward pass arrives:
# [activation checkpointing](../glossary.ipynb#activation-checkpointing) (Chen et al. 2016, [*Sublinear memory
# cost*](https://arxiv.org/abs/1604.06174)).
#
# Take $y = (2x)^2$ at $x = 3$. The forward pass computes $2x = 6$, then $y = 36$, and keeps only the 3. Later a gradient
# arrives from above, say $\partial L / \partial y = 10$. We compute 6 and 36 again, now with PyTorch's record of the operators (a
# *graph*), and go back through it: $\partial y / \partial x = 8x = 24$, so the gradient that goes on downwards is $240$.
#
# ### Exercise 3: the second run
#
# *●●○ · 9 minutes*
#
# A function (or a layer), the input `x` that was kept, and the gradient of the function's output in; the gradient of `x` out. Weights
# inside the function must get their gradients as well, and nothing that lies *before* `x` may be touched. PyTorch calls the backward
# pass with gradients switched off.
#
# ```python
# again(lambda x: (2 * x) ** 2, torch.tensor(3.0), torch.tensor(10.0))  # tensor(240.)
# ```


# %%
def again(function, x, gradient): ...  # your turn


again = check.again(again)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `x.detach().requires_grad_()` is a new beginning: the same numbers, and no record of where they come from.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Run the function inside `with torch.enable_grad():`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `out.backward(gradient)` starts from a given gradient, and leaves that of the new `x` in `x.grad`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def again(function, x, gradient):
#     x = x.detach().requires_grad_()
#     with torch.enable_grad():
#         out = function(x)
#     out.backward(gradient)
#     return x.grad
# ```
# </details>
#
# Your function becomes the backward pass of every layer of the model:


# %% tags=["idea"]
class Forget(torch.autograd.Function):
    """layer(x), of which only x is kept."""

    @staticmethod
    def forward(ctx, layer, x):  # autograd runs this without a graph
        ctx.layer = layer
        ctx.save_for_backward(x)
        return layer(x)

    @staticmethod
    def backward(ctx, gradient):
        return None, again(ctx.layer, *ctx.saved_tensors, gradient)


class Forgetful(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return Forget.apply(self.layer, x)


def forgetful():
    model = Transformer(shape)
    model.layers = torch.nn.ModuleList(map(Forgetful, model.layers))
    return model


# %% tags=["nbval-check-output"]
def gradients(model):
    model(ids, ids).backward()
    return [p.grad for p in model.parameters()]


pairs = zip(gradients(Transformer(shape)), gradients(forgetful()), strict=True)
print("the same gradients, bit for bit:", all(torch.equal(a, b) for a, b in pairs))

# %% [markdown]
# (With dropout the second run must draw the same random numbers. labkit's [`Checkpoint`](../../labkit/parallel/memory/checkpointing.py)
# and PyTorch's own keep the state of the random generator for that.)
#
# ## 6 · A large batch in small parts
#
# Activations grow with the batch, gradients do not. So let the model take the batch in parts, add up the gradients, and make one
# step: [gradient accumulation](../glossary.ipynb#gradient-accumulation). One thing must be right. The loss of a batch is a mean over its
# *targets* (the tokens that are to be predicted), and parts may have unequal numbers of them.
#
# Two parts have 2 and 5 targets, and their losses add up to 6 and 1. The mean over all is $(6 + 1) / 7 = 1$. The mean
# of the two parts' means is $(3 + 0.2) / 2 = 1.6$, which is another loss, with other gradients.
#
# ### Exercise 4: accumulate
#
# *●●○ · 8 minutes*
#
# `loss_sum(part)` is the loss of a part, added up over its targets; `count(part)` is their number, which may be 0. Call `backward()` for
# one part after the other, so that only one part's activations are alive, and the gradients are those of the mean over all targets.
# Return that mean.
#
# ```python
# w = torch.tensor(1.0, requires_grad=True)
# parts = [(6.0, 2), (1.0, 5)]  # what the loss adds up to, and targets
# accumulate(lambda part: w * part[0], lambda part: part[1], parts)  # 1.0, and w.grad is 1 as well
# ```


# %%
def accumulate(loss_sum, count, parts): ...  # your turn


accumulate = check.accumulate(accumulate)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the number of all targets: `total = sum(count(part) for part in parts)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# For each part: `loss = loss_sum(part) / total`, then `loss.backward()`. Gradients add up by themselves.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Collect `loss.item()`, a plain number. A sum of the losses themselves would keep all activations alive.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def accumulate(loss_sum, count, parts):
#     total, value = sum(count(part) for part in parts), 0.0
#     for part in parts:
#         loss = loss_sum(part) / total
#         loss.backward()
#         value += loss.item()
#     return value
# ```
# </details>
#
# The mean of means is a mistake that training libraries have shipped with, and no error message shows it. Here is a batch whose first text has
# one target, once with your function and once with the mean of means, in 64 bits:

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.accumulation import mean_of_means

exact, labels = Transformer(shape).double(), ids[:4].clone()
labels[0, 1:] = -100  # no targets
parts = [(ids[i : i + 1], labels[i : i + 1]) for i in range(4)]
whole = torch.autograd.grad(exact(ids[:4], labels), list(exact.parameters()))
for name, way in (("yours", accumulate), ("the mean of means", mean_of_means)):
    exact.zero_grad()
    way(lambda part: exact(*part, reduction="sum"), lambda part: int((part[1] != -100).sum()), parts)
    off = max((g - p.grad).abs().max() for g, p in zip(whole, exact.parameters(), strict=True))
    print(f"{name}: off by {float(off / max(g.abs().max() for g in whole)):.1f} times the largest gradient")

# %% [markdown]
# ## 7 · Plan a step that fits
#
# Now put the pieces together. With `rows` texts at a time, the first part of the peak stays and the second is that of
# `rows` texts. With checkpoints every layer keeps its input only, $d$ numbers for each token. On top of these comes
# **whichever is larger**, because they are alive at different moments:
#
# - the loss, three times the logits, when the backward pass begins;
# - one layer that is computed again: what it keeps, and $5\,d$ numbers for each token, the gradients that are on their way through it.
#
# ### Exercise 5: the plan
#
# *●●● · 10 minutes*
#
# The model's shape (`shape.layers`, `.width`, `.heads`, `.vocabulary`, and `.parameters`, the number of its weights), the texts at a
# time, their length, and whether there are checkpoints in; the peak in bytes out. For a shape of 2 layers, 4 wide, 2
# heads, a vocabulary of 9 and 100 weights, one text of 3 tokens: without checkpoints 3 604, as in exercise 2. With them, the inputs are
# 2 · 12 = 24 numbers; a layer again, 210 + 60 = 270, is more than the 81 of the loss. So 1 600 + 4 · (24 + 270) = 2 776.


# %%
def planned_peak(shape, rows, length, checkpoints): ...  # your turn


planned_peak = check.planned_peak(planned_peak)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You have both halves of the first case: `kept_numbers` and `peak_bytes`. The logits are `rows * length * shape.vocabulary`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `state = rows * length * shape.width` is one layer's input; with checkpoints there are `shape.layers` of these.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `max(3 * logits, kept + 5 * state)` is what comes on top.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def planned_peak(shape, rows, length, checkpoints):
#     kept = kept_numbers(rows, length, shape.width, shape.heads)
#     logits, state = rows * length * shape.vocabulary, rows * length * shape.width
#     if not checkpoints:
#         return peak_bytes(shape.parameters, shape.layers, kept, logits)
#     return 16 * shape.parameters + 4 * (shape.layers * state + max(3 * logits, kept + 5 * state))
# ```
# </details>
#
# Four plans for the same batch of 8 texts. Your `planned_peak` draws the dashed line, and then your `again` and your `accumulate` run
# the step. **Predict**: which of the four fit on the card of 16 MB, and which one is the smallest?

# %%
def in_parts(rows):
    parts = ids.split(rows)
    return lambda loss_of: accumulate(lambda part: loss_of(part, "sum"), torch.numel, parts)


PLANS = {"8 at a time": (8, False), "2 at a time": (2, False), "8, checkpoints": (8, True), "2, checkpoints": (2, True)}
runs, lines = {}, {}
for name, (rows, checkpoints) in PLANS.items():
    lines[name] = planned_peak(shape, rows, 64, checkpoints)
    runs[name] = watched(forgetful if checkpoints else lambda: Transformer(shape), in_parts(rows))
course_plot(runs, lines)

# %% tags=["nbval-check-output"]
for name, run in runs.items():
    close = abs(lines[name] / run.peak - 1) < 0.05
    print(f"{name:<15} predicted to within 5 %: {close}; fits on the card: {run.peak <= CARD}")

# %% [markdown]
# Look at the activations. In the first panel they rise to one high peak. In the second there are four peaks, one for each part, and each
# has a quarter of the height. With checkpoints the forward pass keeps almost nothing, and the backward pass has a small peak for each
# layer, which is computed again and given back. The 16 bytes per weight are the same in all four panels.
#
# Now use the prediction. How many texts at a time are the most that fit? Read it off your function, then measure that number and one more.

# %% tags=["nbval-check-output"]
def measured(make, rows):
    texts = torch.randint(512, (rows, 64))
    return watched(make, lambda loss_of: loss_of(texts).backward()).peak


for name, make, checkpoints in (("plain", lambda: Transformer(shape), False), ("checkpoints", forgetful, True)):
    most = max(rows for rows in range(1, 100) if planned_peak(shape, rows, 64, checkpoints) <= 0.97 * CARD)
    fits = [measured(make, rows) <= CARD for rows in (most, most + 2)]
    print(f"{name:<12} at most {most:>2} texts; {most} fit: {fits[0]}, {most + 2} fit: {fits[1]}")

# %% [markdown]
# (We leave 3 % of the card free for what the formula leaves out, so one text more may still fit; two do not.)
#
# ## 8 · What it costs, and what is left
#
# Nothing is free, but some of it is cheap. A larger model of this kind (128 wide, 8 texts of 128 tokens), all ways in one run, taking
# turns. *Time* is a step's, in multiples of the first line ([all numbers](../../docs/results.md#memory-of-one-training-step)):

# %%
from labkit.report import results

cost = {}
for row in results("memory").rows:
    cost.setdefault(row.method, {})[row.metric] = row.value
SHOWN = ("fp32", "4 micro-batches", "checkpoint every layer", "fused attention", "bf16, fp32 masters", "all of them")
lines = tuple((name, f"{cost[name]['peak measured (MB)']:.0f}", f"{cost[name]['time against fp32']:.2f} ×") for name in SHOWN)
Table(("way", "peak, MB", "time of a step"), lines)

# %% [markdown]
# Parts cost no time here. Checkpoints cost a tenth; a second forward pass can cost up to a third. Two more ways are in the table.
# *Fused attention* computes its shares again as your checkpoints do ([next lesson](02_kernels.ipynb)). 16 bits
# ([bf16](../glossary.ipynb#bf16)) halve the activations and leave the 16 bytes per weight as they are. With the other kind of 16 bits,
# [fp16](../glossary.ipynb#fp16), small gradients become 0, so the loss is first multiplied by a large [loss
# scale](../glossary.ipynb#loss-scale).
#
# What is left are the 16 bytes. They can be shared out among cards (ZeRO, [lesson 06/03](03_data_parallel.ipynb)). Move the
# sliders: which part do more cards make smaller, and which part do checkpoints? Can GPT-3 be trained on 1,024 cards of 80 GB by ZeRO
# alone, and with what?

# %%
from labkit.widgets import memory_bar

memory_bar("fewclue-1.2b", ranks=8, card=16)

# %% [markdown]
# ## 9 · So, can you predict it?
#
# Yes: 16 bytes for each weight, and 4 bytes for each number that waits for the backward pass. Your four plans were right to within
# 5 %. The first part depends on the model alone, so no smaller batch helps against it. The second is in your hands: take fewer texts at a
# time, and compute again what was not kept.
#
# ## Read on
#
# - Rajbhandari et al. 2020 and Korthikanti et al. 2022, linked above. Micikevicius et al. 2018, [*Mixed precision
#   training*](https://arxiv.org/abs/1710.03740), in [`precision.py`](../../labkit/parallel/memory/precision.py).
# - Parts and many cards make batches large. The optimizer [LAMB](../glossary.ipynb#lamb) was made for these; [here it
#   helps](../../docs/results.md#lamb-and-large-batches) only where layers are of unlike size.
# - A large model can also begin as a smaller one that is already trained:
#   [`growth.py`](../../labkit/parallel/memory/growth.py) (Chen et al. 2022, [*bert2BERT*](https://arxiv.org/abs/2110.07143)).
# - Next, [06/02](02_kernels.ipynb): the same arithmetic, faster, by moving fewer bytes.
