"""DeepSpeed's pipeline: layers over ranks, 1F1B (Narayanan et al. 2019, section 3.2), one call a step.

It is beside `fit`, not behind it: a pipeline decides itself when each rank does which forward and backward, so there is
no loss of a batch to ask for, and no rank but the last ever sees one.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.parallel.deepspeed_library import library, variable
from labkit.training.engine import parameter_groups
from labkit.training.settings import Training, learning_rate

Micro = tuple[Tensor, Tensor]  # inputs and targets of a micro-batch, of the same shapes in every one


class DeepSpeedPipeline:
    """`layers`, a sequence in which each takes what the one before gives, cut into one stage a rank.

    To be used where a process group is ready (`labkit.parallel.processes`), as a context manager. AdamW in fp32, as
    `settings` say. UsageError for fewer layers than ranks.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        loss: Callable[[Tensor, Tensor], Tensor],
        settings: Training,
        *,
        rows: int,
    ) -> None:
        self.settings, self.done = settings, 0
        if dist.get_world_size() > len(layers):
            raise UsageError(f"{len(layers)} layers for {dist.get_world_size()} ranks: each needs one or more")
        self.variable = contextlib.ExitStack()
        local = os.environ.get("LOCAL_RANK", str(dist.get_rank()))
        self.variable.enter_context(variable("LOCAL_RANK", local))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its topology
            self.engine = self._engine(layers, loss, rows)

    def _engine(self, layers: Sequence[nn.Module], loss: Any, rows: int) -> Any:
        deepspeed, settings = library(), self.settings
        deepspeed.init_distributed(dist.get_backend(), dist_init_required=False, verbose=False)
        module = deepspeed.pipe.PipelineModule(
            layers=list(layers), num_stages=dist.get_world_size(), loss_fn=loss, partition_method="parameters"
        )
        groups = parameter_groups(module, settings.weight_decay)
        adamw = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
        config = {
            "train_micro_batch_size_per_gpu": rows,
            "gradient_accumulation_steps": settings.accumulate,
            "gradient_clipping": settings.clip or 0.0,
            "steps_per_print": 10**9,
        }
        return deepspeed.initialize(model=module, optimizer=adamw, config=config, dist_init_required=False)[0]

    def step(self, micro_batches: Sequence[Micro], total: int) -> float:
        """One optimizer step of `settings.accumulate` micro-batches; the mean loss, known to every rank.

        `total` is the number of steps of the run, for the schedule. UsageError for another number of micro-batches.
        """
        if len(micro_batches) != self.settings.accumulate:
            raise UsageError(f"{len(micro_batches)} micro-batches, and accumulate is {self.settings.accumulate}")
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.done, total)
        self.done += 1
        return self.engine.train_batch(data_iter=iter(micro_batches)).item()

    def __enter__(self) -> DeepSpeedPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.variable.close()
