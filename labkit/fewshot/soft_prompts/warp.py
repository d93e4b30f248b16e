"""WARP: word-level adversarial reprogramming (Hambardzumyan et al. 2021).

The model is frozen. Trained are the vectors of a soft template, and one vector θ_c a class: where PET compares the
blank with the label word's row of the LM head, WARP compares it with the class's own vector, s_c = θ_c · f(h), with
f(h) what the head has made of the blank's hidden state just before words are compared with it (§3). The θ_c start as
their label words' embeddings.
Both kinds of vectors are rows of one table behind the vocabulary, so that a folded model holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.at_the_blank import states_at_the_blank
from labkit.fewshot.prompts.soft_tokens import (
    MARK,
    attach_soft_tokens,
    detach_soft_tokens,
    scale,
    soft_token_ids,
)
from labkit.fewshot.prompts.template import Soft, Template
from labkit.fewshot.prompts.verbalizer import Verbalizer, in_text
from labkit.fewshot.soft_prompts.attached import freeze
from labkit.fewshot.soft_prompts.ptuning import with_soft_tokens
from labkit.foundations.encoder import unwrapped
from labkit.foundations.quantised import set_training_flags


class WARP(PET):
    """A PET with a soft template and a trained vector a class in place of label words.

    A template without {soft…} is softened, as in P-tuning, unless `soften` is False: then the classes' vectors train
    alone. The verbalizer names the classes and the word, its first, that each class's vector starts from. One blank,
    and words of one piece: UsageError for others.
    """

    def __init__(
        self,
        template: Template | str,
        verbalizer: Verbalizer,
        tokenizer: PreTrainedTokenizerBase,
        *args: Any,
        soften: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> None:
        template = with_soft_tokens(Template.parse(template)) if soften else template
        super().__init__(template, verbalizer, tokenizer, *args, **options)
        if self.template.masks != 1:
            raise UsageError(f"WARP reads one blank, and template {str(self.template)!r} has {self.template.masks}")
        self.soften, self.seed = soften, seed
        self.soft_tokens = len(soft_token_ids(self.template, tokenizer))

    def attach(self, model: nn.Module) -> nn.Module:
        """The model, in place, frozen, with a trainable table (soft tokens + classes, d)."""
        before = freeze(model)
        words = [some[0] for some in self.verbalizer.words.values()]
        labels = tuple(Soft(init=in_text(word, self.template.spaced)) for word in words)
        try:
            attach_soft_tokens(model, Template(self.template.parts + labels), self.tokenizer, seed=self.seed)
        except UsageError:
            set_training_flags(unwrapped(model), before)
            raise
        unwrapped(model).get_input_embeddings().trained = before
        return model

    def detach(self, model: nn.Module) -> nn.Module:
        """The model, in place, as it was before `attach`."""
        before = getattr(unwrapped(model).get_input_embeddings(), "trained", {})
        set_training_flags(unwrapped(detach_soft_tokens(model)), before)
        return model

    def label_vectors(self, model: nn.Module) -> Tensor:
        """The θ of the classes in order: (classes, d). UsageError for a model without them."""
        start, embedding = getattr(unwrapped(model).config, MARK, None), unwrapped(model).get_input_embeddings()
        if start is None:
            raise UsageError("the model has no label vectors: give it some with WARP's attach(model)")
        classes = len(self.verbalizer.labels)
        first = start + self.soft_tokens
        vectors = embedding(torch.arange(first, first + classes, device=unwrapped(model).device))
        return vectors / scale(getattr(embedding, "base", embedding))  # as the LM head has words

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """s_c = θ_c · f(h): (batch, classes)."""
        return states_at_the_blank(model, batch) @ self.label_vectors(model).float().T

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs, in plain JSON values."""
        return {**super().describe(), "soften": self.soften}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> WARP:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        values = dict(description)
        soften = values.pop("soften", True)
        if not isinstance(soften, bool):
            raise UsageError(f"a method's description: 'soften' cannot be {soften!r:.60}")
        pet = PET.from_description(values, tokenizer)
        return cls(pet.template, pet.verbalizer, tokenizer, pet.max_length, soften=soften)
