"""Right and wrong answers to the exercises of lesson 06/07."""

from __future__ import annotations

import math

import numpy as np
import torch

M, A = "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"


def rows_one_by_one(config, ranks):
    rows = 0
    for _ in range(ranks):
        for _ in range(config[A]):
            rows += config[M]
    return rows


def key_by_key(ranks, rows, micro, stage):
    config = {}
    config["zero_optimization"] = {"stage": stage}
    config["gradient_clipping"] = 1
    config[M] = micro
    config[A] = int(rows / micro / ranks)
    return config


def counted(ranks, rows, micro, stage):
    """Micro-batches are added until the step is full."""
    steps = 0
    while steps * micro * ranks < rows:
        steps += 1
    return right(ranks, rows, micro, stage, **{A: steps})


def right(ranks, rows, micro, stage, **changes):
    config = {M: micro, A: rows // (micro * ranks), "zero_optimization": {"stage": stage}, "gradient_clipping": 1.0}
    return {**config, **changes}


def without(*names):
    """A configuration that lacks some keys."""
    return lambda *given: {key: value for key, value in right(*given).items() if key not in names}


def changed(**changes):
    return lambda *given: right(*given, **changes)


def part_by_part(parameters, ranks, budget):
    """2 + 2 + 12 bytes; a stage divides one part more by the ranks than the one before."""
    parts = [12.0, 2.0, 2.0]
    for stage in range(4):
        shared, whole = sum(parts[:stage]) / ranks, sum(parts[stage:])
        if not parameters * (whole + shared) > budget:
            return stage


def by_argmax(parameters, ranks, budget):
    fits = parameters * np.array([16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]) <= budget
    return fits.argmax() if fits.any() else None


def held(n):
    return [16, 4 + 12 / n, 2 + 14 / n, 16 / n]


def stage_by(held, order=(0, 1, 2, 3), room=1.0):
    def choose(parameters, ranks, budget):
        fits = [stage for stage in order if parameters * held(ranks)[stage] <= room * budget]
        return fits[0] if fits else None

    return choose


def strictly_at(stage):
    """Right, but `<` for one stage."""
    return lambda p, n, b: stage_by(held)(p, n, b - (p * held(n)[stage] == b))


def entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels)


def row_by_row(states, mask, labels, weight, bias):
    total = 0.0
    for text, real, label in zip(states, mask.bool(), labels, strict=True):
        scores = weight @ text[real].mean(0) + bias
        total = total + scores.logsumexp(0) - scores[label]
    return total / len(labels)


def by_einsum(states, mask, labels, weight, bias):
    share = mask / mask.sum(1, keepdim=True)
    return entropy(torch.einsum("btd,bt,cd->bc", states, share, weight) + bias, labels)


def by_layers(states, mask, labels, weight, bias):
    pooled = states.masked_fill(mask[..., None] == 0, 0).sum(1) / mask.sum(1)[:, None]
    return -torch.nn.functional.linear(pooled, weight, bias).log_softmax(-1).gather(1, labels[:, None]).mean()


def pooled(s, m):
    return (s * m[..., None]).sum(1) / m.sum(1)[:, None]


RIGHT = {
    "tuned_loss": [row_by_row, by_einsum, by_layers],
    "effective_batch": [
        rows_one_by_one,
        lambda config, ranks: math.prod((config[M], config[A], ranks)),
        lambda config, ranks: np.prod([config.get(key, 1) for key in (M, A)]) * ranks,
        lambda config, ranks: torch.tensor(config[M]) * config[A] * ranks,
    ],
    "config_for": [key_by_key, counted, lambda n, r, m, s: right(n, r, m, s, **{A: r // n // m})],
    "smallest_stage": [
        part_by_part,
        by_argmax,
        lambda p, n, b: min((s for s in range(4) if p * held(n)[s] <= b), default=None),
    ],
}


def rows_popped(config, ranks):
    return config.pop(M) * config.pop(A) * ranks


WRONG = {
    "tuned_loss": [
        (lambda s, m, y, w, b: entropy(s.mean(1) @ w.T + b, y), "padding is in the mean"),
        (lambda s, m, y, w, b: entropy((s * m[..., None]).mean(1) @ w.T + b, y), "you divide by all tokens"),
        (lambda s, m, y, w, b: entropy(s[:, 0] @ w.T + b, y), "first token's state"),
        (lambda s, m, y, w, b: entropy((s * m[..., None]).sum(1) @ w.T + b, y), "states are added up"),
        (lambda s, m, y, w, b: entropy(pooled(s, m) @ w.T, y), "the bias is missing"),
        (lambda s, m, y, w, b: entropy((pooled(s, m) @ w.T + b).softmax(-1), y), "makes the softmax itself"),
        (lambda s, m, y, w, b: 3 * entropy(pooled(s, m) @ w.T + b, y), "sum over the texts"),
        (lambda s, m, y, w, b: -(pooled(s, m) @ w.T + b).softmax(-1)[range(3), y].mean(), "logarithm is missing"),
        (lambda s, m, y, w, b: entropy(pooled(s, m) @ w.T + b, 1 - y), "was expected"),
        (lambda s, m, y, w, b: pooled(s, m) @ w.T + b, "one number is wanted"),
        (lambda s, m, y, w, b: entropy(pooled(s, m) @ w.T + b, y).item(), "plain number"),
        (lambda s, m, y, w, b: entropy(pooled(s.detach(), m) @ w.T + b, y), "gradient of `states` is not"),
        (lambda s, m, y, w, b: entropy(pooled(s, m) @ w.data.T + b, y), "gradient of `weight` is not"),
    ],
    "effective_batch": [
        (lambda c, n: c[M] * c[A], "the rows of one rank"),
        (lambda c, n: c[M] * n, "several of them make a step"),
        (lambda c, n: c[A] * n, "number of micro-batches in a step"),
        (lambda c, n: c[M] + c[A] + n, "a sum"),
        (lambda c, n: c[M] * c[A] / n, "more ranks make the step larger"),
        (lambda c, n: c[M], "accumulation and ranks are missing"),
        (lambda c, n: 1000, "not it: multiply"),
        (lambda c, n: c["train_batch_size"], "stopped with KeyError"),
        (lambda c, n: math.prod(list(c.values())[:2]) * n, ": 9 is not it"),
        (lambda c, n: math.prod(c.values()) * n, "stopped with TypeError"),
        (rows_popped, "changed `config`"),
        (lambda c, n: c, "should be one number, not dict"),
    ],
    "config_for": [
        (lambda *a: 3, "should be a dict, not int"),
        (lambda n, r, m, s: right(n, r, m, s, **{M: m * n}), "one rank takes 2 rows at once"),
        (lambda n, r, m, s: right(n, r, m, s, **{A: r // m}), "the 4 ranks share"),
        (changed(**{A: 1}), "64 rows take 8"),
        (lambda n, r, m, s: right(n, r, m, s, **{A: r / (m * n)}), "divide with //"),
        (lambda n, r, m, s: right(n, r, m, s, **{A: np.int64(r // (m * n))}), "json cannot write"),
        (lambda n, r, m, s: right(n, r, m, s, zero_optimization=s), "a block of its own"),
        (lambda n, r, m, s: {**without("zero_optimization")(n, r, m, s), "stage": s}, "leave out 'stage'"),
        (changed(zero_optimization={"stage": 1}), "is 1, the run asks for 2"),
        (changed(zero_optimization={"stage": 2}), "is 2, the run asks for 3"),
        (lambda n, r, m, s: right(n, r, m, s, zero_optimization={"stage": str(s)}), "is '2', the run asks for 2"),
        (lambda n, r, m, s: right(n, r, m, s, zero_optimization={"stage": s, "overlap": True}), "holds 'overlap' too"),
        (changed(bf16={"enabled": True}), "leave out 'bf16': the four keys"),
        (changed(gradient_clipping=0.5), "0.5, the run clips at"),
        (changed(gradient_clipping=True), "True, the run clips at"),
        (without("gradient_clipping"), "None, the run clips at"),
        (lambda n, r, m, s: right(n, r, m, s, train_batch_size=r), "DeepSpeed works it out"),
        (lambda *a: {**without("gradient_clipping")(*a), "gradient_cliping": 1.0}, "leave out 'gradient_cliping'"),
    ],
    "smallest_stage": [
        (stage_by(held, (3, 2, 1, 0)), "stage 0 does too"),
        (stage_by(held, (0, 1, 3, 2)), r"answered 3. It fits, but stage 2 does too"),
        (strictly_at(0), "16 GB: .*stage 0 does too"),
        (strictly_at(1), "5.5 GB: .*stage 1 does too"),
        (strictly_at(2), "3.75 GB: .*stage 2 does too"),
        (strictly_at(3), "2 GB: .*exactly as much as there is"),
        (stage_by(lambda n: [16, 16 / n, 16 / n, 16 / n]), "Stage 1 takes 5.5 GB per rank"),
        (stage_by(lambda n: [16, 12 + 4 / n, 2 + 14 / n, 16 / n]), "answered 2. It fits, but stage 1 does too"),
        (lambda p, n, b: stage_by(held)(p, n, b) or 0, "nothing fits, so None"),
        (lambda p, n, b: stage_by(held)(p, n, b) if p * held(n)[3] <= b else -1, "answered -1. Answer with"),
        (lambda p, n, b: "zero2", "answered 'zero2'. Answer with"),
        (lambda p, n, b: str(stage_by(held)(p, n, b)), "answered '0'. Answer with"),
        (lambda p, n, b: p * 16 <= b, "answered True. Answer with"),
        (stage_by(lambda n: [16, 1e9, 1e9, 1e9]), "less than there is"),
    ],
}  # fmt: skip
