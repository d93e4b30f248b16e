"""Word problems: the evaluator against Python's own arithmetic, the problems against their expressions."""

import ast
import itertools
import random
import re
from collections import Counter

import pytest

from labkit.world import World
from labkit.world.expressions import evaluate
from labkit.world.math_problems import documents as write
from labkit.world.math_problems import problems


@pytest.mark.parametrize("language", ["en", "zh"])
def test_problems_solve_to_their_answers(language):
    made = list(itertools.islice(problems(language, random.Random(0)), 1500))
    for problem in made:
        assert evaluate(problem["expression"], problem["numbers"]) == problem["answer"] >= 1
        assert sum(map(problem["expression"].count, "+-*/")) == problem["operators"]
        spoken = [int(place) for place in re.findall(r"NUM(\d+)", problem["text"])]
        assert spoken == list(range(len(problem["numbers"])))  # numbered in the order of the text
        filled = re.sub(r"NUM(\d+)", lambda found, p=problem: str(p["numbers"][int(found[1])]), problem["text"])
        assert filled == problem["plain"] and "{" not in filled
    counts = Counter(problem["operators"] for problem in made)
    assert set(counts) == {1, 2, 3, 4} and min(counts.values()) > 300
    assert len({problem["expression"] for problem in made}) > 100
    unused = sum(len(problem["numbers"]) > len(re.findall("NUM", problem["expression"])) for problem in made)
    assert 0.15 < unused / 1500 < 0.25


def test_parentheses_are_kept_only_where_they_matter():
    for problem in itertools.islice(problems("en", random.Random(1)), 300):
        text = problem["expression"]
        assert ast.unparse(ast.parse(text, mode="eval")) == text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents_state_true_equations(language):
    equations = 0
    for text in itertools.islice(write(World(), language, random.Random(0)), 300):
        found = re.search(r"([0-9(][0-9() +*/-]*) = (\d+)", text)
        if found:
            equations += 1
            assert evaluate(found[1]) == int(found[2])
    assert 200 < equations < 280
