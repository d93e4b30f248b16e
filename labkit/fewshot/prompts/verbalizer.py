"""Verbalizers: from what a language model would write in the blank to a class.

With one word v(l) a label, PET scores a label by the word's logit and takes the softmax over the labels (Schick &
Schütze 2021, "Exploiting cloze questions", §3.1). The logit and log-probability of a word differ by one number for all
words, which that softmax cancels: so scores here are log-probabilities over the whole vocabulary, and PET's formula
holds, whatever the number of words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.fewshot.prompts.spacing import text_ids
from labkit.fewshot.prompts.template import Template

Words = TypeVar("Words", bound="LabelWords")
Spelling = tuple[str, str, tuple[int, ...]]  # label, word, the word's ids
AGGREGATES = ("mean", "max", "sum")
UNSPACED = re.compile("[\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class LabelWords:
    """What `Verbalizer` and `LabelTexts` share: words of labels, of any number of pieces.

    `words` maps each label, in index order, to its words; a label's probability is the mean, max or sum of theirs.
    `prior`, as long as all words together, divides each word's probability first. `spaced` says whether a space stands
    before the words where they go; None: as their script has it. The template decides (see `placed`). Raises UsageError
    naming label, word, its pieces and the mend.
    """

    words: Mapping[str, str | Sequence[str]]
    tokenizer: PreTrainedTokenizerBase = field(repr=False, compare=False)
    aggregate: str = "mean"
    prior: Sequence[float] | None = field(default=None, kw_only=True)
    spaced: bool | None = field(default=None, compare=False, kw_only=True)
    ids: list[tuple[int, ...]] = field(init=False, repr=False, compare=False)  # of each word, labels in order
    # Numbers of the words of each class, −1 where it has fewer than others: (classes, most words).
    table: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise unknown("aggregate", self.aggregate, AGGREGATES)
        words = {label: (w,) if isinstance(w, str) else tuple(w) for label, w in self.words.items()}
        object.__setattr__(self, "words", words)
        if len(words) < 2 or not all(words.values()):
            raise UsageError(f"at least two labels are needed, and a word for each; there is {words}")
        pieces = spelled(words, self.tokenizer, self.spaced)
        self.check(pieces)
        object.__setattr__(self, "ids", [ids for _, _, ids in pieces])
        numbers = torch.arange(len(pieces)).split([len(some) for some in words.values()])
        object.__setattr__(self, "table", pad_sequence(numbers, batch_first=True, padding_value=-1))
        if self.prior is not None:
            object.__setattr__(self, "prior", tuple(self.prior))
            if len(self.prior) != len(pieces) or not all(0 < p <= 1 for p in self.prior):
                raise UsageError(f"prior: one probability in (0, 1] is needed for each of the {len(pieces)} words")

    def check(self, pieces: Sequence[Spelling]) -> None:
        """UsageError for words that cannot serve: here unknown ones, and those that are there twice."""
        for length in sorted({len(ids) for _, _, ids in pieces}):
            check_words([one for one in pieces if len(one[2]) == length], length, self.tokenizer)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in index order."""
        return tuple(self.words)

    def less_prior(self, scores: Tensor) -> Tensor:
        """Words' log-probabilities, (batch, words), less their log prior."""
        return scores if self.prior is None else scores - scores.new_tensor(self.prior).log()

    def of_labels(self, scores: Tensor) -> Tensor:
        """Log of each label's aggregated probability from those of its words: (batch, words) to (batch, classes)."""
        table = self.table.to(scores.device)
        empty = table < 0
        scores = scores[:, table.clamp(min=0)].masked_fill(empty, -math.inf)  # (batch, classes, most words)
        if self.aggregate == "max":
            return scores.amax(2)
        total = scores.logsumexp(2)
        return total if self.aggregate == "sum" else total - (~empty).sum(1).log()

    def describe(self) -> dict[str, Any]:
        """The settings, in plain JSON values."""
        prior = None if self.prior is None else list(self.prior)
        words = {label: list(w) for label, w in self.words.items()}
        return {"words": words, "aggregate": self.aggregate, "prior": prior}


@dataclass(frozen=True)
class Verbalizer(LabelWords):
    """Label words of exactly `masks` pieces of the tokenizer each.

    With several masks a word's probability is the product over its pieces, read off in one pass.
    """

    masks: int = 1

    def check(self, pieces: Sequence[Spelling]) -> None:
        """UsageError for words of other lengths too."""
        check_words(pieces, self.masks, self.tokenizer)

    @property
    def word_ids(self) -> Tensor:
        """The words' token ids, labels in order: (words, masks)."""
        return torch.tensor(self.ids)

    def word_logits(self, mask_logits: Tensor) -> Tensor:
        """Log-probability of each word, less its log prior: mask logits (batch, vocabulary) or (batch, masks,
        vocabulary) to (batch, words).
        """
        logits = mask_logits[:, None] if mask_logits.ndim == 2 else mask_logits  # (batch, masks, vocabulary)
        if logits.shape[1] != self.masks:
            raise UsageError(
                f"{logits.shape[1]} blanks for words of {self.masks} pieces: the template's {{mask*n}} must agree"
            )
        logits = logits.float()
        at = self.word_ids.to(logits.device).t().expand(len(logits), -1, -1)  # (batch, masks, words)
        scores = (logits.gather(2, at) - logits.logsumexp(2, keepdim=True)).sum(1)  # (batch, words)
        return self.less_prior(scores)

    def logits(self, mask_logits: Tensor) -> Tensor:
        """Log of each label's aggregated probability: mask logits as in `word_logits` to (batch, classes).

        The softmax of this over the classes is the answer; where words are not calibrated, its exp is probability mass
        in [0, 1].
        """
        return self.of_labels(self.word_logits(mask_logits))

    def among(self, word_logits: Tensor) -> Tensor:
        """`logits` from the logits of the words alone, (batch, words): up to one number a row, the same for all its
        classes, which the softmax that is the answer cancels. For words of one piece.
        """
        return self.of_labels(self.less_prior(word_logits.float()))

    @torch.no_grad()
    def calibrate(self, mask_logits: Tensor) -> Verbalizer:
        """The same with each word's mean probability over these blanks as its prior.

        Contextualised calibration (Hu et al. 2022, "Knowledgeable prompt-tuning"): texts without labels give
        mask logits as in `word_logits`; what the model writes whatever it reads then counts for nothing.
        """
        plain = replace(self, prior=None)
        mean = plain.word_logits(mask_logits).double().exp().mean(0).clamp(1e-30, 1.0)
        return replace(self, prior=tuple(mean.tolist()))

    def describe(self) -> dict[str, Any]:
        """The settings, in plain JSON values."""
        return super().describe() | {"masks": self.masks}


def placed(words: Words, template: Template) -> Words:
    """The words as they stand in the template: with a space before them where it has one, else without.

    Tokenizers of bytes and of pieces tell the two apart. UsageError where they then are no words for the blanks.
    """
    spaced = template.spaced
    return words if spaced in (None, words.spaced) else replace(words, spaced=spaced)


def spelled(
    words: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase, spaced: bool | None = None
) -> list[Spelling]:
    """(label, word, ids) of all words, labels in order."""
    pairs = [(label, word) for label, some in words.items() for word in some]
    found = text_ids(tokenizer, [in_text(word, spaced) for _, word in pairs])
    return [(*pair, tuple(ids)) for pair, ids in zip(pairs, found, strict=True)]


def pieces_of(word: str, tokenizer: PreTrainedTokenizerBase, spaced: bool | None = None) -> list[int]:
    """The ids of a word as it stands in a text."""
    return text_ids(tokenizer, [in_text(word, spaced)])[0]


def in_text(word: str, spaced: bool | None = None) -> str:
    """The word with the space before it, if it is `spaced`; None: unless it is Chinese or Japanese, which have none."""
    spaced = not UNSPACED.match(word) if spaced is None else spaced
    return " " + word if spaced else word


def check_words(pieces: Sequence[Spelling], masks: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """UsageError for a word of the wrong length, an unknown one, or one used twice."""
    owners: dict[tuple[int, ...], tuple[str, str]] = {}
    blanks = "{mask}" if masks == 1 else f"{{mask*{masks}}}"
    for label, word, ids in pieces:
        what = f"label {label!r}: word {word!r}"
        shown = " ".join(tokenizer.convert_ids_to_tokens(list(ids)))
        if not ids or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids):
            raise UsageError(
                f"{what} is not in the tokenizer's vocabulary (its pieces: {shown or 'none'}): choose a word that is"
            )
        if len(ids) != masks:
            widen, n = ("{mask}", "1 piece") if len(ids) == 1 else (f"{{mask*{len(ids)}}}", f"{len(ids)} pieces")
            raise UsageError(
                f"{what} is {n} of this tokenizer ({shown}), and {blanks} stands for {masks}: choose another word, "
                f"or write {widen} and only words of {n}"
            )
        if ids in owners:
            other, spelling = owners[ids]
            twice = f"label {label!r} has it twice" if other == label else f"labels {other!r} and {label!r} share it"
            same = "" if spelling == word else f" (to this tokenizer the same as {spelling!r})"
            raise UsageError(f"word {word!r}{same}: {twice}; give every label words of its own")
        owners[ids] = (label, word)
