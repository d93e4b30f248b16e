"""What lesson 03/08 lets learners write, against labkit's own parts of the FewCLUE system."""

from __future__ import annotations

import numpy as np
import torch

from labkit import load_task
from labkit.checks import fewclue
from labkit.fewshot.instruction.statements import entailment_rows, statements_of
from labkit.fewshot.pet import PET
from labkit.zoo import load


def test_scores_are_those_of_the_verbalizer():
    task, tokenizer = load_task("world/intents-zh"), load("mini-bert-zh").tokenizer
    words = PET.for_task(task, tokenizer, words=3, aggregate="sum").verbalizer
    logits = torch.randn(4, words.masks, len(tokenizer), generator=torch.Generator().manual_seed(0)) * 3
    found = fewclue.word_scores.answer(logits, words.word_ids)
    torch.testing.assert_close(found, words.word_logits(logits))
    owner = torch.tensor([number for number, some in enumerate(words.words.values()) for _ in some])
    torch.testing.assert_close(fewclue.class_scores.answer(found, owner), words.logits(logits))


def test_rows_to_judge_are_those_of_the_multi_task_stage():
    task, rng = load_task("world/fewclue/eprstmt").few_shot(2, seed=0), np.random.default_rng(0)
    said = list(statements_of(task).values())  # of two labels the wrong one is no choice
    found = [pair for row in task.splits["train"] for pair in fewclue.judgements.answer(row, said, rng)]
    theirs = [{key: pair[key] for key in ("statement", "label")} for pair in entailment_rows(task, rng)]
    assert [{key: pair[key] for key in ("statement", "label")} for pair in found] == theirs


