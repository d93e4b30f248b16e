"""Soft prompts: accuracy against the weights that train, on two sizes of one model.

    python benchmarks/soft_prompts.py tune   every learning rate, dev split, another draw    -> soft_prompts_rates.json
    python benchmarks/soft_prompts.py run    every method at its best rate, 16 shots         -> soft_prompts.json

Results are in labkit/results/; rows that are there already are kept, so an interrupted run goes on. All methods take
the same number of steps; PPT's prompt has been pre-trained besides, on unlabelled text, once for each model and seed.
The rates are those of the larger model, for the small one too.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from labkit.evaluation import evaluate
from labkit.fewshot.pet import PET
from labkit.fewshot.soft_prompts import PPT, WARP, Prefix, PromptTuning, PTuning
from labkit.fewshot.soft_prompts.ppt import WORDS
from labkit.foundations.encoder import backbone
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.measure import parameters, trainable
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, load

RESULTS, TUNING = Path("labkit/results/soft_prompts.json"), Path("labkit/results/soft_prompts_rates.json")
STEPS, BATCH, SHOTS, TUNING_SEED, PRETRAINING = 100, 16, 16, 10, 150
MODELS = {"small": "micro-bert-en", "large": "mini-bert-en", "Chinese": "mini-bert-zh"}
PAIRS = [(size, task) for size in ("small", "large") for task in ("world/subj", "world/news")]
PAIRS.append(("Chinese", "world/fewclue/eprstmt"))
GRID = {
    "head": (3e-4, 1e-3, 3e-3),
    "whole": (3e-5, 3e-4, 1e-3, 3e-3),
    "prompt": (0.1, 0.3, 1.0, 3.0),
    "prefix": (0.01, 0.03, 0.1, 0.3, 1.0),
    "warp": (0.003, 0.01, 0.03, 0.1),
}


@dataclass(frozen=True)
class Start:
    """What a method begins with."""

    base: Loaded
    task: Task
    seed: int
    prompt: Callable[[], torch.Tensor]  # the pre-trained one, made when first asked for

    @property
    def model(self) -> Any:
        return copy.deepcopy(self.base.model)

    @property
    def pet(self) -> PET:
        return PET.for_task(self.task, self.base.tokenizer)


def head(start: Start) -> tuple[Any, Any]:
    model = add_head(start.base.model, start.task.labels, pooling="mean", seed=start.seed)
    return model, HeadClassifier(start.base.tokenizer, start.task.fields)


def soft(kind: type[PTuning] | type[WARP], **options: Any) -> Callable[[Start], tuple[Any, Any]]:
    """P-tuning or WARP."""

    def prepare(start: Start) -> tuple[Any, Any]:
        how = kind.for_task(start.task, start.base.tokenizer, seed=start.seed, **options)
        return how.attach(start.model), how

    return prepare


def prompt(tokens: int) -> Callable[[Start], tuple[Any, Any]]:
    return lambda start: (PromptTuning(tokens, seed=start.seed).attach(start.model), start.pet)


def prefix(start: Start) -> tuple[Any, Any]:
    return Prefix(8, seed=start.seed).attach(start.model), start.pet


def ppt(start: Start) -> tuple[Any, Any]:
    rows = start.prompt()
    model = PPT(len(rows), seed=start.seed).attach(start.model)
    with torch.no_grad():
        backbone(model).soft_prompt.weight.copy_(rows)
    return model, start.pet


# method -> (how a model and a method are made, which rate it takes)
WAYS: dict[str, tuple[Callable[[Start], tuple[Any, Any]], str]] = {
    "fine-tune [mean]": (head, "head"),
    "PET": (lambda start: (start.model, start.pet), "whole"),
    "P-tuning": (soft(PTuning), "whole"),
    "P-tuning [LSTM]": (soft(PTuning, encoder="lstm"), "whole"),
    "prompt tuning [1]": (prompt(1), "prompt"),
    "prompt tuning [4]": (prompt(4), "prompt"),
    "prompt tuning [16]": (prompt(16), "prompt"),
    "PPT [16]": (ppt, "prompt"),
    "prefix [8]": (prefix, "prefix"),
    "WARP": (soft(WARP), "warp"),
    "label vectors alone": (soft(WARP, soften=False), "warp"),
}
TUNED = {
    "head": "fine-tune [mean]",
    "whole": "PET",
    "prompt": "prompt tuning [4]",
    "prefix": "prefix [8]",
    "warp": "WARP",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["run", "tune"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    tune()  # where a rate has not been tried yet
    if options.part == "run":
        run(options.seeds)


def adapted(start: Start, way: str, rate: float) -> tuple[Any, Any]:
    """Model and method of `way`, after STEPS steps on the task's training rows."""
    model, how = WAYS[way][0](start)
    rows = start.task.splits["train"]
    batches = Batches(rows, how.collate, min(BATCH, len(rows)), seed=start.seed)
    fit(model, how.loss, batches, steps=STEPS, lr=rate, seed=start.seed, progress=False)
    return model, how


def accuracy(model: Any, how: Any, task: Task, split: str = "test") -> float:
    return evaluate(model, how, task, split, progress=False)[task.metric]


def pretrained(base: Loaded, language: str, seed: int, made: dict[Any, torch.Tensor]) -> torch.Tensor:
    """PPT's prompt of 16 tokens for one model, from the unlabelled texts of all tasks of the language; made once."""
    key = (base.model.config.num_hidden_layers, language, seed)
    if key not in made:
        names = [name for _, name in PAIRS if (language == "zh") == ("fewclue" in name)]
        texts = [row["text"] for name in sorted(set(names)) for row in load_task(name).splits["unlabelled"]]
        delta = PPT(16, seed=seed)
        model = delta.attach(copy.deepcopy(base.model))
        delta.pretrain(model, base.tokenizer, texts, words=WORDS[language], steps=PRETRAINING, progress=False)
        made[key] = backbone(model).soft_prompt.weight.detach().clone()
    return made[key]


def run(seeds: int) -> None:
    rates, report = best_rates(), opened(RESULTS, f"run --seeds {seeds}")
    bases, made = {size: load(name) for size, name in MODELS.items()}, {}
    for seed in range(seeds):
        for size, name in PAIRS:
            base, whole = bases[size], load_task(name)
            task = whole.few_shot(SHOTS, seed)
            start = Start(base, task, seed, lambda b=base, t=task, s=seed: pretrained(b, t.language, s, made))
            once(report, f"cloze, {size}", start, lambda s=start: (s.model, s.pet))
            for way, (_, kind) in WAYS.items():
                rate = rates[name, kind]
                once(report, f"{way}, {size}", start, lambda s=start, w=way, r=rate: adapted(s, w, r), lr=rate)
            report.save(RESULTS)
    print(report.table())


def once(report: Report, method: str, start: Start, make: Callable[[], Any], **extra: Any) -> None:
    """Add a row unless it is there."""
    task, seed = start.task, start.seed
    if (method, task.name, task.metric, seed) in {row.key for row in report.rows}:
        return
    if method.startswith("PPT"):
        start.prompt()  # whose pre-training is not part of this task's seconds
    began = time.perf_counter()
    model, how = make()
    extra["seconds"] = time.perf_counter() - began
    value = accuracy(model, how, task)
    size = 0 if method.startswith("cloze") else trainable(model)
    extra |= {"trainable": size, "parameters": parameters(start.base.model)}
    report.add(method, task, value, seed=seed, **extra)
    print(f"{task.name}  seed {seed}  {method:<32} {100 * value:.1f}  {size} trained", flush=True)


def tune() -> None:
    """Accuracy on the dev split with another draw of examples, at every rate, on the small models."""
    report = opened(TUNING, "tune")
    for size, name in PAIRS:
        base, whole = load(MODELS[size]), load_task(name)
        start = Start(base, whole.few_shot(SHOTS, TUNING_SEED), TUNING_SEED, lambda: torch.zeros(0))
        for kind, way in () if size == "small" else TUNED.items():
            for rate in GRID[kind]:
                method = f"{way} at {rate:g}"
                if (method, name, whole.metric, TUNING_SEED) not in {row.key for row in report.rows}:
                    value = accuracy(*adapted(start, way, rate), whole, "dev")
                    report.add(method, whole, value, seed=TUNING_SEED, kind=kind, lr=rate)
                    report.save(TUNING)
                    print(f"{name:<24} {method:<28} {100 * value:.1f}", flush=True)


def best_rates() -> dict[tuple[str, str], float]:
    """(task, kind of rate) -> the rate that `tune` found best; of equals the smaller."""
    found: dict[tuple[str, str], Any] = {}
    for row in Report.load(TUNING).rows:
        key = (row.task, row["kind"])
        if key not in found or row.value > found[key].value:
            found[key] = row
    return {key: row["lr"] for key, row in found.items()}


def opened(path: Path, what: str) -> Report:
    """The report in `path` so far."""
    return Report.load(path) if path.is_file() else Report(command=f"python benchmarks/soft_prompts.py {what}")


if __name__ == "__main__":
    main()
