# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Change a little, keep the rest
#
# Fine-tuning changes every weight, so ten tasks need ten copies of the model. *Delta tuning* freezes the model and trains a
# small part beside it: the [delta](../glossary.ipynb#delta). Ten tasks then need one model and ten small files. How small may
# the delta be, what does it cost in accuracy, and what does it save?
#
# **After this lesson you can** write LoRA, put a delta on a model by the names of its modules, and merge it into the
# weights; compare deltas by accuracy and trained numbers at once; and design one that needs fewer numbers.
#
# **50 minutes.** Before it: [one body, many heads](../01_foundations/05_finetuning.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="03/06")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/news"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A task that can be taken off
#
# The task: which of 15 topics does a news text have? Here is a model with a new [head](../glossary.ipynb#head), and what it says
# about one text.

# %%
from labkit.foundations.heads import HeadClassifier, add_head

body, tokenizer = labkit.load_model(MODEL)
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
method = HeadClassifier(tokenizer, task.fields)
rows, test = task.splits["train"], task.splits["test"]
model = add_head(body, task.labels, "mean", seed=0)  # on a copy of the body
text = test[0]


def show(name):
    shares = labkit.predict(model, method, [text])[0]
    print(f"{name:<16} {task.labels[shares.argmax()]}, {shares.max():.0%} sure")


print(f"{text['text']}  ({task.labels[text['label']]})\n")
show("before:")

# %%
from labkit.fewshot.delta_tuning import LoRA, detach, fingerprint
from labkit.measure import parameters, trainable
from labkit.training import Batches

before = fingerprint(model.base_model)
LoRA(rank=4).attach(model)  # freezes the body; the delta and the new head train
batches = Batches(rows, method.collate, 16, seed=0)
labkit.fit(model, method.loss, batches, steps=60, lr=1e-2, seed=0, progress=lab.progress)
show("with the delta:")
print(f"trained: {trainable(model):,} of {parameters(model):,} weights, 2,415 of them in the head")

# %% tags=["nbval-check-output"]
from labkit.fewshot.delta_tuning import save_delta

save_delta(model, "artefacts/03_06_lora", task=task.name)
detach(model)
print("the body without the delta has the same bits as before:", fingerprint(model.base_model) == before)

# %% [markdown]
# So what was learned is in a file of its own, and the model can take it on and off without a trace. Now you build such a delta.
#
# ## 2 · LoRA
#
# A linear layer computes $Wx$. Fine-tuning replaces $W$ by $W + \Delta W$, and $\Delta W$ has as many numbers as $W$. **LoRA** (Hu
# et al. 2022, [paper](https://arxiv.org/abs/2106.09685)) trains it as a product of two narrow matrices, that is, a matrix
# of low [rank](../glossary.ipynb#rank-of-a-matrix) $r$. Two inputs, three outputs, $r = 1$:
#
# - $A = (1 \;\; 1)$ reads $x = (1, 2)$ and makes one number of it: $Ax = 3$.
# - $B = (1, 0, 2)$ makes three of that: $BAx = (3, 0, 6)$.
# - With the scale $\frac{\alpha}{r} = \frac{2}{1}$ the update is $(6, 0, 12)$, and it is added to $Wx$.
#
# A and B have $r\,(d_{\text{in}} + d_{\text{out}})$ numbers, where $W$ has $d_{\text{in}} \cdot d_{\text{out}}$. In symbols:
#
# $$h = Wx + \frac{\alpha}{r}\, B A x , \qquad A \in \mathbb{R}^{r \times d_{\text{in}}},\;
# B \in \mathbb{R}^{d_{\text{out}} \times r} .$$
#
# $A$ starts at random and $B$ at 0, so training begins with the model as it is. The paper adapts two matrices in each of
# GPT-3's 96 layers, of width 12,288, with $r = 1$:

# %% tags=["nbval-check-output"]
trained = 96 * 2 * 1 * (12_288 + 12_288)
print(f"{trained:,} weights of 175 billion: {100 * trained / 175e9:.4f} %")

# %% [markdown]
# ### Exercise 1: the update
#
# *●○○ · 5 minutes*
#
# $x$ (batch, tokens, $d_{\text{in}}$), $A$, $B$ and $\alpha$ in; $\frac{\alpha}{r} BAx$, (batch, tokens, $d_{\text{out}}$), out.
# $A$ and $B$ learn through it.
#
# ```python
# a, b = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0], [0.0], [2.0]])
# lora_update(torch.tensor([[[1.0, 2.0]]]), a, b, alpha=2)  # [[[6, 0, 12]]], as above
# ```

# %%
import torch

from labkit.checks import delta_tuning as check


def lora_update(x, a, b, alpha): ...  # your turn


lora_update = check.lora_update(lora_update)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A linear layer with the matrix $A$ is `x @ a.T`, of shape (batch, tokens, r).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Go through the narrow place, `x @ a.T @ b.T`, and never make $BA$, which is as large as $W$.
# </details>
#
# <details><summary>Hint 3</summary>
#
# $r$ is `a.shape[0]`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def lora_update(x, a, b, alpha):
#     return alpha / a.shape[0] * (x @ a.T @ b.T)
# ```
# </details>
#
# ## 3 · On by name
#
# The update must get into a model without a change of the model's code. *OpenDelta* (Hu et al. 2023,
# [paper](https://arxiv.org/abs/2307.03084)) finds modules by the **end of their names** and changes them from outside. A
# [hook](../glossary.ipynb#hook) is a function that PyTorch calls when a module has computed its output; what it returns
# takes the output's place:

# %%
layer = torch.nn.Linear(2, 2, bias=False)
layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
print("without a hook:", layer(torch.tensor([3.0, 4.0])).tolist())
layer.register_forward_hook(lambda layer, inputs, output: output + 10 * inputs[0])
print("with a hook:   ", layer(torch.tensor([3.0, 4.0])).tolist())

# %% [markdown]
# ### Exercise 2: attach
#
# *●●○ · 10 minutes*
#
# A model, the end of names and a function `make(d_in, d_out)`, which makes a delta, in; the same model out. All its own weights are
# frozen. Each linear layer whose name ends with this key, after a dot, has a delta of its own, which trains, reads what the
# layer reads, and is added to what the layer gives. An optimizer finds the deltas in `model.parameters()`.
#
# ```python
# model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3))  # its layers are called "0" and "1"
# attach(model, "1", torch.nn.Linear)  # beside layer 1 now stands torch.nn.Linear(2, 3); only its 9 numbers train
# ```


# %%
def attach(model, key, make): ...  # your turn


attach = check.attach(attach)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First `model.requires_grad_(False)`. Then go through `list(model.named_modules())`: the list is made before the loop, because
# the loop adds modules.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `f".{name}".endswith(f".{key}")`. A linear layer knows `in_features` and `out_features`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `layer.delta = make(…)` makes the delta a part of the model. In the hook write `layer.delta`, where `layer` is the hook's own
# argument: a variable of the loop would be the last layer's delta in all hooks.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def attach(model, key, make):
#     model.requires_grad_(False)
#     for name, layer in list(model.named_modules()):
#         if f".{name}".endswith(f".{key}"):
#             layer.delta = make(layer.in_features, layer.out_features)
#             layer.register_forward_hook(lambda layer, inputs, output: output + layer.delta(inputs[0]))
#     return model
# ```
# </details>
#
# Both functions together are a method. It trains LoRA of rank 4 on the values of all four layers, and a new head:

# %% tags=["idea"]
class YourLoRA(torch.nn.Module):
    def __init__(self, d_in, d_out, rank=4, alpha=8):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.a = torch.nn.Parameter(torch.randn(rank, d_in, generator=draw) / d_in**0.5)
        self.b, self.alpha = torch.nn.Parameter(torch.zeros(d_out, rank)), alpha

    def forward(self, x):
        return lora_update(x, self.a, self.b, self.alpha)


def trained_with(make, key, lr, steps):
    """A classifier on the frozen body with deltas made by `make`, trained, and its accuracy in per cent."""
    model = attach(add_head(body, task.labels, "mean", seed=0), key, make)
    model.classifier.requires_grad_(True)
    labkit.fit(model, method.loss, batches, steps=steps, lr=lr, seed=0, progress=lab.progress)
    return model, 100 * labkit.evaluate(model, method, task, progress=lab.progress)["accuracy"]


KEY = "attention.self.value"
yours, accuracy = trained_with(YourLoRA, KEY, lr=1e-2, steps=60)
print(f"{accuracy:.1f} % of the test texts with {trainable(yours):,} trained weights, the head's 2,415 among them")

# %% [markdown]
# ## 4 · Off, or into the weights
#
# While the delta is attached, each layer computes more than before. But $Wx + \frac{\alpha}{r} BAx$ is linear in $x$, so *one*
# matrix does the same, and the [merged](../glossary.ipynb#merge) model is a plain model without a delta's cost. With the numbers of
# section 2 and $W = \begin{pmatrix} 1 & 0 \\ 0 & 1 \\ 1 & 1 \end{pmatrix}$:
#
# $$W + 2 \begin{pmatrix} 1 \\ 0 \\ 2 \end{pmatrix} (1 \;\; 1) = \begin{pmatrix} 3 & 2 \\ 0 & 1 \\ 5 & 5 \end{pmatrix},
# \qquad \begin{pmatrix} 3 & 2 \\ 0 & 1 \\ 5 & 5 \end{pmatrix} \begin{pmatrix} 1 \\ 2 \end{pmatrix} =
# \begin{pmatrix} 7 \\ 2 \\ 15 \end{pmatrix} = Wx + (6, 0, 12)^\top .$$
#
# ### Exercise 3: merge
#
# *●○○ · 5 minutes*
#
# The frozen matrix, $A$, $B$ and $\alpha$ in; the one matrix out. Leave what you are given as it is.
#
# ```python
# weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
# merge_lora(weight, a, b, alpha=2)  # [[3, 2], [0, 1], [5, 5]], with a and b of exercise 1
# ```


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
# Merge your four deltas into a plain model:

# %% tags=["nbval-check-output"]
plain = add_head(body, task.labels, "mean", seed=0)
plain.classifier.load_state_dict(yours.classifier.state_dict())
deltas = [module for module in yours.modules() if isinstance(module, YourLoRA)]
with torch.no_grad():
    for layer, delta in zip(plain.base_model.encoder.layer, deltas, strict=True):
        value = layer.attention.self.value
        value.weight.copy_(merge_lora(value.weight, delta.a, delta.b, delta.alpha))

apart = labkit.predict(plain, method, test[:100]) - labkit.predict(yours, method, test[:100])
print("a plain model with the same answers:", bool(abs(apart).max() < 1e-4), "and no more weights:",
      parameters(plain) == parameters(yours) - sum(map(parameters, deltas)))  # fmt: skip

# %% [markdown]
# ## 5 · A family
#
# Ding et al. (2023, [*Parameter-efficient fine-tuning*](https://www.nature.com/articles/s42256-023-00626-4)) sort deltas into
# three kinds.
#
# - **Addition**: new modules. An [adapter](../glossary.ipynb#adapter) is a narrow network behind (*serial*) or beside
#   (*parallel*) a part of a layer; *Compacter* makes its matrices of Kronecker products; *prompt* and *prefix* tuning
#   ([03/03](03_soft_prompts.ipynb)) add vectors; the *ladder* is a narrow network beside the whole model, which reads its
#   states and sends no gradient back.
# - **Specification**: some of the weights there are. *BitFit* trains the biases.
# - **Reparametrisation**: weights moved by fewer numbers. *LoRA*; *(IA)³*, which scales keys, values and inner states; an
#   *intrinsic* subspace, in which a handful of numbers moves a whole prompt in random directions.
#
# **The question for the widget**: which delta sits in the most modules, and is it the one that trains the most weights? Where
# does the ladder hang?

# %%
from labkit.fewshot.delta_tuning import IA3, BitFit, Compacter, Ladder, Prefix, Prompt, Serial
from labkit.widgets import delta_tree

family = {"LoRA": LoRA(), "adapter, serial": Serial(), "Compacter": Compacter(), "IA3": IA3(), "BitFit": BitFit(),
          "ladder": Ladder(), "prefix": Prefix(), "prompt": Prompt()}  # fmt: skip
delta_tree(body, family)

# %% [markdown]
# <details><summary>Answer</summary>
#
# BitFit sits in the most modules, because nearly each has a bias, but the serial adapters train the most weights. The ladder has a
# rung beside each layer, and no layer reads what the rungs compute.
# </details>
#
# ## 6 · Accuracy against trained weights
#
# Now the lesson's question. On the left: this task with 16 [shots](../glossary.ipynb#shot), 100 steps and a rate of its own
# for each delta, means of two [draws](../glossary.ipynb#draw). Each counts the new head's 2,415 weights. On the right: methods on
# Gemma 3, a real language model of 268 million weights, with 16 shots of real film reviews, three draws. Circles and the line are
# the [front](../glossary.ipynb#front): no other method trains as few weights and is as accurate. **Predict**: will the
# methods that train more be the more accurate ones?

# %%
from labkit.report.trade_off import points, trade_off

gemma = points(row for row in labkit.report.results("gemma").rows if row.task == "SST-2")
names = {"zero-shot calibrated": "cloze, calibrated", "head (LoRA)": "head, LoRA", "cloze (LoRA)": "cloze, LoRA",
         "P-tuning": "P-tuning, LoRA", "cloze (all weights)": "cloze, all weights"}  # fmt: skip
large = {name: gemma[method] for method, name in names.items()} | {"linear probe": (641, gemma["linear probe"][1])}
measured = labkit.report.results("delta")
mini = points(row for row in measured.rows if row.task == "world/news, 16 shots, head")
mini["head alone"] = mini.pop("frozen backbone")
trade_off({"mini-bert-en, world/news": mini, "gemma-270m, SST-2": large})

# %% tags=["nbval-check-output"]
for setting in ("world/news, 16 shots, head", "world/news, all rows, head", "world/fewclue/eprstmt, 16 shots, cloze"):
    some = {name: accuracy for name, (_, accuracy) in points(r for r in measured.rows if r.task == setting).items()}
    whole, frozen = some.pop("fine-tune all"), some.pop("frozen backbone")
    ahead = sum(accuracy > whole for accuracy in some.values())
    print(f"{setting}: nothing of the body trains {frozen:.1f}, all of it {whole:.1f}; best delta {max(some, key=some.get)} "
          f"{max(some.values()):.1f}; deltas above all of it: {ahead} of {len(some)}")  # fmt: skip

# %% [markdown]
# **On the left**, no. The front ends with BitFit, which trains the biases, and fine-tuning all weights is beaten by deltas that
# train a hundredth of them. Do not read much into the order: with two draws of 1,000 test texts, two or three points may be noise.
# What is clear is that a head alone is behind, and that nothing is lost by freezing the other weights. The printed lines say
# that this also holds with all 3,000 training rows. The third setting is a Chinese cloze that is good without training:
# there no method is above it, and those that train many numbers are below.
#
# **On the right**, LoRA trains one weight in 364 and is nine points ahead of training them all: 32 sentences cannot teach 268
# million weights. But the largest step in that panel is no matter of numbers. A head and a cloze with the *same* LoRA are 17
# points apart, because the head has to be learned from nothing.
#
# The papers: Ding et al. compare over a hundred tasks with T5, and all training rows. There fine-tuning stays the best on the
# average, with a small lead that shrinks as models grow. For adapters, 0.5 to 8 % of the weights are usual; ours is at 3 %.
#
# ## 7 · A delta of your own
#
# What else can stand beside a linear layer? For example a fixed random matrix $R$ with a trained scale per output,
# $s \odot (Rx)$. With $R = \begin{pmatrix} 1 & -1 \\ 2 & 0 \end{pmatrix}$, $x = (1, 2)$ and $s = (0.5, 0)$ it adds
# $0.5 \cdot (-1) = -0.5$ to the first output and 0 to the second; it trains two numbers.
#
# ### Exercise 4: design a delta
#
# *●●● · 12 minutes*
#
# $d_{\text{in}}$ and $d_{\text{out}}$ in; a `torch.nn.Module` out, which takes (batch, tokens, $d_{\text{in}}$) and gives (batch,
# tokens, $d_{\text{out}}$). It must give **0 before training**, and train **at most $d_{\text{in}} + d_{\text{out}}$ numbers**,
# as many as LoRA of rank 1. Invent something: scales, a bias, one neuron, a Kronecker product of a small trained matrix and a fixed
# one (`torch.kron`) …
#
# ```python
# delta = own_delta(160, 448)
# delta(torch.randn(2, 7, 160)).shape, delta(torch.randn(2, 7, 160)).abs().max()  # (2, 7, 448) and 0
# sum(p.numel() for p in delta.parameters())  # at most 608
# ```


# %%
def own_delta(d_in, d_out): ...  # your turn


own_delta = check.own_delta(own_delta)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Like `YourLoRA`: what trains is a `torch.nn.Parameter`, and `forward` computes with it.
# </details>
#
# <details><summary>Hint 2</summary>
#
# What is random and fixed is kept with `self.register_buffer("fixed", …)`. Draw it with a generator, so that it can be repeated.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Of two factors only one may start at 0: if both do, every gradient is 0 and nothing ever moves.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# class Scaled(torch.nn.Module):
#     def __init__(self, d_in, d_out):
#         super().__init__()
#         drawn = torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(0))
#         self.register_buffer("fixed", drawn / d_in**0.5)
#         self.scales = torch.nn.Parameter(torch.zeros(d_out))
#
#     def forward(self, x):
#         return self.scales * (x @ self.fixed.T)
#
#
# def own_delta(d_in, d_out):
#     return Scaled(d_in, d_out)
# ```
# </details>
#
# Your `attach` puts it beside the values, it trains for as many steps as the others, and joins the picture. (Try other places,
# such as `"attention.output.dense"` or `"intermediate.dense"`, and other rates.)

# %%
own, accuracy = trained_with(own_delta, KEY, lr=1e-2, steps=100)
print(f"{accuracy:.1f} % with {trainable(own):,} trained weights")
trade_off({"mini-bert-en, world/news": mini | {"yours": (trainable(own), accuracy)}}, own=("yours",))

# %% [markdown]
# With labkit's answer to the exercise (the picture here shows it) 640 numbers in the body are enough for four points more than the head
# alone, although the random matrices know nothing of the task. Is your point on the front? One draw and one rate were tried, so
# two points are noise, and if you try many designs on these test texts, the best of them looks better than it is (the
# [winner's curse](../glossary.ipynb#winners-curse)). The honest way is to choose on the dev split, as was done for the others.
#
# ## 8 · What does a delta save?
#
# **Memory while it trains?** The first training step of a classifier, 16 texts of 64 tokens. *Memory* is the most that is alive at
# once beyond the model itself: [activations](../glossary.ipynb#activation), gradients, the optimizer's averages. **Predict**: LoRA
# trains one weight in a hundred. Does it need a hundredth of the memory?

# %%
from labkit.measure import peak_memory
from labkit.report import Table

ids = torch.randint(10, 1000, (16, 64), generator=torch.Generator().manual_seed(0))


def first_step(delta, body_trains):
    """Trained weights, and the peak memory of one step in MB: forward, backward, AdamW."""
    model = add_head(body, task.labels, "mean", seed=0)
    model.base_model.requires_grad_(body_trains)
    if delta:
        delta.attach(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])

    def step():
        model(input_ids=ids, labels=torch.zeros(16, dtype=torch.long)).loss.backward()
        optimizer.step()

    return f"{trainable(model):,}", f"{peak_memory(step) / 1e6:.1f}"


# %%
ways = {"all weights": (None, True), "LoRA": (LoRA(), False), "BitFit": (BitFit(), False),
        "ladder": (Ladder(), False), "head alone": (None, False)}  # fmt: skip
Table(("method", "trained weights", "peak memory (MB)"), tuple((name, *first_step(*way)) for name, way in ways.items()))

# %% [markdown]
# No. As soon as *one* trained tensor sits in the first layer, the backward pass goes through the whole model, and most activations
# are kept for it. LoRA and BitFit save only the gradients and averages of frozen weights, which are the smaller part here, because
# the model is small and the batch is not; with billions of weights it is the other way round. Only the ladder stays out of the
# backward pass of the body. Time is hardly saved: the forward pass is the same or longer.
#
# **Storage, and one model for many tasks.** The file of section 1 has the trained tensors, the settings, and the *fingerprint* of
# the body, because on other weights the delta would be nonsense:

# %% tags=["nbval-check-output"]
from labkit.errors import LabkitError
from labkit.fewshot.delta_tuning import load_delta
from labkit.measure import bytes_on_disk

again = load_delta(add_head(body, task.labels, "mean", seed=5), "artefacts/03_06_lora")
print("on a fresh copy of the body:", task.labels[labkit.predict(again, method, [text])[0].argmax()])
whole, file = bytes_on_disk(model), bytes_on_disk("artefacts/03_06_lora")
print(f"a copy of the model is {whole / file:.0f} times as large as the file")
try:
    load_delta(add_head(labkit.load_model("mini-bert-zh").model, task.labels, "mean"), "artefacts/03_06_lora")
except LabkitError as error:
    print("on another model:", str(error).split(" (")[0])

# %% [markdown]
# `Served` changes the delta of one model between two batches, and `Centre` is a folder of deltas, found by name and body.
#
# ## 9 · So, how small may a delta be?
#
# A few thousand of 1.5 million weights are enough for this task, and the accuracy is not lower but, with few examples, rather
# higher. What is saved is storage, a part of the memory, and the copies of the model; time is not.
#
# Can it be a handful of numbers? Aghajanyan et al. (2021, [paper](https://arxiv.org/abs/2012.13255)) call the number that a task
# needs its [intrinsic dimension](../glossary.ipynb#intrinsic-dimension). Lectures quote 89 % of the performance with five numbers, over
# 120 tasks. The paper behind it (Qin et al. 2021, [*Exploring universal intrinsic task
# subspace*](https://arxiv.org/abs/2110.07867)) says in its first version 87 % of prompt tuning's for 100 tasks from which the
# five directions were *learned*, and 65 % for 20 new tasks. In our picture the five directions are random, and this prompt is below
# the head alone. So five numbers are enough only if their directions were learned from such tasks.
#
# ## Read on
#
# - The papers linked above; He et al. 2022, [*Towards a unified view*](https://arxiv.org/abs/2110.04366): adapters, prefixes and
#   LoRA in one formula.
# - `labkit/fewshot/delta_tuning/`: [`base.py`](../../labkit/fewshot/delta_tuning/base.py) has the verbs, a short file each
#   method; [`search.py`](../../labkit/fewshot/delta_tuning/search.py) looks for places under a budget of weights.
# - Next, [03/07](07_instruction.ipynb): many tasks in one model, by instructions.
