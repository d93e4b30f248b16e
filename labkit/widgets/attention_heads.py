"""Where the heads of a model look: one head's weights on a text of yours, every token against every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ipywidgets import IntSlider, Text
from torch import nn

from labkit.errors import UsageError
from labkit.evaluation import evaluating
from labkit.report import Plot
from labkit.report.fonts import drawable, family
from labkit.widgets.shown import Explorer, Shown, as_written, bounded, look

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST = 40  # tokens whose names can be read


@dataclass(frozen=True)
class Heads:
    """The tokens of a text, and weights (layers, heads, queries, keys), of which each row sums to 1."""

    tokens: tuple[str, ...]
    weights: np.ndarray


def compute(model: Any, tokenizer: PreTrainedTokenizerBase, text: str) -> Heads:
    """The attention weights of a model of transformers; UsageError for a text of more than 40 tokens or of none."""
    batch = tokenizer(bounded(text, "the text"), return_tensors="pt").to(next(model.parameters()).device)
    ids, before = batch["input_ids"][0].tolist(), model.config._attn_implementation
    if not 0 < len(ids) <= MOST:
        raise UsageError(f"a text of {len(ids)} tokens: 1 to {MOST} can be shown")
    model.set_attn_implementation("eager")  # the other ways of computing attention keep no weights
    try:
        with evaluating(model):
            layers = model(**batch, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    return Heads(tuple(as_written(ids, tokenizer)), torch.stack(layers)[:, 0].float().cpu().numpy())


def draw(heads: Heads, layer: int, head: int) -> Plot:
    """The map of one head, both counted from 1: rows are queries, columns keys."""
    from matplotlib.figure import Figure

    weights, n = heads.weights[layer - 1, head - 1], len(heads.tokens)
    figure = Figure(figsize=(2.2 + 0.27 * n, 1.6 + 0.24 * n), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(weights, cmap="cividis", vmin=0, vmax=1), ax=axes, label="weight")
    names = [token if token.isascii() else drawable(token, "·") for token in heads.tokens]
    for axis, turn in ((axes.xaxis, 90), (axes.yaxis, 0)):
        axis.set_ticks(range(n), names, fontsize=9, rotation=turn)
        for label in axis.get_ticklabels():
            label.set(parse_math=False, fontfamily=family(label.get_text()))
    axes.set(xlabel="key: looked at", ylabel="query: looks", title=f"layer {layer}, head {head}")
    seen = [f"{heads.tokens[i]} at {heads.tokens[j]} ({weights[i, j]:.0%})" for i, j in enumerate(weights.argmax(1))]
    return Plot(figure, f"Attention weights of layer {layer}, head {head}. Each token looks most: {', '.join(seen)}.")


def attention_heads(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, text: str, layer: int = 1, head: int = 1
) -> Shown:
    """A widget with the attention weights of one head on a text: sliders choose layer and head. Raises as `compute`."""
    layers, heads = compute(model, tokenizer, text).weights.shape[:2]
    return Explorer(
        lambda text, layer, head: draw(compute(model, tokenizer, text), layer, head),
        text=Text(text, description="text", continuous_update=False, **look(50, 560)),
        layer=IntSlider(layer, min=1, max=layers, description="layer", **look(50, 260)),
        head=IntSlider(head, min=1, max=heads, description="head", **look(50, 260)),
    )
