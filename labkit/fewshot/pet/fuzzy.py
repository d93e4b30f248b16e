"""Fuzzy-PET: several sets of label words at once, so that no single choice of words decides.

PET stands and falls with the words somebody picked. Here a class has several, in sets: {good / bad}, {great / awful}, …
Each example is trained with every set, as PET trains it with its one; the answer adds up the probabilities of all of a
class's words (the *fuzzy verbalizer* of the system that won FewCLUE for Alibaba PAI and DAMO, 2021). One set is PET.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.pet.pet import PET
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.foundations.encoder import labels_of

if TYPE_CHECKING:
    from labkit.tasks import Task

Words = Mapping[str, str | Sequence[str]]


class FuzzyPET(PET):
    """PET over several sets of label words; each maps every label to its word or words.

    A word may stand in several sets, for the same label. The other arguments are PET's. Once trained, it answers as a
    PET with the sum of all words, and is saved as one. Raises UsageError for sets that name other labels, and for
    whatever PET and Verbalizer refuse.
    """

    def __init__(
        self,
        template: Template | str,
        sets: Sequence[Words],
        tokenizer: PreTrainedTokenizerBase,
        masks: int = 1,
        **options: Any,
    ) -> None:
        if not sets:
            raise UsageError("Fuzzy-PET needs at least one set of label words")
        spaced = Template.parse(template).spaced
        self.sets = [Verbalizer(words, tokenizer, masks=masks, spaced=spaced) for words in sets]
        union = Verbalizer(_union(self.sets), tokenizer, "sum", masks, spaced=spaced)
        super().__init__(template, union, tokenizer, **options)

    @classmethod
    def for_task(
        cls, task: Task, tokenizer: PreTrainedTokenizerBase, pattern: int | str = 0, words: int = 3, **options: Any
    ) -> FuzzyPET:
        """The task's pattern number `pattern`, and `words` sets: set i has word number i of each label.

        A label with fewer words uses them in turn. Options are PET's.
        """
        whole = PET.for_task(task, tokenizer, pattern, words)  # checks pattern and words, and sets the number of blanks
        most = max(len(some) for some in whole.verbalizer.words.values())
        sets = [{label: some[n % len(some)] for label, some in whole.verbalizer.words.items()} for n in range(most)]
        return cls(whole.template, sets, tokenizer, whole.verbalizer.masks, **options)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """PET's loss with each set, averaged over the sets: a scalar in nats."""
        blanks, labels = self.mask_logits(model, batch), labels_of(batch)
        losses = [F.cross_entropy(one.logits(blanks), labels) for one in self.sets]
        return self.with_mlm(torch.stack(losses).mean(), model, batch)

    __call__ = loss


def _union(sets: Sequence[Verbalizer]) -> dict[str, list[str]]:
    """Label -> the words of all sets, each once."""
    labels = sets[0].labels
    for number, one in enumerate(sets, start=1):
        if one.labels != labels:
            raise UsageError(
                f"set {number} of label words is for {', '.join(one.labels)}; the first, for {', '.join(labels)}"
            )
    return {label: list(dict.fromkeys(word for one in sets for word in one.words[label])) for label in labels}
