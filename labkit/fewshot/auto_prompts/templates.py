"""LM-BFF's automatic templates: generate many by in-filling, keep the one that does best on the dev rows.

Gao et al. (2021, §5.2): T5 proposes about a hundred templates for the given label words, each is tried by fine-tuning,
the dev rows decide. Here the generator may also be the masked LM itself, a try need not train (`steps=0`: the untrained
cloze), and the many proposals are first ranked by their loss on the training rows, which takes seconds, not hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import eval_mode
from labkit.fewshot.auto_prompts.candidates import (
    Judge,
    Search,
    balanced,
    few_rows,
    first_words,
    ranked,
    whole_words,
)
from labkit.fewshot.auto_prompts.infilling import Filling, Layout, masked_fillings, with_words
from labkit.fewshot.auto_prompts.t5 import t5_fillings
from labkit.fewshot.prompts.template import Template
from labkit.tasks import Task

BLANKS = ((1, 1), (2, 1), (3, 1))  # words left and right of the label word that a masked LM fills in


def search_template(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    beam: int = 16,
    candidates: int = 8,
    seed: int = 0,
    generator: tuple[Any, PreTrainedTokenizerBase] | None = None,
    steps: int = 0,
    lr: float = 1e-4,
    rows: int = 32,
) -> Search:
    """The best template for the first label words of `task`, a few-shot task with "train" and "dev".

    `generator` is a T5 with its tokenizer; None: `model` fills BLANKS itself. From each layout (and number of blanks)
    come `beam` proposals, generated from and ranked by their loss on at most `rows` training rows (one a class at
    least). The best `candidates` are tried on "dev", after `steps` steps of training at `lr` with `seed`, beside the
    task's first pattern. Raises UsageError for a model without a masked-LM head, a task without dev rows or label
    words; DataError for a label without a training row.
    """
    if beam < 1 or candidates < 1 or rows < 1:
        raise UsageError(f"beam={beam}, candidates={candidates}, rows={rows}: each must be at least 1")
    few, words = few_rows(task), first_words(task)
    judge = Judge(model, tokenizer, few, steps, lr, seed)
    first = Template.parse(task.patterns[0], task.fields) if task.patterns else None
    with eval_mode(model):
        shown = with_words(balanced(few.splits["train"], len(task.labels), rows), words)
        found = propose(judge, shown, beam, generator)
        found.pop(str(first), None)
        losses = {text: -judge.measure(one, words, shown, model)[1] for text, (one, _) in found.items()}
    chosen = sorted(losses, key=lambda text: (losses[text], text))[:candidates]
    tried = [judge.try_out(found[text][0], words, evidence=found[text][1].log_probability) for text in chosen]
    if first is not None:
        tried.append(judge.try_out(first, words, start=True))
    return ranked(tried)


def layouts_of(task: Task) -> list[Layout]:
    """Gao et al.'s places for a template: after the text and before it; between the two texts of a pair.

    After both texts of a pair is ours: the words of a question about both stand there.
    """
    space = "" if task.language == "zh" else " "
    fields = ["{" + name + "}" for name in task.fields]
    if len(fields) == 1:
        return [Layout(fields[0], "", space), Layout("", fields[0], space)]
    return [Layout(fields[0], space.join(fields[1:]), space), Layout(" ".join(fields), "", space)]


def propose(
    judge: Judge,
    rows: Sequence[Mapping[str, Any]],
    beam: int,
    generator: tuple[Any, PreTrainedTokenizerBase] | None = None,
) -> dict[str, tuple[Template, Filling]]:
    """What the generator writes around the label words of `rows` (see `with_words`): text -> template and filling."""
    found: list[tuple[Layout, Filling]] = []
    layouts = layouts_of(judge.task)
    if generator is not None:
        writer, its_tokenizer = generator
        with eval_mode(writer):
            for layout in layouts:
                found += [(layout, one) for one in t5_fillings(writer, its_tokenizer, layout, rows, beam)]
    else:
        usable = whole_words(judge.tokenizer, judge.model.config.vocab_size)
        for layout in layouts:
            for count in BLANKS:
                some = masked_fillings(judge.model, judge.tokenizer, layout, count, rows, usable, beam)
                found += [(layout, one) for one in some]
    templates = [(layout.template(one.left, one.right), one) for layout, one in found]
    return {str(template): (template, one) for template, one in reversed(templates)}
