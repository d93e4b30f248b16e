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
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/subj"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · One task, many prompts
#
# `few_shot` draws 16 training rows of each class, and as many others for **dev**. The searches below look for prompts with
# the first and choose by the second. Nothing else has a label: were the whole test set at hand, one would train on it.
#
# Here are prompts that a person might write, each asked without any training. (Of the 1000 test rows this page asks the
# first 400, to be quick.)

# %%
from dataclasses import replace

from labkit.fewshot.pet import PET
from labkit.report import Table

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
task = replace(task, splits={**task.splits, "test": task.splits["test"][:400]})


known = {}  # what was asked before


def untrained(template, words, split):
    """The cloze's accuracy as it is, in per cent."""
    asked = (str(template), tuple(words.items()), split)
    if asked not in known:
        method = PET.for_task(replace(task, words=words), tokenizer, str(template))
        known[asked] = 100 * labkit.evaluate(model, method, task, split, progress=False)[task.metric]
    return known[asked]


names = task.labels  # objective, subjective
written = [
    (task.patterns[0], ("fact", "opinion")),
    ("{text} this is a {mask} .", ("fact", "opinion")),
    ("{text} it was {mask} .", ("fact", "opinion")),
    ("{text} that is my {mask} .", ("story", "opinion")),
    ("{text} that is {mask} .", ("city", "great")),
]
rows = []
for template, pair in written:
    words = {name: (word,) for name, word in zip(names, pair, strict=True)}
    scores = [f"{untrained(template, words, split):.1f}" for split in ("dev", "test")]
    rows.append((template, " / ".join(pair), *scores))
Table(("template", "words", f"dev, {len(task.splits['dev'])} rows (%)", "test (%)"), tuple(rows))

# %% [markdown]
# Of five attempts, only the first is clearly better than a coin, and it is far from the 91 % that the best reader would
# reach. Three are right in exactly half of the rows: one of their two words is the likelier one after *every* sentence, so
# all rows get the same class. Training helps: in lesson [03/03](03_soft_prompts.ipynb) PET took this task from 62 to 81 %.
# But is there a prompt that the model understands as it is?
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


@torch.no_grad()
def next_word(beginning, blanks):
    """log p of the word after the ids `beginning`, the first of `blanks` blanks, in each row: (rows, vocabulary)."""
    found = []
    for row in task.splits["train"]:
        holes = " ".join([tokenizer.mask_token] * (len(beginning) + blanks))
        inputs = tokenizer(f"{row['text']} {holes} {own[row['label']]} .", return_tensors="pt")
        ids = inputs["input_ids"][0]
        places = (ids == tokenizer.mask_token_id).nonzero().flatten()
        ids[places[: len(beginning)]] = torch.tensor(beginning, dtype=torch.long)
        found.append(model(**inputs).logits[0, places[len(beginning)]].log_softmax(0))
    return torch.stack(found)


best = next_word([], 1).sum(0).topk(8)
Table(
    ("word before the label word", "log P, nats per row"),
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
# *●●● · 12 minutes*
#
# Given the scores of the templates so far $(\text{beams},)$ and the log-probability of every next word for every row
# $(\text{beams}, \text{rows}, \text{vocabulary})$, return the `width` best continuations, best first, as three tensors: their
# scores, which template each extends, and which word it adds, each $(\text{width},)$.
#
# For example, two templates, one row and three words: `scores = [-1, -2]`,
# `log_probabilities = [[[-3, -1, -4]], [[-0.5, -2, -5]]]`, `width = 2`. The sums are `[[-4, -2, -5], [-2.5, -4, -7]]`, so the
# result is `[-2, -2.5]`, `[0, 1]` and `[1, 0]`: template 0 with word 1, then template 1 with word 0.

# %%
from labkit.checks import auto_prompts as check


def beam_step(scores, log_probabilities, width): ...  # your turn


beam_step = check.beam_step(beam_step)

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
# With your step, the beam is a loop: two words before the label word, four templates at a time.

# %%
beginnings, scores = [[]], torch.zeros(1)
for blanks in (2, 1):
    gains = torch.stack([next_word(some, blanks) for some in beginnings])  # (beams, rows, vocabulary)
    scores, parents, added = beam_step(scores, gains, 4)
    beginnings = [[*beginnings[p], word] for p, word in zip(parents.tolist(), added.tolist(), strict=True)]
    print(f"words: {len(beginnings[0])}")
    for some, value in zip(beginnings, (scores / len(task.splits["train"])).tolist(), strict=True):
        print(f"    {tokenizer.decode(some):<12}{value:6.2f} nats per row")

# %% [markdown]
# After one word "a" leads, but after two words "this was": a beginning that is likely need not have a likely continuation, so
# several of them are kept.
#
# Here is the library's beam, around one step as yours. All templates and all rows go through the model together, and only the blank
# in question through its head; nothing else is needed to make a search a matter of seconds.

# %%
import inspect

from labkit.fewshot.auto_prompts.infilling import masked_beam

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
# Likely is not useful: a word that continues any sentence of this world, such as "is", is likely after all of them and says
# nothing about facts and opinions. So generation only proposes. The library ranks the proposals of several layouts and lengths
# by their loss on the training rows, tries the best few on dev, and keeps the hand-written prompt among them: **on dev, the
# result is never below it**. (Gao et al. fine-tune a model for each of a hundred proposals; `steps=60` does so here, with less
# patience. The default asks the untrained model. Beam and rows are halved on this page, to be quick.)

# %%
from labkit.fewshot.auto_prompts import search_template

found = search_template(model, tokenizer, task, beam=8, rows=16)
Table(
    ("template", "dev (%)", "test (%)"),
    tuple(
        (
            f"{one.template}{'  ← by hand' if one.start else ''}",
            f"{100 * one.score:.1f}",
            f"{untrained(one.template, one.words, 'test'):.1f}",
        )
        for place, one in enumerate(found.tried)
        if place < 5 or one.start
    ),
)

# %% tags=["nbval-check-output"]
print(
    "the best is at least as good as the hand-written one, on dev:",
    found.score >= found.start.score,
)
print("templates that came as far as dev:", len(found.tried))

# %% [markdown]
# The winner takes the untrained cloze from 61 % to 80 % on the test rows, and no weight was changed. That is no accident. The
# pre-training text of this world announces some passages with "now comes pure opinion ." or "now comes pure fact .": the
# model *has* been asked this question, in front of the text rather than after it. Nobody told the search so; the rows and the
# model's own likelihoods were enough. It proposes nonsense, too ("an annoying is …"), and the few dev rows have to sort it out.
#
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
# *●●○ · 8 minutes*
#
# Log-probabilities at the blank $(\text{rows}, \text{vocabulary})$, labels $(\text{rows},)$ and $k$ in; the ids of each
# class's $k$ best words, best first, out: a tensor $(\text{classes}, k)$.
#
# For example, three rows and three words: `log_probabilities = [[-1, -2, -3], [-4, -2, -1], [-3, -1, -2]]`,
# `labels = [0, 1, 0]`, `k = 2`. The rows of class 0 sum to `[-4, -3, -5]`, so its best words are 1 and 0; class 1 has one row,
# whose best words are 2 and 1. The result is `[[1, 0], [2, 1]]`.


# %%
def rank_words(log_probabilities, labels, k): ...  # your turn


rank_words = check.rank_words(rank_words)

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
from labkit.fewshot.auto_prompts import search_words
from labkit.fewshot.auto_prompts.candidates import blank_log_probabilities

train = task.splits["train"]
blanks = blank_log_probabilities(model, tokenizer, PET.for_task(task, tokenizer).template, train)  # (rows, vocabulary)
ids = rank_words(blanks, torch.tensor([row["label"] for row in train]), 8)
for name, some in zip(names, ids.tolist(), strict=True):
    print(f"{name:<12}", ", ".join(tokenizer.convert_ids_to_tokens(some)))

# %% [markdown]
# These are the first eight words of each $V_c$: the same words for both classes, in another order, because what is likely in
# this blank is likely after every passage. So the search below takes longer lists, and looks for a pair of words whose
# *difference* tells the classes apart.

# %%
chosen = search_words(model, tokenizer, task, task.patterns[0])
shown = [one for place, one in enumerate(chosen.tried) if place < 4 or one.start]
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
# Look at the words. Most of them do not *mean* the classes; it is enough that the model writes them more readily after one kind
# of passage than after the other. All are better than the words by hand. And look at the two columns: the pair that is best
# on dev promises more than it keeps, and on test another pair is ahead of it. *T + L* is both: first a template, then words
# for it.
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
# *●●○ · 8 minutes*
#
# The gradient at the trigger in each row $(\text{rows}, d)$, the table of embeddings $(\text{vocabulary}, d)$ and the id of the
# word that stands there now in; the expected change of the loss for every word, $(\text{vocabulary},)$, out.
#
# For example, two rows, three words and $d = 2$: `gradient = [[1, 0], [1, 2]]`, `table = [[0, 0], [1, 0], [0, -1]]`, `now = 1`.
# The gradients sum to (2, 2), the steps from word 1 are (−1, 0), (0, 0) and (−1, −1), and the result is `[-2, 0, -4]`: word 2
# is expected to lower the loss most.


# %%
def first_order(gradient, table, now): ...  # your turn


first_order = check.first_order(first_order)

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
# Is the approximation any good? Words are far apart, and the loss is not linear in an embedding. So we take 80 words at one
# trigger, and compare what the first order expects with what the loss really does.

# %%
import numpy as np
from matplotlib.figure import Figure

from labkit.fewshot.auto_prompts.candidates import whole_words
from labkit.report import Plot

method = PET.for_task(task, tokenizer, "{text} {soft:that it is} {mask} .")
batch = method.collate(task.splits["train"][:16])
places = batch["soft_mask"].nonzero().view(-1, 3, 2)[:, 1]  # (rows, 2): where the second of three triggers stands

embedding, kept = model.get_input_embeddings(), []
handle = embedding.register_forward_hook(lambda module, given, output: kept.append(output))  # (rows, tokens, d)
loss = method.loss(model, batch)
handle.remove()
(slopes,) = torch.autograd.grad(loss, kept[0])
now = int(batch["input_ids"][places[0, 0], places[0, 1]])
expected = first_order(slopes[places[:, 0], places[:, 1]], embedding.weight.detach(), now)  # (vocabulary,)

# %%
usable = whole_words(tokenizer, len(tokenizer)).nonzero().flatten()
picked = usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))[:80]]
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
    f"Scatter plot of 80 words: true change of the loss against the first-order estimate; rank correlation {order:.2f}.",
)

# %% tags=["nbval-check-output"]
chance = 1 / np.sqrt(len(x) - 1)
print(f"rank correlation {order:.1f}; of unrelated numbers it would be 0 ± {chance:.1f}")
print(
    "the worst estimate of all is off by",
    "more" if abs(x - y).max() > 0.1 else "less",
    "than 0.1 nats",
)

# %% [markdown]
# Here it is hardly a hint. The correlation is little more than what unrelated numbers would have, and the word at the lower
# right, whose swap lowers the loss most of all, was expected to raise it most. Another word's embedding is a long way off, much
# too far for a slope taken here. So AutoPrompt uses the first order only to pick $k$ words, tries them truly, and accepts the
# best one only if the loss falls. Then it turns to the next trigger. (The library takes 24 turns with 10 words each; this
# page 8 turns with 6.)

# %%
from labkit.fewshot.auto_prompts import search_triggers

swapped = search_triggers(model, tokenizer, task, candidates=6, swaps=8)
print("training loss, swap by swap:", " → ".join(f"{loss:.3f}" for loss in swapped.losses))
Table(
    ("template", "dev (%)", "test (%)"),
    tuple(
        (
            f"{one.template}{'  ← by hand' if one.start else ''}",
            f"{100 * one.score:.1f}",
            f"{untrained(one.template, one.words, 'test'):.1f}",
        )
        for place, one in enumerate(swapped.tried)
        if place < 3 or one.start
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
from labkit.fewshot.auto_prompts import with_demonstrations

hand = PET.for_task(task, tokenizer)
shown_to = with_demonstrations(hand, model, task.splits["train"], samples=1)
print(tokenizer.decode(shown_to.collate(task.splits["test"][:1])["input_ids"][0]))

# %%
some = replace(task, splits={"test": task.splits["test"][:200]})
alone, with_examples = (
    100 * labkit.evaluate(model, method, some, "test", progress=False)[task.metric]
    for method in (hand, shown_to)
)
print(f"untrained, 200 test rows: {alone:.1f} % alone, {with_examples:.1f} % after two solved examples")

# %% [markdown]
# The solved examples do harm: the answers fall to chance. A likely reason is that this model has read one document at a time,
# of at most 62 tokens. Three passages with two answers between them are longer than, and unlike, anything in its pre-training.
# LM-BFF's model is much larger, and it is *trained* with the demonstrations, so it can learn what they are for.

# %% [markdown]
# ## 6 · Measured
#
# Now with training: eight tasks, 16 examples per class, five draws, and PET's 60 steps after every search (`python
# benchmarks/fewshot.py table`). Beside it what the slides of the EasyNLP team report for the same methods with RoBERTa, as a
# mean over eight real tasks, whose shapes ours have.

# %%
from labkit.report import results

slides = {"PET": 78.01, "LM-BFF (T)": 78.42, "LM-BFF (L)": 78.61, "LM-BFF (T+L)": 77.06}
every = results("fewshot_bert")
measured = labkit.Report(row for row in every.rows if row.method in slides)
plain = labkit.Report(  # what was found: below
    replace(row, trainable=None, parameters=None, extra={}) for row in measured.rows
)
plain.bounds = every.bounds
plain.table(slides, source="CP-Tuning's table in the EasyNLP slides: RoBERTa, mean of eight tasks")

# %% [markdown]
# The draws are the same for all methods, so the difference to PET can be taken draw by draw. A bar is its 95 % interval.

# %%
tasks = list(dict.fromkeys(row.task for row in measured.rows))
figure = Figure(figsize=(7, 4.4), layout="constrained")
axes, ahead, behind = figure.subplots(), 0, 0
for number, name in enumerate(list(slides)[1:]):
    found_by = [measured.compare(name, "PET", task=one) for one in tasks]
    ahead, behind = ahead + sum(one.low > 0 for one in found_by), behind + sum(one.high < 0 for one in found_by)
    middle = np.array([100 * one.difference for one in found_by])
    reach = [100 * (one.high - one.difference) for one in found_by]
    axes.errorbar(middle, np.arange(len(tasks)) + 0.22 * (number - 1), xerr=reach, fmt="os^"[number],
                  color=("#0072B2", "#D55E00", "#009E73")[number], capsize=2, label=name)  # fmt: skip
axes.axvline(0, color="#555555", ls="--", lw=1)
axes.set_yticks(range(len(tasks)), tasks)
axes.invert_yaxis()
axes.set(xlabel="ahead of PET's hand-written prompt (points)", title="Searched prompts, five draws")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
Plot(figure, f"Differences to PET with 95 % intervals, three methods on eight tasks: {ahead} above 0, {behind} below.")

# %% tags=["nbval-check-output"]
print(f"of {3 * len(tasks)} comparisons, {ahead} are ahead of PET beyond noise and {behind} behind")
for name in list(slides)[1:]:
    difference = measured.compare(name, "PET")
    clear = "beyond noise" if difference.low > 0 or difference.high < 0 else "within noise"
    print(f"{name:<12} mean of all tasks {100 * difference.difference:+.1f} points, {clear}")

# %% [markdown]
# Begin with the means. On the average of eight tasks no search is ahead of the hand-written prompt, and chosen label words
# are behind it by a little, beyond noise. The slides say nearly the same of real tasks: there the best of these methods and
# the worst are about one and a half points apart. Then the figure: a searched template gains almost two points on `world/sst2`, film
# reviews, and chosen words lose two to three on `world/qnli`, questions with their answers. All other intervals hold 0, and
# of 24 intervals at 95 % one is expected to miss it by chance alone.
#
# Now the row of `world/subj`, the task of this page. Untrained, a searched template was 19 points ahead. After training
# nothing is left of that: the hand-written prompt, at 60 % before, is as good as the searched one. **Sixty steps on 32 rows
# teach the model what a bad prompt means.** So search pays where the model stays as it is, and on tasks that nobody knows
# how to ask; where the model is trained anyway, it is hardly worth the trouble. (All other methods on the same tasks are in
# lesson [03/04](04_cp_tuning.ipynb).)
#
# What was found, in three of the draws:

# %%
Table(
    ("task", "draw", "method", "template", "words"),
    tuple(
        (row.task, str(row.seed), row.method, row["template"], row["words"])
        for row in measured.rows
        if row.task in ("world/subj", "world/sst2") and row.seed < 3 and row.method in ("LM-BFF (T)", "LM-BFF (L)")
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
    ylim=(66, 101),
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
# And on this page? Here are the winners of its three searches, before any training, so that nothing but the choice lies between
# the two scores. Which of them do you expect to lose most from dev to test?

# %%
winners = {
    "hand-written": found.start,
    "template": found.best,
    "label words": chosen.best,
    "triggers": swapped.best,
}
lines = []
for name, one in winners.items():
    dev, test = (untrained(one.template, one.words, split) for split in ("dev", "test"))
    lines.append((name, f"{dev:.1f}", f"{test:.1f}", f"{dev - test:+.1f}"))
Table(("winner of", "dev of the chosen (%)", "the same on test (%)", "dev − test (points)"), tuple(lines))

# %% [markdown]
# Only the label words lose. They were chosen among the most candidates, some thirty, so that is what the formula expects. But
# the other two winners are *better* on test, the template by eight points. That does not refute the formula, for it speaks of
# an average over many draws of dev rows. In one draw, an accuracy near 70 % on 32 rows has a standard error of eight points,
# so chance can hide the curse or double it. Either way the dev score of a winner is no estimate of its worth.
#
# Three remedies follow: fewer candidates, more dev rows, or no choice at all but a vote among the best (LM-BFF's ensemble,
# 03/02's section 5). And one rule: **report the test score, never the one that chose**.
#
# ## Read on
#
# - Gao, Fisch & Chen 2021, [LM-BFF](https://arxiv.org/abs/2012.15723); Shin et al. 2020,
#   [AutoPrompt](https://arxiv.org/abs/2010.15980); Perez, Kiela & Cho 2021, [*True few-shot learning with language
#   models*](https://arxiv.org/abs/2105.11447), on choosing prompts with few examples.
# - `labkit/fewshot/auto_prompts/`: [`templates.py`](../../labkit/fewshot/auto_prompts/templates.py),
#   [`label_words.py`](../../labkit/fewshot/auto_prompts/label_words.py),
#   [`triggers.py`](../../labkit/fewshot/auto_prompts/triggers.py),
#   [`demonstrations.py`](../../labkit/fewshot/auto_prompts/demonstrations.py), and
#   [`t5.py`](../../labkit/fewshot/auto_prompts/t5.py) for the paper's own generator.
# - Next, [03/06](06_delta_tuning.ipynb): the prompt stays, and only a small part of the model learns. The whole table with
#   these methods beside CP-Tuning is in [03/04](04_cp_tuning.ipynb).
