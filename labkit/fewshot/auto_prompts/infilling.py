"""Templates by in-filling (Gao et al. 2021, §5.2): which words around the label words fit all training rows at once?

A layout says where the words go: before and after the label word, after or before the text. For every training row the
label word of its class stands in place, and a beam search looks for the one template T with the largest
Σ over rows of log P(T | row), a sum over tokens.

- T5 was trained to fill spans: it writes both, of any length, and ends them itself. The paper's generator: `t5.py`.
- A masked LM fills a fixed number of blanks, here from left to right, the rest still blank: log P is the sum of
  log p(token | row, tokens chosen before, blanks). Such conditionals belong to no one joint distribution, so this is a
  *pseudo*-log-probability; and templates of different lengths cannot be compared by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.fewshot.auto_prompts.candidates import Words, word_of
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.template import Template
from labkit.foundations.encoder import lm_logits

WORD = "label word"  # the key under which a row carries the word of its class


@dataclass(frozen=True)
class Layout:
    """Where a template's words go: `before` + left words + blank + right words + `after`, both in template grammar."""

    before: str
    after: str = ""
    space: str = " "  # between words; nothing in Chinese

    def template(self, left: str, right: str) -> Template:
        """The layout with these words, whose braces are text."""
        words = [some.replace("{", "{{").replace("}", "}}") for some in (left, right)]
        return self._joined(words[0], "{mask}", words[1])

    def skeleton(self, left: int, right: int) -> Template:
        """The layout with so many blanks on either side of the row's label word."""
        blanks = ["" if not count else f"{{mask*{count}}}" for count in (left, right)]
        return self._joined(blanks[0], f"{{meta:{WORD}}}", blanks[1])

    def _joined(self, *middle: str) -> Template:
        parts = [part for part in (self.before.strip(), *middle, self.after.strip()) if part]
        return Template.parse(self.space.join(parts))


@dataclass(frozen=True)
class Filling:
    """Words left and right of the label word, and their log-probability: nats, summed over rows and tokens."""

    left: str
    right: str
    log_probability: float


def with_words(rows: Sequence[Mapping[str, Any]], words: Words) -> list[dict[str, Any]]:
    """The rows, each with the first word of its class; `words` has those of all classes, in order."""
    first = [some[0] for some in words.values()]
    return [{**row, WORD: first[row["label"]]} for row in rows]


@torch.inference_mode()
def masked_beam(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    rows: Sequence[Mapping[str, Any]],
    usable: Tensor,
    beam: int,
    max_length: int = 128,
    batch_size: int = 256,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Fill the template's blanks from left to right: after each, the best `beam` fillings so far.

    `usable` (vocabulary,) says which tokens may stand in one. Gives (fillings (found, blanks filled) of ids, their
    summed log-probabilities (found,) in nats), best first. Call it in eval mode.
    """
    device = next(model.parameters()).device
    encoded = {name: value.to(device) for name, value in encode(template, rows, tokenizer, max_length).items()}
    places = encoded["mask_positions"]  # (rows, blanks)
    filled = torch.zeros(1, 0, dtype=torch.long, device=device)
    scores = torch.zeros(1, dtype=torch.float64, device=device)
    refused = ~usable.to(device)
    for blank in range(places.shape[1]):
        gains = torch.cat(
            [
                _next_word(model, encoded, places, some, blank)
                for some in filled.split(max(1, batch_size // len(places)))
            ]
        )  # (found, vocabulary)
        total = (scores[:, None] + gains).masked_fill(refused, -math.inf).flatten()
        scores, best = total.topk(min(beam, len(filled) * int(usable.sum())))
        width = gains.shape[1]
        filled = torch.cat([filled[best // width], (best % width)[:, None]], dim=1)
        yield filled, scores


def _next_word(model: nn.Module, encoded: Mapping[str, Tensor], places: Tensor, filled: Tensor, blank: int) -> Tensor:
    """log p(word in blank number `blank`), summed over the rows, for each filling so far: (found, vocabulary)."""
    count, rows = len(filled), len(places)
    ids = encoded["input_ids"].repeat(count, 1, 1)  # (found, rows, tokens)
    for number in range(blank):
        ids[:, torch.arange(rows, device=ids.device), places[:, number]] = filled[:, number, None]
    others = {name: encoded[name].repeat(count, 1) for name in ("attention_mask", "token_type_ids") if name in encoded}
    batch = {"input_ids": ids.flatten(0, 1), **others}
    every = torch.arange(count * rows, device=ids.device)
    logits = lm_logits(model, batch, every, places[:, blank].repeat(count)).float()
    return logits.log_softmax(1).unflatten(0, (count, rows)).sum(1, dtype=torch.float64)


def masked_fillings(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    layout: Layout,
    blanks: tuple[int, int],
    rows: Sequence[Mapping[str, Any]],
    usable: Tensor,
    beam: int,
) -> list[Filling]:
    """The `beam` best fillings of `blanks` (left, right) blanks by a masked LM, best first; rows from `with_words`."""
    *_, (filled, scores) = masked_beam(model, tokenizer, layout.skeleton(*blanks), rows, usable, beam)
    words = [[word_of(number, tokenizer) for number in ids] for ids in filled.tolist()]
    join = layout.space.join
    return [
        Filling(join(some[: blanks[0]]), join(some[blanks[0] :]), score)
        for some, score in zip(words, scores.tolist(), strict=True)
    ]
