"""Making models small: distillation, pruning, quantisation, elastic networks.

| file | what |
|---|---|
| `distill.py`, `tinybert.py`, `meta_kd.py` | a small model learns a large one's answers, layers, domains |
| `shrink.py` | the small model to begin with |
| `pruning/` | weights, heads and layers that are left out |
| `aware.py`, `ternary.py`, `binary.py` | training with weights of two bits, and of one |
| `stored.py`, `int8.py`, `packed.py` | weights that are stored as codes, and layers that compute with them |
| `elastic.py`, `searching.py` | one network of many sizes, and the best size for a limit of time |

Every transformation here is `apply(model, …) -> model` and finds the modules it changes by *key*: the end of a module's
dotted name (`"attention.self.query"`), or a regular expression behind `re:` (`"re:layer\\.\\d+\\.output"`). No
backbone's code is edited, so what works on a micro model works on any Hub model of the family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from labkit.errors import UsageError, unknown


def addressed(names: Iterable[str], key: str) -> list[str]:
    """Which of the dotted module names `key` addresses. UsageError where it is none: a misspelt key must not pass in
    silence.

    >>> addressed(["bert.layer.0.output.dense", "bert.layer.1.output.dense", "cls"], "output.dense")
    ['bert.layer.0.output.dense', 'bert.layer.1.output.dense']
    >>> addressed(["a.layer.1.b", "a.layer.10.b"], r"re:layer\\.1\\.")
    ['a.layer.1.b']
    """
    if key.startswith("re:"):
        try:
            expression = re.compile(key[3:])
        except re.error as error:
            raise UsageError(f"module key {key!r} is not a regular expression: {error}") from error
        found = [name for name in names if expression.search(name)]
    else:
        found = [name for name in names if f".{name}".endswith(f".{key}")]
    if not found:
        raise unknown("module key", key, names)
    return found
