"""The pipeline of the course, end to end: pre-train → adapt → distil → quantise → measure → serve.

Each stage leaves an artefact under `out/` and each finished run a row in `out/report.json`, so an interrupted
pipeline goes on where it was (`resume=True`).

    1-pretrained/          a masked language model            (or the model named by `model`)
    2-adapted/seed-K/      the large model, few-shot          head fine-tuning ([CLS], mean) and `few_shot`
    3-distilled/           the small model                    fine-tuned alone, KD, TinyBERT
    4-quantised/           both in int8
    app/                   the small int8 model of the first seed: `labkit serve` opens it
    report.json report.png
"""

from __future__ import annotations

from labkit.pipeline.settings import PipelineSettings
from labkit.pipeline.stages import Pipeline
from labkit.report import Report, Table

# The article whose experiment this pipeline repeats (EasyNLP, "landing" a large model on a small task): accuracy on the
# dev set, in per cent.
ARTICLE = {"fine-tune [CLS]": 83.75, "PET": 90.63, "student, fine-tuned": 54.38, "student, KD": 71.25}
ARTICLE_SOURCE = (
    "EasyNLP article: macbert-large-zh, 325 M parameters, 0.54 s a batch; student pai-bert-tiny-zh, 3 M, 0.06 s a batch"
)


def run(settings: PipelineSettings, *, progress: bool | None = None, command: str = "labkit pipeline") -> Report:
    """Run all stages and return the report; raises LabkitError with the mend where an input is at fault."""
    return Pipeline(settings, progress, command).run()


def table(report: Report) -> Table:
    """The pipeline's table, the article's figures beside ours."""
    return report.table(ARTICLE, source=ARTICLE_SOURCE)


__all__ = ["ARTICLE", "Pipeline", "PipelineSettings", "run", "table"]
