"""What all objectives share: they train, their models read down-stream; and static against dynamic masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertTokenizer

from labkit.errors import UsageError
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.pretraining import (
    IGNORE,
    MICRO,
    CausalLM,
    MaskedLM,
    NextSentence,
    ReplacedTokens,
    SpanCorruption,
    TranslationLM,
    micro_model,
    reader,
    restore_spans,
    sentence_rows,
    sentinels_of,
    tokenize_corpus,
    views,
    with_sentinels,
)
from labkit.training import Batches, fit
from labkit.world import World, corpus
from labkit.zoo.tokenizer import build_tokenizer

SMALL = {"d": 64, "ffn": 128, "positions": 128}


@pytest.fixture(scope="module")
def world():
    texts = corpus(World(), "en", 300)
    tokenizer = with_sentinels(build_tokenizer(texts, least=1))
    return tokenizer, tokenize_corpus(texts, tokenizer, 48)


OBJECTIVES = {
    "mlm": ("bert", MaskedLM),
    "static": ("bert", lambda tokenizer: MaskedLM(tokenizer, fixed_masks=1)),
    "nsp": ("bert-nsp", lambda tokenizer: NextSentence(tokenizer, max_length=48)),
    "gpt": ("gpt", CausalLM),
    "query": ("query", CausalLM),
    "electra": ("electra", ReplacedTokens),
    "t5": ("t5", SpanCorruption),
    "tlm": ("bert", TranslationLM),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_lower_the_loss_and_repeat_bit_for_bit(name, world):
    tokenizer, rows = world
    kind, make = OBJECTIVES[name]
    objective = make(tokenizer)
    if name == "nsp":
        rows = sentence_rows(rows, tokenizer)
    if name == "tlm":  # any two sides will do here
        rows = [{"en": a["input_ids"][1:-1], "zh": a["input_ids"][1:-1][::-1]} for a in rows]
    runs = []
    for _ in range(2):
        model = micro_model(kind, tokenizer, **SMALL)
        batches = Batches(rows[:96], objective.collate, 16)
        runs.append(fit(model, objective.loss, batches, steps=30, lr=3e-3, progress=False).losses)
    assert np.mean(runs[0][-5:]) < 0.9 * np.mean(runs[0][:3])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("kind", MICRO)
def test_every_model_reads_down_stream(kind, world):
    tokenizer, _ = world
    model = micro_model(kind, tokenizer, **SMALL)
    head = add_head(reader(model), 2, pooling="mean", seed=0)
    method = HeadClassifier(tokenizer)
    rows = [{"text": "the film was great", "label": 0}, {"text": "bad", "label": 1}]
    batch = method.collate(rows)
    logits = method.logits(head, batch)
    states = reader(model)(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    mask = batch["attention_mask"][..., None]
    expected = head.classifier((states * mask).sum(1) / mask.sum(1))
    torch.testing.assert_close(logits, expected)  # GPT too: no segment ids are added to its words
    before = [parameter.clone() for parameter in model.parameters()]
    method.loss(head, batch).backward()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))  # the head has a copy


def test_models_follow_their_seed_and_disturb_nothing(world):
    tokenizer, _ = world
    torch.manual_seed(7)
    first = torch.random.get_rng_state()
    a, b, c = (micro_model("bert", tokenizer, seed=seed, **SMALL) for seed in (1, 1, 2))
    assert torch.equal(first, torch.random.get_rng_state())
    weights = [model.bert.embeddings.word_embeddings.weight for model in (a, b, c)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    with pytest.raises(UsageError, match="did you mean 'electra'"):
        micro_model("elektra", tokenizer)


# Static and dynamic masks


def labels_by_text(objective, rows, epochs):
    """For each epoch, the labels that each text got, by the text."""
    batches = Batches(rows, objective.collate, 7)
    found = []
    for epoch in range(epochs):
        seen = {}
        for batch in batches.epoch(epoch):
            ids = torch.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])
            for row, real in enumerate(batch["attention_mask"].bool()):
                seen[tuple(ids[row, real].tolist())] = (
                    tuple(batch["labels"][row, real].tolist()), tuple(batch["input_ids"][row, real].tolist())
                )  # fmt: skip
        found.append(seen)
    return found


def test_static_masks_are_the_same_each_epoch_and_dynamic_ones_differ(world):
    tokenizer, rows = world
    rows = list({tuple(row["input_ids"].tolist()): row for row in rows}.values())[:60]
    static = labels_by_text(MaskedLM(tokenizer, fixed_masks=1), rows, 3)
    assert len(static[0]) == 60 and static[0] == static[1] == static[2]
    dynamic = labels_by_text(MaskedLM(tokenizer), rows, 2)
    differ = [dynamic[0][text] != dynamic[1][text] for text in dynamic[0]]
    assert np.mean(differ) > 0.9
    rates = [np.mean([label != IGNORE for labels, _ in epoch.values() for label in labels]) for epoch in static]
    assert 0.1 < rates[0] < 0.18  # the same rate as ever


def test_ten_masks_a_text_are_ten(world):
    tokenizer, rows = world
    row = max(rows, key=lambda row: len(row["input_ids"]))
    objective = MaskedLM(tokenizer, fixed_masks=10)
    batch = objective.collate([row] * 400, np.random.default_rng(0))
    assert len({tuple(labels) for labels in batch["labels"].tolist()}) == 10
    with pytest.raises(UsageError, match="fixed_masks=-1"):
        MaskedLM(tokenizer, fixed_masks=-1)


# To look at


def test_views_show_each_objective(world):
    tokenizer, rows = world
    ids = rows[0]["input_ids"]
    before, found = ids.copy(), views(tokenizer, probability=0.3)
    assert list(found) == ["GPT", "BERT", "ELECTRA", "T5"]
    shown = {name: view(ids, np.random.default_rng(2)) for name, view in found.items()}
    again = {name: view(ids, np.random.default_rng(2)) for name, view in found.items()}
    for name, (inputs, targets) in shown.items():
        assert (inputs == again[name][0]).all() and (targets == again[name][1]).all()
        assert name == "T5" or inputs.shape == targets.shape == ids.shape
    assert (ids == before).all()
    assert (shown["GPT"][1][:-1] == ids[1:]).all()
    masked, labels = shown["BERT"]
    assert (np.where(labels == IGNORE, masked, labels) == ids).all() and (labels != IGNORE).any()
    inputs, labels = shown["ELECTRA"]
    assert ((inputs != ids) == (labels == 1)).all() and labels.any()
    assert (restore_spans(*shown["T5"], sentinels_of(tokenizer)) == ids).all()


def test_without_sentinels_there_is_no_view_of_t5():
    tokenizer = BertTokenizer(vocab={word: n for n, word in enumerate("[PAD] [UNK] [CLS] [SEP] [MASK] a".split())})
    assert list(views(tokenizer)) == ["GPT", "BERT", "ELECTRA"]


def test_sentinels_are_special_to_every_objective(world):
    tokenizer, _ = world
    assert not set(sentinels_of(tokenizer)) & set(MaskedLM(tokenizer).random_ids.tolist())
