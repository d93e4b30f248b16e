"""Clinical notes: complaints that follow from a disease of the graph, its ward, its diagnosis, its medicine.

The triage task shows complaints only. Each is one of the disease's symptoms, or any symptom at all with chance
`label_noise`, and most but not all symptoms of a disease belong to its own ward: the best possible reader weighs every
disease, and its accuracy is computed from the graph by Bayes' rule.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from labkit.errors import UsageError
from labkit.world.examples import WITH_UNLABELLED, Row, best_reader, collect, finish_task
from labkit.world.facts import Teller
from labkit.world.schema import Entity
from labkit.world.settings import World, fits, join, lexicon, randomness

COMPLAINTS = (2, 4)
SHORT = (2, 3)  # in pre-training text
NEUTRAL = (1, 3)


class Doctor(Teller):
    """Writes notes, and knows how probable every complaint is in every disease."""

    @property
    def words(self) -> dict[str, Any]:
        """The lexicon of notes."""
        return lexicon("clinical", self.language)

    @cached_property
    def wards(self) -> tuple[str, ...]:
        """The departments by name; a disease's is `wards[disease.family]`."""
        return tuple(lexicon("names", self.language)["departments"])

    @cached_property
    def symptoms(self) -> dict[int, tuple[int, ...]]:
        """Disease -> its symptoms that texts may name; diseases without any are left out."""
        found = {one.id: self.related(one.id, "has_symptom") for one in self.graph.of_type("disease")}
        return {disease: symptoms for disease, symptoms in found.items() if symptoms}

    @cached_property
    def by_ward(self) -> list[list[Entity]]:
        """The diseases of each ward, frequent first."""
        diseases = [self.graph.entities[disease] for disease in self.symptoms]
        return [[one for one in diseases if one.family == ward] for ward in range(len(self.wards))]

    def related(self, head: int, relation: str) -> tuple[int, ...]:
        """The tails that texts may state."""
        return tuple(fact.tail for fact in self.graph.facts_of(head) if (fact.head, fact.relation) == (head, relation))

    def disease(self, ward: int) -> Entity:
        """A disease of the ward, by frequency."""
        group = self.by_ward[ward]
        return self.rng.choices(group, [one.frequency for one in group])[0]

    def complaint(self, disease: int, noise: float) -> int:
        """A symptom: one of the disease's, or with chance `noise` any at all."""
        anything = self.rng.random() < noise
        return (
            self.rng.choice(self.graph.of_type("symptom")).id if anything else self.rng.choice(self.symptoms[disease])
        )

    def fill(self, kind: str, **values: str) -> str:
        """A sentence of this kind."""
        words, rng = self.words, self.rng
        day, number = rng.choice(words["days"]), rng.choice(words["numbers"])
        return rng.choice(words[kind]).format(day=day, n=number, **values)

    def note(self, complaints: Sequence[int], neutral: int) -> tuple[str, str]:
        """Patient, complaints and other remarks, and the patient's pronoun; a symptom drawn twice is told twice."""
        person = self.rng.choice(self.graph.of_type("person"))
        she, age = self.stand_in(person), self.rng.choice(self.words["ages"])
        opening = self.fill("patient", name=person.name[self.language], age=age)
        told = [self.fill("complaint", s=self.name(symptom), she=she) for symptom in complaints]
        for remark in self.rng.sample(self.words["neutral"], neutral):
            told.insert(self.rng.randint(0, len(told)), remark.format(day=self.rng.choice(self.words["days"]), she=she))
        return join([opening, *told], self.language), she

    def posterior(self, complaints: Sequence[int], noise: float) -> list[float]:
        """The probability of each ward given the complaints, all wards equally likely before; sums to 1."""
        anywhere = noise / len(self.graph.of_type("symptom"))
        weights = []
        for group in self.by_ward:
            chances = [
                math.prod((one in symptoms) * (1 - noise) / len(symptoms) + anywhere for one in complaints)
                for symptoms in (self.symptoms[disease.id] for disease in group)
            ]
            shares = [disease.frequency for disease in group]
            weights.append(sum(map(operator.mul, shares, chances)) / sum(shares))
        return [weight / sum(weights) for weight in weights]


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Notes without end: patient, two or three complaints, then some of ward, diagnosis, medicine and leave."""
    doctor = Doctor(world, language, rng)
    while True:
        disease = doctor.graph.sample_entity(rng, "disease")
        if disease.id not in doctor.symptoms:
            continue
        drawn = [doctor.complaint(disease.id, 0) for _ in range(rng.randint(*SHORT))]
        text, she = doctor.note(list(dict.fromkeys(drawn)), rng.randint(0, 1))
        medicines = doctor.related(disease.id, "treated_by")
        told = [text, doctor.fill("ward", ward=doctor.wards[disease.family], she=she)] if rng.random() < 0.7 else [text]
        if rng.random() < 0.6:
            told.append(doctor.fill("diagnosis", d=disease.name[language]))
        if medicines and rng.random() < 0.5:
            told.append(doctor.fill("medicine", m=doctor.name(rng.choice(medicines)), she=she))
        if rng.random() < 0.4:
            told.append(doctor.fill("leave", she=she))
        whole = join(told, language)
        if fits(whole, language):
            yield whole


def triage_rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, label, disease, symptoms, posterior}`: notes without diagnosis; `label` is the ward, all in turn.

    `symptoms` are entity ids, one a complaint. Raises UsageError where a ward has no disease.
    """
    doctor = Doctor(world, language, rng)
    empty = [ward for ward, group in zip(doctor.wards, doctor.by_ward, strict=True) if not group]
    if empty:
        raise UsageError(f"this world has no disease for the ward {', '.join(empty)}: raise its entities")

    def one(number: int) -> Row:
        label = number % len(doctor.wards)
        disease = doctor.disease(label)
        drawn = [doctor.complaint(disease.id, world.label_noise) for _ in range(rng.randint(*COMPLAINTS))]
        row = {"text": doctor.note(drawn, rng.randint(*NEUTRAL))[0], "label": label, "disease": disease.name[language]}
        return {**row, "symptoms": tuple(drawn), "posterior": max(doctor.posterior(drawn, world.label_noise))}

    return collect(count, one, ("text",))


def triage(world: World, language: str) -> dict[str, Any]:
    """Which ward should see the patient?"""
    count = sum(WITH_UNLABELLED.values())
    rows = triage_rows(world, language, count, randomness(world, "task", "triage", language))
    wards = tuple(lexicon("names", language)["departments"])
    note = f"a complaint is any symptom at all with probability {world.label_noise:g}; exact posterior over diseases"
    return finish_task(
        rows, wards, note=note, language=language, ceiling=round(best_reader([row["posterior"] for row in rows]), 6),
        patterns=tuple(lexicon("clinical", language)["patterns"]), words={ward: (ward,) for ward in wards},
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "triage": partial(triage, language="en"),
    "triage-zh": partial(triage, language="zh"),
}
