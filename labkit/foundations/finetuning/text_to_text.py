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
from labkit.foundations.reading import answer_f1, exact_match

BREAK = " \\n "
LETTERS = "abcdefghij"
NO_ANSWER = "no answer"
OPTION = re.compile(rf"(?:^| )\(([{LETTERS}])\) ")


def source(question: str, text: str = "", options: Sequence[str] = ()) -> str:
    """The question, its options and its text in one. DataError naming the part that could not be told apart again.

    >>> print(source("who is it ?", "anna is it .", ["ben", "anna"]))
    who is it ? \\n (a) ben (b) anna \\n anna is it .
    """
    listed = " ".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    made = BREAK.join(part for part in (question, listed, text) if part)
    if parsed(made) != (question, text, list(options)):
        given = {"question": question, "text": text} | {f"option {at}": one for at, one in enumerate(options, start=1)}
        odd = next((name for name, one in given.items() if one != one.strip() or BREAK.strip() in one), "its parts")
        raise DataError(
            f"{odd} of {question!r:.40} cannot be told apart in one text: leave out \\n, (a) and outer blanks"
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
    """
    label, options = row.get("label"), row.get("options", ())
    if isinstance(label, Mapping):
        label = label["text"] or NO_ANSWER
    elif label is not None:
        label = (options or labels)[label]
    return {**row, "text": source(row["question"], row["text"], options), "label": label}


def nearest(answer: str, options: Sequence[str]) -> int:
    """Which option the answer is most like, by the words that both have: so an answer in words is a choice."""
    return max(range(len(options)), key=lambda at: (exact_match(options[at], answer), answer_f1(options[at], answer)))
