// emulate.h: the same .cu file as plain C++ (g++ -x c++), so that a kernel can be tested where there is no GPU.
//
// Every thread of a block is a fiber: a function with a stack of its own that can stop in the middle and go on later.
// A fiber runs until it must wait (__syncthreads, __syncwarp, a shuffle, a vote) or ends; then the next one runs. When
// all have stopped, those whose partners have arrived go on. Blocks run one after another, so shared memory is a
// static variable. SHARED(type, name, extents) fills it with 0xFF bytes (NaN, -1) when a block begins: nothing is
// inherited from the block before, and a value read too early shows.
//
// Found and reported, instead of a wrong answer or a hang: threads of a block at different __syncthreads; a
// __syncthreads that a thread cannot reach, because it waits for its warp; lanes of one mask at different warp
// operations; a lane outside its own mask; a launch outside the limits of a GPU.
// Not emulated: time, caches, memory faults. Threads run in a fixed order, rising, or falling where the `stream` of a
// launch is not null: a missing barrier shows in one of the two wherever a thread reads what another one writes.
#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <mutex>
#include <string>

#include "emulate_types.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static
#define SHARED(type, name, extents) \
  static type name extents;         \
  static long long name##_block = 0; \
  emulate::fresh(name, sizeof(name), name##_block)
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulate::dynamic_shared)
#define LAUNCH(kernel, grid, block, shared, stream) emulate::launch(kernel, grid, block, shared, stream)
#define EMULATE_HERE emulate::Site{__FILE__, __LINE__}
#define __syncthreads() emulate::wait_for_block(EMULATE_HERE)
#define __syncwarp() emulate::vote(EMULATE_HERE, 0xFFFFFFFFu, 0)
#define __ballot_sync(mask, predicate) emulate::vote(EMULATE_HERE, mask, predicate)
#define __any_sync(mask, predicate) (emulate::vote(EMULATE_HERE, mask, predicate) != 0)
#define __all_sync(mask, predicate) (emulate::vote(EMULATE_HERE, mask, !(predicate)) == 0)
#define __shfl_sync(...) emulate::shuffle(EMULATE_HERE, emulate::FROM, __VA_ARGS__)
#define __shfl_up_sync(...) emulate::shuffle(EMULATE_HERE, emulate::UP, __VA_ARGS__)
#define __shfl_down_sync(...) emulate::shuffle(EMULATE_HERE, emulate::DOWN, __VA_ARGS__)
#define __shfl_xor_sync(...) emulate::shuffle(EMULATE_HERE, emulate::XOR, __VA_ARGS__)

static dim3 threadIdx, blockIdx, blockDim, gridDim;
[[maybe_unused]] static constexpr int warpSize = 32;

namespace emulate {

constexpr int MOST_THREADS = 1024, STACK = 64 * 1024, MOST_SHARED = 48 * 1024;
enum State : uint8_t { READY, AT_BARRIER, IN_WARP, ENDED };
enum Direction { FROM, UP, DOWN, XOR };

struct Site { const char* file; int line; };

struct Thread {
  jmp_buf resume;
  bool started = false;
  State state = ENDED;
  Site site{};
  unsigned mask = 0;       // of the warp operation that it waits in
  int source = 0;          // lane whose value it wants
  uint64_t value = 0, result = 0;
  bool predicate = false;
  unsigned ballot = 0;
};

// What ran since the library was loaded; read by labkit.cuda.build.Library.counts().
struct Counts {
  long long launches, blocks, threads, barriers, warp_operations, switches;
};

static Thread threads[MOST_THREADS];
static Counts counts;
static int running, block_threads;  // index of the running thread; threads in a block
static long long block_number;
static jmp_buf scheduler;
static char* stacks;
static char dynamic_shared[MOST_SHARED];
static void (*run_kernel)(const void*);
static const void* kernel_arguments;
static std::string failure;  // the first misuse since the last `emulated_failure`
static std::mutex one_launch_at_a_time;

inline void fresh(void* memory, size_t bytes, long long& block) {
  if (block != block_number) std::memset(memory, 0xFF, bytes);
  block = block_number;
}

// Stops the running fiber; returns when the scheduler runs it again.
__attribute__((noinline)) inline void stop(State state, Site site) {
  Thread& self = threads[running];
  self.state = state;
  self.site = site;
  if (!_setjmp(self.resume)) _longjmp(scheduler, 1);
}

// The first thing on a fiber's stack. It serves one thread after another, of any kernel.
inline void fiber() {
  for (;;) {
    run_kernel(kernel_arguments);
    stop(ENDED, {});
  }
}

__attribute__((noinline)) inline void resume(int index, dim3 place) {
  Thread& thread = threads[index];
  running = index;
  threadIdx = place;
  ++counts.switches;
  if (_setjmp(scheduler)) return;
  if (thread.started) _longjmp(thread.resume, 1);
  thread.started = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = stacks + size_t{STACK} * index;
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, fiber, 0);
  setcontext(&context);
}

inline void wait_for_block(Site site) { stop(AT_BARRIER, site); }

inline void wait_for_warp(Site site, unsigned mask) {
  if (!(mask >> (running % 32) & 1)) failure = failure.empty() ? "a lane is not in the mask it gives" : failure;
  threads[running].mask = mask;
  stop(IN_WARP, site);
}

inline unsigned vote(Site site, unsigned mask, bool predicate) {
  threads[running].predicate = predicate;
  wait_for_warp(site, mask);
  return threads[running].ballot;
}

// `argument` is a lane, a distance or a lane mask, inside groups of `width` lanes (a power of two), as in CUDA.
template <class T>
T shuffle(Site site, Direction direction, unsigned mask, T value, int argument, int width = 32) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  int lane = running % 32, first = lane & ~(width - 1), last = first + width - 1, source = lane;
  if (direction == FROM) source = first + (argument & (width - 1));
  if (direction == UP) source = lane - argument < first ? lane : lane - argument;
  if (direction == DOWN) source = lane + argument > last ? lane : lane + argument;
  if (direction == XOR) source = (lane ^ argument) > last ? lane : lane ^ argument;
  Thread& self = threads[running];
  self.source = source;
  std::memcpy(&self.value, &value, sizeof(T));
  wait_for_warp(site, mask);
  std::memcpy(&value, &self.result, sizeof(T));
  return value;
}

inline std::string named(int index) {
  const Thread& thread = threads[index];
  const char* file = thread.site.file ? thread.site.file : "";
  if (const char* slash = std::strrchr(file, '/')) file = slash + 1;
  return "thread " + std::to_string(index) + " (" + file + ":" + std::to_string(thread.site.line) + ")";
}

inline bool same(Site a, Site b) { return a.line == b.line && !std::strcmp(a.file, b.file); }

// Lets the lanes of one warp operation go on, if all have arrived. A lane whose source is not among them gets NaN.
inline bool complete(int warp, int index) {
  if (!failure.empty()) return false;
  Thread* lanes = threads + 32 * warp;
  int size = std::min(32, block_threads - 32 * warp);
  unsigned group = 0, ballot = 0;
  for (int lane = 0; lane < size; ++lane) {
    if (!(lanes[index].mask >> lane & 1) || lanes[lane].state == ENDED) continue;
    const Thread& other = lanes[lane];
    if (other.state != IN_WARP || other.mask != lanes[index].mask || !same(other.site, lanes[index].site)) return false;
    group |= 1u << lane;
    ballot |= unsigned{other.predicate} << lane;
  }
  for (int lane = 0; lane < size; ++lane) {
    if (!(group >> lane & 1)) continue;
    lanes[lane].result = group >> lanes[lane].source & 1 ? lanes[lanes[lane].source].value : ~uint64_t{0};
    lanes[lane].ballot = ballot;
    lanes[lane].state = READY;
  }
  ++counts.warp_operations;
  return true;
}

// Runs what can run in a warp; true where that freed some of its lanes to go on.
inline bool run_warp(int warp, bool falling) {
  int first = 32 * warp, size = std::min(32, block_threads - first);
  for (int step = 0; step < size; ++step) {
    int index = first + (falling ? size - 1 - step : step);
    if (threads[index].state != READY) continue;
    unsigned x = index % blockDim.x, y = index / blockDim.x % blockDim.y, z = index / (blockDim.x * blockDim.y);
    resume(index, {x, y, z});
  }
  bool freed = false;
  for (int lane = 0; lane < size; ++lane) freed |= threads[first + lane].state == IN_WARP && complete(warp, lane);
  return freed;
}

// Opens the barrier at which every thread that has not ended waits; says what is wrong where they wait elsewhere.
inline bool open_barrier() {
  int first = -1;
  for (int index = 0; index < block_threads; ++index) {
    const Thread& thread = threads[index];
    if (thread.state == ENDED) continue;
    if (thread.state == IN_WARP) {
      failure = named(index) + " waits for lanes of its warp that have gone elsewhere";
      return false;
    }
    if (first < 0) first = index;
    if (!same(thread.site, threads[first].site)) {
      failure = named(first) + " and " + named(index) + " wait at different __syncthreads";
      return false;
    }
  }
  for (int index = 0; index < block_threads; ++index) {
    if (threads[index].state == AT_BARRIER) threads[index].state = READY;
  }
  ++counts.barriers;
  return true;
}

inline bool run_block(bool falling) {
  int warps = (block_threads + 31) / 32;
  for (int index = 0; index < block_threads; ++index) threads[index].state = READY;
  ++block_number, ++counts.blocks, counts.threads += block_threads;
  std::memset(dynamic_shared, 0xFF, sizeof(dynamic_shared));
  for (;;) {
    for (int step = 0; step < warps; ++step) {
      while (run_warp(falling ? warps - 1 - step : step, falling)) continue;
    }
    auto ended = [](const Thread& thread) { return thread.state == ENDED; };
    if (std::all_of(threads, threads + block_threads, ended)) return failure.empty();
    if (!failure.empty() || !open_barrier()) return false;
  }
}

inline const char* refused(dim3 grid, dim3 block, size_t shared) {  // the limits of a GPU
  if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z) return "a grid or a block of no threads";
  if (uint64_t{block.x} * block.y * block.z > MOST_THREADS) return "more than 1024 threads in a block";
  if (block.z > 64 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) return "a grid or a block too long";
  return shared > MOST_SHARED ? "more than 48 KiB of shared memory" : nullptr;
}

inline void run_grid(dim3 grid, bool falling) {
  if (!stacks) {
    size_t bytes = size_t{STACK} * MOST_THREADS;  // of address space; memory is taken only where a stack is used
    stacks = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  ++counts.launches;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        if (run_block(falling)) continue;
        failure += "; block (" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
        for (Thread& thread : threads) thread.started = false;  // leave the fibers that stopped half-way
        return;
      }
    }
  }
}

// Keeps the arguments of a launch from taking part in finding the kernel's parameter types: they convert to them.
template <class T>
struct Same {
  using type = T;
};

template <class... Parameters>
auto launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, const void* stream) {
  return [=](typename Same<Parameters>::type... arguments) {
    std::lock_guard<std::mutex> guard(one_launch_at_a_time);
    if (!failure.empty()) return;  // as after a failed launch on a GPU
    if (const char* why = refused(grid, block, shared)) return void(failure = why);
    auto body = [&] { kernel(arguments...); };
    run_kernel = [](const void* closure) { (*static_cast<const decltype(body)*>(closure))(); };
    kernel_arguments = &body;
    gridDim = grid, blockDim = block, block_threads = block.x * block.y * block.z;
    run_grid(grid, stream != nullptr);
  };
}

}  // namespace emulate

extern "C" void emulated_counts(long long* into) { std::memcpy(into, &emulate::counts, sizeof(emulate::counts)); }

// The text of the first misuse since the last call, or null. Copied, so that the caller may keep it for a while.
extern "C" const char* emulated_failure() {
  static std::string last;
  std::lock_guard<std::mutex> guard(emulate::one_launch_at_a_time);
  last.swap(emulate::failure);
  emulate::failure.clear();
  return last.empty() ? nullptr : last.c_str();
}
