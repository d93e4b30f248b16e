# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One teacher for many domains
#
# Reviews of books, of films, of kitchen things: labels are few in each [domain](../glossary.ipynb#domain), and the task is
# the same in all. Should every domain have its own teacher, or is one teacher for all of them better? And what should a
# small student of *one* domain believe of what a teacher of *all* says?
#
# **After this lesson you can** measure how typical a text is across domains; train a meta-teacher that weighs its texts by it,
# and say what asking for wrong domains does; [distil](../glossary.ipynb#distillation) it with a weight for each text; and
# say how much each of these parts is worth here.
#
# **40 minutes.** Before it: [distillation](01_distillation.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="04/02")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/amazon"  # @param {type:"string"}
DOMAIN = "kitchen"  # @param {type:"string"}
LABELS = 100  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A teacher of one domain is asked about another
#
# The task is sentiment, in Amazon's four domains. We take 100 labelled reviews of each. A teacher, a
# [fine-tuned](../glossary.ipynb#fine-tuning) BERT, reads those about *kitchen* things alone. Then it is asked about one review of
# its own domain and one of another:

# %%
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches

body, tokenizer = labkit.load_model(MODEL)
task = labkit.load_task(TASK)
method = HeadClassifier(tokenizer, task.fields)
domains = sorted({row["domain"] for row in task.splits["train"]})
rows = [row for one in domains for row in [r for r in task.splits["train"] if r["domain"] == one][:LABELS]]


def of(domain, some):
    return [row for row in some if row["domain"] == domain]


def taught(model, objective, some, steps, lr, collate=method.collate):
    batches = Batches(some, collate, 16, seed=0)
    labkit.fit(model, objective, batches, steps=steps, lr=lr, seed=0, progress=lab.progress)
    return model


single = taught(add_head(body, task.labels, "mean", seed=0), method.loss, of(DOMAIN, rows), 45, 5e-4)

# %%
test = task.splits["test"]
for domain in (DOMAIN, "books"):
    row = of(domain, test)[1]
    shares = labkit.predict(single, method, [row])[0]
    print(f"{domain}: {row['text']}\n    {task.labels[row['label']]}; the teacher: {shares[1]:.0%} positive\n")

# %% [markdown]
# Two reviews say little (they were chosen). Here are all test reviews:

# %%
def right(model, some):
    answers = labkit.predict(model, method, some).argmax(1)
    return sum(int(a) == row["label"] for a, row in zip(answers, some, strict=True)) / len(some)


home = {domain: right(single, of(domain, test)) for domain in domains}
print("  ".join(f"{domain} {share:.1%}" for domain, share in home.items()))
print("five points worse on books than at home:", home[DOMAIN] - home["books"] > 0.05)

# %% [markdown]
# The teacher of kitchen things is good on dvd and electronics too, because people praise a cable as they praise a pan. On books it is
# clearly worse. So what a domain teaches is partly of use everywhere, and partly not.
#
# Meta-KD (Pan et al. 2021, [*Meta-KD*](https://arxiv.org/abs/2012.01266)) goes another way: **one** *meta-teacher* reads all
# domains, and is told which texts are worth most; then a student of each domain learns from it.
#
# ## 2 · How typical is a text?
#
# Some reviews say things that are said everywhere ("the box was awful"), others speak of what one domain alone has ("the
# plot"). The first teach something about every domain. To find them, each text becomes a vector $e$: the mean of the last states
# of the model, before any training. Take two domains and four texts of **one** label, $d = 2$:
#
# | text | domain | $e$ |
# |---|---|---|
# | 1 | books | (2, 0) |
# | 2 | books | (0, 2) |
# | 3 | kitchen | (0, 1) |
# | 4 | kitchen | (0, 3) |
#
# The [centroid](../glossary.ipynb#centroid) of books is the mean of its texts, $(1, 1)$, that of kitchen $(0, 2)$. Text 2 has
# the [cosine](../glossary.ipynb#cosine-similarity) 0.71 with its own centroid and 1 with the other, so half of each: 0.85. Text 1 has
# 0.71 and 0, so 0.35: no kitchen text is like it. In symbols, for a text of domain $k$ and label $y$ with the centroids $c_{k,y}$,
# its **prototype score** is
#
# $$t = \tfrac12 \cos(e, c_{k,y}) + \tfrac12 \cos\!\Big(e, \tfrac{1}{D-1} \textstyle\sum_{k' \ne k} c_{k',y}\Big) \in [-1, 1] .$$
#
# ### Exercise 1: prototype scores
#
# *●●○ · 9 minutes*
#
# Features (n, d), numbers of domains (n,) and labels (n,) in; scores (n,) out. A centroid is of one domain **and** one label. The
# second half is the mean of the other domains' *centroids*, so each domain counts once, however many texts it has.
#
# ```python
# features = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 3.0]])
# prototype_scores(features, torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 1, 1]))  # [0.35, 0.85, 0.85, 0.85]
# ```

# %%
import torch

from labkit.checks import meta_kd as check


def prototype_scores(features, domains, labels): ...  # your turn


prototype_scores = check.prototype_scores(prototype_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A dictionary of centroids: `centroids[domain, label] = features[(domains == domain) & (labels == label)].mean(0)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# For one text: `others = [c for (k, y), c in centroids.items() if y == label and k != domain]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.cosine_similarity(a, b, dim=0)` of two vectors. Use `.tolist()` for the numbers of domains and labels, because two tensors
# are different keys of a dictionary even where they hold the same number.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def prototype_scores(features, domains, labels):
#     keys = list(zip(domains.tolist(), labels.tolist()))
#     centroids = {(k, y): features[(domains == k) & (labels == y)].mean(0) for k, y in set(keys)}
#     scores = []
#     for e, (k, y) in zip(features, keys):
#         others = torch.stack([c for (k2, y2), c in centroids.items() if y2 == y and k2 != k]).mean(0)
#         pair = torch.stack([centroids[k, y], others])
#         scores.append(torch.cosine_similarity(e[None], pair).mean())
#     return torch.stack(scores)
# ```
# </details>
#
# Now the real reviews, with your function. Which are the most and the least typical?

# %%
from labkit.compression.meta_kd import mean_states

plain = add_head(body, task.labels, "mean", seed=0)
numbers = torch.tensor([domains.index(row["domain"]) for row in rows])
labels = torch.tensor([row["label"] for row in rows])
scores = prototype_scores(mean_states(plain, method, rows), numbers, labels).tolist()
rows = [{**row, "typical": t, "domain_number": k} for row, t, k in zip(rows, scores, numbers.tolist(), strict=True)]
ranked = sorted(rows, key=lambda row: row["typical"])
for row in (*ranked[-3:][::-1], *ranked[:3]):
    print(f"{row['typical']:.3f} {row['domain']}: {row['text']}\n")

# %% [markdown]
# On top stand reviews of devices: where one bought it, who unpacked it, what is good and what is not. At the bottom are texts that
# tell a story. Books alone have one: "a beautiful doctor finds a pistol" praises nobody's writing. This is also where the
# teacher of kitchen things was worst. But look at the numbers too: all scores are close together, because two texts of any kind share
# most of their direction.
#
# ## 3 · The meta-teacher
#
# Its loss has two parts. The first is the usual one: [cross-entropy](../glossary.ipynb#cross-entropy) of the label, each text
# weighed by $t$. The second is about domains. A small *reader* sees the text's mean state, adds a vector of its domain, and
# says which of the $D$ domains it is. It is asked for a **wrong** one, drawn at random. The authors' idea: features that must
# give wrong domains cannot sort the texts by domain, so what they hold is common to all.
#
# Two texts, whose teacher gives the right label the probabilities 0.5 and 0.8, and the wrong domain 0.25 both times; $t$ is 0.9
# and 0.5, and the second part counts $\lambda = 0.5$:

# %%
import math

total = 0.0
for t, label, wrong in ((0.9, 0.5, 0.25), (0.5, 0.8, 0.25)):
    answer, domain = -math.log(label), -math.log(wrong)
    total += t * (answer + 0.5 * domain)
    print(f"t {t}: answer {answer:.3f}, domain {domain:.3f}, together {t * (answer + 0.5 * domain):.3f}")
print(f"loss {total / 2:.3f}")

# %% [markdown]
# $$L = \frac1n \sum_i t_i \, \big(\mathrm{CE}(y_i) + \lambda\, \mathrm{CE}(\tilde k_i)\big), \qquad \tilde k_i \ne k_i .$$
#
# ### Exercise 2: the meta-teacher's loss
#
# *●●○ · 7 minutes*
#
# Logits of the answer (batch, classes), labels (batch,), logits of the domain (batch, domains), wrong domains (batch,), prototype
# scores (batch,) and $\lambda$ in; one number out.
#
# ```python
# answers, domain_logits = torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log(), torch.zeros(2, 4)
# typical, wrong = torch.tensor([0.9, 0.5]), torch.tensor([3, 0])
# meta_teacher_loss(answers, torch.tensor([0, 1]), domain_logits, wrong, typical, 0.5)  # 0.853, as above
# ```


# %%
def meta_teacher_loss(answers, labels, domain_logits, wrong, typical, corruption): ...  # your turn


meta_teacher_loss = check.meta_teacher_loss(meta_teacher_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.nn.functional.cross_entropy(answers, labels, reduction="none")` gives one number for each text.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Multiply text by text, then take the mean: `(typical * (…)).mean()`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The second cross-entropy is of `domain_logits` and `wrong`, times `corruption`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def meta_teacher_loss(answers, labels, domain_logits, wrong, typical, corruption):
#     ce = torch.nn.functional.cross_entropy
#     answer = ce(answers, labels, reduction="none")
#     domain = ce(domain_logits, wrong, reduction="none")
#     return (typical * (answer + corruption * domain)).mean()
# ```
# </details>
#
# Train a meta-teacher with it, on the reviews of all domains:

# %%
from labkit.compression.meta_kd import MetaTeacher, wrong_domains

meta, teacher = MetaTeacher(method, len(domains)), add_head(body, task.labels, "mean", seed=0)


def objective(model, batch):
    answers, domain_logits = meta.logits(model, batch)
    wrong = wrong_domains(batch["domain_number"], len(domains))
    return meta_teacher_loss(answers, batch["labels"], domain_logits, wrong, batch["typical"], 0.5)


with meta.attached(teacher):
    taught(teacher, objective, rows, 65, 5e-4, meta.collate)
for domain, share in home.items():
    print(f"{domain:<12} meta-teacher {right(teacher, of(domain, test)):.1%}, teacher of {DOMAIN} {share:.1%}")

# %% [markdown]
# Books gain most, because now the teacher has read some. But it has also read four times as many labels. So this does not say yet
# whether the weights and the wrong domains help: for that one needs a teacher that reads the same labels *without* them. Section 5
# has it, as "BERT-mix".
#
# ### Do the features forget the domains?
#
# **Predict** before you run the next cell. Above the left picture stands how many test reviews have their nearest neighbour in
# their own domain, by the features of the untrained model (by chance it is one of four). After the training with wrong domains, will
# it be less? And after a training without them?

# %%
from labkit.widgets.domain_space import domain_space, neighbours

without = taught(add_head(body, task.labels, "mean", seed=0), method.loss, rows, 65, 5e-4)
shown = test[:300]
kinds = [row["domain"] for row in shown]
models = {"before training": plain, "trained, λ = 0": without, "trained, λ = 0.5": teacher}
states = {name: mean_states(model, method, shown).numpy() for name, model in models.items()}
domain_space(states, kinds)

# %% tags=["nbval-check-output"]
before, labels_alone, with_domains = (neighbours(one, kinds) for one in states.values())
print("training on labels mixes the domains:", before - labels_alone > 0.2)
print("wrong domains mix them further, by five points:", labels_alone - with_domains > 0.05)

# %% [markdown]
# Before the training, neighbours are nearly always of one domain. Training on labels *alone* (middle) already mixes the domains, because
# now texts lie by their label, from one end of the arc to the other. The wrong domains (right) mix them no further.
#
# Why? Look at the best that the reader can do. If it knows nothing of the domain, each of the $D$ gets the probability $1/D$, and the
# loss is $\ln D$. If it *knows* the domain $k$, it gives $k$ nothing and the others $1/(D-1)$ each:

# %% tags=["nbval-check-output"]
for known, logits in (("unknown", torch.zeros(4)), ("known", torch.tensor([-30.0, 0.0, 0.0, 0.0]))):
    losses = torch.nn.functional.cross_entropy(logits.expand(3, 4), torch.tensor([1, 2, 3]))  # all three wrong ones
    print(f"domain {known}: loss {losses:.3f}")

# %% [markdown]
# The loss is lower for a reader that **knows** the domain, $\ln 3$ against $\ln 4$: to avoid the right answer one must know it. And
# it need not find it in the features, because it is handed the domain's vector. So nothing in this loss makes the features
# forget. (A reader whose *gradient is reversed* would: Ganin et al. 2016,
# [*Domain-adversarial training*](https://arxiv.org/abs/1505.07818).)
#
# ## 4 · The student believes by the text
#
# The student is small: one layer in place of four, which starts as the body's last. It reads its own domain alone, and learns as in [04/01](01_distillation.ipynb) what leads to the teacher's
# answers: embeddings, hidden states, attention, the answers, and here also the reader's feature of the domain. A teacher of all
# domains may be wrong about some texts of this one. So each text gets a weight, from its prototype score $t$ and the probability $p$
# that the teacher gives to the **right** label:
#
# $$w = \frac{1 + t}{1 + \exp\big((p - 1)^2\big)} .$$
#
# A typical text ($t = 1$) of which the teacher is sure ($p = 1$) has $w = 2 / 2 = 1$. With $t = 0$ it has $\frac12$. If the
# teacher is wrong and sure of it ($p = 0$), the denominator is $1 + e = 3.72$ in place of 2: about half the weight.
#
# ### Exercise 3: the weights
#
# *●○○ · 4 minutes*
#
# Prototype scores (batch,) and probabilities (batch,) in; weights (batch,) out.
#
# ```python
# expertise(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.0]))  # [1.0, 0.5, 0.538]
# ```


# %%
def expertise(typical, sure): ...  # your turn


expertise = check.expertise(expertise)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `(sure - 1).square()` is $(p - 1)^2$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `.exp()` of it, plus 1, is the denominator.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Put brackets around the numerator: `(1 + typical) / (…)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def expertise(typical, sure):
#     return (1 + typical) / (1 + (sure - 1).square().exp())
# ```
# </details>
#
# How different do the weights of real texts become?

# %%
mine = of(DOMAIN, rows)
shares = torch.from_numpy(labkit.predict(teacher, method, mine))
sure = shares[torch.arange(len(mine)), torch.tensor([row["label"] for row in mine])]
typical = torch.tensor([row["typical"] for row in mine])
weights = expertise(typical, sure)
print(f"t from {typical.min():.3f} to {typical.max():.3f}, p from {sure.min():.3f} to {sure.max():.3f}")
print(f"w from {weights.min():.3f} to {weights.max():.3f}, mean {weights.mean():.3f}")

# %% [markdown]
# The teacher's probability makes nearly all of the difference, and only for a few texts: the teacher was trained on these very texts, so
# it is right and sure about most of them. The prototype scores of one domain differ by less than a tenth, so $1 + t$ is nearly a constant.
#
# A weight works only where it meets its **own** text. Two texts with the losses 3 and 1, and the weights 0.2 and 1:
#
# - text by text: $(0.2 \cdot 3 + 1 \cdot 1) / 2 = 0.8$;
# - the mean of the losses times the mean of the weights: $2 \cdot 0.6 = 1.2$, and exchanging the two weights changes nothing.
#
# The program that the authors published does the second: its losses are averaged before they are weighted. Then $w$ is one number for
# the batch and tells no text from another.
#
# ### Exercise 4: the student's loss
#
# *●●○ · 8 minutes*
#
# Losses (kinds, batch), prototype scores (batch,), the teacher's logits (batch, classes) and labels (batch,) in; one number out: for
# each kind of loss the mean over texts of weight times loss, and the sum over the kinds.
#
# ```python
# losses = torch.tensor([[2.0, 0.5], [1.0, 0.5]])  # two kinds, two texts
# logits = torch.tensor([[0.0, 0.0], [0.0, 99.0]])  # p = 0.5 and 1 for the labels 0 and 1
# meta_distillation(losses, torch.tensor([0.0, 1.0]), logits, torch.tensor([0, 1]))  # (0.438·3 + 1·1) / 2 = 1.157
# ```


# %%
def meta_distillation(losses, typical, logits, labels): ...  # your turn


meta_distillation = check.meta_distillation(meta_distillation)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The probability of the right label: `logits.softmax(-1).gather(1, labels[:, None])[:, 0]`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The weights are `expertise(typical, sure)`, one for each text and the same for all kinds of loss.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `weight * losses` weighs every kind of loss, (kinds, batch); then the mean over `dim=1`, and the sum.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def meta_distillation(losses, typical, logits, labels):
#     sure = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
#     weight = (1 + typical) / (1 + (sure - 1).square().exp())
#     return (weight * losses).mean(1).sum()
# ```
# </details>
#
# Everything together: a student of your domain, taught with your weights, beside the same student that learns from the
# labels alone.

# %%
from labkit.compression.meta_kd import MetaDistill
from labkit.compression.shrink import shrink
from labkit.measure import parameters

distil = MetaDistill(method, teacher)


def lesson_of(student, batch):
    losses, logits = distil.told(student, batch)
    losses = torch.stack(list(losses.values()))
    return meta_distillation(losses, batch["typical"], logits, batch["labels"])


small = [add_head(shrink(body, layers=1, hidden=160, seed=0), task.labels, "mean", seed=0) for _ in range(2)]
with distil.attached(small[0]):
    taught(small[0], lesson_of, mine, 60, 1e-3, distil.collate)
taught(small[1], method.loss, mine, 60, 1e-3)
for name, model in (("meta-teacher", teacher), ("student, taught", small[0]), ("student, labels alone", small[1])):
    print(f"{name:<22} {parameters(model):>9,} parameters, {DOMAIN}: {right(model, of(DOMAIN, test)):.1%}")

# %% [markdown]
# With half of the teacher's parameters the taught student comes close to it; the same student with labels alone stays behind. It has
# seen the same hundred texts, but the teacher's layers and answers say more about each than a label does.
#
# ## 5 · What is each part worth?
#
# The paper's table, for five domains of the world: four kinds of teacher, and students taught in six ways and more, 100 labels and
# 200 test reviews of each domain, one seed ([all numbers](../../docs/results.md#meta-kd-one-teacher-for-many-domains)).
# Beside our means (dots) stand the paper's, on five genres of MNLI (diamonds).

# %%
from labkit.report.pages import page

measured = page("meta_kd")
measured.report.plot(reference=measured.paper, title="Five domains, mean accuracy", ranked=True)

# %% tags=["nbval-check-output"]
from statistics import fmean, stdev

scores = {}
for one in measured.report.rows:
    scores.setdefault(one.method, {})[one.task] = 100 * one.value


def over(a, b):
    gaps = [scores[a][task] - scores[b][task] for task in scores[a]]
    mean, error = fmean(gaps), stdev(gaps) / len(gaps) ** 0.5
    side = "beyond two standard errors" if abs(mean) > 2 * error else "within two standard errors"
    print(f"{a} − {b}: {mean:+.1f} ± {error:.1f} points, {side}")


over("BERT-mix", "BERT-single")
over("meta-teacher", "BERT-mix")

# %% tags=["nbval-check-output"]
over("BERT-single → TinyBERT", "student alone")
over("BERT-mix → TinyBERT", "BERT-single → TinyBERT")
over("meta-teacher → TinyBERT", "BERT-mix → TinyBERT")
over("meta-teacher → meta-distillation", "meta-teacher → TinyBERT")
over("meta-teacher → meta-distillation", "… weights: their batch mean")

# %% [markdown]
# What to read off, from the bottom up:
#
# - **Any teacher is better than none.** A student that learns a teacher's layers is seven points above the same student with labels alone.
#   The mean answer of five teachers (MTN-KD, here without layers) brings less: the layers do most of the work.
# - **Which teacher it is, hardly matters here.** One teacher for all domains is slightly better than five single ones, and the meta-teacher
#   half a point better than BERT-mix. But half a point is five of 1 000 reviews, and the ± knows nothing of other trainings: the same
#   two models answer for all five domains. Their students are equally good, because each learns from the same 100 texts of its domain.
# - **The student's weights change nothing.** Meta-distillation gives the same as the same teacher without weights, and each text's own weight the
#   same as the batch's mean. That is what section 4 predicts: if nearly all weights are equal, the weighted loss is the plain one times a
#   constant, and [Adam](../glossary.ipynb#adam) does not notice a constant.
#
# In the paper, with about 77 000 labels in each genre, the steps are small too: from 79.3 with single teachers to 80.0 with the
# meta-teacher and 80.4 with meta-distillation. The program that its authors published takes the batch's mean, so it is not sure
# that the last 0.4 come from the weights of single texts.
#
# ## 6 · So, one teacher or many?
#
# One, because it is simpler: it reads all labels, it is one training and one file, and no domain is clearly worse off with it. Domains differ (the
# teacher of kitchen things fails on books), so each must be among its texts. What a small student needs most is a teacher whose
# layers it can see. Weights by prototype and expertise can help where they *differ*: where some texts are far from all others, or
# the teacher is often wrong. Print them before you rely on them; here they hardly differ.
#
# ## Read on
#
# - Pan et al. 2021, linked above; You et al. 2017, *Learning from multiple teacher networks*, for MTN-KD.
# - [`meta_kd.py`](../../labkit/compression/meta_kd.py), one file. On your own tables, by EasyNLP's command:
#   `enable_distillation=True type=metakd` trains a meta-teacher, and with `teacher_model_path=` its student.
# - Next, [04/03](03_pruning.ipynb): weights that are left out.
