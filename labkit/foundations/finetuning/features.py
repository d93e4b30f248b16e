"""A pre-trained body as a fixed source of features: only what stands on it is trained (Peters et al. 2018, ELMo, §3.2;
Peters et al. 2019, To tune or not to tune).

Which layer is best to read depends on the task, so ELMo lets each task learn a mix: γ Σ_l s_l h_l, with s = softmax(w)
over the embeddings and all layers. The head does not know: it reads the mix where it would read the last states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.foundations.encoder import backbone

NAME = "layer_mix"


class LayerMix(nn.Module):
    """γ Σ_l softmax(w)_l h_l of the states of `layers` layers (ELMo, eq. 1); even at first."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights, self.scale = nn.Parameter(torch.zeros(layers)), nn.Parameter(torch.ones(()))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Of states (batch, tokens, d) each: (batch, tokens, d)."""
        shares = self.weights.softmax(0)
        return self.scale * sum(share * state for share, state in zip(shares, states, strict=True))


class Features:
    """A transformation: the body under a head learns nothing more, and the head reads `layer` of it.

    0 are the embeddings, 1 the first layer, …; −1 the last; None a learned mix of all, see `shares`. A pooler is part
    of the body, so choose a head without one.
    """

    def __init__(self, layer: int | None = -1) -> None:
        self.layer, self._handles, self._learned = layer, [], []

    def apply(self, model: nn.Module) -> nn.Module:
        """The model itself, changed. UsageError where its body has no such layer, or it was applied before."""
        body = backbone(model)
        layers = body.config.num_hidden_layers + 1
        if self._learned:
            raise UsageError("these features are in use: undo them, or make new ones, Features(layer)")
        if self.layer is not None and not -layers <= self.layer < layers:
            raise UsageError(f"layer={self.layer}: the body has its embeddings, 0, and layers up to {layers - 1}")
        self._learned = [one for one in body.parameters() if one.requires_grad]
        body.requires_grad_(False)
        if self.layer is None:
            model.add_module(NAME, LayerMix(layers).to(body.device))
        if self.layer != -1:
            ask = body.register_forward_pre_hook(_all_states, with_kwargs=True)
            self._handles = [ask, body.register_forward_hook(lambda _, args, out: self._chosen(model, out))]
        return model

    def _chosen(self, model: nn.Module, out: Any) -> Any:
        states = out.hidden_states
        out["last_hidden_state"] = states[self.layer] if self.layer is not None else getattr(model, NAME)(states)
        return out

    def undo(self, model: nn.Module) -> nn.Module:
        """The model as it was, but for what the head has learned."""
        for handle in self._handles:
            handle.remove()
        for one in self._learned:
            one.requires_grad_(True)
        if self.layer is None:
            delattr(model, NAME)
        self._handles, self._learned = [], []
        return model


def _all_states(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "output_hidden_states": True}


def shares(model: nn.Module) -> list[float]:
    """How much of each layer the learned mix takes, the embeddings first; they sum to 1."""
    if not hasattr(model, NAME):
        raise UsageError("the model has no learned mix: apply Features(None)")
    return getattr(model, NAME).weights.softmax(0).tolist()
