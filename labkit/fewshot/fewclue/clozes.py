"""How each of FewCLUE's nine tasks becomes a cloze, and with which method it is then read.

Three methods do for nine tasks. Where the words of all labels have the same number of pieces, PET or Fuzzy-PET; where
they differ, `GenerativePET`; where each row brings its answers, `RowCandidates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.fewclue.candidates import RowCandidates
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.generative import GenerativePET
from labkit.fewshot.prompts.verbalizer import pieces_of

if TYPE_CHECKING:
    from labkit.tasks import Task

Cloze = PET | RowCandidates


@dataclass(frozen=True)
class Shape:
    """What a task gives, and what goes into the blank."""

    gives: str
    blank: str
    words: bool = True  # whether its labels have words, so that there is something to add up


SHAPES: Mapping[str, Shape] = {
    "eprstmt": Shape("a review", "a word of praise or blame"),
    "csldcp": Shape("an abstract", "its discipline, one of 67, of two to ten characters"),
    "tnews": Shape("a headline", "its section, one of 15"),
    "iflytek": Shape("an app's description", "its kind, one of 119, of two to six characters"),
    "ocnli": Shape("two sentences", "a word between them that says whether the second follows"),
    "bustm": Shape("two questions", "whether they mean the same"),
    "csl": Shape("an abstract and a list of words", "whether all of them are its keywords"),
    "chid": Shape("a passage with a gap and seven idioms", "each of the row's own idioms, in the gap", False),
    "cluewsc": Shape("a sentence with a pronoun and a name, marked by their places", "whether the one means the other"),
}
# The template and the sets of label words that the authors give for OCNLI ("relevant / irrelevant / opposite",
# "implying / neutral / contradictory", "containing / neutral / reverse"), said in Chinese.
SEED_OCNLI_PATTERN = "“{text_a}”和“{text_b}”的关系是{mask*2}。"
SEED_OCNLI_WORDS: Mapping[str, tuple[str, ...]] = {
    "entailment": ("相关", "蕴含", "包含"),
    "neutral": ("无关", "中立", "中性"),
    "contradiction": ("相反", "矛盾", "反向"),
}


def shape_of(task: Task) -> Shape | None:
    """The shape of a task by its name's last part ("world/fewclue/chid"), or None for one that is not FewCLUE's."""
    return SHAPES.get(task.name.rsplit("/", 1)[-1])


def cloze_for(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    pattern: int | str = 0,
    words: int = 1,
    *,
    max_length: int = 128,
) -> Cloze:
    """The method for a task: its pattern, and the first `words` words of each label; several make it fuzzy.

    PET for one word a label, FuzzyPET for several, if all have the same number of pieces, else GenerativePET; for rows
    with candidates RowCandidates, which has no words. Raises UsageError for a task without patterns or words.
    """
    if words < 1:
        raise UsageError(f"words={words}: at least one word a label is needed")
    if (count := candidates_of(task)) is not None:
        return RowCandidates(tokenizer, task.fields[0], count=count, max_length=max_length)
    chosen = {label: tuple(task.words.get(label, ()))[:words] for label in task.labels}
    lengths = {len(pieces_of(word, tokenizer)) for some in chosen.values() for word in some}
    options = {"max_length": max_length}
    if len(lengths) > 1:
        return GenerativePET.for_task(task, tokenizer, pattern, words, fuzzy=words > 1, **options)
    if words == 1:
        return PET.for_task(task, tokenizer, pattern, **options)
    return FuzzyPET.for_task(task, tokenizer, pattern, words, **options)


def is_fuzzy(task: Task, words: int) -> bool:
    """Whether `words` words a label make another method than one word does."""
    return candidates_of(task) is None and any(len(task.words.get(label, ())[:words]) > 1 for label in task.labels)


def candidates_of(task: Task) -> int | None:
    """How many candidates the task's rows bring; None where they bring none."""
    rows: Sequence[Mapping[str, Any]] = next((rows for rows in task.splits.values() if len(rows)), [])
    return len(rows[0]["candidates"]) if rows and "candidates" in rows[0] else None
