"""Assignment 04_compression, small: each mistake is named, run here without nbgrader."""

from __future__ import annotations

import pytest
import torch

from tests.classroom.attempts import Attempts

pytest.importorskip("nbformat", reason="needs labkit[classroom]")
SMALL = Attempts("04_compression")
REFERENCE, PLANTED = SMALL.planted["reference"].answers, SMALL.planted

# planted submission -> test cell -> part of what the student is told
TOLD = {
    "slips": {
        "kd_limits": "the limit of the gradient: s - t less its mean, over n · classes",
        "kd_rows": "a class that the teacher rules out adds 0",
        "twn_shapes": "scales (4, 1, 1) are wanted, not (4, 1, 5)",
        "scale_holds": "a code against its weight's sign lowers the best scale",
        "split_edges": "no split",
        "importance_holds": "gradients were left in `.grad`",
        "removed_holds": "a head that stands twice is one head",
    },
    "first_draft": {
        "kd_loss_visible": "multiplied by T: it is T²",
        "kd_slope_visible": "1/T is missing",
        "kd_limits": "T = 0.1, alpha = 1: the loss is",
        "twn_visible": "each row has a threshold of its own",
        "scale_visible": "divide by the number of codes that are not 0",
        "binary_visible": "the code of 0 is 1",
        "split_visible": "p: both halves should have one mean size",
        "importance_visible": "the sign is still there",
        "removed_visible": "were rows h · size to (h + 1) · size taken?",
    },
}


@pytest.mark.parametrize("name", [name for name in PLANTED if name not in ("untouched", "wild")])
def test_planted_submissions_lose_what_they_should(name):
    SMALL.check_planted(name, TOLD.get(name, {}))


def test_an_untouched_answer_is_told_to_be_one():
    SMALL.check_untouched()


def test_points_add_up():
    SMALL.check_points(20)


def but(name, *changes):
    """The reference's answer with some of its text exchanged, each of which must be there."""
    code = REFERENCE[name]
    for old, new in changes:
        assert old in code, old
        code = code.replace(old, new)
    return code


BY_AUTOGRAD = """
def kd_slope(student, teacher, labels, T=1.0, alpha=0.5):
    student = student.clone().requires_grad_()
    return torch.autograd.grad(kd_loss(student, teacher, labels, T, alpha), student)[0]
"""
MASKS = """
def remove_heads(model, gone):
    new = copy.deepcopy(model)
    for number, heads in gone.items():
        for head in heads:
            new.layers[number].attention.out.weight.data[:, 3 * head : 3 * head + 3] = 0
    return new
"""
MISTAKES = [
    ("kd_loss", "def kd_loss(*_): pass", "kd_loss_visible", "is the `return` missing?"),
    ("kd_loss", but("kd_loss", ("T * T * torch", "torch")), "kd_loss_visible", "the factor T² is missing"),
    (
        "kd_loss",
        but("kd_loss", ("alpha * soft + (1 - alpha) * hard", "(1 - alpha) * soft + alpha * hard")),
        "kd_loss_visible",
        "alpha is the teacher's share",
    ),
    ("kd_loss", but("kd_loss", ("0.0).sum(1).mean()", "0.0).mean()")), "kd_loss_visible", "mean is over rows alone"),
    (
        "kd_loss",
        but("kd_loss", ("log_student, log_teacher = ", "log_teacher, log_student = ")),
        "kd_loss_visible",
        "the wrong way round",
    ),
    ("kd_loss", but("kd_loss", ("-student.log", "-(student / T).log")), "kd_loss_visible", "knows no temperature"),
    ("kd_loss", but("kd_loss", ("mean() / 2", "mean()")), "kd_limits", "half the mean square"),
    ("kd_loss", but("kd_loss", ("(len(rows), 1)", "(len(labels), 1)")), "kd_rows", "three of six rows have labels"),
    ("kd_slope", BY_AUTOGRAD, "kd_slope_visible", "is this autograd?"),
    ("kd_slope", but("kd_slope", ("soft / n", "soft")), "kd_slope_visible", "divide by n"),
    ("kd_slope", but("kd_slope", ("soft = T * (", "soft = (")), "kd_slope_visible", "one T too few"),
    ("kd_slope", but("kd_slope", ("/ max(int(known.sum()), 1)", "/ n")), "kd_rows", "the gradient is another"),
    ("kd_slope", but("kd_slope", ("not T > 0 or ", "")), "kd_refuses", "a temperature of 0"),
    ("kd_slope", but("kd_slope", ("T * (", "T * T * (")), "kd_slope_visible", "1/T is missing"),
    ("twn", but("twn", ("0.7 * ", "0.0 * ")), "twn_visible", "the threshold is not used"),
    ("twn", but("twn", ("(size * kept).sum", "size.sum")), "twn_visible", "alpha"),
    ("twn", but("twn", ("kept.sum(shared, keepdim=True).clamp(min=1)", "kept.sum(shared, keepdim=True)")), "twn_shapes",
     "a row of zeros has the scale 0"),
    ("twn", but("twn", ("return w.sign() * kept", "return (w.sign() * kept).to(torch.int8)")), "twn_shapes", "type"),
    ("best_scale", but("best_scale", ("(b * w)", "(b * w).abs()")), "scale_holds", "against its weight's sign"),
    ("best_scale", but("best_scale", (".clamp(min=1)", "")), "scale_holds", "not finite"),
    ("binary", but("binary", ("w >= 0", "w > 0")), "binary_visible", "[[1, -1], [1, 1]] is wanted"),
    ("binary", "def binary(w, rows=False): return w.sign(), w.abs().mean().reshape(1, 1)", "binary_visible",
     "the code of 0 is 1"),
    ("split", but("split", ("inside + down - up", "inside + up - down")), "split_visible", "p: both halves"),
    ("split", but("split", ("(2 * (~on)", "((~on)")), "split_visible", "r: the means of both halves"),
    ("split", but("split", ("flat + r, r.expand_as(flat)", "p * flat, p * flat")), "split_visible", "signs"),
    ("split", but("split", ("w if len(alpha) == len(w) else ", "")), "split_holds", ""),
    ("split", but("split", ("(p > 0) & (p < 1) & ", "")), "split_refuses", "p below 0"),
    ("head_importance", but("head_importance", ("slope.abs()", "slope.square()")), "importance_visible", "wanted"),
    ("head_importance",
     but("head_importance", ("slope.abs()", "slope"), ("return total", "return [one.abs() for one in total]")),
     "importance_visible", "take it batch by batch"),
    ("head_importance", but("head_importance", ("return total", "return [t / len(batches) for t in total]")),
     "importance_visible", "summed, not averaged"),
    ("head_importance", but("head_importance", ("handle.remove()", "pass")), "importance_holds", "a hook was left"),
    ("remove_heads", MASKS, "removed_visible", "`heads` should be 3"),
    ("remove_heads", but("remove_heads", ("copy.deepcopy(model)", "model")), "removed_visible", "new model is wanted"),
    ("remove_heads", but("remove_heads", ("number not in range(len(model.layers)) or ", "")), "removed_refuses", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "test", "words"), MISTAKES)
def test_likely_mistakes_are_named(name, answer, test, words):
    assert words in SMALL.run(REFERENCE | {name: answer}, only=(test.split("_")[0],))[test]


def test_overwriting_a_function_of_torch_wins_nothing(monkeypatch):
    monkeypatch.setattr(torch, "allclose", torch.allclose)  # put back afterwards
    code = "torch.allclose = lambda *a, **k: True\ndef remove_heads(model, gone):\n    return copy.deepcopy(model)"
    told = SMALL.run(REFERENCE | {"remove_heads": code}, only=("removed",))
    assert "the comparison itself has been changed" in told["removed_holds"]
