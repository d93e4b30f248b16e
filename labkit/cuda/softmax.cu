// softmax.cu: y = softmax(scale * x + mask) over rows, and the gradient of x.
//
// Fused: scaling, masking, the maximum, the sum and the division. A mask is bool (1 = attend) or numbers that are added
// (-inf hides); it is read where it lies, by strides, so a mask of [batch, 1, 1, keys] is never blown up.
// A row that is hidden whole has no distribution: it gives zeros, and zero gradients.
// Bytes an element in 16 bits: forward 4 (x in, y out) and the mask, backward 6 (dy, y in; dx out). Unfused, forward
// is 12: three passes of 4.
// Launch: a warp a row (four rows a block) up to 32 pieces of 16 bytes, else a block a row; a thread holds ITEMS pieces
// in registers. Rows too long for that keep a running maximum and a sum relative to it (Milakov & Gimelshein 2018,
// algorithm 3), and read x twice, the second time from the L2 cache where it fits.
#include "common.cuh"

enum { NO_MASK = -1, BOOL_MASK = 3 };  // or the type code of an additive mask

struct Mask {
  const void* data;
  int code;
  int64_t heads, queries;  // x is [batch, heads, queries, width]
  int64_t strides[3];      // of the mask in those dimensions, in elements; 0 where it is the same for all

  __device__ int64_t start(int64_t row) const {
    int64_t query = row % queries, head = row / queries % heads, batch = row / queries / heads;
    return batch * strides[0] + head * strides[1] + query * strides[2];
  }

  // Hides or shifts N scores from element `at` of the mask on.
  template <int N>
  __device__ __forceinline__ void apply(float (&scores)[N], int64_t at) const {
    float added[N];
    if (code == NO_MASK) return;
    if (code == BOOL_MASK) {
      Pack<unsigned char, N> attend = *reinterpret_cast<const Pack<unsigned char, N>*>(
          static_cast<const unsigned char*>(data) + at);
      for (int i = 0; i < N; ++i) scores[i] = attend.values[i] ? scores[i] : -INFINITY;
      return;
    }
    Parameters{data, code}.load(added, at);
    for (int i = 0; i < N; ++i) scores[i] += added[i];
  }

  // Whether packs of `count` elements can be read from every row's start.
  bool aligned(int count) const {
    if (code == NO_MASK) return true;
    int64_t size = code == BOOL_MASK ? 1 : code == FLOAT32 ? 4 : 2;
    uint64_t all = reinterpret_cast<uintptr_t>(data) | (strides[0] | strides[1] | strides[2]) * size;
    return all % (count * size < 16 ? count * size : 16) == 0;
  }
};

template <class T, int VEC, int ITEMS>
__global__ void __launch_bounds__(1024) softmax_forward_kernel(
    const T* x, Mask mask, T* y, int64_t rows, int width, float scale) {
  SHARED(float, scratch, [64]);
  int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  int end = row < rows ? width : 0;
  int64_t mask_start = end ? mask.start(row) : 0;
  float scores[ITEMS][VEC], most = -INFINITY, sum = 0.0f;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    load(scores[k], x + row * width + column);
    for (int i = 0; i < VEC; ++i) scores[k][i] *= scale;
    mask.apply(scores[k], mask_start + column);
    for (int i = 0; i < VEC; ++i) most = fmaxf(most, scores[k][i]);
  }
  most = over_row(most, Max{}, scratch);
  if (most == -INFINITY) most = 0.0f;  // every exp below is then 0, and so is the sum
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    if (column_of(k, VEC) >= end) continue;
    for (int i = 0; i < VEC; ++i) {
      scores[k][i] = __expf(scores[k][i] - most);
      sum += scores[k][i];
    }
  }
  sum = over_row(sum, Add{}, scratch + 32);
  float share = sum == 0.0f ? 0.0f : 1.0f / sum;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    for (int i = 0; i < VEC; ++i) scores[k][i] *= share;
    store(y + row * width + column, scores[k]);
  }
}

template <class T, int VEC>
__global__ void __launch_bounds__(1024) softmax_forward_long_kernel(
    const T* x, Mask mask, T* y, int width, float scale) {
  SHARED(float, scratch, [64]);
  int64_t row = blockIdx.x, mask_start = mask.start(row);
  float scores[VEC], most = -INFINITY, sum = 0.0f;
  for (int column = threadIdx.x * VEC; column < width; column += blockDim.x * VEC) {
    load(scores, x + row * width + column);
    for (int i = 0; i < VEC; ++i) scores[i] *= scale;
    mask.apply(scores, mask_start + column);
    float larger = most;
    for (int i = 0; i < VEC; ++i) larger = fmaxf(larger, scores[i]);
    if (larger == -INFINITY) continue;
    sum *= __expf(most - larger);  // what was summed is brought to the new maximum
    for (int i = 0; i < VEC; ++i) sum += __expf(scores[i] - larger);
    most = larger;
  }
  float whole = over_row(most, Max{}, scratch);
  if (whole == -INFINITY) whole = 0.0f;
  sum = over_row(sum * __expf(most - whole), Add{}, scratch + 32);
  float share = sum == 0.0f ? 0.0f : 1.0f / sum;
  for (int column = threadIdx.x * VEC; column < width; column += blockDim.x * VEC) {
    load(scores, x + row * width + column);
    for (int i = 0; i < VEC; ++i) scores[i] *= scale;
    mask.apply(scores, mask_start + column);
    for (int i = 0; i < VEC; ++i) scores[i] = __expf(scores[i] - whole) * share;
    store(y + row * width + column, scores);
  }
}

// dx = scale * y * (dy - sum(dy * y)). Where the mask hides, y is 0 and so is dx: the mask is not needed again.
template <class T, int VEC, int ITEMS>
__global__ void __launch_bounds__(1024) softmax_backward_kernel(
    const T* dy, const T* y, T* dx, int64_t rows, int width, float scale) {
  SHARED(float, scratch, [32]);
  int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  int end = row < rows ? width : 0;
  float g[ITEMS][VEC], share[ITEMS][VEC], dot = 0.0f;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    load(g[k], dy + row * width + column);
    load(share[k], y + row * width + column);
    for (int i = 0; i < VEC; ++i) dot += g[k][i] * share[k][i];
  }
  dot = over_row(dot, Add{}, scratch);
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    for (int i = 0; i < VEC; ++i) g[k][i] = scale * share[k][i] * (g[k][i] - dot);
    store(dx + row * width + column, g[k]);
  }
}

template <class T, int VEC>
__global__ void __launch_bounds__(1024) softmax_backward_long_kernel(
    const T* dy, const T* y, T* dx, int width, float scale) {
  SHARED(float, scratch, [32]);
  int64_t start = static_cast<int64_t>(blockIdx.x) * width;
  float g[VEC], share[VEC], dot = 0.0f;
  for (int column = threadIdx.x * VEC; column < width; column += blockDim.x * VEC) {
    load(g, dy + start + column);
    load(share, y + start + column);
    for (int i = 0; i < VEC; ++i) dot += g[i] * share[i];
  }
  dot = over_row(dot, Add{}, scratch);
  for (int column = threadIdx.x * VEC; column < width; column += blockDim.x * VEC) {
    load(g, dy + start + column);
    load(share, y + start + column);
    for (int i = 0; i < VEC; ++i) g[i] = scale * share[i] * (g[i] - dot);
    store(dx + start + column, g);
  }
}

// x, y [batch, heads, queries, width] of `type`. The mask's rows are contiguous; its strides count elements.
// mask_type: -1 none, 0 to 2 additive of that type, 3 bool.
extern "C" const char* softmax_forward(const void* x, const void* mask, void* y, int64_t batch, int64_t heads,
                                       int64_t queries, int64_t width, int64_t stride0, int64_t stride1,
                                       int64_t stride2, float scale, int64_t type, int64_t mask_type, void* stream) {
  int64_t rows = batch * heads * queries;
  if (rows == 0 || width == 0) return nullptr;
  Mask how{mask, static_cast<int>(mask_type), heads, queries, {stride0, stride1, stride2}};
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    auto in = static_cast<const T*>(x);
    auto out = static_cast<T*>(y);
    by_width<T, 4>(aligned<T>(width, in, out) && how.aligned(wide<T>), width, [&](auto vec, auto items) {
      if constexpr (items.value == 0) {
        LAUNCH((softmax_forward_long_kernel<T, vec.value>), dim3(rows), dim3(1024), 0, stream)
        (in, how, out, static_cast<int>(width), scale);
      } else {
        dim3 block = row_block(width, vec.value * items.value), grid(blocks_for(rows, block));
        LAUNCH((softmax_forward_kernel<T, vec.value, items.value>), grid, block, 0, stream)
        (in, how, out, rows, static_cast<int>(width), scale);
      }
    });
    return finished();
  });
}

// dy, y, dx [rows, width] of `type`.
extern "C" const char* softmax_backward(const void* dy, const void* y, void* dx, int64_t rows, int64_t width,
                                        float scale, int64_t type, void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    auto upper = static_cast<const T*>(dy), share = static_cast<const T*>(y);
    auto out = static_cast<T*>(dx);
    by_width<T, 2>(aligned<T>(width, upper, share, out), width, [&](auto vec, auto items) {
      if constexpr (items.value == 0) {
        LAUNCH((softmax_backward_long_kernel<T, vec.value>), dim3(rows), dim3(1024), 0, stream)
        (upper, share, out, static_cast<int>(width), scale);
      } else {
        dim3 block = row_block(width, vec.value * items.value), grid(blocks_for(rows, block));
        LAUNCH((softmax_backward_kernel<T, vec.value, items.value>), grid, block, 0, stream)
        (upper, share, out, rows, static_cast<int>(width), scale);
      }
    });
    return finished();
  });
}
