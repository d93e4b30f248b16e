# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From one process to many: DeepSpeed
#
# In 06/03 you built ZeRO. Now you use the engine that it comes from, and the question is another one: you have a training that
# runs in one process. How do many processes run it, sharded, and finish it even if one of them is killed, *without your writing
# it again*?
#
# **After this lesson you can**
#
# - run a training on several processes, plain or sharded, by changing one argument;
# - read and write DeepSpeed's configuration, and say how it follows from what your training says already;
# - choose a ZeRO stage for the memory that a device has;
# - kill a worker in the middle of a training and get the result that you would have got without.
#
# **40 minutes.** Before it: [06/03](03_data_parallel.ipynb), where the stages come from. DeepSpeed has to be installed
# (`DS_BUILD_OPS=0 pip install --no-build-isolation deepspeed`; Linux). Everything here runs on a CPU.

# %%
import labkit

lab = labkit.setup(lesson="06/07")

# %% [markdown]
# The processes are real ones on your machine. Choose the model and the task, and run all cells again.

# %%
MODEL = "micro-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}
RANKS = 2  # @param {type:"integer"}
STEPS = 12  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A loop and an engine
#
# `labkit.fit` knows nothing of devices. It asks an *engine* for three things: the loss of a batch (`forward`), its
# gradients (`backward`), an update (`step`). DeepSpeed speaks the same three verbs, so the wrapper is short:

# %%
import inspect

from labkit.parallel.deepspeed import DeepSpeedEngine

for verb in ("forward", "backward", "step"):
    print(inspect.getsource(getattr(DeepSpeedEngine, verb)))

# %% [markdown]
# Two details matter. `backward` does not divide by the number of micro-batches (`scale_wrt_gas=False`), because `fit` has
# weighted them already: micro-batches may differ in size, and the mean over rows is what counts. And `step` is what ends
# a step: DeepSpeed does not count micro-batches itself (`"managed_gradient_accumulation": false` below), so that `fit` may
# end an epoch with a shorter step.
#
# First the training as you know it: one process, plain PyTorch.

# %%
import copy

from labkit import zoo
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.tasks import load_task
from labkit.training import Batches, fit

base = zoo.load(MODEL)
task = load_task(TASK).few_shot(32, seed=0)
method = HeadClassifier(base.tokenizer, task.fields)
model = add_head(base.model, task.labels, pooling="mean", seed=0)
batches = Batches(task.splits["train"], method.collate, 16, seed=0)
settings = {"steps": STEPS, "lr": 1e-3, "accumulate": 2, "precision": "fp32", "device": "cpu"}
alone = fit(copy.deepcopy(model), method.loss, batches, **settings)
print(f"loss {alone.losses[0]:.3f} → {alone.losses[-1]:.3f}")

# %% [markdown]
# ## 2 · The configuration
#
# DeepSpeed wants one JSON object. Much of it repeats what the training says already: batch, accumulation, clipping,
# precision. If a number is written in two places, one of them can be wrong, so the object is *generated* from the settings:

# %% tags=["nbval-check-output"]
import json

from labkit.parallel.deepspeed import deepspeed_config
from labkit.training import Training

config = deepspeed_config(Training(**settings), stage=2, rows=16, world=RANKS)
print(json.dumps(config, indent=1))

# %% [markdown]
# - `train_micro_batch_size_per_gpu`: the 16 rows of a micro-batch are divided among the ranks.
# - `reduce_bucket_size`: so many numbers travel at once. DeepSpeed's own 500 million would reserve 2 GB per rank.
# - `zero_force_ds_cpu_optimizer`: on a CPU DeepSpeed would compile its own Adam; torch's AdamW gives the same numbers here.
#
# ### Your turn: the rows of a step
#
# *●○○ · 5 minutes*
#
# How many rows does one optimizer step see, given a configuration and the number of ranks? For example:
#
# ```python
# effective_batch({"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 5}, 3)  # → 30
# ```
#
# Below the check, your function reads the configuration above. One process saw 16 rows in each of 2 micro-batches: must the two
# numbers be equal?

# %%
from labkit.checks import deepspeed as check


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
# `train_micro_batch_size_per_gpu` counts the rows of one rank; `gradient_accumulation_steps` how many such batches it
# takes before an update.
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
#     a_rank = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"]
#     return a_rank * ranks
# ```
# </details>
#
# ### Your turn: a configuration
#
# *●●○ · 8 minutes*
#
# Now the other way. A run shall take `rows` rows per step, on `ranks` ranks that hold `micro` rows at once, with a ZeRO
# `stage`, in bf16, its gradients clipped at norm 1. Write its configuration as a dict of these five settings and nothing else:
# DeepSpeed works out `train_batch_size` itself. For example, `config_for(4, 24, 3, 1)` holds
# `"gradient_accumulation_steps": 2`, because 4 ranks of 3 rows are 12 rows.


# %%
def config_for(ranks, rows, micro, stage): ...  # your turn


config_for = check.config_for(config_for)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You saw all five keys above: the micro-batch, the accumulation, the clipping, and two blocks.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The accumulation is what is left: rows of a step, divided by what all ranks take at once.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `rows // (micro * ranks)`, a whole number. A block is a dict in the dict: `"bf16": {"enabled": True}`.
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
#         "bf16": {"enabled": True},
#     }
# ```
# </details>
#
# ### A file of your own
#
# A team often has its own JSON. `--deepspeed mine.json` takes it, fills in what it leaves out or calls `"auto"`, and refuses
# what would silently train something else. Your configuration is accepted, and the others are not:

# %% tags=["nbval-check-output"]
import tempfile
from pathlib import Path

from labkit.errors import UsageError
from labkit.parallel.deepspeed import read_config

folder = Path(tempfile.mkdtemp())
own = folder / "mine.json"
rows, micro = int(effective_batch(config, RANKS)), config["train_micro_batch_size_per_gpu"]
own.write_text(json.dumps(config_for(RANKS, rows, micro, 2)))
filled = read_config(own, Training(**settings), "bf16", rows=16, world=RANKS)
print("+ your configuration:", effective_batch(filled, RANKS), "rows per step")
for mistake in (
    {"gradient_cliping": 1.0},
    {"zero_optimization": {"stage": 4}},
    {"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 8},
    {"scheduler": {"type": "WarmupLR"}},
):
    own.write_text(json.dumps(mistake))
    try:
        read_config(own, Training(**settings), rows=16, world=RANKS)
    except UsageError as error:
        print("-", str(error).replace(f"{folder}/", "").partition(" Known")[0])

# %% [markdown]
# ## 3 · Four stages, one curve
#
# Each stage shards more (Rajbhandari et al. 2020): 1 the optimizer's states, 2 also the gradients, 3 also the parameters.
# What is computed stays the same. So all four must give the losses of one process, up to the rounding of fp32. Here is the
# same training at each stage, on real processes; each rank also reports the bytes that it held.

# %%
from labkit.parallel.deepspeed_measure import stages
from labkit.parallel.processes import launch

names = ["zero0", "zero1", "zero2", "zero3"]
ranks = launch(stages, RANKS, model, method.loss, batches, settings, names, seconds=110)
found = ranks[0]

# %% tags=["nbval-check-output"]
for one in found:
    off = max(abs(a - b) for a, b in zip(one.losses, alone.losses, strict=True))
    print(f"{one.name} on {one.ranks} ranks: the losses of one process to 1e-4: {off < 1e-4}")

# %%
from matplotlib.figure import Figure

from labkit.report import Plot

figure = Figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(
    range(1, STEPS + 1),
    alone.losses,
    color="#BBBBBB",
    linewidth=7,
    label="plain PyTorch, 1 process",
)
for one, colour, style in zip(
    found, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), ("-", "--", "-.", ":"), strict=True
):
    left.plot(
        range(1, STEPS + 1), one.losses, style, color=colour, label=f"{one.name}, {RANKS} ranks"
    )
left.set(xlabel="step", ylabel="loss", title="The same losses")
left.legend(frameon=False)
bottom = [0.0] * len(found)
for part, colour in (("parameters", "#0072B2"), ("gradients", "#E69F00"), ("optimizer", "#009E73")):
    sizes = [getattr(one, part) / 1e6 for one in found]
    right.bar(names, sizes, bottom=bottom, color=colour, label=part)
    bottom = [a + b for a, b in zip(bottom, sizes, strict=True)]
right.set(ylabel="MB on rank 0", title="Fewer bytes")
right.legend(frameon=False)
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
Plot(
    figure,
    "Left: the losses of ZeRO 0 to 3 lie on those of one process. Right: bytes of rank 0 fall from stage to stage: "
    + ", ".join(f"{one.name} {one.bytes / 1e6:.1f} MB" for one in found),
)

# %% [markdown]
# In fp32 there are 16 bytes per parameter too, but divided differently: 4 for the parameter, 4 for its gradient, 8 for
# Adam's two averages. From stage 1 on, DeepSpeed keeps beside the parameters an fp32 master copy of each rank's own part, even
# where the parameters are fp32 themselves: 4 more bytes, sharded. Per parameter and rank:

# %% tags=["nbval-check-output"]
from labkit.report import Table

count = sum(parameter.numel() for parameter in model.parameters())
expected = ("4 + 4 + 8", "4 + 4 + 12/N", "4 + 4/N + 12/N", "(4 + 4 + 12)/N")
Table(
    ("stage", "parameters", "gradients", "optimizer", "together", "fp32 formula"),
    tuple(
        (
            one.name,
            *(
                f"{getattr(one, part) / count:.2f}"
                for part in ("parameters", "gradients", "optimizer", "bytes")
            ),
            formula,
        )
        for one, formula in zip(found, expected, strict=True)
    ),
)

# %% [markdown]
# Stage 2's gradients come out above $4/N$: a matrix that lies across the cut between two ranks is kept whole by both.
# In bf16 the parameters and gradients take 2 bytes each and the 12 of master and averages are what is sharded first,
# which gives the figures of 06/03: $16$, $4 + 12/N$, $2 + 14/N$ and $16/N$.
#
# ### Your turn: choose a stage
#
# *●●○ · 8 minutes*
#
# Stage 3 sends half as much again as the others, and no stage sends less than a lower one, so one takes the lowest that fits.
# Given the number of parameters, the ranks and the bytes that a device has for all of this in bf16, return that stage, 0 to 3,
# or `None` if none fits. For example, `smallest_stage(1e9, 4, 8e9)` → `1` and `smallest_stage(1e9, 4, 3e9)` → `None`.


# %%
def smallest_stage(parameters, ranks, budget): ...  # your turn


smallest_stage = check.smallest_stage(smallest_stage)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write the four figures for bf16 as a list, in the order of the stages.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `parameters * bytes_each <= budget` decides; exactly full fits.
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
# A model of 1.26 billion parameters takes 20 GB. Predict its stage on 8 devices of 24, 16, 6, 3 and 2 GB, then run the cell:

# %%
for memory in (24, 16, 6, 3, 2):
    print(f"8 devices of {memory} GB: stage {smallest_stage(1.26e9, 8, memory * 1e9)}")

# %% [markdown]
# ## 4 · One argument
#
# What you did with `launch` in a notebook is done with `torchrun` on a machine or a cluster. It starts the processes, tells
# each its rank in environment variables, and watches them. The training itself is a command:
#
# ```
#                                          labkit train --steps 18
# torchrun --standalone --nproc_per_node 2 -m labkit train --steps 18
# torchrun --standalone --nproc_per_node 2 -m labkit train --steps 18 --deepspeed zero2
# ```
#
# The first runs in one process, the second is DDP, the third DeepSpeed. Here is the first, in this process:

# %%
import contextlib
import io

from labkit.cli import main

command = ["train", "--model", MODEL, "--task", TASK, "--method", "fine-tune-mean", "--shots", "8",
           "--steps", "18", "--save-every", "3", "--test-rows", "200", "--device", "cpu"]  # fmt: skip
with contextlib.redirect_stdout(io.StringIO()) as said:
    code = main([*command, "--out", str(folder / "alone"), "--json"])
print(said.getvalue().replace(str(folder), "runs"))

# %% [markdown]
# And now the third, with an accident: as soon as there is a checkpoint, we end rank 1 with `kill -9`, as a failing
# machine would. `--max-restarts` lets torchrun start the group again, and `--resume` lets it go on.

# %%
from labkit.parallel.torchrun import kill_when, torchrun

sharded = torchrun(
    ["labkit", *command, "--out", str(folder / "zero2"), "--deepspeed", "zero2", "--resume"],
    RANKS,
    restarts=2,
    seconds=400,
    meanwhile=kill_when(folder / "zero2/checkpoints", rank=1),
)
print(sharded.out.replace(str(folder), "runs"))

# %% tags=["nbval-check-output"]
told = {name: json.loads((folder / name / "train.json").read_text()) for name in ("alone", "zero2")}
off = max(abs(a - b) for a, b in zip(told["alone"]["losses"], told["zero2"]["losses"], strict=True))
print("exit codes:", code, sharded.code)
print("torchrun saw a rank end by signal 9:", "exitcode: -9" in sharded.err)
print("the group started again went on from a checkpoint:", told["zero2"]["resumed"] >= 3)
print("18 losses, those of one process without a death to 1e-3:", off < 1e-3)

# %% [markdown]
# This works for three reasons. A checkpoint is written whole or not at all; the order of the data is a function of seed and
# step; the schedule is a function of the step. So a group that starts again finds in one folder where to go on.
#
# ## 5 · What is in a checkpoint
#
# DeepSpeed's own checkpoints hold a pickled file for each rank: `zero_pp_rank_1_mp_rank_00_optim_states.pt` is the optimizer's
# part of rank 1, and `mp_rank_00_model_states.pt` the module that all share. They fit the number of ranks that wrote them,
# and whoever unpickles a file runs the code that is in it. `fit` gathers the parts instead, and writes what it always writes:

# %% tags=["nbval-check-output"]
from labkit import checkpoints

last = checkpoints.steps(folder / "zero2/checkpoints")[0]
snapshot = checkpoints.read(last)
print(sorted(file.name for file in last.iterdir()))
print("written by", snapshot.facts["world"], "ranks;", len(snapshot.model), "tensors of weights,")
slots = sorted({name.partition(":")[0] for name in snapshot.optimizer})
print("and the optimizer's, whole, under the parameters' names:", slots)

# %% [markdown]
# So a run may go on with another number of ranks, at another stage, or without DeepSpeed. It costs one thing: while it
# saves, every rank holds the whole model. For a model that no rank can hold, DeepSpeed's own format is the way.
#
# ## 6 · When a rank hangs
#
# A killed process is easy: its connections close. A rank that *hangs* (a lost disk, a dead-lock) keeps everybody waiting
# in the next all-reduce, and the library underneath only says "timed out". So each rank writes into torchrun's store the
# step that it has reached, and a pulse twice per second. A rank that has waited too long reads what the others wrote, and names
# the one that hangs:

# %%
from labkit.training.watch import Watch

print(inspect.getsource(Watch._blame))

# %% [markdown]
# How long is too long is `--timeout`, ten minutes unless you say otherwise.
#
# ## Read on
#
# - Rajbhandari et al. 2020, [*ZeRO*](https://arxiv.org/abs/1910.02054), §5; Ren et al. 2021,
#   [*ZeRO-Offload*](https://arxiv.org/abs/2101.06840), §4, which is `--deepspeed zero2-offload` here;
#   [DeepSpeed's configuration](https://www.deepspeed.ai/docs/config-json/), all of it.
# - [`labkit/parallel/deepspeed.py`](../../labkit/parallel/deepspeed.py), the engine, and
#   [`labkit/training/watch.py`](../../labkit/training/watch.py).
# - Before this, [06/06](06_offload.ipynb) moved the optimizer into the CPU's memory by hand.
