"""Data sets of the Hugging Face hub and what is shaped like them: a `Dataset`, a `DatasetDict`, an iterator of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labkit.errors import DataError, LabkitError, UsageError, unknown
from labkit.tasks.from_tables import choose_fields, field_names, guess_language
from labkit.tasks.labels import LabelIndex, Labels, label_name
from labkit.tasks.rows import Row, finish_splits, join_notes, majority
from labkit.tasks.tables import Column
from labkit.tasks.task import Task

SPLIT_NAMES = {
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "validation_matched": "dev",
    "test_matched": "test",
    "unsupervised": "unlabelled",
    "unlabeled": "unlabelled",
}
KEPT_BACK = "-1"  # the hub's sign for a label that is not told


def hub_task(spec: str, **options: Any) -> Task:
    """`hub:OWNER/NAME` or `hub:OWNER/NAME:CONFIG` through `datasets.load_dataset`, or a local folder of files.

    Raises LabkitError where neither the network nor the cache has it; options as in `from_datasets`.
    """
    import datasets

    path, _, config = spec.partition(":")
    try:
        data = datasets.load_dataset(path, *([config] if config else []))
    # what a missing network raises depends on the client library, so anything but a programming error lands here
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise LabkitError(
            f"hub:{spec} could not be loaded ({reason}). It needs the network the first time; without one, "
            "give a local folder (hub:FOLDER) or tables (table:train.tsv,dev.tsv)"
        ) from error
    return from_datasets(data, name=f"hub:{spec}", **options)


def from_datasets(
    data: Any,
    *,
    name: str = "dataset",
    fields: Sequence[str] | None = None,
    label: str = "label",
    labels: Labels = None,
) -> Task:
    """A task from a `datasets.Dataset` (all "train"), a mapping of split names to rows, or an iterator of dictionaries.

    `fields` are the text columns; found by themselves where the data declares its columns, so an iterator needs them.
    Label names come from `labels`, else from a ClassLabel column or the values in "train". -1 is a label that is kept
    back, unless `labels` names it, or it stands among others in "train" and nothing declares them. A test split without
    any label becomes "submission"; the note counts the rows without one elsewhere. Raises UsageError and DataError.
    """
    parts = dict(data) if isinstance(data, Mapping) else {"train": data}
    features = getattr(next(iter(parts.values()), None), "features", None)
    texts = _texts(features, fields, label, name)
    renamed = dict(zip(texts, field_names(texts), strict=True))
    raw = {SPLIT_NAMES.get(split, split): _rows(rows, split, name) for split, rows in parts.items()}
    if labels is None and hasattr((features or {}).get(label), "names"):
        labels = dict(enumerate(features[label].names))  # type: ignore[index]
    values = [row.get(label) for row in raw.get("train", [])]
    index = LabelIndex(values if {*map(label_name, values)} - {KEPT_BACK, None} else (), labels)
    splits = {}
    for split, rows in raw.items():
        where = f"{name}: split {split!r}, row"
        splits[split] = [_row(row, renamed, label, index, f"{where} {at}") for at, row in enumerate(rows, start=1)]
    if splits.get("test") and all(row["label"] is None for row in splits["test"]):
        splits["submission"] = splits.pop("test")
    done, notes = finish_splits(splits, tuple(renamed.values()))
    notes += _said_of_labels(done, index, labels)
    return Task(
        name=name,
        fields=tuple(renamed.values()),
        labels=index.names,
        splits=done,
        language=guess_language(next(iter(done.values()), []), tuple(renamed.values())),
        chance=majority(done.get("test", done.get("train", []))),
        note=join_notes(notes),
    )


def _said_of_labels(splits: Mapping[str, Sequence[Row]], index: LabelIndex, labels: Labels) -> list[str]:
    """How many rows have no label, whether -1 is one, and what `index` has to say."""
    notes = []
    for split in ("train", "dev", "test"):
        if none := sum(row["label"] is None for row in splits.get(split, [])):
            notes.append(f"{none} of {len(splits[split])} {split} rows have no label")
    if labels is None and KEPT_BACK in index:
        notes.append("-1 is read as a label; labels=… without it leaves those rows unlabelled")
    return [*notes, index.note()]


def _texts(features: Mapping[str, Any] | None, fields: Sequence[str] | None, label: str, name: str) -> list[str]:
    if fields is not None:
        return [fields] if isinstance(fields, str) else list(fields)
    if features is None:
        raise UsageError(f"{name}: rows without declared columns need fields=('…',), the names of their texts")
    kinds = {column: getattr(kind, "dtype", "") for column, kind in features.items()}
    texts = ("string", "large_string")
    columns = [Column(column, "str" if kind in texts else kind) for column, kind in kinds.items()]
    return choose_fields(columns, None, label, name)


def _rows(rows: Iterable[Mapping[str, Any]], split: str, name: str) -> list[Mapping[str, Any]]:
    listed = list(rows)
    for number, row in enumerate(listed, start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}: split {split!r}, row {number}: a row must be a mapping, not {type(row).__name__}")
    if not listed:
        raise DataError(f"{name}: split {split!r} is empty")
    return listed


def _row(raw: Mapping[str, Any], renamed: Mapping[str, str], label: str, index: LabelIndex, where: str) -> Row:
    for old in renamed:
        if old not in raw:
            raise DataError(f"{where}: missing column: {unknown('column', old, raw)}")
        if not isinstance(raw[old], str):
            raise DataError(f"{where}: field {old!r} must be a text; it holds {raw[old]!r:.60}")
    row: Row = {new: raw[old] for old, new in renamed.items()}
    value = raw.get(label)
    told = KEPT_BACK in index or value not in (-1, KEPT_BACK)
    row["label"] = index.index(value, f"{where}, field {label!r}") if told else None
    for key, extra in raw.items():
        if key not in renamed and key != label:
            row.setdefault(key, extra)
    return row
