"""What DKPLM makes of a sentence: which mention it takes, what stands in its place, what must be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipywidgets import Dropdown, IntSlider
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.knowledge.dkplm import facts_of
from labkit.knowledge.graph import KnowledgeGraph
from labkit.knowledge.linking import longest_first
from labkit.widgets.boxes import chip, escape, frame, heading
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, bounded, look

INJECTED, OTHER, SAID = "#E69F00", "#56B4E9", "#009E73"


@dataclass(frozen=True)
class Injection:
    """A sentence's tokens; its mentions, (first token, the one after the last, name, KLT); which of them is taken (None
    where none is rare), the fact, the formula of its stand-in, and the tokens to say.
    """

    tokens: tuple[str, ...]
    mentions: tuple[tuple[int, int, str, float], ...]
    taken: int | None = None
    fact: tuple[str, str, str] = ("", "", "")
    formula: str = ""
    said: tuple[str, ...] = ()


def compute(
    tokenizer: PreTrainedTokenizerBase, graph: KnowledgeGraph, names: Mapping[tuple[int, ...], int],
    klt: Sequence[float], sentence: str, fact: int = 1,
) -> Injection:  # fmt: skip
    """The mention of the highest KLT, above 0, with its fact number `fact`, counted from 1 and round again; those whose
    other entity stands in the sentence come last.

    `names` are token ids -> entity, `klt` (entities,). UsageError for a sentence without a mention.
    """
    ids = tokenizer(bounded(sentence, "the sentence"))["input_ids"]
    found = longest_first(ids, names)
    if not found:
        raise UsageError("the sentence mentions no entity of the graph: choose another")
    tokens = tuple(as_written(ids, tokenizer))
    mentions = tuple((start, stop, graph.entities[entity], float(klt[entity])) for start, stop, entity in found)
    taken = max(range(len(found)), key=lambda at: mentions[at][3])
    if mentions[taken][3] <= 0:
        return Injection(tokens, mentions)
    entity = found[taken][2]
    there = {one for _, _, one in found}
    facts = sorted(facts_of(graph, [entity])[entity], key=lambda one: one[0] in there)
    other, relation, is_head = facts[(fact - 1) % len(facts)]
    triple = graph.named((entity, relation, other) if is_head else (other, relation, entity))
    formula = f"{graph.entities[other]} {'−' if is_head else '+'} {graph.relations[relation]}"
    said = next(ids for ids, one in names.items() if one == other)
    return Injection(tokens, mentions, taken, triple, formula, tuple(as_written(said, tokenizer)))


def draw(one: Injection) -> Picture:
    """Three lines of boxes: the text, what the model reads, what it must say; and all of it in words."""
    at = {place: number for number, (start, stop, _, _) in enumerate(one.mentions) for place in range(start, stop)}
    text = "".join(
        chip(token, {one.taken: INJECTED}.get(at[place], OTHER) if place in at else "")
        for place, token in enumerate(one.tokens)
    )
    scores = ", ".join(dict.fromkeys(f"{name}: {score:.1f}" for _, _, name, score in one.mentions))
    legend = f"mentions and their KLT: {escape(scores)} (orange: taken, blue: not)."
    body = f"{heading('Text', legend)}<div>{text}</div>"
    if one.taken is None:
        told = "No mention is of the long tail, so the text is read as it is and nothing is decoded."
        return Picture(frame(f"{body}<div>{told}</div>"), f"Mentions and their KLT: {scores}. {told}")
    start, stop, name, _ = one.mentions[one.taken]
    reads = "".join(
        chip(f"⟨{one.formula}⟩", INJECTED, dashed=True) if start <= place < stop else chip(token)
        for place, token in enumerate(one.tokens)
    )
    says, fact = "".join(chip(token, SAID) for token in one.said), " · ".join(one.fact)
    body += f"{heading('Reads', f'the fact ({escape(fact)}) stands in for {escape(name)}.')}<div>{reads}</div>"
    told = f"from the state at {name} and the relation"
    body += f"{heading('Says', f'{escape(told)}, token by token.')}<div>{says}</div>"
    alt = f"Mentions and their KLT: {scores}. In place of {name} the model reads ⟨{one.formula}⟩, of the fact ({fact})"
    return Picture(frame(body), f"{alt}; {told} it must say: {' '.join(one.said)}.")


def injection(
    tokenizer: PreTrainedTokenizerBase, graph: KnowledgeGraph, names: Mapping[tuple[int, ...], int],
    klt: Sequence[float], sentences: Sequence[str],
) -> Shown:  # fmt: skip
    """A widget that shows what DKPLM makes of one of the sentences, with any of its facts. Raises as `compute`."""
    return Explorer(
        lambda sentence, fact: draw(compute(tokenizer, graph, names, klt, sentence, fact)),
        sentence=Dropdown(options=list(sentences), description="sentence", **look(70, 420)),
        fact=IntSlider(1, min=1, max=8, description="fact", **look(40, 260)),
    )
