"""Every classification as one question: does the text say so?

A label becomes a *statement*: "[CLS] I like the movie [SEP] This indicates positive user sentiment [EOS]" is entailed,
or it is not. So tasks with other labels, other numbers of labels, one text or two, all become the same two-way task
(Alibaba PAI and DAMO's FewCLUE system, 2021; Wang et al. 2021, "Entailment as few-shot learner").

Here the judgement is a cloze, "{text} ? {mask} , {statement}", answered by "yes" or "no": the language model's own
head says whether a statement holds, so nothing is trained from zero, and an unseen task can be answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.fewshot.instruction.statements import ANSWERS, Claims, statements_of
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.foundations.encoder import labels_of, texts_of, with_labels
from labkit.foundations.heads import checked

if TYPE_CHECKING:
    from labkit.tasks import Task

Rows = Sequence[Mapping[str, Any]]
TEMPLATES = {"en": "{text} ? {mask} , {statement|whole}", "zh": "{text}？{mask}，{statement|whole}"}


class Entailment:
    """The method: a row is read once with each label's statement, and the label whose statement holds best wins.

    `statements` maps each label, in index order, to its statement (see `statements_of`, `OTHERWISE`). A label's score
    is log p("yes"), where p is the softmax over the two answers; training is the cross-entropy of the judgements, over
    all statements. Works on any masked language model; no weight is new.
    """

    def __init__(
        self,
        statements: Mapping[str, str],
        tokenizer: PreTrainedTokenizerBase,
        fields: Sequence[str] = ("text",),
        language: str = "en",
        template: Template | str | None = None,
        answers: Mapping[str, Sequence[str]] | None = None,
        max_length: int = 128,
    ) -> None:
        self.claims, self.tokenizer = Claims(statements, fields, language), tokenizer
        self.pet = judge(tokenizer, language, template, answers, max_length)

    @classmethod
    def for_task(cls, task: Task, tokenizer: PreTrainedTokenizerBase, **options: Any) -> Entailment:
        """The method for a task, with the statements of `statements_of`. Options as above."""
        return cls(statements_of(task), tokenizer, task.fields, task.language, **options)

    def collate(self, rows: Rows, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Each row with each statement, one after another: `input_ids` … (pairs, tokens); where every row has one,
        "labels" (batch,) and "right" (pairs,), whether the label that a pair states is it.
        """
        for field in self.claims.fields:
            texts_of(rows, field)  # names the row that has none
        claimed = self.claims.claimed
        batch = self.pet.collate([pair for row in rows for pair in self.claims.pairs(row, claimed)], rng)
        batch = with_labels(batch, rows)
        if "labels" in batch:
            batch["right"] = (batch["labels"][:, None] == torch.tensor(claimed)).long().flatten()
        return batch

    def judgements(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Log-probabilities of "not entailed" and "entailed" for each pair: (pairs, 2)."""
        return self.pet.logits(model, batch).log_softmax(-1)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """log p("yes") of each label's statement, (batch, classes), for a batch with all statements; for the label that
        holds otherwise, the least log p("no") of the others. Their softmax is p("yes") divided by its sum.
        """
        said = self.judgements(model, batch).unflatten(0, (-1, len(self.claims.claimed)))  # (batch, claimed, 2)
        scores = said.new_empty(len(said), len(self.claims.statements))
        scores[:] = said[..., 0].amin(1, keepdim=True)
        scores[:, list(self.claims.claimed)] = said[..., 1]
        return scores

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the judgements, right statements and wrong ones alike: a scalar in nats."""
        labels_of(batch)
        return F.nll_loss(self.judgements(model, batch), batch["right"])

    __call__ = loss

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs to answer as this does, in plain JSON values."""
        answers = {label: list(words) for label, words in self.pet.verbalizer.words.items()}
        return {
            "statements": self.claims.statements, "fields": list(self.claims.fields), "language": self.claims.language,
            "template": str(self.pet.template), "answers": answers, "max_length": self.pet.max_length,
        }  # fmt: skip

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Entailment:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        kinds = {"statements": dict, "fields": list, "language": str, "template": str, "answers": dict,
                 "max_length": int}  # fmt: skip
        values = checked(description, kinds)
        if "statements" not in values:
            raise UsageError("a method's description: 'statements' is missing")
        return cls(values.pop("statements"), tokenizer, **values)


def judge(
    tokenizer: PreTrainedTokenizerBase,
    language: str = "en",
    template: Template | str | None = None,
    answers: Mapping[str, Sequence[str]] | None = None,
    max_length: int = 128,
) -> PET:
    """PET on rows {"text", "statement"}: its two labels are "not entailed" and "entailed", said as "no" and "yes"."""
    if language not in TEMPLATES and (template is None or answers is None):
        raise unknown("language", language, TEMPLATES)
    words = Verbalizer(answers or ANSWERS[language], tokenizer)
    if len(words.labels) != 2:
        raise UsageError(f"answers {list(words.labels)}: two are needed, 'not entailed' first, then 'entailed'")
    return PET(Template.parse(template or TEMPLATES[language], ("text", "statement")), words, tokenizer, max_length)
