"""The explorer against PET's own answer, what is cut off, and the controls."""

from __future__ import annotations

import copy
import math
import time

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from labkit.errors import TrainingError, UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.widgets import prompt_explorer
from labkit.widgets.prompt_explorer import TOP, compute, draw

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . love hate very < > b / script & ##s"
).split()
LABELS = {"negative": ("bad", "dull"), "positive": ("good", "great", "fine")}
TEMPLATE = "{text} it was {mask} ."


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=32)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, initializer_range=0.5,
    )  # fmt: skip
    return BertForMaskedLM(config).train()  # with dropout, which must not be felt


@pytest.fixture
def shown(model, tokenizer):
    return prompt_explorer(model, tokenizer, "the film was good .", TEMPLATE, LABELS)


@pytest.mark.parametrize("aggregate", ["mean", "max", "sum"])
def test_the_answer_is_pets(model, tokenizer, aggregate):
    row = {"text": "the film was dull ."}
    method = PET(TEMPLATE, Verbalizer(LABELS, tokenizer, aggregate), tokenizer)
    model.eval()
    with torch.no_grad():
        wanted = method.logits(model, method.collate([row]))[0].softmax(0)
        plain = model(**tokenizer("the film was dull . it was [MASK] .", return_tensors="pt")).logits[0, 8].softmax(0)
    model.train()
    found = compute(model, tokenizer, row, TEMPLATE, LABELS, aggregate=aggregate)
    assert model.training
    assert list(found.answer.values()) == pytest.approx(wanted.tolist(), rel=1e-4)
    assert sum(found.answer.values()) == pytest.approx(1)
    for words in found.words.values():
        for word, chance in words:
            assert chance == pytest.approx(plain[WORDS.index(word)].item(), rel=1e-4)
    (top,) = found.blanks
    assert len(top) == TOP and [chance for _, chance, _ in top] == sorted((c for _, c, _ in top), reverse=True)
    assert top[0][0] == WORDS[int(plain.argmax())]
    assert {label for word, _, label in top if word in LABELS["positive"]} <= {"positive"}


def test_a_high_temperature_levels_the_words(model, tokenizer):
    def spread(temperature):
        found = compute(model, tokenizer, {"text": "the film"}, TEMPLATE, LABELS, temperature=temperature)
        return found.blanks[0][0][1], max(found.answer.values())

    assert spread(0.2) > spread(1.0) > spread(5.0)
    assert spread(1e6)[0] == pytest.approx(1 / len(WORDS), rel=1e-3)


def test_a_blank_that_is_no_numbers_and_a_temperature_that_is_none_are_refused(model, tokenizer):
    for temperature in (0, -1, math.inf):
        with pytest.raises(UsageError, match="temperature"):
            compute(model, tokenizer, {"text": "the film"}, TEMPLATE, LABELS, temperature=temperature)
    broken = copy.deepcopy(model)
    torch.nn.init.constant_(broken.cls.predictions.bias, math.nan)
    with pytest.raises(TrainingError, match="row 1: the model's answer is no number"):
        compute(broken, tokenizer, {"text": "the film"}, TEMPLATE, LABELS)


def test_what_is_cut_off_is_what_the_model_does_not_read(model, tokenizer):
    row = {"text": "a good film a good film a good film ."}
    for room in range(11, 24):
        found = compute(model, tokenizer, row, "it was {mask} : {text} it was it .", LABELS, max_length=room)
        kept = [piece.text for piece in found.pieces if piece.kind != "cut"]
        batch = PET("it was {mask} : {text} it was it .", Verbalizer(LABELS, tokenizer), tokenizer, room).collate([row])
        assert kept == tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
        kinds = [piece.kind for piece in found.pieces]
        assert kinds[0] == kinds[-1] == "special" and kinds.count("blank") == 1
        place = [at for at, kind in enumerate(kinds) if kind == "cut"]
        assert not place or (kinds[place[-1] + 1] == "words" and len(place) == place[-1] - place[0] + 1)
        whole = [piece.text for piece in found.pieces if piece.kind in ("field", "cut")]
        assert whole == tokenizer.tokenize(row["text"])


def test_two_blanks_and_two_fields(model, tokenizer):
    words = {"a": ("very good",), "b": ("very bad",)}
    found = compute(model, tokenizer, {"one": "the film", "two": "was a"}, "{one} {mask*2} {two}", words)
    assert "blank 1 of 2" in draw(found).html and "blank 2 of 2" in draw(found).html
    first, second = ({word: label for word, _, label in blank if label} for blank in found.blanks)
    assert set(first) <= {"very"} and set(second.items()) <= {("good", "a"), ("bad", "b")}


def test_every_control_changes_the_picture(shown):
    pictures = {shown.view.value}
    for control, value in (
        (shown.temperature, 2.0), (shown.aggregate, "sum"), (shown.text, "a dull film ."),
        (shown.template, "{text} a {mask} film"), (shown.words["negative"], "hate，bad"), (shown.max_length, 7),
    ):  # fmt: skip
        control.value = value
        assert shown.message.value == ""
        pictures.add(shown.view.value)
    assert len(pictures) == 7
    assert "cut off (struck through)" in shown.view.value and "<s>" in shown.view.value


@pytest.mark.parametrize(
    ("control", "value", "said"),
    [
        ("template", "{text} it was {mask", "is never closed"),
        ("template", "{text} it was", "no {mask}"),
        ("template", "{texte} {mask}", "did you mean"),
        ("template", "{text} {mask*2}", "write {mask} and only words of 1 piece"),
        ("template", "it was " * 30 + "{text} {mask}", "shorten the template"),
        ("template", "x" * 1001, "1001 characters"),
        ("text", "x" * 1001, "1001 characters"),
        ("words", "", "1 to 12 words"),
        ("words", "bad, zebra", "not in the tokenizer"),
        ("words", "bad, good", "share it"),
        ("words", ", ".join(["bad"] * 13), "1 to 12 words"),
        ("max_length", 4, "max_length=4"),
    ],
)
def test_a_mistake_is_one_sentence_and_the_last_good_picture_stays(shown, control, value, said):
    before = shown.view.value
    box = shown.words["negative"] if control == "words" else getattr(shown, control)
    old, box.value = box.value, value
    assert said in shown.message.value.replace("&#x27;", "'") and shown.view.value == before
    assert "Traceback" not in shown.message.value
    box.value = old
    assert shown.message.value == "" and shown.view.value == before


def test_a_model_without_a_head_for_the_blank_is_refused_at_once(model, tokenizer):
    with pytest.raises(UsageError, match="no masked-LM head"):
        prompt_explorer(model.bert, tokenizer, "the film", TEMPLATE, LABELS)


def test_markup_is_text_wherever_it_comes_from(model, tokenizer):
    words = {"<script>x": ("bad",), "<b>": ("good",)}
    row = {"text": "<script> & [MASK] [SEP]"}
    found = compute(model, tokenizer, row, "{text} <b> it was {mask}", words)
    picture = draw(found)
    assert "<script" not in picture.html and "&lt;script&gt;x" in picture.html
    assert [piece.text for piece in found.pieces].count("[MASK]") == 1  # a blank typed into the text is no blank


def test_the_words_of_the_picture_say_what_it_shows(shown):
    said = repr(shown)
    assert said.startswith("The model reads: [CLS] the film was good . it was [MASK] . [SEP].")
    assert "Answer: negative " in said and "cut off" not in said
    shown.max_length.value = 8
    assert "3 tokens were cut off" in repr(shown)


def test_one_keystroke_on_the_courses_model_takes_a_moment():
    from labkit.zoo import load

    words = {"negative": "bad", "positive": "good"}
    shown = prompt_explorer(*load("micro-bert-en"), "the soup was delicious .", TEMPLATE, words)
    assert shown.words["negative"].value == "bad"
    times = []
    for _ in range(7):
        start = time.perf_counter()
        shown.text.value += " good"
        times.append(time.perf_counter() - start)
    assert shown.message.value == "" and min(times) < 0.05
