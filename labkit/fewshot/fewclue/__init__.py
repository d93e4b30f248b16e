"""The FewCLUE system of Alibaba PAI and DAMO (2021): knowledge, many tasks, then few examples, over nine Chinese tasks.

`candidates`: a cloze whose answers are the row's own. `clozes`: how each of the nine
tasks becomes one. `system`: the stages, and what each is worth. `submission`: scores and files as FewCLUE wants them.
`intents`: a customer's intent from a few dozen sentences, the system's first use in service.
"""

from __future__ import annotations

from labkit.fewshot.fewclue.candidates import RowCandidates
from labkit.fewshot.fewclue.clozes import cloze_for
from labkit.fewshot.fewclue.intents import atis_task
from labkit.fewshot.fewclue.submission import (
    PREDICTIONS,
    nine_task_mean,
    read_submission,
    score_submission,
    write_submission,
)
from labkit.fewshot.fewclue.system import LESS_ONE, STAGES, FewClueSystem, Rates, Settings, Stage, training_view

__all__ = [
    "LESS_ONE", "PREDICTIONS", "STAGES", "FewClueSystem", "Rates", "RowCandidates", "Settings", "Stage", "atis_task",
    "cloze_for", "nine_task_mean", "read_submission", "score_submission", "training_view", "write_submission",
]  # fmt: skip
