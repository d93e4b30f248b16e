"""What one warp asks of memory at once: sectors of global memory, and banks of shared memory.

The 32 threads of a warp (its lanes) load together. Global memory answers in sectors of 32 bytes: a byte of a sector
costs as much as the whole sector. Shared memory has 32 banks, 4 bytes wide: word w is in bank w mod 32, and a bank
gives one word a pass, to as many lanes as ask for it. (NVIDIA, CUDA C++ programming guide, sections on device memory
accesses and on shared memory for compute capability 5.x and newer.)

Every count stands here twice: in closed form for strided accesses, and by looking at every byte (`…_touched`,
`bank_words`, `passes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from labkit.errors import UsageError

WARP = 32  # lanes
SECTOR = 32  # bytes
BANKS, WORD = 32, 4  # banks, bytes a bank gives in a pass
SIZES = (1, 2, 4, 8, 16)  # bytes that one load can take


@dataclass(frozen=True)
class Access:
    """Lane i loads `each` bytes from byte `offset + i * stride * each` on.

    `stride` counts in loads: 1 is one after the other, 0 the same for all. UsageError where a GPU could not do it: a
    load takes 1, 2, 4, 8 or 16 bytes and begins at a multiple of its size.
    """

    stride: int = 1
    each: int = 4
    offset: int = 0
    lanes: int = WARP

    def __post_init__(self) -> None:
        if self.each not in SIZES:
            raise UsageError(f"a load takes 1, 2, 4, 8 or 16 bytes, not {self.each}")
        if self.stride < 0 or self.offset < 0:
            raise UsageError(f"stride and offset are 0 or more, not {self.stride} and {self.offset}")
        if self.offset % self.each:
            raise UsageError(f"a load of {self.each} bytes begins at a multiple of {self.each}, not at {self.offset}")
        if not 1 <= self.lanes <= WARP:
            raise UsageError(f"a warp has 1 to {WARP} active lanes, not {self.lanes}")

    @property
    def starts(self) -> list[int]:
        """The first byte of each lane."""
        return [self.offset + lane * self.stride * self.each for lane in range(self.lanes)]

    @property
    def useful(self) -> int:
        """Different bytes that are asked for."""
        return self.each * (self.lanes if self.stride else 1)


# Global memory


def sectors(access: Access) -> int:
    """How many sectors the access touches, in closed form.

    A load never crosses a sector, as it is aligned and no longer than one. Steps of up to a sector leave no sector out
    between the first and the last; longer steps reach a new one with every lane.
    """
    step = access.stride * access.each
    if step >= SECTOR:
        return access.lanes
    return (access.offset % SECTOR + (access.lanes - 1) * step) // SECTOR + 1


def sectors_touched(starts: Sequence[int], each: int) -> dict[int, int]:
    """Sector -> how many of its bytes are asked for, by looking at every byte of every lane."""
    asked = {start + byte for start in starts for byte in range(each)}
    found: dict[int, int] = {}
    for byte in sorted(asked):
        found[byte // SECTOR] = found.get(byte // SECTOR, 0) + 1
    return found


def efficiency(access: Access) -> float:
    """Share of the bytes moved that was asked for, in (0, 1]."""
    return access.useful / (SECTOR * sectors(access))


# Shared memory


def conflict(stride: int) -> int:
    """Passes for 32 lanes that read words `stride` words apart: gcd(stride, 32); 1 where all read the same word.

    Words of lanes i and j share a bank where (i - j) * stride is a multiple of 32: that is every 32 / gcd lanes.
    """
    if stride < 0:
        raise UsageError(f"a stride is 0 or more, not {stride}")
    return gcd(stride, BANKS) if stride else 1


def bank_words(starts: Sequence[int], each: int = WORD) -> list[set[int]]:
    """For each bank, the different words in it that are asked for."""
    found: list[set[int]] = [set() for _ in range(BANKS)]
    for start in starts:
        for word in range(start // WORD, (start + each - 1) // WORD + 1):
            found[word % BANKS].add(word)
    return found


def passes(starts: Sequence[int], each: int = WORD) -> int:
    """How often shared memory must be read to serve all lanes, by looking at every word.

    Loads of 8 and 16 bytes are served by half and quarter warps: 2 and 4 passes are the best they can do.
    """
    group = WARP // max(1, each // WORD)
    groups = [starts[at : at + group] for at in range(0, len(starts), group)]
    return sum(max(len(words) for words in bank_words(part, each)) for part in groups)
