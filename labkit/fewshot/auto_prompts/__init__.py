"""Prompts found by search instead of by hand: LM-BFF (Gao et al. 2021) and AutoPrompt (Shin et al. 2020).

`search_template` lets a language model fill in the words around a label word; `search_words` chooses the label words;
`search_triggers` swaps words along the gradient; `with_demonstrations` puts solved examples into the context. All
search on a task's "train" rows and decide on as few "dev" rows, with the hand-written prompt always among the
candidates. What they find is a template and label words like any other: give them to `PET`.
"""

from __future__ import annotations

from labkit.fewshot.auto_prompts.candidates import Candidate, Search
from labkit.fewshot.auto_prompts.demonstrations import Demonstrations, with_demonstrations
from labkit.fewshot.auto_prompts.label_words import search_words
from labkit.fewshot.auto_prompts.templates import search_template
from labkit.fewshot.auto_prompts.triggers import first_order_scores, search_triggers

__all__ = [
    "Candidate", "Demonstrations", "Search", "first_order_scores", "search_template", "search_triggers",
    "search_words", "with_demonstrations",
]  # fmt: skip
