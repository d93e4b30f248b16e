"""Making the student: a smaller model of the teacher's class that starts from the teacher's weights where it can."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.compression.tinybert import uniform_map
from labkit.errors import UsageError
from labkit.foundations.quantised import refuse_quantised
from labkit.lab import seeded


def shrink(model: Any, layers: int, hidden: int, seed: int = 0) -> Any:
    """A smaller model of the same class, with as many heads; the FFN shrinks in proportion.

    Equal width: every k-th layer (`uniform_map`) and all else is copied. Smaller width: the embedding tables become the
    teacher's in the coordinates of the word embeddings' leading singular vectors (no table of that rank is nearer to
    them), one common factor restoring the spread of the entries; layers start fresh from `seed`. UsageError for sizes
    larger than the teacher's, or that the heads do not divide, and for a teacher whose weights are not plain numbers
    under its own names: quantised, or with a delta or a prompt in it.
    """
    refuse_quantised(model, "shrink copies numbers")
    old = model.config
    if not 1 <= hidden <= old.hidden_size or hidden % old.num_attention_heads:
        raise UsageError(f"hidden {hidden}: give a multiple of {old.num_attention_heads} up to {old.hidden_size}")
    chosen = uniform_map(layers, old.num_hidden_layers)
    config = copy.deepcopy(old)
    config.hidden_size, config.num_hidden_layers = hidden, layers
    config.intermediate_size = max(1, round(old.intermediate_size * hidden / old.hidden_size))
    with seeded(seed):
        student = type(model)(config).to(device=model.device, dtype=model.dtype)
    _inherit(student, model, chosen)
    return student.train(model.training)


@torch.no_grad()
def _inherit(student: Any, teacher: Any, chosen: Sequence[int]) -> None:
    """Copy what fits (layers only where all widths agree with it), and project the embedding tables that do not."""
    source, narrower = teacher.state_dict(), student.config.hidden_size < teacher.config.hidden_size
    basis = _leading(teacher.get_input_embeddings().weight, student.config.hidden_size) if narrower else None
    for name, tensor in student.state_dict().items():
        from_layer = re.sub(r"(encoder\.layer\.)(\d+)", lambda m: f"{m[1]}{chosen[int(m[2])] - 1}", name)
        old = source.get(from_layer)
        if old is None or old.is_floating_point() != tensor.is_floating_point():
            raise UsageError(
                f"shrink: the teacher has no {from_layer!r} in numbers: merge, detach or fold what it carries first"
            )
        if old.shape == tensor.shape and not (narrower and "encoder.layer." in name):
            tensor.copy_(old)
        elif basis is not None and re.search(r"embeddings\.\w+_embeddings\.weight$", name):
            tensor.copy_(old.double().cpu() @ basis)


def _leading(table: Tensor, rank: int) -> Tensor:
    """(d, rank): the leading right singular vectors of (words, d), scaled so that entries spread as the table's do."""
    wide = table.detach().double().cpu()
    vectors = torch.linalg.eigh(wide.t() @ wide).eigenvectors.flip(1)[:, :rank]  # of the Gram matrix: the same vectors
    return vectors * (wide.std(correction=0) / (wide @ vectors).std(correction=0))
