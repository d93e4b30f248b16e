"""The solutions that lesson 03/06 shows do what labkit's own deltas do."""

from __future__ import annotations

import torch

from labkit.fewshot.delta_tuning import LoRA, trained_tensors
from labkit.fewshot.delta_tuning.compacter import KroneckerLinear
from labkit.measure import parameters, trainable
from tests.checks.solutions import solutions
from tests.fewshot.delta_models import make, train

SHOWN = solutions("03_fewshot/06_delta_tuning")


def test_lora_is_that_of_the_library():
    model = train(LoRA(rank=2).attach(make()))
    assert SHOWN["trained_share"](model) == trainable(model) / parameters(model)
    layer = model.bert.encoder.layer[0].attention.self.query
    values, x = trained_tensors(layer), torch.randn(4, 32)
    a, b = values["lora_A.lora.weight"], values["lora_B.lora.weight"]
    with torch.no_grad():
        merged = SHOWN["merge_lora"](layer.base_layer.weight, a, b, 16.0)
        mine = SHOWN["lora_forward"](x, layer.base_layer.weight, a, b, 16.0)
        torch.testing.assert_close(mine + layer.base_layer.bias, layer(x))
        torch.testing.assert_close(x @ merged.T, mine, rtol=1e-4, atol=1e-5)


def test_the_kronecker_layer_is_that_of_the_library():
    draw = torch.Generator().manual_seed(0)
    layer = KroneckerLinear(12, 8, torch.nn.Parameter(torch.randn(4, 4, 4, generator=draw)), rank=2)
    for weight in layer.parameters():
        weight.data.normal_(generator=draw)
    x = torch.randn(3, 12, generator=draw)
    mine = SHOWN["kronecker_layer"](x, layer.a, layer.s @ layer.t) + layer.bias
    torch.testing.assert_close(mine, layer(x), rtol=1e-4, atol=1e-5)
