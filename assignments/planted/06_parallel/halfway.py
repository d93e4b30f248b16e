# ruff: noqa: F821
"""The schedule and the ring solved, the rest not begun.

base: release
loses: zero1_visible, zero1_adam, zero1_clips, zero1_mixed, zero1_refuses,
    kernel_visible, kernel_sizes, kernel_lengths, kernel_large, kernel_races
"""


# %% all_reduce
def all_reduce(rank, world, tensor):
    flat = tensor.clone().view(-1)
    cuts = [part.numel() for part in flat.tensor_split(world)]
    parts = list(flat.split(cuts)) if world > 1 else [flat]
    at = rank
    for turn in range(2 * (world - 1)):
        came = yield parts[at]
        at = (at - 1) % world
        parts[at] = parts[at] + came if turn < world - 1 else came
    return torch.cat(parts).view(tensor.shape)


# %% one_f_one_b
def one_f_one_b(stages, micro, most=None):
    if min(stages, micro) < 1 or (most is not None and most < 1):
        raise ValueError("numbers below 1")

    def stage_actions(window):
        forward = backward = 0
        while backward < micro:
            if forward < micro and forward - backward < window:
                yield "F", forward
                forward += 1
            else:
                yield "B", backward
                backward += 1

    budget = micro if most is None else most
    return [list(stage_actions(min(stages - s, micro, budget))) for s in range(stages)]


# %% finish
def finish(schedule, forward=1.0, backward=2.0, hop=0.0):
    if any(len(actions) != len(set(actions)) for actions in schedule):
        raise ValueError("twice")
    queues, clocks, done = [list(actions) for actions in schedule], [0.0] * len(schedule), {}
    while any(queues):
        for stage, queue in enumerate(queues):
            kind, i = queue[0] if queue else ("", 0)
            if kind == "F":
                before = [] if stage == 0 else [(stage - 1, "F", i)]
            else:
                before = [(stage, "F", i)] + ([] if stage == len(schedule) - 1 else [(stage + 1, "B", i)])
            if kind and all(action in done for action in before):
                ready = [done[action] + (hop if action[0] != stage else 0.0) for action in before]
                clocks[stage] = max([clocks[stage], *ready]) + {"F": forward, "B": backward}[kind]
                done[(stage, kind, i)] = clocks[stage]
                queue.pop(0)
                break
        else:
            raise ValueError("nothing can go on")
    return max(clocks)
