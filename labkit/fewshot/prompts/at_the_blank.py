"""What methods share that read the vector at a template's one blank, rather than words: soft verbalizer, prototypes and
CP-Tuning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.soft_tokens import addressed
from labkit.fewshot.prompts.template import Template
from labkit.foundations.encoder import lm_states_and_logits, nothing, usable_length, with_labels
from labkit.foundations.heads import checked

SHARPNESS = 10.0  # cosines times this are an answer's logits: for probabilities only, not for the choice


class AtTheBlank:
    """Template, labels and tokenizer, checked; and `collate`."""

    def __init__(
        self,
        template: Template | str,
        labels: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int = 128,
    ) -> None:
        self.template, self.labels, self.tokenizer = Template.parse(template), tuple(labels), tokenizer
        self.max_length = usable_length(tokenizer, max_length)
        if self.template.masks != 1:
            raise UsageError(f"template {str(self.template)!r}: one blank is read here, it has {self.template.masks}")
        if len(self.labels) < 2:
            raise UsageError(f"at least two labels are needed, not {self.labels}")

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `Template.encode` gives, and "labels" (batch,)."""
        return with_labels(encode(self.template, rows, self.tokenizer, self.max_length), rows)

    def known(self) -> dict[str, Any]:
        """Template, length and labels in plain JSON values: what every description of these methods begins with."""
        return {"template": str(self.template), "max_length": self.max_length, "labels": list(self.labels)}

    def labels_of_all(self, rows: Sequence[Mapping[str, Any]], why: str) -> Tensor:
        """The rows' labels, (rows,); DataError, which ends in `why`, where a class has no row."""
        labels = [row.get("label") for row in rows]
        if missing := set(range(len(self.labels))) - set(labels):
            names = ", ".join(repr(self.labels[number]) for number in sorted(missing))
            raise DataError(f"no labelled example of {names}: {why}")
        return torch.tensor(labels)


def states_at_the_blank(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The vector from which the LM head would choose a word for the blank: (batch, d)."""
    columns = batch["mask_positions"][:, 0]
    rows = torch.arange(len(columns), device=columns.device)
    return lm_states_and_logits(model, addressed(model, batch), rows, columns, nothing(rows))[0].float()


def described(
    description: Mapping[str, Any], numbers: Sequence[str], others: Mapping[str, type] | None = None
) -> tuple[dict[str, Any], list[Tensor]]:
    """Template, max_length and labels of a description with its `others`, and its lists of `numbers` as tensors; or
    UsageError.
    """
    kinds = {"template": str, "max_length": int, "labels": list} | dict.fromkeys(numbers, list) | dict(others or {})
    given = checked(description, kinds, ("labels", "template"))
    values = {"max_length": 128, **dict.fromkeys(numbers, []), **given}
    try:
        return values, [torch.tensor(values[name], dtype=torch.float32) for name in numbers]
    except (TypeError, ValueError) as error:
        raise UsageError(f"a method's description: lists of numbers are needed ({error})") from error
