"""The demo of module 04: one sentence through a teacher and what passes of compression made of it.

Read `page.py` first; `making.py` makes the models and keeps them, `showing.py` shows their answers.
"""

from __future__ import annotations

from labkit.demos.compression.page import build_demo

__all__ = ["build_demo"]
