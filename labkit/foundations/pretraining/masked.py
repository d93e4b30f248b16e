"""Masked language modelling: words are hidden, and the model names them.

BERT's masked language modelling (Devlin et al. 2019, §3.1): 15 % of the tokens are chosen; of these 80 % become
[MASK], 10 % a random token, 10 % stay; the model names the original. Masks are drawn anew each time a text is read
(RoBERTa, Liu et al. 2019, §4.1), or, with `fixed_masks`, once and for all, as BERT's were. A text is mostly its
commonest words, which teach least, so a token's chance may depend on its frequency.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, TrainingError, UsageError
from labkit.evaluation import evaluating
from labkit.foundations.encoder import goes_on, lm_logits, to_batch, usable_length
from labkit.foundations.pretraining.rows import TokenRows
from labkit.foundations.pretraining.shapes import IGNORE, hidden_places, widened
from labkit.tasks.text import check_whole
from labkit.training.batches import count_terms, to_device

BERT = (0.8, 0.1, 0.1)  # shares of the chosen tokens that become [MASK], become a random token, stay
CHUNK = 4096  # texts handed to the tokenizer at once: enough for all its threads, little memory


def mask_tokens(
    input_ids: np.ndarray,
    special_mask: np.ndarray,
    rng: np.random.Generator,
    *,
    mask_id: int,
    random_ids: np.ndarray,
    probability: float | np.ndarray = 0.15,
    replace: tuple[float, float, float] = BERT,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose tokens and hide them: `(inputs, labels)`, both of the shape of `input_ids` (any) and new.

    `special_mask` is true where a token must stay; `random_ids` are the tokens to draw replacements from.
    `probability` is one number or one a token id (vocabulary,). Labels are the original ids where a token was chosen,
    −100 elsewhere.
    """
    chance = probability[input_ids] if isinstance(probability, np.ndarray) else probability
    chosen = (rng.random(input_ids.shape) < chance) & ~special_mask
    labels = np.where(chosen, input_ids, IGNORE)
    where = np.flatnonzero(chosen)
    fate = rng.random(len(where))
    drawn = random_ids[rng.integers(len(random_ids), size=len(where))]
    inputs = input_ids.copy()
    flat = inputs.reshape(-1)
    hidden = np.where(fate < replace[0], mask_id, drawn)
    flat[where] = np.where(fate < replace[0] + replace[1], hidden, flat[where])
    return inputs, labels


def auxiliary(tokenizer: PreTrainedTokenizerBase) -> MaskedLM:
    """Language modelling beside another loss: BERT's; for a model that reads left to right the chosen words stay in
    sight, as they are said from the state before them.
    """
    return MaskedLM(tokenizer, replace=(0.0, 0.0, 1.0) if goes_on(tokenizer) else BERT)


def token_counts(rows: Iterable[Mapping[str, Any]], vocab_size: int, exclude: Sequence[int] = ()) -> np.ndarray:
    """How often each token id occurs in tokenised rows: (vocab_size,) int64; zero for the ids in `exclude`."""
    rows = rows if isinstance(rows, TokenRows) else TokenRows.of(row["input_ids"] for row in rows)
    counts = np.bincount(rows.ids, minlength=vocab_size)
    if len(counts) > vocab_size:
        raise UsageError(
            f"token id {len(counts) - 1} in a vocabulary of {vocab_size}: tokenise with the model's tokenizer"
        )
    counts[list(exclude)] = 0
    return counts


def frequency_weights(counts: np.ndarray, *, power: float = 0.75, cap: float = 0.5, mean: float = 0.2) -> np.ndarray:
    """Masking probability of each token, p = min(cap, c · count^−power), with c such that Σ count·p / Σ count = mean.

    `counts` is (vocabulary,), and so is the result; tokens never seen get `cap`. UsageError where no c exists.
    """
    if not (0 < mean <= cap <= 1 and power >= 0):
        raise UsageError(f"mean={mean}, cap={cap}, power={power}: 0 < mean <= cap <= 1 and power >= 0 are needed")
    seen = np.flatnonzero(counts)
    if not len(seen):
        raise UsageError("no token was counted: the corpus is empty")
    seen = seen[np.argsort(counts[seen], kind="stable")]  # rarest first: they reach the cap first
    n = counts[seen].astype(np.float64)
    weight = n**-power
    # If the k rarest are capped, the rest must make up what is missing. The right k is the first at which none of
    # the rest passes the cap.
    capped = np.concatenate([[0.0], np.cumsum(n)[:-1]])
    left = np.cumsum((n * weight)[::-1])[::-1]
    scale = (mean * n.sum() - cap * capped) / left
    k = int(np.argmax(scale * weight <= cap * (1 + 1e-12)))
    result = np.full(len(counts), cap)
    result[seen] = np.minimum(cap, scale[k] * weight)
    return result


def tokenize_corpus(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenRows:
    """Rows `{"input_ids": int32 array}` with the special tokens, cut to `max_length`. "[MASK]" in a text is plain
    text. DataError for a text with half a character.
    """
    texts, parts = list(texts), []
    for number, text in enumerate(texts, start=1):
        check_whole(text, f"text {number}")
    backend = copy.deepcopy(tokenizer.backend_tokenizer)  # whose settings are changed below
    backend.enable_truncation(usable_length(tokenizer, max_length))
    backend.no_padding()
    backend.encode_special_tokens = True
    for start in range(0, len(texts), CHUNK):
        found = backend.encode_batch_fast(texts[start : start + CHUNK])
        parts.append(TokenRows.of(one.ids for one in found))
    return TokenRows.joined(parts)


def ids_of(rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[np.ndarray]:
    """The token ids of rows that have `input_ids`, or of the rows' texts; DataError for a row with neither."""
    plain = [number for number, row in enumerate(rows) if "input_ids" not in row]
    for number in plain:
        if not isinstance(rows[number].get("text"), str):
            what = "has neither 'input_ids' nor a 'text': give every row one of the two"
            raise DataError(f"row {number + 1} of the batch {what}")
    made = iter(tokenize_corpus([rows[number]["text"] for number in plain], tokenizer, max_length))
    return [row["input_ids"] if "input_ids" in row else next(made)["input_ids"] for row in rows]


class MaskedLM:
    """The masked-LM objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit.

    Rows are `{"text": …}` or, several times faster, `{"input_ids": …}` from `tokenize_corpus`. `token_probabilities`
    (vocabulary,) gives each token its own chance (see `frequency_weights`) in place of `probability`. Special tokens
    are never chosen nor drawn. With `rng=None` the masks are the same at each call, for evaluation.

    `fixed_masks=0` is dynamic masking, as RoBERTa's. A number k gives each text k masks that depend on nothing but the
    text, one of them each time it is read: k = 1 is static masking, k = 10 what BERT did, whose data held every text
    ten times.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        probability: float = 0.15,
        token_probabilities: np.ndarray | None = None,
        replace: tuple[float, float, float] = BERT,
        max_length: int = 128,
        fixed_masks: int = 0,
    ) -> None:
        if fixed_masks < 0:
            raise UsageError(f"fixed_masks={fixed_masks}: 0 for new masks each time, or how many each text has")
        if tokenizer.mask_token_id is None and replace[0]:
            raise UsageError(f"{type(tokenizer).__name__} has no mask token: masked language modelling needs one")
        if min(replace) < 0 or not math.isclose(sum(replace), 1):
            raise UsageError(f"replace={replace}: three shares that sum to 1 are needed")
        size = len(tokenizer)
        chances = np.full(size, probability) if token_probabilities is None else np.asarray(token_probabilities, float)
        if chances.shape != (size,) or not ((chances >= 0) & (chances <= 1)).all():
            raise UsageError(f"one masking probability in [0, 1] is needed for each of the tokenizer's {size} tokens")
        self.tokenizer, self.replace, self.max_length = tokenizer, replace, max_length
        self.special = np.zeros(size, dtype=bool)
        self.special[tokenizer.all_special_ids] = True
        self.random_ids = np.flatnonzero(~self.special)
        self.chances, self.fixed_masks = chances, fixed_masks

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `labels` (batch, tokens), and `count` (batch,).

        They are padded to the longest row, and beyond it to one of few lengths (see `shapes`), `max_length` at most.
        `count` is the number of hidden tokens of each row, over which the loss is a mean.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        batch = to_batch(ids_of(rows, self.tokenizer, self.max_length), self.tokenizer.pad_token_id)
        batch["input_ids"], labels = self.hide(batch["input_ids"], batch["attention_mask"], rng)
        most = min(self.max_length, self.tokenizer.model_max_length)
        batch = widened(batch | {"labels": labels}, most, input_ids=self.tokenizer.pad_token_id, labels=IGNORE)
        batch["count"] = (labels != IGNORE).sum(1)
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def hide(
        self, ids: np.ndarray, attention_mask: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """`(inputs, labels)` as of `mask_tokens`, of ids (…, tokens); with fixed masks, (batch, tokens) and the
        attention mask, which tells a text from its padding.
        """
        if not self.fixed_masks or attention_mask is None:
            return self._draw(ids, rng)
        inputs, labels = ids.copy(), np.full(ids.shape, IGNORE, dtype=ids.dtype)
        which = rng.integers(self.fixed_masks, size=len(ids))
        for number, real in enumerate(attention_mask.astype(bool)):
            text = ids[number, real]
            own = np.random.default_rng((zlib.crc32(text.tobytes()), which[number]))
            inputs[number, real], labels[number, real] = self._draw(text, own)
        return inputs, labels

    def _draw(
        self, ids: np.ndarray, rng: np.random.Generator, chances: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return mask_tokens(
            ids, self.special[ids], rng, mask_id=self.tokenizer.mask_token_id, random_ids=self.random_ids,
            probability=self.chances if chances is None else chances, replace=self.replace,
        )  # fmt: skip

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy over the hidden tokens, a scalar in nats; 0 where none is hidden."""
        logits, wanted = hidden_logits(model, batch)
        return F.cross_entropy(logits, wanted) if len(wanted) else logits.sum()

    __call__ = loss


def hidden_logits(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (n, vocabulary) of the hidden tokens in reading order, and their labels (n,); n is one of few sizes, and
    at the end stand as many labels −100 as that takes (see `hidden_places`).
    """
    rows, columns, wanted = hidden_places(batch["labels"])
    return lm_logits(model, batch, rows, columns).float(), wanted


def mean_loss(
    model: nn.Module, objective: Any, rows: Sequence[Mapping[str, Any]], *, batch_size: int = 64, seed: int = 0
) -> float:
    """Mean cross-entropy per token asked for, in nats, by any objective here whose batches `count` them; what is drawn
    depends on `seed` alone. The model's mode is restored.
    """
    device = next(model.parameters()).device
    nats, tokens = 0.0, 0.0
    with evaluating(model):
        for number, start in enumerate(range(0, len(rows), batch_size)):
            batch = objective.collate(rows[start : start + batch_size], np.random.default_rng((seed, number)))
            asked = count_terms(batch)
            nats += objective.loss(model, to_device(batch, device)).item() * asked if asked else 0.0
            tokens += asked
    if not math.isfinite(nats):
        raise TrainingError("the model's probabilities are no numbers: load or train it anew")
    if not tokens:
        raise UsageError(f"no token of these {len(rows)} rows was hidden: give more rows")
    return nats / tokens
