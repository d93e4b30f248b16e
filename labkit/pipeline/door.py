"""What can be wrong with a pipeline's input is said at the door, before anything is trained or written."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.errors import DataError, UsageError
from labkit.fewshot.methods import METHODS
from labkit.fewshot.pet import PET
from labkit.foundations.encoder import reads_left_to_right
from labkit.pipeline.settings import PipelineSettings
from labkit.tasks import Task
from labkit.training.identity import content
from labkit.zoo import Loaded, recipe

SHRUNK, OWN = (2, 32), (3, 192)  # layers and width of a student, unless the settings say


def origin(tasks: Sequence[Task], named: Loaded | None) -> dict[str, str]:
    """Hashes of what the settings only name: files and models may change between a stop and a resume."""
    found = {"rows": content([[task.labels, task.fields, task.splits, task.patterns, task.words] for task in tasks])}
    if named is not None:
        found |= {"weights": content(named.model.state_dict()), "vocabulary": content(named.tokenizer.get_vocab())}
    return found


def own_student(settings: PipelineSettings, task: Task, named: Loaded | None) -> bool:
    """Whether the student is of its own kind, or else the large model made small; raises where it can be neither."""
    left_to_right = named is not None and reads_left_to_right(named.model)
    own = settings.student == "own" or (settings.student == "auto" and left_to_right)
    if left_to_right and not own:
        raise UsageError(
            f"{settings.model} reads left to right, and only BERT's like can be made smaller: --student own"
        )
    if own and not task.splits["unlabelled"]:
        raise DataError("a student of its own learns its words from unlabelled text, and there is none: --unlabelled")
    if not own:
        _check_shrunk(settings, task, named)
    return own


def student_size(settings: PipelineSettings, own: bool) -> tuple[int, int]:
    """The student's layers and width."""
    layers, hidden = OWN if own else SHRUNK
    return settings.student_layers or layers, settings.student_hidden or hidden


def _check_shrunk(settings: PipelineSettings, task: Task, named: Loaded | None) -> None:
    """A shrunk student is no larger than what it is shrunk from."""
    if named is None:
        item = recipe(f"micro-bert-{task.language}")
        large = (item.layers, item.hidden)
    else:
        large = (named.model.config.num_hidden_layers, named.model.config.hidden_size)
    for what, size, most in zip(("layers", "hidden"), student_size(settings, False), large, strict=True):
        if size > most:
            raise UsageError(f"--student-{what} {size}: the large model has {most}, and a shrunk student no more")


def check_cloze(settings: PipelineSettings, task: Task, base: Loaded) -> None:
    """UsageError where the task's pattern and words do not suit the model's tokenizer, and the method needs them."""
    if METHODS[settings.few_shot].cloze:
        PET.for_task(task, base.tokenizer)
