"""DeepSpeed's configuration: made from labkit's settings, or the user's own JSON, checked against them.

DeepSpeed is configured by one JSON object of well over a hundred keys. What it has in common with `Training` (batch,
accumulation, clipping, precision, rates) would otherwise be said twice, and the two would come to differ.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from labkit.errors import UsageError, unknown
from labkit.files import read_bytes
from labkit.parallel.deepspeed_library import library
from labkit.training.settings import Training

STAGES = (0, 1, 2, 3)  # sharded are: nothing, the optimizer's states and fp32 masters, gradients too, parameters too
NAMES = [f"zero{stage}" for stage in STAGES] + [f"zero{stage}-offload" for stage in (1, 2, 3)]
BUCKET = 500_000  # elements that travel at once; DeepSpeed's own 5e8 would reserve 2 GB a rank
# The keys of DeepSpeed's configuration that make sense behind `fit`.
KNOWN = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping",
    "managed_gradient_accumulation", "zero_optimization", "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer", "bf16", "fp16", "optimizer", "communication_data_type", "prescale_gradients",
    "gradient_predivide_factor", "disable_allgather", "data_types", "activation_checkpointing", "aio", "comms_logger",
    "flops_profiler", "monitor_config", "tensorboard", "csv_monitor", "wandb", "steps_per_print",
    "wall_clock_breakdown", "memory_breakdown", "dump_state",
)  # fmt: skip
ADAMW = ("Adam", "AdamW")


def parse_name(name: str) -> tuple[int, bool]:
    """Stage and offload of a name: "zero2-offload" is (2, True). UsageError with the nearest name otherwise."""
    if name not in NAMES:
        raise unknown("DeepSpeed setting", name, [*NAMES, "a JSON file"])
    return int(name[4]), name.endswith("-offload")


def deepspeed_config(
    settings: Training,
    stage: int = 2,
    offload: bool = False,
    precision: str = "fp32",
    *,
    rows: int = 1,
    world: int = 1,
) -> dict[str, Any]:
    """The configuration that says what `settings` say, with ZeRO `stage` 0 to 3.

    `rows` is the size of a micro-batch over all `world` ranks, as in `Batches`; `offload` keeps the optimizer's states
    in the CPU's memory and updates there. Raises UsageError for another stage, offload without sharding, fewer rows
    than ranks, and ZeRO 0 in half precision: DeepSpeed then counts one optimizer step before the first.
    """
    if isinstance(stage, bool) or stage not in STAGES:
        raise unknown("ZeRO stage", stage, STAGES)
    if offload and stage == 0:
        raise UsageError("ZeRO stage 0 has no optimizer to offload: take zero1-offload, zero2-offload or zero3-offload")
    if rows < world:
        raise UsageError(f"a batch of {rows} rows for {world} ranks leaves some without a row: make it {world} or more")
    if stage == 0 and precision != "fp32":
        raise UsageError(f"ZeRO stage 0 in {precision}: take zero1 or higher, or no --deepspeed (plain DDP)")
    zero: dict[str, Any] = {"stage": stage, "reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
    if stage == 3:  # persistence 0: small tensors are sharded too; the patched linear would outlive the engine
        zero |= {"stage3_prefetch_bucket_size": BUCKET, "stage3_param_persistence_threshold": 0,
                 "sub_group_size": 10**9, "memory_efficient_linear": False}  # fmt: skip
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": -(-rows // world),
        "gradient_accumulation_steps": settings.accumulate,
        "managed_gradient_accumulation": False,  # `fit` says when a step is complete
        "gradient_clipping": settings.clip or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW on the CPU too: nothing to compile
        "bf16": {"enabled": precision == "bf16"},
        "fp16": {"enabled": precision == "fp16"},
        "steps_per_print": 10**9,
    }


def read_config(
    path: str | os.PathLike[str],
    settings: Training,
    precision: str = "fp32",
    *,
    rows: int = 1,
    world: int = 1,
) -> dict[str, Any]:
    """The user's own JSON, completed: what it leaves out or calls "auto" is as `deepspeed_config` says.

    Raises UsageError naming file and key: no JSON object, an unknown key (with the nearest), or a value that labkit's
    own settings contradict (with both values and the mend).
    """
    values = _json_object(path)
    _check_keys(path, values)
    zero = values.get("zero_optimization", {})
    stage, offload = zero.get("stage", 0), "offload_optimizer" in zero
    generated = deepspeed_config(settings, stage, offload, precision, rows=rows, world=world)
    for key, own, name, ours in _said_twice(values, settings, generated, precision, world):
        if own not in ("auto", ours):
            mend = f'make them equal, or write "auto" for {key.rpartition(".")[2]}'
            raise UsageError(f"{path}: {key} is {json.dumps(own)}, labkit's {name} is {json.dumps(ours)}: {mend}")
    merged = _merged(generated, values)
    for key in ("optimizer", "train_batch_size"):  # both follow from labkit's settings
        merged.pop(key, None)
    return merged


def _json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        values = json.loads(read_bytes(path).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give a JSON file, or one of {', '.join(NAMES)}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f'{path}: DeepSpeed takes one JSON object, such as {{"zero_optimization": {{"stage": 2}}}}')
    return values


def _check_keys(path: str | os.PathLike[str], values: dict[str, Any]) -> None:
    """UsageError for a key that neither labkit nor DeepSpeed knows, naming its place and the nearest."""
    if "scheduler" in values:
        raise UsageError(f"{path}: scheduler: labkit's own schedule sets the rate at every step; leave the block out")
    _known(path, "", values, KNOWN)
    for block in ("zero_optimization", "bf16", "fp16", "optimizer"):
        if not isinstance(values.get(block, {}), dict):
            raise UsageError(f"{path}: {block} must be an object, not {json.dumps(values[block])}")
    zero = values.get("zero_optimization", {})
    if zero.get("stage", 0) not in STAGES:
        raise UsageError(f"{path}: zero_optimization: {unknown('stage', zero['stage'], STAGES)}")
    fields = library().runtime.zero.config.DeepSpeedZeroConfig.model_fields
    names = [name for key, field in fields.items() for name in (field.alias, key) if name]  # JSON's first
    _known(path, "zero_optimization.", zero, names)
    if (kind := values.get("optimizer", {}).get("type", "AdamW")) not in ADAMW:
        raise UsageError(f"{path}: optimizer.type is {kind!r}; behind fit it is AdamW: write that, or leave it out")


def _known(path: str | os.PathLike[str], prefix: str, values: Mapping[str, Any], known: Any) -> None:
    for key in values:
        if key not in known:
            raise UsageError(f"{path}: {unknown('key', prefix + key, [prefix + name for name in known])}")


def _said_twice(
    values: Mapping[str, Any], settings: Training, generated: Mapping[str, Any], precision: str, world: int
) -> Iterator[tuple[str, Any, str, Any]]:
    """What the file and labkit both say: (key in the file, its value, labkit's name, labkit's value)."""
    rows = generated["train_micro_batch_size_per_gpu"]
    pairs = {
        "train_batch_size": ("batch size x accumulate", rows * world * settings.accumulate),
        "train_micro_batch_size_per_gpu": ("batch size / ranks", rows),
        "gradient_accumulation_steps": ("accumulate", settings.accumulate),
        "gradient_clipping": ("clip", settings.clip or 0.0),
        "managed_gradient_accumulation": ("loop, which says when a step is complete,", False),
    }
    for key, (name, ours) in pairs.items():
        if key in values:
            yield key, values[key], name, ours
    for kind in ("bf16", "fp16"):
        if "enabled" in values.get(kind, {}):
            yield f"{kind}.enabled", values[kind]["enabled"], f"precision {precision!r}, so {kind}", precision == kind
    own = {"lr": settings.lr, "betas": list(settings.betas), "eps": settings.eps, "weight_decay": settings.weight_decay}
    for key, value in values.get("optimizer", {}).get("params", {}).items():
        if key in own:
            yield f"optimizer.params.{key}", value, key, own[key]


def _merged(generated: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` over `generated`, block by block; "auto" gives way."""
    merged = dict(generated)
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        elif value != "auto":
            merged[key] = value
    return merged
