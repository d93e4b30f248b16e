"""What an exercise is, and how its verdict is told.

The order of a check is always the same: it runs at all → shape → dtype → invariants → values; the first thing that is
wrong is named, as a mistake that one makes rather than as two numbers that differ.
"""

from __future__ import annotations

import dis
import html
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any

import numpy as np
import torch

from labkit import progress

EMPTY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "POP_TOP", "COPY_FREE_VARS"}
COLOURS = {None: "#767676", True: "#009E73", False: "#D55E00"}
MARKS = {None: "○", True: "✓", False: "✗"}


class Mistake(Exception):
    """What is wrong with a learner's function, in one sentence that helps to mend it."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: `passed` is None where the function is still a stub."""

    exercise: str
    passed: bool | None
    message: str

    def __repr__(self) -> str:
        return f"{MARKS[self.passed]} {self.exercise}: {self.message}"

    def _repr_html_(self) -> str:
        style = f"border-left:4px solid {COLOURS[self.passed]};padding:.3em .8em;white-space:pre-wrap"
        name = f"<b>{MARKS[self.passed]} {html.escape(self.exercise)}</b>"
        return f'<div style="{style}">{name}: {html.escape(self.message)}</div>'


class Exercise:
    """A check that can be called with the learner's function; see `exercise`."""

    def __init__(self, lesson: str, body: Callable[[Callable[..., Any]], None]) -> None:
        self.lesson, self.body, self.name = lesson, body, body.__name__
        update_wrapper(self, body)

    def __call__(self, function: Callable[..., Any]) -> Verdict:
        """Try `function`; never raises for what is wrong with it. A pass is kept in the learner's progress."""
        if not callable(function):
            return Verdict(
                self.name,
                False,
                f"a function is needed, not {type(function).__name__}: write check.{self.name}({self.name})",
            )
        if is_stub(function):
            return Verdict(self.name, None, "not attempted yet")
        try:
            self.body(function)
        except Mistake as mistake:
            return Verdict(self.name, False, str(mistake))
        except Exception as error:  # noqa: BLE001  whatever the learner's code does is the answer
            return Verdict(self.name, False, _crash(function, error))
        progress.passed(self.lesson, self.name)
        return Verdict(self.name, True, "passed")


def exercise(lesson: str) -> Callable[[Callable[[Callable[..., Any]], None]], Exercise]:
    """Make a check of lesson "03/02" out of a function that raises Mistake."""
    return lambda body: Exercise(lesson, body)


def is_stub(function: Callable[..., Any]) -> bool:
    """Whether a function does nothing but a docstring, `...` or `pass`."""
    code = getattr(function, "__code__", None)
    return code is not None and all(step.opname in EMPTY for step in dis.get_instructions(code)) and not _returns(code)


def _returns(code: Any) -> bool:
    """Whether the code returns a constant of its own, as `return 1` does."""
    last = list(dis.get_instructions(code))[-2:]
    values = [step.argval for step in last if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return bool(values) and values[-1] not in (None, ...)


def _crash(function: Callable[..., Any], error: Exception) -> str:
    """The error and the learner's line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = (
        [frame for frame in frames if frame.filename == function.__code__.co_filename]
        if hasattr(function, "__code__")
        else []
    )
    where = f"\nin your line {own[-1].lineno}: {own[-1].line}" if own and own[-1].line else ""
    return f"your function stopped with {type(error).__name__}: {error}{where}"


# What the checks of all lessons ask


def tensor(value: Any, shape: Sequence[int], what: str = "the result") -> torch.Tensor:
    """`value` as a float tensor of that shape; Mistake where it is none."""
    if value is None:
        raise Mistake(f"{what} is None: did you forget `return`?")
    if not torch.is_tensor(value):
        raise Mistake(f"{what} should be a torch tensor, not {type(value).__name__}")
    if tuple(value.shape) != tuple(shape):
        raise Mistake(f"{what} has shape {tuple(value.shape)}; {tuple(shape)} is wanted")
    if not value.is_floating_point():
        raise Mistake(f"{what} is of {value.dtype}; a floating-point tensor is wanted")
    if value.isnan().any():
        raise Mistake(f"{what} holds NaN: a logarithm of 0, or 0 divided by 0? Work with log-probabilities")
    return value.detach()


def same(a: Any, b: Any, tolerance: float = 1e-5) -> bool:
    """Whether two tensors, arrays or numbers agree to `tolerance`, absolute and relative."""
    a, b = (np.asarray(value.detach() if torch.is_tensor(value) else value, dtype=np.float64) for value in (a, b))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance))


def expect(
    value: Any, right: Any, message: str, mistakes: Sequence[tuple[Any, str]] = (), tolerance: float = 1e-5
) -> None:
    """Mistake unless `value` is `right`: with the text of the first of `mistakes` whose value it is, else `message`."""
    if same(value, right, tolerance):
        return
    for wrong, text in mistakes:
        if not same(wrong, right, tolerance) and same(value, wrong, tolerance):
            raise Mistake(text)
    raise Mistake(message)
