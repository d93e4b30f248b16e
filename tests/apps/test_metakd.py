"""Meta-KD through EasyNLP's command: the teacher, the two stages of its student, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from labkit.apps import load_app
from labkit.cli import main
from labkit.compression.meta_kd import TYPICAL, described
from labkit.compression.shrink import shrink
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.tasks import load_task
from labkit.zoo import load

SCHEMA = "guid:str:1,text_a:str:1,label:str:1,domain:str:1,weight:str:1"
DOMAINS = ("books", "dvd")
META = "enable_distillation=True type=metakd"
INSIDE = ("embedding", "hidden", "attention", "transfer")  # the losses of the first stage


def write(path, rows, weight=lambda row: 0.5):
    lines = [f"{at}\t{row['text']}\t{row['label']}\t{row['domain']}\t{weight(row)}" for at, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Reviews of two of Amazon's domains: (train, dev)."""
    folder, task = tmp_path_factory.mktemp("tables"), load_task("world/amazon")
    parts = {"train": 160, "dev": 40}
    return [write(folder / f"{split}.tsv", [row for row in task.splits[split] if row["domain"] in DOMAINS][:count])
            for split, count in parts.items()]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A student's folder: of mini-bert-en's words and heads, smaller."""
    folder = tmp_path_factory.mktemp("small")
    base = load("mini-bert-en")
    shrink(base.model, 1, 40).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def command(tables, out, own, model="mini-bert-en", schema=SCHEMA, epochs=1):
    return ["--mode=train", f"--tables={tables[0]},{tables[1]}", f"--input_schema={schema}", "--first_sequence=text_a",
            "--label_name=label", "--label_enumerate_values=0,1", f"--checkpoint_dir={out}", f"--epoch_num={epochs}",
            "--learning_rate=1e-3", "--sequence_length=64", "--app_name=text_classify",
            f"--user_defined_parameters=\n pretrain_model_name_or_path={model}\n {own}\n"]  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tables, tmp_path_factory):
    out = tmp_path_factory.mktemp("metakd") / "meta_teacher"
    own = f"{META} use_sample_weights=True use_domain_loss=True domain_loss_weight=0.5"
    assert main(command(tables, out, own, epochs=2)) == 0
    return out


def record(folder):
    return json.loads((folder / "train.json").read_text(encoding="utf-8"))


def test_the_teacher_is_an_app_like_any_other_with_its_reader_of_domains_beside(teacher):
    assert record(teacher)["accuracy"] > 0.6 and record(teacher)["settings"]["teacher"]["corruption"] == 0.5
    assert not [name for name in load_app(teacher).model.state_dict() if "domain" in name]
    assert (teacher / "domain_reader.safetensors").is_file()


def test_a_student_learns_in_two_stages_and_ends_as_a_plain_app(teacher, tables, small, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    own = f"{META} teacher_model_path={teacher} domain_loss_weight=0.5 genre=books T=2"
    assert main(command(tables, first, f"{own} distill_stage=first", small, epochs=4)) == 0
    losses = record(first)["losses"]
    assert sum(losses[-5:]) < sum(losses[:5])
    before, after = (shrink(load("mini-bert-en").model, 1, 40), load_app(first).model)
    assert not torch.equal(before.bert.embeddings.word_embeddings.weight, after.bert.embeddings.word_embeddings.weight)
    assert main(command(tables, second, f"{own} distill_stage=second", first, epochs=4)) == 0
    assert record(second)["steps"] == record(first)["steps"] < 4 * 160 / 16  # the rows of one domain alone
    assert {"tinybert_projection", "domain_reader"}.isdisjoint(
        name.split(".")[0] for name in load_app(second).model.state_dict()
    )


@pytest.mark.parametrize(("stage", "without"), [("first", {"prediction"}), ("second", {*INSIDE}), (None, set())])
def test_a_stage_has_its_own_losses(teacher, tables, small, tmp_path, monkeypatch, stage, without):
    from labkit.apps import meta_teaching

    class Stop(Exception):
        pass

    def stop(method, model, temperature, **weights):
        assert {name for name, weight in weights.items() if weight == 0} == without
        raise Stop

    monkeypatch.setattr(meta_teaching, "MetaDistill", stop)
    own = f"{META} teacher_model_path={teacher}" + (f" distill_stage={stage}" if stage else "")
    with pytest.raises(Stop):
        main(command(tables, tmp_path / "out", own, small))


def test_the_tables_weights_decide(tables, small, teacher, tmp_path):
    """A row of weight −1 counts nothing: where those with wrong labels have it, the teacher never hears of them."""
    rows = [row for row in load_task("world/amazon").splits["train"] if row["domain"] in DOMAINS][:160]
    rows = [{**row, "label": 1 - row["label"], "true": row["label"]} if at % 4 else {**row, "true": row["label"]}
            for at, row in enumerate(rows)]  # fmt: skip
    scores = {}
    for name, weight in (("weighed", lambda row: float(row["label"] == row["true"])), ("even", lambda row: 1.0)):
        table = write(tmp_path / f"{name}.tsv", rows, weight)
        assert main(command((table, tables[1]), tmp_path / name, f"{META} use_domain_loss=False", epochs=6)) == 0
        scores[name] = record(tmp_path / name)["accuracy"]
    assert scores["weighed"] > 0.7 and scores["weighed"] > scores["even"] + 0.1, scores


def test_without_a_column_of_weights_the_scores_are_those_of_described(tables, monkeypatch, tmp_path):
    from labkit.apps import meta_teaching

    seen = []

    class Spy(meta_teaching.MetaTeacher):
        def collate(self, rows, rng=None):
            seen.extend(rows)
            return super().collate(rows, rng)

    monkeypatch.setattr(meta_teaching, "MetaTeacher", Spy)
    schema = SCHEMA.replace("weight:str:1", "other:str:1")
    assert main(command(tables, tmp_path / "out", META, schema=schema)) == 0
    rows = [row for row in load_task("world/amazon").splits["train"] if row["domain"] in DOMAINS][:160]
    base = load("mini-bert-en")
    wanted = described(add_head(base.model, 2), HeadClassifier(base.tokenizer, max_length=64), rows)
    found, by_text = ({row["text"]: row[TYPICAL] for row in some} for some in (seen, wanted))
    assert found == pytest.approx(by_text, abs=1e-4) and len(found) == 160


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("genre=books", "genre is a student's: name its teacher's folder with teacher_model_path="),
        ("T=2", "T is a student's"),
        ("teacher_model_path={teacher} distill_stage=third", "unknown distill_stage 'third'"),
        ("teacher_model_path={teacher} genre=book", "unknown genre 'book': did you mean 'books'"),
        ("teacher_model_path={teacher} T=0", "T: must be a number above 0"),
        ("teacher_model_path={small}", "not a meta-teacher's folder"),
        ("domain_loss_weight=-1", "domain_loss_weight: must be at least 0"),
        ("use_sample_weights=yes", "use_sample_weights=yes: True or False is expected"),
        ("alpha=0.2", "unknown parameter of text_classify 'alpha'"),
    ],
)
def test_its_parameters_are_checked(own, message, tables, teacher, small, tmp_path, capsys):
    own = own.format(teacher=teacher, small=small)
    assert main(command(tables, tmp_path / "out", f"{META} {own}")) in (1, 2)
    said = capsys.readouterr().err.splitlines()[-1]
    assert message in said and not (tmp_path / "out/app").exists()


@pytest.mark.parametrize(
    ("schema", "cells", "message"),
    [
        (SCHEMA.replace("domain:", "place:"), "books\t0.5", "no column 'domain': add it to the schema"),
        (SCHEMA, "books\tmuch", "row 1: a prototype score from −1 to 1 is expected, not 'much'"),
        (SCHEMA, "books\tnan", "a prototype score from −1 to 1"),
        (SCHEMA, "\t0.5", "row 1: the column 'domain' is empty"),
        (SCHEMA, "books\t0.5", "two at least"),
    ],
)
def test_tables_that_do_not_fit_are_refused(schema, cells, message, tables, tmp_path, capsys):
    table = tmp_path / "train.tsv"
    table.write_text("".join(f"{at}\ta fine film\t{at % 2}\t{cells}\n" for at in range(20)), encoding="utf-8")
    assert main(command((table, tables[1]), tmp_path / "out", META, schema=schema)) in (1, 2)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_teacher_that_does_not_fit_is_refused(tables, teacher, small, tmp_path, capsys, monkeypatch):
    own = f"{META} teacher_model_path={teacher}"
    swapped = [part.replace("values=0,1", "values=1,0") for part in command(tables, tmp_path / "a", own, small)]
    assert main(swapped) == 2 and "the teacher's labels are 0, 1, the tables' 1, 0" in capsys.readouterr().err
    assert main(command(tables, tmp_path / "b", own, "mini-bert-zh")) == 2
    assert "teacher and student have different vocabularies" in capsys.readouterr().err
    strange = write(tmp_path / "c.tsv", [{"text": "a fine film", "label": at % 2, "domain": "toys"} for at in range(9)])
    assert main(command((strange, tables[1]), tmp_path / "c", own, small)) == 1
    assert "unknown domain of the teacher 'toys'" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(command(tables, tmp_path / "d", own, small)) == 2
    assert "trains in one process" in capsys.readouterr().err


def test_a_reader_that_was_altered_is_refused(tables, teacher, small, tmp_path, capsys):
    import shutil

    copied = shutil.copytree(teacher, tmp_path / "teacher")
    path = copied / "domain_reader.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert main(command(tables, tmp_path / "out", f"{META} teacher_model_path={copied}", small)) == 1
    assert "train the teacher again" in capsys.readouterr().err
