"""The solutions that lesson 03/06 shows do what labkit's own deltas do."""

from __future__ import annotations

import torch

from labkit.fewshot.delta_tuning import LoRA, trained_tensors
from labkit.measure import trainable
from tests.checks.solutions import solutions
from tests.fewshot.delta_models import make, train

SHOWN = solutions("03_fewshot/06_delta_tuning")


def test_lora_is_that_of_the_library():
    model = train(LoRA(rank=2).attach(make()))
    layer = model.bert.encoder.layer[0].attention.self.query
    values, x = trained_tensors(layer), torch.randn(4, 3, 32)
    a, b = values["lora_A.lora.weight"], values["lora_B.lora.weight"]
    with torch.no_grad():
        merged = SHOWN["merge_lora"](layer.base_layer.weight, a, b, 16.0)
        mine = layer.base_layer(x) + SHOWN["lora_update"](x, a, b, 16.0)
        torch.testing.assert_close(mine, layer(x))
        torch.testing.assert_close(x @ merged.T + layer.base_layer.bias, mine, rtol=1e-4, atol=1e-5)


def test_what_is_attached_by_name_is_the_librarys_lora():
    theirs = train(LoRA(rank=2, targets=("attention.self.value",)).attach(make()))
    tensors = iter(trained_tensors(theirs.bert).values())

    class Beside(torch.nn.Module):
        def __init__(self, d_in, d_out):
            super().__init__()
            self.a, self.b = torch.nn.Parameter(next(tensors).clone()), torch.nn.Parameter(next(tensors).clone())

        def forward(self, x):
            return SHOWN["lora_update"](x, self.a, self.b, 16.0)

    mine = SHOWN["attach"](make(), "attention.self.value", Beside)
    ids = torch.tensor([[2, 6, 7, 3]])
    with torch.no_grad():
        torch.testing.assert_close(mine.eval()(ids).logits, theirs.eval()(ids).logits)
    assert trainable(mine) == trainable(theirs)


def test_an_own_delta_changes_nothing_when_new():
    model, ids = make().eval(), torch.tensor([[2, 6, 7, 3]])
    before = model(ids).logits
    torch.testing.assert_close(SHOWN["attach"](model, "intermediate.dense", SHOWN["own_delta"])(ids).logits, before)
