// int8.cu: rows of numbers as int8 with one scale a row, and the product of two such matrices.
//
// quantise_rows, fused: largest absolute value, scaling, rounding. Bytes an element in 16 bits: 3 (x in, q out), and
// 4 a row for the scale. Launch: a warp or a block a row, 16 bytes a thread; rows too long for registers are read
// twice, the second time from the caches.
//
// int8_matmul: out[m, n] = (sum over k of q[m, k] * weight[n, k]) * scale[m] * weight_scale[n] + bias[n]. Fused: the
// scaling and the bias, so that the int32 product never reaches memory. It is bound by arithmetic: 2 M N K operations
// on M K + N K bytes in and 2 M N out.
// Launch, both paths: 256 threads for a tile of the result, which pieces of q and weight pass through shared memory.
// - dp4a (compute capability 6.1 on): tiles of 64 x 64, a thread has 4 x 4 results, __dp4a adds four products at once.
// - tensor cores (8.0 on): tiles of 128 x 128, a warp has 64 x 32 results, mma.sync m16n8k32; the next pieces are
//   copied (cp.async) while these are multiplied. Rows of a multiple of 16 values, aligned to 16 bytes.
#include "common.cuh"
#include "int8_tensor.cuh"

// Largest absolute value, NaN if there is one: fmaxf would lose it.
struct MaxOrNan {
  static constexpr float start = 0.0f;
  __device__ float operator()(float a, float b) const { return a >= b || a != a ? a : b; }
};

// 127 / largest: what a row is multiplied by. 0 for a row of zeros, and for one that is not finite.
__device__ __forceinline__ float factor_of(float largest) {
  return largest > 0.0f && largest <= 3.4028234e38f ? 127.0f / largest : 0.0f;
}

__device__ __forceinline__ float scale_of(float largest) { return largest <= 3.4028234e38f ? largest / 127.0f : NAN; }

__device__ __forceinline__ signed char quantised(float x, float factor) {
  return factor == 0.0f ? 0 : static_cast<signed char>(fminf(fmaxf(rintf(x * factor), -127.0f), 127.0f));
}

template <class T, int VEC, int ITEMS>
__global__ void __launch_bounds__(1024) quantise_rows_kernel(
    const T* x, signed char* q, float* scales, int64_t rows, int width) {
  SHARED(float, scratch, [32]);
  int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  int end = row < rows ? width : 0;
  float kept[ITEMS][VEC], largest = 0.0f;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    load(kept[k], x + row * width + column);
    for (int i = 0; i < VEC; ++i) largest = MaxOrNan{}(largest, fabsf(kept[k][i]));
  }
  largest = over_row(largest, MaxOrNan{}, scratch);
  float factor = factor_of(largest);
  if (row < rows && threadIdx.x == 0) scales[row] = scale_of(largest);
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    Pack<signed char, VEC> pack;
    for (int i = 0; i < VEC; ++i) pack.values[i] = quantised(kept[k][i], factor);
    *reinterpret_cast<Pack<signed char, VEC>*>(q + row * width + column) = pack;
  }
}

template <class T>
__global__ void __launch_bounds__(1024) quantise_rows_long_kernel(
    const T* x, signed char* q, float* scales, int width) {
  SHARED(float, scratch, [32]);
  int64_t start = static_cast<int64_t>(blockIdx.x) * width;
  float largest = 0.0f;
  for (int column = threadIdx.x; column < width; column += blockDim.x) {
    largest = MaxOrNan{}(largest, fabsf(to_float(x[start + column])));
  }
  largest = over_row(largest, MaxOrNan{}, scratch);
  if (threadIdx.x == 0) scales[blockIdx.x] = scale_of(largest);
  for (int column = threadIdx.x; column < width; column += blockDim.x) {
    q[start + column] = quantised(to_float(x[start + column]), factor_of(largest));
  }
}

// x [rows, width] of `type`, q [rows, width] int8, scales [rows] float32.
extern "C" const char* quantise_rows(const void* x, void* q, float* scales, int64_t rows, int64_t width, int64_t type,
                                     void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    auto in = static_cast<const T*>(x);
    auto out = static_cast<signed char*>(q);
    int columns = static_cast<int>(width);
    constexpr int vec = wide<T>;
    if (aligned<T>(width, in, out) && width <= 2048 * vec) {
      dim3 block = row_block(width, 2 * vec);
      LAUNCH((quantise_rows_kernel<T, vec, 2>), dim3(blocks_for(rows, block)), block, 0, stream)
      (in, out, scales, rows, columns);
    } else if (width <= 4096) {
      dim3 block = row_block(width, 4);
      LAUNCH((quantise_rows_kernel<T, 1, 4>), dim3(blocks_for(rows, block)), block, 0, stream)
      (in, out, scales, rows, columns);
    } else {
      LAUNCH(quantise_rows_long_kernel<T>, dim3(rows), dim3(1024), 0, stream)(in, out, scales, columns);
    }
    return finished();
  });
}

// Four int8 of a row, zeros outside the matrix. `packed`: every row begins at a multiple of 4 bytes.
__device__ __forceinline__ int four(const signed char* matrix, int64_t row, int64_t rows, int column, int width,
                                    bool packed) {
  if (row >= rows || column >= width) return 0;
  const signed char* at = matrix + row * width + column;
  if (packed) return *reinterpret_cast<const int*>(at);
  unsigned word = 0;
  for (int byte = 0; byte < 4 && column + byte < width; ++byte) {
    word |= static_cast<unsigned>(static_cast<unsigned char>(at[byte])) << (8 * byte);
  }
  return static_cast<int>(word);
}

// Tiles of 64 x 64 results; pieces of 64 values of k, as 16 words, a row of shared memory padded to 17 words so that
// the rows that a warp reads lie in different banks.
template <class T>
__global__ void int8_matmul_dp4a_kernel(const signed char* q, const signed char* weight, Epilogue<T> finish,
                                        int64_t rows, int64_t columns, int depth, bool packed) {
  SHARED(int, left, [64][17]);
  SHARED(int, right, [64][17]);
  int64_t first_row = static_cast<int64_t>(blockIdx.y) * 64, first_column = static_cast<int64_t>(blockIdx.x) * 64;
  int thread = threadIdx.x, x = thread % 16, y = thread / 16;
  int sums[4][4] = {};
  for (int start = 0; start < depth; start += 64) {
    for (int word = thread; word < 64 * 16; word += 256) {
      int line = word / 16, at = word % 16;
      left[line][at] = four(q, first_row + line, rows, start + 4 * at, depth, packed);
      right[line][at] = four(weight, first_column + line, columns, start + 4 * at, depth, packed);
    }
    __syncthreads();
#pragma unroll 4
    for (int at = 0; at < 16; ++at) {
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) sums[i][j] = __dp4a(left[y + 16 * i][at], right[x + 16 * j][at], sums[i][j]);
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) finish.store(first_row + y + 16 * i, first_column + x + 16 * j, sums[i][j]);
  }
}

// q [rows, depth] and weight [columns, depth] int8; scale [rows], weight_scale [columns] float32; bias [columns] of
// `bias_type`, or null; out [rows, columns] of `type`. Sums are exact while depth * 127 * 127 < 2^31: depth <= 133 152.
extern "C" const char* int8_matmul(const void* q, const float* scale, const void* weight, const float* weight_scale,
                                   const void* bias, void* out, int64_t rows, int64_t columns, int64_t depth,
                                   int64_t tensor_cores, int64_t type, int64_t bias_type, void* stream) {
  if (rows == 0 || columns == 0) return nullptr;
  if (depth > 133152) return "more than 133152 products in a sum: int32 could overflow";
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    Parameters added{bias, static_cast<int>(bias_type)};
    Epilogue<T> finish{scale, weight_scale, added, static_cast<T*>(out), rows, columns};
    auto left = static_cast<const signed char*>(q), right = static_cast<const signed char*>(weight);
    int k = static_cast<int>(depth), tile = tensor_cores ? 128 : 64;
    dim3 grid((columns + tile - 1) / tile, (rows + tile - 1) / tile);
    if (tensor_cores) {
      LAUNCH(int8_matmul_tensor_kernel<T>, grid, dim3(256), 0, stream)(left, right, finish, rows, columns, k);
    } else {
      uintptr_t all = reinterpret_cast<uintptr_t>(q) | reinterpret_cast<uintptr_t>(weight) | depth;
      LAUNCH(int8_matmul_dp4a_kernel<T>, grid, dim3(256), 0, stream)
      (left, right, finish, rows, columns, k, all % 4 == 0);
    }
    return finished();
  });
}
