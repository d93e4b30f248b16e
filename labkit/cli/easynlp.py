"""EasyNLP's command line with only the program's name changed: `labkit --mode=train --app_name=text_classify …`.

Options are `--name=value` or `--name value`. Each either does what it does there, or is named in a warning with the
reason why it does not apply; an unknown one is an error that offers the nearest. Where an option is not given, labkit's
own default counts, not EasyNLP's.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.cli.easynlp_options import IGNORED, KNOWN, name_of, number, parse
from labkit.cli.parser import progress, show, tell
from labkit.cli.train import parse_parameters, run
from labkit.config import AMOUNT, RATE, names
from labkit.errors import UsageError, unknown

MODES = ("train", "evaluate", "predict")
MODEL = "pretrain_model_name_or_path"
SWITCHES = ("multi_label", "two_tower", "enable_fewshot", "enable_distillation")
FEWSHOT = ("type", "pattern", "label_desc")
TAUGHT = {
    "vanilla_kd": ("type", "logits_name", "logits_saved_path", "temperature", "alpha"),
    "metakd": ("type", "domain_loss_weight", "use_sample_weights", "use_domain_loss", "teacher_model_path",
               "distill_stage", "genre", "T"),
}  # fmt: skip
LEARNERS = ("distill_stage", "genre", "T")  # of a student, which has a teacher
PSEUDO = "<pseudo>"
READING = "machine_reading_comprehension"
READING_UNUSED = {"qas_id": "name its column in --append_cols", "output_answer_file": "--outputs is the file"}


def is_easynlp(argv: Sequence[str]) -> bool:
    """Whether a command line is EasyNLP's: options without a command, one of them its own."""
    return bool(argv) and argv[0].startswith("--") and name_of(argv[0]) in KNOWN


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # once, of however many processes
        tell(text)


def main(argv: Sequence[str]) -> None:
    """Do what EasyNLP's command would."""
    given = parse(argv)
    mode = given.get("mode", "train")
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    for name in given:
        if name in IGNORED:
            _say(f"--{name} is not used: {IGNORED[name]}")
    if given.get("optimizer_type", "AdamW").lower() != "adamw":
        _say(f"--optimizer_type {given['optimizer_type']} is not used: labkit trains with AdamW")
    own = parse_parameters(given.get("user_defined_parameters", "").split())
    if mode == "train":
        run(_request(given, own), shlex.join(["labkit", *argv]))
    elif mode == "evaluate":
        _evaluate(given, own)
    else:
        _predict(given, own)


def _columns(given: Mapping[str, Any], own: Mapping[str, str]) -> Any:
    from labkit.apps.request import Columns, parse_labels

    if "input_schema" not in given:
        raise UsageError("--input_schema is missing: it names the tables' columns, as in sent:str:1,label:str:1")
    labels, texts = given.get("label_enumerate_values"), [given.get("first_sequence"), given.get("second_sequence")]
    if given.get("app_name") == READING:
        texts.reverse()  # the question comes first there, the text here
    return Columns(
        schema=given["input_schema"], header=bool(given.get("skip_first_line")),
        fields=tuple(filter(None, texts)) or None,
        label=given.get("label_name") or own.get("answer_name") or "label",
        labels=parse_labels(labels) if labels else None, start=own.get("start_position_name", "start"),
    )  # fmt: skip


def _required(given: Mapping[str, Any], name: str, what: str) -> Any:
    if not given.get(name):
        raise UsageError(f"--{name} is missing: {what}")
    return given[name]


def _request(given: Mapping[str, Any], own: Mapping[str, str]) -> Any:
    """The training that is asked for, as `labkit train` would ask for it."""
    from labkit.apps.request import Request

    if MODEL not in own:
        raise UsageError(f"--user_defined_parameters: {MODEL}=NAME is missing: which model to start from; `labkit zoo "
                         "list` shows those that are here")  # fmt: skip
    columns = _columns(given, own)
    few = _switch(own, "enable_fewshot")
    method, pattern, words = _few_shot(own, columns) if few else (None, None, None)
    return Request(
        application=_application(given, own), data=_required(given, "tables", "train.tsv,dev.tsv"), columns=columns,
        model=_model(own[MODEL]), method=method, pattern=pattern, words=words, teacher=_teacher(own),
        parameters=_left(given, own, few), training=_training(given),
        batch_size=given.get("micro_batch_size", 16), test_rows=10**9,
        out=_required(given, "checkpoint_dir", "the folder to write"),
        resume=given.get("resume_from_checkpoint", False),
    )  # fmt: skip


def _model(name: str) -> str:
    """The model's name; of the folder of a training, the app in it."""
    app = os.path.join(name, "app")
    return app if os.path.isfile(os.path.join(app, "config.json")) else name


def _teacher(own: Mapping[str, str]) -> Any:
    """How the student is taught, or that a meta-teacher is trained; None where distillation is off."""
    from labkit.apps.meta_teaching import STAGES, MetaKD
    from labkit.apps.teaching import Teacher

    if (kind := _distillation(own)) is None:
        return None
    if kind == "vanilla_kd":
        temperature, alpha = (_number(own, *one) for one in (("temperature", "1", RATE), ("alpha", "0.5", AMOUNT)))
        return Teacher(own.get("logits_name", "logits"), own.get("logits_saved_path"), temperature, alpha)
    teacher, stage = own.get("teacher_model_path"), own.get("distill_stage")
    for name in LEARNERS if teacher is None else ():
        if name in own:
            raise UsageError(f"--user_defined_parameters: {name} is a student's: name its teacher's folder with "
                             "teacher_model_path=")  # fmt: skip
    if stage is not None and stage not in STAGES:
        raise unknown("distill_stage", stage, STAGES)
    corruption = _number(own, "domain_loss_weight", "0.5", AMOUNT) if _switch(own, "use_domain_loss", "True") else 0.0
    return MetaKD(
        teacher, stage, own.get("genre", "all"), corruption=corruption, temperature=_number(own, "T", "1", RATE),
        weighted=_switch(own, "use_sample_weights", "True"),
    )  # fmt: skip


def _distillation(own: Mapping[str, str]) -> str | None:
    """A key of TAUGHT; None where distillation is off."""
    if not _switch(own, "enable_distillation"):
        return None
    kind = own.get("type", "vanilla_kd")
    if kind not in TAUGHT:
        raise unknown("type of distillation", kind, TAUGHT)
    return kind


def _number(own: Mapping[str, str], name: str, usual: str, kind: Any) -> Any:
    return number(name, own.get(name, usual), kind)


def _training(given: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    if given.get("worker_gpu", 0) > 0 and not torch.cuda.is_available():
        _say("--worker_gpu: there is no GPU here, the CPU computes")
    if given.get("worker_count", 1) > 1 or given.get("worker_gpu", 1) > 1:
        _say("several workers are started by torchrun: torchrun --nproc_per_node N -m labkit --mode=train …")
    same = {"random_seed": "seed", "learning_rate": "lr", "weight_decay": "weight_decay", "max_grad_norm": "clip",
            "warmup_proportion": "warmup", "gradient_accumulation_steps": "accumulate",
            "save_checkpoint_steps": "save_every"}  # fmt: skip
    found = {ours: given[theirs] for theirs, ours in same.items() if theirs in given}
    cpu = given.get("worker_gpu", -1) == 0
    return found | {"epochs": given.get("epoch_num", 3.0), "precision": "auto" if given.get("use_amp") else "fp32",
                    "device": "cpu" if cpu else "auto"}  # fmt: skip


def _application(given: Mapping[str, Any], own: Mapping[str, str]) -> str:
    name = given.get("app_name", "text_classify")
    if name == "text_classify" and _switch(own, "multi_label"):
        return "text_classify_multi_label"
    if name == "text_match" and _switch(own, "two_tower"):
        return "text_match_two_tower"
    return name


def _switch(own: Mapping[str, str], name: str, usual: str = "False") -> bool:
    value = own.get(name, usual)
    if value.lower() not in ("true", "false"):
        raise UsageError(f"--user_defined_parameters: {name}={value[:40]}: True or False is expected")
    return value.lower() == "true"


def _left(given: Mapping[str, Any], own: Mapping[str, str], few: bool) -> dict[str, str]:
    """The application's own parameters: what is neither the model, a switch, a column, nor of a switch that is on."""
    from labkit.apps.catalogue import application

    taken = {MODEL, *SWITCHES, *(FEWSHOT if few else ()), *TAUGHT.get(_distillation(own), ())}
    if given.get("app_name") == READING:
        taken |= {"answer_name", "start_position_name", *READING_UNUSED}
        for name in READING_UNUSED:
            if name in own:
                _say(f"{name} is not used: {READING_UNUSED[name]}")
    left = {key: value for key, value in own.items() if key not in taken}
    if "sequence_length" not in given:
        return left
    if few or "max_length" not in application(_application(given, own)).parameters:
        _say("--sequence_length is not used: " + ("few-shot methods read 128 tokens" if few else "see `labkit apps`"))
        return left
    return {"max_length": str(given["sequence_length"])} | left


def _few_shot(own: Mapping[str, str], columns: Any) -> tuple[str, str | None, tuple[str, ...] | None]:
    """labkit's method, pattern and label words for EasyNLP's few-shot parameters."""
    kind = own.get("type", "pet_fewshot")
    if kind not in ("pet_fewshot", "cpt_fewshot"):
        raise unknown("type of few-shot learning", kind, ["pet_fewshot", "cpt_fewshot"])
    if kind == "cpt_fewshot":
        return "CP-Tuning", None, None
    for name, what in (("pattern", "the cloze, as sent,label,…"), ("label_desc", "one word for each label")):
        if not own.get(name):
            raise UsageError(f"--user_defined_parameters: type=pet_fewshot needs {name}=: {what}")
    text = pattern_of(own["pattern"], columns)
    return "P-tuning" if PSEUDO in own["pattern"] else "PET", text, tuple(own["label_desc"].split(","))


def pattern_of(text: str, columns: Any) -> str:
    """labkit's template for EasyNLP's pattern: parts between commas are columns' names, `label`, `<pseudo>`, or words.

    >>> from labkit.apps.request import Columns
    >>> pattern_of("s1,label,用,s2,概括。", Columns(fields=("s1", "s2")))
    '{text_a}{mask}用{text_b}概括。'
    """
    from labkit.tasks.from_tables import field_names

    if columns.fields is None:
        raise UsageError("pattern: name the text columns with --first_sequence (and --second_sequence)")
    fields = dict(zip(columns.fields, field_names(columns.fields), strict=True))
    blanks = ("label", columns.label)
    made = []
    for part in re.split(rf"({PSEUDO})|,", text):
        if part is None or not part:
            continue
        escaped = part.replace("{", "{{").replace("}", "}}")
        soft = "{soft*1}" if part == PSEUDO else escaped
        made.append("{" + fields[part] + "}" if part in fields else "{mask}" if part in blanks else soft)
    if made.count("{mask}") != 1:
        raise UsageError(f"pattern {text[:80]!r}: the word label must stand in it once, where the blank is")
    return "".join(made)


def _evaluate(given: Mapping[str, Any], own: Mapping[str, str]) -> None:
    from labkit.apps.running import evaluate

    folder = _required(given, "checkpoint_dir", "the folder of the training")
    show([evaluate(folder, _required(given, "tables", "dev.tsv"), _columns(given, own))], as_json=False)


def _predict(given: Mapping[str, Any], own: Mapping[str, str]) -> None:
    from labkit.apps import load_app, predict_table

    columns = _columns(given, own)
    if given.get("checkpoint_dir") or MODEL not in own:
        app = load_app(_required(given, "checkpoint_dir", "the folder of the training"))
    else:
        app = _untrained(given, own)
    if columns.fields and len(columns.fields) != len(app.card.fields):
        raise UsageError(f"{len(columns.fields)} text columns are named, the app reads {len(app.card.fields)}: name "
                         "them with --first_sequence (and --second_sequence)")  # fmt: skip
    target = _required(given, "outputs", "the table to write")
    output, append = (names(given.get(name, "")) for name in ("output_schema", "append_cols"))
    count = predict_table(
        app, _required(given, "tables", "the table to read"), target, schema=columns.schema, header=columns.header,
        fields=columns.fields, output=output or None, append=append, easynlp=True, progress=progress(),
    )  # fmt: skip
    show([{"rows": count, "output": target}], as_json=False)


def _untrained(given: Mapping[str, Any], own: Mapping[str, str]) -> Any:
    """An application that needs no training, on the model that the parameters name."""
    from labkit.apps import App
    from labkit.apps.request import Here, Request
    from labkit.apps.running import prepared

    request = Request(application=_application(given, own), model=own[MODEL],
                      parameters=_left(given, own, False))  # fmt: skip
    task, base, adapted = prepared(request, Here())
    if hasattr(adapted.method, "loss"):
        raise UsageError(f"--checkpoint_dir is missing: {request.application} must be trained before it predicts")
    return App.of(request.application, adapted.model.eval(), base.tokenizer, adapted.method, task)
