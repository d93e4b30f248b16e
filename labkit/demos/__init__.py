"""One Gradio app a module; each gives `build_demo(model) -> gr.Blocks`. `labkit demo NAME` opens one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from labkit.config import PORT
from labkit.errors import unknown

if TYPE_CHECKING:
    import gradio

# name -> what it lets a person do; the demo is the module or package of that name beside this file
DEMOS = {
    "foundations": "module 01: complete a text, fill its blanks, translate it, and see each choice",
    "knowledge": "module 02: facts that a model knows before and after it was taught rare ones; three ways to search",
    "fewshot": "module 03: learn from three examples a class, by PET, CP-Tuning and a new head",
    "compression": "module 04: one sentence through a teacher and its compressed students: answers, time and bytes",
    "parallel": "module 06: plan a training run: what each GPU holds and sends, what fits, what would mend it",
}


def build(name: str, model: str | None = None) -> gradio.Blocks:
    """The page of demo `name`, on `model` or the demo's own choice. UsageError for another name, or without gradio."""
    if name not in DEMOS:
        raise unknown("demo", name, DEMOS)
    build_demo = importlib.import_module(f"labkit.demos.{name}").build_demo
    return build_demo() if model is None else build_demo(model)


def serve(name: str, port: int = 7860, model: str | None = None) -> None:
    """Open demo `name` on 127.0.0.1 until Ctrl-C or SIGTERM. UsageError as in `build`, and for a port not to be had."""
    from labkit import serving

    PORT.check(port, "--port")
    greeting = f"labkit: demo {name} on http://127.0.0.1:{port}/ (Ctrl-C stops it)"
    serving.run(build(name, model), port, [greeting], footer=())
