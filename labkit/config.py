"""Settings are frozen dataclasses; this turns loose mappings into them, strictly.

An unknown key is an error that offers the nearest name; a value of the wrong type is an error that names the key.
"""

from __future__ import annotations

import dataclasses
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
    return cls(**built)


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
