"""A cloze whose answers are the row's own: idioms for a gap (FewCLUE's chid).

PET has one set of words for all rows; here each row brings seven idioms. A candidate of m pieces gets m blanks in the
gap, and the length-normalised score

    s = (1/m) · Σ_k log p(piece k | the passage with m blanks),

the pieces being independent given the passage, as PET with several masks has it in training (Schick & Schütze 2021,
"It's not just size that matters", §3.1). The mean, not the sum: a sum gets smaller with every piece, and the shortest
would win. All candidates of one length are read off one pass. (Names of classes that differ in length are
`labkit.fewshot.prompts.generative`'s business.)
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
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import pieces_of
from labkit.foundations.encoder import labels_of, lm_logits, usable_length, with_labels

Rows = Sequence[Mapping[str, Any]]
NONE = -1  # stands in the table of pieces where a candidate has no more


class RowCandidates:
    """A cloze over the row's own candidates (chid): each goes into the gap, the likeliest is the answer.

    A row has `text`, a passage with the mark `gap` in it, and `candidates`, `count` texts; its label is the place of
    the right one. Blanks stand where the mark stood, so the pattern is the passage itself. Of a passage that is too
    long, the parts farthest from the gap are cut, on both sides. Raises DataError naming the row of the batch, the
    field and the mend for a row without its mark or candidates.
    """

    template = Template.parse("{before}{mask}{after}")

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text: str = "text_a",
        gap: str = "#idiom#",
        count: int = 7,
        max_length: int = 128,
    ) -> None:
        if count < 2 or not gap:
            raise UsageError(f"count={count}, gap={gap!r}: at least two candidates and a mark for the gap are needed")
        self.tokenizer, self.text, self.gap, self.count = tokenizer, text, gap, count
        self.max_length = usable_length(tokenizer, max_length)

    def collate(self, rows: Rows, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """For each length m of a candidate what `encode` gives with m blanks, under names with the prefix "m/";
        "pieces" (batch, count, most pieces), filled up with NONE; "labels" (batch,).
        """
        spelled = [self._spelled(row, number) for number, row in enumerate(rows, start=1)]
        lengths = sorted({len(ids) for some in spelled for ids in some})
        most = lengths[-1]
        around = [self._around(row, number, most) for number, row in enumerate(rows, start=1)]
        batch = {}
        for length in lengths:
            encoded = encode(self.template.with_masks(length), around, self.tokenizer, self.max_length)
            encoded.pop("soft_mask")
            batch |= {f"{length}/{name}": value for name, value in encoded.items()}
        batch["pieces"] = torch.tensor([[ids + [NONE] * (most - len(ids)) for ids in some] for some in spelled])
        return with_labels(batch, rows)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The length-normalised log-probability of each candidate: (batch, count)."""
        pieces = batch["pieces"]
        lengths = (pieces != NONE).sum(-1)  # (batch, count)
        scores = torch.zeros(lengths.shape, device=pieces.device)
        for length in lengths.unique().tolist():
            prefix = f"{length}/"
            inputs = {name.removeprefix(prefix): value for name, value in batch.items() if name.startswith(prefix)}
            columns = inputs.pop("mask_positions")  # (batch, length)
            rows = torch.arange(len(columns), device=columns.device)[:, None].expand_as(columns)
            logits = lm_logits(model, inputs, rows.reshape(-1), columns.reshape(-1)).float()
            logs = logits.log_softmax(-1).unflatten(0, columns.shape)  # (batch, length, vocabulary)
            wanted = pieces[:, :, :length].clamp(min=0).transpose(1, 2)  # (batch, length, count)
            found = logs.gather(2, wanted).mean(1)  # (batch, count); right where a candidate has this length
            scores = torch.where(lengths == length, found, scores)
        return scores

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy over the candidates: a scalar in nats."""
        return F.cross_entropy(self.logits(model, batch), labels_of(batch))

    __call__ = loss

    def _spelled(self, row: Mapping[str, Any], number: int) -> list[list[int]]:
        """The pieces of the row's candidates."""
        found = row.get("candidates")
        if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != self.count:
            what = f"field 'candidates' must be a list of {self.count} texts, not {found!r:.60}"
            raise DataError(f"row {number} of the batch: {what}")
        spaced = str(row.get(self.text)).partition(self.gap)[0].endswith(" ")
        pieces = [pieces_of(text, self.tokenizer, spaced) if isinstance(text, str) else [] for text in found]
        if not all(pieces):
            what = f"field 'candidates': {found[pieces.index([])]!r} is no text to write"
            raise DataError(f"row {number} of the batch: {what}")
        return pieces

    def _around(self, row: Mapping[str, Any], number: int, blanks: int) -> dict[str, str]:
        """What stands before and after the gap, as many characters as surely fit (a character is a piece at most)."""
        text = row.get(self.text)
        if not isinstance(text, str) or self.gap not in text:
            what = (
                f"field {self.text!r} must be a text with the mark {self.gap} where the answer goes, not {text!r:.60}"
            )
            raise DataError(f"row {number} of the batch: {what}")
        before, after = text.split(self.gap, 1)
        before = before.removesuffix(" ")  # which goes with the candidate
        room = max(self.max_length - blanks - 2, 2)  # [CLS] and [SEP]
        left = min(len(before), max(room // 2, room - len(after)))
        return {"before": before[len(before) - left :], "after": after[: room - left].replace(self.gap, "")}
