"""Texts as vectors: what an encoder's states say of a text without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.evaluation import numbers_only
from labkit.foundations.encoder import mean_state, model_inputs, unwrapped
from labkit.foundations.heads import Described, HeadClassifier

OUTPUTS = ("pooler_output", "first_token_output", "mean", "all_hidden_outputs")


class Vectors(Described):
    """The method of vectorization: an answer is {output: numbers} for each of `outputs` (of OUTPUTS), float32.

    "pooler_output", "first_token_output" and "mean" are (d,); "all_hidden_outputs" is (tokens, d), special tokens
    included, and large: name it where it is wanted. There is no loss: nothing is trained.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str] = ("text",), max_length: int = 128,
        outputs: Sequence[str] = OUTPUTS[:3],
    ) -> None:  # fmt: skip
        self.reader = HeadClassifier(tokenizer, fields, max_length)
        self.fields, self.max_length = self.reader.fields, self.reader.max_length
        for name in outputs:
            if name not in OUTPUTS:
                raise unknown("output of vectorization", name, OUTPUTS)
        self.outputs = tuple(outputs)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """As of `HeadClassifier`, of the rows' texts alone."""
        return self.reader.collate([{**row, "label": None} for row in rows], rng)

    def answers(
        self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Any]
    ) -> list[dict[str, np.ndarray]]:
        """One a row. UsageError for a model that has no such output, TrainingError for vectors that are no numbers."""
        out, mask = model(**model_inputs(model, batch)), batch["attention_mask"]
        states = getattr(out, "last_hidden_state", None)  # (batch, tokens, d)
        if states is None:
            raise UsageError(f"a {type(unwrapped(model)).__name__} gives no states: load the model with head=None")
        pooled = getattr(out, "pooler_output", None)
        if pooled is None and "pooler_output" in self.outputs:
            raise UsageError(
                f"a {type(unwrapped(model)).__name__} has no pooler: ask for 'mean' or 'first_token_output'"
            )
        found = {"first_token_output": states[:, 0], "mean": mean_state(states, mask)}
        found |= {"pooler_output": pooled, "all_hidden_outputs": states}
        arrays = {name: found[name].float().cpu().numpy() for name in self.outputs}
        for value in arrays.values():
            numbers_only(np.abs(value), model, np.arange(len(rows)))
        lengths = mask.sum(1).tolist()
        return [
            {name: value[at, :length] if value.ndim == 3 else value[at] for name, value in arrays.items()}
            for at, length in enumerate(lengths)
        ]
