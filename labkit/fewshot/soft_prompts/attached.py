"""What a soft prompt leaves in a model while it is attached: one module with its weights and its hooks.

Hooks are bound methods of that module, so a deep copy of the model has hooks of its own; the module remembers what was
trained before, so that taking it off restores the model whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from labkit.errors import UsageError
from labkit.foundations.encoder import backbone, reads_left_to_right, unwrapped
from labkit.foundations.quantised import keep_float, refuse_to_train, set_training_flags, training_flags


class Attached(nn.Module):
    """The base of `SoftPrompt` and `PrefixStates`: weights that a model carries below its encoder for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.handles: list[Any] = []  # of its hooks
        self.trained: dict[str, bool] = {}  # parameter of the model -> whether it was trained before


def encoder_of(model: nn.Module, what: str) -> Any:
    """The body below any head. UsageError where it is none of transformers' that reads a text by itself."""
    encoder = backbone(model)
    config = getattr(encoder, "config", None)
    kind = getattr(config, "model_type", None)
    known = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES or reads_left_to_right(model)
    whole = isinstance(encoder, PreTrainedModel) and not getattr(config, "is_encoder_decoder", False)
    if not (known and whole):
        name = type(unwrapped(model)).__name__
        raise UsageError(f"{what} needs an encoder of transformers such as BERT, or a model such as GPT, not a {name}")
    return encoder


def freeze(model: nn.Module) -> dict[str, bool]:
    """Stop training of everything pre-trained; returns what was trained before, by parameter name, for
    `set_training_flags` to restore.

    A language model is frozen whole, its LM head too; of any other model the encoder is, and its head goes on learning:
    UsageError where it is quantised and cannot.
    """
    bare = unwrapped(model)
    embeddings = getattr(bare, "get_output_embeddings", lambda: None)()
    frozen, before = backbone(bare) if embeddings is None else bare, training_flags(bare)
    for name, module in bare.named_children() if frozen is not bare else ():
        if module is not frozen:
            refuse_to_train(module, name)
    set_training_flags(frozen, {}, otherwise=False)
    return before


def put_on(model: nn.Module, name: str, part: Attached, what: str) -> None:
    """Freeze the model and hang `part` into its encoder as sub-module `name`, where nothing else may hang."""
    encoder = backbone(model)
    if hasattr(encoder, name):
        raise UsageError(f"the model has a {what} already: detach it first")
    part.trained = freeze(model)
    weight = next(encoder.parameters())
    encoder.add_module(name, part.to(weight.device, weight.dtype))
    keep_float(part.modules())


def take_off(model: nn.Module, name: str, what: str) -> nn.Module:
    """Undo `put_on`, hooks and all."""
    encoder = backbone(model)
    part = getattr(encoder, name, None)
    if not isinstance(part, Attached):
        raise UsageError(f"the model has no {what} to detach: attach one first")
    for handle in part.handles:
        handle.remove()
    delattr(encoder, name)
    set_training_flags(unwrapped(model), part.trained)
    return model


def named(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a module's forward by name, whichever way they were given."""
    return {**dict(zip(signature(module.forward).parameters, args, strict=False)), **kwargs}
