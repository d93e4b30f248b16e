import random
from collections import Counter, defaultdict
from math import prod

import pytest

from labkit.errors import UsageError
from labkit.world import World, cases, clinical
from labkit.world.graph import build_graph
from labkit.world.settings import lexicon


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_the_ward_s_posterior_equals_enumeration(language, noise):
    world = World(label_noise=noise)
    graph = build_graph(world)
    every = graph.of_type("symptom")
    has = [(fact.head, fact.tail) for fact in graph.stated if fact.relation == "has_symptom"]
    symptoms = {one.id: [tail for head, tail in has if head == one.id] for one in graph.of_type("disease")}
    for row in clinical.triage_rows(world, language, 60, random.Random(0)):
        told = [one.id for one in every for _ in range(row["text"].count(one.name[language]))]
        assert Counter(told) == Counter(row["symptoms"])
        weights = defaultdict(float)
        shares = Counter()
        for number, own in symptoms.items():
            disease = graph.entities[number]
            if own:
                shares[disease.family] += disease.frequency
                chances = [(one in own) * (1 - noise) / len(own) + noise / len(every) for one in told]
                weights[disease.family] += disease.frequency * prod(chances)
        ward = {one: weights[one] / shares[one] for one in weights}
        assert row["posterior"] == pytest.approx(max(ward.values()) / sum(ward.values()))


def test_the_ceiling_of_triage_is_what_the_best_reader_scores():
    rows = clinical.triage_rows(World(), "en", 2500, random.Random(1))
    doctor = clinical.Doctor(World(), "en", random.Random(0))
    right = 0
    for row in rows:
        chances = doctor.posterior(row["symptoms"], World().label_noise)
        right += chances.index(max(chances)) == row["label"]
    assert right / 2500 == pytest.approx(sum(row["posterior"] for row in rows) / 2500, abs=0.02)


def test_a_triage_note_does_not_name_its_disease_nor_ward():
    graph = build_graph(World())
    for row in clinical.TASKS["triage"](World())["splits"]["dev"]:
        assert not any(disease.name["en"] in row["text"] for disease in graph.of_type("disease"))
        assert " ward " not in row["text"]


def test_a_world_without_a_ward_says_so():
    with pytest.raises(UsageError, match="no disease for the ward"):
        clinical.triage_rows(World(entities=60, facts=200), "en", 10, random.Random(0))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_case_tells_its_acts_and_circumstances(language):
    words, parts = lexicon("cases", language), lexicon("names", language)["types"]["charge"]["parts"]
    for row in cases.charge_rows(World(label_noise=0.0), language, 200, random.Random(0)):
        charge = row["case"].charge
        acts = {parts[1][i] for i, forms in enumerate(words["acts"]) for form in forms if form in row["text"]}
        around = {
            parts[0][i] for i, forms in enumerate(words["circumstances"]) for form in forms if form in row["text"]
        }
        assert acts == set(row["acts"]) == {parts[1][charge.parts[1]]}
        assert around == set(row["circumstances"]) == {parts[0][charge.parts[0]]}
        assert charge.name[language] not in row["text"]


def test_the_charge_s_posterior_equals_enumeration():
    clerk, noise = cases.Clerk(World(), "en", random.Random(2)), 0.1
    for _ in range(50):
        case = clerk.case(noise)
        weights = []
        for charge in clerk.graph.of_type("charge"):
            weight = charge.frequency
            for act in case.acts:
                weight *= noise / 14 + (1 - noise if charge.parts[1] == act else 0)
            for one in case.circumstances:
                weight *= noise / 6 + (1 - noise if charge.parts[0] == one else 0)
            weights.append(weight)
        assert clerk.posterior(case, noise) == pytest.approx([weight / sum(weights) for weight in weights])


def test_charges_follow_zipf():
    counts = Counter(row["label"] for row in cases.TASKS["charges"](World())["splits"]["train"])
    assert counts[0] > 8 * counts[39] > 0


@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_the_planted_bias_is_in_the_terms(bias):
    clerk = cases.Clerk(World(bias=bias), "en", random.Random(0))
    harsh, seen = Counter(), Counter()
    for _ in range(4000):
        case = clerk.case(0)
        grave = cases.CIRCUMSTANCES[case.charge.parts[0]] + cases.CRIMES[case.charge.parts[1]]
        fair = max(0, 1 + grave - case.confessed)
        seen[case.group] += 1
        harsh[case.group] += case.term > fair
    shares = [harsh[group] / seen[group] for group in (cases.LOCAL, cases.NEWCOMER)]
    assert shares[0] == pytest.approx(0.1, abs=0.02)
    assert shares[1] - shares[0] == pytest.approx(bias, abs=0.03)
