// gelu.cu: y = gelu(x + bias), and its gradients for x and bias.
//
// Fused: the addition of the bias (N values) and the activation; backward, also the sum of dx over the rows.
// Bytes an element: forward 2 passes (x in, y out: 4 B in 16 bits, 8 B in float32); backward 3 (dy, x in, dx out).
// Unfused, forward takes 4 passes, backward 3 and one more for the bias.
// Launch: blocks of 32 x 8 threads. A thread keeps one group of columns (16 bytes of them) and walks down the rows, so
// the bias is read once and the sum for the bias stays in registers. Grid: groups of columns x as many blocks down as
// fill the GPU. Rows that 16 bytes do not divide, or unaligned ones, go value by value.
#include "common.cuh"

// Phi(u), the share of a normal distribution below u.
__device__ __forceinline__ float gate(float u) { return 0.5f * (1.0f + erff(u * 0.70710678119f)); }

// The derivative of u * gate(u).
__device__ __forceinline__ float slope(float u) { return gate(u) + u * 0.39894228040f * __expf(-0.5f * u * u); }

template <class T, int VEC>
__global__ void gelu_forward_kernel(const T* x, Parameters bias, T* y, int64_t rows, int width) {
  int column = (blockIdx.x * 32 + threadIdx.x) * VEC;
  if (column >= width) return;
  float added[VEC], u[VEC];
  bias.load(added, column);
  int64_t stride = static_cast<int64_t>(gridDim.y) * 8;
#pragma unroll 4
  for (int64_t row = blockIdx.y * 8 + threadIdx.y; row < rows; row += stride) {
    load(u, x + row * width + column);
    for (int i = 0; i < VEC; ++i) {
      u[i] += added[i];
      u[i] *= gate(u[i]);
    }
    store(y + row * width + column, u);
  }
}

// `parts` [gridDim.y, width]: what each block adds to the gradient of the bias; null where nobody asks for it.
template <class T, int VEC>
__global__ void gelu_backward_kernel(const T* dy, const T* x, Parameters bias, T* dx, float* parts, int64_t rows,
                                     int width) {
  SHARED(float, shared, [8][32 * VEC + 1]);
  int column = (blockIdx.x * 32 + threadIdx.x) * VEC;
  float added[VEC] = {}, sum[VEC] = {}, u[VEC], g[VEC];
  if (column < width) bias.load(added, column);
  int64_t stride = static_cast<int64_t>(gridDim.y) * 8;
  int64_t end = column < width ? rows : 0;
#pragma unroll 2
  for (int64_t row = blockIdx.y * 8 + threadIdx.y; row < end; row += stride) {
    load(u, x + row * width + column);
    load(g, dy + row * width + column);
    for (int i = 0; i < VEC; ++i) {
      g[i] *= slope(u[i] + added[i]);
      sum[i] += g[i];
    }
    store(dx + row * width + column, g);
  }
  if (!parts) return;
  for (int i = 0; i < VEC; ++i) shared[threadIdx.y][i * 32 + threadIdx.x] = sum[i];
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
  for (int i = 0; i < VEC; ++i) {
    float whole = 0.0f;
    for (int y = 0; y < 8; ++y) whole += shared[y][i * 32 + threadIdx.x];
    parts[static_cast<int64_t>(blockIdx.y) * width + column + i] = whole;
  }
}

// Blocks down the rows: about eight a multiprocessor in all, and no more than there are rows for.
static unsigned blocks_down(int64_t rows, int64_t width, int vec) {
  int64_t across = (width + 32 * vec - 1) / (32 * vec), down = (multiprocessors() * 8 + across - 1) / across;
  int64_t most = (rows + 7) / 8;
  return static_cast<unsigned>(down < most ? down : most);
}

static dim3 grid_of(int64_t rows, int64_t width, int vec) {
  return dim3((width + 32 * vec - 1) / (32 * vec), blocks_down(rows, width, vec));
}

// x, y [rows, width] of `type`; bias [width] of `bias_type`, or null.
extern "C" const char* gelu_forward(const void* x, const void* bias, void* y, int64_t rows, int64_t width,
                                    int64_t type, int64_t bias_type, void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    Parameters added{bias, static_cast<int>(bias_type)};
    by_vector<T>(aligned<T>(width, x, y, bias), [&](auto vec) {
      LAUNCH((gelu_forward_kernel<T, vec.value>), grid_of(rows, width, vec.value), dim3(32, 8), 0, stream)
      (static_cast<const T*>(x), added, static_cast<T*>(y), rows, static_cast<int>(width));
    });
    return finished();
  });
}

// How many float32 values `parts` of gelu_backward must hold.
extern "C" int64_t gelu_parts(int64_t rows, int64_t width) {
  return static_cast<int64_t>(blocks_down(rows, width, 8)) * width;  // the widest vector has the most blocks down
}

// dy, x, dx [rows, width] of `type`; dbias [width] float32 and `parts`, or both null.
extern "C" const char* gelu_backward(const void* dy, const void* x, const void* bias, void* dx, float* dbias,
                                     float* parts, int64_t rows, int64_t width, int64_t type, int64_t bias_type,
                                     void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    Parameters added{bias, static_cast<int>(bias_type)};
    by_vector<T>(aligned<T>(width, dy, x, dx, bias), [&](auto vec) {
      dim3 grid = grid_of(rows, width, vec.value);
      LAUNCH((gelu_backward_kernel<T, vec.value>), grid, dim3(32, 8), 0, stream)
      (static_cast<const T*>(dy), static_cast<const T*>(x), added, static_cast<T*>(dx), parts, rows,
       static_cast<int>(width));
      if (parts) sum_parts(parts, dbias, grid.y, width, 1, stream);
    });
    return finished();
  });
}
