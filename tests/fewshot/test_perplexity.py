"""Choice by perplexity, against one token hidden at a time in a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.prompts import perplexity
from labkit.fewshot.prompts.perplexity import PerplexityChoice
from tests.fewshot.tiny_prompts import ID, ROWS, TEMPLATE, tiny_bert, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ENDINGS = {"negative": "so very dull", "positive": "good"}


@torch.no_grad()
def by_hand(model, text: str) -> list[float]:
    inputs = TOKENIZER(text, return_tensors="pt")
    ids, found = inputs["input_ids"][0].clone(), []
    for place in range(1, len(ids) - 1):
        hidden = ids.clone()
        hidden[place] = ID["[MASK]"]
        logits = model(**{**inputs, "input_ids": hidden[None]}).logits[0, place]
        found.append(logits.log_softmax(-1)[ids[place]].item())
    return found


@torch.no_grad()
@pytest.mark.parametrize("normalise", [True, False])
def test_every_token_is_asked_for_in_turn(monkeypatch, normalise):
    monkeypatch.setattr(perplexity, "CHUNK", 7)  # so that texts are cut across passes
    model, how = tiny_bert(), PerplexityChoice(TEMPLATE, ENDINGS, TOKENIZER, normalise=normalise)
    found = how.logits(model, how.collate(ROWS))
    total = np.mean if normalise else np.sum
    wanted = [[total(by_hand(model, f"{row['text']} it was {word} .")) for word in ENDINGS.values()] for row in ROWS]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32), rtol=1e-3, atol=1e-4)


def test_description_loss_and_errors():
    model, how = tiny_bert(), PerplexityChoice(TEMPLATE, ENDINGS, TOKENIZER, 32, normalise=False)
    again = PerplexityChoice.from_description(how.describe(), TOKENIZER)
    np.testing.assert_array_equal(predict(model, again, ROWS), predict(model, how, ROWS))
    loss = how.loss(model, how.collate(ROWS))
    loss.backward()
    assert loss.ndim == 0 and model.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    with pytest.raises(UsageError, match=r"one \{mask\} and at least two labels are needed, not 1"):
        PerplexityChoice(TEMPLATE, {"a": "bad"}, TOKENIZER)
    with pytest.raises(UsageError, match=r"one \{mask\}"):
        PerplexityChoice("{mask} {mask}", ENDINGS, TOKENIZER)
    with pytest.raises(UsageError, match="'template' is missing"):
        PerplexityChoice.from_description({"words": ENDINGS}, TOKENIZER)
    with pytest.raises(UsageError, match="shorten the template or raise max_length"):
        PerplexityChoice(TEMPLATE, ENDINGS, TOKENIZER, 6).collate(ROWS)
