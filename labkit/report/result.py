"""`Result`: one row of a report, and how loose values become one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_REQUIRED = {"method": str, "task": str, "seed": int, "metric": str, "value": float}
_COSTS = {"trainable": int, "parameters": int, "bytes": int, "latency_ms": float, "seconds": float}
_KINDS: dict[str, type] = {**_REQUIRED, **_COSTS}


@dataclass(frozen=True)
class Result:
    """One measurement: a method on a task with a seed, and its costs where known."""

    method: str
    task: str
    seed: int
    metric: str
    value: float
    trainable: int | None = None  # parameters that were trained
    parameters: int | None = None  # all parameters
    bytes: int | None = None  # of the weights on disk
    latency_ms: float | None = None  # milliseconds a row
    seconds: float | None = None  # of training
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes two rows the same measurement."""
        return self.method, self.task, self.metric, self.seed

    def __getitem__(self, name: str) -> Any:
        """A field or an extra by name; None for a cost or an extra that the row has not."""
        return getattr(self, name) if name in _KINDS else self.extra.get(name)

    def plain(self) -> dict[str, Any]:
        """The row as JSON keeps it: unknown costs left out, extras beside the fields."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return {**{name: value for name, value in named.items() if value is not None}, **self.extra}


def result_of(row: Any) -> Result:
    """A Result from loose values; ValueError says which field is wrong."""
    if not isinstance(row, Mapping):
        raise ValueError(f"a row must be an object, not {row!r}")
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
    extra = {name: value for name, value in plain.items() if name not in _KINDS}
    for name, value in extra.items():
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"{name} must be a text or a finite number, not {value!r}")
    named = {name: _checked(name, plain.get(name), kind) for name, kind in _KINDS.items()}
    return Result(**named, extra=extra)


def _checked(name: str, value: Any, kind: type) -> Any:
    if value is None and name in _COSTS:
        return None
    if kind is str and isinstance(value, str) and value:
        return value
    if kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value) and (kind is float or value == int(value)) and (name not in _COSTS or value >= 0):
            return kind(value)
    wanted = {str: "a text", int: "a whole number", float: "a finite number"}[kind]
    raise ValueError(f"{name} must be {wanted}{' of 0 or more' if name in _COSTS else ''}, not {value!r}")
