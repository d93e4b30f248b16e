"""int8 and deltas, prompts and label vectors, in either order: what works gives the right answers, the rest says so."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from labkit.compression import int8, tinybert
from labkit.compression.shrink import shrink
from labkit.errors import UsageError
from labkit.fewshot.delta_tuning import (
    IA3,
    BitFit,
    Combined,
    Intrinsic,
    LoRA,
    Serial,
    detach,
    load_delta,
    merge,
    save_delta,
    trained_tensors,
)
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens, fold_soft_tokens
from labkit.fewshot.prompts.soft_verbalizer import SoftVerbalizer
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts import WARP, Prefix, PromptTuning, PTuning
from labkit.foundations.encoder import lm_logits
from labkit.foundations.heads import add_head
from labkit.parallel.memory.growth import deepen, widen
from labkit.parallel.memory.model import Transformer
from labkit.parallel.memory.shape import ModelShape
from tests.fewshot.delta_models import BATCH, EVERY, copied, digest, make, outputs, train
from tests.fewshot.tiny_prompts import LABELS, ROWS, TEMPLATE, tiny_bert, tiny_tokenizer

MERGING = {"lora", "ia3", "bitfit", "intrinsic lora"}
NEAR = 0.1  # of the spread of the answers: what rounding weights and activations to int8 may move them by


def near(found, wanted):
    """Whether answers are the same but for rounding."""
    return bool((found - wanted).square().mean().sqrt() < NEAR * wanted.std())


def given(values, model):
    """The model, with these values in what trains."""
    own = trained_tensors(model)
    assert own.keys() == values.keys() and all(own[n].shape == value.shape for n, value in values.items())
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    return model


@functools.cache
def learnt(name):
    """What a delta might have learnt on the float model, enough to be seen, and the model's answers then."""
    model, draw = EVERY[name].attach(make()), torch.Generator().manual_seed(0)
    own = trained_tensors(model)
    values = {n: p.detach() + 0.3 * torch.randn(p.shape, generator=draw) for n, p in own.items()}
    return values, outputs(given(values, model))


@functools.cache
def carrying(order, name):
    """An int8 model with the trained delta, int8 made "before" or "after" the delta's attachment."""
    delta, values = EVERY[name], learnt(name)[0]
    model = delta.attach(int8.apply(make())) if order == "before" else int8.apply(given(values, delta.attach(make())))
    return given(values, model)


def fresh(order, name):
    return copied(carrying(order, name))


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", EVERY)
def test_the_table(order, name):
    """int8 × delta: answers, training, merging or its refusal, and taking the delta off."""
    values, wanted = learnt(name)
    model, plain = fresh(order, name), int8.apply(make())
    assert near(outputs(model), wanted) and not near(outputs(plain), wanted)
    assert digest(trained_tensors(model)) == digest(values)  # in floating point, as they were learnt

    train(model, steps=1)
    assert digest(trained_tensors(model)) != digest(values)
    now, may = ({n.replace(".base_layer", ""): t for n, t in some.items()} for some in (model.state_dict(), values))
    frozen = {n: t for n, t in plain.state_dict().items() if n not in may}
    assert digest({n: now[n] for n in frozen}) == digest(frozen)
    given(values, model)

    answers = outputs(model)
    if name == "bitfit":
        assert torch.equal(outputs(merge(fresh(order, name))), answers)
    else:
        message = "is quantised: keep the delta attached, or" if name in MERGING else "cannot be merged"
        with pytest.raises(UsageError, match=message):
            merge(model)
        assert torch.equal(outputs(model), answers)

    detach(model)
    assert torch.equal(outputs(model), outputs(plain))
    assert digest(model.state_dict()) == digest(plain.state_dict())
    int8.undo(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", sorted(MERGING))
def test_undone_it_merges(name):
    """The mend that the refusal names; nothing but the delta trains meanwhile, and all does afterwards."""
    model = fresh("before", name)
    trained = list(trained_tensors(model))
    answers = outputs(int8.undo(model))
    assert list(trained_tensors(model)) == trained and near(answers, learnt(name)[1])
    torch.testing.assert_close(outputs(merge(model)), answers, rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == list(make().state_dict()) and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["lora", "ia3", "serial", "bitfit"])
def test_a_delta_of_an_int8_backbone_is_saved_and_loaded(name, tmp_path):
    model = fresh("before", name)
    save_delta(model, tmp_path / "delta")
    assert torch.equal(outputs(load_delta(int8.apply(make()), tmp_path / "delta")), outputs(model))


def test_int8_in_half_precision_without_biases():
    """Adapters take the type of an int8 layer that has no parameter of its own."""
    model = make()
    for layer in model.bert.encoder.layer:
        layer.output.dense.bias = None
    model = Serial(bottleneck=4).attach(int8.apply(model.to(torch.bfloat16)))
    assert {p.dtype for p in trained_tensors(model).values()} == {torch.bfloat16} and outputs(model).isfinite().all()


def test_a_new_head_trains_in_floating_point_or_is_refused():
    model = int8.apply(LoRA(rank=2).attach(make(head=True)))
    assert type(model.classifier) is nn.Linear and "classifier.weight" in trained_tensors(model)
    int8.apply(detach(model))
    assert isinstance(model.classifier, int8.Int8Linear)
    for method in (LoRA(rank=2), PromptTuning(tokens=2)):
        with pytest.raises(UsageError, match=r"'classifier' is quantised: leave it as it is, int8.apply\(model, skip="):
            method.attach(model)
    LoRA(rank=2, also=()).attach(model)  # it is not to train
    assert not any("classifier" in name for name in trained_tensors(model))
    assert "classifier.weight" in trained_tensors(LoRA(rank=2).attach(int8.apply(make(head=True), ["classifier"])))


# Prompts and label vectors

TOKENIZER = tiny_tokenizer()
WORDS = Verbalizer(LABELS, TOKENIZER)
METHODS = {
    "prompt": PromptTuning(tokens=3),
    "uniform prompt": PromptTuning(tokens=3, init="uniform"),
    "prefix": Prefix(tokens=3, std=1.0),
    "prefix by an MLP": Prefix(tokens=3, std=1.0, reparametrise=True),
    "warp": WARP(TEMPLATE, WORDS, TOKENIZER),
    "p-tuning": PTuning(TEMPLATE, WORDS, TOKENIZER),
    "p-tuning by an LSTM": PTuning(TEMPLATE, WORDS, TOKENIZER, encoder="lstm"),
    "soft verbalizer": SoftVerbalizer(TEMPLATE, tuple(LABELS), TOKENIZER, words=LABELS),
}


def training(model):
    """Names of what trains, those of words' vectors as they are without soft tokens."""
    return {name.replace(".base.", ".") for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def answers_of(name, model):
    how = METHODS[name]
    if hasattr(how, "logits"):
        return how.logits(model, how.collate(ROWS))
    return model(**BATCH_OF_WORDS).logits[:, 1:4]


BATCH_OF_WORDS = {name: value[:, :8].contiguous() for name, value in BATCH.items()}
BATCH_OF_WORDS["input_ids"] = BATCH_OF_WORDS["input_ids"] % len(TOKENIZER)


@pytest.mark.parametrize("name", METHODS)
def test_prompts_and_label_vectors_in_either_order(name):
    how = METHODS[name]
    wanted, plain = how.attach(tiny_bert()), training(tiny_bert())
    added = training(wanted) - plain
    for model in (int8.apply(how.attach(tiny_bert())), how.attach(int8.apply(tiny_bert()))):
        assert near(answers_of(name, model), answers_of(name, wanted))
        assert added and training(model) - plain == added
        how.detach(model)
        int8.undo(model)
        assert training(model) == plain


# Others that read weights

IDS = torch.arange(6)[None], torch.arange(1, 7)[None]


def test_soft_tokens_of_an_int8_model_are_not_folded():
    model = int8.apply(attach_soft_tokens(tiny_bert(), "{text} {soft:it was} {mask}", TOKENIZER))
    with pytest.raises(UsageError, match="soft tokens cannot join the vocabulary: .* is quantised"):
        fold_soft_tokens(model)
    assert len(fold_soft_tokens(int8.undo(model)).get_input_embeddings().weight) == len(TOKENIZER) + 2


@pytest.mark.parametrize("hidden", [16, 32])
def test_shrinking_takes_plain_numbers_only(hidden):
    with pytest.raises(UsageError, match="shrink copies numbers: .* is quantised: .*int8.undo"):
        shrink(int8.apply(make()), 1, hidden)
    with pytest.raises(UsageError, match="shrink: the teacher has no .* merge, detach or fold"):
        shrink(LoRA(rank=2).attach(make()), 3, 32)


def test_a_projection_comes_from_the_numbers_of_an_int8_teacher():
    teacher, student = make(), shrink(make(), 2, 16)
    wanted = tinybert._projection(student.bert, int8.undo(int8.apply(make())).bert).weight
    found = tinybert._projection(student.bert, int8.apply(teacher).bert).weight
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_growing_an_int8_model():
    model = int8.apply(Transformer(ModelShape(layers=1, width=8, heads=2, vocabulary=11, positions=8)))
    assert (widen(model, 2)(*IDS) - model(*IDS)).abs() < 0.01
    with pytest.raises(UsageError, match="deepen copies numbers: .* is quantised"):
        deepen(model)


def test_label_vectors_on_an_int8_head_are_words():
    model = int8.apply(tiny_bert())
    how = METHODS["soft verbalizer"]
    how.attach(model)
    table = model.get_output_embeddings().weight
    assert torch.equal(model.label_vectors.weight[0], table[TOKENIZER.convert_tokens_to_ids("bad")])


def test_a_head_over_an_int8_encoder():
    model = add_head(int8.apply(make()), 3, pooling="mean", seed=1)
    assert type(model.classifier) is nn.Linear and near(outputs(model), outputs(make(head=True)))


@torch.no_grad()
def test_an_adapter_on_the_decoder_is_heard_where_few_words_are_asked_for():
    model = Serial(bottleneck=4, targets=("decoder",)).attach(make())
    nn.init.normal_(model.cls.predictions.decoder.serial_adapter.up.weight)
    rows, columns, words = torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([7, 9])
    whole = model(**BATCH).logits[rows, columns][:, words]
    torch.testing.assert_close(lm_logits(model, BATCH, rows, columns, words), whole, rtol=1e-4, atol=1e-4)


# Weights in two places


@pytest.mark.parametrize(
    "delta",
    [
        LoRA(rank=2, targets=("decoder",)),
        IA3(targets=("decoder",)),
        Combined(deltas=(LoRA(rank=2, targets=("decoder",)), BitFit())),
        Intrinsic(inner=LoRA(rank=2, targets=("decoder",)), dimension=3),
    ],
)
def test_a_tied_weight_is_not_merged_into(delta):
    model = train(delta.attach(make()), steps=2)
    answers, before = outputs(model), digest(model.state_dict())
    with pytest.raises(UsageError, match="'cls.predictions.decoder' shares its weight with .*word_embeddings'"):
        merge(model)
    assert torch.equal(outputs(model), answers) and digest(model.state_dict()) == before


def test_untied_it_merges():
    model = make()
    model.cls.predictions.decoder.weight = nn.Parameter(model.cls.predictions.decoder.weight.detach().clone())
    words = model.bert.embeddings.word_embeddings.weight.detach().clone()
    answers = outputs(train(LoRA(rank=2, targets=("decoder",)).attach(model), steps=2))
    torch.testing.assert_close(outputs(merge(model)), answers, rtol=1e-4, atol=1e-4)
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, words)


def test_a_layer_that_serves_twice_is_not_merged_into():
    layer = nn.Linear(4, 4)
    model = LoRA(rank=2, targets=("first",), also=()).attach(nn.ModuleDict({"first": layer, "second": layer}))
    with pytest.raises(UsageError, match="'first' shares its weight with 'ModuleDict'"):
        merge(model)


def test_what_is_tied_cannot_train_besides():
    with pytest.raises(UsageError, match="also: 'cls.predictions.decoder' has no weight of its own to train"):
        LoRA(rank=2, also=("decoder",)).attach(make())
