"""What one warp asks of memory at once: sectors of global memory, and banks of shared memory.

The 32 threads of a warp (its lanes) load together. Global memory answers in sectors of 32 bytes: a byte of a sector
costs as much as the whole sector. Shared memory has 32 banks, 4 bytes wide: word w is in bank w mod 32, and a bank
gives one word a pass, to as many lanes as ask for it. (NVIDIA, CUDA C++ programming guide, sections on device memory
accesses and on shared memory for compute capability 5.x and newer.)

Everything is counted by looking at every byte or word that is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

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

    def __post_init__(self) -> None:
        if self.each not in SIZES:
            raise UsageError(f"a load takes 1, 2, 4, 8 or 16 bytes, not {self.each}")
        if self.stride < 0 or self.offset < 0:
            raise UsageError(f"stride and offset are 0 or more, not {self.stride} and {self.offset}")
        if self.offset % self.each:
            raise UsageError(f"a load of {self.each} bytes begins at a multiple of {self.each}, not at {self.offset}")

    @property
    def starts(self) -> list[int]:
        """The first byte of each lane."""
        return [self.offset + lane * self.stride * self.each for lane in range(WARP)]


# Global memory


def sectors_touched(access: Access) -> dict[int, int]:
    """Sector -> how many of its bytes are asked for, in the order of their addresses."""
    asked = {start + byte for start in access.starts for byte in range(access.each)}
    return dict(Counter(byte // SECTOR for byte in sorted(asked)))


# Shared memory


def bank_words(starts: Sequence[int], each: int = WORD) -> list[set[int]]:
    """For each bank, the different words in it that are asked for."""
    found: list[set[int]] = [set() for _ in range(BANKS)]
    for start in starts:
        for word in range(start // WORD, (start + each - 1) // WORD + 1):
            found[word % BANKS].add(word)
    return found


def passes(starts: Sequence[int], each: int = WORD) -> int:
    """How often shared memory must be read to serve all lanes: gcd(stride, 32) times for words `stride` apart.

    Loads of 8 and 16 bytes are served by half and quarter warps: 2 and 4 passes are the best they can do.
    """
    group = WARP // max(1, each // WORD)
    groups = [starts[at : at + group] for at in range(0, len(starts), group)]
    return sum(max(len(words) for words in bank_words(part, each)) for part in groups)
