"""Guidance beside the text: an encoder of its own reads what is asked for, and the decoder looks there first (Dou et
al. 2021, *GSum: a general framework for guided neural abstractive summarization*, §3).

Each layer of the decoder attends to what it has written, then to the guidance, then to the text. The prefix, which is
the simpler way, puts the guidance before the text, where one encoder reads both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.evaluation import eval_mode
from labkit.foundations.encoder import padding, to_batch
from labkit.foundations.pretraining.shapes import IGNORE
from labkit.foundations.transformer.attention import MultiHead, Sight, padding_mask
from labkit.foundations.transformer.transformer import Layer, Model, Settings, Stack

Two = tuple[Tensor, Tensor]


class GuidedLayer(Layer):
    """A decoder's layer that looks at the guidance before it looks at the text."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, crossed=True)
        self.guide, self.norm_guide = (
            MultiHead(settings.d, settings.heads, settings.bias, settings.scaled),
            settings.make_norm(),
        )

    def forward(self, x: Tensor, sight: Sight, memory: Two, other: tuple[Sight, Sight]) -> Tensor:  # type: ignore[override]
        """As `Layer`; `memory` and `other` are those of the guidance and of the text."""
        x = self._add(x, self.norm_attend, lambda x: self.attend(x, x, sight))
        x = self._add(x, self.norm_guide, lambda x: self.guide(x, memory[0], other[0]))
        x = self._add(x, self.norm_cross, lambda x: self.cross(x, memory[1], other[1]))
        return self._add(x, self.norm_mlp, self.mlp)


class GuidedEncoderDecoder(Model):
    """An encoder–decoder with a second encoder, for the guidance; one table of embeddings for all three."""

    def __init__(self, settings: Settings) -> None:
        decoder = Stack(settings, True, crossed=True)
        decoder.layers = nn.ModuleList(GuidedLayer(settings) for _ in range(settings.layers))
        super().__init__(settings, encoder=Stack(settings, False), guide=Stack(settings, False), decoder=decoder)

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor,
        guide_ids: Tensor, guide_mask: Tensor,
    ) -> Tensor:  # fmt: skip
        """Ids of the text, of what is written, of the guidance, (batch, tokens) each, and 1 at real tokens, to logits
        (batch, written, vocabulary).
        """
        memory = self.guide(self.embed(guide_ids), guide_mask), self.encoder(self.embed(input_ids), attention_mask)
        other = Sight(padding_mask(guide_mask)), Sight(padding_mask(attention_mask))
        return self.logits(self.decoder(self.embed(decoder_input_ids), None, memory, other))


class Guided:
    """The method: rows `{text, guide, label}`, the model one of the two encoder–decoders.

    An `EncoderDecoder` reads the guidance as a prefix of the text, [SEP] between; an empty one is none.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: nn.Module) -> None:
        self.tokenizer, self.apart = tokenizer, isinstance(model, GuidedEncoderDecoder)

    def read(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """What the model reads of the rows: `input_ids`, `attention_mask`, and `guide_ids`, `guide_mask`."""
        texts, guides = ([row[name] for row in rows] for name in ("text", "guide"))
        if not self.apart:
            pairs = [(guide, text) if guide else (text,) for guide, text in zip(guides, texts, strict=True)]
            return self._padded([self.tokenizer(*pair)["input_ids"] for pair in pairs])
        read = self._padded(self.tokenizer(texts)["input_ids"])
        asked = self._padded(self.tokenizer(guides)["input_ids"])
        return read | {"guide_ids": asked["input_ids"], "guide_mask": asked["attention_mask"]}

    def _padded(self, ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(one) for name, one in to_batch(ids, padding(self.tokenizer)).items()}

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`read`, with `decoder_input_ids` and `labels` (batch, written), −100 at padding; [CLS] begins, [SEP] ends."""
        written = self._padded(self.tokenizer([row["label"] for row in rows])["input_ids"])
        labels = written["input_ids"].masked_fill(written["attention_mask"] == 0, IGNORE)[:, 1:]
        return self.read(rows) | {
            "decoder_input_ids": written["input_ids"][:, :-1], "labels": labels, "count": (labels != IGNORE).sum(1),
        }  # fmt: skip

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, a mean over the tokens that are written, in nats."""
        logits = model(**{name: value for name, value in batch.items() if name not in ("labels", "count")})
        return F.cross_entropy(logits.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=IGNORE)

    __call__ = loss

    @torch.no_grad()
    def write(self, model: nn.Module, rows: Sequence[Mapping[str, Any]], most: int = 24) -> list[str]:
        """The texts that greedy choice writes for the rows, `most` tokens at most."""
        read, begin = self.read(rows), self.tokenizer.cls_token_id
        written = torch.full((len(rows), 1), begin)
        with eval_mode(model):
            for _ in range(most):
                written = torch.cat([written, model(decoder_input_ids=written, **read)[:, -1].argmax(-1)[:, None]], 1)
        ends = (written == self.tokenizer.sep_token_id).long().cumsum(1) > 0
        shown = written.masked_fill(ends, padding(self.tokenizer))
        return self.tokenizer.batch_decode(shown, skip_special_tokens=True, clean_up_tokenization_spaces=False)
