"""The soft verbalizer: label vectors that are trained, where a label word's own vector stood.

The LM head scores word w at the blank by h · e_w + b_w: h is the vector at the blank, e_w the word's row of the output
embedding. Nothing says that the row must be a word's. Give each label a free vector v_l, train it, and nobody needs to
find the right word (Hambardzumyan et al. 2021, "WARP: Word-level Adversarial ReProgramming", §3.1). A label that has
words starts as their mean, so that training begins at PET; one that has none starts at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.prompts.at_the_blank import AtTheBlank, described, states_at_the_blank
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import pieces_of
from labkit.foundations.encoder import labels_of, unwrapped
from labkit.foundations.quantised import keep_float
from labkit.lab import generator

NAME = "label_vectors"  # of the module that `attach` gives the model


class SoftVerbalizer(AtTheBlank):
    """The method: one trained vector and bias a label, on the vector at the blank.

    `attach` gives the model the vectors, which then train with it; `fitted` takes them off it again and keeps them, so
    that the model is saved as the plain model it is. `words` (label to words of one or more pieces) say where they
    start. Raises UsageError for a template without exactly one blank.
    """

    def __init__(
        self,
        template: Template | str,
        labels: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int = 128,
        *,
        words: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        super().__init__(template, labels, tokenizer, max_length)
        self.words = {label: (w,) if isinstance(w, str) else tuple(w) for label, w in (words or {}).items()}
        if stray := sorted(set(self.words) - set(self.labels)):
            raise UsageError(f"words for {', '.join(map(repr, stray))}: the labels are {', '.join(self.labels)}")
        self.vectors: tuple[Tensor, Tensor] | None = None  # (classes, d) and (classes,), by `fitted`

    def attach(self, model: nn.Module, *, seed: int = 0) -> nn.Module:
        """Give the model, in place, the label vectors, which train with it. Returns the model.

        Vectors without words are drawn from N(0, s²) with the s of the output embedding's rows. UsageError for a model
        that has label vectors already, or no LM head.
        """
        bare = unwrapped(model)
        if hasattr(bare, NAME):
            raise UsageError("the model has label vectors already: take them off with detach(model)")
        head = bare.get_output_embeddings()
        if head is None:
            raise UsageError(f"{type(bare).__name__} has no LM head: load the model with head='mlm'")
        weight, bias = self._start(head, generator(seed))
        layer = nn.Linear(weight.shape[1], len(weight), device=weight.device, dtype=weight.dtype)
        layer.load_state_dict({"weight": weight, "bias": bias})
        keep_float([layer])
        setattr(bare, NAME, layer)
        return model

    @torch.no_grad()
    def _start(self, head: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The vectors (classes, d) and biases (classes,) before training."""
        table, bias = head.weight, getattr(head, "bias", None)
        weight = torch.randn(len(self.labels), table.shape[1], generator=generator).to(table) * table.std()
        start = weight.new_zeros(len(weight))
        for number, label in enumerate(self.labels):
            ids = [piece for word in self.words.get(label, ()) for piece in pieces_of(word, self.tokenizer)]
            if ids:
                weight[number] = table[ids].mean(0)
                start[number] = 0.0 if bias is None else bias[ids].mean()
        return weight, start

    @staticmethod
    def detach(model: nn.Module) -> nn.Module:
        """The model, in place, without label vectors."""
        if not hasattr(unwrapped(model), NAME):
            raise UsageError("the model has no label vectors: give it some with attach(model)")
        delattr(unwrapped(model), NAME)
        return model

    def fitted(self, model: nn.Module, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take the vectors off the model and keep them; rows are not read."""
        layer = getattr(unwrapped(model), NAME, None)
        if layer is None:
            raise UsageError("the model has no label vectors: attach(model) before training, fitted(model) after")
        self.vectors = layer.weight.detach().float().cpu(), layer.bias.detach().float().cpu()
        self.detach(model)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """h · v_l + b_l: (batch, classes)."""
        states, layer = states_at_the_blank(model, batch), getattr(unwrapped(model), NAME, None)
        if layer is not None:
            return layer(states.to(layer.weight.dtype)).float()
        if self.vectors is None:
            raise UsageError("no label vectors: call attach(model) before training")
        weight, bias = (value.to(states) for value in self.vectors)
        return F.linear(states, weight, bias)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, a scalar in nats."""
        return F.cross_entropy(self.logits(model, batch), labels_of(batch))

    __call__ = loss

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs to answer as this does, the vectors among it: plain JSON values."""
        weight, bias = ([], []) if self.vectors is None else (value.tolist() for value in self.vectors)
        return self.known() | {"vectors": weight, "bias": bias}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> SoftVerbalizer:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        values, (weight, bias) = described(description, ("vectors", "bias"))
        how = cls(values["template"], values["labels"], tokenizer, values["max_length"])
        if weight.numel():
            if weight.ndim != 2 or len(weight) != len(how.labels) or bias.shape != weight.shape[:1]:
                raise UsageError("a method's description: one vector and one bias are needed for each label")
            how.vectors = weight, bias
        return how
