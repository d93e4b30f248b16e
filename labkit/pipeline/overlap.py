"""Unlabelled text must not hold the test: who teaches a model on the test's own sentences measures how well it recalls.

Two files rarely write a sentence alike: one has "can't", the other "ca n't", and what is two sentences here is one
there. So texts are compared by their letters and digits alone, and one that shares a long run of them with a test row
counts as that row (as GPT-3's authors looked for runs of 13 words: Brown et al. 2020, appendix C).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labkit.tasks.rows import Row, text_key

RUN = 40  # letters and digits in a row, about eight words


def clean(rows: Sequence[Row], test: Iterable[Row], fields: Sequence[str]) -> tuple[list[Row], str]:
    """The `rows` that neither hold a test row nor repeat another, in their order, and a sentence on what was left out.

    A row holds a test row where the two share RUN letters and digits in a row, or all that a shorter one has.

    >>> test = [{"text": "it 's a charming journey ."}]
    >>> clean([{"text": "It's a charming journey"}, {"text": "a film"}, {"text": "A film!"}], test, ["text"])
    ([{'text': 'a film'}], 'of 3 unlabelled texts 1 hold a test row and 1 repeat another: left out')
    """
    known = {run for row in test for run in _runs(_letters(row, fields))}
    kept: dict[str, Row] = {}
    held = 0
    for row in rows:
        letters = _letters(row, fields)
        if known.isdisjoint(_runs(letters)):
            kept.setdefault(letters, row)
        else:
            held += 1
    repeated = len(rows) - held - len(kept)
    said = f"of {len(rows)} unlabelled texts {held} hold a test row and {repeated} repeat another: left out"
    return list(kept.values()), said if held or repeated else ""


def _letters(row: Row, fields: Sequence[str]) -> str:
    return "".join(letter for value in text_key(row, fields) for letter in value.casefold() if letter.isalnum())


def _runs(letters: str) -> Iterable[str]:
    """Every run of RUN letters; of a shorter text, the text."""
    return (letters[start : start + RUN] for start in range(max(len(letters) - RUN, 0) + 1))
