"""TransPrompt: prompts that carry what similar tasks have in common (Wang et al. 2021, EMNLP, "TransPrompt").

A group of similar tasks shares one template of soft tokens and its label words. Each task has a prompt encoder of its
own, and one more, the *universal* one, serves them all; a task's prompt mixes the two (§3.1). A meta-learner is trained
on all tasks, with two means against leaning on any one: examples count by how typical they are of their class *in every
task* (prototype-based de-biasing), and answers are kept from being too sure (entropy-based de-biasing). Then it is
adapted to the task that is wanted; one that it has not seen starts from the universal prompt (§3.2).

Notable: all prompts are rows of one table of soft tokens. A model has n · (tasks + 1) of them; token k of task t is
number t · n + k, the last n are the universal prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.evaluation import evaluating
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_tokens import addressed, attach_soft_tokens, soft_token_ids
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts.ptuning import PromptEncoder, with_soft_tokens
from labkit.foundations.encoder import backbone, labels_of, lm_logits, mean_state, model_inputs, unwrapped
from labkit.training import Batches, fit
from labkit.training.batches import to_device, weight_of

if TYPE_CHECKING:
    from labkit.tasks import Task


# Which examples count


def prototype_scores(
    features: np.ndarray, tasks: Sequence[int], classes: Sequence[int], own: float = 0.5
) -> np.ndarray:
    """How typical each example is of its class, in its own task and in the others: (n,).

    s_i = ζ·cos(f_i, c[t, y]) + (1 − ζ)·mean over the other tasks u that have class y of cos(f_i, c[u, y]), where
    c[t, y] is the mean feature of class y in task t and ζ = `own`. A class that no other task has is scored by its own
    alone. `features` are (n, d). (Eq. 3; the released code has −‖f − c‖ for the cosine, and all other centroids, those
    of other classes too, in the second term.)
    """
    features, tasks, classes = np.asarray(features, np.float64), np.asarray(tasks), np.asarray(classes)
    pairs = sorted(set(zip(tasks.tolist(), classes.tolist(), strict=True)))
    centroids = np.stack([features[(tasks == t) & (classes == y)].mean(0) for t, y in pairs])  # (pairs, d)
    cosine = _unit(features) @ _unit(centroids).T  # (n, pairs)
    of_task, of_class = np.array(pairs).T
    mine = (tasks[:, None] == of_task) & (classes[:, None] == of_class)  # (n, pairs)
    others = (tasks[:, None] != of_task) & (classes[:, None] == of_class)
    near = (cosine * mine).sum(1)
    far = (cosine * others).sum(1) / others.sum(1).clip(1)
    return np.where(others.any(1), own * near + (1 - own) * far, near)


def prototype_weights(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(s / T) times n, so that the mean weight is 1: (n,). T → ∞ weighs all alike."""
    if not temperature > 0:
        raise UsageError(f"temperature={temperature}: it must be above 0")
    weight = np.exp((scores - scores.max()) / temperature)
    return weight / weight.mean()


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


# The prompts


class PromptEncoders(nn.Module):
    """Shared rows (n, d) to the prompts of every task and, last, the universal one: ((tasks + 1)·n, d).

    Task t's prompt is rows + share·universal(rows) + (1 − share)·encoder_t(rows). The last layer of each encoder starts
    at 0, so that training begins at the template's own words (the paper's begins at random vectors). `kind` is "lstm",
    the paper's BiLSTM and MLP, or "mlp".
    """

    def __init__(self, size: int, tasks: int, kind: str = "mlp", share: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise UsageError(f"share={share}: the universal encoder's part of a prompt is in [0, 1]")
        self.share = share
        self.encoders = nn.ModuleList(PromptEncoder(size, kind, seed=seed + number) for number in range(tasks))
        self.universal = PromptEncoder(size, kind, seed=seed + tasks)
        for encoder in (*self.encoders, self.universal):
            nn.init.zeros_(encoder.mlp_head[-1].weight)
            nn.init.zeros_(encoder.mlp_head[-1].bias)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) to ((tasks + 1)·n, d)."""
        common = self.universal(rows)
        mixed = [self.share * common + (1 - self.share) * encoder(rows) for encoder in self.encoders]
        return torch.cat([rows + part for part in (*mixed, common)])


class TransPrompt(PET):
    """The method for a group of tasks: rows bring "prompt", the number of theirs; without it they get that of the task
    that `asking` chose, at first the universal one.

    `tasks` names the tasks, in the order of their prompts. `weight`s of rows, where they have them, weigh their loss;
    `entropy` (λ ≥ 0) is the reward for answers that are not too sure.
    """

    def __init__(
        self,
        template: Template | str,
        verbalizer: Verbalizer,
        tokenizer: PreTrainedTokenizerBase,
        tasks: Sequence[str],
        max_length: int = 128,
        *,
        entropy: float = 0.01,
    ) -> None:
        super().__init__(with_soft_tokens(Template.parse(template)), verbalizer, tokenizer, max_length)
        if not tasks or len(set(tasks)) < len(tasks) or entropy < 0:
            raise UsageError(f"tasks {list(tasks)}, entropy={entropy}: tasks of different names are needed, and λ >= 0")
        self.tasks, self.entropy, self.prompt = tuple(tasks), entropy, len(tasks)
        self.tokens = len(soft_token_ids(self.template, tokenizer))

    @classmethod
    def for_tasks(
        cls, tasks: Sequence[Task], tokenizer: PreTrainedTokenizerBase, pattern: str | None = None, **options: Any
    ) -> TransPrompt:
        """The method for tasks of the same fields and label words, in any order; the pattern is the first task's first.

        The classes are those of the first task. UsageError where another has other words.
        """
        first = tasks[0]
        words = {label: first.words[label][0] for label in first.labels}
        template = Template.parse(pattern or first.patterns[0], first.fields)
        verbalizer = Verbalizer(words, tokenizer, spaced=template.spaced)
        method = cls(template, verbalizer, tokenizer, [task.name for task in tasks], **options)
        for task in tasks:
            method.asking(task)
        return method

    def asking(self, task: Task) -> TransPrompt:
        """The method for one task: labels in the task's order, its own prompt, or the universal one if it is not of the
        group. UsageError for a task with other fields or label words.
        """
        words = {label: (task.words.get(label) or ("",))[0] for label in task.labels}
        same = {some[0] for some in self.verbalizer.words.values()} == set(words.values())
        if not same or set(self.template.fields) - set(task.fields):
            raise UsageError(
                f"task {task.name} does not ask as its group does: it needs the same fields and label words"
            )
        chosen = copy.copy(self)
        chosen.verbalizer = Verbalizer(words, self.tokenizer, spaced=self.template.spaced)
        chosen.prompt = self.tasks.index(task.name) if task.name in self.tasks else len(self.tasks)
        return chosen

    def attach(self, model: nn.Module, kind: str = "mlp", share: float = 0.5, seed: int = 0) -> nn.Module:
        """The model, in place, with the group's prompts; all of it trains."""
        width = unwrapped(model).get_input_embeddings().weight.shape[1]
        encoders = PromptEncoders(width, len(self.tasks), kind, share, seed)
        return attach_soft_tokens(model, self.template, self.tokenizer, encoder=encoders, seed=seed)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """PET's batch, "prompt" (batch,) numbers, and "weight" (batch,), 1 where a row has none."""
        batch = super().collate(rows, rng)
        batch["prompt"] = torch.tensor([row.get("prompt", self.prompt) for row in rows])
        batch["weight"] = torch.tensor([row.get("weight", 1.0) for row in rows], dtype=torch.float32)
        batch["count:weight"] = batch["weight"]
        return batch

    def mask_logits(self, model: nn.Module, batch: Mapping[str, Tensor], words: Tensor | None = None) -> Tensor:
        """The logits for the blanks, each row behind its own prompt: (batch, masks, vocabulary), or of `words` only."""
        found = dict(addressed(model, batch))
        if found["input_ids"] is not batch["input_ids"]:
            found["input_ids"] = found["input_ids"] + batch["soft_mask"] * (batch["prompt"] * self.tokens)[:, None]
        columns = batch["mask_positions"]  # (batch, masks)
        rows = torch.arange(len(columns), device=columns.device)[:, None].expand_as(columns)
        return lm_logits(model, found, rows.reshape(-1), columns.reshape(-1), words).unflatten(0, columns.shape)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Σ w·CE / Σ w − λ·mean entropy of the answers: a scalar in nats (§3.2)."""
        logits = self.logits(model, batch)
        said = logits.log_softmax(-1)
        each = F.nll_loss(said, labels_of(batch), reduction="none")
        weight = batch["weight"]
        right = (weight * each).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        return weight_of(batch, "weight") * right + self.entropy * (said.exp() * said).sum(-1).mean()

    __call__ = loss


# Meta-training, and adaptation


def group_rows(method: TransPrompt, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The labelled "train" rows of tasks of the group, with "prompt" numbers; classes are those of the method, which a
    label's word tells.
    """
    classes = {words[0]: number for number, words in enumerate(method.verbalizer.words.values())}
    found = []
    for task in tasks:
        if task.name not in method.tasks:
            raise unknown("task of this group", task.name, method.tasks)
        of_label = [classes[words[0]] for words in method.asking(task).verbalizer.words.values()]
        rows = (row for row in task.splits["train"] if row.get("label") is not None)
        prompt = method.tasks.index(task.name)
        found += [{**row, "label": of_label[row["label"]], "prompt": prompt} for row in rows]
    return found


def features(model: nn.Module, method: PET, rows: Sequence[Mapping[str, Any]], batch_size: int = 64) -> np.ndarray:
    """The mean last state of each row in the method's template, before any prompt is learned: (n, d)."""
    body, device, parts = backbone(model), next(model.parameters()).device, []
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            batch = to_device(PET.collate(method, rows[start : start + batch_size]), device)
            states = body(**model_inputs(body, batch)).last_hidden_state  # (batch, tokens, d)
            parts.append(mean_state(states, batch["attention_mask"]).cpu())
    return torch.cat(parts).numpy()


def meta_train(
    model: PreTrainedModel,
    method: TransPrompt,
    tasks: Sequence[Task],
    *,
    steps: int = 100,
    lr: float = 1e-3,
    seed: int = 0,
    temperature: float | None = 1.0,
) -> PreTrainedModel:
    """The meta-learner: a copy of the model with the group's prompts, trained on all the tasks' "train" rows.

    `temperature` None weighs all examples alike. Weights come from the model as it is given (the released code measures
    them anew each epoch).
    """
    rows = group_rows(method, tasks)
    if temperature is not None:
        columns = [[row[name] for row in rows] for name in ("prompt", "label")]
        weights = prototype_weights(prototype_scores(features(model, method, rows), *columns), temperature)
        rows = [{**row, "weight": float(weight)} for row, weight in zip(rows, weights, strict=True)]
    trained = method.attach(copy.deepcopy(model), seed=seed)
    batches = Batches(rows, method.collate, min(16, len(rows)), seed=seed)
    fit(trained, method.loss, batches, steps=steps, lr=lr, seed=seed, progress=False)
    return trained


def adapt(
    model: PreTrainedModel, method: TransPrompt, task: Task, *, steps: int, lr: float, seed: int = 0
) -> PreTrainedModel:
    """A copy of a meta-learner, trained on one task's "train" rows alone: with the task's prompt, or, for one that it
    has not seen, the universal one.
    """
    own = method.asking(task)
    own.entropy = 0.0
    adapted, rows = copy.deepcopy(model), task.splits["train"]
    batches = Batches(rows, own.collate, min(16, len(rows)), seed=seed)
    fit(adapted, own.loss, batches, steps=steps, lr=lr, seed=seed, progress=False)
    return adapted
