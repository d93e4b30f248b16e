"""Tags: each word at its first piece whatever the tokenizer, seqeval's scores, transformers' own loss and folders."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score
from transformers import AutoModelForTokenClassification

import labkit
from labkit.errors import DataError, TrainingError, UsageError
from labkit.evaluation import answers, evaluate
from labkit.fewshot.describing import describe, restore
from labkit.foundations.native import native_head
from labkit.foundations.tagging import WORD, Extractor, Tagger, read_spans, spans_of
from labkit.foundations.windows import IGNORE
from labkit.tasks import Task
from labkit.training import Batches, fit
from labkit.training.batches import split
from tests.foundations.window_models import KINDS, by_token, encoder, tokenizer

LABELS = ("O", "B-film", "I-film", "B-店", "I-店")
ROWS = [
    {"text": "the film was good", "label": [1, 2, 0, 0]},
    {"text": "a bad bad bad film", "label": [0, 3, 4, 4, 1]},
    {"text": "这 家 店 很 差", "label": [0, 0, 3, 0, 0]},
]
WORDS = st.lists(
    st.text(st.sampled_from("abfilm好看,.\u200d\u0301\U0001f600\u00a0\t"), max_size=6), min_size=1, max_size=12
)


def method(kind="wordpiece", **options):
    return Tagger(tokenizer(kind), LABELS, **options)


def model(kind="wordpiece", body=encoder):
    return native_head(body(kind), "token", LABELS, seed=1).eval()


# Words and their tokens


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(words=WORDS, length=st.integers(4, 12), data=st.data())
def test_every_word_with_a_token_is_asked_once_at_its_first(kind, words, length, data):
    own, text = tokenizer(kind), " ".join(words)
    labels = data.draw(st.lists(st.integers(0, 4), min_size=len(words), max_size=len(words)))
    batch = method(kind, max_length=length).collate([{"text": text, "label": labels}])
    whole = own(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
    expected, begin = {}, 0
    for number, word in enumerate(words):
        stretch = [at for at, (a, b) in enumerate(whole["offset_mapping"]) if a < begin + len(word) and b > begin]
        if word and stretch:
            expected[number] = whole["input_ids"][stretch[0]]
        begin += len(word) + 1
    asked = batch["words"] >= 0
    found = list(zip(batch["words"][asked].tolist(), batch["input_ids"][asked].tolist(), strict=True))
    assert sorted(found) == sorted(expected.items())
    assert batch["labels"][asked].tolist() == [labels[word] for word, _ in found]
    assert (batch["labels"][~asked] == IGNORE).all() and batch["count"].sum() == len(found)


def test_a_word_without_a_token_is_outside():
    rows = [{"text": "the  film"}, {"text": ""}]  # two blanks: a word of no characters between them
    found = answers(model(), method(), rows, progress=False)
    assert len(found[0]["tags"]) == 3 and found[0]["tags"][1] == 0 and found[0]["probabilities"][1] == 1
    assert found[1] == {"tags": [0], "probabilities": [1.0], "spans": []}


def test_texts_without_any_token_have_no_spans():
    own, made = Tagger(tokenizer(), LABELS), native_head(encoder(), "token", LABELS, seed=0)
    for answer in answers(made, own, [{"text": ""}, {"text": "  "}], batch_size=1, progress=False):
        assert answer["spans"] == [] and set(answer["tags"]) == {0}


def test_windows_tag_a_long_text_as_one_window_does():
    """Of a model that looks at nothing but the token, so that the windows themselves are all there is to see."""
    text = " ".join("the film was good a bad 店 很".split()[number % 7] for number in range(90))
    short, long = (answers(model(body=by_token), method(max_length=size), [{"text": text}], progress=False)[0]
                   for size in (16, 300))  # fmt: skip
    assert short["tags"] == long["tags"] and len(set(short["tags"])) > 1
    np.testing.assert_allclose(short["probabilities"], long["probabilities"], atol=2e-6)


# The model


def test_the_loss_is_transformers_own():
    own, made = method(), model()
    batch = own.collate(ROWS)
    theirs = made(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids", "labels")}).loss
    torch.testing.assert_close(own.loss(made, batch), theirs)
    assert own(made, batch) == own.loss(made, batch)


def test_micro_batches_of_windows_add_up_to_the_whole():
    own, made = method(max_length=12), model()
    batch = own.collate([*ROWS, {"text": " ".join(["good film"] * 20), "label": [0, 1] * 20}])
    parts = split(batch, 3)
    shares = [part["count"].sum() / batch["count"].sum() for part in parts]
    torch.testing.assert_close(
        sum(s * own.loss(made, p) for s, p in zip(shares, parts, strict=True)), own.loss(made, batch)
    )


def test_the_folder_loads_in_transformers_and_the_method_beside_it(tmp_path):
    made, own = model(), method(max_length=40)
    made.save_pretrained(tmp_path)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert tuple(again.config.id2label.values()) == LABELS
    other = restore(json.loads(json.dumps(describe(own))), tokenizer())
    assert answers(again, other, ROWS, progress=False) == answers(made, own, ROWS, progress=False)


def test_answers_are_tags_and_the_text_that_they_mark():
    for row, answer in zip(ROWS, answers(model(), method(), ROWS, progress=False), strict=True):
        assert [(one["type"], *_words(row["text"], one)) for one in answer["spans"]] == spans_of(
            [LABELS[tag] for tag in answer["tags"]]
        )
        assert all(row["text"].startswith(one["text"], one["start"]) for one in answer["spans"])


def _words(text, span):
    before = text[: span["start"]].count(" ")
    return before, before + len(span["text"].split(" "))


def test_wrong_models_rows_and_labels_are_named():
    own = method()
    with pytest.raises(UsageError, match="gives no 5 logits a token: use native_head"):
        own.loss(native_head(encoder(), "token", LABELS[:3]), own.collate(ROWS))
    with pytest.raises(UsageError, match="no label"):
        own.loss(model(), own.collate([{"text": "a"}]))
    with pytest.raises(DataError, match="row 2 of the batch: field 'text' must be a text"):
        own.collate([{"text": "a"}, {"text": 3}])
    for labels in (["O"], ["O", "O", "B"], ["O", 3], [["O"], "B", "I"]):
        with pytest.raises(UsageError, match="two labels or more"):
            Tagger(tokenizer(), labels)
    with pytest.raises(UsageError, match="'types' is missing"):
        restore({"kind": "extraction"}, tokenizer())
    broken = model()
    with torch.no_grad():
        broken.classifier.weight[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="'classifier.weight' holds NaN"):
        answers(broken, own, ROWS, progress=False)


# Tags and their score


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]), max_size=12))
def test_spans_are_those_of_a_loop(tags):
    expected, open_ = [], None
    for at, tag in enumerate([*tags, "O"]):
        if open_ and (tag[0] != "I" or tag[2:] != open_[0]):
            expected.append((*open_, at))
            open_ = None
        if tag != "O" and open_ is None:
            open_ = (tag[2:], at)
    assert spans_of(tags) == expected


def test_other_ways_to_write_the_same_spans():
    spans = [("x", 0, 3), ("x", 3, 4), ("y-z", 5, 7)]
    for tags in ("B-x I-x E-x S-x O B-y-z E-y-z", "B-x M-x E-x S-x O B-y-z E-y-z", "B-x I-x L-x U-x O B-y-z L-y-z"):
        assert spans_of(tags.split()) == spans
    assert spans_of("NN B".split()) == [("NN", 0, 1), ("_", 1, 2)]


def test_scores_are_seqevals():
    rng = np.random.default_rng(0)
    told = [{"label": rng.integers(5, size=n).tolist()} for n in (1, 7, 20, 30)]
    given_ = [{"tags": [old if rng.random() < 0.7 else int(rng.integers(5)) for old in row["label"]]} for row in told]
    names = [[[LABELS[tag] for tag in tags] for tags in some]
             for some in ([row["label"] for row in told], [one["tags"] for one in given_])]  # fmt: skip
    report = classification_report(*names, output_dict=True)["micro avg"]
    found = method().score(told, given_)
    assert 0 < found["f1"] < 1
    assert [found["f1"], found["precision"], found["recall"]] == [
        report["f1-score"], report["precision"], report["recall"]
    ]  # fmt: skip
    pairs = [one for row, answer in zip(told, given_, strict=True) for one in zip(row["label"], answer["tags"])]  # noqa: B905
    assert found["accuracy"] == pytest.approx(np.mean([a == b for a, b in pairs]))


# Spans of a plain text


def test_types_and_places_of_spans_are_learnt_and_scored():
    text = "The film 好看, the film."
    label = json.dumps([{"type": "film", "text": "film"}, {"type": "film", "text": "film"},
                        {"type": "店", "text": "看", "start": 10}])  # fmt: skip
    row = {"text": text, "label": label}
    known = read_spans(label, text)
    assert [span["start"] for span in known] == [4, 17, 10]  # a text without a place stands at the first free one
    own = Extractor(tokenizer(), ("film", "店"))
    assert [found[0] for found in WORD.finditer(text)] == ["The", "film", "好", "看", ",", "the", "film", "."]
    assert [own.labels[tag] for tag in own.tags(row)] == "O B-film O B-店 O O B-film O".split()
    assert own.score([row], [known]) == {"f1": 1, "precision": 1, "recall": 1}
    assert own.score([row], [known[:1]]) == {"f1": 0.5, "precision": 1, "recall": 1 / 3}
    assert own.score([row], [[{**known[0], "start": 3}]])["f1"] == 0
    made = native_head(encoder(), "token", own.labels, seed=2).eval()
    for found in answers(made, restore(describe(own), tokenizer()), [row], progress=False)[0]:
        assert text.startswith(found["text"], found["start"]) and found["type"] in own.types


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab 好,.\n"), min_size=1, max_size=20), st.data())
def test_spans_of_whole_words_come_back_from_their_tags(text, data):
    own = Extractor(tokenizer(), ("x", "y"))
    words, spans, at = own.words(text), [], 0
    while at < len(words):
        stop = data.draw(st.integers(at, min(at + 3, len(words))))
        if stop > at:
            begin, end = int(words[at, 0]), int(words[stop - 1, 1])
            spans.append({"type": data.draw(st.sampled_from("xy")), "text": text[begin:end], "start": begin})
        at = max(stop, at + 1)
    tags = np.array(own.tags({"text": text, "label": json.dumps(spans)}), dtype=int)
    assert own._answer(text, words, tags, np.ones(len(tags))) == spans


def test_a_label_that_is_no_list_of_spans_is_refused_in_a_sentence():
    cases = {
        "film": "is no JSON", "{}": "is no list", '["film"]': "is no span", '[{"type": "x"}]': "is no span",
        '[{"type": "x", "text": "film", "start": 1}]': "does not stand in the text at 1",
        '[{"type": "x", "text": "films"}]': "does not stand in the text at any free place",
        '[{"type": "x", "text": "film", "start": true}]': "at True", "[" * 100_000: "is no JSON",
        '[{"type": "x", "text": "film"}, {"type": "x", "text": "film"}]': "any free place",
    }  # fmt: skip
    for label, message in cases.items():
        with pytest.raises(DataError, match=message):
            read_spans(label, "the film")
    with pytest.raises(DataError, match="a span of type 'y': the types are x"):
        Extractor(tokenizer(), ("x",)).collate([{"text": "a", "label": '[{"type": "y", "text": "a"}]'}])


# Real data


@pytest.mark.real
def test_atis_slots_are_learnt(real_data):
    splits = {}
    for part in ("train", "test"):
        texts, tags = ((real_data / "atis" / part / name).read_text().splitlines() for name in ("seq.in", "seq.out"))
        splits[part] = [{"text": text.strip(), "label": tag.split()} for text, tag in zip(texts, tags, strict=True)]
    labels = ("O", *sorted({tag for rows in splits.values() for row in rows for tag in row["label"]} - {"O"}))
    for rows in splits.values():
        for row in rows:
            row["label"] = [labels.index(tag) for tag in row["label"]]
    task = Task("atis", ("text",), labels, splits, answer="tags")
    body, own_tokenizer = labkit.load_model("mini-bert-en")
    own, made = Tagger(own_tokenizer, labels), native_head(body, "token", labels, seed=0)
    batches = Batches(splits["train"], own.collate, 16, seed=0)
    losses = fit(made, own.loss, batches, steps=150, lr=2e-3, seed=0, progress=False).losses
    told, given = ([labels[tag] for tag in tags] for tags in _told_and_guessed(splits))
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) / 5
    assert evaluate(made, own, task, progress=False)["f1"] > f1_score([told], [given]) + 0.1


def _told_and_guessed(splits):
    """The test's tags, and the baseline: to each word the tag that it has most often in training, else "O"."""
    seen = {}
    for row in splits["train"]:
        for word, tag in zip(row["text"].split(), row["label"], strict=True):
            seen.setdefault(word, Counter())[tag] += 1
    told = [tag for row in splits["test"] for tag in [*row["label"], 0]]  # texts are apart
    words = [word for row in splits["test"] for word in [*row["text"].split(), ""]]
    return told, [seen.get(word, Counter([0])).most_common(1)[0][0] for word in words]
