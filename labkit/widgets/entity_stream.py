"""What a model receives beside a sentence: of each entity, for ERNIE a vector, for BERT-MK the facts around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipywidgets import Combobox, IntSlider
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.knowledge.bert_mk import adjacency, sequence
from labkit.knowledge.graph import KnowledgeGraph
from labkit.knowledge.linking import longest_first
from labkit.widgets.boxes import chip, escape, frame, heading
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, bounded, look

ENTITY, RELATION = "#56B4E9", "#E69F00"
MOST = 8  # facts around an entity


@dataclass(frozen=True)
class Stream:
    """A sentence's tokens; the entity at each, "" for none; and for each entity its nodes in their order, the entity
    first, each with whether it is a relation and the numbers of the nodes that it attends to.
    """

    tokens: tuple[str, ...]
    entities: tuple[str, ...]
    nodes: Mapping[str, tuple[tuple[str, bool, tuple[int, ...]], ...]]


def compute(
    tokenizer: PreTrainedTokenizerBase, graph: KnowledgeGraph, names: Mapping[tuple[int, ...], int], sentence: str,
    most: int = 3,
) -> Stream:  # fmt: skip
    """The streams of a sentence, with up to `most` facts of each entity; `names` are token ids -> entity.

    UsageError for a sentence without a mention.
    """
    ids = tokenizer(bounded(sentence, "the sentence"))["input_ids"]
    found = longest_first(ids, names)
    if not found:
        raise UsageError("the sentence names no entity of the graph: choose another")
    entities, both = [""] * len(ids), (*graph.entities, *graph.relations)
    around = {}
    for start, _, entity in found:
        entities[start] = graph.entities[entity]
        nodes, triples = sequence(graph, entity, most)
        seen = adjacency(triples, len(nodes))
        around[graph.entities[entity]] = tuple(
            (both[node], node >= len(graph.entities), tuple(row.nonzero()[0].tolist()))
            for (node, _), row in zip(nodes, seen, strict=True)
        )
    return Stream(tuple(as_written(ids, tokenizer)), tuple(entities), around)


def draw(one: Stream) -> Picture:
    """The tokens, below them the entity stream, each entity's nodes with what they attend to; the same in words."""
    tokens = "".join(chip(token, ENTITY if name else "") for token, name in zip(one.tokens, one.entities, strict=True))
    stream = "".join(chip(f"v({name})", ENTITY) if name else chip("0") for name in one.entities)
    body = f"{heading('Tokens', 'blue: the first token of a name.')}<div>{tokens}</div>"
    body += f"{heading('Entities', 'one vector for each token, 0 where no name begins.')}<div>{stream}</div>"
    alt = [f"Entities: {', '.join(name for name in one.entities if name)}."]
    for name, nodes in one.nodes.items():
        lines = "".join(
            f"<div>{number} {chip(text, RELATION if relation else ENTITY)} attends to {', '.join(map(str, seen))}</div>"
            for number, (text, relation, seen) in enumerate(nodes)
        )
        body += f"{heading(f'Around {escape(name)}', 'blue: entities, orange: relations.')}{lines}"
        told = (f"{n} {text} attends to {', '.join(map(str, seen))}" for n, (text, _, seen) in enumerate(nodes))
        alt.append(f"Around {name}: {'; '.join(told)}.")
    return Picture(frame(body), " ".join(alt))


def entity_stream(
    tokenizer: PreTrainedTokenizerBase, graph: KnowledgeGraph, names: Mapping[tuple[int, ...], int],
    sentences: Sequence[str],
) -> Shown:  # fmt: skip
    """A widget that shows what ERNIE and BERT-MK receive beside one of the sentences, or one that is typed. Raises as
    `compute`.
    """
    return Explorer(
        lambda sentence, facts: draw(compute(tokenizer, graph, names, sentence, facts)),
        sentence=Combobox(value=sentences[0], options=list(sentences), description="sentence", ensure_option=False,
                          continuous_update=False, **look(70, 420)),
        facts=IntSlider(2, min=1, max=MOST, description="facts", continuous_update=False, **look(45, 240)),
    )  # fmt: skip
