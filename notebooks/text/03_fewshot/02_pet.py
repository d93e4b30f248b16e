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
# You have four labelled reviews of each kind and want a classifier. A new classification head starts from random
# numbers and has eight sentences to become useful. But a pre-trained language model already has a head: the one that
# fills blanks. *Pattern-exploiting training* (PET) turns the task into a blank that this head can fill.
#
# **After this lesson you can**
#
# - write a classifier as a cloze, with a *pattern* and a *verbalizer*, and say why it needs no new weights;
# - train it, measure it against head fine-tuning at 1, 4 and 16 examples per class, and say when training helps;
# - make it independent of one lucky choice of words (Fuzzy-PET) and of one pattern (an ensemble);
# - let models label data for themselves and for one another (self-training, iPET), and tell when that helps.
#
# **45 minutes.** Before it: [pre-training](../01_foundations/04_pretraining.ipynb), where the blank-filling head comes
# from. You need Python and a little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="03/02")

# %% [markdown]
# Everything below follows from these three strings. Try a hub model (`"bert-base-uncased"`), a folder, or a task of your
# own (`"table:train.tsv,dev.tsv,test.tsv"`), and run all cells again.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}
SHOTS = 4  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Eight sentences
#
# `few_shot` draws `SHOTS` training rows of each class. The rest of the training rows lose their labels: unlabelled text is
# cheap, labels are not, and the second half of this lesson makes use of that. Of the test set this page asks the first 400
# rows, to be quick; the measured tables further down ask all 1000.

# %%
from dataclasses import replace

from labkit.report import Table

task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
task = replace(task, splits={**task.splits, "test": task.splits["test"][:400]})
rows = task.splits["train"]
Table(("label", "review"), tuple((task.labels[row["label"]], row["text"]) for row in rows))

# %% tags=["nbval-check-output"]
print(
    f"{len(rows)} labelled rows, {len(task.splits['unlabelled'])} without a label, {len(task.splits['test'])} to test on"
)
print(
    f"guessing is right in {100 * task.chance:.0f} %, the best possible reader in {100 * task.ceiling:.1f} %"
)

# %% [markdown]
# Why not 100 %? One opinion in eight contradicts its review's label, and in some reviews such opinions are the majority. Look
# at the first row above: a tasteful solo, a thrilling guitar, and the label is "negative". The world that made these sentences
# knows the best accuracy that any reader can reach, so every table can show it. And not every opinion is one plain word of
# praise or blame: "not wild at all" and "could not have been better" have to be composed from their parts.
#
# ## 2 · A blank instead of a head
#
# **Fine-tuning a head.** Let $h_x \in \mathbb{R}^d$ be the mean of the model's hidden vectors for text $x$. A new head
# gives each label $l$ a probability
#
# $$q_{\text{head}}(l \mid x) = \mathrm{softmax}(W h_x + b)_l ,$$
#
# with $W \in \mathbb{R}^{\text{labels} \times d}$ drawn at random. Nothing the model learned in pre-training says what
# the rows of $W$ should be.
#
# **PET.** A *pattern* $P$ writes the text into a sentence with one blank, `it was ___ .` A *verbalizer* $v$ names a word
# for each label: $v(\text{negative}) =$ "bad", $v(\text{positive}) =$ "great". Let $M(w \mid z)$ be the logit with which
# the language model puts word $w$ into the blank of $z$. A label's score is its word's logit, and the answer is the
# softmax **over the label words only**:
#
# $$s(l \mid x) = M\big(v(l) \mid P(x)\big), \qquad q(l \mid x) = \frac{e^{s(l \mid x)}}{\sum_{l'} e^{s(l' \mid x)}} .$$
#
# (Schick & Schütze 2021, [*Exploiting cloze questions for few-shot text classification*](https://arxiv.org/abs/2001.07676),
# §3.1.) There is no new weight in it. Here it is, with nothing but the model's own forward pass:

# %%
import torch

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()

pattern = "{text} it was {mask} ."
words = {"negative": "bad", "positive": "great"}


word_ids = tokenizer.convert_tokens_to_ids(list(words.values()))  # one per label


def blank_logits(text: str) -> torch.Tensor:
    """The model's logits for the blank: (vocabulary,)."""
    filled = pattern.replace("{text}", text).replace("{mask}", tokenizer.mask_token)
    inputs = tokenizer(filled, return_tensors="pt")
    blank = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
    with torch.no_grad():
        return model(**inputs).logits[0, blank]


def cloze(text: str) -> torch.Tensor:
    """Probability of each label: (labels,)."""
    return blank_logits(text)[word_ids].softmax(0)


for text in (
    "the solo was tasteful . there was a thrilling guitar .",
    "the phone was tedious . what an ugly screen .",
    "the plot was far from dull . the cast was not bad at all .",
):
    print(
        f"{text:<58}",
        {label: round(p, 3) for label, p in zip(words, cloze(text).tolist(), strict=True)},
    )

# %% [markdown]
# Nobody has shown the model a label yet, and it has an opinion on the first two. The third praises by negation, and there it
# is undecided. Play with it before reading on. (The model has 1.5 million parameters and knows the words of its own world
# only: "pancake" falls into letters, which say little. With `MODEL = "bert-base-uncased"` it knows yours.)
#
# 1. Write a review whose two halves disagree. Which half wins? Swap their order.
# 2. Change the pattern to `all in all it was {mask} .` and to `the book was {mask} .` Does the answer move?
# 3. Replace `bad` by a word that is negative but rare, such as `mediocre`. What happens to the *other* label, and why?

# %%
from labkit.widgets import prompt_explorer

prompt_explorer(
    model, tokenizer, "we found the blender polished . the lid seemed so ugly to us .", "{text} it was {mask} .",
    {"negative": ["bad", "terrible"], "positive": ["great", "good"]},
)  # fmt: skip

# %% [markdown]
# ### Your turn: the verbalizer
#
# *●○○ · 5 minutes*
#
# Given the blank's logits for a batch of texts, $(\text{batch}, \text{vocabulary})$, and one word id per class,
# $(\text{classes},)$, return $q(l \mid x)$: $(\text{batch}, \text{classes})$.
#
# For example, a vocabulary of four words, `blank_logits = [[2, 0, 1, 3]]` and `word_ids = [0, 2]`: the label words have the
# logits 2 and 1, and the softmax over these two gives `[[0.73, 0.27]]`. The fourth word, the likeliest of all, does not count.

# %%
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
# `blank_logits[:, word_ids]` picks one column a class, in the order of the classes: (batch, classes).
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

# %% [markdown]
# ### The same, made safe
#
# The functions above break easily: a review that contains the text `[MASK]` has two blanks; a long one is cut, blank and all;
# a label word may be several pieces of the tokenizer. `labkit.fewshot.pet.PET` takes care of all that, and is otherwise what
# you just wrote. These are its two central methods, and below them your function beside the library's on a hundred reviews:

# %%
import inspect

from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.verbalizer import Verbalizer

pet = PET(pattern, Verbalizer(words, tokenizer), tokenizer)
print(inspect.getsource(PET.logits), inspect.getsource(PET.loss), sep="\n")

# %% tags=["nbval-check-output"]
some = task.splits["test"][:100]
logits = torch.stack([blank_logits(row["text"]) for row in some])  # (batch, vocabulary)
by_hand = label_probabilities(logits, torch.tensor(word_ids))
by_labkit = torch.from_numpy(labkit.predict(model, pet, some))
print("largest difference below 1e-5:", bool((by_hand - by_labkit).abs().max() < 1e-5))

# %% [markdown]
# ## 3 · Training, and what a few examples are worth
#
# PET's loss is the cross-entropy of the $N$ labelled examples, $L = -\frac{1}{N}\sum_i \log q(l_i \mid x_i)$. It changes
# the whole model, gently: the pre-trained head is good already, and large steps would make it forget. Both methods get
# the same rows, the same number of steps, and each its own learning rate, the best of several on the dev rows of eight
# tasks (`benchmarks/fewshot.py tune`).
#
# **Before you run the next cell**: the untrained cloze has seen no label, PET sees eight. By how many points will PET be
# ahead of it?

# %%
import copy

from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches


def trained(model, method, rows, lr, seed=0, steps=60):
    """`model` after `steps` steps of the method's loss on `rows`."""
    batches = Batches(rows, method.collate, min(16, len(rows)), seed=seed)
    labkit.fit(model, method.loss, batches, steps=steps, lr=lr, seed=seed, progress=lab.progress)
    return model


def score(model, method):
    return labkit.evaluate(model, method, task, "test", progress=lab.progress)[task.metric]


# The task brings patterns and words of its own; this is its first pattern.
pet = PET.for_task(task, tokenizer)
report = labkit.Report()
report.add("cloze, untrained", task, score(model, pet))

head = HeadClassifier(tokenizer, task.fields)
with_head = trained(add_head(model, task.labels, seed=0), head, rows, 3e-4)
report.add("fine-tune [mean]", task, score(with_head, head))
with_pet = trained(copy.deepcopy(model), pet, rows, 3e-5)
report.add("PET", task, score(with_pet, pet))
report.table()

# %% tags=["nbval-check-output"]
for name, some in (("untrained", model), ("trained", with_pet)):
    answers = labkit.predict(some, pet, rows).argmax(1)
    right = sum(int(answer) == row["label"] for answer, row in zip(answers, rows, strict=True))
    print(f"of the eight labelled reviews, the {name} cloze gets {right} right")

# %% [markdown]
# The head is at chance, and PET is not ahead of the untrained cloze but behind it. The second cell says why. This draw is an
# unlucky one: its opinions mislead so often that the untrained cloze, which is right on most of the test set, fails on
# most of these eight. Training made all eight right. It could do so only by learning exceptions by heart, and what it
# learned there does not hold for other reviews.
#
# One draw of eight sentences says little. So here is the same experiment three times at 1, 4 and 16 examples per class
# (`python benchmarks/pet.py`; [its rows](../../labkit/results/pet_reviews.json)). A point is the mean, a bar one standard
# deviation.

# %%
from labkit.report import results

measured = results("pet_reviews")
measured.lines(
    "shots",
    label="labelled examples per class",
    title="PET against a new head, world/reviews, three draws",
)

# %% [markdown]
# Look at three things. **The best point of the picture is the untrained cloze, at 0 examples.** This world's pre-training text
# ends many reviews with a verdict, so the question is one that the model has been asked before, thousands of times. **A few
# examples take something away**: much of it in one draw with one example per class, where the bar is long; less and less
# with more examples, because more rows outvote the misleading ones. **The heads hardly leave chance**, even with 16 examples
# per class. With the labels of the whole training set a head does reach 88 to 91 % on three tasks of this kind
# ([the world's tasks](../../docs/world.md)), so this world's polarity can be learned by a head; but not from so little.
#
# Which of the differences are more than noise? The difference between two methods is taken draw by draw:


# %% tags=["nbval-check-output"]
def verdict(difference):
    """Whether the 95 % interval of a paired difference leaves 0 out, and on which side."""
    points = f"{100 * difference.difference:+5.1f} points"
    if difference.low > 0:
        return f"{points}, ahead"
    return f"{points}, behind" if difference.high < 0 else f"{points}, no difference beyond noise"


for shots in (1, 4, 16):
    difference = measured.compare(f"PET, {shots}-shot", f"fine-tune [mean], {shots}-shot")
    print(f"{shots:>2} examples per class: PET against the head {verdict(difference)}")

untrained = next(row.value for row in measured.rows if row.method == "PET, zero-shot")
clozes = [row.value for row in measured.rows if row.method.startswith("PET") and row["shots"] > 0]
behind = sum(value < untrained for value in clozes)
print(f"of {len(clozes)} trained clozes, {behind} are behind the untrained one")

# %% [markdown]
# So PET's lead over the head is what pre-training brought, not what eight labels taught. Section 6 asks whether that is so for
# other tasks as well.
#
# The paper has the same gap, and shows where it closes: on AG's News, ten labelled examples *in all* give 25.0 % with a
# fine-tuned RoBERTa (large) and 87.5 % with PET; a hundred give 86.0 % and 88.3 % (Table 1).
#
# ## 4 · Whose words? Fuzzy-PET
#
# Somebody chose "bad" and "great". Another person would have taken other words, and got another accuracy. How much does
# that matter? Before any training this is cheap to measure: one pass of the model gives the probability of *every* word in
# the blank of every test review, and all choices of words can be read off from it. Below, a hundred people each take words at
# random from the 130 or so that this world has for praise and as many for blame: one word per class, or three, whose
# probabilities are added up.

# %%
import random

from labkit.fewshot.auto_prompts.candidates import blank_log_probabilities
from labkit.world.settings import lexicon

asked = task.splits["test"]
blanks = blank_log_probabilities(model, tokenizer, pet.template, asked)  # (rows, vocabulary)
truth = torch.tensor([row["label"] for row in asked])
pool = [lexicon("reviews", task.language).get(label, task.words[label]) for label in task.labels]
chosen = labkit.Report()
for number in range(100):
    some = [random.Random(number).sample(pool_of_one, 3) for pool_of_one in pool]
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(words_of_one) for words_of_one in some])
    for name, count in (("one word per class", 1), ("three words per class", 3)):
        answers = blanks[:, ids[:, :count]].logsumexp(2).argmax(1)
        chosen.add(name, task, (answers == truth).float().mean().item(), seed=number)
chosen.plot(title="Untrained: random label words")

# %% [markdown]
# A dot is one choice, and the large mark is their mean. On the whole it hardly matters *which* words one takes: pre-training
# made them near synonyms in this blank, so nearly every choice comes close to "bad" and "great". But look at the two dots
# far to the left in the lower row. In both of these choices "wrong" is among the three negative words, and it is a common word,
# which this world uses outside of reviews, too. The three positive words beside it are rare. So "wrong" is the likelier word
# after many reviews that praise, and they are called negative. Adding up three words does not protect from that; it only makes
# it likelier that a common word stands on one side alone. So the words of a verbalizer should be equally common, more than
# they should be well chosen.
#
# *Fuzzy-PET*, from the system with which Alibaba PAI and DAMO won the FewCLUE benchmark, gives every class several words, in
# sets $v_1, \dots, v_K$. An example is trained with **each** set, and the answer **adds up** the probabilities of all of a
# class's words:
#
# $$L = \frac{1}{K}\sum_{k=1}^{K} L_{\text{PET}}(v_k), \qquad
# q(l \mid x) = \frac{\sum_k p\big(v_k(l) \mid P(x)\big)}{\sum_{l'} \sum_k p\big(v_k(l') \mid P(x)\big)},
# \qquad p(w \mid z) = \mathrm{softmax}\big(M(\cdot \mid z)\big)_w .$$
#
# Here $p$ is the softmax over the **whole vocabulary**: a word the model would never write contributes nothing, whichever
# class it was assigned to. With $K = 1$ this is PET.
#
# ### Your turn: the fuzzy verbalizer
#
# *●●○ · 8 minutes*
#
# Blank logits $(\text{batch}, \text{vocabulary})$ and word ids $(\text{classes}, K)$ in, $q(l \mid x)$ out,
# $(\text{batch}, \text{classes})$.
#
# For example, a vocabulary of four words whose logits are the logarithms of 0.5, 0.3, 0.1 and 0.1, so that these are also
# their probabilities, and `word_ids = [[0, 2], [1, 3]]`: the words of class 0 have 0.5 + 0.1 = 0.6 together, those of class 1
# have 0.3 + 0.1 = 0.4, and the result is `[[0.6, 0.4]]`. (Adding the two logits of a class, which multiplies the
# probabilities, would give 0.05 against 0.03, and so 0.625.)


# %%
def fuzzy_probabilities(blank_logits, word_ids): ...  # your turn


fuzzy_probabilities = check.fuzzy_probabilities(fuzzy_probabilities)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Add *probabilities*, not logits: adding logits would multiply the probabilities, and a single unlikely word would veto its
# class.
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

# %% tags=["nbval-check-output"]
sets = [["bad", "vile"], ["great", "good"]]  # of each class
ids = torch.tensor([tokenizer.convert_tokens_to_ids(some) for some in sets])
for name, some in (("bad / great", ids[:, :1]), ("vile / good", ids[:, 1:]), ("both sets", ids)):
    answers = fuzzy_probabilities(blanks, some).argmax(1)
    right = (answers == truth).float().mean()
    print(f"untrained, {name:<12} right {right:.0%}, says positive {(answers == 1).float().mean():.0%}")

# %%
from labkit.fewshot.pet.fuzzy import FuzzyPET

sets = [
    {"negative": "bad", "positive": "great"},
    {"negative": "vile", "positive": "good"},
]
methods = {
    f"PET, {one['negative']} / {one['positive']}": PET(
        task.patterns[0], Verbalizer(one, tokenizer), tokenizer
    )
    for one in sets
}
methods["Fuzzy-PET, both sets"] = FuzzyPET(task.patterns[0], sets, tokenizer)
lines = []
for name, method in methods.items():
    before = score(model, method)
    after = score(trained(copy.deepcopy(model), method, rows, 3e-5), method)
    lines.append((name, f"{100 * before:.1f}", f"{100 * after:.1f}"))
Table(("label words", "untrained (%)", "trained on eight reviews (%)"), tuple(lines))

# %% [markdown]
# "vile / good" is the bad case on purpose: "vile" is rare and "good" is common, so the untrained cloze says "positive" every
# time. Eight reviews mend that. Fuzzy-PET does not have the problem to begin with, because "vile" and "bad" stand in one sum.
# After training all three are within a few points of each other, and 400 test rows cannot tell them apart: the standard error
# of an accuracy near 87 % is 1.7 points. So on this task Fuzzy-PET is an insurance against a bad choice of words, not a gain
# over a good one. Whether that holds for other tasks can be seen in section 6.
#
# ## 5 · Several patterns, one classifier
#
# The pattern was somebody's choice too. PET's answer is to take several, train a model with each, and let them vote. With
# weights $w_m$ (equal, or each model's accuracy on the training rows before training) and a temperature $T = 2$,
#
# $$\bar s(l \mid x) = \frac{1}{\sum_m w_m} \sum_m w_m\, s_m(l \mid x), \qquad
# \tilde q(l \mid x) = \mathrm{softmax}\big(\bar s(\cdot \mid x) / T\big)_l .$$
#
# These *soft labels* $\tilde q$ are computed for thousands of unlabelled texts, and an ordinary classifier, with a head,
# learns from them: one model to serve, and the patterns are no longer needed. $T > 1$ flattens the distribution, so that
# the classifier also sees which wrong label was nearly right.
#
# ### Your turn: soft labels
#
# *●●○ · 8 minutes*
#
# Scores $(\text{models}, \text{batch}, \text{classes})$, weights $(\text{models},)$ and $T$ in; soft labels
# $(\text{batch}, \text{classes})$ out.
#
# For example, two models and one text: `scores = [[[2, 0]], [[0, 0]]]`, `weights = [3, 1]`, `temperature = 2`. The weighted
# mean of the scores is (3·2 + 1·0) / 4 = 1.5 for class 0, and 0 for class 1; divided by 2 they are 0.75 and 0; the softmax
# is `[[0.68, 0.32]]`.


# %%
def soft_labels(scores, weights, temperature): ...  # your turn


soft_labels = check.soft_labels(soft_labels)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Average the *scores*, then take one softmax. Averaging the models' probabilities is a different formula: it has no single
# temperature.
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
import numpy as np

from labkit.fewshot.pet.self_training import Member

members, report = [Member(with_pet, pet)], labkit.Report()
for number in range(1, len(task.patterns)):
    method = PET.for_task(task, tokenizer, pattern=number)
    members.append(Member(trained(copy.deepcopy(model), method, rows, 3e-5), method))
for number, member in enumerate(members, 1):
    report.add(f"PET, pattern {number}", task, score(member.model, member.method))
each = np.stack([labkit.predict(member.model, member.method, asked, progress=False) for member in members])
scores, weights = torch.from_numpy(each).clamp(1e-12).log(), torch.ones(len(members))  # (models, batch, classes), (models,)
voted = soft_labels(scores, weights, 1.0).numpy()
report.add("their vote", task, float(np.mean(voted.argmax(1) == truth.numpy())))
report.table()

# %% [markdown]
# And the soft labels of four test reviews. All numbers are the probability of "positive".

# %%
columns = [*each[:, :4, 1], voted[:4, 1], soft_labels(scores[:, :4], weights, 2.0)[:, 1]]
Table(
    ("review", "pattern 1", "pattern 2", "pattern 3", "vote, T = 1", "soft label, T = 2"),
    tuple((row["text"], *(f"{p[at]:.2f}" for p in columns)) for at, row in enumerate(asked[:4])),
)

# %% [markdown]
# The vote is about as good as the best of the three patterns, and one need not know which of them that is. In the second
# review ("sensational", "not petty") the patterns disagree, so its soft label is near one half; the first review has its
# answer from all three, and even there $T = 2$ leaves the other label a few per cent. The classifier itself needs thousands
# of such rows and is not trained on this page; section 6 has its results.
#
# ## 6 · Learning from one's own answers
#
# Once models can label text, they can make training data. *Self-training* adds a model's surest answers to its training
# rows and trains anew. *iPET* lets several models do this **for one another**, in generations $g = 1, 2, \dots$ whose
# training sets grow by a factor each time. No model is trained on its own answers: their errors are the ones that it would
# only repeat.
#
# Both stand on one assumption: *the surer, the righter*. It can be looked at. Below, the ensemble's answers on the rows
# whose labels it was not given are sorted by confidence; the curve says how many of the surest $k$ % are right.

# %%
from labkit.report import coverage

coverage(voted, truth.tolist(), "Three patterns vote: how right are the surest?")

# %% [markdown]
# The curve falls from left to right, as it should: the surest half is right clearly more often than all rows together. But it
# leaves 100 % early. A review whose opinions contradict its label is read with full confidence, and wrongly. So some
# pseudo-labels are wrong, even among the surest.
#
# Two more things keep it from going wrong. Rows are taken **class by class**, in the proportion of the labelled ones: else
# the easiest class floods the training set, the next model believes in it even more, and so on. And a row is taken for the
# class that is likeliest for it, or not at all.
#
# ### Your turn: the surest rows
#
# *●●○ · 10 minutes*
#
# Probabilities $(\text{rows}, \text{classes})$ and a number per class in; a list of `(row, class)` out. For each class $c$,
# of the rows whose likeliest class is $c$, the `per_class` with the highest probability; fewer where there are not so
# many.
#
# For example, `probabilities = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]`: class 0 is the likeliest in the rows 0 and 1, class 1 in
# row 2. With `per_class = 1` the result is `[(0, 0), (2, 1)]`, with `per_class = 2` it is `[(0, 0), (1, 0), (2, 1)]`.


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
#
# With your function, the rows that the vote of section 5 is surest of, and how many of them it calls by their right label:

# %%
for per_class in (10, 50, 150):
    rows_of = most_confident(torch.from_numpy(voted), per_class)
    right = sum(int(truth[row]) == label for row, label in rows_of)
    print(f"at most {per_class:>3} per class: {len(rows_of):>3} rows, {right / len(rows_of):.0%} right")

# %% [markdown]
# `labkit.fewshot.pet.self_training.ipet` is a short loop around this function. Read it: every line has been said above.

# %%
from labkit.fewshot.pet.self_training import ipet

source = inspect.getsource(ipet)
print(source.partition('"""')[0] + source.rpartition('"""')[2].lstrip("\n"))

# %% [markdown]
# All of it together, on three tasks with four examples per class (`python benchmarks/pet_family.py methods`): English
# reviews, English news in fifteen topics, and EPRSTMT, Chinese reviews in the format of FewCLUE. All methods but the heads
# use clozes; those with an arrow end in an ordinary classifier. The paper's column is AG's News with ten labelled examples,
# for the order of methods rather than the numbers. This is one draw of examples: differences of a point or two mean nothing.
# The last method, the cloze without any training, is asked here.

# %%
family = results("pet_family")
family.add("cloze, untrained", "world/reviews", untrained)
for name, of in (("world/news", "mini-bert-en"), ("world/fewclue/eprstmt", "mini-bert-zh")):
    its_model, its_tokenizer = labkit.load_model(of, head="mlm")
    other = labkit.load_task(name)
    plain = PET.for_task(other, its_tokenizer)
    family.add("cloze, untrained", other, labkit.evaluate(its_model, plain, other, "test", progress=lab.progress)[other.metric])  # fmt: skip

paper = {"fine-tune [mean]": 25.0, "ensemble → classifier": 87.5, "iPET → classifier": 89.3}
family.table(
    paper,
    source='Schick & Schütze 2021, Table 1: AG\'s News, 10 examples, RoBERTa large ("PET" is ensemble → classifier)',
)

# %% [markdown]
# Read the table against its last row, the cloze that nobody trained. **PET is below it in all three columns**: what section 3
# showed for reviews holds for news and for Chinese reviews too. Four examples per class cost a little, because the model
# already knew the question. **What was built on PET wins much of this back**, except for the soft labels on EPRSTMT, which
# win nothing. Soft labels from three patterns, one's own surest answers, generations that teach one another: all three learn
# from unlabelled rows too, beside which a few misleading labels weigh less. iPET is the best of the trained methods in every
# column, as it is in the paper, and ends about where the untrained cloze began. Fuzzy-PET is level with PET: the tasks' first
# words are good ones here. **The head** is near chance on both kinds of reviews; on news it is far from chance, because
# topics show in single words, but far behind the clozes, too.
#
# So what are labels good for? For a question that pre-training has hardly asked. Lesson [03/05](05_auto_prompts.ipynb) has
# one, facts against opinions: there its hand-written cloze is right in about 60 % untrained, and in about 80 % after training
# on 16 examples per class. Where a model knows the question already, a few labels are worth more for measuring the untrained
# cloze than for changing it.
#
# What it costs: PET trains one model, the ensemble three and a classifier, iPET nine and a classifier. The classifier that
# is served is the same in all three cases.
#
# When would all this fail? When the surest answers are wrong in the same way: a word that means something else in the
# domain, a class that no pattern recognises. Self-training then repeats the error with more examples. The curve above is
# worth drawing before you trust it.
#
# ## 7 · Keep the result
#
# An *app* is a folder with model, tokenizer and method. `labkit serve` opens it as a page, `labkit predict` runs it over a
# file, and lesson 04/01 on distillation takes it as its teacher.

# %%
from labkit.apps import load_app, save_app

save_app("artefacts/03_02_pet", members[0].model, tokenizer, members[0].method, task)
load_app("artefacts/03_02_pet").predict(
    "i found the soup superb . she told me that the waiter was charming ."
)

# %% [markdown]
# ## Read on
#
# - Schick & Schütze 2021, [*Exploiting cloze questions*](https://arxiv.org/abs/2001.07676) (PET, iPET) and [*It's not just size
#   that matters*](https://arxiv.org/abs/2009.07118) (small models against GPT-3).
# - `labkit/fewshot/pet/`: [`pet.py`](../../labkit/fewshot/pet/pet.py), [`fuzzy.py`](../../labkit/fewshot/pet/fuzzy.py),
#   [`self_training.py`](../../labkit/fewshot/pet/self_training.py), each shorter than this page.
# - Next, 03/03: the pattern itself is learned, as vectors that need not be words (soft prompts); and 03/04, CP-Tuning, does
#   without label words.
# - In class: the assignment `assignments/source/03_fewshot`; to show others: `labkit demo fewshot`.
