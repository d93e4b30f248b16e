"""Prompt tuning: what it equals, what it changes, and that it comes off without a trace; mistakes with a prefix too."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    T5Config,
    T5ForConditionalGeneration,
)  # fmt: skip

from labkit.errors import UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens
from labkit.fewshot.soft_prompts import Prefix, PromptTuning
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.measure import trainable
from tests.fewshot.soft_prompt_models import ID, ROWS, SIZES, answers, bert, changed, hashes, roberta, task, train


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab=ID, model_max_length=32)


@pytest.fixture(scope="module")
def pet(tokenizer):
    return PET.for_task(task(), tokenizer)


# Prompt tuning


def test_a_prompt_is_a_template_that_begins_with_soft_tokens(pet, tokenizer):
    model = PromptTuning(5, seed=3).attach(bert())
    template = "{soft*5} {text} it was {mask} ."
    other = attach_soft_tokens(bert(), template, tokenizer)
    with torch.no_grad():
        other.get_input_embeddings().soft.weight.copy_(model.bert.soft_prompt.weight)
    method = PET(template, pet.verbalizer, tokenizer)
    torch.testing.assert_close(answers(model, pet), answers(other, method))
    assert (answers(model, pet) - answers(bert(), pet)).abs().max() > 0.1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_prompt_equals_a_forward_pass_with_its_vectors_put_in(attention, pet):
    model = bert(attn_implementation=attention).double()
    plain = copy.deepcopy(model)
    PromptTuning(3, "uniform").attach(model)
    assert model.bert.soft_prompt.weight.dtype == torch.float64
    batch = pet.collate(ROWS)
    with torch.no_grad():
        words = plain.bert.embeddings.word_embeddings(batch["input_ids"])
        rows = model.bert.soft_prompt.weight.expand(4, 3, -1)
        mask = torch.cat([torch.ones(4, 3, dtype=torch.long), batch["attention_mask"]], 1)
        wanted = plain(inputs_embeds=torch.cat([words[:, :1], rows, words[:, 1:]], 1), attention_mask=mask).logits
        found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(found, torch.cat([wanted[:, :1], wanted[:, 4:]], 1))


def test_as_peft_does_it_where_places_do_not_matter():
    """peft's prompt stands before [CLS] and ours behind: with equal position vectors attention cannot tell."""
    peft = pytest.importorskip("peft")
    model = bert(BertModel)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.copy_(
            model.embeddings.position_embeddings.weight[:1].expand(40, -1)
        )
    ids = torch.tensor([[2, 5, 7, 9, 11, 3, 0, 0], [2, 6, 8, 9, 13, 16, 10, 3]])
    mask = (ids > 0).long()
    config = peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4)
    theirs = peft.get_peft_model(copy.deepcopy(model), config).eval()
    ours = PromptTuning(4).attach(model)
    with torch.no_grad():
        ours.soft_prompt.weight.copy_(theirs.prompt_encoder["default"].embedding.weight)
        wanted = theirs(input_ids=ids, attention_mask=mask).last_hidden_state[:, 4:]
        found = ours(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()])


def test_only_the_prompt_trains_and_it_comes_off_bit_for_bit(pet):
    model = bert().requires_grad_(True)
    model.bert.pooler, before = None, hashes(model)
    model.cls.predictions.bias.requires_grad_(False)
    names = set(hashes(model))
    delta = PromptTuning(4)
    assert delta.attach(model) is model and trainable(model) == 4 * 32
    assert changed(model, pet) == {"bert.soft_prompt.weight"}
    delta.detach(model)
    assert hashes(model) == before and set(hashes(model)) == names
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["cls.predictions.bias"]
    torch.testing.assert_close(answers(model, pet), answers(bert(), pet), rtol=0, atol=0)


def test_a_new_head_trains_with_the_prompt(tokenizer):
    model = PromptTuning(4).attach(add_head(bert(), 2, seed=0))
    assert changed(model, HeadClassifier(tokenizer)) == {
        "bert.soft_prompt.weight",
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize("delta", [PromptTuning(3), Prefix(3)])
def test_a_copy_is_a_model_of_its_own(delta, pet):
    model = delta.attach(bert())
    twin = copy.deepcopy(model)
    before = answers(model, pet)
    torch.testing.assert_close(answers(twin, pet), before, rtol=0, atol=0)
    train(twin, pet)
    torch.testing.assert_close(answers(model, pet), before, rtol=0, atol=0)
    assert (answers(twin, pet) - before).abs().max() > 1e-3
    delta.detach(twin)
    torch.testing.assert_close(answers(twin, pet), answers(bert(), pet), rtol=0, atol=0)
    torch.testing.assert_close(answers(model, pet), before, rtol=0, atol=0)


def test_what_leaves_the_encoder_has_the_texts_own_tokens(tokenizer):
    plain, model = bert(BertModel), PromptTuning(6).attach(bert(BertModel))
    ids = tokenizer("the film was dull", return_tensors="pt")
    for result in (model(**ids, output_hidden_states=True), plain(**ids, output_hidden_states=True)):
        assert {state.shape for state in result.hidden_states} == {result.last_hidden_state.shape} == {(1, 6, 32)}
        assert result.pooler_output.shape == (1, 32)
    assert model(**ids, return_dict=False)[0].shape == (1, 6, 32)


@pytest.mark.parametrize("build", [roberta, lambda: AlbertForMaskedLM(AlbertConfig(**SIZES, embedding_size=16)).eval()])
def test_other_encoders_too(build, pet):
    model = build()
    plain = answers(model, pet)
    delta = PromptTuning(4)
    delta.attach(model)
    width = model.get_input_embeddings().weight.shape[1]
    assert trainable(model) == 4 * width and (answers(model, pet) - plain).abs().max() > 1e-4
    torch.testing.assert_close(answers(model, pet)[:1], answers(model, pet, ROWS[:1]))  # padding is not felt
    torch.testing.assert_close(answers(delta.detach(model), pet), plain, rtol=0, atol=0)


def test_the_start_is_words_or_uniform():
    words = bert().get_input_embeddings().weight
    drawn = PromptTuning(7, seed=1).attach(bert()).bert.soft_prompt.weight
    assert all((row == words).all(1).any() for row in drawn)
    other = PromptTuning(7, "uniform", seed=1).attach(bert()).bert.soft_prompt.weight
    assert other.abs().max() <= 0.5 and other.std() > 0.2
    assert not torch.equal(drawn, PromptTuning(7, seed=2).attach(bert()).bert.soft_prompt.weight)


# Mistakes

T5_SIZES = {"vocab_size": 9, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
IDS = torch.ones(1, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PromptTuning(0), "tokens=0: a soft prompt has at least one token"),
        (lambda: Prefix(-1), "tokens=-1: a prefix has at least one token"),
        (lambda: PromptTuning(init="words"), "unknown init"),
        (lambda: Prefix(std=-1), "may not be negative"),
        (lambda: PromptTuning().attach(nn.Linear(2, 2)), "PromptTuning needs an encoder .* not a Linear"),
        (lambda: Prefix().attach(nn.Linear(2, 2)), "Prefix needs an encoder of transformers"),
        (lambda: PromptTuning().attach(T5ForConditionalGeneration(T5Config(**T5_SIZES))), "not a T5"),
        (lambda: PromptTuning(38).attach(bert()), "reads 40 tokens in all"),
        (lambda: PromptTuning(2).attach(PromptTuning(2).attach(bert())), "has a soft prompt already"),
        (lambda: Prefix(2).attach(Prefix(2).attach(bert())), "has a prefix already"),
        (lambda: PromptTuning(2).detach(bert()), "no soft prompt to detach"),
        (lambda: Prefix(2).detach(bert()), "no prefix to detach"),
        (lambda: Prefix().attach(AlbertForMaskedLM(AlbertConfig(**SIZES))), "AlbertModel takes no earlier keys"),
        (lambda: PromptTuning(2).attach(bert(BertModel))(IDS, position_ids=IDS), "position_ids"),
    ],
)  # fmt: skip
def test_mistakes_are_named(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_a_text_too_long_for_prompt_and_model(pet):
    model = PromptTuning(20).attach(bert())
    rows = [{"text": "the film was " * 9, "label": 0}]
    with pytest.raises(UsageError, match="set the method's max_length=20, or take a shorter prompt"):
        answers(model, pet, rows)
    short = PET(pet.template, pet.verbalizer, pet.tokenizer, max_length=20)
    assert answers(model, short, rows).isfinite().all()


def test_a_sequence_classifier_of_transformers_takes_a_prompt(tokenizer):
    model = PromptTuning(4).attach(bert(BertForSequenceClassification, num_labels=2))
    assert "classifier.weight" in changed(model, HeadClassifier(tokenizer))
