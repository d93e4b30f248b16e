"""Writing: the loss is transformers' own, a saved model writes the same alone, lengths and beams are kept."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    EncoderDecoderModel,
)

import labkit
from labkit.errors import DataError, UsageError
from labkit.evaluation import answers
from labkit.foundations.generation import Generation, encoder_decoder
from labkit.foundations.pretraining.models import micro_model
from labkit.training import Batches, fit

ROWS = [
    {"content": "the president ratified the veto in oslo on tuesday .", "label": "world news"},
    {"content": "who lost the match ?", "label": "sports news : match"},
]


@pytest.fixture(scope="module")
def bert():
    return labkit.load_model("micro-bert-en")


def bart(tokenizer):
    torch.manual_seed(0)
    sizes = {f"{side}_{what}": number for side in ("encoder", "decoder")
             for what, number in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))}  # fmt: skip
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    config = BartConfig(vocab_size=len(tokenizer), d_model=32, max_position_embeddings=64, dropout=0.0, init_std=0.2,
                        forced_eos_token_id=None, **sizes, **special)  # fmt: skip
    return BartForConditionalGeneration(config)


def make(kind, bert, **options):
    start = {"bert": lambda: bert.model, "t5": lambda: micro_model("t5", bert.tokenizer, seed=3),
             "bart": lambda: bart(bert.tokenizer)}[kind]()  # fmt: skip
    model = encoder_decoder(start, bert.tokenizer, seed=0).eval()
    return model, Generation.of(model, bert.tokenizer, ["content"], **options)


@pytest.mark.parametrize("kind", ["bert", "t5", "bart"])
def test_the_loss_is_the_one_of_transformers(bert, kind):
    model, method = make(kind, bert)
    batch = method.collate(ROWS)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    torch.testing.assert_close(method.loss(model, batch), model(**plain).loss)
    assert batch["count"].tolist() == (batch["labels"] >= 0).sum(1).tolist()


def test_the_title_is_written_between_its_marks(bert):
    _, method = make("bert", bert)
    tokenizer = bert.tokenizer
    assert method.start == tokenizer.cls_token_id
    wanted = [*tokenizer("world news", add_special_tokens=False)["input_ids"], tokenizer.sep_token_id]
    assert method.collate(ROWS[:1])["labels"].tolist() == [wanted]
    assert "labels" not in method.collate([{"content": "a"}])


def test_both_halves_are_the_encoder_and_the_encoder_is_not_touched(bert):
    before = {name: value.clone() for name, value in bert.model.state_dict().items()}
    model, _ = make("bert", bert)
    torch.testing.assert_close(model.decoder.bert.encoder.layer[1].output.dense.weight,
                               bert.model.bert.encoder.layer[1].output.dense.weight)  # fmt: skip
    ids = bert.tokenizer(ROWS[0]["content"], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = (model.encoder(ids).last_hidden_state, bert.model.bert(ids).last_hidden_state)
    torch.testing.assert_close(*states)
    assert model.decoder.cls.predictions.decoder.weight is model.decoder.bert.embeddings.word_embeddings.weight
    again, other = make("bert", bert)[0], encoder_decoder(bert.model, bert.tokenizer, seed=1)
    cross = "decoder.bert.encoder.layer.0.crossattention.self.query.weight"
    assert torch.equal(again.state_dict()[cross], model.state_dict()[cross])
    assert not torch.equal(other.state_dict()[cross], model.state_dict()[cross])
    assert all(torch.equal(value, before[name]) for name, value in bert.model.state_dict().items())


@pytest.mark.parametrize("kind", ["bert", "t5", "bart"])
def test_transformers_alone_writes_the_same_from_the_folder(bert, kind, tmp_path):
    options = {"num_beams": 3, "num_return_sequences": 2, "max_decoder_length": 9, "min_decoder_length": 4}
    model, method = make(kind, bert, no_repeat_ngram_size=2, **options)
    fit(model, method.loss, Batches(ROWS, method.collate, 2), steps=8, lr=3e-3, progress=False)
    ours = answers(model, method, ROWS, progress=False)
    model.save_pretrained(tmp_path)
    auto = EncoderDecoderModel if kind == "bert" else AutoModelForSeq2SeqLM
    plain = auto.from_pretrained(tmp_path).eval()
    for row, texts in zip(ROWS, ours, strict=True):
        found = plain.generate(**bert.tokenizer(row["content"], return_tensors="pt", return_token_type_ids=False))
        assert bert.tokenizer.batch_decode(found, skip_special_tokens=True) == texts and len(texts) == 2
        assert found.shape[1] <= 9
        for line in found.tolist():
            pairs = list(zip(line[1:], line[2:], strict=False))
            over = (bert.tokenizer.pad_token_id, bert.tokenizer.sep_token_id)  # what follows the end is filling
            written = [pair for pair in pairs if pair[0] not in over]
            assert len(set(written)) == len(written)


def test_it_learns_two_titles_by_heart_and_scores_them(bert):
    model, method = make("bert", bert, num_beams=2, max_decoder_length=12)
    fit(model, method.loss, Batches(ROWS, method.collate, 2), steps=30, lr=3e-3, progress=False)
    found = answers(model, method, ROWS, progress=False)
    assert [texts[0] for texts in found] == [row["label"] for row in ROWS]
    assert set(method.score(ROWS, found).values()) == {1.0}
    half = method.score(ROWS, [["World News!"], ["match"]])
    assert half["exact_match"] == 0.5 and half["rouge_1"] == pytest.approx((1 + 2 / 4) / 2)


def test_blanks_between_chinese_characters_are_not_written():
    zh = labkit.load_model("micro-bert-zh")
    rows = [{"content": "今天天气很好", "label": "天气 gpt 新闻"}]
    model = encoder_decoder(zh.model, zh.tokenizer, seed=0)
    method = Generation.of(model, zh.tokenizer, ["content"], num_beams=1)
    fit(model, method.loss, Batches(rows, method.collate, 1), steps=30, lr=3e-3, progress=False)
    ((text,),) = answers(model, method, rows, progress=False)
    assert text.startswith("天气") and text.endswith("新闻") and " " not in text


def test_what_it_refuses_and_saves(bert):
    model, method = make("bert", bert, max_encoder_length=4000, max_decoder_length=4000)
    assert (method.max_encoder_length, method.max_decoder_length) == (128, 128)  # what the model can read and write
    assert Generation.from_description(method.describe(), bert.tokenizer).describe() == method.describe()
    for wrong in ({"num_beams": 2, "num_return_sequences": 3}, {"min_decoder_length": 9, "max_decoder_length": 8}):
        with pytest.raises(UsageError):
            Generation(bert.tokenizer, 2, **wrong)
    with pytest.raises(DataError, match="row 1 .*'content'"):
        method.collate([{"content": None}])
    with pytest.raises(UsageError, match="cannot decode"):
        encoder_decoder(AlbertForMaskedLM(AlbertConfig(hidden_size=32, num_attention_heads=2)), bert.tokenizer)
