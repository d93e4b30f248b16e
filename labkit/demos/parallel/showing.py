"""What the planning demo shows: verdict, memory, traffic, layouts that fit. Pure functions from plans to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from labkit.parallel.memory.anatomy import STAGES
from labkit.parallel.memory.plan import Plan
from labkit.parallel.model_parallel.schedule import bubble_in_theory
from labkit.report.figure import COLOURS
from labkit.serving.look import INK, box, safe
from labkit.widgets.boxes import count, size

PARTS = ("weights", "gradients", "optimizer", "activations", "buffers")
KINDS = {"data": "data-parallel", "tensor": "tensor-parallel", "pipe": "pipeline"}
MOST = 10  # layouts in the table


def refused(sentence: object) -> str:
    """A sentence in place of a verdict."""
    return box(f'<p class="sum">✗ This cannot be planned</p><p>{safe(sentence)}.</p>')


def verdict(plan: Plan, mended: Plan | None) -> str:
    """Whether the plan fits, what it is, and the nearest one that does where it does not."""
    need, have = size(plan.total), size(plan.memory)
    if plan.fits:
        head = f"✓ It fits: {need} of {have} on the fullest GPU"
    else:
        head = f"✗ It does not fit: {need} are needed, the GPU has {have}"
    return box(f'<p class="sum">{head}</p><p class="small">{_about(plan)}</p>{_mend(plan, mended)}')


def _about(plan: Plan) -> str:
    """The run in words."""
    weights, layout = plan.shape.parameters, f"{plan.data} data × {plan.tensor} tensor × {plan.pipe} pipeline"
    many = f"{weights / 1e9:,.3g} billion" if weights >= 1e9 else f"{weights / 1e6:,.3g} million"
    micro = f"{plan.micro:,} micro-batch{'es' * (plan.micro > 1)} of {plan.rows:,} × {plan.length:,} tokens"
    text = f"{many} weights on {layout} = {count(plan.gpus, 'GPU')}; each rank takes {micro} a step."
    if plan.pipe > 1:
        text += f" The pipeline stands idle {100 * bubble_in_theory(plan.pipe, plan.micro):.3g} % of the time."
    return text


def _mend(plan: Plan, mended: Plan | None) -> str:
    if plan.fits:
        return ""
    if mended is None:
        return (
            "<p>No nearby change makes it fit, nor do more GPUs with ZeRO 3: a smaller model, a shorter sequence or "
            "larger GPUs would.</p>"
        )
    more = f" on {mended.gpus:,} GPUs in all" if mended.gpus != plan.gpus else ""
    words = ", ".join(plan.differences(mended))
    return f"<p><b>Nearest mend:</b> {words}{more}. Then {size(mended.total)} are needed.</p>"


def memory(plan: Plan) -> str:
    """The fullest GPU's memory under each ZeRO stage, all else as planned, beside what the GPU has."""
    stages = [replace(plan, stage=stage) for stage in STAGES]
    scale = 1.04 * max(plan.memory, *(one.total for one in stages))
    rows = "".join(_stage(one, one.stage == plan.stage, scale) for one in stages)
    names = [part for part in PARTS if any(one.parts[part] for one in stages)]
    key = "".join(_key(COLOURS[PARTS.index(part)], part, plan.parts[part]) for part in names)
    note = f"The upright line is the GPU's {size(plan.memory)}. Below, the parts of your plan, the bold row"
    if plan.data == 1:
        note += "; ZeRO shares nothing out among one data-parallel rank"
    return box(f'<h3>Memory of the fullest GPU</h3>{rows}<div class="key">{key}</div><p class="small">{note}.</p>')


def _stage(plan: Plan, now: bool, scale: float) -> str:
    """One stacked bar."""
    left, pieces = 0.0, []
    for number, part in enumerate(PARTS):
        share = 100 * plan.parts[part] / scale
        style = f"left:{left:.2f}%;width:{share:.2f}%;background:{COLOURS[number]}"
        pieces.append(f'<i style="{style}" title="{part}: {size(plan.parts[part])}"></i>')
        left += share
    line = f'<b style="left:{100 * plan.memory / scale:.2f}%"></b>'
    name = f"ZeRO {plan.stage}" if plan.stage else "no ZeRO"
    said = f"{size(plan.total)}, {'fits' if plan.fits else 'too much'}"
    kind = "line now" if now else "line"
    bar = f'<span class="stack">{"".join(pieces)}{line}</span>'
    return f'<div class="{kind}"><span>{name}</span>{bar}<span>{said}</span></div>'


def _key(colour: str, name: str, value: float) -> str:
    return f'<span><i style="background:{colour}"></i>{name} {size(value) if value else "none"}</span>'


def traffic(plan: Plan) -> str:
    """What one GPU sends in a step, by kind."""
    sent, total = plan.sent, sum(plan.sent.values())
    if not total:
        return box("<h3>Sent by one GPU in a step</h3><p>Nothing: there is one GPU.</p>")
    most = max(sent.values())
    rows = "".join(_kind(plan, kind, sent[kind] / most) for kind in KINDS)
    note = "Counted, with ring collectives; how long it takes depends on the links between the GPUs."
    return box(f'<h3>Sent by one GPU in a step: {size(total)}</h3>{rows}<p class="small">{note}</p>')


def _kind(plan: Plan, kind: str, share: float) -> str:
    """One kind of traffic as a bar, and what it is."""
    piece = f'<i style="left:0;width:{100 * share:.2f}%;background:{INK}"></i>'
    value = size(plan.sent[kind]) if plan.sent[kind] else "none"
    said = f'<p class="small">{_what(plan)[kind]}</p>' if plan.sent[kind] else ""
    row = f'<div class="line"><span>{kind}</span><span class="stack">{piece}</span><span>{value}</span></div>'
    return f'<div title="{KINDS[kind]}">{row}{said}</div>'


def _what(plan: Plan) -> Mapping[str, str]:
    """What is sent, by kind."""
    data = (
        "gradients, summed over the data-parallel ranks once a step",
        "gradients shared out and updated weights gathered, once a step",
        "gradients shared out after each micro-batch, updated weights gathered once a step",
        "each layer's weights gathered for forward and for backward, gradients shared out, for each micro-batch",
    )[plan.stage]
    again = "forward, backward, and forward again for the checkpoints" if plan.every else "forward and backward"
    return {
        "data": data.capitalize() + ".",
        "tensor": f"Hidden vectors, summed twice in each layer, {again}, for each micro-batch.",
        "pipe": "Hidden vectors to the next stage, their gradients to the one before, for each micro-batch.",
    }


def layouts(plan: Plan, fitting: Sequence[Plan]) -> str:
    """The table of layouts that fit: a row a layout, with the range of rows at a time that fit."""
    grouped: dict[tuple[int, ...], list[Plan]] = {}
    for one in fitting:
        grouped.setdefault((one.data, one.tensor, one.pipe, one.stage, one.every), []).append(one)
    title = f"Layouts of {count(plan.gpus, 'GPU')} that fit"
    if not grouped:
        return box(f"<h3>{title}</h3><p>None: the run needs more or larger GPUs.</p>")
    heads = "data × tensor × pipe", "ZeRO", "check-<br>points", "rows at<br>a time", "memory", "sent a<br>step", "idle"
    body = "".join(_layout(plan, some) for some in list(grouped.values())[:MOST])
    head = "".join(f"<th>{name}</th>" for name in heads)
    table = f'<div class="wrap"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    shown = f"the first {MOST} of {len(grouped):,}" if len(grouped) > MOST else f"all {len(grouped)}"
    note = (
        f"Of the layouts with fused attention, checkpoints before each layer or none, {shown}: those without "
        "checkpoints first, then by bytes sent. Memory and idle time are for the fewest rows at a time; idle is the "
        "pipeline's bubble. Bytes are no seconds: tensor parallelism wants the fast links inside a machine."
    )
    return box(f'<h3>{title}</h3>{table}<p class="small">{note}</p>')


def _layout(plan: Plan, some: Sequence[Plan]) -> str:
    """One row of the table, for the same layout with different rows at a time."""
    first, rows = min(some, key=lambda one: one.rows), sorted(one.rows for one in some)
    cells = (
        f"{first.data} × {first.tensor} × {first.pipe}", str(first.stage or "none"),
        "yes" if first.every else "no", f"{rows[0]} to {rows[-1]}" if len(rows) > 1 else str(rows[0]),
        size(first.total), size(sum(first.sent.values())) if sum(first.sent.values()) else "none",
        f"{100 * bubble_in_theory(first.pipe, first.micro):.2g} %" if first.pipe > 1 else "–",
    )  # fmt: skip
    same = all(getattr(first, name) == getattr(plan, name) for name in ("data", "tensor", "pipe", "stage", "every"))
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="now">{body}</tr>' if same else f"<tr>{body}</tr>"
