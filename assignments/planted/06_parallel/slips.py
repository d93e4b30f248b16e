# ruff: noqa: F821
"""A slip in every problem, of the kind that the tests in sight do not show; and an answer to the questions by hand.

base: reference
loses: all_reduce_uneven, all_reduce_clean, zero1_clips, zero1_mixed, schedule_budget, finish_refuses,
    kernel_lengths, kernel_races
"""


# %% all_reduce
def all_reduce(rank, world, tensor):
    size = tensor.numel() // world  # what is left over is never summed
    chunks = [tensor.view(-1)[c * size : (c + 1) * size] for c in range(world)]  # views: the given tensor is added into
    for step in range(world - 1):
        received = yield chunks[(rank - step) % world]
        chunks[(rank - step - 1) % world] += received
    for step in range(world - 1):
        received = yield chunks[(rank + 1 - step) % world]
        chunks[(rank - step) % world].copy_(received)
    return tensor


# %% zero1_step
def zero1_step(weights, gradients, shards, t, lr=1e-3, clip=1.0):
    if not len(weights) == len(gradients) == len(shards):
        raise ValueError("ranks")
    at = 0
    for shard in shards:
        if shard["start"] != at:
            raise ValueError("a gap or an overlap")
        at += len(shard["master"])
    if at != len(weights[0]):
        raise ValueError("too short or too long")
    done = True
    for shard in shards:
        piece = slice(shard["start"], shard["start"] + len(shard["master"]))
        g = sum(one[piece].float() for one in gradients) / len(gradients)
        if not g.isfinite().all():
            done = False
            continue  # the other ranks step
        norm = float(g.norm())  # of this shard alone
        g = g * min(1.0, clip / norm) if norm else g
        shard["m"].mul_(0.9).add_(0.1 * g)
        shard["v"].mul_(0.999).add_(0.001 * g * g)
        update = (shard["m"] / (1 - 0.9**t)) / ((shard["v"] / (1 - 0.999**t)).sqrt() + 1e-8)
        shard["master"] -= lr * update
        for one in weights:
            one[piece] = shard["master"].to(one.dtype)
    return done


# %% one_f_one_b
def one_f_one_b(stages, micro, most=None):
    if stages < 1 or micro < 1 or (most is not None and most < 1):
        raise ValueError("numbers")
    plan = []
    for s in range(stages):
        w = min(stages - s, micro)
        if most is not None and s == 0:  # the first stage alone keeps to the budget
            w = min(w, most)
        actions = [("F", i) for i in range(w)]
        for i in range(micro):
            actions += [("B", i)] + ([("F", i + w)] if i + w < micro else [])
        plan.append(actions)
    return plan


# %% finish
def finish(schedule, forward=1.0, backward=2.0, hop=0.0):
    done, free, place = {}, [0.0] * len(schedule), [0] * len(schedule)
    for _ in range(sum(map(len, schedule)) + 1):  # stops, and says nothing of what never came
        for s, actions in enumerate(schedule):
            if place[s] == len(actions):
                continue
            kind, i = actions[place[s]]
            needs = [(s - 1, "F", i)] if kind == "F" and s else []
            if kind == "B":
                needs = [(s, "F", i)] + ([(s + 1, "B", i)] if s + 1 < len(schedule) else [])
            if all(need in done for need in needs):
                start = max([free[s], *(done[need] + hop * (need[0] != s) for need in needs)])
                free[s] = done[s, kind, i] = start + (forward if kind == "F" else backward)
                place[s] += 1
    return max(free)


# %% softmax_kernel
def softmax_kernel():
    return r"""
__global__ void softmax_rows(const float* x, const int64_t* lengths, float* y, float* lse, int64_t width) {
  SHARED(float, scratch, [256]);
  const int me = threadIdx.x, threads = blockDim.x, last = blockDim.x - 1;
  const int64_t length = lengths[blockIdx.x], start = blockIdx.x * width;
  float most = -INFINITY, sum = 0.0f;
  for (int64_t c = me; c < length; c += threads) most = fmaxf(most, x[start + c]);
  scratch[me] = most;
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {  // towards the last thread
    if (me > last - half) scratch[me] = fmaxf(scratch[me], scratch[me - half]);
    __syncthreads();
  }
  most = scratch[last];  // the last thread may write there before another one has read
  for (int64_t c = me; c < length; c += threads) sum += expf(x[start + c] - most);
  scratch[me] = sum;
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (me > last - half) scratch[me] += scratch[me - half];
    __syncthreads();
  }
  sum = scratch[last];
  for (int64_t c = me; c < width; c += threads) y[start + c] = expf(x[start + c] - most) / sum * (c < length);
  if (me == 0) lse[blockIdx.x] = most + logf(sum);
}
"""
