"""Choice by perplexity: every answer is written into the text, and the likeliest whole text wins.

A cloze looks at the blank alone. Here the label's words are filled in and *every* token is asked for in turn, the
others in sight: the pseudo-log-likelihood PLL = Σ_t log p(w_t | all other words) (Salazar et al. 2020, "Masked language
model scoring", §2). It suits answers of any length, idioms or endings, and costs a pass a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.soft_tokens import addressed
from labkit.fewshot.prompts.template import Mask, Template, Text
from labkit.foundations.encoder import labels_of, lm_logits, usable_length, with_labels
from labkit.foundations.heads import checked

CHUNK = 512  # masked copies in one pass


class PerplexityChoice:
    """The method: `words` maps each label, in index order, to the one text that is filled in for the {mask}.

    A label's score is the mean log-probability of the tokens of its text (all but special ones), or with
    `normalise=False` their sum. Raises UsageError for fewer than two labels or a template without exactly one {mask}.
    """

    def __init__(
        self,
        template: Template | str,
        words: Mapping[str, str],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int = 128,
        *,
        normalise: bool = True,
    ) -> None:
        self.template, self.words, self.tokenizer = Template.parse(template), dict(words), tokenizer
        if sum(isinstance(part, Mask) for part in self.template.parts) != 1 or len(self.words) < 2:
            what = f"one {{mask}} and at least two labels are needed, not {len(self.words)}"
            raise UsageError(f"template {str(self.template)!r}: {what}")
        self.max_length, self.normalise = usable_length(tokenizer, max_length), normalise
        self.filled = [
            Template(tuple(Text(word) if isinstance(part, Mask) else part for part in self.template.parts))
            for word in self.words.values()
        ]
        self.special = torch.tensor(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}))

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Each label's text, padded to one length: `input_ids`, `attention_mask`, … (batch, classes, tokens);
        "labels" (batch,).
        """
        encoded = [encode(template, rows, self.tokenizer, self.max_length) for template in self.filled]
        names = [name for name in encoded[0] if name != "mask_positions"]
        width = max(one["input_ids"].shape[1] for one in encoded)
        batch = {}
        for name in names:
            pad = self.tokenizer.pad_token_id if name == "input_ids" else 0
            parts = [F.pad(one[name], (0, width - one[name].shape[1]), value=pad) for one in encoded]
            batch[name] = torch.stack(parts, dim=1)
        return with_labels(batch, rows)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Pseudo-log-likelihood of the row with each label's text, a mean over tokens by default: (batch, classes)."""
        shape = batch["input_ids"].shape
        texts = {name: value.flatten(0, 1) for name, value in batch.items() if name != "labels"}
        scores = pseudo_log_likelihood(model, texts, self.tokenizer.mask_token_id, self.special, self.normalise)
        return scores.unflatten(0, shape[:2])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy over the label scores, a scalar in nats."""
        return F.cross_entropy(self.logits(model, batch), labels_of(batch))

    __call__ = loss

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs to answer as this does, in plain JSON values."""
        known = {"template": str(self.template), "words": self.words, "max_length": self.max_length}
        return known | {"normalise": self.normalise}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PerplexityChoice:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        kinds = {"template": str, "words": dict, "max_length": int, "normalise": bool}
        values = checked(description, kinds, ("template", "words"))
        return cls(values.pop("template"), values.pop("words"), tokenizer, **values)


def pseudo_log_likelihood(
    model: nn.Module, texts: Mapping[str, Tensor], mask_id: int, special: Tensor, normalise: bool = True
) -> Tensor:
    """Σ_t log p(w_t | the others) of each text, or its mean: `input_ids`, `attention_mask` … (texts, tokens) to
    (texts,). Ids in `special` are given, never asked for.
    """
    given = addressed(model, texts)
    ids = given["input_ids"]
    asked = texts["attention_mask"].bool() & ~torch.isin(ids, special.to(ids.device))
    if "soft_mask" in texts:
        asked = asked & ~texts["soft_mask"]
    where = asked.nonzero()  # (copies, 2): text and place
    found = []
    for some in where.split(CHUNK):
        copies = {name: value[some[:, 0]] for name, value in given.items() if value.ndim == 2 and name != "soft_mask"}
        numbers = torch.arange(len(some), device=ids.device)
        right = copies["input_ids"][numbers, some[:, 1]]
        hidden = copies["input_ids"].index_put((numbers, some[:, 1]), ids.new_tensor(mask_id))
        logits = lm_logits(model, {**copies, "input_ids": hidden}, numbers, some[:, 1])  # (copies, vocabulary)
        found.append(logits.float().log_softmax(-1)[numbers, right])
    each = torch.cat(found) if found else ids.new_zeros(0, dtype=torch.float32)
    total = each.new_zeros(len(ids)).index_add(0, where[:, 0], each)
    return total / asked.sum(1).clamp(min=1) if normalise else total
