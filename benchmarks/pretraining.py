"""Pre-training objectives on the same text for the same arithmetic: own loss, and accuracy down-stream.

    python benchmarks/pretraining.py                        all objectives, one seed -> labkit/results/pretraining.json
    python benchmarks/pretraining.py --objectives gpt t5    some of them; rows that are there already are kept
    python benchmarks/pretraining.py --tune                 how the learning rates were chosen: by the own loss alone

Every objective trains a micro model (2 layers, d = 128) from scratch on one sample of the world's English text, until
it has spent the floating-point operations of `--steps` steps of uniform masked LM: 6 · weights · tokens that these
weights are applied to, padding and attention's own products left out, an LM head where it runs (at hidden tokens alone,
but everywhere for GPT), ELECTRA's generator and T5's decoder in full. ELECTRA's generator is as wide as its
discriminator and λ is 10 (the paper: a quarter to a half as wide, and 50), T5 has half of the text hidden (15 %), and
both are also measured with twice the arithmetic. Then some labelled rows fine-tune a linear layer on the mean of the
last states (for GPT too: the mean, not the last token) together with the body. A row is one pre-training seed, its
value the mean over several draws of the labelled rows. "no pre-training" is a BERT
with random weights. `own_loss` is the mean of the last 50 steps in nats and differs in kind between objectives;
`own_mlm` and `own_other` are its two parts where it has two (NSP; the discriminator's, before λ). `signal` is the share
of the text's tokens that the loss is over.

TLM needs translations, so it stands apart: with half the arithmetic, on sentences in English and Chinese, against the
masked LM on the same sentences one by one. Measured is how often a sentence's nearest neighbour among 200 of the other
language (cosine of mean states) is its translation.
"""

from __future__ import annotations

import argparse
import functools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from labkit.evaluation import evaluate
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.pretraining import (
    IGNORE,
    CausalLM,
    MaskedLM,
    NextSentence,
    ReplacedTokens,
    SpanCorruption,
    TranslationLM,
    frequency_weights,
    micro_model,
    reader,
    sentence_rows,
    token_counts,
    tokenize_corpus,
    with_sentinels,
)
from labkit.measure import parameters
from labkit.report import Report
from labkit.tasks import load_task
from labkit.training import Batches, History, fit
from labkit.world import World, corpus
from labkit.world.facts import Teller
from labkit.zoo.tokenizer import build_tokenizer

RESULTS = Path("labkit/results/pretraining.json")
TASKS, PARALLEL, CANDIDATES = {"world/reviews": 500, "world/relations": 16}, "world/parallel", 200  # rows a class
DOCUMENTS, MAX_LENGTH, BATCH, SAMPLE = 40_000, 64, 32, 40  # texts, tokens, rows a step, batches on which to count
DRAWS, HEAD_STEPS, HEAD_LR = 2, 200, 1e-3
PLAIN = World(plain=1.0)  # whose reviews can be learned from in so few steps
CANDIDATE_RATES = (1e-3, 3e-3)
RATE = 3e-3


@dataclass(frozen=True)
class Prepared:
    """One objective with the rows it reads, their lengths, and its model."""

    name: str
    objective: Any
    rows: list[Any]
    lengths: list[int]
    model: Callable[[int], nn.Module]  # of a seed
    lr: float = RATE

    def batches(self, seed: int) -> Batches:
        return Batches(self.rows, self.objective.collate, BATCH, seed=seed, lengths=self.lengths)


@functools.cache
def english() -> tuple[Any, list[Any]]:
    """Tokenizer and tokenised sample: the same for every objective."""
    texts = corpus(PLAIN, "en", DOCUMENTS)
    tokenizer = build_tokenizer(texts)
    return tokenizer, tokenize_corpus(texts, tokenizer, MAX_LENGTH)


def prepared(key: str) -> Prepared:
    """The objective called `key`, one of OBJECTIVES."""
    name, kind, make = OBJECTIVES[key]
    tokenizer, rows = english()
    if kind == "t5":
        tokenizer = with_sentinels(tokenizer)
    if key == "bert-nsp":
        rows = sentence_rows(rows, tokenizer)
    if key == "bert-nsp":
        lengths = [min(sum(map(len, row["sentences"])) + 3, MAX_LENGTH) for row in rows]
    else:
        lengths = [len(row["input_ids"]) for row in rows]
    return Prepared(name, make(tokenizer), rows, lengths, lambda seed: micro_model(kind, tokenizer, seed=seed))


def weighted(tokenizer: Any) -> MaskedLM:
    """Masking by frequency, as the zoo's recipes do: rare words more often, 20 % on average."""
    counts = token_counts(english()[1], len(tokenizer), tokenizer.all_special_ids)
    return MaskedLM(tokenizer, token_probabilities=frequency_weights(counts))


OBJECTIVES: dict[str, tuple[str, str, Callable[[Any], Any]]] = {  # key: name of the rows, model, objective
    "mlm": ("MLM 15 %, new masks (RoBERTa)", "bert", MaskedLM),
    "static": ("MLM 15 %, one fixed mask a text", "bert", lambda tokenizer: MaskedLM(tokenizer, fixed_masks=1)),
    "weighted": ("MLM, rare words more often", "bert", weighted),
    "bert-nsp": ("MLM 15 % + NSP (BERT)", "bert-nsp", lambda tokenizer: NextSentence(tokenizer, max_length=MAX_LENGTH)),
    "gpt": ("left to right (GPT)", "gpt", CausalLM),
    "query": ("left to right, query layer (PanGu-α)", "query", CausalLM),
    "electra": ("replaced tokens (ELECTRA)", "electra", lambda tokenizer: ReplacedTokens(tokenizer, weight=10.0)),
    "electra-long": (
        "replaced tokens (ELECTRA), twice the arithmetic",
        "electra",
        lambda tokenizer: ReplacedTokens(tokenizer, weight=10.0),
    ),
    "t5": ("span corruption (T5)", "t5", lambda tokenizer: SpanCorruption(tokenizer, density=0.5)),
    "t5-long": (
        "span corruption (T5), twice the arithmetic",
        "t5",
        lambda tokenizer: SpanCorruption(tokenizer, density=0.5),
    ),
}
BASELINE = "random"
LONGER = {"electra-long": 2, "t5-long": 2}  # times the arithmetic of the others
TRANSLATION = {"apart": ("MLM 15 %, two languages", False), "tlm": ("TLM 15 %", True)}


def main() -> None:
    known = [BASELINE, *OBJECTIVES, *TRANSLATION]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000, help="of uniform masked LM: what everything may cost")
    parser.add_argument("--seeds", type=int, default=1, help="pre-trainings of each objective")
    parser.add_argument("--objectives", nargs="+", choices=known, default=known)
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tune:
        tune(options.steps, [key for key in options.objectives if key in OBJECTIVES])
        return
    report = Report.load(RESULTS) if RESULTS.exists() else Report()
    report.command = f"python benchmarks/pretraining.py --steps {options.steps} --seeds {options.seeds}"
    report.title = "Pre-training objectives, the same text and arithmetic"
    budget = options.steps * cost(prepared("mlm"))["flops_per_step"]
    for seed in range(options.seeds):
        for key in options.objectives:
            if not done(report, key, seed, options.steps):
                run(report, key, seed, budget, options.steps)
                report.save(RESULTS)
    for task in (*TASKS, PARALLEL):
        print(f"\n{task}\n{report.table(task=task)}")


def done(report: Report, key: str, seed: int, steps: int) -> bool:
    """Are all rows of this run there, measured with this budget?"""
    name = "no pre-training" if key == BASELINE else (OBJECTIVES | TRANSLATION)[key][0]
    found = {row.task for row in report.rows if (row.method, row.seed, row["reference_steps"]) == (name, seed, steps)}
    return found >= ({PARALLEL} if key in TRANSLATION else set(TASKS))


def run(report: Report, key: str, seed: int, budget: float, steps: int) -> None:
    """Pre-train and measure one objective with one seed; its rows join the report."""
    extra: dict[str, Any] = {"reference_steps": steps}
    if key == BASELINE:
        name, model, costs = "no pre-training", micro_model("bert", english()[0], seed=seed), {"seconds": 0.0}
    else:
        item = translation(key) if key in TRANSLATION else prepared(key)
        times = 0.5 if key in TRANSLATION else LONGER.get(key, 1)
        name, (model, costs) = item.name, pretrain(item, seed, budget * times)
    costs |= extra | {"parameters": parameters(model)}
    if key in TRANSLATION:
        report.bounds[PARALLEL] = ("accuracy", 1 / CANDIDATES, None)
        report.add(name, PARALLEL, retrieval(model), seed=seed, **costs)
    else:
        for task in map(load_task, TASKS):
            values = few_shot(model, task, seed)
            report.add(name, task, np.mean(values), seed=seed, draws=DRAWS, draws_std=np.std(values, ddof=1), **costs)
    said = [f"{row.task} {100 * row.value:.1f}" for row in report.rows if (row.method, row.seed) == (name, seed)]
    shown = {key: f"{value:.4g}" for key, value in costs.items() if isinstance(value, float)}
    print(time.strftime("%H:%M:%S"), f"seed {seed}", name, *said, shown, sep="  ", flush=True)


def pretrain(item: Prepared, seed: int, budget: float) -> tuple[nn.Module, dict[str, Any]]:
    """The model after `budget` operations, and what the report says of the run."""
    known, model = cost(item), item.model(seed)
    history = train(item, model, max(round(budget / known["flops_per_step"]), 1), item.lr, seed)
    costs = {"own_loss": float(np.mean(history.losses[-50:])), "signal": known["signal"], "lr": item.lr}
    costs |= {"steps": history.steps, "tokens": history.tokens, "seconds": history.seconds}
    return model, costs | parts(item, model) | {"flops": history.steps * known["flops_per_step"]}


def train(item: Prepared, model: nn.Module, steps: int, lr: float, seed: int) -> History:
    """The zoo's schedule."""
    return fit(
        model, item.objective.loss, item.batches(seed), steps=steps, lr=lr, warmup=0.3, schedule="onecycle", seed=seed,
        progress=False,
    )  # fmt: skip


@functools.cache
def _cost(key: str) -> dict[str, float]:
    item = translation(key) if key in TRANSLATION else prepared(key)
    model, batches = item.model(0), list(item.batches(0).stream(0, SAMPLE))
    read, asked = (sum(each) for each in zip(*(signal(item, batch) for batch in batches), strict=True))
    everything = products(item, model, batches)
    body = products(item, model, [unasked(batch) for batch in batches])
    real = sum(int(batch["attention_mask"].sum()) for batch in batches)
    body_real = body * real / sum(batch["attention_mask"].numel() for batch in batches)  # less the padding
    # Batches hold texts of like length: from the sample to the average batch by the tokens.
    average = np.mean(item.lengths) * BATCH / read
    return {"flops_per_step": 3 * (everything - body + body_real) * average, "signal": asked / read}


def unasked(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with no token to name, so that an LM head that runs at hidden tokens alone does not run."""
    return {**batch, "labels": torch.full_like(batch["labels"], IGNORE)}


def products(item: Prepared, model: nn.Module, batches: list[dict[str, torch.Tensor]]) -> int:
    """Operations of a forward pass in products with weights."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for batch in batches:
            item.objective.loss(model, batch)
    found = counter.get_flop_counts()["Global"]
    return sum(count for name, count in found.items() if str(name) in ("aten.mm", "aten.addmm"))


def cost(item: Prepared) -> dict[str, float]:
    """Operations of an average step, and the share of the text's tokens that the loss is over."""
    keys = {name: key for key, (name, *_) in (OBJECTIVES | TRANSLATION).items()}
    return _cost(keys[item.name])


def signal(item: Prepared, batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """(tokens of the text, those of them that the loss is over)."""
    read = int(batch["attention_mask"].sum())
    if isinstance(item.objective, ReplacedTokens):
        return read, read
    asked = batch["labels"][batch["labels"] != IGNORE]
    if isinstance(item.objective, SpanCorruption):
        marks = torch.tensor([*item.objective.sentinels, item.objective.end])
        hidden = int((~torch.isin(asked, marks)).sum())
        return read - int(torch.isin(batch["input_ids"], marks[:-1]).sum()) + hidden, hidden
    return read, len(asked)


@torch.no_grad()
def parts(item: Prepared, model: nn.Module) -> dict[str, float]:
    """The two parts of a loss that has two, over some batches."""
    if not hasattr(item.objective, "losses"):
        return {}
    batches = item.batches(10_000).stream(0, 20)
    first, second = np.mean([[float(x) for x in item.objective.losses(model, batch)] for batch in batches], axis=0)
    return {"own_mlm": first, "own_other": second}


def few_shot(model: nn.Module, task: Any, seed: int) -> list[float]:
    """Accuracy after fine-tuning on each of several draws of labelled rows."""
    how = HeadClassifier(english()[0], task.fields)
    values = []
    for draw in range(DRAWS):
        number = seed * DRAWS + draw
        few = task.few_shot(TASKS[task.name], number)
        head = add_head(reader(model), task.labels, pooling="mean", seed=number)
        batches = Batches(few.splits["train"], how.collate, 16, seed=number)
        fit(head, how.loss, batches, steps=HEAD_STEPS, lr=HEAD_LR, seed=number, progress=False)
        values.append(evaluate(head, how, few, "test", progress=False)[task.metric])
    return values


# Two languages


@functools.cache
def parallel() -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """Tokenizer, training rows and CANDIDATES others: the same facts told in English and in Chinese."""
    texts = list(dict.fromkeys(told(random.Random("parallel"), DOCUMENTS)))
    tokenizer = build_tokenizer([text for pair in texts for text in pair])
    sides = [[r["input_ids"][1:-1] for r in tokenize_corpus(side, tokenizer, 128)] for side in zip(*texts, strict=True)]
    rows = [{"en": en, "zh": zh} for en, zh in zip(*sides, strict=True) if max(len(en), len(zh)) <= MAX_LENGTH - 2]
    return tokenizer, rows[CANDIDATES:], rows[:CANDIDATES]


def told(rng: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """One or two facts about one entity, in two languages, each in wordings of its own."""
    tellers = [Teller(World(), language, rng) for language in ("en", "zh")]
    graph = tellers[0].graph
    for _ in range(count):
        facts = tellers[0].about(graph.sample_entity(rng).id, 1, 2)
        yield tuple(teller.text([teller.say(fact) for fact in facts]) for teller in tellers)


def translation(key: str) -> Prepared:
    """TLM, or the masked LM on the same sentences one by one."""
    name, together = TRANSLATION[key]
    tokenizer, rows, _ = parallel()
    objective = TranslationLM(tokenizer, together=together, max_length=MAX_LENGTH)
    lengths = [len(row["en"]) + len(row["zh"]) + (3 if together else 4) for row in rows]
    return Prepared(name, objective, rows, lengths, lambda seed: micro_model("bert", tokenizer, seed=seed))


@torch.no_grad()
def retrieval(model: nn.Module) -> float:
    """How often a sentence's nearest neighbour in the other language is its translation, both ways."""
    tokenizer, _, rows = parallel()
    batch = TranslationLM(tokenizer, together=False, probability=0.0, max_length=MAX_LENGTH).collate(rows)
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    states = model.eval().bert(**{name: batch[name] for name in names}).last_hidden_state
    weight = batch["attention_mask"][..., None]
    vectors = F.normalize((states * weight).sum(1) / weight.sum(1), dim=-1)
    near = vectors[: len(rows)] @ vectors[len(rows) :].T  # (English, Chinese)
    right = torch.arange(len(rows))
    return float(torch.cat([near.argmax(1) == right, near.argmax(0) == right]).float().mean())


def tune(steps: int, keys: list[str]) -> None:
    """The own loss at every candidate rate after a tenth of the budget, with a seed of its own."""
    budget = steps / 10 * cost(prepared("mlm"))["flops_per_step"]
    for key in keys:
        item = prepared(key)
        number = max(round(budget / cost(item)["flops_per_step"]), 1)
        found = [np.mean(train(item, item.model(9), number, lr, 9).losses[-20:]) for lr in CANDIDATE_RATES]
        shown = "  ".join(f"{lr:g}: {loss:.3f}" for lr, loss in zip(CANDIDATE_RATES, found, strict=True))
        print(f"{item.name:<40} {number:>5} steps  {shown}", flush=True)


if __name__ == "__main__":
    main()
