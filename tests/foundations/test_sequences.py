"""TODO: what must be true of sequences."""

from __future__ import annotations

import torch

from labkit.foundations.sequences import sequences


def test_it_agrees_with_the_formula():
    values = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sequences(values), values.exp() / values.exp().sum(-1, keepdim=True))


def test_large_values_do_not_overflow():
    torch.testing.assert_close(sequences(torch.tensor([[1000.0, 0.0]])), torch.tensor([[1.0, 0.0]]))
