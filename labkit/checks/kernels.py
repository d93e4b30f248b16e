"""Checks of lesson 06/02, kernels: `from labkit.checks import kernels as check`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import NAN, Mistake, asked, exercise, expect, given, number, parts, same, whole
from labkit.checks.limit import paused
from labkit.errors import LabkitError
from labkit.parallel.kernels.workbench import SOFTMAX, TRANSPOSE, Job, Ran, launch

LESSON = "06/02"
HIDDEN = "-inf minus -inf is NaN. What should the sum be while nothing but -inf has come?"
Steps = Sequence[tuple[Sequence[str], Sequence[str]]]

BROKEN = """\
__global__ void transpose(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32][33];
  int row = 32 * blockIdx.y + threadIdx.y, column = 32 * blockIdx.x + threadIdx.x;
  if (row < rows && column < columns) {
    tile[threadIdx.y][threadIdx.x] = x[row * columns + column];
    __syncthreads();
  }
  row = 32 * blockIdx.y + threadIdx.x, column = 32 * blockIdx.x + threadIdx.y;
  if (row < rows && column < columns) y[column * rows + row] = tile[threadIdx.x][threadIdx.y];
}
"""

SOLVED = """\
__global__ void softmax(const float* x, float* y, int rows, int columns) {
  x += blockIdx.x * columns, y += blockIdx.x * columns;
  int lane = threadIdx.x;
  float most = -INFINITY, total = 0.0f;
  for (int i = lane; i < columns; i += 32) {
    if (x[i] == -INFINITY) continue;
    float larger = fmaxf(most, x[i]);
    total = total * expf(most - larger) + expf(x[i] - larger);
    most = larger;
  }
  float top = most;
  for (int far = 16; far > 0; far /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, far));
  total *= expf(most - top);
  for (int far = 16; far > 0; far /= 2) total += __shfl_xor_sync(0xffffffff, total, far);
  for (int i = lane; i < columns; i += 32) y[i] = expf(x[i] - top) / total;
}
"""


def _bytes_moved(steps: Steps, sizes: Mapping[str, int], kept: set[str]) -> tuple[int, int]:
    single = sum(sizes[name] for reads, writes in steps for name in (*reads, *writes))
    made = {name for _, writes in steps for name in writes}
    read = {name for reads, _ in steps for name in reads} - made
    return single, sum(sizes[name] for name in (*read, *kept))


@exercise(LESSON, _bytes_moved)
def bytes_moved(function: Callable[[Steps, Mapping[str, int], set[str]], tuple[int, int]]) -> None:
    """Steps [(reads, writes), …], bytes of each tensor, names needed afterwards → (bytes one by one, bytes fused)."""
    steps = [(("x", "bias"), ("a",)), (("a",), ("b", "mask")), (("b", "x"), ("z",)), (("z", "gain"), ("y",))]
    sizes = {"x": 1000, "bias": 10, "a": 1000, "b": 1000, "mask": 250, "z": 1000, "gain": 10, "y": 1000, "other": 7}
    one, fused = _pair(asked(function, steps=list(steps), sizes=sizes, kept={"y", "z"}))
    expect(one, 9270, "one kernel per step: add up the sizes of all reads and all writes of every step", [
        (5020, "these are the reads alone: writes move bytes too"),
        (4250, "these are the writes alone: reads move bytes too"),
        (5270, "each tensor counts once in yours: without fusion every step that reads it moves it again"),
        (5277, "you added up all sizes: a tensor moves once for every step that reads or writes it, and `other` never"),
    ])  # fmt: skip
    expect(fused, 3020, "fused: what no step makes is read once, and what is needed afterwards is written once", [
        (9270, "fused is the same as unfused here: leave out what only lies between two steps"),
        (5270, "what lies between steps is still counted: in one kernel it stays in registers"),
        (4020, "x is read by two steps, and you counted it twice: one kernel reads it once"),
        (2020, "only the last result is counted as written: z is needed afterwards too"),
        (3270, "mask is counted as written, because no step reads it: nobody needs it afterwards either"),
        (2270, "you write what no step reads; written is what is in `kept`, and z is in it"),
        (1020, "these are the reads: the results are missing"),
        (2000, "these are the writes: what comes from outside is missing"),
    ])  # fmt: skip
    expect(_pair(function(steps, sizes, {"y"})), (9270, 2020), "with kept = {'y'}, z need not be written: 2020 fused")
    alone = _pair(function([(("p",), ("q",))], {"p": 7, "q": 5}, {"q"}))
    expect(alone, (12, 12), f"a single step has nothing to fuse: (12, 12) was expected, not {alone}")


def _pair(value: Any) -> tuple[int, int]:
    first, second = parts(value, ("one_by_one", "fused"))
    return whole(first, "the first number"), whole(second, "the second number")


def _warp_sectors(stride: int, size: int) -> int:
    return len({lane * stride * size // 32 for lane in range(32)})


@exercise(LESSON, _warp_sectors)
def warp_sectors(function: Callable[[int, int], int]) -> None:
    """(stride in elements, bytes of an element) → sectors of 32 bytes that 32 lanes touch, from address 0 on."""
    found = [whole(function(stride, size)) for stride, size in ((1, 4), (1, 2), (2, 4), (40, 4))]
    if found[0] == 32 and found[1] == 32:
        raise Mistake("you count a sector per lane: neighbours share one, and a shared sector is moved once")
    expect(found[0], 4, "32 neighbours of 4 bytes are 128 bytes: 4 sectors were expected for stride 1", [
        (128, "these are bytes: divide by the 32 of a sector"),
        (1, "you found one sector for 128 bytes, but a sector has 32: is `lane * stride * size` your address, in bytes?"),
        (3, "the last sector is missing: take the number of different `address // 32`, or the last one plus 1"),
        (5, "one too many: the last lane's first byte is 124, which is in sector 3, the fourth"),
    ])  # fmt: skip
    expect(found[1], 2, "32 neighbours of 2 bytes are 64 bytes: 2 sectors", [(4, "the size of an element has no effect in yours")])  # fmt: skip
    expect(found[2], 8, "with stride 2 the lanes spread over 256 bytes: 8 sectors", [
        (4, "the stride has no effect in yours, or you counted only the bytes asked for: a sector moves whole"),
        (16, "you multiplied by the size twice, or by the stride twice"),
    ])  # fmt: skip
    apart = "you divided the whole span by 32: where lanes are more than a sector apart, the sectors between them are left alone"  # fmt: skip
    expect(found[3], 32, "far apart, each lane has a sector of its own and no more: 32", [(155, apart), (156, apart), (160, apart)])  # fmt: skip
    expect(whole(function(0, 4)), 1, "with stride 0 all lanes read the same element: 1 sector")
    for stride in (*range(12), 1000):
        for size in (1, 2, 4, 8, 16):
            right = _warp_sectors(stride, size)
            expect(whole(function(stride, size)), right, f"for stride {stride} and {size} bytes: {right} expected")


def _bank_passes(stride: int) -> int:
    return math.gcd(stride, 32) if stride else 1


@exercise(LESSON, _bank_passes)
def bank_passes(function: Callable[[int], int]) -> None:
    """Stride in words → passes of shared memory (32 banks of one word) for 32 lanes."""
    found = [whole(function(stride)) for stride in (1, 2, 32, 33)]
    mistakes = [
        ([32, 16, 1, 32], "these are the banks in use: the passes are how many lanes queue at the busiest one"),
        ([1, 2, 32, 33], "the stride itself is right only where it divides 32: lanes come round to the same bank after 32 / gcd(stride, 32)"),
        ([1, 2, 32, 32], "a stride above 32 is not as bad as 32: word 33 is in bank 1, so the lanes of stride 33 do not meet"),
        ([1, 2, 0, 1], "stride % 32 is 0 for 32, where all lanes meet in bank 0: that takes 32 passes"),
        ([4, 8, 32, 4], "you took bytes for words: word i * stride is in bank (i * stride) % 32"),
        ([32, 32, 32, 32], "you count a pass per lane: lanes that go to different banks are served together"),
    ]  # fmt: skip
    expect(found, [1, 2, 32, 1], f"for strides 1, 2, 32, 33 the passes are 1, 2, 32, 1; yours are {found}", mistakes)
    expect(whole(function(3)), 1, "an odd stride has no conflict: 3 and 32 have no common divisor", [
        (3, "with stride 3 no two lanes meet: the stride itself is right only where it divides 32")])  # fmt: skip
    expect(whole(function(12)), 4, "with stride 12 lanes 0, 8, 16, 24 meet in bank 0: 4 passes")
    expect(whole(function(0)), 1, "with stride 0 all lanes want the same word, and one pass gives it to all of them", [
        (32, "lanes that want the same word do not queue: one pass gives it to all. Stride 0 is 1 pass"),
        (0, "one pass is needed even where all want the same word")])  # fmt: skip
    for stride in (*range(70), 1000):
        expect(whole(function(stride)), _bank_passes(stride), f"for stride {stride}, {_bank_passes(stride)} was expected")


def _mended(broken: str) -> str:
    return broken.replace("    __syncthreads();\n  }", "  }\n  __syncthreads();")


@exercise(LESSON, _mended)
def mended(function: Callable[[str], str]) -> None:
    """The text of BROKEN → the text of a kernel that transposes (rows, columns) of any size."""
    kernel = _text(function(BROKEN))
    if kernel.split() == BROKEN.split():
        raise Mistake("this is the kernel as it was. Which threads never come to the barrier in line 6?")
    for rows, columns in ((64, 96), (3, 5), (70, 40), (33, 1)):
        x = torch.arange(float(rows * columns)).view(rows, columns)
        for falling in (False, True):
            ran, right = _ran(kernel, TRANSPOSE, x, falling), x.T
            if not torch.equal(ran.out, right):
                raise Mistake(_wrong_transpose(ran, x, falling))
    if not ran.barriers or "__shared__" not in kernel:
        raise Mistake("every number is right, but without a tile in shared memory the stores are strided again, 8 times the bytes: keep the tile")  # fmt: skip


def _wrong_transpose(ran: Ran, x: Tensor, falling: bool) -> str:
    (rows, columns), out = x.shape, ran.out
    wrong, nan = int((out != x.T).sum()), int(out.isnan().sum())
    order = "falling" if falling else "rising"
    said = f"{rows} × {columns}, threads {order}: {wrong:,} of {x.numel():,} numbers are wrong, {nan:,} of them NaN"
    if torch.equal(out.flatten(), x.flatten()):
        return f"{rows} × {columns}: y holds x as it was: number (row, column) of x belongs to place column * rows + row of y"  # fmt: skip
    if nan and not ran.barriers:
        return f"{said}: no barrier is left, so threads read the tile before others have written it"
    if nan and (rows, columns) == (64, 96):
        return f"{said}, where the broken kernel was right: the barrier belongs between the writing and the reading of the tile"  # fmt: skip
    if nan:
        return f"{said}: at the edge some threads still read the tile before it is written, or y is not written there"
    return f"{said}: only the place of the barrier has to change"


def _online(most: float, total: float, x: Tensor) -> tuple[float, float]:
    new = max(most, float(x.max()))
    if new == -math.inf:
        return new, total
    return new, total * math.exp(most - new) + float((x - new).exp().sum())


@exercise(LESSON, _online)
def online(function: Callable[[float, float, Tensor], tuple[Any, Any]]) -> None:
    """(maximum so far, sum so far of exp(x - maximum), next values (n,)) → both after these values."""
    _larger(function)
    part = torch.tensor([1.0, 5.0, 4.0], dtype=torch.float64)
    for old in (9.0, 5.0):
        most, total = _state(function(old, 1.5, part.clone()))
        expect(most, old, f"where nothing larger comes, the maximum stays: {old:g} here", [(5.0, "you took the new values' maximum: the old one may be larger")])  # fmt: skip
        expect(total, 1.5 + float((part - old).exp().sum()), "right where a larger value comes, and wrong where none does")  # fmt: skip
    total = _state(function(-math.inf, 0.0, part.clone()), HIDDEN)[1]
    expect(total, (part - 5).exp().sum(), "a row begins with maximum -inf and sum 0: your function must be able to start there")  # fmt: skip
    _hidden(function)
    for scale, what in ((1, "of 4,096 numbers"), (200, "of large numbers")):
        row = torch.randn(4096, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * scale
        state = (-math.inf, 0.0)
        for piece in row.split(1000):
            state = _state(function(*state, piece.clone()))
        expect(state[0] + math.log(max(state[1], 1e-300)), row.logsumexp(0), f"over a long row {what} the sum goes wrong")  # fmt: skip


def _larger(function: Callable[[float, float, Tensor], tuple[Any, Any]]) -> None:
    """A value comes that is larger than all before."""
    part = torch.tensor([1.0, 5.0, 4.0], dtype=torch.float64)
    added = float((part - 5).exp().sum())
    most, total = _state(asked(function, most=3.0, total=1.5, x=part))
    expect(most, 5.0, "the new maximum is the larger of the old one and the largest new value: 5 here", [
        (3.0, "the maximum did not move: compare it with the largest new value")])  # fmt: skip
    expect(total, 1.5 * math.exp(-2) + added, "old sum, brought to the new maximum, plus exp(x - new maximum) of the new values", [
        (1.5 + added, "the old sum is relative to the old maximum: multiply it by exp(old - new) before you add"),
        (1.5 * math.exp(2) + added, "the sign is turned round: multiply the old sum by exp(old - new), which is at most 1"),
        (added, "the old sum is lost"),
        (1.5 + float((part - 3).exp().sum()), "new values are taken relative to the old maximum: that overflows when a large one comes. Use the new maximum"),
        (1.5 * math.exp(-2) + float(part.exp().sum()), "subtract the new maximum from the new values before exp"),
        (1.5 * math.exp(-2), "the new values are not in the sum"),
    ])  # fmt: skip


def _hidden(function: Callable[[float, float, Tensor], tuple[Any, Any]]) -> None:
    """Blocks of -inf: the numbers of hidden words."""
    block = torch.full((3,), -math.inf)
    wanted = "a block of nothing but -inf adds nothing: (-inf, 0) stays (-inf, 0), and (3, 1.5) stays (3, 1.5)"
    for state in ((-math.inf, 0.0), (3.0, 1.5)):
        most, total = _state(function(*state, block.clone()), HIDDEN)
        if not same([most, total], state):
            raise Mistake(f"{wanted}; yours gives ({most:g}, {total:g}) for {state}")
    most, total = _state(function(-math.inf, 0.0, torch.tensor([-math.inf, 2.0, -math.inf])), HIDDEN)
    expect((most, total), (2.0, 1.0), "[-inf, 2, -inf] has the maximum 2 and the sum 1: exp(-inf - 2) is 0")


def _state(value: Any, nan: str = NAN) -> tuple[float, float]:
    most, total = parts(value, ("maximum", "total"))
    return number(most, "the maximum", nan), number(total, "the sum", nan)


@exercise(LESSON, lambda: SOLVED)
def softmax_kernel(function: Callable[[], str]) -> None:
    """() → the text of a kernel that computes the softmax of each row, a warp per row."""
    kernel, draw = _text(function()), torch.Generator().manual_seed(4)
    x = torch.randn(3, 20, generator=draw) * 2
    for falling in (False, True):
        ran = _ran(kernel, SOFTMAX, x, falling)
        expect(ran.out, x.softmax(1), _wrong_softmax(ran.out, x), _softmax_mistakes(x))
    long, hidden = torch.randn(2, 70, generator=draw), torch.randn(2, 70, generator=draw)
    hidden[0, :40] = hidden[1, 3::32] = hidden[1, -1] = -math.inf
    trials = [
        (long, "right for 20 columns, wrong for 70: there a lane has several numbers, i = lane, lane + 32, lane + 64"),
        (long[:, :32] * 100, "right for small numbers, wrong for large ones: expf(x[i]) overflows. Take expf(x[i] - top)"),
        (hidden, "wrong where x holds -INFINITY: -inf minus -inf is NaN. Pass over such a number where you collect `total`"),
        (long[:, :1], "a row of one number has the softmax 1: lanes without a number must add 0 to the total, not NaN"),
    ]  # fmt: skip
    for x, message in trials:
        for falling in (False, True):
            found = _ran(kernel, SOFTMAX, x, falling).out
            if x.shape[1] == 70 and found[:, 32:].isnan().all() and not found[:, :32].isnan().any():
                raise Mistake("columns 32 and above were never written: each lane goes on by 32, i += 32")
            expect(found, x.softmax(1), message)
    if not ran.shuffles + ran.barriers:
        raise Mistake("every number is right, but the lanes exchange nothing: then one of them, or each, reads the whole row. Let each lane take its share, and shuffle")  # fmt: skip


def _softmax_mistakes(x: Tensor) -> list[tuple[Tensor, str]]:
    """What may be computed instead of the softmax of x, of 20 columns: one number per lane."""
    powers = (x - x.amax(1, keepdim=True)).exp()
    return [
        (torch.ones_like(x), "every number is 1: each lane divides by the total of its own numbers. Add up the totals of all 32 lanes by shuffles"),
        (powers / 20, "the lanes' totals are added as they are, each relative to its own maximum: first total *= expf(most - top)"),
        (powers, "a division by the total is missing"),
        (x.softmax(1) / 32, "the rows sum to 1/32: each lane takes the whole row, so the total is 32 times too large. i begins at lane, and goes up by 32"),
        (x.exp() / 20, "the totals are relative to each lane's maximum, the numbers that you write are not: use top for both"),
        (x.log_softmax(1), "these are logarithms of the softmax: write expf(x[i] - top) / total"),
    ]  # fmt: skip


def _wrong_softmax(out: Tensor, x: Tensor) -> str:
    """Which part of `out` is the softmax of x, and which is not."""
    right = x.softmax(1)
    if same(out[0], right[0]):
        return "row 0 is right and the others are not: block b works on row b, so x and y begin at blockIdx.x * columns"
    if out.isnan().all():
        return "every number is NaN: is y written at all? And is x read only where i < columns, and never exp(-inf - (-inf)) taken?"  # fmt: skip
    if same(out[:, 0], right[:, 0]):
        return "only column 0 is right: lane 0 alone knows the whole. __shfl_down_sync leaves it there; __shfl_xor_sync gives it to every lane"  # fmt: skip
    return f"the rows should sum to 1; yours sum to {', '.join(f'{one:.3g}' for one in out.sum(1))}: do maximum and total reach all 32 lanes? Shuffles over 16, 8, 4, 2, 1 do"  # fmt: skip


def _text(value: Any) -> str:
    """The learner's kernel."""
    given(value)
    if not isinstance(value, str):
        raise Mistake(f"the text of a kernel is wanted, a str, not {type(value).__name__}")
    return value


def _ran(kernel: str, job: Job, x: Tensor, falling: bool) -> Ran:
    try:
        with paused():  # the compiler and the run have limits of their own
            return launch(kernel, job, x, falling)
    except LabkitError as error:
        raise Mistake(str(error)) from None
