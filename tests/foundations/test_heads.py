"""Classification heads: parity with transformers, pooling by hand, padding, saving, and the method's batches."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.foundations.heads import POOLINGS, EncoderClassifier, HeadClassifier, add_head

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . [ ] mask".split()
SIZES = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.3}
KINDS = {
    "bert": {}, "roberta": {}, "deberta-v2": {}, "mpnet": {}, "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16, "num_hidden_groups": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "modernbert": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
}  # fmt: skip
ROWS = [
    {"text": "the film was good", "label": 1},
    {"text": "bad", "label": 0},
    {"text": "it was a dull film .", "label": 0},
]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)


def config(kind: str = "bert", **changes):
    return transformers.AutoConfig.for_model(kind, **{**SIZES, **KINDS[kind], **changes})


def encoder(kind: str = "bert", **changes):
    torch.manual_seed(0)
    return AutoModel.from_config(config(kind, **changes)).eval()


def mlm(kind: str = "bert"):
    torch.manual_seed(0)
    return transformers.AutoModelForMaskedLM.from_config(config(kind)).eval()


def logits(model, tokenizer, rows=ROWS, fields=("text",)):
    method = HeadClassifier(tokenizer, fields)
    with torch.no_grad():
        return method.logits(model.eval(), method.collate(rows))


# Parity


def test_the_pooler_head_is_berts_own_classifier(tokenizer):
    torch.manual_seed(0)
    theirs = AutoModelForSequenceClassification.from_config(config(num_labels=3)).eval()
    ours = add_head(theirs, 3, "pooler")
    ours.load_state_dict(theirs.state_dict())  # the very same names
    torch.testing.assert_close(logits(ours, tokenizer), logits(theirs, tokenizer), rtol=0, atol=0)
    batch = HeadClassifier(tokenizer).collate(ROWS)
    torch.testing.assert_close(HeadClassifier(tokenizer).loss(ours, batch), theirs(**batch).loss)
    torch.testing.assert_close(ours(**batch).loss, theirs(**batch).loss)


def test_the_pooler_head_of_albert_too(tokenizer):
    torch.manual_seed(0)
    theirs = AutoModelForSequenceClassification.from_config(config("albert", classifier_dropout_prob=0.0)).eval()
    ours = add_head(theirs, 2, "pooler")
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(logits(ours, tokenizer), logits(theirs, tokenizer), rtol=0, atol=0)


def test_a_masked_lm_of_albert_gets_its_pooler_and_the_tanh_on_it(tokenizer):
    backbone = mlm("albert")
    model = add_head(backbone, 2, "pooler", seed=1).eval()
    batch = HeadClassifier(tokenizer).collate(ROWS)
    with torch.no_grad():
        first = backbone.albert(**batch).last_hidden_state[:, 0]
        expected = model.classifier(torch.tanh(model.albert.pooler(first)))
        torch.testing.assert_close(model(**batch).logits, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_is_what_it_says(tokenizer, kind, pooling):
    body = encoder(kind)
    model = add_head(body, 3, pooling, seed=1)
    head, found = model.classifier, logits(model, tokenizer)
    for row, line in zip(ROWS, found, strict=True):
        ids = torch.tensor([tokenizer(row["text"])["input_ids"]])  # alone, so that nothing is padding
        with torch.no_grad():
            states = body(input_ids=ids).last_hidden_state[0]  # (tokens, d)
            vector = states[0] if pooling == "cls" else states.mean(0)
        torch.testing.assert_close(head(vector), line, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_nothing(tokenizer, pooling):
    model = add_head(encoder(), 2, pooling, seed=0)
    together = logits(model, tokenizer)
    alone = torch.cat([logits(model, tokenizer, [row]) for row in ROWS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    batch = HeadClassifier(tokenizer).collate(ROWS)
    with torch.no_grad():
        noise = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 9)
        torch.testing.assert_close(model(noise, batch["attention_mask"]).logits, together, rtol=1e-5, atol=1e-6)
        assert (model(noise).logits - together).abs().max() > 1e-3  # without the mask it would


# Building


@pytest.mark.parametrize("make", [encoder, mlm])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_encoder_is_copied_and_the_head_is_new(make, pooling):
    backbone = make()
    before = copy.deepcopy(backbone.state_dict())
    state = torch.random.get_rng_state()
    first, again, other = (add_head(backbone, 2, pooling, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())  # a seeded head leaves torch's own randomness alone
    assert 0.2 < first.classifier.weight.std() < 0.4 and not first.classifier.bias.any()  # initializer_range is .3
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    for name, value in first.base_model.state_dict().items():
        if not name.startswith("pooler"):
            assert torch.equal(value, backbone.base_model.state_dict()[name]), name
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert hasattr(first.config, "head_pooling") and not hasattr(backbone.config, "head_pooling")


def test_sharing_trains_the_backbone_itself():
    backbone = mlm()
    model = add_head(backbone, 2, "mean", share=True)
    assert model.base_model is backbone.bert
    with pytest.raises(UsageError, match="has no pooler"):
        add_head(backbone, 2, "pooler", share=True)


def test_changed_modules_of_the_encoder_stay_as_they_are():
    backbone = encoder()
    backbone.encoder.layer[0].output.dense = torch.nn.Linear(64, 32)  # as pruning or a delta would
    weight = backbone.encoder.layer[0].output.dense.weight.clone()
    assert torch.equal(add_head(backbone, 2).bert.encoder.layer[0].output.dense.weight, weight)


def test_mode_type_and_names_follow(tokenizer):
    model = add_head(encoder().train(), ["no", "yes"])
    assert model.training and model.config.id2label == {0: "no", 1: "yes"} and model.config.label2id["yes"] == 1
    half = add_head(encoder().bfloat16(), 2)
    assert not half.training and half.classifier.weight.dtype == torch.bfloat16
    assert logits(half, tokenizer).dtype == torch.bfloat16
    assert "pooler" not in dict(model.bert.named_modules())  # nothing that is not used


def test_what_cannot_carry_a_head_is_refused():
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        add_head(encoder(), 2, "meen")
    with pytest.raises(UsageError, match="two classes"):
        add_head(encoder(), 1)
    with pytest.raises(UsageError, match="DistilBertModel has no pooler"):
        add_head(encoder("distilbert"), 2, "pooler")
    with pytest.raises(UsageError, match="not a Linear"):
        add_head(torch.nn.Linear(2, 2), 2)
    torch.manual_seed(0)
    small = transformers.T5Config(vocab_size=20, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    with pytest.raises(UsageError, match="not a T5Model"):
        add_head(transformers.T5Model(small), 2)


# Saving


@pytest.mark.parametrize(
    "kind, pooling", [*(("bert", p) for p in POOLINGS), ("albert", "pooler"), *((k, "mean") for k in KINDS)]
)
def test_a_saved_model_comes_back(tokenizer, tmp_path, kind, pooling):
    model = add_head(mlm(kind), ("a", "b", "c"), pooling)
    model.save_pretrained(tmp_path)
    again, facts = EncoderClassifier.from_pretrained(tmp_path, output_loading_info=True)
    attention = {m.config._attn_implementation for m in (model.base_model, again, again.base_model)}
    assert len(attention) == 1 and attention != {None}
    assert not facts["missing_keys"] and not facts["unexpected_keys"]
    assert again.pooling == pooling and again.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert torch.equal(logits(again, tokenizer), logits(model, tokenizer))
    assert logits(model, tokenizer).std(0).min() > 1e-3  # the texts are told apart


def test_plain_transformers_reads_what_is_saved(tokenizer, tmp_path):
    model = add_head(encoder(), 3, "mean")
    model.save_pretrained(tmp_path / "mean")
    body = AutoModel.from_pretrained(tmp_path / "mean")
    assert all(torch.equal(value, body.state_dict()[name]) for name, value in model.base_model.state_dict().items())
    tokens = AutoModelForTokenClassification.from_pretrained(tmp_path / "mean").eval()
    one = tokenizer("the film was good", return_tensors="pt")
    torch.testing.assert_close(tokens(**one).logits.mean(1), logits(model, tokenizer, ROWS[:1]), rtol=1e-4, atol=1e-5)
    model = add_head(encoder(), 3, "pooler")
    model.save_pretrained(tmp_path / "pooler")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "pooler")
    torch.testing.assert_close(logits(plain, tokenizer), logits(model, tokenizer))


# The method


def test_one_and_two_fields(tokenizer):
    rows = [{"text_a": "the film", "text_b": "was good", "label": None}, {"text_a": "bad", "text_b": "", "label": 1}]
    batch = HeadClassifier(tokenizer, ("text_a", "text_b")).collate(rows)
    shown = [tokenizer.convert_ids_to_tokens(ids) for ids in batch["input_ids"].tolist()]
    assert shown[0] == "[CLS] the film [SEP] was good [SEP]".split()
    assert shown[1] == "[CLS] bad [SEP] [SEP] [PAD] [PAD] [PAD]".split()
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 7, [1] * 4 + [0] * 3]
    assert "labels" not in batch  # one row has none
    assert HeadClassifier(tokenizer).collate(ROWS)["labels"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("fields", [("text",), ("text", "other")])
def test_rows_that_were_read_once_make_the_same_batch(tokenizer, fields, monkeypatch):
    method = HeadClassifier(tokenizer, fields, max_length=8)
    rows = [{"text": "bad plot " * n, "other": "good" * n, "label": n % 2} for n in (1, 2, 5)]
    read, plain = method.read(rows), method.collate(rows[::-1])
    monkeypatch.setattr(method, "tokenizer", None)  # not asked again: collate needs but its padding
    monkeypatch.setattr("labkit.foundations.heads.padding", lambda _: tokenizer.pad_token_id)
    again = method.collate(read[::-1])
    assert plain.keys() == again.keys() and all(torch.equal(plain[name], again[name]) for name in plain)
    assert rows[0].keys() == {"text", "other", "label"}


def test_special_tokens_in_a_text_are_text_and_long_texts_are_cut(tokenizer):
    method = HeadClassifier(tokenizer, max_length=8)
    ids = method.collate([{"text": "good [MASK] " + "film " * 50}])["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids[0].tolist()) == "[CLS] good [ mask ] film film [SEP]".split()
    assert HeadClassifier(tokenizer, max_length=500).max_length == 64


def test_the_method_reads_any_sequence_classifier(tokenizer):
    for kind in ("distilbert", "roberta"):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config(kind, num_labels=4))
        assert logits(model, tokenizer).shape == (3, 4)


def test_errors_name_the_mend(tokenizer):
    method = HeadClassifier(tokenizer)
    with pytest.raises(DataError, match="row 2 of the batch: field 'text' must be a text, not 3"):
        method.collate([{"text": "a"}, {"text": 3}])
    with pytest.raises(UsageError, match="add_head"):
        logits(encoder(), tokenizer)
    with pytest.raises(UsageError, match="add_head"):
        logits(mlm(), tokenizer)
    with pytest.raises(UsageError, match="no label"):
        method.loss(add_head(encoder(), 2), method.collate([{"text": "a"}]))
    for wrong in ("text", (), ("a", "b", "c")):
        with pytest.raises(UsageError, match="one or two text fields"):
            HeadClassifier(tokenizer, wrong)


def test_a_description_makes_the_same_method(tokenizer):
    method = HeadClassifier(tokenizer, ("text_a", "text_b"), 20)
    again = HeadClassifier.from_description(method.describe(), tokenizer)
    assert again.describe() == method.describe() == {"fields": ["text_a", "text_b"], "max_length": 20}
    for wrong in ({"field": ["a"]}, {"fields": "a"}, {"max_length": "9"}):
        with pytest.raises(UsageError):
            HeadClassifier.from_description(wrong, tokenizer)
