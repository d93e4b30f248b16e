"""The demo of module 01: complete a text, fill its blanks, translate it, and see each choice.

Read `page.py` first; `form.py` is what a person types, `writing.py` what the models make of it, `showing.py` the
results.
"""

from __future__ import annotations

from labkit.demos.foundations.page import build_demo

__all__ = ["build_demo"]
