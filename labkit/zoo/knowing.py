"""A BERT that goes on reading the world's text with the world's graph beside it: DKPLM (lesson 02/03)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from labkit.foundations.pretraining import MaskedLM
from labkit.foundations.pretraining.rows import TokenRows
from labkit.knowledge.dkplm import DKPLM, linked, names_of
from labkit.knowledge.graph import world_splits
from labkit.knowledge.transe import TransESettings, train_transe
from labkit.world.graph import build_graph
from labkit.zoo.recipes import KnowledgeRecipe

VECTORS = TransESettings(dimension=64, norm=1, margin=1.0, negatives=1, epochs=100, batch=512)


def with_graph(
    item: KnowledgeRecipe, model: nn.Module, masked: MaskedLM, rows: TokenRows
) -> tuple[list[dict[str, Any]], DKPLM]:
    """The rows with their mentions, and the objective: the facts that text states, of the entities that are rarer than
    `item.rare`.
    """
    graph = world_splits(item.world, item.language).graph
    names = names_of(masked.tokenizer, graph)
    frequency = np.array([entity.frequency for entity in build_graph(item.world).entities])
    targets = np.flatnonzero((frequency < item.rare) & (graph.degrees > 0))
    vectors = train_transe(graph, VECTORS, progress=False)
    return linked(rows, names), DKPLM(model, masked, graph, vectors, names, targets, inject=item.inject)
