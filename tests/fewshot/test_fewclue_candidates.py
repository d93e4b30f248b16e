"""Answers of the row's own, and of any length: against single plain passes, and bad input."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.fewshot.fewclue import RowCandidates, cloze_for
from labkit.fewshot.prompts.generative import GenerativePET
from labkit.tasks import Task

CHARACTERS = "一二三四五六七八九十好坏天地人大小上下来去说是不这那"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, "。"]
MASK = 4
TEMPLATE = "{text}是{mask}。"
TEXTS = {"short": ("天",), "longer": ("天地",), "longest": ("人大小",)}
ROWS = [{"text": "一二三", "label": 0}, {"text": "四好五", "label": 2}, {"text": "坏", "label": 1}]
IDIOMS = [
    {"text_a": "一二#idiom#三", "candidates": ["天地", "人大", "上下"], "label": 1},
    {"text_a": "#idiom#四五六七", "candidates": ["来去", "小", "不这那"], "label": 2},
]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: at for at, word in enumerate(WORDS)}, model_max_length=32)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=40, initializer_range=0.5,
                        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)  # fmt: skip
    return BertForMaskedLM(config).eval()


@torch.no_grad()
def by_hand(model, before, answer, after):
    """Mean log-probability of the answer's characters, from one plain pass over one text."""
    ids = [2, *map(WORDS.index, before), *[MASK] * len(answer), *map(WORDS.index, after), 3]
    logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    start = 1 + len(before)
    return sum(float(logs[start + k, WORDS.index(c)]) for k, c in enumerate(answer)) / len(answer)


def test_names_of_unequal_lengths_equal_plain_passes(model, tokenizer):
    task = Task("fewclue/csldcp", ("text",), tuple(TEXTS), {"train": ROWS}, words=TEXTS, patterns=(TEMPLATE,))
    method = cloze_for(task, tokenizer)
    assert type(method) is GenerativePET
    with torch.no_grad():
        found = method.logits(model, method.collate(ROWS))
    wanted = [[by_hand(model, row["text"] + "是", text, "。") for (text,) in TEXTS.values()] for row in ROWS]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-4, atol=1e-5)
    assert found.std(0).min() > 1e-3


def test_row_candidates_equal_plain_passes(model, tokenizer):
    method = RowCandidates(tokenizer, count=3)
    with torch.no_grad():
        found = method.logits(model, method.collate(IDIOMS))
    wanted = []
    for row in IDIOMS:
        before, after = row["text_a"].split("#idiom#")
        wanted.append([by_hand(model, before, text, after) for text in row["candidates"]])
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def test_candidates_of_a_row_may_stand_in_any_order(model, tokenizer):
    method = RowCandidates(tokenizer, count=3)
    turned = [{**row, "candidates": row["candidates"][::-1]} for row in IDIOMS]
    straight, reverse = predict(model, method, IDIOMS), predict(model, method, turned)
    assert abs(straight - reverse[:, ::-1]).max() < 1e-6
    assert not (straight.argmax(1) == reverse.argmax(1)).all()


def test_scores_do_not_fall_with_length(tokenizer):
    """A model that finds all characters equally likely finds candidates of all lengths so."""
    blank = BertForMaskedLM(BertConfig(vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                       intermediate_size=8, max_position_embeddings=40)).eval()  # fmt: skip
    torch.nn.init.zeros_(blank.cls.predictions.transform.dense.weight)
    with torch.no_grad():
        blank.bert.embeddings.word_embeddings.weight.zero_()
        blank.cls.predictions.bias.zero_()
        method = RowCandidates(tokenizer, count=3)
        found = method.logits(blank, method.collate(IDIOMS))
    torch.testing.assert_close(found, torch.full((2, 3), -math.log(len(WORDS))))


@given(before=st.integers(0, 60), after=st.integers(0, 60), limit=st.integers(8, 32))
def test_the_gap_survives_any_passage(before, after, limit):
    tokenizer = BertTokenizer(vocab={word: at for at, word in enumerate(WORDS)}, model_max_length=64)
    text = "一" * before + "#idiom#" + "二" * after
    method = RowCandidates(tokenizer, count=2, max_length=limit)
    batch = method.collate([{"text_a": text, "candidates": ["天地", "人大"], "label": 0}])
    ids, at = batch["2/input_ids"][0].tolist(), batch["2/mask_positions"][0].tolist()
    assert len(ids) <= limit and [ids[place] for place in at] == [MASK, MASK]
    kept = ids[1 : at[0]], ids[at[-1] + 1 : -1]
    assert set(kept[0]) <= {WORDS.index("一")} and set(kept[1]) <= {WORDS.index("二")}
    assert len(ids) == min(limit, before + after + 4), "as much as fits is kept"
    if before + after + 4 > limit:
        room = limit - 4
        assert len(kept[0]) == min(before, max(room // 2, room - after)), "both sides are cut alike"


def test_training_teaches_the_right_candidate(model, tokenizer):
    own, method = copy.deepcopy(model), RowCandidates(tokenizer, count=3)
    optimizer = torch.optim.Adam(own.parameters(), 1e-2)
    for _ in range(30):
        loss = method.loss(own, method.collate(IDIOMS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert predict(own, method, IDIOMS).argmax(1).tolist() == [row["label"] for row in IDIOMS]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text_a": "一二三", "candidates": ["天", "地", "人"]}, "field 'text_a' must be a text with the mark #idiom#"),
        ({"candidates": ["天", "地", "人"]}, "field 'text_a' must be a text with the mark #idiom# .* not None"),
        ({"text_a": "一#idiom#"}, "field 'candidates' must be a list of 3 texts, not None"),
        (
            {"text_a": "一#idiom#", "candidates": ["天", "地"]},
            "field 'candidates' must be a list of 3 texts, not .'天', '地'",
        ),
        ({"text_a": "一#idiom#", "candidates": "天地人"}, "field 'candidates' must be a list of 3 texts, not '天地人'"),
        ({"text_a": "一#idiom#", "candidates": ["天", "", "人"]}, "field 'candidates': '' is no text to write"),
    ],
)
def test_a_row_without_its_gap_or_candidates(tokenizer, row, message):
    with pytest.raises(DataError, match="row 2 of the batch: " + message):
        RowCandidates(tokenizer, count=3).collate([IDIOMS[0], row])


def test_settings_that_make_no_sense(tokenizer):
    with pytest.raises(UsageError, match="at least two candidates"):
        RowCandidates(tokenizer, count=1)
    with pytest.raises(UsageError, match="a mark for the gap"):
        RowCandidates(tokenizer, gap="")
