"""Entailment against a loop by hand and against PET on its rows, the mixture's shares, and continued pre-training."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import DataError, UsageError
from labkit.evaluation import evaluate, predict
from labkit.fewshot.instruction.entailment import Entailment, judge
from labkit.fewshot.instruction.multitask import (
    Continued,
    continue_pretraining,
    mixture,
    shares,
    unlabelled_texts,
)
from labkit.fewshot.instruction.statements import OTHERWISE, Claims, entailment_rows, joined, statements_of
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import load
from tests.fewshot import tiny_tasks as tiny

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


# Statements


def test_a_label_states_itself_by_the_tasks_own_words():
    assert statements_of(tiny.sentiment()) == {"negative": "it was bad .", "positive": "it was great ."}
    assert statements_of(tiny.topic()) == {
        "sport": "is that about sport .", "art": "is that about art .", "news": "is that about news .",
    }  # fmt: skip
    first = replace(tiny.topic(), patterns=tiny.topic().patterns[:1])  # none has its blank behind the text
    assert statements_of(first)["art"] == "art news"
    comma = replace(tiny.sentiment(), patterns=("{mask} , {text}",))
    assert statements_of(comma) == {"negative": "bad", "positive": "great"}
    assert statements_of(tiny.chinese()) == {"差评": "的书很差。", "好评": "的书很好。"}
    assert statements_of(Task("t", ("text",), ("x", "y"), {})) == {"x": "x", "y": "y"}


def test_the_second_of_two_texts_is_said_of_the_first():
    assert statements_of(tiny.pairs()) == {"different": OTHERWISE, "same": "{text_b}"}
    assert statements_of(tiny.inference()) == {
        "entailment": "{text_b}", "neutral": "maybe , {text_b}", "contradiction": "no , {text_b}",
    }  # fmt: skip
    claims = Claims(statements_of(tiny.inference()), ("text_a", "text_b"))
    row = {"text_a": "a {text_b} .", "text_b": "{text_a} was"}  # braces of a row are its text
    assert claims.pairs(row, [0, 2]) == [
        {"text": "a {text_b}", "statement": "{text_a} was"},
        {"text": "a {text_b}", "statement": "no , {text_a} was"},
    ]


def test_two_texts_are_joined_with_one_stop():
    assert joined({"a": "who ?", "b": "me ."}, ("a", "b")) == "who ? me"
    assert joined({"a": "so", "b": "no"}, ("a", "b")) == "so . no"
    assert joined({"a": "好", "b": "差。"}, ("a", "b"), "zh") == "好。差"


def test_rows_are_one_right_statement_and_the_wrong_ones_that_were_asked_for():
    task = tiny.topic()
    for negatives, wrong in ((0, 0), (1, 1), (2, 2), (9, 2), ("all", 2)):
        rows = entailment_rows(task, RNG(0), negatives)
        assert len(rows) == 3 * (1 + wrong) and sum(row["label"] for row in rows) == 3
    own = {row["text"]: row["statement"] for row in entailment_rows(task, RNG(0), "all") if row["label"]}
    assert own == {
        "read this film": "is that about art .", "the same news": "is that about sport .",
        "say so": "is that about news .",
    }  # fmt: skip
    shown = {(row["text"], row["statement"]) for row in entailment_rows(task, RNG(0), "all")}
    assert len(shown) == 9  # no statement twice
    assert {row["task"] for row in rows} == {"made/topics"}


def test_wrong_labels_are_drawn_alike():
    task, drawn = tiny.topic(), {}
    for seed in range(600):
        for row in entailment_rows(task, RNG(seed)):
            if not row["label"] and row["text"] == "say so":
                drawn[row["statement"]] = drawn.get(row["statement"], 0) + 1
    assert len(drawn) == 2 and abs(drawn["is that about art ."] - 300) < 4 * math.sqrt(150)


def test_a_label_that_holds_otherwise_has_wrong_statements_only():
    rows = entailment_rows(tiny.pairs(), RNG(0), "all")
    assert [(row["statement"], row["label"]) for row in rows] == [
        ("it was great", 1), ("it was fine", 0), ("do they say that", 1),
    ]  # fmt: skip


def test_unlabelled_rows_are_left_out():
    task = tiny.sentiment()
    task.splits["train"].append({"text": "so", "label": None})
    assert len(entailment_rows(task, RNG(0))) == 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entailment_rows(tiny.topic(), RNG(0), -1), "negatives=-1"),
        (lambda: entailment_rows(tiny.topic(), RNG(0), "none"), "negatives='none'"),
        (lambda: Claims({"negative": "x", "positive": "x"}, ("text",)), "two labels or more"),
        (lambda: Claims({"x": "{text}", "y": ""}, ("text",)), "name every field"),
        (lambda: judge(tiny.tokenizer(), "fr"), "unknown language 'fr'"),
        (lambda: judge(tiny.tokenizer(), answers={"a": ["yes"], "b": ["no"], "c": ["so"]}), "two are needed"),
        (lambda: Entailment.from_description({}, tiny.tokenizer()), "'statements' is missing"),
        (lambda: Entailment.from_description({"statement": {}}, tiny.tokenizer()), "did you mean 'statements'"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_a_row_without_its_text_is_named(tokenizer):
    method = Entailment.for_task(tiny.pairs(), tokenizer)
    with pytest.raises(DataError, match="row 2 of the batch: field 'text_b'"):
        method.collate([{"text_a": "a", "text_b": "b"}, {"text_a": "a"}])


# The method


@torch.no_grad()
def by_hand(model, tokenizer, text, statement):
    """log p("no"), log p("yes") of a statement, with nothing but the model's forward pass."""
    inputs = tokenizer(f"{text} ? [MASK] , {statement}", return_tensors="pt")
    at = (inputs["input_ids"][0] == tiny.ID["[MASK]"]).nonzero().item()
    return model(**inputs).logits[0, at, [tiny.ID["no"], tiny.ID["yes"]]].log_softmax(0)


@pytest.mark.parametrize("task", [tiny.sentiment(), tiny.topic(), tiny.inference(), tiny.pairs()], ids=lambda t: t.name)
def test_scores_equal_a_loop_by_hand(task, tokenizer):
    model, method = tiny.bert(), Entailment.for_task(task, tokenizer)
    rows = task.splits["test"]
    wanted = []
    for row in rows:
        line = []
        for label in task.labels:
            said = statements_of(task)[label].replace("{text_b}", row.get("text_b", ""))
            text = row["text_a" if "text_a" in row else "text"].rstrip(" .")
            line.append(by_hand(model, tokenizer, text, said)[1] if said else None)
        if None in line:  # what is left when the other statement is denied
            other = row["text_b"]
            line[line.index(None)] = by_hand(model, tokenizer, row["text_a"], other)[0]
        wanted.append(torch.stack(line))
    wanted = torch.stack(wanted)
    with torch.no_grad():
        found = method.logits(model, method.collate(rows))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert (predict(model, method, rows, progress=False).argmax(1) == wanted.argmax(1).numpy()).all()
    assert found.std(0).min() > 1e-3


def test_with_all_negatives_the_loss_and_the_answer_are_pets_on_the_entailment_rows(tokenizer):
    """One task, every statement shown: training on rows made beforehand is training the method, and a row's answer is
    the statement that PET calls entailed most surely.
    """
    task, model = tiny.topic(), tiny.bert()
    method, pet = Entailment.for_task(task, tokenizer), judge(tokenizer)
    rows = entailment_rows(task, RNG(0), "all")
    with torch.no_grad():
        torch.testing.assert_close(
            method.loss(model, method.collate(task.splits["train"])), pet.loss(model, pet.collate(rows))
        )
    yes = predict(model, pet, rows, progress=False)[:, 1]
    best = {}
    for row, value in zip(rows, yes, strict=True):
        best[row["text"]] = max(best.get(row["text"], (-1, "")), (value, row["statement"]))
    said = list(statements_of(task).values())
    answers = predict(model, method, task.splits["train"], progress=False).argmax(1)
    assert [said[a] for a in answers] == [best[row["text"]][1] for row in task.splits["train"]]


def test_the_order_of_labels_makes_no_difference(tokenizer):
    task, model = tiny.topic(), tiny.bert()
    said = statements_of(task)
    turned = dict(reversed(said.items()))
    a, b = (Entailment(some, tokenizer) for some in (said, turned))
    rows = task.splits["test"]
    np.testing.assert_allclose(
        predict(model, a, rows, progress=False), predict(model, b, rows, progress=False)[:, ::-1], atol=1e-6
    )


def test_descriptions_answer_alike(tokenizer):
    method = Entailment.for_task(tiny.chinese(), tokenizer, max_length=20)
    again = Entailment.from_description(json.loads(json.dumps(method.describe())), tokenizer)
    assert again.describe() == method.describe() and again.pet.max_length == 20
    rows, model = tiny.chinese().splits["test"], tiny.bert()
    np.testing.assert_array_equal(
        predict(model, method, rows, progress=False), predict(model, again, rows, progress=False)
    )


# Mixing


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=6), st.floats(1, 50), st.integers(0, 2**31))
def test_tasks_come_in_their_shares(sizes, temperature, seed):
    count, wanted = 3000, shares(sizes, temperature)
    assert (
        wanted.sum() == pytest.approx(1)
        and (np.argsort(wanted, kind="stable") == np.argsort(sizes, kind="stable")).all()
    )
    drawn = mixture(sizes, count, RNG(seed), temperature)
    found = np.bincount([task for task, _ in drawn], minlength=len(sizes))
    bound = 5.5 * np.sqrt(count * wanted * (1 - wanted)) + 3  # of a binomial count: one in 10⁷
    assert (abs(found - count * wanted) <= bound).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 200), st.integers(0, 2**31))
def test_no_row_comes_again_before_all_have_come(sizes, count, seed):
    drawn = mixture(sizes, count, RNG(seed))
    for task, size in enumerate(sizes):
        own = [row for one, row in drawn if one == task]
        for start in range(0, len(own), size):
            part = own[start : start + size]
            assert len(set(part)) == len(part) and set(part) <= set(range(size))


def test_the_two_ends_of_the_temperature():
    np.testing.assert_allclose(shares([1, 3], 1), [0.25, 0.75])
    np.testing.assert_allclose(shares([1, 3], math.inf), [0.5, 0.5])
    np.testing.assert_allclose(shares([100, 900], 2), [0.25, 0.75])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shares([3, 0]), "at least one row"),
        (lambda: shares([]), "at least one row"),
        (lambda: shares([3], 0.5), "temperature=0.5"),
        (lambda: shares([3], math.nan), "temperature=nan"),
    ],
)
def test_mixtures_that_make_no_sense(call, message):
    with pytest.raises(UsageError, match=message):
        call()


# Continued pre-training


def test_the_objective_is_the_sum_of_its_halves(tokenizer):
    model = tiny.bert()
    rows = [{**row, "plain": "the film was great and fine ."} for row in entailment_rows(tiny.topic(), RNG(0))]
    parts = {}
    with torch.no_grad():
        for weight in (0, 0.3, 1):
            objective = Continued(tokenizer, "en", weight)
            parts[weight] = objective.loss(model, objective.collate(rows, RNG(5)))
    torch.testing.assert_close(parts[0.3], 0.7 * parts[0] + 0.3 * parts[1])
    pet = judge(tokenizer)
    torch.testing.assert_close(parts[0], pet.loss(model, pet.collate(rows)).detach())
    assert parts[1] != parts[0]
    with pytest.raises(UsageError, match=r"mlm_weight=1.5"):
        Continued(tokenizer, "en", 1.5)


def test_of_one_task_without_language_modelling_it_is_pet_on_the_rows(tokenizer):
    """continue_pretraining and `fit` on the same rows in the same order end at the same weights."""
    task, model = tiny.sentiment(), tiny.bert()
    found = continue_pretraining(model, tokenizer, [task], steps=3, lr=1e-2, seed=1, mlm_weight=0, batch_size=4)
    rng = RNG(1)
    pairs = entailment_rows(task, rng)
    rows = [pairs[row] for _, row in mixture([len(pairs)], 12, rng, 2.0)]
    wanted, pet = tiny.bert(), judge(tokenizer)
    batches = Batches(rows, pet.collate, 4, seed=1, lengths=[len(row["text"]) for row in rows])
    fit(wanted, pet.loss, batches, steps=3, lr=1e-2, seed=1, progress=False)
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, msg=name)


def test_the_given_model_stays_and_the_copy_learns(tokenizer):
    model, tasks = tiny.bert(), [tiny.sentiment(), tiny.topic(), tiny.inference()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    a, b = (
        continue_pretraining(model, tokenizer, tasks, steps=60, lr=1e-2, seed=3, mlm_weight=0.2, batch_size=8)
        for _ in range(2)
    )
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    task = tiny.sentiment()
    method = Entailment.for_task(task, tokenizer)
    assert evaluate(a, method, task, progress=False)["accuracy"] == 1.0


def test_unlabelled_text_is_read_without_labels():
    task = tiny.sentiment()
    assert unlabelled_texts(task) == ["the film was good", "a dull film", "great", "bad", "it was so fine"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "of one language.* none"),
        ([tiny.sentiment(), tiny.chinese()], "these are of: en, zh"),
        ([Task("t", ("text",), ("x", "y"), {"train": [{"text": "a", "label": None}]})], "task t: no labelled row"),
    ],
)
def test_tasks_that_cannot_be_mixed(tasks, message, tokenizer):
    with pytest.raises(UsageError, match=message):
        continue_pretraining(tiny.bert(), tokenizer, tasks)


def test_entailment_learns_a_real_task_and_then_answers_another():
    """A few steps on reviews, and the judge reads films: other texts, the same statements."""
    model, tokenizer = load("mini-bert-en")
    reviews, films = load_task("world/reviews"), load_task("world/mr")
    small = Task(
        films.name, films.fields, films.labels, {"test": films.splits["test"][:150]}, patterns=films.patterns,
        words=films.words,
    )  # fmt: skip
    method = Entailment.for_task(small, tokenizer)
    before = evaluate(model, method, small, progress=False)["accuracy"]
    trained = continue_pretraining(model, tokenizer, [reviews], steps=60, lr=1e-3, mlm_weight=0, batch_size=32)
    after = evaluate(trained, method, small, progress=False)["accuracy"]
    assert after > 0.75 > before + 0.1
