"""TextCNN: all windows of a text at once (Kim 2014, Convolutional neural networks for sentence classification, §2).

A filter is a pattern of a few words' vectors, and how well a window fits it is one product. Of each filter only its
best window in the text counts, wherever that stands. No window waits for another, as a recurrent step does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.errors import UsageError


class TextCNN(nn.Module):
    """Windows of `widths` words, `filters` patterns of each width: x (batch, tokens, inputs) → (batch, widths ·
    filters), each number the best window's, at least 0 (ReLU).

    A text is read as if zeros followed it, so that one shorter than a window has a window too; `mask` (batch, tokens)
    makes padding these zeros. UsageError for widths that are none.
    """

    def __init__(self, inputs: int, widths: Sequence[int] = (3, 4, 5), filters: int = 100) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or filters < 1:
            raise UsageError(f"widths={tuple(widths)}, filters={filters}: windows of a word at least, a filter each")
        self.convolutions = nn.ModuleList(nn.Conv1d(inputs, filters, width) for width in widths)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The best window of each filter among those that begin at a word."""
        real = torch.ones(x.shape[:2], device=x.device) if mask is None else mask
        columns, best = (x * real[..., None]).transpose(1, 2), []  # (batch, inputs, tokens)
        for convolution in self.convolutions:
            fits = convolution(F.pad(columns, (0, convolution.kernel_size[0] - 1)))  # (batch, filters, tokens)
            best.append((F.relu(fits) * real[:, None]).amax(2))  # a ReLU is never below 0, the product's value
        return torch.cat(best, 1)
