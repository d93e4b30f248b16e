"""The experiment that the pipeline repeats, row by row: a large model lands on a small task, and then in a small model.

The EasyNLP article has four rows: a large model (hfl/macbert-large-zh) fine-tuned on a few examples, and prompted; a
small one (alibaba-pai/pai-bert-tiny-zh) fine-tuned on the same, and taught by the large one. Its accuracies are on a
dev set.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from labkit.report import Report, Table
from labkit.report.table import short

ALONE, TAUGHT = "student, fine-tuned", "student, KD"
BATCH = 32  # sentences a batch, where the small model is trained and where latency is measured
# accuracy in per cent, parameters, seconds a batch (of a size that the article does not give)
FOUR = ((83.75, 325e6, 0.54), (90.63, 325e6, 0.53), (54.38, 3e6, 0.06), (71.25, 3e6, 0.06))
ARTICLE = dict(zip(("fine-tune [CLS]", "PET", ALONE, TAUGHT), (row[0] for row in FOUR), strict=True))
ARTICLE_SOURCE = (
    "EasyNLP article: macbert-large-zh, 325 M parameters, 0.54 s a batch; student pai-bert-tiny-zh, 3 M, 0.06 s a batch"
)


def landing(report: Report) -> Table:
    """The article's four rows and ours beside them, means over the seeds of a pipeline's finished report."""
    methods = list(dict.fromkeys(row.method for row in report.rows))
    large = methods[: methods.index(ALONE)]
    whole = report.table()
    body = []
    for method, (accuracy, parameters, seconds) in zip((large[0], large[-1], ALONE, TAUGHT), FOUR, strict=True):
        rows = [row for row in report.rows if row.method == method]
        ours = next(cells[1] for cells in whole.rows if cells[0] == method)
        batch = _mean(row.latency_ms for row in rows) * BATCH / 1000
        theirs = (f"{accuracy:g}", f"{short(parameters)}".strip(), f"{seconds:g}")
        size = f"{short(_mean(row.bytes for row in rows))}B"
        body.append((method, *theirs, ours, short(_mean(row.parameters for row in rows)).strip(), size, f"{batch:.3g}"))
    header = ("method", "article", "parameters", "s/batch", "ours", "parameters", "size", f"s/batch of {BATCH}")
    return Table(header, tuple(body), notes=(f"article: {ARTICLE_SOURCE.partition(': ')[2]}",))


def _mean(values: Iterable[Any]) -> float:
    return statistics.fmean(value for value in values if value is not None)
