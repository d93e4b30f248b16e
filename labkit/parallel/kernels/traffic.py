"""What whole kernels move: matrix transposition and matrix product, naive and by tiles through shared memory.

Each count is a closed form, with a function `…_counted` beside it that goes through every thread of every block and
looks at the addresses it asks for. Matrices are float32, row by row, and begin at a sector; blocks are 32 threads
wide, so that a warp is a row of a block. Sectors are what is *requested*: caches may answer some of them, which nobody
can know in advance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labkit.errors import UsageError, unknown
from labkit.parallel.kernels.access import SECTOR, WARP, conflict, passes, sectors_touched

TILE = WARP
FLOAT = 4  # bytes
KINDS = ("naive", "tiled")


@dataclass(frozen=True)
class Traffic:
    """Sectors of global memory loaded and stored, and passes over shared memory."""

    loads: int = 0
    stores: int = 0
    passes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of global memory moved."""
        return SECTOR * (self.loads + self.stores)


# Transposition: out[c, r] = in[r, c]


def transpose(rows: int, columns: int, kind: str = "naive", pitch: int = TILE) -> Traffic:
    """Traffic of a transposition of (rows, columns), both multiples of 32.

    Naive: a warp loads a piece of a row (4 sectors) and stores a piece of a column (32 sectors). Tiled: rows come and
    go whole, and the turn happens in shared memory, where a column of rows `pitch` words apart takes `conflict(pitch)`
    passes.
    """
    _multiples(rows, columns)
    _kind(kind)
    warps = rows * columns // WARP
    whole = WARP * FLOAT // SECTOR
    if kind == "naive":
        return Traffic(whole * warps, WARP * warps)
    return Traffic(whole * warps, whole * warps, (1 + conflict(pitch)) * warps)


def transpose_counted(rows: int, columns: int, kind: str = "naive", pitch: int = TILE) -> Traffic:
    """The same, by asking every thread."""
    _multiples(rows, columns)
    _kind(kind)
    loads = stores = shared = 0
    for top, left in _tiles(rows, columns):
        for y in range(TILE):
            loads += _sectors(lambda x: (top + y) * columns + left + x)  # noqa: B023  called at once
            if kind == "naive":
                stores += _sectors(lambda x: (left + x) * rows + top + y)  # noqa: B023
            else:
                shared += passes([FLOAT * (y * pitch + x) for x in range(WARP)])
                shared += passes([FLOAT * (x * pitch + y) for x in range(WARP)])
                stores += _sectors(lambda x: (left + y) * rows + top + x)  # noqa: B023
    return Traffic(loads, stores, shared)


# Product: out (m, n) = a (m, k) @ b (k, n)


def product_loads(m: int, n: int, k: int, tile: int = 1) -> int:
    """Numbers that all threads load from global memory: 2 m n k / tile where the tile divides m and n.

    Without tiles every thread loads its row of a and its column of b. With them a block loads each number of its rows
    and columns once: a is loaded by every column of blocks, b by every row of blocks.
    """
    _positive(m, n, k, tile)
    return m * k * -(-n // tile) + k * n * -(-m // tile)


def product_loads_counted(m: int, n: int, k: int, tile: int = 1) -> int:
    """The same, by following every thread of every block; threads outside the matrices load nothing."""
    _positive(m, n, k, tile)
    loads = 0
    for top, left in _tiles(m, n, tile):
        for start in range(0, k, tile):
            for y in range(tile):
                for x in range(tile):
                    loads += top + y < m and start + x < k  # a[top + y, start + x]
                    loads += start + y < k and left + x < n  # b[start + y, left + x]
    return loads


def product(m: int, n: int, k: int, kind: str = "naive") -> Traffic:
    """Traffic of a product of sizes that are multiples of 32: tiles of 32 × 32, or none.

    Naive: all lanes of a warp want the same number of a (1 sector), and 32 neighbours of b (4 sectors), k times.
    """
    _multiples(m, n, k)
    _kind(kind)
    whole = WARP * FLOAT // SECTOR
    loads = m * n // WARP * k * (1 + whole) if kind == "naive" else product_loads(m, n, k, TILE) // WARP * whole
    shared = 0 if kind == "naive" else m * n * k // WARP * (2 + 2 / TILE)
    return Traffic(loads, m * n // WARP * whole, int(shared))


def product_counted(m: int, n: int, k: int, kind: str = "naive") -> Traffic:
    """The same, by asking every thread."""
    _multiples(m, n, k)
    _kind(kind)
    loads = stores = shared = 0
    for top, left in _tiles(m, n):
        for y in range(TILE):
            stores += _sectors(lambda x: (top + y) * n + left + x)  # noqa: B023  called at once
            for at in range(k):
                if kind == "naive":
                    loads += _sectors(lambda x: (top + y) * k + at)  # noqa: B023
                    loads += _sectors(lambda x: at * n + left + x)  # noqa: B023
                else:
                    shared += passes([FLOAT * (y * TILE + at % TILE)] * WARP)
                    shared += passes([FLOAT * (at % TILE * TILE + x) for x in range(WARP)])
            for start in range(0, k, TILE) if kind == "tiled" else ():
                loads += _sectors(lambda x: (top + y) * k + start + x)  # noqa: B023
                loads += _sectors(lambda x: (start + y) * n + left + x)  # noqa: B023
                shared += 2 * passes([FLOAT * (y * TILE + x) for x in range(WARP)])
    return Traffic(loads, stores, shared)


def _tiles(rows: int, columns: int, tile: int = TILE) -> Iterator[tuple[int, int]]:
    """Top and left of every block."""
    return ((top, left) for top in range(0, rows, tile) for left in range(0, columns, tile))


def _sectors(element: Callable[[int], int]) -> int:
    """Sectors that a warp touches whose lane x asks for float number element(x)."""
    return len(sectors_touched([FLOAT * element(x) for x in range(WARP)], FLOAT))


def _multiples(*sizes: int) -> None:
    for size in sizes:
        if size < TILE or size % TILE:
            raise UsageError(f"sizes are multiples of {TILE} here, not {size}: a warp must fill its row")


def _positive(*sizes: int) -> None:
    if min(sizes) < 1:
        raise UsageError(f"sizes and tiles are 1 or more, not {min(sizes)}")


def _kind(kind: str) -> None:
    if kind not in KINDS:
        raise unknown("kind of kernel", kind, KINDS)
