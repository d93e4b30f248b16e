"""Assignment 03_fewshot, pet: each mistake is named, run here without nbgrader; and the full proofs of all with it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from labkit.classroom.course import points
from tests.classroom.attempts import COURSE, Attempts

pytest.importorskip("nbformat", reason="needs labkit[classroom]")
PET = Attempts("03_fewshot", figures=("model", "figure"))
SOURCE, PLANTED, run = PET.source, PET.planted, PET.run

# planted submission -> test cell -> part of what the student is told
TOLD = {
    "slips": {
        "fit_row_cuts": "of equals, the later text loses first",
        "label_scores_stable": "stay in logs",
        "fuzzy_shared_words": "add them up, do not overwrite",
        "pseudo_labels_balance": "as many of each class as the rarest has",
        "word_pairs_holds": "an unknown word should be a ValueError",
        "pair_large": "autograd goes through the costs",
        "lora_holds": "each alone rounds to nothing",
    },
    "first_draft": {
        "fit_row_visible": "you cut the end of the text",
        "label_scores_visible": "adding (or averaging) their logits multiplies the probabilities",
        "fuzzy_loss_visible": "you summed over the examples",
        "fuzzy_gradient_visible": "is this autograd?",
        "pseudo_labels_visible": "you averaged the scores",
        "word_pairs_visible": "is the first word of a pair the one for class 0?",
        "pair_loss_visible": "the margin of the pairs of one class is 1 - m",
        "pair_slope_visible": "is this autograd?",
        "merged_visible": "divide by the rank",
        "one_adapter_visible": "each adapter's α / r is missing",
    },
}


@pytest.mark.parametrize("name", [name for name in PLANTED if name != "untouched"])
def test_planted_submissions_lose_what_they_should(name):
    told = run(PLANTED[name].answers)
    assert set(told) == set(PLANTED[name].loses)
    for cell, words in TOLD.get(name, {}).items():
        assert words in told[cell], cell


def test_an_untouched_answer_is_told_to_be_one():
    told = run({}, only=("fit_row", "label_scores", "fuzzy", "pseudo_labels", "pair", "merged", "one_adapter", "lora"))
    assert len(told) == 22
    assert all("NotImplementedError" in words for words in told.values()), told


SUMS = "def label_scores(z, w, how='sum'):\n    p = torch.stack([z.softmax(1)[:, s].sum(1) for s in w], 1)\n"


@pytest.mark.parametrize(
    ("name", "answer", "test", "words"),
    [
        ("fit_row", "def fit_row(p, r, b): pass", "fit_row_visible", "is the `return` missing?"),
        ("label_scores", f"{SUMS}    return p / p.sum(1, keepdim=True), p.sum(1).log()", "label_scores_visible",
         "their logarithm is wanted"),
        ("label_scores", f"{SUMS}    return p.log(), p.sum(1).log()", "label_scores_visible",
         "divide by the sum over the classes"),
        ("fuzzy_loss", "def fuzzy_loss(z, y, sets, w):\n    return sum(a * CE(z[:, s], y) for a, s in zip(w, sets))",
         "fuzzy_loss_visible", "divide by the sum of the weights"),
        ("fuzzy_loss", "def fuzzy_loss(z, y, sets, w):\n    return sum(CE(z[:, s], y) for s in sets) / len(sets)",
         "fuzzy_loss_visible", "the weights are not used"),
    ],
)  # fmt: skip
def test_likely_mistakes_are_named(name, answer, test, words):
    code = answer.replace("CE(", "F.cross_entropy(")
    assert words in run(PLANTED["reference"].answers | {name: code}, only=(test,))[test]


def test_overwriting_a_function_of_torch_wins_nothing(monkeypatch):
    monkeypatch.setattr(torch, "allclose", torch.allclose)  # put back afterwards
    code = "torch.allclose = lambda *a, **k: True\ndef label_scores(z, w, how='sum'):\n"
    code += "    return torch.zeros(len(z), len(w)), torch.zeros(len(z))"
    told = run(PLANTED["reference"].answers | {"label_scores": code}, only=("label_scores",))
    assert set(told) == set(points(SOURCE, "test")) & {
        name for name in points(SOURCE, "test") if "label_scores" in name
    }
    assert "the comparison itself has been changed" in told["label_scores_stable"]


def test_points_add_up():
    assert sum(points(SOURCE, "test").values()) == 24
    assert points(SOURCE, "manual") == {"reading": 4}


@pytest.mark.parametrize(
    ("name", "scored", "by_hand"),
    [
        (
            "01_foundations",
            {"reference": 20, "untouched": 0, "first_draft": 3, "halfway": 10, "otherwise": 20, "slips": 13},
            4,
        ),
        (
            "02_knowledge",
            {"reference": 21, "untouched": 0, "first_draft": 4, "halfway": 10, "otherwise": 21, "slips": 12, "wild": 8},
            4,
        ),
        ("03_fewshot", {"reference": 24, "untouched": 0, "first_draft": 6, "halfway": 7, "slips": 17}, 4),
        (
            "04_compression",
            {"reference": 20, "untouched": 0, "first_draft": 4, "halfway": 10, "otherwise": 20, "slips": 13, "wild": 7},
            4,
        ),
        ("06_parallel", {"reference": 20, "untouched": 0, "first_draft": 5, "halfway": 10, "slips": 12}, 4),
    ],
)
def test_the_full_proof_with_nbgrader(tmp_path, name, scored, by_hand):
    """The only full check: all submissions, by the command line, in a folder that it must leave as it was."""
    before = sorted(path.name for path in COURSE.root.iterdir())
    code = (
        "import argparse, sys; from labkit.cli.course import add_assignments; from labkit.cli.parser import Parser\n"
    )
    code += "parser = Parser(prog='labkit'); add_assignments(parser.add_subparsers(parser_class=Parser))\n"
    code += "found = parser.parse_args(sys.argv[1:]); found.handler(found)"
    command = [sys.executable, "-c", code, "assignments", "check", name, "--course", str(COURSE.root), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    rows = {row["submission"]: row for row in json.loads(result.stdout)}
    assert {submission: row["scored"] for submission, row in rows.items()} == scored
    assert rows["reference"]["by hand"] == rows["slips"]["by hand"] == by_hand
    assert rows["untouched"]["by hand"] == 0
    assert all(row["as it should"] == "yes" for row in rows.values())
    assert result.stderr == ""  # no terminal, no progress
    assert sorted(path.name for path in COURSE.root.iterdir()) == before
