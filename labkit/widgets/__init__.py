"""The interactive figures of the lessons: one file a figure, a pure compute() and draw() in a thin shell.

A figure carries the name of its file, `labkit.widgets.model_tree`; it is imported when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = [
    "Shown",
    "access_pattern",
    "attention_heads",
    "collectives",
    "course_map",
    "decoding_steps",
    "delta_tree",
    "elastic_sizes",
    "embedding_map",
    "entity_stream",
    "fact_gates",
    "feature_space",
    "graph_explorer",
    "injection",
    "label_words",
    "lstm_gates",
    "masking_explorer",
    "memory_bar",
    "memory_scheduler",
    "model_tree",
    "pipeline_schedule",
    "prompt_explorer",
    "pruned_weights",
    "rank_map",
    "retrieval_bench",
    "soft_prompt_neighbours",
    "task_mixture",
    "template_playground",
    "template_search",
    "ternary_threshold",
    "training_curve",
]

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from labkit.widgets.access_pattern import access_pattern
    from labkit.widgets.attention_heads import attention_heads
    from labkit.widgets.collectives import collectives
    from labkit.widgets.course_map import course_map
    from labkit.widgets.decoding_steps import decoding_steps
    from labkit.widgets.delta_tree import delta_tree
    from labkit.widgets.elastic_sizes import elastic_sizes
    from labkit.widgets.embedding_map import embedding_map
    from labkit.widgets.entity_stream import entity_stream
    from labkit.widgets.fact_gates import fact_gates
    from labkit.widgets.feature_space import feature_space
    from labkit.widgets.graph_explorer import graph_explorer
    from labkit.widgets.injection import injection
    from labkit.widgets.label_words import label_words
    from labkit.widgets.lstm_gates import lstm_gates
    from labkit.widgets.masking_explorer import masking_explorer
    from labkit.widgets.memory_bar import memory_bar
    from labkit.widgets.memory_scheduler import memory_scheduler
    from labkit.widgets.model_tree import model_tree
    from labkit.widgets.pipeline_schedule import pipeline_schedule
    from labkit.widgets.prompt_explorer import prompt_explorer
    from labkit.widgets.pruned_weights import pruned_weights
    from labkit.widgets.rank_map import rank_map
    from labkit.widgets.retrieval_bench import retrieval_bench
    from labkit.widgets.shown import Shown
    from labkit.widgets.soft_prompt_neighbours import soft_prompt_neighbours
    from labkit.widgets.task_mixture import task_mixture
    from labkit.widgets.template_playground import template_playground
    from labkit.widgets.template_search import template_search
    from labkit.widgets.ternary_threshold import ternary_threshold
    from labkit.widgets.training_curve import training_curve


def __getattr__(name: str) -> Any:
    """Import an export on first use; afterwards it is an ordinary attribute."""
    if name not in __all__:
        raise AttributeError(f"module 'labkit.widgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"labkit.widgets.{name.lower()}"), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package, in which a name is the figure's, although importing its file would make it the file's."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
