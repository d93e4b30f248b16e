"""Word problems with the expression that solves them.

A problem opens with a quantity and changes it step by step; the numbers of its text are mapped to NUM0, NUM1, … in the
order in which they stand there, as in Generate & Rank (Shen et al. 2021, arXiv 2109.03034). Some problems hold a number
that has nothing to do with the question. Every quantity on the way is a whole number, at least 1.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from labkit.world.expressions import evaluate
from labkit.world.settings import World, fits, join, lexicon
from labkit.world.topics import SLOT, words_of

NUMBER = re.compile(r"NUM(0|[1-9][0-9]*)")
NOISE = 0.2  # share of problems with a number that does not matter
OPENINGS = {"have": "a", "more": "a + b", "fewer": "a - b", "boxes": "a * b"}
STEPS = {  # from x, the quantity before
    "gain": "x + a", "lose": "x - a", "times": "x * a", "share": "x / a",
    "gain_boxes": "x + a * b", "lose_each": "x - a * b",
}  # fmt: skip
FORMS = OPENINGS | STEPS
PLACES = {"x": "NUM0", "a": "NUM1", "b": "NUM2"}


def problems(language: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Problems without end, of one to four operators, each number equally often.

    Each is `{text, plain, expression, numbers, answer, operators}`: `text` with NUM0, NUM1, … in place of the numbers,
    `plain` with the numbers; `numbers` and `answer` are whole.
    """
    while True:
        count, problem = rng.randint(1, 4), None
        while problem is None:
            problem = _problem(language, rng, count)
        yield problem


def _problem(language: str, rng: random.Random, count: int) -> dict[str, Any] | None:
    """One problem, or None where the steps drawn do not end in `count` operators."""
    shapes = _plan(rng, count)
    story, value = [], 0
    for place, shape in enumerate(shapes):
        drawn = _quantities(shape, value, rng)
        if drawn is None:
            return None
        quantities, value = drawn
        story.append(("openings" if place == 0 else "steps", shape, quantities))
    if rng.random() < NOISE:
        story.insert(rng.randint(1, len(story)), ("noise", "", {"a": rng.randint(2, 60)}))
    return _tell(language, rng, story, value) | {"operators": count}


def _plan(rng: random.Random, count: int) -> list[str]:
    """An opening and steps whose operators add up to `count`."""
    opening = rng.choice([name for name, form in OPENINGS.items() if _size(form) <= count])
    shapes, left = [opening], count - _size(OPENINGS[opening])
    while left:
        step = rng.choice([name for name, form in STEPS.items() if _size(form) <= left])
        shapes.append(step)
        left -= _size(STEPS[step])
    return shapes


def _size(form: str) -> int:
    return sum(char in "+-*/" for char in form)


def _quantities(shape: str, value: int, rng: random.Random) -> tuple[dict[str, int], int] | None:
    """Numbers for one opening or step, and the quantity after it, from 1 to 999; None where they do not fit."""
    form = FORMS[shape]
    a = rng.randint(2, 9) if shape in ("boxes", "times", "gain_boxes", "lose_each") else rng.randint(2, 60)
    b = rng.randint(2, 30 if shape in ("more", "fewer") else 9)
    if shape == "share":
        divisors = [divisor for divisor in range(2, 13) if value % divisor == 0]
        a = rng.choice(divisors) if divisors else 1
    quantities = {"a": a, "b": b} if "b" in form else {"a": a}
    after = int(evaluate(_put(form, PLACES), (value, a, b)))
    return (quantities, after) if 1 <= after <= 999 and a > 1 else None


@functools.cache
def _words(language: str) -> dict[str, tuple[str, ...]]:
    words = lexicon("math_problems", language)
    return {slot: words_of(words[slot]) for slot in ("name", "thing", "day")}


def _tell(
    language: str, rng: random.Random, story: list[tuple[str, str, dict[str, int]]], answer: int
) -> dict[str, Any]:
    """The story in words, with the expression that its steps build up."""
    words, shared = lexicon("math_problems", language), _words(language)
    women = words_of(words["she"])
    name = rng.choice(shared["name"])
    name2 = rng.choice([other for other in shared["name"] if (other in women) != (name in women)])
    fixed = {"name": name, "name2": name2, "thing": rng.choice(shared["thing"]), "day": rng.choice(shared["day"])}
    fixed["she"] = words["pronouns"][name not in women]  # the other person is of the other sex: no doubt who is meant
    fixed["unit"] = fixed["thing"][0]  # Chinese: the measure word
    numbers: list[int] = []
    masked, plain, expression = [], [], ""
    for part, shape, quantities in story:
        pattern = rng.choice(words[part][shape] if shape else words[part])
        place = {}
        for slot in SLOT.findall(pattern):
            if slot in quantities:
                place[slot] = f"NUM{len(numbers)}"
                numbers.append(quantities[slot])
        masked.append(pattern.format(**fixed, **place))
        plain.append(pattern.format(**fixed, **quantities))
        expression = _extend(expression, shape, place) if shape else expression
    question = rng.choice(words["questions"]).format(**fixed)
    texts = {"text": join([*masked, question], language), "plain": join([*plain, question], language)}
    return texts | {"expression": expression, "numbers": numbers, "answer": answer}


def _extend(expression: str, shape: str, place: Mapping[str, str]) -> str:
    """The expression after one more step, with no more parentheses than it needs."""
    form = FORMS[shape]
    bare = re.sub(r"\([^()]*\)", "", expression)
    while (inner := re.sub(r"\([^()]*\)", "", bare)) != bare:
        bare = inner
    sums = "+" in bare or "-" in bare
    before = f"({expression})" if sums and form[2:3] in ("*", "/") else expression
    return _put(form, {"x": before, **place})


def _put(form: str, parts: Mapping[str, str]) -> str:
    return " ".join(parts.get(token, token) for token in form.split())


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Problems with their numbers and, mostly, the worked answer, without end; the world's dials change nothing."""
    answers = lexicon("math_problems", language)["answers"]
    for problem in problems(language, rng):
        text = problem["plain"]
        if rng.random() < 0.8:
            worked = NUMBER.sub(lambda found: str(problem["numbers"][int(found[1])]), problem["expression"])  # noqa: B023
            text = rng.choice(answers).format(problem=text, worked=worked, answer=problem["answer"])
        if fits(text, language):
            yield text
