"""`fit`: the one training loop.

One pass of `_Run.train` is one optimizer step, and between two passes the run is at a *boundary*: weights, optimizer,
random generators and position in the data belong together. Checkpoints are taken at boundaries only; a signal waits for
the next one; an interruption inside a step goes back to the last one. This is all there is to exact resume.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labkit import files
from labkit.config import strict
from labkit.errors import TrainingError, UsageError
from labkit.lab import Bar, modes_kept, wants_progress
from labkit.training import randomness, resuming, signals
from labkit.training.batches import (
    Batch,
    Batches,
    as_batches,
    count_rows,
    count_tokens,
    split,
    totals_of,
    weighed,
)
from labkit.training.engine import AccelerateEngine, Engine, Objective, carrier, isolated
from labkit.training.history import LAG, History, Losses
from labkit.training.settings import Training, learning_rate
from labkit.training.watch import Watch

OnStep = Callable[[int, float], Any]


def fit(
    model: nn.Module,
    objective: Objective | None,
    batches: Batches | list[Batch],
    *,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    engine: Engine | None = None,
    progress: bool | None = None,
    on_step: OnStep | None = None,
    identity: Mapping[str, Any] | None = None,
    **settings: Any,
) -> History:
    """Train `model` in place on `objective(model, batch) -> scalar loss`; `settings` are the fields of `Training`.

    All randomness comes from `seed`, and the process's generators are as before when `fit` returns; so are the
    train/eval modes. The model moves to the device and stays there. Micro-batches of a step, and the ranks' shares, are
    weighted by "count" (terms of the mean loss: a number, or one a row; the objective does not see it), else by rows. A
    loss with further means over other things has a "count:NAME" for each in every batch, and multiplies that mean by
    `weight_of(batch, NAME)`.

    With `folder`, checkpoints are written every `save_every` steps and at the end; `resume` goes on from the newest
    whole one, to the same bits as without the stop, and starts afresh where there is none. Ctrl-C leaves a checkpoint
    and raises KeyboardInterrupt, SIGTERM leaves one and exits with 143. `on_step(step, loss)` is called after each step
    (counted from 1) and stops the run by returning True; on a GPU it costs a wait a step. `engine` replaces accelerate
    (and then `objective` is the engine's business). `progress` None shows a bar on a terminal, on rank 0. A resumed run
    must have the rows, the method (its object's fields as `fit` begins) and the trainable parameters of the first, and
    the same `identity` (plain values: a model's name, a version).

    Out of memory: the step is done again with micro-batches cut in half, which leaves the effective batch as it was.
    (An objective whose rows see one another, as in-batch contrast, then sees fewer.) Raises UsageError for settings,
    TrainingError for a loss that is no number (on a GPU up to 16 steps later, but before anything is saved), for such
    weights at the end, or for no memory even for one row, or naming the rank that failed, died or hangs, of several;
    CheckpointError for checkpoints that are damaged or of another run.
    """
    run_settings, data = strict(Training, settings), as_batches(batches)
    with contextlib.ExitStack() as stack:
        stack.enter_context(isolated())
        stack.enter_context(modes_kept(model))
        model.train()
        engine = engine or AccelerateEngine(model, objective, run_settings)
        if hasattr(engine, "__exit__"):
            stack.enter_context(engine)
        run = _Run(model, objective, data, run_settings, engine)
        run.on_step = on_step
        run.identity = {f"identity.{name}": value for name, value in (identity or {}).items()}
        stack.enter_context(run.watch)
        stack.enter_context(randomness.seeded(run_settings.seed + 7919 * run.rank, run.device))
        if folder is not None:
            run.folder = Path(folder)
            if run.rank == 0:
                stack.enter_context(files.locked(run.folder / ".lock", seconds=0))
            resuming.prepare(run, resume)
        shown = wants_progress(progress) and run.rank == 0
        bar = stack.enter_context(Bar(run.total, shown, initial=run.history.steps, unit="step"))
        run.train(bar)
    return run.history


class _Run:
    """One call of `fit`: what changes from step to step."""

    def __init__(self, model: nn.Module, objective: Objective, data: Batches, settings: Training, engine: Any) -> None:
        self.model, self.objective, self.carrier, self.data = model, objective, carrier(objective), data
        self.identity: dict[str, Any] = {}  # what a resumed run must have in common with this one
        self.settings, self.engine = settings, engine
        own = next(model.parameters(), torch.zeros(0)).device
        self.device: torch.device = getattr(engine, "device", own)
        self.rank, self.world = getattr(engine, "rank", 0), getattr(engine, "world", 1)
        self.watch = Watch(self.rank, self.world, settings.timeout)
        self.total = settings.total_steps(len(data))
        self.pieces = 1  # each micro-batch is cut into this many, after running out of memory
        self.history = History()
        self.losses = Losses(self.history, 1 if self.device.type == "cpu" else LAG)
        self.on_step: OnStep | None = None
        self.folder: Path | None = None
        self.saved = -1  # the step of the last checkpoint
        self.together = self.world == 1  # whether all ranks are leaving now, so that they can save
        self.updating = False  # inside engine.step(): the weights belong to no step
        self.random: randomness.RandomState | None = None  # at the last boundary
        self.earlier = 0.0  # seconds of the runs this one resumes

    def save(self) -> None:
        """Write a checkpoint of the last boundary, unless it is there already."""
        if self.folder is not None and self.saved != self.history.steps:
            self.losses.settle()
            resuming.save(self)
            self.saved = self.history.steps

    # Steps

    def train(self, bar: Bar) -> None:
        """Step after step to the end, a stop, a signal or an error."""
        done, began = self.history.steps, time.perf_counter()
        start, stop = done * self.settings.accumulate, self.settings.micro_batches(len(self.data))
        stream = self.data.stream(start, stop, rank=self.rank, world=self.world, seconds=self.settings.timeout)
        self.random = self.random or randomness.capture(self.device)
        with signals.Signals(self.folder is not None) as caught, contextlib.closing(stream):
            try:
                for step in range(done, self.total):
                    self._step(step, stream, caught)
                    self._show(bar, began)
                    if self._after(step + 1) is True:
                        break
                self._finish(began)
                self._show(bar, began, 0)
                signals.leave(caught.received)
            except (KeyboardInterrupt, SystemExit):
                self._rescue(began)
                raise
            finally:
                self._discard()

    def _step(self, step: int, stream: Iterator[Batch], caught: signals.Signals) -> None:
        """Everything of one step: data, gradients, update."""
        self.watch.reached(step)
        if self.world == 1:
            signals.leave(caught.received)
        chunk = list(islice(stream, self.settings.accumulate))
        totals = totals_of(chunk)
        local = [sum(map(count_tokens, chunk)), caught.received or 0, *totals.values()]
        tokens, signal, *terms = self.engine.total(local) if self.world > 1 else local
        if self.world > 1 and signal:  # all ranks stop at the same step
            self.together = True
            signals.leave(signals.agreed(int(signal)))
        if hasattr(self.engine, "set_lr"):
            self.engine.set_lr(learning_rate(self.settings, step, self.total))
        self.losses.add(self._gradients(step, chunk, dict(zip(totals, terms, strict=True))))
        self.updating = True
        self.engine.step()
        self.updating = False
        self.history.steps = step + 1
        self.history.tokens += int(tokens)
        self.random = randomness.capture(self.device)

    def _gradients(self, step: int, chunk: list[Batch], totals: dict[str, float]) -> Tensor:
        """The step's loss, its gradients being in place; smaller pieces when memory runs out."""
        while True:
            try:
                return self._accumulate(chunk, totals)
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                reason = str(error).partition("\n")[0] or type(error).__name__
            # Outside the handler, where the error no longer holds the tensors of the failed attempt.
            self._halve(step, chunk, reason)

    def _accumulate(self, chunk: list[Batch], totals: dict[str, float]) -> Tensor:
        pieces = [piece for batch in chunk for piece in split(batch, self.pieces)]
        total = torch.zeros((), device=self.device)
        for number, piece in enumerate(pieces, start=1):
            share, piece = weighed(piece, totals, 1 / (len(pieces) * self.world))
            last = number == len(pieces)
            alone = self.world > 1 and not last and hasattr(self.engine, "no_sync")
            with self.engine.no_sync() if alone else contextlib.nullcontext():
                loss = self.engine.forward(piece)
                _check(loss)
                # DDP averages over the ranks, where the shares already add up to 1.
                self.engine.backward(loss if share == 1 else loss * (share * self.world))
            total += loss.detach() * share
        return total if self.world == 1 else total.new_tensor(self.engine.total([total.item()])[0])

    def _halve(self, step: int, chunk: list[Batch], reason: str) -> None:
        rows = max(map(count_rows, chunk))
        if self.world > 1 or self.pieces >= rows:
            size = "even with 1 row at once" if self.world == 1 else f"with {rows} rows on rank {self.rank}"
            raise TrainingError(f"step {step + 1}: out of memory {size}: {reason}; use a smaller model or length")
        self.pieces = min(2 * self.pieces, rows)
        self._discard()
        randomness.restore(self.random, self.device)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        now = -(-rows // self.pieces)
        message = f"step {step + 1}: out of memory; going on with {now} rows at once, the effective batch unchanged"
        warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _after(self, step: int) -> Any:
        """The caller's turn, then a checkpoint if one is due. True ends the run."""
        verdict = None
        if self.on_step is not None:
            self.losses.settle()
            verdict = self.on_step(step, self.history.losses[-1])
            randomness.restore(self.random, self.device)  # whoever looks on changes nothing
            self.model.train()
        if self.settings.save_every and step % self.settings.save_every == 0:
            self.save()
        return verdict

    def _show(self, bar: Bar, began: float, more: int = 1) -> None:
        """Loss and speed on the bar, as often as it is drawn anew, and at the end."""
        if bar.disable or not (bar.update(more) or not more):
            return
        recent = self.history.losses[-20:]
        self.history.seconds = self.earlier + time.perf_counter() - began
        loss = sum(recent) / len(recent) if recent else float("nan")
        bar.set_postfix_str(f"loss {loss:.3f}, {self.history.tokens_per_second:,.0f} tokens/s", refresh=False)

    def _finish(self, began: float) -> None:
        self.losses.settle()
        self.losses.check(self.model)
        self.history.seconds = self.earlier + time.perf_counter() - began
        self.save()

    def _rescue(self, began: float) -> None:
        """A checkpoint of the last boundary. Of several ranks only those that stopped together can write one."""
        self.history.seconds = self.earlier + time.perf_counter() - began
        if self.together and not self.updating:
            self.losses.settle()
            del self.history.losses[self.history.steps :]  # of a step that did not come to its end
            self.save()

    def _discard(self) -> None:
        """Leave no gradients behind."""
        for module in filter(None, (self.model, self.carrier)):
            module.zero_grad(set_to_none=True)


def _check(loss: Any) -> None:
    """An objective must give one number that some trainable parameter has a part in."""
    if not torch.is_tensor(loss) or loss.ndim:
        what = f"a tensor of shape {tuple(loss.shape)}" if torch.is_tensor(loss) else type(loss).__name__
        raise UsageError(f"the objective must return one number as a tensor, it returned {what}; take its mean")
    if not loss.requires_grad:
        raise UsageError("the objective's loss depends on no trainable parameter: was it computed under no_grad?")


def _out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in words)
