"""Fine-tuning heads: one vector for a text, one linear layer on it (Devlin et al. 2019, §3.2 and §4.1).

How the vector comes about is the whole choice: the first token's last state ("cls"), the mean over all tokens
("mean"), the first state through the backbone's own dense-and-tanh pooler ("pooler", what BERT was published with), or
the last token's state ("last", for models that read left to right: no other state knows the whole text).

`EncoderClassifier` keeps the backbone under the name it has in transformers and writes the backbone's own
configuration, so that `AutoModel.from_pretrained(folder)` reads its encoder, and `AutoModelForTokenClassification` all
of it (a token's logits, whose mean is the answer under mean pooling).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

from labkit.errors import UsageError, unknown
from labkit.foundations.encoder import (
    backbone,
    goes_on,
    labels_of,
    mean_state,
    model_inputs,
    padding,
    reads_left_to_right,
    texts_of,
    to_batch,
    unwrapped,
    usable_length,
    with_labels,
)
from labkit.lab import seeded

POOLINGS = ("cls", "mean", "pooler", "last")
TOKENS = "tokens of the head"  # of a row that `HeadClassifier.read` has seen


class EncoderClassifier(PreTrainedModel):
    """Any encoder of transformers with a pooling and a linear layer; `add_head` makes one from a pre-trained model.

    The configuration is the encoder's, with `head_pooling` and `num_labels`. `save_pretrained` and `from_pretrained`
    work as usual.
    """

    config_class = AutoConfig  # whichever the folder holds
    supports_gradient_checkpointing = True
    _supports_sdpa = _supports_flash_attn = _supports_attention_backend = True  # the encoder has the last word

    def __init__(self, config: PreTrainedConfig, encoder: PreTrainedModel | None = None) -> None:
        pooling = getattr(config, "head_pooling", "cls")
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        given = encoder is not None
        # Before super().__init__, so that the encoder settles in `config` which attention it can run.
        encoder = encoder if given else _without_pooler(AutoModel.from_config(config), pooling)
        super().__init__(config)
        self.pooling, self.base_model_prefix = pooling, encoder.base_model_prefix
        dropout = getattr(config, "classifier_dropout", None)
        self.dropout = nn.Dropout(getattr(config, "hidden_dropout_prob", 0.0) if dropout is None else dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        if given:  # it joins after the initialisation, which must not touch it
            self.post_init()
        setattr(self, self.base_model_prefix, encoder)
        if not given:
            self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """`.logits` (batch, classes), and `.loss`, the cross-entropy, where `labels` (batch,) are given."""
        offered = {
            "input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids,
            "position_ids": position_ids, "inputs_embeds": inputs_embeds,
        }  # fmt: skip
        offered |= self._places(position_ids, attention_mask)
        taken = model_inputs(self.base_model, {name: value for name, value in offered.items() if value is not None})
        out = self.base_model(
            **taken, output_hidden_states=output_hidden_states, output_attentions=output_attentions, return_dict=True
        )
        logits = self.classifier(self.dropout(self._pool(out, attention_mask)))  # (batch, classes)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        result = SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=out.get("hidden_states"), attentions=out.get("attentions")
        )
        return result.to_tuple() if return_dict is False else result

    def _pool(self, out: Any, attention_mask: Tensor | None) -> Tensor:
        """One vector a text: (batch, d)."""
        if self.pooling == "pooler":
            return out.pooler_output
        states = out.last_hidden_state  # (batch, tokens, d)
        if self.pooling == "last":
            return states[:, -1] if attention_mask is None else states[_last(attention_mask)]
        if self.pooling == "cls":
            return states[:, 0]
        return mean_state(states, attention_mask)

    def _places(self, position_ids: Tensor | None, attention_mask: Tensor | None) -> dict[str, Tensor]:
        """Positions counted from each text's first token, for texts padded on the left."""
        if self.pooling != "last" or position_ids is not None or attention_mask is None or attention_mask[:, 0].all():
            return {}
        return {"position_ids": (attention_mask.cumsum(1) - 1).clamp(min=0)}


def _last(attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each text's last token, whichever side the padding is on: (batch,) each."""
    rows, tokens = torch.arange(len(attention_mask), device=attention_mask.device), attention_mask.shape[1]
    return rows, tokens - 1 - attention_mask.flip(1).argmax(1)


def add_head(
    model: PreTrainedModel,
    classes: int | Sequence[str],
    pooling: str = "cls",
    *,
    share: bool = False,
    seed: int | None = None,
) -> EncoderClassifier:
    """A classifier over `model`'s encoder (an encoder, or a model with another head such as an MLM's), in its mode
    and type.

    `classes` is their number or their names. The encoder is copied, so that several methods may start from one
    backbone; `share=True` lets both models train the same weights. The head is drawn from N(0, initializer_range²)
    with `seed`, or torch's own state. A backbone without a pooler gets a new one for "pooler". Raises UsageError for
    an unknown pooling, and models that are no encoders.
    """
    encoder = backbone(model)
    config = getattr(encoder, "config", None)
    kind = type(unwrapped(model)).__name__
    if not isinstance(encoder, PreTrainedModel) or getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"a classification head needs an encoder of transformers, not a {kind}")
    if pooling in ("cls", "pooler") and reads_left_to_right(encoder):
        raise UsageError(f"pooling={pooling!r}: the first state of a {kind} has seen no text: take 'last' or 'mean'")
    names = [str(number) for number in range(classes)] if isinstance(classes, int) else list(classes)
    if len(names) < 2:
        raise UsageError(f"a classifier needs at least two classes, not {classes!r}")
    config = copy.deepcopy(config)
    config.head_pooling, config.num_labels = pooling, len(names)
    if not isinstance(classes, int):
        config.id2label, config.label2id = dict(enumerate(names)), {name: at for at, name in enumerate(names)}
    encoder = encoder if share else _without_pooler(copy.deepcopy(encoder), pooling)
    with seeded(seed):
        if pooling == "pooler":
            _ensure_pooler(encoder, share)
        head = EncoderClassifier(config, encoder)
    parameter = next(encoder.parameters())
    head.classifier.to(parameter.device, parameter.dtype if parameter.is_floating_point() else torch.float32)
    return head.train(model.training)


def _without_pooler(encoder: PreTrainedModel, pooling: str) -> PreTrainedModel:
    """The encoder less a pooler that would only be dead weight; some classes cannot do without."""
    if pooling != "pooler" and "add_pooling_layer" in inspect.signature(type(encoder).__init__).parameters:
        encoder.pooler = None
    return encoder


def _ensure_pooler(encoder: PreTrainedModel, share: bool) -> None:
    """A new pooler where the encoder has none; UsageError where its class knows none, or it is not ours to change."""
    if getattr(encoder, "pooler", None) is not None:
        return
    fresh = None if share else getattr(type(encoder)(encoder.config), "pooler", None)
    if fresh is None:
        raise UsageError(f"{type(encoder).__name__} has no pooler: choose pooling 'cls' or 'mean'")
    encoder.pooler = fresh.to(encoder.device, encoder.dtype)
    if getattr(encoder, "pooler_activation", encoder) is None:  # ALBERT keeps its tanh beside the pooler
        encoder.pooler_activation = nn.Tanh()


class Described:
    """A method that is no more than its arguments: saved as their values, and made again from them."""

    @classmethod
    def described(cls) -> dict[str, type]:
        """The arguments' names, and their types in JSON."""
        kinds = get_type_hints(cls.__init__)
        return {name: list if get_origin(kind) is Sequence else kind
                for name, kind in kinds.items() if name not in ("tokenizer", "return")}  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs, in plain JSON values."""
        values = {name: getattr(self, name) for name in self.described()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Any:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take, and
        where one is missing.
        """
        for name, argument in inspect.signature(cls).parameters.items():
            if argument.default is argument.empty and name not in ("tokenizer", *description):
                raise UsageError(f"a method's description: {name!r} is missing")
        return cls(tokenizer, **checked(description, cls.described()))


class HeadClassifier(Described):
    """The method of fine-tuning: the fields of a row, read as one text or a pair, and the model's own logits.

    Works with `EncoderClassifier` and with any `AutoModelForSequenceClassification`. `max_length` counts tokens,
    special ones included; of a pair the longer text is cut first. "[MASK]" and its like in a row are plain text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str] = ("text",), max_length: int = 128
    ) -> None:
        if isinstance(fields, str) or not 1 <= len(fields) <= 2:
            raise UsageError(f"fields must name one or two text fields, as in ('text',), not {fields!r}")
        self.tokenizer, self.fields = tokenizer, tuple(fields)
        self.max_length = usable_length(tokenizer, max_length)

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Copies of `rows` with their tokens, which `collate` takes as they are: for training that sees each often."""
        found = self._tokens(rows)
        return [{**row, TOKENS: {name: np.asarray(ids[at], np.int32) for name, ids in found.items()}}
                for at, row in enumerate(rows)]  # fmt: skip

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `token_type_ids` where the tokenizer has them, (batch, tokens); `labels`
        (batch,).
        """
        known = bool(rows) and all(TOKENS in row for row in rows)
        found = {name: [row[TOKENS][name] for row in rows] for name in rows[0][TOKENS]} if known else self._tokens(rows)
        batch = to_batch(found["input_ids"], padding(self.tokenizer))
        if "token_type_ids" in found:
            batch["token_type_ids"] = to_batch(found["token_type_ids"], 0)["input_ids"]
        return with_labels({name: torch.from_numpy(value) for name, value in batch.items()}, rows)

    def _tokens(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[list[int]]]:
        """`input_ids` and, where the tokenizer has them, `token_type_ids`, a list a row."""
        texts = [texts_of(rows, field) for field in self.fields]
        options = {"truncation": True, "split_special_tokens": True, "return_attention_mask": False}
        if not goes_on(self.tokenizer):
            return dict(self.tokenizer(*texts, max_length=self.max_length, **options))
        # It has no separator, and would begin the second text as a new one.
        start = self.tokenizer("")["input_ids"]
        texts = [texts[0], *(["\n" + text for text in some] for some in texts[1:])]
        room = self.max_length - len(start)
        found = self.tokenizer(*texts, add_special_tokens=False, max_length=room, **options)
        return {**found, "input_ids": [start + ids for ids in found["input_ids"]]}

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(batch, classes). UsageError for a model without a classification head."""
        logits = getattr(model(**model_inputs(model, batch)), "logits", None)
        if logits is None or logits.ndim != 2:
            name = type(unwrapped(model)).__name__
            raise UsageError(f"{name} gives no class logits: put a head on it with add_head(model, classes)")
        return logits

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, a scalar in nats."""
        return F.cross_entropy(self.logits(model, batch).float(), labels_of(batch))

    __call__ = loss

def checked(
    description: Mapping[str, Any], kinds: Mapping[str, Any], needed: Sequence[str] = ()
) -> dict[str, Any]:  # fmt: skip
    """The description, if its keys are among `kinds`, its values of those types, and all of `needed` there; else
    UsageError.
    """
    for key, value in description.items():
        if key not in kinds:
            raise unknown("key of a method's description", key, kinds)
        if not isinstance(value, kinds[key]):
            raise UsageError(f"a method's description: {key!r} cannot be {value!r:.60}")
    for key in needed:
        if key not in description:
            raise UsageError(f"a method's description: {key!r} is missing")
    return dict(description)
