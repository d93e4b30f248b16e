"""FewCLUE's score, and files of answers as its leaderboard takes them.

The metric of every task is accuracy, chid's and cluewsc's too: a row is right or wrong, whatever it is made of (Xu et
al. 2021, "FewCLUE", §3). The benchmark's score is the plain mean of the nine. An answer file has a JSON object a line,
`{"id": 3, "label": "103"}` with the label as the training files write it, always as a text; chid's has
`{"id": 3, "answer": 0}` with a number. Files are named as in the benchmark's own examples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from labkit.errors import DataError, UsageError, unknown
from labkit.files import write_text
from labkit.tasks.fewclue import FEWCLUE, label_codes
from labkit.tasks.text import read_json_lines

if TYPE_CHECKING:
    from labkit.tasks import Task

PREDICTIONS: Mapping[str, str] = {
    "eprstmt": "eprstmt_predict.json",
    "csldcp": "csldcp_predict.json",
    "tnews": "tnewsf_predict.json",
    "iflytek": "iflytekf_predict.json",
    "ocnli": "ocnlif_predict.json",
    "bustm": "bustm_predict.json",
    "chid": "chidf_predict.json",
    "csl": "cslf_predict.json",
    "cluewsc": "cluewscf_predict.json",
}


def nine_task_mean(scores: Mapping[str, float | Sequence[float]]) -> float:
    """The benchmark's score: each task's mean over its splits, then the mean over the nine, each counting the same.

    Keys are the tasks' names ("chid"), values accuracies in [0, 1]. UsageError naming a task that is missing, unknown
    or without a score.
    """
    for name in scores:
        if name not in FEWCLUE:
            raise unknown("FewCLUE task", name, FEWCLUE)
    missing = [name for name in FEWCLUE if not np.size(scores.get(name, ()))]
    if missing:
        raise UsageError(f"the nine-task mean needs every task; no score for {', '.join(missing)}")
    return fmean(float(np.mean(scores[name])) for name in FEWCLUE)


def write_submission(
    target: str | os.PathLike[str], spec: str, task: Task, answers: Sequence[int] | np.ndarray
) -> Path:
    """Write the answers to the task's unlabelled test rows, whole or not at all, and give the file's path.

    `target` is a folder, in which the file gets its official name, or a file's path (*.json); `spec` the folder that
    the task was read from; `answers` a label index for each row of "submission", in order: (n,). Raises UsageError for
    too many or too few answers, or one that is no label; DataError for rows whose ids are missing or not distinct.
    """
    name, codes = _name(spec), label_codes(spec)
    rows, lines = task.splits.get("submission", []), []
    if not len(rows):
        raise UsageError(f"task {task.name}: no test rows without labels to answer: its folder has no test.json")
    if len(answers) != len(rows):
        raise UsageError(f"task {task.name}: {len(answers)} answers for {len(rows)} rows of test.json: give one a row")
    seen: set[str] = set()
    for line, (row, answer) in enumerate(zip(rows, answers, strict=True), start=1):
        number = int(answer)
        if number != answer or not 0 <= number < len(task.labels):
            known = f"an index from 0 to {len(task.labels) - 1}"
            raise UsageError(f"task {task.name}: answer {line} is {answer!r}: {known} is needed, one a label")
        marked = row.get("id", row.get("raw", {}).get("idx"))
        if marked is None or str(marked) in seen:
            what = "has no 'id'" if marked is None else f"has the 'id' {marked!r} of an earlier row"
            raise DataError(f"task {task.name}: test.json, row {line} {what}: every row needs one of its own")
        seen.add(str(marked))
        code = codes[task.labels[number]]
        lines.append({"id": marked, "answer": int(code)} if name == "chid" else {"id": marked, "label": code})
    path = Path(target)
    path = path if path.suffix == ".json" else path / PREDICTIONS[name]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


def read_submission(path: str | os.PathLike[str], spec: str) -> dict[str, str]:
    """id -> label as written, of an answer file for the task in folder `spec`, validated.

    Raises DataError naming file, line, field and mend: a missing key, a label outside the list, an id given twice.
    """
    name, found = _name(spec), {}
    key, known = ("answer" if name == "chid" else "label"), set(label_codes(spec).values())
    for line, raw in read_json_lines(path):
        for wanted in ("id", key):
            if wanted not in raw:
                raise DataError(f"{path}: line {line}: field {wanted!r} is missing; the row has {', '.join(raw)}")
        label, marked = raw[key], str(raw["id"])
        if str(label) not in known:
            raise DataError(f"{path}: line {line}, field {key!r}: {unknown('label', str(label), sorted(known))}")
        if isinstance(label, bool) or not isinstance(label, int if name == "chid" else str):
            wanted = label if name == "chid" else f'"{label}"'
            raise DataError(f"{path}: line {line}, field {key!r}: {label!r} is written as {wanted} in these files")
        if marked in found:
            raise DataError(f"{path}: line {line}, field 'id': {raw['id']!r} was answered before: answer each row once")
        found[marked] = str(label)
    return found


def score_submission(path: str | os.PathLike[str], gold: str | os.PathLike[str]) -> float:
    """The accuracy in [0, 1] of an answer file against a labelled one (`…/tnews/test_public.json`), row by row by id.

    Labels on which OCNLI's annotators did not agree ("-") are not counted. Raises DataError naming the first id that
    has no answer, or an answer to a row that is not there.
    """
    spec = str(Path(gold).parent)
    name, answers = _name(spec), read_submission(path, spec)
    key, right = ("answer" if name == "chid" else "label"), {}
    for line, raw in read_json_lines(gold):
        marked = raw.get("id", raw.get("idx"))
        if key not in raw or marked is None:
            raise DataError(f"{gold}: line {line}: fields 'id' and {key!r} are needed to score")
        right[str(marked)] = str(raw[key])
    for here, there, where, what in (
        (right, answers, path, "has no answer"),
        (answers, right, gold, "is not in this file"),
    ):
        missing = next((marked for marked in here if marked not in there), None)
        if missing is not None:
            raise DataError(f"{where}: id {missing!r} {what}: every row of the test file is answered once")
    counted = [marked for marked, label in right.items() if label != "-"]
    if not counted:
        raise DataError(f"{gold}: there are no rows to score")
    return fmean(answers[marked] == right[marked] for marked in counted)


def _name(spec: str) -> str:
    name = Path(spec).name
    if name not in FEWCLUE:
        raise unknown("FewCLUE task", name, FEWCLUE)
    return name
