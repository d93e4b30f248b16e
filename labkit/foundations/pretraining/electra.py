"""ELECTRA: find the replaced tokens (Clark et al. 2020).

A small masked LM, the generator, fills 15 % of the places; the discriminator says of *every* token whether it is the
original. So all tokens teach, not 15 %. The generator is trained as a masked LM, not to fool: its samples are drawn
without a gradient. Loss: L_MLM + λ·L_Disc, λ = 50 (§2). A sample that happens to be the original counts as original.
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
from labkit.foundations.encoder import model_inputs, unwrapped
from labkit.foundations.pretraining.masked import IGNORE, MaskedLM, hidden_logits
from labkit.training.batches import weight_of

ALL_HIDDEN = (1.0, 0.0, 0.0)  # every chosen token becomes [MASK] (§2); BERT's 80/10/10 has no use here


def replaced(ids: np.ndarray, where: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(inputs, labels)` for the discriminator, of the shape of `ids` (any): `samples` (n,) written at the n places
    where `where` is true; a label is 1 where a token now differs from the original, else 0.
    """
    inputs = ids.copy()
    inputs[where] = samples
    return inputs, (inputs != ids).astype(np.int64)


class Electra(nn.Module):
    """Generator and discriminator with one table of token embeddings and one of positions (§3.2, weight sharing).

    `generator` is an `ElectraForMaskedLM`, `discriminator` an `ElectraForPreTraining`, of one vocabulary and one
    embedding size. Reading tasks use the discriminator; the generator is thrown away.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        mine, theirs = (model.electra.embeddings.word_embeddings.weight.shape for model in (generator, discriminator))
        if mine != theirs:
            raise UsageError(
                f"embeddings {tuple(mine)} and {tuple(theirs)}: generator and discriminator share them, so give both "
                "the same vocab_size and embedding_size"
            )
        generator.electra.embeddings = discriminator.electra.embeddings
        generator.generator_lm_head.weight = discriminator.electra.embeddings.word_embeddings.weight
        self.generator, self.discriminator = generator, discriminator

    @property
    def config(self) -> Any:
        """The discriminator's configuration."""
        return self.discriminator.config

    @property
    def base_model(self) -> nn.Module:
        """What a classification head stands on: the discriminator's encoder."""
        return self.discriminator.electra


class ReplacedTokens:
    """The objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit; the model an `Electra`.

    The discriminator's loss is a mean over all tokens that are not padding, [CLS] and [SEP] included, as in the
    released code; these are never replaced, so they are always "original". `weight` is λ. Other settings: `MaskedLM`'s.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, weight: float = 50.0, **masking: Any) -> None:
        if weight < 0:
            raise UsageError(f"weight={weight}: λ must be 0 or more")
        self.masked, self.weight = MaskedLM(tokenizer, replace=ALL_HIDDEN, **masking), weight

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """MaskedLM's batch; what the two means are over is counted apart, in "count:hidden" and "count:real"."""
        batch = self.masked.collate(rows, rng)
        batch["count:hidden"], batch["count:real"] = batch.pop("count"), batch["attention_mask"].sum(1)
        return batch

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(generator's MLM over the hidden tokens, discriminator's over all), each a mean in nats.

        Samples come from torch's generator, which `fit` seeds.
        """
        pair = unwrapped(model)
        if not (hasattr(pair, "generator") and hasattr(pair, "discriminator")):
            raise UsageError(f"{type(pair).__name__} is no pair of generator and discriminator: use Electra(…, …)")
        logits, wanted = hidden_logits(pair.generator, batch)  # (hidden, vocabulary)
        inputs, labels = detected(batch, sampled(logits))
        fields = {"input_ids": inputs, "attention_mask": batch["attention_mask"]}
        scores = pair.discriminator(**model_inputs(pair.discriminator, fields)).logits  # (batch, tokens)
        real = batch["attention_mask"].bool()
        found = F.binary_cross_entropy_with_logits(scores[real].float(), labels[real].float())
        return F.cross_entropy(logits, wanted) if len(wanted) else logits.sum(), found

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """L_MLM + λ·L_Disc, a scalar in nats."""
        masked, found = self.losses(model, batch)
        return weight_of(batch, "hidden") * masked + self.weight * weight_of(batch, "real") * found

    __call__ = loss


@torch.no_grad()
def sampled(logits: Tensor) -> Tensor:
    """One token id from each row's distribution: (n,) of (n, vocabulary). No gradient passes."""
    return torch.multinomial(logits.softmax(-1), 1).squeeze(-1) if len(logits) else logits.new_zeros(0).long()


def detected(batch: Mapping[str, Tensor], samples: Tensor) -> tuple[Tensor, Tensor]:
    """What the discriminator reads and must say, (batch, tokens) each: `replaced` on a batch of masked tensors."""
    where = batch["labels"] != IGNORE
    original = torch.where(where, batch["labels"], batch["input_ids"])
    inputs = original.masked_scatter(where, samples)
    return inputs, (inputs != original).long()
