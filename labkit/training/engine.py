"""What runs a step: forward, backward, step. The default is `accelerate`; DeepSpeed has the same three verbs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from labkit.errors import CheckpointError, UsageError
from labkit.lab import best_precision
from labkit.training.batches import Batch, to_device
from labkit.training.settings import Training
from labkit.training.watch import join, under_torchrun

Objective = Callable[[Any, Batch], Tensor]
# gloo's worker thread drops a collective some time after its result is there. As the last to hold it, it needs the
# interpreter to let the tensors go, and aborts a process that is on its way out. So the last few stay with us.
DONE: deque[dist.Work] = deque(maxlen=64)
# transformers and accelerate import an installed deepspeed when they save a model, and it then says on stdout that it
# found no GPU.
logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


class Engine(Protocol):
    """What `fit(engine=…)` needs. A step is one or more pairs of forward and backward, then one `step`.

    `forward(batch)` gives the scalar loss of a micro-batch that is still on the CPU; `backward(loss)` adds its
    gradients to those there; `step()` updates the weights and clears the gradients. Where an engine also has them,
    `fit` uses: `device`, `rank`, `world`; `set_lr(rate)` before a step; `no_sync()`, a context for all but a step's
    last micro-batch; `total(values)`, sums over the ranks; `gather(tensor)`, one tensor a rank;
    `state_dict()` and `load_state_dict(tensors, numbers)`, for a resume; `whole()`, a context that all ranks enter to
    save, in which the model's weights are in full. An engine that is a context manager is entered for the run.
    """

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a micro-batch: a scalar."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`."""
        ...

    def step(self) -> None:
        """Update the weights, clear the gradients."""
        ...


class LossModule(nn.Module):
    """Model and objective as one module whose forward is the loss.

    So mixed precision and DDP wrap this, and never touch the model: an objective may call any part of the model by its
    name. Parameters that belong to the objective (a projection, a prompt) are trained with the model's.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.carrier = carrier(objective)
        self.objective = [objective]  # in a list, so that it is registered once, as the carrier

    def forward(self, batch: Batch) -> Tensor:
        """The objective's loss of `batch`: a scalar."""
        return self.objective[0](self.model, batch)


def carrier(objective: Objective | None) -> nn.Module | None:
    """The module that an objective is, or is a method of; None for a plain function."""
    owner = objective if isinstance(objective, nn.Module) else getattr(objective, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices, which decay, and vectors (biases, norms), which do not.

    Raises UsageError where nothing is trainable.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise UsageError("no parameter of the model requires a gradient: there is nothing to train")
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Inside, accelerate's process-wide state is new; outside, it is what it was.

    accelerate fixes the precision once a process; runs of several precisions in one process need this.
    """
    shared = [kind._shared_state for kind in (AcceleratorState, GradientState, PartialState)]
    before = [dict(state) for state in shared]
    for state in shared:
        state.clear()
    try:
        yield
    finally:
        for state, old in zip(shared, before, strict=True):
            state.clear()
            state.update(old)


class Ranks:
    """What `fit` asks of an engine that is one of several ranks: sums and gathers over all of them."""

    device: torch.device
    world: int

    def total(self, values: list[float]) -> list[float]:
        """Each value summed over the ranks."""
        if self.world == 1:
            return values
        vector = torch.tensor(values, dtype=torch.float64, device=self.device)
        _complete(dist.all_reduce(vector, async_op=True))
        return vector.tolist()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every rank, in rank order, on the CPU."""
        if self.world == 1:
            return [tensor]
        own = tensor.to(self.device).contiguous()
        everyone = [torch.empty_like(own) for _ in range(self.world)]
        _complete(dist.all_gather(everyone, own, async_op=True))
        return [one.cpu() for one in everyone]


class AccelerateEngine(Ranks):
    """The default engine: device, mixed precision and DDP by `accelerate`, AdamW, clipping.

    Create and use it inside `isolated()`. The model is moved to the device and stays there.
    """

    def __init__(self, model: nn.Module, objective: Objective, settings: Training) -> None:
        self.precision, on_cpu = choose_precision(settings)
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # e.g. a pooler the loss does not use
        if under_torchrun() and int(os.environ["WORLD_SIZE"]) > 1 and not dist.is_initialized():
            join("gloo" if on_cpu else "nccl", settings.timeout)
        self.accelerator = Accelerator(mixed_precision=MIXED[self.precision], cpu=on_cpu, kwargs_handlers=[unused])
        self.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.clip = settings.clip
        self.bare = LossModule(model, objective)
        if any(parameter.device.type != self.device.type for parameter in self.bare.parameters()):
            self.bare.to(self.device)
        fused = self.device.type in ("cpu", "cuda")
        groups = parameter_groups(self.bare, settings.weight_decay)
        adamw = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=fused)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.module, self.optimizer = self.accelerator.prepare(self.bare, adamw, device_placement=[False, False])
        # accelerate's wrapper scales fp16's gradients back; elsewhere it only costs time, 0.2 ms a step.
        self._update = self.optimizer.step if self.accelerator.scaler is not None else adamw.step

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a micro-batch: a scalar."""
        return self.module(to_device(batch, self.device))

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`."""
        self.accelerator.backward(loss)

    def step(self) -> None:
        """Clip, update, clear the gradients."""
        if self.clip is not None:
            self.accelerator.clip_grad_norm_(self.parameters, self.clip)
        self._update()
        for parameter in self.parameters:
            parameter.grad = None

    def set_lr(self, rate: float) -> None:
        """Set the learning rate of all parameters."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Leave gradients unshared between ranks: for all but the last micro-batch of a step."""
        return self.accelerator.no_sync(self.module)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimizer's tensors by "slot:parameter", and the loss scaler's numbers (fp16)."""
        slots = {}
        for name, parameter in self._named():
            for slot, value in self.optimizer.state.get(parameter, {}).items():
                slots[f"{slot}:{name}"] = value if torch.is_tensor(value) else torch.tensor(value)
        return slots, self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {}

    def load_state_dict(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Take up where `state_dict` left off. Raises CheckpointError for tensors of other parameters."""
        named = dict(self._named())
        for key, value in tensors.items():
            slot, _, name = key.partition(":")
            if name not in named or (value.ndim and value.shape != named[name].shape):
                raise CheckpointError(f"the optimizer's {key!r} fits no trainable parameter of this model")
            self.optimizer.state[named[name]][slot] = value.to(named[name].device, copy=True)
        if numbers and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(numbers)

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, parameter) for name, parameter in self.bare.named_parameters() if parameter.requires_grad]


def _complete(work: dist.Work) -> None:
    """Wait for a collective, and keep it for now: see DONE."""
    work.wait()
    DONE.append(work)


def choose_precision(settings: Training) -> tuple[str, bool]:
    """The precision to use and whether to stay on the CPU. UsageError for what the machine cannot do."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for, and torch sees no GPU here; use device='auto'")
    on_cpu = settings.device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    device = torch.device("cpu" if on_cpu else "cuda" if torch.cuda.is_available() else "mps")
    precision = best_precision(device) if settings.precision == "auto" else settings.precision
    if precision == "fp16" and on_cpu:
        raise UsageError("precision 'fp16' needs a GPU; use 'auto', 'fp32' or 'bf16'")
    return precision, on_cpu
