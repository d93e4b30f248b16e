"""An encoder as plain transformers loads it, of each kind."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from labkit.foundations.native import native_head

SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 64}  # fmt: skip
KINDS = {
    "bert": {}, "roberta": {}, "deberta-v2": {}, "mpnet": {}, "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16, "num_hidden_groups": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_the_encoder_and_loads_whole(kind, tmp_path):
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **KINDS[kind]})).eval()
    body = native_head(model, "body", seed=0)
    ids = torch.tensor([[4, 7, 9, 11]])
    with torch.no_grad():
        torch.testing.assert_close(body(ids).last_hidden_state, model.base_model(ids).last_hidden_state)
    body.save_pretrained(tmp_path)
    again, facts = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not facts["missing_keys"] and not facts["unexpected_keys"]
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(ids).last_hidden_state, body(ids).last_hidden_state)
