"""Elastic networks: one set of weights, many sizes (DynaBERT, Hou et al. 2020).

Heads and neurons are put in the order of their importance, so that the first ones of every layer are a smaller network;
all sizes then train together, taught by the full one. A `Shape` says which layers run and how many heads and neurons of
each; the network takes it for the time of a `with`, or is cut to it for good by `extract`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.compression.pruning.structure import (
    cut,
    drop_layers,
    heads_of,
    masked_heads,
    remove_heads,
    summed_gradients,
)
from labkit.compression.tinybert import bert_encoder, capture, hidden_loss, soft_cross_entropy
from labkit.errors import UsageError
from labkit.foundations.quantised import refuse_quantised


@dataclass(frozen=True)
class Shape:
    """A sub-network: the layers that run, from 0, and of each how many heads and neurons, the first ones."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    neurons: tuple[int, ...]


def full_shape(model: nn.Module) -> Shape:
    """The whole network."""
    layers = bert_encoder(model).encoder.layer
    heads, neurons = zip(*((heads_of(one), one.intermediate.dense.out_features) for one in layers), strict=True)
    return Shape(tuple(range(len(layers))), heads, neurons)


def shape_of(model: nn.Module, width: float = 1.0, depth: float = 1.0) -> Shape:
    """Shares of heads and neurons (rounded, at least one), and of layers, evenly spread with the last among them.

    UsageError for shares outside (0, 1].
    """
    if not (0 < width <= 1 and 0 < depth <= 1):
        raise UsageError(f"width={width}, depth={depth}: shares above 0, of at most 1")
    whole = full_shape(model)
    count = max(round(depth * len(whole.layers)), 1)
    layers = tuple((n + 1) * len(whole.layers) // count - 1 for n in range(count))
    part = {
        name: tuple(max(round(width * getattr(whole, name)[n]), 1) for n in layers) for name in ("heads", "neurons")
    }
    return Shape(layers, **part)


# Order


def importance(
    model: nn.Module, loss: Callable[[nn.Module, Any], Tensor], batches: Sequence[Mapping[str, Tensor]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Per layer, of heads (heads,) and of neurons (neurons,): Σ |∂L/∂m| over the batches (§3.1)."""
    layers = bert_encoder(model).encoder.layer
    heads = [torch.ones(heads_of(one), requires_grad=True) for one in layers]
    neurons = [torch.ones(one.intermediate.dense.out_features, requires_grad=True) for one in layers]
    with masked_heads(model, heads), contextlib.ExitStack() as stack:
        for layer, mask in zip(layers, neurons, strict=True):
            hook = layer.intermediate.register_forward_hook(lambda _, __, output, mask=mask: output * mask)
            stack.callback(hook.remove)
        found = summed_gradients(model, loss, batches, [*heads, *neurons])
    return found[: len(heads)], found[len(heads) :]


@torch.no_grad()
def rewire(model: nn.Module, heads: Sequence[Tensor], neurons: Sequence[Tensor]) -> nn.Module:
    """Put each layer's heads and neurons in the order of their scores, the highest first, in place. The model computes
    the same.
    """
    refuse_quantised(model, "rewiring moves numbers")
    for layer, head_scores, neuron_scores in zip(bert_encoder(model).encoder.layer, heads, neurons, strict=True):
        size = layer.attention.self.attention_head_size
        order = head_scores.argsort(descending=True, stable=True)
        places = (order[:, None] * size + torch.arange(size)).flatten()
        for linear in (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value):
            cut(linear, places, 0)
        cut(layer.attention.output.dense, places, 1)
        places = neuron_scores.argsort(descending=True, stable=True)
        cut(layer.intermediate.dense, places, 0)
        cut(layer.output.dense, places, 1)
    return model


# Sub-networks


class ElasticLinear(nn.Linear):
    """nn.Linear of which the first `rows` outputs and `columns` inputs are used."""

    rows: int
    columns: int

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        bias = None if self.bias is None else self.bias[: self.rows]
        return F.linear(x, self.weight[: self.rows, : self.columns], bias)


@contextlib.contextmanager
def shaped(model: nn.Module, shape: Shape) -> Iterator[nn.Module]:
    """Inside, `model` is this sub-network of itself. UsageError for a shape that is not within it."""
    encoder = bert_encoder(model).encoder
    _check(model, shape)
    whole, sliced = encoder.layer, []
    try:
        for number, heads, neurons in zip(shape.layers, shape.heads, shape.neurons, strict=True):
            for linear, rows, columns in _sliced(whole[number], heads, neurons):
                linear.__class__, linear.rows, linear.columns = ElasticLinear, rows, columns
                sliced.append(linear)
        encoder.layer = nn.ModuleList([whole[number] for number in shape.layers])
        yield model
    finally:
        encoder.layer = whole
        for linear in sliced:
            linear.__class__ = nn.Linear


def _sliced(layer: Any, heads: int, neurons: int) -> Iterator[tuple[nn.Linear, int, int]]:
    """The layer's linear layers, with how many outputs and inputs are used."""
    attention, inner = layer.attention, heads * layer.attention.self.attention_head_size
    for linear in (attention.self.query, attention.self.key, attention.self.value):
        yield linear, inner, linear.in_features
    yield attention.output.dense, attention.output.dense.out_features, inner
    yield layer.intermediate.dense, neurons, layer.intermediate.dense.in_features
    yield layer.output.dense, layer.output.dense.out_features, neurons


def _check(model: nn.Module, shape: Shape) -> None:
    whole = full_shape(model)
    inside = bool(shape.layers) and set(shape.layers) <= set(whole.layers)
    inside = inside and len(shape.layers) == len(shape.heads) == len(shape.neurons)
    if not inside or not all(
        1 <= heads <= whole.heads[number] and 1 <= neurons <= whole.neurons[number]
        for number, heads, neurons in zip(shape.layers, shape.heads, shape.neurons, strict=True)
    ):
        raise UsageError(f"{shape} is not within {whole}: at least one layer, and of each a head and a neuron")


def extract(model: nn.Module, shape: Shape) -> nn.Module:
    """A model of its own that computes what `model` does as this sub-network; the rest has left it."""
    refuse_quantised(model, "extracting copies numbers")
    _check(model, shape)
    small = drop_layers(copy.deepcopy(model), shape.layers)
    layers = bert_encoder(small).encoder.layer
    remove_heads(small, {n: range(heads, heads_of(layers[n])) for n, heads in enumerate(shape.heads)})
    for layer, neurons in zip(layers, shape.neurons, strict=True):
        cut(layer.intermediate.dense, torch.arange(neurons), 0)
        cut(layer.output.dense, torch.arange(neurons), 1)
    return small


class Elastic:
    """The objective that trains all sizes together: each learns the teacher's answers, and its last state's features.

    A step is one pass of the teacher and one per shape (§3.2, §3.3); the loss is their mean. `shapes` is a sequence, or
    a function that draws one for each step (`searching.sandwich`).
    """

    def __init__(
        self, method: Any, teacher: nn.Module, shapes: Sequence[Shape] | Callable[[], Sequence[Shape]],
        hidden: float = 0.1,
    ) -> None:  # fmt: skip
        if not shapes:
            raise UsageError("no shape to train: give at least the full one")
        self.method, self.teacher, self.shapes, self.hidden = method, teacher.eval(), shapes, hidden

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """A scalar."""
        with torch.no_grad(), capture(self.teacher) as theirs:
            target = self.method.logits(self.teacher, batch)
        mask, losses = batch["attention_mask"].to(theirs.last.dtype), []
        for shape in self.shapes() if callable(self.shapes) else self.shapes:
            with shaped(model, shape), capture(model) as mine:
                logits = self.method.logits(model, batch)
            losses.append(soft_cross_entropy(logits, target).mean())
            if self.hidden:
                losses[-1] = losses[-1] + self.hidden * hidden_loss(mine.last, theirs.last, mask).mean()
        return torch.stack(losses).mean()
