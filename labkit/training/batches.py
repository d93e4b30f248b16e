"""Batches whose order and content depend on nothing but (seed, epoch, index).

Each batch is made from its own random generator, so it is the same whoever makes it and whenever: this process or a
loader worker, the first run or a resumed one. Nothing about the data needs saving in a checkpoint but a number.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from labkit.errors import LabkitError, TrainingError, UsageError

Batch = dict[str, Any]
Collate = Callable[[Sequence[Any], np.random.Generator], Batch]
POOL = 50  # batches sorted by length together: enough to pad little, few enough to stay random
CHECK = 5.0  # seconds between two looks at the loader workers
ORDER = 1 << 40  # third word of the order's seed, where a batch's generator has its index
COUNT = "count"


class Batches:
    """Batches of `rows`, in an order drawn anew each epoch.

    `rows` is a list, a `datasets.Dataset` or any sequence; `collate(rows, rng)` makes a dict of tensors from some of
    them, `rng` being `np.random.default_rng((seed, epoch, index))`. `batch_size` counts rows over all ranks: rank r of
    w collates rows r, r + w, … of each batch with the generator of (seed, epoch, index, r), so the number of ranks
    does not change the order. A batch of fewer rows than ranks gives the ranks left over its first row again, to count
    for nothing.
    `lengths` (one number a row) puts rows of like length into a batch; `workers` processes collate ahead;
    `drop_last` leaves out a last batch that is not full. Raises UsageError for no rows or sizes that make no sense.
    """

    def __init__(
        self,
        rows: Sequence[Any],
        collate: Collate,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        workers: int = 0,
        lengths: Sequence[int] | None = None,
        drop_last: bool = False,
    ) -> None:
        if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")):
            raise UsageError(f"rows must have a length and an index; make a list of this {type(rows).__name__} first")
        if batch_size < 1 or seed < 0 or workers < 0:
            raise UsageError(f"batch_size={batch_size}, seed={seed}, workers={workers}: at least 1, 0 and 0 are needed")
        if len(rows) < (batch_size if drop_last else 1):
            raise UsageError(f"{len(rows)} rows do not make one batch" + (f" of {batch_size}" if drop_last else ""))
        if lengths is not None and len(lengths) != len(rows):
            raise UsageError(f"{len(lengths)} lengths for {len(rows)} rows: one a row is needed")
        self.rows, self.collate, self.batch_size = rows, collate, batch_size
        self.seed, self.shuffle, self.workers, self.drop_last = seed, shuffle, workers, drop_last
        self.lengths = None if lengths is None else np.asarray(lengths)
        self._order: tuple[int, list[np.ndarray]] | None = None

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(len(self.rows), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def settings(self) -> dict[str, Any]:
        """What decides order and content, as plain values: a resumed run must have the same."""
        lengths = None if self.lengths is None else zlib.crc32(self.lengths.astype(np.int64).tobytes())
        plain = {name: getattr(self, name) for name in ("batch_size", "seed", "shuffle", "drop_last")}
        return {"rows": len(self.rows), "lengths": lengths, **plain}

    def order(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch."""
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._draw(np.random.default_rng((self.seed, epoch, ORDER))))
        return self._order[1]

    def _draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        size, count = self.batch_size, len(self.rows)
        rows = rng.permutation(count) if self.shuffle else np.arange(count)
        if self.lengths is not None:
            pool = size * POOL if self.shuffle else count
            pools = [rows[start : start + pool] for start in range(0, count, pool)]
            rows = np.concatenate([some[np.argsort(self.lengths[some], kind="stable")] for some in pools])
        batches = [rows[start : start + size] for start in range(0, count, size)][: len(self)]
        if self.lengths is not None and self.shuffle:
            batches = [batches[index] for index in rng.permutation(len(batches))]
        return batches

    def make(self, number: int, rank: int = 0, world: int = 1) -> Batch:
        """Batch `number`, counted through all epochs from 0: the share of one rank of `world`."""
        epoch, index = divmod(number, len(self))
        chosen = self.order(epoch)[index]
        spare = rank >= len(chosen)  # a rank for which no row is left
        if world > 1:
            chosen = chosen[:1] if spare else chosen[rank::world]
        key = (self.seed, epoch, index) if world == 1 else (self.seed, epoch, index, rank)
        batch = self.collate(take(self.rows, chosen), np.random.default_rng(key))
        if not isinstance(batch, Mapping):
            raise UsageError(f"collate must return a dict of tensors, not a {type(batch).__name__}")
        return {**batch, **dict.fromkeys([COUNT, *counts_of(batch)], 0)} if spare else dict(batch)

    def stream(
        self, start: int, stop: int, *, rank: int = 0, world: int = 1, seconds: float = 600.0
    ) -> Iterator[Batch]:
        """Batches `start` … `stop` - 1, counted through all epochs; worker processes end with the iterator.

        TrainingError where a worker dies, or makes no batch in `seconds`.
        """
        if not self.workers or stop <= start:
            for number in range(start, stop):
                yield self.make(number, rank, world)
            return
        loader = DataLoader(
            _Items(self, rank, world),
            batch_size=None,
            sampler=range(start, stop),
            num_workers=self.workers,
            collate_fn=_same,
            worker_init_fn=_quiet_worker,
            pin_memory=torch.cuda.is_available(),
            # Else the loader draws from the run's own randomness. Folded: NumPy takes longer seeds than torch.
            generator=torch.Generator().manual_seed(self.seed % 2**63),
            timeout=min(CHECK, seconds),
        )
        running = iter(loader)
        try:
            for _ in range(start, stop):
                batch = _next(running, seconds)
                if isinstance(batch, LabkitError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if re.search("exited unexpectedly|is killed by signal", str(error)):
                raise TrainingError(f"a loader worker died: {error}; try fewer workers, or workers=0") from error
            raise
        finally:
            _end(running)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number`, from batch `start` on."""
        return self.stream(number * len(self) + start, (number + 1) * len(self))


class Curriculum(Batches):
    """The first `turn` batches of `first`, then those of `then` from their beginning: what is learned late may need
    another diet than what comes before it (Bengio et al. 2009, ICML). An epoch is one of `then`.
    """

    def __init__(self, first: Batches, then: Batches, turn: int) -> None:
        self.first, self.then, self.turn = first, then, turn
        super().__init__(
            then.rows, then.collate, then.batch_size, seed=then.seed, workers=then.workers, lengths=then.lengths
        )

    def settings(self) -> dict[str, Any]:
        """What decides order and content, as plain values: a resumed run must have the same."""
        before = {f"first.{name}": value for name, value in self.first.settings().items()}
        return {"turn": self.turn, **before, **self.then.settings()}

    def make(self, number: int, rank: int = 0, world: int = 1) -> Batch:
        """Batch `number`, counted from the first of `first`: the share of one rank of `world`."""
        if number < self.turn:
            return self.first.make(number, rank, world)
        return self.then.make(number - self.turn, rank, world)


def _next(running: Any, seconds: float) -> Any:
    """The next batch of the loader `running`, waited for as long as its workers live, for at most `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            return next(running)
        except RuntimeError as error:
            if "DataLoader timed out" not in str(error):
                raise
            if time.monotonic() >= end:
                what = "is it frozen, or does collate not come to its end? Try workers=0"
                raise TrainingError(f"a loader worker has made no batch for {seconds:g} s: {what}") from error


def _end(running: Any) -> None:
    """End a loader's workers: by SIGKILL those that are frozen, for which the interpreter would wait at its exit."""
    running._shutdown_workers()
    for worker in running._workers:
        if worker.is_alive():
            worker.kill()
            worker.join()


class _Items(Dataset):
    """What a loader worker indexes: a batch by its number."""

    def __init__(self, batches: Batches, rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world

    def __getitem__(self, number: int) -> Batch | LabkitError:
        try:
            return self.batches.make(number, self.rank, self.world)
        except LabkitError as error:  # as a value: raised in a worker, it would come with a traceback for a message
            return error


def _same(batch: Batch) -> Batch:
    return batch


def _quiet_worker(number: int) -> None:
    """Tokenizers warn when they run threads after a fork; one thread a worker is what is wanted."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def take(rows: Sequence[Any], chosen: np.ndarray) -> list[Any]:
    """The chosen rows; a `datasets.Dataset` gives columns for many rows at once, far faster than row by row."""
    numbers = chosen.tolist()
    if hasattr(rows, "column_names") and hasattr(rows, "features"):
        columns = rows[numbers]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [rows[number] for number in numbers]


def as_batches(batches: Any) -> Batches:
    """`batches` as it is, or ready-made batches (a sequence of dicts) taken in their order, epoch after epoch."""
    if isinstance(batches, Batches):
        return batches
    if isinstance(batches, list | tuple) and batches and all(isinstance(batch, Mapping) for batch in batches):
        return Batches(batches, lambda rows, rng: rows[0], 1, shuffle=False)
    raise UsageError(f"fit takes Batches or a list of batches (dicts of tensors), not a {type(batches).__name__}")


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """The batch with its tensors on `device`; what is no tensor stays as it is."""
    if device.type == "cpu":
        return dict(batch)
    moved = {name: value.to(device, non_blocking=True) for name, value in batch.items() if torch.is_tensor(value)}
    return {**batch, **moved}


def count_rows(batch: Mapping[str, Any]) -> int:
    """Rows of a batch: the length of its first tensor that is not a single number."""
    sizes = (value.shape[0] for value in batch.values() if torch.is_tensor(value) and value.ndim)
    return next(sizes, 1)


def count_tokens(batch: Mapping[str, Any]) -> int:
    """Tokens of a batch that are not padding; 0 where it holds none."""
    if torch.is_tensor(mask := batch.get("attention_mask")):
        return int(mask.sum())
    return batch["input_ids"].numel() if torch.is_tensor(batch.get("input_ids")) else 0


def count_terms(batch: Mapping[str, Any], name: str = COUNT) -> float:
    """How many terms the batch's mean loss is over: its "count" (a number or one a row), else its rows."""
    count = batch.get(name)
    return count_rows(batch) if count is None else float(count.sum() if torch.is_tensor(count) else count)


def counts_of(batch: Mapping[str, Any]) -> list[str]:
    """The batch's "count:NAME"s: how many terms further means of its loss are over."""
    return sorted(name for name in batch if name.startswith(f"{COUNT}:"))


def uncounted(batch: Mapping[str, Any]) -> Batch:
    """The batch as an objective sees it, without what only says how many terms there are."""
    return {name: value for name, value in batch.items() if name.partition(":")[0] != COUNT}


def totals_of(batches: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The terms of a step's micro-batches, by the names of their counts. UsageError where these differ."""
    names = counts_of(batches[0])
    if any(counts_of(batch) != names for batch in batches):
        raise UsageError(
            f"some batches have {', '.join(names) or 'no count:NAME'}, others not: give every batch the same"
        )
    return {name: sum(count_terms(batch, name) for batch in batches) for name in (COUNT, *names)}


def weighed(batch: Mapping[str, Any], totals: Mapping[str, float], even: float) -> tuple[float, Batch]:
    """A micro-batch's share of its step, and what the objective sees of it: no counts, and a weight for each further
    mean, which `weight_of` finds.

    `totals` are the counts of the whole step. The loss times the share, and in it each further mean times its weight,
    add up to the loss of all micro-batches at once. `even` is the share where the step has no terms at all.
    """
    share, plain = count_terms(batch) / totals[COUNT] if totals[COUNT] else even, uncounted(batch)
    for name in counts_of(batch):
        own = count_terms(batch, name) / totals[name] if totals[name] else share
        plain[f"weight:{name.removeprefix(f'{COUNT}:')}"] = own / share if share else 0.0
    return share, plain


def weight_of(batch: Mapping[str, Any], name: str) -> float:
    """What an objective multiplies its mean over the terms "count:NAME" by; 1 where the batch is a step of its own."""
    return batch.get(f"weight:{name}", 1.0)


def split(batch: Batch, pieces: int) -> list[Batch]:
    """The batch cut into at most `pieces` along its rows; values that are not one a row go with every piece."""
    rows = count_rows(batch)
    pieces = min(pieces, rows)
    if pieces < 2:
        return [batch]
    bounds = [round(rows * piece / pieces) for piece in range(pieces + 1)]
    parts = []
    for low, high in zip(bounds, bounds[1:], strict=False):
        part = {name: value[low:high] if _per_row(value, rows) else value for name, value in batch.items()}
        for name in (COUNT, *counts_of(batch)):
            if name in batch and not _per_row(batch[name], rows):
                part[name] = (high - low) * count_terms(batch, name) / rows
        parts.append(part)
    return parts


def _per_row(value: Any, rows: int) -> bool:
    with contextlib.suppress(TypeError):
        return len(value) == rows and not isinstance(value, str | Mapping)
    return False
