"""The command line: what it prints where, what it offers for a mistyped name, how it ends."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from labkit import cli, config
from labkit.cli import commands, parser
from labkit.cli.pipeline import PIPELINE_NUMBERS
from labkit.errors import DataError, LabkitError


def walk(found, path=()):
    """Every command and sub-command: (path, parser)."""
    yield path, found
    for action in found._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from walk(child, (*path, name))


ALL = dict(walk(cli.build_parser()))


def start(*arguments, **settings):
    command = [sys.executable, "-m", "labkit", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


@pytest.fixture
def handler(monkeypatch):
    """Make `labkit doctor` do what the test says."""

    def plant(action):
        monkeypatch.setattr(commands, "_doctor", action)

    return plant


def raising(error):
    def action(_):
        raise error

    return action


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_teaches(path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*path, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {' '.join(('labkit', *path))}")
    for action in ALL[path]._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), action
    taught = ["pipeline", "serve", "predict", "demo", "notebooks", "assignments", "zoo", "world"]
    if path == () or path in [(name,) for name in taught]:
        assert "labkit " in ALL[path].epilog


def test_no_command_shows_the_help_and_fails(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "examples:" in err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == "labkit 0.1.0\n"


def test_python_m_is_the_same_command():
    program = start("--version")
    assert program.communicate()[0] == "labkit 0.1.0\n"
    assert program.returncode == 0


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pipelin", "did you mean 'pipeline'?"),
        ("zoo biuld", "did you mean 'build'?"),
        ("pipeline --shot 3", "did you mean '--shots'?"),
        ("pipeline --shot=3", "did you mean '--shots'?"),
        ("serve DIR --prot 1", "did you mean '--port'?"),
        ("--versoin doctor", "did you mean '--version'?"),
        ("world sample reviews --language zn", "did you mean 'zh'?"),
        ("world sample revews", "did you mean 'reviews'?"),
        ("zoo path micro-bert-em", "did you mean 'micro-bert-en'?"),
        ("doctor now", "unexpected argument 'now'"),
        ("predict DIR --input x.tsv", "--output"),
        ("serve DIR --port x", "invalid int value: 'x'"),
        ("serve", "required: DIR; see labkit serve --help"),
        ("world sample reviews -n 0", "--count: must be at least 1, not 0"),
        ("world sample reviews --seed -1", "--seed: must be at least 0, not -1"),
        ("train --test-rows -5", "--test-rows: must be at least 1, not -5"),
        ("train --lr 0", "--lr: must be a number above 0, not 0"),
        ("train --lr nan", "--lr: must be a number above 0, not nan"),
        ("train --clip inf", "--clip: must be a number above 0, not inf"),
        (f"train --seed {2**70}", "--seed: must be at most 4294967295"),
        ("train --steps 0", "--steps: must be at least 1"),
        (f"train --steps {10**30}", "--steps: must be at most 2147483647"),
        ("train --shots -1", "--shots: must be at least 0"),
        ("pipeline --student-hidden 0", "--student-hidden: must be at least 1, not 0"),
        ("pipeline --test-rows -5", "--test-rows: must be at least 1, not -5"),
        ("serve DIR --port 0", "--port: must be at least 1, not 0"),
        ("demo fewshot --port 70000", "--port: must be at most 65535"),
    ],
)
def test_asked_wrongly_is_one_line_and_exit_2(line, offered, capsys):
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("labkit: ")
    assert offered in err
    assert err.count("\n") == 1


def test_options_are_not_guessed_from_their_beginning(capsys):
    assert cli.main(["world", "sample", "reviews", "--lang", "zh"]) == 2
    assert "--language" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(DataError("a.tsv: line 3"), 1), (LabkitError("no"), 1)])
def test_failure_is_one_line_and_exit_1(error, code, handler, capsys):
    handler(raising(error))
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().err == f"labkit: {error}\n"


def test_ctrl_c_is_130(handler, capsys):
    handler(raising(KeyboardInterrupt()))
    assert cli.main(["doctor"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(handler):
    handler(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["doctor"])


def test_sigterm_runs_the_finally_blocks_and_exits_143(handler):
    closed = []

    def action(_):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            closed.append(True)

    handler(action)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor"])
    assert stop.value.code == 143
    assert closed
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_leaves_is_no_error():
    program = start("world", "sample", "reviews", "-n", "20000")
    program.stdout.readline()
    program.stdout.close()
    assert program.stderr.read() == ""
    assert program.wait(30) == 1


# Whatever stdout is


def plant_output(monkeypatch, name, stream):
    monkeypatch.setattr(sys, name, stream)
    return stream


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_stdout_will_do(handler, monkeypatch, encoding):
    texts = ["这部电影 😀", "half \ud83d", "é"]
    handler(lambda arguments: parser.show([{"text": text} for text in texts], arguments.json))
    for line in ("doctor", "doctor --json"):
        raw = io.BytesIO()
        out = plant_output(monkeypatch, "stdout", io.TextIOWrapper(raw, encoding))
        assert cli.main(line.split()) == 0
        assert out.errors == "strict"
        shown = raw.getvalue().decode(encoding)
    assert [row["text"] for row in json.loads(shown)] == texts


@pytest.mark.parametrize("line", ["doctor", "doctor --json", "--version", "nonsense"])
def test_closed_streams_swallow_what_is_printed(handler, monkeypatch, line):
    handler(lambda arguments: parser.show([{"text": "这部"}], arguments.json))
    with monkeypatch.context() as patch:
        plant_output(patch, "stdout", None)
        plant_output(patch, "stderr", None)
        try:
            code = cli.main(line.split())
        except SystemExit as stop:
            code = stop.code
    assert code == (2 if line == "nonsense" else 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("rows", [1, 10_000])
def test_a_full_disk_under_stdout_is_one_line_and_exit_1(handler, monkeypatch, capsys, rows):
    handler(lambda arguments: parser.show([{"text": "x"}] * rows, arguments.json))
    with open("/dev/full", "w") as full:
        with monkeypatch.context() as patch:
            plant_output(patch, "stdout", full)
            assert cli.main(["doctor"]) == 1
            assert sys.stdout is not full  # or the interpreter fails when it flushes it
        with contextlib.suppress(OSError):
            full.close()
    assert capsys.readouterr().err == "labkit: the results cannot be printed: No space left on device\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_under_stderr_stops_nobody(handler, monkeypatch):
    handler(raising(DataError("a.tsv: line 3")))
    full = plant_output(monkeypatch, "stderr", open("/dev/full", "w", buffering=1))
    assert cli.main(["doctor"]) == 1
    with contextlib.suppress(OSError):
        full.close()


def test_an_error_of_the_system_elsewhere_keeps_its_traceback(handler):
    handler(raising(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        cli.main(["doctor"])


def test_doctor_finds_a_user_without_a_home(monkeypatch):
    from labkit import doctor

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LABKIT_CACHE")
    monkeypatch.setattr("pathlib.Path.home", homeless)
    assert "set LABKIT_CACHE" in doctor._cache()["advice"]


def test_progress_only_for_a_person(monkeypatch):
    assert parser.progress() is False  # pytest's stderr is no terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert parser.progress() is True


# Commands that print


@pytest.mark.parametrize("line", ["doctor", "tasks list", "zoo list", "world sample reviews -n 2"])
def test_json_is_json_and_the_table_is_not(line, capsys):
    assert cli.main([*line.split(), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert cli.main(line.split()) == 0
    with pytest.raises(json.JSONDecodeError):
        json.loads(capsys.readouterr().out)


def test_world_sample_is_in_the_language_asked_for(capsys):
    cli.main("world sample reviews --language zh -n 3".split())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(any("一" <= character <= "鿿" for character in line) for line in lines)
    cli.main("world sample reviews --language zh -n 3 --seed 1".split())
    assert capsys.readouterr().out.splitlines() != lines


def test_tasks_list_states_chance_and_ceiling(capsys):
    cli.main(["tasks", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    reviews = rows["world/reviews"]
    assert 0 < reviews["chance"] < reviews["ceiling"] <= 1
    assert reviews["test"] > 0


def test_doctor_names_what_is_missing(monkeypatch):
    from importlib import metadata

    from labkit import doctor

    real = metadata.version

    def version(name):
        if name == "gradio":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "nbval" else real(name)

    monkeypatch.setattr(
        doctor, "requirements", lambda: {"": [], "demos": [_r("gradio>=6.20")], "dev": [_r("nbval>=1.5")]}
    )
    monkeypatch.setattr(doctor.metadata, "version", version)
    rows = {row["what"]: row for row in doctor.examine()}
    assert rows["extra demos"]["value"] == "gradio is missing"
    assert "'.[demos]'" in rows["extra demos"]["advice"]
    assert rows["extra dev"]["value"] == "nbval is 1.0, needs >=1.5"
    assert doctor.verdict(list(rows.values())) == "the library works; not installed: demos, dev"


def test_doctor_fits_a_terminal_and_ends_in_a_verdict(capsys, monkeypatch):
    from labkit import doctor

    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and lines[-1].startswith("verdict: ")
    rows = [doctor._row("gpu", "none", "not needed: the CPU will do"), doctor._row("extra lab", "complete")]
    assert doctor.verdict(rows).startswith("all is well")
    rows.append(doctor._row("torch", "torch is missing", "pip install 'torch>=2.4'"))
    assert doctor.verdict(rows) == "mend first: torch"
    assert "-> pip install 'torch>=2.4'" in doctor.text(rows)


def test_lab_opens_the_map(monkeypatch, tmp_path, capsys):
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    asked = []

    def run(command, check):
        asked.append(command)
        return SimpleNamespace(returncode=len(asked) - 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert cli.main(["lab", "--", "--no-browser"]) == 0
    assert asked[0][1:3] == ["-m", "jupyterlab"] and asked[0][-1] == "--no-browser"
    assert f"--notebook-dir={tmp_path}" in asked[0] and any("notebooks/index.ipynb" in part for part in asked[0])
    assert cli.main(["lab"]) == 1 and "exit code 1" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 2 and "pip install -e '.[lab]'" in capsys.readouterr().err


def test_help_begins_with_the_lessons(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert shown.index("    lab ") < shown.index("    demo ") < shown.index("    pipeline ")
    assert "examples:\n  labkit lab " in shown


def _r(line):
    from packaging.requirements import Requirement

    return Requirement(line)


# labkit pipeline: how the command line becomes settings


class Reported:
    rows = ()


@pytest.fixture
def pipeline(monkeypatch):
    """The settings that `labkit pipeline` would run with."""
    from labkit import pipeline as module

    seen = {}

    def run(settings, *, progress, command):
        seen.update(settings=settings, progress=progress, command=command)
        return Reported()

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "table", lambda report: "the table")
    return seen


def test_every_pipeline_setting_has_its_option():
    from labkit import pipeline as module

    fields = {field.name.replace("_", "-") for field in dataclasses.fields(module.PipelineSettings)}
    assert fields == {name[2:] for name in ALL[("pipeline",)].options} - {"help", "json", "settings"}


def test_options_of_the_pipeline_take_the_numbers_that_its_settings_declare():
    from labkit import pipeline as module

    declared = dict(config._ranges(module.PipelineSettings))
    assert len(declared) == 12
    for action in ALL[("pipeline",)]._actions:
        assert declared.get(action.dest) == (action.type if isinstance(action.type, config.Numbers) else None)


def test_pipeline_defaults_are_those_of_the_dataclass(pipeline, capsys):
    from labkit.pipeline import PipelineSettings

    assert cli.main(["pipeline"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("the table\n") and "labkit serve runs/pipeline/app" in shown
    assert pipeline == {"settings": PipelineSettings(), "progress": None, "command": "labkit pipeline"}
    for option, text in PIPELINE_NUMBERS.items():
        assert f"(default: {getattr(PipelineSettings(), option.replace('-', '_'))})" in text


def test_typed_options_win_over_the_file(pipeline, tmp_path, capsys):
    file = tmp_path / "mine.json"
    file.write_text('{"shots": 4, "seeds": 2, "splits": ["a", "b"]}', encoding="utf-8-sig")  # as Windows saves it
    assert cli.main(["pipeline", "--settings", str(file), "--shots", "1", "--json"]) == 0
    settings = pipeline["settings"]
    assert (settings.shots, settings.seeds, settings.splits) == (1, 2, ("a", "b"))
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"shot": 4}', "did you mean 'shots'?"),
        (b'{"shots": "4"}', "'shots' must be int"),
        (b'{"shots": 0}', "'shots' must be at least 1, not 0"),
        (b'{"unlabelled_rows": -1}', "'unlabelled_rows' must be at least 0, not -1"),
        (b"[1]", "one JSON object"),
        (b'{"shots": ', "not a JSON file"),
        pytest.param(b"[" * 100_000, "not a JSON file", id="deep"),
        (b'{"task": "\xff"}', "not a JSON file"),
    ],
)
def test_a_wrong_settings_file_is_named(pipeline, tmp_path, capsys, content, message):
    file = tmp_path / "mine.json"
    file.write_bytes(content)
    assert cli.main(["pipeline", "--settings", str(file)]) == 2
    err = capsys.readouterr().err
    assert str(file) in err
    assert message in err
    assert not pipeline


def test_a_missing_settings_file_is_named(pipeline, tmp_path, capsys):
    assert cli.main(["pipeline", "--settings", str(tmp_path / "no.json")]) == 2
    assert "no.json" in capsys.readouterr().err
    assert cli.main(["pipeline", "--settings", "/dev/zero"]) == 2
    assert "/dev/zero: it is a pipe or a device" in capsys.readouterr().err


def test_world_export_writes_nine_tasks_and_replaces_only_when_told(tmp_path, capsys):
    folder = tmp_path / "fewclue"
    assert cli.main(["world", "export", str(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list(folder.iterdir())) == 9
    first = json.loads((folder / "eprstmt" / "train_0.json").read_text(encoding="utf-8").splitlines()[0])
    assert {"sentence", "label"} <= set(first)
    assert cli.main(["world", "export", str(folder)]) == 2
    assert "eprstmt" in capsys.readouterr().err
    assert cli.main(["world", "export", str(folder), "--replace"]) == 0
