"""Settings are frozen dataclasses; this turns loose mappings into them, strictly.

An unknown key is an error that offers the nearest name; a value of the wrong type or out of its range is an error that
names the key. A range is declared once: `Annotated[int, COUNT]` in a dataclass, `type=COUNT` for an option.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import math
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from labkit.errors import UsageError, unknown

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers that a setting may take: finite ones from `low` to `high`, or with `above` beyond `low`.

    >>> PORT("80")
    80
    """

    kind: type
    low: float
    high: float = math.inf
    above: bool = False

    def check(self, value: Any, what: str) -> None:
        """Raise UsageError, beginning with `what`, for a number that is none of these, or no number."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if self.kind is int else numbers.Real):
            raise UsageError(f"{what} must be a {'whole ' if self.kind is int else ''}number, not {value!r}")
        least = value > self.low if self.above else value >= self.low
        if not (least and value <= self.high and math.isfinite(value)):
            bound = f"at most {self.high}" if value > self.high else f"at least {self.low}"
            raise UsageError(f"{what} must be {'a number above 0' if self.above else bound}, not {value}")

    def __call__(self, text: str) -> Any:
        """The number that an option's text is, for argparse."""
        try:
            value = self.kind(text)
            self.check(value, "it")
        except ValueError:
            raise argparse.ArgumentTypeError(f"invalid {self.kind.__name__} value: {text!r}") from None
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix("it ")) from None
        return value


MOST = 2**31 - 1  # beyond it torch and NumPy count no further
COUNT, SOME = Numbers(int, 1, MOST), Numbers(int, 0, MOST)
SEED = Numbers(int, 0, 2**32 - 1)  # what NumPy, torch and Python all take
RATE, AMOUNT = Numbers(float, 0, above=True), Numbers(float, 0)
PORT = Numbers(int, 1, 65535)


def check(settings: Any) -> None:
    """Raise UsageError for the first field of a dataclass whose number is out of its declared range; None passes."""
    for name, allowed in _ranges(type(settings)):
        if (value := getattr(settings, name)) is not None:
            allowed.check(value, f"{type(settings).__name__} setting {name!r}")


@functools.cache
def _ranges(cls: type) -> list[tuple[str, Numbers]]:
    hints = typing.get_type_hints(cls, include_extras=True).items()
    return [
        (name, one) for name, hint in hints for one in getattr(hint, "__metadata__", ()) if isinstance(one, Numbers)
    ]


def strict(cls: type[Settings], values: Mapping[str, Any], *, where: str = "") -> Settings:
    """Build the dataclass `cls` from `values`; every key must be a field and every value of its type.

    `where` names the source (a file, an option) in the error. Raises UsageError.
    """
    fields = {field.name for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    prefix = f"{where}: " if where else ""
    built = {}
    for key, value in values.items():
        if key not in fields:
            raise UsageError(prefix + str(unknown(f"{cls.__name__} setting", key, sorted(fields))))
        built[key] = _fit(value, hints[key], f"{prefix}{cls.__name__} setting {key!r}")
    try:
        return cls(**built)
    except UsageError as error:  # a value that the class itself refuses
        raise UsageError(prefix + str(error)) from error


def _fit(value: Any, hint: Any, what: str) -> Any:
    """`value` as the type `hint` says, lists becoming tuples and whole numbers floats; else UsageError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return _fit(value, option, what)
            except UsageError:
                continue
    elif origin is tuple and isinstance(value, list | tuple):
        inner = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        if len(inner) == len(value):
            return tuple(_fit(item, kind, what) for item, kind in zip(value, inner, strict=True))
    elif origin is typing.Literal and value in arguments:
        return value
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    elif origin is None and hint not in (int, float) and isinstance(hint, type) and isinstance(value, hint):
        return value
    raise UsageError(f"{what} must be {getattr(hint, '__name__', hint)}, not {value!r}")


def names(text: str) -> list[str]:
    """The names in "a, b,c"; empty ones are left out."""
    return [name.strip() for name in text.split(",") if name.strip()]


def positive(name: str, value: Any) -> float:
    """The value, if it is a finite number above 0; else UsageError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise UsageError(f"{name}={value}: a number above 0, and not infinite, is needed")
    return float(value)


def to_dict(settings: Any) -> dict[str, Any]:
    """The dataclass as plain values that JSON can hold."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def fingerprint(*parts: Any) -> str:
    """A short stable hash of dataclasses and plain values: 16 hexadecimal digits."""
    plain = [to_dict(part) if dataclasses.is_dataclass(part) else part for part in parts]
    written = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode("utf-8", "backslashreplace")).hexdigest()[:16]  # a path may hold odd bytes
