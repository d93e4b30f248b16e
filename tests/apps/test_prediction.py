"""Whole tables: every row once and in its place, however the run ends; what cannot be right is refused before it."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from labkit import evaluation, files
from labkit.apps import load_app, parts, predict_table
from labkit.cli import main
from labkit.errors import CheckpointError, DataError, LabkitError, UsageError
from labkit.tasks import read_table, write_table

PROGRAM = Path(__file__).with_name("killed_predictions.py")
WORDS = "the film was good bad fine it dull great".split()
TEXTS = [" ".join(WORDS[: 1 + (7 * n) % 9]) for n in range(40)]


@pytest.fixture(scope="module")
def app(tiny_app):
    return load_app(tiny_app)


@pytest.fixture
def source(tmp_path):
    """A table of 40 texts of many lengths, with an id and a label that is none of the app's."""
    write_table(tmp_path / "in.tsv", [(n, text, "odd") for n, text in enumerate(TEXTS)], ["id", "text", "label"])
    return tmp_path / "in.tsv"


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name not in ("in.tsv", "out.tsv"))


# Every row once, in its place


@pytest.mark.parametrize("window", [1, 7, 40, 100])
def test_rows_keep_their_order_whatever_the_window(app, source, tmp_path, window):
    assert predict_table(app, source, tmp_path / "out.tsv", window=window) == 40
    rows = read_table(tmp_path / "out.tsv").rows
    assert [row["text"] for row in rows] == TEXTS
    assert list(rows[0]) == ["id", "text", "label", "predictions", "probabilities"]
    expected = app.predict(TEXTS)
    assert [row["predictions"] for row in rows] == [answer["label"] for answer in expected]
    for row, answer in zip(rows, expected, strict=True):
        found = [float(value) for value in row["probabilities"].split(",")]
        assert found == pytest.approx(list(answer["probabilities"].values()), abs=1e-5)
    assert left(tmp_path) == []


def test_batches_are_of_so_many_tokens_and_answers_the_same(app):
    rows, seen = [{"text": text, "id": "x" * 999} for text in TEXTS], []

    class Watched:
        fields, max_length = ("text",), 128

        def collate(self, rows, rng):
            seen.append(app.method.collate(rows, rng)["input_ids"].shape)
            return app.method.collate(rows, rng)

        def logits(self, model, batch):
            return app.method.logits(model, batch)

    whole = evaluation.predict(app.model, app.method, rows)
    found = evaluation.predict(app.model, Watched(), rows, batch_size=8, batch_tokens=60)
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert sum(n for n, _ in seen) == 40
    assert max(n * length for n, length in seen) <= 80 and max(n for n, _ in seen) == 8
    assert seen[0][1] >= seen[-1][1]
    alone = evaluation.predict(app.model, Watched(), rows, batch_tokens=1)  # never less than a row
    np.testing.assert_allclose(alone, whole, atol=1e-6)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.tsv.gz"])
def test_the_output_may_have_another_form_and_be_packed(app, source, tmp_path, name):
    predict_table(app, source, tmp_path / "out.tsv", window=9)
    predict_table(app, source, tmp_path / name, window=9)
    from labkit.tasks.tables import open_table

    assert [row for _, row in open_table(tmp_path / name).rows] == read_table(tmp_path / "out.tsv").rows
    if name.endswith(".gz"):
        assert gzip.decompress((tmp_path / name).read_bytes()) == (tmp_path / "out.tsv").read_bytes()


def test_columns_are_chosen_as_easynlp_does(app, source, tmp_path):
    bare = tmp_path / "bare.tsv"
    bare.write_text("".join(f"{n:03}\t{text}\n" for n, text in enumerate(TEXTS)))
    predict_table(app, bare, tmp_path / "out.tsv", schema="sid:int:1,sent:str:1", fields=["sent"], append=["sid"],
                  output=["probabilities", "predictions"], easynlp=True)  # fmt: skip
    lines = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert len(lines) == 40
    assert [cells[2] for cells in lines] == [f"{n:03}" for n in range(40)]  # as it stood there
    assert [cells[1] for cells in lines] == [answer["label"] for answer in app.predict(TEXTS)]


def test_standard_input_and_output(app, source, tmp_path, monkeypatch):
    predict_table(app, source, tmp_path / "out.tsv")
    out = SimpleNamespace(buffer=io.BytesIO())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(source.read_bytes())))
    monkeypatch.setattr(sys, "stdout", out)
    assert predict_table(app, "-", "-", window=8) == 40
    assert out.buffer.getvalue() == (tmp_path / "out.tsv").read_bytes()
    assert left(tmp_path) == []


# However the run ends


def killed(app, folder, rows, window, kills):
    command = [sys.executable, str(PROGRAM), str(app), str(folder), str(rows), str(window), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check_killed(tiny_app, tmp_path, rows, window, kills):
    found = killed(tiny_app, tmp_path, rows, window, kills)
    assert found["struck"] == kills, found
    assert any(0 < done < rows for done in found["done"]), found  # else nothing was resumed
    assert (tmp_path / "killed.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    ids = [row["id"] for row in read_table(tmp_path / "whole.tsv").rows]
    assert ids == [str(number) for number in range(rows)]
    # what a writer killed while it wrote has left is removed by a later writer, a minute on
    assert [path for path in tmp_path.glob("*.part*") if not files.LEFT.fullmatch(path.name)] == []
    assert found["most"] < 1.05 * found["little"] + 20_000, found  # kB, for ten times the rows
    return found


def test_killed_and_begun_again_it_is_the_same(tiny_app, tmp_path):
    check_killed(tiny_app, tmp_path, 4000, 200, 2)


@pytest.mark.slow
def test_a_million_rows_killed_and_begun_again(tiny_app, tmp_path):
    print(check_killed(tiny_app, tmp_path, 1_000_000, 8192, 5))


class Struck(BaseException):
    """As if the process ended here."""


def strike(monkeypatch, owner, name, after):
    """Let the call number `after` of a function end the run instead."""
    real, calls = getattr(owner, name), iter(range(1000))

    def striking(*values, **options):
        if next(calls) == after:
            raise Struck
        return real(*values, **options)

    monkeypatch.setattr(owner, name, striking)


@pytest.mark.parametrize("after", range(9))
@pytest.mark.parametrize(("owner", "name"), [(files, "write_sealed"), (os, "fsync"), (os, "replace")])
def test_there_is_no_bad_moment_to_end(app, source, tmp_path, monkeypatch, owner, name, after):
    predict_table(app, source, tmp_path / "whole.csv", window=11)
    with monkeypatch.context() as patch, pytest.raises(Struck):
        strike(patch, owner, name, after)
        predict_table(app, source, tmp_path / "out.csv", window=11)
        raise Struck  # it had ended before
    if not (tmp_path / "out.csv").exists():
        assert predict_table(app, source, tmp_path / "out.csv", window=11) == 40
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.fixture
def begun(app, source, tmp_path, monkeypatch):
    """Two windows of four are done."""
    with monkeypatch.context() as patch, pytest.raises(Struck):
        strike(patch, parts.Part, "add", 2)
        predict_table(app, source, tmp_path / "out.tsv", window=10)
    assert left(tmp_path) == ["out.tsv.part", "out.tsv.part.json"]
    return tmp_path / "out.tsv"


def test_what_is_done_is_not_done_again(app, source, begun, monkeypatch):
    seen = []
    monkeypatch.setattr(
        type(app), "answers", lambda self, rows, **_: seen.extend(rows) or [np.array([0.5, 0.5])] * len(rows)
    )
    predict_table(app, source, begun, window=10)
    assert len(seen) == 1 + 20  # the first row is asked for the columns


def test_a_wrong_line_is_mended_and_the_run_goes_on(app, source, tmp_path):
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines[:30], "no tabs", *lines[30:]]) + "\n")
    with pytest.raises(DataError, match="line 31: 1 fields, 3 expected"):
        predict_table(app, source, tmp_path / "out.tsv", window=10)
    assert json.loads((tmp_path / "out.tsv.part.json").read_text())["rows"] == 20
    source.write_text("\n".join(lines) + "\n")
    assert predict_table(app, source, tmp_path / "out.tsv", window=10) == 40
    assert [row["text"] for row in read_table(tmp_path / "out.tsv").rows] == TEXTS
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "change", [lambda text: text.replace("film", "FILM", 1), lambda text: "".join(text.splitlines(True)[:15])]
)
def test_other_rows_than_those_that_are_done_are_refused(app, source, begun, change):
    source.write_text(change(source.read_text()))
    with pytest.raises(UsageError, match="was made of other rows than the input has now: remove it"):
        predict_table(app, source, begun, window=10)
    begun.with_name("out.tsv.part").unlink()
    predict_table(app, source, begun, window=10)
    assert [row["text"] for row in read_table(begun).rows] == [row["text"] for row in read_table(source).rows]
    assert left(begun.parent) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part, source: part.write_bytes(part.read_bytes()[:-400]), "altered or cut short"),
        (lambda part, source: part.write_bytes(b"x" + part.read_bytes()[1:]), "altered or cut short"),
        (lambda part, source: (part.with_name("out.tsv.part.json")).unlink(), "cannot be read"),
        (lambda part, source: (part.with_name("out.tsv.part.json")).write_text("{}"), "lacks what"),
    ],
)  # fmt: skip
def test_a_part_that_does_not_fit_is_refused_and_replaced_on_request(app, source, begun, change, message):
    change(begun.with_name("out.tsv.part"), source)
    with pytest.raises(CheckpointError, match=message) as told:
        predict_table(app, source, begun, window=10)
    assert "--replace" in str(told.value)
    assert not begun.exists()
    predict_table(app, source, begun, window=10, replace=True)
    texts = [row["text"] for row in read_table(begun).rows]
    assert texts == [row["text"] for row in read_table(source).rows]
    assert left(begun.parent) == []


def test_a_part_of_other_settings_is_refused(app, source, begun):
    with pytest.raises(UsageError, match="begun with another output"):
        predict_table(app, source, begun, window=10, append=["id"])
    with pytest.raises(UsageError, match="begun with another window"):
        predict_table(app, source, begun, window=11)
    predict_table(app, source, begun, window=10)


def test_bytes_behind_the_last_whole_window_are_cut(app, source, begun, tmp_path):
    with open(begun.with_name("out.tsv.part"), "ab") as stream:
        stream.write(b"half a li")
    predict_table(app, source, begun, window=10)
    predict_table(app, source, tmp_path / "whole.tsv", window=10)
    assert begun.read_bytes() == (tmp_path / "whole.tsv").read_bytes()


def test_a_full_disk_keeps_what_is_done(app, source, tmp_path, monkeypatch):
    real, calls = os.fsync, iter(range(1000))

    def full(handle):
        if next(calls) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LabkitError, match="disk is full"):
            predict_table(app, source, tmp_path / "out.tsv", window=10)
    assert left(tmp_path) == ["out.tsv.part", "out.tsv.part.json"]
    assert predict_table(app, source, tmp_path / "out.tsv", window=10) == 40
    assert [row["text"] for row in read_table(tmp_path / "out.tsv").rows] == TEXTS


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="there is no folder here that root may not write to")
@pytest.mark.parametrize("name", ["answers.tsv", "answers.jsonl.gz"])
def test_a_folder_that_cannot_be_written_to_is_one_clear_error(app, source, name):
    with pytest.raises(LabkitError, match=rf"/sys/kernel/{name}.*: (permission denied|the file system is read-only)"):
        predict_table(app, source, f"/sys/kernel/{name}")


def test_two_runs_do_not_write_one_file(app, source, tmp_path):
    with files.locked(tmp_path / "out.tsv.part.lock"), pytest.raises(LabkitError, match="another run has held"):
        predict_table(app, source, tmp_path / "out.tsv")


# What cannot be right


def test_an_output_that_exists_is_kept_unless_it_is_to_be_replaced(app, source, tmp_path):
    (tmp_path / "out.tsv").write_text("mine")
    with pytest.raises(UsageError, match=r"out\.tsv: is there already.*--replace"):
        predict_table(app, source, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text() == "mine"
    assert predict_table(app, source, tmp_path / "out.tsv", replace=True) == 40
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": ["predictoins"]}, "unknown output of text_classify 'predictoins': did you mean 'predictions'"),
        ({"append": ["ix"]}, "no column 'ix'; it has id, text, label"),
        ({"fields": ["sent"]}, "no column 'sent'; it has id, text, label"),
    ],
)
def test_names_that_are_none_are_refused_before_anything_is_written(app, source, tmp_path, options, message):
    with pytest.raises(LabkitError, match=message):
        predict_table(app, source, tmp_path / "out.tsv", **options)
    assert not (tmp_path / "out.tsv").exists()
    assert left(tmp_path) == []


@pytest.mark.parametrize("data", ["text\nthe film\r\nit was\n", "\ufefftext\nthe film\nit was\n"])
def test_line_ends_and_marks_of_other_systems(app, tmp_path, data):
    (tmp_path / "in.tsv").write_bytes(data.encode())
    assert predict_table(app, tmp_path / "in.tsv", tmp_path / "out.tsv") == 2
    assert [row["text"] for row in read_table(tmp_path / "out.tsv").rows] == ["the film", "it was"]


def test_a_tab_that_the_output_cannot_hold_names_the_row(app, tmp_path):
    (tmp_path / "in.txt").write_text("the film\nthe\tfilm\n")
    with pytest.raises(DataError, match=r"out\.tsv: row 2, column 'text': .*write a \.csv instead"):
        predict_table(app, tmp_path / "in.txt", tmp_path / "out.tsv")
    assert predict_table(app, tmp_path / "in.txt", tmp_path / "out.csv") == 2


def test_a_number_in_place_of_a_text_is_named(app, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "the film"}\n{"text": 3}\n')
    with pytest.raises(DataError, match=r"in\.jsonl: line 2, field 'text': must be text, not 3"):
        predict_table(app, tmp_path / "in.jsonl", tmp_path / "out.jsonl")


def test_the_command_line_goes_on_and_pipes(tiny_app, source, begun, capsysbinary, monkeypatch):
    whole = begun.with_name("whole.csv")
    columns = ["--append-cols", "id", "--output-schema", "predictions"]
    command = ["predict", str(tiny_app), "--input", str(source), *columns]
    assert main([*command, "--output", str(whole)]) == 0
    assert main([*command, "--output", str(whole)]) == 2
    assert b"is there already" in capsysbinary.readouterr().err
    assert main([*command, "--output", str(whole), "--replace"]) == 0
    capsysbinary.readouterr()
    assert main([*command, "--output", "-"]) == 0
    shown = capsysbinary.readouterr()
    assert shown.out.decode().replace("\t", ",") == whole.read_text()
    assert shown.err.endswith(b"labkit: 40 rows\n")


def test_a_window_is_answered_with_little_padding(app, source, tmp_path, monkeypatch):
    """Rows of like length stand together, though their neighbours in the table do not."""
    shapes = []
    real = type(app.method).collate

    def watched(self, rows, rng=None):
        batch = real(self, rows, rng)
        shapes.append(batch["attention_mask"].float().mean().item())
        return batch

    monkeypatch.setattr(type(app.method), "collate", watched)
    monkeypatch.setattr("labkit.apps.prediction.BATCH_TOKENS", 64)
    predict_table(app, source, tmp_path / "out.tsv")
    assert np.mean(shapes[1:]) > 0.8
