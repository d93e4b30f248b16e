# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Delta tuning: adapt a model without touching it
#
# Fine-tuning changes every weight. Ten tasks then need ten copies of the model, and training needs memory for a gradient
# and two averages of every weight. *Delta tuning* freezes the model and trains a small part beside it, in it, or before
# it: the *delta*. Ten tasks then need one model and ten small files.
#
# **After this lesson you can**
#
# - write LoRA's forward pass and its merge, and a layer of Kronecker products, as Compacter has them;
# - put any of ten deltas on a model by the names of its modules, count what it trains, take it off without a trace;
# - say what a delta saves (storage, some of the memory) and what it does not, from measurements;
# - save a delta, load it on a fresh copy of the model, and serve several from one model.
#
# **50 minutes.** Before it: [PET](02_pet.ipynb), whose clozes a delta can train as well as any head. You need Python and a
# little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="03/06")

# %% [markdown]
# Try a hub model (`"bert-base-uncased"`), a folder, or a task of your own (`"table:train.tsv,dev.tsv,test.tsv"`), and run
# all cells again.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/news"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · The smallest delta that works
#
# A linear layer computes $h = Wx$. Fine-tuning replaces $W$ by $W + \Delta W$, and $\Delta W$ has as many numbers as $W$.
# *LoRA* (Hu et al. 2022, [*Low-rank adaptation*](https://arxiv.org/abs/2106.09685), §4.1) supposes that $\Delta W$ needs
# only a low rank $r$, and trains it as a product:
#
# $$h = Wx + \frac{\alpha}{r}\, B A x , \qquad A \in \mathbb{R}^{r \times d_{\text{in}}},\;
# B \in \mathbb{R}^{d_{\text{out}} \times r} .$$
#
# $W$ is frozen. $A$ starts at random and $B$ at zero, so that training starts from the model as it is. How many numbers is
# that? The paper adapts the queries and values of GPT-3's 96 layers, of width 12,288, with rank 1:

# %% tags=["nbval-check-output"]
layers, matrices, rank, width = 96, 2, 1, 12_288
trained = layers * matrices * rank * (width + width)
print(f"{trained:,} weights of 175 billion: {100 * trained / 175e9:.4f} %")

# %% [markdown]
# These are the 4.7 million that the paper reports (Table 4).
#
# ### Your turn: LoRA's forward pass
#
# *●○○ · 5 minutes*
#
# $x$ is (batch, $d_{\text{in}}$) and $W$ is ($d_{\text{out}}$, $d_{\text{in}}$), as PyTorch keeps it. Return
# (batch, $d_{\text{out}}$), a tensor through which $A$ and $B$ can learn, and leave $W$ as it is. With $r = 1$ and $\alpha
# = 2$:
#
# `x = [[1, 2]]`, `weight = [[1, 0], [0, 1], [1, 1]]`, `a = [[1, 1]]`, `b = [[1], [0], [2]]` → `[[7, 2, 15]]`,
#
# because $Wx = (1, 2, 3)$ and $Ax = 3$, so $\frac{2}{1} \cdot 3 \cdot (1, 0, 2) = (6, 0, 12)$ is added.

# %%
from labkit.checks import delta_tuning as check


def lora_forward(x, weight, a, b, alpha): ...  # your turn


lora_forward = check.lora_forward(lora_forward)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Without the update, the layer is `x @ weight.T`: rows of `x` are examples.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Go through the narrow place: `x @ a.T` is (batch, r). Never make the product $BA$, which is as large as $W$.
# </details>
#
# <details><summary>Hint 3</summary>
#
# $r$ is `a.shape[0]`; only the update is scaled.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def lora_forward(x, weight, a, b, alpha):
#     return x @ weight.T + alpha / a.shape[0] * (x @ a.T @ b.T)
# ```
# </details>
#
# ## 2 · On and off by name
#
# To put this into a model, we could edit the model's code. *OpenDelta* (Hu et al. 2023,
# [paper](https://arxiv.org/abs/2307.03084)) showed a better way: find modules by their **names** and change them from
# outside. `labkit.fewshot.delta_tuning` does the same. A delta is a line of settings with three verbs: `attach`, `detach` and,
# where it is possible, `merge`.

# %%
import torch

from labkit.fewshot.delta_tuning import LoRA, detach, fingerprint, merge, trained_tensors
from labkit.measure import parameters, trainable

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
inputs = tokenizer("the minister opened a new [MASK] .", return_tensors="pt")
before, answers = fingerprint(model), model(**inputs).logits

LoRA(rank=4).attach(model)
print(f"{type(model).__name__}: {trainable(model):,} of {parameters(model):,} weights train:")
for name, tensor in list(trained_tensors(model).items())[:4]:
    print(f"    {name}  {tuple(tensor.shape)}")

# %% [markdown]
# The model is of the same class as before, so PET, a new head and `fit` still take it. Its answers have not changed, because
# $B$ starts at zero. Taking the delta off leaves the same bits, whatever was trained in between:

# %% tags=["nbval-check-output"]
print("the same answers with a fresh delta:", torch.equal(model(**inputs).logits, answers))
with torch.no_grad():
    for tensor in trained_tensors(model).values():
        tensor.add_(0.1)  # as if trained
print("the same answers with a trained one:", torch.equal(model(**inputs).logits, answers))
detach(model)
print("taken off, the same bits:           ", fingerprint(model) == before)

# %% [markdown]
# Where does it sit? `targets` are **keys**: the end of a module's name (`"attention.self.value"`), or a regular expression
# after `re:`. Without them each method takes its usual places, in BERT, RoBERTa, ALBERT and DistilBERT. A key that fits
# nothing is an error that names what comes near:

# %% tags=["nbval-check-output"]
from labkit.errors import LabkitError

for wrong in (LoRA(targets=("qurey",)), LoRA(rank=500)):
    try:
        wrong.attach(model)
    except LabkitError as error:
        print(error)

# %% [markdown]
# ### Your turn: how much of it trains?
#
# *●○○ · 5 minutes*
#
# Return the share of a model's weights that training may change, between 0 and 1. Tied weights (an LM head is often the
# word embeddings once more) count once. For example:
#
# `torch.nn.Linear(4, 6)` has 24 weights and 6 biases; with its biases frozen → `0.8`, which is 24 / 30.


# %%
def trained_share(model): ...  # your turn


trained_share = check.trained_share(trained_share)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `model.parameters()` gives every tensor once, tied or not; `state_dict()` gives tied ones twice.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A tensor has `numel()` numbers, and trains if `requires_grad`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Two sums and a division.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def trained_share(model):
#     sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
#     return sum(n for n, trains in sizes if trains) / sum(n for n, _ in sizes)
# ```
# </details>
#
# ### Your turn: merge
#
# *●○○ · 5 minutes*
#
# $Wx + \frac{\alpha}{r} BAx$ is linear in $x$, so **one** matrix does the same. A merged model is a plain model, with
# no delta in it and no cost. Return that matrix, and leave `weight`, `a` and `b` as they are. With the numbers from above:
#
# `weight = [[1, 0], [0, 1], [1, 1]]`, `a = [[1, 1]]`, `b = [[1], [0], [2]]`, `alpha = 2` → `[[3, 2], [0, 1], [5, 5]]`,
#
# and this matrix times $x = (1, 2)$ is again $(7, 2, 15)$.


# %%
def merge_lora(weight, a, b, alpha): ...  # your turn


merge_lora = check.merge_lora(merge_lora)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Factor $x$ out of the formula: what stands before it?
# </details>
#
# <details><summary>Hint 2</summary>
#
# The shapes decide the order: ($d_{\text{out}}$, r) times (r, $d_{\text{in}}$).
# </details>
#
# <details><summary>Hint 3</summary>
#
# `weight + …` makes a new tensor, `weight += …` changes the one you were given.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def merge_lora(weight, a, b, alpha):
#     return weight + alpha / a.shape[0] * b @ a
# ```
# </details>
#
# Put a delta on a copy of the model, move it a little as training would, and compare one of its layers with the two functions:

# %% tags=["nbval-check-output"]
import copy

other = LoRA(rank=4).attach(copy.deepcopy(model))
with torch.no_grad():
    for tensor in trained_tensors(other).values():
        tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)) / 50)
    (name, a), (_, b) = list(trained_tensors(other).items())[:2]
    layer = other.get_submodule(name.partition(".lora_A")[0])
    frozen, x, alpha = layer.base_layer, torch.randn(3, layer.in_features), LoRA().alpha
    by_forward = lora_forward(x, frozen.weight, a, b, alpha) + frozen.bias
    by_merging = x @ merge_lora(frozen.weight, a, b, alpha).T + frozen.bias
    print("lora_forward gives what the layer gives:", torch.allclose(by_forward, layer(x), atol=1e-4))
    print("merge_lora does so too:                 ", torch.allclose(by_merging, layer(x), atol=1e-4))

# %% [markdown]
# `merge` does this in all layers:

# %% tags=["nbval-check-output"]
keys = list(model.state_dict())
with_delta = other(**inputs).logits
merged = merge(other)(**inputs).logits
print("merged equals unmerged to 1e-4:", torch.allclose(merged, with_delta, atol=1e-4))
print("the keys of a plain model:     ", list(other.state_dict()) == keys)

# %% [markdown]
# ## 3 · A family of ten
#
# Ding et al. (2023, [*Parameter-efficient fine-tuning of large-scale pre-trained language
# models*](https://www.nature.com/articles/s42256-023-00626-4)) sort deltas into three kinds.
#
# **Addition-based**: new modules. A *serial adapter* (Houlsby et al. 2019) is a bottleneck behind each sub-layer,
# $h \leftarrow h + U\,\sigma(Dh)$ with $U$ starting at zero; a *parallel* one (He et al. 2022) stands beside the sub-layer
# and reads its input. *Compacter* makes the same of Kronecker products (below). *Prompt* and *prefix* tuning put trained
# vectors before the text (03/03). The *ladder* (Sung et al. 2022) builds a narrow network beside the backbone, which reads its
# hidden states and gives no gradient back.
#
# **Specification-based**: choose some of the weights there are. *BitFit* (Ben Zaken et al. 2022) trains the biases.
#
# **Reparametrisation-based**: change weights through fewer numbers. *LoRA* is one; *(IA)³* (Liu et al. 2022) scales keys,
# values and inner activations by vectors; an *intrinsic subspace* steers a whole delta by a handful of numbers (below).
#
# Look where each of them sits. Compare BitFit with LoRA: which has more modules, and which more weights? Where does the
# ladder hang?

# %%
from labkit.fewshot.delta_tuning import (
    IA3,
    BitFit,
    Compacter,
    Intrinsic,
    Ladder,
    Parallel,
    Prefix,
    Prompt,
    Serial,
)
from labkit.widgets import delta_tree

deltas = {
    "LoRA": LoRA(),
    "adapter, serial": Serial(),
    "adapter, parallel": Parallel(),
    "Compacter": Compacter(),
    "IA3": IA3(),
    "BitFit": BitFit(),
    "ladder": Ladder(),
    "prefix": Prefix(),
    "prompt": Prompt(),
    "intrinsic prompt": Intrinsic(),
}
delta_tree(model, deltas)

# %% tags=["nbval-check-output"]
from labkit.report import Table

lines = []
for name, delta in deltas.items():
    delta.attach(model)
    count = trainable(model)
    detach(model)
    lines.append(
        (
            name,
            f"{count:,}",
            f"{100 * count / parameters(model):.3f} %",
            "yes" if delta.MERGES else "no",
        )
    )
Table(("delta", "trained weights", "of the model", "merges"), tuple(lines))

# %% [markdown]
# Adapters are said to train 0.5 to 8 % of a model; with a bottleneck of 16 ours are within that. Most of the ten cannot be
# merged. An adapter, for example, has a non-linear function between its two matrices, so no single matrix does the same.
#
# ### Your turn: Compacter's layer
#
# *●●○ · 10 minutes*
#
# An adapter has two large matrices. Compacter (Mahabadi et al. 2021, [paper](https://arxiv.org/abs/2106.04647), §4) writes
# each as a sum of $n$ Kronecker products of small ones,
#
# $$W = \sum_{i=1}^{n} A_i \otimes B_i , \qquad
# A \otimes B = \begin{pmatrix} a_{11} B & a_{12} B & \cdots \\ a_{21} B & a_{22} B & \cdots \\ \vdots & & \end{pmatrix} ,$$
#
# where all adapters share the $A_i$ (here $4 \times 4$), and each $B_i$ is a product of a column and a row. $x$ is
# (batch, $d_{\text{in}}$), $A$ is $(n, p, q)$ and $B$ is $(n, d_{\text{in}}/p, s)$. Return $xW$, (batch, $q s$), a tensor
# through which $A$ and $B$ can learn. With $n = 2$, $p = 1$, $q = 2$ and $s = 1$:
#
# `x = [[1, 1]]`, `a = [[[1, 2]], [[0, 1]]]`, `b = [[[1], [3]], [[1], [1]]]` → `[[4, 10]]`,
#
# because $W = A_1 \otimes B_1 + A_2 \otimes B_2$ is `[[1, 2], [3, 6]]` plus `[[0, 1], [0, 1]]`, that is `[[1, 3], [3, 7]]`.


# %%
def kronecker_layer(x, a, b): ...  # your turn


kronecker_layer = check.kronecker_layer(kronecker_layer)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.kron(one, other)` is ⊗ for two matrices. Do it for each $i$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Add the $n$ products up, not the factors.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `sum(torch.kron(a[i], b[i]) for i in range(len(a)))`, and `x` stands left of it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def kronecker_layer(x, a, b):
#     return x @ sum(torch.kron(a[i], b[i]) for i in range(len(a)))
# ```
# </details>
#
# The library never makes the large matrix, and gets the same answers. (Its $B_i$ are products $s_i t_i$ of a column and a
# row.)

# %%
import inspect

from labkit.fewshot.delta_tuning.compacter import KroneckerLinear

print(inspect.getsource(KroneckerLinear.forward))
layer, x = KroneckerLinear(8, 12, torch.nn.Parameter(torch.randn(4, 4, 4))), torch.randn(2, 8)
mine = kronecker_layer(x, layer.a, layer.s @ layer.t) + layer.bias
print("kronecker_layer gives the same answers:", torch.allclose(layer(x), mine, atol=1e-4))

# %% [markdown]
# ## 4 · What they reach
#
# One draw of 16 examples per class: a new head with LoRA, the same with BitFit, and everything fine-tuned. Learning rates are
# chosen on the dev split with another draw, as `benchmarks/delta.py tune` does for every delta: a few weights must move far,
# so a delta's rate is ten times that of fine-tuning, or more. Before you run the cell: how many points do you expect to lose
# by training about one weight in a hundred?

# %%
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches

task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
method = HeadClassifier(tokenizer, task.fields)


def trained(delta, lr, rows=task.splits["train"], steps=100):
    """A classifier over the frozen model with the delta; None fine-tunes everything."""
    classifier = add_head(model, task.labels, pooling="mean", seed=0)
    if delta is not None:
        delta.attach(classifier)  # the new head trains with it
    batches = Batches(rows, method.collate, 16, seed=0)
    labkit.fit(classifier, method.loss, batches, steps=steps, lr=lr, progress=lab.progress)
    return classifier


report, kept = labkit.Report(), {}
for name, delta, lr in (
    ("LoRA", LoRA(), 3e-3),
    ("BitFit", BitFit(), 1e-2),
    ("fine-tune all", None, 3e-4),
):
    kept[name] = trained(delta, lr)
    value = labkit.evaluate(kept[name], method, task, "test", progress=lab.progress)[task.metric]
    report.add(name, task, value, trainable=trainable(kept[name]))
    print(f"{name}: {100 * trained_share(kept[name]):.1f} % of the weights train")
report.table()

# %% [markdown]
# No point is lost in this draw: BitFit and LoRA train a small share of the weights (the head is in it), and neither is
# behind fine-tuning. Do not read more into the order: on 1,000 test rows two points may be noise, and another draw of
# examples changes all three numbers. `python benchmarks/delta.py accuracy` repeats this with all deltas, over three draws,
# with a head and with a cloze. Ding et al. ask the same over a hundred tasks: fine-tuning stays the best on average, with a
# small lead that shrinks as models grow.
#
# ## 5 · What they cost
#
# What does a delta save while it trains? Below is the first training step of a classifier, 16 texts of 64 tokens. *Memory* is
# the most that is alive at once beyond the model itself: activations, gradients, the optimizer's averages.

# %%
from labkit.measure import peak_memory

ids = torch.randint(10, 1000, (16, 64), generator=torch.Generator().manual_seed(0))
wanted = torch.zeros(16, dtype=torch.long)


def first_step(name, delta):
    """Trained weights, and the peak memory of one step: forward, backward, AdamW."""
    classifier = add_head(model, task.labels, pooling="mean", seed=0)
    if name == "head alone":
        classifier.requires_grad_(False).classifier.requires_grad_(True)
    elif delta is not None:
        delta.attach(classifier)
    optimizer = torch.optim.AdamW([p for p in classifier.parameters() if p.requires_grad])

    def step():
        classifier(input_ids=ids, labels=wanted).loss.backward()
        optimizer.step()

    return f"{trainable(classifier):,}", f"{peak_memory(step) / 1e6:.1f}"


# %%
ways = {"head alone": None, "fine-tune all": None}
ways |= {name: deltas[name] for name in ("LoRA", "BitFit", "IA3", "prompt", "ladder")}
Table(
    ("method", "trained weights", "peak memory (MB)"),
    tuple((name, *first_step(name, delta)) for name, delta in ways.items()),
)

# %% [markdown]
# Look at the last column. A new head on a frozen backbone needs about a seventh of fine-tuning's memory, because almost no
# activation is kept. But as soon as **one** trained tensor sits in the first layer, the backward pass goes through the whole
# model, and most activations are kept for it. LoRA, BitFit or a prompt then save the gradients and averages of the frozen
# weights, and here these are the smaller part of the peak, because the model is small and the batch is not. In a model of
# billions of weights it is the other way round. IA3 even needs more than fine-tuning, because it multiplies activations by
# trained vectors and has to keep what it multiplied.
#
# Only the ladder stays out of the backbone's backward pass, and needs about a third of the memory. The time of a step is not
# saved by much either: the forward pass is the same or longer, and of the backward pass only the products for frozen weights'
# gradients fall away (`python benchmarks/delta.py cost` measures memory and time of all deltas).
#
# ## 6 · How few dimensions?
#
# If a few thousand numbers are enough, are five? Let $\theta_0 \in \mathbb{R}^D$ be a soft prompt, eight vectors of the
# model's width. Fix a matrix $P \in \mathbb{R}^{D \times k}$ and train only $z$:
#
# $$\theta = \theta_0 + P z , \qquad z \in \mathbb{R}^k ,\; z = 0 \text{ at the start.}$$
#
# With $P$ drawn at random this measures a task's *intrinsic dimension* (Aghajanyan et al. 2021). Qin et al. (2021, [*Exploring
# universal intrinsic task subspace*](https://arxiv.org/abs/2110.07867)) **learn** $P$ from the prompts of many tasks. The
# figure that lectures quote is 89 % of the performance with five numbers, over 120 tasks. The paper's first version says 87 %
# of prompt tuning's for 100 tasks that the subspace was learnt from (with other training data) and 65 % for 20 new ones;
# its last version, with 250 numbers, 97 % and 83 %.
#
# `Intrinsic(dimension=5)` is the random kind. `learn_subspace` writes the mean and the principal directions of several trained
# prompts, and `Intrinsic(basis=file)` trains within them. We do the paper's first case on a small scale: four prompts,
# trained for one task on other draws of examples, make a subspace of three dimensions; a fifth draw trains three numbers in
# it. The task, telling opinions from plots (`world/subj`), is one that the untrained cloze is not good at.

# %%
from labkit.fewshot.delta_tuning import delta_tensors, learn_subspace
from labkit.fewshot.pet import PET

subjective = labkit.load_task("world/subj").limited("test", 500)
pet = PET.for_task(subjective, tokenizer)


def prompted(delta, seed, lr):
    """The language model with `delta` after 30 steps on draw number `seed`, everything else frozen."""
    steered = delta.attach(copy.deepcopy(model))
    drawn = subjective.few_shot(16, seed=seed).splits["train"]
    batches = Batches(drawn, pet.collate, 16, seed=0)
    labkit.fit(steered, pet.loss, batches, steps=30, lr=lr, progress=lab.progress)
    return steered


prompts = [delta_tensors(prompted(Prompt(), seed, 1e-1)) for seed in (1, 2, 3, 4)]
mean, basis = learn_subspace("artefacts/03_06_subspace.safetensors", prompts, dimension=3)
print(
    f"{len(prompts)} prompts of {len(mean):,} numbers → a subspace of {basis.shape[1]} dimensions"
)

# %%
def measure(name, steered):
    """Score a cloze on the 500 test rows, and note how many of its weights were trained."""
    value = labkit.evaluate(steered, pet, subjective, "test", progress=lab.progress)
    count = 0 if steered is model else trainable(steered)
    report.add(name, subjective, value[subjective.metric], trainable=count)


# %%
report = labkit.Report()
measure("cloze, untrained", model)
ways = {
    "prompt, all its numbers": (Prompt(), 1e-1),
    "random subspace, k = 3": (Intrinsic(dimension=3), 1e-1),
    "random subspace, k = 300": (Intrinsic(dimension=300), 1e-1),
    "learnt subspace, k = 3": (
        Intrinsic(dimension=3, basis="artefacts/03_06_subspace.safetensors"),
        3e-1,
    ),
}
for name, (delta, lr) in ways.items():
    measure(name, prompted(delta, 0, lr))
report.table()

# %% [markdown]
# Three random directions out of more than a thousand do not help: the cloze is right less often than before. Three hundred
# reach what the whole prompt does, so the task needs fewer numbers than a prompt has. Three learnt ones come close to it. The
# reason is that the subspace was made from four other draws of the same task, that is, from 128 labelled examples that the
# prompt beside it had not seen. What they taught is stored in the subspace, so the paper counts seen and unseen tasks
# apart.
#
# ## 7 · One model, many tasks
#
# `save_delta` writes exactly what trained, the settings that put it back, and the **fingerprint of the backbone**: on any
# other weights the delta would be nonsense, so it is refused. (In a file that somebody gives you, nothing is run: tensors
# are `safetensors`, settings are JSON.)

# %% tags=["nbval-check-output"]
from labkit.fewshot.delta_tuning import load_delta, save_delta
from labkit.measure import bytes_on_disk

folder = save_delta(kept["LoRA"], "artefacts/03_06_lora", task=task.name)
whole, mine = bytes_on_disk(kept["fine-tune all"]), bytes_on_disk(folder)
print(
    f"a fine-tuned copy: {whole:,} bytes; the delta with its head: {mine:,} bytes, {whole / mine:.0f} times less"
)

fresh = load_delta(add_head(model, task.labels, pooling="mean", seed=1), folder)
same = labkit.predict(fresh, method, task.splits["test"][:64]) - labkit.predict(
    kept["LoRA"], method, task.splits["test"][:64]
)
print("loaded on a fresh copy, the same answers:", bool(abs(same).max() == 0))
try:
    load_delta(
        add_head(labkit.load_model("mini-bert-zh").model, task.labels, pooling="mean"), folder
    )
except LabkitError as error:
    print("on another model:", str(error).split(" (")[0])

# %% [markdown]
# `Served` keeps one model and changes its delta between two batches: the tasks' answers are those of models that were
# trained and loaded separately. `Centre` is a folder of deltas, found by name and backbone. `transfer(model, folder)`
# starts a new task from another task's delta, with a new head.

# %% tags=["nbval-check-output"]
from labkit.fewshot.delta_tuning import Centre, Served

centre = Centre("artefacts/03_06_centre")
folders = {name: centre.put(name.lower(), kept[name]) for name in ("LoRA", "BitFit")}
one_model = add_head(model, task.labels, pooling="mean", seed=2)
print("deltas for this backbone:", ", ".join(centre.list(one_model)))
served, rows = Served(one_model, folders), task.splits["test"][:64]
for name in ("LoRA", "BitFit", "LoRA"):
    answers = labkit.predict(served.choose(name), method, rows)
    print(
        f"{name:<6} as if loaded alone:",
        bool((answers == labkit.predict(kept[name], method, rows)).all()),
    )

# %% [markdown]
# **Which places are worth it?** Given a budget of trained weights, `greedy` tries each place, keeps the best, tries what to
# add to it, and so on, by the score on the dev split; `random_search` draws sets. Four places, room for two of them:

# %%
from labkit.fewshot.delta_tuning import greedy

places = [
    f"layer.{layer}.{part}"
    for layer in (0, 3)
    for part in ("attention.self.value", "attention.output.dense")
]
some = task.splits["dev"][:200]


def dev_score(chosen):
    """Accuracy on 200 dev rows after 20 steps with LoRA in these places."""
    classifier = trained(LoRA(rank=4, targets=chosen), 3e-3, steps=20)
    answers = labkit.predict(classifier, method, some, progress=lab.progress).argmax(1)
    return float((answers == [row["label"] for row in some]).mean())


d = model.config.hidden_size
found = greedy(dev_score, dict.fromkeys(places, 4 * (d + d)), budget=2 * 4 * (d + d))
for chosen, value in found.tried:
    print(f"{100 * value:5.1f}  {' + '.join(chosen)}")
print("chosen:", " + ".join(found.places))

# %% [markdown]
# A search always names a winner. Look at the scores before you believe it: all lie within three points, and on 200 rows the
# standard error of one score is more than that. After 20 steps the new head has learnt most of what there is to see, so these
# places cannot be told apart. Searching for structure costs training runs, as many as there are tries, and longer ones than
# these; it is worth it where one structure is then used for long.
#
# ## Read on
#
# - Ding et al. 2023, [*Parameter-efficient fine-tuning*](https://www.nature.com/articles/s42256-023-00626-4): over a hundred
#   tasks, and the finding that differences between deltas shrink as models grow. He et al. 2022, [*Towards a unified
#   view*](https://arxiv.org/abs/2110.04366): adapters, prefixes and LoRA in one formula.
# - `labkit/fewshot/delta_tuning/`: [`base.py`](../../labkit/fewshot/delta_tuning/base.py) (the verbs),
#   [`places.py`](../../labkit/fewshot/delta_tuning/places.py) (names), and a short file for each method.
# - Next, 03/07: many tasks in one model by instructions.
