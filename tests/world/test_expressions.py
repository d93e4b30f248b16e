"""Expressions: read, valued, written out and changed, beside Python's own arithmetic in floats and in fractions."""

from __future__ import annotations

import ast
import operator
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.world.expressions import CHANGES, changed, evaluate, nodes, parse, put, show, value

LEAVES = st.sampled_from(["NUM0", "NUM1", "NUM2", "1", "2", "3.5", "100", "0.25"])
TREES = st.recursive(LEAVES, lambda side: st.tuples(st.sampled_from("+-*/"), side, side), max_leaves=12)
NUMBERS = [3.5, 7, 0.125]
SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
EXACT = [3, 7, Fraction(1, 2), 12, 0.25]
SAFE = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop)


def python(text: str) -> float:
    """What Python makes of an expression that holds nothing but arithmetic."""
    for number, one in enumerate(NUMBERS):
        text = text.replace(f"NUM{number}", repr(one))
    tree = ast.parse(text.replace("^", "**"), mode="eval")
    assert all(isinstance(node, SAFE) for node in ast.walk(tree))
    return eval(compile(tree, "expression", "eval"), {"__builtins__": {}})  # noqa: S307


@given(TREES)
def test_values_are_pythons(tree):
    text = show(tree)
    try:
        wanted = python(text)
    except ZeroDivisionError:
        wanted = None
    try:
        found = value(tree, NUMBERS)
    except UsageError as error:
        assert "division by zero" in str(error)
        assert wanted is None or abs(wanted) > 1e12  # where rounding hides that a difference is 0
    else:
        if wanted is not None and abs(float(found)) < 1e9 and conditioned(tree):
            assert float(found) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def conditioned(tree) -> bool:
    """No part of it is a difference that is nearly 0, whose rounding a division would magnify."""
    parts = [abs(value(part, NUMBERS)) for _, part in nodes(tree)]
    return all(part == 0 or part > Fraction(1, 1000) for part in parts)


def python_leaves():
    numerals = st.integers(0, 99).map(lambda value: (ast.Constant(value), Fraction(value)))
    names = st.integers(0, 4).map(lambda place: (ast.Name(f"NUM{place}", ast.Load()), Fraction(EXACT[place])))
    return numerals | names


def combine(children):
    def join(parts):
        kind, (left, a), (right, b) = parts
        value = None if a is None or b is None or (kind is ast.Div and b == 0) else SIGNS[kind](a, b)
        return ast.BinOp(left, kind(), right), value

    negative = children.map(lambda part: (ast.UnaryOp(ast.USub(), part[0]), None if part[1] is None else -part[1]))
    return st.tuples(st.sampled_from(list(SIGNS)), children, children).map(join) | negative


@given(st.recursive(python_leaves(), combine, max_leaves=12))
def test_evaluator_agrees_with_python_on_any_tree(made):
    tree, value = made
    text = ast.unparse(tree)
    if value is None:
        with pytest.raises(UsageError, match="division by zero"):
            evaluate(text, EXACT)
    else:
        assert evaluate(text, EXACT) == value


@given(st.integers(-20, 20).filter(bool), st.integers(-10, 10))
def test_powers_agree_with_python(base, exponent):
    assert evaluate("NUM0 ** NUM1", [base, exponent]) == Fraction(base) ** exponent


@pytest.mark.parametrize(
    "text",
    [
        "", "NUM0 +", "__import__('os')", "NUM0.real", "[1]", "1 if 1 else 2", "NUM2", "NUM01", "NUM", "x + 1",
        "9**9**9", "2**0.5", "(" * 300, "-" * 399 + "x", "1 " * 300, "True", "1j", "'a' * 3", "1 // 2", "1 % 2",
        "1 << 9", "1e999", "lambda: 1", "(1, 2)", "1\0", "(((9**99)**99)**99)**99", "+1", "f'{1}'", "(y := 3)",
        "1 = 1", "1; 2",
    ],
)  # fmt: skip
def test_hostile_expressions_are_refused(text):
    with pytest.raises(UsageError):
        evaluate(text, [1, 2])


def test_decimals_count_as_written():
    assert evaluate("0.1 + NUM0", [0.2]) == Fraction(3, 10)
    with pytest.raises(UsageError, match="NUM0 is inf"):
        evaluate("NUM0", [float("inf")])


@pytest.mark.parametrize(
    "text", ["-2**2", "2**-1", "2**3**2", "(2**3)**2", "1-(2-3)-4", "8/4/2", "8/(4/2)", "2*-3", "--2"]
)
def test_order_and_side_are_pythons(text):
    assert float(evaluate(text)) == python(text)


@given(TREES, st.text("0123456789+-*/^() NUM.", max_size=30))
def test_what_is_written_is_read_back(tree, noise):
    assert parse(show(tree)) == tree
    try:
        assert parse(show(parse(noise))) == parse(noise)
    except UsageError:
        pass


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_one_error(text):
    try:
        assert isinstance(evaluate(text, NUMBERS), Fraction)
    except UsageError as error:
        assert "\n" not in str(error).replace(text, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: a number is missing at the end"),
        ("3 +", "character 4: a number is missing at the end"),
        ("3 + * 2", "character 5: a number is missing before '*'"),
        ("(3 + 4", "character 7: the parenthesis of character 1 is not closed"),
        ("3 4", "character 3: an operator is missing before '4'"),
        ("3)", "character 2: an operator is missing before '\\)'"),
        ("__import__('os')", "character 1: '_' is no part of arithmetic"),
        ("NUM0.real", "character 5: '.' is no part"),
        ("f(3)", "character 1: 'f' is no part"),
        ("[1]*9", "character 1: '\\[' is no part"),
        ("٣", "character 1: '٣' is no part"),
        ("1e9", "character 2: 'e' is no part"),
        ("(" * 150 + "1" + ")" * 150, "nested more than 50 deep"),
        ("-" * 300 + "1", "nested more than 50 deep"),
        ("2^" * 150 + "1", "nested more than 50 deep"),
        ("1+" * 300 + "1", "601 characters: at most 400 are read; shorten it"),
        ("9**9**9", "'9 \\^ 9 \\^ 9': an exponent must be whole, and the power below 4096 bits"),
        ("2^0.5", "an exponent must be whole"),
        ("1 / (NUM0 - NUM0)", "'1 / \\( NUM0 - NUM0 \\)': division by zero"),
        ("0 ^ -1", "division by zero"),
        ("NUM7", "NUM7 is used, but only 3 numbers are given"),
    ],
)
def test_what_is_no_arithmetic_is_refused_by_place(text, message):
    with pytest.raises(UsageError, match=message):
        evaluate(text, NUMBERS)


def test_a_long_sum_is_no_depth():
    assert evaluate("1+" * 199 + "1") == 200


@given(TREES, st.sampled_from([*CHANGES, None]), st.integers(0, 1000))
def test_a_changed_tree_is_an_expression_that_differs_in_one_place(tree, change, seed):
    new = changed(tree, ["NUM0", "NUM1", "1"], random.Random(seed), change)
    assert parse(show(new)) == new
    size = {name: [len(list(nodes(one))) for one in (tree, new)] for name in CHANGES}
    if change == "edit":
        assert size["edit"][0] == size["edit"][1]
        assert new != tree
    if change == "swap" and isinstance(tree, tuple):
        assert sorted(map(str, leaves_of(new))) == sorted(map(str, leaves_of(tree)))
    if change == "expand":
        assert size["expand"][1] == size["expand"][0] + 2
    if change == "delete" and isinstance(tree, tuple):
        assert size["delete"][1] < size["delete"][0]


def leaves_of(tree):
    return [node for _, node in nodes(tree) if isinstance(node, str)]


def test_each_change_of_a_sum():
    tree, rng = ("*", ("+", "NUM0", "NUM1"), "2"), random.Random(0)
    found = {change: {show(changed(tree, ["NUM0", "NUM1"], rng, change)) for _ in range(300)} for change in CHANGES}
    assert found["delete"] == {"NUM0 * 2", "NUM1 * 2", "NUM0 + NUM1", "2"}
    assert found["swap"] == {"2 * ( NUM0 + NUM1 )", "( NUM1 + NUM0 ) * 2"}
    assert "NUM0 * NUM1 * 2" in found["edit"] and "( NUM0 + NUM1 ) / 2" in found["edit"]
    assert len(found["edit"]) == 3 + 3 + 1 + 1 + 2  # two operators, two numbers, and 2, which is neither of the leaves
    assert "( NUM0 + NUM1 ) * ( 2 + NUM0 )" in found["expand"]


def test_a_single_number_is_expanded_where_nothing_else_can_be():
    assert all(isinstance(changed("NUM0", ["NUM0", "1"], random.Random(seed), "swap"), tuple) for seed in range(5))


def test_leaves_of_one_kind_are_refused():
    with pytest.raises(UsageError, match="at least two different numbers"):
        changed("NUM0", ["1", "1"], random.Random(0))


@settings(max_examples=50)
@given(TREES, st.data())
def test_put_changes_one_place_only(tree, data):
    path, node = data.draw(st.sampled_from(list(nodes(tree))))
    assert put(tree, path, node) == tree
    assert dict(nodes(put(tree, path, "9")))[path] == "9"
