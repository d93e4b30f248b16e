"""What learners write in lesson 03/01 is what the library does."""

from __future__ import annotations

import importlib

from labkit.checks import prompts
from tests.checks.answers.prompts import until_equal
from tests.checks.solutions import solutions

SHOWN = solutions("03_fewshot/01_prompts")


def test_a_loop_that_never_meets_the_room_is_stopped_and_named(monkeypatch):
    """`while sum(out) != room` ends only where something has to be cut."""
    monkeypatch.setattr(importlib.import_module("labkit.checks.exercise"), "SECONDS", 0.05)
    assert "(>), not while it differs (!=)" in prompts.cut_longest.verdict(until_equal).message


def test_the_lessons_functions_agree_with_labkit():
    from labkit.fewshot.prompts.encoding import fit_lengths

    for lengths, room in (([9, 2, 30], 17), ([5, 5, 5], 7), ([0, 4], 4)):
        assert sorted(SHOWN["cut_longest"](lengths, room)) == sorted(fit_lengths(lengths, room))
