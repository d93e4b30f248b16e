# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Kernels: why is one softmax faster than another?
#
# Two programs compute the same softmax on the same processor, and one takes much longer. This lesson finds the reason by counting
# **bytes**. Then you write a [kernel](../glossary.ipynb#kernel), a program that thousands of a GPU's threads run together, in CUDA
# C++, and a language model fills a blank with it.
#
# **After this lesson you can**
#
# - count the bytes that a chain of operators moves, and say how fast it can be at best;
# - say what the order of addresses costs in a GPU's memory, and find a barrier that stands in the wrong place;
# - write a softmax in CUDA C++, and have it checked without a GPU.
#
# **50 minutes.** Before it: [where the memory goes](01_memory.ipynb). You need Python, a little PyTorch, and no GPU: `g++`
# compiles your kernels, and an emulator runs them.

# %%
import labkit

lab = labkit.setup(lesson="06/02")

# %%
ROWS = 16384  # @param {type:"integer"}
WIDTH = 1024  # @param {type:"integer"}
MODEL = "mini-bert-en"  # @param {type:"string"}

# %% [markdown]
# ## 1 · The same numbers, twice
#
# The first program calls five operators of PyTorch, the second calls one. Which is faster, and by how much?

# %%
import torch

from labkit.parallel.kernels.roofline import seconds_of

x = torch.randn(ROWS, WIDTH)
y = torch.empty_like(x)


def in_steps(x, y):
    """The softmax of each row, written to y, one operator after the other."""
    torch.sub(x, x.amax(1, keepdim=True), out=y)
    torch.exp(y, out=y)
    return torch.div(y, y.sum(1, keepdim=True), out=y)


def at_once(x, y):
    return torch.softmax(x, 1, out=y)


took = {}
for program in (in_steps, at_once):
    took[program] = seconds_of(program, x, y)
    print(f"{program.__name__:<8} {1000 * took[program]:4.0f} ms; row 0 begins with {y[0, :3].numpy().round(6)}")

# %% [markdown]
# The numbers agree. Both programs subtract each row's maximum, take exponentials, add them up and divide, so the arithmetic is not
# the difference. Take a row of 4 numbers, and count what each operator reads from memory and writes to it:
#
# | operator | reads | writes | numbers |
# |:--|:--|:--|:--|
# | `top = x.amax()` | x | top | 4 + 1 |
# | `a = x - top` | x, top | a | 5 + 4 |
# | `b = a.exp()` | a | b | 4 + 4 |
# | `total = b.sum()` | b | total | 4 + 1 |
# | `y = b / total` | b, total | y | 5 + 4 |
#
# That is 36 numbers of 4 bytes: 144 bytes. One program for all five steps reads x and writes y: 8 numbers, 32 bytes. What lies
# between two steps stays in *registers*, the places inside a processor where it computes. Such a program is called
# [**fused**](../glossary.ipynb#fusion).
#
# ### Your turn: bytes of a chain
#
# *●○○ · 5 minutes*
#
# `steps` is a list of `(reads, writes)`, two tuples of names; `sizes` gives each tensor's bytes; `kept` is the set of names that are
# needed afterwards. Return two numbers: the bytes with one program per step, and with one for all steps. For the table above:
#
# ```python
# steps = [(("x",), ("top",)), (("x", "top"), ("a",)), …, (("b", "total"), ("y",))]
# sizes = {"x": 16, "top": 4, "a": 16, "b": 16, "total": 4, "y": 16}
# bytes_moved(steps, sizes, {"y"})    # → (144, 32)
# ```

# %%
from labkit.checks import kernels as check


def bytes_moved(steps, sizes, kept): ...  # your turn


bytes_moved = check.bytes_moved(bytes_moved)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One program per step: all that each step reads and writes.
# </details>
#
# <details><summary>Hint 2</summary>
#
# One for all: read, once each, what some step reads and no step writes; write what is in `kept`.
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
#     return single, sum(sizes[name] for name in (*read, *kept))
# ```
# </details>
#
# Does PyTorch move so many? `BytesMoved` watches every operator that runs, and adds up the tensors that go in and come out.

# %% tags=["nbval-check-output"]
from labkit.parallel.kernels.tally import BytesMoved

steps = [(("x",), ("top",)), (("x", "top"), ("a",)), (("a",), ("b",))]
steps += [(("b",), ("total",)), (("b", "total"), ("y",))]
sizes = dict.fromkeys(("x", "a", "b", "y"), x.nbytes) | dict.fromkeys(("top", "total"), 4 * ROWS)
separate, fused = bytes_moved(steps, sizes, {"y"})
for program, computed in ((in_steps, separate), (at_once, fused)):
    with BytesMoved() as counted:
        program(x, y)
    each = f"{computed / x.numel():.1f} bytes per number"
    print(f"{program.__name__:<8} {each}, counted the same: {counted.total == computed}")

# %% [markdown]
# A Transformer is full of such chains. Here are three, in 16 bits; the last column is the most that fusing can gain where bytes
# decide:

# %% tags=["nbval-check-output"]
from labkit.parallel.kernels.fusion import CHAINS, Shape
from labkit.report import Table

lines = []
for name, chain in CHAINS.items():
    made = chain(Shape(ROWS, WIDTH, each=2))
    steps = [(step.reads, step.writes) for step in made.steps]
    moved = bytes_moved(steps, made.sizes, set(made.results))
    each = [f"{total / (ROWS * WIDTH):.1f}" for total in moved]
    lines.append((name, *each, f"{moved[0] / moved[1]:.1f} ×"))
Table(("bytes per number", "one program per step", "fused", "fewer"), tuple(lines))

# %% [markdown]
# `torch.compile` fuses chains of element-wise operators by itself. The time that this saves on a CPU is among
# [the results](../../docs/results.md#a-fused-kernel).
#
# ## 2 · How fast can it be at best?
#
# By its data sheet, an A100 does 312 operations (in 16 bits) and moves 2 bytes per picosecond (ps). One number of a fused softmax
# needs about 5 operations and 4 bytes: 0.016 ps for the operations, 2 ps for the bytes. The chip does both at once, so the bytes
# decide, and its arithmetic waits for 99 % of the time.
#
# In general: with $F$ operations on $B$ bytes, a device of $P$ operations and $W$ bytes per second reaches at most
#
# $$\min\left(P,\; W \cdot \frac{F}{B}\right)$$
#
# operations per second. Drawn over $F/B$, the *arithmetic intensity*, this is a roof: a slope where bytes decide, and a flat part
# where operations do. They meet at the *ridge* $P/W$. The picture is called a [**roofline**](../glossary.ipynb#roofline) (Williams
# et al. 2009, [paper](https://dl.acm.org/doi/10.1145/1498765.1498785)).
#
# **Before the next cell** draws the roofline of this machine, predict: which of these five can reach the flat part? The two
# softmaxes; adding two tensors; a single row times a matrix, as in writing a text word by word; a product of two large matrices.

# %%
from labkit.parallel.kernels.roofline import Work, measured, plot, product

n, z = x.numel(), torch.randn_like(x)
row, weight, square = torch.randn(1, 4096), torch.randn(4096, 4096), torch.randn(512, 512)
programs = {
    Work("softmax in steps", flops=5 * n, bytes=32 * n): lambda: in_steps(x, y),
    Work("softmax at once", flops=5 * n, bytes=8 * n): lambda: at_once(x, y),
    Work("adding two tensors", flops=n, bytes=12 * n): lambda: torch.add(x, z, out=y),
    product(1, 4096, 4096, each=4): lambda: row @ weight,
    product(512, 512, 512, each=4): lambda: square @ square,
}
plot(measured(), {work: seconds_of(program) for work, program in programs.items()})

# %% [markdown]
# The hollow marks are **computed** from operations and bytes, so they lie on the roof by construction: they say what is possible.
# Only the large product, which uses every number 512 times, is on the flat part; the single row uses every weight once. Fusing
# the softmax moves its mark to the right, and therefore up.
#
# The filled marks are **measured**. A softmax can stay below its hollow mark, because an exponential counts as one operation here,
# and a processor needs many for it. (The roof is measured, too, so a mark may lie a little above it.)
#
# So left of the ridge, the way to be faster is to move fewer bytes. On a GPU almost everything but large products is there.
#
# ## 3 · What a warp asks for
#
# How many bytes move also depends on *which* addresses are asked for. A GPU's threads run in [**warps**](../glossary.ipynb#warp) of
# 32, which execute an instruction together, so one load is 32 loads. Memory answers in **sectors** of 32 bytes: whoever wants 4
# bytes of a sector moves all 32.
#
# If lane (thread) $i$ of a warp reads number $i$, of 4 bytes, the lanes want bytes 0 to 127: 4 sectors, every byte of which is used.
# If lane $i$ reads number $2i$, it wants the bytes from $8i$ on: 0, 8, 16, 24 | 32, 40 … Four lanes share a sector, so 8 sectors
# move, half of their bytes for nothing.
#
# ### Your turn: sectors of a warp
#
# *●○○ · 4 minutes*
#
# Lane `i` of 32 reads one element of `size` bytes (1, 2, 4, 8 or 16), from byte `i * stride * size` on. How many sectors does the
# warp touch? `warp_sectors(1, 4)` → 4, `warp_sectors(2, 4)` → 8.


# %%
def warp_sectors(stride, size): ...  # your turn


warp_sectors = check.warp_sectors(warp_sectors)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The sector of a byte is `address // 32`. Two lanes in one sector count once.
# </details>
#
# <details><summary>Hint 2</summary>
#
# There are only 32 lanes: go through them, and collect sectors in a set.
# </details>
#
# <details><summary>Hint 3</summary>
#
# An element never crosses a sector here, so its first byte is enough.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def warp_sectors(stride, size):
#     return len({lane * stride * size // 32 for lane in range(32)})
# ```
# </details>

# %% tags=["nbval-check-output"]
print("32 numbers along a row of x:   ", 32 * warp_sectors(1, 4), "bytes move")
print("32 numbers down a column of x: ", 32 * warp_sectors(WIDTH, 4), "bytes move")

# %% [markdown]
# A column costs eight times as much. **Transposing** a matrix has this problem by nature: rows come in and columns go out. The
# remedy is a *tile*: a block of threads loads 32 × 32 numbers row by row, puts them into [**shared
# memory**](../glossary.ipynb#shared-memory), and takes them out column by column, so that it can store rows again.
#
# Shared memory is some 100 KB on the chip, for the threads of one block. It has 32 *banks*: word $w$ (4 bytes) is in bank
# $w \bmod 32$. In one pass a bank gives one word, to all lanes that want it. Lanes that want *different* words of one bank queue: a
# [**bank conflict**](../glossary.ipynb#bank-conflict). If lane $i$ reads word $2i$, lanes 0 and 16 want words 0 and 32, both in
# bank 0: two passes.
#
# ### Your turn: bank conflicts
#
# *●●○ · 4 minutes*
#
# Lane `i` reads word `i * stride`. How many passes does that take, that is, how many different words must the busiest bank give?
# `bank_passes(1)` → 1, `bank_passes(2)` → 2, `bank_passes(12)` → 4.


# %%
def bank_passes(stride): ...  # your turn


bank_passes = check.bank_passes(bank_passes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Try strides 1, 2, 3 and 32 on paper. Which of them never come back to a bank?
# </details>
#
# <details><summary>Hint 2</summary>
#
# Collect the different words of each bank, and take the largest collection.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Stride 0 is one word for all lanes. (As a formula: `math.gcd(stride, 32)`, but 1 for stride 0.)
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bank_passes(stride):
#     words = {lane * stride for lane in range(32)}
#     return max(sum(word % 32 == bank for word in words) for bank in range(32))
# ```
# </details>
#
# The picture below is a warp that walks down a column of a matrix 32 wide, in both kinds of memory. Move the sliders to find out:
# what does a `padding` of one unused word per row change, and in which of the two? Which strides above 8 cost shared memory
# nothing? With stride 1, what does an `offset` of one element cost, and why less with 16 bytes per load?

# %%
from labkit.widgets import access_pattern

print("passes down a column, by the words of a row:", {width: bank_passes(width) for width in (32, 33, 34)})
access_pattern(stride=32)

# %% [markdown]
# ## 4 · A kernel with a mistake
#
# Here is the tile as a kernel in CUDA C++, with one mistake in it:

# %%
from labkit.checks.kernels import BROKEN

for number, line in enumerate(BROKEN.splitlines(), 1):
    print(f"{number:>2}  {line}")

# %% [markdown]
# - `__global__`: every thread runs this function. `x` and `y` are arrays in memory, row after row.
# - `blockIdx` and `threadIdx` say which thread it is. A block has 32 × 32 threads, and there is one block per tile.
# - `__shared__`: one `tile` for all threads of a block.
# - `__syncthreads()` is a **barrier**: a thread waits there until all threads of its block have come.
#
# Line 5 puts a number into the tile, line 9 takes another one out, which another thread has put there. The barrier between them
# makes sure that it is there already.
#
# An [**emulator**](../glossary.ipynb#emulator) runs such kernels here: `g++` compiles the text, and each thread goes on until it
# must wait; then the next one runs, in rising or in falling order. A right kernel gives the same in both. When a block begins, its
# shared memory is full of NaN, so a number that is read too early shows.
#
# **Before you run the next cell**, predict: the result is right for one of the sizes 64 × 96 and 70 × 40. For which, and why?

# %% tags=["nbval-check-output"]
from labkit.parallel.kernels import workbench
from labkit.parallel.kernels.workbench import SOFTMAX, TRANSPOSE

print(workbench.judge(BROKEN, TRANSPOSE, 64, 96))
print(workbench.judge(BROKEN, TRANSPOSE, 70, 40))

# %% [markdown]
# 64 and 96 are multiples of 32, so every thread is inside the matrix and comes to the barrier. At the edge of 70 × 40 some threads
# are outside: they skip the barrier, and read the tile in line 9 before the others have written it. On a GPU such a kernel may be
# right on most days.
#
# ### Your turn: mend the barrier
#
# *●●○ · 6 minutes*
#
# `broken` is the text above. Return the text of a kernel that is right for every size: for x = `[[1, 2, 3], [4, 5, 6]]` it must
# write y = `[[1, 4], [2, 5], [3, 6]]`. `broken.replace(…)` is enough.


# %%
def mended(broken): ...  # your turn


mended = check.mended(mended)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Every thread of the block must come to the barrier, also one that has nothing to store.
# </details>
#
# <details><summary>Hint 2</summary>
#
# It must be one and the same `__syncthreads()` for all: not one in the `if` and another in an `else`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Exchange lines 6 and 7.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def mended(broken):
#     return broken.replace("    __syncthreads();\n  }", "  }\n  __syncthreads();")
# ```
# </details>
#
# Here is the mended one, and then what hint 2 warns of, a barrier in each branch:

# %% tags=["nbval-check-output"]
print(workbench.judge(mended(BROKEN), TRANSPOSE, 70, 40))
both = BROKEN.replace("  }\n  row", "  } else {\n    __syncthreads();\n  }\n  row")
print(workbench.judge(both, TRANSPOSE, 70, 40))

# %% [markdown]
# ## 5 · Two passes in one
#
# A softmax needs the maximum before the first exponential, and the sum before the first division: that looks like three passes over
# the row. The first two can be one. Take the row 1, 3, 2, 5 in two blocks:
#
# - after 1, 3: the maximum is 3, and the sum relative to it is $e^{1-3} + e^{3-3} = 1.135$;
# - then 2, 5 come, and the maximum becomes 5. The old sum was relative to 3, so it is multiplied by $e^{3-5}$:
#   $1.135 \cdot e^{-2} + e^{2-5} + e^{5-5} = 1.203$.
#
# In general, with maximum $m$ and sum $s$ so far, beginning with $-\infty$ and 0, and a block of new values $x$:
#
# $$m' = \max(m, \max_i x_i), \qquad s' = s \, e^{m - m'} + \sum_i e^{x_i - m'} .$$
#
# This is the [online softmax](../glossary.ipynb#online-softmax) (Milakov & Gimelshein 2018,
# [paper](https://arxiv.org/abs/1805.02867), algorithm 3); FlashAttention is built on it.
#
# ### Your turn: the online update
#
# *●●○ · 5 minutes*
#
# `most` and `total` are $m$ and $s$ (numbers), `x` is the next block (a tensor). Return both, updated. In attention, hidden words
# are $-\infty$; a block that holds nothing else changes nothing.
#
# `online(3.0, 1.135, torch.tensor([2.0, 5.0]))` → (5.0, 1.203) and `online(-inf, 0.0, torch.tensor([-inf, -inf]))` → (-inf, 0.0).


# %%
def online(most, total, x): ...  # your turn


online = check.online(online)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the new maximum: `new = max(most, float(x.max()))`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `math.exp(most - new)` is 0 for `most = -inf`, as it should be. But what if `new` is -inf, too?
# </details>
#
# <details><summary>Hint 3</summary>
#
# The new values are added relative to the **new** maximum: `float((x - new).exp().sum())`.
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
#     if new == -math.inf:
#         return new, total
#     return new, total * math.exp(most - new) + float((x - new).exp().sum())
# ```
# </details>
#
# One pass over a row of `x`, in blocks, beside PyTorch's `logsumexp`, which is $m + \log s$:

# %% tags=["nbval-check-output"]
import math

most, total = -math.inf, 0.0
for block in x[0].split(100):
    most, total = online(most, total, block)
print("one pass gives logsumexp:", math.isclose(most + math.log(total), x[0].logsumexp(0), rel_tol=1e-5))

# %% [markdown]
# ## 6 · Your kernel
#
# On a GPU, the 32 lanes of a warp share a row: lane $i$ takes numbers $i$, $i + 32$, $i + 64$ … Then each lane has a maximum and a
# sum of its own, and they must become one. `__shfl_xor_sync(0xffffffff, value, far)` gives each lane the `value` of lane
# `lane ^ far`, without going through memory. Here 8 lanes add up their values:

# %% tags=["nbval-check-output"]
values = [3, 1, 4, 1, 5, 9, 2, 6]
for far in (4, 2, 1):
    values = [values[lane] + values[lane ^ far] for lane in range(8)]
    print(f"after lanes have added the value of lane ^ {far}: {values}")

# %% [markdown]
# After three steps every lane has the sum of all eight. A warp needs five: 16, 8, 4, 2, 1.
#
# ### Your turn: a softmax in CUDA C++
#
# *●●● · 12 minutes*
#
# Return the whole text of this kernel, with its three gaps filled. One block of 32 threads, that is one warp, runs for each row.
#
# ```cpp
# __global__ void softmax(const float* x, float* y, int rows, int columns) {
#   x += blockIdx.x * columns, y += blockIdx.x * columns;  // block b has row b
#   int lane = threadIdx.x;
#   float most = -INFINITY, total = 0.0f;
#   for (int i = lane; i < columns; i += 32) {
#     // 1. your `online`, for the one number x[i]
#   }
#   float top = most;
#   for (int far = 16; far > 0; far /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, far));
#   // 2. bring `total` from `most` to `top`, and add up the totals of all lanes
#   // 3. write y[i] for the numbers of this lane
# }
# ```
#
# For the row $0, \log 2, \log 5$ it must write 1/8, 2/8, 5/8. You need `fmaxf`, `expf` and `-INFINITY`. Some numbers may be
# `-INFINITY`, but not all numbers of a row.


# %%
def softmax_kernel(): ...  # your turn: return """__global__ void softmax(…) { … }"""


softmax_kernel = check.softmax_kernel(softmax_kernel)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Gap 1 in four lines: `if (x[i] == -INFINITY) continue;`, then `float larger = fmaxf(most, x[i]);`, the new `total`, and `most =
# larger;`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Gap 2: `total *= expf(most - top);`, and then the loop over `far` above, with `+=` in place of `fmaxf`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Gap 3 has the loop of gap 1, with `y[i] = expf(x[i] - top) / total;` in it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def softmax_kernel():
#     return """
# __global__ void softmax(const float* x, float* y, int rows, int columns) {
#   x += blockIdx.x * columns, y += blockIdx.x * columns;  // block b has row b
#   int lane = threadIdx.x;
#   float most = -INFINITY, total = 0.0f;
#   for (int i = lane; i < columns; i += 32) {
#     if (x[i] == -INFINITY) continue;
#     float larger = fmaxf(most, x[i]);
#     total = total * expf(most - larger) + expf(x[i] - larger);
#     most = larger;
#   }
#   float top = most;
#   for (int far = 16; far > 0; far /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, far));
#   total *= expf(most - top);
#   for (int far = 16; far > 0; far /= 2) total += __shfl_xor_sync(0xffffffff, total, far);
#   for (int i = lane; i < columns; i += 32) y[i] = expf(x[i] - top) / total;
# }
# """
# ```
# </details>
#
# Now a language model uses it. BERT's attention takes a softmax over the words, for each word and each head. We put your kernel
# in its place, and let the model fill a blank:

# %% tags=["nbval-check-output"]
from transformers import AttentionInterface, pipeline

row_softmax = workbench.function(softmax_kernel(), SOFTMAX)
model, tokenizer = labkit.load_model(MODEL, head="mlm")
fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=3)


def attention(module, query, key, value, mask, scaling, **others):
    """Attention of one sentence; query, key and value are (batch, heads, words, width)."""
    shares = row_softmax(query @ key.transpose(2, 3) * scaling)
    return (shares @ value).transpose(1, 2), shares


AttentionInterface.register("your kernel", attention)
for how in ("sdpa", "your kernel"):
    model.set_attn_implementation(how)
    found = fill("the solo was tasteful . there was a thrilling guitar . it was [MASK] .")
    print(f"{how:<12}", {word["token_str"]: round(word["score"], 3) for word in found})

# %% [markdown]
# The words and their probabilities agree. (`sdpa` is PyTorch's own fused attention.)
#
# ## 7 · A kernel of the library
#
# This is labkit's own softmax for long rows. Find your `online` in it. What happens to a row that is hidden whole?

# %%
print(workbench.production("softmax", "softmax_forward_long_kernel"))

# %% [markdown]
# | name | what it is |
# |:--|:--|
# | `T`, `VEC`, `int64_t` | the type of the numbers; how many of them one load takes (16 bytes); whole numbers of 64 bits |
# | `__launch_bounds__(1024)` | a block has at most 1024 threads, here all for one row |
# | `SHARED(float, scratch, [64])` | `__shared__ float scratch[64]`, for `nvcc` and for `g++` |
# | `mask.start`, `mask.apply` | find a row of attention's mask; set what it hides to `-INFINITY` |
# | `load`, `store` | `VEC` numbers from memory to registers, and back |
# | `over_row(value, Max{}, scratch)` | the maximum (`Add{}`: the sum) over all threads: by shuffles in a warp, through `scratch` and a barrier between warps |
# | `__expf` | a quicker `expf`, a little less exact |
#
# Like yours it reads x twice: for maximum and sum, and to write. Shorter rows have a kernel that keeps them in registers, and reads
# them once. A row that is hidden whole becomes zeros, where PyTorch's softmax gives NaN. How PyTorch comes to know such a kernel and
# its gradient is in [`ops.py`](../../labkit/cuda/ops.py).
#
# ## 8 · So why is one softmax faster?

# %%
longer = took[in_steps] / took[at_once]
print(f"in_steps moves {separate / fused:.1f} times the bytes of at_once, and takes {longer:.1f} times as long")

# %% [markdown]
# Because it moves fewer bytes. Between two operators, every number goes to memory and comes back; in one kernel it stays in a
# register. (The two ratios need not agree: exponentials take time as well, and caches answer some of the reads.)
#
# What a kernel moves is decided by what it keeps to itself (fusion, the online update), in which order it asks (sectors, banks,
# tiles), and how its threads exchange what they know (shuffles, shared memory). The emulator tells whether it is right; how fast it
# is, only a GPU can say: `python benchmarks/cuda.py` measures labkit's kernels there.
#
# ## Read on
#
# - [*CUDA C++ programming guide*](https://docs.nvidia.com/cuda/cuda-c-programming-guide/); Dao et al. 2022,
#   [*FlashAttention*](https://arxiv.org/abs/2205.14135): fusion and the online update, applied to attention.
# - Two more ways to move less: smaller numbers, [`int8.cu`](../../labkit/cuda/int8.cu), and logits that are never made,
#   [`cross_entropy.cu`](../../labkit/cuda/cross_entropy.cu). The emulator: [`emulate.h`](../../labkit/cuda/emulate.h).
# - Next, [many copies, one model](03_data_parallel.ipynb): what several cards send each other.
