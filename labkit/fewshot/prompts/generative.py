"""Label texts of differing lengths: "sport" beside "real estate" in one task, each scored piece by piece.

A verbalizer with fixed blanks needs words of one length, and real label sets have none: IFLYTEK's 119 names take two to
eight Chinese characters. Here every length n has its own {mask*n}, and the text's score is the mean log-probability of
its pieces: a sum would favour the short ones, for each further piece can only take away. (OpenPrompt calls verbalizers
whose answers are texts *generative*: Ding et al. 2022, "OpenPrompt", §3.2; texts over several blanks: Schick & Schütze
2021, "It's not just size that matters", §3.1.)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.evaluation import over_rows
from labkit.fewshot.pet.pet import DESCRIBED, PET, pattern_of
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.template import Mask, Template
from labkit.fewshot.prompts.verbalizer import LabelWords
from labkit.foundations.encoder import labels_of, with_labels
from labkit.foundations.heads import checked

if TYPE_CHECKING:
    from labkit.tasks import Task

ORDERS = ("at once", "left to right")


@dataclass(frozen=True)
class LabelTexts(LabelWords):
    """Label texts of any number of pieces; a label's score is the mean, max or sum over its texts, in probability.

    `order` "at once" reads all pieces off one pass, each as if the others were unknown; "left to right" fills them in
    one after another, a pass for each different beginning. `normalise` divides a text's log-probability by its pieces.
    """

    order: str = "at once"
    normalise: bool = True

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise unknown("order of pieces", self.order, ORDERS)
        super().__post_init__()

    masks = 1  # how the template names the blank: each length widens it

    @property
    def lengths(self) -> tuple[int, ...]:
        """The different numbers of pieces, smallest first."""
        return tuple(sorted({len(ids) for ids in self.ids}))

    def of_length(self, length: int) -> tuple[list[int], Tensor]:
        """The numbers of the texts with so many pieces, and their ids (texts, length)."""
        numbers = [number for number, ids in enumerate(self.ids) if len(ids) == length]
        return numbers, torch.tensor([self.ids[number] for number in numbers])

    def scores(self, log_probabilities: Tensor) -> Tensor:
        """Whole texts' log-probabilities (batch, texts), less their log prior, divided by their pieces."""
        scores = self.less_prior(log_probabilities)
        return scores / scores.new_tensor([len(ids) for ids in self.ids]) if self.normalise else scores

    def logits(self, log_probabilities: Tensor) -> Tensor:
        """Each label's score from the texts' log-probabilities: (batch, texts) to (batch, classes)."""
        return self.of_labels(self.scores(log_probabilities))

    def sets(self) -> Iterator[Tensor]:
        """Fuzzy-PET's sets: the numbers of text k of each label, (classes,); a label with fewer texts takes turns."""
        sizes = [len(words) for words in self.words.values()]
        starts = np.cumsum([0, *sizes[:-1]])
        for k in range(max(sizes)):
            yield torch.tensor([int(start) + k % size for start, size in zip(starts, sizes, strict=True)])

    def describe(self) -> dict[str, Any]:
        """The settings, in plain JSON values."""
        return super().describe() | {"order": self.order, "normalise": self.normalise}


class GenerativePET(PET):
    """PET whose label texts may have any number of pieces; the other arguments are PET's.

    The template has one {mask}, which stands for as many blanks as a text has pieces. `fuzzy` trains with every set of
    texts as Fuzzy-PET does (text k of each label is set k) and answers with their sum. With texts of one piece this is
    PET. Raises UsageError for a template that does not have exactly one {mask}, and whatever LabelTexts refuses.
    """

    verbalizer: LabelTexts  # type: ignore[assignment]

    def __init__(
        self,
        template: Template | str,
        texts: LabelTexts,
        tokenizer: PreTrainedTokenizerBase,
        *,
        fuzzy: bool = False,
        **options: Any,
    ) -> None:
        template = Template.parse(template)
        if sum(isinstance(part, Mask) for part in template.parts) != 1:
            raise UsageError(f"template {str(template)!r}: label texts of any length need exactly one {{mask}}")
        super().__init__(template.with_masks(1), texts, tokenizer, **options)  # type: ignore[arg-type]
        self.fuzzy = fuzzy
        self.templates = {length: self.template.with_masks(length) for length in self.verbalizer.lengths}

    @classmethod
    def for_task(
        cls, task: Task, tokenizer: PreTrainedTokenizerBase, pattern: int | str = 0, words: int = 1, **options: Any
    ) -> GenerativePET:
        """With the task's own pattern number `pattern` (or one of yours) and the first `words` texts of each label.

        Options are those of the class; a label without words of its own is called by its name.
        """
        if words < 1:
            raise UsageError(f"words={words}: at least one text a label is needed")
        template = Template.parse(pattern_of(task, pattern), task.fields)
        chosen = {label: tuple(task.words.get(label) or (label,))[:words] for label in task.labels}
        aggregate = "sum" if options.get("fuzzy") else "mean"
        return cls(template, LabelTexts(chosen, tokenizer, aggregate), tokenizer, **options)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """For each length n what `Template.encode` gives with n blanks, under names that begin with "n:"; "labels"."""
        batch: dict[str, Tensor] = {}
        for length, template in self.templates.items():
            encoded = encode(template, rows, self.tokenizer, self.max_length)
            batch |= {f"{length}:{name}": value for name, value in encoded.items()}
        return with_labels(batch | self.mlm_batch(len(rows), rng), rows)

    def log_probabilities(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """log p of each label text, the sum over its pieces: (batch, texts)."""
        read = _at_once if self.verbalizer.order == "at once" else _left_to_right
        columns: dict[int, Tensor] = {}
        for length in self.verbalizer.lengths:
            numbers, ids = self.verbalizer.of_length(length)
            part = {name.removeprefix(f"{length}:"): v for name, v in batch.items() if name.startswith(f"{length}:")}
            found = read(self, model, part, ids.to(part["input_ids"].device))  # (batch, texts of this length)
            columns |= dict(zip(numbers, found.unbind(1), strict=True))
        return torch.stack([columns[number] for number in range(len(columns))], dim=1)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Label scores, (batch, classes): their softmax is the answer."""
        return self.verbalizer.logits(self.log_probabilities(model, batch))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy over the label scores, with `fuzzy` its mean over the sets: a scalar in nats."""
        found, labels = self.log_probabilities(model, batch), labels_of(batch)
        if self.fuzzy:
            scores = self.verbalizer.scores(found)
            losses = [F.cross_entropy(scores[:, one.to(scores.device)], labels) for one in self.verbalizer.sets()]
        else:
            losses = [F.cross_entropy(self.verbalizer.logits(found), labels)]
        return self.with_mlm(torch.stack(losses).mean(), model, batch)

    __call__ = loss

    def calibrated(self, model: nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int = 64) -> GenerativePET:
        """The same method with each label text divided by its mean probability over `rows`; see `PET.calibrated`."""
        prior = mean_probabilities(self, model, rows, batch_size)
        calibrated = copy.copy(self)
        calibrated.verbalizer = replace(self.verbalizer, prior=prior)
        return calibrated

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> GenerativePET:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        values = checked(description, DESCRIBED | {"order": str, "normalise": bool}, ("template", "words"))
        template, length = values.pop("template"), values.pop("max_length", 128)
        return cls(template, LabelTexts(values.pop("words"), tokenizer, **values), tokenizer, max_length=length)


def mean_probabilities(
    method: Any, model: nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int = 64
) -> tuple[float, ...]:
    """The mean over `rows` of each label text's probability, by the method's `log_probabilities`; UsageError for no
    rows.
    """
    if not len(rows):
        raise UsageError("calibration needs at least one row")
    found = over_rows(model, rows, method.collate, method.log_probabilities, batch_size)
    return tuple(found.double().exp().mean(0).clamp(1e-300, 1.0).tolist())


def _at_once(method: PET, model: nn.Module, part: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    """Σ_i log p(piece i | all blanks empty): ids (texts, pieces) to (batch, texts)."""
    chances = method.mask_logits(model, part).float().log_softmax(-1)  # (batch, pieces, vocabulary)
    return chances.gather(2, ids.t().expand(len(chances), -1, -1)).sum(1)


def _left_to_right(method: PET, model: nn.Module, part: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    """Σ_i log p(piece i | pieces before it, later blanks empty): ids (texts, pieces) to (batch, texts)."""
    at, total = part["mask_positions"], 0.0  # (batch, pieces)
    for place in range(ids.shape[1]):
        beginnings = ids[:, :place].tolist()
        chances = []
        for beginning in sorted({tuple(one) for one in beginnings}):
            start = ids.new_tensor(beginning).expand(len(at), place)
            filled = part["input_ids"].scatter(1, at[:, :place], start)
            asked = {**part, "input_ids": filled, "mask_positions": at[:, place : place + 1]}
            chances.append((beginning, method.mask_logits(model, asked)[:, 0].float().log_softmax(-1)))
        table = dict(chances)
        total = total + torch.stack(
            [table[tuple(one)][:, piece] for one, piece in zip(beginnings, ids[:, place].tolist(), strict=True)], dim=1
        )
    return total  # type: ignore[return-value]
