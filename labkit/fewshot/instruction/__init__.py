"""Lesson 03/07: entailment, instruction tuning, TransPrompt: what other tasks teach about a new one."""

from labkit.fewshot.instruction.tuning import (
    TaskType,
    Wording,
    check_split,
    held_out,
    instruction_tune,
    texts_of,
    zero_shot,
)

__all__ = [
    "TaskType",
    "Wording",
    "check_split",
    "held_out",
    "instruction_tune",
    "texts_of",
    "zero_shot",
]
