"""What a language model knows of the world's facts: blanks to fill, by how often an entity is spoken of, and by where
its fact can be had.

    anna reed was born in [MASK] [MASK] .        which of the world's cities?

The probes are LAMA's (Petroni et al. 2019, *Language models as knowledge bases?*, §3) with two differences: names of
several tokens are asked for too, and only names of the right type stand for choice. Nothing is trained to answer them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.evaluation import over_rows
from labkit.foundations.encoder import lm_logits
from labkit.knowledge.dkplm import DKPLM
from labkit.knowledge.graph import KnowledgeGraph, of_facts
from labkit.knowledge.links import filtered_rank
from labkit.world.facts import Teller
from labkit.world.graph import Graph, build_graph
from labkit.world.schema import BY_NAME, Fact
from labkit.world.settings import World, lexicon, randomness

BANDS = ("head", "torso", "tail")  # of the entity that is asked about: spoken of often, sometimes, rarely
SMALL = World(entities=150, facts=420, held_out=0.3)  # few enough facts to be learned in minutes, and not all of them
KINDS = ("stated", "graph", "unseen")  # where a fact can be had: in text, in the graph alone, in neither
AGAIN = 0.12  # share of texts that say their fact twice, in other words: a model that reads them learns to copy


@dataclass(frozen=True)
class Probe:
    """A fact asked for its tail: `pattern` says it with {h} and {t}."""

    fact: Fact
    pattern: str
    band: str
    kind: str


@dataclass(frozen=True)
class Study:
    """A world's facts, of which text states some, and a graph gives those and `shared` of the held-out ones.

    `edges` are the shares of all mentions from which an entity counts as head, and below which as tail.
    """

    world: World = SMALL
    language: str = "en"
    shared: float = 0.5
    edges: tuple[float, float] = (0.012, 0.005)

    @cached_property
    def graph(self) -> Graph:
        """The world's graph, with facts that nobody is shown: for making probes, not for training."""
        return build_graph(self.world)

    @cached_property
    def _given(self) -> frozenset[tuple[int, str, int]]:
        held = sorted({_both_ways(fact) for fact in self.graph.facts if fact.held_out})
        randomness(self.world, "probes", "graph").shuffle(held)
        return frozenset(held[: round(self.shared * len(held))])

    @cached_property
    def known(self) -> tuple[Fact, ...]:
        """The facts of the graph that injection may see."""
        return tuple(fact for fact in self.graph.facts if self.kind(fact) != "unseen")

    @cached_property
    def knowledge(self) -> KnowledgeGraph:
        """The same as triples."""
        return of_facts(self.graph, self.known, self.language)

    @cached_property
    def said(self) -> tuple[str, ...]:
        """The facts of `knowledge` in its order, each as head, relation and tail in words."""
        teller, space = Teller(self.world, self.language, randomness(self.world)), " " if self.language == "en" else ""
        return tuple(space.join(teller.triple(fact)) for fact in self.known)

    def bearing(self, fact: Fact, number: int) -> str:
        """Of the graph's triple with this number: is it the fact itself, "about" its head, or about "others"?"""
        other = self.known[number]
        if _both_ways(other) == _both_ways(fact):
            return "itself"
        return "about" if fact.head in (other.head, other.tail) else "others"

    def kind(self, fact: Fact) -> str:
        """One of KINDS; both directions of a symmetric fact have the same."""
        return "stated" if not fact.held_out else "graph" if _both_ways(fact) in self._given else "unseen"

    def band(self, entity: int) -> str:
        """One of BANDS."""
        frequency, (high, low) = self.graph.entities[entity].frequency, self.edges
        return "head" if frequency >= high else "torso" if frequency >= low else "tail"

    @cached_property
    def probes(self) -> tuple[Probe, ...]:
        """Every fact of a relation with one tail per head, asked for it in each of its wordings."""
        words, most = lexicon("facts", self.language)["relations"], max(1, self.world.paraphrases)
        return tuple(
            Probe(fact, pattern, self.band(fact.head), self.kind(fact))
            for fact in self.graph.facts
            if BY_NAME[fact.relation].functional
            for pattern in words[fact.relation]["say"][:most]
        )

    def texts(self, count: int, part: str = "corpus") -> list[str]:
        """Encyclopaedic text: a stated fact of an entity drawn by frequency, a few said again in other words."""
        teller, texts = Teller(self.world, self.language, randomness(self.world, "probes", "text", part)), []
        while len(texts) < count:
            facts = self.graph.facts_of(self.graph.sample_entity(teller.rng).id)
            if facts:
                fact = teller.rng.choice(facts)
                said = teller.say(fact)
                again = [teller.say(fact, said)] if teller.rng.random() < AGAIN else []
                texts.append(teller.text([said, *again]))
        return texts


def _both_ways(fact: Fact) -> tuple[int, str, int]:
    """The fact's key, the same for both directions of a symmetric one."""
    ends = sorted((fact.head, fact.tail)) if BY_NAME[fact.relation].symmetric else (fact.head, fact.tail)
    return ends[0], fact.relation, ends[1]


def scores(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, study: Study, probes: Sequence[Probe], *, told: bool = False,
    collate: Callable[[Sequence[str]], Mapping[str, torch.Tensor]] | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """For each probe the log-probability of every entity of the right type, (entities,): of its name, a mean over the
    name's tokens, each at its own blank, all blanks being open at once. `told` puts the fact itself before the blank;
    `collate` makes batches of the texts, where they are not to be read alone.

    Names of k tokens are read off a text of k blanks: one pass for each length that occurs in the type.
    """
    if tokenizer.mask_token is None:
        raise UsageError(f"{type(tokenizer).__name__} has no mask token: only a masked language model can be probed")
    names = {kind: _names(study, tokenizer, kind) for kind in {BY_NAME[one.fact.relation].tail for one in probes}}
    asked = [(place, length) for place, one in enumerate(probes)
             for length in sorted({len(ids) for ids in names[BY_NAME[one.fact.relation].tail]})]  # fmt: skip
    texts = [blanked(study, probes[place], length, tokenizer.mask_token, told) for place, length in asked]
    longest = max((length for _, length in asked), default=1)
    alone = lambda some: tokenizer(list(some), return_tensors="pt", padding=True)  # noqa: E731
    logs = over_rows(model, texts, collate or alone,
                     lambda model, batch: _at_blanks(model, batch, tokenizer.mask_token_id, longest))  # fmt: skip
    found = [np.empty(len(names[BY_NAME[one.fact.relation].tail])) for one in probes]
    for (place, length), log in zip(asked, logs.numpy(), strict=True):  # log: (longest, vocabulary)
        for entity, ids in enumerate(names[BY_NAME[probes[place].fact.relation].tail]):
            if len(ids) == length:
                found[place][entity] = log[np.arange(length), ids].mean()
    return found


def decoder_scores(
    objective: DKPLM, model: nn.Module, tokenizer: PreTrainedTokenizerBase, study: Study, probes: Sequence[Probe]
) -> list[np.ndarray]:
    """The same from DKPLM's decoder instead of a blank: the mean log-probability of each name's tokens, (entities,)."""
    relations = [study.knowledge.relations.index(one.fact.relation) for one in probes]
    logs = objective.says(model, [one.fact.head for one in probes], relations).numpy()
    names = {kind: _names(study, tokenizer, kind) for kind in {BY_NAME[one.fact.relation].tail for one in probes}}
    return [
        np.array([log[np.arange(len(ids)), ids].mean() for ids in names[BY_NAME[one.fact.relation].tail]])
        for one, log in zip(probes, logs, strict=True)
    ]


def _names(study: Study, tokenizer: PreTrainedTokenizerBase, kind: str) -> list[list[int]]:
    """Token ids of the names of a type's entities, in the graph's order; DataError for a name of unknown words."""
    names = [entity.name[study.language] for entity in study.graph.of_type(kind)]
    found = tokenizer(names, add_special_tokens=False)["input_ids"]
    for name, ids in zip(names, found, strict=True):
        if not ids or tokenizer.unk_token_id in ids:
            raise DataError(f"the tokenizer does not know the name {name!r}: probe a model of this world's text")
    return found


def blanked(study: Study, probe: Probe, blanks: int, mask: str, told: bool = False) -> str:
    """The text of a probe with so many blanks, `told` with the fact itself before it."""
    teller = Teller(study.world, study.language, randomness(study.world))
    space = " " if study.language == "en" else ""
    head, blank = teller.name(probe.fact.head), space.join([mask] * blanks)
    whole = [teller.put(probe.pattern, probe.fact)] if told else []
    return teller.text([*whole, probe.pattern.format(h=head, t=blank)])


def _at_blanks(model: nn.Module, batch: Mapping[str, torch.Tensor], mask: int, longest: int) -> torch.Tensor:
    """Log-probabilities at the blanks of each text, (batch, longest, vocabulary), in their order."""
    rows, columns = (batch["input_ids"] == mask).nonzero(as_tuple=True)
    logs = lm_logits(model, batch, rows, columns).float().log_softmax(-1)
    found = logs.new_zeros(len(batch["input_ids"]), longest, logs.shape[-1])
    nth = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)  # the how manieth of its text
    return found.index_put((rows, nth), logs)


def ranks(study: Study, probes: Sequence[Probe], found: Sequence[np.ndarray]) -> np.ndarray:
    """The rank of each probe's answer among the entities of its type, (probes,), from 1; one that stands level with
    others has their mean rank. The entity that is asked about is no choice.
    """
    result = np.empty(len(probes))
    for place, (probe, values) in enumerate(zip(probes, found, strict=True)):
        choices = [entity.id for entity in study.graph.of_type(BY_NAME[probe.fact.relation].tail)]
        itself = [choices.index(probe.fact.head)] if probe.fact.head in choices else []
        result[place] = filtered_rank(torch.from_numpy(-values), choices.index(probe.fact.tail), itself)
    return result


def prior(study: Study, probes: Sequence[Probe]) -> list[np.ndarray]:
    """The scores of who never looks at the head: how often text states the relation with each entity as its tail."""
    told: dict[str, Counter[int]] = defaultdict(Counter)
    for fact in study.graph.stated:
        told[fact.relation][fact.tail] += study.graph.entities[fact.head].frequency
    types = {kind: study.graph.of_type(kind) for kind in {BY_NAME[one.fact.relation].tail for one in probes}}
    return [
        np.array([told[one.fact.relation][entity.id] for entity in types[BY_NAME[one.fact.relation].tail]])
        for one in probes
    ]


def by_band(probes: Sequence[Probe], places: np.ndarray) -> dict[tuple[str, str], dict[str, float]]:
    """(kind, band) -> {"hits": Hits@1, "mrr": mean reciprocal rank, "n"}, for those that have a probe."""
    found = {}
    for kind in KINDS:
        for band in BANDS:
            own = places[[one.kind == kind and one.band == band for one in probes]]
            if len(own):
                found[kind, band] = {"hits": float((own == 1).mean()), "mrr": float((1 / own).mean()), "n": len(own)}
    return found
