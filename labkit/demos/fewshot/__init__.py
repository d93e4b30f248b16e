"""The demo of module 03: teach a class with three examples, and compare what PET, CP-Tuning and a new head make of
them.

Read `page.py` first; `form.py` is what a person types, `presets.py` what it starts from, `learning.py` the methods,
`showing.py` the results.
"""

from __future__ import annotations

from labkit.demos.fewshot.learning import METHODS
from labkit.demos.fewshot.page import build_demo

__all__ = ["METHODS", "build_demo"]
