"""UnifiedQA's one format for every kind of question (Khashabi et al. 2020, §3.2): a text goes in, a text comes out.

    extractive       who designed the wolf recorder ? \\n karen dubois designed the wolf recorder .   → karen dubois
    multiple choice  who designed it ? \\n (a) ulrich drake (b) karen dubois \\n karen …                → karen dubois
    yes or no        did karen dubois design the wolf recorder ? \\n karen dubois designed …            → yes
    no answer        who directed crimson bridge ? \\n karen dubois designed …                         → no answer

So one encoder-decoder, trained by `Generation`, answers them all, and nothing tells it which kind a question is but its
own text. "\\n" is written out, as there: a tokenizer of words would not see the end of a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.errors import DataError
from labkit.foundations.encoder import texts_of
from labkit.foundations.reading import answer_f1, exact_match

BREAK = " \\n "
LETTERS = "abcdefghij"
NO_ANSWER = "no answer"
OPTION = re.compile(rf"(?:^| )\(([{LETTERS}])\) ")


def source(question: str, text: str = "", options: Sequence[str] = ()) -> str:
    """The question, its options, ten at most, and its text in one. DataError naming the part that could not be told
    apart again.

    >>> print(source("who is it ?", "anna is it .", ["ben", "anna"]))
    who is it ? \\n (a) ben (b) anna \\n anna is it .
    """
    listed = " ".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    made = BREAK.join(part for part in (question, listed, text) if part)
    if parsed(made) != (question, text, list(options)):
        given = {"question": question, "text": text} | {f"option {at}": one for at, one in enumerate(options, start=1)}
        odd = [name for name, one in given.items() if one != one.strip() or BREAK.strip() in one]
        what = next(iter(odd), "its parts") if question else "the empty question"
        raise DataError(
            f"{what} of {question or text!r:.40} cannot be told apart in one text: leave out \\n, (a) and outer "
            f"blanks, and ask something with {len(LETTERS)} options at most"
        )
    return made


def parsed(made: str) -> tuple[str, str, list[str]]:
    """Question, text and options of a source.

    >>> parsed("who is it ? \\\\n (a) ben (b) anna \\\\n anna is it .")
    ('who is it ?', 'anna is it .', ['ben', 'anna'])
    """
    question, *more = made.split(BREAK)
    options: list[str] = []
    if more and more[0].startswith("(a) "):
        cut = OPTION.split(more.pop(0))  # "", letter, option, letter, option, …
        options = cut[2::2] if "".join(cut[1::2]) == LETTERS[: len(cut) // 2] else []
    return question, BREAK.join(more), options


def to_text(row: Mapping[str, Any], labels: Sequence[str] = ()) -> dict[str, Any]:
    """A row of any form as {"text": the source, "label": the answer in words}; other keys ride along.

    Its label may be a span, {"text", "start"}, an index into its "options", or one into `labels`; None stays None.
    DataError for a label that is none of them, and for a question or a text that is no text.
    """
    question, text = (texts_of([row], field)[0] for field in ("question", "text"))
    label, options = row.get("label"), row.get("options", ())
    if isinstance(label, Mapping):
        label = label["text"] or NO_ANSWER
    elif label is not None:
        some = options or labels
        if not 0 <= label < len(some):
            raise DataError(f"label {label} of {question!r:.40} is the place of none of {len(some)} answers")
        label = some[label]
    return {**row, "text": source(question, text, options), "label": label}


def nearest(answer: str, options: Sequence[str]) -> int:
    """Which option the answer is most like, by the words that both have: so an answer in words is a choice."""
    return max(range(len(options)), key=lambda at: (exact_match(options[at], answer), answer_f1(options[at], answer)))
