# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Memory: where it goes, and four ways to need less
#
# A model of a billion weights fills two gigabytes, in 16 bits. Training it takes sixteen, and some memory for every token besides.
# This lesson takes the memory of a training step apart, predicts it to within five per cent, and then makes it smaller in four
# ways: fewer bits, smaller batches, and computing again what was not kept, in attention (fused) or in whole layers (checkpoints).
#
# **After this lesson you can**
#
# - say what a weight costs in training (16 bytes) and what a token costs (its activations), and predict a step's peak;
# - write the loss of an accumulated batch and the rule of a dynamic loss scale, each in a few lines;
# - use activation checkpointing, and say what it costs in time;
# - write LAMB's step, and grow a small model into a larger one that answers the same.
#
# **45 minutes.** Before it: what a Transformer layer consists of (module 01). You need Python and a little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="06/01")

# %% [markdown]
# Change the shape and run all cells again: predictions and measurements move together. Names of published shapes are in
# `labkit.parallel.memory.shape.PRESETS`.

# %%
LAYERS = 8  # @param {type:"integer"}
WIDTH = 64  # @param {type:"integer"}
PUBLISHED = "fewclue-1.2b"  # @param {type:"string"}

# %% [markdown]
# ## 1 · Sixteen bytes per weight
#
# With Adam in plain fp32, a weight has four numbers of 4 bytes: itself, its gradient, and Adam's two running averages. In *mixed
# precision* the weight and its gradient take 2 bytes each, and the optimizer 12: its averages, and an fp32 copy of the weight.
# Both are 16 bytes (Rajbhandari et al. 2020, [*ZeRO*](https://arxiv.org/abs/1910.02054), §3.1). How many weights are there? In
# large models almost all are in the layers, $12\, d^2$ each: $4\,d^2$ in attention's four matrices, $8\,d^2$ in the MLP's two. (In
# BERT-base and GPT-2, the embeddings hold a fifth and more.)

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.anatomy import state_bytes
from labkit.parallel.memory.shape import PRESETS, ModelShape, preset
from labkit.report import Table

rows = []
for name, shape in PRESETS.items():
    states = state_bytes(shape.parameters, "bf16")
    rows.append(
        (
            name,
            f"{shape.layers} × {shape.width:,}",
            f"{shape.parameters:,}",
            f"{2 * shape.parameters / 1e9:,.1f} GB",
            f"{states.total / 1e9:,.1f} GB",
        )
    )
Table(("model", "layers × width", "weights", "to run it, 16 bits", "to train it"), tuple(rows))

# %% [markdown]
# The counts of BERT and GPT-2 are exact. `fewclue-1.2b` is the shape on which the FewCLUE article measured how its training
# scales from 8 to 64 cards: 24 layers, 2,048 wide, 32 heads, "about 1.2 billion". Its states alone take 20 GB: it does not fit on
# a card of 16 GB, although the model itself is an eighth of that.
#
# ## 2 · What a token costs
#
# The second part is the *activations*: what the forward pass keeps because the backward pass will need it. A linear layer's
# gradient needs the layer's input; a non-linearity's derivative needs its input; softmax needs its output. PyTorch tells us what
# it keeps, by a hook that sees every saved tensor:

# %% tags=["nbval-check-output"]
import torch

from labkit.parallel.memory.model import Layer

shape = ModelShape(layers=LAYERS, width=WIDTH, heads=4, vocabulary=512, positions=64)
batch, length = 4, 64
layer, kept = Layer(shape), {}


def note(tensor):
    if not isinstance(tensor, torch.nn.Parameter):
        kept[tensor.untyped_storage().data_ptr()] = tensor
    return tensor


with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
    out = layer(torch.randn(batch, length, WIDTH, requires_grad=True))
weights = {p.untyped_storage().data_ptr() for p in layer.parameters()}
activations = {place: tensor for place, tensor in kept.items() if place not in weights}
for tensor in activations.values():
    print(f"{tensor.untyped_storage().nbytes():>9,} bytes  {tuple(tensor.shape)}")
print(f"{sum(t.untyped_storage().nbytes() for t in activations.values()):>9,} bytes in all")

# %% [markdown]
# Find them in the layer: `norm1`'s input and output, the queries, keys and values, the attention shares (the square ones, one
# table per head), the heads' joined output, `norm2`'s input and output, and the MLP's middle twice, before and after its
# non-linearity. (The small ones are LayerNorm's means and deviations.)
#
# | kept | numbers per token |
# |---|---|
# | inputs and outputs of both LayerNorms | $4\,d$ |
# | queries, keys, values, joined output | $4\,d$ |
# | the MLP's middle ($4\,d$ wide), before and after the non-linearity | $8\,d$ |
# | attention shares, one row per head | heads · length |
#
# Korthikanti et al. (2022, [*Reducing activation recomputation*](https://arxiv.org/abs/2205.05198), §4.1) count
# $s\,b\,h\,(34 + 5\,a s / h)$ bytes in 16 bits, for $b$ texts of length $s$, a width $h$ and $a$ heads; without dropout's share
# that is this table.
#
# ### Your turn: the numbers of a layer
#
# *●○○ · 5 minutes*
#
# How many numbers does one layer keep? Leave out LayerNorm's means and deviations. For example,
# `kept_numbers(1, 10, 8, 2)` → `1480`.
#
# Below the check, your function predicts the bytes that the hook has counted above; the hook counted the statistics too.

# %%
from labkit.checks import memory as check


def kept_numbers(batch, length, width, heads): ...  # your turn


kept_numbers = check.kept_numbers(kept_numbers)
print(f"{4 * kept_numbers(batch, length, WIDTH, 4):,} bytes predicted for the layer above")

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
# ## 3 · Watch a step
#
# `LiveTensors` watches every storage from its birth to its end. Below, one training step of the whole model: each operator
# moves us one to the right.

# %%
from labkit.parallel.memory.peaks import Techniques, measured, peak
from labkit.parallel.memory.picture import course_plot

plain = measured(shape, 8, length)
course_plot({"fp32, batch of 8": plain})

# %% [markdown]
# Weights, gradients and optimizer states stay at one height. Activations rise through the forward pass, layer by layer, and are
# given back in the backward pass, last layer first. The spike between them is the **loss**: log-probabilities and two gradients of
# their size, `3 · batch · length · vocabulary` numbers, are alive at once. With a real vocabulary that is more than several layers
# keep.
#
# All of it can be predicted: `peak` adds up the closed forms, and the table lays its answer beside what was counted while the
# step ran.

# %% tags=["nbval-check-output"]
techniques = {
    "fp32": Techniques(),
    "fused attention": Techniques(attention="fused"),
    "4 micro-batches": Techniques(micro=4),
    "checkpoint every layer": Techniques(every=1),
    "checkpoint every 3 layers": Techniques(every=3),
    "bf16 with fp32 masters": Techniques("bf16"),
    "bf16, fused, checkpoints, 4 micro-batches": Techniques("bf16", "fused", 1, 4),
}
watched = {name: measured(shape, 8, length, use) for name, use in techniques.items()}
rows, off = [], []
for name, use in techniques.items():
    said, found = peak(shape, 8, length, use), watched[name].peak
    off.append(abs(found / said.total - 1))
    rows.append(
        (
            name,
            f"{said.states.total / 1e6:.2f}",
            f"{said.activations / 1e6:.2f}",
            f"{said.total / 1e6:.2f}",
            f"{found / 1e6:.2f}",
        )
    )
print("all within 5 per cent:", max(off) < 0.05)
Table(("technique", "states, MB", "activations, MB", "predicted, MB", "measured, MB"), tuple(rows))

# %% [markdown]
# Mixed precision does not make the states smaller; it nearly halves the activations (the loss stays in fp32). Fused attention
# keeps no attention shares: it computes them again in the backward pass (lesson 06/02). The other two are the next sections.
#
# Now at full size. The bars are what each card holds; ZeRO's stages, which share states out among the cards, are lesson 06/03.
# Which part does more cards make smaller, and which part do checkpoints? Can GPT-3 be trained on 1,024 cards of 80 GB by
# ZeRO alone, and with what?

# %%
from labkit.widgets import memory_bar

memory_bar(PUBLISHED, ranks=8, card=16)

# %% [markdown]
# ## 4 · Forget, and compute again
#
# *Activation checkpointing* (Chen et al. 2016, [paper](https://arxiv.org/abs/1604.06174)) keeps the input of a segment, throws the
# rest away, and runs the segment again when its gradient is due. It is one autograd function:

# %%
import inspect

from labkit.parallel.memory.checkpointing import Checkpoint

print(inspect.getsource(Checkpoint))

# %% [markdown]
# The state of the random generator is kept with the inputs. Without it, dropout would drop other numbers the second time, and the
# gradient would not be that of the loss. With it, the gradients are the same, bit for bit:

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.model import Transformer

ids = torch.randint(512, (4, length), generator=torch.Generator().manual_seed(0))


def gradients(every):
    model = Transformer(shape, every=every)
    model(ids, ids).backward()
    return [p.grad for p in model.parameters()]


without = gradients(0)
for every in (1, 2, 4, 8):
    same = all(torch.equal(a, b) for a, b in zip(without, gradients(every), strict=True))
    print(f"a checkpoint before every {every} layers: the same gradients, {same}")

# %%
course_plot({"no checkpoints": plain, "every layer": watched["checkpoint every layer"]})

# %% [markdown]
# On the right the forward pass keeps almost nothing, and the backward pass is a row of teeth: each is one layer, computed again
# and given back.
#
# How far apart should checkpoints stand? With $n$ layers and one every $k$, memory holds $n/k$ inputs and the $k$ layers of one
# segment. If both cost the same, $n/k + k$ is least at $k = \sqrt{n}$. But a layer keeps far more than its input: `kept_numbers`
# says how much. Then checkpoints should stand closer:

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.checkpointing import best_every

print("if a layer kept as much as its input: every", best_every(64, 1, 1), "of 64 layers")
for name in ("bert-large", "gpt2-xl", "gpt3-175b"):
    s = preset(name)
    edge = s.positions * s.width  # numbers of a layer's input
    whole = kept_numbers(1, s.positions, s.width, s.heads)
    print(
        f"{name}: a layer keeps {whole / edge:.0f} × its input: every {best_every(s.layers, edge, whole)} of {s.layers}"
    )

# %% [markdown]
# The price is a second forward pass, at most a third of the step's arithmetic more. What it was in time stands in the table at
# the end.
#
# ## 5 · A large batch in small parts
#
# *Gradient accumulation*: activations grow with the batch, gradients do not. So take the batch in parts, add up the gradients, and
# step once. The FewCLUE article's example takes 16 texts four times, for a batch of 64. One thing must be right: the mean over a
# batch is a sum divided by the number of **targets**, and parts have unequal numbers of them (masked words, padding).
#
# ### Your turn: the loss of an accumulated batch
#
# *●○○ · 5 minutes*
#
# `sums` are the parts' losses, added up over their targets; `counts` the numbers of targets, which may be 0. Both are (parts,).
# Return the mean loss over all targets as a tensor that keeps its gradient. For example, two parts with 2 and 5 targets:
#
# ```python
# batch_loss(torch.tensor([6.0, 1.0]), torch.tensor([2, 5]))  # → tensor(1.)
# ```


# %%
def batch_loss(sums, counts): ...  # your turn


batch_loss = check.batch_loss(batch_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# What would you compute if all parts were one?
# </details>
#
# <details><summary>Hint 2</summary>
#
# One division, at the end.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The sum of the sums, by the sum of the counts.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def batch_loss(sums, counts):
#     return sums.sum() / counts.sum()
# ```
# </details>
#
# Dividing every part by its own count is a mistake that training libraries have shipped with, and no error message shows it. In
# float64, on a batch where one part has a single target (`accumulate` frees the activations of a part before it runs the next):

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.accumulation import accumulate, mean_of_means

model = Transformer(shape).double()
labels = ids.clone()
labels[:1, 1:] = -100  # the first text keeps one target
parts = [(ids[i : i + 1], labels[i : i + 1]) for i in range(4)]


def loss_sum(part):
    return model(*part, reduction="sum")


def count(part):
    return int((part[1] != -100).sum())


def one_division(loss_sum, count, parts):
    """All parts at once, by your `batch_loss`."""
    sums, counts = [loss_sum(part) for part in parts], [count(part) for part in parts]
    batch_loss(torch.stack(sums), torch.tensor(counts)).backward()


def distance(way):
    """The largest difference between the gradients of `way` and the whole batch's, against the largest gradient."""
    whole = torch.autograd.grad(model(ids, labels), list(model.parameters()))
    model.zero_grad()
    way(loss_sum, count, parts)
    pairs = zip(whole, model.parameters(), strict=True)
    return max((g - p.grad).abs().max() for g, p in pairs) / max(g.abs().max() for g in whole)


print("targets of the four parts:", [count(part) for part in parts])
print("gradients of batch_loss are the whole batch's to 1e-12:", bool(distance(one_division) < 1e-12))
print("so are accumulated gradients:", bool(distance(accumulate) < 1e-12))
print("so are those of the mean of means:", bool(distance(mean_of_means) < 1e-12))
print(f"they are off by {100 * float(distance(mean_of_means)):.0f} % of the largest gradient")

# %% [markdown]
# ## 6 · Half the bits
#
# fp16 has 10 bits of fraction and 5 of exponent; bf16 has 7 and 8. So fp16 is finer, and bf16 has fp32's range. Three things go
# wrong:

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.precision import smallest

for dtype in (torch.float32, torch.float16, torch.bfloat16):
    info = torch.finfo(dtype)
    print(
        f"{str(dtype)[6:]:<9} largest {info.max:.3g}, smallest normal {info.tiny:.3g}, smallest {smallest(dtype):.2g}, "
        f"next after 1: 1 + {info.eps:.2g}"
    )
half = torch.ones((), dtype=torch.float16)
print("a small step is lost:      1 - 0.0001 =", float(half - 1e-4), "in fp16")
print(
    "a small gradient is lost:  2e-8 =",
    float(torch.tensor(2e-8).half()),
    "and with a scale of 65536:",
    round(float(torch.tensor(2e-8 * 65536).half()) / 65536, 9),
)
print("a large number overflows:  300 · 300 =", float((half * 300) * 300))

# %% [markdown]
# The remedies (Micikevicius et al. 2018, [*Mixed precision training*](https://arxiv.org/abs/1710.03740), §3): an fp32 *master* of
# each weight takes the steps, so that they add up; the **loss is multiplied** by a large number before the backward pass, and
# gradients divided by it afterwards, in fp32. How large? As large as possible: a *dynamic* scale is halved when a gradient
# overflows (and that step is left out), and doubled after `interval` good steps in a row. bf16 needs the masters, but no scale.
#
# ### Your turn: the next scale
#
# *●●○ · 8 minutes*
#
# `good` good steps have gone before this one, which was `finite` or not. Return the new scale and the new `good`. For example,
# with an interval of 10:
#
# ```python
# next_scale(1024.0, 3, True, 10)   # → (1024.0, 4): a good step, and six are still missing
# next_scale(1024.0, 3, False, 10)  # → (512.0, 0): an overflow
# ```


# %%
def next_scale(scale, good, finite, interval): ...  # your turn


next_scale = check.next_scale(next_scale)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three cases: overflow; a good step that completes the interval; any other good step.
# </details>
#
# <details><summary>Hint 2</summary>
#
# An overflow ends the row: count from 0 again. So does doubling.
# </details>
#
# <details><summary>Hint 3</summary>
#
# This step counts too: the interval is complete when `good + 1 == interval`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def next_scale(scale, good, finite, interval):
#     if not finite:
#         return scale / 2, 0
#     if good + 1 == interval:
#         return scale * 2, 0
#     return scale, good + 1
# ```
# </details>
#
# Watch your rule at work: the small model in real fp16 numbers, with a scale that is much too high at first, $2^{26}$.

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.precision import LossScaler, MixedPrecision

tiny = ModelShape(layers=2, width=32, heads=2, vocabulary=64, positions=16)
texts = torch.randint(64, (8, 16), generator=torch.Generator().manual_seed(1))


def train(dtype, scaler=None, steps=40):
    """Losses, and the scale at each step, of the tiny model learning eight texts by heart."""
    model = Transformer(tiny)
    way = MixedPrecision(model, lambda t: torch.optim.Adam(t, lr=3e-3), dtype, scaler)
    losses, scales = [], []
    for _ in range(steps):
        loss = model(texts, texts)
        scales.append(way.scale)
        way.backward(loss)
        way.step()
        losses.append(float(loss.detach()))
    return losses, scales


class Scaler(LossScaler):
    """A loss scaler with your rule."""

    def update(self, finite):
        self.skipped += not finite
        self.scale, self.good = next_scale(self.scale, self.good, finite, self.interval)


scaler = Scaler(scale=2.0**26, interval=10)
losses16, scales = train(torch.float16, scaler)
losses32, _ = train(torch.float32)
bf16, _ = train(torch.bfloat16)
print("steps left out:", scaler.skipped)
print("the lowest scale: 2 to the power of", int(torch.tensor(min(scales)).log2()))

# %%
from matplotlib.figure import Figure

from labkit.report import Plot
from labkit.report.figure import COLOURS

figure = Figure(figsize=(9, 3), layout="constrained")
left, right = figure.subplots(1, 2)
for name, values, style in (
    ("fp32", losses32, "-"),
    ("fp16, scaled", losses16, "--"),
    ("bf16", bf16, ":"),
):
    left.plot(values, style, label=name, color=COLOURS[len(left.lines)])
left.set(xlabel="step", ylabel="loss")
left.legend(frameon=False)
right.step(range(len(scales)), scales, where="post", color="#444444")
right.set_yscale("log", base=2)
right.set(xlabel="step", ylabel="loss scale")
Plot(
    figure,
    f"Left: losses of 40 steps, from {losses32[0]:.2f}; at the end fp32 {losses32[-1]:.3f}, fp16 {losses16[-1]:.3f}, bf16 "
    f"{bf16[-1]:.3f}. Right: the loss scale, halved {scaler.skipped} times, mostly at first, and doubled after ten good steps in a row.",
)

# %% [markdown]
# Look at the first steps: while the scale comes down, the loss in fp16 does not move, because those steps are left out. From then
# on it falls as in fp32, later by the number of steps left out. The line of bf16 lies on that of fp32.
#
# ## 7 · Large batches: LAMB
#
# Accumulation and many cards make batches large, and a larger batch wants a larger learning rate. But one rate does not suit all
# layers: where weights are small, a step that suits the others is too large. *LAMB* (You et al. 2020, [*Training BERT in 76
# minutes*](https://arxiv.org/abs/1904.00962), algorithm 2) stretches Adam's update $r$ of each weight matrix to the matrix's own
# length:
#
# $$r = \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda w , \qquad w \leftarrow w - \eta\, \frac{\lVert w \rVert}{\lVert r
# \rVert}\, r .$$
#
# So a step moves every matrix by the share $\eta$ of its own length, whatever the gradient's size.
#
# ### Your turn: LAMB's step
#
# *●●○ · 8 minutes*
#
# `update` is $r$, of the weight's shape (one dimension or two); the lengths are taken over all elements. Where the weight or the
# update is all zero, the ratio is 1. Return a new weight. For example, lengths of 5 and 1 give a ratio of 5:
#
# ```python
# lamb_step(torch.tensor([3.0, 4.0]), torch.tensor([0.6, 0.8]), 0.1)  # → tensor([2.7000, 3.6000])
# ```


# %%
def lamb_step(weight, update, lr): ...  # your turn


lamb_step = check.lamb_step(lamb_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `tensor.norm()` is the Euclidean length; the ratio is one number.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Make the ratio first, with an `if` for the two zero cases.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `weight - lr * ratio * update` makes a new tensor and leaves yours alone.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def lamb_step(weight, update, lr):
#     size, length = weight.norm(), update.norm()
#     ratio = size / length if size > 0 and length > 0 else 1.0
#     return weight - lr * ratio * update
# ```
# </details>
#
# Three weights of length 0.05, 5 and 500 take the same update at a rate of 0.1. Predict by which share of its length each moves:

# %%
update = torch.tensor([0.6, 0.8])
for size in (0.01, 1.0, 100.0):
    weight = size * torch.tensor([3.0, 4.0])
    moved = (lamb_step(weight, update, 0.1) - weight).norm() / weight.norm()
    print(f"length {weight.norm():g}: moves by {moved:.2f} of its length; with Adam by {0.1 / weight.norm():.2g}")

# %% [markdown]
# Does it help? A network of seven layers learns what a random network answers for 16,384 points, in one pass, in batches of 64
# (256 steps) to 2,048 (8 steps). The score is the share of the variance that is left unexplained; 1 is no better than the mean.
# In the last setting the layers' weights start 8 times too large and too small by turns, which leaves the ReLU network's function
# as it is. Learning rates are chosen for each setting and optimizer from five, on three other seeds
# (`python benchmarks/memory.py lamb`).

# %%
import statistics

from labkit.report import results

report = results("lamb")
TASKS = ("batch 64", "batch 256", "batch 2048", "batch 256, uneven layers")


def cell(task, method):
    """Mean and standard deviation over five seeds, and the learning rate."""
    rows = [row for row in report.rows if (row.task, row.method) == (task, method)]
    values = [row.value for row in rows]
    return (
        f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f} (rate {rows[0]['lr']:g})"
    )


Table(
    ("unexplained variance", "Adam", "LAMB"),
    tuple((task, cell(task, "Adam"), cell(task, "LAMB")) for task in TASKS),
)

# %% tags=["nbval-check-output"]
for task in TASKS:
    difference = report.compare("LAMB", "Adam", task=task)
    verdict = "no difference beyond noise"
    if difference.high < 0:
        verdict = "LAMB is ahead"
    elif difference.low > 0:
        verdict = "Adam is ahead"
    print(f"{task}: LAMB's score less Adam's {difference.difference:+.3f}, {verdict}")

# %% [markdown]
# While layers are of like size, five seeds show no difference to an Adam whose rate is chosen as carefully, even with only eight
# steps; with 2,048 points per batch both leave far more unexplained, because they take so few steps. (Nado et al. 2021, [*A large
# batch optimizer reality check*](https://arxiv.org/abs/2102.06356), found so for BERT itself.) Where layers are not of like size,
# no rate suits all of them, and Adam leaves twice as much unexplained as LAMB. LAMB's score is what it was with even layers,
# because its step is the same share of every layer's own length.
#
# ## 8 · A larger model from a smaller one
#
# Memory is spent to train a large model; must it start from nothing? *Net2Net* (Chen et al. 2016,
# [paper](https://arxiv.org/abs/1511.05641)) grows a trained model so that it **computes the same function**: units are copied, and
# what goes out of them is shared out among the copies. *bert2BERT* (Chen et al. 2022, [paper](https://arxiv.org/abs/2110.07143))
# does it for Transformers. `widen` gives copies unequal shares, so that their gradients differ and they can part; `deepen` puts in
# layers whose outputs start at zero. *Continual training* then goes on where the small model stood.

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.growth import deepen, widen

small = Transformer(tiny).double()
optimizer = torch.optim.Adam(small.parameters(), lr=3e-3)
for _ in range(20):
    optimizer.zero_grad()
    small(texts, texts).backward()
    optimizer.step()
for name, grown in (("twice as wide", widen(small)), ("twice as deep", deepen(small))):
    gap = abs(grown(texts, texts).item() - small(texts, texts).item())
    print(
        f"{name}: {grown.shape.parameters:,} weights instead of {tiny.parameters:,}; the same loss to 1e-12: {gap < 1e-12}"
    )

# %%
tables = []
for name, start in (
    ("from scratch", Transformer(widen(small).shape).double()),
    ("grown", widen(small)),
):
    optimizer, losses = torch.optim.Adam(start.parameters(), lr=1e-3), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = start(texts, texts)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tables.append((name, f"{losses[0]:.3f}", f"{losses[9]:.3f}", f"{losses[-1]:.3f}"))
Table(("a model of twice the width", "at first", "after 10 steps", "after 20"), tuple(tables))

# %% [markdown]
# The grown model starts at the small one's loss and goes on from there. (One run on eight texts shows that it works, not how
# much it saves; bert2BERT reports that BERT-base, grown from a model of almost half its size, needs 45 % less computing.)
#
# ## 9 · What each technique gives and takes
#
# A larger model than above (8 layers, 128 wide, a vocabulary of 1,000, 8 texts of 128 tokens), all techniques in one run, taking
# turns (`python benchmarks/memory.py peaks`). *Time* is that of a step on the processor, as a multiple of plain fp32.

# %%
cost = {}
for row in results("memory").rows:
    cost.setdefault(row.method, {})[row.metric] = row.value
Table(
    ("technique", "predicted, MB", "measured, MB", "time of a step"),
    tuple(
        (
            name,
            f"{of['peak predicted (MB)']:.2f}" if len(of) > 1 else "",
            f"{of['peak measured (MB)']:.2f}" if len(of) > 1 else "",
            f"{of['time against fp32']:.2f} ×",
        )
        for name, of in cost.items()
    ),
)

# %% [markdown]
# Four micro-batches cost no time here. Checkpoints should cost the forward pass once more, whose time is the first row, and cost
# less. What bf16 gives in time depends on the processor: this one has instructions for it. Fused attention is faster than the
# explicit one in fp32 but slower in bf16. With checkpoints it is computed twice, and that uses up most of the time that bf16 had
# saved. So all of them together train in a quarter of the memory, in a little less time than plain fp32; the fastest row is bf16
# alone. On another machine that may be different: measure there. (Bytes are the same in every run, times are not.)
#
# ## Read on
#
# - Rajbhandari et al. 2020, [*ZeRO*](https://arxiv.org/abs/1910.02054), §3: where the memory goes. Korthikanti et al. 2022,
#   [*Reducing activation recomputation*](https://arxiv.org/abs/2205.05198): keep some, compute some again.
# - `labkit/parallel/memory/`: [`anatomy.py`](../../labkit/parallel/memory/anatomy.py) (the closed forms),
#   [`tracker.py`](../../labkit/parallel/memory/tracker.py) (the watch),
#   [`plan.py`](../../labkit/parallel/memory/plan.py) (what fits on how many cards).
# - Next: [06/02](02_kernels.ipynb) makes the arithmetic faster, [06/03](03_data_parallel.ipynb) shares the 16 bytes out among
#   cards, and [06/06](06_offload.ipynb) moves them off the card.
