"""How much does `fit` cost over a bare PyTorch loop, and how does transformers' Trainer compare?

    python benchmarks/training.py [--steps 30] [--repetitions 7]

One micro BERT, the same batches, the same AdamW (fused, beta2 = .98, norm clipped to 1, linear schedule, fp32). The
three loops take turns, so that whatever else the machine does falls on all of them; the figures are medians over the
turns, of tokens a second of the whole call and of its median step. On a busy machine trust the tokens per second of
CPU time, which others' work does not count in. Writes labkit/results/training.json. Pre-training on batches of many
shapes is long_training.py's.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import IterableDataset
from transformers import BertConfig, BertForMaskedLM, PrinterCallback, Trainer, TrainingArguments

import labkit
from labkit.files import write_json
from labkit.training import Training, fit, learning_rate
from labkit.training.engine import parameter_groups

RESULTS = Path(labkit.__file__).parent / "results" / "training.json"
VOCABULARY, LENGTH, ROWS, LR = 2000, 32, 64, 5e-4


def new_model() -> BertForMaskedLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, **sizes, **still))


def make_batches(steps: int) -> list[dict[str, Tensor]]:
    """MLM-like: of the (64, 32) tokens 20 % have a label."""
    source = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(steps):
        tokens = torch.randint(VOCABULARY, (ROWS, LENGTH), generator=source)  # (batch, tokens)
        labels = tokens.where(torch.rand(ROWS, LENGTH, generator=source) < 0.2, -100)
        batches.append({"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels})
    return batches


def loss_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).loss


def by_fit(model: nn.Module, batches: list[dict[str, Tensor]]) -> None:
    fit(model, loss_of, batches, steps=len(batches), lr=LR, precision="fp32", progress=False)


def by_hand(model: nn.Module, batches: list[dict[str, Tensor]]) -> None:
    settings, total = Training(steps=len(batches), lr=LR), len(batches)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=LR, betas=(0.9, 0.98), fused=True)
    schedule = LambdaLR(optimizer, lambda step: learning_rate(settings, min(step, total - 1), total) / LR)
    losses = []
    for batch in batches:
        loss = loss_of(model, {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()})
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    torch.stack(losses).tolist()


class _Ready(IterableDataset):
    """Ready-made batches for the Trainer, which then must not batch or shuffle them again."""

    def __init__(self, batches: list[dict[str, Tensor]]) -> None:
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def by_trainer(model: nn.Module, batches: list[dict[str, Tensor]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=len(batches), per_device_train_batch_size=1, learning_rate=LR, adam_beta2=0.98,
            weight_decay=0.01, max_grad_norm=1.0, warmup_steps=max(len(batches) // 10, 1), optim="adamw_torch_fused",
            lr_scheduler_type="linear", save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=_Ready(batches), data_collator=lambda rows: rows[0])
        trainer.remove_callback(PrinterCallback)
        trainer.train()


LOOPS: dict[str, Callable[..., None]] = {"fit": by_fit, "bare PyTorch": by_hand, "transformers.Trainer": by_trainer}


def timed(loop: Callable[..., None], batches: list[dict[str, Tensor]]) -> dict[str, float]:
    """Tokens a second of the whole call, of its median step (from one forward to the next), and a CPU second."""
    model, moments = new_model(), []
    handle = model.register_forward_pre_hook(lambda *_: moments.append(time.perf_counter()))
    began, worked = time.perf_counter(), time.process_time()
    loop(model, batches)
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    handle.remove()
    step = statistics.median(later - sooner for sooner, later in zip(moments, moments[1:], strict=False))
    tokens = ROWS * LENGTH
    total, start = tokens * len(batches), 1e3 * (moments[0] - began)
    return {"call": total / seconds, "step": tokens / step, "cpu": total / work, "start_ms": start}


def device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help="steps of one turn")
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each loop")
    options = parser.parse_args()
    batches = make_batches(options.steps)
    for loop in LOOPS.values():  # imports and caches
        timed(loop, batches[:3])
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in LOOPS}
    for turn in range(options.repetitions):
        names = list(LOOPS)[turn % len(LOOPS) :] + list(LOOPS)[: turn % len(LOOPS)]
        for name in names:
            figures[name].append(timed(LOOPS[name], batches))
    rows = [{"loop": name, "turn": turn, **{k: round(v, 2) for k, v in figure.items()}}
            for name, turns in figures.items() for turn, figure in enumerate(turns)]  # fmt: skip
    summary = summarise(figures)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "labkit": labkit.__version__}
    command = f"python benchmarks/training.py --steps {options.steps} --repetitions {options.repetitions}"
    record: dict[str, Any] = {
        "command": command, "date": datetime.date.today().isoformat(), "device": device_name(), "versions": versions,
        "unit": "tokens/s (call, step), tokens per CPU second (cpu), ms (start_ms)", "summary": summary, "rows": rows,
    }  # fmt: skip
    write_json(RESULTS, record)


def summarise(figures: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Medians a loop, and `fit` as a multiple of each, turn by turn; printed and returned."""
    summary = []
    print(f"{'tokens/s':22}{'whole call':>12}{'median step':>14}{'CPU second':>13}{'start, ms':>11}")
    for name, turns in figures.items():
        row = {key: round(statistics.median(turn[key] for turn in turns), 1) for key in turns[0]}
        print(f"{name:22}{row['call']:>12,.0f}{row['step']:>14,.0f}{row['cpu']:>13,.0f}{row['start_ms']:>11.0f}")
        for key in ("call", "step", "cpu"):
            pairs = zip(figures["fit"], turns, strict=True)
            row[f"fit_times_{key}"] = round(statistics.median(own[key] / other[key] for own, other in pairs), 3)
        times = [f"{row[f'fit_times_{key}']:.3f} x" for key in ("call", "step", "cpu")]
        print(f"{'   fit is':22}{times[0]:>12}{times[1]:>14}{times[2]:>13}")
        summary.append({"loop": name, **row})
    return summary


if __name__ == "__main__":
    main()
