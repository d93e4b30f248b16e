"""What the few-shot demo shows: answers as bars, scores, losses. Pure functions from results to HTML and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from labkit.demos.fewshot.form import unfamiliar
from labkit.demos.fewshot.learning import METHODS, Learnt
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS
from labkit.serving.look import INK, box, safe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from labkit.tasks import Task

SHADES = ("#000000", "#7c8798", "#334155")  # of lines on white


def answers(learnt: Learnt, texts: Sequence[str], found: Mapping[str, np.ndarray]) -> str:
    """For each text, side by side, what each method says of it and how sure it is; `found` is (texts, classes)."""
    tokenizer = next(iter(learnt.methods.values())).how.tokenizer
    blocks = []
    for number, text in enumerate(texts):
        cells = "".join(_cell(name, learnt.task.labels, rows[number]) for name, rows in found.items())
        note = unfamiliar_words(text, tokenizer)
        said = f'<p class="said">“{safe(text)}”</p>' + (f'<p class="small">{note}</p>' if note else "")
        blocks.append(f'<div class="box">{said}<div class="grid">{cells}</div></div>')
    return f'<div class="lab">{"".join(blocks)}</div>'


def _cell(name: str, labels: Sequence[str], probabilities: np.ndarray) -> str:
    """One method's answer to one text."""
    best = labels[int(probabilities.argmax())]
    rows = "".join(
        bar(safe(label), float(share), COLOURS[number])
        for number, (label, share) in enumerate(zip(labels, probabilities, strict=True))
    )
    return f'<div><p class="verdict"><span>{name}</span> <b>{safe(best)}</b></p>{rows}</div>'


def bar(name: str, share: float, colour: str, marks: Sequence[float] = (), more: str = " %") -> str:
    """A share in [0, 1] as a bar with its name (HTML) and its number; `marks` are upright lines across it."""
    lines = "".join(f'<b style="left:{100 * mark:.1f}%"></b>' for mark in marks)
    filled = f'<span class="bar"><i style="width:{100 * share:.1f}%;background:{colour}"></i>{lines}</span>'
    return f'<div class="row"><span>{name}</span>{filled}<span>{100 * share:.0f}{more}</span></div>'


def unfamiliar_words(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """What of a text the model does not know, as HTML; nothing where it knows all."""
    unknown, spelt = unfamiliar(text, tokenizer)
    said = []
    if unknown:
        what = "that as an unknown word" if len(unknown) == 1 else "each as the same unknown word"
        said.append(f"The model has no token for {_some(unknown)}: it reads {what}.")
    if spelt:
        said.append(f"New to the model, which must spell it in pieces: {_some(spelt)}.")
    return " ".join(said)


def _some(words: Sequence[str], most: int = 5) -> str:
    """The first few words."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(safe(word if len(word) <= 24 else word[:23] + "…") for word in words[:most]) + more


def scores(learnt: Learnt, reference: Task) -> str:
    """What each method trained, how long that took, and how many unseen texts it labels right."""
    known = {"guessing": reference.chance, "best reader": reference.ceiling}
    ends = {name: end for name, end in known.items() if end is not None} if learnt.accuracy else {}
    rows = "".join(_score(name, learnt, list(ends.values())) for name in learnt.methods)
    if learnt.accuracy:
        title = f"Right on {learnt.held_out} unseen reviews"
        note = "± is one standard error: with other reviews the figures would differ by about as much."
    else:
        title, classes = "What was trained", " and ".join(reference.labels)
        note = f"No accuracy: the labelled reviews kept for it know only the classes {classes}."
    places = "".join(f'<span style="left:{100 * end:.1f}%">{name} {100 * end:.0f}</span>' for name, end in ends.items())
    scale = f'<div class="row"><span></span><span class="ends">{places}</span><span></span></div>' if places else ""
    inner = f'<h3>{title}</h3><div class="wide">{rows}{scale}</div><p class="small">{note}</p>'
    return box(inner)


def _score(name: str, learnt: Learnt, ends: Sequence[float]) -> str:
    """One method's line."""
    took = f", {learnt.methods[name].seconds:.1f} s" if METHODS[name].trains else ""
    what = f'<p><b>{name}</b> <span class="small">trains {METHODS[name].about}{took}</span></p>'
    share = learnt.accuracy.get(name)
    if share is None:
        return what
    error = math.sqrt(share * (1 - share) / learnt.held_out)
    return what + bar("", share, INK, ends, f" ± {100 * error:.0f} %")


def losses(learnt: Learnt) -> Plot:
    """The loss of each method that trained, step by step; above those that tell classes apart, and what guessing would
    lose, below them those of any other kind.
    """
    from matplotlib.figure import Figure

    curves = {name: trained.losses for name, trained in learnt.methods.items() if trained.losses}
    kinds = list(dict.fromkeys(METHODS[name].loss for name in curves))
    curves = {name: curves[name] for name in sorted(curves, key=lambda name: kinds.index(METHODS[name].loss))}
    figure, classes = Figure(figsize=(5, 1.3 + 1.3 * len(kinds)), layout="constrained"), len(learnt.task.labels)
    found = figure.subplots(len(kinds), squeeze=False, sharex=True, height_ratios=[2, *[1] * (len(kinds) - 1)])[:, 0]
    for number, (name, curve) in enumerate(curves.items()):
        look = {"color": SHADES[number % len(SHADES)], "marker": MARKS[number % len(MARKS)], "markevery": 5}
        axes = found[kinds.index(METHODS[name].loss)]
        axes.plot(range(1, len(curve) + 1), curve, label=name, ms=5, lw=1.8, **look)
    for kind, axes in zip(kinds, found, strict=True):
        if kind == kinds[0]:
            axes.axhline(math.log(classes), color="#777777", ls="--", lw=1, label=f"guessing among {classes}")
        axes.set(ylabel="loss (nats)" if kind == "cross-entropy" else kind, ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", lw=0.7)
        axes.legend(frameon=False, fontsize=9, loc="upper right")
    found[-1].set(xlabel="training step")
    return Plot(figure, _told(curves, kinds, classes))


def _told(curves: Mapping[str, Sequence[float]], kinds: Sequence[str], classes: int) -> str:
    """The figure of the losses in words."""
    told = [f"Loss on the examples over {len(next(iter(curves.values())))} training steps."]
    for kind in kinds:
        lines = [f"{n} from {c[0]:.2f} to {c[-1]:.2f}" for n, c in curves.items() if METHODS[n].loss == kind]
        told.append(f"{kind.capitalize()}: {'; '.join(lines)}.")
        if kind == kinds[0]:
            told.append(f"Guessing among {classes} classes loses {math.log(classes):.2f}.")
    return " ".join(told)


def curves(learnt: Learnt) -> str:
    """The figure of the losses on the page."""
    title = "<h3>Loss on your examples while learning</h3>"
    note = "Loss near 0 means that a method has learnt its few examples by heart, not that it is right about others."
    return box(f'{title}{losses(learnt)._repr_html_()}<p class="small">{note}</p>')
