"""Changing facts: what makes two statements say the same, contradict each other, or leave each other open."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from labkit.world.facts import Teller
from labkit.world.graph import RELATIONS, Fact, Relation
from labkit.world.schema import BY_NAME
from labkit.world.settings import lexicon

NAMED = 0.35  # share of non-matches that change a name; the rest change the relation
WRAPPED = 0.6  # share of hypotheses that say "it is true that …" or "it is false that …"
IMPLIED = {("capital", "located_in")}  # the second, with head and tail changed, follows from the first


def follows(premise: Fact, hypothesis: Fact) -> bool:
    """Is the hypothesis the premise itself, its other direction, or implied by it?"""
    if (hypothesis.head, hypothesis.tail) == (premise.head, premise.tail):
        return hypothesis.relation == premise.relation
    if (hypothesis.head, hypothesis.tail) != (premise.tail, premise.head):
        return False
    same = hypothesis.relation == premise.relation and BY_NAME[premise.relation].symmetric
    return same or (premise.relation, hypothesis.relation) in IMPLIED


class Matcher(Teller):
    """A teller that also knows how to alter a fact so that it is no longer true."""

    @cached_property
    def siblings(self) -> dict[str, list[tuple[Relation, bool]]]:
        """Relation -> the others between the same two types, each with whether head and tail change places."""
        return {
            one.name: [
                (other, (other.head, other.tail) != (one.head, one.tail))
                for other in RELATIONS
                if other is not one and {other.head, other.tail} == {one.head, one.tail}
                and (one.name, other.name) not in IMPLIED
            ]
            for one in RELATIONS
        }  # fmt: skip

    def other_end(self, fact: Fact, end: str) -> Fact:
        """The fact with another "head" or "tail" of the same type; not true in this world, held out or not."""
        relation = BY_NAME[fact.relation]
        for _ in range(50):
            new = self.graph.sample_entity(self.rng, getattr(relation, end)).id
            head, tail = (new, fact.tail) if end == "head" else (fact.head, new)
            if head != tail and not self.graph.has(head, fact.relation, tail):
                return Fact(head, fact.relation, tail)
        return fact  # a world so small that everything is true of everything: callers draw again

    def other_relation(self, fact: Fact, functional: bool = False) -> Fact | None:
        """Another relation between the same two entities, not true in this world; None where there is none."""
        choices = []
        for relation, turned in self.siblings[fact.relation]:
            head, tail = (fact.tail, fact.head) if turned else (fact.head, fact.tail)
            if (relation.functional or not functional) and not self.graph.has(head, relation.name, tail):
                choices.append(Fact(head, relation.name, tail))
        return self.rng.choice(choices) if choices else None

    def aside(self, fact: Fact, functional: bool = False) -> Fact | None:
        """Another stated fact about the head in another relation, which the first neither implies nor rules out."""
        choices = [
            other for other in self.graph.facts_of(fact.head)
            if other.relation != fact.relation and (fact.relation, other.relation) not in IMPLIED
            and {other.head, other.tail} != {fact.head, fact.tail}
            and (BY_NAME[other.relation].functional or not functional)
        ]  # fmt: skip
        return self.rng.choice(choices) if choices else None

    def unlike(self, fact: Fact) -> tuple[Fact, str]:
        """A statement that is not a paraphrase, and what was changed: "tail", "head" or "relation"."""
        other = None if self.rng.random() < NAMED else self.other_relation(fact) or self.aside(fact)
        if other is not None:
            return other, "relation"
        change = self.rng.choice(("tail", "head"))
        return self.other_end(fact, change), change

    def judged(self, fact: Fact, label: str, wrapped: bool) -> tuple[Fact, str] | None:
        """What a hypothesis says that stands to the fact as `label` says: a fact, and "affirm", "deny" or "" around it.

        All in relations with one tail a head, the fact's too: only there does another tail contradict. A plain
        contradiction names another tail, a wrapped one denies; an open question may be wrapped either way.
        """
        if label == "neutral":
            makers = [self.other_relation, self.aside]
            self.rng.shuffle(makers)
            other = makers[0](fact, functional=True) or makers[1](fact, functional=True)
            return other and (other, self.rng.choice(("affirm", "deny")) if wrapped else "")
        if label == "entailment":
            return fact, "affirm" if wrapped else ""
        return (fact, "deny") if wrapped else (self.other_end(fact, "tail"), "")

    def wrap(self, bare: str, how: str) -> str:
        """The bare statement affirmed ("it is true that …"), denied, or as it is."""
        return self.rng.choice(lexicon("pairs", self.language)[how]).format(s=bare) if how else bare

    def functional_relations(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """Relations with one tail a head that texts may state, out of `names` or all."""
        return tuple(name for name in self.graph.relations_in_text(names) if BY_NAME[name].functional)
