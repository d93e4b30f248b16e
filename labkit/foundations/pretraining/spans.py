"""T5's span corruption (Raffel et al. 2020, §3.1.4 and §3.3.4): whole spans vanish, and a decoder writes them.

    text     thank you for inviting me to your party last week
    input    thank you <extra_id_0> me to your party <extra_id_1> week
    target   <extra_id_0> for inviting <extra_id_1> last <extra_id_2>

15 % of the tokens, in spans of 3 on average. A sentinel marks each gap and, in the target, what belongs there; one more
closes it. Targets are short, so a decoder costs little. Nothing is lost: `restore_spans` inverts it exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AddedToken, PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.foundations.encoder import model_inputs, to_batch, unwrapped
from labkit.foundations.pretraining.masked import IGNORE, ids_of

SENTINEL = "<extra_id_{}>"  # T5's own name for sentinel number {}


def span_mask(length: int, rng: np.random.Generator, *, density: float = 0.15, mean_span: float = 3.0) -> np.ndarray:
    """Which tokens vanish: (length,) bool, round(density · length) of them, but at least 1 and never all.

    They stand in round(hidden / mean_span) spans, at least 1, which never touch. The lengths of spans and gaps are
    drawn evenly. Unlike in the released code, where every text begins with a kept and ends with a hidden token, a
    text may begin and end with either. DataError below 2 tokens, UsageError for settings that cannot be.
    """
    if not (0 < density < 1 and mean_span >= 1):
        raise UsageError(f"density={density}, mean_span={mean_span}: a share between 0 and 1 and a length from 1 on")
    if length < 2:
        raise DataError(f"a text of {length} tokens: one must be hidden and one stay, so it needs 2")
    hidden = min(max(round(density * length), 1), length - 1)
    kept = length - hidden
    spans = min(max(round(hidden / mean_span), 1), hidden, kept + 1)
    inside = _parts(hidden, spans, rng)
    # The first and the last of the spans + 1 gaps may be empty: draw each one longer, then take that one back.
    gaps = _parts(kept + 2, spans + 1, rng)
    gaps[0] -= 1
    gaps[-1] -= 1
    lengths = np.empty(2 * spans + 1, dtype=np.int64)
    lengths[0::2], lengths[1::2] = gaps, inside
    return np.repeat(np.arange(2 * spans + 1) % 2 == 1, lengths)


def _parts(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`total` cut into `count` parts of at least 1, each way of cutting equally likely."""
    cuts = np.sort(rng.choice(total - 1, size=count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def corrupt_spans(
    ids: np.ndarray,
    rng: np.random.Generator,
    sentinels: Sequence[int],
    *,
    density: float = 0.15,
    mean_span: float = 3.0,
) -> tuple[np.ndarray, np.ndarray]:
    """`(inputs, targets)` of one text `ids` (tokens,): see the example above. No end-of-text mark is added.

    `sentinels` are used in their order. DataError where the text itself holds one, UsageError where they run out.
    """
    ids = np.asarray(ids)
    hidden = span_mask(len(ids), rng, density=density, mean_span=mean_span)
    if np.isin(ids, sentinels).any():
        raise DataError("the text holds a sentinel itself, so its gaps could not be told: take it out of the text")
    opens = np.flatnonzero(hidden & ~np.concatenate([[False], hidden[:-1]]))  # where spans begin
    if len(opens) + 1 > len(sentinels):
        raise UsageError(
            f"{len(opens)} spans need {len(opens) + 1} sentinels, the vocabulary has {len(sentinels)}: "
            "with_sentinels(tokenizer, count) adds some; or use shorter texts or longer spans"
        )
    marks = np.asarray(sentinels)[: len(opens) + 1]
    inputs, visible = ids.copy(), ~hidden
    inputs[opens], visible[opens] = marks[:-1], True
    # In the target each span stands behind its mark; the last mark closes it.
    spans = np.split(ids[hidden], np.cumsum([hidden[a:b].sum() for a, b in zip(opens, opens[1:], strict=False)]))
    parts = [np.concatenate([[mark], span]) for mark, span in zip(marks, spans, strict=False)]
    return inputs[visible], np.concatenate([*parts, marks[-1:]]).astype(ids.dtype)


def restore_spans(inputs: np.ndarray, targets: np.ndarray, sentinels: Sequence[int]) -> np.ndarray:
    """The text again: each sentinel of `inputs` gives way to what stands behind it in `targets`. DataError where the
    two do not belong together.
    """
    places = np.flatnonzero(np.isin(targets, sentinels))
    found = {int(targets[a]): targets[a + 1 : b] for a, b in zip(places, [*places[1:], len(targets)], strict=True)}
    gaps = [int(token) for token in inputs if token in set(sentinels)]
    if gaps != list(found)[: len(gaps)] or not len(gaps):
        raise DataError(f"gaps {gaps} in the input, spans {list(found)} in the target: they are not of one text")
    wanted = set(gaps)
    parts = [found[int(token)] if int(token) in wanted else np.array([token]) for token in inputs]
    return np.concatenate(parts).astype(inputs.dtype)


def with_sentinels(tokenizer: PreTrainedTokenizerBase, count: int = 20) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer that knows T5's first `count` sentinels, as special tokens at the end of its vocabulary.

    Give the model `len(tokenizer)` embeddings. What is there already stays.
    """
    if count < 2:
        raise UsageError(f"count={count}: one span needs two sentinels")
    tokenizer = copy.deepcopy(tokenizer)
    tokens = [AddedToken(SENTINEL.format(number), special=True, normalized=False) for number in range(count)]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    return tokenizer


def sentinels_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of <extra_id_0>, <extra_id_1>, … as far as the vocabulary has them; UsageError below two."""
    vocabulary, found = tokenizer.get_vocab(), []
    while (at := vocabulary.get(SENTINEL.format(len(found)))) is not None:
        found.append(at)
    if len(found) < 2:
        raise UsageError(
            f"{type(tokenizer).__name__} has {len(found)} sentinels (<extra_id_0>, …), one span needs 2: "
            "with_sentinels(tokenizer) adds some"
        )
    return found


class SpanCorruption:
    """The objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit; the model an encoder–decoder.

    Rows are `{"input_ids": …}` of `tokenize_corpus`, or `{"text": …}`. Special tokens around a text stay in the input;
    the target ends with the tokenizer's end token ([SEP] where it has no other).
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, density: float = 0.15, mean_span: float = 3.0,
        max_length: int = 128,
    ) -> None:  # fmt: skip
        self.tokenizer, self.max_length = tokenizer, max_length
        self.sentinels, self.density, self.mean_span = sentinels_of(tokenizer), density, mean_span
        self.end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        if self.end is None or tokenizer.pad_token_id is None:
            raise UsageError(f"{type(tokenizer).__name__} has no end or no padding token: a decoder needs both")
        span_mask(2, np.random.default_rng(0), density=density, mean_span=mean_span)  # are the settings sound?

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (batch, tokens); `labels` (batch, target tokens); `count` (batch,), how many.

        DataError or UsageError naming the row where a text is too short, or has more gaps than there are sentinels.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        sequences = ids_of(rows, self.tokenizer, self.max_length)
        pairs = [self._corrupt(number, ids, rng) for number, ids in enumerate(sequences, start=1)]
        batch = to_batch([inputs for inputs, _ in pairs], self.tokenizer.pad_token_id)
        labels = to_batch([targets for _, targets in pairs], IGNORE)["input_ids"]
        batch |= {"labels": labels, "count": (labels != IGNORE).sum(1)}
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def _corrupt(self, number: int, ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        plain = np.flatnonzero(~np.isin(ids, [self.tokenizer.cls_token_id, self.tokenizer.sep_token_id, self.end]))
        low, high = (plain[0], plain[-1] + 1) if len(plain) else (0, 0)
        try:
            inputs, targets = corrupt_spans(
                ids[low:high], rng, self.sentinels, density=self.density, mean_span=self.mean_span
            )
        except (DataError, UsageError) as error:
            mend = "; leave such rows out" if high - low < 2 else ""
            raise type(error)(f"row {number} of the batch: field 'input_ids': {error}{mend}") from error
        return np.concatenate([ids[:low], inputs, ids[high:]]), np.append(targets, self.end)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the target's tokens, each read with those before it: a scalar in nats."""
        bare = unwrapped(model)
        if not getattr(bare.config, "is_encoder_decoder", False):
            raise UsageError(f"{type(bare).__name__} has no decoder: use T5ForConditionalGeneration or its like")
        before = bare.prepare_decoder_input_ids_from_labels(batch["labels"])
        logits = model(**model_inputs(model, batch), decoder_input_ids=before).logits  # (batch, targets, vocabulary)
        asked = batch["labels"] != IGNORE
        return F.cross_entropy(logits[asked].float(), batch["labels"][asked])

    __call__ = loss
