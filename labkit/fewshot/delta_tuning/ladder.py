"""Ladder side-tuning (Sung et al. 2022): a narrow Transformer beside the backbone, fed by its hidden states.

Rung i mixes the backbone's state h_i, brought down to the side's width, with the side's own, by a learned gate:
s_i = Block_i(σ(g_i)·D_i h_i + (1 − σ(g_i))·s_{i−1}), s_0 = D_1 h_0. At the top, h_L + U s_L replaces h_L. The
states h_i are taken without their history: no gradient enters the backbone, whose activations need not be kept.

The paper feeds U s_L alone to the head; here h_L is added and U starts at zero, so that training starts from the
model's own answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning.adapters import Memory
from labkit.fewshot.delta_tuning.base import Delta
from labkit.fewshot.delta_tuning.places import LAYERS, like, positive, remove_children, width
from labkit.foundations.encoder import backbone, reads_left_to_right


class Rung(nn.Module):
    """One step of the side network: gate, way down, block; the last one has a way up."""

    def __init__(self, d: int, side: int, heads: int, memory: Memory, last: bool) -> None:
        super().__init__()
        self.down, self.gate = nn.Linear(d, side), nn.Parameter(torch.zeros(()))
        self.block = nn.TransformerEncoderLayer(
            side, heads, 4 * side, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.up = nn.Linear(side, d) if last else None
        if self.up is not None:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)
        self.memory = memory

    def forward(self, entering: Tensor, leaving: Tensor) -> Tensor:
        """A layer's input and output (batch, tokens, d) → its output, with the side's sum at the top."""
        hidden, side, step = self.memory.look()  # what is not seen, the side's state, how many layers are done
        side = self.down(entering.detach()) if side is None else side
        share = self.gate.sigmoid()
        side = self.block(share * self.down(leaving.detach()) + (1 - share) * side, **(hidden or {}))
        if self.up is not None and step + 1 == self.memory.total:
            self.memory.take()
            return leaving + self.up(side)
        self.memory.put((hidden, side, step + 1))
        return leaving


@dataclass(frozen=True, kw_only=True)
class Ladder(Delta):
    """A side network, `reduction` times narrower than the backbone, with a rung at every layer.

    Where layers share their weights (ALBERT), so do rungs. Of `targets`, the last must be the model's last layer, or
    the layers above it take part in the backward pass.
    """

    reduction: int = 8

    DEFAULTS: ClassVar[tuple[str, ...]] = LAYERS

    def __post_init__(self) -> None:
        positive(self, "reduction")

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        names, body, memory = self.places(model), backbone(model), Memory()
        layers = [model.get_submodule(name) for name in names]
        memory.total = _passes(body, names)
        body.add_module("ladder_memory", memory)
        body.register_forward_pre_hook(_begin, with_kwargs=True)
        for number, layer in enumerate(layers, start=1):
            d = width(model, layer, "out")
            side, heads = self._side(d)
            rung = like(Rung(d, side, heads, memory, number == len(layers)), layer)
            layer.add_module("ladder_rung", rung)
            layer.register_forward_hook(_climb)
            yield from rung.parameters()

    def _side(self, d: int) -> tuple[int, int]:
        """The side's width, and its attention heads: of 16 numbers or more each."""
        side = d // self.reduction
        if side < 1 or d % self.reduction:
            raise UsageError(f"Ladder: reduction={self.reduction} does not divide the model's width of {d}")
        return side, next(heads for heads in range(max(side // 16, 1), 0, -1) if side % heads == 0)

    def _remove(self, model: nn.Module) -> None:
        remove_children(model, "ladder_rung", _climb)
        remove_children(model, "ladder_memory", _begin)


def _passes(body: nn.Module, names: list[str]) -> int:
    """How often the layers are run in one pass: ALBERT runs each of its own several times."""
    if not any("albert_layers" in name for name in names):
        return len(names)
    return body.config.num_hidden_layers * body.config.inner_group_num


def _begin(module: nn.Module, args: Any, kwargs: Any) -> None:
    """A new pass: what is not seen (padding; reading left to right, what comes later), no side state, no layer done."""
    mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    hidden = {"src_key_padding_mask": None if mask is None or mask.ndim != 2 else mask == 0}
    if reads_left_to_right(module):
        tokens = next(v for v in (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if v is not None)
        hidden["src_mask"] = torch.ones(2 * (tokens.shape[1],), dtype=torch.bool, device=tokens.device).triu(1)
    module.ladder_memory.put((hidden, None, 0))


def _climb(module: nn.Module, args: Any, out: Any) -> Any:
    if isinstance(out, tuple):
        return (module.ladder_rung(args[0], out[0]), *out[1:])
    return module.ladder_rung(args[0], out)
