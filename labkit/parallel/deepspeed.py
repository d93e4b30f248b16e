"""DeepSpeed behind `fit`: the real engine, ZeRO 0 to 3 (Rajbhandari et al. 2020), under the one training loop.

    config = deepspeed_config(settings, stage=2, rows=16, world=2)
    fit(model, method.loss, batches, engine=DeepSpeedEngine(model, method.loss, settings, config), steps=60)

DeepSpeed's own checkpoints are pickles, one a rank, and fit only the number of ranks that wrote them. Here the shards
are put together and saved as every checkpoint of labkit (safetensors, one manifest), so that a run may go on with
another number of ranks, another stage, or without DeepSpeed.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from labkit.errors import CheckpointError, UsageError
from labkit.measure import storage_bytes
from labkit.parallel.deepspeed_config import deepspeed_config, parse_name, read_config
from labkit.parallel.deepspeed_library import Before, library, variable
from labkit.training.batches import Batch, to_device
from labkit.training.engine import LossModule, Objective, Ranks, choose_precision, parameter_groups
from labkit.training.settings import Training
from labkit.training.watch import join, under_torchrun

SLOTS = ("exp_avg", "exp_avg_sq")
SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def engine_for(name: str, model: nn.Module, objective: Objective, settings: Training, rows: int) -> DeepSpeedEngine:
    """The engine of a name ("zero2", "zero3-offload") or of a JSON file; `rows` is the batch size over all ranks."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    precision, _ = choose_precision(settings)
    if name.endswith(".json") or Path(name).is_file():
        config = read_config(name, settings, precision, rows=rows, world=world)
    else:
        config = deepspeed_config(settings, *parse_name(name), precision, rows=rows, world=world)
    return DeepSpeedEngine(model, objective, settings, config)


class DeepSpeedEngine(Ranks):
    """DeepSpeed as an `Engine`: AdamW sharded over the ranks as `config` says (see `deepspeed_config`).

    A rank is what torchrun (or `launch`) made it; alone, the process is the only rank. The model is sharded at the
    first forward and whole again, in fp32, when `fit` returns (not after an error among several ranks). One thing
    differs from DDP: parameters that the loss does not use are decayed, because their gradient is 0 and not absent.
    """

    def __init__(self, model: nn.Module, objective: Objective, settings: Training, config: dict[str, Any]) -> None:
        self.deepspeed = library()
        self.precision, on_cpu = choose_precision(settings)
        if any(parameter.dtype == torch.float64 for parameter in model.parameters()):
            raise UsageError("DeepSpeed trains in fp32, bf16 or fp16, and this model is in float64: call model.float()")
        self.settings, self.config = settings, config
        self.stage: int = config["zero_optimization"]["stage"]
        self.alone = contextlib.ExitStack()  # what a process without torchrun needs, and gives back
        self._join(on_cpu)
        self.bare = LossModule(model, objective)
        self.engine: Any = None  # DeepSpeed's, from the first forward on
        self.loaded: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.collected: dict[str, Tensor] = {}
        self.gradient_bytes = 0  # most that this rank held before an update

    def _join(self, on_cpu: bool) -> None:
        """Become a rank: device, process group."""
        if not dist.is_initialized():
            backend, patience = "gloo" if on_cpu else "nccl", timedelta(seconds=self.settings.timeout)
            if under_torchrun():
                join(backend, self.settings.timeout)
            else:
                folder = self.alone.enter_context(tempfile.TemporaryDirectory(prefix="labkit-rank-"))
                store = dist.FileStore(os.path.join(folder, "store"), 1)
                dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=patience)
                self.alone.callback(self._leave)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.local = int(os.environ.get("LOCAL_RANK", str(self.rank)))
        self.device = torch.device("cpu") if on_cpu else torch.device("cuda", self.local)

    def _leave(self) -> None:
        dist.destroy_process_group()
        self.deepspeed.comm.comm.cdb = None  # what it remembers of the group

    # What `fit` calls

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a micro-batch: a scalar."""
        if self.engine is None:
            self._build()
        return self.engine(to_device(batch, self.device)).float()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, averaged over the ranks."""
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self) -> None:
        """Clip, update the own shard, gather what changed, clear the gradients."""
        self.gradient_bytes = max(self.gradient_bytes, storage_bytes(self._gradients()))
        self.engine.step()

    def set_lr(self, rate: float) -> None:
        """Set the learning rate of all parameters."""
        if self.engine is None:
            self._build()
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimizer's tensors by "slot:parameter", unsharded: call it inside `whole()`. And the loss scaler's."""
        scaler = getattr(getattr(self.engine, "optimizer", None), "loss_scaler", None)
        numbers = {name: getattr(scaler, name) for name in SCALER if hasattr(scaler, name)}
        return self.collected, numbers if self.precision == "fp16" else {}

    def load_state_dict(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Take up where `state_dict` left off, whoever wrote it and with however many ranks.

        Raises CheckpointError for tensors of other parameters.
        """
        shapes = {name: parameter.shape for name, parameter in self._named()}
        for key, value in tensors.items():
            _, _, name = key.partition(":")
            if name not in shapes or (value.ndim and value.shape != shapes[name]):
                raise CheckpointError(f"the optimizer's {key!r} fits no trainable parameter of this model")
        self.loaded = (tensors, numbers)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Inside: weights and optimizer states in full and in fp32. All ranks enter together; it costs their memory."""
        if self.engine is None:
            yield
            return
        kept = {parameter: parameter.data for parameter in self.bare.parameters()}
        full = {parameter: self._full(parameter) for parameter in kept}
        self.collected = self._collect()
        try:
            for parameter, value in full.items():
                parameter.data = value
            yield
        finally:
            for parameter, value in kept.items():
                parameter.data = value
            self.collected = {}

    def __enter__(self) -> DeepSpeedEngine:
        """Be used: `fit` enters its engine."""
        self.alone.enter_context(variable("LOCAL_RANK", str(self.local)))  # read at every step of ZeRO 3
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the model back whole. After an error other ranks may be gone, and then it stays as it is."""
        with self.alone:
            if self.engine is not None and (kind is None or self.world == 1):
                full = {parameter: self._full(parameter).clone() for parameter in self.bare.parameters()}
                self.engine.destroy()
                self.before.restore()
                for parameter, value in full.items():
                    parameter.data, parameter.grad = value, None
            self.engine = None

    def held(self) -> dict[str, int]:
        """Bytes of live tensors on this rank: parameters, gradients (the most before an update), optimizer.

        The optimizer's are its states and, where they are not the parameters themselves, the fp32 masters.
        """
        own = [parameter.data for parameter in self.bare.parameters()]
        own += [parameter.ds_tensor for parameter in self.bare.parameters() if hasattr(parameter, "ds_tensor")]
        states = [value for slots in self.adamw.state.values() for value in slots.values() if torch.is_tensor(value)]
        parameters, both = storage_bytes(own), storage_bytes([*own, *self._masters(), *states])
        return {"parameters": parameters, "gradients": self.gradient_bytes, "optimizer": both - parameters}

    # DeepSpeed's side

    def _build(self) -> None:
        """Hand the model to DeepSpeed: from now on it holds the weights, in shards."""
        self.before = Before(self.bare)
        settings = self.settings
        groups = parameter_groups(self.bare, settings.weight_decay)
        self.adamw = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
        exact = [] if self.precision == "fp32" else [value.data.clone() for _, value in self._named()]
        self.engine, *_ = self.deepspeed.initialize(
            model=self.bare, optimizer=self.adamw, config=copy.deepcopy(self.config), dist_init_required=False
        )
        for (_, parameter), value in zip(self._named(), exact, strict=False):
            self._set(parameter, None, value.to(self.device))  # DeepSpeed starts its masters from rounded weights
        if self.loaded is not None:
            self._load(*self.loaded)
            self.loaded = None

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, parameter) for name, parameter in self.bare.named_parameters() if parameter.requires_grad]

    def _full(self, parameter: nn.Parameter, slot: str | None = None) -> Tensor:
        """The whole fp32 parameter, or one of its optimizer states, on every rank."""
        if self.stage and parameter.requires_grad:
            utils = self.deepspeed.utils
            if slot is None:
                return utils.safe_get_full_fp32_param(parameter)
            return utils.safe_get_full_optimizer_state(parameter, slot)
        if slot is not None:
            return self.adamw.state[parameter][slot]
        if not hasattr(parameter, "ds_id"):
            return parameter.data.float()
        with self.deepspeed.zero.GatheredParameters([parameter]):  # frozen, so without a master
            return parameter.data.float().clone()

    def _collect(self) -> dict[str, Tensor]:
        """The optimizer's tensors by "slot:parameter", of all shards; on the CPU. Empty before the first step."""
        if not self.adamw.state:
            return self.loaded[0] if self.loaded else {}
        self._link()
        step = next(slots["step"] for slots in self.adamw.state.values() if "step" in slots)
        found = {}
        for name, parameter in self._named():
            if self.stage or parameter in self.adamw.state:
                found |= {f"{slot}:{name}": self._full(parameter, slot).cpu() for slot in SLOTS}
                found[f"step:{name}"] = step.detach().cpu().clone()
        return found

    def _load(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Cut the saved states into this rank's shards."""
        steps = [value for key, value in tensors.items() if key.startswith("step:")]
        if steps:
            for flat in self._masters():
                zeros = {slot: torch.zeros_like(flat.data) for slot in SLOTS}
                self.adamw.state[flat] = {"step": torch.stack(steps).max().clone(), **zeros}
            self._link()
            for name, parameter in self._named():
                for slot in SLOTS:
                    if (value := tensors.get(f"{slot}:{name}")) is not None:
                        self._set(parameter, slot, value.to(self.device))
        for name, value in numbers.items():
            setattr(self.engine.optimizer.loss_scaler, name, value)

    def _masters(self) -> list[Tensor]:
        """What AdamW updates here: this rank's flat fp32 shards, or (ZeRO 0) the parameters."""
        if self.stage == 3:
            return self.engine.optimizer.fp32_partitioned_groups_flat
        return [value for group in self.adamw.param_groups for value in group["params"]]

    def _link(self) -> None:
        """Let ZeRO 1 and 2 find the states of every group: on their own they look once, after the first group's."""
        optimizer = self.engine.optimizer
        if hasattr(optimizer, "_hp_optimizer_states_linked"):
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()

    def _set(self, parameter: nn.Parameter, slot: str | None, value: Tensor) -> None:
        """Write this rank's part of an optimizer state, or (slot None) of the fp32 master."""
        if self.stage == 0:
            self.adamw.state[parameter][slot].copy_(value)
        elif self.stage < 3:
            parameter.set_full_hp_param(value, slot)
        else:  # its setter of whole states fails where the ranks do not divide the parameter: give it the own part
            size = parameter.ds_tensor.ds_numel
            padded = torch.zeros(size * self.world, device=value.device)
            padded[: value.numel()] = value.flatten()
            own = padded[size * self.rank : size * (self.rank + 1)]
            parameter._z3_optimizer.set_local_hp_param(own, parameter, slot)

    def _gradients(self) -> list[Tensor]:
        """What this rank holds of gradients, between backward and step."""
        found = [parameter.grad for parameter in self.bare.parameters()]
        optimizer = self.engine.optimizer
        for name in ("averaged_gradients", "all_grad_tensors"):
            for shards in getattr(optimizer, name, {}).values():
                found += shards or []
        found += getattr(optimizer, "_DeepSpeedZeroOptimizer_Stage3__param_id_to_grad_partition", {}).values()
        return [value for value in found if torch.is_tensor(value)]
