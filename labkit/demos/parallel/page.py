"""The page of the planning demo: a training run on the left, what it takes on the right, at every change anew.

Handlers are plain functions of what was typed; `build_demo` only lays out the page and connects them. What cannot be
planned is one sentence where the verdict stands.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from labkit.demos.parallel import showing
from labkit.demos.parallel.form import (
    ATTENTION,
    FIELDS,
    LIMITS,
    MODELS,
    OWN,
    STAGES,
    Form,
    changed,
    of_model,
    to_plan,
)
from labkit.demos.parallel.starts import STARTS
from labkit.errors import LabkitError
from labkit.parallel.memory.anatomy import PRECISIONS
from labkit.parallel.memory.plan import Plan, search
from labkit.serving import MAX_WAITING, import_gradio
from labkit.serving.look import page

if TYPE_CHECKING:
    import gradio

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
INTRO = """Choose a model and GPUs: what does each of them hold, what does it send in a step, does it fit, and what
would make it fit?"""
EXPLANATION = """
**Weights, gradients, optimizer** stay from step to step: 16 bytes a weight with Adam, in bf16 or fp16 with fp32 copies
as in fp32. **ZeRO** shares them out among the data-parallel ranks: stage 1 the optimizer's states, 2 the gradients too,
3 the weights as well (Rajbhandari et al. 2020).

**Activations** are what the forward pass keeps for the backward pass. They grow with the rows that a GPU takes at a
time and with their length. A *checkpoint* keeps a layer's input alone and computes the rest again. *Explicit* attention
keeps its table of scores, *fused* attention does not. **Buffers** are the one layer that ZeRO 2 and 3 hold whole.

**Tensor** parallelism cuts every layer, **pipeline** parallelism cuts the stack of layers (1F1B schedule). Tensor ×
pipeline × data ranks are all GPUs.

These are closed forms for the fullest GPU, in GB of 10⁹ bytes. A real run also has the CUDA context, workspaces and
fragmentation: keep a tenth or two free.

Things to try:

- *1.2 billion, 8 GPUs*: which ZeRO stage is the first that fits? What does it cost in bytes sent?
- *GPT-3, ZeRO alone*: take 2 rows at a time, then 4. Why does a GPU send less?
- *GPT-3, three dimensions*: exchange tensor and pipeline ranks (12 and 8). What grows, what shrinks?
- *BERT-base*: at 512 tokens, what do explicit attention's scores take? At 128?
"""


def on_plan(form: Form) -> tuple[str, str, str, str, bool]:
    """What any change does: verdict, memory, traffic and table as HTML, and whether there is a mend to take."""
    try:
        plan = to_plan(form)
    except LabkitError as error:
        return showing.refused(error), "", "", "", False
    mended = plan.mend()
    found = search(plan.shape, plan.gpus, plan.memory, plan.batch, plan.length, plan.dtype)
    shown = showing.verdict(plan, mended), showing.memory(plan), showing.traffic(plan), showing.layouts(plan, found)
    return *shown, not plan.fits and mended is not None


def on_mend(form: Form) -> Form:
    """What "Take this mend" does: the form of the nearest plan that fits, or the same where there is none."""
    try:
        mended: Plan | None = to_plan(form).mend()
    except LabkitError:
        return form
    return form if mended is None else changed(form, mended)


def on_model(form: Form) -> Form:
    """What choosing a model does: its numbers, and its full length; OWN numbers begin with those that stand there."""
    if form.model == OWN:
        return form
    numbers = of_model(str(form.model))
    names = ("layers", "width", "heads", "vocabulary", "positions", "length")
    return dataclasses.replace(form, **{name: getattr(numbers, name) for name in names})


def on_start(name: str | None) -> Form:
    """What choosing a run to start from does."""
    return STARTS[name if name in STARTS else next(iter(STARTS))].form


def build_demo(model: str | None = None) -> gradio.Blocks:
    """The page; it begins with the first of STARTS, or with the preset `model`. UsageError for an unknown preset."""
    gr = import_gradio()
    name = next(iter(STARTS)) if model is None else None
    first = on_start(name) if model is None else of_model(model)
    with page(gr, "Plan a training run", INTRO, ("06/01", "06/03", "06/04")) as demo:
        parts = _lay_out(gr, name, first)
        _connect(gr, demo, parts)
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=2)


def _connect(gr: Any, demo: gradio.Blocks, parts: SimpleNamespace) -> None:
    """Every change plans anew; a start, a model and a mend fill the form first."""

    def values(form):
        return [getattr(form, name) for name in FIELDS]

    def plan(*typed):
        *shown, mendable = on_plan(Form(*typed))
        return *shown, gr.Button(visible=mendable)

    def start(name):
        form = on_start(name)
        return *values(form), STARTS[name].point, gr.Row(visible=form.model == OWN)

    def model(*typed):
        form = on_model(Form(*typed))
        return *values(form), gr.Row(visible=form.model == OWN)

    def mend(*typed):
        return values(on_mend(Form(*typed)))

    fields, shown = parts.fields, [*parts.shown, parts.take]
    typed = [field.input for field in fields[1:]]
    gr.on([demo.load, *typed], plan, fields, shown, api_name="plan", trigger_mode="always_last",
          show_progress="hidden")  # fmt: skip
    again = {"fn": plan, "inputs": fields, "outputs": shown, **QUIET}
    parts.start.input(start, parts.start, [*fields, parts.point, parts.own], **QUIET).then(**again)
    fields[0].input(model, fields, [*fields, parts.own], **QUIET).then(**again)
    parts.take.click(mend, fields, fields, **QUIET).then(**again)


def _lay_out(gr: Any, name: str | None, form: Form) -> SimpleNamespace:
    """All that is on the page; `fields` are in the order of FIELDS."""
    start = gr.Radio(list(STARTS), value=name, label="Start from")
    point = gr.Markdown(STARTS[name].point if name else "")
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            fields, own = _fields(gr, form)
        with gr.Column(scale=7, min_width=300):
            verdict = gr.HTML()
            take = gr.Button("Take this mend", size="sm", visible=False)
            memory, traffic, table = gr.HTML(), gr.HTML(), gr.HTML()
    with gr.Accordion("What you see, and what to try", open=True):
        gr.Markdown(EXPLANATION)
    return SimpleNamespace(
        start=start, point=point, fields=[fields[one] for one in FIELDS], own=own, take=take,
        shown=[verdict, memory, traffic, table],
    )  # fmt: skip


def _fields(gr: Any, form: Form) -> tuple[dict[str, Any], Any]:
    """The fields by name, and the row of a model's own numbers."""
    made: dict[str, Any] = {}

    def count(name, info=None):
        made[name] = gr.Number(getattr(form, name), label=LIMITS[name][0], info=info, min_width=120)

    def choice(name, options, label, scale=1):
        made[name] = gr.Radio(list(options), value=getattr(form, name), label=label, min_width=160, scale=scale)

    made["model"] = gr.Dropdown(list(MODELS), value=form.model, label="Model")
    with gr.Row(visible=form.model == OWN) as own:
        for name in ("layers", "width", "heads", "vocabulary", "positions"):
            count(name)
    with gr.Row():
        count("gpus", "in all")
        made["memory"] = gr.Number(form.memory, label="GPU memory", info="GB each", min_width=120)
    with gr.Row():
        count("tensor", "cut every layer")
        count("pipe", "cut the stack of layers")
    choice("stage", STAGES, "ZeRO stage")
    with gr.Row():
        choice("dtype", PRECISIONS, "Number format", 5)
        choice("attention", ATTENTION, "Attention", 4)
    with gr.Row():
        count("batch", "sequences a step, over all GPUs")
        count("length", "tokens")
    with gr.Row():
        count("rows", "a micro-batch of one rank")
        count("every", "layers; 0: no checkpoints")
    return made, own
