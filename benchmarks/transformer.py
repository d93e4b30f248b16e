"""What attention costs beside a recurrence, and what a decoder makes of the ways to tell it where a token stands.

    python benchmarks/transformer.py cost                  -> labkit/results/transformer_cost.json
    python benchmarks/transformer.py positions --seed 0    -> labkit/results/transformer.json, a seed at a time

`cost`: one causal attention of 4 heads and one GRU, both 128 wide, forward and backward over one text, in turns on one
thread; time is the median of the turns, memory the most bytes of tensors alive. `positions`: the same decoder on the
same reviews of the world in blocks of 32 pieces, then on held-out blocks that are longer than any it was trained on.
NEZHA's waves also at a tenth of their size: `--only tenth` runs that alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import labkit
from labkit.foundations.transformer.attention import MultiHead, Sight, causal_mask
from labkit.foundations.transformer.positions import POSITIONS, Relative
from labkit.foundations.transformer.tokenization import BPE
from labkit.foundations.transformer.transformer import Decoder, Settings
from labkit.lab import seeded
from labkit.measure import peak_memory
from labkit.report import Report
from labkit.threads import load
from labkit.training import Batches
from labkit.world import World, corpus

RESULTS = Path(labkit.__file__).parent / "results"
LENGTHS, TURNS, D = (64, 128, 256, 512, 1024, 2048), 5, 128
TENTH = "relative (a tenth)"
TEXTS, MERGES, BLOCK, LONGER = 5000, 400, 32, (32, 64, 128)


def cost() -> None:
    torch.manual_seed(0)
    heads, gru = MultiHead(D, 4), nn.GRU(D, D, batch_first=True)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "attention": lambda x: heads(x, x, Sight(causal_mask(x.shape[1]))),
        "recurrence (GRU)": lambda x: gru(x)[0],
    }
    report = Report(command="python benchmarks/transformer.py cost")
    for n in LENGTHS:
        x = torch.randn(1, n, D, requires_grad=True)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(TURNS + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                way(x).sum().backward()
                times[name] += [1000 * (time.perf_counter() - began)] if turn else []
        for name, way in ways.items():
            most = peak_memory(lambda way=way, x=x: way(x).sum().backward()) / 1e6
            report.add(name, f"{n} tokens", statistics.median(times[name]), metric="ms", tokens=n, load=load())
            report.add(name, f"{n} tokens", most, metric="MB", tokens=n)
            print(f"{n:5} {name:<18}{statistics.median(times[name]):8.1f} ms {most:8.1f} MB", flush=True)
    report.save(RESULTS / "transformer_cost.json")


def blocks(bpe: BPE, part: str, length: int, count: int) -> list[Tensor]:
    """Pieces of the world's text, one text after the other, cut into blocks of length + 1."""
    stream = [piece for text in corpus(World(), "en", count, ["reviews"], part) for piece in bpe.encode(text)]
    return [torch.tensor(stream[at : at + length + 1]) for at in range(0, len(stream) - length, length)]


def next_piece(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    ids = batch["input_ids"]
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


class Tenth(Relative):
    """NEZHA's waves, a tenth as large."""

    def between(self, tokens: int, device: torch.device) -> Tensor:
        return super().between(tokens, device) / 10


def decoder(kind: str, size: int) -> Decoder:
    settings = Settings(size, d=96, longest=max(LONGER), positions="relative" if kind == TENTH else kind)
    model = Decoder(settings)
    if kind == TENTH:
        model.stack.positions = Tenth(settings.d, settings.heads, settings.longest, both=False)
    return model


def positions(seed: int, steps: int, only: str) -> None:
    path = RESULTS / "transformer.json"
    report = Report(Report.load(path).rows if path.exists() else ())
    report.command = f"python benchmarks/transformer.py positions --seed 0 --steps {steps}  # and 1, 2"
    bpe = BPE.learn(corpus(World(), "en", 1000, ["reviews"]), MERGES)
    rows = blocks(bpe, "corpus", BLOCK, TEXTS)
    held = {n: torch.stack(blocks(bpe, "held out", n, 300))[: 4096 // n] for n in LONGER}
    for kind in [kind for kind in (*POSITIONS, TENTH) if only in kind]:
        with seeded(seed):
            model = decoder(kind, len(bpe.vocabulary))
        batches = Batches(rows, lambda some, rng: {"input_ids": torch.stack(some)}, 32, seed=seed)
        labkit.fit(model, next_piece, batches, steps=steps, lr=3e-3, seed=seed, progress=False)
        for n, ids in held.items():
            with torch.no_grad():
                loss = next_piece(model.eval(), {"input_ids": ids}).item()
            report.add(kind, f"{n} tokens", loss, metric="nats per token", seed=seed, tokens=n)
            print(f"seed {seed} {kind:<12} {n:4} tokens: {loss:.3f} nats", flush=True)
    report.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["cost", "positions"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of the way's name")
    parser.add_argument("--steps", type=int, default=450)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "cost":
        cost()
    else:
        positions(options.seed, options.steps, options.only)


if __name__ == "__main__":
    main()
