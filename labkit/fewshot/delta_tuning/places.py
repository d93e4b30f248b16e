"""Where a delta sits: modules addressed by the end of their names or a regular expression, and changed in place.

A module gets a child and a hook, or another stands in its place; the backbone's code and class stay as they are.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from torch import Tensor, nn

from labkit.errors import UsageError

MAX_KEY = 200

# Where a Transformer layer's parts are called what: BERT and RoBERTa, ALBERT, DistilBERT, Llama and Gemma.
QUERY, KEY, VALUE = ("query", "q_lin", "q_proj"), ("key", "k_lin", "k_proj"), ("value", "v_lin", "v_proj")
AFTER_ATTENTION = ("attention.output.dense", "attention.dense", "attention.out_lin", "self_attn.o_proj")
BEFORE_FFN = ("intermediate.dense", r"re:albert_layers\.\d+\.ffn$", "ffn.lin1", "mlp.up_proj")
AFTER_FFN = (r"re:layer\.\d+\.output\.dense$", "ffn_output", "ffn.lin2", "mlp.down_proj")
LAYERS = (r"re:\.layer\.\d+$", r"re:albert_layers\.\d+$", r"re:(^|\.)layers\.\d+$")


def resolve(model: nn.Module, keys: Sequence[str], *, every: bool, some: bool = True) -> list[str]:
    """The names of the modules that `keys` address, in the model's order, each once.

    `every`: each key must fit a module; `some`: at least one must. UsageError otherwise, with the nearest names.
    """
    names, found = [name for name, _ in model.named_modules() if name], set()
    for key in keys:
        hits = _fitting(names, key)
        if not hits and every:
            raise UsageError(f"target {key!r} fits no module of {type(model).__name__}{_near(names, key)}")
        found |= set(hits)
    if some and not found:
        raise UsageError(
            f"{type(model).__name__} has none of the usual places ({', '.join(keys)}): name targets=…{_near(names, '')}"
        )
    return [name for name in names if name in found]


def _fitting(names: Sequence[str], key: str) -> list[str]:
    if not isinstance(key, str) or not key or len(key) > MAX_KEY:
        raise UsageError(f"target {key!r:.60}: a key is a text of 1 to {MAX_KEY} characters")
    if not key.startswith("re:"):
        return [name for name in names if f".{name}".endswith(f".{key}")]
    try:
        expression = re.compile(key[3:])
    except re.error as error:
        raise UsageError(f"target {key!r} is no regular expression: {error}") from error
    return [name for name in names if expression.search(name)]


def _near(names: Sequence[str], key: str) -> str:
    """The mend: the ends of names nearest to `key`, else some that there are."""
    ends = dict.fromkeys(part for name in names for part in _ends(name))
    near = difflib.get_close_matches(key.removeprefix("re:"), ends, n=3, cutoff=0.5)
    if near:
        return f": did you mean {' or '.join(map(repr, near))}?"
    return f"; some ends of names: {', '.join(list(ends)[:12])}"


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, max(len(parts) - 4, -1), -1)
            if not parts[start].isdigit()]  # fmt: skip


# Changing a model without changing its class


def unhook(module: nn.Module, *functions: Callable[..., Any]) -> None:
    """Remove the hooks that are these functions, whoever holds their handles."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for number in [number for number, hook in hooks.items() if hook in functions]:
            del hooks[number]
            for name in (
                "_forward_hooks_with_kwargs",
                "_forward_hooks_always_called",
                "_forward_pre_hooks_with_kwargs",
            ):
                getattr(module, name).pop(number, None)


def width(model: nn.Module, module: nn.Module, side: str) -> int:
    """How wide the vectors are that enter ("in") or leave ("out") a module."""
    found = getattr(module, f"{side}_features", None)
    if found is None:
        found = getattr(getattr(model, "config", None), "hidden_size", None)
    if found is None:
        raise UsageError(f"{type(module).__name__}: how wide its vectors are cannot be told; target a linear layer")
    return int(found)


def positive(delta: Any, *names: str) -> None:
    """UsageError unless these settings are whole numbers from 1 up."""
    for name in names:
        value = getattr(delta, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{type(delta).__name__}: {name} must be a whole number of 1 or more, not {value!r}")


def like(new: nn.Module, beside: nn.Module) -> nn.Module:
    """`new` on the device and in the floating-point type of `beside`."""
    weights = (getattr(module, "weight", None) for module in beside.modules())  # a quantised layer's is no parameter
    tensors = (tensor for tensor in chain(beside.parameters(), weights) if isinstance(tensor, Tensor))
    weight = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    return new if weight is None else new.to(weight.device, weight.dtype)


def remove_children(model: nn.Module, child: str, *hooks: Any) -> None:
    """Take the sub-module called `child`, and these hooks, off every module that has it."""
    for module in list(model.modules()):
        if child in module._modules:
            delattr(module, child)
            unhook(module, *hooks)
