"""What of a batch a model is given: token types only where it has a table, or a use, for them."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import BertTokenizer

from labkit.errors import UsageError
from labkit.foundations.encoder import model_inputs
from labkit.foundations.heads import HeadClassifier, add_head

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad it dull great .".split()
SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
OWN = {
    "bert": {}, "albert": {"embedding_size": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 2, "eos_token_id": 3},
    "openai-gpt": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "ctrl": {"n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "gpt_neo": {"num_layers": 2, "num_heads": 2, "attention_types": [[["global"], 2]], "max_position_embeddings": 64},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "flaubert": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "funnel": {"block_sizes": [1, 1], "num_decoder_layers": 1, "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64},
    "roberta": {"type_vocab_size": 1},
}  # fmt: skip
WITHOUT_TYPES = ("gpt2", "openai-gpt", "ctrl", "gpt_neo", "xlm", "flaubert", "roberta")


def body(kind: str):
    torch.manual_seed(0)
    sizes = {} if "n_layer" in OWN[kind] or kind in ("xlm", "flaubert", "funnel") else SIZES
    config = transformers.AutoConfig.for_model(kind, **{**sizes, "vocab_size": 40, "pad_token_id": 0, **OWN[kind]})
    model = transformers.FunnelModel(config) if kind == "funnel" else transformers.AutoModel.from_config(config)
    return model.eval()


@pytest.fixture(scope="module")
def batch():
    """Two pairs of texts, the second segment of type 1."""
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)
    rows = [{"text_a": "the film", "text_b": "was good ."}, {"text_a": "it was dull", "text_b": "the film ."}]
    batch = HeadClassifier(tokenizer, ("text_a", "text_b")).collate(rows)
    assert batch["token_type_ids"].any()
    return batch


@pytest.mark.parametrize("kind", OWN)
def test_types_go_only_to_models_that_know_types(kind, batch):
    model = body(kind)
    given = model_inputs(model, batch)
    assert ("token_type_ids" in given) == (kind not in WITHOUT_TYPES)
    untyped = {name: value for name, value in given.items() if name != "token_type_ids"}
    with torch.no_grad():
        ours, plain = model(**given)[0], model(**untyped)[0]
    # Where types are known they matter; elsewhere the answer is that of the text alone.
    assert torch.equal(ours, plain) == (kind in WITHOUT_TYPES)


def test_gpt2_with_a_bert_tokenizer_reads_no_words_out_of_types(batch):
    """Given types, GPT-2 adds the embeddings of words 0 and 1 to every token: the trouble that is kept away."""
    model = body("gpt2")
    head = add_head(model, 2, "mean", seed=0)
    with torch.no_grad():
        found = head(**batch).logits
        troubled = model(**batch).last_hidden_state
        clean = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        shifted = model.wte(batch["input_ids"]) + model.wte(batch["token_type_ids"])
        same = model(inputs_embeds=shifted, attention_mask=batch["attention_mask"]).last_hidden_state
        weight = batch["attention_mask"][..., None].float()
        expected = head.classifier((clean * weight).sum(1) / weight.sum(1))
    torch.testing.assert_close(troubled, same)
    assert (troubled - clean).abs().max() > 0.05
    torch.testing.assert_close(found, expected)


def test_a_text_longer_than_the_table_of_positions_is_refused():
    config = transformers.BertConfig(**SIZES, max_position_embeddings=4)
    with pytest.raises(UsageError, match="a text of 6 tokens: this model reads at most 4; set the method's max_length"):
        model_inputs(transformers.BertModel(config), {"input_ids": torch.ones(1, 6, dtype=torch.long)})
