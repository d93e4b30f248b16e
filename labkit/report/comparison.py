"""Two methods seed by seed: the mean difference and how far it can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from labkit.errors import UsageError, unknown
from labkit.report.result import Result


@dataclass(frozen=True)
class Comparison:
    """Mean of a − b over `seeds`, its standard error, and the interval [low, high] that holds it with 95 %.

    With one seed there is no spread: `error`, `low` and `high` are then infinite.
    """

    a: str
    b: str
    metric: str
    seeds: tuple[int, ...]
    difference: float
    error: float
    low: float
    high: float
    percent: bool

    def __str__(self) -> str:
        scale, unit = (100, " points") if self.percent else (1, "")
        digits = 1 if self.percent else 3
        head = f"{self.a} − {self.b}: {scale * self.difference:+.{digits}f}{unit} of {self.metric}"
        if len(self.seeds) < 2:
            return f"{head}, one seed: no interval"
        interval = f"[{scale * self.low:+.{digits}f}, {scale * self.high:+.{digits}f}]"
        return f"{head}, 95 % interval {interval}, {len(self.seeds)} seeds"


def paired(rows: Sequence[Result], a: str, b: str) -> Comparison:
    """Compare on the seeds that both ran, of the mean over the tasks that both ran."""
    from scipy.stats import t

    scores = by_seed(rows, (a, b))
    seeds = tuple(sorted(scores[a].keys() & scores[b].keys()))
    if not seeds:
        raise UsageError(f"{a!r} and {b!r} have no seed in common: run both with the same seeds")
    differences = [scores[a][seed] - scores[b][seed] for seed in seeds]
    mean, n = statistics.fmean(differences), len(seeds)
    error = statistics.stdev(differences) / math.sqrt(n) if n > 1 else math.inf
    reach = float(t.ppf(0.975, n - 1)) * error if n > 1 else math.inf
    return Comparison(a, b, rows[0].metric, seeds, mean, error, mean - reach, mean + reach, in_percent(rows))


def by_seed(rows: Sequence[Result], methods: Sequence[str] | None = None) -> dict[str, dict[int, float]]:
    """The score of each method with each seed: of several tasks the mean over those that all `methods` ran.

    A seed that lacks one of these tasks is left out. UsageError where the methods have no task in common.
    """
    known = list(dict.fromkeys(row.method for row in rows))
    for method in methods or ():
        if method not in known:
            raise unknown("method", method, known)
    chosen = methods or known
    common = set.intersection(*({row.task for row in rows if row.method == method} for method in chosen))
    if not common:
        raise UsageError(f"{', '.join(chosen)}: no task that all of them ran; name one, task=…")
    scores: dict[str, dict[int, float]] = {}
    for method in chosen:
        values: dict[int, list[float]] = {}
        for row in rows:
            if row.method == method and row.task in common:
                values.setdefault(row.seed, []).append(row.value)
        scores[method] = {seed: statistics.fmean(v) for seed, v in values.items() if len(v) == len(common)}
    return scores


def in_percent(rows: Sequence[Result]) -> bool:
    """Whether the values are fractions, to be shown times 100: all within 0…1, of a metric that is no loss."""
    open_ended = any(word in row.metric for row in rows for word in ("loss", "perplexity", "mse"))
    return not open_ended and all(0 <= row.value <= 1 for row in rows)
