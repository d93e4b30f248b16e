"""Right and wrong answers to the exercises of lesson 06/02."""

from __future__ import annotations

import math

import numpy as np
import torch

from labkit.checks.kernels import BROKEN, SOLVED

# bytes_moved


def by_walking(steps, sizes, kept):
    """A step at a time, as a program would run."""
    single, there, outside = 0, [], 0
    for reads, writes in steps:
        single += sum(sizes[name] for name in list(reads) + list(writes))
        for name in reads:
            if name not in there:
                there.append(name)
                outside += sizes[name]
        there += [name for name in writes if name not in there]
    return [single, outside + sum(sizes[name] for name in kept)]


def by_numpy(steps, sizes, kept):
    number = {name: place for place, name in enumerate(sizes)}
    each = np.array(list(sizes.values()))
    reads = np.concatenate([[number[name] for name in step[0]] for step in steps])
    writes = np.concatenate([[number[name] for name in step[1]] for step in steps])
    fused = each[np.setdiff1d(reads, writes)].sum() + each[[number[name] for name in kept]].sum()
    return each[reads].sum() + each[writes].sum(), fused


def by_generators(steps, sizes, kept):
    size = lambda names: sum(map(sizes.__getitem__, names))  # noqa: E731
    reads = set().union(*(set(r) for r, _ in steps))
    writes = set().union(*(set(w) for _, w in steps))
    return sum(size(r) + size(w) for r, w in steps), torch.tensor(size(reads.difference(writes)) + size(kept))


def single(steps, sizes):
    return sum(sizes[name] for reads, writes in steps for name in (*reads, *writes))


def inputs(steps):
    made = {name for _, writes in steps for name in writes}
    return {name for reads, _ in steps for name in reads} - made


def every(steps):
    return inputs(steps) | {name for _, writes in steps for name in writes}


size = lambda names, sizes: sum(sizes[name] for name in names)  # noqa: E731


def unread(steps):
    return {n for _, w in steps for n in w} - {n for r, _ in steps for n in r}


def fused(count):
    """A wrong `bytes_moved` whose second number is that of `count`."""
    return lambda s, z, k: (single(s, z), count(s, z, k))


def greedy(s, z, k):
    found = (single(s, z), size(inputs(s) | set(k), z))
    z.clear()
    return found


# online


def online(scale=lambda old, new: math.exp(old - new), top=max, values=lambda x, old, new: (x - new).exp().sum()):
    """An online update with one part exchanged."""

    def step(most, total, x):
        new = top(most, float(x.max()))
        if new == -math.inf:
            return new, total
        return new, total * scale(most, new) + float(values(x, most, new))

    return step


def one_at_a_time(most, total, x):
    for value in x.tolist():
        if value > most:
            most, total = value, total * math.exp(most - value) + 1
        elif value > -math.inf:
            total += math.exp(value - most)
    return most, total


def in_numpy(most, total, x):
    x = x.numpy()
    finite = x[np.isfinite(x)]
    new = np.max(np.append(finite, most))
    if not np.isfinite(new):
        return new, total
    return new, total * np.exp(most - new) + np.exp(finite - new).sum()


def by_logarithms(most, total, x):
    """Tensors all along, through the logarithm of the sum."""
    new = torch.maximum(torch.tensor(most, dtype=torch.float64), x.double().max())
    before = torch.tensor([most + math.log(total) if total else -math.inf], dtype=torch.float64)
    lse = torch.cat([before, x.double()]).logsumexp(0)
    return new, (lse - new).exp() if new > -math.inf else torch.zeros(())


def without_hidden(most, total, x):
    new = max(most, float(x.max()))
    return new, total * math.exp(most - new) + float((x - new).exp().sum())


def floored(most, total, x):
    return without_hidden(max(most, -1e30), total, x)


def counted(most, total, x):
    return online()(most, total, x) if x.max() > -math.inf else (most, total + len(x))


def in_place(most, total, x):
    return online(values=lambda x, old, new: x.sub_(new).exp_().sum())(most, total, x)


# Kernels


def text(kernel, *changes):
    """A function that gives the kernel with each (text, other text) exchanged."""
    for old, new in changes:
        assert old in kernel, old
        kernel = kernel.replace(old, new)
    return lambda *given: kernel


MENDED = BROKEN.replace("    __syncthreads();\n  }", "  }\n  __syncthreads();")
NAMED = """
// The same with names for the places.
__global__ void transpose(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32 * 32];
  const int tx = threadIdx.x, ty = threadIdx.y, top = blockIdx.y * 32, left = blockIdx.x * 32;
  const bool inside = top + ty < rows && left + tx < columns;
  tile[ty * 32 + tx] = inside ? x[(top + ty) * columns + left + tx] : 0.0f;
  __syncthreads();
  __syncthreads();
  if (top + tx >= rows || left + ty >= columns) return;
  y[(left + ty) * rows + top + tx] = tile[tx * 32 + ty];
}"""
NAIVE = """
__global__ void transpose(const float* x, float* y, int rows, int columns) {
  int row = 32 * blockIdx.y + threadIdx.y, column = 32 * blockIdx.x + threadIdx.x;
  if (row < rows && column < columns) y[column * rows + row] = x[row * columns + column];
}
"""
INSIDE = "if (row < rows && column < columns) "
BARRIER = "  __syncthreads();\n"
THREE_PASSES = """
__global__ void softmax(const float *x, float *y, int rows, int columns) {
  const float *in = x + blockIdx.x * columns;
  float *out = y + blockIdx.x * columns;
  float top = -INFINITY, sum = 0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) top = fmaxf(top, in[i]);
  for (int far = 1; far < 32; far *= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, far));
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += __expf(in[i] - top);
  for (int far = 1; far < 32; far *= 2) sum = sum + __shfl_xor_sync(~0u, sum, far);
  for (int i = threadIdx.x; i < columns; i += blockDim.x) out[i] = __expf(in[i] - top) / sum;
}"""
DOWN = """
__device__ float whole(float value, bool add) {
  for (int far = 16; far; far >>= 1) {
    float other = __shfl_down_sync(0xFFFFFFFFu, value, far);
    value = add ? value + other : fmaxf(value, other);
  }
  return __shfl_sync(0xFFFFFFFFu, value, 0);
}
__global__ void softmax(const float* x, float* y, int rows, int columns) {
  int first = blockIdx.x * columns, last = first + columns;
  float top = -INFINITY, sum = 0;
  for (int i = first + threadIdx.x; i < last; i += 32) top = fmaxf(top, x[i]);
  top = whole(top, false);
  for (int i = first + threadIdx.x; i < last; i += 32) sum += y[i] = expf(x[i] - top);
  sum = whole(sum, true);
  for (int i = first + threadIdx.x; i < last; i += 32) y[i] /= sum;
}
"""
SHARED = """
__global__ void softmax(const float* x, float* y, int rows, int columns) {
  __shared__ float tops[32];
  __shared__ float sums[32];
  int lane = threadIdx.x, first = blockIdx.x * columns;
  tops[lane] = -1e38f, sums[lane] = 0;
  for (int i = lane; i < columns; i += 32) tops[lane] = max(tops[lane], x[first + i]);
  __syncthreads();
  float top = tops[0], sum = 0;
  for (float other : tops) top = max(top, other);
  for (int i = lane; i < columns; i += 32) sums[lane] += expf(x[first + i] - top);
  __syncthreads();
  for (float other : sums) sum += other;
  for (int i = lane; i < columns; i += 32) y[first + i] = expf(x[first + i] - top) / sum;
}
"""
MAXIMUM = "  for (int far = 16; far > 0; far /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, far));\n"
TOTAL = "  for (int far = 16; far > 0; far /= 2) total += __shfl_xor_sync(0xffffffff, total, far);\n"
LOOP = "for (int i = lane; i < columns; i += 32)"
SKIP = "    if (x[i] == -INFINITY) continue;\n"
ALONE = """
__global__ void softmax(const float* x, float* y, int rows, int columns) {
  x += blockIdx.x * columns, y += blockIdx.x * columns;
  float top = -INFINITY, total = 0;
  for (int i = 0; i < columns; ++i) top = fmaxf(top, x[i]);
  for (int i = 0; i < columns; ++i) total += expf(x[i] - top);
  for (int i = threadIdx.x; i < columns; i += 32) y[i] = expf(x[i] - top) / total;
}
"""

RIGHT = {
    "bytes_moved": [by_walking, by_numpy, by_generators],
    "warp_sectors": [
        lambda stride, size: max(1, min(32, stride * size)),
        lambda stride, size: len(np.unique(np.arange(32) * stride * size // 32)),
        lambda stride, size: (torch.arange(32) * (stride * size)).div(32, rounding_mode="floor").unique().numel(),
        lambda stride, size: float(32 if stride * size >= 32 else 31 * stride * size // 32 + 1),
    ],
    "bank_passes": [
        lambda stride: max(len({i * stride for i in range(32) if i * stride % 32 == bank}) for bank in range(32)),
        lambda stride: np.gcd(stride, 32) if stride else np.int64(1),
        lambda stride: torch.bincount((torch.arange(32) * stride).unique() % 32).max(),
    ],
    "mended": [
        text(NAMED),
        text(MENDED),
        lambda broken: "\n".join(BROKEN.splitlines()[:5] + ["  }", "  __syncthreads();"] + BROKEN.splitlines()[7:]),
        text(BROKEN, ("    __syncthreads();\n  }\n", "  }\n" + BARRIER), ("[33]", "[34]"), ("int row", "unsigned row")),
    ],
    "online": [one_at_a_time, in_numpy, by_logarithms, online()],
    "softmax_kernel": [text(THREE_PASSES), text(DOWN), text(SHARED), text(SOLVED, (SKIP, ""), ("most = -INFINITY", "most = -1e38f"))],
}  # fmt: skip

WRONG = {
    "bytes_moved": [
        (lambda s, z, k: (sum(size(r, z) for r, _ in s), 0), "these are the reads alone"),
        (lambda s, z, k: (sum(size(w, z) for _, w in s), 0), "these are the writes alone"),
        (lambda s, z, k: (size(every(s), z), 0), "each tensor counts once"),
        (lambda s, z, k: (sum(z.values()), 0), "you added up all sizes"),
        (fused(lambda s, z, k: single(s, z)), "the same as unfused"),
        (fused(lambda s, z, k: size(every(s), z)), "what lies between steps is still counted"),
        (fused(lambda s, z, k: size(inputs(s) | {"y"}, z)), "only the last result"),
        (fused(lambda s, z, k: size(inputs(s), z)), "these are the reads: the results"),
        (fused(lambda s, z, k: size(k, z)), "these are the writes: what comes"),
        (fused(lambda s, z, k: size(k, z) + 1020 + 1000), "you counted it twice"),
        (fused(lambda s, z, k: size(inputs(s) | unread(s) | set(k), z)), "mask is counted as written"),
        (fused(lambda s, z, k: size(inputs(s) | unread(s), z)), "you write what no step reads"),
        (fused(lambda s, z, k: size(inputs(s) | {"y", "z"} & every(s) | set(k), z)), "z need not be written"),
        (fused(lambda s, z, k: 7), "what no step makes is read once"),
        (lambda s, z, k: single(s, z), "2 results are wanted"),
        (lambda s, z, k: (single(s, z), None), "the second number is None"),
        (greedy, "changed `sizes`"),
    ],
    "warp_sectors": [
        (lambda stride, size: 32, "a sector per lane"),
        (lambda stride, size: 32 * stride * size if stride else 4, "these are bytes"),
        (lambda stride, size: max(1, 32 * stride * size // 128), "one sector for 128 bytes"),
        (lambda stride, size: 31 * stride * size // 32, "last sector is missing"),
        (lambda stride, size: 1 + math.ceil(32 * stride * size / 32), "one too many"),
        (lambda stride, size: min(32, 4 * stride), "size of an element has no effect"),
        (lambda stride, size: size, "stride has no effect|counted only the bytes asked"),
        (lambda stride, size: min(32, stride * size * (size if stride > 1 else 1) // (2 if stride > 1 else 1)), "by the size twice"),
        (lambda stride, size: 31 * stride * size // 32 + 1, "sectors between them are left alone"),
        (lambda stride, size: min(32, stride * size), "stride 0"),
        (lambda stride, size: min(32, max(1, stride * size)) if size < 16 else 32, "for stride 0 and 16 bytes"),
        (lambda stride, size: 32 * stride * size / 33, "a whole number"),
        (lambda stride, size: "four", "one number, not str"),
    ],
    "bank_passes": [
        (lambda stride: 32 // math.gcd(stride, 32), "banks in use"),
        (lambda stride: stride, "right only where it divides 32: lanes"),
        (lambda stride: min(stride, 32), "not as bad as 32"),
        (lambda stride: stride % 32, "takes 32 passes"),
        (lambda stride: max(np.bincount(4 * np.arange(32) * stride % 32)), "bytes for words"),
        (lambda stride: 32, "a pass per lane"),
        (lambda stride: 3 if stride == 3 else math.gcd(stride, 32), "no two lanes meet"),
        (lambda stride: math.gcd(stride, 32), "do not queue"),
        (lambda stride: math.gcd(stride, 32) if stride % 8 else min(stride, 32), "one pass is needed"),
        (lambda stride: 1 if stride % 2 else math.gcd(stride, 16), "for strides 1, 2, 32, 33"),
        (lambda stride: stride if stride == 12 else math.gcd(stride, 32), "lanes 0, 8, 16, 24"),
        (lambda stride: math.gcd(stride, 32) if 0 < stride < 40 else 1, "for stride 40, 8"),
    ],
    "mended": [
        (lambda broken: broken, "as it was"),
        (text(BROKEN, ("  " + BARRIER, "")), "no barrier is left"),
        (text(MENDED, (BARRIER, ""), ("tile[threadIdx.x][threadIdx.y];\n", "tile[threadIdx.x][threadIdx.y];\n" + BARRIER)), "belongs between"),
        (text(BROKEN, ("    __syncthreads();\n  }", "    __syncthreads();\n  } else {\n    __syncthreads();\n  }")), r"your line 6\) and thread \d+ \(your line 8\) wait at different"),
        (text(NAIVE), "without a tile"),
        (text(MENDED, (INSIDE + "y", "y")), "writes outside of y"),
        (text(MENDED, ("y[column * rows + row]", "y[row * columns + column]")), "y holds x as it was"),
        (text(MENDED, ("tile[threadIdx.x][threadIdx.y];", "tile[threadIdx.y][threadIdx.x];")), "only the place of the barrier"),
        (text(MENDED, ("row * columns + column];\n", "row * colunms + column];\n")), r"cannot compile line 5, `tile.*colunms"),
        (text(MENDED, ("columns + column];\n", "columns + column]\n")), "cannot compile line [56]"),
        (text(MENDED.rstrip()[:-1]), "not closed by its last"),
        (text(MENDED, ("x[row", "x[2000000000L + row")), "SIGSEGV"),
        (text(MENDED, (BARRIER, BARRIER + "  while (rows > 0) row = 1;\n")), "stopped after 4 s"),
        (lambda broken: 5, "a str, not int"),
    ],
    "online": [
        (lambda m, t, x: (m, t + float((x - m).exp().sum())), "did not move"),
        (online(scale=lambda old, new: 1.0), "multiply it by exp"),
        (online(scale=lambda old, new: math.exp(new - old) if old > -math.inf else 0), "sign is turned round"),
        (online(scale=lambda old, new: 0.0), "the old sum is lost"),
        (online(lambda o, n: 1.0, values=lambda x, old, new: (x - old).exp().sum()), "relative to the old maximum: that"),
        (online(values=lambda x, old, new: x.exp().sum()), "subtract the new maximum"),
        (online(values=lambda x, old, new: 0.0), "the new values are not in"),
        (online(top=lambda old, new: new), "the old one may be larger"),
        (lambda m, t, x: 5.0, "2 results are wanted"),
        (lambda m, t, x: (max(m, float(x.max())), math.nan), "the sum is NaN: 0 divided"),
        (without_hidden, "the sum is NaN: -inf minus -inf"),
        (floored, r"yours gives \(-1e\+30, 0\)"),
        (counted, r"yours gives \(-inf, 3\)"),
        (in_place, "changed `x`"),
        (lambda m, t, x: online()(m, t, x) if t or m > 0 else (float(x.max()), 1.0), "able to start there"),
        (lambda m, t, x: online()(m, t, x[:900]), "over a long row of 4,096"),
    ],
    "softmax_kernel": [
        (text(SOLVED, (MAXIMUM, ""), (TOTAL, "")), "every number is 1"),
        (text(SOLVED, ("  total *= expf(most - top);\n", "")), "each relative to its own maximum"),
        (text(SOLVED, (" / total;", ";")), "division by the total is missing"),
        (text(SOLVED, (LOOP + " {", "for (int i = 0; i < columns; ++i) {")), "rows sum to 1/32"),
        (text(SOLVED, ("expf(x[i] - top) /", "expf(x[i]) /"), ("  total *= expf(most - top);\n", "")), "use top for both"),
        (text(SOLVED, ("expf(x[i] - top) / total", "x[i] - top - logf(total)")), "these are logarithms"),
        (text(SOLVED, ("x += blockIdx.x * columns, y += blockIdx.x * columns;", "")), "row 0 is right"),
        (text(SOLVED, ("y[i] = ", "float z = ")), "is y written at all"),
        (text(THREE_PASSES, ("far = 1; far < 32; far *= 2) sum = sum + __shfl_xor_sync", "far = 16; far > 0; far /= 2) sum = sum + __shfl_down_sync")), "only column 0"),
        (text(SOLVED, ("far = 16; far > 0; far /= 2) total", "far = 8; far > 0; far /= 2) total")), "yours sum to"),
        (text(SOLVED, (LOOP + " y[i]", "if (lane < columns) y[lane]"), ("x[i] - top) /", "x[lane] - top) /")), "32 and above were never"),
        (text(SOLVED, (LOOP + " {", "for (int i = lane; i < min(32, columns); i += 32) {")), "wrong for 70"),
        (text(SOLVED, ("larger = fmaxf(most, x[i]);", "larger = 0;"), ("top = most", "top = 0"), (MAXIMUM, "")), "overflows"),
        (text(SOLVED, (SKIP, "")), "wrong where x holds -INFINITY"),
        (text(SOLVED, ("  total *=", "  if (most > -INFINITY) total *="), (SKIP, SKIP), ("float top = most;", "float top = most; if (lane >= columns && columns < 5) total = NAN;")), "lanes without a number"),
        (text(ALONE), "exchange nothing"),
        (text(SOLVED, (MAXIMUM, "  if (lane < columns)" + MAXIMUM)), r"a GPU would hang or go wrong here|sum to"),
        (text(SOLVED, ("total = 0.0f", "totl = 0.0f")), r"cannot compile line 8, `total = .*was not declared"),
        (text(SOLVED, ("softmax(", "soft_max(")), "does not begin as it must"),
        (text(SOLVED, ("i < columns; i += 32) y", "i < columns + 32; i += 32) y")), "writes outside of y"),
        (lambda: ["a", "b"], "a str, not list"),
    ],
}  # fmt: skip
