# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From one process to many: how does *your* training get there?
#
# In [06/03](03_data_parallel.ipynb) you built ZeRO. Now you use the engine that it comes from. You have a training that runs in one
# process. How do many processes run it, sharded, and finish it even if one of them is killed, without your writing it again?
#
# **After this lesson you can** put a training of your own under `torchrun` and DeepSpeed; write DeepSpeed's configuration; choose a ZeRO
# stage for a device; and kill a worker and still get the result that you would have got.
#
# **40 minutes.** Before it: [06/03](03_data_parallel.ipynb), and the training that you bring along, from
# [01/05](../01_foundations/05_finetuning.ipynb). DeepSpeed has to be installed (`DS_BUILD_OPS=0 pip install --no-build-isolation
# deepspeed`; Linux). Everything here runs on a CPU.

# %%
import labkit

lab = labkit.setup(lesson="06/07")

# %%
MODEL = "micro-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}
RANKS = 2  # @param {type:"integer"}
STEPS = 12  # @param {type:"integer"}

# %% [markdown]
# ## 1 · One process
#
# The training of lesson 01/05: a pre-trained body, a new head, and 64 labelled reviews. `prepare` makes all of it, and with the same seeds
# always the same. (Later a second program uses this function, so it imports what it needs.)

# %%
def prepare(model, task):
    """A network with a new head, and its batches."""
    from labkit import load_model, load_task
    from labkit.foundations.heads import HeadClassifier, add_head
    from labkit.training import Batches

    body, tokenizer = load_model(model)
    few = load_task(task).few_shot(32, seed=0)
    rows = few.splits["train"]
    return add_head(body, few.labels, "mean", seed=0), Batches(rows, HeadClassifier(tokenizer, few.fields).collate, 16, seed=0)


network, batches = prepare(MODEL, TASK)
batch = next(iter(batches.epoch(0)))
print({name: tuple(tensor.shape) for name, tensor in batch.items() if hasattr(tensor, "shape")})

# %% [markdown]
# What the model is trained on is **yours**: the head that you wrote in 01/05, and the cross-entropy behind it.
#
# ### Exercise 1: bring your loss
#
# *●●○ · 7 minutes*
#
# The last states (batch, tokens, d), the mask (1 for a real token), the labels, and a head's weight (classes, d) and bias in; the mean loss of
# the texts out, with its gradient. The logits are your `class_logits`: the mean over the real tokens' states, then a linear layer.
#
# ```python
# states = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [2.0, 1.0]], [[2.0, 2.0], [4.0, 0.0], [9.0, 9.0]]])
# mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
# weight, bias = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 10.0])
# # the logits are [[2, 11], [3, 11]]; the first text costs log(1 + e⁻⁹) = 0.0001, the second log(1 + e⁸) = 8.0003
# tuned_loss(states, mask, torch.tensor([1, 0]), weight, bias)  # 4.0002
# ```

# %%
import torch  # noqa: F401  your function may use it

from labkit.checks import deepspeed as check


def tuned_loss(states, mask, labels, weight, bias): ...  # your turn


tuned_loss = check.tuned_loss(tuned_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `real = mask[..., None]` can multiply the states; the mean is `(states * real).sum(1) / real.sum(1)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The logits are `pooled @ weight.T + bias`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.nn.functional.cross_entropy(logits, labels)` makes the softmax and the mean itself.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def tuned_loss(states, mask, labels, weight, bias):
#     real = mask[..., None]
#     pooled = (states * real).sum(1) / real.sum(1)
#     return torch.nn.functional.cross_entropy(pooled @ weight.T + bias, labels)
# ```
# </details>

# %%
import copy


def objective(model, batch):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    states = model.base_model(**inputs).last_hidden_state
    return tuned_loss(states, batch["attention_mask"], batch["labels"], model.classifier.weight, model.classifier.bias)


settings = {"steps": STEPS, "lr": 1e-3, "accumulate": 2, "precision": "fp32", "device": "cpu"}
alone = labkit.fit(copy.deepcopy(network), objective, batches, **settings)
print(f"one process: loss {alone.losses[0]:.3f} → {alone.losses[-1]:.3f}")

# %% [markdown]
# `labkit.fit` knows nothing of devices or processes. It asks an *engine* for three things: the loss of a batch (`forward`), its gradients
# (`backward`), an update (`step`). DeepSpeed has the same three, so a training changes its engine and nothing else.
#
# ## 2 · The configuration
#
# DeepSpeed wants one JSON object. Much of it repeats what the training says already. If a number stands in two places, one of them can be
# wrong, so labkit *generates* it from the settings:

# %% tags=["nbval-check-output"]
import json

from labkit.parallel.deepspeed import deepspeed_config
from labkit.training import Training

config = deepspeed_config(Training(**settings), stage=2, rows=16, world=RANKS)
shown = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping", "zero_optimization")
print(json.dumps({key: config[key] for key in shown}, indent=1))

# %% [markdown]
# The 16 rows of a [micro-batch](../glossary.ipynb#micro-batch) are divided among the ranks, and two micro-batches make a step. A bucket is how many numbers travel at once.
#
# ### Exercise 2: the rows of a step
#
# *●○○ · 4 minutes*
#
# A configuration and the number of ranks in; how many rows one step of the optimizer sees out.
#
# ```python
# effective_batch({"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 5}, 3)  # 30
# ```


# %%
def effective_batch(config, ranks): ...  # your turn


effective_batch = check.effective_batch(effective_batch)
print(f"rows per step: {16 * settings['accumulate']} in one process, {effective_batch(config, RANKS)} on {RANKS} ranks")

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Follow one row: it is in a micro-batch, of a rank, of a step. How many of each are there?
# </details>
#
# <details><summary>Hint 2</summary>
#
# `train_micro_batch_size_per_gpu` counts the rows of one rank; `gradient_accumulation_steps` how many such batches it takes before an
# update.
# </details>
#
# <details><summary>Hint 3</summary>
#
# All three numbers are multiplied.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def effective_batch(config, ranks):
#     return config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"] * ranks
# ```
# </details>
#
# The two numbers must be equal, or it would be another training.
#
# ### Exercise 3: a configuration
#
# *●●○ · 7 minutes*
#
# Now the other way. A run shall take `rows` rows per step on `ranks` ranks that hold `micro` rows at once, with a ZeRO `stage`, its gradients
# clipped at norm 1. Return its configuration: the four keys that you saw above, with the stage alone in its block. In section 4 your
# training runs with it.
#
# ```python
# config_for(4, 24, 3, 1)  # 4 ranks of 3 rows are 12, so two micro-batches make a step
# # {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2,
# #  "gradient_clipping": 1.0, "zero_optimization": {"stage": 1}}
# ```


# %%
def config_for(ranks, rows, micro, stage): ...  # your turn


config_for = check.config_for(config_for)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# It is a dict with four keys, one of which holds a dict.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The accumulation is what is left: rows of a step, divided by what all ranks take at once.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `rows // (micro * ranks)`, a whole number.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def config_for(ranks, rows, micro, stage):
#     return {
#         "train_micro_batch_size_per_gpu": micro,
#         "gradient_accumulation_steps": rows // (micro * ranks),
#         "gradient_clipping": 1.0,
#         "zero_optimization": {"stage": stage},
#     }
# ```
# </details>
#
# A file like this is read before anything is trained. What it leaves out is filled in, and what would silently train something else is
# refused. Yours is accepted, the other four are not:

# %% tags=["nbval-check-output"]
import tempfile
from pathlib import Path

from labkit.errors import UsageError
from labkit.parallel.deepspeed import read_config

folder = Path(tempfile.mkdtemp())
own, wrong = folder / "own.json", folder / "wrong.json"
own.write_text(json.dumps(config_for(RANKS, 16 * settings["accumulate"], 16 // RANKS, 2)))
print("+", effective_batch(read_config(own, Training(**settings), rows=16, world=RANKS), RANKS), "rows per step")

# %% tags=["nbval-check-output"]
two = {"stage": 2}
for mistake in ({"gradient_cliping": 1.0}, {"zero_optimization": {"stage": 4}},
                {"zero_optimization": two, "gradient_accumulation_steps": 8}, {"scheduler": {"type": "WarmupLR"}}):  # fmt: skip
    wrong.write_text(json.dumps(mistake))
    try:
        read_config(wrong, Training(**settings), rows=16, world=RANKS)
    except UsageError as error:
        print("-", str(error).replace(f"{folder}/", "").partition(" Known")[0])

# %% [markdown]
# ## 3 · Four stages, one curve
#
# Each ZeRO stage shares out more among the ranks: 1 the optimizer's states, 2 also the gradients, 3 also the weights. Now your objective runs
# in real processes at each of them, behind DeepSpeed. **Predict**: which of the four losses differ from those of one process?

# %%
from labkit.parallel import deepspeed_measure
from labkit.parallel.processes import launch

names = ["zero0", "zero1", "zero2", "zero3"]
found = launch(deepspeed_measure.stages, RANKS, network, objective, batches, settings, names, seconds=300)[0]
deepspeed_measure.plot(found, alone.losses)

# %% tags=["nbval-check-output"]
count = sum(parameter.numel() for parameter in network.parameters())
for one in found:
    off = max(abs(a - b) for a, b in zip(one.losses, alone.losses, strict=True))
    parts = ", ".join(f"{part} {getattr(one, part) / count:.2f}" for part in ("parameters", "gradients", "optimizer"))
    print(f"{one.name}: the losses of one process to 1e-4: {off < 1e-4}; bytes per weight: {parts}")

# %% [markdown]
# None of them: what is computed stays the same, only the bytes fall. (In 32 bits these are 4 for the weight, 4 for its gradient, and 8 for Adam's
# averages. From stage 1 on, DeepSpeed keeps a copy of each rank's own part of the weights beside them. Stage 2 keeps a matrix that lies across the
# cut whole on both ranks.)
#
# In [mixed precision](../glossary.ipynb#mixed-precision) they are the numbers of 06/03, $16$, $4 + 12/N$, $2 + 14/N$ and $16/N$ bytes per
# weight. Stage 3 sends half as much again as the others, and no stage sends less than a lower one. So one takes the lowest that fits.
#
# ### Exercise 4: choose a stage
#
# *●●○ · 7 minutes*
#
# The number of weights, the ranks, and the bytes that a device has for all of this, in mixed precision, in; the lowest stage that fits out, or `None`.
# Exactly full fits.
#
# ```python
# smallest_stage(1e9, 4, 8e9)  # 1: stage 0 takes 16 GB, stage 1 takes 4 + 12/4 = 7 GB
# smallest_stage(1e9, 4, 3e9)  # None: stage 3 takes 4 GB
# ```


# %%
def smallest_stage(parameters, ranks, budget): ...  # your turn


smallest_stage = check.smallest_stage(smallest_stage)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write the four figures as a list, in the order of the stages.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `parameters * bytes_each <= budget` decides.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `enumerate` the list from stage 0 up and return at the first that fits; after the loop, `None`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def smallest_stage(parameters, ranks, budget):
#     for stage, each in enumerate([16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]):
#         if parameters * each <= budget:
#             return stage
#     return None
# ```
# </details>
#
# The FewCLUE article's model of 1.26 billion weights takes 20 GB. **Predict** its stage on 8 devices of 24, 16, 6, 3 and 2 GB:

# %% tags=["nbval-check-output"]
print({memory: smallest_stage(1.26e9, 8, memory * 1e9) for memory in (24, 16, 6, 3, 2)})

# %% [markdown]
# ## 4 · A program, and an accident
#
# `launch` is for notebooks. On a machine or a cluster `torchrun` starts the processes, tells each its rank in environment variables, and
# watches them. It needs a program in a file. Here it is: your loss, the objective, `prepare`, and eight more lines. With `resume=True` a run goes on
# from the newest checkpoint in its folder, if there is one.

# %% tags=["idea"]
import inspect

PROGRAM = '''
def main(config, folder):
    settings = {**SETTINGS, "save_every": 3}
    network, batches = prepare(MODEL, TASK)
    engine = engine_for(config, network, objective, Training(**settings), rows=16)
    history = fit(network, objective, batches, engine=engine, folder=folder, resume=True, **settings)
    if engine.rank == 0:
        told = {"losses": history.losses, "resumed": history.resumed, "ranks": engine.world}
        Path("told.json").write_text(json.dumps(told))


main(*sys.argv[1:])
'''
HEAD = f'''from __future__ import annotations
import json, sys
from pathlib import Path
import torch
from labkit.parallel.deepspeed import engine_for
from labkit.training import Training, fit
SETTINGS, MODEL, TASK = {settings!r}, {MODEL!r}, {TASK!r}
'''
yours = [inspect.getsource(function) for function in (tuned_loss, objective, prepare)]
alias = f"tuned_loss = {tuned_loss.__name__}\n"
(folder / "mine.py").write_text("\n\n".join([HEAD, yours[0], alias, *yours[1:], PROGRAM]))
print(f"torchrun --standalone --nproc_per_node {RANKS} --max-restarts 2 -m mine own.json checkpoints")

# %% [markdown]
# Now it runs, with your configuration, and with an accident: as soon as there is a checkpoint, rank 1 is ended by `kill -9`, as a failing machine
# would end it. **Predict**: after which step does the group go on, and are the last losses still those of one process?

# %%
from labkit.parallel.torchrun import kill_when, torchrun

done = torchrun(["mine", "own.json", "checkpoints"], RANKS, restarts=2, seconds=400, folder=folder,
                meanwhile=kill_when(folder / "checkpoints", rank=1))  # fmt: skip
print("exit code", done.code, "" if done.code == 0 else done.err[-2000:])

# %% tags=["nbval-check-output"]
told = json.loads((folder / "told.json").read_text())
off = max(abs(a - b) for a, b in zip(told["losses"], alone.losses, strict=True))
print("torchrun saw a rank end by signal 9:", "exitcode: -9" in done.err)
print("the group that was started again went on from a checkpoint:", told["resumed"] >= 3)
print(f"{told['ranks']} ranks, {len(told['losses'])} losses, those of one process without an accident to 1e-3: {off < 1e-3}")

# %% [markdown]
# This works for three reasons. A checkpoint is written whole or not at all; the order of the data is a function of seed and step; and the learning
# rate is a function of the step. So a group that starts again finds in one folder where to go on.
#
# ## 5 · What is in a checkpoint
#
# DeepSpeed's own checkpoints hold a pickled file for each rank. They fit the number of ranks that wrote them, and whoever unpickles a file runs
# the code that is in it. `fit` gathers the parts instead, and writes what it always writes:

# %% tags=["nbval-check-output"]
from labkit import checkpoints

last = checkpoints.steps(folder / "checkpoints")[0]
snapshot = checkpoints.read(last)
print(sorted(file.name for file in last.iterdir()))
print("written by", snapshot.facts["world"], "ranks; the optimizer's numbers, whole:",
      sorted({name.partition(":")[0] for name in snapshot.optimizer}))  # fmt: skip

# %% [markdown]
# So a run may go on with another number of ranks, at another stage, or without DeepSpeed. It costs one thing: while it saves, every rank holds the
# whole model. For a model that no rank can hold, DeepSpeed's own format is the way.
#
# ## 6 · So, how does it get there?
#
# By one changed argument, the engine, and one file. Your loss, your data and your settings stayed as they were; the losses stayed those of one process,
# at every stage and over a killed worker. What has to be right is said once, in the settings, and the configuration must agree with it.
#
# ## Read on
#
# - What labkit trains is under `torchrun` already: `torchrun --nproc_per_node 2 -m labkit train --deepspeed zero2`, and
#   `zero2-offload` leaves the optimizer on the host (Ren et al. 2021, [*ZeRO-Offload*](https://arxiv.org/abs/2101.06840)).
# - A rank that *hangs* is harder than one that dies, because all others wait for it. [`watch.py`](../../labkit/training/watch.py) names it.
# - [`deepspeed.py`](../../labkit/parallel/deepspeed.py), the engine; [DeepSpeed's configuration](https://www.deepspeed.ai/docs/config-json/), all
#   of it.
# - Before this, [06/06](06_offload.ipynb) moved the optimizer into the host's memory by hand.
