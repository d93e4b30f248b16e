"""Generate & Rank: files, values by algebra, the bank, and a ranker that does what it says."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import T5Config, T5ForConditionalGeneration

from labkit.errors import DataError
from labkit.evaluation import answers
from labkit.foundations.generation.math_problems import (
    GenerateAndRank,
    algebra,
    piece_tokenizer,
    read_math23k,
    read_prefix,
    solves,
    sorted_out,
    with_bank,
    with_ranker,
)
from labkit.foundations.generation.seq2seq import Generation
from labkit.training import Batches, fit
from labkit.world.expressions import evaluate, parse
from labkit.world.math_problems import problems

SIZES = {"d_model": 32, "num_layers": 1, "num_heads": 2, "d_kv": 16, "d_ff": 48, "dropout_rate": 0.0}


def t5(tokenizer, **sizes):
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    return T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **SIZES | sizes, **special)).eval()


def world_rows(count, language="en"):
    rng = random.Random(0)
    return [{"text": one["text"], "label": one["expression"], "numbers": one["numbers"], "answer": one["answer"]}
            for one in itertools.islice(problems(language, rng), count)]  # fmt: skip


ROWS = world_rows(64)


# Files


def test_the_two_formats_are_read(tmp_path):
    path = tmp_path / "zh.txt"
    path.write_text("甲有#0个，乙有#1个，共几个？\t#0 + #1\n#10的#0倍\t#10 * #0\n", encoding="utf-8")
    rows = read_math23k(path, [[3, 4], [0] * 11])
    assert rows[0] == {"text": "甲有NUM0个，乙有NUM1个，共几个？", "label": "NUM0 + NUM1", "numbers": [3, 4]}
    assert rows[1]["label"] == "NUM10 * NUM0" and "numbers" not in read_math23k(path)[0]
    path.write_text("no tab\n", encoding="utf-8")
    with pytest.raises(DataError, match="zh.txt, line 1: no TAB"):
        read_math23k(path)
    path = tmp_path / "en.csv"
    path.write_text('Question,Numbers,Equation\n"Ann has number0 , and a number of number1 .",8.0 2.5,- / number0 100.0 number1\n')  # fmt: skip # noqa: E501
    assert read_prefix(path) == [
        {"text": "ann has NUM0 , and a number of NUM1 .", "label": "NUM0 / 100 - NUM1", "numbers": [8.0, 2.5]}
    ]


def test_pieces_are_words_characters_and_numbers():
    tokenizer = piece_tokenizer([{"text": "甲有NUM0个 apple, 3.5", "label": "NUM0*(1+2)"}], least=1)
    pieces = tokenizer.tokenize("甲有NUM0个 apple, 3.5(x)")
    assert pieces == ["甲", "有", "NUM0", "个", "apple", ",", "3.5", "(", "[UNK]", ")"]
    ids = tokenizer("NUM0*(1+2)")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "NUM0 * ( 1 + 2 )"
    assert ids[-1] == tokenizer.eos_token_id


# Values


def test_the_worlds_problems_are_solved_by_their_own_expressions():
    assert all(solves(row["label"], row) and evaluate(row["label"], row["numbers"]) == row["answer"] for row in ROWS)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("NUM0 + NUM1", "NUM1 + NUM0", True),
        ("NUM0 * (NUM1 - NUM2)", "NUM0 * NUM1 - NUM0 * NUM2", True),
        ("NUM0 / NUM1 / NUM2", "NUM0 / (NUM1 * NUM2)", True),
        ("NUM0 - NUM1", "NUM1 - NUM0", False),
        ("NUM0 + NUM1", "NUM0 * NUM1", False),
        ("NUM0 ^ 2", "NUM0 * NUM0", True),
    ],
)
def test_algebra_tells_expressions_apart(one, other, same):
    assert (algebra(one) == algebra(other)) == same == solves(one, {"label": other})


def test_what_has_no_value_solves_nothing():
    row = {"label": "NUM0 + NUM1", "numbers": [2.0, 2.0]}
    assert solves("NUM0 * NUM1", row)  # for these numbers
    assert not solves("NUM0 * NUM1", {"label": row["label"]})  # for all
    for text in ("NUM0 / ( NUM0 - NUM1 )", "NUM0 +", "NUM9", "x", ""):
        assert not solves(text, row)
        assert algebra(text) is None or text.startswith(("NUM0 /", "NUM9"))
    assert solves("0.3", {"label": "1 / 10 + 2 / 10", "numbers": []})
    assert not solves("NUM0 ^ NUM1 ^ NUM0", {"label": "NUM0"})


# The bank


@given(st.integers(0, len(ROWS) - 1), st.integers(0, 99))
def test_the_bank_says_which_candidates_are_right(number, seed):
    (row,) = with_bank(None, None, [ROWS[number]], random.Random(seed), edits=8)
    right, wrong = row["candidates"]
    assert right[0] == row["label"] and not set(right) & set(wrong)
    for text in [*right, *wrong]:
        parse(text)
    for numbers in ([3, 50, 7, 110, 13, 17], [1009, 31, 101, 2, 5, 77]):
        wanted = evaluate(row["label"], numbers)
        assert all(evaluate(text, numbers) == wanted for text in right)
    assert all(algebra(text) != algebra(row["label"]) for text in wrong)


def test_texts_of_a_beam_are_sorted_out():
    row = {"text": "NUM0 NUM1", "label": "NUM0 + NUM1", "numbers": [2, 2]}
    found = sorted_out(row, ["NUM1 + NUM0", "NUM0 * NUM1", "NUM0 +", "NUM0 + NUM1", "NUM0 * NUM1"])
    assert found == (["NUM0 + NUM1", "NUM1 + NUM0"], ["NUM0 * NUM1", "NUM0 +"])
    assert sorted_out(row, []) == (["NUM0 + NUM1"], ["0"])


# The method


@pytest.fixture(scope="module")
def parts():
    tokenizer = piece_tokenizer(ROWS)
    model = with_ranker(t5(tokenizer), seed=0).eval()
    return model, GenerateAndRank.of(model, tokenizer, ("text",), num_beams=4, num_return_sequences=4)


def test_without_candidates_the_loss_is_that_of_writing(parts):
    model, method = parts
    plain = Generation.of(model, method.tokenizer, ("text",))
    batch = plain.collate(ROWS[:8])
    torch.testing.assert_close(method.loss(model, batch), plain.loss(model, batch))


def test_the_second_loss_is_that_of_each_pair_by_itself(parts):
    """The head reads the state of the decoder at the expression's end, computed one pair at a time."""
    model, method = parts
    rows = with_bank(None, None, ROWS[:6], random.Random(0))
    batch = method.collate(rows, np.random.default_rng(0))
    assert batch["candidates"].shape[:2] == (6, method.compared)
    losses = []
    for row, texts in zip(rows, batch["candidates"], strict=True):
        read = {name: torch.tensor([ids]) for name, ids in method.tokenizer(row["text"]).items() if "ids" in name}
        for place, ids in enumerate(texts):
            ids = ids[: ids.tolist().index(method.tokenizer.eos_token_id) + 1]
            assert ids[1:].tolist() in method.tokenizer(row["candidates"][place > 0])["input_ids"]
            state = model(**read, decoder_input_ids=ids[None], output_hidden_states=True).decoder_hidden_states[-1]
            score = model.ranker(state[0, -1])
            losses.append(F.binary_cross_entropy_with_logits(score, torch.tensor([float(place == 0)])))
    writing = method.loss(model, {name: value for name, value in batch.items() if name != "candidates"})
    torch.testing.assert_close(method.loss(model, batch) - writing, torch.stack(losses).mean())


def test_an_answer_is_the_beam_in_the_rankers_order(parts):
    model, method = parts
    plain = Generation.of(model, method.tokenizer, ("text",), num_beams=4, num_return_sequences=4)
    found, beams = answers(model, method, ROWS[:9]), answers(model, plain, ROWS[:9])
    assert [sorted(one) for one in found] == [sorted(one) for one in beams]
    batch = method.collate(ROWS[:1])
    states = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    scores = [float(method.scores(model, states, batch["attention_mask"], method._candidates([text]))[0])
              for text in found[0]]  # fmt: skip
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]


def test_the_log_probability_is_that_of_writing_and_orders_with_it(parts):
    model, method = parts
    row = ROWS[0]
    batch = method.collate([row])
    states = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    texts = [row["label"], "NUM0 + NUM1 + NUM1", "NUM0"]
    _, found = method.scores(model, states, batch["attention_mask"], method._candidates(texts))
    plain = Generation.of(model, method.tokenizer, ("text",))
    each = [plain.collate([{**row, "label": text}]) for text in texts]
    wanted = [-float(plain.loss(model, one)) * int(one["count"]) for one in each]
    torch.testing.assert_close(found[0], torch.tensor(wanted))
    both = GenerateAndRank.of(model, method.tokenizer, ("text",), num_beams=4, num_return_sequences=4)
    both.likelihood = 1e4
    (first,), (beam,) = answers(model, both, [row]), answers(model, plain, [row])
    _, nats = method.scores(model, states, batch["attention_mask"], method._candidates(first))
    assert nats[0].tolist() == sorted(nats[0].tolist(), reverse=True) and beam[0] in first


def test_the_score_counts_first_answers_and_whole_beams(parts):
    _, method = parts
    rows = [{"label": "NUM0 + NUM1", "numbers": [3, 4]}] * 4
    given = [["NUM1 + NUM0", "0"], ["0", "3 + 4"], ["0", "NUM0"], ["7.0001", "0"]]
    assert method.score(rows, given) == {"accuracy": 0.5, "beam": 0.75}


@pytest.mark.slow
def test_a_ranker_learns_what_is_right():
    """Of a right and a changed expression to a problem that it has not read, it prefers the right one."""
    rows = [row for row in world_rows(1200) if row["label"].count(" ") < 5]
    train, test = rows[60:], with_bank(None, None, rows[:60], random.Random(2))
    tokenizer = piece_tokenizer(train)
    model = with_ranker(t5(tokenizer, d_model=64, d_kv=32, d_ff=128))
    method = GenerateAndRank.of(model, tokenizer, ("text",))
    bank = with_bank(None, None, train, random.Random(1))
    fit(model, method.loss, Batches(bank, method.collate, 32), steps=300, lr=3e-3, progress=False)
    right = []
    for row in test:
        batch = method.collate([{"text": row["text"]}])
        with torch.no_grad():
            states = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
            candidates = method._candidates([row["label"], *row["candidates"][1]])
            first, *others = method.scores(model, states, batch["attention_mask"], candidates)[0][0].tolist()
        right += [first > other for other in others]
    print(sum(right) / len(right))
    assert sum(right) / len(right) > 0.65


@pytest.mark.parametrize("path", ["MAWPS", "Math23K"])
@pytest.mark.real
def test_real_problems_are_solved_more_often_than_by_the_commonest_expression(real_data, path):
    """MAWPS: accuracy on unseen problems. Math23K, for which a minute is too short: the loss on unseen problems beside
    that of the expressions' own unigram counts.
    """
    if path == "MAWPS":
        train, test = (read_prefix(real_data / "mawps" / "fold0" / f"{part}.csv") for part in ("train", "dev"))
    else:
        train, test = (
            read_math23k(real_data / "math23k" / f"infix_math23k_processed.{part}") for part in ("train", "valid")
        )
    known = {row["text"] for row in train}
    test = [row for row in test if row["text"] not in known]
    tokenizer = piece_tokenizer(train, 3)
    model = t5(tokenizer, d_model=96, d_kv=24, num_heads=4, d_ff=192, num_layers=2)
    method = Generation.of(model, tokenizer, ("text",), num_beams=1, max_encoder_length=96)
    batches = Batches(train, method.collate, 32, lengths=[len(row["text"]) for row in train])
    history = fit(model, method.loss, batches, steps=200, lr=3e-3, progress=False)
    assert sum(history.losses[-20:]) < sum(history.losses[:20]) / 2
    model.eval()
    if path == "MAWPS":
        common = max({row["label"] for row in train}, key=[row["label"] for row in train].count)
        share = sum(solves(common, row) for row in test) / len(test)
        found = answers(model, method, test)
        assert sum(solves(texts[0], row) for texts, row in zip(found, test, strict=True)) / len(test) > share + 0.05
    else:
        ids = torch.cat([torch.tensor(tokenizer(row["label"])["input_ids"]) for row in train])
        shares = torch.bincount(ids, minlength=len(tokenizer)).add(1).float()
        batch = method.collate(test[:200])
        labels = batch["labels"][batch["labels"] >= 0]
        alone = -(shares / shares.sum()).log()[labels].mean()
        with torch.no_grad():
            assert method.loss(model, batch) < alone / 2
