"""The pipeline of the course, end to end: pre-train → adapt → distil → quantise → measure → serve.

Each stage leaves an artefact under `out/` and each finished run a row in `out/report.json`, which also has checksums of
all that is finished: an interrupted pipeline goes on where it was (`resume=True`), or says what was altered.

    1-pretrained/          a masked language model            (the model named by `model` stays where it is)
    2-adapted/seed-K/      the large model, few-shot          head fine-tuning ([CLS], mean) and `few_shot`
    3-distilled/           the small model                    fine-tuned alone, KD, all passes of compression
    4-quantised/           the large model in int8, and a small one that is not in codes yet
    app/                   the small model of the first seed in codes: `labkit serve` opens it
    report.json report.png settings.json

A large model that reads left to right (`--model gemma-270m`) teaches a student of another kind: a BERT whose
vocabulary and first knowledge of language come from the unlabelled text (`own_student.py`). KD needs no more than the
teacher's answers, which are saved as they come.
"""

from __future__ import annotations

from labkit.pipeline.landing import ALONE, ARTICLE, ARTICLE_SOURCE, TAUGHT, landing
from labkit.pipeline.settings import PipelineSettings
from labkit.pipeline.stages import Pipeline
from labkit.report import Report, Table


def run(settings: PipelineSettings, *, progress: bool | None = None, command: str = "labkit pipeline") -> Report:
    """Run all stages and return the report; raises LabkitError with the mend where an input is at fault."""
    return Pipeline(settings, progress, command).run()


def table(report: Report) -> Table:
    """The pipeline's table, the article's figures beside ours."""
    head, *_ = (row.method for row in report.rows)  # the article fine-tuned one way, and so its figure stands by one
    return report.table(
        {head: ARTICLE["fine-tune [CLS]"], **{name: ARTICLE[name] for name in ("PET", ALONE, TAUGHT)}},
        source=ARTICLE_SOURCE,
    )


__all__ = ["ARTICLE", "ARTICLE_SOURCE", "Pipeline", "PipelineSettings", "landing", "run", "table"]
