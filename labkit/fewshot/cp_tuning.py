"""CP-Tuning: few-shot learning by contrast at the blank, without label words (Xu et al. 2022, "Making pre-trained
language models end-to-end few-shot learners with contrastive prompt tuning").

The vector with which the language model would choose a word for the blank is taken as it is: examples of one class are
pulled together, those of different classes pushed apart, and a new text gets the class of its nearest labelled
neighbour. The template's words, the same for every task ("it is"), are soft tokens; so nobody chooses words, neither
for the template nor for the classes. Masked language modelling on the text keeps the model from forgetting.
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
from labkit.evaluation import over_rows
from labkit.fewshot.prompts.at_the_blank import SHARPNESS, AtTheBlank, described
from labkit.fewshot.prompts.soft_tokens import addressed
from labkit.fewshot.prompts.template import Template
from labkit.foundations.encoder import (
    backbone,
    goes_on,
    labels_of,
    lm_states_and_logits,
    model_inputs,
    nothing,
)
from labkit.foundations.pretraining import auxiliary, mask_tokens
from labkit.training.batches import weight_of

if TYPE_CHECKING:
    from labkit.tasks import Task

RULES, FEATURES = ("nearest", "mean"), ("mask", "mean")
PROMPT = {"en": "it is", "zh": "这是"}  # [PRO], whatever the task


def pccl(features: Tensor, labels: Tensor, margin: float = 0.4, gamma: float = 64.0, k: float = 1.0) -> Tensor:
    """The pair-wise cost-sensitive contrastive loss (§3.2): a scalar.

    `features` (n, d) of length 1, `labels` (n,). For every pair s = fᵢ·fⱼ, a negative one (two classes) should lie
    below m and a positive one (one class) above 1 − m; the farther off, the more it costs:

        a_n = [s + m]₊,  a_p = [1 + m − s]₊ / k     (constants to the gradient)
        L = softplus( LSE over negatives of γ·a_n·(s − m)  +  LSE over positives of −γ·a_p·(s − (1 − m)) )

    A batch without positive pairs still pushes apart, one without negative pairs still pulls together.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise UsageError(
            f"pccl takes features (n, d) and labels (n,), not {tuple(features.shape)}, {tuple(labels.shape)}"
        )
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    with torch.autocast(features.device.type, enabled=False):  # γ would make much of bfloat16's rounding
        similarity = (features @ features.t())[first, second]  # (pairs,)
    positive = labels[first] == labels[second]
    s_p, s_n = similarity[positive], similarity[~positive]
    a_p, a_n = (1 + margin - s_p).clamp(min=0).detach() / k, (s_n + margin).clamp(min=0).detach()
    push = gamma * a_n * (s_n - margin)
    pull = -gamma * a_p * (s_p - (1 - margin))
    return F.softplus(sum(part.logsumexp(0) for part in (push, pull) if len(part)) + 0.0 * features.sum())


class CPTuning(AtTheBlank):
    """The method. `fitted` must see the labelled rows once, after training: they are what a text is compared with.

    `rule` is "nearest", the class of the nearest labelled example (as released), or "mean", that of the nearest class
    mean. `feature` "mean" compares the mean of the last states in place of the vector at the blank: for sentence
    encoders, which have no language model's head. `mlm_weight` (λ ≥ 0) adds the masked language modelling of the text's
    own words, of which a share of `mlm_probability` is hidden in the same pass. UsageError for a template without
    exactly one blank.
    """

    def __init__(
        self,
        template: Template | str,
        labels: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int = 128,
        *,
        rule: str = "nearest",
        feature: str = "mask",
        mlm_weight: float = 0.1,
        mlm_probability: float = 0.1,
    ) -> None:
        super().__init__(template, labels, tokenizer, max_length)
        if rule not in RULES:
            raise unknown("rule", rule, RULES)
        if feature not in FEATURES:
            raise unknown("feature", feature, FEATURES)
        if mlm_weight < 0 or not 0 <= mlm_probability < 1:
            found = f"mlm_weight={mlm_weight}, mlm_probability={mlm_probability}"
            raise UsageError(f"CP-Tuning needs a weight of at least 0, a share in [0, 1): {found}")
        if feature == "mean" and mlm_weight:
            raise UsageError("feature='mean' is for encoders without a language model's head: set mlm_weight=0")
        self.rule, self.feature = rule, feature
        self.mlm_weight, self.mlm_probability = mlm_weight, mlm_probability
        self.mlm = auxiliary(tokenizer) if mlm_weight and mlm_probability else None
        self.support: tuple[Tensor, Tensor] | None = None  # (n, d) and (n,), by `fitted`

    @classmethod
    def for_task(cls, task: Task, tokenizer: PreTrainedTokenizerBase, **options: Any) -> CPTuning:
        """CP-Tuning with the template that serves every task of one or two text fields; options are the class's."""
        between = "\n" if goes_on(tokenizer) else None
        return cls(universal_template(task.fields, task.language, between), task.labels, tokenizer, **options)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `Template.encode` gives, and "labels"; with `rng`, words of the texts are hidden in "input_ids" and
        named in "mlm_labels" (batch, tokens), −100 elsewhere.
        """
        batch = super().collate(rows, rng)
        if self.mlm is not None and rng is not None:
            ids = batch["input_ids"].numpy()
            kept = self.mlm.special[ids] | batch["soft_mask"].numpy()
            hidden, named = mask_tokens(
                ids, kept, rng, mask_id=self.mlm.tokenizer.mask_token_id, random_ids=self.mlm.random_ids,
                probability=self.mlm_probability, replace=self.mlm.replace,
            )  # fmt: skip
            batch |= {"input_ids": torch.from_numpy(hidden), "mlm_labels": torch.from_numpy(named)}
            batch["count:mlm"] = (batch["mlm_labels"] >= 0).sum(1)
        return batch

    def features(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """What texts are compared by, of length 1: (batch, d)."""
        return self._pass(model, batch)[0]

    def _pass(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Features (batch, d) and, for the hidden words, LM logits (words, vocabulary) and right answers (words,)."""
        if self.feature == "mean":
            return self._mean(model, batch), None, batch["input_ids"].new_zeros(0)
        columns = batch["mask_positions"][:, 0]  # (batch,)
        rows = torch.arange(len(columns), device=columns.device)
        named = batch.get("mlm_labels", torch.full_like(batch["input_ids"], -100))
        at = (named >= 0).nonzero()  # (words, 2)
        states, logits = lm_states_and_logits(
            model, addressed(model, batch), torch.cat([rows, at[:, 0]]), torch.cat([columns, at[:, 1]]),
            None if len(at) else nothing(rows),
        )  # fmt: skip
        words = None if logits is None else logits[len(rows) :]
        return F.normalize(states[: len(rows)].float(), dim=1), words, named[at[:, 0], at[:, 1]]

    def _mean(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean of the last states over the text, of length 1: (batch, d)."""
        states = backbone(model)(**model_inputs(backbone(model), addressed(model, batch))).last_hidden_state
        weight = batch["attention_mask"][..., None].to(states.dtype)  # (batch, tokens, 1)
        return F.normalize((states * weight).sum(1).float(), dim=1)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """PCCL + λ·L_MLM: a scalar."""
        features, words, answers = self._pass(model, batch)
        loss = pccl(features, labels_of(batch))
        if self.mlm is not None and len(answers):
            if words is None:
                raise UsageError("this model has no masked-LM head: set mlm_weight=0, or load it with head='mlm'")
            loss = loss + self.mlm_weight * weight_of(batch, "mlm") * F.cross_entropy(words.float(), answers)
        return loss

    __call__ = loss

    def fitted(self, model: nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int = 64) -> CPTuning:
        """Keep the features of the labelled rows; returns self. DataError where a class has no row."""
        labels = self.labels_of_all(rows, "CP-Tuning answers by its neighbours, and needs some each")
        self.support = over_rows(model, rows, self.collate, self.features, batch_size), labels
        return self

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Similarity to each class's nearest example, or to its mean, times a constant: (batch, classes)."""
        if self.support is None:
            raise UsageError("CP-Tuning compares with labelled examples: call fitted(model, rows) after training")
        features = self.features(model, batch)
        return SHARPNESS * similarities(features, *self.support, len(self.labels), self.rule)

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs to answer as this does, the examples' features among it: plain JSON values."""
        features, examples = ([], []) if self.support is None else (value.tolist() for value in self.support)
        return self.known() | {"rule": self.rule, "feature": self.feature, "features": features, "examples": examples}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> CPTuning:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        values, (features, examples) = described(description, ("features", "examples"), {"rule": str, "feature": str})
        options = {name: values[name] for name in ("rule", "feature") if name in values}
        how = cls(values["template"], values["labels"], tokenizer, values["max_length"], mlm_weight=0, **options)
        if features.numel():
            examples = examples.long()
            if features.ndim != 2 or examples.shape != features.shape[:1]:
                raise UsageError("a method's description: features must be one list of numbers for each of examples")
            if len(examples) and not (0 <= int(examples.min()) and int(examples.max()) < len(how.labels)):
                raise UsageError(f"a method's description: examples must be indices from 0 to {len(how.labels) - 1}")
            how.support = features, examples
        return how


def similarities(features: Tensor, support: Tensor, labels: Tensor, classes: int, rule: str = "nearest") -> Tensor:
    """Cosine similarity of each text to each class: features (batch, d), support (n, d), labels (n,) to (batch,
    classes). "nearest": that of the class's most similar example; "mean": that of the direction of its mean.
    """
    support, labels = support.to(features), labels.to(features.device)
    if rule == "mean":
        means = torch.stack([support[labels == number].mean(0) for number in range(classes)])
        support = F.normalize(means, dim=1)
    with torch.autocast(features.device.type, enabled=False):
        found = features @ support.t()  # (batch, n or classes)
    if rule == "mean":
        return found
    return torch.stack([found[:, labels == number].amax(1) for number in range(classes)], dim=1)


def universal_template(fields: Sequence[str], language: str = "en", between: str | None = None) -> Template:
    """The fields, with the text `between` or else a separator between, then the soft tokens "it is" and the blank."""
    space = "" if between and language == "zh" else " "  # other tokenizers look at no space
    texts = (between or " {special:sep} ").join(f"{{{name}}}" for name in fields)
    prompt, end = PROMPT.get(language, PROMPT["en"]), "。" if language == "zh" else " ."
    return Template.parse(f"{texts}{space}{{soft:{prompt}}}{space}{{mask}}{end}")
