"""Arithmetic expressions as trees: read, valued, written out, and changed at random.

An expression is text such as "( NUM0 + NUM1 ) * 2": + - * / and ^ (or **), parentheses, numerals, PI (3.14, as schools
have it) and NUM0, NUM1, …, the numbers of a problem. It is read here, by rules of its own; nothing is executed. A tree
is a numeral or a name, or (operator, left, right). Values are exact fractions.

A changed expression is nearly right, and therefore a good wrong answer to learn from: the four changes are those of
Shen et al. 2021 (Generate & Rank, §3.3).
"""

from __future__ import annotations

import math
import operator
import random
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from labkit.errors import UsageError

Tree = str | tuple  # a leaf, or (operator, Tree, Tree)
ORDER = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 3}  # what binds more tightly has the higher number
DO = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
PART = re.compile(r"\*\*|[-+*/^()]|NUM(?:0|[1-9][0-9]*)|PI|[0-9]+(?:\.[0-9]+)?")
PI = Fraction("3.14")
LONGEST, DEEPEST = 400, 50  # characters of an expression, parentheses within one another
LARGEST = 4096  # bits of a power
CHANGES = ("expand", "edit", "delete", "swap")
FORM = "write it like (NUM0 + NUM1) * 2"


def parse(text: str) -> Tree:
    """The tree of an expression; UsageError, naming the character, for anything that is none."""
    if len(text) > LONGEST:
        raise UsageError(f"an expression of {len(text)} characters: at most {LONGEST} are read; shorten it")
    return _Reader(text).all()


class _Reader:
    """A text, its parts as (part, place), and the next one to read."""

    def __init__(self, text: str) -> None:
        self.text, self.parts, self.next = text, [], 0
        place = 0
        while place < len(text):
            if not text[place].isspace():
                if not (found := PART.match(text, place)):
                    raise self.wrong(f"{text[place]!r} is no part of arithmetic", place)
                self.parts.append(("^" if found[0] == "**" else found[0], place))
            place = place + 1 if text[place].isspace() else found.end()

    def wrong(self, what: str, place: int) -> UsageError:
        return UsageError(f"expression {self.text!r}, character {place + 1}: {what}; {FORM}")

    def look(self) -> tuple[str, int]:
        return self.parts[self.next] if self.next < len(self.parts) else ("", len(self.text))

    def all(self) -> Tree:
        tree = self.above(1, 0)
        if self.look()[0]:
            raise self.wrong(f"an operator is missing before {self.look()[0]!r}", self.look()[1])
        return tree

    def above(self, least: int, depth: int) -> Tree:
        """What follows, joined by operators of at least that order."""
        if depth > DEEPEST:
            raise self.wrong(f"nested more than {DEEPEST} deep", self.look()[1])
        tree = self.one(depth)
        while ORDER.get(self.look()[0], 0) >= least:
            sign = self.look()[0]
            self.next += 1
            tree = (sign, tree, self.above(ORDER[sign] + (sign != "^"), depth + 1))  # a ^ b ^ c is a ^ (b ^ c)
        return tree

    def one(self, depth: int) -> Tree:
        """A number, a parenthesis, or − before one of them (but after a power: −2 ^ 2 is −4)."""
        part, place = self.look()
        self.next += 1
        if part == "-":
            return ("-", "0", self.above(ORDER["^"], depth + 1))
        if part == "(":
            tree = self.above(1, depth + 1)
            if self.look()[0] != ")":
                raise self.wrong(f"the parenthesis of character {place + 1} is not closed", self.look()[1])
            self.next += 1
            return tree
        if not part or part in ORDER or part == ")":
            raise self.wrong(f"a number is missing{f' before {part!r}' if part else ' at the end'}", place)
        return part


def show(tree: Tree) -> str:
    """The expression of a tree, with spaces and with no more parentheses than it needs: `parse` gives the tree back."""
    if isinstance(tree, str):
        return tree
    sign, *sides = tree
    own, written = ORDER[sign], []
    for left, side in zip((True, False), sides, strict=True):
        inner = own if isinstance(side, str) else ORDER[side[0]]
        same = not isinstance(side, str) and inner == own and left == (sign == "^")
        written.append(f"( {show(side)} )" if inner < own or same else show(side))
    return f"{written[0]} {sign} {written[1]}"


def value(tree: Tree, numbers: Sequence[float | Fraction] = ()) -> Fraction:
    """The exact value, with numbers[k] for NUMk; decimals count as they are written (0.1 is one tenth).

    UsageError, naming the part, for a number that is not given, a division by zero, or a power that is no short one.
    """
    if isinstance(tree, str):
        if not tree.startswith("NUM"):
            return PI if tree == "PI" else Fraction(tree)
        if (place := int(tree[3:])) >= len(numbers):
            raise UsageError(f"{tree} is used, but only {len(numbers)} numbers are given: NUM0 is the first")
        if not math.isfinite(number := numbers[place]):
            raise UsageError(f"{tree} is {number}: only finite numbers can be reckoned with")
        return Fraction(str(number)) if isinstance(number, float) else Fraction(number)
    left, right = (value(side, numbers) for side in tree[1:])
    if tree[0] == "^":
        bits = max(left.numerator.bit_length(), left.denominator.bit_length())
        if right.denominator != 1 or bits * abs(right) > LARGEST:
            raise UsageError(f"'{show(tree)}': an exponent must be whole, and the power below {LARGEST} bits")
    if not right and tree[0] == "/" or not left and tree[0] == "^" and right < 0:
        raise UsageError(f"'{show(tree)}': division by zero; nothing may be divided by {show(tree[2])}, which is 0")
    return left ** int(right) if tree[0] == "^" else DO[tree[0]](left, right)


def evaluate(expression: str, numbers: Sequence[float | Fraction] = ()) -> Fraction:
    """Read and valued.

    >>> evaluate("(NUM0 + NUM1) * 2", [3, 4])
    Fraction(14, 1)
    """
    return value(parse(expression), numbers)


Path = tuple[int, ...]  # 1 for left, 2 for right, from the root


def nodes(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree]]:
    """Every part of a tree, and where it stands."""
    yield path, tree
    for side in (1, 2) if isinstance(tree, tuple) else ():
        yield from nodes(tree[side], (*path, side))


def put(tree: Tree, path: Path, new: Tree) -> Tree:
    """The tree with `new` at a place."""
    if not path:
        return new
    sides = list(tree)
    sides[path[0]] = put(tree[path[0]], path[1:], new)
    return tuple(sides)


def changed(tree: Tree, leaves: Sequence[str], rng: random.Random, change: str | None = None) -> Tree:
    """The tree with one `change`, of CHANGES, at a random place; None draws one.

    expand: a number x becomes x ∘ y; edit: another number, or another operator; delete: an operator goes, and one of
    its sides; swap: its sides change places. Of a single number only the first two can be: it is expanded instead.
    `leaves` are the numbers to put in, at least two. The *value* may stay the same, as in "a + b" swapped.
    """
    if len(set(leaves)) < 2:
        raise UsageError(f"leaves={list(leaves)}: at least two different numbers are needed to put in")
    change = change or rng.choice(CHANGES)
    every = list(nodes(tree))
    if change in ("delete", "swap") and len(every) == 1:
        change = "expand"
    if change == "edit":
        path, node = rng.choice(every)
        known, now = (leaves, node) if isinstance(node, str) else (tuple(ORDER)[:4], node[0])
        other = rng.choice([one for one in known if one != now])
        return put(tree, path, other if isinstance(node, str) else (other, *node[1:]))
    path, node = rng.choice([one for one in every if isinstance(one[1], str) == (change == "expand")])
    if change == "expand":
        sides = [node, rng.choice(leaves)]
        rng.shuffle(sides)
        return put(tree, path, (rng.choice("+-*/"), *sides))
    return put(tree, path, node[rng.randint(1, 2)] if change == "delete" else (node[0], node[2], node[1]))
