"""Lesson 03/07: entailment, instruction tuning, TransPrompt: what other tasks teach about a new one."""

from labkit.fewshot.instruction.tuning import (
    Instructed,
    Split,
    TaskType,
    Wording,
    ask,
    check_split,
    held_out,
    instruction_tune,
    leaks,
    stack,
    texts_of,
    zero_shot,
)

__all__ = [
    "Instructed",
    "Split",
    "TaskType",
    "Wording",
    "ask",
    "check_split",
    "held_out",
    "instruction_tune",
    "leaks",
    "stack",
    "texts_of",
    "zero_shot",
]
