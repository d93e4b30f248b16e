"""Making models small: distillation, pruning, quantisation, elastic networks, cheap features.

Every transformation here is `apply(model, …) -> model` and finds the modules it changes by *key*: the end of a module's
dotted name (`"attention.self.query"`), or a regular expression behind `re:` (`"re:layer\\.\\d+\\.output"`). No
backbone's code is edited, so what works on a micro model works on any Hub model of the family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from labkit.errors import UsageError, unknown


def matches(name: str, keys: Iterable[str]) -> bool:
    """Whether the dotted module name `name` is addressed by any of `keys`.

    A key matches whole trailing parts of the name; after `re:` it is searched in the name as a regular expression.

    >>> matches("bert.encoder.layer.0.output.dense", ["output.dense"]), matches("a.layer.10.b", [r"re:layer\\.1\\."])
    (True, False)
    """
    for key in keys:
        if key.startswith("re:"):
            if _compiled(key).search(name):
                return True
        elif name == key or name.endswith("." + key):
            return True
    return False


def check_keys(keys: Sequence[str], names: Iterable[str]) -> None:
    """UsageError for a key that addresses none of `names`: a misspelt key must not pass in silence."""
    names = list(names)
    for key in keys:
        if not any(matches(name, (key,)) for name in names):
            raise unknown("module key", key, names)


def _compiled(key: str) -> re.Pattern[str]:
    try:
        return re.compile(key[3:])
    except re.error as error:
        raise UsageError(f"module key {key!r} is not a regular expression: {error}") from error
