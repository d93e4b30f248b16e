"""Pruning what a computer need not compute any more: heads and layers that leave the model and its file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labkit.compression.tinybert import bert_encoder
from labkit.errors import UsageError
from labkit.foundations.quantised import refuse_quantised
from labkit.lab import generator


def head_importance(
    model: nn.Module, loss: Callable[[nn.Module, Any], Tensor], batches: Sequence[Mapping[str, Tensor]]
) -> list[Tensor]:
    """Σ |∂L/∂m| over the batches, of a mask m of ones on each head's output (Michel et al. 2019, §4.1): per layer a
    tensor (heads,).

    What a head's mask would change of the loss, to first order, if it were a little less than 1. UsageError where the
    gradients are NaN.
    """
    masks = [torch.ones(heads_of(layer), requires_grad=True) for layer in bert_encoder(model).encoder.layer]
    with masked_heads(model, masks):
        return summed_gradients(model, loss, batches, masks)


def summed_gradients(
    model: nn.Module, loss: Callable[[nn.Module, Any], Tensor], batches: Sequence[Mapping[str, Tensor]],
    masks: Sequence[Tensor],
) -> list[Tensor]:  # fmt: skip
    """Σ |∂L/∂m| of each mask over the batches."""
    total = [torch.zeros_like(mask) for mask in masks]
    for batch in batches:
        for sum_, found in zip(total, torch.autograd.grad(loss(model, batch), masks), strict=True):
            sum_ += found.abs()
    if not all(sum_.isfinite().all() for sum_ in total):
        raise UsageError("the loss has gradients of NaN or infinity, which rank nothing; load an earlier checkpoint")
    return total


@contextlib.contextmanager
def masked_heads(model: nn.Module, masks: Sequence[Any]) -> Iterator[None]:
    """Inside, each layer's heads are multiplied by its mask (heads,), or by what a function gives for one."""

    def hook(mask: Any) -> Callable[..., Any]:
        def multiply(_: nn.Module, __: Any, output: Any) -> Any:
            values = mask() if callable(mask) else mask
            heads = output[0].unflatten(-1, (len(values), -1))  # (batch, tokens, heads, d)
            return ((heads * values[:, None]).flatten(-2), *output[1:])

        return multiply

    with contextlib.ExitStack() as stack:
        for layer, mask in zip(bert_encoder(model).encoder.layer, masks, strict=True):
            stack.callback(layer.attention.self.register_forward_hook(hook(mask)).remove)
        yield


def heads_of(layer: Any) -> int:
    """How many heads a layer has."""
    return layer.attention.self.query.out_features // layer.attention.self.attention_head_size


def remove_heads(model: nn.Module, heads: Mapping[int, Sequence[int]]) -> nn.Module:
    """Take heads out, in place: layer → heads, both from 0. What is left answers as the model with these heads at 0.

    UsageError for a head that is not there, the last head of a layer, or a quantised model; nothing is changed then.
    """
    refuse_quantised(model, "removing heads cuts matrices of numbers")
    layers = bert_encoder(model).encoder.layer
    for number, gone in heads.items():
        if not 0 <= number < len(layers) or not set(gone) < set(range(heads_of(layers[number]))):
            raise UsageError(f"layer {number}, heads {sorted(gone)}: name heads that are there, and leave one")
    for number, gone in heads.items():
        attention = layers[number].attention
        size, count = attention.self.attention_head_size, heads_of(layers[number])
        kept = torch.tensor([head for head in range(count) if head not in set(gone)])
        places = (kept[:, None] * size + torch.arange(size)).flatten()
        for linear in (attention.self.query, attention.self.key, attention.self.value):
            cut(linear, places, 0)
        cut(attention.output.dense, places, 1)
        attention.self.num_attention_heads, attention.self.all_head_size = len(kept), len(places)
    return model


def cut(linear: nn.Linear, places: Tensor, dim: int) -> None:
    """Keep these rows (0: and their biases) or columns (1)."""
    places = places.to(linear.weight.device)
    linear.weight = nn.Parameter(linear.weight.data.index_select(dim, places), linear.weight.requires_grad)
    if dim == 0:
        linear.bias = nn.Parameter(linear.bias.data.index_select(0, places), linear.bias.requires_grad)
        linear.out_features = len(places)
    else:
        linear.in_features = len(places)


def drop_layers(model: nn.Module, kept: Sequence[int]) -> nn.Module:
    """Keep these layers, from 0, in this order; the others leave the model, in place. UsageError for none, or one that
    is not there.
    """
    encoder = bert_encoder(model)
    if not kept or not set(kept) <= set(range(len(encoder.encoder.layer))):
        raise UsageError(f"layers {list(kept)}: name at least one of 0 to {len(encoder.encoder.layer) - 1}")
    encoder.encoder.layer = nn.ModuleList([encoder.encoder.layer[number] for number in kept])
    for module in model.modules():  # a head around the encoder may have a configuration of its own
        if hasattr(getattr(module, "config", None), "num_hidden_layers"):
            module.config.num_hidden_layers = len(kept)
    return model


@contextlib.contextmanager
def layer_drop(model: nn.Module, probability: float, seed: int = 0) -> Iterator[None]:
    """Inside, while the model trains, each layer of a forward pass is left out with this probability (Fan et al. 2020,
    LayerDrop, §3), so that it learns to do without any of them. UsageError for a probability outside [0, 1).
    """
    if not 0 <= probability < 1:
        raise UsageError(f"probability={probability}: at least 0 and below 1, or no layer is ever trained")
    rng = generator(seed)

    def leave_out(layer: nn.Module, given: Any, output: Any) -> Any:
        if not layer.training or torch.rand((), generator=rng) >= probability:
            return output
        return (given[0], *output[1:]) if isinstance(output, tuple) else given[0]

    with contextlib.ExitStack() as stack:
        for layer in bert_encoder(model).encoder.layer:
            stack.callback(layer.register_forward_hook(leave_out).remove)
        yield
