"""Multiple choice: the question is read once with each of its options, and a softmax is taken over the options' scores
(Radford et al. 2018, §3.3; Devlin et al. 2019, §4.4).

The head gives one score a text, and knows nothing of options. So it is transformers' own head with one output:
`native_head(model, "sequence", num_labels=1)`, whose folder `AutoModelForMultipleChoice` reads as its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.foundations.encoder import labels_of, model_inputs, padding, texts_of, unwrapped, with_labels
from labkit.foundations.heads import HeadClassifier


class Choice(HeadClassifier):
    """The method of multiple choice. A row has the text `fields`, at most `options` texts in its list "options", and as
    label the index of the right one.

    An option is read as the second text, behind the question where there is one: "[CLS] text [SEP] question option
    [SEP]". `max_length` counts the tokens of that.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str] = ("text", "question"), max_length: int = 128,
        options: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, fields, max_length)
        if options < 2:
            raise UsageError(f"options={options}: a choice needs at least 2")
        self.options = options
        self._one = HeadClassifier(tokenizer, ("text", "option"), max_length)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `token_type_ids` where the tokenizer has them, (batch, options, tokens), all
        padding where a row has no more options; `labels` (batch,).
        """
        self._check(rows)
        first, *more = (texts_of(rows, field) for field in self.fields)
        asked = [f"{question} " for question in more[0]] if more else [""] * len(rows)
        flat = self._one.collate([
            {"text": text, "option": question + option}
            for text, question, row in zip(first, asked, rows, strict=True) for option in row["options"]
        ])  # fmt: skip
        counts = torch.tensor([len(row["options"]) for row in rows])
        there, batch = torch.arange(self.options) < counts[:, None], {}  # (batch, options)
        for name, values in flat.items():  # (all options, tokens)
            pad = padding(self.tokenizer) if name == "input_ids" else 0
            batch[name] = values.new_full((*there.shape, values.shape[1]), pad)
            batch[name][there] = values
        return with_labels(batch, rows)

    def _check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """DataError for options that are no texts, none or too many, and for a label that is none of them."""
        for number, row in enumerate(rows, start=1):
            some, label, here = row.get("options"), row.get("label"), f"row {number} of the batch:"
            if not isinstance(some, list | tuple) or not some or not all(isinstance(one, str) for one in some):
                raise DataError(f"{here} 'options' must be a list of texts, not {some!r:.60}")
            if len(some) > self.options:
                raise DataError(f"{here} {len(some)} options: {self.options} are read; set options={len(some)}")
            if label is not None and not 0 <= label < len(some):
                raise DataError(f"{here} label {label} is the place of none of its {len(some)} options")

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(batch, options), −∞ where there is no option. UsageError for a model that gives more than one score."""
        there = batch["attention_mask"].any(-1)  # (batch, options)
        read = {name: value[there] for name, value in batch.items() if value.ndim == 3}
        scores = getattr(model(**model_inputs(model, read)), "logits", None)
        if scores is None or scores.shape != (int(there.sum()), 1):
            name = type(unwrapped(model)).__name__
            raise UsageError(f"{name} gives no single score a text: use native_head(model, 'sequence', num_labels=1)")
        return scores.new_full(there.shape, -torch.inf).masked_scatter(there, scores)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """−log of the right option's share among its question's options, a mean over questions, in nats."""
        return F.cross_entropy(self.logits(model, batch).float(), labels_of(batch))

    __call__ = loss
