"""A larger model that starts as the smaller one: the same answers at first, more room to learn.

Net2Net (Chen et al. 2016) copies units and shares their outgoing weights out among the copies; bert2BERT (Chen et al.
2022, section 3.2) does so for Transformers. Here the width grows by a whole factor, because LayerNorm's mean and
variance over r copies of a vector are those of the vector; copies get unequal shares, or their gradients would stay
equal and they would never learn different things. New layers begin as the identity.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.foundations.quantised import refuse_quantised
from labkit.lab import generator
from labkit.parallel.memory.model import Layer, Transformer


def widen(model: Transformer, factor: int = 2, seed: int = 0) -> Transformer:
    """A Transformer `factor` times as wide, with as many more heads of the same size, that computes the same function.

    UsageError for a factor below 1.
    """
    if factor < 1:
        raise UsageError(f"a width grows by a whole factor of 1 or more, not {factor}")
    shape = model.shape
    wide = replace(shape, width=factor * shape.width, heads=factor * shape.heads, inner=factor * shape.inner)
    grown = Transformer(wide, attention=model.layers[0].attention, every=model.every)
    grown.to(model.norm.weight.dtype)
    draw = generator(seed)
    with torch.no_grad():
        for new, old in ((grown.words, model.words), (grown.places, model.places)):
            new.weight.copy_(old.weight.repeat(1, factor))
        for new, old in zip(grown.layers, model.layers, strict=True):
            _widen_layer(new, old, factor, draw)
        parts = _shares(len(model.norm.weight), factor, draw, model.norm.weight)  # the tied output adds the copies up
        grown.norm.weight.copy_(model.norm.weight.repeat(factor) * parts)
        grown.norm.bias.copy_(model.norm.bias.repeat(factor) * parts)
    return grown


def deepen(model: Transformer) -> Transformer:
    """A Transformer of twice the layers: after each layer a new one, whose two outputs start at zero.

    UsageError for a quantised model.
    """
    refuse_quantised(model, "deepen copies numbers")
    shape = replace(model.shape, layers=2 * model.shape.layers)
    grown = Transformer(shape, attention=model.layers[0].attention, every=model.every)
    grown.to(model.norm.weight.dtype)
    for name in ("words", "places", "norm"):
        getattr(grown, name).load_state_dict(getattr(model, name).state_dict())
    for place, layer in enumerate(grown.layers):
        if place % 2 == 0:
            layer.load_state_dict(model.layers[place // 2].state_dict())
        else:
            for last in (layer.out, layer.down):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
    return grown


def _widen_layer(new: Layer, old: Layer, factor: int, draw: torch.Generator) -> None:
    for name in ("norm1", "norm2"):
        getattr(new, name).weight.copy_(getattr(old, name).weight.repeat(factor))
        getattr(new, name).bias.copy_(getattr(old, name).bias.repeat(factor))
    for name, blocks in (("qkv", 3), ("out", 1), ("up", 1), ("down", 1)):
        _widen_linear(getattr(new, name), getattr(old, name), factor, blocks, draw)


def _widen_linear(new: nn.Linear, old: nn.Linear, factor: int, blocks: int, draw: torch.Generator) -> None:
    """Rows are copied within each of `blocks` (queries, keys, values); columns share the old ones out."""
    wide = old.weight.repeat(1, factor)  # (out, factor · in)
    wide = torch.cat([block.repeat(factor, 1) for block in wide.chunk(blocks)])
    shares = torch.stack([_shares(old.in_features, factor, draw, old.weight) for _ in wide])
    new.weight.copy_(wide * shares)
    new.bias.copy_(torch.cat([block.repeat(factor) for block in old.bias.chunk(blocks)]))


def _shares(units: int, factor: int, draw: torch.Generator, like: Tensor) -> Tensor:
    """For each of `units`, the shares of its `factor` copies, which add up to 1: (factor · units)."""
    parts = 0.5 + torch.rand(factor, units, generator=draw, dtype=torch.float64)
    return (parts / parts.sum(0)).flatten().to(like)
