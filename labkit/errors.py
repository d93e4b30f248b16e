"""Every error that labkit raises on purpose, and how a line is said that is none.

A message names what is wrong, where (file, row, field), and how to mend it, in one line or two. The command line prints
the message alone and exits with `exit_code`; a traceback means a bug in labkit.
"""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterable

LONG = 200  # characters of a name that a message shows


class LabkitError(Exception):
    """Base of labkit's own errors."""

    exit_code = 1


class UsageError(LabkitError):
    """A name, option or combination that does not exist or makes no sense."""

    exit_code = 2


class DataError(LabkitError):
    """A file of examples that cannot be read as what it claims to be."""


class CheckpointError(LabkitError):
    """Saved weights or state that are missing, cut short, altered or of another run."""


class TrainingError(LabkitError):
    """Training that cannot go on, or has left no use of its model: what comes out is no number, memory ran out, a
    worker died.
    """


def say(text: object) -> None:
    """A line on stderr. Where it cannot be written (a full disk, a stream that is closed) the work goes on unsaid."""
    if sys.stderr is not None:  # else it would go to stdout
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def unknown(kind: str, name: object, known: Iterable[object]) -> UsageError:
    """The error for a name that is not among `known`, offering the nearest.

    >>> str(unknown("model", "micro-bert-em", ["micro-bert-en", "micro-bert-zh"]))
    "unknown model 'micro-bert-em': did you mean 'micro-bert-en'? Known: micro-bert-en, micro-bert-zh"
    """
    names = [str(item) for item in known]
    # a table may bring 100 000 names, or one of a megabyte: comparing and printing them all would take minutes
    likely = [item for item in names[:5000] if len(item) <= LONG]
    near = difflib.get_close_matches(str(name)[:LONG], likely, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else "."
    return UsageError(f"unknown {kind} {_cut(name)!r}{hint} Known: {listed(names)}")


def listed(names: Iterable[object], most: int = 40) -> str:
    """Names for a sentence: the first `most` of them, each cut where it is very long, and how many more there are.
    What would not show on a terminal, or command it, is escaped.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(_shown(_cut(name)) for name in found[:most]) + more or "none"


def _shown(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _cut(name: object) -> str:
    return text if len(text := str(name)) <= LONG else f"{text[: LONG - 1]}…"
