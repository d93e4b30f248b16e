"""TinyBERT's data augmentation: a few labelled texts become many that a teacher can be asked about.

Each word may give way to another that fits: where the word is one piece, what a masked LM would write in its place;
where it is several, the words whose embeddings are nearest (Jiao et al. 2020, §3.3 and Algorithm 1). Nobody says that
the new text has the old one's label, and nobody needs to: the teacher answers it. Notable: the words of a place are
asked for once a text, with all its other words as they are, as in the authors' code, and not after each change.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import evaluating, numbers_only
from labkit.foundations.augmentation import whole_words
from labkit.foundations.encoder import lm_logits, padding, texts_of, to_batch, usable_length

BATCH = 64


@dataclass(frozen=True)
class _Word:
    """A word of a text: the text's number and ids, where its pieces stand among them, its characters."""

    text: int
    ids: Sequence[int]
    pieces: Sequence[int]
    span: tuple[int, int]

    @property
    def own(self) -> list[int]:
        """The ids of its pieces."""
        return [self.ids[at] for at in self.pieces]


@dataclass(frozen=True)
class Place:
    """A word of a text, by its characters `start` to `end`, and what may stand there instead, the likeliest first."""

    start: int
    end: int
    candidates: tuple[str, ...]


class Augmenter:
    """More texts by a masked LM and its own word embeddings.

    Of a text's words each is replaced with the chance `share` (the paper's p_t), by one of `amount` candidates (its M)
    at random; `copies` (its N) new texts come of each row. Only words of letters or digits change. What a text becomes
    depends on the text and the seed alone. UsageError for a share outside [0, 1], numbers below 1, and a tokenizer
    without a mask token.

    >>> # more = Augmenter(masked_lm, tokenizer).rows(task.splits["train"], task.fields)
    """

    def __init__(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, *, share: float = 0.4, copies: int = 20,
        amount: int = 15, max_length: int = 128, seed: int = 0,
    ) -> None:  # fmt: skip
        if not 0 <= share <= 1 or copies < 1 or amount < 1:
            given = f"share={share}, copies={copies}, amount={amount}"
            raise UsageError(f"{given}: a share in [0, 1], and numbers of at least 1 are needed")
        if tokenizer.mask_token_id is None:
            raise UsageError(
                "data augmentation hides words, and this tokenizer has no mask token: choose one as BERT's"
            )
        self.model, self.tokenizer, self.share, self.seed = model, tokenizer, share, seed
        self.copies, self.amount, self.max_length = copies, amount, usable_length(tokenizer, max_length)
        self.table = model.get_input_embeddings().weight.detach()  # (vocabulary, d)
        self.words = torch.from_numpy(whole_words(tokenizer))  # (vocabulary,)

    def rows(self, rows: Sequence[Mapping[str, Any]], fields: Sequence[str] = ("text",)) -> list[dict[str, Any]]:
        """`copies` new rows for each: its texts changed, without its label, which the new text need not have."""
        found = {field: self.places(texts_of(rows, field)) for field in fields}
        made = []
        for number, row in enumerate(rows):
            rest = {name: value for name, value in row.items() if name not in ("label", *fields)}
            new = {field: self.varied(row[field], found[field][number]) for field in fields}
            made += [{**rest, **dict(zip(fields, texts, strict=True))} for texts in zip(*new.values(), strict=True)]
        return made

    def varied(self, text: str, places: Sequence[Place]) -> list[str]:
        """`copies` texts in which each place has changed with the chance `share`."""
        own = np.random.default_rng((self.seed, zlib.crc32(text.encode())))
        return [_replaced(text, places, own.random(len(places)) < self.share, own) for _ in range(self.copies)]

    def places(self, texts: Sequence[str]) -> list[list[Place]]:
        """The words of each text that can change, in their order, with their candidates."""
        words = [word for number, text in enumerate(texts) for word in self._words(number, text)]
        words.sort(key=lambda word: len(word.ids))  # so that little is padded
        single = [word for word in words if len(word.pieces) == 1]
        several = [word for word in words if len(word.pieces) > 1]
        found: list[list[Place]] = [[] for _ in texts]
        with evaluating(self.model):
            for some, score in ((single, self._fit), (several, self._near)):
                for start in range(0, len(some), BATCH):
                    chosen = some[start : start + BATCH]
                    for word, names in zip(chosen, self._best(chosen, score(chosen)), strict=True):
                        found[word.text].append(Place(*word.span, names))
        return [sorted(some, key=lambda place: place.start) for some in found]

    def _words(self, number: int, text: str) -> list[_Word]:
        """The words of letters or digits, as the tokenizer cuts the text into words."""
        found = self.tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=self.max_length,
                               split_special_tokens=True)  # fmt: skip
        pieces: dict[int, list[int]] = {}
        for at, word in enumerate(found.word_ids()):
            if word is not None:
                pieces.setdefault(word, []).append(at)
        offsets = found["offset_mapping"]
        spans = [(some, (offsets[some[0]][0], offsets[some[-1]][1])) for some in pieces.values()]
        return [_Word(number, found["input_ids"], some, span) for some, span in spans if text[slice(*span)].isalnum()]

    def _fit(self, words: Sequence[_Word]) -> Tensor:
        """How well each token of the vocabulary fits in each word's place: the masked LM's logits, (words, tokens)."""
        made = to_batch([word.ids for word in words], padding(self.tokenizer))
        batch = {name: torch.from_numpy(value).to(self.table.device) for name, value in made.items()}
        rows, columns = torch.arange(len(words)), torch.tensor([word.pieces[0] for word in words])
        batch["input_ids"][rows, columns] = self.tokenizer.mask_token_id
        return lm_logits(self.model, batch, rows.to(self.table.device), columns.to(self.table.device))

    def _near(self, words: Sequence[_Word]) -> Tensor:
        """Cosines of the mean of each word's pieces with every token's embedding, (words, tokens)."""
        means = torch.stack([self.table[word.own].mean(0) for word in words])
        return F.normalize(means, dim=-1) @ F.normalize(self.table, dim=-1).T

    def _best(self, words: Sequence[_Word], scores: Tensor) -> list[tuple[str, ...]]:
        """The `amount` whole words of highest score, (words, tokens), the word itself left out."""
        scores = scores[:, : len(self.words)].float().cpu().masked_fill(~self.words, -torch.inf)
        for line, word in zip(scores, words, strict=True):
            line[word.own] = -torch.inf
        best = scores.topk(min(self.amount, int(self.words.sum()) - 1))
        numbers_only(best.values.numpy(), self.model)
        return [tuple(self.tokenizer.decode([token]).strip() for token in line) for line in best.indices.tolist()]


def _replaced(text: str, places: Sequence[Place], chosen: np.ndarray, rng: np.random.Generator) -> str:
    """The text with a candidate at each chosen place, the last first, so that the places before it stay right."""
    for at in np.flatnonzero(chosen)[::-1]:
        place = places[at]
        text = text[: place.start] + rng.choice(place.candidates) + text[place.end :]
    return text
