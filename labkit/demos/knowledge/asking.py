"""What the knowledge demo asks: two models for the words of a blank, the graph for facts, retrievers for pages."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from labkit import files
from labkit.demos.foundations.writing import Filled, Models, fill
from labkit.errors import CheckpointError, say
from labkit.foundations.encoder import backbone
from labkit.knowledge.dense import DenseIndex, DualEncoder
from labkit.knowledge.dkplm import names_of
from labkit.knowledge.graph import Triple, of_facts
from labkit.knowledge.lexical import bm25
from labkit.knowledge.linking import longest_first
from labkit.knowledge.passages import Collection
from labkit.knowledge.probes import BANDS, Study
from labkit.knowledge.sparterm import SparTerm, SparTermIndex, SparTermModel
from labkit.training import Batches, fit
from labkit.widgets.retrieval_bench import Retriever
from labkit.world import World
from labkit.zoo import load

STUDY = Study(World(), shared=0.0, edges=(0.002, 0.0005))  # the default world, whose things are many
ENCODER = "micro-bert-en"  # from which whatever learns to search starts
STEPS = {"dense": (250, 3e-3), "sparterm": (100, 1e-3)}  # and the learning rate


@dataclass(frozen=True)
class Known:
    """The blanks of a text as each model fills them, and for each thing that it names its facts in the graph, each with
    whether some text of the world states it.
    """

    filled: dict[str, Filled]
    facts: dict[str, list[tuple[Triple, bool]]]


class Graph:
    """The world's facts, to be found by the names in a text."""

    def __init__(self, study: Study, tokenizer: Any) -> None:
        facts = study.graph.facts
        self.graph, self.tokenizer = of_facts(study.graph, facts), tokenizer
        self.stated = [not fact.held_out for fact in facts]
        self.names = names_of(tokenizer, self.graph)

    def facts(self, text: str) -> dict[str, list[tuple[Triple, bool]]]:
        """The facts of each thing that the text names."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        named = dict.fromkeys(entity for _, _, entity in longest_first(ids, self.names))
        return {
            self.graph.entities[one]: [(self.graph.named(self.graph.triples[row]), self.stated[row])
                                       for row in self.graph.rows(one)]
            for one in named
        }  # fmt: skip


def ask(models: Models, names: Sequence[str], graph: Graph, parts: Sequence[str]) -> Known:
    """Every model's words for the blanks between the parts of a text. UsageError for a text that is too long."""
    return Known({name: fill(models.get(name), parts, 1) for name in names}, graph.facts(" [UNK] ".join(parts)))


def cloze_examples(study: Study) -> list[str]:
    """A fact of a frequent, a middling and a rare thing, with as many blanks as its tail has words."""
    found = []
    for band in BANDS:
        probe = next(one for one in study.probes if (one.band, one.kind) == (band, "stated"))
        head, tail = (study.graph.entities[end].name["en"] for end in (probe.fact.head, probe.fact.tail))
        blanks = " ".join(["[MASK]"] * len(tail.split()))
        found.append(f"{probe.pattern.format(h=head, t=blanks)} .")
    return found


def retrievers(pages: Collection) -> dict[str, Retriever]:
    """BM25, a dual encoder and SparTerm over the pages. What learns is trained once, in some two minutes, and kept."""
    body, tokenizer = load(ENCODER, head="mlm")
    dense, sparse = DualEncoder(tokenizer, pages.passages), SparTerm(tokenizer, pages.passages, pages.splits["train"])
    encoder = _kept("dense", copy.deepcopy(backbone(body)), dense, pages)
    weighing = _kept("sparterm", SparTermModel(copy.deepcopy(body), body), sparse, pages)
    return {
        "BM25": bm25(pages.passages), "Dense": DenseIndex(encoder, dense), "SparTerm": SparTermIndex(weighing, sparse),
    }  # fmt: skip


def _kept(name: str, model: nn.Module, method: DualEncoder, pages: Collection) -> nn.Module:
    """The model, trained or as its training left it; what is damaged, or of other pages, is made again."""
    steps, lr = STEPS[name]
    batches = Batches(pages.splits["train"], method.collate, 32, seed=0)
    with files.locked(cache() / "lock"):
        for _ in range(2):
            try:
                say(f"labkit: {name}: {steps} steps of training, or what is left of them")
                fit(model, method, batches, steps=steps, lr=lr, seed=0, folder=cache() / name, resume=True)
            except CheckpointError as error:
                say(f"labkit: {error}: training it again")
                shutil.rmtree(cache() / name)
            else:
                break
    return model


def cache() -> Path:
    """Where what was trained is kept."""
    return files.cache_folder() / "demos" / "knowledge"
