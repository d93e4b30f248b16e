"""The last layer at the chosen positions alone: the same numbers, and only where nobody counts on whole texts."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from labkit.foundations.encoder import LAYERED, backbone, lm_logits, lm_states_and_logits
from tests.foundations.test_pretraining import random_batch, random_model

ROWS, COLUMNS = torch.tensor([0, 2, 2, 3]), torch.tensor([1, 0, 6, 10])


def last_layer(model):
    return backbone(model).encoder.layer[-1]


def computed(model, batch) -> tuple[torch.Tensor, int]:
    """The logits, and at how many positions the last layer's feed-forward part ran for them."""
    seen = []
    handle = last_layer(model).intermediate.dense.register_forward_hook(lambda _, __, out: seen.append(out[..., 0]))
    found = lm_logits(model, batch, ROWS, COLUMNS)
    handle.remove()
    return found, seen[0].numel()


@pytest.mark.parametrize("kind", LAYERED)
def test_logits_and_gradients_are_those_of_the_whole_layer(kind):
    model, batch = random_model(kind), random_batch()
    plain = copy.deepcopy(model)
    found, positions = computed(model, batch)
    whole = plain(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[ROWS, COLUMNS]
    assert positions == len(ROWS)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    weights = torch.randn(whole.shape, generator=torch.Generator().manual_seed(0))
    for result in (found, whole):
        (result.log_softmax(-1) * weights).sum().backward()
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_states_are_those_that_the_head_reads():
    model, batch = random_model("bert"), random_batch()
    states, logits = lm_states_and_logits(model, batch, ROWS, COLUMNS)
    torch.testing.assert_close(model.get_output_embeddings()(states), logits)
    torch.testing.assert_close(
        logits, model(**{k: batch[k] for k in ("input_ids", "attention_mask")}).logits[ROWS, COLUMNS]
    )


class Watched(nn.Module):
    """A layer of somebody's own, which keeps the states it gives."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        return self.inner(*args)


@pytest.mark.parametrize("what", ["hook", "own module", "own forward", "checkpointing", "chunks"])
def test_whoever_counts_on_whole_texts_gets_them(what):
    model, batch = random_model("bert"), random_batch()
    wanted, layer = computed(model, batch)[0], last_layer(model)
    if what == "hook":
        layer.register_forward_hook(lambda *_: None)
    elif what == "own module":
        layer.output = Watched(layer.output)
    elif what == "own forward":
        layer.forward = layer.forward
    elif what == "checkpointing":
        model.gradient_checkpointing_enable()
        model.train()
    else:
        layer.chunk_size_feed_forward = model.config.chunk_size_feed_forward = 4
    found, positions = computed(model, batch)
    assert positions == batch["input_ids"].numel() // (3 if what == "chunks" else 1)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    found.sum().backward()
