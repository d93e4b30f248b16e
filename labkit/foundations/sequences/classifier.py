"""Five readers of a text under one linear layer: a bag of word vectors, TextCNN, RNN, GRU, LSTM.

The model is one of transformers, so what works with those works with it: `HeadClassifier` is its method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from labkit.errors import UsageError, unknown
from labkit.foundations.encoder import mean_state
from labkit.foundations.sequences.convolution import TextCNN
from labkit.foundations.sequences.recurrent import KINDS, Recurrent
from labkit.lab import seeded

READERS = ("bag", "cnn", *KINDS)


class SequenceConfig(PreTrainedConfig):
    """Sizes of a reader. `written_out` runs this course's own steps in place of torch's, on the same weights."""

    model_type = "labkit-sequence"

    def __init__(
        self, vocab_size: int = 100, reader: str = "lstm", embedding: int = 64, size: int = 64,
        bidirectional: bool = False, forget_bias: float | None = None, written_out: bool = False, **others: Any,
    ) -> None:  # fmt: skip
        self.vocab_size, self.reader, self.embedding, self.size = vocab_size, reader, embedding, size
        self.bidirectional, self.forget_bias, self.written_out = bidirectional, forget_bias, written_out
        super().__init__(**others)

    def recurrent(self) -> Recurrent:
        """The recurrent layer of these sizes."""
        options = {"forget_bias": self.forget_bias, "written_out": self.written_out}
        return Recurrent(self.reader, self.embedding, self.size, bidirectional=self.bidirectional, **options)


class SequenceModel(PreTrainedModel):
    """What the classifier and the language model have in common: every layer stays as torch draws it."""

    config_class = SequenceConfig

    def _init_weights(self, module: nn.Module) -> None:
        pass


class SequenceClassifier(SequenceModel):
    """Word vectors, a reader that makes one of them, a linear layer: "bag" takes the mean, "cnn" windows of 3, 4 and 5
    words, `size` filters each, the others the state after the last word (`bidirectional`: and reading back).
    """

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        if config.reader not in READERS:
            raise unknown("reader", config.reader, READERS)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding)
        self.reader: nn.Module | None = None
        if config.reader == "cnn":
            self.reader = TextCNN(config.embedding, filters=config.size)
        elif config.reader != "bag":
            self.reader = config.recurrent()
        wide = {"bag": config.embedding, "cnn": 3 * config.size}.get(config.reader, config.size)
        self.head = nn.Linear(wide * (1 + config.bidirectional), config.num_labels)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SequenceClassifierOutput:
        """`logits` (batch, classes) of padded ids (batch, tokens)."""
        found = (self.reader or mean_state)(self.embeddings(input_ids), attention_mask)
        return SequenceClassifierOutput(logits=self.head(found if torch.is_tensor(found) else found[1]))


def classifier(
    reader: str, vocab_size: int, classes: Sequence[str], *, seed: int = 0, **sizes: Any
) -> SequenceClassifier:  # fmt: skip
    """A new classifier into the named classes, drawn with `seed`; `sizes` are `SequenceConfig`'s fields.

    UsageError for fewer than two classes, an unknown reader, or two directions of one that has none.
    """
    if len(classes) < 2 or isinstance(classes, str):
        raise UsageError(f"a classifier needs the names of at least two classes, not {classes!r}")
    if sizes.get("bidirectional") and reader not in KINDS:
        raise UsageError(f"bidirectional: a {reader!r} reads in no direction; one of {', '.join(KINDS)} does")
    names = {"id2label": dict(enumerate(classes)), "label2id": {name: n for n, name in enumerate(classes)}}
    config = SequenceConfig(vocab_size, reader, **names, **sizes)
    with seeded(seed):
        return SequenceClassifier(config)
