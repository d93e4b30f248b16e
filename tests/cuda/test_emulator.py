"""The emulator itself: barriers and shuffles wait, mistakes are found or show, half precision rounds as it must."""

from __future__ import annotations

import pytest
import torch

from labkit.cuda import compile_source
from labkit.cuda.build import HERE, find_cxx
from labkit.errors import LabkitError, UsageError

pytestmark = pytest.mark.skipif(find_cxx() is None, reason="the emulator needs g++, which is not here")

PROBES = r"""
#include "common.cuh"

// out[op][thread]: what each warp operation gives thread `thread` of 64, over whole warps and groups of 8.
__global__ void shuffles(float* out) {
  int t = threadIdx.x;
  float mine = 100.0f + t;
  out[0 * 64 + t] = __shfl_sync(0xFFFFFFFFu, mine, (t * 5 + 3) % 32);
  out[1 * 64 + t] = __shfl_up_sync(0xFFFFFFFFu, mine, 3);
  out[2 * 64 + t] = __shfl_down_sync(0xFFFFFFFFu, mine, 5);
  out[3 * 64 + t] = __shfl_xor_sync(0xFFFFFFFFu, mine, 6);
  out[4 * 64 + t] = __shfl_sync(0xFFFFFFFFu, mine, 11, 8);
  out[5 * 64 + t] = __shfl_up_sync(0xFFFFFFFFu, mine, 3, 8);
  out[6 * 64 + t] = __shfl_down_sync(0xFFFFFFFFu, mine, 3, 8);
  out[7 * 64 + t] = __shfl_xor_sync(0xFFFFFFFFu, mine, 4, 8);
  out[8 * 64 + t] = static_cast<float>(__ballot_sync(0xFFFFFFFFu, t % 32 < 7));
  out[9 * 64 + t] = __any_sync(0xFFFFFFFFu, t == 33) + 2 * __all_sync(0xFFFFFFFFu, t < 40);
  double wide = mine * 0.1;
  out[10 * 64 + t] = static_cast<float>(__shfl_xor_sync(0xFFFFFFFFu, wide, 1) * 10.0);
  if (t % 32 < 16) out[11 * 64 + t] = __shfl_xor_sync(0x0000FFFFu, mine, 1);  // half a warp alone
  if (t % 32 >= 16) out[11 * 64 + t] = __shfl_xor_sync(0xFFFF0000u, mine, 2);
}

// Reverses a row through shared memory, with the barrier or without; `again` writes where others may still read.
__global__ void reverse(const float* x, float* y, int barrier) {
  SHARED(float, kept, [64]);
  int t = threadIdx.x;
  kept[t] = x[blockIdx.x * 64 + t];
  if (barrier) __syncthreads();
  y[blockIdx.x * 64 + t] = kept[63 - t];
}

__global__ void different_barriers() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void lane_gone_to_barrier() {
  if (threadIdx.x == 3) __syncthreads();
  __syncwarp();
  if (threadIdx.x != 3) __syncthreads();
}

__global__ void outside_the_mask(float* out) { out[threadIdx.x] = __shfl_sync(0x1u, 1.0f, 0); }

// Lanes that have ended are waited for neither by the warp nor by the block; their values are not to be had.
__global__ void some_end(float* out) {
  if (threadIdx.x >= 20) return;
  out[threadIdx.x] = __shfl_down_sync(0xFFFFFFFFu, static_cast<float>(threadIdx.x), 1);
  __syncthreads();
  atomicAdd(&out[32], 1.0f);
}

__global__ void uneven_loops(float* out) {  // two barriers a round, the same for all, in blocks of three dimensions
  SHARED(int, total, [1]);
  int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  for (int round = 0; round < 3; ++round) {
    if (t == 0) total[0] = 0;
    __syncthreads();
    atomicAdd(&total[0], t);
    __syncthreads();
  }
  out[t + 24 * (blockIdx.x + gridDim.x * blockIdx.y)] = total[0];
}

__global__ void untouched_shared(float* out) {
  SHARED(float, kept, [32]);
  DYNAMIC_SHARED(float, more);
  out[threadIdx.x] = kept[threadIdx.x] + more[threadIdx.x];
  kept[threadIdx.x] = more[threadIdx.x] = 1.0f;
}

__global__ void convert(const float* x, unsigned short* half, unsigned short* brain, int count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) half[i] = from_float<half_t>(x[i]).bits, brain[i] = from_float<bf16>(x[i]).bits;
}
__global__ void convert_back(const half_t* half, const bf16* brain, float* from_half, float* from_brain) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  from_half[i] = to_float(half[i]), from_brain[i] = to_float(brain[i]);
}

extern "C" const char* probe(int64_t which, const float* x, void* y, void* z, int64_t count, void* stream) {
  float* out = static_cast<float*>(y);
  unsigned blocks = static_cast<unsigned>((count + 255) / 256);
  if (which == 0) LAUNCH(shuffles, 1, 64, 0, stream)(out);
  if (which == 1) LAUNCH(reverse, 3, 64, 0, stream)(x, out, count);
  if (which == 2) LAUNCH(different_barriers, 2, 64, 0, stream)();
  if (which == 3) LAUNCH(lane_gone_to_barrier, 1, 32, 0, stream)();
  if (which == 4) LAUNCH(outside_the_mask, 1, 32, 0, stream)(out);
  if (which == 5) LAUNCH(some_end, 1, 32, 0, stream)(out);
  if (which == 6) LAUNCH(uneven_loops, dim3(2, 2), dim3(2, 3, 4), 0, stream)(out);
  if (which == 7) LAUNCH(untouched_shared, 2, 32, 128, stream)(out);
  if (which == 8) LAUNCH(reverse, count, 2048, 0, stream)(x, out, 1);
  if (which == 9) {
    LAUNCH(convert, blocks, 256, 0, stream)
    (x, static_cast<unsigned short*>(y), static_cast<unsigned short*>(z), static_cast<int>(count));
  }
  if (which == 10) {
    LAUNCH(convert_back, 256, 256, 0, stream)
    (reinterpret_cast<const half_t*>(x), reinterpret_cast<const bf16*>(x), out, static_cast<float*>(z));
  }
  return finished();
}
"""


@pytest.fixture(scope="module")
def library():
    return compile_source(PROBES, emulate=True, name="probes")


@pytest.fixture(params=[False, True], ids=["rising", "falling"])
def probe(library, request):
    def run(which, x=None, y=None, z=None, count=0):
        library("probe", which, x, y, z, count, falling=request.param)
        return y

    return run


def test_warp_operations_give_every_lane_the_right_value(probe):
    found = probe(0, y=torch.empty(12, 64)).view(12, 2, 32)
    lane = torch.arange(32)
    start, last = lane // 8 * 8, lane // 8 * 8 + 7
    sources = [
        torch.where(lane < 3, lane, lane - 3),
        torch.where(lane + 5 > 31, lane, lane + 5),
        lane ^ 6,
        start + 3,
        torch.where(lane - 3 < start, lane, lane - 3),
        torch.where(lane + 3 > last, lane, lane + 3),
        lane ^ 4,
    ]
    for warp in range(2):
        thread = 32 * warp + lane
        for row, source in enumerate([(thread * 5 + 3) % 32, *sources]):
            assert torch.equal(found[row, warp], 100.0 + 32 * warp + source), row
        assert (found[8, warp] == 0b1111111).all()
        assert (found[9, warp] == [2, 1][warp]).all()
        assert torch.allclose(found[10, warp], 100.0 + 32 * warp + (lane ^ 1))
        assert torch.equal(found[11, warp], 100.0 + 32 * warp + torch.where(lane < 16, lane ^ 1, lane ^ 2))


def test_a_barrier_makes_the_block_wait_and_a_missing_one_shows(probe):
    x = torch.arange(192.0)
    assert torch.equal(probe(1, x, torch.empty(192), count=1), x.view(3, 64).flip(1).flatten())
    wrong = probe(1, x, torch.empty(192), count=0).view(3, 64)
    assert wrong.isnan().sum(1).tolist() == [32, 32, 32]  # half of the threads read before the others have written


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (
            2,
            r"kernel probe: thread 0 \(probes.cu:\d+\) and thread 40 \(probes.cu:\d+\) wait at different __syncthreads",
        ),
        (3, r"thread 0 \(probes.cu:\d+\) waits for lanes of its warp that have gone elsewhere; block \(0, 0, 0\)"),
        (4, "a lane is not in the mask it gives"),
        (8, "more than 1024 threads in a block"),
    ],
)
def test_a_mistake_is_an_error_and_the_next_launch_is_sound(probe, which, said):
    with pytest.raises(LabkitError, match=said):
        probe(which, torch.zeros(8), torch.zeros(64), count=1)
    assert probe(5, y=torch.zeros(33))[:19].tolist() == list(range(1, 20))


def test_no_grid_is_an_error(probe):
    with pytest.raises(LabkitError, match="more than 1024 threads|no threads"):
        probe(8, torch.zeros(8), torch.zeros(8), count=0)


def test_threads_that_have_ended_are_not_waited_for(probe):
    out = probe(5, y=torch.zeros(33))
    assert out[:19].tolist() == list(range(1, 20))
    assert out[19].isnan()  # its source has ended: undefined on a GPU, NaN here
    assert out[32] == 20


def test_blocks_and_threads_have_three_dimensions(probe):
    assert probe(6, y=torch.zeros(96)).eq(sum(range(24))).all()


def test_shared_memory_is_nan_when_a_block_begins(probe):
    assert probe(7, y=torch.zeros(32)).isnan().all()  # of the second block, after the first wrote ones


def test_half_and_bfloat16_round_as_pytorch_does(library):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    back, brain = torch.empty(2**16), torch.empty(2**16)
    library("probe", 10, every, back, brain, 0)
    for found, dtype in ((back, torch.float16), (brain, torch.bfloat16)):
        assert torch.equal(found.nan_to_num(1.5), every.view(dtype).float().nan_to_num(1.5))
    source = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (40000,), generator=source).to(torch.int32)
    ties = (bits & ~0x1FFF | 0x1000, bits & ~0xFFFF | 0x8000, bits & ~0x1FFF | 0xFFF, bits & ~0xFFFF | 0x7FFF)
    small = torch.randn(40000, generator=source) * 2.0 ** torch.randint(-27, -12, (40000,), generator=source)
    edges = torch.tensor([0.0, -0.0, 65504, 65519.996, 65520, 1e38, float("inf"), float("nan"), 2**-24, 2**-25, 3e-8])
    x = torch.cat([part.view(torch.float32) for part in (bits, *ties)] + [small, edges])
    half, brain = (torch.empty(x.numel(), dtype=torch.int16) for _ in range(2))
    library("probe", 9, x, half, brain, x.numel())
    for found, dtype in ((half, torch.float16), (brain, torch.bfloat16)):
        wanted, number = x.to(dtype), ~x.isnan()
        assert torch.equal(found[number], wanted.view(torch.int16)[number])
        assert found.view(dtype)[~number].isnan().all()


def test_counts_say_what_ran(library):
    before = library.counts()
    library("probe", 1, torch.zeros(192), torch.zeros(192), None, 1)
    library("probe", 0, None, torch.empty(12, 64), None, 0)
    ran = {name: count - before[name] for name, count in library.counts().items()}
    assert (ran["launches"], ran["blocks"], ran["threads"], ran["barriers"]) == (2, 4, 256, 3)
    assert ran["warp_operations"] == 2 * 14  # two warps; twelve whole-warp operations and two half-warp ones
    assert ran["switches"] >= 256 + 192


# A kernel with a mistake in it does not pass: the checks of test_kernels.py would see these.


def broken(file, *replacements):
    """The kernel with its shared header put into it, and each (text, other text) replaced."""
    text = (HERE / f"{file}.cu").read_text(encoding="utf-8")
    text = text.replace('#include "common.cuh"', (HERE / "common.cuh").read_text(encoding="utf-8"))
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    return compile_source(text, emulate=True, name=file)


def softmax_is_right(library, falling):
    x, y = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0)), torch.empty(3, 1000)
    library("softmax_forward", x, None, y, 3, 1, 1, 1000, 0, 0, 0, 1.0, 0, -1, falling=falling)
    return torch.allclose(y, x.softmax(1), atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scratch[warp] = value;\n  __syncthreads();", "scratch[warp] = value;"),
        ("scratch + 32", "scratch"),  # one scratch for two sums in a row: the second is written while some read
        ("far > 0", "far > 1"),
        ("most = over_row(most, Max{}, scratch)", "most = over_warp(most, Max{}) + 90"),
    ],
)
def test_a_broken_softmax_fails_in_one_of_the_two_orders(old, new):
    library = broken("softmax", (old, new))
    assert not all(softmax_is_right(library, falling) for falling in (False, True))


def test_the_unbroken_softmax_passes():
    assert all(softmax_is_right(broken("softmax"), falling) for falling in (False, True))


def test_counts_are_of_the_emulator_and_tensors_of_the_cpu(library):
    with pytest.raises(UsageError, match="kernel probe runs on cpu tensors here, and was given one on meta"):
        library("probe", 1, torch.empty(3, device="meta"), None, None, 1)
