# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # FewCLUE: what does each stage of a winning system add?
#
# FewCLUE is a Chinese benchmark of nine tasks with few labelled examples: reviews, headlines, abstracts, apps, inference,
# paraphrases, keywords, idioms, pronouns. In July 2021 Alibaba's PAI team and DAMO Academy took its first place with a
# system of several stages. Its authors name one use for it: a customer writes a sentence, and a few dozen labelled
# sentences should be enough to know what the customer wants. You build the stages, put them together, and measure on that
# task what each of them adds.
#
# **After this lesson you can**
#
# - score label words of several characters, and add up several words per class;
# - write labelled rows of unlike tasks as one and the same task;
# - let a model label texts for itself, class by class;
# - put stages together into a system, and take it apart again: an [ablation](../glossary.ipynb#ablation).
#
# **45 minutes.** Before it: [PET](02_pet.ipynb) and [instructions and many tasks](07_instruction.ipynb). You need Python
# and a little PyTorch, and no Chinese: each example has its English beside it.

# %%
import labkit

lab = labkit.setup(lesson="03/08")

# %% [markdown]
# `world/intents-zh` has twelve intents; four labelled sentences of each make 48 rows. The lesson is written for it; try another
# task with one text per row and three words per class afterwards, such as the headlines (`"world/fewclue/tnews"`).

# %%
MODEL = "mini-bert-zh"  # @param {type:"string"}
TASK = "world/intents-zh"  # @param {type:"string"}
SHOTS = 4  # @param {type:"integer"}
SEED = 0  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Blanks in three Chinese sentences
#
# A Chinese word has mostly two characters, and the model reads characters. So a [cloze](../glossary.ipynb#cloze) needs two
# blanks, written ＿＿ here. For each blank we take the likeliest character. Nothing has been trained for these questions.

# %%
import torch

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()


@torch.no_grad()
def blank_logits(text):
    """The model's logits at the blanks of one text: (1, blanks, vocabulary)."""
    inputs = tokenizer(text.replace("＿", tokenizer.mask_token), return_tensors="pt")
    blanks = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten()
    return model(**inputs).logits[:, blanks]


# %% tags=["nbval-check-output"]
ENGLISH = {"房产": "property", "汽车": "cars", "电车": "electric cars", "物流": "delivery"}
SENTENCES = (
    ("周三看点：杭州房东修好了屋顶。这则新闻属于＿＿。", "房产",
     "Wednesday: a landlord in Hangzhou has mended the roof. This news is about ＿＿."),
    ("据报道，周二，昆明一位车主给电池充了电。她非常高兴。这则新闻属于＿＿。", "汽车",
     "On Tuesday a car owner in Kunming charged the battery. She is happy. This news is about ＿＿."),
    ("可以把快件放在邻居家吗？我等了7天。客户问的是＿＿。", "物流",
     "Can the parcel go to my neighbour? I waited 7 days. The customer asks about ＿＿."),
)  # fmt: skip
for text, right, gloss in SENTENCES:
    found = "".join(tokenizer.convert_ids_to_tokens(blank_logits(text)[0].argmax(-1).tolist()))
    verdict = "✓ right" if found == right else f"✗ wrong: {right} ({ENGLISH[right]})"
    print(f"{text}\n{gloss}\n    {found} ({ENGLISH.get(found, 'no word')})  {verdict}\n")

# %% [markdown]
# Look at the three answers. The first is right. The second is a word, and close to the right one. The third is no word at
# all, because each blank was filled without regard to the other, and because this model has read many headlines and few
# customers. FewCLUE is such a mixture: some tasks ask what [pre-training](../glossary.ipynb#pre-training) has taught, some do
# not. What can a system do with 48 sentences about the third kind?
#
# ## 2 · Words of several characters
#
# We never need *all* words, only the [label words](../glossary.ipynb#label-word). The smallest case: one text, two blanks, a
# vocabulary of three characters, numbered 0, 1, 2.

# %%
probabilities = torch.tensor([[[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]])  # (1 text, 2 blanks, 3 characters)
for first, second in ((0, 1), (1, 0)):
    p, q = probabilities[0, 0, first], probabilities[0, 1, second]
    print(f"characters {first}, {second}: {p:.1f} · {q:.1f} = {p * q:.2f}, its logarithm {(p * q).log():.2f}")

# %% [markdown]
# A word fits if all its characters fit, so their probabilities are multiplied, and their logarithms are added. For a word
# $w$ of the characters $w_1, \dots, w_m$ and a text $x$ with $m$ blanks, the
# [log-probability](../glossary.ipynb#log-probability) is
#
# $$s(w \mid x) = \sum_{k=1}^{m} \log p_k(w_k \mid x), \qquad p_k = \mathrm{softmax}(\text{logits at blank } k),$$
#
# where the softmax runs over the whole vocabulary. (Words of unequal length cannot be compared by a sum, which becomes
# smaller with every character. The real files have such names, and for them labkit divides the sum by $m$.)
#
# ### Your turn: the scores of words
#
# *●●○ · 8 minutes*
#
# Logits at the blanks, $(\text{texts}, \text{blanks}, \text{vocabulary})$, and the characters of some words,
# $(\text{words}, \text{blanks})$, in; the words' log-probabilities, $(\text{texts}, \text{words})$, out. The training below
# needs the gradient, so stay in torch. A word may be so unlikely that its probability is rounded to 0; its score must not be −∞
# then. For example, with the numbers above,
#
# `blank_logits = probabilities.log()`, `pieces = [[0, 1], [1, 0]]` → `[[-0.87, -2.81]]`.

# %%
from labkit.checks import fewclue as check


def word_scores(blank_logits, pieces): ...  # your turn


word_scores = check.word_scores(word_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three steps: the logarithm of the softmax over the vocabulary, for every blank; pick; add. Where does blank `k` look for
# its character? In column `pieces[:, k]`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `logs[:, k, pieces[:, k]]` has the shape (texts, words): for each text and word, the log-probability at blank `k`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Add these over the blanks, in a loop or at once: `logs[:, torch.arange(m), pieces]` is (texts, words, blanks).
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def word_scores(blank_logits, pieces):
#     logs = blank_logits.log_softmax(-1)
#     blanks = torch.arange(pieces.shape[1])
#     return logs[:, blanks, pieces].sum(-1)
# ```
# </details>
#
# One of the nine tasks, *chid*, needs nothing more. Its rows bring their own answers: seven idioms, each of four characters,
# and a gap. Here your function scores them for one row: 昨天，婚礼办得很好，＿＿＿＿。 *Yesterday the wedding went very well,
# ＿＿＿＿.* Which one would you choose? The first is the right one; look whether the model finds it.

# %%
from labkit.report import Table

IDIOMS = {"尽善尽美": "perfect in every way", "湖光山色": "lakes and mountains", "囊空如洗": "penniless",
          "燃眉之急": "a pressing need", "勇往直前": "marching bravely on", "手忙脚乱": "in a muddle",
          "风景如画": "pretty as a picture"}  # fmt: skip


def pieces_of(words):
    """The numbers of the words' characters: (words, characters)."""
    return torch.tensor([tokenizer.convert_tokens_to_ids(list(word)) for word in words])


scores = word_scores(blank_logits("昨天，婚礼办得很好，＿＿＿＿。"), pieces_of(IDIOMS))[0]
marks = ["" if at != scores.argmax() else "✗" if at else "✓" for at in range(len(IDIOMS))]
lines = [(*pair, f"{score:.1f}", mark) for pair, score, mark in zip(IDIOMS.items(), scores, marks, strict=True)]
Table(("idiom", "in English", "log-probability", "answer"), tuple(lines))

# %% [markdown]
# ## 3 · Several words per class
#
# Somebody chose one word per class. [Fuzzy-PET](../glossary.ipynb#fuzzy-pet), a part of the winning system, takes several and
# adds up their **probabilities**. The smallest case: the class *refund* has the words 退款 (refund) and 退货 (to return
# goods), the class *price* has 价格 (price).

# %%
chances = {"退款": 0.30, "退货": 0.10, "价格": 0.35}
refund, price = chances["退款"] + chances["退货"], chances["价格"]
print(f"likeliest word: {max(chances, key=chances.get)} (price)")
print(f"refund {refund:.2f}, price {price:.2f}: likeliest class refund")
print("logarithms:", [round(value, 2) for value in torch.tensor([refund, price]).log().tolist()])

# %% [markdown]
# With the words $V_c$ of class $c$, the class's score is again a logarithm:
#
# $$S(c \mid x) = \log \sum_{w \in V_c} e^{s(w \mid x)} .$$
#
# ### Your turn: from words to classes
#
# *●●○ · 6 minutes*
#
# The log-probabilities of words, `scores`, $(\text{texts}, \text{words})$, and the class of each word, `owner`,
# $(\text{words},)$, in; $S$ of each class, $(\text{texts}, \text{classes})$, out. Classes may have different numbers of words,
# and the words of a class need not stand side by side. Here, too, a word may have the
# probability $e^{-300}$, and the result must not be −∞. For example,
#
# `scores = log([[0.30, 0.10, 0.35]])`, `owner = [0, 0, 1]` → `[[-0.92, -1.05]]`.


# %%
def class_scores(scores, owner): ...  # your turn


class_scores = check.class_scores(class_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `scores[:, owner == c]` are the words of class `c`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `logsumexp` is exp, sum and log in one, and guards against rounding to 0.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The classes are 0, 1, … `owner.max()`. One column per class: `torch.stack([…], 1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def class_scores(scores, owner):
#     classes = range(int(owner.max()) + 1)
#     return torch.stack([scores[:, owner == c].logsumexp(1) for c in classes], 1)
# ```
# </details>
#
# Now the task. `few` has the 48 labelled rows; 1000 further rows lose their labels until section 5, where `truth` says how
# good the model's own labels are.

# %% tags=["nbval-check-output"]
import numpy as np

task = labkit.load_task(TASK)
few = task.few_shot(SHOTS, seed=SEED)
labelled = few.splits["train"]
known = {row["text"] for row in labelled}
hidden = [row for row in task.splits["train"] if row["text"] not in known][:1000]
unlabelled = [{**row, "label": None} for row in hidden]
truth = np.array([row["label"] for row in hidden])
asked = {row["text"] for row in few.splits["test"]}
print(f"{len(labelled)} labelled rows, {len(unlabelled)} unlabelled, {len(few.splits['test'])} to test on")
print("test rows among the unlabelled:", sum(row["text"] in asked for row in unlabelled))

# %% [markdown]
# A test row among the unlabelled ones would be a [leak](../glossary.ipynb#leak); there is none. The task has three words per
# class. Three of the twelve classes are
#
# - *refund*: 退款 (refund), 退货 (return goods), 退钱 (money back);
# - *delivery*: 物流 (logistics), 快递 (courier), 配送 (delivery);
# - *complaint*: 投诉 (complaint), 抱怨 (to grumble), 举报 (to report somebody).
#
# The method is your two functions on top of PET's template, `{text}客户问的是＿＿。` (*the customer asks about ＿＿*). It answers
# with the sum. For training there are two losses, both cross-entropies: of the **sum** $S(c \mid x)$, or of **each** set of
# words by itself, averaged. Set $k$ has word number $k$ of every class. The system's authors train with each set.

# %% tags=["idea"]
from torch.nn.functional import cross_entropy

from labkit.fewshot.pet import PET


class Cloze:
    def __init__(self, words, train_with="each"):
        self.pet = PET.for_task(task, tokenizer, words=words)  # template and tokenizer
        self.collate, self.words, self.train_with = self.pet.collate, words, train_with
        self.owner = torch.arange(len(task.labels)).repeat_interleave(words)  # 0 0 0 1 1 1 …

    def scores(self, model, batch):
        return word_scores(self.pet.mask_logits(model, batch), self.pet.verbalizer.word_ids)

    def logits(self, model, batch):
        return class_scores(self.scores(model, batch), self.owner)

    def loss(self, model, batch):
        if self.train_with == "sum":
            return cross_entropy(self.logits(model, batch), batch["labels"])
        scores = self.scores(model, batch)  # (texts, words)
        sets = [scores[:, k :: self.words] for k in range(self.words)]
        return sum(cross_entropy(one_set, batch["labels"]) for one_set in sets) / self.words


# %% [markdown]
# `trained` trains a copy of a model on some rows, and `measure` counts the right answers on the test rows.
#
# **Predict** before you run the second cell. Three models learn from the same 48 rows: with one word per class, with the sum of
# three, with each of three. Which is best, and is any of them worse than one word?

# %%
import copy

from labkit.training import Batches

report, right = labkit.Report(), {}


def trained(start, rows, method=None, steps=40):
    model, how = copy.deepcopy(start), method or fuzzy
    batches = Batches(rows, how.collate, 16, seed=SEED)
    labkit.fit(model, how.loss, batches, steps=steps, lr=1e-3, seed=SEED, progress=lab.progress)
    return model


def measure(name, model, method):
    rows = few.splits["test"]
    answers = labkit.predict(model, method, rows, progress=False).argmax(1)
    right[name] = answers == [row["label"] for row in rows]
    report.add(name, few, right[name].mean())


# %%
one, by_sum, fuzzy = Cloze(1), Cloze(3, "sum"), Cloze(3, "each")
measure("untrained", model, fuzzy)
measure("PET, one word", trained(model, labelled, one), one)
measure("three words, sum", trained(model, labelled, by_sum), by_sum)
by_words = trained(model, labelled, fuzzy)
measure("+ three words, each", by_words, fuzzy)


def change(new, old):
    """The change in points, row by row on the same test rows, and its standard error."""
    points = 100.0 * right[new] - 100.0 * right[old]
    gain, error = points.mean(), points.std() / len(points) ** 0.5
    verdict = "beyond noise" if abs(gain) > 2 * error else "within noise"
    return f"{new} against {old}: {gain:+.1f} points, standard error {error:.1f}: {verdict}"


for new in ("three words, sum", "+ three words, each"):
    print(change(new, "PET, one word"))

# %% [markdown]
# [Beyond noise](../glossary.ipynb#beyond-noise) means here: more than two
# [standard errors](../glossary.ipynb#standard-error), so it is not the choice of the test rows. It says nothing about other
# [draws](../glossary.ipynb#draw) of 48 sentences: change `SEED`, and look again.
#
# Why is it not enough to train the sum? In the gradient of $S(c \mid x)$, each word has the share that it has of its class's
# probability. If one of the three words has 98 % of it, it gets 98 % of the push, and the other two learn nothing: the model
# learns one word after all. With each set, all three words must become right, and one sentence teaches three things.
#
# ## 4 · Many tasks as one
#
# The system's second stage comes before the few examples. It goes on with the pre-training, on the labelled rows of *all* tasks
# at once ([continued pre-training](../glossary.ipynb#continued-pre-training)). Its authors wanted it above all for the tasks
# with two sentences, *ocnli*, *bustm* and *csl*. Tasks with 2, 15 or 34 classes become one task with two answers: does the
# statement hold for the text ([entailment](../glossary.ipynb#entailment))? The smallest case, one headline and two statements:
#
# | text | statement | holds |
# | --- | --- | --- |
# | 杭州房东修好了屋顶。 *A landlord in Hangzhou has mended the roof.* | 这则新闻属于房产。 *This news is about property.* | 1 |
# | 杭州房东修好了屋顶。 *A landlord in Hangzhou has mended the roof.* | 这则新闻属于教育。 *This news is about education.* | 0 |
#
# ### Your turn: rows to judge
#
# *●●○ · 8 minutes*
#
# A row with `text` and `label`, the list of all labels' statements, and a numpy generator in; a list of two dictionaries with
# `text`, `statement` and `label` out. The first holds (label 1) and states the row's own label. The second does not hold
# (label 0); its statement is drawn by `rng` from those of all *other* labels, each equally often. For example,
#
# `row = {"text": "Team wins.", "label": 1}`, `statements = ["It is music.", "It is sport."]` →
# `[{"text": "Team wins.", "statement": "It is sport.", "label": 1}, {"text": "Team wins.", "statement": "It is music.", "label": 0}]`.


# %%
def judgements(row, statements, rng): ...  # your turn


judgements = check.judgements(judgements)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The other labels: `[c for c in range(len(statements)) if c != row["label"]]`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `rng.choice(others)` draws one of them, each equally often.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Write the two dictionaries out; only statement and label differ.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def judgements(row, statements, rng):
#     others = [c for c in range(len(statements)) if c != row["label"]]
#     right, wrong = statements[row["label"]], statements[rng.choice(others)]
#     return [
#         {"text": row["text"], "statement": right, "label": 1},
#         {"text": row["text"], "statement": wrong, "label": 0},
#     ]
# ```
# </details>
#
# Four tasks of FewCLUE with one text per row, eight rows per class, and our own 48 rows. `statements_of` makes a statement of
# each label: its word in the task's pattern. The question to the model is again a cloze, `{text}？＿，{statement}`, answered
# by 是 (yes) or 不 (no).

# %%
from labkit.fewshot.instruction.entailment import judge
from labkit.fewshot.instruction.statements import statements_of

names = ("eprstmt", "tnews", "csldcp", "iflytek")  # reviews, headlines, abstracts, apps
others = [labkit.load_task(f"world/fewclue/{name}").few_shot(8, seed=SEED) for name in names]
rng, pairs = np.random.default_rng(SEED), []
for one_task in (few, *others):
    statements = list(statements_of(one_task).values())
    pairs += [pair for row in one_task.splits["train"] for pair in judgements(row, statements, rng)]
print(f"{len(pairs)} rows to judge, of {1 + len(others)} tasks; {sum(p['label'] for p in pairs)} hold")


def continued(model):
    return trained(model, pairs, judge(tokenizer, "zh"), steps=20)


# %% [markdown]
# This stage is measured when the system is whole, in section 6.
#
# ## 5 · Learning from one's own answers
#
# FewCLUE brings unlabelled text. In [self-training](../glossary.ipynb#self-training) the model answers unlabelled rows, and
# its surest answers become training rows with a [pseudo-label](../glossary.ipynb#pseudo-label). Which ones? Two ways to
# choose, on four rows and two classes, with two rows to take:

# %%
four = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]])
print("surest of all:    rows", np.argsort(-four.max(1))[:2], "→ classes", four.argmax(1)[[0, 1]])
print("surest per class: rows [0 2] → classes", four.argmax(1)[[0, 2]])

# %% [markdown]
# **Predict**: the model trained on 48 rows answers 1000 rows with twelve classes. If the 144 surest of all are taken, how many
# of the twelve classes get fewer than twelve rows? And which way of choosing has more right pseudo-labels?
#
# ### Your turn: the rows to teach
#
# *●●○ · 10 minutes*
#
# Unlabelled rows, a numpy array of probabilities $(\text{rows}, \text{classes})$ and a number per class in; a list of new rows
# out: for each class, of the rows for which it is the likeliest, the `per_class` with the highest probability, with the class as
# their `label`. A class with too few rows gets fewer. The given rows stay as they are. For example, with `four` from above and
# rows `a`, `b`, `c`, `d` (each `{"text": …, "label": None}`),
#
# `taught([a, b, c, d], four, 1)` → `[{"text": "a", "label": 0}, {"text": "c", "label": 1}]`.
#
# If you wrote `most_confident` in lesson [03/02](02_pet.ipynb), start from it.


# %%
def taught(rows, probabilities, per_class): ...  # your turn


taught = check.taught(taught)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `answers = probabilities.argmax(1)` says for each row which class it may be taken for; `np.flatnonzero(answers == c)` are
# the places of class `c`'s rows.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `np.argsort(-probabilities[own, c])` sorts from high to low, but gives places *within* `own`: index `own` with them.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `{**rows[i], "label": c}` is a copy of a row with another label.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def taught(rows, probabilities, per_class):
#     answers, chosen = probabilities.argmax(1), []
#     for c in range(probabilities.shape[1]):
#         own = np.flatnonzero(answers == c)
#         surest = own[np.argsort(-probabilities[own, c])][:per_class]
#         chosen += [{**rows[i], "label": c} for i in surest]
#     return chosen
# ```
# </details>

# %%
p = labkit.predict(by_words, fuzzy, unlabelled, progress=False)
of = {row["text"]: label for row, label in zip(unlabelled, truth, strict=True)}
chosen = taught(unlabelled, p, 12)
surest = np.argsort(-p.max(1))[: len(chosen)]
counts = np.bincount(p.argmax(1)[surest], minlength=len(task.labels))
good = np.mean([row["label"] == of[row["text"]] for row in chosen])
print(f"all {len(p)} answers:        {np.mean(p.argmax(1) == truth):.0%} right")
print(f"{len(chosen)} surest of all:    {np.mean(p.argmax(1)[surest] == truth[surest]):.0%} right, "
      f"{np.sum(counts < 12)} classes have fewer than 12 rows, the smallest {counts.min()}, the largest {counts.max()}")  # fmt: skip
print(f"{len(chosen)} surest per class: {good:.0%} right, at most 12 rows per class")

# %% [markdown]
# Look first at the shares of right answers. A sure answer is right far more often than an answer in general, so pseudo-labels are
# worth something; but the two ways of choosing hardly differ in this. Now look at the classes. The surest *of all* belong to a
# few classes that the model likes, and the next model would like them even more. Chosen class by class, every class gets rows.
#
# ## 6 · The whole system
#
# ### Your turn: put the stages together
#
# *●●● · 8 minutes*
#
# The stages are functions now: `continued(model)` gives a model, `trained(model, rows)` trains a copy and gives it, and
# `teach(model, rows)` gives the rows to teach. Write the system:
#
# 1. continue the pre-training of the model;
# 2. from there, train on the labelled rows: this is the *first* model;
# 3. let it teach unlabelled rows;
# 4. train anew, again from the continued model, on the labelled rows **and** the taught ones: this is the *last* model.
#
# Return both, `(first, last)`. Train no model twice, and leave the lists as they are. For example, with `labelled = [a, b]`,
# `unlabelled = [c, d]` and a `teach` that gives `[d]`, the result is `trained(start, [a, b])` and
# `trained(start, [a, b, d])`, where `start` is `continued(model)`.


# %%
def system(model, labelled, unlabelled, continued, trained, teach): ...  # your turn


system = check.system(system)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Keep what `continued(model)` gives in a variable: two models start from it.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `teach` asks the *first* model about the *unlabelled* rows.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `[*labelled, *more]` is a new list with the rows of both.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def system(model, labelled, unlabelled, continued, trained, teach):
#     start = continued(model)
#     first = trained(start, labelled)
#     more = teach(first, unlabelled)
#     return first, trained(start, [*labelled, *more])
# ```
# </details>
#
# **Predict** before you run it: which stage adds most, and does any take something away?

# %%
import itertools


def teach(model, rows):
    return taught(rows, labkit.predict(model, fuzzy, rows, progress=False), 12)


first, last = system(model, labelled, unlabelled, continued, trained, teach)
measure("+ many tasks", first, fuzzy)
measure("+ self-training", last, fuzzy)
stages = ("untrained", "PET, one word", "+ three words, each", "+ many tasks", "+ self-training")
for old, new in itertools.pairwise(stages):
    print(change(new, old))
report.table()

# %% tags=["nbval-check-output"]
gain = right["+ self-training"].mean() - right["PET, one word"].mean()
print("the whole is more than five points ahead of PET with one word:", bool(gain > 0.05))

# %% [markdown]
# Everything in that table ran through your functions. Look at the four changes above it. The first step, 48 labels for a cloze,
# is the largest, because the untrained cloze knows little here; [chance](../glossary.ipynb#chance) is one in twelve. **Several
# words per class**, each trained, add to it, because one sentence then teaches three words. **Self-training** adds again: it
# makes four times as many rows of the 48, and most of the new labels are right. **Many tasks** do not help: to judge statements
# about headlines and apps is no practice in reading customers, for whom the authors did not mean this stage. A stage that adds
# nothing on one task belongs in the table too, or nobody can tell what the others are worth.
#
# The system's remaining stage, pre-training with *knowledge*, is the subject of module 02. In labkit it is a hook, a model in
# place of this one: `FewClueSystem(…, hook=model)`.
#
# ## 7 · And on the nine tasks?
#
# So far this was one task. labkit's `FewClueSystem` has the same stages, trained for longer, with learning rates chosen on
# development rows; its second stage also reads the unlabelled text of all tasks, as a [masked language
# model](../glossary.ipynb#masked-language-model). `python benchmarks/fewclue.py world` runs it on the nine tasks ([every
# number](../../docs/results.md#the-fewclue-system-stage-by-stage)). Each large mark is a mean over the nine, the
# benchmark's score; `fine-tune [mean]` is a new [head](../glossary.ipynb#head) in place of the cloze.

# %%
from labkit.report import results

measured = results("fewclue")
names = ["fine-tune [mean]", "PET", "+ multi-task", "+ Fuzzy-PET", "+ self-training"]
chosen = [row for row in measured.rows if row.method in names]
labkit.Report(chosen).plot(title="Mean over the nine tasks", ranked=True)

# %%
def points(new, old, task=None, of=measured):
    found = of.compare(new, old, task=task)
    beyond = found.low > 0 or found.high < 0  # the 95 % interval over splits leaves 0 out
    return 100 * found.difference, ", beyond noise" if beyond else ", within noise"


def step(new, old, **options):
    return "{:+.1f} points{}".format(*points(new, old, **options))


each = {row.task.split("/")[-1]: points("PET", "fine-tune [mean]", row.task)[0] for row in chosen}
print("a cloze instead of a head:", step("PET", "fine-tune [mean]"))
print("   ", ", ".join(f"{name} {each[name]:+.1f}" for name in sorted(each, key=each.get, reverse=True)))
print("    customers:", step("PET", "fine-tune [mean]", of=results("fewclue_intents")))
print("all stages on top of PET:", step("+ self-training", "PET"))
for old, new in itertools.pairwise(names[1:]):
    print(f"    {new}: {step(new, old)}")

# %% tags=["nbval-check-output"]
cloze, rest = points("PET", "fine-tune [mean]")[0], points("+ self-training", "PET")[0]
print("on the nine tasks the cloze adds more than all stages on top of it:", cloze > rest)

# %% [markdown]
# Look at the second line, sorted by what the cloze brings. At one end stand tasks that ask what pre-training has taught:
# *chid* (idioms) and *eprstmt* (reviews). At the other end stand those with 15 to 36 classes and hundreds of labelled rows,
# from which a head learns as well or better: *tnews* (headlines), *csldcp* (abstracts), *iflytek* (apps). Our customers
# seem to belong to this end: PET with one word is behind a head in both of [two
# draws](../../docs/results.md#the-same-from-four-sentences-an-intent), which are too few for a verdict. The stages on top
# of the cloze bring about a point *on average*: the mean of nine tasks hides on which of them a stage helps.
#
# **So what does each stage add?** The cloze adds most where pre-training has asked the question before. Where it has not,
# as with our customers, several words per class and self-training add much, because they make more of few labels. Many
# tasks added nothing here, and little there. The authors report that their stages helped, and give no figure for a single
# one; their models have 300 million and 1.5 billion parameters, this one has one and a half million. They name 90 % as the
# goal for customers' intents. The [ceiling](../glossary.ipynb#ceiling) of our task is a little below that, and the system
# is far from it.
#
# **Try**: run `system` with `continued=lambda model: model`, which leaves out the stage that added nothing by itself. Is the last
# model better or worse?
#
# ## What to read, what comes next
#
# - L. Xu et al. 2021, [*FewCLUE: A Chinese few-shot learning evaluation benchmark*](https://arxiv.org/abs/2107.07498): the
#   tasks, five training splits each, and baselines.
# - S. Wang et al. 2021, [*Entailment as few-shot learner*](https://arxiv.org/abs/2104.14690): one question for all tasks.
# - `labkit/fewshot/fewclue/`: [`system.py`](../../labkit/fewshot/fewclue/system.py) has the stages,
#   [`submission.py`](../../labkit/fewshot/fewclue/submission.py) writes and scores answers in the leaderboard's format.
#
# Next, 03/09 looks into the model that all these prompts speak to.
