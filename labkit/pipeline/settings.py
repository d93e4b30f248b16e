"""What a pipeline is to do: its settings, and the few-shot task of each seed.

What can be wrong with them is said at the door, before anything is trained or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from labkit.compression.compose import check_order, parse
from labkit.config import COUNT, SOME, check
from labkit.errors import DataError, UsageError
from labkit.fewshot.methods import METHODS, method_name
from labkit.fewshot.pet import PET
from labkit.foundations.encoder import reads_left_to_right
from labkit.pipeline.overlap import clean
from labkit.tasks import Task, load_task
from labkit.training.identity import content
from labkit.zoo import Loaded, recipe

SHRUNK, OWN = (1, 32), (3, 192)  # layers and width of a student, unless the settings say


@dataclass(frozen=True)
class PipelineSettings:
    """What to run. `model=None` pre-trains a micro BERT from scratch; `splits` fills `{split}` in the task's name, a
    seed each.
    """

    model: str | None = None
    task: str = "world/reviews"
    schema: str | None = None
    unlabelled: str | None = None
    splits: tuple[str, ...] = ()
    pattern: str | None = None  # cloze template, where the task brings none: "{text} it was {mask} ."
    words: tuple[str, ...] = ()  # its label words: ("0=bad", "1=good,great")
    few_shot: str = (
        "PET"  # the method of stage 2, one of labkit.fewshot.methods.METHODS; the default is the best measured
    )
    shots: Annotated[int, COUNT] = 16
    seeds: Annotated[int, COUNT] = 3
    out: str = "runs/pipeline"
    resume: bool = False
    few_shot_steps: Annotated[int, COUNT] = 60
    student: Literal["auto", "shrunk", "own"] = "auto"  # the teacher made small, or a BERT with a vocabulary of its own
    student_layers: Annotated[int | None, COUNT] = None  # 1, or 3 for an own student
    student_hidden: Annotated[int | None, COUNT] = None  # 32, or 192 for an own student
    student_vocabulary: Annotated[int, COUNT] = 8000  # an own student's WordPiece pieces, at most
    student_steps: Annotated[int, SOME] = 1500  # its steps of masked language modelling before it is taught
    distil_epochs: Annotated[int, COUNT] = 12
    compose: str | None = None  # passes of `labkit.compression.compose` that the student goes through
    unlabelled_rows: Annotated[int, SOME] = 8000  # at most this many unlabelled texts are used
    test_rows: Annotated[int, COUNT] = 1000
    head_steps: Annotated[int, COUNT] = 400  # for a model without a masked-LM head: steps that train one
    knowledge_steps: Annotated[int, SOME] = 0  # of pre-training with the world's graph beside its text, after the rest

    def __post_init__(self) -> None:
        check(self)
        if self.splits and len(self.splits) != self.seeds:
            raise UsageError(f"--splits names {len(self.splits)} splits for --seeds {self.seeds}: give one a seed")
        if self.knowledge_steps and self.model:
            raise UsageError(f"--knowledge-steps goes on from a model that is pre-trained here, not {self.model}")
        object.__setattr__(self, "few_shot", method_name(self.few_shot))
        if self.compose is not None:
            check_order(parse(self.compose), taught_elsewhere=True)


def few_shot_task(settings: PipelineSettings, seed: int) -> Task:
    """The task of one seed: `shots` examples a class, unlabelled text, a bounded test split, and a cloze."""
    name = settings.task.replace("{split}", settings.splits[seed]) if settings.splits else settings.task
    options: dict[str, Any] = {"schema": settings.schema, "unlabelled": settings.unlabelled}
    if name.startswith("fewclue:"):
        options["split"] = seed % 5
    task = load_task(name, **{key: value for key, value in options.items() if value is not None})
    if "test" not in task.splits:
        raise DataError(f"{name}: the pipeline needs a test split (for tables: TRAIN,DEV or TRAIN,DEV,TEST)")
    few = with_cloze(task, settings).few_shot(settings.shots, seed)
    unlabelled, note = few.splits["unlabelled"], ""
    # Text from elsewhere may hold the test; the world's own, drawn from patterns, only seems to.
    if settings.unlabelled:
        unlabelled, note = clean(unlabelled, few.splits["test"], few.fields)
    # One name for all seeds, whichever split each reads: they are one task in the table.
    whole = replace(few, name=settings.task, splits={**few.splits, "unlabelled": unlabelled}).with_note(note)
    return whole.limited("test", settings.test_rows).limited("unlabelled", settings.unlabelled_rows)


def with_cloze(task: Task, settings: PipelineSettings) -> Task:
    """The task with the pattern and label words of the settings, where they are given; UsageError where the few-shot
    method needs some and there are none.
    """
    words = dict(entry.partition("=")[::2] for entry in settings.words)
    task = replace(
        task,
        patterns=(settings.pattern,) if settings.pattern else task.patterns,
        words={label: tuple(text.split(",")) for label, text in words.items()} or task.words,
    )
    if METHODS[settings.few_shot].cloze and (not task.patterns or set(task.words) != set(task.labels)):
        fields = " ".join(f"{{{name}}}" for name in task.fields)
        pairs = " ".join(f"{label}=…" for label in task.labels)
        raise UsageError(
            f"{task.name} has no cloze for {settings.few_shot}: add --pattern '{fields} it was {{mask}} .' "
            f"--words '{pairs}', or choose --few-shot cp-tuning, which needs none"
        )
    return task


def origin(tasks: Sequence[Task], named: Loaded | None) -> dict[str, str]:
    """Hashes of what the settings only name: files and models may change between a stop and a resume."""
    found = {"rows": content([[task.labels, task.fields, task.splits, task.patterns, task.words] for task in tasks])}
    if named is not None:
        found |= {"weights": content(named.model.state_dict()), "vocabulary": content(named.tokenizer.get_vocab())}
    return found


def has_own_student(settings: PipelineSettings, task: Task, named: Loaded | None) -> bool:
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
