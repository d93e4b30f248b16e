"""One body, many heads: choices beside transformers' own head, features that stay, marks and questions beside loops."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultipleChoice

import labkit
from labkit.errors import DataError, UsageError
from labkit.evaluation import answers, evaluate, predict
from labkit.foundations.finetuning.bidaf import bidaf
from labkit.foundations.finetuning.choice import Choice
from labkit.foundations.finetuning.features import Features, LayerMix, shares
from labkit.foundations.finetuning.marked import Marked, marks
from labkit.foundations.finetuning.questions import FORMS, as_form, names_in, shortened
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.native import native_head
from labkit.foundations.reading import Reader
from labkit.foundations.tagging import Tagger
from labkit.tasks import Task
from labkit.training import Batches, fit
from tests.foundations.window_models import KINDS, encoder, tokenizer

ROWS = [
    {"text": "the film was good", "question": "was it", "options": ["good", "bad", "好 店"], "label": 0},
    {"text": "a bad film, it was bad .", "question": "why", "options": ["film", "it"], "label": 1},
    {"text": "这家店很差", "question": "谁", "options": ["店"], "label": 0},
]


@pytest.fixture(scope="module")
def reading():
    return labkit.load_task("world/reading")


def scorer(kind="wordpiece"):
    return native_head(encoder(kind), "sequence", num_labels=1, seed=1).eval()


# Choices


@pytest.mark.parametrize("kind", KINDS)
def test_a_choices_scores_are_those_of_each_option_alone(kind):
    own, made = Choice(tokenizer(kind), options=5), scorer(kind)
    found = own.logits(made, own.collate(ROWS))
    assert found.shape == (3, 5)
    for row, scores in zip(ROWS, found, strict=True):
        for number, score in enumerate(scores):
            if number >= len(row["options"]):
                assert score == -torch.inf
                continue
            inputs = tokenizer(kind)(row["text"], f"{row['question']} {row['options'][number]}", return_tensors="pt")
            torch.testing.assert_close(made(**inputs).logits[0, 0], score)


def test_weights_copied_into_transformers_multiple_choice_give_the_same(tmp_path):
    made, own = scorer(), Choice(tokenizer())
    rows = [{**row, "options": ["good", "bad", "film"], "label": 2} for row in ROWS]
    made.save_pretrained(tmp_path)
    theirs = AutoModelForMultipleChoice.from_pretrained(tmp_path).eval()
    batch = Choice(tokenizer(), options=3).collate(rows)
    out = theirs(**batch)
    torch.testing.assert_close(own.logits(made, own.collate(rows))[:, :3], out.logits)
    torch.testing.assert_close(own.loss(made, own.collate(rows)), out.loss)
    assert own(made, own.collate(rows)) == own.loss(made, own.collate(rows))


def test_a_choice_without_a_question_reads_the_option_alone():
    own, made = Choice(tokenizer(), ("text",)), scorer()
    inputs = tokenizer()("the film was good", "bad", return_tensors="pt")
    assert torch.allclose(own.logits(made, own.collate(ROWS[:1]))[0, 1], made(**inputs).logits[0, 0])


def test_choices_are_predicted_with_shares_that_sum_to_one():
    found = predict(scorer(), Choice(tokenizer()), ROWS, batch_size=2, progress=False)
    assert found.shape == (3, 4) and np.allclose(found.sum(1), 1) and found[2].tolist() == [1, 0, 0, 0]


def test_wrong_options_and_models_are_named():
    own = Choice(tokenizer(), options=2)
    for row, message in (
        ({"options": "film"}, "must be a list of texts, not 'film'"),
        ({"options": []}, "must be a list of texts"),
        ({"options": ["a", "b", "c"]}, "3 options: 2 are read; set options=3"),
        ({"options": ["a", "b"], "label": 2}, "label 2 is the place of none of its 2"),
    ):
        with pytest.raises(DataError, match=f"row 1 of the batch: .*{message}"):
            own.collate([{**ROWS[0], **row}])
    with pytest.raises(UsageError, match="options=1: a choice needs at least 2"):
        Choice(tokenizer(), options=1)
    with pytest.raises(UsageError, match="BertForSequenceClassification gives no single score"):
        own.logits(native_head(encoder(), "sequence", ["a", "b"]), own.collate(ROWS[1:]))


# Features


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3, None])
def test_a_head_on_features_reads_that_layer(layer):
    model, own = native_head(encoder(), "token", ["a", "b", "c"], seed=0).eval(), Tagger(tokenizer(), ["a", "b", "c"])
    batch = own.collate([{"text": "the film was good", "label": [0, 1, 2, 0]}])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    plain = model(**inputs).logits
    states = model.bert(**inputs, output_hidden_states=True).hidden_states
    with torch.no_grad():
        wanted = model.classifier(sum(states) / 3 if layer is None else states[layer])
    how = Features(layer)
    assert how.apply(model) is model
    torch.testing.assert_close(model(**inputs).logits, wanted)
    assert {name.split(".")[0] for name, one in model.named_parameters() if one.requires_grad} == (
        {"classifier", "layer_mix"} if layer is None else {"classifier"}
    )
    with pytest.raises(UsageError, match="undo them"):
        how.apply(model)
    how.undo(model)
    torch.testing.assert_close(model(**inputs).logits, plain)
    assert all(one.requires_grad for one in model.parameters()) and not hasattr(model, "layer_mix")


def test_training_on_features_moves_the_head_and_the_mix_alone():
    model, own = add_head(encoder(), 2, "mean", seed=0), HeadClassifier(tokenizer())
    Features(None).apply(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = [{"text": "the film was good", "label": 1}, {"text": "a bad film", "label": 0}]
    fit(model, own.loss, Batches(rows, own.collate, 2, seed=0), steps=3, lr=1e-2, progress=False)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"classifier.weight", "classifier.bias", "layer_mix.weights", "layer_mix.scale"}
    assert sum(shares(model)) == pytest.approx(1) and len(shares(model)) == 3


def test_the_mix_is_elmos():
    mix, states = LayerMix(3), [torch.full((1, 1, 2), float(value)) for value in (1, 2, 4)]
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, np.log(2), np.log(5)]))
        mix.scale.fill_(0.5)
    assert mix(states)[0, 0].tolist() == pytest.approx([0.5 * (1 + 2 * 2 + 5 * 4) / 8] * 2)


def test_layers_that_are_not_there_are_named():
    for layer in (3, -4):
        with pytest.raises(UsageError, match=f"layer={layer}: the body has its embeddings, 0, and layers up to 2"):
            Features(layer).apply(encoder())
    with pytest.raises(UsageError, match="no learned mix"):
        shares(encoder())


# Marks


def test_marks_are_the_tokens_that_both_texts_have():
    own = Marked(Reader(tokenizer()))
    rows = [{"text": "a bad film, it was bad .", "question": "was it good .", "label": {"text": "film", "start": 6}}]
    batch, plain = own.collate([*rows, {**rows[0], "question": "why"}]), own.method.collate(rows)
    words = tokenizer().convert_ids_to_tokens(batch["input_ids"][0].tolist())
    marked = [word for word, mark in zip(words, batch["token_type_ids"][0].tolist(), strict=True) if mark]
    assert sorted(marked) == sorted(["was", "it", "."] * 2)
    assert batch["token_type_ids"][1].sum() == 0
    assert (batch["input_ids"][0] == plain["input_ids"][0]).all() and own.fields == ("text", "question")


@pytest.mark.parametrize("seed", range(5))
def test_marks_beside_a_loop(seed):
    rng = np.random.default_rng(seed)
    ids, types = torch.from_numpy(rng.integers(0, 6, (3, 8))), torch.from_numpy(rng.integers(0, 2, (3, 8)))
    found = marks(ids, types, [0, 1])
    for row in range(3):
        for one in range(8):
            other = [int(ids[row, at]) for at in range(8) if types[row, at] != types[row, one]]
            assert found[row, one] == (int(ids[row, one]) > 1 and int(ids[row, one]) in other)


def test_a_tokenizer_without_types_cannot_mark():
    class Untyped:
        def collate(self, rows, rng=None):
            return {"input_ids": torch.zeros(1, 2)}

    with pytest.raises(UsageError, match="marks stand in the token types"):
        Marked(Untyped()).collate([])
    assert not hasattr(Marked(HeadClassifier(tokenizer())), "answers")  # so it is evaluated as a classifier


# Questions


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_a_task_that_checks_itself(reading, form):
    task = as_form(reading, form, sentences=2)
    assert len(task.splits["train"]) == 1000 and task.name.endswith("2 sentences")
    assert task.splits == as_form(reading, form, sentences=2).splits
    for row in task.splits["test"]:
        assert row["text"][row["answer_start"] :].startswith(row["answer"]) and row["text"].count(" .") <= 2
        if form == "choice":
            assert row["options"][row["label"]] == row["answer"] and len(set(row["options"])) == len(row["options"])
        if form == "yes or no":
            assert row["question"].endswith(f" {row['answer']} ?") == (row["label"] == 1)


def test_shortened_texts_are_sentences_of_the_text_in_their_order(reading):
    for row in [row for row in reading.splits["test"] if row["answer"]][:100]:
        whole = row["text"].removesuffix(" .").split(" . ")
        for sentences in (1, 2, 9):
            short = shortened(row, sentences, random.Random(0))
            parts = short["text"].removesuffix(" .").split(" . ")
            assert len(parts) == min(sentences, len(whole)) and parts == [part for part in whole if part in parts]
            own = short["text"][: short["answer_start"]].count(" . ")
            assert row["text"][: row["answer_start"]].count(" . ") == whole.index(parts[own])


def test_names_are_found_whole_and_counted_by_kind(reading):
    assert names_in("stream logistics of middle stream") == {"stream logistics": "company", "middle stream": "city"}
    row = as_form(reading, "span").splits["train"][0]
    kinds = [kind for name, kind in names_in(row["text"]).items() if name not in row["question"]]
    assert row["alike"] == kinds.count(names_in(row["answer"])[row["answer"]])


def test_tasks_that_are_no_reading_are_named(reading):
    with pytest.raises(UsageError, match="unknown form 'spam'"):
        as_form(reading, "spam")
    with pytest.raises(DataError, match="no row has an 'answer'"):
        as_form(labkit.load_task("world/mr"), "span")
    odd = replace(reading, splits={"train": [{**reading.splits["train"][0], "answer": "nobody"}]})
    with pytest.raises(DataError, match="'nobody' is no name of the world"):
        as_form(odd, "span")


# Bad input

ODD = {
    "long": "the film was good . " * 400,
    "empty": "",
    "blank": "  \t ",
    "unknown": "🙂 ☃ \x00 \u200b",
    "mixed scripts": "the 店 фильм was גשם 好",
    "one long word": "a" * 5000,
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_texts_get_an_answer_out_of_themselves(text):
    rows = [{"text": text, "question": "was it good"}, {"text": "the film", "question": text}]
    read, made = Reader(tokenizer(), max_length=64), native_head(encoder(), "span", seed=0)
    for model, own in ((made, read), (made, Marked(read)), (bidaf(len(tokenizer()), seed=0, hidden_size=6), read)):
        for row, found in zip(rows, answers(model, own, rows, progress=False), strict=True):
            begins = max(found["start"], 0)
            assert row["text"][begins : begins + len(found["text"])] == found["text"]
    assert Reader.score(read, [{"label": {"text": text}}], [{"text": text}])["f1"] == 1


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_options_get_a_share_each_and_long_texts_leave_them_room(text):
    own = Choice(tokenizer(), max_length=32)
    parts = ((text, "who", ["good", "bad"]), ("film", text, ["it"]), ("film", "who", ["good", text]))
    rows = [dict(zip(("text", "question", "options"), part, strict=True)) for part in parts]
    found = predict(scorer(), own, rows, progress=False)
    assert np.allclose(found.sum(1), 1) and found[0, 0] != found[0, 1]
    assert own.collate(rows)["input_ids"].shape[-1] <= 32


# Real data


@pytest.mark.real
def test_atis_intents_are_learnt_with_the_body_and_from_its_features(real_data):
    splits = {}
    for part in ("train", "test"):
        texts, labels = ((real_data / "atis" / part / name).read_text().splitlines() for name in ("seq.in", "label"))
        splits[part] = list(zip(texts, labels, strict=True))
    names = sorted({label for rows in splits.values() for _, label in rows})
    rows = {
        part: [{"text": text, "label": names.index(label)} for text, label in some] for part, some in splits.items()
    }
    task = Task("atis", ("text",), tuple(names), rows)
    majority = np.mean([label == "atis_flight" for _, label in splits["test"]])
    body, own_tokenizer = labkit.load_model("micro-bert-en")
    own, found = HeadClassifier(own_tokenizer), {}
    for name, lr in (("features", 2e-2), ("fine-tuned", 2e-3)):
        model = add_head(body, names, "mean", seed=0)
        if name == "features":
            Features(None).apply(model)
        fit(model, own.loss, Batches(rows["train"], own.collate, 16, seed=0), steps=120, lr=lr, seed=0, progress=False)
        found[name] = evaluate(model, own, task, progress=False)["accuracy"]
    assert found["fine-tuned"] > found["features"] > majority + 0.05
