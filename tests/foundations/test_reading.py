"""Reading: SQuAD's and CMRC's scores beside a second implementation, the best span beside a loop over all of them."""

from __future__ import annotations

import collections
import json
import re
import string

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForQuestionAnswering

import labkit
from labkit.errors import DataError, TrainingError, UsageError
from labkit.evaluation import answers, evaluate
from labkit.fewshot.describing import describe, restore
from labkit.foundations.native import native_head
from labkit.foundations.reading import Reader, answer_f1, exact_match
from labkit.foundations.windows import read_pieces
from labkit.tasks import Task
from labkit.training import Batches, fit
from tests.foundations.window_models import KINDS, by_token, encoder, tokenizer

ROWS = [
    {"text": "the film was good", "question": "what was good", "label": {"text": "film", "start": 4}},
    {"text": "a bad film, it was bad .", "question": "why", "label": {"text": "", "start": -1}},
    {"text": "这家店很差", "question": "谁", "label": {"text": "店", "start": 2}},
]
LONG = {"text": " ".join("the film was good a bad 店 很".split()[n * n % 7] for n in range(60)), "question": "was it"}


def reader(kind="wordpiece", **options):
    return Reader(tokenizer(kind), **options)


def model(kind="wordpiece", body=encoder):
    return native_head(body(kind), "span", seed=1).eval()


# Scores


def squad_words(text):
    text = "".join(" " if one.isspace() else one for one in text.lower() if one not in string.punctuation)
    return [word for word in re.split(r"\s+", re.sub(r"\b(?:a|an|the)\b", " ", text)) if word]


def squad_f1(told, given_):
    told, given_ = squad_words(told), squad_words(given_)
    if not told or not given_:
        return float(told == given_)
    left, same = collections.Counter(told), 0
    for word in given_:
        same += left[word] > 0
        left[word] -= 1
    precision, recall = same / len(given_), same / len(told)
    return 2 * precision * recall / (precision + recall) if same else 0.0


ENGLISH = st.lists(st.sampled_from(["The", "a", "an", "film", "film's", "good.", ",", "Good", "--", "\t", "thé"])).map(
    " ".join
)
CHINESE = st.text(st.sampled_from("北京好，。 aB2「-"), max_size=8)


@settings(max_examples=200, deadline=None)
@given(ENGLISH, ENGLISH)
def test_english_is_scored_as_squad_scores(told, given_):
    assert answer_f1(told, given_) == pytest.approx(squad_f1(told, given_))
    assert exact_match(told, given_) == (squad_words(told) == squad_words(given_))


def cmrc_f1(told, given_):
    marks = "-:_*^/\\~`+=，。：？！“”；’《》…·、「」（）－～『』"
    told, given_ = ("".join(one for one in text.lower() if one not in marks) for text in (told, given_))
    told, given_ = (
        [part for run in re.findall("[\u4e00-\u9fff]|[^\u4e00-\u9fff]+", text) for part in run.split()]
        for text in (told, given_)
    )
    if not told or not given_:
        return float(told == given_)
    runs = [told[a:b] for a in range(len(told)) for b in range(a, len(told) + 1)]
    inside = {tuple(given_[a:b]) for a in range(len(given_)) for b in range(a, len(given_) + 1)}
    same = max(len(run) for run in runs if tuple(run) in inside)
    return 2 * same / (len(told) + len(given_))


@settings(max_examples=200, deadline=None)
@given(CHINESE, CHINESE)
def test_chinese_is_scored_as_cmrc_scores(told, given_):
    assert answer_f1(told, given_, "zh") == pytest.approx(cmrc_f1(told, given_))


def test_known_scores():
    assert answer_f1("in 1912 in the town", "1912") == pytest.approx(0.4)
    assert exact_match("The Beatles!", "beatles") == 1 and exact_match("", "x") == 0 == answer_f1("", "x")
    assert exact_match("", "") == 1 == answer_f1("the", "") and exact_match("《北京》", "北京", "zh") == 1
    assert answer_f1("北京大学", "北大", "zh") == pytest.approx(2 / 6)  # 京 parts them: only 北 or 大 runs on
    rows = [{"label": {"text": "film", "start": 4}, "answers": ["film", "the good film"]}, ROWS[1]]
    assert reader().score(rows, [{"text": "good film"}, {"text": ""}]) == {"f1": 1, "exact_match": 1}
    assert reader().score(rows, [{"text": "film good"}, {"text": "x"}]) == {"f1": 0.5, "exact_match": 0}


# Windows and their answers


def every_answer(own, made, row, most):
    """The score of every answer in every window, and of none, by loops."""
    batch = own.collate([row])
    with torch.no_grad():
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        out = made(**inputs)
    found = {}
    for window in range(len(batch["row"])):
        for first in range(batch["own"].shape[1]):
            for last in range(first, min(first + most, batch["own"].shape[1])):
                if batch["own"][window, first] and batch["characters"][window, last, 0] >= 0:
                    place = int(batch["characters"][window, first, 0]), int(batch["characters"][window, last, 1])
                    value = float(out.start_logits[window, first] + out.end_logits[window, last])
                    found[place] = max(value, found.get(place, -np.inf))
    return found, min((out.start_logits[:, 0] + out.end_logits[:, 0]).tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", [*ROWS, LONG])
def test_the_answer_is_the_best_of_all_spans_in_all_windows(kind, row):
    own, made = reader(kind, max_length=24, n_best_size=24, max_answer_length=4, unanswerable=False), model(kind)
    found, _ = every_answer(own, made, row, 4)
    (start, stop), best = max(found.items(), key=lambda one: one[1])
    answer = answers(made, own, [row], progress=False)[0]
    assert answer["text"] == row["text"][start:stop].strip() and row["text"].startswith(answer["text"], answer["start"])


def test_no_answer_is_given_where_it_is_likelier_in_every_window():
    own, seen = reader(max_length=24), set()
    for seed in range(6):
        made = native_head(encoder(), "span", seed=seed).eval()
        for row, answer in zip([*ROWS, LONG], answers(made, own, [*ROWS, LONG], progress=False), strict=True):
            found, none = every_answer(own, made, row, own.max_answer_length)
            assert (answer["start"] < 0) == (none >= max(found.values()))
            seen.add(answer["start"] < 0)
    assert seen == {True, False}


def test_several_windows_of_several_rows_are_joined_again():
    rows, own, made = [LONG, *ROWS, LONG], reader(max_length=20, unanswerable=False), model()
    alone = [answers(made, own, [row], progress=False)[0] for row in rows]
    for one, other in zip(answers(made, own, rows, progress=False), alone, strict=True):
        assert one == {**other, "probability": pytest.approx(other["probability"], abs=1e-5)}


def test_windows_answer_as_one_window_does():
    """Of a model that looks at nothing but the token."""
    made, found = model(body=by_token), []
    for size in (24, 300):
        own = reader(max_length=size, n_best_size=300, max_answer_length=5, unanswerable=False)
        found.append(answers(made, own, [LONG], progress=False)[0])
    assert [one["text"] for one in found] == [found[0]["text"]] * 2


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(text=st.text(st.sampled_from("ab film好看 ,.\u200d\U0001f600\t"), min_size=1, max_size=40), data=st.data())
def test_an_answers_tokens_hold_it_and_no_more(kind, text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    label = {"text": text[start : data.draw(st.integers(start + 1, len(text)))], "start": start}
    own = reader(kind, max_length=16)
    batch, pieces = own.collate([{"text": text, "question": "a", "label": label}]), read_pieces(tokenizer(kind), [text])
    stop = start + len(label["text"])
    inside = [
        at for at, (a, b) in enumerate(zip(pieces[0].starts, pieces[0].stops, strict=True)) if a < stop and b > start
    ]
    for first, last, characters in zip(
        batch["first"].tolist(), batch["last"].tolist(), batch["characters"], strict=True
    ):
        assert (first == 0) == (last == 0)
        if first:  # 0 is [CLS]: no answer here
            assert characters[first].tolist() == [pieces[0].starts[inside[0]], pieces[0].stops[inside[0]]]
            assert characters[last].tolist() == [pieces[0].starts[inside[-1]], pieces[0].stops[inside[-1]]]
    room = 16 - 3 - 1 - (kind == "bytes")
    if inside and len(inside) <= room // 2:
        assert batch["first"].any()  # what is no longer than half a window stands whole in one


# The model


def test_the_loss_is_transformers_own():
    own, made = reader(), model()
    batch = own.collate(ROWS)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    full = {name: value[:1, : int(batch["attention_mask"][0].sum())] for name, value in inputs.items()}  # no padding
    theirs = made(**full, start_positions=batch["first"][:1], end_positions=batch["last"][:1]).loss
    torch.testing.assert_close(own.loss(made, own.collate(ROWS[:1])), theirs)
    assert own(made, batch) == own.loss(made, batch)


def test_the_folder_loads_in_transformers_and_the_method_beside_it(tmp_path):
    made, own = model(), reader(max_length=30, doc_stride=5, max_answer_length=7, unanswerable=False, language="zh")
    made.save_pretrained(tmp_path)
    again = AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    other = restore(json.loads(json.dumps(describe(own))), tokenizer())
    assert describe(other) == describe(own)
    assert answers(again, other, [*ROWS, LONG], progress=False) == answers(made, own, [*ROWS, LONG], progress=False)


def test_wrong_models_rows_and_settings_are_named():
    own = reader()
    with pytest.raises(UsageError, match="gives no logits of spans"):
        own.loss(encoder(), own.collate(ROWS))
    with pytest.raises(UsageError, match="no label"):
        own.loss(model(), own.collate([LONG]))
    with pytest.raises(DataError, match="row 1 of the batch: field 'question' must be a text"):
        own.collate([{"text": "a"}])
    for options, message in (
        ({"doc_stride": 0}, "doc_stride=0: at least 1"), ({"language": "ge"}, "unknown language 'ge'"),
        ({"fields": ("text",)}, "two fields"), ({"max_length": 3}, "at least 4 tokens"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            reader(**options)
    broken = model()
    with torch.no_grad():
        broken.qa_outputs.weight[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="'qa_outputs.weight' holds NaN"):
        answers(broken, own, ROWS, progress=False)


def test_a_question_and_a_text_of_nothing_have_no_answer():
    assert answers(model(), reader(), [{"text": "", "question": ""}], progress=False) == [
        {"text": "", "start": -1, "probability": 1.0}
    ]


# Real data


@pytest.fixture(scope="module")
def cmrc(real_data):
    found = json.loads((real_data / "cmrc2018" / "cmrc2018_trial.json").read_text(encoding="utf-8"))
    asked = [
        (part["context"], one) for article in found["data"] for part in article["paragraphs"] for one in part["qas"]
    ]
    rows = [
        {"text": text, "question": one["question"], "answers": [answer["text"] for answer in one["answers"]],
         "label": {"text": one["answers"][0]["text"], "start": one["answers"][0]["answer_start"]}}
        for text, one in asked
    ]  # fmt: skip
    return [row for row in rows if row["text"].startswith(row["label"]["text"], row["label"]["start"])]


@pytest.mark.real
def test_cmrcs_answers_are_found_again_by_their_tokens(cmrc):
    own = Reader(labkit.load_model("micro-bert-zh").tokenizer, max_length=128, language="zh")
    assert len(cmrc) > 900
    Task("cmrc", own.fields, (), {"train": cmrc}, answer="span")  # each answer stands where it is said to
    seen = 0
    for row in cmrc[:100]:
        batch = own.collate([row])
        for first, last, places in zip(batch["first"], batch["last"], batch["characters"], strict=True):
            if first > 0:
                assert row["text"][places[first, 0] : places[last, 1]] == row["label"]["text"].strip()
                seen += 1
    assert seen > 90
    assert own.score(cmrc, [row["label"] for row in cmrc]) == {"f1": 1, "exact_match": 1}


@pytest.mark.real
def test_cmrc_is_learnt_from(cmrc):
    """Of 50 characters around the answer, which micro models read in one window."""
    rng, rows = np.random.default_rng(0), []
    for row in (row for row in cmrc if len(row["label"]["text"]) <= 20):
        cut = max(0, row["label"]["start"] - int(rng.integers(31)))
        label = {**row["label"], "start": row["label"]["start"] - cut}
        rows.append({"text": row["text"][cut : cut + 50], "question": row["question"], "label": label})
    body, own_tokenizer = labkit.load_model("micro-bert-zh")
    own = Reader(own_tokenizer, max_length=128, language="zh", unanswerable=False, max_answer_length=20)
    made, test = native_head(body, "span", seed=0), rows[:150]
    fit(made, own.loss, Batches(rows[150:], own.collate, 16, seed=0), steps=60, lr=2e-3, seed=0, progress=False)
    found = evaluate(made, own, Task("cmrc", own.fields, (), {"test": test}, answer="span"), progress=False)
    trivial = own.score(test, [{"text": row["text"][:10]} for row in test])
    assert found["exact_match"] > trivial["exact_match"] + 0.02 and found["f1"] > trivial["f1"]
