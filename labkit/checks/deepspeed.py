"""Checks of lesson 06/07, DeepSpeed: `from labkit.checks import deepspeed as check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from labkit.checks.exercise import Mistake, exercise

LESSON = "06/07"
GB = 10**9


@exercise(LESSON)
def effective_batch(function: Callable[[dict[str, Any], int], int]) -> None:
    """A DeepSpeed configuration and the number of ranks → rows of one optimizer step."""
    for micro, accumulate, ranks in ((4, 3, 6), (2, 7, 1), (3, 1, 11)):
        config = {"train_micro_batch_size_per_gpu": micro, "gradient_accumulation_steps": accumulate}
        found = _number(function(dict(config), ranks))
        mistakes = [
            (micro * accumulate, "the rows of one rank: every rank has its own micro-batches, and their gradients are averaged"),
            (micro * ranks, "the rows of one micro-batch: several of them make a step"),
            (accumulate * ranks, "the number of micro-batches in a step, and each has several rows"),
            (micro + accumulate + ranks, "these are factors, not summands"),
            (micro * accumulate / ranks, "micro_batch_size_per_gpu is what *one* rank takes: more ranks make the step larger, not smaller"),
            (micro, "one rank's micro-batch: accumulation and ranks are missing"),
        ]  # fmt: skip
        told = f"micro-batch {micro}, accumulation {accumulate}, {ranks} ranks: {found:g} is"
        _expect(found, micro * accumulate * ranks, told, mistakes)


@exercise(LESSON)
def config_for(function: Callable[[int, int, int, int], dict[str, Any]]) -> None:
    """Ranks, rows a step, rows of a micro-batch on one rank, ZeRO stage → configuration with bf16 and clipping at 1."""
    for ranks, rows, micro, stage in ((4, 64, 2, 2), (2, 96, 8, 3)):
        config = function(ranks, rows, micro, stage)
        if not isinstance(config, dict):
            raise Mistake(f"the result should be a dict, it is {type(config).__name__}: did you forget `return`?")
        _accumulation(config, ranks, rows, micro)
        zero = config.get("zero_optimization")
        if not isinstance(zero, dict):
            raise Mistake('the stage belongs in a block of its own: {"zero_optimization": {"stage": …}}')
        if zero.get("stage") != stage:
            raise Mistake(f"zero_optimization.stage is {zero.get('stage')!r}, the run asks for {stage}")
        if config.get("bf16") != {"enabled": True}:
            raise Mistake(f'bf16 is {config.get("bf16")!r}: a precision is switched on by {{"enabled": True}}')
        if config.get("gradient_clipping") != 1.0:
            raise Mistake(f"gradient_clipping is {config.get('gradient_clipping')!r}, the run clips at 1.0")
        _total(config, rows)


@exercise(LESSON)
def smallest_stage(function: Callable[[float, int, float], int | None]) -> None:
    """Parameters, ranks, bytes a rank has → the lowest ZeRO stage whose 16 bytes a parameter fit, or None."""
    for parameters, ranks, budget, expected in _cases():
        found = function(parameters, ranks, budget)
        if found is expected or (found == expected and not isinstance(found, bool) and expected is not None):
            continue
        told = f"{parameters / GB:g} billion parameters, {ranks} ranks of {budget / GB:g} GB: you answered {found!r}. "
        raise Mistake(told + _why(found, expected, parameters, ranks, budget))


# What the checks above share


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Mistake(
            f"the result should be a number, it is {value!r}" + (": did you forget `return`?" if value is None else "")
        )
    return float(value)


def _expect(found: float, expected: float, told: str, mistakes: list[tuple[float, str]]) -> None:
    if found == expected:
        return
    for wrong, said in mistakes:
        if found == wrong:
            raise Mistake(f"{told} {said}")
    raise Mistake(f"{told} not it: multiply the rows of a micro-batch, the micro-batches of a step, and the ranks")


def _accumulation(config: dict[str, Any], ranks: int, rows: int, micro: int) -> None:
    """The two numbers that make a step."""
    if config.get("train_micro_batch_size_per_gpu") != micro:
        found = config.get("train_micro_batch_size_per_gpu")
        raise Mistake(f"train_micro_batch_size_per_gpu is {found!r}, one rank takes {micro} rows at once here")
    expected, found = rows // (micro * ranks), config.get("gradient_accumulation_steps")
    if found == expected:
        return
    if found == rows // micro:
        raise Mistake(f"gradient_accumulation_steps is {found}: the {ranks} ranks share those micro-batches")
    if isinstance(found, float) and found == expected:
        raise Mistake("gradient_accumulation_steps must be a whole number: divide with //")
    raise Mistake(
        f"gradient_accumulation_steps is {found!r}: with {ranks} ranks of {micro} rows, {rows} rows take {expected}"
    )


def _total(config: dict[str, Any], rows: int) -> None:
    """The total may be left out; where it is given it must be that of a step."""
    if config.get("train_batch_size", rows) != rows:
        raise Mistake(
            f"train_batch_size is {config['train_batch_size']!r}: it counts the rows of a whole step, {rows}; or leave it out"
        )


def _held(ranks: int) -> list[float]:
    """Bytes a parameter on each rank, by stage (Rajbhandari et al. 2020, figure 1)."""
    return [16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]


def _cases() -> Iterator[tuple[float, int, float, int | None]]:
    for parameters, ranks, budget in (
        (1 * GB, 8, 24 * GB), (1 * GB, 8, 16 * GB), (1 * GB, 8, 6 * GB), (1 * GB, 8, 4 * GB), (1 * GB, 8, 2 * GB),
        (1 * GB, 8, 1 * GB), (7.5 * GB, 64, 32 * GB), (7.5 * GB, 64, 80 * GB), (1 * GB, 1, 15 * GB),
    ):  # fmt: skip
        fits = [stage for stage, each in enumerate(_held(ranks)) if parameters * each <= budget]
        yield parameters, ranks, budget, fits[0] if fits else None


def _why(found: Any, expected: int | None, parameters: float, ranks: int, budget: float) -> str:
    held = [parameters * each / GB for each in _held(ranks)]
    if isinstance(found, bool) or found not in (None, 0, 1, 2, 3):
        return "Answer with 0, 1, 2, 3, or None"
    if found is None:
        assert expected is not None
        fits = "exactly as much as there is, and that fits" if held[expected] * GB == budget else "less than there is"
        return f"Stage {expected} takes {held[expected]:.3g} GB a rank, {fits}"
    if expected is None:
        return f"Even stage 3 takes {held[3]:.3g} GB a rank: nothing fits, so None"
    if found > expected:
        return f"It fits, but stage {expected} does too ({held[expected]:.3g} GB) and sends no more: try the stages from 0 up"
    return (
        f"Stage {found} takes {held[found]:.3g} GB a rank: which of the 2 + 2 + 12 bytes does it divide by the ranks?"
    )
