"""Checks of lesson 06/07, DeepSpeed: `from labkit.checks import deepspeed as check`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, learns, loss, number, whole

LESSON = "06/07"
GB = 10**9
MICRO, ACCUMULATION = "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"
KEYS = (MICRO, ACCUMULATION, "gradient_clipping", "zero_optimization")
CASES = (
    (1 * GB, 8, 24 * GB), (1 * GB, 8, 16 * GB), (1 * GB, 8, 6 * GB), (1 * GB, 8, 5.5 * GB), (1 * GB, 8, 4 * GB),
    (1 * GB, 8, 3.75 * GB), (1 * GB, 8, 2 * GB), (1 * GB, 8, 1 * GB), (7.5 * GB, 64, 32 * GB), (7.5 * GB, 64, 80 * GB),
    (1 * GB, 1, 16 * GB), (1 * GB, 1, 15 * GB),
)  # fmt: skip


def _tuned_loss(states: Tensor, mask: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    real = mask[..., None]
    pooled = (states * real).sum(1) / real.sum(1)
    return torch.nn.functional.cross_entropy(pooled @ weight.T + bias, labels)


@exercise(LESSON, _tuned_loss)
def tuned_loss(function: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Last states (batch, tokens, d), mask and labels, a head's weight (classes, d) and bias → the mean loss."""
    draw = torch.Generator().manual_seed(3)
    states, weight, bias = (torch.randn(size, generator=draw).requires_grad_() for size in ((3, 4, 5), (2, 5), (2,)))
    mask, labels = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]), torch.tensor([1, 0, 1])
    inputs = (states, mask, labels, weight, bias)
    found, right = loss(function(*inputs)), _tuned_loss(*inputs)
    entropy = torch.nn.functional.cross_entropy
    pooled = (states * mask[..., None]).sum(1) / mask.sum(1)[:, None]
    logits = pooled @ weight.T + bias
    mistakes = [
        (entropy(states.mean(1) @ weight.T + bias, labels), "padding is in the mean: multiply by the mask, and divide by the number of real tokens"),
        (entropy((states * mask[..., None]).mean(1) @ weight.T + bias, labels), "you divide by all tokens: divide by the number of real ones, mask.sum(1)"),
        (entropy(states[:, 0] @ weight.T + bias, labels), "this is the first token's state: the mean over the real tokens is wanted"),
        (entropy((states * mask[..., None]).sum(1) @ weight.T + bias, labels), "the states are added up: divide by the number of real tokens"),
        (entropy(pooled @ weight.T, labels), "the bias is missing"),
        (entropy(logits.softmax(-1), labels), "cross_entropy makes the softmax itself: give it the logits"),
        (entropy(logits, labels, reduction="sum"), "this is the sum over the texts: the mean is wanted"),
        (-(logits.softmax(-1)[range(3), labels]).mean(), "the logarithm is missing: take torch.nn.functional.cross_entropy"),
    ]  # fmt: skip
    expect(found.detach(), right.detach(), "cross-entropy of (mean of the real tokens' states) @ weight.T + bias was expected", [(wrong.detach(), said) for wrong, said in mistakes])  # fmt: skip
    named = {"states": states, "weight": weight, "bias": bias}
    learns(found, right, named, "the loss is right, but the gradient of `{}` is not: .detach(), .data or numpy cuts it off")  # fmt: skip


def _effective_batch(config: dict[str, Any], ranks: int) -> int:
    return config[MICRO] * config[ACCUMULATION] * ranks


@exercise(LESSON, _effective_batch)
def effective_batch(function: Callable[[dict[str, Any], int], int]) -> None:
    """A DeepSpeed configuration and the number of ranks → rows of one optimizer step."""
    for micro, accumulate, ranks in ((4, 3, 6), (2, 7, 1), (3, 1, 11)):
        config = {"gradient_clipping": 0.5, ACCUMULATION: accumulate, "zero_optimization": {"stage": 2}, MICRO: micro, "steps_per_print": 10}  # fmt: skip
        found = number(asked(function, config=config, ranks=ranks))
        mistakes = [
            (micro * accumulate, "the rows of one rank: every rank has its own micro-batches, and their gradients are averaged"),
            (micro * ranks, "the rows of one micro-batch: several of them make a step"),
            (accumulate * ranks, "the number of micro-batches in a step, and each has several rows"),
            (micro + accumulate + ranks, "a sum, and each of the three numbers multiplies the rows"),
            (micro * accumulate / ranks, "too small: micro_batch_size_per_gpu is what *one* rank takes, so more ranks make the step larger"),
            (micro, "one rank's micro-batch: accumulation and ranks are missing"),
        ]  # fmt: skip
        told = f"micro-batch {micro}, accumulation {accumulate}, {ranks} ranks: {found:g} is "
        message = "not it: multiply the rows of a micro-batch, the micro-batches of a step, and the ranks"
        expect(found, micro * accumulate * ranks, told + message, [(wrong, told + said) for wrong, said in mistakes])


def _config_for(ranks: int, rows: int, micro: int, stage: int) -> dict[str, Any]:
    values = (micro, rows // (micro * ranks), 1.0, {"stage": stage})
    return dict(zip(KEYS, values, strict=True))


@exercise(LESSON, _config_for)
def config_for(function: Callable[[int, int, int, int], dict[str, Any]]) -> None:
    """Ranks, rows per step, rows of a micro-batch on one rank, ZeRO stage → configuration, clipping at 1."""
    for ranks, rows, micro, stage in ((4, 64, 2, 2), (2, 96, 8, 3), (1, 5, 5, 1)):
        config = asked(function, ranks=ranks, rows=rows, micro=micro, stage=stage)
        if not isinstance(config, dict):
            raise Mistake(f"the result should be a dict, not {type(config).__name__}")
        for key in config:
            if key not in KEYS:
                why = "DeepSpeed works it out itself" if key == "train_batch_size" else f"the four keys are {', '.join(KEYS)}"  # fmt: skip
                raise Mistake(f"leave out {key!r}: {why}")
        try:
            json.dumps(config)
        except TypeError as error:
            raise Mistake(f"json cannot write this configuration: {error}. Use numbers of Python's own") from error
        _step(config, ranks, rows, micro)
        _blocks(config, stage)


def _step(config: dict[str, Any], ranks: int, rows: int, micro: int) -> None:
    """The two numbers that make a step."""
    if (found := config.get(MICRO)) != micro:
        raise Mistake(f"{MICRO} is {found!r}, one rank takes {micro} rows at once here")
    wanted, found = rows // (micro * ranks), config.get(ACCUMULATION)
    if found != wanted:
        why = f"with {ranks} ranks of {micro} rows, {rows} rows take {wanted}"
        raise Mistake(f"{ACCUMULATION} is {found!r}: " + (f"the {ranks} ranks share those micro-batches" if found == rows // micro else why))  # fmt: skip
    for key in (MICRO, ACCUMULATION):
        if type(config[key]) is not int:
            raise Mistake(f"{key} is {config[key]!r} and must be a whole number, without a point: divide with //")


def _blocks(config: dict[str, Any], stage: int) -> None:
    """The clipping, and the block of ZeRO."""
    zero = config.get("zero_optimization")
    if not isinstance(zero, dict):
        raise Mistake('the stage belongs in a block of its own: {"zero_optimization": {"stage": …}}')
    if (found := zero.get("stage")) != stage or type(found) is not int:
        raise Mistake(f"zero_optimization.stage is {found!r}, the run asks for {stage}")
    if more := [key for key in zero if key != "stage"]:
        raise Mistake(f"zero_optimization holds {more[0]!r} too: only its stage is asked for")
    if (found := config.get("gradient_clipping")) != 1.0 or isinstance(found, bool):
        raise Mistake(f"gradient_clipping is {found!r}, the run clips at the norm 1.0")


def _smallest_stage(parameters: float, ranks: int, budget: float) -> int | None:
    fits = [stage for stage, each in enumerate(_held(ranks)) if parameters * each <= budget]
    return fits[0] if fits else None


@exercise(LESSON, _smallest_stage)
def smallest_stage(function: Callable[[float, int, float], int | None]) -> None:
    """Parameters, ranks, bytes that a rank has → the lowest ZeRO stage whose bytes fit, or None."""
    answers = [function(*case) for case in CASES]
    if all(answer is None for answer in answers):
        given(None, "the result of every case")
    for case, answer in zip(CASES, answers, strict=True):
        parameters, ranks, budget = case
        told = f"{parameters / GB:g} billion parameters, {ranks} ranks of {budget / GB:g} GB: you answered {answer!r}. "
        found, wanted = _stage(answer, told), _smallest_stage(*case)
        if found != wanted:
            raise Mistake(told + _why(found, wanted, [parameters * each for each in _held(ranks)], budget))


def _held(ranks: int) -> list[float]:
    """Bytes per parameter on each rank, by stage (Rajbhandari et al. 2020, figure 1)."""
    return [16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]


def _stage(answer: Any, told: str) -> int | None:
    """The learner's answer; Mistake where it is no stage."""
    if answer is None:
        return None
    try:
        stage = whole(answer)
    except Mistake:
        stage = -1
    if isinstance(answer, bool | str) or stage not in range(4):
        raise Mistake(told + "Answer with 0, 1, 2, 3, or None")
    return stage


def _why(found: int | None, wanted: int | None, held: list[float], budget: float) -> str:
    """What is wrong with a stage; `held` is the bytes per rank by stage."""
    if wanted is None:
        return f"Even stage 3 takes {held[3] / GB:.3g} GB per rank: nothing fits, so None"
    if found is None:
        fits = "exactly as much as there is, and that fits" if held[wanted] == budget else "less than there is"
        return f"Stage {wanted} takes {held[wanted] / GB:.3g} GB per rank, {fits}"
    if found > wanted:
        return f"It fits, but stage {wanted} does too ({held[wanted] / GB:.3g} GB) and sends no more: try the stages from 0 up"  # fmt: skip
    return f"Stage {found} takes {held[found] / GB:.3g} GB per rank: which of the 2 + 2 + 12 bytes does it divide by the ranks?"  # fmt: skip
