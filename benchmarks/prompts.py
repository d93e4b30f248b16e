"""Prompts on a frozen model and with four examples a class: templates, verbalizers, calibration, in-context learning.

    python benchmarks/prompts.py run     every method on four tasks, three draws   -> labkit/results/prompts.json
    python benchmarks/prompts.py tune    how the learning rates were chosen: dev split, another seed

Rows that are there already are kept, so an interrupted run goes on. Everything is scored on the first 300 test rows;
each draw has its own four examples a class and its own 200 texts without labels.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from few_shot_runs import accuracy, known, opened

from labkit.fewshot.methods import Adapted, trained
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.ensemble import TemplateEnsemble
from labkit.fewshot.prompts.in_context import InContext, content_free, demonstrations, orders
from labkit.fewshot.prompts.knowledgeable import knowledgeable, related_words
from labkit.fewshot.prompts.perplexity import PerplexityChoice
from labkit.fewshot.prompts.prototypical import ProtoVerb
from labkit.fewshot.prompts.soft_verbalizer import SoftVerbalizer
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results/prompts.json")
SHOTS, STEPS, TEST, TEXTS, WORDS = 4, 60, 300, 200, 6
SHOWN, ORDERS, UNSIFTED = (1, 2, 4), 10, {"share": 1.0, "least": 0.0}
# task -> (model, learning rate of PET, of label vectors drawn at random, of prototypes), by `tune`
TASKS = {
    "world/reviews": ("mini-bert-en", 3e-5, 3e-5, 3e-5),
    "world/news": ("mini-bert-en", 3e-5, 3e-4, 3e-4),
    "world/subj": ("mini-bert-en", 1e-3, 1e-3, 1e-3),
    "world/fewclue/eprstmt": ("mini-bert-zh", 3e-5, 3e-5, 3e-5),
}
RATES, TUNING_SEED = (3e-5, 3e-4, 1e-3, 3e-3), 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["run", "tune"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    tune() if options.part == "tune" else run(options.seeds)


def run(seeds: int) -> None:
    report = opened(RESULTS, f"python benchmarks/prompts.py run --seeds {seeds}")
    for name, (model, *rates) in TASKS.items():
        base, whole = load(model), load_task(name)
        whole = replace(whole, splits={**whole.splits, "test": whole.splits["test"][:TEST]})
        for seed in range(seeds):
            draw = Draw(report, base, whole.few_shot(SHOTS, seed), seed)
            frozen(draw)
            in_context(draw)
            few_shot(draw, *rates)
            report.save(RESULTS)
    in_every_order(report, load("mini-bert-en"), load_task("world/reviews"))
    report.save(RESULTS)
    print(report.table())


class Draw:
    """One draw of examples on one task; `add` scores a method unless its row is there."""

    def __init__(self, report: Report, base: Loaded, task: Task, seed: int) -> None:
        self.report, self.base, self.task, self.seed = report, base, task, seed
        self.rows, self.texts = task.splits["train"], task.splits["unlabelled"][:TEXTS]

    def add(self, name: str, run: Callable[[], tuple[Any, Any]], **extra: Any) -> None:
        if known(self.report, name, self.task, self.seed):
            return
        value = accuracy(Adapted(*run()), self.task)
        self.report.add(name, self.task, value, seed=self.seed, **extra)
        print(f"{self.task.name}  seed {self.seed}  {name:<40} {100 * value:.1f}", flush=True)

    def trained(self, how: Any, lr: float, model: Any = None) -> tuple[Any, Any]:
        """A copy of the language model (or `model` itself) trained on the draw's examples, and the method."""
        model = copy.deepcopy(self.base.model) if model is None else model
        trained(Adapted(model, how), self.rows, steps=STEPS, lr=lr, seed=self.seed, progress=False)
        return model, how


def frozen(draw: Draw) -> None:
    """Nothing is trained."""
    task, (model, tokenizer), texts = draw.task, draw.base, draw.texts
    cloze = PET.for_task(task, tokenizer)
    patterns = TemplateEnsemble.for_task(task, tokenizer)
    several = PET.for_task(task, tokenizer, words=WORDS, aggregate="mean")
    draw.add("cloze", lambda: (model, cloze))
    empty = content_free(cloze.template)
    draw.add("cloze, calibrated without content", lambda: (model, cloze.calibrated(model, empty)))
    draw.add("cloze, calibrated on texts", lambda: (model, cloze.calibrated(model, texts)))
    draw.add("templates, ensemble", lambda: (model, patterns))
    draw.add("templates, ensemble calibrated on texts", lambda: (model, patterns.calibrated(model, texts)))
    draw.add("words, several", lambda: (model, several))
    draw.add("words, several calibrated on texts", lambda: (model, several.calibrated(model, texts)))
    draw.add("words, knowledgeable unsifted", lambda: (model, looked_up(draw, **UNSIFTED)))
    draw.add("words, knowledgeable sifted", lambda: (model, looked_up(draw)))
    if draw.seed == 0:
        first = {label: some[0] for label, some in cloze.verbalizer.words.items()}
        draw.add("perplexity of the whole text", lambda: (model, PerplexityChoice(cloze.template, first, tokenizer)))


def looked_up(draw: Draw, **sieve: float) -> PET:
    """The cloze with the words that the lexicon knows, sifted on the draw's texts."""
    task, (model, tokenizer) = draw.task, draw.base
    template = PET.for_task(task, tokenizer).template
    words = related_words(task.words, task.language)
    return knowledgeable(model, template, words, tokenizer, draw.texts, **sieve)[0]


def shown_before(draw: Draw, shown: list[Any]) -> InContext:
    cloze = PET.for_task(draw.task, draw.base.tokenizer)
    return InContext(cloze.template, cloze.verbalizer, draw.base.tokenizer, shown)


def in_context(draw: Draw) -> None:
    """Demonstrations before the question, raw and calibrated on inputs without content."""
    model, classes = draw.base.model, len(draw.task.labels)
    for count in SHOWN:
        how = shown_before(draw, demonstrations(draw.rows, count, classes, draw.seed))
        draw.add(f"in context, {count} shown", lambda how=how: (model, how), shown=count)
        draw.add(f"in context calibrated, {count} shown", lambda how=how: (model, how.calibrated(model)), shown=count)


def in_every_order(report: Report, base: Loaded, whole: Task) -> None:
    """The same four demonstrations in different orders; a row's seed is the number of its order."""
    whole = replace(whole, splits={**whole.splits, "test": whole.splits["test"][:TEST]})
    task = whole.few_shot(SHOTS, 0)
    shown = demonstrations(task.splits["train"], 4, len(task.labels), 0)
    for number, order in enumerate(orders(shown, ORDERS)):
        draw = Draw(report, base, task, number)
        how = shown_before(draw, order)
        draw.add("order of four", lambda how=how: (base.model, how))
        draw.add("order of four, calibrated", lambda how=how: (base.model, how.calibrated(base.model)))


def few_shot(draw: Draw, rate: float, random_rate: float, proto_rate: float) -> None:
    """Four examples a class, and the whole model trains; only the verbalizer differs."""
    task, (model, tokenizer) = draw.task, draw.base
    cloze = PET.for_task(task, tokenizer)
    first = {label: some[0] for label, some in cloze.verbalizer.words.items()}

    def soft(words: Any, lr: float) -> tuple[Any, Any]:
        how = SoftVerbalizer(cloze.template, task.labels, tokenizer, words=words)
        return draw.trained(how, lr, how.attach(copy.deepcopy(model), seed=draw.seed))

    def proto() -> tuple[Any, Any]:
        how = ProtoVerb(cloze.template, task.labels, tokenizer)
        return how.attach(copy.deepcopy(model), draw.rows, seed=draw.seed), how

    def trained_proto() -> tuple[Any, Any]:
        attached, how = proto()
        return draw.trained(how, proto_rate, attached)

    several = PET.for_task(task, tokenizer, words=WORDS, aggregate="sum")
    draw.add("trained, one word", lambda: draw.trained(cloze, rate))
    draw.add("trained, several words", lambda: draw.trained(several, rate))
    draw.add("trained, knowledgeable", lambda: draw.trained(looked_up(draw, **UNSIFTED), rate))
    draw.add("trained, prototypes", trained_proto)
    draw.add("prototypes, before training", proto)
    draw.add("trained, vectors from words", lambda: soft(first, rate))
    draw.add("trained, vectors from nothing", lambda: soft(None, random_rate))
    draw.add("trained, ensemble of templates", lambda: draw.trained(TemplateEnsemble.for_task(task, tokenizer), rate))


def tune() -> None:
    """Accuracy on the dev split with another seed, at every rate; the best of each method is in TASKS."""
    for name, (model, *_) in TASKS.items():
        base, whole = load(model), load_task(name)
        few = whole.few_shot(SHOTS, TUNING_SEED, dev=False)
        task = replace(few, splits={**few.splits, "test": whole.splits["dev"][:300]})
        for rate in RATES:
            report = Report()
            few_shot_of(Draw(report, base, task, TUNING_SEED), rate)
            print(name, rate, {row.method: round(100 * row.value, 1) for row in report.rows}, flush=True)


def few_shot_of(draw: Draw, rate: float) -> None:
    """The three methods whose rates are chosen."""
    task, (model, tokenizer) = draw.task, draw.base
    cloze = PET.for_task(task, tokenizer)
    soft = SoftVerbalizer(cloze.template, task.labels, tokenizer)
    proto = ProtoVerb(cloze.template, task.labels, tokenizer)
    draw.add("one word", lambda: draw.trained(cloze, rate))
    draw.add("vectors", lambda: draw.trained(soft, rate, soft.attach(copy.deepcopy(model))))
    draw.add("prototypes", lambda: draw.trained(proto, rate, proto.attach(copy.deepcopy(model), draw.rows)))


if __name__ == "__main__":
    main()
