// layernorm.cu: z = residual + dropout(x + bias), y = (z - mean(z)) / sqrt(var(z) + eps) * weight + shift; backward.
//
// Fused: two additions, dropout, the statistics and the scaling. z is rounded to its type before the statistics, as an
// unfused program would round it, so backward may read it back. The dropout mask is made again, never stored.
// Bytes an element in 16 bits: forward 8 (x, residual in; z, y out), backward 8 (dy, z in; dz, dx out), 6 without
// dropout (dx = dz), 2 more where z has a gradient of its own. Unfused, forward is 4 + 5 + 6 + 4 = 19.
// Launch: a row is a warp (four rows a block) or a block; a thread holds ITEMS pieces of VEC values in registers, so
// memory is read once. Forward: as many blocks as there are rows. Backward: a few blocks a multiprocessor walk down
// the rows and keep the sums for weight, shift and bias in registers; a second kernel adds the blocks' parts.
// 1024 threads leave each 64 registers, so backward spills some where a thread holds two pieces (rows beyond 8192
// values of 16 bits). Rows too long for registers are read again from the caches (the `long` kernels), value by value.
#include "common.cuh"

// Mean and 1 / sqrt(variance + eps) of a row of which each thread holds some values; those past the end are skipped.
template <int VEC, int ITEMS>
__device__ __forceinline__ void statistics(const float (&z)[ITEMS][VEC], int width, float eps, float& mean, float& rstd,
                                           float* scratch) {
  float sum = 0.0f, squares = 0.0f;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    bool inside = column_of(k, VEC) < width;
    for (int i = 0; i < VEC; ++i) sum += inside ? z[k][i] : 0.0f;
  }
  mean = over_row(sum, Add{}, scratch) / width;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    bool inside = column_of(k, VEC) < width;
    for (int i = 0; i < VEC; ++i) squares += inside ? (z[k][i] - mean) * (z[k][i] - mean) : 0.0f;
  }
  rstd = rsqrtf(over_row(squares, Add{}, scratch + 32) / width + eps);
}

template <class T, int VEC, int ITEMS>
__global__ void __launch_bounds__(1024) layernorm_forward_kernel(
    const T* x, const T* residual, Parameters bias, Parameters weight, Parameters shift, T* y, T* z, float* means,
    float* rstds, int64_t rows, int width, Dropout dropout, float eps) {
  SHARED(float, scratch, [64]);
  int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  float kept[ITEMS][VEC], other[VEC], added[VEC], mean, rstd;
  int end = row < rows ? width : 0;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    load(kept[k], x + row * width + column);
    load(other, residual + row * width + column);
    bias.load(added, column);
    for (int i = 0; i < VEC; ++i) kept[k][i] += added[i];
    dropout.apply(kept[k], row, column);
    for (int i = 0; i < VEC; ++i) kept[k][i] = to_float(from_float<T>(kept[k][i] + other[i]));
    store(z + row * width + column, kept[k]);
  }
  statistics(kept, end, eps, mean, rstd, scratch);
  if (row < rows && threadIdx.x == 0) means[row] = mean, rstds[row] = rstd;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= end) continue;
    weight.load(other, column);
    shift.load(added, column);
    for (int i = 0; i < VEC; ++i) other[i] = (kept[k][i] - mean) * rstd * other[i] + added[i];
    store(y + row * width + column, other);
  }
}

// Each thread reads back only what it wrote itself, so no barrier is needed between the passes.
template <class T>
__global__ void __launch_bounds__(1024) layernorm_forward_long_kernel(
    const T* x, const T* residual, Parameters bias, Parameters weight, Parameters shift, T* y, T* z, float* means,
    float* rstds, int width, Dropout dropout, float eps) {
  SHARED(float, scratch, [64]);
  int64_t row = blockIdx.x, start = row * width;
  float sum = 0.0f, squares = 0.0f, value[1];
  for (int column = threadIdx.x; column < width; column += blockDim.x) {
    value[0] = to_float(x[start + column]) + bias.at(column);
    dropout.apply(value, row, column);
    z[start + column] = from_float<T>(value[0] + to_float(residual[start + column]));
    sum += to_float(z[start + column]);
  }
  float mean = over_row(sum, Add{}, scratch) / width;
  for (int column = threadIdx.x; column < width; column += blockDim.x) {
    float off = to_float(z[start + column]) - mean;
    squares += off * off;
  }
  float rstd = rsqrtf(over_row(squares, Add{}, scratch + 32) / width + eps);
  if (threadIdx.x == 0) means[row] = mean, rstds[row] = rstd;
  for (int column = threadIdx.x; column < width; column += blockDim.x) {
    float normal = (to_float(z[start + column]) - mean) * rstd;
    y[start + column] = from_float<T>(normal * weight.at(column) + shift.at(column));
  }
}

// With n = (z - mean) * rstd and g = dy * weight: dz = rstd * (g - mean(g) - n * mean(g * n)), plus z's own gradient.
// `parts` [3, gridDim.x * blockDim.y, width]: sums over this block's rows for bias, weight and shift.
template <class T, int VEC, int ITEMS>
__global__ void __launch_bounds__(1024) layernorm_backward_kernel(
    const T* dy, const T* dz_own, const T* z, const float* means, const float* rstds, Parameters weight, T* dz, T*
    dx, float* parts, int64_t rows, int width, Dropout dropout) {
  SHARED(float, scratch, [64]);
  float n[ITEMS][VEC], g[ITEMS][VEC], gamma[ITEMS][VEC], own[VEC];
  float sums[3][ITEMS][VEC] = {};
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column < width) weight.load(gamma[k], column);
  }
  // Every thread makes the same number of rounds: the barriers of over_row are for all.
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y; first < rows; first += gridDim.x * blockDim.y) {
    int64_t row = first + threadIdx.y;
    int end = row < rows ? width : 0;
    float mean = end ? means[row] : 0.0f, rstd = end ? rstds[row] : 0.0f, sum_g = 0.0f, sum_gn = 0.0f;
#pragma unroll
    for (int k = 0; k < ITEMS; ++k) {
      int column = column_of(k, VEC);
      if (column >= end) continue;
      load(n[k], z + row * width + column);
      load(g[k], dy + row * width + column);
      for (int i = 0; i < VEC; ++i) {
        n[k][i] = (n[k][i] - mean) * rstd;
        sums[1][k][i] += g[k][i] * n[k][i];
        sums[2][k][i] += g[k][i];
        g[k][i] *= gamma[k][i];
        sum_g += g[k][i];
        sum_gn += g[k][i] * n[k][i];
      }
    }
    sum_g = over_row(sum_g, Add{}, scratch) / width;
    sum_gn = over_row(sum_gn, Add{}, scratch + 32) / width;
#pragma unroll
    for (int k = 0; k < ITEMS; ++k) {
      int column = column_of(k, VEC);
      if (column >= end) continue;
      for (int i = 0; i < VEC; ++i) g[k][i] = rstd * (g[k][i] - sum_g - n[k][i] * sum_gn);
      if (dz_own) {
        load(own, dz_own + row * width + column);
        for (int i = 0; i < VEC; ++i) g[k][i] += own[i];
      }
      store(dz + row * width + column, g[k]);
      dropout.apply(g[k], row, column);
      if (dx) store(dx + row * width + column, g[k]);
      for (int i = 0; i < VEC; ++i) sums[0][k][i] += g[k][i];
    }
  }
  int64_t part = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  int64_t matrix = static_cast<int64_t>(gridDim.x) * blockDim.y * width;
#pragma unroll
  for (int k = 0; k < ITEMS; ++k) {
    int column = column_of(k, VEC);
    if (column >= width) continue;
    for (int which = 0; which < 3; ++which) store(parts + which * matrix + part * width + column, sums[which][k]);
  }
}

// The sums live in `parts` itself: a thread is alone with its columns of its block's part.
template <class T>
__global__ void __launch_bounds__(1024) layernorm_backward_long_kernel(
    const T* dy, const T* dz_own, const T* z, const float* means, const float* rstds, Parameters weight, T* dz, T*
    dx, float* parts, int64_t rows, int width, Dropout dropout) {
  SHARED(float, scratch, [64]);
  float* sums = parts + static_cast<int64_t>(blockIdx.x) * width;
  int64_t matrix = static_cast<int64_t>(gridDim.x) * width;
  for (int column = threadIdx.x; column < width; column += blockDim.x) {
    for (int which = 0; which < 3; ++which) sums[which * matrix + column] = 0.0f;
  }
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    int64_t start = row * width;
    float mean = means[row], rstd = rstds[row], sum_g = 0.0f, sum_gn = 0.0f, value[1];
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
      float n = (to_float(z[start + column]) - mean) * rstd, upper = to_float(dy[start + column]);
      sums[matrix + column] += upper * n;
      sums[2 * matrix + column] += upper;
      sum_g += upper * weight.at(column);
      sum_gn += upper * weight.at(column) * n;
    }
    sum_g = over_row(sum_g, Add{}, scratch) / width;
    sum_gn = over_row(sum_gn, Add{}, scratch + 32) / width;
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
      float n = (to_float(z[start + column]) - mean) * rstd;
      value[0] = rstd * (to_float(dy[start + column]) * weight.at(column) - sum_g - n * sum_gn);
      if (dz_own) value[0] += to_float(dz_own[start + column]);
      dz[start + column] = from_float<T>(value[0]);
      dropout.apply(value, row, column);
      if (dx) dx[start + column] = from_float<T>(value[0]);
      sums[column] += value[0];
    }
  }
}

// Backward's grid: about 1024 threads a multiprocessor, whatever the block's size. More would mean more parts.
static unsigned backward_blocks(int64_t rows, dim3 block) {
  int64_t each = 1024 / (block.x * block.y);
  return blocks_for(rows, block, multiprocessors() * (each > 1 ? each : 1));
}

// x, residual, y, z [rows, width] of `type`; bias (or null), weight, shift [width] of `parameter_type`; means, rstds
// [rows] float32; threshold = p * 2^32, scale = 1 / (1 - p), seed one int64 on the device.
extern "C" const char* layernorm_forward(const void* x, const void* residual, const void* bias, const void* weight,
                                         const void* shift, void* y, void* z, float* means, float* rstds, int64_t rows,
                                         int64_t width, int64_t threshold, float scale, const int64_t* seed, float eps,
                                         int64_t type, int64_t parameter_type, void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  int code = static_cast<int>(parameter_type);
  Dropout dropout{static_cast<uint32_t>(threshold), scale, seed};
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    auto in = static_cast<const T*>(x), other = static_cast<const T*>(residual);
    auto out = static_cast<T*>(y), sum = static_cast<T*>(z);
    Parameters b{bias, code}, w{weight, code}, s{shift, code};
    by_width<T, 2>(aligned<T>(width, in, other, out, sum, bias, weight, shift), width, [&](auto vec, auto items) {
      if constexpr (items.value == 0) {
        LAUNCH(layernorm_forward_long_kernel<T>, dim3(rows), dim3(1024), 0, stream)
        (in, other, b, w, s, out, sum, means, rstds, static_cast<int>(width), dropout, eps);
      } else {
        dim3 block = row_block(width, vec.value * items.value), grid(blocks_for(rows, block));
        LAUNCH((layernorm_forward_kernel<T, vec.value, items.value>), grid, block, 0, stream)
        (in, other, b, w, s, out, sum, means, rstds, rows, static_cast<int>(width), dropout, eps);
      }
    });
    return finished();
  });
}

// How many float32 values `parts` of layernorm_backward must hold, at most.
extern "C" int64_t layernorm_parts(int64_t rows, int64_t width) {
  int64_t most = multiprocessors() * 32;  // blocks of one warp
  return 3 * width * (rows < most ? rows + 3 : most);
}

// dy, z, dz [rows, width] of `type`; dz_own likewise or null; dx likewise, or null without dropout (it is dz);
// sums [3, width] float32: gradients of bias, weight, shift.
extern "C" const char* layernorm_backward(const void* dy, const void* dz_own, const void* z, const float* means,
                                          const float* rstds, const void* weight, void* dz, void* dx, float* sums,
                                          float* parts, int64_t rows, int64_t width, int64_t threshold, float scale,
                                          const int64_t* seed, int64_t type, int64_t parameter_type, void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  Dropout dropout{static_cast<uint32_t>(threshold), scale, seed};
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    auto upper = static_cast<const T*>(dy), own = static_cast<const T*>(dz_own), sum = static_cast<const T*>(z);
    auto down = static_cast<T*>(dz), branch = static_cast<T*>(dx);
    Parameters w{weight, static_cast<int>(parameter_type)};
    by_width<T, 2>(aligned<T>(width, upper, own, sum, down, branch, weight), width, [&](auto vec, auto items) {
      dim3 block = items.value ? row_block(width, vec.value * (items.value ? items.value : 1)) : dim3(1024);
      dim3 grid(backward_blocks(rows, block));
      if constexpr (items.value == 0) {
        LAUNCH(layernorm_backward_long_kernel<T>, grid, block, 0, stream)
        (upper, own, sum, means, rstds, w, down, branch, parts, rows, static_cast<int>(width), dropout);
      } else {
        LAUNCH((layernorm_backward_kernel<T, vec.value, items.value>), grid, block, 0, stream)
        (upper, own, sum, means, rstds, w, down, branch, parts, rows, static_cast<int>(width), dropout);
      }
      sum_parts(parts, sums, static_cast<int>(grid.x * block.y), width, 3, stream);
    });
    return finished();
  });
}
