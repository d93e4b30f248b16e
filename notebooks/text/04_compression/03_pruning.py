# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Removing what matters least
#
# The layers of a small [BERT](../glossary.ipynb#bert) hold a million [weights](../glossary.ipynb#weight). *Pruning* sets
# weights to 0, or takes whole parts out of the model. How many can go before the answers become worse, does it matter which,
# and what is gained: a smaller file, or a faster model?
#
# **After this lesson you can** rank weights by size and by movement; take attention heads out of a model;
# prune while a model trains, and hold a pruned model close to the full one (CAP); say which kind of pruning makes the file
# smaller, and which makes the model faster.
#
# **50 minutes.** Before it: [one body, many heads](../01_foundations/05_finetuning.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="04/03")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/qqp"  # @param {type:"string"}
STEPS = 170  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Half of the weights, and nine tenths
#
# The task: do two questions ask the same? First the model is [fine-tuned](../glossary.ipynb#fine-tuning), as always.

# %%
import copy

from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches

base, tokenizer = labkit.load_model(MODEL)
task = labkit.load_task(TASK)
method = HeadClassifier(tokenizer, task.fields)
train, test = task.splits["train"], task.splits["test"][:300]
batches = Batches(method.read(train), method.collate, 32, seed=0)
tuned = add_head(copy.deepcopy(base), task.labels, "mean", seed=0)
history = labkit.fit(tuned, method.loss, batches, steps=STEPS, lr=5e-4, seed=0, progress=lab.progress)

# %% [markdown]
# Now the smallest weights of all its layers become 0: half of them, then nine of ten. Nothing is trained afterwards. Look at
# one pair (chosen to show this), and then at 300 pairs.

# %%
from labkit.compression.pruning import finish, prepare, prune


def right(model):
    answers = labkit.predict(model, method, test).argmax(1)
    return sum(int(answer) == row["label"] for answer, row in zip(answers, test, strict=True)) / len(test)


def cut(sparsity):
    return finish(prune(prepare(copy.deepcopy(tuned), skip=["classifier"]), sparsity))


models = {sparsity: cut(sparsity) for sparsity in (0.0, 0.5, 0.9)}
answers = {sparsity: labkit.predict(model, method, test) for sparsity, model in models.items()}
place = next(i for i, row in enumerate(test) if row["label"] == 1 and answers[0.0][i][1] > 0.9 and answers[0.9][i][1] < 0.5)
print(test[place]["text_a"], "|", test[place]["text_b"], f"({task.labels[1]})\n")
for sparsity, shares in answers.items():
    print(f"{sparsity:4.0%} left out: {task.labels[1]} {shares[place][1]:4.0%}   of 300 pairs right: {right(models[sparsity]):.1%}")

# %% [markdown]
# Half of the weights do not matter: the share of right pairs is nearly the same. With nine of ten gone, the model is about
# as good as guessing. This *share of zeros* is called [sparsity](../glossary.ipynb#sparsity). (The sparsities of this lesson
# are shares of the layers' matrices. The embeddings, 31 % of all weights here, stay whole, as in the papers.)
#
# ## 2 · Which weights?
#
# The simplest rule: the smallest in size. Here is a matrix of eight weights:
#
# ```text
#  0.9  -0.1   0.4  -0.8
#  0.2   0.3  -0.7   0.0
# ```
#
# With a sparsity of one half, four of eight are left out: 0.0, −0.1, 0.2 and 0.3. The *mask* has a 0 at their places and a 1
# elsewhere, and the layer computes with the product, weight by weight:
#
# $$W' = M \odot W, \qquad M_{ij} \in \{0, 1\}.$$
#
# The ranking is over the whole matrix, not row by row. (LeCun et al. 1990 looked at the loss instead;
# Han et al. 2015, [*Learning both weights and connections*](https://arxiv.org/abs/1506.02626), took the size.)
#
# ### Exercise 1: the smallest weights
#
# *●○○ · 6 minutes*
#
# A weight of any shape and a sparsity in; the mask out. Of $n$ weights exactly `round(sparsity * n)` are left out, also when
# many have the same size.
#
# ```python
# weight = torch.tensor([[0.9, -0.1, 0.4, -0.8], [0.2, 0.3, -0.7, 0.0]])
# magnitude_mask(weight, 0.5)  # [[1, 0, 1, 1], [0, 0, 1, 0]]
# ```

# %%
import torch

from labkit.checks import pruning as check


def magnitude_mask(weight, sparsity): ...  # your turn


magnitude_mask = check.magnitude_mask(magnitude_mask)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `weight.abs().flatten()` are the sizes, (n,).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `sizes.argsort()` lists the places from the smallest size to the largest. Take the first `round(sparsity * n)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Begin with `torch.ones(n)`, set these places to 0, and give it the weight's shape.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def magnitude_mask(weight, sparsity):
#     sizes = weight.abs().flatten()
#     mask = torch.ones(len(sizes))
#     mask[sizes.argsort()[: round(sparsity * len(sizes))]] = 0
#     return mask.view(weight.shape)
# ```
# </details>
#
# The library does the same over all matrices together. **Question**, which only the slider answers: at a sparsity of 80 %, are
# more answers right if the smallest weights *of the whole model* go, or the smallest *of each matrix alone*? And which
# kind of matrix loses most in the first case?

# %%
from labkit.widgets import pruned_weights

masked = prepare(copy.deepcopy(tuned), skip=["classifier"])
pruned_weights(masked, right, sparsity=0.7)

# %% [markdown]
# ### Two of every four
#
# A graphics processor cannot skip zeros that lie anywhere. NVIDIA's can when of every **four** neighbours in a row **two** are
# 0: then it computes with the other two, and needs two bits for the place of each. (Mishra et al. 2021,
# [*Accelerating sparse deep neural networks*](https://arxiv.org/abs/2104.08378).) Of the first row above 0.9 and −0.8 stay,
# of the second 0.3 and −0.7. Look at both kinds of masks in all layers: your mask for half of each matrix, and fours.

# %% tags=["nbval-check-output"]
def two_of_four(weight):
    groups = weight.abs().reshape(-1, 4)
    return torch.zeros_like(groups).scatter(1, groups.topk(2, dim=1).indices, 1.0).reshape(weight.shape)


layers = {name: module for name, module in masked.named_modules() if hasattr(module, "mask")}
print(two_of_four(torch.tensor([[0.9, -0.1, 0.4, -0.8], [0.2, 0.3, -0.7, 0.0]])).tolist())
for rule, mask_of in (("half of each matrix", lambda w: magnitude_mask(w, 0.5)), ("two of four", two_of_four)):
    for layer in layers.values():
        layer.mask.copy_(mask_of(layer.weight.detach()))
    zeros = sum(int((layer.mask == 0).sum()) for layer in layers.values())
    print(f"{rule}: {zeros:,} of {sum(layer.mask.numel() for layer in layers.values()):,} weights left out")
fours = finish(copy.deepcopy(masked))

# %% [markdown]
# ## 3 · Is the file smaller?
#
# **Predict**: half, or nine tenths, of a million numbers are 0. How much smaller is the file?
#
# Three ways to store the weights: as they are; the same file, zipped; and one *bit* per weight that says whether it is 0,
# followed by the numbers that are not.

# %%
import zlib

from safetensors.torch import save

from labkit.compression.pruning import sparse_file
from labkit.measure import saved_tensors
from labkit.report import Table

rows = []
for name, model in {"all weights": tuned, "two of four": fours, "90 % left out": models[0.9]}.items():
    tensors = saved_tensors(model)
    plain, bits = save(tensors), save(sparse_file.packed(tensors))
    sizes = [f"{size / 1e6:.2f} MB" for size in (len(plain), len(zlib.compress(plain)), len(bits))]
    rows.append((name, f"{right(model):.1%}", *sizes))
Table(("weights", "right", "plain file", "zipped", "bits and numbers"), tuple(rows))

# %% [markdown]
# **A plain file does not get smaller at all**: a 0 takes four bytes, as any other number does. Zipped it does, and with bits
# too. (Zip also shortens the numbers that are not 0, as the first line shows; but it must be unpacked as a whole.) For $n$
# weights of 32 bits and the sparsity $s$:
#
# $$\text{bits} = n + (1 - s) \cdot 32\, n .$$
#
# For two of four these are 17 of 32 bits, 53 %; at 90 %, 4.2 of 32, 13 %. (The whole file is larger than that, because the
# embeddings are in it.) And the *time*? A matrix with zeros anywhere is multiplied like any other, and zeros in a pattern
# need a device that knows the pattern. What every computer can use is a **smaller matrix**.
#
# ## 4 · Heads that leave
#
# An attention [head](../glossary.ipynb#attention) is a block of rows in three matrices and a block of columns in a fourth. Take
# the blocks out, and the matrices really are smaller. Which heads matter? Multiply the output of each head by a number $m_h$,
# which is 1. The derivative $\partial L / \partial m_h$ says how much the loss would change if the head became a little weaker.
# Its sign differs from text to text, so the *sizes* are summed over batches $b$:
#
# $$I_h = \sum_b \left| \frac{\partial L_b}{\partial m_h} \right| .$$
#
# Two batches and two heads: the derivatives of the first head are $0.3$ and $-0.3$, of the second $0.1$ and $0.2$. The sums are
# 0.6 and 0.3, so the second head goes first. Without the bars the first would have the importance 0. (Michel et al. 2019,
# [*Are sixteen heads really better than one?*](https://arxiv.org/abs/1905.10650), §4.1.)
#
# ### Exercise 2: the importance of heads
#
# *●●○ · 7 minutes*
#
# In: `loss(mask, batch)`, which gives a number; a list of batches; the number of heads. Out: $I_h$ for a mask of ones, (heads,).
#
# ```python
# slopes = [torch.tensor([0.3, 0.1]), torch.tensor([-0.3, 0.2])]
# head_importance(lambda mask, batch: (mask * batch).sum(), slopes, 2)  # [0.6, 0.3]
# ```


# %%
def head_importance(loss, batches, heads): ...  # your turn


head_importance = check.head_importance(head_importance)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `mask = torch.ones(heads, requires_grad=True)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.autograd.grad(loss(mask, batch), mask)[0]` is the gradient of one batch.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Take its absolute value *before* you add it to the sum.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def head_importance(loss, batches, heads):
#     mask = torch.ones(heads, requires_grad=True)
#     return sum(torch.autograd.grad(loss(mask, batch), mask)[0].abs() for batch in batches)
# ```
# </details>
#
# One mask for the heads of all layers, your function, and sixteen batches:

# %%
from labkit.compression.pruning import remove_heads
from labkit.compression.pruning.structure import heads_of, masked_heads

encoder = tuned.eval().bert.encoder
counts = [heads_of(layer) for layer in encoder.layer]
some = [method.collate(train[at : at + 32]) for at in range(0, 512, 32)]


def loss(mask, batch):
    with masked_heads(tuned, mask.split(counts)):
        return method.loss(tuned, batch)


importance = head_importance(loss, some, sum(counts)).split(counts)
for number, values in enumerate(importance, 1):
    print(f"layer {number}: ", "  ".join(f"{value:5.2f}" for value in values.tolist()))

# %% [markdown]
# Take out eight of the twenty: the least important, and the most important ones.

# %% tags=["nbval-check-output"]
order = sorted((float(value), layer, head) for layer, values in enumerate(importance) for head, value in enumerate(values))


def without(places):
    gone = {}
    for _, layer, head in places:
        if len(gone.get(layer, [])) < counts[layer] - 1:  # a layer keeps at least one
            gone.setdefault(layer, []).append(head)
    return remove_heads(copy.deepcopy(tuned), gone)


few, wrong = without(order[:8]), without(order[-8:])
print("more right without the least important than without the most important:", right(few) > right(wrong))
print("the file is smaller:", len(save(saved_tensors(few))) < len(save(saved_tensors(tuned))))

# %% [markdown]
# Whole layers can leave too. And now the time: the same 32 pairs through each model, in turns.

# %%
import statistics

from labkit import measure
from labkit.compression.pruning import drop_layers

turns = {"all weights": tuned, "90 % zeros": models[0.9], "without eight heads": few,
         "two of four layers": drop_layers(copy.deepcopy(tuned), [0, 3])}  # fmt: skip
taken = {name: [] for name in turns}
for _ in range(9):
    for name, model in turns.items():
        taken[name].append(measure.latency(model, method, test[:32], 32, repeats=1, warm_up=1))
full = statistics.median(taken["all weights"])
for name, model in turns.items():
    time, size = statistics.median(taken[name]) / full, len(save(saved_tensors(model))) / 1e6
    print(f"{name:<20} time {time:4.2f}, file {size:.2f} MB, right {right(model):.1%}")

# %% [markdown]
# The zeros save no time. Without eight heads the model is smaller and a little faster, and nearly as many answers are right.
# Two layers less save most, but then nearly everything that was learned is lost.
#
# A model that was trained with all its layers is not used to losing some. *LayerDrop* leaves each layer out now and then while
# the model trains, so that it can do without. (Fan et al. 2020, [*Reducing Transformer depth on
# demand*](https://arxiv.org/abs/1909.11556), §3.) And a head can get a *gate* that is trained with the model and closes where
# the task does not pay for it: the [hard-concrete](https://arxiv.org/abs/1712.01312) gate of Louizos et al. 2018. What these
# reach on all 1 000 test pairs ([the numbers](../../docs/results.md#pruning)); heads chosen by importance or at random leave
# without further training:

# %%
from labkit.report.pages import page

measured = page("pruning").report
for who in ("all layers", "LayerDrop"):
    values = [f"{row['layers']}: {100 * row.value:.1f}" for row in measured.rows if row.method.startswith(who)]
    print(f"trained with {who:<12} % right by the layers that stay:", ", ".join(values))
measured.lines("heads_gone", label="heads taken out, of 20")

# %% [markdown]
# ## 5 · Leave out while training
#
# Back to single weights. So far they were left out *after* training. If the model trains on meanwhile, the weights that stay
# can take over. They need time for it, so the sparsity grows with the steps, fast at first, when many weights do not
# matter, and slowly at the end. With $t = \text{step} / \text{end}$, but never above 1 (Zhu & Gupta 2017, [*To prune, or not to
# prune*](https://arxiv.org/abs/1710.01878), §2):
#
# $$s_t = s_{\text{final}} \cdot \left(1 - (1 - t)^3\right) .$$
#
# For a final sparsity of 90 % it is 0 % at $t = 0$, 52 % at ¼, 79 % at ½, 89 % at ¾ and 90 % at 1.
#
# ### Exercise 3: the masks of a step
#
# *●●○ · 8 minutes*
#
# A step, a dictionary of weights, the step at which pruning ends, and the final sparsity in; a dictionary of masks with the
# same names out. The ranking is over *all* weights together. Of $n$ in all, `round(s_t * n)` are left out.
#
# ```python
# weights = {"a": torch.tensor([[0.1, 0.2, 0.3]]), "b": torch.tensor([[-4.0, 5.0, -6.0]])}
# step_masks(10, weights, end=10, final=0.5)  # {"a": [[0, 0, 0]], "b": [[1, 1, 1]]}
# ```


# %%
def step_masks(step, weights, end, final): ...  # your turn


step_masks = check.step_masks(step_masks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `t = min(step / end, 1)` gives the sparsity.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.cat([weight.flatten() for weight in weights.values()])` is one long row, for `magnitude_mask`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `mask.split([weight.numel() for weight in weights.values()])` cuts the mask into the parts of the matrices.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def step_masks(step, weights, end, final):
#     t = min(step / end, 1)
#     together = torch.cat([weight.flatten() for weight in weights.values()])
#     mask = magnitude_mask(together, final * (1 - (1 - t) ** 3))
#     parts = mask.split([weight.numel() for weight in weights.values()])
#     return {name: part.view(weights[name].shape) for name, part in zip(weights, parts, strict=True)}
# ```
# </details>
#
# The training run: every ten steps your masks go into the layers. **Predict**: with 90 % left out, guessing was all that was
# left. How much comes back in 60 steps?

# %% tags=["idea"]
from labkit.compression.pruning import sparsity_of


def pruned(objective, steps=60, end=40, final=0.9):
    """The tuned model, trained on while its weights are left out, and the largest weight behind a mask's 0."""
    model, worst = prepare(copy.deepcopy(tuned), skip=["classifier"]), 0.0
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "mask")}

    def on_step(step, loss):
        nonlocal worst
        if step % 10 == 0 and step <= end:
            weights = {name: layer.weight.detach() for name, layer in layers.items()}
            for name, mask in step_masks(step, weights, end, final).items():
                layers[name].mask.copy_(mask)
        for layer in layers.values():
            worst = max(worst, float(((1 - layer.mask) * (layer.mask * layer.weight)).abs().max().detach()))

    labkit.fit(model, objective, batches, steps=steps, lr=5e-4, seed=1, on_step=on_step, progress=lab.progress)
    return finish(model), worst


by_size, worst = pruned(method.loss)
print(f"share of zeros {sparsity_of(by_size.bert.encoder):.3f}, largest weight in use behind a 0: {worst:.1f}")
print(f"90 % left out: cut once {right(models[0.9]):.1%}, while training {right(by_size):.1%}; all weights {right(tuned):.1%}")

# %% [markdown]
# ## 6 · A small weight may be growing
#
# Size is what a weight *was given* in [pre-training](../glossary.ipynb#pre-training). *Movement* asks where fine-tuning takes
# it. Two weights over three steps, with their gradients $g$ (training moves a weight against its gradient):
#
# | | step 1 | step 2 | step 3 | $-\sum g \cdot w$ |
# |---|--:|--:|--:|--:|
# | $w_1$ ($g = 1$) | 3.0 | 2.9 | 2.8 | −8.7 |
# | $w_2$ ($g = -1$) | 0.1 | 0.2 | 0.3 | 0.6 |
#
# By size, $w_2$ is left out. But $w_1$ moves towards 0 and $w_2$ away from it, so by movement $w_1$ is left out. In
# symbols, the score of a weight is (Sanh et al. 2020, [*Movement pruning*](https://arxiv.org/abs/2005.07683), §3)
#
# $$S_{ij} = - \sum_t \left( \frac{\partial L}{\partial W_{ij}} \right)^{(t)} W_{ij}^{(t)} .$$
#
# ### Exercise 4: movement
#
# *●●○ · 5 minutes*
#
# The weights and the gradients of all steps, each (steps, out, in), and a sparsity in; out the mask (out, in), in which
# `round(sparsity * n)` weights with the **lowest** scores are left out. No absolute value here.
#
# ```python
# weights = torch.tensor([[[3.0, 0.1]], [[2.9, 0.2]], [[2.8, 0.3]]])
# gradients = torch.tensor([[[1.0, -1.0]], [[1.0, -1.0]], [[1.0, -1.0]]])
# movement_mask(weights, gradients, 0.5)  # [[0, 1]]
# ```


# %%
def movement_mask(weights, gradients, sparsity): ...  # your turn


movement_mask = check.movement_mask(movement_mask)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The scores: `-(weights * gradients).sum(0)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# From here on as in exercise 1, with the scores in the place of the sizes.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `magnitude_mask` would rank by the absolute value. If all scores are first made positive, `scores - scores.min()`, their order stays.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def movement_mask(weights, gradients, sparsity):
#     scores = -(weights * gradients).sum(0).flatten()
#     mask = torch.ones(len(scores))
#     mask[scores.argsort()[: round(sparsity * len(scores))]] = 0
#     return mask.view(weights.shape[1:])
# ```
# </details>
#
# Do the two rules choose different weights? Here is one matrix over the first sixteen steps of fine-tuning. If the rules had
# nothing to do with each other, half of what one leaves out would be left out by the other too. And is *any* half good enough?

# %%
fresh = add_head(copy.deepcopy(base), task.labels, "mean", seed=0).train()
optimizer, weights, gradients = torch.optim.AdamW(fresh.parameters(), lr=5e-4), [], []
matrix = fresh.bert.encoder.layer[3].intermediate.dense.weight
for batch in some:
    optimizer.zero_grad()
    method.loss(fresh, batch).backward()
    weights.append(matrix.detach().clone())
    gradients.append(matrix.grad.clone())
    optimizer.step()
by_movement = movement_mask(torch.stack(weights), torch.stack(gradients), 0.5)
by_magnitude = magnitude_mask(weights[-1], 0.5)
print(f"of what movement leaves out, magnitude leaves out {float((1 - by_magnitude)[by_movement == 0].mean()):.1%}")
for layer in layers.values():
    layer.mask.copy_(torch.rand(layer.mask.shape, generator=torch.Generator().manual_seed(layer.in_features)) < 0.5)
print(f"right with half of each matrix left out: by size {right(models[0.5]):.1%}, at random {right(finish(copy.deepcopy(masked))):.1%}")

# %% [markdown]
# ## 7 · Stay close: CAP
#
# A pruned model learns from the labels alone, and may forget what the full one knew. *Contrastive pruning* (CAP) adds a loss
# that keeps its [features](../glossary.ipynb#feature) near those of the full models: for each text, the feature of the **same text** in the other
# model should be more similar than those of other texts. One text, three texts in the other model, with the
# [cosines](../glossary.ipynb#cosine-similarity) 0.9 (the same text), 0.8 and 0.1.
# Divided by a temperature of 0.1 these are 9, 8 and 1, and the [softmax](../glossary.ipynb#softmax) turns them into the shares
# 0.7309, 0.2689 and 0.0002. If only the first is *near*, the loss is $-\log 0.7309 = 0.313$. If the first two are near, it is
# the mean of 0.313 and 1.313, which is 0.813.
#
# In symbols, with the features $f_i$ of the pruned model and $h_j$ of the other, the near ones $N_i$ of text $i$ and the
# temperature $\tau = 0.1$:
#
# $$L = - \frac{1}{B} \sum_i \frac{1}{|N_i|} \sum_{j \in N_i}
#   \log \frac{e^{\cos(f_i, h_j) / \tau}}{\sum_k e^{\cos(f_i, h_k) / \tau}} .$$
#
# There are three such others: the **pre-trained** model, for general knowledge, where near is the same text; the **fine-tuned**
# model, where near are the same text and, in a second term, all texts of the same label; and **snapshots** of the pruned model
# itself, when it was less sparse. (Xu et al. 2022, [*From dense to sparse*](https://arxiv.org/abs/2112.07198), §3.)
#
# ### Exercise 5: near and far
#
# *●●● · 8 minutes*
#
# Features of the two models, both (batch, d) and of any length; `near` (batch, batch), True where the pair is near; the
# temperature. Out: the loss, one number, through which the model learns.
#
# ```python
# mine, theirs = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 0.0], [4.0, 3.0]])
# contrast(mine, theirs, torch.eye(2).bool(), temperature=1.0)  # 0.518: the mean of 0.598 and 0.437
# ```


# %%
def contrast(mine, theirs, near, temperature): ...  # your turn


contrast = check.contrast(contrast)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.nn.functional.normalize(mine, dim=1)` has length 1, so a product is a cosine.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `(cosines / temperature).log_softmax(1)`: each row is one of mine against all of theirs.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The mean over the near ones of a row: `(logs * near).sum(1) / near.sum(1)`. Then the mean over the rows, and a minus.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def contrast(mine, theirs, near, temperature):
#     normalize = torch.nn.functional.normalize
#     logs = (normalize(mine, dim=1) @ normalize(theirs, dim=1).T / temperature).log_softmax(1)
#     return -((logs * near).sum(1) / near.sum(1)).mean()
# ```
# </details>
#
# Now your masks and your loss together: the training run of section 5 once more, with the contrasts (without snapshots, which
# the library's `CAP` has).

# %%
from labkit.foundations.encoder import mean_state


def feature(model, batch):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    return mean_state(model.base_model(**inputs).last_hidden_state, batch["attention_mask"])  # (batch, d)


def objective(model, batch):
    mine, labels = feature(model, batch), batch["labels"]
    with torch.no_grad():
        general, own = feature(base, batch), feature(tuned, batch)
    same_text, same_label = torch.eye(len(labels)).bool(), labels[:, None] == labels
    parts = [contrast(mine, *pair, 0.1) for pair in ((general, same_text), (own, same_text), (own, same_label))]
    return torch.nn.functional.cross_entropy(model.classifier(mine), labels) + 0.1 * sum(parts)


base.eval()
with_cap, _ = pruned(objective)
print(f"90 % left out while training: by size {right(by_size):.1%}, with the contrasts {right(with_cap):.1%}")

# %% [markdown]
# One run of 60 steps says little: with 300 pairs the standard error of each figure is between 2 and 3 points. So:
#
# ## 8 · All sparsities
#
# All 1 000 test pairs, more steps, several sparsities ([the numbers](../../docs/results.md#pruning)). **Predict**: where does
# each curve begin to fall?

# %%
measured.lines("sparsity", label="share of the weights that is left out")

# %% [markdown]
# Look at where each curve begins to fall. Cut once, the model holds up to about one half, and at 90 % it guesses. If it trains
# while weights are left out, much of that comes back at 80 and 90 %, but not all, and beyond 90 % this curve falls too. (The
# two points "2:4" are at one half: nothing is lost there if the model trains on.)
#
# Movement is at chance everywhere, although in its paper it is far ahead. A likely reason is the length of the training. Its
# scores are sums over at most 70 steps here, and you saw that such a choice is as unrelated to the size as a random one, which
# already destroys the model at one half. The paper goes over 360 000 pairs several times. So this says nothing about the method
# where training is long.
#
# The claim to test is that the contrasts help at 90 % and above. Here is the mean of two runs each. The standard error of a
# difference is about 2 points:

# %% tags=["nbval-check-output"]
def mean_of(name):
    values = [100 * row.value for row in measured.rows if row.method == name]
    return sum(values) / len(values)


for sparsity in (90, 95, 97):
    cap, magnitude = mean_of(f"CAP, {sparsity} %"), mean_of(f"magnitude, {sparsity} %")
    print(f"{sparsity} %: CAP {cap:.1f}, magnitude {magnitude:.1f}, difference {cap - magnitude:+.1f} points")

# %% [markdown]
# At 90 and 95 % the difference is within the noise. At 97 % CAP is ahead, in both runs. So the claim holds here only where
# hardly anything is left, and a step of CAP computes about twice as much.
#
# Beside the papers, which have BERT-base and the real QQP, with some 360 000 labelled pairs instead of 2 000, and also teach
# the pruned model with the full one's answers:

# %%
whole, lines = mean_of("cut once, 0 %"), []
for name in ("magnitude, 90 %", "movement, 90 %", "magnitude, 97 %", "CAP, 97 %"):
    mean, theirs = mean_of(name), page("pruning").paper[name]
    kept = theirs.removesuffix(" of BERT") if isinstance(theirs, str) else f"{theirs / 91.4:.1%}"
    lines.append((name, f"{mean:.1f}", f"{mean / whole:.1%}", kept))
Table(("method", "here, % right", "share kept here", "share kept in the paper"), tuple(lines))

# %% [markdown]
# ## 9 · So, what can be removed, and what is gained?
#
# **Single weights: half of them at once, nine tenths with a loss.** Which half matters: the smallest, not any. Training
# meanwhile brings back a good part at 90 %, and holding the model close to the full one helps only at 97 %. What is gained is
# a smaller file, and only in a form that leaves out zeros; the model is not faster, except for two of four on a device made for
# it.
#
# **Heads and layers: less of them, but for real.** Some heads of twenty can go without a loss if they are chosen by
# importance. Half of the layers can go if the model was trained with LayerDrop. The file is smaller in any form, and every
# computer is faster.
#
# ## Read on
#
# - The papers are linked above. Frankle & Carbin 2019, [*The lottery ticket hypothesis*](https://arxiv.org/abs/1803.03635):
#   could the small network have been trained alone?
# - All measured figures: [Pruning](../../docs/results.md#pruning), or `labkit results pruning`.
# - [`labkit/compression/pruning/`](../../labkit/compression/pruning/__init__.py): `masks.py` is your exercises 1, 3 and 4,
#   `structure.py` takes heads and layers out, `gates.py` has the gates, `contrastive.py` is CAP with snapshots,
#   `sparse_file.py` stores bits and numbers.
# - In class: the assignment `assignments/source/04_compression`.
# - Next, [04/04](04_quantization.ipynb): not fewer weights, but fewer bits per weight.
