# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Prompts found by search, and how much of it is luck
#
# For reviews, "it was ___ ." comes to mind at once. For a task of one's own it may take a day of trying. Can a few
# labelled examples find the prompt instead? And if a search says that its prompt is good, may one believe it?
#
# **After this lesson you can** let a language model write a template, by a beam search over all examples at once; let
# it choose label words; swap words along a gradient; and say how much of a searched prompt's score is luck, before you
# believe it.
#
# **45 minutes.** Before it: [PET](02_pet.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="03/05")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/subj"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Two prompts for one question
#
# Does a sentence state a fact, or does it give an opinion? The first prompt was written by a person. The second was
# found by a machine, from 32 labelled sentences, 16 [shots](../glossary.ipynb#shot) per class. The model is the same,
# and nothing is trained.

# %%
import torch

from labkit.fewshot.auto_prompts.candidates import blank_log_probabilities
from labkit.fewshot.prompts.template import Template

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
splits = {"train": task.splits["train"], "dev": task.splits["dev"], "test": task.splits["test"][:400]}
own = [task.words[name][0] for name in task.labels]  # fact, opinion
BY_HAND, BY_MACHINE = task.patterns[0], "now comes pure {mask} , {text}"

# %%


def right(template, words, split):
    """The share of a split's rows that the untrained cloze answers right."""
    said = blank_log_probabilities(model, tokenizer, Template.parse(template), splits[split])  # (rows, vocabulary)
    answers = said[:, tokenizer.convert_tokens_to_ids(list(words))].argmax(1)
    return (answers == torch.tensor([row["label"] for row in splits[split]])).float().mean().item()


print("for example:", splits["test"][0]["text"], f"({task.labels[splits['test'][0]['label']]})")
for template in (BY_HAND, BY_MACHINE):
    print(f"{right(template, own, 'test'):.1%} of 400 sentences right: {template} [{' / '.join(own)}]")

# %% [markdown]
# Guessing is right in 50 %, the best reader in 91 %. How is such a prompt found?
#
# ## 2 · A template that fits all examples
#
# Gao, Fisch and Chen (2021, [*Making pre-trained language models better few-shot
# learners*](https://arxiv.org/abs/2012.15723), called [LM-BFF](../glossary.ipynb#lm-bff), §5.2) turn the question
# round. The label words are given: write "fact" before a sentence that states a fact, "opinion" before the others, and
# ask the model which words fit *around* them. One template must suit every row, so the log-probabilities of the rows
# are added up. With the words $t_1, t_2, \dots$ of the template $T$, a row's text $x$ and its label word $M(y)$:
#
# $$\log P(T) = \sum_{(x, y)} \sum_j \log P\big(t_j \mid t_1, \dots, t_{j-1},\, x,\, M(y)\big) .$$
#
# Their generator is T5. Ours is the masked model itself: three blanks before the label word, filled from left to right.


# %%
@torch.no_grad()
def next_word(beginning, blanks):
    """log p of the word after the ids `beginning`, the first of `blanks` blanks, in each row: (rows, vocabulary)."""
    holes = " ".join([tokenizer.mask_token] * (len(beginning) + blanks))
    texts = [f"{holes} {own[row['label']]} . {row['text']}" for row in splits["train"]]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    inputs["input_ids"][:, 1 : 1 + len(beginning)] = torch.tensor(beginning, dtype=torch.long)  # behind [CLS]
    return model(**inputs).logits[:, 1 + len(beginning)].log_softmax(-1)


best = next_word([], 3).sum(0).topk(5)
for word, value in zip(best.indices.tolist(), best.values.tolist(), strict=True):
    print(f"first word {tokenizer.decode([word]):<8} log P {value / len(splits['train']):6.2f} per row")

# %% [markdown]
# The likeliest first word need not begin the likeliest template. A [beam search](../glossary.ipynb#beam-search) keeps
# the best few beginnings, extends *each* by every word, and keeps the best few of *all* these. Two templates with the
# scores $-1$ and $-2$, one row, and three words with the log-probabilities $(-3, -1, -4)$ after the first template and
# $(-0.5, -2, -5)$ after the second: the sums are $(-4, -2, -5)$ and $(-2.5, -4, -7)$. With a beam of 2 the best are
# $-2$, template 0 with word 1, and $-2.5$, template 1 with word 0.
#
# ### Exercise 1: a step of the beam
#
# *●●● · 10 minutes*
#
# The scores of the templates so far (beams,), the log-probability of every next word for every row (beams, rows,
# vocabulary) and `width` in; out three tensors (width,), best first: the scores, which template each extends, and which
# word it adds.
#
# ```python
# gains = torch.tensor([[[-3.0, -1.0, -4.0]], [[-0.5, -2.0, -5.0]]])  # two templates, one row, three words
# beam_step(torch.tensor([-1.0, -2.0]), gains, 2)  # [-2, -2.5], [0, 1], [1, 0]
# ```

# %%
from labkit.checks import auto_prompts as check


def beam_step(scores, log_probabilities, width): ...  # your turn


beam_step = check.beam_step(beam_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One template for all rows: sum the log-probabilities over dimension 1. What is then left is a table (beams,
# vocabulary).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Add each template's own score to its row of the table, `scores[:, None]`, and flatten the table: its `topk` are the
# best of all.
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
# With your step, the search is a loop: three words, eight templates at a time.

# %%
beginnings, scores = [[]], torch.zeros(1)
for blanks in (3, 2, 1):
    gains = torch.stack([next_word(some, blanks) for some in beginnings])  # (beams, rows, vocabulary)
    scores, parents, added = beam_step(scores, gains, 8)
    beginnings = [[*beginnings[p], word] for p, word in zip(parents.tolist(), added.tolist(), strict=True)]
proposed = [f"{tokenizer.decode(some)} {{mask}} . {{text}}" for some in beginnings]
for template, score in zip(proposed, (scores / len(splits["train"])).tolist(), strict=True):
    print(f"log P {score:6.2f} per row, dev {right(template, own, 'dev'):.0%}: {template}")

# %% [markdown]
# "dev" is the share of right answers on 32 *other* labelled sentences. The first template is the likeliest and also the best
# here. But go down the list: the second is likely and guesses, the last is less likely and does not. So generation only
# proposes, and the dev rows choose. (Gao et al. also train a model for each of a hundred proposals.) Watch a beam grow.
# **Does the likeliest template have the best dev score? Make the beam 12 wide, and put the words before the text.**

# %%
from labkit.widgets import template_search

template_search(model, tokenizer, task)

# %% [markdown]
# The library's search takes several layouts and lengths, and keeps the hand-written prompt among the candidates, so
# that on dev the result is never below it:

# %%
from labkit.fewshot.auto_prompts import search_template

found = search_template(model, tokenizer, task, beam=8, rows=16)
for one in [*found.tried[:3], found.start]:
    print(f"dev {one.score:.1%}, test {right(str(one.template), own, 'test'):.1%}: {one.template}")

# %% [markdown]
# This is where the prompt of section 1 comes from. It is no accident that it works: in this world's pre-training text
# some passages begin with "now comes pure opinion ." or "now comes pure fact .", so the model *has* been asked. Nobody
# told the search.
#
# ## 3 · Label words
#
# The other half of LM-BFF (§5.1): the template is given, and the words are sought. First each class gets the $k$ words
# that fit the blanks of its rows best, by the sum of their log-probabilities. Three rows and three words:
#
# | row | class | words 0, 1, 2 |
# |---|---|---|
# | first | 0 | −1, −2, −3 |
# | second | 1 | −4, −2, −1 |
# | third | 0 | −3, −1, −2 |
#
# The rows of class 0 have the sums $(-4, -3, -5)$, so its best two words are 1 and 0. Class 1 has one row; its best are
# 2 and 1. With the rows $D_c$ of class $c$:
#
# $$V_c = \operatorname{top\text{-}k}_{v} \sum_{x \in D_c} \log p\big(\text{blank} = v \mid T(x)\big) .$$
#
# ### Exercise 2: the words of a class
#
# *●●○ · 7 minutes*
#
# Log-probabilities at the blank (rows, vocabulary), labels (rows,) and $k$ in; the ids of each class's $k$ best words,
# best first, out: (classes, k).
#
# ```python
# said = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -2.0, -1.0], [-3.0, -1.0, -2.0]])
# rank_words(said, torch.tensor([0, 1, 0]), 2)  # [[1, 0], [2, 1]]
# ```


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
said = {name: blank_log_probabilities(model, tokenizer, Template.parse(BY_HAND), some) for name, some in splits.items()}
labels = {name: torch.tensor([row["label"] for row in some]) for name, some in splits.items()}
pools = rank_words(said["train"], labels["train"], 8)
for name, some in zip(task.labels, pools.tolist(), strict=True):
    print(f"{name:<12}", ", ".join(tokenizer.convert_ids_to_tokens(some)))

# %% [markdown]
# These are nearly the same words for both classes, in another order: what is likely in this blank is likely after every
# sentence. What tells the classes apart is a *difference* between two words. So every pair is tried, one word of each
# class.
#
# ### Exercise 3: the best pair
#
# *●●○ · 8 minutes*
#
# Log-probabilities (rows, vocabulary), labels (rows,) of two classes and $k$ in; out the pair of ids (2,), one of class
# 0's $k$ best words and one of class 1's, that answers most rows right, and the share of rows that it answers right. Of
# equal pairs, any.
#
# ```python
# best_pair(said, torch.tensor([0, 1, 0]), 2)  # [1, 2] and 1.0: word 1 is likelier in the rows of class 0, word 2 in the other
# ```


# %%
def best_pair(log_probabilities, labels, k): ...  # your turn


best_pair = check.best_pair(best_pair)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The lists are `first, second = rank_words(log_probabilities, labels, k)`; `torch.cartesian_prod(first, second)` are
# all pairs.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `log_probabilities[:, pairs]` is (rows, pairs, 2), and its `argmax(2)` is every pair's answer to every row.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `(answers == labels[:, None]).float().mean(0)` is the share of each pair; `argmax` finds the best.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def best_pair(log_probabilities, labels, k):
#     pairs = torch.cartesian_prod(*rank_words(log_probabilities, labels, k))
#     answers = log_probabilities[:, pairs].argmax(2)
#     shares = (answers == labels[:, None]).float().mean(0)
#     return pairs[shares.argmax()], float(shares.max())
# ```
# </details>
#
# **Predict**: among the pairs of 30 words for each class, is the best one on 32 rows as good on the 400 test rows?

# %%
pair, share = best_pair(said["train"], labels["train"], 30)
names = " / ".join(tokenizer.convert_ids_to_tokens(pair.tolist()))
kept = {name: float((said[name][:, pair].argmax(1) == labels[name]).float().mean()) for name in splits}
print(f"{names}: " + ", ".join(f"{name} {value:.1%}" for name, value in kept.items()))

# %% [markdown]
# ## 4 · How much of it is luck?
#
# The words promised more than they keep. Suppose that two prompts are equally good, and each is right in half of all
# rows. On *two* rows a prompt gets 0, 1 or 2 right with the probabilities $\tfrac14, \tfrac12, \tfrac14$. The better
# one of both gets 0 with the probability $\tfrac14 \cdot \tfrac14 = \tfrac1{16}$, at most 1 with $\tfrac34 \cdot
# \tfrac34 = \tfrac9{16}$, so on average $(1 - \tfrac1{16}) + (1 - \tfrac9{16}) = 1.375$ of two rows, 69 % instead of 50
# %. Nothing was found; only chosen. For the best of $n$ independent prompts that are all right in a share $p$, on $m$
# rows, with the number $B$ of rows that one of them gets right:
#
# $$\mathbb{E}\big[\text{score of the best}\big] = \frac{1}{m} \sum_{b=0}^{m-1} \Big(1 - P(B \le b)^n\Big), \qquad
# P(B \le b) = \sum_{i=0}^{b} \binom{m}{i} p^i (1 - p)^{m - i} .$$
#
# This is the [winner's curse](../glossary.ipynb#winners-curse): the score that chose the winner is too high, by an
# amount that one can compute.
#
# ### Exercise 4: the best of equals
#
# *●●○ · 8 minutes*
#
# $n$, $m$ and $p$ in; the expected score of the best, a number in [0, 1], out.
#
# ```python
# expected_best(2, 2, 0.5)  # 0.6875, as above
# expected_best(1, 32, 0.7)  # 0.7: without a choice there is no curse
# ```


# %%
def expected_best(n, m, p): ...  # your turn


expected_best = check.expected_best(expected_best)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `math.comb(m, i)` is the binomial coefficient. A loop over `b` from 0 to `m - 1` can keep $P(B \le b)$ as a running
# sum.
# </details>
#
# <details><summary>Hint 2</summary>
#
# In the loop: `below += comb(m, b) * p**b * (1 - p) ** (m - b)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Then `total += 1 - below**n`, and at the end `total / m`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# from math import comb
#
#
# def expected_best(n, m, p):
#     below = total = 0.0
#     for b in range(m):
#         below += comb(m, b) * p**b * (1 - p) ** (m - b)
#         total += 1 - below**n
#     return total / m
# ```
# </details>

# %% tags=["nbval-check-output"]
for n, m in ((9, 32), (900, 32), (900, 128), (900, 512)):
    print(
        f"the best of {n:>3} prompts that are all right in 60 %, chosen on {m:>3} rows, scores {float(expected_best(n, m, 0.6)):.1%}"
    )

# %% [markdown]
# And the 900 pairs of your search? Each is a dot: to the right its score on the 32 training rows, upwards its score on
# the 400 test rows. **Predict**: does the score on the few rows tell anything?

# %%
from labkit.report import scatter

pairs = torch.cartesian_prod(*rank_words(said["train"], labels["train"], 30))
share_of = {name: (said[name][:, pairs].argmax(2) == labels[name][:, None]).float().mean(0) for name in splits}
mean = float(share_of["test"].mean())
points = [(100 * a, 100 * b) for a, b in zip(share_of["train"].tolist(), share_of["test"].tolist(), strict=True)]
scatter(
    {"900 pairs of words": points},
    "right of 32 training rows (%)",
    "right of 400 test rows (%)",
    "Chosen on few rows, tried on many",
)

# %% tags=["nbval-check-output"]
print(
    f"mean of all pairs on test {mean:.0%}; best of them {float(share_of['test'].max()):.0%}, the chosen one {kept['test']:.0%}"
)
print(
    f"score that chose it {share:.0%}; by luck alone, if all were right in {mean:.0%}: {float(expected_best(900, 32, mean)):.0%}"
)

# %% [markdown]
# Two things are true at once. The dots rise from left to right, so a search does find better words than the mean. And
# the score of the winner is too high: a part of it is luck, as your formula says. (The formula takes independent
# prompts. These pairs share words, so it overstates the luck.) Three remedies follow: fewer candidates, more rows, or a
# vote among the best instead of a choice. And one rule: **report the score on rows that chose nothing**.
#
# ## 5 · Along the gradient
#
# AutoPrompt (Shin et al. 2020, [*Eliciting knowledge from language models with automatically generated
# prompts*](https://arxiv.org/abs/2010.15980)) swaps a word of the prompt, a [trigger
# token](../glossary.ipynb#trigger-token), for a better one. It asks the gradient which one. If the loss has the slope
# $(2, 2)$ at the trigger, and a word's embedding lies $(-1, -1)$ from the present one, the loss is expected to change
# by $2 \cdot (-1) + 2 \cdot (-1) = -4$. One backward pass rates every word $w$ of the vocabulary, with a sum over the
# rows $i$, because the trigger stands in all of them:
#
# $$L(w) - L(\text{now}) \approx (e_w - e_{\text{now}}) \cdot \sum_i \frac{\partial L}{\partial e^{(i)}} .$$
#
# ### Exercise 5: the first order
#
# *●●○ · 7 minutes*
#
# The gradient at the trigger in each row (rows, d), the table of embeddings (vocabulary, d) and the id of the word that
# stands there now in; the expected change of the loss for every word, (vocabulary,), out.
#
# ```python
# gradient, table = torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
# first_order(gradient, table, 1)  # [-2, 0, -4]: word 2 is expected to lower the loss most
# ```


# %%
def first_order(gradient, table, now): ...  # your turn


first_order = check.first_order(first_order)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Sum the gradient over the rows first: a vector (d,).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `table - table[now]` is the step of each word, (vocabulary, d).
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
# "that" in "{text} that is ___ ." is the trigger now. **Predict**: 60 other words are tried truly. How well does the
# slope foretell what they do?

# %%
from labkit.fewshot.pet import PET

method = PET.for_task(task, tokenizer, "{text} {soft:that} is {mask} .")
batch = method.collate(splits["train"][:16])
places = batch["soft_mask"].nonzero()  # (rows, 2): where the trigger stands
embedding, kept_states = model.get_input_embeddings(), []
handle = embedding.register_forward_hook(lambda module, given, output: kept_states.append(output))
loss = method.loss(model, batch)
handle.remove()
(slopes,) = torch.autograd.grad(loss, kept_states[0])  # (rows, tokens, d)
now = int(batch["input_ids"][places[0, 0], places[0, 1]])
expected = first_order(slopes[places[:, 0], places[:, 1]], embedding.weight.detach(), now)  # (vocabulary,)

# %%
from labkit.fewshot.auto_prompts.candidates import whole_words

usable = whole_words(tokenizer, len(tokenizer), letters=True).nonzero().flatten()
points = []
for word in usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))[:60]].tolist():
    ids = batch["input_ids"].clone()
    ids[places[:, 0], places[:, 1]] = word
    with torch.no_grad():
        points.append((float(expected[word]), float(method.loss(model, {**batch, "input_ids": ids}) - loss)))
scatter(
    {"60 words": points}, "change of the loss by first order (nats)", "true change (nats)", "A word swapped for “that”"
)

# %% [markdown]
# Hardly at all: another word's embedding is much too far away for a slope that was taken here. So AutoPrompt uses the
# first order only to pick a few words, tries them truly, and keeps the best one if the loss falls
# ([`search_triggers`](../../labkit/fewshot/auto_prompts/triggers.py)).
#
# ## 6 · And with training?
#
# So far nothing was trained. Now eight tasks, 16 shots, five draws, and PET's 60 steps after every search. Small dots
# are draws, diamonds what the slides of the EasyNLP team report with a RoBERTa on real tasks ([all
# numbers](../../docs/results.md#few-shot-methods-on-eight-tasks)).

# %%
from labkit.report.pages import page

METHODS = ("PET", "LM-BFF (T)", "LM-BFF (L)", "LM-BFF (T+L)")
every = page("fewshot_bert")
searched = labkit.Report(row for row in every.report.rows if row.method in METHODS)
searched.bounds = every.report.bounds
slides = {name: every.paper[name] for name in METHODS}
searched.plot(reference=slides, title="Prompts by hand and by search, then trained", ranked=True)

# %% tags=["nbval-check-output"]
tasks = list(dict.fromkeys(row.task for row in searched.rows))
for name in METHODS[1:]:
    single = [searched.compare(name, "PET", task=one) for one in tasks]
    ahead, behind = sum(one.low > 0 for one in single), sum(one.high < 0 for one in single)
    print(f"{searched.compare(name, 'PET')}; of {len(tasks)} tasks ahead on {ahead}, behind on {behind}")
print(searched.compare("LM-BFF (T)", "PET", task="world/subj"))

# %% [markdown]
# On the mean of the tasks no search is ahead of the hand-written prompt. In the slides, too, the best and the worst of
# these methods are about one and a half points apart. And on `world/subj`, where the searched template was far ahead
# untrained, nothing of it is left: sixty steps on 32 rows teach the model what a bad prompt means.
#
# ## 7 · So, can examples find the prompt?
#
# **Yes, where the model stays as it is**: 32 labelled rows found a template that takes the untrained cloze most of the
# way from guessing to the best reader. **No, where the model is trained anyway**: there it is hardly worth the trouble.
# And in either case the score that chose the winner says little about its worth. Compute beforehand what luck alone
# would give, and keep rows that choose nothing.
#
# ## Read on
#
# - Perez, Kiela & Cho 2021, [*True few-shot learning with language models*](https://arxiv.org/abs/2105.11447), on choosing prompts with few examples;
#   LM-BFF and AutoPrompt, linked above.
# - `labkit/fewshot/auto_prompts/`: [`templates.py`](../../labkit/fewshot/auto_prompts/templates.py),
#   [`label_words.py`](../../labkit/fewshot/auto_prompts/label_words.py), [`triggers.py`](../../labkit/fewshot/auto_prompts/triggers.py),
#   [`t5.py`](../../labkit/fewshot/auto_prompts/t5.py) for the paper's own generator, and
#   [`demonstrations.py`](../../labkit/fewshot/auto_prompts/demonstrations.py), LM-BFF's solved examples in the context.
# - Next, [03/06](06_delta_tuning.ipynb): the prompt stays, and only a small part of the model learns.
