"""The forms that a comparison of two texts takes: the same said, the same asked, an answer, what follows.

What decides is whether two wordings name the same entities in the same relation. Each form rests on a few facts, has a
first text, and makes second texts that agree with it or not; the tasks (`pairs.py`) take one of them, pre-training text
(`comparisons.py`) several beside one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from labkit.world.matching import CHAINS, Matcher, follows
from labkit.world.schema import RELATIONS, Fact
from labkit.world.settings import lexicon

CHAINED = 0.3  # share of entailment examples that need two facts together
Second = tuple[str, str]  # the text, and what was done to make it: "same", "chain", "all", "relation", "head", "tail"


@dataclass(frozen=True)
class Form:
    """`told`: the facts to rest on. `first`: their text. `second(…, first, same)`: a text that agrees or not.

    None where the drawn facts do not allow it: draw again. `cues` are the lexicon's phrases that tell (same, other).
    """

    told: Callable[[Matcher], list[Fact] | None]
    first: Callable[[Matcher, list[Fact]], str]
    second: Callable[[Matcher, list[Fact], str, bool], Second | None]
    cues: tuple[str, str]


def _one(matcher: Matcher) -> list[Fact]:
    return [matcher.graph.sample_fact(matcher.rng)]


def _said(matcher: Matcher, told: list[Fact]) -> str:
    return matcher.say(told[0])


def _asked(matcher: Matcher, told: list[Fact]) -> str:
    return matcher.ask(told[0])


def paraphrase(matcher: Matcher, told: list[Fact], first: str, same: bool) -> Second:
    """The same fact in other words, or another."""
    if same:
        return matcher.say(told[0], first), "same"
    other, change = matcher.unlike(told[0])
    return matcher.say(other), change


def duplicate(matcher: Matcher, told: list[Fact], first: str, same: bool) -> Second | None:
    """The same question in other words, or about another thing, another property or both."""
    fact = told[0]
    if same:
        return matcher.ask(fact, first), "same"
    change = matcher.change()
    if change == "all":
        return matcher.ask(matcher.elsewhere(fact)), change
    if change == "name":
        return matcher.ask(matcher.other_end(fact, "head")), "head"
    kinds = [r.name for r in RELATIONS if r.head == matcher.graph.entities[fact.head].type]
    others = [name for name in kinds if name != fact.relation]
    return (matcher.ask(replace(fact, relation=matcher.rng.choice(others))), change) if others else None


def answer(matcher: Matcher, told: list[Fact], first: str, same: bool) -> Second | None:
    """A sentence that answers the question, or speaks of another thing or property."""
    fact = told[0]
    if same:
        return matcher.say(fact), "same"
    change = matcher.change()
    if change == "all":
        return matcher.say(matcher.elsewhere(fact)), change
    if change == "relation":
        other = matcher.aside(fact)
        return other and (matcher.say(other), change)
    other = matcher.graph.sample_fact(matcher.rng, [fact.relation])
    if fact.head in (other.head, other.tail) or not matcher.apart(fact.head, other.head):
        return None
    return None if matcher.graph.has(fact.head, fact.relation, other.tail) else (matcher.say(other), "head")


def _premises(matcher: Matcher) -> list[Fact] | None:
    """Two or three facts: one, perhaps what carries it further, perhaps another about the same thing."""
    chained = matcher.rng.random() < CHAINED and matcher.graph.relations_in_text(tuple(CHAINS))
    fact = matcher.graph.sample_fact(matcher.rng, chained or None)
    chain = matcher.chain(fact) if chained else None
    rest = matcher.aside(fact) if matcher.rng.random() < 0.5 or chain is None else None
    told = [one for one in (fact, chain and chain[0], rest) if one]
    return told if len(told) > 1 else None


def _premise(matcher: Matcher, told: list[Fact]) -> str:
    shuffled = matcher.rng.sample(told, len(told))
    return matcher.rng.choice(lexicon("pairs", matcher.language)["and"]).join(matcher.say(fact) for fact in shuffled)


def entailment(matcher: Matcher, told: list[Fact], first: str, same: bool) -> Second | None:
    """A hypothesis that follows from the premise, from two of its facts together where it can, or that does not."""
    chain = matcher.chain(told[0])
    if chain and chain[0] not in told:
        chain = None
    if same:
        hypothesis, kind = (chain[1], "chain") if chain else (told[0], "same")
    else:
        hypothesis, kind = _elsewhere(matcher, chain[1]) if chain else matcher.unlike(told[0])
        if any(follows(one, hypothesis) for one in told):
            return None
    return matcher.say(hypothesis, first), kind


def _elsewhere(matcher: Matcher, conclusion: Fact) -> tuple[Fact, str]:
    """The conclusion of a chain about another country, or about another head."""
    graph, end = matcher.graph, matcher.rng.choice(("head", "tail"))
    old = getattr(conclusion, end)
    others = [one.id for one in graph.of_type(graph.entities[old].type) if one.id != old]
    tries = matcher.rng.sample(others, min(20, len(others)))
    new = next((one for one in tries if matcher.apart(one, old)), tries[0])
    return replace(conclusion, **{end: new}), end


FORMS: Mapping[str, Form] = {
    "alike": Form(_one, _said, paraphrase, ("again", "instead")),
    "equal": Form(_one, _asked, duplicate, ("again", "instead")),
    "answer": Form(_one, _asked, answer, ("affirm", "hedge")),
    "follow": Form(_premises, _premise, entailment, ("affirm", "hedge")),
}
