"""Word problems: the evaluator against Python's own arithmetic, the problems against their expressions."""

import ast
import itertools
import operator
import random
import re
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import DataError
from labkit.world import World
from labkit.world.math_problems import documents as write
from labkit.world.math_problems import evaluate, problems

SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
NUMBERS = [3, 7, Fraction(1, 2), 12, 0.25]


def leaves():
    numerals = st.integers(0, 99).map(lambda value: (ast.Constant(value), Fraction(value)))
    names = st.integers(0, 4).map(lambda place: (ast.Name(f"NUM{place}", ast.Load()), Fraction(NUMBERS[place])))
    return numerals | names


def combine(children):
    def join(parts):
        kind, (left, a), (right, b) = parts
        value = None if a is None or b is None or (kind is ast.Div and b == 0) else SIGNS[kind](a, b)
        return ast.BinOp(left, kind(), right), value

    negative = children.map(lambda part: (ast.UnaryOp(ast.USub(), part[0]), None if part[1] is None else -part[1]))
    return st.tuples(st.sampled_from(list(SIGNS)), children, children).map(join) | negative


@given(st.recursive(leaves(), combine, max_leaves=12))
def test_evaluator_agrees_with_python_on_any_tree(made):
    tree, value = made
    text = ast.unparse(tree)
    if value is None:
        with pytest.raises(DataError, match="division by zero"):
            evaluate(text, NUMBERS)
    else:
        assert evaluate(text, NUMBERS) == value


@given(st.integers(-20, 20).filter(bool), st.integers(-10, 10))
def test_powers_agree_with_python(base, exponent):
    assert evaluate("NUM0 ** NUM1", [base, exponent]) == Fraction(base) ** exponent


@pytest.mark.parametrize(
    "text",
    [
        "", "NUM0 +", "__import__('os')", "NUM0.real", "[1]", "1 if 1 else 2", "NUM2", "NUM01", "NUM", "x + 1",
        "9**9**9", "2**0.5", "(" * 300, "-" * 399 + "x", "1 " * 300, "True", "1j", "'a' * 3", "1 // 2", "1 % 2",
        "1 << 9", "1e999", "lambda: 1", "(1, 2)", "1\0", "(((9**99)**99)**99)**99", "+1", "f'{1}'", "(y := 3)",
        "1 = 1", "1; 2", "NUM0\n+NUM1",
    ],
)  # fmt: skip
def test_hostile_expressions_are_refused(text):
    with pytest.raises(DataError, match="expression"):
        evaluate(text, [1, 2])


def test_decimals_count_as_written():
    assert evaluate("0.1 + NUM0", [0.2]) == Fraction(3, 10)
    with pytest.raises(DataError):
        evaluate("NUM0", [float("inf")])


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
