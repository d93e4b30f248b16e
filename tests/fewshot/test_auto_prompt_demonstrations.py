"""Demonstrations: what stands in the context, who is drawn, and what averaging means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.fewshot.auto_prompts import with_demonstrations
from labkit.fewshot.pet import PET
from labkit.foundations.encoder import backbone
from labkit.training import Batches, fit
from tests.fewshot.auto_prompt_tiny import WORDS, bert, task
from tests.fewshot.auto_prompt_tiny import tokenizer as tiny_tokenizer

ROWS = task().splits["train"]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def read(batch, row):
    kept = batch["input_ids"][row][batch["attention_mask"][row].bool()]
    return " ".join(WORDS[number] for number in kept.tolist())


def test_the_context_is_the_row_and_one_solved_example_of_each_class(tokenizer):
    method = with_demonstrations(PET.for_task(task(), tokenizer), bert(), ROWS, top=1.0, samples=1)
    batch = method.collate([ROWS[0]], np.random.default_rng(0))
    text = read(batch, 0)
    assert text.startswith("[CLS] the film was good it was [MASK] . ") and text.count("[MASK]") == 1
    first, second = (
        text.removeprefix("[CLS] the film was good it was [MASK] . ").removesuffix(" [SEP]").split(" it was bad . ")
    )
    assert first in {row["text"] for row in ROWS if row["label"] == 0} - {ROWS[0]["text"]}
    assert second.removesuffix(" it was good .") in {row["text"] for row in ROWS if row["label"] == 1}
    assert batch["labels"].tolist() == [0]
    plain = PET.for_task(task(), tokenizer).collate([ROWS[0]])
    assert batch["mask_positions"].tolist() == plain["mask_positions"].tolist()


def test_the_drawn_are_the_similar_half_and_never_the_row_itself(tokenizer):
    model = bert()
    method = with_demonstrations(PET.for_task(task(), tokenizer), model, ROWS, top=0.5)
    model.eval()

    def vector(row):
        with torch.no_grad():
            states = backbone(model)(**tokenizer(row["text"], return_tensors="pt")).last_hidden_state[0]
        return states.mean(0) / states.mean(0).norm()

    rng, query = np.random.default_rng(0), ROWS[1]
    drawn = [{}, {}]
    for _ in range(60):
        row = method._shown(query, method._orders([query])[0], rng)
        for label in range(2):
            drawn[label][row[f"shown {label} text"]] = True
    for label in range(2):
        others = [row for row in ROWS if row["label"] == label and row is not query]
        near = sorted(others, key=lambda row: -float(vector(row) @ vector(query)))
        assert set(drawn[label]) == {row["text"] for row in near[: -(-len(others) // 2)]}
    model.train()


def test_an_answer_is_the_mean_over_samples_and_does_not_change(tokenizer):
    model = bert().eval()
    method = with_demonstrations(PET.for_task(task(), tokenizer), model, ROWS, top=1.0, samples=5, seed=2)
    dev = task().splits["dev"]
    batch = method.collate(dev)
    assert batch["input_ids"].shape[0] == 5 * len(dev) and batch["labels"].shape == (len(dev),)
    with torch.no_grad():
        single = PET.logits(method, model, batch).softmax(1).view(len(dev), 5, 2).mean(1)
        torch.testing.assert_close(method.logits(model, batch).softmax(1), single)
    alone = np.concatenate([predict(model, method, [row]) for row in dev])
    np.testing.assert_allclose(alone, predict(model, method, dev, batch_size=4), atol=1e-5)
    assert len({read(batch, number) for number in range(5)}) > 1


def test_it_trains_and_the_encoder_that_compares_stays_as_it_was(tokenizer):
    model = bert()
    method = with_demonstrations(PET.for_task(task(), tokenizer), model, ROWS)
    before = [value.clone() for value in method.similarity.model.state_dict().values()]
    history = fit(model, method.loss, Batches(ROWS, method.collate, 6, seed=0), steps=40, lr=3e-3, progress=False)
    assert np.mean(history.losses[-5:]) < np.mean(history.losses[:5])
    after = method.similarity.model.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_pairs_meta_values_and_long_texts(tokenizer):
    rows = [{"one": f"film {'very ' * n}", "two": "it was fine", "kind": "so", "label": n % 2} for n in range(8)]
    few = task(
        fields=("one", "two"), splits={"train": rows}, patterns=("{one} {special:sep} {meta:kind} {mask} {two}",)
    )
    method = with_demonstrations(PET.for_task(few, tokenizer, max_length=40), bert(), rows, samples=1)
    batch = method.collate(rows)
    assert batch["input_ids"].shape[1] <= 40 and (batch["mask_positions"] > 0).all()
    assert method.logits(bert().eval(), batch).shape == (8, 2)


def test_what_cannot_be_shown_is_refused(tokenizer):
    hand = PET.for_task(task(), tokenizer)
    with pytest.raises(DataError, match="label 'negative' has fewer than two rows"):
        with_demonstrations(hand, bert(), ROWS[:2])
    with pytest.raises(UsageError, match="top=0"):
        with_demonstrations(hand, bert(), ROWS, top=0)
    with pytest.raises(UsageError, match="trainable tokens cannot be repeated"):
        with_demonstrations(PET.for_task(task(), tokenizer, "{text} {soft*2} {mask}"), bert(), ROWS)
    few = replace(task(), patterns=("{text} " + "it was " * 12 + "{mask} .",))
    with pytest.raises(UsageError, match="leaves no room|takes .* tokens"):
        with_demonstrations(PET.for_task(few, tokenizer, max_length=40), bert(), ROWS).collate(ROWS)
