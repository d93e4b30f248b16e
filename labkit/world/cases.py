"""Court cases: acts and circumstances that make up a charge of the graph, its statute, and a term that may be unfair.

A charge is a circumstance and a crime ("armed robbery"); each sentence about either may mislead (chance
`label_noise / 2`), and charges follow Zipf's law, so the task is scored by macro-F1. The term follows from charge and
confession, and is one grade harsher by chance: for a newcomer more often than for a local, by `World.bias`. That
planted unfairness is there to be found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from labkit.world.examples import WITH_UNLABELLED, Row, best_reader, collect, cut, finish_task
from labkit.world.facts import Teller
from labkit.world.schema import Entity
from labkit.world.settings import World, fits, join, lexicon, randomness

LOCAL, NEWCOMER = 0, 1
HARSH = 0.1  # chance of a harsher term that everybody runs
CONFESSION = 0.3
# How grave, in grades of the list of terms: each crime and each circumstance, in the order of the name parts.
CRIMES = (1, 1, 3, 2, 2, 1, 1, 2, 3, 0, 2, 1, 4, 0)
CIRCUMSTANCES = (2, -1, 1, 0, 1, 1)


@dataclass(frozen=True)
class Case:
    """What happened, as the file says: the crimes and circumstances that its sentences suggest, and the outcome."""

    charge: Entity
    acts: tuple[int, ...]  # name parts: which crime each sentence about the act suggests
    circumstances: tuple[int, ...]
    group: int  # LOCAL or NEWCOMER
    confessed: bool
    term: int  # index into the terms, from mild to harsh


class Clerk(Teller):
    """Writes case descriptions, and knows how probable each charge is behind them."""

    @property
    def words(self) -> dict[str, Any]:
        """The lexicon of cases."""
        return lexicon("cases", self.language)

    def case(self, noise: float, most: int = 2) -> Case:
        """A case of a charge drawn by frequency; one to `most` sentences on the act, as many on circumstances."""
        rng, charge = self.rng, self.graph.sample_entity(self.rng, "charge")
        suggested = [
            tuple(
                rng.randrange(count) if rng.random() < noise else charge.parts[place]
                for _ in range(rng.randint(1, most))
            )
            for place, count in ((1, len(CRIMES)), (0, len(CIRCUMSTANCES)))
        ]  # fmt: skip
        group, confessed = rng.choice((LOCAL, NEWCOMER)), rng.random() < CONFESSION
        return Case(charge, suggested[0], suggested[1], group, confessed, self.term(charge, group, confessed))

    def term(self, charge: Entity, group: int, confessed: bool) -> int:
        """The grade of the term: gravity, less one for a confession, and by chance one more."""
        grade = 1 + CIRCUMSTANCES[charge.parts[0]] + CRIMES[charge.parts[1]] - confessed
        harsher = self.rng.random() < HARSH + self.world.bias * (group == NEWCOMER)
        return min(max(grade, 0) + harsher, len(self.words["terms"]) - 1)

    def fill(self, kind: str, **values: str) -> str:
        """A sentence of this kind."""
        return self.rng.choice(self.words[kind]).format(month=self.rng.choice(self.words["months"]), **values)

    def description(self, case: Case, neutral: int) -> str:
        """The facts of the case, without charge, statute and term."""
        words, rng = self.words, self.rng
        name = rng.choice(self.graph.of_type("person")).name[self.language]
        told = [self.fill("act", act=rng.choice(words["acts"][crime])) for crime in case.acts]
        told += [self.fill("circumstance", what=rng.choice(words["circumstances"][one])) for one in case.circumstances]
        for one in rng.sample(words["neutral"], neutral):
            told.insert(rng.randint(0, len(told)), one.format(month=rng.choice(words["months"])))
        told += [self.fill("confession")] if case.confessed else []
        return join([self.fill("open", name=name, group=words["groups"][case.group]), *told], self.language)

    def statute(self, charge: Entity) -> str | None:
        """The law that the charge falls under, where a text may say so."""
        found = [fact for fact in self.graph.facts_of(charge.id) if fact.relation == "punished_under"]
        return self.name(found[0].tail) if found else None

    def posterior(self, case: Case, noise: float, prior: float = 1.0) -> list[float]:
        """The probability of each charge given the sentences; `prior` is the power to which frequencies are raised."""
        charges = self.graph.of_type("charge")
        weights = [one.frequency**prior for one in charges]
        for suggested, place, count in ((case.acts, 1, len(CRIMES)), (case.circumstances, 0, len(CIRCUMSTANCES))):
            for part in suggested:
                chances = [(1 - noise) * (one.parts[place] == part) + noise / count for one in charges]
                weights = [weight * chance for weight, chance in zip(weights, chances, strict=True)]
        total = sum(weights)
        return [weight / total for weight in weights]


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Cases without end: what happened, then statute, charge and term, each in most cases."""
    clerk = Clerk(world, language, rng)
    while True:
        case = clerk.case(0, most=1)
        statute = clerk.statute(case.charge)
        closing = [clerk.fill("statute", statute=statute)] if statute and rng.random() < 0.5 else []
        closing += [clerk.fill("charge", charge=case.charge.name[language])] if rng.random() < 0.8 else []
        closing += [clerk.fill("term", term=clerk.words["terms"][case.term])] if rng.random() < 0.5 else []
        text = join([clerk.description(case, rng.randint(0, 1)), *closing], language)
        if fits(text, language):
            yield text


def charge_rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, label, statute, term, group, confessed, acts, circumstances, case, posterior}`; labels by frequency.

    `statute` is a name or None, `term` an index into the terms, `group` "a local" or "a newcomer"; `acts` and
    `circumstances` name what the sentences suggest, for element-guided methods.
    """
    clerk, noise = Clerk(world, language, rng), world.label_noise / 2
    qualifiers, crimes = lexicon("names", language)["types"]["charge"]["parts"]
    places = {charge.id: place for place, charge in enumerate(clerk.graph.of_type("charge"))}

    def one(_: int) -> Row:
        case = clerk.case(noise)
        return {
            "text": clerk.description(case, rng.randint(1, 3)), "label": places[case.charge.id],
            "statute": clerk.statute(case.charge), "term": case.term, "group": clerk.words["groups"][case.group],
            "confessed": case.confessed, "acts": tuple(crimes[part] for part in case.acts),
            "circumstances": tuple(qualifiers[part] for part in case.circumstances), "case": case,
        }  # fmt: skip

    return collect(count, one, ("text",))


def bounds(clerk: Clerk, rows: Sequence[Row]) -> tuple[float, float]:
    """The macro-F1 on these rows of always answering the commonest charge, and of a reader who knows the process: the
    best of three that weigh frequency.
    """
    from sklearn.metrics import f1_score  # slow to import, and text needs none of it

    gold, noise = [row["label"] for row in rows], clerk.world.label_noise / 2

    def given(prior: float) -> list[int]:
        chances = [clerk.posterior(row["case"], noise, prior) for row in rows]
        return [max(range(len(one)), key=one.__getitem__) for one in chances]

    commonest = [max(dict.fromkeys(gold), key=gold.count)] * len(gold)
    chance, *known = (
        float(f1_score(gold, answers, average="macro", zero_division=0.0))
        for answers in (commonest, given(1.0), given(0.5), given(0.0))
    )
    return chance, max(known)


def charges(world: World, language: str) -> dict[str, Any]:
    """Judgement prediction's first question: which charge?"""
    count = sum(WITH_UNLABELLED.values())
    rows = charge_rows(world, language, count, randomness(world, "task", "charges", language))
    test = cut(rows, WITH_UNLABELLED)["test"]
    clerk, noise = Clerk(world, language, random.Random(0)), world.label_noise / 2
    accuracy = best_reader([max(clerk.posterior(row["case"], noise)) for row in test])
    chance, ceiling = bounds(clerk, test)
    for row in rows:
        del row["case"]
    names = tuple(charge.name[language] for charge in clerk.graph.of_type("charge"))
    return finish_task(
        rows, names, language=language, metric="macro_f1", chance=chance, ceiling=round(ceiling, 6),
        patterns=tuple(clerk.words["patterns"]), words={name: (name,) for name in names},
        note=f"a sentence misleads with probability {noise:g}; macro-F1 on test of the best of three readers who "
        f"know the process (best expected accuracy: {accuracy:.3f})",
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "charges": partial(charges, language="en"),
    "charges-zh": partial(charges, language="zh"),
}
