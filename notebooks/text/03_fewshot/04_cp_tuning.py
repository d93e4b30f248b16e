# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # CP-Tuning: can a blank do without words?
#
# PET asks a language model to fill a [blank](../glossary.ipynb#blank), and somebody chooses a
# [label word](../glossary.ipynb#label-word) for each class. For sentiment that is easy, for "contract of type B" it is
# guesswork. *Contrastive prompt tuning* (CP-Tuning) keeps the blank and drops the words. When does that work?
#
# **After this lesson you can** say what label words are inside the model, and what takes their place; write the pairwise
# cost-sensitive contrastive loss and train with it; say which tasks need no words, and what the others need.
#
# **50 minutes.** Before it: [soft prompts](03_soft_prompts.ipynb), from which the trained template comes.

# %%
import labkit

lab = labkit.setup(lesson="03/04")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/mr"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · What a label word is
#
# One review as a [cloze](../glossary.ipynb#cloze), with good label words and with two that mean nothing here. Nothing is
# trained. (The review was chosen to show this; soon you will see how often it is so.)

# %%
from dataclasses import replace

from labkit.fewshot.pet import PET

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
rows, test = task.splits["train"], task.splits["test"][:200]
review = test[13]
print(f"{review['text']} ({task.labels[review['label']]})\n")
for words in (("bad", "great"), ("city", "river")):
    named = {label: (word,) for label, word in zip(task.labels, words, strict=True)}
    cloze = PET.for_task(replace(task, words=named), tokenizer)
    shares = labkit.predict(model, cloze, [review])[0]
    print(f"it was ___ .  {words[0]} {shares[0]:.0%}, {words[1]} {shares[1]:.0%}")

# %% [markdown]
# With "city" for *negative* and "river" for *positive* the answer is wrong, although the model is the same. Now without any
# word: which of the 32 labelled reviews (16 [shots](../glossary.ipynb#shot): 16 per class) has the most similar **vector
# in the blank**?

# %%
from labkit.fewshot.cp_tuning import CPTuning
from labkit.widgets.feature_space import record

method = CPTuning.for_task(task, tokenizer)
seen = record(model, method, rows, [review])  # vectors of length 1: .support (32, d), .test (1, d)
nearest = rows[(seen.support @ seen.test[0]).argmax()]
print("template:", method.template)
print(f"nearest: {nearest['text']} ({task.labels[nearest['label']]})")

# %% [markdown]
# It is positive too. So where do words come in? The model turns the blank into a vector $h$ of $d$ numbers. A word's
# [logit](../glossary.ipynb#logit) is the product of $h$ with the word's own vector, plus a bias:

# %% tags=["nbval-check-output"]
import torch

from labkit.foundations.encoder import lm_states_and_logits

batch = method.collate([review])
with torch.no_grad():
    h, logits = lm_states_and_logits(model, batch, torch.tensor([0]), batch["mask_positions"][:, 0])
    embeddings, biases = model.get_output_embeddings().parameters()
    for word in ("bad", "great", "city", "river"):
        w = tokenizer.convert_tokens_to_ids(word)
        product, bias = float(embeddings[w] @ h[0]), float(biases[w])
        print(f"{word:<6}{product:6.1f} + {bias:4.1f} = {product + bias:6.1f}, the model's logit:{logits[0, w]:6.1f}")

# %% [markdown]
# In symbols, for the text $z$ with its blank, the word's vector $e_w$ and its bias $b_w$:
#
# $$M(w \mid z) = e_w \cdot h + b_w .$$
#
# So PET is a **linear classifier on $h$ whose class vectors somebody took from a dictionary**. Where the words fit, these
# vectors are right before any training. Where they do not, they are arbitrary directions, and may point the wrong way.
#
# CP-Tuning stops before the dictionary. A text is its vector in the blank, scaled to length 1, and two texts are compared
# by their [cosine similarity](../glossary.ipynb#cosine-similarity):
#
# $$f = h / \lVert h \rVert, \qquad s_{ij} = f_i \cdot f_j \in [-1, 1] .$$
#
# A class is *the labelled texts that have it*. The template is *universal*, the same for every task: two
# [soft tokens](../glossary.ipynb#soft-prompt) that start as "it is" and are trained with the model.
#
# ### Exercise 1: scores without words
#
# *●○○ · 5 minutes*
#
# Texts (batch, d) and support vectors (n, d), all of length 1, the support's labels (n,) and the number of classes in;
# out (batch, classes), for each class the similarity to its nearest support vector.
#
# ```python
# support = torch.tensor([[0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
# class_scores(torch.tensor([[1.0, 0.0]]), support, torch.tensor([0, 1, 1]), 2)  # [[0.8, 0.0]]
# ```

# %%
from labkit.checks import cp_tuning as check


def class_scores(texts, support, labels, classes): ...  # your turn


class_scores = check.class_scores(class_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# All similarities at once: `texts @ support.T`, (batch, n).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `similarities[:, labels == c]` are the columns of class `c`; `.amax(1)` is the nearest.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Put one column per class side by side: `torch.stack([…], 1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def class_scores(texts, support, labels, classes):
#     similarities = texts @ support.T
#     return torch.stack([similarities[:, labels == c].amax(1) for c in range(classes)], 1)
# ```
# </details>
#
# **Predict** before you run the next cell: of 200 test reviews, does your rule get about half right, as guessing does, or
# as many as the cloze?


# %%
def share_right(answers, rows):
    return sum(int(a) == row["label"] for a, row in zip(answers, rows, strict=True)) / len(rows)


def neighbours(model, method, rows, test):
    """The share of test texts that have the class of the nearest labelled text."""
    seen = record(model, method, rows, test)
    labels = torch.tensor([row["label"] for row in rows])
    texts, support = torch.from_numpy(seen.test), torch.from_numpy(seen.support)
    return share_right(class_scores(texts, support, labels, len(method.labels)).argmax(1), test)


results = {
    "cloze, untrained": share_right(labkit.predict(model, PET.for_task(task, tokenizer), test).argmax(1), test),
    "neighbours, untrained": neighbours(model, method, rows, test),
}  # fmt: skip
print(results)

# %% [markdown]
# More than half, but fewer than the cloze. Training is to close this gap.
#
# ## 2 · Pairs
#
# Three texts, $A$ and $A'$ of one class, $B$ of another, and the similarities of all pairs:

# %%
vectors, labels = torch.tensor([[3.0, 0.0], [4.0, 3.0], [0.0, 2.0]]), torch.tensor([0, 0, 1])
f = torch.nn.functional.normalize(vectors, dim=1)
print(f @ f.T)

# %% [markdown]
# The *like* pair $AA'$ has similarity 0.8, the *unlike* pairs $AB$ and $A'B$ have 0 and 0.6. With a
# [margin](../glossary.ipynb#margin) $m = 0.4$, unlike pairs shall come down to $m$ and like pairs up to $1 - m$. So only
# $A'B$ misses its target, by 0.2. For all like pairs $P$ of a batch and all unlike pairs $N$:
#
# $$s_p \ge 1 - m \ \text{ for every } s_p \in P, \qquad s_n \le m \ \text{ for every } s_n \in N .$$
#
# Three texts have 3 pairs, but sixteen have $16 \cdot 15 / 2 = 120$: much to learn from few labels.
#
# ### Exercise 2: the pairs of a batch
#
# *●●○ · 6 minutes*
#
# Vectors (batch, d) of **any** length and labels (batch,) in; out two tensors of one dimension, the similarities of the
# like pairs and of the unlike pairs, in any order, each pair once, none with itself. They keep their gradient, because the
# model learns through them.
#
# ```python
# pair_similarities(vectors, labels)  # (tensor([0.8]), tensor([0.0, 0.6])) for the three texts above
# ```


# %%
def pair_similarities(vectors, labels): ...  # your turn


pair_similarities = check.pair_similarities(pair_similarities)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Bring the vectors to length 1, as in the cell above.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `same = labels[:, None] == labels` is a (batch, batch) table. Above its diagonal stands each pair once:
# `.triu(diagonal=1)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `similarities[mask]` gives the entries where the mask is True. For the unlike pairs turn the table around *before* you
# cut: `(~same).triu(diagonal=1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def pair_similarities(vectors, labels):
#     f = torch.nn.functional.normalize(vectors, dim=1)
#     similarities, same = f @ f.T, labels[:, None] == labels
#     return similarities[same.triu(diagonal=1)], similarities[(~same).triu(diagonal=1)]
# ```
# </details>
#
# ## 3 · The loss
#
# Each pair gets a *cost* from where it stands: $1 + m - s$ for a like pair, $s + m$ for an unlike one. Cost times miss times
# $\gamma = 64$ is its *exponent*. (A negative miss: the pair is better than its target.) For the three texts:

# %% tags=["nbval-check-output"]
import math

like, unlike = pair_similarities(vectors, labels)
sums = []
for kind, similarities in (("like", like), ("unlike", unlike)):
    exponents = []
    for s in similarities.tolist():
        miss, cost = (0.6 - s, 1.4 - s) if kind == "like" else (s - 0.4, s + 0.4)
        exponents.append(64 * cost * miss)
        print(f"{kind:<6} similarity {s:.1f}, cost {cost:.1f}, miss {miss:4.1f}, exponent {exponents[-1]:6.2f}")
    sums.append(math.log(sum(math.exp(e) for e in exponents)))
print(f"log Σ exp: like {sums[0]:.2f}, unlike {sums[1]:.2f}; together {sum(sums):.2f}")
print(f"loss: log(1 + e^{sum(sums):.2f}) = {math.log(1 + math.exp(sum(sums))):.2f}")

# %% [markdown]
# $\log \sum \exp$ of the unlike pairs is nearly the exponent of the **worst** of them, because $e^{12.8}$ is so much larger
# than $e^{-10.24}$. The miss of $A'B$ outweighs what $AA'$ has to spare, so the sum is positive and the loss is not near 0.
# In symbols, with $[x]_+$ for $x$ or 0, whichever is larger:
#
# $$a_p = \tfrac{1}{k}\,[\,1 + m - s_p\,]_+ , \qquad a_n = [\,s_n + m\,]_+ ,$$
#
# $$L = \mathrm{softplus}\bigg(
#   \log \sum_{s_n \in N} e^{\,\gamma\, a_n (s_n - m)} \; + \;
#   \log \sum_{s_p \in P} e^{-\gamma\, a_p (s_p - (1 - m))} \bigg), \qquad \mathrm{softplus}(z) = \log(1 + e^z) .$$
#
# $k$ weighs like against unlike pairs; here it is 1. The costs are constants: no gradient runs through them. (Xu et al. 2022,
# [*Making pre-trained language models end-to-end few-shot learners with contrastive prompt
# tuning*](https://arxiv.org/abs/2204.00166).)
#
# ### Exercise 3: the costs
#
# *●○○ · 4 minutes*
#
# Similarities of like and unlike pairs, $m$ and $k$ in; $a_p$ and $a_n$ out, as constants.
#
# ```python
# pair_weights(torch.tensor([0.8, -0.2]), torch.tensor([0.6, -0.5]), m=0.4, k=2)  # [0.3, 0.8] and [1.0, 0.0]
# ```


# %%
def pair_weights(like, unlike, m, k): ...  # your turn


pair_weights = check.pair_weights(pair_weights)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $[x]_+$ is `x.clamp(min=0)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `like.detach()` has the same numbers and no history.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Only $a_p$ is divided by $k$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def pair_weights(like, unlike, m, k):
#     return (1 + m - like.detach()).clamp(min=0) / k, (unlike.detach() + m).clamp(min=0)
# ```
# </details>
#
# ### Exercise 4: the loss
#
# *●●● · 9 minutes*
#
# The same similarities, $m$, $\gamma$ and $k$ in; $L$, one number, out.
#
# ```python
# contrastive_loss(torch.tensor([0.8]), torch.tensor([0.0, 0.6]), m=0.4, gamma=64, k=1)  # 5.13, as above
# ```


# %%
def contrastive_loss(like, unlike, m, gamma, k): ...  # your turn


contrastive_loss = check.contrastive_loss(contrastive_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The costs are `pair_weights(like, unlike, m, k)`. Nothing else is detached.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `x.logsumexp(0)` is $\log \sum e^x$ without overflow; `torch.nn.functional.softplus` likewise.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `push = gamma * a_n * (unlike - m)`, `pull = -gamma * a_p * (like - (1 - m))`: one logsumexp each.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def contrastive_loss(like, unlike, m, gamma, k):
#     a_p, a_n = pair_weights(like, unlike, m, k)
#     push, pull = gamma * a_n * (unlike - m), -gamma * a_p * (like - (1 - m))
#     return torch.nn.functional.softplus(push.logsumexp(0) + pull.logsumexp(0))
# ```
# </details>
#
# ### On paper
#
# Let $B$ be equally far from $A$ and $A'$: one like pair, $s_p$, and two unlike pairs, both $s_n$. With positive costs and
# $k = 1$, a sum times a difference is a difference of squares:
#
# $$a_n (s_n - m) = s_n^2 - m^2, \qquad -a_p\big(s_p - (1 - m)\big) = (1 - s_p)^2 - m^2 ,$$
#
# $$L = \mathrm{softplus}\Big(\gamma \big[\, s_n^2 + (1 - s_p)^2 - 2m^2 \,\big] + \log 2 \Big) .$$
#
# So the loss depends only on the **distance of $(s_n, s_p)$ from the point $(0, 1)$**: well inside the circle of radius
# $\sqrt{2}\,m$ it is close to 0. Does your function agree?

# %% tags=["nbval-check-output"]
grid, worst = torch.linspace(-0.35, 0.9, 26, dtype=torch.float64), 0.0
for s_p in grid:
    for s_n in grid:
        z = 64 * (s_n**2 + (1 - s_p) ** 2 - 2 * 0.4**2) + math.log(2)
        found = contrastive_loss(s_p[None], s_n.expand(2), 0.4, 64, 1)
        worst = max(worst, float(abs(found - torch.nn.functional.softplus(z))))
print(f"{len(grid) ** 2} pairs (s_n, s_p): loss and circle agree to 1e-9: {worst < 1e-9}")

# %% [markdown]
# Think of a derivative as a force. On the left stand $-\partial L / \partial s_p$ and $\partial L / \partial s_n$ of your loss,
# each with the other kind of pair held on its target. **Predict**: is an unlike pair at 0.2, better than its target of 0.4,
# still pushed?

# %%
from labkit.fewshot.pair_forces import forces, pair_forces

pair_forces(contrastive_loss)

# %% [markdown]
# On the left it is not: below 0.3 there is hardly any force. On the right, where the like pair is far off (bottom), the arrows do
# push unlike pairs of 0.2 to the left. Both sums are inside one softplus, so the push on an unlike pair also depends on the
# worst like pair.
#
# Why are the costs constants? Compare the gradient of your loss with how the loss changes when $s_n$ is moved by a little,
# and the costs with it:

# %% tags=["nbval-check-output"]
def loss_at(s_n, s_p=0.3):
    both = torch.tensor([s_n, s_n], dtype=torch.float64)
    return float(contrastive_loss(torch.tensor([s_p], dtype=torch.float64), both, 0.4, 64, 1))


for s_n in (0.0, 0.2, 0.5):
    a_n = pair_weights(torch.tensor([0.3]), torch.tensor([s_n]), 0.4, 1)[1].item()
    moved = (loss_at(s_n + 1e-5) - loss_at(s_n - 1e-5)) / 2e-5
    print(f"at s_n = {s_n}: γ·a_n {64 * a_n:4.1f}, gradient {forces(contrastive_loss, 0.3, s_n)[2]:4.1f}, by moving {moved:4.1f}")

# %% [markdown]
# With constant costs the gradient is $\gamma\, a_n = 64\,(s_n + m)$. With costs that move it would be $64 \cdot 2 s_n$. Look at
# the first line: the unlike pairs would then be left alone, although the like pair at 0.3 keeps the loss high.
#
# ## 4 · Training
#
# ### Exercise 5: a training run
#
# *●●○ · 6 minutes*
#
# Vectors (batch, d) of any length and labels (batch,) in; out the loss of their pairs, with $m = 0.4$, $\gamma = 64$ and
# $k = 1$. The next cell trains a model with it.
#
# ```python
# training_loss(vectors, labels)  # 5.13 for the three texts of section 2
# ```


# %%
def training_loss(vectors, labels): ...  # your turn


training_loss = check.training_loss(training_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You have written both steps: pairs, then loss.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `like, unlike = pair_similarities(vectors, labels)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Name the arguments: `m=0.4, gamma=64, k=1`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def training_loss(vectors, labels):
#     like, unlike = pair_similarities(vectors, labels)
#     return contrastive_loss(like, unlike, m=0.4, gamma=64, k=1)
# ```
# </details>

# %%
from labkit.fewshot.methods import METHODS, Start
from labkit.training import Batches

way = METHODS["CP-Tuning without MLM"]
tuned = way.prepare(Start(model, tokenizer, task))  # a copy of the model with soft tokens, and the method
snapshots = [record(tuned.model, tuned.method, rows, test)]


def objective(model, batch):
    return training_loss(tuned.method.features(model, batch), batch["labels"])


def keep(step, loss):
    if step in (5, 20, 60):
        snapshots.append(record(tuned.model, tuned.method, rows, test, step))


history = labkit.fit(tuned.model, objective, Batches(rows, tuned.method.collate, 16, seed=0), steps=60,
                     lr=way.rate_for(model), seed=0, progress=lab.progress, on_step=keep)  # fmt: skip
results["CP-Tuning, yours"] = neighbours(tuned.model, tuned.method, rows, test)
print(f"loss: first step {history.losses[0]:.1f}, last {history.losses[-1]:.1f}; right: {results}")

# %% [markdown]
# Look at the texts at several moments (one plane for all, so what moves has moved), and below at the similarities of pairs.
#
# 1. Move the slider. Do the classes first drift apart, or first shrink?
# 2. Set *pairs* to **test with labelled**. Are both targets met for texts that the loss has never seen?

# %%
from labkit.widgets import feature_space

feature_space(snapshots, [row["label"] for row in rows], [row["label"] for row in test], task.labels)

# %% [markdown]
# After 5 steps all pairs have come closer, unlike ones too, and fewer test texts are right than before. Only later do the two
# classes separate. On these 200 texts your model is then ahead of the untrained cloze.
#
# ## 5 · Eight tasks
#
# One task and one [draw](../glossary.ipynb#draw) say little. Here are the paper's eight kinds of task as this world has
# them, 16 shots, five draws ([the numbers](../../docs/results.md#few-shot-methods-on-eight-tasks)). Small dots are draws,
# diamonds what the paper reports with a RoBERTa on real tasks. The scales differ, so compare the *order*. "Without MLM" is
# what you trained; with MLM the model also has to name hidden words of the texts ([what that
# brings](../../docs/results.md#parts-of-cp-tuning)). "fine-tune" trains a new [head](../glossary.ipynb#head).

# %%
from labkit.report.pages import page

page("fewshot_bert").plot()

# %% [markdown]
# In the paper CP-Tuning is first. Here PET, LM-BFF and WARP, which start from good words or look for some, are ahead of it.
# Is that so on every kind of task? The difference to PET with its [paired interval](../glossary.ipynb#paired-interval):

# %% tags=["nbval-check-output"]
KINDS = {"reviews": ("sst2", "mr", "cr"), "subjectivity": ("subj",), "pairs": ("mrpc", "qqp", "qnli", "rte")}
bert = page("fewshot_bert").report
for kind, names in KINDS.items():
    some = labkit.Report([row for row in bert.rows if row.task.removeprefix("world/") in names])
    for who in ("CP-Tuning", "CP-Tuning without MLM"):
        print(f"{kind:<12}", some.compare(who, "PET"))

# %% [markdown]
# On reviews no difference is [beyond noise](../glossary.ipynb#beyond-noise). On pairs of texts CP-Tuning is far behind. (Among
# six tests, one interval that only just leaves out 0, as in the fourth line, may be chance.) What is missing on pairs?
#
# CP-Tuning takes *two* things from PET, the words and the question: PET's [pattern](../glossary.ipynb#pattern) for `mrpc`
# ends with "do they say the same ? ___", CP-Tuning's template with "it is ___". **Predict**: your neighbours *at PET's blank*
# have the question and no words. Are they nearer to the cloze, or to the neighbours at "it is"?

# %%
from labkit.report import Table

lines = []
for name in KINDS["pairs"]:
    one = labkit.load_task(f"world/{name}").few_shot(16, seed=0)
    shown, asked = one.splits["train"], one.splits["test"][:300]
    cloze = PET.for_task(one, tokenizer)
    ways = [CPTuning(cloze.template, one.labels, tokenizer), CPTuning.for_task(one, tokenizer)]
    right = [share_right(labkit.predict(model, cloze, asked).argmax(1), asked)]
    right += [neighbours(model, how, shown, asked) for how in ways]
    lines.append((name, *(f"{100 * value:.1f}" for value in right)))
Table(("nothing trained, % right", "cloze", "neighbours at PET's blank", "neighbours at “it is”"), tuple(lines))

# %% [markdown]
# Compare the columns line by line. On `mrpc`, `qnli` and `rte` the question alone brings the neighbours more than half of the
# way to the cloze; on `qqp` hardly at all. (300 texts: the standard error of a cell is below 3 points.) So on pairs the
# universal template leaves out more than words. A likely reason: in pre-training the model has compared two texts only where
# a question asked for it.
#
# ## 6 · Words that mean nothing
#
# Back to reviews. How much does an untrained cloze depend on its words? They are common (*natural*), *rare*, without meaning
# here (*arbitrary*), or have the right meaning but one is much rarer than the other (*unequal*). The level lines have no words:
# your neighbours before and after training. Look through the choices: which words are the worst, and what share of the
# reviews would they get right in exchanged places?

# %%
from labkit.fewshot.auto_prompts.candidates import blank_log_probabilities
from labkit.widgets import label_words

WORDS = {"natural": ("bad great", "awful good", "terrible nice"), "rare": ("vile heavenly", "lousy phenomenal"),
         "arbitrary": ("city river", "table monday", "monday north"), "unequal": ("dismal superb", "vile good")}  # fmt: skip
said = blank_log_probabilities(model, tokenizer, PET.for_task(task, tokenizer).template, test)  # (rows, vocabulary)
swaps = labkit.Report()
for quality, choices in WORDS.items():
    for choice, words in enumerate(choices):
        value = share_right(said[:, tokenizer.convert_tokens_to_ids(words.split())].argmax(1), test)
        swaps.add(f"cloze, {quality}", task, value, seed=choice, quality=quality, choice=choice, words=words)
for name in ("neighbours, untrained", "CP-Tuning, yours"):
    swaps.add(name, task, results[name])
label_words(swaps)

# %% [markdown]
# Common and rare words serve alike, as long as the two are about equally frequent: the word that is much rarer than its
# partner has the lower logit after nearly every review, so the cloze gives nearly always the same answer. Two arbitrary words are a
# direction that has nothing to do with the question, and may point the wrong way. In exchanged places every answer would be
# turned round. CP-Tuning never looks at words, so none of this concerns it. (All this is before training, which can repair a
# part of it: [The quality of label words](../../docs/results.md#the-quality-of-label-words).)
#
# ## 7 · So, can a blank do without words?
#
# **On reviews, yes.** Thirty-two labelled texts and their 496 pairs replace the two words: over five draws there is no
# difference to PET beyond noise. **On pairs of texts, no.** There the model needs a question, which the universal template
# does not ask, and CP-Tuning stays far behind PET. So it is a method for classes without natural words, on tasks whose answer
# the blank holds without a question. Look at the untrained neighbours first: where they are near guessing at "it is", try
# the task's own pattern, `CPTuning(pattern, labels, tokenizer)`.
#
# ## Read on
#
# - Xu et al. 2022, linked above; Sun et al. 2020, [*Circle loss*](https://arxiv.org/abs/2002.10857), which is this loss with
#   $k = 1$.
# - On real sentences with a sentence encoder: [Few-shot methods with MiniLM on real
#   data](../../docs/results.md#few-shot-methods-with-minilm-on-real-data).
# - On real sentences with a real language model, the same picture, above a head on sentiment and not on pairs: [Few-shot
#   methods with Gemma 3 270M on real data](../../docs/results.md#few-shot-methods-with-gemma-3-270m-on-real-data).
# - [`cp_tuning.py`](../../labkit/fewshot/cp_tuning.py): `pccl` is your `training_loss`; `rule="mean"` compares with class
#   means, for tasks with many classes.
# - Next, [03/05](05_auto_prompts.ipynb): if words are wanted after all, let the machine look for them.
