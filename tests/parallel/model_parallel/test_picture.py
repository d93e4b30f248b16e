"""The picture against the shares that ranks really hold."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from labkit.errors import UsageError
from labkit.parallel.model_parallel.model import Shape, build
from labkit.parallel.model_parallel.picture import pieces, who_holds
from labkit.parallel.model_parallel.tensor_parallel import cut_dimension
from labkit.parallel.model_parallel.three_d import share_of
from labkit.parallel.model_parallel.topology import Topology

SHAPE = Shape(vocabulary=16, positions=4, width=8, heads=4, layers=2)


@pytest.mark.parametrize("grid", [Topology(), Topology(1, 1, 4), Topology(2, 2, 2), Topology(2, 3, 1)])
def test_every_rank_holds_the_pieces_that_carry_its_number(grid):
    model, drawn = build(SHAPE), Counter()
    for piece in pieces(SHAPE, grid):
        for rank in piece.ranks:
            area = (piece.rows[1] - piece.rows[0]) * (piece.columns[1] - piece.columns[0])
            drawn[rank, piece.name + ".weight"] += area
    for rank, at in enumerate(grid):
        state = share_of(model, grid, SimpleNamespace(world=grid.model, rank=at.model), at.pipe).state_dict()
        held = {
            name: weight.numel()
            for name, weight in state.items()
            if cut_dimension(name) is not None and weight.dim() == 2
        }
        assert {name: area for (who, name), area in drawn.items() if who == rank} == held


def test_the_first_matrix_of_a_pair_is_cut_by_columns_and_the_second_by_rows():
    plot = who_holds(SHAPE, Topology(1, 1, 2))
    for words in ("words by rows: ranks 0 | 1", "qkv by columns", "out by rows", "up by columns", "down by rows"):
        assert words in plot.alt
    assert "blocks.1.down whole: ranks 2,3." in who_holds(SHAPE, Topology(2, 2, 1)).alt.replace("; head", ".")
    with pytest.raises(UsageError, match="at most 4 blocks and 16 shares"):
        who_holds(Shape(layers=5), Topology())
