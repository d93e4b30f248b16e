"""The heads that transformers itself puts on a pre-trained model, so that what is saved loads there by its own name.

`AutoModelForSequenceClassification` and its like give each architecture the head it was published with; here it joins
weights that are in memory already.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from labkit.errors import UsageError, unknown
from labkit.foundations.encoder import backbone, unwrapped
from labkit.lab import seeded

HEADS: dict[str, Any] = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "span": AutoModelForQuestionAnswering,
    "body": AutoModel,  # none: the encoder with its pooler
}


def native_head(
    model: PreTrainedModel, head: str, labels: Sequence[str] = (), *, seed: int | None = None, **config: Any
) -> PreTrainedModel:
    """A copy of `model`'s encoder under transformers' own head: "sequence" and "token" of `labels`, "span", or
    "body".

    The head, and a pooler that the encoder lacks, are drawn as the class draws them, from `seed` or torch's own state.
    Settings join the configuration. Raises UsageError for a model whose architecture has no such head in transformers.
    """
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    encoder, kind = backbone(model), type(unwrapped(model)).__name__
    settings = copy.deepcopy(encoder.config)
    if labels:
        settings.id2label = dict(enumerate(labels))
        settings.label2id = {name: place for place, name in enumerate(labels)}
    for name, value in config.items():
        setattr(settings, name, value)
    try:
        with seeded(seed):
            made = HEADS[head].from_config(settings)
    except ValueError as error:
        raise UsageError(f"transformers has no {head} head for a {kind}; choose an encoder such as BERT") from error
    lost = made.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    if any(not name.startswith("pooler.") for name in lost):
        raise UsageError(f"{kind}: its encoder is not the one of its {head} head: {lost[0]} is missing")
    parameter = next(encoder.parameters())
    dtype = parameter.dtype if parameter.is_floating_point() else None
    return made.to(parameter.device, dtype).train(model.training)
