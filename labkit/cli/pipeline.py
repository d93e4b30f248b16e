"""`labkit pipeline`: one option for each field of `labkit.pipeline.PipelineSettings`, or a file of them."""

from __future__ import annotations

import argparse
import json
from typing import Any

from labkit.cli.parser import command, show
from labkit.config import COUNT, SOME, names
from labkit.errors import UsageError
from labkit.files import read_bytes

PIPELINE_HELP = """\
stages: pre-train a language model (left out where --model names one) -> adapt it from a few examples -> distil it into
a small one -> quantise it -> measure -> save folders that `labkit serve` opens.

Ctrl-C keeps what is finished; the same command with --resume goes on from there.

examples:
  labkit pipeline
  labkit pipeline --model micro-bert-en --shots 4 --seeds 5
  labkit pipeline --model minilm --task table:train.tsv,dev.tsv,test.tsv --schema "sent:str:1,label:str:1" \\
      --pattern "{text} it was {mask} ." --words 0=bad 1=good --student-hidden 96 --unlabelled more.txt
  labkit pipeline --model gemma-270m --task table:train.tsv,dev.tsv,test.tsv --unlabelled more.txt \\
      --pattern "{text} It was {mask}" --words 0=terrible 1=great       a large teacher, a student of another kind
  labkit pipeline --settings mine.json --shots 1      what is typed here wins over the file
"""

PIPELINE_NUMBERS = {
    "few-shot-steps": "training steps on the few examples (default: 60)",
    "student-vocabulary": "word pieces that a student of its own learns at most (default: 8000)",
    "student-steps": "its steps of masked language modelling before it is taught (default: 1500)",
    "distil-epochs": "passes over the unlabelled text when distilling (default: 12)",
    "unlabelled-rows": "unlabelled texts used at most (default: 8000)",
    "test-rows": "test rows used at most (default: 1000)",
    "knowledge-steps": "steps with the world's graph beside its text (DKPLM) that end the pre-training (default: 0)",
    "head-steps": "for a model without a masked-LM head: steps that train one (default: 400)",
}
MAY_BE_NONE = ("student-steps", "unlabelled-rows", "knowledge-steps")


def add_pipeline(commands: Any) -> None:
    """`labkit pipeline`."""
    parser = command(commands, "pipeline", _pipeline, "pre-train, adapt, distil, quantise, measure and save a model",
                      PIPELINE_HELP, as_json=True)  # fmt: skip

    def option(place: Any, name: str, text: str, **settings: Any) -> None:
        place.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text, **settings)

    option(parser, "model", "start from a zoo name, a folder or a hub id (default: pre-train one)", metavar="NAME")
    option(
        parser, "task", "world/…, table:FILES, fewclue:FOLDER/TASK or hub:ID (default: world/reviews)", metavar="NAME"
    )
    option(parser, "schema", "columns of a table: name:type:count, comma between", metavar="TEXT")
    option(parser, "unlabelled", "a file of unlabelled texts, for distillation", metavar="FILE")
    option(parser, "splits", "values for {split} in --task, one a seed, comma between", metavar="A,B,…", type=names)
    option(parser, "pattern", "cloze for a task that brings none: '{text} it was {mask} .'", metavar="TEXT")
    option(parser, "words", "its label words: 0=bad 1=good,great", metavar="LABEL=WORD,…", type=str, nargs="+")
    option(parser, "few-shot", "the few-shot method: pet, fuzzy-pet, cp-tuning, p-tuning, warp, lm-bff-t, lm-bff-l, "
           "lm-bff-t-l, fine-tune-mean … (default: pet, which measured best on reviews)", metavar="NAME")  # fmt: skip
    option(parser, "shots", "examples a class (default: 16)", type=COUNT, metavar="N")
    option(parser, "seeds", "how many draws of examples to average over (default: 3)", type=COUNT, metavar="N")
    option(parser, "out", "folder for everything it makes (default: runs/pipeline)", metavar="DIR")
    option(parser, "resume", "go on with what --out already holds", action="store_true")
    option(parser, "student", "shrunk: the large model made small; own: a BERT with a vocabulary of its own "
           "(default: auto, which is own where the large model reads left to right)",
           choices=["auto", "shrunk", "own"])  # fmt: skip
    option(
        parser, "student-layers", "layers of the small model (default: 1, an own student 3)", type=COUNT, metavar="N"
    )
    option(parser, "student-hidden", "its width, rounded up to suit its heads (default: 32, an own student 192)",
           type=COUNT, metavar="N")  # fmt: skip
    option(parser, "compose", "the student's compression passes in their order: 'shrink:2,80 distill:600 "
           "prune:0.5,200 quantize:int8' (default: the best point of the measured front, TinyBERT's stages and ternary "
           "weights; KD and int8 for an own student)", metavar="PASSES")  # fmt: skip
    for name, text in PIPELINE_NUMBERS.items():
        option(parser, name, text, type=SOME if name in MAY_BE_NONE else COUNT, metavar="N")
    parser.add_argument("--settings", metavar="FILE", help="a JSON file with the same names; options typed here win")


def _pipeline(arguments: argparse.Namespace) -> None:
    import dataclasses

    from labkit.config import strict
    from labkit.pipeline import PipelineSettings, landing, run, table

    values = _settings_file(arguments.settings) if arguments.settings else {}
    names = {field.name for field in dataclasses.fields(PipelineSettings)}
    values |= {name: value for name, value in vars(arguments).items() if name in names}
    settings = strict(PipelineSettings, values, where=arguments.settings or "")
    # None: bars on a terminal only, but the stages' lines always, so that a log says where it is.
    report = run(settings, progress=None, command=arguments.command_line)
    if arguments.json:
        show([row.plain() for row in report.rows], as_json=True)
    else:
        print(table(report))
        if any("speedup" in row.extra for row in report.rows):
            print(f"\n{landing(report)}")
        print(f"\npicture: {settings.out}/report.png   rows: {settings.out}/report.json")
        print(f"serve it: labkit serve {settings.out}/app")


def _settings_file(path: str) -> dict[str, Any]:
    """The settings that a JSON file holds; UsageError naming file and line where it is not such a file."""
    try:
        values = json.loads(read_bytes(path).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise UsageError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f'{path}: settings are one JSON object, such as {{"shots": 4}}')
    return values
