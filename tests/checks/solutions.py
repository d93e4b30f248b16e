"""The solutions that a lesson shows, read out of its text: what a learner unfolds is what the tests run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

TEXTS = Path(__file__).resolve().parents[2] / "notebooks" / "text"
SOLUTION = re.compile(r"<details><summary>Solution</summary>\s*```python\n(.*?)```", re.DOTALL)


def solutions(lesson: str) -> dict[str, Callable[..., Any]]:
    """Function name -> function, for every solution in notebooks/text/`lesson`.py."""
    text = (TEXTS / f"{lesson}.py").read_text(encoding="utf-8")
    markdown = "\n".join(re.sub(r"^# ?", "", line) for line in text.splitlines() if line.startswith("#"))
    space: dict[str, Any] = {"torch": torch, "np": np}
    before = set(space)
    for code in SOLUTION.findall(markdown):
        exec(compile(code, f"{lesson}.py", "exec"), space)  # noqa: S102  our own text
    return {name: value for name, value in space.items() if name not in before and callable(value)}
