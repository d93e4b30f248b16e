"""EasyNLP's command line, word for word but for the program's name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from sklearn.metrics import accuracy_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from labkit.apps import load_app
from labkit.apps.request import Columns
from labkit.cli import easynlp, easynlp_options, main
from labkit.cli.train import parse_parameters
from labkit.errors import UsageError
from labkit.tasks import load_task
from tests.apps.reviews import write_reviews

SCHEMA = "sent:str:1,label:str:1"
MODEL = "pretrain_model_name_or_path=mini-bert-en"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Reviews of the world without a header: (train, dev)."""
    return write_reviews(tmp_path_factory.mktemp("tables"), train=240, dev=60)


def command(tables, out, *more, parameters=MODEL):
    return ["--mode=train", "--worker_gpu=1", f"--tables={tables[0]},{tables[1]}", f"--input_schema={SCHEMA}",
            "--first_sequence=sent", "--label_name=label", "--label_enumerate_values=0,1", f"--checkpoint_dir={out}",
            "--epoch_num=1", "--sequence_length=128", "--app_name=text_classify", *more,
            f"--user_defined_parameters={parameters}"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tables, tmp_path_factory):
    out = tmp_path_factory.mktemp("easynlp") / "classification_model"
    assert main(command(tables, out, "--learning_rate", "1e-3")) == 0
    return out


def test_the_seeds_command_trains_and_says_what_it_leaves_behind(trained):
    record = json.loads((trained / "train.json").read_text(encoding="utf-8"))
    assert record["accuracy"] > 0.75 and record["rows"] == 60 and record["steps"] == 15
    assert record["settings"]["training"]["lr"] == 1e-3 and record["settings"]["parameters"] == {"max_length": "128"}
    assert record["data"]["splits"]["train"]["rows"] == 240 and record["versions"]["torch"] == torch.__version__
    assert record["command"].startswith("labkit --mode=train")
    assert load_app(trained).card.method["max_length"] == 128


def test_evaluate_gives_the_same_score(trained, tables, capsys):
    record = json.loads((trained / "train.json").read_text(encoding="utf-8"))
    options = ["--mode", "evaluate", "--tables", str(tables[1]), "--input_schema", SCHEMA, "--first_sequence", "sent"]
    assert main([*options, "--label_name", "label", "--checkpoint_path", str(trained)]) == 0
    assert f"{record['accuracy']:.4g}" in capsys.readouterr().out


def test_plain_transformers_reads_the_app_and_answers_the_same(trained):
    app = load_app(trained)
    texts = [row["text"] for row in load_task("world/reviews").splits["test"][:8]]
    model, tokenizer = (kind.from_pretrained(trained / "app") for kind in
                        (AutoModelForSequenceClassification, AutoTokenizer))  # fmt: skip
    with torch.no_grad():
        plain = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1)
    ours = [list(answer["probabilities"].values()) for answer in app.predict(texts)]
    np.testing.assert_allclose(ours, plain.numpy(), atol=1e-5)
    assert model.config.id2label == {0: "0", 1: "1"}


def test_what_does_not_apply_is_named(tables, tmp_path, capsys):
    odd = ["--buckets=x", "--optimizer_type", "SGD", "--data_threads", "4", "--do_lower_case", "--worker_count", "2"]
    assert main(command(tables, tmp_path, *odd, parameters=f"{MODEL}\nenable_fewshot=True type=cpt_fewshot")) == 0
    said = capsys.readouterr().err
    for part in ("--buckets is not used", "--optimizer_type SGD is not used", "--data_threads is not used",
                 "--do_lower_case is not used", "no GPU here, the CPU computes", "started by torchrun"):  # fmt: skip
        assert part in said
    assert load_app(tmp_path).card.method["kind"] == "cp-tuning"


@pytest.mark.parametrize(
    ("pattern", "template"),
    [
        ("sent,it_was,label,.", "{text}it_was{mask}."),
        ("sent,<pseudo>,<pseudo>,label,.", "{text}{soft*1}{soft*1}{mask}."),
    ],
)
def test_few_shot_by_its_parameters(tables, tmp_path, pattern, template, capsys):
    own = f"{MODEL} enable_fewshot=True type=pet_fewshot label_desc=bad,good pattern={pattern}"
    assert main(command(tables, tmp_path, parameters=own)) == 0
    assert "--sequence_length is not used: few-shot methods read 128 tokens" in capsys.readouterr().err
    method = load_app(tmp_path).card.method
    assert method["kind"] == "pet" and method["template"] == template
    assert method["words"] == {"0": ["bad"], "1": ["good"]}


@pytest.mark.parametrize("file", [False, True])
def test_a_student_believes_its_teacher_rather_than_wrong_labels(tables, tmp_path, file):
    """Every label of the table is the wrong one, the teacher knows the right one, and its share is all."""
    rows = [line.split("\t") for line in tables[0].read_text(encoding="utf-8").splitlines()]
    logits = ["-2,2" if label == "1" else "2,-2" for _, label in rows]
    wrong = [f"{text}\t{1 - int(label)}" + ("" if file else f"\t{line}")
             for (text, label), line in zip(rows, logits, strict=True)]  # fmt: skip
    table, lines = tmp_path / "train.tsv", tmp_path / "logits.tsv"
    table.write_text("\n".join(wrong) + "\n", encoding="utf-8")
    lines.write_text("\n".join(logits) + "\n", encoding="utf-8")
    where = f"logits_saved_path={lines}" if file else "logits_name=logits"
    own = f"{MODEL} enable_distillation=True type=vanilla_kd {where} temperature=2 alpha=1"
    options = command((table, table), tmp_path / "student", "--learning_rate=3e-4", "--epoch_num=3", parameters=own)
    if not file:
        options[3] = f"--input_schema={SCHEMA},logits:float:2"
    assert main(options) == 0
    record = json.loads((tmp_path / "student/train.json").read_text(encoding="utf-8"))
    assert record["settings"]["teacher"]["temperature"] == 2 and record["accuracy"] < 0.3  # of wrong labels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode=trian"], "unknown mode 'trian': did you mean 'train'"),
        (["--mode=train", "--tabels=a"], "unknown option '--tabels': did you mean '--tables'"),
        (["--mode=train", "--epoch_num=0"], "--epoch_num: must be a number above 0"),
        (["--mode=train", "--sequence_length", "long"], "--sequence_length: invalid int value: 'long'"),
        (["--mode=train", "--tables"], "--tables: a value is missing"),
        (["--mode=train", "--use_amp=maybe"], "--use_amp: True or False is expected, not 'maybe'"),
        (["--mode=train", "--user_script=x.py"], "labkit runs no scripts"),
        (["--mode=train", "x.tsv"], "unexpected argument 'x.tsv'"),
        (["--mode=train", "--user_defined_parameters=a"], "'a': parameters are KEY=VALUE, each key once"),
        (["--mode=train", "--user_defined_parameters=a=1 a=2"], "'a=2': parameters are KEY=VALUE, each key once"),
        (["--mode=train"], "pretrain_model_name_or_path=NAME is missing"),
        (["--mode=train", f"--user_defined_parameters={MODEL}"], "--input_schema is missing"),
        (["--mode=evaluate", f"--input_schema={SCHEMA}"], "--checkpoint_dir is missing"),
    ],
)
def test_it_refuses_in_one_sentence(options, message, capsys):
    assert main(options) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("enable_fewshot=True type=pet_fewshot label_desc=bad,good", "type=pet_fewshot needs pattern="),
        ("enable_fewshot=True pattern=sent,label", "type=pet_fewshot needs label_desc="),
        ("enable_fewshot=True type=pte_fewshot", "did you mean 'pet_fewshot'"),
        ("enable_fewshot=yes", "enable_fewshot=yes: True or False is expected"),
        ("enable_fewshot=True label_desc=a,b pattern=sent,so", "the word label must stand in it once"),
        ("enable_fewshot=True label_desc=a pattern=sent,label", "1 label words for 2 labels"),
        ("enable_distillation=True temperature=0", "temperature: must be a number above 0"),
        ("enable_distillation=True alpha=much", "alpha: invalid float value: 'much'"),
        ("enable_distillation=True type=meta_kd", "did you mean 'metakd'"),
        ("enable_distillation=True", "no column 'logits' of the teacher's logits"),
        ("multi_label=1", "multi_label=1: True or False is expected"),
        ("colour=red", "unknown parameter of text_classify 'colour'"),
    ],
)
def test_its_parameters_are_checked(tables, tmp_path, own, message, capsys):
    assert main(command(tables, tmp_path / "out", parameters=f"{MODEL} {own}")) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/app").exists()


@pytest.mark.parametrize("name", ["bert-small-uncased", "hfl/macbert-large-zh", "pai-bert-tiny-zh"])
def test_their_model_names_are_known_and_fail_in_one_line_offline(tables, tmp_path, name, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(command(tables, tmp_path / "out", parameters=f"pretrain_model_name_or_path={name}")) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert name in last and "mini-bert-en" in last


def real_tables(folder, name):
    """SST-2 or MRPC without a header, columns in an order of their own: schema, text columns, (train, dev)."""
    rows = {"train": [], "dev": []}
    if name == "sst2":
        for part, lines in rows.items():
            for line in (folder / f"stsa.binary.{part}").read_text(encoding="utf-8").splitlines()[:300]:
                label, text = line.split(" ", 1)
                lines.append((text, label))
        return SCHEMA, ["sent"], rows
    for part, file in (("train", "msr-para-train.tsv"), ("dev", "msr-para-val.tsv")):
        for line in (folder / file).read_text(encoding="utf-8-sig").splitlines()[1:301]:
            label, one, two, first, second = line.split("\t")
            rows[part].append((label, one, two, first, second))
    return "label:str:1,id:str:1,id2:str:1,sent1:str:1,sent2:str:1", ["sent1", "sent2"], rows


@pytest.mark.real
@pytest.mark.parametrize(("name", "application"), [("sst2", "text_classify"), ("mrpc", "text_match")])
def test_real_tables_are_trained_scored_and_answered(real_data, tmp_path, name, application, capsys):
    schema, texts, rows = real_tables(real_data / name, name)
    for part, lines in rows.items():
        (tmp_path / f"{part}.tsv").write_text("\n".join(map("\t".join, lines)) + "\n", encoding="utf-8")
    columns = [f"--input_schema={schema}", f"--first_sequence={texts[0]}"]
    columns += [f"--second_sequence={text}" for text in texts[1:]]
    common = [*columns, f"--app_name={application}", f"--checkpoint_dir={tmp_path / 'model'}"]
    train = ["--mode=train", f"--tables={tmp_path / 'train.tsv'},{tmp_path / 'dev.tsv'}", "--label_name=label"]
    assert main([*train, *common, "--epoch_num=0.5", f"--user_defined_parameters={MODEL}"]) == 0
    record = json.loads((tmp_path / "model/train.json").read_text(encoding="utf-8"))
    asked = ["--mode=predict", f"--tables={tmp_path / 'dev.tsv'}", f"--outputs={tmp_path / 'answers.tsv'}"]
    assert main([*asked, *common, "--output_schema=predictions", "--append_cols=label"]) == 0
    lines = (tmp_path / "answers.tsv").read_text(encoding="utf-8").splitlines()
    predicted, labels = zip(*(line.split("\t") for line in lines), strict=True)
    assert list(labels) == [row[-1 if name == "sst2" else 0] for row in rows["dev"]]
    assert accuracy_score(labels, predicted) == pytest.approx(record["accuracy"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "own", "application"),
    [("text_classify", "multi_label=True", "text_classify_multi_label"), ("text_match", "two_tower=True",
     "text_match_two_tower"), ("text_match", "", "text_match"), ("vectorization", "", "vectorization")],
)  # fmt: skip
def test_switches_choose_the_application(name, own, application):
    assert easynlp._application({"app_name": name}, parse_parameters(own.split())) == application


def test_readings_question_comes_first_there_and_its_columns_have_names_of_their_own(tmp_path, capsys):
    lines = ["q1\twho?\tan ox and a cat\tcat\t12", "q2\twhat?\tan ox\tox\t3"]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    schema = "qas_id:str:1,question_text:str:1,context_text:str:1,answer_text:str:1,begin:int:1"
    own = "answer_name=answer_text start_position_name=begin qas_id=qas_id doc_stride=16 max_query_length=8"
    options = ["--app_name=machine_reading_comprehension", f"--tables={tmp_path / 'train.tsv'}",
               f"--input_schema={schema}", "--first_sequence=question_text",
               "--second_sequence=context_text", "--epoch_num=1"]  # fmt: skip
    out = tmp_path / "model"
    assert main([*options, f"--checkpoint_dir={out}", f"--user_defined_parameters={MODEL} {own}"]) == 0
    assert "qas_id is not used: name its column in --append_cols" in capsys.readouterr().err
    card = load_app(out).card
    assert card.columns == ("context_text", "question_text") and card.method["doc_stride"] == 16


KEYS = some.text(alphabet="abcxyz_", min_size=1, max_size=8)
VALUES = some.text(alphabet="ab1,=<>.，。用", min_size=1, max_size=12)


@given(pairs=some.dictionaries(KEYS, VALUES, max_size=6), blank=some.sampled_from([" ", "\n", "  ", "\r\n", "\t"]))
def test_parameters_survive_any_blank(pairs, blank):
    assert parse_parameters(blank.join(f"{key}={value}" for key, value in pairs.items()).split()) == pairs


@given(values=some.dictionaries(some.sampled_from(easynlp_options.TEXTS), VALUES, min_size=1), joined=some.booleans())
def test_options_in_both_forms(values, joined):
    argv = [part for name, value in values.items()
            for part in ([f"--{name}={value}"] if joined else [f"--{name}", value])]  # fmt: skip
    assert easynlp_options.parse(argv) == values


def test_patterns_are_text_but_for_names():
    pair = Columns(fields=("s1", "s2"))
    assert easynlp.pattern_of("s1,{x},label,s2", pair) == "{text_a}{{x}}{mask}{text_b}"
    with pytest.raises(UsageError, match="name the text columns"):
        easynlp.pattern_of("s1,label", Columns())
