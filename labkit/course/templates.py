"""What a new lesson begins with: its text, its code, its test and its check, which run as they stand.

@WORDS@ between at-signs are filled in; TODO marks what its author replaces: `labkit notebooks check` finds each TODO
that is left in the text.
"""

from __future__ import annotations

TEXT = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # @TITLE@
#
# TODO: three sentences: the problem that a learner has, and the idea that solves it. It teaches
# @SYSTEMS@.
#
# **After this lesson you can**
#
# - TODO: compute …, and say why;
# - TODO: measure it against …
#
# **@MINUTES@ minutes.** Before it:
#
@NEEDS@

# %%
import labkit

lab = labkit.setup(lesson="@KEY@")

# %% [markdown]
# Everything below follows from these strings. Change one, and run all cells again.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}

# %% [markdown]
# ## 1 · The idea
#
# TODO: the formula, with its number in the paper:
#
# $$p_i = \\frac{e^{x_i}}{\\sum_j e^{x_j}} .$$
#
# And the smallest code that shows it:

# %%
import torch

values = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
by_hand = values.exp() / values.exp().sum(-1, keepdim=True)
by_hand

# %% tags=["nbval-check-output"]
print("shape:", tuple(by_hand.shape))

# %% [markdown]
# ## 2 · In the library
#
# `labkit/@PACKAGE@/@NAME@.py` does the same. TODO: what it adds, line by line.

# %% tags=["nbval-check-output"]
from labkit.@PACKAGE@.@NAME@ import @NAME@

print("the same as by hand:", torch.allclose(@NAME@(values), by_hand))

# %% [markdown]
# ## 3 · Play with it
#
# TODO: what to move, and what to look for. The widget goes into `labkit/widgets/@NAME@.py`:
# compute(), draw(), a thin shell; until then this picture stands here.

# %%
from matplotlib.figure import Figure

from labkit.report import Plot

figure = Figure(figsize=(6, 2.8), layout="constrained")
axes = figure.subplots()
axes.bar(range(3), @NAME@(values)[0].tolist(), color="#0072B2")
axes.set(xlabel="value", ylabel="probability", xticks=range(3))
Plot(figure, "TODO: say in words what the picture shows.")

# %% [markdown]
# ## 4 · Does it pay?
#
# TODO: the method beside its baseline, on several seeds, with the paper's figure in its column.

# %%
report = labkit.Report(title="TODO: what is compared")
for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(400, 3, generator=generator)
    noisy = clean + torch.randn(400, 3, generator=generator)
    guess, found = torch.randint(3, (400,), generator=generator), @NAME@(noisy).argmax(1)
    for method, answer in (("guessing", guess), ("@NAME@", found)):
        report.add(method, "toy", (answer == clean.argmax(1)).float().mean().item(), seed=seed)
report.table({"@NAME@": ("TODO", "TODO: paper, table, row")})

# %%
report.plot()

# %% tags=["nbval-check-output"]
difference = report.compare("@NAME@", "guessing")
print("beyond chance:", difference.low > 0)

# %% [markdown]
# ## Your turn: the first step
#
# TODO: what goes in, what comes out, with shapes: `values` (batch, d) → (batch, d).

# %%
from labkit.checks import @NAME@ as check


def first_step(values): ...


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
# TODO: nearly the line itself.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def first_step(values):
#     return values.softmax(-1)
# ```
# </details>
#
# ## Your turn: the second step
#
# TODO: `values` (batch, d) → (batch,).


# %%
def second_step(values): ...


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
# TODO: nearly the line itself.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def second_step(values):
#     return values.argmax(-1).float()
# ```
# </details>
#
# ## To read, and to go on
#
# - TODO: the paper, with the section that this lesson follows.
# - TODO: which lesson comes next, and which artefact of this one it picks up.
"""

CODE = '''\
"""TODO: what it is, in a sentence, and its paper: authors, year, title.

It covers @SYSTEMS@.
TODO: what is notable in it: the formula, with its number in the paper.
"""

from __future__ import annotations

from torch import Tensor


def @NAME@(values: Tensor) -> Tensor:
    """TODO: what it computes: (batch, d) → (batch, d), each row a distribution. TODO: section and equation."""
    return values.softmax(-1)  # (batch, d)
'''

TEST = '''\
"""TODO: what must be true of @NAME@, and that its checks name each mistake."""

from __future__ import annotations

import pytest
import torch

from labkit.checks import @NAME@ as check
from labkit.@PACKAGE@.@NAME@ import @NAME@

RIGHT = {
    check.first_step: lambda values: values.softmax(-1),
    check.second_step: lambda values: values.argmax(-1).float(),
}
WRONG = [
    (check.first_step, lambda values: values.softmax(0), "runs over the batch"),
    (check.first_step, lambda values: values.log_softmax(-1), "log-probabilities"),
    (check.second_step, lambda values: values.argmin(-1).float(), "the least likely"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


def test_it_agrees_with_the_formula():
    values = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(@NAME@(values), values.exp() / values.exp().sum(-1, keepdim=True))


@pytest.mark.parametrize("exercise", RIGHT, ids=lambda exercise: exercise.name)
def test_the_solution_passes(exercise):
    assert exercise(RIGHT[exercise]).passed


@pytest.mark.parametrize(("exercise", "function", "said"), WRONG)
def test_a_mistake_is_named(exercise, function, said):
    verdict = exercise(function)
    assert verdict.passed is False and said in verdict.message
'''

CHECK = '''\
"""Checks of lesson @KEY@, @TITLE@: `from labkit.checks import @NAME@ as check`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from labkit.checks.exercise import exercise, expect, tensor

LESSON = "@KEY@"


@exercise(LESSON)
def first_step(function: Callable[[Tensor], Tensor]) -> None:
    """TODO: what goes in and what comes out: (batch, d) → (batch, d)."""
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    found = tensor(function(values.clone()), (4, 6))
    mistakes = [
        (values.softmax(0), "each column sums to 1, not each row: your softmax runs over the batch (dim 0)"),
        (values.log_softmax(-1), "these are log-probabilities: take exp of what you have, or the softmax"),
    ]
    expect(found, values.softmax(-1), "each row must be a distribution over its values", mistakes)


@exercise(LESSON)
def second_step(function: Callable[[Tensor], Tensor]) -> None:
    """TODO: (batch, d) → (batch,)."""
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    found = tensor(function(values.clone()), (4,))
    mistakes = [(values.argmin(-1), "this is the place of the least likely value: take the largest")]
    expect(found, values.argmax(-1), "the place of the largest value of each row is wanted", mistakes)
'''
