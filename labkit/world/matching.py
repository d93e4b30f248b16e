"""Changing facts: what makes two statements say the same, contradict each other, or leave each other open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from labkit.world.facts import Teller
from labkit.world.schema import BY_NAME, RELATIONS, Fact, Relation
from labkit.world.settings import lexicon

# What non-matches change, in shares: everything, the relation, one name. The first is easy to see, the last is hard.
CHANGES = {"all": 0.35, "relation": 0.3, "name": 0.35}
CUED = 0.5  # share of pairs with a phrase that gives their label away, as in real data (Gururangan et al. 2018)
CHAINS = {"born_in": "located_in", "lives_in": "located_in", "based_in": "located_in", "set_in": "located_in"}
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

    def apart(self, one: int, other: int) -> bool:
        """Have the names of these entities no part in common, so that a glance tells them apart?"""
        return set(self.name(one).split()).isdisjoint(self.name(other).split()) and not any(
            first == second
            for first, second in zip(self.graph.entities[one].parts, self.graph.entities[other].parts, strict=False)
        )

    def other_end(self, fact: Fact, end: str) -> Fact:
        """The fact with another "head" or "tail" of the same type; not true in this world, held out or not.

        The new name is clearly another one wherever the world has one.
        """
        relation, old, found = BY_NAME[fact.relation], getattr(fact, end), fact
        for _ in range(50):
            new = self.graph.sample_entity(self.rng, getattr(relation, end)).id
            head, tail = (new, fact.tail) if end == "head" else (fact.head, new)
            if head != tail and not self.graph.has(head, fact.relation, tail):
                found = Fact(head, fact.relation, tail)
                if self.apart(old, new):
                    break
        return found  # the fact itself in a world so small that everything is true of everything: callers draw again

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

    def change(self) -> str:
        """What a non-match changes: "all", "relation" or "name"."""
        return self.rng.choices(list(CHANGES), list(CHANGES.values()))[0]

    def unlike(self, fact: Fact) -> tuple[Fact, str]:
        """A statement that is not a paraphrase, and what was changed: "all", "relation", "head" or "tail"."""
        change = self.change()
        if change == "all":
            return self.elsewhere(fact), change
        other = (self.other_relation(fact) or self.aside(fact)) if change == "relation" else None
        if other is not None:
            return other, change
        end = self.rng.choice(("tail", "head"))
        return self.other_end(fact, end), end

    def elsewhere(self, fact: Fact) -> Fact:
        """A stated fact about other things in another relation, where the world has one."""
        for _ in range(50):
            other = self.graph.sample_fact(self.rng)
            if other.relation != fact.relation and not {other.head, other.tail} & {fact.head, fact.tail}:
                return other
        return fact  # as in `other_end`

    def chain(self, fact: Fact) -> tuple[Fact, Fact] | None:
        """From "born in a city" the fact that the city lies in a country, and the conclusion "born in that country"."""
        link = CHAINS.get(fact.relation)
        steps = [one for one in self.graph.facts_of(fact.tail) if one.head == fact.tail and one.relation == link]
        return (steps[0], replace(fact, tail=steps[0].tail)) if steps else None

    def judged(self, fact: Fact, label: str, cued: bool) -> tuple[Fact, str] | None:
        """What a hypothesis says that stands to the fact as `label` says: a fact, and the cue that goes with it or "".

        All in relations with one tail a head, the fact's too: only there does another tail contradict. A contradiction
        names another tail, or with a cue denies the fact itself.
        """
        if label == "entailment":
            return fact, "affirm" if cued else ""
        if label == "neutral":
            makers = [self.other_relation, self.aside]
            self.rng.shuffle(makers)
            other = makers[0](fact, functional=True) or makers[1](fact, functional=True)
        else:
            other = fact if cued else self.other_end(fact, "tail")
        if other is None or (not cued and follows(fact, other)):
            return None
        return other, {"neutral": "hedge", "contradiction": "deny"}[label] if cued else ""

    def cue(self, bare: str, kind: str) -> str:
        """The bare text within a phrase of this kind ("affirm": "it is surely true that …"); "" leaves it as it is."""
        return self.rng.choice(lexicon("pairs", self.language)[kind]).format(s=bare) if kind else bare

    def functional_relations(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """Relations with one tail a head that texts may state, out of `names` or all."""
        return tuple(name for name in self.graph.relations_in_text(names) if BY_NAME[name].functional)
