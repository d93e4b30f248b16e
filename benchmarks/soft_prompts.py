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
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from few_shot_runs import accuracy, known, opened

from labkit.fewshot.methods import METHODS, Adapted, Start, cloze, soft_cloze, trained
from labkit.fewshot.pet import PET
from labkit.fewshot.soft_prompts import PPT, WARP, Prefix, PromptTuning, PTuning
from labkit.fewshot.soft_prompts.ppt import WORDS
from labkit.foundations.encoder import backbone
from labkit.measure import parameters, trainable
from labkit.report import Report
from labkit.tasks import load_task
from labkit.zoo import load

RESULTS, TUNING = Path("labkit/results/soft_prompts.json"), Path("labkit/results/soft_prompts_rates.json")
STEPS, SHOTS, TUNING_SEED, PRETRAINING = 100, 16, 10, 150
MODELS = {"small": "micro-bert-en", "large": "mini-bert-en", "Chinese": "mini-bert-zh"}
PAIRS = [(size, task) for task in ("world/subj", "world/news") for size in ("large", "small")]
PAIRS.append(("Chinese", "world/fewclue/eprstmt"))
GRID = {
    "head": (3e-4, 1e-3, 3e-3),
    "whole": (3e-5, 3e-4, 1e-3, 3e-3),
    "prompt": (0.1, 0.3, 1.0, 3.0),
    "prefix": (0.01, 0.03, 0.1, 0.3, 1.0),
    "warp": (0.003, 0.01, 0.03, 0.1),
}


def before(kind: type[PromptTuning] | type[Prefix], tokens: int) -> Callable[[Start], Adapted]:
    """PET on the frozen model, behind a prompt or a prefix that trains."""

    def prepare(start: Start) -> Adapted:
        found = cloze(PET)(start)
        kind(tokens, seed=start.seed).attach(found.model)
        return found

    return prepare


def ppt(start: Start) -> Adapted:
    rows = pretrained(start.model, start.tokenizer, start.task.language, start.seed)
    found = before(PPT, len(rows))(start)
    with torch.no_grad():
        backbone(found.model).soft_prompt.weight.copy_(rows)
    return found


# method -> (how a model and a method are made, which rate it takes)
WAYS: dict[str, tuple[Callable[[Start], Adapted], str]] = {
    "fine-tune [mean]": (METHODS["fine-tune [mean]"].prepare, "head"),
    "PET": (cloze(PET), "whole"),
    "P-tuning": (soft_cloze(PTuning), "whole"),
    "P-tuning [LSTM]": (soft_cloze(PTuning, encoder="lstm"), "whole"),
    "prompt tuning [1]": (before(PromptTuning, 1), "prompt"),
    "prompt tuning [4]": (before(PromptTuning, 4), "prompt"),
    "prompt tuning [16]": (before(PromptTuning, 16), "prompt"),
    "PPT [16]": (ppt, "prompt"),
    "prefix [8]": (before(Prefix, 8), "prefix"),
    "WARP": (soft_cloze(WARP), "warp"),
    "label vectors alone": (soft_cloze(WARP, soften=False), "warp"),
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
    parser.add_argument("--on", default=",".join(map("/".join, PAIRS)), help="e.g. large/world/subj,small/world/subj")
    parser.add_argument("--ways", default=",".join(WAYS), help="names, joined by commas")
    options = parser.parse_args()
    tune()  # where a rate has not been tried yet
    if options.part == "run":
        run(options.seeds, options.on.split(","), options.ways.split(","))


def adapted(start: Start, way: str, rate: float) -> Adapted:
    """Model and method of `way`, after STEPS steps on the task's training rows."""
    found, rows = WAYS[way][0](start), start.task.splits["train"]
    return trained(found, rows, steps=STEPS, lr=rate, seed=start.seed, progress=False)


@functools.cache
def pretrained(base: Any, tokenizer: Any, language: str, seed: int) -> torch.Tensor:
    """PPT's prompt of 16 tokens for one model, from the unlabelled texts of all tasks of the language; made once."""
    names = [name for _, name in PAIRS if (language == "zh") == ("fewclue" in name)]
    texts = [row["text"] for name in sorted(set(names)) for row in load_task(name).splits["unlabelled"]]
    delta = PPT(16, seed=seed)
    model = delta.attach(copy.deepcopy(base))
    delta.pretrain(model, tokenizer, texts, words=WORDS[language], steps=PRETRAINING, progress=False)
    return backbone(model).soft_prompt.weight.detach().clone()


def run(seeds: int, pairs: list[str], ways: list[str]) -> None:
    rates, report = best_rates(), opened(RESULTS, "")
    report.command = "python benchmarks/soft_prompts.py run"
    bases = {size: load(name) for size, name in MODELS.items()}
    for seed in range(seeds):
        for size, name in (pair for pair in PAIRS if "/".join(pair) in pairs):
            start = Start(*bases[size], load_task(name).few_shot(SHOTS, seed), seed)
            once(report, f"cloze, {size}", start, functools.partial(cloze(PET), start))
            for way in ways:
                rate = rates[name, WAYS[way][1]]
                once(report, f"{way}, {size}", start, functools.partial(adapted, start, way, rate), lr=rate)
    print(report.table())


def once(report: Report, method: str, start: Start, make: Callable[[], Adapted], **extra: Any) -> None:
    """Add a row unless it is there."""
    task, seed = start.task, start.seed
    if known(report, method, task, seed):
        return
    if method.startswith("PPT"):  # the pre-training is not part of this task's seconds
        pretrained(start.model, start.tokenizer, task.language, seed)
    began = time.perf_counter()
    found = make()
    extra["seconds"] = time.perf_counter() - began
    value = accuracy(found, task)
    size = 0 if method.startswith("cloze") else trainable(found.model)
    extra |= {"trainable": size, "parameters": parameters(start.model)}
    report.add(method, task, value, seed=seed, **extra)
    report.save(RESULTS)
    print(f"{task.name}  seed {seed}  {method:<32} {100 * value:.1f}  {size} trained", flush=True)


def tune() -> None:
    """Accuracy on the dev split with another draw of examples, at every rate, on the small models."""
    report = opened(TUNING, "python benchmarks/soft_prompts.py tune")
    for size, name in PAIRS:
        whole = load_task(name)
        start = Start(*load(MODELS[size]), whole.few_shot(SHOTS, TUNING_SEED), TUNING_SEED)
        for kind, way in () if size == "small" else TUNED.items():
            for rate in GRID[kind]:
                method = f"{way} at {rate:g}"
                if not known(report, method, whole, TUNING_SEED):
                    value = accuracy(adapted(start, way, rate), whole, "dev")
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


if __name__ == "__main__":
    main()
