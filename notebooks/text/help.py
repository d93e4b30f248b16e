# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Help
#
# Something does not work, or looks other than it should: find your question below. Words that you do not know are in the
# [glossary](glossary.ipynb), all lessons on [the map](index.ipynb).
#
# - [My numbers are not those on the page](#numbers)
# - [The kernel died, or a cell never ends](#kernel)
# - [How checks, hints and solutions work](#checks)
# - [Progress, and where files are kept](#files)
# - [Colab and Drive](#colab)
# - [A GPU](#gpu)
# - [Chinese in figures](#chinese)
# - [No network](#network)
# - [How to hand in an assignment](#assignments)
# - [Where to ask](#ask)
#
# Begin with this table: what this machine has. In a terminal `labkit doctor` tells more, all packages, the compilers and
# the place of the cache, and says what to do about what is missing.

# %%
import labkit
from labkit.doctor import examine
from labkit.report import Table

lab = labkit.setup()
shown = {"labkit", "python", "cpu cores", "memory", "gpu", "torch", "transformers", "numpy"}
rows = [row for row in examine() if row["what"] in shown]
Table(("what", "here", "what to do"), tuple((r["what"], str(r["value"]), r["advice"]) for r in rows))

# %% [markdown]
# ## <a id="numbers"></a>My numbers are not those on the page
#
# First run everything again in order: *Kernel ▸ Restart Kernel and Run All Cells*. A cell that was run twice, or before
# the one above it, has used other random numbers. If you have changed a choice or solved an exercise, numbers below it
# may change as well, because the lesson goes on with your strings and your functions.
#
# If they still differ, it depends on which cell it is.
#
# - **Cells that are compared.** Facts such as counts and shapes, and verdicts such as "beyond noise", carry the tag
#   `nbval-check-output` (in JupyterLab: the cog at the right, *Cell Tags*). `make notebooks` runs every lesson and compares
#   these cells. On a CPU, with the choices as they come, they should be equal. If one is not, that is a fault of the
#   course: please [report it](#ask).
# - **All others**: accuracies, losses, pictures, times. They are what one machine with two CPU cores measured. Yours may
#   differ in the last digits and, where a model was trained, in the accuracy too, for the following reason.
#
# A computer rounds after every addition, so a sum depends on the order in which it is taken:

# %% tags=["nbval-check-output"]
import torch

large, one = torch.tensor(1e8), torch.tensor(1.0)  # float32 has about seven digits

print("(1e8 + 1) - 1e8 =", ((large + one) - large).item())
print("(1e8 - 1e8) + 1 =", ((large - large) + one).item())

# %% [markdown]
# Another order comes from another number of threads, another processor, a GPU, or another version of PyTorch. The first
# difference is in the eighth digit; training multiplies it, step by step, until some test rows are answered otherwise.
#
# - **Seeds**: `labkit.setup()` begins every lesson with seed 0. `labkit.setup(lesson="03/02", seed=1)` begins with
#   another, and shows how much of a result is luck.
# - **Threads**: `OMP_NUM_THREADS=1`, set before Python starts, makes runs on one machine alike, and slower.
# - **Versions**: `pip install -c constraints.txt -e ".[all]"`, in the course's folder, installs the versions with which the
#   course was tested.
#
# ## <a id="kernel"></a>The kernel died, or a cell never ends
#
# *The kernel appears to have died. It will restart automatically.* Nearly always the memory was full. Notebooks that you
# closed may still hold some, because closing a tab leaves its kernel alive.
#
# 1. In JupyterLab, the round symbol with a square at the left, *Running Terminals and Kernels*: shut down what you do not
#    need.
# 2. *Kernel ▸ Restart Kernel and Run All Cells*. Only the kernel's variables were lost; your progress and trained
#    models were not.
# 3. If it dies again at the same cell, make the lesson smaller in its cell of choices: a smaller model
#    (`"micro-bert-en"`), or fewer ranks, for which lessons 06/03 and 06/04 start one process each.
#
# *CUDA out of memory*: a GPU's memory is given back when the kernel ends, so restart it, and shut down other kernels that
# use the GPU.
#
# A cell has `[*]` beside it while it runs. A whole lesson takes about a minute on two cores. What takes much longer can be
# stopped by *Kernel ▸ Interrupt Kernel* (the black square). A check stops your function by itself after ten seconds.
#
# **A slider does nothing?** What you see in a notebook that was only opened is a saved picture. Run the cells from the
# top; then a kernel answers.
#
# ## <a id="checks"></a>How checks, hints and solutions work
#
# An exercise is a cell with an unfinished function and a check, and under it three hints and a solution, each folded: a
# click on *Hint 1* opens it. The dots before it say how hard it is, from ●○○ to ●●●. Fill in the function and run the cell.
# The check tries it on inputs of its own and tells one of three things:

# %% tags=["nbval-check-output"]
from IPython.display import display

from labkit.checks.exercise import Verdict

display(Verdict("double", None, "not attempted yet"))
display(Verdict("double", False, "this is the square: double([3.]) should be [6.], not [9.]"))
display(Verdict("double", True, "passed"))

# %% [markdown]
# - ○ The function does nothing yet.
# - ✗ Something is wrong: the first mistake that the check has found, often with its cause. Mend it and run the cell again,
#   as often as you like; nobody counts.
# - ✓ It passes, and the exercise is noted in your progress.
#
# **"The cells below use labkit's own"** means: the line `double = check.double(double)` has put labkit's solution in the
# place of your function, so that the rest of the lesson runs in any case. You can skip an exercise and come back. As soon
# as yours passes, the verdict says "the cells below use yours": then the lesson really trains, decodes or counts with what
# you wrote. Run the cells below again to see it.
#
# The solutions are one way among several; a check takes any function that does the same. If you believe that yours is
# right and the check refuses it, please report that, too.
#
# ## <a id="files"></a>Progress, and where files are kept
#
# | what | where |
# |---|---|
# | your progress | `progress.json` in the cache: which lessons you opened, which exercises passed |
# | models that were trained or converted here | `zoo` in the cache; the course's small models come with the package and are not there |
# | models and data of the hub | the Hugging Face libraries' own cache |
# | what commands write | where their `--out` says, in the examples `runs/` |
# | what lessons write | a temporary folder |
#
# The *cache* is `~/.cache/labkit`, or the folder that the environment variable `LABKIT_CACHE` names. It can be deleted at
# any time: models are made again when they are needed, and only your progress is lost. `labkit zoo clean` removes the
# models and keeps the progress.
#
# **To begin anew**, delete that file:
#
# ```python
# from labkit import progress
#
# print(progress.path())  # where it is
# progress.forget()
# ```
#
# To get a lesson back as it was, take its file from the course again. Your answers are in the notebook's cells, so save a
# copy under another name first.
#
# ## <a id="colab"></a>Colab and Drive
#
# 1. Make the wheel once: `python -m build --wheel` in the course's folder; it then lies in `dist/`.
# 2. Open a lesson in Colab (*File ▸ Upload notebook*).
# 3. Upload the wheel `labkit-….whl` to the files at the left, or put it into your Drive, at its top or one folder below, and
#    mount the Drive (*Files ▸ Mount Drive*).
# 4. Run all cells. The first one finds the wheel and installs it; it leaves Colab's own PyTorch as it is.
#
# If it says that labkit is not installed, it has found no wheel: look at its name and its place. Links from one lesson to
# another do not work in Colab: open the other lesson's file.
#
# A Colab machine is deleted after some hours, your progress and your changes with it. *File ▸ Save a copy in Drive* keeps
# the notebook. To keep the progress, run this in a cell of its own, before all others, with the Drive mounted:
#
# ```python
# %env LABKIT_CACHE=drive/MyDrive/labkit-cache
# ```
#
# ## <a id="gpu"></a>A GPU
#
# None is needed. If there is one, `labkit.setup()` takes it and the precision that suits it, and training goes faster;
# the smallest models gain little. Numbers then differ from those on the page, as above. The table at the top shows what was
# found. If it says "none" although there is a GPU: `nvidia-smi`, in a terminal, must show it, and PyTorch must not be its CPU
# build (`torch` in the table then ends in `+cpu`). On Colab: *Runtime ▸ Change runtime type*.
#
# The environment variable `CUDA_VISIBLE_DEVICES=""`, set before Python starts, leaves the GPU alone.
#
# ## <a id="chinese"></a>Chinese in figures
#
# Text in a page or a table is drawn by your browser with the fonts of your system. A figure is drawn by matplotlib, which
# needs a Chinese font of its own. Without one, labkit writes "class 1" or "method 1" in the place of a Chinese name, never empty boxes. Is there
# one here?

# %%
from labkit.report.fonts import family

print("fonts for 好评, a good review:", family("好评"))

# %% [markdown]
# If there is only one name, DejaVu Sans, there is no Chinese font. On Debian, Ubuntu and Colab `apt-get install fonts-noto-cjk`
# (in a cell: `!apt-get install -y fonts-noto-cjk`) brings one; Windows and macOS have their own. matplotlib remembers the
# fonts that it found, so delete its list and restart the kernel:
#
# ```python
# import pathlib
#
# import matplotlib
#
# for file in pathlib.Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
#     file.unlink()
# ```
#
# ## <a id="network"></a>No network
#
# Lessons need none: text, tasks and small models come with the package. A network is needed for the installation, and where
# a choice names something of the hub (`"bert-base-uncased"`, `"hub:stanfordnlp/sst2"`). Run such a cell once while there is a
# network; afterwards it is in the cache. `HF_HUB_OFFLINE=1`, set before Python starts, keeps the Hugging Face libraries
# from waiting for an answer.
#
# ## <a id="assignments"></a>How to hand in an assignment
#
# Lessons are not handed in. An assignment is a notebook that your teacher gives you, such as `pet.ipynb`.
#
# 1. Keep its file name, and do not delete, copy or change the cells marked *test*.
# 2. Write your answers in place of `raise NotImplementedError()` and of *YOUR ANSWER HERE*.
# 3. *Kernel ▸ Restart Kernel and Run All Cells*. A test that fails says what it misses. A cell may take 60 seconds.
# 4. Save, and hand in this one file, in the way that your teacher has told you.
#
# There are more tests than you see, and every test cell counts for itself, so a problem that is half right has some of its
# points. Nothing but the notebook is handed in: files beside it, and functions that you keep elsewhere, are missing when it
# is graded. For teachers: [teaching.md](../docs/teaching.md).
#
# ## <a id="ask"></a>Where to ask
#
# In a class, ask your teacher first. Otherwise the place is the project's own, if it has one:

# %%
from labkit.course import bootstrap, lessons

root = lessons.find_root()
address = bootstrap.source_of(root.parent) if root else ""
print(address or "No address is set yet: ask whoever gave you the course.")

# %% [markdown]
# (Whoever publishes the course sets it: `Source` under `[project.urls]` in `pyproject.toml`.) A question that can be
# answered has four parts: the lesson and the cell, what you expected, what you saw (the whole message, as text), and the
# output of `labkit doctor`. That output names folders of your machine; take out what you do not want to show.
