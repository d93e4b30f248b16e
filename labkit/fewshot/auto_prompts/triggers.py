"""AutoPrompt (Shin et al. 2020): trigger words found by following the gradient, one swap at a time.

The loss changes by about (e_w − e_t)·∂L/∂e_t when the embedding e_t of trigger t becomes that of word w: one backward
pass scores every word of the vocabulary at every trigger (Ebrahimi et al. 2018, "HotFlip", eq. 4). That is only the
first order, and words are far apart, so the k best are tried truly, and the best of them is taken if the loss falls.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import eval_mode
from labkit.fewshot.auto_prompts.candidates import (
    Candidate,
    Judge,
    Search,
    balanced,
    few_rows,
    first_words,
    ranked,
    whole_words,
    word_of,
)
from labkit.fewshot.auto_prompts.infilling import Layout, masked_beam, with_words
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import pieces_of
from labkit.tasks import Task
from labkit.training.batches import to_device


def search_triggers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    triggers: int = 3,
    candidates: int = 10,
    swaps: int = 24,
    seed: int = 0,
    rows: int = 32,
) -> Search:
    """The best template of text, `triggers` words, blank and full stop, for the first label words of a few-shot task.

    The triggers start as what the model itself would write there; `swaps` times one of them, in an order drawn with
    `seed`, may become one of its `candidates` best words by first order, if that lowers the loss on at most `rows`
    training rows (one a class at least). "dev" decides among the triggers on the way and the task's first pattern. The
    model is not trained. Raises UsageError for a model without a masked-LM head, a task without dev rows or label
    words; DataError for a label without a training row.
    """
    few, words = few_rows(task), first_words(task)
    if triggers < 1 or candidates < 1 or swaps < 0:
        raise UsageError(
            f"triggers={triggers} and candidates={candidates} must be at least 1, swaps={swaps} at least 0"
        )
    judge = Judge(model, tokenizer, few)
    some = balanced(few.splits["train"], len(task.labels), rows)
    refused = [number for label in task.labels for number in pieces_of(words[label][0], tokenizer)]
    usable = whole_words(tokenizer, model.config.vocab_size)
    usable[refused] = False  # a trigger that is a label word would answer for that class
    space, stop = ("", "。") if task.language == "zh" else (" ", ".")
    layout = Layout(" ".join("{" + name + "}" for name in task.fields), stop, space)
    with eval_mode(model):  # the model's own greedy in-filling before the label words
        *_, (filled, _) = masked_beam(
            model, tokenizer, layout.skeleton(triggers, 0), with_words(some, words), usable, beam=1
        )  # fmt: skip
    start = space.join(word_of(number, tokenizer) for number in filled[0].tolist())
    opening = Template.parse(f"{layout.before}{space}{{soft:{start}}}{space}{{mask}}{space}{stop}", task.fields)
    climb = _Climb(model, judge.method(opening, words), some, usable, candidates)
    states = climb.run(swaps, random.Random(seed))
    tried: dict[str, Candidate] = {}
    for ids, loss in states:
        template = layout.template(space.join(word_of(number, tokenizer) for number in ids), "")
        tried[str(template)] = judge.try_out(template, words, evidence=-loss)
    if task.patterns:
        first = Template.parse(task.patterns[0], task.fields)
        tried[str(first)] = judge.try_out(first, words, start=True)
    return ranked(tried.values(), [loss for _, loss in states])


def first_order_scores(model: nn.Module, method: PET, batch: Mapping[str, Tensor]) -> Tensor:
    """By how much (nats) the loss of the batch would change, to first order, if a trigger became another word.

    The triggers are the {soft…} tokens of the method's template, as many in each row and the same words: (triggers,
    vocabulary). No parameter receives a gradient. Call it in eval mode.
    """
    table = model.get_input_embeddings()
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handle = table.register_forward_hook(keep)
    try:
        loss = method.loss(model, batch)
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(loss, kept[0])  # (rows, tokens, d)
    rows = len(gradient)
    slope = gradient[batch["soft_mask"]].unflatten(0, (rows, -1)).sum(0)  # (triggers, d)
    now = batch["input_ids"][batch["soft_mask"]].view(rows, -1)[0]  # (triggers,)
    weight = table.weight.detach()
    return slope @ weight.T - (slope * weight[now]).sum(1, keepdim=True)


class _Climb:
    """The triggers as they change, on one batch of training rows."""

    def __init__(
        self, model: nn.Module, method: PET, rows: Sequence[Mapping[str, Any]], usable: Tensor, candidates: int
    ) -> None:
        self.model, self.method, self.candidates = model, method, candidates
        device = next(model.parameters()).device
        self.batch = to_device(method.collate(rows), device)
        self.rows, self.usable = len(rows), usable.to(device)
        self.ids = self.batch["input_ids"][self.batch["soft_mask"]].view(self.rows, -1)[0]  # (triggers,)

    def run(self, swaps: int, rng: random.Random) -> list[tuple[list[int], float]]:
        """The triggers and their loss (nats) at the start and after each swap that was accepted."""
        with eval_mode(self.model):
            states = [(self.ids.tolist(), float(self._losses(self.ids[None])[0]))]
            order: list[int] = []
            refused = 0
            for _ in range(swaps):
                order = order or rng.sample(range(len(self.ids)), len(self.ids))
                better = self._swap(order.pop(), states[-1][1])
                refused = 0 if better else refused + 1
                if better:
                    states.append(better)
                if refused == 2 * len(self.ids):  # every trigger was in turn at least once: no swap helps
                    break
        return states

    def _swap(self, trigger: int, loss: float) -> tuple[list[int], float] | None:
        """The best true candidate for a trigger, if it is better than `loss`; it then stands there."""
        gains = first_order_scores(self.model, self.method, self._written(self.ids))[trigger]
        gains = gains.masked_fill(~self.usable, torch.inf)
        gains[self.ids[trigger]] = torch.inf
        best = gains.topk(min(self.candidates, int(self.usable.sum())), largest=False).indices
        options = self.ids.repeat(len(best), 1)
        options[:, trigger] = best
        losses = self._losses(options)
        if float(losses.min()) >= loss:
            return None
        self.ids = options[losses.argmin()]
        return self.ids.tolist(), float(losses.min())

    def _written(self, ids: Tensor) -> dict[str, Tensor]:
        """The batch with these triggers, (triggers,), in every row."""
        batch = {name: value.clone() for name, value in self.batch.items()}
        batch["input_ids"][batch["soft_mask"]] = ids.repeat(self.rows)
        return batch

    @torch.no_grad()
    def _losses(self, options: Tensor) -> Tensor:
        """The training loss (nats) with each option of triggers (options, triggers): (options,)."""
        return torch.stack([self.method.loss(self.model, self._written(ids)) for ids in options])
