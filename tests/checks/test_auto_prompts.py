"""What learners write in lesson 03/05 is what the library does."""

from __future__ import annotations

import torch

from labkit.fewshot.auto_prompts.label_words import likely_words
from tests.checks.solutions import solutions

SHOWN = solutions("03_fewshot/05_auto_prompts")


def test_words_are_ranked_as_in_the_library():
    scores = torch.randn(12, 20, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    labels = torch.arange(12) % 3
    library = likely_words(scores, labels, 3, torch.ones(20, dtype=torch.bool), 5)
    assert SHOWN["rank_words"](scores, labels, 5).tolist() == library
