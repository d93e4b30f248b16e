# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Kernels: faster by moving fewer bytes
#
# A GPU computes far faster than its memory can bring the numbers. Most operators of a Transformer are over before their numbers
# have arrived, so the way to make them faster is not to compute less but to **move less**. This lesson counts bytes: of a warp,
# of a kernel, of a chain of operators. Then you write a kernel in CUDA C++, and run it, with a GPU or without.
#
# **After this lesson you can**
#
# - say from its operations and bytes how fast a kernel can be at best;
# - count the memory sectors and bank conflicts of an access pattern, and mend a bad one with a tile;
# - count what fusing a chain of operators saves, and write the update that turns three passes over a row into one;
# - read, compile and test a CUDA kernel, and say how PyTorch comes to know it.
#
# **60 minutes.** Before it: [where the memory goes](01_memory.ipynb). You need Python, a little PyTorch, and no CUDA: a C++
# compiler (`g++`) stands in for the GPU, and where there is none either, the kernels are only read.

# %%
import labkit

lab = labkit.setup(lesson="06/02")

# %% [markdown]
# `GPU` is a data sheet: `"T4"` (Colab's), `"V100"`, `"A100"` or `"H200"`. Predictions are made for it; nothing of it is needed here.

# %%
GPU = "A100"  # @param ["T4", "V100", "A100", "H200"]
ROWS = 8192  # @param {type:"integer"}
WIDTH = 1024  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Too many bytes
#
# The FewCLUE article puts it in one example: adding two tensors of $N$ numbers takes $N$ additions, $2N$ reads and $N$ writes.
# In 16 bits that is one operation on 6 bytes. How many operations on a byte does a GPU need, to be busy? Its *ridge*: operations a
# second divided by bytes a second.

# %% tags=["nbval-check-output"]
from labkit.parallel.kernels.roofline import DEVICES, Work
from labkit.report import Table

add = Work("add two tensors", flops=1, bytes=6)
lines = []
for on in DEVICES.values():
    numbers = (f"{on.flops / 1e12:.0f}", f"{on.bandwidth / 1e9:,.0f}", f"{on.ridge:.0f}")
    lines.append((on.name, *numbers, f"{100 * add.share(on):.2f} %"))
Table(
    ("data sheet", "10¹² operations/s (16 bit)", "GB/s", "ridge: operations a byte", "adding uses"),
    tuple(lines),
)

# %% [markdown]
# An addition keeps about a thousandth of the chip busy. No cleverer arithmetic will help it. The *roofline* (Williams, Waterman
# & Patterson 2009, [paper](https://dl.acm.org/doi/10.1145/1498765.1498785)) draws this for any kernel: with $F$ operations on $B$
# bytes, a device of $P$ operations and $W$ bytes a second reaches at most
#
# $$\min\left(P,\; W \cdot \frac{F}{B}\right).$$
#
# Below are operators of a Transformer, as they run one after the other ("eager"), and fused into one kernel. Which of them can ever
# use the chip? What does fusing do to a point's place?

# %%
from labkit.parallel.kernels.fusion import CHAINS, Shape
from labkit.parallel.kernels.roofline import device, plot, product

shape = Shape(ROWS, WIDTH, each=2)
works = [add]
for name, chain in CHAINS.items():
    made = chain(shape)
    flops = made.flops * ROWS * WIDTH
    works += [Work(f"{name}, eager", flops, made.eager), Work(f"{name}, fused", flops, made.fused)]
works += [product(1, 4096, 4096), product(128, 4096, 4096), product(4096, 4096, 4096)]
plot(device(GPU), works)

# %% [markdown]
# Only large matrix products reach the roof's flat part. The product with **one** row, which is what writing a text word by word
# consists of, moves a weight for every two operations and is little better off than an addition. Everything else is on the slope: there,
# time is bytes, and the shares are what bytes allow.
#
# The bytes and the operations here are closed forms, and the roof is a data sheet's. The roof of the machine that runs this
# notebook can be measured, in float32, by a large product and a large copy:

# %%
from labkit.parallel.kernels.roofline import measured
from labkit.parallel.kernels.workbench import workbench

bench = workbench()
here = measured(bench.device)
print(f"{here.flops / 1e9:,.0f} · 10⁹ operations and {here.bandwidth / 1e9:,.1f} GB a second:")
print(f"a ridge of {here.ridge:.1f} operations a byte; an fp32 addition has {1 / 12:.2f}")

# %% [markdown]
# A roofline is a bound. A kernel can stay below it, by asking for memory in a bad order.
#
# ## 2 · What a warp asks for
#
# A GPU's threads run in *warps* of 32, which execute an instruction together, so a load is 32 loads at once. Global memory
# answers in **sectors** of 32 bytes: who wants one byte of a sector moves all of it. If lane $i$ reads element $i$ of 4 bytes, the
# warp wants 128 bytes in 4 sectors (*coalesced*). If it reads every eighth element, it wants the same 128 bytes, out of 32 sectors.
#
# ### Your turn: sectors of a strided warp
#
# Lane $i$ of 32 reads one element of `size` bytes (2, 4, 8 …) at byte `i * stride * size`. How many sectors does the warp touch?

# %%
from labkit.checks import kernels as check


def warp_sectors(stride, size): ...  # your turn


check.warp_sectors(warp_sectors)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Sector number of a byte: `address // 32`. Two lanes in one sector count once.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Brute force is fine: there are only 32 lanes, and Python has sets.
# </details>
#
# <details><summary>Hint 3</summary>
#
# An element never crosses a sector here, so its first byte suffices.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def warp_sectors(stride, size):
#     return len({lane * stride * size // 32 for lane in range(32)})
# ```
# </details>
#
# The second kind of memory is **shared memory**: some 100 KB on the chip, for the threads of one block, as fast as arithmetic if
# nobody queues. It has 32 *banks*, 4 bytes wide; word $w$ is in bank $w \bmod 32$. A bank gives one word a pass, to all lanes that
# want this word. Lanes that want *different* words of one bank queue: a *bank conflict*.
#
# ### Your turn: bank conflicts
#
# Lane $i$ reads word `i * stride`. How many passes does it take, that is, how many different words does the busiest bank have to
# give?


# %%
def bank_passes(stride): ...  # your turn


check.bank_passes(bank_passes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Try it on paper for strides 1, 2, 3 and 32. Which ones never come back to a bank?
# </details>
#
# <details><summary>Hint 2</summary>
#
# Lanes $i$ and $j$ meet in a bank when $(i - j) \cdot$ `stride` is a multiple of 32. Stride 0 is a case of its own.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The greatest common divisor of the stride and 32: `math.gcd`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def bank_passes(stride):
#     return math.gcd(stride, 32) if stride else 1
# ```
# </details>
#
# Now play with both. The picture starts with a warp that walks **down a column** of a matrix 32 wide: the worst there is, in both
# kinds of memory. Find out: What does a padding of one word do, and to which of the two? Which strides are harmless for shared
# memory and bad for global memory? With stride 1, what costs an `offset` of one element, and why does it cost less when a load takes
# 16 bytes?

# %%
from labkit.widgets import access_pattern

access_pattern(stride=32)

# %% [markdown]
# A matrix **transposition** has this problem by nature: rows come in, columns go out, so either the loads or the stores are
# strided. The remedy is a *tile*: a block loads 32 rows of 32 numbers, coalesced, puts them into shared memory, turns them
# there, and stores rows, coalesced. The same idea, keep a tile where it can be used again, saves a **matrix product** from reading
# every number $N$ times: naive, the threads load $2MNK$ numbers; with tiles of $T \times T$, $2MNK/T$.

# %% tags=["nbval-check-output"]
from labkit.parallel.kernels import traffic

cases = {
    "transposition, naive": ("transpose", 64, 96, "naive"),
    "transposition, tiles of 32 × 32": ("transpose", 64, 96, "tiled"),
    "transposition, tiles of 32 × 33": ("transpose", 64, 96, "tiled", 33),
    "product, naive": ("product", 64, 64, 64, "naive"),
    "product, tiles of 32 × 32": ("product", 64, 64, 64, "tiled"),
}
lines = []
for name, (kernel, *sizes) in cases.items():
    moved = getattr(traffic, kernel)(*sizes)  # closed form
    assert moved == getattr(traffic, f"{kernel}_counted")(
        *sizes
    )  # every thread, address by address
    numbers = (moved.loads, moved.stores, moved.bytes, moved.passes)
    lines.append((name, *(f"{number:,}" for number in numbers)))
print("numbers that the product's threads load, naive:", f"{traffic.product_loads(64, 64, 64):,}")
print("with tiles of 16 and of 32:                    ", end=" ")
print(", ".join(f"{traffic.product_loads(64, 64, 64, tile):,}" for tile in (16, 32)))
Table(("float32", "sectors in", "sectors out", "bytes", "passes of shared memory"), tuple(lines))

# %% [markdown]
# The naive transposition stores 8 times as much as it should: 4 of each 32 bytes are its own. Tiles of 32 × 32 mend that, and run
# into a 32-fold bank conflict when the column is read; one unused word a row (32 × **33**) ends it. The naive product asks for
# less than its threads do, because a warp's 32 lanes want the same number of the left matrix, which is one sector; tiles still ask
# for a twentieth. (All of this is what is *requested*. Caches will answer some of it, if they can.)
#
# Transformers need no transposition kernel of their own. But the pattern, load coalesced, share within the block, store coalesced,
# is that of every kernel below.
#
# ## 3 · Your first kernel
#
# A kernel is a C++ function that every thread runs; `threadIdx` and `blockIdx` tell it which thread it is. Here is the tiled
# transposition. `SHARED(float, tile, [32][33])` is this course's way to write `__shared__ float tile[32][33]`, and `LAUNCH(kernel,
# grid, block, …)` stands for CUDA's `kernel<<<grid, block, …>>>`, so that plain `g++` can compile it too.

# %%
SOURCE = """#include "common.cuh"

__global__ void transpose_kernel(const float* in, float* out, int rows, int columns) {
  SHARED(float, tile, [32][33]);
  int x = threadIdx.x, y = threadIdx.y;
  int row = blockIdx.y * 32 + y, column = blockIdx.x * 32 + x;
  if (row < rows && column < columns) tile[y][x] = in[row * columns + column];
  __syncthreads();
  row = blockIdx.y * 32 + x, column = blockIdx.x * 32 + y;
  if (row < rows && column < columns) out[column * rows + row] = tile[x][y];
}

extern "C" const char* transpose(const float* in, float* out, int64_t rows, int64_t columns, void* stream) {
  dim3 grid((columns + 31) / 32, (rows + 31) / 32), block(32, 32);
  LAUNCH(transpose_kernel, grid, block, 0, stream)(in, out, int(rows), int(columns));
  return finished();
}
"""
print(bench)

# %% [markdown]
# Find the load, the store, and what `__syncthreads` separates. In which lines does `x`, the lane, run along memory?

# %% tags=["nbval-check-output"]
import torch


def transposed(matrix, library):
    """The transpose of a float32 matrix by a library's kernel; PyTorch's where there is no compiler."""
    if library is None:
        return matrix.T.contiguous()
    out = torch.full((matrix.shape[1], matrix.shape[0]), torch.nan, device=matrix.device)
    library("transpose", matrix, out, *matrix.shape)
    return out


library = bench.compile(SOURCE)
for rows, columns in ((1, 1), (31, 33), (70, 40), (64, 96)):
    matrix = torch.randn(rows, columns, device=bench.device)
    print((rows, columns), "exact:", torch.equal(transposed(matrix, library), matrix.T))

# %% [markdown]
# Without a GPU, this ran in an **emulator**: `labkit/cuda/emulate.h` makes each thread of a block a *fiber*, a function that can
# stop in the middle and go on later. `__syncthreads` really waits for all of them, shuffles really exchange values between
# lanes, and shared memory is full of NaN when a block begins. It is slow, and knows neither time nor caches, but it shows
# whether a kernel is right. (Make the tile 32 × **32**, and it is still right: a bank conflict costs time, never the result.)
# And where it is wrong: below, one mistake forgets the barrier, and another lets only half of the threads come to it.

# %%
from labkit.cuda import compile_source
from labkit.cuda.build import find_cxx
from labkit.errors import LabkitError

matrix = torch.arange(32.0 * 32).view(32, 32)
wrong = {
    "no barrier": SOURCE.replace("  __syncthreads();\n", ""),
    "a barrier for some": SOURCE.replace(
        "  __syncthreads();", "  if (y < 16) __syncthreads();\n  else __syncthreads();"
    ),
}
if find_cxx():
    for name, source in wrong.items():
        try:
            found = transposed(matrix, compile_source(source, emulate=True))
            bad = int((found != matrix.T).sum())
            print(
                f"{name}: {bad} of {matrix.numel()} numbers are wrong, {int(found.isnan().sum())} of them NaN"
            )
        except LabkitError as error:
            print(f"{name}: {error}")
else:
    print("no g++ is here: the emulator cannot show the two mistakes")

# %% [markdown]
# Without the barrier, threads read what others have not yet written. On a GPU this is the worst kind of mistake: it is right most of
# the time, and wrong on another day. Here the threads run in a fixed order, so it is wrong every time (NaN is memory that
# nobody had written); every kernel of this course is tested in the rising and in the falling order. The second mistake would
# hang a GPU, or not, as it likes.
#
# ## 4 · Fusion: what lies between needs no memory
#
# After each sub-layer a Transformer computes $z = r + \mathrm{dropout}(x + b)$ and $y = \mathrm{LayerNorm}(z)$. That is four
# operators, and each writes to memory what the next one reads back. One kernel could keep it in registers:

# %%
import inspect

from labkit.parallel.kernels import fusion

print(inspect.getsource(fusion.layernorm_chain))

# %% [markdown]
# ### Your turn: bytes of a chain
#
# `steps` is a list of `(reads, writes)`, tuples of names; `sizes` gives each tensor's bytes; `kept` is the set of names that are
# needed afterwards. Return two numbers: the bytes moved with one kernel a step, and with one kernel for all.


# %%
def bytes_moved(steps, sizes, kept): ...  # your turn


check.bytes_moved(bytes_moved)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One kernel a step: every step moves all that it reads and all that it writes.
# </details>
#
# <details><summary>Hint 2</summary>
#
# One for all: read what some step reads and no step writes, each once; write what is kept.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Sets: `made = {name for _, writes in steps for name in writes}`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bytes_moved(steps, sizes, kept):
#     single = sum(sizes[name] for reads, writes in steps for name in (*reads, *writes))
#     made = {name for _, writes in steps for name in writes}
#     read = {name for reads, _ in steps for name in reads} - made
#     return single, sum(sizes[name] for name in read | set(kept))
# ```
# </details>
#
# The library's `Chain` does the same. Is it true? `BytesMoved` watches every operator that PyTorch runs, and adds up the bytes of
# the tensors that go in and come out. It agrees to the byte (the fused kernel also reads dropout's seed, a number of 8 bytes
# that is written first):

# %% tags=["nbval-check-output"]
from labkit.parallel.kernels.tally import BytesMoved

lines = []
given = fusion.tensors(Shape(64, 96, 4))
for name, chain in CHAINS.items():
    whole, half = chain(Shape(64, 96, 4)), chain(Shape(ROWS, WIDTH, 2))
    with BytesMoved() as eager:
        fusion.eager(name, given)
    with BytesMoved() as fused:
        fusion.fused(name, given)
    seed = 16 * ("dropout" in name)
    agree = (eager.total, fused.total) == (whole.eager, whole.fused + seed)
    print(
        f"{name}: {' → '.join(one.name for one in eager.operators)}; closed form = counted: {agree}"
    )
    bytes_each = [total / (ROWS * WIDTH) for total in (half.eager, half.fused)]
    lines.append(
        (name, *(f"{each:.1f}" for each in bytes_each), f"{bytes_each[0] / bytes_each[1]:.1f} ×")
    )
Table(("bytes an element, 16 bits", "an operator a kernel", "one kernel", "fewer"), tuple(lines))

# %% [markdown]
# On the slope of the roofline the last column is also the most that fusion can gain in time. Launching one kernel in place of four
# is a further gain, which counts where tensors are small.
#
# Nobody needs to write such kernels by hand in every case. A *just-in-time* compiler (`torch.compile`; the FewCLUE article's
# framework used TorchScript's) looks at a chain of element-wise operators and writes the fused loop itself. Measured on a CPU
# (`python benchmarks/fusion.py`): bias + GELU, spelled out in ten operators, as it stands; in place; in blocks of rows that fit
# into the cache, which is fusion by hand; and compiled.

# %%
from labkit.report import results

report = results("fusion")
found = {(row.method, row.metric, row["mebibytes"]): row.value for row in report.rows}
lines = []
for how in dict.fromkeys(row.method for row in report.rows):
    each = f"{found[how, 'bytes an element', 32]:.0f}"
    own = [f"{found[how, 'own time against eager', size]:.2f}" for size in (1, 32)]
    system = f"{100 * found[how, 'share of the operating system', 32]:.0f} %"
    pages, whole = found[how, "new pages", 32], found[how, "time against eager", 32]
    lines.append((how, each, *own, f"{whole:.2f}", f"{pages:,.0f}", system))
head = ("bytes an element", "own time, 1 MiB", "own time, 32 MiB", "time, 32 MiB", "new pages")
Table(("bias + GELU", *head, "the system's share"), tuple(lines))

# %% [markdown]
# Two things are at work, and the table keeps them apart. The first is **new memory**: ten steps ask the operating system for
# ten new tensors, page by page, and with 32 MiB that takes most of the eager program's time. Working in place asks for fewer.
# (On a GPU this is no matter: PyTorch keeps freed memory for the next tensor.) The second, *own time*, is what remains without
# the operating system.
#
# With tensors of 1 MiB, which stay in the processor's cache anyway, the two ways by hand gain a fifth of the own time at most,
# and only the compiler takes less than half: even from the cache, one pass is shorter than ten. With 32 MiB all three gain.
# **In blocks** the operators ask for as many bytes as before, but what lies between two steps is still in the cache. The
# **compiler** asks for a twelfth. Its own time does not fall as far: on a CPU the operations themselves, a tanh among them,
# cost something too.
#
# A slice of it, now, the whole time, without the compiler, which takes its time to start:

# %%
import time

x, bias = torch.randn(4096, 1024), torch.randn(1024)
seconds = {}
# The first way runs twice, and counts the second time, when it is warm.
for way in (fusion.gelu_steps, fusion.gelu_in_place, fusion.gelu_in_blocks, fusion.gelu_steps):
    began = time.process_time()
    way(x, bias)
    seconds[way.__name__] = time.process_time() - began
for name, taken in seconds.items():
    print(f"{name:<16} {taken / seconds['gelu_steps']:.2f} of the time of single steps")

# %% [markdown]
# ## 5 · One pass instead of two
#
# Softmax looks hard to fuse: it needs the row's maximum before the first exponential and the sum before the first division. Rows
# that fit into a thread block's registers are read once, whatever one does with them. Longer rows would be read three times:
# maximum, sum, result. Milakov & Gimelshein (2018, [*Online normalizer calculation*](https://arxiv.org/abs/1805.02867),
# algorithm 3) found that the first two need only one pass: keep a running maximum $m$ and a sum $s$ **relative to it**, and when a
# larger value comes, bring the sum to the new maximum:
#
# $$m' = \max(m, \max_i x_i), \qquad s' = s \, e^{m - m'} + \sum_i e^{x_i - m'} .$$
#
# FlashAttention is this update with a third running quantity, the weighted sum of the values.
#
# ### Your turn: the online update
#
# `most` and `total` are what came so far (numbers; they begin as `-inf` and 0), `x` the next values of the row (a tensor).
# Return both, updated.


# %%
def online(most, total, x): ...  # your turn


check.online(online)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the new maximum: `max(most, float(x.max()))`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The old sum shrinks by `math.exp(most - new)`; for `most = -inf` that is 0, as it should be.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The new values are added relative to the **new** maximum: `(x - new).exp().sum()`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def online(most, total, x):
#     new = max(most, float(x.max()))
#     return new, total * math.exp(most - new) + float((x - new).exp().sum())
# ```
# </details>
#
# Find your two lines in the library's kernel for long rows. Each thread keeps its own maximum and sum; `over_row` brings them
# together by shuffles within a warp and through shared memory between warps:

# %%
from pathlib import Path

from labkit import cuda


def show(file, start):
    """Print a function of one of the .cu files, from the line that holds `start` to its end."""
    lines = Path(cuda.__file__).with_name(file).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if start in line)
    last = next(number for number, line in enumerate(lines) if number > first and line == "}")
    print("\n".join(lines[first : last + 1]))


show("softmax.cu", "softmax_forward_long_kernel(")

# %% [markdown]
# And now the chain of section 4 in one kernel. `load` and `store` move 16 bytes a thread; `kept` lies in registers, so `x` and
# `residual` are read once, and `y` is written from what is still there. Dropout's mask is not stored at all: it is a function
# of (seed, row, column), and the backward pass computes it again. That is the same bargain as activation checkpointing,
# arithmetic for bytes.

# %%
show("layernorm.cu", " layernorm_forward_kernel(")

# %% [markdown]
# The check that decides: kernels against float64, at widths that are awkward (1, a lane less than a warp, one more, more than a
# block). The tolerance is for the largest error, as a share of the largest value: float32 has 24 bits, bfloat16 has 8. A width is
# listed where it holds.

# %% tags=["nbval-check-output"]
TOLERANCES = {torch.float32: 3e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def error(name, width, dtype):
    """Largest error of the kernel against the reference in float64, relative to the largest value."""
    given = {n: t.to(bench.device) for n, t in fusion.tensors(Shape(5, width), dtype).items()}
    exact = {n: t.double() if t.is_floating_point() else t for n, t in given.items()}
    found = fusion.fused(name, given, backend=bench.how).double()
    wanted = fusion.fused(name, exact, backend="reference")
    return float((found - wanted).abs().max() / wanted.abs().max())


for name in ("bias + dropout + residual + LayerNorm", "scale + mask + softmax"):
    for dtype, tolerance in TOLERANCES.items():
        good = [
            width
            for width in (1, 31, 33, 768, 1025, 5000)
            if error(name, width, dtype) <= tolerance
        ]
        print(f"{name}, {str(dtype)[6:]}: within {tolerance:g} at widths {good}")

# %% [markdown]
# ## 6 · Smaller numbers: eight bits
#
# The other way to fewer bytes are smaller numbers. Take a row $x$ and let $s = \max|x| / 127$: then $q = \mathrm{round}(x / s)$ fits
# into a byte, and a product of two such rows is a sum of **whole numbers**, exact in 32 bits, scaled once at the end:
#
# $$\sum_k x_k w_k \;\approx\; s_x\, s_w \sum_k q^x_k\, q^w_k .$$
#
# A GPU has an instruction for it, `__dp4a`: four products of bytes, packed into two 32-bit words, and their sum, at once. The loop
# of `int8.cu` is that, on tiles in shared memory, whose rows are 17 words long (you know why):

# %%
show("int8.cu", " int8_matmul_dp4a_kernel(")

# %% tags=["nbval-check-output"]
draw = torch.Generator().manual_seed(0)
x, weight = torch.randn(40, 100, generator=draw), torch.randn(70, 100, generator=draw)
q, scale = cuda.quantise_rows(x, backend="reference")
weight_q, weight_scale = cuda.quantise_rows(weight, backend="reference")
parts = [part.to(bench.device) for part in (q, scale, weight_q, weight_scale)]
ones = [torch.ones_like(part) if part.is_floating_point() else part for part in parts]
whole = cuda.int8_matmul(*ones, path="dp4a", backend=bench.how).cpu()
print("the sums are exact:", torch.equal(whole.long(), q.long() @ weight_q.long().T))
found, wanted = cuda.int8_matmul(*parts, path="dp4a", backend=bench.how).cpu(), x @ weight.T
print(
    f"error against float32: {100 * float((found - wanted).norm() / wanted.norm()):.1f} % (relative, Frobenius)"
)
print(f"bytes of the weight: {weight.nbytes:,} → {weight_q.nbytes + weight_scale.nbytes:,}")

# %% [markdown]
# About one per cent of error, for a quarter of fp32's bytes and half of fp16's. What that does to a model's accuracy, and how to
# choose scales better than by the maximum, is module 04's subject.
#
# ## 7 · The fastest bytes are those never made
#
# Masked language modelling has a loss at 15 % of the positions. A plain program multiplies **all** hidden vectors by the output
# matrix, makes logits over the whole vocabulary, and then ignores 85 % of them. `gather_rows` takes the rows that have a target
# first. The loss and the gradients are the same; the bytes, counted forward and backward:

# %% tags=["nbval-check-output"]
import torch.nn.functional as F

tokens, width, vocabulary = 1000, 64, 4000
hidden = torch.randn(tokens, width, generator=draw)
matrix = torch.randn(vocabulary, width, generator=draw) / 8
targets = torch.full((tokens,), -100)
masked = torch.randperm(tokens, generator=draw)[: tokens * 15 // 100]
targets[masked] = torch.randint(vocabulary, masked.shape, generator=draw)


def head(gather):
    """Loss, gradients and the bytes that all operators moved."""
    h, w = hidden.clone().requires_grad_(), matrix.clone().requires_grad_()
    with BytesMoved() as moved:
        rows, wanted = cuda.gather_rows(h, targets, backend="reference") if gather else (h, targets)
        loss = F.cross_entropy(rows @ w.T, wanted)
        loss.backward()
    return len(rows), loss.detach(), (h.grad, w.grad), moved


all_rows, loss, gradients, plain = head(gather=False)
few_rows, same_loss, same_gradients, gathered = head(gather=True)
print("the same loss:     ", torch.allclose(loss, same_loss, rtol=1e-5))
pairs = zip(gradients, same_gradients, strict=True)
print("the same gradients:", all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in pairs))
lines = [
    (what, f"{before:,}", f"{after:,}", f"−{100 * (1 - after / before):.0f} %")
    for what, before, after in (
        ("rows that meet the matrix", all_rows, few_rows),
        (
            "operations of its three products",
            6 * all_rows * width * vocabulary,
            6 * few_rows * width * vocabulary,
        ),
        ("bytes of all operators", plain.total, gathered.total),
    )
]
Table(("output layer and loss, forward and backward", "all rows", "gathered", ""), tuple(lines))

# %% [markdown]
# Rows and operations fall by exactly 85 %, bytes by a little less: the matrix and its gradient have to move either way. The logits
# were also the spike in lesson 06/01's picture, and it shrinks with them. `cross_entropy` then fuses the rest: it reads logits
# once, and keeps one number a row (the log of the sum) where log-softmax would write a whole table.
#
# ## 8 · How PyTorch comes to know a kernel
#
# A compiled function is not yet an operator. Four things make it one, and `labkit/cuda/ops.py` has them side by side for each
# kernel:
#
# - **`torch.library.custom_op`** gives it a name (`torch.ops.labkit.softmax_forward`) and says that it changes none of its inputs;
# - a **fake**: the shapes and types of its results without running it, so that `torch.compile` can plan around it;
# - **autograd**: what to keep, and which kernel is the gradient;
# - a **fallback**: the same function in plain PyTorch, `reference.py`, wherever the kernel cannot run, with one notice.

# %%
from labkit.cuda import ops

source = inspect.getsource(ops)
print(source[source.index('@define("softmax_forward")') : source.index("# Cross-entropy")])

# %% [markdown]
# The reference runs in float64 too, so autograd's formulas can be checked against finite differences. And the kernel, through the
# same operator, gives the reference's gradients:

# %% tags=["nbval-check-output"]
import warnings

from labkit.cuda import scale_mask_softmax


def softmax_gradient(dtype, backend, where):
    """Gradient of x under a fixed upper gradient, on the CPU."""
    x = torch.linspace(-3, 3, 33 * 5).view(5, 33).to(where, dtype).requires_grad_()
    upper = torch.linspace(0, 1, 33 * 5).square().view(5, 33).to(where, dtype)
    (grad,) = torch.autograd.grad(scale_mask_softmax(x, scale=0.5, backend=backend), x, upper)
    return grad.cpu().double()


def reference(x):
    return scale_mask_softmax(x, scale=0.5, backend="reference")


x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
print("gradients agree with finite differences:", torch.autograd.gradcheck(reference, x))
ours = softmax_gradient(torch.float32, bench.how, bench.device)
wanted = softmax_gradient(torch.float64, "reference", "cpu")
print("the kernel's agrees with the reference's:", torch.allclose(ours, wanted, atol=1e-6))

# %% [markdown]
# In a program one leaves `backend` at "auto": the kernel on a GPU, else the reference, with one notice a process:

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    scale_mask_softmax(torch.zeros(2, 4, device=bench.device))
print(*(str(one.message) for one in said) if said else ["the kernel ran"], sep="\n")

# %% [markdown]
# ## 9 · On a GPU
#
# Everything above runs unchanged on a GPU with `nvcc` (Colab has both): the bench then compiles for it, and the checks run there.
# What the emulator cannot say is **time**. `python benchmarks/cuda.py` measures it, all in one run: milliseconds, bytes, the
# share of the bandwidth that a plain copy reaches on that card, and the ratio to eager PyTorch and to `torch.compile`, with the
# shapes where a kernel loses.

# %%
try:
    timed = results("cuda")
except LabkitError:
    timed = None
    print(
        "No GPU run is part of this copy: `python benchmarks/cuda.py` on a machine with a GPU makes it."
    )


def gpu_lines(report):
    """A line a shape: our milliseconds, share of the copy's bandwidth, and each peer's time against ours."""
    found = {}
    for row in report.rows:
        if row.metric == "ms":
            found.setdefault(row.task, {})[row.method] = row
    for task, by in found.items():
        ours = by.pop("labkit")
        share = "" if ours["share"] is None else f"{100 * ours['share']:.0f} %"
        peers = ", ".join(f"{name} {row.value / ours.value:.2f}" for name, row in by.items())
        yield task, f"{ours.value:.3f}", share, peers


head = ("kernel, rows × width", "ms", "of a copy's bandwidth", "time of others, ours = 1")
Table(head, tuple(gpu_lines(timed))) if timed else None

# %% [markdown]
# ## Read on
#
# - [*CUDA C++ programming guide*](https://docs.nvidia.com/cuda/cuda-c-programming-guide/): memory accesses, shared memory, warps.
#   Williams et al. 2009, [*Roofline*](https://dl.acm.org/doi/10.1145/1498765.1498785). Dao et al. 2022,
#   [*FlashAttention*](https://arxiv.org/abs/2205.14135): sections 4 and 5 of this lesson, applied to attention.
# - `labkit/cuda/`: [`layernorm.cu`](../../labkit/cuda/layernorm.cu), [`softmax.cu`](../../labkit/cuda/softmax.cu),
#   [`int8.cu`](../../labkit/cuda/int8.cu), each headed by what it fuses and the bytes it moves; [`emulate.h`](../../labkit/cuda/emulate.h),
#   an emulator in one short header. `labkit/parallel/kernels/`: the counts of this lesson.
# - Next, [many copies, one model](03_data_parallel.ipynb): what several cards send each other.
