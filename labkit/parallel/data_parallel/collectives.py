"""Collectives built from messages between two ranks, so that the bytes each rank sends are counted, not assumed.

All-reduce is a ring (Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms", §3): N ranks cut a tensor of Ψ
bytes into N chunks and pass them on for N−1 steps, adding (reduce-scatter), then for N−1 steps, copying (all-gather).
Every rank sends (N−1)/N·Ψ each time, 2·(N−1)/N·Ψ in all, however many ranks there are.

A size that N does not divide is cut unevenly, the first chunks one longer: nothing is padded. A rank then sends up to
one element (one row) more or less than the formula in each half; over all ranks the sum is exact.

Tensors on the CPU go by gloo; on GPUs by nccl, in batches, as nccl's pairs need (this path has not been run).
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from labkit.errors import TrainingError, UsageError
from labkit.parallel.processes import Here

LANE = "communicate"


def split(size: int, parts: int) -> list[int]:
    """`size` in `parts` whole numbers that differ by 1 at most, the larger first.

    >>> split(10, 4)
    [3, 3, 2, 2]
    """
    return [size // parts + (part < size % parts) for part in range(parts)]


class Handle:
    """A message under way: `wait()` ends it and gives its tensor."""

    def __init__(self, group: Communicator, work: dist.Work | None, tensor: Tensor, name: str, peer: int) -> None:
        self.group, self.work, self.tensor, self.name, self.peer = group, work, tensor, name, peer
        self.start = time.monotonic()

    def wait(self) -> Tensor:
        """Wait until the message has left or arrived; its tensor. TrainingError where the other rank is gone."""
        if self.work is not None:
            here = self.group.here
            here.beat(waiting=True)
            with self.group._lost(self.name, self.peer):
                self.work.wait()
            here.beat()
            self.work = None  # the last to hold it: unlike gloo's collectives, no thread of gloo's keeps a message
            if self.name in ("send", "recv"):  # a collective's messages are one event together
                size = self.tensor.nbytes if self.name == "send" else 0
                here.trace.add(self.name, self.start, time.monotonic(), LANE, size)
        return self.tensor


class Communicator:
    """Messages and collectives among `ranks` (global numbers; None: all); in its methods a rank is a place among them.

    `rank` and `world` are this rank's place and their number; `sent` counts the bytes that this rank has sent, and
    `sent_by` the same by operation. Every operation is an event of lane "communicate", and beats before it waits. One
    thread at a time may use it. Ranks that talk in two groups at once need groups of different `name`s.
    """

    def __init__(self, here: Here, ranks: Sequence[int] | None = None, name: str = "data") -> None:
        self.here, self.name = here, name
        self.ranks = list(range(here.world)) if ranks is None else list(ranks)
        if len(set(self.ranks)) < len(self.ranks) or not set(self.ranks) <= set(range(here.world)):
            raise UsageError(f"group {name!r}: ranks {self.ranks}: different numbers below {here.world} are needed")
        if here.rank not in self.ranks:
            raise UsageError(f"group {name!r}: rank {here.rank} is not among its ranks {self.ranks}")
        self.rank, self.world = self.ranks.index(here.rank), len(self.ranks)
        self.tag = zlib.crc32(name.encode()) & 0x7FFFFFFF  # keeps the messages of two groups apart
        self.sent_by: Counter[str] = Counter()

    @property
    def sent(self) -> int:
        """Bytes that this rank has sent in this group."""
        return sum(self.sent_by.values())

    def reset(self) -> None:
        """Count from zero."""
        self.sent_by.clear()

    # Between two ranks

    def isend(self, tensor: Tensor, to: int) -> Handle:
        """Start to send `tensor`, which must not change before the handle's `wait()`."""
        return self._send(tensor.detach().contiguous(), to, "send")

    def irecv(self, shape: Sequence[int], source: int, dtype: torch.dtype) -> Handle:
        """Start to receive a new tensor; the handle's `wait()` gives it."""
        return self._receive(torch.empty(shape, dtype=dtype, device=self.here.device), source, "recv")

    def send(self, tensor: Tensor, to: int) -> None:
        """Send `tensor`, and wait until it has left."""
        self.isend(tensor, to).wait()

    def recv(self, shape: Sequence[int], source: int, dtype: torch.dtype) -> Tensor:
        """The tensor that `source` sends: new, of the shape and dtype given."""
        return self.irecv(shape, source, dtype).wait()

    def shift(self, tensor: Tensor) -> Tensor:
        """`tensor` to the rank on the right; the one of the same shape that has come from the left, new."""
        with self._collective("shift"):
            return self._shift(tensor.detach().contiguous(), torch.empty_like(tensor.contiguous()), "shift")

    # Among all

    def broadcast(self, tensor: Tensor) -> Tensor:
        """`tensor` of rank 0 on every rank, in place: a chain passes it on in N pieces, all but its end send Ψ."""
        with self._collective("broadcast"):
            buffer = _flat(tensor)
            sending = []
            for piece in buffer.split(split(len(buffer), self.world)):
                if self.rank > 0:
                    self._receive(piece, self.rank - 1, "broadcast").wait()
                if self.rank < self.world - 1:
                    sending.append(self._send(piece, self.rank + 1, "broadcast"))
            for handle in sending:
                handle.wait()
            return _restored(tensor, buffer)

    def reduce(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, in place on rank 0; elsewhere `tensor` stays. Each rank but 0 sends Ψ."""
        with self._collective("reduce"):
            buffer = _flat(tensor)
            sending = []
            for piece in buffer.split(split(len(buffer), self.world)):
                if self.rank != 1 % self.world:  # the chain begins at 1 and runs N−1 → 0
                    into = self._receive(torch.empty_like(piece), self.rank - 1, "reduce").wait()
                    piece = piece.add_(into) if self.rank == 0 else into.add_(piece)
                if self.rank > 0:
                    sending.append(self._send(piece, self.rank + 1, "reduce"))
            for handle in sending:
                handle.wait()
            return _restored(tensor, buffer)

    def reduce_scatter(self, tensor: Tensor) -> Tensor:
        """This rank's part of the sum: the rank-th of N parts along the first dimension, new; `tensor` stays.

        Shape (rows, …) → (rows/N, …); where N does not divide the rows, the first parts have one more (`split`).
        """
        with self._collective("reduce_scatter"):
            part = self._ring_reduce(_parts(tensor, self.world), "reduce_scatter")
            return part.clone() if self.world == 1 else part

    def all_gather(self, shard: Tensor, into: Tensor | None = None) -> Tensor:
        """All ranks' shards, one after the other along the first dimension: a new tensor, or `into`, contiguous.

        Every shard has the same shape, (r, …) → (N·r, …), or is this rank's part of `into`, cut as `split` does.
        """
        with self._collective("all_gather"):
            whole = shard.new_empty(len(shard) * self.world, *shard.shape[1:]) if into is None else into
            parts = _parts(whole, self.world)
            if parts[self.rank].shape != shard.shape:
                wanted = tuple(parts[self.rank].shape)
                raise UsageError(f"all_gather: the shard of rank {self.rank} is {tuple(shard.shape)}, not {wanted}")
            parts[self.rank].copy_(shard.detach())
            self._ring_gather(parts, "all_gather")
            return whole

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, in place: a ring's reduce-scatter, then its all-gather. The same bits everywhere."""
        with self._collective("all_reduce"):
            buffer = _flat(tensor)
            chunks = _parts(buffer, self.world)
            chunks[self.rank].copy_(self._ring_reduce(chunks, "all_reduce"))
            self._ring_gather(chunks, "all_reduce")
            return _restored(tensor, buffer)

    def barrier(self) -> None:
        """Wait for all: a byte goes round the ring N−1 times. It is no data and is not counted."""
        with self._collective("barrier"):
            token = torch.zeros(1, dtype=torch.uint8, device=self.here.device)
            for _ in range(self.world - 1):
                self._shift(token, torch.empty_like(token), "barrier")
            self.sent_by.pop("barrier", None)

    # The ring

    def _ring_reduce(self, chunks: Sequence[Tensor], name: str) -> Tensor:
        """Chunk number `rank`, summed: in step s chunk rank−1−s goes to the right, and each adds its own to it."""
        partial = chunks[self.rank - 1]
        for step in range(self.world - 1):
            own = chunks[(self.rank - step - 2) % self.world]
            partial = self._shift(partial, torch.empty_like(own), name).add_(own)
        return partial

    def _ring_gather(self, chunks: Sequence[Tensor], name: str) -> None:
        """Fill the chunks of others: in step s chunk rank−s goes to the right, as it came."""
        for step in range(self.world - 1):
            self._shift(chunks[(self.rank - step) % self.world], chunks[(self.rank - step - 1) % self.world], name)

    def _shift(self, out: Tensor, into: Tensor, name: str) -> Tensor:
        """`out` to the right neighbour, `into` from the left one, at once."""
        if out.device.type == "cuda":
            self._together(out, into, name)
        else:
            going, coming = self._send(out, self.rank + 1, name), self._receive(into, self.rank - 1, name)
            coming.wait()
            going.wait()
        return into

    def _together(self, out: Tensor, into: Tensor, name: str) -> None:
        """The same under nccl, where a send and a receive that are not one batch may wait for each other."""
        left, right = self.ranks[self.rank - 1], self.ranks[(self.rank + 1) % self.world]
        self.sent_by[name] += out.nbytes
        pair = ((dist.isend, out, right), (dist.irecv, into, left))
        batch = [dist.P2POp(verb, tensor, peer) for verb, tensor, peer in pair if tensor.numel()]
        for work in dist.batch_isend_irecv(batch) if batch else ():
            work.wait()

    # One message

    def _send(self, tensor: Tensor, to: int, name: str) -> Handle:
        self.sent_by[name] += tensor.nbytes
        with self._lost(name, to):
            work = dist.isend(tensor, self.ranks[to % self.world], tag=self.tag) if tensor.numel() else None
        return Handle(self, work, tensor, name, to)

    def _receive(self, tensor: Tensor, source: int, name: str) -> Handle:
        with self._lost(name, source):
            work = dist.irecv(tensor, self.ranks[source % self.world], tag=self.tag) if tensor.numel() else None
        return Handle(self, work, tensor, name, source)

    @contextlib.contextmanager
    def _lost(self, name: str, peer: int) -> Iterator[None]:
        """TrainingError that names `peer` where a message to or from it cannot begin, or does not end."""
        try:
            yield
        except RuntimeError as error:
            lost = self.ranks[peer % self.world]
            raise TrainingError(f"{name}: rank {self.here.rank} lost rank {lost} (dead, or silent too long)") from error

    @contextlib.contextmanager
    def _collective(self, name: str) -> Iterator[None]:
        """An event with the bytes that were sent inside; no gradients."""
        before, start = self.sent_by[name], time.monotonic()
        with torch.no_grad():
            yield
        self.here.trace.add(name, start, time.monotonic(), LANE, self.sent_by[name] - before)


def _parts(tensor: Tensor, world: int) -> tuple[Tensor, ...]:
    """The tensor in `world` pieces along its first dimension."""
    return tensor.detach().contiguous().split(split(len(tensor), world))


def _flat(tensor: Tensor) -> Tensor:
    """The tensor's elements in a row: the tensor's own memory where it is contiguous, else a copy."""
    return tensor.detach().contiguous().view(-1)


def _restored(tensor: Tensor, flat: Tensor) -> Tensor:
    """`tensor` with the values of `flat`, which `_flat` made of it."""
    if not tensor.is_contiguous():
        tensor.detach().copy_(flat.view(tensor.shape))
    return tensor
