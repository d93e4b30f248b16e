"""Linking and distant labels against what the world states; the game against closed forms and planted noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from labkit.errors import DataError, UsageError
from labkit.knowledge.denoising import DenoiseSettings, denoise, features, picking_loss, taught
from labkit.knowledge.distant import HEAD, OTHER, TAIL, Label, distant_labels, judged, labelled, short_names, texts
from labkit.knowledge.graph import graph_of, world_splits
from labkit.knowledge.linking import Linker, Mention, disjoint
from labkit.world import World
from labkit.world.graph import build_graph

WORLD = World(entities=400, facts=1600)
FACTS = [("anna reed", "born_in", "old sun"), ("sun bank", "based_in", "old sun"), ("sun fever", "treated_by", "sun")]
TYPES = ("person", "city", "company", "disease", "medicine")


def graph():
    return graph_of(FACTS, types=TYPES)


def whole_names(of):
    return {name: [number] for number, name in enumerate(of.entities)}


def linker(of=None, language="en", more=()):
    of = of or graph()
    return Linker(of, whole_names(of) | dict(more), of.degrees, language)


# Linking


def test_the_longest_name_wins_and_no_two_overlap():
    found = linker().mentions("the sun bank of old sun sells sun .".split())
    assert [(one.start, one.end) for one in found] == [(1, 3), (4, 6), (7, 8)]
    assert [one.candidates for one in found] == [(2,), (1,), (4,)]


@given(st.lists(st.sampled_from("anna reed old sun bank fever in".split()), max_size=12))
@settings(max_examples=100, deadline=None)
def test_mentions_are_names_and_what_lies_between_is_none(tokens):
    own = linker()
    found = disjoint(own.mentions(tokens))  # raises where two overlap
    for one in found:
        assert " ".join(tokens[one.start : one.end]) == own.graph.entities[one.candidates[0]]
    covered = {at for one in found for at in range(one.start, one.end)}
    for start, end in itertools.combinations(range(len(tokens) + 1), 2):
        if not covered & set(range(start, end)):
            assert " ".join(tokens[start:end]) not in own.graph.entities


def test_facts_with_what_is_named_decide_and_then_frequency():
    of = graph_of([*FACTS, ("old moon", "twin_of", "rome"), ("sun fever", "seen_in", "rome")])
    own = Linker(of, whole_names(of) | {"old": [of.number("old sun"), of.number("old moon")]}, [9.0] * 5 + [1.0] * 2)

    def named(text):
        return {of.entities[entity] for _, entity in own.link(text.split())}

    assert named("old is big") == {"old sun"}  # the more frequent one
    assert named("rome and old") == {"rome", "old moon"}
    assert named("anna reed and old") == {"anna reed", "old sun"}


def test_short_names_are_linked_better_with_the_text_than_by_frequency():
    splits = world_splits(WORLD)
    frequency = [entity.frequency for entity in build_graph(WORLD).entities]
    own = Linker(splits.graph, whole_names(splits.graph) | short_names(splits.graph), frequency)
    right = {"context": 0, "frequency": 0}
    for text in texts(WORLD, "en", 200):
        head = min(fact[0] for fact in text.stated)
        name = splits.graph.entities[head].split()
        at = next(i for i in range(len(text.tokens)) if list(text.tokens[i : i + len(name)]) == name)
        tokens = [*text.tokens[:at], name[0], *text.tokens[at + len(name) :]]
        mention, entity = next((m, e) for m, e in own.link(tokens) if m.start == at)
        right["context"] += entity == head
        right["frequency"] += max(mention.candidates, key=frequency.__getitem__) == head
    assert right["context"] >= 180 and right["frequency"] < right["context"] - 20


def test_mentions_that_overlap_or_name_nothing_are_refused():
    with pytest.raises(DataError, match="x: the mentions of tokens 0–2 and 1–3 overlap: keep one"):
        disjoint([Mention(1, 3, (0,)), Mention(0, 2, (1,))], "x")
    for wrong in (Mention(2, 2, (0,)), Mention(1, 2, ())):
        with pytest.raises(DataError, match="names nothing"):
            linker().link(["sun"] * 4, [wrong])
    assert linker().link("sun".split(), [Mention(0, 1, (2,))]) == [(Mention(0, 1, (2,)), 2)]
    with pytest.raises(UsageError, match="no names to look for"):
        Linker(graph(), {}, [])


# Labels


@pytest.mark.parametrize("language", ["en", "zh"])
def test_labels_are_the_facts_between_names_and_are_judged_by_what_is_stated(language):
    of = world_splits(WORLD, language).graph
    facts = set(map(tuple, of.triples.tolist()))
    some = list(texts(WORLD, language, 60, 0.5))
    assert some == list(texts(WORLD, language, 60, 0.5)) and some != list(texts(WORLD, language, 60, 0.5, seed=1))
    for text in some:  # a marriage is stated both ways
        both = {fact for fact in text.stated if of.relations[fact[1]] in ("married_to", "borders")}
        assert {fact[::-1] for fact in both} == both
    mine, other = labelled(some, linker(of, language))
    for label in mine:
        assert label.fact in facts and label.tokens.count(HEAD) == label.tokens.count(TAIL) == 1
    wanted = {(text.tokens, fact) for text in some for fact in text.stated}
    assert sum(label.true for label in mine) == len(wanted)  # every stated fact of the graph is labelled
    assert not any(label.true for label in other) and not {label.fact for label in other} & facts
    kinds = {(of.types[h], r, of.types[t]) for h, r, t in facts}
    assert all((of.types[h], r, of.types[t]) in kinds for h, r, t in (label.fact for label in other))
    assert 0.5 < judged(mine, mine)["precision"] < 0.85


def test_the_share_of_wrong_labels_grows_with_the_noise():
    of = world_splits(WORLD).graph
    shares = []
    for noise in (0.0, 1.0):
        mine, _ = labelled(texts(WORLD, "en", 300, noise), linker(of))
        shares.append(judged(mine, mine)["precision"])
    assert shares[0] > 0.85 and shares[1] < 0.65


def test_names_are_marked_by_their_part_in_the_fact():
    class Some:
        tokens, stated = tuple("anna reed saw sun bank in old sun .".split()), frozenset({(2, 1, 1)})

    mine, other = labelled([Some], linker())
    shown = {(label.fact, " ".join(label.tokens), label.true) for label in mine}
    assert shown == {
        ((0, 0, 1), f"{HEAD} saw {OTHER} in {TAIL} .", False),
        ((2, 1, 1), f"{OTHER} saw {HEAD} in {TAIL} .", True),
    }
    assert not other
    assert labelled([Some], linker(), lambda entities, facts: set())[0] == []


def test_scores_of_labels_by_hand():
    labels = [Label((0, 0, 1), (), true) for true in (True, True, False, True, False)]
    assert judged(labels[:3], labels) == {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3}
    assert judged([], labels) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert distant_labels({1, 2}, [(1, 0, 2), (2, 0, 3), (1, 1, 1)]) == {(1, 0, 2), (1, 1, 1)}


# The game


def test_teaching_is_logistic_regression():
    draws = torch.Generator().manual_seed(0)
    positive, negative = torch.randn(30, 3, generator=draws) + 0.4, torch.randn(30, 3, generator=draws)
    found = taught(positive, negative, DenoiseSettings(steps=150, lr=0.1))
    rows, labels = torch.cat([positive, negative]).numpy(), [1] * 30 + [0] * 30
    other = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-8).fit(rows, labels)
    assert np.allclose(found.numpy(), other.coef_[0], atol=1e-2)


def test_the_loss_follows_the_expected_reward():
    """Its gradient, over all that may be picked and as often as it is, is that of the reward which picking brings."""
    weights, believed = torch.tensor([0.3, -0.8], requires_grad=True), torch.tensor([0.9, 0.2])
    total = torch.zeros(2)
    for picks in map(torch.tensor, itertools.product([True, False], repeat=2)):
        shares = weights.sigmoid()
        chance = torch.where(picks, shares, 1 - shares).prod().detach()
        total += chance * torch.autograd.grad(picking_loss(shares[picks], believed[picks], 0.1), weights)[0]
    expected = (weights.sigmoid() * (believed - 0.4)).sum()  # each pick brings its reward
    assert torch.allclose(total, -torch.autograd.grad(expected, weights)[0], atol=1e-6)


def test_features_are_the_ngrams_of_a_text():
    table = features([Label((0, 0, 1), ("a", "b", "a"), True), Label((0, 0, 1), ("b",), True)])
    # "^ a b a": 3 different words, 3 pairs, 2 triples; "^ b" adds one pair
    assert table.shape == (2, 9) and torch.allclose(table.norm(dim=1), torch.ones(2))
    assert (table[0] > 0).sum() == 8 and torch.allclose(table[0] @ table[1], torch.tensor(2 / (8 * 3) ** 0.5))


def test_the_game_keeps_more_right_ones_among_those_that_it_keeps():
    of = world_splits().graph
    mine, other = labelled(texts(World(), "en", 1000, 0.5), linker(of))
    kept = {}
    for relation in map(of.relations.index, ("born_in", "owns", "stars")):
        some, against = ([one for one in labels if one.fact[1] == relation] for labels in (mine, other))
        before, after = denoise(some, against[: 3 * len(some)])
        still = denoise(some, against[: 3 * len(some)], DenoiseSettings(discriminator_lr=0.0))[1]
        for way, scores in (("all", np.ones(len(some))), ("before", before), ("after", after), ("no opponent", still)):
            kept.setdefault(way, []).extend(label for label, score in zip(some, scores, strict=True) if score > 0)
    scores = {way: judged(labels, kept["all"]) for way, labels in kept.items()}
    assert scores["after"]["precision"] > scores["before"]["precision"] + 0.03 and scores["after"]["recall"] > 0.95
    assert scores["no opponent"]["precision"] < scores["after"]["precision"] - 0.03


def test_too_few_texts_are_refused():
    label = Label((0, 0, 1), ("a",), True)
    for mine, other in (([], [label] * 3), ([label], [label])):
        with pytest.raises(UsageError, match="give one label and two texts at least"):
            denoise(mine, other)
    with pytest.raises(UsageError, match="rounds"):
        DenoiseSettings(rounds=0)
