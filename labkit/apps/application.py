"""What an application is: which columns it reads, how a model is made ready for it, and how its answers are written.

The course's applications are EasyNLP's (Wang et al. 2022, "EasyNLP: A comprehensive and easy-to-use toolkit for natural
language processing", §3.4), each one description; what runs them (`labkit.apps.running`, the command line, the pages)
knows nothing of any single one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import UsageError, unknown
from labkit.fewshot.methods import Adapted, Start
from labkit.tasks import Task

EXAMPLE = {"train": 400, "dev": 100, "test": 100}  # rows of an example, at most
Rows = Sequence[dict[str, Any]]
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True)
class Parameter:
    """A setting of one application, `key=value` in EasyNLP's user-defined parameters."""

    default: Any  # its type is the parameter's; of a None it is text
    about: str

    def read(self, name: str, text: str) -> Any:
        """The value that `text` says; UsageError where it is none of the parameter's type."""
        kind = type(self.default)
        if kind is bool:
            if text.lower() not in (*TRUE, *FALSE):
                raise UsageError(f"parameter {name}={text!r:.60}: True or False is expected")
            return text.lower() in TRUE
        if kind not in (int, float):
            return text
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise UsageError(f"parameter {name}={text!r:.60}: {what} is expected") from None


LENGTH = Parameter(128, "tokens read of a text, special ones included")


@dataclass(frozen=True)
class Application:
    """One application. `Task.answer` of what it reads and trains on is `answer`; None: it reads no labels.

    There is nothing to train where the method has no `loss`.
    """

    name: str
    about: str  # one line
    answer: str | None
    texts: tuple[int, int]  # how many text columns it reads: least, most
    metric: str  # the score that decides, a key of what the method's `score` or `Task.metric` gives
    prepare: Callable[[Start, Mapping[str, Any]], Adapted]  # from a backbone, with every parameter's value
    cells: Callable[[Any, Sequence[str]], dict[str, str]]  # (answer, labels) -> what --output_schema may name
    example: Callable[[], Task]  # a small task of the world, to begin with
    hub: str = "text-classification"  # what the hub calls such models, its `pipeline_tag`
    rate: float = 1e-3  # learning rate of a micro model
    usual: float = 5e-5  # of a larger one
    # What it starts from: "lm" an encoder with its language model, "body" without, but with the pooler it was published
    # with, "seq2seq" an encoder-decoder, or an encoder with its language model.
    backbone: str = "lm"
    view: str = ""  # how a page shows an answer, of `labkit.serving.page.VIEWS`; "": as the kind of answer is
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def settings(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Every parameter with its value, as given or by default. UsageError for an unknown name or a wrong value."""
        for name in given:
            if name not in self.parameters:
                raise unknown(f"parameter of {self.name}", name, self.parameters)
        defaults = {name: one.default for name, one in self.parameters.items()}
        return defaults | {name: self.parameters[name].read(name, text) for name, text in given.items()}


def in_splits(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """An example's rows, as many as EXAMPLE counts, as its splits."""
    left = iter(rows)
    return {split: list(itertools.islice(left, count)) for split, count in EXAMPLE.items()}
