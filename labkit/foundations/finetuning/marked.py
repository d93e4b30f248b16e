"""What the text says again: each token of it is marked that stands in the question too (Chen et al. 2017, Reading
Wikipedia to answer open-domain questions, §3.2, the feature f_exact_match).

To answer "who designed the wolf recorder ?", a model must find the place that speaks of the same recorder. A large
pre-trained model compares the names by attention; a small one has to learn that, from far more questions than there are
here. The marks tell it. They go where BERT's token types are, which a pair of texts needs least: [SEP] stands between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.errors import UsageError


def marks(input_ids: Tensor, token_type_ids: Tensor, special: Sequence[int]) -> Tensor:
    """1 for each token of one text that the other has too, else 0: (…, tokens), as both inputs.

    `special` are the ids that count for nothing: padding, [CLS], [SEP].
    """
    words = ~torch.isin(input_ids, torch.tensor(special, device=input_ids.device))
    same = input_ids[..., :, None] == input_ids[..., None, :]
    apart = token_type_ids[..., :, None] != token_type_ids[..., None, :]
    return (same & apart & words[..., :, None]).any(-1).long()


class Marked:
    """A method of two texts (`Reader`, `HeadClassifier`, `Choice`) whose batches carry the marks as token types; in all
    else it is that method.
    """

    def __init__(self, method: Any) -> None:
        self.method = method

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "method":
            raise AttributeError(name)
        return getattr(self.method, name)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The method's batch. UsageError for a tokenizer without token types."""
        batch = self.method.collate(rows, rng)
        if "token_type_ids" not in batch:
            raise UsageError("marks stand in the token types, which this tokenizer has not: take a BERT's")
        special = self.method.tokenizer.all_special_ids
        return batch | {"token_type_ids": marks(batch["input_ids"], batch["token_type_ids"], special)}

    def __call__(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The method's loss."""
        return self.method.loss(model, batch)
