"""The teaching world: a small generated universe in English and Chinese that every lesson shares.

A knowledge graph, text that speaks of it, and tasks with the shapes of the real ones, all drawn from one frozen
`World` of dials. Being generated, it knows its own answers: each task states its chance level and the best score any
reader could reach. Pictures and speech belong to module 05 and will be drawn here too (`pictures.py`, `speech.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit.world import cases, clinical, dialogue, extraction, fewclue, news, pairs, reading, reviews
from labkit.world.corpus import GENRES, corpus, drill, judging_words
from labkit.world.settings import LANGUAGES, VERSION, World

# The eight English tasks shaped like SST-2, MR, CR, SUBJ, MRPC, QQP, QNLI and RTE are among the reviews and the
# pairs; the nine of the micro-FewCLUE are called "fewclue/…", and so stand here once.
TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    name: build
    for tasks in (
        reviews.TASKS,
        pairs.TASKS,
        news.TASKS,
        dialogue.TASKS,
        reading.TASKS,
        extraction.TASKS,
        clinical.TASKS,
        cases.TASKS,
        fewclue.TASKS,
    )
    for name, build in tasks.items()
    if f"fewclue/{name}" not in fewclue.TASKS
}

__all__ = ["GENRES", "LANGUAGES", "TASKS", "VERSION", "World", "corpus", "drill", "judging_words"]
