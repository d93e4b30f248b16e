"""FewCLUE's nine Chinese few-shot tasks (Xu et al. 2021, arXiv 2107.07498), read from the files as they are published.

A folder holds train_0..4.json, dev_0..4.json, test_public.json, test.json (no labels: split "submission", original row
under "raw") and unlabeled.json, one JSON object a line. How a task's rows become texts and a label stands in `FEWCLUE`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import DataError, UsageError, listed, unknown
from labkit.tasks.labels import LabelIndex, label_name
from labkit.tasks.rows import Row, finish_splits, join_notes
from labkit.tasks.task import Task
from labkit.tasks.text import read_json_lines

SPLITS = ("0", "1", "2", "3", "4", "few_all")
Raw = Mapping[str, Any]
GAP, CANDIDATES = "#idiom#", 7
TNEWS = {
    "100": "故事", "101": "文化", "102": "娱乐", "103": "体育", "104": "财经", "106": "房产", "107": "汽车",
    "108": "教育", "109": "科技", "110": "军事", "112": "旅游", "113": "国际", "114": "股票", "115": "农业",
    "116": "电竞",
}  # fmt: skip


@dataclass(frozen=True)
class FewClue:
    """How one task reads: its texts, its label, its label names, and cloze patterns with words in Chinese."""

    texts: Callable[[Raw], dict[str, Any]]  # a raw row -> text fields, and what else a method needs
    patterns: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]] | None = None  # of each label; None: labels are found in the files
    pair: bool = True
    label_key: str = "label"
    name_key: str | None = None  # where rows carry a readable name beside a code


def _sentence(raw: Raw) -> dict[str, Any]:
    return {"text": raw["sentence"]}


def _content(raw: Raw) -> dict[str, Any]:
    return {"text": raw["content"]}


def _pair(raw: Raw) -> dict[str, Any]:
    return {"text_a": raw["sentence1"], "text_b": raw["sentence2"]}


def _keywords(raw: Raw) -> dict[str, Any]:
    words = raw["keyword"]
    return {"text_a": raw["abst"], "text_b": words if isinstance(words, str) else "，".join(words)}


def _idiom(raw: Raw) -> dict[str, Any]:
    """The passage keeps its mark #idiom#, so that a method may put each candidate there."""
    if not isinstance(raw["candidates"], list) or len(raw["candidates"]) != CANDIDATES:
        raise ValueError(f"field 'candidates' must be a list of {CANDIDATES} idioms, not {raw['candidates']!r:.40}")
    if GAP not in raw["content"]:
        raise ValueError(f"field 'content' has no gap: write {GAP} where the idiom goes")
    listed = "；".join(f"{at}、{idiom}" for at, idiom in enumerate(raw["candidates"]))
    return {"text_a": raw["content"], "text_b": listed, "candidates": list(raw["candidates"])}


def _pronoun(raw: Raw) -> dict[str, Any]:
    """The spans count characters of the text, and must stand there."""
    target = raw["target"]
    for span in ("span1", "span2"):
        text, at = target[f"{span}_text"], target[f"{span}_index"]
        if not text or not raw["text"].startswith(text, at):
            raise ValueError(
                f"field 'target': {span}_text {text!r} does not stand at {span}_index {at} of the text: mend the place"
            )
    return {
        "text_a": raw["text"],
        "text_b": f"“{target['span2_text']}”指的是“{target['span1_text']}”",
        "target": dict(target),
    }


FEWCLUE: Mapping[str, FewClue] = {
    "eprstmt": FewClue(
        _sentence,
        ("{text}总之很{mask}。", "很{mask}！{text}"),
        {"Negative": ("差", "坏", "糟"), "Positive": ("好", "棒", "妙")},
        pair=False,
    ),
    "tnews": FewClue(
        _sentence, ("这是一则{mask}新闻：{text}", "{text}这则新闻属于{mask}。"), pair=False, name_key="label_desc"
    ),
    "csldcp": FewClue(_content, ("这篇{mask}论文说的是：{text}",), pair=False),
    "iflytek": FewClue(_sentence, ("这是一款{mask}应用：{text}",), pair=False, name_key="label_des"),
    "ocnli": FewClue(
        _pair,
        ("{text_a}？{mask}，{text_b}",),
        {
            "entailment": ("没错", "当然", "确实"),
            "neutral": ("也许", "可能", "或许"),
            "contradiction": ("不对", "错误", "不是"),
        },
    ),
    "bustm": FewClue(_pair, ("{text_a}，{text_b}，这两句话意思{mask}同。",), {"0": ("不",), "1": ("相",)}),
    "csl": FewClue(
        _keywords,
        ("{text_b}，这些词{mask}是下文的关键词：{text_a}",),
        {"0": ("不", "非"), "1": ("都", "全")},
    ),
    "chid": FewClue(
        _idiom,
        ("空格处填第{mask}个：{text_b}。{text_a}",),
        {str(at): (str(at),) for at in range(CANDIDATES)},
        label_key="answer",
    ),
    "cluewsc": FewClue(
        _pronoun,
        ("{text_a}其中{text_b}，这{mask}对。",),
        {"false": ("不", "没"), "true": ("很", "就")},
    ),
}


def fewclue_task(spec: str, *, split: int | str = 0) -> Task:
    """`FOLDER/eprstmt` with training split 0 to 4 (or "few_all"). Needs the train file; says which others are missing.

    Raises UsageError for an unknown task or split, DataError naming file, line and field.
    """
    folder = Path(os.path.expanduser(spec))  # as it is, where there is no such user
    if folder.name not in FEWCLUE:
        raise unknown("FewCLUE task", folder.name, FEWCLUE)
    if str(split) not in SPLITS:
        raise UsageError(f"fewclue:{spec}: split must be 0, 1, 2, 3 or 4 (or 'few_all'), not {split!r}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it should hold train_{split}.json and its kin")
    form = FEWCLUE[folder.name]
    codes = _label_codes(folder, form)
    index = LabelIndex((), codes)
    files, notes = _files(folder, str(split))
    splits, undecided = {}, 0
    for part, paths in files.items():
        rows = [row for path in paths for row in _rows(path, form, index, part)]
        splits[part] = [row for row in rows if row["label"] != -1]
        undecided += len(rows) - len(splits[part])
    if undecided:
        notes.append(f"{undecided} rows with label '-' (annotators disagreed) left out")
    fields = ("text_a", "text_b") if form.pair else ("text",)
    done, more = finish_splits(splits, fields)
    return Task(
        name=f"fewclue/{folder.name}",
        fields=fields,
        labels=index.names,
        splits=done,
        language="zh",
        chance=1 / len(index.names),
        note=join_notes([*notes, *more, index.note()]),
        patterns=form.patterns,
        words=form.words if form.words is not None else {name: (name,) for name in index.names},
    )


def label_codes(spec: str) -> dict[str, str]:
    """Label name, as in the task's `labels` -> how the files of `FOLDER/tnews` write it: {"体育": "103"}."""
    folder = Path(os.path.expanduser(spec))
    if folder.name not in FEWCLUE:
        raise unknown("FewCLUE task", folder.name, FEWCLUE)
    return {name: code for code, name in _label_codes(folder, FEWCLUE[folder.name]).items()}


def _files(folder: Path, split: str) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each split that are there, and a note of those that are not."""
    wanted = {
        "train": f"train_{split}.json",
        "dev": f"dev_{split}.json",
        "test": "test_public.json",
        "submission": "test.json",
    }
    if not (folder / wanted["train"]).is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("train_*.json"))) or "none"
        raise DataError(f"{folder / wanted['train']}: no such file; training splits in this folder: {there}")
    files = {part: [folder / name] for part, name in wanted.items() if (folder / name).is_file()}
    bulk = folder / "unlabeled.json"
    unlabelled = [bulk] if bulk.is_file() else sorted(folder.glob("unlabeled_*.json"))
    missing = [name for part, name in wanted.items() if part not in files and part != "submission"]
    notes = [f"missing: {', '.join(missing)}"] if missing else []
    return files | ({"unlabelled": unlabelled} if unlabelled else {}), notes


def _label_codes(folder: Path, form: FewClue) -> dict[str, str]:
    """Label as it stands in the rows -> its name, the same for every split of the folder."""
    if form.words is not None:
        return {name: name for name in form.words}
    table = folder / "label_index2en2zh.json"
    if folder.name == "tnews":
        rows = [row for _, row in read_json_lines(table)] if table.is_file() else []
        return {str(row["label"]): row["label_zh"] for row in rows} or TNEWS
    found = {}
    for path in sorted([*folder.glob("train_*.json"), *folder.glob("dev_*.json"), *folder.glob("test_public.json")]):
        for line, raw in read_json_lines(path):
            code = label_name(_at(raw, form.label_key, path, line))
            if code is not None:  # else `_rows` says which row has none
                found[code] = str(_at(raw, form.name_key, path, line)) if form.name_key else code
    names = list(found.values())
    # two codes of one name stay apart
    return {c: found[c] if names.count(found[c]) == 1 else f"{found[c]} ({c})" for c in LabelIndex(found).names}


def _rows(path: Path, form: FewClue, index: LabelIndex, part: str) -> Iterator[Row]:
    """A file's rows. A label of -1 marks one on which OCNLI's annotators did not agree."""
    for line, raw in read_json_lines(path):
        try:
            row: Row = form.texts(raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: line {line}: field {error} is missing or of another shape") from None
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {error}") from None
        for name in row:
            if name.startswith("text") and not isinstance(row[name], str):
                raise DataError(f"{path}: line {line}: field {name!r} must be a text, not {row[name]!r:.40}")
        if "id" in raw:
            row["id"] = raw["id"]
        if part in ("submission", "unlabelled"):
            if label_name(raw.get(form.label_key)) is not None:
                told = f"field {form.label_key!r} gives a label, and this file must have none"
                raise DataError(f"{path}: line {line}: {told}: remove the field, or move the row to a training file")
            row["label"] = None
        else:
            code, where = _at(raw, form.label_key, path, line), f"{path}: line {line}, field {form.label_key!r}"
            row["label"] = -1 if code == "-" else index.required(code, where)
        if part == "submission":
            row["raw"] = dict(raw)
        yield row


def _at(raw: Raw, key: str, path: Path, line: int) -> Any:
    if key not in raw:
        raise DataError(f"{path}: line {line}: field {key!r} is missing; the row has {listed(raw)}")
    return raw[key]
