"""Objectives whose loss has more than one mean: cut into micro-batches, they must stay those of the whole batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertTokenizerFast,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
)

from labkit.compression.distill import Distill
from labkit.errors import UsageError
from labkit.fewshot import cp_tuning
from labkit.fewshot.cp_tuning import CPTuning, universal_template
from labkit.fewshot.instruction.entailment import Entailment
from labkit.fewshot.instruction.multitask import Continued
from labkit.fewshot.instruction.statements import OTHERWISE
from labkit.fewshot.instruction.transprompt import TransPrompt
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.generative import GenerativePET, LabelTexts
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.foundations.pretraining import Electra, NextSentence, ReplacedTokens
from labkit.training import Batches, fit
from labkit.training.batches import split, totals_of, uncounted, weighed
from tests.fewshot.tiny_prompts import ID, LABELS, ROWS, TEMPLATE, WORDS, tiny_bert, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
SIZE = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5,
}  # fmt: skip
UNLABELLED = [{"text": "the film was good and so very great " * count} for count in (1, 4, 2)]
MLM = {"mlm_weight": 0.5, "unlabelled": UNLABELLED}


def distil():
    rows = [{**row, "teacher_logits": np.array([row["label"], 0.3], np.float32)} for row in 2 * ROWS]
    for number in (2, 3, 4, 6, 7):
        rows[number]["label"] = None
    how = Distill(PET(TEMPLATE, Verbalizer(LABELS, TOKENIZER), TOKENIZER), temperature=2, alpha=0.5)
    return tiny_bert(), how, rows


def transprompt():
    words, names = Verbalizer(LABELS, TOKENIZER), ["one", "two"]
    how = TransPrompt(TEMPLATE, words, TOKENIZER, names, entropy=0.5)
    rows = [{**row, "weight": weight} for row, weight in zip(2 * ROWS, (0.1, 3, 2, 0.5, 1, 1, 4, 0), strict=True)]
    return how.attach(tiny_bert()), how, rows


def continued(weight: float):
    rows = [{"text": row["text"], "statement": "it was good", "label": row["label"], "plain": "the film " * count}
            for count, row in enumerate(ROWS, start=1)]  # fmt: skip
    other = {"red": "no", "blue": "yes", "sad": "?", "news": ","}
    words = {other.get(word, word): number for word, number in ID.items()}
    return tiny_bert(), Continued(BertTokenizerFast(vocab=words, model_max_length=64), "en", weight), rows


def electra():
    torch.manual_seed(0)
    config = ElectraConfig(**SIZE, embedding_size=16)
    pair = Electra(ElectraForMaskedLM(config), ElectraForPreTraining(config)).eval()
    return pair, ReplacedTokens(TOKENIZER, probability=0.4), UNLABELLED + ROWS


def next_sentence():
    torch.manual_seed(0)
    rows = [{"sentences": [np.arange(5, 7), np.arange(9, 9 + size), np.arange(6, 8)]} for size in (1, 14, 3, 8)]
    return BertForPreTraining(BertConfig(**SIZE)).eval(), NextSentence(TOKENIZER, probability=0.4), rows


OBJECTIVES = {
    "distil": distil,
    "pet": lambda: (tiny_bert(), PET(TEMPLATE, Verbalizer(LABELS, TOKENIZER), TOKENIZER, **MLM), ROWS),
    "fuzzy": lambda: (tiny_bert(), FuzzyPET(TEMPLATE, [LABELS], TOKENIZER, **MLM), ROWS),
    "generative": lambda: (
        tiny_bert(),
        GenerativePET(TEMPLATE, LabelTexts({"no": "bad", "yes": "so good"}, TOKENIZER), TOKENIZER, **MLM),
        ROWS,
    ),
    "cp": lambda: (tiny_bert(), CPTuning(universal_template(("text",)), list(LABELS), TOKENIZER, mlm_weight=2.0,
                                         mlm_probability=0.4), 3 * ROWS),
    "continued": lambda: continued(0.5),
    "mlm alone": lambda: continued(1.0),
    "weights": transprompt,
    "electra": electra,
    "next sentence": next_sentence,
    "one statement": lambda: (
        tiny_bert(),
        Entailment({"no": OTHERWISE, "yes": "it was good"}, TOKENIZER, template="{text} {mask} {statement}",
                   answers=LABELS),
        ROWS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("pieces", [2, 4])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_add_up_to_the_whole(name, pieces, monkeypatch):
    monkeypatch.setattr(cp_tuning, "pccl", lambda features, *_: features[:, 0].mean())  # whose rows see one another
    model, how, rows = OBJECTIVES[name]()
    batch = how.collate(rows, np.random.default_rng(1))
    totals = totals_of([batch])
    # What ELECTRA's generator would draw is no part of the question.
    monkeypatch.setattr("labkit.foundations.pretraining.electra.sampled", lambda logits: logits.argmax(-1))
    whole = how.loss(model, uncounted(batch))
    parts = [weighed(part, totals, 0.0) for part in split(batch, pieces)]
    found = sum(share * how.loss(model, part) for share, part in parts)
    assert len(parts) == pieces and sum(share for share, _ in parts) == pytest.approx(1)
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    table = model.base_model.embeddings.word_embeddings
    weight = getattr(table, "base", table).weight
    wanted, got = (torch.autograd.grad(loss, weight)[0] for loss in (whole, found))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)
    bare = [{key: value for key, value in part.items() if ":" not in key or key[0].isdigit()} for _, part in parts]
    uneven = sum(share * how.loss(model, part) for (share, _), part in zip(parts, bare, strict=True))
    assert name == "one statement" or not torch.allclose(uneven, whole, atol=1e-3)  # what the weights are there for


def test_distillation_in_small_micro_batches_is_distillation():
    model, how, rows = distil()
    losses = []
    for size, times in ((8, 1), (2, 4)):
        student = tiny_bert()
        batches = Batches(rows, how.collate, size, shuffle=False)
        losses.append(fit(student, how, batches, steps=5, accumulate=times, lr=1e-3, progress=False).losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    one = how.collate(rows[:3])
    with torch.no_grad():
        known = F.cross_entropy(how.logits(model, one)[:2], torch.tensor([row["label"] for row in rows[:2]]))
        none = Distill(how.method, temperature=2, alpha=1)(model, one)
        assert how(model, one) == pytest.approx(float(0.5 * none + 0.5 * known), rel=1e-5)


def test_out_of_memory_keeps_a_loss_of_two_means():
    how, rows = distil()[1:]

    def greedy(model, batch):
        if len(batch["labels"]) > 2:
            raise MemoryError("full")
        return how(model, batch)

    batches = Batches(rows, how.collate, 8, seed=3)
    wanted = fit(tiny_bert(), how, batches, steps=4, lr=1e-3, progress=False).losses
    with pytest.warns(RuntimeWarning, match="the effective batch unchanged"):
        assert fit(tiny_bert(), greedy, batches, steps=4, lr=1e-3, progress=False).losses == pytest.approx(
            wanted, rel=1e-4
        )


def test_a_rank_without_rows_of_its_own_counts_for_nothing():
    batches = Batches(ROWS[:2], distil()[1].method.collate, 2, shuffle=False)
    shares = [batches.make(0, rank, 3) for rank in range(3)]
    totals = totals_of([{"count": sum(totals_of([one])["count"] for one in shares)}])
    assert [weighed(one, totals, 0.0)[0] for one in shares] == [0.5, 0.5, 0.0]


def test_counts_that_only_some_batches_have_are_refused():
    with pytest.raises(UsageError, match="some batches have count:mlm, others not"):
        totals_of([{"x": torch.ones(2), "count:mlm": 1}, {"x": torch.ones(2)}])
