"""The shipped translator on sentences that it has not read, both ways, beside the nearest training sentence.

    python benchmarks/translation.py [--model mini-t5-en-zh or a folder]    -> labkit/results/translation.json

Baseline: the training sentence with the most words in common (Dice; Chinese by characters), and its translation. BLEU
is `labkit.foundations.generation.bleu`, by words of English and by characters of Chinese; "exact" the share of texts
that are the reference, which is the only one: the world's rules give each text one translation.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer

import labkit
from labkit.foundations.generation import bleu
from labkit.report import Report
from labkit.world.parallel import Pair, pairs
from labkit.zoo import RECIPES, load, translating

RESULTS = Path(labkit.__file__).parent / "results/translation.json"
NAME, COUNT, BATCH = "mini-t5-en-zh", 500, 50
DIRECTIONS = {"English → Chinese": (0, "en"), "Chinese → English": (1, "zh")}


def tokens(text: str, side: int) -> list[str]:
    """Words and marks of English (side 0), characters of Chinese."""
    return list("".join(text.split())) if side else re.findall(r"[\w']+|[^\w\s]", text)


def nearest(known: Sequence[Pair], asked: Sequence[str], side: int) -> list[str]:
    """For each text the translation of the known text with the largest Dice overlap of its set of words."""
    count = CountVectorizer(analyzer=lambda text: tokens(text, side), binary=True, dtype=np.float32)
    table, found = count.fit_transform([pair[side] for pair in known]), []
    sizes = np.asarray(table.sum(1)).ravel()
    for text in asked:
        row = count.transform([text])
        dice = 2 * (table @ row.T).toarray().ravel() / (sizes + len(set(tokens(text, side))))
        found.append(known[int(dice.argmax())][1 - side])
    return found


def written(name: str, asked: Sequence[str], language: str) -> tuple[list[str], float]:
    """The model's translations, and its milliseconds a text."""
    model, tokenizer = load(name)
    how = translating.method(RECIPES[NAME], model, tokenizer, num_beams=4)
    found, began = [], time.perf_counter()
    for at in range(0, len(asked), BATCH):
        rows = [{"text": translating.asked(text, language)} for text in asked[at : at + BATCH]]
        with torch.no_grad():
            found += [answer[0] for answer in how.answers(model, how.collate(rows), rows)]
    return found, 1000 * (time.perf_counter() - began) / len(asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=NAME)
    options = parser.parse_args()
    item, report = RECIPES[NAME], Report(command="python benchmarks/translation.py")
    known, held_out = list(dict.fromkeys(pairs(item.world, item.documents))), translating.unseen(item, COUNT)
    for direction, (side, language) in DIRECTIONS.items():
        asked, wanted = [pair[side] for pair in held_out], [pair[1 - side] for pair in held_out]
        answers, latency = written(options.model, asked, language)
        for method, found, costs in (
            ("nearest training sentence", nearest(known, asked, side), {}),
            (NAME, answers, {"latency_ms": latency}),
        ):
            given, right = ([tokens(text, 1 - side) for text in some] for some in (found, wanted))
            report.add(method, direction, bleu(given, [[one] for one in right]), metric="BLEU", rows=COUNT, **costs)
            same = np.mean([a == b for a, b in zip(given, right, strict=True)])
            report.add(method, direction, float(same), metric="exact", rows=COUNT)
        print(*(f"{a}\n    {b}" for a, b in zip(asked[:5], answers, strict=False)), sep="\n")
    report.save(RESULTS)
    print(report.table(metric="BLEU"), report.table(metric="exact"), sep="\n")


if __name__ == "__main__":
    main()
