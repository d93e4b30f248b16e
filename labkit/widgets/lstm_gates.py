"""One unit of an LSTM along a sentence: when its gates open, what its cell keeps, and the answer if the text ended at
each word. Units stand in the order of their weight in the answer after the last word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from ipywidgets import IntSlider, Text

from labkit.errors import UsageError
from labkit.evaluation import evaluating
from labkit.report import Plot
from labkit.report.fonts import family
from labkit.widgets.shown import Explorer, Shown, as_written, bounded, look

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from labkit.foundations.sequences.classifier import SequenceClassifier

MOST = 26  # tokens that fit under a picture
GATES = {"input": "writes: input gate", "forget": "keeps: forget gate", "output": "shows: output gate"}
VALUES = {"candidate": "candidate", "cell": "cell", "hidden": "state"}


@dataclass(frozen=True)
class Reading:
    """What the units did: `gates` by name (tokens, units), `shares` (tokens,) of `label` if the text ended there."""

    tokens: list[str]
    units: list[int]
    gates: dict[str, np.ndarray]
    shares: np.ndarray
    label: str


def compute(model: SequenceClassifier, tokenizer: PreTrainedTokenizerBase, text: str) -> Reading:
    """The reading of `text` by an LSTM that reads from left to right; UsageError for any other, or a long text."""
    if model.config.reader != "lstm" or model.config.bidirectional:
        raise UsageError("gates are shown of a classifier with reader='lstm' that reads in one direction")
    ids = tokenizer(bounded(text, "text"))["input_ids"]
    if len(ids) > MOST:
        raise UsageError(f"the text has {len(ids)} tokens; up to {MOST} can be seen at once: shorten it")
    with evaluating(model):
        gates = {name: some[0] for name, some in model.reader.gates(model.embeddings(torch.tensor([ids]))).items()}
        shares = model.head(gates["hidden"]).softmax(-1)[:, -1]
        push = gates["hidden"][-1] * (model.head.weight[-1] - model.head.weight[:-1].mean(0))
        units = push.abs().argsort(descending=True)
    found = {name: some[:, units].numpy() for name, some in gates.items()}
    label = model.config.id2label[model.config.num_labels - 1]
    return Reading(as_written(ids, tokenizer), units.tolist(), found, shares.numpy(), label)


def draw(reading: Reading, rank: int) -> Plot:
    """The gates and values of the unit with that rank, from 1 on, over the words, and the answer below them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 2.2 + 0.46 * len(reading.tokens)), 4.6), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    for axes, names, ends in ((panels[0], GATES, (0, 1)), (panels[1], VALUES, (-1, 1))):
        values = np.stack([reading.gates[name][:, rank - 1] for name in names])
        shown = axes.imshow(values, aspect="auto", cmap="cividis" if ends[0] == 0 else "PuOr", vmin=ends[0], vmax=1)
        axes.set_yticks(range(len(names)), list(names.values()))
        figure.colorbar(shown, ax=axes, ticks=(ends[0], sum(ends) / 2, 1))
    panels[2].step(range(len(reading.tokens)), reading.shares, where="mid", color="#0072B2")
    panels[2].axhline(0.5, color="#777777", ls=":", lw=1)
    panels[2].set(ylim=(0, 1), ylabel=f"p({reading.label})")
    panels[2].set_xticks(range(len(reading.tokens)), reading.tokens, rotation=60, ha="right", parse_math=False,
                         fontfamily=family("".join(reading.tokens)))  # fmt: skip
    figure.suptitle(f"unit {reading.units[rank - 1]}: number {rank} of {len(reading.units)} by weight in the answer")
    kept, cell = reading.gates["forget"][:, rank - 1], reading.gates["cell"][:, rank - 1]
    told = [f"{word}: forget {f:.2f}, cell {c:.2f}, p({reading.label}) {p:.2f}"
            for word, f, c, p in zip(reading.tokens, kept, cell, reading.shares, strict=True)]  # fmt: skip
    return Plot(figure, f"Gates, cell and state of unit {reading.units[rank - 1]} over the words. {'; '.join(told)}.")


def lstm_gates(model: SequenceClassifier, tokenizer: PreTrainedTokenizerBase, text: str) -> Shown:
    """A widget in which a text is typed and a unit is chosen. UsageError as `compute`."""
    return Explorer(
        lambda text, rank: draw(compute(model, tokenizer, text), rank),
        text=Text(text, description="text", continuous_update=False, **look(50, "80%")),
        rank=IntSlider(1, 1, model.config.size, description="unit by weight", continuous_update=False, **look(90, 360)),
    )
