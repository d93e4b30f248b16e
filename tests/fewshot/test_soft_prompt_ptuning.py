"""P-tuning: PET before training, what it trains, its encoder against peft's, and the folded model."""

from __future__ import annotations

import pytest
import torch
from transformers import BertTokenizer

from labkit.errors import UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_tokens import fold_soft_tokens
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts import PromptEncoder, PTuning, softened
from labkit.measure import trainable
from tests.fewshot.soft_prompt_models import ID, answers, bert, changed, hashes, task, train


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab=ID, model_max_length=32)


@pytest.fixture(scope="module")
def pet(tokenizer):
    return PET.for_task(task(), tokenizer)


def test_untrained_p_tuning_is_pet_bit_for_bit(pet, tokenizer):
    method = PTuning.for_task(task(), tokenizer)
    assert str(method.template) == "{text} {soft:it was} {mask} {soft:.}"
    model = method.attach(bert())
    torch.testing.assert_close(answers(model, method), answers(bert(), pet), rtol=0, atol=0)
    assert trainable(model) == sum(p.numel() for p in bert().parameters()) + 3 * 32


def test_p_tuning_trains_the_model_and_its_tokens(tokenizer):
    method = PTuning.for_task(task(), tokenizer, encoder="lstm")
    model = method.attach(bert())
    expected = {name for name, p in model.named_parameters() if p.requires_grad}
    found = changed(model, method)
    assert "bert.embeddings.word_embeddings.soft.weight" in found
    assert any("lstm_head" in name for name in found) and any("encoder.layer.2" in name for name in found)
    shared = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}  # tied: the state dict names them twice
    assert found - shared <= expected
    assert not {name for name in expected - found if "bias" not in name}, expected - found


@pytest.mark.parametrize("encoder", [None, "lstm", "mlp"])
def test_a_folded_model_answers_the_same_and_is_saved(encoder, tokenizer, tmp_path):
    from transformers import AutoModelForMaskedLM

    method = PTuning.for_task(task(), tokenizer, encoder=encoder)
    model = train(method.attach(bert()), method)
    wanted = answers(model, method)
    folded = fold_soft_tokens(model)
    folded.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    again = PTuning.from_description(method.describe(), tokenizer)
    for one in (folded, loaded):
        torch.testing.assert_close(answers(one, again).softmax(-1), wanted.softmax(-1), rtol=1e-4, atol=1e-6)


def test_detaching_p_tuning_gives_the_embedding_back(tokenizer):
    model = bert()
    module = model.get_input_embeddings()
    method = PTuning.for_task(task(), tokenizer, encoder="mlp")
    method.detach(method.attach(model))
    assert model.get_input_embeddings() is module and hashes(model) == hashes(bert())


@pytest.mark.parametrize(("kind", "wide"), [("lstm", 6), ("mlp", 12)])
def test_the_prompt_encoder_is_pefts(kind, wide):
    peft = pytest.importorskip("peft")
    config = peft.PromptEncoderConfig(
        task_type="SEQ_CLS", num_virtual_tokens=5, token_dim=12, encoder_hidden_size=wide,
        encoder_reparameterization_type=kind.upper(), encoder_num_layers=2, encoder_dropout=0.0,
        num_transformer_submodules=1,
    )  # fmt: skip
    torch.manual_seed(1)
    theirs = peft.PromptEncoder(config).eval()
    ours = PromptEncoder(12, kind)
    ours.load_state_dict({n: t for n, t in theirs.state_dict().items() if not n.startswith("embedding")})
    with torch.no_grad():
        wanted = theirs(torch.arange(5)[None])[0]
        torch.testing.assert_close(ours(theirs.embedding.weight), wanted)


def test_the_encoder_mixes_tokens_only_where_it_is_an_lstm():
    rows = torch.randn(6, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for kind, mixed in (("lstm", True), ("mlp", False)):
        (gradient,) = torch.autograd.grad(PromptEncoder(16, kind)(rows)[2].sum(), rows)
        assert bool(gradient[5].abs().sum() > 0) is mixed


@pytest.mark.parametrize(
    ("text", "soft"),
    [
        ("{text} it was {mask} .", "{text} {soft:it was} {mask} {soft:.}"),
        ("{text}总之很{mask}。", "{text}{soft:总之很}{mask}{soft:。}"),
        ("{a} {special:sep} {b} {mask}", "{a} {special:sep} {b} {mask}"),
        ("x{{}} {mask}", None),
    ],
)
def test_softened(text, soft, tokenizer):
    if soft is None:  # braces cannot stand inside {soft:…}
        with pytest.raises(UsageError, match="brace"):
            PTuning(text, Verbalizer({"a": "bad", "b": "good"}, tokenizer), tokenizer)
    else:
        assert str(softened(text)) == soft
        assert Template.parse(soft) == softened(text)


def test_p_tuning_names_what_is_missing(tokenizer):
    words = Verbalizer({"a": "bad", "b": "good"}, tokenizer)
    with pytest.raises(UsageError, match="no words that could become soft tokens"):
        PTuning("{text} {mask}", words, tokenizer)
    with pytest.raises(UsageError, match="unknown encoder 'gru'"):
        PTuning("{text} it {mask}", words, tokenizer, encoder="gru")
