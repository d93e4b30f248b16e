"""Activation checkpointing from parts: forget what a segment computed, and compute it again when it is needed.

Forward, a segment runs without a graph and keeps its inputs alone. Backward, it runs once more, with a graph, and that
graph gives the gradients (Chen et al. 2016, Training deep nets with sublinear memory cost). The generators are set back
to where they stood, so that dropout drops the same numbers, and the gradients are the same bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from labkit.errors import UsageError


class Checkpoint(torch.autograd.Function):
    """`function(*inputs)`, which keeps `inputs` and nothing of what lies between. See `checkpoint`."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """Run without a graph; keep the inputs and the generators' states."""
        ctx.function, ctx.random, ctx.autocast = function, _random_states(inputs), _autocast_states()
        ctx.tensors = [place for place, value in enumerate(inputs) if isinstance(value, Tensor)]
        ctx.others = [None if isinstance(value, Tensor) else value for value in inputs]
        ctx.save_for_backward(*(inputs[place] for place in ctx.tensors))
        return function(*inputs)  # autograd runs this without gradients

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """Run again with a graph, and go back through it."""
        inputs = list(ctx.others)
        for place, kept in zip(ctx.tensors, ctx.saved_tensors, strict=True):
            inputs[place] = kept.detach().requires_grad_(kept.requires_grad)
        with torch.enable_grad(), _random(ctx.random), _autocast(ctx.autocast):
            out = ctx.function(*inputs)
        torch.autograd.backward(out, gradient)  # weights inside get their gradients here
        return (None, *(value.grad if isinstance(value, Tensor) else None for value in inputs))


def checkpoint(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, one tensor, computed again in the backward pass instead of being kept.

    Weights that `function` uses get their gradients as usual. UsageError where gradients are on and no input asks for
    one: then autograd would not come back to this segment, and its weights would silently get none.
    """
    if torch.is_grad_enabled() and not any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        raise UsageError(
            "checkpoint: no input requires a gradient, so the weights inside would get none; "
            "start the segment after the embeddings, or call requires_grad_() on its input"
        )
    return Checkpoint.apply(function, *inputs)


def in_segments(layers: Sequence[nn.Module], x: Tensor, every: int) -> Tensor:
    """`x` through all layers in turn, with a checkpoint before each `every` of them (0: none)."""
    if every < 0:
        raise UsageError(f"checkpoints every {every} layers: 0 for none, else 1 or more")
    if not every or not torch.is_grad_enabled():
        return _through(layers, x)
    for start in range(0, len(layers), every):
        x = checkpoint(partial(_through, layers[start : start + every]), x)
    return x


def _through(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def kept(layers: int, every: int, input_bytes: float, layer_bytes: float) -> float:
    """Bytes of activations at their most, with a checkpoint before each `every` of `layers` layers (0: none).

    Every segment's input, and all that one segment's layers keep while it is computed again; a layer's bytes contain
    its input. Least near every = sqrt(layers · input / layer).
    """
    if not every:
        return layers * layer_bytes
    segments = -(-layers // every)
    return (segments - 1) * input_bytes + min(every, layers) * layer_bytes


def _random_states(inputs: Sequence[Any]) -> tuple[Tensor, list[int], list[Tensor]]:
    """States of the CPU's generator and of those of the GPUs that the inputs are on."""
    return torch.get_rng_state(), *get_device_states(*inputs)


@contextlib.contextmanager
def _random(states: tuple[Tensor, list[int], list[Tensor]]) -> Iterator[None]:
    """The generators as they were, and afterwards as they are."""
    cpu, *gpus = states
    with torch.random.fork_rng(devices=gpus[0]):
        torch.set_rng_state(cpu)
        set_device_states(*gpus)
        yield


def _autocast_states() -> list[tuple[str, bool, torch.dtype]]:
    """What autocast does in the forward pass; the backward pass runs without it."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return [(name, torch.is_autocast_enabled(name), torch.get_autocast_dtype(name)) for name in devices]


@contextlib.contextmanager
def _autocast(states: list[tuple[str, bool, torch.dtype]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for device, on, dtype in states:
            stack.enter_context(torch.autocast(device, dtype, enabled=on))
        yield
