"""Prefix tuning: n trained keys and values before the text's, in the attention of every layer; the model is frozen.

Li & Liang 2021, "Prefix-tuning"; for understanding tasks P-tuning v2 (Liu et al. 2022), which trains the keys and
values themselves. Prefix-tuning computes them from n vectors by an MLP instead (`reparametrise`, §4.3). A prefix has no
queries: it is what a cache of earlier keys and values holds, and each layer is given it as one. It takes no position
from the text.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.errors import UsageError
from labkit.fewshot.soft_prompts.attached import Attached, encoder_of, named, put_on, take_off
from labkit.lab import generator

NAME = "prefix"


@dataclass(frozen=True)
class Prefix:
    """`tokens` trained keys and values a layer and head; the model is frozen.

    With `reparametrise` they come from as many vectors through an MLP as wide as the model. All weights start from
    N(0, std²). Raises UsageError for fewer than one token.
    """

    tokens: int = 8
    reparametrise: bool = False
    std: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise UsageError(f"tokens={self.tokens}: a prefix has at least one token")
        if not self.std >= 0:
            raise UsageError(f"std={self.std}: it may not be negative")

    def attach(self, model: nn.Module) -> nn.Module:
        """The model, in place, frozen and with the prefix in it (`model.base_model.prefix`).

        UsageError for a model that has one already, is no encoder, or has an attention that takes no earlier keys.
        """
        encoder = encoder_of(model, "Prefix")
        layers = list(_attentions(encoder))
        if not layers or len(layers) != encoder.config.num_hidden_layers:
            what = f"the attention of {type(encoder).__name__} takes no earlier keys and values"
            raise UsageError(f"{what}: Prefix works with BERT, RoBERTa, GPT-2, Llama, Gemma; try PromptTuning")
        states = self._states(len(layers), encoder.config)
        put_on(model, NAME, states, "prefix")
        states.handles = [
            attention.register_forward_pre_hook(functools.partial(states.prepend, number), with_kwargs=True)
            for number, attention in enumerate(layers)
        ]
        return model

    def detach(self, model: nn.Module) -> nn.Module:
        """The model, in place, as it was before `attach`."""
        return take_off(model, NAME, "prefix")

    def _states(self, layers: int, config: Any) -> PrefixStates:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        hidden = config.hidden_size if self.reparametrise else 0
        states = PrefixStates(self.tokens, layers, heads, heads * size, hidden)
        draw = generator(self.seed)
        for parameter in states.parameters():
            nn.init.zeros_(parameter) if parameter.ndim == 1 else nn.init.normal_(parameter, 0, self.std, draw)
        return states


class PrefixStates(Attached):
    """Keys and values of all layers: a table `embedding` (n, layers · 2 · d), or (n, d) and an MLP `transform`."""

    def __init__(self, tokens: int, layers: int, heads: int, width: int, hidden: int = 0) -> None:
        super().__init__()
        self.layers, self.heads, every = layers, heads, layers * 2 * width
        self.embedding = nn.Embedding(tokens, width if hidden else every)
        inner = (nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, every)) if hidden else ()
        self.transform = nn.Sequential(*inner)

    def layer(self, number: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, each (heads, n, d_head)."""
        states = self.embedding.weight
        if len(self.transform):  # of the MLP's last layer only the rows that this one needs
            last = self.transform[-1]
            rows = slice(number * last.out_features // self.layers, (number + 1) * last.out_features // self.layers)
            states = F.linear(self.transform[:-1](states), last.weight[rows], last.bias[rows])  # (n, 2 · d)
        else:
            states = states.chunk(self.layers, 1)[number]
        keys, values = states.unflatten(1, (2, self.heads, -1)).permute(1, 2, 0, 3)
        return keys, values

    def prepend(
        self, number: int, attention: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple, dict[str, Any]]:
        """Before a layer's attention: hand it the prefix as a cache, and let every token see it."""
        given = named(attention, args, kwargs)
        cache = given.get("past_key_values")  # a model that could generate brings one, empty
        if cache is not None and (not hasattr(cache, "get_seq_length") or cache.get_seq_length()):
            raise UsageError("a model with a prefix cannot be given past_key_values: detach the prefix first")
        given["past_key_values"] = _Earlier(*self.layer(number))
        mask = given.get("attention_mask")  # (batch, 1, tokens, tokens): True or 0 where seen; None: all that may be
        if mask is None and getattr(attention, "is_causal", False):
            tokens = given["hidden_states"].shape[1]
            mask = given["hidden_states"].new_ones(1, 1, tokens, tokens, dtype=torch.bool).tril()
        if mask is not None:
            size = (*mask.shape[:-1], self.embedding.num_embeddings)
            given["attention_mask"] = torch.cat([mask.new_full(size, 0 if mask.is_floating_point() else 1), mask], -1)
        return (), given


class _Earlier:
    """As much of transformers' cache as an attention asks for: keys and values (heads, n, d_head) before its own."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, tokens, d_head) with the earlier ones before them."""
        pairs = ((self.keys, keys), (self.values, values))
        return tuple(torch.cat([own.to(new.dtype).expand(len(new), -1, -1, -1), new], 2) for own, new in pairs)


def _attentions(encoder: nn.Module) -> Iterator[nn.Module]:
    """The innermost modules that take earlier keys and values, in order: the layers' self-attentions."""
    for module in encoder.modules():
        if _takes(module) and not any(_takes(inner) for inner in module.modules() if inner is not module):
            yield module


def _takes(module: nn.Module) -> bool:
    return "past_key_values" in signature(module.forward).parameters
