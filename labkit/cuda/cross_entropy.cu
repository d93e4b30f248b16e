// cross_entropy.cu: -log softmax(logits)[target] over large vocabularies, its gradient, and the rows worth computing.
//
// Fused: maximum, sum of exponentials, logarithm and the look-up of the target in one pass over the logits; backward
// makes the softmax again from the kept log-sum-exp (one number a row) instead of storing it.
// Bytes an element in 16 bits: forward 2 (logits in), backward 4 (logits in, gradient out). Unfused, log_softmax alone
// is 4 forward (more in float32, as autocast does it) and 6 backward.
// Rows whose target is ignore_index are skipped: forward reads nothing of them, backward writes zeros. Better still is
// not to compute their logits: `gather_rows` copies the rows that have a target (15 % in masked language modelling)
// before the output layer, `scatter_rows` brings their gradients back.
// Launch: a block a row, of up to 1024 threads; each keeps a running maximum and a sum relative to it. The vocabulary
// may have any length; 16-byte loads where rows are aligned.
#include "common.cuh"

template <class T, int VEC>
__global__ void __launch_bounds__(1024) cross_entropy_forward_kernel(
    const T* logits, const int64_t* targets, float* loss, float* lse, int width, int64_t ignore) {
  SHARED(float, scratch, [64]);
  int64_t row = blockIdx.x, target = targets[row];
  if (target == ignore) {  // the same for the whole block, so nobody waits at a barrier
    if (threadIdx.x == 0) loss[row] = 0.0f, lse[row] = 0.0f;
    return;
  }
  const T* mine = logits + row * width;
  float x[VEC], most = -INFINITY, sum = 0.0f;
#pragma unroll 4
  for (int column = threadIdx.x * VEC; column < width; column += blockDim.x * VEC) {
    load(x, mine + column);
    float larger = most;
    for (int i = 0; i < VEC; ++i) larger = fmaxf(larger, x[i]);
    if (larger > most) sum *= __expf(most - larger);  // what was summed is brought to the new maximum
    most = larger;
    if (most == -INFINITY) most = -3.4e38f;  // so that exp(-inf - most) is 0, and not NaN
    for (int i = 0; i < VEC; ++i) sum += __expf(x[i] - most);
  }
  float whole = over_row(most, Max{}, scratch);
  sum = over_row(sum * __expf(most - whole), Add{}, scratch + 32);
  if (threadIdx.x != 0) return;
  lse[row] = whole + logf(sum);
  loss[row] = target >= 0 && target < width ? lse[row] - to_float(mine[target]) : NAN;
}

template <class T, int VEC>
__global__ void __launch_bounds__(1024) cross_entropy_backward_kernel(
    const float* dloss, const T* logits, const int64_t* targets, const float* lse, T* down, int width, int64_t
    ignore) {
  int64_t row = blockIdx.x, target = targets[row];
  const T* mine = logits + row * width;
  bool inside = target >= 0 && target < width;
  float x[VEC], shift = lse[row], factor = inside ? dloss[row] : NAN;
#pragma unroll 4
  for (int column = threadIdx.x * VEC; column < width; column += blockDim.x * VEC) {
    if (target == ignore) {
      for (int i = 0; i < VEC; ++i) x[i] = 0.0f;
    } else {
      load(x, mine + column);
      for (int i = 0; i < VEC; ++i) x[i] = (__expf(x[i] - shift) - (column + i == target ? 1.0f : 0.0f)) * factor;
    }
    store(down + row * width + column, x);
  }
}

// Block for a row: 16 bytes a thread and at most four rounds where that is possible.
static dim3 row_threads(int64_t width, int vec) {
  int64_t threads = (width + 4 * vec - 1) / (4 * vec);
  return dim3(threads >= 1024 ? 1024 : static_cast<unsigned>((threads + 31) / 32 * 32));
}

// logits [rows, width] of `type`, targets [rows]; loss and lse [rows] float32.
extern "C" const char* cross_entropy_forward(const void* logits, const int64_t* targets, float* loss, float* lse,
                                             int64_t rows, int64_t width, int64_t ignore, int64_t type, void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    auto in = static_cast<const T*>(logits);
    int columns = static_cast<int>(width);
    by_vector<T>(aligned<T>(width, in), [&](auto vec) {
      LAUNCH((cross_entropy_forward_kernel<T, vec.value>), dim3(rows), row_threads(width, vec.value), 0, stream)
      (in, targets, loss, lse, columns, ignore);
    });
    return finished();
  });
}

// dloss, lse [rows] float32; down [rows, width] of `type`: the gradient of the logits.
extern "C" const char* cross_entropy_backward(const float* dloss, const void* logits, const int64_t* targets,
                                              const float* lse, void* down, int64_t rows, int64_t width, int64_t ignore,
                                              int64_t type, void* stream) {
  if (rows == 0 || width == 0) return nullptr;
  return with_type(type, [&](auto zero) {
    using T = decltype(zero);
    auto in = static_cast<const T*>(logits);
    auto out = static_cast<T*>(down);
    int columns = static_cast<int>(width);
    by_vector<T>(aligned<T>(width, in, out), [&](auto vec) {
      LAUNCH((cross_entropy_backward_kernel<T, vec.value>), dim3(rows), row_threads(width, vec.value), 0, stream)
      (dloss, in, targets, lse, out, columns, ignore);
    });
    return finished();
  });
}

// Row i of `to` = row index[i] of `from`, or, with SCATTER, the other way. A row is `each` units of one size.
template <class Unit, bool SCATTER>
__global__ void move_rows_kernel(const Unit* from, const int64_t* index, Unit* to, int64_t each) {
  int64_t here = blockIdx.x, there = index[blockIdx.x];
  const Unit* source = from + (SCATTER ? here : there) * each;
  Unit* target = to + (SCATTER ? there : here) * each;
  for (int64_t unit = threadIdx.x; unit < each; unit += blockDim.x) target[unit] = source[unit];
}

template <bool SCATTER>
static const char* move_rows(const void* from, const int64_t* index, void* to, int64_t rows, int64_t bytes,
                             void* stream) {
  using Unit = Pack<uint32_t, 4>;
  if (rows == 0 || bytes == 0) return nullptr;
  uintptr_t all = reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) | bytes;
  if (all % 16 == 0) {
    LAUNCH((move_rows_kernel<Unit, SCATTER>), dim3(rows), dim3(128), 0, stream)
    (static_cast<const Unit*>(from), index, static_cast<Unit*>(to), bytes / 16);
  } else {
    LAUNCH((move_rows_kernel<uint16_t, SCATTER>), dim3(rows), dim3(128), 0, stream)
    (static_cast<const uint16_t*>(from), index, static_cast<uint16_t*>(to), bytes / 2);
  }
  return finished();
}

// from [any, bytes a row], to [rows, bytes a row]: values of 2 or 4 bytes each.
extern "C" const char* gather_rows(const void* from, const int64_t* index, void* to, int64_t rows, int64_t bytes,
                                   void* stream) {
  return move_rows<false>(from, index, to, rows, bytes, stream);
}

// from [rows, bytes a row], to [any, bytes a row], which the caller has filled with zeros. No row twice in `index`.
extern "C" const char* scatter_rows(const void* from, const int64_t* index, void* to, int64_t rows, int64_t bytes,
                                    void* stream) {
  return move_rows<true>(from, index, to, rows, bytes, stream);
}
