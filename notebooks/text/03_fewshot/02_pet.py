# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # PET: asking the model, instead of teaching a head
#
# You have eight labelled reviews, four of each class, and want a classifier. A new [head](../glossary.ipynb#head)
# starts from random numbers. But a pre-trained language model has a head already, the one that fills blanks.
# *Pattern-exploiting training* (PET) turns the task into a blank for it. What do eight labels add to a model that can
# already be asked?
#
# **After this lesson you can** write a classifier as a [cloze](../glossary.ipynb#cloze) and train it; compare it with a
# new head; use several words per class and several patterns; let models teach one another on texts without labels
# (iPET), and say when labels help at all.
#
# **45 minutes.** Before it: [prompts](01_prompts.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="03/02")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}
SHOTS = 4  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Eight reviews, two heads
#
# `few_shot` draws four training rows per class (four [shots](../glossary.ipynb#shot)); all other training rows lose
# their labels. The page asks 300 test reviews. The shortest of them, read by a new head that learns from the eight
# reviews, and by the cloze, which learns nothing. The cloze is the [pattern](../glossary.ipynb#pattern) "it was ___ ."
# with the words "bad" and "great":

# %%
import copy

from labkit.fewshot.pet import PET
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches

model, tokenizer = labkit.load_model(MODEL, head="mlm")
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
rows, test, unlabelled = task.splits["train"], task.splits["test"][:300], task.splits["unlabelled"][:300]
cloze, head = PET.for_task(task, tokenizer), HeadClassifier(tokenizer, task.fields)


def trained(model, method, rows, lr=3e-5, objective=None):
    """`model` after 60 steps of 8 rows each, by the method's own loss or by `objective`."""
    batches = Batches(rows, method.collate, 8, seed=0)
    labkit.fit(model, objective or method.loss, batches, steps=60, lr=lr, seed=0, progress=lab.progress)
    return model


# %%
import numpy as np

with_head = trained(add_head(model, task.labels, seed=0), head, rows, lr=3e-4)
review = min(test, key=lambda row: len(row["text"]))
print(f"{review['text']} ({task.labels[review['label']]})\n")
for name, one, method in (
    ("new head, 60 steps on eight reviews", with_head, head),
    ("cloze, nothing trained", model, cloze),
):
    shares = labkit.predict(one, method, [review], progress=False)[0]
    print(f"{name}: negative {shares[0]:.0%}, positive {shares[1]:.0%}")

# %% tags=["nbval-check-output"]
truth = np.array([row["label"] for row in test])  # (rows,)


def right(model, method, some=test):
    """The share of labelled rows that the model answers right."""
    answers = labkit.predict(model, method, some, progress=False).argmax(1)
    return float((answers == np.array([row["label"] for row in some])).mean())


scores = {"new head": right(with_head, head), "cloze, untrained": right(model, cloze)}
for name, score in scores.items():
    print(f"{name}: {score:.0%} of {len(test)} reviews right")
print(f"guessing: {task.chance:.0%}, the best possible reader: {task.ceiling:.0%}")

# %% [markdown]
# The head guesses, and the cloze, which has seen no label, comes close to the best possible reader. (That one is not at
# 100 %, because some reviews contradict their label.)
#
# ## 2 · A blank instead of a head
#
# **A new head** has a vector $w_l$ and a bias for each label, drawn at random. Nothing that the model learned in
# pre-training says what they should be. **PET** has no new weight. For a blank, the model gives a
# [logit](../glossary.ipynb#logit) to each word of its vocabulary. Take a vocabulary of four words, "bad", "the",
# "great", "so", with the logits $2, 0, 1, 3$. "so" is the likeliest, but it is no answer. Between "bad" and "great" the
# [softmax](../glossary.ipynb#softmax) gives
#
# $$\frac{e^2}{e^2 + e^1} = 0.73 \quad \text{and} \quad \frac{e^1}{e^2 + e^1} = 0.27 .$$
#
# With the pattern $P$, which writes the text $x$ into a sentence with a blank, the
# [verbalizer](../glossary.ipynb#verbalizer) $v$, which names a word for each label, and the logit $M(w \mid z)$ of word
# $w$ in the blank of $z$:
#
# $$q(l \mid x) = \frac{e^{M(v(l) \mid P(x))}}{\sum_{l'} e^{M(v(l') \mid P(x))}} .$$
#
# (Schick & Schütze 2021, [*Exploiting cloze questions for few-shot text
# classification*](https://arxiv.org/abs/2001.07676), §3.1.)
#
# ### Exercise 1: the verbalizer
#
# *●○○ · 5 minutes*
#
# The blank's logits (batch, vocabulary) and one word id per class (classes,) in; $q$, (batch, classes), out. The model
# learns through it, so it keeps its gradient.
#
# ```python
# label_probabilities(torch.tensor([[2.0, 0.0, 1.0, 3.0]]), torch.tensor([0, 2]))  # [[0.73, 0.27]]
# ```

# %%
import torch

from labkit.checks import pet as check


def label_probabilities(blank_logits, word_ids): ...  # your turn


label_probabilities = check.label_probabilities(label_probabilities)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The formula has two steps: *pick* the label words' logits, then *normalise* over them. Which of the two comes first?
# </details>
#
# <details><summary>Hint 2</summary>
#
# `blank_logits[:, word_ids]` picks one column per class, in the order of the classes: (batch, classes).
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.softmax(dim)` along the dimension of the classes. If each *column* of your result sums to 1, it was the other one.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def label_probabilities(blank_logits, word_ids):
#     return blank_logits[:, word_ids].softmax(-1)
# ```
# </details>
#
# Play with the cloze before you train it. **Which half wins in a review whose halves disagree, and does it still win
# when you exchange them?** Then replace `bad, terrible` by `mediocre`, which is rare. What happens to the *other*
# label?

# %%
from labkit.widgets import prompt_explorer

prompt_explorer(
    model, tokenizer, "we found the blender polished . the lid seemed so ugly to us .", "{text} it was {mask} .",
    {"negative": ["bad", "terrible"], "positive": ["great", "good"]},
)  # fmt: skip

# %% [markdown]
# ## 3 · What eight labels add
#
# PET's loss is the [cross-entropy](../glossary.ipynb#cross-entropy) of the labelled rows, $-\log q(l_i \mid x_i)$, a
# mean over them. It changes the whole model, in small steps, because the model is good already. **Predict**: the
# untrained cloze has seen no label, and PET sees eight. By how many points will PET be ahead? Your function trains it:

# %%
word_ids = cloze.verbalizer.word_ids[:, 0]  # of "bad" and "great"


def objective(model, batch):
    shares = label_probabilities(cloze.mask_logits(model, batch)[:, 0], word_ids)  # (batch, classes)
    return torch.nn.functional.nll_loss(shares.clamp(min=1e-12).log(), batch["labels"])


with_pet = trained(copy.deepcopy(model), cloze, rows, objective=objective)

# %% tags=["nbval-check-output"]
scores["PET"] = right(with_pet, cloze)
error = 2 * (2 * 0.25 / len(test)) ** 0.5  # two standard errors of a difference, at most
print(
    "PET is ahead of the untrained cloze by more than two standard errors:",
    scores["PET"] - scores["cloze, untrained"] > error,
)
for name, one in (("untrained", model), ("trained", with_pet)):
    print(f"of the {len(rows)} labelled reviews the {name} cloze gets {right(one, cloze, rows) * len(rows):.0f} right")

# %% [markdown]
# It is not ahead, and the last two lines say why. The untrained cloze is right in most test reviews, but it fails in
# most of these eight: this [draw](../glossary.ipynb#draw) has many reviews that contradict their label. After training
# all eight are right, but what had to change for them is of no use for other reviews.
#
# One draw says little. Here are three, with 1, 4 and 16 examples per class ([all
# numbers](../../docs/results.md#pet-against-a-head)). A point is the mean, a bar one
# [standard deviation](../glossary.ipynb#standard-deviation); at 0 stands the untrained cloze.

# %%
from labkit.report.pages import page

measured = page("pet_reviews").report
measured.lines("shots", label="labelled examples per class", title="PET against a new head, world/reviews, three draws")

# %% tags=["nbval-check-output"]
for shots in (1, 4, 16):
    print(f"{shots:>2} per class:", measured.compare(f"PET, {shots}-shot", f"fine-tune [mean], {shots}-shot"))
untrained = next(row.value for row in measured.rows if row.method == "PET, zero-shot")
clozes = [row.value for row in measured.rows if row.method.startswith("PET") and row["shots"]]
print(f"of {len(clozes)} trained clozes, {sum(value < untrained for value in clozes)} are behind the untrained one")

# %% [markdown]
# Look at the two ends of the picture. **On the left**, with no label, the cloze is as good as it will be: this world's
# pre-training text ends many reviews with a verdict, so the model has been asked this question thousands of times. A
# few labels take something away, and most of it with one example per class, where one misleading review is half of the
# data. **On the right**, the heads have hardly left 50 %. So PET's lead over the head comes from pre-training, not from
# the labels.
#
# The paper has the same gap and shows where it closes. On AG's News, ten labelled examples *in all* give 25.0 % with a
# fine-tuned RoBERTa and 87.5 % with PET; a hundred give 86.0 % and 88.3 % (Table 1).
#
# What is cheap is text *without* labels. The rest of the lesson asks whether it can win back what the labels have cost.
#
# ## 4 · Several words: Fuzzy-PET
#
# Somebody chose "bad" and "great". A rare word beside a frequent one would give the same answer after every review, as
# in [lesson 03/01](01_prompts.ipynb). So give each class several words, and add up their *probabilities*. Take four
# words with the probabilities $0.5, 0.3, 0.1, 0.1$, of which the first and the third belong to class 0, the others to
# class 1. Class 0 gets $0.5 + 0.1 = 0.6$, class 1 gets $0.3 + 0.1 = 0.4$. One likely word is enough, and an unlikely
# one does no harm. (To add up the *logits* would multiply the probabilities: $0.05$ against $0.03$.) With $p$, the
# softmax over the **whole vocabulary**, and $K$ words $v_1(l), \dots, v_K(l)$ per class:
#
# $$q(l \mid x) = \frac{\sum_k p\big(v_k(l) \mid P(x)\big)}{\sum_{l'} \sum_k p\big(v_k(l') \mid P(x)\big)} .$$
#
# This is the *fuzzy verbalizer* of the system with which Alibaba PAI and DAMO won the FewCLUE benchmark
# ([03/08](08_fewclue.ipynb)).
#
# ### Exercise 2: the fuzzy verbalizer
#
# *●●○ · 8 minutes*
#
# Blank logits (batch, vocabulary) and word ids (classes, K) in; $q$, (batch, classes), out.
#
# ```python
# logits = torch.tensor([[0.5, 0.3, 0.1, 0.1]]).log()
# fuzzy_probabilities(logits, torch.tensor([[0, 2], [1, 3]]))  # [[0.6, 0.4]]
# ```


# %%
def fuzzy_probabilities(blank_logits, word_ids): ...  # your turn


fuzzy_probabilities = check.fuzzy_probabilities(fuzzy_probabilities)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Add *probabilities*, not logits: adding logits would multiply the probabilities, and a single unlikely word would veto
# its class.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `p = blank_logits.softmax(-1)` is (batch, vocabulary), and `p[:, word_ids]` is (batch, classes, K).
# </details>
#
# <details><summary>Hint 3</summary>
#
# Sum over the last dimension, then divide by the sum over the classes (`keepdim=True`).
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def fuzzy_probabilities(blank_logits, word_ids):
#     mass = blank_logits.softmax(-1)[:, word_ids].sum(-1)
#     return mass / mass.sum(-1, keepdim=True)
# ```
# </details>
#
# "vile" is rare and "good" is frequent. **Predict**: what does the untrained cloze say with these two words, and what
# with both pairs?

# %% tags=["nbval-check-output"]
from labkit.fewshot.auto_prompts.candidates import blank_log_probabilities

model.eval()
blanks = blank_log_probabilities(model, tokenizer, cloze.template, test[:200])  # (rows, vocabulary)
ids = torch.tensor([tokenizer.convert_tokens_to_ids(some) for some in (["bad", "vile"], ["great", "good"])])
for name, some in (("bad / great", ids[:, :1]), ("vile / good", ids[:, 1:]), ("both pairs", ids)):
    answers = fuzzy_probabilities(blanks, some).argmax(1)
    share = (answers == torch.tensor(truth[:200])).float().mean()
    print(f"{name:<12} right {share:.0%}, says positive {(answers == 1).float().mean():.0%}")

# %% [markdown]
# The bad pair does no harm beside the good one. So several words are an insurance against one bad choice, and not a
# gain over a good one.
#
# ## 5 · Several patterns, one vote
#
# The pattern was somebody's choice too. PET takes several, trains a model with each, and lets them vote. Two models and
# one text: the first has the scores $(2, 0)$ and the weight 3, the second has $(0, 0)$ and the weight 1. The weighted
# mean is $\big((3 \cdot 2 + 1 \cdot 0) / 4, 0\big) = (1.5, 0)$. At the
# [temperature](../glossary.ipynb#temperature) 2 this is divided by 2, and the softmax of $(0.75, 0)$ is $(0.68, 0.32)$. With the score $s_m(l \mid x)$ of model
# $m$, which is its log-probability, and its weight $w_m$:
#
# $$\tilde q(l \mid x) = \mathrm{softmax}\bigg( \frac{\sum_m w_m\, s_m(\cdot \mid x)}{T \, \sum_m w_m} \bigg)_l .$$
#
# These are [soft labels](../glossary.ipynb#soft-label). PET computes them for thousands of texts, and an ordinary
# classifier learns from them. $T > 1$ flattens, so that the classifier also sees which wrong label was nearly right.
#
# ### Exercise 3: soft labels
#
# *●●○ · 8 minutes*
#
# Scores (models, batch, classes), weights (models,) and $T$ in; soft labels (batch, classes) out.
#
# ```python
# soft_labels(torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]]), torch.tensor([3.0, 1.0]), 2)  # [[0.68, 0.32]]
# ```


# %%
def soft_labels(scores, weights, temperature): ...  # your turn


soft_labels = check.soft_labels(soft_labels)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Average the *scores*, then take one softmax. Averaging the models' probabilities is a different formula: it has no
# single temperature.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `weights[:, None, None]` has the shape (models, 1, 1) and multiplies scores of (models, batch, classes).
# </details>
#
# <details><summary>Hint 3</summary>
#
# Divide by `weights.sum()`, divide by the temperature, softmax over the last dimension.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def soft_labels(scores, weights, temperature):
#     mean = (weights[:, None, None] * scores).sum(0) / weights.sum()
#     return (mean / temperature).softmax(-1)
# ```
# </details>

# %%
ways = [cloze, *(PET.for_task(task, tokenizer, pattern=number) for number in (1, 2))]
models = [with_pet, *(trained(copy.deepcopy(model), way, rows) for way in ways[1:])]


def said(models, rows):
    """Scores of every model: (models, rows, classes)."""
    each = [labkit.predict(one, way, rows, progress=False) for one, way in zip(models, ways, strict=True)]
    return torch.from_numpy(np.stack(each)).clamp(1e-12).log()


before = said(models, test)
vote = soft_labels(before, torch.ones(3), 1.0)
for way, one in zip(ways, before, strict=True):
    print(f"{str(way.template):<34} {float((one.argmax(1).numpy() == truth).mean()):.1%}")
print(f"{'their vote':<34} {float((vote.argmax(1).numpy() == truth).mean()):.1%}")

# %% [markdown]
# Nobody knows beforehand which pattern is the best, and the vote need not know it.
#
# ## 6 · Teaching one another: iPET
#
# Models that can label texts can make training rows. But which answers should be believed? The surest ones, if *the
# surer* means *the righter*. Sort the vote's answers by confidence. **Predict**: how many of the surest 10 % are right?

# %%
from labkit.report import coverage

coverage(vote.numpy(), truth.tolist(), "Three patterns vote: how right are the surest?")

# %% [markdown]
# The curve falls from left to right, as it should: the surer, the righter. But a review that contradicts its label is
# read with full confidence, and wrongly. So among the sure answers some are wrong, though fewer.
#
# Rows are taken **class by class**. Otherwise the easiest class would fill the training set, and the next model would
# prefer it even more. And a row is taken only for the class that is likeliest for it.
#
# ### Exercise 4: the surest rows
#
# *●●○ · 10 minutes*
#
# Probabilities (rows, classes) and a number per class in; a list of `(row, class)` out. For each class $c$, of the rows
# whose likeliest class is $c$, the `per_class` with the highest probability; fewer where there are not so many.
#
# ```python
# p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
# most_confident(p, 1)  # [(0, 0), (2, 1)]
# most_confident(p, 2)  # [(0, 0), (1, 0), (2, 1)]: class 1 has only one row
# ```


# %%
def most_confident(probabilities, per_class): ...  # your turn


most_confident = check.most_confident(most_confident)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `answers = probabilities.argmax(1)` says for each row which class it may be taken for.
# </details>
#
# <details><summary>Hint 2</summary>
#
# For class `c`: `own = (answers == c).nonzero().flatten()` are its rows; sort *them*, not all rows, by
# `probabilities[own, c]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `own[probabilities[own, c].argsort(descending=True)][:per_class]`; a slice longer than the tensor is no error.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def most_confident(probabilities, per_class):
#     answers, chosen = probabilities.argmax(1), []
#     for c in range(probabilities.shape[1]):
#         own = (answers == c).nonzero().flatten()
#         surest = own[probabilities[own, c].argsort(descending=True)][:per_class]
#         chosen += [(int(row), c) for row in surest]
#     return chosen
# ```
# </details>

# %%
for per_class in (10, 50, 100):
    chosen = most_confident(vote, per_class)
    share = sum(int(truth[row]) == c for row, c in chosen) / len(chosen)
    print(f"at most {per_class:>3} per class: {len(chosen):>3} test reviews, {share:.0%} with their right label")

# %% [markdown]
# *Self-training* adds a model's own surest answers to its training rows. But a model's errors are the ones that it
# would only repeat. In *iPET* the models do it **for one another**: each is taught by the vote of the *others*, in
# generations whose training sets grow.
#
# ### Exercise 5: a generation
#
# *●●● · 10 minutes*
#
# Scores (models, rows, classes) and a number per class in; out a list with one entry per model: the `(row, class)` that
# it shall learn. They are the surest rows of the soft labels of all *other* models, with equal weights and $T = 1$.
#
# ```python
# scores = torch.tensor([[[0.9, 0.1], [0.6, 0.4]], [[0.3, 0.7], [0.8, 0.2]]]).log()  # two models, two rows
# generation(scores, 1)  # [[(1, 0), (0, 1)], [(0, 0)]]: the first learns what the second says, and the other way round
# ```


# %%
def generation(scores, per_class): ...  # your turn


generation = check.generation(generation)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A loop over the models; for each, `soft_labels` of the others, then `most_confident`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.cat([scores[:own], scores[own + 1 :]])` are the others' scores.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The weights are `torch.ones(len(others))`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def generation(scores, per_class):
#     taught = []
#     for own in range(len(scores)):
#         others = torch.cat([scores[:own], scores[own + 1 :]])
#         voted = soft_labels(others, torch.ones(len(others)), 1.0)
#         taught.append(most_confident(voted, per_class))
#     return taught
# ```
# </details>
#
# With your functions, 300 reviews without labels, and 24 of them per class, every model is trained anew. **Predict**:
# will they be ahead of the untrained cloze?

# %%
taught = generation(said(models, unlabelled), 24)
new = [
    trained(copy.deepcopy(model), way, [*rows, *({**unlabelled[int(row)], "label": int(c)} for row, c in some)])
    for way, some in zip(ways, taught, strict=True)
]  # fmt: skip
after = said(new, test)
for name, some in (("eight labels", before), ("and one generation", after)):
    each = [float((one.argmax(1).numpy() == truth).mean()) for one in some]
    print(f"{name:<19}", ", ".join(f"{share:.1%}" for share in each), f"· mean {sum(each) / 3:.1%}")
print(f"the untrained cloze: {scores['cloze, untrained']:.1%}")

# %% tags=["nbval-check-output"]
each = [float((one.argmax(1).numpy() == truth).mean()) for one in (*before, *after)]
print(
    "all six are within two standard errors of the untrained cloze:",
    all(abs(one - scores["cloze, untrained"]) < error for one in each),
)

# %% [markdown]
# On 300 reviews nothing is gained or lost beyond [noise](../glossary.ipynb#beyond-noise). The smaller effects need more
# rows: here are three tasks with all test rows and two generations (one draw of four examples per class). Methods with
# an arrow end in an ordinary classifier, taught by soft labels. Diamonds are the paper's, on AG's News ([all
# numbers](../../docs/results.md#what-was-built-on-pet)):

# %%
page("pet_family").plot()

# %% tags=["nbval-check-output"]
family, alone = page("pet_family").report, {"world/reviews": untrained}
for name, of in (("world/news", "mini-bert-en"), ("world/fewclue/eprstmt", "mini-bert-zh")):
    its_model, its_tokenizer = labkit.load_model(of, head="mlm")
    other = labkit.load_task(name)
    alone[name] = labkit.evaluate(its_model, PET.for_task(other, its_tokenizer), other, progress=False)[other.metric]
for name, cloze_alone in alone.items():
    value = {row.method: row.value for row in family.rows if row.task == name}
    print(
        f"{name:<22} untrained cloze {cloze_alone:.1%}, PET {value['PET']:.1%}, iPET {value['iPET → classifier']:.1%}"
    )

# %% [markdown]
# The order is the paper's: head, PET, ensemble, iPET. In all three lines PET is below the untrained cloze. Texts without
# labels win back what a few labels have cost, because beside hundreds of pseudo-labelled rows a few misleading ones
# weigh less: iPET ends about where the untrained cloze began.
#
# ## 7 · So, what do eight labels add?
#
# **To a head**, everything that it knows, and that is hardly more than guessing. **To a cloze whose question the model
# knows**, nothing: on average a few labels cost a little, and texts without labels win it back. There, labels are worth
# more for measuring the untrained cloze than for changing it. Labels help where pre-training has hardly asked the
# question: lesson [03/05](05_auto_prompts.ipynb) has one.
#
# All this fails when the surest answers are wrong in the same way, because self-training then repeats the error. Draw
# the curve of section 6 before you trust it.
#
# An *app* is a folder with model, tokenizer and method. `labkit serve` opens it as a page, `labkit predict` runs it
# over a file, and [distillation](../04_compression/01_distillation.ipynb) takes it as its teacher:

# %%
from labkit.apps import load_app, save_app

save_app("artefacts/03_02_pet", with_pet, tokenizer, cloze, task)
load_app("artefacts/03_02_pet").predict("i found the soup superb . she told me that the waiter was charming .")

# %% [markdown]
# ## Read on
#
# - Schick & Schütze 2021, linked above, and [*It's not just size that matters*](https://arxiv.org/abs/2009.07118) (small models
#   against GPT-3).
# - `labkit/fewshot/pet/`: [`pet.py`](../../labkit/fewshot/pet/pet.py), [`fuzzy.py`](../../labkit/fewshot/pet/fuzzy.py),
#   [`self_training.py`](../../labkit/fewshot/pet/self_training.py): your `generation` is the loop of its `ipet`.
# - In class: the assignment `assignments/source/03_fewshot`; to show others: `labkit demo fewshot`.
# - Next, [03/03](03_soft_prompts.ipynb): the pattern itself is learned, as vectors that need not be words; and
#   [03/04](04_cp_tuning.ipynb) does without label words.
