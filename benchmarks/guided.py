"""Asking for one of three facts: without guidance, as a prefix of the text, and by a cross-attention of its own.

    python benchmarks/guided.py      what is missing -> labkit/results/guided.json

A text states three facts about one thing of the world, the guidance names a relation, and the sentence that states its
fact is to be written. Encoder-decoders from nothing: 2 + 2 layers, 128 wide, the guided one with 2 more layers to read
the guidance; STEPS steps of 32 rows at RATE, one seed. Of TEST other rows: how often the text that is written names the
other end of the fact that was asked for, or of one that was not. The other ends of a text's facts all differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from few_shot_runs import opened

from labkit.foundations.generation.guided import Guided, GuidedEncoderDecoder
from labkit.foundations.transformer.transformer import EncoderDecoder, Settings
from labkit.measure import parameters
from labkit.training import Batches, fit
from labkit.world import World
from labkit.world.facts import Teller
from labkit.zoo import load

RESULTS, COMMAND, TASK = Path("labkit/results/guided.json"), "python benchmarks/guided.py", "one of three facts"
TRAIN, TEST, STEPS, RATE, BATCH, SEED = 20_000, 300, 3000, 2e-3, 32, 0
WAYS = {
    "no guidance": (EncoderDecoder, False),
    "guidance as a prefix": (EncoderDecoder, True),
    "guidance cross-attention": (GuidedEncoderDecoder, True),
}


def rows(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`{text, guide, label, tail, others}`: the other ends of the fact that is asked for, and of the two others."""
    teller = Teller(World(), "en", random.Random(f"guided {seed}"))
    rng, made = teller.rng, 0
    while made < count:
        entity = teller.graph.sample_entity(rng).id
        by_relation = {fact.relation: fact for fact in teller.graph.facts_of(entity) if fact.head == entity}
        if len(by_relation) < 3:
            continue
        facts = rng.sample(list(by_relation.values()), 3)
        tails, said = [teller.name(fact.tail) for fact in facts], [teller.say(fact) for fact in facts]
        if len(set(tails)) < 3:
            continue
        asked, made = rng.randrange(3), made + 1
        yield {
            "text": teller.text(said), "guide": facts[asked].relation.replace("_", " "),
            "label": teller.text([said[asked]]), "tail": tails[asked], "others": tails[:asked] + tails[asked + 1 :],
        }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    tokenizer = load("mini-bert-en").tokenizer
    train, test = list(rows(TRAIN, 0)), list(rows(TEST, 1))
    for name, (kind, told) in WAYS.items():
        report = opened(RESULTS, COMMAND)
        if name in {row.method for row in report.rows}:
            continue
        torch.manual_seed(SEED)
        model: Any = kind(Settings(len(tokenizer), layers=2, ffn=256))
        method = Guided(tokenizer, model)
        some, asked = ([row if told else {**row, "guide": ""} for row in part] for part in (train, test))
        batches = Batches(some, method.collate, BATCH, seed=SEED, lengths=[len(row["text"].split()) for row in some])
        history = fit(model, method.loss, batches, steps=STEPS, lr=RATE, warmup=0.1, schedule="onecycle", seed=SEED,
                      progress=False)  # fmt: skip
        written = [text for at in range(0, TEST, 50) for text in method.write(model, asked[at : at + 50])]
        costs = {"parameters": parameters(model)}
        found = {
            "asked": [row["tail"] in text for row, text in zip(test, written, strict=True)],
            "not asked": [any(one in text for one in row["others"]) for row, text in zip(test, written, strict=True)],
        }
        for metric, values in found.items():
            report.add(name, TASK, sum(values) / TEST, metric=metric, seed=SEED, **costs)
        report.save(RESULTS)
        print(
            name, f"loss {sum(history.losses[-50:]) / 50:.3f}", {k: sum(v) / TEST for k, v in found.items()}, flush=True
        )
        print(test[0]["text"], "|", test[0]["guide"], "|", written[0], flush=True)
    print(opened(RESULTS, COMMAND).table())


if __name__ == "__main__":
    main()
