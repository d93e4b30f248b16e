"""What an exercise is, how its verdict is told, and which function the lesson goes on with.

The order of a check is always the same: it runs at all → shape → dtype → gradient → invariants → values; the first
thing that is wrong is named, as a mistake that one makes rather than as two numbers that differ.
"""

from __future__ import annotations

import copy
import dis
import html
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any

import numpy as np
import torch
from IPython.display import display

from labkit import progress
from labkit.checks.limit import TimeUp, time_limit

Function = Callable[..., Any]
SECONDS = 10.0  # a check that takes longer is stopped
EMPTY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "POP_TOP", "COPY_FREE_VARS"}
COLOURS = {None: "#767676", True: "#009E73", False: "#D55E00"}
NAN = "0 divided by 0, infinity minus infinity, or the logarithm of a negative number?"
MARKS = {None: "○", True: "✓", False: "✗"}


class Mistake(Exception):
    """What is wrong with a learner's function, in one sentence that helps to mend it."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: `passed` is None where the function is still a stub."""

    exercise: str
    passed: bool | None
    message: str

    @property
    def next(self) -> str:
        """Which function the cells below use."""
        return "the cells below use yours" if self.passed else "the cells below use labkit's own"

    def __repr__(self) -> str:
        return f"{MARKS[self.passed]} {self.exercise}: {self.message} ({self.next})"

    def _repr_html_(self) -> str:
        style = f"border-left:4px solid {COLOURS[self.passed]};padding:.3em .8em;white-space:pre-wrap"
        name = f"<b>{MARKS[self.passed]} {html.escape(self.exercise)}</b>"
        return f'<div style="{style}">{name}: {html.escape(self.message)} <i>({self.next})</i></div>'


class Exercise:
    """A check to be called with the learner's function: `loss = check.loss(loss)`; see `exercise`."""

    def __init__(self, lesson: str, body: Callable[[Function], None], answer: Function) -> None:
        self.lesson, self.body, self.answer, self.name = lesson, body, answer, body.__name__
        update_wrapper(self, body)

    def __call__(self, function: Function) -> Function:
        """Show the verdict, and return the function to go on with: `function` if it passes, else labkit's `answer`."""
        verdict = self.verdict(function)
        display(verdict)
        return function if verdict.passed else self.answer

    def verdict(self, function: Function) -> Verdict:
        """Try `function`; never raises for what is wrong with it. A pass is kept in the learner's progress."""
        if not callable(function):
            call = f"{self.name} = check.{self.name}({self.name})"
            return Verdict(self.name, False, f"a function is needed, not {type(function).__name__}: write {call}")
        if is_stub(function):
            return Verdict(self.name, None, "not attempted yet")
        try:
            with time_limit(SECONDS):
                self.body(function)
        except Mistake as mistake:
            return Verdict(self.name, False, str(mistake))
        except TimeUp:
            reason = f"your function was stopped after {SECONDS:g} s: does a loop in it never end?"
            return Verdict(self.name, False, reason)
        except Exception as error:  # noqa: BLE001  whatever the learner's code does is the answer
            return Verdict(self.name, False, _crash(function, error))
        progress.passed(self.lesson, self.name)
        return Verdict(self.name, True, "passed")


def exercise(lesson: str, answer: Function) -> Callable[[Callable[[Function], None]], Exercise]:
    """Make a check of lesson "03/02" out of a function that raises Mistake.

    `answer` is labkit's own solution: the cells after the check use it while the learner's function does not pass.
    """
    return lambda body: Exercise(lesson, body, answer)


def is_stub(function: Callable[..., Any]) -> bool:
    """Whether a function does nothing but a docstring, `...` or `pass`."""
    code = getattr(function, "__code__", None)
    steps = list(dis.get_instructions(code)) if code else []
    returned = [step.argval for step in steps[-2:] if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return bool(steps) and all(step.opname in EMPTY for step in steps) and returned[-1:] in ([], [None], [...])


def _crash(function: Callable[..., Any], error: Exception) -> str:
    """The error and the learner's line that raised it."""
    code = getattr(function, "__code__", None)
    own = [one for one in traceback.extract_tb(error.__traceback__) if code and one.filename == code.co_filename]
    where = f"\nin your line {own[-1].lineno}: {own[-1].line}" if own and own[-1].line else ""
    return f"your function stopped with {type(error).__name__}: {error}{where}"


# What the checks of all lessons ask


def tensor(
    value: Any, shape: Sequence[int], what: str = "the result", nan: str = NAN, gradient: bool = False
) -> torch.Tensor:
    """`value` as a float tensor of that shape; Mistake where it is none. `nan` says where NaN can come from here;
    `gradient`: it must carry a gradient, because the inputs do.
    """
    given(value, what)
    if not torch.is_tensor(value):
        raise Mistake(f"{what} should be a torch tensor, not {type(value).__name__}")
    if tuple(value.shape) != tuple(shape):
        raise Mistake(f"{what} has shape {tuple(value.shape)}; {tuple(shape)} is wanted")
    if not value.is_floating_point():
        raise Mistake(f"{what} is of {value.dtype}; a floating-point tensor is wanted")
    if value.isnan().any():
        raise Mistake(f"{what} holds NaN: {nan}")
    if gradient and not value.requires_grad:
        raise Mistake(f"{what} carries no gradient, so nothing could learn from it: .item(), .detach(), torch.tensor(…) and numpy cut it off")  # fmt: skip
    return value.detach()


def loss(value: Any, nan: str = NAN, gradient: bool = True) -> torch.Tensor:
    """`value` as a tensor of one number, (), with the gradient that training needs; Mistake where it is none."""
    given(value)
    if not torch.is_tensor(value):
        raise Mistake(f"the loss should be a torch tensor of one number, not {type(value).__name__}: a plain number (.item(), float()) carries no gradient to learn from")  # fmt: skip
    if value.numel() != 1:
        raise Mistake(f"one number is wanted, a tensor without dimensions, not one of shape {tuple(value.shape)}: is the mean missing?")  # fmt: skip
    found = value.reshape(())
    tensor(found, (), "the loss", nan, gradient)
    return found


def number(value: Any, what: str = "the result", nan: str = NAN) -> float:
    """One number of any kind (Python's, numpy's, a tensor of one element) as a float; Mistake where it is none."""
    given(value, what)
    kind = f"{what} should be one number, not {type(value).__name__}"
    if isinstance(value, str | bytes):
        raise Mistake(kind)
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake(kind) from error
    if found != found:
        raise Mistake(f"{what} is NaN: {nan}")
    return found


def whole(value: Any, what: str = "the result") -> int:
    """One whole number of any kind as an int; Mistake where it is none."""
    found = number(value, what)
    if found in (float("inf"), float("-inf")) or found != int(found):
        raise Mistake(f"{what} should be a whole number, not {found:g}")
    return int(found)


def given(value: Any, what: str = "the result") -> None:
    """Mistake where there is no value at all."""
    if value is None:
        raise Mistake(f"{what} is None: did you forget `return`?")


def asked(function: Function, **named: Any) -> Any:
    """What the function gives for these arguments, in this order; Mistake where it is nothing, or changes one of them."""
    before = copy.deepcopy(named)
    found = function(*named.values())
    given(found)
    for name, value in named.items():
        arrays = isinstance(value, torch.Tensor | np.ndarray)
        if not (np.array_equal(_plain(value), _plain(before[name])) if arrays else value == before[name]):
            raise Mistake(f"your function changed `{name}`, which it was given: leave it as it is and make something new (`a = a - b`, not `a -= b`)")  # fmt: skip
    return found


def parts(value: Any, names: Sequence[str]) -> list[Any]:
    """The results of a function that gives several; Mistake unless they are as many as `names`."""
    message = f"{len(names)} results are wanted: return {', '.join(names)}"
    found = items(value, message)
    if len(found) != len(names):
        raise Mistake(message)
    return found


def items(value: Any, message: str) -> list[Any]:
    """What a list, an array or anything else to loop over holds; Mistake with `message` where it is no such thing."""
    given(value)
    try:
        return list(value)
    except TypeError as error:
        raise Mistake(message) from error


def learns(
    value: torch.Tensor, right: torch.Tensor, inputs: Mapping[str, torch.Tensor], cut: str, silent: str = ""
) -> None:
    """Mistake unless each of `inputs` gets the gradient from `value` that it gets from `right`, through a sum in which
    every number weighs differently: with `silent` where it gets none at all, else with `cut`, in which {} is the input's name.
    """
    weights = torch.arange(1.0, right.numel() + 1).reshape(right.shape)
    found, wanted = (
        torch.autograd.grad((weights * one).sum(), tuple(inputs.values()), allow_unused=True) for one in (value, right)
    )
    for name, own, other in zip(inputs, found, wanted, strict=True):
        if own is None or not same(own, other, 1e-4):
            raise Mistake((silent if own is None and silent else cut).format(name))


def trains(module: torch.nn.Module, call: Function, most: int, wanted: str) -> None:
    """Mistake unless numbers of the module train, at most `most` (`wanted` says so), and two steps of gradient ascent on
    what `call()` gives reach each of them and change what it gives.
    """
    numbers = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not numbers:
        raise Mistake("nothing trains: make the numbers a torch.nn.Parameter and an attribute of the module (a plain tensor, or one in a list, is not found)")  # fmt: skip
    if (count := sum(parameter.numel() for parameter in numbers)) > most:
        raise Mistake(f"it trains {count} numbers: {wanted}")
    before, reached = call().detach().clone(), set()
    for _ in range(2):
        found = call()
        tensor(found, found.shape, "what it gives", gradient=True)
        weights = torch.arange(1.0, found.numel() + 1).reshape(found.shape)
        gradients = torch.autograd.grad((weights * found).sum(), numbers, retain_graph=True, allow_unused=True)
        for place, gradient in enumerate(gradients):
            if gradient is not None and gradient.abs().max() > 0:
                numbers[place].data += gradient / gradient.abs().max()
                reached.add(place)
    if not reached:
        raise Mistake("every gradient is 0 at the start, so nothing would ever move: of two factors start one at 0, not both")  # fmt: skip
    if len(reached) < len(numbers):
        raise Mistake("some of the numbers that train never get a gradient: they count, but change nothing")
    if not same(call(), call()):
        raise Mistake("two calls give two answers: draw at random once, in __init__")
    if same(before, call()):
        raise Mistake(
            "it gives the same when its numbers have changed: compute with them in forward, anew at each call"
        )


def _plain(value: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return value.detach().numpy() if torch.is_tensor(value) else value


def same(a: Any, b: Any, tolerance: float = 1e-5) -> bool:
    """Whether two tensors, arrays or numbers agree to `tolerance`, absolute and relative."""
    a, b = (np.asarray(_plain(value), dtype=np.float64) for value in (a, b))
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
