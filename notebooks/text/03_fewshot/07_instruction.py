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
# example? Three answers, and an honest measurement of how far each of them reaches.
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
from labkit.fewshot.statements import OTHERWISE, statements_of
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

from labkit.fewshot.multitask import entailment_rows

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
# Blank logits $(\text{batch}, \text{labels}, \text{vocabulary})$, a blank for each statement, and the ids of the two answers
# in; $p(\text{entailed})$, $(\text{batch}, \text{labels})$, out.

# %%
from labkit.checks import instruction as check


def entailed(blank_logits, no, yes): ...  # your turn


check.entailed(entailed)

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

from labkit.fewshot.entailment import Entailment

print(inspect.getsource(Entailment.judgements), inspect.getsource(Entailment.logits), sep="\n")

# %% [markdown]
# Two tests of that claim. A row's scores equal a loop over its statements with the model's bare forward pass; and training
# the method with *all* wrong statements is training PET on the entailment rows, because it is the same loss.

# %% tags=["nbval-check-output"]
import torch

from labkit.fewshot.entailment import judge

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
reviews = tasks["world/reviews"]
method, some = Entailment.for_task(reviews, tokenizer), reviews.splits["test"][:20]

by_hand = []
for row in some:
    for said in statements_of(reviews).values():
        text = f"{row['text'].rstrip(' .')} ? {tokenizer.mask_token} , {said}"
        inputs = tokenizer(text, return_tensors="pt")
        blank = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
        with torch.no_grad():
            logits = model(**inputs).logits[0, blank]
        by_hand.append(logits[tokenizer.convert_tokens_to_ids(["no", "yes"])].softmax(0)[1])
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
# Does it carry over? Sixty steps on reviews of twelve kinds of goods, then the *films* of another task, `world/mr`, of which
# the model has seen no labelled row:

# %%
from labkit.fewshot.multitask import continue_pretraining

films = labkit.load_task("world/mr")
rows = films.splits["test"][:300]
labels = np.array([row["label"] for row in rows])
judged = Entailment.for_task(films, tokenizer)


def right(model, method):
    return float((labkit.predict(model, method, rows, progress=False).argmax(1) == labels).mean())


taught = continue_pretraining(
    model, tokenizer, [reviews], steps=60, lr=1e-3, seed=0, mlm_weight=0, progress=lab.progress
)
report = labkit.Report()
report.add("entailment, as pre-trained", "world/mr", right(model, judged))
report.add("entailment, after reviews", "world/mr", right(taught, judged))
report.table()

# %% [markdown]
# From guessing to reading, without an example of the new task. But films are reviews too, and the statements were the same.
# What if the new task is *not* the old one in another coat? That question runs through the rest of the lesson.
#
# ## 2 · A mixture of tasks
#
# Real collections are uneven: one task has a million rows, another forty. Drawn in proportion, the small ones are never
# heard; drawn alike, they are repeated until the model knows them by heart. The usual way between is a temperature $T \ge 1$
# (Raffel et al. 2020, [T5](https://arxiv.org/abs/1910.10683), §3.5.2): with $n_i$ rows, task $i$ has the share
#
# $$p_i = \frac{n_i^{1/T}}{\sum_j n_j^{1/T}} .$$
#
# ### Your turn: shares
#
# Rows of each task $(\text{tasks},)$ and $T$ in, shares $(\text{tasks},)$ out.


# %%
def shares(sizes, temperature): ...  # your turn


check.shares(shares)

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
# Play with it: sixteen labelled rows a class make 240 rows of news (fifteen topics) and 32 of each two-way task.
#
# 1. At which temperature is a row of a small task read twice as often as a row of the news?
# 2. Hold out the largest type. Who gains most?
# 3. Below are the measured accuracies of each type *when it was held out*; section 3 says how they came about. Which type
#    gained, and which did not?

# %%
from labkit.fewshot.task_types import ENGLISH
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
# of **other** types (and masked language modelling on their text, which keeps the model from forgetting), then 16 examples
# a class of the task that was left out, with PET or as entailment (`python benchmarks/instruction.py entailment`).

# %%
left_out = ("world/subj", "world/mrpc", "world/rte")
both = [row for row in measured.rows if "16 shots" in row.method and row.task in left_out]
labkit.Report(both).table()


# %% tags=["nbval-check-output"]
def verdict(difference):
    """Whether the 95 % interval of a paired difference leaves 0 out, and on which side."""
    points = f"{100 * difference.difference:+5.1f} points"
    if difference.low > 0:
        return f"{points}, ahead"
    return f"{points}, behind" if difference.high < 0 else f"{points}, no difference beyond noise"


for method in ("PET, 16 shots", "entailment, 16 shots"):
    for task in left_out:
        difference = measured.compare(f"{method}, after other tasks", method, task=task)
        print(f"{method:<21} {task:<11} after other tasks: {verdict(difference)}")

print("entailment against PET, 16 shots, world/rte:",
      verdict(measured.compare("entailment, 16 shots", "PET, 16 shots", task="world/rte")))  # fmt: skip

# %% [markdown]
# With sixteen examples a class the stage is worth nothing here, for neither method; in FewCLUE's system it was meant for the
# pair tasks, and the [next lesson](08_fewclue.ipynb) measures it there. What *does* make a difference is where the blank
# stands: on `world/rte` entailment is ahead of PET by twelve points, and it is not the entailment that does it. PET's first
# pattern asks at the end, "… does it follow that … ? ___ ."; the judge asks in between, "… ? ___ , …", as this model's
# pre-training text did. PET with *that* pattern is at 64 % too ("PET, alone" in section 4).
#
# And without any example of the new type?

# %%
new_types = ("world/reviews", *left_out, "world/news")
labkit.Report(
    row for row in measured.rows if "zero shots" in row.method and row.task in new_types
).table()

# %% tags=["nbval-check-output"]
for task in new_types:
    method = "entailment, zero shots"
    difference = measured.compare(f"{method}, after other tasks", method, task=task)
    print(f"{task:<14} asked cold, after other tasks: {verdict(difference)}")

# %% [markdown]
# One type in five is answered better than by guessing although it was held out: whether a sentence is fact or opinion, with 67 %
# where sixteen labelled examples a class give 67 to 71. (One guess: to judge "it was great ." of a review is to look for
# opinions, and the word "opinion" is near enough to be understood.) The other types stay where they were. We shall see the
# same picture with other means, and then look for the reason.
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
from dataclasses import replace

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
# Training rows, held-out rows and the names of their text fields in; the training rows whose texts are not among the held-out
# ones out, as they are. Letters' case makes no difference; a row is the same if **all** its fields are, whatever its label.


# %%
def without_leaks(train, held, fields): ...  # your turn


check.without_leaks(without_leaks)

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

# %% [markdown]
# ### Asking cold
#
# Sixty steps on the other types, then the held-out one. Sixty are few (the figure below has 300), but you see the machine at
# work: each batch holds tasks of two, three and fifteen labels, each row in a wording drawn at random.

# %%
from labkit.fewshot.instruction import instruction_tune, zero_shot

split = held_out(ENGLISH, HELD_OUT, world)
tuned = instruction_tune(model, tokenizer, split, steps=60, lr=1e-3, seed=0, progress=lab.progress)

short = {
    name: replace(task, splits={**task.splits, "test": task.splits["test"][:150]})
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
# ### How far it reaches
#
# The measurement, over three seeds of 300 steps (`python benchmarks/instruction.py reach`), ever farther from what was
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
axes.set(ylabel="accuracy (%), mean of three seeds", ylim=(0, 100))
axes.grid(axis="y", alpha=0.3)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left")
said = "; ".join(f"{line[0]} {', '.join(line[1:])}" for line in shown)
Plot(figure, f"Zero-shot accuracy in % on {', '.join(distances)}: {said}.")

# %%
Table(("accuracy (%)", *distances), tuple(shown))

# %% tags=["nbval-check-output"]
from scipy.stats import t as student


def gain(method, task, other="before"):
    """The mean over seeds less that of `other`, which has one, with its 95 % interval (Student's t)."""
    found = [row.value for row in measured.rows if (row.method, row.task) == (method, task)]
    points = np.mean(found) - mean(other, task)
    reach = student.ppf(0.975, len(found) - 1) * np.std(found, ddof=1) / np.sqrt(len(found))
    side = (
        "ahead" if points > reach else "behind" if points < -reach else "no difference beyond noise"
    )
    return f"{100 * points:+5.1f} points, {side}"


for one in ENGLISH:
    task = f"type/{one.name}"
    print(f"{one.name:<13} as a new type {gain('new type', task)}")
    print(f"{'':<13} as new rows   {gain('new rows', task)}")

# %% [markdown]
# A clear answer, and not the one that the papers' abstracts prepare for. **A new task of a known type costs nothing**: films
# after reviews, `world/qqp` after `world/mrpc`, are answered as well as new rows of the old tasks. **A new wording already
# costs a lot**: the reviews fall by twenty points and the pairs to guessing, although the same tasks were trained in three
# other wordings. **A new type gains nothing**: a model tuned on four types is no better at the fifth than before, and on the
# topics, which it could guess a little, worse. (Paraphrase is a two-way task: where it stands "ahead" of 48.6 by two to four
# points, it is guessing still.)
#
# The step that fails explains the one after it: a model that does not read the *wording* cannot be told what to do with it.
#
# ### Why?
#
# First suspicion: what do the pair tasks teach at all? Half of their rows say in so many words how the two texts agree ("put
# differently …", "on the other hand …"); in the other half one has to compare names and relations.

# %%
cued = [row for row in measured.rows if "cue" in row.method and row.task == "type/inference"]
labkit.Report(replace(row, extra={}) for row in cued).table()

# %% [markdown]
# There it is. With a cue the tuned model is right nine times in ten, on a task that it has never seen too; without one it
# guesses. It learned a dozen phrases, not to compare. Phrases of one type are no phrases of another, so there is nothing to
# carry over.
#
# Second suspicion: too few task types, or too small a model. Two types more can be made of any text, "is this word in it?" and
# "is this sentence whole?"; and there is a model twice as deep (`python benchmarks/instruction.py more`).

# %% tags=["nbval-check-output"]
for one in ("sentiment", "paraphrase", "inference"):
    for method, other in (
        ("new type", "before"),
        ("new type, two made types more", "before"),
        ("new type, larger model", "before, larger model"),
    ):
        if (method, f"type/{one}") in have:
            print(f"{one:<11} {method:<30} {gain(method, f'type/{one}', other)}")

# %% [markdown]
# Neither helps here (on the reviews the made types cost six points), and the papers' own figures say why. In FLAN, tuning on many tasks made models of 68 and 137 billion
# parameters better on tasks held out, and those of 8 billion and fewer **worse** (§4.2, Figure 7): a small model spends all it
# has on the tasks it is given. Ours has 0.0006 billion. It gained with the number of clusters, too, up to seven (§4.1); we
# have five types, of which two look alike. At this size, expect something from *similar* tasks, not from instructions.

# %% [markdown]
# ## 4 · TransPrompt: what similar tasks share
#
# Between "another coat" and "another kind" lie *similar* tasks: two kinds of paraphrase, two of inference. TransPrompt
# ([Wang et al. 2021](https://aclanthology.org/2021.emnlp-main.221)) trains one *meta-learner* on a group of them, then adapts
# it to each. As in P-tuning the pattern's words are trainable vectors $P \in \mathbb{R}^{n \times d}$, but a prompt encoder
# computes them, one for each task, $E_t$, and a universal one, $E_u$:
#
# $$P_t = P + \tfrac12 E_u(P) + \tfrac12 E_t(P), \qquad P_{\text{unseen}} = P + E_u(P) .$$
#
# What all tasks teach can settle in $E_u$, what only one teaches in its $E_t$; a new task starts with the universal prompt.
# (The sum with $P$ is ours: the encoders' last layers start at 0, so that training begins at the pattern's own words.)

# %% tags=["nbval-check-output"]
import copy

from labkit.fewshot import transprompt
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
# Features $(n, d)$, task numbers $(n,)$ and class numbers $(n,)$ in; $s$, $(n,)$, out, with $\zeta = \tfrac12$. In the check
# every task has every class.


# %%
def prototype_scores(features, tasks, classes): ...  # your turn


check.prototype_scores(prototype_scores)

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
score = transprompt.prototype_scores(found, *columns)
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
# Sixteen examples a class of each of four pair tasks, three draws (`python benchmarks/instruction.py transprompt`). "Alone"
# sees one task; "not adapted" is the meta-learner itself; without de-biasing all weights are 1 and $\lambda = 0$.

# %%
pair_tasks = ("world/mrpc", "world/qqp", "world/qnli", "world/rte")
ways = ("PET, alone", "PET, alone, as many steps", "P-tuning, alone", "PET, all in one", "TransPrompt, not adapted",
        "TransPrompt", "TransPrompt without de-biasing", "TransPrompt with sharp weights")  # fmt: skip
transfer = labkit.Report(
    row for way in ways for row in measured.rows if row.task in pair_tasks and row.method == way
)
transfer.plot(title="Four pair tasks, 16 shots")

# %% tags=["nbval-check-output"]
for other in (w for w in ways if w != "TransPrompt"):
    print(f"TransPrompt against {other:<31} {verdict(transfer.compare('TransPrompt', other))}")

# %% [markdown]
# **Learning from similar tasks pays**: five points over PET or P-tuning on each task alone, and more steps on the one task do
# not make up for it. But look at "PET, all in one": the same pattern, one plain model, the rows of all four tasks thrown
# together, no prompts, no weights, no entropy. It is where TransPrompt is. The gain comes from the other tasks' *rows*; what
# the prompts add is not to be told from noise here, and the same holds for the de-biasing: with a temperature of 1 the
# weights lie between 0.85 and 1.13, which hardly changes anything, and when they are made sharp ($T = 0.02$) the mean falls.
# Whoever reports a multi-task method should show this row. (P-tuning's vectors start as the pattern's words, and at this
# learning rate stay near them: its answers are PET's.)
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
from labkit.fewshot.meta_learning import reptile, text_episodes

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
# What it buys is not measured here: our tasks' texts are of the very world that the micro model was pre-trained on, so there
# is little that a better start could show. With a hub model and the texts of your own domains there is.
#
# ## Read on
#
# - Wei et al. 2022, [FLAN](https://arxiv.org/abs/2109.01652), §4: number of clusters, size of the model, the role of the
#   instructions; Sanh et al. 2022, [T0](https://arxiv.org/abs/2110.08207), many wordings for every task.
# - Wang et al. 2021, [*Entailment as few-shot learner*](https://arxiv.org/abs/2104.14690).
# - `labkit/fewshot/`: [`entailment.py`](../../labkit/fewshot/entailment.py), [`multitask.py`](../../labkit/fewshot/multitask.py),
#   [`instruction.py`](../../labkit/fewshot/instruction.py) with [`task_types.py`](../../labkit/fewshot/task_types.py),
#   [`transprompt.py`](../../labkit/fewshot/transprompt.py), [`meta_learning.py`](../../labkit/fewshot/meta_learning.py).
# - Next: [08 · FewCLUE](08_fewclue.ipynb). The multi-task stage takes its place in a whole system, the one that won there.
