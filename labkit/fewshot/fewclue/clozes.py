"""How each of FewCLUE's nine tasks becomes a cloze, and with which method it is then read.

    eprstmt   a review                           a word of praise or blame
    csldcp    an abstract                        its discipline, one of 67, of two to ten characters
    tnews     a headline                         its section, one of 15
    iflytek   an app's description               its kind, one of 119, of two to six characters
    ocnli     two sentences                      a word between them that says whether the second follows
    bustm     two questions                      whether they mean the same
    csl       an abstract and a list of words    whether all of them are its keywords
    chid      a passage with a gap, 7 idioms     each of the row's own idioms, in the gap
    cluewsc   a pronoun and a name in a text     whether the one means the other

Three methods do for nine tasks. Where the words of all labels have the same number of pieces, PET or Fuzzy-PET; where
they differ, `GenerativePET`; where each row brings its answers, `RowCandidates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def cloze_for(
    task: Task, tokenizer: PreTrainedTokenizerBase, pattern: int | str = 0, words: int = 1
) -> PET | RowCandidates:
    """The method for a task: its pattern, and the first `words` words of each label; several make it fuzzy.

    PET for one word a label, FuzzyPET for several, if all have the same number of pieces, else GenerativePET; for rows
    with candidates RowCandidates, which has no words. Raises UsageError for a task without patterns or words.
    """
    if words < 1:
        raise UsageError(f"words={words}: at least one word a label is needed")
    if (count := candidates_of(task)) is not None:
        return RowCandidates(tokenizer, task.fields[0], count=count)
    chosen = {label: tuple(task.words.get(label, ()))[:words] for label in task.labels}
    lengths = {len(pieces_of(word, tokenizer)) for some in chosen.values() for word in some}
    if len(lengths) > 1:
        return GenerativePET.for_task(task, tokenizer, pattern, words, fuzzy=words > 1)
    if words == 1:
        return PET.for_task(task, tokenizer, pattern)
    return FuzzyPET.for_task(task, tokenizer, pattern, words)


def is_fuzzy(task: Task, words: int) -> bool:
    """Whether `words` words a label make another method than one word does."""
    return candidates_of(task) is None and any(len(task.words.get(label, ())[:words]) > 1 for label in task.labels)


def candidates_of(task: Task) -> int | None:
    """How many candidates the task's rows bring; None where they bring none."""
    rows: Sequence[Mapping[str, Any]] = next((rows for rows in task.splits.values() if len(rows)), [])
    return len(rows[0]["candidates"]) if rows and "candidates" in rows[0] else None
