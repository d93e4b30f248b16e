"""Probes against brute force, and what a study keeps from whom."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import tokenize_corpus
from labkit.knowledge.dkplm import linked, names_of
from labkit.knowledge.probes import BANDS, KINDS, Study, by_band, prior, ranks, scores
from labkit.world import World
from labkit.world.schema import BY_NAME
from tests.knowledge.test_dkplm import bert, tokenizer_of

WORLD = World(entities=80, facts=300, held_out=0.3)
SPECIAL = "[PAD] [UNK] [CLS] [SEP] [MASK]".split()


def words_of(study):
    texts = [*study.texts(400), *(entity.name[study.language] for entity in study.graph.entities)]
    return [*SPECIAL, *sorted({word for text in texts for word in (text.split() if study.language == "en" else text)})]


@pytest.fixture(scope="module", params=["en", "zh"])
def study(request):
    return Study(WORLD, request.param, edges=(0.02, 0.006))


def test_every_fact_has_one_kind_and_a_turned_one_the_same(study):
    graph, counts = study.graph, dict.fromkeys(KINDS, 0)
    for fact in graph.facts:
        counts[study.kind(fact)] += 1
        if BY_NAME[fact.relation].symmetric:
            (turned,) = [
                o for o in graph.facts if (o.head, o.relation, o.tail) == (fact.tail, fact.relation, fact.head)
            ]
            assert study.kind(turned) == study.kind(fact)
    assert min(counts.values()) > 20 and abs(counts["graph"] - counts["unseen"]) < 10
    triples = {tuple(one) for one in study.knowledge.triples.tolist()}
    assert len(triples) == counts["stated"] + counts["graph"]
    numbers = list(study.knowledge.relations)
    hidden = {(one.head, numbers.index(one.relation), one.tail) for one in graph.facts if study.kind(one) == "unseen"}
    assert not hidden & triples


def test_text_states_what_may_be_stated_and_nothing_else():
    study = Study(WORLD)
    tokenizer = tokenizer_of(words_of(study))
    rows = linked(tokenize_corpus(study.texts(300), tokenizer, 64), names_of(tokenizer, study.knowledge))
    stated = {frozenset((fact.head, fact.tail)) for fact in study.graph.stated}
    for row in rows:
        assert frozenset(entity for _, _, entity in row["mentions"]) in stated
    assert study.texts(5) == study.texts(7)[:5] != study.texts(5, "other")


def test_bands_follow_the_frequency(study):
    entities = sorted(study.graph.entities, key=lambda one: -one.frequency)
    places = [BANDS.index(study.band(one.id)) for one in entities]
    assert places == sorted(places) and set(places) == {0, 1, 2}


def test_scores_are_the_mean_log_probability_at_the_blanks(study):
    tokenizer = tokenizer_of(words_of(study))
    model, some = bert(len(tokenizer)), study.probes[:3]
    for told in (False, True):
        for probe, found in zip(some, scores(model, tokenizer, study, some, told=told), strict=True):
            options = study.graph.of_type(BY_NAME[probe.fact.relation].tail)
            for entity, value in zip(options[:3], found, strict=False):
                ids = tokenizer(entity.name[study.language], add_special_tokens=False)["input_ids"]
                head, space = study.graph.name(probe.fact.head, study.language), " " if study.language == "en" else ""
                stop = " ." if study.language == "en" else "。"
                text = probe.pattern.format(h=head, t=space.join(["[MASK]"] * len(ids))) + stop
                whole = probe.pattern.format(h=head, t=study.graph.name(probe.fact.tail, study.language)) + stop
                batch = tokenizer(whole + space + text if told else text, return_tensors="pt")
                logs = model(**batch).logits[0].log_softmax(-1)[batch["input_ids"][0] == tokenizer.mask_token_id]
                assert len(logs) == len(ids)
                assert value == pytest.approx(float(logs[torch.arange(len(ids)), ids].mean()), abs=1e-4)


def test_ranks_count_who_is_better_and_half_of_who_is_level():
    study = Study(WORLD)
    probe = next(one for one in study.probes if one.fact.relation == "married_to")
    people = [one.id for one in study.graph.of_type("person")]
    values = np.zeros(len(people))
    own, asked = people.index(probe.fact.tail), people.index(probe.fact.head)
    others = [place for place in range(len(people)) if place not in (own, asked)]
    values[asked] = 9  # whoever is asked about is no choice
    assert ranks(study, [probe], [values])[0] == 1 + len(others) / 2
    values[others[:3]], values[own], values[others[3]] = 2, 1, 1
    assert ranks(study, [probe], [values])[0] == 4.5
    values[own] = 3
    assert ranks(study, [probe], [values])[0] == 1


def test_the_prior_knows_relations_and_no_heads(study):
    found = dict(
        zip([(one.fact.relation, one.fact.head) for one in study.probes], prior(study, study.probes), strict=True)
    )
    by_relation = {}
    for (relation, _), values in found.items():
        assert np.array_equal(by_relation.setdefault(relation, values), values)
    relation = "located_in"
    weights = {}
    for fact in study.graph.stated:
        if fact.relation == relation:
            weights[fact.tail] = weights.get(fact.tail, 0) + study.graph.entities[fact.head].frequency
    assert by_relation[relation].tolist() == pytest.approx(
        [weights.get(o.id, 0) for o in study.graph.of_type("country")]
    )


def test_by_band_takes_means_of_its_own(study):
    places = np.arange(1, len(study.probes) + 1)
    table = by_band(study.probes, places)
    assert sum(cell["n"] for cell in table.values()) == len(places)
    own = places[[one.kind == "stated" and one.band == "tail" for one in study.probes]]
    cell = table["stated", "tail"]
    assert cell["hits"] == (own == 1).mean() and cell["mrr"] == pytest.approx((1 / own).mean())


def test_bad_input_is_named():
    study, small = Study(WORLD), tokenizer_of([*SPECIAL, "is", "."])
    with pytest.raises(DataError, match="the tokenizer does not know the name"):
        scores(bert(len(small)), small, study, study.probes[:1])
    small.mask_token = None
    with pytest.raises(UsageError, match="no mask token"):
        scores(bert(8), small, study, study.probes[:1])
