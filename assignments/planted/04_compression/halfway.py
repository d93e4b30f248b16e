# ruff: noqa: F821
"""The binary halves and the heads solved, in a style of their own; the rest not begun.

base: release
loses: kd_loss_visible, kd_slope_visible, kd_limits, kd_rows, kd_refuses,
    twn_visible, scale_visible, twn_shapes, scale_holds, twn_refuses
"""


# %% binary
def binary(w, rows=False):
    codes = 2 * (w >= 0).to(w.dtype) - 1
    if rows:
        return codes, torch.stack([row.abs().mean() for row in w])[:, None]
    return codes, w.abs().mean()[None, None]


# %% split
def split(w, codes, alpha):
    if codes.shape != w.shape or alpha.ndim != 2 or alpha.shape[1] != 1 or alpha.shape[0] not in (1, w.shape[0]):
        raise ValueError("shapes")
    if len(alpha) == 1 and len(w) > 1:
        halves = split(w.reshape(1, -1), codes.reshape(1, -1), alpha)
        return tuple(half.reshape(w.shape) for half in halves)
    first = w.clone()
    for row, code, scale, out in zip(w.tolist(), codes.tolist(), alpha.flatten().tolist(), first, strict=True):
        if not any(row) and not any(code) and scale == 0:
            continue
        sums = {"I": 0.0, "J": 0.0, "K": 0.0}
        where = ["I" if b else "J" if x > 0 else "K" for x, b in zip(row, code, strict=True)]
        for x, place in zip(row, where, strict=True):
            sums[place] += abs(x)
        zeros = code.count(0)
        if zeros == 0 or sums["I"] == 0:
            raise ValueError("no split")
        p = 0.5 + (sums["K"] - sums["J"]) / (2 * sums["I"])
        r = (len(row) * scale - sum(sums.values())) / (2 * zeros)
        if not 0 < p < 1 or r <= 0:
            raise ValueError("no split")
        for at, (x, place) in enumerate(zip(row, where, strict=True)):
            out[at] = {"I": p * x, "J": x + r, "K": r}[place]
    return first, w - first


# %% head_importance
def head_importance(model, loss, batches):
    found = [torch.zeros(layer.attention.heads) for layer in model.layers]
    for batch in batches:
        seen = []

        def keep(_, given, seen=seen):  # nothing is added, but its slope is that of what stands here
            nothing = torch.zeros_like(given[0]).requires_grad_()
            seen.append((given[0].detach(), nothing))
            return (given[0] + nothing,)

        hooks = [layer.attention.out.register_forward_pre_hook(keep) for layer in model.layers]
        value = loss(model, batch)
        slopes = torch.autograd.grad(value, [nothing for _, nothing in seen])
        for hook in hooks:
            hook.remove()
        for number, ((heads, _), slope) in enumerate(zip(seen, slopes, strict=True)):
            parts = (heads * slope).unflatten(-1, (len(found[number]), -1)).sum((0, 1, 3))
            found[number] = found[number] + parts.abs()
    return found


# %% remove_heads
def remove_heads(model, gone):
    new = copy.deepcopy(model)
    for number in gone:
        if number < 0 or number >= len(new.layers):
            raise ValueError("no such layer")
        attention = new.layers[number].attention
        stays = torch.ones(attention.heads, dtype=torch.bool)
        for head in gone[number]:
            if head < 0 or head >= attention.heads:
                raise ValueError("no such head")
            stays[head] = False
        stays = stays.repeat_interleave(attention.size)
        for name in ("query", "key", "value"):
            linear = getattr(attention, name)
            linear.weight.data, linear.bias.data = linear.weight.data[stays], linear.bias.data[stays]
        attention.out.weight.data = attention.out.weight.data[:, stays]
        attention.heads = int(stays.sum()) // attention.size
    return new
