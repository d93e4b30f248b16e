"""What transpositions and products move: closed forms against every thread's addresses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.parallel.kernels.traffic import (
    KINDS,
    Traffic,
    product,
    product_counted,
    product_loads,
    product_loads_counted,
    transpose,
    transpose_counted,
)

tiles = st.integers(1, 3).map(lambda number: 32 * number)


@settings(max_examples=12, deadline=None)
@given(tiles, tiles, st.sampled_from(KINDS), st.sampled_from([32, 33, 34, 40, 64]))
def test_a_transposition(rows, columns, kind, pitch):
    assert transpose(rows, columns, kind, pitch) == transpose_counted(rows, columns, kind, pitch)


def test_a_transposition_in_figures():
    size = 4 * 64 * 96  # bytes of the matrix
    assert transpose(64, 96).bytes == size + 8 * size  # a store takes 4 of the 32 bytes of each sector
    assert transpose(64, 96, "tiled").bytes == 2 * size
    assert transpose(64, 96, "tiled", 33).passes == 2 * 64 * 96 // 32
    assert transpose(64, 96, "tiled", 32).passes == 33 * 64 * 96 // 32


@settings(deadline=None)
@given(*[st.integers(1, 9)] * 3, st.integers(1, 5))
def test_a_products_loads(m, n, k, tile):
    assert product_loads(m, n, k, tile) == product_loads_counted(m, n, k, tile)


@settings(deadline=None)
@given(*[st.integers(1, 50)] * 3, st.integers(1, 16))
def test_a_products_loads_where_the_tile_divides(m, n, k, tile):
    assert product_loads(m, n, k) == 2 * m * n * k
    assert product_loads(m * tile, n * tile, k, tile) == 2 * (m * tile) * (n * tile) * k // tile


@settings(max_examples=4, deadline=None)
@given(*[st.integers(1, 2).map(lambda number: 32 * number)] * 3, st.sampled_from(KINDS))
def test_a_products_sectors(m, n, k, kind):
    assert product(m, n, k, kind) == product_counted(m, n, k, kind)


def test_tiles_of_32_move_a_twentieth():
    assert product(64, 64, 64).loads == 20 * product(64, 64, 64, "tiled").loads
    assert Traffic(3, 2).bytes == 160


@pytest.mark.parametrize("count", [transpose, transpose_counted, lambda m, n, kind: product(m, n, 32, kind)])
def test_what_is_refused(count):
    with pytest.raises(UsageError, match="multiples of 32 here, not 40"):
        count(64, 40, "naive")
    with pytest.raises(UsageError, match="did you mean 'tiled'"):
        count(64, 64, "tield")
    with pytest.raises(UsageError, match="1 or more, not 0"):
        product_loads(4, 4, 0)
