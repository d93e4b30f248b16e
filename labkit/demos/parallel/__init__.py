"""The demo of module 06: plan a training run. What each GPU holds and sends, whether it fits, and what would mend it.

Read `page.py` first; `form.py` is what a person types and what is made of it, `starts.py` the runs to start from,
`showing.py` the results. All figures are the closed forms of `labkit.parallel.memory.plan`; nothing is trained.
"""

from __future__ import annotations

from labkit.demos.parallel.page import build_demo

__all__ = ["build_demo"]
