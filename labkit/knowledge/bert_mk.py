"""BERT-MK (He et al. 2020, *BERT-MK: integrating graph contextualized knowledge into pre-trained language models*): an
entity's vector is made of the facts around it.

A sub-graph becomes a sequence of nodes, relations being nodes too: anna reed · born in · north cedar · likes · soup. A
Transformer reads it, in which a node attends to itself and to those that a fact joins it with, and to no others. What
comes out for the entity goes into the entity stream of `Ernie`, in place of the vector that it always has there.

The paper trains this Transformer on the graph first; here it learns with the language model, from TransE's vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from labkit.errors import DataError
from labkit.knowledge.graph import KnowledgeGraph
from labkit.knowledge.transe import TransE

ITSELF, AS_HEAD, AS_TAIL, OTHER = range(4)  # a node's role: the entity, a relation of which it is head or tail, its end
Node = tuple[int, int]  # the row of the table of entities, then relations; the role


def adjacency(triples: Sequence[tuple[int, int, int]], nodes: int) -> np.ndarray:
    """Who may attend to whom, (nodes, nodes) bool, of triples that name the places of head, relation and tail: a
    relation and each of its ends, both ways, and everyone to itself (§3.1).
    """
    found = np.eye(nodes, dtype=bool)
    for head, relation, tail in triples:
        for end in (head, tail):
            found[end, relation] = found[relation, end] = True
    return found


def sequence(graph: KnowledgeGraph, entity: int, most: int) -> tuple[list[Node], list[tuple[int, int, int]]]:
    """The nodes of the sub-graph of an entity's first `most` facts, itself first, and its triples as places there. An
    entity that is the other end of two facts is one node.
    """
    nodes: list[Node] = [(entity, ITSELF)]
    places, triples = {entity: 0}, []
    for row in graph.rows(entity)[:most]:
        head, relation, tail = graph.triples[row].tolist()
        other = tail if head == entity else head
        middle = len(nodes)
        nodes.append((len(graph.entities) + relation, AS_HEAD if head == entity else AS_TAIL))
        if other not in places:
            places[other] = len(nodes)
            nodes.append((other, OTHER))
        triples.append((places[head], middle, places[tail]))
    return nodes, triples


class GraphContext(nn.Module):
    """Gives entities (n,) vectors (n, k) made of up to `most` of their facts, for `Ernie`; `mask` may be your own.

    `vectors` are TransE's of the same graph, and stay. DataError where they are of another graph.
    """

    def __init__(
        self, graph: KnowledgeGraph, vectors: TransE, *, most: int = 8, layers: int = 2, heads: int = 4,
        mask: Callable[..., np.ndarray] = adjacency,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = [len(vectors.entities), len(vectors.relations)]
        if sizes != [len(graph.entities), len(graph.relations)]:
            own = f"{len(graph.entities)} and {len(graph.relations)}"
            raise DataError(
                f"vectors of {sizes[0]} entities and {sizes[1]} relations, the graph has {own}: train TransE on it"
            )
        table, self.heads = torch.cat([vectors.entities, vectors.relations]).detach().clone(), heads
        self.register_buffer("table", table, persistent=False)
        found = [sequence(graph, entity, most) for entity in range(len(graph.entities))]
        longest = max(len(nodes) for nodes, _ in found)
        padded = [nodes + [(0, ITSELF)] * (longest - len(nodes)) for nodes, _ in found]
        self.register_buffer("nodes", torch.tensor(padded), persistent=False)  # (entities, longest, 2)
        seen = torch.from_numpy(np.stack([mask(triples, longest) for _, triples in found]))
        self.register_buffer("seen", seen, persistent=False)  # (entities, longest, longest)
        k = table.shape[1]
        self.roles = nn.Embedding(4, k)
        nn.init.normal_(self.roles.weight, 0, k**-0.5)  # as long as the graph's vectors
        layer = nn.TransformerEncoderLayer(k, heads, 2 * k, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, entities: Tensor) -> Tensor:
        """The vectors (n, k) of entities (n,)."""
        node, role = self.nodes[entities].unbind(-1)
        hidden = ~self.seen[entities].repeat_interleave(self.heads, 0)  # (n · heads, longest, longest)
        return self.encoder(self.table[node] + self.roles(role), mask=hidden)[:, 0]
