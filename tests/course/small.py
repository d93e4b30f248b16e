"""A course of one small lesson, 03/02, and its notebook with the outputs that one plants."""

from __future__ import annotations

import json
from pathlib import Path

from labkit.course import reading

HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

"""
TEXT = (
    HEADER
    + """\
# %% [markdown]
# # A small lesson
#
# **45 minutes.**

# %%
lab = None  # labkit.setup(lesson="03/02")

# %% tags=["nbval-check-output"]
print("one")

# %% tags=["nbval-check-output"]
print("two")

# %% tags=["nbval-check-output"]
3

# %%
def fuzzy(x): ...


check = type("Check", (), {"fuzzy": lambda self, function: print("not attempted yet")})()
fuzzy = check.fuzzy(fuzzy)

# %% [markdown]
# <details><summary>Hint 1</summary>one</details>
# <details><summary>Hint 2</summary>two</details>
# <details><summary>Hint 3</summary>three</details>
# <details><summary>Solution</summary>
#
# ```python
# def fuzzy(x):
#     return 2 * x
# ```
# </details>
"""
)


def course(folder: Path, text: str = TEXT, index: str = "") -> reading.Source:
    """Write the course's texts into `folder`/notebooks; the lesson."""
    item = reading.Source("03/02", folder / "notebooks")
    item.text.parent.mkdir(parents=True, exist_ok=True)
    item.text.write_text(text, encoding="utf-8")
    if index:
        (folder / "notebooks" / "text" / "index.py").write_text(index, encoding="utf-8")
    return item


def stream(text: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": text}


def shown(**data: str) -> dict:
    """A display of forms by short names: html, plain, png, svg, markdown."""
    kinds = {"html": "text/html", "plain": "text/plain", "png": "image/png", "svg": "image/svg+xml",
             "markdown": "text/markdown", "view": "application/vnd.jupyter.widget-view+json"}  # fmt: skip
    return {"output_type": "display_data", "data": {kinds[name]: value for name, value in data.items()}, "metadata": {}}


def notebook(item: reading.Source) -> dict:
    """The notebook as a build would leave it, without running it."""
    made = reading.assemble(item)
    made.metadata["labkit"] = {"seconds": 10}
    for count, cell in enumerate((cell for cell in made.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        if "nbval-check-output" in cell.metadata.get("tags", ()):
            cell.outputs = [stream("a fact\n")]
    return json.loads(json.dumps(made))


def write(item: reading.Source, made: dict) -> Path:
    item.notebook.parent.mkdir(parents=True, exist_ok=True)
    item.notebook.write_text(json.dumps(made), encoding="utf-8")
    return item.notebook
