"""BiDAF: its attention beside loops, what it may see, and the reader that trains it."""

from __future__ import annotations

import math

import pytest
import torch

import labkit
from labkit.errors import UsageError
from labkit.evaluation import answers, evaluate
from labkit.foundations.finetuning.bidaf import BiDAF, attention_flow, bidaf
from labkit.foundations.finetuning.questions import as_form
from labkit.foundations.reading import Reader
from labkit.training import Batches, fit
from tests.foundations.window_models import tokenizer

ROWS = [
    {"text": "the film was good", "question": "what was good", "label": {"text": "film", "start": 4}},
    {"text": "a bad film, it was bad .", "question": "why", "label": {"text": "", "start": -1}},
    {"text": "这家店很差", "question": "谁 the film", "label": {"text": "店", "start": 2}},
]


def model(**sizes):
    return bidaf(len(tokenizer()), seed=0, **{"hidden_size": 6, "embedding_size": 8, **sizes}).eval()


def softmax(values):
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("seed", range(4))
def test_attention_flow_is_the_papers_by_loops(seed):
    torch.manual_seed(seed)
    n, t, j, lengths, questions = 3, 5, 4, (5, 3), (2, 4)
    text, question, w = torch.randn(2, t, n), torch.randn(2, j, n), torch.randn(3 * n)
    masks = [torch.arange(size) < torch.tensor(some)[:, None] for size, some in ((t, lengths), (j, questions))]
    found = attention_flow(text, question, w, *masks)
    assert found.shape == (2, t, 4 * n)
    for b in range(2):
        h, u = text[b, : lengths[b]].tolist(), question[b, : questions[b]].tolist()
        joined = [[[*a, *c, *(p * q for p, q in zip(a, c, strict=True))] for c in u] for a in h]
        s = [[sum(p * q for p, q in zip(w.tolist(), one, strict=True)) for one in row] for row in joined]
        which = softmax([max(row) for row in s])
        whole = [sum(p * one[k] for p, one in zip(which, h, strict=True)) for k in range(n)]
        for i, one in enumerate(h):
            own = [sum(p * c[k] for p, c in zip(softmax(s[i]), u, strict=True)) for k in range(n)]
            mixed = [[x * y for x, y in zip(one, other, strict=True)] for other in (own, whole)]
            assert found[b, i].tolist() == pytest.approx([*one, *own, *mixed[0], *mixed[1]], abs=1e-5)


def test_a_text_is_read_the_same_in_any_batch():
    own, made = Reader(tokenizer()), model()
    alone = [answers(made, own, [row], progress=False)[0] for row in ROWS]
    for one, other in zip(answers(made, own, ROWS, progress=False), alone, strict=True):
        assert one == {**other, "probability": pytest.approx(other["probability"], abs=1e-5)}


def test_logits_stand_at_the_text_and_at_no_answer_only():
    own = Reader(tokenizer())
    batch = own.collate(ROWS)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    for logits in model()(**inputs).to_tuple():
        there = logits > -torch.inf
        text = batch["token_type_ids"].bool() & batch["attention_mask"].bool()
        assert (there[:, 1:] == text[:, 1:]).all() and there[:, 0].all()


def test_every_weight_learns_and_the_embeddings_given_do_not():
    own, given = Reader(tokenizer()), torch.randn(len(tokenizer()), 8)
    made = bidaf(len(tokenizer()), embeddings=given, seed=0, hidden_size=6)
    own.loss(made, own.collate(ROWS)).backward()
    silent = {name for name, one in made.named_parameters() if one.grad is None or not one.grad.any()}
    assert silent == {"embeddings.weight"} and torch.equal(made.embeddings.weight, given)


def test_the_folder_loads_again(tmp_path):
    made, own = model(), Reader(tokenizer())
    made.save_pretrained(tmp_path)
    again = BiDAF.from_pretrained(tmp_path).eval()
    assert answers(again, own, ROWS, progress=False) == answers(made, own, ROWS, progress=False)


def test_without_token_types_it_does_not_know_the_question():
    with pytest.raises(UsageError, match="which is which"):
        model()(torch.ones(1, 4, dtype=torch.long))


@pytest.mark.parametrize("kind", [0, 1])
def test_one_text_alone_is_named(kind):
    ids = torch.ones(1, 4, dtype=torch.long)
    with pytest.raises(UsageError, match="compares two texts"):
        model()(ids, token_type_ids=torch.full_like(ids, kind))


def test_it_learns_to_read_one_sentence():
    task = as_form(labkit.load_task("world/reading"), "span", sentences=1)
    body, own_tokenizer = labkit.load_model("micro-bert-en")
    own = Reader(own_tokenizer, max_length=64, unanswerable=False)
    made = bidaf(len(own_tokenizer), embeddings=body.get_input_embeddings().weight, seed=0, hidden_size=32)
    few = {**task.splits, "test": task.splits["test"][:100]}
    fit(made, own.loss, Batches(few["train"], own.collate, 16, seed=0), steps=80, lr=4e-3, seed=0, progress=False)
    found = evaluate(made, own, labkit.tasks.Task("one", own.fields, (), few, answer="span"), progress=False)
    assert found["exact_match"] > 0.6
