import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.world import World
from labkit.world.graph import RELATIONS, build_graph
from labkit.world.names import TYPES, capacity, draw, parts_of, spell

worlds = st.builds(
    World,
    seed=st.integers(0, 5),
    entities=st.integers(60, 400),
    facts=st.integers(0, 1500),
    held_out=st.floats(0, 1),
    entity_tail=st.floats(0, 2),
)


@given(worlds)
@settings(max_examples=40, deadline=None)
def test_facts_keep_to_their_relations(world):
    graph, relations = build_graph(world), {relation.name: relation for relation in RELATIONS}
    seen = Counter()
    for fact in graph.facts:
        relation = relations[fact.relation]
        assert (graph.entities[fact.head].type, graph.entities[fact.tail].type) == (relation.head, relation.tail)
        assert fact.head != fact.tail
        seen[fact.head, fact.relation] += 1
        assert not relation.functional or seen[fact.head, fact.relation] == 1
        if relation.symmetric:
            assert graph.has(fact.tail, fact.relation, fact.head)
        if fact.relation == "capital":
            assert graph.has(fact.tail, "located_in", fact.head)
    assert len({(fact.head, fact.relation, fact.tail) for fact in graph.facts}) == len(graph.facts)


@given(worlds)
@settings(max_examples=40, deadline=None)
def test_held_out_facts(world):
    graph = build_graph(world)
    held = {(fact.head, fact.relation, fact.tail) for fact in graph.facts if fact.held_out}
    assert len(held) + len(graph.stated) == len(graph.facts)
    assert len(held) <= round(world.held_out * len(graph.facts))
    for head, relation, tail in held:
        assert graph.facts_of(head) and graph.facts_of(tail), "an entity that no text mentions"
        assert relation not in ("married_to", "borders") or (tail, relation, head) in held


@given(worlds)
@settings(max_examples=40, deadline=None)
def test_entities(world):
    graph = build_graph(world)
    assert len(graph.entities) == world.entities
    assert [entity.id for entity in graph.entities] == list(range(world.entities))
    assert sum(entity.frequency for entity in graph.entities) == pytest.approx(1)
    assert {entity.type for entity in graph.entities} == set(TYPES)
    for language in ("en", "zh"):
        assert len({entity.name[language] for entity in graph.entities}) == world.entities
    for kind in TYPES:
        frequencies = [entity.frequency for entity in graph.of_type(kind)]
        assert frequencies == sorted(frequencies, reverse=True)
    for entity in graph.entities[::17]:
        near = {fact.head + fact.tail - entity.id for fact in graph.stated if entity.id in (fact.head, fact.tail)}
        assert set(graph.neighbours(entity.id)) == near
        assert graph.find(entity.name["zh"], "zh") is entity


def test_the_default_world_is_as_large_as_its_dials_say():
    graph = build_graph(World())
    assert (len(graph.entities), len(graph.facts), len(graph.stated)) == (2000, 8000, 7200)
    assert all(graph.facts_of(entity.id) for entity in graph.entities)
    assert {fact.relation for fact in graph.stated} == {relation.name for relation in RELATIONS}
    assert len({word for entity in graph.entities for word in entity.name["en"].split()}) <= 700
    assert len({character for entity in graph.entities for character in entity.name["zh"]}) <= 600


def test_no_name_stands_within_another():
    graph = build_graph(World())
    for language, edge in (("en", " "), ("zh", "")):
        names = [entity.name[language] for entity in graph.entities]
        everything = "|".join(f"{edge}{name}{edge}" for name in names)
        assert [name for name in names if everything.count(f"{edge}{name}{edge}") > 1] == []


def test_frequencies_follow_zipf_and_sampling_follows_frequencies():
    graph, rng = build_graph(World()), random.Random(0)
    cities = graph.of_type("city")
    assert cities[0].frequency / cities[18].frequency == pytest.approx(20 / 2)
    flat = build_graph(World(entity_tail=0.0)).of_type("city")
    assert flat[0].frequency == pytest.approx(flat[-1].frequency)
    drawn = Counter(graph.sample_entity(rng, "city").id for _ in range(20000))
    share = cities[0].frequency / sum(city.frequency for city in cities)
    assert drawn[cities[0].id] / 20000 == pytest.approx(share, abs=0.015)


def test_sampled_facts_are_stated_and_of_the_asked_relations():
    graph, rng = build_graph(World()), random.Random(0)
    facts = [graph.sample_fact(rng, ("capital", "stars")) for _ in range(200)]
    assert {fact.relation for fact in facts} == {"capital", "stars"}
    assert not any(fact.held_out for fact in facts)
    with pytest.raises(UsageError, match="no text may state a fact of nonsense"):
        graph.sample_fact(rng, ("nonsense",))


def test_names_are_drawn_once_and_families_in_turn():
    parts = draw("disease", 14, random.Random(0))
    assert sorted(part[-1] % 7 for part in parts) == sorted([*range(7)] * 2)
    everything = draw("dish", capacity("dish"), random.Random(0))
    assert len({spell("dish", one)["zh"] for one in everything}) == len(everything)
    for kind in TYPES:
        assert [len(part) for part in parts_of(kind, "en")] == [len(part) for part in parts_of(kind, "zh")]


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (World(entities=20), "entities=20 cannot be had; ask for at least"),
        (World(entities=100_000), "not enough names"),
        (World(held_out=1.5), "held_out must lie in"),
    ],
)
def test_impossible_worlds_are_refused(world, message):
    with pytest.raises(UsageError, match=message):
        build_graph(world)


def test_an_unknown_type_is_named():
    with pytest.raises(UsageError, match="did you mean 'city'"):
        build_graph(World()).of_type("citi")
