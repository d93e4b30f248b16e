# ruff: noqa: F821
"""The likely mistakes that the tests in sight name: whole tensors around the ring, gradients summed, Adam without its
corrections, a pipeline that fills one forward too few and a clock on which everything hops, a kernel that divides by
nothing. What is left are the refusals of bad input.

base: release
loses: all_reduce_counts, all_reduce_uneven, all_reduce_clean, zero1_visible, zero1_adam, zero1_clips, zero1_mixed,
    schedule_visible, schedule_holds, schedule_budget, finish_visible, finish_holds,
    kernel_visible, kernel_lengths, kernel_large
"""


# %% all_reduce
def all_reduce(rank, world, tensor):
    total, message = tensor.clone(), tensor
    for _ in range(world - 1):
        message = yield message  # whole tensors
        total += message
    return total


# %% zero1_step
def zero1_step(weights, gradients, shards, t, lr=1e-3, clip=1.0):
    ends = [shard["start"] + len(shard["master"]) for shard in shards]
    if [0, *ends] != [shard["start"] for shard in shards] + [len(weights[0])]:
        raise ValueError("the shards do not tile the model")
    if not len(weights) == len(gradients) == len(shards):
        raise ValueError("ranks")
    total = sum(gradient.float() for gradient in gradients)  # not the mean, and whole
    if not total.isfinite().all():
        return False
    total = total * min(1.0, clip / max(float(total.norm()), 1e-12))
    for shard, end in zip(shards, ends, strict=True):
        g = total[shard["start"] : end]
        shard["m"].mul_(0.9).add_(0.1 * g)
        shard["v"].mul_(0.999).add_(0.001 * g * g)
        shard["master"] -= lr * shard["m"] / (shard["v"].sqrt() + 1e-8)  # no corrections
        for one in weights:
            one[shard["start"] : end] = shard["master"]
    return True


# %% one_f_one_b
def one_f_one_b(stages, micro, most=None):
    if stages < 1 or micro < 1 or (most is not None and most < 1):
        raise ValueError("numbers")
    plan = []
    for stage in range(stages):
        ahead = min(stages - stage - 1, micro)  # one too few, and no budget
        actions = [("F", i) for i in range(ahead)]
        for i in range(micro):
            actions.append(("B", i))
            if i + ahead < micro:
                actions.append(("F", i + ahead))
        plan.append(actions)
    return plan


# %% finish
def finish(schedule, forward=1.0, backward=2.0, hop=0.0):
    ends = {}

    def end(stage, at, above=()):
        if (stage, at) in above:
            raise ValueError("waits for ever")
        if (stage, at) not in ends:
            kind, i = schedule[stage][at]
            above = (*above, (stage, at))
            needs = [(stage - 1, ("F", i))] if kind == "F" and stage else []
            if kind == "B":
                needs = [(stage, ("F", i))] + ([(stage + 1, ("B", i))] if stage + 1 < len(schedule) else [])
            if any(need not in schedule[where] for where, need in needs):
                raise ValueError("nobody does that")
            starts = [end(where, schedule[where].index(need), above) + hop for where, need in needs]  # hops everywhere
            starts.append(end(stage, at - 1, above) if at else 0.0)
            ends[stage, at] = max(starts) + (forward if kind == "F" else backward)
        return ends[stage, at]

    if any(len(set(actions)) < len(actions) for actions in schedule):
        raise ValueError("an action stands twice")
    return max(end(stage, at) for stage, actions in enumerate(schedule) for at in range(len(actions)))


# %% softmax_kernel
def softmax_kernel():
    return r"""
__global__ void softmax_rows(const float* x, const int64_t* lengths, float* y, float* lse, int64_t width) {
  SHARED(float, scratch, [256]);
  const float* row = x + blockIdx.x * width;
  float sum = 0.0f;
  for (int64_t c = threadIdx.x; c < width; c += blockDim.x) sum += expf(row[c]);  // no maximum, no length
  scratch[threadIdx.x] = sum;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
    __syncthreads();
  }
  for (int64_t c = threadIdx.x; c < width; c += blockDim.x) y[blockIdx.x * width + c] = expf(row[c]) / scratch[0];
  if (threadIdx.x == 0) lse[blockIdx.x] = logf(scratch[0]);
}
"""
