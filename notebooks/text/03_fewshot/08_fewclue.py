# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # FewCLUE: nine tasks, one system
#
# A method that works on one task is a result; a method that works on nine unlike ones, with 16 examples a class and no
# time to tune each, is a system. FewCLUE asks for that, in Chinese: reviews, headlines, abstracts, apps, inference,
# paraphrase, keywords, idioms, pronouns. In July 2021 Alibaba's PAI team and DAMO Academy took its first place with
# three stages: pre-training with knowledge, continued pre-training on many tasks at once, and Fuzzy-PET with
# self-training. You build these stages here, on a small world, and measure what each is worth.
#
# **After this lesson you can**
#
# - turn nine shapes of task, with two classes or a hundred, into clozes for one and the same language model;
# - score answers of unequal length, and answers that every row brings for itself;
# - put a system together from stages, and take it apart again: an ablation, split by split;
# - keep a held-out set held out when several tasks are trained at once, and write answers in a leaderboard's format.
#
# **60 minutes.** Before it: [PET](02_pet.ipynb) and [instructions and many tasks](07_instruction.ipynb). You need Python
# and a little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="03/08")

# %% [markdown]
# With `FOLDER = ""` the lesson writes a *micro-FewCLUE* of this course's own world, in the benchmark's own file format. With
# the real files, name the folder that holds `eprstmt`, `bustm` and the others, and take a model that reads real Chinese
# (`"hfl/chinese-roberta-wwm-ext"`).

# %%
MODEL = "mini-bert-zh"  # @param {type:"string"}
FOLDER = ""  # @param {type:"string"}
SPLIT = 0  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Nine shapes
#
# A task is a folder: five small training files, each with a development file of its own, a public test set with labels, a
# hidden one without, and unlabelled text. Five training files, because one draw of 32 sentences says little.

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

from labkit.tasks import FEWCLUE
from labkit.world.fewclue import write_fewclue

folder = Path(FOLDER or tempfile.mkdtemp())
if not FOLDER:
    write_fewclue(folder)


def load(name, split=SPLIT):
    """The task from its files; in the world, with the world's own patterns and label words."""
    known = None if FOLDER else labkit.load_task(f"world/fewclue/{name}")
    options = {} if known is None else {"patterns": known.patterns, "words": known.words}
    return labkit.load_task(f"fewclue:{folder}/{name}", split=split, **options)


tasks = {name: load(name) for name in FEWCLUE if (folder / name).is_dir()}
print(*sorted(path.name for path in (folder / next(iter(tasks))).iterdir()), sep="  ")

# %%
from labkit.fewshot.fewclue import SHAPES
from labkit.report import Table


def brief(text, most=40):
    return text if len(text) <= most else text[: most - 1] + "…"


Table(
    ("task", "gives", "what goes into the blank", "classes", "training rows", "a row"),
    tuple(
        (name, SHAPES[name].gives, SHAPES[name].blank, str(len(task.labels)), str(len(task.splits["train"])),
         brief("　".join(task.splits["train"][0][field] for field in task.fields)))
        for name, task in tasks.items()
    ),
    notes=("“of 67”, “of 119” are FewCLUE's own; the world's have 34 and 36.",),
)  # fmt: skip

# %% [markdown]
# For most of them, lesson 02's PET does. Two kinds do not fit:
#
# - **csldcp, iflytek** in the real files: names of two to ten characters ("数学", mathematics; "林学/林业工程", forestry and
#   its engineering);
# - **chid**: the answers are not classes at all. Each row brings seven idioms of its own.
#
# `cloze_for` looks at a task and chooses. What it writes for the first row of each:

# %%
from labkit.fewshot.fewclue import cloze_for

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()


def written(task):
    """The first row as the model gets to read it."""
    batch = cloze_for(task, tokenizer).collate(task.splits["train"][:1])
    ids = next(value for name, value in batch.items() if name.endswith("input_ids"))
    text = tokenizer.decode(ids[0], skip_special_tokens=False).replace(" ", "")
    return text.replace("[CLS]", "").replace("[SEP]", "").replace("[MASK]", "＿")


Table(
    ("task", "method", "cloze"),
    tuple(
        (name, type(cloze_for(task, tokenizer)).__name__, written(task))
        for name, task in tasks.items()
    ),
)

# %% [markdown]
# ## 2 · Seven idioms, one gap
#
# One can *number* the seven idioms and ask for the number: "the gap is filled by number ＿: 0, …; 1, …". Or one puts every
# candidate into the gap itself. An idiom $c$ has $m$ characters, $m$ blanks stand in the gap of the passage $x$, and its
# score is
#
# $$s(c \mid x) = \frac{1}{m} \sum_{k=1}^{m} \log p\big(c_k \mid x \text{ with } m \text{ blanks}\big), \qquad
# q(c \mid x) = \frac{e^{s(c \mid x)}}{\sum_{c'} e^{s(c' \mid x)}} ,$$
#
# where $p$ is the softmax over the whole vocabulary at blank $k$, and $c'$ runs over **this row's** candidates. By hand,
# for one row: "they say that Xiaohong ＿, because she often bullies old people". The answer is 胡作非为, *behaves
# outrageously*; others are 喜气洋洋, *full of joy*, and 山清水秀, *a fine landscape*:

# %%
import torch

row = tasks["chid"].splits["test"][0] if "chid" in tasks else {
    "text_a": "听到好消息，可以说#idiom#。", "label": 0,
    "candidates": ["兴高采烈", "夜以继日", "饥寒交迫", "同甘共苦", "十全十美", "一贫如洗", "齐心协力"],
}  # fmt: skip


def gap_scores(row):
    """s(c | x) of each candidate: (candidates,); all are four characters long."""
    filled = row["text_a"].replace("#idiom#", tokenizer.mask_token * 4)
    inputs = tokenizer(filled, return_tensors="pt")
    blanks = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten()
    with torch.no_grad():
        logs = model(**inputs).logits[0, blanks].log_softmax(-1)  # (4, vocabulary)
    pieces = [tokenizer.convert_tokens_to_ids(list(idiom)) for idiom in row["candidates"]]
    return torch.stack([logs[torch.arange(4), torch.tensor(ids)].mean() for ids in pieces])


print(row["text_a"])
for idiom, score in zip(row["candidates"], gap_scores(row), strict=True):
    print(f"    {idiom}  {score:6.2f}")

# %% [markdown]
# On this row the untrained model is wrong: it likes joy best. How often it is right, we count below.
#
# ### Your turn: a whole batch of rows
#
# Logits at the blanks, $(\text{batch}, \text{blanks}, \text{vocabulary})$, and each row's candidates as pieces,
# $(\text{batch}, \text{candidates}, \text{blanks})$; back come the scores $s$, $(\text{batch}, \text{candidates})$.

# %%
from labkit.checks import fewclue as check


def idiom_scores(blank_logits, candidates): ...  # your turn


check.idiom_scores(idiom_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the logarithm of the softmax over the vocabulary, for every blank. Then *pick*, then average.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `logs.gather(2, index)` picks along the vocabulary. It wants an index of the shape (batch, blanks, candidates):
# `candidates.transpose(1, 2)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# What comes out of `gather` is (batch, blanks, candidates); average over dimension 1.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def idiom_scores(blank_logits, candidates):
#     logs = blank_logits.log_softmax(-1)
#     return logs.gather(2, candidates.transpose(1, 2)).mean(1)
# ```
# </details>
#
# `RowCandidates` is the same, made safe: candidates of several lengths, passages that are too long (cut at both ends, never
# in the gap), a row without its gap.

# %%
import inspect

from labkit.fewshot.fewclue import RowCandidates
from labkit.fewshot.fewclue.candidates import mean_log_probability

print(inspect.getsource(mean_log_probability))

# %% tags=["nbval-check-output"]
in_gap = RowCandidates(tokenizer)
some = tasks["chid"].splits["test"][:20] if "chid" in tasks else [row]
by_hand = torch.stack([gap_scores(one) for one in some]).softmax(1)
difference = (by_hand - torch.from_numpy(labkit.predict(model, in_gap, some))).abs().max()
print("largest difference below 1e-5:", bool(difference < 1e-5))

# %% [markdown]
# Is the gap a better blank than a number? Without a single example, on 300 rows:

# %% tags=["nbval-check-output"]
import math

import numpy as np

from labkit.fewshot.pet import PET


def right(method, rows):
    """The share of rows that the untrained model answers rightly."""
    answers = labkit.predict(model, method, rows, progress=False).argmax(1)
    return float(np.mean(answers == [row["label"] for row in rows]))


if "chid" in tasks:
    some, chance = tasks["chid"].splits["test"][:300], 1 / 7
    error = math.sqrt(chance * (1 - chance) / len(some))
    for name, method in (
        ("idioms in the gap", in_gap),
        ("a number", PET.for_task(tasks["chid"], tokenizer)),
    ):
        above = (right(method, some) - chance) / error
        print(
            f"{name:<18} {'above chance' if above > 2 else 'not above chance'} (beyond two standard errors)"
        )

# %% [markdown]
# ### Names that differ in length
#
# Why divide by $m$? A log-probability is negative, so every further character can only make a sum smaller: "数学" beats
# "林学/林业工程" before anything is read. The mean asks how likely a character of the name is.
#
# ### Your turn: one name's score
#
# Log-probabilities at the blanks of *one* name, $(m, \text{vocabulary})$, and its pieces, $(m,)$; back comes one number that
# can be compared with a name of any other length.


# %%
def label_score(log_probabilities, pieces): ...  # your turn


check.label_score(label_score)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# At blank 0 you want the log-probability of piece 0, at blank 1 of piece 1, and so on: $m$ numbers.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `log_probabilities[torch.arange(m), pieces]` picks them.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Their mean; `len(pieces)` is $m$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def label_score(log_probabilities, pieces):
#     return log_probabilities[torch.arange(len(pieces)), pieces].mean()
# ```
# </details>
#
# A hundred and nineteen names need no 119 passes: all names of one length are read off the same $m$ blanks. IFLYTEK's take
# one pass a length. (`labkit.fewshot.generative.GenerativePET`, lesson [01](01_prompts.ipynb).)
#
# ## 3 · The stages
#
# **Knowledge.** The authors pre-train on text aligned with facts (subject, predicate, object) of a knowledge graph; module
# 02 is about that. Here it is a *hook*: a function from a model to a model, or a model that takes the backbone's place.
# Without one, the stage changes nothing, and its rows say so.
#
# **Many tasks.** Every labelled row of all nine tasks becomes one question: does this statement hold of the text?
# "I like the movie" and "this shows a positive feeling": yes. Sentiment, sections, disciplines, pairs: one task, and the
# model continues its pre-training on it and on the unlabelled text of all.

# %%
from labkit.fewshot.multitask import entailment_rows

rng = np.random.default_rng(0)
shown = [
    one
    for name in tasks
    for one in entailment_rows(tasks[name], rng)[:2]
    if name in ("eprstmt", "tnews", "bustm")
]
Table(
    ("task", "text", "statement", "holds"),
    tuple(
        (
            one["task"].split("/")[-1],
            brief(one["text"]),
            one["statement"],
            ("no", "yes")[one["label"]],
        )
        for one in shown
    ),
)

# %% [markdown]
# Here is where such systems cheat without meaning to. Nine tasks are read at once, with all their unlabelled text; if one
# test sentence stands in it, the figure for that task is worth less. `training_view` is what the stage may see: this
# split's training rows, and unlabelled text less any that will be judged later.

# %% tags=["nbval-check-output"]
from labkit.fewshot.fewclue import training_view

leaks = 0
for task in tasks.values():
    view = training_view(task)
    held = {
        row[task.fields[0]] + row[task.fields[-1]]
        for part in ("dev", "test", "submission")
        for row in task.splits.get(part, [])
    }
    leaks += sum(
        row[task.fields[0]] + row[task.fields[-1]] in held
        for row in view.splits.get("unlabelled", [])
    )
    assert set(view.splits) <= {"train", "unlabelled"}
print(f"rows of dev or test among what the multi-task stage reads as unlabelled text: {leaks}")

# %% [markdown]
# **Fuzzy-PET and self-training** you know from lesson 02. For OCNLI the authors name their template and words: “{a}” and “{b}”:
# the relation is ＿, with the sets *relevant / irrelevant / opposite*, *implying / neutral / contradictory*, *containing /
# neutral / reverse*. The answer adds up the three words of a class. Then the model labels unlabelled rows, and learns from
# those it is surest of, class by class.
#
# The system is these parts in a row; a *stage* says which of them it has:

# %%
from labkit.fewshot.fewclue import STAGES, FewClueSystem, Rates, Settings

parts = ("knowledge", "multitask", "fuzzy", "self_training")
Table(
    ("stage", "new head", *parts),
    tuple(
        (
            stage.name,
            "✓" if stage.head else "",
            *("✓" if getattr(stage, part) else "" for part in parts),
        )
        for stage in STAGES
    ),
)

# %% [markdown]
# A slice of it, live: two tasks, one training split, few steps. (The whole of it, nine tasks on one split, takes about
# twelve minutes of one core.)

# %%
few = {name: tasks[name] for name in ("eprstmt", "tnews") if name in tasks}
few = {
    name: replace(task, splits={**task.splits, "test": task.splits["test"][:100]})
    for name, task in few.items()
}
system = FewClueSystem(
    model, tokenizer, few, {"eprstmt": Rates(3e-4, 3e-5), "tnews": Rates(1e-3, 3e-4)},
    settings=Settings(steps=15, multitask_steps=15, unlabelled=120), seed=SPLIT,
)  # fmt: skip
report = labkit.Report()
for name, task in few.items():
    for stage in STAGES:
        report.add(
            stage.name, task, system.score(name, stage), seed=SPLIT, note=system.note(name, stage)
        )
report.table()

# %% [markdown]
# ## 4 · What is each stage worth?
#
# The benchmark's score is one number: the mean of nine accuracies. First that number, then what it hides.
#
# ### Your turn: the nine-task mean
#
# A dictionary from a task's name to the accuracies of its splits, of which a task may have fewer than five. Every task
# counts the same. And a mean over eight tasks must not pass for the benchmark's score: raise a `ValueError`.


# %%
def nine_task_mean(scores): ...  # your turn


check.nine_task_mean(nine_task_mean)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two means, one inside the other. Which is the inner one?
# </details>
#
# <details><summary>Hint 2</summary>
#
# `sum(values) / len(values)` for each task's splits gives nine numbers.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `if len(scores) != 9: raise ValueError(…)`, then the mean of the nine.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def nine_task_mean(scores):
#     if len(scores) != 9:
#         raise ValueError(f"nine tasks make the score, not {len(scores)}")
#     return sum(sum(values) / len(values) for values in scores.values()) / 9
# ```
# </details>
#
# Nine tasks, one training split, learning rates chosen on other draws and on development rows (`python
# benchmarks/fewclue.py tune`, then `world --seeds 1`; [its rows](../../labkit/results/fewclue.json)). Switch between
# accuracies and changes. With several splits, a ● marks a change beyond two standard errors over them; one split has no
# spread. What can be said from it: each task has 1000 test rows, so a change of less than 3 points on one task is within
# their noise, and so is one of less than a point of the mean. How other training files would come out, it cannot say.

# %%
from labkit.report import results
from labkit.widgets import ablation_table

measured = results("fewclue")
names = [stage.name for stage in STAGES]
ablation_table(measured, names)

# %%
labkit.Report([row for row in measured.rows if row.method in names]).plot(
    title="Nine-task mean, one split"
)

# %% tags=["nbval-check-output"]
def points(after, before):
    """The change of the nine-task mean, and whether it is more than the test rows' noise of one point."""
    change = 100 * measured.compare(after, before).difference
    return f"{change:+5.1f} points" + (", within noise" if abs(change) < 1 else "")


print("nine-task mean, each stage against the one before")
for before, after in zip(names, names[1:], strict=False):
    print(f"    {after:<18} {points(after, before)}")
print(f"    the whole against PET {points(names[-1], 'PET')}")

# %% [markdown]
# Read it in this order.
#
# 1. **The step from a head to a cloze** is the large one, and it is not a step up everywhere. Where pre-training has taught what
#    the task asks for, it is worth most: reviews gain 26 points, idioms 19, paraphrases 6. A head is at chance on the idioms,
#    and near it on the reviews. Abstracts lose 5 points. For them, with 34 disciplines, a head that reads the whole text learns
#    more from eight rows per class than a blank does. (Headlines and apps change by less than 3.)
# 2. **Knowledge.** Its row is the row before: there is no hook yet. An ablation has to show the empty stage, too.
# 3. **Many tasks** change next to nothing, up or down. Only the keywords of *csl* go from chance to a little above it, and
#    the next stage loses that again.
# 4. **Fuzzy-PET** gives the abstracts nearly 4 points: each discipline has a second name, and the answer adds up both. Headlines
#    and apps have such words too, and gain nothing.
# 5. **Self-training** raises headlines, pairs, abstracts and reviews by up to 2.5 points and lowers idioms and apps: with 36 classes,
#    answers that are right little more than every second time are poor teachers. Each of these changes is within its noise.
# 6. **At chance** whatever is done: pronouns and keywords. A head does not learn the pronouns from all labels either, and no stage adds
#    what a model does not have.
#
# So the cloze is what pays. The three stages on top of it that do something bring about one point together, and no stage alone
# can be told from noise. What is left is the other way to ask: what if one stage is left out *of the whole*? A stage can be
# worth more, or less, beside the others. You can run it, `python benchmarks/fewclue.py less --seeds 1`, in some ten minutes:
# it adds the rows "all less multi-task" and "all less Fuzzy-PET" to the table above.
#
# The authors report that each idea helped, and give no figure for a single one; their score is of models with 300 million
# and 1.5 billion parameters, this is one of one and a half million.
#
# ## 5 · Answers for the leaderboard
#
# The hidden test file wants a line a row: the row's id, and the label as the files write it, which is a code for TNEWS and a
# number under another key for CHID. `write_submission` writes all rows or nothing; `score_submission` reads such a file
# back, checks it, and scores it against a labelled one.

# %%
from labkit.fewshot.fewclue import write_submission

name = "tnews" if "tnews" in few else next(iter(few))
answers = system.answers(name, "PET", "submission")
path = write_submission(tempfile.mkdtemp(), str(folder / name), few[name], answers)
lines = path.read_text(encoding="utf-8").splitlines()
print(path.name, *lines[:3], "…", sep="\n")

# %% tags=["nbval-check-output"]
import json

whole = len(lines) == len(few[name].splits["submission"])
print(f"a line for each row: {whole}; keys: {', '.join(json.loads(lines[0]))}")

# %% [markdown]
# ## 6 · In service: what does the customer want?
#
# The authors say where they use this: a customer-service dialogue has a new set of intents every month, and "a few dozen"
# labelled sentences should reach 90 % of them. Here is that, in this world: twelve intents, four sentences each, forty-eight
# in all (`python benchmarks/fewclue.py intents`). The multi-task stage has this one task only.

# %%
intents = results("fewclue_intents")
intents.table()

# %% [markdown]
# Two draws. The goal of ninety per cent is a little above what is possible here, and nothing comes near it. Among the methods that
# read the 48 sentences and no others, the new head is ahead of PET in both draws: the opposite of the reviews above. Why? Ask
# the cloze before any training:

# %% tags=["nbval-check-output"]
for task in (labkit.load_task("world/intents-zh"), tasks["tnews"]):
    share = right(PET.for_task(task, tokenizer), task.splits["test"][:200])
    print(f"{task.name.split('/')[-1]:<12}untrained cloze {share:.0%}, chance {1 / len(task.labels):.0%}")

# %% [markdown]
# A cloze asks for what pre-training has taught. Headlines it has taught: every second one is right before any training. Dialogues
# are one text in seventeen of this model's reading, and it has not learned from them what a customer wants, so the twelve words are
# twelve new things to learn, through the detour of a vocabulary.
#
# What does help is **self-training**: it adds more than ten points to the cloze in both draws, and then the system is ahead of the
# head too. A thousand sentences without a label are some eighty per class, and the surest answers are taken class by class.
# Above, where 36 kinds of apps shared as many, the same stage lost.
#
# On real data, the same code reads ATIS, questions to an airline (`labkit.fewshot.fewclue.atis_task`). Beware of its
# accuracy: three questions of four ask for a flight, so always answering "flight" looks good. Its metric here is macro-F1.
#
# ## 7 · Real files
#
# The same code reads FewCLUE's published files. `python benchmarks/fewclue.py real --data DIR --seeds 1` runs every stage on
# four of the tasks (reviews, headlines, inference, paraphrases) with the model of this lesson, which has never seen a
# sentence of real Chinese and knows fewer than two thousand signs. That is no score to compare with anyone's: it shows that the
# files load and every stage runs. For a score, give `MODEL` one that reads real Chinese. Before you run it, guess: on which of
# the four can a model gain from a cloze whose whole Chinese is this course's world?
#
# %% [markdown]
# ## What to read, what comes next
#
# - L. Xu et al. 2021, [*FewCLUE: A Chinese few-shot learning evaluation benchmark*](https://arxiv.org/abs/2107.07498): the
#   tasks, the protocol with five splits, and baselines.
# - S. Wang et al. 2021, [*Entailment as few-shot learner*](https://arxiv.org/abs/2104.14690): one question for all tasks.
# - Schick & Schütze 2021, [*It's not just size that matters*](https://arxiv.org/abs/2009.07118): several blanks a word.
#
# Next, 03/09 looks into the model that all these prompts speak to. The knowledge hook waits for
# module 02; a model from there is one argument away: `FewClueSystem(…, hook=model)`.
