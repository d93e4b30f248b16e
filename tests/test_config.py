from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.config import fingerprint, strict, to_dict
from labkit.errors import UsageError


@dataclass(frozen=True)
class Example:
    steps: int = 1
    lr: float = 0.1
    name: str = "a"
    fast: bool = False
    limit: int | None = None
    betas: tuple[float, float] = (0.9, 0.98)
    sizes: tuple[int, ...] = ()
    kind: Literal["linear", "constant"] = "linear"
    extra: Any = None
    hidden: int = field(default=3, init=False)


def test_values_of_the_right_types_pass():
    built = strict(Example, {"steps": 3, "lr": 1, "limit": 4, "betas": [0, 0.5], "sizes": [1, 2], "kind": "constant"})
    assert built == Example(steps=3, lr=1.0, limit=4, betas=(0.0, 0.5), sizes=(1, 2), kind="constant")
    assert isinstance(built.lr, float) and isinstance(built.betas[0], float)
    assert strict(Example, {}) == Example()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 1.5), ("steps", True), ("steps", "3"), ("steps", None), ("lr", "0.1"), ("lr", True), ("name", 3),
        ("fast", 1), ("limit", 2.5), ("betas", [0.9]), ("betas", 0.9), ("betas", ["a", "b"]), ("sizes", [1.5]),
        ("kind", "cosine"), ("kind", ["linear"]),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_names_its_key(key, value):
    with pytest.raises(UsageError, match=f"settings.json: Example setting '{key}'"):
        strict(Example, {key: value}, where="settings.json")


def test_an_unknown_key_offers_the_nearest():
    with pytest.raises(UsageError, match="unknown Example setting 'step': did you mean 'steps'"):
        strict(Example, {"step": 3})
    with pytest.raises(UsageError, match="unknown Example setting 'hidden'"):
        strict(Example, {"hidden": 4})


@given(st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers()))
def test_to_dict_and_strict_are_inverse(steps, lr, name, sizes):
    example = Example(steps=steps, lr=lr, name=name, sizes=tuple(sizes))
    plain = to_dict(example)
    plain.pop("hidden")
    if lr not in (float("inf"), float("-inf")):
        assert strict(Example, plain) == example


def test_the_fingerprint_is_stable_and_sees_every_field():
    assert fingerprint(Example(), 1) == fingerprint(Example(), 1)
    others = [Example(steps=2), Example(name="b"), Example(sizes=(1,)), Example(extra={"a": 1})]
    assert len({fingerprint(example) for example in [Example(), *others]}) == 5
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("odd \udcff.txt") != fingerprint("odd \udcfe.txt")  # a path whose bytes are not UTF-8
    program = "from labkit.config import fingerprint; print(fingerprint({'a': 'ü', 'b': [1, 2.5]}))"
    seeds = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2")]
    printed = {
        subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True).stdout for env in seeds
    }
    assert printed == {fingerprint({"a": "ü", "b": [1, 2.5]}) + "\n"}
