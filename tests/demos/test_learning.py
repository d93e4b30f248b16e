"""The methods of the few-shot demo, what a session keeps, and how its results are shown."""

from __future__ import annotations

import copy
import dataclasses
import re

import numpy as np
import pytest
import torch

from labkit.demos.fewshot import learning, showing
from labkit.demos.fewshot.form import Class, Form, sentences, to_task
from labkit.demos.fewshot.learning import HELD_OUT, METHODS, STEPS, Learnt, Shelf, Trained, learn
from labkit.demos.fewshot.page import language_of, on_learn, on_try
from labkit.demos.fewshot.presets import PRESETS, world_task
from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.zoo import load

MARKUP = "<img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def base():
    return load("mini-bert-en")  # the page's own


@pytest.fixture(scope="module")
def reference():
    return world_task("en")


@pytest.fixture(scope="module")
def form(reference):
    return PRESETS["Good or bad"].form(reference, 0)


@pytest.fixture(scope="module")
def learnt(base, reference, form):
    return on_learn(base, reference, form)


def test_every_method_learns_and_is_scored(learnt, form):
    assert list(learnt.methods) == list(learnt.accuracy) == list(METHODS)
    for name, method in METHODS.items():
        assert len(learnt.methods[name].losses) == (STEPS if method.trains else 0)
        # Chance is 0.5, the best reader has 0.93; a head knows the classes by three examples alone.
        assert (0.45 if name == "Head fine-tuning" else 0.85) < learnt.accuracy[name] <= 1
    for name in ("PET", "Head fine-tuning"):
        assert learnt.methods[name].losses[-1] < 0.1
    contrast = learnt.methods["CP-Tuning"].losses
    assert np.mean(contrast[-5:]) < 0.1 * contrast[0]
    found = learning.answers(learnt, sentences(form.tried))
    for name, rows in found.items():
        assert rows.shape == (5, 2)
        if name != "Head fine-tuning":
            assert rows[:2].argmax(1).tolist() == [1, 0]  # the two clear ones


def test_the_pre_trained_model_stays_as_it_was(base, reference, form):
    before = copy.deepcopy(base.model.state_dict())
    first = on_learn(base, reference, form)
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert on_learn(base, reference, form).accuracy == first.accuracy  # the same examples give the same models
    assert {id(trained.model) for trained in first.methods.values()} & {id(base.model)}  # zero-shot needs no copy


def test_pet_learns_what_sentences_are_about(base, reference):
    form = PRESETS["Four subjects"].form(reference, 0)
    task = to_task(form)
    pet = METHODS["PET"].learn(base, task, lambda step, loss: None)
    asked = [{"text": text} for text in sentences(form.tried)]  # one a class, in the classes' order
    assert predict(pet.model, pet.how, asked, progress=False).argmax(1).tolist() == [0, 1, 2, 3]


def test_swapped_words_deceive_the_cloze_alone(base, reference, learnt):
    swapped = on_learn(base, reference, PRESETS["Words swapped"].form(reference, 0))
    assert swapped.accuracy["Untrained cloze"] == pytest.approx(1 - learnt.accuracy["Untrained cloze"])
    for name in ("CP-Tuning", "Head fine-tuning"):
        assert swapped.accuracy[name] == learnt.accuracy[name]


def test_cp_tuning_reads_neither_words_nor_pattern_and_compares_with_the_examples(base, reference, form, learnt):
    words = tuple(dataclasses.replace(c, word=word) for c, word in zip(form.classes, ("monday", "soup"), strict=True))
    other = on_learn(base, reference, dataclasses.replace(form, classes=words, pattern="{mask} : {text}"))
    texts = sentences(form.tried)
    ours, theirs = (learning.answers(found, texts) for found in (learnt, other))
    assert np.array_equal(ours["CP-Tuning"], theirs["CP-Tuning"])
    assert not np.allclose(ours["PET"], theirs["PET"], atol=0.01)
    trained = learnt.methods["CP-Tuning"]
    features, labels = trained.how.support
    assert features.shape == (6, base.model.config.hidden_size) and labels.tolist() == [0, 0, 0, 1, 1, 1]
    own = [row["text"] for row in learnt.task.splits["train"]]
    assert learning.answers(learnt, own)["CP-Tuning"].argmax(1).tolist() == labels.tolist()


def test_one_example_a_class_is_enough(base, reference, form):
    single = tuple(dataclasses.replace(c, examples=c.examples[:1]) for c in form.classes)
    found = on_learn(base, reference, dataclasses.replace(form, classes=single))
    assert len(found.methods["CP-Tuning"].how.support[1]) == 2
    assert all(np.isfinite(rows).all() for rows in learning.answers(found, ["the soup was dull ."]).values())


def test_held_out_rows_follow_the_names_of_the_classes(reference, form):
    task = to_task(dataclasses.replace(form, classes=form.classes[::-1]))
    rows, dev = learning.held_out(task, reference), reference.splits["dev"][:HELD_OUT]
    assert [row["label"] for row in rows] == [1 - row["label"] for row in dev]
    other = dataclasses.replace(form.classes[0], name="other")
    assert learning.held_out(to_task(dataclasses.replace(form, classes=(other, form.classes[1]))), reference) == []


def test_progress_rises_to_the_end(base, reference, form):
    seen = []
    learn(base, to_task(form), reference, lambda share, what: seen.append((share, what)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-1] == pytest.approx(0.8)
    assert {what for _, what in seen} == {"PET", "CP-Tuning", "Head fine-tuning", f"trying {HELD_OUT} unseen texts"}


def test_a_form_that_is_refused_trains_nothing(base, reference, form, monkeypatch):
    monkeypatch.setattr(learning, "fit", None)  # so that training would fail
    wrong = dataclasses.replace(form, classes=(form.classes[0], dataclasses.replace(form.classes[1], word="bad")))
    for refused in (wrong, dataclasses.replace(form, tried=""), dataclasses.replace(form, pattern="{text}")):
        with pytest.raises(UsageError):
            on_learn(base, reference, refused)


def test_a_new_method_is_one_entry(base, reference, form, monkeypatch):
    def second(base, task, on_step):
        return METHODS["PET"].learn(base, task, on_step)

    monkeypatch.setitem(METHODS, "Another", learning.Method(second, "something else"))
    found = on_learn(base, reference, form)
    assert found.accuracy["Another"] == found.accuracy["PET"]
    assert on_try(found, "the soup was good .").count("Another") == 1
    assert "Another from" in showing.losses(found).alt


@pytest.mark.parametrize(
    "text",
    ["这里的汤很好。", "😀😀", "\0", "[MASK] [SEP]", "{text} {mask} {0.__class__}", "a" * 1000, "good " * 200, MARKUP],
)
def test_any_text_gets_an_answer(learnt, text):
    for rows in learning.answers(learnt, [text]).values():
        assert np.isfinite(rows).all()
        assert rows.sum() == pytest.approx(1, abs=1e-5)


def test_any_text_may_be_an_example(base, reference, form):
    strange = tuple(dataclasses.replace(c, examples=("汤", "😀\0", "x" * 1000)) for c in form.classes)
    on_try(on_learn(base, reference, dataclasses.replace(form, classes=strange)), "the soup was good .")


# What a session keeps


def made(number):
    return Learnt(None, {}, {"PET": float(number)})


def test_the_shelf_is_bounded_and_keeps_one_result_a_session(base):
    shelf = Shelf(base)
    key = None
    for number in range(100):
        key = shelf.put(made(number), instead=key)
        assert len(shelf) == 1
    assert shelf.get(key).accuracy["PET"] == 99
    for number in range(100):
        shelf.put(made(number))
        assert shelf.get(key) is not None  # used again and again
    assert len(shelf) == shelf.room == 32
    shelf.drop(key)
    shelf.drop(key)
    shelf.drop(None)
    assert shelf.get(key) is shelf.get(None) is None


def test_large_models_have_less_room(base, monkeypatch):
    monkeypatch.setattr(learning, "parameters", lambda model: 110_000_000)
    assert Shelf(base).room == 3


def test_trying_needs_something_learnt():
    with pytest.raises(UsageError, match="press Learn first"):
        on_try(None, "the soup was good .")


@pytest.mark.parametrize(
    ("model", "language"),
    [("mini-bert-en", "en"), ("micro-bert-zh", "zh"), ("bert-base-chinese", "zh"), ("x/y", "en")],
)
def test_the_language_of_a_model(model, language):
    assert language_of(model) == language


# What is shown


def fake(base, labels, losses=(0.7, 0.1)):
    form = Form(tuple(Class(name, word, ("good",)) for name, word in labels.items()), "{text} it was {mask} .")
    task = to_task(form)
    how = learning.zero_shot(base, task, None).how
    return Learnt(task, {name: Trained(base.model, how, losses if m.trains else ()) for name, m in METHODS.items()}, {})


def test_answers_show_each_label_and_share(base, reference):
    found = fake(base, {"no": "bad", "yes": "great"})
    html = showing.answers(found, ["fine"], {name: np.array([[0.254, 0.746]]) for name in METHODS})
    assert re.findall(r"(\d+) %", html) == ["25", "75"] * len(METHODS)
    assert html.count("<b><bdi>yes</bdi></b>") == len(METHODS)
    assert re.findall(r"width:([\d.]+)%;background:(#\w+)", html)[:2] == [("25.4", "#0072B2"), ("74.6", "#D55E00")]


def test_all_that_was_typed_is_shown_as_text(base):
    found = fake(base, {MARKUP: "bad", "</div>${1+1}": "great"})
    text = f"{MARKUP} {{{{constructor}}}} ${{window.hit=1}} `x` \0\x1b <script>hit()</script> \u202e"
    rows = {name: np.array([[0.5, 0.5]]) for name in METHODS}
    for html in (showing.answers(found, [text], rows), showing.scores(found, world_task("en")), showing.curves(found)):
        assert "<script" not in html
        assert "<img src=x" not in html
        assert not set("{}$`\0\x1b") & set(html)
        assert html.count("<div") == html.count("</div>")
    assert showing.safe("\0<\n") == "<bdi>␀&lt;\n</bdi>"


def test_unknown_words_are_told(base):
    tokenizer = base.tokenizer
    assert showing.unfamiliar_words("the soup was good .", tokenizer) == ""
    one = "The model has no token for <bdi>😀</bdi>: it reads that as an unknown word."
    assert showing.unfamiliar_words("good 😀", tokenizer) == one
    many = showing.unfamiliar_words("这里的汤非常好 steak", tokenizer)
    assert "<bdi>的</bdi>, <bdi>汤</bdi>, <bdi>非</bdi> and 2 more: it reads each as the same unknown word." in many
    assert many.endswith("must spell it in pieces: <bdi>steak</bdi>.")
    assert len(showing.unfamiliar_words("x" * 1000, tokenizer)) < 200


def test_scores_with_and_without_accuracy(base, reference, learnt):
    html = showing.scores(learnt, reference)
    assert "Right on 200 unseen reviews" in html
    share = learnt.accuracy["PET"]
    assert f"{100 * share:.0f} ± {100 * (share * (1 - share) / 200) ** 0.5:.0f} %" in html
    assert "guessing 50" in html
    assert "best reader 93" in html
    html = showing.scores(fake(base, {"a": "bad", "b": "great"}), reference)
    assert "No accuracy" in html
    assert "negative and positive" in html


def test_the_losses_have_an_alternative_text(base):
    plot = showing.losses(fake(base, {"a": "bad", "b": "great", "c": "film"}))
    assert plot.alt == (
        "Loss on the examples over 2 training steps. Cross-entropy: PET from 0.70 to 0.10; Head fine-tuning from 0.70 "
        "to 0.10. Guessing among 3 classes loses 1.10. Contrast: CP-Tuning from 0.70 to 0.10."
    )
    assert f'alt="{plot.alt}"' in showing.curves(fake(base, {"a": "bad", "b": "great", "c": "film"}))
