"""The solutions that lesson 03/07 shows do what labkit's own functions do."""

from __future__ import annotations

import torch

from labkit.fewshot.instruction import transprompt
from labkit.fewshot.instruction.multitask import shares
from tests.checks.solutions import solutions

SHOWN = solutions("03_fewshot/07_instruction")


def test_the_shares_and_the_scores_are_those_of_the_library():
    sizes = torch.tensor([2000.0, 40.0, 7.0])
    torch.testing.assert_close(SHOWN["shares"](sizes, 2.5), torch.from_numpy(shares(sizes.tolist(), 2.5)).float())
    some, tasks, classes = torch.randn(12, 4), torch.arange(12) % 3, torch.arange(12) // 3 % 2
    wanted = transprompt.prototype_scores(some.numpy(), tasks.tolist(), classes.tolist())
    torch.testing.assert_close(SHOWN["prototype_scores"](some, tasks, classes), torch.from_numpy(wanted).float())
