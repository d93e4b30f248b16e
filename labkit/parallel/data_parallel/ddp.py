"""Data parallelism from its parts (Li et al. 2020, "PyTorch distributed", §3).

Every rank has the whole model, and takes its rows of each batch.

Four parts. Rank 0's weights are broadcast, so that all begin alike. Gradients are copied into buckets, last layers
first, since backward makes them in that order. A full bucket is all-reduced at once, in a thread beside backward, which
goes on with the layers before. Then all ranks have the mean gradient, and any optimizer does the same step on each.

    torchrun --nproc_per_node 2 -m labkit.parallel.data_parallel.ddp --steps 20
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labkit.config import COUNT
from labkit.errors import UsageError
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.processes import Here, joined
from labkit.report import Table


class Bucket:
    """Parameters whose gradients travel together, as one row of numbers."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.flat = parameters[0].new_zeros(sum(p.numel() for p in parameters))
        pieces = self.flat.split([p.numel() for p in parameters])
        self.places = [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]
        self.missing = set(range(len(parameters)))

    def put(self, number: int) -> None:
        """Move gradient `number` into its place; the parameter's `grad` is that place from now on."""
        parameter, place = self.parameters[number], self.places[number]
        if parameter.grad is None:
            place.zero_()
        elif parameter.grad is not place:
            place.copy_(parameter.grad)
        parameter.grad = place
        self.missing.discard(number)


def buckets_of(model: nn.Module, size: int) -> list[Bucket]:
    """The trained parameters from the last to the first, in buckets of `size` bytes or a little more."""
    found: list[list[nn.Parameter]] = []
    filled = size
    for parameter in reversed([p for p in model.parameters() if p.requires_grad]):
        if filled >= size or parameter.dtype != found[-1][0].dtype:
            found.append([])
            filled = 0
        found[-1].append(parameter)
        filled += parameter.nbytes
    return [Bucket(parameters) for parameters in found]


class DataParallel:
    """Keeps the ranks' copies of `model` alike: after `backward(loss)`, every gradient is the mean over the ranks.

    `bucket` is in bytes; with `overlap=False`, buckets are all-reduced after backward instead of beside it. Ranks need
    equal numbers of rows, and a loss that is a mean over rows. A parameter that a loss does not use gets a gradient of
    zeros. UsageError where nothing is trained.
    """

    def __init__(self, model: nn.Module, group: Communicator, bucket: int = 1 << 20, overlap: bool = True) -> None:
        self.model, self.group, self.overlap = model, group, overlap
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                group.broadcast(tensor)
        self.buckets = buckets_of(model, bucket)
        if not self.buckets:
            raise UsageError("no parameter of the model requires a gradient: there is nothing to train")
        self.thread = ThreadPoolExecutor(1, "communicate")
        self.under_way: list[Future[None]] = []
        self.on = True
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, bucket, number))
            for bucket in self.buckets
            for number, parameter in enumerate(bucket.parameters)
        ]

    def backward(self, loss: Tensor) -> None:
        """The gradients of `loss`, averaged over the ranks."""
        trace = self.group.here.trace
        with trace.span("backward"):
            loss.backward()
        if not self.on:
            return
        with trace.span("wait"):
            self._finish()

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Inside, `backward` adds up gradients of this rank alone: for all but the last micro-batch of a step."""
        self.on = False
        try:
            yield
        finally:
            self.on = True

    def close(self) -> None:
        """Take the hooks off the model and end the thread."""
        for hook in self.hooks:
            hook.remove()
        self.thread.shutdown()

    def _arrived(self, bucket: Bucket, number: int, _: nn.Parameter) -> None:
        """Called by autograd, as soon as a gradient is whole."""
        if self.on:
            bucket.put(number)
            if self.overlap:
                self._start()

    def _start(self) -> None:
        """Send off full buckets, in their order: the ranks' messages must meet."""
        while len(self.under_way) < len(self.buckets) and not self.buckets[len(self.under_way)].missing:
            self.under_way.append(self.thread.submit(self._average, self.buckets[len(self.under_way)].flat))

    def _average(self, flat: Tensor) -> None:
        self.group.all_reduce(flat).div_(self.group.world)

    def _finish(self) -> None:
        """Fill up with zeros where no gradient came, and wait until all buckets are back."""
        for bucket in self.buckets:
            for number in list(bucket.missing):
                bucket.put(number)
        self._start()
        for future in self.under_way:
            future.result()
        self.under_way.clear()
        for bucket in self.buckets:
            bucket.missing = set(range(len(bucket.parameters)))


def train(
    here: Here, steps: int = 10, rows: int = 8, lr: float = 1e-2, sizes: dict[str, int] | None = None, **options: Any
) -> dict[str, Any]:
    """Train the small transformer (`sizes` are its arguments) in float64; `options` are `DataParallel`'s.

    What comes back: losses of whole batches, weights by name, bytes sent by operation, the number of buckets.
    """
    model = new_model(here.rank, **(sizes or {}))  # other weights on each rank, until the broadcast
    group = Communicator(here)
    parallel = DataParallel(model, group, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    group.reset()
    losses = []
    for step in range(steps):
        with here.trace.span("forward"):
            loss = loss_of(model, part_of(batch_of(0, step, rows), here.rank, here.world))
        parallel.backward(loss)
        with here.trace.span("step"):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
    sent = dict(group.sent_by)
    mean = group.all_reduce(torch.stack(losses)) / here.world
    parallel.close()
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    return {"losses": mean.tolist(), "weights": weights, "sent": sent, "buckets": len(parallel.buckets)}


def main(arguments: list[str] | None = None) -> None:
    """The torchrun entry: train, and print what was lost and sent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=COUNT, default=10)
    parser.add_argument("--rows", type=COUNT, default=8, help="rows of a batch, over all ranks")
    chosen = parser.parse_args(arguments)
    with joined() as here:
        found = train(here, chosen.steps, chosen.rows)
        size = sum(tensor.nbytes for tensor in found["weights"].values())
        if here.rank == 0:
            theory = 2 * (here.world - 1) / here.world * size
            each = found["sent"].get("all_reduce", 0) / chosen.steps
            rows = (
                ("loss, first → last", f"{found['losses'][0]:.4f} → {found['losses'][-1]:.4f}"),
                ("sent a step by rank 0", f"{each:,.0f} bytes in {found['buckets']} buckets"),
                ("2·(N−1)/N·Ψ", f"{theory:,.0f} bytes"),
            )
            print(Table((f"{here.world} ranks", ""), rows))


if __name__ == "__main__":
    main()
