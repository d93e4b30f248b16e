"""Neighbours against a search by hand, what is recorded, and the controls."""

from __future__ import annotations

import pytest
import torch
from transformers import BertTokenizerFast

from labkit.errors import UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.soft_prompts import Prefix, PromptTuning, PTuning
from labkit.training import Batches, fit
from labkit.widgets import soft_prompt_neighbours
from labkit.widgets.soft_prompt_neighbours import Recorder, compute, draw
from tests.fewshot.soft_prompt_models import ID, ROWS, WORDS, bert, task


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizerFast(vocab=ID, model_max_length=32)


@pytest.fixture(scope="module")
def recorder(tokenizer):
    method, model = PET.for_task(task(), tokenizer), PromptTuning(3).attach(bert())
    recorder = Recorder(model, every=4)
    batches = Batches(ROWS, method.collate, 2, seed=0)
    fit(model, method.loss, batches, steps=10, lr=0.3, progress=False, on_step=recorder)
    return recorder


def test_neighbours_are_those_of_a_search_by_hand(tokenizer):
    draw = torch.Generator().manual_seed(0)
    words, rows = torch.randn(len(WORDS), 6, generator=draw), torch.randn(4, 6, generator=draw)
    first = words[[7, 8, 12, 20]] * 3  # a length is no direction
    found = compute(first, rows, words, tokenizer, top=3)
    assert [token.start for token in found] == [WORDS[at] for at in (7, 8, 12, 20)]
    for token, row, before in zip(found, rows, first, strict=True):
        cosines = {word: torch.cosine_similarity(row, words[at], 0).item() for at, word in enumerate(WORDS) if at > 4}
        wanted = sorted(cosines.items(), key=lambda pair: -pair[1])[:3]
        assert [word for word, _ in token.nearest] == [word for word, _ in wanted]
        assert [cosine for _, cosine in token.nearest] == pytest.approx([cosine for _, cosine in wanted], abs=1e-5)
        assert token.kept == pytest.approx(torch.cosine_similarity(row, before, 0).item(), abs=1e-5)


def test_the_recorder_keeps_the_start_and_every_fourth_step(recorder):
    assert recorder.steps == [0, 4, 8]
    assert recorder.losses[0] is None and all(loss > 0 for loss in recorder.losses[1:])
    assert not torch.equal(recorder.rows[0], recorder.rows[1]) and not torch.equal(recorder.rows[1], recorder.rows[2])
    untouched = PromptTuning(3).attach(bert()).bert.soft_prompt.weight
    assert torch.equal(recorder.rows[0], untouched)


def test_the_soft_tokens_of_a_template_too(tokenizer):
    method = PTuning.for_task(task(), tokenizer)
    recorder = Recorder(method.attach(bert()))
    tokens = compute(recorder.rows[0], recorder.rows[0], bert().get_input_embeddings().weight, tokenizer)
    assert [token.start for token in tokens] == ["it", "was", "."]
    assert all(token.nearest[0][0] == token.start and token.kept == pytest.approx(1) for token in tokens)


def test_every_control_changes_the_picture(recorder, tokenizer):
    shown = soft_prompt_neighbours(recorder, tokenizer)
    pictures = {shown.view.value}
    assert "after 8 steps" in shown.view.value
    shown.step.value = 0
    pictures.add(shown.view.value)
    assert "before training" in shown.view.value and "now 1.00 to its start" in shown.view.value
    shown.top.value = 2
    pictures.add(shown.view.value)
    assert len(pictures) == 3 and shown.message.value == ""
    assert repr(shown).startswith("Soft tokens before training. 1, begun as ")


def test_markup_in_a_vocabulary_is_text():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<b>", "&"]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})
    table = torch.eye(7)
    picture = draw(compute(table[5:], table[5:], table, tokenizer, 2), 3, 0.5)
    assert "<b>'" not in picture.html and "&lt;b&gt;" in picture.html and "0.500 nats" in picture.html


def test_mistakes_are_named(recorder, tokenizer):
    with pytest.raises(UsageError, match="no soft tokens to look at"):
        Recorder(Prefix(2).attach(bert()))
    with pytest.raises(UsageError, match="every=0"):
        Recorder(recorder.model, every=0)
    with pytest.raises(UsageError, match="at most 24"):
        soft_prompt_neighbours(Recorder(PromptTuning(25).attach(bert())), tokenizer)
    with pytest.raises(UsageError, match="do not fit"):
        compute(torch.ones(2, 3), torch.ones(2, 4), torch.ones(9, 4), tokenizer)
