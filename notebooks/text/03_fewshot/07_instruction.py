# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tasks that teach other tasks
#
# So far every task began anew: the same pre-trained model, sixteen examples, its own few steps. But you have *other* tasks
# too, with labels in plenty. Can they teach something that helps with the new one, or even let the model do it without an
# example? This lesson tries three answers on a small scale, and asks each time how far it reaches.
#
# **After this lesson you can**
#
# - turn any classification into one question, *does the text say so?*, and train on many tasks as if they were one;
# - mix tasks of unlike sizes, and say what a temperature does to the mixture;
# - write task types with several wordings each, hold one type out, and **prove** that nothing of it leaked into training;
# - explain TransPrompt's prompts and prototype weights, and meta-learning on text without labels;
# - tell apart learning a task, a wording, a kind of task, and "to follow instructions".
#
# **45 minutes.** Before it: [PET](02_pet.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="03/07")

# %% [markdown]
# Two strings decide what follows: the model, and the type of task that is held out and asked cold. The types are
# `sentiment`, `subjectivity`, `topic`, `paraphrase` and `inference`.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
HELD_OUT = "inference"  # @param {type:"string"}

# %% [markdown]
# ## 1 · One question for every task
#
# The system that won FewCLUE for Alibaba PAI and DAMO put a stage between pre-training and the few examples: all tasks were
# rewritten as *textual entailment* and trained on together. Its example is
#
# > [CLS] I like the movie [SEP] This indicates positive user sentiment [EOS]
#
# A text, and a *statement* about it: the statement holds, or it does not. Every label of every task can be put so, and a
# three-way task, a fifteen-way task and a task with two texts become the same two-way task. The task's own pattern and
# label words are enough to make the statements:

# %%
from labkit.fewshot.instruction.statements import OTHERWISE, statements_of
from labkit.report import Table

names = ["world/reviews", "world/subj", "world/news", "world/rte", "world/genres"]
tasks = {name: labkit.load_task(name) for name in names}
Table(
    ("task", "label", "statement"),
    tuple(
        (name, label, said if said != OTHERWISE else "(if no other holds)")
        for name, task in tasks.items()
        for label, said in list(statements_of(task).items())[:3]
    ),
)

# %% [markdown]
# Of two texts the second is the statement: `world/rte` already *is* entailment. A label like "not entailment" claims
# nothing; it holds if the other one does not.
#
# To train, each labelled row is shown with its own label's statement (entailed) and with a wrong one or several (not
# entailed):

# %% tags=["nbval-check-output"]
import numpy as np

from labkit.fewshot.instruction.multitask import entailment_rows

pairs = entailment_rows(tasks["world/news"], np.random.default_rng(0), negatives=1)
for pair in pairs[:4]:
    print(
        ["not entailed", "entailed"][pair["label"]].ljust(13),
        pair["text"][:44],
        "…",
        pair["statement"],
    )
print(
    f"{len(tasks['world/news'].splits['train'])} rows of news make {len(pairs)} pairs, half of them entailed"
)

# %% [markdown]
# The article trains a new head for the two answers. We have seen what a fresh head costs, so here the judgement is a cloze:
#
# > we found the oven wonderful ? `[MASK]` , it was great .
#
# with the answers "yes" and "no". A label's score is the probability of "yes" behind *its* statement $h_l$,
#
# $$p(\text{entailed} \mid x, h_l) = \frac{e^{M(\text{yes} \mid x, h_l)}}{e^{M(\text{yes} \mid x, h_l)} +
# e^{M(\text{no} \mid x, h_l)}}, \qquad \hat l = \arg\max_l \; p(\text{entailed} \mid x, h_l) ,$$
#
# where $M(w \mid x, h)$ is the logit of word $w$ in the blank. In PET the labels compete for *one* blank; here each
# statement is judged by itself, and nothing in the formula depends on the task. That is why a task never seen can be
# answered at once.
#
# ### Your turn: entailed or not
#
# *●○○ · 5 minutes*
#
# Blank logits $(\text{batch}, \text{labels}, \text{vocabulary})$, a blank for each statement, and the ids of the two answers
# in; $p(\text{entailed})$, $(\text{batch}, \text{labels})$, out. For one text, two statements and a vocabulary of three words:
#
# `blank_logits = [[[0, 1, 3], [2, 2, 5]]]`, `no = 0`, `yes = 1` → `[[0.731, 0.5]]`,
#
# because $e^1 / (e^1 + e^0) = 0.731$ and $e^2 / (e^2 + e^2) = 0.5$. The third word, likelier than both, makes no difference.

# %%
from labkit.checks import instruction as check


def entailed(blank_logits, no, yes): ...  # your turn


entailed = check.entailed(entailed)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Only two numbers of each blank matter, and they compete with each other, not with other labels.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `blank_logits[..., [no, yes]]` has the shape (batch, labels, 2).
# </details>
#
# <details><summary>Hint 3</summary>
#
# A softmax over the last dimension, then its second column. Or: the sigmoid of "yes" minus "no" is the same number.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def entailed(blank_logits, no, yes):
#     return blank_logits[..., [no, yes]].softmax(-1)[..., 1]
# ```
# </details>

# %% [markdown]
# The library's method is the same thing with the batching around it. Its `loss` is the cross-entropy of the judgements, its
# `logits` are what you just wrote, as logarithms:

# %%
import inspect

from labkit.fewshot.instruction.entailment import Entailment

print(inspect.getsource(Entailment.judgements), inspect.getsource(Entailment.logits), sep="\n")

# %% [markdown]
# Two tests of that claim. A row's scores equal a loop over its statements with the model's bare forward pass and
# `entailed`; and training the method with *all* wrong statements is training PET on the entailment rows, because it is the
# same loss.

# %% tags=["nbval-check-output"]
import torch

from labkit.fewshot.instruction.entailment import judge

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
reviews = tasks["world/reviews"]
method, some = Entailment.for_task(reviews, tokenizer), reviews.splits["test"][:20]

by_hand, (no, yes) = [], tokenizer.convert_tokens_to_ids(["no", "yes"])
for row in some:
    for said in statements_of(reviews).values():
        text = f"{row['text'].rstrip(' .')} ? {tokenizer.mask_token} , {said}"
        inputs = tokenizer(text, return_tensors="pt")
        blank = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
        with torch.no_grad():
            logits = model(**inputs).logits[:, [blank]]  # one text, one statement
        by_hand.append(entailed(logits, no, yes))
by_hand = torch.stack(by_hand).reshape(-1, 2)
with torch.no_grad():
    scores = method.logits(model, method.collate(some)).exp()
print("scores as by hand:", bool((scores - by_hand).abs().max() < 1e-4))

pet, few = judge(tokenizer), reviews.few_shot(8, seed=0, dev=False)
all_pairs = entailment_rows(few, np.random.default_rng(0), negatives="all")
with torch.no_grad():
    one = method.loss(model, method.collate(few.splits["train"]))
    two = pet.loss(model, pet.collate(all_pairs))
print("the same loss:", bool(abs(one - two) < 1e-5))

# %% [markdown]
# Does it carry over? Forty steps on reviews of twelve kinds of goods, then three tasks of which the model has seen no labelled
# row: the *films* of `world/mr`, fact or opinion (`world/subj`), and pairs that say the same or do not (`world/mrpc`).
# **Predict** first: which of the three will gain?

# %%
from labkit.fewshot.instruction.multitask import continue_pretraining


def cold(model, name):
    """Accuracy on the first 200 test rows of a task, asked as entailment, without an example."""
    task = labkit.load_task(name)
    rows = task.splits["test"][:200]
    method = Entailment.for_task(task, tokenizer)
    answers = labkit.predict(model, method, rows, progress=False).argmax(1)
    return float((answers == np.array([row["label"] for row in rows])).mean())


taught = continue_pretraining(
    model, tokenizer, [reviews], steps=40, lr=1e-3, seed=0, mlm_weight=0, progress=lab.progress
)
report = labkit.Report()
for name in ("world/mr", "world/subj", "world/mrpc"):
    report.add("entailment, as pre-trained", name, cold(model, name))
    report.add("entailment, after reviews", name, cold(taught, name))
report.table()

# %% [markdown]
# The films gain thirty points without an example of their own: another task, but the same question with the same
# statements. Facts and opinions stay at guessing. And the pairs *lose*: the model as pre-trained could judge them, and
# after forty steps on reviews it answers hardly better than by guessing.
#
# So teaching one task can help another, leave it alone, or harm it. How alike must two tasks be? That question runs through
# the rest of the lesson.
#
# ## 2 · A mixture of tasks
#
# Real collections are uneven: one task has a million rows, another forty. Drawn in proportion to their rows, the small ones
# are hardly ever read; drawn in equal shares, they are repeated until the model knows them by heart. The usual compromise
# is a temperature $T \ge 1$ (Raffel et al. 2020, [T5](https://arxiv.org/abs/1910.10683), §3.5.2): with $n_i$ rows, task $i$
# has the share
#
# $$p_i = \frac{n_i^{1/T}}{\sum_j n_j^{1/T}} .$$
#
# ### Your turn: shares
#
# *●○○ · 5 minutes*
#
# Rows of each task $(\text{tasks},)$ and $T$ in, shares $(\text{tasks},)$ out, both as tensors:
#
# `sizes = [900, 100]`, `temperature = 2` → `[0.75, 0.25]`,
#
# because $\sqrt{900} = 30$ and $\sqrt{100} = 10$. At `temperature = 1` the shares are `[0.9, 0.1]`.


# %%
def shares(sizes, temperature): ...  # your turn


shares = check.shares(shares)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two steps: raise to a power, then make the sum 1.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The power is $1/T$, not $T$: a larger temperature must bring the shares closer together.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `weights = sizes ** (1 / temperature)`, then `weights / weights.sum()`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def shares(sizes, temperature):
#     weights = sizes ** (1 / temperature)
#     return weights / weights.sum()
# ```
# </details>

# %% [markdown]
# Sixteen labelled rows per class make 240 rows of news (fifteen topics) and 32 of each two-way task. News and eight such
# tasks:

# %% tags=["nbval-check-output"]
for temperature in (1, 2, 5):
    part = shares(torch.tensor([240.0] + 8 * [32.0]), temperature)
    print(f"T = {temperature}: news {100 * part[0]:.1f} %, each of the others {100 * part[1]:.1f} %")

# %% [markdown]
# The widget does the same for all tasks.
#
# 1. At which temperature is a row of a small task read twice as often as a row of the news?
# 2. Hold out the largest type. Which task gains most?
# 3. Below are the measured accuracies of each type *when it was held out*, before and after; section 3 says how they came
#    about. Did any type gain?

# %%
from labkit.fewshot.instruction.task_types import ENGLISH
from labkit.report import results
from labkit.widgets import task_mixture

measured = results("instruction")


def mean(method, task):
    found = [row.value for row in measured.rows if (row.method, row.task) == (method, task)]
    return float(np.mean(found))


world = {name: labkit.load_task(name) for kind in ENGLISH for name in kind.tasks}
sizes = {k.name: {name: 16 * len(world[name].labels) for name in k.tasks} for k in ENGLISH}
zero_shot_means = {
    k.name: (mean("before", f"type/{k.name}"), mean("new type", f"type/{k.name}")) for k in ENGLISH
}
task_mixture(sizes, zero_shot_means, held=HELD_OUT)

# %% [markdown]
# ### Is it worth a stage of its own?
#
# The FewCLUE system trains on such a mixture *before* the few examples. Here: 150 steps on the entailment rows of all tasks
# of **other** types (and masked language modelling on their text, against forgetting), then 16 examples per class of
# the task that was left out, with PET or as entailment; and without any example (`python benchmarks/instruction.py
# entailment`, one draw, 500 test rows).

# %%
from dataclasses import replace

left_out = ("world/subj", "world/mrpc", "world/rte")


def pick(what, tasks):
    found = [row for row in measured.rows if what in row.method and row.task in tasks]
    return labkit.Report(replace(row, extra={}) for row in found)


pick("16 shots", left_out).table()

# %%
pick("zero shots", ("world/reviews", *left_out, "world/news")).table()

# %% [markdown]
# (One draw: differences of less than about five points are noise.) Here the stage costs more than it brings. With sixteen
# examples per class the model that had it is nowhere ahead, and behind on all three tasks with entailment, on `world/mrpc`
# with PET as well. Without an example no held-out type is answered better by more than noise, and `world/mrpc` much worse.
# The reason is in the last table: as pre-trained, this model already judges pairs well. A hundred and fifty steps on other
# types, at a rate that was not searched for, make it forget a part of that.
#
# Note also that PET is ahead of entailment on `world/subj` and `world/rte`: it asks with the task's own pattern, which the
# pre-training text has prepared. In the FewCLUE system the stage is one of several; the [next lesson](08_fewclue.ipynb)
# measures it there.
#
# ## 3 · Instructions
#
# Entailment fixes one question for all tasks. *Instruction tuning* lets every task be asked in words, in many wordings, and
# hopes that a model which has answered enough questions will answer one of a **kind** that it has never met. FLAN
# ([Wei et al. 2022](https://arxiv.org/abs/2109.01652)) trained a model of 137 billion parameters on clusters of tasks with
# ten templates each, and T0 ([Sanh et al. 2022](https://arxiv.org/abs/2110.08207)) one of 11 billion; both then asked tasks
# of clusters that were held out. Our five types have three or four wordings each, and a label is a word in the blank:

# %%
Table(
    ("type", "wording", "answers"),
    tuple(
        (
            one.name,
            wording.template,
            ", ".join(dict.fromkeys((wording.words or {"": "its topics"}).values())),
        )
        for one in ENGLISH
        for wording in one.wordings[:2]
    ),
)

# %% [markdown]
# ### Nothing may leak
#
# A zero-shot score means something only if the training data is clean. Three things can leak: a **task** that belongs to two
# types, a **wording** that two types share (our paraphrases are asked `{text_a} ? {mask} , {text_b} .`; had inference the
# same one, the model would have been taught it), and **texts**: generated or scraped, the same sentence turns up in two data
# sets more often than one thinks. `held_out` refuses the first two and takes the third out:

# %% tags=["nbval-check-output"]
from labkit.fewshot.instruction import check_split, held_out, texts_of

for one in ENGLISH:
    split = held_out(ENGLISH, one.name, world)
    check_split(split)  # raises if anything of the type is left
    seen = texts_of(split.held_tasks.values())
    print(
        f"{one.name:<13} {len(seen):>6} texts held out, {split.dropped} of them in other tasks' rows"
    )

stolen = {**world["world/rte"].splits["test"][0], "label": 1}
stolen["text_a"] = stolen["text_a"].upper()
bad = replace(
    world["world/mrpc"],
    splits={**world["world/mrpc"].splits, "train": [*world["world/mrpc"].splits["train"], stolen]},
)
split = held_out(ENGLISH, "inference", {**world, "world/mrpc": bad})
print("a test row of rte, hidden in mrpc's training rows in capitals:", split.dropped, "dropped")

# %% [markdown]
# Our world draws each task's texts anew, so nothing was there to find but what we hid. Scraped data is not so kind.

# %% [markdown]
# ### Your turn: take the leaks out
#
# *●●○ · 10 minutes*
#
# Training rows, held-out rows and the names of their text fields in; the training rows whose texts are not among the
# held-out ones out, as they are and in their order. Letters' case makes no difference; a row is the same if the texts of
# **all** `fields` are, whatever its label.
#
# `train = [{"text": "It rained", "label": 0}, {"text": "it snowed", "label": 1}]`,
# `held = [{"text": "it rained", "label": 1}]`, `fields = ["text"]` → `[{"text": "it snowed", "label": 1}]`


# %%
def without_leaks(train, held, fields): ...  # your turn


without_leaks = check.without_leaks(without_leaks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First collect what is forbidden, in a set; then filter. What identifies a row is the tuple of its texts.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `tuple(row[field].lower() for field in fields)` is such a key: the label is not in it, and the order of the fields is.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `seen = {key(row) for row in held}`, and keep the rows of `train` whose key is not in it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def without_leaks(train, held, fields):
#     def key(row):
#         return tuple(row[field].lower() for field in fields)
#
#     seen = {key(row) for row in held}
#     return [row for row in train if key(row) not in seen]
# ```
# </details>
#
# Does it find the row that we hid?

# %% tags=["nbval-check-output"]
rows = bad.splits["train"]
clean = without_leaks(rows, world["world/rte"].splits["test"], ("text_a", "text_b"))
print(f"{len(rows)} training rows of mrpc, {len(clean)} are left; the hidden row is gone: {stolen not in clean}")

# %% [markdown]
# ### Asking cold
#
# Forty steps on the other types, then the held-out one. Forty are few (the figure below has 300), but they show how it is
# done: each batch holds tasks of two, three and fifteen labels, each row in a wording drawn at random.

# %%
from labkit.fewshot.instruction import instruction_tune, zero_shot

split = held_out(ENGLISH, HELD_OUT, world)
tuned = instruction_tune(model, tokenizer, split, steps=40, lr=1e-3, seed=0, progress=lab.progress)

short = {
    name: replace(task, splits={**task.splits, "test": task.splits["test"][:100]})
    for name, task in world.items()
}
asked = replace(split.held, tasks=split.held.tasks[:2])
report = labkit.Report()
for label, one in (("as pre-trained", model), ("instruction-tuned", tuned)):
    for row in zero_shot(one, tokenizer, asked, short):
        name = f"{label}: {split.held.wordings[row['wording']].template}"
        report.add(name, row["task"], row["accuracy"])
report.table()

# %% [markdown]
# The pre-trained model answers these questions well, because its pre-training text asked similar ones. After forty steps on
# other types it is worse in three wordings of four by more than five points. Are forty steps too few, or is it the tuning
# itself?
#
# ### How far it reaches
#
# The measurement, one run of 300 steps (`python benchmarks/instruction.py reach`), ever farther from what was
# trained:
#
# - **new rows**: task and wording were trained on, the rows are new, as in every lesson so far;
# - **new task**: `world/mr`, `world/qqp` and `world/rte` were kept back, others of their type were trained on;
# - **new wording**: the last wording of each type was kept back, its tasks were trained on in the others;
# - **new type**: the whole type was held out;
# - **before**: the model as pre-trained.

# %%
from matplotlib.figure import Figure

from labkit.report.figure import COLOURS, MARKS, Plot

distances = ("new rows", "new task", "new wording", "new type", "before")
have = {(row.method, row.task) for row in measured.rows}
shown = []
figure = Figure(figsize=(7.6, 3.8), layout="constrained")
axes = figure.subplots()
for number, one in enumerate(ENGLISH):
    points = [
        (place, 100 * mean(method, f"type/{one.name}"))
        for place, method in enumerate(distances)
        if (method, f"type/{one.name}") in have
    ]
    axes.plot(
        *zip(*points, strict=True), color=COLOURS[number], marker=MARKS[number], label=one.name
    )
    shown.append(
        (one.name, *(f"{dict(points)[n]:.1f}" if n in dict(points) else "–" for n in range(5)))
    )
axes.set_xticks(range(5), distances)
axes.set(ylabel="accuracy (%)", ylim=(0, 100))
axes.grid(axis="y", alpha=0.3)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left")
said = "; ".join(f"{line[0]} {', '.join(line[1:])}" for line in shown)
Plot(figure, f"Zero-shot accuracy in % on {', '.join(distances)}: {said}.")

# %%
Table(("accuracy (%)", *distances), tuple(shown))

# %% [markdown]
# What can be read from it (one run, so differences of less than about five points are noise):
#
# - **A new task of a known type costs nothing.** Films after other reviews, `world/qqp` after `world/mrpc`, `world/rte` after
#   the other inference tasks are answered as well as new rows of the tasks that were trained on.
# - **A new wording costs little for three types, and everything for one.** Topics, paraphrase and inference lose five
#   points at most, reviews lose fourteen. But facts and opinions fall far *below* guessing: four answers in five are the
#   wrong way round. The reason stands in the wordings. Training asked "is that an opinion ? [MASK]" and taught the model to
#   agree with opinions; the wording kept back asks "true or false : that is a fact ? [MASK]", where the right answer is the
#   opposite one. The model agrees with opinions all the same. It does not read which of the two was asked.
# - **A new type gains nothing, and may lose.** On no type is the tuned model better than before. It is worse on pairs, and on
#   topics by almost thirty points. The pre-training text holds many such questions with their answers ("this is news about
#   …"), so the untuned model answers pairs and reviews better than by guessing, and topics far better. Tuning on the other
#   types makes it forget a part of that, and puts nothing in its place.
#
# The second finding explains the third: a model that does not read the *wording* cannot be told what to do by it.
#
# ### Why?
#
# First suspicion: what do the pair tasks teach at all? Half of their rows say in so many words how the two texts agree ("put
# differently …"); in the other half one has to compare names and relations.

# %%
cued = [row for row in measured.rows if "cue" in row.method and row.task == "type/inference"]
labkit.Report(replace(row, extra={}) for row in cued).table()

# %% [markdown]
# With a cue the tuned model is right nine times in ten, also on a task that it has never seen. Without one it is only a
# little better than guessing. So what it learned from the training rows is mostly a dozen phrases, and hardly how to
# compare names and relations. The phrases of one type do not occur in another, so there is little to carry over.
#
# Second suspicion: too few task types, or too small a model. Two types more can be made of any text, "is this word in it?" and
# "is this sentence whole?"; and there is a smaller model to compare with, of 0.6 million weights in place of 1.5
# (`python benchmarks/instruction.py more`):

# %%
lines = []
for one in ("sentiment", "paraphrase", "inference"):
    ways = ("before", "new type", "new type, two made types more")
    lines.append((one, *(f"{100 * mean(way, f'type/{one}'):.1f}" for way in ways)))
ways = ("before, smaller model", "new type, smaller model")
lines.append(("inference, micro-bert-en", *(f"{100 * mean(way, 'type/inference'):.1f}" for way in ways), "–"))
Table(("held out", "before", "after the other types", "and two made types"), tuple(lines))

# %% [markdown]
# The made types do not help. The smaller model gains nothing either: the larger one is ahead of it before any tuning, and
# that lead comes from pre-training. The papers' own figures agree. In FLAN, tuning on many tasks made models of 68 and 137
# billion parameters better on tasks held out, and those of 8 billion and fewer **worse** (§4.2, Figure 7); the authors
# suppose that the training tasks fill a small model's whole capacity. Ours has 0.0015 billion, and got worse. FLAN's models
# also gained with the number of clusters, up to seven (§4.1); we have five types, of which two look alike. At this size,
# expect something from *similar* tasks, not from instructions.
#
# ## 4 · TransPrompt: what similar tasks share
#
# Between a new wording of the same task and a new type of task lie *similar* tasks: two of paraphrase, two of inference.
# TransPrompt ([Wang et al. 2021](https://aclanthology.org/2021.emnlp-main.221)) trains one *meta-learner* on a group of
# them, then adapts it to each. As in P-tuning the pattern's words are trainable vectors $P \in \mathbb{R}^{n \times d}$,
# but a prompt encoder computes them, one for each task, $E_t$, and a universal one, $E_u$:
#
# $$P_t = P + \tfrac12 E_u(P) + \tfrac12 E_t(P), \qquad P_{\text{unseen}} = P + E_u(P) .$$
#
# What all tasks teach can settle in $E_u$, what only one teaches in its $E_t$; a new task starts with the universal prompt.
# (The sum with $P$ is ours: the encoders' last layers start at 0, so that training begins at the pattern's own words.)

# %% tags=["nbval-check-output"]
import copy

from labkit.fewshot.instruction import transprompt
from labkit.fewshot.pet import PET

group = [
    world[name].few_shot(16, seed=0, dev=False) for name in ("world/mrpc", "world/qqp", "world/rte")
]
pattern = "{text_a} ? {mask} , {text_b} ."
trans = transprompt.TransPrompt.for_tasks(group, tokenizer, pattern)
carrier = trans.attach(copy.deepcopy(model))
table = carrier.get_input_embeddings().table()
print(
    f"{trans.tokens} soft tokens, {len(group)} tasks and the universal prompt: {tuple(table.shape)}"
)

plain = PET.for_task(group[0], tokenizer, pattern)
same = labkit.predict(model, plain, group[0].splits["test"][:50], progress=False)
start = labkit.predict(
    carrier, trans.asking(group[0]), group[0].splits["test"][:50], progress=False
)
print("untrained, it is PET:", bool(abs(start - same).max() < 1e-5))

# %% [markdown]
# A meta-learner must not lean on one task's habits. Two means against it:
#
# - *prototypes*: an example counts by how typical it is of its class **in every task**. With features $f_i$ of example $i$,
#   of task $t$ and class $y$, and $c_{t,y}$ the mean feature of class $y$ in task $t$,
#
#   $$s_i = \zeta \cos(f_i, c_{t,y}) + \frac{1 - \zeta}{M - 1} \sum_{u \ne t} \cos(f_i, c_{u,y}), \qquad
#   w_i \propto e^{s_i}, \qquad L = \frac{\sum_i w_i \,\mathrm{CE}_i}{\sum_i w_i} - \lambda \,\overline{H} ;$$
#
# - *entropy*: $\overline H$ is the mean entropy of the answers, so that a task's easy cues are not learned to certainty.
#
# (The released code measures $-\lVert f - c \rVert$ in place of the cosine, counts all other centroids in the second term,
# those of other classes too, and takes $\zeta = \tfrac12$, $\lambda = 0.01$.)
#
# ### Your turn: prototype scores
#
# *●●● · 20 minutes*
#
# Features $(n, d)$, task numbers $(n,)$ and class numbers $(n,)$ in; $s$, $(n,)$, out, with $\zeta = \tfrac12$. In the check
# every task has every class. Three examples of one class, two of them of task 0:
#
# `features = [[1, 0], [3, 4], [0, 2]]`, `tasks = [0, 0, 1]`, `classes = [0, 0, 0]` → `[0.354, 0.895, 0.854]`,
#
# because the centroids are $c_{0,0} = (2, 2)$ and $c_{1,0} = (0, 2)$. The second example has the cosines 0.990 with its own
# centroid and 0.8 with the other one, which is 0.895 on average.


# %%
def prototype_scores(features, tasks, classes): ...  # your turn


prototype_scores = check.prototype_scores(prototype_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the centroids, one for each pair of task and class; then, for each example, its cosine with its own, and the mean of
# its cosines with those of the *same* class in the *other* tasks.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `features[(tasks == t) & (classes == y)].mean(0)` is $c_{t,y}$, and `torch.cosine_similarity(f, c, dim=0)` the cosine.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Loop over the examples; for each, over `tasks.unique()`. Collect the cosines with other tasks in a list and average it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def prototype_scores(features, tasks, classes):
#     def near(f, t, y):
#         c = features[(tasks == t) & (classes == y)].mean(0)
#         return torch.cosine_similarity(f, c, dim=0)
#
#     scores = []
#     for f, t, y in zip(features, tasks, classes):
#         far = [near(f, u, y) for u in tasks.unique() if u != t]
#         scores.append((near(f, t, y) + torch.stack(far).mean()) / 2)
#     return torch.stack(scores)
# ```
# </details>

# %% [markdown]
# Which sentences are typical everywhere, and which are odd?

# %%
members = transprompt.group_rows(trans, group)
found = transprompt.features(model, trans, members)
columns = ([row[name] for row in members] for name in ("prompt", "label"))
score = np.asarray(prototype_scores(*(torch.as_tensor(part) for part in (found, *columns))))
weight = transprompt.prototype_weights(score)
order, answers = np.argsort(-score), [words[0] for words in trans.verbalizer.words.values()]
Table(
    ("weight", "task", "answer", "text"),
    tuple(
        (f"{weight[n]:.3f}", trans.tasks[members[n]["prompt"]], answers[members[n]["label"]],
         f"{members[n]['text_a'][:44]} … {members[n]['text_b'][:50]}")
        for n in (*order[:3], *order[-3:])
    ),
)  # fmt: skip

# %% [markdown]
# Sixteen examples per class of each of four pair tasks, one draw (`python benchmarks/instruction.py transprompt`). "Alone"
# sees one task; "not adapted" is the meta-learner itself; without de-biasing all weights are 1 and $\lambda = 0$.

# %%
pair_tasks = ("world/mrpc", "world/qqp", "world/qnli", "world/rte")
ways = ("PET, alone", "PET, alone, as many steps", "P-tuning, alone", "PET, all in one", "TransPrompt, not adapted",
        "TransPrompt", "TransPrompt without de-biasing", "TransPrompt with sharp weights")  # fmt: skip
transfer = labkit.Report(
    row for way in ways for row in results("instruction").rows if row.task in pair_tasks and row.method == way
)
transfer.plot(title="Four pair tasks, 16 shots")

# %% [markdown]
# (One draw, so look at the order of large differences only.)
#
# - **Similar tasks help a little.** "PET, all in one" is the same pattern, one plain model, the rows of all four tasks thrown
#   together, no prompts, no weights, no entropy. It is about two points above PET on each task alone, and more
#   steps on the one task do not make up for it.
# - **The prompts add nothing to that.** The meta-learner that is not adapted is exactly where "PET, all in one" is. The gain
#   comes from the other tasks' *rows*.
# - **Adapting to the single task loses this gain, and more**, except with sharp weights ($T = 0.02$). The usual weights lie
#   close to 1, as the table above shows, so it makes no difference whether the de-biasing is there or not.
#
# Whoever reports a multi-task method should show the row "all in one". (P-tuning's vectors start as the pattern's words,
# and at this learning rate stay near them: its answers are almost PET's.)
#
# ## 5 · Learning to be a good start
#
# FewCLUE's winners also fed the *unlabelled* text of many tasks to a meta-learner. Where continued pre-training asks for a
# model that is good at all this text, meta-learning asks for one from which a few steps on **one** task lead far. Reptile
# ([Nichol et al. 2018](https://arxiv.org/abs/1803.02999)) does it without second derivatives: from $\theta$, go $k$ steps on
# one task, to $\theta_k$; then move the start a part of the way,
#
# $$\theta \leftarrow \theta + \varepsilon\,(\theta_k - \theta) ,$$
#
# and take the next task. With one task and $\varepsilon = 1$ this is ordinary training.

# %% tags=["nbval-check-output"]
from labkit.fewshot.instruction.meta_learning import reptile, text_episodes

episodes = text_episodes(
    [
        replace(task, splits={"train": task.splits["unlabelled"][:300]})
        for task in list(world.values())[:4]
    ],
    tokenizer,
)
whole = reptile(model, episodes[:1], rounds=1, steps=2, lr=1e-4, outer=1.0)
half = reptile(model, episodes[:1], rounds=1, steps=2, lr=1e-4, outer=0.5)
middle = [
    bool(torch.allclose(c, (a + b) / 2, atol=1e-6))
    for a, b, c in zip(model.parameters(), whole.parameters(), half.parameters(), strict=True)
]
print(f"half the way in all {len(middle)} tensors:", all(middle))

# %% [markdown]
# What it buys is not measured here: our tasks' texts are of the very world that the model was pre-trained on, so there
# is little that a better start could show. With a hub model and the texts of your own domains there is.
#
# ## Read on
#
# - Wei et al. 2022, [FLAN](https://arxiv.org/abs/2109.01652), §4: number of clusters, size of the model, the role of the
#   instructions; Sanh et al. 2022, [T0](https://arxiv.org/abs/2110.08207), many wordings for every task.
# - Wang et al. 2021, [*Entailment as few-shot learner*](https://arxiv.org/abs/2104.14690).
# - `labkit/fewshot/instruction/`: [`entailment.py`](../../labkit/fewshot/instruction/entailment.py),
#   [`multitask.py`](../../labkit/fewshot/instruction/multitask.py), [`tuning.py`](../../labkit/fewshot/instruction/tuning.py) with
#   [`task_types.py`](../../labkit/fewshot/instruction/task_types.py), [`transprompt.py`](../../labkit/fewshot/instruction/transprompt.py),
#   [`meta_learning.py`](../../labkit/fewshot/instruction/meta_learning.py).
# - Next: [08 · FewCLUE](08_fewclue.ipynb). The multi-task stage takes its place in a whole system, the one that won there.
