"""Pruning: leaving out what a model does not need.

| file | what is left out |
|---|---|
| `masks.py` | single weights, by size, by movement, or two of every four |
| `structure.py` | heads and layers, which really leave the model |
| `gates.py` | heads that learn whether they are needed (hard concrete) |
| `sparse_file.py` | zeros, from the file |
| `contrastive.py` | nothing: what a pruned model should stay close to (CAP) |
"""

from __future__ import annotations

from labkit.compression.pruning.contrastive import CAP, contrast
from labkit.compression.pruning.gates import HardConcrete, gated
from labkit.compression.pruning.masks import cubic, finish, gradually, prepare, prune, sparsity_of, two_of_four
from labkit.compression.pruning.structure import drop_layers, head_importance, layer_drop, remove_heads

__all__ = [
    "CAP", "HardConcrete", "contrast", "cubic", "drop_layers", "finish", "gated", "gradually", "head_importance",
    "layer_drop", "prepare", "prune", "remove_heads", "sparsity_of", "two_of_four",
]  # fmt: skip
