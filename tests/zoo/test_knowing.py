"""What a recipe that goes on with the graph asks for: the rare things, by mentions that stand in the text."""

from __future__ import annotations

from dataclasses import replace

from labkit.foundations.pretraining import MaskedLM, tokenize_corpus
from labkit.world import World, corpus
from labkit.world.graph import build_graph
from labkit.zoo import knowing, load
from labkit.zoo.recipes import recipe


def test_only_rare_things_are_asked_for_and_their_mentions_found():
    item = replace(recipe("mini-dkplm-en"), world=World(entities=60, facts=180), rare=0.01)
    model, tokenizer = load("micro-bert-en")
    texts = corpus(item.world, "en", 200)
    rows, objective = knowing.with_graph(item, model, MaskedLM(tokenizer), tokenize_corpus(texts, tokenizer, 64))
    entities = build_graph(item.world).entities
    asked = {entities[number].frequency < item.rare for number in objective.facts}
    assert asked == {True} and len(objective.facts) < len(entities) and objective.inject == 0
    stated = {(fact.head, fact.tail) for fact in build_graph(item.world).facts if not fact.held_out}
    assert all(
        {(head, tail), (tail, head)} & stated for head in objective.facts for tail, _, _ in objective.facts[head]
    )
    text, row = next((text, row) for text, row in zip(texts, rows, strict=True) if row["mentions"])
    assert all(entities[entity].name["en"] in text for _, _, entity in row["mentions"])
