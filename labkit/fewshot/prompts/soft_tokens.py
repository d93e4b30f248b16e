"""Soft tokens: places in a template whose vectors are trained, and are no word's.

A template names them, `{soft:it is}` or `{soft*4}`. Here the model's input embedding gets a second table beside its
own, with one row for each; token `vocabulary + k` is row k. Everything above the embedding stays as it is, so any
`transformers` encoder can have them, and taking them off gives back the very module that was there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.prompts.encoding import slots_of
from labkit.fewshot.prompts.template import Field, Meta, Soft, Template
from labkit.foundations.encoder import unwrapped
from labkit.foundations.quantised import keep_float, refuse_quantised
from labkit.lab import generator

MARK = "soft_start"  # in the model's config: the id of the first soft token


class SoftEmbedding(nn.Module):
    """The model's embedding `base`, and behind its last row a trainable table `soft.weight` (n, d).

    With an `encoder`, a module from (n, d) to (n, d), a soft token's vector is the encoder's output rather than the row
    itself (Liu et al. 2021, "GPT understands, too", §3.2: the tokens of a prompt depend on one another).
    """

    def __init__(self, base: nn.Embedding, rows: Tensor, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.base, self.encoder = base, encoder
        self.soft = nn.Embedding.from_pretrained(rows.detach().clone(), freeze=False)
        keep_float([*self.soft.modules(), *(() if encoder is None else encoder.modules())])

    @property
    def weight(self) -> Tensor:
        """The backbone's own table (vocabulary, d), to which an LM head may be tied."""
        return self.base.weight

    @property
    def num_embeddings(self) -> int:
        """The size of the backbone's vocabulary, which is the id of the first soft token."""
        return self.base.num_embeddings

    def table(self) -> Tensor:
        """The soft tokens' vectors as the model sees them: (n, d)."""
        return self.soft.weight if self.encoder is None else self.encoder(self.soft.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (batch, tokens) to vectors (batch, tokens, d)."""
        start = self.base.num_embeddings
        words = self.base(ids.clamp(max=start - 1))
        soft = self.table()[(ids - start).clamp(min=0)].to(words.dtype)
        return torch.where((ids >= start)[..., None], soft, words)


def soft_token_ids(template: Template, tokenizer: PreTrainedTokenizerBase) -> list[int | None]:
    """For each soft token of the template, in order, the id of the word it starts from; None where it has none."""
    row = {part.name: "" for part in template.parts if isinstance(part, Field | Meta)}
    slots = iter(slot for slot in slots_of(template, [row], tokenizer) if slot.kind == "soft")
    found: list[int | None] = []
    for part in template.parts:
        if isinstance(part, Soft):
            ids = next(slots).ids[0]
            found += [None] * part.count if part.init is None else ids
    return found


def attach_soft_tokens(
    model: nn.Module,
    template: Template | str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    encoder: nn.Module | None = None,
    seed: int = 0,
) -> nn.Module:
    """Give the model, in place, the soft tokens of the template; returns it.

    A token that names a word starts as the word's vector, any other as that of a word drawn at random (Lester et al.
    2021, §3.2). What trains besides is not changed here. Raises UsageError for a template without soft tokens, and for
    a model that has some already.
    """
    bare, template = unwrapped(model), Template.parse(template)
    ids = soft_token_ids(template, tokenizer)
    if not ids:
        raise UsageError(f"template {str(template)!r} has no soft tokens: write {{soft:it is}} or {{soft*4}}")
    base = bare.get_input_embeddings()
    if isinstance(base, SoftEmbedding) or getattr(bare.config, MARK, None) is not None:
        raise UsageError("the model has soft tokens already: take them off with detach_soft_tokens, or load it anew")
    drawn = torch.randint(len(tokenizer), (len(ids),), generator=generator(seed)).tolist()
    chosen = [drawn[place] if number is None else number for place, number in enumerate(ids)]
    rows = base(torch.tensor(chosen, device=base.weight.device))  # as the model sees them: Gemma's are scaled
    bare.set_input_embeddings(SoftEmbedding(base, rows, encoder).to(base.weight.device))
    setattr(bare.config, MARK, base.num_embeddings)
    return model


def detach_soft_tokens(model: nn.Module) -> nn.Module:
    """The model, in place, with its own embedding module again; UsageError where it has no soft tokens."""
    bare = unwrapped(model)
    bare.set_input_embeddings(_soft_embedding(bare).base)
    delattr(bare.config, MARK)
    return model


@torch.no_grad()
def fold_soft_tokens(model: nn.Module) -> Any:
    """A copy in which the soft tokens are the last rows of a plain, longer embedding.

    It answers the same, and plain `transformers` saves and loads it; an encoder of the soft tokens has done its work
    and is gone. UsageError where the model has no soft tokens, or is quantised.
    """
    refuse_quantised(unwrapped(model), "soft tokens cannot join the vocabulary")
    folded = copy.deepcopy(unwrapped(model))
    embedding = _soft_embedding(folded)
    rows, start = embedding.table(), embedding.num_embeddings
    folded.set_input_embeddings(embedding.base)
    folded.resize_token_embeddings(start + len(rows), mean_resizing=False)
    folded.get_input_embeddings().weight[start:] = rows / scale(embedding.base)
    return folded


def plain(model: nn.Module) -> Any:
    """A model that plain `transformers` saves: with its soft tokens folded in, or as it is where it has none."""
    return fold_soft_tokens(model) if isinstance(unwrapped(model).get_input_embeddings(), SoftEmbedding) else model


def addressed(model: nn.Module, batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """The batch with the ids of soft tokens where its "soft_mask" (batch, tokens) says so.

    For a model without them it is the batch as it is: the tokens are then the words they would start from.
    """
    start = getattr(unwrapped(model).config, MARK, None)
    if start is None or "soft_mask" not in batch:
        return batch
    mask = batch["soft_mask"]
    return {**batch, "input_ids": torch.where(mask, start - 1 + mask.long().cumsum(1), batch["input_ids"])}


def scale(embedding: nn.Module) -> float:
    """What an embedding multiplies its rows by: 1, or Gemma's √d, which transformers calls `embed_scale`."""
    return float(getattr(embedding, "embed_scale", 1.0))


def _soft_embedding(bare: Any) -> SoftEmbedding:
    embedding = bare.get_input_embeddings()
    if not isinstance(embedding, SoftEmbedding):
        raise UsageError("the model has no soft tokens: give it some with attach_soft_tokens(model, template, …)")
    return embedding
