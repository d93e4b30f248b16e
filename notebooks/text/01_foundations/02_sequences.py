# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Reading one word after another
#
# TODO: the lesson's question, and the problem behind it, in three sentences. It teaches
# RNN, GRU, LSTM, TextCNN, attention, ELMo.
#
# **After this lesson you can**
#
# - TODO: compute …, and say why;
# - TODO: measure it against …
#
# **45 minutes.** Before it:
#
# - 01/01, Words as vectors

# %%
import labkit

lab = labkit.setup(lesson="01/02")

# %% [markdown]
# Everything below follows from these strings. Change one, and run all cells again.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}

# %% [markdown]
# ## 1 · What happens
#
# TODO: one example with its real output, before anything is explained. **Predict** before you run the cell: TODO: what
# will happen to … ?

# %%
import torch

from labkit.foundations.sequences import sequences

values = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
sequences(values)

# %% [markdown]
# ## 2 · The idea
#
# TODO: the smallest case with its numbers, to be redone with a pencil; then the formula, with its number in the paper:
#
# $$p_i = \frac{e^{x_i}}{\sum_j e^{x_j}} .$$
#
# ### Your turn: the first step
#
# *●○○ · 5 minutes*
#
# TODO: what goes in and what comes out, with shapes: `values` (batch, d) → probabilities (batch, d). For example:
#
# ```python
# first_step(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))  # → tensor([[0.5000, 0.5000], [0.2689, 0.7311]])
# ```

# %%
from labkit.checks import sequences as check


def first_step(values): ...  # your turn


first_step = check.first_step(first_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# TODO: a nudge.
# </details>
#
# <details><summary>Hint 2</summary>
#
# TODO: the tool to use.
# </details>
#
# <details><summary>Hint 3</summary>
#
# TODO: nearly the line.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def first_step(values):
#     return values.softmax(-1)
# ```
# </details>

# %% tags=["nbval-check-output"]
print("each row sums to 1:", torch.allclose(first_step(values).sum(-1), torch.ones(2)))
print("the same as in the library:", torch.allclose(first_step(values), sequences(values)))

# %% [markdown]
# ## 3 · Play with it
#
# TODO: what to move, and a question that only moving it answers. The widget goes into
# `labkit/widgets/sequences.py`: compute(), draw(), a thin shell; until then this picture stands here.

# %%
from matplotlib.figure import Figure

from labkit.report import Plot

figure = Figure(figsize=(6, 2.8), layout="constrained")
axes = figure.subplots()
axes.bar(range(3), first_step(values)[0].tolist(), color="#0072B2")
axes.set(xlabel="value", ylabel="probability", xticks=range(3))
Plot(figure, "TODO: say in words what the picture shows.")

# %% [markdown]
# ### Your turn: the second step
#
# *●●○ · 5 minutes*
#
# TODO: `values` (batch, d) and the number of each row's right value, `labels` (batch,) → a loss, the mean of
# −log p(label). It will be trained with, so it must carry a gradient. For example:
#
# ```python
# second_step(torch.zeros(1, 2), torch.tensor([0]))  # → tensor(0.6931)
# ```


# %%
def second_step(values, labels): ...  # your turn


second_step = check.second_step(second_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# TODO: a nudge.
# </details>
#
# <details><summary>Hint 2</summary>
#
# TODO: the tool to use.
# </details>
#
# <details><summary>Hint 3</summary>
#
# TODO: nearly the line.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def second_step(values, labels):
#     return torch.nn.functional.cross_entropy(values, labels)
# ```
# </details>

# %% tags=["nbval-check-output"]
print(f"a guess costs log 3 = {second_step(values[1:], torch.tensor([0])):.4f}")

# %% [markdown]
# ## 4 · Does it pay?
#
# ### Your turn: all together
#
# *●●○ · 10 minutes*
#
# TODO: `rows` (batch, d), `labels` (batch,), `weights` (d, classes) → the weights after a step of gradient descent,
# `weights - gradient` of the loss of `rows @ weights`. For example, from weights of 0, where both classes have
# probability ½:
#
# ```python
# all_together(torch.tensor([[1.0]]), torch.tensor([0]), torch.zeros(1, 2))  # → tensor([[0.5000, -0.5000]])
# ```


# %%
def all_together(rows, labels, weights): ...  # your turn


all_together = check.all_together(all_together)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# TODO: a nudge.
# </details>
#
# <details><summary>Hint 2</summary>
#
# TODO: the tool to use.
# </details>
#
# <details><summary>Hint 3</summary>
#
# TODO: nearly the line.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def all_together(rows, labels, weights):
#     weights = weights.detach().requires_grad_()
#     (gradient,) = torch.autograd.grad(second_step(rows @ weights, labels), weights)
#     return (weights - gradient).detach()
# ```
# </details>
#
# TODO: the method beside its baseline, on several seeds, with the paper's figure in its column.

# %%
report = labkit.Report(title="TODO: what is compared")
for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(400, 3, generator=generator)
    labels = (rows + torch.randn(400, 3, generator=generator)).argmax(1)
    weights = torch.zeros(3, 3)
    for _ in range(20):
        weights = all_together(rows[:100], labels[:100], weights)
    answers = {"guessing": torch.randint(3, (300,), generator=generator), "trained": (rows[100:] @ weights).argmax(1)}
    for method, answer in answers.items():
        report.add(method, "toy", (answer == labels[100:]).float().mean().item(), seed=seed)
report.table({"trained": ("TODO", "TODO: paper, table, row")})

# %%
report.plot()

# %% tags=["nbval-check-output"]
difference = report.compare("trained", "guessing")
print("beyond chance:", difference.low > 0)

# %% [markdown]
# ## 5 · The answer
#
# TODO: the answer to the lesson's question, and a link to its section in the page of results.
#
# ## To read, and to go on
#
# - TODO: the paper, with the section that this lesson follows.
# - TODO: which lesson comes next, and which artefact of this one it picks up.
