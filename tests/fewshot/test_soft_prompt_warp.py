"""WARP and PPT: scores by hand, what trains, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM, BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_tokens import fold_soft_tokens
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts import PPT, WARP, PromptTuning
from labkit.fewshot.soft_prompts.ppt import halves
from labkit.measure import trainable
from tests.fewshot.soft_prompt_models import ID, ROWS, WORDS, answers, bert, changed, hashes, task, train

SOFT = "bert.embeddings.word_embeddings.soft.weight"
TEXTS = ["the film was good it was great", "a dull dull book", "the book", "it was a film . love it"]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab=ID, model_max_length=32)


@pytest.fixture(scope="module")
def warp(tokenizer):
    return WARP.for_task(task(), tokenizer)


def test_untrained_warp_is_pet_without_the_heads_bias(warp, tokenizer):
    model = bert()
    with torch.no_grad():
        model.cls.predictions.bias.zero_()
    wanted = answers(model, PET.for_task(task(), tokenizer)).softmax(-1)
    torch.testing.assert_close(answers(warp.attach(model), warp).softmax(-1), wanted)


def test_scores_by_hand(warp, tokenizer):
    model = train(warp.attach(bert()), warp)
    states, head = [], model.cls.predictions
    handle = model.bert.register_forward_hook(lambda m, args, out: states.append(out.last_hidden_state))
    batch = warp.collate(ROWS)
    found = answers(model, warp)
    handle.remove()
    with torch.no_grad():
        blanks = states[0][torch.arange(4), batch["mask_positions"][:, 0]]
        wanted = head.transform(blanks) @ model.get_input_embeddings().soft.weight[3:].T
    torch.testing.assert_close(found, wanted)


def test_only_prompt_and_label_vectors_train(warp):
    model = bert()
    before = hashes(model)
    warp.attach(model)
    start = model.get_input_embeddings().soft.weight.detach().clone()
    assert start.shape == (3 + 2, 32) and trainable(model) == start.numel()
    words = bert().get_input_embeddings().weight
    assert torch.equal(start[3:], words[[ID["bad"], ID["good"]]])
    assert changed(model, warp) == {SOFT}
    assert (model.get_input_embeddings().soft.weight != start).any(1).all()
    warp.detach(model)
    assert hashes(model) == before and all(p.requires_grad for p in model.parameters())


def test_a_folded_model_is_saved_and_answers_the_same(warp, tokenizer, tmp_path):
    model = train(warp.attach(bert()), warp)
    wanted = answers(model, warp)
    fold_soft_tokens(model).save_pretrained(tmp_path)
    again = WARP.from_description(warp.describe(), tokenizer)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    torch.testing.assert_close(answers(loaded, again), wanted, rtol=1e-4, atol=1e-5)


def test_label_vectors_alone(tokenizer):
    method = WARP.for_task(task(), tokenizer, soften=False)
    model = method.attach(bert())
    assert str(method.template) == "{text} it was {mask} ." and trainable(model) == 2 * 32
    assert changed(model, method) == {SOFT}
    again = WARP.from_description(method.describe(), tokenizer)
    torch.testing.assert_close(answers(fold_soft_tokens(model), again), answers(model, method))
    with pytest.raises(UsageError, match="'soften' cannot be 'no'"):
        WARP.from_description({**method.describe(), "soften": "no"}, tokenizer)


def test_what_warp_refuses(warp, tokenizer):
    words = Verbalizer({"a": "bad bad", "b": "good good"}, tokenizer, masks=2)
    with pytest.raises(UsageError, match="reads one blank"):
        WARP("{text} it was {mask*2}", words, tokenizer)
    with pytest.raises(UsageError, match="no label vectors"):
        answers(bert(), warp)
    model = warp.attach(bert())
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(UsageError, match="soft tokens already"):
        warp.attach(model)
    assert flags == [p.requires_grad for p in model.parameters()]


# PPT


def test_pre_training_changes_the_prompt_alone_and_learns_its_task(tokenizer):
    delta = PPT(4)
    model = delta.attach(bert())
    plain = PromptTuning(4).attach(bert())
    assert torch.equal(model.bert.soft_prompt.weight, plain.bert.soft_prompt.weight)
    before = hashes(model)
    assert delta.pretrain(model, tokenizer, TEXTS, steps=40, lr=0.05, batch_size=8, progress=False) is model
    after = hashes(model)
    assert {name for name in before if before[name] != after[name]} == {"bert.soft_prompt.weight"}
    method = PET("{first} {mask} {second}", Verbalizer({"other": "no", "same": "yes"}, tokenizer), tokenizer, 26)
    rows = halves(TEXTS, np.random.default_rng(0))
    with torch.no_grad():
        losses = [float(method.loss(one.eval(), method.collate(rows))) for one in (plain, model)]
    assert losses[1] < losses[0] - 0.05
    delta.detach(model)
    assert hashes(model) == hashes(bert())


@given(st.lists(st.text("ab 很好", max_size=12), max_size=8), st.integers(0, 99))
def test_every_text_is_cut_and_never_joined_with_itself(texts, seed):
    able = [text for text in texts if len(text.split()) > 1 or (len(text.strip()) > 1 and not text.isascii())]
    if len(able) < 2:
        with pytest.raises(DataError, match="at least two are needed"):
            halves(texts, np.random.default_rng(seed))
        return
    rows = halves(texts, np.random.default_rng(seed))
    assert [row["label"] for row in rows] == [1, 0] * len(able)
    for text, own, other in zip(able, rows[::2], rows[1::2], strict=True):
        assert (own["first"] + own["second"]).replace(" ", "") == text.replace(" ", "")
        assert own["first"] == other["first"] and own["first"] and own["second"]


def test_another_texts_half_is_another_texts():
    texts = [f"{number} begin {number} end" for number in range(30)]
    for row in halves(texts, np.random.default_rng(3)):
        assert (row["first"].split()[0] == row["second"].split()[0]) == bool(row["label"])


def test_what_pre_training_refuses(tokenizer):
    with pytest.raises(UsageError, match=r"call attach\(model\) first"):
        PPT(4).pretrain(bert(), tokenizer, TEXTS)
    with pytest.raises(DataError, match="1 of 2 texts can be cut"):
        PPT(4).pretrain(PPT(4).attach(bert()), tokenizer, ["one", "two words"])
    assert "yes" in WORDS
