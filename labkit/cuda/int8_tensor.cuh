// int8_tensor.cuh: the product of int8 matrices on tensor cores, for int8.cu.
//
// A warp of tensor cores multiplies 16 x 32 by 32 x 8 values at once (mma.sync.m16n8k32, PTX ISA, "Matrix fragments for
// mma.m16n8k32"). The 32 lanes hold the pieces: with g = lane / 4 and t = lane % 4,
//   a[0], a[1], a[2], a[3]: rows g, g + 8, g, g + 8, values 4 t … 4 t + 3 of k, the last two 16 further on;
//   b[0], b[1]: column g, values 4 t … 4 t + 3 of k, the second 16 further on;
//   c[0], c[1]: row g, columns 2 t and 2 t + 1; c[2], c[3]: the same of row g + 8.
// In the emulator the instruction is an exchange and sums by that same table, so the tiles, the copies and the epilogue
// are tested; that the table is the hardware's only a GPU can show.
#pragma once

#include "common.cuh"

// Scales one int32 sum and stores it, if it is inside the matrix.
template <class T>
struct Epilogue {
  const float *scale, *weight_scale;
  Parameters bias;
  T* out;
  int64_t rows, columns;

  __device__ __forceinline__ void store(int64_t row, int64_t column, int sum) const {
    if (row >= rows || column >= columns) return;
    float value = static_cast<float>(sum) * (scale[row] * weight_scale[column]);
    out[row * columns + column] = from_float<T>(value + bias.at(column));
  }
};

// c += a b, see above.
__device__ __forceinline__ void multiply(int (&c)[4], const int (&a)[4], const int (&b)[2]) {
#ifndef __CUDACC__
  SHARED(int, pieces, [32][32][6]);  // a and b of every lane of every warp
  int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
  auto& mine = pieces[threadIdx.x / 32];
  for (int i = 0; i < 4; ++i) mine[lane][i] = a[i];
  for (int i = 0; i < 2; ++i) mine[lane][4 + i] = b[i];
  __syncwarp();
  for (int part = 0; part < 4; ++part) {
    for (int step = 0; step < 8; ++step) {  // four values of k at a time: t = 0 to 3, then 16 further on
      int t = step % 4, high = step / 4;
      int left = mine[4 * row + t][2 * high + part / 2], right = mine[4 * (column + part % 2) + t][4 + high];
      c[part] = __dp4a(left, right, c[part]);
    }
  }
  __syncwarp();
#elif __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Starts a copy of 16 bytes from global to shared memory that passes no register; zeros where `inside` is false.
__device__ __forceinline__ void start_copy(void* to, const void* from, bool inside) {
#ifndef __CUDACC__
  if (inside) std::memcpy(to, from, 16);
  if (!inside) std::memset(to, 0, 16);
#elif __CUDA_ARCH__ >= 800
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(inside ? 16 : 0)
               : "memory");
#endif
}

__device__ __forceinline__ void close_copies() {  // one group of copies ends here
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int LEFT>
__device__ __forceinline__ void wait_for_copies() {  // until at most LEFT groups are under way
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

constexpr int TILE = 128, PIECE = 64;  // results across and down; values of k at a time
// Bytes from row to row in shared memory: of 20 words, the eight rows that a warp reads at once begin in banks 0, 20,
// 8, 28, 16, 4, 24, 12, and its four words a row fill all 32 banks exactly once.
constexpr int PITCH = PIECE + 16;

// Copies TILE rows of PIECE values from column `start` on: 512 times 16 bytes, two a thread.
__device__ __forceinline__ void start_tile(signed char* tile, const signed char* matrix, int64_t first, int64_t rows,
                                           int start, int depth) {
  for (int part = threadIdx.x; part < TILE * PIECE / 16; part += 256) {
    int line = part / (PIECE / 16), column = part % (PIECE / 16) * 16;
    bool inside = first + line < rows && start + column < depth;
    const signed char* from = inside ? matrix + (first + line) * depth + start + column : matrix;
    start_copy(tile + line * PITCH + column, from, inside);
  }
}

__device__ __forceinline__ int word(const signed char* tile, int line, int column) {
  return *reinterpret_cast<const int*>(tile + line * PITCH + column);
}

// Eight warps, 2 down by 4 across, each with 64 x 32 results: 4 x 4 of the small products.
__device__ __forceinline__ void multiply_tile(int (&sums)[4][4][4], const signed char* left, const signed char* right) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, at = lane % 4 * 4;
  int down = warp / 4 * 64 + group, across = warp % 4 * 32 + group;
#pragma unroll
  for (int k = at; k < PIECE; k += 32) {
    int a[4][4], b[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int line = down + 16 * i;
      a[i][0] = word(left, line, k), a[i][1] = word(left, line + 8, k);
      a[i][2] = word(left, line, k + 16), a[i][3] = word(left, line + 8, k + 16);
      b[i][0] = word(right, across + 8 * i, k), b[i][1] = word(right, across + 8 * i, k + 16);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) multiply(sums[i][j], a[i], b[j]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(256) int8_matmul_tensor_kernel(
    const signed char* q, const signed char* weight, Epilogue<T> finish, int64_t rows, int64_t columns, int depth) {
  SHARED(__align__(16) signed char, left, [2][TILE * PITCH]);
  SHARED(__align__(16) signed char, right, [2][TILE * PITCH]);
  int64_t first_row = static_cast<int64_t>(blockIdx.y) * TILE, first_column = static_cast<int64_t>(blockIdx.x) * TILE;
  int sums[4][4][4] = {};
  start_tile(left[0], q, first_row, rows, 0, depth);
  start_tile(right[0], weight, first_column, columns, 0, depth);
  close_copies();
  for (int start = 0, now = 0; start < depth; start += PIECE, now ^= 1) {
    start_tile(left[now ^ 1], q, first_row, rows, start + PIECE, depth);  // zeros after the last piece
    start_tile(right[now ^ 1], weight, first_column, columns, start + PIECE, depth);
    close_copies();
    wait_for_copies<1>();  // all but the copies just started
    __syncthreads();
    multiply_tile(sums, left[now], right[now]);
    __syncthreads();  // nobody reads the pieces that the next round overwrites
  }
  wait_for_copies<0>();
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t row = first_row + warp / 4 * 64 + lane / 4, column = first_column + warp % 4 * 32 + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        finish.store(row + 16 * i + part / 2 * 8, column + 8 * j + part % 2, sums[i][j][part]);
      }
    }
  }
}
