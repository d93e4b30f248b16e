"""What the compression demo shows: a table of answers and costs, cards on a phone. Pure functions to HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from labkit.demos.compression.making import TEACHER, Answer, Made
from labkit.demos.fewshot.showing import unfamiliar_words
from labkit.report.figure import COLOURS
from labkit.serving.look import box, safe

WAITING = box('<p class="waiting">The models are answering.</p>')
HEADS = ("Model", "Answer and how sure", "As the teacher", "Time", "File", "Weights", "Right")
ORDERS: dict[str, Callable[[Answer], float]] = {  # the largest first
    "file": lambda one: one.made.bytes,
    "time": lambda one: one.milliseconds,
    "right answers": lambda one: one.made.app.card.metrics["accuracy"],
    "how sure": lambda one: float(one.probabilities.max()),
}


def compared(answers: Sequence[Answer], text: str, order: str) -> str:
    """The answers of all models to a text, sorted."""
    teacher = next(one for one in answers if one.made.name == TEACHER)
    ranked = sorted(answers, key=ORDERS[order], reverse=True)
    head = "".join(f"<th>{name}</th>" for name in HEADS)
    body = "".join(_row(one, teacher) for one in ranked)
    table = f'<table class="cards"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    notes = [unfamiliar_words(text, teacher.made.app.tokenizer), _error(teacher.made)]
    small = "".join(f'<p class="small">{note}</p>' for note in notes if note)
    return box(f'<p class="said">“{safe(text)}”</p>{_summary(answers, teacher)}<div class="wrap">{table}</div>{small}')


def _summary(answers: Sequence[Answer], teacher: Answer) -> str:
    """How many agree, in a sentence."""
    others = [one for one in answers if one is not teacher]
    agree = sum(_class(one) == _class(teacher) for one in others)
    return f"<p>The teacher says <b>{safe(_class(teacher))}</b>; {agree} of the {len(others)} others say so too.</p>"


def _class(one: Answer) -> str:
    return one.made.app.card.labels[int(one.probabilities.argmax())]


def _row(one: Answer, teacher: Answer) -> str:
    """One model."""
    made, facts, first = one.made, one.made.app.card.metrics, one is teacher
    best, same = int(one.probabilities.argmax()), _class(one) == _class(teacher)
    share, colour = 100 * float(one.probabilities.max()), COLOURS[best % len(COLOURS)]
    line = f"<code>{safe(made.line)}</code>" if made.line else "fine-tuned on labelled reviews"
    bar = f'<span class="bar"><i style="width:{share:.1f}%;background:{colour}"></i></span>'
    rows = f"of {facts['rows']:,.0f}"
    often = _small(f"{100 * facts['agreement']:.0f} % {rows}")
    agreed = "–" if first else f"{'✓ same' if same else '✗ other'}{often}"
    cells = (
        f"<b>{made.name}</b>{_small(line)}",
        f'<span class="sure"><b>{safe(_class(one))}</b>{bar}<span>{share:.0f} %</span></span>',
        agreed,
        f"{one.milliseconds:.2f} ms{_against(one.milliseconds, teacher.milliseconds, first)}",
        f"{made.bytes / 1e6:.2f} MB{_against(made.bytes, teacher.made.bytes, first)}",
        f"{made.parameters:,}{_against(made.parameters, teacher.made.parameters, first)}",
        f"{100 * facts['accuracy']:.1f} %{_small(rows)}",
    )
    named = "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in zip(HEADS, cells, strict=True))
    return f'<tr class="{"now" if first else ""}">{named}</tr>'


def _small(text: str) -> str:
    return f'<span class="small">{text}</span>'


def _against(value: float, whole: float, first: bool) -> str:
    """A cost as a share of the teacher's."""
    return "" if first else _small(f"{100 * value / whole:.0f} %")


def _error(teacher: Made) -> str:
    facts = teacher.app.card.metrics
    error = 100 * math.sqrt(facts["accuracy"] * (1 - facts["accuracy"]) / facts["rows"])
    return (
        f"Of {facts['rows']:,.0f}: reviews that no model was trained on; the standard error is about {error:.1f} "
        "points. The small shares of time, file and weights: of what the teacher costs."
    )


def origin(models: Sequence[Made], folder: Path) -> str:
    """When and where the models came to be."""
    seconds = sum(one.app.card.metrics["seconds"] for one in models)
    what = f"These {len(models)} models were made on this machine in {seconds:.0f} s, once, and are kept in"
    return f'<div class="lab"><p class="small">{what} <code>{safe(folder)}</code>: the next start is quick.</p></div>'
