"""Plan a training run: what each rank holds, what it sends in a step, whether it fits, and what would mend it.

All closed forms: the states of `anatomy.state_bytes`, the activations of `anatomy.layer_activations`, ring collectives
(each of N ranks sends (N - 1)/N of the data, twice for an all-reduce), Megatron's two all-reduces a layer and
direction, and 1F1B's min(pipe, micro-batches) sets of activations on the first pipeline stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from labkit.errors import UsageError
from labkit.parallel.memory import anatomy
from labkit.parallel.memory.checkpointing import kept
from labkit.parallel.memory.shape import ModelShape


@dataclass(frozen=True)
class Plan:
    """A training run on `data` · `tensor` · `pipe` GPUs of `memory` bytes each.

    `batch` sequences of `length` tokens a step, over all ranks; a data-parallel rank takes its share `rows` at a time.
    `stage` is ZeRO's, `dtype` "fp32", "bf16" or "fp16", `attention` "explicit" or "fused"; a checkpoint stands before
    each `every` layers (0: none). UsageError for numbers that do not divide.
    """

    shape: ModelShape
    memory: float
    batch: int
    length: int
    data: int = 1
    tensor: int = 1
    pipe: int = 1
    stage: int = 0
    dtype: str = "bf16"
    attention: str = "fused"
    every: int = 0
    rows: int = 1

    def __post_init__(self) -> None:
        s = self.shape
        if min(self.data, self.tensor, self.pipe, self.batch, self.length, self.rows) < 1 or self.every < 0:
            raise UsageError("a plan needs ranks, batch, length and rows of 1 or more, and checkpoints every 0 or more")
        if s.heads % self.tensor:
            raise UsageError(f"{self.tensor} tensor-parallel ranks do not divide {s.heads} heads")
        if s.layers % self.pipe:
            raise UsageError(f"{self.pipe} pipeline stages do not divide {s.layers} layers")
        if self.batch % (self.data * self.rows):
            raise UsageError(
                f"a batch of {self.batch} cannot be shared out among {self.data} data-parallel ranks, {self.rows} rows "
                f"at a time: choose a multiple of {self.data * self.rows}"
            )
        if self.length > s.positions:
            raise UsageError(f"{self.length} tokens are more than the model's {s.positions} positions")
        anatomy.state_bytes(1, self.dtype, self.stage, self.data)  # their names are checked there
        anatomy.layer_activations(s, 1, 1, self.dtype, self.attention)

    @property
    def gpus(self) -> int:
        """How many in all."""
        return self.data * self.tensor * self.pipe

    @property
    def micro(self) -> int:
        """Micro-batches that a data-parallel rank takes in a step."""
        return self.batch // (self.data * self.rows)

    @property
    def weights(self) -> float:
        """Weights of the fullest rank: its share of the layers, and the embeddings, which stand on the first stage."""
        s = self.shape
        outside = s.parameters - s.layers * s.layer
        return (s.layers // self.pipe * s.layer + outside) / self.tensor

    @cached_property
    def parts(self) -> dict[str, float]:
        """Bytes on the fullest rank, by what they are for."""
        states = anatomy.state_bytes(self.weights, self.dtype, self.stage, self.data)
        each, layer = anatomy.precision(self.dtype), self.shape.layer / self.tensor
        # a layer's gradients before they are shared out (stage 2 on), and its weights while they are gathered (stage 3)
        whole = (self.stage >= 2) * each.gradients * layer + (self.stage == 3) * each.weights * layer
        found = {"weights": states.weights, "gradients": states.gradients, "optimizer": states.optimizer}
        return {**found, "buffers": whole * (self.data > 1), "activations": self._activations()}

    def _activations(self) -> float:
        """The fuller of the first stage, with 1F1B's micro-batches in flight, and the last, with the loss."""
        s, per_stage = self.shape, self.shape.layers // self.pipe
        of = (s, self.rows, self.length, self.dtype)
        layer, edge = anatomy.layer_activations(*of, self.attention, self.tensor), anatomy.boundary(*of)
        inputs = -(-per_stage // self.every) * edge if self.every else per_stage * layer
        working = kept(per_stage, self.every, edge, layer)
        first = (min(self.pipe, self.micro) - 1) * inputs + working
        last = max(inputs + anatomy.head_activations(*of, self.tensor), working)
        return max(first, last)

    @property
    def total(self) -> float:
        """Bytes on the fullest rank."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether that is within the memory."""
        return self.total <= self.memory

    @cached_property
    def sent(self) -> dict[str, float]:
        """Bytes that one rank sends in a step, by what they are: "data", "tensor" and "pipe"-parallel traffic.

        ZeRO 0 and 1 move 2 Ψ a step; 2 shares gradients out after every micro-batch, 3 gathers weights for each too.
        """
        each, n, t = anatomy.precision(self.dtype), self.data, self.tensor
        rounds = {0: 2, 1: 2, 2: self.micro + 1, 3: 3 * self.micro}[self.stage]
        edge = anatomy.boundary(self.shape, self.rows, self.length, self.dtype)
        reductions = (6 if self.every else 4) * self.shape.layers // self.pipe * self.micro
        return {
            "data": rounds * (n - 1) / n * self.weights * each.weights,
            "tensor": reductions * 2 * (t - 1) / t * edge,
            "pipe": (2 if self.pipe > 2 else 1) * self.micro * edge * (self.pipe > 1),
        }

    def mend(self) -> Plan | None:
        """The nearest plan that fits: itself, else the first of `changes` that does; None where none does."""
        return next((plan for plan in (self, *changes(self)) if plan.fits), None)

    def differences(self, other: Plan) -> list[str]:
        """What `other` does otherwise, in words."""
        words = {
            "attention": f"{other.attention} attention",
            "rows": f"{other.rows} {'row' if other.rows == 1 else 'rows'} at a time instead of {self.rows}",
            "every": _checkpoints(other.every),
            "stage": f"ZeRO stage {other.stage}",
            "tensor": f"{other.tensor} tensor-parallel ranks",
            "pipe": f"{other.pipe} pipeline stages",
            "data": f"{other.data} data-parallel ranks",
            "dtype": other.dtype,
        }
        return [text for name, text in words.items() if getattr(self, name) != getattr(other, name)]


def _checkpoints(every: int) -> str:
    if not every:
        return "no checkpoints"
    return f"a checkpoint before every {'layer' if every == 1 else f'{every} layers'}"


def changes(plan: Plan) -> Iterator[Plan]:
    """Plans that need less memory on as many GPUs, cheap changes first, then several at once, then more GPUs."""
    halved = [{"rows": plan.rows >> times} for times in range(1, plan.rows.bit_length())]
    single = {"attention": "fused"}, *halved, {"stage": 1}, {"stage": 2}, {"every": 1}, {"stage": 3}
    for change in single:
        yield from _changed(plan, **change)
    together: dict[str, object] = {}
    for change in single:
        together |= change
        yield from _changed(plan, **together)
    for tensor, pipe in _splits(plan.gpus, plan.shape):
        for stage in (plan.stage, 1):
            yield from _changed(
                plan, rows=1, every=1, attention="fused", stage=stage, tensor=tensor, pipe=pipe,
                data=plan.gpus // (tensor * pipe),
            )  # fmt: skip
    for factor in (2**power for power in range(1, 12)):
        more = {"rows": 1, "every": 1, "attention": "fused", "stage": 3, "data": plan.data * factor}
        yield from _changed(plan, **more)


def _changed(plan: Plan, **change: object) -> Iterator[Plan]:
    """The plan with the change, unless its numbers do not divide."""
    try:
        yield replace(plan, **change)  # type: ignore[arg-type]
    except UsageError:
        return


def _splits(gpus: int, shape: ModelShape) -> Iterator[tuple[int, int]]:
    """(tensor, pipe) that divide the GPUs and the model, at most 8 tensor-parallel ranks (a machine), few first."""
    pairs = [(t, p) for t in range(1, 9) for p in range(1, gpus + 1) if gpus % (t * p) == 0]
    fitting = [(t, p) for t, p in pairs if shape.heads % t == 0 and shape.layers % p == 0]
    yield from sorted(fitting, key=lambda pair: (pair[0] * pair[1], pair[1]))


def search(shape: ModelShape, gpus: int, memory: float, batch: int, length: int, dtype: str = "bf16") -> list[Plan]:
    """All layouts that fit on so many GPUs, best first: no recomputing before recomputing, then fewest bytes sent.

    ZeRO stages 0 to 3, with and without checkpoints, powers of two as rows. This ranks by counted bytes, not by time:
    it knows nothing of links. UsageError for no GPUs.
    """
    if gpus < 1:
        raise UsageError(f"{gpus} GPUs: a run needs 1 or more")
    base = Plan(shape, memory, batch, length, dtype=dtype)
    layouts = [
        {"tensor": tensor, "pipe": pipe, "data": gpus // (tensor * pipe), "stage": stage, "every": every, "rows": rows}
        for tensor, pipe in _splits(gpus, shape)
        for stage in anatomy.STAGES
        for every in (0, 1)
        for rows in (1, 2, 4, 8, 16, 32)
        if stage == 0 or gpus > tensor * pipe
    ]  # fmt: skip
    found = [plan for layout in layouts for plan in _changed(base, **layout) if plan.fits]
    return sorted(found, key=lambda plan: (plan.every > 0, sum(plan.sent.values()), plan.total))


def plan(shape: ModelShape, gpus: int, memory: float, batch: int, length: int, **layout: object) -> Plan:
    """A `Plan` for so many GPUs of `memory` bytes: `data` is what `tensor` and `pipe` leave of them.

    `layout` are the other fields of `Plan`. UsageError where tensor · pipe does not divide the GPUs.
    """
    own = int(layout.get("tensor", 1)) * int(layout.get("pipe", 1))  # type: ignore[call-overload]
    if gpus < 1 or own < 1 or gpus % own:
        raise UsageError(f"tensor · pipe = {own} does not divide {gpus} GPUs: choose a divisor")
    return Plan(shape, memory, batch, length, data=gpus // own, **layout)  # type: ignore[arg-type]
