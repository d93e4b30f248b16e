# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Prompts found by search
#
# Somebody wrote `it was ___ .` and chose "bad" and "great". For reviews that comes to mind at once. For a task of one's own
# it may take a day of trying, and at the end nobody knows whether the day was spent well. Can a few labelled examples find
# the prompt instead?
#
# **After this lesson you can**
#
# - let a language model write templates around given label words, by a beam search over all examples at once (LM-BFF);
# - let it choose the label words (LM-BFF), or swap trigger words along the gradient (AutoPrompt);
# - put solved examples into the context, and choose them by similarity;
# - say how much of a searched prompt's score is luck, before you believe it.
#
# **45 minutes.** Before it: [PET](02_pet.ipynb), whose templates, label words and training are used here unchanged.

# %%
import labkit

lab = labkit.setup(lesson="03/05")

# %% [markdown]
# SUBJ asks whether a sentence states a fact or an opinion. Try another task, a folder or a hub model, and run all again.

# %%
MODEL = "micro-bert-en"  # @param {type:"string"}
TASK = "world/subj"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · One task, many prompts
#
# `few_shot` draws 16 training rows of each class, and as many others for **dev**. The searches below look for prompts with
# the first and choose by the second. Nothing else has a label: were the whole test set at hand, one would train on it.
#
# Here are prompts that a person might write, each asked without any training.

# %%
from dataclasses import replace

from labkit.fewshot.pet import PET
from labkit.report import Table

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)


def untrained(template, words, split):
    """The cloze's accuracy as it is, in per cent."""
    method = PET.for_task(replace(task, words=words), tokenizer, str(template))
    return 100 * labkit.evaluate(model, method, task, split, progress=False)[task.metric]


names = task.labels  # objective, subjective
written = [
    (task.patterns[0], ("fact", "opinion")),
    ("{text} this is a {mask} .", ("fact", "opinion")),
    ("{text} it was {mask} .", ("fact", "opinion")),
    ("{text} that is {mask} .", ("plain", "personal")),
    ("{text} that is {mask} .", ("city", "great")),
]
rows = []
for template, pair in written:
    words = {name: (word,) for name, word in zip(names, pair, strict=True)}
    scores = [f"{untrained(template, words, split):.1f}" for split in ("dev", "test")]
    rows.append((template, " / ".join(pair), *scores))
Table(("template", "words", f"dev, {len(task.splits['dev'])} rows (%)", "test (%)"), tuple(rows))

# %% [markdown]
# Five sensible attempts, and none that is better than a coin: this model has not been asked such questions in its
# pre-training. Training helps, as in the last lesson. But is there a prompt that it understands as it is?
#
# ## 2 · A template that fits all examples
#
# Gao, Fisch and Chen (2021, [*Making pre-trained language models better few-shot learners*](https://arxiv.org/abs/2012.15723),
# LM-BFF, §5.2) turn the question round. The label words $M(y)$ are given; a language model is asked for the words *around*
# them. One template $T$ must suit every training row $(x, y)$, so its log-probabilities add up:
#
# $$T^* = \arg\max_T \sum_{(x, y)} \log P\big(T \mid x, M(y)\big), \qquad
# \log P(T \mid \cdot) = \sum_{j} \log P\big(t_j \mid t_1, \dots, t_{j-1}, x, M(y)\big) .$$
#
# Their generator is **T5**, pre-trained to fill spans, at three billion parameters. A T5 as small as our models learns next
# to nothing of this, so the experiments here use **the masked LM itself**: a fixed number of blanks beside the label word,
# filled from left to right, the rest still blank. (Filling in this way is a *pseudo*-probability: a masked LM's conditionals
# belong to no common joint distribution.) With a real T5 it is one argument, `search_template(…, generator=(t5,
# its_tokenizer))`, and the same beam.
#
# Here is the first word, by hand: text, blank, label word, and the sum over all training rows.

# %%
import torch

own = [task.words[name][0] for name in names]
total = torch.zeros(len(tokenizer))
for row in task.splits["train"]:
    inputs = tokenizer(
        f"{row['text']} {tokenizer.mask_token} {own[row['label']]} .", return_tensors="pt"
    )
    at = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
    with torch.no_grad():
        total += model(**inputs).logits[0, at].log_softmax(0)

best = total.topk(8)
Table(
    ("word before the label word", "log P, nats a row"),
    tuple(
        (tokenizer.decode([number]), f"{value / len(task.splits['train']):.2f}")
        for number, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ),
)

# %% [markdown]
# A *beam search* goes on from there. It keeps the `beam` best beginnings; each is extended by every word; of all these, the
# `beam` best are kept, and so on.
#
# ### Your turn: a step of the beam
#
# Given the scores of the templates so far $(\text{beams},)$ and the log-probability of every next word for every row
# $(\text{beams}, \text{rows}, \text{vocabulary})$, return the `width` best continuations, best first: their scores, which
# template each extends, and which word it adds, each $(\text{width},)$.

# %%
from labkit.checks import auto_prompts as check


def beam_step(scores, log_probabilities, width): ...  # your turn


check.beam_step(beam_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One template for all rows: sum the log-probabilities over dimension 1. What is then left is a table (beams, vocabulary).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Add each template's own score to its row of the table, `scores[:, None]`, and flatten the table: its `topk` are the best of
# all.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A place in the flattened table is `parent * vocabulary + word`: divide with `//` and `%`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def beam_step(scores, log_probabilities, width):
#     total = scores[:, None] + log_probabilities.sum(1)
#     values, places = total.flatten().topk(width)
#     vocabulary = log_probabilities.shape[2]
#     return values, places // vocabulary, places % vocabulary
# ```
# </details>
#
# The library's beam, around one step as yours. All templates and all rows go through the model together, and only the blank
# in question through its head; nothing else is needed to make a search a matter of seconds.

# %%
import inspect

from labkit.fewshot.auto_prompt.infilling import masked_beam

source = inspect.getsource(masked_beam)
print(
    source.partition('"""')[0].split("\n")[1] + " …",
    source.rpartition('"""')[2].lstrip("\n"),
    sep="\n",
)

# %% [markdown]
# Watch it grow. What the model finds **likely** (log P) and what **works** (dev) stand side by side.
#
# 1. Go through the blanks. Do the beginnings that lead the beam stay in it?
# 2. Does the likeliest template have the best dev score? Make the beam 12 wide: does a better one turn up further down?
# 3. Put the words before the text (`layout`).

# %%
from labkit.widgets import template_search

template_search(model, tokenizer, task)

# %% [markdown]
# Likely is not useful: a word that continues any sentence of this world, such as a name, is likely after all of them and says
# nothing about facts and opinions. So generation only proposes. The library ranks the proposals of several layouts and lengths
# by their loss on the training rows, tries the best few on dev, and keeps the hand-written prompt among them: **on dev, the
# result is never below it**. (Gao et al. fine-tune a model for each of a hundred proposals; `steps=60` does so here, with less
# patience. The default asks the untrained model.)

# %%
from labkit.fewshot.auto_prompt import search_template

found = search_template(model, tokenizer, task)
Table(
    ("template", "dev (%)", "test (%)"),
    tuple(
        (
            f"{one.template}{'  ← by hand' if one.start else ''}",
            f"{100 * one.score:.1f}",
            f"{untrained(one.template, one.words, 'test'):.1f}",
        )
        for one in found.tried
    ),
)

# %% tags=["nbval-check-output"]
print(
    "the best is at least as good as the hand-written one, on dev:",
    found.score >= found.start.score,
)
print("templates that came as far as dev:", len(found.tried))

# %% [markdown]
# ## 3 · Label words
#
# The other half (LM-BFF, §5.1): the template is given, the words are sought. For each class $c$, with training rows $D_c$, the
# vocabulary is first cut down to the $k$ words that fit its blanks best,
#
# $$V_c = \operatorname{top\text{-}k}_{v} \sum_{x \in D_c} \log p\big(\texttt{[MASK]} = v \mid T(x)\big) ;$$
#
# then every way of taking one word from each $V_c$ is rated by its accuracy on the training rows, and the best are tried on
# dev. All of it reads the same table of log-probabilities, computed once: a search costs one pass over the rows. (Where there
# are too many combinations, as with fifteen topics, one class's word after the other is improved.)
#
# ### Your turn: the words of a class
#
# Log-probabilities at the blank $(\text{rows}, \text{vocabulary})$, labels $(\text{rows},)$ and $k$ in; the ids of each
# class's $k$ best words, best first, out: $(\text{classes}, k)$.


# %%
def rank_words(log_probabilities, labels, k): ...  # your turn


check.rank_words(rank_words)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `log_probabilities[labels == c]` are the rows of class `c`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Sum them over the rows. Summing probabilities instead would let one row that is sure of a word decide for all.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.topk(k).indices` is sorted, best first; `torch.stack` puts the classes under one another.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def rank_words(log_probabilities, labels, k):
#     classes = int(labels.max()) + 1
#     return torch.stack(
#         [log_probabilities[labels == c].sum(0).topk(k).indices for c in range(classes)]
#     )
# ```
# </details>

# %%
from labkit.fewshot.auto_prompt import search_words

chosen = search_words(model, tokenizer, task, task.patterns[0])
shown = [*chosen.tried[:6], chosen.start]
Table(
    ("words for " + " / ".join(names), "dev (%)", "test (%)"),
    tuple(
        (
            " / ".join(some[0] for some in one.words.values())
            + ("  ← by hand" if one.start else ""),
            f"{100 * one.score:.1f}",
            f"{untrained(one.template, one.words, 'test'):.1f}",
        )
        for one in shown
    ),
)

# %% [markdown]
# Look at the words. They do not *mean* the classes; it is enough that the model writes them more readily after one kind of
# sentence than after the other. And look at the two columns: what the choice promises on dev, test does not keep. *Auto T + L* is both: first a template, then words for it.
#
# ## 4 · Swapping words along the gradient
#
# AutoPrompt (Shin et al. 2020, [*Eliciting knowledge from language models with automatically generated
# prompts*](https://arxiv.org/abs/2010.15980)) does not care whether a prompt reads like language. Some *trigger* tokens stand
# between text and blank, the same in every row, and the model stays as it is. How would the loss $L$ change if trigger $t$
# became word $w$? To first order, by the step that its embedding takes, along the gradient:
#
# $$L(w) - L(\text{now}) \approx (e_w - e_{\text{now}}) \cdot \sum_i \frac{\partial L}{\partial e_t^{(i)}} ,$$
#
# where $i$ runs over the rows, because the trigger stands in all of them. One backward pass rates every word of the vocabulary.
#
# ### Your turn: the first order
#
# The gradient at the trigger in each row $(\text{rows}, d)$, the table of embeddings $(\text{vocabulary}, d)$ and the id of the
# word that stands there now; the expected change of the loss for every word, $(\text{vocabulary},)$.


# %%
def first_order(gradient, table, now): ...  # your turn


check.first_order(first_order)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Sum the gradient over the rows first: a vector $(d,)$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `table - table[now]` is the step of each word, $(\text{vocabulary}, d)$.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A matrix times a vector, `@`. The word that stands there now must come out as 0.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def first_order(gradient, table, now):
#     return (table - table[now]) @ gradient.sum(0)
# ```
# </details>
#
# Is the approximation any good? Words are far apart, and a loss is no straight line. So we ask: 150 words at one trigger,
# what the first order expects, and what the loss really does.

# %%
import numpy as np
from matplotlib.figure import Figure

from labkit.fewshot.auto_prompt import first_order_scores
from labkit.fewshot.auto_prompt.candidates import whole_words
from labkit.report import Plot

method = PET.for_task(task, tokenizer, "{text} {soft:that it is} {mask} .")
batch = method.collate(task.splits["train"])
expected = first_order_scores(model, method, batch)[1]  # of the second trigger: (vocabulary,)

usable = whole_words(tokenizer, len(tokenizer)).nonzero().flatten()
picked = usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))[:150]]
places = batch["soft_mask"].nonzero().view(-1, 3, 2)[:, 1]  # (rows, 2): where it stands
with torch.no_grad():
    base, real = float(method.loss(model, batch)), []
    for number in picked:
        ids = batch["input_ids"].clone()
        ids[places[:, 0], places[:, 1]] = number
        real.append(float(method.loss(model, {**batch, "input_ids": ids})) - base)

x, y = expected[picked].numpy(), np.array(real)
figure = Figure(figsize=(5.6, 3.6), layout="constrained")
axes = figure.subplots()
axes.axhline(0, color="#888888", lw=0.8)
axes.axvline(0, color="#888888", lw=0.8)
axes.scatter(x, y, s=14, color="#0072B2", alpha=0.7)
axes.set(
    xlabel="expected by first order (nats)",
    ylabel="true change of the loss (nats)",
    title="A word swapped at one trigger",
)
axes.spines[["top", "right"]].set_visible(False)
order = np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1]
Plot(
    figure,
    f"Scatter plot of 150 words: true change of the loss against the first-order estimate; rank correlation {order:.2f}.",
)

# %% tags=["nbval-check-output"]
print("the first order tells something of the order of the words:", bool(order > 0.1))
print(
    "and not its size: the largest estimate is off by",
    "more" if abs(x - y).max() > 0.1 else "less",
    "than 0.1 nats",
)

# %% [markdown]
# It is a hint, not a measurement. So AutoPrompt takes the $k$ best words by first order, tries them truly, and accepts the best
# one only if the loss falls. Then it turns to the next trigger.

# %%
from labkit.fewshot.auto_prompt import search_triggers

swapped = search_triggers(model, tokenizer, task)
print("training loss, swap by swap:", " → ".join(f"{loss:.3f}" for loss in swapped.losses))
Table(
    ("template", "dev (%)", "test (%)"),
    tuple(
        (
            f"{one.template}{'  ← by hand' if one.start else ''}",
            f"{100 * one.score:.1f}",
            f"{untrained(one.template, one.words, 'test'):.1f}",
        )
        for one in [*swapped.tried[:4], swapped.start]
    ),
)

# %% tags=["nbval-check-output"]
falls = all(
    after < before for before, after in zip(swapped.losses, swapped.losses[1:], strict=False)
)
print("every accepted swap lowered the training loss:", falls)

# %% [markdown]
# ## 5 · Solved examples in the context
#
# LM-BFF's third part (§6) changes the input instead. After the row and its blank come *demonstrations*, one row of each class
# with its word filled in. Each is drawn from the half of its class that is most similar to the row (the paper: Sentence-BERT;
# here: the mean of the untrained encoder's states), anew at every training step; an answer averages over a few draws.

# %%
from labkit.fewshot.auto_prompt import with_demonstrations

hand = PET.for_task(task, tokenizer)
shown_to = with_demonstrations(hand, model, task.splits["train"], samples=1)
print(tokenizer.decode(shown_to.collate(task.splits["test"][:1])["input_ids"][0]))

# %% [markdown]
# ## 6 · Measured
#
# Now with training: four tasks, 16 examples a class, several draws, and PET's 60 steps after every search except AutoPrompt's
# own, which leaves the model as it is (`python benchmarks/auto_prompts.py search`). Beside it what the slides of the EasyNLP
# team report for the same methods with RoBERTa, as a mean over eight real tasks.

# %%
from labkit.report import results

measured = results("auto_prompts")
slides = {
    "PET, hand-written": 78.01,
    "LM-BFF (auto T)": 78.42,
    "LM-BFF (auto L)": 78.61,
    "LM-BFF (auto T+L)": 77.06,
}
plain = labkit.Report(replace(row, extra={}) for row in measured.rows)  # what was found: below
plain.bounds = measured.bounds
plain.table(slides, source="CP-Tuning's table in the EasyNLP slides: RoBERTa, mean of eight tasks")

# %%
plain.plot(task="world/subj", title="world/subj, 16 examples a class")


# %% tags=["nbval-check-output"]
def verdict(difference):
    """Whether the 95 % interval of a paired difference leaves 0 out, and on which side."""
    points = f"{100 * difference.difference:+5.1f} points"
    if difference.low > 0:
        return f"{points}, ahead"
    return f"{points}, behind" if difference.high < 0 else f"{points}, no difference beyond noise"


for name in dict.fromkeys(row.task for row in measured.rows):
    print(name)
    methods = dict.fromkeys(row.method for row in measured.rows if row.task == name)
    for method_name in [one for one in methods if one != "PET, hand-written"]:
        compared = measured.compare(method_name, "PET, hand-written", task=name)
        print(f"    {method_name:<22} against PET {verdict(compared)}")

# %% [markdown]
# Three draws make wide intervals; read the table for its shape. On reviews and on news no search gains more than a point, and
# trained demonstrations do harm. On facts against opinions and on questions with their answers, where it is hard
# to say what one should write, a searched template is worth five points and more, and label words on top of it a little
# again. AutoPrompt's frozen model holds its own where there are two classes; with fifteen its triggers, one set for all, are
# far too little. (In lesson 03/04 the same searches stand in the table of eight tasks, with five draws.)
#
# What was found, draw by draw:

# %%
Table(
    ("task", "draw", "method", "template", "words"),
    tuple(
        (row.task, str(row.seed), row.method, row["template"], row["words"])
        for row in measured.rows
        if row["template"] and row.method != "AutoPrompt, then PET" and row.task != "world/news"
    ),
)

# %% [markdown]
# ## 7 · How much of it is luck?
#
# Each search ends with "take the best on dev". Suppose none of its $n$ candidates were better than another: all answer a
# fraction $p$ of all rows. On $m$ dev rows each scores $B/m$ with $B \sim \mathrm{Binomial}(m, p)$, and the best of $n$
# independent ones scores on average
#
# $$\mathbb{E}\Big[\max_i \frac{B_i}{m}\Big] = \frac{1}{m} \sum_{b=0}^{m-1} \Big(1 - P(B \le b)^n\Big) \;>\; p .$$
#
# This is the *winner's curse*: the score that chose the winner is too high, by an amount that anyone can compute beforehand.

# %%
from math import comb


def best_of(n, m, p):
    """Expected dev score of the best of n equal candidates on m rows, in [0, 1]."""
    below = np.cumsum([comb(m, b) * p**b * (1 - p) ** (m - b) for b in range(m + 1)])
    return float((1 - below[:m] ** n).sum() / m)


counts = [1, 2, 4, 9, 16, 31, 64]
figure = Figure(figsize=(5.6, 3.4), layout="constrained")
axes = figure.subplots()
for (m, mark), colour in zip({8: "o", 32: "s", 128: "^", 512: "D"}.items(), ("#D55E00", "#0072B2", "#009E73", "#CC79A7"), strict=True):  # fmt: skip
    axes.plot(
        counts,
        [100 * best_of(n, m, 0.7) for n in counts],
        marker=mark,
        color=colour,
        label=f"{m} dev rows",
    )
axes.axhline(70, color="#555555", ls="--", lw=1)
axes.annotate(
    "what every one of them is worth: 70",
    (64, 70),
    (0, -12),
    textcoords="offset points",
    fontsize=9,
    ha="right",
)
axes.set_xscale("log", base=2)
axes.set_xticks(counts, map(str, counts))
axes.set(
    xlabel="candidates",
    ylabel="dev score of the best (%)",
    title="The best of n prompts that are equally good",
)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
Plot(
    figure,
    "Expected dev score of the best of n equal candidates, for 8, 32, 128 and 512 dev rows; the true score is 70 %.",
)

# %% tags=["nbval-check-output"]
for n, m in ((9, 32), (31, 32), (31, 512)):
    print(
        f"{n:>2} equal candidates of 70 %, {m:>3} dev rows: the best is expected at {100 * best_of(n, m, 0.7):.1f} %"
    )

# %% [markdown]
# And in the measurements? Dev and test scores of the winners below are both before any training, so that nothing but the choice
# lies between them.

# %%
gaps = {}
for row in measured.rows:
    if row["dev"] is not None and row.method != "AutoPrompt, then PET":
        gaps.setdefault(row.method, []).append((row["dev"], row["untrained"]))
Table(
    ("method", "dev of the chosen (%)", "the same on test (%)", "dev − test (points)"),
    tuple(
        (
            name,
            f"{100 * np.mean([dev for dev, _ in some]):.1f}",
            f"{100 * np.mean([test for _, test in some]):.1f}",
            f"{100 * np.mean([dev - test for dev, test in some]):+.1f}",
        )
        for name, some in gaps.items()
    ),
)

# %% [markdown]
# The hand-written prompt was not chosen by these rows, so its two scores differ by chance alone. Three remedies follow from the
# formula: fewer candidates, more dev rows, or no choice at all but a vote among the best (LM-BFF's ensemble, 03/02's section
# 5). And one rule: **report the test score, never the one that chose**.
#
# ## Read on
#
# - Gao, Fisch & Chen 2021, [LM-BFF](https://arxiv.org/abs/2012.15723); Shin et al. 2020,
#   [AutoPrompt](https://arxiv.org/abs/2010.15980); Perez, Kiela & Cho 2021, [*True few-shot learning with language
#   models*](https://arxiv.org/abs/2105.11447), on choosing prompts with few examples.
# - `labkit/fewshot/auto_prompt/`: [`templates.py`](../../labkit/fewshot/auto_prompt/templates.py),
#   [`label_words.py`](../../labkit/fewshot/auto_prompt/label_words.py),
#   [`triggers.py`](../../labkit/fewshot/auto_prompt/triggers.py),
#   [`demonstrations.py`](../../labkit/fewshot/auto_prompt/demonstrations.py), and
#   [`t5.py`](../../labkit/fewshot/auto_prompt/t5.py) for the paper's own generator.
# - Next, [03/06](06_delta_tuning.ipynb): the prompt stays, and only a small part of the model learns. The whole table with
#   these methods beside CP-Tuning is in [03/04](04_cp_tuning.ipynb).
