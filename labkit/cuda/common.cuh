// common.cuh: what the kernels share. Types, aligned loads, sums over a row's threads, dropout, launch sizes.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define LAUNCH(kernel, grid, block, shared, stream) kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream)>>>
#define SHARED(type, name, extents) __shared__ type name extents
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#else
#include "emulate.h"
#endif

#include <cmath>
#include <cstdint>
#include <type_traits>

// What a launcher returns: null, or the text of what went wrong.
#ifdef __CUDACC__
inline const char* finished() {
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
inline int multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count > 0 ? count : 1;
}
#else
inline const char* finished() { return emulated_failure(); }
inline int multiprocessors() { return 3; }  // few, so that the loops over rows are run
#endif

using bf16 = __nv_bfloat16;
using half_t = __half;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(half_t value) { return __half2float(value); }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }

template <class T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (std::is_same<T, half_t>::value) {
    return __float2half(value);
  } else if constexpr (std::is_same<T, bf16>::value) {
    return __float2bfloat16(value);
  } else {
    return value;
  }
}

// The codes of the C interface. `run` gets a zero of the type: [&](auto zero) { using T = decltype(zero); ... }.
enum { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2 };

template <class Run>
const char* with_type(int64_t code, Run run) {
  if (code == FLOAT32) return run(float{});
  if (code == FLOAT16) return run(half_t{});
  if (code == BFLOAT16) return run(bf16{});
  return "a type code that is none of 0 (float32), 1 (float16), 2 (bfloat16)";
}

// N values that are loaded and stored together: 16 bytes are one instruction.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T values[N];
};

template <int N, class T>
__device__ __forceinline__ void load(float (&into)[N], const T* from) {
  Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) into[i] = to_float(pack.values[i]);
}

template <int N, class T>
__device__ __forceinline__ void store(T* to, const float (&values)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.values[i] = from_float<T>(values[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// A vector of parameters (bias, weight) in its own type; zeros where there is none.
struct Parameters {
  const void* data;
  int code;

  template <int N>
  __device__ __forceinline__ void load(float (&into)[N], int64_t column) const {
    if (!data) {
      for (int i = 0; i < N; ++i) into[i] = 0.0f;
    } else if (code == FLOAT16) {
      ::load(into, static_cast<const half_t*>(data) + column);
    } else if (code == BFLOAT16) {
      ::load(into, static_cast<const bf16*>(data) + column);
    } else {
      ::load(into, static_cast<const float*>(data) + column);
    }
  }
  __device__ __forceinline__ float at(int64_t column) const {
    float value[1];
    load(value, column);
    return value[0];
  }
};

// Values of T in a 16-byte load.
template <class T>
constexpr int wide = 16 / sizeof(T);

// Whether rows of `width` values at all these addresses can be read in 16-byte loads.
template <class T, class... Pointers>
bool aligned(int64_t width, const Pointers*... pointers) {
  uintptr_t all = (uintptr_t{0} | ... | reinterpret_cast<uintptr_t>(pointers));
  return width % wide<T> == 0 && all % 16 == 0;
}

// Runs run(VEC): loads of 16 bytes where rows can be read so, else value by value.
template <class T, class Run>
void by_vector(bool fast, Run run) {
  if (fast) return run(std::integral_constant<int, wide<T>>{});
  run(std::integral_constant<int, 1>{});
}

// Runs run(VEC, ITEMS) with the fewest pieces a thread, of at most MOST, that hold a row; ITEMS = 0 for longer rows.
template <class T, int MOST, class Run>
void by_width(bool fast, int64_t width, Run run) {
  using std::integral_constant;
  constexpr int vec = wide<T>;
  if (fast && width <= 1024 * vec) return run(integral_constant<int, vec>{}, integral_constant<int, 1>{});
  if (fast && width <= MOST * 1024 * vec) return run(integral_constant<int, vec>{}, integral_constant<int, MOST>{});
  if (fast) return run(integral_constant<int, vec>{}, integral_constant<int, 0>{});
  if (width <= 4096) return run(integral_constant<int, 1>{}, integral_constant<int, 4>{});
  run(integral_constant<int, 1>{}, integral_constant<int, 0>{});
}

struct Add {
  static constexpr float start = 0.0f;
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Max {
  static constexpr float start = -INFINITY;
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

template <class Op>
__device__ __forceinline__ float over_warp(float value, Op op) {
#pragma unroll
  for (int far = 16; far > 0; far /= 2) value = op(value, __shfl_xor_sync(0xFFFFFFFFu, value, far));
  return value;
}

// The threads of a row are those of equal threadIdx.y. They are one warp, or the whole block (blockDim.y = 1); every
// thread gets the result. `scratch` (32 floats, shared) must not be that of the call before: between two uses of one
// scratch there has to be another barrier.
template <class Op>
__device__ __forceinline__ float over_row(float value, Op op, float* scratch) {
  value = over_warp(value, op);
  if (blockDim.x == 32) return value;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  return over_warp(lane < warps ? scratch[lane] : Op::start, op);
}

// First column of the `item`-th piece, of `vec` values, that this thread holds of its row.
__device__ __forceinline__ int column_of(int item, int vec) {
  return (item * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * vec;
}

// Block for rows of `width` values, `each` of them a thread: a warp a row and four rows a block, or a block a row.
inline dim3 row_block(int64_t width, int each) {
  int64_t threads = (width + each - 1) / each;
  if (threads <= 32) return dim3(32, 4);
  return dim3(static_cast<unsigned>(threads >= 1024 ? 1024 : (threads + 31) / 32 * 32));
}

inline unsigned blocks_for(int64_t rows, dim3 block, int64_t most = 2147483647) {
  int64_t blocks = (rows + block.y - 1) / block.y;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

// Philox-4x32 with 7 rounds (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3, table 2): four numbers
// for every (seed, row, group of four columns), so that backward makes the same mask again and nothing is stored.
__device__ __forceinline__ void philox(uint32_t (&x)[4], uint32_t key0, uint32_t key1) {
#pragma unroll
  for (int round = 0; round < 7; ++round) {
    uint32_t high0 = __umulhi(0xD2511F53u, x[0]), low0 = 0xD2511F53u * x[0];
    uint32_t high1 = __umulhi(0xCD9E8D57u, x[2]), low1 = 0xCD9E8D57u * x[2];
    x[0] = high1 ^ x[1] ^ key0, x[1] = low1, x[2] = high0 ^ x[3] ^ key1, x[3] = low0;
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
}

struct Dropout {
  uint32_t threshold;   // a number below it drops: p * 2^32
  float scale;          // 1 / (1 - p)
  const int64_t* seed;  // one number, on the device, so that no launch waits for it

  // Multiplies values of `row` from column `column` on (a multiple of N where N is 4 or 8) by 0 or by `scale`.
  template <int N>
  __device__ __forceinline__ void apply(float (&values)[N], int64_t row, int column) const {
    if (threshold == 0) return;
    uint64_t key = static_cast<uint64_t>(*seed);
    uint32_t x[4] = {};
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i % 4 == 0) {  // the first of a group, or N = 1
        x[0] = static_cast<uint32_t>(column + i) / 4, x[1] = static_cast<uint32_t>(row);
        x[2] = static_cast<uint32_t>(static_cast<uint64_t>(row) >> 32), x[3] = 0;
        philox(x, static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
      }
      int which = N % 4 == 0 ? i % 4 : (column + i) % 4;  // compared, as an index at run time would spill x to memory
      uint32_t drawn = which == 0 ? x[0] : which == 1 ? x[1] : which == 2 ? x[2] : x[3];
      values[i] = drawn < threshold ? 0.0f : values[i] * scale;
    }
  }
};

// Sums over rows, second step: `parts` [matrices, parts, width] of float32 to `sums` [matrices, width]. Every block of
// the first step left one part. No atomics, so the same input gives the same bits.
__global__ void sum_parts_kernel(const float* parts, float* sums, int count, int width) {
  SHARED(float, shared, [8][32]);
  int column = blockIdx.x * 32 + threadIdx.x;
  const float* mine = parts + static_cast<int64_t>(blockIdx.y) * count * width;
  float sum = 0.0f;
  for (int part = threadIdx.y; part < count && column < width; part += 8) {
    sum += mine[static_cast<int64_t>(part) * width + column];
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
  for (int row = 1; row < 8; ++row) sum += shared[row][threadIdx.x];
  sums[static_cast<int64_t>(blockIdx.y) * width + column] = sum;
}

inline void sum_parts(const float* parts, float* sums, int count, int64_t width, int matrices, void* stream) {
  dim3 grid((width + 31) / 32, matrices), block(32, 8);
  LAUNCH(sum_parts_kernel, grid, block, 0, stream)(parts, sums, count, width);
}
