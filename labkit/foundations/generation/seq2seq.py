"""Writing a text from a text: encoder-decoders (Sutskever et al. 2014), trained on pairs, answered by beam search.

Any encoder-decoder of transformers will do, and so will an encoder: `encoder_decoder` starts both halves from it, with
new cross-attention in between (Rothe et al. 2020, Leveraging pre-trained checkpoints, "BERT2BERT").
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from labkit.errors import UsageError
from labkit.foundations.encoder import (
    backbone,
    labels_of,
    model_inputs,
    padding,
    positions_of,
    texts_of,
    to_batch,
    unwrapped,
)
from labkit.foundations.heads import Described
from labkit.foundations.native import native_head
from labkit.foundations.pretraining.shapes import IGNORE
from labkit.lab import seeded
from labkit.tasks.rouge import rouge, words_of

CJK = "\u3000-\u303f\u3400-\u9fff\uff00-\uffef"
BLANK = re.compile(rf"(?<=[{CJK}])\s+|\s+(?=[{CJK}])")  # which decoding puts beside Chinese characters


def encoder_decoder(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, seed: int | None = None
) -> PreTrainedModel:
    """A copy of an encoder-decoder as it is, or one whose halves are both copies of `model`, an encoder with LM head.

    The cross-attention is drawn from `seed`, or torch's own state. Raises UsageError for an architecture that cannot
    decode in transformers.
    """
    bare = unwrapped(model)
    if bare.config.is_encoder_decoder:
        return copy.deepcopy(bare)
    encoder = native_head(bare, "body", seed=seed)
    settings = copy.deepcopy(encoder.config)
    settings.is_decoder = settings.add_cross_attention = True
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, settings)
    start, end = (_first(tokenizer, *names) for names in (("cls", "bos"), ("sep", "eos")))
    config.decoder_start_token_id, config.eos_token_id = start, end
    config.pad_token_id, config.vocab_size = padding(tokenizer), settings.vocab_size
    try:
        with seeded(seed):
            made = EncoderDecoderModel(config=config, decoder=AutoModelForCausalLM.from_config(settings))
    except ValueError as error:
        kind = type(bare).__name__
        raise UsageError(f"a {kind} cannot decode in transformers: choose a BERT, or a T5 or BART") from error
    made.encoder.load_state_dict(encoder.state_dict())
    lost = made.decoder.load_state_dict(bare.state_dict(), strict=False).missing_keys
    if other := [name for name in lost if "crossattention" not in name]:
        raise UsageError(f"{type(bare).__name__}: its decoder would lack {other[0]}: load it with its language model")
    if getattr(made.encoder, "pooler", None) is not None:
        made.encoder.pooler.requires_grad_(False)  # nothing reads it
    parameter = next(bare.parameters())
    return made.to(parameter.device, parameter.dtype).train(bare.training)


def _first(tokenizer: PreTrainedTokenizerBase, *names: str) -> int:
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
    if (token := next((one for one in found if one is not None), None)) is None:
        raise UsageError(f"the tokenizer has no token {' or '.join(names)}, between which a text is written")
    return token


class Generation(Described):
    """The method of writing: a row's fields are read, its label, a text, is written. An answer is a list of texts, the
    best first, `num_return_sequences` of them.

    Lengths count tokens, special ones included; `start` is the token before the first that is written.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, start: int, fields: Sequence[str] = ("text",), *,
        max_encoder_length: int = 128, min_decoder_length: int = 1, max_decoder_length: int = 32,
        no_repeat_ngram_size: int = 0, num_beams: int = 4, num_return_sequences: int = 1,
    ) -> None:  # fmt: skip
        if not 0 <= min_decoder_length <= max_decoder_length or max_decoder_length < 3 or max_encoder_length < 4:
            given = f"min_decoder_length={min_decoder_length}, max_decoder_length={max_decoder_length}"
            raise UsageError(f"{given}: the least must not be above the most, 3 tokens, nor max_encoder_length below 4")
        if not 1 <= num_return_sequences <= num_beams or no_repeat_ngram_size < 0:
            given = f"num_beams={num_beams}, num_return_sequences={num_return_sequences}"
            raise UsageError(f"{given}: from 1 to as many texts as beams are returned, and no_repeat_ngram_size >= 0")
        self.tokenizer, self.start, self.fields = tokenizer, start, tuple(fields)
        self.max_encoder_length = min(max_encoder_length, tokenizer.model_max_length)
        self.min_decoder_length = min_decoder_length
        self.max_decoder_length = min(max_decoder_length, tokenizer.model_max_length)
        self.no_repeat_ngram_size, self.num_beams = no_repeat_ngram_size, num_beams
        self.num_return_sequences = num_return_sequences

    @classmethod
    def of(
        cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str], **options: Any
    ) -> Generation:
        """The method for an encoder-decoder `model`, whose own generation settings become those of the method: its
        `generate` writes the same without labkit.
        """
        theirs = model.generation_config
        named = (getattr(one, "decoder_start_token_id", None) for one in (model.config, theirs))
        if (start := next((one for one in named if one is not None), None)) is None:
            raise UsageError(f"the {type(model).__name__} names no decoder_start_token_id: choose another model")
        for side in ("encoder", "decoder"):
            if (most := positions_of(getattr(model, side, None) and backbone(getattr(model, side)))) is not None:
                options[f"max_{side}_length"] = min(options.get(f"max_{side}_length", most), most)
        made = cls(tokenizer, start, fields, **options)
        theirs.update(**made.settings(), forced_eos_token_id=None, early_stopping=made.num_beams > 1)
        return made

    def settings(self) -> dict[str, Any]:
        """What `generate` is given."""
        return {
            "max_length": self.max_decoder_length, "min_length": self.min_decoder_length, "max_new_tokens": None,
            "no_repeat_ngram_size": self.no_repeat_ngram_size, "num_beams": self.num_beams, "do_sample": False,
            "num_return_sequences": self.num_return_sequences, "decoder_start_token_id": self.start,
            "eos_token_id": _first(self.tokenizer, "sep", "eos"), "pad_token_id": padding(self.tokenizer),
            "use_cache": True,
        }  # fmt: skip

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (batch, tokens); `labels` (batch, written tokens), and `count`, how many."""
        texts = [texts_of(rows, field) for field in self.fields]
        batch = to_batch(self._encoded(self.max_encoder_length, *texts), padding(self.tokenizer))
        if rows and all(row.get("label") is not None for row in rows):
            written = self._encoded(self.max_decoder_length, texts_of(rows, "label"))
            # What the decoder is started with is not written.
            batch["labels"] = to_batch([ids[int(ids[:1] == [self.start]) :] for ids in written], IGNORE)["input_ids"]
            batch["count"] = (batch["labels"] != IGNORE).sum(1)
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def _encoded(self, most: int, *texts: list[str]) -> list[list[int]]:
        options = {"truncation": True, "max_length": most, "split_special_tokens": True, "return_attention_mask": False}
        return self.tokenizer(*texts, **options)["input_ids"]

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the written tokens, a scalar in nats."""
        labels = labels_of(batch)
        before = F.pad(labels, (1, -1), value=self.start)  # each token is said from those before it
        before = before.masked_fill(before == IGNORE, padding(self.tokenizer))
        logits = model(**model_inputs(model, batch), decoder_input_ids=before).logits  # (batch, written, vocabulary)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE)

    __call__ = loss

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Any]) -> list[list[str]]:
        """The texts of each row, the best first."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        found = unwrapped(model).generate(**inputs, **self.settings())  # (rows · texts, tokens)
        texts = self.tokenizer.batch_decode(found, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        texts = [BLANK.sub("", text).strip() for text in texts]
        each = self.num_return_sequences
        return [texts[at : at + each] for at in range(0, len(texts), each)]

    def score(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Sequence[str]]) -> dict[str, float]:
        """`rouge_1`, `rouge_2`, `rouge_l` and `exact_match` (of all words, case aside) of the best, in [0, 1]."""
        wanted, given = [row["label"] for row in rows], [answer[0] for answer in answers]
        same = [words_of(one) == words_of(other) for one, other in zip(wanted, given, strict=True)]
        return {**rouge(wanted, given), "exact_match": sum(same) / len(same)}
