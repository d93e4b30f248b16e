# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Landing: how does a large model become a small service?
#
# A large model answers well and is too slow and too large for the place where it is needed. You know four ways to make a
# model smaller. A service uses several of them, one after the other. Which ones, in which order, and how small can the
# result be before its answers become worse?
#
# **After this lesson you can** say which orders of compression make sense, and why; predict the bytes of a compressed file;
# choose the best of many small models for a limit of bytes; undo a compression, save the result and serve it.
#
# **45 minutes.** Before it: [PET](../03_fewshot/02_pet.ipynb), [distillation](01_distillation.ipynb),
# [pruning](03_pruning.ipynb) and [quantization](04_quantization.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="04/07")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · The large model
#
# The large model learns from 16 reviews per class with a prompt (PET). Afterwards it judges one sentence that it has not
# read. How many bytes and milliseconds does that answer cost?

# %%
from labkit import measure
from labkit.fewshot import methods

base, tokenizer = labkit.load_model(MODEL, head="mlm")
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0).limited("test", 300).limited("unlabelled", 1500)
large = methods.adapt(methods.Start(base, tokenizer, task, 0), "PET", steps=60, progress=lab.progress)
review = task.splits["test"][0]
print(review["text"])
for label, share in zip(task.labels, labkit.predict(large.model, large.method, [review])[0], strict=True):
    print(f"  {label:<9}{share:.2f}")
print(f"{measure.bytes_on_disk(large.model) / 1e6:.1f} MB, "
      f"{measure.latency(large.model, large.method, [review], repeats=20):.0f} ms for this sentence")  # fmt: skip

# %% [markdown]
# Our large model is small beside those that people use, so think of these numbers as units: in the last section a model of
# 268 million weights lands in the same way.
#
# The small model learns from the large one's answers ([distillation](../glossary.ipynb#distillation)). For that no labels are
# needed, only sentences: 1 500 of them here. The large model answers each once, and we keep the answers with the rows.

# %%
from labkit.compression.distill import join_teacher, teacher_logits

texts = [*task.splits["train"], *task.splits["unlabelled"]]
taught = join_teacher(texts, teacher_logits(large.model, large.method, texts))
print(len(taught), "sentences, of the first:", taught[0]["teacher_logits"].round(2))

# %% [markdown]
# ## 2 · Does the order matter?
#
# Take one weight, 0.5, in a row whose largest weight is 0.9. In int8 the row has the scale 0.9 / 127. Now a training step
# would change the weight by 0.001:

# %% tags=["nbval-check-output"]
scale = 0.9 / 127
code = round(0.5 / scale)
print(f"scale {scale:.5f}, code {code}, which stands for {code * scale:.4f}")
print("code after the step:", round((code * scale + 0.001) / scale))

# %% [markdown]
# The code is the same, so the step changed nothing. Training moves weights by small amounts, and rounding removes small
# amounts. Therefore **everything that trains comes before the codes** (or trains with full weights behind the codes, as
# TernaryBERT does).
#
# There is a second rule. A mask says which entries of *one* matrix are 0. A smaller student has other matrices, so a mask
# would be lost. Therefore **sizes come before single weights**. Give each kind of pass a rank:
#
# | passes | rank |
# |---|---|
# | fewer layers, narrower, fewer heads | 0 |
# | single weights that are 0 | 1 |
# | weights as codes | 2 |
# | training (distillation) | none |
#
# A pass must not come after one with a higher rank. Training may stand anywhere, but after codes nothing may come at all.
#
# ### Exercise 1: the first pass that cannot stand
#
# *●○○ · 6 minutes*
#
# The ranks of some passes in, with `None` for training; out the place (from 0) of the first pass that cannot stand where it
# is, or `None` if all can.
#
# ```python
# misplaced([0, None, 1, 2])  # None: shrink, distil, prune, quantise
# misplaced([0, 2, None])  # 2: training after codes
# misplaced([1, 0])  # 1: a smaller size after a mask
# ```

# %%
from labkit.checks import landing as check


def misplaced(ranks): ...  # your turn


misplaced = check.misplaced(misplaced)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Go through the ranks and keep the highest so far.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A place is wrong if the highest so far is 2, or if its own rank is a number below the highest so far.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `None` does not change the highest, and begins with nothing before it: start with `highest = -1`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def misplaced(ranks):
#     highest = -1
#     for place, rank in enumerate(ranks):
#         if highest == 2 or (rank is not None and rank < highest):
#             return place
#         highest = highest if rank is None else rank
#     return None
# ```
# </details>
#
# `labkit` writes a chain of passes in one line. Your function finds what `labkit` would refuse:

# %% tags=["nbval-check-output"]
from labkit.compression.compose import PASSES, check_order, parse
from labkit.errors import UsageError


def ranks(line):
    """The ranks of the passes of a line such as "shrink:1,40 distill:300"."""
    return [PASSES[word.partition(":")[0]].RANK for word in line.split()]


for line in ("shrink:1,40 distill:300 quantize:int8", "quantize:int8 distill:300", "prune:0.5,100 shrink:1,40"):
    print(f"{line:<38} misplaced: {misplaced(ranks(line))}")
try:
    check_order(parse("quantize:int8 distill:300"))
except UsageError as error:
    print(error)

# %% [markdown]
# ## 3 · How many bytes will the file have?
#
# A matrix of 3 × 10 weights in two bits each: one row has 20 bits, so it needs 3 bytes (2.5, rounded up, because each row
# begins with a new byte). Three rows need 9 bytes. The matrix has one scale, a float32 of 4 bytes: 13 in all. In general,
# for $r$ rows, $c$ columns, $b$ bits and $s$ scales:
#
# $$\text{bytes} = r \left\lceil \tfrac{c\,b}{8} \right\rceil + 4 s .$$
#
# ### Exercise 2: the bytes of a matrix
#
# *●○○ · 4 minutes*
#
# ```python
# packed_bytes(3, 10, 2, 1)  # 13
# packed_bytes(5, 7, 8, 5)  # 55: int8 with one scale per row
# ```


# %%
def packed_bytes(rows, columns, bits, scales): ...  # your turn


packed_bytes = check.packed_bytes(packed_bytes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Round up for each row, then multiply by the number of rows.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `math.ceil(columns * bits / 8)`, or in whole numbers `-(-columns * bits // 8)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Each scale adds 4 bytes.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def packed_bytes(rows, columns, bits, scales):
#     return rows * -(-columns * bits // 8) + 4 * scales
# ```
# </details>
#
# Is that what a real file has? Make a student of one layer, 40 wide, in int8 (one scale per row). What remains in float32
# are biases and layer norms.

# %% tags=["nbval-check-output"]
from labkit.compression.compose import Material, compress
from labkit.foundations.heads import HeadClassifier, add_head

how = HeadClassifier(tokenizer, task.fields)
start = add_head(base, task.labels, pooling="mean", seed=0)
made = compress(start, parse("shrink:1,40 quantize:int8"), Material(how, taught))
matrices = [module.integers.shape for module in made.model.modules() if hasattr(module, "integers")]
predicted = sum(packed_bytes(rows, columns, 8, rows) for rows, columns in matrices)
predicted += 4 * sum(weight.numel() for weight in made.model.parameters())
found = made.steps[-1].bytes
print(f"{len(matrices)} matrices, {predicted} bytes; the file has {found}: {found - predicted} more")

# %% [markdown]
# The rest is the file's header: names, shapes and types of the tensors. So the size of a file can be computed before
# anything is trained, but what the answers will be like cannot.
#
# ## 4 · A whole chain
#
# Now the student learns. `compress` runs the passes in their order, and asks for the score after each:


# %%
def score(model):
    """Accuracy on the test sentences."""
    return labkit.evaluate(model, how, task)["accuracy"]


material = Material(how, taught, lr=3e-3, progress=lab.progress)
made = compress(start, parse("shrink:1,40 distill:150 prune:0.5,100 quantize:int8"), material, score=score)
print(f"{'the large model':<24} {labkit.evaluate(large.model, large.method, task)['accuracy']:.3f}")
for step in made.steps:
    print(f"{step.name:<24} {step.score:.3f}  {step.bytes / 1e3:6.0f} kB  loses {step.loses}")

# %% [markdown]
# Read the table from above. The student as it was shrunk guesses. Distillation gives it most of what the large model knows.
# Pruning leaves the file as large as it was, because a 0 in float32 has four bytes like any other number; int8 makes a
# quarter of it.
#
# **Before you run the next cell, predict:** `made.undo()` takes the last pass back. Will the weights be the numbers that the
# codes stand for, or the numbers from before rounding, bit for bit?

# %% tags=["nbval-check-output"]
import torch

codes = made.model
before = made.undo()
name = next(name for name, module in codes.named_modules() if hasattr(module, "integers"))
rounded, kept = codes.get_submodule(name).weight, before.get_submodule(name).weight
print("the same as what the codes stand for:", torch.equal(rounded, kept))
print("off by at most half a scale:", bool(((rounded - kept).abs() <= codes.get_submodule(name).scale / 2 + 1e-7).all()))

# %% [markdown]
# From the codes alone the numbers cannot come back: rounding has no inverse, and neither has any other pass here (the column
# "loses" says what is gone). So `compress` keeps a copy from before each pass, and `undo` returns it.
#
# ## 5 · Which of many small models?
#
# There are many chains. Of two models, one *beats* the other if it is at most as large and at least as accurate, and better
# in one of the two. The models that no other beats are the [front](../glossary.ipynb#front): for each limit of bytes the best
# choice is one of them. Three models: 100 kB with 90 %, 50 kB with 80 %, 60 kB with 70 %. The third is beaten by the second;
# the first two do not beat each other.
#
# ### Exercise 3: the front
#
# *●●○ · 8 minutes*
#
# A list of (bytes, accuracy) in; out the places of the models that no other beats, ascending.
#
# ```python
# front([(100, 0.9), (50, 0.8), (60, 0.7)])  # [0, 1]
# front([(100, 0.9), (100, 0.9)])  # [0, 1]: equal ones do not beat each other
# ```


# %%
def front(models): ...  # your turn


front = check.front(front)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For each model, look at all models: does one beat it?
# </details>
#
# <details><summary>Hint 2</summary>
#
# `(s, a)` beats `(size, score)` if `s <= size and a >= score and (s, a) != (size, score)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `any(…)` over all models says whether one does; keep the places where none does.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def front(models):
#     return [
#         place
#         for place, (size, score) in enumerate(models)
#         if not any(s <= size and a >= score and (s, a) != (size, score) for s, a in models)
#     ]
# ```
# </details>
#
# ### Exercise 4: land
#
# *●●● · 12 minutes*
#
# Put it together. In: lines of passes; `ranks(line)`, as above; `run(line)`, which makes the model and returns (bytes,
# accuracy); a limit in bytes. Out: the line whose model is the most accurate within the limit (of two with the same accuracy
# the smaller one), or `None` if no model fits. A line with a misplaced pass must not run at all, and no line may run twice.
#
# ```python
# made = {"a": (90, 0.9), "b": (40, 0.8)}
# land(["a", "b"], lambda line: [0, None], made.get, 50)  # "b"
# ```


# %%
def land(lines, ranks, run, limit): ...  # your turn


land = check.land(land)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First keep the lines with `misplaced(ranks(line)) is None`, then run each of these once.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Keep the models of the front that are at most `limit` large.
# </details>
#
# <details><summary>Hint 3</summary>
#
# On the front, the most accurate one is unique up to equal models: `max(…, key=accuracy)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def land(lines, ranks, run, limit):
#     tried = [line for line in lines if misplaced(ranks(line)) is None]
#     models = [run(line) for line in tried]
#     fit = [place for place in front(models) if models[place][0] <= limit]
#     return tried[max(fit, key=lambda place: models[place][1])] if fit else None
# ```
# </details>
#
# Your function now chooses among five chains with a limit of 250 kB. Each has a short name for the figure below, such as
# "1 × 40" for one layer, 40 wide:

# %%
LINES = {
    "shrink:1,40 distill:150 quantize:int8": "1 × 40, int8",
    "shrink:1,40 distill:150 quantize:ternary,100": "1 × 40, ternary",
    "shrink:1,80 distill:150 quantize:int8": "1 × 80, int8",
    "droplayers:1 distill:40 quantize:int8": "1 × 160, int8",
    "quantize:int8 shrink:1,40": "makes no sense",
}
results = {}


def run(line):
    """Bytes in the file and accuracy of the model that these passes make."""
    results[line] = compress(start, parse(line), material, score=score)
    last = results[line].steps[-1]
    return last.bytes, last.score


chosen = land(list(LINES), ranks, run, 250_000)
print(chosen)

# %% [markdown]
# The large model and the chains, accuracy against bytes in the file. The axis of bytes is logarithmic, because the sizes
# differ so much:

# %%
from labkit.report import Report

chart = Report(title="One task, many sizes")
chart.add("large model", task, labkit.evaluate(large.model, large.method, task)["accuracy"],
          bytes=measure.bytes_on_disk(large.model))  # fmt: skip
for line, one in results.items():
    chart.add(LINES[line], task, one.steps[-1].score, bytes=one.steps[-1].bytes)
models = [(row.bytes, row.value) for row in chart.rows]
print("on the front:", *(chart.rows[place].method for place in front(models)), sep="\n  ")
chart.plot()

# %% [markdown]
# Small differences between the points mean little: with 300 test sentences a standard error is about two points. What is beyond
# noise is that the small ones lose little. The measured front, with more training and three seeds, is in
# [the results](../../docs/results.md#compressions-one-after-the-other).
#
# ## 6 · Save it, read it elsewhere, serve it
#
# A saved application holds the codes as they are, so it is as small on disk as here, and it answers the same:

# %% tags=["nbval-check-output"]
import tempfile
from pathlib import Path

from labkit.apps import load_app, save_app

small = results[chosen].model
folder = Path(tempfile.mkdtemp()) / "service"
save_app(folder, small, tokenizer, how, task, metrics={"accuracy": score(small)})
service = load_app(folder)
some = task.splits["test"][:20]
told = [one["probabilities"][task.labels[0]] for one in service.predict([row["text"] for row in some])]
same = bool(abs(labkit.predict(small, how, some)[:, 0] - told).max() < 1e-6)
print("weights in the form:", service.card.quantised, "· the same answers:", same)

# %% [markdown]
# Other runtimes know nothing of our codes. For them the numbers are exported as
# [ONNX](../glossary.ipynb#onnx) from *before* the last pass, and the runtime quantises in its own way (`benchmarks/int8.py`
# compares them). The numbers give the same answers there:

# %%
from labkit.compression.exporting import to_onnx

numbers = results[chosen].undo()
try:
    import onnxruntime
except ImportError:
    print("onnxruntime is not installed: pip install 'labkit[quantize]'")
else:
    session = onnxruntime.InferenceSession(str(to_onnx(numbers, folder.parent / "student.onnx")))
    batch = how.collate(some)
    inputs = {name: batch[name].numpy() for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        off = abs(session.run(None, inputs)[0] - how.logits(numbers.eval(), batch).numpy()).max()
    print(f"onnxruntime and torch differ by at most {off:.1e}")

# %% [markdown]
# In a terminal, `labkit serve FOLDER` opens a page and an interface for programs with this folder, and `labkit pipeline` does
# all of this lesson in one command: adapt, distil, compress, measure, save. It ends with a point of
# [a front that was measured](../../docs/results.md#what-the-pipeline-ends-with); `--compose "shrink:1,40 distill:600 quantize:int8"`
# gives it other passes.
#
# ## 7 · A real landing
#
# The article behind EasyNLP reports four rows: a large model with a head and with a prompt, a model of about a hundredth of its
# weights alone and taught by the large one. Ours are Gemma 3 with 270 million weights on real film reviews (SST-2, 16 sentences
# per class) and a BERT of 2.7 million weights with a vocabulary of its own, taught on 10 511 sentences without labels.

# %% tags=["nbval-check-output"]
from labkit.report import results as measured

article = {"fine-tune [last]": 83.75, "PET": 90.63, "student, fine-tuned": 54.38, "student, KD": 71.25}
for row in measured("landing").rows:
    beside = f"{article[row.method]:6.1f}" if row.method in article else "      "
    print(f"{row.method:<22}{100 * row.value:6.1f} {beside}  {row.bytes / 1e6:7.1f} MB")

# %% [markdown]
# The order is the same in both: a prompt is better than a head, a small model alone is hardly better than guessing, and
# taught by the large one it gains about twenty points. Int8 then costs no accuracy and makes a quarter of the bytes.
#
# And with many labels? MiniLM, a sentence encoder of six layers, learned from all labels of SST-2 and of product reviews (Amazon).
# Its students learned its answers to 20 000 more sentences, of which none holds a test row. The last column is the student's
# accuracy as a share of the teacher's.

# %% tags=["nbval-check-output"]
rows = {(row.task, row.method): row for row in measured("landing_minilm").rows}
for data in ("SST-2", "Amazon"):
    for name in ("teacher", "two layers of width 192, from the labels", "two layers of width 192, distilled, int8"):
        row = rows[data, name]
        print(f"{data:<7}{name:<42}{100 * row.value:5.1f} {row.bytes / 1e6:5.1f} MB  × {row['speedup']:.1f} as fast  "
              f"{row.value / rows[data, 'teacher'].value:.1%}")  # fmt: skip

# %% [markdown]
# Even where labels are many, the student is better with a teacher, and it is more than ten times smaller and six times as
# fast. It keeps less on SST-2. The text without labels is probably why. The Amazon reviews are cut after 64 tokens, so of
# their 9 340 sentences 7 234 are new, and about the same products. For SST-2, only 2 003 of 8 230 sentences about films are
# not among the training rows already, since SST-2 was drawn from the same collection
# ([all rows](../../docs/results.md#landing-with-all-labels)).
#
# ## 8 · So, how does a large model become a small service?
#
# It learns the task from a prompt, answers sentences without labels,
# and a much smaller model learns these answers. Sizes are chosen first, then single weights, then bits; training belongs
# before the codes. What a pass removes does not come back, so measure after each pass, keep what was before it, and choose
# from the front.
#
# ## Read on
#
# - Each pass in its own lesson: [distillation](01_distillation.ipynb), [pruning](03_pruning.ipynb),
#   [quantization](04_quantization.ipynb), [elastic networks](05_elastic.ipynb).
# - [`compose.py`](../../labkit/compression/compose.py) runs and undoes the passes,
#   [`exporting.py`](../../labkit/compression/exporting.py) writes what they make.
# - To show others: `labkit demo compression`, one sentence through a teacher and its students.
