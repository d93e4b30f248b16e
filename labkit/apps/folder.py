"""A finished model as an *app*: a folder to hand on, load again, put behind a page, or run over a file.

The folder is what `save_pretrained` writes, plus `labkit.json`, which says how a text becomes an answer (method,
fields, labels) and holds the SHA-256 of every file, and one of itself. Loading checks them all first. Only safetensors
and JSON are read; nothing in the folder is ever run.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import labkit
from labkit import evaluation, files
from labkit.apps import catalogue
from labkit.checkpoints import reading
from labkit.compression import exporting
from labkit.config import strict, to_dict
from labkit.errors import CheckpointError, DataError, UsageError, unknown
from labkit.fewshot.describing import KINDS, describe, restore
from labkit.foundations.heads import EncoderClassifier
from labkit.foundations.quantised import is_quantised
from labkit.tasks import Task
from labkit.tasks.text import check_whole
from labkit.zoo.folders import PLAINLY, check_loaded, check_tokenizer, read_config, weight_files

Input = str | Sequence[str] | Mapping[str, Any]
FORMAT = 1
CARD = files.MANIFEST
WEIGHTS = {
    None: "floating point", "cut": "floating point, some heads or neurons gone", "int8": "int8 by rows",
    "ternary": "ternary, two bits each", "binary": "binary, a bit each",
}  # fmt: skip
AGAIN = "copy the app again, or save it again"


@dataclass(frozen=True)
class Card:
    """The contents of `labkit.json`."""

    format: int
    labkit: str  # version that wrote it
    task: str
    language: str
    fields: tuple[str, ...]
    labels: tuple[str, ...]
    architecture: str  # EncoderClassifier, or a class of transformers
    method: dict  # {"kind": "pet", …}: what `from_description` needs
    metrics: dict
    quantised: str | None  # "int8", "ternary", "binary"; "cut" where numbers of other sizes; None for a plain model
    examples: list  # rows to try
    files: dict  # name -> SHA-256
    application: str = "text_classify"  # a name of APPLICATIONS
    columns: tuple[str, ...] = ()  # what the tables it was trained on call the fields, where that is otherwise


@dataclass(frozen=True)
class App:
    """A loaded model with all that an answer takes."""

    card: Card
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    method: Any

    @classmethod
    def of(cls, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, method: Any, task: Task) -> App:
        """What was just trained for application `name`, before it is saved."""
        card = Card(
            format=FORMAT, labkit=labkit.__version__, task=task.title, language=task.language, fields=task.fields,
            labels=task.labels, architecture=type(model).__name__, method={}, metrics={}, quantised=None, examples=[],
            files={}, application=name,
        )  # fmt: skip
        return cls(card, model, tokenizer, method)

    def predict(
        self, inputs: str | Iterable[Input], *, batch_size: int = 64, progress: bool | None = False
    ) -> list[dict[str, Any]]:
        """An answer to each input, a text, several, or a row of the fields, as `shown` gives it.

        Raises DataError naming the input that lacks a field or is no text.
        """
        items = [inputs] if isinstance(inputs, str) else inputs
        rows = [self.row(item, number) for number, item in enumerate(items, start=1)]
        return [self.shown(answer) for answer in self.answers(rows, batch_size=batch_size, progress=progress)]

    @property
    def kind(self) -> str | None:
        """What an answer is, of `labkit.tasks.task.ANSWERS`; None for what is no label of anything."""
        return catalogue.application(self.card.application).answer

    @property
    def view(self) -> str:
        """How a page shows an answer: the application's own way, or that of the kind."""
        return catalogue.application(self.card.application).view or str(self.kind)

    def answers(self, rows: Sequence[Mapping[str, Any]], **options: Any) -> list[Any]:
        """The method's answers to rows of the app's fields, as `labkit.evaluation.answers`, whose options it takes."""
        return evaluation.answers(self.model, self.method, rows, **{"progress": False, **options}) if rows else []

    def shown(self, answer: Any) -> Any:
        """An answer in plain JSON values: of classes `{"label": name, "probabilities": {name: p}}`."""
        if self.kind != "class":
            return _plain_values(answer)
        found = dict(zip(self.card.labels, answer.tolist(), strict=True))
        return {"label": max(found, key=found.__getitem__), "probabilities": found}

    def cells(self, answer: Any) -> dict[str, str]:
        """An answer as the cells of a table, by the names that `--output_schema` may ask for."""
        return catalogue.application(self.card.application).cells(answer, self.card.labels)

    def row(self, item: Any, number: int) -> dict[str, str]:
        """Input `number` (for errors) as a row: a text, texts in the order of the fields, or a mapping."""
        fields = self.card.fields
        if isinstance(item, str):
            item = (item,)
        if not isinstance(item, Mapping):
            given = len(item) if isinstance(item, Sequence) else 0
            if given != len(fields):
                raise DataError(f"input {number}: {given} texts given, {len(fields)} needed: {', '.join(fields)}")
            item = dict(zip(fields, item, strict=True))
        for field in fields:
            if not isinstance(item.get(field), str):
                raise DataError(f"input {number}: field {field!r} must be text, not {item.get(field)!r:.60}")
            check_whole(item[field], f"input {number}: field {field!r}")
        return {field: item[field] for field in fields}


def _plain_values(value: Any) -> Any:
    """Arrays and tensors in it as lists of numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain_values(one) for name, one in value.items()}
    return [_plain_values(one) for one in value] if isinstance(value, list | tuple) else value


def save_app(
    folder: str | os.PathLike[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    method: Any,
    task: Task,
    *,
    metrics: Mapping[str, float] | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
    application: str = "text_classify",
) -> Path:
    """Write the app whole or not at all, replacing what stood at `folder`; returns its path.

    `metrics` is shown in the model card, `examples` (rows) on the page. A compressed model is
    recognised, and saved in its form and sizes.
    Raises UsageError for a method that cannot be saved and a model that carries a delta or a prompt, LabkitError where
    the system refuses.
    """
    target = Path(folder)
    described = describe(method)
    _check_plain(model)
    compressed = exporting.describe(model)
    quantised = None if compressed is None else compressed["form"] or "cut"
    with files.writing_folder(target) as temporary:
        if compressed:
            exporting.save(model, temporary)
        else:
            model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        card = Card(
            format=FORMAT, labkit=labkit.__version__, task=task.title, language=task.language,
            fields=tuple(task.fields), labels=tuple(task.labels), architecture=type(model).__name__,
            method=described, metrics=dict(metrics or {}), quantised=quantised,
            examples=[{field: row[field] for field in task.fields} for row in examples],
            files={file.name: files.sha256(file) for file in sorted(temporary.iterdir())}, application=application,
            columns=tuple(task.columns),
        )  # fmt: skip
        files.write_sealed(temporary / CARD, to_dict(card))
        files.write_text(temporary / "README.md", model_card(card))
    return target


def _check_plain(model: PreTrainedModel) -> None:
    """UsageError for tensors that the model's class has no place for: nobody could load them."""
    with torch.device("meta"):  # every name, no memory
        own = type(model)(copy.deepcopy(model.config)).state_dict()
    for name in model.state_dict():
        if name not in own and not is_quantised(model.get_submodule(name.rpartition(".")[0])):
            what = f"the model carries {name!r}, which an app, a plain {type(model).__name__}, cannot hold"
            raise UsageError(f"{what}: merge or detach the delta or prompt first, or fold_soft_tokens(model)")


def model_card(card: Card) -> str:
    """The README.md of an app: front matter as the hub reads it, then what it does, how well, and how to load it."""
    chosen, language = catalogue.application(card.application), json.dumps(card.language, ensure_ascii=False)
    lines = ["---", "library_name: transformers", f"pipeline_tag: {chosen.hub}", f"language: {language}"]
    lines += ["tags: [labkit]", "---", ""]
    lines += ["# " + _plain(card.task) + (f": {', '.join(map(_plain, card.labels))}" if card.labels else ""), ""]
    lines += [f"{_plain(chosen.name)}: {chosen.about}. Reads {' and '.join(map(_plain, card.fields))}.", ""]
    lines += ["| | |", "|---|---|", f"| method | {card.method['kind']} on {card.architecture} |"]
    lines += [f"| weights | {WEIGHTS[card.quantised]} |"]
    lines += [f"| {_plain(name)} | {value} |" for name, value in card.metrics.items()]
    call = f'load_app("this/folder").predict([{", ".join(repr("a text") for _ in card.fields)}])'
    lines += ["", "```python", "from labkit.apps import load_app", "", call, "```", ""]
    if card.quantised:
        lines += [f"The weights are {WEIGHTS[card.quantised]}: labkit loads them, plain transformers does not.", ""]
    else:
        name, what = (
            ("AutoModel", "its encoder") if card.architecture == "EncoderClassifier" else (card.architecture, "it")
        )
        lines += [f"Plain transformers loads {what} too: `{name}.from_pretrained(folder)`.", ""]
    return "\n".join(lines + [f"Made with labkit {card.labkit}.", ""])


def _plain(text: object) -> str:
    """Text that Markdown shows as it is: no markup, no link or name of its own making, no table cell, one line."""
    shown = " ".join(str(text).split())
    return re.sub(r"[\\`*_\[\]|<>#&!~$:@]|(?<=www)\.", lambda found: f"&#{ord(found[0])};", shown, flags=re.IGNORECASE)


def load_app(folder: str | os.PathLike[str]) -> App:
    """Check every file of an app against its manifest, then load it, on the CPU, in evaluation mode.

    Of the folder of a training it is the app in it.

    Raises CheckpointError for what is missing, altered, unknown, of another format, or cannot answer.
    """
    where = Path(folder)
    if not (where / CARD).is_file() and (where / "app" / CARD).is_file():
        where = where / "app"
    card = read_card(where)
    files.verify(where, card.files, AGAIN, own=CARD)
    with reading(where, AGAIN):
        tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=True, trust_remote_code=False)
        model = _load_model(where, card)
        check_tokenizer(where, tokenizer, model)
        app = App(card, model.eval(), tokenizer, restore(card.method, tokenizer))
        _try(app, where)
    return app


def _try(app: App, folder: Path) -> None:
    """Answer once, so that an app that cannot is found out when it is loaded."""
    examples = app.card.examples
    try:
        app.predict(examples or [dict.fromkeys(app.card.fields, "a")])
    except DataError as error:
        if examples:  # else it is of the text: a method may ask for more than a word
            raise CheckpointError(f"{folder / CARD}: an example of its own is refused: {error}; {AGAIN}") from error


def read_card(folder: Path) -> Card:
    """The app's `labkit.json`; CheckpointError where it is missing, broken or of another format."""
    path = folder / CARD
    if not folder.exists():
        files.sweep(folder.parent)  # a writer that was killed may have moved it away
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {CARD} there: not an app; `labkit train` and `labkit pipeline` make one")
    values = files.read_json(path, AGAIN)
    if values.get("format") != FORMAT:
        found = f"{values.get('format')!r:.60}"
        raise CheckpointError(f"{path}: format {found}, this labkit reads {FORMAT}; use the labkit that wrote it")
    missing = {field.name for field in dataclasses.fields(Card) if field.default is dataclasses.MISSING} - set(values)
    if missing:
        raise CheckpointError(f"{path}: lacks {', '.join(sorted(missing))}; save the app again")
    try:
        card = strict(Card, values, where=str(path))
    except UsageError as error:
        raise CheckpointError(str(error)) from error
    for what, name, known in (
        ("method", str(card.method.get("kind")), KINDS), ("application", card.application, catalogue.APPLICATIONS),
    ):  # fmt: skip
        if name not in known:
            raise CheckpointError(f"{path}: {unknown(what, name, known)}")
    return card


def _load_model(folder: Path, card: Card) -> PreTrainedModel:
    own = card.architecture == EncoderClassifier.__name__
    cls = EncoderClassifier if own else getattr(transformers, card.architecture, None)
    if not (isinstance(cls, type) and issubclass(cls, PreTrainedModel)):
        raise CheckpointError(f"{folder / CARD}: {card.architecture!r} is not a model of transformers")
    if card.quantised not in (None, "cut", *exporting.FORMS):
        known = ", ".join(exporting.FORMS)
        raise CheckpointError(f"{folder / CARD}: quantised as {card.quantised!r}; this labkit knows {known}")
    own_file = [folder / f"{card.quantised}.safetensors"] if card.quantised else weight_files(folder)
    config = read_config(folder, cls, own_file)
    if card.quantised:
        return exporting.load(cls, config, folder)
    model, facts = cls.from_pretrained(folder, config=config, local_files_only=True, **PLAINLY)
    check_loaded(folder, model, facts, whole=True)
    return model
