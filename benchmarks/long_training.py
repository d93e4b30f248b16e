"""Pre-training for long: its speed against a bare loop and against shapes as they come, and the memory it stays in.

    python benchmarks/long_training.py speed  [--steps 8] [--turns 5]    -> labkit/results/long_training.json
    python benchmarks/long_training.py memory [--steps 3000]             -> labkit/results/resident.json

A mini BERT (3 x 192) on the world's text, batches of 128, words masked by their frequency. `speed` lets all take turns
in one process, on one thread (a busy machine falls on all alike), and takes ratios turn by turn of the processor's
time and of the clock's. "as it was": the batch as long as its longest text, logits at just the hidden tokens, the last
layer in full. `memory` trains a micro BERT in a process of its own for each way, in batches of 32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM

import labkit
from labkit.foundations.encoder import model_inputs
from labkit.foundations.pretraining import MaskedLM, frequency_weights, token_counts, tokenize_corpus
from labkit.foundations.pretraining.rows import TokenRows
from labkit.foundations.pretraining.shapes import IGNORE
from labkit.report import Report
from labkit.threads import cores, load
from labkit.training import Batches, Training, fit, learning_rate
from labkit.training.engine import parameter_groups
from labkit.world import World, corpus
from labkit.zoo.tokenizer import build_tokenizer

RESULTS = Path(labkit.__file__).parent / "results"
DOCUMENTS, LENGTH, LR = 8_000, 64, 1e-3
MINI = {"hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 6, "intermediate_size": 512}
MICRO = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 128}
NOW, BEFORE, BARE, HALF = "fit", "fit, as it was", "bare loop", "fit, bf16"
LOOK = 250  # steps between two looks at the resident size


def setting(sizes: dict[str, int], batch_size: int) -> tuple[Callable[[], BertForMaskedLM], MaskedLM, Batches]:
    texts = corpus(World(), "en", DOCUMENTS)
    tokenizer = build_tokenizer(texts, positions=128)
    rows = tokenize_corpus(texts, tokenizer, LENGTH)
    weights = frequency_weights(token_counts(rows, len(tokenizer), tokenizer.all_special_ids))
    objective = MaskedLM(tokenizer, token_probabilities=weights)

    def model() -> BertForMaskedLM:
        torch.manual_seed(0)
        return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes, **STILL))

    return model, objective, Batches(rows, objective.collate, batch_size, lengths=rows.lengths)


def loss_as_it_was(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The LM head at the hidden tokens, however many; the last layer everywhere."""
    rows, columns = (batch["labels"] != IGNORE).nonzero(as_tuple=True)
    pick = model.cls.register_forward_pre_hook(lambda _, args: (args[0][rows, columns][None],))
    try:
        logits = model(**model_inputs(model, batch)).logits[0]
    finally:
        pick.remove()
    return F.cross_entropy(logits, batch["labels"][rows, columns])


def as_it_was(batches: Batches) -> Batches:
    """The same batches, as long as their longest text."""

    def collate(rows: Any, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = batches.collate(rows, rng)
        longest = int(batch["attention_mask"].sum(1).max())
        return {name: value[:, :longest].contiguous() if value.ndim > 1 else value for name, value in batch.items()}

    return Batches(batches.rows, collate, batches.batch_size, lengths=batches.lengths)


def by_hand(model: nn.Module, objective: MaskedLM, batches: Iterator[dict[str, Tensor]], steps: int) -> None:
    settings = Training(steps=steps, lr=LR)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=LR, betas=(0.9, 0.98), fused=True)
    model.train()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, steps)
        objective.loss(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def speed(steps: int, turns: int) -> None:
    torch.set_num_threads(1)
    make, objective, batches = setting(MINI, 128)
    old = as_it_was(batches)
    options = {"steps": steps, "lr": LR, "progress": False}
    ways: dict[str, Callable[[nn.Module], Any]] = {
        NOW: lambda model: fit(model, objective.loss, batches, precision="fp32", **options),
        BEFORE: lambda model: fit(model, loss_as_it_was, old, precision="fp32", **options),
        BARE: lambda model: by_hand(model, objective, batches.stream(0, steps), steps),
        HALF: lambda model: fit(model, objective.loss, batches, precision="bf16", **options),
    }
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches.stream(0, steps))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            model = make()
            if name == HALF:
                model.set_attn_implementation("eager")
            began, worked = time.perf_counter(), time.process_time()
            way(model)
            if turn:  # the first is for the caches
                found[name].append((time.process_time() - worked, time.perf_counter() - began))
    report = Report(command=f"python benchmarks/long_training.py speed --steps {steps} --turns {turns}")
    for name, times in found.items():
        for turn, (work, clock) in enumerate(times):
            report.add(name, "mini BERT", tokens / work, metric="tokens per CPU second", seed=turn, load=load())
            report.add(name, "mini BERT", tokens / clock, metric="tokens per second", seed=turn, load=load())
        other = BARE if name == NOW else NOW
        ratios = [(a[0] / b[0], a[1] / b[1]) for a, b in zip(found[other], times, strict=True)]
        work, clock = (statistics.median(ratio[which] for ratio in ratios) for which in (0, 1))
        print(f"{name:<16}{tokens / statistics.median(t[0] for t in times):8,.0f} tokens per CPU second; "
              f"{work:.2f} (CPU), {clock:.2f} (clock) x {other}")  # fmt: skip
    print(f"load {load():.1f} on {cores()} cores")
    report.save(RESULTS / "long_training.json")


def memory(steps: int) -> None:
    report = Report(command=f"python benchmarks/long_training.py memory --steps {steps}")
    for name in (NOW, BEFORE):
        command = [sys.executable, __file__, "resident", "--steps", str(steps), "--way", name]
        seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for step, size in seen["resident"]:
            report.add(name, "micro BERT", size / 1e6, metric=f"MB after {step:,} steps", load=load())
        report.add(name, "micro BERT", seen["bytes"], metric="bytes a token of rows")
        settled = [size for step, size in seen["resident"] if step > steps // 10]
        print(f"{name:<16}{settled[0] / 1e6:.0f} MB after a tenth, {max(settled) / 1e6:.0f} at most, "
              f"{settled[-1] / 1e6:.0f} at the end; rows {seen['bytes']:.1f} bytes per token", flush=True)  # fmt: skip
    report.save(RESULTS / "resident.json")


def resident(steps: int, way: str) -> None:
    """One way, alone in this process: what `memory` starts."""
    torch.set_num_threads(1)
    make, objective, batches = setting(MICRO, 32)
    rows, seen = batches.rows, []
    if way == BEFORE:
        plain = [dict(row) for row in rows]
        size = sum(sys.getsizeof(row) + sys.getsizeof(row["input_ids"]) + 8 for row in plain) / len(rows.ids)
        batches, loss = as_it_was(Batches(plain, objective.collate, 32, lengths=batches.lengths)), loss_as_it_was
    else:
        assert isinstance(rows, TokenRows)
        size, loss = rows.nbytes / len(rows.ids), objective.loss

    def look(step: int, _: float) -> None:
        if step % LOOK == 0:
            seen.append((step, psutil.Process().memory_info().rss))

    fit(make(), loss, batches, steps=steps, lr=LR, precision="fp32", progress=False, on_step=look)
    print(json.dumps({"resident": seen, "bytes": size}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "memory", "resident"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--way", default=NOW, choices=[NOW, BEFORE])
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.steps or 8, options.turns)
    elif options.what == "memory":
        memory(options.steps or 3000)
    else:
        resident(options.steps or 3000, options.way)


if __name__ == "__main__":
    main()
