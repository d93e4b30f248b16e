"""Templates by T5, which was pre-trained to fill spans and ends them itself (Gao et al. 2021, §5.2).

It reads "text <extra_id_0> word <extra_id_1>" and writes "<extra_id_0> left <extra_id_1> right <extra_id_2>". One
output is sought for all training rows: each step of the beam adds up their log-probabilities of the next token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.auto_prompts.infilling import WORD, Filling, Layout
from labkit.fewshot.prompts.encoding import fit_lengths
from labkit.fewshot.prompts.spacing import read, text_ids
from labkit.fewshot.prompts.template import Field, Template, Text
from labkit.fewshot.prompts.verbalizer import in_text
from labkit.foundations.encoder import to_batch

SENTINELS = ("<extra_id_0>", "<extra_id_1>", "<extra_id_2>")


@torch.inference_mode()
def t5_fillings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    layout: Layout,
    rows: Sequence[Mapping[str, Any]],
    beam: int,
    most: int = 8,
    max_length: int = 128,
) -> list[Filling]:
    """The `beam` best pairs of spans by a T5, best first, each of at most `most` of its tokens; rows from `with_words`.

    The probabilities of the last two sentinels, where a span ends, count too. Call it in eval mode. UsageError for a
    model or tokenizer that cannot fill spans.
    """
    sentinels, ordinary = _t5_tokens(model, tokenizer)
    sources = to_batch([_source(layout, row, tokenizer, sentinels, max_length) for row in rows], tokenizer.pad_token_id)
    device = next(model.parameters()).device
    ids, mask = (torch.from_numpy(sources[name]).to(device) for name in ("input_ids", "attention_mask"))
    states = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state  # (rows, tokens, d)
    search = _T5Beam(model, states, mask, sentinels, ordinary.to(device), most)
    found = []
    for tokens, score in search.run(beam):
        cut = tokens.index(sentinels[1])
        left, right = (tokenizer.decode(some).strip() for some in (tokens[:cut], tokens[cut + 1 : -1]))
        found.append(Filling(left, right, score))
    return found


def _t5_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], Tensor]:
    """The three sentinels' ids, and which ids are ordinary words: (vocabulary,) bool."""
    ids = tokenizer.convert_tokens_to_ids(list(SENTINELS))
    if not getattr(model.config, "is_encoder_decoder", False) or None in ids or tokenizer.unk_token_id in ids:
        raise UsageError(
            f"generator: {type(model).__name__} with {type(tokenizer).__name__} cannot fill spans: a T5 and its own "
            f"tokenizer, which has {SENTINELS[0]}, are needed"
        )
    ordinary = torch.zeros(model.config.vocab_size, dtype=torch.bool)
    ordinary[: len(tokenizer)] = True
    ordinary[[number for number in tokenizer.all_special_ids if number < len(ordinary)]] = False
    names = tokenizer.get_added_vocab()
    ordinary[[number for name, number in names.items() if name.startswith("<extra_id_")]] = False
    return ids, ordinary


def _source(
    layout: Layout, row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, sentinels: Sequence[int], limit: int
) -> list[int]:
    """What T5 reads: the layout's texts around `<extra_id_0> word <extra_id_1>`; the texts share what room there is."""

    before = read(tokenizer, [_read(layout.before, row)], first=True)[0][0]
    word, after = text_ids(tokenizer, [in_text(text) if text else "" for text in (row[WORD], _read(layout.after, row))])
    middle = [sentinels[0], *word, sentinels[1]]
    room = fit_lengths([len(before), len(after)], max(limit - len(middle) - 1, 2))
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [*before[: room[0]], *middle, *after[: room[1]], *end]


def _read(part: str, row: Mapping[str, Any]) -> str:
    """A part of a layout with the row's fields in place."""
    pieces = Template.parse(part + "{mask}").parts[:-1]
    written = (row[one.name] if isinstance(one, Field) else one.text for one in pieces if isinstance(one, Field | Text))
    return "".join(written).strip()


@dataclass
class _T5Beam:
    """Beam search over one output for many inputs, whose log-probabilities add up."""

    model: PreTrainedModel
    states: Tensor  # (rows, tokens, d)
    mask: Tensor  # (rows, tokens)
    sentinels: Sequence[int]
    ordinary: Tensor  # (vocabulary,)
    most: int

    def run(self, beam: int) -> list[tuple[list[int], float]]:
        """The best finished outputs (without the first sentinel) and their log-probabilities, best first."""
        alive: list[tuple[list[int], float]] = [([], 0.0)]
        done: list[tuple[list[int], float]] = []
        while alive:
            grown = self._grow(alive, 2 * beam)
            done += [one for one in grown if one[0][-1] == self.sentinels[2]]
            done = sorted(done, key=lambda one: -one[1])[:beam]
            alive = [one for one in grown if one[0][-1] != self.sentinels[2]][:beam]
            # A longer output is never likelier, so that nothing better can come.
            if len(done) == beam and alive and alive[0][1] <= done[-1][1]:
                break
        return done

    def _grow(self, alive: Sequence[tuple[list[int], float]], keep: int) -> list[tuple[list[int], float]]:
        """The `keep` best outputs that are one token longer."""
        size = max(1, 256 // len(self.states))
        chunks = (alive[start : start + size] for start in range(0, len(alive), size))
        gains = torch.cat([self._next([tokens for tokens, _ in some]) for some in chunks])  # (alive, vocabulary)
        allowed = torch.stack([self._allowed(tokens) for tokens, _ in alive])
        scores = torch.tensor([score for _, score in alive], dtype=torch.float64, device=gains.device)
        total = (scores[:, None] + gains).masked_fill(~allowed, -math.inf).flatten()
        values, places = total.topk(min(keep, int(allowed.sum())))
        width = gains.shape[1]
        return [
            ([*alive[place // width][0], place % width], value)
            for value, place in zip(values.tolist(), places.tolist(), strict=True)
        ]

    def _next(self, outputs: Sequence[Sequence[int]]) -> Tensor:
        """log p(next token) after each of these outputs, summed over the rows: (outputs, vocabulary) float64."""
        count, rows = len(outputs), len(self.states)
        start = [self.model.config.decoder_start_token_id, self.sentinels[0]]
        written = torch.tensor([[*start, *tokens] for tokens in outputs], device=self.states.device)
        out = self.model(
            encoder_outputs=(self.states.repeat(count, 1, 1),),
            attention_mask=self.mask.repeat(count, 1),
            decoder_input_ids=written.repeat_interleave(rows, 0),
        )
        return out.logits[:, -1].float().log_softmax(-1).unflatten(0, (count, rows)).sum(1, dtype=torch.float64)

    def _allowed(self, tokens: Sequence[int]) -> Tensor:
        """Ordinary tokens while the span has room, and the sentinel that ends it: (vocabulary,) bool."""
        second = self.sentinels[1] in tokens
        length = len(tokens) - (tokens.index(self.sentinels[1]) + 1 if second else 0)
        allowed = self.ordinary.clone() if length < self.most else torch.zeros_like(self.ordinary)
        allowed[self.sentinels[2 if second else 1]] = True
        return allowed
