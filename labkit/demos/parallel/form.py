"""What a person types into the planning demo, and what is made of it: a plan, or one sentence that says why not."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from labkit.errors import UsageError
from labkit.parallel.memory.anatomy import PRECISIONS
from labkit.parallel.memory.plan import Plan, plan
from labkit.parallel.memory.shape import PRESETS, ModelShape, preset

OWN = "own numbers"
MODELS = (*PRESETS, OWN)
ATTENTION = ("fused", "explicit")
GB = 1e9  # bytes
MEMORY = (1.0, 1000.0)  # GB a GPU
# Field of the form: its name on the page, the least and the most that are taken.
LIMITS = {
    "layers": ("Layers", 1, 1_000),
    "width": ("Width", 1, 65_536),
    "heads": ("Heads", 1, 1_024),
    "vocabulary": ("Vocabulary", 1, 2_000_000),
    "positions": ("Positions", 1, 1_000_000),
    "gpus": ("GPUs", 1, 16_384),
    "tensor": ("Tensor-parallel ranks", 1, 64),
    "pipe": ("Pipeline stages", 1, 1_000),
    "batch": ("Batch", 1, 1_000_000),
    "length": ("Sequence", 1, 1_000_000),
    "rows": ("Rows at a time", 1, 65_536),
    "every": ("Checkpoint every", 0, 1_000),
}
STAGES = {"none": 0, "1": 1, "2": 2, "3": 3}


@dataclass(frozen=True)
class Form:
    """All that the page asks for, in the page's order; layers to positions count for a model of OWN numbers."""

    model: Any = "bert-base"
    layers: Any = 12
    width: Any = 768
    heads: Any = 12
    vocabulary: Any = 30_522
    positions: Any = 512
    gpus: Any = 1
    memory: Any = 16
    stage: Any = "none"
    tensor: Any = 1
    pipe: Any = 1
    dtype: Any = "bf16"
    attention: Any = "fused"
    every: Any = 0
    batch: Any = 256
    length: Any = 512
    rows: Any = 1


FIELDS = tuple(field.name for field in dataclasses.fields(Form))


def of_model(name: str) -> Form:
    """The form with a preset's numbers and its full length. UsageError for an unknown name."""
    s = preset(name)
    return Form(name, s.layers, s.width, s.heads, s.vocabulary, s.positions, length=s.positions)


def to_shape(form: Form) -> ModelShape:
    """The model: a preset, or the own numbers, then with embeddings and layers like GPT's."""
    if form.model != OWN:
        return preset(str(form.model))
    return ModelShape(*(whole(form, name) for name in ("layers", "width", "heads", "vocabulary", "positions")))


def to_plan(form: Form) -> Plan:
    """The run that the form describes. UsageError for numbers out of bounds, or that do not divide."""
    shape, memory = to_shape(form), number("GPU memory", form.memory)
    if not MEMORY[0] <= memory <= MEMORY[1]:
        raise UsageError(f"GPU memory: {memory:g} GB, choose {MEMORY[0]:g} to {MEMORY[1]:g}")
    if str(form.stage) not in STAGES:
        raise UsageError(f"ZeRO stage: {form.stage!r}, choose {', '.join(STAGES)}")
    if form.dtype not in PRECISIONS or form.attention not in ATTENTION:
        raise UsageError(f"choose {' or '.join(PRECISIONS)} as number format, {' or '.join(ATTENTION)} attention")
    layout = {name: whole(form, name) for name in ("tensor", "pipe", "every", "rows")}
    if layout["every"] > shape.layers:
        raise UsageError(f"Checkpoint every: {layout['every']} layers are more than the model's {shape.layers}")
    return plan(
        shape, whole(form, "gpus"), memory * GB, whole(form, "batch"), whole(form, "length"), dtype=form.dtype,
        attention=form.attention, stage=STAGES[str(form.stage)], **layout,
    )  # fmt: skip


def changed(form: Form, mended: Plan) -> Form:
    """The form that describes `mended`, which has the same model, memory, batch and length."""
    stage = next(name for name, stage in STAGES.items() if stage == mended.stage)
    return dataclasses.replace(
        form, gpus=mended.gpus, stage=stage, tensor=mended.tensor, pipe=mended.pipe, dtype=mended.dtype,
        attention=mended.attention, every=mended.every, rows=mended.rows,
    )  # fmt: skip


def whole(form: Form, name: str) -> int:
    """A field as a whole number within its limits; UsageError that names both."""
    label, least, most = LIMITS[name]
    found = number(label, getattr(form, name))
    if found != int(found):
        raise UsageError(f"{label}: {found:g} is no whole number")
    if not least <= found <= most:
        raise UsageError(f"{label}: {found:,.15g}, choose {least:,} to {most:,}")
    return int(found)


def number(label: str, value: Any) -> float:
    """A finite number, and not too long to be shown; UsageError for anything else that a field, or a program, gives."""
    if value is None or value == "":
        raise UsageError(f"{label}: it is empty, type a number")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15 or math.isnan(value):
        raise UsageError(f"{label}: that is no number of this page's size")
    return float(value)
