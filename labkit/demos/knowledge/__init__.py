"""The demo of module 02: facts that a model knows before and after it was taught rare ones, and three ways to search.

Read `page.py` first; `asking.py` is what models and retrievers find, `showing.py` the results.
"""

from __future__ import annotations

from labkit.demos.knowledge.page import build_demo

__all__ = ["build_demo"]
