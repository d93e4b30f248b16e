"""Predictions that are killed for real, for tests/apps/test_prediction.py.

    python tests/apps/killed_predictions.py APP FOLDER ROWS WINDOW KILLS

One program imports torch once and forks a child a run. The first predicts ROWS rows undisturbed, the others the same
into another file, which SIGKILL strikes KILLS times before one comes to its end. Prints JSON: seconds and the most
memory (kB) of the first, and of a run over a tenth of the rows; how many runs were struck, how far each had come.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from labkit.apps import load_app, predict_table

WORDS = "the film was good bad fine it dull great".split()


def table(path: Path, rows: int) -> Path:
    rng = random.Random(rows)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("id\ttext\n")
        for number in range(rows):
            stream.write(f"{number}\t{' '.join(rng.choices(WORDS, k=rng.randrange(1, 12)))}\n")
    return path


def run(app, source: Path, target: Path, window: int, seconds: float | None = None) -> tuple[int, float, int]:
    """(wait status, seconds, kB) of a child that predicts, and is killed after so many seconds."""
    start, child = time.monotonic(), os.fork()
    if not child:
        try:
            predict_table(app, source, target, window=window)
            os._exit(0)
        finally:
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return status, time.monotonic() - start, usage.ru_maxrss


def main(folder: str, out: str, rows: str, window: str, kills: str) -> None:
    torch.set_num_threads(1)
    app, work, size = load_app(folder), Path(out), int(window)
    few, source = table(work / "few.tsv", int(rows) // 10), table(work / "in.tsv", int(rows))
    app.predict("the film")
    status, _, little = run(app, few, work / "few-out.tsv", size)
    assert status == 0
    status, seconds, most = run(app, source, work / "whole.tsv", size)
    assert status == 0
    done, rng, struck, journal = [], random.Random(7), 0, work / "killed.tsv.part.json"
    while struck < int(kills):
        status, _, _ = run(app, source, work / "killed.tsv", size, seconds * rng.uniform(0.1, 1.2 / int(kills)))
        if status == 0:
            break
        struck += 1
        done.append(json.loads(journal.read_text())["rows"] if journal.exists() else 0)
        assert not (work / "killed.tsv").exists()
    if status != 0:
        status, _, _ = run(app, source, work / "killed.tsv", size)
    assert status == 0
    print(json.dumps({"seconds": seconds, "little": little, "most": most, "struck": struck, "done": done}))


if __name__ == "__main__":
    main(*sys.argv[1:])
